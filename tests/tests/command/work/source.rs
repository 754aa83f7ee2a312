//! What comes from outside and is not looked for is told.

use std::path::{Path, PathBuf};

use aios_tests::office::Office;
use serde_json::Value;

const INBOX: &str = "---\ntype: connector\nprovides: mail.received\nkind: inbox\n---\n";

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.file_name().is_some_and(|it| it == name).then_some(path),
    })
}

fn findings(office: &Office, exit: i32) -> Vec<Value> {
    let said: Value = serde_json::from_str(&office.ends(&["health", "--json"], exit)).expect("a JSON value");
    said["findings"].as_array().expect("a list").clone()
}

/// Mails lie there until somebody runs: that nobody has for long is told, by whoever asks.
#[test]
fn a_letterbox_that_nobody_looks_into_is_told() {
    let office = Office::new(&[("connectors/inbox.md", INBOX)]);
    assert_eq!(findings(&office, 0), Vec::<Value>::new(), "it was put in force just now");
    office.ends(&["run"], 0);
    let looked = find(office.dir.path(), "looked").expect("it is remembered");
    std::fs::write(&looked, "1000").expect("a file");
    let found = findings(&office, 4);
    assert_eq!((found.len(), &found[0]["finding"], &found[0]["at"]), (1, &"unpolled".into(), &1000.into()));
    assert!(office.ends(&["health"], 4).starts_with("unpolled nobody has looked for mail.received for "));
    office.ends(&["run"], 0);
    assert_eq!(findings(&office, 0), Vec::<Value>::new());
}

/// A call that nobody hears is lost: that is told at once, and not while a daemon listens.
#[test]
fn hooks_that_nobody_listens_for_are_told() {
    let office = Office::new(&[]);
    office.ends(&["hook", "add", "/paid", "--listen", "127.0.0.1:0"], 0);
    let found = findings(&office, 4);
    assert_eq!((found.len(), &found[0]["finding"]), (1, &"unpolled".into()));
    assert!(found[0]["what"].as_str().is_some_and(|it| it.contains("calls of /paid")), "{found:?}");
    let daemon = office.up("");
    assert_eq!(findings(&office, 0), Vec::<Value>::new());
    drop(daemon);
}
