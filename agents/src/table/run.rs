//! Sorted lists as bytes, of which only what is asked for is read: blocks of entries, and an index of their first keys and hashes.
//!
//! A run never changes. What came later is in another run, and of one key the newest entry counts. Who holds the hash of an index can tell
//! that no block was changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::iter::Peekable;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aios_core::id::ContentHash;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Order;
use super::image::NoImage;

/// A block is full with so many bytes.
const BLOCK: usize = 8 << 10;
/// So many blocks that were read stay in memory.
const AT_HAND: usize = 512;

/// Bytes that do not change.
pub trait Bytes: fmt::Debug + Send + Sync {
    /// The `len` bytes from `at` on.
    ///
    /// # Errors
    /// They cannot be read, or there are not as many.
    fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>>;

    /// They could not be read, or are others: whoever keeps them is to forget them.
    fn fails(&self, _why: &str) {}
}

impl Bytes for Vec<u8> {
    fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let at = usize::try_from(at).ok();
        let found = at.and_then(|at| self.get(at..at.checked_add(len)?));
        found.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Entries one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Block {
    /// The first key.
    first: Vec<u8>,
    at: u64,
    len: u32,
    hash: ContentHash,
}

/// What is known of a run before it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Title {
    /// The hash of its index.
    pub hash: ContentHash,
    at: u64,
    len: u32,
    /// How many bytes it has.
    pub size: u64,
    /// The last event of effects in it.
    pub last: Option<Order>,
}

/// A run of which the index was read.
#[derive(Debug)]
struct Run {
    title: Title,
    bytes: Arc<dyn Bytes>,
    lists: Vec<Vec<Block>>,
}

/// A block: the run, the list, and which of its blocks.
type Place = (usize, usize, usize);

/// Several runs, the newest first.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// The books that texts in them go by.
    pub books: Vec<Arc<[u8]>>,
    /// What could not be read.
    fault: OnceLock<String>,
    at_hand: Mutex<BTreeMap<Place, Arc<[u8]>>>,
}

fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), NoImage> {
    Ok(postcard::take_from_bytes(bytes)?)
}

impl Run {
    fn open(title: Title, bytes: Arc<dyn Bytes>) -> Result<Run, NoImage> {
        let index = bytes.read(title.at, title.len as usize).map_err(|e| NoImage(e.to_string()))?;
        if ContentHash::of(&index) != title.hash {
            return Err(NoImage("the index of a run is another".into()));
        }
        let (lists, _) = decode(&index)?;
        Ok(Run { title, bytes, lists })
    }

    fn block(&self, list: usize, block: usize) -> Result<Vec<u8>, NoImage> {
        let Block { at, len, hash, .. } = &self.lists[list][block];
        let bytes = self.bytes.read(*at, *len as usize).map_err(|e| NoImage(e.to_string()))?;
        match ContentHash::of(&bytes) == *hash {
            true => Ok(bytes),
            false => Err(NoImage(format!("the bytes of a run from {at} on are others"))),
        }
    }

    /// The block in which a key is, if it is anywhere.
    fn place<K: DeserializeOwned + Ord>(&self, list: usize, key: &K) -> Option<usize> {
        let blocks = self.lists.get(list)?;
        let not_after = |block: &Block| decode::<K>(&block.first).is_ok_and(|(first, _)| first <= *key);
        blocks.partition_point(not_after).checked_sub(1)
    }
}

impl Runs {
    /// Opens runs, the newest first.
    ///
    /// # Errors
    /// One of which the index cannot be read, or is another.
    pub fn open(runs: Vec<(Title, Arc<dyn Bytes>)>, books: Vec<Arc<[u8]>>) -> Result<Runs, NoImage> {
        let runs = runs.into_iter().map(|(title, bytes)| Run::open(title, bytes));
        Ok(Runs { runs: runs.collect::<Result<_, _>>()?, books, ..Runs::default() })
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn titles(&self) -> impl Iterator<Item = &Title> {
        self.runs.iter().map(|run| &run.title)
    }

    /// What could not be read: then nothing that was said since counts.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// Notes that something could not be read.
    pub fn fails(&self, why: &NoImage) {
        let why = self.fault.get_or_init(|| why.to_string());
        self.runs.iter().for_each(|run| run.bytes.fails(why));
    }

    fn block(&self, place: Place) -> Option<Arc<[u8]>> {
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = at_hand.get(&place) {
            return Some(block.clone());
        }
        match self.runs[place.0].block(place.1, place.2) {
            Ok(bytes) => {
                if at_hand.len() >= AT_HAND {
                    at_hand.clear();
                }
                let bytes: Arc<[u8]> = bytes.into();
                at_hand.insert(place, bytes.clone());
                Some(bytes)
            }
            Err(why) => {
                self.fails(&why);
                None
            }
        }
    }

    /// The newest entry of a key: nothing where there is none, `Some(None)` where it was taken out.
    pub fn find<K, V>(&self, list: usize, key: &K) -> Option<Option<V>>
    where
        K: DeserializeOwned + Ord,
        V: DeserializeOwned,
    {
        self.runs.iter().enumerate().find_map(|(n, run)| {
            let block = self.block((n, list, run.place(list, key)?))?;
            let mut rest = &block[..];
            while !rest.is_empty() {
                match decode::<(K, Option<V>)>(rest) {
                    Ok(((other, value), _)) if other == *key => return Some(value),
                    Ok(((other, _), _)) if other > *key => return None,
                    Ok((_, after)) => rest = after,
                    Err(why) => {
                        self.fails(&why);
                        return None;
                    }
                }
            }
            None
        })
    }

    /// The entries of one run from a key on.
    fn entries<'r, K, V>(
        &'r self,
        run: usize,
        list: usize,
        from: Option<&K>,
    ) -> impl Iterator<Item = (K, Option<V>)> + use<'r, K, V>
    where
        K: DeserializeOwned + Ord,
        V: DeserializeOwned,
    {
        let first = from.and_then(|from| self.runs[run].place(list, from)).unwrap_or(0);
        let count = self.runs[run].lists.get(list).map_or(0, Vec::len);
        (first..count).flat_map(move |block| {
            // Whoever goes through all does not have all at hand.
            let bytes = self.runs[run].block(list, block);
            let mut out = Vec::new();
            let read = bytes.and_then(|bytes| {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (entry, after) = decode::<(K, Option<V>)>(rest)?;
                    out.push(entry);
                    rest = after;
                }
                Ok(())
            });
            read.unwrap_or_else(|why| self.fails(&why));
            out
        })
    }

    /// The entries from a key on, of the `newest` so many runs, with `recent` ones that are newer still.
    pub fn merged<'r, K, V, W, I, F>(
        &'r self,
        list: usize,
        from: Option<&K>,
        recent: I,
        newest: usize,
        read: F,
    ) -> impl Iterator<Item = (K, Option<V>)> + use<'r, K, V, W, I, F>
    where
        I: Iterator<Item = (K, Option<V>)> + 'r,
        F: Fn(W) -> V + Copy + 'r,
        K: DeserializeOwned + Ord + Clone + 'r,
        V: 'r,
        W: DeserializeOwned + 'r,
    {
        let mut sources: Vec<Source<'r, K, V>> = Vec::with_capacity(1 + self.runs.len());
        sources.push((Box::new(recent) as Box<dyn Iterator<Item = _> + 'r>).peekable());
        for run in 0..newest.min(self.runs.len()) {
            let from = from.cloned();
            let entries = self.entries::<K, W>(run, list, from.as_ref());
            let later = entries.skip_while(move |(key, _)| from.as_ref().is_some_and(|from| key < from));
            let later = later.map(move |(key, value)| (key, value.map(read)));
            sources.push((Box::new(later) as Box<dyn Iterator<Item = _> + 'r>).peekable());
        }
        std::iter::from_fn(move || next(&mut sources))
    }
}

type Source<'r, K, V> = Peekable<Box<dyn Iterator<Item = (K, Option<V>)> + 'r>>;

/// The entry with the smallest key, of the first source that has it.
fn next<K: Ord, V>(sources: &mut [Source<'_, K, V>]) -> Option<(K, Option<V>)> {
    let mut least: Option<usize> = None;
    for n in 0..sources.len() {
        let (before, rest) = sources.split_at_mut(n);
        let Some((key, _)) = rest[0].peek() else { continue };
        let smaller = match least {
            None => true,
            Some(place) => before[place].peek().is_none_or(|(other, _)| key < other),
        };
        if smaller {
            least = Some(n);
        }
    }
    let found = sources[least?].next()?;
    for source in sources {
        source.next_if(|(key, _)| *key == found.0);
    }
    Some(found)
}

/// Writes a run.
pub(super) struct Writer<'w> {
    out: &'w mut dyn Write,
    at: u64,
    lists: Vec<Vec<Block>>,
}

impl<'w> Writer<'w> {
    pub fn new(out: &'w mut dyn Write) -> Writer<'w> {
        Writer { out, at: 0, lists: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(u64, u32), NoImage> {
        self.out.write_all(bytes).map_err(|e| NoImage(e.to_string()))?;
        let at = self.at;
        self.at += bytes.len() as u64;
        let len = u32::try_from(bytes.len()).map_err(|_| NoImage("a block above 4 GB".into()))?;
        Ok((at, len))
    }

    /// Adds the next list; its entries are sorted by key, and no key comes twice.
    pub fn list<K: Serialize, V: Serialize>(
        &mut self,
        entries: impl Iterator<Item = Result<(K, Option<V>), NoImage>>,
    ) -> Result<(), NoImage> {
        let (mut blocks, mut first, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let entry = entry?;
            if bytes.is_empty() {
                first = postcard::to_stdvec(&entry.0)?;
            }
            bytes = postcard::to_extend(&entry, bytes)?;
            if bytes.len() >= BLOCK {
                blocks.push(self.block(&mut first, &mut bytes)?);
            }
        }
        if !bytes.is_empty() {
            blocks.push(self.block(&mut first, &mut bytes)?);
        }
        self.lists.push(blocks);
        Ok(())
    }

    fn block(&mut self, first: &mut Vec<u8>, bytes: &mut Vec<u8>) -> Result<Block, NoImage> {
        let hash = ContentHash::of(bytes);
        let (at, len) = self.put(bytes)?;
        bytes.clear();
        Ok(Block { first: std::mem::take(first), at, len, hash })
    }

    /// Ends it.
    pub fn end(mut self, last: Option<Order>) -> Result<Title, NoImage> {
        let index = postcard::to_stdvec(&self.lists)?;
        let (at, len) = self.put(&index)?;
        Ok(Title { hash: ContentHash::of(&index), at, len, size: self.at, last })
    }
}
