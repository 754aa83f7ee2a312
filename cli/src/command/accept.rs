//! `aios accept`

use aios_vault::absorb::AbsorbOptions;
use aios_vault::audit::text_diff;
use serde_json::json;

use crate::args::AcceptArgs;
use crate::command::written;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::{self, count};
use crate::ui::Ui;

/// Puts the present version of gated files in force, showing what that changes first.
pub fn run(args: &AcceptArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let paths = args.paths.iter().map(|path| cx.path(&vault, path)).collect::<Result<Vec<_>, _>>()?;
    let absorbed = vault.absorb(&AbsorbOptions::default(), &mut ui.progress())?;
    vault.finish(absorbed, &mut ui.progress())?;
    let proposed = vault.proposed(&paths)?;
    for proposal in &proposed {
        let diff = text_diff(&proposal.path, proposal.old.as_deref(), proposal.new.as_deref());
        report::patch(ui, &diff)?;
    }
    // Shown before it counts, even if the rest is cut short.
    ui.flush()?;
    let accepted = vault.accept(&proposed)?;
    // Rules that changed may show files that were hidden before.
    let round = vault.commit(&AbsorbOptions::default(), &mut ui.progress())?;
    let wrong = written::wrong_in_force(&mut vault)?;
    if ui.json() {
        let problems: Vec<_> = round.problems().chain(&wrong).collect();
        ui.value(&json!({"accepted": accepted, "problems": problems}))?;
    }
    match accepted.is_empty() {
        true => ui.line("everything is in force already")?,
        false => ui.line(format!("{} in force now", count(accepted.len(), "file")))?,
    }
    ui.flush()?;
    report::problems(ui, &wrong);
    report::round(ui, &mut vault, &round)
}
