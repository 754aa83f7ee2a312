//! A durable run of three steps, beside restate-server and DBOS: `cargo bench -p aios-tests --bench durable`.
//!
//! Ours is the kernel with a vault on disk, as the daemon drives it: each record is synced before anything rests on it. Restate is its server
//! with a service of its SDK, called through its ingress; DBOS is a Python process with SQLite. Each steps' work is nothing. One round is
//! every system at one run at a time and at sixteen, in turns, so that what else the machine does counts for all.
//!
//! `AIOS_BENCH_ROUNDS` (default 5) and `AIOS_BENCH_RUNS` (default 40) in each of them. The peers are installed below the target folder, by npm and
//! pip; one that cannot be is left out, with the reason. Everything listens on loopback.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aios_agents::kernel::{Action, Input, Kernel, Next, Round, Setting};
use aios_agents::workflow::{Known, Workflow};
use aios_core::id::ContentHash;
use aios_core::item::Item;
use aios_vault::author::Draft;
use aios_vault::chance::now_ms;
use aios_vault::create::NewVault;
use aios_vault::{Vault, keys};
use serde_json::{Value, json};

const FLOW: &str = "---
type: workflow
input: {type: object, properties: {text: {type: string}}}
steps:
  one: {agent: step, input: {text: '{{ input.text }}'}}
  two: {agent: step, input: {text: '{{ steps.one.text }}'}}
  three: {agent: step, input: {text: '{{ steps.two.text }}'}}
---
";
/// The peers, by the versions that were measured.
const NPM: [&str; 2] = ["@restatedev/restate-server@1.7.12", "@restatedev/restate-sdk@1.17.2"];
const PIP: &str = "dbos==3.4.0";

/// What durable runs were timed.
#[derive(Default)]
struct Times {
    /// Of each run, in ms.
    runs: Vec<f64>,
    /// Of all, one after the other or at once, in ms.
    all: f64,
}

impl Times {
    fn at(&self, part: usize) -> f64 {
        let mut runs = self.runs.clone();
        runs.sort_by(f64::total_cmp);
        runs.get(runs.len().saturating_sub(1) * part / 100).copied().unwrap_or(0.0)
    }
}

/// What does durable runs.
trait System {
    fn name(&self) -> &str;
    fn run(&mut self, at_once: usize, runs: usize) -> Times;
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// The kernel with a vault.
struct Ours {
    vault: Vault,
    kernel: Kernel,
    made: usize,
    /// How many records were made.
    records: usize,
}

impl Ours {
    fn new(folder: &Path) -> Ours {
        keys::use_data_dir(&folder.join("keys"));
        let root = folder.join("vault");
        std::fs::create_dir_all(&root).expect("a folder");
        let quiet = &mut |_: &str, _: u64, _: u64| {};
        let (mut vault, absorbed) = Vault::create(&root, &NewVault::default(), quiet).expect("a vault");
        vault.finish(absorbed, quiet).expect("a vault");
        let version = ContentHash::of(FLOW.as_bytes());
        let workflow = Workflow::read(FLOW, &Known::default()).expect("a workflow");
        let mut setting = Setting { maker: Some(vault.device()), ..Setting::default() };
        setting.versions.insert(version, workflow);
        setting.current.insert("flow".into(), version);
        let mut kernel = Kernel::new(vault.id(), vault.device(), setting, 1);
        kernel.handle(Input::Tick { now: now_ms() });
        Ours { vault, kernel, made: 0, records: 0 }
    }

    /// Does all that is to be done, as the daemon does.
    fn act(&mut self, round: &mut Round) {
        let mut place = None;
        while let Some(next) = round.next(&mut self.kernel).expect("events") {
            match next {
                Next::Reserve => {
                    round.begin(place.insert(self.vault.reserve().expect("a place")).stamp);
                }
                Next::Write(entry) => {
                    let message = entry.events[0].name();
                    let mut draft = Draft { actor: "aios".into(), message, ..Draft::default() };
                    entry.events.into_iter().for_each(|event| draft.push(Item::Event(event)));
                    self.vault.author_at(place.take().expect("a place"), draft).expect("a record");
                    self.records += 1;
                }
                Next::Do(Action::Start { work, input, .. }) => {
                    round.add(self.kernel.handle(Input::Worked { work, came: Ok(input) }));
                }
                Next::Do(_) => {}
            }
        }
        self.vault.settle_memory().expect("it is remembered");
    }
}

impl System for Ours {
    fn name(&self) -> &str {
        "aios"
    }

    fn run(&mut self, at_once: usize, runs: usize) -> Times {
        let mut times = Times::default();
        let begin = Instant::now();
        let mut under_way: Vec<(String, Instant)> = Vec::new();
        let mut left = runs;
        let mut round = Round::default();
        while left > 0 || !under_way.is_empty() {
            while left > 0 && under_way.len() < at_once {
                left -= 1;
                self.made += 1;
                let task = format!("t{}", self.made);
                under_way.push((task.clone(), Instant::now()));
                let made = self.kernel.create(&task, "flow", json!({"text": "x"}), None).expect("a task");
                round.add([Action::Append(vec![made])]);
            }
            self.act(&mut round);
            let tables = self.kernel.tables();
            under_way.retain(|(task, since)| {
                let over = tables.task(task).is_some_and(|it| it.ended.is_some());
                if over {
                    times.runs.push(ms(since.elapsed()));
                }
                !over
            });
        }
        times.all = ms(begin.elapsed());
        times
    }
}

/// A peer in a process of its own, asked line by line.
struct Peer {
    name: &'static str,
    process: Child,
    server: Option<Child>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(name: &'static str, mut command: Command, server: Option<Child>) -> Result<Peer, String> {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = process.map_err(|e| format!("{name}: {e}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(format!("{name}: it has no pipes"));
        };
        let mut peer = Peer { name, process, server, input, output: BufReader::new(output) };
        match peer.line(|line| line.trim() == "ready") {
            Some(_) => Ok(peer),
            None => Err(format!("{name}: it ended before it was ready")),
        }
    }

    /// The next line of a kind: programs tell other things, too.
    fn line(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if wanted(&line) {
                return Some(line);
            }
        }
    }
}

impl System for Peer {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&mut self, at_once: usize, runs: usize) -> Times {
        writeln!(self.input, "{at_once} {runs}").expect("it listens");
        let line = self.line(|line| line.starts_with("{\"took\"")).expect("it answers");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let runs = said["took"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        Times { runs, all: said["all"].as_f64().expect("a number") }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for process in std::iter::once(&mut self.process).chain(&mut self.server) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let out = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

fn port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("an address").port().to_string()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

fn dbos(peers: &Path, data: &Path) -> Result<Peer, String> {
    let venv = peers.join("venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    done(Command::new(&python).args(["-m", "pip", "install", "-q", PIP]))?;
    let mut command = Command::new(python);
    let database = format!("sqlite:///{}", data.join("dbos.sqlite").display());
    command.arg(sources().join("durable.py")).arg(database);
    Peer::start("dbos", command, None)
}

fn restate(peers: &Path, data: &Path) -> Result<Peer, String> {
    let folder = peers.join("npm");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    done(Command::new("npm").args(["install", "--no-save", "--prefix"]).arg(&folder).args(NPM))?;
    // A module is looked for beside the file that asks for it.
    let script = folder.join("durable.mjs");
    std::fs::copy(sources().join("durable.mjs"), &script).map_err(|e| e.to_string())?;
    let [service, ingress, admin, node] = [(); 4].map(|()| port());
    let log = File::create(data.join("restate.log")).map_err(|e| e.to_string())?;
    // The program itself and not what npm starts it with, which would leave it behind.
    let scope = folder.join("node_modules/@restatedev");
    let entries = std::fs::read_dir(&scope).map_err(|e| format!("{}: {e}", scope.display()))?;
    let mut programs = entries.flatten().map(|entry| entry.path().join("bin/restate-server"));
    let program = programs.find(|path| path.to_string_lossy().contains("restate-server-") && path.exists());
    let server = Command::new(program.ok_or("restate-server: npm has none for this machine")?)
        .arg("--base-dir")
        .arg(data.join("restate"))
        .current_dir(data)
        .env("RESTATE_INGRESS__BIND_ADDRESS", format!("127.0.0.1:{ingress}"))
        .env("RESTATE_ADMIN__BIND_ADDRESS", format!("127.0.0.1:{admin}"))
        .env("RESTATE_BIND_ADDRESS", format!("127.0.0.1:{node}"))
        .env("DO_NOT_TRACK", "1")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("restate-server: {e}"))?;
    let mut command = Command::new("node");
    command.arg(script).args([service, ingress, admin]);
    Peer::start("restate", command, Some(server))
}

/// How long it takes to write and sync a record of 1 KB so often, on the same disk.
fn synced(folder: &Path, writes: usize) -> f64 {
    let mut file = File::create(folder.join("synced")).expect("a file");
    let begin = Instant::now();
    for _ in 0..writes {
        file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).expect("it is written");
    }
    ms(begin.elapsed())
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("skipped: run with `cargo bench`");
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let target = own.ancestors().nth(3).expect("a target folder").to_owned();
    let data = tempfile::tempdir_in(&target).expect("a folder");
    let peers = target.join("peers");
    let mut ours = Ours::new(data.path());
    let mut others = Vec::new();
    for peer in [restate(&peers, data.path()), dbos(&peers, data.path())] {
        match peer {
            Ok(peer) => others.push(peer),
            Err(why) => println!("left out: {why}"),
        }
    }
    let (rounds, runs) = (number("AIOS_BENCH_ROUNDS", 5), number("AIOS_BENCH_RUNS", 40));
    // So that nobody's first run counts.
    ours.run(1, 2);
    let before = (ours.records, ours.made);
    others.iter_mut().for_each(|it| _ = it.run(1, 2));
    let mut sums: Vec<(String, usize, Times)> = Vec::new();
    let mut writes = Vec::new();
    for _ in 0..rounds {
        for at_once in [1, 16] {
            let systems = std::iter::once(&mut ours as &mut dyn System);
            for system in systems.chain(others.iter_mut().map(|it| it as &mut dyn System)) {
                let times = system.run(at_once, runs);
                let is_it = |it: &&mut (String, usize, Times)| it.0 == system.name() && it.1 == at_once;
                match sums.iter_mut().find(is_it) {
                    Some((_, _, sum)) => {
                        sum.runs.extend(times.runs);
                        sum.all += times.all;
                    }
                    None => sums.push((system.name().to_owned(), at_once, times)),
                }
            }
        }
        writes.push(synced(data.path(), 100) / 100.0);
    }
    let records = (ours.records - before.0) as f64 / (ours.made - before.1) as f64;
    writes.sort_by(f64::total_cmp);
    let write = writes[writes.len() / 2];
    println!("{records:.1} records a run of ours; to write and sync 1 KB takes {write:.2} ms here");
    println!("| 3 steps | at once | p50 ms | p99 ms | runs a second |\n|---|---|---|---|---|");
    for (name, at_once, times) in &sums {
        let rate = times.runs.len() as f64 / times.all * 1000.0;
        println!("| {name} | {at_once} | {:.1} | {:.1} | {rate:.1} |", times.at(50), times.at(99));
    }
}
