//! Which hooks there are: a file beside the keys, outside the vault. Of a token it has the hash alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use aios_core::id::ContentHash;
use aios_vault::chance::random;
use aios_vault::disk::durable;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

const NAME: &str = "hooks.json";
/// Where hooks are listened for where nobody says so.
const PORT: u16 = 8787;

/// The hooks of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Where they are listened for: on this machine alone, without more.
    pub listen: SocketAddr,
    /// The hash of the token of each, by path.
    pub hooks: BTreeMap<String, ContentHash>,
}

impl Default for Book {
    fn default() -> Book {
        Book { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), hooks: BTreeMap::new() }
    }
}

fn hash(token: &str) -> ContentHash {
    ContentHash::of(format!("aios-hook-v1\n{token}").as_bytes())
}

impl Book {
    /// The one in the folder of a device's keys; an empty one where there is none.
    pub fn load(folder: &Path) -> Result<Book, CliError> {
        let path = folder.join(NAME);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                let hint = format!("remove {} and add the hooks again", path.display());
                CliError::failed(format!("the list of hooks cannot be read: {e}"), hint)
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Book::default()),
            Err(e) => Err(CliError::io(format!("read {}", path.display()), e)),
        }
    }

    /// Writes it; when it returns, it lasts.
    pub fn save(&self, folder: &Path) -> Result<(), CliError> {
        let path = folder.join(NAME);
        let wrap = |e| CliError::io(format!("write {}", path.display()), e);
        let bytes = serde_json::to_vec(self).map_err(|e| wrap(e.into()))?;
        durable::replace(&path, &bytes).map_err(|e| wrap(std::io::Error::other(e)))
    }

    /// Adds a hook, with a new token in place of one that it had. The token is nowhere else.
    pub fn add(&mut self, path: &str) -> Result<String, CliError> {
        let token = HEXLOWER.encode(&random()?);
        self.hooks.insert(path.to_owned(), hash(&token));
        Ok(token)
    }

    /// Whether a token is that of a hook.
    pub fn lets_in(&self, path: &str, token: &str) -> bool {
        // Of hashes nothing is learned from how long it takes to compare them.
        self.hooks.get(path) == Some(&hash(token))
    }
}
