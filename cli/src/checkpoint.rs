//! What this device knows of all work, remembered beside the keys: whoever starts goes on from there and reads only the records that came since.
//!
//! What is over lies in files of its own, `work-HASH`, and is read where it is asked for: the hashes of their indexes are in the first, and those
//! of all blocks in the indexes. It follows from the log and may be missing. It counts only for the program that wrote it and where the same may be said by the same, and only
//! with the seal that the device's key makes: who can write files and has no key cannot put words into the log with it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use aios_agents::kernel::{Image, Kernel, Remembered};
use aios_agents::table::{Bytes, Title};
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
/// It is written for so many, however much it holds: so long they take to fold.
const MOST: usize = 5_000;

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
        self.since >= (self.kept / SHARE).clamp(LEAST, MOST)
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

/// The file that names the others.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

fn run_path(folder: &Path, title: &Title) -> PathBuf {
    folder.join(format!("{NAME}-{}", title.hash.short(32)))
}

/// A run.
#[derive(Debug)]
struct Run {
    file: File,
    folder: PathBuf,
}

/// What could not be read in this process.
static FAULT: OnceLock<String> = OnceLock::new();

/// What could not be read: then what was said of work may lack something.
pub fn fault() -> Option<&'static str> {
    FAULT.get().map(String::as_str)
}

impl Bytes for Run {
    fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn fails(&self, why: &str) {
        FAULT.get_or_init(|| why.to_owned());
        let path = path(&self.folder);
        if path.exists()
            && let Err(e) = durable::remove(&path)
        {
            tracing::warn!("what was remembered of work cannot be read, nor be forgotten: {e}");
        }
    }
}

/// Writes to the end of a file.
struct End(File);

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        durable::append(&mut self.0, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(folder: &Path, title: &Title) -> io::Result<Arc<dyn Bytes>> {
    Ok(Arc::new(Run { file: File::open(run_path(folder, title))?, folder: folder.to_owned() }))
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
    // Another process may have written it anew between its first file and the others.
    read_once(vault, standing).or_else(|| read_once(vault, standing))
}

fn read_once(vault: &Vault, standing: &Standing) -> Option<Checkpoint> {
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
    match Image::read(&bytes[end + 1..], &|title| open(vault.own_folder(), title)) {
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

/// Remembers what a kernel knows, which are exactly the records in `view`; the kernel then lets go of what is read where it is asked for.
///
/// # Errors
/// Why not; nothing is lost by it but time.
pub fn write(
    vault: &Vault,
    standing: &Standing,
    view: &View,
    kernel: &mut Kernel,
    distance: &mut Distance,
) -> Result<(), String> {
    let events = distance.kept + distance.since;
    // Whether it is written or not, it is tried again after as much more.
    *distance = Distance::from(events);
    let folder = vault.own_folder();
    // Another process may have removed those that this one still reads.
    let whole = !kernel.runs().all(|title| run_path(folder, title).exists());
    let new = folder.join(format!("{NAME}.run.new"));
    // Who was killed left it.
    if new.exists() {
        durable::remove(&new).map_err(|e| e.to_string())?;
    }
    let file = durable::write_new(&new, &[]).map_err(|e| e.to_string())?;
    let mut out = BufWriter::with_capacity(1 << 20, End(file));
    let Remembered { head: image, runs } = kernel.image(&mut out, whole).map_err(|e| e.to_string())?;
    let End(file) = out.into_inner().map_err(|e| e.to_string())?;
    durable::sync_file(&file).map_err(|e| e.to_string())?;
    durable::rename(&new, &run_path(folder, &runs[0])).map_err(|e| e.to_string())?;
    durable::sync_dir(folder).map_err(|e| e.to_string())?;
    let head = Head { terms: terms(vault, standing), view: view.clone(), events };
    let mut text = serde_json::to_vec(&head).map_err(|e| e.to_string())?;
    text.push(b'\n');
    text.extend_from_slice(&image);
    let mut bytes = seal(vault, &text).0.to_vec();
    bytes.append(&mut text);
    durable::replace(&path(folder), &bytes).map_err(|e| e.to_string())?;
    let image = Image::read(&image, &|title| open(folder, title)).map_err(|e| e.to_string())?;
    kernel.go_by(image);
    forget_others(folder, &runs).map_err(|e| e.to_string())
}

/// Removes the runs that nothing names any more. Who has one open still reads it.
fn forget_others(folder: &Path, runs: &[Title]) -> io::Result<()> {
    let named: BTreeSet<PathBuf> = runs.iter().map(|title| run_path(folder, title)).collect();
    let prefix = format!("{NAME}-");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_run =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|it| it.starts_with(&prefix));
        if is_run && !named.contains(&path) {
            durable::remove(&path).map_err(io::Error::other)?;
        }
    }
    Ok(())
}
