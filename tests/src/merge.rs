//! What edits of a document and their merge must bear: any texts, by any two devices, in any order (I1, I3, I6).

use aios_core::clock::Stamp;
use aios_core::document::{ChangeHash, Document};
use aios_core::id::{ContentHash, DeviceId, DocId};
use aios_core::item::{Epoch, Kind};

use crate::parse::Target;

/// Edits and merges.
pub const TARGETS: [Target; 2] =
    [Target { name: "edit", run: edit, samples }, Target { name: "merge", run: merge, samples }];

/// Parts of an input stand between such bytes, which are in no text.
const BETWEEN: u8 = 0xff;
const DOC: DocId = DocId([7; 32]);

/// Texts of an input, and a number made of it.
fn texts(data: &[u8]) -> (Vec<String>, u64) {
    let texts = data.split(|byte| *byte == BETWEEN).take(5);
    let number = u64::from_le_bytes(blake3::hash(data).as_bytes()[..8].try_into().expect("eight bytes"));
    (texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect(), number)
}

fn note(text: &str, kind: Kind) -> (Document, ChangeHash) {
    let document = Document::new(DOC, Epoch::default(), kind, &[text]).expect("a document");
    let head = document.content_head(&ContentHash::of(text.as_bytes())).expect("its content");
    (document, head)
}

fn kind(number: u64) -> Kind {
    if number.is_multiple_of(4) { Kind::Text } else { Kind::Md }
}

/// Saves one after the other read as they were written, each and at its version ever after.
pub fn edit(data: &[u8]) {
    let (texts, number) = texts(data);
    let Some((first, rest)) = texts.split_first() else { return };
    let (mut document, mut head) = note(first, kind(number));
    let rank = |_: &ChangeHash| None;
    let mut versions = vec![(head, first)];
    for text in rest {
        if let Some(edit) = document.edit(&[head], &rank, text, &[1; 16]).expect("an edit") {
            head = edit.hash;
        }
        versions.push((head, text));
    }
    for (head, text) in versions {
        assert_eq!(&document.read(&[head], &rank).expect("a version").text, text);
    }
}

/// Two texts written from one, on two devices: both get the same, whoever hears first; the versions stand as they were
/// written; and what merged is a text like any other, of which a save that changes nothing is no edit.
pub fn merge(data: &[u8]) {
    let (texts, number) = texts(data);
    let [base, left, right, after @ ..] = texts.as_slice() else { return };
    let ((mut one, start), (mut two, _)) = (note(base, kind(number)), note(base, kind(number)));
    let rank = |_: &ChangeHash| None;
    let a = one.edit(&[start], &rank, left, &[1; 16]).expect("an edit");
    let b = two.edit(&[start], &rank, right, &[2; 16]).expect("an edit");
    let mut heads = Vec::new();
    for (edit, other, actor) in [(&a, &mut two, 1), (&b, &mut one, 2)] {
        if let Some(edit) = edit {
            other.apply(std::slice::from_ref(&edit.change)).expect("a change of the other");
            heads.push((edit.hash, actor));
        }
    }
    let ranked = |change: &ChangeHash| {
        let (_, actor) = heads.iter().find(|(hash, _)| hash == change)?;
        let place = if number.is_multiple_of(2) { *actor } else { 3 - actor };
        Some(Stamp(place, 0, DeviceId([0; 32]), 1))
    };
    let tips: Vec<ChangeHash> = match heads.as_slice() {
        [] => vec![start],
        heads => heads.iter().map(|(hash, _)| *hash).collect(),
    };
    let merged = one.read(&tips, &ranked).expect("a merge");
    assert_eq!(two.read(&tips, &ranked).expect("a merge"), merged);
    for (made, text) in [(&a, left), (&b, right)] {
        let head = made.as_ref().map_or(start, |edit| edit.hash);
        assert_eq!(&one.read(&[head], &ranked).expect("a version").text, text);
    }
    match (&a, &b) {
        (None, None) => assert_eq!(&merged.text, base),
        (Some(_), None) => assert_eq!(&merged.text, left),
        (None, Some(_)) => assert_eq!(&merged.text, right),
        // That the same edit on both is one is the fold's doing, which knows both files.
        _ => {}
    }
    assert_eq!(one.edit(&tips, &ranked, &merged.text, &[1; 16]).expect("no edit"), None);
    if let [next, ..] = after
        && let Some(edit) = one.edit(&tips, &ranked, next, &[1; 16]).expect("an edit of what merged")
    {
        two.apply(std::slice::from_ref(&edit.change)).expect("that edit");
        assert_eq!(&two.read(&[edit.hash], &ranked).expect("its version").text, next);
    }
}

fn samples() -> Vec<Vec<u8>> {
    let all: [&[&str]; 5] = [
        &[
            "---\ntitle: A\ntags: [a, b]\n---\n# A\n\nText.\n",
            "---\ntitle: B\ntags: [a, b, c]\n---\n# A\n\nText.\n",
            "---\ntitle: A\ntags: [b]\n---\n# A\n\nOther text.\n",
            "---\ntitle: C\n---\n",
        ],
        &[
            "---\nlist:\n  - x\n  - y # why\n---\nbody\n",
            "---\nlist:\n  - y # why\n  - x\n---\nbody\n",
            "---\r\nlist:\r\n  - x\r\n  - z\r\n---\r\nbody\r\n",
        ],
        &["---\na: 1\n---\nbody\n", "---\na: 1\nbody\n", "---\na: 1\n---\nbody, more\n", "a"],
        &["one\ntwo\nthree\n", "one\nthree\n", "zero\none\n2\nthree\n", "one"],
        &["", "\u{feff}---\n---\n", "---\n? complex\n: value\n...\n", ""],
    ];
    all.iter()
        .map(|texts| texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>().join(&BETWEEN))
        .collect()
}
