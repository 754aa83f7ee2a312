//! `aios export`

use crate::args::ExportArgs;
use crate::command::fetch;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::Ui;

/// Writes files, log and manifest to a folder.
pub fn run(args: &ExportArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = fetch::everything(cx.open()?, cx, ui)?;
    let done = vault.export(&args.dir, args.automerge, &mut ui.progress())?;
    if ui.json() {
        ui.value(&done)?;
    }
    ui.line(format!(
        "{}, {}, {} in {}",
        report::count(done.files, "file"),
        report::count(done.records, "record"),
        report::count(done.documents, "Automerge document"),
        args.dir.display()
    ))?;
    report::problems(ui, &done.problems);
    Ok(if done.problems.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}
