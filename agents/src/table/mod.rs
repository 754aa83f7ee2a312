//! What events come to: a table for each aggregate, the fold of its own events in the total order (I1).
//!
//! An event that comes late refolds its aggregate and no other; one that comes twice changes nothing.

mod breaker;
mod budget;
mod delegation;
mod effect;
mod home;
mod index;
mod journal;
mod offer;
mod outside;
mod pause;
mod release;
mod rewind;
mod task;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{Aggregate, EffectKey, Fired, WorkEvent};
use crate::needs::Offer;
use crate::span::Millis;
use aios_core::clock::Stamp;
use aios_core::id::DeviceId;

use index::{OfEffect, OfTask};

pub use breaker::{Breaker, Passage};
pub use budget::Budget;
pub use delegation::{Delegation, Grant};
pub use effect::{Decided, Effect, Intent, Proposed, Stand};
pub use home::Homes;
pub use index::Matter;
pub use journal::Journaled;
pub use outside::Emitted;
pub use release::{Choice, Release, Releases, Stopped};
pub use rewind::{Owed, Rewind};
pub use task::{Answer, Attempt, Rehearsal, Run, Spent, Status, StepState, Stuck, Task};

/// The place of an event in the total order: that of its record, then its place in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(pub Stamp, pub u32);

impl Order {
    /// The time on its author's clock.
    pub fn time(&self) -> Millis {
        self.0.clock().0
    }
}

/// What folds events.
pub trait Fold: Default {
    /// Takes in the next event.
    fn apply(&mut self, order: &Order, event: &WorkEvent);
}

/// The events of one aggregate and what they come to.
#[derive(Debug, Clone, Default, PartialEq)]
struct Folded<T> {
    /// In the total order. There are few of each aggregate, and many aggregates.
    events: Vec<(Order, WorkEvent)>,
    /// What the fold begins with.
    blank: T,
    table: T,
}

impl<T: Fold + Clone> Folded<T> {
    /// Folds anew, beginning with something else.
    fn begin_with(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.blank);
        self.fold();
    }

    fn fold(&mut self) {
        self.table = self.blank.clone();
        self.events.iter().for_each(|(order, event)| self.table.apply(order, event));
    }

    fn insert(&mut self, order: Order, event: WorkEvent) {
        let Err(place) = self.events.binary_search_by_key(&order, |(order, _)| *order) else { return };
        if place == self.events.len() {
            self.table.apply(&order, &event);
            self.events.push((order, event));
        } else {
            self.events.insert(place, (order, event));
            self.fold();
        }
    }
}

/// The tables of all work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    tasks: BTreeMap<String, Folded<Task>>,
    effects: BTreeMap<EffectKey, Folded<Effect>>,
    budgets: BTreeMap<String, Folded<Budget>>,
    delegations: BTreeMap<String, Folded<Delegation>>,
    /// Which version of each agent works.
    releases: BTreeMap<String, Folded<Releases>>,
    /// The notes of days.
    journal: BTreeMap<String, Folded<Journaled>>,
    /// The effects that were proposed for a task.
    proposals: BTreeMap<String, BTreeSet<EffectKey>>,
    /// The effects that are under way: few, whatever there was before.
    under_way: BTreeSet<EffectKey>,
    /// By capability, where in the order something came of which effect.
    ends: BTreeMap<String, BTreeMap<Order, EffectKey>>,
    /// Where effects happen.
    homes: Arc<Homes>,
    /// The last instant for which a schedule started each workflow.
    fired: BTreeMap<String, Millis>,
    /// Events that workflows start with or wait for, by name.
    outside: BTreeMap<String, outside::Outside>,
    /// What devices say of themselves.
    offers: BTreeMap<DeviceId, (Order, Offer)>,
    /// Which tasks wrote which files.
    writers: writer::Writers,
    /// Where to look.
    index: index::Index,
}

impl Tables {
    /// Empty ones of a vault that was made by a device.
    pub fn new(maker: Option<DeviceId>) -> Tables {
        Tables { homes: Arc::new(Homes::on(maker)), ..Tables::default() }
    }

    /// Takes in an event of work.
    pub fn insert(&mut self, order: Order, event: WorkEvent) {
        match event.aggregate() {
            Aggregate::Task(task) => {
                let task = task.to_owned();
                if let WorkEvent::TaskCreated { workflow, trigger: Some(Fired::Cron { at, .. }), .. } = &event
                {
                    let last = self.fired.entry(workflow.clone()).or_default();
                    *last = (*last).max(*at);
                }
                let before = self.task(&task).and_then(|it| it.device);
                let was = self.task(&task).map(OfTask::of).unwrap_or_default();
                self.tasks.entry(task.clone()).or_default().insert(order, event);
                let is = self.task(&task).map(OfTask::of).unwrap_or_default();
                self.index.task(&task, was, is);
                let device = self.task(&task).and_then(|it| it.device);
                if before != device {
                    self.own(&task, device);
                }
            }
            Aggregate::Effect(key) => {
                let key = *key;
                self.writers.insert(key, &event);
                let task = match &event {
                    WorkEvent::EffectProposed { task, .. } => Some(task.clone()),
                    _ => None,
                };
                // What is changed by the operator is void.
                if let WorkEvent::ApprovalEdited { of, .. } = &event
                    && *of != key
                {
                    self.change(*of, |effect| effect.insert(order, event.clone()));
                }
                self.change(key, |effect| effect.insert(order, event));
                if let Some(task) = task
                    && self.proposals.entry(task.clone()).or_default().insert(key)
                {
                    let device = self.task(&task).and_then(|it| it.device);
                    self.own(&task, device);
                }
            }
            Aggregate::Homes => {
                if Arc::make_mut(&mut self.homes).insert(order, &event) {
                    self.moved();
                }
            }
            Aggregate::Devices => {
                if let WorkEvent::DeviceOffers { offer } = event {
                    self.offer(order, offer);
                }
            }
            Aggregate::Budget(name) => self.budgets.entry(name.to_owned()).or_default().insert(order, event),
            Aggregate::Delegation(id) => {
                self.delegations.entry(id.to_owned()).or_default().insert(order, event);
            }
            Aggregate::Release(agent) => {
                self.releases.entry(agent.to_owned()).or_default().insert(order, event);
            }
            Aggregate::Day(day) => {
                if let WorkEvent::JournalWritten { ids, .. } = &event {
                    self.index.tell(ids);
                }
                self.journal.entry(day.to_owned()).or_default().insert(order, event);
            }
            Aggregate::Outside(_) => self.emit(order, event),
        }
    }

    /// The author of a record goes on under another key.
    pub fn rotate(&mut self, order: Order, to: DeviceId) {
        if Arc::make_mut(&mut self.homes).rotate(order, to) {
            self.moved();
        }
    }

    /// Has what a device said of effects count where they happened there.
    fn moved(&mut self) {
        for key in self.effects.keys().copied().collect::<Vec<_>>() {
            let homes = self.homes.clone();
            self.change(key, |effect| effect.begin_with(|blank| blank.homes = homes));
        }
    }

    /// Changes what is known of an effect, and what is listed of it.
    fn change(&mut self, key: EffectKey, change: impl FnOnce(&mut Folded<Effect>)) {
        let homes = &self.homes;
        let new = || {
            let blank = Effect::at_homes(homes.clone());
            Folded { events: Vec::new(), table: blank.clone(), blank }
        };
        let effect = self.effects.entry(key).or_insert_with(new);
        let tries = |effect: &Effect| {
            let capability = effect.proposed.as_ref()?.content.capability.clone();
            Some((capability, effect.tries().collect::<Vec<Order>>()))
        };
        let (before, was) = (tries(&effect.table), OfEffect::of(&effect.table));
        change(effect);
        self.index.effect(key, was, OfEffect::of(&effect.table));
        let (after, performs) = (tries(&effect.table), matches!(effect.table.stand(), Stand::Performing(_)));
        match performs {
            true => self.under_way.insert(key),
            false => self.under_way.remove(&key),
        };
        if before == after {
            return;
        }
        if let Some((capability, orders)) = before
            && let Some(listed) = self.ends.get_mut(&capability)
        {
            for order in orders {
                listed.remove(&order);
            }
            if listed.is_empty() {
                self.ends.remove(&capability);
            }
        }
        if let Some((capability, orders)) = after.filter(|(_, orders)| !orders.is_empty()) {
            let listed = self.ends.entry(capability).or_default();
            listed.extend(orders.into_iter().map(|order| (order, key)));
        }
    }

    /// Where effects happen.
    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// The effects that were proposed for a task.
    pub fn proposals(&self, task: &str) -> impl Iterator<Item = &EffectKey> {
        self.proposals.get(task).into_iter().flatten()
    }

    /// Has what was proposed for a task count only where the device that works on it did: a record that comes late may say that this is
    /// another than it seemed.
    fn own(&mut self, task: &str, device: Option<DeviceId>) {
        let Some(device) = device else { return };
        for key in self.proposals.get(task).cloned().unwrap_or_default() {
            let known = self.effects.get(&key).and_then(|effect| effect.blank.owners.get(task));
            if known != Some(&device) {
                let owner = |blank: &mut Effect| _ = blank.owners.insert(task.to_owned(), device);
                self.change(key, |effect| effect.begin_with(owner));
            }
        }
    }

    /// The last instant for which a schedule started a workflow.
    pub fn fired(&self, workflow: &str) -> Option<Millis> {
        self.fired.get(workflow).copied()
    }

    /// A task.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.get(id).map(|it| &it.table)
    }

    /// All tasks.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.tasks.iter().map(|(id, it)| (id.as_str(), &it.table))
    }

    /// An effect.
    pub fn effect(&self, key: &EffectKey) -> Option<&Effect> {
        self.effects.get(key).map(|it| &it.table)
    }

    /// All effects.
    pub fn effects(&self) -> impl Iterator<Item = (&EffectKey, &Effect)> {
        self.effects.iter().map(|(key, it)| (key, &it.table))
    }

    /// The effects that are under way.
    pub fn under_way(&self) -> impl Iterator<Item = (&EffectKey, &Effect)> {
        self.under_way.iter().filter_map(|key| Some((key, self.effect(key)?)))
    }

    /// A delegation.
    pub fn delegation(&self, id: &str) -> Option<&Delegation> {
        self.delegations.get(id).map(|it| &it.table)
    }

    /// All delegations.
    pub fn delegations(&self) -> impl Iterator<Item = (&str, &Delegation)> {
        self.delegations.iter().map(|(id, it)| (id.as_str(), &it.table))
    }

    /// Which version of an agent works, where the operator said so.
    pub fn releases(&self, agent: &str) -> Option<&Releases> {
        self.releases.get(agent).map(|it| &it.table)
    }

    /// The agents of which the operator said which version works.
    pub fn released(&self) -> impl Iterator<Item = (&str, &Releases)> {
        self.releases.iter().map(|(agent, it)| (agent.as_str(), &it.table))
    }

    /// What was written into the note of a day.
    pub fn journaled(&self, day: &str) -> Option<&Journaled> {
        self.journal.get(day).map(|it| &it.table)
    }

    /// A budget.
    pub fn budget(&self, name: &str) -> Option<&Budget> {
        self.budgets.get(name).map(|it| &it.table)
    }
}

#[cfg(test)]
mod tests;
