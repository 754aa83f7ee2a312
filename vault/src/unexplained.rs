//! Texts that records name and no record here has: others had them forgotten, and the word that says so may be to come.

use aios_core::id::{DocId, GitId};
use aios_core::item::Kind;
use rusqlite::params;

use crate::error::Error;
use crate::index::kind_number;
use crate::vault::Vault;

impl Vault {
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
