//! Entities that were made or changed: what workflows may start by.

use std::collections::BTreeMap;

use aios_core::frontier::View;
use aios_core::history::History;
use aios_core::id::{DocId, RecordId};
use rusqlite::{OptionalExtension, params};

use crate::db;
use crate::error::Error;
use crate::vault::Vault;

/// Where it is kept which records were looked at.
const LOOKED: &str = "entities";
/// The largest file that is looked into.
const MOST: i64 = 1 << 20;

/// A Markdown file that a record made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saw {
    /// The record.
    pub record: RecordId,
    /// The record's clock, ms since the Unix epoch.
    pub at: u64,
    /// The document.
    pub doc: DocId,
    /// Where it lies now.
    pub path: String,
    /// Whether the record made it.
    pub made: bool,
    /// What is in it now.
    pub text: String,
    /// The run that the record belongs to.
    pub run: Option<String>,
}

impl Vault {
    /// The records whose entities were looked at.
    ///
    /// # Errors
    /// What the database answers.
    pub fn looked(&self) -> Result<View, Error> {
        match db::meta(&self.db, LOOKED)? {
            Some(bytes) => db::read_view(&bytes),
            None => Ok(View::new()),
        }
    }

    /// Remembers that the entities of these records were looked at.
    ///
    /// # Errors
    /// What the database answers.
    pub fn set_looked(&self, view: &View) -> Result<(), Error> {
        db::set_meta(&self.db, LOOKED, &db::view_bytes(view))
    }

    /// Brings the documents up to the records that came, and says up to which they are.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn documented(&mut self) -> Result<View, Error> {
        if self.shown != self.view {
            self.transaction(|vault| vault.refresh(&mut |_, _, _| {}))?;
        }
        Ok(self.shown.clone())
    }

    /// The Markdown files that records in `view`, to which the documents are [brought](Vault::documented), made or changed that are not in
    /// `looked` and are later than `since`, where they are still there; in the total order.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn saw(&mut self, looked: &View, view: &View, since: u64) -> Result<Vec<Saw>, Error> {
        // By record and document: a record that makes a file and edits it made it.
        let mut found = BTreeMap::new();
        for last in view.iter().filter(|last| !looked.has(last)) {
            // The items of a transaction in several records are those of the record that ends it.
            let mut get = self.db.prepare_cached(
                "SELECT r.ms, r.count, r.device, r.seq, r.id, i.doc, MIN(i.act), r.n FROM record r JOIN item i ON i.record = r.n
                 WHERE r.device = ? AND r.seq > ? AND r.seq <= ? AND r.held = 0 AND r.ends IS NOT NULL AND r.ms > ? AND i.act IN (0, 1, 2)
                 GROUP BY r.n, i.doc",
            )?;
            let from = looked.get(&last.device) as i64;
            let mut rows = get.query(params![last.device.as_bytes(), from, last.seq as i64, since as i64])?;
            while let Some(row) = rows.next()? {
                let (ms, count): (i64, i64) = (row.get(0)?, row.get(1)?);
                let (device, seq): (Vec<u8>, i64) = (row.get(2)?, row.get(3)?);
                let record = db::id(row.get(4)?, RecordId::from_slice)?;
                let doc = db::id(row.get(5)?, DocId::from_slice)?;
                let made = row.get::<_, i64>(6)? == 0;
                found.insert((ms, count, device, seq, doc), (record, made, row.get::<_, i64>(7)?));
            }
        }
        let mut out = Vec::new();
        let mut runs: BTreeMap<i64, Option<String>> = BTreeMap::new();
        for ((ms, _, _, _, doc), (record, made, n)) in found {
            let path: Option<String> = self
                .db
                .prepare_cached("SELECT path FROM doc WHERE id = ? AND size <= ?")?
                .query_row(params![doc.as_bytes(), MOST], |row| row.get(0))
                .optional()?;
            let Some(path) = path.filter(|path| path.ends_with(".md")) else { continue };
            let touches = self.history().touches(&doc)?;
            let bytes = match self.bytes_in(&doc, &touches, view) {
                // A file whose bytes travel apart is no text that could say what it is.
                Err(Error::Apart(_)) | Ok(None) => continue,
                Ok(Some(bytes)) => bytes,
                Err(e) => return Err(e),
            };
            let Ok(text) = String::from_utf8(bytes.to_vec()) else { continue };
            let run = match runs.get(&n) {
                Some(run) => run.clone(),
                None => {
                    let row = self.row(n)?;
                    let run = self.log.record(&row.place.device, row.spot)?.body()?.run;
                    runs.entry(n).or_insert(run).clone()
                }
            };
            out.push(Saw { record, at: ms as u64, doc, path, made, text, run });
        }
        Ok(out)
    }
}
