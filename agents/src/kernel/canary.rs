//! Which version of an agent has a task, and when a new one has no more of them.

use std::collections::BTreeMap;

use aios_core::id::ContentHash;
use serde_json::json;

use super::{Action, Kernel, Need, Terms};
use crate::agent::Edition;
use crate::event::{WorkEvent, digest};
use crate::failure::{Class, Failure};
use crate::table::{Choice, Order, Run, Status, StepState, Task};
use crate::trial::{Tally, worse};
use crate::workflow::Act;

/// A new version that is tried on a share of the tasks, and what is known of it.
#[derive(Debug)]
pub(super) struct Canary {
    /// What the operator said by which it is tried.
    id: String,
    since: Order,
    old: ContentHash,
    new: ContentHash,
    /// What came of which task, with the old version and the new one.
    tasks: BTreeMap<String, (Tally, Tally)>,
    sum: (Tally, Tally),
    /// Whether tasks from before this was known are counted.
    counted: bool,
}

/// Versions of agents that are to be at hand beside those that were accepted last, with the agents' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that work.
    pub work: Vec<(String, Edition)>,
    /// Those that rehearse.
    pub rehearse: Vec<(String, Edition)>,
}

/// Where a task is drawn: from 0 below ten thousand, the same on every device.
pub fn lot(agent: &str, task: &str) -> u32 {
    let drawn = digest(&json!(["canary", agent, task]));
    let number = drawn.0[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    u32::try_from(number % 10_000).unwrap_or(0)
}

impl Kernel {
    /// The version of an agent that works on a task; nothing where there is no such agent.
    pub(super) fn version_for(
        &self,
        agent: &str,
        id: &str,
        task: &Task,
        run: Option<&Run>,
    ) -> Result<Option<ContentHash>, Failure> {
        if let Some(rehearsal) = &task.rehearsal {
            let lost = || Failure::new(Class::LostContext, "the version that is to rehearse is not here");
            return self.rehearses(rehearsal).map(|terms| Some(terms.version)).ok_or_else(lost);
        }
        let chosen = match self.tables.releases(agent).and_then(|said| Some((said, said.now()?))) {
            None => None,
            Some((said, now)) => match &now.choice {
                Choice::Accepted => None,
                Choice::Pinned(edition) => Some(edition.version),
                Choice::Canary { old, new, share } => {
                    // What has begun with one of the two goes on with it.
                    let began = run.and_then(|run| self.began_with(agent, task, run));
                    let began = began.filter(|version| [old.version, new.version].contains(version));
                    let stopped = said.stopped().is_some();
                    let drawn = if !stopped && lot(agent, id) < *share { new } else { old };
                    Some(began.unwrap_or(drawn.version))
                }
            },
        };
        match chosen {
            None => Ok(self.setting.agents.get(agent).map(|it| it.version)),
            Some(version) if self.terms_of(agent, &version).is_some() => Ok(Some(version)),
            Some(version) => {
                let what = format!(
                    "version {} of agent `{agent}`, which is to work, is none that was accepted: `aios agents pin {agent} --off`",
                    version.short(12)
                );
                Err(Failure::new(Class::LostContext, what))
            }
        }
    }

    /// The version with which an agent first began in a run.
    fn began_with(&self, agent: &str, task: &Task, run: &Run) -> Option<ContentHash> {
        let begun =
            self.works_of(agent, task, run).filter_map(|(_, state)| Some((state.began, state.agent?)));
        begun.min_by_key(|(began, _)| *began).map(|(_, version)| version)
    }

    /// An agent's steps in a run.
    fn works_of<'k>(
        &'k self,
        agent: &'k str,
        task: &'k Task,
        run: &'k Run,
    ) -> impl Iterator<Item = (&'k str, &'k StepState)> {
        let workflow = task.version.and_then(|version| self.setting.versions.get(&version));
        let steps = run.steps.iter().filter(move |(path, _)| {
            let step =
                workflow.and_then(|workflow| workflow.steps.at(path)).filter(|_| !path.contains(['!', '~']));
            matches!(step.map(|step| &step.act), Some(Act::Agent { agent: of, .. }) if of == agent)
        });
        steps.map(|(path, state)| (path.as_str(), state))
    }

    /// What a version of an agent is held to.
    fn terms_of(&self, agent: &str, version: &ContentHash) -> Option<&Terms> {
        let current = self.setting.agents.get(agent).filter(|it| it.version == *version);
        current.or_else(|| self.setting.editions.get(&(agent.to_owned(), *version)))
    }

    /// What an agent is held to in a task.
    pub(super) fn terms(&self, agent: &str, id: &str) -> Option<&Terms> {
        let task = self.tables.task(id);
        if let Some(rehearsal) = task.and_then(|task| task.rehearsal.as_ref()) {
            return self.rehearses(rehearsal);
        }
        let run = task.and_then(|task| task.runs.values().find(|run| Some(run.device) == task.device));
        let version = task.and_then(|task| self.version_for(agent, id, task, run).ok().flatten());
        version.and_then(|version| self.terms_of(agent, &version)).or_else(|| self.setting.agents.get(agent))
    }

    /// The versions of agents that work on tasks which are not over, or may, beside those that were accepted last; and those that rehearse.
    pub fn wanted_editions(&self) -> Wanted {
        let open = self.tables.open().filter_map(|(_, task)| task.rehearsal.as_ref());
        let rehearse = open.map(|it| (it.agent.clone(), it.edition.clone())).collect();
        let said = self.tables.released().filter_map(|(agent, said)| Some((agent, said.now()?)));
        let works =
            said.flat_map(|(agent, now)| now.choice.editions().map(|it| (agent.to_owned(), it.clone())));
        Wanted { work: works.collect(), rehearse }
    }

    /// Takes in what versions of agents are held to that work beside those that were accepted last, and those that rehearse.
    pub fn equip(
        &mut self,
        editions: BTreeMap<(String, ContentHash), Terms>,
        rehearsed: BTreeMap<(String, ContentHash), Terms>,
    ) {
        if (&self.setting.editions, &self.setting.rehearsed) != (&editions, &rehearsed) {
            (self.setting.editions, self.setting.rehearsed) = (editions, rehearsed);
            self.dirty.extend(self.tables.open().map(|(id, _)| id.to_owned()).collect::<Vec<_>>());
        }
    }

    /// Another version of an agent works from here on, or has stopped.
    pub(super) fn release(&mut self, agent: &str) {
        let Some(said) = self.tables.releases(agent) else { return };
        let Some(now) = said.now() else { return };
        self.worse.remove(agent);
        match &now.choice {
            Choice::Canary { old, new, .. } => {
                if let Some(stopped) = said.stopped() {
                    let need = Need::Worse {
                        agent: agent.to_owned(),
                        old: old.version,
                        new: new.version,
                        at: stopped.at,
                        why: stopped.why.clone(),
                    };
                    self.worse.insert(agent.to_owned(), need);
                }
                if self.canaries.get(agent).is_none_or(|canary| canary.id != now.id) {
                    let canary = Canary {
                        id: now.id.clone(),
                        since: now.order,
                        old: old.version,
                        new: new.version,
                        tasks: BTreeMap::new(),
                        sum: (Tally::default(), Tally::default()),
                        counted: false,
                    };
                    self.canaries.insert(agent.to_owned(), canary);
                }
            }
            Choice::Accepted | Choice::Pinned(_) => _ = self.canaries.remove(agent),
        }
    }

    /// Something happened to a task: what came of it is counted anew.
    pub(super) fn weigh_task(&mut self, id: &str) {
        let mut canaries = std::mem::take(&mut self.canaries);
        for (agent, canary) in canaries.iter_mut().filter(|(_, canary)| canary.counted) {
            self.weigh(agent, canary, id);
        }
        self.canaries = canaries;
    }

    fn weigh(&self, agent: &str, canary: &mut Canary, id: &str) {
        let now =
            (self.tally(agent, id, canary.old, None), self.tally(agent, id, canary.new, Some(&canary.since)));
        let none = (Tally::default(), Tally::default());
        let before =
            if now == none { canary.tasks.remove(id) } else { canary.tasks.insert(id.to_owned(), now) };
        let (old, new) = before.unwrap_or(none);
        canary.sum = (canary.sum.0.minus(old).plus(now.0), canary.sum.1.minus(new).plus(now.1));
    }

    /// What came of a task in which a version of an agent worked, if it began after a place in the order.
    fn tally(&self, agent: &str, id: &str, version: ContentHash, since: Option<&Order>) -> Tally {
        let mut tally = Tally::default();
        let Some(task) = self.tables.task(id).filter(|task| task.rehearsal.is_none()) else { return tally };
        let run = task.runs.values().find(|run| Some(run.device) == task.device);
        let Some(run) = run.filter(|run| self.began_with(agent, task, run) == Some(version)) else {
            return tally;
        };
        let (mut done, mut failed) = (false, false);
        for (_, state) in self.works_of(agent, task, run) {
            if since.is_some_and(|since| state.started < *since) {
                return Tally::default();
            }
            match &state.status {
                Status::Finished { .. } => done = true,
                // What the other side is to blame for says nothing of a version.
                Status::Failed { failure, retry: None } => {
                    failed |= !matches!(failure.class, Class::Transient | Class::RateLimited);
                }
                _ => {}
            }
        }
        let changed = self.tables.proposals(id).filter_map(|key| self.tables.effect(&key)).any(|effect| {
            let of = effect.proposed.as_ref().and_then(|it| it.content.agent.as_deref());
            of == Some(agent) && (effect.edited.is_some() || effect.refused.is_some())
        });
        match (failed, changed, done) {
            (true, ..) => tally.failed = 1,
            (false, true, _) => tally.changed = 1,
            (false, false, true) => tally.done = 1,
            (false, false, false) => {}
        }
        tally
    }

    /// What the two versions of a canary did so far.
    pub fn tallies(&self, agent: &str) -> Option<(Tally, Tally)> {
        let canary = self.canaries.get(agent)?;
        match canary.counted {
            true => Some(canary.sum),
            false => {
                let all = self.tables.task_ids("").map(|id| {
                    (
                        self.tally(agent, &id, canary.old, None),
                        self.tally(agent, &id, canary.new, Some(&canary.since)),
                    )
                });
                Some(all.fold((Tally::default(), Tally::default()), |sum, it| {
                    (sum.0.plus(it.0), sum.1.plus(it.1))
                }))
            }
        }
    }

    /// Has it recorded that a new version does worse.
    pub(super) fn stop_canaries(&mut self, out: &mut Vec<Action>) {
        let mut canaries = std::mem::take(&mut self.canaries);
        for (agent, canary) in &mut canaries {
            if self.tables.releases(agent).is_none_or(|said| said.stopped().is_some()) {
                continue;
            }
            if !std::mem::replace(&mut canary.counted, true) {
                let tasks: Vec<String> = self.tables.task_ids("").collect();
                tasks.iter().for_each(|id| self.weigh(agent, canary, id));
            }
            let (old, new) = canary.sum;
            let key = format!("canary {agent}");
            let Some(why) = worse(&old, &new).filter(|_| self.pending.iter().all(|(other, _)| *other != key))
            else {
                continue;
            };
            let (agent, id) = (agent.clone(), canary.id.clone());
            out.push(Action::Show(Need::Worse {
                agent: agent.clone(),
                old: canary.old,
                new: canary.new,
                at: self.now,
                why: why.clone(),
            }));
            self.append(&key, vec![WorkEvent::CanaryStopped { agent, id, old, new, why }], out);
        }
        self.canaries = canaries;
    }
}
