//! Putting content at a path without ever losing what stands there (I2).
//!
//! New content is written to `.aios/tmp`, synced, and *exchanged* with the old file, so that a reader sees the
//! old or the new and never nothing. What was displaced is then hashed: if it is not what the caller expected,
//! somebody saved in between, and it is handed back to be absorbed instead of being removed. A program that
//! still has the old file open may write to it even later; a lingering [`Writer`] keeps displaced files
//! until [`Writer::leftovers`] looks at them again.
//!
//! Of the old file only the mode is kept: owner, times, attributes and further hard links are not.

use aios_core::planted::{Bug, planted};

use super::answer::{Displaced, Expect, Moved, Put, Removed, Source, WriteError};
use super::batch::Batch;
use super::lease;
use super::read::{copy, read_in, replaced};
use super::temp::{self, Leftover};
use super::{DiskError, Folder, FolderError, Found, Read, ReadError, durable, fault, folder};
use blake3::Hash;
use rustix::fs::{FileType, Stat};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How long whoever writes into a file that was taken away is waited for.
const WRITERS: std::time::Duration = std::time::Duration::from_secs(2);

/// Puts files into one vault. The caller holds the vault's lock.
#[derive(Debug)]
pub struct Writer {
    pub(super) root: Folder,
    pub(super) tmp: Folder,
    linger: bool,
}

/// Content written to `.aios/tmp` and not yet at its path.
pub(super) struct Staged {
    pub path: String,
    pub nonce: String,
    hash: Hash,
    expect: Expect,
    /// The new file, as it was when written.
    found: Option<Found>,
    pub file: Option<File>,
}

/// Content at its path, with what is left to do.
pub(super) struct Landed {
    pub put: Put,
    /// The temporary file to remove once names are durable.
    spent: Option<String>,
    /// Whether folders were made for it.
    made: bool,
}

impl Writer {
    /// Opens the vault at `root`, making `.aios/tmp` if need be.
    ///
    /// # Errors
    /// If the root cannot be opened, or `.aios` is not a folder.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let root = Folder::open(root)?;
        let tmp = root.make(".aios/tmp")?;
        Ok(Self { root, tmp, linger: false })
    }

    /// Whether displaced files of the expected content stay in `.aios/tmp`, so that what a program with such a
    /// file open writes to it late is found by [`Writer::leftovers`]. Off at first.
    #[must_use]
    pub fn lingering(mut self, linger: bool) -> Self {
        self.linger = linger;
        self
    }

    /// The root of the vault.
    pub fn root(&self) -> &Folder {
        &self.root
    }

    /// Puts `source` at `path`, durably; executable if `exec`. Makes the folders above.
    ///
    /// # Errors
    /// [`WriteError`]: nothing at `path` has changed, or (a failing disk) it cannot be told.
    pub fn put(&self, path: &str, source: Source<'_>, exec: bool, expect: Expect) -> Result<Put, WriteError> {
        let mut staged = self.stage(path, source, exec, expect)?;
        if let Some(file) = staged.file.take()
            && let Err(e) = durable::sync_file(&file)
        {
            self.drop_temp(&temp::staged(&staged.nonce));
            return Err(DiskError::new("sync the new content of", path, e).into());
        }
        let landed = self.land(&staged)?;
        if matches!(landed.put, Put::Done { .. } | Put::Displaced { .. }) {
            self.sync_above(path, landed.made)?;
            self.tmp.sync()?;
        }
        self.finish(&landed);
        Ok(landed.put)
    }

    /// Begins to put many files, synced together.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Removes the file or link at `path`, durably, and the folders above that become empty.
    ///
    /// # Errors
    /// [`WriteError`]: what stood at `path` is still there or, listed by [`Writer::leftovers`], in `.aios/tmp`.
    pub fn remove(&self, path: &str, expect: Hash) -> Result<Removed, WriteError> {
        let removed = self.take_away(path, expect)?;
        if removed == Removed::Done {
            self.sync_above(path, true)?;
            self.tmp.sync()?;
        }
        Ok(removed)
    }

    /// Renames the file, link or folder at `from` to `to`, durably, unless something stands there. Makes the
    /// folders above `to` and removes those above `from` that become empty.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was renamed, or (a failing disk) it cannot be told.
    pub fn rename(&self, from: &str, to: &str) -> Result<Moved, WriteError> {
        let moved = self.move_to(from, to)?;
        if matches!(moved, Moved::Done { .. }) {
            self.sync_above(to, true)?;
            self.sync_above(from, true)?;
        }
        Ok(moved)
    }

    /// What lies in `.aios/tmp`: after a crash, and what a lingering writer left. Only while no [`Batch`] of
    /// this vault is open.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be read.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, ReadError> {
        temp::leftovers(&self.tmp)
    }

    /// Reads `name` in `.aios/tmp`: a [`Leftover`] or [`Displaced`]. See [`super::read::read`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn content(&self, name: &str, cap: u64) -> Result<Read, ReadError> {
        read_in(&self.tmp, name, name, cap)
    }

    /// Opens what a read found, in the vault or (`aside`) in `.aios/tmp`, to read it once more; `None` where no file is there now.
    ///
    /// # Errors
    /// What the system answers.
    pub fn open_found(&self, path: &str, aside: bool) -> Result<Option<File>, ReadError> {
        let (above, name) = folder::split(path);
        let opened = match aside {
            true => self.tmp.open_file(path),
            false => match self.root().beneath(above) {
                Ok(parent) => parent.open_file(name),
                Err(FolderError::Missing(_)) => return Ok(None),
                Err(e) => return Err(e.into()),
            },
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(e) if matches!(e.raw_os_error(), Some(code) if replaced(code)) => Ok(None),
            Err(e) => Err(DiskError::new("read", self.root().path().join(path), e).into()),
        }
    }

    /// Removes `name` from `.aios/tmp`, once it is absorbed or if it is [`temp::Origin::Own`].
    ///
    /// # Errors
    /// What the system answers.
    pub fn discard(&self, name: &str) -> Result<(), DiskError> {
        self.tmp.remove(name)
    }

    pub(super) fn stage(
        &self,
        path: &str,
        source: Source<'_>,
        exec: bool,
        expect: Expect,
    ) -> Result<Staged, WriteError> {
        folder::check_path(path)?;
        let nonce = temp::nonce();
        let name = temp::staged(&nonce);
        match self.fill(&name, path, source, exec, expect) {
            Ok((hash, found, file)) => Ok(Staged { path: path.to_owned(), nonce, hash, expect, found, file }),
            Err(e) => {
                self.drop_temp(&name);
                Err(e)
            }
        }
    }

    fn fill(
        &self,
        name: &str,
        path: &str,
        source: Source<'_>,
        exec: bool,
        expect: Expect,
    ) -> Result<(Hash, Option<Found>, Option<File>), WriteError> {
        let wrap = |e: io::Error| DiskError::new("write", self.tmp.path().join(name), e);
        let (hash, file) = match source {
            Source::Link(target) => {
                self.tmp.link_to(target.as_bytes(), name)?;
                (blake3::hash(target.as_bytes()), None)
            }
            Source::Bytes(bytes) => {
                let mut file = self.tmp.create(name, exec)?;
                durable::append(&mut file, bytes).map_err(wrap)?;
                (blake3::hash(bytes), Some(file))
            }
            Source::File(from) => {
                let read = |e| WriteError::Source(DiskError::new("read", from, e));
                let mut from = File::open(from).map_err(read)?;
                let mut file = self.tmp.create(name, exec)?;
                let mut hasher = blake3::Hasher::new();
                let mut failed = None;
                let copied = copy(&mut from, |chunk| {
                    hasher.update(chunk);
                    durable::append(&mut file, chunk).inspect_err(|e| failed = Some(e.kind()))
                });
                match (copied, failed) {
                    (Ok(_), _) => (hasher.finalize(), Some(file)),
                    (Err(e), Some(_)) => return Err(wrap(e).into()),
                    (Err(e), None) => return Err(read(e)),
                }
            }
        };
        if let (Some(file), Expect::Content(_)) = (&file, expect) {
            self.keep_mode(file, path, exec)?;
        }
        let found = self.tmp.stat(name)?.and_then(|stat| Found::of(path, &stat));
        Ok((hash, found, file))
    }

    /// Gives `file` the mode of what stands at `path`, but for the right to execute, which follows `exec`.
    fn keep_mode(&self, file: &File, path: &str, exec: bool) -> Result<(), WriteError> {
        let (parent, name) = folder::split(path);
        let old = match self.root.beneath(parent) {
            Ok(parent) => parent.stat(name)?,
            Err(FolderError::Missing(_)) => None,
            Err(e) => return Err(e.into()),
        };
        let wrap = |e: io::Error| DiskError::new("set the mode of the new content of", path, e);
        if let Some(old) = old.filter(|old| kind(old) == FileType::RegularFile) {
            #[allow(clippy::cast_lossless, clippy::unnecessary_cast)] // 16 bits wide on macOS
            let old = old.st_mode as u32 & 0o777;
            let mode = if exec { old | (old & 0o444) >> 2 } else { old & !0o111 };
            let now = file.metadata().map_err(wrap)?.permissions().mode() & 0o777;
            if mode != now {
                fault::point("disk.mode").map_err(wrap)?;
                match file.set_permissions(Permissions::from_mode(mode)) {
                    // FAT and some network shares hold no modes: nothing to keep.
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                    done => done.map_err(wrap)?,
                }
            }
        }
        Ok(())
    }

    /// Moves staged content to its path. On every way out but a failing disk, `.aios/tmp` holds what is told.
    pub(super) fn land(&self, staged: &Staged) -> Result<Landed, WriteError> {
        let new = temp::staged(&staged.nonce);
        let landed = match staged.expect {
            Expect::Absent => self.land_new(staged, &new),
            Expect::Content(old) => self.land_over(staged, &new, old),
        };
        if !matches!(&landed, Ok(Landed { put: Put::Done { .. } | Put::Displaced { .. }, .. })) {
            self.drop_temp(&new);
        }
        landed.map_err(|e| match e {
            WriteError::Disk(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                WriteError::OtherDisk(staged.path.clone())
            }
            e => e,
        })
    }

    fn land_new(&self, staged: &Staged, new: &str) -> Result<Landed, WriteError> {
        let (above, name) = folder::split(&staged.path);
        let (parent, made) = match self.root.beneath(above) {
            Err(FolderError::Missing(_)) => (self.root.make(above)?, true),
            other => (other?, false),
        };
        let put = match self.tmp.rename_new(new, &parent, name) {
            Ok(()) => Put::Done { hash: staged.hash, found: self.settled(staged, &parent, name)? },
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if parent.stat(name)?.is_some_and(|stat| kind(&stat) == FileType::Directory) {
                    return Err(WriteError::FolderInTheWay(staged.path.clone()));
                }
                Put::Exists
            }
            Err(e) => {
                if made {
                    self.prune(above);
                }
                return Err(e.into());
            }
        };
        Ok(Landed { put, spent: None, made })
    }

    fn land_over(&self, staged: &Staged, new: &str, old: Hash) -> Result<Landed, WriteError> {
        let missing = Landed { put: Put::Missing, spent: None, made: false };
        let (above, name) = folder::split(&staged.path);
        let parent = match self.root.beneath(above) {
            Err(FolderError::Missing(_)) => return Ok(missing),
            other => other?,
        };
        match parent.stat(name)? {
            None => return Ok(missing),
            Some(stat) => replaceable(&staged.path, &stat)?,
        }
        // A save that is taken away lies aside until it is merged and written, and who looks in between sees their file without
        // it: what can be seen before is not touched. A save between this look and the exchange is displaced, and taken in (I2).
        match read_in(&parent, name, &staged.path, 0) {
            Ok(read) if read.hash == old => {}
            Ok(_) | Err(ReadError::Changing(_)) => {
                return Ok(Landed { put: Put::Changed, spent: None, made: false });
            }
            Err(ReadError::Missing(_)) => return Ok(missing),
            Err(e) => return Err(e.into()),
        }
        #[cfg(test)]
        tests::between_look_and_exchange();
        let spent = temp::exchanged(&staged.nonce, Some(staged.hash), old, &staged.path);
        self.tmp.rename(new, &self.tmp, &spent)?;
        if let Err(e) = self.tmp.exchange(&spent, &parent, name) {
            // Only ours may go: a fallback that failed half way can have left the old file here.
            let ours = read_in(&self.tmp, &spent, &staged.path, 0).is_ok_and(|read| read.hash == staged.hash);
            if ours {
                self.drop_temp(&spent);
            }
            return if e.kind() == io::ErrorKind::NotFound { Ok(missing) } else { Err(e.into()) };
        }
        let verdict = self.displaced(&spent, &staged.path);
        if let Err(e @ (WriteError::FolderInTheWay(_) | WriteError::NotAFile(_))) = verdict {
            // It was made between the look and the exchange; it is not ours to take away.
            self.tmp.exchange(&spent, &parent, name)?;
            self.drop_temp(&spent);
            return Err(e);
        }
        let found = self.settled(staged, &parent, name)?;
        let hash = staged.hash;
        Ok(if verdict? == Some(old) {
            Landed { put: Put::Done { hash, found }, spent: Some(spent), made: false }
        } else {
            let displaced = Displaced { path: staged.path.clone(), name: spent };
            Landed { put: Put::Displaced { hash, found, displaced }, spent: None, made: false }
        })
    }

    /// The hash of what was taken from `path` to `name`; `None` while it is still being written.
    fn displaced(&self, name: &str, path: &str) -> Result<Option<Hash>, WriteError> {
        let stat = self.tmp.stat(name)?.ok_or_else(|| ReadError::Missing(path.to_owned()))?;
        replaceable(path, &stat)?;
        // Whoever opened it before it was taken writes into it still.
        if let Ok(file) = self.tmp.open_file(name) {
            lease::until_written(&file, WRITERS);
        }
        match read_in(&self.tmp, name, path, 0) {
            Ok(read) => Ok(Some(read.hash)),
            Err(ReadError::Changing(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The file at its path, if it is still the one that was staged.
    fn settled(&self, staged: &Staged, parent: &Folder, name: &str) -> Result<Option<Found>, WriteError> {
        let found = parent.stat(name)?.and_then(|stat| Found::of(&staged.path, &stat));
        Ok(found.filter(|now| {
            let key = |f: &Found| (f.kind, f.size, f.mtime_ns, f.ino, f.dev);
            staged.found.as_ref().is_some_and(|then| key(then) == key(now))
        }))
    }

    /// Lets go of what was replaced and is known. What a failing disk keeps goes when the vault is opened again: the new content is
    /// in its place all the same.
    pub(super) fn finish(&self, landed: &Landed) {
        if let Some(name) = landed.spent.as_ref().filter(|_| !self.linger)
            && let Err(error) = self.tmp.remove(name)
        {
            tracing::warn!(name, %error, "what was replaced stays aside");
        }
    }

    pub(super) fn take_away(&self, path: &str, expect: Hash) -> Result<Removed, WriteError> {
        folder::check_path(path)?;
        let (above, name) = folder::split(path);
        let parent = match self.root.beneath(above) {
            Err(FolderError::Missing(_)) => return Ok(Removed::Missing),
            other => other?,
        };
        match read_in(&parent, name, path, 0) {
            Ok(read) if read.hash == expect => {}
            Ok(_) | Err(ReadError::Changing(_)) => return Ok(Removed::Changed),
            Err(ReadError::Missing(_)) => return Ok(Removed::Missing),
            Err(e) => {
                if let Some(stat) = parent.stat(name)? {
                    replaceable(path, &stat)?;
                }
                return Err(e.into());
            }
        }
        let spent = temp::exchanged(&temp::nonce(), None, expect, path);
        match parent.rename_new(name, &self.tmp, &spent) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Removed::Missing),
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                return Err(WriteError::OtherDisk(path.to_owned()));
            }
            done => done?,
        }
        let hash = match self.displaced(&spent, path) {
            Err(WriteError::FolderInTheWay(_) | WriteError::NotAFile(_)) => None,
            hash => hash?,
        };
        if hash == Some(expect) {
            if !self.linger
                && let Err(error) = self.tmp.remove(&spent)
            {
                tracing::warn!(name = spent, %error, "what was removed stays aside");
            }
            self.prune(above);
            return Ok(Removed::Done);
        }
        match self.tmp.rename_new(&spent, &parent, name) {
            Ok(()) => Ok(Removed::Changed),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Removed::Displaced(Displaced { path: path.to_owned(), name: spent }))
            }
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn move_to(&self, from: &str, to: &str) -> Result<Moved, WriteError> {
        folder::check_path(from)?;
        folder::check_path(to)?;
        let ((above, name), (to_above, to_name)) = (folder::split(from), folder::split(to));
        let parent = match self.root.beneath(above) {
            Err(FolderError::Missing(_)) => return Ok(Moved::Missing),
            other => other?,
        };
        let Some(old) = parent.stat(name)? else { return Ok(Moved::Missing) };
        let (to_parent, made) = match self.root.beneath(to_above) {
            Err(FolderError::Missing(_)) => (self.root.make(to_above)?, true),
            other => (other?, false),
        };
        let moved = match parent.rename_new(name, &to_parent, to_name) {
            // On a file system that folds case, a new spelling of a name is the name itself.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && from != to => {
                let same = to_parent.stat(to_name)?.is_some_and(|stat| {
                    (stat.st_dev, stat.st_ino, stat.st_nlink) == (old.st_dev, old.st_ino, old.st_nlink)
                });
                let spelt_anew = from.to_lowercase() == to.to_lowercase();
                if !(same && spelt_anew && (old.st_nlink == 1 || kind(&old) == FileType::Directory)) {
                    return Ok(Moved::Exists);
                }
                parent.rename(name, &to_parent, to_name)
            }
            other => other,
        };
        match moved {
            Ok(()) => {
                self.prune(above);
                let found = to_parent.stat(to_name)?.and_then(|stat| Found::of(to, &stat));
                Ok(Moved::Done { found })
            }
            Err(e) => {
                if made {
                    self.prune(to_above);
                }
                match e.kind() {
                    io::ErrorKind::AlreadyExists => Ok(Moved::Exists),
                    io::ErrorKind::NotFound => Ok(Moved::Missing),
                    io::ErrorKind::CrossesDevices => Err(WriteError::OtherDisk(to.to_owned())),
                    _ => Err(e.into()),
                }
            }
        }
    }

    /// Removes `path`, a folder, and those above it, as long as they are empty.
    fn prune(&self, mut path: &str) {
        while !path.is_empty() {
            let (above, name) = folder::split(path);
            let removed = match self.root.beneath(above) {
                Ok(parent) => parent.remove_folder(name).map_err(FolderError::Disk),
                Err(e) => Err(e),
            };
            match removed {
                Ok(true) => path = above,
                Ok(false) => return,
                Err(e) => {
                    // An empty folder that stays is not worth failing for.
                    tracing::debug!("an empty folder stays: {e}");
                    return;
                }
            }
        }
    }

    /// Syncs the folder of `path`; with `all`, every folder above it that is still there.
    fn sync_above(&self, path: &str, all: bool) -> Result<(), WriteError> {
        if planted(Bug::WriteUnsynced) {
            return Ok(());
        }
        let mut above = path;
        while !above.is_empty() {
            above = folder::split(above).0;
            match self.root.beneath(above) {
                Ok(folder) => folder.sync()?,
                Err(FolderError::Missing(_)) => continue,
                Err(e) => return Err(e.into()),
            }
            if !all {
                break;
            }
        }
        Ok(())
    }

    /// Removes a temporary file of ours that is not needed; one that stays is found by [`Writer::leftovers`].
    pub(super) fn drop_temp(&self, name: &str) {
        match self.tmp.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => tracing::debug!("a temporary file stays: {e}"),
            _ => {}
        }
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether a write may take the place of what stands at `path`.
fn replaceable(path: &str, stat: &Stat) -> Result<(), WriteError> {
    match kind(stat) {
        FileType::RegularFile | FileType::Symlink => Ok(()),
        FileType::Directory => Err(WriteError::FolderInTheWay(path.to_owned())),
        _ => Err(WriteError::NotAFile(path.to_owned())),
    }
}

#[cfg(test)]
mod tests;
