//! What was written into the notes of days, so that it is written once, also where somebody took it out again.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::DeviceId;

use super::{Fold, Order};
use crate::event::WorkEvent;

/// The note of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journaled {
    /// What was written.
    pub ids: BTreeSet<String>,
    /// Who wrote, and how often.
    writers: BTreeMap<DeviceId, u32>,
    /// By how many writers it was when it was last looked for lines that stand twice.
    tidied: usize,
}

impl Journaled {
    /// Whether lines may stand twice: more than one device wrote since that was looked for.
    pub fn is_untidy(&self) -> bool {
        self.writers.len() > self.tidied.max(1)
    }

    /// By how many devices it was written.
    pub fn writers(&self) -> usize {
        self.writers.len()
    }
}

impl Fold for Journaled {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        let WorkEvent::JournalWritten { ids, tidied, .. } = event else { return };
        self.ids.extend(ids.iter().cloned());
        *self.writers.entry(order.0.2).or_default() += 1;
        self.tidied = self.tidied.max(usize::try_from(*tidied).unwrap_or(usize::MAX));
    }
}
