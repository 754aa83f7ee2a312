//! Crash safety (I9, I2, I12) with real processes: the disk fails or the process dies at every named point of a command, and
//! at random moments, and the next command goes on from there.
//!
//! `AIOS_CRASH_ALL=1` takes every hit of every point in place of the first and the last, `AIOS_KILLS=N` sets how many
//! processes are killed, `AIOS_SEED=N` when.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aios_tests::binary;
use serde_json::Value;

type Outcome = Result<(), String>;

/// The points that making a device's keys passes.
const KEYS: [&str; 5] = ["keys.make_folder", "keys.create", "disk.write", "disk.sync_file", "disk.sync_dir"];
/// The points that writing to `.git` passes: objects, the index, refs and their logs.
const GIT: [&str; 10] = [
    "git.create",
    "git.make_folder",
    "git.write",
    "git.append",
    "git.mode",
    "git.link",
    "git.rename",
    "git.remove",
    "git.sync",
    "git.sync_folder",
];

/// Fails the case unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

/// One device: its folder and the place of its keys.
struct Side {
    root: PathBuf,
    data: PathBuf,
}

/// How a command ended.
struct Done {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Done {
    fn crashed(&self) -> bool {
        self.status.signal().is_some()
    }

    fn told(&self) -> String {
        format!("{}\n{}\n{}", self.status, self.stdout, self.stderr)
    }
}

impl Side {
    fn of(folder: &Path, name: &str) -> Side {
        Side { root: folder.join(name), data: folder.join(format!("{name}-data")) }
    }

    fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(binary::aios());
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        for name in ["AIOS_FAULT", "AIOS_FAULT_JOURNAL", "AIOS_LOG", "GIT_DIR"] {
            command.env_remove(name);
        }
        command.env("AIOS_DATA_DIR", &self.data).env("AIOS_NET", "loopback").env("NO_COLOR", "1");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.envs(env.iter().copied());
        command
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Done {
        let out = self.command(args, env).output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { status: out.status, stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    /// Runs a command that must succeed; gives its JSON.
    fn ok(&self, args: &[&str]) -> Result<Value, String> {
        let mut all = vec!["--json"];
        all.extend(args);
        let done = self.run(&all, &[]);
        ensure!(done.status.success(), "`{}` then fails: {}", args.join(" "), done.told());
        serde_json::from_str(&done.stdout).map_err(|e| format!("{args:?}: {e}: {}", done.told()))
    }

    fn git(&self, args: &[&str]) -> Result<String, String> {
        let out =
            Command::new("git").arg("-C").arg(&self.root).args(args).output().map_err(|e| e.to_string())?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        ensure!(out.status.success(), "git {args:?}: {text}");
        Ok(text.trim().to_owned())
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.root.join(path), bytes).expect("a file is written");
    }

    /// Starts the daemon and waits until it is ready.
    fn up(&self) -> Result<Daemon, String> {
        let mut child = self
            .command(&["up", "--no-ui"], &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let daemon = Daemon(child);
        ensure!(matches!(read, Some(Ok(_))) && line.starts_with("ready"), "`up` is not ready: {line:?}");
        Ok(daemon)
    }

    /// The working files: path and git's id of the bytes.
    fn files(&self) -> BTreeMap<String, String> {
        let mut paths = Vec::new();
        list(&self.root, &self.root, &mut paths);
        let mut hash = Command::new("git");
        hash.args(["hash-object", "--no-filters", "--"]).args(&paths).current_dir(&self.root);
        let out = hash.output().expect("git runs");
        let ids = String::from_utf8_lossy(&out.stdout).into_owned();
        paths.into_iter().zip(ids.lines().map(str::to_owned)).collect()
    }

    fn stand(&self) -> Result<Stand, String> {
        let status = self.ok(&["status"])?;
        let mut frontier = BTreeMap::new();
        for (device, entry) in status["frontier"].as_object().into_iter().flatten() {
            frontier.insert(device.clone(), entry[0].as_u64().unwrap_or(0));
        }
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let pending = status["pending"].as_array().map_or(0, Vec::len);
        Ok(Stand { frontier, head: text("head"), state: text("state"), pending })
    }

    /// What must hold of a vault after any command that succeeded.
    fn sound(&self, before: &Stand) -> Outcome {
        let now = self.stand()?;
        for (device, seq) in &before.frontier {
            let left = now.frontier.get(device).copied().unwrap_or(0);
            ensure!(left >= *seq, "records of {device} are lost: {left} of {seq} are left");
        }
        ensure!(now.pending == 0, "{} files are not taken in", now.pending);
        let dirty = self.git(&["status", "--porcelain"])?;
        ensure!(dirty.is_empty(), "git status is not clean:\n{dirty}");
        let fsck = self.git(&["fsck", "--full", "--no-dangling", "--no-progress"])?;
        ensure!(fsck.is_empty(), "git fsck: {fsck}");
        let mut left: Vec<PathBuf> = children(&self.root.join(".aios/tmp"));
        left.extend(
            children(&self.root.join(".git"))
                .into_iter()
                .filter(|path| path.extension().is_some_and(|e| e == "lock")),
        );
        ensure!(left.is_empty(), "left behind: {left:?}");
        self.verified()
    }

    fn verified(&self) -> Outcome {
        let done = self.run(&["--json", "verify"], &[]);
        if done.stderr.contains("is not in this build") {
            static SAID: AtomicBool = AtomicBool::new(false);
            if !SAID.swap(true, Ordering::Relaxed) {
                println!("not verified: `aios verify` is not in this build");
            }
            return Ok(());
        }
        ensure!(done.status.success(), "`aios verify`: {}", done.told());
        Ok(())
    }

    /// Whether bytes with these git ids are in the history of `main`.
    fn kept(&self, saved: &BTreeSet<String>) -> Outcome {
        let objects = self.git(&["rev-list", "--objects", "main"])?;
        let known: BTreeSet<&str> = objects.lines().filter_map(|line| line.split(' ').next()).collect();
        for id in saved {
            ensure!(known.contains(id.as_str()), "saved bytes are lost: blob {id}");
        }
        Ok(())
    }
}

/// What a device reports.
#[derive(Default)]
struct Stand {
    frontier: BTreeMap<String, u64>,
    head: String,
    state: String,
    pending: usize,
}

/// A running `aios up`, killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn list(root: &Path, folder: &Path, out: &mut Vec<String>) {
    for path in children(folder) {
        let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        match path.is_dir() {
            true if relative == ".git" || relative == ".aios" => {}
            true => list(root, &path, out),
            false => out.push(relative),
        }
    }
}

/// Folders made ready for a command, copied for each case.
struct Prepared {
    dir: tempfile::TempDir,
    before: Stand,
    /// Git ids of all bytes that were saved.
    saved: BTreeSet<String>,
}

impl Prepared {
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        let status = Command::new("cp").arg("-a").arg(self.dir.path().join(".")).arg(copy.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "cp -a");
        copy
    }
}

/// A command under test.
trait Scene: Sync {
    /// Whether the command tries again by itself: what fails once may then end well, and there is nothing to tell.
    const TRIES_AGAIN: bool;
    /// How points begin that are tried only where every hit is: the other commands pass the same lines.
    const ELSEWHERE: &'static str = "\0";
    /// What runs beside the command.
    type Beside;
    /// Starts it in a copy of the folders.
    fn begin(&self, folder: &Path) -> Result<Self::Beside, String>;
    /// The device the command runs on, and its arguments.
    fn command(&self, folder: &Path, beside: &Self::Beside) -> (Side, Vec<String>);
    /// Checks what is there once the command has succeeded in the end.
    fn check(&self, folder: &Path, beside: Self::Beside) -> Outcome;
}

fn run<S: Scene>(
    scene: &S,
    prepared: &Prepared,
    fault: &str,
) -> Result<(Done, tempfile::TempDir, S::Beside), String> {
    let copy = prepared.copy();
    let beside = scene.begin(copy.path())?;
    let (side, args) = scene.command(copy.path(), &beside);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let journal = copy.path().join("dropped");
    let fault = &format!("{fault};trace");
    let done = side.run(&args, &[("AIOS_FAULT", fault), ("AIOS_FAULT_JOURNAL", &journal.to_string_lossy())]);
    Ok((done, copy, beside))
}

/// Whether the hit that a plan names came about, or any where it names none: which files are read once more hangs on the time.
fn reached(plan: &str, done: &Done) -> bool {
    let Some((point, what)) = plan.split_once('=') else { return false };
    let wanted = what.split_once('@').map(|(_, hit)| hit);
    let hits = done.stderr.lines().filter_map(|line| line.strip_prefix("fault: "));
    hits.filter_map(|hit| hit.rsplit_once(' ')).any(|(before, hit)| {
        before.split_once(' ').is_some_and(|(_, of)| of == point) && wanted.is_none_or(|wanted| wanted == hit)
    })
}

fn again<S: Scene>(scene: &S, folder: &Path, beside: S::Beside) -> Outcome {
    let (side, args) = scene.command(folder, &beside);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = side.run(&args, &[]);
    ensure!(done.status.success(), "the same command then fails: {}", done.told());
    scene.check(folder, beside)
}

/// Runs a command with a crash, and with an error, at each of its points; those in `passed` must be among them.
fn each_point<S: Scene>(name: &str, scene: &S, prepared: &Prepared, passed: &[&str]) {
    let began = Instant::now();
    let (traced, copy, beside) = run(scene, prepared, "").expect("the command runs");
    assert!(traced.status.success(), "{name}: {}", traced.told());
    scene.check(copy.path(), beside).unwrap_or_else(|e| panic!("{name} without a fault: {e}"));
    let mut points: BTreeMap<String, u64> = BTreeMap::new();
    for line in traced.stderr.lines().filter_map(|line| line.strip_prefix("fault: ")) {
        if let [_, point, _] = line.split(' ').collect::<Vec<_>>()[..] {
            *points.entry(point.to_owned()).or_default() += 1;
        }
    }
    let unseen: Vec<&&str> = passed.iter().filter(|point| !points.contains_key(**point)).collect();
    assert!(unseen.is_empty(), "{name} does not pass {unseen:?}");
    println!("{name}: {points:?}");
    let all = std::env::var_os("AIOS_CRASH_ALL").is_some();
    let mut plans = Vec::new();
    for (point, count) in points.iter().filter(|(point, _)| all || !point.starts_with(S::ELSEWHERE)) {
        let hits: Vec<u64> =
            if all { (1..=*count).collect() } else { BTreeSet::from([1, *count]).into_iter().collect() };
        for hit in hits {
            plans.push(format!("{point}=crash@{hit}"));
            if point == "disk.sync_file" {
                plans.push(format!("{point}=torn@{hit}"));
            }
            if all {
                plans.push(format!("{point}=enospc@{hit}"));
                plans.push(format!("{point}=eio@{hit}"));
            }
        }
        // Each error at every other point: what aios does about one it does about the other.
        let errors: &[&str] = if all { &["enospc", "eio"] } else { &[["enospc", "eio"][plans.len() % 2]] };
        plans.extend(errors.iter().map(|error| format!("{point}={error}")));
    }
    let mut failures = Vec::new();
    let mut missed = 0;
    for plan in &plans {
        let dies = plan.contains("=crash") || plan.contains("=torn");
        let done = run(scene, prepared, plan).and_then(|(done, copy, beside)| {
            match dies {
                // A point whose number depends on the other device may not be reached.
                true if !done.crashed() => missed += 1,
                true => {}
                // As above: how many folders git's objects need is chance.
                false if !reached(plan, &done) => missed += 1,
                // Only files of aios's own making are removed, in `.aios/tmp`; one that stays is removed by the next command.
                false if plan.starts_with("disk.remove=") && done.status.success() => {}
                // That all is there is checked below.
                false if S::TRIES_AGAIN && plan.contains('@') && done.status.success() => {}
                false => honest(&done)?,
            }
            // What ended well is complete as it is; anything else is completed by the same command.
            let then = match !dies && done.status.success() {
                true => scene.check(copy.path(), beside),
                false => again(scene, copy.path(), beside),
            };
            then.map_err(|e| {
                let dropped = fs::read_to_string(copy.path().join("dropped")).unwrap_or_default();
                if std::env::var_os("AIOS_KEEP").is_some() {
                    println!("{plan}: kept in {}", copy.keep().display());
                }
                format!("{e}\nthe faulted command: {}\ndropped:\n{dropped}", done.told())
            })
        });
        if let Err(e) = done {
            println!("{name} AIOS_FAULT={plan}: {e}\n");
            failures.push(plan);
        }
    }
    println!(
        "{name}: {} cases, {missed} crashes not reached, in {:.1} s",
        plans.len(),
        began.elapsed().as_secs_f32()
    );
    assert!(failures.is_empty(), "{name} fails at {failures:?}");
    assert!(missed * 4 < plans.len(), "{name}: {missed} of {} crashes were not reached", plans.len());
}

/// A command that met an error says so, in one line, and if something is left to do its exit code and its JSON say that,
/// too (I12).
fn honest(done: &Done) -> Outcome {
    ensure!(
        !done.crashed() && !done.stderr.contains("a fault in aios itself"),
        "it dies of an error: {}",
        done.told()
    );
    let told = done.stderr.lines().any(|line| line.starts_with("error: ") || line.starts_with("warning: "));
    ensure!(told, "it does not tell of the error: {}", done.told());
    let code = done.status.code().unwrap_or(-1);
    ensure!([0, 1, 3].contains(&code), "it ends in a way that means something else: {}", done.told());
    if code == 3 && !done.stderr.contains("error: ") {
        let value: Value =
            serde_json::from_str(&done.stdout).map_err(|e| format!("its JSON: {e}: {}", done.told()))?;
        let peers = value["peers"].as_array().into_iter().flatten();
        let unconfirmed = peers.filter(|peer| peer["acknowledged"] != true).count();
        let problems = value["problems"].as_array().map_or(0, Vec::len);
        ensure!(problems + unconfirmed > 0, "its JSON does not say what is left to do: {}", done.told());
        ensure!(value["synced"] != true || problems == 0, "it claims to be synced: {}", done.told());
    }
    Ok(())
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A device with `count` notes, not yet a vault.
fn notes(folder: &Path, name: &str, count: usize) -> Side {
    let side = Side::of(folder, name);
    fs::create_dir_all(side.root.join("sub")).expect("a folder");
    for n in 0..count {
        let path = if n % 3 == 2 { format!("sub/n{n}.md") } else { format!("n{n}.md") };
        side.write(
            &path,
            format!("---\ntitle: Note {n}\n---\nfirst of {n}\nsecond\nthird\nfourth\nlast of {n}\n"),
        );
    }
    side
}

fn vault(folder: &Path, name: &str, count: usize) -> Side {
    let side = notes(folder, name, count);
    side.ok(&["init", ".", "--name", "acme", "--device", "desk"]).expect("init");
    side
}

fn ids(files: &BTreeMap<String, String>) -> BTreeSet<String> {
    files.values().cloned().collect()
}

struct Init<'a>(&'a BTreeMap<String, String>);

impl Scene for Init<'_> {
    const TRIES_AGAIN: bool = false;
    type Beside = ();

    fn begin(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, folder: &Path, (): &()) -> (Side, Vec<String>) {
        let a = Side::of(folder, "a");
        // Once its first record is written a vault is made, and the next command is any other.
        let made = a.run(&["--json", "status"], &[]);
        let log = children(&a.root.join(".aios/log"));
        let made = made.status.success() && log.iter().any(|device| !children(device).is_empty()) && {
            serde_json::from_str::<Value>(&made.stdout)
                .is_ok_and(|status| status["frontier"].as_object().is_some_and(|f| !f.is_empty()))
        };
        match made {
            true => (a, strings(&["--json", "commit"])),
            false => (a, strings(&["--json", "init", ".", "--name", "acme", "--device", "desk"])),
        }
    }

    fn check(&self, folder: &Path, (): ()) -> Outcome {
        let a = Side::of(folder, "a");
        ensure!(a.files() == *self.0, "the files changed");
        a.kept(&ids(self.0))?;
        a.sound(&Stand::default())
    }
}

#[test]
fn init_goes_on_from_any_point() {
    let dir = folder();
    let files = notes(dir.path(), "a", 10).files();
    let prepared = Prepared { saved: ids(&files), dir, before: Stand::default() };
    each_point("init", &Init(&files), &prepared, &[&KEYS[..], &GIT[..]].concat());
}

struct Commit<'a> {
    prepared: &'a Prepared,
    files: BTreeMap<String, String>,
}

impl Scene for Commit<'_> {
    const TRIES_AGAIN: bool = false;
    type Beside = ();

    fn begin(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, folder: &Path, (): &()) -> (Side, Vec<String>) {
        (Side::of(folder, "a"), strings(&["--json", "commit"]))
    }

    fn check(&self, folder: &Path, (): ()) -> Outcome {
        let a = Side::of(folder, "a");
        ensure!(a.files() == self.files, "the files changed");
        a.kept(&self.prepared.saved)?;
        a.git(&["merge-base", "--is-ancestor", &self.prepared.before.head, "main"])?;
        a.sound(&self.prepared.before)
    }
}

/// Edits of every kind: change, rename, rename with change, delete, add, binary.
fn edit(side: &Side) {
    side.write("n0.md", "---\ntitle: Note 0\n---\nfirst of 0, changed\nsecond\nthird\nfourth\nlast of 0\n");
    fs::rename(side.root.join("n1.md"), side.root.join("moved.md")).expect("a rename");
    fs::remove_file(side.root.join("n3.md")).expect("a removal");
    side.write("new.md", "# New\n");
    let bytes: Vec<u8> = (0..4096_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    side.write("picture.png", bytes);
}

#[test]
fn commit_goes_on_from_any_point() {
    let dir = folder();
    let a = vault(dir.path(), "a", 6);
    let mut saved = ids(&a.files());
    let before = a.stand().expect("status");
    edit(&a);
    let files = a.files();
    saved.extend(ids(&files));
    let prepared = Prepared { dir, before, saved };
    each_point("commit", &Commit { prepared: &prepared, files }, &prepared, &GIT);
}

struct Join<'a>(&'a Prepared);

impl Scene for Join<'_> {
    const TRIES_AGAIN: bool = true;
    type Beside = (Daemon, String);

    fn begin(&self, folder: &Path) -> Result<Self::Beside, String> {
        let a = Side::of(folder, "a");
        let daemon = a.up()?;
        let ticket = ticket(&a)?;
        Ok((daemon, ticket))
    }

    fn command(&self, folder: &Path, beside: &Self::Beside) -> (Side, Vec<String>) {
        (Side::of(folder, "b"), strings(&["--json", "join", &beside.1, ".", "--device", "lap"]))
    }

    fn check(&self, folder: &Path, beside: Self::Beside) -> Outcome {
        let (a, b) = (Side::of(folder, "a"), Side::of(folder, "b"));
        converged(&a, &b)?;
        drop(beside);
        for side in [&a, &b] {
            side.kept(&self.0.saved)?;
            side.sound(&self.0.before)?;
        }
        Ok(())
    }
}

/// Has the daemon of a device make a ticket; it goes on serving it.
fn ticket(side: &Side) -> Result<String, String> {
    let pair = side.command(&["--json", "pair"], &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut pair = Daemon(pair.map_err(|e| e.to_string())?);
    let mut line = String::new();
    if let Some(out) = pair.0.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|e| e.to_string())?;
    }
    let value: Value = serde_json::from_str(&line).map_err(|e| format!("`pair` prints {line:?}: {e}"))?;
    Ok(value["ticket"].as_str().unwrap_or_default().to_owned())
}

/// Waits until two devices report the same, and fails if they do not.
fn converged(a: &Side, b: &Side) -> Outcome {
    let began = Instant::now();
    loop {
        let (one, other) = (a.stand()?, b.stand()?);
        // The bytes of blobs follow later.
        let same = one.head == other.head && one.state == other.state && one.frontier == other.frontier;
        if same && a.files() == b.files() {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(20) {
            let show = |side: &Side, stand: &Stand| {
                format!("{:?} {} {} {:?}", stand.frontier, stand.head, stand.state, side.files())
            };
            return Err(format!("they differ after a sync:\n{}\n{}", show(a, &one), show(b, &other)));
        }
    }
}

#[test]
fn join_goes_on_from_any_point() {
    let dir = folder();
    let a = vault(dir.path(), "a", 30);
    fs::create_dir_all(dir.path().join("b")).expect("a folder");
    let prepared = Prepared { saved: ids(&a.files()), before: a.stand().expect("status"), dir };
    each_point(
        "join",
        &Join(&prepared),
        &prepared,
        &[&KEYS[..], &GIT[..], &["disk.create", "disk.rename_new"]].concat(),
    );
}

/// Two devices with the same notes.
fn pair_of(folder: &Path, count: usize) -> (Side, Side) {
    let (a, b) = (vault(folder, "a", count), Side::of(folder, "b"));
    fs::create_dir_all(&b.root).expect("a folder");
    let daemon = a.up().expect("up");
    let ticket = ticket(&a).expect("a ticket");
    b.ok(&["join", &ticket, ".", "--device", "lap"]).expect("join");
    converged(&a, &b).expect("both have joined");
    drop(daemon);
    (a, b)
}

struct Sync2<'a>(&'a Prepared);

impl Scene for Sync2<'_> {
    const TRIES_AGAIN: bool = true;
    type Beside = Daemon;

    fn begin(&self, folder: &Path) -> Result<Daemon, String> {
        Side::of(folder, "b").up()
    }

    fn command(&self, folder: &Path, _: &Daemon) -> (Side, Vec<String>) {
        (Side::of(folder, "a"), strings(&["--json", "sync"]))
    }

    fn check(&self, folder: &Path, beside: Daemon) -> Outcome {
        let (a, b) = (Side::of(folder, "a"), Side::of(folder, "b"));
        converged(&a, &b)?;
        drop(beside);
        for side in [&a, &b] {
            side.kept(&self.0.saved)?;
            side.git(&["merge-base", "--is-ancestor", &self.0.before.head, "main"])?;
            side.sound(&self.0.before)?;
        }
        // An edit is kept as what it changed: the bytes of the whole file may never have been in one commit.
        let lines = [
            ("n0.md", "first of 0, changed"),
            ("n0.md", "last of 0, there"),
            ("moved.md", "second, there"),
            ("n4.md", "replaced there"),
            ("new.md", "# New"),
            ("there.md", "# There"),
        ];
        for (path, line) in lines {
            let text = fs::read_to_string(a.root.join(path)).unwrap_or_default();
            ensure!(text.contains(line), "`{line}` is not in {path}: {text}");
        }
        Ok(())
    }
}

#[test]
fn sync_goes_on_from_any_point() {
    let dir = folder();
    let (a, b) = pair_of(dir.path(), 6);
    let saved = ids(&a.files());
    let before = a.stand().expect("status");
    edit(&a);
    // Its bytes would travel apart from the records.
    fs::remove_file(a.root.join("picture.png")).expect("a removal");
    b.write("n0.md", "---\ntitle: Note 0\n---\nfirst of 0\nsecond\nthird\nfourth\nlast of 0, there\n");
    b.write("n1.md", "---\ntitle: Note 1\n---\nfirst of 1\nsecond, there\nthird\nfourth\nlast of 1\n");
    b.write("n4.md", "replaced there\n");
    b.write("there.md", "# There\n");
    let prepared = Prepared { dir, before, saved };
    each_point(
        "sync",
        &Sync2(&prepared),
        &prepared,
        &[&GIT[..], &["disk.create", "disk.exchange", "disk.rename"]].concat(),
    );
}

/// A sync with a remote of this name in the folder, which holds what the other device made.
struct Carry<'a>(&'a Prepared, &'static str);

impl Scene for Carry<'_> {
    // What came is written when it comes and, if that failed, once more at the end.
    const TRIES_AGAIN: bool = true;
    const ELSEWHERE: &'static str = "git.";
    type Beside = ();

    fn begin(&self, folder: &Path) -> Result<(), String> {
        let place = folder.join(self.1);
        for name in ["a", "b"] {
            Side::of(folder, name).ok(&["remote", "add", "place", &place.to_string_lossy()])?;
        }
        Ok(())
    }

    fn command(&self, folder: &Path, (): &()) -> (Side, Vec<String>) {
        (Side::of(folder, "a"), strings(&["--json", "sync", "--peer", "place"]))
    }

    fn check(&self, folder: &Path, (): ()) -> Outcome {
        let (a, b) = (Side::of(folder, "a"), Side::of(folder, "b"));
        for side in [&b, &a] {
            let report = side.ok(&["sync", "--peer", "place"])?;
            ensure!(report["synced"] == true, "it is not synced: {report}");
        }
        converged(&a, &b)?;
        a.kept(&self.0.saved)?;
        a.sound(&self.0.before)?;
        let text = fs::read_to_string(a.root.join("n0.md")).unwrap_or_default();
        ensure!(text.contains("first of 0, changed") && text.contains("last of 0, there"), "n0.md: {text}");
        Ok(())
    }
}

/// Two devices apart, `b` having brought what it has to the remote `place`.
fn apart(dir: tempfile::TempDir, place: &str) -> Prepared {
    let (a, b) = pair_of(dir.path(), 3);
    let (saved, before) = (ids(&a.files()), a.stand().expect("status"));
    b.write("n0.md", "---\ntitle: Note 0\n---\nfirst of 0\nsecond\nthird\nfourth\nlast of 0, there\n");
    b.write("there.bin", [0_u8, 159, 146, 150].repeat(100));
    let place = dir.path().join(place);
    b.ok(&["remote", "add", "place", &place.to_string_lossy()]).expect("a remote");
    b.ok(&["sync", "--peer", "place"]).expect("a sync");
    b.ok(&["remote", "remove", "place"]).expect("no remote");
    a.write("n0.md", "---\ntitle: Note 0\n---\nfirst of 0, changed\nsecond\nthird\nfourth\nlast of 0\n");
    a.write("here.bin", [1_u8, 159, 146, 150].repeat(100));
    Prepared { dir, before, saved }
}

#[test]
fn a_sync_with_a_folder_goes_on_from_any_point() {
    let dir = folder();
    fs::create_dir(dir.path().join("stick")).expect("a folder");
    let prepared = apart(dir, "stick");
    let passed = ["disk.create", "disk.write", "disk.sync_file", "disk.rename", "disk.sync_dir"];
    each_point("sync with a folder", &Carry(&prepared, "stick"), &prepared, &passed);
}

#[test]
fn a_sync_with_a_repository_goes_on_from_any_point() {
    let dir = folder();
    let place = dir.path().join("hub.git");
    let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&place).status();
    assert!(made.is_ok_and(|status| status.success()));
    let prepared = apart(dir, "hub.git");
    each_point("sync with a repository", &Carry(&prepared, "hub.git"), &prepared, &GIT[..4]);
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// An editor that goes on saving lines, each of which can be told from all others.
struct Writer {
    saved: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(root: PathBuf, name: &'static str, mut random: Random) -> Writer {
        let (saved, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (list, end) = (saved.clone(), stop.clone());
        let work = move || {
            let mut n = 0;
            while !end.load(Ordering::Relaxed) {
                {
                    let mut list: MutexGuard<'_, Vec<String>> =
                        list.lock().unwrap_or_else(PoisonError::into_inner);
                    let token = format!("{name}-{n:06}.");
                    let path = root.join(format!("n{}.md", random.below(2)));
                    let text = fs::read_to_string(&path).unwrap_or_default();
                    let text = format!("{text}{token}\n");
                    let done = match random.below(2) {
                        0 => fs::write(&path, text),
                        _ => {
                            let aside = root.join(format!(".n.md.{name}.swp"));
                            fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path))
                        }
                    };
                    if done.is_ok() {
                        list.push(token);
                        n += 1;
                    }
                }
                std::thread::sleep(Duration::from_millis(30 + random.below(200)));
            }
        };
        Writer { saved, stop, thread: Some(std::thread::spawn(work)) }
    }

    /// Holds the editor still, and gives what it has saved.
    fn pause(&self) -> MutexGuard<'_, Vec<String>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Making a used vault small.
struct Gc<'a>(&'a Prepared);

impl Scene for Gc<'_> {
    const TRIES_AGAIN: bool = false;
    type Beside = ();

    fn begin(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, folder: &Path, (): &()) -> (Side, Vec<String>) {
        (Side::of(folder, "a"), strings(&["--json", "gc", "--aside"]))
    }

    fn check(&self, folder: &Path, (): ()) -> Outcome {
        let a = Side::of(folder, "a");
        let stand = a.stand()?;
        let before = &self.0.before;
        ensure!(
            (&stand.head, &stand.state) == (&before.head, &before.state),
            "the head or the state changed"
        );
        a.kept(&self.0.saved)?;
        a.sound(before)?;
        a.git(&["fsck", "--full", "--strict"]).map(|_| ())
    }
}

#[test]
fn gc_goes_on_from_any_point() {
    let dir = folder();
    let a = vault(dir.path(), "a", 6);
    for n in 0..4 {
        a.write("n0.md", format!("# Saved\n\n{n} times\n"));
        a.ok(&["commit"]).expect("a commit");
    }
    // More than a block of the log, so that it is packed.
    a.write("long.md", (0..12_000).map(|n| format!("{n} ")).collect::<String>());
    a.ok(&["commit"]).expect("a commit");
    a.git(&["update-ref", "refs/aios/aside/x", "HEAD~1"]).expect("a ref");
    // What came in part of something that nobody wants any more.
    fs::create_dir_all(a.root.join(".aios/partial")).expect("a folder");
    a.write(&format!(".aios/partial/{}", "0".repeat(64)), "part");
    let prepared = Prepared { saved: ids(&a.files()), before: a.stand().expect("status"), dir };
    let passed =
        ["gc.log", "gc.checkpoint", "gc.aside", "disk.remove", "git.remove", "git.rename", "git.sync"];
    each_point("gc", &Gc(&prepared), &prepared, &passed);
}

/// The lines of a text or a diff, each ended by its full stop: two that a merge joined are still two.
fn words(text: &str) -> HashSet<&str> {
    text.lines().flat_map(|line| line.trim_start_matches(['+', '-', ' ']).split_inclusive('.')).collect()
}

/// Fails if one of the lines is neither in a file nor anywhere in the history.
fn all_there(side: &Side, tokens: &[String]) -> Outcome {
    let mut paths = Vec::new();
    list(&side.root, &side.root, &mut paths);
    let texts: Vec<String> =
        paths.iter().filter_map(|path| fs::read_to_string(side.root.join(path)).ok()).collect();
    let texts = texts.concat();
    let found = words(&texts);
    let missing: Vec<&str> =
        tokens.iter().map(String::as_str).filter(|token| !found.contains(token)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let history = side.git(&["log", "-p", "-m", "--text", "main"])?;
    let found = words(&history);
    let lost: Vec<_> = missing.into_iter().filter(|token| !found.contains(token)).collect();
    ensure!(lost.is_empty(), "saved lines are lost: {lost:?}");
    Ok(())
}

#[test]
fn killed_at_any_moment_the_next_command_goes_on() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (kills, seed) = (number("AIOS_KILLS", 12), number("AIOS_SEED", 1));
    println!("AIOS_KILLS={kills} AIOS_SEED={seed}");
    let dir = folder();
    let (a, b) = pair_of(dir.path(), 4);
    let mut random = Random(seed);
    let mut daemon = b.up().expect("up");
    let here = Writer::start(a.root.clone(), "here", Random(seed ^ 1));
    let there = Writer::start(b.root.clone(), "there", Random(seed ^ 2));
    let mut before = a.stand().expect("status");
    let mut cut = 0;
    for n in 0..kills {
        let (args, most): (&[&str], u64) = match random.below(3) {
            0 => (&["commit"], 300),
            1 => (&["sync"], 500),
            _ => (&["up", "--no-ui"], 900),
        };
        let moment = Duration::from_millis(random.below(most));
        let mut child = a
            .command(args, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(moment);
        let ended = child.try_wait().expect("a child");
        let _ = child.kill();
        let _ = child.wait();
        cut += u64::from(ended.is_none());
        let fail = |e: String| -> ! {
            let kept = dir.path().display();
            println!("kill {n} of `{}` after {moment:?}: {e}", args.join(" "));
            if std::env::var_os("AIOS_KEEP").is_some() {
                println!("the folders are {kept}; they go when this process ends");
                std::thread::sleep(Duration::from_secs(3600));
            }
            panic!("kill {n} of `{}` after {moment:?}, AIOS_SEED={seed}", args.join(" "));
        };
        if let Some(status) = ended
            && !matches!(status.code(), Some(0 | 3))
        {
            fail(format!("it had failed: {status}"));
        }
        let saved = here.pause();
        let after = a.ok(&["commit"]).and_then(|_| all_there(&a, &saved)).and_then(|()| a.sound(&before));
        let stand = after.and_then(|()| a.stand());
        match stand {
            Ok(stand) => before = stand,
            Err(e) => fail(e),
        }
        drop(saved);
        // The other device is killed and started again now and then, too.
        if n % 10 == 9 {
            drop(daemon);
            let saved = there.pause();
            let after = b
                .ok(&["commit"])
                .and_then(|_| all_there(&b, &saved))
                .and_then(|()| b.sound(&Stand::default()));
            if let Err(e) = after {
                fail(format!("on the other device: {e}"));
            }
            drop(saved);
            daemon = b.up().unwrap_or_else(|e| fail(e));
        }
    }
    let (mine, theirs) = (here.pause().clone(), there.pause().clone());
    drop((here, there));
    drop(daemon);
    let end = || -> Outcome {
        b.ok(&["commit"])?;
        let daemon = b.up()?;
        a.ok(&["sync"])?;
        converged(&a, &b)?;
        drop(daemon);
        for side in [&a, &b] {
            all_there(side, &mine)?;
            side.sound(&before)?;
        }
        all_there(&b, &theirs)
    };
    println!("{cut} of {kills} were killed at work; {} and {} lines were saved", mine.len(), theirs.len());
    end().unwrap_or_else(|e| panic!("in the end: {e}"));
}
