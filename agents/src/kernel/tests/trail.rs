//! Runs as spans.

use serde_json::{Value, json};

use super::sim::*;
use crate::kernel::*;

const FLOW: &str = "---
type: workflow
steps:
  draft: {agent: writer, input: {n: 1}, retry: {attempts: 3, first: 1s}}
  all:
    each: '[1, 2]'
    as: n
    steps:
      send: {effect: mail.send, target: '{{ n }}', args: {}}
---
";

fn mark<'s>(stretch: &'s Stretch, name: &str) -> Option<&'s Value> {
    stretch.marks.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[test]
fn a_run_is_a_trace() {
    let world = World { agent_failures: 1, ..World::default() };
    let mut sim = Sim::new(world, &[("flow", FLOW)], &[]);
    sim.create("flow", json!({}));
    assert_eq!(sim.kernel.trail("t"), []);
    sim.run();
    let trail = sim.kernel.trail("t");
    let names: Vec<&str> = trail.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "invoke_workflow flow",
            "step all",
            "execute_tool mail.send",
            "execute_tool mail.send",
            "invoke_agent writer"
        ]
    );
    let (whole, all, send, draft) = (&trail[0], &trail[1], &trail[2], &trail[4]);
    assert_eq!(mark(whole, "gen_ai.workflow.name"), Some(&json!("flow")));
    assert_eq!(mark(whole, "aios.outcome"), Some(&json!("done")));
    assert_eq!(mark(draft, "gen_ai.agent.name"), Some(&json!("writer")));
    assert_eq!(mark(draft, "aios.attempts"), Some(&json!(2)));
    assert_eq!((whole.parent, all.parent, send.parent), (None, Some(whole.id), Some(all.id)));
    for it in &trail {
        assert_eq!(it.trace, whole.trace);
        assert!(whole.begin <= it.begin && it.begin <= it.end && it.end <= whole.end, "{it:#?}");
        assert_eq!(it.error, None);
    }
    // Another process tells the same.
    sim.restart();
    assert_eq!(sim.kernel.trail("t"), trail);
}

#[test]
fn what_failed_says_of_which_kind_and_nothing_that_was_said() {
    let world = World { agent_failures: 9, ..World::default() };
    let mut sim = Sim::new(world, &[("flow", FLOW)], &[]);
    sim.create("flow", json!({}));
    for _ in 0..50 {
        match sim.queue.pop_front() {
            Some(action) => sim.act(action),
            None => {
                let Some(wake) = sim.wake.take() else { break };
                sim.now = sim.now.max(wake);
                sim.give(Input::Tick { now: sim.now });
            }
        }
    }
    let trail = sim.kernel.trail("t");
    assert_eq!(mark(&trail[0], "aios.outcome"), Some(&json!("stuck")), "{trail:#?}");
    assert_eq!(mark(&trail[1], "error.type"), Some(&json!("invalid-output")));
    assert!(!format!("{trail:?}").contains("no words"), "{trail:#?}");
}
