//! Blobs that the tree of no commit shows, as what was saved had lost to something else at once. Git would drop them, and no clone
//! would get them: the mirror of the log keeps them.

use std::collections::BTreeSet;

use aios_core::fold;
use aios_core::history::History;
use aios_core::id::{DeviceId, DocId};
use git2::Oid;

use crate::db;
use crate::error::Error;
use crate::git::{self, Objects};
use crate::project::git_id;
use crate::vault::{Vault, git_error};

/// The folder of a mirror that they lie in.
pub(crate) const UNSEEN: &str = "apart";
/// Where it is noted which of them had not come when their record was mirrored.
const AWAITED: &str = "unseen awaited";

impl Vault {
    /// The blobs among the records `from..=to` of a device that the tree of no commit shows, as what it saved had lost to something else
    /// at once: git would drop them.
    pub(crate) fn unseen_blobs(&self, device: &DeviceId, from: u64, to: u64) -> Result<Vec<Oid>, Error> {
        let found: Vec<(Vec<u8>, Vec<u8>, Option<i64>)> = {
            // A document that nothing else touches shows what it was made with.
            let mut get = self.db.prepare_cached(
                "SELECT i.doc, i.git, r.ends FROM record r JOIN apart a ON a.n = r.n AND a.kind = 0 JOIN item i ON i.git = a.git AND i.part = r.n
                 WHERE r.device = ? AND r.seq BETWEEN ? AND ? AND EXISTS
                 (SELECT 1 FROM item o WHERE o.doc = i.doc AND (o.record <> i.record OR o.idx <> i.idx))",
            )?;
            let rows = get
                .query_map(rusqlite::params![device.as_bytes(), from as i64, to as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
            rows.collect::<Result<_, _>>()?
        };
        let mut out = Vec::new();
        for (doc, git, ends) in found {
            let shown = match ends {
                Some(end) => {
                    let touches = self.history().touches(&db::id(doc, DocId::from_slice)?)?;
                    let shown = fold::fold(&touches, &[], &self.row(end)?.view);
                    shown.and_then(|doc| doc.text.settled()).map(|content| content.git)
                }
                None => None,
            };
            if shown.is_none_or(|shown| shown.as_bytes() != git.as_slice()) {
                out.push(Oid::from_bytes(&git).map_err(git_error)?);
            }
        }
        Ok(out)
    }

    /// Takes those out of `unseen` that have not come yet, and gives the list of all that are awaited.
    pub(crate) fn keep_awaited(
        &self,
        device: &DeviceId,
        unseen: &mut BTreeSet<Oid>,
    ) -> Result<String, Error> {
        let odb = self.repo.odb().map_err(git_error)?;
        let (mine, others): (Vec<_>, Vec<_>) = self.awaited()?.into_iter().partition(|(of, _)| of == device);
        unseen.extend(mine.into_iter().map(|(_, oid)| oid));
        let (here, away): (BTreeSet<Oid>, BTreeSet<Oid>) =
            std::mem::take(unseen).into_iter().partition(|oid| odb.exists(*oid));
        *unseen = here;
        let lines = others.into_iter().chain(away.into_iter().map(|oid| (*device, oid)));
        Ok(lines.map(|(device, oid)| format!("{device} {oid}\n")).collect())
    }

    /// Blobs that no tree shows and that had not come when their record was mirrored.
    fn awaited(&self) -> Result<Vec<(DeviceId, Oid)>, Error> {
        let known = db::meta(&self.db, AWAITED)?.unwrap_or_default();
        let known = String::from_utf8_lossy(&known);
        let line = |line: &str| {
            let (device, oid) = line.split_once(' ')?;
            Some((device.parse().ok()?, oid.parse().ok()?))
        };
        Ok(known.lines().filter_map(line).collect())
    }

    /// The devices in whose mirror such blobs are to be put, since they have come.
    pub(crate) fn unseen_awaited(&self) -> Result<BTreeSet<DeviceId>, Error> {
        let awaited = self.awaited()?;
        if awaited.is_empty() {
            return Ok(BTreeSet::new());
        }
        if self.is_sealed_vault()? {
            awaited.iter().try_for_each(|(_, oid)| self.ensure_sealed(&git_id(oid)).map(drop))?;
        }
        let odb = self.repo.odb().map_err(git_error)?;
        Ok(awaited.into_iter().filter(|(_, oid)| odb.exists(*oid)).map(|(device, _)| device).collect())
    }

    /// Notes which of them have not come yet, as [`Vault::keep_awaited`] gives them.
    pub(crate) fn await_unseen(&self, awaited: &str) -> Result<(), Error> {
        match db::meta(&self.db, AWAITED)?.unwrap_or_default() == awaited.as_bytes() {
            true => Ok(()),
            false => db::set_meta(&self.db, AWAITED, awaited.as_bytes()),
        }
    }
}

/// The blobs that a mirror keeps because no tree shows them.
pub(crate) fn mirrored(
    repo: &git2::Repository,
    objects: &mut dyn Objects,
    commit: Oid,
) -> Result<BTreeSet<Oid>, Error> {
    let tree = git::commit(repo, commit)?.tree;
    let (_, raw) = objects.read(tree)?;
    let folder = git::entries(tree, &raw)?.into_iter().find(|entry| *entry.name == *UNSEEN.as_bytes());
    let Some(folder) = folder.filter(|entry| entry.mode == git::TREE).map(|entry| entry.oid) else {
        return Ok(BTreeSet::new());
    };
    let (_, raw) = objects.read(folder)?;
    Ok(git::entries(folder, &raw)?.into_iter().map(|entry| entry.oid).collect())
}

#[cfg(test)]
mod tests {
    use aios_core::item::{Base, Content, Item, Kind};

    use super::*;
    use crate::author::Draft;
    use crate::git::testing::git;
    use crate::world::{World, quiet};

    /// A picture of which two older versions were saved at once, so that one of them shows and one in no tree.
    fn saved_at_once() -> World {
        let mut world = World::new(1);
        let path = world.root(0).join("logo.png");
        std::fs::write(&path, [0, 1]).unwrap();
        world.commit(0);
        let vault = &mut world.replicas[0];
        let (doc, base) = (vault.doc_at("logo.png").unwrap().unwrap(), vault.view().clone());
        std::fs::write(&path, [0, 2]).unwrap();
        vault.commit(&Default::default(), &mut quiet()).unwrap();
        let mut draft = Draft::operator("stale saves");
        for last in [3, 4] {
            let content = Content::of(&[0, last]);
            let base = Base { base: Some(base.clone()), rank: None };
            vault.store_blob(2, &mut [0, last].as_slice()).unwrap();
            draft.push(Item::Replace { doc, kind: Kind::Blob, content, base });
        }
        vault
            .transaction(|vault| {
                vault.author_records(draft)?;
                vault.refresh(&mut quiet())
            })
            .unwrap();
        vault.finish(Default::default(), &mut quiet()).unwrap();
        world
    }

    fn unseen(vault: &Vault) -> BTreeSet<Oid> {
        let name = format!("{}{}", crate::git::LOG_PREFIX, vault.device());
        let mirror = crate::git::read_ref(&vault.repo, &name).unwrap().unwrap();
        let mut objects = crate::git::Loose::new(&vault.repo, false).unwrap();
        mirrored(&vault.repo, &mut objects, mirror).unwrap()
    }

    #[test]
    fn a_mirror_leaves_out_what_is_lost_until_it_is_back() {
        let mut world = saved_at_once();
        let root = world.root(0);
        let kept = unseen(&world.replicas[0]);
        let lost = *kept.first().unwrap();
        let bytes = world.replicas[0].blob(&crate::project::git_id(&lost)).unwrap().unwrap();
        let hex = lost.to_string();
        std::fs::remove_file(root.join(".git/objects").join(&hex[..2]).join(&hex[2..])).unwrap();
        world.rebuild(0);
        world.commit(0);
        assert!(unseen(&world.replicas[0]).is_empty());
        assert!(!world.replicas[0].verify(false, &mut quiet()).unwrap().ok);
        git(&root, &["fsck", "--full"]);
        world.replicas[0].store_blob(2, &mut bytes.as_slice()).unwrap();
        world.commit(0);
        assert_eq!(unseen(&world.replicas[0]), kept);
        let report = world.replicas[0].verify(true, &mut quiet()).unwrap();
        assert!(report.ok, "{report:?}");
        git(&root, &["fsck", "--full"]);
    }

    #[test]
    fn a_blob_that_lost_at_once_outlasts_gits_cleaning_and_is_in_a_clone() {
        let world = saved_at_once();
        let root = world.root(0);
        if git(&root, &["gc", "-q", "--prune=now"]).is_none() {
            return;
        }
        let clone = world.dir.path().join("clone.git");
        git(&root, &["clone", "-q", "--mirror", "--no-local", ".", clone.to_str().unwrap()]);
        for last in 1..=4 {
            let blob = git2::Oid::hash_object(git2::ObjectType::Blob, &[0, last]).unwrap().to_string();
            git(&clone, &["cat-file", "-e", &blob]);
        }
        let vault = &world.replicas[0];
        assert!(!vault.apart_missing().unwrap());
        // What the mirror holds beside entries is no entry.
        let (found, wrong) = crate::mirror::read(&vault.repo, &vault.id(), &vault.device()).unwrap();
        assert!(wrong.is_empty() && found.len() as u64 == vault.view().get(&vault.device()), "{wrong:?}");
    }
}
