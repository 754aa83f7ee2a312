//! Events that workflows start with or wait for: of one that was told more than once, the first in the total order counts (I10).

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value;

use super::{Order, Status, Tables, Task};
use crate::event::{Fired, WorkEvent};

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// Which one it is.
    pub id: String,
    /// What it says.
    pub data: Value,
    /// Whether that came from outside.
    pub untrusted: bool,
    /// How many events led to it, one after the other.
    pub hops: u32,
}

/// The events of one name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outside {
    pub(super) events: BTreeMap<Order, Emitted>,
    /// Where in the order each was told first.
    pub(super) first: BTreeMap<String, Order>,
}

impl Tables {
    /// Takes in an event.
    pub(super) fn emit(&mut self, order: Order, event: WorkEvent) {
        let WorkEvent::EventEmitted { name, id, data, untrusted, hops, .. } = event else { return };
        let Outside { events, first } = self.outside.entry(name).or_default();
        let at = first.entry(id.clone()).or_insert(order);
        *at = order.min(*at);
        events.entry(order).or_insert(Emitted { id, data, untrusted, hops });
    }

    /// The events of a name that come after a place in the order, each once.
    pub fn outside_after(&self, name: &str, after: &Order) -> impl Iterator<Item = &Emitted> {
        let later = (Bound::Excluded(*after), Bound::Unbounded);
        self.outside.get(name).into_iter().flat_map(move |outside| {
            let events = outside.events.range(later);
            events.filter(|(order, it)| outside.first.get(&it.id) == Some(order)).map(|(_, event)| event)
        })
    }

    /// An event, and where in the order it was told first.
    pub fn outside(&self, name: &str, id: &str) -> Option<(&Order, &Emitted)> {
        let Outside { events, first } = self.outside.get(name)?;
        let order = first.get(id)?;
        Some((order, events.get(order)?))
    }

    /// All events, by name and id.
    pub fn all_outside(&self) -> impl Iterator<Item = (&str, &str)> {
        self.outside.iter().flat_map(|(name, it)| it.first.keys().map(move |id| (name.as_str(), id.as_str())))
    }

    /// How many events and files led to a task, one after the other.
    pub fn hops(&self, id: &str) -> u32 {
        let hops = self.line(id).filter_map(|task| match &task.trigger {
            Some(Fired::Event { hops, .. }) => Some(hops + 1),
            Some(Fired::Entity { hops, .. }) => Some(*hops),
            _ => None,
        });
        hops.max().unwrap_or(0)
    }

    /// Whether what a task was given, or one that it is part of, came from outside.
    pub fn is_given_untrusted(&self, id: &str) -> bool {
        self.line(id).any(Task::has_untrusted)
    }
}

impl Task {
    /// Whether what started it, or what one of its steps got, came from outside.
    pub fn has_untrusted(&self) -> bool {
        let got = |result: &Value| result.get("untrusted") == Some(&Value::Bool(true));
        let steps = || self.runs.values().flat_map(|run| run.steps.values());
        matches!(
            self.trigger,
            Some(Fired::Event { untrusted: true, .. } | Fired::Entity { untrusted: true, .. })
        ) || steps().any(|state| {
            let given = matches!(&state.status, Status::Finished { result, .. } if got(result));
            given || state.heard
        })
    }
}
