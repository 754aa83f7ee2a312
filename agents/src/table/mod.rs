//! What events come to: a table for each aggregate, the fold of its own events in the total order (I1).
//!
//! An event that comes late refolds its aggregate and no other; one that comes twice changes nothing.

mod breaker;
mod budget;
mod delegation;
mod effect;
mod exact;
mod home;
mod image;
mod index;
mod journal;
mod kept;
mod offer;
mod outside;
mod pause;
mod release;
mod rewind;
mod shelf;
mod task;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::event::{Aggregate, EffectKey, Fired, WorkEvent};
use crate::needs::Offer;
use crate::span::Millis;
use aios_core::clock::Stamp;
use aios_core::id::DeviceId;

use serde::{Deserialize, Serialize};

use index::{OfEffect, OfTask};
use kept::{Folded, Keep, Kept};
use shelf::Shelf;

pub use breaker::{Breaker, Passage};
pub use budget::{Budget, MODELS, Put};
pub use delegation::{Delegation, Grant};
pub use effect::{Decided, Effect, Intent, Proposed, Stand};
pub use home::Homes;
pub use image::NoImage;
pub use index::{Charge, Matter};
pub use journal::Journaled;
pub use kept::Seen;
pub use outside::Emitted;
pub use release::{Choice, Release, Releases, Stopped};
pub use rewind::{Owed, Rewind};
pub use task::{Answer, Attempt, Rehearsal, Run, Spent, Status, StepState, Stuck, Task};

/// The place of an event in the total order: that of its record, then its place in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// The tables of all work.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    tasks: BTreeMap<String, Kept<Task>>,
    effects: BTreeMap<EffectKey, Kept<Effect>>,
    budgets: BTreeMap<String, Folded<Budget>>,
    delegations: BTreeMap<String, Folded<Delegation>>,
    /// Which version of each agent works.
    releases: BTreeMap<String, Folded<Releases>>,
    /// The notes of days.
    journal: BTreeMap<String, Folded<Journaled>>,
    /// The effects that were proposed for a task, in the order of their keys.
    proposals: BTreeMap<String, Vec<EffectKey>>,
    /// The tasks that are part of another.
    parts: BTreeMap<String, BTreeSet<String>>,
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
    /// What is over and made small.
    shelf: Shelf,
}

impl PartialEq for Tables {
    /// What is small here may be whole there.
    fn eq(&self, other: &Tables) -> bool {
        let Tables {
            tasks,
            effects,
            budgets,
            delegations,
            releases,
            journal,
            proposals,
            parts,
            under_way,
            ends,
            homes,
            fired,
            outside,
            offers,
            writers,
            index,
            shelf: _,
        } = self;
        let same_tasks = || alike(tasks, homes, &other.tasks, &other.homes);
        let same_effects = || alike(effects, homes, &other.effects, &other.homes);
        (budgets, delegations, journal) == (&other.budgets, &other.delegations, &other.journal)
            && *releases == other.releases
            && (proposals, parts, under_way) == (&other.proposals, &other.parts, &other.under_way)
            && (ends, homes, fired) == (&other.ends, &other.homes, &other.fired)
            && (outside, offers, writers) == (&other.outside, &other.offers, &other.writers)
            && *index == other.index
            && same_tasks()
            && same_effects()
    }
}

/// Whether two lists hold the same events, and these come to the same.
fn alike<K: PartialEq, T: Keep + PartialEq>(
    one: &BTreeMap<K, Kept<T>>,
    homes: &Arc<Homes>,
    other: &BTreeMap<K, Kept<T>>,
    others: &Arc<Homes>,
) -> bool {
    let mut both = one.iter().zip(other);
    one.len() == other.len()
        && both.all(|((key, it), (same, that))| key == same && it.folded(homes) == that.folded(others))
}

impl Tables {
    /// Empty ones of a vault that was made by a device.
    pub fn new(maker: Option<DeviceId>) -> Tables {
        Tables { homes: Arc::new(Homes::on(maker)), ..Tables::default() }
    }

    /// Takes in an event of work.
    pub fn insert(&mut self, order: Order, event: WorkEvent) {
        self.shut();
        match event.aggregate() {
            Aggregate::Task(task) => {
                let task = task.to_owned();
                self.insert_of_task(&task, order, event);
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
                if let Some(task) = task {
                    let proposals = self.proposals.entry(task.clone()).or_default();
                    if let Err(place) = proposals.binary_search(&key) {
                        proposals.insert(place, key);
                        let device = self.task(&task).and_then(|it| it.device);
                        self.own(&task, device);
                    }
                }
            }
            Aggregate::Homes => {
                if Arc::make_mut(&mut self.homes).insert(order, &event) {
                    self.moved(order);
                }
            }
            Aggregate::Devices => {
                if let WorkEvent::DeviceOffers { offer } = event {
                    self.offer(order, offer);
                }
            }
            Aggregate::Budget(name) => {
                let new = || Folded::new(Budget::at_homes(self.homes.clone()));
                self.budgets.entry(name.to_owned()).or_insert_with(new).insert(order, event);
            }
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
            self.moved(order);
        }
    }

    fn insert_of_task(&mut self, id: &str, order: Order, event: WorkEvent) {
        if let WorkEvent::TaskCreated { workflow, trigger: Some(Fired::Cron { at, .. }), .. } = &event {
            let last = self.fired.entry(workflow.clone()).or_default();
            *last = (*last).max(*at);
        }
        if let WorkEvent::TaskCreated { parent: Some((parent, _)), .. } = &event {
            self.parts.entry(parent.clone()).or_default().insert(id.to_owned());
        }
        // Most events are about what is known, so its name is made only for what is not.
        let is_new = !self.tasks.contains_key(id);
        if is_new {
            self.tasks.insert(id.to_owned(), Kept::new(Task::default()));
        }
        let Some(kept) = self.tasks.get_mut(id) else { return };
        let again = kept.is_small();
        let task = kept.whole(&self.homes);
        let before = task.table.device;
        let was = if is_new { OfTask::default() } else { OfTask::of(&task.table) };
        task.insert(order, event);
        let (device, is) = (task.table.device, OfTask::of(&task.table));
        if is.is_over() && (again || !was.is_over()) {
            self.shelf.is_over(id);
        }
        self.index.task(id, was, is);
        if before != device {
            self.own(id, device);
        }
    }

    /// Has what a device said of effects count where they happened there. What was all said before the change stays as it is.
    fn moved(&mut self, change: Order) {
        let later = self.effects.iter().filter(|(_, effect)| effect.may_reach(&change));
        for key in later.map(|(key, _)| *key).collect::<Vec<_>>() {
            let homes = self.homes.clone();
            self.change(key, |effect| effect.begin_with(|blank| blank.homes = homes));
        }
        for budget in self.budgets.values_mut() {
            budget.begin_with(|blank| blank.homes = self.homes.clone());
        }
    }

    /// Changes what is known of an effect, and what is listed of it.
    fn change(&mut self, key: EffectKey, change: impl FnOnce(&mut Folded<Effect>)) {
        let homes = &self.homes;
        let kept = self.effects.entry(key).or_insert_with(|| Kept::new(Effect::at_homes(homes.clone())));
        let again = kept.is_small();
        let effect = kept.whole(homes);
        let tries = |effect: &Effect| {
            let capability = effect.proposed.as_ref()?.content.capability.clone();
            Some((capability, effect.tries().collect::<Vec<Order>>()))
        };
        let (before, was) = (tries(&effect.table), OfEffect::of(&effect.table));
        change(effect);
        self.index.effect(key, was, OfEffect::of(&effect.table));
        if let Some(proposed) = effect.table.proposed.as_ref().filter(|_| again) {
            self.shelf.is_over(&proposed.task);
        }
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
            if self.effect(&key).is_some_and(|effect| effect.owners.get(task) != Some(&device)) {
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
        let (id, kept) = self.tasks.get_key_value(id)?;
        Some(kept.table(&self.homes, || self.shelf.read_task(id)))
    }

    /// The id of a task, where there is one.
    pub fn task_id(&self, id: &str) -> Option<&str> {
        self.tasks.get_key_value(id).map(|(id, _)| id.as_str())
    }

    /// All tasks. What is over is read for each anew: this is for what is asked seldom.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, Seen<'_, Task>)> {
        self.tasks.iter().map(|(id, it)| (id.as_str(), it.seen(&self.homes)))
    }

    /// The ids of tasks that begin like that.
    pub fn task_ids<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = &'s str> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let ids = self.tasks.range::<str, _>(from).map(|(id, _)| id.as_str());
        ids.take_while(move |id| id.starts_with(prefix))
    }

    /// The tasks that steps of a task started.
    pub fn parts(&self, id: &str) -> impl Iterator<Item = (&str, &Task)> {
        let parts = self.parts.get(id).into_iter().flatten();
        parts.filter_map(|part| Some((part.as_str(), self.task(part)?)))
    }

    /// An effect.
    pub fn effect(&self, key: &EffectKey) -> Option<&Effect> {
        Some(self.effects.get(key)?.table(&self.homes, || self.shelf.read_effect(*key)))
    }

    /// An effect, of which nothing stays in memory that was not there: for whoever goes through many.
    pub fn seen(&self, key: &EffectKey) -> Option<Seen<'_, Effect>> {
        self.effects.get(key).map(|it| it.seen(&self.homes))
    }

    /// All effects. What is over is read for each anew: this is for what is asked seldom.
    pub fn effects(&self) -> impl Iterator<Item = (&EffectKey, Seen<'_, Effect>)> {
        self.effects.iter().map(|(key, it)| (key, it.seen(&self.homes)))
    }

    /// The keys of all effects.
    pub fn effect_keys(&self) -> impl Iterator<Item = &EffectKey> {
        self.effects.keys()
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
