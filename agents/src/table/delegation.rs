//! What the operator lets an agent do without asking each time: so much, until then, and until they take it back.

use super::{Fold, Order};
use crate::event::WorkEvent;
use crate::money::Money;
use crate::policy::fits;
use crate::span::Millis;

use aios_core::id::DeviceId;

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Such as `mail.send`.
    pub capability: String,
    /// To whom or what, with `*` for anything.
    pub target: String,
    /// The agent that holds it: whose work it is.
    pub agent: String,
    /// The most effects.
    pub count: u64,
    /// The most money.
    pub money: Option<Money>,
    /// Until then.
    pub until: Millis,
    /// The operator key that signed: with that it dies.
    pub by: DeviceId,
    /// When.
    pub at: Millis,
}

/// A delegation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegation {
    /// What it lets do.
    pub grant: Option<Grant>,
    /// When the operator took it back.
    pub revoked: Option<Millis>,
}

impl Delegation {
    /// What it lets do at a moment.
    pub fn valid(&self, now: Millis) -> Option<&Grant> {
        self.grant.as_ref().filter(|grant| self.revoked.is_none() && now < grant.until)
    }
}

impl Grant {
    /// Whether it is about an effect.
    pub fn is_about(&self, capability: &str, target: &str, agent: Option<&str>) -> bool {
        self.capability == capability && fits(&self.target, target) && agent == Some(self.agent.as_str())
    }
}

impl Fold for Delegation {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        match event {
            WorkEvent::DelegationIssued { capability, target, agent, count, money, until, by, .. } => {
                self.grant.get_or_insert_with(|| Grant {
                    capability: capability.clone(),
                    target: target.clone(),
                    agent: agent.clone(),
                    count: *count,
                    money: *money,
                    until: *until,
                    by: *by,
                    at: order.time(),
                });
            }
            WorkEvent::DelegationRevoked { .. } => _ = self.revoked.get_or_insert(order.time()),
            _ => {}
        }
    }
}
