//! `aios deny`, `aios settle` and `aios answer`

use std::time::Duration;

use aios_agents::event::{Content, EffectKey, WorkEvent};
use aios_agents::kernel::{Kernel, Need};
use aios_agents::table::{Effect, Stand};
use aios_core::id::ContentHash;

use crate::args::{AnswerArgs, DenyArgs, SettleArgs};
use crate::command::tasks::{find, tell};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Ui, one_line};

/// Refuses an effect.
pub fn deny(args: &DenyArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?.carry_on()?;
    let waiting =
        Waiting::find(&office, &args.id).map_err(|none| begun(&office, &args.id).unwrap_or(none))?;
    let (key, what) = (waiting.key, waiting.what());
    let denied = WorkEvent::ApprovalDenied { key, note: args.note.clone() };
    let office = office.says(&format!("Deny {what}"), &[denied])?;
    let office = office.wait_while(CONFIRMED, |kernel| !is_certain(kernel, &key))?;
    ui.line(one_line(&format!("denied {what}")))?;
    tell(ui, &office, &[&waiting.task])?;
    match unconfirmed(&office, &key, &what) {
        Some(why) => Err(why),
        None => Ok(Exit::Done),
    }
}

/// How long the device where an effect happens may take to say that it will not, where a daemon would hear of it.
const CONFIRMED: Duration = Duration::from_secs(5);

/// Whether it is known what becomes of an effect that was denied.
fn is_certain(kernel: &Kernel, key: &EffectKey) -> bool {
    kernel.tables().effect(key).is_some_and(|effect| match effect.stand() {
        Stand::Denied(_) => effect.is_closed(),
        stand => matches!(stand, Stand::Done(_)),
    })
}

/// Why a denial is not known to hold: what it is about had begun, or may have where such things happen.
fn unconfirmed(office: &Office, key: &EffectKey, what: &str) -> Option<CliError> {
    let effect = office.kernel().tables().effect(key)?;
    let id = key.0.short(12);
    if let Stand::Denied(_) = effect.stand() {
        let capability = &effect.proposed.as_ref()?.content.capability;
        let home = office.kernel().tables().homes().now(capability);
        let home = home.or_else(|| effect.proposed.as_ref().map(|it| it.device))?;
        return (!effect.is_closed()).then(|| CliError::Unconfirmed {
            what: one_line(&format!(
                "{what} happens on {}, which has not confirmed the denial: it may have gone out",
                office.vault().members().name(&home)
            )),
            hint: Some("after `aios sync`, `aios inbox` says so if it had".into()),
        });
    }
    went(office, effect, what, &id)
}

/// That an effect had gone out, or begun to.
fn went(office: &Office, effect: &Effect, what: &str, id: &str) -> Option<CliError> {
    let begun = effect.intent?;
    let (at, name) = (aios_vault::audit::time(begun.at), office.vault().members().name(&begun.device));
    let task = &effect.proposed.as_ref()?.task;
    match effect.stand() {
        Stand::Done(_) => Some(CliError::failed(
            one_line(&format!("too late: {what} went at {at}, on {name}")),
            format!("`aios undo --run {task}` says what can be taken back"),
        )),
        Stand::Performing(_) | Stand::Unknown(_) => Some(CliError::Unconfirmed {
            what: one_line(&format!(
                "too late to keep it from beginning: {what} began at {at}, on {name}, and what came of it is not known"
            )),
            hint: Some(format!("`aios inbox` tells when that is known; its id is {id}")),
        }),
        _ => None,
    }
}

/// What waits no more because it has begun.
fn begun(office: &Office, prefix: &str) -> Option<CliError> {
    let tables = office.kernel().tables();
    let mut found = tables.effects_like(prefix);
    let (Some(key), None) = (found.next(), found.next()) else { return None };
    let effect = tables.effect(&key)?;
    let content = &effect.proposed.as_ref()?.content;
    went(office, effect, &format!("{} to {}", content.capability, content.target), &key.0.short(12))
}

/// Says what came of an effect of which nobody knew it.
pub fn settle(args: &SettleArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?.carry_on()?;
    let mut found = office.needs().into_iter().filter_map(|need| match need {
        Need::Unknown { key, attempt, task, content, .. } if key.0.hex().starts_with(&args.id) => {
            let what = format!("{} to {}", content.capability, content.target);
            Some((key, attempt, Some(task), what))
        }
        Need::Refused { key, task, content, done: true, .. } if key.0.hex().starts_with(&args.id) => {
            let what = format!("{} to {}", content.capability, content.target);
            let effect = office.kernel().tables().effect(&key)?;
            Some((key, effect.intent?.attempt, Some(task), what))
        }
        Need::Lost { key, attempt, what, .. } if key.0.hex().starts_with(&args.id) => {
            Some((key, attempt, None, what))
        }
        _ => None,
    });
    let (key, attempt, task, what) = one(&args.id, found.next(), found.next())?;
    if !args.done && matches!(office.kernel().tables().effect(&key).map(Effect::stand), Some(Stand::Done(_)))
    {
        let hint = format!("`aios settle {} --done` takes note of it", key.0.short(12));
        return Err(CliError::failed(
            one_line(&format!("{what} happened: the log has what came of it")),
            hint,
        ));
    }
    let Some(operator) = office.vault().operator()? else {
        return Err(no_operator("settle"));
    };
    let event = WorkEvent::settle(key, attempt, args.done, &office.vault().id(), &operator);
    let verb = if args.done { "was done" } else { "was not done" };
    let office = office.says(&format!("{what} {verb}"), &[event])?;
    ui.line(one_line(&format!("settled: {what} {verb}")))?;
    match task {
        Some(task) => tell(ui, &office, &[&task]),
        None => tell(ui, &office, &[]),
    }
}

/// Answers a question.
pub fn answer(args: &AnswerArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let office = Office::open(cx, ui)?.carry_on()?;
    let task = find(&office, &args.id)?;
    let asked = office.needs().into_iter().find_map(|need| match need {
        Need::Question { task: asking, step, choices, attempt, .. } if asking == task => {
            Some((step, choices, attempt))
        }
        _ => None,
    });
    let Some((step, choices, attempt)) = asked else {
        return Err(CliError::usage(format!("task {task} asks nothing")));
    };
    if !choices.is_empty() && !choices.contains(&args.answer) {
        return Err(CliError::usage(format!("the answer is one of {}", choices.join(", "))));
    }
    let answer = args.answer.clone();
    let event = WorkEvent::QuestionAnswered { task: task.clone(), step, answer, attempt };
    let office = office.says(&format!("Answer task {task}"), &[event])?;
    tell(ui, &office, &[&task])
}

/// An effect that asks for consent.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The effect.
    pub key: EffectKey,
    /// What consent is bound to.
    pub digest: ContentHash,
    /// The task.
    pub task: String,
    /// The step.
    pub step: String,
    /// What it will do.
    pub content: Content,
}

impl Waiting {
    /// The one whose id begins like that.
    pub fn find(office: &Office, prefix: &str) -> Result<Waiting, CliError> {
        let mut found = Waiting::all(office).into_iter().filter(|it| it.key.0.hex().starts_with(prefix));
        one(prefix, found.next(), found.next())
    }

    /// All of them.
    pub fn all(office: &Office) -> Vec<Waiting> {
        let waiting = |need| match need {
            Need::Approval { key, digest, task, step, content, .. } => {
                Some(Waiting { key, digest, task, step, content })
            }
            _ => None,
        };
        office.needs().into_iter().filter_map(waiting).collect()
    }

    /// What it is, in some words.
    pub fn what(&self) -> String {
        format!("{} to {}", self.content.capability, self.content.target)
    }
}

/// That a device without operator key cannot do that.
pub fn no_operator(act: &str) -> CliError {
    CliError::failed("this device has no operator key", format!("{act} on one that is a laptop or a phone"))
}

/// The one effect that was found.
pub fn one<T>(prefix: &str, first: Option<T>, second: Option<T>) -> Result<T, CliError> {
    match (first, second) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(CliError::usage(format!("several effects begin with `{prefix}`"))),
        (None, _) => Err(CliError::Usage {
            what: format!("no effect that waits begins with `{prefix}`"),
            hint: Some("`aios inbox` lists them".into()),
        }),
    }
}
