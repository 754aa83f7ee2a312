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
