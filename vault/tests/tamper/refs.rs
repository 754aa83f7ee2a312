//! Git's refs and its index: what is torn or gone is named, stops nothing that does not need it, and is made again.

use super::{Sample, answers, base, below, check, commit, copy_folder, git, overwrite, quiet, rebuilt};
use aios_vault::Vault;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::create::NewVault;
use aios_vault::rebuild::rebuild;
use std::path::{Path, PathBuf};

/// A vault over a folder that had git history.
fn with_history() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("aios-refs-").tempdir_in(base()).unwrap();
    let root = dir.path().join("vault");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(root.join("a.md"), "one\n").unwrap();
    std::fs::write(root.join("sub/b.md"), "b\n").unwrap();
    git(&root, &["init", "-q", "-b", "main"]);
    git(&root, &["add", "-A"]);
    git(&root, &["-c", "user.name=Ada", "-c", "user.email=a@b", "commit", "-qm", "Before"]);
    let new =
        NewVault { name: Some("w".into()), device: Some("d0".into()), phrase: None, ..NewVault::default() };
    let (mut vault, absorbed) = Vault::create(&root, &new, &mut quiet()).unwrap();
    vault.finish(absorbed, &mut quiet()).unwrap();
    std::fs::write(root.join("a.md"), "one\ntwo\n").unwrap();
    commit(&mut vault);
    (dir, root)
}

fn clean(root: &Path) {
    assert_eq!(String::from_utf8_lossy(&git(root, &["status", "--porcelain"])), "");
    let fsck = std::process::Command::new("git").arg("-C").arg(root).arg("fsck").output().unwrap();
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
}

fn named(root: &Path, at: &str) {
    let report = check(root, false);
    assert!(report.mends && report.findings.iter().any(|finding| finding.at == at), "{at}: {report:#?}");
}

#[test]
fn a_torn_ref_is_named_and_made_again() {
    let (dir, root) = with_history();
    let refs: Vec<String> = below(&root.join(".git/refs"))
        .iter()
        .map(|path| path.strip_prefix(root.join(".git")).unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        ["refs/aios/log/", "refs/aios/history/", "refs/heads/main"]
            .iter()
            .all(|prefix| refs.iter().any(|name| name.starts_with(prefix)))
    );
    let texts = [
        "",
        "\0\0\0\0",
        "zz00000000000000000000000000000000000000\n",
        "0123456789012345678901234567890123456789\n",
    ];
    for (n, name) in refs.iter().map(String::as_str).chain(["HEAD"]).enumerate() {
        for (m, text) in texts.iter().enumerate() {
            // HEAD may be any commit's.
            if name == "HEAD" && m == 3 {
                continue;
            }
            let copy = dir.path().join(format!("copy-{n}-{m}"));
            copy_folder(&root, &copy);
            let want = answers(&copy).unwrap();
            std::fs::write(copy.join(".git").join(name), text).unwrap();
            named(&copy, name);
            // The rest is looked at all the same.
            let checked = check(&copy, false).checked;
            assert!(
                checked.files == 2 && (checked.commits >= 2 || name == "refs/heads/main"),
                "{name}: {checked:?}"
            );
            let out = rebuilt(&copy);
            assert!(out.lost.is_empty() && !out.mended.is_empty(), "{name} {text:?}: {out:#?}");
            clean(&copy);
            assert_eq!(answers(&copy).unwrap(), want, "{name} {text:?}");
            std::fs::write(copy.join("new.md"), "new\n").unwrap();
            commit(&mut Vault::open(&copy).unwrap());
            clean(&copy);
        }
    }
}

#[test]
fn torn_refs_that_can_be_made_again_do_not_stop_a_commit() {
    let (_dir, root) = with_history();
    for path in below(&root.join(".git/refs/aios")) {
        std::fs::write(path, "").unwrap();
    }
    let mut vault = Vault::open(&root).unwrap();
    assert_eq!(vault.status(&mut quiet()).unwrap().problems, []);
    std::fs::write(root.join("new.md"), "new\n").unwrap();
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!((round.absorbed.changed.len(), round.problems().count()), (1, 0), "{round:?}");
    drop(vault);
    assert_eq!(String::from_utf8_lossy(&git(&root, &["status", "--porcelain"])), "");
    rebuilt(&root);
    clean(&root);
}

#[test]
fn packed_refs_that_are_cut_or_flipped_are_mended() {
    let (dir, root) = with_history();
    git(&root, &["tag", "-a", "-m", "one", "one"]);
    git(&root, &["branch", "kept"]);
    git(&root, &["pack-refs", "--all"]);
    let packed = std::fs::read(root.join(".git/packed-refs")).unwrap();
    for (n, at) in (60..packed.len()).step_by(31).enumerate() {
        let copy = dir.path().join(format!("copy-{n}"));
        copy_folder(&root, &copy);
        let want = answers(&copy).unwrap();
        let mut bad = packed.clone();
        match n % 2 {
            0 => bad[at] ^= 0x80,
            _ => bad.truncate(at),
        }
        overwrite(&copy.join(".git/packed-refs"), &bad);
        named(&copy, "packed-refs");
        let out = rebuild(&copy, None, &mut quiet()).unwrap();
        assert!(out.lost.is_empty(), "{out:#?}");
        assert!(check(&copy, true).ok, "{at}: {:#?}", check(&copy, true));
        assert_eq!(answers(&copy).unwrap(), want);
        clean(&copy);
    }
}

#[test]
fn a_history_that_is_named_no_more_is_found_and_kept_again() {
    let (_dir, root) = with_history();
    let kept = below(&root.join(".git/refs/aios/history"));
    let name = kept[0].strip_prefix(root.join(".git")).unwrap().to_string_lossy().into_owned();
    let text = std::fs::read(&kept[0]).unwrap();
    std::fs::remove_file(&kept[0]).unwrap();
    named(&root, &name);
    rebuilt(&root);
    assert_eq!(std::fs::read(&kept[0]).unwrap(), text);
}

#[test]
fn an_index_that_is_lost_is_named_and_made_again() {
    let sample = Sample::new();
    for damage in ["gone", "empty", "flipped"] {
        let root = sample.copy();
        answers(&root).unwrap();
        let index = root.join(".git/index");
        let mut bytes = std::fs::read(&index).unwrap();
        bytes[40] ^= 1;
        match damage {
            "gone" => std::fs::remove_file(&index).unwrap(),
            "empty" => std::fs::write(&index, "").unwrap(),
            _ => std::fs::write(&index, &bytes).unwrap(),
        }
        named(&root, "git index");
        let out = rebuilt(&root);
        assert!(out.mended.iter().any(|what| what == "git index: made again"), "{out:#?}");
        clean(&root);
        std::fs::write(root.join("mine.md"), "mine\n").unwrap();
        git(&root, &["add", "mine.md"]);
        git(&root, &["-c", "user.name=Ada", "-c", "user.email=a@b", "commit", "-qm", "Mine"]);
        let changed = git(&root, &["show", "--name-status", "--format="]);
        assert_eq!(String::from_utf8_lossy(&changed), "A\tmine.md\n");
    }
    // A commit does so too.
    let root = sample.copy();
    std::fs::remove_file(root.join(".git/index")).unwrap();
    answers(&root).unwrap();
    clean(&root);
}

#[test]
fn while_git_holds_its_index_main_waits_and_status_says_so() {
    let sample = Sample::new();
    let root = sample.root();
    let lock = root.join(".git/index.lock");
    let before = git(&root, &["rev-parse", "main"]);
    std::fs::write(&lock, "").unwrap();
    std::fs::write(root.join("a.md"), "while it is held\n").unwrap();
    let mut vault = Vault::open(&root).unwrap();
    // Git may be writing files of another branch.
    let paused = vault.commit(&AbsorbOptions::default(), &mut quiet());
    assert!(matches!(paused, Err(aios_vault::Error::Paused(_))), "{paused:?}");
    // Held for long, it waits for its user's editor, or was killed.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&lock).unwrap().set_modified(long_ago).unwrap();
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert!(round.absorbed.record.is_some());
    let says = |problem: &aios_vault::survey::Problem| problem.problem.contains("index.lock");
    assert!(round.problems().any(says), "{round:?}");
    assert_eq!(git(&root, &["rev-parse", "main"]), before);
    let status = vault.status(&mut quiet()).unwrap();
    assert_eq!((status.pending.len(), status.head), (0, round.head.map(|head| head.to_string())));
    assert!(status.problems.iter().any(says), "{:?}", status.problems);
    assert!(vault.verify(true, &mut quiet()).unwrap().ok, "what waits is no damage");
    std::fs::remove_file(&lock).unwrap();
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!(round.problems().count(), 0);
    assert!(vault.status(&mut quiet()).unwrap().problems.is_empty());
    drop(vault);
    assert_eq!(
        String::from_utf8_lossy(&git(&root, &["rev-parse", "main"])).trim(),
        round.head.unwrap().to_string()
    );
    clean(&root);
}
