//! Clock and random numbers: the system's, or in a test those of a seed, so that a run comes back as it was.

use crate::error::Error;

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    #[cfg(any(test, feature = "simulated"))]
    if let Some(now) = seeded::now_ms() {
        return now;
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Nanoseconds since the Unix epoch, to compare with when a file was written. The disk dates by a clock of its own: where a seed
/// gives the time no file is ever old, so that none is believed unread.
pub(crate) fn now_ns() -> i64 {
    #[cfg(any(test, feature = "simulated"))]
    if seeded::is_simulated() {
        return 0;
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// How long ago a file was written last; `None` where that is yet to be.
pub(crate) fn age(written: std::time::SystemTime) -> Option<std::time::Duration> {
    #[cfg(any(test, feature = "simulated"))]
    if let Some(age) = seeded::age() {
        return Some(age);
    }
    std::time::SystemTime::now().duration_since(written).ok()
}

/// 32 random bytes.
///
/// # Errors
/// [`Error::Random`] when the system has none.
pub fn random() -> Result<[u8; 32], Error> {
    #[cfg(any(test, feature = "simulated"))]
    if let Some(bytes) = seeded::random() {
        return Ok(bytes);
    }
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| Error::Random(e.to_string()))?;
    Ok(bytes)
}

/// Waits, but where a seed gives the time.
pub(crate) fn pause(time: std::time::Duration) {
    #[cfg(any(test, feature = "simulated"))]
    if seeded::is_simulated() {
        return;
    }
    std::thread::sleep(time);
}

/// What this thread gets instead of the system's, where a test has set it.
#[cfg(any(test, feature = "simulated"))]
pub mod seeded {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    struct Seeded {
        seed: u64,
        drawn: u64,
        data_dir: PathBuf,
        /// What the clock shows, where it was set.
        now: Option<u64>,
        /// How old every file is where the clock was set: when it was written, the disk says by a clock of its own.
        age: Duration,
    }

    thread_local! { static SEEDED: RefCell<Option<Seeded>> = const { RefCell::new(None) }; }

    /// From now on all chance on this thread comes of `seed`, and keys lie in `data_dir`.
    pub fn begin(seed: u64, data_dir: &Path) {
        SEEDED.set(Some(Seeded {
            seed,
            drawn: 0,
            data_dir: data_dir.to_owned(),
            now: None,
            age: Duration::ZERO,
        }));
    }

    /// Sets the clock, which stands from now on.
    pub fn set_clock(ms: u64) {
        SEEDED.with_borrow_mut(|seeded| {
            if let Some(seeded) = seeded {
                seeded.now = Some(ms);
            }
        });
    }

    /// Sets how old every file is from now on.
    pub fn set_age(age: Duration) {
        SEEDED.with_borrow_mut(|seeded| {
            if let Some(seeded) = seeded {
                seeded.age = age;
            }
        });
    }

    pub(super) fn age() -> Option<Duration> {
        SEEDED.with_borrow(|seeded| {
            seeded.as_ref().filter(|seeded| seeded.now.is_some()).map(|seeded| seeded.age)
        })
    }

    pub(super) fn is_simulated() -> bool {
        SEEDED.with_borrow(|seeded| seeded.as_ref().is_some_and(|seeded| seeded.now.is_some()))
    }

    /// A process has ended: what it kept in memory of the vault at `root` beside the vault itself is gone.
    pub fn forget(root: &Path) {
        crate::git::simulated::forget(root);
    }

    /// Ends what [`begin`] began.
    pub fn end() {
        SEEDED.set(None);
    }

    /// Where keys lie.
    pub fn data_dir() -> Option<PathBuf> {
        SEEDED.with_borrow(|seeded| seeded.as_ref().map(|seeded| seeded.data_dir.clone()))
    }

    pub(super) fn random() -> Option<[u8; 32]> {
        SEEDED.with_borrow_mut(|seeded| {
            let seeded = seeded.as_mut()?;
            seeded.drawn += 1;
            Some(*blake3::hash(format!("{} {}", seeded.seed, seeded.drawn).as_bytes()).as_bytes())
        })
    }

    /// A clock that goes on by a few milliseconds whenever it is looked at, and sometimes stands.
    pub(super) fn now_ms() -> Option<u64> {
        if let Some(now) = SEEDED.with_borrow(|seeded| seeded.as_ref()?.now) {
            return Some(now);
        }
        let [step, ..] = random()?;
        SEEDED
            .with_borrow(|seeded| Some(1_800_000_000_000 + seeded.as_ref()?.drawn * 4 + u64::from(step % 5)))
    }
}
