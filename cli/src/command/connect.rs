//! `aios connect`

use std::io::{IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use crate::args::ConnectArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::keyring::{Keyring, Secret};
use crate::office::Office;
use crate::ui::{Ui, one_line};
use crate::unlock;

/// The longest key.
const MOST: u64 = 16 * 1024;

/// Takes the key of a provider of models, or forgets it. It comes from the terminal or over a pipe, and stands on no command line.
pub fn run(args: &ConnectArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    let folder = office.vault().own_folder().to_owned();
    let load = |e| CliError::io("read the keys of this device", e);
    let mut keys = Keyring::load(&folder).map_err(load)?;
    let name = &args.name;
    if args.remove {
        if !keys.remove(name) {
            return Err(CliError::failed(
                format!("this device has no key of `{name}`"),
                "`aios agents check` names what is set up",
            ));
        }
        keys.save(&folder)?;
        if ui.json() {
            ui.value(&json!({"provider": name, "connected": false}))?;
        }
        ui.line(format!("the key of {} is gone from this device", one_line(name)))?;
        return Ok(Exit::Done);
    }
    let providers = &office.registry().models.providers;
    let Some(provider) = providers.get(name) else {
        let known: Vec<&str> = providers.keys().map(String::as_str).collect();
        let hint = match known.is_empty() {
            true => "a file of `agents` with `type: models` says who there is; then `aios accept`".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        return Err(CliError::failed(format!("no provider `{name}` is in force"), hint));
    };
    let origin = provider.origin().to_owned();
    match args.program.is_empty() {
        true => keys.add(name, &origin, read_key(ui, &origin)?),
        false => {
            let hint = "try it by itself; it prints the key and nothing else";
            unlock::key(&args.program).map_err(|what| CliError::failed(what, hint))?;
            keys.add_program(name, &origin, &args.program);
        }
    }
    keys.save(&folder)?;
    if ui.json() {
        ui.value(&json!({"provider": name, "origin": origin, "connected": true}))?;
    }
    ui.line(format!(
        "{} is connected on this device; its key goes to {origin} and nowhere else",
        one_line(name)
    ))?;
    Ok(Exit::Done)
}

fn read_key(ui: &mut Ui, origin: &str) -> Result<Secret, CliError> {
    let input = std::io::stdin();
    let silent = input.is_terminal().then(Silent::new).flatten();
    if silent.is_some() {
        ui.note(format!("the key for {origin}, which is not shown; then Enter:"));
    }
    let mut text = String::new();
    let read = match silent.is_some() {
        true => input.read_line(&mut text),
        false => input.take(MOST).read_to_string(&mut text),
    };
    drop(silent);
    read.map_err(|e| CliError::io("read the key", e))?;
    Secret::of(&text).ok_or_else(|| CliError::Usage {
        what: "that is no key: it is one word of letters, digits and signs".into(),
        hint: Some("give it over a pipe, `aios connect NAME < FILE`, or type it".into()),
    })
}

/// A terminal that shows nothing of what is typed, for as long as this lives.
struct Silent(Termios);

impl Silent {
    fn new() -> Option<Silent> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &now).ok()?;
        Some(Silent(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
