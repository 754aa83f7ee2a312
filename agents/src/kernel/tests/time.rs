//! What policies do with time: quiet hours, rates, and questions that nobody answers.

use super::*;
use crate::span;

const MAILS: &str = "---
type: workflow
input: {type: object, properties: {clients: {type: array}}}
steps:
  all:
    each: input.clients
    as: client
    at_once: 9
    steps:
      send: {effect: mail.send, target: '{{ client }}', args: {}}
---
";

fn mails(rule: &str, clients: Value) -> Sim {
    let policy = format!("---\ntype: policy\nrules:\n  - {{name: mails, {rule}}}\n---\n");
    let mut sim = Sim::new(World::default(), &[("mails", MAILS)], &[&policy]);
    sim.create("mails", json!({"clients": clients}));
    sim
}

/// When the effects were decided.
fn decided(sim: &Sim) -> Vec<Millis> {
    let mut out: Vec<Millis> =
        sim.kernel.tables().effects().filter_map(|(_, it)| Some(it.decided()?.at)).collect();
    out.sort_unstable();
    out
}

#[test]
fn what_is_allowed_in_quiet_hours_happens_when_they_end() {
    // It begins at 2026-09-21T14:13:20Z.
    let mut sim = mails("verdict: allow, zone: UTC, quiet: '14:00-16:30'", json!(["ann"]));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    let end = "2026-09-21T16:30:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond() as u64;
    assert_eq!(sim.kernel.later("t").map(|(until, _)| until), Some(end));
    assert_eq!(sim.kernel.inbox(), Vec::<&Need>::new(), "it needs nobody");
    sim.run();
    assert_eq!(sim.done().len(), 1);
    assert!(decided(&sim)[0] >= end);
}

#[test]
fn a_rate_paces_what_is_allowed() {
    let clients: Vec<String> = (0..7).map(|n| format!("c{n}")).collect();
    let mut sim = mails("verdict: allow, rate: {count: 2, per: minute}", json!(clients));
    sim.run();
    assert_eq!(sim.done().len(), 7);
    let at = decided(&sim);
    for window in at.windows(3) {
        assert!(window[2] - window[0] >= 60_000, "three in a minute: {at:?}");
    }
    assert!(at[6] - at[0] < 4 * 60_000, "and no slower than it says: {at:?}");
}

/// The rate holds across a process that ends at any point.
#[test]
fn a_crash_changes_nothing_of_a_rate() {
    let start = || mails("verdict: allow, rate: {count: 1, per: hour}", json!(["a", "b", "c"]));
    let mut whole = start();
    whole.run();
    for crash in 0..whole.acts {
        let mut sim = start();
        sim.crash_in = Some(crash);
        sim.run();
        if sim.log.is_empty() {
            continue;
        }
        while sim.ended().is_none() {
            assert!(sim.operator(), "crash {crash}: {:#?}", sim.kernel.inbox());
            sim.run();
        }
        let at = decided(&sim);
        assert!(at.windows(2).all(|two| two[1] - two[0] >= 3_600_000), "crash {crash}: {at:?}");
    }
}

const STAGES: &str = "verdict: ask, escalate: [{after: 4h, ask: 'Ann waits'}, {after: 1d, ask: 'Ann is angry'}, {after: 2d, deny: nobody decided}]";

fn louder(sim: &Sim) -> Option<String> {
    sim.kernel.inbox().into_iter().find_map(|need| match need {
        Need::Approval { louder, .. } => Some(louder.clone()),
        _ => None,
    })?
}

fn pass(sim: &mut Sim, time: &str) {
    sim.now += span::parse(time).unwrap();
    sim.give(Input::Tick { now: sim.now });
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

#[test]
fn what_nobody_answers_is_asked_louder_and_denied_in_the_end() {
    let mut sim = mails(STAGES, json!(["ann"]));
    sim.until_asked();
    pass(&mut sim, "3h");
    assert_eq!(louder(&sim), None);
    pass(&mut sim, "1h");
    assert_eq!(louder(&sim).as_deref(), Some("Ann waits"));
    assert_eq!(sim.kernel.inbox()[0].rank(), 1);
    pass(&mut sim, "20h");
    assert_eq!(louder(&sim).as_deref(), Some("Ann is angry"));
    sim.restart();
    assert_eq!(louder(&sim).as_deref(), Some("Ann is angry"), "it follows from the log");
    pass(&mut sim, "1d");
    assert_eq!(sim.names().iter().filter(|name| *name == "effect.escalated").count(), 2);
    assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { failure, .. }] if failure.class == Class::Denied));
    assert_eq!(sim.done(), Vec::<String>::new());
}

#[test]
fn consent_ends_an_escalation() {
    let mut sim = mails(STAGES, json!(["ann"]));
    let (key, digest) = sim.until_asked();
    pass(&mut sim, "5h");
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    pass(&mut sim, "3d");
    assert_eq!(sim.done(), ["ann {}"]);
}

#[test]
fn what_stands_still_is_not_asked_louder() {
    let mut sim = mails(STAGES, json!(["ann"]));
    sim.until_asked();
    sim.says(&WorkEvent::TaskPaused { task: "t".into() });
    pass(&mut sim, "5d");
    sim.says(&WorkEvent::TaskResumed { task: "t".into() });
    pass(&mut sim, "3h");
    assert_eq!((louder(&sim), sim.kernel.inbox().len()), (None, 1));
    pass(&mut sim, "2h");
    assert_eq!(louder(&sim).as_deref(), Some("Ann waits"));
}

/// What is said by another than the home, or of another text, is nothing.
#[test]
fn nobody_else_makes_it_louder() {
    let mut sim = mails(STAGES, json!(["ann"]));
    let (key, digest) = sim.until_asked();
    let (capability, ask) = ("mail.send".to_owned(), "give in".to_owned());
    let other = ContentHash::of(b"other");
    sim.says(&WorkEvent::EffectEscalated {
        key,
        digest: other,
        capability: capability.clone(),
        stage: 0,
        at: 1,
        ask: ask.clone(),
    });
    assert_eq!(louder(&sim), None);
    sim.setting.maker = Some(LAPTOP);
    sim.restart();
    sim.says(&WorkEvent::EffectEscalated { key, digest, capability, stage: 0, at: 1, ask });
    assert_eq!(louder(&sim), None);
}
