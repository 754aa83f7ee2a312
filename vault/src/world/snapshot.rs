//! Devices that begin from a snapshot: as everybody else's is what they show and what they write.

use aios_core::id::DeviceId;
use aios_core::key::SecretKey;
use aios_core::phrase::Phrase;
use aios_core::record::Record;

use super::{World, quiet};
use crate::error::Error;
use crate::snapshot::{Past, Signed};

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
    // Git takes the folder for a shallow clone with nothing to do.
    let git = |args: &[&str]| {
        let out = std::process::Command::new("git").arg("-C").arg(world.root(n)).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    git(&["fsck", "--no-dangling"]);
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["rev-parse", "--is-shallow-repository"]).trim(), "true");
    assert!(!git(&["log", "--format=%H"]).is_empty());
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

/// Hands over what lies before, in parts of at most `budget` bytes; gives the last that came.
fn fetch_past(world: &mut World, n: usize, budget: u64) -> Past {
    let mut past = world.replicas[n].lacking().unwrap().unwrap();
    while !past.is_whole() {
        let entries = world.replicas[0].entries_since(&past.have(), past.upto(), budget).unwrap();
        let records: Vec<Record> =
            entries.iter().map(|entry| Record::read_entry(&entry.bytes).unwrap().0).collect();
        world.replicas[n].take_past(&mut past, &records).unwrap();
        // As after a crash.
        let again = world.replicas[n].lacking().unwrap().unwrap();
        assert_eq!(again.have(), past.have());
        past = again;
    }
    past
}

#[test]
fn who_fetches_what_lies_before_has_all_that_the_others_have() {
    let mut world = used();
    let n = join(&mut world);
    world.sync();
    save(&world, n, "a.md", &text(&world, n, "a.md").replace("two", "two of the new one"));
    world.sync();
    let none = world.replicas[n].lacking().unwrap().unwrap();
    assert!(matches!(world.replicas[n].take_up_past(none, &mut quiet()), Err(Error::Past)));
    let past = fetch_past(&mut world, n, 2000);
    world.replicas[n].take_up_past(past, &mut quiet()).unwrap();
    assert!(world.replicas[n].began_from().unwrap().is_none());
    world.sync();
    world.assert_equal();
    let have = aios_core::frontier::View::new();
    let all = world.replicas[n].view().clone();
    let given = world.replicas[n].entries_since(&have, &all, u64::MAX).unwrap();
    assert_eq!(given.len() as u64, all.len());
    let report = world.replicas[n].verify(true, &mut quiet()).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    world.rebuild(n);
    world.assert_equal();
}

#[test]
fn who_is_killed_while_it_takes_it_up_goes_on() {
    let mut world = used();
    let n = join(&mut world);
    world.sync();
    let past = fetch_past(&mut world, n, 1 << 20);
    let whole = world.root(n).join(".aios/whole.json");
    let (head, state) =
        (world.replicas[n].projected_head().unwrap().unwrap(), world.replicas[n].state().unwrap());
    let note = serde_json::json!({
        "signed": world.replicas[n].began_from().unwrap().unwrap(),
        "frontier": world.replicas[n].frontier().unwrap(), "state": state, "head": head.to_string(),
    });
    std::fs::write(whole, note.to_string()).unwrap();
    drop(past);
    world.restart(n);
    assert!(world.replicas[n].untold.is_empty(), "{:?}", world.replicas[n].untold);
    assert!(world.replicas[n].began_from().unwrap().is_none());
    world.sync();
    world.assert_equal();
    assert!(!world.root(n).join(".aios/past").exists());
}

#[test]
fn a_false_snapshot_is_told_with_whose_it_is() {
    let mut world = used();
    let n = add(&mut world);
    // Its maker has a record that nobody wrote, in place of one.
    world.replicas[0].db.execute_batch("BEGIN").unwrap();
    world.replicas[0].db.execute("UPDATE record SET id = zeroblob(32) WHERE n = 3", []).unwrap();
    let (signed, image) = snapshot(&mut world, 0);
    world.replicas[0].db.execute_batch("ROLLBACK").unwrap();
    world.replicas[n].begin_from(&signed, &signed.by, &mut image.as_slice()).unwrap();
    let mut past = world.replicas[n].lacking().unwrap().unwrap();
    let entries = world.replicas[0].entries_since(&past.have(), past.upto(), u64::MAX).unwrap();
    let records: Vec<Record> =
        entries.iter().map(|entry| Record::read_entry(&entry.bytes).unwrap().0).collect();
    let told = world.replicas[n].take_past(&mut past, &records);
    assert!(matches!(told, Err(Error::Snapshot { by, .. }) if by == signed.by), "{told:?}");
}

#[test]
fn an_edit_of_what_lies_before_it_waits_for_that_and_is_then_as_everywhere() {
    let mut world = used();
    // Device 1 is away, and saves what the others change.
    save(&world, 1, "a.md", &text(&world, 1, "a.md").replace("two", "two, from afar"));
    save(&world, 1, "afar.md", "from afar\n");
    world.commit(1);
    save(&world, 0, "a.md", &text(&world, 0, "a.md").replace("three", "three of the desk"));
    world.commit(0);
    let n = join(&mut world);
    world.sync();
    // The text merges without the past; git's trees of that time are not here.
    let files = world.files(0);
    assert_eq!(world.files(n), files);
    assert!(text(&world, n, "a.md").contains("two, from afar"));
    assert_eq!(world.replicas[n].state().unwrap(), world.replicas[0].state().unwrap());
    assert_eq!(world.replicas[n].projected_head().unwrap(), None);
    let past = fetch_past(&mut world, n, 1 << 20);
    world.replicas[n].take_up_past(past, &mut quiet()).unwrap();
    world.sync();
    world.assert_equal();
}

#[test]
fn what_needs_all_there_ever_was_says_so_and_a_text_is_forgotten_once_it_is_here() {
    let mut world = used();
    let n = join(&mut world);
    world.sync();
    let vault = &mut world.replicas[n];
    let doc = vault.forgettable("a.md").unwrap()[0].doc;
    assert!(matches!(vault.forget(&[doc]), Err(Error::Past)));
    assert!(matches!(vault.verify(false, &mut quiet()), Err(Error::Past)));
    let to = world.dir.path().join("export");
    assert!(matches!(world.replicas[n].export(&to, false, &mut quiet()), Err(Error::Past)));
    world.replicas[0].forget(&[doc]).unwrap();
    world.sync();
    world.assert_equal();
    let past = fetch_past(&mut world, n, 1 << 20);
    world.replicas[n].take_up_past(past, &mut quiet()).unwrap();
    world.sync();
    world.assert_equal();
    let report = world.replicas[n].verify(true, &mut quiet()).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
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
