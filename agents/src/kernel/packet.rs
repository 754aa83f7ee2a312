//! All that is known of a task, for whoever has to decide about it: what was wanted, what happened, and how to go on.

use aios_core::id::DeviceId;
use serde::Serialize;
use serde_json::Value;

use super::{Kernel, Need};
use crate::agent::Turn;
use crate::event::{Content, EffectKey, Fired, Outcome};
use crate::failure::Failure;
use crate::money::Money;
use crate::span::Millis;
use crate::table::{Attempt, Effect, Intent, Refusal, Run, Stand, Status, Stuck, Task};
use crate::workflow::{Act, Step};

/// So many hex digits of an id are enough for people.
pub(super) const SHORT: usize = 12;

/// A task with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Packet {
    /// The task.
    pub task: String,
    /// Its workflow.
    pub workflow: String,
    /// The workflow's title.
    pub title: Option<String>,
    /// The device that works on it.
    pub device: Option<DeviceId>,
    /// When it was made.
    pub made: Millis,
    /// What started it; none: the operator, or a step.
    pub trigger: Option<Fired>,
    /// What it was given.
    pub input: Value,
    /// What it is part of, the nearest first.
    pub above: Vec<Kin>,
    /// What its steps started.
    pub below: Vec<Kin>,
    /// What was wanted where it failed for good, and how it failed.
    pub dead: Option<Dead>,
    /// Its steps in the order in which they began.
    pub steps: Vec<Told>,
    /// What it cost so far.
    pub cost: Cost,
    /// How it ended, and what came out.
    pub ended: Option<(Outcome, Value)>,
    /// Commands that go on from here.
    pub next: Vec<String>,
}

/// An effect of a run that happened: it is not undone, at most something takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lasting {
    /// The effect.
    pub key: EffectKey,
    /// The step.
    pub step: String,
    /// What it did.
    pub content: Content,
    /// What the workflow says takes it back, such as `mail.send`.
    pub compensation: Option<String>,
    /// Whether that has happened.
    pub compensated: bool,
}

/// A task that another is part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kin {
    /// The task.
    pub task: String,
    /// Its workflow.
    pub workflow: Option<String>,
    /// The step of the one above that started the one below.
    pub step: String,
}

/// What could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dead {
    /// The step.
    pub step: String,
    /// What was wanted.
    pub wanted: String,
    /// How it failed.
    pub failure: Failure,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Its path.
    pub step: String,
    /// Where it stands.
    pub state: &'static str,
    /// When it last began.
    pub began: Millis,
    /// How often it was begun.
    pub attempts: u32,
    /// The attempts that failed.
    pub failed: Vec<Attempt>,
    /// The effects that it proposed, the last generation last.
    pub effects: Vec<Deed>,
    /// What happened in an agent's work with a model, as far as it went on from there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,
}

/// An effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deed {
    /// Its key.
    pub key: EffectKey,
    /// What it does.
    pub content: Content,
    /// Where it stands.
    pub state: &'static str,
    /// Why it was decided so.
    pub why: Option<String>,
    /// That the operator refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// When that was too late, because it had begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_late: Option<Millis>,
}

/// What a task cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Cost {
    /// Effects that happened.
    pub effects: u64,
    /// The money of these.
    pub spent: Money,
    /// The money of effects that may still happen, or of which nobody knows it.
    pub held: Money,
}

impl Kernel {
    /// All that is known of a task.
    pub fn packet(&self, id: &str) -> Option<Packet> {
        let task = self.tables.task(id)?;
        let run = task.device.and_then(|device| task.runs.values().find(|run| run.device == device));
        let definition = task.version.and_then(|version| self.setting.versions.get(&version));
        let mut steps: Vec<Told> = run.map(|run| self.steps(id, run)).unwrap_or_default();
        steps.sort_by_key(|step| step.began);
        let stuck = run.and_then(|run| run.stuck.as_ref());
        let dead = stuck.map(|stuck| Dead {
            step: stuck.step.clone(),
            wanted: self.wanted(id, task, &stuck.step),
            failure: stuck.failure.clone(),
        });
        Some(Packet {
            task: id.to_owned(),
            workflow: task.workflow.clone().unwrap_or_default(),
            title: definition.and_then(|definition| definition.title.clone()),
            device: task.device,
            made: task.made,
            trigger: task.trigger.clone(),
            input: task.input.clone(),
            above: self.above(task),
            below: self.below(id),
            dead,
            steps,
            cost: self.cost(id),
            ended: task.ended.as_ref().map(|(_, outcome, result)| (*outcome, result.clone())),
            next: self.ways(id, task, run),
        })
    }

    /// The task and the run that an id means: that of a run, or of a task, whose run that is that of the device which works on it.
    pub fn run_of(&self, id: &str) -> Option<(String, String)> {
        if let Some(task) = self.tables.task_id(id) {
            let device = self.tables.task(task)?.device.unwrap_or(self.device);
            return Some((task.to_owned(), super::run_id(&self.vault, task, &device)));
        }
        let of_run = self.tables.tasks().find(|(_, task)| task.runs.contains_key(id));
        of_run.map(|(task, _)| (task, id.to_owned()))
    }

    /// The effects of a task that happened, in the order of their steps, and what takes each back.
    pub fn lasting(&self, id: &str) -> Vec<Lasting> {
        let version = self.tables.task(id).and_then(|task| task.version);
        let workflow = version.and_then(|version| self.setting.versions.get(&version));
        let done = |key: EffectKey| {
            let effect = self.tables.effect(&key)?;
            matches!(effect.stand(), Stand::Done(_)).then_some(effect.proposed.as_ref()?)
        };
        let lasting = |key: EffectKey| {
            let proposed = done(key).filter(|it| !it.step.ends_with("!undo"))?;
            let step = workflow.and_then(|workflow| workflow.steps.at(&proposed.step));
            let compensation = step.and_then(compensation);
            let (step, content) = (proposed.step.clone(), proposed.content.clone());
            let compensated = self.tables.is_taken_back(id, &step);
            Some(Lasting { key, step, content, compensation, compensated })
        };
        let mut out: Vec<Lasting> = self.tables.proposals(id).filter_map(lasting).collect();
        out.sort_by(|a, b| a.step.cmp(&b.step));
        out
    }

    fn above(&self, task: &Task) -> Vec<Kin> {
        let mut out: Vec<Kin> = Vec::new();
        let mut next = task.parent.as_ref();
        while let Some((id, step)) = next.filter(|(id, _)| out.iter().all(|kin| kin.task != *id)) {
            let parent = self.tables.task(id);
            let workflow = parent.and_then(|it| it.workflow.clone());
            out.push(Kin { task: id.clone(), workflow, step: step.clone() });
            next = parent.and_then(|it| it.parent.as_ref());
        }
        out
    }

    fn below(&self, id: &str) -> Vec<Kin> {
        let child = |(other, task): (&str, &Task)| {
            let (_, step) = task.parent.as_ref().filter(|(parent, _)| parent == id)?;
            Some(Kin { task: other.to_owned(), workflow: task.workflow.clone(), step: step.clone() })
        };
        self.tables.parts(id).filter_map(child).collect()
    }

    fn steps(&self, id: &str, run: &Run) -> Vec<Told> {
        let told = |(path, state): (&String, &crate::table::StepState)| Told {
            step: path.clone(),
            state: match &state.status {
                Status::Rewound => "gone-back",
                Status::Started | Status::Fired { .. } => "begun",
                Status::Failed { retry: Some(_), .. } => "waits-for-retry",
                Status::Failed { retry: None, .. } => "failed",
                Status::Finished { .. } => "done",
            },
            began: state.started.time(),
            attempts: state.attempts,
            failed: state.failed.clone(),
            effects: self.deeds(id, path),
            turns: state.turns.clone(),
        };
        run.steps.iter().map(told).collect()
    }

    /// An effect with what was decided of it.
    pub fn deed(&self, key: &EffectKey) -> Option<Deed> {
        let effect = self.tables.effect(key)?;
        let content = effect.proposed.as_ref()?.content.clone();
        let why = effect.decided().map(|decided| decided.why.clone());
        let went = |begun: Intent| {
            (begun.at, matches!(effect.stand(), Stand::Done(_) | Stand::Performing(_) | Stand::Unknown(_)))
        };
        let refused = effect.refusal();
        let too_late =
            effect.intent.map(went).filter(|(_, went)| refused.is_some() && *went).map(|(at, _)| at);
        Some(Deed { key: *key, content, state: state(effect), why, refused, too_late })
    }

    fn deeds(&self, id: &str, path: &str) -> Vec<Deed> {
        let keys = self.tables.proposals(id);
        let found = keys.filter_map(|key| {
            let proposed = self.tables.effect(&key)?.proposed.as_ref();
            let proposed = proposed.filter(|it| it.task == id && it.step == path)?;
            Some((proposed.generation, self.deed(&key)?))
        });
        let mut out: Vec<(u32, Deed)> = found.collect();
        out.sort_by_key(|(generation, _)| *generation);
        out.into_iter().map(|(_, deed)| deed).collect()
    }

    /// What a task cost so far.
    pub(super) fn cost(&self, id: &str) -> Cost {
        let mut cost = Cost::default();
        for effect in self.tables.proposals(id).filter_map(|key| self.tables.effect(&key)) {
            let Some(proposed) = effect.proposed.as_ref().filter(|it| it.task == id) else { continue };
            let amount = proposed.content.amount.unwrap_or_default();
            match effect.stand() {
                Stand::Done(_) => {
                    cost.effects += 1;
                    cost.spent = cost.spent.plus(amount);
                }
                Stand::Allowed | Stand::Performing(_) | Stand::Unknown(_) => {
                    cost.held = cost.held.plus(amount)
                }
                _ => {}
            }
        }
        cost
    }

    /// What a step wants, for people.
    fn wanted(&self, id: &str, task: &Task, path: &str) -> String {
        let (key, _) = self.latest(id, path);
        let proposed = self.tables.effect(&key).and_then(|effect| effect.proposed.as_ref());
        let definition = task.version.and_then(|version| self.setting.versions.get(&version));
        let step = definition.and_then(|definition| definition.steps.at(path));
        let what = match (proposed, step) {
            (Some(proposed), _) => {
                let Content { capability, target, amount, .. } = &proposed.content;
                let amount = amount.map(|amount| format!(", {amount}")).unwrap_or_default();
                format!("{capability} to {target}{amount}, ")
            }
            (None, Some(step)) => format!("{}, ", act(step)),
            // What it was given is no step.
            (None, None) => String::new(),
        };
        format!("{what}step `{path}` of workflow `{}`", task.workflow.clone().unwrap_or_default())
    }

    /// A dead letter.
    pub(super) fn dead(&self, id: &str, task: &Task, run_id: &str, run: &Run, stuck: &Stuck) -> Need {
        let state = run.state(&stuck.step);
        Need::Dead {
            task: id.to_owned(),
            run: run_id.to_owned(),
            step: stuck.step.clone(),
            wanted: self.wanted(id, task, &stuck.step),
            failure: stuck.failure.clone(),
            attempts: state.map_or(0, |state| state.attempts),
            failed: state.map(|state| state.failed.clone()).unwrap_or_default(),
            cost: self.cost(id),
            next: self.out_of(id, run, stuck),
        }
    }

    /// Commands that lead out of a failure for good.
    fn out_of(&self, id: &str, run: &Run, stuck: &Stuck) -> Vec<String> {
        let (retry, cancel) = (format!("aios task retry {id}"), format!("aios task cancel {id}"));
        let Some(state) = run.state(&stuck.step) else {
            // What it was given does not fit, and will not.
            return vec![cancel, format!("aios task show {id}")];
        };
        if stuck.step.contains('!') {
            // It ends already.
            return vec![retry, format!("aios task show {id}")];
        }
        let mut out = vec![retry];
        let task = self.tables.task(id);
        let definition = task.and_then(|task| self.setting.versions.get(&task.version?));
        // Where somebody last decided what is done: there it may come out otherwise.
        let decides = |path: &str| {
            let step = definition.and_then(|definition| definition.steps.at(path));
            step.is_some_and(|step| matches!(step.act, Act::Agent { .. } | Act::Ask { .. }))
        };
        let before = run.steps.iter().filter(|(path, it)| it.started < state.started && decides(path));
        let last = before.max_by_key(|(_, it)| it.started).map(|(path, _)| path);
        if let Some(path) = last.filter(|path| self.rewind(id, path, &[]).is_ok()) {
            out.push(format!("aios task retry {id} --from '{path}'"));
        }
        out.push(cancel);
        out
    }

    /// Commands that go on from where a task stands.
    fn ways(&self, id: &str, task: &Task, run: Option<&Run>) -> Vec<String> {
        if task.ended.is_some() {
            return vec![format!("aios replay {id}")];
        }
        if self.tables.is_paused(id) {
            let above = self.above(task).into_iter().map(|kin| kin.task);
            let stands = std::iter::once(id.to_owned()).chain(above);
            let mut paused =
                stands.filter(|id| self.tables.task(id).is_some_and(crate::table::Task::is_paused));
            let resume = paused.next().map(|id| format!("aios task resume {id}"));
            return resume.into_iter().chain([format!("aios task cancel {id}")]).collect();
        }
        if let Some((run, stuck)) = run.and_then(|run| Some((run, run.stuck.as_ref()?))) {
            return self.out_of(id, run, stuck);
        }
        let mut out = Vec::new();
        let elsewhere = self.needed_elsewhere();
        for need in self.needs.get(id).into_iter().flatten().chain(&elsewhere) {
            match need {
                Need::Approval { key, task, .. } if task == id => {
                    let key = key.0.short(SHORT);
                    out.extend([format!("aios approve {key}"), format!("aios deny {key} --note WHY")]);
                }
                Need::Unknown { key, task, .. } if task == id => {
                    let key = key.0.short(SHORT);
                    out.extend([
                        format!("aios settle {key} --done"),
                        format!("aios settle {key} --not-done"),
                    ]);
                }
                Need::Question { task, .. } if task == id => out.push(format!("aios answer {id} ANSWER")),
                _ => {}
            }
        }
        if task.cancelled.is_none() {
            out.push(format!("aios task cancel {id}"));
        }
        out
    }
}

/// What the workflow says takes back what a step does, such as `mail.send`.
pub(super) fn compensation(step: &Step) -> Option<String> {
    match &step.act {
        Act::Effect { compensate: Some(deed), .. } => Some(deed.capability.clone()),
        _ => None,
    }
}

/// Where an effect stands, in a word.
fn state(effect: &Effect) -> &'static str {
    match effect.stand() {
        Stand::Proposed => "proposed",
        Stand::Waiting => "waits-for-consent",
        Stand::Allowed => "allowed",
        Stand::Denied(_) => "denied",
        Stand::Performing(_) => "under-way",
        Stand::Done(_) => "done",
        Stand::Failed(_) => "failed",
        Stand::Undone => "not-done",
        Stand::Unknown(_) => "unknown",
    }
}

/// What a step does, in some words.
fn act(step: &Step) -> String {
    match &step.act {
        Act::Agent { agent, .. } => format!("work of agent `{agent}`"),
        Act::Find { .. } => "a look at files".to_owned(),
        Act::Effect { deed, .. } => deed.capability.clone(),
        Act::Ask { .. } => "an answer of yours".to_owned(),
        Act::Wait(_) => "a wait".to_owned(),
        Act::Choose { .. } => "a choice".to_owned(),
        Act::Emit { name, .. } => format!("event `{name}`"),
        Act::Each { .. } => "the same for each item".to_owned(),
        Act::Parallel(_) => "several things at once".to_owned(),
        Act::Workflow { workflow, .. } => format!("workflow `{workflow}`"),
    }
}
