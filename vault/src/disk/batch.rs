//! Many changes that are synced together.

use std::collections::BTreeSet;
use std::path::PathBuf;

use blake3::Hash;

use super::answer::{Answer, Expect, Moved, Removed, Source, WriteError};
use super::write::{Staged, Writer};
use super::{durable, temp};

/// Many changes, synced together: two syncs of the file system however many files there are.
///
/// Content put into a batch reaches its path in [`Batch::commit`]; a batch that is dropped changes nothing.
#[must_use = "nothing is put before `commit`"]
pub struct Batch<'a> {
    writer: &'a Writer,
    pub(super) staged: Vec<Staged>,
    /// Whether names were changed that are not synced yet.
    changed: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(writer: &'a Writer) -> Self {
        Batch { writer, staged: Vec::new(), changed: false }
    }

    /// Adds a put; see [`Writer::put`]. Only `.aios/tmp` changes yet.
    ///
    /// # Errors
    /// [`WriteError`]: it is not in the batch.
    pub fn put(
        &mut self,
        path: &str,
        source: Source<'_>,
        exec: bool,
        expect: Expect,
    ) -> Result<(), WriteError> {
        let mut staged = self.writer.stage(path, source, exec, expect)?;
        staged.file = None;
        self.staged.push(staged);
        Ok(())
    }

    /// Removes a file at once; durable after [`Batch::commit`]. See [`Writer::remove`].
    ///
    /// # Errors
    /// As [`Writer::remove`].
    pub fn remove(&mut self, path: &str, expect: Hash) -> Result<Removed, WriteError> {
        self.changed = true;
        self.writer.take_away(path, expect)
    }

    /// Renames at once; durable after [`Batch::commit`]. See [`Writer::rename`].
    ///
    /// # Errors
    /// As [`Writer::rename`].
    pub fn rename(&mut self, from: &str, to: &str) -> Result<Moved, WriteError> {
        self.changed = true;
        self.writer.move_to(from, to)
    }

    /// Puts everything in place, durably. One answer per put, in their order.
    ///
    /// # Errors
    /// If the file system cannot be synced: then no put of this batch may be taken for done.
    pub fn commit(mut self) -> Result<Vec<Answer>, WriteError> {
        let writer = self.writer;
        let tmp = writer.tmp.path();
        if !self.staged.is_empty() {
            let names: Vec<PathBuf> = self.staged.iter().map(|s| tmp.join(temp::staged(&s.nonce))).collect();
            // Content first: a name must never lead to bytes that a power cut can still take.
            durable::sync_filesystem(tmp, names.iter().map(PathBuf::as_path))?;
        }
        let staged = std::mem::take(&mut self.staged);
        let landed: Vec<_> = staged.iter().map(|staged| writer.land(staged)).collect();
        if !staged.is_empty() || self.changed {
            let mut paths = BTreeSet::new();
            if !cfg!(target_os = "linux") {
                paths.extend(staged.iter().map(|staged| writer.root.path().join(&staged.path)));
            }
            durable::sync_filesystem(tmp, paths.iter().map(PathBuf::as_path))?;
        }
        let mut answers = Vec::with_capacity(staged.len());
        for (staged, landed) in staged.into_iter().zip(landed) {
            let answer = landed.inspect(|landed| writer.finish(landed)).map(|landed| landed.put);
            answers.push((staged.path, answer));
        }
        Ok(answers)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for staged in &self.staged {
            self.writer.drop_temp(&temp::staged(&staged.nonce));
        }
    }
}
