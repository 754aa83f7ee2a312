//! What a git remote holds of the vault once it was fetched, and what this replica has to give to it.

use std::collections::BTreeMap;

use aios_core::id::{DeviceId, GitId};
use aios_core::record::Record;
use git2::{ObjectType, Oid};

use crate::error::Error;
use crate::git::{self, Loose};
use crate::mirror;
use crate::project::{git_id, oid};
use crate::publish;
use crate::vault::{Vault, git_error};

/// The mirror of one device's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRef {
    /// The commit that the ref names.
    pub commit: GitId,
    /// Its runs of entries, in order; or why it cannot be read.
    pub stretches: Result<Vec<Stretch>, String>,
}

/// A run of entries in a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The number of its first record, as its name says.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// The blob that holds it.
    pub blob: GitId,
}

/// Why a run of entries could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is not what it should be.
    #[error("{0}")]
    Lying(String),
    /// A payload has not come yet.
    #[error("{0}")]
    Waiting(String),
}

impl Vault {
    /// The mirrors of logs whose refs begin with `prefix`.
    ///
    /// # Errors
    /// When refs cannot be listed. What is wrong with one mirror is in the answer.
    pub fn log_refs(&self, prefix: &str) -> Result<BTreeMap<DeviceId, LogRef>, Error> {
        let mut out = BTreeMap::new();
        // Objects may have come by another program.
        self.repo.odb().and_then(|odb| odb.refresh()).map_err(git_error)?;
        let listing = || git::Error::git("listing refs");
        for found in self.repo.references_glob(&format!("{prefix}*")).map_err(listing())?.flatten() {
            let name = String::from_utf8_lossy(found.name_bytes()).into_owned();
            let device = name.strip_prefix(prefix).and_then(|hex| hex.parse::<DeviceId>().ok());
            let (Some(device), Some(commit)) = (device, found.target()) else { continue };
            let mut objects = Loose::new(&self.repo, false)?;
            let chunks = publish::chunks(&self.repo, &mut objects, commit);
            let stretches = chunks.map_err(|e| e.to_string()).map(|chunks| {
                let sound = chunks.iter().filter(|chunk| chunk.first > 0 && chunk.first <= chunk.last);
                sound
                    .map(|chunk| Stretch { first: chunk.first, last: chunk.last, blob: git_id(&chunk.oid) })
                    .collect()
            });
            out.insert(device, LogRef { commit: git_id(&commit), stretches });
        }
        Ok(out)
    }

    /// The records of a run of entries, with their payloads.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub fn stretch(&self, blob: &GitId) -> Result<Vec<Record>, Unread> {
        let lying = |why: String| Unread::Lying(why);
        let id = Oid::from_bytes(blob.as_bytes()).map_err(|e| lying(e.to_string()))?;
        let (kind, bytes) = mirror::proven(&self.repo, id).map_err(lying)?;
        if kind != ObjectType::Blob {
            return Err(lying(format!("{blob} is no blob")));
        }
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (record, taken) =
                Record::read_entry(&bytes[at..]).map_err(|e| lying(format!("at byte {at}: {e}")))?;
            at += taken;
            let place = record.header.place();
            out.push(
                mirror::whole(&self.repo, record)
                    .map_err(|why| Unread::Waiting(format!("record {place}: {why}")))?,
            );
        }
        Ok(out)
    }

    /// The commit that a ref names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ref_at(&self, name: &str) -> Result<Option<GitId>, Error> {
        Ok(git::read_ref(&self.repo, name)?.map(|id| git_id(&id)))
    }

    /// Whether `commit` is `ancestor` or descends from it.
    ///
    /// # Errors
    /// When git does not know one of them.
    pub fn descends(&self, commit: &GitId, ancestor: &GitId) -> Result<bool, Error> {
        let (commit, ancestor) = (oid(commit)?, oid(ancestor)?);
        let looking = git::Error::git(format!("looking for {ancestor} before {commit}"));
        Ok(commit == ancestor || self.repo.graph_descendant_of(commit, ancestor).map_err(looking)?)
    }

    /// Drops all refs that begin with `prefix`.
    ///
    /// # Errors
    /// What git answers.
    pub fn drop_refs(&self, prefix: &str) -> Result<(), Error> {
        let failed = || git::Error::git(format!("dropping {prefix}*"));
        let found: Vec<String> = {
            let refs = self.repo.references_glob(&format!("{prefix}*")).map_err(failed())?;
            refs.flatten().map(|found| String::from_utf8_lossy(found.name_bytes()).into_owned()).collect()
        };
        for name in found {
            let mut found = self.repo.find_reference(&name).map_err(failed())?;
            found.delete().map_err(failed())?;
        }
        Ok(())
    }
}
