//! Devices that go on under other keys while others do not know of it: every case ends the same on every device, in every order
//! of delivery (I1, I7).

use super::members::{copy_of, hand, id, names, read, revoke, save, write};
use super::{World, quiet};
use crate::absorb::AbsorbOptions;
use crate::disk::fault;
use crate::error::Error;
use crate::vault::Vault;

/// Equals with one file.
fn world(count: usize) -> World {
    let mut world = World::of_equals(count);
    write(&world, 0, "a.md", "one\ntwo\nthree\n");
    world.sync();
    world
}

fn rotate(world: &mut World, n: usize) {
    let old = id(world, n);
    let new = world.replicas[n].rotate().unwrap();
    assert!(new != old && new == id(world, n));
    world.commit(n);
}

#[test]
fn a_device_goes_on_as_it_was() {
    let mut world = world(3);
    let old = id(&world, 1);
    rotate(&mut world, 1);
    save(&mut world, 1, "b.md", "under the new key\n");
    save(&mut world, 2, "a.md", "one\ntwo\nthree\nfour\n");
    world.restart(1);
    save(&mut world, 1, "c.md", "and after a restart\n");
    rotate(&mut world, 1);
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d1", "d2"]));
    let new = id(&world, 1);
    let members = world.replicas[0].members();
    assert_eq!(members.now(&old), new);
    assert_eq!(members.0[&new].roles.len(), 6);
    assert_eq!(world.files(0).len(), 3);
    // It lets in and revokes as before.
    revoke(&mut world, 1, 2);
    world.everywhere();
    assert_eq!(world.present(), names(&["d0", "d1"]));
}

#[test]
fn a_device_that_may_not_administer_goes_on_too() {
    let mut world = World::new(2);
    rotate(&mut world, 1);
    save(&mut world, 1, "a.md", "under the new key\n");
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d1"]));
    assert_eq!(world.replicas[0].members().0[&id(&world, 1)].roles, ["write", "approve"]);
}

#[test]
fn a_device_that_is_revoked_meanwhile_does_not_escape() {
    let mut world = world(3);
    revoke(&mut world, 0, 1);
    rotate(&mut world, 1);
    save(&mut world, 1, "late.md", "by one who is no member\n");
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d2"]));
    assert_eq!(read(&world, 2, "late.md"), None);
}

#[test]
fn roles_and_names_that_change_meanwhile_are_the_new_ones() {
    let mut world = world(3);
    let old = id(&world, 1);
    rotate(&mut world, 1);
    world.replicas[0].change_roles(&old, &["write".to_owned()]).unwrap();
    world.replicas[0].rename_device(&old, "tablet").unwrap();
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d2", "tablet"]));
    assert_eq!(world.replicas[2].members().0[&id(&world, 1)].roles, ["write"]);
}

#[test]
fn the_maker_goes_on_as_the_maker() {
    let mut world = world(3);
    rotate(&mut world, 0);
    hand(&mut world, 0, 1);
    let maker = id(&world, 0);
    assert!(matches!(world.replicas[1].revoke_device(&maker), Err(Error::Usage(_))));
    world.replicas[0].name_root(&aios_core::phrase::Phrase::from_entropy([1; 16]).root_key()).unwrap();
    revoke(&mut world, 1, 2);
    revoke(&mut world, 2, 1);
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d1"]));
}

#[test]
fn a_copy_of_the_folder_is_told() {
    let mut world = world(2);
    let twin = copy_of(&world.root(1), &world.dir.path().join("twin"));
    rotate(&mut world, 1);
    std::fs::write(twin.join("b.md"), "in the copy\n").unwrap();
    let mut copied = Vault::open(&twin).unwrap();
    let refused = copied.commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    assert!(matches!(refused, Error::Copied { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(twin.join("b.md")).unwrap(), "in the copy\n");
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_a_device_that_goes_on() {
    let (mut step, mut untouched) = (1, 0);
    // What may fail without harm comes in between.
    while untouched < 4 {
        let mut world = World::of_equals(2);
        save(&mut world, 1, "a.md", "one\n");
        let old = id(&world, 1);
        let armed = fault::arm(&format!("*=eio@{step}")).unwrap();
        let done = world.replicas[1].rotate();
        drop(armed);
        world.restart(1);
        if id(&world, 1) == old {
            world.replicas[1].rotate().unwrap();
        }
        save(&mut world, 1, "b.md", "two\n");
        world.sync();
        world.assert_equal();
        let members = world.replicas[0].members();
        assert_eq!(members.present().count(), 2, "step {step}");
        assert_eq!(members.now(&old), id(&world, 1), "step {step}");
        untouched = if done.is_ok() { untouched + 1 } else { 0 };
        step += 1;
    }
    assert!(step > 12, "{step}");
}
