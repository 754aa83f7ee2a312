//! `aios tasks` and `aios task`

use std::collections::BTreeSet;

use aios_agents::event::{Fired, Outcome, WorkEvent};
use aios_agents::kernel::RewindError;
use aios_agents::span;
use aios_core::id::DeviceId;
use serde_json::json;

use super::{packet, prompt};
use crate::args::{TaskArgs, TaskCommand, TasksArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Style, Ui, one_line};

/// From so many ms on a schedule is said to be late.
const LATE: u64 = 60_000;

/// Lists all tasks, or says how long they take.
pub fn list(args: &TasksArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    if args.stats {
        return stats(&office, crate::moment::past(&args.since)?, ui);
    }
    office.look();
    let words: Vec<&str> = args.states.iter().map(|state| state.word()).collect();
    let all = office.kernel().tables().task_ids("");
    let wanted = all.filter(|id| words.is_empty() || words.contains(&stand(&office, id).0));
    let wanted: Vec<String> = wanted.collect();
    show(ui, &office, &wanted)?;
    Ok(Exit::Done)
}

/// Says how long workflows and their steps take.
fn stats(office: &Office, since: u64, ui: &mut Ui) -> Result<Exit, CliError> {
    let found = office.kernel().latencies(since);
    if ui.json() {
        ui.value(&json!({"since": since, "rows": found}))?;
    }
    if found.is_empty() {
        ui.line(format!("nothing ended since {}", aios_vault::audit::time(since)))?;
    }
    for it in &found {
        let what = match &it.step {
            None => ui.paint(Style::Bold, one_line(&it.workflow)),
            Some(step) => format!("    {}", one_line(step)),
        };
        let [p50, p90, p99, most] = [it.p50, it.p90, it.p99, it.most].map(span::show);
        let times = crate::report::count(it.count, "time");
        ui.line(format!("{what}: {times}, p50 {p50}, p90 {p90}, p99 {p99}, at most {most}"))?;
    }
    Ok(Exit::Done)
}

/// Decides about one.
pub fn run(args: &TaskArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let (TaskCommand::Show { id, .. }
    | TaskCommand::Retry { id, .. }
    | TaskCommand::Pause { id }
    | TaskCommand::Resume { id }
    | TaskCommand::Move { id, .. }
    | TaskCommand::Cancel { id, .. }) = &args.command;
    let task = find(&office, id)?;
    match &args.command {
        TaskCommand::Show { prompts: true, .. } => return prompt::show(&mut office, &task, ui),
        TaskCommand::Show { .. } => return packet::show(&mut office, &task, ui),
        TaskCommand::Cancel { note, .. } => {
            let event = WorkEvent::TaskCancelled { task: task.clone(), note: note.clone() };
            office = office.says(&format!("Cancel task {task}"), &[event])?;
        }
        TaskCommand::Pause { .. } => {
            let found = office.kernel().tables().task(&task);
            if found.is_none_or(|it| it.ended.is_some() || it.cancelled.is_some()) {
                return Err(CliError::failed(format!("task {task} is over"), "`aios tasks` lists them"));
            }
            if found.is_some_and(|it| !it.is_paused()) {
                let event = WorkEvent::TaskPaused { task: task.clone() };
                office = office.says(&format!("Pause task {task}"), &[event])?;
            }
        }
        TaskCommand::Resume { .. } => {
            let tables = office.kernel().tables();
            if !tables.task(&task).is_some_and(|it| it.is_paused()) {
                let above = tables.task(&task).and_then(|it| it.parent.clone());
                let hint = match above.filter(|_| tables.is_paused(&task)) {
                    Some((parent, _)) => {
                        format!("it stands still with what it is part of: `aios task resume {parent}`")
                    }
                    None => "`aios tasks` lists them".to_owned(),
                };
                return Err(CliError::failed(format!("task {task} is not paused"), hint));
            }
            let event = WorkEvent::TaskResumed { task: task.clone() };
            office = office.says(&format!("Resume task {task}"), &[event])?;
        }
        TaskCommand::Move { on, .. } => {
            let to = device(&office, on)?;
            let event = office
                .kernel()
                .moves_to(&task, to)
                .ok_or_else(|| CliError::failed(format!("task {task} is over"), "`aios tasks` lists them"))?;
            office = office.says(&format!("Move task {task} to {on}"), &[event])?;
        }
        TaskCommand::Retry { from: Some(step), again, .. } => {
            if office.kernel().tables().is_paused(&task) {
                let hint = format!("`aios task resume {task}` has it go on");
                return Err(CliError::failed(format!("task {task} stands still"), hint));
            }
            let event = office.kernel().rewind(&task, step, again).map_err(no_way_back)?;
            office = office.says(&format!("Task {task} goes back to {step}"), &[event])?;
        }
        TaskCommand::Retry { from: None, .. } => {
            let found = office.kernel().tables().task(&task);
            let stuck = found.and_then(|it| {
                it.runs.iter().find_map(|(run, it)| Some((run.clone(), it.stuck.clone()?.step)))
            });
            let Some((run, step)) = stuck else {
                return Err(CliError::failed(format!("task {task} is not stuck"), "`aios tasks` lists them"));
            };
            let event = WorkEvent::TaskRetried { task: task.clone(), run, step };
            office = office.says(&format!("Retry task {task}"), &[event])?;
        }
    }
    tell(ui, &office, &[&task])
}

/// The member of that name.
pub fn device(office: &Office, name: &str) -> Result<DeviceId, CliError> {
    let mut members = office.vault().members().present();
    let found = members.find(|(_, member)| member.name == name).map(|(device, _)| *device);
    found.ok_or_else(|| CliError::Usage {
        what: format!("there is no device `{name}`"),
        hint: Some("`aios devices` lists them".into()),
    })
}

/// Why a task does not go back, and what to do.
fn no_way_back(why: RewindError) -> CliError {
    let names = |names: &[String]| match names.is_empty() {
        true => "there is none".to_owned(),
        false => format!("there is {}", names.join(", ")),
    };
    let hint = match &why {
        RewindError::NoTask(_) | RewindError::Over(_) => {
            "`aios tasks` lists them; `aios run` starts another".to_owned()
        }
        RewindError::NoRun(_) => "`aios run` carries on what waits".to_owned(),
        RewindError::NoWorkflow(_) => "`aios sync` may bring it".to_owned(),
        RewindError::TakesBack(task) => {
            format!("`aios task retry {task}` tries again what failed; `aios task cancel {task}` ends it")
        }
        RewindError::NotThere { steps, .. } => names(steps),
        RewindError::NotDone { done, .. } => names(done),
        RewindError::Undo { .. } => "`aios task cancel` ends the task and takes back what it can".to_owned(),
    };
    CliError::failed(why.to_string(), hint)
}

/// The task whose id begins like that.
pub fn find(office: &Office, prefix: &str) -> Result<String, CliError> {
    // A whole id names its task, also where others begin with it.
    if office.kernel().tables().task_ids(prefix).any(|id| id == prefix) {
        return Ok(prefix.to_owned());
    }
    let mut found = office.kernel().tables().task_ids(prefix);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (Some(_), Some(_)) => Err(CliError::usage(format!("several tasks begin with `{prefix}`"))),
        (None, _) => Err(CliError::usage(format!("no task begins with `{prefix}`"))),
    }
}

/// Where a task stands, and how a command about it ends.
pub fn stand(office: &Office, task: &str) -> (&'static str, Exit) {
    let Some(found) = office.kernel().tables().task(task) else { return ("unknown", Exit::Failed) };
    match &found.ended {
        Some((_, Outcome::Done, _)) => ("done", Exit::Done),
        Some((_, Outcome::Failed, _)) => ("failed", Exit::Failed),
        Some((_, Outcome::Cancelled, _)) => ("cancelled", Exit::Done),
        None if office.kernel().tables().is_paused(task) => ("paused", Exit::Unconfirmed),
        None if found.runs.values().any(|run| run.stuck.is_some()) => ("stuck", Exit::Failed),
        None => ("waits", Exit::Unconfirmed),
    }
}

/// What started a task.
pub fn why(fired: &Fired) -> String {
    match fired {
        Fired::Cron { at, late } => {
            let late = match *late >= LATE {
                true => format!(", {} late", span::show(*late / 1000 * 1000)),
                false => String::new(),
            };
            format!("due {}{late}", aios_vault::audit::time(*at))
        }
        Fired::Event { name, untrusted, .. } => {
            let outside = if *untrusted { " from outside" } else { "" };
            format!("for the event {}{outside}", one_line(name))
        }
        Fired::Entity { path, made: true, .. } => format!("for the new {}", one_line(path)),
        Fired::Entity { path, made: false, .. } => format!("for a change of {}", one_line(path)),
    }
}

/// Tells where tasks stand; none named: all.
pub fn tell(ui: &mut Ui, office: &Office, only: &[&str]) -> Result<Exit, CliError> {
    let tables = office.kernel().tables();
    // Those that are named come in the order of all.
    let ids: Vec<String> = match only {
        [] => tables.task_ids("").collect(),
        named => {
            let known = named.iter().filter_map(|id| tables.task_id(id));
            known.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
        }
    };
    show(ui, office, &ids)
}

fn show(ui: &mut Ui, office: &Office, ids: &[String]) -> Result<Exit, CliError> {
    let mut worst = Exit::Done;
    let mut rows = Vec::new();
    office.told().for_each(|what| ui.warn(one_line(what), None));
    let tables = office.kernel().tables();
    for id in ids.iter().map(String::as_str) {
        let Some(task) = tables.task(id) else { continue };
        let (state, exit) = stand(office, id);
        if worst == Exit::Done || exit == Exit::Failed {
            worst = exit;
        }
        let workflow = task.workflow.clone().unwrap_or_default();
        let style = match state {
            "done" => Style::Green,
            "failed" | "stuck" => Style::Red,
            _ => Style::Yellow,
        };
        let line = format!("task {} {}: {}", one_line(id), one_line(&workflow), ui.paint(style, state));
        let members = office.vault().members();
        let elsewhere = task.device.filter(|device| *device != office.vault().device());
        let place = elsewhere.map(|device| format!(", on {}", one_line(&members.name(&device))));
        let why = task.trigger.as_ref().map(|fired| format!(", {}", why(fired)));
        let waits =
            office.kernel().elsewhere(id).map(|(capability, device)| (capability, members.name(&device)));
        let waiting = (waits.as_ref())
            .map(|(capability, name)| format!(", for {} on {}", one_line(capability), one_line(name)));
        let later = office.kernel().later(id);
        let time = later
            .map(|(until, why)| format!(", until {}: {}", aios_vault::audit::time(until), one_line(why)));
        let there = office.kernel().why_there(id);
        let moved = there.map(|why| format!(" ({})", one_line(why)));
        let missing = office.kernel().missing(id);
        let lack = missing.map(|what| format!(", waits for {}", one_line(what)));
        let parts = [place, moved, why, waiting, lack, time].into_iter().flatten().collect::<String>();
        ui.line(format!("{line}{parts}"))?;
        let device = task.device.map(|device| members.name(&device));
        let waits = waits.map(|(capability, device)| json!({"capability": capability, "device": device}));
        rows.push(json!({
            "task": id, "workflow": workflow, "state": state, "device": device, "trigger": task.trigger,
            "waits": waits, "placed": there, "missing": missing, "until": later.map(|(until, _)| until)
        }));
    }
    if ui.json() {
        ui.value(&rows)?;
    }
    if rows.is_empty() {
        ui.line("no tasks")?;
    }
    // Remarks come after what they are about.
    ui.flush()?;
    let needs = office.needs().len();
    if needs > 0 && !ui.json() {
        ui.note(format!("{} in `aios inbox`", crate::report::count(needs, "thing")));
    } else if let (Some(at), Exit::Unconfirmed) = (office.wake(), worst) {
        ui.note(format!("goes on at {}, with `aios run`", aios_vault::audit::time(at)));
    }
    Ok(worst)
}
