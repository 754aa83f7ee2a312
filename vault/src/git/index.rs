//! The index: kept in line with what aios commits, without touching what the user staged. Format: `gitformat-index(5)`,
//! versions 2 to 4 read, 2 or 3 written.

use super::durable::Lock;
use super::objects::oid;
use super::{Error, durable};
use git2::{Oid, Repository};
use sha1::{Digest, Sha1};
use std::collections::{BTreeSet, HashMap};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file's state as git remembers it, to see without reading that the file is unchanged. Seconds and sizes are cut to 32
/// bits, as git does. All zero means unknown: git then compares content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stat {
    /// Seconds and nanoseconds of the last change of the inode.
    pub ctime: (u32, u32),
    /// Seconds and nanoseconds of the last change of the content.
    pub mtime: (u32, u32),
    /// The device.
    pub dev: u32,
    /// The inode.
    pub ino: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size in bytes.
    pub size: u32,
}

impl Stat {
    /// From what the system says of a file (of the link itself for a link).
    #[cfg(unix)]
    pub fn of(file: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Stat {
            ctime: (file.ctime() as u32, file.ctime_nsec() as u32),
            mtime: (file.mtime() as u32, file.mtime_nsec() as u32),
            dev: file.dev() as u32,
            ino: file.ino() as u32,
            uid: file.uid(),
            gid: file.gid(),
            size: file.size() as u32,
        }
    }

    /// From what the system says of a file (of the link itself for a link).
    #[cfg(not(unix))]
    pub fn of(file: &Metadata) -> Self {
        let time = |time: std::io::Result<SystemTime>| time.map_or((0, 0), moment);
        Stat {
            ctime: time(file.created()),
            mtime: time(file.modified()),
            size: file.len() as u32,
            ..Stat::default()
        }
    }
}

fn moment(time: SystemTime) -> (u32, u32) {
    time.duration_since(UNIX_EPOCH).map_or((0, 0), |since| (since.as_secs() as u32, since.subsec_nanos()))
}

/// A path that a new commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The path, its folders separated by `/`.
    pub path: Vec<u8>,
    /// Mode and blob in the old HEAD, None if it had no such path.
    pub old: Option<(u32, Oid)>,
    /// Mode, blob and the state of the file on disk, None if the path went.
    pub new: Option<(u32, Oid, Stat)>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: Vec<u8>,
    stat: Stat,
    mode: u32,
    oid: Oid,
    flags: u16,
    extended: u16,
}

const ASSUME_VALID: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
const LENGTH: u16 = 0x0fff;
const SKIP_WORKTREE: u16 = 0x4000;
const INTENT_TO_ADD: u16 = 0x2000;

impl Entry {
    fn stage(&self) -> u16 {
        self.flags & STAGE
    }

    /// What the user has staged here; nothing for `git add --intent-to-add`.
    fn staged(&self) -> Option<(u32, Oid)> {
        (self.extended & INTENT_TO_ADD == 0).then_some((self.mode, self.oid))
    }
}

/// The index as it was read.
#[derive(Debug)]
pub struct Index {
    entries: Vec<Entry>,
    /// When the file was written, as git takes it for telling racy entries.
    written: (u32, u32),
}

impl Index {
    /// Reads a repository's index; an absent file is an empty index.
    ///
    /// # Errors
    /// [`Error::BadIndex`] when it is damaged, split or sparse.
    pub fn read(repo: &Repository) -> Result<Self, Error> {
        Index::open(&repo.path().join("index"))
    }

    /// Whether there is none. Git makes one with the first command and removes none: it is lost.
    pub fn is_absent(repo: &Repository) -> bool {
        repo.path().join("index").symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Index { entries: Vec::new(), written: (0, 0) });
            }
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let modified = path.metadata().and_then(|file| file.modified()).map_err(Error::io("read", path))?;
        let entries =
            parse(&bytes).map_err(|(why, help)| Error::BadIndex { path: path.into(), why, help })?;
        Ok(Index { entries, written: moment(modified) })
    }

    /// Where the entries of a path begin, or would.
    fn position(&self, path: &[u8]) -> usize {
        self.entries.partition_point(|entry| *entry.path < *path)
    }

    /// The mode and blob staged at a path; None when there is none, it is in conflict or only intended.
    pub fn get(&self, path: &[u8]) -> Option<(u32, Oid)> {
        let entry = self.entries.get(self.position(path))?;
        if *entry.path == *path && entry.stage() == 0 { entry.staged() } else { None }
    }

    /// Whether git left files in conflict.
    pub fn has_conflicts(&self) -> bool {
        self.entries.iter().any(|entry| entry.stage() != 0)
    }

    /// Whether the user has git leave the file at `path` out of the work tree.
    pub fn skips(&self, path: &[u8]) -> bool {
        let entry = self.entries.get(self.position(path));
        entry.is_some_and(|entry| *entry.path == *path && entry.extended & SKIP_WORKTREE != 0)
    }

    /// Path, mode and blob of every entry, those in conflict too, in git's order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32, Oid)> {
        self.entries.iter().map(|entry| (&entry.path[..], entry.mode, entry.oid))
    }

    /// Whether a file at `path` would have another entry as its folder, or lie where one has a folder.
    fn clashes(&self, path: &[u8]) -> bool {
        let above = path.iter().enumerate().filter(|(_, b)| **b == b'/').any(|(end, _)| {
            let folder = &path[..end];
            self.entries.get(self.position(folder)).is_some_and(|entry| *entry.path == *folder)
        });
        let below = [path, b"/"].concat();
        above || self.entries.get(self.position(&below)).is_some_and(|entry| entry.path.starts_with(&below))
    }

    /// Has git leave the working files in `folders` alone, and those in `back` no longer. Whether any entry changed.
    fn leave_out(&mut self, folders: &BTreeSet<String>, back: &BTreeSet<String>) -> bool {
        let mut changed = false;
        for entry in &mut self.entries {
            let skips = match (lies_in(&entry.path, folders), lies_in(&entry.path, back)) {
                (true, _) => SKIP_WORKTREE,
                (false, true) => 0,
                (false, false) => continue,
            };
            if entry.extended & SKIP_WORKTREE != skips {
                entry.extended = entry.extended & !SKIP_WORKTREE | skips;
                entry.stat = Stat::default();
                changed = true;
            }
        }
        changed
    }

    /// Applies updates; gives the paths left as the user staged them, and whether any entry changed. What is added in
    /// `left_out` is left out of the work tree.
    fn apply(&mut self, updates: &[Update], left_out: &BTreeSet<String>) -> (Vec<Vec<u8>>, bool) {
        let mut changed = false;
        let by_path: HashMap<&[u8], &Update> = updates.iter().map(|u| (&u.path[..], u)).collect();
        let mut done: HashMap<&[u8], bool> = HashMap::new();
        self.entries.retain_mut(|entry| {
            let Some((&path, update)) = by_path.get_key_value(&entry.path[..]) else { return true };
            let staged = entry.staged();
            let new = update.new.map(|(mode, oid, _)| (mode, oid));
            let ours = entry.stage() == 0 && (staged.is_none() || staged == update.old || staged == new);
            done.insert(path, ours);
            match update.new {
                Some((mode, oid, stat)) if ours => {
                    let skips = if lies_in(path, left_out) { SKIP_WORKTREE } else { 0 };
                    let extended = entry.extended & SKIP_WORKTREE | skips;
                    let as_new = (mode, oid, stat, extended);
                    changed |= as_new != (entry.mode, entry.oid, entry.stat, entry.extended);
                    (entry.mode, entry.oid, entry.stat, entry.extended) = as_new;
                    true
                }
                None if ours => {
                    changed = true;
                    false
                }
                _ => true,
            }
        });
        let mut kept = Vec::new();
        let mut added = Vec::new();
        for (path, update) in by_path {
            match (done.get(path), update.new) {
                (Some(true), _) => {}
                (Some(false), _) => kept.push(path.to_vec()),
                // The user staged a removal; the new content differs from it and from HEAD.
                (None, Some(_)) if update.old.is_some() => kept.push(path.to_vec()),
                (None, Some(_)) if self.clashes(path) => kept.push(path.to_vec()),
                (None, Some((mode, oid, stat))) => {
                    let extended = if lies_in(path, left_out) { SKIP_WORKTREE } else { 0 };
                    added.push(Entry { path: path.to_vec(), stat, mode, oid, flags: 0, extended });
                }
                (None, None) => {}
            }
        }
        changed |= !added.is_empty();
        self.entries.append(&mut added);
        self.entries.sort_by(|a, b| a.path.cmp(&b.path).then(a.stage().cmp(&b.stage())));
        kept.sort();
        (kept, changed)
    }

    /// Makes git compare the content of entries that were written in the same moment as the old index, since a change in
    /// that moment shows in no time stamp, and will not be told by the new index's own (git's `ce_smudge_racily_clean_entry`).
    /// Both by the second and finer, as git may be built for either.
    fn smudge(&mut self, updates: &[Update], now: (u32, u32)) {
        let fresh: std::collections::HashSet<&[u8]> = updates.iter().map(|u| &u.path[..]).collect();
        let old = self.written;
        for entry in &mut self.entries {
            let at = entry.stat.mtime;
            let racy = (at.0 >= old.0 && at.0 < now.0) || (at >= old && at < now);
            if racy && !fresh.contains(&entry.path[..]) {
                entry.stat.size = 0;
            }
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let version: u32 = if self.entries.iter().any(|entry| entry.extended != 0) { 3 } else { 2 };
        let mut out = Vec::with_capacity(self.entries.len() * 104 + 32);
        out.extend_from_slice(b"DIRC");
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for entry in &self.entries {
            let start = out.len();
            let s = &entry.stat;
            let words =
                [s.ctime.0, s.ctime.1, s.mtime.0, s.mtime.1, s.dev, s.ino, entry.mode, s.uid, s.gid, s.size];
            for word in words {
                out.extend_from_slice(&word.to_be_bytes());
            }
            out.extend_from_slice(entry.oid.as_bytes());
            let length = u16::try_from(entry.path.len()).unwrap_or(LENGTH).min(LENGTH);
            let extended = if entry.extended == 0 { 0 } else { EXTENDED };
            let flags = (entry.flags & (ASSUME_VALID | STAGE)) | extended | length;
            out.extend_from_slice(&flags.to_be_bytes());
            if entry.extended != 0 {
                out.extend_from_slice(&entry.extended.to_be_bytes());
            }
            out.extend_from_slice(&entry.path);
            // One to eight NULs, to a multiple of eight.
            let padded = (out.len() - start) / 8 * 8 + 8;
            out.resize(start + padded, 0);
        }
        let hash = Sha1::digest(&out);
        out.extend_from_slice(&hash);
        out
    }
}

/// What helps against damage.
pub(super) const REBUILD: &str = "`aios rebuild` makes it again (this forgets what is staged)";

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, (String, &'static str)> {
    let bad = |why: &str| (why.to_owned(), REBUILD);
    let short = || bad("it is cut short");
    if bytes.len() < 32 || !bytes.starts_with(b"DIRC") {
        return Err(bad("it does not begin with DIRC"));
    }
    let (body, sum) = bytes.split_at(bytes.len() - 20);
    // All zero with `index.skipHash`.
    if sum != [0; 20] && Sha1::digest(body).as_slice() != sum {
        return Err(bad("its checksum does not match"));
    }
    let word = |at: usize| -> Result<u32, (String, &'static str)> {
        let word = body.get(at..at + 4).and_then(|word| word.try_into().ok()).ok_or_else(short)?;
        Ok(u32::from_be_bytes(word))
    };
    let version = word(4)?;
    if !(2..=4).contains(&version) {
        return Err((format!("its version is {version}"), "run `git update-index --index-version 2`"));
    }
    let count = word(8)? as usize;
    let mut entries: Vec<Entry> = Vec::with_capacity(count.min(body.len() / 62));
    let mut at = 12;
    for _ in 0..count {
        let start = at;
        let mut words = [0_u32; 10];
        for (i, slot) in words.iter_mut().enumerate() {
            *slot = word(start + 4 * i)?;
        }
        let id = body.get(start + 40..start + 60).ok_or_else(short)?;
        let oid = oid(id).map_err(|_| bad("an id cannot be read"))?;
        let half = |at: usize| {
            body.get(at..at + 2).map(|half| u16::from_be_bytes([half[0], half[1]])).ok_or_else(short)
        };
        let flags = half(start + 60)?;
        at = start + 62;
        let mut extended = 0;
        if flags & EXTENDED != 0 {
            extended = half(at)?;
            at += 2;
        }
        let mut path = Vec::new();
        if version == 4 {
            let (strip, after) = strip_length(body, at).ok_or_else(short)?;
            at = after;
            let last: &[u8] = entries.last().map_or(&[], |entry| &entry.path);
            let keep = last.len().checked_sub(strip).ok_or_else(|| bad("a path is cut beyond its length"))?;
            path.extend_from_slice(&last[..keep]);
        }
        let length = body.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0)).ok_or_else(short)?;
        path.extend_from_slice(&body[at..at + length]);
        at += length;
        at = if version == 4 { at + 1 } else { start + (at - start) / 8 * 8 + 8 };
        let [cs, cn, ms, mn, dev, ino, mode, uid, gid, size] = words;
        let stat = Stat { ctime: (cs, cn), mtime: (ms, mn), dev, ino, uid, gid, size };
        entries.push(Entry { path, stat, mode, oid, flags, extended });
    }
    // Extensions are caches and may be dropped, but those of a lowercase name say that the entries are not all.
    while at + 8 <= body.len() {
        let name = &body[at..at + 4];
        match name {
            b"link" => {
                return Err(("it is split".into(), "run `git update-index --no-split-index`"));
            }
            b"sdir" => return Err(("it is sparse".into(), "run `git sparse-checkout disable`")),
            [first, ..] if !first.is_ascii_uppercase() => {
                return Err(bad("it needs an extension that aios does not know"));
            }
            _ => at = (at + 8).saturating_add(word(at + 4)? as usize),
        }
    }
    let sorted = entries.is_sorted_by(|a, b| a.path.cmp(&b.path).then(a.stage().cmp(&b.stage())).is_lt());
    if sorted { Ok(entries) } else { Err(bad("its entries are not in order")) }
}

/// Git's offset encoding: seven bits a byte, each continuation adding one.
fn strip_length(body: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut byte = *body.get(at)?;
    at += 1;
    let mut value = usize::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = *body.get(at)?;
        at += 1;
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
    }
    Some((value, at))
}

/// Whether a path lies in one of these folders.
fn lies_in(path: &[u8], folders: &BTreeSet<String>) -> bool {
    let Ok(path) = std::str::from_utf8(path) else { return false };
    let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
    !folders.is_empty() && (folders.contains(path) || above.any(|folder| folders.contains(folder)))
}

/// Brings the index in line with a commit and the files on disk, so that `git status` is clean of the updated paths. An entry
/// is changed only if it is as in the old HEAD (or absent from both) or as in the new; what the user staged otherwise, a
/// conflict too, stays. Gives the paths left so, sorted. What is added in the folders `left_out` is not compared with the work tree. Costs
/// reading and writing the index once; nothing is written when nothing changes.
///
/// # Errors
/// [`Error::IndexBusy`] when another git command holds it, [`Error::BadIndex`] when it cannot be read, [`Error::Io`].
pub fn update_index(
    repo: &Repository,
    updates: &[Update],
    left_out: &BTreeSet<String>,
) -> Result<Vec<Vec<u8>>, Error> {
    Held::take(repo)?.update(updates, left_out)
}

/// Has `git status` and `git commit -a` leave the working files in `folders` alone, as those that a sparse checkout leaves out
/// (`git-update-index(1)`, skip-worktree), and those in `back` no longer.
///
/// # Errors
/// As [`update_index`].
pub fn leave_out(
    repo: &Repository,
    folders: &BTreeSet<String>,
    back: &BTreeSet<String>,
) -> Result<(), Error> {
    Held::take(repo)?.change(&[], |index| ((), index.leave_out(folders, back)))
}

/// The index as it is while git's own lock keeps others from changing it; let go of when it is dropped.
#[derive(Debug)]
pub struct Held {
    lock: Lock,
    path: PathBuf,
    /// The moment of the lock, not of the later write, becomes the index's: a file changed after the caller looked at it has
    /// that very time or a later one, so git takes it for racy or sees that it changed.
    now: SystemTime,
    index: Index,
}

impl Held {
    /// Takes the lock and reads what is there.
    ///
    /// # Errors
    /// As [`update_index`].
    pub fn take(repo: &Repository) -> Result<Self, Error> {
        let path: PathBuf = repo.path().join("index");
        let lock = Lock::take(repo.path(), &path)?.ok_or_else(|| Error::IndexBusy(Lock::path(&path)))?;
        let failed = |e| Error::io("read", Lock::path(&path))(e);
        let now = lock.file.metadata().and_then(|file| file.modified()).map_err(failed)?;
        let index = Index::open(&path)?;
        Ok(Held { lock, path, now, index })
    }

    /// As [`update_index`].
    ///
    /// # Errors
    /// What the system answers.
    pub fn update(self, updates: &[Update], left_out: &BTreeSet<String>) -> Result<Vec<Vec<u8>>, Error> {
        self.change(updates, |index| index.apply(updates, left_out))
    }

    fn change<T>(self, updates: &[Update], change: impl FnOnce(&mut Index) -> (T, bool)) -> Result<T, Error> {
        let Held { mut lock, path, now, mut index } = self;
        let (kept, changed) = change(&mut index);
        if !changed {
            return Ok(kept);
        }
        index.smudge(updates, moment(now));
        lock.write(&index.to_bytes())?;
        durable::set_modified(&lock.file, now).map_err(Error::io("date", Lock::path(&path)))?;
        // Durably: a caller then notes that the index is at the new commit, and never looks again (I9).
        lock.commit()?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{commit_tree, git, repository};
    use crate::git::{Bulk, Change, Loose, MAIN, Objects, Signature, edit_tree, read_ref, set_ref};
    use git2::ObjectType;
    use std::fs;

    const FILE: u32 = 0o100_644;

    /// Writes files, commits them over HEAD and brings the index in line; None removes. Gives what was left staged.
    fn project(repo: &Repository, files: &[(&str, Option<&str>)]) -> Vec<Vec<u8>> {
        let root = repo.workdir().unwrap().to_owned();
        let mut objects = Bulk::new(repo, 1).unwrap();
        let head = read_ref(repo, MAIN).unwrap();
        let base = head.map(|head| repo.find_commit(head).unwrap().tree_id());
        let (mut changes, mut updates): (Vec<Change>, Vec<Update>) = (Vec::new(), Vec::new());
        for (path, text) in files {
            let file = root.join(path);
            let old = base.and_then(|base| crate::git::lookup(&mut objects, base, path.as_bytes()).unwrap());
            let new = match text {
                Some(text) => {
                    fs::create_dir_all(file.parent().unwrap()).unwrap();
                    fs::write(&file, text).unwrap();
                    let oid = objects.write(ObjectType::Blob, text.as_bytes()).unwrap();
                    Some((FILE, oid, Stat::of(&file.symlink_metadata().unwrap())))
                }
                None => {
                    fs::remove_file(&file).unwrap();
                    None
                }
            };
            changes.push((path.as_bytes().to_vec(), new.map(|(mode, oid, _)| (mode, oid))));
            updates.push(Update { path: path.as_bytes().to_vec(), old, new });
        }
        let tree = edit_tree(&mut objects, base, &changes).unwrap();
        let commit = commit_tree(&mut objects, tree, head.as_slice(), 5);
        objects.finish(false).unwrap();
        set_ref(repo, MAIN, commit, head, &Signature::new("t", "", 5), "x").unwrap();
        update_index(repo, &updates, &BTreeSet::new()).unwrap()
    }

    fn status(repo: &Repository) -> Option<String> {
        git(repo.workdir().unwrap(), &["status", "--porcelain"])
    }

    #[test]
    fn status_is_clean_whatever_converts_line_ends() {
        let (dir, repo) = repository();
        repo.config().unwrap().set_str("core.autocrlf", "true").unwrap();
        repo.config().unwrap().set_str("filter.f.clean", "tr a-z A-Z").unwrap();
        let attributes = "* text=auto eol=crlf\n*.md ident filter=f\nb.txt working-tree-encoding=UTF-16\n";
        let files = [
            (".gitattributes", Some(attributes)),
            ("a.md", Some("one\r\ntwo\n$Id$\n")),
            ("b.txt", Some("lf\n")),
            ("dir/c.txt", Some("crlf\r\n")),
            ("dir.d", Some("")),
        ];
        assert!(project(&repo, &files).is_empty());
        assert!(status(&repo).is_none_or(|out| out.is_empty()));
        // Also when git has to look at the content.
        for (path, text) in &files {
            fs::write(dir.path().join(path), text.unwrap()).unwrap();
        }
        assert!(status(&repo).is_none_or(|out| out.is_empty()));
        project(&repo, &[("a.md", Some("three\r")), ("dir/c.txt", None), ("z/y", Some("new"))]);
        assert!(status(&repo).is_none_or(|out| out.is_empty()));
        project(&repo, &[("dir.d", None), ("dir.d/x", Some("now a folder"))]);
        assert!(status(&repo).is_none_or(|out| out.is_empty()));
        git(dir.path(), &["fsck", "--strict"]);
    }

    #[test]
    fn what_the_user_staged_survives() {
        let (dir, repo) = repository();
        let names = ["changed", "removed", "same", "plain", "intended"];
        project(&repo, &names[..4].iter().map(|name| (*name, Some("base\n"))).collect::<Vec<_>>());
        fs::write(dir.path().join("changed"), "staged\n").unwrap();
        fs::write(dir.path().join("same"), "new\n").unwrap();
        fs::write(dir.path().join("intended"), "new\n").unwrap();
        fs::write(dir.path().join("added"), "mine\n").unwrap();
        if git(dir.path(), &["add", "changed", "same", "added"]).is_none() {
            return;
        }
        git(dir.path(), &["rm", "--cached", "-q", "removed"]);
        git(dir.path(), &["add", "-N", "intended"]);
        let staged = Index::read(&repo).unwrap().get(b"changed");
        let mut files: Vec<_> = names.iter().map(|name| (*name, Some("new\n"))).collect();
        files.push(("added/inside", Some("x")));
        fs::remove_file(dir.path().join("added")).unwrap();
        let kept = project(&repo, &files);
        assert_eq!(kept, [&b"added/inside"[..], b"changed", b"removed"]);
        let index = Index::read(&repo).unwrap();
        assert_eq!(index.get(b"changed"), staged);
        assert_eq!(index.get(b"removed"), None);
        assert!(index.get(b"added").is_some());
        let status = status(&repo).unwrap();
        for line in ["MM changed", "D  removed"] {
            assert!(status.contains(line), "{status}");
        }
        for clean in ["same", "plain", "intended"] {
            assert!(!status.contains(clean), "{status}");
        }
    }

    #[test]
    fn a_change_in_the_moment_of_the_index_is_seen() {
        let (dir, repo) = repository();
        for round in 0..20 {
            project(&repo, &[("a", Some(&format!("{round:02}"))), ("b", Some("x"))]);
            // The same size in the same moment, and then a later index.
            fs::write(dir.path().join("a"), "!!").unwrap();
            project(&repo, &[("c", Some(&format!("{round:02}")))]);
            assert!(status(&repo).is_none_or(|out| out == " M a\n"), "round {round}");
        }
    }

    #[test]
    fn a_lock_or_damage_is_told_and_left_alone() {
        let (_dir, repo) = repository();
        project(&repo, &[("a", Some("x")), ("b/c", Some("y"))]);
        let path = repo.path().join("index");
        let lock = repo.path().join("index.lock");
        fs::write(&lock, "").unwrap();
        assert!(
            matches!(update_index(&repo, &[], &BTreeSet::new()), Err(Error::IndexBusy(at)) if at == lock)
        );
        assert!(lock.exists());
        fs::remove_file(&lock).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            for bytes in [good[..at].to_vec(), [&good[..at], &[good[at] ^ 0x41], &good[at + 1..]].concat()] {
                // Without a checksum (`index.skipHash`) the reader itself has to stand it.
                let mut bare = bytes.clone();
                let keep = bare.len().saturating_sub(20);
                bare[keep..].fill(0);
                let _ = parse(&bare);
                fs::write(&path, bytes).unwrap();
                assert!(matches!(Index::read(&repo), Err(Error::BadIndex { .. })));
            }
        }
        assert!(!lock.exists());
    }

    #[test]
    fn every_version_git_writes_is_read() {
        let (dir, repo) = repository();
        project(&repo, &[("a/long/path", Some("x")), ("a/long/path2", Some("y")), ("b", Some("z"))]);
        let all = |repo: &Repository| {
            let index = Index::read(repo).unwrap();
            index.iter().map(|(path, mode, oid)| (path.to_vec(), mode, oid)).collect::<Vec<_>>()
        };
        let before = all(&repo);
        for version in ["4", "3", "2"] {
            if git(dir.path(), &["update-index", "--index-version", version]).is_none() {
                return;
            }
            git(dir.path(), &["update-index", "--skip-worktree", "b"]);
            assert_eq!(all(&repo), before);
            project(&repo, &[("a/long/path", Some(version))]);
            assert_eq!(status(&repo).unwrap(), "");
            assert!(git(dir.path(), &["ls-files", "-v", "b"]).unwrap().starts_with('S'));
            project(&repo, &[("a/long/path", Some("x"))]);
        }
        git(dir.path(), &["update-index", "--split-index"]);
        assert!(matches!(Index::read(&repo), Err(Error::BadIndex { .. })));
    }

    #[test]
    fn ten_thousand_entries_timed() {
        let (dir, repo) = repository();
        let oid = Loose::new(&repo, false).unwrap().write(ObjectType::Blob, b"x").unwrap();
        fs::write(dir.path().join("x"), "x").unwrap();
        let stat = Stat::of(&dir.path().join("x").metadata().unwrap());
        let updates: Vec<Update> = (0..10_000)
            .map(|i| Update {
                path: format!("{}/a note of some length {i}.md", i % 100).into(),
                old: None,
                new: Some((FILE, oid, stat)),
            })
            .collect();
        let start = std::time::Instant::now();
        update_index(&repo, &updates, &BTreeSet::new()).unwrap();
        println!("index of 10,000: {:?}", start.elapsed());
        let one = Update {
            path: updates[77].path.clone(),
            old: Some((FILE, oid)),
            new: Some((0o100_755, oid, stat)),
        };
        let start = std::time::Instant::now();
        assert!(update_index(&repo, &[one], &BTreeSet::new()).unwrap().is_empty());
        println!("one entry of 10,000: {:?}", start.elapsed());
        assert_eq!(Index::read(&repo).unwrap().get(&updates[77].path), Some((0o100_755, oid)));
    }
}
