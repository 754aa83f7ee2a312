//! What is recorded together.

use super::sim::*;
use crate::kernel::*;

const THREE: &str = "---
type: workflow
steps:
  one: {agent: writer, input: {n: 1}}
  two: {agent: writer, input: {n: 2}}
  mail:
    effect: mail.send
    target: a@b
    args: {text: '{{ steps.two.text }}'}
---
";
const ALLOW: &str =
    "---\ntype: policy\nrules:\n  - {name: mails, verdict: allow, capability: mail.send}\n---\n";

/// What happened, in order: `r` for a record, with its events, and what was done.
fn drive(sim: &mut Sim, round: &mut Round, most: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut promised = None;
    while out.len() < most {
        let input = match round.next(&mut sim.kernel).unwrap() {
            None => break,
            Some(Next::Reserve) => {
                sim.now += 1;
                let stamp = Stamp::new(aios_core::clock::Hlc(sim.now, 0), LAPTOP, sim.log.len() as u64 + 1);
                promised = Some(stamp);
                round.begin(stamp);
                continue;
            }
            Some(Next::Write(entry)) => {
                assert_eq!(promised.take(), Some(entry.stamp), "a record was begun");
                let names: Vec<String> = entry.events.iter().map(Event::name).collect();
                out.push(format!("r {}", names.join(" ")));
                sim.log.push((entry.stamp, entry.events));
                continue;
            }
            Some(Next::Do(Action::Start { work, input, .. })) => {
                out.push(format!("start {}", work.step));
                let came = Ok(serde_json::json!({"text": format!("dear {}", input["n"])}));
                Input::Worked { work, came }
            }
            Some(Next::Do(Action::Perform { key, attempt, content })) => {
                assert!(!round.is_open(), "what is done may write records of its own");
                out.push(format!("perform {}", content.target));
                let came = sim.world.perform(key, &content);
                Input::Performed { key, attempt, came }
            }
            Some(Next::Do(_)) => continue,
        };
        round.add(sim.kernel.handle(input));
    }
    out
}

fn begun() -> (Sim, Round) {
    let sim = Sim::new(World::default(), &[("three", THREE)], &[ALLOW]);
    let created = sim.kernel.create("t", "three", serde_json::json!({}), None).unwrap();
    let mut round = Round::default();
    round.add([Action::Append(vec![created])]);
    (sim, round)
}

#[test]
fn what_follows_without_an_act_is_one_record() {
    let (mut sim, mut round) = begun();
    let said = drive(&mut sim, &mut round, usize::MAX);
    assert_eq!(
        said,
        [
            "r task.created run.started step.started",
            "start one",
            "r step.finished step.started",
            "start two",
            "r step.finished step.started effect.proposed effect.decided effect.intended",
            "perform a@b",
            "r effect.ended step.finished run.ended",
        ],
        "{said:#?}"
    );
    assert!(round.is_over());
    // Whoever reads the records comes to the same.
    let mut other = Kernel::new(VAULT, LAPTOP, sim.setting.clone(), 2);
    for (stamp, events) in &sim.log {
        other.load(*stamp, events);
    }
    assert_eq!(*other.tables(), *sim.kernel.tables());
}

#[test]
fn who_is_killed_anywhere_goes_on_and_does_nothing_twice() {
    for most in 0..9 {
        let (mut sim, mut round) = begun();
        sim.world.knows_keys = true;
        for connector in sim.setting.connectors.values_mut() {
            connector.knows_keys = true;
        }
        let said = drive(&mut sim, &mut round, most);
        // The one who made the task waits until it is recorded.
        if said.is_empty() {
            assert!(sim.log.is_empty());
            continue;
        }
        sim.restart();
        let mut round = Round::default();
        round.add(std::mem::take(&mut sim.queue));
        for _ in 0..10 {
            drive(&mut sim, &mut round, usize::MAX);
            sim.now += 600_000;
            round.add(sim.kernel.handle(Input::Tick { now: sim.now }));
        }
        let task = sim.kernel.tables().task("t").unwrap();
        assert!(task.ended.is_some(), "killed after {said:#?}: {task:#?}");
        assert_eq!(sim.world.done.len(), 1, "killed after {said:#?}");
    }
}

#[test]
fn work_of_several_tasks_is_recorded_together() {
    let (mut sim, _) = begun();
    let mut round = Round::default();
    for n in 0..16 {
        let created = sim.kernel.create(&format!("t{n}"), "three", serde_json::json!({}), None).unwrap();
        round.add([Action::Append(vec![created])]);
    }
    let said = drive(&mut sim, &mut round, usize::MAX);
    let records = said.iter().filter(|it| it.starts_with("r ")).count();
    // One for each of the three begins, and one for each mail: what came of that is told at once.
    assert_eq!(records, 3 + 16, "{said:#?}");
    let tables = sim.kernel.tables();
    assert!(tables.tasks().all(|(_, task)| task.ended.is_some()));
}

#[test]
fn a_record_has_so_many_events_and_no_more() {
    let (mut sim, _) = begun();
    let mut round = Round::default();
    for n in 0..300 {
        let created = sim.kernel.create(&format!("t{n}"), "three", serde_json::json!({}), None).unwrap();
        round.add([Action::Append(vec![created])]);
    }
    drive(&mut sim, &mut round, usize::MAX);
    assert!(sim.log.iter().all(|(_, events)| events.len() < 260));
}
