//! Where to look in the tables without going through all that ever was (I13): what is open, what counts against which rule, what happened
//! when. It follows from the tables and is kept as they change.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::{Effect, Stand, Tables, Task};
use crate::event::EffectKey;
use crate::money::Money;
use crate::policy::Verdict;
use crate::span::Millis;

/// What is over, of which a note may tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Matter {
    /// An effect that happened, or that the operator refused.
    Effect(EffectKey),
    /// A task that ended.
    Task(String),
}

impl Matter {
    /// What it is called in notes.
    pub fn id(&self) -> String {
        match self {
            Matter::Effect(key) => format!("effect {}", key.0.hex()),
            Matter::Task(id) => format!("task {id}"),
        }
    }

    /// What is called so in notes.
    fn of(id: &str) -> Option<Matter> {
        match id.split_once(' ')? {
            ("effect", key) => key.parse().ok().map(|key| Matter::Effect(EffectKey(key))),
            ("task", id) => Some(Matter::Task(id.to_owned())),
            _ => None,
        }
    }
}

/// What an effect takes of a rule's caps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// When that was decided.
    pub at: Millis,
    /// The money.
    pub money: Option<Money>,
    /// Whether it did not happen: it may be tried again, or be given up.
    pub failed: bool,
}

/// The places of an effect in the index.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OfEffect {
    unsettled: bool,
    charged: Option<(String, Millis, Charge)>,
    asked: Option<(String, Millis)>,
    over: Option<Millis>,
}

impl OfEffect {
    pub fn of(effect: &Effect) -> OfEffect {
        // What was allowed counts, whoever turns out to have proposed it.
        let stand = effect.stand();
        let charged = effect.charged().and_then(|it| {
            let failed = matches!(stand, Stand::Failed(_) | Stand::Undone);
            let charge = Charge { at: it.at, money: effect.charged_money(), failed };
            Some((it.rule.clone()?, it.at, charge))
        });
        let Some(proposed) = &effect.proposed else { return OfEffect { charged, ..OfEffect::default() } };
        let decided = effect.decided();
        let asked = decided.filter(|decided| decided.verdict == Verdict::Ask);
        let over = match (&stand, effect.refused) {
            (Stand::Done(_), _) => decided.map(|it| effect.intent.map_or(it.at, |intent| intent.at)),
            (Stand::Denied(_), Some(at)) => decided.map(|_| at),
            _ => None,
        };
        let unsettled =
            matches!(stand, Stand::Waiting | Stand::Allowed | Stand::Performing(_) | Stand::Unknown(_));
        let asked = asked.map(|it| (proposed.content.capability.clone(), it.at));
        OfEffect { unsettled, charged, asked, over }
    }
}

/// The places of a task in the index.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OfTask {
    /// The device that has it, where it is not over.
    open: Option<Option<DeviceId>>,
    over: Option<Millis>,
}

impl OfTask {
    pub fn of(task: &Task) -> OfTask {
        // Of a rehearsal no note tells, and nobody waits for it.
        let ended = task.ended.as_ref().filter(|_| task.rehearsal.is_none());
        let over = ended.and_then(|(run, ..)| task.runs.get(run)).map(|run| run.halted);
        OfTask { open: task.ended.is_none().then_some(task.device), over }
    }

    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }
}

type ByTime<T> = BTreeMap<String, BTreeMap<(Millis, EffectKey), T>>;

/// Moves an effect in a list.
fn list<T>(
    list: &mut ByTime<T>,
    key: EffectKey,
    before: Option<(String, Millis, T)>,
    after: Option<(String, Millis, T)>,
) {
    if let Some((name, at, _)) = before
        && let Some(entries) = list.get_mut(&name)
    {
        entries.remove(&(at, key));
        if entries.is_empty() {
            list.remove(&name);
        }
    }
    if let Some((name, at, what)) = after {
        list.entry(name).or_default().insert((at, key), what);
    }
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// The tasks that are not over, and who has them.
    open: BTreeMap<String, Option<DeviceId>>,
    unsettled: BTreeSet<EffectKey>,
    /// What rules allowed, by rule and when that was decided.
    charged: ByTime<Charge>,
    /// What the operator was asked, by capability and when that was decided.
    asked: ByTime<()>,
    over: BTreeSet<(Millis, Matter)>,
    /// What notes tell, whether it is known or not.
    told: BTreeSet<Matter>,
    /// What is over and stands in no note.
    untold: BTreeMap<Matter, Millis>,
}

impl Index {
    pub fn effect(&mut self, key: EffectKey, before: OfEffect, after: OfEffect) {
        if before == after {
            return;
        }
        match after.unsettled {
            true => self.unsettled.insert(key),
            false => self.unsettled.remove(&key),
        };
        list(&mut self.charged, key, before.charged, after.charged);
        let asked = |(name, at)| (name, at, ());
        list(&mut self.asked, key, before.asked.map(asked), after.asked.map(asked));
        self.over(Matter::Effect(key), before.over, after.over);
    }

    pub fn task(&mut self, id: &str, before: OfTask, after: OfTask) {
        if before == after {
            return;
        }
        match after.open {
            Some(device) => _ = self.open.insert(id.to_owned(), device),
            None => _ = self.open.remove(id),
        }
        self.over(Matter::Task(id.to_owned()), before.over, after.over);
    }

    fn over(&mut self, matter: Matter, before: Option<Millis>, after: Option<Millis>) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.over.remove(&(at, matter.clone()));
            self.untold.remove(&matter);
        }
        if let Some(at) = after {
            self.over.insert((at, matter.clone()));
            if !self.told.contains(&matter) {
                self.untold.insert(matter, at);
            }
        }
    }

    pub fn is_open(&self, task: &str) -> bool {
        self.open.contains_key(task)
    }

    pub fn tell(&mut self, ids: &[String]) {
        for matter in ids.iter().filter_map(|id| Matter::of(id)) {
            self.untold.remove(&matter);
            self.told.insert(matter);
        }
    }
}

impl Tables {
    /// The index as it follows from the tables alone.
    #[cfg(test)]
    pub(super) fn indexed_anew(&self) -> Index {
        let mut index = Index::default();
        for day in self.journal.values() {
            index.tell(&day.table.ids.iter().cloned().collect::<Vec<_>>());
        }
        for (id, task) in self.tasks() {
            index.task(id, OfTask::default(), OfTask::of(&task));
        }
        for (key, effect) in self.effects() {
            index.effect(*key, OfEffect::default(), OfEffect::of(&effect));
        }
        index
    }

    #[cfg(test)]
    pub(crate) fn is_indexed(&self) -> bool {
        self.index == self.indexed_anew()
    }

    /// Whether a task is known and not over.
    pub fn is_open(&self, task: &str) -> bool {
        self.index.is_open(task)
    }

    /// The tasks that are not over.
    pub fn open(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.index.open.keys().filter_map(|id| Some((id.as_str(), self.task(id)?)))
    }

    /// The tasks that are not over and that another device has.
    pub fn open_elsewhere(&self, here: DeviceId) -> impl Iterator<Item = (&str, &Task)> {
        let open = self.index.open.iter().filter(move |(_, device)| device.is_some_and(|it| it != here));
        open.filter_map(|(id, _)| Some((id.as_str(), self.task(id)?)))
    }

    /// The effects that wait for consent, may happen, are under way, or of which nobody knows what came.
    pub fn unsettled(&self) -> impl Iterator<Item = (&EffectKey, &Effect)> {
        self.index.unsettled.iter().filter_map(|key| Some((key, self.effect(key)?)))
    }

    /// What a rule allowed from a moment on and has not failed for good, by when that was decided.
    pub fn charged(&self, rule: &str, from: Millis) -> impl Iterator<Item = (&EffectKey, &Charge)> {
        let entries = self.index.charged.get(rule).into_iter();
        let entries = entries.flat_map(move |it| it.range((from, EffectKey::LEAST)..));
        entries.map(|((_, key), charge)| (key, charge))
    }

    /// What the operator was asked of a capability, the last first.
    pub fn asked(&self, capability: &str) -> impl Iterator<Item = &Effect> {
        let entries = self.index.asked.get(capability).into_iter().flat_map(BTreeMap::keys).rev();
        entries.filter_map(|(_, key)| self.effect(key))
    }

    /// What was over from a moment on, before another, in the order of time.
    pub fn over(&self, from: Millis, until: Millis) -> impl Iterator<Item = &Matter> {
        let range =
            (from, Matter::Effect(EffectKey::LEAST))..(until.max(from), Matter::Effect(EffectKey::LEAST));
        self.index.over.range(range).map(|(_, matter)| matter)
    }

    /// What is over and stands in no note, and when it was.
    pub fn untold(&self) -> impl Iterator<Item = (&Matter, Millis)> {
        self.index.untold.iter().map(|(matter, at)| (matter, *at))
    }

    /// The tasks that are open, or ended from a moment on.
    pub fn recent(&self, from: Millis) -> impl Iterator<Item = (&str, &Task)> {
        let ended = self.over(from, Millis::MAX).filter_map(|matter| match matter {
            Matter::Task(id) => Some((id.as_str(), self.task(id)?)),
            Matter::Effect(_) => None,
        });
        self.open().chain(ended)
    }

    /// The days of which notes have been written by several devices since that was last tidied.
    pub fn untidy_days(&self) -> impl Iterator<Item = &str> {
        self.journal.iter().filter(|(_, it)| it.table.is_untidy()).map(|(day, _)| day.as_str())
    }
}
