//! What may happen in a run: each seed has its own weather, so that rare things meet in some.

use aios_tests::chance::Chance;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Edit,
    Make,
    Delete,
    Rename,
    Open,
    StaleSave,
    HalfSave,
    Round,
    Daemon,
    TakeAt,
    TakeAll,
    Write,
    Git,
    Other,
    Dial,
    Talk,
    Cut,
    Deafen,
    Part,
    Clock,
    Wait,
    Crash,
    Fail,
    Meanwhile,
    Restart,
    Backup,
    Restore,
    Revoke,
    Commit,
    Blob,
    Fetch,
    Told,
    Gc,
    Forget,
}

impl Act {
    /// Whether a user does it with the files: nobody does so where nothing is taken in.
    pub fn is_work(self) -> bool {
        use Act::*;
        matches!(
            self,
            Edit | Make | Delete | Rename | Open | StaleSave | HalfSave | Meanwhile | Commit | Blob
        )
    }
}

/// Every act, how often it comes, and whether some runs go without it.
const ACTS: [(Act, usize, bool); 34] = [
    (Act::Edit, 60, false),
    (Act::Make, 10, false),
    (Act::Delete, 5, true),
    (Act::Rename, 8, true),
    (Act::Open, 14, true),
    (Act::StaleSave, 14, true),
    (Act::HalfSave, 8, true),
    (Act::Round, 14, true),
    (Act::Daemon, 50, true),
    (Act::TakeAt, 24, true),
    (Act::TakeAll, 16, true),
    (Act::Write, 14, true),
    (Act::Git, 10, true),
    (Act::Other, 6, true),
    (Act::Dial, 24, false),
    (Act::Talk, 260, false),
    (Act::Cut, 6, true),
    (Act::Deafen, 4, true),
    (Act::Part, 4, true),
    (Act::Clock, 3, true),
    (Act::Wait, 6, false),
    (Act::Crash, 8, true),
    (Act::Fail, 6, true),
    (Act::Meanwhile, 10, true),
    (Act::Restart, 3, true),
    (Act::Backup, 3, true),
    (Act::Restore, 2, true),
    (Act::Revoke, 1, true),
    (Act::Commit, 4, true),
    (Act::Blob, 8, true),
    (Act::Fetch, 5, true),
    (Act::Told, 2, true),
    (Act::Gc, 5, true),
    (Act::Forget, 3, true),
];

/// How often each act comes in one run.
#[derive(Debug, Clone)]
pub struct Weather(Vec<usize>);

impl Weather {
    pub fn new(chance: &mut Chance) -> Weather {
        let without = std::env::var("AIOS_WITHOUT").unwrap_or_default();
        let weight = |(act, weight, optional): &(Act, usize, bool)| {
            let none = *optional && chance.one_in(3) || without.contains(&format!("{act:?}"));
            if none { 0 } else { *weight }
        };
        Weather(ACTS.iter().map(weight).collect())
    }

    /// Whether there is such an act in this run.
    pub fn has(&self, act: Act) -> bool {
        ACTS.iter().zip(&self.0).any(|((known, ..), weight)| *known == act && *weight > 0)
    }

    pub fn next(&self, chance: &mut Chance) -> Act {
        ACTS[chance.weighed(&self.0)].0
    }
}
