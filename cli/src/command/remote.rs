//! `aios remote`

use aios_sync::remote::{Kind, RemoteError, Remotes, git, state::State};
use aios_vault::Vault;

use crate::args::{RemoteArgs, RemoteCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::{Style, Ui, one_line};

impl From<RemoteError> for CliError {
    fn from(e: RemoteError) -> Self {
        let (what, hint) = (e.to_string(), e.hint());
        match e {
            RemoteError::Vault(e) => CliError::Vault(e),
            RemoteError::Name(_) | RemoteError::Unknown(_) | RemoteError::Address(_) => {
                CliError::Usage { what, hint }
            }
            RemoteError::Absent(_) => CliError::Unconfirmed { what, hint },
            _ => CliError::Failed { what, hint },
        }
    }
}

/// Lists the remotes, or adds or removes one.
pub fn run(args: &RemoteArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let vault = cx.open()?;
    let mut remotes = Remotes::load(vault.root())?;
    match &args.command {
        None | Some(RemoteCommand::List) => {}
        Some(RemoteCommand::Add { name, url, git, folder }) => {
            let kind = git.then_some(Kind::Git).or(folder.then_some(Kind::Folder));
            let devices: Vec<String> = vault.members().0.values().map(|member| member.name.clone()).collect();
            let added = remotes.add(name, url, kind, &devices)?;
            forget(&vault, name)?;
            ui.note(format!("`aios sync` uses {} from now on", added.name));
        }
        Some(RemoteCommand::Remove { name }) => {
            remotes.remove(name)?;
            forget(&vault, name)?;
            ui.note("what it holds stays there");
        }
    }
    list(&remotes, ui)?;
    Ok(Exit::Done)
}

/// What is remembered of a remote of this name goes.
fn forget(vault: &Vault, name: &str) -> Result<(), CliError> {
    State::forget(vault.root(), name);
    Ok(vault.drop_refs(&git::prefix(name))?)
}

fn list(remotes: &Remotes, ui: &mut Ui) -> Result<(), CliError> {
    for remote in remotes.all() {
        let kind = match remote.kind {
            Kind::Folder => "folder",
            Kind::Git => "git",
        };
        let name = ui.paint(Style::Bold, format!("{:<12}", remote.name));
        ui.line(format!("{name} {kind:<6}  {}", one_line(&remote.url)))?;
    }
    match ui.json() {
        true => {
            let rows: Vec<_> = remotes
                .all()
                .iter()
                .map(
                    |remote| serde_json::json!({"name": remote.name, "kind": remote.kind, "url": remote.url}),
                )
                .collect();
            ui.value(&rows)
        }
        false => Ok(()),
    }
}
