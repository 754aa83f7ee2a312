//! Records of a sealed vault on this device: open where it has the key, closed where it has none, and closed wherever they leave
//! it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aios_core::frontier::{Place, View};
use aios_core::id::{DeviceId, EpochId};
use aios_core::item::Content;
use aios_core::member;
use aios_core::record::Record;
use rusqlite::{Connection, params};

use crate::anew;
use crate::db;
use crate::error::{Error, Refusal};
use crate::vault::{Progress, Vault};

/// Records that are here in their closed form, or that say nothing; `bad` where a key makes no difference to that.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS closed(n INTEGER PRIMARY KEY, epoch BLOB NOT NULL, bad INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS closed_epoch ON closed(epoch) WHERE bad = 0;
";
/// Sees to it that the table is there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLE)?)
}

impl Vault {
    /// Remembers that record `n` is here closed, where it is; `bad`: its key opens it, and nobody may say what it holds.
    pub(crate) fn note_closed(&self, n: i64, record: &Record, bad: bool) -> Result<(), Error> {
        let Some(closed) = record.header.closed.as_ref().filter(|_| bad || record.is_closed()) else {
            return Ok(());
        };
        let key = self.epoch_keys.get(&closed.epoch);
        let bad = bad || key.is_some_and(|key| record.clone().open(key).is_err());
        let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO closed VALUES(?, ?, ?)")?;
        note.execute(params![n, closed.epoch.as_bytes(), bad])?;
        // Of what says nothing no bytes are awaited.
        for Content { hash, size, git } in closed.apart.iter().filter(|_| !bad) {
            let mut note = self.db.prepare_cached("INSERT OR IGNORE INTO apart VALUES(?, ?, 0, ?, ?)")?;
            note.execute(params![git.as_bytes(), n, hash.as_bytes(), *size as i64])?;
        }
        Ok(())
    }

    /// How many records lie here that this device cannot read.
    ///
    /// # Errors
    /// What the database answers.
    pub fn closed_records(&self) -> Result<u64, Error> {
        Ok(self.db.query_row("SELECT count(*) FROM closed", [], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Whether a closed record may be: by a device that reads, in an epoch that its past names. Whoever has no key can tell, too, so
    /// that nobody is kept waiting for a key that is not.
    pub(crate) fn check_epoch(&self, record: &Record, past: &View, view: &View) -> Result<(), Error> {
        let Some(closed) = &record.header.closed else { return Ok(()) };
        let place = record.header.place();
        let refuse = |why: &str| Err(Error::Refused { place, why: Refusal::Item(why.to_owned()) });
        if !member::reads(self.authority.roles(&place.device, view)) {
            return refuse("it is sealed by a device that only carries");
        }
        let mut get = self.db.prepare_cached(
            "SELECT r.device, r.seq FROM epoch e JOIN record r ON r.n = e.n WHERE e.name = ?",
        )?;
        let mut rows = get.query([closed.epoch.as_bytes()])?;
        while let Some(row) = rows.next()? {
            let device = db::id(row.get(0)?, DeviceId::from_slice)?;
            if past.has(&Place { device, seq: row.get::<_, i64>(1)? as u64 }) {
                return Ok(());
            }
        }
        refuse("it is sealed in an epoch that nothing in its past names")
    }

    /// A record as this device keeps it: open, if it can be.
    pub(crate) fn opened<'a>(&self, record: &'a Record) -> Cow<'a, Record> {
        let closed = record.header.closed.as_ref().filter(|_| record.is_closed());
        let key = closed.and_then(|closed| self.epoch_keys.get(&closed.epoch));
        match key.map(|key| record.clone().open(key)) {
            // One that its own key does not open says nothing, on every device that reads.
            None | Some(Err(_)) => Cow::Borrowed(record),
            Some(Ok(open)) => Cow::Owned(open),
        }
    }

    /// Whether a record that came may be kept as it is: one that came open must be what its closed form says.
    pub(crate) fn check_form(&self, record: &Record) -> Result<(), Error> {
        let Some(closed) = record.header.closed.as_ref().filter(|_| !record.is_closed()) else {
            return Ok(());
        };
        match self.epoch_keys.get(&closed.epoch).map(|key| record.clone().close(key)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(Error::Refused {
                place: record.header.place(),
                why: Refusal::Item("it is of a sealed vault and came open".into()),
            }),
        }
    }

    /// A record as it leaves this device.
    pub(crate) fn closed(&self, record: Record) -> Result<Record, Error> {
        let Some(closed) = record.header.closed.as_ref().filter(|_| !record.is_closed()) else {
            return Ok(record);
        };
        match self.epoch_keys.get(&closed.epoch) {
            Some(key) => Ok(record.close(key)?),
            None => Err(Error::NoEpochKey {
                record: record.header.place(),
                folder: self.keys.folder().to_owned(),
            }),
        }
    }

    /// Whether everything in `view` can be read here.
    ///
    /// # Errors
    /// [`Error::Carrier`] and [`Error::Closed`] with the first record that cannot.
    pub(crate) fn check_open(&self, view: &View) -> Result<(), Error> {
        let mut get = self.db.prepare_cached(
            "SELECT r.device, r.seq FROM closed c JOIN record r ON r.n = c.n WHERE c.bad = 0 ORDER BY c.n",
        )?;
        let mut rows = get.query([])?;
        while let Some(row) = rows.next()? {
            let device = db::id(row.get(0)?, DeviceId::from_slice)?;
            let place = Place { device, seq: row.get::<_, i64>(1)? as u64 };
            if view.has(&place) {
                return Err(match self.is_carrier()? {
                    true => Error::Carrier,
                    false => Error::Closed(place),
                });
            }
        }
        Ok(())
    }

    /// Opens what lies closed in the log and has a key now, and makes the database again from it. Whether there was any.
    ///
    /// # Errors
    /// What the disk answers; the next that opens the vault goes on.
    pub(crate) fn open_closed(&mut self, progress: Progress<'_>) -> Result<bool, Error> {
        if self.epoch_keys.is_empty() {
            return Ok(false);
        }
        let ready: BTreeSet<DeviceId> = {
            let mut get = self.db.prepare_cached(
                "SELECT DISTINCT r.device, c.epoch FROM closed c JOIN record r ON r.n = c.n WHERE c.bad = 0",
            )?;
            let rows = get.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            let mut out = BTreeSet::new();
            for row in rows {
                let (device, epoch) = row?;
                if self.epoch_keys.contains_key(&db::id(epoch, EpochId::from_slice)?) {
                    out.insert(db::id(device, DeviceId::from_slice)?);
                }
            }
            out
        };
        if ready.is_empty() {
            return Ok(false);
        }
        anew::begin(&self.db)?;
        for device in &ready {
            let segments = self.log.segments(device)?;
            for segment in segments {
                let records = self.log.records_of(device, segment.first)?;
                let open: Vec<_> = records.iter().map(|record| self.opened(record)).collect();
                self.log.rewrite(device, segment.first, open.iter().map(AsRef::as_ref))?;
            }
        }
        self.start_over(progress)?;
        Ok(true)
    }
}
