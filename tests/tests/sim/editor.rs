//! Users at work: every way in which editors save, texts that are out of date, and saves that come in between.

use std::fs;
use std::path::Path;

use aios_core::id::{ContentHash, GitId};
use aios_vault::disk::journal;

use crate::ledger::{BLOB, Token, line, tokens};
use crate::world::{Between, Buffer, Files, Half, World};

const NAMES: [&str; 8] = ["a.md", "b.md", "c.txt", "A.md", "da/a.md", "da/b.md", "db/in/c.md", "n.md"];
/// How often aios may have written a file for a text that was read before to be still told from an undo.
const FRESH: usize = 1;

fn write(path: &Path, bytes: &[u8]) {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("a folder");
    }
    fs::write(path, bytes).expect("a file");
}

/// Puts bytes at a path as one editor or another does.
fn save(path: &Path, bytes: &[u8], style: usize) {
    match style {
        0 => write(path, bytes),
        1 => {
            let aside = path.with_extension("md~");
            write(&aside, bytes);
            fs::rename(&aside, path).expect("a rename");
        }
        _ => {
            fs::remove_file(path).expect("a file to be replaced");
            write(path, bytes);
        }
    }
}

/// The text with a new line at some place.
fn with_line(bytes: &[u8], token: Token, at: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let body = match lines.first() {
        Some(&"---\n") => lines.iter().skip(1).position(|line| *line == "---\n").map_or(0, |at| at + 2),
        _ => 0,
    };
    let new = format!("{}\n", line(token));
    lines.insert(body + at % (lines.len() - body + 1), &new);
    lines.concat().into_bytes()
}

/// The beginning of a text, of about so many bytes. It ends in no `k` or `k2`, with which all lines begin: who makes a line of such a
/// rest has it beside what others make of it, and no line is whole then, although every character stands.
fn half(whole: &[u8], size: usize) -> Vec<u8> {
    let start = whole[..size].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let last = &whole[start..size];
    let shared = last.first() == Some(&b'k') && last[1..].iter().all(u8::is_ascii_digit);
    whole[..if shared { start } else { size }].to_vec()
}

impl World {
    /// A text of a device that a user may work on.
    fn file(&mut self, n: usize, disk: &Files) -> Option<(String, Vec<u8>)> {
        self.one_of(n, disk, |path| !path.ends_with(BLOB))
    }

    /// Any file of a device that a user may move or remove.
    fn any_file(&mut self, n: usize, disk: &Files) -> Option<(String, Vec<u8>)> {
        let blob = self.chance.one_in(4);
        self.one_of(n, disk, |path| path.ends_with(BLOB) == blob)
    }

    fn one_of(
        &mut self,
        n: usize,
        disk: &Files,
        is_meant: impl Fn(&str) -> bool,
    ) -> Option<(String, Vec<u8>)> {
        let texts: Vec<_> = disk.iter().filter(|(path, _)| is_meant(path)).collect();
        self.chance.pick(&texts).map(|(path, bytes)| ((*path).clone(), (*bytes).clone())).filter(
            |(path, _)| {
                // Half of it is on disk: its editor is at work.
                !self.devices[n].halves.iter().any(|half| half.path == *path)
            },
        )
    }

    fn put(&mut self, n: usize, path: &str, bytes: &[u8], how: &str) {
        let at = self.devices[n].root.join(path);
        let style = if at.exists() { self.chance.below(3) } else { 0 };
        save(&at, bytes, style);
        self.touched(n, path);
        self.devices[n].seen.insert(path.to_owned());
        self.tell(format!("d{n} {how} {path} {style} {:?}", tokens(bytes)));
    }

    /// A user did something to a file: what others have open of it is older than that.
    fn touched(&mut self, n: usize, path: &str) {
        let device = &mut self.devices[n];
        device.disk = None;
        device.journal.saved(&device.root.join(path));
        device
            .buffers
            .iter_mut()
            .filter(|buffer| buffer.path == path)
            .for_each(|buffer| buffer.writes += FRESH + 1);
    }

    /// A text in another state: a line more, a line less, a line another, a key another.
    fn changed(&mut self, n: usize, old: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(old).into_owned();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let head = match lines.first().map(String::as_str) {
            Some("---\n") => lines.iter().skip(1).position(|line| line == "---\n").map_or(0, |at| at + 2),
            _ => 0,
        };
        let at = head + self.chance.below(lines.len() - head);
        match self.chance.below(8) {
            0 if at < lines.len() => _ = lines.remove(at),
            1 if at < lines.len() => lines[at] = format!("{}\n", line(self.ledger.token(n))),
            2 if head > 1 => lines[1] = format!("status: v{}\n", self.chance.below(90)),
            _ => return with_line(old, self.ledger.token(n), self.chance.below(9)),
        }
        lines.concat().into_bytes()
    }

    /// Somebody edits what is on disk.
    pub fn edit(&mut self, n: usize) {
        let disk = self.disk(n);
        let Some((path, old)) = self.file(n, &disk) else { return self.make(n) };
        let new = self.changed(n, &old);
        self.ledger.saved(&old, &new);
        self.put(n, &path, &new, "saves");
    }

    /// Somebody makes a file.
    pub fn make(&mut self, n: usize) {
        let Some(path) = self.chance.pick(&NAMES).map(|path| (*path).to_owned()) else { return };
        let disk = self.disk(n);
        let clash = |other: &String| {
            *other == path || other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"))
        };
        if disk.keys().any(clash) {
            return;
        }
        let mut text = String::new();
        if path.ends_with(".md") && self.chance.one_in(2) {
            text += &format!("---\nstatus: v{}\ntags: [a, b]\n---\n", self.chance.below(90));
        }
        for _ in 0..=self.chance.below(4) {
            text += &format!("{}\n", line(self.ledger.token(n)));
        }
        self.put(n, &path, text.as_bytes(), "makes");
    }

    /// Somebody saves bytes that are no text.
    pub fn blob(&mut self, n: usize) {
        let more = vec![1; self.size()];
        let bytes = [b"\0\x01", line(self.ledger.token(n)).as_bytes(), &more].concat();
        let path = format!("x{}{BLOB}", self.chance.below(3));
        let at = self.devices[n].root.join(&path);
        if let Ok(old) = fs::read(&at) {
            self.ledger.touch(&old);
        }
        self.ledger.binaries.insert(ContentHash::of(&bytes), GitId::blob(&bytes));
        // Of two that are saved at once, one stands and the other is kept in the log.
        self.ledger.touch(&bytes);
        self.put(n, &path, &bytes, "saves");
    }

    /// A file that stands otherwise with somebody else: what came may be of it, and nobody has seen that here.
    fn behind(&mut self, n: usize, disk: &Files) -> Option<(String, Vec<u8>)> {
        let others: Vec<Files> =
            (0..self.devices.len()).filter(|other| *other != n).map(|other| self.disk(other)).collect();
        let differs = |path: &String, bytes: &Vec<u8>| {
            others.iter().any(|other| other.get(path).is_some_and(|theirs| theirs != bytes))
        };
        let busy = |path: &String| self.devices[n].halves.iter().any(|half| half.path == *path);
        let behind: Vec<_> =
            disk.iter().filter(|(path, bytes)| differs(path, bytes) && !busy(path)).collect();
        self.chance.pick(&behind).map(|(path, bytes)| ((*path).clone(), (*bytes).clone()))
    }

    pub fn delete(&mut self, n: usize) {
        let disk = self.disk(n);
        let behind = if self.devices[n].came { self.behind(n, &disk) } else { None };
        let Some((path, old)) = behind.or_else(|| self.any_file(n, &disk)) else { return };
        let at = self.devices[n].root.join(&path);
        fs::remove_file(&at).expect("a file to remove");
        self.touched(n, &path);
        self.ledger.touch(&old);
        if let Some(known) = self.devices[n].known.get(&path) {
            self.ledger.touch(known);
        }
        self.devices[n].seen.insert(path.clone());
        self.tell(format!("d{n} deletes {path}"));
    }

    pub fn rename(&mut self, n: usize) {
        let disk = self.disk(n);
        let Some((path, bytes)) = self.any_file(n, &disk) else { return };
        let end = if path.ends_with(BLOB) { BLOB } else { ".md" };
        let to = format!("{}r{}{end}", ["", "da/", "dc/"][self.chance.below(3)], self.chance.below(4));
        let (from, target) = (self.devices[n].root.join(&path), self.devices[n].root.join(&to));
        if disk.contains_key(&to) || target.exists() {
            return;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).expect("a folder");
        }
        fs::rename(from, target).expect("a rename");
        if let Some(known) = self.devices[n].known.get(&path) {
            // Saved and renamed before aios looked, it may be another file, and this one gone.
            self.ledger.saved(known, &bytes);
        }
        self.touched(n, &path);
        self.touched(n, &to);
        self.devices[n].seen.extend([path.clone(), to.clone()]);
        self.tell(format!("d{n} renames {path} to {to}"));
    }

    /// Somebody opens a file and leaves it open.
    pub fn open(&mut self, n: usize) {
        let disk = self.disk(n);
        let Some((path, base)) = self.file(n, &disk) else { return };
        self.devices[n].buffers.retain(|buffer| buffer.path != path);
        self.tell(format!("d{n} opens {path}"));
        self.devices[n].buffers.push(Buffer { path, base, writes: 0 });
    }

    /// Which text that somebody has open aios has just written anew, and nobody else.
    pub fn overtaken(&self, n: usize) -> Option<usize> {
        let device = &self.devices[n];
        device.buffers.iter().position(|buffer| {
            let disk =
                (buffer.writes == FRESH).then(|| fs::read(device.root.join(&buffer.path)).ok()).flatten();
            let known = device.known.get(&buffer.path);
            disk.as_ref() == known && disk.is_some_and(|disk| disk != buffer.base)
        })
    }

    /// Somebody saves what they opened before, with a line more: for the most part what aios has written in between.
    pub fn stale_save(&mut self, n: usize) {
        let overtaken = self.overtaken(n);
        let any = self.chance.below(self.devices[n].buffers.len());
        let at = match overtaken {
            Some(at) => at,
            None if self.chance.one_in(3) => any,
            None => return,
        };
        if at >= self.devices[n].buffers.len() {
            return;
        }
        let buffer = self.devices[n].buffers.remove(at);
        let Buffer { path, base, writes } = buffer;
        let busy = self.devices[n].halves.iter().any(|half| half.path == path);
        let Ok(disk) = fs::read(self.devices[n].root.join(&path)) else { return };
        if busy {
            return;
        }
        let new = with_line(&base, self.ledger.token(n), self.chance.below(9));
        self.ledger.saved(&base, &new);
        let known = self.devices[n].known.get(&path) == Some(&disk);
        let (was, now) = (tokens(&base), tokens(&disk));
        let other =
            was.is_disjoint(&now) || was.difference(&now).any(|token| !self.ledger.touched.contains(token));
        if disk != base && (writes > FRESH || !known || other) {
            // What stands there may go by this save, as far as anybody can tell: so, too, where another file has the name now.
            self.ledger.saved(&disk, &new);
        }
        self.put(n, &path, &new, "saves late");
    }

    /// Somebody's editor has written half of a save; or writes the rest.
    pub fn half_save(&mut self, n: usize) {
        if let Some(half) = self.devices[n].halves.pop() {
            let at = self.devices[n].root.join(&half.path);
            let now = fs::read(&at).unwrap_or_default();
            // It goes on writing where it was, whatever was done to the file meanwhile.
            self.ledger.saved(&now, &half.whole);
            self.ledger.saved(&half.first, &half.whole);
            write(&at, &half.whole);
            self.touched(n, &half.path);
            self.devices[n].seen.insert(half.path.clone());
            return self.tell(format!("d{n} ends a save of {}", half.path));
        }
        let disk = self.disk(n);
        let Some((path, old)) = self.file(n, &disk) else { return };
        let whole = with_line(&old, self.ledger.token(n), self.chance.below(9));
        self.ledger.saved(&old, &whole);
        let first = half(&whole, whole.len() * self.chance.below(4) / 4);
        self.ledger.saved(&whole, &first);
        if let Some(known) = self.devices[n].known.get(&path).filter(|_| first.is_empty()) {
            // Left so for long it is meant, whatever was in it.
            self.ledger.saved(known, &first);
        }
        let at = self.devices[n].root.join(&path);
        write(&at, &first);
        self.touched(n, &path);
        self.tell(format!("d{n} begins a save of {path}: {} of {}", first.len(), whole.len()));
        self.devices[n].halves.push(Half { path, first, whole });
    }

    /// Somebody will save a file while aios is at work.
    pub fn save_meanwhile(&mut self, n: usize) {
        let disk = self.disk(n);
        let Some((path, _)) = self.file(n, &disk) else { return };
        let (token, at, style) = (self.ledger.token(n), self.chance.below(9), self.chance.below(2));
        // Nobody can tell whether it comes to that.
        let hits = self.chance.scale(60);
        let (file, told, name) = (self.devices[n].root.join(&path), self.meanwhile.clone(), path.clone());
        self.devices[n].plan.meanwhile(hits, move || {
            let Ok(old) = fs::read(&file) else { return };
            let new = with_line(&old, token, at);
            save(&file, &new, style);
            journal::saved(&file);
            told.lock().expect("a lock").push(Between { path: name, old, new });
        });
        self.pending.insert(token);
        self.tell(format!("d{n} will save {path} in {hits}: {token}"));
    }
}
