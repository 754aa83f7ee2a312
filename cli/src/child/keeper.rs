//! The process between this program and one that does an agent's work: it starts that, holds it to its limits, and ends it with all that
//! came from it as soon as nobody waits any more, whatever became of who started it.

use std::ffi::OsString;
use std::fs::remove_dir_all;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aios_agents::program::{Ended, Limits};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::sandbox::Refusal;
use super::{Call, Report, family, handed};

/// What this program is called with to be one.
pub const NAME: &str = "--keep-a-program";
/// The most bytes of one file that a program writes.
const FILE: u64 = 1 << 30;
/// So much of the end of what it complains of is kept.
const COMPLAINT: usize = 4096;
/// How often its processes are counted.
const LOOK: Duration = Duration::from_millis(25);
/// How long what it printed may take to come after it ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a keeper hears of.
enum Heard {
    /// Nobody waits any more.
    Alone,
    /// This was printed; nothing more comes.
    Printed(Vec<u8>),
    /// More was printed than is allowed.
    Flooded,
    /// The end of what it complained of; nothing more comes.
    Complained(Vec<u8>),
}

/// Keeps one program: what to run comes in as a line, how that ended goes out.
pub fn keep() -> ExitCode {
    let mut line = Vec::new();
    let read = io::stdin().lock().read_until(b'\n', &mut line);
    let Some(call) = read.ok().and_then(|_| serde_json::from_slice::<Call>(&line).ok()) else {
        return ExitCode::from(2);
    };
    let (report, printed) = run(&call);
    // Also where who made it was killed.
    let _ = remove_dir_all(&call.grant.folder);
    let told = serde_json::to_vec(&report).map_err(io::Error::from).and_then(|mut line| {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line).and_then(|()| out.write_all(&printed)).and_then(|()| out.flush())
    });
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(call: &Call) -> (Report, Vec<u8>) {
    let (tell, heard) = channel();
    family::adopt();
    let child = handed::keep().and_then(|()| bound(&call.limits)).map_err(Unable::Start);
    let mut child = match child.and_then(|()| begin(call)) {
        Ok(child) => child,
        Err(unable) => {
            let report = Report { ended: unable.ended(call), complaint: String::new(), length: 0 };
            return (report, Vec::new());
        }
    };
    feed(&mut child, call, &tell);
    watch(&mut child, &call.limits, &heard)
}

/// Bounds what this process and all that come from it may use.
fn bound(limits: &Limits) -> io::Result<()> {
    for (resource, most) in [(Resource::Data, limits.memory), (Resource::Fsize, FILE), (Resource::Core, 0)] {
        // Nobody may raise what bounds this program itself.
        let own = getrlimit(resource).maximum;
        let most = Some(own.map_or(most, |own| own.min(most)));
        setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

/// Why a program was not started.
enum Unable {
    /// Nothing keeps it apart.
    Open(Refusal),
    Start(io::Error),
}

impl Unable {
    fn ended(self, call: &Call) -> Ended {
        use io::ErrorKind as Kind;
        let e = match self {
            Unable::Open(refusal) => return Ended::Open { what: refusal.to_string() },
            Unable::Start(e) => e,
        };
        let passes = !matches!(
            e.kind(),
            Kind::NotFound | Kind::PermissionDenied | Kind::InvalidInput | Kind::ArgumentListTooLong
        );
        let what = match e.kind() {
            Kind::PermissionDenied if call.grant.walls.is_some() => {
                format!(
                    "{e}: where it or its interpreter lies has to be granted, by `sandbox: {{read: [...]}}`"
                )
            }
            _ => e.to_string(),
        };
        Ended::NotStarted { what, passes }
    }
}

fn begin(call: &Call) -> Result<Child, Unable> {
    let Some(walls) = &call.grant.walls else { return start(call, Vec::new()).map_err(Unable::Start) };
    let folder = &call.grant.folder;
    // Walls are around a thread and what it starts: this process stays outside, and can end what is within.
    let shut_in = || {
        walls.enter(folder).map_err(Unable::Open)?;
        walls.before(folder).and_then(|before| start(call, before)).map_err(Unable::Start)
    };
    thread::scope(|scope| scope.spawn(shut_in).join())
        .unwrap_or_else(|_| Err(Unable::Start(io::Error::other("a fault while walls were put up"))))
}

/// Starts the program after the words that are to stand before it.
fn start(call: &Call, before: Vec<OsString>) -> io::Result<Child> {
    let mut words = before.into_iter().chain([OsString::from(&call.program)]);
    let Some(first) = words.next() else { return Err(io::ErrorKind::InvalidInput.into()) };
    Command::new(first)
        .args(words)
        .args(&call.args)
        .env_clear()
        .envs(call.grant.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&call.grant.folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Gives the program its input and hears what it says, each beside the others, so that none waits for another.
fn feed(child: &mut Child, call: &Call, tell: &Sender<Heard>) {
    if let Some(mut input) = child.stdin.take() {
        let line = format!("{}\n", call.input);
        // A program need not read what it is given.
        thread::spawn(move || _ = input.write_all(line.as_bytes()));
    }
    if let Some(output) = child.stdout.take() {
        let (tell, most) = (tell.clone(), call.limits.output);
        thread::spawn(move || {
            let mut printed = Vec::new();
            let mut output = output.take(most.saturating_add(1));
            let _ = output.read_to_end(&mut printed);
            let flooded = printed.len() as u64 > most;
            let _ = tell.send(if flooded { Heard::Flooded } else { Heard::Printed(printed) });
        });
    }
    if let Some(mut complaints) = child.stderr.take() {
        let tell = tell.clone();
        thread::spawn(move || {
            let mut kept = Vec::new();
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = complaints.read(&mut part) {
                kept.extend_from_slice(&part[..count]);
                kept.drain(..kept.len().saturating_sub(COMPLAINT));
            }
            let _ = tell.send(Heard::Complained(kept));
        });
    }
    let tell = tell.clone();
    thread::spawn(move || {
        // Whoever waits holds the other end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tell.send(Heard::Alone);
    });
}

/// Waits until it ends, or ends it.
fn watch(child: &mut Child, limits: &Limits, heard: &Receiver<Heard>) -> (Report, Vec<u8>) {
    let late = Instant::now() + Duration::from_millis(limits.time);
    let (mut printed, mut complaint) = (None, None);
    let mut pause = Duration::from_millis(1);
    let ended = loop {
        match child.try_wait() {
            Ok(Some(_)) => break None,
            Ok(None) => {}
            Err(_) => break Some(Ended::Lost),
        }
        match heard.recv_timeout(pause) {
            Ok(Heard::Alone) => break Some(Ended::Stopped),
            Ok(Heard::Flooded) => break Some(Ended::Flooded),
            Ok(Heard::Printed(it)) => printed = Some(it),
            Ok(Heard::Complained(it)) => complaint = Some(it),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if Instant::now() >= late {
            break Some(Ended::Late);
        }
        // What is quick is not made to wait, and what takes long is not looked at all the time.
        if pause < LOOK {
            pause *= 2;
        }
        if family::count(child) > limits.processes {
            break Some(Ended::Crowded);
        }
    };
    let status = family::end_all(child);
    let mut ended = ended.unwrap_or_else(|| match status {
        Some(status) => match (status.code(), family::signal(status)) {
            (Some(code), _) => Ended::Exit(code),
            (None, Some(signal)) => Ended::Signal(signal),
            (None, None) => Ended::Lost,
        },
        None => Ended::Lost,
    });
    // All that could write is gone: what they wrote ends.
    let over = Instant::now() + PATIENCE;
    while printed.is_none() || complaint.is_none() {
        match heard.recv_timeout(over.saturating_duration_since(Instant::now())) {
            Ok(Heard::Printed(it)) => printed = Some(it),
            Ok(Heard::Complained(it)) => complaint = Some(it),
            Ok(Heard::Flooded) => {
                if matches!(ended, Ended::Exit(_)) {
                    ended = Ended::Flooded;
                }
                printed = Some(Vec::new());
            }
            Ok(Heard::Alone) => {}
            Err(_) => break,
        }
    }
    let printed = printed.filter(|_| ended == Ended::Exit(0)).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&complaint.unwrap_or_default()).into_owned();
    (Report { ended, complaint, length: printed.len() as u64 }, printed)
}
