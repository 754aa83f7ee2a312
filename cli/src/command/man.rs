//! `aios man`

use clap::CommandFactory;

use crate::args::{Args, ManArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Writes the manual page to stdout, or a page for each command to a folder.
pub fn run(args: &ManArgs, _cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut command = Args::command();
    match &args.to {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .map_err(|e| CliError::io(format!("make {}", folder.display()), e))?;
            // Built first, so that each page has the global flags.
            command.build();
            clap_mangen::generate_to(command, folder)
                .map_err(|e| CliError::io(format!("write to {}", folder.display()), e))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(|e| CliError::io("write the page", e))?;
            ui.bytes(&page)?;
        }
    }
    Ok(Exit::Done)
}
