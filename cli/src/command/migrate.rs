//! `aios workflow migrate`

use aios_agents::event::WorkEvent;
use aios_agents::kernel::MigrateError;
use serde_json::json;

use crate::args::WorkflowMigrateArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// Has tasks that are not over go on with the versions of their workflows that are in force.
pub fn run(args: &WorkflowMigrateArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?.carry_on()?;
    let named = |workflow: Option<&String>| match &args.workflow {
        Some(name) => workflow == Some(name),
        None => true,
    };
    let mut events = Vec::new();
    let mut asked: Vec<String> = Vec::new();
    let mut stay: Vec<(String, String, String)> = Vec::new();
    for (id, task) in office.kernel().tables().open() {
        if !named(task.workflow.as_ref()) {
            continue;
        }
        match office.kernel().migrate(id, task) {
            Ok(event) => {
                asked.push(id.to_owned());
                events.push(event);
            }
            Err(MigrateError::Over | MigrateError::Same) => {}
            Err(why) => {
                stay.push((id.to_owned(), task.workflow.clone().unwrap_or_default(), why.to_string()));
            }
        }
    }
    let office = match (events.is_empty(), args.dry_run) {
        (false, false) => office.says(&message(&events), &events)?,
        _ => office,
    };
    let mut moved = Vec::new();
    let mut heard = Vec::new();
    for (id, event) in asked.iter().zip(&events) {
        let WorkEvent::TaskMigrated { run, to, turn, .. } = event else { continue };
        let Some(task) = office.kernel().tables().task(id) else { continue };
        let workflow = task.workflow.clone().unwrap_or_default();
        let answered = task.runs.get(run).filter(|run| run.moves > *turn);
        match answered.map(|run| run.unmoved.clone()) {
            Some(Some(why)) => stay.push((id.clone(), workflow, why)),
            Some(None) => moved.push((id.clone(), workflow)),
            None if args.dry_run || task.version == Some(*to) => moved.push((id.clone(), workflow)),
            // Another device works on it, and has not heard of it.
            None => heard.push((id.clone(), workflow)),
        }
    }
    if ui.json() {
        let task = |(task, workflow): &(String, String)| json!({"task": task, "workflow": workflow});
        let stays = |(task, workflow, why): &(String, String, String)| json!({"task": task, "workflow": workflow, "why": why});
        ui.value(&json!({
            "moved": moved.iter().map(task).collect::<Vec<_>>(),
            "asked": heard.iter().map(task).collect::<Vec<_>>(),
            "stay": stay.iter().map(stays).collect::<Vec<_>>(),
        }))?;
    }
    let would = if args.dry_run { "would go on" } else { "goes on" };
    for (id, workflow) in &moved {
        let what = one_line(&format!("task {id} {workflow}"));
        ui.line(format!("{what}: {} with the version in force", ui.paint(Style::Green, would)))?;
    }
    for (id, workflow) in &heard {
        let what = one_line(&format!("task {id} {workflow}"));
        ui.line(format!(
            "{what}: {}, the device that works on it has not answered",
            ui.paint(Style::Yellow, "asked")
        ))?;
    }
    for (id, workflow, why) in &stay {
        let what = one_line(&format!("task {id} {workflow}"));
        ui.line(format!("{what}: {}: {}", ui.paint(Style::Yellow, "stays"), one_line(why)))?;
    }
    if moved.is_empty() && heard.is_empty() && stay.is_empty() {
        ui.line("every task has the version in force")?;
    }
    Ok(if stay.is_empty() && heard.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}

fn message(events: &[WorkEvent]) -> String {
    format!("Migrate {}", count(events.len(), "task"))
}
