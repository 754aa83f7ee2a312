//! A sorted list of which what was remembered lies in runs, and what changed since in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::image::NoImage;
use super::run::{Runs, Writer};

/// The list with the number `LIST` in runs.
#[derive(Debug, Clone)]
pub(super) struct Map<const LIST: usize, K, V> {
    /// What changed since; nothing where it was taken out.
    recent: BTreeMap<K, Option<V>>,
    runs: Arc<Runs>,
}

impl<const LIST: usize, K, V> Default for Map<LIST, K, V> {
    fn default() -> Self {
        Map { recent: BTreeMap::new(), runs: Arc::default() }
    }
}

impl<const LIST: usize, K, V> Map<LIST, K, V>
where
    K: Serialize + DeserializeOwned + Ord + Clone,
    V: Serialize + DeserializeOwned + Clone,
{
    pub fn on(runs: &Arc<Runs>) -> Self {
        Map { recent: BTreeMap::new(), runs: runs.clone() }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        match self.recent.get(key) {
            Some(value) => value.clone(),
            None => self.runs.find(LIST, key).flatten(),
        }
    }

    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.recent.insert(key, Some(value));
    }

    /// Changes the value of a key, which may be new.
    pub fn change(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        let found = match self.recent.get_mut(&key) {
            Some(found) => found,
            None => {
                let found = self.runs.find(LIST, &key).flatten();
                self.recent.entry(key).or_insert(found)
            }
        };
        change(found.get_or_insert_default());
    }

    pub fn remove(&mut self, key: &K) {
        match self.runs.is_empty() {
            true => _ = self.recent.remove(key),
            // What runs say of it counts no longer.
            false => _ = self.recent.insert(key.clone(), None),
        }
    }

    /// The entries from a key on, or all.
    pub fn range(&self, from: Option<K>) -> impl Iterator<Item = (K, V)> + use<'_, LIST, K, V> {
        let later = (from.as_ref().map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded);
        let recent = self.recent.range(later).map(|(key, value)| (key.clone(), value.clone()));
        let all = self.runs.merged(LIST, from.as_ref(), recent, usize::MAX, |value| value);
        all.filter_map(|(key, value)| Some((key, value?)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.range(None)
    }

    /// Writes what changed, together with the `newest` so many runs; what was taken out is left out where these are all.
    pub fn save(&self, out: &mut Writer, newest: usize, all: bool) -> Result<(), NoImage> {
        let recent = self.recent.iter().map(|(key, value)| (key.clone(), value.clone()));
        let merged = self.runs.merged(LIST, None, recent, newest, |value| value);
        out.list(merged.filter(|(_, value)| !all || value.is_some()).map(Ok))
    }
}

impl<const LIST: usize, K, V> PartialEq for Map<LIST, K, V>
where
    K: Serialize + DeserializeOwned + Ord + Clone,
    V: Serialize + DeserializeOwned + Clone + PartialEq,
{
    /// What is in memory here may be in a run there.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
