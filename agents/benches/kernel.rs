//! What the kernel costs with a long past: `cargo bench -p aios-agents --bench kernel`. `AIOS_BENCH_PAST` and `AIOS_BENCH_WAITING` set how
//! many tasks are over and how many wait.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aios_agents::event::{Came, Content, EffectKey, Outcome, WorkEvent, digest};
use aios_agents::kernel::{Action, By, Connector, Image, Input, Kernel, Remembered, Setting};
use aios_agents::policy::{Policies, Policy, Verdict};
use aios_agents::table::{Bytes, Title};
use aios_agents::workflow::{Known, Workflow};
use aios_core::clock::{Hlc, Stamp};
use aios_core::event::Event;
use aios_core::id::{ContentHash, DeviceId, VaultId};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

const VAULT: VaultId = VaultId([7; 32]);
const HERE: DeviceId = DeviceId([1; 32]);
const START: u64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;

const MAIL: &str = "---
type: workflow
steps:
  send: {effect: mail.send, target: ann, amount: 1.00, args: {}}
---
";
const WAIT: &str = "---
type: workflow
steps:
  rest: {wait: 365d}
---
";
const POLICY: &str = "---
type: policy
rules:
  - name: mails
    verdict: allow
    capability: mail.send
    caps: [{count: 100000, per: day}]
    zone: UTC
    rate: {count: 5000, per: hour}
---
";

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// The run of a task on this device, as the kernel names it.
fn run_id(task: &str) -> String {
    ContentHash::of(format!("aios-run-v1\n{VAULT}\n{task}\n{HERE}").as_bytes()).short(32)
}

/// The records of a task that sent a mail.
fn past(task: &str, version: ContentHash) -> Vec<Vec<WorkEvent>> {
    let key = EffectKey::of(&VAULT, task, "send", 0);
    let (task, run, step) = (task.to_owned(), run_id(task), "send".to_owned());
    let content = Content {
        capability: "mail.send".into(),
        target: "ann".into(),
        args: json!({}),
        amount: "1.00".parse().ok(),
        agent: None,
        tags: Vec::new(),
    };
    let (what, capability) = (content.digest(&key), "mail.send".to_owned());
    let result = json!({"id": "x"});
    vec![
        vec![created(&task, "mail", version)],
        vec![WorkEvent::RunStarted { task: task.clone(), run: run.clone(), made: None }],
        vec![
            WorkEvent::StepStarted {
                agent: None,
                task: task.clone(),
                run: run.clone(),
                step: step.clone(),
                attempt: 1,
                input: what,
                items: None,
                until: None,
            },
            WorkEvent::EffectProposed {
                key,
                task: task.clone(),
                run: run.clone(),
                step: step.clone(),
                generation: 0,
                content,
            },
        ],
        vec![WorkEvent::EffectDecided {
            key,
            digest: what,
            capability: capability.clone(),
            verdict: Verdict::Allow,
            rule: Some("policies/mail.md#mails".into()),
            why: "the first rule that fits says allow".into(),
        }],
        vec![WorkEvent::EffectIntended { key, attempt: 1, digest: what, capability }],
        vec![WorkEvent::EffectEnded { key, attempt: 1, came: Came::Done { result: result.clone() } }],
        vec![WorkEvent::StepFinished {
            task: task.clone(),
            run: run.clone(),
            step,
            result: result.clone(),
            go: None,
        }],
        vec![WorkEvent::RunEnded { task, run, outcome: Outcome::Done, result }],
    ]
}

/// The records of a task that waits for time to pass.
fn waiting(task: &str, version: ContentHash, until: u64) -> Vec<Vec<WorkEvent>> {
    let (task, run) = (task.to_owned(), run_id(task));
    vec![
        vec![created(&task, "wait", version)],
        vec![WorkEvent::RunStarted { task: task.clone(), run: run.clone(), made: None }],
        vec![WorkEvent::StepStarted {
            agent: None,
            task,
            run,
            step: "rest".into(),
            attempt: 1,
            input: digest(&Value::Null),
            items: None,
            until: Some(until),
        }],
    ]
}

fn created(task: &str, workflow: &str, version: ContentHash) -> WorkEvent {
    WorkEvent::TaskCreated {
        task: task.to_owned(),
        workflow: workflow.into(),
        version,
        input: json!({}),
        parent: None,
        on: None,
        trigger: None,
    }
}

/// Gives a kernel records one after the other.
struct Log {
    kernel: Kernel,
    seq: u64,
    events: u64,
    /// How long the kernel took.
    took: Duration,
}

impl Log {
    fn load(&mut self, at: u64, work: &[WorkEvent]) {
        let events: Vec<Event> = work.iter().map(|it| Event::try_from(it).expect("an event")).collect();
        let stamp = self.stamp(at);
        self.events += events.len() as u64;
        let begin = Instant::now();
        self.kernel.load(stamp, &events);
        self.took += begin.elapsed();
    }

    fn stamp(&mut self, at: u64) -> Stamp {
        self.seq += 1;
        Stamp::new(Hlc(at, 0), HERE, self.seq)
    }

    /// Carries all on, with what the kernel wants recorded and done; how many records that took.
    fn drive(&mut self, first: Input, now: u64) -> usize {
        let mut inputs = vec![first];
        let mut records = 0;
        while let Some(input) = inputs.pop() {
            for action in self.kernel.handle(input) {
                match action {
                    Action::Append(work) => {
                        records += 1;
                        let events = work.iter().map(|it| Event::try_from(it).expect("an event")).collect();
                        inputs.push(Input::Recorded { stamp: self.stamp(now), events });
                    }
                    Action::Perform { key, attempt, .. } => {
                        inputs.push(Input::Performed {
                            key,
                            attempt,
                            came: Came::Done { result: json!({}) },
                        });
                    }
                    _ => {}
                }
            }
        }
        records
    }
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn say(what: &str, took: Duration) {
    println!("| {what} | {:.3} ms |", took.as_secs_f64() * 1000.0);
}

/// The most memory that this process had, in MB.
fn most_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn time(work: &mut dyn FnMut()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// A process of its own that goes on from what another remembered in a folder.
fn goes_on(folder: &Path) {
    println!("{} MB before anything is read", resident_mb());
    let head = std::fs::read(folder.join("head")).expect("what was remembered");
    let now = String::from_utf8(std::fs::read(folder.join("now")).expect("a time")).expect("a number");
    let now: u64 = now.parse().expect("a number");
    let mut begun = None;
    let load = time(&mut || {
        let read = Image::read(&head, &|title| open(folder, title)).expect("an image");
        begun = Some(Kernel::from_image(VAULT, HERE, setting(), 1, read));
    });
    say("a process of its own goes on", load);
    let mut kernel = begun.expect("a kernel");
    say("its first look", time(&mut || _ = kernel.handle(Input::Tick { now })));
    say("its inbox", time(&mut || _ = (kernel.inbox().len(), kernel.needed_elsewhere().len())));
    println!("{} MB, at most {} MB", resident_mb(), most_mb());
    let since = now - DAY;
    let place =
        aios_agents::health::Place { here: HERE, members: Vec::new(), sources: Vec::new(), now, since };
    say("its health", time(&mut || _ = kernel.health(&place).len()));
    say("once more", time(&mut || _ = kernel.health(&place).len()));
    println!("{} MB, at most {} MB", resident_mb(), most_mb());
    assert_eq!(kernel.fault(), None);
}

fn setting() -> Setting {
    let mut setting = Setting { maker: Some(HERE), coordinator: Some(HERE), ..Setting::default() };
    for (name, text) in [("mail", MAIL), ("wait", WAIT)] {
        let version = ContentHash::of(text.as_bytes());
        setting.versions.insert(version, Workflow::read(text, &Known::default()).expect("a workflow"));
        setting.current.insert(name.into(), version);
    }
    let policy = Policy::read("policies/mail.md", POLICY, jiff::tz::db());
    assert!(policy.is_ok(), "{policy:?}");
    setting.policies = Policies::of(vec![("policies/mail.md".into(), policy)]);
    setting.connectors.insert("mail.send".into(), Connector::default());
    setting
}

fn main() {
    if let Some(folder) = std::env::var_os("AIOS_BENCH_FROM") {
        return goes_on(Path::new(&folder));
    }
    let (past_tasks, waiting_tasks) =
        (number("AIOS_BENCH_PAST", 1_000_000), number("AIOS_BENCH_WAITING", 100_000));
    let [mail, wait] = [MAIL, WAIT].map(|text| ContentHash::of(text.as_bytes()));
    let setting = setting();
    let kernel = Kernel::new(VAULT, HERE, setting.clone(), 1);
    let mut log = Log { kernel, seq: 0, events: 0, took: Duration::ZERO };
    // A thousand a day, so that a window is a thousandth of all.
    let mut now = START;
    for n in 0..past_tasks {
        now += DAY / 1000;
        past(&format!("p{n}"), mail).iter().for_each(|work| log.load(now, work));
    }
    for n in 0..waiting_tasks {
        let until = now + 365 * DAY + n as u64;
        waiting(&format!("w{n}"), wait, until).iter().for_each(|work| log.load(now, work));
    }
    let rate = log.events as f64 / log.took.as_secs_f64();
    println!("{past_tasks} past tasks, {waiting_tasks} waiting, {} events, {} MB", log.events, resident_mb());
    println!("| what | took |\n|---|---|");
    println!("| fold | {:.1} s, {rate:.0} events per second |", log.took.as_secs_f64());

    now += 1;
    let mut left = Vec::new();
    say("the first look at all that was loaded", time(&mut || left = log.kernel.handle(Input::Tick { now })));
    assert!(left.len() < 2, "all that is to do is to wait, and not {:?}", &left[..2]);
    say("one more tick", time(&mut || _ = log.kernel.handle(Input::Tick { now: now + 1 })));
    say("inbox", time(&mut || _ = (log.kernel.inbox().len(), log.kernel.needed_elsewhere().len())));
    say("habits that inbox suggests rules by", time(&mut || _ = log.kernel.habits().len()));
    say("cost of the last day", time(&mut || _ = log.kernel.spend(By::Capability, now - DAY).len()));
    say("caps", time(&mut || _ = log.kernel.caps(now).len()));
    let since = now - DAY;
    say("latencies of the last day", time(&mut || _ = log.kernel.latencies(since).len()));
    let place =
        aios_agents::health::Place { here: HERE, members: Vec::new(), sources: Vec::new(), now, since };
    say("health", time(&mut || _ = log.kernel.health(&place).len()));
    say(
        "a note of the last day",
        time(&mut || {
            _ = log.kernel.pages(&TimeZone::UTC, since, now + DAY).len();
        }),
    );
    // A new task, from its making to its end: the cap of a day and the rate of an hour are looked at.
    let mut took: Vec<Duration> = (0..1000)
        .map(|n| {
            let task = format!("n{n}");
            let made = log.kernel.create(&task, "mail", json!({}), None).expect("a task");
            let events = vec![Event::try_from(&made).expect("an event")];
            let stamp = log.stamp(now);
            let begin = Instant::now();
            let records = log.drive(Input::Recorded { stamp, events }, now);
            let ended = log.kernel.tables().task(&task).is_some_and(|it| it.ended.is_some());
            assert!(ended, "{task} is not done in {records} records: {:?}", log.kernel.inbox());
            begin.elapsed()
        })
        .collect();
    took.sort();
    say("a task with one effect, p50", took[500]);
    say("a task with one effect, p99", took[990]);
    // Another process goes on from what this one remembers.
    let folder = std::env::temp_dir().join(format!("aios-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let mut head = remember(&folder, &log.kernel, "remember all");
    drop(log);
    println!("{} MB when nothing is left", resident_mb());
    std::fs::write(folder.join("head"), &head).expect("a file");
    std::fs::write(folder.join("now"), now.to_string()).expect("a file");
    let own = std::env::current_exe().expect("this program");
    let ended = std::process::Command::new(own).env("AIOS_BENCH_FROM", &folder).status();
    assert!(ended.expect("another process").success());
    for begin in ["go on from that", "once more, after a task"] {
        let mut again = None;
        let load = time(&mut || {
            let read = Image::read(&head, &|title| open(&folder, title)).expect("an image");
            again = Some(Kernel::from_image(VAULT, HERE, setting.clone(), 1, read));
        });
        say(begin, load);
        let kernel = again.expect("a kernel");
        let mut log = Log { kernel, seq: u64::MAX / 2, events: 0, took: Duration::ZERO };
        now += 2;
        say("its first look", time(&mut || _ = log.kernel.handle(Input::Tick { now })));
        say("its inbox", time(&mut || _ = (log.kernel.inbox().len(), log.kernel.needed_elsewhere().len())));
        println!("{} MB", resident_mb());
        let task = format!("after {begin}");
        let made = log.kernel.create(&task, "mail", json!({}), None).expect("a task");
        let events = vec![Event::try_from(&made).expect("an event")];
        let stamp = log.stamp(now);
        say("a task", time(&mut || _ = log.drive(Input::Recorded { stamp, events: events.clone() }, now)));
        say("one past task", time(&mut || _ = log.kernel.packet(&format!("p{}", past_tasks / 2))));
        say("cost of the last day", time(&mut || _ = log.kernel.spend(By::Capability, now - DAY).len()));
        say("health", time(&mut || _ = log.kernel.health(&place).len()));
        println!("{} MB", resident_mb());
        head = remember(&folder, &log.kernel, "remember what came since");
        assert_eq!(log.kernel.fault(), None);
    }
    std::fs::remove_dir_all(&folder).expect("to be removed");
}

/// A run as a file.
#[derive(Debug)]
struct Lying(std::fs::File);

impl Bytes for Lying {
    fn read(&self, at: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        std::os::unix::fs::FileExt::read_exact_at(&self.0, &mut bytes, at)?;
        Ok(bytes)
    }
}

fn open(folder: &Path, title: &Title) -> std::io::Result<Arc<dyn Bytes>> {
    Ok(Arc::new(Lying(std::fs::File::open(folder.join(title.hash.to_string()))?)))
}

/// Writes what a kernel knows as a device does, and gives what an image is read from.
fn remember(folder: &Path, kernel: &Kernel, what: &str) -> Vec<u8> {
    let begin = Instant::now();
    let new = folder.join("new");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&new).expect("a file"));
    let Remembered { head, runs } = kernel.image(&mut out, false).expect("an image");
    out.into_inner().expect("all of it").sync_all().expect("to be synced");
    std::fs::rename(&new, folder.join(runs[0].hash.to_string())).expect("to be named");
    say(what, begin.elapsed());
    let sizes: Vec<u64> = runs.iter().map(|title| title.size >> 10).collect();
    println!("{} KB of head, runs of {sizes:?} KB", head.len() >> 10);
    head
}
