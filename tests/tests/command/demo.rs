//! `aios demo` ends well, and what it leaves behind is what it says.

use aios_tests::device::{Device, agree};
use aios_tests::page::DEVICES;

#[test]
fn the_demo_holds() {
    let dir = tempfile::tempdir().unwrap();
    let devices = DEVICES.map(|name| Device::new(dir.path(), name));
    let report = devices[0].json(&["demo", &dir.path().to_string_lossy()]);
    assert_eq!(report["wrong"], serde_json::json!([]));
    assert!(report["live"]["merged_ms"].is_u64(), "{report}");
    let sent = ["ann@quay.example: Invoice 2026-11-ann-quay-example", "ann@quay.example: Proposal: Heat map"];
    assert_eq!(report["work"]["sent"], serde_json::json!(sent));
    agree(&devices.each_ref());
}
