//! Bytes of which git here has nothing left: they are named until they are back, and git's own view is whole where it can be.

use super::*;
use aios_vault::apart::Named;

const PICTURE: &str = "picture.bin";

/// Two devices that changed one picture at once, all of it on both.
struct Pair {
    _dir: tempfile::TempDir,
    roots: [PathBuf; 2],
    /// The version that stands, and the one that lost.
    stands: Vec<u8>,
    lost: git2::Oid,
}

fn exchange(roots: &[PathBuf; 2]) {
    let mut vaults = roots.each_ref().map(|root| Vault::open(root).unwrap());
    vaults.iter_mut().for_each(commit);
    for _ in 0..3 {
        let [one, two] = &mut vaults;
        deliver(one, two);
        deliver(two, one);
        hand_over(one, two);
        hand_over(two, one);
        vaults.iter_mut().for_each(commit);
    }
}

/// Gives `to` the blobs it lacks, as a sync does.
fn hand_over(from: &mut Vault, to: &mut Vault) {
    for named in to.apart_wanted().unwrap() {
        let Some(given) = from.give(&named).unwrap() else { continue };
        let path = to.root().join(".aios/tmp/came");
        std::fs::write(&path, given.read(0, usize::MAX).unwrap()).unwrap();
        to.take_apart(&named, &path).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}

impl Pair {
    fn new() -> Pair {
        let dir = tempfile::Builder::new().prefix("aios-lost-").tempdir_in(base()).unwrap();
        let roots = [dir.path().join("one"), dir.path().join("two")];
        std::fs::create_dir_all(&roots[0]).unwrap();
        std::fs::write(roots[0].join(PICTURE), [0, 1]).unwrap();
        let new = NewVault {
            name: Some("w".into()),
            device: Some("one".into()),
            phrase: None,
            ..NewVault::default()
        };
        let (mut one, absorbed) = Vault::create(&roots[0], &new, &mut quiet()).unwrap();
        one.finish(absorbed, &mut quiet()).unwrap();
        let keys = Keys::create(false).unwrap();
        one.admit(&keys.device.public(), "two", &["write".to_owned()], None).unwrap();
        drop(Vault::replicate(&roots[1], one.id(), "w", keys).unwrap());
        drop(one);
        exchange(&roots);
        let versions = [[0, 2], [0, 3]];
        for (root, bytes) in roots.iter().zip(versions) {
            std::fs::write(root.join(PICTURE), bytes).unwrap();
        }
        exchange(&roots);
        let stands = std::fs::read(roots[0].join(PICTURE)).unwrap();
        assert_eq!(std::fs::read(roots[1].join(PICTURE)).unwrap(), stands);
        let lost = versions.iter().find(|bytes| bytes[..] != stands[..]).unwrap();
        let lost = git2::Oid::hash_object(git2::ObjectType::Blob, lost).unwrap();
        Pair { _dir: dir, roots, stands, lost }
    }
}

fn object(root: &Path, oid: git2::Oid) -> PathBuf {
    let hex = oid.to_string();
    root.join(".git/objects").join(&hex[..2]).join(&hex[2..])
}

/// Whether both checks name the bytes and say what brings them.
fn named(root: &Path, oid: git2::Oid) {
    for deep in [false, true] {
        let report = check(root, deep);
        let told = |finding: &aios_vault::verify::Finding| {
            finding.at.contains(&oid.to_string()) && finding.what.contains("aios sync")
        };
        assert!(!report.ok && report.findings.iter().any(told), "deep {deep}: {report:#?}");
    }
}

fn fsck(root: &Path) -> String {
    let out =
        std::process::Command::new("git").arg("-C").arg(root).args(["fsck", "--full"]).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn a_version_that_lost_and_whose_bytes_are_gone_is_named_until_they_are_back() {
    // At the device that saved it, and at the other.
    for n in 0..2 {
        let pair = Pair::new();
        let root = &pair.roots[n];
        assert!(check(root, true).ok && !fsck(root).contains("missing"), "{}", fsck(root));
        let path = object(root, pair.lost);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        overwrite(&path, &bytes);
        assert!(!check(root, false).ok);
        let out = rebuild(root, None, &mut quiet()).unwrap();
        assert!(out.lost.iter().any(|lost| lost.contains(&pair.lost.to_string())), "{out:#?}");
        named(root, pair.lost);
        // A commit of the log's has the bytes, so `main` lacks them. No other ref does.
        let refs = git(root, &["for-each-ref", "--format=%(refname)"]);
        for name in String::from_utf8_lossy(&refs).lines().filter(|name| *name != "refs/heads/main") {
            let listed = git(root, &["rev-list", "--objects", "--missing=print", name]);
            assert!(!String::from_utf8_lossy(&listed).contains('?'), "{name}");
        }
        // No command in between makes it sound.
        commit(&mut Vault::open(root).unwrap());
        named(root, pair.lost);
        exchange(&pair.roots);
        let report = check(root, true);
        assert!(report.ok, "{report:#?}");
        assert!(!fsck(root).contains("missing"), "{}", fsck(root));
        assert_eq!(std::fs::read(root.join(PICTURE)).unwrap(), pair.stands);
    }
}

#[test]
fn bytes_that_have_not_come_are_named_and_a_working_file_gives_them_back() {
    let pair = Pair::new();
    let root = &pair.roots[0];
    let stands = git2::Oid::hash_object(git2::ObjectType::Blob, &pair.stands).unwrap();
    std::fs::remove_file(object(root, stands)).unwrap();
    let report = check(root, false);
    let told = |finding: &aios_vault::verify::Finding| {
        finding.at.contains(&stands.to_string()) && finding.what.contains("aios rebuild")
    };
    assert!(!report.ok && report.mends && report.findings.iter().any(told), "{report:#?}");
    let out = rebuild(root, None, &mut quiet()).unwrap();
    assert!(out.lost.is_empty() && check(root, true).ok, "{out:#?}");
    std::fs::write(pair.roots[1].join("new.bin"), [0, 9]).unwrap();
    let mut vaults = pair.roots.each_ref().map(|root| Vault::open(root).unwrap());
    let [one, two] = &mut vaults;
    commit(two);
    deliver(two, one);
    commit(one);
    let wanted = one.apart_wanted().unwrap();
    let [Named::Blob(new)] = &wanted[..] else { panic!("{wanted:?}") };
    let new = git2::Oid::from_bytes(new.git.as_bytes()).unwrap();
    drop(vaults);
    named(root, new);
    assert!(!fsck(root).contains("missing"), "{}", fsck(root));
    exchange(&pair.roots);
    assert!(check(root, true).ok);
}
