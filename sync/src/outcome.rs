//! What an exchange has achieved, so far and in the end.

use aios_core::frontier::{Frontier, Place};

use crate::chain::first_beyond;
use crate::error::{Peer, SyncError};

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records received and applied.
    pub received: u64,
    /// Records that the peer has and this device lacked, as far as known.
    pub to_receive: u64,
    /// Records sent.
    pub sent: u64,
    /// Records that the peer lacked.
    pub to_send: u64,
    /// Bytes received from the network.
    pub bytes_received: u64,
    /// Bytes sent to the network.
    pub bytes_sent: u64,
    /// Bytes of blobs and history received.
    pub apart_bytes: u64,
}

/// What an exchange has achieved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The counters.
    pub progress: Progress,
    /// Records integrated that were not here; another connection may have brought some that this one received.
    pub integrated: u64,
    /// What the peer has said it has durably applied, last.
    pub peer_frontier: Frontier,
    /// Whether that covers all that this device had when the exchange began (I12).
    pub acknowledged: bool,
    /// Records held outside the frontier here, because of their clocks.
    pub held: Vec<Place>,
    /// Records of this device that the peer holds.
    pub held_there: Vec<Place>,
    /// Blobs and histories received.
    pub apart_received: u64,
    /// Blobs and histories that the peer does not have either.
    pub apart_missing: u64,
}

impl Outcome {
    /// What an honest report says although the exchange came to its end: a record held, or not applied there.
    pub fn problem(&self, peer: &Peer, mine: &Frontier) -> Option<SyncError> {
        if let Some(record) = self.held.first() {
            return Some(SyncError::Held { peer: peer.clone(), record: *record });
        }
        let record = first_beyond(mine, &self.peer_frontier)?;
        Some(SyncError::Unapplied { peer: peer.clone(), record })
    }
}
