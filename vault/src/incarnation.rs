//! One folder, one device: records of one device must never part ways. A folder that was copied with the keys still in place, or
//! restored from a backup, finds that its device has written records it does not hold, and goes on as a device of its own before
//! it writes any. What the device wrote elsewhere comes with the next sync. A copy beside the folder it was made of is known by
//! that alone (`seat.rs`).

use aios_core::event::Event;
use aios_core::frontier::Place;
use aios_core::id::RecordId;
use aios_core::item::{Bytes, Item};
use aios_core::key::MemberStatement;
use aios_core::member::ADMINISTER;
use aios_core::planted::{Bug, planted};

use crate::author::Draft;
use crate::chance::now_ms;
use crate::error::Error;
use crate::keys::{Keys, Memory, new_actor};
use crate::ledger::Ledger;
use crate::vault::Vault;

impl Vault {
    /// Takes up the Automerge actor of this incarnation, or a new one if the log is not the one remembered:
    /// two incarnations of one actor break a document for good.
    pub(crate) fn recall(&mut self) -> Result<(), Error> {
        let tip = self.frontier()?.0.get(&self.replica.device).copied();
        let memory = self.keys.memory().filter(|memory| memory.tip == tip);
        self.take_seat();
        let actor = memory.and_then(|memory| data_encoding::HEXLOWER.decode(memory.actor.as_bytes()).ok());
        if let Some(actor) = actor.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
            self.actor = actor;
            return Ok(());
        }
        self.actor = new_actor(now_ms())?;
        match self.is_left_behind()? {
            // What is remembered is all that tells.
            true => Ok(()),
            false => self.remember(tip),
        }
    }

    pub(crate) fn remember(&self, tip: Option<(u64, RecordId)>) -> Result<(), Error> {
        self.keys.remember(&Memory { tip, actor: data_encoding::HEXLOWER.encode(&self.actor) })
    }

    /// Remembers; durable with [`Vault::settle_memory`].
    pub(crate) fn note_tip(&mut self, tip: Option<(u64, RecordId)>) -> Result<(), Error> {
        self.noted = true;
        self.keys.note(&Memory { tip, actor: data_encoding::HEXLOWER.encode(&self.actor) })
    }

    /// Has it durable beside the keys which records were written with [`Vault::author_at`]: before others get them, since who restores a
    /// folder from before must not write others in their place.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn settle_memory(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.noted) {
            true => self.keys.settle(),
            false => Ok(()),
        }
    }

    /// Whether this device has written a record that is not here.
    pub(crate) fn is_left_behind(&self) -> Result<bool, Error> {
        if planted(Bug::IncarnationKept) {
            return Ok(false);
        }
        let Some((seq, id)) = self.keys.memory().and_then(|memory| memory.tip) else { return Ok(false) };
        let device = self.replica.device;
        if let Some(here) = self.id_at(&Place { device, seq })? {
            return Ok(here != id);
        }
        // The log may be ahead of the database: then it is caught up with, or written over.
        let end = self.tip(&device)?.map(|(_, _, spot)| spot);
        let mut here = false;
        self.log.walk(&device, end, |logged| {
            here |= logged.record.id == id;
            Ok(())
        })?;
        Ok(!here)
    }

    /// Goes on as a device of its own where this folder was left behind, let in by the operator key of the one it was. Says what was done,
    /// where something was.
    ///
    /// # Errors
    /// [`Error::Copied`] and [`Error::Elsewhere`] where that operator key may not let devices in; [`Error::Revoked`].
    pub fn go_on(&mut self) -> Result<Option<String>, Error> {
        let other = self.elsewhere()?;
        if other.is_none() && !self.is_left_behind()? {
            return Ok(None);
        }
        self.check_decides()?;
        let old = self.members().name(&self.replica.device);
        let member = self.members().0.get(&self.replica.device).cloned();
        let operator =
            self.operator()?.filter(|key| self.authority.may(&key.public(), ADMINISTER, &self.view));
        let (Some(member), Some(operator)) = (member, operator) else {
            return Err(match other {
                Some(root) => Error::Elsewhere { name: old, root },
                None => Error::Copied { name: old },
            });
        };
        let keys = Keys::create(true)?;
        // What was begun under the old keys has begun (I10).
        Ledger::hand_on(&self.keys, &keys)?;
        self.keys.hand_epochs(&keys)?;
        let (vault, device, roles) = (self.replica.vault, keys.device.public(), member.roles);
        let own = keys.operator()?.map(|key| key.public());
        let name = self.next_name(&old);
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: own.as_ref(),
            place: Place { device, seq: 1 },
        };
        let (sig, by) = (Bytes(operator.sign_statement(&statement).to_vec()), operator.public());
        let what = format!(
            "this folder is a copy of device {old}, or was restored from an older state of it: it goes on as device {name}"
        );
        let mut draft = Draft::operator(format!("Go on as {name}\n\n{what}"));
        let event = Event::DeviceAdded { device, name, roles, operator: own, sig, by };
        draft.push(Item::Event(event));
        let was = self.keys.was()?.unwrap_or(self.replica.device);
        keys.set_was(Some(&was))?;
        let before = (self.replica.device, std::mem::replace(&mut self.keys, keys), self.actor);
        (self.replica.device, self.actor) = (device, new_actor(now_ms())?);
        let done = self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})
        });
        // Only then is it that device: a crash before leaves a member that never writes again.
        let done = done.and_then(|()| self.layout.write_replica(&self.replica));
        if let Err(e) = done {
            (self.replica.device, self.keys, self.actor) = before;
            return Err(e);
        }
        let peers = before.1.folder().join("peers.json");
        if peers.exists() {
            // Addresses are told again if this does not work.
            let _ = std::fs::copy(&peers, self.keys.folder().join("peers.json"));
        }
        tracing::warn!("{what}");
        Ok(Some(what))
    }

    /// A name like `old` that nobody has.
    pub(crate) fn next_name(&self, old: &str) -> String {
        let taken = |name: &str| self.members().0.values().any(|member| member.name == name);
        let numbered = old.rsplit_once('-').filter(|(_, n)| n.parse::<u64>().is_ok());
        let stem = numbered.map_or(old, |(stem, _)| stem);
        let mut names = (2u64..).map(|n| format!("{stem}-{n}"));
        names.find(|name| !taken(name)).unwrap_or_else(|| old.to_owned())
    }
}
