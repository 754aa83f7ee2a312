//! Every step that makes bytes durable or visible, each by one name (I9).

use super::Error;
use crate::disk::fault::point;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// Creates a file that must not exist, for reading and writing.
pub(super) fn create_new(path: &Path) -> std::io::Result<File> {
    point("git.create")?;
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Creates a file of a fresh name `prefix` + process + number in a folder.
pub(super) fn create_temporary(folder: &Path, prefix: &str) -> Result<(File, PathBuf), Error> {
    let mut number = 0_u32;
    loop {
        let path = folder.join(format!("{prefix}{}_{number}", std::process::id()));
        match create_new(&path) {
            Ok(file) => return Ok((file, path)),
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
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number = number.wrapping_add(1),
            Err(e) => return Err(Error::io("create", path)(e)),
        }
    }
}

/// Makes a folder and its parents.
pub(super) fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// Makes a file's bytes durable.
pub(super) fn sync_file(file: &File, path: &Path) -> Result<(), Error> {
    point("git.sync").map_err(Error::io("sync", path))?;
    file.sync_data().map_err(Error::io("sync", path))
}

/// Makes a folder's names durable; a no-op where folders cannot be opened.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    point("git.sync_folder").map_err(Error::io("sync", path))?;
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))?;
    }
    Ok(())
}

/// Gives a file its final name, replacing what has it.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    point("git.rename").map_err(Error::io("rename", from))?;
    fs::rename(from, to).map_err(Error::io("rename", from))
}

/// Removes a file; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    point("git.remove").map_err(Error::io("remove", path))?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Appends bytes to a file, which is created if needed.
pub(super) fn append(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    point("git.append").map_err(Error::io("append to", path))?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io("append to", path))
}

/// Replaces a small file whole: temporary file, sync, rename.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let (mut file, temporary) = create_temporary(folder, "tmp_aios_")?;
    let written = file
        .write_all(bytes)
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
fn incarnation() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        format!("{OWNER}{now:x}_{}_", std::process::id())
    })
}

impl Lock {
    /// Takes the lock of `target`, a file in the git folder `git`, or None when someone holds it.
    pub(super) fn take(git: &Path, target: &Path) -> Result<Option<Lock>, Error> {
        let lock = Lock::path(target);
        let (file, owner) = create_temporary(git, incarnation())?;
        let mut linked = fs::hard_link(&owner, &lock);
        if linked.as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists) && abandoned(git, &lock)? {
            remove(&lock)?;
            linked = fs::hard_link(&owner, &lock);
        }
        let taken = match linked {
            Ok(()) => Ok(file),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(e),
            // A file system without links: a lock as git's own.
            Err(_) => create_new(&lock),
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
        self.file.write_all(bytes).map_err(Error::io("write", &self.lock))
    }

    /// Puts the lock file in the target's place.
    pub(super) fn commit(mut self, sync: bool) -> Result<(), Error> {
        if sync {
            sync_file(&self.file, &self.lock)?;
        }
        rename(&self.lock, &self.target)?;
        self.held = false;
        remove(&self.owner)?;
        match self.target.parent() {
            Some(folder) if sync => sync_folder(folder),
            _ => Ok(()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held {
            // Nothing can be told from a drop; a lock left behind is reported by the next one who meets it.
            let _ = fs::remove_file(&self.lock);
            let _ = fs::remove_file(&self.owner);
        }
    }
}

/// Whether a lock is that of an aios that was killed; removes the other files such a one left.
fn abandoned(git: &Path, lock: &Path) -> Result<bool, Error> {
    let mut found = false;
    for entry in fs::read_dir(git).map_err(Error::io("list", git))? {
        let path = entry.map_err(Error::io("list", git))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if name.starts_with(OWNER) && !name.starts_with(incarnation()) {
            match same_file(&path, lock) {
                true => found = true,
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

#[cfg(not(unix))]
fn same_file(_: &Path, _: &Path) -> bool {
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
        let mut taken = Lock::take(dir.path(), &target).unwrap().unwrap();
        taken.write(b"new").unwrap();
        taken.commit(true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(Lock::take(dir.path(), &target).unwrap().is_some());
    }
}
