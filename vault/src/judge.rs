//! What of the log counts (I7). The log and the index hold every record that fits its own past; which of these are integrated
//! follows from the events about members that are known. The rest is held: kept, carried, shown, and in no document.

use aios_core::authority::{Authority, Deed};
use aios_core::clock::{Hlc, Stamp};
use aios_core::event::Event;
use aios_core::frontier::{Place, View};
use aios_core::id::{ContentHash, DeviceId, VaultId};
use aios_core::item::Item;
use aios_core::member::WRITE;
use aios_core::record::Record;
use rusqlite::{Connection, params};

use crate::db;
use crate::error::{Error, Refusal};
use crate::vault::Vault;

/// Records of one device that are in the log and count nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The device.
    pub device: DeviceId,
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

/// Authority as the database knows it.
pub(crate) fn read(db: &Connection, vault: &VaultId) -> Result<Authority, Error> {
    let mut authority = Authority::new(*vault);
    let mut get = db.prepare(
        "SELECT r.device, r.seq, r.ms, r.count, r.view, r.wall, d.idx, d.event
         FROM deed d JOIN record r ON r.n = d.n ORDER BY d.n, d.idx",
    )?;
    let mut rows = get.query([])?;
    while let Some(row) = rows.next()? {
        let place =
            Place { device: db::id(row.get(0)?, DeviceId::from_slice)?, seq: row.get::<_, i64>(1)? as u64 };
        let clock = Hlc(row.get::<_, i64>(2)? as u64, row.get(3)?);
        let event: String = row.get(7)?;
        authority.add(Deed {
            place,
            index: row.get(6)?,
            stamp: Stamp::new(clock, place.device, place.seq),
            view: db::read_view(&row.get::<_, Vec<u8>>(4)?)?,
            wall: row.get::<_, i64>(5)? as u64,
            event: serde_json::from_str(&event).map_err(|e| Error::Damaged(format!("an event: {e}")))?,
        });
    }
    authority.judge();
    Ok(authority)
}

/// The deeds of a record with this view.
pub(crate) fn deeds(record: &Record, view: &View, items: &[Item]) -> Vec<Deed> {
    let header = &record.header;
    let about = items.iter().enumerate().filter_map(|(index, item)| match item {
        Item::Event(event) if Deed::is(event) => Some((index as u32, event.clone())),
        _ => None,
    });
    let deed = |(index, event)| Deed {
        place: header.place(),
        index,
        stamp: header.stamp(),
        view: view.clone(),
        wall: header.wall,
        event,
    };
    about.map(deed).collect()
}

impl Vault {
    /// Takes in what a record says about members. Gives its deeds.
    ///
    /// # Errors
    /// [`Error::Refused`] when its own past does not allow the record.
    pub(crate) fn admit_record(
        &mut self,
        record: &Record,
        past: &View,
        view: &View,
        items: &[Item],
    ) -> Result<Vec<Deed>, Error> {
        let place = record.header.place();
        let refuse = |why| Err(Error::Refused { place, why });
        let deeds = deeds(record, view, items);
        for deed in &deeds {
            if let Err(why) = self.authority.weigh(deed) {
                return refuse(why.into());
            }
            if let Event::DeviceRevoked { device, last: Some((seq, id)), .. } = &deed.event
                && self.id_at(&Place { device: *device, seq: *seq })? != Some(*id)
            {
                return refuse(aios_core::member::MemberError::CutOff(place).into());
            }
            self.authority_mut().add(deed.clone());
        }
        if !self.authority.admits(place, past) {
            return refuse(Refusal::Stranger);
        }
        let writes = items.iter().any(Item::changes_tree);
        if writes && !self.authority.roles(&place.device, view).iter().any(|role| role == WRITE) {
            return refuse(Refusal::Right(WRITE));
        }
        Ok(deeds)
    }

    pub(crate) fn authority_mut(&mut self) -> &mut Authority {
        std::sync::Arc::make_mut(&mut self.authority)
    }

    /// Keeps the deeds of record `n`, and decides anew what counts.
    pub(crate) fn judge(&mut self, n: i64, deeds: &[Deed]) -> Result<(), Error> {
        if deeds.is_empty() {
            return Ok(());
        }
        for deed in deeds {
            let event =
                serde_json::to_string(&deed.event).map_err(|e| Error::Damaged(format!("an event: {e}")))?;
            self.db
                .prepare_cached("INSERT OR REPLACE INTO deed VALUES(?, ?, ?)")?
                .execute(params![n, deed.index, event])?;
        }
        self.authority_mut().judge();
        self.db.prepare_cached("DELETE FROM accepted")?.execute([])?;
        let accepted = self.authority.accepted().iter();
        for (path, (hash, stamp)) in accepted.filter(|(_, (hash, _))| *hash != ContentHash::NONE) {
            self.db.prepare_cached("INSERT INTO accepted VALUES(?, ?, ?, ?)")?.execute(params![
                path,
                hash.as_bytes(),
                stamp.0 as i64,
                stamp.1
            ])?;
        }
        Ok(())
    }

    /// The records that count, of all in the log.
    pub(crate) fn counting(&self) -> Result<View, Error> {
        let tips = self.frontier()?.view();
        self.authority.counting(&tips, |place| match self.number(place)? {
            Some(n) => Ok(self.row(n)?.view),
            None => Err(Error::Damaged(format!("record {place} has no row"))),
        })
    }

    /// From now on the records in `new` are integrated, and no others.
    pub(crate) fn set_view(&mut self, new: View) -> Result<(), Error> {
        let old = std::mem::replace(&mut self.view, new);
        let new = &self.view;
        let back = !new.covers(&old);
        for end in new.iter() {
            self.db
                .prepare_cached("UPDATE record SET held = 0 WHERE device = ? AND seq > ? AND seq <= ?")?
                .execute(params![end.device.as_bytes(), old.get(&end.device) as i64, end.seq as i64])?;
        }
        for end in old.iter().filter(|end| !new.has(end)) {
            // Their commits are made again should they count once more: nothing keeps those objects meanwhile.
            self.db
                .prepare_cached(
                    "UPDATE record SET held = 1, git = NULL, root = NULL WHERE device = ? AND seq > ?",
                )?
                .execute(params![end.device.as_bytes(), new.get(&end.device) as i64])?;
        }
        let mut ends = Vec::new();
        for end in new.iter() {
            if let Some(n) = self.number(&end)? {
                ends.push(self.row(n)?);
            }
        }
        self.db.prepare_cached("DELETE FROM head")?.execute([])?;
        for row in &ends {
            if !ends.iter().any(|other| other.n != row.n && other.view.has(&row.place)) {
                self.db.prepare_cached("INSERT INTO head VALUES(?)")?.execute([row.n])?;
            }
        }
        // Items with a lower number than known ones may count now.
        self.long.forget();
        if back { self.take_back() } else { Ok(()) }
    }

    /// Records that were integrated are so no more: everything shown is made again from those that are. Nothing is lost, for they
    /// stay in the log (I2); files that show them are written anew.
    fn take_back(&mut self) -> Result<(), Error> {
        self.db.execute_batch(
            "DELETE FROM doc; DELETE FROM gated; DELETE FROM conflict; DELETE FROM merge; DELETE FROM automerge;
             DELETE FROM meta WHERE key IN ('state', 'shown');
             INSERT OR IGNORE INTO dirty SELECT DISTINCT doc FROM file;",
        )?;
        let mut gone: Vec<(Vec<u8>, i64)> = Vec::new();
        {
            let mut get = self.db.prepare("SELECT doc, n, view FROM shown")?;
            let mut rows = get.query([])?;
            while let Some(row) = rows.next()? {
                // No save can be made from a version that rests on what does not count.
                if !self.view.covers(&db::read_view(&row.get::<_, Vec<u8>>(2)?)?) {
                    gone.push((row.get(0)?, row.get(1)?));
                }
            }
        }
        for (doc, n) in gone {
            self.db.prepare_cached("DELETE FROM shown WHERE doc = ? AND n = ?")?.execute(params![doc, n])?;
        }
        self.shown = View::new();
        self.forget_documents();
        Ok(())
    }

    /// The records that are in the log and count nowhere, by device.
    ///
    /// # Errors
    /// What the database answers.
    pub fn held(&self) -> Result<Vec<Held>, Error> {
        if !self.authority.is_contested() {
            return Ok(Vec::new());
        }
        let beyond = self.frontier()?.view();
        let held = beyond.iter().filter(|end| !self.view.has(end));
        Ok(held
            .map(|end| Held { device: end.device, first: self.view.get(&end.device) + 1, last: end.seq })
            .collect())
    }

    /// Whether this device is a member no more: then it writes neither records nor files.
    ///
    /// # Errors
    /// [`Error::Revoked`]; [`Error::NoMember`] where whoever let it in had no say.
    pub(crate) fn check_revoked(&self) -> Result<(), Error> {
        let (members, own) = (self.authority.members(), self.replica.device);
        match members.revoked(&own) {
            None if members.0.contains_key(&own) || !self.authority.is_contested() => Ok(()),
            None if self.authority.roles(&own, &self.frontier()?.view()).is_empty() => Ok(()),
            None => Err(Error::NoMember),
            Some(revoked) => Err(Error::Revoked {
                name: members.name(&self.replica.device),
                by: members.name(&revoked.place.device),
                time: revoked.time,
            }),
        }
    }
}
