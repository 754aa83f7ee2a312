//! Devices in one process: real vaults in a temporary folder, each with a clock, a disk that fails, and users at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aios_core::frontier::View;
use aios_core::id::{ContentHash, DeviceId};
use aios_core::record::Record;
use aios_sync::profile::Profile;
use aios_sync::site::Site;
use aios_sync::upkeep::Upkeep;
use aios_tests::chance::Chance;
use aios_vault::admit::Purpose;
use aios_vault::chance::seeded;
use aios_vault::create::NewVault;
use aios_vault::disk::fault::{self, Crash, Plan};
use aios_vault::disk::journal::{self, Journal};
use aios_vault::keys::Keys;
use aios_vault::{Error, Vault};

use crate::ledger::{BLOB, Ledger, Token, tokens};
use crate::network::Conn;
use crate::weather::Weather;

/// Files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// When the world begins, ms.
pub const BEGIN: u64 = 1_800_000_000_000;

/// How a crash comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process is killed: what it wrote stays.
    Kill,
    /// The power fails: what was not synced goes.
    Cut,
    /// As a cut, but half of what was appended and not synced stays.
    Torn,
}

/// A text that somebody has open in an editor.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub path: String,
    pub base: Vec<u8>,
    /// How often aios has written the file since.
    pub writes: usize,
}

/// A save that is written in two halves, the first of which is on disk.
#[derive(Debug, Clone)]
pub struct Half {
    pub path: String,
    pub first: Vec<u8>,
    pub whole: Vec<u8>,
}

/// A folder kept aside.
#[derive(Debug)]
pub struct Backup {
    pub folder: PathBuf,
    pub known: Files,
}

/// One device.
pub struct Device {
    pub root: PathBuf,
    /// The program, if it runs.
    pub site: Option<Site>,
    /// How far its clock is off, ms.
    pub skew: i64,
    pub plan: Plan,
    /// The first connection begun after a plan under which something failed gave way to another.
    pub failed_before: usize,
    pub end: Option<End>,
    pub journal: Journal,
    /// The files as aios last left them.
    pub known: Files,
    pub buffers: Vec<Buffer>,
    pub halves: Vec<Half>,
    /// Paths where a watcher has seen a save.
    pub seen: BTreeSet<String>,
    /// Something came over a connection.
    pub came: bool,
    /// What it has told others that it has.
    pub promised: View,
    pub backup: Option<Backup>,
    /// Connections before this one were with what the folder was before it was put back.
    pub since: usize,
    /// It was put back, and nobody is known to have heard of it.
    pub strange: bool,
    pub revoked: bool,
    /// It only stores and forwards: nobody works there.
    pub carries: bool,
    /// Which device it is, as last known.
    pub id: Option<DeviceId>,
    /// The working files as last seen, unless somebody was at them since.
    pub disk: Option<Files>,
    pub upkeep: Upkeep,
    /// When its daemon began.
    pub began: u64,
}

impl Device {
    fn new(root: &Path) -> Device {
        Device {
            root: root.to_owned(),
            site: None,
            skew: 0,
            plan: Plan::default(),
            failed_before: 0,
            end: None,
            journal: Journal::default(),
            known: Files::new(),
            buffers: Vec::new(),
            halves: Vec::new(),
            seen: BTreeSet::new(),
            came: false,
            promised: View::new(),
            backup: None,
            since: 0,
            strange: false,
            revoked: false,
            carries: false,
            id: None,
            disk: None,
            upkeep: Upkeep::new(Profile::PLUGGED),
            began: BEGIN,
        }
    }
}

/// A save made by somebody while aios was at work.
#[derive(Debug, Clone)]
pub struct Between {
    pub path: String,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// All of them in one piece of work.
pub type Meanwhile = Arc<Mutex<Vec<Between>>>;

/// All of it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub chance: Chance,
    pub weather: Weather,
    pub now: u64,
    /// What clocks count by, ms: where that is long, records of several devices have one time.
    pub grain: u64,
    /// The latest time that any clock has shown.
    pub latest: u64,
    pub steps: usize,
    pub devices: Vec<Device>,
    pub conns: Vec<Conn>,
    pub dialed: usize,
    /// Who is apart from the rest.
    pub apart: BTreeSet<usize>,
    pub ledger: Ledger,
    pub meanwhile: Meanwhile,
    /// Paths where somebody saved during the last piece of work: it may not have seen that.
    pub late: BTreeSet<String>,
    /// Tokens of saves that may never come about.
    pub pending: BTreeSet<Token>,
    /// Whether what is written is encrypted for those who may read it.
    pub sealed: bool,
    pub trace: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.conns.clear();
        for device in &mut self.devices {
            if let Some(site) = device.site.take() {
                site.keeper().end();
            }
            seeded::forget(&device.root);
        }
        seeded::end();
        if std::env::var_os("AIOS_KEEP").is_some() {
            self.dir.disable_cleanup(true);
        }
    }
}

fn base() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}

/// The working files below a folder.
pub fn files_of(root: &Path) -> Files {
    fn walk(root: &Path, at: &Path, out: &mut Files) {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("a path below").to_string_lossy().into_owned();
            if name == ".aios" || name == ".git" {
                continue;
            }
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => walk(root, &path, out),
                false => _ = out.insert(name, fs::read(&path).expect("a file")),
            }
        }
    }
    let mut out = Files::new();
    walk(root, root, &mut out);
    out
}

fn quiet() -> impl FnMut(&str, u64, u64) {
    |_: &str, _, _| {}
}

impl World {
    /// A vault of two to four devices that agree.
    pub fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let dir = tempfile::Builder::new().prefix("aios-sim-").tempdir_in(base()).expect("a folder");
        seeded::begin(seed, &dir.path().join("keys"));
        seeded::set_clock(BEGIN);
        let count = [2, 2, 3, 3, 3, 4][chance.below(6)];
        let weather = Weather::new(&mut chance);
        let grain = [1, 1, 500][chance.below(3)];
        let sealed = seed % 4 == 1;
        let new =
            NewVault { name: Some("w".into()), device: Some("d0".into()), sealed, ..NewVault::default() };
        let (mut first, absorbed) =
            Vault::create(&dir.path().join("d0"), &new, &mut quiet()).expect("a vault");
        first.finish(absorbed, &mut quiet()).expect("a round");
        let id = first.id();
        let mut devices = vec![Device::new(first.root())];
        for n in 1..count {
            // Two at least work.
            let carries = n > 1 && n + 1 == count && chance.one_in(if sealed { 2 } else { 3 });
            let roles = if carries { Purpose::Carrier } else { Purpose::Laptop }.roles();
            let keys = Keys::create(!carries).expect("keys");
            let operator = keys.operator().expect("a key").map(|key| key.public());
            let name = format!("d{n}");
            first.admit(&keys.device.public(), &name, &roles, operator.as_ref()).expect("a member");
            let root = dir.path().join(name);
            let mut replica = Vault::replicate(&root, id, "w", keys).expect("a replica");
            // As the end of pairing does: from then on they know each other.
            let upto = first.frontier().expect("a frontier").view();
            let entries = first.entries_since(&View::new(), &upto, u64::MAX).expect("entries");
            let read =
                |entry: &aios_vault::share::Entry| Record::read_entry(&entry.bytes).expect("a record").0;
            replica.integrate(&entries.iter().map(read).collect::<Vec<_>>()).expect("what fits");
            devices.push(Device { carries, ..Device::new(replica.root()) });
        }
        drop(first);
        let mut world = World {
            dir,
            chance,
            weather,
            now: BEGIN,
            grain,
            latest: BEGIN,
            steps: 0,
            devices,
            conns: Vec::new(),
            dialed: 0,
            apart: BTreeSet::new(),
            ledger: Ledger::default(),
            meanwhile: Meanwhile::default(),
            late: BTreeSet::new(),
            pending: BTreeSet::new(),
            sealed,
            trace: Vec::new(),
        };
        for n in 0..count {
            if world.chance.one_in(4) {
                world.told(n);
            }
        }
        world.agree();
        world
    }

    /// Says what happens.
    pub fn tell(&mut self, what: impl std::fmt::Display) {
        self.trace.push(format!("{:4} {:>7} {what}", self.steps, self.now - BEGIN));
    }

    /// Ends the run: something does not hold.
    pub fn fail(&self, what: impl std::fmt::Display) -> ! {
        panic!("{what}")
    }

    /// The working files of a device.
    pub fn disk(&mut self, n: usize) -> Files {
        let device = &mut self.devices[n];
        device.disk.get_or_insert_with(|| files_of(&device.root)).clone()
    }

    /// Saves that aios has not looked at.
    pub fn waiting(&self, n: usize, disk: &Files) -> Files {
        let known = &self.devices[n].known;
        disk.iter()
            .filter(|(path, bytes)| known.get(*path) != Some(bytes))
            .map(|(p, b)| (p.clone(), b.clone()))
            .collect()
    }

    /// Does `work` on a device: in its time, on its disk. `None`: it crashed.
    pub fn at<T>(&mut self, n: usize, what: &str, work: impl FnOnce(&Site) -> T) -> Option<T> {
        let before = self.disk(n);
        let waiting = self.waiting(n, &before);
        let shows = self.now.saturating_add_signed(self.devices[n].skew) / self.grain * self.grain;
        self.latest = self.latest.max(shows);
        seeded::set_clock(shows);
        let device = &mut self.devices[n];
        let root = device.root.clone();
        let hits = device.plan.hits();
        let armed = fault::arm_with(std::mem::take(&mut device.plan));
        let held = journal::hold(std::mem::take(&mut device.journal));
        let site = device.site.take();
        let promised = device.promised.clone();
        let done = catch_unwind(AssertUnwindSafe(|| {
            let begun = site.is_none();
            let site = match site {
                Some(site) => site,
                None => Site::here(&root)?,
            };
            if begun {
                let has = site.keeper().work(|vault| vault.frontier())?.view();
                assert!(has.covers(&promised), "d{n} told others that it has {promised:?}, and has {has:?}");
            }
            let value = work(&site);
            Ok::<_, Error>((site, value))
        }));
        let device = &mut self.devices[n];
        device.journal = held.release();
        device.plan = armed.disarm();
        let failed = device.plan.failed();
        if device.plan.hits() != hits {
            // Whatever is done to the disk passes a point that counts.
            device.disk = None;
        }
        let out = match done {
            Ok(Ok((site, value))) => {
                device.id = Some(site.device());
                device.site = Some(site);
                Some(value)
            }
            Ok(Err(e)) if failed > 0 => {
                let why = self.plain(&e.to_string());
                self.tell(format!("d{n} does not start: {why}"));
                None
            }
            Ok(Err(e)) => self.fail(format!("d{n} does not start: {e}")),
            Err(crash) if crash.is::<Crash>() => {
                self.crashed(n, what);
                None
            }
            Err(other) => resume_unwind(other),
        };
        self.compare(n, &before, &waiting);
        out
    }

    /// A device crashed by its plan.
    fn crashed(&mut self, n: usize, what: &str) {
        let end = self.devices[n].end.take().unwrap_or(End::Kill);
        self.stop(n);
        let device = &mut self.devices[n];
        device.plan = Plan::default();
        let journal = std::mem::take(&mut device.journal);
        if end != End::Kill {
            journal.lose(end == End::Torn);
            device.buffers.clear();
            device.halves.clear();
        }
        self.tell(format!("d{n} crashes in {what}: {end:?}"));
    }

    /// Ends the program on a device, and its connections with it.
    pub fn stop(&mut self, n: usize) {
        let root = self.devices[n].root.clone();
        aios_sync::keeper::Keeper::here(&root).end();
        self.devices[n].site = None;
        self.devices[n].disk = None;
        self.devices[n].seen.clear();
        self.devices[n].upkeep = Upkeep::new(Profile::PLUGGED);
        self.devices[n].began = self.now;
        self.hang_up(n);
        seeded::forget(&root);
    }

    /// Notes what aios did to the files: what it took away of what it had not looked at must be in the log.
    fn compare(&mut self, n: usize, before: &Files, waiting: &Files) {
        let after = self.disk(n);
        let meanwhile = std::mem::take(&mut *self.meanwhile.lock().expect("a lock"));
        let saved: Files = meanwhile.iter().map(|save| (save.path.clone(), save.new.clone())).collect();
        for (path, bytes) in waiting {
            // Who saved meanwhile may have done it over what waited.
            let over = meanwhile.iter().any(|save| save.path == *path && save.old == *bytes);
            if after.get(path) != Some(bytes) && !over {
                self.ledger.owe(n, path, bytes);
            }
        }
        for Between { path, new, .. } in &meanwhile {
            self.tell(format!("  d{n} saved {path}"));
            self.devices[n].buffers.retain(|buffer| buffer.path != *path);
            for token in tokens(new) {
                self.pending.remove(&token);
            }
            if after.get(path) != Some(new) {
                self.ledger.owe(n, path, new);
            }
        }
        self.late = saved.keys().cloned().collect();
        let device = &mut self.devices[n];
        for path in before.keys().chain(after.keys()) {
            let now = after.get(path);
            if now == before.get(path) || now.is_some() && now == saved.get(path) {
                continue;
            }
            // Somebody has had it open since before: nobody opens a file just when others change it often enough to meet that.
            // Not over a power cut, nor where another file has come in its place.
            let went_on = device.site.is_some() && !saved.contains_key(path) && !path.ends_with(BLOB);
            let now_in_it = now.filter(|_| went_on).map(|bytes| tokens(bytes));
            let open = before.get(path).filter(|old| {
                let same = |token: &Token| self.ledger.touched.contains(token);
                now_in_it.as_ref().is_some_and(|now| tokens(old).difference(now).all(same))
            });
            if let Some(base) = open.filter(|_| self.chance.one_in(2)) {
                device.buffers.retain(|buffer| buffer.path != *path);
                device.buffers.push(Buffer { path: path.clone(), base: base.clone(), writes: 0 });
            }
            match now {
                Some(bytes) => {
                    self.ledger.shown.insert(ContentHash::of(bytes));
                    device.known.insert(path.clone(), bytes.clone());
                }
                None => _ = device.known.remove(path),
            }
            for buffer in device.buffers.iter_mut().filter(|buffer| buffer.path == *path) {
                buffer.writes += 1;
            }
        }
    }

    /// All that is on a device's disk was taken in.
    pub fn taken(&mut self, n: usize, left: &BTreeSet<String>) {
        let disk = self.disk(n);
        for (path, bytes) in self.waiting(n, &disk) {
            let above = |folder: &String| path == *folder || path.starts_with(&format!("{folder}/"));
            if !left.iter().any(above) && !self.late.contains(&path) {
                self.ledger.owe(n, &path, &bytes);
                self.devices[n].known.insert(path, bytes);
            }
        }
        self.devices[n].known.retain(|path, _| disk.contains_key(path));
    }

    /// Notes as known what of the waiting files is in this device's log.
    pub fn taken_by(&mut self, n: usize) {
        let disk = self.disk(n);
        let log = String::from_utf8_lossy(&crate::peace::logs(&self.devices[n].root)).into_owned();
        for (path, bytes) in self.waiting(n, &disk) {
            let hash = ContentHash::of(&bytes);
            if self.ledger.shown.contains(&hash) || log.contains(&hash.to_string()) {
                self.devices[n].known.insert(path, bytes);
            }
        }
    }

    /// Whether an error is no surprise: the disk failed, or the device is no member any more.
    pub fn excused(&mut self, n: usize, what: &str, error: &Error) {
        let failed = self.devices[n].plan.failed() > 0;
        let meant = match error {
            Error::Revoked { .. } | Error::NoMember => true,
            Error::MayNot { .. } => !self.devices[n].carries,
            // The word may be on its way; whether it came is seen in peace.
            Error::Untold => true,
            _ => false,
        };
        let carries = self.devices[n].carries && matches!(error, Error::Carrier);
        self.tell(format!("d{n} {what} failed: {}", self.plain(&error.to_string())));
        if !failed && !meant && !carries {
            self.fail(format!("d{n} {what}: {error}"));
        }
    }

    /// A text without what is of this run only.
    pub fn plain(&self, text: &str) -> String {
        let text = text.replace(&*self.dir.path().to_string_lossy(), "");
        match text.find("/.aios/tmp/").or_else(|| text.find("tmp_")) {
            Some(at) => text[..at].to_owned(),
            None => text,
        }
    }

    /// A short word for where a device stands.
    pub fn stand(&mut self, n: usize) -> String {
        let Some(site) = self.devices[n].site.clone() else { return "off".into() };
        let view = site.keeper().work(|vault| vault.frontier());
        let mut text = String::new();
        for (device, (seq, id)) in view.map(|frontier| frontier.0).unwrap_or_default() {
            text += &format!("{}:{seq}:{} ", device.short(3), id.to_string().get(..3).unwrap_or_default());
        }
        let files: Vec<u8> =
            self.disk(n).into_iter().flat_map(|(path, bytes)| [path.into_bytes(), bytes]).flatten().collect();
        format!("[{}] {}", text.trim_end(), ContentHash::of(&files).short(4))
    }
}
