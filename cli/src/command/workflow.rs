//! `aios workflow check`

use std::collections::BTreeMap;

use aios_agents::connector::deeds;
use aios_agents::workflow::{Checked, Known, Workflow, check_calls};
use serde_json::json;

use crate::args::{WorkflowArgs, WorkflowCheckArgs, WorkflowCommand};
use crate::command::migrate;
use crate::command::written::{self, Report};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::ui::Ui;

/// Checks workflows, or has tasks go on with their new versions.
pub fn run(args: &WorkflowArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    match &args.command {
        WorkflowCommand::Check(args) => check(args, cx, ui),
        WorkflowCommand::Migrate(args) => migrate::run(args, cx, ui),
    }
}

fn check(args: &WorkflowCheckArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let files = written::files(cx, &args.files, "workflows")?;
    let known = Known {
        agents: written::agents(cx)?,
        workflows: written::names(cx, "workflows")?,
        capabilities: Some(deeds().map(str::to_owned).collect()),
        zones: Some(jiff::tz::db().clone()),
    };
    let mut reports = Vec::new();
    let mut charts = Vec::new();
    let mut calls = BTreeMap::new();
    for file in &files {
        let Checked { workflow, mistakes } = match &file.unread {
            Some(mistake) => Checked { workflow: None, mistakes: vec![mistake.clone()] },
            None => Workflow::check(&file.text, &known),
        };
        if let Some(workflow) = &workflow {
            calls.insert(file.name(), workflow.calls());
        }
        charts.push(workflow.filter(|_| mistakes.is_empty()).map(|workflow| workflow.draw()));
        reports.push(Report { path: file.path.clone(), mistakes });
    }
    let mut circles = check_calls(&calls);
    for (file, report) in files.iter().zip(&mut reports) {
        report.mistakes.extend(circles.remove(&file.name()).unwrap_or_default());
    }
    let wrong: usize = reports.iter().map(|report| report.mistakes.len()).sum();
    if ui.json() {
        let files: Vec<_> = reports
            .iter()
            .zip(&charts)
            .map(
                |(report, chart)| json!({"path": report.path, "mistakes": report.mistakes, "mermaid": chart}),
            )
            .collect();
        ui.value(&json!({"ok": wrong == 0, "files": files}))?;
    }
    written::tell(ui, &reports)?;
    if args.draw {
        for chart in charts.iter().flatten() {
            ui.line(chart.trim_end())?;
        }
    }
    match wrong {
        0 if args.draw => {}
        0 => ui.line(format!("{}, nothing wrong", count(files.len(), "workflow")))?,
        wrong => ui.line(format!("{} in {}", count(wrong, "mistake"), count(files.len(), "workflow")))?,
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Findings })
}
