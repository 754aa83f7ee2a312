//! A sealed vault, as processes of the program: readers agree, and whatever carries it, a device, a folder or a git repository,
//! holds nothing that could be read.

use std::path::{Path, PathBuf};
use std::process::Command;

use aios_tests::device::{Device, agree, pair};

const SECRET: &str = "the price is 4711";

fn git(at: &Path, args: &[&str]) -> Vec<u8> {
    let out = Command::new("git").arg("-C").arg(at).args(args).output().expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn picture() -> Vec<u8> {
    [&[0_u8, 159, 146, 150][..], SECRET.as_bytes(), &[7; 3_000_000]].concat()
}

/// A sealed vault on a laptop, a second reader, and a file with the phrase.
fn sealed(dir: &Path) -> (Device, Device, PathBuf) {
    let laptop = Device::new(dir, "laptop");
    laptop.write(&[("offer.md", format!("{SECRET}\n").as_bytes()), ("logo.png", &picture())]);
    let root = text(&laptop.root);
    let made = laptop.json(&["init", &root, "--name", "Acme", "--device", "laptop", "--sealed"]);
    let paper = dir.join("paper");
    std::fs::write(&paper, made["phrase"].as_str().unwrap()).unwrap();
    let phone = Device::new(dir, "phone");
    pair(&laptop, &phone, "phone", "phone");
    (laptop, phone, paper)
}

/// Files below `folder`, with their bytes; of a git repository its objects, unpacked.
fn everything(folder: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            out.extend(text(&path).into_bytes());
            match path.is_dir() {
                true => waiting.push(path),
                false => out.extend(std::fs::read(&path).unwrap_or_default()),
            }
        }
    }
    if folder.join(".git").exists() || folder.join("HEAD").exists() {
        let all =
            git(folder, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"]);
        for line in String::from_utf8(all).unwrap().lines() {
            let (id, kind) = line.split_once(' ').unwrap();
            out.extend(git(folder, &["cat-file", kind, id]));
        }
    }
    out
}

fn tells(folder: &Path, what: &str) -> bool {
    everything(folder).windows(what.len()).any(|window| window == what.as_bytes())
}

#[test]
fn a_carrier_brings_a_sealed_vault_from_one_reader_to_the_other_and_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, _) = sealed(dir.path());
    agree(&[&laptop, &phone]);
    assert_eq!(phone.read("offer.md"), format!("{SECRET}\n"));
    assert_eq!(std::fs::read(phone.root.join("logo.png")).unwrap(), picture());
    let hub = Device::new(dir.path(), "hub");
    pair(&laptop, &hub, "carrier", "hub");
    let status = hub.json(&["status"]);
    assert_eq!((&status["sealed"], &status["files"]), (&true.into(), &0.into()), "{status}");
    assert!(status["closed"].as_u64().unwrap() > 0 && status["problems"].as_array().unwrap().is_empty());
    assert!(!tells(&hub.root, SECRET) && !tells(&hub.root, "offer.md"));
    hub.json(&["verify", "--deep"]);
    let said = hub.fails(&["commit"], 1);
    assert!(said.contains("only carries"), "{said}");

    // From now on the readers meet the carrier alone.
    let up = hub.up();
    let first = laptop.up();
    phone.json(&["sync", "--peer", "laptop"]);
    assert_eq!(first.terminate(), 0);
    laptop.write(&[("news.md", b"from the laptop\n"), ("late.png", &[0, 1, 2, 3])]);
    laptop.json(&["sync", "--peer", "hub"]);
    phone.json(&["sync", "--peer", "hub"]);
    assert_eq!(phone.read("news.md"), "from the laptop\n");
    assert_eq!(std::fs::read(phone.root.join("late.png")).unwrap(), [0, 1, 2, 3]);
    phone.write(&[("offer.md", b"the price is lower\n")]);
    phone.json(&["sync", "--peer", "hub"]);
    laptop.json(&["sync", "--peer", "hub"]);
    assert_eq!(laptop.read("offer.md"), "the price is lower\n");
    assert_eq!(up.terminate(), 0);
    agree(&[&laptop, &phone]);
    for what in ["from the laptop", "news.md", "the price is lower"] {
        assert!(!tells(&hub.root, what), "{what}");
    }
    hub.json(&["verify", "--deep"]);
}

#[test]
fn remotes_of_a_sealed_vault_tell_nothing_and_the_phrase_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, paper) = sealed(dir.path());
    let (stick, hub) = (dir.path().join("stick"), dir.path().join("hub.git"));
    std::fs::create_dir(&stick).unwrap();
    git(dir.path(), &["init", "-q", "--bare", "-b", "main", &text(&hub)]);
    for (name, place) in [("stick", &stick), ("hub", &hub)] {
        laptop.json(&["remote", "add", name, &text(place)]);
        phone.json(&["remote", "add", name, &text(place)]);
    }
    // What looks like a secret stops nothing: it is not told.
    laptop.write(&[("key.md", b"password: hunter2hunter2\n"), ("from stick.md", b"by the stick\n")]);
    laptop.json(&["sync", "--peer", "stick"]);
    phone.json(&["sync", "--peer", "stick"]);
    assert_eq!(phone.read("from stick.md"), "by the stick\n");
    phone.write(&[("from hub.md", b"by the hub\n"), ("more.png", &[9, 8, 7, 0])]);
    phone.json(&["sync", "--peer", "hub"]);
    laptop.json(&["sync", "--peer", "hub"]);
    assert_eq!(laptop.read("from hub.md"), "by the hub\n");
    assert_eq!(std::fs::read(laptop.root.join("more.png")).unwrap(), [9, 8, 7, 0]);
    agree(&[&laptop, &phone]);
    for place in [&stick, &hub] {
        for what in [SECRET, "offer.md", "hunter2", "by the stick", "from hub"] {
            assert!(!tells(place, what), "{} tells {what}", place.display());
        }
    }
    assert!(git(&hub, &["for-each-ref", "refs/heads"]).is_empty(), "a branch tells what the log says");
    git(&hub, &["fsck", "--strict"]);

    // Who is revoked does not read what comes.
    laptop.json(&["devices", "revoke", "phone"]);
    laptop.write(&[("late.md", b"not for the phone\n")]);
    laptop.json(&["sync", "--peer", "stick"]);
    phone.run(&["sync", "--peer", "stick"]);
    assert!(!tells(&phone.root, "not for the phone"));

    for (name, place) in [("desk", &stick), ("desk-2", &hub)] {
        laptop.json(&["sync", "--peer", if place == &stick { "stick" } else { "hub" }]);
        let desk = Device::new(dir.path(), name);
        let (root, from, paper) = (text(&desk.root), text(place), text(&paper));
        desk.json(&["recover", &root, "--from", &from, "--phrase-file", &paper, "--device", name]);
        assert_eq!(desk.read("offer.md"), format!("{SECRET}\n"));
        assert_eq!(std::fs::read(desk.root.join("logo.png")).unwrap(), picture());
        desk.write(&[("again.md", name.as_bytes())]);
        desk.json(&["sync", "--peer", "origin"]);
        laptop.json(&["sync", "--peer", if place == &stick { "stick" } else { "hub" }]);
        assert_eq!(laptop.read("again.md"), name);
        agree(&[&laptop, &desk]);
    }
}

/// How many points lie between two at which it is killed.
const STRIDE: usize = 83;

#[test]
fn a_carrier_that_is_killed_while_it_opens_what_it_has_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, _, _) = sealed(dir.path());
    let hub = Device::new(dir.path(), "hub");
    pair(&laptop, &hub, "carrier", "hub");
    laptop.json(&["devices", "role", "hub", "worker"]);
    let stick = dir.path().join("stick");
    std::fs::create_dir(&stick).unwrap();
    laptop.json(&["remote", "add", "stick", &text(&stick)]);
    laptop.json(&["sync", "--peer", "stick"]);
    hub.json(&["remote", "add", "stick", &text(&stick)]);
    // Each time from the same state, with the same keys.
    let before = dir.path().join("before");
    let copy = |from: &Path, to: &Path| {
        _ = std::fs::remove_dir_all(to);
        let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(done.unwrap().success());
    };
    let keys = dir.path().join("keys").join("hub");
    copy(&hub.root, &before);
    copy(&keys, &dir.path().join("before-keys"));
    let mut point = 1;
    loop {
        copy(&before, &hub.root);
        copy(&dir.path().join("before-keys"), &keys);
        let args = ["sync", "--peer", "stick"];
        let killed = hub.run_under(&format!("*=crash@{point}"), &args);
        let report = hub.json(&args);
        assert_eq!(report["synced"], true, "killed at {point}: {report}");
        assert_eq!(hub.read("offer.md"), format!("{SECRET}\n"), "killed at {point}");
        assert_eq!(std::fs::read(hub.root.join("logo.png")).unwrap(), picture(), "killed at {point}");
        assert_eq!(hub.json(&["status"])["closed"], 0, "killed at {point}");
        if killed.status.success() {
            assert!(point > 2 * STRIDE, "{point}");
            agree(&[&laptop, &hub]);
            return;
        }
        point += STRIDE;
    }
}
