//! One failed call to the file system: what was tried, where, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A call to the file system that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; {}", path.display(), self.hint())]
pub struct DiskError {
    /// What was tried, as a verb phrase: `create`, `sync the folder`.
    pub action: &'static str,
    /// Where, as the caller named it.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

impl DiskError {
    /// Wraps `source`, the system's answer to doing `action` at `path`.
    pub fn new(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self { action, path: path.as_ref().to_path_buf(), source: source.into() }
    }

    /// The kind of the system's answer.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// What the person at the keyboard can do, in one phrase.
    pub fn hint(&self) -> &'static str {
        use io::ErrorKind as K;
        match self.source.kind() {
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
                "free some space on that disk and try again"
            }
            K::PermissionDenied => "check the owner and the permissions of it and of the folder above",
            K::ReadOnlyFilesystem => "the disk is mounted read-only: remount it or move the vault",
            K::NotFound => "it is gone: run the command again if something else moved it",
            K::AlreadyExists => "something already stands there: move it away first",
            K::CrossesDevices => "keep the whole vault on one file system",
            K::InvalidFilename => "use a shorter name",
            _ => "check the disk (`dmesg` tells what the kernel saw) and try again",
        }
    }
}
