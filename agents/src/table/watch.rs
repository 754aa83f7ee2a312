//! Where a look for what failed silently finds something: the tasks that are not over by when that may be, and when steps failed. It is kept as
//! tasks change, so that a look goes by what is late, and not by all that waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use aios_core::id::ContentHash;

use super::image::NoImage;
use super::map::Map;
use super::run::{Runs, Writer};
use super::{Run, Status, StepState, Tables, Task};
use crate::event::Fired;
use crate::span::Millis;

/// How much later than it should something may happen before that is worth a word.
pub(crate) const GRACE: Millis = 5 * 60_000;
/// From so much on a schedule that was noticed late is said to be.
pub(crate) const LATE: Millis = 60_000;

/// The places of a task.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OfTask {
    /// From when on it may stand still, where it is not over.
    overdue: Option<Millis>,
    /// The version of its workflow, and from when on it is waited for, where it is not over.
    awaited: Option<(ContentHash, Millis)>,
    /// When it was made, where it is not over and a schedule made it too late.
    late: Option<Millis>,
    /// When attempts at its steps failed.
    failed: BTreeSet<Millis>,
}

impl OfTask {
    pub fn of(task: &Task) -> OfTask {
        let steps = task.runs.values().flat_map(|run| run.steps.values());
        let failed = steps.flat_map(|state| &state.failed).map(|attempt| attempt.at).collect();
        if task.ended.is_some() {
            return OfTask { failed, ..OfTask::default() };
        }
        let late = match &task.trigger {
            Some(Fired::Cron { late, .. }) if *late >= LATE => Some(task.made),
            _ => None,
        };
        OfTask { overdue: overdue(task), awaited: task.version.map(|it| (it, task.awaited())), late, failed }
    }
}

impl Task {
    /// From when on its end is waited for.
    pub(crate) fn awaited(&self) -> Millis {
        match &self.trigger {
            Some(Fired::Cron { at, .. }) => *at,
            _ => self.made,
        }
    }

    /// The run of the device that works on it.
    pub(crate) fn its_run(&self) -> Option<&Run> {
        let device = self.device?;
        self.runs.values().find(|run| run.device == device)
    }
}

/// From when on a task that is not over may stand still, at the earliest.
fn overdue(task: &Task) -> Option<Millis> {
    let Some(run) = task.its_run() else { return Some(task.made.saturating_add(GRACE)) };
    match &run.stuck {
        Some(_) => Some(0),
        None => run.steps.values().filter_map(goes_on).min().map(|at| at.saturating_add(GRACE)),
    }
}

/// When a step is to go on, at the earliest: how long it may take its workflow says.
fn goes_on(state: &StepState) -> Option<Millis> {
    match &state.status {
        Status::Started => Some(state.until.unwrap_or_else(|| state.started.time())),
        Status::Failed { retry: Some(at), .. } => Some((*at).max(state.began)),
        _ => None,
    }
}

/// What is watched.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Watch {
    overdue: Map<14, (Millis, String), ()>,
    awaited: Map<15, (ContentHash, Millis, String), ()>,
    late: Map<16, (Millis, String), ()>,
    failed: Map<17, (Millis, String), ()>,
}

impl Watch {
    pub fn on(runs: &Arc<Runs>) -> Watch {
        Watch { overdue: Map::on(runs), awaited: Map::on(runs), late: Map::on(runs), failed: Map::on(runs) }
    }

    pub fn save(&self, out: &mut Writer, newest: usize, all: bool) -> Result<(), NoImage> {
        self.overdue.save(out, newest, all)?;
        self.awaited.save(out, newest, all)?;
        self.late.save(out, newest, all)?;
        self.failed.save(out, newest, all)
    }

    pub fn task(&mut self, id: &str, before: OfTask, after: OfTask) {
        let at = |at: Millis| (at, id.to_owned());
        if before.overdue != after.overdue {
            before.overdue.into_iter().for_each(|it| self.overdue.remove(&at(it)));
            after.overdue.into_iter().for_each(|it| self.overdue.insert(at(it), ()));
        }
        if before.awaited != after.awaited {
            let place = |(version, at)| (version, at, id.to_owned());
            before.awaited.into_iter().for_each(|it| self.awaited.remove(&place(it)));
            after.awaited.into_iter().for_each(|it| self.awaited.insert(place(it), ()));
        }
        if before.late != after.late {
            before.late.into_iter().for_each(|it| self.late.remove(&at(it)));
            after.late.into_iter().for_each(|it| self.late.insert(at(it), ()));
        }
        before.failed.difference(&after.failed).for_each(|it| self.failed.remove(&at(*it)));
        after.failed.difference(&before.failed).for_each(|it| self.failed.insert(at(*it), ()));
    }
}

impl Tables {
    /// The tasks that are not over and may stand still at a moment: no other does, whatever its workflow says.
    pub fn overdue(&self, now: Millis) -> impl Iterator<Item = String> {
        let entries = self.index.watch.overdue.range(None);
        entries.take_while(move |((at, _), ())| *at <= now).map(|((_, id), ())| id)
    }

    /// The tasks with this version of a workflow that are not over and waited for since a moment or longer.
    pub fn awaited(&self, version: ContentHash, since: Millis) -> impl Iterator<Item = String> {
        let entries = self.index.watch.awaited.range(Some((version, 0, String::new())));
        let entries = entries.take_while(move |((of, at, _), ())| *of == version && *at <= since);
        entries.map(|((_, _, id), ())| id)
    }

    /// The tasks that are not over and that a schedule made too late, from a moment on.
    pub fn made_late(&self, from: Millis) -> impl Iterator<Item = String> {
        self.index.watch.late.range(Some((from, String::new()))).map(|((_, id), ())| id)
    }

    /// The tasks of which steps failed from a moment on.
    pub fn failing(&self, from: Millis) -> BTreeSet<String> {
        self.index.watch.failed.range(Some((from, String::new()))).map(|((_, id), ())| id).collect()
    }
}
