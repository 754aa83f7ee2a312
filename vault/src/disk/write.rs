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

use super::lease;
use super::read::{copy, read_in, replaced};
use super::temp::{self, Leftover};
use super::{DiskError, Folder, FolderError, Found, Read, ReadError, durable, fault, folder};
use blake3::Hash;
use rustix::fs::{FileType, Stat};
use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How long whoever writes into a file that was taken away is waited for.
const WRITERS: std::time::Duration = std::time::Duration::from_secs(2);

/// New content.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file with these bytes.
    Bytes(&'a [u8]),
    /// A file with the bytes of this one, wherever it lies.
    File(&'a Path),
    /// A symbolic link that leads here.
    Link(&'a str),
}

/// What the caller knows to stand at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// Content with this BLAKE3 hash; of a link, of the path it leads to.
    Content(Hash),
}

/// Content that somebody saved and a write displaced. It lies in `.aios/tmp` until [`Writer::discard`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it holds what a person saved: absorb it (I2)"]
pub struct Displaced {
    /// The path in the vault where it stood.
    pub path: String,
    /// Its name in `.aios/tmp`.
    pub name: String,
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// The content stands at the path.
    Done {
        /// Its BLAKE3 hash.
        hash: Hash,
        /// The file; `None` if somebody has changed it already.
        found: Option<Found>,
    },
    /// So it does, and it displaced something else than expected.
    Displaced {
        /// Its BLAKE3 hash.
        hash: Hash,
        /// The file; `None` if somebody has changed it already.
        found: Option<Found>,
        /// What it displaced.
        displaced: Displaced,
    },
    /// Nothing was done: something stands there that was not expected.
    Exists,
    /// Nothing was done: something else than expected stands there.
    Changed,
    /// Nothing was done: what was expected is gone.
    Missing,
}

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Removed {
    /// It is gone.
    Done,
    /// Nothing was done: something else than expected stands there.
    Changed,
    /// Nothing was there.
    Missing,
    /// Something else than expected was taken away and could not be put back, for something stands there again.
    Displaced(Displaced),
}

/// What a rename did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Moved {
    /// It stands at its new path; `found` is `None` for a folder.
    Done {
        /// The file.
        found: Option<Found>,
    },
    /// Nothing was done: something stands at the new path.
    Exists,
    /// Nothing was done: nothing stands at the old path.
    Missing,
}

/// The path of a put in a [`Batch`], and what came of it.
pub type Answer = (String, Result<Put, WriteError>);

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A folder stands at the path.
    #[error("{0}: a folder stands where the file must go; rename one of the two")]
    FolderInTheWay(String),
    /// A pipe, socket or device stands at the path.
    #[error("{0}: a pipe, socket or device stands where the file must go; move it away")]
    NotAFile(String),
    /// The path lies on another file system than the vault.
    #[error("{0}: lies on another file system than the vault's `.aios`; keep the vault on one")]
    OtherDisk(String),
    /// The folder above is a link, a file, or not a path of a document.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The content given could not be read.
    #[error(transparent)]
    Source(DiskError),
    /// What stands there could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Puts files into one vault. The caller holds the vault's lock.
#[derive(Debug)]
pub struct Writer {
    root: Folder,
    tmp: Folder,
    linger: bool,
}

/// Content written to `.aios/tmp` and not yet at its path.
struct Staged {
    path: String,
    nonce: String,
    hash: Hash,
    expect: Expect,
    /// The new file, as it was when written.
    found: Option<Found>,
    file: Option<File>,
}

/// Content at its path, with what is left to do.
struct Landed {
    put: Put,
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
        Batch { writer: self, staged: Vec::new(), changed: false }
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

    fn stage(
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
    fn land(&self, staged: &Staged) -> Result<Landed, WriteError> {
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
    fn finish(&self, landed: &Landed) {
        if let Some(name) = landed.spent.as_ref().filter(|_| !self.linger)
            && let Err(error) = self.tmp.remove(name)
        {
            tracing::warn!(name, %error, "what was replaced stays aside");
        }
    }

    fn take_away(&self, path: &str, expect: Hash) -> Result<Removed, WriteError> {
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

    fn move_to(&self, from: &str, to: &str) -> Result<Moved, WriteError> {
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
    fn drop_temp(&self, name: &str) {
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

/// Many changes, synced together: two syncs of the file system however many files there are.
///
/// Content put into a batch reaches its path in [`Batch::commit`]; a batch that is dropped changes nothing.
#[must_use = "nothing is put before `commit`"]
pub struct Batch<'a> {
    writer: &'a Writer,
    staged: Vec<Staged>,
    /// Whether names were changed that are not synced yet.
    changed: bool,
}

impl Batch<'_> {
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

impl Displaced {
    /// Reads it; see [`Writer::content`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, writer: &Writer, cap: u64) -> Result<Read, ReadError> {
        writer.content(&self.name, cap)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::LARGE;
    use super::super::temp::{Origin, path_key};
    use super::super::{Content, Rules, scan};
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn vault() -> (tempfile::TempDir, Writer) {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        (dir, writer)
    }

    fn content(text: &str) -> Expect {
        Expect::Content(blake3::hash(text.as_bytes()))
    }

    fn put(writer: &Writer, path: &str, text: &str, expect: Expect) -> Result<Put, WriteError> {
        writer.put(path, Source::Bytes(text.as_bytes()), false, expect)
    }

    type Save = Box<dyn Fn()>;

    thread_local! {
        static SAVE: std::cell::RefCell<Option<Save>> = const { std::cell::RefCell::new(None) };
    }

    /// What a test has happen when a put has looked at a file and not exchanged it yet.
    pub(super) fn between_look_and_exchange() {
        SAVE.with_borrow(|save| {
            if let Some(save) = save {
                save();
            }
        });
    }

    /// Ends what [`save_in_between`] began.
    struct Saving;

    impl Drop for Saving {
        fn drop(&mut self) {
            SAVE.replace(None);
        }
    }

    fn save_in_between(save: impl Fn() + 'static) -> Saving {
        SAVE.replace(Some(Box::new(save)));
        Saving
    }

    #[test]
    fn a_save_before_is_not_touched() {
        let (dir, writer) = vault();
        fs::write(dir.path().join("a"), "the user's").unwrap();
        assert_eq!(put(&writer, "a", "ours", content("old")).unwrap(), Put::Changed);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"the user's");
        assert_eq!(writer.leftovers().unwrap(), []);
    }

    #[test]
    fn put_creates_replaces_and_refuses() {
        let (dir, writer) = vault();
        let done = put(&writer, "a/b/c.md", "one", Expect::Absent).unwrap();
        let Put::Done { hash, found: Some(found) } = done else { panic!("{done:?}") };
        assert_eq!((hash, found.size, found.exec), (blake3::hash(b"one"), 3, false));
        assert!(scan::look(writer.root(), "a/b/c.md").unwrap().unwrap().same(&found));
        assert_eq!(put(&writer, "a/b/c.md", "two", Expect::Absent).unwrap(), Put::Exists);
        assert!(matches!(put(&writer, "a/b/c.md", "two", content("one")).unwrap(), Put::Done { .. }));
        assert_eq!(fs::read(dir.path().join("a/b/c.md")).unwrap(), b"two");
        assert_eq!(put(&writer, "a/b/d.md", "x", content("one")).unwrap(), Put::Missing);
        assert_eq!(put(&writer, "no/d.md", "x", content("one")).unwrap(), Put::Missing);
        assert!(!dir.path().join("no").exists());
        assert!(matches!(put(&writer, "a/b", "x", Expect::Absent), Err(WriteError::FolderInTheWay(_))));
        assert!(matches!(put(&writer, "a/b", "x", content("x")), Err(WriteError::FolderInTheWay(_))));
        let below_file = put(&writer, "a/b/c.md/d", "x", Expect::Absent);
        assert!(matches!(below_file, Err(WriteError::Folder(FolderError::File(_)))));
        for path in ["../x", ".git/hooks/pre-commit", "a/.aios/x", ""] {
            let refused = put(&writer, path, "x", Expect::Absent);
            assert!(matches!(refused, Err(WriteError::Folder(FolderError::Path { .. }))), "{path}");
        }
        assert_eq!(writer.leftovers().unwrap(), []);
    }

    #[test]
    fn nothing_goes_through_a_link() {
        let (dir, writer) = vault();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("passwd"), "root").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).unwrap();
        for done in [
            put(&writer, "etc/new", "x", Expect::Absent).map(drop),
            put(&writer, "etc/passwd", "x", content("root")).map(drop),
            writer.remove("etc/passwd", blake3::hash(b"root")).map(drop),
            writer.rename("etc/passwd", "p").map(drop),
        ] {
            assert!(matches!(done, Err(WriteError::Folder(FolderError::Link(_)))), "{done:?}");
        }
        assert_eq!(fs::read(outside.path().join("passwd")).unwrap(), b"root");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        // The link itself is content: it can be replaced and made, and is never followed.
        let target = outside.path().to_str().unwrap();
        assert!(matches!(put(&writer, "etc", "file now", content(target)).unwrap(), Put::Done { .. }));
        assert!(matches!(
            writer.put("etc", Source::Link("/etc"), false, content("file now")).unwrap(),
            Put::Done { found: Some(Found { kind: super::super::Kind::Link, .. }), .. }
        ));
        assert_eq!(fs::read_link(dir.path().join("etc")).unwrap(), Path::new("/etc"));
    }

    #[test]
    fn a_save_in_between_is_handed_back() {
        let (dir, writer) = vault();
        fs::write(dir.path().join("a"), "old").unwrap();
        let mut batch = writer.batch();
        batch.put("a", Source::Bytes(b"ours"), false, content("old")).unwrap();
        let path = dir.path().join("a");
        let _save = save_in_between(move || fs::write(&path, "the user's").unwrap());
        let answers = batch.commit().unwrap();
        let [(_, Ok(Put::Displaced { displaced, .. }))] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"ours");
        let read = displaced.read(&writer, LARGE).unwrap();
        assert_eq!(read.content, Content::Bytes(b"the user's".to_vec()));
        let left = writer.leftovers().unwrap();
        assert_eq!((left.len(), left[0].origin), (1, Origin::Displaced));
        assert_eq!((left[0].path.as_deref(), left[0].key.clone()), (Some("a"), Some(path_key("a"))));
        writer.discard(&displaced.name).unwrap();
        assert_eq!(writer.leftovers().unwrap(), []);
    }

    #[test]
    fn a_late_write_to_a_displaced_file_is_found_by_a_lingering_writer() {
        let (dir, writer) = vault();
        let writer = writer.lingering(true);
        fs::write(dir.path().join("a"), "old").unwrap();
        let mut editor = fs::OpenOptions::new().append(true).open(dir.path().join("a")).unwrap();
        assert!(matches!(put(&writer, "a", "new", content("old")).unwrap(), Put::Done { .. }));
        assert_eq!(writer.leftovers().unwrap()[0].origin, Origin::Own);
        io::Write::write_all(&mut editor, b" and late").unwrap();
        let left = writer.leftovers().unwrap();
        assert_eq!(left[0].origin, Origin::Displaced);
        assert_eq!(
            writer.content(&left[0].name, LARGE).unwrap().content,
            Content::Bytes(b"old and late".to_vec())
        );
    }

    #[test]
    fn a_removal_takes_only_what_was_expected() {
        let (dir, writer) = vault();
        fs::create_dir_all(dir.path().join("x/y")).unwrap();
        fs::write(dir.path().join("x/y/a"), "one").unwrap();
        assert_eq!(writer.remove("x/y/a", blake3::hash(b"two")).unwrap(), Removed::Changed);
        assert_eq!(fs::read(dir.path().join("x/y/a")).unwrap(), b"one");
        assert_eq!(writer.remove("x/y/a", blake3::hash(b"one")).unwrap(), Removed::Done);
        assert!(!dir.path().join("x").exists());
        assert_eq!(writer.remove("x/y/a", blake3::hash(b"one")).unwrap(), Removed::Missing);
        fs::create_dir(dir.path().join("f")).unwrap();
        assert!(matches!(writer.remove("f", blake3::hash(b"")), Err(WriteError::FolderInTheWay(_))));
        assert_eq!(writer.leftovers().unwrap(), []);
    }

    #[test]
    fn a_rename_never_clobbers() {
        let (dir, writer) = vault();
        fs::create_dir(dir.path().join("x")).unwrap();
        fs::write(dir.path().join("x/a"), "a").unwrap();
        fs::write(dir.path().join("b"), "b").unwrap();
        assert_eq!(writer.rename("x/a", "b").unwrap(), Moved::Exists);
        assert_eq!(writer.rename("no", "c").unwrap(), Moved::Missing);
        assert_eq!(writer.rename("no/no", "c/d").unwrap(), Moved::Missing);
        assert!(!dir.path().join("c").exists());
        assert!(matches!(writer.rename("x/a", "n/m/A").unwrap(), Moved::Done { found: Some(_) }));
        assert!(!dir.path().join("x").exists());
        assert!(matches!(writer.rename("n", "moved").unwrap(), Moved::Done { found: None }));
        assert_eq!(fs::read(dir.path().join("moved/m/A")).unwrap(), b"a");
        assert!(matches!(writer.rename("b", "B").unwrap(), Moved::Done { .. }));
    }

    #[test]
    fn the_mode_is_kept_but_for_the_right_to_execute() {
        let (dir, writer) = vault();
        let path = dir.path().join("a");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        fs::write(&path, "1").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let done = writer.put("a", Source::Bytes(b"2"), true, content("1")).unwrap();
        assert!(matches!(done, Put::Done { found: Some(Found { exec: true, .. }), .. }));
        assert_eq!(mode(), 0o750);
        assert!(matches!(put(&writer, "a", "3", content("2")).unwrap(), Put::Done { .. }));
        assert_eq!(mode(), 0o640);
    }

    #[test]
    fn a_reader_always_sees_one_whole_version() {
        let (dir, writer) = vault();
        let path = dir.path().join("a");
        let text = |n: u32| format!("{n}\n").repeat(2000);
        fs::write(&path, text(0)).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while !stop.load(Ordering::Relaxed) {
                    let now = fs::read_to_string(&path).unwrap();
                    let first: u32 = now.lines().next().unwrap().parse().unwrap();
                    assert_eq!(now, text(first));
                    seen += 1;
                }
                seen
            });
            for n in 0..60 {
                let mut batch = writer.batch();
                let source = text(n + 1);
                batch.put("a", Source::Bytes(source.as_bytes()), false, content(&text(n))).unwrap();
                // Without the syncs, which only slow the race down.
                let staged = std::mem::take(&mut batch.staged);
                let landed = writer.land(&staged[0]).unwrap();
                assert!(matches!(landed.put, Put::Done { .. }));
                writer.finish(&landed);
            }
            stop.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
    }

    #[test]
    fn a_batch_puts_many_and_a_dropped_one_nothing() {
        let (dir, writer) = vault();
        let source = dir.path().join(".aios/blob");
        fs::write(&source, "big").unwrap();
        let mut batch = writer.batch();
        for n in 0..300 {
            let path = format!("{}/{n}.md", n % 7);
            batch.put(&path, Source::Bytes(path.as_bytes()), false, Expect::Absent).unwrap();
        }
        batch.put("blob", Source::File(&source), true, Expect::Absent).unwrap();
        let answers = batch.commit().unwrap();
        assert!(answers.iter().all(|(_, put)| matches!(put, Ok(Put::Done { found: Some(_), .. }))));
        assert_eq!(fs::read(dir.path().join("blob")).unwrap(), b"big");
        assert_eq!(scan::scan(dir.path(), &Rules::default()).entries.len(), 301);
        let mut batch = writer.batch();
        batch.put("more", Source::Bytes(b"x"), false, Expect::Absent).unwrap();
        drop(batch);
        assert!(!dir.path().join("more").exists());
        assert_eq!(writer.leftovers().unwrap(), []);
    }

    #[test]
    fn leftovers_tell_ours_from_theirs() {
        let (dir, writer) = vault();
        let tmp = dir.path().join(".aios/tmp");
        let (new, old) = (blake3::hash(b"new"), blake3::hash(b"old"));
        let long = "long/".repeat(60) + "x";
        fs::write(tmp.join("n.1-2-3"), "torn").unwrap();
        for (at, text) in ["new", "old", "theirs"].iter().enumerate() {
            fs::write(tmp.join(temp::exchanged(&at.to_string(), Some(new), old, "a/100%.md")), text).unwrap();
        }
        fs::write(tmp.join(temp::exchanged("8", None, old, &long)), "theirs").unwrap();
        fs::write(tmp.join("strange"), "?").unwrap();
        fs::create_dir(tmp.join(temp::exchanged("9", None, old, "a"))).unwrap();
        let left = writer.leftovers().unwrap();
        let origins: Vec<_> = left.iter().map(|left| left.origin).collect();
        let (own, displaced, unknown) = (Origin::Own, Origin::Displaced, Origin::Unknown);
        assert_eq!(origins, [own, unknown, own, own, displaced, displaced, unknown]);
        assert_eq!(left[4].path.as_deref(), Some("a/100%.md"));
        assert_eq!((left[5].path.as_deref(), left[5].key.clone()), (None, Some(path_key(&long))));
    }
}
