//! `aios fetch`, and what other commands lack on a device that leaves blobs with the others.

use aios_sync::session::SyncReport;
use aios_vault::{Error, Vault};
use serde_json::json;

use crate::args::{FetchArgs, ProfileArgs, SyncArgs};
use crate::command::sync;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::ui::{Ui, one_line};

/// How long a command waits for what it lacks.
const PATIENCE: &str = "5m";

/// Gets the bytes of files, and writes these.
pub fn run(args: &FetchArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let asked = {
        let mut vault = cx.open()?;
        let paths = match args.all {
            true => vec![String::new()],
            false => args.paths.iter().map(|path| cx.path(&vault, path)).collect::<Result<_, _>>()?,
        };
        vault.ask(&paths)?
    };
    let (mut came, mut waiting, mut unreached) = (Vec::new(), Vec::new(), Vec::new());
    if !asked.is_empty() {
        let report = exchange(&args.timeout, cx, ui)?;
        unreached = report.peers.into_iter().filter(|peer| !peer.reached).map(|peer| peer.name).collect();
        let vault = cx.open()?;
        for path in asked {
            match vault.lacks(&path)? {
                true => waiting.push(path),
                false => came.push(path),
            }
        }
    }
    if ui.json() {
        ui.value(&json!({"fetched": came, "waiting": waiting}))?;
    }
    for path in &came {
        ui.line(one_line(path))?;
    }
    match (came.len(), waiting.is_empty()) {
        (0, true) => ui.line("all of it is here")?,
        (came, _) => ui.line(format!("{} fetched", count(came, "file")))?,
    }
    let hint = match unreached.is_empty() {
        true => "they are fetched with the first sync with a device that has them".to_owned(),
        false => format!(
            "not reached: {}; they are fetched with the first sync with a device that has them",
            unreached.join(", ")
        ),
    };
    for path in &waiting {
        ui.warn(one_line(&format!("{path}: its bytes have not come: no device met has them")), None);
    }
    if waiting.is_empty() {
        return Ok(Exit::Done);
    }
    ui.note(hint);
    Ok(Exit::Unconfirmed)
}

/// Does `work`, and on a lean device fetches what it lacks, as long as something comes.
pub(super) fn with_bytes<T>(
    mut vault: Vault,
    cx: &Context,
    ui: &mut Ui,
    mut work: impl FnMut(&mut Vault, &mut Ui) -> Result<T, Error>,
) -> Result<(Vault, T), CliError> {
    let mut last = None;
    loop {
        match work(&mut vault, ui) {
            Err(Error::Apart(git)) if vault.profile().is_lean() && last != Some(git) => {
                last = Some(git);
                vault.ask_blob(&git)?;
                drop(vault);
                exchange(PATIENCE, cx, ui)?;
                vault = cx.open()?;
            }
            done => return Ok((vault, done?)),
        }
    }
}

/// Fetches the bytes of every version of every file, where this device has not all of them.
pub(super) fn everything(mut vault: Vault, cx: &Context, ui: &Ui) -> Result<Vault, CliError> {
    if !vault.profile().is_lean() || !vault.ask_all()? {
        return Ok(vault);
    }
    drop(vault);
    exchange(PATIENCE, cx, ui)?;
    cx.open()
}

fn exchange(timeout: &str, cx: &Context, ui: &Ui) -> Result<SyncReport, CliError> {
    let profile = ProfileArgs { profile: None, blobs_below: None };
    sync::exchange(
        &SyncArgs { peer: None, allow_secrets: false, timeout: timeout.to_owned(), profile },
        cx,
        ui,
    )
}
