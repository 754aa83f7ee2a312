//! Several replicas in one process, for tests: real folders, records handed over by hand.

use std::path::PathBuf;

use aios_core::event::Event;
use aios_core::item::{Bytes, Item};
use aios_core::key::MemberStatement;
use aios_core::phrase::Phrase;
use aios_core::record::Record;

use crate::absorb::AbsorbOptions;
use crate::apart::Given;
use crate::author::Draft;
use crate::chance::seeded;
use crate::create::{MAKER_ROLES, NewVault};
use crate::keys::{self, Keys};
use crate::round::Round;
use crate::vault::Vault;

mod accept;
mod again;
mod crash;
mod entity;
mod forget;
mod members;
mod moves;
mod newer;
mod oracle;
mod packed;
mod page;
mod random;
mod recovery;
mod rotate;
mod sealed;
mod snapshot;
mod work;

/// Replicas of one vault.
pub(crate) struct World {
    pub dir: tempfile::TempDir,
    pub replicas: Vec<Vault>,
}

pub(crate) fn quiet() -> impl FnMut(&str, u64, u64) {
    |_: &str, _, _| {}
}

fn base() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}

impl Drop for World {
    fn drop(&mut self) {
        seeded::end();
    }
}

impl World {
    /// `count` replicas of an empty vault, all in sync. On tmpfs where there is one: syncing costs nothing there.
    pub fn new(count: usize) -> World {
        let base = base();
        keys::use_data_dir(&base.join(format!("aios-keys-{}", std::process::id())));
        World::within(tempfile::Builder::new().prefix("aios-world-").tempdir_in(base).unwrap(), count)
    }

    /// As [`World::new`], with clock and keys of a seed. There can be one on a thread.
    pub fn seeded(count: usize, seed: u64) -> World {
        let dir = tempfile::Builder::new().prefix("aios-world-").tempdir_in(base()).unwrap();
        seeded::begin(seed, &dir.path().join("keys"));
        World::within(dir, count)
    }

    /// As [`World::new`], all with all roles.
    pub fn of_equals(count: usize) -> World {
        let base = base();
        keys::use_data_dir(&base.join(format!("aios-keys-{}", std::process::id())));
        let dir = tempfile::Builder::new().prefix("aios-world-").tempdir_in(base).unwrap();
        World::with_roles(dir, count, &MAKER_ROLES)
    }

    /// As [`World::of_equals`], with clock and keys of a seed.
    pub fn seeded_equals(count: usize, seed: u64) -> World {
        let dir = tempfile::Builder::new().prefix("aios-world-").tempdir_in(base()).unwrap();
        seeded::begin(seed, &dir.path().join("keys"));
        World::with_roles(dir, count, &MAKER_ROLES)
    }

    fn within(dir: tempfile::TempDir, count: usize) -> World {
        World::with_roles(dir, count, &["write", "approve"])
    }

    fn with_roles(dir: tempfile::TempDir, count: usize, roles: &[&str]) -> World {
        World::with_phrase(dir, count, roles, None, false)
    }

    /// `count` replicas of a sealed vault, with a phrase; all but the first with these roles.
    pub fn sealed(count: usize, roles: &[&str], phrase: &Phrase) -> World {
        let base = base();
        keys::use_data_dir(&base.join(format!("aios-keys-{}", std::process::id())));
        let dir = tempfile::Builder::new().prefix("aios-world-").tempdir_in(base).unwrap();
        World::with_phrase(dir, count, roles, Some(phrase.clone()), true)
    }

    /// As [`World::of_equals`], with a recovery phrase.
    pub fn of_equals_with(count: usize, phrase: &Phrase) -> World {
        let base = base();
        keys::use_data_dir(&base.join(format!("aios-keys-{}", std::process::id())));
        let dir = tempfile::Builder::new().prefix("aios-world-").tempdir_in(base).unwrap();
        World::with_phrase(dir, count, &MAKER_ROLES, Some(phrase.clone()), false)
    }

    fn with_phrase(
        dir: tempfile::TempDir,
        count: usize,
        roles: &[&str],
        phrase: Option<Phrase>,
        sealed: bool,
    ) -> World {
        let (mut first, absorbed) = Vault::create(
            &dir.path().join("d0"),
            &NewVault {
                name: Some("w".into()),
                device: Some("d0".into()),
                phrase,
                sealed,
                ..NewVault::default()
            },
            &mut quiet(),
        )
        .unwrap();
        first.finish(absorbed, &mut quiet()).unwrap();
        let mut world = World { dir, replicas: vec![first] };
        for n in 1..count {
            world.add(n, roles);
        }
        world.sync();
        world
    }

    pub(super) fn add(&mut self, n: usize, roles: &[&str]) {
        let keys = Keys::create(true).unwrap();
        let operator = keys.operator().unwrap().unwrap().public();
        let (device, vault) = (keys.device.public(), self.replicas[0].id());
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let name = format!("d{n}");
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: Some(&operator),
            place: self.replicas[0].next_place().unwrap(),
        };
        let signer = self.replicas[0].operator().unwrap().unwrap();
        let sig = Bytes(signer.sign_statement(&statement).to_vec());
        let event =
            Event::DeviceAdded { device, name, roles, operator: Some(operator), sig, by: signer.public() };
        let mut draft = Draft::operator("pair");
        draft.push(Item::Event(event));
        self.replicas[0].transaction(|vault| vault.author_records(draft).map(|_| ())).unwrap();
        let replica = Vault::replicate(&self.dir.path().join(format!("d{n}")), vault, "w", keys).unwrap();
        self.replicas.push(replica);
    }

    /// One more folder, of a device that is no member: it takes everything in and writes nothing.
    pub fn bystander(&self) -> Vault {
        self.bystander_at("bystander")
    }

    /// As [`World::bystander`], in a folder of its own.
    pub fn bystander_at(&self, folder: &str) -> Vault {
        let keys = Keys::create(false).unwrap();
        Vault::replicate(&self.dir.path().join(folder), self.replicas[0].id(), "w", keys).unwrap()
    }

    /// Closes a replica and opens it again.
    pub fn restart(&mut self, n: usize) {
        let root = self.root(n);
        drop(self.replicas.remove(n));
        self.replicas.insert(n, Vault::open(&root).unwrap());
    }

    /// As [`World::restart`], the database being lost.
    pub fn rebuild(&mut self, n: usize) {
        let (root, database) = (self.root(n), self.replicas[n].layout.database());
        drop(self.replicas.remove(n));
        crate::db::remove(&database).unwrap();
        self.replicas.insert(n, Vault::open(&root).unwrap());
    }

    pub fn root(&self, n: usize) -> PathBuf {
        self.replicas[n].root().to_owned()
    }

    /// Hands what `from` has and `to` lacks over, at most `budget` bytes.
    pub fn deliver(&mut self, from: usize, to: usize, budget: u64) -> u64 {
        let known = |vault: &Vault| vault.frontier().unwrap().view();
        let (have, upto) = (known(&self.replicas[to]), known(&self.replicas[from]));
        let entries = self.replicas[from].entries_since(&have, &upto, budget).unwrap();
        let records: Vec<Record> =
            entries.iter().map(|entry| Record::read_entry(&entry.bytes).unwrap().0).collect();
        self.replicas[to].integrate(&records).unwrap().new
    }

    /// Hands over what travels apart and `to` waits for, as far as `from` has it, and takes it in.
    pub fn give_apart(&mut self, from: usize, to: usize) {
        for named in self.replicas[to].apart_wanted().unwrap() {
            let Some(given) = self.replicas[from].give(&named).unwrap() else { continue };
            let path = self.root(to).join(".aios/given");
            match given {
                Given::Bytes(bytes) => std::fs::write(&path, bytes).unwrap(),
                Given::File(mut file, _) => {
                    std::io::Seek::rewind(&mut file).unwrap();
                    std::io::copy(&mut file, &mut std::fs::File::create(&path).unwrap()).map(drop).unwrap();
                }
            }
            self.replicas[to].take_apart(&named, &path).unwrap();
            std::fs::remove_file(path).unwrap();
        }
        self.commit(to);
    }

    /// One round on a replica: absorb, write, project.
    pub fn commit(&mut self, n: usize) -> Round {
        self.replicas[n]
            .commit(&AbsorbOptions { deletions: true, ..AbsorbOptions::default() }, &mut quiet())
            .unwrap()
    }

    /// Everybody absorbs, then everything goes everywhere, until nobody has news.
    pub fn sync(&mut self) {
        for _ in 0..20 {
            for n in 0..self.replicas.len() {
                self.commit(n);
            }
            let mut moved = 0;
            for from in 0..self.replicas.len() {
                for to in 0..self.replicas.len() {
                    while from != to && self.deliver(from, to, 1 << 20) > 0 {
                        moved += 1;
                    }
                }
            }
            if moved == 0 {
                return;
            }
        }
        panic!("no rest after 20 rounds");
    }

    /// The working files of a replica.
    pub fn files(&self, n: usize) -> std::collections::BTreeMap<String, Vec<u8>> {
        files_of(&self.root(n))
    }

    /// Asserts that all replicas are equal in files, state and head.
    pub fn assert_equal(&mut self) {
        let (files, state) = (self.files(0), self.replicas[0].state().unwrap());
        let head = self.replicas[0].projected_head().unwrap();
        for n in 1..self.replicas.len() {
            let show = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> String {
                files
                    .iter()
                    .map(|(path, bytes)| format!("{path}: {:?}\n", String::from_utf8_lossy(bytes)))
                    .collect()
            };
            let other = self.files(n);
            assert!(files == other, "files differ\n--- 0\n{}--- {n}\n{}", show(&files), show(&other));
            assert_eq!(head, self.replicas[n].projected_head().unwrap(), "heads of 0 and {n}");
            assert_eq!(state, self.replicas[n].state().unwrap(), "states of 0 and {n}");
        }
    }
}

/// The working files below a folder.
pub(crate) fn files_of(root: &std::path::Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn walk(
        root: &std::path::Path,
        at: &std::path::Path,
        out: &mut std::collections::BTreeMap<String, Vec<u8>>,
    ) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if name == ".aios" || name == ".git" {
                continue;
            }
            match path.is_dir() && !path.is_symlink() {
                true => walk(root, &path, out),
                false => {
                    out.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
    }
    let mut out = std::collections::BTreeMap::new();
    walk(root, root, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_core::frontier::Place;

    fn write(world: &World, n: usize, path: &str, text: &str) {
        let path = world.root(n).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(world: &World, n: usize, path: &str) -> String {
        std::fs::read_to_string(world.root(n).join(path)).unwrap_or_else(|e| format!("<{e}>"))
    }

    #[test]
    fn two_edit_different_lines() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "---\ntitle: A\nstatus: open\n---\none\ntwo\nthree\n");
        world.sync();
        assert_eq!(read(&world, 1, "a.md"), "---\ntitle: A\nstatus: open\n---\none\ntwo\nthree\n");
        write(&world, 0, "a.md", "---\ntitle: B\nstatus: open\n---\none!\ntwo\nthree\n");
        write(&world, 1, "a.md", "---\ntitle: A\nstatus: done\n---\none\ntwo\nthree?\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 0, "a.md"), "---\ntitle: B\nstatus: done\n---\none!\ntwo\nthree?\n");
    }

    #[test]
    fn rename_delete_create() {
        let mut world = World::new(3);
        write(&world, 0, "dir/a.md", "alpha\nbeta\ngamma\n");
        write(&world, 0, "dir/b.md", "bravo\n");
        write(&world, 0, "c.md", "charlie\n");
        world.sync();
        std::fs::rename(world.root(0).join("dir"), world.root(0).join("folder")).unwrap();
        write(&world, 1, "dir/new.md", "fresh\n");
        write(&world, 1, "dir/a.md", "alpha\nbeta\ngamma!\n");
        std::fs::remove_file(world.root(1).join("c.md")).unwrap();
        write(&world, 2, "c.md", "charlie and more\n");
        write(&world, 0, "same.md", "x\ny\n");
        write(&world, 2, "same.md", "y\nz\n");
        world.sync();
        world.assert_equal();
        let files = world.files(0);
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["c.md", "folder/a.md", "folder/b.md", "folder/new.md", "same.md"]);
        assert_eq!(read(&world, 0, "folder/a.md"), "alpha\nbeta\ngamma!\n");
        assert_eq!(read(&world, 2, "c.md"), "charlie and more\n");
        let same = read(&world, 2, "same.md");
        let mut lines: Vec<&str> = same.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["x", "y", "z"], "{same:?}");
    }

    #[test]
    fn folders_that_changed_places_change_back() {
        let mut world = World::new(2);
        for (folder, name) in [("p", "a"), ("p", "b"), ("q", "a"), ("q", "b")] {
            write(&world, 0, &format!("{folder}/{name}.md"), &format!("{name} of {folder}\n"));
        }
        world.sync();
        let before = world.files(0);
        for (from, to) in [("p", "t"), ("q", "p"), ("t", "q")] {
            std::fs::rename(world.root(0).join(from), world.root(0).join(to)).unwrap();
        }
        let meant = world.files(0);
        let record = world.commit(0).absorbed.record.unwrap();
        assert_eq!(world.files(0), meant);
        world.sync();
        world.assert_equal();
        assert_eq!(world.files(1), meant);
        let vault = &mut world.replicas[1];
        let revision = vault.revision(&record.to_string()).unwrap();
        let changed = vault.entry_of(&record).unwrap().changed;
        let changed: Vec<(&str, &str)> =
            changed.iter().map(|one| (one.path.as_str(), one.change.as_str())).collect();
        assert_eq!(changed, [("q", "folder renamed from p"), ("p", "folder renamed from q")]);
        assert!(vault.undo(&revision).unwrap().left.is_empty());
        world.sync();
        world.assert_equal();
        assert_eq!(world.files(0), before);
    }

    #[test]
    fn folders_that_only_case_tells_apart_are_listed() {
        let mut world = World::new(2);
        write(&world, 0, "top/Work/a.md", "one\n");
        write(&world, 1, "top/work/b.md", "two\n");
        world.sync();
        world.assert_equal();
        for vault in &mut world.replicas {
            let problems = vault.status(&mut quiet()).unwrap().problems;
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!(problem.path == "top/Work" && problem.problem.contains("top/work"), "{problem}");
        }
        std::fs::rename(world.root(1).join("top/work/b.md"), world.root(1).join("top/Work/b.md")).unwrap();
        world.sync();
        world.assert_equal();
        assert_eq!(world.replicas[0].status(&mut quiet()).unwrap().problems, []);
    }

    #[test]
    fn stale_buffer_and_undo_and_insisting() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "one\ntwo\nthree\n");
        world.sync();
        write(&world, 1, "a.md", "one\ntwo\nthree from b\n");
        world.sync();
        assert_eq!(read(&world, 0, "a.md"), "one\ntwo\nthree from b\n");
        // An editor on 0 still has the first version in its buffer.
        write(&world, 0, "a.md", "one from a\ntwo\nthree\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 0, "a.md"), "one from a\ntwo\nthree from b\n");
        // Saved once more, the same bytes win.
        write(&world, 0, "a.md", "one from a\ntwo\nthree\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 1, "a.md"), "one from a\ntwo\nthree\n");
    }

    #[test]
    fn an_older_version_saved_unchanged_is_put_back_and_said() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "one\ntwo\n");
        world.sync();
        write(&world, 1, "a.md", "one\ntwo, more\n");
        world.sync();
        write(&world, 0, "a.md", "one\ntwo\n");
        let round = world.commit(0);
        assert!(round.absorbed.record.is_none() && round.settled.problems.is_empty());
        assert_eq!(read(&world, 0, "a.md"), "one\ntwo, more\n");
        let [note] = &round.absorbed.notes[..] else { panic!("{:?}", round.absorbed.notes) };
        assert!(note.path == "a.md" && note.hint.contains("once more"), "{note:?}");
        write(&world, 0, "a.md", "one\ntwo\n");
        assert_eq!(world.commit(0).absorbed.notes, []);
        assert_eq!(read(&world, 0, "a.md"), "one\ntwo\n");
        // So it is with a version that came and was never saved here: who takes out what just came means it.
        world.sync();
        for text in ["one\ntwo\nthree\n", "one\ntwo\nthree\nfour\n"] {
            write(&world, 1, "a.md", text);
            world.sync();
        }
        write(&world, 0, "a.md", "one\ntwo\nthree\n");
        let round = world.commit(0);
        assert!(
            round.absorbed.notes.first().is_some_and(|note| note.hint.contains("once more")),
            "{round:?}"
        );
        assert_eq!(read(&world, 0, "a.md"), "one\ntwo\nthree\nfour\n");
        write(&world, 0, "a.md", "one\ntwo\nthree\n");
        assert_eq!(world.commit(0).absorbed.notes, []);
        world.sync();
        assert_eq!(read(&world, 1, "a.md"), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_save_that_a_write_displaced_is_insisted_on_by_the_next() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "alpha\nbeta\ngamma\n");
        world.sync();
        write(&world, 1, "a.md", "alpha\nBETA\ngamma\n");
        world.commit(1);
        world.deliver(1, 0, u64::MAX);
        // Saved after the change came in and before it was written.
        let old = "alpha\nbeta\ngamma delta\n";
        write(&world, 0, "a.md", old);
        world.replicas[0].finish(crate::absorb::Absorbed::default(), &mut quiet()).unwrap();
        assert_eq!(read(&world, 0, "a.md"), "alpha\nBETA\ngamma delta\n");
        write(&world, 0, "a.md", old);
        world.commit(0);
        assert_eq!(read(&world, 0, "a.md"), old);
        // What is on disk now is what the next save is made from.
        write(&world, 0, "a.md", "alpha\nbeta\ngamma delta\nmore\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 1, "a.md"), "alpha\nbeta\ngamma delta\nmore\n");
    }

    #[test]
    fn what_lost_or_stood_beside_stands_when_the_other_is_undone() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "---\nrate: 880\n---\nThe fee is 100 euros.\n");
        world.sync();
        write(&world, 0, "a.md", "---\nrate: 900\n---\nThe fee is 120 euros.\n");
        write(&world, 1, "a.md", "---\nrate: 920\n---\nThe fee is 150 euros.\n");
        world.commit(0);
        world.commit(1);
        world.sync();
        let place = Place {
            device: world.replicas[1].device(),
            seq: world.replicas[1].view().get(&world.replicas[1].device()),
        };
        let vault = &mut world.replicas[0];
        let record = vault.row(vault.number(&place).unwrap().unwrap()).unwrap().id;
        let revision = vault.revision(&record.to_string()).unwrap();
        assert!(vault.undo(&revision).unwrap().left.is_empty());
        world.commit(0);
        assert_eq!(read(&world, 0, "a.md"), "---\nrate: 900\n---\nThe fee is 120 euros.\n");
        world.sync();
        world.assert_equal();
    }

    #[test]
    fn same_key_swap_and_late_undo() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "---\nstatus: open\n---\nbody a with enough text\n");
        write(&world, 0, "b.md", "---\nstatus: shut\n---\nbody b is another one\n");
        world.sync();
        write(&world, 0, "a.md", "---\nstatus: closed\n---\nbody a with enough text\n");
        write(&world, 1, "a.md", "---\nstatus: pending\n---\nbody a with enough text\n");
        world.sync();
        world.assert_equal();
        let text = read(&world, 0, "a.md");
        assert!(text.contains("status: closed") || text.contains("status: pending"), "{text}");
        assert_eq!(world.replicas[1].conflict_rows().unwrap().len(), 1);
        let root = world.root(1);
        std::fs::rename(root.join("a.md"), root.join("t")).unwrap();
        std::fs::rename(root.join("b.md"), root.join("a.md")).unwrap();
        std::fs::rename(root.join("t"), root.join("b.md")).unwrap();
        write(&world, 0, "b.md", "---\nstatus: shut\n---\nbody b is another one, edited\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 0, "a.md"), "---\nstatus: shut\n---\nbody b is another one, edited\n");
        assert_eq!(read(&world, 0, "b.md"), text);
    }

    /// One round at 0, whose news then lies at 1, taken in but not on disk yet.
    fn unseen(world: &mut World) {
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
    }

    fn set_mode(world: &World, n: usize, path: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(world.root(n).join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(world: &World, n: usize, path: &str) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(world.root(n).join(path)).unwrap().permissions().mode() & 0o111
    }

    #[test]
    fn a_save_does_not_undo_a_mode_that_came_in() {
        let mut world = World::new(2);
        write(&world, 0, "a.sh", "one\n");
        world.sync();
        set_mode(&world, 0, "a.sh", 0o755);
        unseen(&mut world);
        write(&world, 1, "a.sh", "one\ntwo\n");
        world.sync();
        world.assert_equal();
        assert_ne!(mode(&world, 1, "a.sh"), 0);
        assert_eq!(read(&world, 0, "a.sh"), "one\ntwo\n");
    }

    #[test]
    fn a_delete_does_not_take_what_came_in() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "one\n");
        world.sync();
        write(&world, 0, "a.md", "one\ntwo\n");
        unseen(&mut world);
        std::fs::remove_file(world.root(1).join("a.md")).unwrap();
        let round = world.commit(1);
        assert_eq!(round.absorbed.problems.len(), 1);
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 1, "a.md"), "one\ntwo\n");
    }

    #[test]
    fn an_empty_folder_makes_way_for_a_file() {
        let mut world = World::new(2);
        write(&world, 0, "da/in/a.md", "one\n");
        world.sync();
        std::fs::remove_file(world.root(1).join("da/in/a.md")).unwrap();
        world.sync();
        write(&world, 0, "da", "a file\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 1, "da"), "a file\n");
    }

    #[test]
    fn a_file_moves_below_its_own_old_path() {
        let mut world = World::new(2);
        write(&world, 0, "da", "a file with some text\n");
        world.sync();
        std::fs::rename(world.root(0).join("da"), world.root(0).join("aside")).unwrap();
        std::fs::create_dir(world.root(0).join("da")).unwrap();
        std::fs::rename(world.root(0).join("aside"), world.root(0).join("da/da")).unwrap();
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 1, "da/da"), "a file with some text\n");
        std::fs::rename(world.root(1).join("da/da"), world.root(1).join("aside")).unwrap();
        std::fs::remove_dir(world.root(1).join("da")).unwrap();
        std::fs::rename(world.root(1).join("aside"), world.root(1).join("da")).unwrap();
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 0, "da"), "a file with some text\n");
    }

    #[test]
    fn a_stale_save_is_known_after_a_restart() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "one\ntwo\nthree\n");
        world.sync();
        write(&world, 0, "a.md", "one\nthree\n");
        unseen(&mut world);
        write(&world, 1, "a.md", "one\ntwo\nthree\nfour by b\n");
        world.commit(1);
        assert_eq!(read(&world, 1, "a.md"), "one\nthree\nfour by b\n");
        world.restart(1);
        // An editor still has what it saved, and goes on from there.
        write(&world, 1, "a.md", "one\ntwo\nthree\nfour by b\nfifth one\n");
        world.sync();
        world.assert_equal();
        assert_eq!(read(&world, 0, "a.md"), "one\nthree\nfour by b\nfifth one\n");
    }

    #[test]
    fn what_one_of_two_who_made_the_same_file_deleted_stays_deleted() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "first\n");
        world.sync();
        write(&world, 0, "a.md", "");
        world.commit(0);
        write(&world, 1, "a.md", "first\nsecond\n");
        world.commit(1);
        world.deliver(1, 0, 1 << 20);
        world.commit(0);
        write(&world, 0, "a.md", "second\nthird\n");
        world.commit(0);
        write(&world, 1, "a.md", "");
        world.commit(1);
        // The first record of 0, but not the second.
        world.deliver(0, 1, 1);
        world.commit(1);
        assert_eq!(read(&world, 1, "a.md"), "");
        write(&world, 1, "a.md", "fourth\n");
        world.sync();
        world.assert_equal();
        let mut lines: Vec<_> = read(&world, 0, "a.md").lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["fourth", "third"]);
    }

    #[test]
    fn a_rename_to_a_taken_name_goes_back() {
        let mut world = World::new(2);
        write(&world, 0, "a.md", "one and only\n");
        write(&world, 0, "A.md", "another text\n");
        world.sync();
        let files = world.files(0);
        let suffixed = files.keys().find(|path| path.contains('-')).unwrap();
        let claim = if suffixed.starts_with('a') { "a.md" } else { "A.md" };
        std::fs::rename(world.root(0).join(suffixed), world.root(0).join(claim)).unwrap();
        world.sync();
        world.assert_equal();
        assert_eq!(world.files(0), files);
    }
}
