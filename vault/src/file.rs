//! What aios remembers of the working files: what stands at each path, and which versions of a document its
//! user may have in front of them (I6).

use aios_core::frontier::View;
use aios_core::id::{ContentHash, DocId, GitId};
use rusqlite::{OptionalExtension, Row, params};

use crate::chance::{now_ms, now_ns};
use crate::db;
use crate::disk::{Found, Kind};
use crate::error::Error;
use crate::vault::Vault;

/// A working file as last known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub path: String,
    pub doc: DocId,
    pub hash: ContentHash,
    pub git: GitId,
    pub found: Found,
    /// When it was looked at, ns: a file stamped about then must be read again.
    pub seen_ns: i64,
}

impl FileRow {
    /// Whether the file is its document as it stands, with nothing that came in since and is not on disk yet.
    pub fn shows(&self, placement: &crate::show::Placement) -> bool {
        let exec = placement.mode == aios_core::item::Mode::Executable;
        let link = placement.kind == aios_core::item::Kind::Link;
        let same_mode = link == (self.found.kind == Kind::Link) && (link || self.found.exec == exec);
        self.hash == placement.content.hash && self.path == placement.path && same_mode
    }

    /// Whether what was found at its path is surely unchanged.
    pub fn unchanged(&self, found: &Found) -> bool {
        self.found.same(found) && !found.racy(self.seen_ns)
    }
}

/// How long a version that was written may be taken for what the user has in front of them although two newer ones were, ms.
const MOMENT: u64 = 5_000;
/// At most so many are.
const MOST_SHOWN: i64 = 16;

/// How a version came to be in front of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// aios wrote it.
    Aios = 0,
    /// The user saved it.
    User = 1,
    /// The user saved it from an older version: saved once more, they insist.
    Insisting = 2,
}

/// A version of a document that its user may have in front of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub hash: ContentHash,
    pub git: GitId,
    pub view: View,
    pub by: By,
    /// When, ms since the Unix epoch.
    pub at: u64,
}

const COLUMNS: &str = "path, doc, link, exec, hash, git, size, mtime, ctime, ino, dev, seen";

fn file_row(row: &Row<'_>) -> Result<FileRow, Error> {
    let path: String = row.get(0)?;
    Ok(FileRow {
        doc: db::id(row.get(1)?, DocId::from_slice)?,
        hash: db::id(row.get(4)?, ContentHash::from_slice)?,
        git: db::id(row.get(5)?, GitId::from_slice)?,
        found: Found {
            path: path.clone(),
            kind: if row.get(2)? { Kind::Link } else { Kind::File },
            exec: row.get(3)?,
            size: row.get::<_, i64>(6)? as u64,
            mtime_ns: row.get(7)?,
            ctime_ns: row.get(8)?,
            ino: row.get::<_, i64>(9)? as u64,
            dev: row.get::<_, i64>(10)? as u64,
            nlink: 1,
        },
        seen_ns: row.get(11)?,
        path,
    })
}

impl Vault {
    /// Every working file, in order of path.
    pub(crate) fn files(&self) -> Result<Vec<FileRow>, Error> {
        let mut get = self.db.prepare_cached(&format!("SELECT {COLUMNS} FROM file ORDER BY path"))?;
        let mut rows = get.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(file_row(row)?);
        }
        Ok(out)
    }

    /// The working file at a path.
    pub(crate) fn file(&self, path: &str) -> Result<Option<FileRow>, Error> {
        let mut get = self.db.prepare_cached(&format!("SELECT {COLUMNS} FROM file WHERE path = ?"))?;
        let mut rows = get.query([path])?;
        rows.next()?.map(file_row).transpose()
    }

    /// The working files of a document: one, or none; two, where a write was cut short as it moved.
    pub(crate) fn files_of(&self, doc: &DocId) -> Result<Vec<FileRow>, Error> {
        let mut get = self.db.prepare_cached(&format!("SELECT {COLUMNS} FROM file WHERE doc = ?"))?;
        let mut rows = get.query([doc.as_bytes()])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(file_row(row)?);
        }
        Ok(out)
    }

    /// Notes what stands at a path.
    pub(crate) fn set_file(
        &self,
        doc: &DocId,
        found: &Found,
        hash: &ContentHash,
        git: &GitId,
    ) -> Result<(), Error> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO file VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![
                found.path,
                doc.as_bytes(),
                found.kind == Kind::Link,
                found.exec,
                hash.as_bytes(),
                git.as_bytes(),
                found.size as i64,
                found.mtime_ns,
                found.ctime_ns,
                found.ino as i64,
                found.dev as i64,
                now_ns()
            ])?;
        Ok(())
    }

    /// Notes that nothing of ours stands at a path.
    pub(crate) fn drop_file(&self, path: &str) -> Result<(), Error> {
        self.db.prepare_cached("DELETE FROM file WHERE path = ?")?.execute([path])?;
        Ok(())
    }

    /// The versions of a document its user may have in front of them, oldest first.
    pub(crate) fn shown_to_user(&self, doc: &DocId) -> Result<Vec<Shown>, Error> {
        let mut get =
            self.db.prepare_cached("SELECT hash, git, view, by, at FROM shown WHERE doc = ? ORDER BY n")?;
        let mut rows = get.query([doc.as_bytes()])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(Shown {
                hash: db::id(row.get(0)?, ContentHash::from_slice)?,
                git: db::id(row.get(1)?, GitId::from_slice)?,
                view: db::read_view(&row.get::<_, Vec<u8>>(2)?)?,
                by: match row.get::<_, i64>(3)? {
                    0 => By::Aios,
                    1 => By::User,
                    _ => By::Insisting,
                },
                at: row.get::<_, i64>(4)? as u64,
            });
        }
        Ok(out)
    }

    /// The user saved a version: nothing older is in front of them, but for what stands in another file of the document.
    pub(crate) fn user_saved(
        &self,
        doc: &DocId,
        hash: &ContentHash,
        git: &GitId,
        view: &View,
        by: By,
    ) -> Result<(), Error> {
        self.db
            .prepare_cached(
                "DELETE FROM shown WHERE doc = ?1 AND
                 ((SELECT count(*) FROM file WHERE doc = ?1) < 2 OR hash NOT IN (SELECT hash FROM file WHERE doc = ?1))",
            )?
            .execute([doc.as_bytes()])?;
        self.push_shown(doc, hash, git, view, by)
    }

    /// aios wrote a version: the user may still have the last one they saved, or one of the last two written; or, where others
    /// write as they do, one that was there a moment ago when they read it; or what stands in another file of the document.
    pub(crate) fn aios_wrote(
        &self,
        doc: &DocId,
        hash: &ContentHash,
        git: &GitId,
        view: &View,
    ) -> Result<(), Error> {
        self.push_shown(doc, hash, git, view, By::Aios)?;
        self.db
            .prepare_cached(
                "DELETE FROM shown WHERE doc = ?1 AND by = 0 AND hash NOT IN (SELECT hash FROM file WHERE doc = ?1)
                 AND n NOT IN (SELECT n FROM shown WHERE doc = ?1 AND by = 0 ORDER BY n DESC LIMIT 2)
                 AND (at < ?2 OR n NOT IN (SELECT n FROM shown WHERE doc = ?1 AND by = 0 ORDER BY n DESC LIMIT ?3))",
            )?
            .execute(params![doc.as_bytes(), now_ms().saturating_sub(MOMENT) as i64, MOST_SHOWN])?;
        Ok(())
    }

    fn push_shown(
        &self,
        doc: &DocId,
        hash: &ContentHash,
        git: &GitId,
        view: &View,
        by: By,
    ) -> Result<(), Error> {
        let last: Option<i64> = self
            .db
            .prepare_cached("SELECT max(n) FROM shown WHERE doc = ?")?
            .query_row([doc.as_bytes()], |row| row.get(0))
            .optional()?
            .flatten();
        self.db.prepare_cached("INSERT INTO shown VALUES(?, ?, ?, ?, ?, ?, ?)")?.execute(params![
            doc.as_bytes(),
            last.unwrap_or(0) + 1,
            hash.as_bytes(),
            git.as_bytes(),
            db::view_bytes(view),
            by as i64,
            now_ms() as i64
        ])?;
        Ok(())
    }
}
