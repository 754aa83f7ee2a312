//! `aios gc` beside a daemon, on a device that has everything and on one that has not.

use aios_tests::device::{Device, agree, eventually};
use serde_json::json;

#[test]
fn gc_changes_nothing_that_counts_beside_a_daemon_and_on_a_phone() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"# Hello\n"), ("logo.png", &[0, 159, 146, 150])]);
    let phone = Device::new(dir.path(), "phone");
    let mut pairing = laptop.start(&["pair", "--json", "--role", "phone"]);
    let root = phone.root.to_string_lossy().into_owned();
    phone.json(&["join", &pairing.ticket(), &root, "--device", "phone", "--profile", "phone"]);
    assert_eq!(pairing.end().0, 0);
    let daemons = [laptop.up(), phone.up()];
    for n in 0..20 {
        let text = format!("# Hello\n\n{n} saves\n");
        laptop.write(&[("a.md", text.as_bytes())]);
        eventually("the phone has it", || phone.read("a.md") == text);
        for device in [&laptop, &phone].into_iter().filter(|_| n % 7 == 3) {
            let tried = device.json(&["gc", "--dry-run"]);
            assert_eq!((&tried["dry_run"], &tried["freed"]), (&json!(true), &json!(0)));
            let done = device.json(&["gc"]);
            assert_eq!(done["parts"].as_array().unwrap().len(), 4, "{done}");
        }
    }
    // What git promises of the phone outlasts git's own cleaning and ours, in any order.
    phone.git(&["gc", "-q", "--prune=now"]);
    phone.json(&["gc", "--aside"]);
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0);
    }
    assert_eq!(phone.json(&["status"])["on_demand"][0]["path"], json!("logo.png"));
    agree(&[&laptop, &phone]);
    laptop.json(&["rebuild"]);
    phone.json(&["rebuild"]);
    agree(&[&laptop, &phone]);
}
