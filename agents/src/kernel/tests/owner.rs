//! A record that comes late says that a task is another device's: what was done about its effects is seen to all the same.

use serde_json::json;

use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World, operator};
use super::*;

const MAIL: &str = "---
type: workflow
steps: {send: {effect: mail.send, target: ann, amount: 5, args: {}, retry: 1}}
---
";
const ALLOW: &str = "---\ntype: policy\nrules: [{name: mails, verdict: allow, capability: mail.send, zone: UTC, caps: [{money: 12, per: day}]}]\n---\n";

/// The phone had made the same task before.
fn is_of_the_phone(sim: &mut Sim) {
    let created = WorkEvent::TaskCreated {
        task: "t".into(),
        workflow: "mail".into(),
        version: sim.setting.current["mail"],
        input: json!({}),
        parent: None,
        on: Some(PHONE),
        trigger: None,
    };
    let event = Event::try_from(&created).unwrap();
    sim.log.insert(0, (Stamp::new(Hlc(START - 1, 0), PHONE, 1), vec![event]));
    sim.restart();
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert_eq!(sim.kernel.tables().task("t").and_then(|task| task.device), Some(PHONE));
}

/// One that dies after the act and before it says so.
fn dies_over_the_act(policies: &[&str]) -> Sim {
    let mut sim = Sim::new(World::default(), &[("mail", MAIL)], policies);
    sim.setting.maker = Some(LAPTOP);
    sim.restart();
    sim.create("mail", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        if let Action::Perform { key, content, .. } = &action {
            sim.world.perform(*key, content);
            break;
        }
        sim.act(action);
    }
    assert_eq!(sim.world.done.len(), 1);
    sim
}

/// Nobody knows whether it happened: that is asked, and it counts against its cap.
#[test]
fn what_may_have_happened_is_asked_about() {
    let mut sim = dies_over_the_act(&[ALLOW]);
    is_of_the_phone(&mut sim);
    let needs: Vec<Need> = sim.kernel.inbox().into_iter().cloned().collect();
    let [Need::Unknown { key, attempt, .. }] = &needs[..] else { panic!("{needs:#?}") };
    assert_eq!(sim.kernel.caps(sim.now)[0].used.money, crate::money::Money(500));
    sim.says(&WorkEvent::settle(*key, *attempt, true, &VAULT, &operator()));
    assert!(sim.kernel.inbox().is_empty());
    assert_eq!(sim.world.done.len(), 1);
}

/// Both go on until nothing is left to do; the operator says that what may have happened did not, once.
fn go_on(sim: &mut Sim, phone: &mut Kernel) {
    let (mut told, mut settled) = (0, false);
    for _ in 0..100 {
        sim.now += 120_000;
        while let Some((stamp, events)) = sim.log.get(told).cloned() {
            told += 1;
            phone.load(stamp, &events);
        }
        let mut queue: Vec<Action> = phone.handle(Input::Tick { now: sim.now });
        while let Some(action) = queue.pop() {
            let Action::Append(events) = action else { continue };
            let events = events.iter().map(|event| Event::try_from(event).unwrap()).collect();
            let input = sim.record(PHONE, events);
            told += 1;
            queue.extend(phone.handle(input.clone()));
            sim.give(input);
        }
        while let Some(action) = sim.queue.pop_front() {
            sim.act(action);
        }
        let needs: Vec<Need> = sim.kernel.inbox().into_iter().cloned().collect();
        if let [Need::Unknown { key, attempt, .. }] = &needs[..] {
            assert!(!settled, "it is asked once");
            settled = true;
            sim.says(&WorkEvent::settle(*key, *attempt, false, &VAULT, &operator()));
        }
    }
    assert!(settled);
    let task = phone.tables().task("t").unwrap();
    assert_eq!(task.ended.as_ref().map(|ended| ended.1), Some(Outcome::Done), "{task:#?}");
}

/// The device that has the task proposes it, too: under the same key, and what is said not to have happened is done there.
#[test]
fn what_did_not_happen_is_done_for_whoever_has_the_task() {
    let mut sim = dies_over_the_act(&[ALLOW]);
    sim.world.done.clear();
    is_of_the_phone(&mut sim);
    let mut phone = Kernel::new(VAULT, PHONE, sim.setting.clone(), 3);
    go_on(&mut sim, &mut phone);
    assert_eq!(sim.world.done.len(), 1);
}

/// So it is with what the operator had happen once more, of which the phone had begun with the first.
#[test]
fn what_was_to_happen_once_more_is_done_for_whoever_has_the_task() {
    let text = MAIL.replace("}}\n---", "}, rest: {wait: 1h}}\n---");
    let mut sim = Sim::new(World::default(), &[("mail", &text)], &[ALLOW]);
    sim.setting.maker = Some(LAPTOP);
    sim.restart();
    // The phone began before all that, and heard of nothing.
    let mut phone = Kernel::new(VAULT, PHONE, sim.setting.clone(), 3);
    let mut early = Vec::new();
    let mut queue = phone.handle(Input::Tick { now: START - 100 });
    queue.push(Action::Append(vec![phone.create("t", "mail", json!({}), None).unwrap()]));
    while let Some(action) = queue.pop() {
        let Action::Append(events) = action else { continue };
        let events: Vec<Event> = events.iter().map(|event| Event::try_from(event).unwrap()).collect();
        let seq = early.len() as u64 + 1;
        let stamp = Stamp::new(Hlc(START - 100 + seq, 0), PHONE, seq);
        early.push((stamp, events.clone()));
        queue.extend(phone.handle(Input::Recorded { stamp, events }));
    }
    sim.create("mail", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    let event = sim.kernel.rewind("t", "send", &["send".into()]).unwrap_or_else(|e| panic!("{e}"));
    sim.says(&event);
    while let Some(action) = sim.queue.pop_front() {
        if matches!(action, Action::Perform { .. }) {
            break;
        }
        sim.act(action);
    }
    assert_eq!(sim.world.done.len(), 1);
    sim.log.splice(..0, early);
    sim.restart();
    let mut phone = Kernel::new(VAULT, PHONE, sim.setting.clone(), 3);
    go_on(&mut sim, &mut phone);
    assert_eq!(sim.world.done.len(), 2);
}
