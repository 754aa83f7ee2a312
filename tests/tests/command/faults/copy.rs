//! A vault's folder that is copied, or replaced by an old copy, while daemons live.

use std::fs;

use aios_tests::device::{Device, agree, eventually, pair};

use super::{met, settled};

fn name(device: &Device) -> String {
    device.json(&["status"])["device"]["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_copy_of_a_folder_that_lives_is_another_device_from_the_first_command() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n\ntwo\n\nthree\n")]);
    let tablet = Device::new(dir.path(), "tablet");
    pair(&laptop, &tablet, "phone", "tablet");
    let daemons = [laptop.up(), tablet.up()];
    met(&laptop, &tablet);
    settled(&[&laptop, &tablet]);
    // Nothing differs yet but the place.
    let copy = laptop.copy(dir.path(), "copy");
    copy.write(&[("a.md", b"one\n\ntwo in the copy\n\nthree\n")]);
    laptop.write(&[("a.md", b"one in the first\n\ntwo\n\nthree\n")]);
    let said = dir.path().join("said");
    let third = copy.up_saying(&said);
    let told = fs::read_to_string(&said).unwrap();
    assert!(told.contains("goes on as device laptop-2"), "{told}");
    tablet.write(&[("a.md", b"one\n\ntwo\n\nthree on the tablet\n")]);
    let merged = "one in the first\n\ntwo in the copy\n\nthree on the tablet\n";
    for device in [&laptop, &tablet, &copy] {
        eventually("all three have all", || device.read("a.md") == merged);
    }
    settled(&[&laptop, &tablet, &copy]);
    assert_eq!((name(&laptop), name(&copy)), ("laptop".into(), "laptop-2".into()));
    for daemon in daemons.into_iter().chain([third]) {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &tablet, &copy]);
}

#[test]
fn a_command_in_a_copy_is_not_answered_by_the_first_ones_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    let tablet = Device::new(dir.path(), "tablet");
    pair(&laptop, &tablet, "phone", "tablet");
    let daemons = [laptop.up(), tablet.up()];
    met(&laptop, &tablet);
    let copy = laptop.copy(dir.path(), "copy");
    copy.write(&[("b.md", b"in the copy\n")]);
    let report = copy.json(&["sync", "--peer", "tablet"]);
    assert_eq!(report["peers"][0]["acknowledged"], true, "{report}");
    eventually("it is on its way from there", || {
        tablet.read("b.md") == "in the copy\n" && laptop.read("b.md") == "in the copy\n"
    });
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    assert_ne!(name(&copy), name(&laptop));
    let moved = dir.path().join("moved");
    fs::rename(&copy.root, &moved).unwrap();
    let moved = copy.at(moved);
    // A folder that was moved stays who it is.
    assert_eq!(name(&moved), "laptop-2");
    moved.write(&[("b.md", b"in the copy, moved\n")]);
    moved.json(&["commit"]);
    assert_eq!(name(&moved), "laptop-2");
}

#[test]
fn an_old_copy_put_in_its_place_goes_on_as_another_device() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n\ntwo\n")]);
    let tablet = Device::new(dir.path(), "tablet");
    pair(&laptop, &tablet, "phone", "tablet");
    let backup = laptop.copy(dir.path(), "backup");
    let (here, there) = (laptop.up(), tablet.up());
    met(&laptop, &tablet);
    laptop.write(&[("a.md", b"one after the backup\n\ntwo\n")]);
    eventually("the tablet has it", || tablet.read("a.md") == "one after the backup\n\ntwo\n");
    // The disk dies, the backup comes in its place, and somebody writes in it at once.
    drop(here);
    fs::remove_dir_all(&laptop.root).unwrap();
    fs::rename(&backup.root, &laptop.root).unwrap();
    laptop.write(&[("a.md", b"one\n\ntwo in the backup\n")]);
    tablet.write(&[("b.md", b"meanwhile\n")]);
    let said = dir.path().join("said");
    let here = laptop.up_saying(&said);
    let told = fs::read_to_string(&said).unwrap();
    assert!(told.contains("goes on as device laptop-2"), "{told}");
    for device in [&laptop, &tablet] {
        eventually("both have all", || {
            device.read("a.md") == "one after the backup\n\ntwo in the backup\n"
                && device.read("b.md") == "meanwhile\n"
        });
    }
    settled(&[&laptop, &tablet]);
    assert_eq!(name(&laptop), "laptop-2");
    for daemon in [here, there] {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &tablet]);
}
