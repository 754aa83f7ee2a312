//! `aios export`

use crate::args::ExportArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Writes files, log and manifest to a folder.
pub fn run(args: &ExportArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let done = cx.open()?.export(&args.dir, args.automerge, &mut ui.progress())?;
    if ui.json() {
        ui.value(&done)?;
    }
    ui.line(format!(
        "{} files, {} records, {} Automerge documents in {}",
        done.files,
        done.records,
        done.documents,
        args.dir.display()
    ))?;
    Ok(Exit::Done)
}
