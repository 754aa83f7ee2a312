//! Documents: the Automerge document that holds one file's text, and what it reads as.
//!
//! `docs/formats.md`, Automerge and Markdown, is normative. A document begins with derived changes that
//! every device computes for itself (`genesis`): a skeleton, one change for each content it was created
//! with, and joins that drop the lines two contents share. Edits are made at the version their writer
//! read (I6) and merge by character in the body, by key in the frontmatter, by item in a list (I4). Of two
//! values for one register the one of the greatest rank wins, never Automerge's own choice.

mod edit;
mod genesis;
mod read;
mod twin;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change, LoadOptions, ObjId, ReadDoc as _, TextEncoding};
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::id::{ContentHash, DocId};
use crate::item::{Epoch, Kind};

pub use automerge::ChangeHash;
pub use read::{Reading, Register, RegisterConflict};

/// Gives the rank of a change: of an edit that of its item, of a content the least rank of the creates (or
/// the rank of the replacement) with it. `None` is below every rank.
pub type Rank<'a> = &'a dyn Fn(&ChangeHash) -> Option<Stamp>;

/// The greatest operation number taken: Automerge keeps them in 32 bits, and later edits need room.
const MAX_OP: u64 = 1 << 31;

/// Why a document cannot do what was asked of it. It is then as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Documents of this kind are not merged by character.
    #[error("a document of kind {0:?} has no Automerge document: only Markdown and text have one")]
    Kind(Kind),
    /// A document without any content.
    #[error("an Automerge document needs at least one content to start from")]
    Empty,
    /// A version named by no change.
    #[error("a version without heads: name at least one change")]
    NoHeads,
    /// A version that names a change the document lacks.
    #[error("the change {0} is not in this document: apply it, and what it rests on, before")]
    UnknownHead(ChangeHash),
    /// Bytes that are no change.
    #[error("item {index} of the batch is not an Automerge change: {reason}")]
    Malformed {
        /// Its position in the batch, from 0.
        index: usize,
        /// What was wrong.
        reason: String,
    },
    /// A change that rests on another which is neither in the document nor in the batch.
    #[error("change {change} rests on {missing}, which is missing: apply them in one batch")]
    Missing {
        /// The change.
        change: ChangeHash,
        /// What it rests on.
        missing: ChangeHash,
    },
    /// Changes that Automerge refuses.
    #[error("the changes do not fit the document: {0}")]
    Refused(String),
    /// An edit whose result would read otherwise than asked.
    #[error("the edit would not read as the text that was saved: replace the whole content instead")]
    Unfaithful,
    /// Automerge failed while the document was read or edited.
    #[error("Automerge cannot {what}: {reason}")]
    Engine {
        /// What was being done.
        what: &'static str,
        /// Its message.
        reason: String,
    },
    /// A saved document that cannot be read back.
    #[error("the saved document is unusable ({0}): build it again from the log")]
    Cache(String),
}

/// An edit made at some version, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The Automerge change chunk, deflated where that is shorter.
    pub change: Vec<u8>,
    /// Its hash, which names the version after the edit.
    pub hash: ChangeHash,
}

/// The Automerge document of one epoch of a document.
#[derive(Debug, Clone)]
pub struct Document {
    engine: Automerge,
    objects: Objects,
    origin: Origin,
    /// The content changes in it.
    contents: BTreeMap<ContentHash, ChangeHash>,
    /// The joins in it, by their pair of contents, the lesser hash first.
    joins: BTreeMap<(ContentHash, ContentHash), ChangeHash>,
    /// Whether two of its changes may rest on one: else nothing in it was ever written at the same time as other.
    forked: bool,
}

/// What the derived changes of a document follow from, besides the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    doc: DocId,
    epoch: Epoch,
    kind: Kind,
}

/// The four objects of the skeleton. They are addressed by id, so that no later change can put others in
/// their places.
#[derive(Debug, Clone)]
struct Objects {
    body: ObjId,
    front: ObjId,
    items: ObjId,
    order: ObjId,
}

/// The first line of a saved document.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    origin: Origin,
    /// Content hash and change hash.
    contents: Vec<(ContentHash, String)>,
    /// Pair of content hashes and change hash.
    joins: Vec<(ContentHash, ContentHash, String)>,
    /// As in the document; what does not say may be.
    #[serde(default = "yes")]
    forked: bool,
}

fn yes() -> bool {
    true
}

/// A version: heads that are all known and maximal.
struct Version {
    heads: Vec<ChangeHash>,
    /// The same with each join replaced by the contents it joins.
    tips: Vec<ChangeHash>,
}

impl Document {
    /// The document that starts from `contents`; equal ones count once.
    ///
    /// # Errors
    ///
    /// When `kind` is not merged by character, or there is no content.
    pub fn new(doc: DocId, epoch: Epoch, kind: Kind, contents: &[&str]) -> Result<Self, DocumentError> {
        if !kind.by_character() {
            return Err(DocumentError::Kind(kind));
        }
        let [first, others @ ..] = contents else { return Err(DocumentError::Empty) };
        let origin = Origin { doc, epoch, kind };
        let objects = origin.objects();
        let (engine, change) = origin.content(&objects, first)?;
        let contents = BTreeMap::from([(ContentHash::of(first.as_bytes()), change)]);
        let joins = BTreeMap::new();
        let mut document = Document { engine, objects, origin, contents, joins, forked: false };
        for text in others {
            document.add_content(text)?;
        }
        Ok(document)
    }

    /// Adds a content that another create gave the document, and its joins with the others.
    ///
    /// # Errors
    ///
    /// When Automerge fails.
    pub fn add_content(&mut self, text: &str) -> Result<(), DocumentError> {
        let hash = ContentHash::of(text.as_bytes());
        if self.contents.contains_key(&hash) {
            return Ok(());
        }
        let mut next = self.clone();
        let (scratch, content) = self.origin.content(&self.objects, text)?;
        let content = change(&scratch, &content)?;
        next.contents.insert(hash, content.hash());
        let mut derived = vec![content.clone()];
        for (other, other_change) in &self.contents {
            let other_change = change(&self.engine, other_change)?;
            let (pair, changes) = match *other < hash {
                true => ((*other, hash), [&other_change, &content]),
                false => ((hash, *other), [&content, &other_change]),
            };
            if let Some(join) = self.origin.join(&self.objects, pair, changes)? {
                next.joins.insert(pair, join.hash());
                derived.push(join);
            }
        }
        next.admit(derived)?;
        *self = next;
        Ok(())
    }

    /// The document's id.
    pub fn id(&self) -> DocId {
        self.origin.doc
    }

    /// The epoch it is the document of.
    pub fn epoch(&self) -> Epoch {
        self.origin.epoch
    }

    /// How its text is held.
    pub fn kind(&self) -> Kind {
        self.origin.kind
    }

    /// The hashes of the contents it starts from, in their order.
    pub fn contents(&self) -> impl Iterator<Item = ContentHash> + '_ {
        self.contents.keys().copied()
    }

    /// The change that holds the content of this hash: the version right after a create.
    pub fn content_head(&self, hash: &ContentHash) -> Option<ChangeHash> {
        self.contents.get(hash).copied()
    }

    /// The join of two contents in either order; `None` where one is not here or no line is shared.
    pub fn join_head(&self, x: &ContentHash, y: &ContentHash) -> Option<ChangeHash> {
        self.joins.get(&(*x.min(y), *x.max(y))).copied()
    }

    /// Whether the change is in the document.
    pub fn has(&self, change: &ChangeHash) -> bool {
        self.engine.get_change_meta_by_hash(change).is_some()
    }

    /// The newest version: all changes it holds.
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.engine.get_heads()
    }

    /// Applies a batch of change chunks, given in any order; those it has already are passed over.
    ///
    /// Returns their hashes in the order given. A batch costs far less than its changes one by one.
    ///
    /// # Errors
    ///
    /// When one is no change, rests on a change that is in neither the document nor the batch, or does not
    /// fit the document. Nothing of the batch is applied then.
    pub fn apply(&mut self, changes: &[Vec<u8>]) -> Result<Vec<ChangeHash>, DocumentError> {
        let mut parsed = Vec::with_capacity(changes.len());
        for (index, bytes) in changes.iter().enumerate() {
            let change = guarded("read a change", || Change::try_from(bytes.as_slice()))?
                .map_err(|error| DocumentError::Malformed { index, reason: error.to_string() })?;
            let max_op = change.start_op().get().checked_add(change.len() as u64);
            if max_op.is_none_or(|max_op| max_op > MAX_OP) {
                return Err(DocumentError::Malformed { index, reason: "operation number too large".into() });
            }
            parsed.push(change);
        }
        let hashes: Vec<ChangeHash> = parsed.iter().map(Change::hash).collect();
        let here: HashSet<ChangeHash> = hashes.iter().copied().collect();
        // Automerge would queue a change that lacks its past, and say nothing.
        for change in &parsed {
            let missing = change.deps().iter().find(|dep| !here.contains(dep) && !self.has(dep));
            if let Some(&missing) = missing {
                return Err(DocumentError::Missing { change: change.hash(), missing });
            }
        }
        parsed.retain(|change| !self.has(&change.hash()));
        if !parsed.is_empty() {
            self.admit(parsed)?;
        }
        Ok(hashes)
    }

    /// Applies changes whose past is complete, all or none.
    fn admit(&mut self, changes: Vec<Change>) -> Result<(), DocumentError> {
        let mut next = self.engine.clone();
        let heads = next.get_heads();
        let mut rested: HashSet<ChangeHash> = HashSet::new();
        let on_others = |dep: &ChangeHash| !rested.insert(*dep) || self.has(dep) && !heads.contains(dep);
        let forked = changes.iter().flat_map(Change::deps).any(on_others);
        guarded("apply changes", || next.apply_changes(changes))?
            .map_err(|error| DocumentError::Refused(error.to_string()))?;
        if !next.get_missing_deps(&[]).is_empty() {
            return Err(DocumentError::Refused("some did not become part of it".into()));
        }
        self.forked |= forked || next.get_heads().len() > 1;
        self.engine = next;
        Ok(())
    }

    /// The document as bytes: a local cache, which may differ between equal documents. Never send or hash it.
    pub fn save(&self) -> Vec<u8> {
        let header = Header {
            origin: self.origin,
            contents: self.contents.iter().map(|(hash, change)| (*hash, change.to_string())).collect(),
            joins: self.joins.iter().map(|((x, y), change)| (*x, *y, change.to_string())).collect(),
            forked: self.forked,
        };
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend(self.engine.save());
        bytes
    }

    /// The version at `heads` and all it rests on, as Automerge itself saves a document: with a change more where the version shows
    /// once what two wrote, so that any reader finds that once.
    ///
    /// # Errors
    ///
    /// As [`Document::read`].
    pub fn export(&self, heads: &[ChangeHash]) -> Result<Vec<u8>, DocumentError> {
        let version = self.version(heads)?;
        let view = guarded("read the document", || self.view(&version, &|_| None))??;
        let fork = guarded("export the document", || self.engine.fork_at(&version.heads))?;
        let mut fork = fork.map_err(engine("export the document"))?;
        if !view.state.doubled() {
            return Ok(fork.save());
        }
        guarded("export the document", || self.origin.settle(&self.objects, &mut fork, &view.state))??;
        Ok(fork.save())
    }

    /// Reads back what [`Document::save`] gave for the same document, epoch and kind.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged or of another document: they hold nothing that the log does not.
    pub fn load(doc: DocId, epoch: Epoch, kind: Kind, bytes: &[u8]) -> Result<Self, DocumentError> {
        let cache = |reason: &str| DocumentError::Cache(reason.to_owned());
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| cache("no header line"))?;
        let header: Header =
            serde_json::from_slice(&bytes[..end]).map_err(|error| cache(&error.to_string()))?;
        let origin = Origin { doc, epoch, kind };
        if header.origin != origin {
            return Err(cache("it is of another document"));
        }
        let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
        let engine = guarded("load a document", || Automerge::load_with_options(&bytes[end + 1..], options))
            .and_then(|engine| engine.map_err(|error| cache(&error.to_string())))?;
        let known = |text: &str| -> Result<ChangeHash, DocumentError> {
            let hash: ChangeHash = text.parse().map_err(|_| cache("a malformed change hash"))?;
            match engine.get_change_meta_by_hash(&hash) {
                Some(_) => Ok(hash),
                None => Err(cache("a change of its header is missing")),
            }
        };
        let mut contents = BTreeMap::new();
        for (hash, change) in &header.contents {
            contents.insert(*hash, known(change)?);
        }
        let mut joins = BTreeMap::new();
        for (x, y, change) in &header.joins {
            joins.insert((*x, *y), known(change)?);
        }
        if contents.is_empty() {
            return Err(cache("it has no content"));
        }
        Ok(Document { engine, objects: origin.objects(), origin, contents, joins, forked: header.forked })
    }

    /// The version that `heads` name: they, the joins of all contents below them, and no change that another
    /// of them rests on.
    fn version(&self, heads: &[ChangeHash]) -> Result<Version, DocumentError> {
        if let Some(unknown) = heads.iter().find(|head| !self.has(head)) {
            return Err(DocumentError::UnknownHead(*unknown));
        }
        let mut heads: BTreeSet<ChangeHash> = heads.iter().copied().collect();
        if heads.is_empty() {
            return Err(DocumentError::NoHeads);
        }
        let mut tips = heads.clone();
        if heads.len() > 1 || !self.joins.is_empty() {
            let past = Past::of(&self.engine);
            let below = past.below(&heads);
            let in_version = |change: &ChangeHash| below.contains(change) || heads.contains(change);
            let joins: Vec<_> = self
                .joins
                .iter()
                .filter(|((x, y), join)| {
                    let both = [x, y].into_iter().all(|hash| self.contents.get(hash).is_some_and(in_version));
                    both && !below.contains(*join)
                })
                .collect();
            let joined: HashSet<ChangeHash> = joins
                .iter()
                .flat_map(|((x, y), _)| [x, y])
                .filter_map(|hash| self.contents.get(hash).copied())
                .collect();
            let joins: BTreeSet<ChangeHash> = joins.iter().map(|(_, join)| **join).collect();
            tips = heads.difference(&joins).filter(|head| !below.contains(*head)).copied().collect();
            let below_tips = past.below(&tips);
            tips.extend(joined.iter().filter(|content| !below_tips.contains(*content)));
            heads.retain(|head| !below.contains(head) && !joined.contains(head));
            heads.extend(joins);
        }
        Ok(Version { heads: heads.into_iter().collect(), tips: tips.into_iter().collect() })
    }
}

/// What each change of a document rests on.
struct Past(HashMap<ChangeHash, Vec<ChangeHash>>);

impl Past {
    fn of(engine: &Automerge) -> Self {
        Past(engine.get_changes_meta(&[]).into_iter().map(|change| (change.hash, change.deps)).collect())
    }

    /// All changes that some of `heads` rests on.
    fn below(&self, heads: &BTreeSet<ChangeHash>) -> HashSet<ChangeHash> {
        let deps = |change: &ChangeHash| self.0.get(change).into_iter().flatten().copied();
        let mut below = HashSet::new();
        let mut next: Vec<ChangeHash> = heads.iter().flat_map(deps).collect();
        while let Some(change) = next.pop() {
            if below.insert(change) {
                next.extend(deps(&change));
            }
        }
        below
    }
}

/// Runs a step of Automerge on data from outside. Automerge asserts that operations refer to elements that
/// exist; a change that breaks this must not end the program. What `step` worked on is to be dropped when
/// this fails.
fn guarded<T>(what: &'static str, step: impl FnOnce() -> T) -> Result<T, DocumentError> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
        let reason = panic.downcast_ref::<String>().cloned();
        let reason = reason.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        DocumentError::Engine { what, reason: reason.unwrap_or_else(|| "it broke off".into()) }
    })
}

/// A change that `engine` holds.
fn change(engine: &Automerge, hash: &ChangeHash) -> Result<Change, DocumentError> {
    engine.get_change_by_hash(hash).ok_or(DocumentError::UnknownHead(*hash))
}

/// An Automerge error while doing `what`.
fn engine(what: &'static str) -> impl Fn(automerge::AutomergeError) -> DocumentError {
    move |error| DocumentError::Engine { what, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
