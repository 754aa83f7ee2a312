//! Where questions wait for others that go into the same batch.

use std::collections::BTreeMap;

use super::{MOST, MOST_BYTES};
use crate::span::Millis;

/// Questions that wait, by who is asked.
#[derive(Debug)]
pub struct Tray<L, T> {
    lanes: BTreeMap<L, Lane<T>>,
}

#[derive(Debug)]
struct Lane<T> {
    due: Millis,
    waiting: Vec<(usize, T)>,
}

impl<L, T> Default for Tray<L, T> {
    fn default() -> Self {
        Tray { lanes: BTreeMap::new() }
    }
}

impl<L: Ord + Clone, T> Tray<L, T> {
    /// Has one wait, of so many bytes; at the longest until `until`, or as long as the first that waits.
    pub fn put(&mut self, lane: L, bytes: usize, item: T, until: Millis) {
        let lane = self.lanes.entry(lane).or_insert_with(|| Lane { due: until, waiting: Vec::new() });
        lane.due = lane.due.min(until);
        lane.waiting.push((bytes, item));
    }

    /// When the next batch goes.
    pub fn due(&self) -> Option<Millis> {
        self.lanes.values().map(Lane::due).min()
    }

    /// The batches that go now: never too many questions in one, nor too long ones.
    pub fn take(&mut self, now: Millis) -> Vec<(L, Vec<T>)> {
        let due = |(name, lane): (&L, &Lane<T>)| (lane.due() <= now).then(|| name.clone());
        let names: Vec<L> = self.lanes.iter().filter_map(due).collect();
        let mut out = Vec::new();
        for name in names {
            let Some(lane) = self.lanes.remove(&name) else { continue };
            let (mut batch, mut length) = (Vec::new(), 0_usize);
            for (bytes, item) in lane.waiting {
                if batch.len() >= MOST || (length.saturating_add(bytes) > MOST_BYTES && !batch.is_empty()) {
                    out.push((name.clone(), std::mem::take(&mut batch)));
                    length = 0;
                }
                length = length.saturating_add(bytes);
                batch.push(item);
            }
            out.push((name, batch));
        }
        out
    }

    /// Takes those out of it that nobody waits for any more.
    pub fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.lanes.values_mut().for_each(|lane| lane.waiting.retain(|(_, item)| stays(item)));
        self.lanes.retain(|_, lane| !lane.waiting.is_empty());
    }

    /// Takes over all that wait in another.
    pub fn append(&mut self, other: &mut Tray<L, T>) {
        for (name, lane) in std::mem::take(&mut other.lanes) {
            for (bytes, item) in lane.waiting {
                self.put(name.clone(), bytes, item, lane.due);
            }
        }
    }
}

impl<T> Lane<T> {
    /// A full one goes at once.
    fn due(&self) -> Millis {
        if self.waiting.len() >= MOST { 0 } else { self.due }
    }
}
