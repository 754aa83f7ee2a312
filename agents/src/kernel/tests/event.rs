//! What events start: one task for each, however often it is told, here and not elsewhere; and what comes from outside asks.

use serde_json::json;

use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World};
use crate::event::{Fired, event_task};
use crate::kernel::*;

const RECEIPT: &str = "---
type: workflow
on: [manual, {event: bank.paid, where: event.amount > 10}]
input: {type: object, required: [client], properties: {client: {type: string}, amount: {type: number}}}
steps:
  write: {effect: file.write, target: '{{ input.client }}', args: '{{ trigger.id }}'}
  tell: {emit: books.changed, data: {client: '{{ input.client }}', sum: '{{ input.amount }}'}}
---
";
const BOOKS: &str = "---
type: workflow
on: {event: books.changed}
input: {type: object, properties: {client: {type: string}}}
steps: {note: {effect: file.write, target: books, args: '{{ trigger.data.sum }}'}}
---
";
const HOOK: &str = "---
type: workflow
on: {webhook: /pay}
input: {type: object, properties: {client: {type: string}}}
steps:
  sub: {workflow: note, input: {client: '{{ input.client }}'}}
---
";
const NOTE: &str = "---
type: workflow
input: {type: object, properties: {client: {type: string}}}
steps: {write: {effect: file.write, target: '{{ input.client }}', args: {}}}
---
";
const WAITS: &str = "---
type: workflow
steps:
  paid: {wait: {event: /pay}}
  write: {effect: file.write, target: x, args: {}}
---
";
const CIRCLE: &str = "---
type: workflow
on: {event: turn}
steps: {again: {emit: turn}}
---
";
const ALLOW: &str = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";

pub fn emitted(name: &str, id: &str, data: Value) -> WorkEvent {
    let (name, id) = (name.to_owned(), id.to_owned());
    WorkEvent::EventEmitted { name, id, data, untrusted: false, from: None, hops: 0 }
}

fn hooked(name: &str, id: &str, data: Value) -> WorkEvent {
    let (name, id) = (name.to_owned(), id.to_owned());
    WorkEvent::EventEmitted { name, id, data, untrusted: true, from: None, hops: 0 }
}

fn office(files: &[(&str, &str)], coordinator: DeviceId) -> Sim {
    let mut sim = Sim::new(World::default(), files, &[ALLOW]);
    sim.setting.coordinator = Some(coordinator);
    sim.setting.maker = Some(LAPTOP);
    sim.restart();
    sim
}

/// Tells an event, and does what follows without the operator.
pub fn says(sim: &mut Sim, event: &WorkEvent) {
    sim.says(event);
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

#[test]
fn an_event_starts_one_task_and_what_that_emits_the_next() {
    let mut sim = office(&[("receipt", RECEIPT), ("books", BOOKS)], LAPTOP);
    says(&mut sim, &emitted("bank.paid", "7", json!({"client": "ann", "amount": 12})));
    assert_eq!(sim.done(), ["ann \"7\"", "books 12"]);
    // Delivered again, whatever it says now, and heard of by a new process.
    says(&mut sim, &emitted("bank.paid", "7", json!({"client": "bob", "amount": 99})));
    sim.restart();
    sim.run();
    assert_eq!(sim.done().len(), 2);
    // Not for its filter, and not where the filter makes no sense.
    says(&mut sim, &emitted("bank.paid", "8", json!({"client": "ann", "amount": 9})));
    says(&mut sim, &emitted("bank.paid", "9", json!("ann")));
    assert_eq!(sim.done().len(), 2);
    let task = event_task(&VAULT, "receipt", "bank.paid", "7");
    let task = sim.kernel.tables().task(&task).unwrap();
    assert!(matches!(&task.trigger, Some(Fired::Event { id, untrusted: false, .. }) if id == "7"));
    for (id, _) in sim.kernel.tables().tasks() {
        let replay = sim.kernel.replay(&id, &mut |_| None).unwrap();
        assert_eq!(replay.difference, None);
    }
}

#[test]
fn who_is_not_the_coordinator_starts_nothing_until_he_is() {
    let mut sim = office(&[("receipt", RECEIPT)], PHONE);
    says(&mut sim, &emitted("bank.paid", "7", json!({"client": "ann", "amount": 12})));
    assert_eq!(sim.kernel.tables().tasks().count(), 0);
    sim.setting.coordinator = Some(LAPTOP);
    sim.restart();
    sim.run();
    assert_eq!(sim.kernel.tables().tasks().count(), 1);
    // What was told before a workflow came in force is older news.
    let mut sim = office(&[("receipt", RECEIPT)], LAPTOP);
    sim.setting.since = [("receipt".to_owned(), START + 60_000)].into();
    sim.restart();
    says(&mut sim, &emitted("bank.paid", "7", json!({"client": "ann", "amount": 12})));
    assert_eq!(sim.kernel.tables().tasks().count(), 0);
}

/// What came in by a hook asks, through workflows that it starts and waits that it ends, though the policy allows all.
#[test]
fn what_rests_on_what_came_from_outside_asks() {
    let mut sim = office(&[("hook", HOOK), ("note", NOTE), ("waits", WAITS)], LAPTOP);
    says(&mut sim, &hooked("/pay", "1", json!({"client": "ann"})));
    assert!(sim.done().is_empty());
    assert!(matches!(sim.kernel.inbox()[..], [Need::Approval { .. }]), "{:?}", sim.kernel.inbox());
    sim.create("waits", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    // Told once more it ends no wait.
    says(&mut sim, &hooked("/pay", "1", json!({})));
    assert_eq!(sim.kernel.inbox().len(), 1);
    says(&mut sim, &hooked("/pay", "2", json!({"client": "bob"})));
    assert!(sim.done().is_empty());
    assert_eq!(sim.kernel.inbox().len(), 3, "a second task by the hook, and the one that waited");
}

#[test]
fn a_circle_of_events_comes_to_an_end() {
    let mut sim = office(&[("circle", CIRCLE)], LAPTOP);
    says(&mut sim, &emitted("turn", "1", json!({})));
    let dead: Vec<_> = sim.kernel.inbox().into_iter().cloned().collect();
    let [Need::Dead { failure, .. }] = &dead[..] else { panic!("{dead:?}") };
    assert!(failure.what.contains("events led to each other"), "{failure}");
    assert!(sim.kernel.tables().tasks().count() < 20);
}

/// A task that an event starts has the id of that event: nobody has another started for it.
#[test]
fn a_task_under_another_id_is_nothing() {
    let mut sim = office(&[("receipt", RECEIPT)], LAPTOP);
    let version = sim.setting.current["receipt"];
    let trigger =
        Fired::Event { name: "bank.paid".into(), id: "7".into(), data: json!({}), untrusted: false, hops: 0 };
    says(
        &mut sim,
        &WorkEvent::TaskCreated {
            task: "mine".into(),
            workflow: "receipt".into(),
            version,
            input: json!({"client": "ann"}),
            parent: None,
            on: Some(LAPTOP),
            trigger: Some(trigger),
        },
    );
    assert_eq!(sim.kernel.tables().tasks().count(), 0);
}
