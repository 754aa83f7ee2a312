//! A sealed vault on this device: the keys of its epochs that it holds, the records it has closed because it holds none for them,
//! and the encrypted forms of blobs. Inside a reader's folder everything is open; what leaves it is closed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use aios_core::epoch::{BlobCipher, EpochKey, Epochs, PIECE, TAG};
use aios_core::event::Event;
use aios_core::frontier::{Place, View};
use aios_core::id::{ContentHash, DeviceId, EpochId, GitId};
use aios_core::item::{Bytes, Content, Item};
use aios_core::member;
use aios_core::record::Record;
use rusqlite::{Connection, params};

use crate::author::Draft;
use crate::chance::random;
use crate::db;
use crate::error::{Error, Refusal};
use crate::git;
use crate::project::oid;
use crate::vault::{Progress, Vault};

/// Made where they are not there yet: a database without them is of a vault that is not sealed.
///
/// `epoch`: events about epochs. `closed`: records that are here in their closed form; `bad` where the key does not open it.
/// `veil`: the encrypted form of a blob, by the git id of that, and the blob.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS epoch(n INTEGER NOT NULL, idx INTEGER NOT NULL, name BLOB NOT NULL, event TEXT NOT NULL, PRIMARY KEY(n, idx)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS epoch_name ON epoch(name);
CREATE TABLE IF NOT EXISTS closed(n INTEGER PRIMARY KEY, epoch BLOB NOT NULL, bad INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS veil(
  git BLOB NOT NULL, hash BLOB NOT NULL, size INTEGER NOT NULL, n INTEGER NOT NULL, epoch BLOB NOT NULL,
  plain BLOB NOT NULL, plain_hash BLOB NOT NULL, plain_size INTEGER NOT NULL,
  PRIMARY KEY(git, plain)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS closed_epoch ON closed(epoch) WHERE bad = 0;
CREATE INDEX IF NOT EXISTS veil_plain ON veil(plain);
CREATE INDEX IF NOT EXISTS veil_n ON veil(n);
";
/// What stands in a body that hands keys on.
pub(crate) const EPOCH_KEYS: &str = r#""epoch.keys""#;
/// Where it is noted that the log is being opened: what the database knows of it is not to be believed.
const OPENING: &str = "opening";
/// A record of a sealed vault names no more blobs than this, so that its header stays short.
pub(crate) const MOST_BLOBS: usize = 256;

/// Sees to it that the tables are there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLES)?)
}

/// Whether a crash came while the log was being opened.
pub(crate) fn is_opening(db: &Connection) -> Result<bool, Error> {
    Ok(db::meta(db, OPENING)?.is_some())
}

/// A blob and its encrypted form.
#[derive(Debug, Clone, Copy)]
struct Veil {
    epoch: EpochId,
    closed: Content,
    plain: Content,
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

    /// How many records lie here that this device cannot read.
    ///
    /// # Errors
    /// What the database answers.
    pub fn closed_records(&self) -> Result<u64, Error> {
        Ok(self.db.query_row("SELECT count(*) FROM closed", [], |row| row.get::<_, i64>(0))? as u64)
    }

    /// The epochs of this vault, and those that this device holds the key of.
    ///
    /// # Errors
    /// What the database answers.
    pub fn epochs(&self) -> Result<(Epochs, BTreeSet<EpochId>), Error> {
        Ok((self.named_epochs()?, self.epoch_keys.keys().copied().collect()))
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

    /// Remembers what a record says of epochs, and where it is closed; `bad`: its key opens it, and nobody may say what it holds.
    pub(crate) fn note_epochs(
        &mut self,
        n: i64,
        record: &Record,
        items: &[Item],
        bad: bool,
    ) -> Result<(), Error> {
        for (index, item) in items.iter().enumerate() {
            if let Item::Event(event @ Event::EpochKeys { epoch, keys }) = item {
                self.take_key(epoch, keys)?;
                let text = serde_json::to_string(event).map_err(|e| Error::Damaged(e.to_string()))?;
                let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO epoch VALUES(?, ?, ?, ?)")?;
                note.execute(params![n, index as i64, epoch.as_bytes(), text])?;
            }
        }
        let Some(closed) = &record.header.closed else { return Ok(()) };
        if record.is_closed() || bad {
            let key = self.epoch_keys.get(&closed.epoch);
            let bad = bad || key.is_some_and(|key| record.clone().open(key).is_err());
            let mut note = self.db.prepare_cached("INSERT OR REPLACE INTO closed VALUES(?, ?, ?)")?;
            note.execute(params![n, closed.epoch.as_bytes(), bad])?;
            for content in &closed.apart {
                let mut note = self.db.prepare_cached("INSERT OR IGNORE INTO apart VALUES(?, ?, 0, ?, ?)")?;
                let Content { hash, size, git } = content;
                note.execute(params![git.as_bytes(), n, hash.as_bytes(), *size as i64])?;
            }
            return Ok(());
        }
        for (sealed, plain) in closed.apart.iter().zip(items.iter().filter_map(Item::detached)) {
            let mut note =
                self.db.prepare_cached("INSERT OR IGNORE INTO veil VALUES(?, ?, ?, ?, ?, ?, ?, ?)")?;
            note.execute(params![
                sealed.git.as_bytes(),
                sealed.hash.as_bytes(),
                sealed.size as i64,
                n,
                closed.epoch.as_bytes(),
                plain.git.as_bytes(),
                plain.hash.as_bytes(),
                plain.size as i64
            ])?;
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

    /// The encrypted forms of the blobs among `items`, in order.
    pub(crate) fn veils(&self, key: &EpochKey, items: &[Item]) -> Result<Vec<Content>, Error> {
        let mut out = Vec::new();
        for content in items.iter().filter_map(Item::detached) {
            let sealed = self.sealed_blob(key, &content)?;
            let Some(sealed) = sealed else {
                return Err(Error::Apart(content.git));
            };
            out.push(sealed);
        }
        Ok(out)
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
        db::set_meta(&self.db, OPENING, b"1")?;
        let keys = std::mem::take(&mut self.epoch_keys);
        let open = |record: Record| {
            let key = record.header.closed.as_ref().and_then(|closed| keys.get(&closed.epoch));
            match key.map(|key| record.clone().open(key)) {
                Some(Ok(open)) => open,
                None | Some(Err(_)) => record,
            }
        };
        let done = ready.iter().try_for_each(|device| self.log.rewrite(device, open));
        self.epoch_keys = keys;
        done?;
        self.start_over(progress)?;
        Ok(true)
    }

    /// The blobs with this git id, `plain` or encrypted as `find` says, each with its other form. What a record says of them may be
    /// a lie, so there may be several.
    fn veils_of(&self, find: &str, git: &GitId) -> Result<Vec<Veil>, Error> {
        let mut get = self.db.prepare_cached(&format!(
            "SELECT git, hash, size, epoch, plain, plain_hash, plain_size FROM veil WHERE {find} = ? ORDER BY n"
        ))?;
        let mut rows = get.query([git.as_bytes()])?;
        let mut out = Vec::new();
        let content = |git, hash, size: i64| {
            Ok::<_, Error>(Content {
                hash: db::id(hash, ContentHash::from_slice)?,
                size: size as u64,
                git: db::id(git, GitId::from_slice)?,
            })
        };
        while let Some(row) = rows.next()? {
            out.push(Veil {
                epoch: db::id(row.get(3)?, EpochId::from_slice)?,
                closed: content(row.get(0)?, row.get(1)?, row.get(2)?)?,
                plain: content(row.get(4)?, row.get(5)?, row.get(6)?)?,
            });
        }
        Ok(out)
    }

    /// The form in which a blob travels.
    pub(crate) fn outside(&self, plain: Content) -> Result<Content, Error> {
        Ok(self.veils_of("plain", &plain.git)?.first().map_or(plain, |veil| veil.closed))
    }

    /// All forms in which a blob travels: one for each epoch in which it was saved.
    pub(crate) fn all_outside(&self, plain: Content) -> Result<Vec<Content>, Error> {
        let veils = self.veils_of("plain", &plain.git)?;
        match veils.is_empty() {
            true => Ok(vec![plain]),
            false => Ok(veils.into_iter().map(|veil| veil.closed).collect()),
        }
    }

    /// The blobs that may travel in this form.
    pub(crate) fn inside(&self, closed: &Content) -> Result<Vec<Content>, Error> {
        Ok(self.veils_of("git", &closed.git)?.into_iter().map(|veil| veil.plain).collect())
    }

    /// Whether a blob may be given to whoever asks: in a sealed vault an encrypted one alone.
    pub(crate) fn may_give(&self, content: &Content) -> Result<bool, Error> {
        if !self.is_sealed_vault()? || !self.inside(content)?.is_empty() {
            return Ok(true);
        }
        let mut get =
            self.db.prepare_cached("SELECT 1 FROM apart a JOIN closed c ON c.n = a.n WHERE a.git = ?")?;
        Ok(get.exists([content.git.as_bytes()])?)
    }

    /// Encrypts a blob that is here into git; `None` where its bytes are not here.
    fn sealed_blob(&self, key: &EpochKey, plain: &Content) -> Result<Option<Content>, Error> {
        let Ok((git2::ObjectType::Blob, bytes)) = git::read(&self.repo, oid(&plain.git)?) else {
            return Ok(None);
        };
        let mut cipher = key.blob(&plain.hash);
        let size = BlobCipher::sealed_size(bytes.len() as u64);
        let mut sealed = Vec::with_capacity(size as usize);
        let mut rest = bytes.as_slice();
        loop {
            let (piece, more) = rest.split_at(rest.len().min(PIECE));
            rest = more;
            sealed.extend(cipher.encrypt(piece, rest.is_empty()));
            if rest.is_empty() {
                break;
            }
        }
        let content = Content::of(&sealed);
        if !self.repo.odb().map_err(crate::vault::git_error)?.exists(oid(&content.git)?) {
            self.store_blob(content.size, &mut sealed.as_slice())?;
        }
        Ok(Some(content))
    }

    /// Sees to it that the encrypted form of a blob lies in git. Whether it does.
    pub(crate) fn ensure_sealed(&self, closed: &GitId) -> Result<bool, Error> {
        if self.repo.odb().map_err(crate::vault::git_error)?.exists(oid(closed)?) {
            return Ok(true);
        }
        for veil in self.veils_of("git", closed)? {
            let Some(key) = self.epoch_keys.get(&veil.epoch) else { continue };
            if self.sealed_blob(key, &veil.plain)? == Some(veil.closed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Decrypts the blob that travels as `sealed`; `None` where it is none that this device can open.
    pub(crate) fn unveiled(
        &self,
        closed: &Content,
        sealed: &[u8],
    ) -> Result<Option<(Content, Vec<u8>)>, Error> {
        for veil in self.veils_of("git", &closed.git)? {
            let Some(key) = self.epoch_keys.get(&veil.epoch) else { continue };
            let mut cipher = key.blob(&veil.plain.hash);
            let pieces = sealed.chunks(PIECE + TAG);
            let last = pieces.len().saturating_sub(1);
            let plain: Option<Vec<_>> =
                pieces.enumerate().map(|(n, piece)| cipher.decrypt(piece, n == last)).collect();
            if let Some(plain) = plain {
                return Ok(Some((veil.plain, plain.concat())));
            }
        }
        Ok(None)
    }

    /// The encrypted forms of the blobs that records `from..=to` of a device name: what the mirror of its log keeps. Those that can be
    /// made here are.
    pub(crate) fn sealed_blobs(
        &self,
        device: &DeviceId,
        from: u64,
        to: u64,
    ) -> Result<Vec<git2::Oid>, Error> {
        let found: Vec<Vec<u8>> = {
            let mut get = self.db.prepare_cached(
                "SELECT v.git FROM record r JOIN veil v ON v.n = r.n WHERE r.device = ?1 AND r.seq BETWEEN ?2 AND ?3
                 UNION SELECT a.git FROM record r JOIN closed c ON c.n = r.n JOIN apart a ON a.n = r.n
                 WHERE r.device = ?1 AND r.seq BETWEEN ?2 AND ?3",
            )?;
            let rows = get.query_map(params![device.as_bytes(), from as i64, to as i64], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut out = Vec::new();
        for git in found {
            let git = db::id(git, GitId::from_slice)?;
            self.ensure_sealed(&git)?;
            out.push(oid(&git)?);
        }
        Ok(out)
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
