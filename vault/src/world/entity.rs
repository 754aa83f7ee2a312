//! What workflows may start by, seen as records come in.

use std::collections::BTreeMap;

use super::World;
use super::members::{save, write};

/// Looks at what is new on a replica, as often as is said: paths, and whether they were made.
fn look(world: &mut World, n: usize) -> Vec<(String, bool)> {
    let vault = &mut world.replicas[n];
    let (looked, view) = (vault.looked().unwrap(), vault.documented().unwrap());
    let saw = vault.saw(&looked, &view, 0).unwrap();
    vault.set_looked(&view).unwrap();
    saw.into_iter().map(|it| (it.path, it.made)).collect()
}

#[test]
fn what_was_made_and_changed_is_seen_once() {
    let mut world = World::of_equals(2);
    save(&mut world, 0, "a.md", "one\n");
    save(&mut world, 0, "b.txt", "no entity\n");
    assert_eq!(look(&mut world, 0), [("a.md".to_owned(), true)]);
    assert_eq!(look(&mut world, 0), []);
    save(&mut world, 0, "a.md", "two\n");
    world.sync();
    assert_eq!(look(&mut world, 0), [("a.md".to_owned(), false)]);
    assert_eq!(look(&mut world, 1), [("a.md".to_owned(), true), ("a.md".to_owned(), false)]);
}

/// A large transaction comes in several records; it takes effect with the last, and then all of it is seen.
#[test]
fn a_transaction_that_comes_in_parts_is_seen_whole() {
    let mut world = World::of_equals(2);
    for n in 0..20 {
        write(&world, 0, &format!("{n}.md"), &format!("{n:02}x\n").repeat(250_000));
    }
    world.commit(0);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut parts = 0;
    while world.deliver(0, 1, 1) > 0 {
        parts += 1;
        for (path, made) in look(&mut world, 1) {
            assert!(made);
            *seen.entry(path).or_default() += 1;
        }
    }
    assert!(parts > 1, "it came in one");
    assert_eq!((seen.len(), seen.values().all(|times| *times == 1)), (20, true), "{seen:?}");
}
