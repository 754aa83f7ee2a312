//! What a member signs about a state of the vault, so that a new device can begin from it.

use aios_core::frontier::Frontier;
use aios_core::id::{ContentHash, DeviceId, GitId, VaultId};
use aios_core::item::Bytes;
use aios_core::key::{SecretKey, Statement};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A state of a vault and the image that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The vault.
    pub vault: VaultId,
    /// The records it stands for.
    pub frontier: Frontier,
    /// Their `state` hash.
    pub state: String,
    /// Their commit.
    pub head: GitId,
    /// The BLAKE3 hash of the image.
    pub image: ContentHash,
    /// The image's length in bytes.
    pub size: u64,
}

impl Statement for Snapshot {
    fn message(&self) -> String {
        let Snapshot { vault, frontier, state, head, image, size } = self;
        let mut text = format!("aios-snapshot-v1\n{vault}\n{state}\n{head}\n{image}\n{size}\n");
        for (device, (seq, id)) in &frontier.0 {
            text.push_str(&format!("{device}:{seq}:{id}\n"));
        }
        text
    }
}

/// A snapshot with whose word it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What is said.
    pub snapshot: Snapshot,
    /// The device that says so.
    pub by: DeviceId,
    /// Its signature.
    pub sig: Bytes,
}

impl Signed {
    /// Signs with a device's key.
    pub fn new(snapshot: Snapshot, key: &SecretKey) -> Self {
        let sig = Bytes(key.sign_statement(&snapshot).to_vec());
        Signed { snapshot, by: key.public(), sig }
    }

    /// Sees that it is about this vault and signed by `by`, the device that is trusted.
    ///
    /// # Errors
    /// [`Error::Snapshot`] where it is not.
    pub fn check(&self, vault: &VaultId, by: &DeviceId) -> Result<(), Error> {
        let bad = |why: &str| Err(Error::Snapshot { by: *by, why: why.to_owned() });
        if self.snapshot.vault != *vault {
            return bad("it is of another vault");
        }
        let sig = self.sig.0.as_slice().try_into().ok();
        match sig.is_some_and(|sig| self.by == *by && self.snapshot.verify(by, sig)) {
            true => Ok(()),
            false => bad("that device has not signed it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut frontier = Frontier::default();
        frontier.0.insert(DeviceId([7; 32]), (3, aios_core::id::RecordId([8; 32])));
        Snapshot {
            vault: VaultId([1; 32]),
            frontier,
            state: "s".into(),
            head: GitId([2; 20]),
            image: ContentHash([3; 32]),
            size: 4,
        }
    }

    #[test]
    fn it_counts_as_the_word_of_one_device_about_one_vault() {
        let (key, other) = (SecretKey::from_bytes(&[5; 32]), SecretKey::from_bytes(&[6; 32]));
        let signed = Signed::new(snapshot(), &key);
        let vault = signed.snapshot.vault;
        signed.check(&vault, &key.public()).unwrap();
        assert!(signed.check(&VaultId([9; 32]), &key.public()).is_err());
        assert!(signed.check(&vault, &other.public()).is_err());
        let text = serde_json::to_string(&signed).unwrap();
        serde_json::from_str::<Signed>(&text).unwrap().check(&vault, &key.public()).unwrap();
    }

    #[test]
    fn every_part_of_it_is_signed() {
        let key = SecretKey::from_bytes(&[5; 32]);
        let change: [fn(&mut Snapshot); 6] = [
            |s| s.frontier.0.clear(),
            |s| s.state.push('t'),
            |s| s.head.0[0] ^= 1,
            |s| s.image.0[0] ^= 1,
            |s| s.size += 1,
            |s| s.vault.0[0] ^= 1,
        ];
        for change in change {
            let mut signed = Signed::new(snapshot(), &key);
            change(&mut signed.snapshot);
            let vault = signed.snapshot.vault;
            assert!(signed.check(&vault, &key.public()).is_err());
        }
    }
}
