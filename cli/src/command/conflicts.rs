//! `aios conflicts`

use aios_vault::absorb::{AbsorbOptions, Absorbed};
use serde_json::json;

use crate::args::{ConflictsArgs, ConflictsCommand, ResolveArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::{Style, Ui, one_line};

/// Lists conflicts, or decides one.
pub fn run(args: &ConflictsArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    match &args.command {
        None => list(cx, ui),
        Some(ConflictsCommand::Resolve(args)) => resolve(args, cx, ui),
    }
}

fn list(cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let conflicts = vault.conflicts()?;
    if ui.json() {
        ui.value(&conflicts)?;
        return Ok(Exit::Done);
    }
    if conflicts.is_empty() {
        ui.line("no conflicts")?;
    }
    for conflict in &conflicts {
        let kind = format!("{:?}", conflict.kind).to_lowercase();
        let key = conflict.key.as_ref().map(|key| format!(" {}", one_line(key))).unwrap_or_default();
        let id = ui.paint(Style::Yellow, &conflict.id);
        ui.line(format!("{id} {kind}{key} in {}", one_line(&conflict.path)))?;
        for (n, value) in conflict.values.iter().enumerate() {
            let mark = if n == conflict.kept { "*" } else { " " };
            let from = match (&value.device, &value.time) {
                (Some(device), Some(time)) => format!(" ({} {time})", one_line(device)),
                _ => String::new(),
            };
            ui.line(format!("  {mark} {n}: {}{from}", one_line(&value.value)))?;
        }
        ui.line(format!("    to reverse it: {}", conflict.reverse))?;
    }
    Ok(Exit::Done)
}

fn resolve(args: &ResolveArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let absorbed = vault.absorb(&AbsorbOptions::default(), &mut ui.progress())?;
    let before = vault.finish(absorbed, &mut ui.progress())?;
    let resolved = vault.resolve(&args.id, args.keep)?;
    let standing = Absorbed { problems: before.absorbed.problems, ..Absorbed::default() };
    let round = vault.finish(standing, &mut ui.progress())?;
    if ui.json() {
        let head = round.head.map(|head| head.to_string());
        ui.value(&json!({
            "head": head,
            "record": resolved.record,
            "id": resolved.id,
            "path": resolved.path,
            "problems": round.problems().collect::<Vec<_>>(),
        }))?;
    }
    ui.line(format!("conflict {} is settled by record {}", resolved.id, resolved.record.short(12)))?;
    report::round(ui, &mut vault, &round)
}
