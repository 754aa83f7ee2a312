//! The events of an aggregate and what they come to: whole while something may happen to it, small when it is over (I13).
//!
//! What is small is the same events as text. Whoever asks for it has it folded again, so nothing depends on what is small and what is not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use aios_core::clock::Stamp;
use aios_core::id::DeviceId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shelf::Shelf;
use super::{Effect, Fold, Homes, Journaled, Order, Task};
use crate::event::WorkEvent;

/// What is kept whole or small.
pub(super) trait Keep: Fold + Clone {
    /// What its fold begins with and follows neither from its own events nor from homes.
    type Frame: Serialize + DeserializeOwned;

    /// That of one.
    fn frame(&self) -> &Self::Frame;

    /// What the fold begins with.
    fn begin(frame: Self::Frame, homes: &Arc<Homes>) -> Self;
}

impl Keep for Task {
    type Frame = ();

    fn frame(&self) -> &() {
        &()
    }

    fn begin((): (), _: &Arc<Homes>) -> Task {
        Task::default()
    }
}

impl Keep for Effect {
    type Frame = BTreeMap<String, DeviceId>;

    fn frame(&self) -> &Self::Frame {
        &self.owners
    }

    fn begin(owners: Self::Frame, homes: &Arc<Homes>) -> Effect {
        let mut blank = Effect::at_homes(homes.clone());
        blank.owners = owners;
        blank
    }
}

/// The events of one aggregate and what they come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Folded<T> {
    /// In the total order. There are few of each aggregate, and many aggregates.
    pub events: Vec<(Order, WorkEvent)>,
    /// What the fold begins with.
    pub blank: T,
    pub table: T,
}

impl<T: Fold + Clone> Folded<T> {
    /// One of which nothing is known yet.
    pub fn new(blank: T) -> Folded<T> {
        Folded { events: Vec::new(), table: blank.clone(), blank }
    }

    /// Folds anew, beginning with something else.
    pub fn begin_with(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.blank);
        self.fold();
    }

    /// One with these events, which are in the total order.
    pub fn of(blank: T, events: Vec<(Order, WorkEvent)>) -> Folded<T> {
        let mut folded = Folded { events, table: blank.clone(), blank };
        folded.fold();
        folded
    }

    fn fold(&mut self) {
        self.table = self.blank.clone();
        self.events.iter().for_each(|(order, event)| self.table.apply(order, event));
    }

    pub fn insert(&mut self, order: Order, event: WorkEvent) {
        let Err(place) = self.events.binary_search_by_key(&order, |(order, _)| *order) else { return };
        if place == self.events.len() {
            self.table.apply(&order, &event);
            self.events.push((order, event));
        } else {
            self.events.insert(place, (order, event));
            self.fold();
        }
    }
}

impl<T: Keep> Folded<T> {
    /// What the fold begins with and the events, as JSON.
    pub fn text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let events: Vec<(&Stamp, u32, &WorkEvent)> =
            self.events.iter().map(|(order, event)| (&order.0, order.1, event)).collect();
        serde_json::to_vec(&(self.blank.frame(), events))
    }

    /// What was written so.
    pub fn read(text: &[u8], homes: &Arc<Homes>) -> Result<Folded<T>, serde_json::Error> {
        let (frame, events): (T::Frame, Vec<(Stamp, u32, WorkEvent)>) = serde_json::from_slice(text)?;
        let events = events.into_iter().map(|(stamp, place, event)| (Order(stamp, place), event)).collect();
        Ok(Folded::of(T::begin(frame, homes), events))
    }
}

/// An aggregate.
#[derive(Debug, Clone)]
pub(super) enum Kept<T> {
    Whole(Box<Folded<T>>),
    Small(Box<Small<T>>),
}

/// One that is over.
#[derive(Debug, Clone)]
pub(super) struct Small<T> {
    /// The frame and the events as JSON, compressed by what texts like it have in common.
    pub text: Box<[u8]>,
    pub book: Arc<[u8]>,
    /// Of its events the last.
    pub last: Order,
    /// Somebody asked for it.
    pub read: OnceLock<Box<Folded<T>>>,
}

/// A table as it is kept, or read for whoever asks.
#[derive(Debug)]
pub enum Seen<'t, T> {
    /// As it is kept.
    Kept(&'t T),
    /// Read anew.
    Read(Box<T>),
}

impl<T> Deref for Seen<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Seen::Kept(table) => table,
            Seen::Read(table) => table,
        }
    }
}

impl<T: Keep> Kept<T> {
    /// One of which nothing is known yet.
    pub fn new(blank: T) -> Kept<T> {
        Kept::Whole(Box::new(Folded::new(blank)))
    }

    pub fn is_small(&self) -> bool {
        matches!(self, Kept::Small(_))
    }

    /// Whether something said of it may count otherwise because homes change at a place in the order.
    pub fn may_reach(&self, change: &Order) -> bool {
        match self {
            // What is whole may get more events: it goes by the homes there are.
            Kept::Whole(_) => true,
            Kept::Small(small) => small.last >= *change,
        }
    }

    /// Its table; `reads` is told when that is read for it.
    pub fn table(&self, homes: &Arc<Homes>, reads: impl FnOnce()) -> &T {
        match self {
            Kept::Whole(folded) => &folded.table,
            Kept::Small(small) => {
                let read = small.read.get_or_init(|| {
                    reads();
                    Box::new(small.folded(homes))
                });
                &read.table
            }
        }
    }

    /// Its table, of which nothing stays.
    pub fn seen(&self, homes: &Arc<Homes>) -> Seen<'_, T> {
        match self {
            Kept::Whole(folded) => Seen::Kept(&folded.table),
            Kept::Small(small) => match small.read.get() {
                Some(read) => Seen::Kept(&read.table),
                None => Seen::Read(Box::new(small.folded(homes).table)),
            },
        }
    }

    /// Its events with what they come to.
    pub fn folded(&self, homes: &Arc<Homes>) -> Cow<'_, Folded<T>> {
        match self {
            Kept::Whole(folded) => Cow::Borrowed(folded),
            Kept::Small(small) => Cow::Owned(small.folded(homes)),
        }
    }

    /// Its events with what they come to, and nothing else.
    pub fn into_folded(self, homes: &Arc<Homes>) -> Folded<T> {
        match self {
            Kept::Whole(folded) => *folded,
            Kept::Small(small) => small.folded(homes),
        }
    }

    /// The whole of it, to change it.
    pub fn whole(&mut self, homes: &Arc<Homes>) -> &mut Folded<T> {
        if let Kept::Small(small) = self {
            let read = small.read.take().unwrap_or_else(|| Box::new(small.folded(homes)));
            *self = Kept::Whole(read);
        }
        match self {
            Kept::Whole(folded) => folded,
            Kept::Small(_) => unreachable!("it was made whole"),
        }
    }

    /// What was read for somebody is not kept any longer.
    pub fn shut(&mut self) {
        if let Kept::Small(small) = self {
            small.read.take();
        }
    }

    /// Makes it small.
    pub fn shrink(&mut self, shelf: &mut Shelf) {
        let Kept::Whole(folded) = self else { return };
        let Some((last, _)) = folded.events.last() else { return };
        let Ok(text) = folded.text() else { return };
        // Not every fraction is read back as it was written.
        if has_fraction(&text) {
            return;
        }
        let (text, book) = shelf.press(&text);
        *self = Kept::Small(Box::new(Small { text, book, last: *last, read: OnceLock::new() }));
    }
}

impl Keep for Journaled {
    type Frame = ();

    fn frame(&self) -> &() {
        &()
    }

    fn begin((): (), _: &Arc<Homes>) -> Journaled {
        Journaled::default()
    }
}

impl<T: Keep> Small<T> {
    fn folded(&self, homes: &Arc<Homes>) -> Folded<T> {
        let text = Shelf::unpress(&self.text, &self.book);
        Folded::read(&text, homes).expect("what this device wrote and nobody else could change")
    }
}

/// Whether a number in JSON has a fraction or an exponent.
pub(super) fn has_fraction(json: &[u8]) -> bool {
    let (mut quoted, mut escaped, mut digit) = (false, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'.' | b'e' | b'E' if digit && !quoted => return true,
            _ => {}
        }
        digit = !quoted && byte.is_ascii_digit();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_fraction;

    #[test]
    fn a_fraction_is_a_number_and_no_text() {
        for json in ["1.5", "[1e9]", r#"{"a\\":2.0}"#, r#"["\"",1E2]"#] {
            assert!(has_fraction(json.as_bytes()), "{json}");
        }
        for json in ["15", "true", r#""1.5""#, r#"["\"1.5",false,12]"#, r#"{"1e5":null}"#] {
            assert!(!has_fraction(json.as_bytes()), "{json}");
        }
    }
}
