//! The recovery phrase against members that come and go while devices do not know of each other: every case ends the same on
//! every device, in every order of delivery (I1, I7).

use aios_core::clock::Hlc;
use aios_core::event::{Event, RootKey};
use aios_core::frontier::Place;
use aios_core::id::{ContentHash, VaultId};
use aios_core::item::{Bytes, Item};
use aios_core::key::SecretKey;
use aios_core::phrase::Phrase;
use aios_core::record::{Body, Header, Record, VERSION};

use super::members::{copy_of, id, names, read, revoke, save, write};
use super::{World, quiet};
use crate::absorb::AbsorbOptions;
use crate::disk::fault;
use crate::error::Error;
use crate::keys::Keys;
use crate::recovery::{Search, named as named_at};
use crate::vault::Vault;

pub(super) fn phrase(n: u8) -> Phrase {
    Phrase::from_entropy([n; 16])
}

/// Equals with one file, and a phrase.
fn world(count: usize) -> World {
    let mut world = World::of_equals_with(count, &phrase(1));
    write(&world, 0, "a.md", "one\ntwo\nthree\n");
    world.sync();
    world
}

fn root_revoke(world: &mut World, by: usize, n: usize) {
    let device = id(world, n);
    world.replicas[by].revoke_device_as_root(&device, &phrase(1).root_key()).unwrap();
    world.commit_if_member(by);
}

/// One more folder that has heard of all that one device has, and lets itself in.
pub(super) fn recover(world: &mut World, from: usize, with: &Phrase) -> usize {
    let (n, vault) = (world.replicas.len(), world.replicas[0].id());
    let root = world.dir.path().join(format!("d{n}"));
    let replica = Vault::replicate(&root, vault, "w", Keys::create(true).unwrap()).unwrap();
    world.replicas.push(replica);
    while world.deliver(from, n, 1 << 20) > 0 {}
    world.replicas[n].let_self_in(&with.root_key(), Some(&format!("d{n}"))).unwrap();
    world.commit_if_member(n);
    n
}

#[test]
fn a_lost_laptop_says_nothing_more() {
    let mut world = world(3);
    // Whoever has it revokes the others, and writes.
    revoke(&mut world, 0, 1);
    save(&mut world, 0, "late.md", "by whoever found it\n");
    let new = recover(&mut world, 2, &phrase(1));
    root_revoke(&mut world, new, 0);
    save(&mut world, new, "b.md", "by the new one\n");
    save(&mut world, 1, "c.md", "by one who was revoked by the lost one\n");
    world.agree();
    assert_eq!(world.present(), names(&["d1", "d2", "d3"]));
    assert_eq!(read(&world, 2, "late.md"), None);
    assert!(read(&world, 2, "b.md").is_some() && read(&world, 2, "c.md").is_some());
    assert_eq!(world.replicas[2].held().unwrap().len(), 1);
}

#[test]
fn the_phrase_speaks_through_a_device_that_is_revoked_meanwhile() {
    let mut world = world(4);
    revoke(&mut world, 1, 2);
    save(&mut world, 2, "b.md", "before\n");
    root_revoke(&mut world, 2, 0);
    save(&mut world, 2, "c.md", "after\n");
    world.agree();
    assert_eq!(world.present(), names(&["d1", "d3"]));
    assert_eq!(read(&world, 3, "b.md").as_deref(), Some("before\n"), "what the phrase was said on counts");
    assert_eq!(read(&world, 3, "c.md"), None);
}

#[test]
fn two_recover_without_knowing_of_each_other() {
    let mut world = world(2);
    let one = recover(&mut world, 0, &phrase(1));
    let other = recover(&mut world, 1, &phrase(1));
    root_revoke(&mut world, one, 0);
    root_revoke(&mut world, other, 1);
    world.agree();
    assert_eq!(world.present(), names(&["d2", "d3"]));
    // Let in with the phrase, a device is like any other.
    root_revoke(&mut world, one, other);
    revoke(&mut world, other, one);
    world.everywhere();
    assert_eq!(world.present(), names(&["d2"]));
}

#[test]
fn a_vault_gets_a_phrase_later() {
    let mut world = World::of_equals(3);
    save(&mut world, 0, "a.md", "one\n");
    world.sync();
    let device = id(&world, 0);
    let root = phrase(1).root_key();
    let none = world.replicas[1].revoke_device_as_root(&device, &root).unwrap_err();
    assert!(matches!(none, Error::NoPhrase), "{none}");
    let refused = world.replicas[1].name_root(&root).unwrap_err();
    assert!(refused.to_string().contains("d0"), "{refused}");
    world.replicas[0].name_root(&root).unwrap();
    world.sync();
    let other = world.replicas[1].revoke_device_as_root(&device, &phrase(2).root_key()).unwrap_err();
    assert!(matches!(other, Error::OtherPhrase), "{other}");
    root_revoke(&mut world, 1, 0);
    world.agree();
    assert_eq!(world.present(), names(&["d1", "d2"]));
}

#[test]
fn a_phrase_that_a_thief_made_goes_with_the_laptop() {
    let mut world = world(3);
    world.replicas[0].name_root(&phrase(2).root_key()).unwrap();
    world.commit(0);
    let thief = recover(&mut world, 0, &phrase(2));
    save(&mut world, thief, "late.md", "by a thief\n");
    root_revoke(&mut world, 1, 0);
    world.agree();
    assert_eq!(world.present(), names(&["d1", "d2"]));
    assert_eq!(read(&world, 2, "late.md"), None);
}

#[test]
fn a_making_that_was_cut_short_begins_anew() {
    let mut world = World::of_equals(1);
    let root = world.dir.path().join("new");
    let new = |n| crate::create::NewVault { phrase: Some(phrase(n)), ..Default::default() };
    std::fs::create_dir_all(&root).unwrap();
    let armed = fault::arm("database.begin=eio@1").unwrap();
    Vault::create(&root, &new(1), &mut quiet()).unwrap_err();
    drop(armed);
    let first = crate::layout::Layout::new(&root).replica().unwrap().vault;
    std::fs::write(root.join("a.md"), "one\n").unwrap();
    let (mut vault, absorbed) = Vault::create(&root, &new(2), &mut quiet()).unwrap();
    vault.finish(absorbed, &mut quiet()).unwrap();
    assert_ne!(vault.id(), first);
    vault.check_root(&phrase(2).root_key()).unwrap();
    assert!(vault.check_root(&phrase(1).root_key()).is_err());
    drop(vault);
    world.replicas.push(Vault::open(&copy_of(&root, &world.dir.path().join("same"))).unwrap());
    let found = world.replicas[1].verify(true, &mut quiet()).unwrap();
    assert!(found.ok, "{:?}", found.findings);
    world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
}

/// The first record of a vault, as whoever made it wants it.
fn first(root: Option<RootKey>, named: &SecretKey) -> Record {
    let device = SecretKey::from_bytes(&[9; 32]);
    let key = root.as_ref().map(|root| root.key);
    let vault = VaultId::of(&device.public(), "nonce", key.as_ref());
    let place = Place { device: device.public(), seq: 1 };
    let root = root.map(|root| match root.sig.0.is_empty() {
        true => RootKey { key: root.key, ..named_at(&vault, named, place) },
        false => root,
    });
    let event = Event::VaultCreated {
        name: "w".into(),
        nonce: "nonce".into(),
        device_name: "d".into(),
        operator: device.public(),
        roles: Vec::new(),
        root,
    };
    let header = Header {
        v: VERSION,
        vault,
        device: device.public(),
        seq: 1,
        prev: None,
        deps: Vec::new(),
        clock: Hlc(1, 0),
        wall: 1,
        actor: "operator".into(),
        len: 0,
        body: ContentHash([0; 32]),
        closed: None,
    };
    let body = Body { items: vec![Item::Event(event)], ..Body::default() };
    Record::author(header, &body, Vec::new(), &device).unwrap()
}

#[test]
fn a_device_that_was_not_let_in_writes_nothing_to_its_log() {
    let mut world = world(1);
    let vault = world.replicas[0].id();
    let root = world.dir.path().join("d1");
    let replica = Vault::replicate(&root, vault, "w", Keys::create(true).unwrap()).unwrap();
    world.replicas.push(replica);
    while world.deliver(0, 1, 1 << 20) > 0 {}
    // The recovery stopped here, and its user went on.
    write(&world, 1, "mine.md", "mine\n");
    for _ in 0..2 {
        let done = world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet());
        assert!(matches!(done, Err(Error::NoMember)), "{done:?}");
        world.restart(1);
    }
    world.replicas[1].let_self_in(&phrase(1).root_key(), Some("d1")).unwrap();
    world.sync();
    assert_eq!(read(&world, 0, "mine.md").as_deref(), Some("mine\n"));
}

#[test]
fn a_clock_that_nothing_can_follow_is_refused() {
    let mut world = world(2);
    let (vault, device) = (world.replicas[1].id(), world.replicas[1].device());
    let row = world.replicas[1].row(world.replicas[1].heads().unwrap()[0]).unwrap();
    let tip = world.replicas[1].tip(&device).unwrap();
    for (clock, wall) in [(Hlc(u64::MAX, u32::MAX), 1), (Hlc(row.clock.0, row.clock.1 + 1), u64::MAX)] {
        let deps = if row.place.device == device { Vec::new() } else { vec![row.id] };
        let (seq, prev) = tip.map_or((1, None), |(seq, id, _)| (seq + 1, Some(id)));
        let (actor, body, v) = ("operator".into(), ContentHash([0; 32]), VERSION);
        let header =
            Header { v, vault, device, seq, prev, deps, clock, wall, actor, len: 0, body, closed: None };
        let key = &world.replicas[1].keys.device;
        let record = Record::author(header, &Body::default(), Vec::new(), key).unwrap();
        for _ in 0..2 {
            let done = world.replicas[0].integrate(std::slice::from_ref(&record));
            assert!(!matches!(done, Ok(done) if done.new > 0), "{done:?}");
            world.restart(0);
            save(&mut world, 0, "b.md", &format!("{clock:?} {wall}\n"));
        }
    }
}

#[test]
fn a_lying_place_puts_no_other_vault_in_place_of_the_one_that_is_looked_for() {
    let (root, other) = (phrase(1).root_key(), phrase(2).root_key());
    let look = |records: &[Record]| {
        let mut search = Search::new(root.clone());
        records.iter().for_each(|record| search.look(record));
        search.end()
    };
    let signed = |key: &SecretKey| Some(RootKey { key: key.public(), sig: Bytes(Vec::new()) });
    assert!(matches!(look(&[]), Err(Error::NoVaultThere)));
    assert!(matches!(look(&[first(None, &root)]), Err(Error::NoPhrase)));
    assert!(matches!(look(&[first(signed(&other), &other)]), Err(Error::OtherPhrase)));
    // It names the key, and cannot sign for it.
    let forged = first(signed(&root), &other);
    assert!(matches!(look(&[forged]), Err(Error::OtherPhrase)));
    let mut own = first(signed(&root), &root);
    assert_eq!(look(&[first(None, &root), own.clone()]).unwrap().vault, own.header.vault);
    own.signature[0] ^= 1;
    assert!(matches!(look(&[own]), Err(Error::NoVaultThere)));
}
