//! The disk: everything that aios creates, writes, renames, syncs, reads or lists in a vault's folder.
//!
//! - [`scan`] lists what is there and never mistakes an unreadable folder for a deleted one (I12).
//! - [`read`] reads one file whole, or says that it keeps changing.
//! - [`mod@write`] puts content at a path by exchange and hands back what it displaced (I2), in a [`batch`] for many files;
//!   [`answer`] has the words for both.
//! - [`durable`] and [`folder`] hold every call that changes a disk, but for those in `.git` (`git::durable`);
//!   each passes a [`fault`] point, and in a crash test the `journal` drops what was not synced (I9).
//!
//! Paths inside the vault are UTF-8, relative, with `/` between components. The layer needs a Unix.

pub mod answer;
pub mod batch;
#[cfg(test)]
mod crash;
pub mod durable;
pub mod error;
pub mod fault;
pub mod folder;
pub mod journal;
mod lease;
pub mod lock;
pub mod read;
pub mod rules;
pub mod scan;
pub mod temp;
pub mod write;

pub use answer::{Displaced, Expect, Moved, Put, Removed, Source, WriteError};
pub use batch::Batch;
pub use error::DiskError;
pub use folder::{Folder, FolderError};
pub use lock::{Lock, LockError};
pub use read::{Content, Read, ReadError};
pub use rules::{RuleProblem, RuleSource, Rules};
pub use scan::{Found, Kind, Problem, Root, Scan, ScanProblem};
pub use temp::{Leftover, Origin, path_key};
pub use write::Writer;
