//! Records that only a newer program understands: they are kept and sent on, and nothing is written past them, neither files
//! nor records nor commits, until this device has such a program.

use aios_core::frontier::{Place, View};
use aios_core::item::Item;
use rusqlite::Connection;

use crate::db;
use crate::error::Error;
use crate::vault::Vault;

/// Where the numbers of such records are remembered.
const NEWER: &str = "newer";

fn remembered(db: &Connection) -> Result<Vec<i64>, Error> {
    match db::meta(db, NEWER)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Damaged(e.to_string())),
        None => Ok(Vec::new()),
    }
}

impl Vault {
    /// Remembers that record `n` has an item that this program must not go past, where one of `items` is such.
    pub(crate) fn note_newer(&self, n: i64, items: &[Item]) -> Result<(), Error> {
        if !items.iter().any(Item::needs_upgrade) {
            return Ok(());
        }
        let mut known = remembered(&self.db)?;
        known.push(n);
        db::set_meta(&self.db, NEWER, serde_json::to_string(&known).unwrap_or_default().as_bytes())
    }

    /// Whether this program understands all records of `view`, and can read them.
    ///
    /// # Errors
    /// [`Error::Upgrade`] with the first record that it does not; as [`Vault::check_open`].
    pub(crate) fn check_understood(&self, view: &View) -> Result<(), Error> {
        self.check_known(view)?;
        self.check_open(view)
    }

    fn check_known(&self, view: &View) -> Result<(), Error> {
        for n in remembered(&self.db)? {
            let place: Place = self.row(n)?.place;
            if view.has(&place) {
                return Err(Error::Upgrade(place));
            }
        }
        Ok(())
    }

    /// Whether this device may say who is a member and who holds which key: also where it cannot read all of a sealed vault.
    ///
    /// # Errors
    /// [`Error::Revoked`], [`Error::NoMember`], [`Error::Carrier`], [`Error::Upgrade`].
    pub(crate) fn check_decides(&self) -> Result<(), Error> {
        self.check_revoked()?;
        if self.is_carrier()? {
            return Err(Error::Carrier);
        }
        self.check_known(&self.view)
    }

    /// Whether this device may write records and files.
    ///
    /// # Errors
    /// [`Error::Revoked`], [`Error::NoMember`], [`Error::Carrier`], [`Error::Closed`], [`Error::Upgrade`].
    pub fn check_writes(&self) -> Result<(), Error> {
        self.check_revoked()?;
        if self.is_carrier()? {
            return Err(Error::Carrier);
        }
        self.check_understood(&self.view)
    }

    /// Whether a record that an older program did not understand is plain to this one: what the database says of it, and of all
    /// that came after, was made without.
    pub(crate) fn outgrew(&mut self) -> Result<bool, Error> {
        for n in remembered(&self.db)? {
            let row = self.row(n)?;
            let record = self.log.record(&row.place.device, row.spot)?;
            if !record.body()?.items.iter().any(Item::needs_upgrade) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
