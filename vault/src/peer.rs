//! What is known of the other members: where they listen, what they have said to have applied, when they were here.
//!
//! Addresses cannot be made again from the log, so they lie beside the keys; the rest lies in the database, and a rebuild takes it over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aios_core::frontier::View;
use aios_core::id::DeviceId;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::chance::now_ms;
use crate::db;
use crate::disk::durable;
use crate::error::Error;
use crate::vault::Vault;

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Where it was last known to listen.
    pub addrs: Vec<SocketAddr>,
    /// When it was last heard from, ms since the Unix epoch.
    pub seen: Option<u64>,
    /// What it has said to have durably applied (I12).
    pub acknowledged: Option<View>,
    /// Whether it may have been heard from before a rebuild that could not read what was known of it.
    pub forgotten: bool,
    /// Whether it leaves the bytes of blobs with the others until it is asked for them: nobody counts on it for them (I12).
    pub lean: bool,
}

/// Where it is remembered who is lean.
const LEAN: &str = "lean peers";

/// Where it is remembered that a rebuild could not read what was known of the others.
const FORGOTTEN: &str = "peers forgotten";

/// What a member was known to have applied, and when it was heard from.
pub(crate) type Remembered = Vec<(DeviceId, Option<u64>, Option<View>, bool)>;

/// What the database at `path` still says of the other members; `None` where it cannot be believed.
pub(crate) fn remembered(path: &Path) -> Option<Remembered> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    let sound: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).ok()?;
    let forgotten = db::meta(&db, FORGOTTEN).ok()?.is_some();
    let mut get = db.prepare("SELECT device, seen, acked FROM peer").ok()?;
    let mut rows = get.query([]).ok()?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().ok()? {
        let device = DeviceId::from_slice(&row.get::<_, Vec<u8>>(0).ok()?)?;
        let seen = row.get::<_, Option<i64>>(1).ok()?.map(|ms| ms as u64);
        let acked = row.get::<_, Option<Vec<u8>>>(2).ok()?;
        out.push((device, seen, acked.map(|bytes| db::read_view(&bytes)).transpose().ok()?, forgotten));
    }
    // None at all may be what a database says that a power cut emptied.
    (sound == "ok" && !(out.is_empty() && (forgotten || db::is_empty(&db)))).then_some(out)
}

impl Vault {
    fn peers_path(&self) -> PathBuf {
        self.keys.folder().join("peers.json")
    }

    /// Where other members were last known to listen. What cannot be read counts as nothing: they tell again.
    pub fn peer_addrs(&self) -> BTreeMap<DeviceId, Vec<SocketAddr>> {
        let text = std::fs::read(self.peers_path()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Remembers where a member listens, in place of what was known.
    pub fn learn_addrs(&self, device: &DeviceId, addrs: Vec<SocketAddr>) -> Result<(), Error> {
        let mut known = self.peer_addrs();
        if known.get(device) == Some(&addrs) {
            return Ok(());
        }
        known.insert(*device, addrs);
        let text = serde_json::to_vec(&known).map_err(|e| Error::Damaged(format!("addresses: {e}")))?;
        Ok(durable::replace(&self.peers_path(), &text)?)
    }

    /// A member has said that it has durably applied these records.
    pub fn note_acknowledged(&self, device: &DeviceId, view: &View) -> Result<(), Error> {
        self.db.prepare_cached("INSERT OR REPLACE INTO peer VALUES(?, '', ?, ?)")?.execute(params![
            device.as_bytes(),
            now_ms() as i64,
            db::view_bytes(view)
        ])?;
        Ok(())
    }

    /// A member has said whether it is lean.
    ///
    /// # Errors
    /// What the database answers.
    pub fn learn_lean(&self, device: &DeviceId, lean: bool) -> Result<(), Error> {
        let mut known = self.lean_peers()?;
        let changed = if lean { known.insert(*device) } else { known.remove(device) };
        match changed {
            true => db::set_meta(&self.db, LEAN, &serde_json::to_vec(&known).unwrap_or_default()),
            false => Ok(()),
        }
    }

    fn lean_peers(&self) -> Result<BTreeSet<DeviceId>, Error> {
        let known = db::meta(&self.db, LEAN)?;
        Ok(known.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Takes over what an older database knew of the other members, or notes that it is not known.
    pub(crate) fn recall_peers(&self, known: Option<Remembered>) -> Result<(), Error> {
        let Some(known) = known else { return db::set_meta(&self.db, FORGOTTEN, b"1") };
        if known.iter().any(|(.., forgotten)| *forgotten) {
            db::set_meta(&self.db, FORGOTTEN, b"1")?;
        }
        for (device, seen, acked, _) in known {
            // Nobody can have more of this device's records than there are: a row that says so is damaged.
            let ours = |view: &View| view.get(&self.replica.device) <= self.view.get(&self.replica.device);
            let acked = acked.filter(ours).map(|view| db::view_bytes(&view));
            let seen = seen.map(|ms| ms as i64);
            self.db.prepare_cached("INSERT OR REPLACE INTO peer VALUES(?, '', ?, ?)")?.execute(params![
                device.as_bytes(),
                seen,
                acked
            ])?;
        }
        Ok(())
    }

    /// When a device wrote the last of its records that are here, by its own clock; nothing if none is.
    ///
    /// # Errors
    /// What the database answers.
    pub fn last_word(&self, device: &DeviceId) -> Result<Option<u64>, Error> {
        let mut get =
            self.db.prepare_cached("SELECT wall FROM record WHERE device = ? ORDER BY seq DESC LIMIT 1")?;
        let found = get.query_row([device.as_bytes()], |row| row.get::<_, i64>(0)).optional()?;
        Ok(found.map(|ms| ms as u64))
    }

    /// What is known of every device that was ever heard from.
    pub fn peers(&self) -> Result<BTreeMap<DeviceId, Peer>, Error> {
        let mut out: BTreeMap<DeviceId, Peer> = BTreeMap::new();
        for (device, addrs) in self.peer_addrs() {
            out.entry(device).or_default().addrs = addrs;
        }
        let mut get = self.db.prepare_cached("SELECT device, seen, acked FROM peer")?;
        let mut rows = get.query([])?;
        while let Some(row) = rows.next()? {
            let peer = out.entry(db::id(row.get(0)?, DeviceId::from_slice)?).or_default();
            peer.seen = row.get::<_, Option<i64>>(1)?.map(|ms| ms as u64);
            peer.acknowledged =
                row.get::<_, Option<Vec<u8>>>(2)?.map(|bytes| db::read_view(&bytes)).transpose()?;
        }
        for device in self.lean_peers()? {
            out.entry(device).or_default().lean = true;
        }
        if db::meta(&self.db, FORGOTTEN)?.is_some() {
            for device in self.members().0.keys() {
                let peer = out.entry(*device).or_default();
                peer.forgotten = peer.seen.is_none();
            }
        }
        for (device, member) in &self.members().0 {
            // Who goes on under another key listens where it did.
            let now = self.members().now(device);
            let addrs = member.became.and_then(|_| out.get(device)).map(|peer| peer.addrs.clone());
            if let Some(addrs) = addrs.filter(|_| out.get(&now).is_none_or(|peer| peer.addrs.is_empty())) {
                out.entry(now).or_default().addrs = addrs;
            }
        }
        Ok(out)
    }

    /// Whether every other member has durably applied all integrated records; not so where there is no other (I12).
    pub fn synced(&self) -> Result<bool, Error> {
        let peers = self.peers()?;
        let present = self.members().present().map(|(device, _)| device);
        let mut others = present.filter(|device| **device != self.replica.device).peekable();
        let applied = |device: &DeviceId| {
            peers
                .get(device)
                .and_then(|peer| peer.acknowledged.as_ref())
                .is_some_and(|acked| acked.covers(&self.view))
        };
        Ok(others.peek().is_some() && others.all(applied))
    }
}
