//! Effects of a connector that fails and fails wait, and one is tried; then all go on.

use serde_json::json;

use super::sim::{LAPTOP, PHONE, Sim, VAULT, World, operator};
use crate::kernel::*;
use crate::table::Passage;

const EACH: &str = "---
type: workflow
steps:
  all:
    each: 'range(1, 9) | list'
    as: n
    at_once: 8
    steps:
      send: {effect: mail.send, target: '{{ n }}', args: {}, retry: {attempts: 3, first: 1s, most: 1s}}
---
";
const ALLOW: &str = "---\ntype: policy\nrules: [{name: all, verdict: allow, capability: '*'}]\n---\n";

fn eight(refusals: u32) -> Sim {
    let refusals = (1..=8).map(|n| (n.to_string(), refusals)).collect();
    let mut sim = Sim::new(World { refusals, ..World::default() }, &[("w", EACH)], &[ALLOW]);
    sim.create("w", json!({}));
    sim
}

fn drain(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

fn passage(sim: &Sim) -> (u32, Passage) {
    let breaker = sim.kernel.tables().breaker("mail.send");
    (breaker.failures, breaker.passage(sim.now))
}

fn intended(sim: &Sim) -> usize {
    sim.names().iter().filter(|name| *name == "effect.intended").count()
}

/// Of eight that were under way together all failed; the second attempts wait, and burn nothing.
#[test]
fn it_opens_tries_one_and_closes() {
    let mut sim = eight(1);
    drain(&mut sim);
    assert_eq!((passage(&sim), intended(&sim)), ((8, Passage::Open), 8));
    let until = sim.kernel.tables().breaker("mail.send").until().unwrap();
    assert!(until > sim.now + 7 * 60_000, "each further failure doubles the pause");
    sim.now += 30_000;
    sim.give(Input::Tick { now: sim.now });
    drain(&mut sim);
    assert_eq!(intended(&sim), 8, "nothing is tried while it is open");
    // A new process knows it, too.
    sim.restart();
    drain(&mut sim);
    assert_eq!((passage(&sim), intended(&sim)), ((8, Passage::Open), 8));
    sim.now = until;
    sim.give(Input::Tick { now: sim.now });
    while intended(&sim) < 9 {
        let action = sim.queue.pop_front().expect("one is tried");
        sim.act(action);
    }
    assert_eq!(passage(&sim).1, Passage::HalfOpen);
    sim.run();
    assert_eq!(sim.done().len(), 8);
    assert_eq!(passage(&sim), (0, Passage::Closed));
    assert!(sim.kernel.inbox().is_empty());
}

#[test]
fn one_at_a_time_is_tried_while_it_fails() {
    let mut sim = eight(2);
    drain(&mut sim);
    let until = sim.kernel.tables().breaker("mail.send").until().unwrap();
    sim.now = until;
    sim.give(Input::Tick { now: sim.now });
    drain(&mut sim);
    assert_eq!((passage(&sim), intended(&sim)), ((9, Passage::Open), 9), "one alone");
    sim.run();
    assert_eq!(sim.done().len(), 8, "{:#?}", sim.kernel.inbox());
}

/// One that was under way when it opened is done: nothing waits for its time any more.
#[test]
fn what_waits_goes_on_when_one_under_way_is_done() {
    let one = "---\ntype: workflow\nsteps: {send: {effect: mail.send, target: other, args: {}}}\n---\n";
    let refusals = (1..=8).map(|n| (n.to_string(), 1)).collect();
    let world = World { refusals, ..World::default() };
    let mut sim = Sim::new(world, &[("one", one), ("w", EACH)], &[ALLOW]);
    let other = sim.kernel.create("other", "one", json!({}), Some(LAPTOP)).unwrap();
    sim.says(&other);
    sim.create("w", json!({}));
    let mut held = None;
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Perform { ref content, .. } if content.target == "other" => held = Some(action),
            action => sim.act(action),
        }
    }
    assert_eq!((passage(&sim), intended(&sim)), ((8, Passage::Open), 9));
    sim.now += 2_000;
    sim.give(Input::Tick { now: sim.now });
    drain(&mut sim);
    assert_eq!(intended(&sim), 9, "nothing is tried while it is open");
    sim.act(held.expect("one is under way"));
    drain(&mut sim);
    assert_eq!((passage(&sim), intended(&sim)), ((0, Passage::Closed), 17));
}

/// How it went on a device where it does not happen any more says nothing of the one where it does.
#[test]
fn it_is_that_of_the_home() {
    let mut sim = eight(1);
    sim.setting.maker = Some(LAPTOP);
    sim.restart();
    sim.create("w", json!({}));
    drain(&mut sim);
    assert_eq!(passage(&sim).1, Passage::Open);
    sim.says(&WorkEvent::take("mail.send", PHONE, 0, &VAULT, &operator()));
    assert_eq!(passage(&sim), (0, Passage::Closed));
}
