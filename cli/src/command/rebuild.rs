//! `aios rebuild`

use crate::args::RebuildArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::{self, count};
use crate::ui::Ui;

/// Makes the database again from the log, and mends what follows from it.
pub fn run(args: &RebuildArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let done = aios_vault::rebuild::rebuild(cx.dir(), args.device.as_deref(), &mut ui.progress())?;
    if ui.json() {
        ui.value(&done)?;
    }
    for what in &done.mended {
        ui.line(format!("mended: {what}"))?;
    }
    for what in &done.lost {
        ui.warn(
            format!("lost here: {what}"),
            Some("run `aios sync` while a device that has it is reachable, before changing anything"),
        );
    }
    report::problems(ui, &done.waits);
    ui.line(format!(
        "{}, {}; head {}",
        count(done.records, "record"),
        count(done.documents, "document"),
        done.head.as_deref().unwrap_or("none")
    ))?;
    Ok(if done.lost.is_empty() && done.waits.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}
