//! Devices on one machine as processes of the program: pairing, joining, syncing, and what goes wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A device: a vault and keys of its own.
struct Device {
    root: PathBuf,
    keys: PathBuf,
}

/// A command that runs meanwhile.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn ticket(&mut self) -> String {
        let line = self.line();
        serde_json::from_str::<Value>(&line).unwrap()["ticket"].as_str().unwrap().to_owned()
    }

    fn end(mut self) -> (i32, String) {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::yield_now();
        }
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap(), rest)
    }

    fn terminate(self) -> i32 {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.end().0
    }
}

impl Device {
    fn new(dir: &Path, name: &str) -> Device {
        Device { root: dir.join(name), keys: dir.join("keys").join(name) }
    }

    /// A vault with these files.
    fn first(dir: &Path, files: &[(&str, &[u8])]) -> Device {
        let device = Device::new(dir, "laptop");
        device.write(files);
        device.json(&["init", device.root.to_str().unwrap(), "--name", "Acme", "--device", "laptop"]);
        device
    }

    fn write(&self, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = self.root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(aios_tests::binary::aios());
        command
            .env("AIOS_NET", "loopback")
            .env("AIOS_DATA_DIR", &self.keys)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        if !matches!(args.first(), Some(&("init" | "join"))) {
            command.arg("-C").arg(&self.root);
        }
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat());
        let (text, said) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "aios {args:?}: {} {text}{said}", out.status);
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a command that must end with `code`, and gives what it says.
    fn fails(&self, args: &[&str], code: i32) -> String {
        let out = self.run(args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "aios {args:?}: {said}");
        said
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running { child, out }
    }

    fn up(&self) -> Running {
        let mut running = self.start(&["up", "--no-ui"]);
        let line = running.line();
        assert!(line.starts_with("ready 127.0.0.1:"), "{line}");
        running
    }

    fn join(&self, ticket: &str, name: &str) -> Value {
        self.json(&["join", ticket, self.root.to_str().unwrap(), "--device", name])
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap_or_default()
    }

    /// Head and state.
    fn stand(&self) -> (Value, Value) {
        let status = self.json(&["status"]);
        (status["head"].clone(), status["state"].clone())
    }

    fn fsck(&self) {
        let git = Command::new("git").arg("-C").arg(&self.root).args(["fsck", "--strict"]).output().unwrap();
        assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    }
}

/// Pairs a device as `role` and has it join.
fn pair(first: &Device, other: &Device, role: &str, name: &str) -> Value {
    let mut pairing = first.start(&["pair", "--json", "--role", role]);
    let report = other.join(&pairing.ticket(), name);
    let (code, said) = pairing.end();
    assert_eq!(code, 0);
    let joined: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(joined["joined"]["name"], name);
    report
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

#[test]
fn three_devices_come_to_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let blob = noise(20 << 20);
    let laptop = Device::first(
        dir.path(),
        &[("a.md", b"# A\n\none\n\ntwo\n"), ("sub/b.txt", b"b\n"), ("photo.bin", &blob)],
    );
    let (phone, worker) = (Device::new(dir.path(), "phone"), Device::new(dir.path(), "worker"));
    let joined = pair(&laptop, &phone, "phone", "phone");
    assert_eq!(joined["files"], 3);
    assert_eq!((joined["head"].clone(), joined["state"].clone()), laptop.stand());
    assert!(fs::read(phone.root.join("photo.bin")).unwrap() == blob, "the blob is another");
    pair(&laptop, &worker, "worker", "worker");

    let roles = |name: &str| {
        let devices = laptop.json(&["devices"]);
        let device = devices.as_array().unwrap().iter().find(|device| device["name"] == name).cloned();
        serde_json::to_string(&device.unwrap()["roles"]).unwrap()
    };
    assert_eq!(roles("phone"), r#"["write","carry","approve"]"#);
    assert_eq!(roles("worker"), r#"["write","carry","credentials"]"#);
    assert!(worker.fails(&["pair"], 1).contains("operator key"));

    // Apart, all edit one file.
    laptop.write(&[("a.md", b"# A\n\none on the laptop\n\ntwo\n")]);
    phone.write(&[("a.md", b"# A\n\none\n\ntwo on the phone\n")]);
    worker.write(&[("c.md", b"from the worker\n")]);
    for device in [&laptop, &phone, &worker] {
        device.json(&["commit"]);
    }
    let daemons: Vec<Running> = [&laptop, &phone, &worker].map(Device::up).into_iter().collect();
    eventually("all are synced", || {
        let reports: Vec<Value> = [&laptop, &phone, &worker]
            .iter()
            .map(|device| {
                let out = device.run(&["sync", "--json", "--timeout", "20s"]);
                serde_json::from_slice(&out.stdout).unwrap_or_default()
            })
            .collect();
        reports.iter().all(|report| report["synced"] == true && report["head"] == reports[0]["head"])
    });
    // The daemons write what comes, and bring what changes.
    let merged = "# A\n\none on the laptop\n\ntwo on the phone\n";
    eventually("the edits are everywhere", || {
        [&laptop, &phone, &worker]
            .iter()
            .all(|device| device.read("a.md") == merged && device.read("c.md") == "from the worker\n")
    });
    laptop.write(&[("new/d.md", b"later\n")]);
    eventually("an edit arrives", || {
        phone.read("new/d.md") == "later\n" && worker.read("new/d.md") == "later\n"
    });
    let twice = laptop.fails(&["up", "--no-ui"], 1);
    assert!(twice.contains("process"), "{twice}");
    // Commands work while the daemon runs.
    laptop.write(&[("e.md", b"by hand\n")]);
    laptop.json(&["commit", "-m", "by hand"]);
    eventually("a commit arrives", || worker.read("e.md") == "by hand\n");
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    eventually("all stand at the same", || {
        laptop.stand() == phone.stand() && phone.stand() == worker.stand()
    });
    [&laptop, &phone, &worker].into_iter().for_each(Device::fsck);
}

#[test]
fn a_folder_with_files_joins() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"same\n"), ("b.md", b"on the laptop\n")]);
    let phone = Device::new(dir.path(), "phone");
    phone.write(&[("a.md", b"same\n"), ("b.md", b"on the phone\n"), ("mine/c.md", b"only here\n")]);
    let joined = pair(&laptop, &phone, "laptop", "phone");
    assert_eq!(joined["files"], 3);
    assert_eq!(laptop.read("mine/c.md"), "only here\n");
    assert_eq!(laptop.read("a.md"), "same\n");
    for text in ["on the laptop\n", "on the phone\n"] {
        assert!(laptop.read("b.md").contains(text), "{}", laptop.read("b.md"));
    }
    assert_eq!(laptop.read("b.md"), phone.read("b.md"));
    assert_eq!(laptop.stand(), phone.stand());
    // Joining once more only syncs; another vault is refused.
    assert!(laptop.json(&["status"])["synced"] == true);
}

#[test]
fn a_git_history_beneath_comes_along() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("laptop");
    fs::create_dir_all(&root).unwrap();
    let git = |args: &[&str]| {
        let out = Command::new("git").arg("-C").arg(&root).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    git(&["init", "-q", "-b", "main"]);
    for n in 0..5 {
        fs::write(root.join("a.md"), format!("version {n}\n")).unwrap();
        git(&["add", "."]);
        git(&["-c", "user.name=Ada", "-c", "user.email=a@x", "commit", "-qm", &format!("Version {n}")]);
    }
    let old = git(&["rev-parse", "HEAD"]);
    let laptop = Device::first(dir.path(), &[]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    assert_eq!(laptop.stand(), phone.stand());
    let there = Command::new("git").arg("-C").arg(&phone.root).args(["log", "--format=%H"]).output().unwrap();
    assert!(String::from_utf8_lossy(&there.stdout).contains(&old));
    phone.fsck();
}

#[test]
fn a_join_that_was_killed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let blob = noise(48 << 20);
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n"), ("photo.bin", &blob)]);
    let phone = Device::new(dir.path(), "phone");
    let mut pairing = laptop.start(&["pair", "--json"]);
    let ticket = pairing.ticket();
    let joining = phone.start(&["join", &ticket, phone.root.to_str().unwrap(), "--device", "phone"]);
    let partial = phone.root.join(".aios/partial");
    eventually("a part of the blob is here", || {
        let files = fs::read_dir(&partial).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|found| found.len() > 0)
            || phone.root.join("photo.bin").exists()
    });
    drop(joining);
    let joined = phone.join(&ticket, "phone");
    assert_eq!(joined["files"], 2);
    assert!(fs::read(phone.root.join("photo.bin")).unwrap() == blob, "the blob is another");
    assert_eq!(pairing.end().0, 0);
    assert_eq!(laptop.stand(), phone.stand());
    assert_eq!(laptop.json(&["devices"]).as_array().unwrap().len(), 2);
}

#[test]
fn tickets_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let (phone, thief) = (Device::new(dir.path(), "phone"), Device::new(dir.path(), "thief"));
    let try_to_join = |device: &Device, ticket: &str, code: i32| {
        device.fails(&["join", ticket, device.root.to_str().unwrap(), "--device", "x"], code)
    };
    assert!(try_to_join(&phone, "hello", 2).contains("not a ticket"));

    let mut brief = laptop.start(&["pair", "--json", "--expires", "1s"]);
    let ticket = brief.ticket();
    assert_eq!(brief.end().0, 1);
    assert!(try_to_join(&phone, &ticket, 1).contains("expired"));

    let daemon = laptop.up();
    let mut pairing = laptop.start(&["pair", "--json"]);
    let ticket = pairing.ticket();
    assert!(try_to_join(&phone, &ticket[..ticket.len() - 9], 2).contains("cut off"));
    let changed = if ticket.ends_with('a') { "b" } else { "a" };
    assert!(
        try_to_join(&phone, &format!("{}{changed}", &ticket[..ticket.len() - 1]), 2).contains("mistyped")
    );
    assert!(!phone.root.join(".aios").exists(), "nothing is made for a ticket that is no use");
    // A name that is taken can be chosen anew with the same ticket.
    let taken = phone.fails(&["join", &ticket, phone.root.to_str().unwrap(), "--device", "Laptop"], 1);
    assert!(taken.contains("Laptop") && taken.contains("--device"), "{taken}");
    phone.join(&ticket, "phone");
    assert_eq!(pairing.end().0, 0);
    assert!(try_to_join(&thief, &ticket, 1).contains("used"));
    assert!(!thief.root.join(".aios").exists());
    assert_eq!(daemon.terminate(), 0);
    // Nobody is there any more.
    assert!(try_to_join(&Device::new(dir.path(), "late"), &ticket, 3).contains("not reachable"));
}

#[test]
fn a_member_that_is_away_is_not_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    laptop.write(&[("b.md", b"b\n")]);
    let began = Instant::now();
    let out = laptop.run(&["sync", "--json"]);
    assert!(began.elapsed() < Duration::from_secs(40));
    assert_eq!(out.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["synced"], &report["peers"][0]["reached"]), (&false.into(), &false.into()));
    assert_eq!(laptop.json(&["status"])["synced"], false);
    laptop.fails(&["sync", "--peer", "nobody"], 2);

    // It comes back, and one side calls.
    let daemon = phone.up();
    let report = laptop.json(&["sync", "--peer", "phone"]);
    assert_eq!((&report["synced"], &report["peers"][0]["acknowledged"]), (&true.into(), &true.into()));
    eventually("the phone has written it", || phone.read("b.md") == "b\n");
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(laptop.stand(), phone.stand());

    laptop.json(&["devices", "rename", "phone", "handset"]);
    assert!(laptop.fails(&["devices", "rename", "handset", "laptop"], 1).contains("another device"));
    assert_eq!(laptop.json(&["devices"])[1]["name"], "handset");
}
