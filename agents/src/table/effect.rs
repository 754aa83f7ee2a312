//! Effects with what was decided, consented to, and came of them.

use std::collections::BTreeMap;

use aios_core::id::DeviceId;
use serde_json::Value;

use super::{Fold, Order};
use crate::event::{Came, Content, WorkEvent};
use crate::failure::Failure;
use crate::policy::Verdict;
use crate::span::Millis;

/// What a step proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The task.
    pub task: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// What it does.
    pub content: Content,
    /// The device that proposed it: it decides and acts, and nobody else does so in its name (I11).
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
    /// The device that performs it.
    pub device: DeviceId,
    /// When.
    pub at: Millis,
}

/// An effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// The devices that work on tasks, where something was proposed for them: nobody else proposes (I11).
    pub owners: BTreeMap<String, DeviceId>,
    /// What was proposed.
    pub proposed: Option<Proposed>,
    /// What a policy decided.
    pub decided: Option<Decided>,
    /// Whether the operator consented to what was proposed.
    pub approved: bool,
    /// Why the operator refused.
    pub denied: Option<String>,
    /// Why nobody wants it any more.
    pub withdrawn: Option<String>,
    /// That it is about to happen.
    pub intent: Option<Intent>,
    /// What came of that intent.
    pub came: Option<Came>,
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
    /// Where it stands. What has happened has happened, whatever was said of it later; a denial beats an approval.
    pub fn stand(&self) -> Stand {
        let last = self.intent.map_or(0, |intent| intent.attempt);
        match (&self.came, &self.intent) {
            (Some(Came::Done { result }), _) => return Stand::Done(result.clone()),
            (Some(Came::Unknown), _) => {
                return match self.settled {
                    Some((attempt, true)) if attempt == last => Stand::Done(Value::Null),
                    Some((attempt, false)) if attempt == last => Stand::Undone,
                    _ => Stand::Unknown(last),
                };
            }
            (Some(Came::Failed { failure }), _) => return Stand::Failed(failure.clone()),
            (None, Some(intent)) => return Stand::Performing(*intent),
            // It was done when the log was longer than it is.
            (None, None) if matches!(self.settled, Some((_, true))) => return Stand::Done(Value::Null),
            (None, None) => {}
        }
        if let Some(note) = self.denied.as_ref().or(self.withdrawn.as_ref()) {
            return Stand::Denied(note.clone());
        }
        match &self.decided {
            None => Stand::Proposed,
            Some(decided) => match decided.verdict {
                Verdict::Deny => Stand::Denied(decided.why.clone()),
                Verdict::Ask if !self.approved => Stand::Waiting,
                Verdict::Allow | Verdict::Ask => Stand::Allowed,
            },
        }
    }

    /// Whether the log knows that this attempt began, or the operator said what came of it.
    pub fn is_known(&self, attempt: u32) -> bool {
        let begun = self.intent.is_some_and(|intent| intent.attempt >= attempt);
        begun || self.settled.is_some_and(|(settled, _)| settled >= attempt)
    }

    /// The decision by which it counts against a rule's caps: it was allowed, and happened or still may.
    pub fn charged(&self) -> Option<&Decided> {
        let over = matches!(self.stand(), Stand::Denied(_) | Stand::Failed(_));
        self.decided.as_ref().filter(|decided| decided.verdict == Verdict::Allow && !over)
    }
}

impl Fold for Effect {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        match event {
            WorkEvent::EffectProposed { task, run, step, content, .. }
                if self.owners.get(task) == Some(&order.0.2) =>
            {
                self.proposed.get_or_insert_with(|| Proposed {
                    task: task.clone(),
                    run: run.clone(),
                    step: step.clone(),
                    content: content.clone(),
                    device: order.0.2,
                });
            }
            WorkEvent::EffectDecided { .. }
            | WorkEvent::EffectIntended { .. }
            | WorkEvent::EffectEnded { .. }
                if self.proposed.as_ref().is_none_or(|it| it.device != order.0.2) => {}
            WorkEvent::EffectDecided { verdict, rule, why, .. } => {
                let at = order.time();
                let new = || Decided { verdict: *verdict, rule: rule.clone(), why: why.clone(), at };
                self.decided.get_or_insert_with(new);
            }
            WorkEvent::ApprovalGranted { key, digest, .. } => {
                // Consent to something else than what was proposed is none (I11).
                let proposed = self.proposed.as_ref();
                self.approved |= proposed.is_some_and(|it| it.content.digest(key) == *digest);
            }
            WorkEvent::ApprovalDenied { note, .. } if self.intent.is_none() => {
                self.denied.get_or_insert_with(|| note.clone());
            }
            WorkEvent::EffectWithdrawn { note, .. } if self.intent.is_none() => {
                self.withdrawn.get_or_insert_with(|| note.clone());
            }
            WorkEvent::EffectIntended { attempt, .. } => {
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
                    self.intent = Some(Intent { attempt: *attempt, device: order.0.2, at: order.time() });
                    self.came = None;
                }
            }
            WorkEvent::EffectEnded { attempt, came, .. } => {
                let is_it = self.intent.is_some_and(|intent| intent.attempt == *attempt);
                if is_it && self.came.is_none() {
                    self.came = Some(came.clone());
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
            }
            _ => {}
        }
    }
}
