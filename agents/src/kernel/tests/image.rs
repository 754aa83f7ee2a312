//! What a kernel remembers is what it would be told.

use serde_json::json;

use super::sim::*;
use crate::kernel::*;

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

#[test]
fn who_begins_with_an_image_knows_and_does_the_same() {
    let sim = day();
    let tables = sim.kernel.tables();
    let over = tables.tasks().filter(|(_, task)| task.ended.is_some()).count();
    assert!(over > 0 && over < 6, "{over} of 6 tasks are over");
    for cut in (0..=sim.log.len()).step_by(7) {
        for whole in [0, 100] {
            let mut before = loaded(&sim, &sim.log[..cut], whole);
            let image = Image::read(&before.image().unwrap()).unwrap();
            let began: Vec<_> = image.began().map(|(name, _)| name.to_owned()).collect();
            assert!(began.is_empty() || began == ["flow"], "{began:?}");
            let mut kernel = Kernel::from_image(VAULT, LAPTOP, sim.setting.clone(), 9, image);
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
            assert!(Image::read(&before.image().unwrap()).is_ok());
        }
    }
}

#[test]
fn bytes_that_are_no_image_are_none() {
    let sim = day();
    let image = sim.kernel.image().unwrap();
    for end in (0..image.len()).step_by(image.len() / 40) {
        assert!(Image::read(&image[..end]).is_err(), "cut off at {end}");
    }
    assert!(Image::read(&[&image[..], b"x"].concat()).is_err());
    for at in (0..image.len()).step_by(image.len() / 60) {
        let mut broken = image.clone();
        broken[at] ^= 0x55;
        // It may be one of something else, and is nothing that ends the process.
        let _ = Image::read(&broken);
    }
}
