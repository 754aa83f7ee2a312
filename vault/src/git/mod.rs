//! The git repository under a vault: objects, packs, trees, commits, the index and refs.
//!
//! Everything here is about git's own formats and knows nothing of records or documents. Reading goes
//! through libgit2; bulk writing, the index and refs are written here, because each needs control over
//! when a byte is durable (I9) or speed that libgit2 does not give. Formats: `gitformat-pack(5)`,
//! `gitformat-index(5)`, `gitrepository-layout(5)`.

mod commit;
mod durable;
mod index;
mod mark;
mod objects;
mod orphan;
mod pack;
mod promise;
mod refs;
mod repack;
mod repo;
mod torn;
mod tree;

pub use commit::{Commit, Signature};
#[cfg(any(test, feature = "simulated"))]
pub(crate) use durable::simulated;
pub use index::{Held, Index, Stat, Update, leave_out, update_index};
pub use mark::Mark;
pub use objects::{Bulk, Loose, Objects, commit, object_id, read};
pub use pack::{Pack, PackWriter};
pub use promise::{has_promised, promise};
pub use refs::{
    AIOS_PREFIX, ASIDE_PREFIX, HISTORY_PREFIX, LOG_MESSAGE, LOG_PREFIX, MAIN, PROJECTED, REMOTE_PREFIX,
    State, busy, own_refs, read_ref, set_ref, state,
};
pub use repack::{Limits, Repacked, count_loose, expunge, loose_at_least, repack};
pub use repo::{open_or_init, write_excludes};
pub use torn::{Torn, head_again, pack_again, torn};
pub use tree::{Change, Diff, Entry, TREE, diff_trees, edit_tree, entries, file_mode, lookup};

use git2::{ObjectType, Oid};
use std::path::PathBuf;

/// Makes durable what was written to a repository: before anything that lasts says that it is there.
///
/// # Errors
/// What the system answers.
pub fn sync(repo: &git2::Repository) -> Result<(), Error> {
    durable::sync_all(repo.commondir())
}

/// Packs this young may not have reached the disk, if who wrote them was killed.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(3600);

/// Has packs made durable, with what is written next, that another process put there a moment ago.
pub fn doubt_packs(repo: &git2::Repository) {
    let packs = std::fs::read_dir(repo.commondir().join("objects/pack")).into_iter().flatten().flatten();
    let now = std::time::SystemTime::now();
    for pack in packs {
        let written = pack.metadata().and_then(|file| file.modified());
        // One of a time to come is of a clock that was wrong.
        if written.is_ok_and(|written| now.duration_since(written).map_or(true, |age| age < YOUNG)) {
            durable::doubt(pack.path());
        }
    }
}

/// What can go wrong in the git layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libgit2 failed.
    #[error("git: {what} failed: {source}; run `git fsck` in the vault if this repeats")]
    Git {
        /// The operation, as a noun phrase.
        what: String,
        /// libgit2's own words.
        source: git2::Error,
    },
    /// The file system failed.
    #[error("cannot {what} {}: {source}; check the disk and the permissions of the folder", path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// An object that another object or a ref names is not in the repository.
    #[error("git object {0} is missing; `aios` rebuilds history from the log, or fetch it from a peer")]
    Missing(Oid),
    /// An object's bytes are not what its type demands.
    #[error("git {kind} {oid} is malformed: {why}; run `git fsck` in the vault")]
    Malformed {
        /// The type that was expected.
        kind: ObjectType,
        /// Its id.
        oid: Oid,
        /// What is wrong.
        why: &'static str,
    },
    /// An object that is not what it should be.
    #[error("git object {oid} is damaged: {why}; `aios rebuild` makes again what the log holds")]
    BadObject {
        /// Its id.
        oid: Oid,
        /// What is wrong.
        why: &'static str,
    },
    /// A path that git cannot hold.
    #[error("git cannot hold the path {path:?}: {why}; rename the file")]
    BadPath {
        /// The path, lossily decoded.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// One name would be a file and a folder in the same tree.
    #[error("{0:?} would be both a file and a folder; rename one of them")]
    Clash(String),
    /// A reader gave fewer or more bytes than announced.
    #[error("an object of {expected} bytes gave {found}; the file changed while it was read, try again")]
    Length {
        /// The announced size in bytes.
        expected: u64,
        /// The bytes read, at most one more than announced.
        found: u64,
    },
    /// Another program holds the index.
    #[error("another git command holds {}; let it finish, or delete that file if none is running", .0.display())]
    IndexBusy(PathBuf),
    /// The index cannot be read.
    #[error("the git index {} cannot be used: {why}; {help}", path.display())]
    BadIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        help: &'static str,
    },
    /// Another program holds a ref.
    #[error("another git command holds {}; let it finish, or delete that file if none is running", .0.display())]
    RefBusy(PathBuf),
    /// A ref cannot be read.
    #[error("git's {name} cannot be read: {why}; run `aios rebuild`, which makes it again")]
    BadRef {
        /// The full name of the ref.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A ref is not where the caller thought.
    #[error(
        "{name} is at {found}, not at {expected}; someone moved it meanwhile, take their commits in first"
    )]
    RefMoved {
        /// The full name of the ref.
        name: String,
        /// The id expected, zero for none.
        expected: Oid,
        /// The id found, zero for none.
        found: Oid,
    },
    /// A repository aios cannot work in.
    #[error("{} cannot be a vault: {why}; {help}", path.display())]
    Unsupported {
        /// The repository or file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// A pack is damaged.
    #[error("the pack {} is damaged: {why}; run `git fsck` in the vault", path.display())]
    BadPack {
        /// The pack or its index.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

impl Error {
    /// Whether somebody's git only has to end, or to change how it keeps its index: nothing is lost, and it can wait.
    pub fn is_standing(&self) -> bool {
        matches!(self, Error::IndexBusy(_) | Error::RefBusy(_) | Error::BadIndex { .. })
    }

    /// Whether what is there is not what git wrote; else git wrote it in a form that aios does not read.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Error::BadIndex { help, .. } if *help != index::REBUILD)
    }

    /// Names the operation that libgit2 failed at.
    pub(crate) fn git(what: impl Into<String>) -> impl FnOnce(git2::Error) -> Error {
        move |source| Error::Git { what: what.into(), source }
    }

    /// Names the operation and the file that the system failed at.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io { what, path: path.into(), source }
    }
}

#[cfg(test)]
pub(crate) mod testing;
