//! Logs whose segments are packed: all reads as before, goes on, and what breaks is mended.

use std::path::PathBuf;

use super::crash::crashes;
use super::{World, quiet};
use crate::gc::Wanted;
use crate::rebuild::{Rebuilt, rebuild};
use crate::vault::Vault;

/// Saves that make more than one block of log.
fn used() -> World {
    let mut world = World::new(2);
    write(&mut world);
    world.sync();
    world
}

fn write(world: &mut World) {
    for n in 0..14_u32 {
        let words = (0..600).map(|word| format!("{} ", (word * 31 + n).wrapping_mul(2_654_435_761) % 9973));
        save(world, &format!("{}.md", n % 4), &format!("{}\n", words.collect::<String>()));
    }
}

fn save(world: &mut World, path: &str, more: &str) {
    let path = world.root(0).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, text + more).unwrap();
    world.commit(0);
}

/// The files of the log of replica 0's own device, in order.
fn files(world: &World) -> Vec<PathBuf> {
    let vault = &world.replicas[0];
    let folder = vault.layout.logs().join(vault.replica.device.hex());
    let mut out: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    out.sort();
    out
}

fn forms(world: &World) -> Vec<String> {
    files(world).iter().map(|path| path.extension().unwrap().to_string_lossy().into_owned()).collect()
}

fn stand(world: &mut World) -> (Option<String>, String) {
    let status = world.replicas[0].status(&mut quiet()).unwrap();
    let report = world.replicas[0].verify(true, &mut quiet()).unwrap();
    assert!(report.ok, "{report:?}");
    (status.head, status.state)
}

fn mend(world: &mut World) -> Rebuilt {
    let root = world.root(0);
    drop(world.replicas.remove(0));
    let done = rebuild(&root, None, &mut quiet()).unwrap();
    world.replicas.insert(0, Vault::open(&root).unwrap());
    done
}

fn pack(world: &mut World) {
    world.replicas[0].gc(Wanted::default()).unwrap();
}

#[test]
fn all_reads_as_before_and_goes_on_behind() {
    let mut world = used();
    let (before, plain) = (stand(&mut world), std::fs::metadata(&files(&world)[0]).unwrap().len());
    pack(&mut world);
    assert_eq!(forms(&world), ["logz"]);
    assert!(std::fs::metadata(&files(&world)[0]).unwrap().len() < plain);
    assert_eq!(stand(&mut world), before);
    world.restart(0);
    assert_eq!(stand(&mut world), before);
    world.rebuild(0);
    assert_eq!(stand(&mut world), before);
    // It goes on in a segment of its own, which is too small to be packed.
    for _ in 0..2 {
        save(&mut world, "0.md", "one more\n");
        pack(&mut world);
        assert_eq!(forms(&world), ["logz", "log"]);
    }
    world.sync();
    world.assert_equal();
    world.restart(0);
    stand(&mut world);
    assert!(mend(&mut world).mended.is_empty());
    stand(&mut world);
}

#[test]
fn another_device_gets_all_of_it() {
    let mut world = World::new(2);
    write(&mut world);
    pack(&mut world);
    assert_eq!(forms(&world), ["logz"]);
    world.sync();
    world.assert_equal();
}

#[test]
fn a_crash_anywhere_on_the_way_leaves_one_of_the_two() {
    for point in
        ["gc.log@1", "disk.write@1", "disk.sync_file@1", "disk.rename@1", "disk.remove@1", "disk.sync_dir@2"]
    {
        let mut world = used();
        let before = stand(&mut world);
        let (name, at) = point.split_once('@').unwrap();
        crashes(&format!("{name}=crash@{at}"), || pack(&mut world));
        world.restart(0);
        assert_eq!(stand(&mut world), before, "{point}");
        save(&mut world, "0.md", "one more\n");
        world.sync();
        world.assert_equal();
        pack(&mut world);
        assert!(
            forms(&world).iter().filter(|form| *form == "logz").count() == 1,
            "{point}: {:?}",
            files(&world)
        );
        stand(&mut world);
    }
}

#[test]
fn where_both_lie_there_and_are_alike_the_plain_one_counts() {
    let mut world = used();
    let plain = files(&world)[0].clone();
    let bytes = std::fs::read(&plain).unwrap();
    pack(&mut world);
    std::fs::write(&plain, &bytes).unwrap();
    world.restart(0);
    save(&mut world, "0.md", "one more\n");
    assert!(std::fs::metadata(&plain).unwrap().len() > bytes.len() as u64);
    world.restart(0);
    let before = stand(&mut world);
    pack(&mut world);
    assert_eq!(forms(&world), ["logz"]);
    assert_eq!(stand(&mut world), before);
}

#[test]
fn what_a_database_does_not_know_is_taken_in_from_it() {
    let mut world = used();
    let database = world.replicas[0].layout.database();
    // As a power cut leaves it, which takes from the database what was not synced.
    let old = world.dir.path().join("old.sqlite");
    world.replicas[0].db.execute("VACUUM INTO ?", [old.to_str().unwrap()]).unwrap();
    save(&mut world, "0.md", "known to the log alone\n");
    let before = stand(&mut world);
    pack(&mut world);
    let root = world.root(0);
    drop(world.replicas.remove(0));
    crate::db::remove(&database).unwrap();
    std::fs::copy(&old, &database).unwrap();
    world.replicas.insert(0, Vault::open(&root).unwrap());
    world.commit(0);
    assert_eq!(stand(&mut world), before);
}

#[test]
fn what_lies_behind_the_end_is_neither_packed_nor_kept() {
    let mut world = used();
    let first = files(&world)[0].clone();
    // As a transaction leaves it that was taken back: records that nobody knows, in a segment of their own.
    let stale = first.with_file_name("0000000040.log");
    std::fs::copy(&first, &stale).unwrap();
    pack(&mut world);
    assert_eq!(forms(&world), ["logz", "log"]);
    save(&mut world, "0.md", "one more\n");
    assert!(!stale.exists());
    world.restart(0);
    stand(&mut world);
    world.sync();
    world.assert_equal();
}

#[test]
fn an_older_plain_file_beside_it_takes_nothing_from_it() {
    let mut world = used();
    let plain = files(&world)[0].clone();
    let older = std::fs::read(&plain).unwrap();
    save(&mut world, "0.md", "one more\n");
    let before = stand(&mut world);
    pack(&mut world);
    // A backup from before it was packed is copied over the folder.
    std::fs::write(&plain, &older).unwrap();
    world.restart(0);
    assert_eq!(stand(&mut world), before);
    save(&mut world, "0.md", "another\n");
    pack(&mut world);
    assert_eq!(forms(&world), ["log", "logz", "log"]);
    world.restart(0);
    stand(&mut world);
    world.sync();
    world.assert_equal();
}

#[test]
fn damage_is_told_and_mended() {
    // In the index of a segment, and in its last block.
    for from_end in [false, true] {
        let mut world = used();
        let before = stand(&mut world);
        pack(&mut world);
        let path = files(&world)[0].clone();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = if from_end { bytes.len() - 100 } else { 3 };
        bytes[at] ^= 0x20;
        std::fs::write(&path, bytes).unwrap();
        world.restart(0);
        let report = world.replicas[0].verify(true, &mut quiet()).unwrap();
        assert!(report.findings.iter().any(|finding| finding.invariant == "I8"), "{report:?}");
        let done = mend(&mut world);
        assert!(done.lost.is_empty() && !done.mended.is_empty(), "{done:?}");
        assert_eq!(stand(&mut world), before);
        world.sync();
        world.assert_equal();
    }
}

#[test]
fn what_is_forgotten_leaves_it() {
    let mut world = used();
    save(&mut world, "0.md", "a secret that is to go\n");
    world.sync();
    pack(&mut world);
    let doc = world.replicas[0].forgettable("0.md").unwrap()[0].doc;
    world.replicas[0].forget(&[doc]).unwrap();
    world.commit(0);
    for path in files(&world) {
        let file = std::fs::read(&path).unwrap();
        let bytes = match path.extension().is_some_and(|end| end == "logz") {
            true => crate::packed::unpack(&file).unwrap(),
            false => file,
        };
        assert!(!String::from_utf8_lossy(&bytes).contains("a secret"), "{}", path.display());
    }
    assert_eq!(forms(&world), ["logz", "log"]);
    world.sync();
    world.assert_equal();
    stand(&mut world);
}
