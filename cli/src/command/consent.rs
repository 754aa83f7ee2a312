//! `aios approve`, `aios deny` and `aios answer`

use aios_agents::event::WorkEvent;
use aios_agents::kernel::Need;

use crate::args::{AnswerArgs, ApproveArgs, DenyArgs};
use crate::command::tasks::{find, tell};
use crate::context::Context;
use crate::desk::Desk;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Consents to an effect.
pub fn approve(args: &ApproveArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut desk = Desk::open(cx, ui)?;
    desk.carry_on()?;
    let (key, digest, task, what) = waiting(&desk, &args.id)?;
    let Some(operator) = desk.vault().operator()? else {
        return Err(CliError::failed(
            "this device has no operator key",
            "approve on one that is a laptop or a phone",
        ));
    };
    let event = WorkEvent::approve(key, digest, &desk.vault().id(), &operator);
    desk.says(&format!("Approve {what}"), &event)?;
    ui.line(format!("approved {what}"))?;
    tell(ui, &desk, Some(&task))
}

/// Refuses an effect.
pub fn deny(args: &DenyArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut desk = Desk::open(cx, ui)?;
    desk.carry_on()?;
    let (key, _, task, what) = waiting(&desk, &args.id)?;
    desk.says(&format!("Deny {what}"), &WorkEvent::ApprovalDenied { key, note: args.note.clone() })?;
    ui.line(format!("denied {what}"))?;
    tell(ui, &desk, Some(&task))?;
    Ok(Exit::Done)
}

/// Answers a question.
pub fn answer(args: &AnswerArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut desk = Desk::open(cx, ui)?;
    desk.carry_on()?;
    let task = find(&desk, &args.id)?;
    let asked = desk.kernel().inbox().into_iter().find_map(|need| match need {
        Need::Question { task: asking, step, choices, .. } if *asking == task => {
            Some((step.clone(), choices.clone()))
        }
        _ => None,
    });
    let Some((step, choices)) = asked else {
        return Err(CliError::usage(format!("task {task} asks nothing")));
    };
    if !choices.is_empty() && !choices.contains(&args.answer) {
        return Err(CliError::usage(format!("the answer is one of {}", choices.join(", "))));
    }
    let event = WorkEvent::QuestionAnswered { task: task.clone(), step, answer: args.answer.clone() };
    desk.says(&format!("Answer task {task}"), &event)?;
    tell(ui, &desk, Some(&task))
}

type Waiting = (aios_agents::event::EffectKey, aios_core::id::ContentHash, String, String);

/// The effect that asks for consent and whose id begins like that.
fn waiting(desk: &Desk, prefix: &str) -> Result<Waiting, CliError> {
    let inbox = desk.kernel().inbox();
    let mut found = inbox.into_iter().filter_map(|need| match need {
        Need::Approval { key, digest, task, content, .. } if key.0.hex().starts_with(prefix) => {
            Some((*key, *digest, task.clone(), format!("{} to {}", content.capability, content.target)))
        }
        _ => None,
    });
    match (found.next(), found.next()) {
        (Some(waiting), None) => Ok(waiting),
        (Some(_), Some(_)) => Err(CliError::usage(format!("several effects begin with `{prefix}`"))),
        (None, _) => Err(CliError::Usage {
            what: format!("no effect that waits begins with `{prefix}`"),
            hint: Some("`aios inbox` lists them".into()),
        }),
    }
}
