//! What is told of a task is what happened to it, and its commands lead on.

use serde_json::json;

use super::sim::{Sim, VAULT, World, operator};
use super::*;
use crate::money::Money;

const BILL: &str = "---
type: workflow
title: A bill
input: {type: object, properties: {client: {type: string}}}
steps:
  draft: {agent: writer, input: {n: 1}}
  pay: {effect: file.write, target: bank, amount: 5, args: {}}
  send: {effect: mail.send, target: '{{ input.client }}', amount: 12.5, args: {text: '{{ steps.draft.text }}'}, retry: {attempts: 2, first: 1s}}
  sub: {workflow: note, input: {}}
---
";
const NOTE: &str = "---\ntype: workflow\nsteps: {ask: {ask: 'Well?'}}\n---\n";
const ALLOW: &str = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";

fn bill(world: World, policies: &[&str]) -> Sim {
    let mut sim = Sim::new(world, &[("bill", BILL), ("note", NOTE)], policies);
    sim.create("bill", json!({"client": "ann"}));
    sim
}

fn drain(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

#[test]
fn a_dead_letter_says_what_was_wanted_and_every_attempt() {
    let mut sim = bill(World { refusals: [("ann".to_owned(), 2)].into(), ..World::default() }, &[ALLOW]);
    sim.run();
    let packet = sim.kernel.packet("t").unwrap();
    let dead = packet.dead.as_ref().unwrap();
    assert_eq!(dead.wanted, "mail.send to ann, 12.50, step `send` of workflow `bill`");
    assert_eq!(dead.failure.to_string(), "transient: busy");
    let steps: Vec<_> = packet.steps.iter().map(|it| (it.step.as_str(), it.state, it.attempts)).collect();
    assert_eq!(steps, [("draft", "done", 1), ("pay", "done", 1), ("send", "failed", 2)]);
    let numbers: Vec<_> = packet.steps[2].failed.iter().map(|it| (it.number, it.failure.class)).collect();
    assert_eq!(numbers, [(1, Class::Transient), (2, Class::Transient)]);
    assert_eq!(packet.cost, Cost { effects: 1, spent: Money(500), held: Money(0) });
    let next = ["aios task retry t", "aios task retry t --from 'draft'", "aios task cancel t"];
    assert_eq!(packet.next, next);
    let Need::Dead { next: same, failed, .. } = sim.kernel.inbox()[0].clone() else {
        panic!("no dead letter")
    };
    assert_eq!((same, failed.len()), (packet.next, 2));
    // Another device shows it, too.
    let mut phone = Kernel::new(VAULT, sim::PHONE, sim.setting.clone(), 3);
    sim.log.iter().for_each(|(stamp, events)| phone.load(*stamp, events));
    phone.handle(Input::Tick { now: sim.now });
    assert!(matches!(phone.needed_elsewhere()[..], [Need::Dead { .. }]));
}

#[test]
fn a_packet_knows_its_kin_and_what_goes_on_from_there() {
    let mut sim = bill(World::default(), &[]);
    drain(&mut sim);
    let (key, digest) = sim.until_asked();
    let next = sim.kernel.packet("t").unwrap().next;
    let short = key.0.short(12);
    assert_eq!(
        next,
        [
            format!("aios approve {short}"),
            format!("aios deny {short} --note WHY"),
            "aios task cancel t".into()
        ]
    );
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    drain(&mut sim);
    assert_eq!(sim.kernel.packet("t").unwrap().cost.spent, Money(500));
    let (key, digest) = sim.until_asked();
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    drain(&mut sim);
    let packet = sim.kernel.packet("t").unwrap();
    let child = packet.below[0].clone();
    assert_eq!((child.step.as_str(), child.workflow.as_deref()), ("sub", Some("note")));
    let below = sim.kernel.packet(&child.task).unwrap();
    assert_eq!(below.above, [Kin { task: "t".into(), workflow: Some("bill".into()), step: "sub".into() }]);
    assert_eq!(below.next[0], format!("aios answer {} ANSWER", child.task));
    sim.says(&WorkEvent::TaskPaused { task: "t".into() });
    drain(&mut sim);
    assert_eq!(sim.kernel.packet(&child.task).unwrap().next[0], "aios task resume t");
}
