//! What can go wrong between two devices.

use std::fmt;
use std::sync::Arc;

use aios_core::frontier::Place;
use aios_core::id::{DeviceId, RecordId, VaultId};
use aios_core::record::RecordError;
use serde::{Deserialize, Serialize};

use crate::frame::FrameError;
use crate::replica::{Apart, ReplicaError};
use crate::ticket::TicketError;

/// The other device, as errors name it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer(Arc<(DeviceId, String)>);

impl Peer {
    /// A device and its name in the vault; empty when that is not known yet.
    pub fn new(device: DeviceId, name: impl Into<String>) -> Self {
        Peer(Arc::new((device, name.into())))
    }

    /// Its id.
    pub fn device(&self) -> DeviceId {
        self.0.0
    }

    /// Its name, empty when not known.
    pub fn name(&self) -> &str {
        &self.0.1
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name().is_empty() {
            true => write!(f, "device {}", self.device().short(8)),
            false => write!(f, "{} ({})", self.name(), self.device().short(8)),
        }
    }
}

impl From<DeviceId> for Peer {
    fn from(device: DeviceId) -> Self {
        Peer::new(device, "")
    }
}

/// Why a device ends a connection, as it says so on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The asking device is not a member.
    NotMember,
    /// The asking device was a member and was revoked.
    Revoked,
    /// Another vault.
    OtherVault,
    /// Another version of the protocol.
    Version,
    /// Bytes that are no frames, frames out of turn, or records that are not sound.
    Invalid,
    /// Two records with one number.
    Fork,
    /// The ticket is not known here.
    TicketUnknown,
    /// The ticket was used by another device.
    TicketUsed,
    /// The ticket has expired.
    TicketExpired,
    /// The proof does not fit the ticket's secret.
    TicketProof,
    /// The operator's side said no, such as for a name that is taken.
    Denied,
    /// The device is too busy.
    Busy,
    /// The device has a problem of its own.
    Trouble,
    /// A code of a newer program.
    #[serde(other)]
    Unknown,
}

/// Whose fault it is, which decides what the user should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The other device cannot be reached, or the connection broke: try again later.
    Unreachable,
    /// The other device said no.
    Refused,
    /// The other device sent what no honest, sound device sends.
    Lying,
    /// Something the operator handed over, such as a ticket, is not usable.
    Input,
    /// This device.
    Local,
}

/// Why a sync or a pairing did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// No connection to the peer came about.
    #[error("{peer} is not reachable ({why})")]
    Unreachable {
        /// The peer.
        peer: Peer,
        /// What was tried, and what happened.
        why: String,
    },
    /// Nobody answers for a ticket.
    #[error("the device that made the ticket does not answer ({why})")]
    NobodyWaits {
        /// What was tried, and what happened.
        why: String,
    },
    /// The connection ended before the work did.
    #[error("the connection to {peer} broke ({why})")]
    Broken {
        /// The peer.
        peer: Peer,
        /// What the network said.
        why: String,
    },
    /// Nothing moved for too long.
    #[error("{peer} made no progress for {seconds} s")]
    Stalled {
        /// The peer.
        peer: Peer,
        /// How long was waited.
        seconds: u64,
    },
    /// The time given for all of it is over.
    #[error("the exchange with {peer} was not complete in {seconds} s")]
    Timeout {
        /// The peer.
        peer: Peer,
        /// How long it was given.
        seconds: u64,
    },
    /// The peer ended it and said why.
    #[error("{peer} refused ({code:?}): {text}")]
    Refused {
        /// The peer.
        peer: Peer,
        /// Its code.
        code: Code,
        /// Its words, cut to 400 characters.
        text: String,
    },
    /// A device that is no member asked.
    #[error("{peer} is not a member of this vault")]
    NotMember {
        /// The peer.
        peer: Peer,
    },
    /// A device that was revoked asked.
    #[error("{peer} was revoked: it is no member of this vault any more")]
    Revoked {
        /// The peer.
        peer: Peer,
    },
    /// The device that the connection proves is not the one that the peer says it is.
    #[error("{peer} calls itself device {claimed}; nothing was exchanged")]
    Impostor {
        /// The peer.
        peer: Peer,
        /// What it says it is.
        claimed: DeviceId,
    },
    /// The peer has another vault.
    #[error("{peer} serves vault {theirs}, not {ours}; nothing was exchanged")]
    OtherVault {
        /// The peer.
        peer: Peer,
        /// Its vault.
        theirs: VaultId,
        /// The vault here.
        ours: VaultId,
    },
    /// The peer speaks another version.
    #[error("{peer} speaks version {version} of the sync protocol, this program version 1")]
    Version {
        /// The peer.
        peer: Peer,
        /// Its version.
        version: u32,
    },
    /// Bytes that are no frame.
    #[error("{peer} sent what is not the sync protocol: {source}")]
    Frame {
        /// The peer.
        peer: Peer,
        /// What is wrong.
        source: FrameError,
    },
    /// A frame that makes no sense at this point.
    #[error("{peer} broke the sync protocol: {what}")]
    Protocol {
        /// The peer.
        peer: Peer,
        /// What it did.
        what: String,
    },
    /// Bytes that are no sound record.
    #[error("{peer} sent a record that is not sound ({source}); it and all after it were not taken")]
    Entry {
        /// The peer.
        peer: Peer,
        /// What is wrong, and with which record, as far as that can be told.
        source: RecordError,
    },
    /// A record of another vault.
    #[error(
        "{peer} sent record {record}, which belongs to vault {vault}; it and all after it were not taken"
    )]
    Foreign {
        /// The peer.
        peer: Peer,
        /// The record.
        record: Place,
        /// The vault it names.
        vault: VaultId,
    },
    /// A record without the one before it.
    #[error("{peer} sent record {record} where {expected} comes next; it and all after it were not taken")]
    Gap {
        /// The peer.
        peer: Peer,
        /// The record.
        record: Place,
        /// The number that comes next for that device.
        expected: u64,
    },
    /// Two records of one device with one number.
    #[error(
        "{peer} has another record {record} than this device ({theirs} there, {ours} here): that device's log was \
         copied or restored"
    )]
    Fork {
        /// The peer.
        peer: Peer,
        /// The number that is there twice.
        record: Place,
        /// The record here.
        ours: RecordId,
        /// The record there.
        theirs: RecordId,
    },
    /// The peer ended without sending what it said it has.
    #[error("{peer} says it has record {record} but did not send it")]
    Unserved {
        /// The peer.
        peer: Peer,
        /// The first record it did not send.
        record: Place,
    },
    /// A record that the vault does not take.
    #[error(
        "{peer} sent record {record}, which is not acceptable: {why}; it and all after it were not taken"
    )]
    Unacceptable {
        /// The peer.
        peer: Peer,
        /// The record.
        record: Place,
        /// What is wrong.
        why: String,
    },
    /// Bytes that are not what the records name.
    #[error("{peer} sent wrong bytes for {apart}: {why}; they were dropped")]
    Corrupt {
        /// The peer.
        peer: Peer,
        /// What they were for.
        apart: Apart,
        /// What is wrong.
        why: String,
    },
    /// A record from the future is kept apart; all else was exchanged.
    #[error("record {record} from {peer} has a clock more than 24 hours ahead: it is held until that time")]
    Held {
        /// The peer.
        peer: Peer,
        /// The first record held.
        record: Place,
    },
    /// The peer took everything and does not say it has applied it.
    #[error("{peer} has not applied record {record} of this device")]
    Unapplied {
        /// The peer.
        peer: Peer,
        /// The first record it has not applied.
        record: Place,
    },
    /// A device wants to join and may not.
    #[error("{peer} asked to join with a ticket that is not usable ({code:?}): {what}")]
    BadJoin {
        /// The peer.
        peer: Peer,
        /// What it is told.
        code: Code,
        /// What is wrong, and what the joining person should do.
        what: &'static str,
    },
    /// The inviter does not know the ticket's secret.
    #[error("{peer} could not prove that it made this ticket: nothing was joined")]
    FalseInviter {
        /// The peer.
        peer: Peer,
    },
    /// The ticket is not usable.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// This device's vault.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// This device's network.
    #[error("this device cannot open its network ({0})")]
    Network(String),
    /// An environment variable that says something else than it may.
    #[error("{name} is `{value}`: it takes {takes}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        takes: &'static str,
    },
}

impl SyncError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        use SyncError::*;
        Some(match self {
            Unreachable { .. } => "make sure that it runs `aios up` and that both are on one network",
            NobodyWaits { .. } => "`aios pair` must still wait there, on one network with this device",
            Broken { .. } | Stalled { .. } | Timeout { .. } => {
                "what arrived is kept: `aios sync` again goes on from there"
            }
            NotMember { .. } => "pair it with `aios pair`",
            Version { .. } => "upgrade the older one",
            Fork { .. } => "run `aios verify` on both",
            Unserved { .. } => "sync with another device, and run `aios verify` there",
            Held { .. } => "check the clock of the device that wrote it",
            Unapplied { .. } => "see `aios status` there",
            FalseInviter { .. } => "ask for a new ticket: `aios pair`",
            _ => return None,
        })
    }

    /// All of it on one line.
    pub fn said(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        use SyncError::*;
        match self {
            Unreachable { .. } | NobodyWaits { .. } | Broken { .. } | Stalled { .. } | Timeout { .. } => {
                Fault::Unreachable
            }
            Refused { .. }
            | NotMember { .. }
            | Revoked { .. }
            | Version { .. }
            | Held { .. }
            | Unapplied { .. } => Fault::Refused,
            Ticket(_) | Setting { .. } => Fault::Input,
            Replica(_) | Network(_) => Fault::Local,
            Impostor { .. }
            | OtherVault { .. }
            | Frame { .. }
            | Protocol { .. }
            | Entry { .. }
            | Foreign { .. } => Fault::Lying,
            Gap { .. } | Fork { .. } | Unserved { .. } | Unacceptable { .. } | Corrupt { .. } => Fault::Lying,
            FalseInviter { .. } | BadJoin { .. } => Fault::Lying,
        }
    }

    /// The record it is about.
    pub fn record(&self) -> Option<Place> {
        use SyncError::*;
        match self {
            Foreign { record, .. } | Gap { record, .. } | Fork { record, .. } | Unserved { record, .. } => {
                Some(*record)
            }
            Unacceptable { record, .. } | Held { record, .. } | Unapplied { record, .. } => Some(*record),
            Entry { source, .. } => match source {
                RecordError::Body(place, _) | RecordError::Id(place) | RecordError::BodyHash(place) => {
                    Some(*place)
                }
                RecordError::Signature(place) | RecordError::Payload(place, _) => Some(*place),
                RecordError::Closed(place) | RecordError::Version { place, .. } => Some(*place),
                RecordError::Header(_) | RecordError::Frame(_) | RecordError::Incomplete => None,
            },
            _ => None,
        }
    }

    /// What to tell the peer; `None` when there is nobody to tell.
    pub fn code(&self) -> Option<Code> {
        use SyncError::*;
        match self {
            Unreachable { .. }
            | NobodyWaits { .. }
            | Broken { .. }
            | Refused { .. }
            | Network(_)
            | Setting { .. } => None,
            Stalled { .. } | Timeout { .. } => Some(Code::Trouble),
            NotMember { .. } => Some(Code::NotMember),
            Revoked { .. } => Some(Code::Revoked),
            OtherVault { .. } => Some(Code::OtherVault),
            Version { .. } => Some(Code::Version),
            BadJoin { code, .. } => Some(*code),
            Fork { .. } => Some(Code::Fork),
            Ticket(TicketError::Expired { .. }) => Some(Code::TicketExpired),
            Ticket(_) | FalseInviter { .. } => Some(Code::TicketProof),
            Replica(ReplicaError::Denied(_)) => Some(Code::Denied),
            Replica(_) => Some(Code::Trouble),
            _ => Some(Code::Invalid),
        }
    }

    /// What to say to the peer: nothing about this device's own disk.
    pub(crate) fn text_for_peer(&self) -> String {
        match self {
            SyncError::Replica(ReplicaError::Denied(why)) => why.clone(),
            SyncError::BadJoin { what, .. } => (*what).into(),
            SyncError::Revoked { .. } => {
                "this device was revoked: it is no member of the vault any more; its files stay as they are"
                    .into()
            }
            SyncError::Replica(_) => "the other device has a problem of its own; look there".into(),
            other => other.said(),
        }
    }
}
