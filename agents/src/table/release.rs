//! Which version of an agent works, where the operator said so: the one that was accepted last, another that was, or a new one for a share
//! of the tasks.

use std::collections::BTreeMap;

use super::{Fold, Order};
use crate::agent::Edition;
use crate::event::WorkEvent;
use crate::span::Millis;
use crate::trial::Tally;

/// The most that a share is.
pub const WHOLE: u32 = 10_000;

/// What the operator said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its id.
    pub id: String,
    /// Where in the order.
    pub order: Order,
    /// What works.
    pub choice: Choice,
}

/// What works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The version that was accepted last.
    Accepted,
    /// This one, whatever was accepted since.
    Pinned(Edition),
    /// A new one for a share of the tasks.
    Canary {
        /// What has the others.
        old: Edition,
        /// The new one.
        new: Edition,
        /// So many tasks of ten thousand.
        share: u32,
    },
}

/// Why a new version has no more tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// When.
    pub at: Millis,
    /// What the old version did until then.
    pub old: Tally,
    /// What the new one did.
    pub new: Tally,
    /// Why, for people.
    pub why: String,
}

/// All that was said about one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Releases {
    /// By how often something was said before, then by place in the order.
    said: BTreeMap<(u32, Order), Release>,
    /// By the id of what was said.
    stopped: BTreeMap<String, Stopped>,
}

impl Choice {
    fn of(editions: &[Edition], share: u32) -> Option<Choice> {
        match editions {
            [] => Some(Choice::Accepted),
            [only] => Some(Choice::Pinned(only.clone())),
            [old, new] if share <= WHOLE => {
                Some(Choice::Canary { old: old.clone(), new: new.clone(), share })
            }
            _ => None,
        }
    }

    /// The versions that it names.
    pub fn editions(&self) -> impl Iterator<Item = &Edition> {
        let (one, other) = match self {
            Choice::Accepted => (None, None),
            Choice::Pinned(edition) => (Some(edition), None),
            Choice::Canary { old, new, .. } => (Some(old), Some(new)),
        };
        one.into_iter().chain(other)
    }
}

impl Releases {
    /// What counts now.
    pub fn now(&self) -> Option<&Release> {
        self.said.values().next_back()
    }

    /// How often something was said.
    pub fn turn(&self) -> u32 {
        self.said.keys().next_back().map_or(0, |(turn, _)| turn.saturating_add(1))
    }

    /// Why the new version of what counts now has no more tasks.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.get(&self.now()?.id)
    }
}

impl Fold for Releases {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        match event {
            // Said once more by somebody who only has the record, it is what it was.
            WorkEvent::AgentReleased { id, editions, share, turn, .. }
                if self.said.values().all(|it| it.id != *id) =>
            {
                let Some(choice) = Choice::of(editions, *share) else { return };
                let release = Release { id: id.clone(), order: *order, choice };
                self.said.insert((*turn, *order), release);
            }
            WorkEvent::CanaryStopped { id, old, new, why, .. } => {
                let (old, new) = (*old, *new);
                let stopped = || Stopped { at: order.time(), old, new, why: why.clone() };
                self.stopped.entry(id.clone()).or_insert_with(stopped);
            }
            _ => {}
        }
    }
}
