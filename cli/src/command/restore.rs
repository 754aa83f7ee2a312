//! `aios restore`

use aios_vault::absorb::{AbsorbOptions, Absorbed};

use super::{fetch, undo};
use crate::args::RestoreArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Brings a file or a folder back as it was, with a new record.
pub fn run(args: &RestoreArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    let path = cx.path(&vault, &args.path)?;
    // `HEAD` is what the operator sees as such, not what is taken in on the way.
    let at = vault.revision(&args.at)?;
    // What lies there now enters the log first, so that it can be had back in turn (I2).
    let standing = match vault.absorb(&AbsorbOptions::default(), &mut ui.progress()) {
        Ok(absorbed) => vault.finish(absorbed, &mut ui.progress())?.absorbed.problems,
        Err(aios_vault::Error::MassDeletion { .. } | aios_vault::Error::Emptied { .. }) => {
            let count = vault.put_back(&path)?;
            ui.note(format!("{count} files that were gone from disk are put back"));
            Vec::new()
        }
        Err(e) => return Err(e.into()),
    };
    let (mut vault, done) = fetch::with_bytes(vault, cx, ui, |vault, ui| match vault.restore(&path, &at) {
        Ok(done) => Ok(done),
        Err(e) => {
            vault.finish(Absorbed::default(), &mut ui.progress())?;
            Err(e)
        }
    })?;
    undo::finish(&mut vault, &done, &[], standing, ui)
}
