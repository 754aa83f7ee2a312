//! Reading the mirror of the log that lies in git: entries without the payloads that git has as blobs.

use std::path::Path;

use aios_core::gone::Gone;
use aios_core::id::{DeviceId, GitId, VaultId};
use aios_core::item::Item;
use aios_core::record::Record;
use git2::{Oid, Repository};

use crate::error::Error;
use crate::git;
use crate::vault::git_error;

/// The devices that have a mirror.
pub(crate) fn devices(repo: &Repository) -> Result<Vec<DeviceId>, Error> {
    devices_at(repo, git::LOG_PREFIX)
}

/// The devices whose logs are mirrored under refs that begin with `prefix`.
pub(crate) fn devices_at(repo: &Repository, prefix: &str) -> Result<Vec<DeviceId>, Error> {
    let mut out = Vec::new();
    let refs = repo.references_glob(&format!("{prefix}*")).map_err(git::Error::git("listing refs"))?;
    for found in refs.flatten() {
        let name = String::from_utf8_lossy(found.name_bytes()).into_owned();
        out.extend(name.strip_prefix(prefix).and_then(|hex| hex.parse::<DeviceId>().ok()));
    }
    out.sort();
    Ok(out)
}

fn mirror_of(device: &DeviceId) -> String {
    format!("{}{device}", git::LOG_PREFIX)
}

/// An object's bytes, proven to be what its id says.
pub(crate) fn proven(repo: &Repository, oid: Oid) -> Result<(git2::ObjectType, Vec<u8>), String> {
    git::read(repo, oid).map_err(|e| match e {
        git::Error::Missing(_) => "it is missing".to_owned(),
        git::Error::BadObject { why, .. } => why.to_owned(),
        e => e.to_string(),
    })
}

/// A record of the mirror, as it stands there, in order.
pub(crate) struct Mirrored {
    pub record: Record,
}

/// Whether git at `root` holds the mirror of any log.
pub(crate) fn exists(root: &Path) -> bool {
    let devices = Repository::open(root).ok().and_then(|repo| devices(&repo).ok());
    devices.is_some_and(|devices| !devices.is_empty())
}

/// What the mirror of `device` holds that is sound, and what is wrong with the rest.
pub(crate) fn read(
    repo: &Repository,
    vault: &VaultId,
    device: &DeviceId,
) -> Result<(Vec<Mirrored>, Vec<String>), Error> {
    let (found, mut wrong) = chunks(repo, &mirror_of(device))?;
    let mut out = Vec::new();
    for (chunk, record) in found {
        let fits = record.header.vault == *vault && record.header.device == *device;
        match fits && record.verify_signature().is_ok() {
            true => out.push(Mirrored { record }),
            false if record.header.vault != *vault => {
                wrong.push(format!("record {} in {chunk} belongs to another vault", record.header.place()))
            }
            false => wrong.push(format!("record {} in {chunk} is forged", record.header.place())),
        }
    }
    out.sort_by_key(|mirrored| mirrored.record.header.seq);
    Ok((out, wrong))
}

/// What the mirror of `device` holds that is sound, of whatever vault.
pub(crate) fn sound(repo: &Repository, device: &DeviceId) -> Result<Vec<Record>, Error> {
    let records = chunks(repo, &mirror_of(device))?.0.into_iter().map(|(_, record)| record);
    let is_sound = |record: &Record| record.header.device == *device && record.verify_signature().is_ok();
    Ok(records.filter(is_sound).collect())
}

/// Every record that can be read of the mirror that a ref names, as it stands there; nothing of it is proven.
pub(crate) fn records_at(
    repo: &Repository,
    name: &str,
) -> Result<impl Iterator<Item = Record> + use<>, Error> {
    Ok(chunks(repo, name)?.0.into_iter().map(|(_, record)| record))
}

/// A record, after the name of the chunk it lies in.
type Found = (String, Record);

/// Every entry that can be read of the mirror that a ref names, and what cannot.
fn chunks(repo: &Repository, name: &str) -> Result<(Vec<Found>, Vec<String>), Error> {
    let (mut out, mut wrong) = (Vec::new(), Vec::new());
    let tip = match git::read_ref(repo, name) {
        Ok(Some(tip)) => tip,
        Ok(None) => return Ok((out, wrong)),
        Err(e) => return Ok((out, vec![e.to_string()])),
    };
    let tree =
        proven(repo, tip).and_then(|(_, raw)| git::Commit::parse(tip, &raw).map_err(|e| e.to_string()));
    let tree = match tree {
        Ok(commit) => commit.tree,
        Err(why) => return Ok((out, vec![format!("commit {tip}: {why}")])),
    };
    let raw = match proven(repo, tree) {
        Ok((_, raw)) => raw,
        Err(why) => return Ok((out, vec![format!("tree {tree}: {why}")])),
    };
    for entry in git::entries(tree, &raw)?.into_iter().filter(|entry| entry.mode != git::TREE) {
        let chunk = String::from_utf8_lossy(&entry.name).into_owned();
        let bytes = match proven(repo, entry.oid) {
            Ok((_, bytes)) => bytes,
            Err(why) => {
                wrong.push(format!("blob {} ({chunk}): {why}", entry.oid));
                continue;
            }
        };
        let mut at = 0;
        while at < bytes.len() {
            match Record::read_entry(&bytes[at..]) {
                Ok((record, taken)) => {
                    at += taken;
                    out.push((chunk.clone(), record));
                }
                Err(e) => {
                    wrong.push(format!("blob {} ({chunk}) at byte {at}: {e}", entry.oid));
                    break;
                }
            }
        }
    }
    Ok((out, wrong))
}

/// A mirrored record with the payloads put back that git has as blobs.
pub(crate) fn whole(repo: &Repository, mut record: Record) -> Result<Record, String> {
    if record.left.is_empty() {
        return record.check_payloads().map_err(|e| e.to_string()).map(|()| record);
    }
    let body = record.body().map_err(|e| e.to_string())?;
    let mut payloads = Vec::new();
    let here = record.payloads_of(&body).map_err(|e| e.to_string())?;
    let named = body.items.iter().zip(here).filter(|(item, _)| item.payload().is_some());
    for (n, (item, here)) in (0..).zip(named) {
        match (here, item) {
            (Some(here), _) => payloads.extend_from_slice(here),
            (None, Item::Create { content, .. } | Item::Replace { content, .. }) if record.left.has(n) => {
                let blob = Oid::from_bytes(content.git.as_bytes()).map_err(|e| git_error(e).to_string())?;
                let (_, bytes) = proven(repo, blob).map_err(|why| format!("payload {blob}: {why}"))?;
                if GitId::blob(&bytes) != content.git {
                    return Err(format!("payload {blob} is no blob"));
                }
                payloads.extend(bytes);
            }
            (None, _) if record.left.has(n) => return Err("git cannot have the text of an edit".into()),
            (None, _) => {}
        }
    }
    (record.payloads, record.left) = (payloads, Gone::default());
    record.check_payloads().map_err(|e| e.to_string())?;
    Ok(record)
}
