//! Tasks with their runs and steps.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::{ContentHash, DeviceId};
use serde_json::{Value, json};

use super::rewind::{Owed, Rewind};
use super::{Fold, Order};
use crate::agent::{Batched, Edition, TEMPLATE, Turn};
use crate::component::ANSWERS;
use crate::event::{Content, EffectKey, Fired, Outcome, WorkEvent};
use crate::failure::{Class, Failure};
use crate::model::price::Fine;
use crate::span::Millis;
use crate::workflow::rehearsal;

/// A task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// The workflow that does it; absent while only later events of it are known.
    pub workflow: Option<String>,
    /// The version of the workflow's file.
    pub version: Option<ContentHash>,
    /// What it is given.
    pub input: Value,
    /// The task and step that it is part of.
    pub parent: Option<(String, String)>,
    /// What it rehearses, where it is a rehearsal.
    pub rehearsal: Option<Rehearsal>,
    /// What started it.
    pub trigger: Option<Fired>,
    /// The device that works on it.
    pub device: Option<DeviceId>,
    /// The devices that it was handed on to, one after the other, and why.
    pub moves: Vec<(DeviceId, String)>,
    /// Whether it stays where it is, because the operator said so.
    pub pinned: bool,
    /// When it was made.
    pub made: Millis,
    /// Why the operator ended it.
    pub cancelled: Option<String>,
    /// From when to when it stood still; the last may not be over.
    pub pauses: Vec<(Millis, Option<Millis>)>,
    /// Its runs by id.
    pub runs: BTreeMap<String, Run>,
    /// The answers of the operator by step.
    pub answers: BTreeMap<String, Vec<Answer>>,
    /// What runs were asked to go back to, by run and turn.
    pub rewinds: BTreeMap<(String, u32), Rewind>,
    /// The versions that runs were asked to go on with, by run and turn.
    pub migrations: BTreeMap<(String, u32), ContentHash>,
    /// The run that ended first in the total order, and how: what stands. Other runs are alternatives.
    pub ended: Option<(String, Outcome, Value)>,
}

/// What is rehearsed: a version of an agent works, and nothing that it wants is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The agent.
    pub agent: String,
    /// The version.
    pub edition: Edition,
    /// The task and step that it did before, and does once more.
    pub past: Option<(String, String)>,
}

/// A run: one device's work on a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The device.
    pub device: DeviceId,
    /// When the task was made, as far as it knew when it began.
    pub made: Option<Millis>,
    /// Its journal, by path of the step.
    pub steps: BTreeMap<String, StepState>,
    /// Why it cannot go on by itself.
    pub stuck: Option<Stuck>,
    /// How often it was asked to go back, and has, or could not.
    pub turn: u32,
    /// How often it was asked to go on with another version, and has, or does not.
    pub moves: u32,
    /// Why it did not when it was last asked.
    pub unmoved: Option<String>,
    /// Effects that happened, and happen once more because the operator said so by name.
    pub again: BTreeSet<EffectKey>,
    /// What takes back effects that happened in steps that it has gone back over, by step.
    pub owed: BTreeMap<String, Owed>,
    /// How it ended.
    pub ended: Option<Outcome>,
    /// When it became stuck, or ended.
    pub halted: Millis,
}

/// What the operator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where in the order.
    pub order: Order,
    /// Which attempt at the step asked; 0 where that is not known.
    pub attempt: u32,
    /// The answer.
    pub text: String,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Attempt {
    /// Which it was, from 1.
    pub number: u32,
    /// When it failed.
    pub at: Millis,
    /// How.
    pub failure: Failure,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The step that failed for good.
    pub step: String,
    /// How.
    pub failure: Failure,
}

/// A step in a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Attempts that were started.
    pub attempts: u32,
    /// Attempts before the operator last had it tried again.
    pub forgiven: u32,
    /// Where in the order the run last went back over it, and the attempts before.
    pub over: Option<(Order, u32)>,
    /// When the first of the attempts that count began.
    pub began: Millis,
    /// The place in the order where the last attempt began.
    pub started: Order,
    /// Digest of what went in.
    pub input: Option<ContentHash>,
    /// The items that an `each` found.
    pub items: Option<Vec<Value>>,
    /// When a wait is over.
    pub until: Option<Millis>,
    /// Where it stands.
    pub status: Status,
    /// The attempts that failed, in order.
    pub failed: Vec<Attempt>,
    /// The version of the agent that last began.
    pub agent: Option<ContentHash>,
    /// What happened in its work with a model, as far as it goes on from there.
    pub turns: Vec<Turn>,
    /// How long it waited for people since it began.
    pub waited: Millis,
    /// Since when it waits for one.
    pub waits: Option<Millis>,
    /// Whether a model was shown what came from outside.
    pub heard: bool,
    /// What models took, also for what was of no use.
    pub spent: BTreeMap<String, Spent>,
    /// What they cost, by attempt.
    pub costs: BTreeMap<u32, Fine>,
}

/// What one model took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Spent {
    /// Answers.
    pub answers: u64,
    /// Tokens that it read.
    pub input: u64,
    /// Tokens that it wrote.
    pub output: u64,
    /// Money.
    pub cost: Fine,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// The run has gone back over it, and not come to it again.
    Rewound,
    /// It was started.
    Started,
    /// Its time has come.
    Fired {
        /// How late.
        late: Millis,
    },
    /// An attempt failed.
    Failed {
        /// How.
        failure: Failure,
        /// When it is tried again; never if absent.
        retry: Option<Millis>,
    },
    /// It has its result.
    Finished {
        /// What came out.
        result: Value,
        /// Where a choice leads; empty: to the end.
        go: Option<String>,
        /// Where in the order.
        order: Order,
    },
}

impl Task {
    /// Whether the operator has it stand still. What is over or called off does not.
    pub fn is_paused(&self) -> bool {
        let stands = matches!(self.pauses.last(), Some((_, None)));
        stands && self.ended.is_none() && self.cancelled.is_none()
    }

    fn step(&mut self, run: &str, step: &str, order: &Order) -> Option<&mut StepState> {
        let run = self.runs.get_mut(run).filter(|run| run.device == order.0.2)?;
        Some(run.steps.entry(step.to_owned()).or_insert_with(|| StepState {
            attempts: 0,
            forgiven: 0,
            over: None,
            began: order.time(),
            started: *order,
            input: None,
            items: None,
            until: None,
            status: Status::Started,
            failed: Vec::new(),
            agent: None,
            turns: Vec::new(),
            waited: 0,
            waits: None,
            heard: false,
            spent: BTreeMap::new(),
            costs: BTreeMap::new(),
        }))
    }

    fn retry(&mut self, run: &str, step: &str, order: &Order) {
        let Some(run) = self.runs.get_mut(run) else { return };
        run.stuck = None;
        for (path, state) in &mut run.steps {
            let Status::Failed { failure, retry: None } = &state.status else { continue };
            let inside = step.strip_prefix(path.as_str());
            match inside {
                Some("") => {
                    state.status = Status::Failed { failure: failure.clone(), retry: Some(0) };
                    state.forgiven = state.attempts;
                    (state.began, state.waited, state.waits) = (order.time(), 0, None);
                }
                // The steps around it go on.
                Some(rest) if rest.starts_with(['[', '/']) => state.status = Status::Started,
                _ => {}
            }
        }
    }
}

impl StepState {
    /// What it wants to change in the world, where it waits for that.
    pub fn wants(&self) -> Option<(&str, &Content)> {
        match self.turns.last().map(Turn::innermost) {
            Some(Turn::Wants { call, content }) => Some((call, content)),
            _ => None,
        }
    }

    /// What it asks the operator, where it waits for that: the call, the question, and what may be answered.
    pub fn asks(&self) -> Option<(&str, &str, &[String])> {
        match self.turns.last().map(Turn::innermost) {
            Some(Turn::Asks { call, question, choices }) => Some((call, question, choices)),
            _ => None,
        }
    }

    /// How far the question is that it waits for, where that is asked by batch.
    pub fn batched(&self) -> Option<&Batched> {
        match self.turns.last() {
            Some(Turn::Batched(batched)) if self.status == Status::Started => {
                Some(batched).filter(|it| it.waits())
            }
            _ => None,
        }
    }

    /// Counts how long it waits for people and batches, once something happened: neither is hurried.
    fn wait_for_others(&mut self, now: Millis) {
        let since = self.waits.take();
        self.waited = self.waited.saturating_add(since.map_or(0, |since| now.saturating_sub(since)));
        if self.wants().is_some() || self.asks().is_some() || self.batched().is_some() {
            self.waits = Some(now);
        }
    }

    fn spend(&mut self, attempt: u32, took: &Turn) {
        let unpaid = |model: &str| model == ANSWERS || model == TEMPLATE;
        let Some((model, counted, cost)) = took.paid().filter(|(model, ..)| !unpaid(model)) else { return };
        let spent = self.spent.entry(model.to_owned()).or_default();
        spent.answers += 1;
        spent.input = spent.input.saturating_add(counted.input);
        spent.output = spent.output.saturating_add(counted.output);
        spent.cost = spent.cost.plus(cost);
        let of_attempt = self.costs.entry(attempt).or_default();
        *of_attempt = of_attempt.plus(cost);
    }
}

impl Fold for Task {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        match event {
            WorkEvent::TaskCreated { workflow, version, input, parent, on, trigger, .. }
                if self.workflow.is_none() =>
            {
                self.workflow = Some(workflow.clone());
                self.version = Some(*version);
                self.input = input.clone();
                self.parent = parent.clone();
                self.trigger = trigger.clone();
                self.pinned = on.is_some() && trigger.is_none() && parent.is_none();
                self.device = Some(on.unwrap_or(order.0.2));
                self.made = order.time();
            }
            WorkEvent::AgentRehearsed { agent, edition, input, past, .. } if self.workflow.is_none() => {
                self.workflow = Some(rehearsal::title(agent));
                self.version = rehearsal::workflow(agent).map(|(version, _)| version);
                self.input = json!({"given": input});
                self.pinned = true;
                self.device = Some(order.0.2);
                self.made = order.time();
                let (agent, edition, past) = (agent.clone(), edition.clone(), past.clone());
                self.rehearsal = Some(Rehearsal { agent, edition, past });
            }
            WorkEvent::TaskMoved { to, turn, why, pinned, .. }
                if self.workflow.is_some()
                    && usize::try_from(*turn) == Ok(self.moves.len())
                    && self.ended.is_none() =>
            {
                self.moves.push((*to, why.clone()));
                self.device = Some(*to);
                self.pinned |= pinned;
            }
            WorkEvent::TaskCancelled { note, .. } => {
                self.cancelled.get_or_insert_with(|| note.clone());
            }
            WorkEvent::TaskPaused { .. } if !matches!(self.pauses.last(), Some((_, None))) => {
                self.pauses.push((order.time(), None))
            }
            WorkEvent::TaskResumed { .. } => {
                if let Some((from, until @ None)) = self.pauses.last_mut() {
                    // Of two clocks one may be behind.
                    *until = Some(order.time().max(*from));
                }
            }
            WorkEvent::TaskRetried { run, step, .. } => self.retry(run, step, order),
            WorkEvent::TaskRewound { run, step, turn, again, .. } => {
                let new = || Rewind { step: step.clone(), again: again.clone() };
                self.rewinds.entry((run.clone(), *turn)).or_insert_with(new);
            }
            // The device that works on it knows what is under way: it alone goes back.
            WorkEvent::RunRewound { run, turn, to, again, undo, .. } => {
                let run = self.runs.get_mut(run).filter(|run| run.device == order.0.2);
                let Some(run) = run.filter(|run| run.turn == *turn && run.ended.is_none()) else { return };
                run.turn += 1;
                if let Some(to) = to {
                    run.again.extend(again);
                    run.go_back(to, undo, order);
                }
            }
            WorkEvent::TaskMigrated { run, to, turn, .. } => {
                self.migrations.entry((run.clone(), *turn)).or_insert(*to);
            }
            // As with going back: the device that works on it alone says what it goes by.
            WorkEvent::RunMigrated { run, turn, to, why, .. } if self.device == Some(order.0.2) => {
                let run = self.runs.get_mut(run).filter(|run| run.device == order.0.2);
                let Some(run) = run.filter(|run| run.moves == *turn && run.ended.is_none()) else { return };
                run.moves += 1;
                run.unmoved = why.clone();
                if let Some(to) = to {
                    self.version = Some(*to);
                }
            }
            WorkEvent::RunStarted { run, made, .. } => {
                let new = || Run {
                    device: order.0.2,
                    made: *made,
                    steps: BTreeMap::new(),
                    stuck: None,
                    turn: 0,
                    moves: 0,
                    unmoved: None,
                    again: BTreeSet::new(),
                    owed: BTreeMap::new(),
                    ended: None,
                    halted: order.time(),
                };
                self.runs.entry(run.clone()).or_insert_with(new);
            }
            WorkEvent::RunStuck { run, step, failure, .. } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.stuck = Some(Stuck { step: step.clone(), failure: failure.clone() });
                    run.halted = order.time();
                }
            }
            WorkEvent::RunEnded { run, outcome, result, .. } => {
                if let Some(state) = self.runs.get_mut(run).filter(|state| state.ended.is_none()) {
                    state.ended = Some(*outcome);
                    state.halted = order.time();
                    state.stuck = None;
                    self.ended.get_or_insert_with(|| (run.clone(), *outcome, result.clone()));
                }
            }
            WorkEvent::StepStarted { run, step, attempt, input, items, until, agent, .. } => {
                let Some(state) = self.step(run, step, order) else { return };
                if *attempt > state.attempts && !matches!(state.status, Status::Finished { .. }) {
                    state.come(order);
                    state.attempts = *attempt;
                    state.started = *order;
                    state.waits = None;
                    state.input = Some(*input);
                    state.items = items.clone();
                    state.until = *until;
                    state.status = Status::Started;
                    // Another version was told something else: it begins anew.
                    if state.agent != *agent {
                        state.turns.clear();
                        state.agent = *agent;
                    }
                }
            }
            WorkEvent::TurnTaken { run, step, attempt, took, .. } => {
                let Some(state) = self.step(run, step, order) else { return };
                state.spend(*attempt, took);
                state.heard |= matches!(took.innermost(), Turn::Came { untrusted: true, .. });
                if *attempt == state.attempts && state.status == Status::Started {
                    state.turns.push((**took).clone());
                    state.wait_for_others(order.time());
                }
            }
            WorkEvent::StepFinished { run, step, result, go, .. } => {
                let Some(state) = self.step(run, step, order) else { return };
                if !matches!(state.status, Status::Finished { .. }) {
                    state.come(order);
                    state.status = Status::Finished { result: result.clone(), go: go.clone(), order: *order };
                }
            }
            WorkEvent::StepFailed { run, step, attempt, failure, retry, .. } => {
                let Some(state) = self.step(run, step, order) else { return };
                if *attempt >= state.attempts && !matches!(state.status, Status::Finished { .. }) {
                    state.come(order);
                    state.attempts = *attempt;
                    state.status = Status::Failed { failure: failure.clone(), retry: *retry };
                    let attempt = Attempt { number: *attempt, at: order.time(), failure: failure.clone() };
                    state.failed.push(attempt);
                    // What the other side is to blame for goes on where it was.
                    if !matches!(failure.class, Class::Transient | Class::RateLimited | Class::Crashed) {
                        state.turns.clear();
                    }
                }
            }
            WorkEvent::TimerFired { run, step, late, .. } => {
                let Some(state) = self.step(run, step, order) else { return };
                if state.status == Status::Started {
                    state.status = Status::Fired { late: *late };
                }
            }
            WorkEvent::QuestionAnswered { step, answer, attempt, .. } => {
                let answer = Answer { order: *order, attempt: *attempt, text: answer.clone() };
                self.answers.entry(step.clone()).or_default().push(answer);
            }
            _ => {}
        }
    }
}
