//! Components that change things, ask, have others work, and wait for people meanwhile: each call is made once, whatever is killed.

use aios_tests::component::{Calls, calling};
use aios_tests::device::eventually;
use aios_tests::office::Office;
use serde_json::Value;

use super::{points, said};

const FLOW: &str = "---
type: workflow
input: {type: object, properties: {path: {type: string, default: notes/new.md}}}
steps:
  work: {agent: worker, input: '{{ input.path }}', retry: {attempts: 9, first: 10ms, most: 10ms}}
---
";
const WORKER: &str = "---
type: agent
runtime: wasm
component: worker.wasm
reads: ['notes/*']
writes: ['notes/*']
tools: [read, search, write, set, ask]
agents: [greeter, poet]
effects: [file.create, file.set, mail.send]
---
Works.
";
const GREETER: &str = "---
type: agent
runtime: template
inputs: {type: object, required: [client], properties: {client: {type: string}}}
---
Dear {{ input.client | title }}
";
/// A model does its work, and none is set up: it has something to give all the same.
const POET: &str = "---
type: agent
runtime: model
model: large
inputs: {type: object, required: [client], properties: {client: {type: string}}}
template: 'O {{ input.client }}!'
effects: []
---
Write a poem.
";
/// All of it is allowed.
const ALL: &str = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";

const ASK: Calls = Calls { tool: "ask", with: &["Which client?", ""] };
const GREET: Calls = Calls { tool: "agent", with: &["greeter", r#"{"client": "ann"}"#] };
const MAIL: Calls = Calls {
    tool: "propose",
    with: &["mail.send", "ann@example.org", r#"{"subject": "Hi", "text": "Hello"}"#, ""],
};

/// An office with a component that makes these calls.
fn office(worker: &str, calls: &[Calls], files: &[(&str, &str)]) -> Office {
    let mut all = vec![
        ("workflows/flow.md", FLOW),
        ("agents/worker.md", worker),
        ("agents/greeter.md", GREETER),
        ("agents/poet.md", POET),
        ("notes/a.md", "---\nstate: open\n---\nAlpha\n"),
    ];
    all.extend(files);
    let office = Office::new(&[("readme.md", "A company\n")]);
    office.write(&all);
    put(&office, calls);
    office.ends(&["agents", "check"], 0);
    office.ends(&["accept", "-q"], 0);
    office
}

fn put(office: &Office, calls: &[Calls]) {
    std::fs::write(office.root().join("agents/worker.wasm"), calling(calls)).expect("a file");
}

/// What the component of a task gave: a letter for each call.
fn gave(office: &Office, task: &str) -> String {
    let packet = office.json(&["task", "show", task]);
    packet["ended"][1]["came"].as_str().unwrap_or_else(|| panic!("it gave nothing: {packet}")).to_owned()
}

fn text(office: &Office, path: &str) -> String {
    std::fs::read_to_string(office.root().join(path)).expect("it is there")
}

fn approve(office: &Office, task: &str, code: i32) {
    office.ends(&["approve", &office.asks(task).expect("it asks for consent")], code);
}

/// Each thing that it wants waits for a person, days long if need be, in no process; what came of it is told to the component.
#[test]
fn what_a_component_wants_waits_for_the_operator() {
    let calls = [
        ASK,
        Calls { tool: "write", with: &["$0", r#"{"type": "note"}"#, "$1"] },
        Calls { tool: "set", with: &["notes/a.md", r#"{"state": "done"}"#, "- seen"] },
        GREET,
        Calls { tool: "set", with: &["notes/a.md", "", "$4"] },
        Calls { tool: "agent", with: &["poet", r#"{"client": "ann"}"#] },
        Calls { tool: "write", with: &["notes/poem.md", "", "$6"] },
        MAIL,
        Calls { tool: "write", with: &["notes/no.md", "", "never"] },
        Calls { tool: "write", with: &["clients/no.md", "", "never"] },
        Calls { tool: "write", with: &["notes/no.md", "no map", "never"] },
        Calls { tool: "read", with: &["notes/none.md", "1"] },
        Calls { tool: "propose", with: &["bank.pay", "ann", "", "7"] },
        Calls { tool: "agent", with: &["worker", ""] },
    ];
    let office = office(WORKER, &calls, &[]);
    office.ends(&["run", "flow", "--task", "one"], 3);
    assert!(office.ends(&["inbox"], 0).contains("worker asks: Which client?"));
    office.ends(&["answer", "one", "Bram of \"Bram & Co\""], 3);
    assert!(!office.root().join("notes/new.md").exists());
    approve(&office, "one", 3);
    let new = text(&office, "notes/new.md");
    assert!(new.contains("type: note") && new.contains("Bram of \"Bram & Co\""), "{new}");
    approve(&office, "one", 3);
    approve(&office, "one", 3);
    let old = text(&office, "notes/a.md");
    assert!(old.contains("state: done") && old.contains("- seen") && old.contains("Dear Ann"), "{old}");
    approve(&office, "one", 3);
    assert_eq!(text(&office, "notes/poem.md").trim(), "O ann!");
    let told = office.ends(&["task", "show", "one"], 0);
    assert!(told.contains("works from its template, no model is set up"), "{told}");
    approve(&office, "one", 3);
    assert!(office.mails().concat().contains("Hello"));
    office.ends(&["deny", &office.asks("one").expect("it asks"), "--note", "not that"], 0);
    assert_eq!(gave(&office, "one"), "yyyyyyyynnnnnn");
    assert!(!office.root().join("notes/no.md").exists() && !office.root().join("clients/no.md").exists());
    assert_eq!(office.json(&["blame", "notes/new.md"])[0]["actor"], "agent:worker");
    office.ends(&["replay", "one"], 0);
    // Nobody was asked for it who is paid.
    assert!(office.ends(&["cost", "--by", "model"], 0).contains("no model was asked"));
    let tried = office.ends(&["agents", "test", "worker"], 0);
    assert!(tried.contains("ok step work of task one"), "{tried}");
    office.ends(&["undo", "--run", "one"], 0);
    assert!(!office.root().join("notes/new.md").exists());
    assert!(text(&office, "notes/a.md").contains("state: open"));
}

/// Killed anywhere in the middle: each call is made once, and the component comes to the same end.
#[test]
fn a_kill_between_two_calls_makes_none_twice() {
    let calls = [
        Calls { tool: "read", with: &["notes/a.md", "1"] },
        Calls { tool: "write", with: &["$0", "", "$1"] },
        GREET,
        Calls { tool: "set", with: &["$0", "", "$3"] },
        MAIL,
        Calls { tool: "read", with: &["$0", "1"] },
    ];
    let office = office(WORKER, &calls, &[("policies/all.md", ALL)]);
    let traced = office.aios(&["run", "flow", "--task", "trace", "--input", "path=notes/trace.md"], "trace");
    assert_eq!(traced.status.code(), Some(0), "{}", said(&traced));
    let total = usize::try_from(points(&said(&traced))).expect("few points");
    assert!(total > 20, "it passes {total} points");
    let mut killed = 0;
    let all = std::env::var_os("AIOS_CRASH_ALL").is_some();
    let (mut mails, step) = (office.mails().len(), if all { 1 } else { total.div_ceil(4) });
    for point in (1..=total).step_by(step) {
        let (task, path) = (format!("t{point}"), format!("notes/t{point}.md"));
        let run = ["run", "flow", "--task", &task, "--input", &format!("path={path}")];
        killed += usize::from(office.aios(&run, &format!("*=crash@{point}")).status.code().is_none());
        // What was killed in the middle of its work is begun again after a pause.
        let over = || {
            let _ = office.aios(&run, "");
            office.doubtful("unknown").into_iter().for_each(|key| {
                // The mail, or a file: whether it happened is seen.
                let happened = match office.json(&["preview", &key])["capability"].as_str() {
                    Some("mail.send") => office.mails().len() > mails,
                    other => panic!("killed at {point}: nobody knows about {other:?}"),
                };
                let _ = office.aios(&["settle", &key, if happened { "--done" } else { "--not-done" }], "");
            });
            let tasks = office.json(&["tasks"]);
            tasks.as_array().expect("a list").iter().any(|it| it["task"] == *task && it["state"] == "done")
        };
        eventually(&format!("it is over, killed at {point}"), over);
        assert_eq!(gave(&office, &task), "yyyyyy", "killed at {point}");
        assert_eq!(office.mails().len(), mails + 1, "killed at {point}");
        mails += 1;
        assert_eq!(text(&office, &path).matches("Dear Ann").count(), 1, "killed at {point}");
        office.ends(&["replay", &task], 0);
    }
    assert!(killed > 1, "only {killed} processes were killed");
    office.is_sound();
}

/// While it waits another version is accepted, and daemons come and go: it goes on as what it was when it began.
#[test]
fn who_waits_goes_on_as_the_version_that_began() {
    let office =
        office(WORKER, &[ASK, Calls { tool: "write", with: &["$0", "", "$1"] }], &[("policies/all.md", ALL)]);
    let daemon = office.up("");
    office.ends(&["run", "flow", "--task", "one"], 3);
    put(&office, &[GREET]);
    office.ends(&["accept", "-q"], 0);
    drop(daemon);
    let _daemon = office.up("");
    office.ends(&["answer", "one", "Bram"], 0);
    assert_eq!(text(&office, "notes/new.md").trim(), "Bram");
    assert_eq!(gave(&office, "one"), "yy");
    office.ends(&["run", "flow", "--task", "two"], 0);
    assert_eq!(gave(&office, "two"), "y");
}

/// It makes as many calls as its budget says and is done with them; one more ends it.
#[test]
fn a_budget_bounds_the_calls_and_not_what_is_made_of_them() {
    let read = Calls { tool: "read", with: &["notes/a.md", "1"] };
    let worker = |turns: u32| WORKER.replace("tools:", &format!("budget: {{turns: {turns}}}\ntools:"));
    let office = office(&worker(2), &[read, read], &[]);
    office.ends(&["run", "flow", "--task", "one"], 0);
    assert_eq!(gave(&office, "one"), "yy");
    office.write(&[("agents/worker.md", &worker(1))]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "flow", "--task", "two"], 1);
    let packet: Value = office.json(&["task", "show", "two"]);
    let failure = &packet["steps"][0]["failed"][0]["failure"];
    assert_eq!(failure["class"], "budget", "{packet}");
}
