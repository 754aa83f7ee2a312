//! What clocks that are wrong lead to. A record whose author's clock was more than a day ahead is held outside the frontier,
//! for it would win over all that others write until then. It counts when that time has come, or when a later record of its
//! device tells that the clock was set right: the order of what was written meanwhile is all that stays wrong.

use std::collections::{BTreeMap, HashMap, HashSet};

use aios_core::id::{DeviceId, RecordId};
use aios_core::item::Item;
use aios_core::record::{Header, Record};
use rusqlite::{OptionalExtension, params};

use crate::author::Draft;
use crate::chance::now_ms;
use crate::error::Error;
use crate::vault::{Progress, Vault};

/// A clock further ahead of this device's than this is wrong.
const FUTURE_MS: u64 = DAY_MS;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Which of the records that come are held.
pub(crate) struct Holding {
    horizon: u64,
    /// The last record of a device that tells of a clock that is right.
    right: BTreeMap<DeviceId, u64>,
    held: HashSet<RecordId>,
    /// Those that go in, and when they are by their own clock.
    enter: HashMap<RecordId, u64>,
}

impl Holding {
    /// For these records, in causal order.
    pub fn new(vault: &Vault, records: &[&Record]) -> Result<Holding, Error> {
        let horizon = now_ms() + FUTURE_MS;
        let mut right = BTreeMap::new();
        let mut get =
            vault.db.prepare_cached("SELECT device, max(seq) FROM held WHERE ms <= ? GROUP BY device")?;
        let mut rows = get.query([horizon as i64])?;
        while let Some(row) = rows.next()? {
            right.insert(DeviceId(row.get(0)?), row.get::<_, i64>(1)? as u64);
        }
        for header in records.iter().map(|record| &record.header).filter(|header| header.wall <= horizon) {
            let last = right.entry(header.device).or_default();
            *last = header.seq.max(*last);
        }
        Ok(Holding { horizon, right, held: HashSet::new(), enter: HashMap::new() })
    }

    /// Whether a record is held; those it builds on were asked about before.
    pub fn holds(&mut self, vault: &Vault, record: &Record) -> Result<bool, Error> {
        let header = &record.header;
        let right = self.right.get(&header.device).is_some_and(|last| header.seq <= *last);
        let ahead = header.clock.0 > self.horizon && !(right && self.explains(vault, header)?);
        let held = ahead || self.builds_on_held(vault, header)?;
        match held {
            true => _ = self.held.insert(record.id),
            false => _ = self.enter.insert(record.id, header.clock.0),
        }
        Ok(held)
    }

    /// Whether the author's wall clock, or the record's past, has it be so late.
    fn explains(&self, vault: &Vault, header: &Header) -> Result<bool, Error> {
        let mut latest = header.wall;
        for id in header.prev.iter().chain(&header.deps) {
            let past = self.enter.get(id).copied().map_or_else(|| vault.time_of(id), |at| Ok(Some(at)))?;
            latest = latest.max(past.unwrap_or(0).saturating_add(1));
        }
        Ok(header.clock.0 <= latest)
    }

    fn builds_on_held(&self, vault: &Vault, header: &Header) -> Result<bool, Error> {
        for id in header.prev.iter().chain(&header.deps) {
            if self.held.contains(id) || (!self.enter.contains_key(id) && vault.is_held(id)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Vault {
    /// When a record is by its hybrid clock, ms.
    fn time_of(&self, id: &RecordId) -> Result<Option<u64>, Error> {
        let mut get = self.db.prepare_cached("SELECT ms FROM record WHERE id = ?")?;
        Ok(get.query_row([id.as_bytes()], |row| row.get::<_, i64>(0)).optional()?.map(|ms| ms as u64))
    }

    /// Has what is held of a device for its clock count here when it comes once more. Says how many records that are.
    ///
    /// # Errors
    /// What the database answers.
    pub fn adopt_early(&self, device: &DeviceId) -> Result<u64, Error> {
        let mut set = self.db.prepare_cached("UPDATE held SET ms = 0 WHERE device = ?")?;
        Ok(set.execute([device.as_bytes()])? as u64)
    }

    fn is_held(&self, id: &RecordId) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached("SELECT 1 FROM held WHERE id = ?")?;
        Ok(get.query_row([id.as_bytes()], |_| Ok(())).optional()?.is_some())
    }

    /// Notes a record that is held, with what its author's clock showed.
    pub(crate) fn hold(&self, record: &Record) -> Result<(), Error> {
        let header = &record.header;
        self.db.prepare_cached("INSERT OR IGNORE INTO held VALUES(?, ?, ?, ?)")?.execute(params![
            record.id.as_bytes(),
            header.device.as_bytes(),
            header.seq as i64,
            i64::try_from(header.wall).unwrap_or(i64::MAX)
        ])?;
        Ok(())
    }

    /// These are held no more.
    pub(crate) fn let_in(&self, records: &[&Record]) -> Result<(), Error> {
        let mut delete = self.db.prepare_cached("DELETE FROM held WHERE id = ?")?;
        records.iter().try_for_each(|record| Ok(delete.execute([record.id.as_bytes()]).map(|_| ())?))
    }

    /// How many records are held for their clock, by device.
    pub(crate) fn early(&self) -> Result<Vec<(DeviceId, u64)>, Error> {
        let mut get = self.db.prepare_cached("SELECT device, count(*) FROM held GROUP BY device")?;
        let rows = get.query_map([], |row| Ok((DeviceId(row.get(0)?), row.get::<_, i64>(1)? as u64)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether records that were held for their clock count when they come once more.
    ///
    /// # Errors
    /// What the database answers.
    pub fn may_let_in(&self) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached("SELECT EXISTS(SELECT 1 FROM held WHERE ms <= ?)")?;
        Ok(get.query_row([(now_ms() + FUTURE_MS) as i64], |row| row.get(0))?)
    }

    /// How far this device's clock was set back since it wrote last, ms, where others hold what it wrote.
    ///
    /// # Errors
    /// What the database answers.
    pub fn set_back(&self) -> Result<Option<u64>, Error> {
        let sql = "SELECT wall FROM record WHERE device = ? ORDER BY seq DESC LIMIT 1";
        let device = self.replica.device;
        let last = self
            .db
            .prepare_cached(sql)?
            .query_row([device.as_bytes()], |row| row.get::<_, i64>(0))
            .optional()?;
        let back = last.map(|last| (last as u64).saturating_sub(now_ms()));
        Ok(back.filter(|back| *back > FUTURE_MS))
    }

    /// Where this device's clock was set back, tells the others with a record of its own, so that they hold nothing of it any
    /// more. Says so.
    pub(crate) fn tell_set_back(&mut self, progress: Progress<'_>) -> Result<Option<String>, Error> {
        let Some(back) = self.set_back()? else { return Ok(None) };
        if !self.may_write() || self.has_open_parts()? {
            return Ok(None);
        }
        let days = back.div_ceil(DAY_MS);
        let what = format!(
            "this device's clock was set back by {days} days since it last took something in; where it was wrong before, the other devices held what was taken in then, and count it now; where it is wrong now, set it right"
        );
        let message = format!("Go on with the clock set back by {days} days");
        let mut draft = Draft { actor: "aios".into(), message, ..Draft::default() };
        draft.push(Item::Seal);
        self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.refresh(progress)
        })?;
        Ok(Some(what))
    }
}

#[cfg(test)]
mod tests {
    use aios_core::id::DeviceId;
    use aios_core::record::Record;

    use crate::chance::{now_ms, seeded};
    use crate::world::{World, quiet};

    use super::DAY_MS;

    fn save(world: &mut World, n: usize, path: &str, text: &str) {
        std::fs::write(world.root(n).join(path), text).unwrap();
        world.commit(n);
    }

    /// Hands all of one log over in batches of `size`; says how many records are held there.
    fn hand(world: &mut World, from: usize, to: usize, size: usize) -> usize {
        let (have, upto) =
            (world.replicas[to].frontier().unwrap().view(), world.replicas[from].view().clone());
        let entries = world.replicas[from].entries_since(&have, &upto, u64::MAX).unwrap();
        let records: Vec<Record> =
            entries.iter().map(|entry| Record::read_entry(&entry.bytes).unwrap().0).collect();
        for batch in records.chunks(size) {
            world.replicas[to].integrate(batch).unwrap();
        }
        let device: DeviceId = world.replicas[from].device();
        let held = world.replicas[to].early().unwrap();
        held.iter().find(|(of, _)| *of == device).map_or(0, |(_, count)| *count as usize)
    }

    #[test]
    fn what_was_written_by_a_clock_a_year_ahead_counts_once_it_is_right() {
        for size in [1, 2, 10] {
            let mut world = World::seeded_equals(2, 7);
            save(&mut world, 0, "a.md", "one\n");
            world.sync();
            let now = now_ms() + 1000;
            seeded::set_clock(now + 365 * DAY_MS);
            save(&mut world, 1, "b.md", "in a year\n");
            save(&mut world, 1, "b.md", "in a year, more\n");
            seeded::set_clock(now);
            assert_eq!(hand(&mut world, 1, 0, size), 2);
            assert!(!world.replicas[0].may_let_in().unwrap());
            let told = world.replicas[1].commit(&Default::default(), &mut quiet()).unwrap();
            assert!(told.problems().any(|note| note.problem.contains("set back by 365 days")));
            let again = world.replicas[1].commit(&Default::default(), &mut quiet()).unwrap();
            assert_eq!(again.problems().count(), 0, "it is said once");
            hand(&mut world, 1, 0, size);
            // The first time it may have come too late for what came before it.
            assert!(world.replicas[0].may_let_in().unwrap() || size == 10);
            assert_eq!(hand(&mut world, 1, 0, size), 0);
            save(&mut world, 0, "a.md", "two\n");
            assert_eq!(hand(&mut world, 0, 1, size), 0);
            world.sync();
            world.assert_equal();
        }
    }

    #[test]
    fn a_device_that_stays_ahead_is_adopted_by_hand() {
        let mut world = World::seeded_equals(2, 7);
        save(&mut world, 0, "a.md", "one\n");
        world.sync();
        let now = now_ms() + 1000;
        seeded::set_clock(now + 2 * DAY_MS);
        save(&mut world, 1, "b.md", "in two days\n");
        seeded::set_clock(now);
        assert_eq!(hand(&mut world, 1, 0, 1), 1);
        let device = world.replicas[1].device();
        assert_eq!(world.replicas[0].adopt_early(&device).unwrap(), 1);
        assert_eq!(hand(&mut world, 1, 0, 1), 0);
    }
}
