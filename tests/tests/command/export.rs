//! `aios export --automerge`: the official Automerge library, which knows nothing of aios, reads what the files say.

use std::collections::BTreeMap;
use std::path::Path;

use aios_tests::device::{Device, agree, eventually, pair};
use aios_tests::{page, reader};
use serde_json::{Value, json};

const FIELDS: &str = "---
title: \"Offer: the second\"
'quoted key': 'it''s'
count: 3
rate: 12.50
open: true
none: null
due: 2026-03-01
at: 2026-03-01T09:30:00Z
tags: [offer, big client, größe]
quoted tags: [\"a, b\", c]
people:
  - Ann
  - Bo
    of Acme
nothing: []
# a comment
nested:
  a: 1
text: |
  one

  two
---
# Offer

To *Ann*.
";

const UNICODE: &str = "---\nGröße: \"👩‍👩‍👧\"\nlist: [é, 😀]\n---\nGrüße 😀, e\u{301}\u{200b}\n𝒳 — 日本\n";

/// Files that one device makes.
const MADE: [(&str, &[u8]); 13] = [
    ("fields.md", FIELDS.as_bytes()),
    ("crlf.md", b"---\r\ntitle: Windows\r\ntags: [a, b]\r\n---\r\none\r\ntwo\r\n"),
    ("Grüße/😀.md", UNICODE.as_bytes()),
    ("bom.md", "\u{feff}---\na: 1\n---\nb".as_bytes()),
    ("empty.md", b""),
    ("empty.txt", b""),
    ("fence.md", b"---\nno: frontmatter\n"),
    ("plain.txt", b"---\na: 1\n---\nno end"),
    ("photo.bin", b"\x89PNG\0\xff\xfe\n"),
    ("merged.md", b"---\nstatus: open\nowner: me\ntags: [a]\n---\none\ntwo\nthree\n"),
    ("contested.md", b"---\nstatus: open\n---\ntext\n"),
    ("became.md", b"\x00 not text yet\n"),
    ("ticked.md", b"---\ntags: [a]\n---\n- [ ] rent\n- [ ] bank\n"),
];

/// Two devices with these files, or nothing where Automerge cannot be asked.
fn two_devices(dir: &Path, files: &[(&str, &[u8])]) -> Option<(Device, Device)> {
    if let Some(why) = reader::absent() {
        println!("skipped: {why}");
        return None;
    }
    let (laptop, phone) = (Device::first(dir, files), Device::new(dir, "phone"));
    pair(&laptop, &phone, "phone", "phone");
    Some((laptop, phone))
}

/// Has both devices edit while they are apart, and sync.
fn edit(laptop: &Device, phone: &Device) {
    laptop.write(&[
        ("merged.md", b"---\nstatus: won\nowner: me\ntags: [a, b]\n---\none \xf0\x9f\x98\x80\ntwo\nthree\n"),
        ("contested.md", b"---\nstatus: lost\n---\ntext\n"),
        ("made-on-both.md", b"---\na: 1\n---\nshared\nof the laptop\n"),
        ("became.md", b"text now\n"),
        ("ticked.md", b"---\ntags: [a, b]\n---\n- [x] rent\n- [ ] bank\n"),
    ]);
    phone.write(&[
        ("merged.md", b"---\nstatus: open\nowner: Ben\ntags: [a, c]\n---\none\ntwo\nthree and four\n"),
        ("contested.md", b"---\nstatus: won\n---\ntext, and more\n"),
        ("made-on-both.md", b"---\nb: 2\n---\nshared\nof the phone\n"),
        ("ticked.md", b"---\ntags: [a, b]\n---\n- [x] rent\n- [ ] bank at nine\n"),
    ]);
    laptop.json(&["commit"]);
    phone.json(&["commit"]);
    sync(laptop, phone);
}

fn sync(laptop: &Device, phone: &Device) {
    let daemon = laptop.up();
    eventually("both are equal", || {
        phone.json(&["sync"]);
        laptop.stand() == phone.stand()
    });
    assert_eq!(daemon.terminate(), 0);
}

/// Exports a device's vault, checks the files of the export, and gives what Automerge reads in its documents.
fn documents(device: &Device, folder: &Path) -> BTreeMap<String, Value> {
    device.json(&["export", "--automerge", &folder.to_string_lossy()]);
    let files = page::files(&folder.join("files")).unwrap();
    let own = page::files(&device.root).unwrap();
    let own = own.into_iter().filter(|(path, _)| !path.starts_with(".git/") && !path.starts_with(".aios/"));
    assert_eq!(files, own.collect());
    let found = reader::exported(folder).unwrap().unwrap();
    serde_json::from_value(found).unwrap()
}

#[test]
fn automerge_reads_what_the_files_say() {
    let dir = tempfile::tempdir().unwrap();
    let Some((laptop, phone)) = two_devices(dir.path(), &MADE) else { return };
    edit(&laptop, &phone);
    agree(&[&laptop, &phone]);

    let found = documents(&laptop, &dir.path().join("export"));
    assert_eq!(found, documents(&phone, &dir.path().join("export of the phone")));
    let mut wrong = Vec::new();
    for (path, _) in MADE.into_iter().chain([("made-on-both.md", &b""[..])]) {
        let text = found.get(path).map(|document| document["text"].as_str().unwrap_or_default());
        let file = (path != "photo.bin").then(|| laptop.read(path));
        // Which of two values stands is told by the log; a document has both.
        let stands = path == "contested.md" || text == file.as_deref();
        if !stands {
            wrong.push(format!("{path} holds {file:?}, its document {text:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let front = |path: &str| found[path]["front"].clone();
    let items = |path: &str| found[path]["items"].clone();
    assert_eq!(
        front("fields.md"),
        json!({
            "title": ["=title: \"Offer: the second\"\n"],
            "quoted key": ["='quoted key': 'it''s'\n"],
            "count": ["=count: 3\n"],
            "rate": ["=rate: 12.50\n"],
            "open": ["=open: true\n"],
            "none": ["=none: null\n"],
            "due": ["=due: 2026-03-01\n"],
            "at": ["=at: 2026-03-01T09:30:00Z\n"],
            "tags": ["[tags: [\0, \0]\n"],
            "quoted tags": ["=quoted tags: [\"a, b\", c]\n"],
            "people": ["[people:\n\0  - \0"],
            "nothing": ["[nothing: [\0, \0]\n"],
            "nested": ["=# a comment\nnested:\n  a: 1\n"],
            "text": ["=text: |\n  one\n\n  two\n"],
        })
    );
    let of_fields = items("fields.md");
    assert_eq!(of_fields["tags"], json!(["offer", "big client", "größe"]));
    assert_eq!(of_fields["people"], json!(["Ann", "Bo\n  of Acme"]));
    assert_eq!(of_fields["nothing"], json!([]));
    assert_eq!(front("Grüße/😀.md")["Größe"], json!(["=Größe: \"👩‍👩‍👧\"\n"]));
    assert_eq!(items("Grüße/😀.md")["list"], json!(["é", "😀"]));
    assert_eq!(front("crlf.md")["title"], json!(["=title: Windows\n"]));
    assert_eq!(front("plain.txt"), json!({}));
    assert_eq!(front("fence.md"), json!({}));
    assert_eq!(front("merged.md")["status"], json!(["=status: won\n"]));
    assert_eq!(front("merged.md")["owner"], json!(["=owner: Ben\n"]));
    assert_eq!(items("merged.md")["tags"], json!(["a", "b", "c"]));
    assert_eq!(items("ticked.md")["tags"], json!(["a", "b"]));
    assert_eq!(laptop.read("ticked.md"), "---\ntags: [a, b]\n---\n- [x] rent\n- [ ] bank at nine\n");
    assert_eq!(front("contested.md")["status"], json!(["=status: lost\n", "=status: won\n"]));
}

#[test]
fn an_edit_that_both_made_stands_once() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("same.md", "one\n".as_bytes()), ("same-and-on.md", "one\n".as_bytes())];
    let Some((laptop, phone)) = two_devices(dir.path(), &files) else { return };
    for device in [&laptop, &phone] {
        device.write(&files.map(|(path, _)| (path, "one and a half\n".as_bytes())));
        device.json(&["commit"]);
    }
    sync(&laptop, &phone);
    phone.write(&[("same-and-on.md", b"one and a half\ntwo\n")]);
    sync(&laptop, &phone);
    agree(&[&laptop, &phone]);
    let found = documents(&laptop, &dir.path().join("export"));
    for (path, _) in files {
        assert_eq!(found[path]["text"], laptop.read(path), "{path}");
    }
}
