//! Aggregates by key: those that something happened to are in memory, those that are remembered in runs, and are read when they are asked for.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::image::{NoImage, Press, Saved};
use super::kept::{Folded, Keep, Kept, Seen};
use super::run::{Runs, Writer};
use super::{Homes, Order};

/// So many that were read for somebody are kept until the next event.
const READ: usize = 64;

/// The aggregates of the list with the number `LIST` in runs. None is ever taken out.
#[derive(Debug, Clone)]
pub(super) struct Library<const LIST: usize, K, T> {
    recent: BTreeMap<K, Kept<T>>,
    runs: Arc<Runs>,
    read: Read<K, T>,
}

/// Where something of a library is.
enum Place<'l, T> {
    Here(&'l Kept<T>),
    There(Saved),
}

impl<const LIST: usize, K, T> Default for Library<LIST, K, T> {
    fn default() -> Self {
        Library { recent: BTreeMap::new(), runs: Arc::default(), read: Read::default() }
    }
}

impl<const LIST: usize, K, T> Library<LIST, K, T>
where
    K: Serialize + DeserializeOwned + Ord + Clone + Hash,
    T: Keep,
{
    pub fn on(runs: &Arc<Runs>) -> Self {
        Library { runs: runs.clone(), ..Library::default() }
    }

    fn fetch(&self, key: &K, homes: &Arc<Homes>) -> Option<Kept<T>> {
        let saved = self.runs.find::<K, Saved>(LIST, key)??;
        saved.restore(&self.runs.books, homes).map_err(|why| self.runs.fails(&why)).ok()
    }

    /// One with its key.
    pub fn find<Q>(&self, key: &Q, homes: &Arc<Homes>) -> Option<(&K, &Kept<T>)>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(found) = self.recent.get_key_value(key) {
            return Some(found);
        }
        if self.runs.is_empty() {
            return None;
        }
        let key = key.to_owned();
        self.read.get_or(key, |key| self.fetch(key, homes))
    }

    pub fn get<Q>(&self, key: &Q, homes: &Arc<Homes>) -> Option<&Kept<T>>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        Some(self.find(key, homes)?.1)
    }

    /// One, of which nothing stays in memory that was not there.
    pub fn seen<Q>(&self, key: &Q, homes: &Arc<Homes>) -> Option<Seen<'_, T>>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        match self.recent.get(key) {
            Some(kept) => Some(kept.seen(homes)),
            None => Some(Seen::Read(Box::new(self.fetch(&key.to_owned(), homes)?.into_folded(homes).table))),
        }
    }

    /// One to change it, in memory from now on; a new one where there is none, and whether that is so.
    pub fn change<Q>(&mut self, key: &Q, homes: &Arc<Homes>, new: impl FnOnce() -> T) -> (&mut Kept<T>, bool)
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let mut is_new = false;
        if !self.recent.contains_key(key) {
            let key = key.to_owned();
            let found = if self.runs.is_empty() { None } else { self.fetch(&key, homes) };
            is_new = found.is_none();
            self.recent.insert(key, found.unwrap_or_else(|| Kept::new(new())));
        }
        let kept = self.recent.get_mut(key);
        (kept.expect("it was put there"), is_new)
    }

    /// One that is in memory.
    pub fn recent<Q>(&mut self, key: &Q) -> Option<&mut Kept<T>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.recent.get_mut(key)
    }

    #[cfg(test)]
    pub fn is_small<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.recent.get(key).is_some_and(Kept::is_small)
    }

    /// Those that are in memory.
    pub fn all_recent(&self) -> impl Iterator<Item = (&K, &Kept<T>)> {
        self.recent.iter()
    }

    /// Lets go of what was read for somebody, where that is more than `most`.
    pub fn shut(&mut self, most: usize) {
        if self.read.count.load(Ordering::Relaxed) > READ.min(most) {
            self.read = Read::default();
        }
    }

    fn places<'l>(
        &'l self,
        from: Option<&K>,
        newest: usize,
    ) -> impl Iterator<Item = (K, Place<'l, T>)> + use<'l, LIST, K, T> {
        let later = (from.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded);
        let recent = self.recent.range::<K, _>(later);
        let recent = recent.map(|(key, kept)| (key.clone(), Some(Place::Here(kept))));
        let all = self.runs.merged(LIST, from, recent, newest, Place::There);
        all.filter_map(|(key, place)| Some((key, place?)))
    }

    /// The keys from one on.
    pub fn keys<'l>(&'l self, from: Option<&K>) -> impl Iterator<Item = K> + use<'l, LIST, K, T> {
        self.places(from, usize::MAX).map(|(key, _)| key)
    }

    /// All tables.
    pub fn iter<'l>(&'l self, homes: &'l Arc<Homes>) -> impl Iterator<Item = (K, Seen<'l, T>)> {
        let seen = |place| match place {
            Place::Here(kept) => Some(kept.seen(homes)),
            Place::There(saved) => Some(Seen::Read(Box::new(self.made(saved, homes)?.table))),
        };
        self.places(None, usize::MAX).filter_map(move |(key, place)| Some((key, seen(place)?)))
    }

    fn made(&self, saved: Saved, homes: &Arc<Homes>) -> Option<Folded<T>> {
        let kept = saved.restore::<T>(&self.runs.books, homes).map_err(|why| self.runs.fails(&why));
        Some(kept.ok()?.into_folded(homes))
    }

    /// All with their events.
    pub fn folded<'l>(&'l self, homes: &'l Arc<Homes>) -> impl Iterator<Item = (K, Cow<'l, Folded<T>>)> {
        let folded = |place| match place {
            Place::Here(kept) => Some(kept.folded(homes)),
            Place::There(saved) => Some(Cow::Owned(self.made(saved, homes)?)),
        };
        self.places(None, usize::MAX).filter_map(move |(key, place)| Some((key, folded(place)?)))
    }

    /// The keys of those of which something said may count otherwise because homes change at a place in the order.
    pub fn reached(&self, change: &Order) -> Vec<K> {
        let none = self.runs.titles().all(|title| title.last.is_none_or(|last| last < *change));
        if none {
            let recent = self.recent.iter().filter(|(_, kept)| kept.may_reach(change));
            return recent.map(|(key, _)| key.clone()).collect();
        }
        let may = |place: &Place<'_, T>| match place {
            Place::Here(kept) => kept.may_reach(change),
            Place::There(saved) => saved.last().is_some_and(|last| last >= *change),
        };
        self.places(None, usize::MAX).filter(|(_, place)| may(place)).map(|(key, _)| key).collect()
    }

    /// Writes what is in memory together with the `newest` so many runs; the last event there is in it.
    pub fn save(&self, out: &mut Writer, newest: usize, press: &mut Press) -> Result<Option<Order>, NoImage> {
        let mut last = None;
        let saved = self.places(None, newest).map(|(key, place)| {
            let saved = match place {
                Place::Here(kept) => press.save(kept)?,
                Place::There(saved) => saved,
            };
            last = last.max(saved.last());
            Ok((key, Some(saved)))
        });
        out.list(saved)?;
        Ok(last)
    }
}

/// What was read for somebody. It grows while it is looked into, so that what was lent stays where it is.
#[derive(Debug)]
struct Read<K, T> {
    chains: OnceLock<Box<[Chain<K, T>]>>,
    count: AtomicUsize,
}

/// What was read by keys of one hash.
type Chain<K, T> = OnceLock<Box<Link<K, T>>>;

#[derive(Debug)]
struct Link<K, T> {
    key: K,
    kept: Kept<T>,
    next: Chain<K, T>,
}

/// So many chains there are.
const CHAINS: usize = 1024;

impl<K, T> Default for Read<K, T> {
    fn default() -> Self {
        Read { chains: OnceLock::new(), count: AtomicUsize::new(0) }
    }
}

impl<K, T> Clone for Read<K, T> {
    /// What was read for one is read anew for another.
    fn clone(&self) -> Self {
        Read::default()
    }
}

impl<K: Eq + Hash, T> Read<K, T> {
    /// What was read by this key, or is now.
    fn get_or(&self, key: K, fetch: impl FnOnce(&K) -> Option<Kept<T>>) -> Option<(&K, &Kept<T>)> {
        let chains = self.chains.get_or_init(|| (0..CHAINS).map(|_| OnceLock::new()).collect());
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let mut chain = &chains[hasher.finish() as usize % CHAINS];
        while let Some(link) = chain.get() {
            if link.key == key {
                return Some((&link.key, &link.kept));
            }
            chain = &link.next;
        }
        let kept = fetch(&key)?;
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut new = Box::new(Link { key, kept, next: OnceLock::new() });
        // Another thread may have been here.
        while let Err(refused) = chain.set(new) {
            chain = &chain.get()?.next;
            new = refused;
        }
        chain.get().map(|link| (&link.key, &link.kept))
    }
}
