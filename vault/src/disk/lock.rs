//! The lock of a vault: one process at a time changes its files and its log.
//!
//! An advisory lock of the kernel on `.aios/lock` (`flock`): it ends with the process, however that ends,
//! so there is never a stale lock to remove. The file holds the holder's process id, for messages only.

use super::DiskError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait between two attempts.
const POLL: Duration = Duration::from_millis(10);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("the vault is in use by {} ({})", holder(*pid), path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder's process id, if it has been written yet.
        pid: Option<u32>,
    },
    /// The file system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// What the one who held it before left in the file.
    before: String,
    /// What this one left: no two are the same.
    own: String,
}

impl Lock {
    /// Takes the lock at `path` (`.aios/lock`, created if missing), waiting up to `wait`.
    ///
    /// # Errors
    /// [`LockError::Held`] if another handle held it all the time, of this process or another.
    pub fn take(path: &Path, wait: Duration) -> Result<Self, LockError> {
        let wrap = |e| DiskError::new("lock", path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(wrap)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(wrap(e).into()),
                Err(TryLockError::WouldBlock) => {
                    let left = wait.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        let mut text = String::new();
                        let read = file.read_to_string(&mut text).ok();
                        let pid = read.and_then(|_| text.split_whitespace().next()?.parse().ok());
                        return Err(LockError::Held { path: path.to_path_buf(), pid });
                    }
                    std::thread::sleep(POLL.min(left));
                }
            }
        }
        let mut before = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut before)).map_err(wrap)?;
        // In place and always as long: ext4 makes the one who empties a file wait for the disk.
        let own = format!("{:10} {:<44}\n", std::process::id(), super::temp::nonce());
        file.rewind().and_then(|()| file.write_all(own.as_bytes())).map_err(wrap)?;
        Ok(Self { _file: file, before, own })
    }

    /// What tells this holding from every other.
    pub fn token(&self) -> &str {
        &self.own
    }

    /// Whether nobody else held it since the holding with this token.
    pub fn follows(&self, token: &str) -> bool {
        self.before == token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_waits_and_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, Duration::ZERO).unwrap();
        let refused = Lock::take(&path, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(&path, Duration::from_secs(20)).is_ok()
        });
        drop(first);
        assert!(second.join().unwrap());
    }

    #[test]
    fn a_missing_folder_is_not_a_held_lock() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Lock::take(&dir.path().join("no/lock"), Duration::ZERO), Err(LockError::Disk(_))));
    }
}
