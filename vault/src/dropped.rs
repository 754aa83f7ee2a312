//! Blobs that only forgotten documents have: git does not have them, or is not to. What is known of it is kept, and each look goes through
//! what came since, not through all that was ever saved (I13).

use std::collections::{BTreeSet, HashSet};

use aios_core::id::GitId;
use git2::Oid;
use rusqlite::{Connection, params_from_iter};

use crate::db;
use crate::error::Error;
use crate::forget::Word;
use crate::vault::{Vault, git_error};

/// `dropped`: those blobs, as of `UPTO`.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS dropped(git BLOB PRIMARY KEY) WITHOUT ROWID;";
/// So many new versions of what was forgotten are looked for one by one.
const FEW: usize = 8;
/// For which words, and up to which record.
const UPTO: &str = "dropped upto";

/// Sees to it that the table is there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLES)?)
}

/// Git ids that documents have.
struct Blobs {
    /// Those that were forgotten.
    mine: BTreeSet<Vec<u8>>,
    /// All others.
    others: HashSet<Vec<u8>>,
}

impl Vault {
    /// Every blob of forgotten documents that no other document holds.
    pub(crate) fn forgotten_blobs(&self) -> Result<BTreeSet<Oid>, Error> {
        let words = self.words()?;
        if words.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.follow_dropped(&words)?;
        let mut get = self.db.prepare_cached("SELECT git FROM dropped")?;
        let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| Oid::from_bytes(&row?).map_err(git_error)).collect()
    }

    /// Brings the table up to what is in the log: wholly or not at all.
    fn follow_dropped(&self, words: &[Word]) -> Result<(), Error> {
        self.db.execute_batch("SAVEPOINT dropped")?;
        let done = self.follow_dropped_by(words);
        self.db.execute_batch(if done.is_ok() {
            "RELEASE dropped"
        } else {
            "ROLLBACK TO dropped; RELEASE dropped"
        })?;
        done
    }

    fn follow_dropped_by(&self, words: &[Word]) -> Result<(), Error> {
        let docs: BTreeSet<Vec<u8>> = words.iter().map(|word| word.doc.as_bytes().to_vec()).collect();
        let mut key = blake3::Hasher::new();
        docs.iter().for_each(|doc| _ = key.update(doc));
        self.leaving()?.iter().for_each(|id| _ = key.update(id.as_bytes()));
        let key = key.finalize();
        let last: i64 = self.db.query_row("SELECT coalesce(max(n), 0) FROM record", [], |row| row.get(0))?;
        let now = [key.as_bytes().as_slice(), &last.to_le_bytes()].concat();
        let known = db::meta(&self.db, UPTO)?.unwrap_or_default();
        if known == now {
            return Ok(());
        }
        let since = known.strip_prefix(key.as_bytes()).and_then(|bytes| bytes.try_into().ok());
        let since = since.map(i64::from_le_bytes);
        let mut since = since.filter(|since| *since <= last);
        let Blobs { mut mine, mut others } = self.blobs_since(&docs, since)?;
        // Looking for each of many goes through all items each time: once is enough.
        if since.is_some() && mine.len() > FEW {
            since = None;
            Blobs { mine, others } = self.blobs_since(&docs, None)?;
        }
        match since {
            None => {
                self.db.execute("DELETE FROM dropped", [])?;
                mine.extend(self.leaving()?.iter().map(|id| id.as_bytes().to_vec()));
            }
            Some(_) => {
                for git in &others {
                    self.db.prepare_cached("DELETE FROM dropped WHERE git = ?")?.execute([git])?;
                }
                for git in &mine {
                    if self.is_held_elsewhere(&docs, git)? {
                        others.insert(git.clone());
                    }
                }
            }
        }
        // Nothing is told by no bytes, and many have them.
        others.insert(GitId::blob(b"").as_bytes().to_vec());
        for git in mine.difference(&others.into_iter().collect()) {
            self.db.prepare_cached("INSERT OR IGNORE INTO dropped VALUES(?)")?.execute([git])?;
        }
        db::set_meta(&self.db, UPTO, &now)
    }

    /// The blobs that these documents have, and all others, by records after the `since`th or as they are shown.
    fn blobs_since(&self, docs: &BTreeSet<Vec<u8>>, since: Option<i64>) -> Result<Blobs, Error> {
        let mut out = Blobs { mine: BTreeSet::new(), others: HashSet::new() };
        let shown = match since {
            None => "SELECT id, git FROM doc",
            // What is shown and not named is in no record yet.
            Some(_) => "SELECT d.id, d.git FROM unnamed u JOIN doc d ON d.id = u.doc",
        };
        let since = [since.unwrap_or(0)];
        let queries: [(&str, &[i64]); 3] = [
            ("SELECT doc, git FROM item WHERE record > ? AND git IS NOT NULL", &since),
            ("SELECT doc, git FROM named WHERE n > ?", &since),
            (shown, &[]),
        ];
        for (sql, values) in queries {
            let mut get = self.db.prepare_cached(sql)?;
            let mut rows = get.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                let (doc, git): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                match docs.contains(&doc) {
                    // Versions saved later hold the text that they were made from.
                    true => _ = out.mine.insert(git),
                    false => _ = out.others.insert(git),
                }
            }
        }
        Ok(out)
    }

    /// Whether a document that is not forgotten has a blob. Goes through all items.
    fn is_held_elsewhere(&self, docs: &BTreeSet<Vec<u8>>, git: &[u8]) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT doc FROM item WHERE git = ?1 UNION SELECT doc FROM named WHERE git = ?1
             UNION SELECT id FROM doc WHERE git = ?1",
        )?;
        let rows = get.query_map([git], |row| row.get::<_, Vec<u8>>(0))?;
        let found: Vec<Vec<u8>> = rows.collect::<Result<_, _>>()?;
        Ok(found.iter().any(|doc| !docs.contains(doc)))
    }
}
