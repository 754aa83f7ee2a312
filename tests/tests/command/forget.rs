//! A file that is forgotten: no device that hears of it has a byte of it left, over whatever route it hears, and git remotes are told.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use aios_tests::device::{Device, agree, eventually, pair};
use aios_tests::reader;

const SECRET: &str = "Ondine Vasseur";

/// Where the name still stands: in files as they are, and in git's objects as git gives them.
fn knows(root: &Path) -> Vec<String> {
    fn walk(at: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
                continue;
            }
            let (mut bytes, name) = (Vec::new(), SECRET.as_bytes());
            let read = fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
            if read.is_ok() && bytes.windows(name.len()).any(|window| window == name) {
                out.push(path.display().to_string());
            }
        }
    }
    let mut out = Vec::new();
    walk(root, &mut out);
    let objects = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["cat-file", "--batch-all-objects", "--batch", "--buffer"])
        .output()
        .unwrap();
    if objects.stdout.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
        out.push(format!("git in {}", root.display()));
    }
    out
}

/// Two members, of which both wrote to the file at once.
fn two(dir: &Path) -> (Device, Device) {
    let laptop = Device::first(dir, &[("todo.md", b"Buy paper\n")]);
    let phone = Device::new(dir, "phone");
    pair(&laptop, &phone, "laptop", "phone");
    laptop.write(&[("clients/ondine.md", format!("# {SECRET}\n\none\n\ntwo\n").as_bytes())]);
    meet(&laptop, &phone);
    laptop.write(&[("clients/ondine.md", format!("# {SECRET}\n\none, says {SECRET}\n\ntwo\n").as_bytes())]);
    phone.write(&[("clients/ondine.md", format!("# {SECRET}\n\none\n\ntwo, says {SECRET}\n").as_bytes())]);
    meet(&laptop, &phone);
    phone.write(&[("todo.md", b"Buy paper\nand ink\n")]);
    meet(&laptop, &phone);
    (laptop, phone)
}

fn meet(laptop: &Device, phone: &Device) {
    let daemon = phone.up();
    laptop.json(&["sync", "--peer", "phone"]);
    assert_eq!(daemon.terminate(), 0);
}

fn sound(device: &Device) {
    let report = device.json(&["verify", "--deep"]);
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["forgotten"][0]["path"], "clients/ondine.md");
    device.git(&["fsck", "--full", "--strict"]);
    assert_eq!(device.git(&["status", "--porcelain"]), "");
    reader::check(&device.root);
}

#[test]
fn those_who_hear_of_it_and_those_who_join_have_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = two(dir.path());
    assert!(!knows(&laptop.root).is_empty());
    assert!(laptop.fails(&["forget", "clients"], 3).contains("--yes"));
    assert!(!knows(&laptop.root).is_empty());
    let head = laptop.stand().0;
    // A daemon hears of it while it lives.
    let daemon = phone.up();
    let done = laptop.json(&["forget", "clients", "--yes"]);
    assert_eq!(done["forgotten"][0]["path"], "clients/ondine.md", "{done}");
    assert_eq!(knows(&laptop.root), Vec::<String>::new());
    laptop.json(&["sync", "--peer", "phone"]);
    eventually("the phone has dropped it", || knows(&phone.root).is_empty());
    assert_eq!(daemon.terminate(), 0);
    agree(&[&laptop, &phone]);
    let worker = Device::new(dir.path(), "worker");
    pair(&laptop, &worker, "worker", "worker");
    // The phone hears of the new member.
    meet(&laptop, &phone);
    agree(&[&laptop, &phone, &worker]);
    for device in [&laptop, &phone, &worker] {
        assert_eq!(knows(&device.root), Vec::<String>::new());
        sound(device);
    }
    // What was there before is there still.
    worker.git(&["merge-base", "--is-ancestor", head.as_str().unwrap(), "HEAD"]);
    assert_eq!(worker.read("todo.md"), "Buy paper\nand ink\n");
    let said = worker.fails(&["restore", "clients/ondine.md", "--at", head.as_str().unwrap()], 3);
    assert!(said.contains("forgotten"), "{said}");
}

#[test]
fn a_git_remote_gets_logs_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = two(dir.path());
    let hub = dir.path().join("hub.git");
    let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&hub).status().unwrap();
    assert!(made.success());
    for device in [&laptop, &phone] {
        device.json(&["remote", "add", "hub", hub.to_str().unwrap()]);
        device.json(&["sync", "--peer", "hub"]);
    }
    let done = laptop.json(&["forget", "clients", "--yes"]);
    assert_eq!(done["remotes"][0], "hub");
    let report = laptop.json(&["sync", "--peer", "hub"]);
    assert_eq!(report["synced"], true, "{report}");
    assert_eq!(knows(&laptop.root), Vec::<String>::new());
    // Its `main` still has what was published; its logs have not.
    let logs = |name: &str| {
        let out = Command::new("git")
            .arg("-C")
            .arg(&hub)
            .args(["rev-list", "--objects", "--all", "--glob", name])
            .output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    assert!(!logs("refs/aios/log/*").is_empty());
    for line in logs("refs/aios/log/*").lines() {
        let (id, path) = line.split_once(' ').unwrap_or((line, ""));
        let bytes =
            Command::new("git").arg("-C").arg(&hub).args(["cat-file", "-p", id]).output().unwrap().stdout;
        let tells = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!tells || path.starts_with("clients/"), "{line}");
    }
    let report = phone.json(&["sync", "--peer", "hub"]);
    assert_eq!(report["synced"], true, "{report}");
    agree(&[&laptop, &phone]);
    for device in [&laptop, &phone] {
        device.json(&["sync", "--peer", "hub"]);
        assert_eq!(knows(&device.root), Vec::<String>::new());
        sound(device);
    }
}
