//! What decides what is gated, deleted and renamed (I11).

use super::World;
use super::members::{save, write};

#[test]
fn what_is_deleted_is_in_force_until_that_is_accepted() {
    let mut world = World::new(2);
    std::fs::create_dir(world.root(0).join("policies")).unwrap();
    save(&mut world, 0, "policies/ok.md", "---\ntype: policy\n---\n");
    let proposed = world.replicas[0].proposed(&[]).unwrap();
    world.replicas[0].accept(&proposed).unwrap();
    world.sync();
    let in_force = |world: &World, n: usize| -> Vec<String> {
        world.replicas[n].rules_in_force().unwrap().into_keys().collect()
    };
    std::fs::rename(world.root(1).join("policies/ok.md"), world.root(1).join("policies/fine.md")).unwrap();
    world.sync();
    for n in 0..2 {
        assert_eq!(in_force(&world, n), ["policies/ok.md"], "{n}");
    }
    let proposed = world.replicas[0].proposed(&[]).unwrap();
    let changes: Vec<(&str, bool)> = proposed.iter().map(|it| (it.path.as_str(), it.new.is_some())).collect();
    assert_eq!(changes, [("policies/fine.md", true), ("policies/ok.md", false)]);
    world.replicas[0].accept(&proposed).unwrap();
    world.sync();
    for n in 0..2 {
        assert_eq!(in_force(&world, n), ["policies/fine.md"], "{n}");
        assert!(world.replicas[n].proposed(&[]).unwrap().is_empty(), "{n}");
    }
    // One that comes back is one more proposal.
    write(&world, 1, "policies/ok.md", "---\ntype: policy\n---\n");
    world.sync();
    assert_eq!(in_force(&world, 0), ["policies/fine.md"]);
    assert_eq!(world.replicas[0].proposed(&[]).unwrap().len(), 1);
    world.assert_equal();
}
