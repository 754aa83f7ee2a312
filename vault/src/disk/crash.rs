//! What a crash or a full disk at each point in turn leaves behind (I2, I9).

use super::temp::Origin;
use super::{Expect, Put, Removed, Source, Writer, durable, fault};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The variable that makes the test `child` do the work, in the folder it names.
const FOLDER: &str = "AIOS_TEST_CRASH_FOLDER";
const CHILD: &str = "disk::crash::child";

/// Path, content before and content after each step; the number of the step that changes it.
const FILES: [(&str, Option<&str>, Option<&str>, usize); 9] = [
    ("a", Some("a old"), Some("a new"), 1),
    ("deep/er/b", None, Some("b new"), 2),
    ("x/c", Some("c old"), None, 3),
    ("y/d", Some("d old"), None, 4),
    ("e/d2", None, Some("d old"), 4),
    ("f", Some("f old"), Some("f new"), 5),
    ("g/g", None, Some("g new"), 5),
    ("h", Some("h old"), None, 5),
    (".aios/state", Some("state old"), Some("state new"), 6),
];

fn set_up(root: &Path) {
    for (path, before, ..) in FILES {
        if let Some(text) = before {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
    }
}

/// Does every step, telling `acknowledge` of each that is done; stops at the first error.
fn work(root: &Path, mut acknowledge: impl FnMut(usize)) -> Result<(), Box<dyn std::error::Error>> {
    let expect = |text: &str| Expect::Content(blake3::hash(text.as_bytes()));
    let writer = Writer::open(root)?;
    let put = writer.put("a", Source::Bytes(b"a new"), false, expect("a old"))?;
    assert!(matches!(put, Put::Done { .. }));
    acknowledge(1);
    let put = writer.put("deep/er/b", Source::Bytes(b"b new"), false, Expect::Absent)?;
    assert!(matches!(put, Put::Done { .. }));
    acknowledge(2);
    assert_eq!(writer.remove("x/c", blake3::hash(b"c old"))?, Removed::Done);
    acknowledge(3);
    let _ = writer.rename("y/d", "e/d2")?;
    acknowledge(4);
    let mut batch = writer.batch();
    batch.put("f", Source::Bytes(b"f new"), false, expect("f old"))?;
    batch.put("g/g", Source::Bytes(b"g new"), false, Expect::Absent)?;
    assert_eq!(batch.remove("h", blake3::hash(b"h old"))?, Removed::Done);
    for (_, put) in batch.commit()? {
        let _ = put?;
    }
    acknowledge(5);
    durable::replace(&root.join(".aios/state"), b"state new")?;
    acknowledge(6);
    Ok(())
}

/// Every file is as before or as after its step, and as after if that was acknowledged; what is in
/// `.aios/tmp` is ours.
fn check(root: &Path, acknowledged: usize, context: &str) {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    for (path, before, after, step) in FILES {
        let now = read(path);
        let now = now.as_deref();
        let whole = now == after || (now == before && step > acknowledged);
        assert!(whole, "{context}: {path} holds {now:?} after step {acknowledged}");
    }
    assert!(read("y/d").is_some() || read("e/d2").is_some(), "{context}: the renamed file is gone");
    let writer = Writer::open(root).unwrap();
    for left in writer.leftovers().unwrap() {
        assert_eq!(left.origin, Origin::Own, "{context}: {}", left.name);
        writer.discard(&left.name).unwrap();
    }
}

#[test]
fn child() {
    if let Some(root) = std::env::var_os(FOLDER) {
        work(Path::new(&root), |step| eprintln!("acknowledged {step}")).unwrap();
    }
}

/// Runs the steps in a process of its own; its standard error, and whether it ended well.
fn run(root: &Path, plan: &str, journal: bool) -> (String, bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, root).env("AIOS_FAULT", plan).env_remove("AIOS_FAULT_JOURNAL");
    if journal {
        command.env("AIOS_FAULT_JOURNAL", root.join(".aios/dropped"));
    }
    let output = command.output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

#[test]
fn a_crash_at_any_point_leaves_every_file_whole_and_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    set_up(dir.path());
    let (trace, ended) = run(dir.path(), "trace", true);
    assert!(ended, "{trace}");
    check(dir.path(), 6, "no crash");
    let points = trace.lines().filter(|line| line.starts_with("fault: ")).count();
    assert!(points > 40, "{trace}");
    // A plain kill can only leave less behind than a power cut does: try it at fewer points.
    for (action, journal, step) in [("crash", true, 1), ("torn", true, 5), ("crash", false, 5)] {
        for point in (1..=points).step_by(step) {
            let dir = tempfile::tempdir().unwrap();
            set_up(dir.path());
            let (told, ended) = run(dir.path(), &format!("*={action}@{point}"), journal);
            let acknowledged = told.lines().filter(|line| line.starts_with("acknowledged ")).count();
            let context = format!("{action}@{point}, journal {journal}");
            assert!(!ended, "{context}");
            let dropped = fs::read_to_string(dir.path().join(".aios/dropped")).unwrap_or_default();
            check(dir.path(), acknowledged, &format!("{context}\n{told}{dropped}"));
        }
    }
}

#[test]
fn the_journal_finds_a_missing_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (told, ended) = run(dir.path(), "disk.nothing=crash", true);
    assert!(!ended, "without its files the work must fail: {told}");
    let lazy = "disk::crash::lazy";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", lazy, "--nocapture"]).env(FOLDER, dir.path());
    command.env("AIOS_FAULT", "test.end=torn").env("AIOS_FAULT_JOURNAL", dir.path().join("dropped"));
    assert!(!command.output().unwrap().status.success());
    let read = |name: &str| fs::read(dir.path().join(name)).ok();
    assert_eq!(read("bytes").as_deref(), Some(&b"synced tor"[..]), "half of the tail");
    assert_eq!(read("name"), None, "synced bytes under a name that was not");
    assert_eq!(read("both").as_deref(), Some(&b"both"[..]));
    assert_eq!(read("neither").as_deref(), Some(&b"nei"[..]));
    assert_eq!(read("removed").as_deref(), Some(&b"removed"[..]));
}

#[test]
fn lazy() {
    let Some(root) = std::env::var_os(FOLDER) else { return };
    let root = Path::new(&root);
    fs::write(root.join("removed"), "removed").unwrap();
    let mut bytes = durable::write_new(&root.join("bytes"), b"synced ").unwrap();
    let both = durable::write_new(&root.join("both"), b"both").unwrap();
    durable::sync_file(&bytes).unwrap();
    durable::sync_file(&both).unwrap();
    durable::sync_dir(root).unwrap();
    durable::append(&mut bytes, b"torn !").unwrap();
    let name = durable::write_new(&root.join("name"), b"name").unwrap();
    durable::sync_file(&name).unwrap();
    drop(durable::write_new(&root.join("neither"), b"neithe").unwrap());
    durable::remove(&root.join("removed")).unwrap();
    fault::point("test.end").unwrap();
}

#[test]
fn a_full_disk_at_any_point_loses_nothing() {
    for action in ["enospc", "eio"] {
        // Some errors are rightly ignored (an empty folder that stays): the points end with a row of successes.
        let mut successes = 0;
        for point in 1.. {
            let dir = tempfile::tempdir().unwrap();
            set_up(dir.path());
            let mut acknowledged = 0;
            let armed = fault::arm(&format!("*={action}@{point}")).unwrap();
            let done = work(dir.path(), |step| acknowledged = step);
            drop(armed);
            check(dir.path(), acknowledged, &format!("{action}@{point}: {done:?}"));
            successes = if done.is_ok() { successes + 1 } else { 0 };
            if successes == 4 {
                break;
            }
        }
    }
}
