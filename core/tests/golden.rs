//! The values that every implementation of the formats pins, shared with the reader in `tests/reader`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aios_core::align::{align, merge_lines, split_lines};
use aios_core::clock::Stamp;
use aios_core::document::{ChangeHash, Document};
use aios_core::frontier::{Place, View};
use aios_core::id::{ContentHash, DeviceId, DocId, VaultId};
use aios_core::item::{Base, Content, Epoch, Item, Kind, Mode};
use aios_core::ledger::Ledger;
use aios_core::markdown::{Parts, Value as Entry, split};
use aios_core::namespace::Namespace;
use aios_core::path;
use automerge::{Automerge, Change};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The cases of one member of the golden file.
fn golden<T: DeserializeOwned>(member: &str) -> Vec<T> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reader/test/golden.json");
    let mut all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let cases: Vec<T> = serde_json::from_value(all[member].take()).unwrap();
    assert!(!cases.is_empty(), "{member}");
    cases
}

/// What names a document and its epoch.
#[derive(Deserialize)]
struct Origin {
    name: String,
    vault: VaultId,
    path: String,
    after: String,
    epoch: Epoch,
    kind: Kind,
}

impl Origin {
    fn doc(&self) -> DocId {
        DocId::of(&self.vault, &path::fold(&self.path), &self.after)
    }

    fn document(&self, contents: &[&str]) -> Document {
        Document::new(self.doc(), self.epoch, self.kind, contents).unwrap()
    }
}

/// Stamps that rank changes by number.
fn rank(ranks: &HashMap<ChangeHash, u64>) -> impl Fn(&ChangeHash) -> Option<Stamp> + '_ {
    |change| Some(Stamp(*ranks.get(change)?, 0, DeviceId([0; 32]), 1))
}

#[derive(Deserialize)]
struct Derived {
    #[serde(flatten)]
    origin: Origin,
    doc: DocId,
    skeleton: Named,
    contents: Vec<Start>,
    joins: Vec<Join>,
    rendered: String,
}

#[derive(Deserialize)]
struct Named {
    actor: String,
    change: String,
}

#[derive(Deserialize)]
struct Start {
    text: String,
    hash: ContentHash,
    parts: File,
    actor: String,
    change: String,
}

#[derive(Deserialize)]
struct Join {
    x: ContentHash,
    y: ContentHash,
    removed: Vec<(usize, usize)>,
    actor: Option<String>,
    change: Option<String>,
}

/// A file in its parts, as the golden file writes them.
#[derive(Debug, PartialEq, Deserialize)]
struct File {
    open: Option<String>,
    close: Option<String>,
    entries: Vec<Register>,
    body: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Register {
    name: String,
    value: String,
    items: Vec<String>,
}

impl From<Parts> for File {
    fn from(parts: Parts) -> Self {
        let has_front = parts.has_front();
        let entries = parts.entries.into_iter().map(|entry| Register {
            name: entry.name,
            value: entry.value.register(),
            items: if let Entry::List { items, .. } = entry.value { items } else { vec![] },
        });
        File {
            entries: entries.collect(),
            open: has_front.then_some(parts.open),
            close: has_front.then_some(parts.close),
            body: parts.body,
        }
    }
}

/// Actor and hash of each change of a document.
fn actors(document: &Document) -> BTreeMap<String, String> {
    let saved = document.save();
    let start = saved.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let engine = Automerge::load(&saved[start..]).unwrap();
    let named = |change: &Change| (change.hash().to_string(), change.actor_id().to_hex_string());
    engine.get_changes(&[]).iter().map(named).collect()
}

#[test]
fn derived_changes() {
    for case in golden::<Derived>("derived") {
        let name = &case.origin.name;
        assert_eq!(case.origin.doc(), case.doc, "{name}");
        let texts: Vec<&str> = case.contents.iter().map(|start| start.text.as_str()).collect();
        let document = case.origin.document(&texts);
        let actors = actors(&document);
        assert_eq!(actors.get(&case.skeleton.change), Some(&case.skeleton.actor), "{name}");
        let mut ranks = HashMap::new();
        for (number, start) in case.contents.iter().enumerate() {
            assert_eq!(ContentHash::of(start.text.as_bytes()), start.hash, "{name}");
            let parts = match case.origin.kind {
                Kind::Md => split(&start.text),
                _ => Parts { body: start.text.clone(), ..Parts::default() },
            };
            assert_eq!(File::from(parts), start.parts, "{name}");
            let change = document.content_head(&start.hash).unwrap();
            assert_eq!(change.to_string(), start.change, "{name}");
            assert_eq!(actors.get(&start.change), Some(&start.actor), "{name}");
            ranks.insert(change, number as u64);
        }
        let body = |hash: &ContentHash| {
            let start = case.contents.iter().find(|start| start.hash == *hash).unwrap();
            start.parts.body.clone()
        };
        for join in &case.joins {
            let change = document.join_head(&join.x, &join.y).map(|change| change.to_string());
            assert_eq!(change, join.change, "{name}");
            assert_eq!(change.and_then(|change| actors.get(&change).cloned()), join.actor, "{name}");
            let (x, y) = (body(&join.x), body(&join.y));
            // Which of the two loses, the one that stands second, is pinned by the change.
            let shared = |first: &str, second: &str| {
                let mut runs: Vec<(usize, usize)> = Vec::new();
                for (_, line) in align(&split_lines(first), &split_lines(second)) {
                    match runs.last_mut() {
                        Some(run) if run.1 == line => run.1 += 1,
                        _ => runs.push((line, line + 1)),
                    }
                }
                runs
            };
            assert!([shared(&x, &y), shared(&y, &x)].contains(&join.removed), "{name}");
        }
        let heads: Vec<ChangeHash> = ranks.keys().copied().collect();
        assert_eq!(document.read(&heads, &rank(&ranks)).unwrap().text, case.rendered, "{name}");
    }
}

#[derive(Deserialize)]
struct Reading {
    #[serde(flatten)]
    origin: Origin,
    contents: Vec<String>,
    edits: Vec<Edit>,
    heads: Vec<usize>,
    rendered: String,
    front_conflict: bool,
}

#[derive(Deserialize)]
struct Edit {
    change: String,
    rank: u64,
}

#[test]
fn readings() {
    for case in golden::<Reading>("readings") {
        let name = &case.origin.name;
        let texts: Vec<&str> = case.contents.iter().map(String::as_str).collect();
        let mut document = case.origin.document(&texts);
        let base64 = |edit: &Edit| data_encoding::BASE64.decode(edit.change.as_bytes()).unwrap();
        let mut changes: Vec<ChangeHash> = texts
            .iter()
            .map(|text| document.content_head(&ContentHash::of(text.as_bytes())).unwrap())
            .collect();
        let edits = document.apply(&case.edits.iter().map(base64).collect::<Vec<_>>()).unwrap();
        let ranks = edits.iter().copied().zip(case.edits.iter().map(|edit| edit.rank)).collect();
        changes.extend(edits);
        let heads: Vec<ChangeHash> = case.heads.iter().map(|&at| changes[at]).collect();
        let reading = document.read(&heads, &rank(&ranks)).unwrap();
        assert_eq!((reading.text, reading.front_conflict), (case.rendered, case.front_conflict), "{name}");
    }
}

#[test]
fn markdown() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        #[serde(flatten)]
        parts: File,
    }
    for case in golden::<Case>("markdown") {
        let parts = split(&case.text);
        assert_eq!(parts.render(), case.text);
        assert_eq!(File::from(parts), case.parts, "{:?}", case.text);
    }
}

#[test]
fn alignment_and_line_merge() {
    #[derive(Deserialize)]
    struct Aligned {
        a: String,
        b: String,
        pairs: Vec<(usize, usize)>,
    }
    for case in golden::<Aligned>("align") {
        assert_eq!(align(&split_lines(&case.a), &split_lines(&case.b)), case.pairs, "{:?}", case.a);
    }
    #[derive(Deserialize)]
    struct Merged {
        base: String,
        left: String,
        right: String,
        merged: String,
    }
    for Merged { base, left, right, merged } in golden("merge") {
        assert_eq!(merge_lines(&base, &left, &right), merged, "{base:?} {left:?} {right:?}");
    }
}

#[test]
fn folding_and_paths() {
    #[derive(Deserialize)]
    struct Folded {
        path: String,
        folded: String,
    }
    for case in golden::<Folded>("fold") {
        assert_eq!(path::fold(&case.path), case.folded);
    }
    #[derive(Deserialize)]
    struct Claims {
        claims: BTreeMap<DocId, String>,
        paths: BTreeMap<DocId, String>,
    }
    for case in golden::<Claims>("paths") {
        let place = Place { device: DeviceId([1; 32]), seq: 1 };
        let items = case.claims.into_iter().map(|(doc, path)| Item::Create {
            doc,
            path,
            after: String::new(),
            kind: Kind::Md,
            mode: Mode::File,
            content: Content::of(b""),
            base: Base::default(),
        });
        let mut ledger = Ledger::new();
        let items: Vec<Item> = items.collect();
        ledger.add(place, Stamp(1, 0, place.device, 1), &View::new(), &items);
        let Ok(mut space) = Namespace::new(&ledger, [place].into_iter().collect());
        for (doc, path) in case.paths {
            let Ok(placed) = space.place(&doc);
            assert_eq!(placed.map(|placed| placed.path), Some(path));
        }
    }
}
