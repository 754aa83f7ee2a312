//! What the log says about documents, indexed for folding: touches of a document and moves of folders.

use std::sync::Arc;

use crate::clock::Stamp;
use crate::event::Event;
use crate::frontier::{Place, View};
use crate::id::DocId;
use crate::item::{Base, Content, Epoch, Item, Kind, Mode};

/// One item of a record that touches a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The record that ends its transaction.
    pub place: Place,
    /// Its position among the items of the transaction.
    pub index: u32,
    /// What its author had seen of this vault: its past, or the base of a stale save (I6).
    pub seen: Arc<View>,
    /// Its rank among concurrent values.
    pub rank: Stamp,
    /// What it does.
    pub act: Act,
}

/// What a touch does to its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Makes it.
    Create {
        /// Claimed path.
        path: String,
        /// How it is held.
        kind: Kind,
        /// File mode.
        mode: Mode,
        /// Content.
        content: Content,
    },
    /// Edits its text.
    Edit {
        /// The epoch.
        epoch: Epoch,
        /// The file after it, as its author saw it.
        content: Content,
        /// Whether it carries an Automerge change.
        by_character: bool,
    },
    /// Gives it new whole content.
    Replace {
        /// How it is held from here on.
        kind: Kind,
        /// Content.
        content: Content,
    },
    /// Claims another path.
    Move {
        /// Claimed path.
        path: String,
    },
    /// Sets its mode.
    Mode {
        /// File mode.
        mode: Mode,
    },
    /// Removes it.
    Delete,
    /// It is forgotten: it lives in no view that has this.
    Forget,
}

impl Act {
    /// What `item` does to a document, with the base it names; `None` for items of another sort.
    pub fn of(item: &Item) -> Option<(DocId, Act, Base)> {
        let plain = Base::default;
        Some(match item.clone() {
            Item::Create { doc, path, kind, mode, content, base, .. } => {
                (doc, Act::Create { path, kind, mode, content }, base)
            }
            Item::Edit { doc, epoch, delta, content, base, .. } => {
                (doc, Act::Edit { epoch, content, by_character: delta.has_change() }, base)
            }
            Item::Replace { doc, kind, content, base } => (doc, Act::Replace { kind, content }, base),
            Item::Move { doc, path } => (doc, Act::Move { path }, plain()),
            Item::Mode { doc, mode } => (doc, Act::Mode { mode }, plain()),
            Item::Delete { doc } => (doc, Act::Delete, plain()),
            Item::Event(Event::DocumentForgotten { doc, .. }) => (doc, Act::Forget, plain()),
            _ => return None,
        })
    }

    /// The file after it, for acts on content.
    pub fn content(&self) -> Option<Content> {
        match self {
            Act::Create { content, .. } | Act::Edit { content, .. } | Act::Replace { content, .. } => {
                Some(*content)
            }
            _ => None,
        }
    }

    /// The path it claims.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Act::Create { path, .. } | Act::Move { path } => Some(path),
            _ => None,
        }
    }
}

impl Touch {
    /// Whether this item's author had seen `other` when making it.
    pub fn covers(&self, other: &Touch) -> bool {
        if self.place == other.place {
            return other.index < self.index;
        }
        self.seen.has(&other.place)
    }
}

/// One move of a whole folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderMove {
    /// The record that ends its transaction.
    pub place: Place,
    /// Its position among the items of the transaction.
    pub index: u32,
    /// Its place in the total order.
    pub stamp: Stamp,
    /// What its author had seen.
    pub seen: Arc<View>,
    /// The folder's old path.
    pub from: String,
    /// Its new path.
    pub to: String,
}

impl FolderMove {
    /// Whether the author of `touch` already knew of this move.
    pub fn known_to(&self, touch: &Touch) -> bool {
        match self.place == touch.place {
            true => self.index < touch.index,
            false => touch.seen.has(&self.place),
        }
    }

    /// Whether its author already knew of `other`.
    pub fn knows(&self, other: &FolderMove) -> bool {
        match self.place == other.place {
            true => other.index < self.index,
            false => self.seen.has(&other.place),
        }
    }
}

/// The indexed log, as far as folding needs it. Answers may hold records outside the view at hand: folding filters.
pub trait History {
    /// What can go wrong reading it.
    type Error;
    /// Every touch of a document, in any order.
    fn touches(&self, doc: &DocId) -> Result<Arc<Vec<Touch>>, Self::Error>;
    /// Documents that some item ever made claim exactly this folded path.
    fn claimants(&self, folded: &str) -> Result<Vec<DocId>, Self::Error>;
    /// Documents that some item ever made claim a path below this folded folder.
    fn claimants_below(&self, folded: &str) -> Result<Vec<DocId>, Self::Error>;
    /// Every move of a folder, in order of stamp and index.
    fn folder_moves(&self) -> Result<Vec<FolderMove>, Self::Error>;
}
