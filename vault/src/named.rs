//! Blobs that bodies name for what several edited at once: with them every commit follows from bodies alone, on a device that never
//! had the text too (I1). See `docs/formats.md`, Body.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::fold::{Head, Text, fold};
use aios_core::frontier::{Place, View};
use aios_core::history::{History, Touch};
use aios_core::id::{DeviceId, DocId, GitId};
use rusqlite::{Connection, params};

use crate::db;
use crate::error::Error;
use crate::text::without;
use crate::vault::Vault;

/// `named`: what bodies name. `unnamed`: documents that are shown merged, at heads that no body may have named.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS named(doc BLOB NOT NULL, n INTEGER NOT NULL, git BLOB NOT NULL, PRIMARY KEY(doc, n)) WITHOUT ROWID;
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

fn key(heads: &[Head]) -> BTreeSet<(Place, u32)> {
    heads.iter().map(|head| (head.place, head.index)).collect()
}

impl Vault {
    /// Keeps what the body of record `n` names.
    pub(crate) fn note_named(&self, n: i64, merged: &BTreeMap<DocId, GitId>) -> Result<(), Error> {
        for (doc, git) in merged {
            let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO named VALUES(?, ?, ?)")?;
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

    /// The blob that some body names for a document at these heads.
    pub(crate) fn named(
        &self,
        doc: &DocId,
        touches: &[Touch],
        heads: &[Head],
    ) -> Result<Option<GitId>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT m.git, r.view, r.device, r.seq FROM named m JOIN record r ON r.n = m.n AND r.held = 0
             WHERE m.doc = ? ORDER BY r.ms, r.count, r.device, r.seq",
        )?;
        let mut rows = get.query([doc.as_bytes()])?;
        while let Some(row) = rows.next()? {
            let place = Place {
                device: db::id(row.get(2)?, DeviceId::from_slice)?,
                seq: row.get::<_, i64>(3)? as u64,
            };
            let past = without(&db::read_view(&row.get::<_, Vec<u8>>(1)?)?, &place);
            if fold(touches, &[], &past).is_some_and(|there| key(there.text.heads()) == key(heads)) {
                return db::id(row.get(0)?, GitId::from_slice).map(Some);
            }
        }
        Ok(None)
    }

    /// What a record is to name whose past is `past`, which covers what is shown: the blob of each document that is merged there, at
    /// heads that nobody named.
    pub(crate) fn still_unnamed(&mut self, past: &View) -> Result<BTreeMap<DocId, GitId>, Error> {
        let mut docs: BTreeSet<DocId> = {
            let mut get = self.db.prepare_cached("SELECT doc FROM unnamed")?;
            let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            rows.map(|row| db::id(row?, DocId::from_slice)).collect::<Result<_, Error>>()?
        };
        let any = !docs.is_empty();
        // What is integrated and not shown yet is in the past of the next record, too.
        if self.shown != *past {
            docs.extend(self.history().between(&self.shown, past)?.0);
        }
        let out = self.unnamed(&docs, past)?;
        if any {
            self.db.execute("DELETE FROM unnamed", [])?;
        }
        Ok(out)
    }

    /// What of these documents `view` has merged at heads that nobody named.
    fn unnamed(&mut self, docs: &BTreeSet<DocId>, view: &View) -> Result<BTreeMap<DocId, GitId>, Error> {
        let shown = self.shown == *view;
        let mut out = BTreeMap::new();
        for doc in docs {
            let touches = self.history().touches(doc)?;
            let Some(found) = fold(&touches, &[], view).filter(|found| is_made(&found.text)) else {
                continue;
            };
            if self.named(doc, &touches, found.text.heads())?.is_some() {
                continue;
            }
            match shown.then(|| self.placement(doc)).transpose()?.flatten() {
                Some(placement) => _ = out.insert(*doc, placement.content.git),
                None => match self.read_text(doc, &touches, view, &found.text) {
                    Ok(reading) => _ = out.insert(*doc, reading.content.git),
                    // Who lacks the text cannot tell what it reads as.
                    Err(Error::Apart(_)) => {}
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
        self.unnamed(&docs, &view)
    }
}
