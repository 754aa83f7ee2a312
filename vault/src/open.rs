//! The Automerge documents of epochs: kept at hand, read from the saved form in the database, or derived from the log.
//! Neither memory nor the saved form holds what the log does not (I8).

use std::collections::HashMap;
use std::sync::Mutex;

use aios_core::clock::Stamp;
use aios_core::document::{ChangeHash, Document};
use aios_core::fold::{self, Head};
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History, Touch};
use aios_core::id::{ContentHash, DeviceId, DocId};
use aios_core::item::{Epoch, Item, Kind};
use rusqlite::params;

use crate::error::Error;
use crate::text::document_error;
use crate::vault::Vault;

/// A document of fewer edits is not saved: deriving it costs less than reading it.
const LONG: usize = 32;
/// After this many edits beyond the saved form a document at hand is saved again. One read from its saved form is saved after
/// its next edit: another process will want it, and a single change costs ten times as much to apply as all of it to save.
const SAVE_EVERY: usize = 16;
/// After this many edits beyond the saved list of changes that is written again.
const LIST_EVERY: usize = 64;
/// What is kept at hand weighs at most so much, roughly in bytes.
const MOST: usize = 48 << 20;
/// A document weighs this much, and more for each byte it began with and each change.
const WEIGHT: (usize, usize, usize) = (8 << 10, 12, 600);
/// How many documents stay at hand from one round to the next.
const BETWEEN: usize = 16;
/// So many are derived ahead at once.
pub(crate) const AHEAD: usize = 256;

/// The parts of a saved form: the document, and the list of its changes, which is larger and may end earlier.
const DOCUMENT: i64 = 0;
const CHANGES: i64 = 1;

/// The change of each edit, by where the item stands.
type Changes = HashMap<(Place, u32), ChangeHash>;

/// A document of the log with the change of each of its edits.
#[derive(Debug)]
struct Known {
    document: Document,
    changes: Changes,
    weight: usize,
    saved: Saved,
}

/// How far the saved form of a document goes.
#[derive(Debug, Clone, Copy, Default)]
struct Saved {
    /// Whether this process read it and has not written it.
    read: bool,
    /// Edits beyond it.
    beyond: usize,
    /// Changes in its list.
    listed: usize,
}

/// Automerge documents at hand.
#[derive(Debug, Default)]
pub(crate) struct Open {
    known: HashMap<(DocId, Epoch), Known>,
    /// With an edit that is not in the log yet.
    drafted: HashMap<(DocId, Epoch), Known>,
    weight: usize,
}

impl Open {
    fn take(&mut self, key: &(DocId, Epoch)) -> Option<Known> {
        let known = self.known.remove(key)?;
        self.weight -= known.weight;
        Some(known)
    }

    fn put(&mut self, key: (DocId, Epoch), known: Known) {
        self.take(&key);
        if self.weight + known.weight <= MOST {
            self.weight += known.weight;
            self.known.insert(key, known);
        }
    }

    /// Gives back what was not changed.
    pub fn keep(&mut self, loaded: Loaded) {
        let Loaded { document, changes, weight, saved, .. } = loaded;
        self.put((document.id(), document.epoch()), Known { document, changes, weight, saved });
    }

    /// Gives back what was edited: at hand once the edit is in the log.
    pub fn draft(&mut self, loaded: Loaded) {
        let Loaded { document, changes, weight, saved, .. } = loaded;
        self.drafted.insert((document.id(), document.epoch()), Known { document, changes, weight, saved });
    }

    /// Drops all.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Drops all if that is many: the next round is of other documents.
    pub fn rest(&mut self) {
        if self.known.len() > BETWEEN {
            self.forget();
        }
    }
}

/// An Automerge document with what tells its changes' ranks.
pub(crate) struct Loaded {
    pub document: Document,
    /// The change of each edit, by where the item stands.
    pub changes: Changes,
    ranks: HashMap<ChangeHash, Stamp>,
    weight: usize,
    saved: Saved,
}

impl Loaded {
    /// The changes that stand for some content items.
    pub fn heads<'h>(
        &self,
        doc: &DocId,
        heads: impl IntoIterator<Item = &'h Head>,
    ) -> Result<Vec<ChangeHash>, Error> {
        let find = |head: &Head| {
            let edit = self.changes.get(&(head.place, head.index)).copied();
            edit.or_else(|| self.document.content_head(&head.content.hash)).ok_or_else(|| Error::Document {
                doc: *doc,
                why: format!("the change of record {} is missing", head.place),
            })
        };
        heads.into_iter().map(find).collect()
    }

    /// The rank of every change that an item made.
    pub fn ranks(&self) -> &HashMap<ChangeHash, Stamp> {
        &self.ranks
    }

    /// The rank of a change.
    pub fn rank(&self, change: &ChangeHash) -> Option<Stamp> {
        self.ranks.get(change).copied()
    }
}

/// What a document is derived from.
struct Origin {
    doc: DocId,
    epoch: Epoch,
    kind: Kind,
    texts: Vec<String>,
}

impl Origin {
    fn derive(&self) -> Result<Known, Error> {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let document = Document::new(self.doc, self.epoch, self.kind, &texts)
            .map_err(|e| document_error(&self.doc, e))?;
        let weight = WEIGHT.0 + WEIGHT.1 * texts.iter().map(|text| text.len()).sum::<usize>();
        Ok(Known { document, changes: HashMap::new(), weight, saved: Saved::default() })
    }
}

impl Vault {
    /// The Automerge document of an epoch with every change of it that is integrated. Ranks are those in `view`.
    pub(crate) fn load(
        &mut self,
        doc: &DocId,
        epoch: Epoch,
        kind: Kind,
        touches: &[Touch],
        view: &View,
    ) -> Result<Loaded, Error> {
        let mut sorted: Vec<&Touch> = touches.iter().filter(|touch| self.view.has(&touch.place)).collect();
        sorted.sort_by_key(|touch| (touch.rank, touch.place, touch.index));
        let starts: Vec<&Touch> = sorted.iter().copied().filter(|touch| starts(touch, epoch)).collect();
        let edits: Vec<&Touch> = sorted.into_iter().filter(|touch| edits(touch, epoch)).collect();

        let at_hand = match self.open.take(&(*doc, epoch)) {
            Some(known) => Some(known),
            None => self.saved(doc, epoch, kind)?,
        };
        let mut known = match at_hand {
            Some(known) => known,
            None => self.origin(doc, epoch, kind, &starts)?.derive()?,
        };
        let Known { document, changes, .. } = &mut known;
        for touch in &starts {
            let known =
                touch.act.content().is_some_and(|content| document.content_head(&content.hash).is_some());
            if !known {
                let text = self.start_text(doc, touch)?;
                document.add_content(&text).map_err(|e| document_error(doc, e))?;
            }
        }
        let new: Vec<&Touch> = edits
            .iter()
            .copied()
            .filter(|touch| !changes.contains_key(&(touch.place, touch.index)))
            .collect();
        let mut raw = Vec::with_capacity(new.len());
        for touch in &new {
            let Item::Edit { delta, .. } = self.item(doc, &touch.place, touch.index)? else {
                return Err(no_change(doc, touch));
            };
            let source = self.history().source(doc, &touch.place, touch.index)?;
            raw.push(self.delta(doc, &source, &delta)?.change.ok_or_else(|| no_change(doc, touch))?);
        }
        let before = document.heads();
        let hashes = document.apply(&raw).map_err(|e| document_error(doc, e))?;
        let grown = document.heads() != before;
        changes.extend(new.iter().map(|touch| (touch.place, touch.index)).zip(hashes));
        known.weight += WEIGHT.2 * new.len();
        if grown {
            known.saved.beyond += new.len();
            self.save(doc, epoch, &mut known)?;
        }
        let Known { document, changes, weight, saved } = known;
        let mut ranks = HashMap::new();
        for touch in &edits {
            if let Some(change) = changes.get(&(touch.place, touch.index)) {
                ranks.insert(*change, touch.rank);
            }
        }
        // In this view: a later create of the same bytes must not change what an older view reads as (I1).
        for touch in starts.iter().rev().filter(|touch| view.has(&touch.place)) {
            let head = touch.act.content().and_then(|content| document.content_head(&content.hash));
            ranks.extend(head.map(|head| (head, touch.rank)));
        }
        Ok(Loaded { document, changes, ranks, weight, saved })
    }

    fn origin(&mut self, doc: &DocId, epoch: Epoch, kind: Kind, starts: &[&Touch]) -> Result<Origin, Error> {
        let texts = starts.iter().map(|touch| self.start_text(doc, touch)).collect::<Result<_, _>>()?;
        Ok(Origin { doc: *doc, epoch, kind, texts })
    }

    /// Derives the documents of these epochs on all processors, as far as there is room: what [`Vault::load`] would do one by one
    /// for each that has few changes. What fails here fails there too, and is told there.
    pub(crate) fn load_ahead(&mut self, wanted: &[(DocId, Epoch, Kind, &[Touch])]) {
        // The system is asked only where there is something to share out: that reads files.
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if wanted.len() < 2 { 1 } else { processors().min(wanted.len()) };
        if threads < 2 {
            return;
        }
        let mut origins = Vec::new();
        // Then those of few changes have a saved form, too, without which they could not be had.
        let begun = self.lacks_past();
        for (doc, epoch, kind, touches) in wanted {
            let few = touches.len() < LONG
                && !self.open.known.contains_key(&(*doc, *epoch))
                && !(begun && self.saved(doc, *epoch, *kind).is_ok_and(|saved| saved.is_some()));
            let mut sorted: Vec<&Touch> = touches
                .iter()
                .filter(|touch| few && starts(touch, *epoch) && self.view.has(&touch.place))
                .collect();
            sorted.sort_by_key(|touch| (touch.rank, touch.place, touch.index));
            if !sorted.is_empty() && kind.by_character() {
                origins.extend(self.origin(doc, *epoch, *kind, &sorted));
            }
        }
        let queue = Mutex::new(origins.into_iter());
        let next = || queue.lock().ok().and_then(|mut queue| queue.next());
        let work = || {
            let mut out = Vec::new();
            while let Some(origin) = next() {
                out.extend(origin.derive());
            }
            out
        };
        let derived: Vec<Known> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut out = work();
            out.extend(others.into_iter().filter_map(|other| other.join().ok()).flatten());
            out
        });
        for known in derived {
            self.open.put((known.document.id(), known.document.epoch()), known);
        }
    }

    /// As [`Vault::load_ahead`], for the documents as they are now.
    pub(crate) fn load_ahead_now(&mut self, docs: &[DocId]) -> Result<(), Error> {
        let mut wanted = Vec::with_capacity(docs.len());
        for doc in docs {
            let touches = self.history().touches(doc)?;
            let found = fold::fold(&touches, &[], &self.view);
            if let Some(fold::Text::One { kind, epoch, .. } | fold::Text::Characters { kind, epoch, .. }) =
                found.map(|found| found.text)
            {
                wanted.push((*doc, epoch, kind, touches));
            }
        }
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(doc, epoch, kind, touches)| (*doc, *epoch, *kind, touches.as_slice()))
            .collect();
        self.load_ahead(&wanted);
        Ok(())
    }

    /// The log has edits of these documents now, and no others that were drafted.
    pub(crate) fn confirm(&mut self, edited: Vec<(DocId, Epoch)>) -> Result<(), Error> {
        let mut drafted = std::mem::take(&mut self.open.drafted);
        for key in edited {
            if let Some(mut known) = drafted.remove(&key) {
                known.saved.beyond += 1;
                self.save(&key.0, key.1, &mut known)?;
                self.open.put(key, known);
            }
        }
        Ok(())
    }

    /// The saved form of an epoch with every change of it that is integrated, as it is or would be in the database: part and bytes.
    pub(crate) fn saved_parts(
        &mut self,
        doc: &DocId,
        epoch: Epoch,
        kind: Kind,
        touches: &[Touch],
    ) -> Result<[(i64, Vec<u8>); 2], Error> {
        let view = self.view.clone();
        let loaded = self.load(doc, epoch, kind, touches, &view)?;
        let parts = [(DOCUMENT, loaded.document.save()), (CHANGES, write_changes(&loaded.changes))];
        self.open.keep(loaded);
        Ok(parts)
    }

    /// The file of one content item as the Automerge document at hand has it, for what lies before the log; `None` where none has
    /// it byte for byte.
    pub(crate) fn kept_head(&mut self, doc: &DocId, head: &Head) -> Result<Option<Vec<u8>>, Error> {
        let touches = self.history().touches(doc)?;
        let own = touches.iter().find(|touch| touch.place == head.place && touch.index == head.index);
        let epoch = match own.map(|touch| &touch.act) {
            Some(Act::Create { .. }) => Epoch(None),
            Some(Act::Replace { .. }) => Epoch(Some(head.place)),
            Some(Act::Edit { epoch, by_character: true, .. }) => *epoch,
            _ => return Ok(None),
        };
        let kind = touches.iter().filter(|touch| starts(touch, epoch)).find_map(|touch| match touch.act {
            Act::Create { kind, .. } | Act::Replace { kind, .. } => Some(kind),
            _ => None,
        });
        let Some(kind) = kind.filter(|kind| kind.by_character()) else { return Ok(None) };
        let at_hand = match self.open.take(&(*doc, epoch)) {
            Some(known) => Some(known),
            None => self.saved(doc, epoch, kind)?,
        };
        let Some(known) = at_hand else { return Ok(None) };
        let mut ranks = HashMap::new();
        for touch in touches.iter() {
            let edit = known.changes.get(&(touch.place, touch.index)).copied();
            let start = || known.document.content_head(&touch.act.content()?.hash);
            ranks.extend(edit.or_else(start).map(|change| (change, touch.rank)));
        }
        let change = known.changes.get(&(head.place, head.index)).copied();
        let change = change.or_else(|| known.document.content_head(&head.content.hash));
        let read = change.and_then(|change| known.document.read(&[change], &|c| ranks.get(c).copied()).ok());
        self.open.put((*doc, epoch), known);
        let bytes = read.map(|reading| reading.text.into_bytes());
        Ok(bytes.filter(|bytes| ContentHash::of(bytes) == head.content.hash))
    }

    fn saved(&self, doc: &DocId, epoch: Epoch, kind: Kind) -> Result<Option<Known>, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT part, bytes FROM automerge WHERE doc = ? AND epoch = ? ORDER BY part")?;
        let mut rows = get.query(params![doc.as_bytes(), epoch.to_string()])?;
        let (mut document, mut changes, mut length) = (None, None, 0);
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            match row.get(0)? {
                DOCUMENT => document = Document::load(*doc, epoch, kind, bytes).ok(),
                _ => changes = read_changes(bytes),
            }
            length += bytes.len();
        }
        let (Some(document), Some(changes)) = (document, changes) else { return Ok(None) };
        let weight = WEIGHT.0 + WEIGHT.1 * length + WEIGHT.2 * changes.len();
        let saved = Saved { read: true, beyond: 0, listed: changes.len() };
        Ok(Some(Known { document, changes, weight, saved }))
    }

    /// Saves a document where that is due.
    fn save(&self, doc: &DocId, epoch: Epoch, known: &mut Known) -> Result<(), Error> {
        let Known { document, changes, saved, .. } = known;
        if changes.len() < LONG || !saved.read && saved.beyond < SAVE_EVERY {
            return Ok(());
        }
        let put = |part: i64, bytes: Vec<u8>| {
            let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO automerge VALUES(?, ?, ?, ?)")?;
            put.execute(params![doc.as_bytes(), epoch.to_string(), part, bytes])
        };
        put(DOCUMENT, document.save())?;
        if saved.listed == 0 || changes.len() >= saved.listed + LIST_EVERY {
            put(CHANGES, write_changes(changes))?;
            saved.listed = changes.len();
        }
        (saved.read, saved.beyond) = (false, 0);
        Ok(())
    }
}

/// Whether a touch is a content the epoch starts from.
fn starts(touch: &Touch, epoch: Epoch) -> bool {
    match (&touch.act, epoch.0) {
        (Act::Create { .. }, None) => true,
        (Act::Replace { .. }, Some(place)) => touch.place == place,
        _ => false,
    }
}

fn no_change(doc: &DocId, touch: &Touch) -> Error {
    Error::Document { doc: *doc, why: format!("record {} has no change", touch.place) }
}

fn edits(touch: &Touch, epoch: Epoch) -> bool {
    matches!(touch.act, Act::Edit { epoch: of, by_character: true, .. } if of == epoch)
}

/// Device, number of the record, index and change of each edit, one after the other, then the BLAKE3 hash of all that: a
/// list with a flipped bit names no change that the document lacks, but is none.
fn write_changes(changes: &Changes) -> Vec<u8> {
    let mut out = Vec::with_capacity(changes.len() * ENTRY + blake3::OUT_LEN);
    for ((place, index), change) in changes {
        out.extend_from_slice(place.device.as_bytes());
        out.extend_from_slice(&place.seq.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&change.0);
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

/// The length of an entry of [`write_changes`].
const ENTRY: usize = 32 + 8 + 4 + 32;

fn read_changes(bytes: &[u8]) -> Option<Changes> {
    let (list, hash) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>()?;
    if blake3::hash(list) != *hash {
        return None;
    }
    let mut out = HashMap::with_capacity(list.len() / ENTRY);
    for entry in list.chunks(ENTRY) {
        let (device, rest) = entry.split_first_chunk::<32>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (index, rest) = rest.split_first_chunk::<4>()?;
        let place = Place { device: DeviceId(*device), seq: u64::from_le_bytes(*seq) };
        out.insert((place, u32::from_le_bytes(*index)), ChangeHash(rest.try_into().ok()?));
    }
    Some(out)
}
