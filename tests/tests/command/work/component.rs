//! Agents that are components: what is accepted is what works, what they may look at is what their file names, and what they did can be done once
//! more.

use serde_json::Value;

use aios_tests::office::Office;

use super::ALLOW;

/// A workflow that has the agent `worker` work and mails what it gives.
const ASK: &str = "---
type: workflow
input: {type: object, properties: {path: {type: string, default: notes/a.md}}}
steps:
  work: {agent: worker, input: '{{ input.path }}', retry: {attempts: 2, first: 10ms, most: 10ms}}
  send: {effect: mail.send, target: 'ann@example.org', args: {text: '{{ steps.work }}'}}
---
";

/// A component that calls `tool` with the text that it is given (without its quotes), and gives what came of it as JSON, in which no other
/// character than letters stands.
fn caller(tool: &str, with_number: bool) -> Vec<u8> {
    let (kind, core, pass) = match with_number {
        true => (r#"(param "a" string) (param "b" u32)"#, "i32 i32 i32 i32", "(i32.const 1)"),
        false => (r#"(param "a" string)"#, "i32 i32 i32", ""),
    };
    let text = format!(
        r#"(component
  (import "aios:agent/tools@0.1.0" (instance $tools
    (export "{tool}" (func {kind} (result (result string (error string)))))))
  (core module $libc
    (memory (export "memory") 4)
    (global $top (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $libc (instantiate $libc))
  (core func $tool (canon lower (func $tools "{tool}") (memory $libc "memory") (realloc (func $libc "realloc"))))
  (core module $main
    (import "libc" "memory" (memory 0))
    (import "tools" "tool" (func $tool (param {core})))
    (func (export "work") (param $ptr i32) (param $len i32) (result i32)
      (local $at i32) (local $end i32)
      (call $tool (i32.add (local.get $ptr) (i32.const 1)) (i32.sub (local.get $len) (i32.const 2)) {pass} (i32.const 64))
      (local.set $at (i32.load (i32.const 68)))
      (local.set $end (i32.add (local.get $at) (i32.load (i32.const 72))))
      ;; A quote before, one after, and a space for each character that would not fit in between.
      (i32.store8 (i32.sub (local.get $at) (i32.const 1)) (i32.const 34))
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
          (if (i32.or (i32.lt_u (i32.load8_u (local.get $at)) (i32.const 46)) (i32.gt_u (i32.load8_u (local.get $at)) (i32.const 122)))
            (then (i32.store8 (local.get $at) (i32.const 32))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next)))
      (i32.store8 (local.get $end) (i32.const 34))
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.sub (i32.load (i32.const 68)) (i32.const 1)))
      (i32.store (i32.const 24) (i32.add (i32.load (i32.const 72)) (i32.const 2)))
      (i32.const 16)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc)) (with "tools" (instance (export "tool" (func $tool))))))
  (func (export "work") (param "input" string) (result (result string (error string)))
    (canon lift (core func $main "work") (memory $libc "memory") (realloc (func $libc "realloc")))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// One that never ends.
fn endless() -> Vec<u8> {
    let text = r#"(component
  (core module $m (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "work") (param i32 i32) (result i32) (loop $again (br $again)) (unreachable)))
  (core instance $m (instantiate $m))
  (func (export "work") (param "input" string) (result (result string (error string)))
    (canon lift (core func $m "work") (memory $m "memory") (realloc (func $m "realloc")))))"#;
    wat::parse_str(text).expect("a component")
}

fn agent(keys: &str) -> String {
    format!("---\ntype: agent\nruntime: wasm\ncomponent: worker.wasm\n{keys}---\nWorks.\n")
}

const READS: &str = "tools: [read]\nreads: ['notes/*']\n";

fn office(keys: &str, component: &[u8]) -> Office {
    let dir = [
        ("workflows/ask.md", ASK),
        ("policies/all.md", ALLOW),
        ("agents/worker.md", &agent(keys)),
        ("notes/a.md", "Alpha\n"),
        ("clients/ann.md", "Secret\n"),
    ];
    let office = Office::new(&[("readme.md", "A company\n")]);
    office.write(&dir);
    put(&office, component);
    office.ends(&["accept", "-q"], 0);
    office
}

fn put(office: &Office, component: &[u8]) {
    std::fs::write(office.root().join("agents/worker.wasm"), component).expect("a file");
}

/// How a task failed for good.
fn failure(office: &Office, task: &str) -> Value {
    let inbox = office.json(&["inbox"]);
    let dead = inbox.as_array().expect("a list").iter().find(|it| it["need"] == "dead" && it["task"] == task);
    dead.unwrap_or_else(|| panic!("it is no dead letter: {inbox}"))["failure"].clone()
}

#[test]
fn a_component_looks_at_what_its_file_names_and_can_be_worked_out_anew() {
    let office = office(READS, &caller("read", true));
    office.ends(&["agents", "check"], 0);
    office.ends(&["run", "ask", "--task", "one"], 0);
    let mails = office.mails().concat();
    assert!(mails.contains("Alpha"), "{mails}");
    office.ends(&["replay", "one"], 0);
    // Outside of what it may read it is told so, whatever way it takes.
    for (n, path) in
        ["clients/ann.md", "notes/../clients/ann.md", "/etc/hostname", "agents/worker.md"].iter().enumerate()
    {
        let task = format!("out-{n}");
        office.ends(&["run", "ask", "--task", &task, "--input", &format!("path={path}")], 0);
    }
    let mails = office.mails().concat();
    assert!(!mails.contains("Secret") && mails.contains("refused: you may not read"), "{mails}");
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

#[test]
fn a_component_that_changed_is_a_proposal() {
    let office = office(READS, &caller("read", true));
    let version = |office: &Office| office.json(&["agents", "show", "worker"])["version"].clone();
    let before = version(&office);
    put(&office, &endless());
    let diff = office.ends(&["run", "ask", "--task", "one"], 0);
    assert!(office.mails().concat().contains("Alpha"), "what was accepted works: {diff}");
    assert_eq!(version(&office), before);
    let shown = office.ends(&["accept"], 0);
    assert!(shown.contains("agents/worker.wasm") && shown.contains("component of"), "{shown}");
    assert_ne!(version(&office), before);
    // Gone, it is gone for the agent, too.
    std::fs::remove_file(office.root().join("agents/worker.wasm")).expect("it is there");
    let said = office.ends(&["agents", "check"], 4);
    assert!(said.contains("agents/worker.md:4:12: there is no component agents/worker.wasm"), "{said}");
}

#[test]
fn what_a_component_may_not_it_does_not() {
    let cases = [
        (format!("{READS}limits: {{fuel: 10000000}}\n"), endless(), "permanent", "10000000 of fuel"),
        (
            format!("{READS}limits: {{fuel: 1000000000000, time: 100ms}}\n"),
            endless(),
            "transient",
            "ended after 100ms",
        ),
        // The network, where the file grants none.
        (READS.to_owned(), caller("fetch", false), "denied", "the tool `fetch`"),
        (READS.to_owned(), b"no component".to_vec(), "permanent", "it is no component"),
    ];
    let office = office(READS, &endless());
    for (n, (keys, component, ..)) in cases.iter().enumerate() {
        let name = format!("worker-{n}");
        office.write(&[
            (&format!("agents/{name}.md"), &agent(keys).replace("worker.wasm", &format!("{name}.wasm"))),
            (&format!("workflows/ask-{n}.md"), &ASK.replace("agent: worker", &format!("agent: {name}"))),
        ]);
        std::fs::write(office.root().join(format!("agents/{name}.wasm")), component).expect("a file");
    }
    office.ends(&["accept", "-q"], 0);
    for (n, (_, _, class, what)) in cases.iter().enumerate() {
        let task = format!("task-{n}");
        office.ends(&["run", &format!("ask-{n}"), "--task", &task], 1);
        let failure = failure(&office, &task);
        assert_eq!(failure["class"], *class, "{failure}");
        assert!(failure["what"].as_str().is_some_and(|it| it.contains(what)), "{failure}");
    }
    assert!(office.mails().is_empty());
}
