//! Which bytes that records name are not here: those that are to come, and those of blobs that a lean device leaves with the
//! others until somebody asks for them.
//!
//! Nothing stands in the working folder for a blob that is away: what an editor or `git add` could save back would be read as its
//! content, and a file that is not there was never here, so that nothing reads its absence as a delete (I12).

use std::collections::BTreeSet;

use aios_core::id::{DocId, GitId};
use aios_core::item::Kind;
use aios_core::path;
use git2::{OdbLookupFlags, Oid};
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::error::Error;
use crate::git;
use crate::index;
use crate::project::oid;
use crate::show::Placement;
use crate::vault::{Vault, git_error};

/// `away`: documents without a working file because their bytes are elsewhere on purpose. `asked`: blobs to be fetched although this
/// device is lean. Neither can be made again; without them what was asked for is to be asked for once more.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS away(doc BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked(git BLOB PRIMARY KEY) WITHOUT ROWID;
";

/// Makes the tables, in a database made before there were any too.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLES)?)
}

/// What travels apart: its git id, and hash and size if it is a blob.
pub(crate) type Apart = (Oid, Option<(Vec<u8>, u64)>);

/// A file whose bytes are elsewhere until they are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Away {
    /// Where it lies in the vault.
    pub path: String,
    /// How many bytes it has.
    pub size: u64,
}

impl Vault {
    /// Whether bytes that travel apart are to come and are not here.
    pub(crate) fn apart_missing(&self) -> Result<bool, Error> {
        Ok(!self.missing_apart()?.is_empty())
    }

    /// The blobs and history tips that are named by the log, to come, and not here.
    pub(crate) fn missing_apart(&self) -> Result<Vec<Apart>, Error> {
        let mut absent = self.absent_apart()?;
        if self.profile.is_lean() {
            let mut wanted = Vec::with_capacity(absent.len());
            for (id, blob) in absent {
                if blob.as_ref().is_none_or(|(_, size)| self.profile.fetches(*size)) || self.is_asked(id)? {
                    wanted.push((id, blob));
                }
            }
            absent = wanted;
        }
        Ok(absent)
    }

    /// The blobs and history tips that are named by the log and not here, to come or not.
    pub(crate) fn absent_apart(&self) -> Result<Vec<Apart>, Error> {
        let mut get = self.db.prepare_cached("SELECT DISTINCT a.git, a.kind, a.hash, a.size FROM apart a JOIN record r ON r.n = a.n WHERE r.held = 0")?;
        let mut rows = get.query([])?;
        let odb = self.repo.odb().map_err(git_error)?;
        let mut out = Vec::new();
        // Each blob that is not found has libgit2 look through all packs again: once is enough.
        let mut fresh = false;
        while let Some(row) = rows.next()? {
            let oid = Oid::from_bytes(&row.get::<_, Vec<u8>>(0)?).map_err(git_error)?;
            let blob = match row.get::<_, i64>(1)? {
                0 => Some((row.get::<_, Vec<u8>>(2)?, row.get::<_, i64>(3)? as u64)),
                _ => None,
            };
            let exists = match fresh {
                true => odb.exists_ext(oid, OdbLookupFlags::NO_REFRESH),
                false => odb.exists(oid),
            };
            fresh |= !exists;
            let here = match blob {
                Some(_) => exists,
                None => exists && self.keeps_history(oid)?,
            };
            if !here {
                out.push((oid, blob));
            }
        }
        if !out.is_empty() {
            let forgotten = self.forgotten_blobs()?;
            out.retain(|(id, _)| !forgotten.contains(id));
        }
        Ok(out)
    }

    /// The blobs of records that are held: no tree names them, and whoever adopts the records wants them (I2).
    pub(crate) fn held_blobs(&self) -> Result<Vec<Oid>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT DISTINCT a.git FROM apart a JOIN record r ON r.n = a.n WHERE a.kind = 0 AND r.held = 1",
        )?;
        let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| Oid::from_bytes(&row?).map_err(git_error)).collect()
    }

    /// Whether a lean device is to have a blob: it was asked for; or this device saved it, so that it was here; or it is what became
    /// of a file that lies here, as what is here is kept as new as the rest.
    fn is_asked(&self, blob: Oid) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM asked WHERE git = ?1)
             OR EXISTS(SELECT 1 FROM apart a JOIN record r ON r.n = a.n WHERE a.git = ?1 AND r.device = ?2)
             OR EXISTS(SELECT 1 FROM dirty y JOIN doc d ON d.id = y.doc JOIN file f ON f.doc = d.id WHERE d.git = ?1)
             OR EXISTS(SELECT 1 FROM apart a JOIN record r ON r.n = a.n JOIN item i ON i.record = r.ends JOIN file f ON f.doc = i.doc
               WHERE a.git = ?1 AND i.git = ?1 AND NOT EXISTS
               (SELECT 1 FROM item o WHERE o.doc = i.doc AND o.git IS NOT NULL AND o.record > i.record))",
        )?;
        Ok(get.query_row(params![blob.as_bytes(), self.device().as_bytes()], |row| row.get(0))?)
    }

    /// Whether nothing is to stand in the folder for a document, for now.
    pub(crate) fn leaves(&self, placement: &Placement) -> Result<bool, Error> {
        if !self.profile.is_lean()
            || placement.kind != Kind::Blob
            || self.profile.fetches(placement.content.size)
        {
            return Ok(false);
        }
        let id = oid(&placement.content.git)?;
        let here = self.repo.odb().map_err(git_error)?.exists(id);
        Ok(!here && !self.is_asked(id)?)
    }

    /// Notes that nothing stands in the folder for a document.
    pub(crate) fn put_away(&self, doc: &DocId) -> Result<(), Error> {
        self.db.prepare_cached("INSERT OR IGNORE INTO away VALUES(?)")?.execute([doc.as_bytes()])?;
        Ok(())
    }

    /// Has those written that are away no longer: this device is lean no more, or their bytes have come.
    pub(crate) fn fetch_back(&mut self) -> Result<(), Error> {
        let away: Vec<(Vec<u8>, Option<Vec<u8>>)> = {
            let mut get =
                self.db.prepare_cached("SELECT a.doc, d.git FROM away a LEFT JOIN doc d ON d.id = a.doc")?;
            let rows = get.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let odb = self.repo.odb().map_err(git_error)?;
        for (doc, git) in away {
            let stays = match &git {
                Some(git) if self.profile.is_lean() => {
                    let id = Oid::from_bytes(git).map_err(git_error)?;
                    !odb.exists_ext(id, OdbLookupFlags::NO_REFRESH)
                }
                _ => false,
            };
            if !stays {
                self.db.prepare_cached("DELETE FROM away WHERE doc = ?")?.execute([&doc])?;
                if git.is_some() {
                    self.db.prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?.execute([&doc])?;
                }
            }
        }
        Ok(())
    }

    /// The files that are in the vault and not in this folder, as nobody asked for their bytes, in order of path.
    ///
    /// # Errors
    /// What the database answers.
    pub fn away(&self) -> Result<Vec<Away>, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT d.path, d.size FROM away a JOIN doc d ON d.id = a.doc ORDER BY d.path")?;
        let rows =
            get.query_map([], |row| Ok(Away { path: row.get(0)?, size: row.get::<_, i64>(1)? as u64 }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Has the bytes of the files at or below these paths, or of all, fetched with the next sync and kept as new as the rest from
    /// then on. Gives those that were not here.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a path where the vault has nothing.
    pub fn ask(&mut self, paths: &[String]) -> Result<Vec<String>, Error> {
        let blobs: Vec<String> = {
            let mut get = self.db.prepare_cached("SELECT path FROM doc WHERE kind = ? ORDER BY path")?;
            let rows = get.query_map([index::kind_number(Kind::Blob)], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut asked = BTreeSet::new();
        for at in paths {
            if !at.is_empty() && self.doc_at(at)?.is_none() && self.documents_in(at)?.is_empty() {
                return Err(Error::Unknown { what: "file", name: at.clone() });
            }
            for blob in &blobs {
                let meant = at.is_empty() || blob == at || path::below(blob, at).is_some();
                if meant && self.lacks(blob)? {
                    asked.insert(blob.clone());
                }
            }
        }
        self.transaction(|vault| {
            for path in &asked {
                let Some(doc) = vault.doc_at(path)? else { continue };
                let Some(placement) = vault.placement(&doc)? else { continue };
                vault.ask_blob(&placement.content.git)?;
                vault.db.prepare_cached("DELETE FROM away WHERE doc = ?")?.execute([doc.as_bytes()])?;
                vault
                    .db
                    .prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?
                    .execute([doc.as_bytes()])?;
            }
            Ok(())
        })?;
        Ok(asked.into_iter().collect())
    }

    /// Whether the bytes of a file are not here, or it does not lie in the folder.
    ///
    /// # Errors
    /// What the database answers.
    pub fn lacks(&self, path: &str) -> Result<bool, Error> {
        let Some(doc) = self.doc_at(path)? else { return Ok(false) };
        let Some(placement) = self.placement(&doc)? else { return Ok(false) };
        let here = self.repo.odb().map_err(git_error)?.exists(oid(&placement.content.git)?);
        let mut get = self.db.prepare_cached("SELECT EXISTS(SELECT 1 FROM away WHERE doc = ?)")?;
        Ok(!here || get.query_row([doc.as_bytes()], |row| row.get(0))?)
    }

    /// Has one blob fetched with the next sync, such as that of an older version.
    ///
    /// # Errors
    /// What the database answers.
    pub fn ask_blob(&self, git: &GitId) -> Result<(), Error> {
        self.db.prepare_cached("INSERT OR IGNORE INTO asked VALUES(?)")?.execute([git.as_bytes()])?;
        Ok(())
    }

    /// Has every blob fetched that any record names, those of older versions too. Whether one was not here.
    ///
    /// # Errors
    /// What the database answers.
    pub fn ask_all(&mut self) -> Result<bool, Error> {
        let absent = self.absent_apart()?;
        self.transaction(|vault| {
            for (id, _) in &absent {
                vault.ask_blob(&crate::project::git_id(id))?;
            }
            Ok(())
        })?;
        Ok(!absent.is_empty())
    }

    /// Whether bytes that records name are not here, to come or not: who wants the whole does not get it from here.
    ///
    /// # Errors
    /// What the database answers.
    pub fn lacks_bytes(&self) -> Result<bool, Error> {
        Ok(!self.absent_apart()?.is_empty())
    }

    /// The paths at which git is to expect no working file.
    pub(crate) fn away_paths(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.away()?.into_iter().map(|away| away.path).collect())
    }

    /// Tells git which objects are elsewhere on purpose: `git fsck` and `git gc` would stop at them.
    pub(crate) fn promise_absent(&mut self) -> Result<(), Error> {
        let forgotten = self.forgotten_blobs()?;
        if !self.profile.is_lean() && forgotten.is_empty() && !git::has_promised(&self.repo)? {
            return Ok(());
        }
        let wanted: BTreeSet<Oid> = self.missing_apart()?.into_iter().map(|(id, _)| id).collect();
        let absent = self.absent_apart()?.into_iter().map(|(id, _)| id);
        let mut promised: BTreeSet<Oid> = absent.filter(|id| !wanted.contains(id)).collect();
        let odb = self.repo.odb().map_err(git_error)?;
        promised.extend(forgotten.into_iter().filter(|id| !odb.exists_ext(*id, OdbLookupFlags::NO_REFRESH)));
        Ok(git::promise(&self.repo, &promised)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::git;
    use crate::profile::Profile;
    use crate::status::Status;
    use crate::world::{World, quiet};

    /// Two replicas, of which the second is lean.
    fn lean(blobs_below: u64) -> World {
        let mut world = World::new(2);
        world.replicas[1].set_profile(Profile::Phone { blobs_below }).unwrap();
        world
    }

    fn picture(n: u8) -> Vec<u8> {
        [0, 159, 146, n].repeat(100)
    }

    fn blob(n: u8) -> git2::Oid {
        git2::Oid::hash_object(git2::ObjectType::Blob, &picture(n)).unwrap()
    }

    fn save(world: &mut World, n: usize, path: &str, bytes: &[u8]) {
        let at = world.root(n).join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, bytes).unwrap();
        world.commit(n);
    }

    /// What an exchange does: records, then what the second wants of what the first has, then the files. How many bytes came.
    fn exchange(world: &mut World, from: usize, to: usize) -> usize {
        while world.deliver(from, to, 1 << 20) > 0 {}
        let mut came = 0;
        for (id, _) in world.replicas[to].missing_apart().unwrap() {
            if let Some(bytes) = world.replicas[from].blob(&crate::project::git_id(&id)).unwrap() {
                world.replicas[to].store_blob(bytes.len() as u64, &mut bytes.as_slice()).unwrap();
                came += bytes.len();
            }
        }
        let round = world.commit(to);
        assert!(round.problems().next().is_none(), "{round:?}");
        came
    }

    fn status(world: &mut World, n: usize) -> Status {
        world.replicas[n].status(&mut quiet()).unwrap()
    }

    fn away(world: &mut World) -> Vec<String> {
        status(world, 1).on_demand.into_iter().map(|away| away.path).collect()
    }

    /// Both have one head and state; git and aios find nothing wrong with the lean one, and git sees no change there.
    fn sound(world: &mut World) {
        let (one, other) = (status(world, 0), status(world, 1));
        assert_eq!((&one.head, &one.state), (&other.head, &other.state));
        assert!(other.problems.is_empty() && other.pending.is_empty(), "{other:?}");
        let root = world.root(1);
        for deep in [false, true] {
            let report = world.replicas[1].verify(deep, &mut quiet()).unwrap();
            assert!(report.ok, "{report:?}");
        }
        git(&root, &["fsck", "--full", "--strict"]);
        if let Some(changed) = git(&root, &["status", "--porcelain"]) {
            assert_eq!(changed, "");
            assert_eq!(git(&root, &["rev-parse", "main"]).unwrap().trim(), other.head.unwrap());
        }
    }

    #[test]
    fn what_is_collected_while_it_comes_is_no_fault() {
        let mut world = World::new(2);
        save(&mut world, 0, "logo.png", &picture(1));
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let wanted = world.replicas[1].apart_wanted().unwrap()[0];
        let part = world.replicas[1].layout.partial().join(wanted.git().to_string());
        std::fs::create_dir_all(part.parent().unwrap()).unwrap();
        std::fs::write(&part, &picture(1)[..50]).unwrap();
        // It is not to come any more, and the last of it does.
        world.replicas[1].set_profile(Profile::Phone { blobs_below: 0 }).unwrap();
        world.replicas[1].gc(crate::gc::Wanted::default()).unwrap();
        assert!(!part.exists());
        world.replicas[1].take_apart(&wanted, &part).unwrap();
        world.commit(1);
        assert_eq!(away(&mut world), ["logo.png"]);
        sound(&mut world);
    }

    #[test]
    fn nothing_else_stands_where_a_file_is_away() {
        let mut world = World::new(2);
        save(&mut world, 0, "logo.png", &picture(1));
        exchange(&mut world, 0, 1);
        std::fs::rename(world.root(0).join("logo.png"), world.root(0).join("old.png")).unwrap();
        world.commit(0);
        save(&mut world, 0, "logo.png", &picture(2));
        // Its bytes are to come, and then are not to: the device became lean.
        while world.deliver(0, 1, 1 << 20) > 0 {}
        world.commit(1);
        assert_eq!(std::fs::read(world.root(1).join("old.png")).unwrap(), picture(1));
        world.replicas[1].set_profile(Profile::Phone { blobs_below: 0 }).unwrap();
        world.commit(1);
        assert_eq!(away(&mut world), ["logo.png"]);
        assert_eq!(world.files(1).into_keys().collect::<Vec<_>>(), ["old.png"]);
        sound(&mut world);
    }

    #[test]
    fn a_commit_made_with_git_on_a_lean_device_travels_without_the_bytes_that_are_away() {
        let mut world = lean(0);
        world.add(2, &["write"]);
        world.replicas[2].set_profile(Profile::Phone { blobs_below: 0 }).unwrap();
        save(&mut world, 0, "logo.png", &picture(1));
        exchange(&mut world, 0, 1);
        save(&mut world, 0, "logo.png", &picture(2));
        exchange(&mut world, 0, 1);
        // Committed before aios followed, so that the commit travels with its history.
        std::fs::write(world.root(1).join("a.md"), "by hand\n").unwrap();
        world.replicas[1].absorb(&Default::default(), &mut quiet()).unwrap();
        let root = world.root(1);
        if git(&root, &["add", "-A"]).is_none() {
            return;
        }
        git(&root, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "by hand"]);
        for _ in 0..3 {
            world.sync();
            for (from, to) in [(1, 0), (1, 2), (0, 2)] {
                world.give_apart(from, to);
            }
        }
        sound(&mut world);
        let head = status(&mut world, 0).head;
        assert!(head.is_some() && head == status(&mut world, 2).head);
        assert!(!git2::Repository::open(&root).unwrap().odb().unwrap().exists(blob(1)));
    }

    #[test]
    fn a_lean_device_has_all_records_and_the_bytes_it_was_asked_for() {
        let mut world = lean(0);
        save(&mut world, 0, "a.md", b"text\n");
        save(&mut world, 0, "pics/logo.png", &picture(1));
        save(&mut world, 0, "pics/two.png", &picture(2));
        assert_eq!(exchange(&mut world, 0, 1), 0);
        assert_eq!(away(&mut world), ["pics/logo.png", "pics/two.png"]);
        assert!(!world.root(1).join("pics/logo.png").exists());
        assert_eq!(std::fs::read(world.root(1).join("a.md")).unwrap(), b"text\n");
        sound(&mut world);
        assert_eq!(world.replicas[1].ask(&["pics/logo.png".into()]).unwrap(), ["pics/logo.png"]);
        // Asked for and not there: that is said.
        assert_eq!(status(&mut world, 1).problems.len(), 1);
        assert_eq!(exchange(&mut world, 0, 1), 400);
        assert_eq!(std::fs::read(world.root(1).join("pics/logo.png")).unwrap(), picture(1));
        assert_eq!(away(&mut world), ["pics/two.png"]);
        sound(&mut world);
        assert!(world.replicas[1].ask(&["pics/logo.png".into()]).unwrap().is_empty());
        assert!(world.replicas[1].ask(&["none.png".into()]).is_err());
        assert_eq!(world.replicas[1].ask(&[String::new()]).unwrap(), ["pics/two.png"]);
        assert_eq!(exchange(&mut world, 0, 1), 400);
        sound(&mut world);
        let repo = git2::Repository::open(world.root(1)).unwrap();
        assert!(!git::has_promised(&repo).unwrap(), "git was told of what is here by now");
    }

    #[test]
    fn git_neither_stages_nor_drops_what_is_away() {
        let mut world = lean(0);
        save(&mut world, 0, "logo.png", &picture(1));
        save(&mut world, 0, "a.md", b"text\n");
        exchange(&mut world, 0, 1);
        let root = world.root(1);
        if git(&root, &["gc", "-q", "--prune=now"]).is_none() {
            return;
        }
        sound(&mut world);
        std::fs::write(root.join("a.md"), "by git\n").unwrap();
        git(&root, &["add", "-A"]);
        git(&root, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "all of it"]);
        world.commit(1);
        world.sync();
        assert_eq!(std::fs::read(world.root(0).join("logo.png")).unwrap(), picture(1));
        assert_eq!(std::fs::read(world.root(0).join("a.md")).unwrap(), b"by git\n");
        assert_eq!(away(&mut world), ["logo.png"]);
        sound(&mut world);
        // What git is told follows what is away.
        save(&mut world, 0, "logo.png", &picture(2));
        save(&mut world, 0, "more.png", &picture(3));
        exchange(&mut world, 0, 1);
        assert_eq!(away(&mut world), ["logo.png", "more.png"]);
        sound(&mut world);
    }

    #[test]
    fn what_is_here_is_kept_as_new_as_the_rest_and_older_versions_are_not_fetched() {
        let mut world = lean(0);
        save(&mut world, 0, "logo.png", &picture(1));
        save(&mut world, 0, "logo.png", &picture(2));
        exchange(&mut world, 0, 1);
        world.replicas[1].ask(&[String::new()]).unwrap();
        assert_eq!(exchange(&mut world, 0, 1), 400);
        for n in 3..6 {
            save(&mut world, 0, "logo.png", &picture(n));
        }
        // One came between; the newest comes by itself.
        assert_eq!(exchange(&mut world, 0, 1), 400);
        assert_eq!(std::fs::read(world.root(1).join("logo.png")).unwrap(), picture(5));
        sound(&mut world);
    }

    #[test]
    fn small_ones_come_by_themselves_and_own_ones_are_given() {
        let mut world = lean(500);
        save(&mut world, 0, "small.png", &picture(1));
        save(&mut world, 0, "large.png", &picture(2).repeat(2));
        assert_eq!(exchange(&mut world, 0, 1), 400);
        assert_eq!(away(&mut world), ["large.png"]);
        save(&mut world, 1, "own.png", &picture(3).repeat(9));
        assert_eq!(exchange(&mut world, 1, 0), 3600);
        assert_eq!(std::fs::read(world.root(0).join("own.png")).unwrap(), picture(3).repeat(9));
        sound(&mut world);
        // The same bytes from anywhere, and no file is asked for.
        save(&mut world, 1, "from the stick.png", &picture(2).repeat(2));
        assert!(away(&mut world).is_empty());
        assert_eq!(std::fs::read(world.root(1).join("large.png")).unwrap(), picture(2).repeat(2));
        exchange(&mut world, 1, 0);
        sound(&mut world);
    }

    #[test]
    fn what_somebody_saves_where_a_blob_is_away_stands_beside_it_and_loses_nothing() {
        let mut world = lean(0);
        save(&mut world, 0, "logo.png", &picture(1));
        exchange(&mut world, 0, 1);
        save(&mut world, 1, "logo.png", &picture(7));
        exchange(&mut world, 1, 0);
        exchange(&mut world, 0, 1);
        sound(&mut world);
        let shown = std::fs::read(world.root(0).join("logo.png")).unwrap();
        assert!([picture(1), picture(7)].contains(&shown));
        assert_eq!(std::fs::read(world.root(1).join("logo.png")).unwrap(), shown);
        assert!(status(&mut world, 0).conflicts + u64::from(shown == picture(7)) > 0);
    }

    #[test]
    fn no_absence_is_a_delete_and_a_folder_moves_with_what_is_away_in_it() {
        let mut world = lean(0);
        save(&mut world, 0, "pics/logo.png", &picture(1));
        save(&mut world, 0, "pics/about.md", b"about\n");
        exchange(&mut world, 0, 1);
        // A device without a file of it: nothing is deleted, whatever goes around it.
        std::fs::remove_dir_all(world.root(1).join("pics")).unwrap();
        world.commit(1);
        exchange(&mut world, 1, 0);
        assert!(!world.root(0).join("pics/about.md").exists());
        assert_eq!(std::fs::read(world.root(0).join("pics/logo.png")).unwrap(), picture(1));
        // It moves on the other device: it is still away, elsewhere.
        std::fs::rename(world.root(0).join("pics/logo.png"), world.root(0).join("mark.png")).unwrap();
        world.commit(0);
        exchange(&mut world, 0, 1);
        assert_eq!(away(&mut world), ["mark.png"]);
        sound(&mut world);
        std::fs::remove_file(world.root(0).join("mark.png")).unwrap();
        world.commit(0);
        exchange(&mut world, 0, 1);
        assert!(away(&mut world).is_empty());
        sound(&mut world);
    }

    #[test]
    fn a_device_that_is_lean_no_more_fetches_all_and_a_rebuild_keeps_what_it_was_told() {
        let mut world = lean(0);
        save(&mut world, 0, "logo.png", &picture(1));
        save(&mut world, 0, "logo.png", &picture(2));
        exchange(&mut world, 0, 1);
        world.rebuild(1);
        world.commit(1);
        assert!(world.replicas[1].profile().is_lean());
        assert_eq!(away(&mut world), ["logo.png"]);
        sound(&mut world);
        world.replicas[1].set_profile(Profile::Laptop).unwrap();
        world.restart(1);
        assert_eq!(exchange(&mut world, 0, 1), 800);
        assert_eq!(std::fs::read(world.root(1).join("logo.png")).unwrap(), picture(2));
        sound(&mut world);
    }

    #[test]
    fn nobody_counts_on_a_lean_device() {
        let mut world = lean(0);
        save(&mut world, 0, "logo.png", &picture(1));
        exchange(&mut world, 0, 1);
        let (phone, view) = (world.replicas[1].device(), world.replicas[0].view().clone());
        world.replicas[0].note_acknowledged(&phone, &view).unwrap();
        assert_eq!(status(&mut world, 0).only_here, 0);
        world.replicas[0].learn_lean(&phone, true).unwrap();
        let said = status(&mut world, 0);
        assert!(said.peers[0].on_demand && said.peers[0].acknowledged);
        assert_eq!(said.only_here, 1);
    }
}
