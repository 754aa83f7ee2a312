//! `aios connector`

use aios_agents::event::WorkEvent;
use serde_json::json;

use crate::args::{ConnectorArgs, ConnectorCommand};
use crate::command::consent::no_operator;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Ui, one_line};

/// Says where effects happen.
pub fn run(args: &ConnectorArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    match &args.command {
        ConnectorCommand::Home { capability } => home(capability, cx, ui),
    }
}

/// Has this device do what another did, which is not asked.
fn home(capability: &str, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    if !office.kernel().can(capability) {
        return Err(CliError::usage(format!("no connector can `{}`", one_line(capability))));
    }
    let here = office.vault().device();
    let homes = office.kernel().tables().homes();
    let before = homes.now(capability);
    if before != Some(here) {
        let Some(operator) = office.vault().operator()? else { return Err(no_operator("do it")) };
        let event =
            WorkEvent::take(capability, here, homes.turn(capability), &office.vault().id(), &operator);
        let office = office.says(&format!("{capability} happens here"), &[event])?;
        if let Some(name) = before.map(|device| office.vault().members().name(&device)) {
            let what = format!("{} may go on with it until it hears of this", one_line(&name));
            ui.warn(
                what,
                Some("where that device is not gone, name the other as `home` in the connector's file"),
            );
        }
    }
    if ui.json() {
        ui.value(&json!({"capability": capability, "device": here}))?;
    }
    ui.line(format!("{} happens here", one_line(capability)))?;
    Ok(Exit::Done)
}
