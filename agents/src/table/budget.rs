//! Money that is set aside before it is spent, from shares that devices have of it.
//!
//! A share is money that a device has: it alone spends it, and it alone gives of it. So whoever cannot reach the others goes on with what it
//! has, and all together never spend more than there is, also where two take themselves for the one who shares out.

use std::collections::BTreeMap;
use std::sync::Arc;

use aios_core::id::DeviceId;

use super::{Fold, Homes, Order, Tables};
use crate::event::WorkEvent;
use crate::money::Money;

/// What calls of models are known by, in policies and as something that has a home: the device that has what is not shared out.
pub const MODELS: &str = "model.call";

/// An amount, and the device whose share it is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The device.
    pub device: DeviceId,
    /// The amount.
    pub amount: Money,
}

/// A budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// Whose word on the limit counts: that of the home.
    pub(super) homes: Arc<Homes>,
    /// The most that is spent from it; nothing before it is set.
    pub limit: Money,
    /// Who set it last: what is too much is taken from there.
    bank: Option<DeviceId>,
    /// What each device was given, and has not given on.
    shares: BTreeMap<DeviceId, Money>,
    /// What is spent or set aside by each.
    used: BTreeMap<DeviceId, Money>,
    /// What is set aside and not spent yet, by what it is for.
    pub reserved: BTreeMap<String, Put>,
    /// What is spent, by what it was for.
    pub spent: BTreeMap<String, Put>,
    /// What was set aside by somebody who did not have it: it counts for nothing.
    pub refused: BTreeMap<String, Money>,
    /// What devices ask for, and since when.
    asked: BTreeMap<DeviceId, (Order, Money)>,
}

impl Budget {
    /// One of which nothing is known.
    pub(super) fn at_homes(homes: Arc<Homes>) -> Budget {
        Budget { homes, ..Budget::default() }
    }

    /// What is spent or set aside by all.
    pub fn used(&self) -> Money {
        self.used.values().fold(Money(0), |sum, amount| sum.plus(*amount))
    }

    /// What a device may still set aside, or give.
    pub fn free(&self, device: &DeviceId) -> Money {
        let of = |list: &BTreeMap<DeviceId, Money>| list.get(device).map_or(0, |amount| amount.0);
        Money(of(&self.shares).saturating_sub(of(&self.used)))
    }

    /// What a device asks for.
    pub fn asks(&self, device: &DeviceId) -> Option<(Order, Money)> {
        self.asked.get(device).copied()
    }

    /// What devices ask for, the first first.
    pub fn asking(&self) -> Vec<(DeviceId, Order, Money)> {
        let mut out: Vec<_> =
            self.asked.iter().map(|(device, (order, amount))| (*device, *order, *amount)).collect();
        out.sort_by_key(|(_, order, _)| *order);
        out
    }

    fn shared(&self) -> u64 {
        self.shares.values().fold(0, |sum, amount| sum.saturating_add(amount.0))
    }

    fn add(list: &mut BTreeMap<DeviceId, Money>, device: DeviceId, amount: Money) {
        let sum = list.entry(device).or_default();
        *sum = sum.plus(amount);
    }

    fn take(list: &mut BTreeMap<DeviceId, Money>, device: &DeviceId, amount: Money) {
        if let Some(sum) = list.get_mut(device) {
            *sum = Money(sum.0.saturating_sub(amount.0));
        }
    }

    /// What is shared out beyond the limit goes as it comes back to whoever set that.
    fn shrink(&mut self) {
        let Some(bank) = self.bank else { return };
        let over = self.shared().saturating_sub(self.limit.0).min(self.free(&bank).0);
        Budget::take(&mut self.shares, &bank, Money(over));
    }
}

impl Fold for Budget {
    fn apply(&mut self, order: &Order, event: &WorkEvent) {
        let author = order.0.2;
        match event {
            // More money than there is would come of two who set it: the home does, and there is one at a time.
            WorkEvent::BudgetSet { limit, .. } if self.homes.at(MODELS, order) == Some(author) => {
                (self.limit, self.bank) = (*limit, Some(author));
                let more = limit.0.saturating_sub(self.shared());
                Budget::add(&mut self.shares, author, Money(more));
                self.shrink();
            }
            // Nobody gives what he does not have.
            WorkEvent::BudgetGranted { to, amount, .. } if self.free(&author) >= *amount => {
                Budget::take(&mut self.shares, &author, *amount);
                Budget::add(&mut self.shares, *to, *amount);
                self.asked.remove(to);
                self.shrink();
            }
            WorkEvent::BudgetAsked { amount, .. } => {
                self.asked.insert(author, (*order, *amount));
            }
            WorkEvent::BudgetReserved { id, amount, .. } => {
                if self.reserved.contains_key(id) || self.spent.contains_key(id) {
                    return;
                }
                if self.free(&author) < *amount {
                    self.refused.insert(id.clone(), *amount);
                    return;
                }
                Budget::add(&mut self.used, author, *amount);
                self.reserved.insert(id.clone(), Put { device: author, amount: *amount });
            }
            // What was spent is spent, also where it is more than was set aside.
            WorkEvent::BudgetSettled { id, amount, .. } if !self.spent.contains_key(id) => {
                if let Some(put) = self.reserved.get(id).copied() {
                    if put.device != author {
                        return;
                    }
                    self.reserved.remove(id);
                    Budget::take(&mut self.used, &author, put.amount);
                }
                Budget::add(&mut self.used, author, *amount);
                self.spent.insert(id.clone(), Put { device: author, amount: *amount });
            }
            _ => {}
        }
    }
}

impl Tables {
    /// All budgets.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, &Budget)> {
        self.budgets.iter().map(|(name, it)| (name.as_str(), &it.table))
    }

    /// What is set aside under ids that begin like that: the budget, the id, and how much.
    pub fn reserved<'t>(&'t self, prefix: &'t str) -> impl Iterator<Item = (&'t str, &'t str, &'t Put)> {
        self.budgets().flat_map(move |(name, budget)| {
            let from = budget.reserved.range(prefix.to_owned()..);
            let of = from.take_while(move |(id, _)| id.starts_with(prefix));
            of.map(move |(id, put)| (name, id.as_str(), put))
        })
    }
}

#[cfg(test)]
mod tests {
    use aios_core::clock::{Hlc, Stamp};

    use super::*;

    const HOME: u8 = 1;

    /// A budget after what devices said, one after the other.
    fn after(said: &[(u8, WorkEvent)]) -> Budget {
        let device = |n: u8| DeviceId([n; 32]);
        let mut budget = Budget::at_homes(Arc::new(Homes::on(Some(device(HOME)))));
        for (at, (author, event)) in said.iter().enumerate() {
            let stamp = Stamp::new(Hlc(at as u64, 0), device(*author), at as u64);
            budget.apply(&Order(stamp, 0), event);
        }
        budget
    }

    fn set(limit: u64) -> WorkEvent {
        WorkEvent::BudgetSet { budget: "b".into(), limit: Money(limit) }
    }

    fn give(to: u8, amount: u64) -> WorkEvent {
        WorkEvent::BudgetGranted { budget: "b".into(), to: DeviceId([to; 32]), amount: Money(amount) }
    }

    fn reserve(id: &str, amount: u64) -> WorkEvent {
        WorkEvent::BudgetReserved { budget: "b".into(), id: id.into(), amount: Money(amount) }
    }

    fn settle(id: &str, amount: u64) -> WorkEvent {
        WorkEvent::BudgetSettled { budget: "b".into(), id: id.into(), amount: Money(amount) }
    }

    fn free(budget: &Budget) -> [u64; 3] {
        [1, 2, 3].map(|n| budget.free(&DeviceId([n; 32])).0)
    }

    #[test]
    fn nobody_spends_what_he_was_not_given() {
        let budget =
            after(&[(HOME, set(10)), (2, reserve("a", 1)), (HOME, give(2, 6)), (2, reserve("b", 5))]);
        assert_eq!(free(&budget), [4, 1, 0]);
        assert_eq!(budget.refused.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(budget.reserved["b"], Put { device: DeviceId([2; 32]), amount: Money(5) });
    }

    #[test]
    fn nobody_gives_what_he_does_not_have() {
        let budget = after(&[(HOME, set(10)), (HOME, give(2, 6)), (HOME, give(3, 6)), (2, give(3, 7))]);
        assert_eq!(free(&budget), [4, 6, 0]);
        // What is set aside is given no more.
        let budget = after(&[(HOME, set(10)), (HOME, reserve("a", 8)), (HOME, give(2, 3))]);
        assert_eq!(free(&budget), [2, 0, 0]);
    }

    #[test]
    fn the_limit_is_that_of_the_home() {
        let budget = after(&[(2, set(10)), (2, reserve("a", 1))]);
        assert_eq!((free(&budget), budget.used()), ([0, 0, 0], Money(0)));
        let set_twice = after(&[(HOME, set(10)), (HOME, set(10)), (2, set(50)), (HOME, set(12))]);
        assert_eq!(free(&set_twice), [12, 0, 0]);
    }

    #[test]
    fn what_is_too_much_goes_as_it_comes_back() {
        let said =
            [(HOME, set(10)), (HOME, give(2, 6)), (HOME, set(3)), (2, give(HOME, 2)), (2, give(HOME, 4))];
        assert_eq!(free(&after(&said[..3])), [0, 6, 0]);
        assert_eq!(free(&after(&said[..4])), [0, 4, 0]);
        assert_eq!(free(&after(&said)), [3, 0, 0]);
    }

    #[test]
    fn what_is_settled_is_free_as_far_as_it_was_not_spent() {
        let said = [(HOME, set(10)), (HOME, reserve("a", 8)), (2, settle("a", 0)), (HOME, settle("a", 3))];
        assert_eq!(free(&after(&said[..3])), [2, 0, 0], "another device does not know what it cost");
        let budget = after(&said);
        assert_eq!((free(&budget), budget.used()), ([7, 0, 0], Money(3)));
        // Said again it is the same; and what cost more than was set aside did.
        let more = after(
            &[&said[..], &[(HOME, settle("a", 1)), (HOME, reserve("b", 1)), (HOME, settle("b", 9))]].concat(),
        );
        assert_eq!((free(&more), more.used()), ([0, 0, 0], Money(12)));
    }

    #[test]
    fn who_is_given_something_asks_no_more() {
        let ask = |amount| WorkEvent::BudgetAsked { budget: "b".into(), amount: Money(amount) };
        let said = [(HOME, set(10)), (3, ask(4)), (2, ask(2)), (HOME, give(3, 4))];
        let asking = |budget: &Budget| budget.asking().iter().map(|(it, ..)| it.0[0]).collect::<Vec<_>>();
        assert_eq!(asking(&after(&said[..3])), [3, 2]);
        assert_eq!(asking(&after(&said)), [2]);
    }
}
