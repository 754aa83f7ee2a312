//! The content of documents in a view: one item's file, an Automerge document read at heads, or a merge by line.
//! All of it follows from the log; git's objects only save the work (design idea 6).

use std::rc::Rc;

use aios_core::align::merge_lines;
use aios_core::delta::{Delta, DeltaName};
use aios_core::document::{ChangeHash, Register};
use aios_core::fold::{Head, Text, fold};
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History, Touch};
use aios_core::id::{ContentHash, DocId, GitId};
use aios_core::item::{Content, Epoch, Item, Kind};

use crate::conflict::{Conflict, ConflictKind, Value};
use crate::db;
use crate::error::Error;
use crate::file::Shown;
use crate::git;
use crate::index::Source;
use crate::log::Spot;
use crate::vault::Vault;

/// How many readings of merged documents are kept.
const READINGS: usize = 20_000;

/// What a document reads as in a view.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub content: Content,
    pub conflicts: Vec<Conflict>,
}

/// What a reading follows from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    doc: DocId,
    /// Record and index of each head.
    heads: Vec<(Place, u32)>,
    /// The creates that are known.
    creates: Vec<Place>,
}

impl Vault {
    /// The bytes of a blob: at hand, in git, or `None`.
    pub(crate) fn blob(&mut self, git: &GitId) -> Result<Option<Rc<Vec<u8>>>, Error> {
        if let Some(bytes) = self.recent.get(git) {
            return Ok(Some(bytes));
        }
        let oid = git2::Oid::from_bytes(git.as_bytes()).map_err(crate::vault::git_error)?;
        // A damaged cache is no authority: only bytes that are what the id says (I8).
        let Ok((_, bytes)) = git::read(&self.repo, oid) else { return Ok(None) };
        let bytes = Rc::new(bytes);
        self.recent.keep(*git, bytes.clone());
        Ok(Some(bytes))
    }

    /// The item at a place, read from the log.
    pub(crate) fn item(&mut self, doc: &DocId, place: &Place, index: u32) -> Result<Item, Error> {
        let source = self.history().source(doc, place, index)?;
        let raw =
            self.log.read(&source.device, Spot { segment: source.segment, at: source.at }, source.len)?;
        serde_json::from_slice(&raw)
            .map_err(|e| Error::Document { doc: *doc, why: format!("an item of record {place}: {e}") })
    }

    /// The file of one content item, as its author saw it.
    pub(crate) fn bytes_of_head(&mut self, doc: &DocId, head: &Head) -> Result<Rc<Vec<u8>>, Error> {
        if let Some(bytes) = self.blob(&head.content.git)? {
            return Ok(bytes);
        }
        let bytes = match self.compute_head(doc, head) {
            Err(Error::Past) => self.kept_head(doc, head)?.ok_or(Error::Past)?,
            bytes => bytes?,
        };
        let bytes = Rc::new(bytes);
        self.recent.keep(head.content.git, bytes.clone());
        Ok(bytes)
    }

    /// As [`Vault::bytes_of_head`], from the log alone.
    pub(crate) fn compute_head(&mut self, doc: &DocId, head: &Head) -> Result<Vec<u8>, Error> {
        let fail = |why: &str| Error::Document { doc: *doc, why: format!("record {}: {why}", head.place) };
        let source = self.history().source(doc, &head.place, head.index)?;
        let bytes = match self.item(doc, &head.place, head.index)? {
            Item::Create { content, .. } | Item::Replace { content, .. } => match source.payload {
                Some(at) => self.log.read(
                    &source.device,
                    Spot { segment: source.segment, at },
                    content.size as usize,
                )?,
                None => return Err(Error::Apart(content.git)),
            },
            Item::Edit { delta, from, .. } => {
                let Delta { patch, .. } = self.delta(doc, &source, &delta)?;
                let touches = self.history().touches(doc)?;
                let own = touches.iter().find(|t| t.place == head.place && t.index == head.index);
                let seen = own.map(|touch| without(&touch.seen, &head.place)).unwrap_or_default();
                let base = self.bytes_in(doc, &touches, &seen)?.ok_or_else(|| fail("its base is missing"))?;
                if ContentHash::of(&base) != from {
                    return Err(fail("its base is not the one its author saw"));
                }
                let text = std::str::from_utf8(&base).map_err(|_| fail("its base is not text"))?;
                patch.apply(text).map_err(|e| fail(&e.to_string()))?.into_bytes()
            }
            _ => return Err(fail("it is no content item")),
        };
        match ContentHash::of(&bytes) == head.content.hash {
            true => Ok(bytes),
            false => Err(fail("its content does not have the hash it names")),
        }
    }

    /// What an edit did.
    pub(crate) fn delta(&mut self, doc: &DocId, source: &Source, name: &DeltaName) -> Result<Delta, Error> {
        let fail = |why: String| Error::Document { doc: *doc, why };
        let Some(at) = source.payload else {
            return Err(Error::Apart(GitId([0; 20])));
        };
        let bytes =
            self.log.read(&source.device, Spot { segment: source.segment, at }, name.size as usize)?;
        Delta::read(name, &bytes).map_err(|e| fail(e.to_string()))
    }

    /// The bytes of a version its user may have in front of them, `None` where they cannot be had. A stale save's own
    /// bytes are in no commit's tree: they follow from the log.
    pub(crate) fn bytes_of_shown(
        &mut self,
        doc: &DocId,
        shown: &Shown,
    ) -> Result<Option<Rc<Vec<u8>>>, Error> {
        if let Some(bytes) = self.blob(&shown.git)? {
            return Ok(Some(bytes));
        }
        let touches = self.history().touches(doc)?;
        let saved = touches.iter().find_map(|touch| {
            let content = touch.act.content().filter(|content| content.hash == shown.hash)?;
            Some(Head { place: touch.place, index: touch.index, content, seen: touch.seen.clone() })
        });
        let bytes = match saved {
            Some(head) => self.bytes_of_head(doc, &head).map(Some),
            None => self.bytes_in(doc, &touches, &shown.view),
        };
        match bytes {
            Ok(bytes) => Ok(bytes.filter(|bytes| ContentHash::of(bytes) == shown.hash)),
            Err(Error::Apart(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The bytes of a document in a view, `None` where it has no content there.
    pub(crate) fn bytes_in(
        &mut self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
    ) -> Result<Option<Rc<Vec<u8>>>, Error> {
        match fold(touches, &[], view) {
            None => {
                // Deleted there, and edited all the same: its last content is the base.
                let kept: Vec<Touch> =
                    touches.iter().filter(|touch| touch.act != Act::Delete).cloned().collect();
                match fold(&kept, &[], view) {
                    None => Ok(None),
                    Some(found) => self.bytes_of_text(doc, touches, view, &found.text).map(Some),
                }
            }
            Some(found) => self.bytes_of_text(doc, touches, view, &found.text).map(Some),
        }
    }

    /// The bytes a folded document reads as.
    pub(crate) fn bytes_of_text(
        &mut self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        text: &Text,
    ) -> Result<Rc<Vec<u8>>, Error> {
        match text {
            Text::One { head, .. } => self.bytes_of_head(doc, head),
            Text::Whole { heads, .. } => match heads.last() {
                Some(head) => self.bytes_of_head(doc, head),
                None => Err(Error::Document { doc: *doc, why: "it has no content".into() }),
            },
            Text::Lines { heads } => self.merge_by_line(doc, touches, heads).map(Rc::new),
            Text::Characters { kind, epoch, heads } => {
                let loaded = self.load(doc, *epoch, *kind, touches, view)?;
                let changes = loaded.heads(doc, heads)?;
                let reading = loaded
                    .document
                    .read(&changes, &|c| loaded.rank(c))
                    .map_err(|e| document_error(doc, e))?;
                self.open.keep(loaded);
                Ok(Rc::new(reading.text.into_bytes()))
            }
        }
    }

    fn merge_by_line(&mut self, doc: &DocId, touches: &[Touch], heads: &[Head]) -> Result<Vec<u8>, Error> {
        let mut merged: Option<(String, View)> = None;
        for head in heads {
            let text = String::from_utf8_lossy(&self.bytes_of_head(doc, head)?).into_owned();
            merged = Some(match merged {
                None => (text, View::clone(&head.seen)),
                Some((so_far, taken)) => {
                    let base = self.bytes_in(doc, touches, &taken.meet(&head.seen))?;
                    let base =
                        base.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
                    (merge_lines(&base, &so_far, &text), taken.union(&head.seen))
                }
            });
        }
        Ok(merged.map(|(text, _)| text.into_bytes()).unwrap_or_default())
    }

    /// What a folded document reads as, with its conflicts. Builds the Automerge document only if two ever edited at once.
    pub(crate) fn read_text(
        &mut self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        text: &Text,
    ) -> Result<Reading, Error> {
        let heads = text.all_heads().map(|head| (head.place, head.index)).collect();
        // Contents rank as the least of the creates that are known with them, which may come after their edits.
        let made = |touch: &&Touch| matches!(touch.act, Act::Create { .. }) && view.has(&touch.place);
        let creates = touches.iter().filter(made).map(|touch| touch.place).collect();
        let known = Known { doc: *doc, heads, creates };
        if let Some(reading) = self.readings.get(&known) {
            return Ok(reading.clone());
        }
        let reading = match self.read_anew(doc, touches, view, text) {
            Err(Error::Apart(git)) => {
                return self.read_named(doc, touches, view, text)?.ok_or(Error::Apart(git));
            }
            reading => reading?,
        };
        if matches!(text, Text::Characters { .. } | Text::Lines { .. }) {
            // What these read as never changes, and the projection to git asks for it again.
            if self.readings.len() >= READINGS {
                self.readings.clear();
            }
            self.readings.insert(known, reading.clone());
        }
        Ok(reading)
    }

    /// What a text reads as whose bytes are not here, as far as records say so. Its conflicts cannot be told.
    fn read_named(
        &self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        text: &Text,
    ) -> Result<Option<Reading>, Error> {
        let content = match text.settled() {
            Some(content) => Some(content),
            // Of what is merged a tree needs the blob's id, and nothing else is asked of it.
            None => {
                self.named(doc, touches, view, text.heads())?.map(|git| Content { git, ..Content::of(b"") })
            }
        };
        Ok(content.map(|content| Reading { content, conflicts: Vec::new() }))
    }

    fn read_anew(
        &mut self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        text: &Text,
    ) -> Result<Reading, Error> {
        let mut conflicts = Vec::new();
        let content = match text {
            Text::One { kind, epoch, head, .. } => {
                if kind.by_character() && !linear(touches, view) {
                    let heads: Vec<Head> = text.all_heads().cloned().collect();
                    self.registers(doc, touches, view, (*kind, *epoch), &heads, &mut conflicts)?;
                    // Several who made one file broke nothing.
                    conflicts.retain(|conflict| conflict.kind != ConflictKind::Front);
                }
                head.content
            }
            Text::Characters { kind, epoch, heads } => {
                let text = self.registers(doc, touches, view, (*kind, *epoch), heads, &mut conflicts)?;
                self.keep(text.into_bytes())
            }
            Text::Lines { heads } => {
                let bytes = self.merge_by_line(doc, touches, heads)?;
                self.keep(bytes)
            }
            Text::Whole { heads, .. } => {
                let values = heads
                    .iter()
                    .rev()
                    .map(|head| Value::of_record(format!("content {}", head.content.git), head.place));
                conflicts.push(Conflict::new(*doc, ConflictKind::Content, None, values.collect()));
                match heads.last() {
                    Some(head) => head.content,
                    None => return Err(Error::Document { doc: *doc, why: "it has no content".into() }),
                }
            }
        };
        Ok(Reading { content, conflicts })
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Content {
        let content = Content::of(&bytes);
        self.recent.keep(content.git, Rc::new(bytes));
        content
    }

    fn registers(
        &mut self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        (kind, epoch): (Kind, Epoch),
        heads: &[Head],
        conflicts: &mut Vec<Conflict>,
    ) -> Result<String, Error> {
        let loaded = self.load(doc, epoch, kind, touches, view)?;
        let changes = loaded.heads(doc, heads)?;
        let reading =
            loaded.document.read(&changes, &|c| loaded.rank(c)).map_err(|e| document_error(doc, e))?;
        let owner = |change: &ChangeHash| {
            let edit = loaded.changes.iter().find(|(_, hash)| *hash == change).map(|(at, _)| at.0);
            edit.or_else(|| loaded.rank(change).map(|stamp| Place { device: stamp.2, seq: stamp.3 }))
        };
        for found in reading.conflicts {
            let key = match &found.register {
                Register::Key(name) => name.clone(),
                other => other.to_string(),
            };
            let losers = found
                .losers
                .iter()
                .map(|(value, change)| Value { value: value.clone(), place: owner(change) });
            let values =
                std::iter::once(Value { value: found.winner.clone(), place: None }).chain(losers).collect();
            conflicts.push(Conflict::new(*doc, ConflictKind::Value, Some(key), values));
        }
        self.open.keep(loaded);
        if reading.front_conflict {
            let values = heads
                .iter()
                .rev()
                .map(|head| Value::of_record(format!("frontmatter of {}", head.content.git), head.place));
            conflicts.push(Conflict::new(*doc, ConflictKind::Front, None, values.collect()));
        }
        Ok(reading.text)
    }

    /// The bytes of a blob, from the log alone, if some record there has them. Goes through all items.
    pub(crate) fn text_of_blob(&mut self, git: &GitId) -> Result<Option<Vec<u8>>, Error> {
        let docs: Vec<DocId> = {
            let mut get = self.db.prepare("SELECT DISTINCT doc FROM item WHERE git = ?")?;
            let rows = get.query_map([git.as_bytes()], |row| row.get::<_, Vec<u8>>(0))?;
            rows.map(|row| db::id(row?, DocId::from_slice)).collect::<Result<_, Error>>()?
        };
        for doc in docs {
            let touches = self.history().touches(&doc)?;
            for touch in touches.iter() {
                let Some(content) = touch.act.content().filter(|content| content.git == *git) else {
                    continue;
                };
                let head = Head { place: touch.place, index: touch.index, content, seen: touch.seen.clone() };
                match self.compute_head(&doc, &head) {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(Error::Apart(_)) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(None)
    }

    pub(crate) fn start_text(&mut self, doc: &DocId, touch: &Touch) -> Result<String, Error> {
        let content = touch.act.content().unwrap_or_else(|| Content::of(b""));
        let head = Head { place: touch.place, index: touch.index, content, seen: touch.seen.clone() };
        let bytes = self.bytes_of_head(doc, &head)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::Document { doc: *doc, why: format!("record {} holds no text", touch.place) })
    }
}

/// Whether the content items of a view form a chain: nobody ever edited while another did.
fn linear(touches: &[Touch], view: &View) -> bool {
    let mut content: Vec<&Touch> =
        touches.iter().filter(|t| view.has(&t.place) && t.act.content().is_some()).collect();
    content.sort_by_key(|touch| (touch.rank, touch.place, touch.index));
    content.windows(2).all(|pair| pair[1].covers(pair[0]))
}

/// A view without the record at `place`.
pub(crate) fn without(view: &View, place: &Place) -> View {
    view.iter()
        .map(|end| {
            if end.device == place.device && end.seq >= place.seq {
                Place { seq: place.seq - 1, ..end }
            } else {
                end
            }
        })
        .collect()
}

pub(crate) fn document_error(doc: &DocId, e: aios_core::document::DocumentError) -> Error {
    Error::Document { doc: *doc, why: e.to_string() }
}
