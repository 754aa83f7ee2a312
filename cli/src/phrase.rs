//! Asking for the recovery phrase: at the terminal, from standard input, or from a file, never as an argument, which everybody
//! on the machine could read.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use aios_core::phrase::{Phrase, PhraseError, WORDS};

use crate::error::CliError;

/// A phrase takes no more than this, in bytes.
const LONGEST: u64 = 4096;

impl From<PhraseError> for CliError {
    fn from(e: PhraseError) -> Self {
        let hint =
            "write the words in the order in which they were printed, with spaces between them".to_owned();
        CliError::Usage { what: e.to_string(), hint: Some(hint) }
    }
}

/// The phrase that `file` holds, or else that whoever runs the command gives.
pub fn read(file: Option<&Path>) -> Result<Phrase, CliError> {
    let text = match file {
        Some(path) => {
            let opened = std::fs::File::open(path);
            let failed = |e| CliError::io(format!("read {}", path.display()), e);
            taken(&mut opened.map_err(failed)?).map_err(failed)?
        }
        None if std::io::stdin().is_terminal() => asked().map_err(failed_stdin)?,
        None => taken(&mut std::io::stdin().lock()).map_err(failed_stdin)?,
    };
    Ok(text.parse::<Phrase>()?)
}

fn failed_stdin(e: std::io::Error) -> CliError {
    CliError::io("read the recovery phrase from standard input", e)
}

fn taken(from: &mut impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Asks for it, over as many lines as it takes.
fn asked() -> std::io::Result<String> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock();
    let mut screen = std::io::stderr();
    write!(screen, "recovery phrase ({WORDS} words): ")?;
    screen.flush()?;
    while text.split_whitespace().count() < WORDS {
        let before = text.len();
        input.read_line(&mut text)?;
        if text[before..].trim().is_empty() {
            break;
        }
    }
    Ok(text)
}
