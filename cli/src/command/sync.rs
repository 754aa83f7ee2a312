//! `aios sync`

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aios_sync::control::{Answer, Client, Request};
use aios_sync::error::{Fault, Peer, SyncError};
use aios_sync::node::{Node, Settings};
use aios_sync::outcome::Progress;
use aios_sync::remote::{Skipped, secret::Finding};
use aios_sync::session::{SyncReport, Trouble, Wanted, introduce, sync};
use aios_sync::site::Site;
use aios_sync::ticket::TicketError;
use tokio::runtime::Runtime;

use crate::args::SyncArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::moment::span;
use crate::ui::{Style, Ui, one_line};

/// How much longer than the sync itself the daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(120);

impl From<Trouble> for CliError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Vault(e) => CliError::Vault(e),
            Trouble::Sync(e) if e.fault() == Fault::Unreachable => {
                CliError::Unconfirmed { what: e.to_string(), hint: e.hint().map(str::to_owned) }
            }
            Trouble::Sync(SyncError::Ticket(e)) if !matches!(e, TicketError::Expired { .. }) => {
                CliError::usage(e.to_string())
            }
            Trouble::Sync(e @ SyncError::Setting { .. }) => CliError::usage(e.to_string()),
            Trouble::Sync(e) => CliError::Sync(e),
            Trouble::Remote(e) => e.into(),
            Trouble::Daemon { what, hint, exit } => match exit {
                2 => CliError::Usage { what, hint },
                3 => CliError::Unconfirmed { what, hint },
                _ => CliError::Failed { what, hint },
            },
        }
    }
}

/// The runtime that the network needs.
pub(super) fn runtime() -> Result<Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|e| CliError::io("start the network", e))
}

/// How this program's nodes behave; progress goes to `ui`.
pub(super) fn settings(ui: &Ui) -> Result<Settings, CliError> {
    let bar = Mutex::new(ui.progress());
    let tell = move |peer: &Peer, at: Progress| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match at.received < at.to_receive {
            true => bar(&format!("records from {peer}"), at.received, at.to_receive),
            false => bar(&format!("records to {peer}"), at.sent, at.to_send),
        }
    };
    let mut settings =
        Settings::from_env(concat!("aios ", env!("CARGO_PKG_VERSION"))).map_err(Trouble::from)?;
    settings.on_progress = Some(Arc::new(tell));
    Ok(settings)
}

/// Takes in, exchanges with every reachable member, writes.
pub fn run(args: &SyncArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let report = exchange(args, cx, ui)?;
    show(&report, ui)?;
    Ok(match report.peers.iter().all(|peer| peer.acknowledged) {
        true if report.problems.is_empty() => Exit::Done,
        _ if report.peers.iter().any(|peer| matches!(peer.fault.as_deref(), Some("lying" | "local"))) => {
            Exit::Failed
        }
        _ => Exit::Unconfirmed,
    })
}

/// Syncs, through the daemon where one runs.
pub(super) fn exchange(args: &SyncArgs, cx: &Context, ui: &Ui) -> Result<SyncReport, CliError> {
    let timeout = span(&args.timeout)?;
    let told = args.profile.told()?;
    let site = Site::find(cx.dir())?;
    if let Some(profile) = told {
        site.keeper().work(move |vault| vault.set_profile(profile))?;
    }
    match Client::connect(site.folder()) {
        Some(client) => by_daemon(client, args, timeout),
        None => here(&site, args, timeout, ui),
    }
}

fn by_daemon(mut client: Client, args: &SyncArgs, timeout: Duration) -> Result<SyncReport, CliError> {
    let ask = Request::Sync {
        peer: args.peer.clone(),
        timeout: timeout.as_millis() as u64,
        allow_secrets: args.allow_secrets,
    };
    client.ask(&ask, Some(timeout + ANSWER))?;
    match client.answer()? {
        Answer::Synced(report) => Ok(report),
        _ => Err(CliError::failed("the daemon answered something else", "stop `aios up` and start it again")),
    }
}

fn here(site: &Site, args: &SyncArgs, timeout: Duration, ui: &Ui) -> Result<SyncReport, CliError> {
    let settings = Settings { port: site.port(), ..settings(ui)? };
    let report = runtime()?.block_on(async {
        introduce(site, &settings, timeout).await?;
        let node = Node::start(site.key(), site.opener(), settings).await?;
        site.keep_port(node.net().port())?;
        let wanted = Wanted { peer: args.peer.clone(), allow_secrets: args.allow_secrets };
        let report = sync(site, &node, wanted, timeout).await;
        node.close().await;
        report
    });
    Ok(report?)
}

fn show(report: &SyncReport, ui: &mut Ui) -> Result<(), CliError> {
    for warning in &report.warnings {
        ui.warn(warning, None);
    }
    for peer in &report.peers {
        let state = match (peer.acknowledged, peer.reached) {
            (true, _) => ui.paint(Style::Green, "has all"),
            (false, true) => ui.paint(Style::Yellow, "not confirmed"),
            (false, false) => ui.paint(Style::Yellow, "not reached"),
        };
        ui.line(format!("{}: {state}, {} sent, {} received", peer.name, peer.sent, peer.received))?;
        for Finding { path, line, looks_like, masked, .. } in &peer.secrets {
            ui.warn(one_line(&format!("{path}:{line}: this looks like {looks_like}: {masked}")), None);
        }
        for Skipped { what, why } in &peer.skipped {
            ui.warn(one_line(&format!("{}: {what} was not used: {why}", peer.name)), None);
        }
        if let Some(error) = &peer.error {
            ui.warn(one_line(error), peer.hint.as_deref());
        }
    }
    let head = report.head.as_deref().map_or("-", |head| head.get(..12).unwrap_or(head));
    let synced = match (report.synced, report.peers.is_empty()) {
        (true, _) => ui.paint(Style::Green, "synced"),
        (false, true) => {
            "no other device; add one with `aios pair`, or a remote with `aios remote add`".into()
        }
        (false, false) => ui.paint(Style::Yellow, "not synced"),
    };
    let at = if report.peers.is_empty() { "; head" } else { " at" };
    ui.line(format!("{synced}{at} {head}"))?;
    match ui.json() {
        true => ui.value(report),
        false => Ok(()),
    }
}
