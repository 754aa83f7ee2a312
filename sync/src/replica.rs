//! What sync needs of a vault.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use aios_core::frontier::{Frontier, Place, View};
use aios_core::id::{DeviceId, EpochId, GitId, RecordId, VaultId};
use aios_core::item::{Bytes, Content};
use aios_core::record::Record;
use serde::{Deserialize, Serialize};

use crate::ticket::{Offer, TicketId};

/// Why the vault did not do what sync asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// A record that must not be integrated: its author is no member in its past (I7), a dependency is not
    /// here, its clock does not follow its past, a payload is not the one its item names.
    #[error("record {record} is not acceptable: {why}")]
    Unacceptable {
        /// The record.
        record: Place,
        /// What is wrong with it.
        why: String,
    },
    /// Another record with this number is here.
    #[error(
        "there are two records {record}: {ours} here and {theirs}; that device's log was copied or restored"
    )]
    Fork {
        /// The number that is there twice.
        record: Place,
        /// The record here.
        ours: RecordId,
        /// The one that came.
        theirs: RecordId,
    },
    /// Bytes that travel apart do not have the hash or the objects their record names.
    #[error("the bytes received for {apart} are not what its record names: {why}; they were dropped")]
    Corrupt {
        /// What they were for.
        apart: Apart,
        /// What is wrong with them.
        why: String,
    },
    /// The operator's side of it: a name that is taken, an operator key that is not on this device.
    #[error("{0}")]
    Denied(String),
    /// The disk, the database or the memory of this device.
    #[error("this device could not do it: {0}")]
    Storage(String),
}

/// Bytes that records name and that travel apart from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Apart {
    /// The bytes of a blob. Resumable at any offset.
    Blob(Content),
    /// All git objects that this commit reaches, as a pack. Not resumable: begins at 0.
    History(GitId),
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Apart::Blob(content) => write!(f, "blob {} ({} bytes)", content.hash.short(12), content.size),
            Apart::History(tip) => write!(f, "git history {}", tip.short(12)),
        }
    }
}

/// What remains to be sent to one peer: the records in `upto` that are not in `have`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What the peer has, and what was handed out since.
    pub have: View,
    /// What is to be sent in all.
    pub upto: View,
}

impl Cursor {
    /// Whether all of it was handed out.
    pub fn at_end(&self) -> bool {
        self.have.covers(&self.upto)
    }

    /// How many records remain.
    pub fn remaining(&self) -> u64 {
        self.upto.iter().map(|place| place.seq.saturating_sub(self.have.get(&place.device))).sum()
    }
}

/// What integrating a batch did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Integrated {
    /// How many records are in the frontier now that were not before.
    pub count: u64,
    /// Records kept outside the frontier, because their clock, or that of a record they build on, is more than
    /// 24 hours ahead.
    pub held: Vec<Place>,
}

/// What redeeming a ticket found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// It was unused. From now on, durably, it is this device's.
    Now,
    /// This same device has redeemed it before: its connection broke, and it asks again.
    Before,
    /// Another device has used it, or it is not known.
    ByAnother,
}

/// One replica of a vault, as sync sees it. All calls may block; they are made from threads that may.
///
/// Several handles of one replica may be in use at once (one for each connection), so every call is atomic by itself,
/// and a later call sees what earlier ones did through any handle.
pub trait Replica: Send {
    /// The vault. This and the next two do not block.
    fn vault(&self) -> VaultId;

    /// The vault's name, for people.
    fn vault_name(&self) -> String;

    /// This device.
    fn device(&self) -> DeviceId;

    /// What is durably integrated here.
    fn frontier(&self) -> Result<Frontier, ReplicaError>;

    /// The id of the integrated record at `place`; `None` when it is not here.
    fn id_at(&self, place: &Place) -> Result<Option<RecordId>, ReplicaError>;

    /// The next records of `cursor`, each as its full log entry with payloads, in an order in which every record
    /// comes after its past (that of stamps is one), and advances `cursor.have` past them.
    ///
    /// Stops once `budget` bytes are reached; gives at least one record unless the cursor is at its end.
    fn entries_since(&self, cursor: &mut Cursor, budget: usize) -> Result<Vec<Vec<u8>>, ReplicaError>;

    /// Integrates records in the order given; durable when it returns. Records that are here already are skipped.
    ///
    /// Checked before: framing, ids, body hash, payload sizes and hashes, signature, vault, and that each device's
    /// records follow each other. To be checked here: dependencies, clocks against the past, membership (I7), and the
    /// 24 hours ([`Integrated::held`]).
    ///
    /// # Errors
    /// [`ReplicaError::Unacceptable`], or [`ReplicaError::Fork`], for the first record that fails; the records before
    /// it stay integrated.
    fn integrate(&mut self, records: Vec<Record>) -> Result<Integrated, ReplicaError>;

    /// What integrated records name, this device wants, and is not here.
    fn missing_apart(&self) -> Result<Vec<Apart>, ReplicaError>;

    /// The length in bytes of what `apart` is sent as; `None` when it is not wholly here. For history this makes the
    /// pack, which stays readable until this handle is dropped.
    fn apart_len(&mut self, apart: &Apart) -> Result<Option<u64>, ReplicaError>;

    /// Up to `most` bytes of it from `offset` on; at least one unless at the end.
    fn apart_read(&mut self, apart: &Apart, offset: u64, most: usize) -> Result<Vec<u8>, ReplicaError>;

    /// This handle is about to fetch it: how many bytes of it, counted from its start, are here from an attempt
    /// before (0 for history). `None` when another handle is fetching it, or when it has come meanwhile.
    ///
    /// Others get `None` until [`Replica::apart_finish`], or until this handle is dropped.
    fn apart_begin(&mut self, apart: &Apart) -> Result<Option<u64>, ReplicaError>;

    /// Whom this handle asked for it has not got it: others may be asked.
    fn apart_absent(&mut self, apart: &Apart);

    /// Keeps bytes received for it, not necessarily durably. `offset` continues what is here; 0 begins anew.
    fn apart_write(&mut self, apart: &Apart, offset: u64, bytes: &[u8]) -> Result<(), ReplicaError>;

    /// All of it was received: verifies it and makes it durably part of the vault.
    ///
    /// # Errors
    /// [`ReplicaError::Corrupt`] when it is not what the records name; what was received is dropped then.
    fn apart_finish(&mut self, apart: &Apart) -> Result<(), ReplicaError>;

    /// The members that are not revoked, this device included, with their names.
    fn members(&self) -> Result<BTreeMap<DeviceId, String>, ReplicaError>;

    /// Whether `device` is a member and not revoked.
    fn is_member(&self, device: &DeviceId) -> Result<bool, ReplicaError> {
        Ok(self.members()?.contains_key(device))
    }

    /// Whether `device` was a member and was revoked.
    fn is_revoked(&self, _device: &DeviceId) -> Result<bool, ReplicaError> {
        Ok(false)
    }

    /// Where other members were last known to listen (see [`Replica::learn_addrs`]).
    fn peer_addrs(&self) -> Result<BTreeMap<DeviceId, Vec<SocketAddr>>, ReplicaError>;

    /// Remembers where `device` listens. Replaces what was known. Not part of the log.
    fn learn_addrs(&mut self, device: &DeviceId, addrs: Vec<SocketAddr>) -> Result<(), ReplicaError>;

    /// Whether this device leaves bytes that travel apart with the others until it is asked for them.
    fn is_lean(&self) -> Result<bool, ReplicaError> {
        Ok(false)
    }

    /// Remembers of `device` whether it does.
    fn learn_lean(&mut self, _device: &DeviceId, _lean: bool) -> Result<(), ReplicaError> {
        Ok(())
    }

    /// `peer` says that it has durably applied `frontier` (I12).
    fn acknowledged(&mut self, peer: &DeviceId, frontier: &Frontier) -> Result<(), ReplicaError>;

    /// Keeps an offer durably, outside the log.
    fn offer(&mut self, offer: &Offer) -> Result<(), ReplicaError>;

    /// The offer with this id, used or not, expired or not, as long as it is remembered (30 days at least).
    fn offered(&self, id: &TicketId) -> Result<Option<Offer>, ReplicaError>;

    /// Binds the offer to `joiner`, durably before it returns and once only, however many ask at once.
    fn redeem(&mut self, id: &TicketId, joiner: &DeviceId) -> Result<Redeemed, ReplicaError>;

    /// The keys of the epochs of a sealed vault, handed to `device` alone; none where it may not read.
    fn keys_for(&self, _device: &DeviceId) -> Result<BTreeMap<EpochId, Bytes>, ReplicaError> {
        Ok(BTreeMap::new())
    }

    /// Authors `device.added`, signed by the operator key on this device; durable when it returns. Does nothing when
    /// `device` is a member already.
    fn admit(
        &mut self,
        device: &DeviceId,
        name: &str,
        roles: &[String],
        operator: Option<&DeviceId>,
    ) -> Result<(), ReplicaError>;
}
