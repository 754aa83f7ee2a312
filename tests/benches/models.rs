//! What work with a model takes beyond the model's own time: `cargo bench -p aios-tests --bench models`.
//!
//! A provider on this machine answers at once, or keeps its streams open until all that are asked are under way. The daemon works; what is told is the time
//! between two answers of one piece of work, from the last byte of the one to the request for the next, and the memory of the daemon while all
//! streams are open. `AIOS_BENCH_RUNS=500` sets how many answers there are (default 400), `AIOS_BENCH_STREAMS` how many streams (default 200). `AIOS_BIN` is the
//! binary (default: the one beside this one).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aios_tests::device::eventually;
use aios_tests::office::Office;
use serde_json::{Value, json};

/// How many calls of a tool one piece of work makes before it ends.
const CALLS: usize = 20;

/// A provider: it has each piece of work read a file so often, and then end.
struct Echo {
    at: SocketAddr,
    /// From the end of an answer to the next question of the same work.
    between: Arc<Mutex<Vec<Duration>>>,
    open: Arc<AtomicUsize>,
    /// How many streams have to be open before any goes on; each is, for one.
    together: Arc<AtomicUsize>,
}

impl Echo {
    fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let echo = Echo {
            at: listener.local_addr().expect("its address"),
            between: Arc::default(),
            open: Arc::default(),
            together: Arc::new(AtomicUsize::new(1)),
        };
        let ended: Arc<Mutex<Option<Instant>>> = Arc::default();
        let (between, open, together) = (echo.between.clone(), echo.open.clone(), echo.together.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (between, ended) = (between.clone(), ended.clone());
                let (open, together) = (open.clone(), together.clone());
                let serve = move || drop(answer(stream, &between, &ended, &open, &together));
                let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(serve);
                thread.expect("a thread");
            }
        });
        echo
    }
}

fn answer(
    mut stream: TcpStream,
    between: &Mutex<Vec<Duration>>,
    ended: &Mutex<Option<Instant>>,
    open: &AtomicUsize,
    together: &AtomicUsize,
) -> std::io::Result<()> {
    let body = request(&mut stream)?;
    let asked = Instant::now();
    let alone = together.load(Ordering::SeqCst) == 1;
    let said =
        body["messages"].as_array().map_or(0, |it| it.iter().filter(|it| it["role"] == "assistant").count());
    if let (true, Some(before)) = (alone && said > 0, *ended.lock().expect("no thread panicked")) {
        between.lock().expect("no thread panicked").push(asked - before);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    let mut line = |value: Value| text.push_str(&format!("data: {value}\n\n"));
    if alone && said < CALLS {
        let function = json!({"name": "read", "arguments": "{\"path\": \"clients/bram.md\"}"});
        line(
            json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": format!("c{said}"), "function": function}]}}]}),
        );
        line(json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}));
    } else {
        let words = "Dear Bram, this is a letter. ".repeat(40);
        stream.write_all(
            format!("data: {}\n\n", json!({"choices": [{"delta": {"content": words}}]})).as_bytes(),
        )?;
        stream.flush()?;
        open.fetch_add(1, Ordering::SeqCst);
        while open.load(Ordering::SeqCst) < together.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        line(json!({"choices": [{"delta": {"content": "Bye."}}]}));
        line(json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}));
    }
    line(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}}));
    text.push_str("data: [DONE]\n\n");
    stream.write_all(text.as_bytes())?;
    stream.flush()?;
    *ended.lock().expect("no thread panicked") = Some(Instant::now());
    Ok(())
}

/// The body of a request.
fn request(stream: &mut TcpStream) -> std::io::Result<Value> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else {
            if read == 0 {
                return Ok(Value::Null);
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if read == 0 || bytes.len() >= end + 4 + length.unwrap_or(0_usize) {
            return Ok(serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default());
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// The memory of a process in MB, from the system's own book: what it has now, and the most that it had.
fn memory(process: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("skipped: run with `cargo bench`");
        return;
    }
    let streams = number("AIOS_BENCH_STREAMS", 200);
    let echo = Echo::start();
    let models = format!(
        "---\ntype: models\nproviders:\n  echo: {{api: chat, url: 'http://{}/v1', key: false}}\ntiers: {{small: [echo/one]}}\nprices: {{'echo/*': {{input: 0, output: 0}}}}\n---\n",
        echo.at
    );
    let office = Office::new(&[
        ("agents/models.md", &models),
        (
            "agents/writer.md",
            "---\ntype: agent\nruntime: model\nreads: ['clients/*']\ntools: [read]\neffects: []\nbudget: {turns: 100, tokens: 100000000}\n---\nWrite a letter.\n",
        ),
        ("workflows/one.md", "---\ntype: workflow\nsteps:\n  work: {agent: writer}\n---\n"),
        (
            "workflows/all.md",
            "---\ntype: workflow\ninput: {type: object, required: [items], properties: {items: {type: array}}}\nsteps:\n  all:\n    each: input.items\n    at_once: 100\n    steps:\n      work: {agent: writer, input: {n: '{{ item }}'}}\n---\n",
        ),
        ("clients/bram.md", "Bram pays 90.\n"),
    ]);
    let daemon = office.up("");
    let done = |task: &str| {
        let tasks = office.json(&["tasks"]);
        tasks.as_array().expect("a list").iter().any(|it| it["task"] == task && it["state"] == "done")
    };
    for n in 0..number("AIOS_BENCH_RUNS", 400) / CALLS {
        let task = format!("t{n}");
        office.aios(&["run", "one", "--task", &task], "");
        eventually("it is done", || done(&task));
    }
    let mut took = echo.between.lock().expect("no thread panicked").clone();
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    println!("| from an answer to the next question | p50 ms | p99 ms |\n|---|---|---|");
    println!(
        "| {} answers, each with a file that is read between | {:.1} | {:.1} |",
        took.len(),
        at(50),
        at(99)
    );
    let before = memory(daemon.child.id());
    echo.open.store(0, Ordering::SeqCst);
    echo.together.store(streams, Ordering::SeqCst);
    let since = Instant::now();
    let mut left = streams;
    let mut tasks = Vec::new();
    let mut runs = Vec::new();
    while left > 0 {
        let items: Vec<usize> = (0..left.min(100)).collect();
        left -= items.len();
        let task = format!("all{left}");
        let items = format!("items={items:?}");
        let mut command = office.command(&["run", "all", "--task", &task, "--input", &items], "");
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        runs.push(command.spawn().expect("aios runs"));
        tasks.push(task);
    }
    eventually("all are under way", || echo.open.load(Ordering::SeqCst) >= streams);
    let (opened, open) = (since.elapsed(), memory(daemon.child.id()));
    for run in &mut runs {
        run.wait().expect("it ends");
    }
    eventually("all are done", || tasks.iter().all(|task| done(task)));
    let after = memory(daemon.child.id());
    println!(
        "| streams at once | all open after s | daemon before MB | while open MB | most MB | all done after s |\n|---|---|---|---|---|---|"
    );
    println!(
        "| {streams} | {:.1} | {} | {} | {} | {:.1} |",
        opened.as_secs_f64(),
        before.0,
        open.0,
        after.1,
        since.elapsed().as_secs_f64()
    );
}
