//! The keys of providers of models: a file beside the keys of the device, outside the vault, that its user alone can read. A key stands in it, or which
//! program of the user gives it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aios_vault::disk::durable;
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::unlock;

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
    #[serde(flatten)]
    kept: Kept,
}

/// Where a key is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    /// Here.
    Key(Secret),
    /// A program of the user gives it.
    Program(Vec<String>),
}

/// What is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A key as a person or a program gives it; nothing for what is none.
    pub fn of(text: &str) -> Option<Secret> {
        let key = text.trim();
        let sound = (1..4096).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Secret(key.to_owned()))
    }

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
    pub fn add(&mut self, provider: &str, origin: &str, key: Secret) {
        let held = Held { origin: origin.to_owned(), kept: Kept::Key(key) };
        self.keys.insert(provider.to_owned(), held);
    }

    /// Keeps which program gives the key for a provider at an origin; a key that was here goes.
    pub fn add_program(&mut self, provider: &str, origin: &str, command: &[String]) {
        let held = Held { origin: origin.to_owned(), kept: Kept::Program(command.to_vec()) };
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

    /// The key of a provider at an origin, where there is one; or why its program gives none.
    pub fn key(&self, provider: &str, origin: &str) -> Option<Result<Secret, String>> {
        let held = self.keys.get(provider).filter(|held| held.origin == origin)?;
        Some(match &held.kept {
            Kept::Key(key) => Ok(key.clone()),
            Kept::Program(command) => unlock::key(command),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_one_place_and_is_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keyring::default();
        keys.add("openai", "https://api.example", Secret("sk-secret".into()));
        keys.add_program("other", "https://other.example", &["echo".into(), "sk-given".into()]);
        keys.save(dir.path()).unwrap();
        let mode = dir.path().join(NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let keys = Keyring::load(dir.path()).unwrap();
        let key =
            |name: &str, origin: &str| keys.key(name, origin).map(|key| key.unwrap().reveal().to_owned());
        assert_eq!(key("openai", "https://api.example").as_deref(), Some("sk-secret"));
        assert_eq!(key("other", "https://other.example").as_deref(), Some("sk-given"));
        assert!(key("other", "https://api.example").is_none());
        // As it was written before there were programs.
        let before = r#"{"keys": {"a": {"origin": "https://a.example", "key": "sk-old"}}}"#;
        std::fs::write(dir.path().join(NAME), before).unwrap();
        let old = Keyring::load(dir.path()).unwrap();
        assert!(old.key("a", "https://a.example").is_some_and(|key| key.unwrap().reveal() == "sk-old"));
        assert!(keys.key("openai", "https://other.example").is_none());
        assert!(!format!("{keys:?}").contains("sk-secret"));
    }
}
