//! Taking records from a place where nobody answers: it is listed by what it says to hold, and only what is lacked is
//! read. What is torn, foreign or lying is left out and named; the rest goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aios_core::frontier::{Place, View};
use aios_core::id::{DeviceId, VaultId};
use aios_core::record::Record;
use aios_vault::Error;

use super::{RemoteError, Skipped};
use crate::keeper::Keeper;

/// A run of records of one device, as a place names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Whose log.
    pub device: DeviceId,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// Names these very bytes: whoever has read them need not read them again.
    pub name: String,
    /// How many bytes there are; 0 where the name tells enough.
    pub size: u64,
}

impl Run {
    /// What is remembered of it once it is proven.
    pub fn mark(&self) -> String {
        format!("{}-{} {} {}", self.first, self.last, self.name, self.size)
    }
}

/// Why a run was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is not what it should be.
    Lying(String),
    /// Not all of it has come there yet.
    Waiting(String),
    /// The place failed.
    Failed(RemoteError),
}

/// A place that holds runs of records.
pub trait Shelf {
    /// What it says to hold.
    fn runs(&self) -> &[Run];

    /// Reads one: framing, ids and body hashes are checked.
    ///
    /// # Errors
    /// Why not.
    fn read(&self, run: &Run) -> Result<Vec<Record>, Unread>;
}

/// Reads a shelf.
pub struct Reader<'s, S> {
    shelf: &'s S,
    keeper: &'s Keeper,
    vault: VaultId,
    /// Names of what holds what it says.
    proven: BTreeSet<String>,
    /// What was not used, and whether it lies.
    left_out: BTreeMap<Run, (String, bool)>,
    /// Records that cannot enter yet.
    waiting: Vec<Place>,
    /// Whether there are records of another vault.
    alien: bool,
}

impl<'s, S: Shelf> Reader<'s, S> {
    /// Of a shelf whose runs in `proven` were read before.
    pub fn new(shelf: &'s S, keeper: &'s Keeper, vault: VaultId, proven: BTreeSet<String>) -> Self {
        Reader { shelf, keeper, vault, proven, left_out: BTreeMap::new(), waiting: Vec::new(), alien: false }
    }

    /// Takes in all that is lacked here and can enter. Says how many records were new.
    ///
    /// # Errors
    /// When the place or the vault fails.
    pub fn pull(&mut self) -> Result<u64, RemoteError> {
        let mut logs: BTreeMap<DeviceId, VecDeque<Record>> = BTreeMap::new();
        let mut new = 0;
        let mut view = self.keeper.work(|vault| Ok(vault.frontier()?.view()))?;
        let devices: BTreeSet<DeviceId> = self.shelf.runs().iter().map(|run| run.device).collect();
        let mut loaded: BTreeMap<DeviceId, Run> = BTreeMap::new();
        loop {
            for device in &devices {
                if logs.get(device).is_none_or(VecDeque::is_empty)
                    && let Some((run, records)) = self.load(device, view.get(device) + 1)?
                {
                    logs.insert(*device, records.into());
                    loaded.insert(*device, run);
                }
            }
            let queues: Vec<_> =
                std::mem::take(&mut logs).into_values().filter(|log| !log.is_empty()).collect();
            let (gathered, now) = self.keeper.work(move |vault| {
                let gathered = vault.gather(queues)?;
                Ok((gathered, vault.frontier()?.view()))
            })?;
            new += gathered.new;
            let mut news = now != view;
            view = now;
            self.waiting = gathered.held;
            for (place, why) in gathered.refused {
                // It lies in what was read last of that log.
                if let Some(run) = loaded.get(&place.device).cloned() {
                    self.leave_out(run, format!("record {}: {why}", place.seq), true);
                    news = true;
                }
            }
            for (device, run) in &loaded {
                // All of it went in, or is what is here.
                if !self.left_out.contains_key(run) && view.get(device) >= run.last {
                    self.proven.insert(run.mark());
                }
            }
            for log in gathered.left {
                if let Some(first) = log.front() {
                    let place = first.header.place();
                    self.waiting.push(place);
                    logs.insert(place.device, log);
                }
            }
            if !news {
                return Ok(new);
            }
        }
    }

    /// Records of a device from number `from` on, of whatever run holds most of them and can be read.
    fn load(&mut self, device: &DeviceId, from: u64) -> Result<Option<(Run, Vec<Record>)>, RemoteError> {
        loop {
            let runs = self.shelf.runs().iter();
            let fit = runs.filter(|run| run.device == *device && run.first <= from && from <= run.last);
            let usable = fit.filter(|run| !self.left_out.contains_key(*run));
            let Some(run) = usable.max_by_key(|run| (run.last, run.first)).cloned() else { return Ok(None) };
            if let Some(records) = self.read(&run)? {
                return Ok(Some((run, records)));
            }
        }
    }

    /// Reads a run; `None` when it was left out.
    fn read(&mut self, run: &Run) -> Result<Option<Vec<Record>>, RemoteError> {
        match self.shelf.read(run) {
            Ok(records) => {
                let other = records.iter().find(|record| record.header.vault != self.vault);
                self.alien |= other.is_some();
                let other =
                    other.map(|record| format!("record {} belongs to another vault", record.header.seq));
                match other.or_else(|| fault(run, &records)) {
                    None => Ok(Some(records)),
                    Some(why) => {
                        self.leave_out(run.clone(), why, true);
                        Ok(None)
                    }
                }
            }
            Err(Unread::Lying(why)) => {
                self.leave_out(run.clone(), why, true);
                Ok(None)
            }
            Err(Unread::Waiting(why)) => {
                self.leave_out(run.clone(), why, false);
                Ok(None)
            }
            Err(Unread::Failed(e)) => Err(e),
        }
    }

    fn leave_out(&mut self, run: Run, why: String, lying: bool) {
        self.proven.remove(&run.mark());
        self.left_out.insert(run, (why, lying));
    }

    /// The runs that were read and hold what this replica has: those it may count on. Reads the ones it has not read yet.
    ///
    /// # Errors
    /// When the place or the vault fails.
    pub fn prove(&mut self, view: &View) -> Result<Vec<Run>, RemoteError> {
        let mut out = Vec::new();
        for run in self.shelf.runs() {
            if self.left_out.contains_key(run) || view.get(&run.device) < run.first {
                continue;
            }
            if !self.proven.contains(&run.mark()) {
                let Some(records) = self.read(run)? else { continue };
                if !self.is_ours(run, records, view)? {
                    self.leave_out(run.clone(), "it holds other records than this device has".into(), true);
                    continue;
                }
                // One that goes on beyond what is here is not proven to its end.
                if run.last <= view.get(&run.device) {
                    self.proven.insert(run.mark());
                }
            }
            out.push(run.clone());
        }
        Ok(out)
    }

    /// Whether the newest of these records that is here is the same one: they follow each other, so all before it are too.
    fn is_ours(&self, run: &Run, records: Vec<Record>, view: &View) -> Result<bool, Error> {
        let known = view.get(&run.device).min(run.last);
        let Some(record) = records.into_iter().find(|record| record.header.seq == known) else {
            return Ok(false);
        };
        let place = record.header.place();
        let ours = self.keeper.work(move |vault| vault.id_at(&place))?;
        Ok(ours == Some(record.id))
    }

    /// What is proven and still there.
    pub fn proven(&self) -> BTreeSet<String> {
        let there: BTreeSet<String> = self.shelf.runs().iter().map(Run::mark).collect();
        self.proven.intersection(&there).cloned().collect()
    }

    /// Whether there may be records of a device beyond this view: what lies is not counted, what has not wholly come is.
    pub fn goes_beyond(&self, device: &DeviceId, view: &View) -> bool {
        self.shelf.runs().iter().filter(|run| run.device == *device).any(|run| match self.left_out.get(run) {
            Some((_, lying)) => !lying,
            None => run.last > view.get(device),
        })
    }

    /// Whether records of another vault were read.
    pub fn met_another_vault(&self) -> bool {
        self.alien
    }

    /// What was not used and why, and the first record that is there and could not enter.
    pub fn all_skipped(&self) -> impl Iterator<Item = Skipped> + '_ {
        let waiting = self.waiting.first().map(|place| Skipped {
            what: format!("record {} of {}", place.seq, place.device.short(8)),
            why: "it waits: what it rests on is not there, or its clock is more than a day ahead".into(),
        });
        let left_out = self.left_out.iter();
        left_out.map(|(run, (why, _))| Skipped { what: run.name.clone(), why: why.clone() }).chain(waiting)
    }
}

/// What is wrong with records for a run of that name: they must be all of it, and follow each other.
fn fault(run: &Run, records: &[Record]) -> Option<String> {
    let mut next = run.first;
    let mut last = None;
    for record in records {
        let header = &record.header;
        if header.device != run.device || header.seq != next {
            return Some("it does not hold the records that its name tells".into());
        }
        if last.is_some() && header.prev != last {
            return Some(format!("record {} does not follow the one before it", header.seq));
        }
        last = Some(record.id);
        next += 1;
    }
    (next != run.last + 1).then(|| "it does not hold the records that its name tells".into())
}

/// The numbers of `1..=last` that lie in no run, as runs of their own.
pub fn gaps<'r>(last: u64, runs: impl IntoIterator<Item = &'r Run>) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = runs.into_iter().map(|run| (run.first, run.last)).collect();
    spans.sort_unstable();
    let (mut out, mut next) = (Vec::new(), 1);
    for (from, to) in spans {
        if from > next && next <= last {
            out.push((next, last.min(from - 1)));
        }
        next = next.max(to.saturating_add(1));
    }
    if next <= last {
        out.push((next, last));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between() {
        let run = |first, last| Run { device: DeviceId([1; 32]), first, last, name: String::new(), size: 0 };
        assert_eq!(gaps(5, &[]), [(1, 5)]);
        assert_eq!(gaps(0, &[]), []);
        assert_eq!(gaps(9, &[run(2, 3), run(3, 6), run(8, 8)]), [(1, 1), (7, 7), (9, 9)]);
        assert_eq!(gaps(4, &[run(1, 9)]), []);
        assert_eq!(gaps(4, &[run(6, 9)]), [(1, 4)]);
    }
}
