//! A sealed vault: readers agree as in any other, and whoever only carries holds nothing that it could read.

use aios_core::clock::Hlc;
use aios_core::epoch::EpochKey;
use aios_core::frontier::View;
use aios_core::id::ContentHash;
use aios_core::item::{Content, Item};
use aios_core::member;
use aios_core::record::{Body, Header, Record, VERSION};

use super::members::{id, revoke, save, write};
use super::recovery::phrase;
use super::{World, quiet};
use crate::apart::{Given, Named};
use crate::create::MAKER_ROLES;
use crate::error::Error;
use crate::keys::Keys;
use crate::recovery::Search;
use crate::vault::Vault;

const SECRET: &str = "the price is 4711";

/// Three readers and a carrier, with a note and a picture.
fn world() -> World {
    let mut world = World::sealed(3, &MAKER_ROLES, &phrase(1));
    world.add(3, &[member::CARRY]);
    write(&world, 0, "offer.md", &format!("{SECRET}\n"));
    std::fs::write(world.root(0).join("logo.png"), picture()).unwrap();
    world.everywhere();
    pass_blobs(&mut world);
    world.everywhere();
    world
}

fn picture() -> Vec<u8> {
    [&[0u8, 159, 146, 150][..], SECRET.as_bytes()].concat()
}

/// Everybody asks everybody for the bytes it lacks.
fn pass_blobs(world: &mut World) {
    for to in 0..world.replicas.len() {
        for named in world.replicas[to].apart_wanted().unwrap() {
            for from in (0..world.replicas.len()).rev().filter(|from| *from != to) {
                let Some(given) = world.replicas[from].give(&named).unwrap() else { continue };
                let bytes = match &given {
                    Given::Bytes(bytes) => bytes.clone(),
                    Given::File(_, size) => given.read(0, *size as usize).unwrap(),
                };
                let file = world.dir.path().join("blob");
                std::fs::write(&file, &bytes).unwrap();
                world.replicas[to].take_apart(&named, &file).unwrap();
                break;
            }
        }
    }
}

/// Whether any file below `folder` holds `text`, git's objects unpacked.
fn holds(folder: &std::path::Path, text: &[u8]) -> bool {
    let plain = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    let mut waiting = vec![folder.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if plain(&std::fs::read(&path).unwrap_or_default()) {
                return true;
            }
        }
    }
    let repo = git2::Repository::open(folder).unwrap();
    let odb = repo.odb().unwrap();
    let mut found = false;
    odb.foreach(|oid| {
        found |= plain(odb.read(*oid).unwrap().data());
        true
    })
    .unwrap();
    found
}

fn heads(world: &mut World, of: &[usize]) -> Vec<(Option<String>, String)> {
    let stand = |vault: &mut Vault| {
        let head = vault.finish(Default::default(), &mut quiet()).unwrap().head;
        (head.map(|head| head.to_string()), vault.state().unwrap())
    };
    of.iter().map(|n| stand(&mut world.replicas[*n])).collect()
}

fn read(world: &World, n: usize, path: &str) -> Vec<u8> {
    std::fs::read(world.root(n).join(path)).unwrap_or_default()
}

#[test]
fn readers_agree_and_a_carrier_holds_nothing_to_read() {
    let mut world = world();
    for n in 0..3 {
        assert_eq!(read(&world, n, "offer.md"), format!("{SECRET}\n").as_bytes(), "{n}");
        assert_eq!(read(&world, n, "logo.png"), picture(), "{n}");
        let report = world.replicas[n].verify(true, &mut quiet()).unwrap();
        assert!(report.ok, "{n}: {report:?}");
    }
    let all = heads(&mut world, &[0, 1, 2]);
    assert!(all[0].0.is_some() && all.iter().all(|one| *one == all[0]), "{all:?}");
    assert!(holds(&world.root(0), SECRET.as_bytes()));
    // The carrier has every record and every byte, and none of them says anything.
    assert_eq!(world.replicas[3].view(), world.replicas[0].view());
    assert!(world.replicas[3].apart_wanted().unwrap().is_empty());
    assert!(world.replicas[3].closed_records().unwrap() > 0);
    assert!(!holds(&world.root(3), SECRET.as_bytes()) && !holds(&world.root(3), b"offer.md"));
    assert!(matches!(world.replicas[3].check_writes(), Err(Error::Carrier)));
    let report = world.replicas[3].verify(true, &mut quiet()).unwrap();
    assert!(report.ok, "{report:?}");
    // It can be exported, for whoever has a key; and made again from git.
    let out = world.dir.path().join("export");
    world.replicas[3].export(&out, false, &mut quiet()).unwrap();
    assert!(!holds(&world.root(3), SECRET.as_bytes()));
    world.rebuild(3);
    assert_eq!(world.replicas[3].view(), world.replicas[0].view());
    // What somebody puts into its folder stays there.
    write(&world, 3, "mine.md", "mine\n");
    let _ = world.replicas[3].commit(&Default::default(), &mut quiet());
    assert_eq!(read(&world, 3, "mine.md"), b"mine\n");
}

#[test]
fn who_has_only_met_the_carrier_has_everything() {
    let mut world = world();
    world.add(4, &MAKER_ROLES);
    world.commit(0);
    while world.deliver(0, 3, 1 << 20) > 0 {}
    world.commit_if_member(3);
    while world.deliver(3, 4, 1 << 20) > 0 {}
    world.commit_if_member(4);
    let wanted = world.replicas[4].apart_wanted().unwrap();
    assert_eq!(wanted.len(), 1);
    let Some(Given::Bytes(bytes)) = world.replicas[3].give(&wanted[0]).unwrap() else { panic!("not given") };
    let file = world.dir.path().join("blob");
    std::fs::write(&file, &bytes).unwrap();
    world.replicas[4].take_apart(&wanted[0], &file).unwrap();
    world.commit_if_member(4);
    assert_eq!(read(&world, 4, "offer.md"), format!("{SECRET}\n").as_bytes());
    assert_eq!(read(&world, 4, "logo.png"), picture());
    let all = heads(&mut world, &[0, 4]);
    assert_eq!(all[0], all[1]);
    // A bent byte is told, and what was there stays.
    let Named::Blob(content) = wanted[0] else { panic!("a blob") };
    std::fs::write(&file, &bytes[1..]).unwrap();
    assert!(matches!(world.replicas[4].take_apart(&Named::Blob(content), &file), Err(Error::Corrupt { .. })));
}

#[test]
fn a_device_that_was_revoked_reads_nothing_that_is_written_afterwards() {
    let mut world = world();
    let before = world.replicas[0].epochs().unwrap().1;
    revoke(&mut world, 0, 2);
    save(&mut world, 0, "late.md", "not for two\n");
    save(&mut world, 1, "later.md", "nor this\n");
    world.everywhere();
    assert_eq!(read(&world, 1, "late.md"), b"not for two\n");
    assert_eq!(read(&world, 0, "later.md"), b"nor this\n");
    let known = world.replicas[2].epochs().unwrap().1;
    assert_eq!(known, before, "it was handed the key of a later epoch");
    assert!(!holds(&world.root(2), b"not for two"));
    let all = heads(&mut world, &[0, 1]);
    assert_eq!(all[0], all[1]);
}

#[test]
fn revocations_that_cross_end_in_an_epoch_of_those_who_stayed() {
    let mut world = World::sealed(4, &MAKER_ROLES, &phrase(1));
    save(&mut world, 0, "a.md", "one\n");
    world.everywhere();
    revoke(&mut world, 0, 2);
    revoke(&mut world, 1, 3);
    save(&mut world, 0, "of zero.md", "zero\n");
    save(&mut world, 1, "of one.md", "one\n");
    world.everywhere();
    save(&mut world, 0, "after.md", "after\n");
    world.everywhere();
    for n in [0, 1] {
        for (path, text) in [("of zero.md", "zero\n"), ("of one.md", "one\n"), ("after.md", "after\n")] {
            assert_eq!(read(&world, n, path), text.as_bytes(), "{n} {path}");
        }
    }
    let (epochs, held) = world.replicas[0].epochs().unwrap();
    let readers = [id(&world, 0), id(&world, 1), phrase(1).root_key().public()];
    let due = epochs.due(&readers.into_iter().collect());
    assert!(due.lacking.is_empty() && due.current.is_some_and(|id| held.contains(&id)), "{due:?}");
    let all = heads(&mut world, &[0, 1]);
    assert_eq!(all[0], all[1]);
}

#[test]
fn who_joins_while_an_epoch_begins_elsewhere_gets_its_key_later() {
    let mut world = World::sealed(3, &MAKER_ROLES, &phrase(1));
    save(&mut world, 0, "a.md", "one\n");
    world.everywhere();
    // Zero lets three in; one has not heard of it, revokes two, and writes in a new epoch.
    world.add(3, &MAKER_ROLES);
    world.commit(0);
    revoke(&mut world, 1, 2);
    save(&mut world, 1, "b.md", "in the new epoch\n");
    while world.deliver(0, 3, 1 << 20) > 0 {}
    world.commit_if_member(3);
    assert_eq!(read(&world, 3, "a.md"), b"one\n");
    // Three meets one before anybody has handed it the key: it waits, carries, and keeps what is saved.
    while world.deliver(1, 3, 1 << 20) > 0 {}
    assert!(world.replicas[3].closed_records().unwrap() > 0);
    write(&world, 3, "mine.md", "saved while it waits\n");
    let waits = world.replicas[3].commit(&Default::default(), &mut quiet());
    assert!(matches!(waits, Err(Error::Closed(_))), "{waits:?}");
    world.everywhere();
    assert_eq!(read(&world, 3, "b.md"), b"in the new epoch\n");
    assert_eq!(read(&world, 1, "mine.md"), b"saved while it waits\n");
    assert_eq!(world.replicas[3].closed_records().unwrap(), 0);
    let all = heads(&mut world, &[0, 1, 3]);
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    let report = world.replicas[3].verify(true, &mut quiet()).unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn a_carrier_that_gets_the_right_to_read_opens_what_it_has() {
    let mut world = world();
    let carrier = id(&world, 3);
    let roles = MAKER_ROLES.map(str::to_owned);
    world.replicas[0].change_roles(&carrier, &roles).unwrap();
    world.everywhere();
    pass_blobs(&mut world);
    world.everywhere();
    assert_eq!(read(&world, 3, "offer.md"), format!("{SECRET}\n").as_bytes());
    assert_eq!(read(&world, 3, "logo.png"), picture());
    let all = heads(&mut world, &[0, 1, 2, 3]);
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    // And what is written from now on is closed to one that loses it.
    world.replicas[0].change_roles(&carrier, &[member::CARRY.to_owned()]).unwrap();
    save(&mut world, 0, "late.md", "not for three\n");
    world.everywhere();
    assert!(!holds(&world.root(3), b"not for three"));
}

#[test]
fn the_phrase_alone_opens_what_a_carrier_kept() {
    let mut world = world();
    let mut search = Search::new(phrase(1).root_key());
    let upto = world.replicas[3].frontier().unwrap().view();
    let entries = world.replicas[3].entries_since(&View::new(), &upto, u64::MAX).unwrap();
    entries.iter().for_each(|entry| search.look(&Record::read_entry(&entry.bytes).unwrap().0));
    let found = search.end().unwrap();
    assert!(!found.epochs.is_empty());
    let keys = Keys::create(true).unwrap();
    found.epochs.iter().for_each(|key| keys.keep_epoch(key).unwrap());
    let root = world.dir.path().join("d4");
    world.replicas.push(Vault::replicate(&root, found.vault, "w", keys).unwrap());
    while world.deliver(3, 4, 1 << 20) > 0 {}
    world.replicas[4].let_self_in(&phrase(1).root_key(), Some("found")).unwrap();
    world.everywhere();
    pass_blobs(&mut world);
    world.everywhere();
    assert_eq!(read(&world, 4, "offer.md"), format!("{SECRET}\n").as_bytes());
    save(&mut world, 4, "again.md", "written by the new one\n");
    world.everywhere();
    assert_eq!(read(&world, 1, "again.md"), b"written by the new one\n");
}

#[test]
fn a_rebuild_from_git_opens_its_mirror() {
    let mut world = world();
    let root = world.root(1);
    drop(world.replicas.remove(1));
    std::fs::remove_dir_all(root.join(".aios/log")).unwrap();
    crate::rebuild::rebuild(&root, None, &mut quiet()).unwrap();
    world.replicas.insert(1, Vault::open(&root).unwrap());
    world.everywhere();
    let all = heads(&mut world, &[0, 1]);
    assert_eq!(all[0], all[1]);
    assert_eq!(read(&world, 1, "logo.png"), picture());
    let report = world.replicas[1].verify(true, &mut quiet()).unwrap();
    assert!(report.ok, "{report:?}");
}

/// A record that a device signs and no honest program would write.
fn forged(world: &World, n: usize, items: Vec<Item>, apart: Vec<Content>, epoch: &EpochKey) -> Record {
    let vault = &world.replicas[n];
    let device = vault.device();
    let tip = vault.tip(&device).unwrap();
    let (mut deps, mut clock) = (Vec::new(), Hlc::default());
    for head in vault.heads().unwrap() {
        let row = vault.row(head).unwrap();
        clock = clock.max(row.clock);
        if row.place.device != device {
            deps.push(row.id);
        }
    }
    let header = Header {
        v: VERSION,
        vault: vault.id(),
        device,
        seq: tip.map_or(0, |(seq, ..)| seq) + 1,
        prev: tip.map(|(_, id, _)| id),
        deps,
        clock: clock.next(crate::chance::now_ms()),
        wall: crate::chance::now_ms(),
        actor: "operator".into(),
        len: 0,
        body: ContentHash([0; 32]),
        closed: None,
    };
    let body = Body { salt: Some("salt".into()), items, ..Body::default() };
    Record::author_in(header, &body, Vec::new(), Some((epoch, apart)), &vault.keys.device).unwrap()
}

fn some_key(world: &World, n: usize) -> EpochKey {
    world.replicas[n].epoch_keys.values().next().cloned().unwrap()
}

#[test]
fn nobody_is_kept_waiting_for_a_key_that_is_not() {
    let mut world = world();
    let unknown = EpochKey::from_bytes([9; 32]);
    for (n, key) in [(1, unknown.clone()), (3, some_key(&world, 0))] {
        let record = forged(&world, n, vec![Item::Seal], vec![], &key).close(&key).unwrap();
        for to in [0, 2] {
            let refused = world.replicas[to].integrate(std::slice::from_ref(&record));
            assert!(matches!(refused, Err(Error::Refused { .. })), "{n} {to}: {refused:?}");
            world.replicas[to].check_writes().unwrap();
        }
    }
}

#[test]
fn a_record_comes_closed_or_is_what_its_closed_form_says() {
    let mut world = world();
    let key = some_key(&world, 1);
    let mut record = forged(&world, 1, vec![Item::Seal], vec![], &key);
    assert!(!record.is_closed());
    world.replicas[0].check_form(&record).unwrap();
    // The same body, and a closed form that says something else.
    let (mut header, body) = (record.header.clone(), record.body().unwrap());
    header.closed = None;
    let other = EpochKey::from_bytes([9; 32]);
    record = Record::author_in(
        header,
        &body,
        Vec::new(),
        Some((&other, Vec::new())),
        &world.replicas[1].keys.device,
    )
    .unwrap();
    let refused = world.replicas[0].integrate(std::slice::from_ref(&record));
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
}

#[test]
fn what_may_not_be_said_is_nothing_to_readers_and_to_who_reads_it_later() {
    let mut world = world();
    let key = some_key(&world, 1);
    let alien = Item::Move { doc: aios_core::id::DocId([7; 32]), path: "../out.md".into() };
    let record = forged(&world, 1, vec![alien], vec![Content::of(b"nowhere")], &key).close(&key).unwrap();
    for to in [0, 2, 3] {
        world.replicas[to].integrate(std::slice::from_ref(&record)).unwrap();
        world.commit_if_member(to);
    }
    // Nor are bytes awaited that it says there are: git would wait for them for good.
    assert!(world.replicas[0].apart_wanted().unwrap().is_empty());
    save(&mut world, 0, "after.md", "goes on\n");
    // The device itself has gone wrong; the others go on without it.
    for (from, to) in [(0, 2), (0, 3)] {
        while world.deliver(from, to, 1 << 20) > 0 {}
        world.commit_if_member(to);
    }
    assert_eq!(read(&world, 2, "after.md"), b"goes on\n");
    let carrier = id(&world, 3);
    world.replicas[0].change_roles(&carrier, &MAKER_ROLES.map(str::to_owned)).unwrap();
    for _ in 0..2 {
        for (from, to) in [(0, 3), (3, 0), (0, 2), (3, 2)] {
            while world.deliver(from, to, 1 << 20) > 0 {}
            world.commit_if_member(to);
        }
    }
    pass_blobs(&mut world);
    for n in [0, 2, 3] {
        world.commit_if_member(n);
    }
    assert_eq!(read(&world, 3, "after.md"), b"goes on\n");
    let all = heads(&mut world, &[0, 2, 3]);
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    for n in [0, 2, 3] {
        world.restart(n);
        world.rebuild(n);
        let report = world.replicas[n].verify(true, &mut quiet()).unwrap();
        assert!(report.ok, "{n}: {report:?}");
    }
}

#[test]
fn readers_that_each_lack_the_others_key_hand_them_on() {
    let mut world = World::sealed(2, &MAKER_ROLES, &phrase(1));
    save(&mut world, 0, "a.md", "one\n");
    world.everywhere();
    // Each goes on under another key and writes in an epoch that only the other's old key was handed.
    for n in 0..2 {
        world.replicas[n].rotate().unwrap();
        save(&mut world, n, &format!("of {n}.md"), "written\n");
    }
    world.everywhere();
    for n in 0..2 {
        assert_eq!(world.replicas[n].closed_records().unwrap(), 0, "{n}");
        assert_eq!(read(&world, n, &format!("of {}.md", 1 - n)), b"written\n");
    }
    let all = heads(&mut world, &[0, 1]);
    assert_eq!(all[0], all[1]);
}

#[test]
fn a_policy_that_is_accepted_after_a_revocation_is_in_force() {
    let mut world = world();
    write(&world, 0, ".aiosignore", "*.tmp\n");
    revoke(&mut world, 0, 2);
    let proposed = world.replicas[0].proposed(&[]).unwrap();
    assert_eq!(proposed.len(), 1);
    world.replicas[0].accept(&proposed).unwrap();
    assert!(world.replicas[0].proposed(&[]).unwrap().is_empty());
    world.everywhere();
    assert!(world.replicas[1].proposed(&[]).unwrap().is_empty());
}

#[test]
fn git_history_that_is_there_is_not_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let repo = git2::Repository::init(dir.path()).unwrap();
    let by = git2::Signature::now("a", "a@b").unwrap();
    let tree = repo.find_tree(repo.treebuilder(None).unwrap().write().unwrap()).unwrap();
    repo.commit(Some("HEAD"), &by, &by, "before", &tree, &[]).unwrap();
    let new = crate::create::NewVault { sealed: true, ..Default::default() };
    let refused = Vault::create(dir.path(), &new, &mut quiet());
    assert!(matches!(refused, Err(Error::Usage(_))));
    assert!(!dir.path().join(".aios").exists());
}
