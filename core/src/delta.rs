//! Deltas: what an edit did to a text, as the payload of its item. See `docs/formats.md`, Body.
//!
//! It stands beside the body and is named there by hash, as whole files are, so that a record says which document was edited
//! without its text ([`crate::record::Record::gone`]).

use serde::{Deserialize, Serialize};

use crate::id::ContentHash;
use crate::patch::Patch;

/// Why the bytes of a delta do not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the delta of an edit does not read: {0}")]
pub struct DeltaError(String);

/// What an edit's item says of its delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaName {
    /// BLAKE3 of the bytes.
    pub hash: ContentHash,
    /// Their length.
    pub size: u64,
    /// How many of them, the first, are the patch; the others are the Automerge change, none for `lines`.
    pub patch: u64,
}

impl DeltaName {
    /// Whether there is an Automerge change.
    pub fn has_change(&self) -> bool {
        self.patch < self.size
    }
}

/// What an edit did to a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// As a byte patch of the file it was made from.
    pub patch: Patch,
    /// As an Automerge change; absent for `lines`.
    pub change: Option<Vec<u8>>,
}

impl Delta {
    /// Its name and its bytes.
    pub fn pack(&self) -> (DeltaName, Vec<u8>) {
        let mut bytes = serde_json::to_vec(&self.patch).unwrap_or_default();
        let patch = bytes.len() as u64;
        bytes.extend_from_slice(self.change.as_deref().unwrap_or_default());
        (DeltaName { hash: ContentHash::of(&bytes), size: bytes.len() as u64, patch }, bytes)
    }

    /// Reads what [`Delta::pack`] wrote.
    ///
    /// # Errors
    /// [`DeltaError`] where the bytes are not those that `name` names, or hold no patch.
    pub fn read(name: &DeltaName, bytes: &[u8]) -> Result<Delta, DeltaError> {
        let wrong = |why: &str| DeltaError(why.to_owned());
        if bytes.len() as u64 != name.size || ContentHash::of(bytes) != name.hash {
            return Err(wrong("its bytes are not those that the item names"));
        }
        let at = usize::try_from(name.patch).ok().filter(|at| *at <= bytes.len());
        let (patch, change) =
            at.map(|at| bytes.split_at(at)).ok_or_else(|| wrong("its patch is longer than it"))?;
        let patch = serde_json::from_slice(patch).map_err(|e| DeltaError(e.to_string()))?;
        Ok(Delta { patch, change: (!change.is_empty()).then(|| change.to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::diff;

    #[test]
    fn a_delta_reads_back_and_what_it_is_not_does_not() {
        for change in [None, Some(vec![7, 8, 9])] {
            let delta = Delta { patch: diff("one\n", "two\n"), change };
            let (name, bytes) = delta.pack();
            assert_eq!(name.has_change(), delta.change.is_some());
            assert_eq!(Delta::read(&name, &bytes).unwrap(), delta);
            assert!(Delta::read(&name, &bytes[1..]).is_err());
            for patch in [0, name.patch - 1, name.size + 1, u64::MAX] {
                assert!(Delta::read(&DeltaName { patch, ..name }, &bytes).is_err(), "{patch}");
            }
        }
    }
}
