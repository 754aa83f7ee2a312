//! Tampering shows (I8): bytes are flipped in every kind of file a vault keeps, and `verify` names each; what can be
//! rebuilt is deleted, and `rebuild` gives the same vault.

mod files;
mod known;
mod lost;
mod refs;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aios_core::record::Record;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::create::NewVault;
use aios_vault::keys::{self, Keys};
use aios_vault::rebuild::{Rebuilt, rebuild};
use aios_vault::verify::{Report, verify};
use aios_vault::{Error, Vault};

static NEXT: AtomicU32 = AtomicU32::new(0);

fn quiet() -> impl FnMut(&str, u64, u64) {
    |_: &str, _, _| {}
}

/// On tmpfs where there is one: syncing costs nothing there.
fn base() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
    keys::use_data_dir(&base.join(format!("aios-tamper-keys-{}", std::process::id())));
    base
}

fn deliver(from: &mut Vault, to: &mut Vault) {
    let entries = from.entries_since(to.view(), &from.view().clone(), 1 << 30).unwrap();
    let records: Vec<Record> =
        entries.iter().map(|entry| Record::read_entry(&entry.bytes).unwrap().0).collect();
    to.integrate(&records).unwrap();
}

fn commit(vault: &mut Vault) {
    vault.commit(&AbsorbOptions { deletions: true, ..AbsorbOptions::default() }, &mut quiet()).unwrap();
}

struct Sample {
    dir: tempfile::TempDir,
}

impl Sample {
    /// One of two replicas that edited at once, with a merge, a conflict, a move, a delete, a blob and a nested folder.
    fn new() -> Sample {
        let dir = tempfile::Builder::new().prefix("aios-tamper-").tempdir_in(base()).unwrap();
        let (a, b) = (dir.path().join("vault"), dir.path().join("other"));
        std::fs::create_dir_all(a.join("sub/deep")).unwrap();
        std::fs::write(a.join("a.md"), "---\ntitle: A\ntags: [x, y]\n---\nHello\nworld\n").unwrap();
        std::fs::write(a.join("sub/deep/b.txt"), "one\ntwo\nthree\n").unwrap();
        std::fs::write(a.join("sub/c.md"), "gone soon\n").unwrap();
        std::fs::write(a.join("picture.bin"), [0u8, 1, 2, 3, 255, 254]).unwrap();
        let (mut one, absorbed) = Vault::create(
            &a,
            &NewVault {
                name: Some("w".into()),
                device: Some("d0".into()),
                phrase: None,
                ..NewVault::default()
            },
            &mut quiet(),
        )
        .unwrap();
        one.finish(absorbed, &mut quiet()).unwrap();
        let keys = Keys::create(false).unwrap();
        one.admit(&keys.device.public(), "d1", &["write".to_owned()], None).unwrap();
        let mut two = Vault::replicate(&b, one.id(), "w", keys).unwrap();
        deliver(&mut one, &mut two);
        commit(&mut two);
        std::fs::write(a.join("a.md"), "---\ntitle: From one\ntags: [x, y]\n---\nHello\nbig world\n")
            .unwrap();
        std::fs::remove_file(a.join("sub/c.md")).unwrap();
        commit(&mut one);
        std::fs::write(b.join("a.md"), "---\ntitle: From two\ntags: [x, y, z]\n---\nHello there\nworld\n")
            .unwrap();
        std::fs::rename(b.join("sub/deep/b.txt"), b.join("sub/b.txt")).unwrap();
        commit(&mut two);
        deliver(&mut two, &mut one);
        commit(&mut one);
        std::fs::write(a.join("new.md"), "new\n").unwrap();
        commit(&mut one);
        Sample { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    /// A copy of the replica to tamper with. Its files are other inodes, so they look touched.
    fn copy(&self) -> PathBuf {
        let to = self.dir.path().join(format!("copy-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        copy_folder(&self.root(), &to);
        // It stands for the replica itself: with a folder in the way, it is not remembered where that lies.
        for device in std::fs::read_dir(keys::data_dir().unwrap().join("devices")).unwrap() {
            let seat = device.unwrap().path().join("seat.json");
            let _ = std::fs::remove_file(&seat);
            let _ = std::fs::create_dir(&seat);
        }
        to
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let path = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &path),
            false => _ = std::fs::copy(entry.path(), path).unwrap(),
        }
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(below(&path)),
            false => out.push(path),
        }
    }
    out.sort();
    out
}

fn overwrite(path: &Path, bytes: &[u8]) {
    // Git's objects are read-only.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

fn check(root: &Path, deep: bool) -> Report {
    verify(root, deep, &mut quiet()).unwrap()
}

/// All that a user can ask about: state, head, view, documents and their bytes as files, history.
#[derive(Debug, PartialEq)]
struct Answers {
    state: String,
    head: String,
    files: BTreeMap<String, Vec<u8>>,
    log: Vec<u8>,
}

fn git(root: &Path, args: &[&str]) -> Vec<u8> {
    std::process::Command::new("git").arg("-C").arg(root).args(args).output().unwrap().stdout
}

fn answers(root: &Path) -> Result<Answers, Error> {
    let mut vault = Vault::open(root)?;
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet())?;
    let state = vault.state()?;
    let head = round.head.map(|head| head.to_string()).unwrap_or_default();
    drop(vault);
    let own = |path: &PathBuf| !path.starts_with(root.join(".aios")) && !path.starts_with(root.join(".git"));
    let files = below(root).into_iter().filter(own).map(|path| {
        (path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    });
    Ok(Answers { state, head, files: files.collect(), log: git(root, &["log", "--format=%H %s", "main"]) })
}

fn rebuilt(root: &Path) -> Rebuilt {
    let out = rebuild(root, None, &mut quiet()).unwrap();
    let report = check(root, true);
    assert!(report.ok, "after the rebuild: {report:#?}\n{out:#?}");
    out
}

#[test]
fn an_untouched_vault_is_sound() {
    let sample = Sample::new();
    for deep in [false, true] {
        let report = check(&sample.root(), deep);
        assert!(report.ok, "{report:#?}");
        let checked = report.checked;
        assert!(
            checked.records >= 5 && checked.documents == 4 && checked.commits >= 5 && checked.files == 4,
            "{checked:?}"
        );
    }
}

#[test]
fn every_flip_in_the_log_is_named() {
    let sample = Sample::new();
    let root = sample.copy();
    let mut flips = 0;
    for path in below(&root.join(".aios/log")) {
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(53) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            overwrite(&path, &bad);
            let report = check(&root, false);
            let named = report.findings.iter().any(|finding| {
                finding.at.contains(&*path.to_string_lossy()) || finding.at.starts_with("record ")
            });
            assert!(!report.ok && named, "flip at {at} of {}: {report:#?}", path.display());
            flips += 1;
        }
        overwrite(&path, &bytes);
    }
    assert!(flips > 50, "{flips}");
}

#[test]
fn a_damaged_log_is_mended_from_its_mirror() {
    let sample = Sample::new();
    let want = answers(&sample.copy()).unwrap();
    for (n, path) in below(&sample.root().join(".aios/log")).into_iter().enumerate() {
        let root = sample.copy();
        let path = root.join(path.strip_prefix(sample.root()).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        bad[bytes.len() / 2 + n] ^= 4;
        overwrite(&path, &bad);
        let out = rebuilt(&root);
        assert!(!out.mended.is_empty() && out.lost.is_empty(), "{out:#?}");
        assert!(!below(&root.join(".aios/aside")).is_empty());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(answers(&root).unwrap(), want);
    }
}

#[test]
fn a_cut_off_log_is_named() {
    let sample = Sample::new();
    for path in below(&sample.root().join(".aios/log")) {
        let root = sample.copy();
        let path = root.join(path.strip_prefix(sample.root()).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let last = bytes.windows(3).rposition(|window| window == b"\nR ").map_or(0, |at| at + 1);
        for keep in [last, last + 40, bytes.len() - 1] {
            overwrite(&path, &bytes[..keep]);
            let report = check(&root, false);
            let named = report.findings.iter().any(|finding| finding.what.contains("acknowledged"));
            assert!(named, "{report:#?}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), keep as u64, "verify changes nothing");
        }
        let out = rebuilt(&root);
        assert!(out.lost.is_empty(), "{out:#?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn flips_in_git_objects_are_named_and_mended() {
    let sample = Sample::new();
    let packed = sample.copy();
    Vault::open(&packed).unwrap().repack().unwrap();
    for origin in [sample.root(), packed] {
        let want = answers(&sample.copy()).unwrap();
        let root = sample.dir.path().join(format!("git-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        copy_folder(&origin, &root);
        for (n, path) in below(&root.join(".git/objects")).into_iter().enumerate() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            if name.ends_with(".rev") || bytes.is_empty() {
                continue;
            }
            let at = (n * 31 + bytes.len() / 2) % bytes.len();
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (n % 8);
            overwrite(&path, &bad);
            let report = check(&root, false);
            assert!(!report.ok, "flip at {at} of {}: {report:#?}", path.display());
            if n % 9 == 0 || name.ends_with(".pack") {
                let out = rebuilt(&root);
                assert!(out.lost.is_empty(), "{out:#?}");
                assert_eq!(answers(&root).unwrap(), want);
                if name.ends_with(".pack") {
                    break;
                }
            } else {
                overwrite(&path, &bytes);
            }
        }
    }
}

#[test]
fn a_database_that_is_empty_again_is_made_again() {
    let sample = Sample::new();
    let root = sample.copy();
    let want = answers(&root).unwrap();
    let path = root.join(".aios/cache.sqlite");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(root.join(format!(".aios/cache.sqlite{suffix}")));
    }
    overwrite(&path, b"");
    assert_eq!(answers(&root).unwrap(), want);
    // As a power cut leaves it that took the journal with the tables.
    std::fs::remove_file(&path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).unwrap();
    drop(db);
    assert_eq!(answers(&root).unwrap(), want);
}

#[test]
fn a_flip_in_the_database_shows_or_changes_nothing() {
    let sample = Sample::new();
    // A copy's files have other inodes: let the database know them first.
    let origin = sample.copy();
    let want = answers(&origin).unwrap();
    let bytes = std::fs::read(origin.join(".aios/cache.sqlite")).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for n in 0..200 {
        let at = (n * 7919 * 13 + n * n * 31) % bytes.len();
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (n % 8);
        if bytes[at] == 0 && n % 3 != 0 {
            continue;
        }
        let path = origin.join(".aios/cache.sqlite");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(origin.join(format!(".aios/cache.sqlite{suffix}")));
        }
        overwrite(&path, &bad);
        let report = catch_unwind(AssertUnwindSafe(|| check(&origin, true)))
            .unwrap_or_else(|_| panic!("verify panicked at {at}"));
        if !report.ok {
            found += 1;
            continue;
        }
        let root = sample.dir.path().join(format!("db-{n}"));
        copy_folder(&origin, &root);
        match answers(&root) {
            Ok(now) => assert_eq!(now, want, "flip at {at}"),
            Err(e) => assert!(e.hint().is_some_and(|hint| hint.contains("rebuild")), "flip at {at}: {e}"),
        }
        harmless += 1;
    }
    assert!(found > 5 && harmless > 5, "{found} {harmless}");
}

#[test]
fn what_can_be_rebuilt_may_be_deleted() {
    let sample = Sample::new();
    let want = answers(&sample.copy()).unwrap();

    let root = sample.copy();
    std::fs::remove_file(root.join(".aios/cache.sqlite")).unwrap();
    assert!(!check(&root, false).ok);
    assert_eq!(answers(&root).unwrap(), want, "an open without a database makes it again");
    assert!(check(&root, true).ok);

    let root = sample.copy();
    for entry in std::fs::read_dir(root.join(".aios")).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(&path).unwrap(),
            false if path.ends_with("replica.json") => {}
            false => std::fs::remove_file(&path).unwrap(),
        }
    }
    std::fs::remove_file(root.join("new.md")).unwrap();
    let out = rebuilt(&root);
    assert!(out.lost.is_empty(), "{out:#?}");
    assert_eq!((&out.state, out.head.as_ref()), (&want.state, Some(&want.head)));
    assert_eq!(answers(&root).unwrap(), want, "a missing file is written again, never taken for deleted");

    let root = sample.copy();
    std::fs::remove_dir_all(root.join(".git/refs/aios")).unwrap();
    std::fs::remove_file(root.join(".git/refs/heads/main")).unwrap();
    let report = check(&root, false);
    assert!(report.findings.iter().any(|finding| finding.at == "refs/heads/main"), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.at.starts_with("refs/aios/log/")), "{report:#?}");
    rebuilt(&root);
    assert_eq!(answers(&root).unwrap(), want);

    let root = sample.copy();
    std::fs::remove_dir_all(root.join(".git")).unwrap();
    assert!(!check(&root, false).ok);
    rebuilt(&root);
    assert_eq!(answers(&root).unwrap(), want);
}

#[test]
fn a_vault_that_lost_its_own_folder_is_taken_up_again_from_git() {
    let sample = Sample::new();
    let root = sample.copy();
    let want = answers(&root).unwrap();
    std::fs::remove_dir_all(root.join(".aios")).unwrap();
    assert!(matches!(Vault::create(&root, &NewVault::default(), &mut quiet()), Err(Error::LostReplica(_))));
    assert!(matches!(Vault::open(&root.join("sub")), Err(Error::LostReplica(found)) if found == root));
    // The keys of both devices are on this machine.
    let several = rebuild(&root, None, &mut quiet()).unwrap_err();
    assert!(several.to_string().contains("d0 ("), "{several}");
    assert!(matches!(rebuild(&root, Some("nobody"), &mut quiet()), Err(Error::NoReplica { .. })));
    let out = rebuild(&root, Some("d0"), &mut quiet()).unwrap();
    assert!(out.mended[0].contains("vault w"), "{out:?}");
    assert!(check(&root, true).ok);
    assert_eq!(answers(&root).unwrap(), want);
}

#[test]
fn the_log_of_another_vault_is_set_aside_and_kept() {
    let (sample, other) = (Sample::new(), Sample::new());
    let root = sample.copy();
    let want = answers(&root).unwrap();
    let from = other.root();
    git(&root, &["fetch", "-q", &from.to_string_lossy(), "refs/aios/log/*:refs/aios/log/*"]);
    let theirs = git(&from, &["for-each-ref", "--format=%(objectname)", "refs/aios/log"]);
    let report = check(&root, false);
    assert!(report.findings.iter().any(|finding| finding.what.contains("another vault")), "{report:#?}");
    rebuilt(&root);
    let mut kept: Vec<_> = git(&root, &["for-each-ref", "--format=%(objectname)", "refs/aios/aside"])
        .split(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let mut theirs: Vec<_> = theirs.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    kept.sort();
    theirs.sort();
    assert_eq!(kept, theirs);
    assert_eq!(answers(&root).unwrap(), want);
}

#[test]
fn a_file_that_differs_when_rebuilt_is_a_later_save() {
    let sample = Sample::new();
    let root = sample.copy();
    std::fs::remove_file(root.join(".aios/cache.sqlite")).unwrap();
    std::fs::write(root.join("new.md"), "new and newer\n").unwrap();
    rebuild(&root, None, &mut quiet()).unwrap();
    let mut vault = Vault::open(&root).unwrap();
    let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
    assert_eq!(round.absorbed.changed.len(), 1, "{:?}", round.absorbed);
    assert_eq!(round.absorbed.changed[0].change, "modified");
    assert_eq!(std::fs::read_to_string(root.join("new.md")).unwrap(), "new and newer\n");
}

#[test]
fn an_export_holds_all_of_the_log_and_reads_back() {
    let sample = Sample::new();
    let out = sample.dir.path().join("export");
    let mut vault = Vault::open(&sample.root()).unwrap();
    let (records, state) = (vault.view().len(), vault.state().unwrap());
    let done = vault.export(&out, true, &mut quiet()).unwrap();
    assert_eq!((done.files, done.records, done.documents), (4, records, 3));
    assert!(
        matches!(vault.export(&out, false, &mut quiet()), Err(Error::Usage(_))),
        "an export is never written over"
    );
    assert_eq!(
        std::fs::read(out.join("files/a.md")).unwrap(),
        std::fs::read(sample.root().join("a.md")).unwrap()
    );
    for document in below(&out.join("documents")) {
        let saved = std::fs::read(&document).unwrap();
        assert_eq!(saved[..4], [0x85, 0x6f, 0x4a, 0x83], "it begins as Automerge documents do");
    }

    let keys = Keys::create(false).unwrap();
    let mut blank = Vault::replicate(&sample.dir.path().join("blank"), vault.id(), "w", keys).unwrap();
    let read = blank.import(&out, &mut quiet()).unwrap();
    assert_eq!((read.records, read.documents), (records, 4));
    assert_eq!(blank.state().unwrap(), state);
    assert_eq!(blank.import(&out, &mut quiet()).unwrap().records, 0);

    for path in below(&out.join("log")) {
        let bytes = std::fs::read(&path).unwrap();
        let root = sample.dir.path().join(format!("forged-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut forged = Vault::replicate(&root, vault.id(), "w", Keys::create(false).unwrap()).unwrap();
        let at = bytes.windows(9).position(|window| window == b"\"message\\").unwrap() + 12;
        let mut bad = bytes.clone();
        bad[at] ^= 2;
        overwrite(&path, &bad);
        assert!(forged.import(&out, &mut quiet()).is_err());
        overwrite(&path, &bytes);
    }
}

#[test]
fn a_damaged_database_opens_with_a_hint() {
    let sample = Sample::new();
    let path = sample.root().join(".aios/cache.sqlite");
    std::fs::write(&path, vec![7u8; 8192]).unwrap();
    let error = Vault::open(&sample.root()).unwrap_err();
    assert!(matches!(error, Error::Database(_) | Error::Damaged(_)), "{error}");
    assert!(error.hint().unwrap().contains("rebuild"));
    assert!(!check(&sample.root(), true).ok);
    rebuilt(&sample.root());
}
