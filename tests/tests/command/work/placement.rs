//! Work that needs another device than the one where it was started.

use aios_tests::device::{Device, eventually, pair};
use serde_json::Value;

use super::ALLOW;

const HEAVY: &str = "---
type: workflow
needs: {heavy: true}
steps:
  send: {effect: mail.send, target: heavy@example.org, args: {text: x}}
---
";

fn tasks(device: &Device) -> Value {
    device.json(&["tasks"])
}

#[test]
fn heavy_work_waits_for_a_worker_and_goes_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let files: [(&str, &[u8]); 2] =
        [("workflows/heavy.md", HEAVY.as_bytes()), ("policies/all.md", ALLOW.as_bytes())];
    let laptop = Device::first(dir.path(), &files);
    let worker = Device::new(dir.path(), "worker");
    pair(&laptop, &worker, "worker", "worker");
    let _up = laptop.up();
    laptop.run(&["run", "heavy", "--task", "big"]);
    let told = tasks(&laptop);
    assert_eq!(told[0]["missing"], "a device for heavy work", "{told}");
    let _works = worker.start(&["worker"]);
    eventually("the worker has it", || tasks(&laptop)[0]["device"] == "worker");
    eventually("it is done", || tasks(&laptop)[0]["state"] == "done");
    let told = tasks(&laptop);
    assert_eq!(told[0]["placed"], "a device for heavy work", "{told}");
    // Said by name it is done where it was said.
    laptop.run(&["run", "heavy", "--task", "here", "--on", "laptop"]);
    eventually("it is done here", || {
        let tasks = tasks(&laptop);
        let here = tasks.as_array().and_then(|it| it.iter().find(|it| it["task"] == "here").cloned());
        here.is_some_and(|it| it["state"] == "done" && it["device"] == "laptop" && it["placed"].is_null())
    });
}
