//! Frontmatter that cannot be read: looked at where a text passes through anyway, remembered by content, told for as long as
//! a document has it.

use aios_core::id::ContentHash;
use aios_core::item::Kind;
use aios_core::markdown;
use rusqlite::{Connection, params};

use crate::error::Error;
use crate::survey::{Problem, Saved, Survey};
use crate::vault::Vault;

/// Made where it is not there yet: what a database lacks of it, it learns with the next change.
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS flaw(hash BLOB PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;";

/// Sees to it that the table is there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLE)?)
}

/// What is wrong with the frontmatter of a text.
fn why(path: &str, bytes: &[u8]) -> Option<String> {
    match crate::written::kind_of_bytes(path, bytes) {
        Kind::Md => markdown::front_problem(std::str::from_utf8(bytes).ok()?),
        _ => None,
    }
}

fn problem(path: &str, why: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        problem: format!("its frontmatter cannot be read: {why}"),
        hint: "it is kept as text, as it stands; mend the line and save".into(),
    }
}

/// What is wrong with the frontmatter of a saved Markdown file.
pub(crate) fn of(saved: &Saved) -> Option<Problem> {
    let path = &saved.found.path;
    Some(problem(path, &why(path, saved.bytes.as_deref()?)?))
}

impl Vault {
    /// Remembers what is wrong with the frontmatter of a content.
    pub(crate) fn note_flaw(&self, path: &str, hash: &ContentHash, bytes: &[u8]) -> Result<(), Error> {
        let Some(why) = why(path, bytes) else { return Ok(()) };
        let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO flaw VALUES(?, ?)")?;
        note.execute(params![hash.as_bytes(), why])?;
        Ok(())
    }

    /// Remembers what is wrong with what was saved; gives it.
    pub(crate) fn note_flaws(&self, survey: &Survey) -> Result<Vec<Problem>, Error> {
        let mut out = Vec::new();
        for saved in survey.saved() {
            if let Some(found) = of(saved) {
                self.note_flaw(&saved.found.path, &saved.hash, saved.bytes.as_deref().unwrap_or_default())?;
                out.push(found);
            }
        }
        Ok(out)
    }

    /// The documents whose frontmatter cannot be read.
    pub(crate) fn flaws(&self) -> Result<Vec<Problem>, Error> {
        // Without a flaw no document is gone through: this is asked at every `status`.
        if !self.db.prepare_cached("SELECT 1 FROM flaw")?.exists([])? {
            return Ok(Vec::new());
        }
        let mut get = self.db.prepare_cached(
            "SELECT d.path, f.why FROM doc d CROSS JOIN flaw f ON f.hash = d.hash ORDER BY d.path",
        )?;
        let mut rows = get.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(problem(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?));
        }
        Ok(out)
    }
}
