//! Two and three replicas converge, whatever the network does.

use aios_sync::error::SyncError;
use aios_sync::exchange::Mode;
use aios_sync::machine::Machine;
use aios_sync::outcome::Outcome;
use aios_sync::replica::Replica;

use crate::memory::{Memory, key};
use crate::schedule::{Random, pair, run};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed | 1);
    (0..len).map(|_| random.next() as u8).collect()
}

/// One exchange, to its end or to the cut.
fn exchange(
    a: &mut Memory,
    b: &mut Memory,
    random: &mut Random,
    cut: Option<usize>,
) -> Option<(Outcome, Outcome)> {
    let (mut x, mut y) = pair(a, b, Mode::OneShot);
    let (mut a, mut b) = (a.clone(), b.clone());
    let over = run((&mut x, &mut a), (&mut y, &mut b), random, cut);
    assert!(over, "stuck: {x:?} {y:?}");
    match (x.result(), y.result()) {
        (Some(Ok(())), Some(Ok(()))) => Some((x.outcome(), y.outcome())),
        (Some(Err(SyncError::Broken { .. })), _) | (_, Some(Err(SyncError::Broken { .. })))
            if cut.is_some() =>
        {
            None
        }
        other => panic!("{other:?}"),
    }
}

fn same(a: &Memory, b: &Memory) -> bool {
    a.frontier().unwrap() == b.frontier().unwrap()
}

#[test]
fn two_replicas_converge_over_any_schedule() {
    for seed in 1..40 {
        let mut random = Random(seed);
        let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
        exchange(&mut a, &mut b, &mut random, None).unwrap();
        for n in 0..random.below(20) {
            a.write(format!("a{n}").as_bytes());
        }
        for n in 0..random.below(20) {
            b.write(&noise(seed + n as u64, 1 + random.below(9000)));
        }
        b.write_blob(&noise(seed, 5000));
        a.write_history(&noise(seed + 1, 3000));
        let (x, y) = exchange(&mut a, &mut b, &mut random, None).unwrap();
        assert!(same(&a, &b), "seed {seed}");
        assert!(x.acknowledged && y.acknowledged, "seed {seed}");
        assert_eq!((x.progress.sent, x.progress.received), (y.progress.received, y.progress.sent));
        assert_eq!((x.progress.to_send, x.progress.to_receive), (x.progress.sent, x.progress.received));
        assert_eq!((x.integrated, x.apart_received, y.apart_received), (x.progress.received, 1, 1));
        assert!(a.missing_apart().unwrap().is_empty() && b.missing_apart().unwrap().is_empty());
        // Each knows the other to have all of it, and where the other listens.
        assert_eq!(a.state().acknowledged[&key(2).public()].view(), b.frontier().unwrap().view());
        assert_eq!(a.state().addrs[&key(2).public()], vec![([127, 0, 0, 1], 1002).into()]);
        assert_eq!(b.state().addrs[&key(1).public()], vec![([127, 0, 0, 1], 1001).into()]);
    }
}

#[test]
fn broken_connections_lose_nothing_and_get_on() {
    for seed in 1..9 {
        let mut random = Random(seed * 77);
        let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
        exchange(&mut a, &mut b, &mut random, None).unwrap();
        for n in 0..30 {
            a.write(&noise(seed * 100 + n, 60_000));
            b.write(format!("b{n}").as_bytes());
        }
        b.write_blob(&noise(seed, 3_000_000));
        let (mut tries, mut had) = (0, 0);
        loop {
            let cut = 1_200_000 + random.below(1_500_000);
            let over = exchange(&mut a, &mut b, &mut random, Some(cut));
            let have = a.count() + b.count();
            assert!(have >= had, "seed {seed}: what was integrated stays");
            had = have;
            tries += 1;
            assert!(tries < 30, "seed {seed}: no progress");
            if over.is_some() {
                break;
            }
        }
        assert!(tries > 1, "seed {seed}: the cuts came too late to test anything");
        assert!(same(&a, &b) && a.missing_apart().unwrap().is_empty(), "seed {seed}");
    }
}

#[test]
fn three_replicas_converge_in_any_order_of_meetings() {
    for seed in 1..15 {
        let mut random = Random(seed * 31);
        let mut all = Memory::company(3);
        let meet = |all: &mut Vec<Memory>, random: &mut Random, x: usize, y: usize| {
            let (mut a, mut b) = (all[x].clone(), all[y].clone());
            let cut = (random.below(3) == 0).then(|| 1 + random.below(4000));
            exchange(&mut a, &mut b, random, cut)
        };
        for (x, y) in [(0, 1), (0, 2)] {
            while meet(&mut all, &mut random, x, y).is_none() {}
        }
        for round in 0..12 {
            for (n, replica) in all.iter_mut().enumerate() {
                replica.write(format!("{seed} {round} {n}").as_bytes());
            }
            let (x, y) = [(0, 1), (1, 2), (2, 0)][random.below(3)];
            meet(&mut all, &mut random, x, y);
        }
        for (x, y) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            while meet(&mut all, &mut random, x, y).is_none() {}
        }
        assert!(same(&all[0], &all[1]) && same(&all[1], &all[2]), "seed {seed}");
    }
}

#[test]
fn nothing_to_do_costs_the_same_whatever_the_number_of_records() {
    let mut random = Random(5);
    let mut cost = |records: usize| {
        let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
        (100..100 + records).for_each(|n| drop(a.write(format!("{n}").as_bytes())));
        exchange(&mut a, &mut b, &mut random, None).unwrap();
        let (x, _) = exchange(&mut a, &mut b, &mut random, None).unwrap();
        assert_eq!((x.progress.sent, x.progress.received, x.acknowledged), (0, 0, true));
        x.progress.bytes_sent + x.progress.bytes_received
    };
    let (few, many) = (cost(100), cost(800));
    assert_eq!(few, many);
    assert!(many < 1500, "{many} bytes");
}

#[test]
fn a_record_longer_than_a_frame_arrives() {
    let mut random = Random(9);
    let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
    a.write(&noise(3, 7_500_000));
    a.write(b"after it");
    exchange(&mut a, &mut b, &mut random, None).unwrap();
    assert!(same(&a, &b));
}

#[test]
fn memory_stays_bounded_while_the_peer_does_not_answer() {
    let [mut a, b] = Memory::company(2).try_into().ok().unwrap();
    (0..40).for_each(|n| drop(a.write(&noise(n, 500_000))));
    let (mut x, mut y) = pair(&a, &b, Mode::OneShot);
    let mut sent = 0;
    let (mut a, mut b) = (a.clone(), b.clone());
    for step in 0..2000 {
        while let Some(job) = x.job() {
            x.ran(job(&mut a));
        }
        let bytes = x.outgoing().to_vec();
        x.sent(bytes.len());
        sent += bytes.len();
        // The peer says hello and then only takes bytes.
        y.receive(&bytes);
        if step == 0 {
            while let Some(job) = y.job() {
                y.ran(job(&mut b));
                if !y.outgoing().is_empty() {
                    break;
                }
            }
            x.receive(y.outgoing());
        }
    }
    assert!((3_000_000..7_000_000).contains(&sent), "{sent}");
    assert!(!y.wants_input(), "the receiver stops reading");
}

#[test]
fn what_nobody_has_is_reported_and_no_fault() {
    let mut random = Random(3);
    let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
    let apart = a.write_blob(b"lost");
    a.state().blobs.clear();
    let (x, y) = exchange(&mut a, &mut b, &mut random, None).unwrap();
    assert_eq!((x.apart_missing, y.apart_missing, y.acknowledged), (1, 1, true));
    assert_eq!(b.missing_apart().unwrap(), vec![apart]);
}

#[test]
fn two_connections_do_not_fetch_one_blob_twice() {
    let mut random = Random(4);
    let [mut a, mut b, mut c] = Memory::company(3).try_into().ok().unwrap();
    exchange(&mut a, &mut c, &mut random, None).unwrap();
    let apart = a.write_blob(b"some bytes");
    exchange(&mut a, &mut b, &mut random, None).unwrap();
    let mut other = c.clone();
    assert_eq!(other.apart_begin(&apart).unwrap(), Some(0));
    let (_, y) = exchange(&mut a, &mut c, &mut random, None).unwrap();
    assert_eq!((y.apart_received, y.apart_missing), (0, 0));
    drop(other);
    let (_, y) = exchange(&mut b, &mut c, &mut random, None).unwrap();
    assert_eq!(y.apart_received, 1);
}

#[test]
fn live_pushes_new_records_and_ends_in_good_order() {
    for seed in 1..60 {
        let mut random = Random(seed * 13);
        let [mut a, mut b] = Memory::company(2).try_into().ok().unwrap();
        let (mut x, mut y) = pair(&a, &b, Mode::Live);
        let (mut ha, mut hb) = (a.clone(), b.clone());
        // "Not over, and nothing to do" is what live means.
        assert!(!run((&mut x, &mut ha), (&mut y, &mut hb), &mut random, None));
        assert!(x.complete() && y.complete() && x.at_rest() && y.at_rest());
        for n in 0..5 {
            a.write(format!("a{n}").as_bytes());
            b.write(format!("b{n}").as_bytes());
            b.write_blob(format!("blob{n}").as_bytes());
            if random.below(2) == 0 {
                // One of them hears it from a third first.
                let last = a.state().records.clone();
                b.integrate(last).unwrap();
            }
            x.changed();
            y.changed();
            let over = run((&mut x, &mut ha), (&mut y, &mut hb), &mut random, None);
            assert!(!over, "seed {seed} round {n}: {:?} {:?}", x.result(), y.result());
            assert!(same(&a, &b) && a.missing_apart().unwrap().is_empty(), "seed {seed} round {n}");
        }
        assert!(x.outcome().acknowledged);
        x.close();
        y.closed("the peer ended it");
        assert_eq!((x.result(), y.result()), (Some(&Ok(())), Some(&Ok(()))));
    }
}

#[test]
fn live_with_one_who_does_not_want_it_is_one_shot() {
    let mut random = Random(8);
    let [a, b] = Memory::company(2).try_into().ok().unwrap();
    let (mut x, _) = pair(&a, &b, Mode::Live);
    let (_, mut y) = pair(&a, &b, Mode::OneShot);
    assert!(run((&mut x, &mut a.clone()), (&mut y, &mut b.clone()), &mut random, None));
    assert_eq!((x.result(), y.result()), (Some(&Ok(())), Some(&Ok(()))));
}
