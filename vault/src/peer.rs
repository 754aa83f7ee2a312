//! What is known of the other members: where they listen, what they have said to have applied, when they were here.
//!
//! Addresses cannot be made again from the log, so they lie beside the keys; the rest may go with the database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use aios_core::frontier::View;
use aios_core::id::DeviceId;
use rusqlite::params;

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
    /// When it was last heard of, ms since the Unix epoch.
    pub seen: Option<u64>,
    /// What it has said to have durably applied (I12).
    pub acknowledged: Option<View>,
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

    /// What is known of every device that was ever heard of.
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
