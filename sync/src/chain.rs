//! The records of a peer in their order: each is checked against the one before it, and what is sound of a batch is integrated.

use std::collections::BTreeMap;

use aios_core::frontier::{Frontier, Place};
use aios_core::id::{DeviceId, RecordId, VaultId};
use aios_core::planted::{Bug, planted};
use aios_core::record::Record;

use crate::error::{Peer, SyncError};
use crate::frame::{Applied, Piece};
use crate::replica::{Integrated, Replica, ReplicaError};

/// The first record of `of` that `than` lacks.
pub(crate) fn first_beyond(of: &Frontier, than: &Frontier) -> Option<Place> {
    let than = than.view();
    let beyond = of.view().iter().find(|place| !than.has(place))?;
    Some(Place { device: beyond.device, seq: than.get(&beyond.device) + 1 })
}

/// Whether the peer's frontier agrees with the records here.
pub(crate) fn agree(replica: &mut dyn Replica, peer: &Peer, frontier: &Frontier) -> Result<(), SyncError> {
    for (device, (seq, theirs)) in &frontier.0 {
        let place = Place { device: *device, seq: *seq };
        match replica.id_at(&place)? {
            Some(ours) if ours != *theirs => {
                return Err(SyncError::Fork { peer: peer.clone(), record: place, ours, theirs: *theirs });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The last record of each device as this connection has seen them: what the next one must build on.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Whose connection it is.
    pub peer: Peer,
    /// The vault whose records they are.
    pub vault: VaultId,
    /// The last record of each device.
    pub last: BTreeMap<DeviceId, (u64, RecordId)>,
    /// What the peer says it has.
    pub claimed: Frontier,
}

impl Chain {
    /// Whether all of a frontier has come.
    pub fn covers(&self, frontier: &Frontier) -> bool {
        self.beyond(frontier).is_none()
    }

    /// The first record of a frontier that has not.
    pub fn beyond(&self, frontier: &Frontier) -> Option<Place> {
        first_beyond(frontier, &Frontier(self.last.clone()))
    }

    /// Reads and checks the next entry of a batch. `None`: a record that is here already.
    fn read(&mut self, replica: &dyn Replica, bytes: &[u8]) -> Result<(Option<Record>, usize), SyncError> {
        let peer = || self.peer.clone();
        let entry = |source| SyncError::Entry { peer: peer(), source };
        let (record, len) = Record::read_entry(bytes).map_err(entry)?;
        let place = record.header.place();
        if record.header.vault != self.vault {
            return Err(SyncError::Foreign { peer: peer(), record: place, vault: record.header.vault });
        }
        match self.claimed.0.get(&place.device) {
            Some((seq, claimed)) if *seq == place.seq && *claimed != record.id => {
                return Err(SyncError::Fork {
                    peer: peer(),
                    record: place,
                    ours: *claimed,
                    theirs: record.id,
                });
            }
            _ => {}
        }
        let (mut seq, mut last) = match self.last.get(&place.device) {
            Some((seq, id)) => (*seq, Some(*id)),
            None => (0, None),
        };
        if place.seq > seq + 1 {
            // On a live connection the one before may have come another way, such as from this device itself.
            let before = Place { device: place.device, seq: place.seq - 1 };
            if let Some(id) = replica.id_at(&before)? {
                (seq, last) = (before.seq, Some(id));
            }
        }
        if place.seq <= seq {
            return match replica.id_at(&place)? {
                Some(ours) if ours != record.id => {
                    Err(SyncError::Fork { peer: peer(), record: place, ours, theirs: record.id })
                }
                _ => Ok((None, len)),
            };
        }
        if place.seq != seq + 1 {
            return Err(SyncError::Gap { peer: peer(), record: place, expected: seq + 1 });
        }
        record.verify_signature().map_err(entry)?;
        if record.header.prev != last {
            // The numbers fit and the records do not: one of the two before it is another than here.
            let before = Place { device: place.device, seq };
            return Err(match (last, record.header.prev) {
                (Some(ours), Some(theirs)) => SyncError::Fork { peer: peer(), record: before, ours, theirs },
                _ => SyncError::Gap { peer: peer(), record: place, expected: seq + 1 },
            });
        }
        record.check_payloads().map_err(entry)?;
        self.last.insert(place.device, (place.seq, record.id));
        Ok((Some(record), len))
    }

    /// Checks a batch and integrates what is sound of it: what comes before a bad record is kept.
    pub fn apply(mut self, replica: &mut dyn Replica, pieces: Vec<Piece>) -> Result<Batch, SyncError> {
        let mut bytes = Vec::with_capacity(pieces.iter().map(|p| p.raw).sum());
        for piece in pieces {
            let peer = || self.peer.clone();
            piece.unpack(&mut bytes).map_err(|source| SyncError::Frame { peer: peer(), source })?;
        }
        let (mut records, mut at, mut count, mut lie) = (Vec::new(), 0, 0, None);
        while at < bytes.len() {
            match self.read(replica, &bytes[at..]) {
                Ok((record, len)) => {
                    records.extend(record);
                    at += len;
                    count += 1;
                }
                Err(error) => {
                    lie = Some(error);
                    break;
                }
            }
        }
        drop(bytes);
        // Before the lie is reported, what came before it is kept.
        let done = replica.integrate(records).or_else(|error| match planted(Bug::AppliedEarly) {
            true => Ok(Integrated::default()),
            false => Err(error),
        });
        let done = done.map_err(|error| match error {
            ReplicaError::Unacceptable { record, why } => {
                SyncError::Unacceptable { peer: self.peer.clone(), record, why }
            }
            ReplicaError::Fork { record, ours, theirs } => {
                SyncError::Fork { peer: self.peer.clone(), record, ours, theirs }
            }
            other => SyncError::Replica(other),
        })?;
        if let Some(lie) = lie {
            return Err(lie);
        }
        let frontier = match planted(Bug::AppliedEarly) {
            true => Frontier(self.last.clone()),
            false => replica.frontier()?,
        };
        let applied = Applied { frontier, held: done.held };
        Ok(Batch { chain: self, applied, records: count, integrated: done.count })
    }
}

/// What came of a batch.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What the next one must build on.
    pub chain: Chain,
    /// What the peer is told.
    pub applied: Applied,
    /// How many entries it had.
    pub records: u64,
    /// How many of them were new here.
    pub integrated: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_beyond_a_frontier() {
        let id = RecordId([0; 32]);
        let frontier = |list: &[(u8, u64)]| {
            Frontier(list.iter().map(|(device, seq)| (DeviceId([*device; 32]), (*seq, id))).collect())
        };
        let place = |device: u8, seq| Place { device: DeviceId([device; 32]), seq };
        assert_eq!(first_beyond(&frontier(&[(1, 3)]), &frontier(&[(1, 3), (2, 9)])), None);
        assert_eq!(
            first_beyond(&frontier(&[(1, 3), (2, 5)]), &frontier(&[(1, 4), (2, 2)])),
            Some(place(2, 3))
        );
        assert_eq!(first_beyond(&frontier(&[(7, 2)]), &frontier(&[])), Some(place(7, 1)));
    }
}
