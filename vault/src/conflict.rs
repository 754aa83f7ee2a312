//! What a merge could not show in the files themselves: kept, listed, and settled by the operator (I4, I5, I6).

use aios_core::frontier::Place;
use aios_core::id::DocId;
use serde::{Deserialize, Serialize};

/// What kind of conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictKind {
    /// Two values for one frontmatter key.
    Value,
    /// A merge broke the frontmatter.
    Front,
    /// Two contents of a file that cannot be merged.
    Content,
    /// Two new paths for one document.
    Path,
    /// Two documents claim one path.
    Name,
    /// A delete met an edit.
    Delete,
    /// A save was taken as made from an older version.
    Stale,
}

/// One of the values of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The value, for people and for putting it back.
    pub value: String,
    /// The record that made it, where known.
    pub place: Option<Place>,
}

impl Value {
    /// A value made by a record.
    pub fn of_record(value: String, place: Place) -> Self {
        Value { value, place: Some(place) }
    }
}

/// A conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its id: follows from the rest, so it is the same on every device.
    pub id: String,
    /// The document.
    pub doc: DocId,
    /// What kind.
    pub kind: ConflictKind,
    /// The frontmatter key, for values.
    pub key: Option<String>,
    /// The values; the first is the one that stands.
    pub values: Vec<Value>,
}

impl Conflict {
    /// A conflict with its id.
    pub fn new(doc: DocId, kind: ConflictKind, key: Option<String>, values: Vec<Value>) -> Self {
        let mut conflict = Conflict { id: String::new(), doc, kind, key, values };
        let text = serde_json::to_string(&conflict).unwrap_or_default();
        conflict.id = blake3::hash(text.as_bytes()).to_hex()[..12].to_owned();
        conflict
    }

    /// Its row in the `state` hash.
    pub fn row(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
