//! What a kernel remembers is what it would be told.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::json;

use super::sim::*;
use crate::kernel::*;
use crate::table::NoImage;

const FLOW: &str = "---
type: workflow
steps:
  draft: {agent: writer, input: {n: 0.1}, retry: {attempts: 3, first: 1s}}
  all:
    each: '[1, 2.5, 3]'
    as: n
    steps:
      send: {effect: mail.send, target: '{{ n }}', args: {part: 0.3}, retry: {attempts: 3, first: 1s, most: 1s}}
  rest: {wait: 1h}
  last: {agent: writer, input: {n: 2}}
---
";

/// A day of work, some of which is over and some not.
fn day() -> Sim {
    let mut world = World { agent_failures: 1, ..World::default() };
    world.refusals.insert("2.5".into(), 2);
    let mut sim = Sim::new(world, &[("flow", FLOW)], &[]);
    for n in 0..6 {
        let created = sim.kernel.create(&format!("t{n}"), "flow", json!({}), None).unwrap();
        sim.queue.push_back(Action::Append(vec![created]));
        for _ in 0..if n < 4 { 200 } else { 6 * n } {
            if let Some(action) = sim.queue.pop_front() {
                sim.act(action);
            } else if !sim.operator() {
                let Some(wake) = sim.wake.take() else { break };
                sim.now = sim.now.max(wake);
                sim.give(Input::Tick { now: sim.now });
            }
        }
    }
    sim
}

fn loaded(sim: &Sim, log: &[(Stamp, Vec<Event>)], whole: usize) -> Kernel {
    let mut kernel = Kernel::new(VAULT, LAPTOP, sim.setting.clone(), 9);
    kernel.keep_whole(whole);
    log.iter().for_each(|(stamp, events)| kernel.load(*stamp, events));
    kernel
}

/// What a device keeps beside its keys.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    runs: BTreeMap<ContentHash, Vec<u8>>,
}

impl Kept {
    fn write(&mut self, kernel: &Kernel, whole: bool) {
        let mut run = Vec::new();
        let Remembered { head, runs } = kernel.image(&mut run, whole).unwrap();
        self.head = head;
        self.runs.insert(runs[0].hash, run);
        self.runs.retain(|hash, _| runs.iter().any(|title| title.hash == *hash));
    }

    fn read(&self) -> Result<Image, NoImage> {
        Image::read(&self.head, &|title| match self.runs.get(&title.hash) {
            Some(run) => Ok(Arc::new(run.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }
}

#[test]
fn who_begins_with_an_image_knows_and_does_the_same() {
    let sim = day();
    let tables = sim.kernel.tables();
    let over = tables.tasks().filter(|(_, task)| task.ended.is_some()).count();
    assert!(over > 0 && over < 6, "{over} of 6 tasks are over");
    for cut in (0..=sim.log.len()).step_by(7) {
        for whole in [0, 100] {
            let mut before = loaded(&sim, &sim.log[..cut], whole);
            let mut kept = Kept::default();
            kept.write(&before, false);
            let image = kept.read().unwrap();
            let began: Vec<_> = image.began().map(|(name, _)| name.to_owned()).collect();
            assert!(began.is_empty() || began == ["flow"], "{began:?}");
            let mut kernel = Kernel::from_image(VAULT, LAPTOP, sim.setting.clone(), 9, image);
            kernel.keep_whole(whole);
            // What came since comes in whatever order.
            let mut rest = sim.log[cut..].to_vec();
            if cut % 2 == 0 {
                rest.reverse();
            }
            rest.iter().for_each(|(stamp, events)| kernel.load(*stamp, events));
            let mut nothing = loaded(&sim, &sim.log, whole);
            assert!(*kernel.tables() == *nothing.tables(), "after {cut} records");
            assert!(kernel.tables().is_indexed());
            assert_eq!((&kernel.dirty, &kernel.heard), (&nothing.dirty, &nothing.heard), "after {cut}");
            assert_eq!((&kernel.leased, &kernel.seen), (&nothing.leased, &nothing.seen));
            let now = sim.now;
            assert_eq!(kernel.handle(Input::Tick { now }), nothing.handle(Input::Tick { now }));
            assert_eq!(kernel.inbox(), nothing.inbox());
            // It is an image again.
            before.handle(Input::Tick { now });
            kept.write(&before, true);
            assert!(kept.read().is_ok());
        }
    }
}

/// What only waits for its time is not looked at by whoever begins, unless other files are in force.
#[test]
fn what_waits_for_its_time_rests() {
    let flow = "---\ntype: workflow\nsteps:\n  rest: {wait: 1h}\n  ask: {ask: 'sure?'}\n---\n";
    let mut sim = Sim::new(World::default(), &[("flow", flow)], &[]);
    sim.create("flow", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    let mut kept = Kept::default();
    kept.write(&sim.kernel, false);
    let begin =
        |setting: &Setting| Kernel::from_image(VAULT, LAPTOP, setting.clone(), 9, kept.read().unwrap());
    let mut kernel = begin(&sim.setting);
    assert_eq!((kernel.dirty.len(), kernel.due.len(), kernel.tables().recent_tasks().count()), (0, 1, 0));
    let (wake, now) = (sim.now + 3_600_000, sim.now);
    let [Action::Wake(at)] = kernel.handle(Input::Tick { now })[..] else { panic!("it only waits") };
    assert!(at <= wake, "{at} and {wake}");
    let goes_on = kernel.handle(Input::Tick { now: wake + 1 });
    assert!(goes_on.iter().any(|it| matches!(it, Action::Append(_))), "{goes_on:?}");
    let mut other = sim.setting.clone();
    other.coordinator = Some(PHONE);
    assert_eq!(begin(&other).dirty.len(), 1);
    // Who was not done looking has nothing that rests.
    kept.write(&loaded(&sim, &sim.log, 9), false);
    assert_eq!(
        Kernel::from_image(VAULT, LAPTOP, sim.setting.clone(), 9, kept.read().unwrap()).dirty.len(),
        1
    );
}

/// What another kernel answers to whoever looks back.
fn told(kernel: &Kernel) -> String {
    let tasks: Vec<String> = kernel.tables().task_ids("").collect();
    let packets = tasks.iter().map(|id| format!("{:?} {:?}", kernel.packet(id), kernel.lasting(id)));
    let mut out: Vec<String> = packets.collect();
    out.push(format!("{:?} {:?}", kernel.spend(By::Capability, 0), kernel.latencies(0)));
    out.push(format!("{:?} {:?}", kernel.inbox(), kernel.needed_elsewhere()));
    out.push(format!("{:?}", kernel.pages(&jiff::tz::TimeZone::UTC, 0, Millis::MAX / 4)));
    out.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever comes late, and however often what is known was put into runs in between, as one run or several.
    #[test]
    fn what_lies_in_runs_is_as_if_it_were_in_memory(
        order in Just((0..DAY.log.len()).collect::<Vec<usize>>()).prop_shuffle(),
        late in 0..DAY.log.len(),
        steps in prop::collection::vec((1..40usize, any::<bool>(), any::<bool>()), 1..12),
        whole in 0..4usize,
    ) {
        // Most come in their order; some come after all others.
        let late = &order[..late / 4];
        let sorted = (0..DAY.log.len()).filter(|n| !late.contains(n)).chain(late.iter().copied());
        let log: Vec<_> = sorted.map(|n| DAY.log[n].clone()).collect();
        let (mut kernel, mut kept, mut at) = (loaded(&DAY, &[], whole), Kept::default(), 0);
        for (records, all, anew) in steps {
            let until = (at + records).min(log.len());
            log[at..until].iter().for_each(|(stamp, events)| kernel.load(*stamp, events));
            at = until;
            kept.write(&kernel, all);
            let image = kept.read().unwrap();
            match anew {
                true => kernel = Kernel::from_image(VAULT, LAPTOP, DAY.setting.clone(), 9, image),
                false => kernel.go_by(image),
            }
            kernel.keep_whole(whole);
            let memory = loaded(&DAY, &log[..at], 100);
            prop_assert!(*kernel.tables() == *memory.tables(), "after {at} records");
            prop_assert!(*memory.tables() == *kernel.tables(), "after {at} records");
            prop_assert!(kernel.tables().is_indexed());
        }
        log[at..].iter().for_each(|(stamp, events)| kernel.load(*stamp, events));
        let mut memory = loaded(&DAY, &log, 100);
        prop_assert!(*kernel.tables() == *memory.tables());
        let now = DAY.now;
        prop_assert_eq!(kernel.handle(Input::Tick { now }), memory.handle(Input::Tick { now }));
        prop_assert_eq!(told(&kernel), told(&memory));
        prop_assert_eq!(kernel.fault(), None);
    }
}

static DAY: LazyLock<Sim> = LazyLock::new(day);

#[test]
fn bytes_that_are_no_image_are_none() {
    let mut kept = Kept::default();
    kept.write(&DAY.kernel, true);
    let image = kept.head.clone();
    for end in (0..image.len()).step_by(image.len() / 40) {
        kept.head = image[..end].to_vec();
        assert!(kept.read().is_err(), "cut off at {end}");
    }
    kept.head = [&image[..], b"x"].concat();
    assert!(kept.read().is_err());
    for at in (0..image.len()).step_by(image.len() / 60) {
        kept.head = image.clone();
        kept.head[at] ^= 0x55;
        // It may be one of something else, and is nothing that ends the process.
        let _ = kept.read();
    }
}

#[test]
fn a_run_that_was_changed_is_no_run() {
    let mut kept = Kept::default();
    kept.write(&DAY.kernel, true);
    let (hash, run) = kept.runs.pop_first().unwrap();
    assert!(kept.read().is_err(), "a run that is gone");
    for at in (0..run.len()).step_by(run.len() / 60) {
        let mut broken = run.clone();
        broken[at] ^= 0x55;
        kept.runs.insert(hash, broken);
        // Its index is another, or what it is asked for cannot be read, and then nothing is done.
        let Ok(image) = kept.read() else { continue };
        let mut kernel = Kernel::from_image(VAULT, LAPTOP, DAY.setting.clone(), 9, image);
        assert!(kernel.tables().tasks().count() + kernel.tables().effects().count() < usize::MAX);
        _ = (told(&kernel), kernel.tables().clone() == *DAY.kernel.tables());
        assert!(kernel.fault().is_some(), "the byte at {at} was changed");
        assert_eq!(kernel.handle(Input::Tick { now: DAY.now }), []);
    }
}
