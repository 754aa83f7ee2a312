//! `aios show`

use serde_json::json;

use crate::args::ShowArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::Ui;

/// Shows one record or commit.
pub fn run(args: &ShowArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let revision = vault.revision(&args.rev)?;
    let entry = revision.record.map(|record| vault.entry_of(&record)).transpose()?;
    let diffs = vault.diff_of(&revision)?;
    let commit = revision.commit.map(|commit| commit.to_string());
    if ui.json() {
        let mut value = match &entry {
            Some(entry) => serde_json::to_value(entry).map_err(|e| CliError::io("write JSON", e.into()))?,
            None => json!({"record": null, "commit": commit}),
        };
        if let Some(map) = value.as_object_mut() {
            map.insert("diff".into(), json!(diffs));
        }
        ui.value(&value)?;
        return Ok(Exit::Done);
    }
    match &entry {
        Some(entry) => report::entry(ui, entry)?,
        None => ui.line(format!("commit {}, no record of its own", commit.unwrap_or_default()))?,
    }
    ui.line("")?;
    report::diffs(ui, &diffs)?;
    Ok(Exit::Done)
}
