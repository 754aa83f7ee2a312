//! `aios run`

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aios_agents::agent::Shape;
use aios_agents::node::Front;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::args::RunArgs;
use crate::command::tasks::{device, stand, tell};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Ui, one_line};

/// The most letters of an id that the operator gives.
const MOST: usize = 64;

/// The most bytes of a file with input.
const MOST_GIVEN: u64 = 1 << 20;

/// Starts a task, or carries on those that wait.
pub fn run(args: &RunArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    let Some(workflow) = &args.workflow else {
        return tell(ui, &office.carry_on()?, &[]);
    };
    let mut input = match &args.input_file {
        Some(path) => given(path)?,
        None => Map::new(),
    };
    let agent = office.registry().agents.get(workflow).map(|entry| &entry.agent);
    // An agent that is called like a workflow works within that one alone.
    let agent = agent.filter(|_| office.kernel().is_alone(workflow));
    for pair in &args.inputs {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(CliError::usage(format!("`{pair}` is no input: write KEY=VALUE")));
        };
        let value = match agent.map(|agent| &agent.inputs) {
            Some(Shape::Schema(schema, _)) => schema.typed(key, text),
            Some(_) => text.into(),
            None => office.kernel().typed(workflow, key, text),
        };
        input.insert(key.to_owned(), value);
    }
    let mut input = Value::Object(input);
    if let Some(agent) = agent {
        input = agent.take(&input).map_err(|failure| {
            CliError::failed(failure.what, "give it with `--input KEY=VALUE`, or `--input-file`")
        })?;
    }
    let task = match &args.task {
        Some(task) if is_id(task) => task.clone(),
        Some(task) => {
            return Err(CliError::Usage {
                what: format!("`{}` cannot be a task's id", one_line(task)),
                hint: Some(format!(
                    "letters, digits, `.`, `_` and `-`, at most {MOST}, a letter or digit first"
                )),
            });
        }
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
        false => office.create(&task, workflow, input, on)?,
    };
    let office = if args.wait { office.wait_for(&task)? } else { office };
    if ui.json() {
        let (state, exit) = stand(&office, &task);
        ui.value(&json!({"task": task, "state": state}))?;
        return Ok(exit);
    }
    tell(ui, &office, &[&task])
}

/// Whether a text can be a task's id: paths and lines are made of it.
fn is_id(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= MOST && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.bytes().all(inside)
}

/// What a file gives: a map of JSON or YAML.
fn given(path: &Path) -> Result<Map<String, Value>, CliError> {
    let name = path.display();
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().take(MOST_GIVEN + 1).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(MOST_GIVEN + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|e| CliError::io(format!("read {name}"), e))?;
    let no = |what: String| CliError::failed(format!("{name}: {what}"), "it is a map of JSON or YAML");
    if bytes.len() as u64 > MOST_GIVEN {
        return Err(no(format!("it is larger than {MOST_GIVEN} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| no("it is no UTF-8".into()))?;
    let value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_) => match Front::read(&format!("---\n{text}\n---\n")) {
            Ok(front) => front.root.to_value(),
            // The line above is none of the file's.
            Err(mistake) => return Err(no(mistake.what)),
        },
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(no("it is no map".into())),
    }
}
