//! What is remembered of a remote: what was proven there, so that it is read once. May be deleted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aios_core::frontier::View;
use aios_core::id::GitId;
use aios_vault::disk::durable;
use aios_vault::layout::Layout;
use serde::{Deserialize, Serialize};

use super::RemoteError;

/// What is remembered of one remote.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it was when this was written.
    pub url: String,
    /// Names of files or blobs that hold what they say, as read by this device.
    pub proven: BTreeSet<String>,
    /// The commit up to which published files were looked through for secrets.
    pub scanned: Option<GitId>,
    /// Where `main` was there, when last seen.
    pub main: Option<GitId>,
    /// When it was last reached, ms since the Unix epoch.
    pub seen: Option<u64>,
    /// What it held when all that was here was last read back from it (I12).
    pub holds: Option<View>,
}

impl State {
    /// Of the remote `name` at `url`; nothing where that cannot be read.
    pub fn load(root: &Path, name: &str, url: &str) -> State {
        let text = std::fs::read(path(root, name)).unwrap_or_default();
        let found = serde_json::from_slice::<State>(&text).ok().filter(|state| state.url == url);
        found.unwrap_or_else(|| State { url: url.to_owned(), ..State::default() })
    }

    /// Remembers it, durably.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn save(&self, root: &Path, name: &str) -> Result<(), RemoteError> {
        let path = path(root, name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| RemoteError::io("make", folder, e))?;
        }
        let text = serde_json::to_vec(self)
            .map_err(|e| RemoteError::Config { path: path.clone(), why: e.to_string() })?;
        Ok(durable::replace(&path, &text)?)
    }

    /// Forgets it.
    pub fn forget(root: &Path, name: &str) {
        // What stays is bound to the address, and costs only its bytes.
        let _ = std::fs::remove_file(path(root, name));
    }
}

fn path(root: &Path, name: &str) -> PathBuf {
    Layout::new(root).own().join("remotes").join(format!("{name}.json"))
}
