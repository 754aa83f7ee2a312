//! One replica on a real folder, with real git.

use std::path::Path;
use std::process::Command;

use aios_vault::absorb::AbsorbOptions;
use aios_vault::create::NewVault;
use aios_vault::{Vault, keys};

fn data() -> &'static Path {
    keys::use_data_dir(&std::env::temp_dir().join(format!("aios-test-{}", std::process::id())))
}

fn quiet() -> impl FnMut(&str, u64, u64) {
    |_: &str, _, _| {}
}

fn git(root: &Path, args: &[&str]) -> String {
    let out = Command::new("git").arg("-C").arg(root).args(args).output().expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn a_vault_that_rests_wakes_to_what_a_killed_process_left_in_the_log() {
    data();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::write(root.join("a.md"), "one\n").unwrap();
    let (mut vault, absorbed) = Vault::create(root, &NewVault::default(), &mut quiet()).unwrap();
    vault.finish(absorbed, &mut quiet()).unwrap();
    let vault = vault.rest().unwrap().wake().unwrap();
    let device = vault.device();
    let before = vault.view().get(&device);
    let resting = vault.rest().unwrap();
    std::fs::write(root.join("a.md"), "one\ntwo\n").unwrap();
    {
        let mut other = Vault::open(root).unwrap();
        let _armed = aios_vault::disk::fault::arm("database.commit=eio").unwrap();
        assert!(other.commit(&AbsorbOptions::default(), &mut quiet()).is_err());
    }
    let mut vault = resting.wake().unwrap();
    assert_eq!(vault.view().get(&device), before + 1, "the record that is in the log only");
    std::fs::write(root.join("a.md"), "one\ntwo\nthree\n").unwrap();
    vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!(std::fs::read_to_string(root.join("a.md")).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn init_edit_commit() {
    data();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::write(root.join("a.md"), "---\ntitle: A\n---\nHello\n").unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    std::fs::write(root.join("sub/b.txt"), "one\ntwo\n").unwrap();
    let (mut vault, absorbed) = Vault::create(root, &NewVault::default(), &mut quiet()).unwrap();
    assert_eq!(absorbed.changed.len(), 2);
    let round = vault.finish(absorbed, &mut quiet()).unwrap();
    assert_eq!(git(root, &["rev-parse", "HEAD"]), round.head.unwrap().to_string());
    assert_eq!(git(root, &["status", "--porcelain"]), "");
    git(root, &["fsck", "--strict"]);

    std::fs::write(root.join("a.md"), "---\ntitle: B\n---\nHello world\n").unwrap();
    std::fs::rename(root.join("sub/b.txt"), root.join("c.txt")).unwrap();
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!(round.absorbed.changed.len(), 2, "{:?}", round.absorbed);
    assert_eq!(git(root, &["status", "--porcelain"]), "");
    assert_eq!(git(root, &["show", "HEAD:a.md"]), "---\ntitle: B\n---\nHello world");
    assert_eq!(git(root, &["rev-list", "--count", "HEAD"]), "2");

    let nothing = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!(nothing.absorbed.record, None);
    assert_eq!(nothing.head, round.head);
    drop(vault);
    let mut vault = Vault::open(root).unwrap();
    std::fs::remove_file(root.join("c.txt")).unwrap();
    git(root, &["-c", "user.name=Ada", "-c", "user.email=a@x", "commit", "-qam", "by hand"]);
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!(git(root, &["rev-parse", "HEAD"]), round.head.unwrap().to_string());
    assert_eq!(git(root, &["log", "-1", "--format=%s by %an"]), "by hand by Ada");
    assert_eq!(git(root, &["status", "--porcelain"]), "");
    git(root, &["fsck", "--strict"]);
}
