//! `aios commit`

use aios_vault::Vault;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::audit::{Entry, Query};
use serde_json::json;

use crate::args::CommitArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::{Ui, one_line};

/// So far back the record is looked for that has taken a save in.
const LATELY: usize = 16;

/// Takes in what changed on disk as one record.
pub fn run(args: &CommitArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let options = AbsorbOptions { message: args.message.clone(), deletions: args.deletions };
    let mut round = vault.commit(&options, &mut ui.progress())?;
    let elsewhere = vault.named_otherwise(&mut round.absorbed.changed)?;
    let unused = args.message.is_some() && round.absorbed.record.is_none();
    let before = if unused { last(&mut vault)? } else { None };
    if ui.json() {
        ui.value(&json!({
            "head": round.head.map(|head| head.to_string()),
            "record": round.absorbed.record,
            "changed": round.absorbed.changed,
            "problems": round.problems().collect::<Vec<_>>(),
        }))?;
    }
    match &round.absorbed.record {
        Some(record) => ui.line(format!("record {}", record.short(12)))?,
        None => ui.line("nothing changed")?,
    }
    report::changes(ui, &round.absorbed.changed)?;
    for (name, at) in elsewhere {
        ui.warn(
            one_line(&format!("{name} is at {at}: another has its name")),
            Some("`aios conflicts` shows both, and how to give the name to the other"),
        );
    }
    if let Some(Entry { record, time, message, .. }) = before {
        ui.warn(
            one_line(&format!(
                "the message was not used: the last save was taken in before, by record {} at {time} ({})",
                record.short(12),
                message.lines().next().unwrap_or_default()
            )),
            Some("beside `aios up` each save is a record at once; end it to put several saves under words of your own"),
        );
    }
    report::round(ui, &mut vault, &round)
}

/// The last record of this device that changed files.
fn last(vault: &mut Vault) -> Result<Option<Entry>, CliError> {
    let here = vault.members().name(&vault.device());
    let entries = vault.log(&Query { limit: Some(LATELY), ..Query::default() })?;
    Ok(entries.into_iter().find(|entry| entry.device == here && !entry.changed.is_empty()))
}
