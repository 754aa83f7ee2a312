//! A run from its journal once more: every step is worked out anew from what is recorded before it, and compared with what is
//! recorded of it. Nothing is done to the world, and nothing is recorded.

use std::collections::BTreeSet;

use aios_core::id::ContentHash;
use serde::Serialize;
use serde_json::{Map, Value};

use super::effect::content;
use super::leaf::{chosen, goes_in};
use super::walk::Walker;
use super::{Kernel, run_id};
use crate::agent::Turn;
use crate::event::{Content, EffectKey, Outcome, digest};
use crate::failure::Failure;
use crate::table::{Run, Status, StepState, Task};
use crate::workflow::{Act, Step};

/// Why a run cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is no such task.
    #[error("there is no task `{0}`")]
    NoTask(String),
    /// Nobody began with it.
    #[error("task `{0}` has not begun")]
    NoRun(String),
    /// The version of its workflow is not here.
    #[error("the version of workflow `{0}` that it began with is not here")]
    NoWorkflow(String),
}

/// The first difference between a run and its journal.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Difference {
    /// Something else goes into a step.
    #[error("what goes into step `{step}` is not what was recorded")]
    Input {
        /// The step.
        step: String,
        /// What goes in now.
        now: Value,
    },
    /// What goes into a step cannot be worked out.
    #[error("step `{step}`: {failure}")]
    Failed {
        /// The step.
        step: String,
        /// Why.
        failure: Failure,
    },
    /// An agent gives something else.
    #[error("step `{step}` gives something else than was recorded")]
    Output {
        /// The step.
        step: String,
        /// What it gave.
        recorded: Value,
        /// What it gives now.
        now: Value,
    },
    /// An effect would do something else.
    #[error("the effect of step `{step}` is not what was recorded")]
    Effect {
        /// The step.
        step: String,
        /// What it did, where that is known.
        recorded: Option<Box<Content>>,
        /// What it would do.
        now: Box<Content>,
    },
    /// A choice leads elsewhere; empty: to the end.
    #[error("step `{step}` led to `{recorded}` and leads to `{now}`")]
    Way {
        /// The step.
        step: String,
        /// Where it led.
        recorded: String,
        /// Where it leads.
        now: String,
    },
    /// The run comes to a step that the journal does not have.
    #[error("step `{step}` is not in the journal")]
    Beyond {
        /// The step.
        step: String,
    },
    /// The journal has a step that the run does not come to.
    #[error("the run does not come to step `{step}` any more")]
    Missed {
        /// The step.
        step: String,
    },
    /// Something else comes out in the end.
    #[error("something else comes out in the end")]
    Result {
        /// What came out.
        recorded: Value,
        /// What comes out.
        now: Value,
    },
}

/// A step that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Its path.
    pub step: String,
    /// Whether an agent did its work once more.
    pub again: bool,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// The task.
    pub task: String,
    /// The run.
    pub run: String,
    /// The steps that were compared, in the order of the run, up to the difference.
    pub steps: Vec<Compared>,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// Does an agent's work once more, of which with a model it is recorded what happened; nothing where that cannot be done.
pub type Again<'k> = &'k mut dyn FnMut(&Past<'_>) -> Option<Result<Value, Failure>>;

/// An agent's work as it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Past<'p> {
    /// The step.
    pub step: &'p str,
    /// The agent.
    pub agent: &'p str,
    /// The version of it that worked, where that is known.
    pub version: Option<ContentHash>,
    /// What it was given.
    pub input: &'p Value,
    /// What happened in its work with a model.
    pub turns: &'p [Turn],
    /// What it gave.
    pub result: &'p Value,
}

/// What compares a walk with the journal.
pub(super) struct Comparison<'k> {
    again: Again<'k>,
    seen: BTreeSet<String>,
    steps: Vec<Compared>,
    difference: Option<Difference>,
    /// Whether all steps must be in the journal: the run came to its end.
    whole: bool,
    /// Steps that may be done otherwise.
    open: BTreeSet<String>,
}

impl Kernel {
    /// Replays a task: its run that stands, or that of the device which works on it.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub fn replay(&self, id: &str, again: Again<'_>) -> Result<Replay, ReplayError> {
        let task = self.tables.task(id).ok_or_else(|| ReplayError::NoTask(id.to_owned()))?;
        let device = task.device.unwrap_or(self.device);
        let run_id = match &task.ended {
            Some((run, ..)) => run.clone(),
            None => run_id(&self.vault, id, &device),
        };
        let run = task.runs.get(&run_id).ok_or_else(|| ReplayError::NoRun(id.to_owned()))?;
        let workflow = task.version.and_then(|version| self.setting.versions.get(&version));
        let workflow =
            workflow.ok_or_else(|| ReplayError::NoWorkflow(task.workflow.clone().unwrap_or_default()))?;
        let done = run.ended == Some(Outcome::Done);
        let comparison = Comparison { whole: done, ..Comparison::of_part(again, &BTreeSet::new()) };
        let mut walker = Walker::new(self, id, task, &run_id, run);
        walker.reading = true;
        walker.comparison = Some(comparison);
        let ended = walker.replay_along(workflow);
        let Some(mut found) = walker.comparison else { return Err(ReplayError::NoRun(id.to_owned())) };
        found.end(task, run, ended);
        let Comparison { steps, difference, .. } = found;
        Ok(Replay { task: id.to_owned(), run: run_id, steps, difference })
    }
}

impl<'k> Comparison<'k> {
    /// One of a run that need not be over, in which the `open` steps may be done otherwise.
    pub fn of_part(again: Again<'k>, open: &BTreeSet<&str>) -> Comparison<'k> {
        let open = open.iter().map(|path| (*path).to_owned()).collect();
        Comparison { again, seen: BTreeSet::new(), steps: Vec::new(), difference: None, whole: false, open }
    }

    /// The first difference, of a run that is not over.
    pub fn first(mut self, run: &Run) -> Option<Difference> {
        self.missed(run);
        self.difference
    }

    /// Compares a step with its journal entry.
    pub fn step(
        &mut self,
        keys: &[EffectKey],
        kernel: &Kernel,
        state: Option<&StepState>,
        step: &Step,
        path: &str,
        scope: &Map<String, Value>,
    ) {
        if self.difference.is_some() || !self.seen.insert(path.to_owned()) {
            return;
        }
        let Some(state) = state else {
            if self.whole {
                self.difference = Some(Difference::Beyond { step: path.to_owned() });
            }
            return;
        };
        if self.open.contains(path) {
            return;
        }
        let mut again = false;
        let scope = Value::Object(scope.clone());
        self.difference = match &step.act {
            Act::Effect { deed, .. } => effect(keys, kernel, state, path, content(deed, &scope)),
            Act::Choose { .. } => way(state, path, chosen(step, &scope)),
            _ => match (goes_in(step, &scope), state.input) {
                // It failed before anything went in, and does again.
                (Err(_), None) => None,
                (Err(failure), Some(_)) => Some(Difference::Failed { step: path.to_owned(), failure }),
                (Ok(now), Some(input)) if digest(&now) != input => {
                    Some(Difference::Input { step: path.to_owned(), now })
                }
                (Ok(input), _) => match (&step.act, &state.status) {
                    (Act::Agent { agent, .. }, Status::Finished { result, .. }) => {
                        let (version, turns) = (state.agent, &state.turns);
                        let past = Past { step: path, agent, version, input: &input, turns, result };
                        let now = (self.again)(&past);
                        again = now.is_some();
                        output(path, result, now)
                    }
                    _ => None,
                },
            },
        };
        self.steps.push(Compared { step: path.to_owned(), again });
    }

    /// Compares how it ends.
    fn end(&mut self, task: &Task, run: &Run, ended: Option<Value>) {
        if self.difference.is_some() {
            return;
        }
        self.missed(run);
        if self.difference.is_some() {
            return;
        }
        if let (Some((_, Outcome::Done, recorded)), Some(now)) = (&task.ended, ended)
            && *recorded != now
        {
            self.difference = Some(Difference::Result { recorded: recorded.clone(), now });
        }
    }

    /// Finds the first step of the journal that was not come to.
    fn missed(&mut self, run: &Run) {
        if self.difference.is_some() {
            return;
        }
        // In the order in which they began.
        let mut missed: Vec<_> = run.steps.iter().filter(|(path, _)| !self.seen.contains(*path)).collect();
        // What takes back comes after a failure, and is no part of the way; what agents proposed stands in their turns.
        missed.retain(|(path, state)| !path.contains(['!', '~']) && state.status != Status::Rewound);
        missed.sort_by_key(|(_, state)| state.started);
        if let Some((path, _)) = missed.first() {
            self.difference = Some(Difference::Missed { step: (*path).clone() });
        }
    }
}

/// `keys` are those of all that was proposed for the step: the operator may have changed that since it went in.
fn effect(
    keys: &[EffectKey],
    kernel: &Kernel,
    state: &StepState,
    path: &str,
    now: Result<Content, Failure>,
) -> Option<Difference> {
    match (now, state.input) {
        (_, None) => None,
        (Err(failure), Some(_)) => Some(Difference::Failed { step: path.to_owned(), failure }),
        (Ok(now), Some(input)) => {
            let recorded = keys.iter().find_map(|key| kernel.tables.effect(key)?.proposed.as_ref());
            let another = keys.iter().all(|key| now.digest(key) != input);
            another.then(|| {
                let recorded = recorded.map(|proposed| Box::new(proposed.content.clone()));
                Difference::Effect { step: path.to_owned(), recorded, now: Box::new(now) }
            })
        }
    }
}

fn way(state: &StepState, path: &str, now: Result<String, Failure>) -> Option<Difference> {
    let Status::Finished { go: Some(recorded), .. } = &state.status else { return None };
    match now {
        Err(failure) => Some(Difference::Failed { step: path.to_owned(), failure }),
        Ok(now) if now == *recorded => None,
        Ok(now) => Some(Difference::Way { step: path.to_owned(), recorded: recorded.clone(), now }),
    }
}

fn output(path: &str, recorded: &Value, now: Option<Result<Value, Failure>>) -> Option<Difference> {
    match now? {
        Err(failure) => Some(Difference::Failed { step: path.to_owned(), failure }),
        Ok(now) if now == *recorded => None,
        Ok(now) => Some(Difference::Output { step: path.to_owned(), recorded: recorded.clone(), now }),
    }
}
