//! `aios status`

use std::collections::BTreeSet;
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_sync::control::{Answer, Client, Request};
use aios_sync::remote::{self, Standing};
use aios_vault::Error;
use aios_vault::keys::Keys;
use aios_vault::layout::Layout;
use aios_vault::status::Status;
use aios_vault::survey::Problem;
use serde::Serialize;

use crate::args::StatusArgs;
use crate::command::written;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::matter::matters;
use crate::office;
use crate::report;
use crate::size;
use crate::ui::{Style, Ui, one_line};

/// So many files on demand are named.
const FEW: usize = 5;
/// How long the daemon is waited for: it may be at work on the vault.
const PATIENCE: Duration = Duration::from_secs(5);

/// All that it shows.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    status: &'a Status,
    remotes: &'a [Standing],
}

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
    let view = vault.view().clone();
    let remotes = remote::standing(vault.root(), &view).unwrap_or_else(|e| {
        let (problem, hint) = (e.to_string(), e.hint().unwrap_or_default());
        status.problems.push(Problem { path: String::new(), problem, hint });
        Vec::new()
    });
    status.inbox = matters(&status, vault.conflicts()?, needs).len() as u64;
    if ui.json() {
        ui.value(&Shown { status: &status, remotes: &remotes })?;
        return Ok(Exit::Done);
    }
    let name = ui.paint(Style::Bold, one_line(&status.name));
    ui.line(format!(
        "{name} on {} ({}), {}",
        one_line(&status.device.name),
        status.device.roles.join(", "),
        report::count(status.files, "file")
    ))?;
    let carries = matches!(vault.check_writes(), Err(Error::Carrier));
    if carries {
        ui.line(format!("carries {} that it cannot read", report::count(status.closed as usize, "record")))?;
    } else {
        ui.line(format!("head {}", status.head.as_deref().unwrap_or("not computed yet")))?;
    }
    if status.sealed && !carries {
        ui.line("sealed: what leaves this device is encrypted for those who may read it")?;
    }
    if let Some(why) = &status.paused {
        let text = ui.paint(Style::Yellow, format!("paused: {why}"));
        ui.line(text)?;
        if !status.device.revoked {
            ui.line("  finish or abort it with git and go back with `git switch main`")?;
        }
    } else if carries {
        // It takes nothing in.
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
    if !status.on_demand.is_empty() {
        let size = status.on_demand.iter().map(|away| away.size).sum();
        let files = report::count(status.on_demand.len(), "file");
        ui.line(format!("{files} on demand, {} (`aios fetch PATH`)", size::said(size)))?;
        let most = if ui.verbose() > 0 { usize::MAX } else { FEW };
        for away in status.on_demand.iter().take(most) {
            ui.line(format!("  {}", one_line(&away.path)))?;
        }
        if let Some(more @ 1..) = status.on_demand.len().checked_sub(most) {
            ui.line(format!("  and {more} more (`-v`)"))?;
        }
    }
    if status.only_here > 0 {
        let blobs = report::count(status.only_here, "picture or other blob");
        ui.line(format!("{blobs} no other member keeps: they fetch them when asked"))?;
    }
    for peer in &status.peers {
        let how = if peer.acknowledged && peer.on_demand {
            ui.paint(Style::Green, "has all records, and those pictures and other blobs that it asked for")
        } else if peer.acknowledged {
            ui.paint(Style::Green, "has everything")
        } else if peer.forgotten {
            ui.paint(Style::Yellow, "what it has is not known since the rebuild")
        } else {
            ui.paint(Style::Yellow, "lacks some, or has not said")
        };
        let seen = match (peer.online, &peer.last_seen) {
            (true, _) => "connected".to_owned(),
            (false, Some(at)) => format!("last heard from {at}"),
            (false, None) if peer.forgotten => "nor when it was heard from".to_owned(),
            (false, None) => "never heard from".to_owned(),
        };
        ui.line(format!("{} {how}, {seen}", one_line(&peer.name)))?;
    }
    for remote in &remotes {
        let how = match remote.acknowledged {
            true => ui.paint(Style::Green, "has everything"),
            false => ui.paint(Style::Yellow, "lacks some, or was not asked"),
        };
        let seen = remote.last_seen.as_ref();
        let seen = seen.map_or_else(|| "never reached".to_owned(), |at| format!("last reached at {at}"));
        ui.line(format!("{} ({}) {how}, {seen}", one_line(&remote.name), one_line(&remote.url)))?;
    }
    match status.synced {
        Some(true) => ui.line(ui.paint(Style::Green, "synced"))?,
        Some(false) => ui.line(ui.paint(Style::Yellow, "not synced"))?,
        None => ui.line("on this device only")?,
    }
    report::problems(ui, &status.problems);
    Ok(Exit::Done)
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
