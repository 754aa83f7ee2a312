//! Texts that records name and no record here has: others had them forgotten, and the word that says so may be to come.

use aios_core::id::{DocId, GitId};
use aios_core::item::Kind;
use rusqlite::params;

use crate::db;
use crate::error::Error;
use crate::forget::Forgettable;
use crate::index::kind_number;
use crate::vault::Vault;

/// Whether an item `i` saved a text that is not with its record.
pub(crate) const GONE: &str = "i.payload IS NULL AND (i.act = 1 OR i.act IN (0, 2) AND i.kind <> 3)";

impl Vault {
    /// The documents that count and have such a text, which no word that counts explains, each where it lies or claimed to lie last. They
    /// wait for the word; where who gave it was taken out since, it never comes, and [`Vault::forget`] of all of them goes on.
    ///
    /// # Errors
    /// What the database answers.
    pub fn unexplained(&self) -> Result<Vec<Forgettable>, Error> {
        let docs: Vec<Vec<u8>> = {
            let mut get = self.db.prepare_cached(&format!(
                "SELECT DISTINCT i.doc FROM item i JOIN record r ON r.n = i.record JOIN record p ON p.n = i.part
                 WHERE r.held = 0 AND p.held = 0 AND {GONE}
                 AND NOT EXISTS(SELECT 1 FROM item f JOIN record w ON w.n = f.record
                                WHERE f.doc = i.doc AND f.act = 6 AND w.held = 0)"
            ))?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut out = Vec::with_capacity(docs.len());
        for doc in docs {
            let doc = db::id(doc, DocId::from_slice)?;
            out.push(self.as_forgettable(doc, "")?);
        }
        out.sort_by(|a, b| (&a.path, a.doc).cmp(&(&b.path, b.doc)));
        Ok(out)
    }

    /// Whether a document has such a text: what two make of it at once nobody here can name.
    pub(crate) fn lacks_text(&self, doc: &DocId) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM item WHERE doc = ? AND git IS NOT NULL AND payload IS NULL AND coalesce(kind, 0) <> ?)",
        )?;
        Ok(get.query_row(params![doc.as_bytes(), kind_number(Kind::Blob)], |row| row.get(0))?)
    }

    /// Whether such a text has this blob. Goes through all items.
    pub(crate) fn is_unexplained(&self, git: &GitId) -> Result<bool, Error> {
        let mut get =
            self.db.prepare_cached("SELECT EXISTS(SELECT 1 FROM item WHERE git = ? AND payload IS NULL)")?;
        Ok(get.query_row([git.as_bytes()], |row| row.get(0))?)
    }
}
