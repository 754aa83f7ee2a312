//! Which version of an agent has a task, and a new one that does worse.

use super::*;
use crate::agent::Edition;
use crate::table::Choice;

const FLOW: &str = "---
type: workflow
input: {type: object, properties: {n: {type: integer}}}
steps:
  draft: {agent: writer}
---
";
const OLD: ContentHash = ContentHash([1; 32]);
const NEW: ContentHash = ContentHash([2; 32]);

fn terms(version: ContentHash) -> Terms {
    Terms { version, effects: None, always_asks: false, retry: None, calls_models: false, money: None }
}

fn edition(version: ContentHash) -> Edition {
    Edition { version, files: [("agents/writer.md".to_owned(), version)].into() }
}

/// A kernel whose agent has a new version in force.
fn sim() -> Sim {
    let mut sim = Sim::new(World::default(), &[("flow", FLOW)], &[]);
    sim.setting.agents = [("writer".to_owned(), terms(NEW))].into();
    sim.setting.editions =
        [OLD, NEW].map(|version| (("writer".to_owned(), version), terms(version))).into_iter().collect();
    sim.restart();
    sim
}

fn release(sim: &mut Sim, editions: &[ContentHash], share: u32) {
    let turn = sim.kernel.tables().releases("writer").map_or(0, |said| said.turn());
    let editions = editions.iter().map(|version| edition(*version)).collect();
    let event = WorkEvent::release("writer", editions, share, turn, &VAULT, &operator());
    sim.says(&event);
}

/// Has a task done, by the version that has it; `fails` says with which.
fn task(sim: &mut Sim, id: &str, fails: &[ContentHash]) -> Option<ContentHash> {
    let created = sim.kernel.create(id, "flow", json!({"n": 1}), None).unwrap();
    sim.queue.push_back(Action::Append(vec![created]));
    let mut by = None;
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Start { work, version, .. } => {
                by = version;
                let came = match version.is_some_and(|version| fails.contains(&version)) {
                    true => Err(Failure::new(Class::Permanent, "no words")),
                    false => Ok(json!({"text": "dear"})),
                };
                sim.give(Input::Worked { work, came });
            }
            action => sim.act(action),
        }
    }
    by
}

#[test]
fn tasks_are_split_by_their_ids_and_each_keeps_its_version() {
    let mut sim = sim();
    assert_eq!(task(&mut sim, "before", &[]), Some(NEW), "what was accepted last works");
    release(&mut sim, &[OLD], 0);
    assert_eq!(task(&mut sim, "pinned", &[]), Some(OLD));
    release(&mut sim, &[OLD, NEW], 3000);
    let ids: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let by: Vec<Option<ContentHash>> = ids.iter().map(|id| task(&mut sim, id, &[])).collect();
    let drawn: Vec<Option<ContentHash>> =
        ids.iter().map(|id| Some(if lot("writer", id) < 3000 { NEW } else { OLD })).collect();
    assert_eq!(by, drawn);
    let new = by.iter().filter(|it| **it == Some(NEW)).count();
    assert!((20..40).contains(&new), "{new}");
    let (old, tried) = sim.kernel.tallies("writer").unwrap();
    assert_eq!(
        (old.tasks(), tried.tasks()),
        (101 - new as u64, new as u64),
        "what it did before is no part of the trial"
    );
    // More of them: those that had the new one have it still.
    assert!(ids.iter().filter(|id| lot("writer", id) < 3000).all(|id| lot("writer", id) < 6000));
    // Whoever starts again from the records decides alike.
    sim.restart();
    assert_eq!(sim.kernel.tallies("writer").unwrap(), (old, tried));
    assert!(sim.kernel.inbox().is_empty());
}

#[test]
fn a_task_that_began_with_a_version_of_a_canary_goes_on_with_it() {
    let mut sim = sim();
    release(&mut sim, &[OLD], 0);
    // Its first attempt fails, and it is tried again later.
    let id = (0..).map(|n| format!("t{n}")).find(|id| lot("writer", id) < 100).unwrap();
    assert_eq!(task(&mut sim, &id, &[OLD]), Some(OLD));
    release(&mut sim, &[OLD, NEW], 9000);
    let (task, run) = {
        let found = sim.kernel.tables().task(&id).unwrap();
        (id.clone(), found.runs.keys().next().unwrap().clone())
    };
    sim.says(&WorkEvent::TaskRetried { task, run, step: "draft".into() });
    let mut by = None;
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Start { work, version, .. } => {
                by = version;
                sim.give(Input::Worked { work, came: Ok(json!({"text": "dear"})) });
            }
            action => sim.act(action),
        }
    }
    assert_eq!(by, Some(OLD), "it is drawn for the new one, and began with the old one");
}

#[test]
fn a_new_version_that_does_worse_has_no_more_tasks() {
    let mut sim = sim();
    release(&mut sim, &[OLD], 0);
    (0..30).for_each(|n| _ = task(&mut sim, &format!("before{n}"), &[]));
    release(&mut sim, &[OLD, NEW], 5000);
    let mut new = 0;
    for n in 0..40 {
        let by = task(&mut sim, &format!("t{n}"), &[NEW]);
        new += usize::from(by == Some(NEW));
    }
    assert_eq!(new, 3, "the third that goes wrong is the last");
    let said = sim.kernel.tables().releases("writer").unwrap();
    assert_eq!(said.stopped().unwrap().new.failed, 3);
    assert_eq!(sim.names().iter().filter(|name| *name == "canary.stopped").count(), 1);
    let told = |sim: &Sim| sim.kernel.inbox().iter().any(|need| matches!(need, Need::Worse { .. }));
    assert!(told(&sim) && sim.shown.iter().any(|need| matches!(need, Need::Worse { .. })));
    sim.restart();
    assert!(told(&sim), "it is told until the operator says what works");
    // Tried again, it begins anew: what it did before is forgiven, and what it does now is not.
    release(&mut sim, &[OLD, NEW], 10_000);
    assert!(!told(&sim));
    let by: Vec<Option<ContentHash>> = (0..5).map(|n| task(&mut sim, &format!("again{n}"), &[NEW])).collect();
    assert_eq!(by, [Some(NEW), Some(NEW), Some(NEW), Some(OLD), Some(OLD)]);
    release(&mut sim, &[OLD], 0);
    assert!(!told(&sim));
}

#[test]
fn what_the_other_side_is_to_blame_for_stops_nothing() {
    let mut sim = sim();
    release(&mut sim, &[OLD], 0);
    (0..30).for_each(|n| _ = task(&mut sim, &format!("before{n}"), &[]));
    release(&mut sim, &[OLD, NEW], 10_000);
    for n in 0..5 {
        let created = sim.kernel.create(&format!("t{n}"), "flow", json!({"n": 1}), None).unwrap();
        sim.queue.push_back(Action::Append(vec![created]));
        while let Some(action) = sim.queue.pop_front() {
            match action {
                Action::Start { work, .. } => {
                    let came = Err(Failure::new(Class::RateLimited, "slow down"));
                    sim.give(Input::Worked { work, came });
                }
                action => sim.act(action),
            }
        }
    }
    assert_eq!(sim.kernel.tallies("writer").unwrap().1.tasks(), 0);
}

#[test]
fn only_the_operator_says_what_works_and_only_once() {
    let mut sim = sim();
    let other = aios_core::key::SecretKey::from_bytes(&[6; 32]);
    sim.says(&WorkEvent::release("writer", vec![edition(OLD)], 0, 0, &VAULT, &other));
    assert!(sim.kernel.tables().releases("writer").is_none());
    let pin = WorkEvent::release("writer", vec![edition(OLD)], 0, 0, &VAULT, &operator());
    let WorkEvent::AgentReleased { id, agent, share, turn, by, sig, .. } = pin.clone() else {
        panic!("a release")
    };
    let forged = vec![edition(NEW)];
    sim.says(&WorkEvent::AgentReleased { id, agent, editions: forged, share, turn, by, sig });
    assert!(sim.kernel.tables().releases("writer").is_none(), "it is signed for another version");
    sim.says(&pin);
    release(&mut sim, &[], 0);
    sim.says(&pin);
    let now = sim.kernel.tables().releases("writer").and_then(|said| said.now()).unwrap();
    assert_eq!(now.choice, Choice::Accepted, "said once more by who only has the record, it is what it was");
}

#[test]
fn a_version_that_is_not_there_does_not_work_as_another() {
    let mut sim = sim();
    release(&mut sim, &[ContentHash([9; 32])], 0);
    assert_eq!(task(&mut sim, "t", &[]), None);
    let Need::Dead { failure, .. } = sim.kernel.inbox()[0] else { panic!("{:#?}", sim.kernel.inbox()) };
    assert_eq!(failure.class, Class::LostContext);
    assert!(failure.what.contains("aios agents pin writer --off"), "{failure}");
}
