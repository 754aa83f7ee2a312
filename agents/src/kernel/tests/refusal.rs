//! What the operator refuses when it has begun: what happened is told, and what did not is not tried again.

use serde_json::json;

use super::sim::{PHONE, Sim, VAULT, World, operator};
use super::*;

const MAIL: &str = "---
type: workflow
steps:
  send:
    effect: mail.send
    target: ann
    args: {}
    retry: {attempts: 3, first: 1m}
    compensate: {effect: mail.send, target: ann, args: {text: Sorry}}
  rest: {wait: 1h}
---
";

fn denied(key: EffectKey) -> WorkEvent {
    WorkEvent::ApprovalDenied { key, note: "not to her".into() }
}

/// One that asked, and to which the operator consented.
fn approved(world: World) -> (Sim, EffectKey) {
    let mut sim = Sim::new(world, &[("mail", MAIL)], &[]);
    sim.create("mail", json!({}));
    let (key, digest) = sim.until_asked();
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    (sim, key)
}

fn goes_on(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

fn refused(sim: &Sim) -> Vec<(EffectKey, bool, Vec<String>)> {
    let needs = sim.kernel.refused();
    let of = |need| match need {
        Need::Refused { key, done, next, .. } => (key, done, next),
        other => panic!("{other:?}"),
    };
    needs.map(of).collect()
}

#[test]
fn what_went_out_before_is_told_until_the_operator_takes_note() {
    let (mut sim, key) = approved(World::default());
    goes_on(&mut sim);
    assert_eq!(sim.world.done.len(), 1);
    assert_eq!(refused(&sim), []);
    // It was said while that was not known.
    sim.now -= 2;
    sim.says(&denied(key));
    let next = vec![
        "aios task cancel t".to_owned(),
        "aios undo --run t".to_owned(),
        format!("aios settle {} --done", key.0.short(12)),
    ];
    assert_eq!(refused(&sim), [(key, true, next.clone())]);
    let packet = sim.kernel.packet("t").unwrap();
    let deed = &packet.steps[0].effects[0];
    assert_eq!((deed.state, deed.too_late.is_some()), ("done", true));
    assert_eq!(deed.refused.as_ref().map(|it| it.note.as_str()), Some("not to her"));
    let place =
        crate::health::Place { here: PHONE, members: vec![], sources: vec![], now: sim.now, since: sim.now };
    let found = |sim: &Sim| {
        let findings = sim.kernel.health(&place).into_iter();
        findings.filter(|it| it.kind == crate::health::Kind::Refused).collect::<Vec<_>>()
    };
    let [finding] = &found(&sim)[..] else { panic!("{:?}", found(&sim)) };
    assert!(finding.what.contains("was denied") && finding.what.contains("had gone out"), "{finding:?}");

    // Whoever begins with what is remembered, or anew, is told the same.
    let mut run = Vec::new();
    let Remembered { head, .. } = sim.kernel.image(&mut run, true).unwrap();
    let image = Image::read(&head, &|_| Ok(std::sync::Arc::new(run.clone()))).unwrap();
    let again = Kernel::from_image(VAULT, PHONE, sim.setting.clone(), 3, image);
    assert_eq!(again.refused().count(), 1);
    assert!(*again.tables() == *sim.kernel.tables());
    sim.restart();
    assert_eq!(refused(&sim), [(key, true, next)]);

    sim.says(&WorkEvent::settle(key, 1, true, &VAULT, &operator()));
    assert_eq!((refused(&sim), found(&sim)), (vec![], vec![]));
    assert!(sim.kernel.packet("t").unwrap().steps[0].effects[0].too_late.is_some(), "it stays known");
}

#[test]
fn what_is_taken_back_needs_nobody() {
    let (mut sim, key) = approved(World::default());
    goes_on(&mut sim);
    sim.says(&denied(key));
    assert_eq!(refused(&sim).len(), 1);
    sim.says(&WorkEvent::TaskCancelled { task: "t".into(), note: "no".into() });
    let (undo, digest) = sim.until_asked();
    sim.says(&WorkEvent::approve(undo, digest, &VAULT, &operator()));
    goes_on(&mut sim);
    assert_eq!((sim.world.done.len(), refused(&sim)), (2, vec![]));
}

#[test]
fn what_failed_is_not_tried_again() {
    let (mut sim, key) = approved(World { refusals: [("ann".to_owned(), 1)].into(), ..World::default() });
    goes_on(&mut sim);
    assert!(sim.names().contains(&"step.failed".to_owned()) && sim.world.done.is_empty());
    sim.says(&denied(key));
    assert_eq!(refused(&sim), []);
    goes_on(&mut sim);
    sim.now += 3_600_000;
    sim.give(Input::Tick { now: sim.now });
    goes_on(&mut sim);
    assert!(sim.world.done.is_empty(), "{:?}", sim.world.done);
    let needs = sim.kernel.inbox();
    let [Need::Dead { failure, .. }] = needs[..] else { panic!("{needs:?}") };
    assert_eq!((failure.class, failure.what.as_str()), (Class::Denied, "not to her"));
}

/// The other side knows keys, so it would be done once more; whether it was done nobody knows.
#[test]
fn what_may_have_happened_is_asked_about_and_not_done_again() {
    let (mut sim, key) = approved(World { knows_keys: true, ..World::default() });
    while let Some(action) = sim.queue.pop_front() {
        if matches!(action, Action::Perform { .. }) {
            break;
        }
        sim.act(action);
    }
    let event = Event::try_from(&denied(key)).unwrap();
    sim.record(PHONE, vec![event]);
    sim.restart();
    goes_on(&mut sim);
    assert!(sim.world.done.is_empty());
    let [Need::Unknown { attempt, .. }] = sim.kernel.inbox()[..] else { panic!("{:?}", sim.kernel.inbox()) };
    sim.says(&WorkEvent::settle(key, *attempt, false, &VAULT, &operator()));
    goes_on(&mut sim);
    let stand = sim.kernel.tables().effect(&key).map(Effect::stand);
    assert_eq!((stand, refused(&sim)), (Some(Stand::Denied("not to her".into())), vec![]));
    assert!(sim.world.done.is_empty());
}
