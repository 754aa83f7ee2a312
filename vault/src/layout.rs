//! Where a vault keeps what, and the replica's own name.

use std::path::{Component, Path, PathBuf};

use aios_core::id::{DeviceId, VaultId};
use serde::{Deserialize, Serialize};

use crate::disk::durable;
use crate::error::Error;
use crate::mirror;

/// The format of a vault's folder that this program writes.
pub const FORMAT: u32 = 1;

/// `.aios/replica.json`: which vault this folder is a replica of, and as which device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Format of the folder.
    pub format: u32,
    /// The vault.
    pub vault: VaultId,
    /// The device this replica is.
    pub device: DeviceId,
    /// The vault's name.
    pub name: String,
}

/// The folders and files of one vault.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of the vault at `root`, which need not exist yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The nearest folder at or above `from` that is a vault.
    ///
    /// # Errors
    /// [`Error::LostReplica`] for one that was, and whose log git still holds.
    pub fn find(from: &Path) -> Result<Self, Error> {
        let mut start = std::path::absolute(from).map_err(|e| Error::io("find", from, e))?;
        if start.components().any(|part| part == Component::ParentDir) {
            // What is above `a/..` is not `a`.
            start = std::fs::canonicalize(&start).unwrap_or(start);
        }
        if !start.is_dir() {
            return Err(Error::NoFolder { file: start.exists(), path: start });
        }
        // One that lost its name lies in no other: what is done there is not meant for the vault around it.
        for folder in start.ancestors() {
            if folder.join(".aios/replica.json").is_file() {
                return Ok(Self::new(folder));
            }
            if folder.join(".git").symlink_metadata().is_ok() && mirror::exists(folder) {
                return Err(Error::LostReplica(folder.to_owned()));
            }
        }
        Err(Error::NotAVault(start))
    }

    /// The vault's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.aios`.
    pub fn own(&self) -> PathBuf {
        self.root.join(".aios")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.own().join("cache.sqlite")
    }

    /// The lock.
    pub fn lock(&self) -> PathBuf {
        self.own().join("lock")
    }

    /// The logs, one folder a device.
    pub fn logs(&self) -> PathBuf {
        self.own().join("log")
    }

    /// The snapshot that this device began from, for as long as it lacks what lies before.
    pub fn snapshot(&self) -> PathBuf {
        self.own().join("snapshot.json")
    }

    /// Where partly received blobs wait.
    pub fn partial(&self) -> PathBuf {
        self.own().join("partial")
    }

    /// Reads the replica's name.
    pub fn replica(&self) -> Result<Replica, Error> {
        let path = self.own().join("replica.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotAVault(self.root.clone()));
            }
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let bad = |e: serde_json::Error| Error::Replica { path: path.clone(), why: e.to_string() };
        let Format { format } = serde_json::from_slice(&text).map_err(bad)?;
        if format > FORMAT {
            return Err(Error::NewerFormat { path: self.root.clone(), format });
        }
        serde_json::from_slice(&text).map_err(bad)
    }

    /// Writes the replica's name, durably: from here on the folder is a vault.
    pub fn write_replica(&self, replica: &Replica) -> Result<(), Error> {
        let path = self.own().join("replica.json");
        let text = serde_json::to_vec_pretty(replica)
            .map_err(|e| Error::Replica { path: path.clone(), why: e.to_string() })?;
        Ok(durable::replace(&path, &text)?)
    }
}
