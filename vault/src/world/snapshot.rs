//! Devices that begin from a snapshot: as everybody else's is what they show and what they write.

use aios_core::id::DeviceId;
use aios_core::key::SecretKey;
use aios_core::phrase::Phrase;

use super::{World, quiet};
use crate::error::Error;
use crate::snapshot::Signed;

fn save(world: &World, n: usize, path: &str, text: &str) {
    let path = world.root(n).join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn text(world: &World, n: usize, path: &str) -> String {
    std::fs::read_to_string(world.root(n).join(path)).unwrap()
}

/// Two devices that wrote at once, moved, deleted and left a conflict open.
fn used() -> World {
    let mut world = World::new(2);
    save(&world, 0, "a.md", "---\ntitle: A\nstatus: open\n---\none\ntwo\nthree\n");
    save(&world, 0, "dir/b.md", "bravo\n");
    save(&world, 0, "gone.md", "it goes\n");
    save(&world, 0, "same.md", "the same text\n");
    save(&world, 0, "plain.txt", "plain\r\n");
    world.sync();
    for n in 0..3 {
        save(&world, 0, "a.md", &format!("---\ntitle: A{n}\nstatus: open\n---\none {n}\ntwo\nthree\n"));
        save(&world, 1, "a.md", &format!("---\ntitle: B{n}\nstatus: open\n---\none\ntwo\nthree {n}\n"));
        world.commit(0);
        world.commit(1);
        world.sync();
    }
    std::fs::rename(world.root(1).join("dir"), world.root(1).join("folder")).unwrap();
    std::fs::remove_file(world.root(0).join("gone.md")).unwrap();
    world.sync();
    save(&world, 0, "folder/b.md", "bravo!\n");
    world.sync();
    world
}

fn snapshot(world: &mut World, n: usize) -> (Signed, Vec<u8>) {
    let mut image = Vec::new();
    let signed = world.replicas[n].snapshot(&mut image).unwrap();
    (signed, image)
}

/// Adds a member that has nothing yet; gives its number.
fn add(world: &mut World) -> usize {
    let n = world.replicas.len();
    world.add(n, &["write", "approve"]);
    world.commit(0);
    n
}

/// Adds a member that begins from what device 0 has.
fn join(world: &mut World) -> usize {
    let n = add(world);
    let (signed, image) = snapshot(world, 0);
    world.replicas[n].begin_from(&signed, &signed.by, &mut image.as_slice()).unwrap();
    world.replicas[n].finish(Default::default(), &mut quiet()).unwrap();
    n
}

fn log_is_empty(world: &World, n: usize) -> bool {
    !world.replicas[n].layout.logs().exists()
}

#[test]
fn who_begins_from_one_shows_what_the_others_show() {
    let mut world = used();
    let n = join(&mut world);
    assert!(log_is_empty(&world, n));
    world.sync();
    world.assert_equal();
    let main = |n: usize| {
        let repo = git2::Repository::open(world.root(n)).unwrap();
        repo.refname_to_id("refs/heads/main").unwrap()
    };
    assert_eq!(main(n), main(0));
    // What follows is the same to the last row: nothing was written by the one that joined.
    assert_eq!(world.replicas[n].frontier().unwrap(), world.replicas[0].frontier().unwrap());
}

#[test]
fn edits_go_both_ways_and_merge_with_what_lies_before_it() {
    let mut world = used();
    let n = join(&mut world);
    world.sync();
    save(&world, n, "a.md", &text(&world, n, "a.md").replace("two", "two of the new one"));
    save(&world, 0, "a.md", &text(&world, 0, "a.md").replace("three", "three of the old one"));
    save(&world, 1, "same.md", "the same text\nand more\n");
    save(&world, n, "same.md", "first\nthe same text\n");
    save(&world, n, "new/c.md", "charlie\n");
    world.sync();
    world.assert_equal();
    assert!(text(&world, 1, "a.md").contains("two of the new one"));
    assert!(text(&world, n, "a.md").contains("three of the old one"));
    assert_eq!(text(&world, n, "same.md"), "first\nthe same text\nand more\n");
    world.restart(n);
    std::fs::rename(world.root(n).join("folder"), world.root(n).join("again")).unwrap();
    save(&world, 0, "folder/b.md", "bravo!!\n");
    world.sync();
    world.assert_equal();
    assert_eq!(text(&world, n, "again/b.md"), "bravo!!\n");
}

#[test]
fn what_lies_before_it_is_told_and_not_guessed() {
    let mut world = used();
    let n = join(&mut world);
    let have = aios_core::frontier::View::new();
    let upto = world.replicas[n].view().clone();
    assert!(matches!(world.replicas[n].entries_since(&have, &upto, 1 << 20), Err(Error::Past)));
    let (root, database) = (world.root(n), world.replicas[n].layout.database());
    save(&world, n, "own.md", "what it wrote itself\n");
    world.commit(n);
    drop(world.replicas.remove(n));
    let log = || crate::world::files_of(&root.join(".aios/log"));
    let before = log();
    crate::db::remove(&database).unwrap();
    assert!(matches!(crate::Vault::open(&root), Err(Error::Past)));
    assert_eq!(log(), before);
}

#[test]
fn none_is_taken_in_that_is_not_what_its_signer_said() {
    let mut world = used();
    let n = add(&mut world);
    let (signed, image) = snapshot(&mut world, 0);
    let stranger = SecretKey::from_bytes(&[9; 32]);
    let vault = &mut world.replicas[n];
    let mut refused = |signed: &Signed, by: DeviceId, image: &[u8]| {
        let refused = vault.begin_from(signed, &by, &mut &*image);
        assert!(matches!(refused, Err(Error::Snapshot { .. })), "{refused:?}");
        assert!(vault.began_from().unwrap().is_none() && vault.frontier().unwrap().0.is_empty());
    };
    refused(&signed, stranger.public(), &image);
    let mut flipped = image.clone();
    flipped[image.len() / 2] ^= 1;
    refused(&signed, signed.by, &flipped);
    refused(&signed, signed.by, &image[..image.len() - 1]);
    // Signed, and still not what the image holds.
    let change: [fn(&mut crate::snapshot::Snapshot); 3] =
        [|s| s.state.push('0'), |s| s.head.0[0] ^= 1, |s| s.frontier.0.clear()];
    for change in change {
        let mut snapshot = signed.snapshot.clone();
        change(&mut snapshot);
        let signed = Signed::new(snapshot, &stranger);
        refused(&signed, stranger.public(), &image);
    }
    // It joins as any other.
    world.sync();
    world.assert_equal();
}

#[test]
fn who_is_killed_before_it_is_taken_in_joins_anew() {
    let mut world = used();
    let n = add(&mut world);
    let (signed, image) = snapshot(&mut world, 0);
    std::fs::write(world.replicas[n].layout.snapshot(), serde_json::to_vec(&signed).unwrap()).unwrap();
    world.restart(n);
    assert!(world.replicas[n].began_from().unwrap().is_none());
    world.replicas[n].begin_from(&signed, &signed.by, &mut image.as_slice()).unwrap();
    world.restart(n);
    world.sync();
    world.assert_equal();
}

#[test]
fn none_is_made_of_what_it_cannot_hold_yet() {
    let refused = |world: &mut World, n: usize| {
        let made = world.replicas[n].snapshot(&mut Vec::new());
        assert!(matches!(made, Err(Error::NoSnapshot(_))), "{made:?}");
    };
    let phrase = Phrase::from_entropy([1; 16]);
    refused(&mut World::sealed(1, &["write"], &phrase), 0);
    let mut world = World::new(1);
    std::fs::write(world.root(0).join("p.png"), [0xff, 0, 1]).unwrap();
    world.sync();
    refused(&mut world, 0);
    let mut world = used();
    let doc = world.replicas[0].forgettable("a.md").unwrap()[0].doc;
    world.replicas[0].forget(&[doc]).unwrap();
    world.sync();
    refused(&mut world, 0);
    let mut world = used();
    let n = join(&mut world);
    refused(&mut world, n);
}
