//! Bugs that a test plants, one at a time, to see that the simulator finds them. Without the feature `planted` there are none,
//! and the code that asks for them is not there.

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Records are acknowledged before their log is synced.
    LogUnsynced,
    /// A file that was written is taken for durable before its folder is synced.
    WriteUnsynced,
    /// A branch is moved before the objects it leads to are synced.
    GitUnsynced,
    /// Of two items with one clock, the one that came here later is the greater.
    ClockWithoutDevice,
    /// The parents of a merge stand in the order in which they came here.
    MergeUnsorted,
    /// Where something came or went nobody looks at the folder again.
    RescanForgotten,
    /// What a write displaced is thrown away.
    DisplacedDropped,
    /// Every save is taken for an edit of the newest version.
    BaseForgotten,
    /// A file that is gone takes its document with it, whatever came to that meanwhile.
    DeleteUnseen,
    /// A peer is told that records are applied that are not.
    AppliedEarly,
    /// Records are sent device by device, some before what they rest on.
    OrderIgnored,
    /// Records that a revoked device wrote beyond its end count.
    BoundIgnored,
    /// A folder from a backup goes on as the device it was.
    IncarnationKept,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 13] = [
        Bug::LogUnsynced,
        Bug::WriteUnsynced,
        Bug::GitUnsynced,
        Bug::ClockWithoutDevice,
        Bug::MergeUnsorted,
        Bug::RescanForgotten,
        Bug::DisplacedDropped,
        Bug::BaseForgotten,
        Bug::DeleteUnseen,
        Bug::AppliedEarly,
        Bug::OrderIgnored,
        Bug::BoundIgnored,
        Bug::IncarnationKept,
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
