//! `aios completions`

use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Writes the completion script of a shell to stdout.
pub fn run(args: &CompletionsArgs, _cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "aios", &mut script);
    ui.bytes(&script)?;
    Ok(Exit::Done)
}
