//! `aios verify`

use aios_vault::forget::Forgotten;

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::ui::{Ui, one_line};

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
        "{}, {}, {}, {}",
        count(checked.records, "record"),
        count(checked.documents, "document"),
        count(checked.commits, "commit"),
        count(checked.files, "file")
    );
    for Forgotten { path, kept, .. } in &report.forgotten {
        let late = match kept {
            0 => String::new(),
            kept => format!("; {} saved later, which `aios forget` drops too", count(*kept, "version")),
        };
        ui.line(one_line(&format!("forgotten: {path}{late}")))?;
    }
    if report.ok {
        ui.line(format!("sound: {counts}"))?;
        return Ok(Exit::Done);
    }
    ui.warn(
        format!("{} in {counts}", count(report.findings.len(), "finding")),
        report.mends.then_some("`aios rebuild` makes again what follows from the log"),
    );
    Ok(Exit::Findings)
}
