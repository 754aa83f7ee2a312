//! All tables as bytes: whoever begins with them need not fold what led to them, nor read what is over.
//!
//! What grows with the past lies in runs, and is read where it is asked for; the rest is read at once. Runs hold the events of every aggregate, so
//! what comes late finds its place as it always does. An image is for the program that made it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use aios_core::id::DeviceId;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::exact::Exact;
use super::index::{Index, Now};
use super::kept::{Folded, Keep, Kept, Small, has_fraction};
use super::library::Library;
use super::map::Map;
use super::outside::{Emitted, Outside};
use super::run::{Bytes, Runs, Title, Writer};
use super::shelf::Shelf;
use super::writer::Writers;
use super::{Budget, Fold, Homes, Order, Tables};
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
pub(super) struct Blob(Box<[u8]>);

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

/// Reads a set or map whole before it is made: entries in their order are not looked up one by one then.
pub(crate) fn at_once<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: IntoIterator + FromIterator<T::Item>,
    T::Item: Deserialize<'de>,
{
    Ok(Vec::deserialize(d)?.into_iter().collect())
}

/// An aggregate in a run.
#[derive(Serialize, Deserialize)]
pub(super) enum Saved {
    /// What its fold begins with and its events, as JSON, compressed by the book with that number; the last event.
    Small(Blob, u32, Order),
    /// The same where JSON would not be read back as it was written.
    Exact(Blob, Vec<(Order, Exact)>),
}

impl Saved {
    /// Its last event.
    pub fn last(&self) -> Option<Order> {
        match self {
            Saved::Small(_, _, last) => Some(*last),
            Saved::Exact(_, events) => events.last().map(|(order, _)| *order),
        }
    }

    pub fn restore<T: Keep>(self, books: &[Arc<[u8]>], homes: &Arc<Homes>) -> Result<Kept<T>, NoImage> {
        match self {
            Saved::Small(Blob(text), book, last) => {
                let book = books.get(book as usize).ok_or_else(|| NoImage("a book is missing".into()))?;
                let (book, read) = (book.clone(), OnceLock::new());
                Ok(Kept::Small(Box::new(Small { text, book, last, read })))
            }
            Saved::Exact(Blob(frame), events) => {
                let blank = T::begin(serde_json::from_slice(&frame)?, homes);
                let events = events.into_iter().map(|(order, it)| Ok((order, event(it)?)));
                Ok(Kept::Whole(Box::new(Folded::of(blank, events.collect::<Result<_, NoImage>>()?))))
            }
        }
    }
}

/// What makes aggregates small to write them, and the books that texts go by, each once.
pub(super) struct Press {
    places: BTreeMap<usize, u32>,
    books: Vec<Arc<[u8]>>,
    /// By which what is whole is compressed.
    book: Arc<[u8]>,
}

impl Press {
    /// Those books keep their numbers.
    fn new(books: &[Arc<[u8]>], book: Arc<[u8]>) -> Press {
        let places = (0..).zip(books).map(|(place, book)| (Arc::as_ptr(book).addr(), place));
        Press { places: places.collect(), books: books.to_vec(), book }
    }

    fn place(&mut self, book: &Arc<[u8]>) -> u32 {
        *self.places.entry(Arc::as_ptr(book).addr()).or_insert_with(|| {
            self.books.push(book.clone());
            u32::try_from(self.books.len() - 1).unwrap_or(u32::MAX)
        })
    }

    pub fn save<T: Keep>(&mut self, kept: &Kept<T>) -> Result<Saved, NoImage> {
        match kept {
            Kept::Small(small) => {
                Ok(Saved::Small(Blob(small.text.clone()), self.place(&small.book), small.last))
            }
            Kept::Whole(folded) => {
                let text = folded.text()?;
                let last = folded.events.last().map(|(order, _)| *order);
                if let Some(last) = last.filter(|_| !has_fraction(&text)) {
                    let book = self.book.clone();
                    return Ok(Saved::Small(Blob(Shelf::pressed(&text, &book)), self.place(&book), last));
                }
                let frame = serde_json::to_vec(folded.blank.frame())?;
                let events = folded.events.iter().map(|(order, it)| Ok((*order, exact(it)?)));
                Ok(Saved::Exact(Blob(frame.into()), events.collect::<Result<_, NoImage>>()?))
            }
        }
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

/// So many runs there are at most, however small they are.
const RUNS: usize = 8;

impl Tables {
    /// Of how many runs, the newest first, what they hold goes into the next: as many as leave the rest at least twice as large as what comes
    /// after, so that each entry is written again only so often as its number is doubled.
    fn merges(&self, whole: bool) -> usize {
        let sizes: Vec<u64> = self.runs.titles().map(|title| title.size).collect();
        if whole {
            return sizes.len();
        }
        // What changed since takes about that.
        let mut sum = 1000 * (self.tasks.all_recent().count() + self.effects.all_recent().count()) as u64;
        let mut merged = 0;
        for (place, size) in sizes.iter().enumerate() {
            if *size < 2 * sum || sizes.len() - place >= RUNS {
                merged = place + 1;
                sum = sizes[..merged].iter().sum();
            }
        }
        merged
    }

    /// A book where the shelf has none yet: of what is over.
    fn book(&self) -> Arc<[u8]> {
        if !self.shelf.book().is_empty() {
            return self.shelf.book().clone();
        }
        let over = self.tasks.all_recent().filter(|(id, _)| !self.index.is_open(id)).take(16);
        let texts = over.filter_map(|(_, kept)| kept.folded(&self.homes).text().ok());
        Shelf::book_of(texts)
    }

    /// Writes what the runs that these tables go by do not have, or all, as a run, and adds the rest to `out`.
    ///
    /// # Errors
    /// An event that cannot be written, or a run.
    pub(crate) fn save(
        &self,
        out: &mut Vec<u8>,
        run: &mut dyn Write,
        whole: bool,
    ) -> Result<Vec<Title>, NoImage> {
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
            runs,
        } = self;
        let newest = self.merges(whole);
        let all = newest == runs.titles().count();
        let mut press = Press::new(&runs.books, self.book());
        let mut writer = Writer::new(run);
        // In the order of their numbers.
        tasks.save(&mut writer, newest, &mut press)?;
        let last = effects.save(&mut writer, newest, &mut press)?;
        journal.save(&mut writer, newest, &mut press)?;
        proposals.save(&mut writer, newest, all)?;
        parts.save(&mut writer, newest, all)?;
        ends.save(&mut writer, newest, all)?;
        writers.save(&mut writer, newest, all)?;
        index.save(&mut writer, newest, all)?;
        let mut titles = vec![writer.end(last)?];
        titles.extend(runs.titles().skip(newest).cloned());
        if let Some(why) = runs.fault() {
            return Err(NoImage(why.to_owned()));
        }
        let book = press.place(&self.book());
        put(out, &titles)?;
        put(out, &press.books.iter().map(|book| Blob((**book).into())).collect::<Vec<_>>())?;
        put(out, &book)?;
        put(out, &**homes)?;
        put_few(out, budgets)?;
        put_few(out, delegations)?;
        put_few(out, releases)?;
        put(out, &(untidy, under_way, fired))?;
        put_outside(out, outside)?;
        let said = offers
            .iter()
            .map(|(device, (order, offer))| Ok((*device, *order, Exact::from(serde_json::to_value(offer)?))));
        put(out, &said.collect::<Result<Vec<_>, NoImage>>()?)?;
        put(out, &index.now())?;
        Ok(titles)
    }

    /// The tables of an image, which it takes off `bytes`; `open` gives the runs that it names.
    ///
    /// # Errors
    /// Bytes that are none, and runs that are not there or others.
    pub(crate) fn restore(
        bytes: &mut &[u8],
        open: &dyn Fn(&Title) -> io::Result<Arc<dyn Bytes>>,
    ) -> Result<Tables, NoImage> {
        let titles: Vec<Title> = take(bytes)?;
        let books: Vec<Blob> = take(bytes)?;
        let books: Vec<Arc<[u8]>> = books.into_iter().map(|Blob(book)| book.into()).collect();
        let book: u32 = take(bytes)?;
        let book = books.get(book as usize).ok_or_else(|| NoImage("a book is missing".into()))?.clone();
        let homes: Arc<Homes> = Arc::new(take(bytes)?);
        let budgets = take_few(bytes, || Budget::at_homes(homes.clone()))?;
        let delegations = take_few(bytes, Default::default)?;
        let releases = take_few(bytes, Default::default)?;
        type Lists = (BTreeSet<String>, BTreeSet<EffectKey>, BTreeMap<String, Millis>);
        let (untidy, under_way, fired): Lists = take(bytes)?;
        let outside = take_outside(bytes)?;
        let said: Vec<(DeviceId, Order, Exact)> = take(bytes)?;
        let offers = said
            .into_iter()
            .map(|(device, order, offer)| Ok((device, (order, serde_json::from_value(Value::from(offer))?))));
        let offers = offers.collect::<Result<_, NoImage>>()?;
        let now: Now = take(bytes)?;
        let opened = titles.into_iter().map(|title| match open(&title) {
            Ok(bytes) => Ok((title, bytes)),
            Err(e) => Err(NoImage(format!("the run {}: {e}", title.hash))),
        });
        let runs = Arc::new(Runs::open(opened.collect::<Result<_, NoImage>>()?, books)?);
        Ok(Tables {
            tasks: Library::on(&runs),
            effects: Library::on(&runs),
            budgets,
            delegations,
            releases,
            journal: Library::on(&runs),
            untidy,
            proposals: Map::on(&runs),
            parts: Map::on(&runs),
            under_way,
            ends: Map::on(&runs),
            homes,
            fired,
            outside,
            offers,
            writers: Writers::on(&runs),
            index: Index::on(&runs, now),
            shelf: Shelf::with(book),
            runs,
        })
    }

    /// These, which keep as many tasks whole as others do.
    pub(crate) fn keeping(mut self, other: &Tables) -> Tables {
        self.shelf.keep_as(&other.shelf);
        self
    }

    /// The runs that they are read from.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Title> {
        self.runs.titles()
    }

    /// What could not be read of what is remembered: then nothing that was said since counts.
    pub fn fault(&self) -> Option<&str> {
        self.runs.fault()
    }
}
