//! Past work worked out anew from its journal, with real processes.

use aios_tests::device::Device;
use serde_json::Value;

const OFFER: &str = "---
type: workflow
input: {type: object, required: [clients], properties: {clients: {type: array}}}
steps:
  draft: {agent: writer, input: {names: '{{ input.clients }}'}}
  many:
    choose:
      - {when: input.clients | length > 5, go: end}
      - {else: all}
  all:
    each: input.clients
    as: client
    steps:
      greet: {agent: greeter, input: {name: '{{ client }}'}}
      send: {effect: mail.send, target: '{{ client }}@example.org', args: {text: '{{ steps.greet.text }}'}}
---
";
const ALLOW: &str =
    "---\ntype: policy\nrules:\n  - {name: all, verdict: allow, capability: mail.send}\n---\n";

fn agent(text: &str) -> String {
    format!("---\ntype: agent\nruntime: template\n---\n{text}\n")
}

#[test]
fn a_replay_names_the_first_step_that_differs() {
    let dir = tempfile::tempdir().expect("a folder");
    let (writer, greeter) = (agent("{{ input.names | join(', ') }}"), agent("Dear {{ input.name }}"));
    let laptop = Device::first(
        dir.path(),
        &[
            ("workflows/offer.md", OFFER.as_bytes()),
            ("policies/all.md", ALLOW.as_bytes()),
            ("agents/writer.md", writer.as_bytes()),
            ("agents/greeter.md", greeter.as_bytes()),
        ],
    );
    let task = ["run", "offer", "--task", "one", "--input", "clients=[\"ann\", \"bob\"]"];
    let out = laptop.run(&task);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let replay = || -> Value {
        let out = laptop.run(&["replay", "one", "--json"]);
        assert!(matches!(out.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).expect("a JSON value")
    };
    let same = replay();
    assert_eq!((&same["ok"], &same["difference"]), (&true.into(), &Value::Null), "{same}");
    let steps: Vec<&str> =
        same["steps"].as_array().expect("a list").iter().filter_map(|step| step["step"].as_str()).collect();
    let all = ["draft", "many", "all", "all[0]/greet", "all[0]/send", "all[1]/greet", "all[1]/send"];
    assert_eq!(steps, all);
    let run = same["run"].as_str().expect("a run").to_owned();
    assert!(laptop.run(&["replay", &run]).status.success(), "a run can be named, too");

    // A file that is not accepted is nobody's; then the first step that it changes is named, with what it says now.
    laptop.write(&[("agents/greeter.md", agent("Hello {{ input.name }}").as_bytes())]);
    assert_eq!(replay()["ok"], true);
    let hello = laptop.json(&["accept"]);
    let other = replay();
    assert_eq!(
        (&other["difference"]["kind"], &other["difference"]["step"], &other["difference"]["now"]["text"]),
        (&"output".into(), &"all[0]/greet".into(), &"Hello ann".into()),
        "{other}"
    );
    let told = laptop.run(&["replay", "one"]);
    assert_eq!(told.status.code(), Some(4));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("`all[0]/greet`") && told.contains("-Dear ann") && told.contains("+Hello ann"),
        "{told}"
    );
    // Nothing was done, and nothing recorded.
    let mails = std::fs::read_dir(dir.path().join("laptop.outbox")).expect("the outbox").count();
    assert_eq!(mails, 2);

    // A version that was in force once can be tried, and nothing else.
    laptop.write(&[("agents/greeter.md", greeter.as_bytes())]);
    let accepted = laptop.json(&["accept"]);
    let back = accepted["accepted"][0]["version"].as_str().expect("a version").to_owned();
    assert_eq!(replay()["ok"], true);
    assert!(laptop.run(&["replay", "one", "--agent", &back]).status.success());
    let hello = hello["accepted"][0]["version"].as_str().expect("a version").to_owned();
    assert_eq!(laptop.run(&["replay", "one", "--agent", &hello]).status.code(), Some(4));
    laptop.fails(&["replay", "one", "--agent", &"0".repeat(64)], 2);
    laptop.fails(&["replay", "nobody"], 2);
    laptop.fails(&["replay", "one", "--agent", "xyz"], 2);
}
