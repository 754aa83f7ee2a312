//! Runs that go on with the version of their workflow that is in force now, where what they did is what that would have done.

use std::collections::BTreeSet;
use std::mem::discriminant;

use aios_core::id::ContentHash;

use super::replay::{Comparison, Past};
use super::walk::{Left, Walker};
use super::{Kernel, run_id};
use crate::event::WorkEvent;
use crate::table::{Run, Status, Task};
use crate::workflow::Workflow;

/// Why a run stays with the version that it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// It ended, or was ended.
    #[error("it is over: what it did stands")]
    Over,
    /// It has the version that is in force.
    #[error("it has the version in force")]
    Same,
    /// No version is in force.
    #[error("no version of workflow `{0}` is in force")]
    NotInForce(String),
    /// The version it has is not here.
    #[error("the version that it began with is not here")]
    NoVersion,
    /// It has begun to take back what it did.
    #[error("it has begun to take back what it did")]
    TakesBack,
    /// What it was given does not fit any more.
    #[error("what it was given does not fit the new version: {0}")]
    Input(String),
    /// A step that it came to is gone.
    #[error("it came to step `{0}`, which the new version does not have")]
    Gone(String),
    /// A step that it came to does something of another kind.
    #[error("step `{0}`, to which it came, is of another kind in the new version")]
    Kind(String),
    /// With the new version it would have gone otherwise.
    #[error("with the new version it would have gone otherwise: {0}")]
    Otherwise(String),
    /// Another version than was asked for is in force.
    #[error("another version came in force meanwhile")]
    Meanwhile,
}

impl Kernel {
    /// The operator's word that a task goes on with the version of its workflow that is in force. It counts once it is recorded.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn migrate(&self, id: &str, task: &Task) -> Result<WorkEvent, MigrateError> {
        if task.ended.is_some() || task.cancelled.is_some() {
            return Err(MigrateError::Over);
        }
        let name = task.workflow.clone().unwrap_or_default();
        let to = *self.setting.current.get(&name).ok_or(MigrateError::NotInForce(name))?;
        let device = task.device.unwrap_or(self.device);
        let run_id = run_id(&self.vault, id, &device);
        let run = task.runs.get(&run_id);
        self.matches(id, task, &run_id, run, &to)?;
        Ok(WorkEvent::TaskMigrated {
            task: id.to_owned(),
            turn: run.map_or(0, |run| run.moves),
            run: run_id,
            to,
        })
    }

    /// Whether what a run did is what it would have done with another version.
    fn matches(
        &self,
        id: &str,
        task: &Task,
        run_id: &str,
        run: Option<&Run>,
        to: &ContentHash,
    ) -> Result<(), MigrateError> {
        if task.version == Some(*to) {
            return Err(MigrateError::Same);
        }
        let version = |version: &ContentHash| self.setting.versions.get(version);
        let new =
            version(to).ok_or_else(|| MigrateError::NotInForce(task.workflow.clone().unwrap_or_default()))?;
        let old = task.version.as_ref().and_then(version).ok_or(MigrateError::NoVersion)?;
        if let Some(misfit) = new.input.misfits("input", &task.input).first() {
            return Err(MigrateError::Input(misfit.to_string()));
        }
        let Some(run) = run else { return Ok(()) };
        if run.takes_back() {
            return Err(MigrateError::TakesBack);
        }
        same_kinds(run, old, new)?;
        let mut walker = Walker::new(self, id, task, run_id, run);
        walker.reading = true;
        let undone: BTreeSet<&str> = run
            .steps
            .iter()
            .filter(|(_, it)| has_not_been(&it.status))
            .map(|(path, _)| path.as_str())
            .collect();
        let mut nobody = |_: &Past<'_>| None;
        walker.comparison = Some(Comparison::of_part(&mut nobody, &undone));
        walker.replay_along(new);
        match walker.comparison.and_then(|found| found.first(run)) {
            None => Ok(()),
            Some(difference) => Err(MigrateError::Otherwise(difference.to_string())),
        }
    }

    /// Has the run of this device go on with another version, or say why it does not.
    pub(super) fn move_over(&self, id: &str, task: &Task, run_id: &str, run: &Run, to: &ContentHash) -> Left {
        let mut left = self.nothing_left();
        let workflow = task.workflow.clone().unwrap_or_default();
        let matches = match (&task.cancelled, self.setting.current.get(&workflow)) {
            (Some(_), _) => Err(MigrateError::Over),
            (None, Some(current)) if current == to => self.matches(id, task, run_id, Some(run), to),
            (None, _) => Err(MigrateError::Meanwhile),
        };
        left.events.push(WorkEvent::RunMigrated {
            task: id.to_owned(),
            run: run_id.to_owned(),
            turn: run.moves,
            workflow,
            to: matches.is_ok().then_some(*to),
            why: matches.err().map(|why| why.to_string()),
        });
        left
    }
}

/// Whether nothing of a step stands: it failed for good, or the run went back over it.
fn has_not_been(status: &Status) -> bool {
    matches!(status, Status::Failed { retry: None, .. } | Status::Rewound)
}

/// Makes sure that each step the run came to is there in both, and of one kind.
fn same_kinds(run: &Run, old: &Workflow, new: &Workflow) -> Result<(), MigrateError> {
    for (path, state) in &run.steps {
        if state.status == Status::Rewound {
            continue;
        }
        let Some(then) = old.steps.at(path) else { continue };
        let now = new.steps.at(path).ok_or_else(|| MigrateError::Gone(path.clone()))?;
        if discriminant(&then.act) != discriminant(&now.act) {
            return Err(MigrateError::Kind(path.clone()));
        }
    }
    Ok(())
}
