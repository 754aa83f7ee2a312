//! `aios approve`

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use aios_agents::alike::{Alike, compare};
use aios_agents::draft;
use aios_agents::event::{Content, WorkEvent};
use aios_vault::chance::random;
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::args::ApproveArgs;
use crate::command::consent::{Waiting, no_operator};
use crate::command::tasks::tell;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// Consents to effects.
pub fn run(args: &ApproveArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?;
    // What waits already does not wait for other work that goes on.
    let office = match args.all_like.is_none() && which(args, &office).is_ok() {
        true => office,
        false => office.carry_on()?,
    };
    let waiting = which(args, &office)?;
    if args.edit || args.with.is_some() {
        let [one] = &waiting[..] else {
            return Err(CliError::usage("one effect is changed at a time"));
        };
        return change(args, one.clone(), office, cx, ui);
    }
    if waiting.len() > 1 {
        let contents: Vec<&Content> = waiting.iter().map(|it| &it.content).collect();
        let alike = compare(&contents);
        show(ui, &waiting, &alike)?;
        if !args.yes {
            // Nobody waits for the vault while a person reads.
            drop(office);
            if !meant(ui, waiting.len())? {
                if ui.json() {
                    let keys: Vec<_> = waiting.iter().map(|it| it.key).collect();
                    ui.value(&json!({"waits": keys, "alike": alike}))?;
                }
                return Err(CliError::Unconfirmed {
                    what: format!("nothing was approved: {} wait", count(waiting.len(), "effect")),
                    hint: Some("`--yes` says that all of them are meant".into()),
                });
            }
            return consent(args, &waiting, again(&waiting, Office::open(cx, ui)?.carry_on()?)?, ui);
        }
    }
    consent(args, &waiting, office, ui)
}

/// What the command line names, each once.
fn which(args: &ApproveArgs, office: &Office) -> Result<Vec<Waiting>, CliError> {
    if let Some(id) = &args.all_like {
        let one = Waiting::find(office, id)?;
        let like = office.kernel().like(&one.key);
        return Ok(Waiting::all(office).into_iter().filter(|it| like.contains(&it.key)).collect());
    }
    let mut out: Vec<Waiting> = Vec::new();
    for id in &args.ids {
        let found = Waiting::find(office, id)?;
        if !out.contains(&found) {
            out.push(found);
        }
    }
    Ok(out)
}

/// Makes sure that what was shown is what waits now.
fn again(shown: &[Waiting], office: Office) -> Result<Office, CliError> {
    let now = Waiting::all(&office);
    match shown.iter().find(|it| !now.contains(it)) {
        None => Ok(office),
        Some(gone) => {
            let what = format!("{} does not wait any more, or is another now", gone.what());
            Err(CliError::failed(one_line(&what), "nothing was approved; `aios inbox` lists what waits"))
        }
    }
}

/// Has consent to each recorded, signed and bound to what it sends.
fn consent(args: &ApproveArgs, waiting: &[Waiting], office: Office, ui: &mut Ui) -> Result<Exit, CliError> {
    let Some(operator) = office.vault().operator()? else {
        return Err(no_operator("approve"));
    };
    let vault = office.vault().id();
    let events: Vec<WorkEvent> =
        waiting.iter().map(|it| WorkEvent::approve(it.key, it.digest, &vault, &operator)).collect();
    let what = match waiting {
        [one] => one.what(),
        several => count(several.len(), "effect"),
    };
    let office = office.says(&message(args, format!("Approve {what}")), &events)?;
    for it in waiting {
        ui.line(one_line(&format!("approved {}", it.what())))?;
    }
    let tasks: Vec<&str> = waiting.iter().map(|it| it.task.as_str()).collect();
    tell(ui, &office, &tasks)
}

/// What the log says of it, with why.
fn message(args: &ApproveArgs, what: String) -> String {
    match &args.note {
        Some(note) => format!("{what}: {}", one_line(note)),
        None => what,
    }
}

/// Shows effects side by side.
fn show(ui: &mut Ui, waiting: &[Waiting], alike: &Alike) -> Result<(), CliError> {
    ui.line(format!("{}, the same in all:", count(waiting.len(), "effect")))?;
    for (name, text) in &alike.same {
        ui.line(format!("    {}: {}", one_line(name), one_line(text)))?;
    }
    let head = std::iter::once("id".to_owned()).chain(alike.parts.iter().map(|part| one_line(part)));
    let mut rows: Vec<Vec<String>> = vec![head.collect()];
    for (it, row) in waiting.iter().zip(&alike.rows) {
        let cells = row.iter().map(|cell| one_line(cell));
        rows.push(std::iter::once(it.key.0.short(12).to_string()).chain(cells).collect());
    }
    let wide = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(wide).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        ui.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    ui.flush()
}

/// Asks whether all are meant; nobody is asked where nobody sees it.
fn meant(ui: &mut Ui, number: usize) -> Result<bool, CliError> {
    if ui.json() || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    ui.note(format!("approve all {number}? (y/N)"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|e| CliError::io("read the answer", e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Consents to something else in place of what was proposed.
fn change(
    args: &ApproveArgs,
    one: Waiting,
    office: Office,
    cx: &Context,
    ui: &mut Ui,
) -> Result<Exit, CliError> {
    let (office, text) = match &args.with {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let read = |e| CliError::io(format!("read {}", path.display()), e);
            (office, text.map_err(read)?)
        }
        None => {
            // Nobody waits for the vault while a person writes.
            drop(office);
            let text = edit(&draft::write(&one.content))?;
            (again(std::slice::from_ref(&one), Office::open(cx, ui)?.carry_on()?)?, text)
        }
    };
    if text.trim().is_empty() {
        return Err(CliError::failed("the text is empty", "nothing was approved"));
    }
    let content = draft::read(&text, &one.content).map_err(|mistakes| {
        let first = mistakes.first().map(|it| format!("{}: {}", it.at, it.what)).unwrap_or_default();
        CliError::failed(first, "nothing was approved; `aios preview --draft` writes a text that can be read")
    })?;
    if content == one.content {
        let hint = format!("`aios approve {}` consents to it as it is", one.key.0.short(12));
        return Err(CliError::failed("nothing was changed, and nothing approved", hint));
    }
    let Some(operator) = office.vault().operator()? else {
        return Err(no_operator("approve"));
    };
    let proposed = office.kernel().tables().effect(&one.key).and_then(|effect| effect.proposed.as_ref());
    let generation = proposed.map_or(0, |proposed| proposed.generation);
    let what = format!("{} to {}", content.capability, content.target);
    let event =
        WorkEvent::edit(&one.task, &one.step, generation, content.clone(), &office.vault().id(), &operator);
    let WorkEvent::ApprovalEdited { key, .. } = &event else {
        return Err(CliError::failed("a change is no change", "report this"));
    };
    let key = *key;
    office.preview(key, &content).map_err(|failure| {
        CliError::failed(format!("that could not be sent: {failure}"), "nothing was approved")
    })?;
    let office = office.says(&message(args, format!("Approve {what}, changed")), &[event])?;
    let id = ui.paint(Style::Yellow, key.0.short(12));
    ui.line(format!("approved {}, changed: its id is {id}", one_line(&what)))?;
    tell(ui, &office, &[&one.task])
}

/// Has a person change a text in their editor.
fn edit(text: &str) -> Result<String, CliError> {
    let named = ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok());
    let Some(editor) = named.filter(|name| !name.trim().is_empty()) else {
        let hint = "set EDITOR, or write a text with `aios preview --draft` and give it with `--with`";
        return Err(CliError::failed("no editor is named", hint));
    };
    let path = std::env::temp_dir().join(format!("aios-{}.md", HEXLOWER.encode(&random()?)));
    let write = |path: &Path| -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write(&path).map_err(|e| CliError::io(format!("write {}", path.display()), e))?;
    // As git does: the editor may be a command with options.
    let script = format!("{editor} \"$@\"");
    let ended = Command::new("sh").arg("-c").arg(script).arg(&editor).arg(&path).status();
    let read = std::fs::read_to_string(&path);
    let _ = std::fs::remove_file(&path);
    match ended {
        Ok(status) if status.success() => {
            read.map_err(|e| CliError::io(format!("read {}", path.display()), e))
        }
        Ok(status) => {
            Err(CliError::failed(format!("the editor ended with {status}"), "nothing was approved"))
        }
        Err(e) => Err(CliError::io(format!("start {editor}"), e)),
    }
}
