//! What failed silently is found, each with its next command, and nothing else is.

use jiff::tz::TimeZone;
use serde_json::json;

use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World, operator};
use crate::cron::Cron;
use crate::health::{Finding, Kind, Place, Sight};
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
    let place = Place { here: LAPTOP, members, now, since: now - DAY };
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
