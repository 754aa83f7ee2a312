//! `aios blame`

use crate::args::BlameArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::{Style, Ui, one_line};

/// Shows who wrote each line of a file.
pub fn run(args: &BlameArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let path = cx.path(&vault, &args.path)?;
    let lines = vault.blame(&path)?;
    if ui.json() {
        ui.value(&lines)?;
    }
    for line in &lines {
        let record = ui.paint(Style::Yellow, line.record.short(12));
        let run = line.run.as_ref().map(|run| format!(" run {run}")).unwrap_or_default();
        let who = one_line(&format!("{}{run} on {}", line.actor, line.device));
        ui.line(format!("{record} {who} {} {:>4} {}", line.time, line.line, one_line(&line.text)))?;
    }
    Ok(Exit::Done)
}
