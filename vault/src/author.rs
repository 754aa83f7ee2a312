//! Writing records of this device: signed, appended to its log, synced, then indexed.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::authority::{Authority, Deed};
use aios_core::clock::{Hlc, Stamp};
use aios_core::event::Event;
use aios_core::frontier::Place;
use aios_core::id::{ContentHash, DocId, GitId, RecordId};
use aios_core::item::Item;
use aios_core::member::WRITE;
use aios_core::record::{Body, Header, Record, VERSION};

use crate::chance::{now_ms, random};
use crate::disk::fault;
use crate::epoch::is_clear;
use crate::error::{Error, Refusal};
use crate::judge::deeds;
use crate::vault::{RecordRow, Vault};
use crate::veil::MOST_BLOBS;
use crate::work::Reserved;

/// A record above this many bytes of payload goes on in another, so that no reader needs much memory.
const PART_BYTES: u64 = 8 << 20;
/// A record above this many items goes on in another.
const PART_ITEMS: usize = 16_384;

/// A transaction to be written.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Who acts: `operator`, `aios`, `agent:NAME`, `git:NAME`.
    pub actor: String,
    /// What was done, for people.
    pub message: String,
    /// Who git history shows, where that is not the user of this device.
    pub author: Option<aios_core::record::Author>,
    /// The run it belongs to.
    pub run: Option<String>,
    /// The number in the database of a held record that it builds on besides what is integrated.
    pub onto: Option<i64>,
    /// The place that was reserved for it, where one was.
    pub at: Option<Reserved>,
    /// The items, each with its payload where it has one.
    pub items: Vec<(Item, Vec<u8>)>,
}

impl Draft {
    /// A transaction of the operator.
    pub fn operator(message: impl Into<String>) -> Self {
        Draft { actor: "operator".into(), message: message.into(), ..Draft::default() }
    }

    /// Where the next item will stand, if the first stands in the record at `first` and none of them has a payload.
    pub(crate) fn next_place(&self, first: Place) -> Place {
        Place { seq: first.seq + (self.items.len() / PART_ITEMS) as u64, ..first }
    }

    /// Adds an item without payload.
    pub fn push(&mut self, item: Item) {
        self.items.push((item, Vec::new()));
    }
}

impl Vault {
    /// The number the next record of this device will have.
    pub(crate) fn next_seq(&self) -> Result<u64, Error> {
        Ok(self.tip(&self.replica.device)?.map_or(0, |(seq, _, _)| seq) + 1)
    }

    /// Writes a transaction. When it returns, the records are durable and indexed; documents are not refreshed yet.
    pub(crate) fn author_records(&mut self, draft: Draft) -> Result<RecordId, Error> {
        let adopts = draft.onto.is_some();
        let id = self.write_records(draft, None)?;
        let made = if adopts { self.still_unnamed(&BTreeSet::new())?.blobs } else { self.just_made()? };
        self.name_made(made)?;
        Ok(id)
    }

    /// Says at once what the last record of this device made of documents that it did not edit as they were, a save from an older version
    /// say: by the next record others may have gone on with them, and nobody would ever have named the blob that its commit holds.
    fn name_made(&mut self, made: BTreeMap<DocId, GitId>) -> Result<(), Error> {
        if made.is_empty() {
            return Ok(());
        }
        fault::point("author.merged").map_err(|e| Error::io("write a record in", self.root(), e))?;
        let actor = "aios".to_owned();
        let draft = Draft { actor, message: "Name what was merged".into(), ..Draft::default() };
        self.write_records(draft, Some(made)).map(drop)
    }

    /// As [`Vault::author_records`]; `names` is what it names where that is all it is for.
    fn write_records(
        &mut self,
        draft: Draft,
        names: Option<BTreeMap<DocId, GitId>>,
    ) -> Result<RecordId, Error> {
        let clear = draft.items.iter().any(|(item, _)| is_clear(item));
        match clear {
            true => self.check_decides()?,
            false => self.check_writes()?,
        }
        let begins = draft.items.iter().any(|(item, _)| matches!(item, Item::Event(Event::EpochKeys { .. })));
        // What is told to everybody who carries the vault is that alone.
        let told = clear && (begins || self.is_sealed_vault()?);
        if told && !draft.items.iter().all(|(item, _)| is_clear(item)) {
            return Err(Error::Usage(
                "who is a member and what is in files are said in records of their own".into(),
            ));
        }
        if self.is_left_behind()? {
            return Err(Error::Copied { name: self.members().name(&self.replica.device) });
        }
        let author = match told {
            true => aios_core::record::Author::default(),
            false => draft.author.unwrap_or_else(|| self.author()),
        };
        let device = self.replica.device;
        let writes = draft.items.iter().any(|(item, _)| item.changes_tree());
        let known = self.members().0.contains_key(&device);
        if writes && known && !self.authority.roles(&device, &self.view).iter().any(|role| role == WRITE) {
            return Err(Error::MayNot { what: "change files", role: WRITE });
        }
        let key = self.writing_key(&draft.items)?;
        let tip = self.tip(&device)?;
        // The head is not that of the record's past where it takes in more.
        let onto = match draft.onto {
            _ if told => None,
            // What the record before came to is not projected yet.
            None if names.is_some() => None,
            None => {
                self.projected_head()?.map(|oid| GitId::from_slice(oid.as_bytes()).unwrap_or(GitId([0; 20])))
            }
            Some(_) => None,
        };
        let mut deps = Vec::new();
        let adopted = draft.onto.map(|n| self.row(n)).transpose()?;
        let mut merged = match names {
            Some(merged) => merged,
            // What is held counts only once this record is written: what is merged then is named right after.
            _ if told || adopted.is_some() => BTreeMap::new(),
            _ => {
                let forgotten = draft.items.iter().filter_map(|(item, _)| match item {
                    Item::Event(Event::DocumentForgotten { doc, .. }) => Some(*doc),
                    _ => None,
                });
                let names = self.still_unnamed(&forgotten.collect())?;
                if writes && names.unread {
                    return Err(Error::Untold);
                }
                names.blobs
            }
        };
        let known = |row: &RecordRow| {
            adopted.as_ref().is_some_and(|adopted| adopted.n != row.n && adopted.view.has(&row.place))
        };
        let heads = self.heads()?.into_iter().chain(draft.onto);
        let mut heads = heads.map(|n| self.row(n)).collect::<Result<Vec<RecordRow>, Error>>()?;
        heads.retain(|row| !known(row));
        let own = |row: &RecordRow| {
            row.place.device == device && tip.is_none_or(|(seq, _, _)| seq == row.place.seq)
        };
        deps.extend(heads.iter().filter(|row| !own(row)).map(|row| row.id));
        let (mut seq, mut prev) = tip.map_or((0, None), |(seq, id, _)| (seq, Some(id)));
        let mut clock = self.clock_after(&heads, seq)?;
        let lengths = parts(&draft.items, key.is_some());
        let edits = draft.items.iter().filter_map(|(item, _)| match item {
            Item::Edit { doc, epoch, .. } => Some((*doc, *epoch)),
            _ => None,
        });
        let edited = edits.collect();
        let mut items = draft.items.into_iter();
        let mut records = Vec::with_capacity(lengths.len());
        for (n, length) in lengths.iter().enumerate() {
            let (part, payloads): (Vec<Item>, Vec<Vec<u8>>) = items.by_ref().take(*length).unzip();
            let wall = draft.at.map_or_else(now_ms, |at| at.wall);
            clock = clock.next(wall);
            seq += 1;
            let header = Header {
                v: VERSION,
                vault: self.replica.vault,
                device,
                seq,
                prev,
                deps: std::mem::take(&mut deps),
                clock,
                wall,
                actor: draft.actor.clone(),
                len: 0,
                body: ContentHash([0; 32]),
                closed: None,
            };
            let body = Body {
                message: draft.message.clone(),
                author: author.clone(),
                onto,
                more: n + 1 < lengths.len(),
                run: draft.run.clone(),
                salt: key.as_ref().map(|_| salt()).transpose()?,
                merged: std::mem::take(&mut merged),
                items: part,
                ..Body::default()
            };
            let epoch = key.as_ref().map(|key| Ok::<_, Error>((key, self.veils(key, &body.items)?)));
            let record =
                Record::author_in(header, &body, payloads.concat(), epoch.transpose()?, &self.keys.device)?;
            prev = Some(record.id);
            records.push(record);
        }
        let id = self.write_own(&records)?;
        self.remember_own(&records, draft.at.is_some())?;
        self.confirm(edited)?;
        Ok(id)
    }

    /// The clock of what comes after these records and the record of this device with the number `seq`, where there is one.
    fn clock_after(&self, heads: &[RecordRow], seq: u64) -> Result<Hlc, Error> {
        let last = match self.number(&Place { device: self.replica.device, seq })? {
            Some(n) => Some(self.row(n)?.clock),
            None => None,
        };
        Ok(heads.iter().map(|row| row.clock).chain(last).max().unwrap_or_default())
    }

    /// The place in the total order that a record gets which this device writes next, saying that it happened at `wall`.
    pub(crate) fn next_stamp(&self, wall: u64) -> Result<Stamp, Error> {
        let device = self.replica.device;
        let seq = self.tip(&device)?.map_or(0, |(seq, _, _)| seq);
        let heads = self.heads()?.into_iter().map(|n| self.row(n)).collect::<Result<Vec<_>, _>>()?;
        Ok(Stamp::new(self.clock_after(&heads, seq)?.next(wall), device, seq + 1))
    }

    /// Says what a crash kept from being said right after the last record of this device.
    pub(crate) fn name_left(&mut self) -> Result<(), Error> {
        let made = self.just_made()?;
        self.name_made(made)
    }

    /// Cancels a transaction that a crash left open: its parts have no effect.
    pub(crate) fn abort_open(&mut self) -> Result<(), Error> {
        let device = self.replica.device;
        // Whoever has the rest of its records may have gone on with them.
        if self.is_left_behind()? {
            return Ok(());
        }
        let Some((seq, id, _)) = self.tip(&device)? else { return Ok(()) };
        let Some(n) = self.number(&Place { device, seq })? else { return Ok(()) };
        let wall = now_ms();
        let header = Header {
            v: VERSION,
            vault: self.replica.vault,
            device,
            seq: seq + 1,
            prev: Some(id),
            deps: Vec::new(),
            clock: self.row(n)?.clock.next(wall),
            wall,
            actor: "aios".into(),
            len: 0,
            body: ContentHash([0; 32]),
            closed: None,
        };
        let body = Body {
            message: "Cancel what a crash cut short".into(),
            abort: true,
            author: if self.is_sealed_vault()? { Default::default() } else { self.author() },
            ..Body::default()
        };
        let record = Record::author(header, &body, Vec::new(), &self.keys.device)?;
        let records = [record];
        self.write_own(&records)?;
        self.remember_own(&records, false)
    }

    fn write_own(&mut self, records: &[Record]) -> Result<RecordId, Error> {
        let device = self.replica.device;
        let end = self.tip(&device)?.map(|(_, _, spot)| spot);
        if let Some(first) = records.first() {
            self.try_deeds(first)?;
        }
        let list: Vec<&Record> = records.iter().collect();
        let (spots, _) = self.log.append(&device, end, &list)?;
        for (record, spot) in records.iter().zip(spots) {
            let fit = self.fit(record)?;
            self.index(record, spot, fit)?;
        }
        let Some(last) = records.last() else { return Err(Error::Usage("an empty transaction".into())) };
        Ok(last.id)
    }

    /// Remembers beside the keys which record of this device is the last; `later` has that made durable once others may get it.
    fn remember_own(&mut self, records: &[Record], later: bool) -> Result<(), Error> {
        let Some(last) = records.last() else { return Ok(()) };
        let tip = Some((last.header.seq, last.id));
        match later {
            true => self.note_tip(tip),
            false => self.remember(tip),
        }
    }
}

impl Vault {
    /// What is in the log must be indexable: what does not fit, an event that does not hold, or the word of a device that is no
    /// member must not get there.
    fn try_deeds(&self, record: &Record) -> Result<(), Error> {
        let (past, place) = (self.fit(record)?.past, record.header.place());
        let admitted = |authority: &Authority| match authority.admits(place, &past) {
            true => Ok(()),
            false => Err(Error::NoMember),
        };
        // Few records hold one, and a large body takes long to read.
        if !std::str::from_utf8(&record.body_line).is_ok_and(|body| body.contains(r#""t":"event""#)) {
            return admitted(&self.authority);
        }
        let items = record.body()?.items;
        if !items.iter().any(|item| matches!(item, Item::Event(event) if Deed::is(event))) {
            return admitted(&self.authority);
        }
        let mut view = past.clone();
        view.add(place);
        let mut authority = (*self.authority).clone();
        for deed in deeds(record, &view, &items) {
            let refused = |why| Error::Refused { place: deed.place, why: Refusal::Member(why) };
            authority.weigh(&deed).map_err(refused)?;
            authority.add(deed);
        }
        admitted(&authority)
    }
}

/// What makes the hash of a body tell nothing of it.
fn salt() -> Result<String, Error> {
    Ok(data_encoding::BASE64.encode(&random()?[..16]))
}

/// How many items go into each record.
fn parts(items: &[(Item, Vec<u8>)], sealed: bool) -> Vec<usize> {
    let mut out = vec![0];
    let (mut bytes, mut blobs) = (0, 0);
    for (item, payload) in items {
        let full = bytes + payload.len() as u64 > PART_BYTES
            || out.last().is_some_and(|n| *n >= PART_ITEMS)
            || blobs >= MOST_BLOBS;
        if full && out.last() != Some(&0) {
            out.push(0);
            (bytes, blobs) = (0, 0);
        }
        blobs += usize::from(sealed && item.detached().is_some());
        if let Some(n) = out.last_mut() {
            *n += 1;
        }
        bytes += payload.len() as u64;
    }
    out
}
