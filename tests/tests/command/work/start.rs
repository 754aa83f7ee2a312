//! How work is started and looked for: agents by themselves, input from files, waiting for the end, tasks by their state.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use aios_tests::office::Office;

const WRITER: &str = "---
type: agent
runtime: template
inputs: {type: object, required: [client], properties: {client: {type: string}, days: {type: integer, default: 14}}}
---
Dear {{ input.client | title }}, {{ input.days + 1 }} days.
";
const LATER: &str = "---
type: workflow
input: {type: object, properties: {client: {type: string}}}
steps:
  rest: {wait: 600ms}
  draft: {agent: writer, input: {client: '{{ input.client }}'}}
---
";
const ASK: &str = "---\ntype: workflow\nsteps:\n  send: {effect: mail.send, target: ann@example.org, args: {text: hi}}\n---\n";

fn tasks(office: &Office, state: &str) -> Vec<String> {
    let told = office.json(&["tasks", "--state", state]);
    let rows = told.as_array().expect("a list").iter();
    rows.map(|row| row["task"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn an_agent_works_by_itself_and_what_waits_is_waited_for() {
    let office = Office::new(&[("agents/writer.md", WRITER), ("workflows/later.md", LATER)]);
    // Held to what the agent takes, before there is a task.
    for wrong in
        [vec!["run", "writer"], vec!["run", "writer", "--input", "client=ann", "--input", "days=soon"]]
    {
        let said = office.aios(&wrong, "");
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        assert!(String::from_utf8_lossy(&said.stderr).contains("hint:"), "{said:?}");
    }
    assert_eq!(office.json(&["tasks"]), json!([]));
    office.ends(&["run", "writer", "--task", "one", "--input", "client=ann", "--input", "days=3"], 0);
    let shown = office.ends(&["task", "show", "one"], 0);
    assert!(shown.contains("Dear Ann, 4 days."), "{shown}");
    let replayed = office.json(&["replay", "one"]);
    assert_eq!(replayed["difference"], Value::Null, "{replayed}");
    // It is known to whoever opens the vault, also once the agent is gone.
    std::fs::remove_file(office.root().join("agents/writer.md")).expect("a file that goes");
    office.ends(&["accept", "-q"], 0);
    assert_eq!(office.json(&["replay", "one"])["difference"], Value::Null);
    assert_eq!(office.aios(&["run", "writer", "--input", "client=ann"], "").status.code(), Some(1));
    office.write(&[("agents/writer.md", WRITER)]);
    office.ends(&["accept", "-q"], 0);

    // From a file, YAML or JSON, and from a pipe; what stands on the command line counts more.
    office.write(&[("given.yaml", "client: bob\ndays: 1\n"), ("given.json", "{\"client\": \"cem\"}")]);
    let given = ["run", "writer", "--task", "two", "--input-file", "given.yaml", "--input", "days=8"];
    office.ends(&given, 0);
    assert!(office.ends(&["task", "show", "two"], 0).contains("Dear Bob, 9 days."));
    let mut command = office.command(&["run", "writer", "--task", "three", "--input-file", "-"], "");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("aios runs");
    child.stdin.take().expect("a pipe").write_all(b"{\"client\": \"dee\"}").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    assert!(office.ends(&["task", "show", "three"], 0).contains("Dear Dee, 15 days."));
    office.write(&[("list.json", "[1]"), ("odd.yaml", "client: [")]);
    for file in ["list.json", "odd.yaml", "none.json"] {
        assert_eq!(
            office.aios(&["run", "writer", "--input-file", file], "").status.code(),
            Some(1),
            "{file}"
        );
    }

    // A timer is waited for, with a daemon and without.
    office.ends(&["run", "later", "--task", "alone", "--input-file", "given.json", "--wait"], 0);
    let up = office.up("");
    office.ends(&["run", "later", "--task", "beside", "--input", "client=eve", "--wait"], 0);
    drop(up);
    assert_eq!(tasks(&office, "done").len(), 5);
}

#[test]
fn tasks_are_found_by_their_state_and_ids_are_words() {
    let office = Office::new(&[("agents/writer.md", WRITER), ("workflows/ask.md", ASK)]);
    // What waits for the operator is not waited for.
    office.ends(&["run", "ask", "--task", "one", "--wait"], 3);
    office.ends(&["run", "ask", "--task", "two"], 3);
    office.ends(&["run", "writer", "--task", "three", "--input", "client=ann"], 0);
    assert_eq!(
        (tasks(&office, "waits"), tasks(&office, "done")),
        (vec!["one".into(), "two".into()], vec!["three".into()])
    );
    assert!(tasks(&office, "stuck").is_empty());
    let both = office.json(&["tasks", "--state", "done", "--state", "waits"]);
    assert_eq!(both.as_array().map(Vec::len), Some(3));
    assert_eq!(office.aios(&["tasks", "--state", "gone"], "").status.code(), Some(2));
    let key = office.asks("one").expect("it asks");
    office.ends(&["approve", &key, "--note", "she called"], 0);
    let log = office.ends(&["log"], 0);
    assert!(log.contains("she called"), "{log}");
    for id in ["", "a b", "../x", "-x", "a/b", "line\nbreak", &"x".repeat(65)] {
        let said = office.aios(&["run", "ask", &format!("--task={id}")], "");
        assert_eq!(said.status.code(), Some(2), "{id:?}: {said:?}");
    }
    assert_eq!(office.json(&["tasks"]).as_array().map(Vec::len), Some(3));
}

#[test]
fn one_file_that_cannot_be_read_hides_no_mistake_of_another() {
    let office = Office::new(&[]);
    office.write(&[("workflows/odd.md", ""), ("workflows/sound.md", ASK)]);
    std::fs::write(office.root().join("workflows/bytes.md"), b"---\ntype: \xff\n---\n").expect("a file");
    let wrong = "---
type: workflow
on: {cron: '0-59/70 * * * *', zone: UTC}
steps:
  send: {effect: mail.sned, target: ann@example.org, args: {}}
  ask: {ask: Which?, choices: []}
---
";
    office.write(&[("workflows/wrong.md", wrong)]);
    let out = office.aios(&["workflow", "check", "--json"], "");
    assert_eq!(out.status.code(), Some(4), "{out:?}");
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let of = |path: &str| {
        let file = told["files"].as_array().expect("a list").iter().find(|it| it["path"] == path).cloned();
        file.expect("the file")["mistakes"].as_array().expect("a list").clone()
    };
    assert_eq!(
        (&of("workflows/bytes.md")[0]["line"], &of("workflows/bytes.md")[0]["column"]),
        (&json!(2), &json!(7))
    );
    assert_eq!(of("workflows/wrong.md").len(), 3, "{told}");
    assert!(!of("workflows/odd.md").is_empty() && of("workflows/sound.md").is_empty(), "{told}");
    let policy = "---\ntype: policy\nrules:\n  - {name: a, verdict: allow, capability: mail.send, amount: {from: 5, to: 4}}\n---\n";
    office.write(&[("policies/a.md", policy)]);
    std::fs::write(office.root().join("policies/bytes.md"), [0xff]).expect("a file");
    let out = office.aios(&["policy", "check", "--json"], "");
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((out.status.code(), told["files"].as_array().map(Vec::len)), (Some(4), Some(2)), "{told}");
    assert!(
        told["files"].as_array().unwrap().iter().all(|file| file["mistakes"].as_array().unwrap().len() == 1)
    );
    std::fs::create_dir(office.root().join("agents")).expect("a folder");
    std::fs::write(office.root().join("agents/bytes.md"), [0xff]).expect("a file");
    office.write(&[("agents/odd.md", "---\ntype: agent\nruntime: nothing\n---\n")]);
    let out = office.aios(&["agents", "check", "--json"], "");
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((out.status.code(), told["reports"].as_array().map(Vec::len)), (Some(4), Some(2)), "{told}");
}
