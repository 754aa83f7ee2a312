//! The epochs of a sealed vault on this device: who holds which key, which are handed on, and in which it writes.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::epoch::{EpochKey, Epochs};
use aios_core::event::Event;
use aios_core::id::{DeviceId, EpochId};
use aios_core::item::{Bytes, Item};
use aios_core::member;
use aios_core::record::Record;
use rusqlite::{Connection, params};

use crate::author::Draft;
use crate::chance::random;
use crate::error::Error;
use crate::vault::Vault;

/// Events about epochs. Made where it is not there yet: a database without it is of a vault that is not sealed.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS epoch(n INTEGER NOT NULL, idx INTEGER NOT NULL, name BLOB NOT NULL, event TEXT NOT NULL, PRIMARY KEY(n, idx)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS epoch_name ON epoch(name);
";
/// What stands in a body that hands keys on.
pub(crate) const EPOCH_KEYS: &str = r#""epoch.keys""#;

/// Sees to it that the table is there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLE)?)
}

impl Vault {
    /// Whether what is written to this vault is encrypted for its readers.
    ///
    /// # Errors
    /// What the database answers.
    pub fn is_sealed_vault(&self) -> Result<bool, Error> {
        // From its first record on: nobody seals the vault of others later.
        let Some(maker) = self.authority.made_by() else { return Ok(false) };
        let mut get = self.db.prepare_cached(
            "SELECT 1 FROM epoch e JOIN record r ON r.n = e.n WHERE r.device = ? AND r.seq = 1",
        )?;
        Ok(get.exists([maker.as_bytes()])?)
    }

    /// Whether this device only carries the vault: it is a member of a sealed vault that gave it no right to read.
    ///
    /// # Errors
    /// What the database answers.
    pub fn is_carrier(&self) -> Result<bool, Error> {
        let device = self.replica.device;
        let known = self.members().is_present(&device);
        Ok(known && !member::reads(self.authority.roles(&device, &self.view)) && self.is_sealed_vault()?)
    }

    /// The epochs of this vault, and those that this device holds the key of.
    ///
    /// # Errors
    /// What the database answers.
    pub fn epochs(&self) -> Result<(Epochs, BTreeSet<EpochId>), Error> {
        Ok((self.named_epochs()?, self.epoch_keys.keys().copied().collect()))
    }

    /// Remembers what the items of record `n` say of epochs.
    pub(crate) fn note_epochs(&mut self, n: i64, items: &[Item]) -> Result<(), Error> {
        for (index, item) in items.iter().enumerate() {
            if let Item::Event(event @ Event::EpochKeys { epoch, keys }) = item {
                self.take_key(epoch, keys)?;
                let text = serde_json::to_string(event).map_err(|e| Error::Damaged(e.to_string()))?;
                let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO epoch VALUES(?, ?, ?, ?)")?;
                note.execute(params![n, index as i64, epoch.as_bytes(), text])?;
            }
        }
        Ok(())
    }

    fn named_epochs(&self) -> Result<Epochs, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT r.n, e.event FROM epoch e JOIN record r ON r.n = e.n WHERE r.held = 0 ORDER BY e.n, e.idx",
        )?;
        let mut rows = get.query([])?;
        let mut out = Epochs::default();
        while let Some(row) = rows.next()? {
            let event: Event = serde_json::from_str(&row.get::<_, String>(1)?)
                .map_err(|e| Error::Damaged(format!("an event: {e}")))?;
            let said = self.row(row.get(0)?)?;
            if !member::reads(self.authority.roles(&said.place.device, &said.view)) {
                continue;
            }
            let stamp = aios_core::clock::Stamp::new(said.clock, said.place.device, said.place.seq);
            out.add(&said.place.device, stamp, &event);
        }
        Ok(out)
    }

    /// Who may read what is written now: devices by their roles, and the root keys.
    fn readers(&self) -> BTreeSet<DeviceId> {
        let present = self.members().present();
        let devices = present.filter(|(_, member)| member::reads(&member.roles)).map(|(device, _)| *device);
        devices.chain(self.authority.roots().iter().map(|(key, ..)| *key)).collect()
    }

    /// The first epoch of a vault that is sealed from its beginning, for the device that makes it and its root key.
    pub(crate) fn first_epoch(&mut self, root: Option<&DeviceId>) -> Result<Event, Error> {
        let readers = std::iter::once(self.replica.device).chain(root.copied()).collect();
        self.new_epoch(&readers)
    }

    fn new_epoch(&mut self, readers: &BTreeSet<DeviceId>) -> Result<Event, Error> {
        let key = EpochKey::from_bytes(random()?);
        // Before anything is written that only it opens.
        self.keys.keep_epoch(&key)?;
        self.epoch_keys.insert(key.id(), key.clone());
        handing(&key, readers.iter().copied())
    }

    /// Hands the keys that readers lack to them, as far as this device holds them.
    pub(crate) fn hand_keys_on(&mut self) -> Result<(), Error> {
        if !self.is_sealed_vault()? || self.check_decides().is_err() {
            return Ok(());
        }
        let due = self.named_epochs()?.due(&self.readers());
        let mut events = Vec::new();
        for (epoch, lacking) in due.lacking {
            if let Some(key) = self.epoch_keys.get(&epoch) {
                events.push(handing(key, lacking)?);
            }
        }
        self.say_keys(events)
    }

    /// The keys that this device holds, handed to `device` alone; none where it may not read.
    ///
    /// # Errors
    /// What the database answers.
    pub fn keys_for(&self, device: &DeviceId) -> Result<BTreeMap<EpochId, Bytes>, Error> {
        let mut out = BTreeMap::new();
        if self.readers().contains(device) && self.is_sealed_vault()? {
            for (epoch, key) in &self.epoch_keys {
                out.extend(key.hand(device, random()?).map(|handed| (*epoch, handed)));
            }
        }
        Ok(out)
    }

    fn say_keys(&mut self, mut events: Vec<Event>) -> Result<(), Error> {
        // To a name that is no key nothing can be handed.
        events.retain(|event| !matches!(event, Event::EpochKeys { keys, .. } if keys.is_empty()));
        if events.is_empty() {
            return Ok(());
        }
        let mut draft = Draft { actor: "aios".into(), ..Draft::operator("Hand on the keys of the vault") };
        events.into_iter().for_each(|event| draft.push(Item::Event(event)));
        self.author_records(draft).map(|_| ())
    }

    /// The key to write `items` with; `None` where they are written in the clear, as in a vault that is not sealed.
    pub(crate) fn writing_key(&mut self, items: &[(Item, Vec<u8>)]) -> Result<Option<EpochKey>, Error> {
        if items.iter().any(|(item, _)| is_clear(item)) || !self.is_sealed_vault()? {
            return Ok(None);
        }
        let readers = self.readers();
        self.hand_keys_on()?;
        if let Some(key) = self.named_epochs()?.due(&readers).current.and_then(|id| self.epoch_keys.get(&id))
        {
            return Ok(Some(key.clone()));
        }
        let begun = self.new_epoch(&readers)?;
        let Event::EpochKeys { epoch, .. } = &begun else { return Ok(None) };
        let key = self.epoch_keys.get(epoch).cloned();
        self.say_keys(vec![begun])?;
        Ok(key)
    }

    /// Says all that has to be said about keys, so that the next record is the one that its author means: what is signed names its
    /// place.
    pub(crate) fn settle_keys(&mut self) -> Result<(), Error> {
        self.writing_key(&[]).map(drop)
    }

    /// Takes the keys that a record hands to this device.
    pub(crate) fn learn_keys(&mut self, record: &Record) -> Result<(), Error> {
        // Few records hold one, and a large body takes long to read.
        let says = |line: &[u8]| std::str::from_utf8(line).is_ok_and(|body| body.contains(EPOCH_KEYS));
        if record.header.closed.is_some() || !says(&record.body_line) {
            return Ok(());
        }
        for item in record.body()?.items {
            if let Item::Event(Event::EpochKeys { epoch, keys }) = item {
                self.take_key(&epoch, &keys)?;
            }
        }
        Ok(())
    }

    fn take_key(&mut self, epoch: &EpochId, keys: &BTreeMap<DeviceId, Bytes>) -> Result<(), Error> {
        let handed = keys.get(&self.replica.device).filter(|_| !self.epoch_keys.contains_key(epoch));
        if let Some(key) = handed.and_then(|key| EpochKey::take(epoch, key, &self.keys.device)) {
            self.keys.keep_epoch(&key)?;
            self.epoch_keys.insert(*epoch, key);
        }
        Ok(())
    }
}

/// The event that hands a key to readers.
fn handing(key: &EpochKey, to: impl IntoIterator<Item = DeviceId>) -> Result<Event, Error> {
    let mut keys = BTreeMap::new();
    for reader in to {
        // Who has no key that can be, cannot be handed one.
        if let Some(handed) = key.hand(&reader, random()?) {
            keys.insert(reader, handed);
        }
    }
    Ok(Event::EpochKeys { epoch: key.id(), keys })
}

/// Whether an item has to be read by whoever carries the vault.
pub(crate) fn is_clear(item: &Item) -> bool {
    matches!(item, Item::Event(event) if event.is_clear())
}
