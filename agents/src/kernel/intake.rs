//! What the kernel hears of: records, of which each event counts or is nothing, and what that touches.

use aios_core::clock::Stamp;
use aios_core::event::Event;

use super::{Flight, Kernel, Work, run_id};
use crate::event::{Aggregate, EffectKey, Fired, WorkEvent, cron_task, event_task};
use crate::table::Order;

impl Kernel {
    pub(super) fn recorded(&mut self, stamp: Stamp, events: &[Event]) {
        let counted = self.take_in(stamp, events);
        if stamp.2 != self.device {
            return;
        }
        // It is not waited for any more, also where it turns out to count for nothing.
        let work: Vec<WorkEvent> =
            events.iter().filter_map(|event| WorkEvent::try_from(event).ok()).collect();
        let Some(place) = self.pending.iter().position(|(_, pending)| *pending == work) else { return };
        self.pending.remove(place);
        // A record is never earlier than the clock when it is written: where it is, that went back.
        self.wall = self.wall.min(stamp.clock().0);
        if counted.len() < work.len() {
            // What was due is due later.
            self.alarm = Some(0);
        }
        for event in counted {
            match event {
                WorkEvent::StepStarted { task, run, step, attempt, .. }
                | WorkEvent::TurnTaken { task, run, step, attempt, .. } => {
                    self.fresh.insert(Flight::Step(Work { task, run, step, attempt }));
                }
                WorkEvent::EffectIntended { key, attempt, .. } => {
                    self.fresh.insert(Flight::Effect(key, attempt));
                }
                _ => {}
            }
        }
    }

    /// Folds a record and marks what it touches.
    pub(super) fn take_in(&mut self, stamp: Stamp, events: &[Event]) -> Vec<WorkEvent> {
        let mut out = Vec::new();
        let seen = self.seen.entry(stamp.2).or_default();
        *seen = (*seen).max(stamp.clock().0);
        for (place, event) in events.iter().enumerate() {
            let order = Order(stamp, u32::try_from(place).unwrap_or(u32::MAX));
            match (WorkEvent::try_from(event), event) {
                // The word of somebody who may not give it, or that is not signed, is none (I11).
                (Ok(work), _)
                    if work.is_operators()
                        && !work
                            .signer(&self.vault)
                            .is_some_and(|by| self.setting.operators.contains(by)) => {}
                // Everybody proposes in his own run, under the key that follows from the work.
                (Ok(WorkEvent::EffectProposed { key, task, run, step, generation, .. }), _)
                    if run != run_id(&self.vault, &task, &stamp.2)
                        || key != EffectKey::of(&self.vault, &task, &step, generation) => {}
                // The operator changes what a step proposed, and names both by the keys that follow.
                (Ok(WorkEvent::ApprovalEdited { key, of, task, step, generation, .. }), _)
                    if key != EffectKey::of(&self.vault, &task, &step, generation)
                        || generation
                            .checked_sub(1)
                            .is_none_or(|it| of != EffectKey::of(&self.vault, &task, &step, it)) => {}
                // A schedule starts what its id says, at a time that has come, else it would be silent from then on.
                (
                    Ok(WorkEvent::TaskCreated {
                        task, workflow, trigger: Some(Fired::Cron { at, .. }), ..
                    }),
                    _,
                ) if at > order.time() || task != cron_task(&self.vault, &workflow, at) => {}
                // So does an event, else it would start it twice (I10).
                (
                    Ok(WorkEvent::TaskCreated {
                        task,
                        workflow,
                        trigger: Some(Fired::Event { name, id, .. }),
                        ..
                    }),
                    _,
                ) if task != event_task(&self.vault, &workflow, &name, &id) => {}
                (Ok(work), _) => {
                    self.hear_of_rehearsal(&work);
                    self.tables.insert(order, work.clone());
                    self.lease(&work);
                    self.catch_up(&work);
                    self.touch(&work);
                    out.push(work);
                }
                (Err(_), Event::DeviceRotated { device, .. }) => self.tables.rotate(order, *device),
                (Err(_), _) => {}
            }
        }
        out
    }

    fn touch(&mut self, event: &WorkEvent) {
        if let WorkEvent::EffectEnded { key, .. } = event
            && let Some(proposed) = self.tables.effect(key).and_then(|effect| effect.proposed.as_ref())
            && let Some(mut braked) = self.braked.remove(&proposed.content.capability)
        {
            self.dirty.append(&mut braked);
        }
        let task = match event.aggregate() {
            Aggregate::Effect(_) if let WorkEvent::ApprovalEdited { task, .. } = event => {
                Some(task.to_owned())
            }
            Aggregate::Task(task) => Some(task.to_owned()),
            Aggregate::Effect(key) => self.proposed_for(key),
            // All that waits for another device may wait for this one now.
            Aggregate::Homes => {
                self.dirty.extend(self.tables.open().map(|(id, _)| id.to_owned()));
                None
            }
            // What it allowed and has not happened may be void now.
            Aggregate::Delegation(_) => {
                self.dirty.extend(self.tables.open().map(|(id, _)| id.to_owned()));
                None
            }
            // What waits for a device like that may have one now.
            Aggregate::Devices => {
                self.dirty.extend(self.waiting().map(str::to_owned).collect::<Vec<_>>());
                None
            }
            Aggregate::Release(agent) => {
                self.release(agent);
                None
            }
            Aggregate::Budget(_) | Aggregate::Day(_) => None,
            Aggregate::Outside(name) => {
                self.dirty.extend(self.listening.get(name).into_iter().flatten().cloned());
                if let WorkEvent::EventEmitted { name, id, .. } = event {
                    self.heard.insert((name.clone(), id.clone()));
                }
                None
            }
        };
        if matches!(event, WorkEvent::TaskPaused { .. } | WorkEvent::TaskResumed { .. }) {
            // What is part of it stands still and goes on with it.
            let parts = self.tables.open().filter(|(_, it)| it.parent.is_some());
            self.dirty.extend(parts.map(|(id, _)| id.to_owned()));
        }
        let Some(task) = task else { return };
        self.weigh_task(&task);
        if let Some((parent, _)) = self.tables.task(&task).and_then(|it| it.parent.as_ref()) {
            self.dirty.insert(parent.clone());
        }
        self.dirty.insert(task);
    }

    /// Finds out whether an event tells of something that only the ledger knew.
    fn catch_up(&mut self, event: &WorkEvent) {
        let Aggregate::Effect(key) = event.aggregate() else { return };
        if self.lost.is_empty() {
            return;
        }
        let Some(effect) = self.tables.effect(key) else { return };
        self.lost.retain(|(lost, attempt), _| lost != key || !effect.is_known(*attempt));
        if self.lost.is_empty() {
            self.dirty.extend(self.held_up.iter().cloned());
            self.held_up.clear();
        }
    }
}
