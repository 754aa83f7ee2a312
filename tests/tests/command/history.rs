//! What the operator decides and asks about the past, between processes of the program: conflicts of every kind, undo of a
//! record and of a run, the trail as it grows, who wrote a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aios_core::key::SecretKey;
use aios_core::record::{Body, Header, Record};
use aios_tests::device::{Device, agree, eventually, pair};
use serde_json::{Value, json};

/// Has the second device sync with the first, which listens, until both are equal.
fn sync(first: &Device, other: &Device) {
    let daemon = first.up();
    eventually("both devices are equal", || {
        other.json(&["sync"]);
        first.stand() == other.stand()
    });
    assert_eq!(daemon.terminate(), 0);
}

fn rename(device: &Device, from: &str, to: &str) {
    fs::rename(device.root.join(from), device.root.join(to)).unwrap();
}

fn remove(device: &Device, path: &str) {
    fs::remove_file(device.root.join(path)).unwrap();
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All files of a device below `folder`.
fn files(device: &Device, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(device.root.join(folder)).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// What the listing calls the kinds of conflicts, with a file that has one of each. The kind `front` takes changes that no save makes.
const KINDS: [(&str, &str); 6] = [
    ("value", "bolt.md"),
    ("content", "logo.bin"),
    ("path", "city.md"),
    ("name", "report"),
    ("delete", "tango.md"),
    ("stale", "garden.md"),
];

/// The files that the conflicts start from.
const BEFORE: [(&str, &[u8]); 7] = [
    ("bolt.md", b"---\nname: Bolt\nstatus: open\n---\nBolt asked for a quote.\n"),
    ("logo.bin", b"picture\0one\n"),
    ("quebec.md", b"Quebec is a city and a province.\n"),
    ("romeo.md", b"Romeo wrote a long letter.\n"),
    ("sierra.md", b"Sierra has high mountains.\n"),
    ("tango.md", b"Tango is a dance for two.\n"),
    ("garden.md", b"Hazel: nuts in autumn.\nIvy: green all year.\nJasmine: smells at night.\n"),
];

/// Two devices with a conflict of every kind in each of the folders.
fn in_conflict(dir: &Path, folders: &[&str]) -> (Device, Device) {
    let laptop = Device::new(dir, "laptop");
    for folder in folders {
        for (name, bytes) in BEFORE {
            laptop.write(&[(&format!("{folder}/{name}"), bytes)]);
        }
    }
    laptop.json(&["init", &laptop.root.to_string_lossy(), "--device", "laptop"]);
    let phone = Device::new(dir, "phone");
    pair(&laptop, &phone, "laptop", "phone");
    for folder in folders {
        let at = |name: &str| format!("{folder}/{name}");
        laptop.write(&[
            (&at("bolt.md"), b"---\nname: Bolt\nstatus: lost\n---\nBolt asked for a quote.\n"),
            (&at("logo.bin"), b"picture\0two\n"),
        ]);
        rename(&laptop, &at("quebec.md"), &at("canada.md"));
        rename(&laptop, &at("romeo.md"), &at("report.md"));
        remove(&laptop, &at("tango.md"));
        phone.write(&[
            (&at("bolt.md"), b"---\nname: Bolt\nstatus: won\n---\nBolt asked for a quote.\n"),
            (&at("logo.bin"), b"picture\0three\n"),
            (&at("tango.md"), b"Tango is a dance for two.\nAnd a letter of the alphabet.\n"),
            (
                &at("garden.md"),
                b"Hazel: nuts in September.\nIvy: green all year.\nJasmine: smells at night.\n",
            ),
        ]);
        rename(&phone, &at("quebec.md"), &at("city.md"));
        rename(&phone, &at("sierra.md"), &at("report.md"));
    }
    laptop.json(&["commit"]);
    phone.json(&["commit"]);
    sync(&laptop, &phone);
    // An editor had this open since before the sync.
    for folder in folders {
        let garden = b"Hazel: nuts in autumn.\nIvy: green all year.\nJasmine: smells in the evening.\n";
        laptop.write(&[(&format!("{folder}/garden.md"), garden)]);
    }
    laptop.json(&["commit"]);
    sync(&laptop, &phone);
    (laptop, phone)
}

/// The conflicts in a folder, by kind.
fn conflicts(device: &Device, folder: &str) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for conflict in list(&device.json(&["conflicts"])) {
        if text(conflict, "path").starts_with(&format!("{folder}/")) {
            let twice = out.insert(text(conflict, "kind").to_owned(), conflict.clone());
            assert_eq!(twice, None, "beside {conflict}");
        }
    }
    out
}

#[test]
fn a_conflict_of_every_kind_is_listed_and_decided() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone) = in_conflict(dir.path(), &["kept", "other", "reversed"]);
    for folder in ["kept", "other", "reversed"] {
        let listed = conflicts(&laptop, folder);
        assert_eq!(listed, conflicts(&phone, folder), "one list for all");
        let kinds: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
        assert_eq!(kinds, KINDS.iter().map(|(kind, _)| *kind).collect(), "{listed:#?}");
        for (kind, path) in KINDS {
            let conflict = &listed[kind];
            assert!(text(conflict, "path").starts_with(&format!("{folder}/{path}")), "{conflict}");
            assert_eq!(conflict["kept"], 0, "{conflict}");
            assert_eq!(list(&conflict["values"]).len(), 2, "{conflict}");
            assert_eq!(conflict["key"], if kind == "value" { json!("status") } else { Value::Null });
            assert!(text(conflict, "reverse").starts_with("aios "), "{conflict}");
        }
    }
    let (merged, all) = (files(&laptop, "kept"), list(&laptop.json(&["conflicts"])).len());

    // What stands stays: only the list gets shorter.
    for conflict in conflicts(&laptop, "kept").values() {
        let done = laptop.json(&["conflicts", "resolve", text(conflict, "id"), "--keep", "0"]);
        assert_eq!((&done["id"], &done["path"]), (&conflict["id"], &conflict["path"]));
        assert!(done["record"].is_string() && done["head"].is_string(), "{done}");
    }
    assert_eq!(files(&laptop, "kept"), merged);
    assert_eq!(list(&laptop.json(&["conflicts"])).len(), all - KINDS.len());

    // The other value stands.
    for conflict in conflicts(&phone, "other").values() {
        phone.json(&["conflicts", "resolve", text(conflict, "id"), "--keep", "1"]);
    }
    chosen(&phone, "other");

    // The command that is listed for it does the same.
    for conflict in conflicts(&phone, "reversed").values() {
        let command: Vec<&str> = text(conflict, "reverse").split(' ').skip(1).collect();
        phone.json(&command);
    }
    chosen(&phone, "reversed");

    sync(&laptop, &phone);
    for device in [&laptop, &phone] {
        assert_eq!(device.json(&["conflicts"]), json!([]));
        assert_eq!(files(device, "kept"), merged);
        chosen(device, "other");
        chosen(device, "reversed");
    }
    agree(&[&laptop, &phone]);
}

/// The files of a folder once each of its conflicts was decided the other way.
fn chosen(device: &Device, folder: &str) {
    let mut found = files(device, folder);
    let mut take = |name: &str| {
        let bytes = found.remove(name);
        String::from_utf8(bytes.unwrap_or_else(|| panic!("no {name} in {folder}: {found:?}"))).unwrap()
    };
    assert_eq!(take("bolt.md"), "---\nname: Bolt\nstatus: lost\n---\nBolt asked for a quote.\n");
    assert_eq!(take("logo.bin"), "picture\0two\n");
    assert_eq!(take("canada.md"), BEFORE[2].1.iter().map(|byte| char::from(*byte)).collect::<String>());
    // Which of the two had yielded follows from the files; now the other has.
    let suffixed = found.keys().find(|name| name.starts_with("report-")).cloned();
    let mut take = |name: &str| String::from_utf8(found.remove(name).unwrap_or_default()).unwrap();
    let reports = BTreeSet::from([take("report.md"), take(&suffixed.expect("a report with a suffix"))]);
    let letters = [BEFORE[3].1, BEFORE[4].1].map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    assert_eq!(reports, BTreeSet::from(letters));
    assert_eq!(
        take("garden.md"),
        "Hazel: nuts in September.\nIvy: green all year.\nJasmine: smells at night.\n",
        "the late save is undone, what came before it stays"
    );
    assert!(found.is_empty(), "what was deleted is gone: {:?}", found.keys());
}

#[test]
fn a_choice_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, _phone) = in_conflict(dir.path(), &["f"]);
    let listed = conflicts(&laptop, "f");
    let stand = laptop.stand();
    for conflict in listed.values() {
        let id = text(conflict, "id");
        assert!(laptop.fails(&["conflicts", "resolve", id, "--keep", "2"], 2).contains("values 0 to 1"));
    }
    laptop.fails(&["conflicts", "resolve", "0000", "--keep", "0"], 2);
    assert_eq!(laptop.stand(), stand);
    // The start of an id will do; what is settled is settled once.
    let id = &text(&listed["value"], "id")[..8];
    laptop.json(&["conflicts", "resolve", id, "--keep", "1"]);
    laptop.fails(&["conflicts", "resolve", id, "--keep", "0"], 2);
}

#[test]
fn the_trail_of_a_file_grows_over_its_renames() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("draft.md", b"one\n"), ("aside.md", b"aside\n")]);
    let mut follow = laptop.start(&["log", "draft.md", "--follow", "--json"]);
    let mut next = || serde_json::from_str::<Value>(&follow.line()).expect("a line of JSON");
    assert_eq!(next()["message"], "Begin the vault");

    laptop.write(&[("draft.md", b"one\ntwo\n")]);
    let edited = laptop.json(&["commit", "-m", "grow"]);
    assert_eq!(next()["record"], edited["record"]);

    fs::create_dir(laptop.root.join("sent")).unwrap();
    rename(&laptop, "draft.md", "sent/letter.md");
    let renamed = laptop.json(&["commit"]);
    let entry = next();
    assert_eq!(entry["record"], renamed["record"]);
    assert_eq!(entry["changed"], json!([{"path": "sent/letter.md", "change": "renamed from draft.md"}]));

    // What is done to another file is not in the trail of this one, under its old name or any.
    laptop.write(&[("aside.md", b"more\n")]);
    laptop.json(&["commit"]);
    laptop.write(&[("sent/letter.md", b"one\ntwo\nthree\n")]);
    let last = laptop.json(&["commit"]);
    assert_eq!(next()["record"], last["record"]);
    rename(&laptop, "sent", "done");
    let folder = laptop.json(&["commit"]);
    assert_eq!(next()["record"], folder["record"], "a folder takes its files along");

    let records = |args: &[&str]| -> Vec<Value> {
        list(&laptop.json(args)).iter().map(|entry| entry["record"].clone()).collect()
    };
    let trail = records(&["log", "done/letter.md"]);
    assert_eq!(trail.len(), 5);
    assert_eq!(trail[..4], [&folder, &last, &renamed, &edited].map(|round| round["record"].clone()));
    assert_eq!(records(&["log", "draft.md"]), trail, "by the name it had once");
    assert_eq!(records(&["log", "done"]), trail, "by the folder it is in");
    assert_eq!(records(&["log", "done/letter.md", "-n", "2"]), trail[..2]);
    assert_eq!(records(&["log"]).len(), 6);
    laptop.fails(&["log", "nothing.md"], 2);
}

#[test]
fn the_trail_is_filtered_by_time_and_actor() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    laptop.write(&[("a.md", b"one\ntwo\n")]);
    laptop.json(&["commit", "-m", "mine"]);
    let entry = laptop.json(&["log", "-n", "1"])[0].clone();
    assert_eq!((text(&entry, "message"), text(&entry, "actor")), ("mine", "operator"));
    assert_eq!(laptop.json(&["log", "--since", text(&entry, "time")]), json!([entry]));
    assert_eq!(laptop.json(&["log", "--since", "2999-01-01"]), json!([]));
    assert_eq!(list(&laptop.json(&["log", "--since", "1h"])).len(), 2);
    laptop.fails(&["log", "--since", "soon"], 2);

    // A commit made with git is its author's.
    laptop.write(&[("a.md", b"one\ntwo\nthree\n")]);
    let author = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"];
    laptop.git(&[&author[..], &["commit", "-qam", "by git"]].concat());
    laptop.json(&["commit"]);
    let by_git = laptop.json(&["log", "--actor", "git:Ann"]);
    assert_eq!(list(&by_git).len(), 1, "{by_git}");
    assert_eq!(text(&by_git[0], "message").trim(), "by git");
    assert_eq!(list(&laptop.json(&["log", "--actor", "operator"])).len(), 2);
    assert_eq!(laptop.json(&["log", "--actor", "agent:none"]), json!([]));
}

#[test]
fn a_record_is_shown_by_every_name_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    laptop.write(&[("a.md", b"two\n")]);
    let round = laptop.json(&["commit", "-m", "second"]);
    let shown = laptop.json(&["show", "HEAD"]);
    assert_eq!(shown["record"], round["record"]);
    assert_eq!(shown["commit"], round["head"]);
    assert_eq!(shown["message"], "second");
    assert_eq!(shown["changed"], json!([{"path": "a.md", "change": "modified"}]));
    let diff = text(&shown["diff"][0], "patch");
    assert!(diff.contains("-one\n+two\n"), "{diff}");
    let (record, commit) = (text(&shown, "record"), text(&shown, "commit"));
    let numbered = format!("laptop:{}", shown["seq"]);
    for name in [record, &record[..10], commit, &commit[..10], &numbered] {
        assert_eq!(laptop.json(&["show", name]), shown, "{name}");
    }
    assert_eq!(laptop.json(&["show", "HEAD~1"])["message"], "Begin the vault");
    for name in ["HEAD~9", "laptop:99", "nobody:1", "ffffffffffff", "xyz"] {
        laptop.fails(&["show", name], 2);
    }
}

#[test]
fn a_line_is_its_writers_through_merges_and_renames() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n\ntwo\n\nthree\n")]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "laptop", "phone");
    laptop.write(&[("a.md", b"ONE\n\ntwo\n\nthree\n")]);
    let here = laptop.json(&["commit"]);
    rename(&phone, "a.md", "b.md");
    phone.write(&[("b.md", b"one\n\ntwo\n\nTHREE\n")]);
    let there = phone.json(&["commit"]);
    sync(&laptop, &phone);
    let begun = laptop.json(&["log"]);
    let begun = list(&begun).iter().find(|entry| entry["message"] == "Begin the vault").unwrap();

    let lines = laptop.json(&["blame", "b.md"]);
    assert_eq!(lines, phone.json(&["blame", "b.md"]), "the same on every device");
    let found: Vec<_> =
        list(&lines).iter().map(|line| (text(line, "text"), &line["record"], text(line, "device"))).collect();
    let [mine, old, theirs] = [&here["record"], &begun["record"], &there["record"]];
    assert_eq!(found[0], ("ONE", mine, "laptop"));
    assert_eq!(found[2], ("two", old, "laptop"));
    assert_eq!(found[4], ("THREE", theirs, "phone"));
    assert_eq!(lines[4]["line"], 5);
    laptop.fails(&["blame", "a.md"], 2);
}

/// Hex digits of bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of the only device that keeps its keys in `folder`.
fn key_in(folder: &Path) -> SecretKey {
    let device = fs::read_dir(folder.join("devices")).unwrap().next().unwrap().unwrap();
    let digits = fs::read_to_string(device.path().join("device.key")).unwrap();
    let digits = digits.trim();
    let byte = |n: usize| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap();
    SecretKey::from_bytes(&std::array::from_fn(byte))
}

/// Makes the last `count` records of an exported log those of a run of an agent, as the device with this key would have
/// written them.
fn as_run(log: &Path, key: &SecretKey, count: usize, run: &str) {
    let lines: Vec<Value> =
        fs::read_to_string(log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (kept, rest) = lines.split_at(lines.len() - count);
    let mut out: Vec<Value> = kept.to_vec();
    let mut prev = None;
    for line in rest {
        let mut header: Header = serde_json::from_str(text(line, "header")).unwrap();
        let mut body: Body = serde_json::from_str(text(line, "body")).unwrap();
        header.prev = prev.or(header.prev);
        header.actor = "agent:tidy".into();
        body.run = Some(run.to_owned());
        let record = Record::author(header, &body, Vec::new(), key).unwrap();
        prev = Some(record.id);
        out.push(json!({
            "header": String::from_utf8(record.header_line).unwrap(),
            "body": String::from_utf8(record.body_line).unwrap(),
            "sig": hex(&record.signature),
            "payloads": line["payloads"],
        }));
    }
    let text: String = out.iter().map(|line| format!("{line}\n")).collect();
    fs::write(log, text).unwrap();
}

#[test]
fn a_run_is_undone_whole_and_what_came_after_stays() {
    let dir = tempfile::tempdir().unwrap();
    let before: [(&str, &[u8]); 3] =
        [("a.md", b"first\n\nsecond\n\nthird\n"), ("b.md", b"to be renamed\n"), ("c.md", b"to be deleted\n")];
    let laptop = Device::first(dir.path(), &before);
    let worker = Device::new(dir.path(), "worker");
    pair(&laptop, &worker, "worker", "worker");
    // An agent's run of three records on the worker, which the laptop learns from an export.
    worker.write(&[("a.md", b"first\n\nSECOND\n\nthird\n")]);
    worker.json(&["commit", "-m", "shout"]);
    rename(&worker, "b.md", "renamed.md");
    worker.json(&["commit", "-m", "rename"]);
    remove(&worker, "c.md");
    worker.write(&[("new.md", b"made by the run\n")]);
    worker.json(&["commit", "-m", "delete and make"]);
    let out = dir.path().join("out");
    worker.json(&["export", &out.to_string_lossy()]);
    let key = key_in(&dir.path().join("keys").join("worker"));
    as_run(&out.join("log").join(format!("{}.jsonl", key.public())), &key, 3, "run-7");
    laptop.json(&["import", &out.to_string_lossy()]);
    assert_eq!(laptop.read("a.md"), "first\n\nSECOND\n\nthird\n");
    let of_run = laptop.json(&["log", "--actor", "agent:tidy"]);
    assert_eq!(list(&of_run).len(), 3);
    assert!(list(&of_run).iter().all(|entry| entry["run"] == "run-7"), "{of_run}");
    let lines = laptop.json(&["blame", "a.md"]);
    assert_eq!((&lines[2]["actor"], &lines[2]["run"]), (&json!("agent:tidy"), &json!("run-7")));

    // The operator goes on, then takes the run back.
    laptop.write(&[("a.md", b"first\n\nSECOND\n\nthird, and more\n")]);
    laptop.json(&["commit"]);
    laptop.fails(&["undo", "--run", "run-8"], 2);
    let done = laptop.json(&["undo", "--run", "run-7"]);
    assert_eq!(list(&done["records"]).len(), 3, "one for each: {done}");
    assert_eq!(done["record"], done["records"][2]);
    assert_eq!((&done["left"], &done["problems"]), (&json!([]), &json!([])));
    assert_eq!(laptop.read("a.md"), "first\n\nsecond\n\nthird, and more\n");
    for (path, bytes) in &before[1..] {
        assert_eq!(laptop.read(path).as_bytes(), *bytes, "{path}");
    }
    assert!(!laptop.root.join("new.md").exists());
    assert_eq!(laptop.json(&["undo", "--run", "run-7"])["records"], json!([]), "nothing is left to undo");
    // Not the reader's agreement: the records made over name the commits of those they replace.
    assert_eq!(laptop.json(&["verify"])["ok"], true);
}

#[test]
fn the_newest_change_is_undone_and_the_undo_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"one\n")]);
    laptop.write(&[("a.md", b"one\ntwo\n"), ("b.md", b"b\n")]);
    let made = laptop.json(&["commit"]);
    let undone = laptop.json(&["undo"]);
    assert_eq!((laptop.read("a.md").as_str(), laptop.root.join("b.md").exists()), ("one\n", false));
    assert_ne!(undone["record"], made["record"]);
    assert_eq!(laptop.json(&["show", text(&undone, "record")])["commit"], undone["head"]);
    let redone = laptop.json(&["undo", text(&undone, "record")]);
    assert_eq!((laptop.read("a.md").as_str(), laptop.read("b.md").as_str()), ("one\ntwo\n", "b\n"));
    assert_eq!(list(&laptop.json(&["log"])).len(), 4, "nothing was rewritten");
    assert!(redone["record"].is_string());
    agree(&[&laptop]);
}

#[test]
fn an_undo_puts_nothing_beside_what_was_written_since() {
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"cat\n\nend\n"), ("b.md", b"b\n")]);
    let write = |content: &str| {
        laptop.write(&[("a.md", content.as_bytes())]);
        text(&laptop.json(&["commit"]), "record").to_owned()
    };
    let dog = write("dog\n\nend\n");
    let fox = write("fox\n\nend\n");
    write("fox\n\nend, or not\n");
    // One after the other, though they wrote at the same place.
    laptop.json(&["undo", &fox]);
    assert_eq!(laptop.read("a.md"), "dog\n\nend, or not\n");
    laptop.json(&["undo", &dog]);
    assert_eq!(laptop.read("a.md"), "cat\n\nend, or not\n");
    // What is undone is not undone twice, whatever came after.
    let twice = |id: &str| assert_eq!(laptop.json(&["undo", id])["records"], json!([]));
    twice(&dog);
    write("cat\n\nthe end, or not\n");
    twice(&dog);
    rename(&laptop, "b.md", "c.md");
    let renamed = text(&laptop.json(&["commit"]), "record").to_owned();
    remove(&laptop, "c.md");
    let removed = text(&laptop.json(&["commit"]), "record").to_owned();
    for id in [&removed, &renamed] {
        laptop.json(&["undo", id]);
        twice(id);
    }
    twice(&removed);
    assert_eq!(laptop.read("b.md"), "b\n");
    // Where it was written over, that stays, and is told.
    let cow = write("cow\n\nthe end, or not\n");
    write("hen\n\nthe end, or not\n");
    let said = laptop.fails(&["undo", &cow], 3);
    assert!(said.contains("a.md: was edited again since at the same place"), "{said}");
    assert_eq!(laptop.read("a.md"), "hen\n\nthe end, or not\n");
    agree(&[&laptop]);
}
