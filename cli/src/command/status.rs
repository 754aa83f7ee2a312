//! `aios status`

use crate::args::StatusArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::{Style, Ui, one_line};

/// Shows where things stand; changes nothing.
pub fn run(_args: &StatusArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let status = vault.status(&mut ui.progress())?;
    if ui.json() {
        ui.value(&status)?;
        return Ok(Exit::Done);
    }
    let name = ui.paint(Style::Bold, one_line(&status.name));
    ui.line(format!(
        "{name} on {} ({}), {}",
        one_line(&status.device.name),
        status.device.roles.join(", "),
        report::count(status.files, "file")
    ))?;
    ui.line(format!("head {}", status.head.as_deref().unwrap_or("not computed yet")))?;
    if let Some(why) = &status.paused {
        let text = ui.paint(Style::Yellow, format!("paused: {why}"));
        ui.line(text)?;
        ui.line("  finish or abort it with git and go back with `git switch main`")?;
    } else if status.pending.is_empty() {
        ui.line("nothing to take in")?;
    } else {
        ui.line(format!("{} to take in (`aios commit`):", report::count(status.pending.len(), "change")))?;
        report::changes(ui, &status.pending)?;
    }
    if status.conflicts > 0 {
        ui.line(format!("{} (`aios conflicts`)", report::count(status.conflicts, "conflict")))?;
    }
    if status.inbox > status.conflicts {
        ui.line(format!(
            "{} to be put in force (`aios accept`)",
            report::count(status.inbox - status.conflicts, "file")
        ))?;
    }
    for peer in &status.peers {
        let how = if peer.acknowledged {
            ui.paint(Style::Green, "has everything")
        } else {
            ui.paint(Style::Yellow, "lacks some, or has not said")
        };
        let seen =
            peer.last_seen.as_deref().map_or("never heard of".to_owned(), |at| format!("last heard of {at}"));
        ui.line(format!("{} {how}, {seen}", one_line(&peer.name)))?;
    }
    match status.synced {
        Some(true) => ui.line(ui.paint(Style::Green, "synced"))?,
        Some(false) => ui.line(ui.paint(Style::Yellow, "not synced"))?,
        None => ui.line("on this device only")?,
    }
    report::problems(ui, &status.problems);
    Ok(Exit::Done)
}
