//! The log by itself, and the database's account of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use aios_core::authority::Authority;
use aios_core::clock::Hlc;
use aios_core::event::Event;
use aios_core::frontier::{Place, View};
use aios_core::id::{DeviceId, RecordId, VaultId};
use aios_core::item::Item;
use aios_core::member::{MemberError, WRITE};

use super::Report;
use crate::error::{Error, Refusal};
use crate::judge::deeds;
use crate::log::Spot;
use crate::tape::{Damage, Next, Tapes};
use crate::vault::{Progress, Vault};

struct Known {
    id: RecordId,
    clock: Hlc,
    wall: u64,
    view: View,
    spot: Spot,
    len: u64,
    parents: BTreeSet<RecordId>,
}

/// What a walk over all logs found.
pub(super) struct Walked {
    records: BTreeMap<Place, Known>,
    ids: HashMap<RecordId, Place>,
    authority: Authority,
    torn: Vec<(DeviceId, Damage)>,
    damaged: bool,
}

impl Walked {
    /// Walks the logs: framing, hashes, signatures, chains, pasts, clocks, membership (I7).
    pub fn read(
        logs: &Path,
        vault: &VaultId,
        report: &mut Report,
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let (records, ids, authority) = (BTreeMap::new(), HashMap::new(), Authority::new(*vault));
        let mut out = Walked { records, ids, authority, torn: Vec::new(), damaged: false };
        let mut last: BTreeMap<DeviceId, (u64, RecordId)> = BTreeMap::new();
        let mut tapes = Tapes::new(logs, *vault)?;
        while let Some(next) = tapes.take()? {
            let (logged, lacking) = match next {
                Next::Damage(device, damage) if damage.tail => {
                    out.torn.push((device, damage));
                    continue;
                }
                Next::Damage(_, damage) => {
                    out.damaged = true;
                    out.damage(&damage, report);
                    continue;
                }
                Next::Record { logged, lacking } => (logged, lacking),
            };
            let record = &logged.record;
            let header = &record.header;
            let place = header.place();
            let at = format!("record {place}");
            let (seq, prev) = last.get(&place.device).map_or((0, None), |(seq, id)| (*seq, Some(*id)));
            if place.seq <= seq {
                report.find("I8", at, "it stands a second time, or out of order, in its log".into());
                out.damaged = true;
                continue;
            }
            if place.seq > seq + 1 {
                report.find(
                    "I8",
                    format!("record {}:{}", place.device, seq + 1),
                    format!("it is missing: the log goes on with {}", place.seq),
                );
                out.damaged = true;
            } else if header.prev != prev {
                report.find("I8", at.clone(), "it does not follow the record before it".into());
            }
            if let Some(id) = lacking
                && header.prev != Some(id)
            {
                report.find(
                    "I8",
                    at.clone(),
                    format!("it builds on record {}, which no log holds", id.short(16)),
                );
                out.damaged = true;
            }
            let mut view = View::new();
            let mut clock = Hlc::default();
            let parents: BTreeSet<RecordId> = header.prev.iter().chain(&header.deps).copied().collect();
            for known in parents.iter().filter_map(|id| out.records.get(out.ids.get(id)?)) {
                view = view.union(&known.view);
                clock = clock.max(known.clock);
            }
            if header.clock <= clock {
                report.find("I1", at.clone(), "its clock does not pass that of a record it builds on".into());
            }
            out.member(place, &view, record, report);
            view.add(place);
            last.insert(place.device, (place.seq, record.id));
            out.ids.insert(record.id, place);
            let (clock, wall, len) = (header.clock, header.wall, record.entry_len() as u64);
            out.records
                .insert(place, Known { id: record.id, clock, wall, view, spot: logged.spot, len, parents });
            report.checked.records += 1;
            if report.checked.records.is_multiple_of(256) {
                progress("records", report.checked.records, 0);
            }
        }
        out.authority.judge();
        Ok(out)
    }

    fn member(&mut self, place: Place, past: &View, record: &aios_core::record::Record, report: &mut Report) {
        // What rests on records that are gone cannot be judged.
        if self.damaged {
            return;
        }
        let Ok(body) = record.body() else { return };
        let mut view = past.clone();
        view.add(place);
        for deed in deeds(record, &view, &body.items) {
            match self.authority.weigh(&deed) {
                Ok(()) => {}
                Err(e) => report.find("I7", format!("record {place}"), e.to_string()),
            }
            if let Event::DeviceRevoked { device, last: Some((seq, id)), .. } = &deed.event
                && self.get(&Place { device: *device, seq: *seq }) != Some(id)
            {
                report.find("I7", format!("record {place}"), MemberError::CutOff(place).to_string());
            }
            self.authority.add(deed);
        }
        let writes = body.items.iter().any(Item::changes_tree);
        if writes && !self.authority.roles(&place.device, &view).iter().any(|role| role == WRITE) {
            report.find("I7", format!("record {place}"), Refusal::Right(WRITE).to_string());
        }
        if !self.authority.admits(place, past) {
            report.find(
                "I7",
                format!("record {place}"),
                "its device was not a member when it was made".into(),
            );
        }
    }

    fn damage(&self, damage: &Damage, report: &mut Report) {
        let at = format!("log segment {}", damage.path.display());
        report.find(
            "I8",
            at,
            format!("{} bytes from byte {} are damaged: {}", damage.len, damage.at, damage.why),
        );
    }

    /// The devices that have records.
    pub fn devices(&self) -> BTreeSet<DeviceId> {
        self.records.keys().map(|place| place.device).collect()
    }

    /// The id of the record at a place.
    pub fn get(&self, place: &Place) -> Option<&RecordId> {
        self.records.get(place).map(|known| &known.id)
    }

    fn end(&self, device: &DeviceId) -> Option<(Place, &Known)> {
        let range = Place { device: *device, seq: 0 }..=Place { device: *device, seq: u64::MAX };
        self.records.range(range).next_back().map(|(place, known)| (*place, known))
    }

    /// Compares with the database's account of the log.
    pub fn compare_with(&self, vault: &Vault, report: &mut Report) -> Result<(), Error> {
        let frontier = vault.frontier()?;
        let own = vault.replica.device;
        let memory = vault.keys.memory().and_then(|memory| memory.tip).map(|(seq, _)| seq);
        for (device, (seq, id)) in &frontier.0 {
            let last = self.end(device).map_or(0, |(place, _)| place.seq);
            if last < *seq {
                report.find(
                    "I8",
                    format!("record {device}:{}", last + 1),
                    format!("it was acknowledged and is not in the log, which went up to {seq}"),
                );
            } else if self.get(&Place { device: *device, seq: *seq }).is_some_and(|known| known != id) {
                report.find(
                    "I8",
                    format!("record {device}:{seq}"),
                    "the database names another one as the last of its device".into(),
                );
            }
        }
        let last = self.end(&own).map_or(0, |(place, _)| place.seq);
        if let Some(seq) = memory.filter(|seq| *seq > last) {
            report.find(
                "I8",
                format!("record {own}:{}", last + 1),
                format!("this device wrote up to record {seq}, and the log ends before it"),
            );
        }
        for (device, damage) in &self.torn {
            // A write cut short was never acknowledged; anything the database knows was.
            let known = frontier.0.get(device).map_or(0, |(seq, _)| *seq);
            if self.end(device).map_or(0, |(place, _)| place.seq) < known {
                self.damage(damage, report);
            }
        }
        self.compare_rows(vault, report)?;
        for device in self.devices() {
            let (Some((place, known)), Some((seq, _, end))) = (self.end(&device), vault.tip(&device)?) else {
                continue;
            };
            let expected = Spot { segment: known.spot.segment, at: known.spot.at + known.len };
            if seq == place.seq && end != expected {
                report.find(
                    "I8",
                    format!("record {place}"),
                    "the database says the log ends elsewhere: run `aios rebuild`".into(),
                );
            }
        }
        let counting = self.counting();
        let counted = || self.records.iter().filter(|(place, _)| counting.has(place)).map(|(_, known)| known);
        let mut heads: BTreeSet<RecordId> = counted().map(|known| known.id).collect();
        for known in counted() {
            known.parents.iter().for_each(|id| _ = heads.remove(id));
        }
        let listed: BTreeSet<RecordId> =
            vault.heads()?.into_iter().map(|n| Ok(vault.row(n)?.id)).collect::<Result<_, Error>>()?;
        let ends = |device: &DeviceId| self.end(device).map(|(place, known)| (place.seq, known.id));
        let devices: BTreeSet<DeviceId> =
            self.devices().into_iter().chain(frontier.0.keys().copied()).collect();
        let all_in = devices.iter().all(|device| ends(device) == frontier.0.get(device).copied());
        if all_in && heads != listed && !self.damaged {
            report.find(
                "I8",
                "database",
                "its list of newest records is not the log's: run `aios rebuild`".into(),
            );
        }
        if all_in && !self.damaged && vault.members() != self.authority.members() {
            report.find("I7", "database", "its list of members is not the log's: run `aios rebuild`".into());
        }
        if all_in && !self.damaged && vault.view != counting {
            let what = "it counts other records than the log gives: run `aios rebuild`";
            report.find("I7", "database", what.into());
        }
        Ok(())
    }

    /// The records that count.
    fn counting(&self) -> View {
        let tips: View = self.records.keys().copied().collect();
        let none = |place: &Place| -> Result<View, std::convert::Infallible> {
            Ok(self.records.get(place).map(|known| known.view.clone()).unwrap_or_default())
        };
        match self.authority.counting(&tips, none) {
            Ok(view) => view,
            Err(never) => match never {},
        }
    }

    fn compare_rows(&self, vault: &Vault, report: &mut Report) -> Result<(), Error> {
        let numbers: Vec<i64> = {
            let mut get = vault.db.prepare("SELECT n FROM record ORDER BY n")?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut rows = HashMap::new();
        for n in numbers {
            let row = vault.row(n)?;
            rows.insert(row.place, row);
        }
        for (place, known) in &self.records {
            let Some(row) = rows.remove(place) else {
                // Beyond the database's end: taken in when the vault is next opened.
                if vault.view().has(place) {
                    report.find(
                        "I8",
                        format!("record {place}"),
                        "the database does not have it: run `aios rebuild`".into(),
                    );
                }
                continue;
            };
            let len: i64 = vault
                .db
                .prepare_cached("SELECT len FROM record WHERE n = ?")?
                .query_row([row.n], |row| row.get(0))?;
            let parents: BTreeSet<RecordId> =
                row.parents.iter().map(|n| Ok(vault.row(*n)?.id)).collect::<Result<_, Error>>()?;
            let same = row.id == known.id
                && row.clock == known.clock
                && row.wall == known.wall
                && row.view == known.view;
            if !(same
                && row.spot == known.spot
                && len as u64 == known.len
                && (parents == known.parents || self.damaged))
            {
                report.find(
                    "I8",
                    format!("record {place}"),
                    "the database says otherwise of it: run `aios rebuild`".into(),
                );
            }
        }
        for place in rows.keys() {
            report.find("I8", format!("record {place}"), "the database has it, and no log does".into());
        }
        Ok(())
    }
}
