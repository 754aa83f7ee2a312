//! The names in `.aios/tmp`, which after a crash tell whose content lies there.
//!
//! `n.NONCE` is content of ours that was never offered to a reader. Before an exchange it is renamed to
//! `x.NONCE.NEW.OLD.TARGET.PATH`: what lies under such a name is ours if its hash begins with NEW, what we
//! meant to replace (and have in the log) if it begins with OLD, and otherwise something a person or program
//! saved in the meantime, which must be absorbed (I2). Content is synced before it gets an `x.` name, so
//! no torn write of ours is ever taken for a person's. NEW is `-` for a removal; hashes are the first 16
//! bytes of BLAKE3 in hex; TARGET is the hash of the path, and PATH the path itself if it fits.

use super::read::read_in;
use super::{DiskError, Folder, ReadError, folder};
use blake3::Hash;
use rustix::fs::Dir;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest name that every file system takes, less the prefix of a held exchange.
const LONGEST: usize = 255 - folder::HELD.len();

/// Whose content a [`Leftover`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Ours, or what we meant to replace and have in the log: to be deleted.
    Own,
    /// Saved by a person or program and displaced before it was absorbed: to be absorbed, then deleted.
    Displaced,
    /// Of no form that this layer writes: to be left alone and shown.
    Unknown,
}

/// Something found in `.aios/tmp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its name in `.aios/tmp`.
    pub name: String,
    /// Whose it is.
    pub origin: Origin,
    /// The path in the vault it came from or was meant for, if it is known and fitted in the name.
    pub path: Option<String>,
    /// [`path_key`] of that path, for longer ones.
    pub key: Option<String>,
    /// The first 32 hex digits of the BLAKE3 hash of what was to be replaced there.
    pub old: Option<String>,
}

/// What a leftover's name says of its path: 32 hex digits of BLAKE3 of the path.
pub fn path_key(path: &str) -> String {
    short(blake3::hash(path.as_bytes()))
}

fn short(hash: Hash) -> String {
    hash.to_hex().as_str().get(..32).unwrap_or_default().to_owned()
}

/// A word no other call has used: process, time, counter.
pub(super) fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!("{:x}-{now:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The name of content that is being written.
pub(super) fn staged(nonce: &str) -> String {
    format!("n.{nonce}")
}

/// The name under which `new` is exchanged with the content `old` of `path`.
pub(super) fn exchanged(nonce: &str, new: Option<Hash>, old: Hash, path: &str) -> String {
    let new = new.map_or_else(|| "-".to_owned(), short);
    let mut name = format!("x.{nonce}.{new}.{}.{}.", short(old), path_key(path));
    let escaped = path.replace('%', "%25").replace('/', "%2F");
    if name.len() + escaped.len() <= LONGEST {
        name.push_str(&escaped);
    }
    name
}

/// What lies in the folder of temporary files `tmp`, sorted by name. Only while nothing is being written.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub(super) fn leftovers(tmp: &Folder) -> Result<Vec<Leftover>, ReadError> {
    let wrap = |e: rustix::io::Errno| DiskError::new("list", tmp.path(), e);
    let mut found = Vec::new();
    for entry in Dir::read_from(tmp.fd()).map_err(wrap)? {
        let entry = entry.map_err(wrap)?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            bytes => found.push(match std::str::from_utf8(bytes) {
                Ok(name) => judge(tmp, name)?,
                Err(_) => unknown(bytes.escape_ascii().to_string()),
            }),
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn unknown(name: String) -> Leftover {
    Leftover { name, origin: Origin::Unknown, path: None, key: None, old: None }
}

fn judge(tmp: &Folder, name: &str) -> Result<Leftover, ReadError> {
    let parts: Vec<&str> = name.strip_prefix(folder::HELD).unwrap_or(name).splitn(6, '.').collect();
    let [kind, rest @ ..] = parts.as_slice() else { return Ok(unknown(name.to_owned())) };
    Ok(match (*kind, rest) {
        ("n", [_]) => {
            Leftover { name: name.to_owned(), origin: Origin::Own, path: None, key: None, old: None }
        }
        ("x", [_, new, old, key, path]) => {
            let origin = match read_in(tmp, name, name, 0) {
                Ok(read) if [*new, *old].contains(&short(read.hash).as_str()) => Origin::Own,
                // What is still being written is somebody's.
                Ok(_) | Err(ReadError::Changing(_)) => Origin::Displaced,
                Err(ReadError::NotAFile(_)) => Origin::Unknown,
                Err(e) => return Err(e),
            };
            let path = (!path.is_empty()).then(|| path.replace("%2F", "/").replace("%25", "%"));
            Leftover {
                name: name.to_owned(),
                origin,
                path,
                key: Some((*key).to_owned()),
                old: Some((*old).to_owned()),
            }
        }
        _ => unknown(name.to_owned()),
    })
}
