//! Taking records in: checking that they fit, and indexing what they say. Indexing is a function of the record and
//! its past alone, so the order of arrival does not show (I1).

use std::collections::{BTreeMap, BTreeSet};

use aios_core::authority::Deed;
use aios_core::clock::Hlc;
use aios_core::delta::Delta;
use aios_core::event::Event;
use aios_core::frontier::{Place, View};
use aios_core::history::Act;
use aios_core::id::{ContentHash, DeviceId, DocId, GitId};
use aios_core::item::Item;
use aios_core::path;
use aios_core::planted::{Bug, planted};
use aios_core::record::Record;
use rusqlite::{OptionalExtension, params};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::absorb::AbsorbOptions;
use crate::clock::Holding;
use crate::db;
use crate::epoch::is_clear;
use crate::error::{Error, Refusal};
use crate::index::{act_number, kind_number, mode_number};
use crate::log::{Logged, Spot};
use crate::vault::Vault;

/// The end of the year 9999: no clock shows a later time, and none that follows it has to.
const LATEST_MS: u64 = 253_402_300_799_999;

/// The parts of a body that indexing needs, items still raw.
#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(default)]
    more: bool,
    #[serde(default)]
    abort: bool,
    #[serde(default)]
    merged: BTreeMap<DocId, GitId>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// What a record says.
struct Said<'r> {
    body: RawBody<'r>,
    items: Vec<Item>,
}

impl Said<'_> {
    fn nothing() -> Self {
        Said {
            body: RawBody { more: false, abort: false, merged: BTreeMap::new(), items: Vec::new() },
            items: Vec::new(),
        }
    }
}

/// What checking a record found out about it.
pub(crate) struct Fit {
    pub past: View,
    parents: Vec<i64>,
}

/// What came of a batch of records from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Integrated {
    /// How many were new.
    pub new: u64,
    /// How many are held for their clock.
    pub held: u64,
}

impl Vault {
    /// Whether a record fits what is here: vault, chain, causal closure, clock, membership, sound items.
    pub(crate) fn fit(&self, record: &Record) -> Result<Fit, Error> {
        let header = &record.header;
        let place = header.place();
        let refuse = |why| Err(Error::Refused { place, why });
        if header.vault != self.replica.vault {
            return refuse(Refusal::Vault);
        }
        let tip = self.tip(&header.device)?;
        let (last, prev) = tip.map_or((0, None), |(seq, id, _)| (seq, Some(id)));
        if header.seq <= last {
            return refuse(Refusal::Fork);
        }
        if header.seq > last + 1 {
            return refuse(Refusal::Gap);
        }
        if header.prev != prev {
            return refuse(Refusal::Chain);
        }
        let mut past = View::new();
        let mut parents = Vec::new();
        let mut clock = Hlc::default();
        let mut get = self.db.prepare_cached("SELECT n, ms, count, view FROM record WHERE id = ?")?;
        for id in header.prev.iter().chain(&header.deps) {
            let row = get.query_row([id.as_bytes()], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, u32>(2)?,
                    row.get::<_, Vec<u8>>(3)?,
                ))
            });
            let Some((n, ms, count, view)) = row.optional()? else { return refuse(Refusal::Gap) };
            parents.push(n);
            clock = clock.max(Hlc(ms as u64, count));
            past = past.union(&db::read_view(&view)?);
        }
        if header.clock <= clock || header.clock.0.max(header.wall) > LATEST_MS {
            return refuse(Refusal::Clock);
        }
        Ok(Fit { past, parents })
    }

    /// Indexes a record that lies in the log at `spot`.
    pub(crate) fn index(&mut self, record: &Record, spot: Spot, fit: Fit) -> Result<(), Error> {
        let header = &record.header;
        let place = header.place();
        let mut view = fit.past.clone();
        view.add(place);
        self.check_epoch(record, &fit.past, &view)?;
        let open = self.open_parts(&place.device)?;
        let before = self.authority.clone();
        let (said, deeds, bad) = match self.says(record, &fit, &view, &open) {
            Ok((said, deeds)) => (said, deeds, false),
            // What a key opens and nobody may say is nothing, on every device that reads it: who has no key carries it.
            Err(Error::Refused { .. }) if record.header.closed.is_some() && !record.is_closed() => {
                self.authority = before;
                (Said::nothing(), self.admit_record(record, &fit.past, &view, &[])?, true)
            }
            Err(e) => return Err(e),
        };
        let Said { body, items } = said;
        let ends_transaction = !body.more && !body.abort;
        let n = self.insert(record, spot, &fit, &view)?;
        self.insert_items(n, record, spot, &body, &items)?;
        self.note_newer(n, &items)?;
        self.note_named(n, &body.merged)?;
        self.note_epochs(n, &items)?;
        self.note_closed(n, record, bad)?;
        self.note_veils(n, record, &items)?;
        if body.abort {
            for part in &open {
                self.drop_part(*part)?;
            }
            self.db.prepare_cached("UPDATE record SET ends = NULL WHERE n = ?")?.execute([n])?;
        } else if ends_transaction {
            let tree = self.close(n, &open, &items)?;
            let heads = match tree {
                true => vec![n],
                false => self.commit_heads(&fit.parents)?,
            };
            self.set_heads(n, tree, &heads)?;
        }
        if !ends_transaction {
            let heads = self.commit_heads(&fit.parents)?;
            self.set_heads(n, false, &heads)?;
        }
        let end = spot.at + record.entry_len() as u64;
        self.db.prepare_cached("INSERT OR REPLACE INTO tip VALUES(?, ?, ?, ?, ?)")?.execute(params![
            place.device.as_bytes(),
            place.seq as i64,
            record.id.as_bytes(),
            spot.segment as i64,
            end as i64
        ])?;
        self.settle_conflicts(n, &items)?;
        self.judge(n, &deeds)?;
        self.integrate_indexed(n, place, &fit, view, !deeds.is_empty())
    }

    /// What a record says, and what of that is about members, if all of it may be said.
    fn says<'r>(
        &mut self,
        record: &'r Record,
        fit: &Fit,
        view: &View,
        open: &[i64],
    ) -> Result<(Said<'r>, Vec<Deed>), Error> {
        let refuse = |why: String| Error::Refused { place: record.header.place(), why: Refusal::Item(why) };
        let malformed = |e: serde_json::Error| refuse(e.to_string());
        let body: RawBody<'_> = match record.is_closed() {
            true => Said::nothing().body,
            false => serde_json::from_slice(&record.body_line).map_err(malformed)?,
        };
        let mut items = Vec::with_capacity(body.items.len());
        for raw in &body.items {
            let item: Item = serde_json::from_str(raw.get()).map_err(malformed)?;
            sound(&self.replica.vault, &item).map_err(refuse)?;
            if record.header.closed.is_some() && is_clear(&item) {
                return Err(refuse("it seals what whoever carries the vault has to read".into()));
            }
            items.push(item);
        }
        if !record.is_closed() {
            for (item, bytes) in items.iter().zip(record.split(&items)?) {
                if let (Item::Edit { delta, .. }, Some(bytes)) = (item, bytes) {
                    Delta::read(delta, bytes).map_err(|e| refuse(e.to_string()))?;
                }
            }
        }
        // Authority first: the vault's first record brings its own member (I7).
        let deeds = self.admit_record(record, &fit.past, view, &items)?;
        if !open.is_empty() && !record.header.deps.is_empty() {
            return Err(refuse("it takes in other records in the middle of a transaction".into()));
        }
        Ok((Said { body, items }, deeds))
    }

    /// Whether a record that was indexed counts, and what else does now.
    fn integrate_indexed(
        &mut self,
        n: i64,
        place: Place,
        fit: &Fit,
        view: View,
        judged: bool,
    ) -> Result<(), Error> {
        let counts = place.seq <= self.authority.bound(&place.device) || planted(Bug::BoundIgnored);
        if counts && self.view.covers(&fit.past) && !(judged && self.authority.is_contested()) {
            for parent in &fit.parents {
                self.db.prepare_cached("DELETE FROM head WHERE n = ?")?.execute([parent])?;
            }
            self.db.prepare_cached("INSERT INTO head VALUES(?)")?.execute([n])?;
            if self.authority.is_contested() {
                self.db.prepare_cached("UPDATE record SET held = 0 WHERE n = ?")?.execute([n])?;
            }
            self.view.add(place);
            return Ok(());
        }
        let new = match (judged, counts) {
            (true, _) => self.counting()?,
            // What it builds on counts with it.
            (false, true) => self.view.union(&view),
            (false, false) => return Ok(()),
        };
        self.set_view(new)
    }

    fn settle_conflicts(&self, n: i64, items: &[Item]) -> Result<(), Error> {
        for item in items {
            if let Item::Event(Event::ConflictSettled { id }) = item {
                self.db
                    .prepare_cached("INSERT OR IGNORE INTO settled VALUES(?, ?)")?
                    .execute(params![id, n])?;
            }
        }
        Ok(())
    }

    fn insert(&self, record: &Record, spot: Spot, fit: &Fit, view: &View) -> Result<i64, Error> {
        let header = &record.header;
        let parents = serde_json::to_string(&fit.parents).unwrap_or_default();
        self.db
            .prepare_cached(
                "INSERT INTO record(device, seq, id, ms, count, wall, view, segment, at, len, ends, tree, heads, parents, held)
                 VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, '[]', ?, ?)",
            )?
            .execute(params![
                header.device.as_bytes(),
                header.seq as i64,
                record.id.as_bytes(),
                header.clock.0 as i64,
                header.clock.1,
                header.wall as i64,
                db::view_bytes(view),
                spot.segment as i64,
                spot.at as i64,
                record.entry_len() as i64,
                parents,
                // Until it is known to count.
                self.authority.is_contested()
            ])?;
        Ok(self.db.last_insert_rowid())
    }

    /// Numbers of the records of a device's open transaction, in order.
    fn open_parts(&self, device: &DeviceId) -> Result<Vec<i64>, Error> {
        let key = format!("open:{device}");
        match db::meta(&self.db, &key)? {
            Some(text) => serde_json::from_slice(&text).map_err(|e| Error::Damaged(e.to_string())),
            None => Ok(Vec::new()),
        }
    }

    /// Whether this device has a transaction open: a crash in the middle of a large one.
    pub(crate) fn has_open_parts(&self) -> Result<bool, Error> {
        Ok(!self.open_parts(&self.replica.device)?.is_empty())
    }

    fn set_open(&self, device: &DeviceId, parts: &[i64]) -> Result<(), Error> {
        db::set_meta(
            &self.db,
            &format!("open:{device}"),
            serde_json::to_string(parts).unwrap_or_default().as_bytes(),
        )
    }

    fn insert_items(
        &mut self,
        n: i64,
        record: &Record,
        spot: Spot,
        body: &RawBody<'_>,
        items: &[Item],
    ) -> Result<(), Error> {
        let device = record.header.device;
        let open = self.open_parts(&device)?;
        let first_index = self.open_index(&open)?;
        let lying = lie(record, spot.at, body, items);
        for (offset, ((item, raw), (at, own))) in items.iter().zip(&body.items).zip(lying).enumerate() {
            self.insert_item(n, first_index + offset as i64, item, at, raw.get().len(), own)?;
        }
        if body.more {
            let mut open = open;
            open.push(n);
            self.set_open(&device, &open)?;
            db::set_meta(
                &self.db,
                &format!("index:{device}"),
                &(first_index + items.len() as i64).to_le_bytes(),
            )?;
        }
        Ok(())
    }

    /// Has the index know where the items and payloads of record `n` lie now that its entry is at byte `at` of its segment.
    pub(crate) fn respot_items(&self, n: i64, record: &Record, at: u64) -> Result<(), Error> {
        let rows: Vec<(Vec<u8>, i64, i64)> = {
            let mut get =
                self.db.prepare_cached("SELECT doc, record, idx FROM item WHERE part = ? ORDER BY idx")?;
            let rows = get.query_map([n], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        if rows.is_empty() {
            return Ok(());
        }
        let malformed =
            |e: serde_json::Error| aios_core::record::RecordError::Body(record.header.place(), e.to_string());
        let body: RawBody<'_> = serde_json::from_slice(&record.body_line).map_err(malformed)?;
        let items: Vec<Item> = body
            .items
            .iter()
            .map(|raw| serde_json::from_str(raw.get()))
            .collect::<Result<_, _>>()
            .map_err(malformed)?;
        let lying = items.iter().zip(lie(record, at, &body, &items));
        // Items of another sort have no row.
        let lying = lying.filter(|(item, _)| Act::of(item).is_some()).map(|(_, lies)| lies);
        for ((doc, of, idx), (at, own)) in rows.into_iter().zip(lying) {
            let mut put = self.db.prepare_cached(
                "UPDATE item SET at = ?, payload = ? WHERE doc = ? AND record = ? AND idx = ?",
            )?;
            put.execute(params![at as i64, own, doc, of, idx])?;
        }
        Ok(())
    }

    fn open_index(&self, open: &[i64]) -> Result<i64, Error> {
        let Some(first) = open.first() else { return Ok(0) };
        let device = self.row(*first)?.place.device;
        let bytes = db::meta(&self.db, &format!("index:{device}"))?.unwrap_or_default();
        Ok(bytes.try_into().map(i64::from_le_bytes).unwrap_or(0))
    }

    fn insert_item(
        &self,
        n: i64,
        index: i64,
        item: &Item,
        at: u64,
        len: usize,
        payload: Option<i64>,
    ) -> Result<(), Error> {
        if let Item::MoveDir { from, to } = item {
            self.db
                .prepare_cached("INSERT INTO moved VALUES(?, ?, ?, ?)")?
                .execute(params![n, index, from, to])?;
        }
        if let Item::History { tip } = item {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO apart VALUES(?, ?, 1, NULL, NULL)")?
                .execute(params![tip.as_bytes(), n])?;
        }
        if let Some(content) = item.detached() {
            self.db.prepare_cached("INSERT OR IGNORE INTO apart VALUES(?, ?, 0, ?, ?)")?.execute(params![
                content.git.as_bytes(),
                n,
                content.hash.as_bytes(),
                content.size as i64
            ])?;
        }
        let Some((doc, act, base)) = Act::of(item) else { return Ok(()) };
        let content = act.content();
        let path = act.claim();
        let (kind, mode, epoch, character) = match &act {
            Act::Create { kind, mode, .. } => {
                (Some(kind_number(*kind)), Some(mode_number(*mode)), None, None)
            }
            Act::Replace { kind, .. } => (Some(kind_number(*kind)), None, None, None),
            Act::Mode { mode } => (None, Some(mode_number(*mode)), None, None),
            Act::Edit { epoch, by_character, .. } => {
                (None, None, Some(epoch.to_string()), Some(*by_character))
            }
            _ => (None, None, None, None),
        };
        let rank = base.rank.map(|rank| serde_json::to_string(&rank).unwrap_or_default());
        self.db
            .prepare_cached(
                "INSERT INTO item VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                doc.as_bytes(),
                n,
                index,
                act_number(&act),
                path,
                path.map(path::fold),
                kind,
                mode,
                content.map(|c| c.hash.0),
                content.map(|c| c.git.0),
                content.map(|c| c.size as i64),
                epoch,
                character,
                base.base.map(|view| db::view_bytes(&view)),
                rank,
                n,
                at as i64,
                len as i64,
                payload
            ])?;
        Ok(())
    }

    /// Ends a transaction with record `n`: the items of its parts take effect there. Says whether it has a commit.
    fn close(&mut self, n: i64, open: &[i64], items: &[Item]) -> Result<bool, Error> {
        let mut tree = items.iter().any(Item::changes_tree);
        for part in open {
            tree |= self
                .db
                .prepare_cached("SELECT EXISTS(SELECT 1 FROM item WHERE record = ?)")?
                .query_row([part], |row| row.get::<_, bool>(0))?;
            self.db.prepare_cached("UPDATE item SET record = ? WHERE record = ?")?.execute([n, *part])?;
            self.db.prepare_cached("UPDATE moved SET record = ? WHERE record = ?")?.execute([n, *part])?;
        }
        for part in open.iter().chain([&n]) {
            self.db.prepare_cached("UPDATE record SET ends = ? WHERE n = ?")?.execute([n, *part])?;
        }
        if !open.is_empty() {
            self.long.forget();
            let device = self.row(n)?.place.device;
            self.set_open(&device, &[])?;
        }
        Ok(tree)
    }

    fn drop_part(&self, part: i64) -> Result<(), Error> {
        self.long.forget();
        self.db.prepare_cached("DELETE FROM item WHERE part = ?")?.execute([part])?;
        self.db.prepare_cached("DELETE FROM moved WHERE record = ?")?.execute([part])?;
        let device = self.row(part)?.place.device;
        self.set_open(&device, &[])
    }

    fn set_heads(&self, n: i64, tree: bool, heads: &[i64]) -> Result<(), Error> {
        let heads = serde_json::to_string(heads).unwrap_or_default();
        self.db
            .prepare_cached("UPDATE record SET tree = ?, heads = ? WHERE n = ?")?
            .execute(params![tree, heads, n])?;
        Ok(())
    }

    /// The commit heads of a set of records: the maximal records with a commit in the union of their views.
    pub(crate) fn commit_heads(&self, records: &[i64]) -> Result<Vec<i64>, Error> {
        let mut candidates = BTreeSet::new();
        for n in records {
            candidates.extend(self.row(*n)?.heads);
        }
        if candidates.len() < 2 {
            return Ok(candidates.into_iter().collect());
        }
        let rows: Vec<_> = candidates.iter().map(|n| self.row(*n)).collect::<Result<_, _>>()?;
        let maximal = rows
            .iter()
            .filter(|row| !rows.iter().any(|other| other.n != row.n && other.view.has(&row.place)));
        Ok(maximal.map(|row| row.n).collect())
    }

    /// Takes in records from a peer, in causal order: checks them, writes them to the log durably, indexes them.
    /// Stops at the first that does not fit; those before it stay.
    pub fn integrate(&mut self, records: &[Record]) -> Result<Integrated, Error> {
        let mut done = Integrated::default();
        let frontier = self.frontier()?;
        let mut rest = Vec::new();
        for record in records {
            let header = &record.header;
            let known = frontier.0.get(&header.device).map_or(0, |(seq, _)| *seq);
            if header.seq <= known {
                self.same_as_known(record)?;
                continue;
            }
            record.verify_signature()?;
            record.check_payloads()?;
            self.check_form(record)?;
            self.learn_keys(record)?;
            rest.push(record);
        }
        // Once all keys are known: what they open may come before them.
        let opened: Vec<_> = rest.into_iter().map(|record| self.opened(record)).collect();
        // One device after the other inside the log, but indexed in the order received.
        let mut failed = None;
        let rest: Vec<&Record> = opened.iter().map(AsRef::as_ref).collect();
        let mut fitting: Vec<&Record> = Vec::new();
        let mut holding = Holding::new(self, &rest)?;
        let mut reach = frontier.view();
        for record in rest {
            let header = &record.header;
            if holding.holds(self, record)? {
                self.hold(record)?;
                done.held += 1;
                continue;
            }
            if header.seq != reach.get(&header.device) + 1 {
                failed = Some(Error::Refused { place: header.place(), why: Refusal::Gap });
                break;
            }
            reach.add(header.place());
            fitting.push(record);
        }
        let new = self.take(&fitting, &mut failed)?;
        self.let_in(&fitting[..new as usize])?;
        done.new += new;
        match failed {
            None => Ok(done),
            Some(e) => Err(e),
        }
    }

    fn take(&mut self, records: &[&Record], failed: &mut Option<Error>) -> Result<u64, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        // Checked against a database transaction that is thrown away, then written to the log, then indexed for good:
        // nothing that does not fit ever enters the log, and nothing enters the database that the log does not have (I9).
        let mut good = 0;
        self.db.execute_batch("BEGIN")?;
        let (view, shown, authority) = (self.view.clone(), self.shown.clone(), self.authority.clone());
        for record in records {
            let trial = self.fit(record).and_then(|fit| self.index(record, Spot::default(), fit));
            if let Err(e) = trial {
                *failed = Some(e);
                break;
            }
            good += 1;
        }
        self.db.execute_batch("ROLLBACK")?;
        self.long.forget();
        let back = !self.view.covers(&view);
        (self.view, self.shown, self.authority) = (view, shown, authority);
        if back {
            // What is on disk was saved by someone who had before them what is taken back, and builds on it. Where taking in must wait,
            // files are not written either.
            if let Err(e) = self.absorb(&AbsorbOptions::default(), &mut |_, _, _| {}) {
                tracing::warn!(error = %e, "not taken in before records are taken back");
            }
        }
        let good = &records[..good];
        let mut spots: BTreeMap<Place, Spot> = BTreeMap::new();
        let devices: BTreeSet<DeviceId> = good.iter().map(|record| record.header.device).collect();
        for device in devices {
            let end = self.tip(&device)?.map(|(_, _, spot)| spot);
            let own: Vec<&Record> =
                good.iter().copied().filter(|record| record.header.device == device).collect();
            let (at, _) = self.log.append(&device, end, &own)?;
            spots.extend(own.iter().map(|record| record.header.place()).zip(at));
        }
        self.transaction(|vault| {
            for record in good {
                let fit = vault.fit(record)?;
                let spot = spots.get(&record.header.place()).copied().unwrap_or_default();
                vault.index(record, spot, fit)?;
            }
            Ok(())
        })?;
        Ok(good.len() as u64)
    }

    fn same_as_known(&self, record: &Record) -> Result<(), Error> {
        let place = record.header.place();
        let known = self.number(&place)?.map(|n| self.row(n)).transpose()?;
        match known {
            Some(row) if row.id == record.id => Ok(()),
            _ => Err(Error::Refused { place, why: Refusal::Fork }),
        }
    }

    /// Takes in what the log holds beyond the database: after a crash, or when the database is new.
    pub(crate) fn catch_up(&mut self) -> Result<(), Error> {
        let mut waiting: Vec<(DeviceId, Vec<Logged>)> = Vec::new();
        for device in self.log.devices()? {
            let end = self.tip(&device)?.map(|(_, _, spot)| spot);
            if !self.log.differs(&device, end)? {
                continue;
            }
            let mut found = Vec::new();
            let walked = self.log.walk(&device, end, |logged| {
                found.push(logged);
                Ok(())
            })?;
            if let Some(torn) = walked.torn {
                tracing::warn!(device = %device.short(8), at = torn.at, "cutting off a write that never finished");
                self.log.cut(&device, torn)?;
            }
            if !found.is_empty() {
                // The database lasts once it has them, so they must.
                self.log.sync(&device, end)?;
            }
            waiting.push((device, found));
        }
        if waiting.iter().all(|(_, found)| found.is_empty()) {
            return Ok(());
        }
        let known = self.view.get(&self.replica.device);
        self.transaction(|vault| {
            vault.index_all(waiting)?;
            vault.recall_saves(known)
        })
    }

    /// What this device's records beyond number `known` saved may be what its user has in front of them: the database that a
    /// crash left behind does not know that it was taken in (I6). Of a database that knew nothing the files tell.
    fn recall_saves(&self, known: u64) -> Result<(), Error> {
        if known == 0 {
            return Ok(());
        }
        let mut get = self.db.prepare_cached(
            "SELECT i.doc, i.hash, i.git, r.n FROM record r JOIN item i ON i.record = r.n
             WHERE r.device = ? AND r.seq > ? AND i.hash IS NOT NULL AND i.base IS NULL ORDER BY r.n",
        )?;
        let mut rows = get.query(params![self.replica.device.as_bytes(), known as i64])?;
        while let Some(row) = rows.next()? {
            let doc = db::id(row.get(0)?, DocId::from_slice)?;
            let hash = db::id(row.get(1)?, ContentHash::from_slice)?;
            let git = db::id(row.get(2)?, GitId::from_slice)?;
            self.aios_wrote(&doc, &hash, &git, &self.row(row.get(3)?)?.view)?;
        }
        Ok(())
    }

    /// Indexes logs in causal order: whoever can go on does, until none can.
    ///
    /// A crash while records of several devices were written may have left some without those they rest on: nobody was told that
    /// they are here, and they are cut off. A database that was empty tells nothing of that: then it is damage.
    fn index_all(&mut self, waiting: Vec<(DeviceId, Vec<Logged>)>) -> Result<(), Error> {
        let fresh = self.frontier()?.0.is_empty();
        let mut queues: Vec<_> = waiting.into_iter().map(|(_, found)| found.into_iter().peekable()).collect();
        loop {
            let (mut moved, mut stuck) = (false, None);
            for queue in &mut queues {
                while let Some(next) = queue.peek() {
                    match self.fit(&next.record) {
                        Ok(fit) => {
                            if let Some(logged) = queue.next() {
                                self.index(&logged.record, logged.spot, fit)?;
                                moved = true;
                            }
                        }
                        Err(e @ Error::Refused { why: Refusal::Gap, .. }) => {
                            stuck = Some(e);
                            break;
                        }
                        Err(e) => return Err(e),
                    }
                }
            }
            match (moved, stuck) {
                (_, None) => return Ok(()),
                (false, Some(e)) if fresh => return Err(e),
                (false, Some(_)) => break,
                (true, Some(_)) => {}
            }
        }
        for queue in &mut queues {
            if let Some(Logged { record, spot }) = queue.next() {
                tracing::warn!(record = %record.header.place(), "cutting off records whose past was never written");
                self.log.cut_from(&record.header.device, spot)?;
            }
        }
        Ok(())
    }
}

/// Where the JSON of each item lies, and its payload if that is with the record, whose entry begins at byte `at` of its segment.
fn lie(record: &Record, at: u64, body: &RawBody<'_>, items: &[Item]) -> Vec<(u64, Option<i64>)> {
    let line = record.body_line.as_ptr() as usize;
    let mut payload = at + (record.entry_len() - record.payloads.len() - 1) as u64;
    let body_at = payload - 1 - record.body_line.len() as u64;
    let mut ordinal = 0;
    let own = |item: &Item| {
        let (_, size) = item.payload()?;
        ordinal += 1;
        if record.gone.has(ordinal - 1) {
            return None;
        }
        payload += size;
        Some((payload - size) as i64)
    };
    let json = body.items.iter().map(|raw| body_at + (raw.get().as_ptr() as usize - line) as u64);
    json.zip(items.iter().map(own)).collect()
}

/// Whether an item may be believed: nothing from the wire may point outside the vault or lie about an id.
fn sound(vault: &aios_core::id::VaultId, item: &Item) -> Result<(), String> {
    let checked = |text: &str| path::check(text).map_err(|e| e.to_string());
    match item {
        Item::Create { doc, path: claim, after, .. } => {
            checked(claim)?;
            match DocId::of(vault, &path::fold(claim), after) == *doc {
                true => Ok(()),
                false => Err(format!("the id of the document made at `{claim}` is not the one it must have")),
            }
        }
        Item::Move { path, .. } => checked(path),
        Item::MoveDir { from, to } => checked(from).and_then(|()| checked(to)),
        _ => Ok(()),
    }
}
