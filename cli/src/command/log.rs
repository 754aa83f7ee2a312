//! `aios log`

use std::time::Duration;

use aios_vault::audit::Query;

use crate::args::LogArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::moment;
use crate::report;
use crate::ui::Ui;

/// How often `--follow` looks for new records.
const LOOK: Duration = Duration::from_millis(500);

/// Shows the audit trail.
pub fn run(args: &LogArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let path =
        args.path.as_deref().map(|path| cx.path(&vault, path)).transpose()?.filter(|path| !path.is_empty());
    let since = args.since.as_deref().map(moment::past).transpose()?;
    let mut query = Query { path, limit: args.number, since, actor: args.actor.clone(), after: None };
    let entries = vault.log(&query)?;
    let mut seen = vault.view().clone();
    drop(vault);
    if !args.follow {
        if ui.json() {
            ui.value(&entries)?;
        }
        for entry in &entries {
            report::entry(ui, entry)?;
            if ui.gone() {
                break;
            }
        }
        return Ok(Exit::Done);
    }
    let mut entries = entries;
    query.limit = None;
    loop {
        for entry in entries.iter().rev() {
            if ui.json() {
                ui.value(entry)?;
            }
            report::entry(ui, entry)?;
        }
        ui.flush()?;
        if ui.gone() {
            return Ok(Exit::Done);
        }
        std::thread::sleep(LOOK);
        let mut vault = cx.open()?;
        query.after = Some(seen);
        entries = match *vault.view() == query.after.clone().unwrap_or_default() {
            true => Vec::new(),
            false => vault.log(&query)?,
        };
        seen = vault.view().clone();
    }
}
