//! What a crash test must undo: writes and names not yet synced, held in memory.
//!
//! Armed by `AIOS_FAULT_JOURNAL=FILE`, or for one thread by [`hold`]. The model is stricter than the common file systems. The bytes of a
//! file last once the file is synced; a name (create, rename, exchange, remove) lasts once every folder it
//! touches is synced. At a crash the unsynced tail of each file is cut off, then unsynced names are undone,
//! newest first. A new file whose bytes were synced but whose folder was not disappears; one of which
//! nothing was synced stays, empty. Changes made past this layer are not seen.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::marker::PhantomData;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

thread_local! {
    static LOCAL: RefCell<Option<Journal>> = const { RefCell::new(None) };
}

static JOURNAL: OnceLock<Option<Mutex<Journal>>> = OnceLock::new();

/// Device and inode: what a file is, whatever its name becomes.
type Inode = (u64, u64);

enum Act {
    Created(Inode),
    MadeFolder,
    RemovedFolder,
    Linked,
    Removed(Kept),
    Renamed { from: PathBuf, replaced: Option<Kept> },
    Exchanged { with: PathBuf },
}

/// A file or link about to lose its name, as a power cut would give it back.
pub(crate) struct Kept {
    bytes: Vec<u8>,
    link: Option<PathBuf>,
    /// Another name that the file has in its folder.
    also: Option<PathBuf>,
    mode: u32,
}

impl Kept {
    fn restore(self, at: &Path) -> std::io::Result<()> {
        match (self.link, self.also.filter(|also| also.exists())) {
            (Some(target), _) => std::os::unix::fs::symlink(target, at),
            (None, Some(also)) => fs::hard_link(also, at),
            (None, None) => {
                fs::write(at, self.bytes)?;
                fs::set_permissions(at, fs::Permissions::from_mode(self.mode & 0o7777))
            }
        }
    }
}

struct Name {
    at: PathBuf,
    act: Act,
    /// The folders still to be synced before this lasts.
    folders: Vec<PathBuf>,
}

struct Tail {
    path: PathBuf,
    synced: u64,
}

/// What was written and not synced.
#[derive(Default)]
pub struct Journal {
    report: Option<PathBuf>,
    tails: HashMap<Inode, Tail>,
    names: Vec<Name>,
    /// Folders as they were last found to be spelt, until one is moved or removed.
    spelt: HashMap<PathBuf, PathBuf>,
}

/// Does `work` on the journal of this thread, or else of the process, if there is one.
fn with<T>(work: impl FnOnce(&mut Journal) -> T) -> Option<T> {
    LOCAL.with_borrow_mut(|local| match local {
        Some(journal) => Some(work(journal)),
        None => {
            let journal = JOURNAL.get_or_init(|| {
                let file = std::env::var_os("AIOS_FAULT_JOURNAL").filter(|file| !file.is_empty())?;
                Some(Mutex::new(Journal { report: Some(PathBuf::from(file)), ..Journal::default() }))
            });
            Some(work(&mut journal.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    })
}

/// Has `journal` follow what the calling thread writes, in place of the process's own, until the guard is dropped.
pub fn hold(journal: Journal) -> Held {
    Held { before: LOCAL.replace(Some(journal)), _thread: PhantomData }
}

/// A thread's own journal; dropping it forgets it.
#[derive(Debug)]
pub struct Held {
    before: Option<Journal>,
    /// Not `Send`: it must be dropped on the thread it follows.
    _thread: PhantomData<*const ()>,
}

impl Held {
    /// Gives the journal back as it is now.
    pub fn release(self) -> Journal {
        LOCAL.take().unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        LOCAL.set(self.before.take());
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("tails", &self.tails.len()).field("names", &self.names.len()).finish()
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

fn inode(meta: &fs::Metadata) -> Inode {
    (meta.dev(), meta.ino())
}

impl Journal {
    /// `path` with its folder resolved, so that one file has one spelling.
    fn spelt(&mut self, path: &Path) -> PathBuf {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match (self.folder(folder), path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => path.to_path_buf(),
        }
    }

    fn folder(&mut self, folder: &Path) -> Option<PathBuf> {
        if let Some(known) = self.spelt.get(folder) {
            return Some(known.clone());
        }
        let found = fs::canonicalize(folder).ok()?;
        if folder.is_absolute() {
            self.spelt.insert(folder.to_path_buf(), found.clone());
        }
        Some(found)
    }

    /// Another thing stands at `at`: what goes through it may be spelt otherwise.
    fn forget_spelling(&mut self, at: &Path) {
        if fs::symlink_metadata(at).is_ok_and(|found| found.is_file()) {
            return;
        }
        self.spelt.clear();
    }

    fn name(&mut self, at: &Path, act: Act) {
        let at = self.spelt(at);
        if !matches!(act, Act::Created(_) | Act::MadeFolder | Act::Removed(_)) {
            self.forget_spelling(&at);
        }
        let mut folders = vec![folder_of(&at)];
        if let Act::Renamed { from: other, .. } | Act::Exchanged { with: other } = &act {
            folders.push(folder_of(other));
            folders.dedup();
        }
        self.names.push(Name { at, act, folders });
    }

    /// Follows files to their new names; `exchanged` also moves the other way.
    fn follow(&mut self, from: &Path, to: &Path, exchanged: bool) {
        let moved = |path: &Path, from: &Path, to: &Path| {
            let rest = path.strip_prefix(from).ok()?;
            Some(if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) })
        };
        if !exchanged {
            // What had the name is kept beside the rename, cut already.
            self.tails.retain(|_, tail| tail.path != to);
        }
        for tail in self.tails.values_mut() {
            if let Some(path) = moved(&tail.path, from, to) {
                tail.path = path;
            } else if exchanged && let Some(path) = moved(&tail.path, to, from) {
                tail.path = path;
            }
        }
    }
}

/// A file was created, empty.
pub(crate) fn created(path: &Path, file: &File) {
    with(|journal| {
        if let Ok(meta) = file.metadata() {
            let at = journal.spelt(path);
            // Whoever had the name is gone, whoever removed it.
            journal.tails.retain(|_, tail| tail.path != at);
            journal.name(path, Act::Created(inode(&meta)));
            journal.tails.insert(inode(&meta), Tail { path: at, synced: 0 });
        }
    });
}

/// Bytes are about to be appended to a file.
pub(crate) fn appending(file: &File) {
    with(|journal| {
        let fd = std::os::fd::AsRawFd::as_raw_fd(file);
        if let Ok(meta) = file.metadata()
            && let Ok(path) = fs::read_link(format!("/proc/self/fd/{fd}"))
        {
            journal.tails.entry(inode(&meta)).or_insert(Tail { path, synced: meta.len() });
        }
    });
}

/// A folder was made.
pub(crate) fn made_folder(path: &Path) {
    with(|journal| journal.name(path, Act::MadeFolder));
}

/// A folder was removed.
pub(super) fn removed_folder(path: &Path) {
    with(|journal| journal.name(path, Act::RemovedFolder));
}

/// A second name was given to a file, or a symbolic link was made.
pub(crate) fn linked(path: &Path) {
    with(|journal| journal.name(path, Act::Linked));
}

/// A second name was given to the file `from`, whose first is about to go.
pub(crate) fn renamed_by_link(from: &Path, to: &Path) {
    with(|journal| {
        let (from, to) = (journal.spelt(from), journal.spelt(to));
        journal.follow(&from, &to, false);
        journal.name(&to, Act::Linked);
    });
}

/// What stands at `path`, which is about to be removed or replaced.
pub(crate) fn keep(path: &Path) -> Option<Kept> {
    with(|journal| {
        let meta = fs::symlink_metadata(path).ok().filter(|meta| !meta.is_dir())?;
        let link = fs::read_link(path).ok();
        let mut bytes = if link.is_none() { fs::read(path).unwrap_or_default() } else { Vec::new() };
        if let Some(tail) = journal.tails.get(&inode(&meta)) {
            bytes.truncate(usize::try_from(tail.synced).unwrap_or(usize::MAX));
        }
        let also = (meta.nlink() > 1).then(|| other_name(path, &meta)).flatten();
        Some(Kept { bytes, link, also, mode: meta.mode() })
    })?
}

/// Another name of a file in the same folder.
fn other_name(path: &Path, meta: &fs::Metadata) -> Option<PathBuf> {
    let names = fs::read_dir(path.parent()?).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    names
        .filter(|name| name != path)
        .find(|name| fs::symlink_metadata(name).is_ok_and(|other| inode(&other) == inode(meta)))
}

/// A file or link was removed.
pub(crate) fn removed(path: &Path, kept: Option<Kept>) {
    if let Some(kept) = kept {
        with(|journal| journal.name(path, Act::Removed(kept)));
    }
}

/// A name was changed, taking the place of what was `replaced`.
pub(super) fn renamed(from: &Path, to: &Path, replaced: Option<Kept>) {
    with(|journal| {
        let (from, to) = (journal.spelt(from), journal.spelt(to));
        journal.follow(&from, &to, false);
        journal.name(&to, Act::Renamed { from, replaced });
    });
}

/// As [`renamed`] for a file under a name of its own until then: that such a name goes need not last.
pub(crate) fn placed(from: &Path, to: &Path, replaced: Option<Kept>) {
    with(|journal| {
        let (from, to) = (journal.spelt(from), journal.spelt(to));
        journal.follow(&from, &to, false);
        let folders = vec![folder_of(&to)];
        journal.names.push(Name { at: to, act: Act::Renamed { from, replaced }, folders });
    });
}

/// Two names changed places.
pub(super) fn exchanged(a: &Path, b: &Path) {
    with(|journal| {
        let (a, b) = (journal.spelt(a), journal.spelt(b));
        journal.follow(&a, &b, true);
        journal.name(&b, Act::Exchanged { with: a });
    });
}

/// A file was synced.
pub(crate) fn synced_file(file: &File) {
    with(|journal| {
        if let Ok(meta) = file.metadata()
            && let Some(tail) = journal.tails.get_mut(&inode(&meta))
        {
            tail.synced = meta.len();
        }
    });
}

/// A folder was synced.
pub(crate) fn synced_folder(path: &Path) {
    with(|journal| {
        let path = journal.folder(path).unwrap_or_else(|| path.to_path_buf());
        for name in &mut journal.names {
            name.folders.retain(|folder| *folder != path);
        }
        journal.names.retain(|name| !name.folders.is_empty());
    });
}

/// Everything was synced.
pub(super) fn synced_all() {
    with(|journal| {
        journal.names.clear();
        journal.tails.clear();
    });
}

/// Undoes what was not synced; with `torn` the first half of each unsynced tail stays.
pub(super) fn drop_unsynced(torn: bool) {
    with(|journal| std::mem::take(journal).lose(torn));
}

/// As [`Journal::saved`], for the journal that follows the calling thread.
pub fn saved(path: &Path) {
    with(|journal| journal.saved(path));
}

impl Journal {
    /// Somebody else saved a file: how it was before is not this journal's to bring back.
    pub fn saved(&mut self, path: &Path) {
        let path = self.spelt(path);
        self.tails.retain(|_, tail| tail.path != path);
        self.names.retain(|name| {
            let other = match &name.act {
                Act::Renamed { from, .. } => Some(from),
                Act::Exchanged { with } => Some(with),
                _ => None,
            };
            name.at != path && other != Some(&path)
        });
    }

    /// Undoes what was not synced, as a power cut does; with `torn` the first half of each unsynced tail stays.
    pub fn lose(mut self, torn: bool) {
        let mut report =
            self.report.and_then(|report| OpenOptions::new().create(true).append(true).open(report).ok());
        let mut tell = |what: &str, path: &Path, done: std::io::Result<()>| {
            let answer = done.err().map(|e| format!(" ({e})")).unwrap_or_default();
            if let Some(report) = &mut report {
                // A report that cannot be written must not stop the crash.
                let _ = writeln!(report, "{what} {}{answer}", path.display());
            }
        };
        for tail in self.tails.values() {
            let Ok(len) = fs::metadata(&tail.path).map(|meta| meta.len()) else { continue };
            if len > tail.synced {
                let keep = if torn { tail.synced + (len - tail.synced) / 2 } else { tail.synced };
                let cut = OpenOptions::new().write(true).open(&tail.path).and_then(|file| file.set_len(keep));
                tell("cut", &tail.path, cut);
            }
        }
        while let Some(name) = self.names.pop() {
            match name.act {
                Act::Created(inode) => {
                    if self.tails.get(&inode).is_none_or(|tail| tail.synced > 0) {
                        tell("uncreated", &name.at, fs::remove_file(&name.at));
                    }
                }
                Act::MadeFolder => tell("unmade", &name.at, fs::remove_dir(&name.at)),
                Act::RemovedFolder => tell("remade", &name.at, fs::create_dir(&name.at)),
                Act::Linked => tell("unlinked", &name.at, fs::remove_file(&name.at)),
                Act::Removed(kept) => tell("unremoved", &name.at, kept.restore(&name.at)),
                Act::Renamed { from, replaced } => {
                    let back = fs::rename(&name.at, &from);
                    tell(
                        "unrenamed",
                        &name.at,
                        back.and_then(|()| replaced.map_or(Ok(()), |kept| kept.restore(&name.at))),
                    );
                }
                Act::Exchanged { with } => {
                    let aside = with.with_extension("undo");
                    let undone = fs::rename(&name.at, &aside)
                        .and_then(|()| fs::rename(&with, &name.at))
                        .and_then(|()| fs::rename(&aside, &with));
                    tell("unexchanged", &name.at, undone);
                }
            }
        }
    }
}
