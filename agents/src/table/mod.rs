//! What events come to: a table for each aggregate, the fold of its own events in the total order (I1).
//!
//! An event that comes late refolds its aggregate and no other; one that comes twice changes nothing.

mod budget;
mod effect;
mod task;

use std::collections::BTreeMap;

use aios_core::clock::Stamp;
use serde_json::Value;

use crate::event::{Aggregate, EffectKey, WorkEvent};
use crate::span::Millis;

pub use budget::Budget;
pub use effect::{Decided, Effect, Intent, Proposed, Stand};
pub use task::{Run, Status, StepState, Stuck, Task};

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
    events: BTreeMap<Order, WorkEvent>,
    table: T,
}

impl<T: Fold> Folded<T> {
    fn insert(&mut self, order: Order, event: WorkEvent) {
        if self.events.contains_key(&order) {
            return;
        }
        let is_last = self.events.last_key_value().is_none_or(|(last, _)| *last < order);
        if is_last {
            self.table.apply(&order, &event);
            self.events.insert(order, event);
        } else {
            self.events.insert(order, event);
            self.table = T::default();
            self.events.iter().for_each(|(order, event)| self.table.apply(order, event));
        }
    }
}

/// The tables of all work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    tasks: BTreeMap<String, Folded<Task>>,
    effects: BTreeMap<EffectKey, Folded<Effect>>,
    budgets: BTreeMap<String, Folded<Budget>>,
    /// Events from outside, by type.
    outside: BTreeMap<String, BTreeMap<Order, Value>>,
}

impl Tables {
    /// Takes in an event of work.
    pub fn insert(&mut self, order: Order, event: WorkEvent) {
        match event.aggregate() {
            Aggregate::Task(task) => self.tasks.entry(task.to_owned()).or_default().insert(order, event),
            Aggregate::Effect(key) => self.effects.entry(*key).or_default().insert(order, event),
            Aggregate::Budget(name) => self.budgets.entry(name.to_owned()).or_default().insert(order, event),
        }
    }

    /// Takes in an event from outside, such as `mail.received`.
    pub fn insert_outside(&mut self, order: Order, name: &str, event: Value) {
        self.outside.entry(name.to_owned()).or_default().entry(order).or_insert(event);
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

    /// A budget.
    pub fn budget(&self, name: &str) -> Option<&Budget> {
        self.budgets.get(name).map(|it| &it.table)
    }

    /// The events of a type from outside that come after a place in the order.
    pub fn outside_after(&self, name: &str, after: &Order) -> impl Iterator<Item = &Value> {
        let later = (std::ops::Bound::Excluded(*after), std::ops::Bound::Unbounded);
        self.outside.get(name).into_iter().flat_map(move |events| events.range(later).map(|(_, event)| event))
    }
}

#[cfg(test)]
mod tests;
