//! Money that is set aside before it is spent.

use std::collections::BTreeMap;

use super::{Fold, Order};
use crate::event::WorkEvent;
use crate::money::Money;

/// A budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// The most that is spent from it; nothing before it is set.
    pub limit: Money,
    /// What is set aside and not spent yet, by what it is for.
    pub reserved: BTreeMap<String, Money>,
    /// What is spent, by what it was for.
    pub spent: BTreeMap<String, Money>,
    /// What was asked for and did not fit.
    pub refused: BTreeMap<String, Money>,
}

impl Budget {
    /// What is spent or set aside.
    pub fn used(&self) -> Money {
        self.reserved.values().chain(self.spent.values()).fold(Money(0), |sum, amount| sum.plus(*amount))
    }

    /// Whether that much fits.
    pub fn fits(&self, amount: Money) -> bool {
        self.used().plus(amount) <= self.limit
    }
}

impl Fold for Budget {
    fn apply(&mut self, _: &Order, event: &WorkEvent) {
        match event {
            WorkEvent::BudgetSet { limit, .. } => self.limit = *limit,
            WorkEvent::BudgetReserved { id, amount, .. } => {
                if self.reserved.contains_key(id) || self.spent.contains_key(id) {
                    return;
                }
                // Of two that do not fit together the later in the total order is refused, on every device.
                let list = if self.fits(*amount) { &mut self.reserved } else { &mut self.refused };
                list.insert(id.clone(), *amount);
            }
            WorkEvent::BudgetSettled { id, amount, .. } if !self.spent.contains_key(id) => {
                self.reserved.remove(id);
                self.spent.insert(id.clone(), *amount);
            }
            _ => {}
        }
    }
}
