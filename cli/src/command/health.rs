//! `aios health`

use aios_agents::connector::RECEIVED;
use aios_agents::health::{Finding, Kind, Place, Sight, Source};
use aios_agents::table::Breaker;
use aios_sync::control::Client;
use aios_vault::chance::now_ms;
use serde_json::json;

use crate::args::HealthArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::hook::Book;
use crate::looked;
use crate::moment;
use crate::office::Office;
use crate::ui::{Style, Ui, one_line};

/// Says what failed silently; changes nothing.
pub fn run(args: &HealthArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let since = moment::past(&args.since)?;
    let office = Office::open(cx, ui)?;
    let (here, members) = (office.vault().device(), members(&office)?);
    let sources = sources(&office, &members)?;
    let place = Place { here, members, sources, now: now_ms(), since };
    let findings = office.kernel().health(&place);
    if ui.json() {
        ui.value(&json!({"since": place.since, "until": place.now, "findings": findings, "connectors": connectors(&office, place.now)}))?;
    }
    if findings.is_empty() {
        ui.line(format!("nothing failed silently since {}", aios_vault::audit::time(since)))?;
        return Ok(Exit::Done);
    }
    for finding in &findings {
        for line in lines(ui, finding) {
            ui.line(line)?;
        }
    }
    Ok(Exit::Findings)
}

/// Where the breaker of each connector stands.
fn connectors(office: &Office, now: u64) -> Vec<serde_json::Value> {
    let breakers = office.kernel().capabilities().map(|it| (it, office.kernel().tables().breaker(it)));
    let row = |(capability, breaker): (&str, Breaker)| {
        json!({
            "capability": capability, "breaker": breaker.passage(now), "failures": breaker.failures,
            "until": breaker.until(),
        })
    };
    breakers.map(row).collect()
}

/// Every member, and when it was last heard of: by a connection, or by what it wrote, whichever way that came here.
fn members(office: &Office) -> Result<Vec<Sight>, CliError> {
    let vault = office.vault();
    let peers = vault.peers()?;
    let mut out = Vec::new();
    for (device, member) in vault.members().present() {
        let seen = peers.get(device).and_then(|peer| peer.seen);
        let at = [seen, vault.last_word(device)?, Some(member.time)].into_iter().flatten().max();
        out.push(Sight { device: *device, name: member.name.clone(), at });
    }
    Ok(out)
}

/// What comes from outside: mails, where a connector takes them in, and calls of hooks, which only a daemon hears.
fn sources(office: &Office, members: &[Sight]) -> Result<Vec<Source>, CliError> {
    let (vault, kernel) = (office.vault(), office.kernel());
    let (here, folder) = (vault.device(), vault.own_folder());
    let mut out = Vec::new();
    if let Some(since) = kernel.provided_since(RECEIVED) {
        let device = kernel.tables().homes().now(RECEIVED).unwrap_or(here);
        let at = match device == here {
            true => looked::last(folder).or(Some(since)),
            // What it does there is not known here, only whether it is there.
            false => members.iter().find(|member| member.device == device).and_then(|member| member.at),
        };
        // Of one that is no member any more nothing will be heard.
        out.push(Source { name: RECEIVED.into(), device, at });
    }
    let book = Book::load(folder)?;
    if !book.hooks.is_empty() {
        let hooks = book.hooks.keys().cloned().collect::<Vec<_>>().join(", ");
        let at = Client::connect(folder).map(|_| now_ms());
        out.push(Source { name: format!("calls of {hooks}"), device: here, at });
    }
    Ok(out)
}

fn lines(ui: &Ui, finding: &Finding) -> Vec<String> {
    let (word, style) = match finding.kind {
        Kind::Unknown => ("unknown", Style::Red),
        Kind::Refused => ("refused", Style::Red),
        Kind::Stuck => ("stuck", Style::Red),
        Kind::Open => ("open", Style::Red),
        Kind::Failed => ("failed", Style::Red),
        Kind::Missed => ("missed", Style::Red),
        Kind::Unpolled => ("unpolled", Style::Red),
        Kind::Worse => ("worse", Style::Red),
        Kind::Unmet => ("unmet", Style::Red),
        Kind::Fruitless => ("fruitless", Style::Yellow),
        Kind::Overdue => ("overdue", Style::Yellow),
        Kind::Asked => ("asked", Style::Yellow),
        Kind::Late => ("late", Style::Yellow),
        Kind::Retries => ("retries", Style::Yellow),
        Kind::Silent => ("silent", Style::Yellow),
    };
    let about = match (&finding.task, &finding.workflow) {
        (Some(task), Some(workflow)) => format!("task {task} of workflow {workflow}, "),
        (Some(task), None) => format!("task {task}, "),
        (None, _) => String::new(),
    };
    let at = aios_vault::audit::time(finding.at);
    vec![
        format!("{} {}", ui.paint(style, word), one_line(&finding.what)),
        format!("    {}", one_line(&format!("{about}{at}"))),
        format!("    {}", one_line(&finding.next.join(", or "))),
    ]
}
