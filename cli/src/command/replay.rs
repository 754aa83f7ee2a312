//! `aios replay`

use aios_agents::kernel::Difference;
use aios_core::id::ContentHash;
use aios_vault::audit::text_diff;
use serde_json::{Value, json};

use crate::args::ReplayArgs;
use crate::command::tasks;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report::{self, count};
use crate::ui::{Ui, one_line};

/// Works out a task anew from its journal, and says where it differs.
pub fn run(args: &ReplayArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let task = find(&office, &args.id)?;
    let version = match &args.agent {
        Some(text) => {
            let wrong = || CliError::usage(format!("`{text}` is no version: give its whole hash"));
            Some(text.parse::<ContentHash>().map_err(|_| wrong())?)
        }
        None => None,
    };
    let replay = office.replay(&task, version.as_ref())?;
    if ui.json() {
        let what = replay.difference.as_ref().map(ToString::to_string);
        ui.value(&json!({
            "task": replay.task, "run": replay.run, "ok": replay.difference.is_none(),
            "steps": replay.steps, "difference": replay.difference, "what": what,
        }))?;
    }
    let Some(difference) = &replay.difference else {
        let again = replay.steps.iter().filter(|step| step.again).count();
        let steps = count(replay.steps.len(), "step");
        ui.line(format!(
            "task {}: {steps} as recorded, {again} worked out by agents once more",
            one_line(&task)
        ))?;
        return Ok(Exit::Done);
    };
    ui.line(one_line(&difference.to_string()))?;
    let (path, recorded, now) = sides(difference);
    let diff = text_diff(path, recorded.as_deref(), now.as_deref());
    report::patch(ui, &diff)?;
    Ok(Exit::Findings)
}

/// The task whose id, or the id of a run of it, begins like that.
fn find(office: &Office, prefix: &str) -> Result<String, CliError> {
    let by_run = office.kernel().tables().tasks().find(|(_, task)| {
        let mut runs = task.runs.keys();
        runs.any(|run| run.starts_with(prefix))
    });
    match tasks::find(office, prefix) {
        Err(e) => by_run.map(|(id, _)| id.to_owned()).ok_or(e),
        found => found,
    }
}

type Sides<'d> = (&'d str, Option<String>, Option<String>);

/// The step, what was recorded, and what it is now.
fn sides(difference: &Difference) -> Sides<'_> {
    let text = |value: &Value| {
        // The text of a template is shown as it is.
        let plain = value
            .get("text")
            .and_then(Value::as_str)
            .filter(|_| value.as_object().is_some_and(|it| it.len() == 1));
        let text = plain.map_or_else(|| format!("{value:#}"), str::to_owned);
        Some(format!("{}\n", text.trim_end_matches('\n')))
    };
    let content = |content: &aios_agents::event::Content| text(&json!(content));
    match difference {
        Difference::Input { step, now } => (step, None, text(now)),
        Difference::Output { step, recorded, now } => (step, text(recorded), text(now)),
        Difference::Effect { step, recorded, now } => {
            (step, recorded.as_ref().and_then(|it| content(it)), content(now))
        }
        Difference::Result { recorded, now } => ("result", text(recorded), text(now)),
        Difference::Failed { step, .. }
        | Difference::Way { step, .. }
        | Difference::Beyond { step }
        | Difference::Missed { step } => (step, None, None),
    }
}
