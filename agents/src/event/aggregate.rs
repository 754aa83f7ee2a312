//! What events are folded by.

use super::{EffectKey, WorkEvent};

/// The aggregate that an event is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregate<'e> {
    /// A task with its runs and steps.
    Task(&'e str),
    /// An effect with its approvals.
    Effect(&'e EffectKey),
    /// Where effects happen.
    Homes,
    /// What devices say of themselves.
    Devices,
    /// What an agent may do without asking.
    Delegation(&'e str),
    /// Which version of an agent works.
    Release(&'e str),
    /// A budget.
    Budget(&'e str),
    /// The note of a day.
    Day(&'e str),
    /// What happens outside the work, by name.
    Outside(&'e str),
}

impl WorkEvent {
    /// The aggregate it is part of.
    pub fn aggregate(&self) -> Aggregate<'_> {
        use WorkEvent as E;
        match self {
            E::TaskCreated { task, .. }
            | E::AgentRehearsed { task, .. }
            | E::TaskMoved { task, .. }
            | E::TaskCancelled { task, .. }
            | E::TaskPaused { task }
            | E::TaskResumed { task }
            | E::TaskRetried { task, .. }
            | E::TaskRewound { task, .. }
            | E::RunRewound { task, .. }
            | E::TaskMigrated { task, .. }
            | E::RunMigrated { task, .. }
            | E::RunStarted { task, .. }
            | E::RunStuck { task, .. }
            | E::RunEnded { task, .. }
            | E::StepStarted { task, .. }
            | E::TurnTaken { task, .. }
            | E::StepFinished { task, .. }
            | E::StepFailed { task, .. }
            | E::TimerFired { task, .. }
            | E::QuestionAnswered { task, .. } => Aggregate::Task(task),
            E::EffectProposed { key, .. }
            | E::EffectDecided { key, .. }
            | E::EffectEscalated { key, .. }
            | E::ApprovalGranted { key, .. }
            | E::ApprovalEdited { key, .. }
            | E::ApprovalDenied { key, .. }
            | E::EffectWithdrawn { key, .. }
            | E::EffectIntended { key, .. }
            | E::EffectEnded { key, .. }
            | E::EffectSettled { key, .. } => Aggregate::Effect(key),
            E::HomeMoved { .. } | E::HomeTaken { .. } => Aggregate::Homes,
            E::DelegationIssued { id, .. } | E::DelegationRevoked { id, .. } => Aggregate::Delegation(id),
            E::AgentReleased { agent, .. } | E::CanaryStopped { agent, .. } => Aggregate::Release(agent),
            E::DeviceOffers { .. } => Aggregate::Devices,
            E::JournalWritten { day, .. } => Aggregate::Day(day),
            E::EventEmitted { name, .. } => Aggregate::Outside(name),
            E::BudgetSet { budget, .. }
            | E::BudgetGranted { budget, .. }
            | E::BudgetAsked { budget, .. }
            | E::BudgetReserved { budget, .. }
            | E::BudgetSettled { budget, .. } => Aggregate::Budget(budget),
        }
    }
}
