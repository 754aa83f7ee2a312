//! A vault on this machine as a [`Replica`].

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aios_core::frontier::{Frontier, Place};
use aios_core::id::{DeviceId, EpochId, GitId, RecordId, VaultId};
use aios_core::item::Bytes;
use aios_core::record::Record;
use aios_vault::apart::{Given, Named};
use aios_vault::chance::now_ms;
use aios_vault::error::Refusal;
use aios_vault::{Error, Vault};

use crate::keeper::Keeper;
use crate::offer::Offers;
use crate::replica::{Apart, Cursor, Integrated, Redeemed, Replica, ReplicaError};
use crate::ticket::{Offer, TicketId};

/// What all handles of one replica in one process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub keeper: Keeper,
    pub vault: VaultId,
    pub name: String,
    pub device: DeviceId,
    pub offers: Offers,
    /// Where bytes wait until all of them are here.
    pub partial: PathBuf,
    /// What some handle is fetching.
    pub fetching: Mutex<HashSet<GitId>>,
    /// Held while a remote is synced: one at a time.
    pub remotes: Arc<tokio::sync::Mutex<()>>,
}

impl Shared {
    fn fetching(&self) -> MutexGuard<'_, HashSet<GitId>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle of the replica, for one connection.
pub struct VaultReplica {
    shared: Arc<Shared>,
    /// What this handle is fetching, and the file it goes to.
    taking: Vec<(Apart, Option<File>)>,
    giving: Option<(Apart, Given)>,
    /// The name that the inviter has chosen for who comes with the ticket redeemed last.
    chosen: Option<String>,
}

impl std::fmt::Debug for VaultReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultReplica").field("device", &self.shared.device).finish_non_exhaustive()
    }
}

impl Drop for VaultReplica {
    fn drop(&mut self) {
        let mut fetching = self.shared.fetching();
        for (apart, _) in &self.taking {
            fetching.remove(&named(apart).git());
        }
    }
}

fn named(apart: &Apart) -> Named {
    match apart {
        Apart::Blob(content) => Named::Blob(*content),
        Apart::History(tip) => Named::History(*tip),
    }
}

fn storage(e: impl std::fmt::Display) -> ReplicaError {
    ReplicaError::Storage(e.to_string())
}

/// An error of the vault in the words of sync; what to do belongs to it, as there is no other place to say it.
fn failed(e: Error) -> ReplicaError {
    let text = match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    };
    match e {
        Error::NameTaken(_)
        | Error::NoOperator(_)
        | Error::MayNot { .. }
        | Error::Revoked { .. }
        | Error::Usage(_) => ReplicaError::Denied(text),
        _ => ReplicaError::Storage(text),
    }
}

impl VaultReplica {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        VaultReplica { shared, taking: Vec::new(), giving: None, chosen: None }
    }

    fn work<T, F>(&self, work: F) -> Result<T, ReplicaError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Vault) -> Result<T, Error> + Send + 'static,
    {
        self.shared.keeper.work(work).map_err(failed)
    }

    fn partial(&self, apart: &Apart) -> PathBuf {
        self.shared.partial.join(match apart {
            Apart::Blob(content) => content.hash.hex(),
            Apart::History(tip) => format!("history-{tip}"),
        })
    }

    /// Ends a fetch of this handle and closes its file.
    fn release(&mut self, apart: &Apart) {
        self.taking.retain(|(taken, _)| taken != apart);
        self.shared.fetching().remove(&named(apart).git());
    }

    fn file(&mut self, apart: &Apart) -> Result<&File, ReplicaError> {
        let path = self.partial(apart);
        let Some((_, file)) = self.taking.iter_mut().find(|(taken, _)| taken == apart) else {
            return Err(storage(format!("{apart} came and was not asked for")));
        };
        if file.is_none() {
            let made = std::fs::create_dir_all(&self.shared.partial);
            let opened =
                made.and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).open(&path));
            *file = Some(opened.map_err(|e| storage(format!("cannot write {}: {e}", path.display())))?);
        }
        file.as_ref().ok_or_else(|| storage("no file"))
    }
}

impl Replica for VaultReplica {
    fn vault(&self) -> VaultId {
        self.shared.vault
    }

    fn vault_name(&self) -> String {
        self.shared.name.clone()
    }

    fn device(&self) -> DeviceId {
        self.shared.device
    }

    fn frontier(&self) -> Result<Frontier, ReplicaError> {
        self.work(|vault| vault.frontier())
    }

    fn id_at(&self, place: &Place) -> Result<Option<RecordId>, ReplicaError> {
        let place = *place;
        self.work(move |vault| vault.id_at(&place))
    }

    fn entries_since(&self, cursor: &mut Cursor, budget: usize) -> Result<Vec<Vec<u8>>, ReplicaError> {
        let Cursor { have, upto } = cursor.clone();
        let entries = self.work(move |vault| vault.entries_since(&have, &upto, budget as u64))?;
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            cursor.have.add(entry.place);
            out.push(entry.bytes);
        }
        Ok(out)
    }

    fn integrate(&mut self, records: Vec<Record>) -> Result<Integrated, ReplicaError> {
        if records.is_empty() {
            return Ok(Integrated::default());
        }
        let (done, records) = self.work(move |vault| {
            let before = vault.frontier()?.view();
            let done = vault.integrate(&records);
            let view = vault.frontier()?.view();
            Ok((done.map(|done| (done, before, view)), records))
        })?;
        match done {
            Ok((done, before, view)) => {
                let places = records.iter().map(|record| record.header.place());
                let held = places.filter(|place| done.held > 0 && !before.has(place) && !view.has(place));
                Ok(Integrated { count: done.new, held: held.collect() })
            }
            Err(Error::Refused { place, why: Refusal::Fork }) => {
                let theirs =
                    records.iter().find(|record| record.header.place() == place).map(|record| record.id);
                match (self.id_at(&place)?, theirs) {
                    (Some(ours), Some(theirs)) => Err(ReplicaError::Fork { record: place, ours, theirs }),
                    _ => Err(ReplicaError::Unacceptable { record: place, why: Refusal::Fork.to_string() }),
                }
            }
            Err(Error::Refused { place, why }) => {
                Err(ReplicaError::Unacceptable { record: place, why: why.to_string() })
            }
            Err(e) => Err(failed(e)),
        }
    }

    fn missing_apart(&self) -> Result<Vec<Apart>, ReplicaError> {
        let wanted = self.work(|vault| vault.apart_wanted())?;
        let apart = |named| match named {
            Named::Blob(content) => Apart::Blob(content),
            Named::History(tip) => Apart::History(tip),
        };
        Ok(wanted.into_iter().map(apart).collect())
    }

    fn apart_len(&mut self, apart: &Apart) -> Result<Option<u64>, ReplicaError> {
        if self.giving.as_ref().is_none_or(|(given, _)| given != apart) {
            let wanted = named(apart);
            self.giving = self.work(move |vault| vault.give(&wanted))?.map(|given| (*apart, given));
        }
        Ok(self.giving.as_ref().filter(|(given, _)| given == apart).map(|(_, given)| given.size()))
    }

    fn apart_read(&mut self, apart: &Apart, offset: u64, most: usize) -> Result<Vec<u8>, ReplicaError> {
        self.apart_len(apart)?;
        match &self.giving {
            Some((given, bytes)) if given == apart => bytes.read(offset, most).map_err(storage),
            _ => Err(storage(format!("{apart} is not here"))),
        }
    }

    fn apart_begin(&mut self, apart: &Apart) -> Result<Option<u64>, ReplicaError> {
        let wanted = named(apart);
        if !self.shared.fetching().insert(wanted.git()) {
            return Ok(None);
        }
        self.taking.push((*apart, None));
        if self.work(move |vault| vault.apart_here(&wanted))? {
            self.release(apart);
            return Ok(None);
        }
        let Apart::Blob(content) = apart else { return Ok(Some(0)) };
        match std::fs::metadata(self.partial(apart)) {
            Ok(found) if found.len() <= content.size => Ok(Some(found.len())),
            Ok(_) => Ok(Some(0)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Some(0)),
            Err(e) => Err(storage(e)),
        }
    }

    fn apart_absent(&mut self, apart: &Apart) {
        self.release(apart);
    }

    fn apart_write(&mut self, apart: &Apart, offset: u64, bytes: &[u8]) -> Result<(), ReplicaError> {
        let file = self.file(apart)?;
        let written = match offset {
            0 => file.set_len(0).and_then(|()| file.write_all_at(bytes, 0)),
            _ => file.write_all_at(bytes, offset),
        };
        written.map_err(|e| storage(format!("cannot write what came of {apart}: {e}")))
    }

    fn apart_finish(&mut self, apart: &Apart) -> Result<(), ReplicaError> {
        // An empty blob came without a byte: its file is made here.
        self.file(apart)?;
        let (wanted, path) = (named(apart), self.partial(apart));
        let from = path.clone();
        let taken = self.shared.keeper.work(move |vault| vault.take_apart(&wanted, &from));
        self.release(apart);
        match taken {
            Ok(()) => {
                // What stays of it is taken for a part received, and found to be whole.
                let _ = std::fs::remove_file(&path);
                Ok(())
            }
            Err(Error::Corrupt { why, .. }) => {
                std::fs::remove_file(&path)
                    .map_err(|e| storage(format!("cannot drop {}: {e}", path.display())))?;
                Err(ReplicaError::Corrupt { apart: *apart, why })
            }
            Err(e) => Err(failed(e)),
        }
    }

    fn members(&self) -> Result<BTreeMap<DeviceId, String>, ReplicaError> {
        self.work(|vault| {
            let present = vault.members().present();
            Ok(present.map(|(device, member)| (*device, member.name.clone())).collect())
        })
    }

    fn is_revoked(&self, device: &DeviceId) -> Result<bool, ReplicaError> {
        let device = *device;
        self.work(move |vault| Ok(vault.members().revoked(&device).is_some()))
    }

    fn peer_addrs(&self) -> Result<BTreeMap<DeviceId, Vec<SocketAddr>>, ReplicaError> {
        self.work(|vault| Ok(vault.peer_addrs()))
    }

    fn learn_addrs(&mut self, device: &DeviceId, addrs: Vec<SocketAddr>) -> Result<(), ReplicaError> {
        let device = *device;
        self.work(move |vault| vault.learn_addrs(&device, addrs))
    }

    fn is_lean(&self) -> Result<bool, ReplicaError> {
        self.work(|vault| Ok(vault.profile().is_lean()))
    }

    fn learn_lean(&mut self, device: &DeviceId, lean: bool) -> Result<(), ReplicaError> {
        let device = *device;
        self.work(move |vault| vault.learn_lean(&device, lean))
    }

    fn acknowledged(&mut self, peer: &DeviceId, frontier: &Frontier) -> Result<(), ReplicaError> {
        let (peer, view) = (*peer, frontier.view());
        self.work(move |vault| vault.note_acknowledged(&peer, &view))
    }

    fn offer(&mut self, offer: &Offer) -> Result<(), ReplicaError> {
        self.shared.offers.keep(offer, now_ms()).map_err(storage)
    }

    fn offered(&self, id: &TicketId) -> Result<Option<Offer>, ReplicaError> {
        self.shared.offers.find(id).map_err(storage)
    }

    fn redeem(&mut self, id: &TicketId, joiner: &DeviceId) -> Result<Redeemed, ReplicaError> {
        self.chosen = self.offered(id)?.and_then(|offer| offer.name);
        self.shared.offers.redeem(id, joiner).map_err(storage)
    }

    fn keys_for(&self, device: &DeviceId) -> Result<BTreeMap<EpochId, Bytes>, ReplicaError> {
        let device = *device;
        self.work(move |vault| vault.keys_for(&device))
    }

    fn admit(
        &mut self,
        device: &DeviceId,
        name: &str,
        roles: &[String],
        operator: Option<&DeviceId>,
    ) -> Result<(), ReplicaError> {
        let (device, roles, operator) = (*device, roles.to_vec(), operator.copied());
        let name = self.chosen.clone().unwrap_or_else(|| name.to_owned());
        self.work(move |vault| vault.admit(&device, &name, &roles, operator.as_ref()))
    }
}
