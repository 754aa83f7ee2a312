//! The versions of an agent that were in force, found in what the operator accepted.

use std::collections::BTreeMap;

use aios_agents::agent::{Entry, File, Registry};
use aios_core::id::ContentHash;
use aios_vault::accept::is_component;
use aios_vault::{Error, Vault};

use crate::command::written::stem;

/// A version, and since when it was in force.
#[derive(Debug, Clone)]
pub struct InForce {
    /// When it was accepted, in ms.
    pub since: u64,
    /// The agent.
    pub entry: Entry,
}

/// Those of an agent, one after the other; the last is in force now. One that came back stands there again.
///
/// # Errors
/// What the vault answers.
pub fn editions(vault: &mut Vault, name: &str) -> Result<Vec<InForce>, Error> {
    let acceptances = vault.acceptances_in("agents");
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    let mut out: Vec<InForce> = Vec::new();
    // What one record accepted came in force at once.
    for together in acceptances.chunk_by(|a, b| a.0 == b.0) {
        for (_, path, version) in together {
            if is_component(path) {
                match *version == ContentHash::NONE {
                    true => _ = files.remove(path),
                    false => _ = files.insert(path.clone(), File::component(path.clone(), *version)),
                }
                continue;
            }
            match vault.text_at_version(path, version) {
                Ok(Some(text)) => {
                    let file = File { path: path.clone(), name: stem(path), version: *version, text };
                    files.insert(path.clone(), file);
                }
                // What was forgotten cannot work again.
                Ok(None) | Err(Error::InForce { .. }) => _ = files.remove(path),
                Err(e) => return Err(e),
            }
        }
        let all: Vec<File> = files.values().cloned().collect();
        let entry = Registry::of(&all).0.agents.remove(name);
        if let (Some(entry), Some((stamp, ..))) = (entry, together.first())
            && out.last().is_none_or(|last| last.entry.version != entry.version)
        {
            out.push(InForce { since: stamp.clock().0, entry });
        }
    }
    Ok(out)
}

/// The one whose version begins so; nothing where none does, or several.
pub fn of_version<'e>(editions: &'e [InForce], prefix: &str) -> Option<&'e InForce> {
    let fits = |it: &&InForce| it.entry.version.hex().starts_with(prefix);
    let found = editions.iter().rfind(fits)?;
    let version: ContentHash = found.entry.version;
    editions.iter().filter(fits).all(|it| it.entry.version == version).then_some(found)
}
