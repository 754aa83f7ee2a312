//! Names, sizes and refusals of a real file system.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use aios_tests::device::{Device, agree, pair};

#[test]
fn odd_names_and_large_files_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let longest = format!("{}.md", "x".repeat(252));
    let names = [
        longest.as_str(),
        "CON",
        "trailing.",
        "trailing ",
        "-rf",
        "a\\b.md",
        "\u{1f980}.md",
        "e\u{301}.md",
        "*?.md",
        "'\".md",
    ];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    let laptop = Device::first(dir.path(), &files);
    let line = format!("{}\n", "word ".repeat(1_000));
    laptop.write(&[("long.md", line.as_bytes()), ("nul.md", b"a\0b"), ("latin.md", b"caf\xe9\n")]);
    fs::File::create(laptop.root.join("big.bin")).unwrap().set_len(200 << 20).unwrap();
    laptop.json(&["commit"]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    for name in names {
        assert_eq!(phone.read(name), name);
    }
    assert_eq!(phone.read("long.md"), line);
    assert_eq!(fs::read(phone.root.join("latin.md")).unwrap(), b"caf\xe9\n");
    assert_eq!(fs::metadata(phone.root.join("big.bin")).unwrap().len(), 200 << 20);
    agree(&[&laptop, &phone]);
}

/// A file system gives a number that is free again to the next file: that does not make it the old one under another name.
#[test]
fn a_number_used_again_is_another_file() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("b.md", b"b\n")]);
    let number = |name: &str| fs::metadata(laptop.root.join(name)).unwrap().ino();
    for n in 0..20 {
        let (old, new) = (format!("old-{n}.md"), format!("x/new-{n}.md"));
        fs::create_dir_all(laptop.root.join("x")).unwrap();
        laptop.write(&[(&old, b"met Ann on Monday\n")]);
        laptop.json(&["commit"]);
        let before = number(&old);
        fs::remove_file(laptop.root.join(&old)).unwrap();
        laptop.write(&[(&new, b"met Bob on Monday\n")]);
        if number(&new) != before {
            laptop.json(&["commit"]);
            continue;
        }
        let report = laptop.json(&["commit"]);
        let changes: Vec<_> =
            report["changed"].as_array().unwrap().iter().map(|it| it["change"].as_str().unwrap()).collect();
        assert_eq!(changes, ["deleted", "added"], "{report}");
        return;
    }
    println!("skipped: this file system gives no number twice");
}

/// A small file system of its own, unmounted when dropped.
struct Small<'p>(&'p Path);

impl<'p> Small<'p> {
    fn mount(at: &'p Path) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(at);
        mount.output().ok()?.status.success().then_some(Small(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::new(dir.path(), "laptop");
    let Some(_small) = Small::mount(&laptop.root) else {
        println!("skipped: a file system can be mounted by root alone");
        return;
    };
    laptop.write(&[("a.md", b"one\n")]);
    let root = laptop.root.to_string_lossy().into_owned();
    laptop.json(&["init", &root, "--device", "laptop"]);
    let acknowledged = laptop.stand();
    laptop.write(&[("a.md", b"one\ntwo\n")]);
    // All that is left, by a file that no vault takes in.
    let filler = laptop.root.join(".aios/tmp/filler");
    let fill = |size: usize| fs::write(&filler, vec![7; size]);
    let room = (0..6 << 10).rev().find(|size| fill(size << 10).is_ok()).unwrap();
    for left in [0, 8, 64, 256, 512] {
        fill(room.saturating_sub(left) << 10).unwrap();
        let out = laptop.run(&["commit"]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() || said.contains("error: "), "{said}");
        assert_eq!(laptop.read("a.md"), "one\ntwo\n");
    }
    fs::remove_file(&filler).unwrap();
    laptop.json(&["commit"]);
    assert_ne!(laptop.stand(), acknowledged);
    agree(&[&laptop]);
    assert_eq!(laptop.git(&["show", "HEAD:a.md"]), "one\ntwo");
}

#[test]
fn a_file_that_may_not_be_read_keeps_nothing_else_out() {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n"), ("b.md", b"b\n")]);
    let given = Command::new("chown").args(["-R", "65534:65534"]).arg(dir.path()).status();
    let nobody =
        |args: &[&str]| laptop.command(args).uid(NOBODY).gid(NOBODY).env("HOME", dir.path()).output();
    if !given.is_ok_and(|given| given.success()) || !nobody(&["status"]).is_ok_and(|out| out.status.success())
    {
        println!("skipped: another user can be taken on by root alone, and must be able to run the program");
        return;
    }
    fs::write(laptop.root.join("b.md"), "b\nmore\n").unwrap();
    let locked = laptop.root.join("locked.md");
    fs::write(&locked, "locked\n").unwrap();
    let closed: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    for path in [&locked, &laptop.root.join("a.md")] {
        fs::set_permissions(path, closed.clone()).unwrap();
    }
    let out = nobody(&["commit"]).unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("locked.md") && said.contains("a.md"), "{said}");
    assert_eq!(laptop.git(&["-c", "safe.directory=*", "show", "HEAD:b.md"]), "b\nmore");
    assert_eq!(laptop.git(&["-c", "safe.directory=*", "show", "HEAD:a.md"]), "a");
    // A folder in which nothing may be written.
    let closed: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    fs::set_permissions(laptop.root.join(".aios"), closed.clone()).unwrap();
    fs::write(laptop.root.join("b.md"), "b\nagain\n").unwrap();
    let out = nobody(&["commit"]).unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("error: ") && said.contains("hint: "), "{said}");
    let open: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(laptop.root.join(".aios"), open).unwrap();
    assert_eq!(nobody(&["commit"]).unwrap().status.code(), Some(3));
    assert_eq!(laptop.git(&["-c", "safe.directory=*", "show", "HEAD:b.md"]), "b\nagain");
}
