//! Where work that is over is made small, some time after it is: what was over just now is asked for most.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::kept::Kept;
use super::{Stand, Tables};
use crate::event::EffectKey;

/// So many tasks that are over stay whole.
const WHOLE: usize = 256;
/// So many that were read for somebody are kept until the next event.
const READ: usize = 64;
/// What texts have in common is looked up in so much of what others say, in bytes.
const BOOK: usize = 8 << 10;

/// The shelf.
#[derive(Debug)]
pub(super) struct Shelf {
    /// So many tasks that are over stay whole.
    whole: usize,
    /// The tasks that are over and may be whole, the last one last.
    over: VecDeque<String>,
    /// What was read for somebody.
    read: Mutex<Vec<Read>>,
    /// What texts are compressed by: what some before them said.
    book: Arc<[u8]>,
    /// The next book.
    draft: Vec<u8>,
    /// How many texts were compressed, and when another book begins.
    pressed: usize,
    renewed: usize,
}

/// Something that was read.
#[derive(Debug, Clone)]
enum Read {
    Task(String),
    Effect(EffectKey),
}

impl Default for Shelf {
    fn default() -> Shelf {
        Shelf {
            whole: WHOLE,
            over: VecDeque::new(),
            read: Mutex::default(),
            book: Arc::default(),
            draft: Vec::new(),
            pressed: 0,
            renewed: 0,
        }
    }
}

impl Clone for Shelf {
    fn clone(&self) -> Shelf {
        Shelf {
            whole: self.whole,
            over: self.over.clone(),
            read: Mutex::new(self.reads().clone()),
            book: self.book.clone(),
            draft: self.draft.clone(),
            pressed: self.pressed,
            renewed: self.renewed,
        }
    }
}

impl Shelf {
    /// One that goes on with a book.
    pub fn with(book: Arc<[u8]>) -> Shelf {
        // Until there is more to say than the book does, it is as good as any.
        let renewed = if book.is_empty() { 0 } else { WHOLE };
        Shelf { book, renewed, ..Shelf::default() }
    }

    /// Keeps as many tasks whole as another.
    pub fn keep_as(&mut self, other: &Shelf) {
        self.whole = other.whole;
    }

    /// A book of some texts.
    pub fn book_of(texts: impl Iterator<Item = Vec<u8>>) -> Arc<[u8]> {
        let mut book: Vec<u8> = texts.flatten().take(BOOK).collect();
        book.shrink_to_fit();
        book.into()
    }

    pub fn book(&self) -> &Arc<[u8]> {
        &self.book
    }

    /// A task is over.
    pub fn is_over(&mut self, id: &str) {
        self.over.push_back(id.to_owned());
    }

    fn reads(&self) -> std::sync::MutexGuard<'_, Vec<Read>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read_task(&self, id: &str) {
        self.reads().push(Read::Task(id.to_owned()));
    }

    pub fn read_effect(&self, key: EffectKey) {
        self.reads().push(Read::Effect(key));
    }

    /// Compresses a text, and says by which book.
    pub fn press(&mut self, text: &[u8]) -> (Box<[u8]>, Arc<[u8]>) {
        // Later work says other things: a book is renewed whenever there is twice as much.
        if self.pressed >= self.renewed * 2 {
            self.draft.extend_from_slice(text);
            if self.draft.len() >= BOOK {
                self.draft.truncate(BOOK);
                self.book = std::mem::take(&mut self.draft).into();
                self.renewed = self.pressed.max(1);
            }
        }
        self.pressed += 1;
        (Shelf::pressed(text, &self.book), self.book.clone())
    }

    /// A text compressed by a book.
    pub fn pressed(text: &[u8], book: &[u8]) -> Box<[u8]> {
        lz4_flex::block::compress_prepend_size_with_dict(text, book).into()
    }

    /// The text again.
    pub fn unpress(small: &[u8], book: &[u8]) -> Vec<u8> {
        lz4_flex::block::decompress_size_prepended_with_dict(small, book)
            .expect("what this device compressed and nobody else could change")
    }
}

impl Tables {
    /// Has only so many tasks that are over stay whole: how much memory work takes, and not what comes of it.
    pub fn keep_whole(&mut self, tasks: usize) {
        self.shelf.whole = tasks;
    }

    /// Makes small what is over, and lets go of what was read for somebody.
    pub(super) fn shut(&mut self) {
        let read = self.shelf.read.get_mut().unwrap_or_else(PoisonError::into_inner);
        if read.len() > READ.min(self.shelf.whole) {
            for read in std::mem::take(read) {
                match read {
                    Read::Task(id) => _ = self.tasks.recent(&id).map(Kept::shut),
                    Read::Effect(key) => _ = self.effects.recent(&key).map(Kept::shut),
                }
            }
        }
        self.tasks.shut(self.shelf.whole);
        self.effects.shut(self.shelf.whole);
        self.journal.shut(self.shelf.whole);
        while self.shelf.over.len() > self.shelf.whole {
            let Some(id) = self.shelf.over.pop_front() else { return };
            self.shrink(&id);
        }
    }

    fn shrink(&mut self, id: &str) {
        if self.index.is_open(id) {
            return;
        }
        let Some(kept) = self.tasks.recent(id) else { return };
        // What it is part of asks for it again and again.
        if !kept.is_small()
            && let Some((parent, _)) = self.task(id).and_then(|task| task.parent.clone())
            && (self.task(&parent).is_none() || self.index.is_open(&parent))
        {
            return;
        }
        for key in self.proposals.get(&id.to_owned()).into_iter().flatten() {
            let Some(effect) = self.effects.recent(&key).filter(|effect| !effect.is_small()) else {
                continue;
            };
            let stand = effect.table(&self.homes, || {}).stand();
            if matches!(stand, Stand::Done(_) | Stand::Denied(_) | Stand::Failed(_) | Stand::Undone) {
                effect.shrink(&mut self.shelf);
            }
        }
        if let Some(task) = self.tasks.recent(id) {
            task.shrink(&mut self.shelf);
        }
        for part in self.parts.get(&id.to_owned()).into_iter().flatten() {
            if self.tasks.recent(&part).is_some_and(|part| !part.is_small()) {
                self.shelf.is_over(&part);
            }
        }
    }
}
