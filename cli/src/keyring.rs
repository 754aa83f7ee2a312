//! The keys of providers of models: a file beside the keys of the device, outside the vault, that its user alone can read.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aios_vault::disk::durable;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

const NAME: &str = "providers.json";

/// The keys of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    keys: BTreeMap<String, Held>,
}

/// A key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Whom it is for: scheme, host and port. It goes nowhere else, whatever a file says later.
    origin: String,
    key: Secret,
}

/// What is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The key, to be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Keyring {
    /// The one in the folder of a device's keys; an empty one where there is none.
    pub fn load(folder: &Path) -> io::Result<Keyring> {
        match std::fs::read(folder.join(NAME)) {
            // What stands in it is in no message.
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| io::Error::other(format!("{NAME} is damaged")))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Keyring::default()),
            Err(e) => Err(e),
        }
    }

    /// Writes it; when it returns, it lasts.
    pub fn save(&self, folder: &Path) -> Result<(), CliError> {
        let path = folder.join(NAME);
        let wrap = |e| CliError::io(format!("write {}", path.display()), e);
        let bytes = serde_json::to_vec(self).map_err(|_| wrap(io::Error::other("it is no JSON")))?;
        // The folder is the user's alone, so nobody looks in between.
        durable::replace(&path, &bytes).map_err(|e| wrap(io::Error::other(e)))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(wrap)
    }

    /// Keeps a key for a provider at an origin.
    pub fn add(&mut self, provider: &str, origin: &str, key: &str) {
        let held = Held { origin: origin.to_owned(), key: Secret(key.to_owned()) };
        self.keys.insert(provider.to_owned(), held);
    }

    /// Forgets a key; whether there was one.
    pub fn remove(&mut self, provider: &str) -> bool {
        self.keys.remove(provider).is_some()
    }

    /// Whether there is a key for a provider, and for where it was given.
    pub fn origin(&self, provider: &str) -> Option<&str> {
        self.keys.get(provider).map(|held| held.origin.as_str())
    }

    /// The key of a provider at an origin.
    pub fn key(&self, provider: &str, origin: &str) -> Option<&Secret> {
        self.keys.get(provider).filter(|held| held.origin == origin).map(|held| &held.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_one_place_and_is_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keyring::default();
        keys.add("openai", "https://api.example", "sk-secret");
        keys.save(dir.path()).unwrap();
        let mode = dir.path().join(NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let keys = Keyring::load(dir.path()).unwrap();
        assert_eq!(keys.key("openai", "https://api.example").map(Secret::reveal), Some("sk-secret"));
        assert!(keys.key("openai", "https://other.example").is_none());
        assert!(!format!("{keys:?}").contains("sk-secret"));
    }
}
