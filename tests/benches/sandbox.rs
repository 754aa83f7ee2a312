//! What it costs to start a program, with a sandbox and without: `cargo bench -p aios-tests --bench sandbox`.
//!
//! `AIOS_BENCH_RUNS=500` sets how often each is started (default 200). `AIOS_BIN` is the binary (default: the one beside this one).

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("skipped: run with `cargo bench`");
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let beside = || own.parent().and_then(Path::parent).map(|dir| dir.join("aios")).expect("a target folder");
    let aios = std::env::var_os("AIOS_BIN").map_or_else(beside, PathBuf::from);
    let runs = std::env::var("AIOS_BENCH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut took = [("no sandbox", Value::Null), ("sandbox", json!({"read": []}))].map(|it| (it, Vec::new()));
    // In turns, so that what else the machine does counts for both.
    for _ in 0..runs {
        for ((_, walls), took) in &mut took {
            took.push(start(&aios, walls));
        }
    }
    println!("| `true`, from its keeper's start to its end | p50 ms | p99 ms |\n|---|---|---|");
    for ((name, _), took) in &mut took {
        took.sort();
        let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
        println!("| {name} | {:.1} | {:.1} |", at(50), at(99));
    }
}

/// Has a keeper start `true`, and says how long that took.
fn start(aios: &Path, walls: &Value) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let call = json!({
        "program": "/bin/true", "args": [], "input": null,
        "grant": {"environment": [], "folder": folder.path(), "walls": walls},
        "limits": {"time": 10_000, "output": 1024, "memory": 1_u64 << 30, "processes": 4},
    });
    let since = Instant::now();
    let mut keeper = Command::new(aios);
    keeper.arg("--keep-a-program").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = keeper.spawn().expect("aios runs");
    let mut input = keeper.stdin.take().expect("its input");
    writeln!(input, "{call}").expect("it listens");
    let mut output = BufReader::new(keeper.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it tells");
    let took = since.elapsed();
    assert!(line.contains("{\"exit\":0}"), "{line}");
    drop(input);
    output.read_to_end(&mut Vec::new()).expect("it ends");
    keeper.wait().expect("it can be waited for");
    took
}
