//! `aios task show`

use aios_agents::agent::batch::Stage;
use aios_agents::agent::{Batched, TEMPLATE, Turn};
use aios_agents::component::ANSWERS;
use aios_agents::kernel::{Cost, Deed, Packet, Told};
use aios_agents::table::{Attempt, Refusal};
use aios_vault::audit::time;
use serde_json::json;

use crate::command::tasks::{stand, why};
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// Says all that is known of a task; changes nothing.
pub fn show(office: &mut Office, task: &str, ui: &mut Ui) -> Result<Exit, CliError> {
    office.look();
    let Some(packet) = office.kernel().packet(task) else {
        return Err(CliError::usage(format!("there is no task {task}")));
    };
    let (state, _) = stand(office, task);
    let members = office.vault().members();
    let device = packet.device.map(|device| members.name(&device));
    if ui.json() {
        let mut value = serde_json::to_value(&packet).unwrap_or_default();
        value["state"] = state.into();
        value["device"] = json!(device);
        ui.value(&value)?;
        return Ok(Exit::Done);
    }
    for line in lines(ui, &packet, state, device.as_deref()) {
        ui.line(line)?;
    }
    Ok(Exit::Done)
}

fn lines(ui: &Ui, packet: &Packet, state: &str, device: Option<&str>) -> Vec<String> {
    let style = match state {
        "done" => Style::Green,
        "failed" | "stuck" => Style::Red,
        _ => Style::Yellow,
    };
    let title = packet.title.as_ref().map(|title| format!(", {}", one_line(title))).unwrap_or_default();
    let (task, workflow) = (one_line(&packet.task), one_line(&packet.workflow));
    let mut out = vec![format!("task {task} {workflow}{title}: {}", ui.paint(style, state))];
    let mut say = |text: String| out.push(format!("    {}", one_line(&text)));
    if let Some(dead) = &packet.dead {
        say(format!("wanted: {}", dead.wanted));
        say(format!("happened: {}", dead.failure));
    }
    let by = packet.trigger.as_ref().map(|fired| format!(", {}", why(fired))).unwrap_or_default();
    let on = device.map(|device| format!(", on {device}")).unwrap_or_default();
    say(format!("since {}{by}{on}", time(packet.made)));
    say(format!("given {}", packet.input));
    for kin in &packet.above {
        say(format!("part of task {}, step {}", kin.task, kin.step));
    }
    for kin in &packet.below {
        let workflow = kin.workflow.as_deref().unwrap_or_default();
        say(format!("step {} started task {} {workflow}", kin.step, kin.task));
    }
    packet.steps.iter().for_each(|step| told(step, &mut say));
    say(cost(&packet.cost));
    if let Some((_, result)) = &packet.ended {
        say(format!("gave {result}"));
    }
    packet.next.iter().for_each(|command| say(command.clone()));
    out
}

fn told(step: &Told, say: &mut impl FnMut(String)) {
    let attempts = if step.attempts > 1 { format!(", attempt {}", step.attempts) } else { String::new() };
    say(format!("{} step {}: {}{attempts}", time(step.began), step.step, step.state.replace('-', " ")));
    for Deed { key, content, state, why, refused, too_late } in &step.effects {
        let amount = content.amount.map(|amount| format!(", {amount}")).unwrap_or_default();
        let why = why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        let state = state.replace('-', " ");
        say(format!(
            "{} {} to {}{amount}: {state}{why}",
            key.0.short(12),
            content.capability,
            content.target
        ));
        if let Some(Refusal { note, at, changed }) = refused {
            let late = too_late.map(|began| format!(", too late: it had begun at {}", time(began)));
            let word = if *changed { "changed" } else { "denied" };
            say(format!("{} {word}{}: {note}", time(*at), late.unwrap_or_default()));
        }
    }
    for turn in &step.turns {
        took(turn, 1, say);
    }
    if step.state == "begun"
        && let Some(Turn::Batched(batched)) = step.turns.last()
        && let Some(text) = waits(batched)
    {
        say(text);
    }
    for Attempt { number, at, failure } in &step.failed {
        say(format!("attempt {number} failed at {}: {failure}", time(*at)));
    }
}

/// The longest that is shown of what came of a call; all of it stands in `--json`.
const MOST_SHOWN: usize = 200;

/// What happened in an agent's work with a model; `depth` says for how many others it works.
fn took(turn: &Turn, depth: usize, say: &mut impl FnMut(String)) {
    let indent = "> ".repeat(depth);
    let short = |text: &str| match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    };
    match turn {
        Turn::Answered { model, answer, counted, cost, kept, .. } => {
            let took = match kept {
                true => "answered this before, nothing was asked".to_owned(),
                false => format!("{} tokens in, {} out, cost {cost}", counted.input, counted.output),
            };
            // A component is asked for nothing.
            if model == TEMPLATE {
                say(format!("{indent}works from its template, no model is set up"));
            } else if model != ANSWERS {
                say(format!("{indent}{model}: {took}"));
            }
            if !answer.text.trim().is_empty() {
                say(format!("{indent}says {}", short(answer.text.trim())));
            }
            for call in &answer.calls {
                say(format!("{indent}calls {} {}", call.name, short(&call.arguments)));
            }
        }
        Turn::Summarised { cut, model, answer, counted, cost, .. } => {
            let (input, output) = (counted.input, counted.output);
            say(format!("{indent}{model}: {input} tokens in, {output} out, cost {cost}"));
            let text = short(answer.text.trim());
            say(format!(
                "{indent}sums up what became too long, the first {}: {text}",
                count(cut.exchanges, "answer")
            ));
        }
        Turn::Batched(batched) => match &batched.stage {
            Stage::Queued => say(format!("{indent}asks {} by batch", batched.model)),
            Stage::Sent { batch } => say(format!("{indent}is in batch {batch}")),
            Stage::Left { why } => say(format!("{indent}asks directly: {why}")),
        },
        Turn::Wants { content, .. } => {
            say(format!("{indent}wants {} to {}", content.capability, content.target));
        }
        Turn::Asks { question, .. } => say(format!("{indent}asks the operator: {question}")),
        Turn::Came { text, untrusted, .. } => {
            let outside = if *untrusted { ", from outside" } else { "" };
            say(format!("{indent}came{outside}: {}", short(text)));
        }
        Turn::Within { took: inner, .. } => took(inner, depth + 1, say),
    }
}

/// What is waited for of a batch.
fn waits(batched: &Batched) -> Option<String> {
    let since = time(batched.since);
    match (&batched.stage, batched.line()) {
        (Stage::Sent { batch }, Some((provider, _))) => {
            Some(format!("waits for batch {batch} at {provider} since {since}"))
        }
        (Stage::Queued, Some((provider, _))) => Some(format!("waits to be sent to {provider} since {since}")),
        _ => None,
    }
}

/// What a task cost, in a line.
pub fn cost(cost: &Cost) -> String {
    let held = if cost.held.0 > 0 { format!(", {} held", cost.held) } else { String::new() };
    format!("cost so far: {}, {}{held}", count(cost.effects, "effect"), cost.spent)
}
