//! What goes without asking, for how long, and what becomes of what nobody answers.

use serde_json::Value;

use aios_tests::device::{Device, eventually, pair};

use aios_tests::office::Office;

const ALL: &str = "---
type: workflow
input: {type: object, required: [clients], properties: {clients: {type: array}}}
steps:
  all:
    each: input.clients
    as: client
    at_once: 9
    steps:
      send: {effect: mail.send, target: '{{ client }}@example.org', args: {text: Hello}, agent: news}
---
";

fn start(office: &Office, task: &str, clients: &[&str], code: i32) {
    let input = format!("clients={}", Value::from(clients));
    office.ends(&["run", "all", "--task", task, "--input", &input], code);
}

fn asked(office: &Office) -> Vec<String> {
    let inbox = office.json(&["inbox"]);
    let asks = inbox.as_array().expect("a list").iter().filter(|need| need["need"] == "approval");
    asks.map(|need| need["key"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn what_is_delegated_goes_so_often_and_until_it_is_taken_back() {
    let office = Office::new(&[("workflows/all.md", ALL)]);
    for wrong in [
        vec!["delegate", "mail.send", "--agent", "news", "--max", "2"],
        vec!["delegate", "mail.send", "--agent", "news", "--max", "2", "--until", "yesterday"],
        vec!["delegate", "mail.sned", "--agent", "news", "--max", "2", "--until", "3d"],
        vec!["delegate", "--revoke", "abc"],
    ] {
        assert_eq!(office.aios(&wrong, "").status.code(), Some(2), "{wrong:?}");
    }
    office.ends(&["delegate", "mail.send", "--agent", "news", "--max", "2", "--until", "friday"], 0);
    start(&office, "one", &["ann", "bob", "cem"], 3);
    assert_eq!((office.mails().len(), asked(&office).len()), (2, 1));
    assert_eq!(office.json(&["delegations"]), Value::Array(Vec::new()), "it is spent");
    let all = office.json(&["delegations", "--all"]);
    assert_eq!((&all[0]["used"]["count"], &all[0]["standing"]), (&2.into(), &"spent".into()), "{all}");

    let issued = office.json(&[
        "delegate",
        "mail.send",
        "--agent",
        "news",
        "--max",
        "9",
        "--until",
        "3d",
        "--target",
        "*@example.org",
    ]);
    let id = issued["id"].as_str().expect("an id");
    start(&office, "two", &["dan"], 0);
    assert_eq!(office.mails().len(), 3);
    let over = office.json(&["delegate", "--revoke", &id[..8]]);
    assert_eq!(over["standing"], "revoked");
    start(&office, "three", &["eve"], 3);
    assert_eq!(office.mails().len(), 3);
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

/// The phone delegates, and is lost: what it let be done is done no more.
#[test]
fn a_delegation_dies_with_the_device_whose_operator_key_made_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let laptop = Device::first(dir.path(), &[("workflows/all.md", ALL.as_bytes())]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    phone.fails(&["delegate", "mail.send", "--agent", "news", "--max", "9", "--until", "3d"], 0);
    let daemon = laptop.up();
    phone.fails(&["sync"], 0);
    let held = || laptop.json(&["delegations"]).as_array().expect("a list").len();
    eventually("the laptop has heard of it", || held() == 1);
    laptop.fails(&["run", "all", "--task", "one", "--input", "clients=[\"ann\"]"], 0);
    laptop.fails(&["devices", "revoke", "phone"], 0);
    assert_eq!(held(), 0);
    laptop.fails(&["run", "all", "--task", "two", "--input", "clients=[\"bob\"]"], 3);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn the_rule_that_is_suggested_allows_the_next_one_once_it_is_accepted() {
    let office = Office::new(&[("workflows/all.md", ALL)]);
    start(&office, "one", &["a", "b", "c", "d", "e"], 3);
    office.ends(
        &[&["approve", "--yes"][..], &asked(&office).iter().map(String::as_str).collect::<Vec<_>>()].concat(),
        0,
    );
    assert!(!office.ends(&["inbox"], 0).contains("suggestion"), "nothing waits for it");
    start(&office, "two", &["f"], 3);
    let told = office.ends(&["inbox"], 0);
    assert!(told.contains("you approved the last 5 as they were"), "{told}");
    let inbox = office.json(&["inbox"]);
    let needs = inbox.as_array().expect("a list");
    let habit = needs.iter().find(|need| need["need"] == "suggestion").expect("a suggestion");
    let rule = habit["habit"]["rule"].as_str().expect("a rule");
    office.write(&[("policies/mail.md", &format!("---\ntype: policy\nrules:\n  {rule}\n---\n"))]);
    start(&office, "three", &["g"], 3);
    assert_eq!(office.mails().len(), 5, "nothing is in force that was not accepted");
    office.ends(&["accept", "-q"], 0);
    // It says five in a day, and those are used up by nobody: what was approved counts against no cap.
    start(&office, "four", &["h"], 0);
    assert_eq!(office.mails().len(), 6);
}

const PACE: &str = "---
type: policy
rules:
  - {name: night, verdict: allow, capability: mail.send, target: 'night*', zone: UTC, quiet: '00:00-24:00'}
  - {name: pace, verdict: allow, capability: mail.send, rate: {count: 2, per: hour}}
---
";

#[test]
fn what_has_to_wait_says_until_when_and_needs_nobody() {
    let office = Office::new(&[("workflows/all.md", ALL), ("policies/pace.md", PACE)]);
    start(&office, "one", &["ann", "bob", "cem"], 3);
    assert_eq!((office.mails().len(), asked(&office).len()), (2, 0));
    let tasks = office.json(&["tasks"]);
    assert!(tasks[0]["until"].is_u64(), "{tasks}");
    assert!(office.ends(&["tasks"], 0).contains("its rate of 2 per hour is reached"));
    start(&office, "two", &["night"], 3);
    assert!(office.ends(&["tasks"], 0).contains("in its quiet hours"));
    assert_eq!(office.mails().len(), 2);
    let check = ["policy", "check", "--capability", "mail.send", "--target", "night"];
    assert!(office.ends(&check, 0).starts_with("waits until"), "it is explained");
}

const LOUDER: &str = "---
type: policy
rules:
  - {name: soon, verdict: ask, capability: mail.send, escalate: [{after: 1s, ask: Somebody waits}, {after: LAST, deny: nobody decided}]}
---
";

#[test]
fn what_nobody_answers_gets_louder_and_is_denied() {
    let office =
        Office::new(&[("workflows/all.md", ALL), ("policies/louder.md", &LOUDER.replace("LAST", "2d"))]);
    // A command waits for what comes soon.
    start(&office, "one", &["ann"], 3);
    let told = office.ends(&["inbox"], 0);
    assert!(told.starts_with("urgent Somebody waits"), "{told}");
    office.ends(&["task", "cancel", "one"], 0);
    office.write(&[("policies/louder.md", &LOUDER.replace("LAST", "2s"))]);
    office.ends(&["accept", "-q"], 0);
    start(&office, "two", &["bob"], 1);
    let inbox = office.json(&["inbox"]);
    assert_eq!(
        (&inbox[0]["need"], &inbox[0]["failure"]["what"]),
        (&"dead".into(), &"nobody decided".into()),
        "{inbox}"
    );
    assert_eq!(office.mails(), Vec::<String>::new());
}
