//! `aios diff`

use crate::args::DiffArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::Ui;

/// Shows what differs.
pub fn run(args: &DiffArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let from = vault.revision(args.from.as_deref().unwrap_or("HEAD"))?;
    let diffs = match &args.to {
        Some(to) => {
            let to = vault.revision(to)?;
            vault.diff(&from, &to)?
        }
        None => vault.diff_disk(&from, &mut ui.progress())?,
    };
    if ui.json() {
        ui.value(&diffs)?;
    }
    report::diffs(ui, &diffs)?;
    Ok(Exit::Done)
}
