//! `aios verify`

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Checks that what lies here is what the members signed.
pub fn run(args: &VerifyArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let report = aios_vault::verify::verify(cx.dir(), args.deep, &mut ui.progress())?;
    if ui.json() {
        ui.value(&report)?;
    }
    for finding in &report.findings {
        ui.line(format!("{} {}: {}", finding.invariant, finding.at, finding.what))?;
    }
    let checked = report.checked;
    let counts = format!(
        "{} records, {} documents, {} commits, {} files",
        checked.records, checked.documents, checked.commits, checked.files
    );
    if report.ok {
        ui.line(format!("sound: {counts}"))?;
        return Ok(Exit::Done);
    }
    ui.warn(
        format!("{} findings in {counts}", report.findings.len()),
        Some("`aios rebuild` makes again what follows from the log"),
    );
    Ok(Exit::Findings)
}
