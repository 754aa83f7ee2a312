//! Devices on one machine as processes of the program, each a vault with keys of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{binary, reader};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A device: a vault and keys of its own.
#[derive(Debug)]
pub struct Device {
    /// The vault.
    pub root: PathBuf,
    keys: PathBuf,
    /// The network namespace its programs run in, where it is another.
    namespace: Option<String>,
    /// What else its programs find in their environment; no value takes a setting away.
    settings: Vec<(String, Option<String>)>,
}

/// A command that runs meanwhile. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
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
    /// The next line it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it prints text");
        line.trim().to_owned()
    }

    /// The ticket that `pair --json` prints.
    pub fn ticket(&mut self) -> String {
        let line = self.line();
        let report: Value = serde_json::from_str(&line).expect("a JSON value");
        report["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end: exit code, and what it printed since.
    pub fn end(mut self) -> (i32, String) {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("it can be waited for").is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("it prints text");
        let code = self.child.wait().expect("it has ended").code();
        (code.expect("no signal ended it"), rest)
    }

    /// Asks it to end, as a service manager does, and gives its exit code.
    pub fn terminate(self) -> i32 {
        self.signal("TERM");
        self.end().0
    }

    /// Sends it a signal: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }
}

impl Device {
    /// A device below `dir`; nothing is made yet.
    pub fn new(dir: &Path, name: &str) -> Device {
        let (root, keys) = (dir.join(name), dir.join("keys").join(name));
        Device { root, keys, namespace: None, settings: Vec::new() }
    }

    /// The same, with its programs in a network namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Device {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// The same, with a setting in the environment of its programs, or without one.
    #[must_use]
    pub fn set(mut self, name: &str, value: Option<&str>) -> Device {
        self.settings.push((name.to_owned(), value.map(str::to_owned)));
        self
    }

    /// A new vault of what lies in its folder, and these files.
    pub fn first(dir: &Path, files: &[(&str, &[u8])]) -> Device {
        let device = Device::new(dir, "laptop");
        device.init(files);
        device
    }

    /// Makes its folder a new vault of what lies there, and these files.
    pub fn init(&self, files: &[(&str, &[u8])]) {
        self.write(files);
        self.json(&["init", &self.root.to_string_lossy(), "--name", "Acme", "--device", "laptop"]);
    }

    /// A copy of its folder, with the same keys; of a folder that lives, without what goes while it is copied.
    pub fn copy(&self, dir: &Path, name: &str) -> Device {
        let root = dir.join(name);
        let mut copied = Command::new("cp");
        copied.arg("-a").arg(&self.root).arg(&root).env("LC_ALL", "C");
        let done = copied.output().expect("cp runs");
        let said = String::from_utf8_lossy(&done.stderr);
        let gone = |line: &str| {
            line.ends_with("No such file or directory") || line.contains("replaced while being copied")
        };
        assert!(done.status.success() || !said.is_empty() && said.lines().all(gone), "{said}");
        self.at(root)
    }

    /// The same device in another folder.
    pub fn at(&self, root: PathBuf) -> Device {
        let (keys, namespace, settings) = (self.keys.clone(), self.namespace.clone(), self.settings.clone());
        Device { root, keys, namespace, settings }
    }

    /// Writes files.
    pub fn write(&self, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = self.root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        }
    }

    /// A command of this device that is not run yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(binary::aios()),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary::aios());
                command
            }
        };
        command
            .env("AIOS_NET", "loopback")
            .env("AIOS_DATA_DIR", &self.keys)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        for (name, value) in &self.settings {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if !matches!(args.first(), Some(&("init" | "join" | "demo" | "recover"))) {
            command.arg("-C").arg(&self.root);
        }
        command.args(args);
        command
    }

    /// Runs `aios` with these arguments on the vault.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("aios runs")
    }

    /// The same with a plan of faults (`aios_vault::disk::fault`).
    pub fn run_under(&self, plan: &str, args: &[&str]) -> Output {
        self.command(args).env("AIOS_FAULT", plan).output().expect("aios runs")
    }

    /// Runs a command that must succeed, and gives its report.
    pub fn json(&self, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat());
        let (text, said) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "aios {args:?}: {} {text}{said}", out.status);
        serde_json::from_str(&text).expect("a JSON value")
    }

    /// Runs a command that must end with `code`, and gives what it says.
    pub fn fails(&self, args: &[&str], code: i32) -> String {
        let out = self.run(args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "aios {args:?}: {said}");
        said
    }

    /// Starts a command.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).spawn().expect("aios runs");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, out }
    }

    /// Starts the daemon and waits until it serves.
    pub fn up(&self) -> Running {
        self.up_with(&[])
    }

    /// The same, with further arguments.
    pub fn up_with(&self, args: &[&str]) -> Running {
        let mut running = self.start(&[&["up", "--no-ui"], args].concat());
        let line = running.line();
        assert!(line.starts_with("ready "), "{line}");
        running
    }

    /// Starts the daemon, which says what its owner should know into a file.
    pub fn up_saying(&self, said: &Path) -> Running {
        let said = fs::OpenOptions::new().create(true).append(true).open(said).expect("a file");
        let mut child =
            self.command(&["up", "--no-ui"]).stdout(Stdio::piped()).stderr(said).spawn().expect("aios runs");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let mut running = Running { child, out };
        let line = running.line();
        assert!(line.starts_with("ready "), "{line}");
        running
    }

    /// Joins with a ticket.
    pub fn join(&self, ticket: &str, name: &str) -> Value {
        self.json(&["join", ticket, &self.root.to_string_lossy(), "--device", name])
    }

    /// The text of a file; empty where there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap_or_default()
    }

    /// Head and state.
    pub fn stand(&self) -> (Value, Value) {
        let status = self.json(&["status"]);
        (status["head"].clone(), status["state"].clone())
    }

    /// Runs git in the vault, which must succeed, and gives what it prints.
    pub fn git(&self, args: &[&str]) -> String {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        let out =
            Command::new("git").arg("-C").arg(&self.root).args(who).args(args).output().expect("git runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "git {args:?} in {}: {said}", self.root.display());
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

/// Pairs a device as `role` and has it join.
pub fn pair(first: &Device, other: &Device, role: &str, name: &str) -> Value {
    let mut pairing = first.start(&["pair", "--json", "--role", role]);
    let report = other.join(&pairing.ticket(), name);
    let (code, said) = pairing.end();
    assert_eq!(code, 0);
    let joined: Value = serde_json::from_str(&said).expect("a JSON value");
    assert_eq!(joined["joined"]["name"], name);
    report
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What must hold of every two devices that have synced, and of each by itself: the same head and state, for git and
/// for a reader that has only the log too; git finds all sound and nothing changed, and so does aios.
pub fn agree(devices: &[&Device]) {
    let stand = devices.first().map(|device| device.stand());
    for device in devices {
        let at = device.root.display();
        assert_eq!(Some(device.stand()), stand, "head and state of {at}");
        let head = device.git(&["rev-parse", "HEAD"]);
        assert_eq!(device.stand().0, head, "git has another HEAD in {at}");
        assert_eq!(device.git(&["status", "--porcelain"]), "", "changes in {at}");
        device.git(&["fsck", "--strict"]);
        let verified = device.run(&["verify", "--deep", "--json"]);
        assert!(verified.status.success(), "{at}: {}", String::from_utf8_lossy(&verified.stdout));
        reader::check(&device.root);
    }
}
