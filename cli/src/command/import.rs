//! `aios import`

use crate::args::ImportArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::{self, count};
use crate::ui::Ui;

/// Takes in what an export of this vault has and this replica lacks. A folder that is no vault becomes a replica with
/// `aios join`; the files of another vault are copied in and taken in with `aios commit`.
pub fn run(args: &ImportArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = match cx.open() {
        Err(CliError::Vault(e @ aios_vault::Error::NotAVault(_))) => {
            let hint = "make it a replica with `aios join TICKET`, then import; or begin anew: copy the files of the export there and run `aios init`";
            return Err(CliError::failed(e.to_string(), hint));
        }
        other => other?,
    };
    let done = vault.import(&args.dir, &mut ui.progress())?;
    if ui.json() {
        ui.value(&done)?;
    }
    ui.line(format!(
        "{}; {}, {}",
        count(done.records, "new record"),
        count(done.files, "file"),
        count(done.documents, "document")
    ))?;
    report::problems(ui, &done.problems);
    Ok(if done.problems.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}
