//! Clocks that jump: a daemon's, and a device's between two commands, by days and by a year, forward and back.

use std::path::{Path, PathBuf};

use aios_tests::device::{Device, agree, eventually, pair};

use super::{met, native, settled, skip};

const DAY: i64 = 24 * 60 * 60;

/// The wall clock of a device.
pub(super) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// `Err` says why there is none.
    pub(super) fn new(dir: &Path) -> Result<Clock, String> {
        let library = native::build(dir, "clock.so", include_str!("clock.c"), &["-shared", "-fPIC"])?;
        let clock = Clock { library, offset: dir.join("offset") };
        clock.jump(0);
        Ok(clock)
    }

    /// It is now so many seconds ahead.
    pub(super) fn jump(&self, seconds: i64) {
        let beside = self.offset.with_extension("new");
        std::fs::write(&beside, seconds.to_string()).unwrap();
        std::fs::rename(&beside, &self.offset).unwrap();
    }

    /// Goes by it from now on.
    pub(super) fn of(&self, device: Device) -> Device {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let device = device.set("LD_PRELOAD", Some(&text(&self.library)));
        device.set("WALL_CLOCK_OFFSET", Some(&text(&self.offset)))
    }
}

/// A laptop, and a phone with a clock of its own.
fn two(dir: &Path) -> Result<(Device, Device, Clock), String> {
    let clock = Clock::new(dir)?;
    let laptop = Device::first(dir, &[("a.md", b"one\n\ntwo\n")]);
    let phone = clock.of(Device::new(dir, "phone"));
    pair(&laptop, &phone, "laptop", "phone");
    Ok((laptop, phone, clock))
}

#[test]
fn the_clock_of_a_running_daemon_jumps_ahead_and_is_set_right() {
    for far in [2 * DAY, 365 * DAY] {
        let dir = tempfile::tempdir().unwrap();
        let (laptop, phone, clock) = match two(dir.path()) {
            Ok(two) => two,
            Err(why) => return skip(&why),
        };
        let said = dir.path().join("said");
        let daemons = [laptop.up(), phone.up_saying(&said)];
        met(&laptop, &phone);
        clock.jump(far);
        phone.write(&[("a.md", b"one\n\ntwo on the phone\n")]);
        laptop.write(&[("b.md", b"on the laptop\n")]);
        // What the phone says of the time to come is shown and does not count; what others say goes on.
        eventually("it is held", || laptop.json(&["status"])["held"] != 0);
        let status = laptop.json(&["status"]);
        assert!(status["problems"].to_string().contains("more than a day ahead"), "{status}");
        assert_eq!((&status["synced"], laptop.read("a.md")), (&false.into(), "one\n\ntwo\n".into()));
        eventually("the phone hears", || phone.read("b.md") == "on the laptop\n");
        // It is set right, and nobody does anything else.
        clock.jump(0);
        eventually("what was held counts", || laptop.read("a.md") == "one\n\ntwo on the phone\n");
        let told = || std::fs::read_to_string(&said).unwrap();
        eventually("it says what it did", || told().contains("this device's clock was"));
        laptop.write(&[("a.md", b"one on the laptop\n\ntwo on the phone\n")]);
        eventually("it goes on", || phone.read("a.md") == "one on the laptop\n\ntwo on the phone\n");
        settled(&[&laptop, &phone]);
        assert_eq!(laptop.json(&["status"])["held"], 0);
        for daemon in daemons {
            assert_eq!(daemon.terminate(), 0);
        }
        agree(&[&laptop, &phone]);
    }
}

#[test]
fn the_clock_of_a_running_daemon_jumps_back_and_is_set_right() {
    for far in [2 * DAY, 365 * DAY] {
        let dir = tempfile::tempdir().unwrap();
        let (laptop, phone, clock) = match two(dir.path()) {
            Ok(two) => two,
            Err(why) => return skip(&why),
        };
        let daemons = [laptop.up(), phone.up()];
        met(&laptop, &phone);
        clock.jump(-far);
        phone.write(&[("a.md", b"one\n\ntwo on the phone\n")]);
        eventually("what it saves counts", || laptop.read("a.md") == "one\n\ntwo on the phone\n");
        phone.write(&[("a.md", b"one\n\ntwo on the phone, again\n")]);
        eventually("and again", || laptop.read("a.md") == "one\n\ntwo on the phone, again\n");
        laptop.write(&[("b.md", b"on the laptop\n")]);
        eventually("it is held there", || phone.json(&["status"])["held"] != 0);
        clock.jump(0);
        eventually("and counts when the clock is set right", || phone.read("b.md") == "on the laptop\n");
        settled(&[&laptop, &phone]);
        for daemon in daemons {
            assert_eq!(daemon.terminate(), 0);
        }
        agree(&[&laptop, &phone]);
    }
}

#[test]
fn the_clock_of_a_device_jumps_between_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, clock) = match two(dir.path()) {
        Ok(two) => two,
        Err(why) => return skip(&why),
    };
    let serving = laptop.up();
    let mut text = String::from("begin\n");
    for far in [365 * DAY, -365 * DAY, 2 * DAY, -2 * DAY] {
        clock.jump(far);
        text += &format!("at {far}\n");
        phone.write(&[("c.md", text.as_bytes())]);
        phone.json(&["commit"]);
        // The others are not in time with it.
        phone.run(&["sync", "--timeout", "10s"]);
        clock.jump(0);
        text += "set right\n";
        phone.write(&[("c.md", text.as_bytes())]);
        phone.run(&["sync", "--timeout", "10s"]);
        eventually("all is everywhere", || laptop.read("c.md") == text);
        assert_eq!(phone.json(&["sync"])["synced"], true);
    }
    assert_eq!(serving.terminate(), 0);
    agree(&[&laptop, &phone]);
}
