//! Coming back with the recovery phrase, as processes of the program: from a stick and from a bare git repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use aios_tests::device::{Device, agree, pair};
use serde_json::Value;

/// A new vault on a laptop, and a file with its phrase.
fn vault(dir: &Path, files: &[(&str, &[u8])]) -> (Device, PathBuf) {
    let laptop = Device::new(dir, "laptop");
    laptop.write(files);
    let made = laptop.json(&["init", &laptop.root.to_string_lossy(), "--name", "Acme", "--device", "laptop"]);
    let phrase = made["phrase"].as_str().unwrap();
    assert_eq!(phrase.split(' ').count(), 12, "{phrase}");
    let paper = dir.join("paper");
    std::fs::write(&paper, format!("  {}\n", phrase.replace(' ', "\n").to_uppercase())).unwrap();
    (laptop, paper)
}

fn bare(dir: &Path) -> String {
    let path = dir.join("hub.git");
    let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&path).status();
    assert!(made.unwrap().success());
    path.to_string_lossy().into_owned()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn recover(device: &Device, from: &str, paper: &Path, name: &str) -> Value {
    let root = text(&device.root);
    device.json(&["recover", &root, "--from", from, "--phrase-file", &text(paper), "--device", name])
}

#[test]
fn a_vault_comes_back_from_a_bare_repository() {
    let dir = tempfile::tempdir().unwrap();
    let blob: Vec<u8> = (0..40_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (laptop, paper) = vault(dir.path(), &[("a.md", b"one\n"), ("scan.pdf", &blob)]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    let hub = bare(dir.path());
    for device in [&laptop, &phone] {
        device.json(&["remote", "add", "hub", &hub]);
        device.write(&[("a.md", format!("one\n{}\n", device.root.display()).as_bytes())]);
        device.json(&["sync", "--peer", "hub"]);
    }
    // The laptop is stolen: it revokes the phone, and nobody hears of it yet.
    laptop.json(&["devices", "revoke", "phone"]);

    let desk = Device::new(dir.path(), "desk");
    let report = recover(&desk, &hub, &paper, "desk");
    assert_eq!(report["vault_name"], "Acme");
    assert_eq!(report["members"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(std::fs::read(desk.root.join("scan.pdf")).unwrap(), blob);
    // The same once more changes nothing.
    let again = recover(&desk, &hub, &paper, "desk");
    assert_eq!((&again["device"], &again["head"]), (&report["device"], &report["head"]));

    phone.json(&["sync", "--peer", "hub"]);
    phone.fails(&["devices", "revoke", "laptop"], 2);
    phone.json(&["devices", "revoke", "laptop", "--phrase-file", &text(&paper)]);
    phone.json(&["devices", "role", "phone", "laptop", "--phrase-file", &text(&paper)]);
    assert_eq!(phone.json(&["status"])["device"]["roles"].as_array().unwrap().len(), 6);
    desk.write(&[("b.md", b"on the new one\n")]);
    for device in [&desk, &phone, &desk] {
        device.json(&[
            "sync",
            "--peer",
            if std::ptr::eq(device, &raw const desk) { "origin" } else { "hub" },
        ]);
    }
    // What the thief said comes too late.
    assert!(laptop.run(&["sync", "--peer", "hub"]).status.code().is_some());
    assert!(laptop.fails(&["commit"], 1).contains("was revoked by phone"));
    desk.json(&["sync", "--peer", "origin"]);
    phone.json(&["sync", "--peer", "hub"]);
    agree(&[&desk, &phone]);
    let members = desk.json(&["status"])["peers"].clone();
    assert_eq!(members.as_array().unwrap().len(), 1, "{members}");
    assert_eq!(members[0]["name"], "phone");
}

/// How many points lie between two at which it is killed.
const STRIDE: usize = 9;

#[test]
fn a_recovery_that_is_killed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, paper) = vault(dir.path(), &[("a.md", b"one\n"), ("in/b.md", b"two\n")]);
    let stick = dir.path().join("stick");
    std::fs::create_dir(&stick).unwrap();
    laptop.json(&["remote", "add", "stick", &text(&stick)]);
    laptop.json(&["sync", "--peer", "stick"]);
    let mut point = 1;
    loop {
        let own = dir.path().join(format!("stick-{point}"));
        let copied = Command::new("cp").arg("-a").arg(&stick).arg(&own).status();
        assert!(copied.unwrap().success());
        let desk = Device::new(dir.path(), &format!("desk-{point}"));
        let (root, from, paper) = (text(&desk.root), text(&own), text(&paper));
        let args = ["recover", &root, "--from", &from, "--phrase-file", &paper, "--device", "desk"];
        let killed = desk.run_under(&format!("*=crash@{point}"), &args);
        let report = desk.json(&args);
        assert_eq!(report["name"], "desk", "killed at {point}");
        assert_eq!(report["problems"].as_array().unwrap().len(), 0, "killed at {point}: {report}");
        assert_eq!((desk.read("a.md"), desk.read("in/b.md")), ("one\n".into(), "two\n".into()));
        assert_eq!(desk.json(&["devices"]).as_array().unwrap().len(), 2, "killed at {point}");
        if killed.status.success() {
            assert!(point > 5 * STRIDE, "{point}");
            agree(&[&desk]);
            return;
        }
        point += STRIDE;
    }
}

#[test]
fn wrong_words_and_wrong_places_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, paper) = vault(dir.path(), &[("a.md", b"one\n")]);
    let stick = dir.path().join("stick");
    std::fs::create_dir(&stick).unwrap();
    let (stick, root) = (text(&stick), text(&dir.path().join("desk")));
    let desk = Device::new(dir.path(), "desk");
    let asked = |from: &str, words: &str, code: i32| {
        let file = dir.path().join("words");
        std::fs::write(&file, words).unwrap();
        let said = desk.fails(&["recover", &root, "--from", from, "--phrase-file", &text(&file)], code);
        assert!(!desk.root.exists(), "nothing is made");
        said
    };
    let right = std::fs::read_to_string(&paper).unwrap();
    assert!(asked(&stick, &right, 1).contains("there is no vault"));
    assert!(asked(&bare(dir.path()), &right, 1).contains("there is no vault"));
    laptop.json(&["remote", "add", "stick", &stick]);
    laptop.json(&["sync", "--peer", "stick"]);
    assert!(asked(&stick, "one two three", 2).contains("has 12 words, not 3"));
    let words: Vec<&str> = right.split_whitespace().collect();
    let slip = [&["abandn"], &words[1..]].concat().join(" ");
    assert!(asked(&stick, &slip, 2).contains("word 1 "));
    let other = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    assert!(asked(&stick, other, 1).contains("not the one of this vault"));
    let swapped = "winner legal thank year wave sausage worth useful legal winner thank yellow";
    assert!(asked(&stick, swapped, 2).contains("do not fit together"));
    assert!(asked(&text(&dir.path().join("nothing")), &right, 1).contains("there is no folder"));
    assert_eq!(recover(&desk, &stick, &paper, "desk")["files"], 1);
    // Another phrase on the laptop, and the first goes on to hold.
    laptop.json(&["recovery", "new"]);
    assert_eq!(laptop.json(&["recovery"])["phrases"].as_array().unwrap().len(), 2);
    assert_eq!(laptop.json(&["recovery", "check", "--phrase-file", &text(&paper)])["ok"], true);
    assert!(desk.fails(&["recovery", "new"], 2).contains("laptop"));
    // The laptop was stolen: it is no member any more when the first hear of the new device.
    let tower = Device::new(dir.path(), "tower");
    let (root, paper) = (text(&tower.root), text(&paper));
    let args = ["recover", &root, "--from", &stick, "--phrase-file", &paper, "--device", "tower"];
    assert!(tower.fails(&[&args[..], &["--revoke", "nobody"]].concat(), 2).contains("nobody"));
    for _ in 0..2 {
        tower.json(&[&args[..], &["--revoke", "laptop"]].concat());
    }
    desk.json(&["sync", "--peer", "origin"]);
    assert!(laptop.run(&["sync", "--peer", "stick"]).status.code().is_some());
    assert!(laptop.fails(&["commit"], 1).contains("was revoked by tower"));
    let peers = desk.json(&["status"])["peers"].clone();
    assert_eq!(
        peers.as_array().map(|peers| peers.iter().map(|peer| peer["name"].clone()).collect()),
        Some(vec![Value::from("tower")])
    );
}
