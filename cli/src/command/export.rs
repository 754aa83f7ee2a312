//! `aios export`

use crate::args::ExportArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
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
    report::problems(ui, &done.problems);
    Ok(if done.problems.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}
