//! A bare git repository as a remote: two devices converge through it alone, and work that somebody pushes to it from a
//! plain clone is taken in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aios_tests::device::{Device, agree, pair};
use serde_json::Value;

fn git(at: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"];
    let out = Command::new("git").arg("-C").arg(at).args(who).args(args).output().expect("git runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "git {args:?} in {}: {said}", at.display());
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

fn bare(dir: &Path) -> PathBuf {
    let path = dir.join("hub.git");
    git(dir, &["init", "-q", "--bare", "-b", "main", path.to_str().unwrap()]);
    path
}

/// Two members of one vault with the repository `hub` as remote each.
fn two(dir: &Path, files: &[(&str, &[u8])]) -> (Device, Device, PathBuf) {
    let laptop = Device::first(dir, files);
    let phone = Device::new(dir, "phone");
    pair(&laptop, &phone, "laptop", "phone");
    let hub = bare(dir);
    for device in [&laptop, &phone] {
        let remotes = device.json(&["remote", "add", "hub", hub.to_str().unwrap()]);
        assert_eq!(remotes[0]["kind"], "git");
    }
    (laptop, phone, hub)
}

fn carry_by(device: &Device, remote: &str) -> Value {
    let report = device.json(&["sync", "--peer", remote]);
    assert_eq!(
        (&report["synced"], &report["peers"][0]["acknowledged"]),
        (&true.into(), &true.into()),
        "{report}"
    );
    report["peers"][0].clone()
}

fn carry(device: &Device) -> Value {
    carry_by(device, "hub")
}

/// What stands at `main` there, after checking that it is the head of `device`.
fn published(hub: &Path, device: &Device) -> String {
    let main = git(hub, &["rev-parse", "main"]);
    assert_eq!(device.stand().0, main);
    git(hub, &["fsck", "--strict"]);
    main
}

#[test]
fn two_converge_through_a_bare_repository_alone() {
    let dir = tempfile::tempdir().unwrap();
    let blob = [0_u8, 159, 146, 150].repeat(300_000);
    let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"# A\n\none\n\ntwo\n")]);
    laptop.write(&[("a.md", b"# A\n\none on the laptop\n\ntwo\n"), ("photo.bin", &blob)]);
    phone.write(&[("a.md", b"# A\n\none\n\ntwo on the phone\n"), ("b.md", b"new\n")]);
    let known = |device: &Device| device.json(&["status"])["remotes"][0]["acknowledged"] == true;
    assert!(!known(&laptop));
    carry(&laptop);
    assert!(known(&laptop) && !known(&phone));
    let first = published(&hub, &laptop);
    let report = carry(&phone);
    assert!(report["received"].as_u64().unwrap() > 0 && report["sent"].as_u64().unwrap() > 0, "{report}");
    assert!(fs::read(phone.root.join("photo.bin")).unwrap() == blob);
    carry(&laptop);
    assert_eq!(laptop.read("a.md"), "# A\n\none on the laptop\n\ntwo on the phone\n");
    let second = published(&hub, &laptop);
    git(&hub, &["merge-base", "--is-ancestor", &first, &second]);
    agree(&[&laptop, &phone]);

    // Nothing to do pushes nothing.
    let refs = git(&hub, &["for-each-ref"]);
    for device in [&laptop, &phone] {
        let report = carry(device);
        assert_eq!((&report["sent"], &report["received"]), (&0.into(), &0.into()));
    }
    assert_eq!(git(&hub, &["for-each-ref"]), refs);
    // What was lost there is pushed again.
    git(
        &hub,
        &[
            "update-ref",
            "-d",
            &format!("refs/aios/log/{}", laptop.json(&["status"])["device"]["id"].as_str().unwrap()),
        ],
    );
    carry(&phone);
    assert_eq!(git(&hub, &["for-each-ref", "refs/aios/log"]).lines().count(), 2);
}

#[test]
fn it_mixes_with_a_folder_and_with_meeting() {
    for order in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"one\n\ntwo\n\nthree\n")]);
        let worker = Device::new(dir.path(), "worker");
        pair(&laptop, &worker, "worker", "worker");
        let usb = dir.path().join("usb");
        fs::create_dir(&usb).unwrap();
        for device in [&phone, &worker] {
            device.json(&["remote", "add", "usb", usb.to_str().unwrap()]);
        }
        laptop.write(&[("a.md", b"one on the laptop\n\ntwo\n\nthree\n")]);
        phone.write(&[("a.md", b"one\n\ntwo on the phone\n\nthree\n")]);
        worker.write(&[("a.md", b"one\n\ntwo\n\nthree on the worker\n")]);
        let meet = || {
            let daemon = worker.up();
            laptop.json(&["sync", "--peer", "worker"]);
            assert_eq!(daemon.terminate(), 0);
        };
        let steps: [&dyn Fn(); 5] = [
            &|| _ = carry(&laptop),
            &|| _ = carry(&phone),
            &|| _ = carry_by(&phone, "usb"),
            &|| _ = carry_by(&worker, "usb"),
            &meet,
        ];
        for n in 0..10 {
            steps[if order == 0 { n % 5 } else { (9 - n) % 5 }]();
        }
        carry(&laptop);
        carry(&phone);
        carry_by(&phone, "usb");
        carry_by(&worker, "usb");
        agree(&[&laptop, &phone, &worker]);
        let merged = "one on the laptop\n\ntwo on the phone\n\nthree on the worker\n";
        assert_eq!(worker.read("a.md"), merged, "order {order}");
        published(&hub, &laptop);
    }
}

#[test]
fn work_from_a_plain_clone_is_taken_in_and_its_next_pull_fast_forwards() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"one\n\ntwo\n\nthree\n"), ("old.md", b"old\n")]);
    carry(&laptop);
    let clone = dir.path().join("clone");
    git(dir.path(), &["clone", "-q", hub.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::write(clone.join("a.md"), "one\n\ntwo by Ada\n\nthree\n").unwrap();
    git(&clone, &["commit", "-qam", "Ada was here"]);
    fs::write(clone.join("new.md"), "new\n").unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["mv", "old.md", "kept.md"]);
    git(&clone, &["commit", "-qm", "More of it"]);
    git(&clone, &["push", "-q"]);
    let pushed = git(&clone, &["rev-parse", "HEAD"]);
    // Made from what is here, their commits are taken as they are.
    carry(&laptop);
    assert_eq!(published(&hub, &laptop), pushed);
    assert_eq!(laptop.read("a.md"), "one\n\ntwo by Ada\n\nthree\n");
    assert_eq!((laptop.read("kept.md"), laptop.read("old.md")), ("old\n".into(), String::new()));
    assert_eq!(laptop.git(&["log", "-2", "--format=%an %s"]), "Ada More of it\nAda Ada was here");
    carry(&phone);
    agree(&[&laptop, &phone]);

    // Made from an older version, they are merged; author and message stay, and what is published goes on from them.
    laptop.write(&[("a.md", b"one\n\ntwo by Ada\n\nthree on the laptop\n")]);
    fs::write(clone.join("a.md"), "one by Ada\n\ntwo by Ada\n\nthree\n").unwrap();
    git(&clone, &["commit", "-qam", "Ada again"]);
    git(&clone, &["push", "-q"]);
    let pushed = git(&clone, &["rev-parse", "HEAD"]);
    carry(&laptop);
    assert_eq!(laptop.read("a.md"), "one by Ada\n\ntwo by Ada\n\nthree on the laptop\n");
    let main = published(&hub, &laptop);
    git(&hub, &["merge-base", "--is-ancestor", &pushed, &main]);
    git(&clone, &["pull", "-q", "--ff-only"]);
    assert_eq!(fs::read_to_string(clone.join("a.md")).unwrap(), laptop.read("a.md"));
    carry(&phone);
    agree(&[&laptop, &phone]);
    assert!(laptop.git(&["log", "--format=%an %s"]).contains("Ada Ada again"));
}

#[test]
fn amended_and_forced_work_takes_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"one\n\ntwo\n"), ("b.md", b"b\n")]);
    carry(&laptop);
    let clone = dir.path().join("clone");
    git(dir.path(), &["clone", "-q", hub.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::write(clone.join("a.md"), "one\n\ntwo\n\nthree by Ada\n").unwrap();
    git(&clone, &["commit", "-qam", "Three"]);
    git(&clone, &["push", "-q"]);
    let old = git(&clone, &["rev-parse", "HEAD"]);
    carry(&laptop);
    // What she did is changed in place, not added to what it was before.
    fs::write(clone.join("a.md"), "one\n\ntwo\n\nthree, said Ada\n").unwrap();
    git(&clone, &["commit", "-qa", "--amend", "-m", "Three, better"]);
    git(&clone, &["push", "-q", "--force"]);
    laptop.write(&[("b.md", b"b on the laptop\n")]);
    carry(&laptop);
    assert_eq!(laptop.read("a.md"), "one\n\ntwo\n\nthree, said Ada\n");
    let main = published(&hub, &laptop);
    git(&hub, &["merge-base", "--is-ancestor", &old, &main]);
    git(&clone, &["pull", "-q", "--ff-only"]);

    // A branch that leaves out what others published since takes none of it away.
    laptop.write(&[("b.md", b"b on the laptop\n\nmore of it\n")]);
    carry(&laptop);
    let left_out = git(&hub, &["rev-parse", "main"]);
    fs::write(clone.join("c.md"), "c\n").unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "-qm", "C"]);
    git(&clone, &["push", "-q", "--force"]);
    carry(&phone);
    assert_eq!(
        (phone.read("b.md"), phone.read("c.md")),
        ("b on the laptop\n\nmore of it\n".into(), "c\n".into())
    );
    let main = published(&hub, &phone);
    git(&hub, &["merge-base", "--is-ancestor", &left_out, &main]);
    git(&clone, &["pull", "-q", "--ff-only"]);
    carry(&laptop);
    agree(&[&laptop, &phone]);
}

#[test]
fn what_a_revoked_device_goes_on_to_publish_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"one\n\ntwo\n")]);
    carry(&laptop);
    carry(&phone);
    laptop.json(&["devices", "revoke", "phone"]);
    // It has not heard.
    phone.write(&[("a.md", b"one by the phone\n\ntwo\n"), ("b.md", b"new\n")]);
    carry(&phone);
    let theirs = published(&hub, &phone);
    let clone = dir.path().join("clone");
    git(dir.path(), &["clone", "-q", hub.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::write(clone.join("a.md"), "one by the phone\n\ntwo by Ada\n").unwrap();
    git(&clone, &["commit", "-qam", "By Ada"]);

    carry(&laptop);
    let sealed = published(&hub, &laptop);
    git(&hub, &["merge-base", "--is-ancestor", &theirs, &sealed]);
    assert_eq!(laptop.read("a.md"), "one\n\ntwo\n");
    assert!(!laptop.root.join("b.md").exists());
    assert_eq!(laptop.json(&["status"])["held"], 1);
    // Whoever had it sees it go.
    git(&clone, &["pull", "-q", "--no-rebase", "--no-edit"]);
    git(&clone, &["push", "-q"]);
    carry(&laptop);
    published(&hub, &laptop);
    assert_eq!(laptop.read("a.md"), "one\n\ntwo by Ada\n");
    assert_eq!(git(&clone, &["pull", "-q", "--ff-only"]), "");
    assert_eq!(fs::read_to_string(clone.join("a.md")).unwrap(), "one\n\ntwo by Ada\n");
    assert!(laptop.json(&["verify", "--deep"])["ok"].as_bool().unwrap());
}

#[test]
fn what_lies_there_is_proven_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"a\n")]);
    carry(&laptop);
    let own = format!("refs/aios/log/{}", laptop.json(&["status"])["device"]["id"].as_str().unwrap());
    // Somebody puts nonsense where the log was.
    let blob = git(&hub, &["hash-object", "-w", hub.join("HEAD").to_str().unwrap()]);
    let text = format!("100644 blob {blob}\t0000000001-0000000099\n");
    fs::write(dir.path().join("tree"), text).unwrap();
    let listing = fs::File::open(dir.path().join("tree")).unwrap();
    let tree = Command::new("git").arg("-C").arg(&hub).arg("mktree").stdin(listing).output().unwrap();
    let tree = String::from_utf8_lossy(&tree.stdout).trim().to_owned();
    let commit = git(&hub, &["commit-tree", &tree, "-m", "nonsense"]);
    git(&hub, &["update-ref", &own, &commit]);
    let out = phone.run(&["sync", "--peer", "hub", "--json"]);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(report["peers"][0]["skipped"][0]["why"].as_str().unwrap().contains("byte 0"), "{report}");
    carry(&laptop);
    assert_ne!(git(&hub, &["rev-parse", &own]), commit);
    laptop.write(&[("b.md", b"b\n")]);
    carry(&laptop);
    carry(&phone);
    assert_eq!(phone.read("b.md"), "b\n");
    carry(&laptop);
    agree(&[&laptop, &phone]);
}

#[test]
fn one_that_is_away_or_says_no_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let hub = bare(dir.path());
    laptop.json(&["remote", "add", "hub", hub.to_str().unwrap()]);
    fs::rename(&hub, dir.path().join("away")).unwrap();
    assert!(laptop.fails(&["sync"], 3).contains("cannot be reached"));
    fs::rename(dir.path().join("away"), &hub).unwrap();
    let hook = hub.join("hooks/pre-receive");
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let said = laptop.fails(&["sync"], 3);
    assert!(said.contains("does not take it") && said.contains("hook"), "{said}");
    fs::remove_file(&hook).unwrap();
    assert_eq!(laptop.json(&["sync"])["synced"], true);
    let work = dir.path().join("work");
    git(dir.path(), &["init", "-q", work.to_str().unwrap()]);
    assert!(laptop.fails(&["remote", "add", "w", work.to_str().unwrap(), "--git"], 1).contains("bare"));
}

#[test]
fn merges_and_amended_records_and_other_beginnings() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n\ntwo\n\nthree\n")]);
    let hub = bare(dir.path());
    // Somebody began it with a page of their own.
    let clone = dir.path().join("clone");
    git(dir.path(), &["clone", "-q", hub.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::write(clone.join("README.md"), "The hub\n").unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "-qm", "Begin"]);
    git(&clone, &["push", "-q", "origin", "HEAD:main"]);
    laptop.json(&["remote", "add", "hub", hub.to_str().unwrap()]);
    carry(&laptop);
    assert_eq!(
        (laptop.read("README.md"), laptop.read("a.md")),
        ("The hub\n".into(), "one\n\ntwo\n\nthree\n".into())
    );
    published(&hub, &laptop);
    git(&clone, &["pull", "-q", "--ff-only", "origin", "main"]);

    // A merge made by hand.
    fs::write(clone.join("a.md"), "one\n\ntwo by Ada\n\nthree\n").unwrap();
    git(&clone, &["commit", "-qam", "Two"]);
    laptop.write(&[("a.md", b"one\n\ntwo\n\nthree on the laptop\n")]);
    carry(&laptop);
    git(&clone, &["pull", "-q", "--no-rebase", "--no-edit", "origin", "main"]);
    git(&clone, &["push", "-q", "origin", "HEAD:main"]);
    carry(&laptop);
    assert_eq!(laptop.read("a.md"), "one\n\ntwo by Ada\n\nthree on the laptop\n");
    published(&hub, &laptop);

    // The commit of a record, amended.
    laptop.write(&[("a.md", b"one\n\ntwo by Ada\n\nthree on the laptop, a thought\n")]);
    carry(&laptop);
    let old = git(&hub, &["rev-parse", "main"]);
    git(&clone, &["pull", "-q", "--ff-only", "origin", "main"]);
    fs::write(clone.join("a.md"), "one\n\ntwo by Ada\n\nthree on the laptop, a better thought\n").unwrap();
    git(&clone, &["commit", "-qa", "--amend", "--no-edit"]);
    git(&clone, &["push", "-q", "--force", "origin", "HEAD:main"]);
    carry(&laptop);
    assert_eq!(laptop.read("a.md"), "one\n\ntwo by Ada\n\nthree on the laptop, a better thought\n");
    let main = published(&hub, &laptop);
    git(&hub, &["merge-base", "--is-ancestor", &old, &main]);
    agree(&[&laptop]);

    // Names that only case tells apart cannot both stand; their commit stays an ancestor on every device.
    git(&clone, &["pull", "-q", "--ff-only", "origin", "main"]);
    fs::write(clone.join("readme.md"), "Another\n").unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "-qm", "Lower case"]);
    git(&clone, &["push", "-q", "origin", "HEAD:main"]);
    carry(&laptop);
    published(&hub, &laptop);
    agree(&[&laptop]);

    // Another vault does not mix with this one.
    let other = Device::new(&dir.path().join("other"), "other");
    other.write(&[("x.md", b"x\n")]);
    other.json(&["init", other.root.to_str().unwrap(), "--name", "other"]);
    other.json(&["remote", "add", "hub", hub.to_str().unwrap()]);
    assert!(other.fails(&["sync"], 3).contains("another vault"));
    assert_eq!(other.read("a.md"), "");
}

#[test]
fn one_push_taken_in_twice_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, hub) = two(dir.path(), &[("a.md", b"one\n")]);
    carry(&laptop);
    carry(&phone);
    let second = dir.path().join("second.git");
    git(dir.path(), &["clone", "-q", "--mirror", hub.to_str().unwrap(), second.to_str().unwrap()]);
    phone.json(&["remote", "remove", "hub"]);
    phone.json(&["remote", "add", "hub", second.to_str().unwrap()]);
    let clone = dir.path().join("clone");
    git(dir.path(), &["clone", "-q", hub.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::write(clone.join("a.md"), "one\ntwo by Ada\n").unwrap();
    git(&clone, &["commit", "-qam", "Two"]);
    git(&clone, &["push", "-q"]);
    git(&clone, &["push", "-q", second.to_str().unwrap(), "main"]);
    carry(&laptop);
    carry(&phone);
    let daemon = phone.up();
    assert_eq!(laptop.json(&["sync", "--peer", "phone"])["synced"], true);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(laptop.read("a.md"), "one\ntwo by Ada\n");
    agree(&[&laptop, &phone]);
}
