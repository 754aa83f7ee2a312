//! What this device knows of all work, remembered beside the keys: whoever starts goes on from there and reads only the records that came since.
//!
//! It follows from the log and may be missing. It counts only for the program that wrote it and where the same may be said by the same, and only
//! with the seal that the device's key makes: who can write files and has no key cannot put words into the log with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aios_agents::kernel::{Image, Kernel};
use aios_core::frontier::View;
use aios_core::id::{ContentHash, DeviceId, VaultId};
use aios_vault::Vault;
use aios_vault::disk::durable;
use aios_vault::work::Happened;
use serde::{Deserialize, Serialize};

use crate::force::Standing;

const NAME: &str = "work";
/// It is not written for fewer events than that.
const LEAST: usize = 500;
/// Nor before there are so many more than it holds: 1 of so many.
const SHARE: usize = 8;

/// For whom it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Terms {
    program: String,
    vault: VaultId,
    device: DeviceId,
    maker: Option<DeviceId>,
    operators: BTreeSet<DeviceId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    terms: Terms,
    /// The records that it holds.
    view: View,
    /// How many events are in them.
    events: usize,
}

/// Where the device begins.
#[derive(Debug)]
pub struct Checkpoint {
    /// The records that it holds.
    pub view: View,
    /// What they come to.
    pub image: Image,
    /// How many events are in them.
    pub events: usize,
}

/// How far what is remembered is behind, in events.
#[derive(Debug, Default)]
pub struct Distance {
    /// Those that are remembered.
    kept: usize,
    /// Those that are not.
    since: usize,
}

impl Distance {
    /// Nothing is behind what was read; this much is remembered.
    pub fn from(kept: usize) -> Distance {
        Distance { kept, since: 0 }
    }

    /// More came.
    pub fn add(&mut self, events: usize) {
        self.since += events;
    }

    /// Records came.
    pub fn hear(&mut self, happened: &[Happened]) {
        self.add(happened.iter().map(|(_, events)| events.len()).sum());
    }

    /// Whether it is time to remember anew.
    pub fn is_far(&self) -> bool {
        self.since >= LEAST.max(self.kept / SHARE)
    }
}

/// The program that reads what it wrote: another one may fold otherwise.
fn program() -> String {
    use std::os::unix::fs::MetadataExt;
    let file = std::env::current_exe().and_then(std::fs::metadata);
    let file = file.map(|it| (it.ino(), it.len(), it.mtime(), it.mtime_nsec())).unwrap_or_default();
    format!("{} {file:?}", env!("CARGO_PKG_VERSION"))
}

fn terms(vault: &Vault, standing: &Standing) -> Terms {
    Terms {
        program: program(),
        vault: vault.id(),
        device: vault.device(),
        maker: vault.made_by(),
        operators: standing.operators.clone(),
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// What only the device that has the key can say of these bytes.
fn seal(vault: &Vault, bytes: &[u8]) -> ContentHash {
    let mut text = b"aios-work-v1\n".to_vec();
    text.extend_from_slice(&vault.device_key().to_bytes());
    text.extend_from_slice(&ContentHash::of(bytes).0);
    ContentHash::of(&text)
}

/// What is remembered, where it counts.
pub fn read(vault: &Vault, standing: &Standing) -> Option<Checkpoint> {
    let bytes = std::fs::read(path(vault.own_folder())).ok()?;
    let (sealed, bytes) = bytes.split_at_checked(32)?;
    if sealed != seal(vault, bytes).0 {
        tracing::info!("what was remembered of work is not what this device wrote");
        return None;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    if head.terms != terms(vault, standing) {
        return None;
    }
    match Image::read(&bytes[end + 1..]) {
        Ok(image) => {
            tracing::debug!("{} events of work are remembered", head.events);
            Some(Checkpoint { view: head.view, image, events: head.events })
        }
        Err(e) => {
            tracing::info!("what was remembered of work cannot be read: {e}");
            None
        }
    }
}

/// Remembers what a kernel knows, which are exactly the records in `view`.
///
/// # Errors
/// Why not; nothing is lost by it but time.
pub fn write(
    vault: &Vault,
    standing: &Standing,
    view: &View,
    kernel: &Kernel,
    distance: &mut Distance,
) -> Result<(), String> {
    let events = distance.kept + distance.since;
    // Whether it is written or not, it is tried again after as much more.
    *distance = Distance::from(events);
    let head = Head { terms: terms(vault, standing), view: view.clone(), events };
    let mut text = serde_json::to_vec(&head).map_err(|e| e.to_string())?;
    text.push(b'\n');
    text.extend(kernel.image().map_err(|e| e.to_string())?);
    let mut bytes = seal(vault, &text).0.to_vec();
    bytes.append(&mut text);
    durable::replace(&path(vault.own_folder()), &bytes).map_err(|e| e.to_string())
}
