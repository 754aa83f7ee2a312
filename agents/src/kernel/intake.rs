//! What the kernel hears of: records, of which each event counts or is nothing, and what that touches.

use aios_core::clock::Stamp;
use aios_core::event::Event;

use super::{Flight, Kernel, Work, run_id};
use crate::event::{Aggregate, EffectKey, Fired, WorkEvent, cron_task, event_task};
use crate::table::Order;

impl Kernel {
    pub(super) fn recorded(&mut self, stamp: Stamp, from: usize, events: &[Event]) {
        let counted = self.take_in(stamp, from, events);
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
        for place in counted {
            match events.get(place).map(WorkEvent::try_from) {
                Some(Ok(
                    WorkEvent::StepStarted { task, run, step, attempt, .. }
                    | WorkEvent::TurnTaken { task, run, step, attempt, .. },
                )) => {
                    let work = Work { task, run, step, attempt };
                    // Where nobody is to work nothing is begun, and what waits for its time would never rest.
                    if self.is_work(&work) {
                        self.fresh.insert(Flight::Step(work));
                    }
                }
                Some(Ok(WorkEvent::EffectIntended { key, attempt, .. })) => {
                    self.fresh.insert(Flight::Effect(key, attempt));
                }
                _ => {}
            }
        }
    }

    /// Folds events that stand in a record from a place on, and marks what they touch; which of them count, the first being 0.
    pub(super) fn take_in(&mut self, stamp: Stamp, from: usize, events: &[Event]) -> Vec<usize> {
        let mut out = Vec::new();
        let seen = self.seen.entry(stamp.2).or_default();
        *seen = (*seen).max(stamp.clock().0);
        for (place, event) in events.iter().enumerate() {
            let order = Order(stamp, u32::try_from(from + place).unwrap_or(u32::MAX));
            match WorkEvent::try_from(event) {
                Ok(work) if self.counts(&order, &work) => {
                    self.hear_of_rehearsal(&work);
                    self.lease(&work);
                    let touched = Touched::by(&work);
                    self.tables.insert(order, work);
                    self.catch_up(&touched);
                    self.touch(touched);
                    out.push(place);
                }
                Ok(_) => {}
                Err(_) => {
                    if let Event::DeviceRotated { device, .. } = event {
                        self.tables.rotate(order, *device);
                    }
                }
            }
        }
        out
    }

    /// Whether an event is one, or nothing.
    fn counts(&self, order: &Order, event: &WorkEvent) -> bool {
        // The word of somebody who may not give it, or that is not signed, is none (I11).
        if event.is_operators()
            && !event.signer(&self.vault).is_some_and(|by| self.setting.operators.contains(by))
        {
            return false;
        }
        match event {
            // Everybody proposes in his own run, under the key that follows from the work.
            WorkEvent::EffectProposed { key, task, run, step, generation, .. } => {
                *run == run_id(&self.vault, task, &order.0.2)
                    && *key == EffectKey::of(&self.vault, task, step, *generation)
            }
            // The operator changes what a step proposed, and names both by the keys that follow.
            WorkEvent::ApprovalEdited { key, of, task, step, generation, .. } => {
                let before = generation.checked_sub(1);
                *key == EffectKey::of(&self.vault, task, step, *generation)
                    && before.is_some_and(|it| *of == EffectKey::of(&self.vault, task, step, it))
            }
            // A schedule starts what its id says, at a time that has come, else it would be silent from then on.
            WorkEvent::TaskCreated { task, workflow, trigger: Some(Fired::Cron { at, .. }), .. } => {
                *at <= order.time() && *task == cron_task(&self.vault, workflow, *at)
            }
            // So does an event, else it would start it twice (I10).
            WorkEvent::TaskCreated {
                task, workflow, trigger: Some(Fired::Event { name, id, .. }), ..
            } => *task == event_task(&self.vault, workflow, name, id),
            _ => true,
        }
    }

    fn touch(&mut self, touched: Touched) {
        let task = match touched {
            Touched::Task { id, stands } => {
                if stands {
                    // What is part of it stands still and goes on with it.
                    let parts = self.tables.open().filter(|(_, it)| it.parent.is_some());
                    self.dirty.extend(parts.map(|(id, _)| id.to_owned()));
                }
                Some(id)
            }
            Touched::Effect { key, ended, edited } => {
                if ended
                    && let Some(proposed) = self.tables.effect(&key).and_then(|it| it.proposed.as_ref())
                    && let Some(mut braked) = self.braked.remove(&proposed.content.capability)
                {
                    self.dirty.append(&mut braked);
                }
                edited.or_else(|| self.proposed_for(&key))
            }
            // All that waits for another device may wait for this one now; and what was allowed and has not happened may be void.
            Touched::All => {
                self.dirty.extend(self.tables.open().map(|(id, _)| id.to_owned()));
                None
            }
            // What waits for something that nobody here had may have it now.
            Touched::Missing => {
                self.dirty.extend(self.waiting().map(str::to_owned).collect::<Vec<_>>());
                None
            }
            Touched::Release(agent) => {
                self.release(&agent);
                None
            }
            Touched::Nothing => None,
            Touched::Outside { name, id } => {
                self.dirty.extend(self.listening.get(&name).into_iter().flatten().cloned());
                self.heard.insert((name, id));
                None
            }
        };
        let Some(task) = task else { return };
        self.weigh_task(&task);
        if let Some((parent, _)) = self.tables.task(&task).and_then(|it| it.parent.as_ref()) {
            let parent = parent.clone();
            self.mark(parent);
        }
        self.mark(task);
    }

    /// Has a task looked at, unless it is known that nothing is to be done: most of all work is over.
    fn mark(&mut self, task: String) {
        match self.tables.task(&task).is_some_and(|it| self.is_over(&task, it)) {
            true => _ = self.dirty.remove(&task),
            false => _ = self.dirty.insert(task),
        }
    }

    /// Finds out whether an event tells of something that only the ledger knew.
    fn catch_up(&mut self, touched: &Touched) {
        let Touched::Effect { key, .. } = touched else { return };
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

/// What an event is about.
enum Touched {
    Task {
        id: String,
        /// Whether it stands still from here on, or goes on.
        stands: bool,
    },
    Effect {
        key: EffectKey,
        /// Whether something came of it.
        ended: bool,
        /// The task, where the operator put something in its place.
        edited: Option<String>,
    },
    /// Whatever is not over.
    All,
    /// What devices offer, or have of a budget.
    Missing,
    Outside {
        name: String,
        id: String,
    },
    /// Which version of an agent works.
    Release(String),
    Nothing,
}

impl Touched {
    fn by(event: &WorkEvent) -> Touched {
        match event.aggregate() {
            Aggregate::Task(id) => Touched::Task {
                id: id.to_owned(),
                stands: matches!(event, WorkEvent::TaskPaused { .. } | WorkEvent::TaskResumed { .. }),
            },
            Aggregate::Effect(key) => Touched::Effect {
                key: *key,
                ended: matches!(event, WorkEvent::EffectEnded { .. }),
                edited: match event {
                    WorkEvent::ApprovalEdited { task, .. } => Some(task.clone()),
                    _ => None,
                },
            },
            Aggregate::Homes | Aggregate::Delegation(_) => Touched::All,
            // As with a device, what was missing may be there.
            Aggregate::Devices | Aggregate::Budget(_) => Touched::Missing,
            Aggregate::Release(agent) => Touched::Release(agent.to_owned()),
            Aggregate::Day(_) => Touched::Nothing,
            Aggregate::Outside(name) => match event {
                WorkEvent::EventEmitted { id, .. } => {
                    Touched::Outside { name: name.to_owned(), id: id.clone() }
                }
                _ => Touched::Nothing,
            },
        }
    }
}
