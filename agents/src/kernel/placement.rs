//! On which device a task is worked on: where it was started, unless its workflow needs another.
//!
//! Whoever has a task hands it on where it lacks something; the device that coordinates does where nothing was heard of that one for as
//! long as the workflow's lease says. Of two who say so at once the first in the total order counts. The keys of effects do not
//! depend on the device or the run, and homes do not move with a task: so nothing happens twice (I10).

use aios_core::id::DeviceId;

use super::{Action, Kernel, Need};
use crate::event::WorkEvent;
use crate::needs::{Needs, Offer};
use crate::span::{self, Millis};
use crate::table::Task;

/// So many times in a lease a device that has work says that it is there.
const RENEW: Millis = 3;
/// Leases are looked at so often at least, while there are any.
const PAUSE: Millis = 60_000;

impl Kernel {
    /// What the workflow of a task needs.
    fn needs_of(&self, task: &Task) -> Option<&Needs> {
        let definition = self.setting.versions.get(&task.version?)?;
        Some(&definition.needs)
    }

    fn lacks(&self, needs: &Needs, device: &DeviceId) -> Option<String> {
        let nothing = Offer::default();
        let told = self.setting.offer.as_ref().filter(|_| *device == self.device);
        let offer = told.or_else(|| self.tables.offered(device)).unwrap_or(&nothing);
        let happens = |name: &str| {
            let home = self.setting.connectors.get(name).and_then(|connector| connector.home);
            self.tables.homes().now(name).or(home).or(self.setting.maker) == Some(*device)
        };
        needs.lacks(offer, happens)
    }

    /// The device that fits, by a fixed rule: the home of the first effect that has one, the one that coordinates, then the smallest id.
    fn fitting(&self, task: &Task, needs: &Needs, but: &DeviceId, since: Millis) -> Option<DeviceId> {
        let workflow = self.setting.versions.get(&task.version?)?;
        let first = self.setting.place(workflow);
        let is_member = |it: &DeviceId| self.setting.members.is_empty() || self.setting.members.contains(it);
        let heard = |it: &DeviceId| *it == self.device || self.heard_of(it) >= since;
        let fits = |it: &DeviceId| it != but && is_member(it) && heard(it) && self.lacks(needs, it).is_none();
        let mut known: Vec<DeviceId> = self.tables.offers().map(|(device, _)| *device).collect();
        known.push(self.device);
        known.sort_by_key(|it| (Some(*it) != first, Some(*it) != self.setting.coordinator, *it));
        known.into_iter().find(fits)
    }

    /// The tasks that wait for something that is missing.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &str> {
        let is_missing = |needs: &[Need]| needs.iter().any(|need| matches!(need, Need::Missing { .. }));
        self.needs.iter().filter(move |(_, needs)| is_missing(needs)).map(|(id, _)| id.as_str())
    }

    /// Notes a task that has a lease.
    pub(super) fn lease(&mut self, event: &WorkEvent) {
        if let WorkEvent::TaskCreated { task, version, .. } = event
            && self.setting.versions.get(version).is_some_and(|it| it.needs.lease.is_some())
        {
            self.leased.insert(task.clone());
            self.lease_alarm = 0;
        }
        if let WorkEvent::TaskMoved { .. } | WorkEvent::DeviceOffers { .. } = event {
            self.lease_alarm = 0;
        }
    }

    /// When something was last heard of a device, by its clock.
    fn heard_of(&self, device: &DeviceId) -> Millis {
        self.seen.get(device).copied().unwrap_or(0)
    }

    /// Why a task is not begun here; it is handed on where another fits.
    pub(super) fn elsewhere_better(&self, id: &str, task: &Task) -> Result<(), Box<Misplaced>> {
        let Some(needs) = self.needs_of(task).filter(|needs| needs.any() && !task.pinned) else {
            return Ok(());
        };
        // What has begun stays where it is.
        if task.runs.values().any(|run| run.device == self.device) {
            return Ok(());
        }
        let Some(lack) = self.lacks(needs, &self.device) else { return Ok(()) };
        Err(Box::new(match self.fitting(task, needs, &self.device, 0) {
            Some(to) => Misplaced::Moves(self.moved(id, task, to, lack)),
            None => Misplaced::Waits(Need::Missing { task: id.to_owned(), what: lack }),
        }))
    }

    fn moved(&self, id: &str, task: &Task, to: DeviceId, why: String) -> WorkEvent {
        let turn = u32::try_from(task.moves.len()).unwrap_or(u32::MAX);
        WorkEvent::TaskMoved { task: id.to_owned(), to, turn, why, pinned: false }
    }

    /// The event that has a task worked on by another device because the operator says so.
    #[must_use]
    pub fn moves_to(&self, id: &str, to: DeviceId) -> Option<WorkEvent> {
        let task = self.tables.task(id).filter(|task| task.ended.is_none())?;
        let turn = u32::try_from(task.moves.len()).unwrap_or(u32::MAX);
        let why = "you said so".to_owned();
        Some(WorkEvent::TaskMoved { task: id.to_owned(), to, turn, why, pinned: true })
    }

    /// Says what this device offers where that is another than it said, and that it is there while others wait for that.
    pub(super) fn tell_offer(&mut self, out: &mut Vec<Action>) {
        let Some(offer) = self.setting.offer.clone() else { return };
        let needed = self.setting.current.values().filter_map(|version| self.setting.versions.get(version));
        let needed = needed.map(|workflow| &workflow.needs).any(Needs::any);
        let said = self.tables.offered(&self.device) == Some(&offer);
        let renewal = self.renewal.filter(|at| *at <= self.wall).is_some();
        if renewal {
            let lease = self.shortest_lease();
            self.renewal = lease.map(|lease| self.heard_of(&self.device).saturating_add(lease / RENEW));
        }
        let renews = self.renewal.is_some_and(|at| at <= self.wall);
        if let Some(at) = self.renewal {
            self.look_at(at);
        }
        let about = "what this device offers";
        if (renews || (needed && !said)) && !self.pending.iter().any(|(other, _)| other == about) {
            self.append(about, vec![WorkEvent::DeviceOffers { offer }], out);
        }
    }

    /// Has time be looked at then. A clock that went back does not have it looked at over and over.
    fn look_at(&mut self, at: Millis) {
        self.due.insert((at.max(self.now.saturating_add(1000)), String::new()));
    }

    /// The shortest lease of what this device has to do.
    fn shortest_lease(&self) -> Option<Millis> {
        let mine = self.leased.iter().filter_map(|id| self.tables.task(id));
        let mine = mine.filter(|task| task.ended.is_none() && task.device == Some(self.device));
        mine.filter_map(|task| self.needs_of(task)?.lease).min()
    }

    /// Has another device work on what one was to of which nothing was heard for too long.
    pub(super) fn take_over(&mut self, out: &mut Vec<Action>) {
        if self.lease_alarm > self.wall || self.leased.is_empty() {
            return;
        }
        let over = |id: &String| self.tables.task(id).is_none_or(|task| task.ended.is_some());
        let done: Vec<String> = self.leased.iter().filter(|id| over(id)).cloned().collect();
        done.iter().for_each(|id| _ = self.leased.remove(id));
        self.renewal = Some(self.wall);
        self.lease_alarm = self.wall.saturating_add(PAUSE);
        if self.setting.coordinator != Some(self.device) {
            return;
        }
        let mut moves = Vec::new();
        for id in &self.leased {
            let Some(task) = self.tables.task(id).filter(|task| !task.pinned) else { continue };
            let (Some(device), Some(needs)) = (task.device, self.needs_of(task)) else { continue };
            let Some(lease) = needs.lease.filter(|_| device != self.device) else { continue };
            let until = self.heard_of(&device).max(task.made).saturating_add(lease);
            if until > self.wall {
                self.lease_alarm = self.lease_alarm.min(until);
            } else if let Some(to) = self.fitting(task, needs, &device, self.wall.saturating_sub(lease)) {
                let why = format!("nothing was heard of the device that had it for {}", span::show(lease));
                moves.push((id.clone(), self.moved(id, task, to, why)));
            }
        }
        self.look_at(self.lease_alarm);
        for (id, event) in moves {
            if !self.pending.iter().any(|(other, _)| *other == id) {
                self.append(&id, vec![event], out);
            }
        }
    }

    /// Why a task is where it is, where it was handed on.
    pub fn why_there(&self, task: &str) -> Option<&str> {
        self.tables.task(task)?.moves.last().map(|(_, why)| why.as_str())
    }
}

/// What becomes of a task that this device cannot do.
pub(super) enum Misplaced {
    /// Another has it.
    Moves(WorkEvent),
    /// Nobody fits.
    Waits(Need),
}
