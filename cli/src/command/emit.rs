//! `aios emit`

use aios_agents::event::{Fired, WorkEvent, is_event_name};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::args::EmitArgs;
use crate::command::tasks::stand;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Ui, one_line};

/// The most that an event says, in bytes of JSON.
const MOST: usize = 64 * 1024;

/// Says that something happened, and carries on all work.
pub fn run(args: &EmitArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    if !is_event_name(&args.name) {
        return Err(CliError::Usage {
            what: format!("`{}` cannot name an event", args.name),
            hint: Some("lowercase words with points between them, such as bank.paid".into()),
        });
    }
    let data = Value::Object(data(&args.data)?);
    if data.to_string().len() > MOST {
        return Err(CliError::usage(format!("an event says at most {} KiB", MOST / 1024)));
    }
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            let mut id = [0; 8];
            getrandom::fill(&mut id).map_err(|e| CliError::io("get random numbers", e.into()))?;
            HEXLOWER.encode(&id)
        }
    };
    let (name, id) = (args.name.clone(), id);
    let event = WorkEvent::EventEmitted {
        name: name.clone(),
        id: id.clone(),
        data,
        untrusted: false,
        from: None,
        hops: 0,
    };
    let office = Office::open(cx, ui)?;
    let known = office.kernel().tables().outside(&name, &id).is_some();
    let office = match known {
        true => office.carry_on()?,
        false => office.says(&format!("Event {name}"), &[event])?,
    };
    let started =
        |fired: &Fired| matches!(fired, Fired::Event { name: it, id: by, .. } if *it == name && *by == id);
    let mut tasks = Vec::new();
    ui.line(format!("{} {name} {}", if known { "known" } else { "emitted" }, one_line(&id)))?;
    for (task, found) in office.kernel().tables().tasks() {
        if found.trigger.as_ref().is_some_and(started) {
            let (state, _) = stand(&office, &task);
            let workflow = found.workflow.clone().unwrap_or_default();
            ui.line(format!("task {} {}: {state}", one_line(&task), one_line(&workflow)))?;
            tasks.push(json!({"task": task, "workflow": workflow, "state": state}));
        }
    }
    if ui.json() {
        ui.value(&json!({"event": name, "id": id, "known": known, "tasks": tasks}))?;
    }
    Ok(Exit::Done)
}

/// What an event says.
fn data(pairs: &[String]) -> Result<Map<String, Value>, CliError> {
    let mut out = Map::new();
    for pair in pairs {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(CliError::usage(format!("`{pair}` says nothing: write KEY=TEXT or KEY:=JSON")));
        };
        let (key, value) = match key.strip_suffix(':') {
            None => (key, text.into()),
            Some(key) => {
                let value = serde_json::from_str(text);
                (key, value.map_err(|e| CliError::usage(format!("`{text}` is no JSON: {e}")))?)
            }
        };
        out.insert(key.to_owned(), value);
    }
    Ok(out)
}
