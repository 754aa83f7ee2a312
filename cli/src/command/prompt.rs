//! `aios task show --prompts`: what models were asked, made again from the journal.

use aios_agents::agent::talk::Talk;
use aios_agents::agent::{Entry, Runtime, Turn};
use aios_agents::model::{Message, Request};
use aios_core::id::ContentHash;
use serde_json::{Value, json};

use crate::edition;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Style, Ui, one_line};

/// How much of a digest is shown to people.
const SHORT: usize = 12;

/// An agent's work in a step.
struct Step {
    path: String,
    agent: String,
    version: Option<ContentHash>,
    input: Value,
    turns: Vec<Turn>,
}

/// Shows what each model was asked in a task, each part once; changes nothing.
pub fn show(office: &mut Office, task: &str, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut steps = Vec::new();
    let replayed = office.kernel().replay(task, &mut |past| {
        steps.push(Step {
            path: past.step.to_owned(),
            agent: past.agent.to_owned(),
            version: past.version,
            input: past.input.clone(),
            turns: past.turns.to_vec(),
        });
        None
    });
    replayed.map_err(|why| CliError::failed(why.to_string(), "`aios tasks` lists what there is"))?;
    let mut rows = Vec::new();
    let mut any = false;
    for step in steps.iter().filter(|step| !step.turns.is_empty()) {
        let prompts = match entry(office, step)?.filter(|entry| entry.agent.runtime == Runtime::Model) {
            Some(entry) => prompts(&entry, step),
            None => continue,
        };
        any |= !prompts.is_empty();
        rows.push(json!({
            "step": step.path, "agent": step.agent, "version": step.version,
            "asked": prompts.iter().map(|(digest, request)| json!({"digest": digest, "request": request})).collect::<Vec<_>>(),
        }));
        let mut before: Option<&Request> = None;
        for (digest, request) in &prompts {
            let title = format!("step {}, asked {}", one_line(&step.path), digest.short(SHORT));
            ui.line(ui.paint(Style::Bold, title))?;
            match request {
                Some(request) => {
                    tell(request, before, ui)?;
                    before = Some(request);
                }
                None => ui.line(
                    "  it cannot be made again: this aios asks in other words, or lacks what was told then",
                )?,
            }
        }
    }
    if ui.json() {
        ui.value(&rows)?;
    }
    if !any {
        ui.line("no model was asked in it, or the version of the agent that worked is not here")?;
    }
    Ok(Exit::Done)
}

/// The version of the agent that worked.
fn entry(office: &mut Office, step: &Step) -> Result<Option<Entry>, CliError> {
    let current = office.registry().agents.get(&step.agent).cloned();
    let Some(version) = step.version else { return Ok(current) };
    if let Some(entry) = current.filter(|it| it.version == version) {
        return Ok(Some(entry));
    }
    let past = edition::editions(office.vault_mut(), &step.agent)?;
    Ok(past.into_iter().map(|it| it.entry).find(|it| it.version == version))
}

fn prompts(entry: &Entry, step: &Step) -> Vec<(ContentHash, Option<Request>)> {
    let Ok(input) = entry.agent.take(&step.input) else { return Vec::new() };
    let talk =
        Talk { name: &step.agent, entry, input: &input, outside: false, turns: &step.turns, asker: None };
    talk.prompts()
}

/// Shows what is new in a question after the one before.
fn tell(request: &Request, before: Option<&Request>, ui: &mut Ui) -> Result<(), CliError> {
    let same = before.filter(|it| it.system == request.system);
    let said =
        same.map_or(0, |it| it.messages.iter().zip(&request.messages).take_while(|(a, b)| a == b).count());
    let mut part = |who: &str, text: &str| -> Result<(), CliError> {
        ui.line(format!("  [{who}]"))?;
        text.lines().try_for_each(|line| ui.line(one_line(line)))
    };
    if same.is_none() {
        part("instructions", &request.system)?;
        for tool in &request.tools {
            part("tool", &format!("{}: {}", tool.name, tool.description))?;
        }
    }
    for message in request.messages.iter().skip(said) {
        match message {
            Message::User(text) => part("told", text)?,
            Message::Model { text, calls } => {
                let calls: Vec<String> =
                    calls.iter().map(|call| format!("{} {}", call.name, call.arguments)).collect();
                part("model", [text.as_str(), &calls.join("\n")].join("\n").trim())?;
            }
            Message::Came { name, text, .. } => part(&format!("came of {}", one_line(name)), text)?,
        }
    }
    Ok(())
}
