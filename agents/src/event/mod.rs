//! Domain events of work. Each folds into one aggregate, a task, an effect or a budget, in the total order of records.

mod aggregate;
mod codec;
mod consent;
mod content;
mod fired;

use std::collections::BTreeMap;

use aios_core::id::{ContentHash, DeviceId};
use aios_core::item::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Edition, Turn};
use crate::failure::Failure;
use crate::money::Money;
use crate::needs::Offer;
use crate::policy::Verdict;
use crate::span::Millis;
use crate::trial::Tally;

pub use aggregate::Aggregate;
pub use codec::NotWork;
pub use consent::Terms;
pub use content::{Content, EffectKey, digest};
pub use fired::{Fired, cron_task, entity_task, event_task, is_event_name};

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(it: &bool) -> bool {
    !it
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All was done.
    Done,
    /// It failed, and what could be taken back was.
    Failed,
    /// The operator ended it.
    Cancelled,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Came {
    /// It happened.
    Done {
        /// What the other side answered.
        result: Value,
    },
    /// It did not happen.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Nobody knows.
    Unknown,
}

/// What happened to a piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum WorkEvent {
    /// There is something to do.
    #[serde(rename = "task.created")]
    TaskCreated {
        /// The task's id; of triggered work, a hash of workflow, trigger and instant or event.
        task: String,
        /// The workflow that does it.
        workflow: String,
        /// The version of the workflow's file.
        version: ContentHash,
        /// What it is given.
        input: Value,
        /// The task and step that it is part of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<(String, String)>,
        /// The device that works on it; absent: the one that made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on: Option<DeviceId>,
        /// What started it; absent: the operator, or a step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<Fired>,
    },
    /// Another device works on a task from here on.
    #[serde(rename = "task.moved")]
    TaskMoved {
        /// The task.
        task: String,
        /// The device.
        to: DeviceId,
        /// How often it was moved before: of two who move it at once the first counts.
        turn: u32,
        /// Why.
        why: String,
        /// Whether it stays there, whatever it needs.
        #[serde(default, skip_serializing_if = "is_false")]
        pinned: bool,
    },
    /// What a device says of itself, and that it is there.
    #[serde(rename = "device.offers")]
    DeviceOffers {
        /// What.
        #[serde(flatten)]
        offer: Offer,
    },
    /// The operator ends a task.
    #[serde(rename = "task.cancelled")]
    TaskCancelled {
        /// The task.
        task: String,
        /// Why.
        note: String,
    },
    /// The operator has a task stand still.
    #[serde(rename = "task.paused")]
    TaskPaused {
        /// The task.
        task: String,
    },
    /// The operator has a task go on that stood still.
    #[serde(rename = "task.resumed")]
    TaskResumed {
        /// The task.
        task: String,
    },
    /// The operator has a step that failed for good tried again.
    #[serde(rename = "task.retried")]
    TaskRetried {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// The step.
        step: String,
    },
    /// The operator has a run go back to a step and do it and what follows anew.
    #[serde(rename = "task.rewound")]
    TaskRewound {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// How often the run was asked to go back before: said again later it is nothing.
        turn: u32,
        /// Effects that happened and are to happen once more, under the key of the next generation (I10).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        again: Vec<EffectKey>,
    },
    /// A run has gone back.
    #[serde(rename = "run.rewound")]
    RunRewound {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Which time it was asked to, from 0.
        turn: u32,
        /// The step that it went back to; absent: it could not any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Effects that happened and happen once more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        again: Vec<EffectKey>,
        /// What takes back the effects that happened in the steps it went back over, by step: these may not come to be known again.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        undo: BTreeMap<String, Content>,
    },
    /// The operator has a run go on with another version of its workflow.
    #[serde(rename = "task.migrated")]
    TaskMigrated {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// The version.
        to: ContentHash,
        /// How often the run was asked to before: said again later it is nothing.
        turn: u32,
    },
    /// A run goes on with another version, or does not.
    #[serde(rename = "run.migrated")]
    RunMigrated {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Which time it was asked to, from 0.
        turn: u32,
        /// The workflow.
        workflow: String,
        /// The version; absent: it stays with the one it had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ContentHash>,
        /// Why it stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A device began to do it.
    #[serde(rename = "run.started")]
    RunStarted {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// When the task was made, as far as the device knows: the run goes by that, whoever turns out to have made it before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<Millis>,
    },
    /// A run cannot go on by itself: a dead letter.
    #[serde(rename = "run.stuck")]
    RunStuck {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// The step that failed for good.
        step: String,
        /// How.
        failure: Failure,
    },
    /// A run ended.
    #[serde(rename = "run.ended")]
    RunEnded {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// How.
        outcome: Outcome,
        /// What came out.
        result: Value,
    },
    /// A step is about to start; recorded before it does.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// Which attempt it is, from 1.
        attempt: u32,
        /// Digest of what goes in.
        input: ContentHash,
        /// The items that an `each` found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<Vec<Value>>,
        /// When a wait is over, or its deadline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
        /// The version of the agent that works, with all that it refers to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<ContentHash>,
    },
    /// Something happened in an agent's work with a model; recorded before what comes next.
    #[serde(rename = "turn.taken")]
    TurnTaken {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// Which attempt it is part of.
        attempt: u32,
        /// What happened.
        took: Box<Turn>,
    },
    /// A step has its result; recorded before the next begins.
    #[serde(rename = "step.finished")]
    StepFinished {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// What came out.
        result: Value,
        /// Where a choice leads; empty: to the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        go: Option<String>,
    },
    /// An attempt at a step failed.
    #[serde(rename = "step.failed")]
    StepFailed {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// Which attempt it was.
        attempt: u32,
        /// How.
        failure: Failure,
        /// When it is tried again; never if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry: Option<Millis>,
    },
    /// The time that a step waited for has come.
    #[serde(rename = "timer.fired")]
    TimerFired {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// The time it was set for.
        at: Millis,
        /// How much later it fired.
        late: Millis,
    },
    /// The operator answered a question.
    #[serde(rename = "question.answered")]
    QuestionAnswered {
        /// The task.
        task: String,
        /// Path of the step that asks.
        step: String,
        /// The answer.
        answer: String,
        /// Which attempt at the step asked; 0 where that was not said.
        #[serde(default, skip_serializing_if = "is_zero")]
        attempt: u32,
    },
    /// Something happened that workflows may start with or wait for. Of one that is told twice, by its id, the first counts.
    #[serde(rename = "event.emitted")]
    EventEmitted {
        /// Its name, such as `bank.paid`; of a webhook its path.
        name: String,
        /// Which one it is.
        id: String,
        /// What it says.
        data: Value,
        /// Whether that came from outside: whatever rests on it asks.
        #[serde(default, skip_serializing_if = "is_false")]
        untrusted: bool,
        /// The task and step that emitted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<(String, String)>,
        /// How many events led to it, one after the other.
        #[serde(default, skip_serializing_if = "is_zero")]
        hops: u32,
    },
    /// A step wants to change the world.
    #[serde(rename = "effect.proposed")]
    EffectProposed {
        /// Its key.
        key: EffectKey,
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// How often what is sent was changed by the operator.
        generation: u32,
        /// What it does.
        content: Content,
    },
    /// A policy decided.
    #[serde(rename = "effect.decided")]
    EffectDecided {
        /// The effect's key.
        key: EffectKey,
        /// Digest of what was decided about: of something else it is no decision.
        digest: ContentHash,
        /// What is needed for it: where that happens it is decided.
        capability: String,
        /// What.
        verdict: Verdict,
        /// The rule; none: the default.
        rule: Option<String>,
        /// Why.
        why: String,
    },
    /// The time has come to ask the operator louder.
    #[serde(rename = "effect.escalated")]
    EffectEscalated {
        /// The effect's key.
        key: EffectKey,
        /// Digest of what is asked about.
        digest: ContentHash,
        /// What is needed for it: where that happens time is looked at.
        capability: String,
        /// Which time it is, from 0.
        stage: u32,
        /// When that was to be.
        at: Millis,
        /// What is asked.
        ask: String,
    },
    /// The operator consents to exactly this (I11).
    #[serde(rename = "approval.granted")]
    ApprovalGranted {
        /// The effect's key.
        key: EffectKey,
        /// Digest of what is consented to.
        digest: ContentHash,
        /// The operator key that signed.
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// The operator consents to something else than what was proposed: that is void, and this takes its place (I11).
    #[serde(rename = "approval.edited")]
    ApprovalEdited {
        /// The key of what is consented to: that of the next generation.
        key: EffectKey,
        /// The effect whose place it takes.
        of: EffectKey,
        /// The task.
        task: String,
        /// Path of the step, with loop items.
        step: String,
        /// The generation of what is consented to.
        generation: u32,
        /// What is consented to.
        content: Content,
        /// The operator key that signed.
        by: DeviceId,
        /// Its signature, of the consent digest.
        sig: Bytes,
    },
    /// The operator refuses.
    #[serde(rename = "approval.denied")]
    ApprovalDenied {
        /// The effect's key.
        key: EffectKey,
        /// Why.
        note: String,
    },
    /// Nobody wants an effect any more that has not happened.
    #[serde(rename = "effect.withdrawn")]
    EffectWithdrawn {
        /// Its key.
        key: EffectKey,
        /// Why.
        note: String,
    },
    /// An effect is about to happen; durable before the act (I10).
    #[serde(rename = "effect.intended")]
    EffectIntended {
        /// Its key.
        key: EffectKey,
        /// Which attempt it is, from 1.
        attempt: u32,
        /// Digest of what will happen.
        digest: ContentHash,
        /// What is needed for it.
        capability: String,
    },
    /// What came of an effect.
    #[serde(rename = "effect.ended")]
    EffectEnded {
        /// Its key.
        key: EffectKey,
        /// Which attempt it was.
        attempt: u32,
        /// What.
        #[serde(flatten)]
        came: Came,
    },
    /// The operator found out what came of an effect that ended unknown.
    #[serde(rename = "effect.settled")]
    EffectSettled {
        /// Its key.
        key: EffectKey,
        /// Which attempt it was.
        attempt: u32,
        /// Whether it happened.
        happened: bool,
        /// The operator key that signed: that it did not happen lets it be done once more (I11).
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// The device where effects of a capability happen has them happen on another from here on.
    #[serde(rename = "home.moved")]
    HomeMoved {
        /// The capability.
        capability: String,
        /// The device from now on.
        to: DeviceId,
    },
    /// The operator has effects of a capability happen on a device without asking the one where they happened: that is gone for good.
    #[serde(rename = "home.taken")]
    HomeTaken {
        /// The capability.
        capability: String,
        /// The device from now on.
        to: DeviceId,
        /// How often it was moved or taken before: said again later it is nothing.
        turn: u32,
        /// The operator key that signed (I11).
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// The operator lets an agent do something without asking each time.
    #[serde(rename = "delegation.issued")]
    DelegationIssued {
        /// Its id, which follows from all else.
        id: String,
        /// What.
        capability: String,
        /// To whom or what, with `*` for anything.
        target: String,
        /// The agent whose work it has to be.
        agent: String,
        /// How often.
        count: u64,
        /// The most money.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        money: Option<Money>,
        /// Until when.
        until: Millis,
        /// What tells it from another with the same words.
        nonce: String,
        /// The operator key that signed (I11).
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// The operator takes that back.
    #[serde(rename = "delegation.revoked")]
    DelegationRevoked {
        /// Its id.
        id: String,
        /// The operator key that signed.
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// The operator says which version of an agent works.
    #[serde(rename = "agent.released")]
    AgentReleased {
        /// Its id, which follows from all else.
        id: String,
        /// The agent.
        agent: String,
        /// None: the one that was accepted last; one: that; two: the first, and for a share of the tasks the second.
        editions: Vec<Edition>,
        /// So many tasks of ten thousand the second has.
        #[serde(default, skip_serializing_if = "is_zero")]
        share: u32,
        /// How often that was said before: of two who say it at once the later counts.
        turn: u32,
        /// The operator key that signed (I11).
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// The operator has a version of an agent rehearse: a task in which nothing is done that it wants.
    #[serde(rename = "agent.rehearsed")]
    AgentRehearsed {
        /// The task's id.
        task: String,
        /// The agent.
        agent: String,
        /// The version, which need not be accepted: nothing comes of it.
        edition: Edition,
        /// What it is given.
        input: Value,
        /// The task and step in which it was given before: what came of calls there is what comes of them now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        past: Option<(String, String)>,
        /// The operator key that signed (I11).
        by: DeviceId,
        /// Its signature.
        sig: Bytes,
    },
    /// A new version of an agent did worse than the old one, which has all of the work again.
    #[serde(rename = "canary.stopped")]
    CanaryStopped {
        /// The agent.
        agent: String,
        /// What the operator said by which it worked.
        id: String,
        /// What the old version did.
        old: Tally,
        /// What the new one did.
        new: Tally,
        /// Why, for people.
        why: String,
    },
    /// The note of a day says what was done.
    #[serde(rename = "journal.written")]
    JournalWritten {
        /// The day.
        day: String,
        /// What it says, by what that is about.
        ids: Vec<String>,
        /// How many devices had written it before: of what these wrote nothing stands twice.
        tidied: u32,
    },
    /// A budget has this limit from here on.
    #[serde(rename = "budget.set")]
    BudgetSet {
        /// The budget.
        budget: String,
        /// The most that is spent from it.
        limit: Money,
    },
    /// A device gives another of its share of a budget.
    #[serde(rename = "budget.granted")]
    BudgetGranted {
        /// The budget.
        budget: String,
        /// To whom.
        to: DeviceId,
        /// How much.
        amount: Money,
    },
    /// A device needs more than its share of a budget has left.
    #[serde(rename = "budget.asked")]
    BudgetAsked {
        /// The budget.
        budget: String,
        /// How much more.
        amount: Money,
    },
    /// Money is put aside before it is spent.
    #[serde(rename = "budget.reserved")]
    BudgetReserved {
        /// The budget.
        budget: String,
        /// What it is for; reserved once.
        id: String,
        /// How much.
        amount: Money,
    },
    /// It is known what was spent of what was put aside.
    #[serde(rename = "budget.settled")]
    BudgetSettled {
        /// The budget.
        budget: String,
        /// What it was for.
        id: String,
        /// How much.
        amount: Money,
    },
}

impl WorkEvent {
    /// The run it is part of, where it is part of one.
    pub fn run(&self) -> Option<&str> {
        use WorkEvent as E;
        match self {
            E::TaskRetried { run, .. }
            | E::TaskRewound { run, .. }
            | E::RunRewound { run, .. }
            | E::TaskMigrated { run, .. }
            | E::RunMigrated { run, .. }
            | E::RunStarted { run, .. }
            | E::RunStuck { run, .. }
            | E::RunEnded { run, .. }
            | E::StepStarted { run, .. }
            | E::TurnTaken { run, .. }
            | E::StepFinished { run, .. }
            | E::StepFailed { run, .. }
            | E::TimerFired { run, .. }
            | E::EffectProposed { run, .. } => Some(run),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
