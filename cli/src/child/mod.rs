//! Programs that do an agent's work: each has a [keeper], a process that ends it and all that it started whatever happens here.

mod family;
mod handed;
pub mod keeper;
mod sandbox;
mod scratch;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use aios_agents::component::Step;
use aios_agents::failure::{Class, Failure};
use aios_agents::program::{Ended, Limits, Outcome, Program, SCRIPT};
use aios_agents::runtime::{Runtime, Stop};
use aios_agents::sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use sandbox::Walls;
use scratch::Scratch;

/// What of this process's environment a program sees; `HOME` and `TMPDIR` are its own folder.
const SEEN: [&str; 2] = ["PATH", "LANG"];
/// How often it is looked whether anybody still waits.
const LOOK: Duration = Duration::from_millis(20);
/// How long a keeper may take to end what it keeps.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a program may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its environment, and nothing else.
    pub environment: Vec<(String, String)>,
    /// The folder that it works in: its own, and gone afterwards.
    pub folder: PathBuf,
    /// What keeps it from the rest of the machine.
    pub walls: Option<Walls>,
}

/// One call of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its name, looked for in the `PATH` that it is granted, or its absolute path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it may see.
    pub grant: Grant,
    /// How much it may use.
    pub limits: Limits,
    /// What goes in: one line of JSON.
    pub input: Value,
}

/// How a program ended, as its keeper says before it hands over what was printed.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    ended: Ended,
    complaint: String,
    /// The bytes that follow.
    length: u64,
}

/// A program as what has an agent work.
pub struct Worker {
    /// The program.
    pub program: Program,
    /// What no grant may lead to.
    pub hidden: Vec<PathBuf>,
}

impl Runtime for Worker {
    fn work(&self, input: &Value, stop: &Stop) -> Result<Step, Failure> {
        self.give(input, stop).map(Step::Done)
    }
}

impl Worker {
    fn give(&self, input: &Value, stop: &Stop) -> Result<Value, Failure> {
        let Worker { program, hidden } = self;
        let walls = match &program.sandbox {
            Sandbox::None => None,
            Sandbox::Closed { read } => match Walls::new(read, hidden) {
                Ok(walls) => Some(walls),
                Err(refusal) => return program.judge(&nothing(Ended::Open { what: refusal.to_string() })),
            },
        };
        let fail = |e: io::Error| Failure::new(Class::Transient, format!("a folder for it: {e}"));
        let scratch = Scratch::make().map_err(fail)?;
        let mut words = program.command.clone();
        if let Some(script) = &program.script {
            let path = scratch.put("script", script).map_err(fail)?;
            let path = path.to_string_lossy();
            words.iter_mut().filter(|word| *word == SCRIPT).for_each(|word| *word = path.to_string());
        }
        let call = Call {
            program: words.remove(0),
            args: words,
            grant: Grant { walls, ..Grant::within(scratch.path()) },
            limits: program.limits,
            input: input.clone(),
        };
        program.judge(&run(&call, stop))
    }
}

impl Grant {
    /// What every program may see: where programs are, how people here write, and a folder of its own.
    pub fn within(folder: &Path) -> Grant {
        let inherited = SEEN.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let own = ["HOME", "TMPDIR"].map(|name| (name.to_owned(), folder.to_string_lossy().into_owned()));
        Grant { environment: inherited.chain(own).collect(), folder: folder.to_owned(), walls: None }
    }
}

/// Runs a program until it ends, its time is over, or nobody waits for it any more. Nothing that it started is left (Linux; elsewhere
/// nothing of its process group).
pub fn run(call: &Call, stop: &Stop) -> Outcome {
    let not_started = |e: io::Error| nothing(Ended::NotStarted { what: e.to_string(), passes: true });
    let mut keeper = match begin(call) {
        Ok(keeper) => keeper,
        Err(e) => return not_started(e),
    };
    let told = listen(&mut keeper, call.limits.output);
    let late = Instant::now() + Duration::from_millis(call.limits.time) + PATIENCE;
    let outcome = loop {
        match told.recv_timeout(Duration::ZERO) {
            Ok(outcome) => break Some(outcome),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() > late {
            break None;
        }
        if stop.is_stopped(LOOK) {
            // It ends all it keeps when nobody holds the other end.
            drop(keeper.stdin.take());
            break told.recv_timeout(PATIENCE).ok();
        }
    };
    family::end(&mut keeper);
    outcome.unwrap_or_else(|| nothing(Ended::Lost))
}

fn nothing(ended: Ended) -> Outcome {
    Outcome { ended, output: Vec::new(), complaint: String::new() }
}

/// Starts a keeper and tells it what to run. While its input is open, somebody waits.
fn begin(call: &Call) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut keeper = Command::new(this_program()?)
        .arg(keeper::NAME)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    let input = keeper.stdin.as_mut().ok_or_else(|| io::Error::other("it has no input"))?;
    match input.write_all(&line) {
        Ok(()) => Ok(keeper),
        Err(e) => {
            family::end(&mut keeper);
            Err(e)
        }
    }
}

/// The file of this program, also when another has taken its place on disk.
fn this_program() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() }
}

/// Reads what a keeper tells, beside whoever waits for it.
fn listen(keeper: &mut Child, most: u64) -> Receiver<Outcome> {
    let (tell, told) = channel();
    if let Some(output) = keeper.stdout.take() {
        thread::spawn(move || {
            if let Ok(outcome) = read(BufReader::new(output), most) {
                let _ = tell.send(outcome);
            }
        });
    }
    told
}

fn read(from: impl BufRead, most: u64) -> io::Result<Outcome> {
    // More than a report ever has.
    let mut from = from.take(most.saturating_add(1 << 20));
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    let Report { ended, complaint, length } = serde_json::from_slice(&line)?;
    let mut output = Vec::new();
    from.take(length).read_to_end(&mut output)?;
    match output.len() as u64 == length {
        true => Ok(Outcome { ended, output, complaint }),
        false => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}
