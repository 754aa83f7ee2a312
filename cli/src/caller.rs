//! Calls to providers of models, and looks at the web: they go on beside the work, and each tells when it ended.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aios_agents::address::Address;
use aios_agents::agent::Agent;
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::Work;
use aios_agents::model::settings::Provider;
use aios_agents::model::{Answer, Api, Reader, Request, is_too_long, refusal};
use aios_vault::chance::now_ms;
use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::batch::{Post, Posted, post};
use crate::keyring::Secret;
use crate::{turnstile, web};

/// How long it may take to reach a provider.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest that a refusal is read.
const MOST_REFUSAL: usize = 64 * 1024;
/// The longest that an answer is read which comes whole.
const MOST_WHOLE: usize = 9 << 20;

/// Who is asked.
#[derive(Debug, Clone)]
pub struct Line {
    /// The provider's name, and the model's there.
    pub model: (String, String),
    /// Where it is.
    pub provider: Provider,
    /// The key, where it needs one.
    pub key: Option<Secret>,
}

/// What came of a call: the model that answered, by its place among those that were asked, and its answer.
pub type Called = Result<(usize, Answer), Unanswered>;

/// Nobody answered.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub failure: Failure,
    /// The model that the question was too long for, by its place among those that were asked.
    pub too_long: Option<usize>,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Unanswered {
        Unanswered { failure, too_long: None }
    }
}

/// What ended: a call, or a look.
#[derive(Debug)]
pub enum Over {
    /// A model was asked.
    Called(Called),
    /// An address was looked at: what is shown of it, or why nothing is.
    Looked(Result<String, String>),
    /// A provider was told something of a batch.
    Posted(Posted),
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    /// A piece of work.
    Work(Work),
    /// A batch, by a number of this process.
    Batch(u64),
}

/// A call that ended.
type End = (Errand, Over);

/// The calls of a desk.
#[derive(Debug)]
pub struct Calls {
    open: BTreeMap<Errand, AbortHandle>,
    /// How many were about batches.
    posts: u64,
    ends: (Sender<End>, Receiver<End>),
    /// Rings when one has ended.
    bell: Arc<Notify>,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls { open: BTreeMap::new(), posts: 0, ends: channel(), bell: Arc::default() }
    }
}

/// One for the process: it lasts as long as that, and is never dropped where a runtime must not be.
fn runtime() -> Result<&'static Runtime, Failure> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made =
        || Builder::new_multi_thread().worker_threads(1).thread_name("models").enable_all().build().ok();
    let failed = || Failure::new(Class::Transient, "this machine gives no thread to call models from");
    RUNTIME.get_or_init(made).as_ref().ok_or_else(failed)
}

impl Calls {
    /// Has this rung from here on when a call has ended.
    pub fn ring(&mut self, bell: Arc<Notify>) {
        self.bell = bell;
    }

    /// Asks the first of several, and each next one where that before it cannot answer now.
    ///
    /// # Errors
    /// That nothing can be called.
    pub fn begin(
        &mut self,
        work: &Work,
        lines: Vec<Line>,
        request: Request,
        within: Option<Duration>,
    ) -> Result<(), Failure> {
        let (ends, to, bell) = (self.ends.0.clone(), Errand::Work(work.clone()), self.bell.clone());
        let span =
            tracing::info_span!("chat", gen_ai.operation.name = "chat", task = work.task, step = work.step);
        let call = async move {
            let asked = ask(&lines, &request);
            let came = match within {
                Some(within) => tokio::time::timeout(within, asked).await.unwrap_or_else(|_| {
                    Err(Failure::new(Class::Budget, "it took longer than its agent's `timeout`").into())
                }),
                None => asked.await,
            };
            // Nobody waits for it where the desk is gone.
            let _ = ends.send((to, Over::Called(came)));
            bell.notify_one();
        };
        let task = runtime()?.spawn(call.instrument(span));
        self.open.insert(Errand::Work(work.clone()), task.abort_handle());
        Ok(())
    }

    /// Has a provider do something about a batch; the number under which it ends.
    ///
    /// # Errors
    /// That nothing can be called.
    pub fn post(&mut self, line: Line, what: Post) -> Result<u64, Failure> {
        self.posts += 1;
        let number = self.posts;
        let (ends, bell) = (self.ends.0.clone(), self.bell.clone());
        let call = async move {
            let posted = post(&line, what).await;
            let _ = ends.send((Errand::Batch(number), Over::Posted(posted)));
            bell.notify_one();
        };
        let span = tracing::info_span!("batch", gen_ai.operation.name = "batch");
        let task = runtime()?.spawn(call.instrument(span));
        self.open.insert(Errand::Batch(number), task.abort_handle());
        Ok(number)
    }

    /// Looks at an address for an agent.
    ///
    /// # Errors
    /// That nothing can be looked at.
    pub fn look(&mut self, work: &Work, agent: Agent, address: Address) -> Result<(), Failure> {
        let (ends, to, bell) = (self.ends.0.clone(), Errand::Work(work.clone()), self.bell.clone());
        let looks = async move {
            let found = web::look(&agent, &address).await;
            let _ = ends.send((to, Over::Looked(found)));
            bell.notify_one();
        };
        self.open.insert(Errand::Work(work.clone()), runtime()?.spawn(looks).abort_handle());
        Ok(())
    }

    /// A call or a look that ended; with `wait` the next one that does, where one is under way.
    pub fn ended(&mut self, wait: bool) -> Option<End> {
        while !self.open.is_empty() {
            let (errand, came) = match wait {
                true => self.ends.1.recv().ok()?,
                false => self.ends.1.try_recv().ok()?,
            };
            // Of one that was stopped nobody wants to know.
            if self.open.remove(&errand).is_some() {
                return Some((errand, came));
            }
        }
        None
    }

    /// Ends a call.
    pub fn stop(&mut self, work: &Work) {
        if let Some(task) = self.open.remove(&Errand::Work(work.clone())) {
            task.abort();
        }
    }

    /// Whether any is under way.
    pub fn any(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.open.values().for_each(AbortHandle::abort);
    }
}

async fn ask(lines: &[Line], request: &Request) -> Called {
    let mut worst: Option<Failure> = None;
    for (place, line) in lines.iter().enumerate() {
        match ask_one(line, request).await {
            Ok(answer) => return Ok((place, answer)),
            Err(failure) => {
                let too_long = is_too_long(&failure);
                let (provider, model) = &line.model;
                let what = match &line.key {
                    // Whoever is asked may repeat what he was told.
                    Some(key) => failure.what.replace(key.reveal(), "[key]"),
                    None => failure.what,
                };
                let failure = Failure { what: format!("{provider}/{model}: {what}"), ..failure };
                tracing::warn!(error.type = failure.class.name(), "{failure}");
                if too_long {
                    return Err(Unanswered { failure, too_long: Some(place) });
                }
                let another = matches!(failure.class, Class::Transient | Class::RateLimited | Class::Denied);
                // What passes by itself is worth another attempt.
                if worst.as_ref().is_none_or(|worst| !worst.class.passes()) {
                    worst = Some(failure);
                }
                if !another {
                    break;
                }
            }
        }
    }
    let none = || Failure::new(Class::LostContext, "there is no model to ask");
    Err(worst.unwrap_or_else(none).into())
}

async fn ask_one(line: &Line, request: &Request) -> Result<Answer, Failure> {
    let Line { model, provider, key } = line;
    let request = Request { model: model.1.clone(), ..request.clone() };
    let silence = Duration::from_millis(provider.silence);
    let _turn = turnstile::pass(provider).await;
    let body = provider.api.body(&request).to_string();
    let call = client()?
        .post(format!("{}{}", provider.url, provider.api.path()))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream, application/x-ndjson, application/json")
        .body(body);
    let call = headers(call, provider, key.as_ref().map(Secret::reveal))?;
    let silent = |_| Failure::new(Class::Transient, "it was silent for too long");
    let sent = tokio::time::timeout(silence, call.send()).await.map_err(silent)?;
    let mut response = sent.map_err(|e| unreachable(&e))?;
    let status = response.status().as_u16();
    if !(200..300).contains(&status) {
        let after = response.headers().get("retry-after").and_then(|it| it.to_str().ok()).map(str::to_owned);
        let mut said = Vec::new();
        while said.len() < MOST_REFUSAL
            && let Ok(Ok(Some(part))) = tokio::time::timeout(silence, response.chunk()).await
        {
            said.extend_from_slice(&part);
        }
        said.truncate(MOST_REFUSAL);
        return Err(refusal(status, after.as_deref(), &String::from_utf8_lossy(&said), now_ms()));
    }
    let kind = response.headers().get("content-type").and_then(|it| it.to_str().ok()).unwrap_or_default();
    // Lines of JSON are what Ollama streams, whatever it calls them.
    let whole = kind.starts_with("application/json") && provider.api != Api::Ollama;
    let (mut reader, mut said) = (Reader::new(provider.api), Vec::new());
    while !reader.is_over() && said.len() <= MOST_WHOLE {
        let part = tokio::time::timeout(silence, response.chunk()).await.map_err(silent)?;
        // What breaks off in the middle is no answer, whoever broke it off.
        match part.map_err(|_| Failure::new(Class::Transient, "the answer broke off"))? {
            Some(part) if whole => said.extend_from_slice(&part),
            Some(part) => _ = reader.feed(&part)?,
            None => break,
        }
    }
    if whole { Ok(Reader::whole(provider.api, &said)?) } else { Ok(reader.end()?) }
}

/// A call with what it needs to be let in.
pub fn headers(
    mut call: RequestBuilder,
    provider: &Provider,
    key: Option<&str>,
) -> Result<RequestBuilder, Failure> {
    for (name, value) in provider.api.headers(key) {
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| Failure::new(Class::Denied, "its key cannot be sent"))?;
        // No part of the network library prints it then.
        value.set_sensitive(true);
        call = call.header(name, value);
    }
    Ok(call)
}

/// Who calls.
pub fn client() -> Result<&'static reqwest::Client, Failure> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    let made = || {
        // Where another part of the process has chosen already, that stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy();
        // A key goes where it was given for, and nowhere that one is sent from there.
        client.redirect(reqwest::redirect::Policy::none()).build().ok()
    };
    let failed = || Failure::new(Class::Transient, "this machine has no certificates to trust");
    CLIENT.get_or_init(made).as_ref().ok_or_else(failed)
}

/// The words of the library name the address; that may hold nothing secret, and is left out all the same.
pub fn unreachable(error: &reqwest::Error) -> Failure {
    let what = match (error.is_connect(), error.is_timeout()) {
        (true, _) => "it cannot be reached",
        (_, true) => "it was silent for too long",
        _ => "the call failed on its way",
    };
    Failure::new(Class::Transient, what)
}
