//! `aios inbox`

use aios_agents::kernel::{Habit, Need};
use aios_core::id::DeviceId;
use aios_vault::survey::Problem;
use serde_json::json;

use crate::args::InboxArgs;
use crate::command::{packet, written};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::matter::{Matter, Own, matters};
use crate::office::Office;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// Lists what needs the operator; changes nothing.
pub fn run(_: &InboxArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    office.look();
    let needs = office.needs();
    let mut status = office.vault_mut().status(&mut ui.progress())?;
    status.problems.extend(written::wrong_in_force(office.vault_mut())?);
    let matters = matters(&status, office.vault_mut().conflicts()?, needs);
    let habits = office.kernel().habits();
    if ui.json() {
        let suggest = |habit: &Habit| json!({"need": "suggestion", "habit": habit});
        let matters = matters.iter().map(|matter| json!(matter));
        ui.value(&matters.chain(habits.iter().map(suggest)).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if matters.is_empty() {
        ui.line("nothing needs you")?;
    }
    for matter in &matters {
        let lines = match matter {
            Matter::Work(need) => lines(ui, &office, need),
            Matter::Vault(own) => own_lines(ui, own),
        };
        for line in lines {
            ui.line(line)?;
        }
    }
    for habit in &habits {
        let Habit { capability, workflow, step, target, times, .. } = habit;
        let what = format!("{capability} to {target} by step {step} of workflow {workflow}");
        ui.line(format!(
            "{} you approved the last {times} as they were: {}",
            ui.paint(Style::Cyan, "suggestion"),
            one_line(&what)
        ))?;
        ui.line("    this rule in a file in `policies`, once you `aios accept` it, allows the next one:")?;
        ui.line(format!("    {}", one_line(&habit.rule)))?;
    }
    Ok(Exit::Done)
}

fn own_lines(ui: &Ui, own: &Own) -> Vec<String> {
    match own {
        Own::Conflict(conflict) => vec![
            format!(
                "{} in {} {}",
                ui.paint(Style::Yellow, "conflict"),
                one_line(&conflict.path),
                conflict.key.as_deref().map(one_line).unwrap_or_default()
            )
            .trim_end()
            .to_owned(),
            "    aios conflicts".to_owned(),
        ],
        Own::Accept { path } => vec![
            format!("{} {} is not in force as it is now", ui.paint(Style::Yellow, "accept"), one_line(path)),
            "    aios accept".to_owned(),
        ],
        Own::Problem(Problem { path, problem, hint }) => {
            let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
            let mut out = vec![format!(
                "{} {}",
                ui.paint(Style::Yellow, "problem"),
                one_line(&format!("{at}{problem}"))
            )];
            out.extend(
                Some(hint).filter(|hint| !hint.is_empty()).map(|hint| format!("    {}", one_line(hint))),
            );
            out
        }
    }
}

fn settle(id: &str) -> String {
    format!("    aios settle {id} --done, or aios settle {id} --not-done")
}

fn lines(ui: &Ui, office: &Office, need: &Need) -> Vec<String> {
    let elsewhere = |device: &DeviceId| {
        let name = office.vault().members().name(device);
        (*device != office.vault().device()).then(|| one_line(&name))
    };
    let on = |device: &DeviceId| elsewhere(device).map(|name| format!(", on {name}")).unwrap_or_default();
    let place = |task: &str, step: &str| one_line(&format!("step {step} of task {task}"));
    match need {
        Need::Approval { key, device, task, step, content, why, louder, .. } => {
            let id = ui.paint(Style::Yellow, key.0.short(12));
            let amount = content.amount.map(|amount| format!(", {amount}")).unwrap_or_default();
            let mut out = vec![
                format!("{id} {} to {}{amount}", content.capability, one_line(&content.target)),
                format!("    {}{}; {}", place(task, step), on(device), one_line(why)),
            ];
            if let Some(louder) = louder {
                out.insert(0, format!("{} {}", ui.paint(Style::Red, "urgent"), one_line(louder)));
            }
            out.push(format!("    sends {}", one_line(&content.args.to_string())));
            out.push(format!("    aios approve {0}, or aios deny {0} --note WHY", key.0.short(12)));
            out
        }
        Need::Unknown { key, device, task, step, content, check, .. } => vec![
            format!(
                "{} {} to {} may have happened, or not",
                ui.paint(Style::Red, key.0.short(12)),
                content.capability,
                one_line(&content.target)
            ),
            format!("    {}{}; its id is {}", place(task, step), on(device), key.0.hex()),
            match elsewhere(device) {
                Some(name) => format!("    `aios inbox` on {name} says where to look"),
                None => format!("    {}", one_line(check)),
            },
            settle(&key.0.short(12)),
        ],
        Need::Lost { key, at, what, .. } => vec![
            format!(
                "{} {} was begun at {}, and the log here does not know it: was the vault restored from an older copy?",
                ui.paint(Style::Red, key.0.short(12)),
                one_line(what),
                aios_vault::audit::time(*at)
            ),
            "    nothing goes out before it does: `aios sync` with a device or remote that has more".into(),
            format!("    where none has, look whether it happened; its id is {}", key.0.hex()),
            settle(&key.0.short(12)),
        ],
        Need::Dead { task, step, wanted, failure, attempts, failed, cost, next, .. } => {
            let since =
                failed.first().map(|first| format!(", first at {}", aios_vault::audit::time(first.at)));
            let tried = format!("tried {}{}", count(*attempts, "time"), since.unwrap_or_default());
            let mut out = vec![
                format!("{} {}", ui.paint(Style::Red, "stuck"), place(task, step)),
                format!("    wanted: {}", one_line(wanted)),
                format!("    {}", one_line(&failure.to_string())),
                format!("    {tried}; {}", packet::cost(cost)),
            ];
            out.extend(next.iter().map(|command| format!("    {}", one_line(command))));
            out
        }
        Need::Refused { key, device, task, step, content, note, at, changed, began, done, next } => {
            let word = if *changed { "changed" } else { "denied" };
            let went = if *done { "it had gone out" } else { "it had begun" };
            let mut out = vec![
                format!(
                    "{} {} to {} was {word}, and {went} at {}{}",
                    ui.paint(Style::Red, key.0.short(12)),
                    content.capability,
                    one_line(&content.target),
                    aios_vault::audit::time(*began),
                    on(device)
                ),
                format!(
                    "    {}; {word} at {}: {}",
                    place(task, step),
                    aios_vault::audit::time(*at),
                    one_line(note)
                ),
            ];
            if *done {
                out.push("    what can be taken back, and that you have taken note of it:".into());
            }
            out.extend(next.iter().map(|command| format!("    {}", one_line(command))));
            out
        }
        Need::Question { task, step, question, choices, .. } => {
            let choices = match choices.is_empty() {
                true => String::new(),
                false => format!(" ({})", one_line(&choices.join(", "))),
            };
            vec![
                format!("{} {}{choices}", ui.paint(Style::Yellow, "question"), one_line(question)),
                format!("    {}; aios answer {} ANSWER", place(task, step), one_line(task)),
            ]
        }
        Need::Elsewhere { task, step, capability, device, .. } => vec![
            format!(
                "{} {capability} happens on {}, which is no member any more",
                ui.paint(Style::Red, "gone"),
                one_line(&office.vault().members().name(device))
            ),
            format!("    {}; aios connector home {capability}", place(task, step)),
        ],
        Need::Later { task, step, until, why } => vec![format!(
            "{} until {}: {}; {}",
            ui.paint(Style::Dim, "later"),
            aios_vault::audit::time(*until),
            place(task, step),
            one_line(why)
        )],
        Need::Worse { agent, why, .. } => vec![
            format!(
                "{} the new version of agent {} has no more tasks: {}",
                ui.paint(Style::Red, "worse"),
                one_line(agent),
                one_line(why)
            ),
            format!("    aios agents show {}", one_line(agent)),
            format!(
                "    aios agents rollback {0} stays with the old one; aios agents canary {0} 10% tries the new one again",
                one_line(agent)
            ),
        ],
        Need::Unfit { workflow, what } => {
            vec![format!(
                "{} workflow {}: {}",
                ui.paint(Style::Yellow, "unfit"),
                one_line(workflow),
                one_line(what)
            )]
        }
        Need::Missing { task, what } => {
            vec![format!(
                "{} task {}: {}",
                ui.paint(Style::Yellow, "missing"),
                one_line(task),
                one_line(what)
            )]
        }
    }
}
