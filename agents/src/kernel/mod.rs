//! The kernel: a state machine without I/O that carries work on. Inputs come in, actions go out.
//!
//! What it decides it first has recorded, and acts only when the record comes back as an input: whoever drives it may be
//! killed at any point and start again from the records (I9). A step that was started and of which nothing more is
//! known has crashed; an effect like that is unknown, and is done again only where the other side knows its key (I10).

mod batch;
mod canary;
mod chronicle;
mod create;
mod delegation;
mod effect;
mod fire;
mod habit;
mod home;
mod image;
mod intake;
mod latency;
mod leaf;
mod migrate;
mod need;
mod packet;
mod placement;
mod rehearsal;
mod replay;
mod rewind;
mod round;
mod service;
mod share;
mod spend;
mod trail;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use aios_core::clock::Stamp;
use aios_core::event::Event;
use aios_core::id::{ContentHash, DeviceId, VaultId};
use serde_json::Value;

use crate::agent::{Batched, Turn};
use crate::event::{Came, Content, EffectKey, WorkEvent};
use crate::failure::{Failure, Retry};
use crate::health;
use crate::money::Money;
use crate::needs::Offer;
use crate::policy::Policies;
use crate::query::Query;
use crate::span::Millis;
use crate::table::Tables;
use crate::workflow::Workflow;

pub use canary::{Wanted, lot};
pub use chronicle::Page;
pub use create::CreateError;
pub use delegation::{Delegated, Standing};
pub use fire::{Saw, Schedule};
pub use habit::Habit;
pub use image::{Image, Remembered};
pub use latency::Latency;
pub use migrate::MigrateError;
pub use need::Need;
pub use packet::{Cost, Dead, Deed, Kin, Lasting, Packet, Told};
pub use rehearsal::Episode;
pub use replay::{Compared, Difference, Past, Replay, ReplayError};
pub use rewind::RewindError;
pub use round::{Entry, Next, Round};
pub use service::Service;
pub use spend::{By, CapUse, Of};
pub use trail::{Mark, Stretch};

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
    /// Events are to be in the record that this device writes next, which is durable before anything is done.
    Joined {
        /// Its place in the total order.
        stamp: Stamp,
        /// The place in it of the first of these.
        from: usize,
        /// These events.
        events: Vec<Event>,
    },
    /// An agent's work ended, or a look for files.
    Worked {
        /// What ended.
        work: Work,
        /// What came out.
        came: Result<Value, Failure>,
    },
    /// Something happened in an agent's work, which goes on once that is recorded.
    Took {
        /// The work.
        work: Work,
        /// What happened, one after the other.
        turns: Vec<Turn>,
    },
    /// An agent's work waits for what is not there yet: it is to be looked for again then.
    Waits {
        /// The work.
        work: Work,
        /// When.
        until: Millis,
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
    /// Append these events as one record, make it durable, and hand it back as [`Input::Recorded`]; a [`Round`] has more in one record.
    Append(Vec<WorkEvent>),
    /// Have an agent work.
    Start {
        /// What it works on.
        work: Work,
        /// The agent.
        agent: String,
        /// The version of it that began; nothing where none was in force.
        version: Option<ContentHash>,
        /// What it is given.
        input: Value,
        /// Whether that came from outside.
        outside: bool,
        /// When it began.
        since: Millis,
        /// What happened so far: it goes on from there.
        turns: Vec<Turn>,
    },
    /// Look for files.
    Find {
        /// The step that looks.
        work: Work,
        /// What it looks for.
        query: Query,
    },
    /// Have an agent stop: nobody waits for what it does any more.
    Stop(Work),
    /// Have a provider give up a batch that nobody waits for any more.
    Withdraw(Batched),
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
    /// Whether nothing leaves the vault by it.
    pub inward: bool,
}

/// What the kernel holds an agent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The version of its file and of all that it refers to.
    pub version: ContentHash,
    /// The capabilities of effects that may be its work; nothing: any that a workflow names it for.
    pub effects: Option<Vec<String>>,
    /// Whether each of its effects asks, whatever policies allow.
    pub always_asks: bool,
    /// How often a failed attempt is made again, where the step does not say.
    pub retry: Option<Retry>,
    /// Whether its work calls models.
    pub calls_models: bool,
    /// The most that models may cost for a piece of its work.
    pub money: Option<Money>,
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
    /// The agents in force, by name.
    pub agents: BTreeMap<String, Terms>,
    /// Other versions of agents that work, by name and version.
    pub editions: BTreeMap<(String, ContentHash), Terms>,
    /// Versions of agents that rehearse, by name and version.
    pub rehearsed: BTreeMap<(String, ContentHash), Terms>,
    /// When workflows in force start by themselves.
    pub schedules: Vec<Schedule>,
    /// The device that does what has no home.
    pub coordinator: Option<DeviceId>,
    /// The device that made the vault: without more, effects happen there. None: where their tasks are worked on.
    pub maker: Option<DeviceId>,
    /// What this device says of itself; nothing where it says nothing.
    pub offer: Option<Offer>,
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
    /// When something was last heard of each device.
    seen: BTreeMap<DeviceId, Millis>,
    /// The tasks that another device takes over when nothing is heard of the one that has them.
    leased: BTreeSet<String>,
    /// When leases are looked at again.
    lease_alarm: Millis,
    /// When this device is to say that it is there, because it has work with a lease.
    renewal: Option<Millis>,
    /// What is to be recorded and has not come back.
    pending: Vec<(String, Vec<WorkEvent>)>,
    /// What this process has had recorded and not begun.
    fresh: BTreeSet<Flight>,
    /// What this process has begun.
    flying: BTreeSet<Flight>,
    /// When this process looks again for what work waits for.
    awaited: BTreeMap<Work, Millis>,
    /// What the operator has to do, by task.
    needs: BTreeMap<String, Vec<Need>>,
    /// What this device has begun and the log does not know, by key and attempt.
    lost: BTreeMap<(EffectKey, u32), Need>,
    /// The tasks whose effects wait until the log knows all of that.
    held_up: BTreeSet<String>,
    /// The tasks whose effects wait because others failed, by capability: they are looked at when one has ended.
    braked: BTreeMap<String, BTreeSet<String>>,
    /// New versions of agents that are tried, by agent.
    canaries: BTreeMap<String, canary::Canary>,
    /// Those that did worse, by agent.
    worse: BTreeMap<String, Need>,
    /// The tasks that were to be looked at when this began.
    loud: BTreeSet<String>,
    /// The agents of which rehearsals were remembered then.
    rehearsed: BTreeSet<String>,
    /// The versions of workflows that runs had begun with.
    began: BTreeSet<(String, ContentHash)>,
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
            seen: BTreeMap::new(),
            leased: BTreeSet::new(),
            lease_alarm: 0,
            renewal: None,
            pending: Vec::new(),
            fresh: BTreeSet::new(),
            flying: BTreeSet::new(),
            awaited: BTreeMap::new(),
            needs: BTreeMap::new(),
            lost: BTreeMap::new(),
            held_up: BTreeSet::new(),
            braked: BTreeMap::new(),
            canaries: BTreeMap::new(),
            worse: BTreeMap::new(),
            loud: BTreeSet::new(),
            rehearsed: BTreeSet::new(),
            began: BTreeSet::new(),
        }
    }

    /// Has only so many tasks that are over stay whole in memory: what is over longer is read from something small when it is asked for.
    /// Nothing else depends on it.
    pub fn keep_whole(&mut self, tasks: usize) {
        self.tables.keep_whole(tasks);
    }

    /// Takes in a record from before this process began: nothing of it is in flight. The next input acts on it.
    pub fn load(&mut self, stamp: Stamp, events: &[Event]) {
        self.take_in(stamp, 0, events);
    }

    /// Takes over what another kernel in this process has begun and that has not ended: it has not crashed. After all records.
    pub fn goes_on(&mut self, work: Work) {
        self.flying.insert(Flight::Step(work));
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

    /// What failed silently.
    pub fn health(&self, place: &health::Place) -> Vec<health::Finding> {
        health::health(&self.tables, &self.setting, place)
    }

    /// Whether a connector has a capability.
    pub fn can(&self, capability: &str) -> bool {
        self.setting.connectors.contains_key(capability)
    }

    /// Since when the connector is in force that has a capability; `None` without one.
    pub fn provided_since(&self, capability: &str) -> Option<Millis> {
        self.setting.connectors.get(capability).map(|connector| connector.since)
    }

    /// All that connectors can do.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.setting.connectors.keys().map(String::as_str)
    }

    /// Takes in what happened and says what is to be done.
    pub fn handle(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        match input {
            // A clock that goes back brings nothing that was due already.
            Input::Tick { now } => (self.now, self.wall) = (self.now.max(now), now),
            Input::Recorded { stamp, events } => self.recorded(stamp, 0, &events),
            Input::Joined { stamp, from, events } => self.recorded(stamp, from, &events),
            Input::Worked { work, came } => self.worked(work, came, &mut out),
            Input::Took { work, turns } => self.took(work, turns, &mut out),
            Input::Waits { work, until } => self.waits(work, until),
            Input::Performed { key, attempt, came } => self.performed(key, attempt, came, &mut out),
        }
        self.advance(&mut out);
        // What rests on something that could not be read is not done.
        if self.fault().is_some() {
            out.clear();
        }
        out
    }

    /// What could not be read of what this device remembers: then nothing that the kernel says counts, and it is to be made anew from the log.
    pub fn fault(&self) -> Option<&str> {
        self.tables.fault()
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

    fn took(&mut self, work: Work, turns: Vec<Turn>, out: &mut Vec<Action>) {
        if !self.flying.remove(&Flight::Step(work.clone())) {
            return;
        }
        let Work { task, run, step, attempt } = work;
        let taken = |turn| {
            let (task, run, step) = (task.clone(), run.clone(), step.clone());
            WorkEvent::TurnTaken { task, run, step, attempt, took: Box::new(turn) }
        };
        self.append(&task, turns.into_iter().map(taken).collect(), out);
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
        self.stop_canaries(out);
        self.hand_over(out);
        self.take_over(out);
        self.tell_offer(out);
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
        self.share_out(out);
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
