//! Blobs that bodies name for what several edited at once: with them every commit follows from bodies alone, on a device that never
//! had the text too (I1). See `docs/formats.md`, Body.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::fold::{Head, Text, fold};
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History, Touch};
use aios_core::id::{DeviceId, DocId, GitId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::db;
use crate::error::Error;
use crate::text::without;
use crate::vault::Vault;

/// `named`: what bodies name, and once somebody asked at which heads. `unnamed`: documents that are shown merged, at heads that no body
/// may have named.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS named(doc BLOB NOT NULL, n INTEGER NOT NULL, git BLOB NOT NULL, heads BLOB, PRIMARY KEY(doc, n)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS named_heads ON named(doc, heads);
CREATE INDEX IF NOT EXISTS named_n ON named(n);
CREATE TABLE IF NOT EXISTS unnamed(doc BLOB PRIMARY KEY) WITHOUT ROWID;
";

/// Sees to it that the tables are there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLES)?)
}

/// Whether what a text reads as is in no item: it is made of several.
pub(crate) fn is_made(text: &Text) -> bool {
    matches!(text, Text::Characters { .. } | Text::Lines { .. })
}

/// What a name stands for: the heads in any order, and the creates in view, of which the least ranks what was made there.
fn key(touches: &[Touch], view: &View, heads: &[Head]) -> [u8; 32] {
    let heads: BTreeSet<(Place, u32)> = heads.iter().map(|head| (head.place, head.index)).collect();
    let made =
        touches.iter().filter(|touch| matches!(touch.act, Act::Create { .. }) && view.has(&touch.place));
    let made: BTreeSet<(Place, u32)> = made.map(|touch| (touch.place, touch.index)).collect();
    let mut hasher = blake3::Hasher::new();
    for places in [heads, made] {
        hasher.update(&(places.len() as u64).to_le_bytes());
        for (place, index) in places {
            hasher
                .update(place.device.as_bytes())
                .update(&place.seq.to_le_bytes())
                .update(&index.to_le_bytes());
        }
    }
    hasher.finalize().into()
}

/// What a record is to name.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    /// The blob of each document.
    pub blobs: BTreeMap<DocId, GitId>,
    /// Whether there is a document of which this device cannot tell: nobody could compute a tree on top of it.
    pub unread: bool,
}

impl Vault {
    /// Keeps what the body of record `n` names.
    pub(crate) fn note_named(&self, n: i64, merged: &BTreeMap<DocId, GitId>) -> Result<(), Error> {
        for (doc, git) in merged {
            let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO named VALUES(?, ?, ?, NULL)")?;
            note.execute(params![doc.as_bytes(), n, git.as_bytes()])?;
        }
        Ok(())
    }

    /// Remembers, or not any more, that a document is shown as what several edits make.
    pub(crate) fn note_made(&self, doc: &DocId, made: bool) -> Result<(), Error> {
        let sql = match made {
            true => "INSERT OR IGNORE INTO unnamed VALUES(?)",
            false => "DELETE FROM unnamed WHERE doc = ?",
        };
        self.db.prepare_cached(sql)?.execute([doc.as_bytes()])?;
        Ok(())
    }

    /// The blob that some body names for a document at these heads of a view.
    pub(crate) fn named(
        &self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        heads: &[Head],
    ) -> Result<Option<GitId>, Error> {
        self.key_names(doc)?;
        let mut get = self.db.prepare_cached(
            "SELECT m.git FROM named m JOIN record r ON r.n = m.n AND r.held = 0
             WHERE m.doc = ? AND m.heads = ? ORDER BY r.ms, r.count, r.device, r.seq LIMIT 1",
        )?;
        let git: Option<Vec<u8>> =
            get.query_row(params![doc.as_bytes(), key(touches, view, heads)], |row| row.get(0)).optional()?;
        git.map(|git| db::id(git, GitId::from_slice)).transpose()
    }

    /// Notes at which heads each name of a document is that nobody asked for before: what is in the past of a record that counts stays.
    fn key_names(&self, doc: &DocId) -> Result<(), Error> {
        let new: Vec<(i64, Vec<u8>, Vec<u8>, i64)> = {
            let mut get = self.db.prepare_cached(
                "SELECT m.n, r.view, r.device, r.seq FROM named m JOIN record r ON r.n = m.n
                 WHERE m.doc = ? AND m.heads IS NULL AND r.held = 0",
            )?;
            let rows = get.query_map([doc.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<Result<_, _>>()?
        };
        if new.is_empty() {
            return Ok(());
        }
        let touches = self.history().touches(doc)?;
        for (n, view, device, seq) in new {
            let place = Place { device: db::id(device, DeviceId::from_slice)?, seq: seq as u64 };
            let past = without(&db::read_view(&view)?, &place);
            let there = fold(&touches, &[], &past);
            let there = there.map(|there| key(&touches, &past, there.text.heads())).unwrap_or_default();
            let mut put = self.db.prepare_cached("UPDATE named SET heads = ? WHERE doc = ? AND n = ?")?;
            put.execute(params![there, doc.as_bytes(), n])?;
        }
        Ok(())
    }

    /// What the next record of this device is to name: the blob of each document that its past has merged, at heads that nobody named.
    /// Of what it has forgotten, and cannot read, it names one of the versions: a tree needs some blob, and nobody will know better.
    pub(crate) fn still_unnamed(&mut self, forgotten: &BTreeSet<DocId>) -> Result<Unnamed, Error> {
        let mut docs: BTreeSet<DocId> = {
            let mut get = self.db.prepare_cached("SELECT doc FROM unnamed")?;
            let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            rows.map(|row| db::id(row?, DocId::from_slice)).collect::<Result<_, Error>>()?
        };
        let any = !docs.is_empty();
        // What is integrated and not shown yet is in the past of the next record, too.
        let view = self.view.clone();
        if self.shown != view {
            docs.extend(self.history().between(&self.shown, &view)?.0);
        }
        let out = self.unnamed(&docs, &view, forgotten)?;
        if any {
            self.db.execute("DELETE FROM unnamed", [])?;
        }
        Ok(out)
    }

    /// What of these documents `view` has merged at heads that nobody named.
    fn unnamed(
        &mut self,
        docs: &BTreeSet<DocId>,
        view: &View,
        forgotten: &BTreeSet<DocId>,
    ) -> Result<Unnamed, Error> {
        let shown = self.shown == *view;
        let mut out = Unnamed::default();
        for doc in docs {
            let touches = self.history().touches(doc)?;
            let Some(found) = fold(&touches, &[], view).filter(|found| is_made(&found.text)) else {
                continue;
            };
            if self.named(doc, &touches, view, found.text.heads())?.is_some() {
                continue;
            }
            match shown.then(|| self.placement(doc)).transpose()?.flatten() {
                Some(placement) => _ = out.blobs.insert(*doc, placement.content.git),
                None => match self.read_text(doc, &touches, view, &found.text) {
                    Ok(reading) => _ = out.blobs.insert(*doc, reading.content.git),
                    // Who lacks the text cannot tell what it reads as.
                    Err(Error::Apart(_)) => {
                        match found.text.heads().last().filter(|_| forgotten.contains(doc)) {
                            Some(head) => _ = out.blobs.insert(*doc, head.content.git),
                            None => out.unread = true,
                        }
                    }
                    Err(e) => return Err(e),
                },
            }
        }
        Ok(out)
    }

    /// What the last record of this device made of documents that it did not edit as they were, and nobody named.
    pub(crate) fn just_made(&mut self) -> Result<BTreeMap<DocId, GitId>, Error> {
        let device = self.replica.device;
        let Some((seq, ..)) = self.tip(&device)? else { return Ok(BTreeMap::new()) };
        let Some(n) = self.number(&Place { device, seq })? else { return Ok(BTreeMap::new()) };
        let docs: BTreeSet<DocId> = {
            let mut get = self
                .db
                .prepare_cached("SELECT DISTINCT doc FROM item WHERE record = ? AND base IS NOT NULL")?;
            let rows = get.query_map([n], |row| row.get::<_, Vec<u8>>(0))?;
            rows.map(|row| db::id(row?, DocId::from_slice)).collect::<Result<_, Error>>()?
        };
        let view = self.view.clone();
        // A name is of what is in the past of the record that says it.
        if docs.is_empty() || self.row(n)?.view != view {
            return Ok(BTreeMap::new());
        }
        Ok(self.unnamed(&docs, &view, &BTreeSet::new())?.blobs)
    }
}
