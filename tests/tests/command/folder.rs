//! A folder as a remote: members who never meet come to the same through it, and nothing in it is believed unproven.

use std::fs;
use std::path::{Path, PathBuf};

use aios_tests::device::{Device, agree, pair};
use serde_json::Value;

/// Two members of one vault with a folder as remote `usb` each; they do not meet any more.
fn two(dir: &Path, files: &[(&str, &[u8])]) -> (Device, Device, PathBuf) {
    let laptop = Device::first(dir, files);
    let phone = Device::new(dir, "phone");
    pair(&laptop, &phone, "laptop", "phone");
    let usb = dir.join("usb");
    fs::create_dir(&usb).unwrap();
    for device in [&laptop, &phone] {
        let remotes = device.json(&["remote", "add", "usb", usb.to_str().unwrap()]);
        assert_eq!((&remotes[0]["name"], &remotes[0]["kind"]), (&"usb".into(), &"folder".into()));
    }
    (laptop, phone, usb)
}

/// Syncs with the folder alone, which must hold all afterwards.
fn carry(device: &Device) -> Value {
    let report = device.json(&["sync", "--peer", "usb"]);
    assert_eq!(
        (&report["synced"], &report["peers"][0]["acknowledged"]),
        (&true.into(), &true.into()),
        "{report}"
    );
    report["peers"][0].clone()
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(files(&path)),
            false => out.push(path),
        }
    }
    out.sort();
    out
}

/// The files of records that a folder holds.
fn records(usb: &Path) -> Vec<PathBuf> {
    files(usb).into_iter().filter(|path| path.to_string_lossy().contains("/records/")).collect()
}

#[test]
fn two_who_never_meet_converge() {
    let dir = tempfile::tempdir().unwrap();
    let blob = [0_u8, 159, 146, 150].repeat(300_000);
    let (laptop, phone, usb) = two(dir.path(), &[("a.md", b"# A\n\none\n\ntwo\n")]);
    laptop.write(&[("a.md", b"# A\n\none on the laptop\n\ntwo\n"), ("photo.bin", &blob)]);
    phone.write(&[("a.md", b"# A\n\none\n\ntwo on the phone\n"), ("b.md", b"new\n")]);
    assert!(carry(&laptop)["sent"].as_u64().unwrap() > 0);
    let there = files(&usb);
    let report = carry(&phone);
    assert_eq!(report["received"], 1);
    assert!(fs::read(phone.root.join("photo.bin")).unwrap() == blob);
    assert!(there.iter().all(|file| file.exists()), "files are never taken away");
    carry(&laptop);
    assert_eq!(laptop.read("a.md"), "# A\n\none on the laptop\n\ntwo on the phone\n");
    agree(&[&laptop, &phone]);

    // Nothing to do costs no file, and says so.
    let there = files(&usb);
    for device in [&laptop, &phone] {
        let report = carry(device);
        assert_eq!((&report["sent"], &report["received"]), (&0.into(), &0.into()));
    }
    assert_eq!(files(&usb), there);
}

#[test]
fn it_mixes_with_meeting_in_any_order() {
    for order in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let (laptop, phone, _) = two(dir.path(), &[("a.md", b"one\n\ntwo\n\nthree\n")]);
        let worker = Device::new(dir.path(), "worker");
        pair(&laptop, &worker, "worker", "worker");
        laptop.write(&[("a.md", b"one on the laptop\n\ntwo\n\nthree\n")]);
        phone.write(&[("a.md", b"one\n\ntwo on the phone\n\nthree\n")]);
        worker.write(&[("a.md", b"one\n\ntwo\n\nthree on the worker\n")]);
        let meet = || {
            let daemon = worker.up();
            laptop.json(&["sync", "--peer", "worker"]);
            assert_eq!(daemon.terminate(), 0);
        };
        let steps: [&dyn Fn(); 3] = [&|| _ = carry(&phone), &|| _ = carry(&laptop), &meet];
        for n in 0..3 {
            steps[if order == 0 { n } else { 2 - n }]();
        }
        carry(&laptop);
        meet();
        carry(&laptop);
        carry(&phone);
        let merged = "one on the laptop\n\ntwo on the phone\n\nthree on the worker\n";
        assert_eq!(worker.read("a.md"), merged, "order {order}");
        agree(&[&laptop, &phone, &worker]);
    }
}

#[test]
fn what_is_torn_foreign_or_lying_is_named_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, usb) = two(dir.path(), &[("a.md", b"a\n")]);
    laptop.write(&[("b.md", b"b\n")]);
    carry(&laptop);
    let whole = records(&usb);
    // A copy that a program made of a file, one that was never finished, a text; and one that is torn.
    let torn = whole.last().unwrap();
    let bytes = fs::read(torn).unwrap();
    fs::write(torn.with_file_name(format!("{} (copy)", torn.file_name().unwrap().to_str().unwrap())), &bytes)
        .unwrap();
    fs::write(torn.with_file_name(".part-0011"), b"half").unwrap();
    fs::write(torn.with_file_name("notes.txt"), b"mine").unwrap();
    fs::write(torn, &bytes[..bytes.len() - 7]).unwrap();
    let report = phone.json(&["sync", "--peer", "usb"]);
    let skipped = report["peers"][0]["skipped"].as_array().unwrap().clone();
    assert_eq!(skipped.len(), 3, "{report}");
    assert!(skipped.iter().any(|skipped| skipped["why"].as_str().unwrap().contains("torn")));
    // What this one has it writes; what the torn file held it cannot know of.
    assert_eq!(phone.read("b.md"), "");
    // Who has it writes it anew: what is torn counts for nothing.
    let mended = laptop.json(&["sync", "--peer", "usb"]);
    assert_eq!(mended["peers"][0]["acknowledged"], true, "{mended}");
    carry(&phone);
    assert_eq!(phone.read("b.md"), "b\n");
    laptop.json(&["sync", "--peer", "usb"]);
    agree(&[&laptop, &phone]);

    // A file that went away is no delete: whoever has it brings it back.
    records(&usb).iter().for_each(|file| fs::remove_file(file).unwrap());
    assert!(carry(&phone)["sent"].as_u64().unwrap() > 0);
    assert!(!records(&usb).is_empty());
    assert_eq!(phone.read("b.md"), "b\n");
    let other = Device::new(&dir.path().join("other"), "other");
    other.write(&[("x.md", b"of another vault\n")]);
    other.json(&["init", other.root.to_str().unwrap(), "--name", "other"]);
    other.json(&["remote", "add", "usb", usb.to_str().unwrap()]);
    other.json(&["sync", "--peer", "usb"]);
    // Even where a file of another vault is put among ours, under a name that fits.
    let alien =
        records(&usb).into_iter().find(|path| !torn.starts_with(path.ancestors().nth(3).unwrap())).unwrap();
    let device = alien.parent().unwrap().file_name().unwrap();
    let among = torn.ancestors().nth(2).unwrap().join(device);
    fs::create_dir(&among).unwrap();
    fs::copy(&alien, among.join(alien.file_name().unwrap())).unwrap();
    let report = carry(&laptop);
    assert!(report["skipped"].to_string().contains("another vault"), "{report}");
    agree(&[&laptop, &phone]);
}

#[test]
fn one_that_is_away_is_not_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let usb = dir.path().join("usb");
    let said = laptop.fails(&["remote", "add", "usb", usb.to_str().unwrap()], 1);
    assert!(said.contains("plug"), "{said}");
    fs::create_dir(&usb).unwrap();
    laptop.fails(&["remote", "add", "laptop", usb.to_str().unwrap()], 1);
    laptop.fails(&["remote", "add", "usb", dir.path().to_str().unwrap()], 1);
    laptop.json(&["remote", "add", "usb", usb.to_str().unwrap()]);
    assert!(laptop.fails(&["remote", "add", "usb", usb.to_str().unwrap()], 1).contains("already"));
    // A vault alone is in sync with its stick.
    assert_eq!(laptop.json(&["sync"])["synced"], true);
    // An empty mount point, and none at all, are no empty stick.
    fs::rename(&usb, dir.path().join("away")).unwrap();
    laptop.write(&[("b.md", b"b\n")]);
    assert!(laptop.fails(&["sync"], 3).contains("plug it in"));
    fs::create_dir(&usb).unwrap();
    assert!(laptop.fails(&["sync"], 3).contains("plug the device in"));
    assert!(files(&usb).is_empty());
    fs::remove_dir(&usb).unwrap();
    fs::rename(dir.path().join("away"), &usb).unwrap();
    assert_eq!(laptop.json(&["sync"])["synced"], true);
    laptop.json(&["remote", "remove", "usb"]);
    laptop.fails(&["remote", "remove", "usb"], 2);
    assert_eq!(laptop.json(&["remote", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn status_says_what_a_remote_had_when_it_was_last_read() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    assert_eq!(laptop.json(&["status"])["remotes"], serde_json::json!([]));
    let usb = dir.path().join("usb");
    fs::create_dir(&usb).unwrap();
    laptop.json(&["remote", "add", "usb", usb.to_str().unwrap()]);
    let remote = || laptop.json(&["status"])["remotes"][0].clone();
    let text = || String::from_utf8_lossy(&laptop.run(&["status"]).stdout).into_owned();
    let named = |key: &str| remote()[key].as_str().map(str::to_owned);
    assert_eq!((named("name"), named("kind")), (Some("usb".into()), Some("folder".into())));
    assert_eq!(named("url"), Some(fs::canonicalize(&usb).unwrap().to_str().unwrap().to_owned()));
    assert_eq!((&remote()["acknowledged"], &remote()["last_seen"]), (&false.into(), &Value::Null));
    assert!(text().contains("never reached"), "{}", text());
    laptop.json(&["sync"]);
    let seen = named("last_seen").unwrap();
    assert_eq!(remote()["acknowledged"], true);
    assert!(text().contains(&format!("has everything, last reached at {seen}")), "{}", text());
    // What was taken in since is not there, whether or not it is.
    laptop.write(&[("b.md", b"b\n")]);
    laptop.json(&["commit"]);
    assert_eq!(remote()["acknowledged"], false);
    fs::rename(&usb, dir.path().join("away")).unwrap();
    laptop.fails(&["sync"], 3);
    assert_eq!((&remote()["acknowledged"], named("last_seen")), (&false.into(), Some(seen)));
    fs::rename(dir.path().join("away"), &usb).unwrap();
    laptop.json(&["sync"]);
    assert_eq!(remote()["acknowledged"], true);
}

#[test]
fn a_daemon_carries_when_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, _) = two(dir.path(), &[("a.md", b"a\n")]);
    laptop.write(&[("b.md", b"b\n")]);
    carry(&laptop);
    let daemon = phone.up();
    aios_tests::device::eventually("it has come", || phone.read("b.md") == "b\n");
    phone.write(&[("c.md", b"c\n")]);
    // Through the daemon, at once.
    carry(&phone);
    assert_eq!(daemon.terminate(), 0);
    carry(&laptop);
    assert_eq!(laptop.read("c.md"), "c\n");
    carry(&phone);
    agree(&[&laptop, &phone]);
}

#[test]
fn what_looks_like_a_secret_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let laptop =
        Device::first(dir.path(), &[("notes/keys.md", format!("# Keys\n\nuse {token}\n").as_bytes())]);
    // It is in history even where it was taken out again.
    laptop.write(&[("notes/keys.md", b"# Keys\n")]);
    laptop.json(&["commit"]);
    let usb = dir.path().join("usb");
    fs::create_dir(&usb).unwrap();
    laptop.json(&["remote", "add", "usb", usb.to_str().unwrap()]);
    let said = laptop.fails(&["sync"], 1);
    assert!(said.contains("notes/keys.md:3") && said.contains("GitHub token"), "{said}");
    assert!(said.contains("--allow-secrets") && !said.contains(&token), "{said}");
    assert!(files(&usb).is_empty());
    assert_eq!(laptop.json(&["sync", "--allow-secrets"])["synced"], true);
    // What was allowed is allowed for good, another is asked for anew.
    laptop.write(&[("b.md", b"b\n")]);
    assert_eq!(laptop.json(&["sync"])["synced"], true);
    laptop.write(&[("c.md", b"---\npassword: hunter22\n---\n")]);
    assert!(laptop.fails(&["sync"], 1).contains("c.md:2"));
}
