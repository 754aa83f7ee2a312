//! Bugs that a test plants, one at a time, to see that the simulator finds them. Without the feature `planted` there are none,
//! and the code that asks for them is not there.

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Records are acknowledged before their log is synced.
    LogUnsynced,
    /// Of two concurrent values with one clock, which wins is left to who is asked first.
    ClockWithoutDevice,
    /// A folder that came is not looked at.
    RescanForgotten,
    /// What a write displaced is thrown away.
    DisplacedDropped,
    /// Every save is taken for an edit of the newest version.
    BaseForgotten,
    /// A peer is told that records are applied before they are.
    AppliedEarly,
    /// Records that a revoked device wrote beyond its end count.
    BoundIgnored,
    /// A record's dependencies on other devices' records are not looked at.
    DependenciesUnchecked,
    /// A folder from a backup goes on as the device it was.
    IncarnationKept,
    /// After a crash the database is not brought up to its log.
    CatchUpSkipped,
    /// A torn end of a log is not cut off.
    TornEndKept,
    /// A record far ahead of the clock is taken in at once.
    FutureTaken,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 12] = [
        Bug::LogUnsynced,
        Bug::ClockWithoutDevice,
        Bug::RescanForgotten,
        Bug::DisplacedDropped,
        Bug::BaseForgotten,
        Bug::AppliedEarly,
        Bug::BoundIgnored,
        Bug::DependenciesUnchecked,
        Bug::IncarnationKept,
        Bug::CatchUpSkipped,
        Bug::TornEndKept,
        Bug::FutureTaken,
    ];
}

/// Whether the calling thread has this bug.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
mod chosen {
    use super::Bug;
    use std::cell::Cell;

    thread_local! { static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) }; }

    /// Whether the calling thread has this bug.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Gives the calling thread a bug, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}

#[cfg(feature = "planted")]
pub use chosen::{plant, planted};
