//! What is different on disk from what aios last knew: read, never written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use aios_core::id::{ContentHash, DocId, GitId};
use aios_core::patch;
use aios_core::path;
use serde::{Deserialize, Serialize};

use rusqlite::params;

use crate::accept::is_rules;
use crate::disk::read::LARGE;
use crate::disk::{self, Content, Found, Read, ReadError, Root, RuleSource, Rules, Scan};
use crate::error::Error;
use crate::file::FileRow;
use crate::folders::{Folders, Look, is_left};
use crate::git;
use crate::place;
use crate::vault::{Progress, Vault};
use crate::written::is_binary;

/// Below this many known files nothing counts as a mass deletion.
const MASS: usize = 20;
/// At most this many gone and new files are compared pair by pair for likeness.
const PAIRS: usize = 2_500;

/// How often a file that was just emptied is looked at again, and how long to wait in between.
const EMPTY_TRIES: usize = 20;
const EMPTY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// Emptied longer ago than this, it is meant.
const EMPTY_YOUNG_NS: i64 = 1_000_000_000;

/// What is said of ignore rules that wait for the operator.
pub const NOT_IN_FORCE: &str = "this version of the ignore rules is not in force yet";

/// Something the owner should look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where; empty for the vault as a whole.
    pub path: String,
    /// What.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// That nothing at all was taken in.
    pub fn of_all(e: &Error) -> Self {
        Problem { path: String::new(), problem: e.to_string(), hint: e.hint().unwrap_or_default() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { path, problem, hint } = self;
        let (colon, semicolon) =
            (if path.is_empty() { "" } else { ": " }, if hint.is_empty() { "" } else { "; " });
        write!(f, "{path}{colon}{problem}{semicolon}{hint}")
    }
}

/// What is no text is held in memory up to this size.
const HELD: usize = 256 << 10;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Saved {
    pub found: Found,
    pub hash: ContentHash,
    /// The bytes; absent above 16 MiB, and of a picture or the like above 256 KiB: many of them are not to be held at once.
    pub bytes: Option<Vec<u8>>,
    /// The blob that git has of it, once it was put there.
    pub git: Option<GitId>,
    /// Whether it lies in `.aios/tmp`, where its path is its name.
    pub aside: bool,
}

impl Saved {
    pub fn of(read: Read) -> Self {
        let hash = ContentHash(*read.hash.as_bytes());
        let link = read.found.kind == disk::Kind::Link;
        let bytes = match read.content {
            Content::Bytes(bytes) if !link && bytes.len() > HELD && is_binary(&bytes) => None,
            Content::Bytes(bytes) => Some(bytes),
            Content::Large { .. } => None,
        };
        Saved { found: read.found, hash, bytes, git: None, aside: false }
    }

    /// Whether its bytes travel apart from the log, whatever it is called.
    pub fn is_blob(&self) -> bool {
        let blob = |bytes: &Vec<u8>| bytes.len() as u64 > LARGE || is_binary(bytes);
        self.found.kind != disk::Kind::Link && self.bytes.as_ref().is_none_or(blob)
    }

    /// A file in `.aios/tmp`.
    pub fn aside(read: Read) -> Self {
        Saved { aside: true, ..Saved::of(read) }
    }
}

/// A known document at another path, perhaps with other content.
#[derive(Debug)]
pub(crate) struct Moved {
    pub row: FileRow,
    pub to: Saved,
}

/// What differs.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Known paths with other content.
    pub modified: Vec<(FileRow, Saved)>,
    /// Files that are not known.
    pub added: Vec<Saved>,
    /// Documents that lie elsewhere now.
    pub moved: Vec<Moved>,
    /// Folders that moved whole.
    pub folders: Folders,
    /// Known paths where nothing is any more.
    pub missing: Vec<FileRow>,
    /// Known files that look different and are not: only their stamps changed, or their mode.
    pub touched: Vec<(FileRow, Found)>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// Folders that are vaults of their own.
    pub nested: BTreeSet<String>,
    /// How many files are known.
    pub known: usize,
    /// Whether a file that is not known could not be read: it may be what a missing one was renamed to.
    unread: bool,
    /// Whether there is something new that was not looked at, of a look at some paths only.
    pub came: bool,
}

impl Survey {
    /// Whether nothing differs and nothing is to be said.
    pub fn is_empty(&self) -> bool {
        let Survey { modified, added, moved, missing, touched, problems, .. } = self;
        modified.is_empty()
            && added.is_empty()
            && moved.is_empty()
            && missing.is_empty()
            && touched.is_empty()
            && problems.is_empty()
    }

    /// Every file that was read because it is new, changed or elsewhere.
    pub fn saved(&self) -> impl Iterator<Item = &Saved> {
        let modified = self.modified.iter().map(|(_, saved)| saved);
        modified.chain(&self.added).chain(self.moved.iter().map(|moved| &moved.to))
    }

    /// Whether so much is gone that it may be an accident.
    pub fn mass_deletion(&self) -> bool {
        self.known >= MASS && self.missing.len() * 2 > self.known
    }
}

impl Vault {
    /// The ignore rules in force: built in, and the accepted versions of ignore files (I11).
    pub(crate) fn rules(&mut self) -> Result<(Rules, Vec<Problem>), Error> {
        let mut problems = Vec::new();
        let mut texts: Vec<(String, String)> = Vec::new();
        for (path, accepted, present) in self.gated()? {
            if !is_rules(&path) {
                continue;
            }
            if let Some(hash) = accepted {
                // One that never came into the log was saved over while the vault was made: what is there now hides no less.
                let bytes = match (self.version_bytes(&path, &hash)?, present) {
                    (None, Some((_, git))) => self.blob(&git)?.map(|bytes| bytes.to_vec()),
                    (bytes, _) => bytes,
                };
                let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                texts.extend(text.map(|text| (path.clone(), text)));
            }
            if accepted != present.map(|(hash, _)| hash) && present.is_some() {
                problems.push(Problem {
                    path,
                    problem: NOT_IN_FORCE.into(),
                    hint: "see it and put it in force with `aios accept`".into(),
                });
            }
        }
        let sources: Vec<RuleSource<'_>> =
            texts.iter().map(|(path, text)| RuleSource { path, text }).collect();
        let rules = Rules::new(&sources).without(place::keys_in(self.root()));
        for problem in rules.problems() {
            problems.push(Problem {
                path: problem.path.clone(),
                problem: format!("line {} is no ignore rule: {}", problem.line, problem.problem),
                hint: "mend the line".into(),
            });
        }
        Ok((rules, problems))
    }

    /// Compares the working files with what is known of them.
    pub(crate) fn survey(&mut self, progress: Progress<'_>) -> Result<Survey, Error> {
        self.survey_of(false, progress)
    }

    /// As [`Vault::survey`]; `deletions` says whether it is meant that there is no file any more.
    pub(crate) fn survey_of(&mut self, deletions: bool, progress: Progress<'_>) -> Result<Survey, Error> {
        let (rules, problems) = self.rules()?;
        let root = self.root().to_owned();
        // What is known is read while the folder is walked.
        let (scan, files) = std::thread::scope(|scope| {
            let walk = || disk::scan::scan(&root, &rules);
            let walking = std::thread::Builder::new().spawn_scoped(scope, walk);
            let files = self.files();
            let scan = walking.ok().and_then(|walking| walking.join().ok());
            (scan.unwrap_or_else(walk), files)
        });
        self.survey_scan(scan, &files?, problems, deletions, progress)
    }

    /// As [`Vault::survey`], of some paths only: `None` where that does not tell what happened to a document. What is new is left to a
    /// look at all: an editor's own file is gone by then.
    pub(crate) fn survey_at(&mut self, paths: &BTreeSet<String>) -> Result<Option<Survey>, Error> {
        let mut out = Survey::default();
        let mut rules = None;
        let keys = place::keys_in(self.root());
        for path in paths {
            if keys.as_ref().is_some_and(|keys| path::below(path, keys).is_some()) {
                continue;
            }
            match (self.file(path)?, disk::scan::look(self.writer.root(), path)) {
                (Some(row), Ok(Some(found))) => self.compare(Some(&row), &found, &mut out)?,
                // An editor's own file, come and gone.
                (None, Ok(None)) => {}
                (None, _) => {
                    let rules = match &rules {
                        Some(rules) => rules,
                        None => rules.insert(self.rules()?.0),
                    };
                    out.came |= !rules.ignored(path, false);
                }
                (Some(_), _) => return Ok(None),
            }
        }
        find_exchanged(&mut out);
        let plain = out.missing.is_empty() && out.added.is_empty() && out.moved.is_empty();
        // Where a file lies that was another's, files change places, and are half way.
        let half_way = out.came && self.is_any_of_another(&out.modified)?;
        Ok((plain && !half_way).then_some(out))
    }

    /// Whether one of these is the very file that was known at another path.
    fn is_any_of_another(&self, modified: &[(FileRow, Saved)]) -> Result<bool, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT EXISTS(SELECT 1 FROM file WHERE ino = ? AND dev = ? AND path <> ?)")?;
        for (row, saved) in modified {
            let (ino, dev) = (saved.found.ino as i64, saved.found.dev as i64);
            if get.query_row(params![ino, dev, row.path], |row| row.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn survey_scan(
        &mut self,
        scan: Scan,
        files: &[FileRow],
        problems: Vec<Problem>,
        deletions: bool,
        progress: Progress<'_>,
    ) -> Result<Survey, Error> {
        match scan.root {
            Root::Ready => {}
            Root::Empty if files.len() < MASS => {}
            Root::Empty if deletions => {}
            Root::Empty => return Err(Error::Emptied { tracked: files.len() }),
            Root::Missing => return Err(Error::Root("is gone".into())),
            Root::Unreadable => return Err(Error::Root("cannot be read".into())),
        }
        let mut out =
            Survey { problems, known: files.len(), nested: scan.nested.clone(), ..Survey::default() };
        for folder in &out.nested {
            let held = files.iter().filter(|row| path::below(&row.path, folder).is_some()).count();
            if held > 0 {
                out.problems.push(Problem {
                    path: folder.clone(),
                    problem: format!("is a vault of its own, and {held} files in it are this one's too: here they are neither read nor written"),
                    hint: format!("`aios init {folder} --hand-over` takes them out of this vault, on all its devices"),
                });
            }
        }
        for problem in &scan.problems {
            out.problems.push(Problem {
                path: problem.path.clone(),
                problem: problem.problem.what(),
                hint: problem.problem.hint().into(),
            });
        }
        let total = scan.entries.len() as u64;
        // Both are in order of path.
        let mut known = files.iter().peekable();
        let mut unseen = Vec::new();
        for (n, found) in scan.entries.iter().enumerate() {
            if n % 512 == 0 {
                progress("files", n as u64, total);
            }
            while let Some(row) = known.next_if(|row| row.path < found.path) {
                unseen.push(row);
            }
            let row = known.next_if(|row| row.path == found.path);
            self.compare(row, found, &mut out)?;
        }
        for row in unseen.into_iter().chain(known) {
            let path = &row.path;
            if !scan.saw(path) {
                continue;
            }
            // Hidden by a rule, or really gone: a rule never removes a document.
            match disk::scan::look(self.writer.root(), path) {
                Ok(Some(found)) => self.compare(Some(row), &found, &mut out)?,
                Ok(None) => out.missing.push(row.clone()),
                Err(e) => out.problems.push(Problem {
                    path: path.clone(),
                    problem: e.to_string(),
                    hint: "its document is taken for unchanged".into(),
                }),
            }
        }
        self.keep_sparse(&mut out);
        self.find_moves(&mut out)?;
        self.find_folders(&mut out, files);
        self.withhold(&mut out)?;
        if out.unread {
            // An error is never read as "deleted" (I12): the missing file may be the one that cannot be read.
            for row in std::mem::take(&mut out.missing) {
                out.problems.push(Problem {
                    path: row.path,
                    problem: "is gone, and a new file cannot be read that it may have been renamed to".into(),
                    hint: "mend that first; until then its document is taken for unchanged".into(),
                });
            }
        }
        out.problems.sort();
        Ok(out)
    }

    /// What git's sparse checkout leaves out was not deleted.
    fn keep_sparse(&self, out: &mut Survey) {
        if out.missing.is_empty() {
            return;
        }
        let Ok(index) = git::Index::read(&self.repo) else { return };
        let before = out.missing.len();
        let nested = self.nested_left_out().unwrap_or_default();
        let ours = |at: &str| nested.iter().any(|left| left == at || path::below(at, left).is_some());
        out.missing.retain(|row| !index.skips(row.path.as_bytes()) || ours(&row.path));
        let left = before - out.missing.len();
        if left > 0 {
            out.problems.push(Problem {
                path: String::new(),
                problem: format!(
                    "{left} files are left out by git's sparse checkout: they are taken for unchanged"
                ),
                hint: "`git sparse-checkout disable` brings them back".into(),
            });
        }
    }

    fn compare(&self, row: Option<&FileRow>, found: &Found, out: &mut Survey) -> Result<(), Error> {
        if let Some(row) = row
            && row.unchanged(found)
        {
            if row.found.exec != found.exec {
                out.touched.push((row.clone(), found.clone()));
            }
            return Ok(());
        }
        if row.is_none()
            && let Err(e) = path::check(&found.path)
        {
            out.problems.push(Problem {
                path: found.path.clone(),
                problem: format!("cannot be a document: {e}"),
                hint: "rename it".into(),
            });
            return Ok(());
        }
        match self.read_settled(row, &found.path) {
            Ok(read) => {
                let saved = Saved::of(read);
                match row {
                    None => out.added.push(saved),
                    Some(row) if row.hash == saved.hash && row.found.kind == saved.found.kind => {
                        let known = row.found.same(&saved.found) && row.found.exec == saved.found.exec;
                        // Too fresh still to be believed next time, it is nothing to be noted.
                        if !known || !saved.found.racy(crate::chance::now_ns()) {
                            out.touched.push((row.clone(), saved.found));
                        }
                    }
                    Some(row) => out.modified.push((row.clone(), saved)),
                }
            }
            Err(ReadError::Missing(_)) => out.missing.extend(row.cloned()),
            Err(e) => {
                out.unread |= row.is_none();
                out.problems.push(Problem {
                    path: found.path.clone(),
                    problem: e.to_string(),
                    hint: "the rest goes on; this file is taken for unchanged".into(),
                });
            }
        }
        Ok(())
    }

    /// Reads a file. One that was just emptied is most likely about to be written: an editor that truncates first.
    fn read_settled(&self, row: Option<&FileRow>, path: &str) -> Result<Read, ReadError> {
        let read = || disk::read::read(self.writer.root(), path, LARGE);
        let mut found = read()?;
        for _ in 0..EMPTY_TRIES {
            let emptied = found.found.size == 0 && row.is_some_and(|row| row.found.size > 0);
            let young = crate::chance::now_ns().saturating_sub(found.found.mtime_ns) < EMPTY_YOUNG_NS;
            if !emptied || !young {
                break;
            }
            crate::chance::pause(EMPTY_PAUSE);
            found = read()?;
        }
        Ok(found)
    }

    /// Finds documents that lie elsewhere: the same inode, the same bytes, or nearly the same and nothing else like it (I5).
    fn find_moves(&mut self, out: &mut Survey) -> Result<(), Error> {
        find_exchanged(out);
        if out.missing.is_empty() || out.added.is_empty() {
            return Ok(());
        }
        let mut taken: HashMap<usize, usize> = HashMap::new();
        let mut gone: BTreeSet<usize> = BTreeSet::new();
        let pair = |from: usize, to: usize, taken: &mut HashMap<usize, usize>, gone: &mut BTreeSet<usize>| {
            taken.insert(to, from);
            gone.insert(from);
        };
        let inodes: HashMap<(u64, u64), usize> =
            out.added.iter().enumerate().map(|(n, saved)| ((saved.found.dev, saved.found.ino), n)).collect();
        for (from, row) in out.missing.iter().enumerate() {
            let Some(to) = inodes.get(&(row.found.dev, row.found.ino)).copied() else { continue };
            let saved = &out.added[to];
            // An inode number is soon used again: one that was made after the file was last seen is another, and where nobody knows when it
            // was made only the content can tell.
            let least = match self.born(&saved.found.path) {
                Some(born) if born > row.found.ctime_ns => continue,
                Some(_) => 0.5,
                None => 0.9,
            };
            let like = row.hash == saved.hash
                || self.likeness(&row.git, saved)? >= least && self.same_identity(&row.git, saved)?;
            if like && saved.found.kind == row.found.kind && !taken.contains_key(&to) {
                pair(from, to, &mut taken, &mut gone);
            }
        }
        let mut by_hash: BTreeMap<ContentHash, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (n, row) in
            out.missing.iter().enumerate().filter(|(n, row)| !gone.contains(n) && row.found.size > 0)
        {
            by_hash.entry(row.hash).or_default().0.push(n);
        }
        for (n, saved) in out.added.iter().enumerate().filter(|(n, _)| !taken.contains_key(n)) {
            if let Some(entry) = by_hash.get_mut(&saved.hash) {
                entry.1.push(n);
            }
        }
        for (from, to) in by_hash.into_values() {
            if let ([from], [to]) = (&from[..], &to[..]) {
                pair(*from, *to, &mut taken, &mut gone);
            }
        }
        let left: Vec<usize> = (0..out.missing.len()).filter(|n| !gone.contains(n)).collect();
        let new: Vec<usize> = (0..out.added.len()).filter(|n| !taken.contains_key(n)).collect();
        if left.len() * new.len() <= PAIRS {
            let mut near: Vec<(usize, usize)> = Vec::new();
            for from in &left {
                for to in &new {
                    let (row, saved) = (&out.missing[*from], &out.added[*to]);
                    if self.likeness(&row.git, saved)? >= 0.9 && self.same_identity(&row.git, saved)? {
                        near.push((*from, *to));
                    }
                }
            }
            for (from, to) in &near {
                let unique = near.iter().filter(|(a, b)| a == from || b == to).count() == 1;
                if unique {
                    pair(*from, *to, &mut taken, &mut gone);
                }
            }
        }
        let mut missing: Vec<Option<FileRow>> =
            std::mem::take(&mut out.missing).into_iter().map(Some).collect();
        for (n, saved) in std::mem::take(&mut out.added).into_iter().enumerate() {
            match taken.get(&n).and_then(|from| missing[*from].take()) {
                Some(row) => out.moved.push(Moved { row, to: saved }),
                None => out.added.push(saved),
            }
        }
        out.missing = missing.into_iter().flatten().collect();
        Ok(())
    }

    /// When the inode of a working file was made, in nanoseconds since 1970; `None` where the file system does not say.
    fn born(&self, path: &str) -> Option<i64> {
        let made = self.root().join(path).symlink_metadata().ok()?.created().ok()?;
        i64::try_from(made.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos()).ok()
    }

    /// Finds folders that moved whole among the files that moved.
    fn find_folders(&self, out: &mut Survey, files: &[FileRow]) {
        if out.moved.is_empty() {
            return;
        }
        let known: BTreeSet<(String, &str)> =
            files.iter().map(|row| (path::fold(&row.path), row.path.as_str())).collect();
        let fresh = out.added.iter().chain(out.modified.iter().map(|(_, saved)| saved));
        out.folders = Folders::find(&Look {
            moved: out.moved.iter().map(|m| (m.row.path.as_str(), m.to.found.path.as_str())).collect(),
            gone: out.missing.iter().map(|row| row.path.as_str()).collect(),
            fresh: fresh.map(|saved| saved.found.path.as_str()).collect(),
            below: &|folder| {
                let range = (format!("{folder}/"), "")..(format!("{folder}0"), "");
                known.range(range).map(|(_, path)| (*path).to_owned()).collect()
            },
            left: &|folder| is_left(self.writer.root(), folder),
        });
    }

    /// How alike a known blob and a file are, 0 to 1; 0 for what is not small text.
    fn likeness(&mut self, git: &GitId, saved: &Saved) -> Result<f64, Error> {
        let Some(new) = saved.bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return Ok(0.0);
        };
        let Some(old) = self.blob(git)? else { return Ok(0.0) };
        let Ok(old) = std::str::from_utf8(&old) else { return Ok(0.0) };
        let (longer, shorter) = (old.len().max(new.len()), old.len().min(new.len()));
        if longer == 0 || longer > 256 << 10 || shorter * 2 < longer {
            return Ok(0.0);
        }
        let changed = patch::diff(old, new).distance();
        Ok(1.0 - changed as f64 / (old.len() + new.len()) as f64)
    }

    /// Whether the fields that tell one entity from another are equal: two invoices from one template are not one.
    fn same_identity(&mut self, git: &GitId, saved: &Saved) -> Result<bool, Error> {
        let fields = |bytes: &[u8]| -> Vec<(String, String)> {
            let text = String::from_utf8_lossy(bytes);
            let parts = aios_core::markdown::split(&text);
            let named = |name: &str| {
                ["id", "number", "email", "name", "title", "slug", "date"]
                    .contains(&name.to_lowercase().as_str())
            };
            let kept = parts.entries.iter().filter(|entry| named(&entry.name));
            kept.map(|entry| (entry.name.clone(), entry.value.raw().trim().to_owned())).collect()
        };
        let old = self.blob(git)?.map(|bytes| fields(&bytes));
        Ok(old.is_some() && old == saved.bytes.as_deref().map(fields))
    }
}

/// Finds files that changed places among known paths: each holds the inode and the bytes of another.
fn find_exchanged(out: &mut Survey) {
    let mut origins: HashMap<(u64, u64), FileRow> = HashMap::new();
    for row in out.modified.iter().map(|(row, _)| row).chain(&out.missing) {
        origins.insert((row.found.dev, row.found.ino), row.clone());
    }
    let mut moves: Vec<(FileRow, String)> = Vec::new();
    for (row, saved) in &out.modified {
        if let Some(origin) = origins.get(&(saved.found.dev, saved.found.ino))
            && origin.path != row.path
            && origin.hash == saved.hash
        {
            moves.push((origin.clone(), row.path.clone()));
        }
    }
    if moves.is_empty() {
        return;
    }
    let targets: HashSet<&str> = moves.iter().map(|(_, to)| to.as_str()).collect();
    let sources: HashSet<&str> = moves.iter().map(|(row, _)| row.path.as_str()).collect();
    let mut left = Vec::new();
    for (row, saved) in std::mem::take(&mut out.modified) {
        let origin = moves.iter().find(|(_, to)| *to == row.path);
        match origin {
            Some((origin, _)) => {
                if !sources.contains(row.path.as_str()) {
                    out.missing.push(row);
                }
                out.moved.push(Moved { row: origin.clone(), to: saved });
            }
            // Its own document lies elsewhere now; what stands here is new.
            None if sources.contains(row.path.as_str()) => out.added.push(saved),
            None => left.push((row, saved)),
        }
    }
    out.modified = left;
    out.missing.retain(|row| !sources.contains(row.path.as_str()) || targets.contains(row.path.as_str()));
    let moved: HashSet<DocId> = out.moved.iter().map(|moved| moved.row.doc).collect();
    out.missing.retain(|row| !moved.contains(&row.doc));
}
