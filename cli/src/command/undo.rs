//! `aios undo`

use aios_agents::kernel::Lasting;
use aios_vault::absorb::{AbsorbOptions, Absorbed};
use aios_vault::survey::Problem;
use aios_vault::undo::{Reversed, Undone};
use aios_vault::{Error, Vault};
use serde_json::json;

use crate::args::UndoArgs;
use crate::command::fetch;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report;
use crate::ui::{Ui, one_line};

/// Reverses a record, or all of a run, with new records.
pub fn run(args: &UndoArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    if let Some(id) = &args.run {
        return undo_run(id, cx, ui);
    }
    let mut vault = cx.open()?;
    // The newest record is the one the operator sees as such, not what is taken in on the way.
    let revision = match &args.rev {
        Some(rev) => vault.revision(rev)?,
        None => match vault.newest_change()? {
            Some(newest) => newest,
            None => return Err(CliError::usage("there is nothing to undo")),
        },
    };
    let absorbed = vault.absorb(&AbsorbOptions::default(), &mut ui.progress())?;
    let before = vault.finish(absorbed, &mut ui.progress())?;
    let (mut vault, done) = fetch::with_bytes(vault, cx, ui, |vault, _| vault.undo(&revision))?;
    finish(&mut vault, &done, &[], before.absorbed.problems, ui)
}

/// Reverses what a run did to files, and says of what it did to the world that it lasts.
fn undo_run(id: &str, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    let found = office.kernel().run_of(id).map(|(task, run)| (office.kernel().lasting(&task), run));
    let mut vault = office.into_vault();
    let known = found.is_some();
    let (lasting, run) = found.unwrap_or_else(|| (Vec::new(), id.to_owned()));
    let absorbed = vault.absorb(&AbsorbOptions::default(), &mut ui.progress())?;
    let before = vault.finish(absorbed, &mut ui.progress())?;
    let (mut vault, done) = fetch::with_bytes(vault, cx, ui, |vault, _| match vault.undo_run(&run) {
        // It did nothing to files, which is all that can be undone.
        Err(Error::Unknown { what: "run", .. }) if known => Ok(Undone::default()),
        done => done,
    })?;
    finish(&mut vault, &done, &lasting, before.absorbed.problems, ui)
}

/// What is said of an effect that cannot be undone.
fn lasts(it: &Lasting) -> String {
    let what = format!("{} to {} of step {}", it.content.capability, it.content.target, it.step);
    match (&it.compensation, it.compensated) {
        (_, true) => format!("{what} happened, and was taken back"),
        (Some(by), false) => {
            format!("{what} happened: its workflow takes it back by {by} when the task fails or is cancelled")
        }
        (None, false) => format!("{what} happened, and nothing takes it back"),
    }
}

/// Writes the files and git, and says what was done, and what stood in the way of taking in what was there before.
pub fn finish(
    vault: &mut Vault,
    done: &Undone,
    lasting: &[Lasting],
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
            "lasting": lasting,
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
    for it in lasting {
        ui.warn(one_line(&lasts(it)), None);
    }
    let exit = report::round(ui, vault, &round)?;
    Ok(if done.left.is_empty() { exit } else { Exit::Unconfirmed })
}
