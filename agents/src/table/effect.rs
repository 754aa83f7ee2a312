//! Effects with what was decided, consented to, and came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aios_core::id::{ContentHash, DeviceId};
use serde::Serialize;
use serde_json::Value;

use super::{Fold, Homes, Order};
use crate::event::{Came, Content, WorkEvent};
use crate::failure::Failure;
use crate::money::Money;
use crate::policy::Verdict;
use crate::span::Millis;

/// Why what was proposed is void when the operator consented to something else in its place.
const EDITED: &str = "the operator changed what is sent";

/// What a step proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The task.
    pub task: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// How many of the same step were denied before it.
    pub generation: u32,
    /// What it does.
    pub content: Content,
    /// Its consent digest.
    pub digest: ContentHash,
    /// The device that proposed it: it works on the task.
    pub device: DeviceId,
}

/// What a policy decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What.
    pub verdict: Verdict,
    /// The rule; none: the default.
    pub rule: Option<String>,
    /// Why.
    pub why: String,
    /// When.
    pub at: Millis,
}

/// That an effect is about to happen, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The consent digest of what happens.
    pub digest: ContentHash,
    /// The device that performs it.
    pub device: DeviceId,
    /// When.
    pub at: Millis,
}

/// The operator's word that something must not happen, or not as it was proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Why.
    pub note: String,
    /// When.
    pub at: Millis,
    /// Whether they consented to something else in its place.
    pub changed: bool,
}

/// An effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// The devices that work on tasks, where something was proposed for them: nobody else proposes (I11).
    pub owners: BTreeMap<String, DeviceId>,
    /// Where effects happen: that device alone decides and acts (I10).
    pub homes: Arc<Homes>,
    /// What was proposed: by the device that works on the task, else what was begun of what another proposed that seemed to.
    pub proposed: Option<Proposed>,
    /// What was proposed by devices that turn out not to work on the task, by its consent digest.
    strays: BTreeMap<ContentHash, Proposed>,
    /// What policies decided, by the consent digest of what it was about. Another proposal may turn out to be the one that counts.
    decisions: BTreeMap<ContentHash, Decided>,
    /// How the operator was asked louder, by the consent digest of what it was about.
    escalations: BTreeMap<ContentHash, Vec<String>>,
    /// What the operator consented to.
    approvals: BTreeSet<ContentHash>,
    /// What the operator consented to in its place: it is void, where it does not happen all the same.
    pub edited: Option<Content>,
    /// When that was.
    changed: Option<Millis>,
    /// Why the operator refused.
    pub denied: Option<String>,
    /// When that was.
    pub refused: Option<Millis>,
    /// The refusal that an attempt was begun in spite of, until the operator says that they know.
    late: Option<Refusal>,
    /// Why nobody wants it any more.
    pub withdrawn: Option<String>,
    /// Whether the device where it happens says that it will not: what anybody else says may cross with the act.
    closed: bool,
    /// That it is about to happen.
    pub intent: Option<Intent>,
    /// What came of that intent.
    pub came: Option<Came>,
    /// The attempts that were done, and those that failed, with why.
    tries: Vec<(Order, Option<Failure>)>,
    /// The last attempt of which the operator said whether it happened.
    pub settled: Option<(u32, bool)>,
}

/// Where an effect stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// Nothing is decided.
    Proposed,
    /// The operator is asked.
    Waiting,
    /// It may happen.
    Allowed,
    /// It must not happen, for this reason.
    Denied(String),
    /// It is about to happen, or has.
    Performing(Intent),
    /// It happened, and this was the answer.
    Done(Value),
    /// It did not happen.
    Failed(Failure),
    /// The operator says that it did not happen.
    Undone,
    /// Nobody knows whether this attempt happened.
    Unknown(u32),
}

impl Effect {
    /// One of which nothing is known.
    pub fn at_homes(homes: Arc<Homes>) -> Effect {
        Effect { homes, ..Effect::default() }
    }

    /// Where it stands. What has happened has happened, whatever was said of it later; a denial beats an approval.
    pub fn stand(&self) -> Stand {
        let last = self.intent.map_or(0, |intent| intent.attempt);
        match (&self.came, &self.intent) {
            (Some(Came::Done { result }), _) => return Stand::Done(result.clone()),
            (Some(Came::Unknown), _) => match self.settled {
                Some((attempt, true)) if attempt == last => return Stand::Done(Value::Null),
                Some((attempt, false)) if attempt == last && self.is_wanted() => return Stand::Undone,
                // It did not happen, and nobody wants it any more.
                Some((attempt, false)) if attempt == last => {}
                _ => return Stand::Unknown(last),
            },
            (Some(Came::Failed { failure }), _) if self.is_wanted() => return Stand::Failed(failure.clone()),
            (Some(Came::Failed { .. }), _) => {}
            (None, Some(intent)) => return Stand::Performing(*intent),
            // It was done when the log was longer than it is.
            (None, None) if matches!(self.settled, Some((_, true))) => return Stand::Done(Value::Null),
            (None, None) => {}
        }
        let edited = self.edited.as_ref().map(|_| EDITED);
        let note = self.denied.as_deref().or(edited).or(self.withdrawn.as_deref());
        if let Some(note) = note {
            return Stand::Denied(note.to_owned());
        }
        match self.decided() {
            None => Stand::Proposed,
            Some(decided) => match decided.verdict {
                Verdict::Deny => Stand::Denied(decided.why.clone()),
                Verdict::Ask if !self.is_allowed() => Stand::Waiting,
                Verdict::Allow | Verdict::Ask => Stand::Allowed,
            },
        }
    }

    /// Whether it is to be tried again where it did not happen.
    fn is_wanted(&self) -> bool {
        self.withdrawn.is_none() && self.denied.is_none() && self.edited.is_none()
    }

    /// The operator's word that it must not happen, or not so, whether it came in time or not.
    pub fn refusal(&self) -> Option<Refusal> {
        let denied = self.denied.clone().zip(self.refused);
        let denied = denied.map(|(note, at)| Refusal { note, at, changed: false });
        denied.or_else(|| Some(Refusal { note: EDITED.to_owned(), at: self.changed?, changed: true }))
    }

    /// Keeps the operator's word where it comes too late.
    fn refuse(&mut self) {
        if !self.has_not_happened() {
            self.late = self.late.take().or_else(|| self.refusal());
        }
    }

    /// The refusal that came too late: what it was about had begun, and happened or may have. Nothing where the operator has taken note of it.
    pub fn too_late(&self) -> Option<&Refusal> {
        self.late.as_ref().filter(|_| !self.has_not_happened())
    }

    /// What the operator consented to in its place, unless they refused it, too: a denial beats that.
    pub fn replacement(&self) -> Option<&Content> {
        self.edited.as_ref().filter(|_| self.denied.is_none())
    }

    /// What a policy decided of what is proposed.
    pub fn decided(&self) -> Option<&Decided> {
        self.decisions.get(&self.proposed.as_ref()?.digest)
    }

    /// How the operator was asked louder for what is proposed, one after the other.
    pub fn escalated(&self) -> &[String] {
        let digest = self.proposed.as_ref().map(|it| it.digest);
        digest.and_then(|digest| self.escalations.get(&digest)).map_or(&[], Vec::as_slice)
    }

    /// What came of the attempt that ended at a place in the order: nothing if none did, or nobody knows; else the failure, if it was one.
    pub fn tried(&self, order: &Order) -> Option<Option<&Failure>> {
        self.tries.iter().find(|(other, _)| other == order).map(|(_, failure)| failure.as_ref())
    }

    /// Where in the order something came of it.
    pub fn tries(&self) -> impl Iterator<Item = Order> {
        self.tries.iter().map(|(order, _)| *order)
    }

    /// Whether what is proposed is decided to happen, with the consent that takes (I11).
    pub fn is_allowed(&self) -> bool {
        let consent = self.proposed.as_ref().is_some_and(|it| self.approvals.contains(&it.digest));
        self.decided().is_some_and(|decided| match decided.verdict {
            Verdict::Allow => true,
            Verdict::Ask => consent,
            Verdict::Deny => false,
        })
    }

    /// Whether the device where it happens says that it will not: what anybody else says may cross with the act.
    pub fn is_closed(&self) -> bool {
        self.closed || self.decided().is_some_and(|decided| decided.verdict == Verdict::Deny)
    }

    /// Whether it was proposed by the device that works on the task (I11).
    fn is_owners(&self, proposed: &Proposed) -> bool {
        self.owners.get(&proposed.task) == Some(&proposed.device)
    }

    /// Whether it is known that no attempt happened, or is under way.
    fn has_not_happened(&self) -> bool {
        let Some(intent) = &self.intent else { return true };
        match &self.came {
            Some(Came::Failed { .. }) => true,
            Some(Came::Unknown) => self.settled == Some((intent.attempt, false)),
            Some(Came::Done { .. }) | None => false,
        }
    }

    /// The device where it happens, said at a place in the order.
    fn home(&self, capability: &str, order: &Order) -> Option<DeviceId> {
        let home = self.homes.at(capability, order);
        home.or_else(|| self.proposed.as_ref().map(|proposed| proposed.device))
    }

    /// Whether the log knows that this attempt began, or the operator said what came of it.
    pub fn is_known(&self, attempt: u32) -> bool {
        let begun = self.intent.is_some_and(|intent| intent.attempt >= attempt);
        begun || self.settled.is_some_and(|(settled, _)| settled >= attempt)
    }

    /// The decision by which it counts against a rule's caps: it was allowed, and happened or still may. One that failed may be tried
    /// again without being decided again.
    pub fn charged(&self) -> Option<&Decided> {
        self.charge().map(|(_, decided)| decided)
    }

    /// The money that counts against a rule's caps.
    pub fn charged_money(&self) -> Option<Money> {
        let digest = self.charge()?.0;
        let own = self.proposed.as_ref().filter(|it| it.digest == *digest);
        own.or_else(|| self.strays.get(digest))?.content.amount
    }

    fn charge(&self) -> Option<(&ContentHash, &Decided)> {
        let over = matches!(self.stand(), Stand::Denied(_));
        let allowed = match &self.intent {
            Some(intent) => self.decisions.get_key_value(&intent.digest),
            // Whichever proposal turns out to stand, what was allowed may happen.
            None => self.decisions.iter().find(|(_, decided)| decided.verdict == Verdict::Allow),
        };
        allowed.filter(|(_, decided)| decided.verdict == Verdict::Allow && !over)
    }
}

impl Fold for Effect {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        match event {
            WorkEvent::EffectProposed { key, task, run, step, generation, content } => {
                let proposed = Proposed {
                    task: task.clone(),
                    run: run.clone(),
                    step: step.clone(),
                    generation: *generation,
                    content: content.clone(),
                    digest: content.digest(key),
                    device: order.0.2,
                };
                if !self.is_owners(&proposed) {
                    self.strays.entry(proposed.digest).or_insert(proposed);
                } else if self.proposed.as_ref().is_none_or(|it| !self.is_owners(it)) {
                    self.proposed = Some(proposed);
                }
            }
            WorkEvent::EffectDecided { capability, .. }
            | WorkEvent::EffectEscalated { capability, .. }
            | WorkEvent::EffectIntended { capability, .. }
                if self.home(capability, order) != Some(order.0.2) => {}
            // What came of it whoever did it knows, wherever such things happen meanwhile.
            WorkEvent::EffectEnded { .. } if self.intent.is_none_or(|it| it.device != order.0.2) => {}
            WorkEvent::EffectDecided { digest, verdict, rule, why, .. } => {
                let at = order.time();
                let new = || Decided { verdict: *verdict, rule: rule.clone(), why: why.clone(), at };
                self.decisions.entry(*digest).or_insert_with(new);
            }
            // Said again by another home it is the same.
            WorkEvent::EffectEscalated { digest, stage, ask, .. } => {
                let stages = self.escalations.entry(*digest).or_default();
                if usize::try_from(*stage) == Ok(stages.len()) {
                    stages.push(ask.clone());
                }
            }
            // Consent to something else than what is proposed is none (I11).
            WorkEvent::ApprovalGranted { digest, .. } => _ = self.approvals.insert(*digest),
            WorkEvent::ApprovalEdited { key, generation, content, .. } => {
                self.approvals.insert(content.digest(key));
                // It is heard of by what it takes the place of, too.
                let voids = self.proposed.as_ref().is_some_and(|it| {
                    it.generation.checked_add(1) == Some(*generation)
                        && it.content.capability == content.capability
                });
                let open = self.withdrawn.is_none() && self.edited.is_none();
                if voids && open {
                    // What policies know it by is the step's to say.
                    let own = self.proposed.as_ref().map(|it| &it.content);
                    self.edited = own.map(|own| Content {
                        agent: own.agent.clone(),
                        tags: own.tags.clone(),
                        ..content.clone()
                    });
                    self.changed = Some(order.time());
                    self.refuse();
                }
            }
            // What has begun goes on, here as above; where it comes to nothing it is not tried again.
            WorkEvent::ApprovalDenied { note, .. } => {
                self.denied.get_or_insert_with(|| note.clone());
                self.refused.get_or_insert(order.time());
                self.refuse();
            }
            WorkEvent::EffectWithdrawn { note, .. } if self.has_not_happened() => {
                self.withdrawn.get_or_insert_with(|| note.clone());
                let capability = self.proposed.as_ref().map(|proposed| proposed.content.capability.as_str());
                self.closed |= capability.is_some_and(|it| self.home(it, order) == Some(order.0.2));
            }
            WorkEvent::EffectIntended { attempt, digest, .. } => {
                let may_follow = match (&self.intent, &self.came) {
                    // What was settled of an attempt that the log lost is not said of this one.
                    (None, _) => self.settled.is_none_or(|(lost, happened)| !happened && *attempt > lost),
                    (Some(before), Some(Came::Failed { .. })) => *attempt > before.attempt,
                    (Some(before), Some(Came::Unknown)) => {
                        *attempt > before.attempt && self.settled == Some((before.attempt, false))
                    }
                    (Some(_), _) => false,
                };
                if may_follow {
                    let (attempt, digest) = (*attempt, *digest);
                    self.intent = Some(Intent { attempt, digest, device: order.0.2, at: order.time() });
                    self.came = None;
                    // It was begun where nobody had heard of that.
                    self.late = self.late.take().or_else(|| self.refusal());
                    // Whoever turns out to have the task, what was begun is seen to.
                    if self.proposed.is_none() {
                        self.proposed = self.strays.get(&digest).cloned();
                    }
                }
            }
            WorkEvent::EffectEnded { attempt, came, .. } => {
                let is_it = self.intent.is_some_and(|intent| intent.attempt == *attempt);
                if is_it && self.came.is_none() {
                    self.came = Some(came.clone());
                    match came {
                        Came::Done { .. } => self.tries.push((*order, None)),
                        Came::Failed { failure } => self.tries.push((*order, Some(failure.clone()))),
                        Came::Unknown => {}
                    }
                }
            }
            WorkEvent::EffectSettled { attempt, happened, .. } => {
                let done_again = self.intent.is_some_and(|intent| intent.attempt > *attempt);
                let counts = match self.settled {
                    None => true,
                    Some((last, _)) if last != *attempt => *attempt > last,
                    // That it happened beats that it did not.
                    Some(_) => *happened && !done_again,
                };
                if counts {
                    self.settled = Some((*attempt, *happened));
                }
                // Who says that it happened knows.
                if *happened && self.intent.is_some_and(|intent| intent.attempt <= *attempt) {
                    self.late = None;
                }
            }
            _ => {}
        }
    }
}
