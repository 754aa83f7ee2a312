//! An open folder, reached without following links, and the acts on the names in it.
//!
//! A vault may hold a link to `/etc`; nothing is ever read or written through it. So paths are resolved by
//! handle, component by component, refusing links (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`
//! does it in one call on Linux), and every act names an entry of an open folder.

use super::{DiskError, fault, journal};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// Why a folder below the root cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// There is no such folder.
    #[error("{}: no such folder", .0.display())]
    Missing(PathBuf),
    /// A component of the path is a symbolic link.
    #[error("{}: is a symbolic link, which is never followed; replace it by a folder or ignore it", .0.display())]
    Link(PathBuf),
    /// A component of the path is a file.
    #[error("{}: a file stands where a folder must be; rename one of the two", .0.display())]
    File(PathBuf),
    /// The path is not a path of a document.
    #[error("{path:?}: not a path of a document: {why}; rename it")]
    Path {
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Checks that `path` may name a document: relative, `/` between components, none of them empty, `.`, `..`
/// or a spelling of `.git` or `.aios` that some file system takes for those names. A member's record must
/// not be able to write a git hook.
///
/// # Errors
/// [`FolderError::Path`] says why not.
pub fn check_path(path: &str) -> Result<(), FolderError> {
    let why = path.split('/').find_map(|name| match name {
        "" => Some("empty component"),
        "." | ".." => Some("`.` or `..` in it"),
        _ if name.contains('\0') => Some("NUL in it"),
        _ if aios_core::path::reserved(name) => Some("`.git` and `.aios` are not documents"),
        _ => None,
    });
    why.map_or(Ok(()), |why| Err(FolderError::Path { path: path.to_owned(), why }))
}

/// The folder and the name of `path`, a checked path: `a/b/c` is `("a/b", "c")`.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What a file's second name begins with while an exchange without the kernel's help is under way.
pub(super) const HELD: &str = "held.";

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens the folder at `path`. Links in `path` are followed: whoever names a root means what it leads to.
    ///
    /// # Errors
    /// What the system answers.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let named = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = rustix::fs::open(named, FOLDER, Mode::empty())
            .map_err(|e| DiskError::new("open the folder", named, e))?;
        Ok(Self { fd, path: named.to_path_buf() })
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The handle.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens the folder `path` below this one; an empty path is this one again. Follows no link.
    ///
    /// # Errors
    /// [`FolderError`] names the first component that is missing, a link or a file.
    pub fn beneath(&self, path: &str) -> Result<Self, FolderError> {
        if path.is_empty() {
            return Ok(self.child(".")?);
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            if let Ok(fd) = rustix::fs::openat2(&self.fd, path, FOLDER, Mode::empty(), how) {
                return Ok(Self { fd, path: self.path.join(path) });
            }
            // Whatever the reason (an old kernel too), the walk finds it and names the component.
        }
        self.walk(path, false)
    }

    /// Opens the folder `path` below this one, making what is missing of it. Follows no link.
    ///
    /// # Errors
    /// [`FolderError`] names the first component that is a link or a file, or cannot be made.
    pub fn make(&self, path: &str) -> Result<Self, FolderError> {
        match self.beneath(path) {
            Err(FolderError::Missing(_)) => self.walk(path, true),
            other => other,
        }
    }

    fn walk(&self, path: &str, make: bool) -> Result<Self, FolderError> {
        let mut at: Option<Self> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let above = at.as_ref().unwrap_or(self);
            let next = match above.child(name) {
                Err(e) if make && e.kind() == io::ErrorKind::NotFound => {
                    above.make_folder(name)?;
                    above.child(name)
                }
                other => other,
            };
            at = Some(next.map_err(|e| above.blame(name, e))?);
        }
        at.map_or_else(|| Ok(self.child(".")?), Ok)
    }

    fn child(&self, name: &str) -> Result<Self, DiskError> {
        let path = if name == "." { self.path.clone() } else { self.path.join(name) };
        match rustix::fs::openat(&self.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(e) => Err(DiskError::new("open the folder", path, e)),
        }
    }

    fn blame(&self, name: &str, error: DiskError) -> FolderError {
        let path = self.path.join(name);
        match self.stat(name).ok().flatten().map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None if error.kind() == io::ErrorKind::NotFound => FolderError::Missing(path),
            Some(FileType::Symlink) => FolderError::Link(path),
            None | Some(FileType::Directory) => FolderError::Disk(error),
            Some(_) => FolderError::File(path),
        }
    }

    /// What stands at `name`, not following a link; `None` for nothing.
    ///
    /// # Errors
    /// What the system answers, but for "not found".
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, DiskError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(DiskError::new("look at", self.path.join(name), e)),
        }
    }

    /// Opens the file `name` for reading: never through a link, never waiting for a pipe's writer.
    ///
    /// # Errors
    /// What the system answers; `ELOOP` for a link.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?))
    }

    /// The target of the link `name`.
    ///
    /// # Errors
    /// What the system answers; `EINVAL` if it is not a link.
    pub fn read_link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes())
    }

    /// Creates the file `name`, which must not exist, readable and writable, executable too if `exec`, as far
    /// as the user's umask lets it be.
    ///
    /// # Errors
    /// What the system answers; `AlreadyExists` if anything stands there.
    pub fn create(&self, name: &str, exec: bool) -> Result<File, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_bits_truncate(if exec { 0o777 } else { 0o666 });
        let file = fault::point("disk.create")
            .and_then(|()| Ok(File::from(rustix::fs::openat(&self.fd, name, flags, mode)?)))
            .map_err(|e| DiskError::new("create", self.path.join(name), e))?;
        journal::created(&self.path.join(name), &file);
        Ok(file)
    }

    /// Makes the symbolic link `name` to `target`.
    ///
    /// # Errors
    /// What the system answers.
    pub fn link_to(&self, target: &[u8], name: &str) -> Result<(), DiskError> {
        fault::point("disk.symlink")
            .and_then(|()| Ok(rustix::fs::symlinkat(target, &self.fd, name)?))
            .map_err(|e| DiskError::new("make the link", self.path.join(name), e))?;
        journal::linked(&self.path.join(name));
        Ok(())
    }

    /// Makes the folder `name`; one that is there already will do.
    ///
    /// # Errors
    /// What the system answers.
    pub fn make_folder(&self, name: &str) -> Result<(), DiskError> {
        let made = fault::point("disk.make_folder").and_then(|()| {
            match rustix::fs::mkdirat(&self.fd, name, Mode::from_bits_truncate(0o777)) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(e) => Err(e.into()),
            }
        });
        if made.map_err(|e| DiskError::new("make the folder", self.path.join(name), e))? {
            journal::made_folder(&self.path.join(name));
        }
        Ok(())
    }

    /// Removes the file or link `name`.
    ///
    /// # Errors
    /// What the system answers.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        let wrap = |e: io::Error| DiskError::new("remove", self.path.join(name), e);
        fault::point("disk.remove").map_err(wrap)?;
        let kept = journal::keep(&self.path.join(name));
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(|e| wrap(e.into()))?;
        journal::removed(&self.path.join(name), kept);
        Ok(())
    }

    /// Removes the folder `name` if it is empty; says whether it did.
    ///
    /// # Errors
    /// What the system answers, but for "not empty" and "not found".
    pub fn remove_folder(&self, name: &str) -> Result<bool, DiskError> {
        let removed = fault::point("disk.remove_folder")
            .and_then(|()| match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
                Ok(()) => Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => Ok(false),
                Err(e) => Err(e.into()),
            })
            .map_err(|e| DiskError::new("remove the folder", self.path.join(name), e))?;
        if removed {
            journal::removed_folder(&self.path.join(name));
        }
        Ok(removed)
    }

    /// Renames `name` to `to_name` in `to`, replacing what is there.
    ///
    /// # Errors
    /// What the system answers.
    pub fn rename(&self, name: &str, to: &Self, to_name: &str) -> Result<(), DiskError> {
        let wrap = |e: io::Error| DiskError::new("rename", self.path.join(name), e);
        fault::point("disk.rename").map_err(wrap)?;
        let replaced = journal::keep(&to.path.join(to_name));
        rustix::fs::renameat(&self.fd, name, &to.fd, to_name).map_err(|e| wrap(e.into()))?;
        journal::renamed(&self.path.join(name), &to.path.join(to_name), replaced);
        Ok(())
    }

    /// Renames `name` to `to_name` in `to` unless something stands there.
    ///
    /// Without `RENAME_NOREPLACE` a second name is made and the first removed; on a file system without hard
    /// links, and for folders, a look before the rename is all there is.
    ///
    /// # Errors
    /// What the system answers; `AlreadyExists` if something stands there.
    pub fn rename_new(&self, name: &str, to: &Self, to_name: &str) -> Result<(), DiskError> {
        let wrap = |e: io::Error| DiskError::new("rename", to.path.join(to_name), e);
        fault::point("disk.rename_new").map_err(wrap)?;
        match rename_flagged(&self.fd, name, &to.fd, to_name, false) {
            Err(e) if unsupported(e) => {
                match rustix::fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty()) {
                    Ok(()) => rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()),
                    Err(Errno::EXIST) => Err(Errno::EXIST),
                    Err(_) if to.stat(to_name)?.is_some() => Err(Errno::EXIST),
                    Err(_) => rustix::fs::renameat(&self.fd, name, &to.fd, to_name),
                }
            }
            done => done,
        }
        .map_err(|e| wrap(e.into()))?;
        journal::renamed(&self.path.join(name), &to.path.join(to_name), None);
        Ok(())
    }

    /// Exchanges the entry `name` with `other_name` in `other`, at once: neither name is ever without a file.
    ///
    /// Where the file system cannot, the old file first gets a second name (or, without hard links, a copy)
    /// and is then renamed over: still never without a file, but what a third program renames to that name in
    /// between is lost.
    ///
    /// # Errors
    /// What the system answers.
    pub fn exchange(&self, name: &str, other: &Self, other_name: &str) -> Result<(), DiskError> {
        let wrap = |e: io::Error| DiskError::new("exchange", other.path.join(other_name), e);
        fault::point("disk.exchange").map_err(wrap)?;
        match rename_flagged(&self.fd, name, &other.fd, other_name, true) {
            Ok(()) => {
                journal::exchanged(&self.path.join(name), &other.path.join(other_name));
                Ok(())
            }
            Err(e) if unsupported(e) => self.exchange_by_links(name, other, other_name),
            Err(e) => Err(wrap(e.into())),
        }
    }

    /// The second best: see [`Folder::exchange`].
    fn exchange_by_links(&self, name: &str, other: &Self, other_name: &str) -> Result<(), DiskError> {
        let wrap = |e: io::Error| DiskError::new("exchange", other.path.join(other_name), e);
        let held = format!("{HELD}{name}");
        match rustix::fs::linkat(&other.fd, other_name, &self.fd, held.as_str(), AtFlags::empty()) {
            Ok(()) => {}
            Err(e @ (Errno::NOENT | Errno::NOSPC | Errno::DQUOT | Errno::ROFS)) => {
                return Err(wrap(e.into()));
            }
            Err(_) => {
                let mut old = other.open_file(other_name).map_err(wrap)?;
                let mut copy = self.create(&held, false)?;
                io::copy(&mut old, &mut copy).and_then(|_| copy.sync_all()).map_err(wrap)?;
            }
        }
        if let Err(e) = rustix::fs::renameat(&self.fd, name, &other.fd, other_name) {
            // Nothing has changed yet but for the second name; the first error is the one that matters.
            let _ = rustix::fs::unlinkat(&self.fd, held.as_str(), AtFlags::empty());
            return Err(wrap(e.into()));
        }
        fault::point("disk.exchange_held").map_err(wrap)?;
        rustix::fs::renameat(&self.fd, held.as_str(), &self.fd, name).map_err(|e| wrap(e.into()))?;
        journal::exchanged(&self.path.join(name), &other.path.join(other_name));
        Ok(())
    }

    /// Makes the names in this folder durable.
    ///
    /// # Errors
    /// What the system answers.
    pub fn sync(&self) -> Result<(), DiskError> {
        fault::point("disk.sync_dir")
            .and_then(|()| Ok(rustix::fs::fsync(&self.fd)?))
            .map_err(|e| DiskError::new("sync the folder", &self.path, e))?;
        journal::synced_folder(&self.path);
        Ok(())
    }
}

/// Whether the file system does not know this kind of rename (as against: knows it and refuses).
fn unsupported(e: Errno) -> bool {
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_flagged(
    from: &OwnedFd,
    name: &str,
    to: &OwnedFd,
    to_name: &str,
    exchange: bool,
) -> rustix::io::Result<()> {
    use rustix::fs::RenameFlags;
    let flags = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    rustix::fs::renameat_with(from, name, to, to_name, flags)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_flagged(_: &OwnedFd, _: &str, _: &OwnedFd, _: &str, _: bool) -> rustix::io::Result<()> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_that_lead_to_git_or_aios_are_refused() {
        for path in [
            "",
            "/etc/passwd",
            "a//b",
            "a/",
            "../a",
            "a/../b",
            "./a",
            ".git/hooks/pre-commit",
            "sub/.GIT/config",
            ".g\u{200c}it/config",
            "git~1/config",
            ".git. /x",
            ".git::$INDEX_ALLOCATION/x",
            ".aios/log",
            ".Aios",
            "a\0b",
        ] {
            assert!(matches!(check_path(path), Err(FolderError::Path { .. })), "{path:?}");
        }
        for path in ["a", ".gitignore", ".aiosignore", "git/x", "a b/c…", ".github/x.yml", "...", "aios.md"]
        {
            check_path(path).unwrap();
        }
    }

    #[test]
    fn a_path_through_a_link_or_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("a/root")).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let root = Folder::open(dir.path()).unwrap();
        assert!(matches!(root.make("etc/new"), Err(FolderError::Link(_))));
        assert!(matches!(root.beneath("etc"), Err(FolderError::Link(_))));
        assert!(matches!(root.beneath("a/root/etc"), Err(FolderError::Link(_))));
        assert!(matches!(root.make("file/b"), Err(FolderError::File(_))));
        assert!(matches!(root.beneath("b/c"), Err(FolderError::Missing(_))));
        root.make("b/c").unwrap();
        assert!(dir.path().join("b/c").is_dir());
    }

    #[test]
    fn exchange_by_links_does_what_exchange_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        for by_links in [false, true] {
            fs::write(dir.path().join("a"), "new").unwrap();
            fs::write(dir.path().join("b"), "old").unwrap();
            if by_links { root.exchange_by_links("a", &root, "b") } else { root.exchange("a", &root, "b") }
                .unwrap();
            assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"new");
            assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        }
        assert_eq!(root.rename_new("a", &root, "b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
