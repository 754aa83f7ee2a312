//! What several commands say the same way.

use aios_vault::Vault;
use aios_vault::audit::{Entry, FileDiff};
use aios_vault::change::PathChange;
use aios_vault::round::Round;
use aios_vault::survey::Problem;

use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::{Style, Ui, one_line};

/// So many of a thing.
pub fn count(n: impl TryInto<u64>, thing: &str) -> String {
    match n.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

/// Warns of problems, on stderr.
pub fn problems<'p>(ui: &mut Ui, problems: impl IntoIterator<Item = &'p Problem>) {
    for Problem { path, problem, hint } in problems {
        let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
        ui.warn(
            one_line(&format!("{at}{problem}")),
            Some(hint).filter(|hint| !hint.is_empty()).map(String::as_str),
        );
    }
}

/// Warns of what stood in the way of a round, and says how a command ends that did the rest (I12).
pub fn round(ui: &mut Ui, vault: &mut Vault, round: &Round) -> Result<Exit, CliError> {
    problems(ui, round.problems());
    let done = round.settled.problems.is_empty() && vault.untaken(round)?.is_empty();
    Ok(if done { Exit::Done } else { Exit::Unconfirmed })
}

/// Lists changed paths.
pub fn changes(ui: &mut Ui, changed: &[PathChange]) -> Result<(), CliError> {
    for PathChange { path, change } in changed {
        let style = match change.as_str() {
            "added" => Style::Green,
            "deleted" => Style::Red,
            _ => Style::Yellow,
        };
        let text = format!("  {} {}", ui.paint(style, change), one_line(path));
        ui.line(text)?;
    }
    Ok(())
}

/// Shows one entry of the audit trail.
pub fn entry(ui: &mut Ui, entry: &Entry) -> Result<(), CliError> {
    let record = ui.paint(Style::Yellow, entry.record.short(12));
    let run = entry.run.as_ref().map(|run| format!(" run {run}")).unwrap_or_default();
    let actor = ui.paint(Style::Cyan, one_line(&format!("{}{run}", entry.actor)));
    let commit = entry
        .commit
        .as_deref()
        .map_or(String::new(), |commit| format!(" commit {}", &commit[..12.min(commit.len())]));
    let head = format!("{record} {} {actor} on {}{commit}", entry.time, one_line(&entry.device));
    ui.line(head)?;
    let message = entry.message.lines().next().unwrap_or_default();
    ui.line(format!("  {}", one_line(message)))?;
    let most = if ui.verbose() > 0 { usize::MAX } else { 20 };
    changes(ui, &entry.changed[..entry.changed.len().min(most)])?;
    if entry.changed.len() > most {
        ui.line(format!("  and {} more (-v shows all)", entry.changed.len() - most))?;
    }
    for event in &entry.events {
        let name = event.get("type").and_then(|name| name.as_str()).unwrap_or("event");
        let text = format!("  {} {}", ui.paint(Style::Dim, "event"), one_line(name));
        ui.line(text)?;
    }
    Ok(())
}

/// Shows differences.
pub fn diffs(ui: &mut Ui, diffs: &[FileDiff]) -> Result<(), CliError> {
    for diff in diffs {
        let head = match &diff.from {
            Some(from) if *from != diff.path => format!("{} {} from {}", diff.change, diff.path, from),
            _ => format!("{} {}", diff.change, diff.path),
        };
        let head = ui.paint(Style::Bold, one_line(&head));
        ui.line(head)?;
        patch(ui, &diff.patch)?;
    }
    Ok(())
}

/// Shows a unified diff.
pub fn patch(ui: &mut Ui, patch: &str) -> Result<(), CliError> {
    for line in patch.lines() {
        let painted = match line.as_bytes().first() {
            _ if line.starts_with("+++ ") || line.starts_with("--- ") => ui.paint(Style::Bold, line),
            Some(b'+') => ui.paint(Style::Green, line),
            Some(b'-') => ui.paint(Style::Red, line),
            Some(b'@') => ui.paint(Style::Cyan, line),
            _ => line.to_owned(),
        };
        ui.line(painted)?;
    }
    Ok(())
}
