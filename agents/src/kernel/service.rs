//! What agents did, by the version of their files, and what models took.

use std::collections::BTreeMap;

use aios_core::id::ContentHash;
use serde::Serialize;

use super::Kernel;
use crate::span::Millis;
use crate::table::{Spent, Status, StepState};
use crate::workflow::Act;

/// What one version of an agent did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Service {
    /// How often it came to an end.
    pub done: usize,
    /// How often it failed for good.
    pub failed: usize,
    /// Attempts that failed and were made again, or not.
    pub failures: usize,
    /// Half of what it ended took no longer, in ms.
    pub p50: Millis,
    /// What models took for it.
    pub spent: Spent,
    #[serde(skip)]
    took: Vec<Millis>,
}

impl Spent {
    /// The sum.
    pub fn plus(self, other: &Spent) -> Spent {
        Spent {
            answers: self.answers.saturating_add(other.answers),
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cost: self.cost.plus(other.cost),
        }
    }
}

impl Kernel {
    /// What an agent did, by version; without one from before versions were noted.
    pub fn service(&self, agent: &str) -> BTreeMap<Option<ContentHash>, Service> {
        let mut out: BTreeMap<Option<ContentHash>, Service> = BTreeMap::new();
        self.each_agent_step(&mut |name, state, rehearsal| {
            if name != agent || rehearsal {
                return;
            }
            let service = out.entry(state.agent).or_default();
            match &state.status {
                Status::Finished { order, .. } => {
                    service.done += 1;
                    service.took.push(order.time().saturating_sub(state.began));
                }
                Status::Failed { retry: None, .. } => service.failed += 1,
                _ => {}
            }
            service.failures += state.failed.len();
            service.spent = state.spent.values().fold(service.spent, Spent::plus);
        });
        for service in out.values_mut() {
            service.took.sort_unstable();
            service.p50 = service.took.get(service.took.len().saturating_sub(1) / 2).copied().unwrap_or(0);
        }
        out
    }

    /// How often the operator changed what an agent proposed.
    pub fn edits(&self, agent: &str) -> usize {
        let edited = self.tables.effects().filter(|(_, effect)| {
            let of = effect.proposed.as_ref().and_then(|it| it.content.agent.as_deref());
            effect.edited.is_some() && of == Some(agent)
        });
        edited.count()
    }

    /// What models took in work that was begun since a moment, by model.
    pub fn spent_on_models(&self, since: Millis) -> BTreeMap<String, Spent> {
        let mut out: BTreeMap<String, Spent> = BTreeMap::new();
        self.each_agent_step(&mut |_, state, _| {
            for (model, spent) in state.spent.iter().filter(|_| state.began >= since) {
                let sum = out.entry(model.clone()).or_default();
                *sum = sum.plus(spent);
            }
        });
        out
    }

    fn each_agent_step(&self, visit: &mut impl FnMut(&str, &StepState, bool)) {
        for (_, task) in self.tables.tasks() {
            let workflow = task.version.and_then(|version| self.setting.versions.get(&version));
            let Some(workflow) = workflow else { continue };
            for (path, state) in task.runs.values().flat_map(|run| &run.steps) {
                let step = workflow.steps.at(path).filter(|_| !path.contains(['!', '~']));
                if let Some(Act::Agent { agent, .. }) = step.map(|step| &step.act) {
                    visit(agent, state, task.rehearsal.is_some());
                }
            }
        }
    }
}
