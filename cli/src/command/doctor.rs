//! `aios doctor`

use crate::args::DoctorArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Looks at what the vault needs of this machine.
pub fn run(args: &DoctorArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let checks = aios_vault::doctor::doctor(cx.dir(), args.fix, &mut ui.progress())?;
    if ui.json() {
        ui.value(&checks)?;
    }
    for check in &checks {
        match (check.ok, check.fixed) {
            (true, false) => ui.line(format!("ok     {}: {}", check.check, check.what))?,
            (true, true) => ui.line(format!("fixed  {}: {}", check.check, check.what))?,
            (false, _) => ui.warn(format!("{}: {}", check.check, check.what), check.hint.as_deref()),
        }
    }
    Ok(if checks.iter().all(|check| check.ok) { Exit::Done } else { Exit::Findings })
}
