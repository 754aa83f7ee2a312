//! What is spent is told, and what is put aside for what never happens is free again.

use serde_json::json;

use aios_core::clock::Hlc;

use super::sim::{LAPTOP, PHONE, START, Sim, World};
use crate::kernel::*;
use crate::money::Money;

const EACH: &str = "---
type: workflow
input: {type: object, properties: {to: {type: array}}}
steps:
  all:
    each: input.to
    as: to
    steps: {send: {effect: mail.send, target: '{{ to }}', amount: 5, args: {}, retry: 1}}
---
";
const CAPS: &str = "---\ntype: policy\nrules: [{name: mails, verdict: allow, capability: mail.send, zone: UTC, caps: [{count: 3, money: 12, per: day}]}]\n---\n";

fn office(never: &[&str], to: &[&str]) -> Sim {
    let world = World { never: never.iter().map(ToString::to_string).collect(), ..World::default() };
    let mut sim = Sim::new(world, &[("each", EACH)], &[CAPS]);
    sim.consent = true;
    sim.create("each", json!({"to": to}));
    sim
}

fn used(sim: &Sim) -> (u64, Money) {
    let caps = sim.kernel.caps(sim.now);
    let [cap] = &caps[..] else { panic!("{caps:?}") };
    assert_eq!((cap.count, cap.money), (Some(3), Some(Money(1200))));
    (cap.used.count, cap.used.money)
}

#[test]
fn what_is_spent_is_told_beside_its_caps() {
    let mut sim = office(&[], &["ann", "bob", "cem"]);
    sim.run();
    // The third passes the cap in money: the operator allowed it, and the rule did not.
    assert_eq!(used(&sim), (2, Money(1000)));
    let all = Cost { effects: 3, spent: Money(1500), held: Money(0) };
    let of = |name: &str| Of::Name(Some(name.to_owned()));
    for (by, of) in [
        (By::Capability, of("mail.send")),
        (By::Workflow, of("each")),
        (By::Agent, Of::Name(None)),
        (By::Device, Of::Device(LAPTOP)),
        (By::Day, of("2026-09-21")),
    ] {
        assert_eq!(sim.kernel.spend(by, 0), [(of, all)].into(), "{by:?}");
    }
    assert!(sim.kernel.spend(By::Day, sim.now + 1).is_empty());
}

/// While it may be tried again what failed is put aside; when its run is over it is free.
#[test]
fn what_never_happens_is_free_again() {
    let mut sim = office(&["ann"], &["ann"]);
    sim.run();
    assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { .. }]));
    assert_eq!(used(&sim), (1, Money(500)));
    assert!(sim.kernel.spend(By::Capability, 0).is_empty());
    sim.says(&WorkEvent::TaskCancelled { task: "t".into(), note: "enough".into() });
    sim.run();
    assert_eq!(used(&sim), (0, Money(0)));
}

/// A record that comes late says that another device works on the task, whose proposals are not known yet: what was done for the first
/// counts all the same.
#[test]
fn what_happened_counts_whoever_turns_out_to_have_the_task() {
    let mut sim = office(&[], &["ann", "bob"]);
    sim.setting.maker = Some(LAPTOP);
    sim.restart();
    sim.create("each", json!({"to": ["ann", "bob"]}));
    sim.run();
    assert_eq!(used(&sim), (2, Money(1000)));
    let created = WorkEvent::TaskCreated {
        task: "t".into(),
        workflow: "each".into(),
        version: sim.setting.current["each"],
        input: json!({"to": ["ann", "bob"]}),
        parent: None,
        on: Some(PHONE),
        trigger: None,
    };
    sim.kernel.load(Stamp::new(Hlc(START - 1, 0), PHONE, 1), &[Event::try_from(&created).unwrap()]);
    assert_eq!(sim.kernel.tables().task("t").and_then(|task| task.device), Some(PHONE));
    assert_eq!(used(&sim), (2, Money(1000)));
}
