//! Working files that are not what was last taken in are named, each once, and in words that say what it may be.

use super::{Sample, check, commit, git, quiet};
use aios_vault::Vault;
use aios_vault::absorb::AbsorbOptions;
use std::path::Path;

/// What `verify` finds, being one thing, at `at`.
fn found(root: &Path, at: &str) -> String {
    let report = check(root, false);
    assert_eq!((report.findings.len(), report.mends), (1, false), "{report:#?}");
    assert_eq!(report.findings[0].at, at, "{report:#?}");
    report.findings[0].what.clone()
}

/// Makes the database take `path` for untouched: a disk that loses a bit changes no time.
fn look_untouched(root: &Path, path: &str) {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(root.join(path)).unwrap();
    let ns = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
    let (mtime, ctime) = (ns(meta.mtime(), meta.mtime_nsec()), ns(meta.ctime(), meta.ctime_nsec()));
    let db = rusqlite::Connection::open(root.join(".aios/cache.sqlite")).unwrap();
    let args = (mtime, ctime, ctime + 60_000_000_000, meta.ino() as i64, path);
    assert_eq!(
        db.execute("UPDATE file SET mtime = ?, ctime = ?, seen = ?, ino = ? WHERE path = ?", args).unwrap(),
        1
    );
}

#[test]
fn a_file_changed_behind_its_time_is_named() {
    let sample = Sample::new();
    let root = sample.root();
    let path = root.join("sub/b.txt");
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let said = found(&root, "file sub/b.txt");
        assert!(said.contains("`aios commit`") && said.contains("`aios restore"), "{said}");
        look_untouched(&root, "sub/b.txt");
        assert!(found(&root, "file sub/b.txt").contains("time and size did not"));
    }
    std::fs::write(&path, &bytes).unwrap();
    look_untouched(&root, "sub/b.txt");
    assert!(check(&root, false).ok);
}

#[test]
fn a_file_whose_time_was_put_back_is_named() {
    let sample = Sample::new();
    let path = sample.root().join("picture.bin");
    let time = path.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert!(found(&sample.root(), "file picture.bin").contains("time and size did not"));
    assert!(!check(&sample.root(), true).ok);
}

#[test]
fn what_waits_to_be_taken_in_is_named_and_then_sound() {
    let sample = Sample::new();
    let root = sample.root();
    let change: [(&str, &str, &dyn Fn()); 4] = [
        ("a.md", "as an edit", &|| std::fs::write(root.join("a.md"), "another text\n").unwrap()),
        ("new.md", "as deleted", &|| std::fs::remove_file(root.join("new.md")).unwrap()),
        ("sub/b.txt", "it lies at c.txt now", &|| {
            std::fs::rename(root.join("sub/b.txt"), root.join("c.txt")).unwrap()
        }),
        ("c.txt", "can be run", &|| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(root.join("c.txt"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }),
    ];
    for (path, what, change) in change {
        change();
        let said = found(&root, &format!("file {path}"));
        assert!(said.contains(what), "{said}");
        commit(&mut Vault::open(&root).unwrap());
        let report = check(&root, true);
        assert!(report.ok, "{report:#?}");
    }
    std::fs::write(root.join("not known yet.md"), "new\n").unwrap();
    assert!(check(&root, false).ok, "what was never taken in is no file of the vault yet");
}

#[test]
fn a_paused_vault_says_once_that_its_files_cannot_be_compared() {
    let sample = Sample::new();
    let root = sample.root();
    git(&root, &["checkout", "-q", "-b", "topic"]);
    assert!(check(&root, true).ok, "nothing differs");
    for path in ["a.md", "new.md", "sub/b.txt"] {
        std::fs::write(root.join(path), "on the branch\n").unwrap();
    }
    let said = found(&root, "working files");
    assert!(said.starts_with("3 differ") && said.contains("branch topic"), "{said}");
    git(&root, &["checkout", "-q", "-f", "main"]);
    assert!(check(&root, true).ok);
}

#[test]
fn what_a_sparse_checkout_leaves_out_is_no_finding() {
    let sample = Sample::new();
    let root = sample.root();
    // A file of the same tick of the clock as the index counts as changed, and stays, until git has written the index anew.
    git(&root, &["status"]);
    git(&root, &["sparse-checkout", "set", "--no-cone", "/*", "!/sub/"]);
    assert!(!root.join("sub/b.txt").exists());
    assert!(check(&root, true).ok, "{:#?}", check(&root, true));
    let mut vault = Vault::open(&root).unwrap();
    assert!(vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap().absorbed.changed.is_empty());
}
