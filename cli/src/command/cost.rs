//! `aios cost`

use aios_agents::kernel::{By, CapUse, Cost, Of};
use aios_vault::chance::now_ms;
use serde_json::json;

use crate::args::{CostArgs, CostBy};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::moment;
use crate::office::Office;
use crate::report::count;
use crate::ui::{Ui, one_line};

/// Says what was spent, and how much of the caps is used; changes nothing.
pub fn run(args: &CostArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let since = moment::past(&args.since)?;
    let office = Office::open(cx, ui)?;
    let by = match args.by {
        CostBy::Model => return models(&office, since, ui),
        CostBy::Capability => By::Capability,
        CostBy::Workflow => By::Workflow,
        CostBy::Agent => By::Agent,
        CostBy::Device => By::Device,
        CostBy::Day => By::Day,
    };
    let members = office.vault().members();
    let name = |of: Of| match of {
        Of::Name(name) => name.unwrap_or_else(|| "-".to_owned()),
        Of::Device(device) => members.name(&device),
    };
    let spend = office.kernel().spend(by, since);
    let rows: Vec<(String, Cost)> = spend.into_iter().map(|(of, cost)| (name(of), cost)).collect();
    let caps = office.kernel().caps(now_ms());
    if ui.json() {
        let row = |(of, cost): &(String, Cost)| json!({"of": of, "effects": cost.effects, "spent": cost.spent, "held": cost.held});
        let rows: Vec<_> = rows.iter().map(row).collect();
        ui.value(&json!({"since": since, "rows": rows, "caps": caps}))?;
    }
    if rows.is_empty() {
        ui.line(format!("nothing happened since {}", aios_vault::audit::time(since)))?;
    }
    for (of, cost) in &rows {
        let held = if cost.held.0 > 0 { format!(", {} held", cost.held) } else { String::new() };
        let effects = count(cost.effects, "effect");
        ui.line(format!("{} {effects}, {}{held}", one_line(of), cost.spent))?;
    }
    for cap in &caps {
        ui.line(one_line(&used(cap)))?;
    }
    Ok(Exit::Done)
}

/// Says what models took, whose tokens are too cheap to be told in hundredths.
fn models(office: &Office, since: u64, ui: &mut Ui) -> Result<Exit, CliError> {
    let spent = office.kernel().spent_on_models(since);
    if ui.json() {
        ui.value(&json!({"since": since, "models": spent}))?;
    }
    if spent.is_empty() {
        ui.line(format!("no model was asked since {}", aios_vault::audit::time(since)))?;
    }
    for (model, it) in &spent {
        let answers = count(it.answers, "answer");
        let (model, cost) = (one_line(model), it.cost);
        ui.line(format!("{model} {answers}, {} tokens in, {} out, {cost}", it.input, it.output))?;
    }
    Ok(Exit::Done)
}

/// How much of a cap is used, for people.
fn used(cap: &CapUse) -> String {
    let effects = cap.count.map(|most| format!("{} of {most} effects", cap.used.count));
    let money = cap.money.map(|most| format!("{} of {most}", cap.used.money));
    let parts: Vec<String> = effects.into_iter().chain(money).collect();
    let most = if cap.per == aios_agents::policy::Per::Run { ", in the run with the most" } else { "" };
    format!("cap of {}: {} per {}{most}", cap.rule, parts.join(" and "), cap.per.name())
}
