//! Rehearsals: a version of an agent works on what is given to it, as a task like any other, and nothing that it wants is proposed. So what it
//! costs is counted and bounded as all work is, and what its model said is in the journal.

use aios_core::id::ContentHash;
use serde_json::Value;

use super::replay::Past;
use super::{Kernel, Terms};
use crate::agent::{Turn, retrieval};
use crate::event::WorkEvent;
use crate::failure::{Class, Failure};
use crate::model::Call;
use crate::table::{Rehearsal, Run, Task};
use crate::workflow::rehearsal;

/// What a model is told of what it wants.
const NOTHING: &str = "not done: this is a rehearsal, in which nothing is done";

/// A piece of work that an agent did, with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// The task.
    pub task: String,
    /// The step.
    pub step: String,
    /// What it was given.
    pub input: Value,
    /// What happened in its work with a model.
    pub turns: Vec<Turn>,
    /// What it gave.
    pub result: Value,
}

impl Kernel {
    /// Knows the workflow of a rehearsal from here on.
    pub(super) fn hear_of_rehearsal(&mut self, event: &WorkEvent) {
        if let WorkEvent::AgentRehearsed { agent, .. } = event
            && let Some((version, workflow)) = rehearsal::workflow(agent)
        {
            self.setting.versions.entry(version).or_insert(workflow);
        }
    }

    /// What the version of an agent is held to that rehearses.
    pub(super) fn rehearses(&self, rehearsal: &Rehearsal) -> Option<&Terms> {
        self.setting.rehearsed.get(&(rehearsal.agent.clone(), rehearsal.edition.version))
    }

    /// What a model is told came of a call in a rehearsal: what came of the same call in the episode that is done once more. Nothing where it is
    /// to be found out.
    pub fn recalled(&self, id: &str, call: &Call) -> Option<Turn> {
        let (task, step) = self.tables.task(id)?.rehearsal.as_ref()?.past.as_ref()?;
        let turns: Vec<&Turn> = self.stands(task)?.state(step)?.turns.iter().map(Turn::innermost).collect();
        let arguments = |call: &Call| serde_json::from_str::<Value>(&call.arguments).ok();
        let alike = |it: &&Call| {
            let same =
                it.arguments == call.arguments || arguments(it).is_some_and(|of| Some(of) == arguments(call));
            it.name == call.name && same
        };
        turns.iter().enumerate().find_map(|(at, turn)| {
            let Turn::Answered { answer, .. } = *turn else { return None };
            let asked = answer.calls.iter().find(alike)?;
            // Some providers number the calls of each answer anew.
            let after = turns[at + 1..].iter().take_while(|turn| !matches!(turn, Turn::Answered { .. }));
            after.into_iter().find_map(|turn| match *turn {
                Turn::Came { call: of, text, untrusted } if *of == asked.id => {
                    let (call, text) = (call.id.clone(), text.clone());
                    Some(Turn::Came { call, text, untrusted: *untrusted })
                }
                _ => None,
            })
        })
    }

    /// The files that were shown in the episode that is done once more, where some were.
    pub fn shown_then(&self, id: &str) -> Option<Turn> {
        let (task, step) = self.tables.task(id)?.rehearsal.as_ref()?.past.as_ref()?;
        let first = self.stands(task)?.state(step)?.turns.first()?;
        matches!(first, Turn::Came { call, .. } if call == retrieval::CALL).then(|| first.clone())
    }

    /// What a model is told of what it wants in a rehearsal.
    pub(super) fn told_in_rehearsal(&self, id: &str, turns: &[Turn], call: &str) -> Turn {
        let mut calls = turns.iter().rev().map(Turn::innermost).filter_map(|turn| match turn {
            Turn::Answered { answer, .. } => answer.calls.iter().find(|it| it.id == call),
            _ => None,
        });
        let recalled = calls.next().and_then(|call| self.recalled(id, call));
        recalled.unwrap_or_else(|| Turn::Came {
            call: call.to_owned(),
            text: NOTHING.into(),
            untrusted: false,
        })
    }

    /// Whether a failure is what a rehearsal is to show: what an agent gives wrongly is not asked for again.
    pub(super) fn ends_rehearsal(&self, id: &str, failure: &Failure) -> bool {
        let rehearses = self.tables.task(id).is_some_and(|task| task.rehearsal.is_some());
        rehearses && failure.class == Class::InvalidOutput
    }

    /// Whether what is given in a rehearsal came from outside.
    pub(super) fn rehearses_outside(&self, task: &Task) -> bool {
        let past = task.rehearsal.as_ref().and_then(|it| it.past.as_ref());
        past.is_some_and(|(task, _)| self.is_untrusted(task))
    }

    /// A task's run that stands, or that of the device which works on it.
    fn stands(&self, id: &str) -> Option<&Run> {
        let task = self.tables.task(id)?;
        let ended = task.ended.as_ref().and_then(|(run, ..)| task.runs.get(run));
        ended.or_else(|| task.runs.values().find(|run| Some(run.device) == task.device))
    }

    /// The last pieces of work that an agent did to the end, with one version or any, the latest first.
    pub fn episodes(&self, agent: &str, version: Option<&ContentHash>, last: usize) -> Vec<Episode> {
        let tasks = self.tables.tasks().filter(|(_, task)| task.rehearsal.is_none());
        let mut tasks: Vec<_> = tasks.map(|(id, task)| (std::cmp::Reverse(task.made), id)).collect();
        tasks.sort_unstable();
        let mut out = Vec::new();
        for (_, id) in tasks {
            if out.len() >= last {
                break;
            }
            let mut found = Vec::new();
            let mut see = |past: &Past<'_>| {
                let of = version.is_none_or(|version| past.version == Some(*version));
                if past.agent == agent && of {
                    found.push(Episode {
                        task: id.to_owned(),
                        step: past.step.to_owned(),
                        input: past.input.clone(),
                        turns: past.turns.to_vec(),
                        result: past.result.clone(),
                    });
                }
                None
            };
            // What cannot be worked out anew is no episode.
            if self.replay(&id, &mut see).is_ok() {
                out.append(&mut found);
            }
        }
        out.truncate(last);
        out
    }
}
