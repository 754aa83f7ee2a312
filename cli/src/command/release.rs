//! `aios agents pin`, `rollback` and `canary`

use aios_agents::agent::Edition;
use aios_agents::event::WorkEvent;
use aios_agents::table::{Choice, Stopped};
use serde_json::{Value, json};

use crate::args::{CanaryArgs, PinArgs};
use crate::command::consent::no_operator;
use crate::context::Context;
use crate::edition::{self, InForce};
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Ui, one_line};

/// How much of a version is shown to people.
const SHORT: usize = 12;

/// Has one version of an agent work whatever is accepted, or the one that was accepted last.
pub fn pin(args: &PinArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let editions = editions(&mut office, &args.name)?;
    let chosen = match &args.edition {
        None => Vec::new(),
        Some(prefix) => match edition::of_version(&editions, prefix) {
            Some(found) => vec![Edition::of(&found.entry)],
            None => {
                let what = format!(
                    "no one version of agent `{}` that was in force begins with `{}`",
                    one_line(&args.name),
                    one_line(prefix)
                );
                return Err(CliError::failed(what, format!("there is {}", listed(&editions))));
            }
        },
    };
    says(office, &args.name, chosen, 0, ui)
}

/// Has the version of an agent work that was in force before.
pub fn rollback(name: &str, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let editions = editions(&mut office, name)?;
    let to = match choice(&office, name) {
        Choice::Canary { old, .. } => Some(old),
        Choice::Pinned(pinned) => before(&editions, &pinned),
        Choice::Accepted => editions.last().and_then(|now| before(&editions, &Edition::of(&now.entry))),
    };
    let Some(to) = to else { return Err(only_one(name)) };
    says(office, name, vec![to], 0, ui)
}

/// Has the version of an agent that was accepted last work on a share of the tasks.
pub fn canary(args: &CanaryArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let name = &args.name;
    let editions = editions(&mut office, name)?;
    let now = choice(&office, name);
    let Some(share) = args.share else {
        let Choice::Canary { old, .. } = now else {
            let what = format!("no new version of agent `{}` is tried", one_line(name));
            return Err(CliError::failed(
                what,
                "`aios agents canary NAME 10%` tries the one that was accepted last",
            ));
        };
        return says(office, name, vec![old], 0, ui);
    };
    let Some(new) = editions.last().map(|it| Edition::of(&it.entry)) else { return Err(only_one(name)) };
    let old = match now {
        Choice::Pinned(old) | Choice::Canary { old, .. } => Some(old).filter(|old| *old != new),
        Choice::Accepted => None,
    };
    let Some(old) = old.or_else(|| before(&editions, &new)) else { return Err(only_one(name)) };
    says(office, name, vec![old, new], share, ui)
}

fn editions(office: &mut Office, name: &str) -> Result<Vec<InForce>, CliError> {
    if !office.registry().agents.contains_key(name) {
        let what = format!("no agent `{}` is in force", one_line(name));
        return Err(CliError::failed(what, "`aios agents` lists them"));
    }
    Ok(edition::editions(office.vault_mut(), name)?)
}

/// The last version before one that is another.
fn before(editions: &[InForce], of: &Edition) -> Option<Edition> {
    let at = editions.iter().rposition(|it| it.entry.version == of.version)?;
    let other = editions[..at].iter().rev().find(|it| it.entry.version != of.version)?;
    Some(Edition::of(&other.entry))
}

fn only_one(name: &str) -> CliError {
    let what = format!("agent `{}` had no other version in force before", one_line(name));
    CliError::failed(what, "`aios agents show NAME` lists them; `aios accept` puts a new one in force")
}

fn listed(editions: &[InForce]) -> String {
    let versions: Vec<String> = editions.iter().map(|it| it.entry.version.short(SHORT)).collect();
    versions.join(", ")
}

/// What the operator last said of an agent.
pub fn choice(office: &Office, name: &str) -> Choice {
    let said = office.kernel().tables().releases(name);
    said.and_then(|said| said.now()).map_or(Choice::Accepted, |now| now.choice.clone())
}

fn says(
    office: Office,
    name: &str,
    editions: Vec<Edition>,
    share: u32,
    ui: &mut Ui,
) -> Result<Exit, CliError> {
    let Some(operator) = office.vault().operator()? else {
        return Err(no_operator("say which version works"));
    };
    let said = office.kernel().tables().releases(name);
    let turn = said.map_or(0, |said| said.turn());
    let event = WorkEvent::release(name, editions, share, turn, &office.vault().id(), &operator);
    let office = office.says(&format!("Release {}", one_line(name)), &[event])?;
    let now = office.kernel().tables().releases(name).map_or(0, |said| said.turn());
    if now == turn {
        let hint = "is this device a member that may approve?";
        return Err(CliError::failed("what was said counts for nothing", hint));
    }
    if ui.json() {
        ui.value(&value(&office, name))?;
    }
    ui.line(format!("{}: {}", one_line(name), line(&office, name)))?;
    Ok(Exit::Done)
}

/// Which version of an agent works, as JSON.
pub fn value(office: &Office, name: &str) -> Value {
    let stopped =
        stopped(office, name).map(|it| json!({"at": it.at, "old": it.old, "new": it.new, "why": it.why}));
    match choice(office, name) {
        Choice::Accepted => json!({"choice": "accepted"}),
        Choice::Pinned(edition) => json!({"choice": "pinned", "version": edition.version}),
        Choice::Canary { old, new, share } => {
            let (before, since) = office.kernel().tallies(name).unwrap_or_default();
            json!({
                "choice": "canary", "share": share, "old": {"version": old.version, "tasks": before},
                "new": {"version": new.version, "tasks": since}, "stopped": stopped,
            })
        }
    }
}

/// Which version of an agent works, for people.
pub fn line(office: &Office, name: &str) -> String {
    match choice(office, name) {
        Choice::Accepted => "the version that was accepted last works".to_owned(),
        Choice::Pinned(edition) => {
            format!("version {} works, whatever is accepted", edition.version.short(SHORT))
        }
        Choice::Canary { old, new, share } => {
            let (old, new) = (old.version.short(SHORT), new.version.short(SHORT));
            match stopped(office, name) {
                Some(stopped) => format!("version {old} works: {new} did worse, {}", stopped.why),
                None => {
                    format!("version {new} works on {} % of the tasks, {old} on the others", percent(share))
                }
            }
        }
    }
}

fn stopped<'o>(office: &'o Office, name: &str) -> Option<&'o Stopped> {
    office.kernel().tables().releases(name)?.stopped()
}

fn percent(share: u32) -> String {
    let (whole, rest) = (share / 100, share % 100);
    let text = if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:02}") };
    text.strip_suffix('0').filter(|_| rest != 0).map_or(text.clone(), str::to_owned)
}

/// A share of the tasks, such as `10%`, in ten thousandths.
///
/// # Errors
/// What it is instead.
pub fn share(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no share of the tasks: give one such as 10% or 0.5%, up to 100%");
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|it| it.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || rest.len() > 2 || !digits(whole) || !digits(rest) {
        return Err(wrong());
    }
    let parts = (whole.parse::<u32>(), format!("{rest:0<2}").parse::<u32>());
    let (Ok(whole), Ok(rest)) = parts else { return Err(wrong()) };
    Some(whole * 100 + rest).filter(|share| (1..=10_000).contains(share)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_and_shown() {
        for (text, number) in [("10%", 1000), ("10", 1000), ("0.5%", 50), ("0.05%", 5), ("100%", 10_000)] {
            assert_eq!(share(text), Ok(number));
            assert_eq!(percent(number), text.trim_end_matches('%'));
        }
        for text in ["", "%", "0", "0%", "101%", "-1%", "1.234%", "ten", "1e1", "99999999999%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
