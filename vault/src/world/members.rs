//! Members that come and go while devices do not know of each other: every case ends the same on every device, in every order
//! of delivery (I1, I7).

use std::collections::BTreeSet;

use aios_core::frontier::View;
use aios_core::id::DeviceId;
use aios_core::record::Record;

use super::recovery::{phrase, recover};
use super::{World, files_of, quiet};
use crate::absorb::{AbsorbOptions, Absorbed};
use crate::error::Error;
use crate::vault::Vault;

/// Orders of delivery tried for each case.
const ORDERS: u64 = 6;

pub(super) fn id(world: &World, n: usize) -> DeviceId {
    world.replicas[n].device()
}

pub(super) fn write(world: &World, n: usize, path: &str, text: &str) {
    std::fs::write(world.root(n).join(path), text).unwrap();
}

pub(super) fn read(world: &World, n: usize, path: &str) -> Option<String> {
    std::fs::read_to_string(world.root(n).join(path)).ok()
}

/// Saves a file on a device and takes it in.
pub(super) fn save(world: &mut World, n: usize, path: &str, text: &str) {
    write(world, n, path, text);
    world.commit(n);
}

/// Hands all of one log over, and writes what came of it.
pub(super) fn hand(world: &mut World, from: usize, to: usize) {
    while world.deliver(from, to, 1 << 20) > 0 {}
    world.commit_if_member(to);
}

pub(super) fn revoke(world: &mut World, by: usize, n: usize) {
    let device = id(world, n);
    world.replicas[by].revoke_device(&device).unwrap();
    world.commit_if_member(by);
}

impl World {
    pub(super) fn commit_if_member(&mut self, n: usize) {
        match self.replicas[n].commit(&AbsorbOptions::default(), &mut quiet()) {
            Ok(_) => {}
            // Nothing is taken in and nothing written; what counts is shown in the tables all the same.
            Err(Error::Revoked { .. } | Error::NoMember | Error::Carrier | Error::Closed(_)) => {
                self.replicas[n].finish(Absorbed::default(), &mut quiet()).unwrap();
            }
            Err(e) => panic!("{e}"),
        }
    }

    /// Everything goes everywhere, to revoked devices too.
    pub(super) fn everywhere(&mut self) {
        let count = self.replicas.len();
        for _ in 0..6 {
            for from in 0..count {
                for to in (0..count).filter(|to| *to != from) {
                    hand(self, from, to);
                }
            }
        }
    }

    fn names(&self, n: usize) -> Vec<String> {
        self.replicas[n].members().present().map(|(_, member)| member.name.clone()).collect()
    }

    pub(super) fn present(&self) -> BTreeSet<String> {
        self.names(0).into_iter().collect()
    }

    /// All have the same; a device that hears of all in any order has it too; nothing is found wrong.
    pub(super) fn agree(&mut self) {
        self.everywhere();
        let state = self.replicas[0].state().unwrap();
        let members = self.replicas[0].members().clone();
        let view = self.replicas[0].view().clone();
        let honest: Vec<usize> =
            (0..self.replicas.len()).filter(|n| members.is_present(&id(self, *n))).collect();
        let first = honest[0];
        let (files, head) = (self.files(first), self.replicas[first].projected_head().unwrap());
        for n in 0..self.replicas.len() {
            assert_eq!(self.replicas[n].members(), &members, "members of {n}");
            assert_eq!(self.replicas[n].view(), &view, "what counts at {n}");
            assert_eq!(self.replicas[n].state().unwrap(), state, "state of {n}");
        }
        for n in &honest {
            assert_eq!(self.files(*n), files, "files of {n}");
            assert_eq!(self.replicas[*n].projected_head().unwrap(), head, "head of {n}");
            let found = self.replicas[*n].verify(true, &mut quiet()).unwrap();
            assert!(found.ok, "{n}: {:?}", found.findings);
        }
        if let Some(read) = read_by_another(&self.root(first)) {
            assert_eq!(Some(read), head.map(|head| head.to_string()), "a reader that has only the log");
        }
        for seed in 0..ORDERS {
            let mut stranger = self.bystander_at(&format!("stranger{seed}"));
            self.tell_in_order(first, &mut stranger, seed);
            assert_eq!(stranger.state().unwrap(), state, "order {seed}");
            assert_eq!(stranger.view(), &view, "order {seed}");
            assert_eq!(stranger.projected_head().unwrap(), head, "order {seed}");
            assert_eq!(files_of(stranger.root()), files, "order {seed}");
        }
        self.rebuild(first);
        self.commit(first);
        assert_eq!(self.replicas[first].state().unwrap(), state, "made again");
        assert_eq!(self.replicas[first].projected_head().unwrap(), head, "made again");
    }

    /// Hands all that one device has to another, in some causal order, with rounds in between.
    fn tell_in_order(&mut self, from: usize, to: &mut Vault, seed: u64) {
        let all = self.replicas[from].frontier().unwrap().view();
        let entries = self.replicas[from].entries_since(&View::new(), &all, u64::MAX).unwrap();
        let mut left: Vec<Record> =
            entries.iter().map(|entry| Record::read_entry(&entry.bytes).unwrap().0).collect();
        let (mut told, mut chance) = (BTreeSet::new(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        while !left.is_empty() {
            let ready: Vec<usize> = (0..left.len())
                .filter(|n| {
                    left[*n].header.prev.iter().chain(&left[*n].header.deps).all(|id| told.contains(id))
                })
                .collect();
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            // By chance, or as late or as early as can be.
            let at = match seed {
                0 => 0,
                1 => ready.len() - 1,
                _ => (chance % ready.len() as u64) as usize,
            };
            let record = left.remove(ready[at]);
            told.insert(record.id);
            to.integrate(&[record]).unwrap();
            if chance % 3 == 0 {
                to.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
            }
        }
        to.commit(&AbsorbOptions { deletions: true, ..Default::default() }, &mut quiet()).unwrap();
    }
}

/// The head that the reader in JavaScript finds; `None` where it cannot run.
fn read_by_another(root: &std::path::Path) -> Option<String> {
    let reader = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reader");
    if !reader.join("node_modules/@automerge/automerge").is_dir() {
        return None;
    }
    let out =
        std::process::Command::new("node").arg("read.mjs").arg(root).current_dir(reader).output().ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    answer["head"].as_str().map(str::to_owned)
}

pub(super) fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Equals with one file.
fn world(count: usize) -> World {
    let mut world = World::of_equals(count);
    write(&world, 0, "a.md", "one\ntwo\nthree\n");
    world.sync();
    world
}

#[test]
fn two_revoke_each_other() {
    let mut world = world(3);
    revoke(&mut world, 2, 1);
    revoke(&mut world, 1, 2);
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d1"]));
}

#[test]
fn a_chain_of_revocations() {
    let mut world = world(4);
    revoke(&mut world, 2, 3);
    revoke(&mut world, 1, 2);
    save(&mut world, 3, "c.md", "by one who was revoked by nobody\n");
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d1", "d3"]));
    assert!(read(&world, 0, "c.md").is_some());
}

#[test]
fn a_device_let_in_by_one_who_was_revoked() {
    let mut world = world(3);
    revoke(&mut world, 0, 1);
    let keys = crate::keys::Keys::create(true).unwrap();
    let (device, operator) = (keys.device.public(), keys.operator().unwrap().unwrap().public());
    let roles: Vec<String> = crate::create::MAKER_ROLES.map(str::to_owned).to_vec();
    world.replicas[1].admit(&device, "d3", &roles, Some(&operator)).unwrap();
    let (root, vault) = (world.dir.path().join("d3"), world.replicas[0].id());
    world.replicas.push(Vault::replicate(&root, vault, "w", keys).unwrap());
    hand(&mut world, 1, 3);
    save(&mut world, 3, "b.md", "by one who is no member\n");
    // It would revoke those who count.
    revoke(&mut world, 3, 2);
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d2"]));
    assert_eq!(read(&world, 0, "b.md"), None);
    assert_eq!(world.replicas[0].held().unwrap().len(), 2, "what both wrote is held");
    assert!(read(&world, 3, "b.md").is_some(), "it keeps its files");
    let refused = world.replicas[3].commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    assert!(matches!(refused, Error::NoMember), "{refused}");
}

#[test]
fn what_somebody_built_on_counts() {
    let mut world = world(3);
    revoke(&mut world, 0, 1);
    save(&mut world, 1, "b.md", "beyond, and built on\n");
    hand(&mut world, 1, 2);
    save(&mut world, 2, "c.md", "by one who does not know\n");
    save(&mut world, 1, "d.md", "beyond, and built on by nobody\n");
    hand(&mut world, 1, 2);
    assert!(read(&world, 2, "d.md").is_some(), "nobody there knows");
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d2"]));
    for n in [0, 2] {
        assert!(read(&world, n, "b.md").is_some() && read(&world, n, "c.md").is_some());
        assert_eq!(read(&world, n, "d.md"), None);
    }
    assert_eq!(
        read(&world, 1, "d.md").as_deref(),
        Some("beyond, and built on by nobody\n"),
        "it keeps its files"
    );
}

#[test]
fn what_is_taken_back_leaves_the_files_of_others_as_they_were() {
    let mut world = world(3);
    save(&mut world, 2, "own.md", "mine\n");
    world.sync();
    revoke(&mut world, 0, 1);
    save(&mut world, 1, "a.md", "one\ntwo and more\nthree\n");
    std::fs::rename(world.root(1).join("own.md"), world.root(1).join("theirs.md")).unwrap();
    world.commit(1);
    hand(&mut world, 1, 2);
    assert_eq!(read(&world, 2, "a.md").unwrap(), "one\ntwo and more\nthree\n");
    assert!(read(&world, 2, "theirs.md").is_some());
    hand(&mut world, 0, 2);
    assert_eq!(read(&world, 2, "a.md").unwrap(), "one\ntwo\nthree\n");
    assert_eq!(read(&world, 2, "own.md").unwrap(), "mine\n");
    assert_eq!(read(&world, 2, "theirs.md"), None);
    // The next saves are made from what stands there now.
    save(&mut world, 2, "a.md", "one\ntwo\nthree\nfour\n");
    world.agree();
    assert_eq!(read(&world, 0, "a.md").unwrap(), "one\ntwo\nthree\nfour\n");
}

#[test]
fn a_save_on_what_is_to_be_taken_back_builds_on_it() {
    let mut world = world(3);
    revoke(&mut world, 0, 1);
    save(&mut world, 1, "a.md", "one\ntwo and more\nthree\n");
    hand(&mut world, 1, 2);
    // Saved, and not taken in when the revocation comes.
    write(&world, 2, "a.md", "one\ntwo and more\nthree\nfour\n");
    hand(&mut world, 0, 2);
    world.agree();
    assert_eq!(read(&world, 0, "a.md").unwrap(), "one\ntwo and more\nthree\nfour\n");
    assert!(world.replicas[0].held().unwrap().is_empty());
}

#[test]
fn what_is_held_can_be_adopted() {
    let mut world = world(3);
    revoke(&mut world, 0, 1);
    save(&mut world, 1, "b.md", "wanted after all\n");
    world.agree();
    assert_eq!(read(&world, 2, "b.md"), None);
    let device = id(&world, 1);
    let status = world.replicas[2].status(&mut quiet()).unwrap();
    assert_eq!(status.held, 1);
    assert!(status.problems.iter().any(|problem| problem.hint.contains("devices adopt d1")));
    assert!(world.replicas[2].adopt_device(&device).unwrap().is_some());
    world.commit(2);
    assert_eq!(read(&world, 2, "b.md").as_deref(), Some("wanted after all\n"));
    assert_eq!(world.replicas[2].adopt_device(&device).unwrap(), None);
    for seed in 0..ORDERS {
        std::fs::remove_dir_all(world.dir.path().join(format!("stranger{seed}"))).unwrap();
    }
    world.agree();
    assert_eq!(read(&world, 0, "b.md").as_deref(), Some("wanted after all\n"));
}

#[test]
fn roles_that_change_while_the_device_is_revoked() {
    let mut world = world(4);
    let (one, two) = (id(&world, 1), id(&world, 2));
    let fewer = vec!["write".to_owned()];
    world.replicas[1].change_roles(&two, &fewer).unwrap();
    world.replicas[3].change_roles(&one, &fewer).unwrap();
    revoke(&mut world, 0, 1);
    world.agree();
    let members = world.replicas[0].members();
    assert_eq!(members.0[&two].roles.len(), 6, "said by one who was struck");
    assert_eq!(members.0[&one].roles, fewer);
    assert!(members.revoked(&one).is_some());
    let text = format!("{:?}", world.replicas[2].change_roles(&one, &fewer).unwrap_err());
    assert!(text.contains("revoked already"), "{text}");
}

#[test]
fn a_device_that_goes_by_itself() {
    let mut world = world(3);
    revoke(&mut world, 1, 1);
    write(&world, 1, "b.md", "too late\n");
    let refused = world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    assert!(matches!(refused, Error::Revoked { .. }), "{refused}");
    assert!(world.replicas[1].status(&mut quiet()).unwrap().device.revoked);
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d2"]));
    assert_eq!(read(&world, 1, "b.md").as_deref(), Some("too late\n"));
}

#[test]
fn the_maker_goes_only_by_itself() {
    let mut world = world(2);
    let maker = id(&world, 0);
    assert!(matches!(world.replicas[1].revoke_device(&maker), Err(Error::Usage(_))));
    revoke(&mut world, 0, 0);
    world.agree();
    assert_eq!(world.present(), names(&["d1"]));
    let last = id(&world, 1);
    assert!(matches!(world.replicas[1].revoke_device(&last), Err(Error::Usage(_))), "nobody would be left");
}

#[test]
fn two_revocations_that_name_other_last_records() {
    let mut world = world(4);
    revoke(&mut world, 0, 1);
    save(&mut world, 1, "b.md", "between the two\n");
    hand(&mut world, 1, 2);
    revoke(&mut world, 2, 1);
    save(&mut world, 1, "c.md", "after both\n");
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d2", "d3"]));
    // The second has built on what it names.
    assert!(read(&world, 3, "b.md").is_some());
    assert_eq!(read(&world, 3, "c.md"), None);
}

#[test]
fn a_revoked_device_writes_nothing_more() {
    let mut world = world(2);
    revoke(&mut world, 0, 1);
    hand(&mut world, 0, 1);
    write(&world, 1, "a.md", "changed\n");
    let refused = world.replicas[1].commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    assert!(matches!(refused, Error::Revoked { .. }), "{refused}");
    save(&mut world, 0, "a.md", "changed elsewhere\n");
    hand(&mut world, 0, 1);
    assert_eq!(read(&world, 1, "a.md").as_deref(), Some("changed\n"));
    let name = id(&world, 1);
    assert!(matches!(world.replicas[1].rename_device(&name, "x"), Err(Error::Revoked { .. })));
}

/// A copy of a folder, all that lies in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_copied_folder_goes_on_as_a_device_of_its_own() {
    let mut world = world(2);
    let (root, twin) = (world.root(0), world.dir.path().join("twin"));
    copy(&root, &twin);
    save(&mut world, 0, "b.md", "in the first\n");
    world.replicas.push(Vault::open(&twin).unwrap());
    assert_eq!(id(&world, 2), id(&world, 0), "it has written nothing yet");
    save(&mut world, 2, "c.md", "in the copy\n");
    assert_ne!(id(&world, 2), id(&world, 0));
    save(&mut world, 0, "d.md", "in the first again\n");
    world.restart(2);
    save(&mut world, 2, "e.md", "in the copy again\n");
    world.agree();
    assert_eq!(world.present(), names(&["d0", "d1", "d0-2"]));
    assert_eq!(world.files(1).len(), 5);
}

#[test]
fn a_folder_from_a_backup_goes_on_as_a_device_of_its_own() {
    let mut world = world(2);
    let (root, kept) = (world.root(0), world.dir.path().join("kept"));
    copy(&root, &kept);
    save(&mut world, 0, "b.md", "after the backup\n");
    world.sync();
    let old = id(&world, 0);
    drop(world.replicas.remove(0));
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::rename(&kept, &root).unwrap();
    world.replicas.insert(0, Vault::open(&root).unwrap());
    save(&mut world, 0, "c.md", "after it was brought back\n");
    assert_ne!(id(&world, 0), old);
    world.agree();
    assert_eq!(world.files(0).len(), 3, "what was written since came back");
}

#[test]
fn a_backup_that_syncs_first_is_the_device_it_was() {
    let mut world = world(2);
    let (root, kept) = (world.root(1), world.dir.path().join("kept"));
    copy(&root, &kept);
    save(&mut world, 1, "b.md", "after the backup\n");
    world.sync();
    let old = id(&world, 1);
    drop(world.replicas.remove(1));
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::rename(&kept, &root).unwrap();
    world.replicas.push(Vault::open(&root).unwrap());
    hand(&mut world, 0, 1);
    save(&mut world, 1, "c.md", "after it was brought back\n");
    assert_eq!(id(&world, 1), old);
    world.agree();
    assert_eq!(world.files(0).len(), 3);
}

#[test]
fn a_copy_that_may_not_let_itself_in_says_so() {
    let mut world = World::new(2);
    let twin = world.dir.path().join("twin");
    copy(&world.root(1), &twin);
    save(&mut world, 1, "b.md", "in the first\n");
    let mut copied = Vault::open(&twin).unwrap();
    std::fs::write(twin.join("c.md"), "in the copy\n").unwrap();
    let refused = copied.commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    assert!(matches!(refused, Error::Elsewhere { .. }), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("join anew")));
    // Where the first is gone it has still written what is not here.
    let first = world.root(1);
    world.replicas.truncate(1);
    std::fs::remove_dir_all(first).unwrap();
    let refused = copied.commit(&AbsorbOptions::default(), &mut quiet()).unwrap_err();
    assert!(matches!(refused, Error::Copied { .. }), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("join anew")));
    assert_eq!(std::fs::read_to_string(twin.join("c.md")).unwrap(), "in the copy\n");
}

/// The same, and where it lies now.
pub(super) fn copy_of(from: &std::path::Path, to: &std::path::Path) -> std::path::PathBuf {
    copy(from, to);
    to.to_owned()
}

/// Numbers that a seed gives.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// One step of somebody who does not know what the others do.
fn step(world: &mut World, chance: &mut Chance, count: usize) {
    let (n, other) = (chance.below(world.replicas.len()), chance.below(world.replicas.len()));
    match chance.below(19) {
        0..5 => {
            let path = ["a.md", "b.md", "c.md"][chance.below(3)];
            let text = read(world, n, path).unwrap_or_default();
            let mut lines: Vec<&str> = text.lines().collect();
            let new = format!("line {count} of {n}");
            let at = chance.below(lines.len() + 1);
            match chance.below(4) {
                0 if at < lines.len() => _ = lines.remove(at),
                _ => lines.insert(at, &new),
            }
            write(world, n, path, &format!("{}\n", lines.join("\n")));
        }
        5 => {
            let _ = std::fs::rename(world.root(n).join("c.md"), world.root(n).join("d.md"));
        }
        6..8 => world.commit_if_member(n),
        8..12 if n != other => hand(world, n, other),
        12 if n != other => _ = world.deliver(n, other, 1 << 20),
        13 => {
            let device = id(world, other);
            let (all, fewer) = (crate::create::MAKER_ROLES.map(str::to_owned), ["write".to_owned()]);
            let roles: &[String] = if chance.below(2) == 0 { &all } else { &fewer };
            // Who may not is told so.
            let _ = world.replicas[n].change_roles(&device, roles);
        }
        14 => {
            let device = id(world, other);
            let _ = world.replicas[n].revoke_device(&device);
        }
        15 if chance.below(3) == 0 => {
            let device = id(world, other);
            let _ = world.replicas[n].adopt_device(&device);
        }
        16 => _ = world.replicas[n].rotate(),
        17 => {
            let device = id(world, other);
            let _ = world.replicas[n].revoke_device_as_root(&device, &phrase(1).root_key());
        }
        18 if world.replicas.len() < 6 => _ = recover(world, n, &phrase(1)),
        _ => world.restart(n),
    }
}

#[test]
fn whatever_happens_all_end_the_same() {
    let seeds = std::env::var("AIOS_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3);
    let first = std::env::var("AIOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        println!("seed {seed}");
        let mut chance = Chance((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::seeded_equals(4, seed as u64);
        world.replicas[0].name_root(&phrase(1).root_key()).unwrap();
        world.sync();
        for count in 0..50 {
            step(&mut world, &mut chance, count);
        }
        world.agree();
    }
}
