//! A record that only a newer program understands, among devices that do not.

use aios_core::item::Item;

use super::members::{read, save, write};
use super::{World, quiet};
use crate::absorb::AbsorbOptions;
use crate::author::Draft;
use crate::error::Error;

/// Has device `n` write such a record, as a newer program would.
fn teleport(world: &mut World, n: usize, optional: bool) {
    let mut draft = Draft::operator("by a newer program");
    draft.push(Item::Unknown(serde_json::json!({"t": "teleport", "opt": optional})));
    world.replicas[n].transaction(|vault| vault.author_records(draft).map(|_| ())).unwrap();
}

fn world() -> World {
    let mut world = World::of_equals(3);
    write(&world, 0, "a.md", "one\n");
    world.sync();
    world
}

#[test]
fn it_is_carried_and_nothing_is_written_past_it() {
    let mut world = world();
    let head = world.replicas[1].projected_head().unwrap();
    teleport(&mut world, 0, false);
    assert!(world.deliver(0, 1, 1 << 20) > 0);
    save(&mut world, 2, "b.md", "by one that has not heard of it\n");
    assert!(world.deliver(2, 1, 1 << 20) > 0);
    write(&world, 1, "a.md", "one\nsaved meanwhile\n");
    let refused = world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet());
    assert!(matches!(refused, Err(Error::Upgrade(_))), "{refused:?}");
    let round = world.replicas[1].finish(Default::default(), &mut quiet()).unwrap();
    assert_eq!((round.head, round.settled.written), (None, 0));
    let stands = |world: &mut World| {
        assert_eq!(world.files(1).len(), 1);
        assert_eq!(read(world, 1, "a.md").unwrap(), "one\nsaved meanwhile\n");
        let main = world.replicas[1].repo.refname_to_id(crate::git::MAIN).ok();
        assert_eq!(main, head);
        let status = world.replicas[1].status(&mut quiet()).unwrap();
        assert!(status.paused.is_some_and(|why| why.contains("upgrade needed")));
        let found = world.replicas[1].verify(true, &mut quiet()).unwrap().findings;
        let said = |at: &str| found.iter().any(|one| one.at == at && one.what.contains("upgrade needed"));
        assert!(found.len() == 2 && said("log") && said("working files"), "{found:?}");
    };
    stands(&mut world);
    // It goes on to whoever lacks it.
    assert!(world.deliver(1, 2, 1 << 20) > 0);
    let frontiers: Vec<_> = world.replicas.iter().map(|vault| vault.frontier().unwrap()).collect();
    assert_eq!(frontiers[1], frontiers[2]);
    world.restart(1);
    stands(&mut world);
    world.rebuild(1);
    stands(&mut world);
}

#[test]
fn one_that_may_be_ignored_stops_nothing() {
    let mut world = world();
    teleport(&mut world, 0, true);
    save(&mut world, 1, "b.md", "beside it\n");
    world.sync();
    world.assert_equal();
    assert_eq!(world.files(0).len(), 2);
}

#[test]
fn a_program_that_understands_it_goes_on() {
    let mut world = world();
    save(&mut world, 0, "b.md", "made by what was new once\n");
    assert!(world.deliver(0, 1, 1 << 20) > 0);
    // What the database of a program that did not understand the last record says of it.
    let db = &world.replicas[1].db;
    let last: i64 = db.query_row("SELECT max(n) FROM record", [], |row| row.get(0)).unwrap();
    crate::db::set_meta(db, "newer", format!("[{last}]").as_bytes()).unwrap();
    write(&world, 1, "a.md", "one\nsaved meanwhile\n");
    assert!(matches!(
        world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet()),
        Err(Error::Upgrade(_))
    ));
    world.restart(1);
    world.sync();
    world.assert_equal();
    assert_eq!(read(&world, 2, "a.md").unwrap(), "one\nsaved meanwhile\n");
    assert_eq!(world.files(1).len(), 2);
}
