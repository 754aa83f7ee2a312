//! What models may cost: set aside from this device's share before a step begins, settled when its attempt is over.
//!
//! A rule of a policy that names `model.call` and has a cap of money over a day or a month is such a budget. The device at home has what is
//! not shared out; it gives to those who ask, and who needs nothing gives back when others ask.

use aios_core::id::DeviceId;

use super::{Action, Flight, Kernel, Need, Work};
use crate::event::WorkEvent;
use crate::failure::{Class, Failure};
use crate::money::Money;
use crate::span::Millis;
use crate::table::{Budget, MODELS, Status, Task};
use crate::workflow::Act;

/// The part of a budget that is given at least, so that who cannot reach the others later has something.
const PART: u64 = 8;

/// Whether there is money for a step.
pub(super) enum Purse {
    /// It begins, with this recorded.
    Has(Vec<WorkEvent>),
    /// It waits, and asks.
    Lacks(Box<Need>, Vec<WorkEvent>),
}

/// What money is set aside under for an attempt.
fn reservation(work: &Work) -> String {
    let Work { task, run, step, attempt } = work;
    format!("{task}\n{run}\n{step}\n{attempt}")
}

fn unsaid(rule: &str, agent: &str) -> Failure {
    let what = format!(
        "`{rule}` caps what models cost, and the file of agent `{agent}` does not say what a piece of its work may: write `budget: {{money: 0.50}}` there"
    );
    Failure::new(Class::Budget, what)
}

/// The attempt that money was set aside for under an id.
fn attempt_of(id: &str) -> Option<Work> {
    let mut parts = id.split('\n').map(str::to_owned);
    let (task, run, step) = (parts.next()?, parts.next()?, parts.next()?);
    let attempt = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Work { task, run, step, attempt })
}

impl Kernel {
    /// The budgets that models have now, each with its rule and its limit.
    fn pots(&self) -> Vec<(String, Money)> {
        if !self.setting.agents.values().any(|terms| terms.calls_models) {
            return Vec::new();
        }
        let pots = self.setting.policies.pots(MODELS, self.wall);
        pots.map(|(rule, limit, from)| (format!("{rule} {from}"), limit)).collect()
    }

    /// The budget of a rule from a moment on, where anybody asked for it or has of it.
    pub(super) fn pot(&self, rule: &str, from: Millis) -> Option<&Budget> {
        self.tables.budget(&format!("{rule} {from}"))
    }

    /// What this device may still set aside, or give, with what is on its way to the log.
    fn free(&self, name: &str, more: &[WorkEvent]) -> Money {
        let free = self.tables.budget(name).map_or(Money(0), |budget| budget.free(&self.device));
        let pending = self.pending.iter().flat_map(|(_, events)| events).chain(more);
        let taken = pending.map(|event| match event {
            WorkEvent::BudgetReserved { budget, amount, .. }
            | WorkEvent::BudgetGranted { budget, amount, .. }
                if budget == name =>
            {
                amount.0
            }
            _ => 0,
        });
        Money(taken.fold(free.0, u64::saturating_sub))
    }

    /// Sets aside what an attempt at a step may cost at most; `more` is recorded before it.
    ///
    /// # Errors
    /// Nobody says what it may cost, or what there is.
    pub(super) fn set_aside(&self, agent: &str, work: &Work, more: &[WorkEvent]) -> Result<Purse, Failure> {
        let terms = self.setting.agents.get(agent).filter(|terms| terms.calls_models);
        let Some(terms) = terms else { return Ok(Purse::Has(Vec::new())) };
        // Of a file that cannot be read nobody knows what it still caps.
        let capped =
            |file: &&str| self.tables.budgets().any(|(name, _)| name.starts_with(&format!("{file}#")));
        if let Some(file) = self.setting.policies.broken().iter().map(String::as_str).find(capped) {
            let what = format!("{file} cannot be read, and capped what models cost");
            return Err(Failure::new(Class::Budget, what));
        }
        self.within_run(agent, work, terms.money, more)?;
        let pots = self.pots();
        let (Some((rule, _)), amount) = (pots.first(), terms.money) else {
            return Ok(Purse::Has(Vec::new()));
        };
        let amount = amount.ok_or_else(|| unsaid(rule, agent))?;
        let id = reservation(work);
        let mut events = Vec::new();
        let mut short = Vec::new();
        for (name, limit) in &pots {
            let known = self.tables.budget(name).is_some_and(|it| it.reserved.contains_key(&id));
            let free = self.free(name, more);
            if known {
                continue;
            }
            if free >= amount {
                events.push(WorkEvent::BudgetReserved { budget: name.clone(), id: id.clone(), amount });
            } else {
                short.push((name, limit, Money(amount.0 - free.0)));
            }
        }
        let Some((name, limit, _)) = short.first() else { return Ok(Purse::Has(events)) };
        let what = format!(
            "no share is left here of {limit} that `{}` lets models cost: {amount} may be needed; it goes on when another device gives of its share, or the rule allows more",
            name.rsplit_once(' ').map_or(name.as_str(), |(rule, _)| rule)
        );
        let need = Need::Missing { task: work.task.clone(), what };
        let asks = short.into_iter().filter(|(name, ..)| !self.is_asking(name, more));
        let asks = asks.map(|(name, _, amount)| WorkEvent::BudgetAsked { budget: name.clone(), amount });
        Ok(Purse::Lacks(Box::new(need), asks.collect()))
    }

    /// Whether what an attempt may cost at most is within what rules let models cost in its run. A run is one device's, so nobody else is asked.
    fn within_run(
        &self,
        agent: &str,
        work: &Work,
        most: Option<Money>,
        more: &[WorkEvent],
    ) -> Result<(), Failure> {
        for (rule, limit) in self.setting.policies.run_caps(MODELS) {
            let most = most.ok_or_else(|| unsaid(rule, agent))?;
            let taken = self.taken_in_run(work, more);
            if taken.plus(most) > limit {
                let what = format!(
                    "`{rule}` lets models cost {limit} in a run: {taken} are spent or set aside, and this step may need {most}"
                );
                return Err(Failure::new(Class::Budget, what));
            }
        }
        Ok(())
    }

    /// What models cost in a run so far, or may, where that is not known yet.
    fn taken_in_run(&self, work: &Work, more: &[WorkEvent]) -> Money {
        let Some(task) = self.tables.task(&work.task) else { return Money(0) };
        let workflow = task.version.and_then(|version| self.setting.versions.get(&version));
        let most = |path: &str| match workflow?.steps.at(path)?.act {
            Act::Agent { ref agent, .. } => {
                let terms = self.terms(agent, &work.task).filter(|terms| terms.calls_models)?;
                Some(terms.money.unwrap_or_default())
            }
            _ => None,
        };
        let begun = task.runs.get(&work.run).into_iter().flat_map(|run| &run.steps);
        let attempts = begun.flat_map(|(step, state)| (1..=state.attempts).map(move |it| (step, it)));
        let others = attempts.filter(|(step, attempt)| (*step, *attempt) != (&work.step, work.attempt));
        let cost = |(step, attempt): (&String, u32)| {
            let most = most(step)?;
            let of = Work { step: step.clone(), attempt, ..work.clone() };
            Some(self.came_to(&of, task, most).unwrap_or(most))
        };
        // What begins together with it is not in the journal yet.
        let beside = more.iter().filter_map(|event| match event {
            WorkEvent::StepStarted { run, step, .. } if *run == work.run && *step != work.step => most(step),
            _ => None,
        });
        others.filter_map(cost).chain(beside).fold(Money(0), Money::plus)
    }

    /// Whether this device asks for more already.
    fn is_asking(&self, name: &str, more: &[WorkEvent]) -> bool {
        let mut pending = self.pending.iter().flat_map(|(_, events)| events).chain(more);
        self.tables.budget(name).is_some_and(|budget| budget.asks(&self.device).is_some())
            || pending.any(|it| matches!(it, WorkEvent::BudgetAsked { budget, .. } if budget == name))
    }

    /// What is known now of what was set aside for attempts at steps of a task.
    pub(super) fn settles(&self, id: &str, task: &Task) -> Vec<WorkEvent> {
        let prefix = format!("{id}\n");
        let mine = self.tables.reserved(&prefix).filter(|(.., put)| put.device == self.device);
        let settled = mine.filter_map(|(budget, id, put)| {
            let amount = self.came_to(&attempt_of(id)?, task, put.amount)?;
            Some(WorkEvent::BudgetSettled { budget: budget.to_owned(), id: id.to_owned(), amount })
        });
        settled.collect()
    }

    /// What an attempt cost; nothing while it is under way.
    fn came_to(&self, work: &Work, task: &Task, most: Money) -> Option<Money> {
        // What was to begin here and is another device's now never does.
        if self.flying.contains(&Flight::Step(work.clone())) {
            return None;
        }
        let Some(run) = task.runs.get(&work.run) else { return Some(most) };
        let Some(state) = run.steps.get(&work.step) else { return Some(most) };
        let mine = task.device == Some(self.device) && run.ended.is_none();
        let going = matches!(state.status, Status::Started | Status::Fired { .. });
        if mine && going && state.attempts == work.attempt {
            return None;
        }
        // What a call took that nobody heard the end of nobody knows, killed or stopped: the most counts.
        let class = state.failed.iter().find(|it| it.number == work.attempt).map(|it| it.failure.class);
        let finished = matches!(state.status, Status::Finished { .. }) && state.attempts == work.attempt;
        if !finished && class.is_none_or(|class| class == Class::Crashed) {
            return Some(most);
        }
        Some(state.costs.get(&work.attempt).map_or(Money(0), |cost| cost.money()))
    }

    /// Gives of what this device has of budgets: as their home to those who ask, else back when others ask.
    pub(super) fn share_out(&mut self, out: &mut Vec<Action>) {
        for (name, limit) in self.pots() {
            let about = format!("shares of {name}");
            if self.pending.iter().any(|(other, _)| *other == about) {
                continue;
            }
            let events = self.shares(&name, limit);
            if !events.is_empty() {
                self.append(&about, events, out);
            }
        }
    }

    fn shares(&self, name: &str, limit: Money) -> Vec<WorkEvent> {
        let nothing = Budget::default();
        let budget = self.tables.budget(name).unwrap_or(&nothing);
        let free = self.free(name, &[]);
        let give =
            |to: DeviceId, amount: Money| WorkEvent::BudgetGranted { budget: name.to_owned(), to, amount };
        let Some(home) = self.tables.homes().now(MODELS) else { return Vec::new() };
        if home != self.device {
            // Who asked before this device did comes first.
            let own = budget.asks(&self.device).map(|(order, _)| order);
            let first = budget.asking().into_iter().find(|(device, ..)| *device != self.device);
            let wanted = first.is_some_and(|(_, order, _)| own.is_none_or(|own| order < own));
            return if wanted && free > Money(0) { vec![give(home, free)] } else { Vec::new() };
        }
        // The device that coordinates is the one that others reach.
        if let Some(to) = self.setting.coordinator.filter(|to| *to != self.device) {
            let moved = WorkEvent::HomeMoved { capability: MODELS.to_owned(), to };
            let rest = (free > Money(0)).then(|| give(to, free));
            return std::iter::once(moved).chain(rest).collect();
        }
        if budget.limit != limit {
            return vec![WorkEvent::BudgetSet { budget: name.to_owned(), limit }];
        }
        let mut left = free.0;
        let mut events = Vec::new();
        for (device, _, amount) in budget.asking() {
            if device != self.device && left >= amount.0 {
                let given = amount.0.max(limit.0 / PART).min(left);
                left -= given;
                events.push(give(device, Money(given)));
            }
        }
        events
    }
}
