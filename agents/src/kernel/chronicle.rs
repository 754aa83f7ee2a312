//! What was done on a day, as lines for its note: each follows from the log alone, so whoever writes it writes the same.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Kernel;
use crate::event::{EffectKey, Outcome, WorkEvent};
use crate::journal::{self, Entry, quoted};
use crate::policy::Verdict;
use crate::span::Millis;
use crate::table::{Effect, Matter, Stand};

/// So many hex digits of an id are enough for people.
const SHORT: usize = 12;

/// A note that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The day, such as `2026-11-21`.
    pub day: String,
    /// The lines that were never written.
    pub missing: Vec<Entry>,
    /// All lines of the day.
    pub all: Vec<Entry>,
    /// What is recorded once the note says so.
    pub written: WorkEvent,
}

impl Page {
    /// The note as it is to be; nothing where it is so already.
    pub fn write(&self, note: Option<&str>) -> Option<String> {
        journal::write(note, &self.day, &self.missing.iter().collect::<Vec<_>>(), &self.all)
    }
}

impl Kernel {
    /// The notes of days that are over in `zone` at `now`, of what was done from `since` on, where this device coordinates and something is to be
    /// written.
    pub fn pages(&self, zone: &TimeZone, since: Millis, now: Millis) -> Vec<Page> {
        if self.setting.coordinator != Some(self.device) {
            return Vec::new();
        }
        let today = day(now, zone);
        let untold = self.tables.untold(since).map(|(_, at)| day(at, zone));
        let untidy = self.tables.untidy_days().map(str::to_owned);
        let days: BTreeSet<String> = untold.chain(untidy).filter(|day| *day < today).collect();
        let page = |day: String| {
            let mut all = self.entries(&day, zone, since);
            all.sort();
            let known = self.tables.journaled(&day);
            let is_new = |entry: &&Entry| known.is_none_or(|known| !known.ids.contains(&entry.id));
            let missing: Vec<Entry> = all.iter().filter(is_new).cloned().collect();
            if missing.is_empty() && !known.is_some_and(|known| known.is_untidy()) {
                return None;
            }
            let ids = missing.iter().map(|entry| entry.id.clone()).collect();
            let tidied = known.map_or(0, |known| known.writers());
            let written = WorkEvent::JournalWritten {
                day: day.clone(),
                ids,
                tidied: u32::try_from(tidied).unwrap_or(u32::MAX),
            };
            Some(Page { day, missing, all, written })
        };
        days.into_iter().filter_map(page).collect()
    }

    /// The lines of a day.
    fn entries(&self, day: &str, zone: &TimeZone, since: Millis) -> Vec<Entry> {
        let Some((from, until)) = bounds(day, zone) else { return Vec::new() };
        let matters = self.tables.over(from.max(since), until);
        matters.filter_map(|matter| self.entry(&matter, zone)).collect()
    }

    fn entry(&self, matter: &Matter, zone: &TimeZone) -> Option<Entry> {
        let id = match matter {
            Matter::Effect(key) => return self.of_effect(key, self.tables.effect(key)?, zone),
            Matter::Task(id) => id,
        };
        let task = self.tables.task(id)?;
        let (run, outcome, _) = task.ended.as_ref()?;
        let at = task.runs.get(run)?.halted;
        let outcome = match outcome {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
        };
        let line = format!("- {} {}: {outcome}", clock(at, zone), self.task_link(id));
        Some(Entry { at, id: matter.id(), line })
    }

    /// That an effect happened, and who decided that; or that the operator refused it.
    fn of_effect(&self, key: &EffectKey, effect: &Effect, zone: &TimeZone) -> Option<Entry> {
        let proposed = effect.proposed.as_ref()?;
        let content = &proposed.content;
        let decided = effect.decided()?;
        let before = proposed.generation.checked_sub(1);
        let before = before.map(|it| EffectKey::of(&self.vault, &proposed.task, &proposed.step, it));
        let before = before.and_then(|key| self.tables.effect(&key));
        let changed = before.is_some_and(|effect| effect.edited.is_some());
        let (at, by) = match (effect.stand(), &effect.refused) {
            (Stand::Done(_), _) => {
                let by = match (decided.verdict, &decided.rule) {
                    (Verdict::Ask | Verdict::Deny, _) if changed => "you approved it, changed".to_owned(),
                    (Verdict::Ask | Verdict::Deny, _) => "you approved it".to_owned(),
                    (Verdict::Allow, Some(rule)) => format!("allowed by {}", rule_link(rule)),
                    (Verdict::Allow, None) => "allowed".to_owned(),
                };
                (effect.intent.map_or(decided.at, |intent| intent.at), by)
            }
            (Stand::Denied(why), Some(at)) => (*at, format!("you refused it: {}", quoted(&why))),
            _ => return None,
        };
        let amount = content.amount.map(|amount| format!(", {amount}")).unwrap_or_default();
        let agent =
            content.agent.as_deref().map(|agent| format!(" by {}", quoted(agent))).unwrap_or_default();
        let id = key.0.short(SHORT);
        let what = format!("{} to {}{amount}{agent}", quoted(&content.capability), quoted(&content.target));
        let task = self.task_link(&proposed.task);
        let line = format!("- {} {what} for {task}: {by} (`{id}`)", clock(at, zone));
        Some(Entry { at, id: Matter::Effect(*key).id(), line })
    }

    fn task_link(&self, id: &str) -> String {
        let workflow = self.tables.task(id).and_then(|task| task.workflow.clone()).unwrap_or_default();
        format!("{} {}", link(&workflow, &format!("workflows/{workflow}.md")), quoted(id))
    }
}

fn rule_link(rule: &str) -> String {
    match rule.split_once('#') {
        Some((file, name)) => link(name, file),
        None => quoted(rule),
    }
}

/// A link from the folder of notes.
fn link(text: &str, path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '/');
    match text.chars().chain(path.chars()).all(plain) {
        true => format!("[{text}](../{})", path.replace(' ', "%20")),
        // What could be read as something else stands as it is.
        false => quoted(text),
    }
}

fn moment(at: Millis) -> Timestamp {
    i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or(Timestamp::MAX)
}

fn day(at: Millis, zone: &TimeZone) -> String {
    moment(at).to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string()
}

/// When a day begins, and when the next does.
fn bounds(day: &str, zone: &TimeZone) -> Option<(Millis, Millis)> {
    let date: jiff::civil::Date = day.parse().ok()?;
    let begin = |date: jiff::civil::Date| {
        let start = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
        u64::try_from(start.timestamp().as_millisecond()).ok()
    };
    Some((begin(date)?, begin(date.tomorrow().ok()?)?))
}

fn clock(at: Millis, zone: &TimeZone) -> String {
    moment(at).to_zoned(zone.clone()).strftime("%H:%M").to_string()
}
