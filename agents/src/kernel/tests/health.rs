//! What failed silently is found, each with its next command, and nothing else is.

use jiff::tz::TimeZone;
use serde_json::json;

use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World, operator};
use crate::cron::Cron;
use crate::health::{Finding, Kind, Place, Sight, Source};
use crate::kernel::*;

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;
const ALLOW: &str = "---\ntype: policy\nrules: [{name: all, verdict: allow, capability: '*'}]\n---\n";
const MAIL: &str = "---
type: workflow
steps: {send: {effect: mail.send, target: ann, args: {}, retry: {attempts: 4, first: 1s}}}
---
";

fn found(sim: &Sim, now: Millis) -> Vec<Finding> {
    let sight = |device, name: &str, at| Sight { device, name: name.into(), at };
    let members = vec![sight(LAPTOP, "laptop", None), sight(PHONE, "phone", Some(START))];
    let place = Place { here: LAPTOP, members, sources: Vec::new(), now, since: now - DAY };
    let findings = sim.kernel.health(&place);
    assert!(findings.iter().all(|it| !it.next.is_empty() && !it.what.contains('\n')), "{findings:#?}");
    findings
}

fn kinds(sim: &Sim, now: Millis) -> Vec<Kind> {
    found(sim, now).into_iter().map(|it| it.kind).collect()
}

fn ran(workflow: &str, world: World, input: Value) -> Sim {
    let mut sim = Sim::new(world, &[("w", workflow)], &[ALLOW]);
    sim.create("w", input);
    sim.run();
    sim
}

#[test]
fn what_went_well_is_not_told() {
    let sim = ran(MAIL, World::default(), json!({}));
    assert_eq!(found(&sim, sim.now), []);
}

#[test]
fn a_run_without_any_outcome_is_told_for_a_day() {
    let text = "---
type: workflow
input: {type: object, properties: {clients: {type: array}}}
steps:
  rest: {wait: 1h}
  all: {each: input.clients, as: client, steps: {send: {effect: mail.send, target: '{{ client }}', args: {}}}}
---
";
    let sim = ran(text, World::default(), json!({"clients": []}));
    assert_eq!(kinds(&sim, sim.now), [Kind::Fruitless]);
    assert_eq!(kinds(&sim, sim.now + DAY + 1), []);
    let sim = ran(text, World::default(), json!({"clients": ["ann"]}));
    assert_eq!(kinds(&sim, sim.now), []);
    // Whoever expects nothing is not told of it.
    let quiet = text.replace("steps:\n", "expect: 'true'\nsteps:\n");
    assert_eq!(kinds(&ran(&quiet, World::default(), json!({"clients": []})), START + HOUR * 2), []);
}

#[test]
fn what_is_expected_and_did_not_happen_is_told() {
    let text = MAIL.replace("steps:", "expect: effects > 1\nsteps:");
    let sim = ran(&text, World::default(), json!({}));
    let findings = found(&sim, sim.now);
    assert!(findings[0].kind == Kind::Unmet && findings[0].what.contains("effects > 1"), "{findings:#?}");
    let text = "---\ntype: workflow\nexpect_by: 2h\nsteps: {rest: {wait: 3h}, sure: {ask: Sure?}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("w", text)], &[]);
    sim.create("w", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert_eq!(kinds(&sim, START + HOUR), []);
    // It is not over, and its timer is not late yet.
    assert_eq!(kinds(&sim, START + HOUR * 5 / 2), [Kind::Unmet]);
    assert_eq!(kinds(&sim, START + HOUR * 4), [Kind::Unmet, Kind::Overdue]);
    sim.run();
    let findings = found(&sim, sim.now);
    assert_eq!(findings.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Late], "{findings:#?}");
}

#[test]
fn what_fails_again_and_again_is_told_and_then_the_dead_letter() {
    let world = World { refusals: [("ann".into(), 9)].into(), ..World::default() };
    let sim = ran(MAIL, world, json!({}));
    let findings = found(&sim, sim.now);
    assert_eq!(findings.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Stuck, Kind::Retries]);
    assert_eq!(findings[0].next, ["aios task retry t", "aios task cancel t"]);
    assert!(
        findings[1].what.contains("failed 4 times, 0 before; the last: transient: busy"),
        "{findings:#?}"
    );
    // A dead letter lies until somebody does something.
    assert_eq!(kinds(&sim, sim.now + 2 * DAY), [Kind::Stuck]);
}

#[test]
fn what_nobody_knows_or_consents_to_is_told() {
    let mut sim = Sim::new(World::default(), &[("w", MAIL)], &[]);
    sim.create("w", json!({}));
    let (key, digest) = sim.until_asked();
    assert_eq!(kinds(&sim, sim.now + HOUR), []);
    assert_eq!(kinds(&sim, sim.now + DAY + 1), [Kind::Asked]);
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    // It dies between what it says it will do and what came of it.
    while !sim.names().contains(&"effect.intended".to_owned()) {
        let action = sim.queue.pop_front().unwrap();
        sim.act(action);
    }
    assert_eq!(kinds(&sim, sim.now + HOUR), [Kind::Unknown]);
    sim.restart();
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    let findings = found(&sim, sim.now);
    assert_eq!(findings.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Unknown]);
    assert!(findings[0].next[0].starts_with("aios settle "), "{findings:#?}");
}

#[test]
fn a_schedule_that_nobody_started_and_one_that_was_late_are_told() {
    let mut sim = Sim::new(World::default(), &[("w", MAIL)], &[ALLOW]);
    let cron = Cron::parse("0 * * * *").unwrap();
    sim.setting.schedules = vec![Schedule { workflow: "w".into(), cron, zone: TimeZone::UTC, since: START }];
    sim.restart();
    assert!(found(&sim, START + 2 * HOUR)[0].what.contains("no device has the role"));
    sim.setting.coordinator = Some(PHONE);
    sim.restart();
    let findings = found(&sim, START + 2 * HOUR);
    assert!(findings[0].kind == Kind::Missed && findings[0].what.contains("phone"), "{findings:#?}");
    sim.setting.coordinator = Some(LAPTOP);
    sim.now = START.next_multiple_of(HOUR) + HOUR / 2;
    sim.restart();
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert_eq!(kinds(&sim, sim.now), [Kind::Late]);
}

#[test]
fn a_member_that_says_nothing_is_told() {
    let sim = Sim::new(World::default(), &[], &[]);
    assert_eq!(kinds(&sim, START + DAY), []);
    let findings = found(&sim, START + 4 * DAY);
    assert!(findings[0].kind == Kind::Silent && findings[0].what.contains("phone"), "{findings:#?}");
}

#[test]
fn what_comes_from_outside_and_nobody_looks_for_is_told() {
    let sim = Sim::new(World::default(), &[], &[]);
    let look = |device, at: Option<Millis>, now| {
        let source = Source { name: "mail.received".into(), device, at };
        let place = Place { here: LAPTOP, members: Vec::new(), sources: vec![source], now, since: now - DAY };
        let found = sim.kernel.health(&place);
        found.into_iter().map(|it| (it.kind, it.next)).collect::<Vec<_>>()
    };
    assert_eq!(look(LAPTOP, Some(START), START + HOUR), []);
    let told = look(LAPTOP, Some(START), START + HOUR + 1);
    assert_eq!(told, [(Kind::Unpolled, vec!["aios up".to_owned(), "aios run".to_owned()])]);
    assert_eq!(look(LAPTOP, None, START).len(), 1, "what nobody listens for is told at once");
    assert_eq!(look(PHONE, Some(START), START + DAY), [], "another may be shut for a night");
    assert_eq!(look(PHONE, Some(START), START + DAY + 1)[0].0, Kind::Unpolled);
}

/// A day on which each of them goes wrong once, each in a workflow of its own: all are told, and nothing else is.
#[test]
fn a_day_with_one_of_each() {
    let send = |more: &str| format!("---\ntype: workflow\n{more}\n---\n");
    let flows = [
        ("asked", send("steps: {pay: {effect: bank.pay, target: ann, args: {}}}")),
        ("late", send("steps: {send: {effect: file.write, target: late, args: {}}}")),
        ("missed", send("steps: {send: {effect: fax.send, target: missed, args: {}}}")),
        ("fruitless", send("steps: {rest: {wait: 1ms}}")),
        ("unmet", send("expect: effects > 1\nsteps: {send: {effect: file.write, target: unmet, args: {}}}")),
        ("tardy", send("expect_by: 1h\nsteps: {paid: {wait: {event: bank.paid, where: 'true'}}}")),
        ("overdue", send("steps: {send: {effect: file.write, target: overdue, args: {}}}")),
        ("stuck", send("steps: {send: {effect: file.write, target: stuck, args: {}, retry: 1}}")),
        (
            "failed",
            send(
                "steps: {send: {effect: file.write, target: failed, args: {}, compensate: {effect: file.write, target: sorry, args: {}}}, then: {effect: file.write, target: stuck, args: {}, retry: 1}}",
            ),
        ),
        (
            "open",
            send(
                "steps: {all: {each: 'range(1, 6) | list', as: n, at_once: 5, steps: {send: {effect: mail.send, target: 'busy', args: {}, retry: {attempts: 9, first: 40h, most: 40h}}}}}",
            ),
        ),
        ("unknown", send("steps: {send: {effect: sms.send, target: unknown, args: {}}}")),
    ];
    let flows: Vec<(&str, &str)> = flows.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let policy = "---\ntype: policy\nrules: [{name: pay, verdict: ask, capability: bank.pay}, {name: all, verdict: allow, capability: '*'}]\n---\n";
    let world = World {
        refusals: [("busy".into(), 99)].into(),
        never: ["stuck".to_owned()].into(),
        ..World::default()
    };
    let mut sim = Sim::new(world, &flows, &[policy]);
    for name in ["bank.pay", "sms.send"] {
        sim.setting.connectors.insert(name.into(), Connector::default());
    }
    sim.setting.connectors.insert("fax.send".into(), Connector { home: Some(PHONE), ..Connector::default() });
    sim.setting.coordinator = Some(LAPTOP);
    let due = |workflow: &str, cron: &str| Schedule {
        workflow: workflow.into(),
        cron: Cron::parse(cron).unwrap(),
        zone: TimeZone::UTC,
        since: START,
    };
    sim.setting.schedules = vec![due("late", "0 20 * * *"), due("missed", "0 21 * * *")];
    sim.restart();
    let drain = |sim: &mut Sim| {
        while let Some(action) = sim.queue.pop_front() {
            sim.act(action);
        }
    };
    let begin = |sim: &mut Sim, workflow: &str, on| {
        let made = sim.kernel.create(workflow, workflow, json!({}), Some(on)).unwrap();
        sim.queue.push_back(Action::Append(vec![made]));
    };
    begin(&mut sim, "asked", LAPTOP);
    drain(&mut sim);
    // The laptop is shut until long after what was due at eight.
    sim.now = START + 12 * HOUR;
    sim.give(Input::Tick { now: sim.now });
    for workflow in ["fruitless", "unmet", "tardy", "stuck", "failed", "open"] {
        begin(&mut sim, workflow, LAPTOP);
        drain(&mut sim);
        sim.now += 2;
        sim.give(Input::Tick { now: sim.now });
        drain(&mut sim);
    }
    let made = sim.kernel.create("overdue", "overdue", json!({}), Some(PHONE)).unwrap();
    sim.says(&made);
    begin(&mut sim, "unknown", LAPTOP);
    while let Some(action) = sim.queue.pop_front() {
        if matches!(action, Action::Perform { .. }) {
            break;
        }
        sim.act(action);
    }
    sim.restart();
    drain(&mut sim);
    let now = START + DAY + HOUR;
    let sight = |device, name: &str, at| Sight { device, name: name.into(), at };
    let place = Place {
        here: LAPTOP,
        members: vec![sight(LAPTOP, "laptop", None), sight(PHONE, "phone", Some(START - 3 * DAY))],
        sources: vec![Source { name: "mail.received".into(), device: LAPTOP, at: Some(now - 2 * HOUR) }],
        now,
        since: now - DAY,
    };
    let told = sim.kernel.health(&place);
    let told: Vec<(Kind, &str)> =
        told.iter().map(|it| (it.kind, it.workflow.as_deref().unwrap_or_default())).collect();
    let all = [
        (Kind::Unknown, "unknown"),
        (Kind::Stuck, "stuck"),
        (Kind::Open, ""),
        (Kind::Failed, "failed"),
        (Kind::Missed, "missed"),
        (Kind::Unpolled, ""),
        (Kind::Unmet, "unmet"),
        (Kind::Unmet, "tardy"),
        (Kind::Fruitless, "fruitless"),
        (Kind::Overdue, "overdue"),
        (Kind::Asked, "asked"),
        (Kind::Late, "late"),
        (Kind::Retries, "open"),
        (Kind::Silent, ""),
    ];
    assert_eq!(told, all);
}
