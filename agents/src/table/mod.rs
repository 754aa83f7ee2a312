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
mod library;
mod map;
mod offer;
mod outside;
mod pause;
mod release;
mod rewind;
mod run;
mod shelf;
mod task;
mod watch;
mod writer;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{Aggregate, EffectKey, Fired, WorkEvent};
use crate::needs::Offer;
use crate::span::Millis;
use aios_core::clock::Stamp;
use aios_core::id::DeviceId;

use serde::{Deserialize, Serialize};

use index::{OfEffect, OfTask};
use kept::Folded;
use library::Library;
use map::Map;
use run::Runs;
use shelf::Shelf;

pub use breaker::{Breaker, Passage};
pub use budget::{Budget, MODELS, Put};
pub use delegation::{Delegation, Grant};
pub use effect::{Decided, Effect, Intent, Proposed, Refusal, Stand};
pub use home::Homes;
pub use image::NoImage;
pub(crate) use image::at_once;
pub use index::{Charge, Matter};
pub use journal::Journaled;
pub use kept::Seen;
pub use outside::Emitted;
pub use release::{Choice, Release, Releases, Stopped};
pub use rewind::{Owed, Rewind};
pub use run::{Bytes, Title};
pub use task::{Answer, Attempt, Rehearsal, Run, Spent, Status, StepState, Stuck, Task};
pub(crate) use watch::{GRACE, LATE};

/// The place of an event in the total order: that of its record, then its place in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order(pub Stamp, pub u32);

impl Order {
    /// After all others.
    pub const MAX: Order = Order(Stamp(Millis::MAX, u32::MAX, DeviceId([u8::MAX; 32]), u64::MAX), u32::MAX);

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
    tasks: Library<0, String, Task>,
    effects: Library<1, EffectKey, Effect>,
    budgets: BTreeMap<String, Folded<Budget>>,
    delegations: BTreeMap<String, Folded<Delegation>>,
    /// Which version of each agent works.
    releases: BTreeMap<String, Folded<Releases>>,
    /// The notes of days.
    journal: Library<2, String, Journaled>,
    /// The days of which notes have been written by several devices since that was last tidied.
    untidy: BTreeSet<String>,
    /// The effects that were proposed for a task, in the order of their keys.
    proposals: Map<3, String, Vec<EffectKey>>,
    /// The tasks that are part of another.
    parts: Map<4, String, BTreeSet<String>>,
    /// The effects that are under way: few, whatever there was before.
    under_way: BTreeSet<EffectKey>,
    /// By capability, where in the order something came of which effect, the last first.
    ends: Map<5, (String, Reverse<Order>), EffectKey>,
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
    /// What is remembered.
    runs: Arc<Runs>,
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
            untidy,
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
            runs: _,
        } = self;
        (budgets, delegations, releases) == (&other.budgets, &other.delegations, &other.releases)
            && (proposals, parts, under_way) == (&other.proposals, &other.parts, &other.under_way)
            && (ends, homes, fired) == (&other.ends, &other.homes, &other.fired)
            && (outside, offers, writers) == (&other.outside, &other.offers, &other.writers)
            && (index, untidy) == (&other.index, &other.untidy)
            && tasks.folded(homes).eq(other.tasks.folded(&other.homes))
            && effects.folded(homes).eq(other.effects.folded(&other.homes))
            && journal.folded(homes).eq(other.journal.folded(&other.homes))
    }
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
                    let mut is_new = false;
                    self.proposals.change(task.clone(), |proposals| {
                        if let Err(place) = proposals.binary_search(&key) {
                            proposals.insert(place, key);
                            is_new = true;
                        }
                    });
                    if is_new {
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
                let day = day.to_owned();
                if let WorkEvent::JournalWritten { ids, .. } = &event {
                    self.tell(ids);
                }
                let kept = self.journal.change(&day, &self.homes, Journaled::default).0;
                let written = kept.whole(&self.homes);
                written.insert(order, event);
                match written.table.is_untidy() {
                    true => self.untidy.insert(day),
                    false => self.untidy.remove(&day),
                };
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
            self.parts.change(parent.clone(), |parts| _ = parts.insert(id.to_owned()));
        }
        let (kept, is_new) = self.tasks.change(id, &self.homes, Task::default);
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
        for key in self.effects.reached(&change) {
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
        let (kept, _) = self.effects.change(&key, homes, || Effect::at_homes(homes.clone()));
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
        if let Some((capability, orders)) = before {
            orders.into_iter().for_each(|order| self.ends.remove(&(capability.clone(), Reverse(order))));
        }
        if let Some((capability, orders)) = after {
            let ends = orders.into_iter().map(|order| (capability.clone(), Reverse(order)));
            ends.for_each(|end| self.ends.insert(end, key));
        }
    }

    /// Where effects happen.
    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// The effects that were proposed for a task.
    pub fn proposals(&self, task: &str) -> impl Iterator<Item = EffectKey> + use<> {
        self.proposals.get(&task.to_owned()).into_iter().flatten()
    }

    /// Has what was proposed for a task count only where the device that works on it did: a record that comes late may say that this is
    /// another than it seemed.
    fn own(&mut self, task: &str, device: Option<DeviceId>) {
        let Some(device) = device else { return };
        for key in self.proposals(task) {
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
        let kept = self.tasks.get(id, &self.homes)?;
        Some(kept.table(&self.homes, || self.shelf.read_task(id)))
    }

    /// A task, of which nothing stays in memory that was not there: for whoever goes through many.
    pub fn seen_task(&self, id: &str) -> Option<Seen<'_, Task>> {
        self.tasks.seen(id, &self.homes)
    }

    /// The id of a task, where there is one.
    pub fn task_id(&self, id: &str) -> Option<&str> {
        self.tasks.find(id, &self.homes).map(|(id, _)| id.as_str())
    }

    /// All tasks. What is over is read for each anew: this is for what is asked seldom.
    pub fn tasks(&self) -> impl Iterator<Item = (String, Seen<'_, Task>)> {
        self.tasks.iter(&self.homes)
    }

    /// The ids of tasks that begin like that.
    pub fn task_ids(&self, prefix: &str) -> impl Iterator<Item = String> {
        let ids = self.tasks.keys(Some(&prefix.to_owned()));
        ids.take_while(move |id| id.starts_with(prefix))
    }

    /// The tasks of which something is in memory: those that are open, and those that something happened to since the rest was remembered.
    pub(crate) fn recent_tasks(&self) -> impl Iterator<Item = &str> {
        self.tasks.all_recent().map(|(id, _)| id.as_str())
    }

    /// The effects that something happened to since the rest was remembered.
    pub(crate) fn recent_effects(&self) -> impl Iterator<Item = Seen<'_, Effect>> {
        self.effects.all_recent().map(|(_, it)| it.seen(&self.homes))
    }

    /// The tasks that steps of a task started.
    pub fn parts(&self, id: &str) -> impl Iterator<Item = (&str, &Task)> {
        let parts = self.parts.get(&id.to_owned()).into_iter().flatten();
        parts.filter_map(|part| Some((self.task_id(&part)?, self.task(&part)?)))
    }

    /// An effect.
    pub fn effect(&self, key: &EffectKey) -> Option<&Effect> {
        Some(self.effects.get(key, &self.homes)?.table(&self.homes, || self.shelf.read_effect(*key)))
    }

    /// An effect, of which nothing stays in memory that was not there: for whoever goes through many.
    pub fn seen(&self, key: &EffectKey) -> Option<Seen<'_, Effect>> {
        self.effects.seen(key, &self.homes)
    }

    /// All effects. What is over is read for each anew: this is for what is asked seldom.
    pub fn effects(&self) -> impl Iterator<Item = (EffectKey, Seen<'_, Effect>)> {
        self.effects.iter(&self.homes)
    }

    /// The keys of the effects whose id begins like that, in hex digits.
    pub fn effects_like(&self, prefix: &str) -> impl Iterator<Item = EffectKey> {
        let least = format!("{prefix:0<64}").parse().ok().map(EffectKey);
        let from = least.into_iter().flat_map(|least| self.effects.keys(Some(&least)));
        from.take_while(move |key| key.0.hex().starts_with(prefix))
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
        Some(self.journal.get(day, &self.homes)?.table(&self.homes, || {}))
    }

    /// A budget.
    pub fn budget(&self, name: &str) -> Option<&Budget> {
        self.budgets.get(name).map(|it| &it.table)
    }
}

#[cfg(test)]
mod tests;
