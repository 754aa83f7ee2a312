//! All tables as bytes: whoever begins with them need not fold what led to them.
//!
//! An image holds the events of every aggregate, so what comes late finds its place as it always does. It is for the program that made it alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use aios_core::id::DeviceId;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::exact::Exact;
use super::index::Index;
use super::kept::{Folded, Keep, Kept, Small, has_fraction};
use super::outside::{Emitted, Outside};
use super::shelf::Shelf;
use super::writer::Writers;
use super::{Budget, Effect, Fold, Homes, Order, Tables};
use crate::event::{EffectKey, WorkEvent};
use crate::span::Millis;

/// Bytes that are no image of tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no image of tables: {0}")]
pub struct NoImage(pub(crate) String);

impl From<postcard::Error> for NoImage {
    fn from(error: postcard::Error) -> NoImage {
        NoImage(error.to_string())
    }
}

impl From<serde_json::Error> for NoImage {
    fn from(error: serde_json::Error) -> NoImage {
        NoImage(error.to_string())
    }
}

/// Bytes in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Blob(Box<[u8]>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Blob, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        d.deserialize_bytes(Bytes)
    }
}

/// An aggregate.
#[derive(Serialize, Deserialize)]
enum Saved {
    /// As it is kept, with the number of its book.
    Small(Blob, u32, Order),
    /// What its fold begins with and its events, as JSON.
    Text(Blob),
    /// The same where JSON would not be read back as it was written.
    Exact(Blob, Vec<(Order, Exact)>),
}

/// The books that small texts go by, each once.
#[derive(Default)]
struct Books {
    places: BTreeMap<usize, u32>,
    books: Vec<Arc<[u8]>>,
}

impl Books {
    fn place(&mut self, book: &Arc<[u8]>) -> u32 {
        *self.places.entry(Arc::as_ptr(book).addr()).or_insert_with(|| {
            self.books.push(book.clone());
            u32::try_from(self.books.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

fn put(out: &mut Vec<u8>, what: &impl Serialize) -> Result<(), NoImage> {
    let bytes = std::mem::take(out);
    *out = postcard::to_extend(what, bytes)?;
    Ok(())
}

fn take<'b, T: Deserialize<'b>>(bytes: &mut &'b [u8]) -> Result<T, NoImage> {
    let (what, rest) = postcard::take_from_bytes(bytes)?;
    *bytes = rest;
    Ok(what)
}

fn exact(event: &WorkEvent) -> Result<Exact, NoImage> {
    Ok(serde_json::to_value(event)?.into())
}

fn event(exact: Exact) -> Result<WorkEvent, NoImage> {
    Ok(WorkEvent::deserialize(Value::from(exact))?)
}

fn save<T: Keep>(kept: &Kept<T>, books: &mut Books) -> Result<Saved, NoImage> {
    match kept {
        Kept::Small(small) => {
            Ok(Saved::Small(Blob(small.text.clone()), books.place(&small.book), small.last))
        }
        Kept::Whole(folded) => {
            let text = folded.text()?;
            if !has_fraction(&text) {
                return Ok(Saved::Text(Blob(text.into())));
            }
            let frame = serde_json::to_vec(folded.blank.frame())?;
            let events = folded.events.iter().map(|(order, it)| Ok((*order, exact(it)?)));
            Ok(Saved::Exact(Blob(frame.into()), events.collect::<Result<_, NoImage>>()?))
        }
    }
}

fn restore<T: Keep>(saved: Saved, books: &[Arc<[u8]>], homes: &Arc<Homes>) -> Result<Kept<T>, NoImage> {
    let whole = match saved {
        Saved::Small(Blob(text), book, last) => {
            let book = books.get(book as usize).ok_or_else(|| NoImage("a book is missing".into()))?.clone();
            return Ok(Kept::Small(Box::new(Small { text, book, last, read: OnceLock::new() })));
        }
        Saved::Text(Blob(text)) => Folded::read(&text, homes)?,
        Saved::Exact(Blob(frame), events) => {
            let blank = T::begin(serde_json::from_slice(&frame)?, homes);
            let events = events.into_iter().map(|(order, it)| Ok((order, event(it)?)));
            Folded::of(blank, events.collect::<Result<_, NoImage>>()?)
        }
    };
    Ok(Kept::Whole(Box::new(whole)))
}

/// Saves aggregates that are few and always whole.
fn put_few<T: Fold + Clone>(out: &mut Vec<u8>, few: &BTreeMap<String, Folded<T>>) -> Result<(), NoImage> {
    put(out, &few.len())?;
    for (name, folded) in few {
        let events = folded.events.iter().map(|(order, it)| Ok((*order, exact(it)?)));
        put(out, &(name, events.collect::<Result<Vec<_>, NoImage>>()?))?;
    }
    Ok(())
}

fn take_few<T: Fold + Clone>(
    bytes: &mut &[u8],
    blank: impl Fn() -> T,
) -> Result<BTreeMap<String, Folded<T>>, NoImage> {
    let mut few = BTreeMap::new();
    for _ in 0..take::<usize>(bytes)? {
        let (name, events): (String, Vec<(Order, Exact)>) = take(bytes)?;
        let events = events.into_iter().map(|(order, it)| Ok((order, event(it)?)));
        few.insert(name, Folded::of(blank(), events.collect::<Result<_, NoImage>>()?));
    }
    Ok(few)
}

fn put_kept<K: Serialize, T: Keep>(
    out: &mut Vec<u8>,
    kept: &BTreeMap<K, Kept<T>>,
    books: &mut Books,
) -> Result<(), NoImage> {
    put(out, &kept.len())?;
    kept.iter().try_for_each(|(key, kept)| put(out, &(key, save(kept, books)?)))
}

fn take_kept<K: DeserializeOwned + Ord, T: Keep>(
    bytes: &mut &[u8],
    books: &[Arc<[u8]>],
    homes: &Arc<Homes>,
) -> Result<BTreeMap<K, Kept<T>>, NoImage> {
    let mut out = BTreeMap::new();
    for _ in 0..take::<usize>(bytes)? {
        let (key, saved): (K, Saved) = take(bytes)?;
        out.insert(key, restore(saved, books, homes)?);
    }
    Ok(out)
}

/// An event that workflows start with, with what it says.
type Told = (Order, String, Exact, bool, u32);

fn put_outside(out: &mut Vec<u8>, outside: &BTreeMap<String, Outside>) -> Result<(), NoImage> {
    put(out, &outside.len())?;
    for (name, Outside { events, first }) in outside {
        let events = events
            .iter()
            .map(|(order, it)| (*order, it.id.clone(), Exact::from(it.data.clone()), it.untrusted, it.hops));
        put(out, &(name, events.collect::<Vec<Told>>(), first))?;
    }
    Ok(())
}

fn take_outside(bytes: &mut &[u8]) -> Result<BTreeMap<String, Outside>, NoImage> {
    let mut outside = BTreeMap::new();
    for _ in 0..take::<usize>(bytes)? {
        let (name, events, first): (String, Vec<Told>, BTreeMap<String, Order>) = take(bytes)?;
        let events = events.into_iter().map(|(order, id, data, untrusted, hops)| {
            (order, Emitted { id, data: data.into(), untrusted, hops })
        });
        outside.insert(name, Outside { events: events.collect(), first });
    }
    Ok(outside)
}

impl Tables {
    /// Adds an image of all tables to `out`.
    ///
    /// # Errors
    /// An event that cannot be written.
    pub(crate) fn save(&self, out: &mut Vec<u8>) -> Result<(), NoImage> {
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
            shelf,
        } = self;
        let (mut books, mut kept) = (Books::default(), Vec::new());
        put_kept(&mut kept, tasks, &mut books)?;
        put_kept(&mut kept, effects, &mut books)?;
        let book = books.place(shelf.book());
        put(out, &books.books.iter().map(|book| Blob((**book).into())).collect::<Vec<_>>())?;
        put(out, &**homes)?;
        out.extend_from_slice(&kept);
        put_few(out, budgets)?;
        put_few(out, delegations)?;
        put_few(out, releases)?;
        put_few(out, journal)?;
        put(out, &(proposals, parts, under_way, ends, fired))?;
        put_outside(out, outside)?;
        let said = offers
            .iter()
            .map(|(device, (order, offer))| Ok((*device, *order, Exact::from(serde_json::to_value(offer)?))));
        put(out, &said.collect::<Result<Vec<_>, NoImage>>()?)?;
        put(out, &(writers, index))?;
        put(out, &(book, shelf.over()))
    }

    /// The tables of an image, which it takes off `bytes`; `keep_whole` as in [`Tables::keep_whole`].
    ///
    /// # Errors
    /// Bytes that are none.
    pub(crate) fn restore(bytes: &mut &[u8]) -> Result<Tables, NoImage> {
        let books: Vec<Blob> = take(bytes)?;
        let books: Vec<Arc<[u8]>> = books.into_iter().map(|Blob(book)| book.into()).collect();
        let homes: Arc<Homes> = Arc::new(take(bytes)?);
        let tasks = take_kept(bytes, &books, &homes)?;
        let effects: BTreeMap<EffectKey, Kept<Effect>> = take_kept(bytes, &books, &homes)?;
        let budgets = take_few(bytes, || Budget::at_homes(homes.clone()))?;
        let delegations = take_few(bytes, Default::default)?;
        let releases = take_few(bytes, Default::default)?;
        let journal = take_few(bytes, Default::default)?;
        type Lists = (
            BTreeMap<String, Vec<EffectKey>>,
            BTreeMap<String, BTreeSet<String>>,
            BTreeSet<EffectKey>,
            BTreeMap<String, BTreeMap<Order, EffectKey>>,
            BTreeMap<String, Millis>,
        );
        let (proposals, parts, under_way, ends, fired): Lists = take(bytes)?;
        let outside = take_outside(bytes)?;
        let said: Vec<(DeviceId, Order, Exact)> = take(bytes)?;
        let offers = said
            .into_iter()
            .map(|(device, order, offer)| Ok((device, (order, serde_json::from_value(Value::from(offer))?))));
        let offers = offers.collect::<Result<_, NoImage>>()?;
        let (writers, index): (Writers, Index) = take(bytes)?;
        let (book, over): (u32, VecDeque<String>) = take(bytes)?;
        let book = books.get(book as usize).ok_or_else(|| NoImage("a book is missing".into()))?;
        let shelf = Shelf::with(book.clone(), over);
        Ok(Tables {
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
            shelf,
        })
    }
}
