//! A phone has all records, and the bytes of pictures and other blobs once it is asked for them.

use std::path::Path;

use aios_tests::device::{Device, agree, eventually, pair};
use serde_json::{Value, json};

const PICTURE: &[u8] = &[0, 159, 146, 150, 1];
const OTHER: &[u8] = &[0, 159, 146, 150, 2];

/// A laptop with some files, and a phone that has joined as such.
fn laptop_and_phone(dir: &Path) -> (Device, Device) {
    let laptop = Device::first(dir, &[("a.md", b"# Hello\n"), ("pics/logo.png", PICTURE)]);
    let phone = Device::new(dir, "phone");
    let mut pairing = laptop.start(&["pair", "--json", "--role", "phone"]);
    let root = phone.root.to_string_lossy().into_owned();
    phone.json(&["join", &pairing.ticket(), &root, "--device", "phone", "--profile", "phone"]);
    assert_eq!(pairing.end().0, 0);
    (laptop, phone)
}

fn away(device: &Device) -> Vec<Value> {
    let status = device.json(&["status"]);
    assert_eq!(status["problems"], json!([]));
    status["on_demand"].as_array().unwrap().iter().map(|away| away["path"].clone()).collect()
}

#[test]
fn a_phone_fetches_when_it_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = laptop_and_phone(dir.path());
    assert_eq!((phone.read("a.md").as_str(), away(&phone)), ("# Hello\n", vec![json!("pics/logo.png")]));
    assert!(!phone.root.join("pics").exists());
    agree(&[&laptop, &phone]);
    // Nobody is there who has it.
    assert!(phone.fails(&["fetch", "pics"], 3).contains("have not come"));
    assert!(phone.fails(&["fetch", "no such"], 2).contains("not known"));
    let daemon = laptop.up();
    let done = phone.json(&["fetch", "pics"]);
    assert_eq!(done, json!({"fetched": ["pics/logo.png"], "waiting": []}));
    assert_eq!(std::fs::read(phone.root.join("pics/logo.png")).unwrap(), PICTURE);
    assert_eq!(phone.json(&["fetch", "--all"]), json!({"fetched": [], "waiting": []}));
    // What is here is kept as new as the rest; the phone's own go to the others.
    laptop.write(&[("pics/logo.png", OTHER), ("pics/new.png", b"\0new")]);
    phone.write(&[("photo.jpg", b"\0photo")]);
    eventually("the picture is taken in", || laptop.json(&["status"])["pending"] == json!([]));
    phone.json(&["sync"]);
    assert_eq!(std::fs::read(phone.root.join("pics/logo.png")).unwrap(), OTHER);
    assert_eq!(away(&phone), ["pics/new.png"]);
    eventually("the photo comes", || laptop.root.join("photo.jpg").exists());
    let status = laptop.json(&["status"]);
    assert_eq!((&status["peers"][0]["on_demand"], &status["only_here"]), (&json!(true), &json!(3)));
    // An older version, which no other command had need of, comes when one has.
    let first = laptop.json(&["log", "pics/logo.png"]).as_array().unwrap().last().unwrap()["record"].clone();
    phone.json(&["restore", "pics/logo.png", "--at", first.as_str().unwrap()]);
    assert_eq!(std::fs::read(phone.root.join("pics/logo.png")).unwrap(), PICTURE);
    let out = dir.path().join("out");
    phone.json(&["export", &out.to_string_lossy()]);
    assert_eq!(std::fs::read(out.join("files/pics/new.png")).unwrap(), b"\0new");
    phone.json(&["sync"]);
    assert_eq!(daemon.terminate(), 0);
    agree(&[&laptop, &phone]);
}

#[test]
fn a_phone_remembers_what_it_is_until_it_is_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("logo.png", PICTURE), ("large.png", &PICTURE.repeat(100))]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    assert!(away(&phone).is_empty());
    let daemon = laptop.up();
    phone.json(&["sync", "--profile", "phone", "--blobs-below", "100"]);
    laptop.write(&[("small.png", OTHER), ("larger.png", &PICTURE.repeat(101))]);
    eventually("they are taken in", || laptop.json(&["status"])["pending"] == json!([]));
    // With a daemon, and without being told again.
    let own = phone.up();
    eventually("the small one comes", || phone.root.join("small.png").exists());
    eventually("the large one is known", || away(&phone) == ["larger.png"]);
    assert_eq!(phone.json(&["fetch", "larger.png"])["fetched"], json!(["larger.png"]));
    laptop.write(&[("last.png", &PICTURE.repeat(102))]);
    eventually("that one is known", || away(&phone) == ["last.png"]);
    phone.json(&["sync", "--profile", "laptop"]);
    eventually("everything comes", || phone.root.join("last.png").exists());
    assert_eq!(own.terminate(), 0);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(phone.fails(&["sync", "--blobs-below", "1MB"], 2).matches("--profile").count().min(1), 1);
    agree(&[&laptop, &phone]);
}

#[test]
fn a_folder_carries_what_a_phone_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = laptop_and_phone(dir.path());
    let stick = dir.path().join("stick");
    std::fs::create_dir(&stick).unwrap();
    for device in [&laptop, &phone] {
        device.json(&["remote", "add", "stick", &stick.to_string_lossy()]);
    }
    laptop.json(&["sync", "--peer", "stick"]);
    assert_eq!(phone.json(&["sync", "--peer", "stick"])["synced"], json!(true));
    assert_eq!(away(&phone), ["pics/logo.png"]);
    // The member is not reached, and the stick has it.
    assert_eq!(
        phone.json(&["fetch", "pics/logo.png", "--timeout", "10s"])["fetched"],
        json!(["pics/logo.png"])
    );
    agree(&[&laptop, &phone]);
}
