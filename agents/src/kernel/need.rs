//! What the operator has to do.

use aios_core::id::{ContentHash, DeviceId};
use serde::Serialize;

use super::packet::{SHORT, compensation};
use super::{Cost, Kernel};
use crate::event::{Content, EffectKey};
use crate::failure::Failure;
use crate::span::Millis;
use crate::table::{Attempt, Effect, Intent, Proposed, Refusal, Stand};

/// One thing that needs the operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "need", rename_all = "lowercase")]
pub enum Need {
    /// This device has begun an effect that the log does not know: the vault was restored from an older copy.
    Lost {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        attempt: u32,
        /// When.
        at: Millis,
        /// What it is.
        what: String,
    },
    /// Whether an effect happened is not known: look, and say.
    Unknown {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        attempt: u32,
        /// The device that was at it.
        device: DeviceId,
        /// Where to look there.
        check: String,
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// What it would have done.
        content: Content,
    },
    /// A dead letter: what failed for good.
    Dead {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// What was wanted.
        wanted: String,
        /// How it failed.
        failure: Failure,
        /// How often it was tried.
        attempts: u32,
        /// The attempts that failed.
        failed: Vec<Attempt>,
        /// What the task cost so far.
        cost: Cost,
        /// Commands that go on from here.
        next: Vec<String>,
    },
    /// An effect asks for consent.
    Approval {
        /// The effect.
        key: EffectKey,
        /// The device that does it.
        device: DeviceId,
        /// What consent is bound to.
        digest: ContentHash,
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// What it will do.
        content: Content,
        /// Why it asks.
        why: String,
        /// Since when.
        since: Millis,
        /// What is asked now that nobody has answered for a while.
        #[serde(skip_serializing_if = "Option::is_none")]
        louder: Option<String>,
    },
    /// The operator refused or changed an effect that had begun: it went out, or may still.
    Refused {
        /// The effect.
        key: EffectKey,
        /// The device that did it.
        device: DeviceId,
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// What it did.
        content: Content,
        /// Why it was refused.
        note: String,
        /// When.
        at: Millis,
        /// Whether they consented to something else in its place.
        changed: bool,
        /// When it had begun.
        began: Millis,
        /// Whether it is known that it happened.
        done: bool,
        /// Commands that go on from here.
        next: Vec<String>,
    },
    /// A workflow asks.
    Question {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// Which attempt at the step asks.
        attempt: u32,
        /// The question.
        question: String,
        /// The answers there are; none: any text.
        choices: Vec<String>,
    },
    /// A step waits for an effect that happens on another device.
    Elsewhere {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// The capability.
        capability: String,
        /// The device.
        device: DeviceId,
        /// Whether that device is a member no more: then it waits for the operator.
        gone: bool,
    },
    /// An effect waits for its time, and goes on by itself.
    Later {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// When it goes on.
        until: Millis,
        /// Why it waits.
        why: String,
    },
    /// A new version of an agent did worse than the old one, and has no more tasks.
    Worse {
        /// The agent.
        agent: String,
        /// The version that has all of the work again.
        old: ContentHash,
        /// The one that did worse.
        new: ContentHash,
        /// When.
        at: Millis,
        /// Why.
        why: String,
    },
    /// A workflow cannot start by itself.
    Unfit {
        /// The workflow.
        workflow: String,
        /// Why.
        what: String,
    },
    /// Work waits for something that this device does not have.
    Missing {
        /// The task.
        task: String,
        /// What it is.
        what: String,
    },
}

impl Need {
    /// That an effect asks for consent, which happens on `device`.
    pub(super) fn approval(key: EffectKey, device: DeviceId, effect: &Effect, proposed: &Proposed) -> Need {
        let decided = effect.decided();
        Need::Approval {
            key,
            device,
            digest: proposed.digest,
            task: proposed.task.clone(),
            step: proposed.step.clone(),
            content: proposed.content.clone(),
            why: decided.map(|decided| decided.why.clone()).unwrap_or_default(),
            since: decided.map_or(0, |decided| decided.at),
            louder: effect.escalated().last().cloned(),
        }
    }

    /// How urgent it is; less is more.
    pub fn rank(&self) -> u8 {
        match self {
            Need::Lost { .. } | Need::Unknown { .. } => 0,
            Need::Dead { .. } | Need::Refused { .. } | Need::Approval { louder: Some(_), .. } => 1,
            Need::Approval { .. } => 2,
            Need::Question { .. } | Need::Worse { .. } => 3,
            Need::Unfit { .. } | Need::Missing { .. } | Need::Elsewhere { .. } | Need::Later { .. } => 4,
        }
    }
}

impl Kernel {
    /// What needs the operator, most urgent first.
    pub fn inbox(&self) -> Vec<&Need> {
        let mut out: Vec<&Need> = self.lost.values().chain(self.needs.values().flatten()).collect();
        out.extend(self.worse.values());
        // What another device does by itself, or time brings, needs nobody.
        out.retain(|need| !matches!(need, Need::Elsewhere { gone: false, .. } | Need::Later { .. }));
        out.sort_by_key(|need| need.rank());
        out
    }

    /// Whether a task waits for the operator, another device or its time.
    pub fn is_waited_for(&self, task: &str) -> bool {
        self.needs.contains_key(task)
    }

    /// What a task waits for that nobody here has.
    pub fn missing(&self, task: &str) -> Option<&str> {
        self.needs.get(task)?.iter().find_map(|need| match need {
            Need::Missing { what, .. } => Some(what.as_str()),
            _ => None,
        })
    }

    /// The capability that a task waits for, and the device that has it.
    pub fn elsewhere(&self, task: &str) -> Option<(&str, DeviceId)> {
        self.needs.get(task)?.iter().find_map(|need| match need {
            Need::Elsewhere { capability, device, .. } => Some((capability.as_str(), *device)),
            _ => None,
        })
    }

    /// When an effect of a task goes on that waits for its time, and why it waits.
    pub fn later(&self, task: &str) -> Option<(Millis, &str)> {
        self.needs.get(task)?.iter().find_map(|need| match need {
            Need::Later { until, why, .. } => Some((*until, why.as_str())),
            _ => None,
        })
    }

    /// What work and effects of other devices need the operator for, whose word counts wherever it is given, and what was refused too late on
    /// whichever device.
    pub fn needed_elsewhere(&self) -> Vec<Need> {
        let mut out = Vec::new();
        for (id, task) in self.tables.open_elsewhere(self.device) {
            let Some(device) = task.device else { continue };
            let over = task.ended.is_some() || self.tables.is_paused(id);
            let run = task.runs.iter().find(|(_, run)| run.device == device).filter(|_| !over);
            match run.map(|(run_id, run)| (run_id, run, run.stuck.as_ref())) {
                None => {}
                Some((run_id, run, Some(stuck))) => out.push(self.dead(id, task, run_id, run, stuck)),
                // What it asks follows from its journal, which is here, too.
                Some((run_id, run, None)) if run.ended.is_none() => {
                    let asked = self.walk(id, task, run_id, run).needs.into_iter();
                    out.extend(asked.filter(|need| matches!(need, Need::Question { .. })));
                }
                Some(_) => {}
            }
        }
        for (key, effect) in self.tables.unsettled() {
            let Some(proposed) = &effect.proposed else { continue };
            let device = match effect.intent {
                Some(intent) => intent.device,
                None => self.home(proposed),
            };
            let task = self.tables.task(&proposed.task);
            if device == self.device {
                continue;
            }
            if task.is_none_or(|task| task.ended.is_some() || task.cancelled.is_some()) {
                continue;
            }
            let paused = self.tables.is_paused(&proposed.task);
            match effect.stand() {
                Stand::Waiting if !paused => out.push(Need::approval(*key, device, effect, proposed)),
                Stand::Unknown(attempt) => {
                    let (check, content) = (String::new(), proposed.content.clone());
                    let (task, step) = (proposed.task.clone(), proposed.step.clone());
                    out.push(Need::Unknown { key: *key, attempt, device, check, task, step, content });
                }
                _ => {}
            }
        }
        out.extend(self.refused());
        out
    }

    /// What the operator refused when it had begun, until they take note of it or it is taken back.
    pub fn refused(&self) -> impl Iterator<Item = Need> {
        self.tables.refused_late().filter_map(|(key, effect)| {
            let (refusal, proposed) = (effect.too_late()?, effect.proposed.as_ref()?);
            let Refusal { note, at, changed } = refusal.clone();
            let Intent { device, at: began, .. } = effect.intent?;
            let done = match effect.stand() {
                Stand::Done(_) => true,
                // What came of it is asked about already.
                Stand::Unknown(_) => return None,
                _ => false,
            };
            let (task, step, content) =
                (proposed.task.clone(), proposed.step.clone(), proposed.content.clone());
            let next = self.after_refusal(key, proposed, done);
            Some(Need::Refused {
                key: *key,
                device,
                task,
                step,
                content,
                note,
                at,
                changed,
                began,
                done,
                next,
            })
        })
    }

    /// Commands for what was refused too late: what takes it back, where something does.
    fn after_refusal(&self, key: &EffectKey, proposed: &Proposed, done: bool) -> Vec<String> {
        let id = &proposed.task;
        if !done {
            return vec!["aios sync".into(), format!("aios task show {id}")];
        }
        let task = self.tables.task(id).filter(|task| task.ended.is_none() && task.cancelled.is_none());
        let workflow = task.and_then(|task| self.setting.versions.get(&task.version?));
        let step = workflow.and_then(|workflow| workflow.steps.at(&proposed.step));
        let mut next = Vec::new();
        if step.and_then(compensation).is_some() {
            next.push(format!("aios task cancel {id}"));
        }
        next.extend([format!("aios undo --run {id}"), format!("aios settle {} --done", key.0.short(SHORT))]);
        next
    }

    /// What else asks for consent to the same at the same step of the same workflow, with the effect itself.
    pub fn like(&self, key: &EffectKey) -> Vec<EffectKey> {
        let kind = |key: &EffectKey| {
            let proposed = self.tables.effect(key)?.proposed.as_ref()?;
            let workflow = self.tables.task(&proposed.task)?.workflow.clone();
            Some((proposed.content.capability.clone(), workflow, place(&proposed.step)))
        };
        let Some(wanted) = kind(key) else { return Vec::new() };
        let elsewhere = self.needed_elsewhere();
        let needs = self.inbox().into_iter().chain(&elsewhere);
        let asking = needs.filter_map(|need| match need {
            Need::Approval { key, .. } => Some(*key),
            _ => None,
        });
        asking.filter(|other| kind(other).as_ref() == Some(&wanted)).collect()
    }
}

/// The place of a step in its workflow: its path without which item it is of, and how often the run came there.
pub(super) fn place(path: &str) -> String {
    let bare = |name: &str| name.split(['[', '#', '~']).next().unwrap_or_default().to_owned();
    path.split('/').map(bare).collect::<Vec<_>>().join("/")
}
