//! What a write is given and what it answers: nothing that somebody saved is lost sight of (I2).

use std::path::Path;

use blake3::Hash;

use super::write::Writer;
use super::{DiskError, FolderError, Found, Read, ReadError};

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

/// The path of a put in a [`Batch`](super::Batch), and what came of it.
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

impl Displaced {
    /// Reads it; see [`Writer::content`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, writer: &Writer, cap: u64) -> Result<Read, ReadError> {
        writer.content(&self.name, cap)
    }
}
