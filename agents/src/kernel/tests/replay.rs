//! Replays that differ, each in its own way.

use serde_json::json;

use super::sim::{self, Sim, World};
use crate::kernel::*;

const WAY: &str = "---
type: workflow
input: {type: object, properties: {n: {type: number}}}
steps:
  draft: {agent: writer, input: {n: '{{ input.n }}'}}
  pick:
    choose:
      - {when: steps.draft.words > 2, go: send}
      - {else: end}
  send: {effect: mail.send, target: ann, args: {text: '{{ steps.draft.text }}'}}
---
";

fn done() -> Sim {
    let mut sim = Sim::new(World::default(), &[("way", WAY)], &[]);
    sim.create("way", json!({"n": 3}));
    sim.run();
    sim
}

/// The same records under a workflow that says something else.
fn under(sim: &Sim, from: &str, to: &str) -> Option<Difference> {
    let mut setting = sim.setting.clone();
    let changed = WAY.replace(from, to);
    assert_ne!(changed, WAY);
    let workflow = Workflow::read(&changed, &crate::workflow::Known::default()).unwrap();
    setting.versions.insert(ContentHash::of(WAY.as_bytes()), workflow);
    let mut kernel = Kernel::new(sim::VAULT, sim::LAPTOP, setting, 1);
    sim.log.iter().for_each(|(stamp, events)| kernel.load(*stamp, events));
    kernel.replay("t", &mut |_| None).unwrap().difference
}

#[test]
fn each_difference_has_a_name() {
    let sim = done();
    let whole = sim.kernel.replay("t", &mut |_| None).unwrap();
    assert_eq!(whole.difference, None);
    assert_eq!(whole.steps.iter().map(|it| it.step.as_str()).collect::<Vec<_>>(), ["draft", "pick", "send"]);
    assert!(
        matches!(under(&sim, "'{{ input.n }}'", "'{{ input.n + 1 }}'"), Some(Difference::Input { step, .. }) if step == "draft")
    );
    assert!(
        matches!(under(&sim, "words > 2", "words > 9"), Some(Difference::Way { step, now, .. }) if step == "pick" && now.is_empty())
    );
    assert!(
        matches!(under(&sim, "target: ann", "target: bob"), Some(Difference::Effect { now, .. }) if now.target == "bob")
    );
    let more = "  send: {effect: mail.send, target: ann, args: {text: '{{ steps.draft.text }}'}}\n  more: {agent: writer, input: 1}\n";
    let last = "  send: {effect: mail.send, target: ann, args: {text: '{{ steps.draft.text }}'}}\n";
    assert!(matches!(under(&sim, last, more), Some(Difference::Beyond { step }) if step == "more"));
    let told = sim.kernel.replay("t", &mut |_| Some(Ok(json!({"words": 7})))).unwrap();
    assert!(matches!(told.difference, Some(Difference::Output { step, .. }) if step == "draft"));
    assert_eq!(sim.kernel.replay("u", &mut |_| None), Err(ReplayError::NoTask("u".into())));
}

/// Two devices make one task. What the run of one began with does not change because the other made it before.
#[test]
fn a_run_goes_by_when_its_task_was_made_as_far_as_it_knew() {
    let text = "---\ntype: workflow\nsteps:\n  send: {effect: mail.send, target: '{{ began }}', args: {}}\n  last: {effect: mail.send, target: 'again {{ began }}', args: {}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("way", text)], &[]);
    let created = sim.kernel.create("t", "way", json!({}), Some(sim::LAPTOP)).unwrap();
    sim.queue.push_back(Action::Append(vec![created]));
    let made = sim.now;
    // The mail is out, the next one is not.
    while sim.world.done.is_empty() {
        match sim.queue.pop_front() {
            Some(action) => sim.act(action),
            None => assert!(sim.operator()),
        }
    }
    let before = Stamp::new(aios_core::clock::Hlc(made - 500_000, 0), sim::PHONE, 1);
    let events = sim.log[0].1.clone();
    sim.log.push((before, events.clone()));
    sim.give(Input::Recorded { stamp: before, events });
    assert_eq!(sim.kernel.tables().task("t").unwrap().made, made - 500_000);
    sim.run();
    let told: Vec<&str> = sim.world.done.iter().map(|(_, what)| what.as_str()).collect();
    assert!(told[1..].iter().all(|it| it.contains(told[0].split_whitespace().next().unwrap())), "{told:?}");
    assert_eq!(sim.kernel.replay("t", &mut |_| None).unwrap().difference, None);
}
