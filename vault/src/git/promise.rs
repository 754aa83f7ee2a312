//! Objects that are elsewhere on purpose, in the words git has for a partial clone (`partial-clone` in git's technical documentation):
//! what a pack with a `.promisor` file names may be missing, where a remote is set to have it.
//!
//! The pack holds one tree that names them all. It is reached by nothing and read by nobody but git.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository};

use super::pack::{PackIndex, PackWriter};
use super::{Error, durable, object_id};

/// The remote that git is told to have the objects. Its address is what git says when somebody wants one of them.
const REMOTE: &str = "remote.aios-fetch";
const ADDRESS: &str = "a device of this vault, run `aios fetch PATH` to get the bytes";
/// What is in the `.promisor` files written here, which tells them from git's own.
const OURS: &[u8] = b"aios\n";

fn key(name: &str) -> String {
    format!("{REMOTE}.{name}")
}

/// Whether git was told of such objects.
///
/// # Errors
/// When the configuration cannot be read.
pub fn has_promised(repo: &Repository) -> Result<bool, Error> {
    let failed = |e| Error::git("reading the configuration")(e);
    let config = repo.config().and_then(|mut config| config.snapshot()).map_err(failed)?;
    Ok(config.get_bool(&key("promisor")).unwrap_or(false))
}

/// Has git take these objects, and no others, for objects that are elsewhere.
///
/// # Errors
/// [`Error::Git`] or [`Error::Io`].
pub fn promise(repo: &Repository, absent: &BTreeSet<Oid>) -> Result<(), Error> {
    let objects = repo.commondir().join("objects");
    let tree = tree(absent);
    let id = object_id(ObjectType::Tree, &tree)?;
    let promised = promisors(&objects.join("pack"))?;
    if !absent.is_empty() {
        let mut known = false;
        for (pack, _) in &promised {
            let index = pack.with_extension("idx");
            known |= index.exists() && PackIndex::open(&index)?.contains(id);
        }
        if !known {
            let mut pack = PackWriter::new(&objects, 1)?;
            pack.add(ObjectType::Tree, &tree)?;
            if let Some(pack) = pack.finish(true)? {
                // Killed before it, the same pack is written again by the next round.
                durable::replace(&pack.path.with_extension("promisor"), OURS)?;
            }
        }
    }
    configure(repo, !absent.is_empty())?;
    // After the new one: what stays away was promised at every instant.
    for (pack, ours) in promised.into_iter().filter(|(_, ours)| *ours) {
        let index = pack.with_extension("idx");
        let stays = !absent.is_empty() && index.exists() && PackIndex::open(&index)?.contains(id);
        if ours && !stays {
            for extension in ["idx", "rev", "pack", "promisor"] {
                durable::remove(&pack.with_extension(extension))?;
            }
        }
    }
    Ok(())
}

/// A tree that names them, each by its own id.
fn tree(absent: &BTreeSet<Oid>) -> Vec<u8> {
    let mut out = Vec::with_capacity(absent.len() * 68);
    for id in absent {
        out.extend_from_slice(format!("100644 {id}\0").as_bytes());
        out.extend_from_slice(id.as_bytes());
    }
    out
}

/// The packs that promise something, and whether they were written here.
fn promisors(folder: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let list = match std::fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder)(e)),
    };
    let mut out = Vec::new();
    for entry in list {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "promisor") {
            let ours = std::fs::read(&path).is_ok_and(|text| text == OURS);
            out.push((path.with_extension("pack"), ours));
        }
    }
    Ok(out)
}

fn configure(repo: &Repository, promises: bool) -> Result<(), Error> {
    if has_promised(repo)? == promises {
        return Ok(());
    }
    let failed = |e| Error::git("writing the configuration")(e);
    let mut config =
        repo.config().and_then(|config| config.open_level(git2::ConfigLevel::Local)).map_err(failed)?;
    match promises {
        true => {
            config.set_str(&key("url"), ADDRESS).map_err(failed)?;
            config.set_bool(&key("skipFetchAll"), true).map_err(failed)?;
            config.set_bool(&key("promisor"), true).map_err(failed)?;
        }
        false => {
            for name in ["promisor", "partialclonefilter", "skipFetchAll", "url"] {
                match config.remove(&key(name)) {
                    Err(e) if e.code() != git2::ErrorCode::NotFound => return Err(failed(e)),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
