//! Where to look in the tables without going through all that ever was (I13): what is open, what counts against which rule, what happened
//! when. It follows from the tables and is kept as they change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aios_core::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::image::{NoImage, at_once};
use super::map::Map;
use super::run::{Runs, Writer};
use super::watch::{self, Watch};
use super::{Effect, Seen, Stand, Tables, Task};
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
    late: bool,
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
        OfEffect { unsettled, late: effect.too_late().is_some(), charged, asked, over }
    }
}

/// The places of a task in the index.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OfTask {
    /// The device that has it, where it is not over.
    open: Option<Option<DeviceId>>,
    over: Option<Millis>,
    watch: watch::OfTask,
}

impl OfTask {
    pub fn of(task: &Task) -> OfTask {
        // Of a rehearsal no note tells, and nobody waits for it.
        let ended = task.ended.as_ref().filter(|_| task.rehearsal.is_none());
        let over = ended.and_then(|(run, ..)| task.runs.get(run)).map(|run| run.halted);
        OfTask { open: task.ended.is_none().then_some(task.device), over, watch: watch::OfTask::of(task) }
    }

    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Index {
    now: Now,
    /// What rules allowed, by rule and when that was decided.
    charged: Map<9, (String, Millis, EffectKey), Charge>,
    /// What the operator was asked, by capability and when that was decided, the last first.
    asked: Map<10, (String, Reverse<(Millis, EffectKey)>), ()>,
    over: Map<11, (Millis, Matter), ()>,
    /// What notes tell, whether it is known or not.
    told: Map<12, Matter, ()>,
    /// What is over and stands in no note.
    untold: Map<13, (Millis, Matter), ()>,
    /// What may be late.
    pub(super) watch: Watch,
}

/// What is not over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Now {
    /// The tasks, and who has them.
    #[serde(deserialize_with = "at_once")]
    open: BTreeMap<String, Option<DeviceId>>,
    unsettled: BTreeSet<EffectKey>,
    /// Refused, and it had begun: the operator is told until they take note of it.
    late: BTreeSet<EffectKey>,
}

impl Index {
    pub fn on(runs: &Arc<Runs>, now: Now) -> Index {
        Index {
            now,
            charged: Map::on(runs),
            asked: Map::on(runs),
            over: Map::on(runs),
            told: Map::on(runs),
            untold: Map::on(runs),
            watch: Watch::on(runs),
        }
    }

    pub fn now(&self) -> &Now {
        &self.now
    }

    pub fn save(&self, out: &mut Writer, newest: usize, all: bool) -> Result<(), NoImage> {
        self.charged.save(out, newest, all)?;
        self.asked.save(out, newest, all)?;
        self.over.save(out, newest, all)?;
        self.told.save(out, newest, all)?;
        self.untold.save(out, newest, all)?;
        self.watch.save(out, newest, all)
    }

    pub fn effect(&mut self, key: EffectKey, before: OfEffect, after: OfEffect) {
        if before == after {
            return;
        }
        match after.unsettled {
            true => self.now.unsettled.insert(key),
            false => self.now.unsettled.remove(&key),
        };
        match after.late {
            true => self.now.late.insert(key),
            false => self.now.late.remove(&key),
        };
        if before.charged != after.charged {
            before.charged.into_iter().for_each(|(rule, at, _)| self.charged.remove(&(rule, at, key)));
            let after = after.charged.into_iter();
            after.for_each(|(rule, at, charge)| self.charged.insert((rule, at, key), charge));
        }
        if before.asked != after.asked {
            let place = |(name, at)| (name, Reverse((at, key)));
            before.asked.map(place).into_iter().for_each(|place| self.asked.remove(&place));
            after.asked.map(place).into_iter().for_each(|place| self.asked.insert(place, ()));
        }
        self.over(Matter::Effect(key), before.over, after.over);
    }

    pub fn task(&mut self, id: &str, before: OfTask, after: OfTask) {
        if before == after {
            return;
        }
        match after.open {
            Some(device) => _ = self.now.open.insert(id.to_owned(), device),
            None => _ = self.now.open.remove(id),
        }
        self.watch.task(id, before.watch, after.watch);
        self.over(Matter::Task(id.to_owned()), before.over, after.over);
    }

    fn over(&mut self, matter: Matter, before: Option<Millis>, after: Option<Millis>) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            let place = (at, matter.clone());
            self.over.remove(&place);
            self.untold.remove(&place);
        }
        if let Some(at) = after {
            if !self.told.contains(&matter) {
                self.untold.insert((at, matter.clone()), ());
            }
            self.over.insert((at, matter), ());
        }
    }

    pub fn is_open(&self, task: &str) -> bool {
        self.now.open.contains_key(task)
    }

    /// A note tells of a matter, which is over since then.
    fn tell(&mut self, matter: Matter, since: Option<Millis>) {
        since.into_iter().for_each(|at| self.untold.remove(&(at, matter.clone())));
        self.told.insert(matter, ());
    }
}

impl Tables {
    /// A note tells of these.
    pub(super) fn tell(&mut self, ids: &[String]) {
        for matter in ids.iter().filter_map(|id| Matter::of(id)) {
            let since = match &matter {
                Matter::Effect(key) => self.seen(key).and_then(|it| OfEffect::of(&it).over),
                Matter::Task(id) => self.seen_task(id).and_then(|it| OfTask::of(&it).over),
            };
            self.index.tell(matter, since);
        }
    }

    /// The index as it follows from the tables alone.
    #[cfg(test)]
    pub(super) fn indexed_anew(&self) -> Index {
        let mut index = Index::default();
        for (_, day) in self.journal.iter(&self.homes) {
            day.ids.iter().filter_map(|id| Matter::of(id)).for_each(|it| index.tell(it, None));
        }
        for (id, task) in self.tasks() {
            index.task(&id, OfTask::default(), OfTask::of(&task));
        }
        for (key, effect) in self.effects() {
            index.effect(key, OfEffect::default(), OfEffect::of(&effect));
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
        self.index.now.open.keys().filter_map(|id| Some((id.as_str(), self.task(id)?)))
    }

    /// Their ids.
    pub(crate) fn open_ids(&self) -> impl Iterator<Item = &str> {
        self.index.now.open.keys().map(String::as_str)
    }

    /// The tasks that are not over and that another device has.
    pub fn open_elsewhere(&self, here: DeviceId) -> impl Iterator<Item = (&str, &Task)> {
        let open = self.index.now.open.iter().filter(move |(_, device)| device.is_some_and(|it| it != here));
        open.filter_map(|(id, _)| Some((id.as_str(), self.task(id)?)))
    }

    /// The effects that wait for consent, may happen, are under way, or of which nobody knows what came.
    pub fn unsettled(&self) -> impl Iterator<Item = (&EffectKey, &Effect)> {
        self.index.now.unsettled.iter().filter_map(|key| Some((key, self.effect(key)?)))
    }

    /// The effects that the operator refused when they had begun, as long as the operator has not taken note of that.
    /// Nor has it been taken back.
    pub fn refused_late(&self) -> impl Iterator<Item = (&EffectKey, &Effect)> {
        let late = self.index.now.late.iter().filter_map(|key| Some((key, self.effect(key)?)));
        late.filter(|(_, effect)| {
            effect.proposed.as_ref().is_none_or(|it| !self.is_taken_back(&it.task, &it.step))
        })
    }

    /// Whether what a step did to the world has been taken back.
    pub fn is_taken_back(&self, task: &str, step: &str) -> bool {
        let mut proposals = self.proposals(task).filter_map(|key| self.seen(&key));
        proposals.any(|effect| {
            let by = effect.proposed.as_ref().is_some_and(|it| it.step.strip_suffix("!undo") == Some(step));
            by && matches!(effect.stand(), Stand::Done(_))
        })
    }

    /// What a rule allowed from a moment on and has not failed for good, by when that was decided.
    pub fn charged(&self, rule: &str, from: Millis) -> impl Iterator<Item = (EffectKey, Charge)> {
        let entries = self.index.charged.range(Some((rule.to_owned(), from, EffectKey::LEAST)));
        let entries = entries.take_while(move |((of, ..), _)| of == rule);
        entries.map(|((_, _, key), charge)| (key, charge))
    }

    /// What the operator was asked of a capability, the last first.
    pub fn asked(&self, capability: &str) -> impl Iterator<Item = &Effect> {
        let last = Reverse((Millis::MAX, EffectKey::MOST));
        let entries = self.index.asked.range(Some((capability.to_owned(), last)));
        let entries = entries.take_while(move |((of, _), ())| of == capability);
        entries.filter_map(|((_, Reverse((_, key))), ())| self.effect(&key))
    }

    /// What was over from a moment on, before another, in the order of time.
    pub fn over(&self, from: Millis, until: Millis) -> impl Iterator<Item = Matter> {
        let entries = self.index.over.range(Some((from, Matter::Effect(EffectKey::LEAST))));
        let entries = entries.take_while(move |((at, _), ())| *at < until);
        entries.map(|((_, matter), ())| matter)
    }

    /// What is over since a moment or later and stands in no note, and when it was.
    pub fn untold(&self, since: Millis) -> impl Iterator<Item = (Matter, Millis)> {
        let entries = self.index.untold.range(Some((since, Matter::Effect(EffectKey::LEAST))));
        entries.map(|((at, matter), ())| (matter, at))
    }

    /// The tasks that are open, or ended from a moment on.
    pub fn recent(&self, from: Millis) -> impl Iterator<Item = (String, Seen<'_, Task>)> {
        let open = self.index.now.open.keys().cloned();
        let ended = self.over(from, Millis::MAX).filter_map(|matter| match matter {
            Matter::Task(id) => Some(id),
            Matter::Effect(_) => None,
        });
        open.chain(ended).filter_map(|id| self.seen_task(&id).map(|task| (id, task)))
    }

    /// The days of which notes have been written by several devices since that was last tidied.
    pub fn untidy_days(&self) -> impl Iterator<Item = &str> {
        self.untidy.iter().map(String::as_str)
    }
}
