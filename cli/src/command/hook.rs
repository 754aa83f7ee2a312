//! `aios hook`

use std::net::SocketAddr;

use aios_agents::workflow::is_hook_path;
use serde_json::json;

use crate::args::{HookArgs, HookCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::hook::Book;
use crate::ui::Ui;

/// Says over which hooks this device hears that something happened.
pub fn run(args: &HookArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let vault = cx.open()?;
    let folder = vault.own_folder();
    let mut book = Book::load(folder)?;
    match &args.command {
        HookCommand::Add { path, listen } => {
            let token = add(&mut book, path, *listen)?;
            book.save(folder)?;
            told(&book, path, &token, ui)?;
        }
        HookCommand::Remove { path } => {
            if book.hooks.remove(path).is_none() {
                return Err(CliError::failed(
                    format!("there is no hook {path}"),
                    "`aios hook list` lists them",
                ));
            }
            book.save(folder)?;
            ui.line(format!("{path} is closed"))?;
        }
        HookCommand::List => {
            if ui.json() {
                ui.value(&json!({"listen": book.listen, "hooks": book.hooks.keys().collect::<Vec<_>>()}))?;
            }
            for path in book.hooks.keys() {
                ui.line(format!("http://{}{path}", book.listen))?;
            }
            if book.hooks.is_empty() {
                ui.line("no hooks")?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Adds a hook, and gives its token.
fn add(book: &mut Book, path: &str, listen: Option<SocketAddr>) -> Result<String, CliError> {
    if !is_hook_path(path) {
        return Err(CliError::Usage {
            what: format!("`{path}` cannot be the path of a hook"),
            hint: Some("it begins with `/` and has letters, digits, `-`, `_`, `.`, `/`".into()),
        });
    }
    book.listen = listen.unwrap_or(book.listen);
    book.add(path)
}

fn told(book: &Book, path: &str, token: &str, ui: &mut Ui) -> Result<(), CliError> {
    let url = format!("http://{}{path}", book.listen);
    if ui.json() {
        ui.value(&json!({"hook": path, "url": url, "token": token}))?;
    }
    ui.line(&url)?;
    ui.line(format!("token {token}"))?;
    // Remarks come after what they are about.
    ui.flush()?;
    if !book.listen.ip().is_loopback() {
        ui.warn("others than this machine can call it", Some("put it behind something that speaks TLS"));
    }
    ui.note("the token is shown this once; `aios up` listens from its next start on");
    Ok(())
}
