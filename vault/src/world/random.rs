//! Random work on several replicas with random delivery, against the [`oracle`](super::oracle) (I1, I2, I4, I5, I6).
//!
//! `AIOS_CASES` sets how many runs there are, `AIOS_SEED` where they start (a number, or `random`). A failing run prints the seed that makes it
//! again: keys and clocks come of it too.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use aios_core::clock::Stamp;
use aios_core::frontier::View;
use aios_core::id::{ContentHash, DocId};
use aios_core::item::{Base, Item, Mode};
use aios_core::patch;
use aios_core::path;
use aios_core::record::Record;
use aios_core::stale::{Sight, beside, overlooks, sight};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::oracle::{self, At, Deed, Oracle, What, deeds, line};
use super::{World, files_of, quiet};
use crate::conflict::ConflictKind;
use crate::file::By;

/// Runs when `AIOS_CASES` says nothing.
const CASES: u64 = 100;
/// After this many failing runs no more are started.
const FAILURES: usize = 8;
const FOLDERS: [&str; 5] = ["", "", "da/", "db/", "da/in/"];
const NAMES: [&str; 6] = ["a.md", "A.md", "b.md", "c.txt", "n.txt", "da"];
const KEYS: [&str; 4] = ["title", "status", "prio", "owner"];
const ITEMS: [&str; 5] = ["ga", "gb", "gc", "gd", "ge"];

/// One step: what is done, where, and two numbers that choose the details. What cannot be done is left out.
#[derive(Debug, Clone, Copy)]
struct Step {
    kind: Kind,
    device: u8,
    x: u16,
    y: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Insert,
    DeleteLine,
    SetKey,
    RemoveKey,
    AddItem,
    RemoveItem,
    LineEnds,
    Empty,
    Bare,
    Rename,
    Folder,
    Swap,
    Delete,
    LookAlike,
    Mode,
    StaleSave,
    OldSave,
    LateUndo,
    Insist,
    Commit,
    Deliver,
    Restart,
    Rebuild,
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    prop_oneof![
        5 => Just(Create), 14 => Just(Insert), 8 => Just(DeleteLine), 9 => Just(SetKey), 3 => Just(RemoveKey),
        7 => Just(AddItem), 5 => Just(RemoveItem), 3 => Just(LineEnds), 1 => Just(Empty), 1 => Just(Bare), 6 => Just(Rename),
        4 => Just(Folder), 3 => Just(Swap), 4 => Just(Delete), 2 => Just(LookAlike), 2 => Just(Mode),
        8 => Just(StaleSave), 2 => Just(OldSave), 6 => Just(LateUndo), 8 => Just(Insist), 22 => Just(Commit),
        24 => Just(Deliver), 1 => Just(Restart), 1 => Just(Rebuild),
    ]
}

fn steps() -> impl Strategy<Value = (u8, Vec<Step>)> {
    let step = (kind(), any::<u8>(), any::<u16>(), any::<u16>());
    let step = step.prop_map(|(kind, device, x, y)| Step { kind, device, x, y });
    let count = prop_oneof![4 => Just(2u8), 3 => Just(3), 1 => Just(4), 1 => Just(5)];
    (count, proptest::collection::vec(step, 10..100))
}

/// A save that is not taken in yet.
#[derive(Debug, Clone)]
struct Edit {
    /// What its writer had in front of them.
    base: Vec<u8>,
    new: Vec<u8>,
    /// Whether more may be done to the file before it is taken in.
    open: bool,
    stale: bool,
}

/// A user at one device.
#[derive(Debug, Default)]
struct Desk {
    /// The files as the last round left them.
    disk: BTreeMap<String, Vec<u8>>,
    docs: BTreeMap<String, DocId>,
    shown: View,
    edits: BTreeMap<String, Edit>,
    created: BTreeMap<String, (Vec<u8>, bool)>,
    moves: BTreeMap<DocId, String>,
    deleted: BTreeMap<DocId, String>,
    modes: BTreeMap<String, bool>,
    /// Paths that something other than an edit was done to since the last round.
    locked: BTreeSet<String>,
    /// The text of a document before aios last wrote it.
    before: BTreeMap<DocId, Vec<u8>>,
    /// The last save that only inserted: before and after.
    typed: BTreeMap<DocId, (Vec<u8>, Vec<u8>)>,
    /// The last stale save.
    stale: BTreeMap<DocId, Vec<u8>>,
    habits: BTreeSet<DocId>,
}

impl Desk {
    fn is_calm(&self, path: &str) -> bool {
        !self.locked.contains(path) && !self.edits.contains_key(path) && !self.modes.contains_key(path)
    }

    /// A known file that nothing was done to since the last round.
    fn calm(&self, x: u16) -> Option<String> {
        let all: Vec<&String> = self.disk.keys().filter(|path| self.is_calm(path)).collect();
        all.get(usize::from(x) % all.len().max(1)).map(|path| (*path).clone())
    }

    /// As [`Desk::calm`], of the documents in `some`.
    fn calm_of<T>(&self, some: &BTreeMap<DocId, T>, x: u16) -> Option<String> {
        let found = self.docs.iter().filter(|(_, doc)| some.contains_key(*doc)).map(|(path, _)| path);
        let all: Vec<&String> = found.filter(|path| self.is_calm(path)).collect();
        all.get(usize::from(x) % all.len().max(1)).map(|path| (*path).clone())
    }

    /// A known file that may be edited, with its text on disk now.
    fn editable(&self, x: u16) -> Option<(String, Vec<u8>)> {
        let free = |path: &&String| {
            !self.locked.contains(*path) && self.edits.get(*path).is_none_or(|edit| edit.open)
        };
        let all: Vec<&String> = self.disk.keys().filter(free).collect();
        let path = (*all.get(usize::from(x) % all.len().max(1))?).clone();
        let text = self.edits.get(&path).map_or_else(|| self.disk[&path].clone(), |edit| edit.new.clone());
        Some((path, text))
    }

    fn settled(&self) -> bool {
        self.edits.is_empty() && self.locked.is_empty() && self.modes.is_empty() && self.created.is_empty()
    }
}

struct Run {
    world: World,
    desks: Vec<Desk>,
    oracle: Oracle,
    /// Every text ever on a disk, by hash.
    displayed: BTreeSet<ContentHash>,
    records: BTreeMap<aios_core::frontier::Place, Record>,
    counter: usize,
    seed: u64,
}

fn path_free(files: &BTreeMap<String, Vec<u8>>, more: &[&BTreeSet<String>], path: &str) -> bool {
    let mut all = files.keys().chain(more.iter().flat_map(|set| set.iter()));
    let clash = |other: &String| {
        other == path || other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"))
    };
    !all.any(clash)
}

impl Run {
    fn new(count: usize, seed: u64) -> Run {
        let world = World::seeded(count, seed);
        let desks =
            (0..count).map(|n| Desk { shown: world.replicas[n].view().clone(), ..Desk::default() }).collect();
        let mut run = Run {
            world,
            desks,
            oracle: Oracle::default(),
            displayed: BTreeSet::new(),
            records: BTreeMap::new(),
            counter: 0,
            seed,
        };
        run.collect(0, &View::new());
        // Something for everybody to work on.
        for (path, kind) in [("a.md", 15), ("da/b.md", 30), ("da/c.txt", 21), ("db/in/a.md", 17)] {
            let text = run.new_text(path, kind + 28).into_bytes();
            run.create(0, path, text);
        }
        run.sync();
        run
    }

    fn at(&self, n: usize, path: &str) -> PathBuf {
        self.world.root(n).join(path)
    }

    fn next(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    fn put(&self, n: usize, path: &str, bytes: &[u8]) {
        let path = self.at(n, path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        if bytes.is_empty() {
            // A file emptied just now is taken for one that is being written.
            let past = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        }
    }

    /// The version that `new` looks to be made from, of those that aios takes into account, if that can be said.
    fn made_from(&mut self, n: usize, doc: &DocId, new: &[u8]) -> Option<Vec<u8>> {
        let vault = &mut self.world.replicas[n];
        let new = std::str::from_utf8(new).ok()?;
        let mut shown = vault.shown_to_user(doc).unwrap();
        let newest = vault.bytes_of_shown(doc, &shown.pop()?).unwrap()?.to_vec();
        let now = String::from_utf8(newest.clone()).ok()?;
        let mut found: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for shown in shown {
            let bytes = vault.bytes_of_shown(doc, &shown).unwrap()?.to_vec();
            let old = std::str::from_utf8(&bytes).ok()?;
            match sight(old, &now, new) {
                Sight::Hinted if overlooks(old, &now, new) => return None,
                Sight::Seen | Sight::Hinted => {}
                Sight::Unclear if beside(old, &now, new) => return None,
                Sight::Unclear => {}
                Sight::Unseen => {
                    let distance = patch::diff(old, new).distance();
                    found.entry(distance).or_default().insert(bytes);
                }
            }
        }
        match found.pop_first() {
            None => Some(newest),
            Some((_, best)) => (best.len() == 1).then(|| best.into_iter().next()).flatten(),
        }
    }

    /// Saves `new` over the file at `path` as an edit of `base`, unless it looks more like an edit of another version.
    fn save(&mut self, n: usize, path: &str, base: Vec<u8>, new: Vec<u8>, open: bool, stale: bool) -> bool {
        let doc = self.desks[n].docs[path];
        if new == base || self.made_from(n, &doc, &new).is_none_or(|from| from != base) {
            return false;
        }
        self.put(n, path, &new);
        let desk = &mut self.desks[n];
        desk.edits.insert(path.to_owned(), Edit { base, new, open, stale });
        true
    }

    /// An edit of what is on disk.
    fn edit(&mut self, n: usize, x: u16, change: impl FnOnce(&mut Vec<String>, usize) -> bool) {
        let Some((path, text)) = self.desks[n].editable(x) else { return };
        let text = String::from_utf8(text).unwrap();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let close = lines.iter().skip(1).position(|line| line.trim_end() == "---").map(|at| at + 2);
        let body = close.filter(|_| lines[0].trim_end() == "---").unwrap_or(0);
        let windows = lines.first().is_some_and(|line| line.ends_with("\r\n"));
        let before: BTreeSet<String> = lines.iter().cloned().collect();
        if change(&mut lines, body) {
            if windows && lines.iter().any(|line| line.ends_with("\r\n")) {
                let fresh = lines.iter_mut().filter(|line| !before.contains(*line) && line.ends_with('\n'));
                fresh.for_each(|line| *line = line.trim_end().to_owned() + "\r\n");
            }
            let base = self.desks[n]
                .edits
                .get(&path)
                .map_or_else(|| self.desks[n].disk[&path].clone(), |edit| edit.base.clone());
            let new = lines.concat().into_bytes();
            if new != base && !reorders(&base, &new) {
                self.save(n, &path, base, new, true, false);
            }
        }
    }

    fn new_text(&mut self, path: &str, x: u16) -> String {
        let mut text = String::new();
        if path.ends_with(".md") && !x.is_multiple_of(4) {
            text += &format!("---\ntitle: v{:05}\nstatus: v{:05}\n", self.next(), self.next());
            if x.is_multiple_of(3) {
                text += "tags: [ga, gb]\n";
            }
            if x.is_multiple_of(5) {
                text += "labels:\n  - ga\n  - gc\n";
            }
            text += "---\n";
        }
        for _ in 0..(x / 7 % 6) {
            text += &format!("{}\n", line(self.next()));
        }
        text
    }

    fn step(&mut self, step: Step) {
        let Step { kind, device, x, y } = step;
        let n = usize::from(device) % self.desks.len();
        let pick = |len: usize, by: u16| usize::from(by) % len.max(1);
        match kind {
            Kind::Create => {
                let path = format!("{}{}", FOLDERS[pick(FOLDERS.len(), x)], NAMES[pick(NAMES.len(), y)]);
                let text = self.new_text(&path, x ^ y).into_bytes();
                if self.free(n, &path) {
                    self.create(n, &path, text);
                }
            }
            Kind::Insert => {
                let number = self.next();
                self.edit(n, x, |lines, body| {
                    let end = if y % 64 == 0 { "\r\n" } else { "\n" };
                    lines.insert(body + pick(lines.len() - body + 1, y), format!("{}{end}", line(number)));
                    true
                });
            }
            Kind::DeleteLine => self.edit(n, x, |lines, body| {
                let there = lines.len() > body;
                if there {
                    lines.remove(body + pick(lines.len() - body, y));
                }
                there
            }),
            Kind::SetKey => {
                let number = self.next();
                self.edit(n, x, |lines, body| {
                    let key = KEYS[pick(KEYS.len(), y)];
                    let entry = format!("{key}: v{number:05}\n");
                    if body == 0 {
                        return false;
                    }
                    match lines[..body].iter().position(|line| line.starts_with(&format!("{key}:"))) {
                        Some(at) => lines[at] = entry,
                        None => lines.insert(1, entry),
                    }
                    true
                });
            }
            Kind::RemoveKey => self.edit(n, x, |lines, body| {
                let keys = ["title", "status", "prio", "owner", "tags", "labels"];
                let key = keys[pick(keys.len(), y)];
                let Some(at) = lines[..body].iter().position(|line| line.starts_with(&format!("{key}:")))
                else {
                    return false;
                };
                lines.remove(at);
                while lines[at].starts_with("  - ") {
                    lines.remove(at);
                }
                true
            }),
            Kind::AddItem | Kind::RemoveItem => {
                self.edit(n, x, |lines, body| items(lines, body, y, kind == Kind::AddItem))
            }
            Kind::LineEnds => self.edit(n, x, |lines, _| {
                let windows = lines.iter().all(|line| line.ends_with("\r\n"));
                for line in lines.iter_mut() {
                    *line = format!("{}{}", line.trim_end(), if windows { "\n" } else { "\r\n" });
                }
                !lines.is_empty()
            }),
            Kind::Empty => self.edit(n, x, |lines, _| {
                lines.clear();
                true
            }),
            Kind::Bare => self.edit(n, x, |lines, body| {
                lines.drain(..body);
                body > 0
            }),
            Kind::Rename => {
                let Some(from) = self.desks[n].calm(x) else { return };
                let extension = from.rsplit_once('.').map_or("", |(_, extension)| extension).to_owned();
                let names: Vec<&str> = NAMES.into_iter().filter(|name| name.ends_with(&extension)).collect();
                let to = format!("{}{}", FOLDERS[pick(FOLDERS.len(), y)], names[pick(names.len(), y / 8)]);
                if self.free(n, &to) {
                    self.rename(n, &from, &to);
                }
            }
            Kind::Folder => {
                let from = ["da", "db", "da/in", "dc"][pick(4, x)];
                let to = ["da", "db", "dc", "db/in"][pick(4, y)];
                let below = format!("{from}/");
                let desk = &self.desks[n];
                let inside: Vec<String> =
                    desk.disk.keys().filter(|path| path.starts_with(&below)).cloned().collect();
                let calm = desk.settled()
                    && !inside.is_empty()
                    && !to.starts_with(&below)
                    && to != from
                    && !from.starts_with(&format!("{to}/"));
                if !calm || !path_free(&desk.disk, &[], to) || !self.at(n, from).is_dir() {
                    return;
                }
                std::fs::create_dir_all(self.at(n, to).parent().unwrap()).unwrap();
                if std::fs::rename(self.at(n, from), self.at(n, to)).is_err() {
                    return;
                }
                let desk = &mut self.desks[n];
                for path in inside {
                    let target = format!("{to}/{}", &path[below.len()..]);
                    desk.moves.insert(desk.docs[&path], target.clone());
                    desk.locked.extend([path, target]);
                }
            }
            Kind::Swap => {
                let (Some(a), Some(b)) = (self.desks[n].calm(x), self.desks[n].calm(y)) else { return };
                let extension = |path: &str| path.rsplit_once('.').map(|(_, extension)| extension.to_owned());
                let same = self.desks[n].disk.get(&a) == self.desks[n].disk.get(&b);
                // Of equal files nobody can tell that they changed names.
                if a == b || same || extension(&a) != extension(&b) {
                    return;
                }
                let aside = self.at(n, ".aios-swap");
                std::fs::rename(self.at(n, &a), &aside).unwrap();
                std::fs::rename(self.at(n, &b), self.at(n, &a)).unwrap();
                std::fs::rename(aside, self.at(n, &b)).unwrap();
                let desk = &mut self.desks[n];
                desk.moves.insert(desk.docs[&a], b.clone());
                desk.moves.insert(desk.docs[&b], a.clone());
                desk.locked.extend([a, b]);
            }
            Kind::Delete => {
                let Some(path) = self.desks[n].calm(x) else { return };
                self.delete(n, &path);
            }
            Kind::LookAlike => {
                let Some(path) = self.desks[n].calm(x) else { return };
                let text = String::from_utf8(self.desks[n].disk[&path].clone()).unwrap();
                // Only in frontmatter does a title tell one from another.
                let titled = oracle::read(text.as_bytes()).fields.contains_key("title");
                let Some(at) = text.find("title: v").filter(|_| titled) else { return };
                let other = format!("{}title: v{:05}{}", &text[..at], self.next(), &text[at + 13..]);
                let to = format!("{}like{}.md", FOLDERS[pick(FOLDERS.len(), y)], self.next());
                if path.ends_with(".md") && path_free(&self.desks[n].disk, &[&self.desks[n].locked], &to) {
                    self.delete(n, &path);
                    self.create(n, &to, other.into_bytes());
                }
            }
            Kind::Mode => {
                let Some((path, _)) = self.desks[n].editable(x) else { return };
                let at = self.at(n, &path);
                let exec = std::fs::metadata(&at).unwrap().permissions().mode() & 0o100 == 0;
                std::fs::set_permissions(
                    &at,
                    std::fs::Permissions::from_mode(if exec { 0o755 } else { 0o644 }),
                )
                .unwrap();
                // Twice is not at all.
                if self.desks[n].modes.remove(&path).is_none() {
                    self.desks[n].modes.insert(path, exec);
                }
            }
            Kind::StaleSave | Kind::OldSave => {
                let Some(path) = self.desks[n].calm_of(&self.desks[n].before, x) else { return };
                let doc = self.desks[n].docs[&path];
                let Some(base) = self.desks[n].before.get(&doc).cloned() else { return };
                let mut text = String::from_utf8(base.clone()).unwrap();
                if kind == Kind::OldSave {
                    // What was saved from an older version already would be insisted on.
                    let shown = self.world.replicas[n].shown_to_user(&doc).unwrap();
                    if shown
                        .iter()
                        .any(|shown| shown.by == By::Insisting && shown.hash == ContentHash::of(&base))
                    {
                        return;
                    }
                    if self.desks[n].habits.insert(doc)
                        && self.made_from(n, &doc, &base).as_ref() == Some(&base)
                    {
                        self.put(n, &path, &base);
                        self.desks[n]
                            .edits
                            .insert(path, Edit { base: base.clone(), new: base, open: false, stale: true });
                    }
                    return;
                }
                text += &format!("{}\n", line(self.next()));
                self.save(n, &path, base, text.into_bytes(), false, true);
            }
            Kind::LateUndo => {
                let Some(path) = self.desks[n].calm_of(&self.desks[n].typed, x) else { return };
                let doc = self.desks[n].docs[&path];
                let Some((first, second)) = self.desks[n].typed.get(&doc).cloned() else { return };
                let stale = self.desks[n].disk[&path] != second;
                self.save(n, &path, second, first, false, stale);
            }
            Kind::Insist => {
                let Some(path) = self.desks[n].calm_of(&self.desks[n].stale, x) else { return };
                let doc = self.desks[n].docs[&path];
                let Some(again) = self.desks[n].stale.get(&doc).cloned() else { return };
                let base = self.desks[n].disk[&path].clone();
                if again != base {
                    self.put(n, &path, &again);
                    self.desks[n].edits.insert(path, Edit { base, new: again, open: false, stale: false });
                }
            }
            Kind::Commit => self.commit(n),
            Kind::Deliver => {
                let to = (n + 1 + pick(self.desks.len() - 1, x)) % self.desks.len();
                let budget = [1, 2_000, 1 << 20, 1 << 20][pick(4, y)];
                // As a daemon does it, or with the user at work in between.
                if self.world.deliver(n, to, budget) > 0 && y / 4 % 2 == 0 {
                    self.commit(to);
                }
            }
            Kind::Restart => self.world.restart(n),
            Kind::Rebuild => {
                // Which older versions are still open in an editor is forgotten with the database.
                let desk = &mut self.desks[n];
                if desk.settled() {
                    (desk.before, desk.typed, desk.stale) = Default::default();
                    self.world.rebuild(n);
                    // It writes what had come in, as a round does.
                    self.commit(n);
                }
            }
        }
    }

    /// Whether a user at `n` may make something at `path`.
    fn free(&self, n: usize, path: &str) -> bool {
        let desk = &self.desks[n];
        path_free(&desk.disk, &[&desk.locked], path) && !self.at(n, path).exists()
    }

    fn create(&mut self, n: usize, path: &str, text: Vec<u8>) {
        self.put(n, path, &text);
        let desk = &mut self.desks[n];
        desk.locked.insert(path.to_owned());
        desk.created.insert(path.to_owned(), (text, false));
    }

    fn rename(&mut self, n: usize, from: &str, to: &str) {
        let target = self.at(n, to);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::rename(self.at(n, from), target).unwrap();
        let desk = &mut self.desks[n];
        desk.moves.insert(desk.docs[from], to.to_owned());
        desk.locked.extend([from.to_owned(), to.to_owned()]);
    }

    fn delete(&mut self, n: usize, path: &str) {
        std::fs::remove_file(self.at(n, path)).unwrap();
        let desk = &mut self.desks[n];
        desk.deleted.insert(desk.docs[path], path.to_owned());
        desk.locked.insert(path.to_owned());
    }

    /// Records of `n` beyond `past`, in order.
    fn collect(&mut self, n: usize, past: &View) -> Vec<Record> {
        let upto = self.world.replicas[n].view().clone();
        let mut have = past.clone();
        let mut out = Vec::new();
        while have != upto {
            for entry in self.world.replicas[n].entries_since(&have, &upto, u64::MAX / 2).unwrap() {
                have.add(entry.place);
                let record = Record::read_entry(&entry.bytes).unwrap().0;
                self.records.insert(entry.place, record.clone());
                out.push(record);
            }
        }
        out
    }

    fn commit(&mut self, n: usize) {
        let past = self.world.replicas[n].view().clone();
        let round = self.world.commit(n);
        assert!(round.settled.problems.is_empty(), "problems: {round:?}");
        let records = self.collect(n, &past);
        let desk = std::mem::take(&mut self.desks[n]);
        let after = self.learn(n, &desk, &past, &records);
        let view = self.world.replicas[n].view().clone();
        self.inspect(n, &view);
        let disk = self.world.files(n);
        let docs = self.oracle.places(&view);
        let mut next = Desk {
            disk,
            docs,
            shown: view,
            before: desk.before,
            typed: desk.typed,
            stale: desk.stale,
            habits: desk.habits,
            ..Desk::default()
        };
        self.displayed.extend(next.disk.values().map(|bytes| ContentHash::of(bytes)));
        let written: BTreeMap<DocId, &Vec<u8>> =
            next.docs.iter().filter_map(|(path, doc)| Some((*doc, next.disk.get(path)?))).collect();
        for (path, doc) in &desk.docs {
            let (Some(now), Some(was)) = (written.get(doc), desk.disk.get(path)) else { continue };
            let saved = after.get(doc);
            if let Some(edit) = saved {
                next.before.remove(doc);
                next.typed.remove(doc);
                next.stale.remove(doc);
                if edit.new != edit.base {
                    next.habits.remove(doc);
                }
                let meant = deeds(&oracle::read(&edit.base), &oracle::read(&edit.new));
                if !meant.is_empty() && meant.iter().all(|deed| matches!(deed, Deed::Insert(_))) {
                    next.typed.insert(*doc, (edit.base.clone(), edit.new.clone()));
                }
                if edit.stale && edit.new != edit.base {
                    next.stale.insert(*doc, edit.new.clone());
                }
            }
            let had = saved.map_or(was, |edit| &edit.new);
            if had != *now {
                next.before.insert(*doc, had.clone());
            }
        }
        self.desks[n] = next;
    }

    /// Tells the oracle what was recorded, having checked that it is what the user meant. Gives the saves by document.
    fn learn(&mut self, n: usize, desk: &Desk, past: &View, records: &[Record]) -> BTreeMap<DocId, Edit> {
        let (mut created, mut moves) = (desk.created.clone(), desk.moves.clone());
        let mut standing: BTreeMap<DocId, String> =
            desk.docs.iter().map(|(path, doc)| (*doc, path.clone())).collect();
        let (mut deleted, mut modes) = (desk.deleted.clone(), BTreeMap::new());
        let mut edits: BTreeMap<DocId, Edit> = BTreeMap::new();
        for (path, edit) in &desk.edits {
            edits.insert(desk.docs[path], edit.clone());
        }
        for (path, exec) in &desk.modes {
            modes.insert(desk.docs[path], *exec);
        }
        let mut saves = edits.clone();
        let mut known = past.clone();
        for record in records {
            let place = record.header.place();
            assert_eq!(place.device, self.world.replicas[n].device());
            let stamp: Stamp = record.header.stamp();
            let body = record.body().unwrap().items;
            for (index, item) in body.clone().into_iter().enumerate() {
                let at = |base: &Base| At {
                    place,
                    index: index as u32,
                    seen: base.base.clone().unwrap_or_else(|| known.clone()),
                    rank: base.rank.unwrap_or(stamp),
                };
                let plain = at(&Base::default());
                match item {
                    Item::Create { doc, path, mode, content, base, .. } => {
                        let (bytes, _) =
                            created.remove(&path).unwrap_or_else(|| panic!("nobody made {path}"));
                        assert_eq!(ContentHash::of(&bytes), content.hash, "content of {path}");
                        self.oracle.hashes.insert(content.hash);
                        let exec = mode == Mode::Executable;
                        let meant = deeds(&oracle::Content::default(), &oracle::read(&bytes));
                        self.oracle.note(
                            doc,
                            at(&base),
                            What::Create { path, exec, hash: content.hash },
                            meant,
                        );
                    }
                    Item::Edit { doc, content, base, .. } | Item::Replace { doc, content, base, .. }
                        if edits.contains_key(&doc) =>
                    {
                        let edit = edits.remove(&doc).unwrap();
                        assert_eq!(ContentHash::of(&edit.new), content.hash, "content of a save");
                        self.oracle.hashes.insert(content.hash);
                        let is_edit = matches!(&record.body().unwrap().items[index], Item::Edit { .. });
                        // Its old version may have come back meanwhile: then it is a plain save.
                        if let Some(save) = saves.get_mut(&doc) {
                            save.stale &= base.base.is_some();
                        }
                        let meant = deeds(&oracle::read(&edit.base), &oracle::read(&edit.new));
                        self.oracle.note(
                            doc,
                            at(&base),
                            if is_edit { What::Edit } else { What::Replace },
                            meant,
                        );
                    }
                    Item::Edit { doc, content, base, .. } | Item::Replace { doc, content, base, .. } => {
                        // A file that was made where a document lay that its maker had not seen.
                        let found =
                            created.iter().find(|(_, (bytes, _))| ContentHash::of(bytes) == content.hash);
                        let path = found
                            .map(|(path, _)| path.clone())
                            .unwrap_or_else(|| panic!("nobody saved {doc}:\n{}", self.oracle.story(&doc)));
                        let (bytes, _) = created.remove(&path).unwrap();
                        self.oracle.hashes.insert(content.hash);
                        let meant = deeds(&oracle::Content::default(), &oracle::read(&bytes));
                        self.oracle.note(doc, at(&base), What::Replace, meant);
                    }
                    Item::Move { doc, path } => {
                        assert_eq!(moves.remove(&doc).as_ref(), Some(&path), "nobody moved {doc} to {path}");
                        self.oracle.note(doc, plain, What::Move(path), Vec::new());
                    }
                    Item::MoveDir { from, to } => {
                        for path in standing.values_mut() {
                            if let Some(new) = path::rebase(path, &from, &to) {
                                *path = new;
                            }
                        }
                        let more =
                            body.iter().skip(index + 1).any(|item| matches!(item, Item::MoveDir { .. }));
                        for (path, doc) in desk.docs.iter().filter(|_| !more) {
                            let now = &standing[doc];
                            let meant = now == path || deleted.contains_key(doc) || moves.contains_key(doc);
                            assert!(meant, "nobody moved {path}, which a folder took to {now}");
                            if moves.get(doc) == Some(now) {
                                moves.remove(doc);
                            }
                        }
                        self.oracle.note_folder(plain, from, to);
                    }
                    Item::Mode { doc, mode } => {
                        let exec = mode == Mode::Executable;
                        assert_eq!(
                            modes.remove(&doc),
                            Some(exec),
                            "nobody changed the mode of {doc}\n{}",
                            self.oracle.story(&doc)
                        );
                        self.oracle.note(doc, plain, What::Mode(exec), Vec::new());
                    }
                    Item::Delete { doc } => {
                        assert!(deleted.remove(&doc).is_some(), "nobody deleted {doc}");
                        // A value that came in and lost shows in no file.
                        let state = |view: &View| {
                            let (losers, absent) = (BTreeMap::new(), BTreeSet::new());
                            (
                                oracle::Expected { losers, absent, ..self.oracle.expected(&doc, view) },
                                self.oracle.path(&doc, view),
                            )
                        };
                        let (mut saw, mut deleted_then) = (state(&desk.shown), state(past));
                        // What cannot be told of one of them tells no difference.
                        if saw.0.fields.is_none() || deleted_then.0.fields.is_none() {
                            (saw.0.fields, deleted_then.0.fields) = (None, None);
                        }
                        assert!(
                            saw == deleted_then,
                            "a delete by someone who had not seen what came\n{saw:?}\n{deleted_then:?}\n{}",
                            self.oracle.story(&doc)
                        );
                        self.oracle.note(doc, plain, What::Delete, Vec::new());
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
            known.add(place);
        }
        let files = self.world.files(n);
        assert!(moves.is_empty(), "moves without record: {moves:?}");
        for (doc, path) in deleted {
            let elsewhere = self.oracle.path(&doc, past).as_ref() != Some(&path);
            assert!(
                elsewhere || self.oracle.news(&doc, &desk.shown, past),
                "delete of {path} without record\n{}",
                self.oracle.story(&doc)
            );
        }
        for (doc, exec) in modes {
            let expected = !self.oracle.lives(&doc, past) || self.oracle.exec(&doc, past) == exec;
            assert!(expected, "change of mode without record\n{}", self.oracle.story(&doc));
        }
        for (path, (bytes, _)) in created {
            // Another's of the same bytes may have come, and changed since.
            let known = self.oracle.hashes.contains(&ContentHash::of(&bytes));
            assert!(known || files.get(&path) == Some(&bytes), "{path} was made without record");
        }
        // I2: what a user saved is in a record, or was shown by aios before.
        for edit in edits.values() {
            let hash = ContentHash::of(&edit.new);
            let known = self.oracle.hashes.contains(&hash) || self.displayed.contains(&hash);
            assert!(known || files.values().any(|bytes| *bytes == edit.new), "a save is nowhere: {edit:?}");
        }
        for (doc, edit) in edits.iter().filter(|(_, edit)| edit.new != edit.base) {
            let still = files.values().any(|bytes| *bytes == edit.new);
            assert!(
                still,
                "a save without effect at {n}: {edit:?} {}\n{}",
                doc.short(6),
                self.oracle.story(doc)
            );
        }
        saves
    }

    /// Compares the disk of `n` with what the oracle says of `view`.
    fn inspect(&mut self, n: usize, view: &View) {
        let files = self.world.files(n);
        let places = self.oracle.places(view);
        let (have, want): (Vec<&String>, Vec<&String>) = (files.keys().collect(), places.keys().collect());
        if have != want {
            let stories: String = places
                .iter()
                .map(|(path, doc)| format!("{path} {}\n{}", doc.short(6), self.oracle.story(doc)))
                .collect();
            panic!("paths at {n}: have {have:?}, want {want:?}\n{stories}");
        }
        let conflicts = self.world.replicas[n].conflict_rows().unwrap();
        for (path, doc) in &places {
            let text = &files[path];
            let found = oracle::read(text);
            let want = self.oracle.expected(doc, view);
            let fail = |what: String| -> ! {
                panic!(
                    "{what} in {path} at {n}:\n{}\n{}",
                    String::from_utf8_lossy(text),
                    self.oracle.story(doc)
                )
            };
            let exec =
                std::fs::metadata(self.world.root(n).join(path)).unwrap().permissions().mode() & 0o100 != 0;
            if exec != want.exec {
                fail(format!("mode: have {exec}, want {}", want.exec));
            }
            // Fences that came in between may have taken it into the frontmatter, as it stands.
            let torn = want.fields.is_none();
            let stands = |token: &String| {
                found.tokens.contains_key(token)
                    || torn && String::from_utf8_lossy(text).contains(&line(token.parse().unwrap()))
            };
            for token in self.oracle.untouched(doc, view) {
                if !stands(&token) {
                    fail(format!("token {token} is lost"));
                }
            }
            for (token, count) in &found.tokens {
                let most = want.present.get(token).copied().unwrap_or(0);
                if want.exact && *count > most {
                    fail(format!("token {token} stands {count} times, not {most}"));
                }
                let whole = line(token.parse().unwrap());
                if String::from_utf8_lossy(text).matches(&whole).count() < *count {
                    fail(format!("the line of token {token} is torn"));
                }
            }
            if want.exact
                && let Some(token) = want.present.keys().find(|token| !stands(token))
            {
                fail(format!("token {token} is missing"));
            }
            if let Some(ends) = &want.ends
                && found.ends.iter().any(|end| !end.is_empty() && *end != ends.as_str())
            {
                fail(format!("line ends: want {ends:?}"));
            }
            let Some(fields) = &want.fields else { continue };
            let told = |fields: &BTreeMap<String, oracle::Field>| -> BTreeMap<String, oracle::Field> {
                let told = fields.iter().filter(|(key, _)| !want.ties.contains(*key));
                told.map(|(key, field)| {
                    let told = !want.loose.contains(key);
                    (
                        key.clone(),
                        oracle::Field { items: field.items.clone().filter(|_| told), ..field.clone() },
                    )
                })
                .collect()
            };
            if told(fields) != told(&found.fields) {
                fail(format!("frontmatter: want {fields:?}"));
            }
            let of_doc = |kind: ConflictKind| {
                conflicts.iter().filter(move |conflict| conflict.doc == *doc && conflict.kind == kind)
            };
            if of_doc(ConflictKind::Front).next().is_some() {
                fail("a merge broke the frontmatter".into());
            }
            let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for conflict in of_doc(ConflictKind::Value) {
                let key = conflict.key.clone().unwrap_or_default();
                if KEYS.contains(&key.as_str()) && !want.ties.contains(&key) {
                    let values = conflict.values[1..].iter().map(|value| value.value.replace("\r\n", "\n"));
                    shown.insert(key, values.collect());
                }
            }
            let mut losers = want.losers.clone();
            losers.retain(|key, _| !want.ties.contains(key));
            if shown != losers {
                fail(format!("conflicts: have {shown:?}, want {losers:?}"));
            }
        }
    }

    /// Everything goes everywhere.
    fn sync(&mut self) {
        for _ in 0..20 {
            (0..self.desks.len()).for_each(|n| self.commit(n));
            let mut moved = 0;
            for from in 0..self.desks.len() {
                for to in 0..self.desks.len() {
                    while from != to && self.world.deliver(from, to, 1 << 20) > 0 {
                        moved += 1;
                    }
                }
            }
            if moved == 0 {
                return;
            }
        }
        panic!("no rest after 20 rounds");
    }

    /// Hands all records to a fresh replica in another causal order and in batches of another size (I1).
    fn replay(&mut self) {
        let mut random = Random(self.seed ^ 0x5eed);
        let mut vault = self.world.bystander();
        let mut left: Vec<Record> = std::mem::take(&mut self.records).into_values().collect();
        let mut known: BTreeSet<aios_core::id::RecordId> = BTreeSet::new();
        let mut order = Vec::new();
        while !left.is_empty() {
            let ready = |record: &Record| {
                record.header.prev.iter().chain(&record.header.deps).all(|id| known.contains(id))
            };
            let able: Vec<usize> = (0..left.len()).filter(|n| ready(&left[*n])).collect();
            assert!(!able.is_empty(), "records that rest on nothing known");
            let record = left.swap_remove(able[random.below(able.len())]);
            known.insert(record.id);
            order.push(record);
        }
        let mut rest = &order[..];
        while !rest.is_empty() {
            let most = rest.len().min(1 + random.below(12));
            let (batch, more) = rest.split_at(1 + random.below(most));
            if let Err(e) = vault.integrate(batch) {
                let names = |records: &[Record]| {
                    records
                        .iter()
                        .map(|record| format!("{:?} {:?}\n", record.header.place(), record.header.deps))
                        .collect::<String>()
                };
                panic!(
                    "{e}\n{}batch\n{}all\n{}members {:?}",
                    vault.view().iter().map(|p| format!("{p:?} ")).collect::<String>(),
                    names(batch),
                    names(&order),
                    vault.members()
                );
            }
            if random.below(3) == 0
                && let Err(e) = vault.commit(&Default::default(), &mut quiet())
            {
                panic!("{e}: a bystander found {:?}", vault.survey(&mut quiet()));
            }
            rest = more;
        }
        let options = crate::absorb::AbsorbOptions { deletions: true, ..Default::default() };
        let round = vault.commit(&options, &mut quiet()).unwrap();
        assert!(round.absorbed.record.is_none(), "a bystander wrote a record");
        assert_eq!(files_of(vault.root()), self.world.files(0), "files after another order");
        assert_eq!(
            vault.projected_head().unwrap(),
            self.world.replicas[0].projected_head().unwrap(),
            "head after another order"
        );
        assert_eq!(
            vault.state().unwrap(),
            self.world.replicas[0].state().unwrap(),
            "state after another order"
        );
    }

    /// git's own check of what was projected, where git is installed.
    fn fsck(&self) {
        let run = std::process::Command::new("git")
            .arg("-C")
            .arg(self.world.root(0))
            .args(["fsck", "--no-dangling", "--strict"])
            .output();
        if let Ok(done) = run {
            assert!(done.status.success(), "git fsck: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

/// Adds an item to a list of the frontmatter, or takes one away that is not the last.
fn items(lines: &mut Vec<String>, body: usize, y: u16, add: bool) -> bool {
    let item = ITEMS[usize::from(y) % ITEMS.len()];
    let place = usize::from(y / 8);
    if y.is_multiple_of(2) {
        let Some(at) = lines[..body].iter().position(|line| line.starts_with("tags:")) else {
            let fresh = add && body > 0;
            if fresh {
                lines.insert(body - 1, format!("tags: [{item}]\n"));
            }
            return fresh;
        };
        let text = lines[at].clone();
        let (Some(open), Some(close)) = (text.find('['), text.find(']')) else { return false };
        let mut list: Vec<&str> =
            text[open + 1..close].split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        match add {
            true if !list.contains(&item) => list.insert(place % (list.len() + 1), item),
            false if list.len() > 1 => _ = list.remove(place % list.len()),
            _ => return false,
        }
        lines[at] = format!("tags: [{}]{}", list.join(", "), &text[close + 1..]);
        return true;
    }
    let Some(at) = lines[..body].iter().position(|line| line.starts_with("labels:")) else { return false };
    let count = lines[at + 1..].iter().take_while(|line| line.starts_with("  - ")).count();
    let there = lines[at + 1..=at + count].iter().any(|line| line.trim() == format!("- {item}"));
    match add {
        true if !there && count > 0 => lines.insert(at + 1 + place % (count + 1), format!("  - {item}\n")),
        false if count > 1 => _ = lines.remove(at + 1 + place % count),
        _ => return false,
    }
    true
}

/// Whether items of a list that stay change their order: what comes of that beside edits of them is not the oracle's to
/// say.
fn reorders(old: &[u8], new: &[u8]) -> bool {
    let order = |text: &[u8], key: &str| -> Vec<String> {
        let text = String::from_utf8_lossy(text).into_owned();
        let from = text.lines().skip_while(|line| !line.starts_with(&format!("{key}:")));
        let list = from.enumerate().take_while(|(n, line)| *n == 0 || line.starts_with("  - "));
        let words = list.flat_map(|(_, line)| {
            line.split([' ', ',', '[', ']', '\r']).map(str::to_owned).collect::<Vec<_>>()
        });
        words.filter(|word| ITEMS.contains(&word.as_str())).collect()
    };
    ["tags", "labels"].iter().any(|key| {
        let (mut was, mut is) = (order(old, key), order(new, key));
        let (before, after) = (was.clone(), is.clone());
        was.retain(|item| after.contains(item));
        is.retain(|item| before.contains(item));
        was != is
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
}

fn check(count: u8, steps: &[Step], seed: u64) {
    let mut run = Run::new(usize::from(count), seed);
    for step in steps {
        run.step(*step);
    }
    run.sync();
    run.world.assert_equal();
    run.replay();
    if seed.is_multiple_of(16) {
        run.fsck();
    }
}

/// One run from a seed; on failure, the smallest run that fails too.
fn case(seed: u64) -> Option<String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let shrink = std::env::var("PROPTEST_MAX_SHRINK_ITERS").ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: shrink.unwrap_or(400),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(&steps(), |(count, steps)| {
        check(count, &steps, seed);
        Ok::<(), TestCaseError>(())
    });
    match result {
        Ok(()) => None,
        Err(TestError::Fail(why, (count, steps))) => {
            let steps: String = steps.iter().map(|step| format!("  {step:?},\n")).collect();
            Some(format!("again with AIOS_SEED={seed} AIOS_CASES=1\n{count} replicas\n{steps}{why}"))
        }
        Err(e) => Some(format!("seed {seed}: {e}")),
    }
}

#[test]
fn random_work_converges_and_loses_nothing() {
    let text = |name: &str| std::env::var(name).ok();
    let cases = text("AIOS_CASES").and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let first: u64 = match text("AIOS_SEED").as_deref() {
        None => 1,
        Some("random") => {
            u64::from(u32::from_le_bytes(*crate::chance::random().unwrap().first_chunk().unwrap()))
        }
        Some(seed) => seed.parse().expect("AIOS_SEED is a number or `random`"),
    };
    let next = std::sync::atomic::AtomicU64::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get().min(4)) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if n >= cases || failed.lock().unwrap().len() >= FAILURES {
                        break;
                    }
                    if let Some(report) = case(first.wrapping_add(n)) {
                        // Told at once: a long run may be ended before all of it is told.
                        eprintln!("{report}");
                        failed.lock().unwrap().push(report);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
