//! Who works on this device: the agents in force, with what does their work.

mod asking;
mod batch;
mod begun;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aios_agents::address::Address;
use aios_agents::agent::talk::{self, By, Look, Next, Talk};
use aios_agents::agent::{Agent, Batched, Edition, Entry, File, Registry, Runtime, Turn};
use aios_agents::component::{MOST_BYTES, Step};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{Input, Terms, Wanted, Work};
use aios_agents::program::SCRIPT;
use aios_agents::runtime::{self, Template};
use aios_core::id::ContentHash;
use aios_vault::accept::is_component;
use aios_vault::chance::now_ms;
use aios_vault::{Error, Vault};
use serde_json::Value;
use tokio::sync::Notify;

use self::asking::{Asked, Asks, Refused};
use self::batch::{Batches, Way};
use self::begun::Begun;
use crate::answers::Answers;
use crate::caller::{Calls, Errand, Over, Unanswered};
use crate::child::Worker;
use crate::command::written::stem;
use crate::component::Code;
use crate::crew::Crew;
use crate::edition;
use crate::keyring::Keyring;

/// A piece of work for an agent.
#[derive(Debug, Clone)]
pub struct Order {
    /// What it is.
    pub work: Work,
    /// The agent.
    pub agent: String,
    /// The version of it; nothing: the one that was accepted last.
    pub version: Option<ContentHash>,
    /// What it is given.
    pub input: Value,
    /// Whether that came from outside.
    pub outside: bool,
    /// When it began.
    pub since: u64,
    /// What happened so far.
    pub turns: Vec<Turn>,
    /// Whether somebody waits to see how it goes.
    pub rehearses: bool,
}

/// What is to be done for a piece of work now.
pub enum Doing {
    /// This came of it.
    Came(Input),
    /// Something is to be looked up first: by whom, in which call, and what.
    Look(By, String, Look),
    /// A model was asked, or a program is at it: it tells when it is done.
    Asked,
}

/// What is under way.
enum Open {
    /// A model is asked.
    Model(Box<Asked>),
    /// A model is asked by batch.
    Batch(Box<Asked>, Batched),
    /// An address is looked at, in a call.
    Address(By, String),
    /// A component is at work.
    Component(Box<Begun>),
}

/// What the kernel holds versions of agents to, by name and version.
pub type Held = BTreeMap<(String, ContentHash), Terms>;

/// The agents of this device.
#[derive(Default)]
pub struct Staff {
    registry: Registry,
    /// Other versions that work, or that somebody at work began with.
    editions: BTreeMap<(String, ContentHash), Entry>,
    keys: Keyring,
    calls: Calls,
    asked: BTreeMap<Work, Open>,
    /// How many tokens a model sees at once at most, where its provider refused more.
    windows: BTreeMap<(String, String), u64>,
    /// What is asked by batch.
    batches: Batches,
    /// What models answered before.
    answers: Answers,
    /// The components of agents, by version.
    components: BTreeMap<ContentHash, Code>,
    /// The programs and components that are at work.
    crew: Crew,
    /// What these gave, and nobody took yet; with the work that goes on with it.
    gave: VecDeque<(Input, Option<Order>)>,
    /// Agents of which it was said that they work without a model.
    told: BTreeMap<String, String>,
    warnings: Vec<String>,
    /// What no program is to see: this vault, and the keys of all of this user's devices.
    hidden: Vec<PathBuf>,
}

impl Staff {
    /// Those in force.
    pub fn of(vault: &mut Vault) -> Result<Staff, Error> {
        let files: Vec<File> = vault
            .in_force("agents")?
            .into_iter()
            .map(|file| File {
                name: stem(&file.path),
                path: file.path,
                version: file.version,
                text: file.text,
            })
            .chain(
                vault
                    .components_in_force()?
                    .into_iter()
                    .map(|(path, version)| File::component(path, version)),
            )
            .collect();
        let (registry, wrong) = Registry::of(&files);
        let hidden = vec![vault.root().to_owned(), aios_vault::keys::data_dir()?];
        let answers = Answers::of(vault.root());
        let mut staff = Staff { registry, hidden, answers, ..Staff::default() };
        staff.leave_out_programs_in(vault.root());
        let entries: Vec<Entry> = staff.registry.agents.values().cloned().collect();
        for entry in &entries {
            staff.fetch_component(vault, entry, true)?;
        }
        for (path, mistakes) in wrong {
            let first = mistakes.first().map(|it| format!(":{} {}", it.at, it.what)).unwrap_or_default();
            staff.warnings.push(format!("{path}{first}"));
        }
        match Keyring::load(vault.own_folder()) {
            Ok(keys) => staff.keys = keys,
            Err(e) => staff.warnings.push(format!("the keys of providers cannot be read: {e}")),
        }
        Ok(staff)
    }

    /// Has the component of an agent at hand, where one does its work.
    fn fetch_component(&mut self, vault: &mut Vault, entry: &Entry, accepted: bool) -> Result<(), Error> {
        let Some((path, version)) = entry.component() else { return Ok(()) };
        if self.components.contains_key(&version) {
            return Ok(());
        }
        let found = match accepted {
            true => vault.bytes_at_version(&path, &version),
            false => vault.bytes_saved(&path, &version),
        };
        match found {
            Ok(Some(bytes)) if bytes.len() as u64 <= MOST_BYTES => {
                self.components.insert(version, Code { version, bytes: Arc::new(bytes) });
            }
            Ok(Some(_)) => self.warnings.push(format!("{path}: a component has 16 MB at most")),
            Ok(None) | Err(Error::Apart(_)) => {
                self.warnings.push(format!("{path}: version {} is not here", version.short(12)));
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn leave_out_programs_in(&mut self, root: &Path) {
        self.registry.agents.retain(|_, entry| {
            let misplaced = misplaced(entry, root);
            let stays = misplaced.is_none();
            self.warnings.extend(misplaced);
            stays
        });
    }

    /// What the kernel holds them to.
    pub fn terms(&self) -> BTreeMap<String, Terms> {
        self.registry.agents.iter().map(|(name, entry)| (name.clone(), terms(entry))).collect()
    }

    /// Has versions of agents at hand: those that work, as far as the operator accepted them (I11), and those that rehearse; what the kernel holds
    /// them to.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn equip(&mut self, vault: &mut Vault, wanted: &Wanted) -> Result<(Held, Held), Error> {
        let work = self.equip_with(vault, &wanted.work, None)?;
        Ok((work, self.equip_with(vault, &wanted.rehearse, Some(&wanted.work))?))
    }

    /// As [`Staff::equip`]; with those that `work`, of versions that only rehearse.
    fn equip_with(
        &mut self,
        vault: &mut Vault,
        wanted: &[(String, Edition)],
        work: Option<&[(String, Edition)]>,
    ) -> Result<Held, Error> {
        let mut out = Held::new();
        let accepted = work.is_none();
        for (name, edition) in wanted {
            let mut texts = BTreeMap::new();
            for (path, version) in edition.files.iter().filter(|(path, _)| path.starts_with("agents/")) {
                if is_component(path) {
                    texts.insert(path.clone(), String::new());
                    continue;
                }
                let text = match accepted {
                    true => accepted_text(vault, path, version)?,
                    // It is signed that this version rehearses, and nothing comes of it.
                    false => vault.text_saved(path, version)?,
                };
                texts.extend(text.map(|text| (path.clone(), text)));
            }
            let whole = texts.len() == edition.files.len();
            let Some(mut entry) = edition.read(name, &texts).filter(|_| whole) else {
                let short = edition.version.short(12);
                let what = if accepted { "none that was accepted" } else { "not here" };
                self.warnings.push(format!("version {short} of agent {name} is {what}"));
                continue;
            };
            let current = self.registry.agents.get(name);
            let works = |work: &[(String, Edition)]| work.iter().any(|it| (&it.0, &it.1) == (name, edition));
            // One that does not work now reaches no more than the one that does, also if it did once.
            if current.is_none_or(|it| it.version != edition.version) && !work.is_none_or(works) {
                self.bind(&mut entry, current.map(|it| &it.agent));
            }
            self.fetch_component(vault, &entry, accepted)?;
            let key = (name.clone(), edition.version);
            match misplaced(&entry, vault.root()) {
                Some(what) => self.warnings.push(what),
                None => {
                    out.insert(key.clone(), terms(&entry));
                    self.editions.insert(key, entry);
                }
            }
        }
        Ok(out)
    }

    /// Holds an agent, and whom it asks, to what those may do that somebody accepted.
    fn bind(&self, entry: &mut Entry, current: Option<&Agent>) {
        entry.agent = entry.agent.clone().within(current).0;
        for (name, other) in &mut entry.crew {
            self.bind(other, self.registry.agents.get(name).map(|it| &it.agent));
        }
    }

    /// What a person should know, each once.
    pub fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What is otherwise than its files say, and works all the same.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.told.values().map(String::as_str)
    }

    /// A version of an agent that is at hand; without one, that which was accepted last.
    pub fn entry(&self, name: &str, version: Option<&ContentHash>) -> Option<&Entry> {
        let current = self.registry.agents.get(name);
        match version {
            None => current,
            Some(version) => current
                .filter(|entry| entry.version == *version)
                .or_else(|| self.editions.get(&(name.to_owned(), *version))),
        }
    }

    /// Has the version at hand that a piece of work began with, where the operator accepted that once (I11): who waited for days goes on as
    /// what it was, in whichever process.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn recall(&mut self, vault: &mut Vault, order: &Order) -> Result<(), Error> {
        let Some(version) = order.version else { return Ok(()) };
        let name = &order.agent;
        if self.entry(name, Some(&version)).is_some() || !self.registry.agents.contains_key(name) {
            return Ok(());
        }
        let past = edition::editions(vault, name)?;
        let Some(found) = past.into_iter().map(|it| it.entry).find(|it| it.version == version) else {
            return Ok(());
        };
        self.fetch_component(vault, &found, true)?;
        match misplaced(&found, vault.root()) {
            Some(what) => self.warnings.push(what),
            None => _ = self.editions.insert((name.clone(), version), found),
        }
        Ok(())
    }

    /// Carries on a piece of work as far as it goes by itself.
    pub fn carry_on(&mut self, order: &Order) -> Doing {
        let ended = |came| Doing::Came(Input::Worked { work: order.work.clone(), came });
        match self.try_carry_on(order, None) {
            Ok(doing) => doing,
            Err(failure) => ended(Err(failure)),
        }
    }

    /// Carries on a piece of work; of one that was `refused` for the length of a question, with another question.
    fn try_carry_on(&mut self, order: &Order, refused: Option<&Refused>) -> Result<Doing, Failure> {
        let lost = |what: String| Failure::new(Class::LostContext, what);
        let Some(entry) = self.entry(&order.agent, order.version.as_ref()) else {
            let which = order.version.map(|version| format!("version {} of it ", version.short(12)));
            let which = which.filter(|_| self.registry.agents.contains_key(&order.agent));
            return Err(lost(match which {
                Some(which) => format!("agent `{}`: {which}is not at hand here", order.agent),
                None => format!("no agent `{}` is in force here", order.agent),
            }));
        };
        let input = entry.agent.take(&order.input)?;
        let ended = |value| Ok(Doing::Came(Input::Worked { work: order.work.clone(), came: Ok(value) }));
        match entry.agent.runtime {
            Runtime::Template => return ended(fill(entry, &entry.agent.body, &input)?),
            Runtime::Model => {}
            Runtime::Command => {
                let program = entry.agent.program.clone();
                let program =
                    program.ok_or_else(|| lost(format!("agent `{}` names no program", order.agent)))?;
                let worker: Arc<dyn runtime::Runtime> =
                    Arc::new(Worker { program, hidden: self.hidden.clone() });
                self.crew.begin(&order.work, worker, input);
                return Ok(Doing::Asked);
            }
            Runtime::Wasm => {}
            Runtime::Journal => {
                let what = format!("agent `{}`: `runtime: journal` does no work here", order.agent);
                return Err(lost(what));
            }
        }
        let models = self.registry.models.models(&entry.agent.model);
        let alone = entry.agent.runtime == Runtime::Model && models.is_empty();
        if alone && order.turns.is_empty() {
            let why = format!("no model is set up for `{}`", entry.agent.model);
            let Some(template) = &entry.agent.template else {
                let what = format!(
                    "{why}, and agent `{}` has no `template`: say which models there are in a file of `agents` with `type: models`, and accept it",
                    order.agent
                );
                return Err(lost(what));
            };
            let value = fill(entry, template, &input)?;
            let told = format!("agent {} works from its template: {why}", order.agent);
            if self.told.insert(order.agent.clone(), told.clone()).is_none() {
                self.warnings.push(told);
            }
            return ended(value);
        }
        let Order { outside, turns, .. } = order;
        let talk = Talk { name: &order.agent, entry, input: &input, outside: *outside, turns, asker: None };
        let took = |turn| Ok(Doing::Came(Input::Took { work: order.work.clone(), turns: vec![turn] }));
        let (by, given, next) = By::of(talk.next());
        match next {
            Next::Done(value) => ended(value),
            Next::Failed(failure) => Err(failure),
            Next::Took(turn) => took(turn),
            Next::Look { call, look } => Ok(Doing::Look(by, call, look)),
            Next::Within { .. } => Err(lost("whose turn it is cannot be told".into())),
            Next::Ask(request) => {
                let within = match entry.agent.timeout {
                    // Waiting for a batch takes no time.
                    Some(_) if talk.batched().is_some_and(Batched::waits) => None,
                    Some(timeout) => {
                        let left = (order.since + timeout).saturating_sub(now_ms());
                        if left == 0 {
                            let what = "it took longer than its agent's `timeout`";
                            return Err(Failure::new(Class::Budget, what));
                        }
                        Some(Duration::from_millis(left))
                    }
                    None => None,
                };
                let whose = by.entry(entry).ok_or_else(|| lost("whom it asks is not at hand".into()))?;
                if whose.agent.runtime == Runtime::Wasm {
                    let worker = self.component(whose, &request)?;
                    let may_call = talk.left().0 > 0;
                    let begun = Begun { order: order.clone(), asked: talk::asked(&request), may_call };
                    self.crew.begin(&order.work, Arc::new(worker), input);
                    self.asked.insert(order.work.clone(), Open::Component(Box::new(begun)));
                    return Ok(Doing::Asked);
                }
                if let Some(answer) = self.template_of(whose, &request)? {
                    let outside = given.unwrap_or(*outside);
                    return took(by.took(asking::filled(&request, outside, answer)));
                }
                let (request, cut) = self.shortened(*request, &whose.agent.model);
                if let Some(refused) = refused.filter(|it| it.asked == talk::asked(&request)) {
                    return Err(refused.why.clone());
                }
                let way = self.way(&talk, &by, order, &request, cut.is_some());
                let (keeps, outside) = (whose.agent.cache && cut.is_none(), given.unwrap_or(*outside));
                let lines = match &way {
                    Way::Left(turn) => return took(turn.clone()),
                    Way::Goes(_) => Ok(Asks::These(Vec::new())),
                    Way::Anew(_) => self.lines(&talk, &by, &whose.agent.model, &request, true),
                    Way::Directly if cut.is_some() => {
                        self.lines(&talk, &by, &self.summing(&whose.agent.model), &request, false)
                    }
                    Way::Directly => self.lines(&talk, &by, &whose.agent.model, &request, false),
                };
                let lines = match lines? {
                    Asks::These(lines) => lines,
                    Asks::First(question) => return took(by.took(question)),
                };
                let order = order.clone();
                let asked =
                    Asked { order, by, request: request.clone(), outside, lines: lines.clone(), keeps, cut };
                if let Way::Goes(batched) = way {
                    return Ok(self.go_by_batch(asked, batched));
                }
                let order = &asked.order;
                // What came to nothing once is asked for anew.
                let found = lines.first().filter(|_| asked.keeps && order.work.attempt == 1);
                if let Some(answer) = found.and_then(|line| self.answers.find(line, &request)) {
                    return took(asked.kept(answer));
                }
                if let Way::Anew(queued) = way {
                    return took(self.queue(queued));
                }
                let work = order.work.clone();
                self.calls.begin(&work, lines, request, within)?;
                self.asked.insert(work, Open::Model(Box::new(asked)));
                Ok(Doing::Asked)
            }
        }
    }

    /// What a piece of work comes to next where nobody is asked for it: something that happened, or something that is looked up in the vault.
    pub fn at_once(&self, order: &Order) -> Option<Doing> {
        let entry = self.entry(&order.agent, order.version.as_ref())?;
        let input = entry.agent.take(&order.input).ok()?;
        let Order { outside, turns, .. } = order;
        let talk = Talk { name: &order.agent, entry, input: &input, outside: *outside, turns, asker: None };
        match By::of(talk.next()) {
            (_, _, Next::Took(turn)) if matches!(turn.innermost(), Turn::Came { .. }) => {
                Some(Doing::Came(Input::Took { work: order.work.clone(), turns: vec![turn] }))
            }
            (by, _, Next::Look { call, look: look @ (Look::File { .. } | Look::Files { .. }) }) => {
                Some(Doing::Look(by, call, look))
            }
            _ => None,
        }
    }

    /// Looks at an address for whom a piece of work comes to; it tells when it is done.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn look(&mut self, order: &Order, by: By, call: String, address: Address) -> Result<(), Failure> {
        let entry = self.entry(&order.agent, order.version.as_ref()).and_then(|entry| by.entry(entry));
        let lost = || Failure::new(Class::LostContext, "whose work it is cannot be told");
        let agent = entry.ok_or_else(lost)?.agent.clone();
        self.calls.look(&order.work, agent, address)?;
        self.asked.insert(order.work.clone(), Open::Address(by, call));
        Ok(())
    }

    /// What came of a program that has ended, or of a call; with `wait` of the next call that ends, where one is under way.
    /// With it the work of which it is the next thing, where that goes on.
    pub fn ended(&mut self, wait: bool) -> Option<(Input, Option<Order>)> {
        for (work, came) in self.crew.ended() {
            let begun = self.asked.remove(&work);
            self.gave.push_back(match (came, begun) {
                (Ok(Step::Calls(call)), Some(Open::Component(begun))) => begun.calls(call),
                (Ok(Step::Calls(_)), _) => {
                    let failure = Failure::new(Class::LostContext, "whose call it is cannot be told");
                    (Input::Worked { work, came: Err(failure) }, None)
                }
                (Ok(Step::Done(value)), _) => (Input::Worked { work, came: Ok(value) }, None),
                (Err(failure), _) => (Input::Worked { work, came: Err(failure) }, None),
            });
        }
        loop {
            if let Some(came) = self.gave.pop_front() {
                return Some(came);
            }
            let (work, over) = match self.calls.ended(wait)? {
                (Errand::Work(work), over) => (work, over),
                (Errand::Batch(number), Over::Posted(posted)) => {
                    self.posted(number, posted);
                    continue;
                }
                (Errand::Batch(_), _) => continue,
            };
            match (self.asked.remove(&work), over) {
                (
                    Some(Open::Model(asked)),
                    Over::Called(Err(Unanswered { failure, too_long: Some(place) })),
                ) => {
                    if let Doing::Came(came) = self.shorter(&asked, place, failure) {
                        return Some((came, Some(asked.order)));
                    }
                }
                (Some(Open::Model(asked)), Over::Called(came)) => {
                    let order = asked.order.clone();
                    return Some((self.answered(work, *asked, came), Some(order)));
                }
                (Some(Open::Address(by, call)), Over::Looked(found)) => {
                    let (text, untrusted) = match found {
                        Ok(text) => (text, true),
                        Err(what) => (format!("not found: {what}"), false),
                    };
                    let turns = vec![by.took(Turn::Came { call, text, untrusted })];
                    return Some((Input::Took { work, turns }, None));
                }
                _ => {}
            }
        }
    }

    /// Ends the work on something that nobody waits for any more.
    pub fn stop(&mut self, work: &Work) {
        self.calls.stop(work);
        self.batches.stop(work);
        self.asked.remove(work);
        self.crew.stop(work);
    }

    /// In how long it should be looked whether a program has ended; nothing where none is at work.
    pub fn patience(&self) -> Option<Duration> {
        self.crew.patience()
    }

    /// What was begun and has not ended.
    pub fn under_way(&self) -> impl Iterator<Item = &Work> {
        self.crew.under_way().chain(self.asked.keys())
    }

    /// Has this rung from here on when a call has ended.
    pub fn ring(&mut self, bell: Arc<Notify>) {
        self.calls.ring(bell);
    }

    /// Goes on with what others were at.
    pub fn take_over(&mut self, other: &mut Staff) {
        self.crew.take_over(&mut other.crew);
        self.gave.append(&mut other.gave);
        self.components.append(&mut other.components);
        // Models answer whoever asked them.
        std::mem::swap(&mut self.calls, &mut other.calls);
        self.windows.append(&mut other.windows);
        self.batches.take_over(&mut other.batches);
        self.asked.append(&mut other.asked);
        // What was accepted when they began they go on with.
        self.editions.append(&mut other.editions);
        let began = std::mem::take(&mut other.registry.agents).into_iter();
        let began = began.map(|(name, entry)| ((name, entry.version), entry));
        self.editions.extend(began.filter(|((name, version), _)| {
            self.registry.agents.get(name).is_some_and(|entry| entry.version != *version)
        }));
    }

    /// Whether a model is being asked.
    pub fn waits(&self) -> bool {
        self.calls.any()
    }

    /// Has agents work with a version of their files that was in force once.
    ///
    /// # Errors
    /// What the vault answers, and that no agent had it.
    pub fn with_version(&self, vault: &mut Vault, version: &ContentHash) -> Result<Registry, Error> {
        let mut registry = self.registry.clone();
        let mut found = false;
        for (name, entry) in &mut registry.agents {
            let Some(text) = vault.text_at_version(&entry.path, version)? else { continue };
            if let Ok(agent) = aios_agents::agent::Agent::read(name, &text) {
                (entry.agent, found) = (agent, true);
            }
        }
        match found {
            true => Ok(registry),
            false => Err(Error::Usage(format!("no agent had the version {version} in force"))),
        }
    }

    /// All of them.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// The text of a version that was accepted; nothing for one that was not, or whose text was forgotten.
fn accepted_text(vault: &mut Vault, path: &str, version: &ContentHash) -> Result<Option<String>, Error> {
    match vault.text_at_version(path, version) {
        Err(Error::InForce { .. }) => Ok(None),
        found => found,
    }
}

/// What the kernel holds an agent to.
fn terms(entry: &Entry) -> Terms {
    Terms {
        version: entry.version,
        effects: entry.agent.effects.clone(),
        always_asks: entry.agent.always_asks,
        retry: entry.agent.retry.clone(),
        calls_models: calls_models(entry),
        money: entry.agent.budget.money,
    }
}

/// Whether a model works for an agent, or for one that it asks.
fn calls_models(entry: &Entry) -> bool {
    entry.agent.runtime == Runtime::Model || entry.crew.values().any(calls_models)
}

/// That its program lies in the vault: it would be run as it is there, whether it was accepted or not (I11).
fn misplaced(entry: &Entry, root: &Path) -> Option<String> {
    let words = entry.agent.program.iter().flat_map(|program| &program.command);
    let word = words.into_iter().find(|word| Path::new(word).starts_with(root))?;
    let what = "is a file of the vault: what is run stands in the agent's own file, as";
    Some(format!("{}: {word} {what} `{SCRIPT}`", entry.path))
}

/// Does an agent's work once more from what is recorded; nothing where that cannot be done.
pub fn again(
    staff: Option<&Staff>,
    entry: &Entry,
    name: &str,
    input: &Value,
    turns: &[Turn],
) -> Option<Result<Value, Failure>> {
    let input = match entry.agent.take(input) {
        Ok(input) => input,
        Err(failure) => return Some(Err(failure)),
    };
    let talk = Talk { name, entry, input: &input, outside: false, turns, asker: None };
    match entry.agent.runtime {
        Runtime::Template => Some(fill(entry, &entry.agent.body, &input)),
        Runtime::Model if turns.is_empty() => {
            entry.agent.template.as_ref().map(|template| fill(entry, template, &input))
        }
        Runtime::Model => Some(talk.replay()),
        Runtime::Wasm => staff?.component_again(&talk),
        Runtime::Command | Runtime::Journal => None,
    }
}

/// What a template gives.
fn fill(entry: &Entry, template: &str, input: &Value) -> Result<Value, Failure> {
    entry.agent.give(&Template(template.to_owned()).fill(input)?)
}
