//! Going back to a step, when the operator says so.

use std::collections::BTreeMap;

use serde_json::Value;

use super::effect::{GONE_BACK, content};
use super::walk::{Left, Walker};
use super::{Action, Flight, Kernel, run_id};
use crate::event::{Content, EffectKey, WorkEvent};
use crate::failure::Failure;
use crate::table::{Rewind, Run, Stand, Task};

/// Why a run cannot go back to a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewindError {
    /// There is no such task.
    #[error("there is no task `{0}`")]
    NoTask(String),
    /// It ended, or was ended.
    #[error("task {0} is over: what it did stands")]
    Over(String),
    /// Nobody began with it.
    #[error("task {0} has not begun")]
    NoRun(String),
    /// The version of its workflow is not here.
    #[error("the version of the workflow that task {0} began with is not here")]
    NoWorkflow(String),
    /// It has begun to take back what it did.
    #[error("task {0} has begun to take back what it did, and does not go back to a step")]
    TakesBack(String),
    /// It has not come to the step.
    #[error("task {task} has not come to a step `{step}`")]
    NotThere {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// The steps that it has come to.
        steps: Vec<String>,
    },
    /// What is to happen once more has not happened, or is not part of what is done anew.
    #[error("nothing that happened after `{from}` in task {task} is an effect of a step `{step}`")]
    NotDone {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// The step that it is to go back to.
        from: String,
        /// The steps whose effects could happen once more.
        done: Vec<String>,
    },
    /// What would take back an effect cannot be worked out.
    #[error("what takes back the effect of step `{step}` cannot be worked out: {failure}")]
    Undo {
        /// The step.
        step: String,
        /// Why.
        failure: Failure,
    },
}

impl Kernel {
    /// The operator's word that a task goes back to a step, with the steps whose effects happened and are to happen once more. It counts
    /// once it is recorded.
    ///
    /// # Errors
    /// Why it cannot go back there.
    pub fn rewind(&self, id: &str, step: &str, again: &[String]) -> Result<WorkEvent, RewindError> {
        let task = self.tables.task(id).ok_or_else(|| RewindError::NoTask(id.to_owned()))?;
        if task.ended.is_some() || task.cancelled.is_some() {
            return Err(RewindError::Over(id.to_owned()));
        }
        let device = task.device.unwrap_or(self.device);
        let run_id = run_id(&self.vault, id, &device);
        let run = task.runs.get(&run_id).ok_or_else(|| RewindError::NoRun(id.to_owned()))?;
        self.undo_of(id, task, &run_id, run, step)?;
        let done: BTreeMap<String, EffectKey> = (run.from(step).into_iter())
            .map(|path| (self.latest(id, &path).0, path))
            .filter(|(key, _)| self.tables.effect(key).is_some_and(|it| matches!(it.stand(), Stand::Done(_))))
            .map(|(key, path)| (path, key))
            .collect();
        let key = |name: &String| {
            done.get(name).copied().ok_or_else(|| RewindError::NotDone {
                task: id.to_owned(),
                step: name.clone(),
                from: step.to_owned(),
                done: done.keys().cloned().collect(),
            })
        };
        let again = again.iter().map(key).collect::<Result<_, _>>()?;
        // What was asked before and has not been done yet comes first, and then that is done.
        let asked =
            task.rewinds.range((run_id.clone(), run.turn)..).take_while(|((run, _), _)| *run == run_id);
        let turn = asked.last().map_or(run.turn, |((_, turn), _)| turn + 1);
        Ok(WorkEvent::TaskRewound { task: id.to_owned(), run: run_id, step: step.to_owned(), turn, again })
    }

    /// What takes back the effects that happened from a step on.
    fn undo_of(
        &self,
        id: &str,
        task: &Task,
        run_id: &str,
        run: &Run,
        step: &str,
    ) -> Result<BTreeMap<String, Content>, RewindError> {
        if run.takes_back() {
            return Err(RewindError::TakesBack(id.to_owned()));
        }
        if run.state(step).is_none() {
            let steps = run.steps.keys().filter(|path| run.state(path).is_some()).cloned().collect();
            return Err(RewindError::NotThere { task: id.to_owned(), step: step.to_owned(), steps });
        }
        let workflow = task.version.and_then(|version| self.setting.versions.get(&version));
        let workflow = workflow.ok_or_else(|| RewindError::NoWorkflow(id.to_owned()))?;
        let mut walker = Walker::new(self, id, task, run_id, run);
        walker.reading = true;
        walker.replay_along(workflow);
        let anew = run.from(step);
        let undo = walker.undo.into_iter().filter(|undo| anew.contains(&undo.path));
        undo.map(|undo| match content(&undo.deed, &Value::Object(undo.scope)) {
            Ok(content) => Ok((undo.path, content)),
            Err(failure) => Err(RewindError::Undo { step: undo.path, failure }),
        })
        .collect()
    }

    /// Has the run of this device go back: what agents are at is stopped, and what was proposed and has not begun is wanted no more.
    pub(super) fn go_back(&self, id: &str, task: &Task, run_id: &str, run: &Run, asked: &Rewind) -> Left {
        let mut left = self.nothing_left();
        let ids = (id.to_owned(), run_id.to_owned());
        let undo = match task.cancelled {
            Some(_) => None,
            None => self.undo_of(id, task, run_id, run, &asked.step).ok(),
        };
        let to = undo.is_some().then(|| asked.step.clone());
        let again = if undo.is_some() { asked.again.clone() } else { Vec::new() };
        left.events.push(WorkEvent::RunRewound {
            task: ids.0,
            run: ids.1,
            turn: run.turn,
            to: to.clone(),
            again,
            undo: undo.unwrap_or_default(),
        });
        let Some(to) = to else { return left };
        let anew = run.from(&to);
        for path in &anew {
            let over = |task: &str, path: &str| task == id && anew.contains(path);
            left.acts.extend(run.state(path).and_then(|state| self.gives_up(state, over)));
            let (key, _) = self.latest(id, path);
            let effect = self.tables.effect(&key).filter(|effect| effect.proposed.is_some());
            if let Some(Stand::Proposed | Stand::Waiting | Stand::Allowed) =
                effect.map(|effect| effect.stand())
            {
                left.events.push(WorkEvent::EffectWithdrawn { key, note: GONE_BACK.to_owned() });
            }
            for flight in &self.flying {
                if let Flight::Step(work) = flight
                    && (work.task.as_str(), work.run.as_str(), work.step.as_str()) == (id, run_id, path)
                {
                    left.acts.push(Action::Stop(work.clone()));
                    left.stopped.push(flight.clone());
                }
            }
        }
        left
    }
}
