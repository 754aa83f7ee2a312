//! `docs/merging.md` holds: every case of it, between processes of the program, on two devices and on three.

use std::collections::{BTreeMap, BTreeSet};

use aios_tests::device::{Device, agree, eventually, pair};
use aios_tests::page::{self, Case, DEVICES};

/// Plays all cases at once, each in a folder of its own, and panics with everything that differs from the page.
fn check(cases: &[Case], count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let devices: Vec<Device> = DEVICES[..count].iter().map(|name| Device::new(dir.path(), name)).collect();
    let rounds = cases.iter().map(|case| case.rounds.len()).max().unwrap_or(0);
    // What differs, and where.
    let mut wrong: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for round in 0..rounds {
        for (number, device) in devices.iter().enumerate() {
            for case in cases {
                let Some(round) = case.rounds.get(round) else { continue };
                if let Err(e) = round.run(number, &device.root.join(&case.folder)) {
                    wrong.entry(e).or_default().push(DEVICES[number]);
                }
            }
        }
        match round {
            0 => begin(&devices),
            _ => {
                devices.iter().for_each(|device| _ = device.json(&["commit"]));
                sync(&devices);
            }
        }
        for (device, name) in devices.iter().zip(DEVICES) {
            for text in differences(cases, round, device) {
                wrong.entry(format!("round {round}, {text}")).or_default().push(name);
            }
        }
    }
    let wrong: Vec<String> =
        wrong.iter().map(|(text, names)| format!("{text}\n  on {}", names.join(", "))).collect();
    assert!(wrong.is_empty(), "the page and what happens differ\n{}", wrong.join("\n"));
    agree(&devices.iter().collect::<Vec<_>>());
}

/// Makes the first device's folder a vault, which the others join.
fn begin(devices: &[Device]) {
    let [first, others @ ..] = devices else { return };
    first.json(&["init", &first.root.to_string_lossy(), "--device", DEVICES[0]]);
    for (other, name) in others.iter().zip(&DEVICES[1..]) {
        pair(first, other, "laptop", name);
    }
}

/// Has the others sync with the first, which listens, until all are equal.
fn sync(devices: &[Device]) {
    let [first, others @ ..] = devices else { return };
    let daemon = first.up();
    eventually("all devices are equal", || {
        for other in others {
            other.json(&["sync", "--peer", DEVICES[0]]);
        }
        let stand = first.stand();
        others.iter().all(|other| other.stand() == stand)
    });
    assert_eq!(daemon.terminate(), 0);
}

/// What differs from the page after a round.
fn differences(cases: &[Case], number: usize, device: &Device) -> Vec<String> {
    let mut conflicts = conflicts(device);
    let mut out = Vec::new();
    for case in cases {
        let listed = conflicts.remove(&case.folder).unwrap_or_default();
        let Some(round) = case.rounds.get(number).filter(|round| round.is_checked()) else { continue };
        let found = page::files(&device.root.join(&case.folder)).unwrap();
        let differences = round.differences(&found, &listed);
        if !differences.is_empty() {
            out.push(format!("{}:\n  {}", case.title, differences.join("\n  ")));
        }
    }
    let beside = |name: &String| ![".git", ".aios"].contains(&name.as_str()) && !is_case(cases, name);
    out.extend(names(device).into_iter().filter(beside).map(|name| format!("beside the cases: has {name}")));
    out.extend(conflicts.into_iter().map(|found| format!("beside the cases: has conflicts {found:?}")));
    out
}

fn is_case(cases: &[Case], folder: &str) -> bool {
    cases.iter().any(|case| case.folder == folder)
}

/// What lies at the top of a device's vault.
fn names(device: &Device) -> Vec<String> {
    let entries = std::fs::read_dir(&device.root).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The conflicts a device lists, by top folder, as the page writes them.
fn conflicts(device: &Device) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for conflict in device.json(&["conflicts"]).as_array().unwrap() {
        let text = |name: &str| conflict[name].as_str().unwrap_or_default().to_owned();
        let path = text("path");
        let (folder, path) = path.split_once('/').unwrap_or(("", &path));
        let key = conflict["key"].as_str().map_or_else(String::new, |key| format!(" {key}"));
        let line = format!("{} {path}{key}", text("kind"));
        let listed = out.entry(folder.to_owned()).or_default();
        if !listed.insert(line.clone()) {
            listed.insert(format!("{line}, once more"));
        }
    }
    out
}

/// The cases of the page.
fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/merging.md");
    page::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn two_devices() {
    let mut cases = cases();
    cases.retain(|case| case.rounds.iter().flat_map(|round| &round.steps).all(|(device, _)| *device < 2));
    assert!(cases.len() > 25, "{}", cases.len());
    check(&cases, 2);
}

#[test]
fn three_devices() {
    let cases = cases();
    let titles: BTreeSet<&String> = cases.iter().map(|case| &case.folder).collect();
    assert!(cases.len() > 30 && titles.len() == cases.len(), "{} of {}", titles.len(), cases.len());
    check(&cases, 3);
}
