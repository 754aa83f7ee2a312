//! A network that loses, delays, falls apart and changes, between two daemons that only have that one.

use std::path::Path;
use std::time::{Duration, Instant};

use aios_tests::device::{Device, agree, eventually, pair};

use super::wire::Wire;
use super::{met, settled, skip};

/// A laptop and a phone at the ends of a wire.
fn two(dir: &Path, name: &str) -> Result<(Wire, Device, Device), String> {
    let wire = Wire::new(dir, name)?;
    let [one, two] = wire.ends.clone();
    let laptop = Device::new(dir, "laptop").within(&one).set("AIOS_NET", Some("lan"));
    let phone = Device::new(dir, "phone").within(&two).set("AIOS_NET", Some("lan"));
    laptop.init(&[("a.md", b"one\n\ntwo\n")]);
    pair(&laptop, &phone, "laptop", "phone");
    Ok((wire, laptop, phone))
}

fn both_have(laptop: &Device, phone: &Device, text: &str) {
    for device in [laptop, phone] {
        eventually("both have it", || device.read("a.md") == text);
    }
}

#[test]
fn saves_get_through_a_bad_network_and_a_cut_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wire, laptop, phone) = match two(dir.path(), "bad") {
        Ok(two) => two,
        Err(why) => return skip(&why),
    };
    let daemons = [laptop.up(), phone.up()];
    met(&laptop, &phone);
    wire.weather(15, 100);
    for n in 1..=8 {
        // Each writes a line of its own, over what it has.
        let change = |device: &Device, line: usize, who: &str| {
            let text = device.read("a.md");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines[line] = format!("{who} {n}");
            device.write(&[("a.md", format!("{}\n", lines.join("\n")).as_bytes())]);
        };
        change(&laptop, 0, "laptop");
        change(&phone, 2, "phone");
        phone.write(&[(&format!("new {n}.md"), b"new\n")]);
        std::thread::sleep(Duration::from_millis(60));
    }
    both_have(&laptop, &phone, "laptop 8\n\nphone 8\n");
    eventually("every file has come", || (1..=8).all(|n| laptop.read(&format!("new {n}.md")) == "new\n"));

    wire.weather(100, 0);
    laptop.write(&[("a.md", b"laptop, apart\n\nphone 8\n")]);
    phone.write(&[("a.md", b"laptop 8\n\nphone, apart\n")]);
    let began = Instant::now();
    laptop.fails(&["sync", "--timeout", "2s"], 3);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let status = laptop.json(&["status"]);
    assert_eq!(
        (&status["synced"], laptop.read("a.md")),
        (&false.into(), "laptop, apart\n\nphone 8\n".into())
    );
    eventually("it is seen", || laptop.json(&["status"])["peers"][0]["online"] == false);
    wire.weather(10, 20);
    both_have(&laptop, &phone, "laptop, apart\n\nphone, apart\n");
    wire.weather(0, 0);
    settled(&[&laptop, &phone]);
    eventually("both know", || laptop.json(&["status"])["synced"] == true);
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &phone]);
}

#[test]
fn devices_whose_addresses_change_find_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wire, laptop, phone) = match two(dir.path(), "moves") {
        Ok(two) => two,
        Err(why) => return skip(&why),
    };
    let daemons = [laptop.up(), phone.up()];
    met(&laptop, &phone);
    // One of the two, while they are connected.
    wire.address(1, 3);
    laptop.write(&[("a.md", b"one on the laptop\n\ntwo\n")]);
    phone.write(&[("b.md", b"b\n")]);
    both_have(&laptop, &phone, "one on the laptop\n\ntwo\n");
    eventually("the other way too", || laptop.read("b.md") == "b\n");
    // Both, while nothing goes through: a lid that is closed here and opened elsewhere.
    wire.weather(100, 0);
    wire.address(0, 4);
    wire.address(1, 5);
    phone.write(&[("a.md", b"one on the laptop\n\ntwo on the phone\n")]);
    laptop.fails(&["sync", "--timeout", "1s"], 3);
    wire.weather(0, 0);
    both_have(&laptop, &phone, "one on the laptop\n\ntwo on the phone\n");
    settled(&[&laptop, &phone]);
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &phone]);
}
