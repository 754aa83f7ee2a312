//! Items: what a record does. See `docs/formats.md`, Body.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::delta::DeltaName;
use crate::event::Event;
use crate::frontier::{Place, View};
use crate::id::{ContentHash, DocId, GitId};

/// How a document's content is held and merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Markdown: frontmatter by key, body by character.
    Md,
    /// Other UTF-8 text up to 1 MB, by character.
    Text,
    /// Text above 1 MB, by line.
    Lines,
    /// Anything else: replaced whole.
    Blob,
    /// A symbolic link; the content is its target.
    Link,
}

impl Kind {
    /// Whether its content travels in the record itself.
    pub fn inline(self) -> bool {
        self != Kind::Blob
    }

    /// Whether its content is text that can be merged.
    pub fn is_text(self) -> bool {
        matches!(self, Kind::Md | Kind::Text | Kind::Lines)
    }

    /// Whether Automerge holds it.
    pub fn by_character(self) -> bool {
        matches!(self, Kind::Md | Kind::Text)
    }
}

/// A git file mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// A plain file.
    #[serde(rename = "100644")]
    File,
    /// An executable file.
    #[serde(rename = "100755")]
    Executable,
    /// A symbolic link.
    #[serde(rename = "120000")]
    Link,
}

impl Mode {
    /// The number git uses.
    pub fn bits(self) -> u32 {
        match self {
            Mode::File => 0o100644,
            Mode::Executable => 0o100755,
            Mode::Link => 0o120000,
        }
    }
}

/// An epoch of a document: the creates, or one replacement. In JSON, empty or the replacement's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub Option<Place>);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => place.fmt(f),
            None => Ok(()),
        }
    }
}

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match text.is_empty() {
            true => Ok(Epoch(None)),
            false => text.parse().map(|place| Epoch(Some(place))).map_err(serde::de::Error::custom),
        }
    }
}

/// A whole file as its author saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// BLAKE3 of the bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub size: u64,
    /// The git blob id of the same bytes.
    pub git: GitId,
}

impl Content {
    /// Describes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Content { hash: ContentHash::of(bytes), size: bytes.len() as u64, git: GitId::blob(bytes) }
    }
}

/// What the writer had in front of them, where that is not all the author had integrated (I6).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Base {
    /// The version the save was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<View>,
    /// The stamp it competes with for registers: that of its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Stamp>,
}

/// One item of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Item {
    /// A new document.
    Create {
        /// Its id: see [`DocId::of`].
        doc: DocId,
        /// The path it claims.
        path: String,
        /// What distinguishes it from earlier documents at this path.
        after: String,
        /// How it is held.
        kind: Kind,
        /// File mode.
        mode: Mode,
        /// Its content.
        #[serde(flatten)]
        content: Content,
        /// Its base, where that is not the author's past: a file that lay in the folder before it joined has none.
        #[serde(flatten)]
        base: Base,
    },
    /// An edit of a document's text.
    Edit {
        /// The document.
        doc: DocId,
        /// The epoch whose Automerge document it changes.
        epoch: Epoch,
        /// Hash of the file the patch applies to.
        from: ContentHash,
        /// What it did, which is its payload.
        delta: DeltaName,
        /// The file after it.
        #[serde(flatten)]
        content: Content,
        /// Its base, where that is not the author's past.
        #[serde(flatten)]
        base: Base,
    },
    /// New whole content.
    Replace {
        /// The document.
        doc: DocId,
        /// How it is held from here on.
        kind: Kind,
        /// The content.
        #[serde(flatten)]
        content: Content,
        /// Its base, where that is not the author's past.
        #[serde(flatten)]
        base: Base,
    },
    /// Another path for a document.
    Move {
        /// The document.
        doc: DocId,
        /// The path it claims.
        path: String,
    },
    /// Another path for a whole folder.
    MoveDir {
        /// The folder's old path.
        from: String,
        /// Its new path.
        to: String,
    },
    /// Another file mode.
    Mode {
        /// The document.
        doc: DocId,
        /// The mode.
        mode: Mode,
    },
    /// The end of a document, unless someone edits it unseen (I5).
    Delete {
        /// The document.
        doc: DocId,
    },
    /// Git history from before or beside aios.
    History {
        /// Its newest commit.
        tip: GitId,
    },
    /// A commit made by someone with git.
    Commit {
        /// The raw commit object.
        raw: Bytes,
        /// Its id.
        git: GitId,
    },
    /// Nothing but a commit of its own: what was merged before it stays an ancestor of all that follows.
    Seal,
    /// A domain event.
    Event(Event),
    /// An item of a newer program.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl Item {
    /// The document it is about.
    pub fn doc(&self) -> Option<DocId> {
        match self {
            Item::Create { doc, .. }
            | Item::Edit { doc, .. }
            | Item::Replace { doc, .. }
            | Item::Move { doc, .. }
            | Item::Mode { doc, .. }
            | Item::Delete { doc }
            | Item::Event(Event::DocumentForgotten { doc, .. }) => Some(*doc),
            _ => None,
        }
    }

    /// Hash and size of the payload it has in the record.
    pub fn payload(&self) -> Option<(ContentHash, u64)> {
        match self {
            Item::Create { kind, content, .. } | Item::Replace { kind, content, .. } if kind.inline() => {
                Some((content.hash, content.size))
            }
            Item::Edit { delta, .. } => Some((delta.hash, delta.size)),
            _ => None,
        }
    }

    /// The blob it names that travels apart.
    pub fn detached(&self) -> Option<Content> {
        match self {
            Item::Create { kind: Kind::Blob, content, .. }
            | Item::Replace { kind: Kind::Blob, content, .. } => Some(*content),
            _ => None,
        }
    }

    /// Whether its transaction has a commit.
    pub fn changes_tree(&self) -> bool {
        match self {
            Item::Event(event) => matches!(event, Event::DocumentForgotten { .. }),
            Item::Unknown(_) => false,
            _ => true,
        }
    }

    /// Whether this program must not project past it.
    pub fn needs_upgrade(&self) -> bool {
        matches!(self, Item::Unknown(value) if value.get("opt") != Some(&serde_json::Value::Bool(true)))
    }
}

/// Bytes written as base64 (RFC 4648) in JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&data_encoding::BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        data_encoding::BASE64.decode(text.as_bytes()).map(Bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::Delta;
    use crate::patch::Patch;

    #[test]
    fn items_read_back_and_unknown_ones_are_kept() {
        let items = vec![
            Item::MoveDir { from: "a".into(), to: "b".into() },
            Item::Create {
                doc: DocId([1; 32]),
                path: "x.md".into(),
                after: String::new(),
                kind: Kind::Md,
                mode: Mode::File,
                content: Content::of(b"hi"),
                base: Base::default(),
            },
            Item::Edit {
                doc: DocId([1; 32]),
                epoch: Epoch::default(),
                from: ContentHash::of(b"hi"),
                delta: Delta { patch: Patch::default(), change: Some(vec![1, 2]) }.pack().0,
                content: Content::of(b"ho"),
                base: Base::default(),
            },
        ];
        let text = serde_json::to_string(&items).unwrap();
        assert!(text.contains(r#""t":"movedir""#) && text.contains(r#""epoch":"""#));
        assert_eq!(serde_json::from_str::<Vec<Item>>(&text).unwrap(), items);
        assert_eq!(serde_json::to_string(&Item::Seal).unwrap(), r#"{"t":"seal"}"#);
        assert_eq!(serde_json::from_str::<Item>(r#"{"t":"seal"}"#).unwrap(), Item::Seal);
        let new: Item = serde_json::from_str(r#"{"t":"teleport","x":1}"#).unwrap();
        assert!(new.needs_upgrade());
        let optional: Item = serde_json::from_str(r#"{"t":"hint","opt":true}"#).unwrap();
        assert!(!optional.needs_upgrade());
    }
}
