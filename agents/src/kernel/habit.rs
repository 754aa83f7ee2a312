//! What the operator always consents to: the rule that would have allowed it is suggested, and never added by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Kernel;
use super::need::{Need, place};
use crate::event::{Content, EffectKey};
use crate::policy::{Verdict, fits};
use crate::table::{Effect, Proposed, Stand};

/// So many answers of the operator are looked at for each capability.
const BACK: usize = 1000;
/// So often in a row makes a habit.
const OFTEN: usize = 5;
const DAY: u64 = 86_400_000;

/// Something that the operator has consented to time after time, as it was, and that asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Habit {
    /// What is done.
    pub capability: String,
    /// By which workflow.
    pub workflow: String,
    /// By which step, without which item it was of.
    pub step: String,
    /// To whom or what, with `*` for what differed.
    pub target: String,
    /// How often in a row.
    pub times: usize,
    /// The effects that ask and that the rule is about.
    pub waits: Vec<EffectKey>,
    /// The rule, as a line of a policy file.
    pub rule: String,
}

/// One step of one workflow that does one thing.
type Place = (String, String, String);

impl Kernel {
    /// The habits of the operator that something waits for.
    pub fn habits(&self) -> Vec<Habit> {
        let mut past: BTreeMap<Place, Vec<(u64, Option<&Content>)>> = BTreeMap::new();
        let elsewhere = self.needed_elsewhere();
        let needs: Vec<&Need> = self.inbox().into_iter().chain(&elsewhere).collect();
        let asks = |need: &&Need| match need {
            Need::Approval { content, .. } => Some(content.capability.clone()),
            _ => None,
        };
        let asked: BTreeSet<String> = needs.iter().filter_map(asks).collect();
        for effect in asked.iter().flat_map(|it| self.tables.asked(it).take(BACK)) {
            let Some(proposed) = &effect.proposed else { continue };
            if let (Some(place), Some((at, said))) = (self.at(proposed), answered(effect, proposed)) {
                past.entry(place).or_default().push((at, said));
            }
        }
        let mut out = Vec::new();
        for (place, mut answers) in past {
            answers.sort_by_key(|(at, _)| *at);
            // What was refused or changed begins anew.
            let run: Vec<(u64, &Content)> =
                answers.iter().rev().map_while(|(at, said)| Some((*at, (*said)?))).collect();
            let Some(target) = common(run.iter().map(|(_, content)| content.target.as_str())) else {
                continue;
            };
            if run.len() < OFTEN {
                continue;
            }
            let waits: Vec<EffectKey> =
                needs.iter().filter_map(|need| self.is_like(need, &place, &target)).collect();
            if !waits.is_empty() {
                out.push(habit(place, target, &run, waits));
            }
        }
        out
    }

    fn at(&self, proposed: &Proposed) -> Option<Place> {
        let workflow = self.tables.task(&proposed.task)?.workflow.clone()?;
        Some((proposed.content.capability.clone(), workflow, place(&proposed.step)))
    }

    /// The effect that asks, if a rule would allow it. What came from outside no rule allows.
    fn is_like(&self, need: &Need, wanted: &Place, target: &str) -> Option<EffectKey> {
        let Need::Approval { key, task, content, .. } = need else { return None };
        let proposed = self.tables.effect(key)?.proposed.as_ref()?;
        let is = self.at(proposed).as_ref() == Some(wanted) && fits(target, &content.target);
        (is && !self.is_untrusted(task)).then_some(*key)
    }
}

/// When the operator answered for an effect, and what they consented to as it was; nothing of that where they refused or changed it.
fn answered<'e>(effect: &'e Effect, proposed: &'e Proposed) -> Option<(u64, Option<&'e Content>)> {
    let decided = effect.decided().filter(|decided| decided.verdict == Verdict::Ask)?;
    if effect.edited.is_some() || effect.denied.is_some() {
        return Some((decided.at, None));
    }
    // What took the place of something was not consented to as it was proposed.
    let own = proposed.generation == 0;
    let happens = matches!(effect.stand(), Stand::Done(_) | Stand::Allowed | Stand::Performing(_));
    (own && happens && effect.is_allowed()).then_some((decided.at, Some(&proposed.content)))
}

/// The pattern that targets have in common: one target, or all of one place behind an `@`.
fn common<'t>(mut targets: impl Iterator<Item = &'t str>) -> Option<String> {
    let first = targets.next()?;
    let rest: Vec<&str> = targets.collect();
    let plain = |text: &str| !text.is_empty() && !text.contains('*');
    if rest.iter().all(|target| *target == first) {
        return plain(first).then(|| first.to_owned());
    }
    let (_, domain) = first.rsplit_once('@').filter(|(_, domain)| plain(domain))?;
    let same = |target: &&str| target.rsplit_once('@').is_some_and(|(_, other)| other == domain);
    rest.iter().all(same).then(|| format!("*@{domain}"))
}

fn habit(place: Place, target: String, run: &[(u64, &Content)], waits: Vec<EffectKey>) -> Habit {
    let (capability, workflow, step) = place;
    let mut days: BTreeMap<u64, u64> = BTreeMap::new();
    run.iter().for_each(|(at, _)| *days.entry(at / DAY).or_default() += 1);
    let most = days.into_values().max().unwrap_or(1);
    let money = run.iter().filter_map(|(_, content)| content.amount).max();
    let amount = money.map(|most| format!(", amount: {{to: {most}}}")).unwrap_or_default();
    let name = format!("{capability} of {workflow}/{step}");
    let [name, what, whom, by, at] =
        [&name, &capability, &target, &workflow, &step].map(|text| Value::from(text.as_str()));
    let rule = format!(
        "- {{name: {name}, verdict: allow, capability: {what}, target: {whom}, workflow: {by}, step: {at}{amount}, zone: UTC, caps: [{{count: {most}, per: day}}]}}"
    );
    Habit { capability, workflow, step, target, times: run.len(), waits, rule }
}
