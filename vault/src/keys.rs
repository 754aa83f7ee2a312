//! Keys and what else must not lie in the vault: device key, operator key, keys of epochs, and the memory of the log's tip.
//!
//! They are kept per device under `AIOS_DATA_DIR` (default: the platform's own place), readable by the user alone.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aios_core::epoch::EpochKey;
use aios_core::id::{DeviceId, EpochId, RecordId};
use aios_core::key::SecretKey;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::chance::random;
use crate::disk::{durable, fault, journal};
use crate::error::Error;
use crate::place;

/// Where the log's tip is remembered.
const MEMORY: &str = "memory.json";
/// Where the keys of epochs lie, a line each.
const EPOCHS: &str = "epochs";
/// From so many bytes on it is written anew.
const MEMORY_MOST: u64 = 8 << 10;

static DATA_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Sets where per-user state lies, for a program that has its own place for it. Only the first call counts.
pub fn use_data_dir(path: &Path) -> &'static Path {
    DATA_DIR.get_or_init(|| path.to_owned())
}

/// Where per-user state lies.
pub fn data_dir() -> Result<PathBuf, Error> {
    #[cfg(any(test, feature = "simulated"))]
    if let Some(dir) = crate::chance::seeded::data_dir() {
        return Ok(dir);
    }
    if let Some(dir) = DATA_DIR.get() {
        return Ok(dir.clone());
    }
    if let Some(dir) = std::env::var_os("AIOS_DATA_DIR").filter(|dir| !dir.is_empty()) {
        return std::path::absolute(&dir).map_err(|e| Error::io("use", Path::new(&dir), e));
    }
    match directories::ProjectDirs::from("", "", "aios") {
        Some(dirs) => Ok(dirs.data_dir().to_owned()),
        None => Err(Error::NoDataDir),
    }
}

/// The keys of one device.
#[derive(Debug, Clone)]
pub struct Keys {
    folder: PathBuf,
    /// The device key: signs records, and is the device's address on the network.
    pub device: SecretKey,
}

/// What the device remembers of its own log, so that a copied or restored folder is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The last record this incarnation wrote.
    pub tip: Option<(u64, RecordId)>,
    /// The Automerge actor of this incarnation, hex.
    pub actor: String,
}

impl Keys {
    /// Makes keys for a new device. `operator` says whether it gets an operator key.
    pub fn create(operator: bool) -> Result<Keys, Error> {
        let device = SecretKey::from_bytes(&random()?);
        let folder = data_dir()?.join("devices").join(device.public().hex());
        place::check_keys(&folder)?;
        make_folder(&folder)?;
        write_secret(&folder.join("device.key"), &device.to_bytes())?;
        if operator {
            write_secret(&folder.join("operator.key"), &random()?)?;
        }
        durable::sync_dir(&folder)?;
        Ok(Keys { folder, device })
    }

    /// Reads the keys of `device`.
    pub fn load(device: &DeviceId) -> Result<Keys, Error> {
        let folder = data_dir()?.join("devices").join(device.hex());
        let path = folder.join("device.key");
        let Some(secret) = read_secret(&path)? else {
            return Err(Error::NoKey { device: *device, folder });
        };
        let key = SecretKey::from_bytes(&secret);
        match key.public() == *device {
            true => Ok(Keys { folder, device: key }),
            false => Err(Error::Key { path, why: "it is the key of another device" }),
        }
    }

    /// The operator key kept on this device, if there is one.
    pub fn operator(&self) -> Result<Option<SecretKey>, Error> {
        Ok(read_secret(&self.folder.join("operator.key"))?.map(|secret| SecretKey::from_bytes(&secret)))
    }

    /// The folder where the device's own state may lie, outside the vault.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The device that this one is to become.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn next(&self) -> Result<Option<DeviceId>, Error> {
        read_device(&self.folder.join("next"))
    }

    /// Notes the device that this one is to become.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn set_next(&self, device: &DeviceId) -> Result<(), Error> {
        Ok(durable::replace(&self.folder.join("next"), format!("{device}\n").as_bytes())?)
    }

    /// Removes the operator key of a device that is no more.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn forget_operator(&self) -> Result<(), Error> {
        let path = self.folder.join("operator.key");
        match path.exists() {
            true => Ok(durable::remove(&path)?),
            false => Ok(()),
        }
    }

    /// The device whose folder this one's was, for as long as nobody else is known to have heard of that.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn was(&self) -> Result<Option<DeviceId>, Error> {
        read_device(&self.folder.join("was"))
    }

    /// Remembers which device's folder this one's was, or that others have heard of it.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn set_was(&self, device: Option<&DeviceId>) -> Result<(), Error> {
        let path = self.folder.join("was");
        match device {
            Some(device) => Ok(durable::replace(&path, format!("{device}\n").as_bytes())?),
            None => match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
                _ => Ok(()),
            },
        }
    }

    /// The keys of epochs that this device was handed.
    ///
    /// # Errors
    /// What the disk answers. A line that is not whole is of a write that never ended.
    pub(crate) fn epochs(&self) -> Result<BTreeMap<EpochId, EpochKey>, Error> {
        let path = self.folder.join(EPOCHS);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| HEXLOWER.decode(line).ok());
        let keys = lines.filter_map(|secret| Some(EpochKey::from_bytes(secret.try_into().ok()?)));
        Ok(keys.map(|key| (key.id(), key)).collect())
    }

    /// Keeps the key of an epoch, durably.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn keep_epoch(&self, key: &EpochKey) -> Result<(), Error> {
        let path = self.folder.join(EPOCHS);
        let wrap = |e| Error::io("write", &path, e);
        let fresh = !path.exists();
        let options = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).clone();
        let mut file = fault::point("keys.epoch").and_then(|()| options.open(&path)).map_err(wrap)?;
        if fresh {
            journal::created(&path, &file);
        }
        // It begins with a line end of its own: what a crash cut off stays a line by itself.
        let line = format!("\n{}\n", HEXLOWER.encode(&key.to_bytes()));
        durable::append(&mut file, line.as_bytes()).map_err(wrap)?;
        durable::sync_file(&file).map_err(wrap)?;
        Ok(durable::sync_dir(&self.folder)?)
    }

    /// Gives the keys of epochs to the device that goes on in the place of this one.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn hand_epochs(&self, to: &Keys) -> Result<(), Error> {
        let known = to.epochs()?;
        let own = self.epochs()?;
        own.into_iter().filter(|(id, _)| !known.contains_key(id)).try_for_each(|(_, key)| to.keep_epoch(&key))
    }

    /// What is remembered of the log: the last line that is whole. Anything unreadable counts as nothing: the cost is a new actor.
    pub fn memory(&self) -> Option<Memory> {
        let text = std::fs::read(self.folder.join(MEMORY)).ok()?;
        text.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok())
    }

    /// Remembers, durably.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn remember(&self, memory: &Memory) -> Result<(), Error> {
        self.note(memory)?;
        self.settle()
    }

    /// What was noted is durable from here on.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        let path = self.folder.join(MEMORY);
        let file = std::fs::File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        durable::sync_file(&file).map_err(|e| Error::io("sync", &path, e))
    }

    /// Remembers, and a power cut may take it back.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn note(&self, memory: &Memory) -> Result<(), Error> {
        let path = self.folder.join(MEMORY);
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, memory)
            .map_err(|_| Error::Key { path: path.clone(), why: "cannot be encoded" })?;
        // A line more costs a third of a file anew; what a crash cut off stays a line of its own.
        let mut file = match std::fs::OpenOptions::new().append(true).open(&path) {
            Ok(file) if file.metadata().is_ok_and(|file| file.len() < MEMORY_MOST) => file,
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("open", &path, e)),
            _ => return Ok(durable::replace(&path, &line)?),
        };
        durable::append(&mut file, &line).map_err(|e| Error::io("write", &path, e))
    }
}

/// A fresh actor: of two that edit at one place, the one that began earlier is shown first.
///
/// Automerge puts the greater of two equal-counter operation ids first, so the time is written inverted.
pub fn new_actor(now_ms: u64) -> Result<[u8; 16], Error> {
    let mut actor = [0u8; 16];
    actor[..8].copy_from_slice(&(u64::MAX - now_ms).to_be_bytes());
    let noise: [u8; 32] = random()?;
    actor[8..].copy_from_slice(&noise[..8]);
    Ok(actor)
}

/// Makes a folder and its parents, durably and for the user alone: a key is no use under a name that a power cut takes away.
fn make_folder(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent().filter(|_| !path.is_dir()) else { return Ok(()) };
    make_folder(parent)?;
    let made =
        fault::point("keys.make_folder").and_then(|()| std::fs::DirBuilder::new().mode(0o700).create(path));
    match made {
        Ok(()) => journal::made_folder(path),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(e) => return Err(Error::io("make", path, e)),
    }
    Ok(durable::sync_dir(parent)?)
}

fn write_secret(path: &Path, secret: &[u8; 32]) -> Result<(), Error> {
    let wrap = |e| Error::io("write", path, e);
    let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
    let mut file = fault::point("keys.create").and_then(|()| options.open(path)).map_err(wrap)?;
    journal::created(path, &file);
    durable::append(&mut file, format!("{}\n", HEXLOWER.encode(secret)).as_bytes()).map_err(wrap)?;
    durable::sync_file(&file).map_err(wrap)
}

fn read_device(path: &Path) -> Result<Option<DeviceId>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

fn read_secret(path: &Path) -> Result<Option<[u8; 32]>, Error> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let bytes = HEXLOWER.decode(text.trim_ascii()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or(Error::Key { path: path.to_owned(), why: "it is not 64 hex digits" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys { folder: dir.path().to_owned(), device: SecretKey::from_bytes(&[7; 32]) };
        assert_eq!(keys.memory(), None);
        let memory = |n: u64| Memory { tip: Some((n, RecordId([n as u8; 32]))), actor: "00".into() };
        let path = dir.path().join(MEMORY);
        for n in 1..200 {
            keys.remember(&memory(n)).unwrap();
            assert_eq!(keys.memory(), Some(memory(n)));
            assert!(path.metadata().unwrap().len() < MEMORY_MOST + 200);
        }
        let whole = std::fs::read(&path).unwrap();
        let last = whole.iter().rposition(|byte| *byte == b'\n').unwrap();
        for cut in last..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(keys.memory(), Some(memory(198)), "{cut}");
        }
        keys.remember(&memory(300)).unwrap();
        assert_eq!(keys.memory(), Some(memory(300)), "after a line that was cut off");
    }
}
