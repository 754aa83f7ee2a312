//! Where effects happen, with real processes: on one device at a time, whichever works on the task.

use std::path::Path;

use aios_tests::device::{Device, eventually, pair};
use serde_json::Value;

const HELLO: &str = "---
type: workflow
steps:
  send: {effect: mail.send, target: ann@example.org, args: {text: '{{ task }}'}}
---
";
const ALLOW: &str =
    "---\ntype: policy\nrules:\n  - {name: all, verdict: allow, capability: mail.send}\n---\n";

fn mails(dir: &Path, device: &str) -> usize {
    let entries = std::fs::read_dir(dir.join(format!("{device}.outbox"))).into_iter().flatten();
    let mails = entries.filter_map(Result::ok).map(|entry| entry.path());
    mails.filter(|path| path.extension().is_some_and(|it| it == "eml")).count()
}

fn state(device: &Device, task: &str) -> Value {
    let tasks = device.json(&["tasks"]);
    let found = tasks.as_array().expect("a list").iter().find(|it| it["task"] == task).cloned();
    found.unwrap_or_default()
}

/// Both start one task while they are apart, and a policy allows what it does: it happens once, where such things happen.
#[test]
fn two_that_start_one_task_apart_send_one_mail() {
    let dir = tempfile::tempdir().expect("a folder");
    let files: [(&str, &[u8]); 2] =
        [("workflows/hello.md", HELLO.as_bytes()), ("policies/all.md", ALLOW.as_bytes())];
    let laptop = Device::first(dir.path(), &files);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    phone.fails(&["run", "hello", "--task", "one"], 3);
    assert_eq!(laptop.run(&["run", "hello", "--task", "one"]).status.code(), Some(0));
    let waiting = state(&phone, "one");
    assert_eq!(
        (&waiting["state"], &waiting["waits"]["device"]),
        (&"waits".into(), &"laptop".into()),
        "{waiting}"
    );
    let daemons = [laptop.up(), phone.up()];
    let done = |device: &Device| state(device, "one")["state"] == "done";
    eventually("both know that it is done", || done(&laptop) && done(&phone));
    assert_eq!((mails(dir.path(), "laptop"), mails(dir.path(), "phone")), (1, 0));

    // A home that is named takes over when the one before has heard of it.
    let text = "---\ntype: connector\nprovides: mail.send\nkind: outbox\nhome: phone\n---\n";
    laptop.write(&[("connectors/mail.md", text.as_bytes())]);
    assert!(laptop.run(&["accept", "-q"]).status.success());
    laptop.run(&["run", "hello", "--task", "two"]);
    eventually("the phone has sent it", || {
        mails(dir.path(), "phone") == 1 && state(&laptop, "two")["state"] == "done"
    });
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    assert_eq!((mails(dir.path(), "laptop"), mails(dir.path(), "phone")), (1, 1));
    // What is gone for good says nothing: the operator's word takes its place, and only that.
    laptop.fails(&["run", "hello", "--task", "three"], 3);
    assert_eq!(mails(dir.path(), "laptop"), 1);
    assert!(laptop.run(&["connector", "home", "mail.send"]).status.success());
    assert_eq!(state(&laptop, "three")["state"], "done");
    assert_eq!((mails(dir.path(), "laptop"), mails(dir.path(), "phone")), (2, 1));
    laptop.fails(&["connector", "home", "bank.pay"], 2);
    assert!(laptop.run(&["verify", "--deep"]).status.success());
}

/// An operator with two devices denies on one what went out on the other before: that is not called denied, and both tell it until the operator
/// has taken note. What had not gone out does not.
#[test]
fn a_denial_that_comes_too_late_is_told_on_both() {
    let dir = tempfile::tempdir().expect("a folder");
    let laptop = Device::first(dir.path(), &[("workflows/hello.md", HELLO.as_bytes())]);
    let phone = Device::new(dir.path(), "phone");
    laptop.fails(&["run", "hello", "--task", "one"], 3);
    laptop.fails(&["run", "hello", "--task", "two"], 3);
    pair(&laptop, &phone, "phone", "phone");
    let asks = |task: &str| {
        let inbox = laptop.json(&["inbox"]);
        let found = inbox.as_array().expect("a list").iter().find(|it| it["task"] == task);
        found.expect("it asks")["key"].as_str().expect("a key").to_owned()
    };
    let (one, two) = (asks("one"), asks("two"));
    assert!(laptop.run(&["approve", &one]).status.success());
    assert_eq!(mails(dir.path(), "laptop"), 1);
    for key in [&one, &two] {
        let said = phone.fails(&["deny", key, "--note", "not now"], 3);
        assert!(said.contains("laptop, which has not confirmed the denial"), "{said}");
    }
    let daemon = laptop.up();
    phone.json(&["sync"]);
    let refused = |device: &Device| {
        let inbox = device.json(&["inbox"]);
        let found = inbox.as_array().expect("a list").iter().filter(|it| it["need"] == "refused").cloned();
        found.map(|it| it["key"].as_str().expect("a key").to_owned()).collect::<Vec<String>>()
    };
    assert_eq!((refused(&phone), refused(&laptop)), (vec![one.clone()], vec![one.clone()]));
    let said = phone.fails(&["deny", &one, "--note", "not now"], 1);
    assert!(
        said.contains("too late: mail.send to ann@example.org went at ") && said.contains("undo --run one"),
        "{said}"
    );
    let told = phone.run(&["inbox"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("was denied, and it had gone out at ") && told.contains(", on laptop"), "{told}");
    let health = phone.run(&["health", "--json"]);
    assert_eq!(health.status.code(), Some(4));
    let health: Value = serde_json::from_slice(&health.stdout).expect("JSON");
    assert!(
        health["findings"].as_array().expect("a list").iter().any(|it| it["finding"] == "refused"),
        "{health}"
    );
    let shown = phone.run(&["task", "show", "one"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("denied, too late: it had begun at ") && shown.contains(": not now"), "{shown}");
    let said = phone.fails(&["settle", &one, "--not-done"], 1);
    assert!(said.contains("happened"), "{said}");
    phone.run(&["settle", &one, "--done"]);
    assert_eq!(refused(&phone), Vec::<String>::new());

    // The other was denied in time, and the laptop says so.
    eventually("the laptop has confirmed the denial", || {
        phone.json(&["sync"]);
        state(&phone, "two")["state"] != "waits" && refused(&laptop).is_empty()
    });
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(mails(dir.path(), "laptop"), 1);
    let log = String::from_utf8_lossy(&laptop.run(&["log", "--json"]).stdout).into_owned();
    assert_eq!(
        (log.matches("\"approval.denied\"").count(), log.matches("\"effect.withdrawn\"").count()),
        (2, 1)
    );
}
