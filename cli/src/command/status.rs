//! `aios status`

use std::collections::BTreeSet;
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_sync::control::{Answer, Client, Request};
use aios_vault::keys::Keys;
use aios_vault::layout::Layout;
use aios_vault::survey::Problem;

use crate::args::StatusArgs;
use crate::command::written;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::matter::matters;
use crate::office;
use crate::report;
use crate::ui::{Style, Ui, one_line};

/// How long the daemon is waited for: it may be at work on the vault.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows where things stand; changes nothing.
pub fn run(_args: &StatusArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let online = online(cx);
    let mut vault = cx.open()?;
    let mut status = vault.status(&mut ui.progress())?;
    status.problems.extend(written::wrong_in_force(&mut vault)?);
    status.peers.iter_mut().for_each(|peer| peer.online = online.contains(&peer.id));
    let needs = office::needs_of(&mut vault).unwrap_or_else(|e| {
        status.problems.push(Problem::of_all(&e));
        Vec::new()
    });
    status.inbox = matters(&status, vault.conflicts()?, needs).len() as u64;
    if ui.json() {
        ui.value(&status)?;
        return Ok(Exit::Done);
    }
    let name = ui.paint(Style::Bold, one_line(&status.name));
    ui.line(format!(
        "{name} on {} ({}), {}",
        one_line(&status.device.name),
        status.device.roles.join(", "),
        report::count(status.files, "file")
    ))?;
    ui.line(format!("head {}", status.head.as_deref().unwrap_or("not computed yet")))?;
    if let Some(why) = &status.paused {
        let text = ui.paint(Style::Yellow, format!("paused: {why}"));
        ui.line(text)?;
        if !status.device.revoked {
            ui.line("  finish or abort it with git and go back with `git switch main`")?;
        }
    } else if status.pending.is_empty() {
        ui.line("nothing to take in")?;
    } else {
        ui.line(format!("{} to take in (`aios commit`):", report::count(status.pending.len(), "change")))?;
        report::changes(ui, &status.pending)?;
    }
    if status.conflicts > 0 {
        ui.line(format!("{} (`aios conflicts`)", report::count(status.conflicts, "conflict")))?;
    }
    if !status.waiting.is_empty() {
        ui.line(format!(
            "{} to be put in force (`aios accept`)",
            report::count(status.waiting.len(), "file")
        ))?;
    }
    if status.inbox > 0 {
        ui.line(format!("{} for you (`aios inbox`)", report::count(status.inbox, "thing")))?;
    }
    for peer in &status.peers {
        let how = if peer.acknowledged {
            ui.paint(Style::Green, "has everything")
        } else {
            ui.paint(Style::Yellow, "lacks some, or has not said")
        };
        let seen = peer.online.then(|| "connected".to_owned());
        let seen = seen.unwrap_or_else(|| heard(peer.last_seen.as_deref()));
        ui.line(format!("{} {how}, {seen}", one_line(&peer.name)))?;
    }
    match status.synced {
        Some(true) => ui.line(ui.paint(Style::Green, "synced"))?,
        Some(false) => ui.line(ui.paint(Style::Yellow, "not synced"))?,
        None => ui.line("on this device only")?,
    }
    report::problems(ui, &status.problems);
    Ok(Exit::Done)
}

fn heard(at: Option<&str>) -> String {
    at.map_or("never heard of".to_owned(), |at| format!("last heard of {at}"))
}

/// Whom the daemon, if one runs, is connected with. It brings git up to date before it answers, so that a head is reported.
fn online(cx: &Context) -> BTreeSet<DeviceId> {
    let ask = || {
        let replica = Layout::find(cx.dir()).and_then(|layout| layout.replica()).ok()?;
        let mut client = Client::connect(Keys::load(&replica.device).ok()?.folder())?;
        client.ask(&Request::Settle, Some(PATIENCE)).ok()?;
        match client.answer() {
            Ok(Answer::Settled { online }) => Some(online),
            // What stands in the way of it stands in the way of status too, which says so.
            _ => None,
        }
    };
    ask().unwrap_or_default()
}
