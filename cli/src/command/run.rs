//! `aios run`

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::args::RunArgs;
use crate::command::tasks::{device, stand, tell};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::Ui;

/// Starts a task, or carries on those that wait.
pub fn run(args: &RunArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    let Some(workflow) = &args.workflow else {
        return tell(ui, &office.carry_on()?, &[]);
    };
    let mut input = Map::new();
    for pair in &args.inputs {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(CliError::usage(format!("`{pair}` is no input: write KEY=VALUE")));
        };
        let value = office.kernel().typed(workflow, key, text);
        input.insert(key.to_owned(), value);
    }
    let task = match &args.task {
        Some(task) => task.clone(),
        None => {
            let mut id = [0; 8];
            getrandom::fill(&mut id).map_err(|e| CliError::io("get random numbers", e.into()))?;
            HEXLOWER.encode(&id)
        }
    };
    let on = match &args.on {
        None => None,
        Some(name) => Some(device(&office, name)?),
    };
    let known = office.kernel().tables().task(&task).is_some();
    let office = match known && args.task.is_some() {
        true => office.carry_on()?,
        false => office.create(&task, workflow, Value::Object(input), on)?,
    };
    if ui.json() {
        let (state, exit) = stand(&office, &task);
        ui.value(&json!({"task": task, "state": state}))?;
        return Ok(exit);
    }
    tell(ui, &office, &[&task])
}
