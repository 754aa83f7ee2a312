//! Proving git's objects: every file of the object database by its own checksum, every object that history reaches
//! by its id.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use git2::{ObjectType, Oid, Repository};
use sha1::{Digest, Sha1};

use super::{Checked, Report};
use crate::error::Error;
use crate::git;
use crate::mirror::proven;
use crate::vault::Progress;

/// Files of the object database that are not what their names say, with why.
#[derive(Debug, Default)]
pub(crate) struct Corrupt {
    pub loose: Vec<(PathBuf, String)>,
    pub packs: Vec<(PathBuf, String)>,
}

fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let list = match std::fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        out.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    out.sort();
    Ok(out)
}

/// Reads every loose object and every pack whole.
pub(crate) fn corrupt(repo: &Repository, progress: Progress<'_>) -> Result<Corrupt, Error> {
    let objects = repo.commondir().join("objects");
    let mut out = Corrupt::default();
    let mut done = 0;
    for (prefix, folder) in names(&objects)? {
        if prefix.len() != 2 || !folder.is_dir() {
            continue;
        }
        for (rest, path) in names(&folder)? {
            let Ok(oid) = Oid::from_str(&format!("{prefix}{rest}")) else { continue };
            if let Err(why) = loose(&path, oid) {
                out.loose.push((path, why));
            }
            done += 1;
            if done % 256 == 0 {
                progress("git objects", done, 0);
            }
        }
    }
    for (name, path) in names(&objects.join("pack"))? {
        if name.ends_with(".pack") {
            // Without an index it is nothing to git. What it alone would hold is missing, and found so.
            let named = path.with_extension("idx").exists();
            let bad = trailer(&path).err().or_else(|| index(&path).err().filter(|_| named));
            out.packs.extend(bad.map(|why| (path, why)));
        }
    }
    Ok(out)
}

/// Checks one loose object: zlib stream to its end, and SHA-1 of all of it.
fn loose(path: &Path, oid: Oid) -> Result<(), String> {
    let file = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut zlib = ZlibDecoder::new(file.as_slice());
    let mut hash = Sha1::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match zlib.read(&mut buffer).map_err(|e| format!("it does not inflate: {e}"))? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    match hash.finalize()[..] == *oid.as_bytes() && zlib.total_in() == file.len() as u64 {
        true => Ok(()),
        false => Err("its bytes are not what its id says".into()),
    }
}

/// Checks the SHA-1 that ends a pack or its index; gives it.
fn trailer(path: &Path) -> Result<Vec<u8>, String> {
    let mut file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut left =
        file.metadata().map_err(|e| e.to_string())?.len().checked_sub(20).ok_or("it is cut off")?;
    let mut hash = Sha1::new();
    let mut buffer = vec![0; 256 << 10];
    while left > 0 {
        let want = buffer.len().min(left as usize);
        file.read_exact(&mut buffer[..want]).map_err(|e| e.to_string())?;
        hash.update(&buffer[..want]);
        left -= want as u64;
    }
    let mut end = [0; 20];
    file.read_exact(&mut end).map_err(|e| e.to_string())?;
    match hash.finalize()[..] == end {
        true => Ok(end.to_vec()),
        false => Err("its checksum is wrong".into()),
    }
}

/// Checks a pack's index and that it is the pack's.
fn index(pack: &Path) -> Result<(), String> {
    let path = pack.with_extension("idx");
    trailer(&path).map_err(|why| format!("its index: {why}"))?;
    let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
    let named = bytes.len().checked_sub(40).and_then(|at| bytes.get(at..at + 20));
    match named == Some(&trailer(pack)?[..]) {
        true => Ok(()),
        false => Err("its index is of another pack".into()),
    }
}

/// Walks all that `tips` reach, each object once. `apart` holds what may be missing: it travels apart.
pub(crate) fn walk(
    repo: &Repository,
    tips: &[Oid],
    apart: &HashSet<Oid>,
    checked: &mut Checked,
    report: &mut Report,
    progress: Progress<'_>,
) {
    let mut seen: HashSet<Oid> = HashSet::new();
    let mut commits: Vec<Oid> = tips.to_vec();
    while let Some(id) = commits.pop() {
        if !seen.insert(id) {
            continue;
        }
        let parsed = proven(repo, id).and_then(|(kind, raw)| match kind {
            ObjectType::Commit => git::Commit::parse(id, &raw).map_err(|e| e.to_string()),
            _ => Err("it is no commit".into()),
        });
        let commit = match parsed {
            Ok(commit) => commit,
            Err(_) if apart.contains(&id) => continue,
            Err(why) => {
                report.find("I8", format!("commit {id}"), why);
                continue;
            }
        };
        checked.commits += 1;
        if checked.commits.is_multiple_of(256) {
            progress("commits", checked.commits, 0);
        }
        commits.extend(&commit.parents);
        tree(repo, id, commit.tree, apart, &mut seen, report);
    }
}

fn tree(
    repo: &Repository,
    commit: Oid,
    root: Oid,
    apart: &HashSet<Oid>,
    seen: &mut HashSet<Oid>,
    report: &mut Report,
) {
    let mut waiting = vec![(String::new(), root)];
    while let Some((path, id)) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let at = |what: &str| {
            format!("{what} {id} ({} in commit {commit})", if path.is_empty() { "the root" } else { &path })
        };
        let raw = match proven(repo, id) {
            Ok((ObjectType::Tree, raw)) => raw,
            Ok((ObjectType::Blob, _)) if !path.is_empty() => continue,
            Ok(_) => {
                report.find("I8", at("object"), "it has the wrong type".into());
                continue;
            }
            Err(_) if apart.contains(&id) => continue,
            Err(why) => {
                report.find("I8", at("git object"), why);
                continue;
            }
        };
        match git::entries(id, &raw) {
            Ok(entries) => {
                for entry in entries {
                    // A submodule names a commit of another repository.
                    if entry.mode == 0o160_000 {
                        continue;
                    }
                    let name = String::from_utf8_lossy(&entry.name);
                    let below = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
                    waiting.push((below, entry.oid));
                }
            }
            Err(e) => report.find("I8", at("tree"), e.to_string()),
        }
    }
}
