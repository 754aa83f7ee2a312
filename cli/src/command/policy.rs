//! `aios policy`

use aios_agents::money::Money;
use aios_agents::policy::{Decision, Louder, Policies, Policy, Proposal, Stage, Usage};
use aios_agents::span;
use jiff::Timestamp;
use serde_json::json;

use crate::args::{PolicyArgs, PolicyCheckArgs, PolicyCommand};
use crate::command::written::{self, Report, Written};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// Checks policies.
pub fn run(args: &PolicyArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    match &args.command {
        PolicyCommand::Check(args) => check(args, cx, ui),
    }
}

fn check(args: &PolicyCheckArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let files = written::files(cx, &args.files, "policies")?;
    let read = |file: &Written| {
        let policy = match &file.unread {
            Some(mistake) => Err(vec![mistake.clone()]),
            None => Policy::read(&file.path, &file.text, jiff::tz::db()),
        };
        (file.path.clone(), policy)
    };
    let read: Vec<_> = files.iter().map(read).collect();
    let reports: Vec<Report> = read
        .iter()
        .map(|(path, policy)| Report {
            path: path.clone(),
            mistakes: policy.as_ref().err().cloned().unwrap_or_default(),
        })
        .collect();
    let wrong: usize = reports.iter().map(|report| report.mistakes.len()).sum();
    let decision = match &args.capability {
        Some(capability) => Some(decide(args, capability, &Policies::of(read))?),
        None => None,
    };
    if ui.json() {
        ui.value(&json!({"ok": wrong == 0, "files": reports, "decision": decision}))?;
    }
    written::tell(ui, &reports)?;
    match &decision {
        Some(decision) => tell(ui, decision)?,
        None if wrong == 0 => {
            ui.line(format!("{}, nothing wrong", count(files.len(), "policy file")))?;
        }
        None => ui.line(format!("{} in {}", count(wrong, "mistake"), count(files.len(), "policy file")))?,
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Findings })
}

/// What would be decided, with nothing counted against caps yet.
fn decide(args: &PolicyCheckArgs, capability: &str, policies: &Policies) -> Result<Decision, CliError> {
    let at = match &args.at {
        Some(text) => crate::moment::past(text)?,
        None => u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
    };
    let amount = args.amount.as_deref().map(str::parse::<Money>).transpose();
    let proposal = Proposal {
        capability: capability.to_owned(),
        target: args.target.clone(),
        amount: amount.map_err(|e| CliError::usage(e.to_string()))?,
        agent: args.agent.clone(),
        tags: args.tags.clone(),
        workflow: args.workflow.clone(),
        step: args.step.clone(),
    };
    Ok(policies.decide(&proposal, at, &|_, _| Usage::default()))
}

fn tell(ui: &mut Ui, decision: &Decision) -> Result<(), CliError> {
    for passed in &decision.passed {
        ui.line(format!("  {}: {}", one_line(&passed.rule), one_line(&passed.why)))?;
    }
    let verdict = ui.paint(Style::Bold, decision.verdict.name());
    let by = decision.rule.as_ref().map(|rule| format!(" by {}", one_line(rule))).unwrap_or_default();
    match decision.until {
        Some(until) => {
            let until = aios_vault::audit::time(until);
            ui.line(format!("waits until {until}, then {verdict}{by}: {}", one_line(&decision.why)))?;
        }
        None => ui.line(format!("{verdict}{by}: {}", one_line(&decision.why)))?,
    }
    for Stage { after, louder } in &decision.escalation {
        let after = span::show(*after);
        match louder {
            Louder::Ask(text) => {
                ui.line(format!("  after {after} asks above all else: {}", one_line(text)))?
            }
            Louder::Deny(text) => ui.line(format!("  after {after} denies: {}", one_line(text)))?,
        }
    }
    Ok(())
}
