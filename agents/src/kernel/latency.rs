//! How long work takes, by workflow and step.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Kernel;
use super::need::place;
use crate::span::Millis;
use crate::table::Status;

/// How long something took, over all times that it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The workflow.
    pub workflow: String,
    /// The step, without which item it was of; none: the whole.
    pub step: Option<String>,
    /// How often it was done.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Millis,
    /// Nine of ten took no longer.
    pub p90: Millis,
    /// Ninety-nine of a hundred took no longer.
    pub p99: Millis,
    /// None took longer.
    pub most: Millis,
}

impl Kernel {
    /// How long tasks and steps took that ended since a moment: of a step from when it was first begun, with all its attempts and what it
    /// waited for.
    pub fn latencies(&self, since: Millis) -> Vec<Latency> {
        let mut took: BTreeMap<(String, Option<String>), Vec<Millis>> = BTreeMap::new();
        for (_, task) in self.tables.recent(since) {
            let Some(workflow) = &task.workflow else { continue };
            let mut note = |step: Option<String>, from: Millis, to: Millis| {
                if to >= since {
                    took.entry((workflow.clone(), step)).or_default().push(to.saturating_sub(from));
                }
            };
            for run in task.runs.values().filter(|run| Some(run.device) == task.device) {
                for (path, state) in &run.steps {
                    if let Status::Finished { order, .. } = &state.status {
                        note(Some(place(path)), state.began, order.time());
                    }
                }
            }
            if let Some(run) = task.ended.as_ref().and_then(|(run, ..)| task.runs.get(run)) {
                note(None, task.made, run.halted);
            }
        }
        took.into_iter().map(|((workflow, step), took)| latency(workflow, step, took)).collect()
    }
}

fn latency(workflow: String, step: Option<String>, mut took: Vec<Millis>) -> Latency {
    took.sort_unstable();
    // The nearest rank: a time that it truly took.
    let at = |percent: usize| {
        let rank = (took.len() * percent).div_ceil(100).max(1);
        took.get(rank - 1).copied().unwrap_or(0)
    };
    let (p50, p90, p99, most) = (at(50), at(90), at(99), at(100));
    Latency { workflow, step, count: took.len(), p50, p90, p99, most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_it_took() {
        let of = |took: Vec<Millis>| {
            let it = latency("w".into(), None, took);
            (it.count, it.p50, it.p90, it.p99, it.most)
        };
        assert_eq!(of((1..=100).rev().collect()), (100, 50, 90, 99, 100));
        assert_eq!(of(vec![7]), (1, 7, 7, 7, 7));
        assert_eq!(of(vec![10, 20]), (2, 10, 20, 20, 20));
        assert_eq!(of(vec![1, 2, 3, 1000]), (4, 2, 1000, 1000, 1000));
    }
}
