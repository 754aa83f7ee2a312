//! `aios commit`

use aios_vault::absorb::AbsorbOptions;
use serde_json::json;

use crate::args::CommitArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::Ui;

/// Takes in what changed on disk as one record.
pub fn run(args: &CommitArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let options = AbsorbOptions { message: args.message.clone(), deletions: args.deletions };
    let round = vault.commit(&options, &mut ui.progress())?;
    let front = vault.front_problems(&round.absorbed.changed);
    if ui.json() {
        let problems: Vec<_> = round.problems().chain(&front).collect();
        ui.value(&json!({
            "head": round.head.map(|head| head.to_string()),
            "record": round.absorbed.record,
            "changed": round.absorbed.changed,
            "problems": problems,
        }))?;
    }
    match &round.absorbed.record {
        Some(record) => ui.line(format!("record {}", record.short(12)))?,
        None => ui.line("nothing changed")?,
    }
    report::changes(ui, &round.absorbed.changed)?;
    let exit = report::round(ui, &mut vault, &round)?;
    report::problems(ui, &front);
    Ok(exit)
}
