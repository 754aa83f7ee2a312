//! One process at a time exchanges with a remote, and what one that was killed left in the way is taken away.

use std::path::Path;
use std::time::Duration;

use aios_vault::disk::{Lock, LockError};
use aios_vault::layout::Layout;

use super::RemoteError;

/// The turn of this process with one remote; dropping it lets the next one.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held for as long as it lives")] Lock);

impl Turn {
    /// Takes the turn with the remote `name` of the vault at `root`, waiting up to `wait`. Refs of it that a killed git left locked are
    /// free then: nobody else writes them.
    ///
    /// # Errors
    /// [`RemoteError::Late`] where another process had it all the time.
    pub fn take(root: &Path, name: &str, wait: Duration) -> Result<Turn, RemoteError> {
        let folder = Layout::new(root).own().join("remotes");
        std::fs::create_dir_all(&folder).map_err(|e| RemoteError::io("make", &folder, e))?;
        let lock = Lock::take(&folder.join(format!("{name}.lock")), wait).map_err(|e| match e {
            LockError::Held { .. } => RemoteError::Late { name: name.to_owned(), seconds: wait.as_secs() },
            LockError::Disk(e) => e.into(),
            e => RemoteError::Absent(e.to_string()),
        })?;
        unlock(&root.join(".git/refs/aios/remote").join(name));
        Ok(Turn(lock))
    }
}

/// Removes the locks of refs below a folder.
fn unlock(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            unlock(&path);
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            tracing::warn!(path = %path.display(), "a killed git left it");
            // One that stays is told by the git that meets it.
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_and_finds_no_lock_of_a_killed_git() {
        let dir = tempfile::tempdir().unwrap();
        let refs = dir.path().join(".git/refs/aios/remote/hub/log");
        std::fs::create_dir_all(&refs).unwrap();
        std::fs::write(refs.join("ab.lock"), "").unwrap();
        std::fs::write(refs.join("ab"), "kept").unwrap();
        let turn = Turn::take(dir.path(), "hub", Duration::ZERO).unwrap();
        assert!(!refs.join("ab.lock").exists() && refs.join("ab").exists());
        let other = Turn::take(dir.path(), "hub", Duration::ZERO);
        assert!(matches!(other, Err(RemoteError::Late { .. })));
        Turn::take(dir.path(), "usb", Duration::ZERO).unwrap();
        drop(turn);
        Turn::take(dir.path(), "hub", Duration::ZERO).unwrap();
    }
}
