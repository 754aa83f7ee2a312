//! What was spent, by whom and for what, and how much of each cap is used.

use std::collections::BTreeMap;

use aios_core::id::DeviceId;
use jiff::Timestamp;
use serde::Serialize;

use super::{Cost, Kernel};
use crate::money::Money;
use crate::policy::{Per, Since, Usage};
use crate::span::Millis;
use crate::table::{Effect, Matter, Stand};

/// What spending is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// What was done.
    Capability,
    /// The workflow that did it.
    Workflow,
    /// The agent whose work it was.
    Agent,
    /// The device where it happened.
    Device,
    /// The day on which it happened, in UTC.
    Day,
}

/// Whose spending it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Of {
    /// That of something that has a name; none: of what has no such thing.
    Name(Option<String>),
    /// That of a device.
    Device(DeviceId),
}

/// How much of a cap is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CapUse {
    /// The rule.
    pub rule: String,
    /// The time over which it counts.
    pub per: Per,
    /// The most effects.
    pub count: Option<u64>,
    /// The most money.
    pub money: Option<Money>,
    /// What the rule allowed by itself in that time, happened or not yet.
    pub used: Usage,
}

impl Kernel {
    /// What was spent on effects since a moment, and what is held for those that may happen.
    pub fn spend(&self, by: By, since: Millis) -> BTreeMap<Of, Cost> {
        let mut out: BTreeMap<Of, Cost> = BTreeMap::new();
        let over = self.tables.over(since, Millis::MAX).filter_map(|matter| match matter {
            Matter::Effect(key) => self.tables.seen(&key),
            Matter::Task(_) => None,
        });
        for effect in over.chain(self.tables.unsettled().filter_map(|(key, _)| self.tables.seen(key))) {
            let Some(proposed) = &effect.proposed else { continue };
            let amount = proposed.content.amount.unwrap_or_default();
            let decided = effect.decided().map_or(0, |decided| decided.at);
            let at = effect.intent.map_or(decided, |intent| intent.at);
            let cost = match effect.stand() {
                Stand::Done(_) => Cost { effects: 1, spent: amount, held: Money(0) },
                Stand::Allowed | Stand::Performing(_) | Stand::Unknown(_) => {
                    Cost { effects: 0, spent: Money(0), held: amount }
                }
                _ => continue,
            };
            if at < since {
                continue;
            }
            let of = match by {
                By::Capability => Of::Name(Some(proposed.content.capability.clone())),
                By::Workflow => {
                    Of::Name(self.tables.task(&proposed.task).and_then(|task| task.workflow.clone()))
                }
                By::Agent => Of::Name(proposed.content.agent.clone()),
                By::Device => Of::Device(effect.intent.map_or(proposed.device, |intent| intent.device)),
                By::Day => Of::Name(day(at)),
            };
            let sum = out.entry(of).or_default();
            sum.effects += cost.effects;
            sum.spent = sum.spent.plus(cost.spent);
            sum.held = sum.held.plus(cost.held);
        }
        out
    }

    /// The caps of the policies in force, with what is used of those that count over a day or a month.
    pub fn caps(&self, now: Millis) -> Vec<CapUse> {
        let caps = self.setting.policies.caps(now);
        let used = |(rule, cap, since): (&str, &crate::policy::Cap, Option<Since>)| CapUse {
            rule: rule.to_owned(),
            per: cap.per,
            count: cap.count,
            money: cap.money,
            used: match since {
                // What models may cost is shared out, and not decided.
                Some(Since::At(from)) if let Some(pot) = self.pot(rule, from) => {
                    Usage { count: pot.spent.len() as u64, money: pot.used(), ..Usage::default() }
                }
                Some(Since::At(from)) => self.allowed_since(rule, from),
                // Each run has its own: what the most of them used.
                _ => self.most_by_run(rule),
            },
        };
        caps.map(used).collect()
    }

    /// What a rule allowed by itself from a moment on. That is put aside when it is decided, and free again when it is known that it will not
    /// happen.
    pub(super) fn allowed_since(&self, rule: &str, from: Millis) -> Usage {
        let mut usage = Usage::default();
        for (key, charge) in self.tables.charged(rule, from) {
            // What happened counts: of that nothing more is to be known.
            if !charge.failed || !self.tables.effect(&key).is_some_and(|effect| self.is_given_up(effect)) {
                usage.add(charge.money, charge.at);
            }
        }
        usage
    }

    /// What a rule allowed by itself to one run of a task.
    pub(super) fn allowed_to(&self, rule: &str, task: &str, run: &str) -> Usage {
        let mut usage = Usage::default();
        for effect in self.tables.proposals(task).filter_map(|key| self.tables.effect(&key)) {
            let of_run = effect.proposed.as_ref().is_some_and(|it| it.run == run);
            let decided = effect.charged().filter(|it| of_run && it.rule.as_deref() == Some(rule));
            if let Some(decided) = decided.filter(|_| !self.is_given_up(effect)) {
                usage.add(effect.charged_money(), decided.at);
            }
        }
        usage
    }

    fn most_by_run(&self, rule: &str) -> Usage {
        let mut runs: BTreeMap<String, Usage> = BTreeMap::new();
        for (key, charge) in self.tables.charged(rule, 0) {
            let Some(effect) = self.tables.seen(&key) else { continue };
            let Some(proposed) = effect.proposed.as_ref().filter(|_| !self.is_given_up(&effect)) else {
                continue;
            };
            runs.entry(proposed.run.clone()).or_default().add(charge.money, charge.at);
        }
        runs.into_values().max_by_key(|usage| (usage.count, usage.money)).unwrap_or_default()
    }

    /// Whether an effect that did not happen never will: nobody tries it again when its run is over.
    fn is_given_up(&self, effect: &Effect) -> bool {
        let Some(proposed) = &effect.proposed else { return false };
        let run = self.tables.task(&proposed.task).and_then(|task| task.runs.get(&proposed.run));
        let over = run.is_some_and(|run| run.ended.is_some());
        over && matches!(effect.stand(), Stand::Failed(_) | Stand::Undone)
    }
}

fn day(at: Millis) -> Option<String> {
    let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok())?;
    Some(at.strftime("%Y-%m-%d").to_string())
}
