//! The version a save was made from (I6): what a person may have had in front of them, and what the saved text tells of it.

use aios_core::id::{ContentHash, DocId};
use aios_core::item::Content;
use aios_core::patch;
use aios_core::planted::{Bug, planted};
use aios_core::stale::{Sight, beside, overlooks, sight};
use git2::Oid;

use crate::chance::now_ms;
use crate::error::Error;
use crate::file::{By, FileRow, Shown};
use crate::vault::{Vault, git_error};

/// For so long an editor may show what was there before a version was written, ms.
const UNSEEN: u64 = 60 * 60 * 1000;

/// What a save was written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Git wrote it, over the newest.
    Git,
    /// A file of which this was last known.
    File(ContentHash),
    /// A file that is not there any more.
    Unknown,
}

impl Vault {
    /// What bytes that git has too, staged or just committed, were written over: a file, unless git itself may have put back there what
    /// was there before. What is new was saved by somebody, who may not have seen what came.
    pub(crate) fn over(&self, row: &FileRow, path: &str, blob: Oid) -> Result<Over, Error> {
        // Where nobody can have an older version before them it makes no difference.
        let by_git = self.shown_to_user(&row.doc)?.len() > 1 && self.was_committed(&row.doc, path, blob)?;
        Ok(if by_git { Over::Git } else { Over::File(row.hash) })
    }

    /// Whether a commit around one that changed a document has these bytes at a path. The cost is that of the document's history.
    fn was_committed(&self, doc: &DocId, path: &str, blob: Oid) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT DISTINCT record.git FROM item JOIN record ON record.n = item.record
             WHERE item.doc = ? AND record.git IS NOT NULL ORDER BY record.n DESC",
        )?;
        let mut rows = get.query([doc.as_bytes()])?;
        let path = std::path::Path::new(path);
        while let Some(row) = rows.next()? {
            let id: Vec<u8> = row.get(0)?;
            let commit = Oid::from_bytes(&id).and_then(|id| self.repo.find_commit(id)).map_err(git_error)?;
            for near in std::iter::once(commit.clone()).chain(commit.parents()) {
                let tree = near.tree().map_err(git_error)?;
                if tree.get_path(path).is_ok_and(|entry| entry.id() == blob) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The version a save was made from: the newest, or the nearest of those older ones which the save tells its writer had in front of
    /// them (I6).
    pub(crate) fn base_of(
        &mut self,
        doc: &DocId,
        content: &Content,
        bytes: Option<&[u8]>,
        over: Over,
    ) -> Result<Option<Shown>, Error> {
        let mut shown = self.shown_to_user(doc)?;
        // Where a document has two files, nothing newer than what was written to this one was in it, and nothing older than what was saved.
        if let Over::File(stood) = over
            && let Some(at) = shown.iter().rposition(|shown| shown.hash == stood)
        {
            if at + 1 < shown.len() && self.files_of(doc)?.len() > 1 {
                shown.truncate(at + 1);
            }
            if shown[at].by != By::Aios {
                shown.drain(..at);
            }
        }
        let Some(newest) = shown.pop() else { return Ok(None) };
        let insisting = shown.iter().any(|old| old.by == By::Insisting && old.hash == content.hash);
        if over == Over::Git || insisting || shown.is_empty() || planted(Bug::BaseForgotten) {
            return Ok(Some(newest));
        }
        let Some(text) = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return Ok(Some(newest));
        };
        let mut texts: Vec<(Shown, String)> = Vec::with_capacity(shown.len() + 1);
        for candidate in std::iter::once(newest.clone()).chain(shown.into_iter().rev()) {
            let bytes = self.bytes_of_shown(doc, &candidate)?;
            if let Some(old) = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()) {
                texts.push((candidate, old));
            }
        }
        let Some((_, now)) = texts.first().filter(|(first, _)| *first == newest) else {
            return Ok(Some(newest));
        };
        let distance = |old: &str| patch::diff(old, text).distance();
        let (recent, far) = (now_ms().saturating_sub(newest.at) < UNSEEN, distance(now));
        let mut best: Option<(usize, &Shown)> = None;
        // Of equally near ones the newest, which comes first.
        for (older, old) in texts.iter().skip(1) {
            let near = distance(old);
            let made_from = match sight(old, now, text) {
                Sight::Seen => false,
                Sight::Unseen => true,
                Sight::Hinted => recent && overlooks(old, now, text),
                Sight::Unclear => (recent || near < far) && beside(old, now, text),
            };
            if made_from && best.is_none_or(|(least, _)| near < least) {
                best = Some((near, older));
            }
        }
        Ok(Some(best.map_or(newest, |(_, older)| older.clone())))
    }
}
