//! An agent's work whose model is asked by batch: what was sent is waited for across crashes, and sent once.

use super::*;
use crate::agent::batch::{Stage, key};
use crate::agent::{Batched, Turn};
use crate::health::{Kind, Place};
use crate::model::price::Fine;
use crate::model::{Answer, Stop, Usage};
use crate::span::Millis;

const FLOW: &str = "---
type: workflow
steps:
  both:
    parallel:
      one:
        one: {agent: writer, timeout: 1m, retry: {attempts: 2, first: 1ms}}
      two:
        two: {agent: writer, timeout: 1m, retry: {attempts: 2, first: 1ms}}
---
";
/// How long the provider takes.
const HOUR: Millis = 3_600_000;

/// A provider, and who speaks to it.
#[derive(Default)]
struct Far {
    /// When each question was sent.
    sent: BTreeMap<String, Millis>,
    /// How often one was sent.
    sends: usize,
    withdrawn: Vec<Stage>,
}

impl Far {
    /// What a process does that goes on with work.
    fn answer(&mut self, work: &Work, turns: &[Turn], now: Millis) -> Input {
        let asked = ContentHash([7; 32]);
        let queued = Batched {
            model: "test/one".into(),
            asked,
            key: key(&Work { attempt: 1, ..work.clone() }, 0, &asked),
            since: now,
            stage: Stage::Queued,
        };
        let took = |turn| Input::Took { work: work.clone(), turns: vec![turn] };
        match turns.last() {
            None => took(Turn::Batched(queued)),
            Some(Turn::Batched(batched)) if batched.stage == Stage::Queued => {
                // Who looks for it finds what was sent already.
                if !self.sent.contains_key(&batched.key) {
                    self.sends += 1;
                    self.sent.insert(batched.key.clone(), now);
                }
                took(Turn::Batched(batched.then(now, Stage::Sent { batch: "b".into() })))
            }
            Some(Turn::Batched(batched)) if now < self.sent[&batched.key] + HOUR => {
                Input::Waits { work: work.clone(), until: now + HOUR / 3 }
            }
            Some(Turn::Batched(_)) => took(Turn::Answered {
                model: "test/one".into(),
                asked,
                outside: false,
                answer: Answer { text: "x".into(), calls: vec![], usage: None, stop: Stop::End },
                counted: Usage { input: 3, output: 2, cached: 0 },
                cost: Fine(5),
                kept: false,
            }),
            Some(_) => Input::Worked { work: work.clone(), came: Ok(json!({"text": "x"})) },
        }
    }

    /// Goes on until the task is over, or `stops` says so.
    fn run(&mut self, sim: &mut Sim, stops: impl Fn(&Sim) -> bool) {
        for _ in 0..20_000 {
            if stops(sim) {
                return;
            }
            match sim.queue.pop_front() {
                Some(Action::Start { work, turns, .. }) => {
                    if sim.crashes() {
                        continue;
                    }
                    let input = self.answer(&work, &turns, sim.now);
                    if !sim.crashes() {
                        sim.give(input);
                    }
                }
                Some(Action::Withdraw(batched)) => self.withdrawn.push(batched.stage),
                Some(action) => sim.act(action),
                None if sim.ended().is_some() => return,
                None => match sim.wake.take() {
                    Some(at) => {
                        sim.now = sim.now.max(at) + 1;
                        sim.give(Input::Tick { now: sim.now });
                    }
                    None => return,
                },
            }
        }
        panic!("it does not end: {:#?}", sim.kernel.inbox());
    }
}

fn sim() -> Sim {
    let mut sim = Sim::new(World::default(), &[("flow", FLOW)], &[]);
    sim.create("flow", json!({}));
    sim
}

/// Killed after every act: nothing is sent twice, and neither the wait nor the crash ends the step (I9).
#[test]
fn a_crash_at_any_point_sends_nothing_twice() {
    let mut crashes = 0;
    for crash in 0.. {
        let (mut sim, mut far) = (sim(), Far::default());
        sim.crash_in = Some(crash);
        far.run(&mut sim, |_| false);
        if sim.log.is_empty() {
            sim.create("flow", json!({}));
            far.run(&mut sim, |_| false);
        }
        let crashed = sim.crash_in.is_none();
        assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done), "crash {crash}");
        assert_eq!(far.sends, 2, "crash {crash}");
        crashes += usize::from(crashed);
        if !crashed {
            break;
        }
    }
    assert!(crashes > 10, "{crashes}");
}

/// What waits is no attempt that failed, however long it waits and however often a process begins.
#[test]
fn who_waits_for_a_batch_has_time() {
    let (mut sim, mut far) = (sim(), Far::default());
    for _ in 0..5 {
        far.run(&mut sim, |sim| sim.names().iter().filter(|name| *name == "turn.taken").count() >= 4);
        sim.restart();
    }
    let late = |now| {
        let place = Place { here: LAPTOP, members: vec![], sources: vec![], now, since: now };
        sim.kernel.health(&place).iter().filter(|it| it.kind == Kind::Overdue).count()
    };
    assert_eq!((late(sim.now + HOUR), late(sim.now + 48 * HOUR)), (0, 2));
    far.run(&mut sim, |_| false);
    assert!(sim.now > START + HOUR);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done));
    let failed = sim.names().iter().filter(|name| *name == "step.failed").count();
    assert_eq!((failed, far.sends, far.withdrawn.len()), (0, 2, 0));
}

/// Who goes back waits no more for what was sent, and asks anew.
#[test]
fn a_batch_is_given_up_by_who_goes_back() {
    let (mut sim, mut far) = (sim(), Far::default());
    far.run(&mut sim, |sim| sim.names().iter().filter(|name| *name == "turn.taken").count() >= 4);
    let back = sim.kernel.rewind("t", "both", &[]).unwrap();
    sim.says(&back);
    far.run(&mut sim, |_| false);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done));
    assert!(
        !far.withdrawn.is_empty() && far.withdrawn.iter().all(|it| *it == Stage::Sent { batch: "b".into() })
    );
}

/// A batch is given up when the last that waits for it is called off, and not before.
#[test]
fn a_batch_is_given_up_with_the_last_who_waits() {
    let (mut sim, mut far) = (sim(), Far::default());
    let other = sim.kernel.create("u", "flow", json!({}), None).unwrap();
    sim.queue.push_back(Action::Append(vec![other]));
    far.run(&mut sim, |sim| sim.names().iter().filter(|name| *name == "turn.taken").count() >= 8);
    sim.says(&WorkEvent::TaskCancelled { task: "u".into(), note: "enough".into() });
    far.run(&mut sim, |sim| sim.kernel.tables().task("u").is_some_and(|task| task.ended.is_some()));
    assert!(far.withdrawn.is_empty(), "the other waits");
    sim.says(&WorkEvent::TaskCancelled { task: "t".into(), note: "enough".into() });
    far.run(&mut sim, |_| false);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Cancelled));
    assert!(far.withdrawn.iter().all(|stage| *stage == Stage::Sent { batch: "b".into() }));
    assert!(!far.withdrawn.is_empty());
}
