//! A run as spans of a trace: when each step began and ended, and what it took, from its journal.
//!
//! Ids follow from the work, so a run that went on in another process, or is told once more, is the same trace. Nothing that was said is in it:
//! names, times, counts and kinds of failure. Names of attributes are OpenTelemetry's, those for generative AI where there are some.

use aios_core::id::{ContentHash, VaultId};
use serde_json::Value;

use super::{Kernel, run_id};
use crate::event::Outcome;
use crate::failure::Failure;
use crate::span::Millis;
use crate::table::{Run, Status, StepState, Task};
use crate::workflow::{Act, Workflow};

/// Something that has a beginning and an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// Of which trace: 16 bytes.
    pub trace: [u8; 16],
    /// Which: 8 bytes.
    pub id: [u8; 8],
    /// What it is part of.
    pub parent: Option<[u8; 8]>,
    /// What is done.
    pub name: String,
    /// When it began, in ms since the Unix epoch.
    pub begin: Millis,
    /// When it ended.
    pub end: Millis,
    /// What is known of it.
    pub marks: Vec<Mark>,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

/// An attribute: text or a whole number.
pub type Mark = (&'static str, Value);

fn cut<const N: usize>(text: &str) -> [u8; N] {
    let hash = ContentHash::of(text.as_bytes());
    let mut out = [0; N];
    out.copy_from_slice(&hash.0[..N]);
    out
}

fn trace(vault: &VaultId, task: &str) -> [u8; 16] {
    cut(&format!("aios-trace-v1\n{vault}\n{task}"))
}

fn stretch(vault: &VaultId, run: &str, step: &str) -> [u8; 8] {
    cut(&format!("aios-span-v1\n{vault}\n{run}\n{step}"))
}

/// What a step is part of: the step around it.
fn around(path: &str) -> Option<&str> {
    let (around, _) = path.rsplit_once('/')?;
    Some(around.rsplit_once('[').map_or(around, |(around, _)| around))
}

impl Kernel {
    /// A task's run of this device as spans, the whole of it first; none where it has not begun.
    pub fn trail(&self, id: &str) -> Vec<Stretch> {
        let run_id = run_id(&self.vault, id, &self.device);
        let Some((task, run)) = self.tables.task(id).and_then(|task| Some((task, task.runs.get(&run_id)?)))
        else {
            return Vec::new();
        };
        let workflow = task.version.and_then(|version| self.setting.versions.get(&version));
        let root = self.root(id).unwrap_or(id);
        let trace = trace(&self.vault, root);
        let parent = task.parent.as_ref().map(|(parent, step)| {
            let run = super::run_id(&self.vault, parent, &self.device);
            stretch(&self.vault, &run, step)
        });
        let mut out = vec![Stretch { trace, parent, ..self.whole(id, task, &run_id, run) }];
        for (path, state) in &run.steps {
            let parent = around(path).filter(|it| run.steps.contains_key(*it)).unwrap_or_default();
            let step = self.step_stretch(workflow, path, state, run);
            out.push(Stretch {
                trace,
                id: stretch(&self.vault, &run_id, path),
                parent: Some(stretch(&self.vault, &run_id, parent)),
                ..step
            });
        }
        out
    }

    /// The task that this one is part of, however far.
    fn root<'k>(&'k self, id: &'k str) -> Option<&'k str> {
        let mut root = id;
        // As many as there may be in each other, and then it is one that is wrong.
        for _ in 0..64 {
            match &self.tables.task(root)?.parent {
                Some((parent, _)) => root = parent,
                None => return Some(root),
            }
        }
        None
    }

    fn whole(&self, id: &str, task: &Task, run_id: &str, run: &Run) -> Stretch {
        let workflow = task.workflow.clone().unwrap_or_default();
        let stuck = run.stuck.as_ref().map(|stuck| &stuck.failure);
        let (outcome, error) = match run.ended {
            Some(Outcome::Done) => ("done", None),
            Some(Outcome::Cancelled) => ("cancelled", None),
            Some(_) => ("failed", Some("it failed".to_owned())),
            None if stuck.is_some() => ("stuck", stuck.map(|it| it.class.name().to_owned())),
            None => ("open", None),
        };
        let mut marks: Vec<Mark> = vec![
            ("gen_ai.operation.name", "invoke_workflow".into()),
            ("gen_ai.workflow.name", workflow.clone().into()),
            ("aios.task", id.into()),
            ("aios.run", run_id.into()),
            ("aios.outcome", outcome.into()),
        ];
        marks.extend(stuck.map(|it| ("error.type", it.class.name().into())));
        Stretch {
            trace: [0; 16],
            id: stretch(&self.vault, run_id, ""),
            parent: None,
            name: format!("invoke_workflow {workflow}"),
            begin: run.made.unwrap_or(task.made),
            end: run.halted,
            marks,
            error,
        }
    }

    fn step_stretch(&self, workflow: Option<&Workflow>, path: &str, state: &StepState, run: &Run) -> Stretch {
        let act = workflow.and_then(|workflow| workflow.steps.at(path)).map(|step| &step.act);
        let mut marks: Vec<Mark> = Vec::new();
        let name = match act {
            Some(Act::Agent { agent, .. }) => {
                marks.push(("gen_ai.operation.name", "invoke_agent".into()));
                marks.push(("gen_ai.agent.name", agent.as_str().into()));
                format!("invoke_agent {agent}")
            }
            Some(Act::Effect { deed, .. }) => {
                marks.push(("gen_ai.operation.name", "execute_tool".into()));
                marks.push(("gen_ai.tool.name", deed.capability.as_str().into()));
                format!("execute_tool {}", deed.capability)
            }
            _ => format!("step {path}"),
        };
        marks.push(("aios.step", path.into()));
        marks.push(("aios.attempts", state.attempts.into()));
        let spent = state.spent.values();
        let (input, output) =
            spent.fold((0, 0), |(input, output), it| (it.input + input, it.output + output));
        if let Some(model) = state.spent.keys().next() {
            marks.push(("gen_ai.request.model", model.as_str().into()));
            marks.push(("gen_ai.usage.input_tokens", input.into()));
            marks.push(("gen_ai.usage.output_tokens", output.into()));
        }
        let last = state.failed.last().map(|it| it.at);
        let (end, failure): (Millis, Option<&Failure>) = match &state.status {
            Status::Finished { order, .. } => (order.time(), None),
            Status::Failed { failure, .. } => (last.unwrap_or(run.halted), Some(failure)),
            _ => (run.halted, None),
        };
        marks.extend(failure.map(|it| ("error.type", it.class.name().into())));
        Stretch {
            trace: [0; 16],
            id: [0; 8],
            parent: None,
            name,
            begin: state.began,
            end: end.max(state.began),
            marks,
            // What it says may quote what came from outside.
            error: failure.map(|it| it.class.name().to_owned()),
        }
    }
}
