//! What is consented to: seen to the byte before, changed on the way, and many at once.

use serde_json::Value;

use super::{GREET, WRITER};
use aios_tests::office::Office;

const ALL: &str = "---
type: workflow
input: {type: object, required: [clients], properties: {clients: {type: array}}}
steps:
  all:
    each: input.clients
    as: client
    at_once: 5
    steps:
      send: {effect: mail.send, target: '{{ client }}@example.org', args: {subject: Hello, text: 'Dear {{ client }}'}}
---
";

fn preview(office: &Office, id: &str) -> Value {
    office.json(&["preview", id])
}

#[test]
fn a_preview_is_what_goes_out_to_the_byte() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    let id = office.asks("one").expect("it asks");
    let seen = preview(&office, &id);
    let bytes = office.ends(&["preview", &id, "--bytes"], 0);
    assert_eq!(seen["bytes"], bytes.as_str());
    assert_eq!(seen["state"], "waits-for-consent");
    let told = office.ends(&["preview", &id[..8]], 0);
    let digest = seen["digest"].as_str().expect("a digest");
    assert!(told.contains(digest) && told.contains("To: ann@example.org"), "{told}");
    assert_eq!(office.json(&["inbox"])[0]["digest"], digest, "it is what consent is bound to");
    office.ends(&["approve", &id], 0);
    assert_eq!(office.mails(), [bytes]);
    assert_eq!(preview(&office, &id)["state"], "done");
    assert_eq!(office.aios(&["preview", "xyz"], "").status.code(), Some(2));
}

#[test]
fn what_is_changed_on_approval_goes_out_and_nothing_else() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    let id = office.asks("one").expect("it asks");
    let draft = office.dir.path().join("draft.md");
    let text = office.ends(&["preview", &id, "--draft"], 0);
    let with = ["approve", &id, "--with", draft.to_str().expect("a path")];
    // Nothing that cannot be read, cannot be sent, or is the same.
    for (text, wrong) in [
        (text.clone(), "nothing was changed"),
        (String::new(), "empty"),
        ("Dear Ann".to_owned(), "no frontmatter"),
        (text.replace("ann@example.org", "ann\\nbcc: all"), "one line"),
    ] {
        std::fs::write(&draft, &text).expect("a file");
        let out = office.aios(&with, "");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && said.contains(wrong), "{text}: {said}");
    }
    std::fs::write(&draft, text.replace("Dear Ann,", "My dear Ann,")).expect("a file");
    let said = office.ends(&with, 0);
    assert!(said.contains("changed: its id is"), "{said}");
    let mails = office.mails();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("My dear Ann,") && !mails[0].contains(&id), "{}", mails[0]);
    assert_eq!(preview(&office, &id)["state"], "denied", "what was proposed is void");
    office.ends(&["replay", "one"], 0);

    office.ends(&["run", "greet", "--task", "two", "--input", "client=bob"], 3);
    let id = office.asks("two").expect("it asks");
    let mut command = office.command(&["approve", &id, "--edit"], "");
    command.env_remove("VISUAL").env("EDITOR", "sed -i s/Bob/Robert/");
    assert!(command.output().expect("aios runs").status.success());
    assert!(office.mails().iter().any(|mail| mail.contains("Dear Robert,")));
    let log = office.ends(&["log", "--json"], 0);
    assert_eq!(log.matches("\"approval.edited\"").count(), 2, "{log}");
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

#[test]
fn many_that_are_alike_are_shown_side_by_side_and_each_is_consented_to() {
    let office = Office::new(&[("workflows/all.md", ALL)]);
    office.ends(&["run", "all", "--task", "one", "--input", "clients=[\"ann\", \"bob\", \"cem\"]"], 3);
    let id = office.asks("one").expect("it asks");
    let out = office.aios(&["approve", "--all-like", &id], "");
    assert_eq!(out.status.code(), Some(3), "nobody said that all are meant");
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(told.contains("3 effects, the same in all:") && told.contains("subject: Hello"), "{told}");
    assert!(told.contains("cem@example.org") && told.contains("Dear cem"), "{told}");
    assert_eq!(office.mails(), Vec::<String>::new());
    office.ends(&["approve", "--all-like", &id, "--yes"], 0);
    assert_eq!(office.mails().len(), 3);
    let log = office.ends(&["log", "--json"], 0);
    assert_eq!(log.matches("\"approval.granted\"").count(), 3, "one for each");

    office.ends(&["run", "all", "--task", "two", "--input", "clients=[\"dan\", \"eve\", \"fay\"]"], 3);
    let inbox = office.json(&["inbox"]);
    let ids: Vec<&str> =
        inbox.as_array().expect("a list").iter().filter_map(|it| it["key"].as_str()).collect();
    office.ends(&["approve", ids[0], ids[1], ids[0], "--yes"], 3);
    assert_eq!(office.mails().len(), 5);
}
