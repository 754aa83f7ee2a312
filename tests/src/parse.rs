//! What every parser that reads from disk or wire must bear: any bytes. Each target panics where a rule is broken; what it
//! refuses is fine. A fuzzer calls them (`tests/fuzz`), and `cargo test` with what was found and what is made from samples.

use std::cell::RefCell;

use aios_agents::letter::Letter;
use aios_core::clock::Hlc;
use aios_core::delta::Delta;
use aios_core::document::Document;
use aios_core::epoch::EpochKey;
use aios_core::event::Event;
use aios_core::id::{ContentHash, DocId, RecordId, VaultId};
use aios_core::item::{Base, Content, Epoch, Item, Kind, Mode};
use aios_core::key::SecretKey;
use aios_core::markdown::{self, Value};
use aios_core::patch::diff;
use aios_core::path;
use aios_core::record::{Body, Header, Record, VERSION};
use aios_sync::frame::{Decoder, Frame, Piece};
use aios_sync::remote::chunk::{self, Name};
use aios_sync::remote::config::Remotes;
use aios_sync::ticket::Ticket;
use aios_vault::disk::{RuleSource, Rules};
use aios_vault::git::{Commit, Index, entries};
use aios_vault::keys::Memory;
use aios_vault::packed;
use git2::{ObjectType, Oid, Repository};

/// One parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Reads any bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "frontmatter", run: frontmatter, samples: notes },
    Target { name: "record", run: record, samples: records },
    Target { name: "segment", run: segment, samples: segments },
    Target { name: "packed", run: a_packed_segment, samples: packed_segments },
    Target { name: "chunk", run: a_chunk, samples: segments },
    Target { name: "frame", run: frame, samples: frames },
    Target { name: "ticket", run: ticket, samples: tickets },
    Target { name: "letter", run: letter, samples: letters },
    Target { name: "path", run: a_path, samples: paths },
    Target { name: "config", run: config, samples: configs },
    Target { name: "rules", run: rules, samples: ignore_files },
    Target { name: "object", run: object, samples: objects },
    Target { name: "index", run: index, samples: indexes },
];

const DOC: DocId = DocId([7; 32]);

/// Markdown comes back as it was, through its parts and through a document (I3).
pub fn frontmatter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parts = markdown::split(&text);
    assert_eq!(parts.render(), text, "split and rendered");
    assert!(parts.has_front() || (parts.entries.is_empty() && parts.close.is_empty()));
    let problem = markdown::front_problem(&text);
    assert!(problem.is_none_or(|problem| !problem.is_empty() && !problem.contains(char::is_control)));
    for entry in &parts.entries {
        let items = if let Value::List { items, .. } = &entry.value { items.clone() } else { Vec::new() };
        assert_eq!(Value::from_register(&entry.value.register(), items), entry.value);
    }
    // A document costs a hundred times as much.
    if data.len().is_multiple_of(8) {
        let document = Document::new(DOC, Epoch::default(), Kind::Md, &[&text]).expect("a document");
        let head = document.content_head(&ContentHash::of(text.as_bytes())).expect("its content");
        assert_eq!(document.read(&[head], &|_| None).expect("a reading").text, text, "through a document");
    }
}

/// A header line and a body line, each of any bytes, under the hashes that fit them: what is read is what stands there.
pub fn record(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default().to_vec();
    let (header, body, payloads) = (part(), part(), part());
    // Only what the hashes cover can be anything: they are put right.
    let header = match serde_json::from_slice::<serde_json::Value>(&header) {
        Ok(serde_json::Value::Object(mut map)) if map.contains_key("body") => {
            map.insert("len".into(), body.len().into());
            map.insert("body".into(), ContentHash::of(&body).to_string().into());
            serde_json::Value::Object(map).to_string().into_bytes()
        }
        _ => header,
    };
    let id = RecordId(*blake3::hash(&header).as_bytes());
    let Ok(record) = Record::from_parts(id, [0; 64], header, body, payloads) else { return };
    let entry = record.entry();
    let (back, len) = Record::read_entry(&entry).expect("what was written reads");
    assert_eq!((&back, len, record.entry_len()), (&record, entry.len(), entry.len()));
    assert!(record.verify_signature().is_err(), "a signature of zeros");
    let Ok(body) = record.body() else { return };
    _ = record.payloads_of(&body);
    let key = EpochKey::from_bytes([7; 32]);
    _ = record.clone().close(&key);
    if let (true, Ok(open)) = (record.is_closed(), record.clone().open(&key)) {
        assert_eq!(open.close(&key).expect("what opens closes"), record);
    }
    for item in &body.items {
        if let Item::Event(Event::EpochKeys { epoch, keys }) = item {
            let own = SecretKey::from_bytes(&[3; 32]);
            keys.values().for_each(|key| _ = EpochKey::take(epoch, key, &own));
        }
        _ = (item.changes_tree(), item.needs_upgrade(), item.payload());
        let text = serde_json::to_string(item).expect("an item is JSON");
        let again: Item = serde_json::from_str(&text).expect("and reads");
        // One with a key twice is unknown, and is known once one of them is left out.
        assert!(&again == item || matches!(item, Item::Unknown(_)), "{item:?}");
    }
}

/// Entries one after the other, until one does not read.
pub fn segment(data: &[u8]) {
    let mut at = 0;
    while let Ok((record, len)) = Record::read_entry(&data[at..]) {
        assert_eq!(record.entry(), data[at..at + len], "kept verbatim");
        at += len;
    }
}

/// A segment of the log in its packed form, and bytes that are packed.
pub fn a_packed_segment(data: &[u8]) {
    _ = packed::unpack(data);
    assert_eq!(packed::unpack(&packed::pack(data)).as_deref(), Ok(data));
}

/// A file of records as they lie in a folder, under the name that fits it.
pub fn a_chunk(data: &[u8]) {
    for bytes in [data.to_vec(), chunk::pack(data).expect("memory takes every byte")] {
        let name = Name { first: 1, last: 1, hash: *blake3::hash(&bytes).as_bytes() };
        assert_eq!(name.to_string().parse(), Ok(name));
        if let Ok(records) = chunk::unpack(&name, &bytes) {
            assert!(!records.is_empty() || bytes != data || data.is_empty());
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(name) = text.parse::<Name>()
    {
        assert_eq!(name.to_string(), text);
    }
}

/// A stream of frames, whole and in two pieces.
pub fn frame(data: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.frame() {
                    Ok(Some(frame)) => out.push(Ok(frame)),
                    Ok(None) => break,
                    Err(e) => {
                        out.push(Err(e));
                        return out;
                    }
                }
            }
        }
        out
    };
    let found = read(&[data]);
    let cut = data.first().map_or(0, |first| usize::from(*first) % data.len().max(1));
    assert_eq!(read(&[&data[..cut], &data[cut..]]), found, "cut at {cut}");
    for frame in found.iter().flatten() {
        if let Frame::Records(piece) = frame {
            _ = piece.unpack(&mut Vec::new());
        }
        let mut bytes = Vec::new();
        if frame.write(&mut bytes).is_ok() {
            assert_eq!(read(&[&bytes]), [Ok(frame.clone())], "written again");
        }
    }
}

/// What a person pastes.
pub fn ticket(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(ticket) = text.parse::<Ticket>() else { return };
    let encoded = ticket.encode().expect("what was read can be written");
    assert_eq!(encoded.parse::<Ticket>().expect("and read"), ticket);
}

/// A mail that came: what is told of it is short, and its id is one line.
pub fn letter(data: &[u8]) {
    let Some(letter) = Letter::read(data) else { return };
    assert!(letter.data.to_string().len() < 64 * 1024, "an event says at most 64 KiB");
    assert!(letter.id.len() < 1100 && !letter.id.contains(char::is_control), "{:?}", letter.id);
    assert_eq!(Letter::read(data), Some(letter), "read once more");
}

/// A path from a record.
pub fn a_path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let folded = path::fold(&text);
    assert_eq!(path::fold(&folded), folded, "folded once is folded");
    _ = (path::unsuffixed(&folded), path::extension(&text), path::rebase(&text, "a/b", "c"));
    if path::check(&text).is_ok() {
        assert!(!text.starts_with('/') && !text.split('/').any(|part| matches!(part, "" | "." | "..")));
        let suffixed = path::suffixed(&text, &DOC, 6);
        assert!(path::check(&suffixed).is_ok() || text.len() + 7 > 200, "{suffixed}");
        assert_eq!(path::unsuffixed(&path::fold(&suffixed)).as_deref(), Some(folded.as_str()));
    }
}

/// What aios keeps as JSON beside the log.
pub fn config(data: &[u8]) {
    _ = serde_json::from_slice::<Remotes>(data);
    _ = serde_json::from_slice::<Memory>(data);
    if let Ok(name) = serde_json::from_slice::<aios_vault::layout::Replica>(data) {
        assert!(serde_json::to_vec(&name).is_ok());
    }
}

/// Ignore files.
pub fn rules(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for name in [".gitignore", "folder/.aiosignore"] {
        let rules = Rules::new(&[RuleSource { path: name, text: &text }]);
        for path in ["a.md", "folder/a.md", "folder/[x]/é.md"] {
            // What lies in an ignored folder is ignored.
            assert!(
                !rules.ignored("folder", true) || rules.ignored(path, false) || !path.starts_with("folder/")
            );
        }
    }
}

/// Commits and trees that others made.
pub fn object(data: &[u8]) {
    let oid = Oid::hash_object(ObjectType::Commit, data).expect("a hash");
    if let Ok(commit) = Commit::parse(oid, data) {
        let bytes = commit.to_bytes();
        let again = Commit::parse(oid, &bytes).expect("what was written reads");
        assert_eq!((again.tree, again.parents), (commit.tree, commit.parents));
    }
    if let Ok(entries) = entries(oid, data) {
        assert!(entries.iter().all(|entry| !entry.name.contains(&0)));
    }
}

/// Git's index.
pub fn index(data: &[u8]) {
    thread_local! {
        static REPO: RefCell<Option<(tempfile::TempDir, Repository)>> = const { RefCell::new(None) };
    }
    REPO.with_borrow_mut(|repo| {
        let (_, repo) = repo.get_or_insert_with(|| {
            let dir = tempfile::tempdir().expect("a folder");
            let repo = Repository::init(dir.path()).expect("a repository");
            (dir, repo)
        });
        // Its hash at the end is put right.
        let (body, _) = data.split_at(data.len().saturating_sub(20));
        let mut bytes = body.to_vec();
        bytes.extend(sha1_of(body));
        std::fs::write(repo.path().join("index"), &bytes).expect("written");
        if let Ok(index) = Index::read(repo) {
            for (path, ..) in index.iter() {
                _ = index.get(path);
            }
        }
    });
}

/// SHA-1, as git takes it of a blob whose header is part of what is hashed.
fn sha1_of(bytes: &[u8]) -> Vec<u8> {
    use sha1::Digest;
    sha1::Sha1::digest(bytes).to_vec()
}

fn notes() -> Vec<Vec<u8>> {
    let notes: [&[u8]; 6] = [
        b"---\ntitle: A\ntags: [a, b]\nlist:\n  - x\n  - y # why\n---\n# A\n\nText.\n",
        b"\xef\xbb\xbf---\r\nstatus: 'open'\r\n---\r\nbody",
        b"---\nbroken: [\n---\n",
        b"---\n? complex\n: value\n...\n",
        b"no frontmatter\n---\n",
        b"",
    ];
    notes.map(<[u8]>::to_vec).to_vec()
}

fn made() -> Vec<Record> {
    let key = SecretKey::from_bytes(&[3; 32]);
    let mut out: Vec<Record> = Vec::new();
    let text = b"---\ntitle: A\n---\ntext\n".to_vec();
    let content = Content::of(&text);
    let create = Item::Create {
        doc: DOC,
        path: "a.md".into(),
        after: String::new(),
        kind: Kind::Md,
        mode: Mode::File,
        content,
        base: Base::default(),
    };
    let (delta, bytes) = Delta { patch: diff("text\n", "words\n"), change: Some(vec![1, 2, 3]) }.pack();
    let from = ContentHash::of(b"text\n");
    let (doc, epoch, base) = (DOC, Epoch::default(), Base::default());
    let edit = Item::Edit { doc, epoch, from, delta, content: Content::of(b"words\n"), base };
    let bodies = [
        (vec![create], text),
        (vec![Item::Move { doc: DOC, path: "b/c.md".into() }, Item::Seal], Vec::new()),
        (vec![Item::Delete { doc: DOC }], Vec::new()),
        (vec![handed(&key)], Vec::new()),
        (vec![edit], bytes),
        (vec![Item::Delete { doc: DOC }], Vec::new()),
    ];
    let (epoch, last) = (EpochKey::from_bytes([7; 32]), bodies.len() - 1);
    for (n, (items, payloads)) in bodies.into_iter().enumerate() {
        let header = Header {
            v: VERSION,
            vault: VaultId([1; 32]),
            device: key.public(),
            seq: n as u64 + 1,
            prev: out.last().map(|record| record.id),
            deps: Vec::new(),
            clock: Hlc(5 + n as u64, 0),
            wall: 5,
            actor: "operator".into(),
            len: 0,
            body: ContentHash([0; 32]),
            closed: None,
        };
        let body = Body { message: "one".into(), items, ..Body::default() };
        let sealed = (n == last).then(|| (&epoch, Vec::new()));
        let record = Record::author_in(header, &body, payloads, sealed, &key).expect("a record");
        out.push(record.close(&epoch).expect("its closed form, if it has one"));
    }
    out
}

/// The key of an epoch, handed to a device.
fn handed(to: &SecretKey) -> Item {
    let key = EpochKey::from_bytes([7; 32]);
    let handed = key.hand(&to.public(), [9; 32]).expect("a key");
    Item::Event(Event::EpochKeys { epoch: key.id(), keys: [(to.public(), handed)].into() })
}

fn records() -> Vec<Vec<u8>> {
    let lines =
        |record: &Record| [record.header_line.as_slice(), &record.body_line, &record.payloads].join(&b'\n');
    made().iter().map(lines).collect()
}

fn segments() -> Vec<Vec<u8>> {
    let all: Vec<u8> = made().iter().flat_map(|record| record.entry()).collect();
    let bare = made().into_iter().flat_map(|record| {
        let body = record.body().expect("a body");
        record.without(&body, |_| true).expect("its payloads").entry()
    });
    vec![all, bare.collect()]
}

fn packed_segments() -> Vec<Vec<u8>> {
    segments().iter().map(|bytes| packed::pack(bytes)).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let batch: Vec<u8> = made().iter().flat_map(|record| record.entry()).collect();
    let all = [
        Frame::Records(Piece::of(&batch, true)),
        Frame::Data(b"bytes".to_vec()),
        Frame::DataEnd,
        Frame::Missing,
        Frame::Wait,
        Frame::Done,
    ];
    let mut stream = Vec::new();
    for frame in &all {
        frame.write(&mut stream).expect("fits");
    }
    let hello = br#"{"v":1,"vault":"0101010101010101010101010101010101010101010101010101010101010101","device":"0202020202020202020202020202020202020202020202020202020202020202","frontier":{},"live":true}"#;
    let mut first = (hello.len() as u32).to_be_bytes().to_vec();
    first.push(1);
    first.extend_from_slice(hello);
    vec![stream, first]
}

fn tickets() -> Vec<Vec<u8>> {
    let ticket = Ticket {
        vault: VaultId([1; 32]),
        inviter: SecretKey::from_bytes(&[3; 32]).public(),
        addrs: vec!["127.0.0.1:4711".parse().expect("an address"), "[::1]:1".parse().expect("an address")],
        secret: aios_sync::ticket::Secret([9; 16]),
        expires: 1_800_000_000_000,
        roles: vec!["write".into(), "carry".into()],
        vault_name: "notes".into(),
    };
    vec![ticket.encode().expect("a ticket").into_bytes(), b"aios1".to_vec()]
}

fn letters() -> Vec<Vec<u8>> {
    let plain = "From: =?utf-8?Q?Zo=C3=AB?= <zoe@quay.example>\r\nSubject: =?iso-8859-1?B?6Q==?=\r\nMessage-ID: <7@x>\r\n\r\nHello\r\n";
    let parts = "From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"x\"\n\n--x\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<p>=C3=A9</p>\n--x\nContent-Disposition: attachment; filename=\"a.pdf\"\nContent-Transfer-Encoding: base64\n\nAAAA\n--x--\n";
    [plain, parts].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn paths() -> Vec<Vec<u8>> {
    let paths = [
        "a.md",
        "folder/sub/Note.md",
        "e\u{301}.md",
        "\u{391}\u{3a3}.md",
        "..",
        "/x",
        "a//b",
        "CON",
        "a (1234abcd).md",
        ".git/x",
    ];
    paths.map(|path| path.as_bytes().to_vec()).to_vec()
}

fn configs() -> Vec<Vec<u8>> {
    let all: [&[u8]; 3] = [
        br#"{"format":1,"remotes":[{"name":"hub","kind":"git","url":"/x/hub.git"}]}"#,
        br#"{"tip":[5,"0101010101010101010101010101010101010101010101010101010101010101"],"actor":"00"}"#,
        br#"{"format":1,"vault":"0101010101010101010101010101010101010101010101010101010101010101","name":"n","device":"0202020202020202020202020202020202020202020202020202020202020202"}"#,
    ];
    all.map(<[u8]>::to_vec).to_vec()
}

fn ignore_files() -> Vec<Vec<u8>> {
    vec![b"*.tmp\n!keep.tmp\n/folder/\nfolder/**/x\n[a-z].md\n\\#x\n".to_vec()]
}

fn objects() -> Vec<Vec<u8>> {
    let commit = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\nencoding ISO-8859-1\n\nmessage\n".to_vec();
    let mut tree = b"100644 a.md\0".to_vec();
    tree.extend([7; 20]);
    tree.extend(b"40000 folder\0");
    tree.extend([8; 20]);
    vec![commit, tree]
}

fn indexes() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a folder");
    let repo = Repository::init(dir.path()).expect("a repository");
    std::fs::write(dir.path().join("a.md"), "a").expect("written");
    std::fs::create_dir(dir.path().join("folder")).expect("made");
    std::fs::write(dir.path().join("folder/b.md"), "b").expect("written");
    let mut index = repo.index().expect("an index");
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).expect("added");
    index.write().expect("written");
    vec![std::fs::read(repo.path().join("index")).expect("read"), b"DIRC\0\0\0\x02\0\0\0\0".to_vec()]
}
