//! What models are asked by batch: which questions go that way, and what of those that are on it.

use std::collections::{BTreeMap, BTreeSet};

use aios_agents::agent::batch::{Stage, key};
use aios_agents::agent::talk::{self, By, Talk};
use aios_agents::agent::{Batched, Turn};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{Input, Work};
use aios_agents::model::batch::{Came, GATHERING, Item, Looking, Refused, Seen, Sending, Tray, look_again};
use aios_agents::model::price::Price;
use aios_agents::model::{Answer, Request};
use aios_agents::span::Millis;
use aios_vault::chance::now_ms;

use super::asking::Asked;
use super::{Doing, Open, Order, Staff};
use crate::batch::{Post, Posted};
use crate::caller::Line;

/// When it is tried again to look at a batch where something has to be mended first, in ms.
const MENDING: Millis = 60_000;

/// How a question is asked.
pub(super) enum Way {
    /// At once.
    Directly,
    /// By batch: it is to be queued.
    Anew(Batched),
    /// By batch: it is on its way.
    Goes(Batched),
    /// It cannot go by batch, which is said first.
    Left(Turn),
}

/// A provider, a model there, and where that is.
type Lane = (String, String, String);
/// A provider, and what it calls a batch.
type Name = (String, String);

/// What goes by batch on this device.
#[derive(Default)]
pub(super) struct Batches {
    tray: Tray<Lane, Work>,
    /// The questions that this process queued, and has not sent: nobody else can have.
    unsent: BTreeSet<String>,
    sending: BTreeMap<u64, (Line, Vec<(Work, String)>)>,
    /// The batches that are to be looked at, for whom.
    wanted: BTreeMap<Name, (Line, Vec<Work>)>,
    looking: BTreeMap<u64, (Name, Line, Vec<Work>)>,
    /// When they were looked at last.
    looked: BTreeMap<Name, Millis>,
    /// The addresses that have no batches.
    none: BTreeSet<String>,
    /// Those that were given up.
    withdrawn: BTreeSet<Name>,
    /// What was said already of one that cannot be looked at.
    told: BTreeSet<String>,
}

impl Batches {
    /// Nobody waits for a piece of work any more.
    pub fn stop(&mut self, work: &Work) {
        self.tray.retain(|waiting| waiting != work);
        self.wanted.values_mut().for_each(|(_, works)| works.retain(|waiting| waiting != work));
    }

    /// Goes on with what another was at.
    pub fn take_over(&mut self, other: &mut Batches) {
        let mut others = std::mem::take(other);
        others.tray.append(&mut self.tray);
        *self = others;
    }
}

/// What a model costs by batch.
///
/// # Errors
/// That nobody said.
pub(super) fn price(price: &Price, provider: &str, model: &str) -> Result<Price, Failure> {
    price.by_batch().ok_or_else(|| {
        let what = format!(
            "nobody said what {provider}/{model} costs by batch: write `batch` beside its `input` and `output`, `0.5` for half, and accept that; or leave out `urgency: low`"
        );
        Failure::new(Class::Budget, what)
    })
}

impl Staff {
    /// How a question is asked: by batch only the first of who may wait, and not where somebody waits to see it.
    pub(super) fn way(
        &self,
        talk: &Talk<'_>,
        by: &By,
        order: &Order,
        request: &Request,
        is_cut: bool,
    ) -> Way {
        let (asked, now) = (talk::asked(request), now_ms());
        match talk.batched() {
            Some(batched) if !batched.waits() => return Way::Directly,
            Some(batched) if batched.asked != asked => {
                let why = "what it is asked is another question now".to_owned();
                return Way::Left(Turn::Batched(batched.then(now, Stage::Left { why })));
            }
            Some(batched) => return Way::Goes(batched.clone()),
            None => {}
        }
        let agent = &talk.entry.agent;
        if !agent.patient || order.rehearses || !by.is_own() || is_cut || !talk.is_first() {
            return Way::Directly;
        }
        let models = self.registry.models.models(&agent.model);
        let Some((provider, model)) = models.into_iter().next() else { return Way::Directly };
        let Some(found) = self.registry.models.providers.get(&provider) else { return Way::Directly };
        let key = key(&order.work, order.turns.len(), &asked);
        let (named, model) = (model.clone(), format!("{provider}/{model}"));
        let queued = Batched { model, asked, key, since: now, stage: Stage::Queued };
        let why = match found.api.may_batch() && !self.batches.none.contains(&found.url) {
            false => no_batches(&provider),
            // Asked directly, the next of its tier may do.
            true => match self.line(provider, named, found) {
                Err(why) => why,
                Ok(_) => return Way::Anew(queued),
            },
        };
        Way::Left(Turn::Batched(queued.then(now, Stage::Left { why })))
    }

    /// A question is to go by batch: that is recorded before it does.
    pub(super) fn queue(&mut self, queued: Batched) -> Turn {
        self.batches.unsent.insert(queued.key.clone());
        Turn::Batched(queued)
    }

    /// Brings a question on its way that goes by batch: it waits for others to go with, or for its answer.
    pub(super) fn go_by_batch(&mut self, mut asked: Asked, batched: Batched) -> Doing {
        let work = asked.order.work.clone();
        let now = now_ms();
        let line = match self.line_of(&batched) {
            Ok(line) => line,
            Err(why) => return self.cannot_look(work, &batched, why, now),
        };
        asked.lines = vec![line.clone()];
        let (provider, model) = line.model.clone();
        let poll = line.provider.poll;
        match &batched.stage {
            Stage::Sent { batch } => {
                let name = (provider, batch.clone());
                // Who has just begun looks at once.
                let looked = self.batches.looked.get(&name);
                let at = looked.and_then(|looked| look_again(batched.since, *looked, poll)).unwrap_or(now);
                if at > now {
                    return Doing::Came(Input::Waits { work, until: at });
                }
                let wanted = self.batches.wanted.entry(name).or_insert_with(|| (line, Vec::new()));
                wanted.1.push(work.clone());
            }
            Stage::Queued | Stage::Left { .. } => {
                let bytes = usize::try_from(talk::most(&asked.request).input).unwrap_or(usize::MAX);
                let until = now.saturating_add(GATHERING.min(poll));
                let lane = (provider, model, line.provider.url);
                self.batches.tray.put(lane, bytes, work.clone(), until);
            }
        }
        self.asked.insert(work, Open::Batch(Box::new(asked), batched));
        Doing::Asked
    }

    /// Who is asked by batch, with the key; or why nobody can be.
    fn line_of(&self, batched: &Batched) -> Result<Line, String> {
        let (provider, model) = batched.line().unwrap_or_default();
        let found = self.registry.models.providers.get(&provider);
        let found = found.ok_or_else(|| format!("there is no provider `{provider}` any more"))?;
        self.line(provider, model, found)
    }

    /// A batch cannot be looked at, or made, for what the operator can mend. What is paid already is not given up for that.
    fn cannot_look(&mut self, work: Work, batched: &Batched, why: String, now: Millis) -> Doing {
        let Stage::Sent { batch } = &batched.stage else {
            let came = Err(Failure::new(Class::Denied, why));
            return Doing::Came(Input::Worked { work, came });
        };
        if look_again(batched.since, now, MENDING).is_none() {
            let turns = vec![Turn::Batched(batched.then(now, Stage::Left { why }))];
            return Doing::Came(Input::Took { work, turns });
        }
        let (provider, _) = batched.line().unwrap_or_default();
        self.tell(format!("batch {batch} at {provider} cannot be looked at: {why}"));
        Doing::Came(Input::Waits { work, until: now.saturating_add(MENDING) })
    }

    fn tell(&mut self, what: String) {
        if self.batches.told.insert(what.clone()) {
            self.warnings.push(what);
        }
    }

    /// Sends the batches that go now, and looks at those that are to be looked at.
    pub fn post(&mut self, now: Millis) {
        for (_, works) in self.batches.tray.take(now) {
            let mut items = Vec::new();
            let mut sent = Vec::new();
            let mut line = None;
            for work in works {
                let Some(Open::Batch(asked, batched)) = self.asked.get(&work) else { continue };
                let Some(to) = asked.lines.first() else { continue };
                let key = batched.key.clone();
                let request = Request { model: to.model.1.clone(), ..asked.request.clone() };
                line.get_or_insert_with(|| to.clone());
                let maybe_sent = (!self.batches.unsent.remove(&key)).then_some(batched.since);
                items.push(Item { key: key.clone(), request, maybe_sent });
                sent.push((work, key));
            }
            let Some(line) = line else { continue };
            match self.calls.post(line.clone(), Post::Send(Sending::new(line.provider.api, items))) {
                Ok(number) => _ = self.batches.sending.insert(number, (line, sent)),
                Err(failure) => sent.into_iter().for_each(|(work, _)| self.fails(work, failure.clone())),
            }
        }
        for (name, (line, works)) in std::mem::take(&mut self.batches.wanted) {
            if works.is_empty() {
                continue;
            }
            match self.calls.post(line.clone(), Post::Look(Looking::new(line.provider.api, &name.1))) {
                Ok(number) => _ = self.batches.looking.insert(number, (name, line, works)),
                Err(failure) => works.into_iter().for_each(|work| self.fails(work, failure.clone())),
            }
        }
    }

    /// When the next batch is to be sent.
    pub fn due(&self) -> Option<Millis> {
        self.batches.tray.due()
    }

    /// Has a provider give up a batch, as well as that goes.
    pub fn withdraw(&mut self, batched: &Batched) {
        if let (Stage::Sent { batch }, Ok(line)) = (&batched.stage, self.line_of(batched)) {
            self.give_up(&line, batch);
        }
    }

    fn give_up(&mut self, line: &Line, batch: &str) {
        let exchange = line.provider.api.withdrawal(batch);
        let name = (line.model.0.clone(), batch.to_owned());
        if let Some(exchange) = exchange.filter(|_| self.batches.withdrawn.insert(name)) {
            // Where nothing can be called the batch is not stopped, and nothing else depends on it.
            let _ = self.calls.post(line.clone(), Post::Withdraw(exchange));
        }
    }

    /// What a provider answered about a batch.
    pub(super) fn posted(&mut self, number: u64, posted: Posted) {
        match posted {
            Posted::Sent(came) => {
                if let Some((line, works)) = self.batches.sending.remove(&number) {
                    self.sent(&line, works, came);
                }
            }
            Posted::Seen(came) => {
                if let Some((name, line, works)) = self.batches.looking.remove(&number) {
                    self.seen(name, &line, works, came);
                }
            }
            Posted::Withdrawn => {}
        }
    }

    fn sent(
        &mut self,
        line: &Line,
        works: Vec<(Work, String)>,
        came: Result<BTreeMap<String, String>, Refused>,
    ) {
        let now = now_ms();
        // What nobody waits for any more is not paid for, where the whole batch is that.
        let mut idle: BTreeSet<String> = came.iter().flatten().map(|(_, batch)| batch.clone()).collect();
        if matches!(came, Err(Refused::Unknown)) {
            self.batches.none.insert(line.provider.url.clone());
        }
        for (work, key) in works {
            let Some(Open::Batch(_, batched)) = self.asked.remove(&work) else { continue };
            let stage = match &came {
                Ok(batches) => match batches.get(&key) {
                    Some(batch) => {
                        idle.remove(batch);
                        self.batches.looked.insert((line.model.0.clone(), batch.clone()), now);
                        Stage::Sent { batch: batch.clone() }
                    }
                    None => Stage::Left { why: "it is in no batch".into() },
                },
                Err(Refused::Unknown) => Stage::Left { why: no_batches(&line.model.0) },
                // It was surely not sent, and may be asked directly all the same.
                Err(Refused::Failed(it)) if !matches!(it.class, Class::Transient | Class::Budget) => {
                    Stage::Left { why: it.to_string() }
                }
                Err(Refused::Failed(failure)) => {
                    self.fails(work, failure.clone());
                    continue;
                }
            };
            self.comes_to(work, &batched, stage, now);
        }
        idle.iter().for_each(|batch| self.give_up(line, batch));
    }

    fn seen(&mut self, name: Name, line: &Line, works: Vec<Work>, came: Result<Seen, Failure>) {
        let now = now_ms();
        let mut wait = 0;
        let mut over = match came {
            Ok(Seen::Works) => None,
            Ok(Seen::Over { came, rest }) => Some((came, rest)),
            Err(failure) => {
                wait = failure.wait.unwrap_or(0);
                if !matches!(failure.class, Class::Transient | Class::RateLimited) {
                    self.tell(format!("batch {} at {} cannot be looked at: {failure}", name.1, name.0));
                }
                None
            }
        };
        self.batches.looked.insert(name.clone(), now);
        for work in works {
            let Some(Open::Batch(asked, batched)) = self.asked.remove(&work) else { continue };
            let Some((came, rest)) = &mut over else {
                let Some(until) = look_again(batched.since, now, line.provider.poll) else {
                    let why = "no answer came in time".to_owned();
                    self.comes_to(work, &batched, Stage::Left { why }, now);
                    self.give_up(line, &name.1);
                    continue;
                };
                let until = until.max(now.saturating_add(wait));
                self.gave.push_back((Input::Waits { work, until }, None));
                continue;
            };
            match came.remove(&batched.key) {
                Some(Came::Answered(answer)) => self.answered_by_batch(*asked, &batched, answer),
                Some(Came::Failed(failure)) => self.fails(work, failure),
                Some(Came::Left(why)) => self.comes_to(work, &batched, Stage::Left { why }, now),
                None => self.comes_to(work, &batched, Stage::Left { why: rest.clone() }, now),
            }
        }
        if over.is_some() {
            self.batches.looked.remove(&name);
        }
    }

    fn answered_by_batch(&mut self, asked: Asked, batched: &Batched, answer: Answer) {
        let (provider, model) = batched.line().unwrap_or_default();
        let price = self.registry.models.price(&provider, &model);
        let order = asked.order.clone();
        // Whoever said less since then pays no less.
        let Some(price) = price.map(|price| price.by_batch().unwrap_or(price)) else {
            let why = format!("nobody says any more what {provider}/{model} costs");
            let work = order.work.clone();
            if let Doing::Came(came) = self.cannot_look(work, batched, why, now_ms()) {
                self.gave.push_back((came, None));
            }
            return;
        };
        if asked.keeps
            && let Some(line) = asked.lines.first()
        {
            self.answers.keep(line, &asked.request, &answer);
        }
        let counted = talk::counted(&asked.request, &answer);
        let turn = Turn::Answered {
            model: batched.model.clone(),
            asked: batched.asked,
            outside: asked.outside,
            answer,
            counted,
            cost: price.of(&counted),
            kept: false,
        };
        self.gave.push_back((Input::Took { work: order.work.clone(), turns: vec![turn] }, Some(order)));
    }

    fn comes_to(&mut self, work: Work, batched: &Batched, stage: Stage, now: Millis) {
        let turns = vec![Turn::Batched(batched.then(now, stage))];
        self.gave.push_back((Input::Took { work, turns }, None));
    }

    fn fails(&mut self, work: Work, failure: Failure) {
        self.asked.remove(&work);
        self.gave.push_back((Input::Worked { work, came: Err(failure) }, None));
    }
}

fn no_batches(provider: &str) -> String {
    format!("{provider} has no batches")
}
