//! Documents that are forgotten: their bytes leave every device that hears of it, and everything else stays what it was.

use aios_core::history::{Act, History};

use super::members::{hand, read, revoke, save, write};
use super::{World, quiet};
use crate::audit::Query;
use crate::gc::Wanted;
use crate::git::testing::git;

const SECRET: &str = "Ondine Vasseur";

/// Two devices, and a file that both edited at once, moved, with bytes of a picture beside it.
fn told() -> World {
    let mut world = World::of_equals(2);
    std::fs::create_dir_all(world.root(0).join("clients")).unwrap();
    save(&mut world, 0, "clients/ondine.md", &format!("---\nname: {SECRET}\n---\none\ntwo\nthree\n"));
    save(&mut world, 0, "other.md", "stays\n");
    std::fs::write(world.root(0).join("clients/photo.bin"), [b"\0\0".as_slice(), SECRET.as_bytes()].concat())
        .unwrap();
    world.sync();
    give(&mut world, 0, 1);
    save(
        &mut world,
        0,
        "clients/ondine.md",
        &format!("---\nname: {SECRET}\n---\none of {SECRET}\ntwo\nthree\n"),
    );
    save(
        &mut world,
        1,
        "clients/ondine.md",
        &format!("---\nname: {SECRET} jr\n---\none\ntwo\nthree of {SECRET}\n"),
    );
    world.sync();
    // Built on what both made, without touching it.
    save(&mut world, 1, "other.md", "stays\nand grows\n");
    world.sync();
    world.assert_equal();
    world
}

/// Hands the blobs over that `to` awaits, and writes them.
fn give(world: &mut World, from: usize, to: usize) {
    for (id, _) in world.replicas[to].missing_apart().unwrap() {
        if let Some(bytes) = world.replicas[from].blob(&crate::project::git_id(&id)).unwrap() {
            world.replicas[to].store_blob(bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
    }
    world.commit(to);
}

/// Whether a device has bytes of it anywhere: files, log, database, git's objects.
fn knows(world: &World, n: usize) -> Vec<String> {
    fn walk(at: &std::path::Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
                continue;
            }
            let file = std::fs::read(&path).unwrap();
            let bytes = match path.extension().is_some_and(|end| end == "logz") {
                true => crate::packed::unpack(&file).unwrap(),
                false => file,
            };
            if bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()) {
                out.push(path.display().to_string());
            }
        }
    }
    let mut out = Vec::new();
    walk(&world.root(n), &mut out);
    let repo = git2::Repository::open(world.root(n)).unwrap();
    let odb = repo.odb().unwrap();
    let mut ids = Vec::new();
    odb.foreach(|id| {
        ids.push(*id);
        true
    })
    .unwrap();
    for id in ids {
        let object = odb.read(id).unwrap();
        if object.data().windows(SECRET.len()).any(|w| w == SECRET.as_bytes()) {
            out.push(format!("{} {id}", object.kind()));
        }
    }
    out
}

fn forget(world: &mut World, n: usize, path: &str) {
    let docs: Vec<_> =
        world.replicas[n].forgettable(path).unwrap().into_iter().map(|found| found.doc).collect();
    world.replicas[n].forget(&docs).unwrap();
    world.commit(n);
}

fn sound(world: &mut World, n: usize) {
    for deep in [false, true] {
        let report = world.replicas[n].verify(deep, &mut quiet()).unwrap();
        assert!(report.ok, "{n} {deep}: {report:?}");
    }
    git(&world.root(n), &["fsck", "--full", "--strict"]);
    if let Some(changed) = git(&world.root(n), &["status", "--porcelain"]) {
        assert_eq!(changed, "");
    }
}

#[test]
fn no_device_that_heard_of_it_has_a_byte_and_all_else_stays() {
    let mut world = told();
    assert!(!knows(&world, 0).is_empty() && !knows(&world, 1).is_empty());
    let commits = git(&world.root(0), &["rev-list", "--count", "main"]);
    forget(&mut world, 0, "clients");
    assert_eq!(knows(&world, 0), Vec::<String>::new());
    assert_eq!(read(&world, 0, "clients/ondine.md"), None);
    sound(&mut world, 0);
    world.sync();
    world.assert_equal();
    assert_eq!(knows(&world, 1), Vec::<String>::new());
    sound(&mut world, 1);
    assert_eq!(read(&world, 1, "other.md").unwrap(), "stays\nand grows\n");
    // Nothing of history was written anew.
    if let (Some(before), Some(after)) = (commits, git(&world.root(0), &["rev-list", "--count", "main"])) {
        assert!(before.trim().parse::<u64>().unwrap() < after.trim().parse::<u64>().unwrap());
    }
    // It goes on as any vault, and a file there is another one.
    std::fs::create_dir_all(world.root(1).join("clients")).unwrap();
    save(&mut world, 1, "clients/ondine.md", "somebody else\n");
    world.sync();
    world.assert_equal();
    assert_eq!(read(&world, 0, "clients/ondine.md").unwrap(), "somebody else\n");
    for n in 0..2 {
        sound(&mut world, n);
        assert_eq!(world.replicas[n].forgotten().unwrap().len(), 2);
    }
}

#[test]
fn who_never_had_a_byte_comes_to_the_same() {
    let mut world = told();
    let head = world.replicas[0].projected_head().unwrap();
    forget(&mut world, 0, "clients");
    world.sync();
    world.add(2, &["write"]);
    // From one that obeyed, a few records at a time: each before the word that explains it.
    while world.deliver(0, 2, 1) > 0 {
        world.replicas[2].finish(Default::default(), &mut quiet()).unwrap();
    }
    world.sync();
    world.assert_equal();
    assert_eq!(knows(&world, 2), Vec::<String>::new());
    sound(&mut world, 2);
    let (repo, head) = (git2::Repository::open(world.root(2)).unwrap(), head.unwrap());
    assert!(repo.find_commit(head).is_ok(), "what was there before is what it was");
    // And from nothing but the log.
    for n in 0..3 {
        world.rebuild(n);
        world.commit(n);
        sound(&mut world, n);
    }
    world.assert_equal();
    assert_eq!(knows(&world, 0), Vec::<String>::new());
}

#[test]
fn what_others_saved_meanwhile_is_out_of_sight_kept_and_forgotten_when_asked_again() {
    let mut world = told();
    forget(&mut world, 0, "clients/ondine.md");
    save(&mut world, 1, "clients/ondine.md", "late words\n");
    world.sync();
    world.assert_equal();
    for n in 0..2 {
        assert_eq!(read(&world, n, "clients/ondine.md"), None);
        let kept = world.replicas[n].forgotten().unwrap();
        assert_eq!(kept.iter().map(|found| found.kept).collect::<Vec<_>>(), [1], "{kept:?}");
        sound(&mut world, n);
    }
    forget(&mut world, 1, "clients/ondine.md");
    world.sync();
    world.assert_equal();
    for n in 0..2 {
        assert_eq!(world.replicas[n].forgotten().unwrap()[0].kept, 0);
        sound(&mut world, n);
    }
    assert!(world.replicas[0].forgettable("clients/ondine.md").is_err());
}

#[test]
fn the_same_bytes_in_another_file_stay() {
    let mut world = told();
    let text = read(&world, 0, "clients/ondine.md").unwrap();
    save(&mut world, 0, "copy.md", &text);
    world.sync();
    forget(&mut world, 0, "clients/ondine.md");
    world.sync();
    world.assert_equal();
    for n in 0..2 {
        assert_eq!(read(&world, n, "copy.md").unwrap(), text);
        world.rebuild(n);
        world.commit(n);
        sound(&mut world, n);
        assert_eq!(read(&world, n, "copy.md").unwrap(), text);
    }
}

#[test]
fn a_crash_anywhere_on_the_way_is_made_good() {
    for point in ["forget.log", "forget.database", "forget.git", "gc.database", "git.*@3", "disk.sync_*@5"] {
        let (name, at) = point.split_once('@').unwrap_or((point, "1"));
        let mut world = told();
        let docs: Vec<_> =
            world.replicas[0].forgettable("clients").unwrap().into_iter().map(|found| found.doc).collect();
        world.replicas[0].forget(&docs).unwrap();
        super::crash::crashes(&format!("{name}=crash@{at}"), || _ = world.commit(0));
        world.restart(0);
        world.commit(0);
        assert_eq!(knows(&world, 0), Vec::<String>::new(), "{point}");
        world.sync();
        world.assert_equal();
        for n in 0..2 {
            sound(&mut world, n);
        }
    }
}

#[test]
fn an_open_editor_saves_another_file() {
    let mut world = told();
    let text = read(&world, 1, "clients/ondine.md").unwrap();
    forget(&mut world, 0, "clients/ondine.md");
    hand(&mut world, 0, 1);
    assert_eq!(read(&world, 1, "clients/ondine.md"), None);
    write(&world, 1, "clients/ondine.md", &format!("{text}more\n"));
    world.sync();
    world.assert_equal();
    assert_eq!(read(&world, 0, "clients/ondine.md").unwrap(), format!("{text}more\n"));
    sound(&mut world, 0);
    sound(&mut world, 1);
}

#[test]
fn only_an_operator_has_something_forgotten() {
    use aios_core::event::Event;
    use aios_core::item::{Bytes, Item};
    let mut world = told();
    let (doc, by) =
        (world.replicas[0].doc_at("other.md").unwrap().unwrap(), world.replicas[0].operator().unwrap());
    let mut draft = crate::author::Draft::operator("forged");
    let by = by.unwrap().public();
    draft.push(Item::Event(Event::DocumentForgotten { doc, sig: Bytes(vec![0; 64]), by }));
    let refused = world.replicas[0].transaction(|vault| vault.author_records(draft));
    assert!(refused.is_err());
}

#[test]
fn a_mirror_leaves_nothing_of_it_to_git() {
    let long = |word: &str| (0..40).map(|n| format!("{n} {}\n", word.repeat(330))).collect::<String>();
    let mut world = World::of_equals(2);
    save(&mut world, 0, "a.md", &long("first"));
    world.sync();
    // Saved whole by who had not heard of it: before the mirror is made anew, and after.
    save(&mut world, 1, "a.md", &long("second"));
    let doc = world.replicas[1].doc_at("a.md").unwrap().unwrap();
    let touches = world.replicas[1].history().touches(&doc).unwrap();
    assert!(touches.iter().any(|touch| matches!(touch.act, Act::Replace { .. })), "{touches:?}");
    forget(&mut world, 0, "a.md");
    world.sync();
    world.assert_equal();
    for vault in &world.replicas {
        for device in crate::mirror::devices(&vault.repo).unwrap() {
            let (found, wrong) = crate::mirror::read(&vault.repo, &vault.id(), &device).unwrap();
            assert!(wrong.is_empty(), "{wrong:?}");
            for mirrored in found {
                crate::mirror::whole(&vault.repo, mirrored.record).unwrap();
            }
        }
    }
    sound(&mut world, 0);
    sound(&mut world, 1);
}

#[test]
fn nothing_is_taken_in_before_the_word_that_explains_a_gap_has_come() {
    let mut world = told();
    forget(&mut world, 0, "clients");
    world.add(2, &["write"]);
    let mut waited = false;
    while world.deliver(0, 2, 1) > 0 {
        write(&world, 2, "own.md", "mine\n");
        match world.replicas[2].commit(&Default::default(), &mut quiet()) {
            Err(crate::error::Error::Untold) => waited = true,
            // Not a member yet.
            done => _ = done,
        }
    }
    world.sync();
    world.assert_equal();
    assert_eq!(read(&world, 0, "own.md").unwrap(), "mine\n");
    assert!(waited || world.replicas[2].forgotten().unwrap().len() == 2);
    sound(&mut world, 2);
}

#[test]
fn what_git_history_from_before_holds_is_not_forgotten_by_half() {
    let dir = tempfile::tempdir().unwrap();
    crate::keys::use_data_dir(&dir.path().join("keys"));
    let root = dir.path().join("w");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.md"), "old\n").unwrap();
    if git(&root, &["init", "-q", "-b", "main"]).is_none() {
        return;
    }
    for (name, text) in [("a.md", "old\n"), ("a.md", "newer\n"), ("c.md", "only one\n")] {
        std::fs::write(root.join(name), text).unwrap();
        git(&root, &["add", "-A"]);
        git(&root, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "before"]);
    }
    let new =
        crate::create::NewVault { name: Some("w".into()), device: Some("d".into()), ..Default::default() };
    let (mut vault, absorbed) = crate::vault::Vault::create(&root, &new, &mut quiet()).unwrap();
    vault.finish(absorbed, &mut quiet()).unwrap();
    let doc = vault.doc_at("a.md").unwrap().unwrap();
    let refused = vault.forget(&[doc]).unwrap_err().to_string();
    assert!(refused.contains("git history"), "{refused}");
    std::fs::write(root.join("b.md"), "new\n").unwrap();
    vault.commit(&Default::default(), &mut quiet()).unwrap();
    // All of one that came by that history as it is, and of one that it does not know.
    for name in ["b.md", "c.md"] {
        let doc = vault.doc_at(name).unwrap().unwrap();
        vault.forget(&[doc]).unwrap();
        vault.finish(Default::default(), &mut quiet()).unwrap();
        assert!(!root.join(name).exists());
    }
    let blob = git2::Oid::hash_object(git2::ObjectType::Blob, b"only one\n").unwrap();
    assert!(!git2::Repository::open(&root).unwrap().odb().unwrap().exists(blob));
    git(&root, &["fsck", "--full", "--strict"]);
}

/// Has a third device that never had a byte come to the same as the others, and all of them again from their logs.
fn without_a_byte(world: &mut World) {
    forget(world, 0, "a.md");
    world.sync();
    world.add(2, &["write"]);
    world.sync();
    world.assert_equal();
    for n in 0..3 {
        assert_eq!(knows(world, n), Vec::<String>::new());
        world.rebuild(n);
        world.commit(n);
        sound(world, n);
    }
    world.assert_equal();
}

/// A text that device 0 saves from a buffer with the first version, while device 1 goes on: no later record is at the heads of either.
fn saved_from_before(text: impl Fn(&str, &str) -> String) -> World {
    let mut world = World::of_equals(2);
    save(&mut world, 0, "a.md", &text("one", "three"));
    world.sync();
    save(&mut world, 1, "a.md", &text("one", "three from b"));
    world.sync();
    save(&mut world, 1, "a.md", &text("one", "three from c"));
    save(&mut world, 0, "a.md", &text("one from a", "three"));
    assert_eq!(read(&world, 0, "a.md").unwrap(), text("one from a", "three from b"));
    world
}

#[test]
fn a_save_that_merges_in_its_own_tree_is_named() {
    let mut world = saved_from_before(|first, last| format!("{first}\ntwo of {SECRET}\n{last}\n"));
    let log = world.replicas[0].log(&Query { limit: Some(1), ..Query::default() }).unwrap();
    assert_eq!(log[0].changed.len(), 1, "what names a blob is nothing that anybody did: {log:?}");
    world.sync();
    without_a_byte(&mut world);
}

#[test]
fn a_large_text_that_is_merged_by_line_is_named_as_well() {
    let middle = "a line that is the same on all devices\n".repeat(60_000);
    let mut world = saved_from_before(|first, last| format!("{first}\n{SECRET}\n{middle}{last}\n"));
    world.sync();
    without_a_byte(&mut world);
}

#[test]
fn a_crash_before_a_merge_is_named_is_made_good() {
    let text = |first: &str, last: &str| format!("{first}\ntwo of {SECRET}\n{last}\n");
    let mut world = World::of_equals(2);
    save(&mut world, 0, "a.md", &text("one", "three"));
    world.sync();
    save(&mut world, 1, "a.md", &text("one", "three from b"));
    world.sync();
    write(&world, 0, "a.md", &text("one from a", "three"));
    super::crash::crashes("author.merged=crash@1", || _ = world.commit(0));
    world.restart(0);
    // What comes meanwhile takes the text on before anything else is said.
    save(&mut world, 1, "a.md", &text("one", "three from c"));
    while world.deliver(1, 0, 1 << 20) > 0 {}
    world.sync();
    without_a_byte(&mut world);
}

#[test]
fn what_was_saved_before_the_word_came_is_a_file_of_its_own() {
    let mut world = told();
    forget(&mut world, 0, "clients/ondine.md");
    while world.deliver(0, 1, 1 << 20) > 0 {}
    // Saved, and not taken in before the word is.
    write(&world, 1, "clients/ondine.md", "goes on\n");
    world.sync();
    world.assert_equal();
    for n in 0..2 {
        assert_eq!(read(&world, n, "clients/ondine.md").unwrap(), "goes on\n");
        sound(&mut world, n);
    }
}

#[test]
fn a_power_cut_brings_nothing_back() {
    for packed in [false, true] {
        let mut world = told();
        let held = crate::disk::journal::hold(crate::disk::journal::Journal::default());
        if packed {
            world.replicas[0].gc(Wanted::default()).unwrap();
        }
        forget(&mut world, 0, "clients");
        assert_eq!(knows(&world, 0), Vec::<String>::new());
        held.release().lose(false);
        world.restart(0);
        world.commit(0);
        assert_eq!(knows(&world, 0), Vec::<String>::new());
        sound(&mut world, 0);
    }
}

#[test]
fn a_commit_made_with_git_meanwhile_loses_it_as_well_and_travels() {
    for by in 0..2 {
        let mut world = told();
        // Committed before aios followed, so that the commit travels with its history.
        write(&world, by, "other.md", "by hand\n");
        world.replicas[by].absorb(&Default::default(), &mut quiet()).unwrap();
        let root = world.root(by);
        if git(&root, &["add", "-A"]).is_none() {
            return;
        }
        git(&root, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "by hand"]);
        world.commit(by);
        // Said by one who has not heard of the commit; and by the one who made it: what aios made of records is no history beside.
        forget(&mut world, 0, "clients");
        for _ in 0..2 {
            world.sync();
            world.give_apart(by, 1 - by);
        }
        world.add(2, &["write"]);
        for _ in 0..2 {
            world.sync();
            world.give_apart(1 - by, 2);
        }
        world.assert_equal();
        for n in 0..3 {
            assert_eq!(knows(&world, n), Vec::<String>::new(), "{by} {n}");
            sound(&mut world, n);
        }
    }
}

#[test]
fn a_commit_made_with_git_that_is_not_taken_in_yet_brings_nothing_back() {
    for by in 0..2 {
        let mut world = World::of_equals(2);
        save(&mut world, 0, "other.md", "stays\n");
        world.sync();
        save(&mut world, 1, "notes.md", &format!("of {SECRET}\n"));
        while world.deliver(1, 0, 1 << 20) > 0 {}
        // Written, and `main` has not followed: a commit made now adds it.
        world.replicas[0].absorb(&Default::default(), &mut quiet()).unwrap();
        world.replicas[0].transaction(|vault| vault.refresh(&mut quiet())).unwrap();
        world.replicas[0].settle(&mut quiet()).unwrap();
        assert!(world.root(0).join("notes.md").exists());
        write(&world, 0, "new.md", "by hand\n");
        let root = world.root(0);
        if git(&root, &["add", "-A"]).is_none() {
            return;
        }
        git(&root, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "by hand"]);
        forget(&mut world, by, "notes.md");
        for _ in 0..2 {
            world.sync();
            world.give_apart(0, 1);
            world.give_apart(1, 0);
        }
        world.assert_equal();
        for n in 0..2 {
            assert_eq!(read(&world, n, "new.md").unwrap(), "by hand\n");
            assert!(!world.root(n).join("notes.md").exists());
            assert_eq!(knows(&world, n), Vec::<String>::new(), "{by} {n}");
            sound(&mut world, n);
        }
    }
}

#[test]
fn a_file_that_stands_where_a_text_is_unexplained_waits() {
    let mut world = World::of_equals(3);
    world.sync();
    save(&mut world, 0, "a.md", &format!("one of {SECRET}\n"));
    save(&mut world, 0, "b.md", "other\n");
    forget(&mut world, 0, "a.md");
    write(&world, 2, "a.md", "made here\n");
    write(&world, 2, "c.md", "made here, too\n");
    // As far as the record of the file, and not of the word.
    let mut waited = false;
    while world.deliver(0, 2, 1) > 0 {
        let done = world.replicas[2].commit(&Default::default(), &mut quiet()).unwrap();
        waited |= done.absorbed.problems.iter().any(|problem| problem.path == "a.md");
    }
    assert!(waited);
    world.sync();
    world.assert_equal();
    assert_eq!(read(&world, 0, "a.md").unwrap(), "made here\n");
    for n in 0..3 {
        world.rebuild(n);
        world.commit(n);
        sound(&mut world, n);
    }
    world.assert_equal();
}

/// A text that device 0 heard of after device 1 had it forgotten, and without the word: that counts for nothing, since device 2, which made
/// a file of that name as well, took device 1 out before it had heard of anything. Nobody has the text, and no word will come.
fn without_a_word() -> World {
    let mut world = World::of_equals(3);
    save(&mut world, 1, "notes.md", &format!("of {SECRET}\n"));
    forget(&mut world, 1, "notes.md");
    assert!(world.deliver(1, 0, 1) > 0);
    write(&world, 0, "other.md", "built on it\n");
    world.commit(0);
    save(&mut world, 2, "notes.md", "of another\n");
    revoke(&mut world, 2, 1);
    for (from, to) in [(0, 2), (2, 0)] {
        while world.deliver(from, to, 1 << 20) > 0 {}
    }
    world
}

#[test]
fn a_text_whose_word_was_struck_can_be_done_without() {
    for by in [0, 2] {
        let mut world = without_a_word();
        for n in [0, 2] {
            let stuck = world.replicas[n].commit(&Default::default(), &mut quiet()).unwrap_err();
            assert!(matches!(stuck, crate::error::Error::Untold), "{stuck}");
            assert_eq!(world.replicas[n].unexplained().unwrap()[0].path, "notes.md");
        }
        write(&world, 0, "mine.md", "saved meanwhile\n");
        // Nothing else can be built on it: nobody could tell the tree that it is made on.
        let other = world.replicas[0].doc_at("other.md").unwrap().unwrap();
        let refused = world.replicas[by].forget(&[other]).unwrap_err();
        assert!(matches!(refused, crate::error::Error::Untold), "{refused}");
        // Nor is it known what lies at a path.
        let refused = world.replicas[by].forgettable("notes.md").unwrap_err();
        assert!(matches!(refused, crate::error::Error::Untold), "{refused}");
        let docs: Vec<_> =
            world.replicas[by].unexplained().unwrap().into_iter().map(|found| found.doc).collect();
        world.replicas[by].forget(&docs).unwrap();
        for from in [by, 2 - by, by, 2 - by] {
            world.commit(from);
            while world.deliver(from, 2 - from, 1 << 20) > 0 {}
        }
        world.commit(by);
        assert_eq!(world.files(0), world.files(2));
        assert_eq!(world.replicas[0].projected_head().unwrap(), world.replicas[2].projected_head().unwrap());
        assert_eq!(read(&world, 2, "mine.md").unwrap(), "saved meanwhile\n");
        for n in [0, 2] {
            assert!(world.replicas[n].unexplained().unwrap().is_empty());
            sound(&mut world, n);
        }
    }
}

#[test]
fn what_git_is_told_to_keep_is_said() {
    let mut world = World::of_equals(1);
    save(&mut world, 0, "a.md", &format!("one of {SECRET}\n"));
    world.replicas[0].gc(Wanted::default()).unwrap();
    let packs = world.root(0).join(".git/objects/pack");
    let mut pack = std::fs::read_dir(&packs).unwrap().map(|entry| entry.unwrap().path());
    let pack = pack.find(|path| path.extension().is_some_and(|end| end == "pack")).unwrap();
    let mark = pack.with_extension("keep");
    std::fs::write(&mark, "").unwrap();
    forget(&mut world, 0, "a.md");
    assert_eq!(world.replicas[0].forgotten().unwrap()[0].in_git, 1);
    std::fs::remove_file(mark).unwrap();
    forget(&mut world, 0, "a.md");
    assert_eq!(world.replicas[0].forgotten().unwrap()[0].in_git, 0);
    assert_eq!(knows(&world, 0), Vec::<String>::new());
}

#[test]
fn what_an_adoption_merges_is_named_once_it_counts() {
    let mut world = World::of_equals(3);
    let text = |one: &str, two: &str, three: &str| format!("{one}\n{two} of {SECRET}\n{three}\n");
    save(&mut world, 0, "a.md", &text("one", "two", "three"));
    world.sync();
    // Held by the others: the last line by who is revoked; made by them at once: the other two.
    save(&mut world, 1, "a.md", &text("one", "two", "three by b"));
    revoke(&mut world, 0, 1);
    hand(&mut world, 0, 2);
    save(&mut world, 0, "a.md", &text("one by a", "two", "three"));
    save(&mut world, 2, "a.md", &text("one", "two by c", "three"));
    for (from, to) in [(1, 0), (1, 2), (2, 0), (0, 2)] {
        hand(&mut world, from, to);
    }
    let device = world.replicas[1].device();
    assert!(world.replicas[0].adopt_device(&device).unwrap().is_some());
    world.commit(0);
    assert_eq!(read(&world, 0, "a.md").unwrap(), text("one by a", "two by c", "three by b"));
    // Goes on before it has heard of that, so that no later record is at these heads.
    save(&mut world, 2, "a.md", &text("one by a", "two by c", "three"));
    save(&mut world, 2, "a.md", &text("one by a", "two by c once more", "three"));
    for (from, to) in [(0, 2), (2, 0)] {
        hand(&mut world, from, to);
    }
    forget(&mut world, 0, "a.md");
    hand(&mut world, 0, 2);
    world.add(3, &["write"]);
    for (from, to) in [(0, 3), (0, 2), (2, 3)] {
        hand(&mut world, from, to);
    }
    let head = world.replicas[0].projected_head().unwrap();
    assert!(head.is_some());
    for n in [0, 2, 3] {
        assert_eq!(world.replicas[n].projected_head().unwrap(), head, "{n}");
        sound(&mut world, n);
        world.rebuild(n);
        world.commit(n);
        assert_eq!(world.replicas[n].projected_head().unwrap(), head, "{n}");
    }
}
