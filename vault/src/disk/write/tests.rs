use super::super::read::LARGE;
use super::super::temp::{Origin, path_key};
use super::super::{Content, Rules, scan};
use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn vault() -> (tempfile::TempDir, Writer) {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    (dir, writer)
}

fn content(text: &str) -> Expect {
    Expect::Content(blake3::hash(text.as_bytes()))
}

fn put(writer: &Writer, path: &str, text: &str, expect: Expect) -> Result<Put, WriteError> {
    writer.put(path, Source::Bytes(text.as_bytes()), false, expect)
}

type Save = Box<dyn Fn()>;

thread_local! {
    static SAVE: std::cell::RefCell<Option<Save>> = const { std::cell::RefCell::new(None) };
}

/// What a test has happen when a put has looked at a file and not exchanged it yet.
pub(super) fn between_look_and_exchange() {
    SAVE.with_borrow(|save| {
        if let Some(save) = save {
            save();
        }
    });
}

/// Ends what [`save_in_between`] began.
struct Saving;

impl Drop for Saving {
    fn drop(&mut self) {
        SAVE.replace(None);
    }
}

fn save_in_between(save: impl Fn() + 'static) -> Saving {
    SAVE.replace(Some(Box::new(save)));
    Saving
}

#[test]
fn a_save_before_is_not_touched() {
    let (dir, writer) = vault();
    fs::write(dir.path().join("a"), "the user's").unwrap();
    assert_eq!(put(&writer, "a", "ours", content("old")).unwrap(), Put::Changed);
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"the user's");
    assert_eq!(writer.leftovers().unwrap(), []);
}

#[test]
fn put_creates_replaces_and_refuses() {
    let (dir, writer) = vault();
    let done = put(&writer, "a/b/c.md", "one", Expect::Absent).unwrap();
    let Put::Done { hash, found: Some(found) } = done else { panic!("{done:?}") };
    assert_eq!((hash, found.size, found.exec), (blake3::hash(b"one"), 3, false));
    assert!(scan::look(writer.root(), "a/b/c.md").unwrap().unwrap().same(&found));
    assert_eq!(put(&writer, "a/b/c.md", "two", Expect::Absent).unwrap(), Put::Exists);
    assert!(matches!(put(&writer, "a/b/c.md", "two", content("one")).unwrap(), Put::Done { .. }));
    assert_eq!(fs::read(dir.path().join("a/b/c.md")).unwrap(), b"two");
    assert_eq!(put(&writer, "a/b/d.md", "x", content("one")).unwrap(), Put::Missing);
    assert_eq!(put(&writer, "no/d.md", "x", content("one")).unwrap(), Put::Missing);
    assert!(!dir.path().join("no").exists());
    assert!(matches!(put(&writer, "a/b", "x", Expect::Absent), Err(WriteError::FolderInTheWay(_))));
    assert!(matches!(put(&writer, "a/b", "x", content("x")), Err(WriteError::FolderInTheWay(_))));
    let below_file = put(&writer, "a/b/c.md/d", "x", Expect::Absent);
    assert!(matches!(below_file, Err(WriteError::Folder(FolderError::File(_)))));
    for path in ["../x", ".git/hooks/pre-commit", "a/.aios/x", ""] {
        let refused = put(&writer, path, "x", Expect::Absent);
        assert!(matches!(refused, Err(WriteError::Folder(FolderError::Path { .. }))), "{path}");
    }
    assert_eq!(writer.leftovers().unwrap(), []);
}

#[test]
fn nothing_goes_through_a_link() {
    let (dir, writer) = vault();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("passwd"), "root").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).unwrap();
    for done in [
        put(&writer, "etc/new", "x", Expect::Absent).map(drop),
        put(&writer, "etc/passwd", "x", content("root")).map(drop),
        writer.remove("etc/passwd", blake3::hash(b"root")).map(drop),
        writer.rename("etc/passwd", "p").map(drop),
    ] {
        assert!(matches!(done, Err(WriteError::Folder(FolderError::Link(_)))), "{done:?}");
    }
    assert_eq!(fs::read(outside.path().join("passwd")).unwrap(), b"root");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // The link itself is content: it can be replaced and made, and is never followed.
    let target = outside.path().to_str().unwrap();
    assert!(matches!(put(&writer, "etc", "file now", content(target)).unwrap(), Put::Done { .. }));
    assert!(matches!(
        writer.put("etc", Source::Link("/etc"), false, content("file now")).unwrap(),
        Put::Done { found: Some(Found { kind: super::super::Kind::Link, .. }), .. }
    ));
    assert_eq!(fs::read_link(dir.path().join("etc")).unwrap(), Path::new("/etc"));
}

#[test]
fn a_save_in_between_is_handed_back() {
    let (dir, writer) = vault();
    fs::write(dir.path().join("a"), "old").unwrap();
    let mut batch = writer.batch();
    batch.put("a", Source::Bytes(b"ours"), false, content("old")).unwrap();
    let path = dir.path().join("a");
    let _save = save_in_between(move || fs::write(&path, "the user's").unwrap());
    let answers = batch.commit().unwrap();
    let [(_, Ok(Put::Displaced { displaced, .. }))] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"ours");
    let read = displaced.read(&writer, LARGE).unwrap();
    assert_eq!(read.content, Content::Bytes(b"the user's".to_vec()));
    let left = writer.leftovers().unwrap();
    assert_eq!((left.len(), left[0].origin), (1, Origin::Displaced));
    assert_eq!((left[0].path.as_deref(), left[0].key.clone()), (Some("a"), Some(path_key("a"))));
    writer.discard(&displaced.name).unwrap();
    assert_eq!(writer.leftovers().unwrap(), []);
}

#[test]
fn a_late_write_to_a_displaced_file_is_found_by_a_lingering_writer() {
    let (dir, writer) = vault();
    let writer = writer.lingering(true);
    fs::write(dir.path().join("a"), "old").unwrap();
    let mut editor = fs::OpenOptions::new().append(true).open(dir.path().join("a")).unwrap();
    assert!(matches!(put(&writer, "a", "new", content("old")).unwrap(), Put::Done { .. }));
    assert_eq!(writer.leftovers().unwrap()[0].origin, Origin::Own);
    io::Write::write_all(&mut editor, b" and late").unwrap();
    let left = writer.leftovers().unwrap();
    assert_eq!(left[0].origin, Origin::Displaced);
    assert_eq!(
        writer.content(&left[0].name, LARGE).unwrap().content,
        Content::Bytes(b"old and late".to_vec())
    );
}

#[test]
fn a_removal_takes_only_what_was_expected() {
    let (dir, writer) = vault();
    fs::create_dir_all(dir.path().join("x/y")).unwrap();
    fs::write(dir.path().join("x/y/a"), "one").unwrap();
    assert_eq!(writer.remove("x/y/a", blake3::hash(b"two")).unwrap(), Removed::Changed);
    assert_eq!(fs::read(dir.path().join("x/y/a")).unwrap(), b"one");
    assert_eq!(writer.remove("x/y/a", blake3::hash(b"one")).unwrap(), Removed::Done);
    assert!(!dir.path().join("x").exists());
    assert_eq!(writer.remove("x/y/a", blake3::hash(b"one")).unwrap(), Removed::Missing);
    fs::create_dir(dir.path().join("f")).unwrap();
    assert!(matches!(writer.remove("f", blake3::hash(b"")), Err(WriteError::FolderInTheWay(_))));
    assert_eq!(writer.leftovers().unwrap(), []);
}

#[test]
fn a_rename_never_clobbers() {
    let (dir, writer) = vault();
    fs::create_dir(dir.path().join("x")).unwrap();
    fs::write(dir.path().join("x/a"), "a").unwrap();
    fs::write(dir.path().join("b"), "b").unwrap();
    assert_eq!(writer.rename("x/a", "b").unwrap(), Moved::Exists);
    assert_eq!(writer.rename("no", "c").unwrap(), Moved::Missing);
    assert_eq!(writer.rename("no/no", "c/d").unwrap(), Moved::Missing);
    assert!(!dir.path().join("c").exists());
    assert!(matches!(writer.rename("x/a", "n/m/A").unwrap(), Moved::Done { found: Some(_) }));
    assert!(!dir.path().join("x").exists());
    assert!(matches!(writer.rename("n", "moved").unwrap(), Moved::Done { found: None }));
    assert_eq!(fs::read(dir.path().join("moved/m/A")).unwrap(), b"a");
    assert!(matches!(writer.rename("b", "B").unwrap(), Moved::Done { .. }));
}

#[test]
fn the_mode_is_kept_but_for_the_right_to_execute() {
    let (dir, writer) = vault();
    let path = dir.path().join("a");
    let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
    fs::write(&path, "1").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let done = writer.put("a", Source::Bytes(b"2"), true, content("1")).unwrap();
    assert!(matches!(done, Put::Done { found: Some(Found { exec: true, .. }), .. }));
    assert_eq!(mode(), 0o750);
    assert!(matches!(put(&writer, "a", "3", content("2")).unwrap(), Put::Done { .. }));
    assert_eq!(mode(), 0o640);
}

#[test]
fn a_reader_always_sees_one_whole_version() {
    let (dir, writer) = vault();
    let path = dir.path().join("a");
    let text = |n: u32| format!("{n}\n").repeat(2000);
    fs::write(&path, text(0)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !stop.load(Ordering::Relaxed) {
                let now = fs::read_to_string(&path).unwrap();
                let first: u32 = now.lines().next().unwrap().parse().unwrap();
                assert_eq!(now, text(first));
                seen += 1;
            }
            seen
        });
        for n in 0..60 {
            let mut batch = writer.batch();
            let source = text(n + 1);
            batch.put("a", Source::Bytes(source.as_bytes()), false, content(&text(n))).unwrap();
            // Without the syncs, which only slow the race down.
            let staged = std::mem::take(&mut batch.staged);
            let landed = writer.land(&staged[0]).unwrap();
            assert!(matches!(landed.put, Put::Done { .. }));
            writer.finish(&landed);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn a_batch_puts_many_and_a_dropped_one_nothing() {
    let (dir, writer) = vault();
    let source = dir.path().join(".aios/blob");
    fs::write(&source, "big").unwrap();
    let mut batch = writer.batch();
    for n in 0..300 {
        let path = format!("{}/{n}.md", n % 7);
        batch.put(&path, Source::Bytes(path.as_bytes()), false, Expect::Absent).unwrap();
    }
    batch.put("blob", Source::File(&source), true, Expect::Absent).unwrap();
    let answers = batch.commit().unwrap();
    assert!(answers.iter().all(|(_, put)| matches!(put, Ok(Put::Done { found: Some(_), .. }))));
    assert_eq!(fs::read(dir.path().join("blob")).unwrap(), b"big");
    assert_eq!(scan::scan(dir.path(), &Rules::default()).entries.len(), 301);
    let mut batch = writer.batch();
    batch.put("more", Source::Bytes(b"x"), false, Expect::Absent).unwrap();
    drop(batch);
    assert!(!dir.path().join("more").exists());
    assert_eq!(writer.leftovers().unwrap(), []);
}

#[test]
fn leftovers_tell_ours_from_theirs() {
    let (dir, writer) = vault();
    let tmp = dir.path().join(".aios/tmp");
    let (new, old) = (blake3::hash(b"new"), blake3::hash(b"old"));
    let long = "long/".repeat(60) + "x";
    fs::write(tmp.join("n.1-2-3"), "torn").unwrap();
    for (at, text) in ["new", "old", "theirs"].iter().enumerate() {
        fs::write(tmp.join(temp::exchanged(&at.to_string(), Some(new), old, "a/100%.md")), text).unwrap();
    }
    fs::write(tmp.join(temp::exchanged("8", None, old, &long)), "theirs").unwrap();
    fs::write(tmp.join("strange"), "?").unwrap();
    fs::create_dir(tmp.join(temp::exchanged("9", None, old, "a"))).unwrap();
    let left = writer.leftovers().unwrap();
    let origins: Vec<_> = left.iter().map(|left| left.origin).collect();
    let (own, displaced, unknown) = (Origin::Own, Origin::Displaced, Origin::Unknown);
    assert_eq!(origins, [own, unknown, own, own, displaced, displaced, unknown]);
    assert_eq!(left[4].path.as_deref(), Some("a/100%.md"));
    assert_eq!((left[5].path.as_deref(), left[5].key.clone()), (None, Some(path_key(&long))));
}
