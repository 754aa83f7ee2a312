//! `aios agents test`: what an agent's file as it is now gives for its examples, and for what it was given before.

use std::fmt::Write as _;

use aios_agents::agent::{Edition, Entry, Example, File, Registry, Runtime, Turn};
use aios_agents::event::{Outcome, WorkEvent};
use aios_agents::kernel::Episode;
use aios_agents::workflow::rehearsal;
use aios_core::id::ContentHash;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::audit::text_diff;
use aios_vault::chance::random;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::args::TestArgs;
use crate::command::consent::no_operator;
use crate::command::{release, written};
use crate::context::Context;
use crate::edition;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report::{self, count};
use crate::staff;
use crate::ui::{Style, Ui, one_line};

/// How much of a version is shown to people.
const SHORT: usize = 12;

/// What it is tried on.
enum Case {
    Example(Example),
    Episode(Episode),
}

/// What came of a case.
struct Came {
    /// What was given, or how it failed.
    gave: Result<Value, String>,
    /// What happened on the way.
    turns: Vec<Turn>,
    /// The task, where it was one.
    task: Option<String>,
    /// Whether it is over.
    over: bool,
}

/// Tries an agent.
pub fn run(args: &TestArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let name = &args.name;
    // What is tried is what is saved: it is in the log before anything is said of it.
    let mut vault = cx.open()?;
    let absorbed = vault.absorb(&AbsorbOptions::default(), &mut ui.progress())?;
    vault.finish(absorbed, &mut ui.progress())?;
    drop(vault);
    let entry = saved(name, cx)?;
    let mut office = Office::open(cx, ui)?;
    let against = against(&mut office, args)?;
    let mut cases: Vec<Case> = entry.agent.examples.iter().cloned().map(Case::Example).collect();
    let episodes = office.kernel().episodes(name, against.as_ref(), args.last);
    cases.extend(episodes.into_iter().map(Case::Episode));
    let lacks: Vec<String> =
        entry.agent.effects.iter().flatten().filter(|it| !office.kernel().can(it)).cloned().collect();
    let released = release::choice(&office, name);
    let current = office.registry().agents.get(name);
    let works = current.is_some_and(|it| it.version == entry.version)
        || released.editions().any(|it| it.version == entry.version);
    if !works {
        for without in entry.agent.clone().within(current.map(|it| &it.agent)).1 {
            ui.note(format!("goes without `{}` before it is accepted", one_line(&without)));
        }
        let model = current.map(|it| &it.agent.model).filter(|model| **model != entry.agent.model);
        if let Some(model) = model.filter(|_| entry.agent.runtime == Runtime::Model) {
            ui.note(format!("asks `{}`, and `{model}` works now", entry.agent.model));
        }
    }
    let came = match entry.agent.runtime {
        Runtime::Template => cases.iter().map(|case| at_once(name, &entry, case)).collect(),
        _ => rehearse(office, name, &entry, &cases)?,
    };
    tell(name, &entry, against.as_ref(), &cases, &came, &lacks, ui)
}

/// The agent as its file is now.
fn saved(name: &str, cx: &Context) -> Result<Entry, CliError> {
    let files = written::files(cx, &[], "agents")?;
    let unread = files.iter().any(|file| file.unread.is_some() && file.name() == name);
    let files: Vec<File> = files
        .into_iter()
        .filter(|file| file.unread.is_none())
        .map(|file| File {
            name: file.name(),
            path: file.path,
            version: ContentHash::of(file.text.as_bytes()),
            text: file.text,
        })
        .chain(written::components(cx)?.into_iter().map(|(file, _)| file))
        .collect();
    let (mut registry, wrong) = Registry::of(&files);
    registry.agents.remove(name).ok_or_else(|| {
        let mistaken = unread || wrong.iter().any(|(path, _)| written::stem(path) == name);
        match mistaken {
            true => CliError::failed(
                format!("the file of agent `{}` has mistakes", one_line(name)),
                "`aios agents check` names them",
            ),
            false => CliError::failed(
                format!("there is no agent `{}`", one_line(name)),
                "it is a file in `agents`",
            ),
        }
    })
}

/// The version whose work is done once more: the one that is named, else the one that works now.
fn against(office: &mut Office, args: &TestArgs) -> Result<Option<ContentHash>, CliError> {
    let Some(prefix) = &args.against else {
        let now = release::choice(office, &args.name);
        let released = now.editions().next().map(|edition| edition.version);
        let accepted = office.registry().agents.get(&args.name).map(|entry| entry.version);
        return Ok(released.or(accepted));
    };
    let editions = edition::editions(office.vault_mut(), &args.name)?;
    let found = edition::of_version(&editions, prefix).map(|it| it.entry.version);
    let what = || {
        format!(
            "no one version of agent `{}` that was in force begins with `{}`",
            one_line(&args.name),
            one_line(prefix)
        )
    };
    found.map(Some).ok_or_else(|| CliError::failed(what(), "`aios agents show NAME` lists them"))
}

fn input(case: &Case) -> &Value {
    match case {
        Case::Example(example) => &example.input,
        Case::Episode(episode) => &episode.input,
    }
}

/// What a template gives: nothing outside is asked, and nothing is recorded.
fn at_once(name: &str, entry: &Entry, case: &Case) -> Came {
    let gave = staff::again(None, entry, name, input(case), &[]);
    let gave = gave.unwrap_or(Ok(Value::Null)).map_err(|failure| failure.to_string());
    Came { gave, turns: Vec::new(), task: None, over: true }
}

/// Has it rehearse each case, as a task.
fn rehearse(office: Office, name: &str, entry: &Entry, cases: &[Case]) -> Result<Vec<Came>, CliError> {
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let Some(operator) = office.vault().operator()? else {
        return Err(no_operator("have an agent rehearse"));
    };
    let (vault, nonce) = (office.vault().id(), HEXLOWER.encode(&random()?[..4]));
    let edition = Edition::of(entry);
    let mut tasks = Vec::new();
    let mut events = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let task = format!("rehearsal-{nonce}-{}", n + 1);
        let past = match case {
            Case::Example(_) => None,
            Case::Episode(episode) => Some((episode.task.clone(), episode.step.clone())),
        };
        events.push(WorkEvent::rehearse(
            &task,
            name,
            edition.clone(),
            input(case).clone(),
            past,
            &vault,
            &operator,
        ));
        tasks.push(task);
    }
    let mut office = office.says(&format!("Rehearse {}", one_line(name)), &events)?;
    let open = |office: &Office| {
        tasks.iter().any(|task| !ended(office, task) && !office.kernel().is_waited_for(task))
    };
    // A model in the daemon takes its time.
    while open(&office) && office.is_at_work() {
        office = office.carry_on_with(&tasks)?;
    }
    Ok(tasks.iter().map(|task| came(&office, task)).collect())
}

fn ended(office: &Office, task: &str) -> bool {
    office.kernel().tables().task(task).is_some_and(|task| task.ended.is_some())
}

fn came(office: &Office, task: &str) -> Came {
    let found = office.kernel().tables().task(task);
    let run = found.and_then(|it| it.runs.values().next());
    let turns = run.and_then(|run| run.steps.get(rehearsal::STEP)).map(|state| state.turns.clone());
    let gave = match found.and_then(|it| it.ended.as_ref()) {
        Some((_, Outcome::Done, result)) => Ok(result.clone()),
        Some((_, _, result)) => {
            let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            Err(format!("{}: {}", text("class"), text("what")))
        }
        None => Err("it is not over".to_owned()),
    };
    Came { gave, turns: turns.unwrap_or_default(), task: Some(task.to_owned()), over: ended(office, task) }
}

/// What is wrong with a case; nothing where it is as it was, or as it should be.
fn wrong(case: &Case, came: &Came) -> Option<String> {
    let gave = match &came.gave {
        Err(failure) => return Some(failure.clone()),
        Ok(gave) => gave,
    };
    match case {
        Case::Example(Example { output: Some(output), .. }) if output != gave => {
            Some("it gives something else than the example".to_owned())
        }
        Case::Episode(episode) if episode.result != *gave => {
            Some("it gives something else than it did".to_owned())
        }
        Case::Episode(episode) if script(&episode.turns, None) != script(&came.turns, None) => {
            Some("it gives what it did, by another way".to_owned())
        }
        _ => None,
    }
}

/// What happened in a piece of work, a line for each thing that was asked for, and what came out.
fn script(turns: &[Turn], gave: Option<&Value>) -> String {
    let mut out = String::new();
    for turn in turns {
        if let Turn::Answered { answer, .. } = turn.innermost() {
            for call in &answer.calls {
                let arguments = serde_json::from_str::<Value>(&call.arguments);
                let arguments = arguments.map_or_else(|_| call.arguments.clone(), |it| it.to_string());
                let _ = writeln!(out, "calls {} {arguments}", call.name);
            }
        }
    }
    if let Some(gave) = gave {
        let plain = gave
            .get("text")
            .and_then(Value::as_str)
            .filter(|_| gave.as_object().is_some_and(|it| it.len() == 1));
        let text = plain.map_or_else(|| format!("{gave:#}"), str::to_owned);
        let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    }
    out
}

fn tell(
    name: &str,
    entry: &Entry,
    against: Option<&ContentHash>,
    cases: &[Case],
    came: &[Came],
    lacks: &[String],
    ui: &mut Ui,
) -> Result<Exit, CliError> {
    let mut rows = (Vec::new(), Vec::new());
    let (mut differ, mut open) = (0, 0);
    for (n, (case, came)) in cases.iter().zip(came).enumerate() {
        let wrong = wrong(case, came);
        open += usize::from(!came.over);
        differ += usize::from(wrong.is_some() && came.over);
        let (gave, failure) = (came.gave.as_ref().ok(), came.gave.as_ref().err());
        let (what, before, task) = match case {
            Case::Example(example) => {
                let row = json!({
                    "input": example.input, "expected": example.output, "gave": gave, "failure": failure,
                    "ok": wrong.is_none(), "what": wrong, "task": came.task,
                });
                rows.0.push(row);
                (
                    format!("example {}", n + 1),
                    example.output.as_ref().map(|output| script(&[], Some(output))),
                    None,
                )
            }
            Case::Episode(episode) => {
                let (then, now) = (script(&episode.turns, None), script(&came.turns, None));
                let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
                let row = json!({
                    "of": episode.task, "step": episode.step, "input": episode.input, "gave_then": episode.result,
                    "gave": gave, "failure": failure, "ok": wrong.is_none(), "what": wrong, "task": came.task,
                    "calls_then": lines(&then), "calls": lines(&now),
                });
                rows.1.push(row);
                let path = format!("{}/{}", episode.task, episode.step);
                (
                    format!("step {} of task {}", episode.step, episode.task),
                    Some(script(&episode.turns, Some(&episode.result))),
                    Some(path),
                )
            }
        };
        let (word, style) = match (&wrong, came.over) {
            (None, _) => ("ok", Style::Green),
            (Some(_), false) => ("open", Style::Yellow),
            (Some(_), true) => ("differs", Style::Red),
        };
        let why = wrong.as_deref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
        ui.line(format!("{} {}{why}", ui.paint(style, word), one_line(&what)))?;
        if let (Some(_), Some(before), Ok(gave)) = (&wrong, before, &came.gave) {
            let turns = if task.is_some() { &came.turns[..] } else { &[] };
            let diff = text_diff(&task.unwrap_or(what), Some(&before), Some(&script(turns, Some(gave))));
            report::patch(ui, &diff)?;
        }
    }
    for capability in lacks {
        ui.line(format!("{} no connector can `{}`", ui.paint(Style::Red, "lacks"), one_line(capability)))?;
    }
    let ok = differ == 0 && open == 0 && lacks.is_empty();
    if ui.json() {
        ui.value(&json!({
            "agent": name, "version": entry.version, "against": against, "ok": ok,
            "examples": rows.0, "episodes": rows.1, "lacks": lacks,
        }))?;
    }
    let version = entry.version.short(SHORT);
    let tried = format!("{} and {}", count(rows.0.len(), "example"), count(rows.1.len(), "episode"));
    let summary = match (differ, open) {
        (0, 0) => "nothing differs".to_owned(),
        (differ, 0) => format!("{differ} differ"),
        (differ, open) => format!("{differ} differ, {open} not over"),
    };
    ui.line(format!("{} {version}: {tried}, {summary}", one_line(name)))?;
    Ok(match (ok, open) {
        (true, _) => Exit::Done,
        (false, 0) => Exit::Findings,
        (false, _) => Exit::Unconfirmed,
    })
}
