//! The items of the log, indexed in the database: the [`History`] that folding reads. Held records are indexed too, and read
//! by nobody before they count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use aios_core::clock::{Hlc, Stamp};
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, FolderMove, History, Touch};
use aios_core::id::{ContentHash, DeviceId, DocId, GitId};
use aios_core::item::{Content, Epoch, Kind, Mode};
use rusqlite::{Connection, Row, params};

use crate::db;
use crate::error::Error;

/// Numbers for [`Kind`] in the database.
const KINDS: [Kind; 5] = [Kind::Md, Kind::Text, Kind::Lines, Kind::Blob, Kind::Link];
/// Numbers for [`Mode`] in the database.
const MODES: [Mode; 3] = [Mode::File, Mode::Executable, Mode::Link];

/// The number of a kind.
pub fn kind_number(kind: Kind) -> i64 {
    KINDS.iter().position(|k| *k == kind).unwrap_or_default() as i64
}

/// The number of a mode.
pub fn mode_number(mode: Mode) -> i64 {
    MODES.iter().position(|m| *m == mode).unwrap_or_default() as i64
}

fn number<T: Copy>(list: &[T], n: Option<i64>) -> Result<T, Error> {
    let found = n.and_then(|n| usize::try_from(n).ok()).and_then(|n| list.get(n));
    found.copied().ok_or_else(|| Error::Damaged("an item has an unknown number".into()))
}

/// The kind with a number.
pub fn kind(n: i64) -> Result<Kind, Error> {
    number(&KINDS, Some(n))
}

/// The mode with a number.
pub fn mode(n: i64) -> Result<Mode, Error> {
    number(&MODES, Some(n))
}

/// Where the JSON of an item and its payload lie in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The device whose log holds it.
    pub device: DeviceId,
    /// Segment, by its first number.
    pub segment: u64,
    /// Byte of the item's JSON in the segment.
    pub at: u64,
    /// Its length.
    pub len: usize,
    /// Byte of the payload in the segment.
    pub payload: Option<u64>,
}

/// From this many items on a document's touches are kept in memory.
const LONG: usize = 64;
/// How many such documents are kept.
const KEPT: usize = 256;

/// The touches of documents that have many: within one command they are asked for again and again, and only new ones are
/// read then (I13). To be forgotten when rows are taken back or change.
#[derive(Debug, Default)]
pub struct Long(RefCell<HashMap<DocId, Kept>>);

#[derive(Debug)]
struct Kept {
    /// The number of the record and the index of the newest.
    newest: (i64, i64),
    touches: Arc<Vec<Touch>>,
}

impl Long {
    /// Drops all.
    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

/// The [`History`] in a database.
#[derive(Debug, Clone, Copy)]
pub struct SqlHistory<'d> {
    /// The database.
    pub db: &'d Connection,
    /// What is remembered of it.
    pub long: &'d Long,
}

const TOUCH: &str = "SELECT i.act, i.path, i.kind, i.mode, i.hash, i.git, i.size, i.epoch, i.character, i.base, i.rank, i.idx,
    r.device, r.seq, r.ms, r.count, r.view FROM item i JOIN record r ON r.n = i.record AND r.held = 0";

/// In order of the primary key, so that what follows the newest known is a range of it.
const TOUCHES_AFTER: &str =
    "SELECT i.act, i.path, i.kind, i.mode, i.hash, i.git, i.size, i.epoch, i.character, i.base, i.rank, i.idx,
    r.device, r.seq, r.ms, r.count, r.view, i.record FROM item i JOIN record r ON r.n = i.record AND r.held = 0
    WHERE i.doc = ? AND (i.record, i.idx) > (?, ?) ORDER BY i.record, i.idx";

impl SqlHistory<'_> {
    /// Where an item lies in the log.
    pub fn source(&self, doc: &DocId, place: &Place, index: u32) -> Result<Source, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT p.device, p.segment, i.at, i.len, i.payload FROM record r JOIN item i ON i.record = r.n
             JOIN record p ON p.n = i.part WHERE r.device = ? AND r.seq = ? AND i.doc = ? AND i.idx = ?",
        )?;
        let args = params![place.device.as_bytes(), place.seq as i64, doc.as_bytes(), index];
        let (device, segment, at, len, payload) = get.query_row(args, |row| {
            Ok((
                row.get::<_, Vec<u8>>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, Option<i64>>(4)?,
            ))
        })?;
        Ok(Source {
            device: db::id(device, DeviceId::from_slice)?,
            segment: segment as u64,
            at: at as u64,
            len: len as usize,
            payload: payload.map(|at| at as u64),
        })
    }

    /// The documents touched by the records that are in `view` but not in `known`, and the folder moves of these.
    pub fn between(
        &self,
        known: &View,
        view: &View,
    ) -> Result<(std::collections::BTreeSet<DocId>, Vec<FolderMove>), Error> {
        let mut docs = std::collections::BTreeSet::new();
        let mut get = self.db.prepare_cached(
            "SELECT DISTINCT i.doc FROM record r JOIN item i ON i.record = r.n
             WHERE r.device = ? AND r.seq > ? AND r.seq <= ? AND r.held = 0",
        )?;
        for end in view.iter() {
            let from = known.get(&end.device);
            if from >= end.seq {
                continue;
            }
            let mut rows = get.query(params![end.device.as_bytes(), from as i64, end.seq as i64])?;
            while let Some(row) = rows.next()? {
                docs.insert(db::id(row.get(0)?, DocId::from_slice)?);
            }
        }
        let mut moves = self.folder_moves()?;
        moves.retain(|step| view.has(&step.place) && !known.has(&step.place));
        Ok((docs, moves))
    }

    /// Every touch of every document.
    pub fn all(&self) -> Result<Vec<(DocId, Touch)>, Error> {
        let mut get = self.db.prepare_cached(&TOUCH.replacen(" FROM", ", i.doc FROM", 1))?;
        let mut rows = get.query([])?;
        let (mut out, mut last) = (Vec::new(), Last::default());
        while let Some(row) = rows.next()? {
            out.push((db::id(row.get(17)?, DocId::from_slice)?, touch(row, &mut last)?));
        }
        Ok(out)
    }

    fn ids(&self, sql: &str, args: impl rusqlite::Params) -> Result<Vec<DocId>, Error> {
        let mut get = self.db.prepare_cached(sql)?;
        let mut rows = get.query(args)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(db::id(row.get(0)?, DocId::from_slice)?);
        }
        Ok(out)
    }
}

/// The view of the row before: items of one record share it.
#[derive(Default)]
struct Last {
    bytes: Vec<u8>,
    view: Arc<View>,
}

impl Last {
    fn read(&mut self, bytes: &[u8]) -> Result<Arc<View>, Error> {
        if self.bytes != bytes {
            *self = Last { bytes: bytes.to_vec(), view: Arc::new(db::read_view(bytes)?) };
        }
        Ok(self.view.clone())
    }
}

fn touch(row: &Row<'_>, last: &mut Last) -> Result<Touch, Error> {
    let content = || -> Result<Content, Error> {
        Ok(Content {
            hash: db::id(row.get(4)?, ContentHash::from_slice)?,
            git: db::id(row.get(5)?, GitId::from_slice)?,
            size: row.get::<_, i64>(6)? as u64,
        })
    };
    let path = || -> Result<String, Error> { Ok(row.get(1)?) };
    let kind = || -> Result<Kind, Error> { number(&KINDS, row.get(2)?) };
    let mode = || -> Result<Mode, Error> { number(&MODES, row.get(3)?) };
    let act = match row.get::<_, i64>(0)? {
        0 => Act::Create { path: path()?, kind: kind()?, mode: mode()?, content: content()? },
        1 => {
            let epoch: String = row.get(7)?;
            let epoch = match epoch.is_empty() {
                true => Epoch(None),
                false => {
                    Epoch(Some(epoch.parse().map_err(|_| Error::Damaged("an epoch is malformed".into()))?))
                }
            };
            Act::Edit { epoch, content: content()?, by_character: row.get::<_, i64>(8)? != 0 }
        }
        2 => Act::Replace { kind: kind()?, content: content()? },
        3 => Act::Move { path: path()? },
        4 => Act::Mode { mode: mode()? },
        6 => Act::Forget,
        _ => Act::Delete,
    };
    let place =
        Place { device: db::id(row.get(12)?, DeviceId::from_slice)?, seq: row.get::<_, i64>(13)? as u64 };
    let blob = |column: usize| {
        Ok::<_, Error>(row.get_ref(column)?.as_blob_or_null().map_err(rusqlite::Error::from)?)
    };
    let seen = match blob(9)? {
        Some(base) => last.read(base)?,
        // The row holds the record's own view; what it has seen ends before its transaction.
        None => last.read(blob(16)?.unwrap_or_default())?,
    };
    let rank = match row.get::<_, Option<String>>(10)? {
        Some(text) => serde_json::from_str(&text).map_err(|e| Error::Damaged(e.to_string()))?,
        None => Stamp::new(Hlc(row.get::<_, i64>(14)? as u64, row.get(15)?), place.device, place.seq),
    };
    Ok(Touch { place, index: row.get(11)?, seen, rank, act })
}

/// The number of an act in the database.
pub fn act_number(act: &Act) -> i64 {
    match act {
        Act::Create { .. } => 0,
        Act::Edit { .. } => 1,
        Act::Replace { .. } => 2,
        Act::Move { .. } => 3,
        Act::Mode { .. } => 4,
        Act::Delete => 5,
        Act::Forget => 6,
    }
}

impl History for SqlHistory<'_> {
    type Error = Error;

    fn touches(&self, doc: &DocId) -> Result<Arc<Vec<Touch>>, Error> {
        let mut long = self.long.0.borrow_mut();
        let (mut newest, mut touches) = match long.remove(doc) {
            Some(kept) => (kept.newest, kept.touches),
            None => ((-1, -1), Arc::default()),
        };
        let mut get = self.db.prepare_cached(TOUCHES_AFTER)?;
        let mut rows = get.query(params![doc.as_bytes(), newest.0, newest.1])?;
        let mut last = Last::default();
        while let Some(row) = rows.next()? {
            Arc::make_mut(&mut touches).push(touch(row, &mut last)?);
            newest = (row.get(17)?, row.get(11)?);
        }
        if touches.len() >= LONG {
            if long.len() >= KEPT {
                long.clear();
            }
            long.insert(*doc, Kept { newest, touches: touches.clone() });
        }
        Ok(touches)
    }

    fn claimants(&self, folded: &str) -> Result<Vec<DocId>, Error> {
        self.ids("SELECT DISTINCT doc FROM item WHERE folded = ?", [folded])
    }

    fn claimants_below(&self, folded: &str) -> Result<Vec<DocId>, Error> {
        // '0' follows '/' in code point order, which is SQLite's for text.
        let (from, to) = (format!("{folded}/"), format!("{folded}0"));
        self.ids("SELECT DISTINCT doc FROM item WHERE folded >= ? AND folded < ?", [from, to])
    }

    fn folder_moves(&self) -> Result<Vec<FolderMove>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT r.device, r.seq, r.ms, r.count, m.idx, m.src, m.dst, r.view FROM moved m JOIN record r ON r.n = m.record AND r.held = 0",
        )?;
        let mut rows = get.query([])?;
        let (mut out, mut last) = (Vec::new(), Last::default());
        while let Some(row) = rows.next()? {
            let place = Place {
                device: db::id(row.get(0)?, DeviceId::from_slice)?,
                seq: row.get::<_, i64>(1)? as u64,
            };
            let stamp = Stamp::new(Hlc(row.get::<_, i64>(2)? as u64, row.get(3)?), place.device, place.seq);
            let view = row.get_ref(7)?.as_blob_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default();
            let (index, seen, from, to) = (row.get(4)?, last.read(view)?, row.get(5)?, row.get(6)?);
            out.push(FolderMove { place, index, stamp, seen, from, to });
        }
        out.sort_by_key(|step| (step.stamp, step.index));
        Ok(out)
    }
}
