//! Daemons that stand still, as in a debugger or where a phone freezes a program in the background.

use std::time::{Duration, Instant};

use aios_tests::device::{Device, agree, eventually, pair};

use super::{met, settled};

/// Longer than any command may take beside a daemon that does not answer.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_daemon_that_stands_still_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n\ntwo\n")]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    let (here, there) = (laptop.up(), phone.up());
    met(&laptop, &phone);
    settled(&[&laptop, &phone]);
    there.signal("STOP");
    laptop.write(&[("a.md", b"one on the laptop\n\ntwo\n")]);
    phone.write(&[("a.md", b"one\n\ntwo on the phone\n"), ("b.md", b"b\n")]);
    // Whoever is asked beside it answers, and says what is the matter.
    let began = Instant::now();
    let status = phone.run(&["status", "--json"]);
    let held = String::from_utf8_lossy(&status.stderr).into_owned();
    // It may have been stopped with the vault's lock in its hands: then it is named.
    assert!(status.status.success() || held.contains(&format!("process {}", there.id())), "{status:?}");
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    let began = Instant::now();
    let said = phone.fails(&["sync", "--timeout", "1s"], 1);
    assert!(said.contains("did not answer") && said.contains("hint: "), "{said}");
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    // Nor is it taken for one that has all.
    let began = Instant::now();
    laptop.fails(&["sync", "--timeout", "1s"], 3);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(laptop.json(&["status"])["synced"], false);
    there.signal("CONT");
    for device in [&laptop, &phone] {
        eventually("both have both", || {
            device.read("a.md") == "one on the laptop\n\ntwo on the phone\n" && device.read("b.md") == "b\n"
        });
    }
    settled(&[&laptop, &phone]);
    eventually("and know it", || laptop.json(&["status"])["synced"] == true);
    for daemon in [here, there] {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &phone]);
}

#[test]
fn one_that_stops_in_the_middle_of_an_exchange_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    let (here, there) = (laptop.up(), phone.up());
    met(&laptop, &phone);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let blob: Vec<u8> = (0..4 << 20).flat_map(|_| next()).collect();
    laptop.write(&[("photo.bin", &blob)]);
    let partial = phone.root.join(".aios/partial");
    eventually("a part of it has come", || {
        let files = std::fs::read_dir(&partial).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|found| found.len() > 0)
            || phone.root.join("photo.bin").exists()
    });
    here.signal("STOP");
    phone.write(&[("b.md", b"written meanwhile\n")]);
    let online = || phone.json(&["status"])["peers"][0]["online"] == true;
    eventually("nobody is taken for connected who does not answer", || !online());
    here.signal("CONT");
    eventually("the rest has come", || {
        std::fs::read(phone.root.join("photo.bin")).is_ok_and(|found| found == blob)
            && laptop.read("b.md") == "written meanwhile\n"
    });
    settled(&[&laptop, &phone]);
    for daemon in [here, there] {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &phone]);
}
