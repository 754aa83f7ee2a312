//! A version of an agent, named so that every device finds the same: its file, and all that it refers to.

use std::collections::BTreeMap;

use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};

use super::{Entry, File, Registry};

/// A version of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edition {
    /// What runs name it by.
    pub version: ContentHash,
    /// The versions of its file and of all that it refers to, by path.
    pub files: BTreeMap<String, ContentHash>,
}

impl Edition {
    /// That of an agent as it was read.
    pub fn of(entry: &Entry) -> Edition {
        Edition { version: entry.version, files: entry.files.clone() }
    }

    /// The agent, read from the texts of its files; nothing where these are not what the edition says, or cannot be read.
    pub fn read(&self, name: &str, texts: &BTreeMap<String, String>) -> Option<Entry> {
        let file = |(path, text): (&String, &String)| {
            let found = File {
                path: path.clone(),
                name: stem(path),
                version: *self.files.get(path)?,
                text: text.clone(),
            };
            Some(found)
        };
        let files: Vec<File> = texts.iter().map(file).collect::<Option<_>>()?;
        let (mut registry, _) = Registry::of(&files);
        registry.agents.remove(name).filter(|entry| Edition::of(entry) == *self)
    }
}

/// The name of a file: without folder and ending.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".md").unwrap_or(name).to_owned()
}
