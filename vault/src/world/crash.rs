//! Crashes between the log and the database: the vault opens again, with all that anybody was told (I9).

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{World, quiet};
use crate::disk::fault::{self, Crash, Plan};
use crate::disk::journal::{self, Journal};

fn save(world: &mut World, n: usize, path: &str, text: &str) {
    std::fs::write(world.root(n).join(path), text).unwrap();
    world.commit(n);
}

/// Does `work`, which crashes.
pub(super) fn crashes(plan: &str, work: impl FnOnce()) {
    let armed = fault::arm_with(Plan::parse(plan).unwrap());
    let crash = catch_unwind(AssertUnwindSafe(work)).unwrap_err();
    assert!(crash.is::<Crash>());
    drop(armed);
}

#[test]
fn records_of_several_devices_are_written_as_far_as_they_rest_on_each_other() {
    for point in 1..5 {
        let mut world = World::new(3);
        for round in 0..4 {
            for one in 0..2 {
                save(&mut world, one, "a.md", &format!("round {round} of {one}\n"));
                while world.deliver(one, 1 - one, 1 << 20) > 0 {}
            }
        }
        crashes(&format!("disk.sync_*=crash@{point}"), || _ = world.deliver(0, 2, 1 << 20));
        world.restart(2);
        world.sync();
        world.assert_equal();
        assert!(world.replicas[2].verify(true, &mut quiet()).unwrap().ok);
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_it_counts() {
    for plan in ["disk.sync_file=crash@1", "disk.sync_file=enospc@1"] {
        let mut world = World::new(2);
        save(&mut world, 0, "a.md", "one\n");
        let held = journal::hold(Journal::default());
        std::fs::write(world.root(0).join("a.md"), "one\ntwo\n").unwrap();
        if plan.contains("crash") {
            crashes(plan, || _ = world.commit(0));
        } else {
            let _armed = fault::arm(plan).unwrap();
            world.replicas[0].commit(&Default::default(), &mut quiet()).unwrap_err();
        }
        world.restart(0);
        held.release().lose(false);
        world.restart(0);
        world.sync();
        world.assert_equal();
        assert!(world.replicas[0].verify(true, &mut quiet()).unwrap().ok, "{plan}");
    }
}

#[test]
fn commits_that_the_database_names_last_without_a_branch() {
    let mut world = World::new(2);
    save(&mut world, 0, "a.md", "one\n");
    let held = journal::hold(Journal::default());
    save(&mut world, 1, "b.md", "two\n");
    while world.deliver(1, 0, 1 << 20) > 0 {}
    // As where somebody committed with git meanwhile: `main` is left alone.
    world.replicas[0].transaction(|vault| vault.project(&mut quiet())).unwrap();
    held.release().lose(false);
    world.restart(0);
    world.sync();
    world.assert_equal();
    assert!(world.replicas[0].verify(true, &mut quiet()).unwrap().ok);
}
