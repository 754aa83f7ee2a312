//! What stands still stands still whatever is under way, and goes on where it was.

use serde_json::json;

use super::sim::{LAPTOP, Sim, VAULT, World, operator};
use super::*;

const HOUR: Millis = 3_600_000;
const SLOW: &str = "---
type: workflow
steps:
  rest: {wait: 1h}
  sub: {workflow: note, input: {}}
  send: {effect: mail.send, target: ann, args: {}, timeout: 2h, retry: {attempts: 3, first: 1m}}
---
";
const NOTED: &str = "---\ntype: workflow\nsteps: {rest: {wait: 1h}}\n---\n";

fn slow() -> Sim {
    let mut sim = Sim::new(World::default(), &[("slow", SLOW), ("note", NOTED)], &[]);
    sim.create("slow", json!({}));
    drain(&mut sim);
    sim
}

fn drain(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

fn at(sim: &mut Sim, now: Millis) {
    sim.now = now;
    sim.give(Input::Tick { now });
    drain(sim);
}

fn after(sim: &mut Sim, span: Millis) {
    at(sim, sim.now + span);
}

fn pause(sim: &mut Sim) {
    sim.says(&WorkEvent::TaskPaused { task: "t".into() });
    drain(sim);
}

fn resume(sim: &mut Sim) {
    sim.says(&WorkEvent::TaskResumed { task: "t".into() });
    drain(sim);
}

fn has(sim: &Sim, name: &str) -> usize {
    sim.names().iter().filter(|it| *it == name).count()
}

#[test]
fn a_timer_stands_still_and_goes_on_with_what_was_left() {
    let mut sim = slow();
    let began = sim.now;
    at(&mut sim, began + HOUR / 2);
    pause(&mut sim);
    // Said once more it is nothing, and a new process knows it.
    pause(&mut sim);
    sim.restart();
    at(&mut sim, began + 5 * HOUR);
    assert_eq!(has(&sim, "timer.fired"), 0);
    resume(&mut sim);
    after(&mut sim, HOUR / 4);
    assert_eq!(has(&sim, "timer.fired"), 0, "half of it is left");
    after(&mut sim, HOUR / 4 + 1000);
    assert_eq!(has(&sim, "timer.fired"), 1);
}

#[test]
fn what_a_step_started_stands_still_with_it() {
    let mut sim = slow();
    after(&mut sim, HOUR + 1000);
    assert_eq!(has(&sim, "task.created"), 2);
    pause(&mut sim);
    after(&mut sim, 3 * HOUR);
    assert_eq!((has(&sim, "timer.fired"), has(&sim, "run.ended")), (1, 0));
    resume(&mut sim);
    after(&mut sim, HOUR - 60_000);
    assert_eq!(has(&sim, "timer.fired"), 1);
    after(&mut sim, 60_000);
    assert_eq!((has(&sim, "timer.fired"), has(&sim, "run.ended")), (2, 1));
}

#[test]
fn nothing_is_asked_or_done_meanwhile_and_consent_is_kept() {
    let mut sim = slow();
    after(&mut sim, HOUR + 1000);
    after(&mut sim, HOUR + 1000);
    let (key, digest) = sim.until_asked();
    pause(&mut sim);
    assert!(sim.kernel.inbox().is_empty());
    // Longer than the step may take.
    after(&mut sim, 9 * HOUR);
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    drain(&mut sim);
    assert_eq!((has(&sim, "effect.intended"), sim.done().len()), (0, 0));
    resume(&mut sim);
    sim.run();
    assert_eq!(sim.done(), ["ann {}"]);
}

/// What has been intended and not begun is begun when it goes on; what a process left unfinished nobody knows then, as ever.
#[test]
fn between_intent_and_act() {
    for killed in [false, true] {
        let mut sim = slow();
        after(&mut sim, HOUR + 1000);
        after(&mut sim, HOUR + 1000);
        let (key, digest) = sim.until_asked();
        sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
        let Some(Action::Append(events)) = sim.queue.pop_front() else { panic!("it intends") };
        let events: Vec<Event> = events.iter().map(|event| Event::try_from(event).unwrap()).collect();
        // The pause is there before the record comes back.
        sim.says(&WorkEvent::TaskPaused { task: "t".into() });
        let input = sim.record(LAPTOP, events);
        sim.give(input);
        drain(&mut sim);
        assert_eq!((has(&sim, "effect.intended"), sim.done().len()), (1, 0));
        if killed {
            sim.restart();
            drain(&mut sim);
        }
        assert_eq!(has(&sim, "effect.ended"), 0, "it stands still");
        resume(&mut sim);
        assert_eq!((has(&sim, "effect.ended"), sim.done().len()), (1, usize::from(!killed)));
        // The operator sees that it did not happen, and has it done.
        sim.run();
        assert_eq!(sim.done().len(), 1, "{:#?}", sim.kernel.inbox());
    }
}

#[test]
fn cancelling_beats_standing_still() {
    let mut sim = slow();
    pause(&mut sim);
    sim.says(&WorkEvent::TaskCancelled { task: "t".into(), note: "no".into() });
    sim.run();
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Cancelled));
}
