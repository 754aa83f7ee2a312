//! The kernel: a state machine without I/O that carries work on. Inputs come in, actions go out.
//!
//! What it decides it first has recorded, and acts only when the record comes back as an input: whoever drives it may be
//! killed at any point and start again from the records (I9). A step that was started and of which nothing more is
//! known has crashed; an effect like that is unknown, and is done again only where the other side knows its key (I10).

mod create;
mod effect;
mod fire;
mod home;
mod leaf;
mod need;
mod packet;
mod replay;
mod rewind;
mod spend;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use aios_core::clock::Stamp;
use aios_core::event::Event;
use aios_core::id::{ContentHash, DeviceId, VaultId};
use serde_json::Value;

use crate::event::{Came, Content, EffectKey, Fired, WorkEvent, cron_task, event_task};
use crate::failure::Failure;
use crate::health;
use crate::policy::Policies;
use crate::span::Millis;
use crate::table::{Order, Stand, Tables};
use crate::workflow::Workflow;

pub use create::CreateError;
pub use fire::{Saw, Schedule};
pub use need::Need;
pub use packet::{Cost, Dead, Deed, Kin, Packet, Told};
pub use replay::{Compared, Difference, Replay, ReplayError};
pub use rewind::RewindError;
pub use spend::{By, CapUse, Of};

/// What happens to the kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time passed.
    Tick {
        /// Now.
        now: Millis,
    },
    /// A record is durable: one of this device, or one that came from another.
    Recorded {
        /// Its place in the total order.
        stamp: Stamp,
        /// Its events.
        events: Vec<Event>,
    },
    /// An agent's work ended.
    Worked {
        /// What ended.
        work: Work,
        /// What came out.
        came: Result<Value, Failure>,
    },
    /// An effect was performed, or not.
    Performed {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        attempt: u32,
        /// What came of it.
        came: Came,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Append these events as one record, make it durable, and hand it back as [`Input::Recorded`].
    Append(Vec<WorkEvent>),
    /// Have an agent work.
    Start {
        /// What it works on.
        work: Work,
        /// The agent.
        agent: String,
        /// What it is given.
        input: Value,
    },
    /// Have an agent stop: nobody waits for what it does any more.
    Stop(Work),
    /// Change the world.
    Perform {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        attempt: u32,
        /// Exactly what is done.
        content: Content,
    },
    /// Send a tick at that time, or soon after.
    Wake(Millis),
    /// Tell the operator.
    Show(Need),
}

/// One attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work {
    /// The task.
    pub task: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// What can be done to the world, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connector {
    /// Whether the other side does a thing once however often it is told, by its key.
    pub knows_keys: bool,
    /// The device that should do it; none: the one that does it now.
    pub home: Option<DeviceId>,
    /// When that was accepted.
    pub since: Millis,
    /// Where the operator sees whether it was done.
    pub check: String,
}

/// Who the kernel works for.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Every version of workflows that a run may need.
    pub versions: BTreeMap<ContentHash, Workflow>,
    /// The versions in force, by name.
    pub current: BTreeMap<String, ContentHash>,
    /// The policies in force.
    pub policies: Policies,
    /// The connectors, by capability.
    pub connectors: BTreeMap<String, Connector>,
    /// When the versions in force were accepted, by name: entities that are older start nothing.
    pub since: BTreeMap<String, Millis>,
    /// When workflows in force start by themselves.
    pub schedules: Vec<Schedule>,
    /// The device that does what has no home.
    pub coordinator: Option<DeviceId>,
    /// The device that made the vault: without more, effects happen there. None: where their tasks are worked on.
    pub maker: Option<DeviceId>,
    /// The members; none for all.
    pub members: BTreeSet<DeviceId>,
    /// The operator keys that may approve (I11).
    pub operators: BTreeSet<DeviceId>,
}

/// Something that the ledger of this device says was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The effect.
    pub key: EffectKey,
    /// The attempt.
    pub attempt: u32,
    /// When.
    pub at: Millis,
    /// What it is, for people.
    pub what: String,
}

/// Something that this process began and that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Flight {
    Step(Work),
    Effect(EffectKey, u32),
}

/// The id of a device's run of a task.
fn run_id(vault: &VaultId, task: &str, device: &DeviceId) -> String {
    ContentHash::of(format!("aios-run-v1\n{vault}\n{task}\n{device}").as_bytes()).short(32)
}

/// The kernel of one device.
#[derive(Debug)]
pub struct Kernel {
    vault: VaultId,
    device: DeviceId,
    setting: Setting,
    tables: Tables,
    now: Millis,
    /// What the clock said last. Caps go by it: what is recorded is never earlier, so no day has more than its own.
    wall: Millis,
    chance: u64,
    /// Tasks to look at.
    dirty: BTreeSet<String>,
    /// When to look at which task again.
    due: BTreeSet<(Millis, String)>,
    /// When a schedule is due; at once where that is not known yet, absent for never.
    alarm: Option<Millis>,
    /// The events that may start something here and were not looked at, by name and id.
    heard: BTreeSet<(String, String)>,
    /// The tasks that wait for events, by name.
    listening: BTreeMap<String, BTreeSet<String>>,
    /// What is to be recorded and has not come back.
    pending: Vec<(String, Vec<WorkEvent>)>,
    /// What this process has had recorded and not begun.
    fresh: BTreeSet<Flight>,
    /// What this process has begun.
    flying: BTreeSet<Flight>,
    /// What the operator has to do, by task.
    needs: BTreeMap<String, Vec<Need>>,
    /// What this device has begun and the log does not know, by key and attempt.
    lost: BTreeMap<(EffectKey, u32), Need>,
    /// The tasks whose effects wait until the log knows all of that.
    held_up: BTreeSet<String>,
    /// The tasks whose effects wait until one that is tried has ended.
    braked: BTreeSet<String>,
}

impl Kernel {
    /// The kernel of `device`; `seed` is where its random numbers begin.
    pub fn new(vault: VaultId, device: DeviceId, setting: Setting, seed: u64) -> Kernel {
        let tables = Tables::new(setting.maker);
        Kernel {
            vault,
            device,
            setting,
            tables,
            now: 0,
            wall: 0,
            chance: seed,
            dirty: BTreeSet::new(),
            due: BTreeSet::new(),
            alarm: Some(0),
            heard: BTreeSet::new(),
            listening: BTreeMap::new(),
            pending: Vec::new(),
            fresh: BTreeSet::new(),
            flying: BTreeSet::new(),
            needs: BTreeMap::new(),
            lost: BTreeMap::new(),
            held_up: BTreeSet::new(),
            braked: BTreeSet::new(),
        }
    }

    /// Takes in a record from before this process began: nothing of it is in flight. The next input acts on it.
    pub fn load(&mut self, stamp: Stamp, events: &[Event]) {
        self.take_in(stamp, events);
    }

    /// The tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Takes in what the ledger of this device says was begun, after all records: what of it the records do not know was done when
    /// the log was longer than it is here. Until it is known again nothing is done to the world (I10).
    pub fn remember(&mut self, begun: impl IntoIterator<Item = Begun>) {
        for Begun { key, attempt, at, what } in begun {
            if !self.tables.effect(&key).is_some_and(|effect| effect.is_known(attempt)) {
                self.lost.insert((key, attempt), Need::Lost { key, attempt, at, what });
            }
        }
    }

    /// Whether the log lacks something that this device has done.
    pub fn is_behind(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Finds out whether an event tells of something that only the ledger knew.
    fn catch_up(&mut self, event: &WorkEvent) {
        let crate::event::Aggregate::Effect(key) = event.aggregate() else { return };
        if self.lost.is_empty() {
            return;
        }
        let Some(effect) = self.tables.effect(key) else { return };
        self.lost.retain(|(lost, attempt), _| lost != key || !effect.is_known(*attempt));
        if self.lost.is_empty() {
            self.dirty.extend(self.held_up.iter().cloned());
            self.held_up.clear();
        }
    }

    /// What needs the operator, most urgent first.
    pub fn inbox(&self) -> Vec<&Need> {
        let mut out: Vec<&Need> = self.lost.values().chain(self.needs.values().flatten()).collect();
        // What another device does by itself needs nobody.
        out.retain(|need| !matches!(need, Need::Elsewhere { gone: false, .. }));
        out.sort_by_key(|need| need.rank());
        out
    }

    /// What failed silently.
    pub fn health(&self, place: &health::Place) -> Vec<health::Finding> {
        health::health(&self.tables, &self.setting, place)
    }

    /// Whether a connector has a capability.
    pub fn can(&self, capability: &str) -> bool {
        self.setting.connectors.contains_key(capability)
    }

    /// All that connectors can do.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.setting.connectors.keys().map(String::as_str)
    }

    /// The capability that a task waits for, and the device that has it.
    pub fn elsewhere(&self, task: &str) -> Option<(&str, DeviceId)> {
        self.needs.get(task)?.iter().find_map(|need| match need {
            Need::Elsewhere { capability, device, .. } => Some((capability.as_str(), *device)),
            _ => None,
        })
    }

    /// What work and effects of other devices need the operator for, whose word counts wherever it is given.
    pub fn needed_elsewhere(&self) -> Vec<Need> {
        let mut out = Vec::new();
        for (id, task) in self.tables.tasks() {
            let Some(device) = task.device.filter(|device| *device != self.device) else { continue };
            let over = task.ended.is_some() || self.tables.is_paused(id);
            let run = task.runs.iter().find(|(_, run)| run.device == device).filter(|_| !over);
            if let Some((run_id, run, stuck)) = run.and_then(|(id, run)| Some((id, run, run.stuck.as_ref()?)))
            {
                out.push(self.dead(id, task, run_id, run, stuck));
            }
        }
        for (key, effect) in self.tables.effects() {
            let Some(proposed) = &effect.proposed else { continue };
            let device = match effect.intent {
                Some(intent) => intent.device,
                None => self.home(proposed),
            };
            let task = self.tables.task(&proposed.task);
            if device == self.device {
                continue;
            }
            if task.is_none_or(|task| task.ended.is_some() || task.cancelled.is_some()) {
                continue;
            }
            let paused = self.tables.is_paused(&proposed.task);
            let content = proposed.content.clone();
            let (task, step) = (proposed.task.clone(), proposed.step.clone());
            match effect.stand() {
                Stand::Waiting if !paused => {
                    let digest = proposed.digest;
                    let why = effect.decided().map(|decided| decided.why.clone()).unwrap_or_default();
                    out.push(Need::Approval { key: *key, device, digest, task, step, content, why });
                }
                Stand::Unknown(attempt) => {
                    let check = String::new();
                    out.push(Need::Unknown { key: *key, attempt, device, check, task, step, content });
                }
                _ => {}
            }
        }
        out
    }

    /// Takes in what happened and says what is to be done.
    pub fn handle(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        match input {
            // A clock that goes back brings nothing that was due already.
            Input::Tick { now } => (self.now, self.wall) = (self.now.max(now), now),
            Input::Recorded { stamp, events } => self.recorded(stamp, &events),
            Input::Worked { work, came } => self.worked(work, came, &mut out),
            Input::Performed { key, attempt, came } => self.performed(key, attempt, came, &mut out),
        }
        self.advance(&mut out);
        out
    }

    fn recorded(&mut self, stamp: Stamp, events: &[Event]) {
        let counted = self.take_in(stamp, events);
        if stamp.2 != self.device {
            return;
        }
        // It is not waited for any more, also where it turns out to count for nothing.
        let work: Vec<WorkEvent> =
            events.iter().filter_map(|event| WorkEvent::try_from(event).ok()).collect();
        let Some(place) = self.pending.iter().position(|(_, pending)| *pending == work) else { return };
        self.pending.remove(place);
        if counted.len() < work.len() {
            // The clock went back before it was written: what was due is due later.
            self.wall = self.wall.min(stamp.clock().0);
            self.alarm = Some(0);
        }
        for event in counted {
            match event {
                WorkEvent::StepStarted { task, run, step, attempt, .. } => {
                    self.fresh.insert(Flight::Step(Work { task, run, step, attempt }));
                }
                WorkEvent::EffectIntended { key, attempt, .. } => {
                    self.fresh.insert(Flight::Effect(key, attempt));
                }
                _ => {}
            }
        }
    }

    /// Folds a record and marks what it touches.
    fn take_in(&mut self, stamp: Stamp, events: &[Event]) -> Vec<WorkEvent> {
        let mut out = Vec::new();
        for (place, event) in events.iter().enumerate() {
            let order = Order(stamp, u32::try_from(place).unwrap_or(u32::MAX));
            match (WorkEvent::try_from(event), event) {
                // The word of somebody who may not give it, or that is not signed, is none (I11).
                (Ok(work), _)
                    if work.is_operators()
                        && !work
                            .signer(&self.vault)
                            .is_some_and(|by| self.setting.operators.contains(by)) => {}
                // Everybody proposes in his own run, under the key that follows from the work.
                (Ok(WorkEvent::EffectProposed { key, task, run, step, generation, .. }), _)
                    if run != run_id(&self.vault, &task, &stamp.2)
                        || key != EffectKey::of(&self.vault, &task, &step, generation) => {}
                // A schedule starts what its id says, at a time that has come, else it would be silent from then on.
                (
                    Ok(WorkEvent::TaskCreated {
                        task, workflow, trigger: Some(Fired::Cron { at, .. }), ..
                    }),
                    _,
                ) if at > order.time() || task != cron_task(&self.vault, &workflow, at) => {}
                // So does an event, else it would start it twice (I10).
                (
                    Ok(WorkEvent::TaskCreated {
                        task,
                        workflow,
                        trigger: Some(Fired::Event { name, id, .. }),
                        ..
                    }),
                    _,
                ) if task != event_task(&self.vault, &workflow, &name, &id) => {}
                (Ok(work), _) => {
                    self.tables.insert(order, work.clone());
                    self.catch_up(&work);
                    self.touch(&work);
                    out.push(work);
                }
                (Err(_), Event::DeviceRotated { device, .. }) => self.tables.rotate(order, *device),
                (Err(_), _) => {}
            }
        }
        out
    }

    fn touch(&mut self, event: &WorkEvent) {
        use crate::event::Aggregate;
        if matches!(event, WorkEvent::EffectEnded { .. }) {
            self.dirty.append(&mut self.braked);
        }
        let task = match event.aggregate() {
            Aggregate::Task(task) => Some(task.to_owned()),
            Aggregate::Effect(key) => self.proposed_for(key),
            // All that waits for another device may wait for this one now.
            Aggregate::Homes => {
                self.dirty.extend(
                    self.tables.tasks().filter(|(_, it)| it.ended.is_none()).map(|(id, _)| id.to_owned()),
                );
                None
            }
            Aggregate::Budget(_) => None,
            Aggregate::Outside(name) => {
                self.dirty.extend(self.listening.get(name).into_iter().flatten().cloned());
                if let WorkEvent::EventEmitted { name, id, .. } = event {
                    self.heard.insert((name.clone(), id.clone()));
                }
                None
            }
        };
        if matches!(event, WorkEvent::TaskPaused { .. } | WorkEvent::TaskResumed { .. }) {
            // What is part of it stands still and goes on with it.
            let parts = self.tables.tasks().filter(|(_, it)| it.ended.is_none() && it.parent.is_some());
            self.dirty.extend(parts.map(|(id, _)| id.to_owned()));
        }
        let Some(task) = task else { return };
        if let Some((parent, _)) = self.tables.task(&task).and_then(|it| it.parent.as_ref()) {
            self.dirty.insert(parent.clone());
        }
        self.dirty.insert(task);
    }

    fn worked(&mut self, work: Work, came: Result<Value, Failure>, out: &mut Vec<Action>) {
        // What nobody waits for any more: it was stopped, or ended twice.
        if !self.flying.remove(&Flight::Step(work.clone())) {
            return;
        }
        let event = match came {
            Ok(result) => WorkEvent::StepFinished {
                task: work.task.clone(),
                run: work.run,
                step: work.step,
                result,
                go: None,
            },
            Err(failure) => self.failed(&work, failure),
        };
        self.append(&work.task, vec![event], out);
    }

    fn performed(&mut self, key: EffectKey, attempt: u32, came: Came, out: &mut Vec<Action>) {
        if !self.flying.remove(&Flight::Effect(key, attempt)) {
            return;
        }
        let Some(task) = self.proposed_for(&key) else { return };
        self.append(&task, vec![WorkEvent::EffectEnded { key, attempt, came }], out);
    }

    /// The task for which an effect was proposed.
    fn proposed_for(&self, key: &EffectKey) -> Option<String> {
        Some(self.tables.effect(key)?.proposed.as_ref()?.task.clone())
    }

    fn append(&mut self, task: &str, events: Vec<WorkEvent>, out: &mut Vec<Action>) {
        self.pending.push((task.to_owned(), events.clone()));
        out.push(Action::Append(events));
    }

    /// Carries on all work that something happened to.
    fn advance(&mut self, out: &mut Vec<Action>) {
        while let Some((at, task)) = self.due.first().filter(|(at, _)| *at <= self.now).cloned() {
            self.due.remove(&(at, task.clone()));
            self.dirty.insert(task);
        }
        self.hand_over(out);
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.fire(out);
        }
        self.hear(out);
        for task in std::mem::take(&mut self.dirty) {
            // What is on its way to the log decides; then it is looked at again.
            match self.pending.iter().any(|(other, _)| *other == task) {
                true => {
                    self.dirty.insert(task);
                }
                false => self.carry_on(&task, out),
            }
        }
        if let Some(at) = self.due.first().map(|(at, _)| *at).into_iter().chain(self.alarm).min() {
            out.push(Action::Wake(at));
        }
    }

    /// What was to be done was not: it is looked at again.
    pub fn forget(&mut self) {
        self.dirty.extend(self.pending.drain(..).map(|(task, _)| task));
        for flight in std::mem::take(&mut self.flying) {
            let task = match &flight {
                Flight::Step(work) => Some(work.task.clone()),
                Flight::Effect(key, _) => self.proposed_for(key),
            };
            self.dirty.extend(task);
            self.fresh.insert(flight);
        }
        self.alarm = Some(0);
        self.heard = self.tables.all_outside().map(|(name, id)| (name.to_owned(), id.to_owned())).collect();
    }

    /// A random number (splitmix64).
    fn random(chance: &mut u64) -> u64 {
        *chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = *chance;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }
}

#[cfg(test)]
mod tests;
