//! Where the index and `HEAD` stand, to tell whether git was at work in the folder while its files were looked at. Git holds
//! `index.lock` while it writes files, then puts the index in place, then moves `HEAD` or says which merge is open.

use std::time::{Duration, SystemTime};

use git2::Repository;

use super::durable::{Lock, has_other_name};
use crate::chance;

/// A lock older than this was left by a git that was killed, or waits for a person: it keeps nothing from being taken in.
const STALE: Duration = Duration::from_secs(10);
/// For so long after it has put the index in place git may have more to say.
const FRESH: Duration = Duration::from_millis(100);

/// Where they stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    head: Option<Vec<u8>>,
    index: Option<(SystemTime, u64)>,
    locked: bool,
}

impl Mark {
    /// Where they stand now.
    pub fn of(repo: &Repository) -> Mark {
        let index = repo.path().join("index");
        let lock = Lock::path(&index);
        let taken = std::fs::metadata(&lock).and_then(|lock| lock.modified()).ok();
        // One of a time to come is of a clock that was wrong, and one with a second name of an aios that was killed.
        let young = taken.and_then(chance::age).is_some_and(|age| age < STALE);
        let stat = std::fs::metadata(&index).ok();
        Mark {
            head: std::fs::read(repo.path().join("HEAD")).ok(),
            index: stat.and_then(|stat| Some((stat.modified().ok()?, stat.len()))),
            locked: young && !has_other_name(&lock),
        }
    }

    /// Whether git is at work: it holds the index.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// The index, but for what stands in it.
    pub fn index(&self) -> Option<(SystemTime, u64)> {
        self.index
    }

    /// Whether git did nothing between `before` and this, where an index that stands so was written by aios.
    pub fn is_after(&self, before: &Mark, ours: Option<(SystemTime, u64)>) -> bool {
        let same = self.index == before.index || ours.is_some() && self.index == ours;
        same && self.head == before.head && !self.locked && !before.locked
    }

    /// How long it takes until git has surely said all there is to say with this index.
    pub fn unsaid(&self) -> Option<Duration> {
        let (written, _) = self.index?;
        FRESH.checked_sub(chance::age(written)?).filter(|rest| !rest.is_zero())
    }
}
