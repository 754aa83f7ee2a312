//! Hybrid logical clocks and the total order of records.
//!
//! Kulkarni, Demirbas, Madappa, Avva, Leone: *Logical Physical Clocks and Consistent Snapshots in Globally
//! Distributed Databases* (2014).

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;

/// A reading of the hybrid clock: (milliseconds since the Unix epoch, counter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hlc(pub u64, pub u32);

impl Hlc {
    /// The reading for an event now (`wall` in ms) that follows everything up to `self`.
    #[must_use]
    pub fn next(self, wall: u64) -> Hlc {
        if wall > self.0 {
            return Hlc(wall, 0);
        }
        match self.1.checked_add(1) {
            Some(count) => Hlc(self.0, count),
            None => Hlc(self.0.saturating_add(1), 0),
        }
    }
}

/// The place of a record in the total order: clock, then device, then number.
///
/// It decides which concurrent value of a register wins, never Automerge's own choice (I4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64, pub u32, pub DeviceId, pub u64);

impl Stamp {
    /// The stamp of record `seq` of `device` at `clock`.
    pub fn new(clock: Hlc, device: DeviceId, seq: u64) -> Self {
        Stamp(clock.0, clock.1, device, seq)
    }

    /// The clock part.
    pub fn clock(&self) -> Hlc {
        Hlc(self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictly_grows_whatever_the_wall_says() {
        let mut at = Hlc::default();
        for wall in [5, 5, 3, 9, 0, 9] {
            let next = at.next(wall);
            assert!(next > at);
            at = next;
        }
        assert_eq!(Hlc(7, u32::MAX).next(1), Hlc(8, 0));
    }
}
