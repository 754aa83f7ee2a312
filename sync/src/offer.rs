//! The tickets a device has given out: files beside its keys, outside the vault.
//!
//! `ID.json` is the offer. `ID.used` holds the device that has used it; it comes into being whole and once, so however
//! many devices and processes ask at once, one gets it.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use aios_core::id::DeviceId;
use aios_vault::disk::{DiskError, durable};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::replica::Redeemed;
use crate::ticket::{Offer, Secret, TicketId};

/// How long an offer is remembered after its end, ms: 30 days.
const REMEMBERED: u64 = 30 * 24 * 3600 * 1000;

#[derive(Serialize, Deserialize)]
struct Kept {
    secret: String,
    expires: u64,
    roles: Vec<String>,
    vault_name: String,
    #[serde(default)]
    name: Option<String>,
}

/// The folder of offers of one device.
#[derive(Debug, Clone)]
pub struct Offers {
    folder: PathBuf,
}

impl Offers {
    /// In `folder`, which need not exist.
    pub fn new(folder: &Path) -> Self {
        Offers { folder: folder.to_owned() }
    }

    fn path(&self, id: &TicketId, kind: &str) -> PathBuf {
        self.folder.join(format!("{id}.{kind}"))
    }

    /// Keeps an offer, durably. `now` is ms since the Unix epoch: what ended long before is forgotten.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn keep(&self, offer: &Offer, now: u64) -> Result<(), DiskError> {
        std::fs::create_dir_all(&self.folder).map_err(|e| DiskError::new("make", &self.folder, e))?;
        self.forget(now);
        let kept = Kept {
            secret: HEXLOWER.encode(&offer.secret.0),
            expires: offer.expires,
            roles: offer.roles.clone(),
            vault_name: offer.vault_name.clone(),
            name: offer.name.clone(),
        };
        let path = self.path(&offer.secret.id(), "json");
        let text = serde_json::to_vec(&kept)
            .map_err(|e| DiskError::new("write", &path, std::io::Error::other(e)))?;
        durable::replace(&path, &text)
    }

    fn forget(&self, now: u64) {
        let Ok(list) = std::fs::read_dir(&self.folder) else { return };
        for path in list
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
        {
            let kept: Option<Kept> =
                std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if kept.is_some_and(|kept| kept.expires.saturating_add(REMEMBERED) < now) {
                // One that stays is only remembered for longer.
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_file(path.with_extension("used"));
            }
        }
    }

    /// The offer with this id, used or not. One that cannot be read is not known.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn find(&self, id: &TicketId) -> Result<Option<Offer>, DiskError> {
        let path = self.path(id, "json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(DiskError::new("read", &path, e)),
        };
        let Ok(kept) = serde_json::from_slice::<Kept>(&text) else { return Ok(None) };
        let secret = HEXLOWER.decode(kept.secret.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        let Kept { expires, roles, vault_name, name, .. } = kept;
        Ok(secret.map(|secret| Offer { secret: Secret(secret), expires, roles, vault_name, name }))
    }

    /// Binds an offer to `joiner`, durably before it returns and once only.
    ///
    /// # Errors
    /// What the disk answers; the offer may be bound then.
    pub fn redeem(&self, id: &TicketId, joiner: &DeviceId) -> Result<Redeemed, DiskError> {
        if self.find(id)?.is_none() {
            return Ok(Redeemed::ByAnother);
        }
        let used = self.path(id, "used");
        let new = self.folder.join(format!("{id}.{}.{}", joiner.short(16), std::process::id()));
        let wrap = |e| DiskError::new("write", &used, e);
        let mut file = std::fs::File::create(&new).map_err(wrap)?;
        file.write_all(joiner.hex().as_bytes()).and_then(|()| file.sync_all()).map_err(wrap)?;
        let linked = std::fs::hard_link(&new, &used);
        // The link is what counts.
        let _ = std::fs::remove_file(&new);
        match linked {
            Ok(()) => durable::sync_dir(&self.folder).map(|()| Redeemed::Now),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let by = std::fs::read_to_string(&used).map_err(|e| DiskError::new("read", &used, e))?;
                Ok(if by.trim() == joiner.hex() { Redeemed::Before } else { Redeemed::ByAnother })
            }
            Err(e) => Err(wrap(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(n: u8, expires: u64) -> Offer {
        Offer {
            secret: Secret([n; 16]),
            expires,
            roles: vec!["write".into()],
            vault_name: "v".into(),
            name: None,
        }
    }

    #[test]
    fn one_device_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let offers = Offers::new(&dir.path().join("offers"));
        let (id, other) = (offer(1, 5).secret.id(), offer(2, 5).secret.id());
        assert_eq!(offers.find(&id).unwrap(), None);
        offers.keep(&offer(1, 5), 0).unwrap();
        assert_eq!(offers.find(&id).unwrap(), Some(offer(1, 5)));
        let got: Vec<Redeemed> = std::thread::scope(|scope| {
            let ask = |n: u8| {
                let (offers, id) = (offers.clone(), id);
                scope.spawn(move || offers.redeem(&id, &DeviceId([n; 32])).unwrap())
            };
            let asked: Vec<_> = (0..8).map(ask).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(got.iter().filter(|got| **got == Redeemed::Now).count(), 1);
        let winner = got.iter().position(|got| *got == Redeemed::Now).unwrap() as u8;
        assert_eq!(offers.redeem(&id, &DeviceId([winner; 32])).unwrap(), Redeemed::Before);
        assert_eq!(offers.redeem(&other, &DeviceId([1; 32])).unwrap(), Redeemed::ByAnother);
    }

    #[test]
    fn old_offers_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let offers = Offers::new(dir.path());
        offers.keep(&offer(1, 5), 0).unwrap();
        offers.redeem(&offer(1, 5).secret.id(), &DeviceId([1; 32])).unwrap();
        offers.keep(&offer(2, 6 + REMEMBERED), 6 + REMEMBERED).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
