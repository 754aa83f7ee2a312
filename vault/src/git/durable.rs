//! Every step that makes bytes durable or visible, each by one name (I9).

use super::Error;
use aios_core::planted::{Bug, planted};

use crate::disk::fault::{self, point};
use crate::disk::{durable, journal};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// From this many files on they are synced together with all of their file system.
const TOGETHER: usize = 32;

/// What this process wrote and did not sync. Nobody waits for each of the objects of a commit; all are synced before a ref
/// names them, or else a power cut would leave a branch that leads to empty files.
#[derive(Default)]
struct Unsynced {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

fn unsynced() -> MutexGuard<'static, Unsynced> {
    static UNSYNCED: Mutex<Unsynced> =
        Mutex::new(Unsynced { files: BTreeSet::new(), folders: BTreeSet::new() });
    UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process wrote a file and has not synced it.
pub(super) fn is_unsynced(path: &Path) -> bool {
    unsynced().files.contains(path)
}

/// Has a file synced that another process wrote, who may have been killed before it did so.
pub(super) fn doubt(path: PathBuf) {
    unsynced().files.insert(path);
}

/// Makes all that was written below `git` before durable. Another repository's files are its own writer's to sync.
pub(super) fn sync_all(git: &Path) -> Result<(), Error> {
    if planted(Bug::GitUnsynced) {
        return Ok(());
    }
    let (files, folders) = {
        let mut unsynced = unsynced();
        let Unsynced { files, folders } = &mut *unsynced;
        let take = |all: &mut BTreeSet<PathBuf>| {
            let (below, rest) = std::mem::take(all).into_iter().partition(|path| path.starts_with(git));
            *all = rest;
            below
        };
        (take(files), take(folders))
    };
    let synced = sync_these(&files, folders.clone());
    if synced.is_err() {
        // Another try must not take them for synced.
        let mut unsynced = unsynced();
        unsynced.files.extend(files);
        unsynced.folders.extend(folders);
    }
    synced
}

fn sync_these(files: &BTreeSet<PathBuf>, mut folders: BTreeSet<PathBuf>) -> Result<(), Error> {
    // What is gone needs no sync: a temporary file, or one of a repository that was removed.
    let here: Vec<&Path> = files.iter().map(PathBuf::as_path).filter(|path| path.exists()).collect();
    if here.len() >= TOGETHER
        && let Some(folder) = here.first().and_then(|file| file.parent())
    {
        let all = here.iter().copied();
        return durable::sync_filesystem(folder, all).map_err(|e| Error::io("sync", folder)(e.source));
    }
    for path in here {
        sync_file(&File::open(path).map_err(Error::io("open", path))?, path)?;
        folders.extend(path.parent().map(Path::to_owned));
    }
    for folder in &folders {
        if folder.exists() {
            sync_folder(folder)?;
        }
    }
    Ok(())
}

/// Creates a file that must not exist, for reading and writing.
pub(super) fn create_new(path: &Path) -> std::io::Result<File> {
    point("git.create")?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    journal::created(path, &file);
    Ok(file)
}

/// Creates a file of a fresh name `prefix` + process + number in a folder.
pub(super) fn create_temporary(folder: &Path, prefix: &str) -> Result<(File, PathBuf), Error> {
    let mut number = 0_u32;
    loop {
        let path = folder.join(format!("{prefix}{}_{number}", std::process::id()));
        match create_new(&path) {
            Ok(file) => {
                unsynced().files.insert(path.clone());
                return Ok((file, path));
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number = number.wrapping_add(1),
            Err(e) => return Err(Error::io("create", path)(e)),
        }
    }
}

/// Makes a folder of a fresh name `prefix` + process + number in a folder.
pub(super) fn create_temporary_folder(folder: &Path, prefix: &str) -> Result<PathBuf, Error> {
    let mut number = 0_u32;
    loop {
        let path = folder.join(format!("{prefix}{}_{number}", std::process::id()));
        match make_folder(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number = number.wrapping_add(1),
            Err(e) => return Err(Error::io("create", path)(e)),
        }
    }
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    point("git.make_folder")?;
    fs::create_dir(path)?;
    journal::made_folder(path);
    unsynced().folders.extend(path.parent().map(Path::to_owned));
    Ok(())
}

/// Makes a folder and its parents.
pub(super) fn create_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), create_folder)?;
    match make_folder(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(Error::io("create", path)),
    }
}

/// Makes a file's bytes durable.
pub(super) fn sync_file(file: &File, path: &Path) -> Result<(), Error> {
    point("git.sync").map_err(Error::io("sync", path))?;
    file.sync_data().map_err(Error::io("sync", path))?;
    journal::synced_file(file);
    unsynced().files.remove(path);
    Ok(())
}

/// Makes a folder's names durable, and its own if it is new; a no-op where folders cannot be opened.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    point("git.sync_folder").map_err(Error::io("sync", path))?;
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))?;
    }
    journal::synced_folder(path);
    unsynced().folders.remove(path);
    let parent = path.parent().filter(|parent| unsynced().folders.contains(*parent));
    parent.map_or(Ok(()), sync_folder)
}

/// Gives a file its final name, replacing what has it.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    point("git.rename").map_err(Error::io("rename", from))?;
    let replaced = journal::keep(to);
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    journal::placed(from, to, replaced);
    let mut unsynced = unsynced();
    if unsynced.files.remove(from) {
        unsynced.files.insert(to.to_owned());
    }
    Ok(())
}

/// Removes a file; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    point("git.remove").map_err(Error::io("remove", path))?;
    let kept = journal::keep(path);
    unsynced().files.remove(path);
    match fs::remove_file(path) {
        Ok(()) => journal::removed(path, kept),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("remove", path)(e)),
    }
    Ok(())
}

/// Appends a line to a file, which is created if needed. A line before it that a crash cut short is ended first.
pub(super) fn append(path: &Path, line: &[u8]) -> Result<(), Error> {
    let failed = || Error::io("append to", path);
    point("git.append").map_err(failed())?;
    let new = !path.exists();
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed())?;
    match new {
        true => journal::created(path, &file),
        false => journal::appending(&file),
    }
    let mut bytes = Vec::with_capacity(line.len() + 1);
    if file.seek(SeekFrom::End(0)).map_err(failed())? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(failed())?;
        bytes.extend((last != *b"\n").then_some(b'\n'));
    }
    bytes.extend_from_slice(line);
    file.write_all(&bytes).map_err(failed())
}

/// Replaces a small file whole: temporary file, sync, rename.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let (mut file, temporary) = create_temporary(folder, "tmp_aios_")?;
    let written = point("git.write")
        .and_then(|()| file.write_all(bytes))
        .map_err(Error::io("write", &temporary))
        .and_then(|()| sync_file(&file, &temporary))
        .and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

/// Takes write permission from a file, as git does with objects and packs.
pub(super) fn make_read_only(file: &File, path: &Path) -> Result<(), Error> {
    point("git.mode").map_err(Error::io("change", path))?;
    let mut permissions = file.metadata().map_err(Error::io("read", path))?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions).map_err(Error::io("change", path))
}

/// Sets the time of a file's last change.
pub(super) fn set_modified(file: &File, time: SystemTime) -> std::io::Result<()> {
    file.set_modified(time)
}

/// A git lock file (`NAME.lock`): held from creation to [`Lock::commit`] or drop.
///
/// It is a second name of a file in `.git` that tells whose it is, so that a lock left by a killed aios is known from one
/// that a running git holds, and is taken over (I9). Only one aios process may write to a repository at a time.
#[derive(Debug)]
pub(super) struct Lock {
    /// The open lock file.
    pub file: File,
    lock: PathBuf,
    owner: PathBuf,
    target: PathBuf,
    held: bool,
}

/// What the names of the files that tell whose a lock is start with.
const OWNER: &str = "aios-lock-";

/// What tells this process from a killed one, which may have had the same process id.
#[cfg(not(any(test, feature = "simulated")))]
fn incarnation() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| named(0))
}

/// As a process has it that was started anew at each crash of the calling thread.
#[cfg(any(test, feature = "simulated"))]
fn incarnation() -> &'static str {
    simulated::NAME.with_borrow_mut(|name| *name.get_or_insert_with(|| named(simulated::next()).leak()))
}

fn named(life: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{OWNER}{now:x}_{}_{life}_", std::process::id())
}

/// What a process keeps in memory and a crash takes, where one thread plays a process.
#[cfg(any(test, feature = "simulated"))]
pub(crate) mod simulated {
    use super::unsynced;
    use std::cell::RefCell;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    thread_local! { pub(super) static NAME: RefCell<Option<&'static str>> = const { RefCell::new(None) }; }

    pub(super) fn next() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets what was written below `root` and not synced, and which locks are this thread's.
    pub fn forget(root: &Path) {
        NAME.set(None);
        let mut unsynced = unsynced();
        unsynced.files.retain(|path| !path.starts_with(root));
        unsynced.folders.retain(|path| !path.starts_with(root));
    }
}

impl Lock {
    /// Takes the lock of `target`, a file in the git folder `git`, or None when someone holds it.
    pub(super) fn take(git: &Path, target: &Path) -> Result<Option<Lock>, Error> {
        let lock = Lock::path(target);
        let (file, owner) = create_temporary(git, incarnation())?;
        // Whether its bytes are synced is for `commit` to say.
        unsynced().files.remove(&owner);
        let link = || point("git.link").and_then(|()| fs::hard_link(&owner, &lock));
        let mut linked = link();
        if linked.as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists) && abandoned(git, &lock)? {
            remove(&lock)?;
            linked = link();
        }
        let taken = match linked {
            Ok(()) => {
                journal::renamed_by_link(&owner, &lock);
                Ok(file)
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(e),
            // A file system without links: a lock as git's own.
            Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                create_new(&lock)
            }
            Err(e) => Err(e),
        };
        match taken {
            Ok(file) => Ok(Some(Lock { file, lock, owner, target: target.into(), held: true })),
            Err(e) => {
                remove(&owner)?;
                if e.kind() == ErrorKind::AlreadyExists {
                    Ok(None)
                } else {
                    Err(Error::io("create", lock)(e))
                }
            }
        }
    }

    /// The name of the lock file of `target`.
    pub(super) fn path(target: &Path) -> PathBuf {
        let mut name = target.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    /// Writes the new content into the lock file.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        point("git.write").and_then(|()| self.file.write_all(bytes)).map_err(Error::io("write", &self.lock))
    }

    /// Puts the lock file in the target's place, durably and after all that was written before.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        sync_all(self.owner.parent().unwrap_or(&self.owner))?;
        sync_file(&self.file, &self.lock)?;
        rename(&self.lock, &self.target)?;
        self.held = false;
        // Were the rename lost and not this removal, nothing would tell whose the lock is (I9).
        self.target.parent().map_or(Ok(()), sync_folder)?;
        remove(&self.owner)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held && !fault::crashed() {
            // Nothing can be told from a drop; a lock left behind is reported by the next one who meets it.
            let _ = fs::remove_file(&self.lock);
            let _ = fs::remove_file(&self.owner);
        }
    }
}

/// Whether a lock is that of an aios that was killed; removes the other files such a one left, but for those that tell whose
/// another lock is: two are held at once while `main` moves.
fn abandoned(git: &Path, lock: &Path) -> Result<bool, Error> {
    let mut found = false;
    for entry in fs::read_dir(git).map_err(Error::io("list", git))? {
        let path = entry.map_err(Error::io("list", git))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if name.starts_with(OWNER) && !name.starts_with(incarnation()) {
            match same_file(&path, lock) {
                true => found = true,
                false if has_other_name(&path) => {}
                false => remove(&path)?,
            }
        }
    }
    Ok(found)
}

#[cfg(unix)]
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (a.symlink_metadata(), b.symlink_metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(unix)]
pub(super) fn has_other_name(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().is_ok_and(|file| file.nlink() > 1)
}

#[cfg(not(unix))]
fn same_file(_: &Path, _: &Path) -> bool {
    false
}

#[cfg(not(unix))]
pub(super) fn has_other_name(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_lock_of_a_killed_aios_is_taken_over_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("index");
        let first = Lock::take(dir.path(), &target).unwrap().unwrap();
        assert!(Lock::take(dir.path(), &target).unwrap().is_none());
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let lock = Lock::path(&target);
        fs::write(&lock, "git's").unwrap();
        assert!(Lock::take(dir.path(), &target).unwrap().is_none());
        fs::hard_link(&lock, dir.path().join("aios-lock-1_1_0")).unwrap();
        // It held another lock too, and left a file that is none.
        let other = dir.path().join("main");
        fs::write(Lock::path(&other), "").unwrap();
        fs::hard_link(Lock::path(&other), dir.path().join("aios-lock-1_1_1")).unwrap();
        fs::write(dir.path().join("aios-lock-1_1_2"), "").unwrap();
        let mut taken = Lock::take(dir.path(), &target).unwrap().unwrap();
        taken.write(b"new").unwrap();
        taken.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(!dir.path().join("aios-lock-1_1_2").exists());
        assert!(Lock::take(dir.path(), &other).unwrap().is_some());
        assert!(Lock::take(dir.path(), &target).unwrap().is_some());
    }
}
