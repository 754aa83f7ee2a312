//! Whole commands against git, as ratios in one run on this machine: `cargo bench -p aios-tests --bench against_git`.
//!
//! `AIOS_BENCH_FILES=1000,10000` sets the sizes (default 10000), `AIOS_BENCH_FLAT=1` puts all files in one folder,
//! `AIOS_BENCH_RUNS=3` how often each command is timed (the median counts), `AIOS_BENCH_EDITS=5000` adds a file with so many past edits. `AIOS_BIN` is the binary
//! (default: the release build beside this one). Prints a Markdown table.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What one command took.
#[derive(Clone, Copy, Default)]
struct Took {
    wall: Duration,
    /// Peak resident memory, MB.
    memory: f64,
}

struct Bench {
    aios: PathBuf,
    dir: PathBuf,
    runs: usize,
}

fn main() {
    // `cargo test --benches` runs benches too: they are measured only when asked for.
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("skipped: run with `cargo bench`");
        return;
    }
    let aios = std::env::var_os("AIOS_BIN").map_or_else(release, PathBuf::from);
    assert!(aios.exists(), "{} is not built: cargo build --release", aios.display());
    let sizes = std::env::var("AIOS_BENCH_FILES").unwrap_or_else(|_| "10000".into());
    let flat = std::env::var_os("AIOS_BENCH_FLAT").is_some();
    let runs = std::env::var("AIOS_BENCH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    println!("| files | what | aios s | git s | ratio | at most | aios MB |\n|---|---|---|---|---|---|---|");
    for size in sizes.split(',').filter_map(|size| size.trim().parse::<usize>().ok()) {
        let dir = std::env::temp_dir().join(format!("aios-bench-{}-{size}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder to work in");
        let bench = Bench { aios: aios.clone(), dir: dir.clone(), runs };
        bench.all(size, flat);
        let _ = std::fs::remove_dir_all(&dir);
    }
}

fn release() -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    own.parent().and_then(Path::parent).map(|dir| dir.join("aios")).expect("a target folder")
}

impl Bench {
    fn all(&self, size: usize, flat: bool) {
        let label = if flat { format!("{size} flat") } else { size.to_string() };
        let row = |what: &str, ours: Took, theirs: Took, limit: &str| {
            let ratio = ours.wall.as_secs_f64() / theirs.wall.as_secs_f64().max(1e-9);
            println!(
                "| {label} | {what} | {:.3} | {:.3} | {ratio:.2} | {limit} | {:.0} |",
                ours.wall.as_secs_f64(),
                theirs.wall.as_secs_f64(),
                ours.memory
            );
        };
        let source = self.dir.join("source");
        write_notes(&source, size, flat);

        // The first time is the only one for an import: several folders instead.
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 0..self.runs {
            let (a, g) = (self.dir.join(format!("a{n}")), self.dir.join(format!("g{n}")));
            copy(&source, &a);
            copy(&source, &g);
            ours.push(self.aios(&["init", &text(&a), "--device", "laptop"]));
            self.git(&g, &["init", "-q", "-b", "main"]);
            theirs.push(self.sh(&g, "git add -A && git -c user.name=x -c user.email=x commit -qm first"));
        }
        row("init / add and commit", median(&ours), median(&theirs), "1.5, 200 MB");
        let (a, g) = (self.dir.join("a0"), self.dir.join("g0"));
        let path = first_note(flat);

        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 0..self.runs * 3 {
            for root in [&a, &g] {
                append(&root.join(&path), &format!("line {n}\n"));
            }
            ours.push(self.aios(&["-C", &text(&a), "commit", "-q"]));
            theirs.push(self.sh(&g, "git -c user.name=x -c user.email=x commit -qam edit"));
        }
        row("commit one edit / commit -am", median(&ours), median(&theirs), "1");

        let ours: Vec<Took> =
            (0..self.runs * 3).map(|_| self.aios(&["-C", &text(&a), "status", "-q"])).collect();
        let theirs: Vec<Took> = (0..self.runs * 3).map(|_| self.sh(&g, "git status --porcelain")).collect();
        row("status, nothing changed / git status", median(&ours), median(&theirs), "1");

        self.sync(&a, &g, size, flat, &row);
        self.single(&a, &row);
    }

    fn sync(&self, a: &Path, g: &Path, size: usize, flat: bool, row: &dyn Fn(&str, Took, Took, &str)) {
        let b = self.dir.join("b");
        let mut pair = self.start(&["-C", &text(a), "pair", "--name", "phone", "--json"]);
        let ticket = first_line(&mut pair);
        let ticket = ticket.split('"').nth(3).unwrap_or_default().to_owned();
        let ours = self.aios(&["join", &ticket, &text(&b), "--device", "phone"]);
        let _ = pair.wait();
        let port = 9400 + (std::process::id() % 500) as u16;
        let base = format!("--base-path={}", self.dir.display());
        // `git daemon` is a wrapper: what it starts would go on when it is ended.
        let programs = Command::new("git").arg("--exec-path").output().expect("git").stdout;
        let daemon = Path::new(String::from_utf8_lossy(&programs).trim()).join("git-daemon");
        let mut daemon = Command::new(daemon)
            .args([
                "--export-all",
                "--reuseaddr",
                "--listen=127.0.0.1",
                &format!("--port={port}"),
                &base,
                &text(&self.dir),
            ])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("git daemon");
        let up = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
            && up.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let theirs = self.sh(&self.dir, &format!("git clone -q git://127.0.0.1:{port}/g0/.git clone"));
        let _ = daemon.kill();
        let _ = daemon.wait();
        row("join / git clone over git daemon", ours, theirs, "1.5, 150 MB");

        let mut up = self.start(&["-C", &text(a), "up", "--no-ui"]);
        first_line(&mut up);
        let nothing: Vec<Took> =
            (0..self.runs * 3).map(|_| self.aios(&["-C", &text(&b), "sync", "-q"])).collect();
        let version: Vec<Took> = (0..5).map(|_| self.aios(&["--version"])).collect();
        let scan: Vec<Took> = (0..5)
            .map(|_| self.sh(&b, "find . -path ./.git -prune -o -path ./.aios -prune -o -printf '%s %T@\\n'"))
            .collect();
        let base = Took { wall: median(&version).wall + median(&scan).wall, ..Took::default() };
        row("sync, nothing to do / --version and a scan", median(&nothing), base, "3");

        let count = size.min(1000);
        let hub = self.dir.join("hub.git");
        self.sh(&self.dir, &format!("git clone -q --bare g0 {}", hub.display()));
        self.sh(g, &format!("git remote add hub {}", hub.display()));
        let clone = self.dir.join("clone");
        self.sh(&clone, &format!("git remote set-url origin {} && git fetch -q", hub.display()));
        for root in [&b, &clone] {
            edit_many(root, count, flat, "one side", true);
        }
        let ours = self.aios(&["-C", &text(&b), "sync", "-q"]);
        let push = self.sh(
            &clone,
            "git -c user.name=x -c user.email=x commit -qam many && git push -q origin HEAD:main",
        );
        let pull = self.sh(g, "git pull -q hub main");
        row(&format!("{count} edits on one side / commit, push, pull"), ours, add(push, pull), "1");

        for root in [&b, &clone] {
            edit_many(root, count, flat, "top", true);
        }
        for root in [a, g] {
            edit_many(root, count, flat, "bottom", false);
        }
        let ours = self.aios(&["-C", &text(&b), "sync", "-q"]);
        let own = self.sh(g, "git -c user.name=x -c user.email=x commit -qam mine && git push -q hub main");
        let merge = self.sh(&clone, "git -c user.name=x -c user.email=x commit -qam theirs && git -c user.name=x -c user.email=x pull -q --no-rebase --no-edit origin main && git push -q origin HEAD:main");
        let pull = self.sh(g, "git pull -q hub main");
        row(
            &format!("{count} edits on each side / commit, push, pull, merge, push, pull"),
            ours,
            add(add(own, merge), pull),
            "3",
        );
        stop(up);
    }

    /// One large file, and one with a long history: seconds, no peer.
    fn single(&self, a: &Path, row: &dyn Fn(&str, Took, Took, &str)) {
        let large = a.join("large.txt");
        std::fs::write(&large, lines(1, 1 << 20)).expect("a large file");
        self.aios(&["-C", &text(a), "commit", "-q"]);
        std::fs::write(&large, lines(2, 1 << 20)).expect("a large file");
        let ours = self.aios(&["-C", &text(a), "commit", "-q"]);
        row(
            "1 MB rewritten whole / limit of 0.3 s",
            ours,
            Took { wall: Duration::from_millis(300), memory: 0.0 },
            "1",
        );
        let Some(edits) = std::env::var("AIOS_BENCH_EDITS").ok().and_then(|n| n.parse::<usize>().ok()) else {
            return;
        };
        let old = self.dir.join("old");
        std::fs::create_dir_all(&old).expect("a folder");
        let note = old.join("note.md");
        std::fs::write(&note, "# Note\n").expect("a note");
        self.aios(&["init", &text(&old), "--device", "old"]);
        for n in 0..edits {
            append(&note, &format!("line {n}\n"));
            self.aios(&["-C", &text(&old), "commit", "-q"]);
        }
        append(&note, "one more\n");
        let ours = self.aios(&["-C", &text(&old), "commit", "-q"]);
        row(
            &format!("commit of a file with {edits} past edits / limit of 0.1 s"),
            ours,
            Took { wall: Duration::from_millis(100), memory: 0.0 },
            "1",
        );
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("AIOS_NET", "loopback").env("AIOS_DATA_DIR", self.dir.join("keys")).env("NO_COLOR", "1");
        // A collection in the background would time the next command, and take objects from under a clone.
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "gc.auto")
            .env("GIT_CONFIG_VALUE_0", "0");
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn aios(&self, args: &[&str]) -> Took {
        let mut command = self.command(&self.aios);
        timed(command.args(args).stdout(Stdio::null()), &format!("aios {args:?}"))
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(&self.aios).args(args).stdout(Stdio::piped()).spawn().expect("aios starts")
    }

    fn sh(&self, dir: &Path, script: &str) -> Took {
        let mut command = self.command(Path::new("sh"));
        timed(command.arg("-c").arg(script).current_dir(dir).stdout(Stdio::null()), script)
    }

    fn git(&self, dir: &Path, args: &[&str]) {
        let done = Command::new("git").args(args).current_dir(dir).status().expect("git runs");
        assert!(done.success(), "git {args:?}");
    }
}

/// Runs a command to its end, watching its memory.
fn timed(command: &mut Command, what: &str) -> Took {
    let start = Instant::now();
    let mut child = command.spawn().expect("the command starts");
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0.0f64;
    loop {
        if let Ok(Some(done)) = child.try_wait() {
            assert!(done.success(), "{what}: {done}");
            return Took { wall: start.elapsed(), memory };
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<f64>().ok());
        memory = memory.max(peak.unwrap_or(0.0) / 1024.0);
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn stop(mut child: Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}

fn first_line(child: &mut Child) -> String {
    use std::io::BufRead;
    let mut line = String::new();
    if let Some(out) = child.stdout.as_mut() {
        // One byte at a time would do; a small buffer loses nothing that is needed.
        let _ = std::io::BufReader::with_capacity(1, out).read_line(&mut line);
    }
    line
}

fn median(took: &[Took]) -> Took {
    let mut sorted = took.to_vec();
    sorted.sort_by_key(|took| took.wall);
    let memory = took.iter().map(|took| took.memory).fold(0.0, f64::max);
    Took { wall: sorted.get(sorted.len() / 2).copied().unwrap_or_default().wall, memory }
}

fn add(a: Took, b: Took) -> Took {
    Took { wall: a.wall + b.wall, memory: a.memory.max(b.memory) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A fixed pseudo-random sequence: the notes are the same in every run.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn word(&mut self) -> String {
        let length = 2 + self.next() % 9;
        (0..length).map(|_| char::from(b'a' + (self.next() % 26) as u8)).collect()
    }
}

fn folder_of(n: usize, flat: bool) -> PathBuf {
    if flat { PathBuf::new() } else { PathBuf::from(format!("folder{:03}", n % 100)) }
}

fn first_note(flat: bool) -> PathBuf {
    folder_of(0, flat).join("note0.md")
}

fn write_notes(root: &Path, count: usize, flat: bool) {
    let mut words = Words(7);
    let vocabulary: Vec<String> = (0..2000).map(|_| words.word()).collect();
    for n in 0..count {
        let folder = root.join(folder_of(n, flat));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut note = format!("---\ntitle: Note {n}\nstatus: open\ntags: [a, b, c]\n---\n\n# Note {n}\n\n");
        while note.len() < 2000 {
            for _ in 0..12 {
                note.push_str(&vocabulary[words.next() as usize % vocabulary.len()]);
                note.push(' ');
            }
            note.push('\n');
        }
        std::fs::write(folder.join(format!("note{n}.md")), note).expect("a note");
    }
}

fn edit_many(root: &Path, count: usize, flat: bool, word: &str, at_top: bool) {
    for n in 0..count {
        let path = root.join(folder_of(n, flat)).join(format!("note{n}.md"));
        let note = std::fs::read_to_string(&path).expect("a note");
        let edited = match at_top {
            true => note.replacen("\n\n# Note", &format!("\n\n{word} {n}\n\n# Note"), 1),
            false => format!("{note}{word} {n}\n"),
        };
        std::fs::write(&path, edited).expect("a note");
    }
}

fn append(path: &Path, line: &str) {
    let note = std::fs::read_to_string(path).expect("a note");
    std::fs::write(path, note + line).expect("a note");
}

fn lines(seed: u64, size: usize) -> String {
    let mut words = Words(seed);
    let mut out = String::with_capacity(size + 100);
    while out.len() < size {
        out.push_str(&words.word());
        out.push(if words.next().is_multiple_of(9) { '\n' } else { ' ' });
    }
    out
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success(), "cp");
}
