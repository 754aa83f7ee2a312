//! A stable read: the whole of one file as it was at one moment, or the news that it keeps changing.

use super::{DiskError, Folder, FolderError, Found, Kind, fault, folder, lease};
use blake3::Hash;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

/// Above this many bytes a document is a blob, and its content is hashed in passing instead of held.
pub const LARGE: u64 = 16 << 20;

/// How often a file that changes under the reader is tried.
const ATTEMPTS: u32 = 5;
/// How long to leave a writer alone after the first attempt; doubled after each further.
const PAUSE: Duration = Duration::from_millis(2);
const CHUNK: usize = 1 << 20;

/// Content as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    Bytes(Vec<u8>),
    /// Too large to hold; its hash is in [`Read::hash`].
    Large {
        /// Length in bytes.
        size: u64,
    },
}

/// What a stable read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The content; of a link, the path it leads to.
    pub content: Content,
    /// BLAKE3 of the content.
    pub hash: Hash,
    /// What the file was, before and after.
    pub found: Found,
}

/// A file written this recently may still be being written, and for so long that is waited for.
const YOUNG_NS: i64 = 1_000_000_000;
const WRITERS: std::time::Duration = std::time::Duration::from_millis(500);

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing is there (any more).
    #[error("{0}: no such file")]
    Missing(String),
    /// A folder, pipe, socket or device stands there.
    #[error("{0}: not a file or link; move it away or ignore it")]
    NotAFile(String),
    /// It changed during every attempt.
    #[error("{0}: it is being written all the time; try again when its writer is done")]
    Changing(String),
    /// The folder above cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Reads `path` below `root`, holding up to `cap` bytes ([`LARGE`] for documents).
///
/// # Errors
/// [`ReadError`]; only [`ReadError::Missing`] means that the file is not there (I12).
pub fn read(root: &Folder, path: &str, cap: u64) -> Result<Read, ReadError> {
    folder::check_path(path)?;
    let (parent, name) = folder::split(path);
    let parent = match root.beneath(parent) {
        Ok(parent) => parent,
        Err(FolderError::Missing(_)) => return Err(ReadError::Missing(path.to_owned())),
        Err(e) => return Err(e.into()),
    };
    read_in(&parent, name, path, cap)
}

/// Reads the entry `name` of `folder`, which is `path` in the vault; as [`read`].
pub(super) fn read_in(folder: &Folder, name: &str, path: &str, cap: u64) -> Result<Read, ReadError> {
    let wrap = |e: io::Error| ReadError::Disk(DiskError::new("read", folder.path().join(name), e));
    let look = || -> Result<Found, ReadError> {
        let stat = folder.stat(name)?.ok_or_else(|| ReadError::Missing(path.to_owned()))?;
        Found::of(path, &stat).ok_or_else(|| ReadError::NotAFile(path.to_owned()))
    };
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE * (1 << (attempt - 1)));
        }
        fault::point("disk.read").map_err(wrap)?;
        let before = look()?;
        let done = match before.kind {
            Kind::Link => folder.read_link(name).map(|target| {
                let hash = blake3::hash(&target);
                (Content::Bytes(target), hash)
            }),
            Kind::File => folder.open_file(name).and_then(|mut file| {
                // Half of a save in place is no save.
                let age = crate::chance::now_ns().saturating_sub(before.mtime_ns);
                if age < YOUNG_NS {
                    lease::until_written(&file, WRITERS);
                }
                let opened = rustix::fs::fstat(&file)?;
                match Found::of(path, &opened) {
                    Some(found) if found.same(&before) => content(&mut file, before.size, cap),
                    _ => Err(io::ErrorKind::Interrupted.into()),
                }
            }),
        };
        match done {
            Ok((content, hash)) => {
                let size = match &content {
                    Content::Bytes(bytes) => bytes.len() as u64,
                    Content::Large { size } => *size,
                };
                if size == before.size && look()?.same(&before) {
                    return Ok(Read { content, hash, found: before });
                }
            }
            // Replaced between the look and the open: a link or nothing now, or another file.
            Err(e) if matches!(e.raw_os_error(), Some(code) if replaced(code)) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(wrap(e)),
        }
    }
    Err(ReadError::Changing(path.to_owned()))
}

pub(super) fn replaced(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::NOENT, Errno::LOOP, Errno::INVAL, Errno::ISDIR, Errno::NXIO]
        .iter()
        .any(|errno| errno.raw_os_error() == code)
}

/// Reads to the end of `file`, holding the bytes if `size` is within `cap`.
fn content(file: &mut File, size: u64, cap: u64) -> io::Result<(Content, Hash)> {
    if size <= cap {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
        // A writer that never stops must not fill the memory.
        file.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
        let hash = blake3::hash(&bytes);
        return Ok((Content::Bytes(bytes), hash));
    }
    let mut hasher = blake3::Hasher::new();
    let size = copy(file, |chunk| {
        hasher.update(chunk);
        Ok(())
    })?;
    Ok((Content::Large { size }, hasher.finalize()))
}

/// Passes all of `from` to `sink` in chunks; returns how many bytes that were.
pub(super) fn copy(from: &mut File, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                sink(buffer.get(..n).unwrap_or_default())?;
                total += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_links_and_large_files_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), b"\xff\r\n").unwrap();
        fs::write(dir.path().join("empty"), b"").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let file = read(&root, "a/b", LARGE).unwrap();
        assert_eq!(
            (file.content, file.hash),
            (Content::Bytes(b"\xff\r\n".to_vec()), blake3::hash(b"\xff\r\n"))
        );
        assert_eq!(read(&root, "empty", LARGE).unwrap().content, Content::Bytes(Vec::new()));
        let link = read(&root, "link", LARGE).unwrap();
        assert_eq!((link.content, link.found.kind), (Content::Bytes(b"/etc/passwd".to_vec()), Kind::Link));
        let large = read(&root, "a/b", 2).unwrap();
        assert_eq!((large.content, large.hash), (Content::Large { size: 3 }, file.hash));
    }

    #[test]
    fn only_a_missing_file_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("b"), b"x").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(matches!(read(&root, "c", LARGE), Err(ReadError::Missing(_))));
        assert!(matches!(read(&root, "c/d", LARGE), Err(ReadError::Missing(_))));
        assert!(matches!(read(&root, "a", LARGE), Err(ReadError::NotAFile(_))));
        assert!(matches!(read(&root, "socket", LARGE), Err(ReadError::NotAFile(_))));
        assert!(matches!(read(&root, "link/x", LARGE), Err(ReadError::Folder(FolderError::Link(_)))));
        let _armed = fault::arm("disk.read=eio").unwrap();
        assert!(matches!(read(&root, "b", LARGE), Err(ReadError::Disk(_))));
    }

    #[test]
    fn a_file_that_keeps_changing_is_never_read_torn() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"").unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                while !stop.load(Ordering::Relaxed) && file.metadata().unwrap().len() < (8 << 20) {
                    io::Write::write_all(&mut file, &[b'x'; 64]).unwrap();
                }
            });
            for _ in 0..5 {
                match read(&root, "a", LARGE) {
                    Ok(Read { content: Content::Bytes(bytes), found, .. }) => {
                        assert_eq!(bytes.len() as u64, found.size);
                    }
                    Err(ReadError::Changing(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
