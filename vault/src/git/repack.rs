//! Housekeeping: loose objects and small packs into one pack with deltas, and objects nothing reaches removed.

use super::pack::PackIndex;
use super::{Commit, Entry, Error, Index, LOG_MESSAGE, TREE, durable, entries, objects, orphan};
use crate::chance;
use git2::{ObjectType, Oid, Repository};
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// When housekeeping does what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// An object that nothing reaches is removed once its file is older than this.
    pub unreached: Duration,
    /// So is, older than this, what only mirrors of logs held that later ones took the place of: each record leaves some.
    pub replaced: Duration,
    /// With more packs than this, all but one that holds over half of the bytes become one.
    pub packs: usize,
    /// Where all packs together have no more bytes than this, that one becomes one with the others too.
    pub whole: u64,
    /// A loose file of more bytes than this stays loose: deltas would not help it and would hold it in memory.
    pub largest: u64,
}

impl Default for Limits {
    /// Two weeks, as `git gc`; an hour; 20 packs; 1 MiB.
    fn default() -> Self {
        Limits {
            unreached: Duration::from_secs(14 * 24 * 3600),
            replaced: Duration::from_secs(3600),
            packs: 20,
            whole: 0,
            largest: 1 << 20,
        }
    }
}

/// What housekeeping did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repacked {
    /// Objects in the new pack.
    pub packed: usize,
    /// Packs that went into it.
    pub packs: usize,
    /// Loose files removed because a pack has them.
    pub loose: usize,
    /// Objects removed because nothing reaches them.
    pub unreached: usize,
    /// Loose files that stay.
    pub left: usize,
}

/// What the name of an unfinished folder of housekeeping starts with.
const TEMPORARY: &str = "tmp_repack_aios_";

/// So few objects are packed by one thread.
const FEW: usize = 2000;

/// The folders that loose objects lie in.
const FOLDERS: usize = 256;
/// Those of them that stand for all.
const SAMPLE: [&str; 4] = ["17", "5a", "9c", "e3"];

/// Whether about so many objects have a file of their own. Ids are spread evenly over 256 folders, so that looking into some
/// tells, as `git gc --auto` does with one.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read.
pub fn loose_at_least(repo: &Repository, limit: usize) -> Result<bool, Error> {
    let objects = repo.commondir().join("objects");
    let mut sample = 0;
    for folder in SAMPLE {
        sample += list(&objects.join(folder))?.len();
    }
    Ok(sample * FOLDERS / SAMPLE.len() >= limit)
}

/// How many objects have a file of their own, exactly: it looks into every folder, which is for when nobody waits.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read.
pub fn count_loose(repo: &Repository) -> Result<usize, Error> {
    let mut count = 0;
    each_loose(&repo.commondir().join("objects"), &mut |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |e| Error::io("list", folder)(e);
    match fs::read_dir(folder) {
        Ok(names) => names.map(|name| name.map(|name| name.path())).collect::<Result<_, _>>().map_err(failed),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(failed(e)),
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

fn each_loose(objects: &Path, found: &mut dyn FnMut(Oid, PathBuf) -> Result<(), Error>) -> Result<(), Error> {
    for folder in list(objects)?.into_iter().filter(|folder| name(folder).len() == 2) {
        for path in list(&folder)? {
            let hex = [name(&folder), name(&path)].concat();
            match Oid::from_str(&hex) {
                Ok(oid) if hex.len() == 40 => found(oid, path)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// A pack on disk.
struct OnDisk {
    pack: PathBuf,
    index: PackIndex,
    bytes: u64,
    modified: SystemTime,
}

fn packs(folder: &Path) -> Result<Vec<OnDisk>, Error> {
    let mut out = Vec::new();
    for path in list(folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "idx")) {
        let pack = path.with_extension("pack");
        let held = ["keep", "promisor"].iter().any(|mark| pack.with_extension(mark).exists());
        match pack.metadata() {
            Ok(file) if !held => {
                let modified = file.modified().map_err(Error::io("read", &pack))?;
                out.push(OnDisk { index: PackIndex::open(&path)?, pack, bytes: file.len(), modified });
            }
            _ => {}
        }
    }
    out.sort_by_key(|pack| pack.bytes);
    Ok(out)
}

/// Puts loose objects that something reaches into one new pack with deltas, with the objects of small packs when there are
/// too many of these, then removes what the new pack replaces and what nothing has reached for long. What is reached: every
/// ref, HEAD and its likes (`ORIG_HEAD`…), the reflogs, the index, and what `also` names. At every instant each reached object is durable in at
/// least one place (I9). Nothing else may write objects through this module meanwhile. Walks history until every candidate is found, so its cost follows the age of the oldest one.
///
/// libgit2 keeps the indexes of packs it has opened: when [`Repacked::packs`] is not 0, open every repository handle anew
/// before writing, or it will take objects of a removed pack for present.
///
/// # Errors
/// [`Error::Git`] or [`Error::Io`]; then nothing was removed that is not in a durable pack.
pub fn repack(repo: &Repository, limits: &Limits, also: &[Oid]) -> Result<Repacked, Error> {
    run(repo, limits, also, &BTreeSet::new())
}

/// Drops these objects, whatever reaches them, and what mirrors of logs held that others took the place of; all other objects are in
/// one pack then. Gives those that are there all the same, in a pack that somebody marked to be kept.
///
/// # Errors
/// As [`repack`].
pub fn expunge(repo: &Repository, leave: &BTreeSet<Oid>) -> Result<Vec<Oid>, Error> {
    let limits = Limits {
        unreached: Duration::MAX,
        replaced: Duration::ZERO,
        packs: 0,
        whole: u64::MAX,
        largest: u64::MAX,
    };
    run(repo, &limits, &[], leave)?;
    let repo = Repository::open(repo.path()).map_err(Error::git("opening the repository"))?;
    let odb = repo.odb().map_err(Error::git("opening the object database"))?;
    Ok(leave.iter().copied().filter(|id| odb.exists(*id)).collect())
}

fn run(repo: &Repository, limits: &Limits, also: &[Oid], leave: &BTreeSet<Oid>) -> Result<Repacked, Error> {
    let folder = repo.commondir().join("objects");
    let pack_folder = folder.join("pack");
    let older = |modified: SystemTime, limit| chance::age(modified).is_some_and(|age| age > limit);
    let old = |modified: SystemTime| older(modified, limits.unreached);
    remove_leftovers(&folder)?;
    remove_leftovers(&pack_folder)?;
    orphan::index(repo, &pack_folder, &list(&pack_folder)?, TEMPORARY)?;

    let mut loose: HashMap<Oid, (PathBuf, SystemTime)> = HashMap::new();
    each_loose(&folder, &mut |oid, path| {
        let file = path.metadata().map_err(Error::io("read", &path))?;
        if file.len() <= limits.largest {
            loose.insert(oid, (path.clone(), file.modified().map_err(Error::io("read", &path))?));
        }
        Ok(())
    })?;
    let mut kept = packs(&pack_folder)?;
    let mut merged = Vec::new();
    if kept.len() > limits.packs {
        let total: u64 = kept.iter().map(|pack| pack.bytes).sum();
        let big = match total <= limits.whole {
            true => kept.len(),
            false => kept.partition_point(|pack| pack.bytes <= total / 2),
        };
        // One pack alone would become itself.
        if big > 1 || (big == 1 && total <= limits.whole && !(loose.is_empty() && leave.is_empty())) {
            merged = kept.drain(..big).collect();
        }
    }

    // What a kept pack has needs no second place.
    let mut wanted: HashSet<Oid> = HashSet::new();
    let held = |oid: Oid| kept.iter().any(|pack| pack.index.contains(oid));
    wanted.extend(loose.keys().copied().filter(|oid| !held(*oid)));
    wanted.extend(merged.iter().flat_map(|pack| pack.index.ids()).filter(|oid| !held(*oid)));
    wanted.retain(|oid| !leave.contains(oid));
    let candidates = wanted.len();
    let mut walk = Walk::new(repo, wanted)?;
    walk.run(also)?;

    // Not reached: dropped when old, carried along when in a pack that goes, left loose otherwise.
    let mut doomed: HashSet<Oid> = HashSet::new();
    if walk.complete && !walk.wanted.is_empty() {
        doomed = walk.wanted.clone();
        let young = merged.iter().filter(|pack| !old(pack.modified)).flat_map(|pack| pack.index.ids());
        young.for_each(|oid| _ = doomed.remove(&oid));
        let replaced = walk.replaced()?;
        doomed.retain(|oid| {
            loose.get(oid).is_none_or(|(_, modified)| {
                old(*modified) || replaced.contains(oid) && older(*modified, limits.replaced)
            })
        });
    }
    if walk.complete && !leave.is_empty() {
        // Whatever its age and wherever it lies: it says what was to be dropped.
        doomed.extend(walk.mirrored()?);
    }
    let carried: Vec<Oid> =
        merged.iter().flat_map(|pack| pack.index.ids()).filter(|oid| walk.wanted.contains(oid)).collect();
    for oid in carried {
        if !doomed.contains(&oid) && walk.wanted.remove(&oid) {
            walk.found.push((oid, String::new()));
        }
    }
    debug_assert!(walk.found.len() + walk.wanted.len() == candidates);
    doomed.extend(leave);

    let new = build(repo, &pack_folder, &walk.found)?;
    let mut done = Repacked { packed: walk.found.len(), packs: merged.len(), ..Repacked::default() };
    let safe = |oid: Oid| held(oid) || new.as_ref().is_some_and(|(_, index)| index.contains(oid));
    for pack in &merged {
        let same = new.as_ref().is_some_and(|(path, _)| *path == pack.pack);
        if !same && pack.index.ids().all(|oid| safe(oid) || doomed.contains(&oid)) {
            // Without its index a pack is nothing to git, so that no reader meets half of one.
            for extension in ["idx", "rev", "bitmap", "mtimes", "pack"] {
                durable::remove(&pack.pack.with_extension(extension))?;
            }
        }
    }
    for (oid, (path, _)) in &loose {
        if safe(*oid) {
            durable::remove(path)?;
            done.loose += 1;
        } else if doomed.contains(oid) {
            durable::remove(path)?;
        } else {
            done.left += 1;
        }
    }
    done.unreached = doomed.len();
    let odb = repo.odb().map_err(Error::git("opening the object database"))?;
    odb.refresh().map_err(Error::git("refreshing the object database"))?;
    Ok(done)
}

/// Removes what killed writers left more than a day ago.
fn remove_leftovers(folder: &Path) -> Result<(), Error> {
    for path in list(folder)? {
        let ours = [TEMPORARY, super::pack::TEMPORARY, "tmp_idx_aios_", "tmp_obj_aios_"];
        if !ours.iter().any(|prefix| name(&path).starts_with(prefix)) {
            continue;
        }
        let Ok(file) = path.symlink_metadata() else { continue };
        let age = file.modified().ok().and_then(chance::age);
        if age.is_some_and(|age| age > Duration::from_secs(24 * 3600)) {
            let removed = if file.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Writes a pack with deltas of these objects and reads its index back. None for no objects.
fn build(
    repo: &Repository,
    folder: &Path,
    found: &[(Oid, String)],
) -> Result<Option<(PathBuf, PackIndex)>, Error> {
    if found.is_empty() {
        return Ok(None);
    }
    durable::create_folder(folder)?;
    let failed = |e| Error::git("packing objects")(e);
    let mut builder = repo.packbuilder().map_err(failed)?;
    // Threads of its own cost more than they bring to few objects; 0 is as many as there are processors.
    builder.set_threads(u32::from(found.len() < FEW));
    for (oid, name) in found {
        builder.insert_object(*oid, Some(name)).map_err(failed)?;
    }
    let temporary = durable::create_temporary_folder(folder, TEMPORARY)?;
    let built = (|| {
        builder.write(&temporary, 0o444).map_err(failed)?;
        let wrong = |why| Error::BadPack { path: temporary.clone(), why };
        let files = list(&temporary)?;
        let find = |end: &str| files.iter().find(|path| path.extension().is_some_and(|e| e == end));
        let (Some(pack), Some(idx)) = (find("pack"), find("idx")) else {
            return Err(wrong("libgit2 wrote no pack"));
        };
        for path in [pack, idx] {
            let file = fs::File::open(path).map_err(Error::io("open", path))?;
            durable::sync_file(&file, path)?;
        }
        let index = PackIndex::open(idx)?;
        if !found.iter().all(|(oid, _)| index.contains(*oid)) {
            return Err(wrong("libgit2 left objects out"));
        }
        let at = folder.join(name(pack));
        durable::rename(pack, &at)?;
        durable::rename(idx, &at.with_extension("idx"))?;
        durable::sync_folder(folder)?;
        Ok((at, index))
    })();
    // Empty after success; after a failure the first error is the one to tell.
    let _ = fs::remove_dir_all(&temporary);
    built.map(Some)
}

/// A walk over what is reached, newest commits first, that ends when every wanted object is found.
struct Walk<'r> {
    repo: &'r Repository,
    wanted: HashSet<Oid>,
    /// Wanted objects with a name that groups the versions of one file or folder for deltas, newest first.
    found: Vec<(Oid, String)>,
    seen: HashSet<Oid>,
    commits: BinaryHeap<(i64, Oid)>,
    /// Whether every reached object was there to be looked into.
    complete: bool,
}

impl<'r> Walk<'r> {
    fn new(repo: &'r Repository, wanted: HashSet<Oid>) -> Result<Self, Error> {
        let (found, seen, commits) = (Vec::new(), HashSet::new(), BinaryHeap::new());
        // Linked work trees have an index and a HEAD of their own, and an alternate borrower may exist: prune nothing then.
        let complete = list(&repo.commondir().join("worktrees"))?.is_empty();
        Ok(Walk { repo, wanted, found, seen, commits, complete })
    }

    fn run(&mut self, also: &[Oid]) -> Result<(), Error> {
        let mut tips = also.to_vec();
        let failed = |e| Error::git("listing refs")(e);
        for reference in self.repo.references().map_err(failed)? {
            tips.extend(reference.map_err(failed)?.target());
        }
        for path in list(self.repo.path())? {
            let file = name(&path);
            if file.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && path.is_file() {
                collect_ids(&path, &mut tips)?;
            }
        }
        self.logs(&self.repo.commondir().join("logs"), &mut tips)?;
        for tip in tips {
            self.tip(tip)?;
        }
        for (path, mode, oid) in Index::read(self.repo)?.iter() {
            if mode != 0o160_000 {
                self.find(oid, name(Path::new(&*String::from_utf8_lossy(path))));
            }
        }
        while let Some((_, oid)) = self.commits.pop() {
            if self.wanted.is_empty() {
                return Ok(());
            }
            self.commit(oid)?;
        }
        Ok(())
    }

    fn logs(&self, folder: &Path, tips: &mut Vec<Oid>) -> Result<(), Error> {
        for path in list(folder)? {
            if path.is_dir() {
                self.logs(&path, tips)?;
            } else {
                collect_ids(&path, tips)?;
            }
        }
        Ok(())
    }

    /// Of what was not found, the mirrors of logs, with what they held.
    fn replaced(&self) -> Result<HashSet<Oid>, Error> {
        let odb = self.repo.odb().map_err(Error::git("opening the object database"))?;
        let mut out = HashSet::new();
        for oid in &self.wanted {
            if !odb.read_header(*oid).is_ok_and(|(_, kind)| kind == ObjectType::Commit) {
                continue;
            }
            let commit = Commit::parse(*oid, &objects::read(self.repo, *oid)?.1)?;
            if !commit.parents.is_empty() || !commit.message.starts_with(LOG_MESSAGE.as_bytes()) {
                continue;
            }
            out.extend([*oid, commit.tree]);
            if let Ok((ObjectType::Tree, raw)) = objects::read(self.repo, commit.tree) {
                out.extend(entries(commit.tree, &raw)?.into_iter().map(|entry| entry.oid));
            }
        }
        Ok(out)
    }

    /// Of what was not found, what mirrors of logs held and hold no more: entries of records.
    fn mirrored(&self) -> Result<HashSet<Oid>, Error> {
        let odb = self.repo.odb().map_err(Error::git("opening the object database"))?;
        let mut out = HashSet::new();
        for oid in &self.wanted {
            if odb.read_header(*oid).is_ok_and(|(_, kind)| kind == ObjectType::Blob)
                && objects::read(self.repo, *oid)?.1.starts_with(b"R ")
            {
                out.insert(*oid);
            }
        }
        Ok(out)
    }

    fn find(&mut self, oid: Oid, name: &str) {
        if self.wanted.remove(&oid) {
            self.found.push((oid, name.to_owned()));
        }
    }

    fn read(&mut self, oid: Oid) -> Result<Option<(ObjectType, Vec<u8>)>, Error> {
        match objects::read(self.repo, oid) {
            Ok(found) => Ok(Some(found)),
            // A shallow or already damaged repository: what lies behind is unknown, so nothing is pruned.
            Err(Error::Missing(_)) => {
                self.complete = false;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Begins at any object: a reflog's may be gone, which hides nothing that is still there.
    fn tip(&mut self, mut oid: Oid) -> Result<(), Error> {
        while !self.seen.contains(&oid) {
            let (kind, raw) = match objects::read(self.repo, oid) {
                Ok(found) => found,
                Err(Error::Missing(_)) => return Ok(()),
                Err(e) => return Err(e),
            };
            match kind {
                ObjectType::Commit => {
                    let time = Commit::parse(oid, &raw)?.committer.seconds;
                    self.seen.insert(oid);
                    self.commits.push((time, oid));
                }
                ObjectType::Tag => {
                    self.seen.insert(oid);
                    self.find(oid, "");
                    let target = raw.strip_prefix(b"object ").and_then(|rest| rest.get(..40));
                    let target = target.and_then(|hex| std::str::from_utf8(hex).ok());
                    match target.and_then(|hex| Oid::from_str(hex).ok()) {
                        Some(target) => oid = target,
                        None => return Ok(()),
                    }
                }
                ObjectType::Tree => return self.tree(oid, "", 0),
                _ => {
                    self.find(oid, "");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self, oid: Oid) -> Result<(), Error> {
        let Some((_, raw)) = self.read(oid)? else { return Ok(()) };
        self.find(oid, "");
        let commit = Commit::parse(oid, &raw)?;
        for parent in commit.parents {
            if self.seen.insert(parent) {
                // A parent is not newer than its child, whatever its clock said; its own time is read when its turn comes.
                self.commits.push((commit.committer.seconds, parent));
            }
        }
        self.tree(commit.tree, "", 0)
    }

    fn tree(&mut self, oid: Oid, name: &str, depth: usize) -> Result<(), Error> {
        if !self.seen.insert(oid) {
            return Ok(());
        }
        if depth > 512 {
            self.complete = false;
            return Ok(());
        }
        self.find(oid, name);
        let Some((_, raw)) = self.read(oid)? else { return Ok(()) };
        for Entry { mode, oid, name } in entries(oid, &raw)? {
            match mode {
                TREE => self.tree(oid, &String::from_utf8_lossy(&name), depth + 1)?,
                0o160_000 => {}
                _ if self.wanted.contains(&oid) => self.find(oid, &String::from_utf8_lossy(&name)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Every object id in the words of a file: a reflog, or a file like `ORIG_HEAD`.
fn collect_ids(path: &Path, out: &mut Vec<Oid>) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    for line in bytes.split(|&b| b == b'\n') {
        for word in line.split(|&b| b == b' ' || b == b'\t').take(2) {
            let hex = std::str::from_utf8(word).ok().filter(|hex| hex.len() == 40);
            out.extend(hex.and_then(|hex| Oid::from_str(hex).ok()).filter(|oid| !oid.is_zero()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{commit_tree, git, repository};
    use crate::git::{Bulk, Change, Loose, MAIN, Objects, Signature, edit_tree, set_ref};

    const FILE: u32 = 0o100_644;

    fn text(i: usize, version: usize) -> String {
        (0..60)
            .map(|line| format!("line {line} of note {i}: {}\n", line * 7919 * (i + 1)))
            .collect::<String>()
            + &format!("version {version}\n")
    }

    /// A vault of `files` notes and then `commits` commits of one note each.
    fn history(repo: &Repository, files: usize, commits: usize, each: bool) -> Oid {
        let path = |i: usize| format!("folder {}/note {i}.md", i % 10).into_bytes();
        let mut bulk = Bulk::new(repo, 1).unwrap();
        let changes: Vec<Change> = (0..files)
            .map(|i| (path(i), Some((FILE, bulk.write(ObjectType::Blob, text(i, 0).as_bytes()).unwrap()))))
            .collect();
        let mut tree = edit_tree(&mut bulk, None, &changes).unwrap();
        let mut head = commit_tree(&mut bulk, tree, &[], 0);
        bulk.finish(false).unwrap();
        for n in 1..=commits {
            let i = n * 31 % files;
            let mut step = |objects: &mut dyn Objects| {
                let blob = objects.write(ObjectType::Blob, text(i, n).as_bytes()).unwrap();
                tree = edit_tree(objects, Some(tree), &[(path(i), Some((FILE, blob)))]).unwrap();
                head = commit_tree(objects, tree, &[head], n as i64);
            };
            if each {
                let mut bulk = Bulk::new(repo, 1).unwrap();
                step(&mut bulk);
                bulk.finish(false).unwrap();
            } else {
                step(&mut Loose::new(repo, false).unwrap());
            }
        }
        set_ref(repo, MAIN, head, None, &Signature::new("t", "", 0), "x").unwrap();
        head
    }

    fn size(folder: &Path) -> u64 {
        let all = list(folder).unwrap();
        all.iter().map(|p| if p.is_dir() { size(p) } else { p.metadata().unwrap().len() }).sum()
    }

    #[test]
    fn loose_objects_go_to_one_pack_and_nothing_reached_is_lost() {
        let (dir, repo) = repository();
        let head = history(&repo, 200, 100, false);
        let mut objects = Loose::new(&repo, false).unwrap();
        let young = objects.write(ObjectType::Blob, b"nobody has me").unwrap();
        fs::write(dir.path().join("staged"), "staged only").unwrap();
        let staged = git(dir.path(), &["add", "staged"])
            .map(|_| objects.write(ObjectType::Blob, b"staged only").unwrap());
        let before = size(&repo.path().join("objects"));
        let done = repack(&repo, &Limits::default(), &[]).unwrap();
        assert_eq!(done.packed, 100 * 4 + usize::from(staged.is_some()));
        assert_eq!((done.loose, done.unreached, done.packs), (done.packed, 0, 0));
        let mut left = 0;
        each_loose(&repo.path().join("objects"), &mut |_, _| {
            left += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((left, done.left), (1, 1));
        assert!(size(&repo.path().join("objects")) < before);
        git(dir.path(), &["fsck", "--strict", "--connectivity-only"]);
        git(dir.path(), &["fsck", "--strict"]);
        let now = Limits { unreached: Duration::ZERO, ..Limits::default() };
        let unreached = Repacked { unreached: 1, ..Repacked::default() };
        assert_eq!(repack(&repo, &now, &[]).unwrap(), unreached);
        let odb = repo.odb().unwrap();
        assert!(!odb.exists(young) && odb.exists(head));
        assert!(staged.is_none_or(|staged| odb.exists(staged)));
        git(dir.path(), &["fsck", "--strict"]);
    }

    #[test]
    fn replaced_mirrors_of_logs_go_before_other_things_that_nothing_reaches() {
        let (dir, repo) = repository();
        let mut objects = Loose::new(&repo, false).unwrap();
        let mut mirror = |text: &[u8]| {
            let blob = objects.write(ObjectType::Blob, text).unwrap();
            let shared = objects.write(ObjectType::Blob, b"in both").unwrap();
            let entries = [("1-1", shared), ("2-2", blob)];
            let entries = entries.map(|(name, oid)| (name.as_bytes().to_vec(), Some((FILE, oid))));
            let tree = edit_tree(&mut objects, None, &entries).unwrap();
            let by = Signature::new("aios", "", 0);
            let message = [LOG_MESSAGE.as_bytes(), text].concat();
            let (author, committer) = (by.clone(), by.clone());
            let commit = Commit { tree, parents: Vec::new(), author, committer, encoding: None, message };
            let commit = objects.write(ObjectType::Commit, &commit.to_bytes()).unwrap();
            set_ref(&repo, "refs/aios/log/x", commit, git_ref(&repo), &by, "x").unwrap();
            (commit, blob)
        };
        let first = mirror(b"one");
        let second = mirror(b"two");
        // A user's file may hold the very bytes.
        let third = mirror(b"three");
        let tree = edit_tree(&mut objects, None, &[(b"a".to_vec(), Some((FILE, second.1)))]).unwrap();
        let head = commit_tree(&mut objects, tree, &[], 0);
        set_ref(&repo, MAIN, head, None, &Signature::new("t", "", 0), "x").unwrap();
        let other = objects.write(ObjectType::Blob, b"nobody has me").unwrap();
        let young = repack(&repo, &Limits::default(), &[]).unwrap();
        assert_eq!((young.unreached, young.left), (0, 6));
        let limits = Limits { replaced: Duration::ZERO, ..Limits::default() };
        let done = repack(&repo, &limits, &[]).unwrap();
        assert_eq!((done.unreached, done.left), (5, 1));
        let odb = repo.odb().unwrap();
        assert!(!odb.exists(first.0) && !odb.exists(first.1) && !odb.exists(second.0));
        assert!([second.1, third.0, third.1, other].into_iter().all(|oid| odb.exists(oid)));
        git(dir.path(), &["fsck", "--strict"]);
    }

    fn git_ref(repo: &Repository) -> Option<Oid> {
        crate::git::read_ref(repo, "refs/aios/log/x").unwrap()
    }

    #[test]
    fn many_packs_become_few_and_small() {
        let (dir, repo) = repository();
        history(&repo, 2_000, 60, true);
        let start = std::time::Instant::now();
        let done = repack(&repo, &Limits::default(), &[]).unwrap();
        println!("60 packs repacked: {:?}", start.elapsed());
        assert!(done.packs >= 60, "{done:?}");
        let ours = size(&repo.path().join("objects"));
        let count = list(&repo.path().join("objects/pack")).unwrap().len();
        assert!(count <= 4, "{count}");
        git(dir.path(), &["fsck", "--strict"]);
        if git(dir.path(), &["gc", "-q"]).is_some() {
            let theirs = size(&repo.path().join("objects"));
            println!("ours {ours}, git gc {theirs}");
            assert!(ours * 2 < theirs * 3);
        }
    }
}
