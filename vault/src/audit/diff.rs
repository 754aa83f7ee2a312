//! What differs: between two points of the trail, or between one and the files on disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use aios_core::frontier::View;
use aios_core::id::{ContentHash, DocId};
use aios_core::item::Mode;
use aios_core::namespace::{Namespace, affected};
use serde::Serialize;

use super::{Revision, Version};
use crate::disk::Kind;
use crate::error::Error;
use crate::git;
use crate::survey::Saved;
use crate::vault::{Progress, Vault, git_error};

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Its path, the new one if it has moved.
    pub path: String,
    /// Its path before; absent if it is new.
    pub from: Option<String>,
    /// `added`, `deleted`, `modified`, `renamed`, `mode`.
    pub change: String,
    /// The difference, as a unified diff; empty if only path or mode differ.
    pub patch: String,
}

/// A document before and after.
type Sides = (Option<Side>, Option<Side>);

/// One side of a comparison.
#[derive(Debug, Clone)]
struct Side {
    path: String,
    mode: Mode,
    hash: ContentHash,
    bytes: Option<Rc<Vec<u8>>>,
}

impl From<Version> for Side {
    fn from(version: Version) -> Self {
        let Version { path, mode, content, bytes, .. } = version;
        Side { path, mode, hash: content.hash, bytes }
    }
}

impl Vault {
    /// What one record changed, compared with what its author had before.
    pub fn diff_of(&mut self, revision: &Revision) -> Result<Vec<FileDiff>, Error> {
        match (revision.n, &revision.view) {
            (Some(n), Some(view)) => {
                let past = self.past(&self.row(n)?)?;
                let view = view.clone();
                self.diff_views(&past, &view)
            }
            _ => self.diff_trees(None, revision),
        }
    }

    /// What differs between two points.
    pub fn diff(&mut self, from: &Revision, to: &Revision) -> Result<Vec<FileDiff>, Error> {
        match (&from.view, &to.view) {
            (Some(a), Some(b)) => self.diff_views(a, b),
            _ => self.diff_trees(Some(from), to),
        }
    }

    fn diff_views(&mut self, a: &View, b: &View) -> Result<Vec<FileDiff>, Error> {
        let sides = self.sides(a, b)?;
        Ok(sides.into_values().filter_map(|(old, new)| file_diff(old.as_ref(), new.as_ref())).collect())
    }

    fn sides(&mut self, a: &View, b: &View) -> Result<BTreeMap<DocId, Sides>, Error> {
        let docs = {
            let history = self.history();
            let (mut touched, mut moved) = history.between(a, b)?;
            let (more, others) = history.between(b, a)?;
            touched.extend(more);
            moved.extend(others);
            let mut old = Namespace::new(&history, a.clone())?;
            let mut new = Namespace::new(&history, b.clone())?;
            affected(&mut old, &mut new, &touched, &moved)?
        };
        let mut out = BTreeMap::new();
        for doc in docs {
            let old = self.version(&doc, a)?.map(Side::from);
            let new = self.version(&doc, b)?.map(Side::from);
            out.insert(doc, (old, new));
        }
        Ok(out)
    }

    /// What differs between a point and the files on disk.
    pub fn diff_disk(&mut self, from: &Revision, progress: Progress<'_>) -> Result<Vec<FileDiff>, Error> {
        let Some(view) = &from.view else {
            return Err(Error::Usage(
                "a commit from before aios can only be compared with another revision".into(),
            ));
        };
        let mut sides = self.sides(view, &self.view.clone())?;
        let survey = self.survey(progress)?;
        let mut more = Vec::new();
        let modified = survey.modified.into_iter().map(|(row, saved)| (row, Some(side(saved))));
        let moved = survey.moved.into_iter().map(|moved| (moved.row, Some(side(moved.to))));
        let missing = survey.missing.into_iter().map(|row| (row, None));
        for (row, new) in modified.chain(moved).chain(missing) {
            match sides.get_mut(&row.doc) {
                Some(known) => known.1 = new,
                None => {
                    let old = self.version(&row.doc, view)?.map(Side::from);
                    sides.insert(row.doc, (old, new));
                }
            }
        }
        more.extend(survey.added.into_iter().filter_map(|saved| file_diff(None, Some(&side(saved)))));
        let mut out: Vec<FileDiff> = sides
            .into_values()
            .filter_map(|(old, new)| file_diff(old.as_ref(), new.as_ref()))
            .chain(more)
            .collect();
        out.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    /// What differs between the trees of two commits; from the first parent where `from` is absent.
    fn diff_trees(&self, from: Option<&Revision>, to: &Revision) -> Result<Vec<FileDiff>, Error> {
        let new = self.tree_of(to)?;
        let old = match from {
            Some(from) => Some(self.tree_of(from)?),
            None => {
                match to.commit.map(|commit| self.repo.find_commit(commit)).transpose().map_err(git_error)? {
                    Some(commit) if commit.parent_count() > 0 => {
                        Some(commit.parent(0).and_then(|parent| parent.tree()).map_err(git_error)?)
                    }
                    _ => None,
                }
            }
        };
        let mut diff = self.repo.diff_tree_to_tree(old.as_ref(), Some(&new), None).map_err(git_error)?;
        diff.find_similar(None).map_err(git_error)?;
        let mut out = Vec::new();
        for n in 0..diff.deltas().len() {
            let Some(delta) = diff.get_delta(n) else { continue };
            let side = |file: git2::DiffFile<'_>| -> Option<Side> {
                let (_, bytes) = git::read(&self.repo, file.id()).ok()?;
                let mode = match file.mode() {
                    git2::FileMode::BlobExecutable => Mode::Executable,
                    git2::FileMode::Link => Mode::Link,
                    _ => Mode::File,
                };
                let path = file.path()?.to_string_lossy().into_owned();
                Some(Side { path, mode, hash: ContentHash::of(&bytes), bytes: Some(Rc::new(bytes)) })
            };
            out.extend(file_diff(side(delta.old_file()).as_ref(), side(delta.new_file()).as_ref()));
        }
        Ok(out)
    }
}

fn side(saved: Saved) -> Side {
    let mode = match (saved.found.kind, saved.found.exec) {
        (Kind::Link, _) => Mode::Link,
        (_, true) => Mode::Executable,
        _ => Mode::File,
    };
    Side { path: saved.found.path, mode, hash: saved.hash, bytes: saved.bytes.map(Rc::new) }
}

fn file_diff(old: Option<&Side>, new: Option<&Side>) -> Option<FileDiff> {
    let same = match (old, new) {
        (Some(old), Some(new)) => old.hash == new.hash,
        _ => false,
    };
    let change = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => "added",
        (Some(_), None) => "deleted",
        (Some(old), Some(new)) if old.path != new.path => "renamed",
        (Some(_), Some(_)) if !same => "modified",
        (Some(old), Some(new)) if old.mode != new.mode => "mode",
        _ => return None,
    };
    let path = new.or(old)?.path.clone();
    let from = old.map(|side| side.path.clone());
    let patch = if same { String::new() } else { unified(old, new) };
    Some(FileDiff { path, from, change: change.to_owned(), patch })
}

/// What differs between two versions of a text, as a unified diff; one that is absent is no file.
pub fn text_diff(path: &str, old: Option<&str>, new: Option<&str>) -> String {
    let side = |text: &str| Side {
        path: path.to_owned(),
        mode: Mode::File,
        hash: ContentHash::of(text.as_bytes()),
        bytes: Some(Rc::new(text.as_bytes().to_vec())),
    };
    unified(old.map(side).as_ref(), new.map(side).as_ref())
}

/// A unified diff with its two header lines.
fn unified(old: Option<&Side>, new: Option<&Side>) -> String {
    let name = |side: Option<&Side>, prefix: &str| {
        side.map_or_else(|| "/dev/null".into(), |side| format!("{prefix}/{}", side.path))
    };
    let head = format!("--- {}\n+++ {}\n", name(old, "a"), name(new, "b"));
    let bytes = |side: Option<&Side>| match side {
        None => Some(Rc::new(Vec::new())),
        Some(side) => side.bytes.clone(),
    };
    let (Some(a), Some(b)) = (bytes(old), bytes(new)) else {
        return format!("{head}(the bytes are not on this device)\n");
    };
    let at = Path::new("file");
    let text = git2::Patch::from_buffers(&a, Some(at), &b, Some(at), None)
        .and_then(|mut patch| patch.to_buf())
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .unwrap_or_default();
    // git's own header names no renamed or missing side; what counts begins at the first hunk.
    match text.find("\n@@ ") {
        Some(start) => head + &text[start + 1..],
        None if a == b => head,
        None => format!("{head}(binary: {} bytes before, {} after)\n", a.len(), b.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, text: &str) -> Side {
        let bytes = text.as_bytes().to_vec();
        Side {
            path: path.into(),
            mode: Mode::File,
            hash: ContentHash::of(&bytes),
            bytes: Some(Rc::new(bytes)),
        }
    }

    #[test]
    fn unified_diffs() {
        let (a, b) = (text("a", "one\ntwo\n"), text("b", "one\nTWO\n"));
        let diff = file_diff(Some(&a), Some(&b)).unwrap();
        assert_eq!((diff.change.as_str(), diff.from.as_deref()), ("renamed", Some("a")));
        assert_eq!(diff.patch, "--- a/a\n+++ b/b\n@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n");
        assert!(
            file_diff(None, Some(&b)).unwrap().patch.starts_with("--- /dev/null\n+++ b/b\n@@ -0,0 +1,2 @@\n")
        );
        assert_eq!(file_diff(Some(&a), Some(&a)), None);
        assert_eq!(file_diff(None, Some(&text("e", ""))).unwrap().change, "added");
        let binary = file_diff(Some(&text("x", "a\0b")), Some(&text("x", "a\0c"))).unwrap();
        assert!(binary.patch.contains("binary: 3 bytes"), "{}", binary.patch);
    }
}
