//! Which version of an agent works: pinned, rolled back, or tried on a share of the tasks.

use aios_agents::kernel::lot;
use aios_tests::device::{Device, agree, eventually, pair};
use aios_tests::office::Office;

const ASK: &str = "---
type: workflow
steps:
  draft: {agent: writer}
  send: {effect: mail.send, agent: writer, target: ann@example.org, args: {text: '{{ steps.draft.text }}'}}
---
";
const ALLOW: &str = "---
type: policy
rules: [{name: all, verdict: allow, capability: mail.send}]
---
";

fn writer(text: &str) -> String {
    format!(
        "---\ntype: agent\nruntime: template\noutputs: {{type: object, required: [text], properties: {{text: {{type: string}}}}}}\n---\n{{\"text\": {text}}}\n"
    )
}

fn office() -> Office {
    let writer = writer("\"one\"");
    Office::new(&[("workflows/ask.md", ASK), ("policies/all.md", ALLOW), ("agents/writer.md", &writer)])
}

/// Puts a version in force, and says which that is.
fn accept(office: &Office, text: &str) -> String {
    office.write(&[("agents/writer.md", &writer(text))]);
    office.ends(&["accept", "-q"], 0);
    version(office)
}

fn version(office: &Office) -> String {
    office.json(&["agents", "show", "writer"])["version"].as_str().expect("a version").to_owned()
}

/// Has a task done; the mail that it sent.
fn mail(office: &Office, task: &str) -> String {
    office.ends(&["run", "ask", "--task", task], 0);
    let before = office.mails().concat();
    before.lines().last().unwrap_or_default().to_owned()
}

/// How often a version did its work, and failed.
fn counts(office: &Office, version: &str) -> (u64, u64) {
    let show = office.json(&["agents", "show", "writer"]);
    let versions = show["versions"].as_array().expect("a list");
    let found = versions.iter().find(|it| it["version"] == version);
    let count = |key: &str| found.and_then(|it| it["work"][key].as_u64()).unwrap_or(0);
    (count("done"), count("failed"))
}

/// Ids of tasks that are drawn below a share, or not.
fn ids(prefix: &str, share: u32, below: bool) -> impl Iterator<Item = String> {
    (0..).map(move |n| format!("{prefix}{n}")).filter(move |id| (lot("writer", id) < share) == below)
}

#[test]
fn what_is_pinned_works_whatever_is_accepted_and_rollback_is_one_command() {
    let office = office();
    let one = version(&office);
    office.ends(&["run", "ask", "--task", "a"], 0);
    let two = accept(&office, "\"two\"");
    assert_ne!(one, two);
    office.ends(&["run", "ask", "--task", "b"], 0);
    assert_eq!((counts(&office, &one), counts(&office, &two)), ((1, 0), (1, 0)));
    let said = office.ends(&["agents", "rollback", "writer"], 0);
    assert!(said.contains(&format!("version {} works, whatever is accepted", &one[..12])), "{said}");
    office.ends(&["run", "ask", "--task", "c"], 0);
    accept(&office, "\"three\"");
    office.ends(&["run", "ask", "--task", "d"], 0);
    assert_eq!((counts(&office, &one), counts(&office, &two)), ((3, 0), (1, 0)));
    assert!(office.ends(&["agents"], 0).contains("whatever is accepted"));
    office.ends(&["agents", "pin", "writer", &two[..12]], 0);
    office.ends(&["run", "ask", "--task", "e"], 0);
    assert_eq!(counts(&office, &two), (2, 0));
    office.ends(&["agents", "pin", "writer", "--off"], 0);
    assert!(mail(&office, "f").contains("three") || office.mails().concat().contains("three"));
    // What nobody accepted is never a version that works.
    office.write(&[("agents/writer.md", &writer("\"evil\""))]);
    office.ends(&["commit", "-q"], 0);
    let evil = aios_core::id::ContentHash::of(writer("\"evil\"").as_bytes()).hex();
    office.ends(&["agents", "pin", "writer", &evil], 1);
    office.ends(&["agents", "pin", "writer", ""], 1);
    office.ends(&["agents", "pin", "nobody", &one], 1);
    office.ends(&["agents", "pin", "writer"], 2);
    office.is_sound();
}

#[test]
fn a_canary_has_its_share_and_stops_by_itself_when_it_does_worse() {
    let office = office();
    let one = version(&office);
    office.ends(&["agents", "canary", "writer", "10%"], 1);
    office.ends(&["agents", "canary", "writer", "0%"], 2);
    for task in ids("old", 10_000, true).take(8) {
        office.ends(&["run", "ask", "--task", &task], 0);
    }
    // The old version has the work until the new one is tried.
    office.ends(&["agents", "pin", "writer", &one], 0);
    let two = accept(&office, "\"{{ input.nobody }}\"");
    office.ends(&["run", "ask", "--task", "between"], 0);
    office.ends(&["agents", "canary", "writer", "30%"], 0);
    for task in ids("t", 3000, false).take(2) {
        office.ends(&["run", "ask", "--task", &task], 0);
    }
    assert_eq!((counts(&office, &one), counts(&office, &two)), ((11, 0), (0, 0)));
    let mut drawn = ids("t", 3000, true);
    for n in 1..=3 {
        let task = drawn.next().expect("an id");
        office.aios(&["run", "ask", "--task", &task], "");
        assert_eq!(counts(&office, &two), (0, n), "{task}");
    }
    let task = drawn.next().expect("an id");
    office.ends(&["run", "ask", "--task", &task], 0);
    assert_eq!((counts(&office, &one), counts(&office, &two)), ((12, 0), (0, 3)));
    let why = "3 of its 3 tasks went wrong, and 0 of 11 of the old version";
    assert!(office.ends(&["inbox"], 0).contains(why));
    let health: serde_json::Value =
        serde_json::from_str(&office.ends(&["health", "--json"], 4)).expect("a JSON value");
    let findings = health["findings"].as_array().expect("a list");
    assert!(findings.iter().any(|it| it["finding"] == "worse"), "{health}");
    let show = office.json(&["agents", "show", "writer"]);
    assert_eq!(show["release"]["choice"], "canary");
    assert_eq!(show["release"]["stopped"]["new"]["failed"], 3, "{show}");
    // The operator says what works, and nothing needs them any more.
    office.ends(&["agents", "rollback", "writer"], 0);
    assert!(!office.ends(&["inbox"], 0).contains(why));
    assert_eq!(office.json(&["agents", "show", "writer"])["release"]["version"], one.as_str());
    office.is_sound();
}

/// A daemon that has loaded all work hears of the operator's word, and says what it stopped.
#[test]
fn a_daemon_splits_and_stops_as_a_command_does() {
    let office = office();
    let one = version(&office);
    let daemon = office.up("");
    for task in ids("old", 10_000, true).take(8) {
        office.ends(&["run", "ask", "--task", &task], 0);
    }
    office.ends(&["agents", "pin", "writer", &one], 0);
    let two = accept(&office, "\"{{ input.nobody }}\"");
    office.ends(&["agents", "canary", "writer", "50%"], 0);
    for task in ids("t", 5000, true).take(4) {
        office.aios(&["run", "ask", "--task", &task], "");
    }
    assert_eq!((counts(&office, &one), counts(&office, &two)), ((9, 0), (0, 3)));
    eventually("it says so", || daemon.said().contains("has no more tasks"));
}

/// What a new version did on one device stops it on all, and each goes by what the operator said on another.
#[test]
fn all_devices_do_alike() {
    let dir = tempfile::tempdir().expect("a folder");
    let agent = writer("\"one\"");
    let files = [("workflows/ask.md", ASK), ("policies/all.md", ALLOW), ("agents/writer.md", &agent)];
    let laptop = Device::first(dir.path(), &files.map(|(name, text)| (name, text.as_bytes())));
    let other = Device::new(dir.path(), "other");
    pair(&laptop, &other, "laptop", "other");
    let show = |device: &Device| device.json(&["agents", "show", "writer"]);
    let one = show(&laptop)["version"].as_str().expect("a version").to_owned();
    for n in 0..8 {
        laptop.run(&["run", "ask", "--task", &format!("old{n}")]);
    }
    laptop.run(&["agents", "pin", "writer", &one]);
    laptop.write(&[("agents/writer.md", writer("\"{{ input.nobody }}\"").as_bytes())]);
    laptop.run(&["accept", "-q"]);
    laptop.run(&["agents", "canary", "writer", "100%"]);
    let _up = laptop.up();
    other.run(&["sync"]);
    for n in 0..3 {
        let out = other.command(&["run", "ask", "--task", &format!("new{n}")]).output().expect("aios runs");
        assert!(!out.status.success(), "{out:?}");
    }
    other.run(&["sync"]);
    let stopped = |device: &Device| show(device)["release"]["stopped"].clone();
    eventually("the laptop hears of it", || !stopped(&laptop).is_null());
    assert_eq!(stopped(&laptop), stopped(&other));
    laptop.run(&["run", "ask", "--task", "after"]);
    let did = show(&laptop);
    let versions = did["versions"].as_array().expect("a list");
    let old = versions.iter().find(|it| it["version"] == one.as_str()).expect("the old version");
    assert_eq!(old["work"]["done"], 9, "{did}");
    other.run(&["agents", "rollback", "writer"]);
    other.run(&["sync"]);
    eventually("it is pinned everywhere", || show(&laptop)["release"]["version"] == one.as_str());
    agree(&[&laptop, &other]);
}
