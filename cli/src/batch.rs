//! Exchanges with a provider about batches: what they are is said elsewhere, here they happen.

use std::collections::BTreeMap;
use std::time::Duration;

use aios_agents::failure::{Class, Failure};
use aios_agents::model::batch::{Came, Exchange, Looking, Next, Refused, Reply, Seen, Sending};
use aios_vault::chance::now_ms;

use crate::caller::{Line, client, headers, unreachable};
use crate::keyring::Secret;
use crate::turnstile;

/// The longest that is read of what is said of a batch.
const MOST: usize = 64 << 20;

/// What is wanted of a provider.
pub enum Post {
    /// That questions become a batch.
    Send(Sending),
    /// How a batch stands.
    Look(Looking),
    /// That it gives a batch up.
    Withdraw(Exchange),
}

/// What came of it.
#[derive(Debug)]
pub enum Posted {
    /// By question, the batch that it is in.
    Sent(Result<BTreeMap<String, String>, Refused>),
    /// How a batch stands.
    Seen(Result<Seen, Failure>),
    /// It was told.
    Withdrawn,
}

/// Has a provider do something.
pub async fn post(line: &Line, post: Post) -> Posted {
    match post {
        Post::Send(sending) => Posted::Sent(send(line, sending).await.map_err(|refused| match refused {
            Refused::Failed(failure) => Refused::Failed(named(line, failure)),
            Refused::Unknown => Refused::Unknown,
        })),
        Post::Look(looking) => {
            Posted::Seen(look(line, looking).await.map_err(|failure| named(line, failure)))
        }
        Post::Withdraw(exchange) => {
            if let Err(failure) = say(line, exchange).await {
                let failure = named(line, failure);
                tracing::warn!(error.type = failure.class.name(), "{failure}");
            }
            Posted::Withdrawn
        }
    }
}

async fn send(line: &Line, mut sending: Sending) -> Result<BTreeMap<String, String>, Refused> {
    loop {
        let reply = say(line, sending.say()).await.map_err(Refused::Failed)?;
        match sending.heard(&reply)? {
            Next::Say(next) => sending = next,
            Next::Over(sent) => return Ok(sent),
        }
    }
}

async fn look(line: &Line, mut looking: Looking) -> Result<Seen, Failure> {
    loop {
        let reply = say(line, looking.say()).await?;
        match looking.heard(&reply)? {
            Next::Say(next) => looking = next,
            Next::Over(Seen::Works) => return Ok(Seen::Works),
            Next::Over(Seen::Over { came, rest }) => {
                let clean = |came| match came {
                    Came::Failed(failure) => Came::Failed(named(line, failure)),
                    Came::Left(why) => Came::Left(without_key(line, &why)),
                    answered @ Came::Answered(_) => answered,
                };
                let came = came.into_iter().map(|(key, came)| (key, clean(came))).collect();
                return Ok(Seen::Over { came, rest: without_key(line, &rest) });
            }
        }
    }
}

/// Whoever is asked may repeat what he was told.
fn without_key(line: &Line, text: &str) -> String {
    match &line.key {
        Some(key) => text.replace(key.reveal(), "[key]"),
        None => text.to_owned(),
    }
}

fn named(line: &Line, failure: Failure) -> Failure {
    let (provider, model) = &line.model;
    let what = without_key(line, &failure.what);
    Failure { what: format!("{provider}/{model}, by batch: {what}"), ..failure }
}

async fn say(line: &Line, exchange: Exchange) -> Result<Reply, Failure> {
    let Line { provider, key, .. } = line;
    let silence = Duration::from_millis(provider.silence);
    let _turn = turnstile::pass(provider).await;
    let address = format!("{}{}", provider.url, exchange.path);
    let call = match exchange.body {
        Some((kind, body)) => client()?.post(address).header("content-type", kind).body(body),
        None => client()?.get(address),
    };
    let call = headers(call, provider, key.as_ref().map(Secret::reveal))?;
    let silent = |_| Failure::new(Class::Transient, "it was silent for too long");
    let sent = tokio::time::timeout(silence, call.send()).await.map_err(silent)?;
    let mut response = sent.map_err(|e| unreachable(&e))?;
    let status = response.status().as_u16();
    let after = response.headers().get("retry-after").and_then(|it| it.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    loop {
        let part = tokio::time::timeout(silence, response.chunk()).await.map_err(silent)?;
        match part.map_err(|_| Failure::new(Class::Transient, "the answer broke off"))? {
            Some(part) if body.len() + part.len() > MOST => {
                return Err(Failure::new(Class::InvalidOutput, "what it says of a batch is too long"));
            }
            Some(part) => body.extend_from_slice(&part),
            None => return Ok(Reply { status, after, body, at: now_ms() }),
        }
    }
}
