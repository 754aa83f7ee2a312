//! Making what is kept small: what is derived is packed, what nobody needs any more goes. History stays as it is: heads, `state` and
//! what `verify` says are the same afterwards, and at any instant in between (I9).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aios_core::id::DeviceId;
use serde::Serialize;

use crate::chance;
use crate::disk::{durable, fault};
use crate::error::Error;
use crate::git;
use crate::segment::Segment;
use crate::vault::{Vault, git_error};

/// What of a file on its way nobody goes on with is dropped once it is older than this.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// What mirrors of the log held that later ones took the place of goes after this: somebody's `git push` may just be reading it.
const REPLACED: Duration = Duration::from_secs(10);
/// All packs become one while they have no more bytes than this: the versions of one file are small only beside each other.
const WHOLE: u64 = 1 << 30;
/// The database is written anew once this part of it stands empty.
const EMPTY: u64 = 10;
/// The last segment of a log is ended and packed once it has so many bytes: what is packed is packed in blocks of this size.
const SEGMENT: u64 = 64 << 10;
/// The same while nobody waits, so that a log that grows every day does not become a file for each.
const IDLE_SEGMENT: u64 = 1 << 20;
/// From so many loose objects on it pays to pack them while nobody waits.
const LOOSE: usize = 256;
/// While nobody waits, what mirrors held goes after this.
const IDLE_REPLACED: Duration = Duration::from_secs(300);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Only say what there is to gain.
    pub dry_run: bool,
    /// Let go of what repairs took out of the way, and of the commits that a folder had before it joined, too.
    pub aside: bool,
}

/// Something that takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Bytes that came in part, of what is here by now or nobody wants any more.
    Partial,
    /// The log.
    Log,
    /// Git's objects.
    Git,
    /// The database.
    Database,
}

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Which.
    pub part: Part,
    /// How many bytes it took.
    pub before: u64,
    /// How many it takes; after a dry run, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// What was done, or is to be done.
    pub what: String,
}

/// A ref that was let go of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Aside {
    /// Its name.
    pub name: String,
    /// What it named.
    pub commit: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// How many bytes are free now that were not.
    pub freed: u64,
    /// Each part.
    pub parts: Vec<Room>,
    /// The refs that are set aside, and with the flag let go of: what they alone reach is there until the next time.
    pub aside: Vec<Aside>,
}

impl Vault {
    /// Makes the vault's folder small.
    ///
    /// # Errors
    /// What the disk, git and the database answer; what was done by then stays done, and nothing is half done.
    pub fn gc(&mut self, wanted: Wanted) -> Result<Collected, Error> {
        let parts = vec![
            self.drop_partial(wanted.dry_run)?,
            self.pack_log(wanted.dry_run)?,
            self.pack_git(wanted.dry_run)?,
            self.shrink_database(wanted.dry_run)?,
        ];
        // After packing: what they alone reach is in a pack still, and can be had back until the next one is written.
        let aside = self.let_aside_go(wanted)?;
        let freed = |room: &Room| room.before.saturating_sub(room.after.unwrap_or(room.before));
        let freed = if wanted.dry_run { 0 } else { parts.iter().map(freed).sum() };
        Ok(Collected { dry_run: wanted.dry_run, freed, parts, aside })
    }

    /// What a daemon does while nobody waits: packs objects where many lie loose, and empties the database's journal. Whether
    /// there was anything to do.
    ///
    /// # Errors
    /// As [`Vault::gc`].
    pub fn gc_idle(&mut self) -> Result<bool, Error> {
        self.checkpoint()?;
        // One at a time: nobody is to wait for all of them.
        if let Some((device, segment)) = self.plain_segments(IDLE_SEGMENT)?.first() {
            self.passes("gc.log")?;
            self.log.pack(device, segment)?;
        }
        let pays = git::count_loose(&self.repo)? >= LOOSE + self.left_loose()?;
        if pays {
            self.repack_by(&git::Limits { replaced: IDLE_REPLACED, ..git::Limits::default() })?;
        }
        Ok(pays)
    }

    /// Drops what came in part of bytes that are here by now, or that nobody wants any more.
    fn drop_partial(&mut self, dry_run: bool) -> Result<Room, Error> {
        let folder = self.layout.partial();
        let awaited: BTreeSet<String> = self
            .apart_wanted()?
            .into_iter()
            .map(|named| match named {
                crate::apart::Named::Blob(content) => content.hash.hex(),
                crate::apart::Named::History(tip) => format!("history-{tip}"),
            })
            .collect();
        let (mut before, mut gone, mut count) = (0, 0, 0);
        for (path, size, modified) in files(&folder)? {
            before += size;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let old = chance::age(modified).is_some_and(|age| age > ABANDONED);
            // What is being received right now is awaited, or is wanted no more; what is being given away has no name any more.
            if awaited.contains(name) || (name.starts_with("give-") && !old) {
                continue;
            }
            (gone, count) = (gone + size, count + 1);
            if !dry_run {
                durable::remove(&path)?;
            }
        }
        let what = format!("{count} files that came in part and are not needed");
        Ok(Room { part: Part::Partial, before, after: Some(before - gone), what })
    }

    /// The segments of all logs that may be packed.
    fn plain_segments(&self, least: u64) -> Result<Vec<(DeviceId, Segment)>, Error> {
        let mut out = Vec::new();
        for device in self.log.devices()? {
            if let Some((_, _, end)) = self.tip(&device)? {
                let segments = self.log.plain(&device, end, least)?;
                out.extend(segments.into_iter().map(|segment| (device, segment)));
            }
        }
        Ok(out)
    }

    /// Packs the segments of the logs that have ended.
    fn pack_log(&mut self, dry_run: bool) -> Result<Room, Error> {
        let size = |vault: &Vault| -> Result<u64, Error> {
            Ok(files(&vault.layout.logs())?.iter().map(|(_, size, _)| size).sum())
        };
        let before = size(self)?;
        let plain = self.plain_segments(SEGMENT)?;
        let what = format!("{} of its segments are not packed", plain.len());
        if dry_run {
            return Ok(Room { part: Part::Log, before, after: None, what });
        }
        for (device, segment) in plain {
            self.passes("gc.log")?;
            self.log.pack(&device, &segment)?;
        }
        Ok(Room { part: Part::Log, before, after: Some(size(self)?), what })
    }

    /// Packs what git keeps one by one, and drops what nothing reaches.
    fn pack_git(&mut self, dry_run: bool) -> Result<Room, Error> {
        let objects = self.repo.commondir().join("objects");
        let all = files(&objects)?;
        let before: u64 = all.iter().map(|(_, size, _)| size).sum();
        let packed = |path: &Path| path.parent().is_some_and(|folder| folder.ends_with("pack"));
        let packs = || all.iter().filter(|(path, ..)| path.extension().is_some_and(|end| end == "pack"));
        let loose = all.iter().filter(|(path, ..)| !packed(path)).count();
        let mut sizes: Vec<u64> = packs().map(|(_, size, _)| *size).collect();
        sizes.extend(all.iter().filter(|(path, ..)| !packed(path)).map(|(_, size, _)| *size));
        let (sum, largest) = (sizes.iter().sum::<u64>(), sizes.iter().max().copied().unwrap_or(0));
        // One pack of all is worth its while once the rest is more than a tenth of the largest.
        let whole = sum - largest > largest / 10;
        let what = format!("{loose} loose objects, {} packs", packs().count());
        if dry_run {
            return Ok(Room { part: Part::Git, before, after: None, what });
        }
        let (packs, whole) = if whole { (0, WHOLE) } else { (1, 0) };
        self.repack_by(&git::Limits { replaced: REPLACED, packs, whole, ..git::Limits::default() })?;
        let after = files(&objects)?.iter().map(|(_, size, _)| size).sum();
        Ok(Room { part: Part::Git, before, after: Some(after), what })
    }

    fn shrink_database(&mut self, dry_run: bool) -> Result<Room, Error> {
        let size = |vault: &Vault| -> Result<u64, Error> {
            let own = files(&vault.layout.own())?;
            let is_ours = |path: &Path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with("cache.sqlite"))
            };
            Ok(own.iter().filter(|(path, ..)| is_ours(path)).map(|(_, size, _)| size).sum())
        };
        let before = size(self)?;
        let empty: i64 = self.db.query_row(
            "SELECT (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)
             + (SELECT coalesce(sum(unused), 0) FROM dbstat)",
            [],
            |row| row.get(0),
        )?;
        let what = format!("{} of its bytes stand empty", empty.max(0));
        if dry_run {
            return Ok(Room { part: Part::Database, before, after: None, what });
        }
        self.checkpoint()?;
        if empty.max(0) as u64 * EMPTY > before {
            self.vacuum()?;
        }
        Ok(Room { part: Part::Database, before, after: Some(size(self)?), what })
    }

    /// Writes the database anew, so that nothing stands in it that was deleted.
    pub(crate) fn vacuum(&mut self) -> Result<(), Error> {
        self.passes("gc.database")?;
        self.db.flush_prepared_statement_cache();
        self.db.execute_batch("VACUUM")?;
        self.checkpoint()
    }

    /// Takes the database's journal into it and empties it. Where another process reads, it stays.
    fn checkpoint(&self) -> Result<(), Error> {
        self.passes("gc.checkpoint")?;
        Ok(self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn let_aside_go(&mut self, wanted: Wanted) -> Result<Vec<Aside>, Error> {
        let refs =
            git::own_refs(&self.repo)?.into_iter().filter(|(name, _)| name.starts_with(git::ASIDE_PREFIX));
        let aside: Vec<Aside> =
            refs.map(|(name, commit)| Aside { name, commit: commit.to_string() }).collect();
        if wanted.aside && !wanted.dry_run {
            // What the log has as history is kept by refs of its own, whatever else named it.
            for Aside { name, .. } in &aside {
                self.passes("gc.aside")?;
                let mut found = self.repo.find_reference(name).map_err(git_error)?;
                found.delete().map_err(git_error)?;
            }
        }
        Ok(aside)
    }

    fn passes(&self, name: &'static str) -> Result<(), Error> {
        fault::point(name).map_err(|e| Error::io("tidy up", self.root(), e))
    }
}

/// Every file below a folder: its size, and when it was written last.
fn files(folder: &Path) -> Result<Vec<(std::path::PathBuf, u64, SystemTime)>, Error> {
    let list = match std::fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        let path = entry.path();
        let file = match entry.metadata() {
            Ok(file) => file,
            // Another program may have tidied up meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io("look at", &path, e)),
        };
        match file.is_dir() {
            true => out.extend(files(&path)?),
            false => {
                let modified = file.modified().map_err(|e| Error::io("look at", &path, e))?;
                out.push((path, file.len(), modified));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::git;
    use crate::world::{World, quiet};

    /// Two replicas after some hundred saves.
    fn used() -> World {
        let mut world = World::new(2);
        for n in 0..60_u32 {
            let path = world.root(0).join(format!("{}/note.md", n % 5));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            std::fs::write(&path, format!("{text}line {n} and {}\n", n.wrapping_mul(2_654_435_761))).unwrap();
            world.commit(0);
        }
        std::fs::write(world.root(0).join("logo.png"), [0, 1, 2]).unwrap();
        world.commit(0);
        world
    }

    fn stand(world: &mut World) -> (Option<String>, String, bool) {
        let status = world.replicas[0].status(&mut quiet()).unwrap();
        assert!(status.problems.is_empty() && status.pending.is_empty(), "{status:?}");
        let report = world.replicas[0].verify(true, &mut quiet()).unwrap();
        (status.head, status.state, report.ok)
    }

    #[test]
    fn all_is_as_before_and_smaller() {
        let mut world = used();
        let before = stand(&mut world);
        let tried = world.replicas[0].gc(Wanted { dry_run: true, aside: true }).unwrap();
        assert_eq!(tried.freed, 0);
        // What mirrors held is dropped once it is not quite new.
        let objects = world.root(0).join(".git/objects");
        let past = SystemTime::now() - Duration::from_secs(60);
        for (path, ..) in files(&objects).unwrap() {
            let set = std::fs::File::open(&path).and_then(|file| file.set_modified(past));
            assert!(set.is_ok());
        }
        let loose = files(&objects).unwrap().len();
        let done = world.replicas[0].gc(Wanted::default()).unwrap();
        assert!(done.freed > 0 && files(&objects).unwrap().len() < loose / 10, "{done:?}");
        assert_eq!(stand(&mut world), before);
        git(&world.root(0), &["fsck", "--full", "--strict"]);
        world.rebuild(0);
        assert_eq!(stand(&mut world), before);
        // It goes on.
        std::fs::write(world.root(0).join("0/note.md"), "new\n").unwrap();
        world.sync();
        assert_eq!(std::fs::read(world.root(1).join("0/note.md")).unwrap(), b"new\n");
        assert_eq!(world.replicas[0].gc(Wanted::default()).unwrap().aside, []);
        world.restart(0);
        assert!(stand(&mut world).2);
    }

    #[test]
    fn commits_that_wait_for_bytes_stay_however_old_they_are() {
        let mut world = World::new(2);
        world.sync();
        std::fs::write(world.root(0).join("logo.png"), [0, 159, 146]).unwrap();
        for n in 0..3 {
            std::fs::write(world.root(0).join("note.md"), format!("{n}\n")).unwrap();
            world.commit(0);
        }
        while world.deliver(0, 1, 1 << 20) > 0 {}
        world.commit(1);
        let old = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        for (path, ..) in files(&world.root(1).join(".git/objects")).unwrap() {
            std::fs::File::open(&path).and_then(|file| file.set_modified(old)).unwrap();
        }
        world.replicas[1].gc(Wanted::default()).unwrap();
        let report = world.replicas[1].verify(true, &mut quiet()).unwrap();
        assert!(report.findings.iter().all(|finding| finding.what.contains("not here")), "{report:?}");
        world.replicas[1].store_blob(3, &mut [0, 159, 146].as_slice()).unwrap();
        world.sync();
        world.assert_equal();
        assert!(world.replicas[1].verify(true, &mut quiet()).unwrap().ok);
    }

    #[test]
    fn what_came_in_part_goes_once_nobody_awaits_it() {
        let mut world = World::new(2);
        std::fs::write(world.root(0).join("logo.png"), [0, 1, 2, 3]).unwrap();
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
        world.commit(1);
        let folder = world.root(1).join(".aios/partial");
        std::fs::create_dir_all(&folder).unwrap();
        let awaited = folder.join(aios_core::id::ContentHash::of(&[0, 1, 2, 3]).hex());
        let other = folder.join("0".repeat(64));
        let given = folder.join("give-0011");
        for path in [&awaited, &other, &given] {
            std::fs::write(path, [0, 1]).unwrap();
        }
        let done = world.replicas[1].gc(Wanted { dry_run: true, aside: false }).unwrap();
        assert_eq!((done.parts[0].before, done.parts[0].after), (6, Some(4)));
        assert!(other.exists());
        world.replicas[1].gc(Wanted::default()).unwrap();
        assert!(awaited.exists() && given.exists() && !other.exists());
    }

    #[test]
    fn what_is_aside_goes_only_when_that_is_asked_for_and_can_be_had_back_until_the_next_time() {
        let mut world = World::new(1);
        let root = world.root(0);
        let repo = git2::Repository::open(&root).unwrap();
        let by = git2::Signature::now("a", "a@b").unwrap();
        let tree = repo.find_tree(repo.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let commit = repo.commit(None, &by, &by, "before it joined", &tree, &[]).unwrap();
        let name = format!("{}{commit}", git::ASIDE_PREFIX);
        repo.reference(&name, commit, true, "").unwrap();
        let vault = &mut world.replicas[0];
        for wanted in [Wanted::default(), Wanted { dry_run: true, aside: true }] {
            assert_eq!(vault.gc(wanted).unwrap().aside.len(), 1);
            assert!(repo.find_reference(&name).is_ok());
        }
        let done = vault.gc(Wanted { dry_run: false, aside: true }).unwrap();
        assert_eq!(done.aside, [Aside { name: name.clone(), commit: commit.to_string() }]);
        assert!(repo.find_reference(&name).is_err());
        let repo = git2::Repository::open(&root).unwrap();
        assert!(repo.find_commit(commit).is_ok());
    }

    #[test]
    fn a_daemon_that_is_idle_packs_what_lies_loose() {
        let mut world = used();
        let before = stand(&mut world);
        assert!(world.replicas[0].gc_idle().unwrap());
        assert!(
            !world.replicas[0].gc_idle().unwrap(),
            "what must stay loose for now is no reason to try again"
        );
        assert_eq!(stand(&mut world), before);
    }
}
