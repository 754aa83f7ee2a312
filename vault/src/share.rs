//! What a replica gives to others: records in causal order, as the bytes their authors wrote; those of a sealed vault in their
//! closed form.

use aios_core::frontier::{Place, View};
use aios_core::id::{DeviceId, RecordId};
use aios_core::planted::{Bug, planted};
use rusqlite::params;

use crate::db;
use crate::error::Error;
use crate::log::Spot;
use crate::vault::Vault;

/// A record ready to be sent: its place and its log entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// Frame, header, body and payloads.
    pub bytes: Vec<u8>,
}

impl Vault {
    /// Records that `have` lacks, of those in `upto`, in causal order: at least one if there are any, then until
    /// `budget` bytes are reached.
    pub fn entries_since(&mut self, have: &View, upto: &View, budget: u64) -> Result<Vec<Entry>, Error> {
        // Per device the next few records, merged by the order in which they were integrated here, which is causal.
        let mut waiting: Vec<(i64, Place, Spot, u64)> = Vec::new();
        for end in upto.iter() {
            let mut size = 0;
            let from = have.get(&end.device);
            let mut get = self.db.prepare_cached(
                "SELECT n, seq, segment, at, len FROM record WHERE device = ? AND seq > ? AND seq <= ? ORDER BY seq",
            )?;
            let mut rows = get.query(params![end.device.as_bytes(), from as i64, end.seq as i64])?;
            while let Some(row) = rows.next()? {
                let place = Place { device: end.device, seq: row.get::<_, i64>(1)? as u64 };
                let spot = Spot { segment: row.get::<_, i64>(2)? as u64, at: row.get::<_, i64>(3)? as u64 };
                let len = row.get::<_, i64>(4)? as u64;
                waiting.push((row.get(0)?, place, spot, len));
                size += len;
                if size > budget {
                    break;
                }
            }
        }
        if !planted(Bug::OrderIgnored) {
            waiting.sort_by_key(|(n, ..)| *n);
        }
        // A device whose list was cut short bounds the others: what follows in order might rest on the rest of it.
        let bound = self.bound(have, upto, &waiting)?;
        let sealed = self.is_sealed_vault()?;
        let mut out = Vec::new();
        let mut size = 0;
        for (n, place, spot, len) in waiting {
            if !out.is_empty() && (size + len > budget || bound.is_some_and(|bound| n >= bound)) {
                break;
            }
            size += len;
            let bytes = match sealed {
                true => {
                    let record = self.log.record(&place.device, spot)?;
                    self.closed(record)?.entry()
                }
                false => self.log.entry(&place.device, spot)?,
            };
            out.push(Entry { place, bytes });
        }
        Ok(out)
    }

    /// The number of the first record that is missing from `waiting`.
    fn bound(
        &self,
        have: &View,
        upto: &View,
        waiting: &[(i64, Place, Spot, u64)],
    ) -> Result<Option<i64>, Error> {
        let mut reach = have.clone();
        waiting.iter().for_each(|(_, place, ..)| reach.add(*place));
        let mut bound = None;
        for end in upto.iter() {
            let next = Place { device: end.device, seq: reach.get(&end.device) + 1 };
            if next.seq <= end.seq
                && let Some(n) = self.number(&next)?
            {
                bound = Some(bound.map_or(n, |least: i64| least.min(n)));
            }
        }
        Ok(bound)
    }

    /// The id of the record at a place.
    pub fn id_at(&self, place: &Place) -> Result<Option<RecordId>, Error> {
        Ok(self.number(place)?.map(|n| self.row(n)).transpose()?.map(|row| row.id))
    }

    /// What a member is known to have applied durably (I12).
    pub fn acknowledged(&self, device: &DeviceId) -> Result<Option<View>, Error> {
        let mut get = self.db.prepare_cached("SELECT acked FROM peer WHERE device = ?")?;
        let mut rows = get.query([device.as_bytes()])?;
        match rows.next()? {
            Some(row) => row.get::<_, Option<Vec<u8>>>(0)?.map(|bytes| db::read_view(&bytes)).transpose(),
            None => Ok(None),
        }
    }
}
