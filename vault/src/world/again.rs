//! What is old and comes again: copies of earlier versions, equal files made apart, saves that stood aside, joins that did not end.

use super::members::{read, save, write};
use super::{World, quiet};
use crate::absorb::AbsorbOptions;
use crate::chance::now_ms;
use crate::disk::{Displaced, Expect, Put, Source, fault};
use crate::git::testing::git;

/// One more member, whose folder has these files already, and who has heard of all and looked at nothing.
fn join_with(world: &mut World, files: &[(&str, &[u8])]) -> usize {
    let n = world.replicas.len();
    world.add(n, &["write"]);
    for (path, bytes) in files {
        std::fs::write(world.root(n).join(path), bytes).unwrap();
    }
    while world.deliver(0, n, 1 << 20) > 0 {}
    n
}

#[test]
fn who_joins_with_an_older_copy_brings_nothing_back() {
    let mut world = World::new(1);
    for (blob, text) in [(vec![0, 1], "a\nb\n"), (vec![0, 2], "a\nB1\n"), (vec![0, 3], "a\nB1\nc\n")] {
        std::fs::write(world.root(0).join("inv.xlsx"), blob).unwrap();
        save(&mut world, 0, "a.md", text);
    }
    let n = join_with(&mut world, &[("a.md", b"a\nB1\n"), ("inv.xlsx", &[0, 2])]);
    world.sync();
    assert_eq!(world.replicas[0].state().unwrap(), world.replicas[n].state().unwrap());
    assert_eq!(read(&world, n, "a.md").unwrap(), "a\nB1\nc\n");
    assert_eq!(std::fs::read(world.root(0).join("inv.xlsx")).unwrap(), [0, 3]);
    assert_eq!(world.replicas[0].status(&mut quiet()).unwrap().conflicts, 0);
    // An edit of the old copy is one of that version.
    let m = join_with(&mut world, &[("a.md", b"a\nB1\n")]);
    world.replicas[m].absorb(&Default::default(), &mut quiet()).unwrap();
    write(&world, m, "a.md", "first\na\nB1\n");
    world.sync();
    assert_eq!(read(&world, 0, "a.md").unwrap(), "first\na\nB1\nc\n");
}

#[test]
fn a_third_who_made_the_same_file_changes_what_wins_everywhere() {
    let mut world = World::new(3);
    let made = |mood: &str| format!("---\nmood: {mood}\n---\nday\n");
    // The third made it first, and is heard of last.
    for (n, mood) in [(2, "good"), (1, "bad"), (0, "good")] {
        let before = now_ms();
        while now_ms() == before {
            std::thread::yield_now();
        }
        save(&mut world, n, "day.md", &made(mood));
    }
    for (n, word) in [(0, "zero"), (1, "one")] {
        let text = format!("{}{word}\n", read(&world, n, "day.md").unwrap());
        save(&mut world, n, "day.md", &text);
    }
    for (from, to) in [(0, 1), (1, 0)] {
        while world.deliver(from, to, 1 << 20) > 0 {}
        world.commit(to);
    }
    for to in [0, 1] {
        while world.deliver(2, to, 1 << 20) > 0 {}
        world.commit(to);
    }
    // One that was there all along, and one that knows it from the log alone.
    world.rebuild(1);
    world.sync();
    world.assert_equal();
}

#[test]
fn what_stood_aside_is_kept_until_it_is_committed() {
    let mut world = World::new(1);
    save(&mut world, 0, "a.md", "one\n");
    let doc = world.replicas[0].doc_at("a.md").unwrap().unwrap();
    let name = format!("x.1-2-3.-.{0}.{0}.a.md", "0".repeat(32));
    let at = world.root(0).join(".aios/tmp").join(&name);
    std::fs::write(&at, "one\nsaved aside\n").unwrap();
    let displaced = Displaced { name, path: "a.md".into() };
    let armed = fault::arm("database.commit=enospc").unwrap();
    world.replicas[0].transaction(|vault| vault.absorb_displaced(&doc, &displaced)).unwrap_err();
    drop(armed);
    assert!(at.exists());
    save(&mut world, 0, "b.md", "goes on\n");
    world.restart(0);
    world.commit(0);
    assert_eq!(read(&world, 0, "a.md").unwrap(), "one\nsaved aside\n");
    assert!(!at.exists());
}

#[test]
fn a_rebuild_in_the_middle_of_a_join_takes_nothing_out() {
    let mut world = World::new(1);
    save(&mut world, 0, "b.md", "of the vault\n");
    let n = join_with(&mut world, &[("b.md", b"of the folder\n")]);
    world.rebuild(n);
    world.sync();
    world.assert_equal();
    let text = read(&world, 0, "b.md").unwrap();
    assert!(text.contains("of the vault\n") && text.contains("of the folder\n"), "{text}");
}

#[test]
fn a_write_that_was_not_noted_makes_no_second_document_where_a_file_has_moved() {
    for step in 1.. {
        let mut world = World::new(2);
        save(&mut world, 0, "a.md", "one\n");
        save(&mut world, 0, "b.md", "two\n");
        std::fs::rename(world.root(0).join("a.md"), world.root(0).join("c.md")).unwrap();
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let before = world.replicas[1].frontier().unwrap();
        let armed = fault::arm(&format!("disk.*=enospc@{step}")).unwrap();
        let done = world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet());
        let failed = armed.disarm().failed();
        world.restart(1);
        world.commit(1);
        assert_eq!(world.replicas[1].frontier().unwrap(), before, "at step {step}");
        if failed == 0 {
            assert!(done.is_ok() && step > 5);
            return;
        }
    }
}

#[test]
fn an_undo_in_one_of_two_files_of_a_document_counts_at_once() {
    let (mut world, paths) = half_swapped();
    let text = read(&world, 1, paths[0]).unwrap();
    let armed = fault::arm("disk.exchange=eio").unwrap();
    for saved in [format!("{text}saved\n"), text.clone()] {
        write(&world, 1, paths[1], &saved);
        world.commit(1);
    }
    drop(armed);
    world.sync();
    world.assert_equal();
    let all: String = paths.iter().map(|path| read(&world, 0, path).unwrap()).collect();
    assert!(!all.contains("saved\n"), "{all}");
}

/// Two files that changed places on 0, of which 1 has written one only, as an aios that did not let the other go first could leave
/// it: it has a document in two files.
fn half_swapped() -> (World, [&'static str; 2]) {
    let mut world = World::new(2);
    for (path, text) in [("a.md", "first\nof a\n"), ("b.md", "first\nof b\n")] {
        std::fs::write(world.root(0).join(path), text).unwrap();
    }
    world.sync();
    let at = |path: &str| world.root(0).join(path);
    for (from, to) in [("a.md", "t"), ("b.md", "a.md"), ("t", "b.md")] {
        std::fs::rename(at(from), at(to)).unwrap();
    }
    world.commit(0);
    while world.deliver(0, 1, 1 << 20) > 0 {}
    let vault = &mut world.replicas[1];
    let (a, b) = (vault.file("a.md").unwrap().unwrap(), vault.file("b.md").unwrap().unwrap());
    let expect = Expect::Content(blake3::Hash::from_bytes(a.hash.0));
    let put = vault.writer.put("a.md", Source::Bytes(b"first\nof b\n"), false, expect).unwrap();
    let Put::Done { found: Some(found), .. } = put else { panic!("{put:?}") };
    vault.set_file(&b.doc, &found, &b.hash, &b.git).unwrap();
    assert_eq!(vault.files_of(&b.doc).unwrap().len(), 2);
    (world, ["a.md", "b.md"])
}

#[test]
fn a_save_is_an_edit_of_what_stood_in_its_own_file_where_a_document_has_two() {
    for (order, rounds) in [([0, 1], 2), ([1, 0], 2), ([0, 1], 1)] {
        let (mut world, paths) = half_swapped();
        let text = read(&world, 1, "a.md").unwrap();
        let armed = fault::arm("disk.exchange=eio").unwrap();
        for n in order {
            write(&world, 1, paths[n], &format!("{text}saved at {}\n", paths[n]));
            if rounds == 2 {
                world.commit(1);
            }
        }
        world.commit(1);
        drop(armed);
        world.sync();
        world.assert_equal();
        let all: String = paths.iter().map(|path| read(&world, 0, path).unwrap()).collect();
        for wanted in ["of a\n", "of b\n", "saved at a.md\n", "saved at b.md\n"] {
            assert!(all.contains(wanted), "{wanted:?} is gone ({order:?} in {rounds}): {all}");
        }
    }
}

#[test]
fn what_a_record_made_that_was_not_written_is_not_believed_of_the_next() {
    let mut world = World::new(2);
    save(&mut world, 0, "a.md", "one\ntwo\nthree\n");
    world.sync();
    save(&mut world, 1, "a.md", "one\ntwo\nthree\nfour\n");
    world.sync();
    // Saved from what was there before: the record makes a text that it must name.
    write(&world, 0, "a.md", "zero\none\ntwo\nthree\n");
    let armed = fault::arm("author.merged=eio").unwrap();
    world.replicas[0].commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    drop(armed);
    write(&world, 0, "a.md", "another\none\ntwo\nthree\n");
    world.sync();
    world.assert_equal();
    assert!(world.replicas[0].verify(true, &mut quiet()).unwrap().ok);
    assert_eq!(read(&world, 1, "a.md").unwrap(), "another\none\ntwo\nthree\nfour\n");
}

#[test]
fn a_rebuild_knows_what_this_device_saved_since_git_followed() {
    // Of a save that goes on with the one before, and of one that has little of it.
    for mine in ["one\ntwo\nthree\nfour\n", "four\nfive\nsix\none\n"] {
        let mut world = World::new(2);
        save(&mut world, 0, "a.md", "one\ntw");
        world.sync();
        save(&mut world, 1, "a.md", "one\ntw\nof the other\n");
        write(&world, 0, "a.md", mine);
        world.replicas[0].absorb(&Default::default(), &mut quiet()).unwrap();
        while world.deliver(1, 0, 1 << 20) > 0 {}
        world.rebuild(0);
        world.sync();
        world.assert_equal();
        let text = read(&world, 0, "a.md").unwrap();
        assert!(text.contains("four\n") && text.contains("of the other\n"), "{mine:?}: {text}");
    }
}

#[test]
fn who_has_their_own_open_where_two_made_one_file_takes_nothing_out() {
    let line = |n: usize| format!("k{n}x lorem{n}x ipsum{n}x\n");
    let text = |all: &[usize]| all.iter().map(|n| line(*n)).collect::<String>();
    // Taken in before the other's came, or when that had come and was not written yet.
    for (path, came) in [("a.md", false), ("c.txt", false), ("a.md", true), ("c.txt", true)] {
        for at in 0..=5 {
            let mut world = World::new(2);
            world.sync();
            write(&world, 0, path, &text(&[1, 2, 3]));
            world.commit(0);
            while came && world.deliver(0, 1, 1 << 20) > 0 {}
            write(&world, 1, path, &text(&[12, 13, 14, 15, 16]));
            world.commit(1);
            world.sync();
            let mut mine = vec![12, 13, 14, 15, 16];
            mine.insert(at, 17);
            write(&world, 1, path, &text(&mine));
            world.sync();
            world.assert_equal();
            let all = read(&world, 1, path).unwrap();
            for n in [1, 2, 3, 12, 13, 14, 15, 16, 17] {
                assert!(all.contains(&line(n)), "{path}, {came}, {at}: {n} is gone:\n{all}");
            }
        }
    }
}

#[test]
fn a_save_from_before_is_one_whether_it_was_staged_committed_or_neither() {
    for steps in [&[][..], &[&["add", "a.md"][..]], &[&["commit", "-qam", "by hand"]]] {
        let mut world = World::new(2);
        save(&mut world, 0, "a.md", "one\ntwo\nthree\n");
        world.sync();
        save(&mut world, 1, "a.md", "one\ntwo\nthree\nfour of the other\n");
        world.sync();
        write(&world, 0, "a.md", "zero\none\ntwo\nthree\n");
        for step in steps {
            git(&world.root(0), step);
        }
        world.sync();
        world.assert_equal();
        let text = read(&world, 1, "a.md").unwrap();
        assert_eq!(text, "zero\none\ntwo\nthree\nfour of the other\n", "{steps:?}");
    }
}

#[test]
fn what_git_put_back_is_put_back() {
    let old = "one\ntwo\nthree\nfour\nfive\n";
    let newer = &format!("first of the other\n{old}");
    let newest = &format!("{newer}last of the other\n");
    let put_back: [(&[&[&str]], &str); 4] = [
        (&[&["checkout", "-q", "HEAD~2", "--", "a.md"]], old),
        (&[&["checkout", "-q", "HEAD~2", "--", "a.md"], &["commit", "-qm", "back"]], old),
        (&[&["revert", "--no-edit", "HEAD"]], newer),
        (&[&["revert", "--no-edit", "HEAD~1"]], &format!("{old}last of the other\n")),
    ];
    for (steps, then) in put_back {
        let mut world = World::new(2);
        save(&mut world, 0, "a.md", old);
        world.sync();
        for text in [newer, newest] {
            save(&mut world, 1, "a.md", text);
            world.sync();
        }
        for step in steps {
            if git(&world.root(0), step).is_none() {
                return;
            }
        }
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 1, "a.md").unwrap(), then, "{steps:?}");
    }
}

#[test]
fn a_commit_in_the_middle_of_a_save_takes_nothing_out() {
    let mut world = World::new(2);
    let mine = "one\ntwo\nthree\n";
    save(&mut world, 0, "a.md", mine);
    world.sync();
    save(&mut world, 1, "a.md", &format!("{mine}four of the other\n"));
    world.sync();
    write(&world, 0, "a.md", "");
    git(&world.root(0), &["commit", "-qam", "by hand"]);
    write(&world, 0, "a.md", &format!("zero\n{mine}"));
    world.sync();
    world.assert_equal();
    assert_eq!(read(&world, 1, "a.md").unwrap(), format!("zero\n{mine}four of the other\n"));
}

#[test]
fn what_git_writes_before_it_says_of_which_branch_it_is_is_no_save() {
    let mut world = World::new(1);
    save(&mut world, 0, "a.md", "main\n");
    let lock = world.root(0).join(".git/index.lock");
    let take_in = |world: &mut World| world.replicas[0].absorb(&AbsorbOptions::default(), &mut quiet());
    std::fs::copy(world.root(0).join(".git/index"), &lock).unwrap();
    write(&world, 0, "a.md", "other\n");
    let switching = std::thread::spawn({
        let git = world.root(0).join(".git");
        move || {
            // However long this takes: until the lock goes nothing is taken in, and then the branch is another.
            std::thread::sleep(std::time::Duration::from_millis(60));
            std::fs::write(git.join("HEAD"), "ref: refs/heads/other\n").unwrap();
            std::fs::rename(git.join("index.lock"), git.join("index")).unwrap();
        }
    });
    let paused = take_in(&mut world);
    switching.join().unwrap();
    assert!(matches!(&paused, Err(crate::Error::Paused(_))), "{paused:?}");
    std::fs::write(world.root(0).join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    // One that a killed git left keeps nothing from being taken in, nor does one of a clock that ran ahead.
    let (now, hour) = (std::time::SystemTime::now(), std::time::Duration::from_secs(3600));
    for (text, taken) in [("left\n", now - hour), ("ahead\n", now + hour)] {
        std::fs::write(&lock, "").unwrap();
        std::fs::File::options().write(true).open(&lock).unwrap().set_modified(taken).unwrap();
        write(&world, 0, "a.md", text);
        assert_eq!(take_in(&mut world).unwrap().changed.len(), 1, "{text}");
    }
}

#[test]
fn what_git_left_in_conflict_is_no_save() {
    let mut world = World::new(1);
    save(&mut world, 0, "a.md", "one\n");
    let root = world.root(0);
    write(&world, 0, "a.md", "mine\n");
    if git(&root, &["stash"]).is_none() {
        return;
    }
    save(&mut world, 0, "a.md", "theirs\n");
    let popped =
        std::process::Command::new("git").arg("-C").arg(&root).args(["stash", "pop"]).output().unwrap();
    assert!(!popped.status.success());
    assert!(read(&world, 0, "a.md").unwrap().contains("<<<<<<<"));
    let paused = world.replicas[0].absorb(&AbsorbOptions::default(), &mut quiet());
    assert!(matches!(&paused, Err(crate::Error::Paused(why)) if why.contains("conflict")), "{paused:?}");
    write(&world, 0, "a.md", "both\n");
    git(&root, &["add", "a.md"]);
    world.commit(0);
    assert_eq!(read(&world, 0, "a.md").unwrap(), "both\n");
}
