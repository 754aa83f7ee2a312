//! Work with real processes: a workflow from file to mail, killed at points of its commands, and gone on with.
//!
//! `AIOS_CRASH_ALL=1` takes every point in place of some.

#[cfg(target_os = "linux")]
mod attempts;
mod calls;
mod component;
mod consent;
mod placement;
mod policy;
mod program;
mod release;
mod remembered;
mod source;
mod spans;
mod start;
mod turns;
mod versions;
#[cfg(target_os = "linux")]
mod walls;

use std::path::Path;
use std::process::{Command, Output};

use aios_tests::device::{Device, eventually, pair};
use aios_tests::reader;
use serde_json::Value;

use aios_tests::office::Office;

const GREET: &str = "---
type: workflow
input: {type: object, required: [client], properties: {client: {type: string, minLength: 2}}}
steps:
  draft: {agent: writer, input: {client: '{{ input.client }}'}, retry: {attempts: 5, first: 10ms}}
  send: {effect: mail.send, target: '{{ input.client }}@example.org', args: {subject: Hello, text: '{{ steps.draft.text }}'}}
---
";
const WRITER: &str = "---\ntype: agent\nruntime: template\n---\nDear {{ input.client | title }},\n";

/// Mails go into a maildir, where nobody knows a mail again that was taken out.
const MAILDIR: &str = "---\ntype: connector\nprovides: mail.send\nkind: maildir\n---\n";

/// How many points a command passes.
fn points(said: &str) -> u64 {
    said.lines().filter(|line| line.starts_with("fault: ")).count() as u64
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn nothing_is_sent_without_consent_and_once_with_it() {
    let office = Office::new(&[("agents/writer.md", WRITER)]);
    office.write(&[("workflows/greet.md", GREET)]);
    let said = office.aios(&["run", "greet", "--input", "client=ann"], "");
    assert_eq!(said.status.code(), Some(1), "a workflow that is not accepted is not in force");
    office.ends(&["accept", "-q"], 0);
    assert_eq!(office.aios(&["run", "greet"], "").status.code(), Some(1), "its input is checked");
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    office.ends(&["run", "greet", "--task", "two", "--input", "client=bob"], 3);
    assert_eq!(office.mails(), Vec::<String>::new());
    let one = office.asks("one").expect("it asks");
    office.ends(&["approve", &one], 0);
    office.ends(&["deny", &office.asks("two").expect("it asks"), "--note", "not now"], 0);
    let mails = office.mails();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("To: ann@example.org\r\n") && mails[0].contains("Dear Ann,"), "{}", mails[0]);
    assert_eq!(office.aios(&["approve", &one], "").status.code(), Some(2), "consent is used once");
    let tasks = office.json(&["tasks"]);
    assert_eq!((&tasks[0]["state"], &tasks[1]["state"]), (&"done".into(), &"stuck".into()), "{tasks}");
    let trail = office.ends(&["log", "--json"], 0);
    assert!(trail.contains("approval.granted") && trail.contains("effect.intended"));
    assert!(office.aios(&["verify", "--deep"], "").status.success());
    reader::check(Path::new(&office.root()));
}

/// A process that is killed between the act and what is known of it leaves a question, and nobody guesses the answer.
#[test]
fn what_nobody_knows_the_operator_settles() {
    let files =
        [("workflows/greet.md", GREET), ("agents/writer.md", WRITER), ("connectors/mail.md", MAILDIR)];
    let office = Office::new(&files);
    for (task, fault, happened) in
        [("gone", "post.delivered=crash", true), ("not", "disk.rename=crash", false)]
    {
        let client = format!("client={task}");
        office.ends(&["run", "greet", "--task", task, "--input", &client], 3);
        let key = office.asks(task).expect("it asks");
        assert_eq!(office.aios(&["approve", &key], fault).status.code(), None, "it was killed");
        assert_eq!(office.sent_to(task), usize::from(happened), "{fault}");
        if happened {
            assert!(ledgers(&office).contains(&key), "what was begun stands in the ledger");
        }
        assert_eq!(office.doubtful("unknown"), Some(key.clone()), "at once");
        // Nobody does it again by himself.
        office.ends(&["run"], 3);
        assert_eq!(office.sent_to(task), usize::from(happened));
        assert_eq!(office.doubtful("unknown"), Some(key.clone()));
        let told = office.ends(&["inbox"], 0);
        assert!(told.contains("Message-ID") && told.contains("aios settle"), "{told}");
        assert_eq!(office.aios(&["settle", &key], "").status.code(), Some(2), "it has to be said");
        office.ends(&["settle", &key, if happened { "--done" } else { "--not-done" }], 0);
        assert_eq!(office.sent_to(task), 1);
        assert_eq!(office.aios(&["settle", &key, "--done"], "").status.code(), Some(2), "it is settled");
    }
    assert!(office.aios(&["verify", "--deep"], "").status.success());
    reader::check(Path::new(&office.root()));
}

/// What stands in the ledgers of all devices of this machine.
fn ledgers(office: &Office) -> String {
    let devices = std::fs::read_dir(office.dir.path().join("keys/devices")).expect("the devices");
    let ledgers = devices.map(|it| it.expect("a device").path().join("ledger"));
    ledgers.filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Under other keys it is the same device that did it.
#[test]
fn a_device_that_rotates_takes_its_ledger_along() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    let key = office.asks("one").expect("it asks");
    office.ends(&["approve", &key], 0);
    assert_eq!(ledgers(&office).matches(&key).count(), 1);
    office.ends(&["devices", "rotate"], 0);
    assert_eq!(ledgers(&office).matches(&key).count(), 2);
}

/// A folder that comes back from a backup does not know what was done since; the ledger does.
#[test]
fn a_vault_from_an_older_copy_does_nothing_before_it_knows_what_was_done() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    let backup = office.dir.path().join("backup");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs").success());
    };
    copy(&office.root(), &backup);
    office.ends(&["approve", &office.asks("one").expect("it asks")], 0);
    assert_eq!(office.mails().len(), 1);
    std::fs::remove_dir_all(office.root()).expect("it can be lost");
    copy(&backup, &office.root());
    office.ends(&["run", "greet", "--task", "two", "--input", "client=bob"], 3);
    // It cannot know whether the folder that it was goes on elsewhere, and sends mails.
    assert_eq!(office.asks("two"), None);
    office.ends(&["connector", "home", "mail.send"], 0);
    let said = office.aios(&["approve", &office.asks("two").expect("it asks")], "");
    assert_eq!(said.status.code(), Some(3));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("its log does not know"), "{said}");
    assert_eq!(office.sent_to("bob"), 0);
    let lost = office.doubtful("lost").expect("the inbox says so");
    office.ends(&["settle", &lost, "--done"], 3);
    assert_eq!((office.sent_to("ann"), office.sent_to("bob")), (1, 1));
    assert_eq!(office.doubtful("lost"), None);
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

#[test]
fn a_kill_at_any_point_is_gone_on_from() {
    for connector in [None, Some(("connectors/mail.md", MAILDIR))] {
        killed_anywhere(connector);
    }
}

fn killed_anywhere(connector: Option<(&str, &str)>) {
    let mut files = vec![("workflows/greet.md", GREET), ("agents/writer.md", WRITER)];
    files.extend(connector);
    let office = Office::new(&files);
    let started = office.aios(&["run", "greet", "--task", "trace", "--input", "client=trace"], "trace");
    let approved = office.aios(&["approve", &office.asks("trace").expect("it asks")], "trace");
    let total = points(&said(&started)).max(points(&said(&approved)));
    assert!(total > 5, "the commands pass points");
    let step = if std::env::var_os("AIOS_CRASH_ALL").is_some() { 1 } else { total.div_ceil(8) };
    let mut killed = 0;
    for point in (1..=total).step_by(usize::try_from(step).expect("small")) {
        let (task, client) = (format!("t{point}"), format!("client=c{point}"));
        let run = ["run", "greet", "--task", &task, "--input", &client];
        let fault = format!("*=crash@{point}");
        killed += u64::from(office.aios(&run, &fault).status.code().is_none());
        office.ends(&run, 3);
        let key = office.asks(&task).expect("it asks");
        killed += u64::from(office.aios(&["approve", &key], &fault).status.code().is_none());
        if let Some(key) = office.asks(&task) {
            office.ends(&["approve", &key], 0);
        }
        let sent = || office.sent_to(&format!("c{point}"));
        office.aios(&["run", "greet", "--task", &task], "");
        assert!(sent() <= 1, "killed at point {point}");
        if let Some(key) = office.doubtful("unknown") {
            office.ends(&["settle", &key, if sent() == 1 { "--done" } else { "--not-done" }], 0);
        }
        office.ends(&["run", "greet", "--task", &task], 0);
        assert_eq!(sent(), 1, "killed at point {point}");
    }
    assert!(killed > 3, "only {killed} processes were killed");
    assert!(office.aios(&["verify", "--deep"], "").status.success());
    reader::check(Path::new(&office.root()));
}

const LATER: &str = "---
type: workflow
steps:
  rest: {wait: 2s}
  send: {effect: mail.send, target: later@example.org, args: {text: Hello}}
---
";
const ALLOW: &str = "---
type: policy
rules:
  - {name: all, verdict: allow, capability: mail.send}
---
";

#[test]
fn a_daemon_does_the_work_and_commands_see_what_came_of_it() {
    let office = Office::new(&[
        ("workflows/greet.md", GREET),
        ("agents/writer.md", WRITER),
        ("connectors/mail.md", MAILDIR),
    ]);
    let mut daemon = office.up("trace");
    let approve = |task: &str, client: &str| {
        office.ends(&["run", "greet", "--task", task, "--input", &format!("client={client}")], 3);
        let key = office.asks(task).expect("it asks");
        let out = office.aios(&["approve", &key], "trace");
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        let told = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(told.contains(&format!("task {task} greet: done")), "{told}");
        said(&out)
    };
    let out = approve("one", "ann");
    assert_eq!(office.sent_to("ann"), 1);
    let delivered = |said: &str| said.lines().any(|line| line.contains("post.delivered"));
    assert!(delivered(&daemon.said()) && !delivered(&out), "the daemon alone performs effects");
    // Without it, or where it is away for good, commands do it.
    assert!(daemon.runs());
    drop(daemon);
    assert!(delivered(&approve("two", "bob")));
    assert_eq!((office.sent_to("ann"), office.sent_to("bob")), (1, 1));
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

#[test]
fn a_daemon_goes_on_when_a_timer_is_due_and_after_a_kill() {
    let office = Office::new(&[("workflows/later.md", LATER), ("policies/all.md", ALLOW)]);
    let daemon = office.up("");
    // The command waits for it, too, if it is not killed.
    let mut command = office.command(&["run", "later", "--task", "one"], "").spawn().expect("aios runs");
    eventually("the daemon has it", || office.ends(&["log", "--json"], 0).contains("step.started"));
    command.kill().and_then(|()| command.wait()).expect("it can be killed");
    eventually("the mail is sent", || office.sent_to("later") == 1);
    eventually("the task is done", || office.json(&["tasks"])[0]["state"] == "done");
    drop(daemon);
    office.is_sound();
}

/// The daemon dies at any point of the work; the next one goes on, and what is sent is sent once.
#[test]
fn a_daemon_that_is_killed_anywhere_sends_once() {
    let office = Office::new(&[
        ("workflows/greet.md", GREET),
        ("agents/writer.md", WRITER),
        ("connectors/mail.md", MAILDIR),
    ]);
    let prepare = |task: &str| {
        office.ends(&["run", "greet", "--task", task, "--input", &format!("client={task}")], 3);
        office.asks(task).expect("it asks")
    };
    let key = prepare("trace");
    let daemon = office.up("trace");
    let from = points(&daemon.said());
    office.ends(&["approve", &key], 0);
    let to = points(&daemon.said());
    drop(daemon);
    let span = to - from;
    assert!(span > 5, "work passes points");
    let step = if std::env::var_os("AIOS_CRASH_ALL").is_some() { 1 } else { span.div_ceil(9) };
    let faults = (from..=to).step_by(usize::try_from(step).expect("small")).map(|n| format!("*=crash@{n}"));
    let mut killed = 0;
    for (n, fault) in faults.chain(["post.delivered=crash".to_owned()]).enumerate() {
        let task = format!("c{n}");
        let key = prepare(&task);
        let mut daemon = office.up(&fault);
        // Whether the command is told what came of it hangs on when the daemon dies.
        office.aios(&["approve", &key], "");
        killed += u64::from(!daemon.runs());
        drop(daemon);
        if office.asks(&task).is_some() {
            office.ends(&["approve", &key], 0);
        }
        let daemon = office.up("");
        office.aios(&["run"], "");
        assert!(office.sent_to(&task) <= 1, "{fault}");
        if let Some(key) = office.doubtful("unknown") {
            let answer = if office.sent_to(&task) == 1 { "--done" } else { "--not-done" };
            office.ends(&["settle", &key, answer], 0);
        }
        assert_eq!(office.sent_to(&task), 1, "{fault}");
        drop(daemon);
    }
    assert!(killed > 3, "only {killed} daemons were killed");
    office.is_sound();
    reader::check(Path::new(&office.root()));
}

const CHASE: &str = "---
type: workflow
on:
  - {entity: created, type: invoice, where: entity.amount > 10}
  - {entity: changed, type: invoice, where: entity.state == 'late'}
input: {type: object, required: [client], properties: {client: {type: string}, amount: {type: number}}}
steps:
  send: {effect: mail.send, target: '{{ input.client }}@example.org', args: {text: '{{ input.amount }}'}}
---
";

/// Wherever an invoice is written, the device that coordinates works on what it starts, and no other does.
#[test]
fn what_an_entity_starts_is_done_by_one_device() {
    let dir = tempfile::tempdir().expect("a folder");
    let files: [(&str, &[u8]); 2] =
        [("workflows/chase.md", CHASE.as_bytes()), ("policies/all.md", ALLOW.as_bytes())];
    let laptop = Device::first(dir.path(), &files);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    let daemons = [laptop.up(), phone.up()];
    let invoice = |amount: u32, state: &str| {
        format!("---\ntype: invoice\nclient: ann\namount: {amount}\nstate: {state}\n---\n")
    };
    phone.write(&[("invoices/small.md", invoice(5, "open").as_bytes())]);
    phone.write(&[("invoices/large.md", invoice(50, "open").as_bytes())]);
    let mails = |device: &str| {
        let entries = std::fs::read_dir(dir.path().join(format!("{device}.outbox"))).into_iter().flatten();
        entries
            .filter(|it| it.as_ref().is_ok_and(|it| it.path().extension().is_some_and(|it| it == "eml")))
            .count()
    };
    eventually("the mail for the new one is sent", || mails("laptop") == 1);
    eventually("the file is there", || laptop.read("invoices/large.md") == invoice(50, "open"));
    laptop.write(&[("invoices/large.md", invoice(50, "late").as_bytes())]);
    eventually("the mail for the change is sent", || mails("laptop") == 2);
    let ended = |device: &Device| {
        let tasks = device.json(&["tasks"]);
        let tasks = tasks.as_array().expect("a list");
        tasks.iter().filter(|it| it["state"] == "done" && it["device"] == "laptop").count() == 2
            && tasks.len() == 2
    };
    eventually("both know of both", || ended(&laptop) && ended(&phone));
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    // Whoever looks at it again starts nothing anew: not a new process, not one whose database was made anew.
    assert!(laptop.run(&["rebuild", "-q"]).status.success());
    assert_eq!(laptop.run(&["run"]).status.code(), Some(0));
    assert_eq!(phone.run(&["run"]).status.code(), Some(0));
    assert_eq!((mails("laptop"), mails("phone")), (2, 0));
    assert!(ended(&laptop));
}

/// What one device is to do another may be asked for: the operator's word counts wherever it is given.
#[test]
fn consent_is_given_on_any_device() {
    let dir = tempfile::tempdir().expect("a folder");
    let files: [(&str, &[u8]); 2] =
        [("workflows/greet.md", GREET.as_bytes()), ("agents/writer.md", WRITER.as_bytes())];
    let laptop = Device::first(dir.path(), &files);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    let daemons = [laptop.up(), phone.up()];
    phone.fails(&["run", "greet", "--input", "client=ann", "--on", "nobody"], 2);
    phone.fails(&["run", "greet", "--task", "one", "--input", "client=ann", "--on", "laptop"], 3);
    let asked = || {
        let needs = phone.json(&["inbox"]);
        needs.as_array().expect("a list").first().map(|need| need["key"].as_str().expect("a key").to_owned())
    };
    eventually("the laptop asks, and the phone hears of it", || asked().is_some());
    // Not confirmed, where the laptop has not sent it yet when the command ends.
    let approved = phone.run(&["approve", &asked().expect("it asks")]);
    let said = String::from_utf8_lossy(&approved.stderr).into_owned();
    assert!(matches!(approved.status.code(), Some(0 | 3)), "{}: {said}", approved.status);
    let done = |device: &Device| device.json(&["tasks"])[0]["state"] == "done";
    eventually("the laptop has sent it, and both know", || done(&laptop) && done(&phone));
    let sent = |device: &str| {
        std::fs::read_dir(dir.path().join(format!("{device}.outbox"))).map_or(0, Iterator::count)
    };
    assert_eq!((sent("laptop"), sent("phone")), (1, 0));
    assert_eq!(phone.json(&["inbox"]), Value::Array(Vec::new()));
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
}

/// Whoever asks what failed silently is told, with the exit code of a finding, and nothing is changed by the question.
#[test]
fn health_tells_what_nobody_asked_for() {
    let lazy = "---\ntype: workflow\nsteps: {rest: {wait: 1ms}}\n---\n";
    let office = Office::new(&[
        ("workflows/greet.md", GREET),
        ("workflows/lazy.md", lazy),
        ("workflows/keen.md", &lazy.replace("steps:", "expect: effects > 0\nsteps:")),
        ("agents/writer.md", WRITER),
    ]);
    assert_eq!(office.json(&["health"])["findings"], serde_json::json!([]));
    for workflow in ["lazy", "keen"] {
        office.ends(&["run", workflow, "--task", workflow], 0);
    }
    // One that asks is not silent.
    office.ends(&["run", "greet", "--task", "first", "--input", "client=bram"], 3);
    let before = office.json(&["status"])["state"].clone();
    let said: Value = serde_json::from_str(&office.ends(&["health", "--json"], 4)).expect("a JSON value");
    let of =
        |name: &str| said["findings"].as_array().expect("a list").iter().find(|it| it["finding"] == name);
    let (fruitless, unmet) = (of("fruitless").expect("one"), of("unmet").expect("one"));
    assert_eq!(said["findings"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!((&fruitless["task"], &unmet["task"]), (&"lazy".into(), &"keen".into()));
    assert!(said["since"].as_u64() < fruitless["at"].as_u64() && fruitless["next"][0] == "aios replay lazy");
    assert!(office.ends(&["health"], 4).starts_with("unmet workflow keen ended"), "the gravest first");
    office.ends(&["health", "--since", "tomorrow"], 2);
    assert_eq!(office.json(&["status"])["state"], before);
}

/// A task stands still whatever process looks at it, is not asked about, and asks for the same again when it goes on.
#[test]
fn a_task_stands_still_and_goes_on() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.ends(&["run", "greet", "--task", "first", "--input", "client=bram"], 3);
    let key = office.asks("first").expect("it asks");
    office.ends(&["task", "pause", "first"], 3);
    assert_eq!(office.asks("first"), None);
    assert_eq!(office.json(&["health"])["findings"], serde_json::json!([]));
    // What is not asked cannot be answered.
    assert!(!office.aios(&["approve", &key], "").status.success());
    office.ends(&["run"], 3);
    let tasks: Value = serde_json::from_str(&office.ends(&["tasks", "--json"], 0)).expect("a JSON value");
    assert_eq!((&tasks[0]["state"], office.sent_to("bram")), (&"paused".into(), 0));
    office.ends(&["task", "resume", "first"], 3);
    office.ends(&["approve", &key], 0);
    assert_eq!(office.sent_to("bram"), 1);
    for command in ["pause", "resume"] {
        office.ends(&["task", command, "first"], 1);
    }
}
