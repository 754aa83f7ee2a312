//! `aios undo`

use aios_vault::Vault;
use aios_vault::absorb::{AbsorbOptions, Absorbed};
use aios_vault::survey::Problem;
use aios_vault::undo::{Reversed, Undone};
use serde_json::json;

use crate::args::UndoArgs;
use crate::command::fetch;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::Ui;

/// Reverses a record, or all of a run, with new records.
pub fn run(args: &UndoArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    // The newest record is the one the operator sees as such, not what is taken in on the way.
    let revision = match (&args.rev, &args.run) {
        (Some(rev), _) => Some(vault.revision(rev)?),
        (None, Some(_)) => None,
        (None, None) => match vault.newest_change()? {
            Some(newest) => Some(newest),
            None => return Err(CliError::usage("there is nothing to undo")),
        },
    };
    let absorbed = vault.absorb(&AbsorbOptions::default(), &mut ui.progress())?;
    let before = vault.finish(absorbed, &mut ui.progress())?;
    let (mut vault, done) = fetch::with_bytes(vault, cx, ui, |vault, _| match (&revision, &args.run) {
        (Some(revision), _) => vault.undo(revision),
        (None, run) => vault.undo_run(run.as_deref().unwrap_or_default()),
    })?;
    finish(&mut vault, &done, before.absorbed.problems, ui)
}

/// Writes the files and git, and says what was done, and what stood in the way of taking in what was there before.
pub fn finish(
    vault: &mut Vault,
    done: &Undone,
    standing: Vec<Problem>,
    ui: &mut Ui,
) -> Result<Exit, CliError> {
    let standing = Absorbed { problems: standing, ..Absorbed::default() };
    let round = vault.finish(standing, &mut ui.progress())?;
    let head = round.head.map(|head| head.to_string());
    if ui.json() {
        ui.value(&json!({
            "head": head,
            "record": done.records.last(),
            "records": done.records,
            "reversed": done.reversed,
            "changed": done.changed,
            "left": done.left,
            "problems": round.problems().collect::<Vec<_>>(),
        }))?;
    }
    let verb = if done.records.is_empty() { "did not undo" } else { "undid" };
    for Reversed { record, device, message } in &done.reversed {
        ui.line(format!("{verb} {} of {device}: {message}", record.short(12)))?;
    }
    match done.records.last() {
        Some(record) => ui.line(format!("record {}", record.short(12)))?,
        None => ui.line("nothing to change")?,
    }
    report::changes(ui, &done.changed)?;
    for left in &done.left {
        ui.warn(format!("left as it is: {left}"), None);
    }
    let exit = report::round(ui, vault, &round)?;
    Ok(if done.left.is_empty() { exit } else { Exit::Unconfirmed })
}
