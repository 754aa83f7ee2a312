//! `aios delegate` and `aios delegations`

use aios_agents::event::{Terms, WorkEvent};
use aios_agents::kernel::{Delegated, Standing};
use aios_agents::money::Money;
use aios_vault::chance::{now_ms, random};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::args::{DelegateArgs, DelegationsArgs};
use crate::command::consent::no_operator;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::moment;
use crate::office::Office;
use crate::ui::{Style, Ui, one_line};

/// So many hex digits of an id are enough for people.
const SHORT: usize = 12;

/// Lets an agent do something without asking each time, or takes that back.
pub fn run(args: &DelegateArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    let Some(operator) = office.vault().operator()? else { return Err(no_operator("delegate")) };
    let vault = office.vault().id();
    if let Some(prefix) = &args.revoke {
        let Some(id) = office.kernel().delegation_id(prefix) else {
            let what = format!("no one delegation begins with `{}`", one_line(prefix));
            return Err(CliError::Usage { what, hint: Some("`aios delegations` lists them".into()) });
        };
        let event = WorkEvent::undelegate(&id, &vault, &operator);
        let office = office.says(&format!("Delegation {} is over", short(&id)), &[event])?;
        return tell(ui, &office, &id);
    }
    // Clap asks for them where nothing is taken back.
    let (Some(capability), Some(agent), Some(count), Some(until)) =
        (&args.capability, &args.agent, args.max, &args.until)
    else {
        return Err(CliError::usage("say what, to whom, how often and until when"));
    };
    if !office.kernel().can(capability) {
        let known: Vec<&str> = office.kernel().capabilities().collect();
        let hint = format!("there is {}", known.join(", "));
        return Err(CliError::Usage {
            what: format!("no connector can `{}`", one_line(capability)),
            hint: Some(hint),
        });
    }
    let money = args.money.as_deref().map(str::parse::<Money>).transpose();
    let terms = Terms {
        capability: capability.clone(),
        target: args.target.clone(),
        agent: agent.clone(),
        count,
        money: money.map_err(|e| CliError::usage(e.to_string()))?,
        until: moment::until(until)?,
    };
    let nonce = HEXLOWER.encode(&random()?[..16]);
    let event = WorkEvent::delegate(terms, nonce, &vault, &operator);
    let WorkEvent::DelegationIssued { id, .. } = &event else {
        return Err(CliError::failed("a delegation is none", "report this"));
    };
    let id = id.clone();
    let office =
        office.says(&format!("Delegate {} to {}", one_line(capability), one_line(agent)), &[event])?;
    tell(ui, &office, &id)
}

/// Lists delegations.
pub fn list(args: &DelegationsArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    let mut all = office.kernel().delegations(now_ms());
    all.retain(|it| args.all || it.standing == Standing::Valid);
    if ui.json() {
        ui.value(&all.iter().map(value).collect::<Vec<_>>())?;
    }
    for it in &all {
        ui.line(line(ui, it))?;
    }
    if all.is_empty() {
        ui.line("nothing is delegated")?;
    }
    Ok(Exit::Done)
}

fn tell(ui: &mut Ui, office: &Office, id: &str) -> Result<Exit, CliError> {
    let all = office.kernel().delegations(now_ms());
    let Some(it) = all.iter().find(|it| it.id == id) else {
        return Err(CliError::failed(
            "the delegation counts for nothing",
            "is this device a member that may approve?",
        ));
    };
    if ui.json() {
        ui.value(&value(it))?;
    }
    ui.line(line(ui, it))?;
    Ok(Exit::Done)
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

fn value(it: &Delegated<'_>) -> Value {
    let grant = it.grant;
    json!({
        "id": it.id, "capability": grant.capability, "target": grant.target, "agent": grant.agent,
        "count": grant.count, "money": grant.money, "until": grant.until, "since": grant.at,
        "by": grant.by, "used": it.used, "standing": it.standing
    })
}

fn line(ui: &Ui, it: &Delegated<'_>) -> String {
    let grant = it.grant;
    let (standing, style) = match it.standing {
        Standing::Valid => ("valid", Style::Green),
        Standing::Spent => ("spent", Style::Dim),
        Standing::Expired => ("expired", Style::Dim),
        Standing::Revoked => ("revoked", Style::Red),
    };
    let money = grant.money.map(|most| format!(", {} of {most}", it.used.money)).unwrap_or_default();
    let what = one_line(&format!("{} to {} by {}", grant.capability, grant.target, grant.agent));
    let id = ui.paint(Style::Yellow, short(it.id));
    let until = aios_vault::audit::time(grant.until);
    let standing = ui.paint(style, standing);
    format!("{id} {what}: {} of {}{money}, until {until}: {standing}", it.used.count, grant.count)
}
