//! Members that come and go, as processes of the program.

use aios_tests::device::{Device, agree, pair};
use serde_json::Value;

fn device(list: &Value, name: &str) -> Value {
    let devices = list.as_array().unwrap();
    devices.iter().find(|device| device["name"] == name).unwrap().clone()
}

/// What a command says to people and scripts, whatever it ends with.
fn report(device: &Device, args: &[&str]) -> Value {
    let out = device.run(&[args, &["--json"]].concat());
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"))
}

#[test]
fn a_device_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    let (worker, tablet) = (Device::new(dir.path(), "worker"), Device::new(dir.path(), "tablet"));
    pair(&laptop, &worker, "worker", "worker");
    pair(&laptop, &tablet, "laptop", "tablet");
    let serving = laptop.up();
    worker.json(&["sync", "--peer", "laptop"]);
    assert_eq!(serving.terminate(), 0);

    laptop.json(&["devices", "role", "tablet", "phone"]);
    assert_eq!(device(&laptop.json(&["devices"]), "tablet")["roles"].as_array().unwrap().len(), 3);
    laptop.json(&["devices", "role", "tablet", "laptop"]);
    laptop.fails(&["devices", "revoke", "nobody"], 2);
    assert!(tablet.fails(&["devices", "revoke", "laptop"], 2).contains("made the vault"));
    assert!(worker.fails(&["devices", "revoke", "tablet"], 1).contains("operator key"));

    let revoked = device(&laptop.json(&["devices", "revoke", "worker"]), "worker");
    assert!(revoked["revoked"].is_string(), "{revoked}");
    assert_eq!(device(&laptop.json(&["devices"]), "tablet")["revoked"], Value::Null);

    // It goes on, and is told so.
    worker.write(&[("b.md", b"written afterwards\n")]);
    worker.json(&["commit"]);
    let serving = laptop.up();
    let synced = report(&worker, &["sync", "--peer", "laptop"]);
    let said = synced["peers"][0]["error"].as_str().unwrap();
    assert!(said.contains("this device was revoked"), "{said}");
    assert_eq!(worker.read("b.md"), "written afterwards\n");

    // Somebody who does not know yet takes it in, and gives it back with the revocation.
    let asked = worker.up();
    tablet.json(&["sync", "--peer", "worker"]);
    assert_eq!(tablet.read("b.md"), "written afterwards\n");
    tablet.json(&["sync", "--peer", "laptop"]);
    assert_eq!(asked.terminate(), 0);
    assert_eq!(tablet.read("b.md"), "");
    assert_eq!(laptop.read("b.md"), "");
    for one in [&laptop, &tablet] {
        let status = one.json(&["status"]);
        assert_eq!(status["held"], 1, "{status}");
        assert!(status["problems"].to_string().contains("aios devices adopt worker"), "{status}");
    }
    assert!(
        tablet.json(&["status"])["peers"].as_array().unwrap().iter().all(|peer| peer["name"] != "worker")
    );
    agree(&[&laptop, &tablet]);

    tablet.json(&["devices", "adopt", "worker"]);
    assert_eq!(tablet.read("b.md"), "written afterwards\n");
    tablet.json(&["sync", "--peer", "laptop"]);
    assert_eq!(serving.terminate(), 0);
    assert_eq!(laptop.read("b.md"), "written afterwards\n");
    assert_eq!(laptop.json(&["status"])["held"], 0);
    agree(&[&laptop, &tablet]);
}

#[test]
fn a_save_on_a_device_that_only_carries_is_told_and_keeps_nothing_else_back() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n"), ("c.md", b"one\n")]);
    let hub = Device::new(dir.path(), "hub");
    pair(&laptop, &hub, "carrier", "hub");
    let serving = laptop.up();
    hub.json(&["sync", "--peer", "laptop"]);
    hub.write(&[("a.md", b"saved where nobody may\n")]);
    laptop.write(&[("a.md", b"two\n"), ("b.md", b"two\n"), ("c.md", b"two\n")]);
    laptop.json(&["commit"]);
    let told = report(&hub, &["sync", "--peer", "laptop"]);
    assert_eq!(serving.terminate(), 0);
    assert_eq!((hub.read("b.md"), hub.read("c.md")), ("two\n".into(), "two\n".into()), "{told}");
    assert_eq!(hub.read("a.md"), "saved where nobody may\n");
    assert!(told.to_string().contains("role `write`"), "{told}");
}

#[test]
fn a_copied_folder_goes_on_as_another_device() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    let tablet = Device::new(dir.path(), "tablet");
    pair(&laptop, &tablet, "phone", "tablet");
    let copy = laptop.copy(dir.path(), "copy");
    laptop.write(&[("b.md", b"in the first\n")]);
    laptop.json(&["commit"]);
    copy.write(&[("c.md", b"in the copy\n")]);
    let said = copy.run(&["commit"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("goes on as device laptop-2"), "{said}");
    assert_eq!(copy.json(&["status"])["device"]["name"], "laptop-2");
    assert_eq!(laptop.json(&["status"])["device"]["name"], "laptop");

    let serving = tablet.up();
    copy.json(&["sync", "--peer", "tablet"]);
    laptop.json(&["sync", "--peer", "tablet"]);
    copy.json(&["sync", "--peer", "tablet"]);
    assert_eq!(serving.terminate(), 0);
    assert_eq!((copy.read("b.md"), laptop.read("c.md")), ("in the first\n".into(), "in the copy\n".into()));
    agree(&[&laptop, &tablet, &copy]);

    // An older state of a folder, brought back.
    let kept = copy.copy(dir.path(), "kept");
    copy.write(&[("d.md", b"after the backup\n")]);
    copy.json(&["commit"]);
    let serving = tablet.up();
    copy.json(&["sync", "--peer", "tablet"]);
    let report = report(&kept, &["sync", "--peer", "tablet"]);
    assert_eq!(serving.terminate(), 0);
    assert!(report["warnings"].to_string().contains("goes on as device laptop-3"), "{report}");
    assert_eq!(kept.read("d.md"), "after the backup\n");
}

#[test]
fn a_device_goes_on_under_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    let (phone, worker) = (Device::new(dir.path(), "phone"), Device::new(dir.path(), "worker"));
    pair(&laptop, &phone, "phone", "phone");
    pair(&laptop, &worker, "worker", "worker");
    let daemon = phone.up();
    assert!(phone.fails(&["devices", "rotate"], 1).contains("aios up"));
    assert_eq!(daemon.terminate(), 0);

    for (one, name) in [(&phone, "phone"), (&worker, "worker")] {
        let old = one.json(&["status"])["device"]["id"].clone();
        let listed = one.json(&["devices", "rotate"]);
        let new = one.json(&["status"])["device"]["id"].clone();
        assert_ne!(old, new);
        assert!(listed.as_array().unwrap().iter().any(|of| of["id"] == old && of["became"] == new));
        one.write(&[(&format!("{name}.md"), b"under the new key\n")]);
        // Nobody was asked, and the laptop follows.
        let serving = laptop.up();
        let synced = one.json(&["sync", "--peer", "laptop"]);
        assert_eq!(synced["peers"][0]["acknowledged"], true, "{synced}");
        one.json(&["sync", "--peer", "laptop"]);
        assert_eq!(serving.terminate(), 0);
        assert_eq!(laptop.read(&format!("{name}.md")), "under the new key\n");
        let peers = laptop.json(&["status"])["peers"].clone();
        assert!(peers.as_array().unwrap().iter().any(|peer| peer["name"] == name && peer["id"] == new));
    }
    // And the other way: the laptop calls it where it listened before.
    let serving = phone.up();
    let synced = laptop.json(&["sync", "--peer", "phone"]);
    assert_eq!(synced["peers"][0]["acknowledged"], true, "{synced}");
    assert_eq!(serving.terminate(), 0);
    laptop.json(&["devices", "rotate"]);
    let serving = laptop.up();
    phone.fails(&["sync", "--peer", "laptop", "--timeout", "5s"], 3);
    assert_eq!(serving.terminate(), 0);
    let serving = phone.up();
    laptop.json(&["sync", "--peer", "phone"]);
    assert_eq!(serving.terminate(), 0);
    agree(&[&laptop, &phone]);
    assert!(phone.fails(&["devices", "revoke", "laptop"], 2).contains("made the vault"));
}
