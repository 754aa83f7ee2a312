//! Taking in records that nobody sorted: each log comes by itself, in order, and what one rests on may lie in another. Only
//! what is causally closed enters (I1); what cannot is left, and never keeps the rest out.

use std::collections::{HashSet, VecDeque};

use aios_core::frontier::{Place, View};
use aios_core::id::{DeviceId, RecordId};
use aios_core::record::Record;

use crate::error::Error;
use crate::vault::Vault;

/// So many bytes of records are taken in at once.
const BATCH: usize = 4 << 20;

/// What came of it.
#[derive(Debug, Default)]
pub struct Gathered {
    /// How many records were new.
    pub new: u64,
    /// Records held because their clock is more than a day ahead.
    pub held: Vec<Place>,
    /// Records that were refused, and why; what follows them in their log was not looked at.
    pub refused: Vec<(Place, String)>,
    /// What is left of each log: what it rests on is not here.
    pub left: Vec<VecDeque<Record>>,
}

impl Vault {
    /// Takes in what it can of these logs, each the records of one device in order, durably. Whoever can go on does, until
    /// none can.
    ///
    /// # Errors
    /// What disk and database answer. A record that is refused is in the answer.
    pub fn gather(&mut self, logs: Vec<VecDeque<Record>>) -> Result<Gathered, Error> {
        let mut out = Gathered { left: logs, ..Gathered::default() };
        loop {
            let batch = self.next_batch(&mut out)?;
            if batch.is_empty() {
                return Ok(out);
            }
            // By the log: what is integrated may become less, and a record of a revoked device is in the log and counts nowhere.
            let before = self.frontier()?.view();
            let done = self.integrate(&batch);
            let stored = self.frontier()?.view();
            out.new += stored.len() - before.len();
            let stopped = match done {
                Ok(_) => None,
                Err(Error::Refused { place, why }) => Some((place, why.to_string())),
                Err(e) => return Err(e),
            };
            sort_out(&stored, batch, stopped, &mut out);
        }
    }

    /// The next records whose past is here or comes before them, in an order in which each follows its past.
    fn next_batch(&self, out: &mut Gathered) -> Result<Vec<Record>, Error> {
        let (mut batch, mut size) = (Vec::new(), 0);
        let stored = self.frontier()?.view();
        let mut taken: HashSet<RecordId> = HashSet::new();
        let mut moved = true;
        while moved && size < BATCH {
            moved = false;
            for log in &mut out.left {
                while let Some(next) = log.front() {
                    let place = next.header.place();
                    if stored.has(&place) {
                        // The same record is skipped; another of its number means that its log is of another line.
                        if self.id_at(&place)? == Some(next.id) {
                            log.pop_front();
                            continue;
                        }
                        let why = crate::error::Refusal::Fork.to_string();
                        out.refused.push((place, why));
                        log.clear();
                        break;
                    }
                    let mut past = next.header.prev.iter().chain(&next.header.deps);
                    if size >= BATCH || !past.try_fold(true, |all, id| self.rests_on(id, &taken, all))? {
                        break;
                    }
                    moved = true;
                    let sound = next.verify_signature().and_then(|()| next.check_payloads());
                    if let Err(e) = sound {
                        out.refused.push((place, e.to_string()));
                        log.clear();
                        break;
                    }
                    if let Some(record) = log.pop_front() {
                        taken.insert(record.id);
                        size += record.entry_len();
                        batch.push(record);
                    }
                }
            }
        }
        Ok(batch)
    }

    fn rests_on(&self, id: &RecordId, taken: &HashSet<RecordId>, so_far: bool) -> Result<bool, Error> {
        Ok(so_far && (taken.contains(id) || self.holds(id)?))
    }

    /// Whether a record is in the log.
    fn holds(&self, id: &RecordId) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached("SELECT EXISTS(SELECT 1 FROM record WHERE id = ?)")?;
        Ok(get.query_row([id.as_bytes()], |row| row.get(0))?)
    }
}

/// Puts back what a refused record kept out, but for what comes after it in its own log.
fn sort_out(stored: &View, batch: Vec<Record>, stopped: Option<(Place, String)>, out: &mut Gathered) {
    let mut ended: HashSet<DeviceId> = HashSet::new();
    let refused = stopped.as_ref().map(|(place, _)| *place);
    ended.extend(refused.map(|place| place.device));
    let mut back = Vec::new();
    for record in batch {
        let place = record.header.place();
        if stored.has(&place) || ended.contains(&place.device) {
            continue;
        }
        match refused {
            // All were looked at: this one is held.
            None => {
                out.held.push(place);
                ended.insert(place.device);
            }
            Some(_) => back.push(record),
        }
    }
    out.refused.extend(stopped);
    for log in &mut out.left {
        if log.front().is_some_and(|record| ended.contains(&record.header.device)) {
            log.clear();
        }
    }
    for record in back.into_iter().rev() {
        let device = record.header.device;
        match out.left.iter_mut().find(|log| log.front().is_some_and(|next| next.header.device == device)) {
            Some(log) => log.push_front(record),
            None => out.left.push(VecDeque::from([record])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, quiet};

    /// The logs of a replica, one for each device.
    fn logs(vault: &mut Vault) -> Vec<VecDeque<Record>> {
        let upto = vault.frontier().unwrap().view();
        let mut have = aios_core::frontier::View::new();
        let mut out: std::collections::BTreeMap<DeviceId, VecDeque<Record>> = Default::default();
        while !have.covers(&upto) {
            for entry in vault.entries_since(&have, &upto, 1 << 20).unwrap() {
                have.add(entry.place);
                let record = Record::read_entry(&entry.bytes).unwrap().0;
                out.entry(entry.place.device).or_default().push_back(record);
            }
        }
        out.into_values().collect()
    }

    fn interleaved() -> World {
        let mut world = World::new(3);
        for round in 0..4 {
            for one in 0..2 {
                let path = world.root(one).join("a.md");
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                std::fs::write(&path, format!("{text}round {round} of {one}\n")).unwrap();
                world.replicas[one].commit(&Default::default(), &mut quiet()).unwrap();
                let all = logs(&mut world.replicas[one]);
                world.replicas[1 - one].gather(all).unwrap();
                world.replicas[1 - one].finish(Default::default(), &mut quiet()).unwrap();
            }
        }
        world
    }

    #[test]
    fn logs_that_rest_on_each_other_enter_whole_in_any_order() {
        for reverse in [false, true] {
            let mut world = interleaved();
            let mut all = logs(&mut world.replicas[0]);
            if reverse {
                all.reverse();
            }
            let done = world.replicas[2].gather(all).unwrap();
            assert!(done.refused.is_empty() && done.held.is_empty());
            assert!(done.left.iter().all(VecDeque::is_empty), "{:?}", done.left);
            assert_eq!(done.new, 8);
            assert_eq!(world.replicas[2].view(), world.replicas[0].view());
        }
    }

    #[test]
    fn a_forged_record_ends_its_log_and_no_other() {
        let mut world = interleaved();
        let mut all = logs(&mut world.replicas[0]);
        let (first, second) = (world.replicas[0].device(), world.replicas[1].device());
        let spoilt = all.iter_mut().find(|log| log[0].header.device == second).unwrap();
        let last = spoilt.back_mut().unwrap();
        last.signature[3] ^= 1;
        let place = last.header.place();
        let done = world.replicas[2].gather(all).unwrap();
        assert!(!done.refused.is_empty());
        let view = world.replicas[2].view();
        assert_eq!(view.get(&second), place.seq - 1);
        assert!(view.get(&first) > 0);
    }

    #[test]
    fn what_rests_on_a_record_that_is_missing_is_left() {
        let mut world = interleaved();
        let mut all = logs(&mut world.replicas[0]);
        let second = world.replicas[1].device();
        all.iter_mut().find(|log| log[0].header.device == second).unwrap().pop_front();
        let done = world.replicas[2].gather(all).unwrap();
        assert!(done.refused.is_empty());
        assert!(done.left.iter().any(|log| !log.is_empty()));
        assert_eq!(world.replicas[2].view().get(&second), 0);
    }

    #[test]
    fn what_a_revoked_device_wrote_keeps_nothing_out() {
        let mut world = World::of_equals(3);
        let save = |world: &mut World, n: usize, name: &str| {
            std::fs::write(world.root(n).join(name), name).unwrap();
            world.replicas[n].commit(&Default::default(), &mut quiet()).unwrap();
        };
        let device = world.replicas[1].device();
        world.replicas[0].revoke_device(&device).unwrap();
        save(&mut world, 1, "held.md");
        let all = logs(&mut world.replicas[1]);
        // Here it counts until the revocation comes, and then no more.
        assert_eq!(world.replicas[2].gather(all).unwrap().new, 1);
        assert!(world.replicas[2].held().unwrap().is_empty());
        let all = logs(&mut world.replicas[0]);
        assert_eq!(world.replicas[2].gather(all).unwrap().new, 1);
        assert_eq!(world.replicas[2].held().unwrap().len(), 1);
        // One by one: what is held is there, and somebody else's log that builds on it goes in.
        save(&mut world, 1, "more.md");
        for log in logs(&mut world.replicas[1]) {
            let done = world.replicas[0].gather(vec![log]).unwrap();
            assert!(done.refused.is_empty() && done.held.is_empty(), "{done:?}");
        }
        assert_eq!(world.replicas[0].held().unwrap()[0].last, world.replicas[1].view().get(&device));
        world.replicas[0].adopt_device(&device).unwrap();
        let mut all = logs(&mut world.replicas[0]);
        all.reverse();
        let done = world.replicas[2].gather(all).unwrap();
        assert!(done.held.is_empty() && done.left.iter().all(VecDeque::is_empty), "{done:?}");
        assert!(world.replicas[2].held().unwrap().is_empty());
        assert_eq!(world.replicas[2].view(), world.replicas[0].view());
    }
}
