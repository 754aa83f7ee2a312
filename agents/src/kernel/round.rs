//! What is recorded together: all that follows without anything being done in between, in one record.
//!
//! What the kernel decides it has recorded, and what follows from that it decides at once: nothing of it is done before the record is durable
//! (I9), so it can be one record as well as ten. Whoever is killed before has decided nothing.

use std::collections::VecDeque;
use std::io::{self, Write};

use aios_core::clock::Stamp;
use aios_core::event::Event;

use super::{Action, Input, Kernel};
use crate::event::{NotWork, WorkEvent};

/// So many events are in a record, those of one decision aside.
const MOST: usize = 256;
/// So many bytes of events as JSON.
const MOST_BYTES: usize = 256 << 10;

/// What is to be recorded together, and what is to be done after.
#[derive(Debug, Default)]
pub struct Round {
    /// What the kernel said last.
    said: VecDeque<Action>,
    /// The record that is to be written, where there is one.
    open: Option<Entry>,
    /// What is done once all before it is durable.
    acts: VecDeque<Action>,
    /// So many of them may be done: what they rest on is durable.
    free: usize,
    /// What the last act came to is recorded before anything else is done.
    shut: bool,
    bytes: usize,
}

/// A record of this device that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place in the total order, which the kernel was told already.
    pub stamp: Stamp,
    /// Its events.
    pub work: Vec<WorkEvent>,
    /// The same as they stand in the record.
    pub events: Vec<Event>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Next {
    /// A record begins: tell with [`Round::begin`] which place in the total order the next one of this device has.
    Reserve,
    /// Write this record, at exactly its stamp, and make it durable. Where that fails, the kernel knows what never happened: it is not to be used
    /// again.
    Write(Entry),
    /// Do this, which is no [`Action::Append`].
    Do(Action),
}

impl Round {
    /// What a kernel said.
    pub fn add(&mut self, actions: impl IntoIterator<Item = Action>) {
        self.said.extend(actions);
    }

    /// Whether a record is begun that is not written yet: this device writes no other before it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.said.is_empty() && self.open.is_none() && self.acts.is_empty()
    }

    /// The record that is begun, to write it now.
    pub fn close(&mut self) -> Option<Entry> {
        (self.shut, self.bytes, self.free) = (false, 0, self.acts.len());
        self.open.take()
    }

    /// The record that is asked for with [`Next::Reserve`] will stand there.
    pub fn begin(&mut self, stamp: Stamp) {
        self.open = Some(Entry { stamp, work: Vec::new(), events: Vec::new() });
    }

    /// What comes next; nothing when all is done.
    ///
    /// # Errors
    /// An event that cannot be written.
    pub fn next(&mut self, kernel: &mut Kernel) -> Result<Option<Next>, NotWork> {
        while let Some(action) = self.said.pop_front() {
            match action {
                Action::Append(work) => {
                    let Some(open) = &mut self.open else {
                        self.said.push_front(Action::Append(work));
                        return Ok(Some(Next::Reserve));
                    };
                    let events = work.iter().map(Event::try_from).collect::<Result<Vec<Event>, NotWork>>()?;
                    let (stamp, from) = (open.stamp, open.events.len());
                    self.bytes += events.iter().map(size).sum::<usize>();
                    open.work.extend(work);
                    open.events.extend(events.iter().cloned());
                    self.said.extend(kernel.handle(Input::Joined { stamp, from, events }));
                    if self.is_full() {
                        return Ok(self.close().map(Next::Write));
                    }
                }
                Action::Wake(_) | Action::Show(_) => return Ok(Some(Next::Do(action))),
                act => {
                    self.acts.push_back(act);
                    if self.open.is_none() {
                        self.free = self.acts.len();
                    }
                }
            }
        }
        // What changes the world may write records of its own, and what came of it is recorded before anything else.
        let alone = matches!(self.acts.front(), Some(Action::Perform { .. }));
        if self.open.is_some() && (self.free == 0 || alone || self.shut) {
            return Ok(self.close().map(Next::Write));
        }
        let Some(act) = self.acts.pop_front() else { return Ok(None) };
        self.free = self.free.saturating_sub(1);
        self.shut = alone;
        Ok(Some(Next::Do(act)))
    }

    fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES || self.open.as_ref().is_some_and(|open| open.events.len() >= MOST)
    }
}

/// How many bytes an event has as JSON.
fn size(event: &Event) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Nothing that is counted fails.
    let _ = serde_json::to_writer(&mut count, event);
    count.0
}
