//! Peers that lie: each gets an error that names it and the record, and nothing bad is integrated.

use aios_core::frontier::{Frontier, Place};
use aios_core::id::{DeviceId, GitId, RecordId, VaultId};
use aios_core::item::{Content, Item};
use aios_core::record::{Record, RecordError};
use aios_sync::error::{Code, Fault, SyncError};
use aios_sync::exchange::{Exchange, Mode};
use aios_sync::frame::{Applied, Decoder, Frame, FrameError, Hello, MAX_PAYLOAD, Piece, Refusal, Want};
use aios_sync::machine::Machine;
use aios_sync::replica::{Apart, Replica};

use crate::memory::{DAY, Memory, NOW, key};
use crate::schedule::{Random, pair, run};

/// Device 2 lies to device 1.
fn liar() -> DeviceId {
    key(2).public()
}

/// Both have the same records.
fn company() -> (Memory, Memory) {
    let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
    let (mut x, mut y) = pair(&a, &b, Mode::OneShot);
    assert!(run((&mut x, &mut a), (&mut y, &mut b), &mut Random(1), None));
    (a, b)
}

fn hello(of: &Memory, frontier: Frontier) -> Hello {
    let (vault, device) = (of.vault(), of.device());
    Hello {
        v: 1,
        vault,
        device,
        frontier,
        live: false,
        addrs: Default::default(),
        app: "liar".into(),
        lean: false,
    }
}

/// The frontier of `of` with these records on top.
fn claim(of: &Memory, records: &[&Record]) -> Frontier {
    let mut frontier = of.frontier().unwrap();
    for record in records {
        frontier.0.insert(record.header.device, (record.header.seq, record.id));
    }
    frontier
}

fn wire(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut out).unwrap());
    out
}

fn batch(entries: &[Vec<u8>]) -> Vec<Frame> {
    Piece::cut(&entries.concat()).into_iter().map(Frame::Records).collect()
}

/// What `honest` makes of `bytes` from the liar, and what it answers.
fn hear(honest: &Memory, bytes: &[u8]) -> (Exchange, Vec<Frame>) {
    let mut exchange = Exchange::new(liar().into(), honest.vault(), Mode::OneShot, vec![], "test");
    let (mut handle, mut decoder, mut said) = (honest.clone(), Decoder::default(), Vec::new());
    exchange.receive(bytes);
    loop {
        let out = exchange.outgoing().to_vec();
        exchange.sent(out.len());
        decoder.push(&out);
        while let Some(frame) = decoder.frame().unwrap() {
            said.push(frame);
        }
        match exchange.job() {
            Some(job) => exchange.ran(job(&mut handle)),
            None if out.is_empty() => return (exchange, said),
            None => {}
        }
    }
}

/// The error that `honest` ends with; checks that it told the liar so and that nothing new is there.
fn caught(honest: &Memory, bytes: &[u8]) -> SyncError {
    let before = honest.frontier().unwrap();
    let (exchange, said) = hear(honest, bytes);
    let Some(Err(error)) = exchange.result() else { panic!("not caught: {exchange:?}, it said {said:?}") };
    assert!(matches!(said.last(), Some(Frame::Error(_))), "{said:?}");
    assert!(error.to_string().contains(&liar().short(8)), "{error}");
    assert_eq!(error.fault(), Fault::Lying, "{error}");
    assert_eq!(honest.frontier().unwrap(), before);
    assert!(!exchange.outcome().acknowledged || exchange.progress().to_send == 0);
    error.clone()
}

/// As [`caught`], for one record.
fn caught_with(honest: &Memory, of: &Memory, record: &Record) -> SyncError {
    let mut frames = vec![Frame::Hello(Box::new(hello(of, claim(of, &[record]))))];
    frames.extend(batch(&[record.entry()]));
    caught(honest, &wire(&frames))
}

#[test]
fn a_bad_signature() {
    let (a, b) = company();
    let mut record = b.draft(vec![], vec![], |_| {});
    record.signature[7] ^= 1;
    let place = record.header.place();
    let error = caught_with(&a, &b, &record);
    assert!(
        matches!(error, SyncError::Entry { source: RecordError::Signature(_), .. })
            && error.record() == Some(place),
        "{error:?}"
    );
    assert!(error.to_string().contains(&place.to_string()));
}

#[test]
fn a_record_signed_by_another() {
    let (a, b) = company();
    // Device 2 makes up a record of device 1.
    let record = b.draft(vec![], vec![], |h| {
        let last = a.state().records.iter().rfind(|r| r.header.device == key(1).public()).unwrap().clone();
        (h.device, h.seq, h.prev, h.deps) = (last.header.device, last.header.seq + 1, Some(last.id), vec![]);
    });
    assert!(matches!(
        caught_with(&a, &b, &record),
        SyncError::Entry { source: RecordError::Signature(_), .. }
    ));
}

#[test]
fn changed_bytes() {
    let (a, b) = company();
    let bytes = b"payload";
    let item = Item::Create {
        doc: aios_core::id::DocId([1; 32]),
        path: "x".into(),
        after: String::new(),
        kind: aios_core::item::Kind::Md,
        mode: aios_core::item::Mode::File,
        content: Content::of(bytes),
        base: aios_core::item::Base::default(),
    };
    let record = b.draft(vec![item], bytes.to_vec(), |_| {});
    let entry = record.entry();
    for at in (0..entry.len()).step_by(3) {
        let mut bad = entry.clone();
        bad[at] ^= 1;
        let mut frames = vec![Frame::Hello(Box::new(hello(&b, claim(&b, &[&record]))))];
        frames.extend(batch(&[bad]));
        caught(&a, &wire(&frames));
    }
    let mut frames = vec![Frame::Hello(Box::new(hello(&b, claim(&b, &[&record]))))];
    frames.extend(batch(&[entry[..entry.len() - 1].to_vec()]));
    assert!(matches!(caught(&a, &wire(&frames)), SyncError::Entry { source: RecordError::Incomplete, .. }));
}

#[test]
fn a_gap() {
    let (a, mut b) = company();
    b.write(b"one");
    let second = b.write(b"two");
    let error = caught_with(&a, &b, &second);
    let place = second.header.place();
    assert!(matches!(error, SyncError::Gap { record, expected: 1, .. } if record == place), "{error:?}");
}

#[test]
fn what_came_before_the_lie_is_kept() {
    let (a, mut b) = company();
    let good = b.write(b"one");
    let mut bad = b.write(b"two");
    bad.signature[0] ^= 1;
    let mut frames = vec![Frame::Hello(Box::new(hello(&b, b.frontier().unwrap())))];
    frames.extend(batch(&[good.entry(), bad.entry()]));
    let (exchange, _) = hear(&a, &wire(&frames));
    assert!(matches!(exchange.result(), Some(Err(SyncError::Entry { .. }))));
    assert_eq!(a.frontier().unwrap().0[&liar()], (1, good.id));
}

#[test]
fn two_records_with_one_number() {
    let (mut a, mut b) = company();
    let mut copy = Memory::empty(b.vault(), key(2));
    copy.integrate(b.state().records.clone()).unwrap();
    let ours = b.write(b"here");
    a.integrate(vec![ours.clone()]).unwrap();
    // In what it claims.
    let theirs = copy.write(b"there");
    let error = caught(&a, &wire(&[Frame::Hello(Box::new(hello(&copy, copy.frontier().unwrap())))]));
    let fork = |error: &SyncError, place: Place, us: RecordId, them: RecordId| matches!(error, SyncError::Fork { record, ours, theirs, .. } if (*record, *ours, *theirs) == (place, us, them));
    assert!(fork(&error, ours.header.place(), ours.id, theirs.id), "{error:?}");
    // In what it builds on.
    let next = copy.write(b"there too");
    let error = caught_with(&a, &copy, &next);
    assert!(fork(&error, ours.header.place(), ours.id, theirs.id), "{error:?}");
    // In what it sends again.
    let error = caught_with(&a, &b, &theirs);
    assert!(matches!(error, SyncError::Fork { .. }), "{error:?}");
    // In what it claims and then does not send.
    let mut frames = vec![Frame::Hello(Box::new(hello(&b, claim(&b, &[&b.draft(vec![], vec![], |_| {})]))))];
    let other = b.draft(vec![Item::MoveDir { from: "a".into(), to: "b".into() }], vec![], |_| {});
    frames.extend(batch(&[other.entry()]));
    assert!(matches!(caught(&a, &wire(&frames)), SyncError::Fork { .. }));
}

#[test]
fn another_vault() {
    let (a, b) = company();
    let greeting = Hello { vault: VaultId([9; 32]), ..hello(&b, b.frontier().unwrap()) };
    assert!(matches!(caught(&a, &wire(&[Frame::Hello(Box::new(greeting))])), SyncError::OtherVault { .. }));
    let record = b.draft(vec![], vec![], |h| h.vault = VaultId([9; 32]));
    assert!(
        matches!(caught_with(&a, &b, &record), SyncError::Foreign { vault, .. } if vault == VaultId([9; 32]))
    );
}

#[test]
fn another_device() {
    let (a, b) = company();
    let greeting = Hello { device: key(1).public(), ..hello(&b, b.frontier().unwrap()) };
    assert!(matches!(caught(&a, &wire(&[Frame::Hello(Box::new(greeting))])), SyncError::Impostor { .. }));
}

#[test]
fn frames_that_are_none() {
    let (a, b) = company();
    let start = wire(&[Frame::Hello(Box::new(hello(&b, b.frontier().unwrap())))]);
    let then = |bytes: &[u8]| caught(&a, &[&start, bytes].concat());
    let oversize = [((MAX_PAYLOAD + 1) as u32).to_be_bytes().as_slice(), &[2]].concat();
    assert!(matches!(then(&oversize), SyncError::Frame { source: FrameError::Oversize(_), .. }));
    assert!(matches!(then(&[0, 0, 0, 0, 77]), SyncError::Frame { source: FrameError::Unknown(77), .. }));
    assert!(matches!(then(b"GET / HTTP/1.1\r\n\r\n"), SyncError::Frame { .. }));
    assert!(matches!(caught(&a, b"GET / HTTP/1.1\r\n\r\n"), SyncError::Frame { .. }));
    let no_lz4 = [&[0, 0, 0, 6, 2, 0, 0, 1, 0], [0xff, 0xff].as_slice()].concat();
    assert!(matches!(then(&no_lz4), SyncError::Frame { source: FrameError::Malformed { .. }, .. }));
    let no_log = wire(&batch(&[b"this is no log entry at all, however long it goes on".repeat(20)]));
    let error = then(&no_log);
    assert!(matches!(error, SyncError::Entry { .. }) && error.record().is_none());
}

#[test]
fn frames_out_of_turn() {
    let (a, b) = company();
    let start = Frame::Hello(Box::new(hello(&b, b.frontier().unwrap())));
    let frontier = b.frontier().unwrap();
    let bad = [
        vec![Frame::Done],
        vec![start.clone(), start.clone()],
        vec![start.clone(), Frame::Data(vec![1])],
        vec![start.clone(), Frame::DataEnd],
        vec![start.clone(), Frame::Missing],
        vec![start.clone(), Frame::Applied(Applied { frontier, held: vec![] })],
        vec![
            start.clone(),
            Frame::Challenge(aios_sync::frame::Challenge { nonce: aios_sync::frame::Nonce([0; 32]) }),
        ],
    ];
    for frames in bad {
        assert!(matches!(caught(&a, &wire(&frames)), SyncError::Protocol { .. }), "{frames:?}");
    }
    let want = Frame::Want(Want { apart: Apart::History(GitId([0; 20])), offset: 0 });
    let mut flood = vec![start.clone()];
    flood.extend(std::iter::repeat_n(want, 2000));
    assert!(matches!(caught(&a, &wire(&flood)), SyncError::Protocol { .. }));
}

#[test]
fn a_frontier_that_is_not_served() {
    let (a, mut b) = company();
    let one = b.write(b"one");
    let frames = [Frame::Hello(Box::new(hello(&b, b.frontier().unwrap()))), Frame::Done];
    let error = caught(&a, &wire(&frames));
    assert!(matches!(error, SyncError::Unserved { record, .. } if record == one.header.place()), "{error:?}");
}

#[test]
fn a_record_whose_author_is_no_member() {
    let (a, b) = company();
    let mut stranger = Memory::empty(b.vault(), key(9));
    stranger.integrate(b.state().records.clone()).unwrap();
    let record = stranger.draft(vec![], vec![], |_| {});
    let error = caught_with(&a, &b, &record);
    assert!(
        matches!(&error, SyncError::Unacceptable { record: r, .. } if *r == record.header.place()),
        "{error:?}"
    );
}

#[test]
fn a_record_whose_past_is_not_here() {
    let (a, b) = company();
    let record = b.draft(vec![], vec![], |h| h.deps = vec![RecordId([5; 32])]);
    assert!(matches!(caught_with(&a, &b, &record), SyncError::Unacceptable { .. }));
}

#[test]
fn a_clock_in_the_future_is_held_and_shown() {
    let (mut a, b) = company();
    let record = b.draft(vec![], vec![], |h| h.clock.0 = NOW + 2 * DAY);
    let before = a.frontier().unwrap();
    let mut frames = vec![Frame::Hello(Box::new(hello(&b, claim(&b, &[&record]))))];
    frames.extend(batch(&[record.entry()]));
    frames.push(Frame::Done);
    let (exchange, said) = hear(&a, &wire(&frames));
    assert_eq!(exchange.result(), Some(&Ok(())));
    assert_eq!(a.frontier().unwrap(), before);
    let (outcome, place) = (exchange.outcome(), record.header.place());
    let problem = outcome.problem(exchange.peer(), exchange.frontier().unwrap()).unwrap();
    assert!(matches!(&problem, SyncError::Held { record, .. } if *record == place), "{problem:?}");
    assert!(problem.to_string().contains(&place.to_string()) && problem.to_string().contains("device2"));
    let held = said.iter().find_map(|frame| match frame {
        Frame::Applied(applied) => Some(applied.held.clone()),
        _ => None,
    });
    assert_eq!(held, Some(vec![place]));
    // What comes later from others is not in its way.
    a.write(b"on we go");
}

#[test]
fn a_peer_that_holds_our_record_has_not_acknowledged() {
    let (a, b) = company();
    let record = b.draft(vec![], vec![], |h| h.clock.0 = NOW + DAY);
    b.clone().integrate(vec![record.clone()]).unwrap();
    let late = b.draft(vec![], vec![], |h| h.clock.0 = NOW + 2 * DAY);
    {
        // Device 2 itself has taken it, its own clock being wrong.
        let mut state = b.state();
        state.ids.insert(late.header.place(), late.id);
        state.records.push(late.clone());
    }
    let (mut x, mut y) = pair(&a, &b, Mode::OneShot);
    assert!(run((&mut x, &mut a.clone()), (&mut y, &mut b.clone()), &mut Random(2), None));
    assert_eq!((x.result(), y.result()), (Some(&Ok(())), Some(&Ok(()))));
    let outcome = y.outcome();
    assert!(!outcome.acknowledged && outcome.held_there == vec![late.header.place()]);
    let problem = outcome.problem(y.peer(), y.frontier().unwrap()).unwrap();
    assert!(matches!(problem, SyncError::Unapplied { record, .. } if record == late.header.place()));
}

#[test]
fn wrong_bytes_of_a_blob() {
    let (a, mut b) = company();
    let apart = b.write_blob(b"the right bytes");
    let records = b.state().records.last().unwrap().clone();
    let mut start = vec![Frame::Hello(Box::new(hello(&b, b.frontier().unwrap())))];
    start.extend(batch(&[records.entry()]));
    let answer = |data: &[&[u8]]| {
        let fresh = Memory::empty(a.vault(), key(1));
        fresh.clone().integrate(a.state().records.clone()).unwrap();
        let mut exchange = Exchange::new(liar().into(), fresh.vault(), Mode::OneShot, vec![], "test");
        let mut handle = fresh.clone();
        let mut settle = |exchange: &mut Exchange, bytes: &[u8]| {
            exchange.receive(bytes);
            while let Some(job) = exchange.job() {
                exchange.ran(job(&mut handle));
            }
        };
        settle(&mut exchange, &wire(&start));
        let mut frames: Vec<Frame> = data.iter().map(|bytes| Frame::Data(bytes.to_vec())).collect();
        frames.push(Frame::DataEnd);
        settle(&mut exchange, &wire(&frames));
        assert_eq!(fresh.missing_apart().unwrap().len(), usize::from(exchange.result().is_some()));
        let partial = fresh.state().partial.values().map(Vec::len).sum::<usize>();
        assert_eq!(partial, 0, "wrong bytes are dropped");
        exchange.result().cloned()
    };
    let corrupt =
        |result| matches!(result, Some(Err(SyncError::Corrupt { apart: named, .. })) if named == apart);
    assert!(corrupt(answer(&[b"the wrong bytes"])));
    assert!(corrupt(answer(&[b"short"])));
    assert!(corrupt(answer(&[b"the right bytes", b" and more"])));
    assert!(corrupt(answer(&[b""])));
    assert_eq!(answer(&[b"the right", b" bytes"]), None, "right bytes are taken, and it goes on");
}

#[test]
fn a_refusal_is_passed_on_and_cleaned() {
    let (a, _) = company();
    let refusal = Refusal { code: Code::NotMember, text: "go\u{1b}[31m away".repeat(100) };
    let (exchange, _) = hear(&a, &wire(&[Frame::Error(refusal)]));
    let Some(Err(SyncError::Refused { code: Code::NotMember, text, .. })) = exchange.result() else {
        panic!("{exchange:?}")
    };
    assert!(text.len() == 400 && !text.contains('\u{1b}'));
}

#[test]
fn another_version() {
    let (a, b) = company();
    let greeting = Hello { v: 2, ..hello(&b, b.frontier().unwrap()) };
    let (exchange, _) = hear(&a, &wire(&[Frame::Hello(Box::new(greeting))]));
    assert!(matches!(exchange.result(), Some(Err(SyncError::Version { version: 2, .. }))));
}

#[test]
fn random_flips_on_the_wire_integrate_nothing_bad() {
    let (mut a, mut b) = company();
    (0..5).for_each(|n| drop(b.write(format!("{n}").as_bytes())));
    a.write(b"x");
    let mut random = Random(99);
    let mut frames = vec![Frame::Hello(Box::new(hello(&b, b.frontier().unwrap())))];
    let new =
        b.state().records.iter().filter(|r| r.header.device == liar()).map(|r| r.entry()).collect::<Vec<_>>();
    frames.extend(batch(&new));
    let good = wire(&frames);
    for _ in 0..300 {
        let fresh = Memory::empty(a.vault(), key(1));
        fresh.clone().integrate(a.state().records.clone()).unwrap();
        let mut bad = good.clone();
        let at = random.below(bad.len());
        bad[at] ^= 1 << random.below(8);
        hear(&fresh, &bad);
        let known = b.state();
        for record in fresh.state().records.iter().filter(|r| r.header.device == liar()) {
            assert_eq!(known.ids.get(&record.header.place()), Some(&record.id));
        }
    }
}
