//! `aios recovery`

use aios_core::phrase::Phrase;
use serde_json::json;

use crate::args::{RecoveryArgs, RecoveryCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::phrase;
use crate::ui::Ui;

/// What goes with a phrase that is shown.
pub const KEEP: &str = "hint: write the phrase on paper, and keep it apart from your devices: it brings the vault back when they are \
     lost. It is not shown again";

/// Says whether the vault has a recovery phrase, makes one, or checks one.
pub fn run(args: &RecoveryArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    match &args.command {
        None => {
            let time = |ms: u64| Some(aios_vault::audit::time(ms));
            let made: Vec<Option<String>> = vault.phrases().into_iter().map(time).collect();
            for time in &made {
                ui.line(format!("a recovery phrase was made at {}", time.as_deref().unwrap_or("-")))?;
            }
            if made.is_empty() {
                ui.line("the vault has no recovery phrase")?;
                ui.note("hint: `aios recovery new` makes one, on the device that made the vault");
            }
            if ui.json() {
                ui.value(&json!({"phrases": made}))?;
            }
        }
        Some(RecoveryCommand::New) => {
            let phrase = new()?;
            vault.name_root(&phrase.root_key())?;
            show(&phrase, ui)?;
            vault.finish(Default::default(), &mut ui.progress())?;
            if ui.json() {
                ui.value(&json!({"phrase": phrase.words()}))?;
            }
            if vault.phrases().len() > 1 {
                ui.note("the phrases before it go on to hold, and outrank it");
            }
        }
        Some(RecoveryCommand::Check { phrase_file }) => {
            let phrase = phrase::read(phrase_file.as_deref())?;
            vault.check_root(&phrase.root_key())?;
            ui.line("this is the recovery phrase of the vault")?;
            if ui.json() {
                ui.value(&json!({"ok": true}))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// A new phrase.
pub fn new() -> Result<Phrase, CliError> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|e| CliError::Failed {
        what: format!("no random bytes from the system: {e}"),
        hint: None,
    })?;
    Ok(Phrase::from_entropy(entropy))
}

/// Shows a phrase at once: who is interrupted later has it.
pub fn show(phrase: &Phrase, ui: &mut Ui) -> Result<(), CliError> {
    ui.line(format!("recovery phrase: {}", phrase.words()))?;
    ui.flush()?;
    ui.note(KEEP);
    Ok(())
}
