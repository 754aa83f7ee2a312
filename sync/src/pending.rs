//! Notes by which a join or a recovery that was cut short finds the keys it has made.

use std::path::{Path, PathBuf};

use aios_core::id::{DeviceId, VaultId};
use aios_vault::Error;
use aios_vault::disk::durable;
use aios_vault::keys::{self, Keys};

use crate::ticket::TicketId;

/// The note of one join or recovery.
pub(crate) struct Pending(PathBuf);

impl Pending {
    /// That of the join by a ticket.
    pub fn join(ticket: &TicketId) -> Result<Pending, Error> {
        Ok(Pending(keys::data_dir()?.join("joins").join(ticket.to_string())))
    }

    /// That of the recovery of a vault into a folder.
    pub fn recovery(vault: &VaultId, dir: &Path) -> Result<Pending, Error> {
        let place = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
        let name = format!("{}-{}", vault.short(16), &place[..16]);
        Ok(Pending(keys::data_dir()?.join("recoveries").join(name)))
    }

    /// Whether it was begun and not ended.
    pub fn is_begun(&self) -> bool {
        self.0.is_file()
    }

    /// The keys made before, or new ones, noted durably. `operator` says whether there is to be an operator key.
    ///
    /// # Errors
    /// What the disk and the random source answer.
    pub fn keys(&self, operator: bool) -> Result<Keys, Error> {
        let known =
            std::fs::read_to_string(&self.0).ok().and_then(|text| text.trim().parse::<DeviceId>().ok());
        if let Some(device) = known
            && let Ok(keys) = Keys::load(&device)
            && (!operator || keys.operator()?.is_some())
        {
            return Ok(keys);
        }
        let keys = Keys::create(operator)?;
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e))?;
        }
        durable::replace(&self.0, keys.device.public().hex().as_bytes())?;
        Ok(keys)
    }

    /// It has ended.
    pub fn done(&self) {
        // A note that stays names keys that are in use, of a folder that is a replica.
        let _ = std::fs::remove_file(&self.0);
    }
}
