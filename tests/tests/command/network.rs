//! Devices on one machine as processes of the program: pairing, joining, syncing, and what goes wrong.

use std::fs;
use std::time::{Duration, Instant};

use aios_tests::device::{Device, Running, agree, eventually, pair};
use serde_json::Value;

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

#[test]
fn three_devices_come_to_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let blob = noise(20 << 20);
    let laptop = Device::first(
        dir.path(),
        &[("a.md", b"# A\n\none\n\ntwo\n"), ("sub/b.txt", b"b\n"), ("photo.bin", &blob)],
    );
    let (phone, worker) = (Device::new(dir.path(), "phone"), Device::new(dir.path(), "worker"));
    let joined = pair(&laptop, &phone, "phone", "phone");
    assert_eq!(joined["files"], 3);
    assert_eq!((joined["head"].clone(), joined["state"].clone()), laptop.stand());
    assert!(fs::read(phone.root.join("photo.bin")).unwrap() == blob, "the blob is another");
    pair(&laptop, &worker, "worker", "worker");

    let roles = |name: &str| {
        let devices = laptop.json(&["devices"]);
        let device = devices.as_array().unwrap().iter().find(|device| device["name"] == name).cloned();
        serde_json::to_string(&device.unwrap()["roles"]).unwrap()
    };
    assert_eq!(roles("phone"), r#"["write","carry","approve"]"#);
    assert_eq!(roles("worker"), r#"["write","carry","credentials"]"#);
    assert!(worker.fails(&["pair"], 1).contains("operator key"));

    // Apart, all edit one file.
    laptop.write(&[("a.md", b"# A\n\none on the laptop\n\ntwo\n")]);
    phone.write(&[("a.md", b"# A\n\none\n\ntwo on the phone\n")]);
    worker.write(&[("c.md", b"from the worker\n")]);
    for device in [&laptop, &phone, &worker] {
        device.json(&["commit"]);
    }
    let daemons: Vec<Running> = [&laptop, &phone, &worker].map(Device::up).into_iter().collect();
    eventually("all are synced", || {
        let reports: Vec<Value> = [&laptop, &phone, &worker]
            .iter()
            .map(|device| {
                let out = device.run(&["sync", "--json", "--timeout", "20s"]);
                serde_json::from_slice(&out.stdout).unwrap_or_default()
            })
            .collect();
        reports.iter().all(|report| report["synced"] == true && report["head"] == reports[0]["head"])
    });
    // The daemons write what comes, and bring what changes.
    let merged = "# A\n\none on the laptop\n\ntwo on the phone\n";
    eventually("the edits are everywhere", || {
        [&laptop, &phone, &worker]
            .iter()
            .all(|device| device.read("a.md") == merged && device.read("c.md") == "from the worker\n")
    });
    laptop.write(&[("new/d.md", b"later\n")]);
    eventually("an edit arrives", || {
        phone.read("new/d.md") == "later\n" && worker.read("new/d.md") == "later\n"
    });
    let twice = laptop.fails(&["up", "--no-ui"], 1);
    assert!(twice.contains("process"), "{twice}");
    // Commands work while the daemon runs.
    laptop.write(&[("e.md", b"by hand\n")]);
    laptop.json(&["commit", "-m", "by hand"]);
    eventually("a commit arrives", || worker.read("e.md") == "by hand\n");
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    eventually("all stand at the same", || {
        laptop.stand() == phone.stand() && phone.stand() == worker.stand()
    });
    agree(&[&laptop, &phone, &worker]);
}

#[test]
fn a_folder_with_files_joins() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"same\n"), ("b.md", b"on the laptop\n")]);
    let phone = Device::new(dir.path(), "phone");
    phone.write(&[("a.md", b"same\n"), ("b.md", b"on the phone\n"), ("mine/c.md", b"only here\n")]);
    let joined = pair(&laptop, &phone, "laptop", "phone");
    assert_eq!(joined["files"], 3);
    assert_eq!(laptop.read("mine/c.md"), "only here\n");
    assert_eq!(laptop.read("a.md"), "same\n");
    for text in ["on the laptop\n", "on the phone\n"] {
        assert!(laptop.read("b.md").contains(text), "{}", laptop.read("b.md"));
    }
    assert_eq!(laptop.read("b.md"), phone.read("b.md"));
    assert!(laptop.json(&["status"])["synced"] == true);
    agree(&[&laptop, &phone]);
}

#[test]
fn a_git_history_beneath_comes_along() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::new(dir.path(), "laptop");
    fs::create_dir_all(&laptop.root).unwrap();
    laptop.git(&["init", "-q", "-b", "main"]);
    for n in 0..5 {
        laptop.write(&[("a.md", format!("version {n}\n").as_bytes())]);
        laptop.git(&["add", "."]);
        let message = format!("Version {n}");
        laptop.git(&["-c", "user.name=Ada", "-c", "user.email=a@x", "commit", "-qm", &message]);
    }
    let old = laptop.git(&["rev-parse", "HEAD"]);
    let laptop = Device::first(dir.path(), &[]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    assert!(phone.git(&["log", "--format=%H"]).contains(&old));
    agree(&[&laptop, &phone]);
}

#[test]
fn a_join_that_was_killed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let blob = noise(48 << 20);
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n"), ("photo.bin", &blob)]);
    let phone = Device::new(dir.path(), "phone");
    let mut pairing = laptop.start(&["pair", "--json"]);
    let ticket = pairing.ticket();
    let joining = phone.start(&["join", &ticket, phone.root.to_str().unwrap(), "--device", "phone"]);
    let partial = phone.root.join(".aios/partial");
    eventually("a part of the blob is here", || {
        let files = fs::read_dir(&partial).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|found| found.len() > 0)
            || phone.root.join("photo.bin").exists()
    });
    drop(joining);
    let joined = phone.join(&ticket, "phone");
    assert_eq!(joined["files"], 2);
    assert!(fs::read(phone.root.join("photo.bin")).unwrap() == blob, "the blob is another");
    assert_eq!(pairing.end().0, 0);
    assert_eq!(laptop.json(&["devices"]).as_array().unwrap().len(), 2);
    agree(&[&laptop, &phone]);
}

#[test]
fn tickets_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let (phone, thief) = (Device::new(dir.path(), "phone"), Device::new(dir.path(), "thief"));
    let try_to_join = |device: &Device, ticket: &str, code: i32| {
        device.fails(&["join", ticket, device.root.to_str().unwrap(), "--device", "x"], code)
    };
    assert!(try_to_join(&phone, "hello", 2).contains("not a ticket"));

    let mut brief = laptop.start(&["pair", "--json", "--expires", "1s"]);
    let ticket = brief.ticket();
    assert_eq!(brief.end().0, 1);
    assert!(try_to_join(&phone, &ticket, 1).contains("expired"));

    let daemon = laptop.up();
    let mut pairing = laptop.start(&["pair", "--json"]);
    let ticket = pairing.ticket();
    assert!(try_to_join(&phone, &ticket[..ticket.len() - 9], 2).contains("cut off"));
    let changed = if ticket.ends_with('a') { "b" } else { "a" };
    assert!(
        try_to_join(&phone, &format!("{}{changed}", &ticket[..ticket.len() - 1]), 2).contains("mistyped")
    );
    assert!(!phone.root.join(".aios").exists(), "nothing is made for a ticket that is no use");
    // A name that is taken can be chosen anew with the same ticket.
    let taken = phone.fails(&["join", &ticket, phone.root.to_str().unwrap(), "--device", "Laptop"], 1);
    assert!(taken.contains("Laptop") && taken.contains("--device"), "{taken}");
    // The vault that made it is no device that could join, and one that has joined needs none.
    assert!(laptop.fails(&["join", &ticket, laptop.root.to_str().unwrap()], 2).contains("another folder"));
    phone.join(&ticket, "phone");
    assert_eq!(pairing.end().0, 0);
    let again = phone.run(&["join", &ticket, phone.root.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("the ticket is unused"), "{again:?}");
    assert!(try_to_join(&thief, &ticket, 1).contains("used"));
    assert!(!thief.root.join(".aios").exists());
    assert_eq!(daemon.terminate(), 0);
    // Nobody is there any more.
    assert!(
        try_to_join(&Device::new(dir.path(), "late"), &ticket, 3).contains("`aios pair` must still wait")
    );
}

#[test]
fn a_member_that_is_away_is_not_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    laptop.write(&[("b.md", b"b\n")]);
    let began = Instant::now();
    let out = laptop.run(&["sync", "--json"]);
    assert!(began.elapsed() < Duration::from_secs(40));
    assert_eq!(out.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["synced"], &report["peers"][0]["reached"]), (&false.into(), &false.into()));
    assert_eq!(laptop.json(&["status"])["synced"], false);
    laptop.fails(&["sync", "--peer", "nobody"], 2);

    // It comes back, and one side calls.
    let daemon = phone.up();
    let report = laptop.json(&["sync", "--peer", "phone"]);
    assert_eq!((&report["synced"], &report["peers"][0]["acknowledged"]), (&true.into(), &true.into()));
    eventually("the phone has written it", || phone.read("b.md") == "b\n");
    assert_eq!(daemon.terminate(), 0);
    agree(&[&laptop, &phone]);

    laptop.json(&["devices", "rename", "phone", "handset"]);
    assert!(laptop.fails(&["devices", "rename", "handset", "laptop"], 1).contains("another device"));
    assert_eq!(laptop.json(&["devices"])[1]["name"], "handset");
}

#[test]
fn whoever_pairs_is_told_at_once_what_cannot_be() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let long = "n".repeat(70);
    for args in [["--name", ""], ["--name", &long], ["--name", "Laptop"], ["--expires", "0s"]] {
        let out = laptop.run(&[&["pair"], &args[..]].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(out.stdout.is_empty(), "{args:?}: no ticket");
    }
    assert!(laptop.fails(&["sync", "--timeout", "0s"], 2).contains("hint: "));
    for daemon in [false, true] {
        let up = daemon.then(|| laptop.up());
        let mut pairing = laptop.command(&["pair", "--json"]);
        let mut pairing = pairing.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(pairing.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ticket: Value = serde_json::from_str(&line).unwrap();
        let ticket = ticket["ticket"].as_str().unwrap();
        let phone = Device::new(dir.path(), if daemon { "tablet" } else { "phone" });
        let root = phone.root.to_str().unwrap();
        let taken = phone.fails(&["join", ticket, root, "--device", "Laptop"], 1);
        assert!(taken.contains("Laptop"), "{taken}");
        phone.join(ticket, if daemon { "tablet" } else { "phone" });
        let mut said = String::new();
        pairing.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(pairing.wait().unwrap().code(), Some(0), "{said}");
        assert!(said.contains("could not join") && said.contains("Laptop"), "{said}");
        if let Some(up) = up {
            assert_eq!(up.terminate(), 0);
        }
    }
}
