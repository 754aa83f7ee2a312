//! A walk of the vault's folder: what is there, and what could not be seen.
//!
//! A scan never lets "not seen" look like "not there" (I12): a folder that cannot be listed, a file that
//! cannot be looked at and a folder that belongs to another vault or repository are named in
//! [`Scan::unreadable`], and a root that is missing, unreadable or empty is told apart in [`Scan::root`].
//! Links are listed, never followed.

use super::{DiskError, Folder, FolderError, Rules, fault, folder};
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// A file or link that a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path in the vault, `/` between components.
    pub path: String,
    /// File or link.
    pub kind: Kind,
    /// Length in bytes; of a link, of its target's path.
    pub size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of the inode (mode, name, links too), in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Inode number: with `dev`, what the file is across renames.
    pub ino: u64,
    /// Number of the device it lies on.
    pub dev: u64,
    /// Whether its owner may execute it.
    pub exec: bool,
    /// How many names it has.
    pub nlink: u64,
}

impl Found {
    /// What `stat` says of `path`; `None` if it is neither a file nor a link.
    // The widths of these fields differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
    pub fn of(path: &str, stat: &Stat) -> Option<Self> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            _ => return None,
        };
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Some(Self {
            path: path.to_owned(),
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            ino: stat.st_ino as u64,
            dev: stat.st_dev as u64,
            exec: kind == Kind::File && stat.st_mode & 0o100 != 0,
            nlink: stat.st_nlink as u64,
        })
    }

    /// Whether `other`, seen at another time, is surely the same content: nothing a write touches differs.
    pub fn same(&self, other: &Self) -> bool {
        (self.kind, self.size, self.mtime_ns, self.ctime_ns, self.ino, self.dev)
            == (other.kind, other.size, other.mtime_ns, other.ctime_ns, other.ino, other.dev)
    }

    /// Whether a write just after `now_ns` could leave the times as they are, because the clock of the file
    /// system is coarse: content read then must be read again before [`Found::same`] may be believed.
    pub fn racy(&self, now_ns: i64) -> bool {
        // Kernels stamp files at each tick (up to 10 ms); whole seconds mean ext3, HFS+ or FAT (2 s).
        let grain = if self.mtime_ns % 1_000_000_000 == 0 { 2_000_000_000 } else { 20_000_000 };
        self.mtime_ns.max(self.ctime_ns).saturating_add(grain) >= now_ns
    }
}

/// How the root of the vault looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// It holds something besides `.aios` and `.git`.
    Ready,
    /// It holds nothing besides `.aios` and `.git`: emptied, or not mounted.
    Empty,
    /// There is no such folder.
    Missing,
    /// It cannot be listed.
    Unreadable,
}

/// What a scan could not take for a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanProblem {
    /// Where: a path in the vault, empty for its root. Bytes that are not UTF-8 are shown as `\xNN`.
    pub path: String,
    /// What.
    pub problem: Problem,
}

/// Kinds of [`ScanProblem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The name is not UTF-8.
    Name,
    /// A pipe, socket or device.
    Special,
    /// A git repository inside the vault.
    Repository,
    /// What is left of another vault inside the vault.
    Vault,
    /// A name that some file systems take for `.git` or `.aios`.
    Reserved,
    /// The folder with the keys of this machine's user.
    Keys,
    /// It cannot be listed or looked at, for this reason.
    Unreadable(io::ErrorKind),
}

impl Problem {
    /// What is wrong, for a person.
    pub fn what(self) -> String {
        match self {
            Self::Name => "its name is not UTF-8".to_owned(),
            Self::Special => "it is a pipe, socket or device".to_owned(),
            Self::Repository => "it is a git repository of its own".to_owned(),
            Self::Vault => "it was a vault of its own, and its `.aios` does not say so any more".to_owned(),
            Self::Reserved => "its name is one that some file systems take for `.git` or `.aios`".to_owned(),
            Self::Keys => {
                "it holds this machine's keys, which must not lie in a vault: nothing in it is taken in"
                    .to_owned()
            }
            Self::Unreadable(kind) => format!("it cannot be read: {kind}"),
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Name => "rename it (for instance with `convmv`); until then it stays on this device only",
            Self::Special => "move it out of the vault or ignore it",
            Self::Repository => "remove its `.git` to take its files in, or ignore the folder",
            Self::Vault => {
                "`aios rebuild` there makes it one again; or remove its `.aios` and `.git` to take its files in"
            }
            Self::Reserved => "rename it; until then it stays on this device only",
            Self::Keys => "move it out of the vault, and name the new place in AIOS_DATA_DIR",
            Self::Unreadable(io::ErrorKind::PermissionDenied) => "check its owner and permissions",
            Self::Unreadable(_) => "check the disk; its files are taken for unchanged",
        }
    }
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The files and links, sorted by the bytes of their paths.
    pub entries: Vec<Found>,
    /// What is wrong, sorted by path.
    pub problems: Vec<ScanProblem>,
    /// Paths at or below which nothing is known: whatever was there must not be taken for deleted (I12).
    pub unreadable: BTreeSet<String>,
    /// Folders that are vaults of their own: nothing in them belongs to this one.
    pub nested: BTreeSet<String>,
    /// How the root looks.
    pub root: Root,
}

impl Scan {
    /// Whether the scan could see what stands at `path`: only then does its absence mean that it is gone.
    pub fn saw(&self, path: &str) -> bool {
        let hidden = |at: &str| self.unreadable.contains(at);
        matches!(self.root, Root::Ready | Root::Empty)
            && !hidden("")
            && !hidden(path)
            && !path.match_indices('/').any(|(at, _)| hidden(&path[..at]))
    }
}

/// What stands at `path`, by itself: for a watcher's event, for a known document that the rules hide from
/// [`scan`], and to make sure before a deletion is recorded. `None`: surely no file or link is there.
///
/// # Errors
/// [`FolderError`] when it cannot be told (I12).
pub fn look(root: &Folder, path: &str) -> Result<Option<Found>, FolderError> {
    folder::check_path(path)?;
    let (parent, name) = folder::split(path);
    match root.beneath(parent) {
        Ok(parent) => Ok(parent.stat(name)?.and_then(|stat| Found::of(path, &stat))),
        Err(FolderError::Missing(_) | FolderError::File(_) | FolderError::Link(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What one worker gathers.
#[derive(Default)]
struct Part {
    entries: Vec<Found>,
    problems: Vec<ScanProblem>,
    unreadable: BTreeSet<String>,
    nested: BTreeSet<String>,
}

impl Part {
    fn problem(&mut self, path: String, problem: Problem) {
        self.unreadable.insert(path.clone());
        self.problems.push(ScanProblem { path, problem });
    }
}

/// The folders still to be listed, shared by the workers.
struct Queue {
    folders: Vec<String>,
    /// Workers that are listing a folder and may add more.
    busy: usize,
}

/// From how many waiting folders a second worker pays.
const SECOND_WORKER: usize = 8;

/// Walks the vault at `root`, leaving out what `rules` ignore.
pub fn scan(root: &Path, rules: &Rules) -> Scan {
    match Folder::open(root) {
        Ok(folder) => scan_below(&folder, "", rules),
        Err(e) => unseen("", e.kind()),
    }
}

/// Walks the folder `path` of the vault at `root`, as [`scan`] does the whole: for a folder that a watcher
/// has just seen appear. [`Scan::root`] then tells how that folder looks, [`Scan::saw`] answers for what is
/// below it.
pub fn scan_below(root: &Folder, path: &str, rules: &Rules) -> Scan {
    let mut part = Part::default();
    let mut folders = Vec::new();
    let folder = match root.beneath(path) {
        Ok(folder) => folder,
        Err(FolderError::Disk(e)) => return unseen(path, e.kind()),
        Err(_) => return unseen(path, io::ErrorKind::NotFound),
    };
    let state = match list(&folder, path, rules, &mut part, &mut folders) {
        None => Root::Unreadable,
        Some(true) => Root::Ready,
        Some(false) => Root::Empty,
    };
    walk(root, rules, folders, &mut part);
    part.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    part.problems.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Scan {
        entries: part.entries,
        problems: part.problems,
        unreadable: part.unreadable,
        nested: part.nested,
        root: state,
    }
}

/// The scan of a folder that cannot be opened.
fn unseen(path: &str, kind: io::ErrorKind) -> Scan {
    let mut part = Part::default();
    part.problem(path.to_owned(), Problem::Unreadable(kind));
    let root = if kind == io::ErrorKind::NotFound { Root::Missing } else { Root::Unreadable };
    Scan {
        entries: part.entries,
        problems: part.problems,
        unreadable: part.unreadable,
        nested: part.nested,
        root,
    }
}

fn walk(root: &Folder, rules: &Rules, folders: Vec<String>, part: &mut Part) {
    let two = folders.len() >= SECOND_WORKER;
    let queue = Mutex::new(Queue { folders, busy: 0 });
    let changed = Condvar::new();
    let work = |part: &mut Part| {
        let mut below = Vec::new();
        let mut at = queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(path) = at.folders.pop() else {
                if at.busy == 0 {
                    return;
                }
                at = changed.wait(at).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            at.busy += 1;
            drop(at);
            match root.beneath(&path) {
                Ok(folder) => {
                    list(&folder, &path, rules, part, &mut below);
                }
                // Gone, or replaced, since its name was read.
                Err(FolderError::Missing(_) | FolderError::File(_) | FolderError::Link(_)) => {}
                Err(FolderError::Disk(e)) => part.problem(path, Problem::Unreadable(e.kind())),
                Err(FolderError::Path { path, .. }) => part.problem(path, Problem::Name),
            }
            at = queue.lock().unwrap_or_else(PoisonError::into_inner);
            at.busy -= 1;
            at.folders.append(&mut below);
            if at.busy == 0 || !at.folders.is_empty() {
                changed.notify_all();
            }
        }
    };
    if !two {
        return work(part);
    }
    let mut other = Part::default();
    std::thread::scope(|scope| {
        // Without a second thread the first does it all.
        let second = std::thread::Builder::new().spawn_scoped(scope, || {
            let mut part = Part::default();
            work(&mut part);
            part
        });
        work(part);
        if let Ok(Ok(done)) = second.map(std::thread::ScopedJoinHandle::join) {
            other = done;
        }
    });
    part.entries.append(&mut other.entries);
    part.problems.append(&mut other.problems);
    part.unreadable.append(&mut other.unreadable);
    part.nested.append(&mut other.nested);
}

/// Lists `folder`, which is `path` in the vault: files into `part`, folders into `below`. `None` if it cannot
/// be listed, else whether there is anything besides `.git` and `.aios`.
fn list(
    folder: &Folder,
    path: &str,
    rules: &Rules,
    part: &mut Part,
    below: &mut Vec<String>,
) -> Option<bool> {
    let names = match names(folder) {
        Ok(names) => names,
        Err(e) => {
            part.problem(path.to_owned(), Problem::Unreadable(e.kind()));
            return None;
        }
    };
    let has = |wanted: &[u8]| names.iter().any(|(name, _)| name == wanted);
    if !path.is_empty() && (has(b".git") || has(b".aios")) {
        let replica = rustix::fs::statat(folder.fd(), ".aios/replica.json", AtFlags::SYMLINK_NOFOLLOW);
        match (has(b".aios"), replica) {
            (true, Ok(_)) => {
                part.unreadable.insert(path.to_owned());
                part.nested.insert(path.to_owned());
            }
            (true, Err(_)) => part.problem(path.to_owned(), Problem::Vault),
            (false, _) => {
                let log = rustix::fs::statat(folder.fd(), ".git/refs/aios", AtFlags::SYMLINK_NOFOLLOW);
                let what = if log.is_ok() { Problem::Vault } else { Problem::Repository };
                part.problem(path.to_owned(), what);
            }
        }
        return Some(true);
    }
    let mut any = false;
    for (name, kind) in names {
        any |= name != b".git" && name != b".aios";
        let name = match String::from_utf8(name) {
            Ok(name) => name,
            Err(e) => {
                let name = e.as_bytes().escape_ascii().to_string();
                part.problem(joined(path, &name), Problem::Name);
                continue;
            }
        };
        let at = joined(path, &name);
        let mut kind = kind;
        let mut stat = None;
        if kind == FileType::Unknown {
            stat = see(folder, &name, &at, part);
            let Some(stat) = &stat else { continue };
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        let own = path.is_empty() && matches!(&name[..], ".git" | ".aios");
        if !own && let Some(why) = kept_out(&at, &name, rules) {
            part.problem(at, why);
            continue;
        }
        if rules.ignored_itself(&at, kind == FileType::Directory) {
            continue;
        }
        match kind {
            FileType::Directory => below.push(at),
            FileType::RegularFile | FileType::Symlink => {
                if let Some(stat) = stat.or_else(|| see(folder, &name, &at, part)) {
                    match Found::of(&at, &stat) {
                        Some(found) => part.entries.push(found),
                        // It became something else since its name was read: the next scan sees what.
                        None => {
                            part.unreadable.insert(at);
                        }
                    }
                }
            }
            _ => part.problem(at, Problem::Special),
        }
    }
    Some(any)
}

/// Why nothing at a path may become a document, where it is to be said.
fn kept_out(path: &str, name: &str, rules: &Rules) -> Option<Problem> {
    match () {
        () if aios_core::path::reserved(name) => Some(Problem::Reserved),
        () if rules.keeps_out(path) => Some(Problem::Keys),
        () => None,
    }
}

fn joined(folder: &str, name: &str) -> String {
    let mut path = String::with_capacity(folder.len() + 1 + name.len());
    path.push_str(folder);
    if !folder.is_empty() {
        path.push('/');
    }
    path.push_str(name);
    path
}

fn see(folder: &Folder, name: &str, path: &str, part: &mut Part) -> Option<Stat> {
    match rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(e) => {
            part.problem(path.to_owned(), Problem::Unreadable(io::Error::from(e).kind()));
            None
        }
    }
}

/// The names in `folder`, but for `.` and `..`, and what the listing says they are.
fn names(folder: &Folder) -> Result<Vec<(Vec<u8>, FileType)>, DiskError> {
    let wrap = |e: io::Error| DiskError::new("list", PathBuf::from(folder.path()), e);
    fault::point("disk.list").map_err(wrap)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(folder.fd()).map_err(|e| wrap(e.into()))? {
        let entry = entry.map_err(|e| wrap(e.into()))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::RuleSource;
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    fn paths(scan: &Scan) -> Vec<&str> {
        scan.entries.iter().map(|found| found.path.as_str()).collect()
    }

    fn files(root: &Path, paths: &[&str]) {
        for path in paths {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
    }

    #[test]
    fn documents_are_listed_in_order_and_the_rest_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        files(
            root,
            &[
                "b.md",
                "a/c.md",
                "a.md",
                ".gitignore",
                ".aios/log/x",
                ".git/config",
                "out/x.md",
                "a/.b.md.swp",
            ],
        );
        files(
            root,
            &[
                "repo/.git/HEAD",
                "repo/x.md",
                "deep/vault/.aios/lock",
                "deep/vault/y.md",
                "work/.git",
                "work/z",
            ],
        );
        std::os::unix::fs::symlink("/etc", root.join("etc")).unwrap();
        fs::write(root.join(OsStr::from_bytes(b"caf\xe9.md")), "x").unwrap();
        let folder = Folder::open(root).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let rules = Rules::new(&[RuleSource { path: ".gitignore", text: "/out\n" }]);
        let scan = scan(root, &rules);
        assert_eq!(scan.root, Root::Ready);
        assert_eq!(paths(&scan), [".gitignore", "a.md", "a/c.md", "b.md", "etc"]);
        assert_eq!(scan.entries[4].kind, Kind::Link);
        let problems: Vec<_> = scan.problems.iter().map(|p| (p.path.as_str(), p.problem)).collect();
        let expected = [
            ("caf\\xe9.md", Problem::Name),
            ("deep/vault", Problem::Vault),
            ("repo", Problem::Repository),
            ("socket", Problem::Special),
            ("work", Problem::Repository),
        ];
        assert_eq!(problems, expected);
        assert!(!scan.saw("repo/x.md") && !scan.saw("deep/vault/y.md") && scan.saw("a/gone.md"));
        assert_eq!(paths(&scan_below(&folder, "a", &rules)), ["a/c.md"]);
        assert_eq!(scan_below(&folder, "gone", &rules).root, Root::Missing);
        // A document that the rules hide is still found when asked for.
        assert!(look(&folder, "out/x.md").unwrap().is_some());
        assert!(look(&folder, "out/y.md").unwrap().is_none());
        assert!(look(&folder, "a.md/y.md").unwrap().is_none());
    }

    #[test]
    fn an_unreadable_folder_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["a/b.md", "c.md"]);
        // As root no folder is unreadable, so the listing itself is made to fail.
        let armed = fault::arm("disk.list=eacces@2").unwrap();
        let seen = scan(dir.path(), &Rules::default());
        drop(armed);
        assert_eq!((paths(&seen), seen.root), (vec!["c.md"], Root::Ready));
        assert_eq!(seen.problems[0].problem, Problem::Unreadable(io::ErrorKind::PermissionDenied));
        assert!(!seen.saw("a/b.md") && !seen.saw("a") && seen.saw("d.md"));
        let armed = fault::arm("disk.list=eio@1").unwrap();
        let seen = scan(dir.path(), &Rules::default());
        drop(armed);
        assert_eq!(seen.root, Root::Unreadable);
        assert!(!seen.saw("c.md"));
    }

    #[test]
    fn a_missing_and_an_empty_root_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules::default();
        files(dir.path(), &["v/.aios/lock", "v/.git/HEAD", "file"]);
        assert_eq!(scan(&dir.path().join("no"), &rules).root, Root::Missing);
        assert!(!scan(&dir.path().join("no"), &rules).saw("x"));
        assert_eq!(scan(&dir.path().join("file"), &rules).root, Root::Unreadable);
        let seen = scan(&dir.path().join("v"), &rules);
        assert_eq!((seen.root, seen.entries.len()), (Root::Empty, 0));
    }

    #[test]
    fn every_way_of_saving_is_seen_as_a_change_of_the_same_path() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let rules = Rules::default();
        files(dir.path(), &["a.md"]);
        type Save<'a> = (&'a str, &'a dyn Fn());
        let saves: [Save<'_>; 5] = [
            ("in place", &|| fs::write(at("a.md"), "text, 1").unwrap()),
            ("vim", &|| {
                fs::write(at("4913"), "").unwrap();
                fs::remove_file(at("4913")).unwrap();
                fs::write(at(".a.md.swp"), "swap").unwrap();
                fs::rename(at("a.md"), at("a.md~")).unwrap();
                fs::write(at("a.md"), "text, 22").unwrap();
            }),
            ("temporary file renamed over", &|| {
                fs::write(at(".goutputstream-ABC123"), "text, 333").unwrap();
                fs::rename(at(".goutputstream-ABC123"), at("a.md")).unwrap();
            }),
            ("emacs", &|| {
                std::os::unix::fs::symlink("me@host.1:2", at(".#a.md")).unwrap();
                fs::write(at("#a.md#"), "auto").unwrap();
                fs::write(at("a.md"), "text, 4444").unwrap();
            }),
            ("jetbrains", &|| {
                fs::write(at("a.md___jb_tmp___"), "text, 55555").unwrap();
                fs::rename(at("a.md"), at("a.md___jb_old___")).unwrap();
                fs::rename(at("a.md___jb_tmp___"), at("a.md")).unwrap();
            }),
        ];
        for (editor, save) in saves {
            let before = scan(dir.path(), &rules);
            save();
            let after = scan(dir.path(), &rules);
            assert_eq!(paths(&after), ["a.md"], "{editor}");
            assert!(!after.entries[0].same(&before.entries[0]), "{editor}");
        }
    }

    #[test]
    fn two_workers_see_what_one_sees() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for folder in 0..40 {
            for file in 0..5 {
                expected.push(format!("f{folder}/g{}/{file}.md", folder % 3));
            }
        }
        files(dir.path(), &expected.iter().map(String::as_str).collect::<Vec<_>>());
        expected.sort_unstable();
        assert_eq!(paths(&scan(dir.path(), &Rules::default())), expected);
    }

    #[test]
    fn a_fresh_stamp_is_racy_and_an_old_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["a"]);
        let found = look(&Folder::open(dir.path()).unwrap(), "a").unwrap().unwrap();
        assert!(found.racy(found.ctime_ns) && !found.racy(found.ctime_ns + 3_000_000_000));
    }
}
