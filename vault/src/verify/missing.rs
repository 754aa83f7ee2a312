//! Which bytes that the log names are not here: git, and whoever asks for that version, goes without them until they come.

use aios_core::id::{DeviceId, DocId};
use git2::Oid;
use rusqlite::OptionalExtension;

use super::Report;
use crate::apart::Named;
use crate::db;
use crate::error::Error;
use crate::project::oid;
use crate::unexplained::GONE;
use crate::vault::Vault;

const SYNC: &str = "`aios sync` brings them from a device that has them";

impl Vault {
    pub(super) fn check_missing(&self, report: &mut Report) -> Result<(), Error> {
        let odb = self.repo.odb().map_err(crate::vault::git_error)?;
        for named in self.apart_wanted()? {
            let id = oid(&named.git())?;
            match named {
                Named::Blob(content) => {
                    let plain = self.inside(&content)?.first().copied().unwrap_or(content);
                    self.missing_blob(oid(&plain.git)?, report)?;
                }
                // One that is here and not named is told with the refs.
                Named::History(_) if odb.exists(id) => {}
                Named::History(_) => {
                    report.tell(
                        "I8",
                        format!("commit {id}"),
                        format!("it and its past are not here: {SYNC}"),
                    );
                }
            }
        }
        Ok(())
    }

    /// Texts that are not with their records: forgotten, which is told, or lost. A word that counts for nothing explains what counts for
    /// nothing, too: who gave it had done as it says.
    pub(super) fn check_forgotten(&self, report: &mut Report) -> Result<(), Error> {
        report.forgotten = self.forgotten()?;
        let mut get = self.db.prepare(&format!(
            "SELECT p.device, p.seq, i.doc FROM item i JOIN record p ON p.n = i.part WHERE {GONE}
             AND NOT (p.held = 1 AND EXISTS(SELECT 1 FROM item f WHERE f.doc = i.doc AND f.act = 6)) ORDER BY i.part, i.idx"
        ))?;
        let mut rows = get.query([])?;
        while let Some(row) = rows.next()? {
            let doc = db::id(row.get(2)?, DocId::from_slice)?;
            if !report.forgotten.iter().any(|forgotten| forgotten.doc == doc) {
                let device = db::id(row.get(0)?, DeviceId::from_slice)?;
                let at = format!("record {device}:{}", row.get::<_, i64>(1)?);
                let path = self.as_forgettable(doc, "")?.path;
                let what = format!(
                    "the text it saved ({path}) is not with it, and no word that counts says that it is forgotten: `aios sync` brings one or \
                     the other; where nobody has either, `aios forget --unexplained` goes on without"
                );
                report.tell("I2", at, what);
            }
        }
        Ok(())
    }

    fn missing_blob(&self, id: Oid, report: &mut Report) -> Result<(), Error> {
        let path_in = |query: &str| -> Result<Option<String>, Error> {
            Ok(self.db.prepare_cached(query)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
        };
        let shown = path_in("SELECT path FROM doc WHERE git = ? ORDER BY path LIMIT 1")?;
        let at = format!("git blob {id} ({})", shown.as_deref().unwrap_or("a version that is not shown"));
        match path_in("SELECT path FROM file WHERE git = ? AND link = 0 ORDER BY path LIMIT 1")? {
            Some(file) => {
                let what = format!(
                    "git lacks its bytes: `aios rebuild` puts them back from the working file {file}"
                );
                report.find("I8", at, what);
            }
            None => report.tell("I8", at, format!("its bytes are not here: {SYNC}")),
        }
        Ok(())
    }
}
