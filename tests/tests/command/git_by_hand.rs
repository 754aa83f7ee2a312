//! What a person does with git in the vault by hand is taken in, on every device, and none of it is lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use aios_tests::device::{Device, agree};

/// Two members of one vault.
fn two(dir: &std::path::Path, files: &[(&str, &[u8])]) -> (Device, Device) {
    let laptop = Device::first(dir, files);
    let phone = Device::new(dir, "phone");
    let mut up = laptop.start(&["pair", "--json"]);
    phone.join(&up.ticket(), "phone");
    assert_eq!(up.end().0, 0);
    (laptop, phone)
}

/// Takes in, syncs, and checks that both have the same.
fn sync(laptop: &Device, phone: &Device) {
    laptop.json(&["commit"]);
    let _up = laptop.up();
    let report = phone.json(&["sync"]);
    assert_eq!(report["synced"], true, "{report}");
    drop(_up);
    agree(&[laptop, phone]);
}

#[test]
fn stash_revert_checkout_amend_and_reset() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = two(dir.path(), &[("a.md", b"one\n"), ("b.md", b"b\n")]);
    // What is stashed is away, and comes back.
    laptop.write(&[("a.md", b"one\ntwo\n")]);
    laptop.git(&["stash"]);
    laptop.json(&["commit"]);
    assert_eq!(laptop.read("a.md"), "one\n");
    laptop.git(&["stash", "pop"]);
    sync(&laptop, &phone);
    assert_eq!(phone.read("a.md"), "one\ntwo\n");
    // A revert is an edit back.
    laptop.git(&["revert", "--no-edit", "HEAD"]);
    sync(&laptop, &phone);
    assert_eq!(phone.read("a.md"), "one\n");
    // One file of an older version, and one that is edited meanwhile.
    laptop.git(&["checkout", "HEAD~1", "--", "a.md"]);
    laptop.write(&[("b.md", b"b\nmore\n")]);
    sync(&laptop, &phone);
    assert_eq!((phone.read("a.md"), phone.read("b.md")), ("one\ntwo\n".into(), "b\nmore\n".into()));
    // A commit, the same again under another message, and back before it: what it brought stays in the history.
    laptop.write(&[("a.md", b"one\ntwo\nthree\n")]);
    laptop.git(&["commit", "-qam", "three"]);
    let by_hand = laptop.git(&["rev-parse", "HEAD"]);
    laptop.git(&["commit", "-q", "--amend", "-m", "three, amended"]);
    sync(&laptop, &phone);
    laptop.write(&[("a.md", b"one\ntwo\nthree\nfour\n")]);
    laptop.git(&["commit", "-qam", "four"]);
    laptop.json(&["commit"]);
    laptop.git(&["reset", "-q", "--hard", "HEAD~1"]);
    sync(&laptop, &phone);
    assert_eq!(phone.read("a.md"), "one\ntwo\nthree\n");
    let said = laptop.git(&["log", "-3", "--format=%s"]);
    assert!(said.contains("Go back to ") && said.contains(" with git: three, amended"), "{said}");
    assert_ne!(laptop.git(&["rev-parse", "HEAD"]), by_hand);
    phone.git(&["cat-file", "-e", "HEAD~3"]);
}

#[test]
fn renames_removals_and_changes_of_type() {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 6] = [
        ("drafts/a.md", b""),
        ("drafts/b.md", b""),
        ("gone-1.md", b"same\n"),
        ("gone-2.md", b"same\n"),
        ("run.sh", b"true\n"),
        ("link.md", b"text\n"),
    ];
    let (laptop, phone) = two(dir.path(), &files);
    laptop.git(&["mv", "drafts", "archive"]);
    laptop.git(&["rm", "-q", "gone-1.md", "gone-2.md"]);
    laptop.git(&["mv", "run.sh", "go.sh"]);
    fs::set_permissions(laptop.root.join("go.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(laptop.root.join("link.md")).unwrap();
    symlink("archive/a.md", laptop.root.join("link.md")).unwrap();
    laptop.git(&["add", "-A"]);
    laptop.git(&["commit", "-qm", "by hand"]);
    let by_hand = laptop.git(&["rev-parse", "HEAD"]);
    sync(&laptop, &phone);
    assert_eq!(phone.git(&["rev-parse", "HEAD"]), by_hand);
    assert_eq!(phone.git(&["ls-files"]), "archive/a.md\narchive/b.md\ngo.sh\nlink.md");
    assert_eq!(fs::read_link(phone.root.join("link.md")).unwrap().to_str(), Some("archive/a.md"));
    // Restored and undone as what it was.
    laptop.json(&["restore", "link.md", "--at", "HEAD~1"]);
    sync(&laptop, &phone);
    assert!(!phone.root.join("link.md").is_symlink());
    assert_eq!(phone.read("link.md"), "text\n");
    laptop.json(&["undo"]);
    sync(&laptop, &phone);
    assert!(phone.root.join("link.md").is_symlink());
}

#[test]
fn what_a_sparse_checkout_leaves_out_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = two(dir.path(), &[("clients/a.md", b"a\n"), ("other/b.md", b"b\n")]);
    laptop.git(&["sparse-checkout", "set", "clients"]);
    assert!(!laptop.root.join("other/b.md").exists());
    laptop.write(&[("clients/a.md", b"a\nmore\n")]);
    let said = laptop.fails(&["commit"], 3);
    assert!(said.contains("sparse checkout"), "{said}");
    laptop.git(&["sparse-checkout", "disable"]);
    sync(&laptop, &phone);
    assert_eq!((phone.read("clients/a.md"), phone.read("other/b.md")), ("a\nmore\n".into(), "b\n".into()));
}

#[test]
fn a_file_made_anew_reads_as_the_deleted_one_did() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"old\n"), ("b.md", b"b\n")]);
    let old = laptop.git(&["rev-parse", "HEAD"]);
    fs::remove_file(laptop.root.join("a.md")).unwrap();
    laptop.json(&["commit"]);
    laptop.write(&[("a.md", b"new\n")]);
    laptop.json(&["commit"]);
    laptop.json(&["restore", "a.md", "--at", &old]);
    assert_eq!(laptop.read("a.md"), "old\n");
    assert_eq!(laptop.git(&["ls-files"]), "a.md\nb.md");
    laptop.json(&["undo"]);
    assert_eq!(laptop.read("a.md"), "new\n");
    agree(&[&laptop]);
}

#[test]
fn on_another_branch_nothing_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = two(dir.path(), &[("a.md", b"a\n")]);
    laptop.git(&["switch", "-qc", "try"]);
    laptop.write(&[("a.md", b"tried\n")]);
    let said = laptop.fails(&["commit"], 3);
    assert!(said.contains("branch try"), "{said}");
    // What comes meanwhile is kept for git, too, however long that lasts.
    phone.write(&[("b.md", b"of the phone\n")]);
    {
        let _up = phone.up();
        laptop.run(&["sync"]);
    }
    laptop.git(&["-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now"]);
    laptop.git(&["cat-file", "-e", "refs/aios/head:b.md"]);
    laptop.git(&["checkout", "-q", "a.md"]);
    laptop.git(&["switch", "-q", "main"]);
    sync(&laptop, &phone);
    assert_eq!(phone.read("a.md"), "a\n");
}
