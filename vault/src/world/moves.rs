//! Files that move to where others lie, on a disk that fails: a document never stands in two files, of which two could be saved.

use std::collections::BTreeMap;

use super::{World, quiet};
use crate::absorb::{AbsorbOptions, Absorbed};
use crate::disk::fault::{self, Plan};

/// What moves where on the other device; what goes nowhere is deleted.
type Moves = &'static [(&'static str, &'static str)];

const CASES: [Moves; 5] = [
    // Onto one that is deleted.
    &[("q.md", ""), ("p.md", "q.md")],
    // Chains.
    &[("q.md", "r.md"), ("p.md", "q.md")],
    &[("r.md", ""), ("q.md", "r.md"), ("p.md", "q.md")],
    // Two and three that change places.
    &[("p.md", "t"), ("q.md", "p.md"), ("t", "q.md")],
    &[("p.md", "t"), ("q.md", "p.md"), ("r.md", "q.md"), ("t", "r.md")],
];

/// The second replica has the records of these moves, and its files are as before.
fn told(moves: Moves) -> World {
    let mut world = World::new(2);
    for name in ["p.md", "q.md", "r.md"] {
        std::fs::write(world.root(0).join(name), format!("text of {name}\n")).unwrap();
    }
    world.sync();
    let root = world.root(0);
    for (from, to) in moves {
        match *to {
            "" => std::fs::remove_file(root.join(from)).unwrap(),
            to => std::fs::rename(root.join(from), root.join(to)).unwrap(),
        }
    }
    let options = AbsorbOptions { deletions: true, ..AbsorbOptions::default() };
    world.replicas[0].commit(&options, &mut quiet()).unwrap();
    while world.deliver(0, 1, 1 << 20) > 0 {}
    world
}

/// How often each text lies in the folder, as far as it is more than once.
fn doubled(world: &World) -> Vec<String> {
    let mut count: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for (_, bytes) in world.files(1) {
        *count.entry(bytes).or_default() += 1;
    }
    let twice = count.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

fn settle(world: &mut World) {
    let _ = world.replicas[1].finish(Absorbed::default(), &mut quiet());
}

#[test]
fn a_disk_that_fails_once_leaves_no_document_in_two_files() {
    // One of each kind: each takes as many runs as it has steps.
    for case in [0, 1, 3] {
        let moves = CASES[case];
        for point in 1.. {
            let mut world = told(moves);
            let wanted = world.files(0);
            let armed = fault::arm_with(Plan::parse(&format!("disk.*=eio@{point}")).unwrap());
            settle(&mut world);
            let failed = armed.disarm().failed() > 0;
            assert_eq!(doubled(&world), Vec::<String>::new(), "case {case}, point {point}");
            world.restart(1);
            world.sync();
            world.assert_equal();
            assert_eq!(world.files(1), wanted, "case {case}, point {point}");
            if !failed {
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_goes_on_failing_leaves_no_document_in_two_files() {
    for (case, moves) in CASES.into_iter().enumerate() {
        for point in
            ["disk.rename_new", "disk.exchange", "disk.rename", "disk.create", "disk.write", "disk.remove"]
        {
            let mut world = told(moves);
            let armed = fault::arm_with(Plan::parse(&format!("{point}=eio")).unwrap());
            for _ in 0..3 {
                settle(&mut world);
                assert_eq!(doubled(&world), Vec::<String>::new(), "case {case}, {point}");
            }
            drop(armed);
            world.restart(1);
            world.sync();
            world.assert_equal();
        }
    }
}

#[test]
fn what_is_saved_to_a_file_that_could_not_be_noted_is_an_edit_of_it() {
    for point in 1.. {
        let mut world = World::new(2);
        for (name, text) in [("p.md", "one\ntwo\n"), ("q.md", "other\n")] {
            std::fs::write(world.root(0).join(name), text).unwrap();
        }
        world.sync();
        // Edited, and moved to where another was.
        let root = world.root(0);
        std::fs::remove_file(root.join("q.md")).unwrap();
        std::fs::rename(root.join("p.md"), root.join("q.md")).unwrap();
        let options = AbsorbOptions { deletions: true, ..AbsorbOptions::default() };
        world.replicas[0].commit(&options, &mut quiet()).unwrap();
        std::fs::write(root.join("q.md"), "one\nin between\ntwo\n").unwrap();
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let armed = fault::arm_with(Plan::parse(&format!("disk.*=eio@{point}")).unwrap());
        settle(&mut world);
        let failed = armed.disarm().failed() > 0;
        let file = world.root(1).join("q.md");
        if std::fs::read(&file).is_ok_and(|bytes| bytes == b"one\nin between\ntwo\n") {
            std::fs::write(&file, "one\nin between\ntwo\nmine\n").unwrap();
            world.sync();
            world.assert_equal();
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text, "one\nin between\ntwo\nmine\n", "point {point}");
        }
        if !failed {
            break;
        }
    }
}
