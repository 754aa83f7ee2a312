//! Effects: proposed, decided, consented to, intended, performed, once for each key (I10, I11).

use serde_json::Value;

use super::walk::{Walked, Walker};
use super::{Action, Flight, Need};
use crate::event::{Came, Content, EffectKey, WorkEvent};
use crate::failure::{Class, Failure};
use crate::money::Money;
use crate::policy::{Proposal, Since, Usage, Verdict};
use crate::span;
use crate::table::{Effect, Proposed, Stand, Status, Stuck};
use crate::workflow::{Deed, Step};

impl Walker<'_> {
    /// Carries on the effect of a step.
    pub fn effect(&mut self, step: &Step, deed: &Deed, path: &str, scope: &Value) -> Walked {
        let now = self.kernel.now;
        let key = EffectKey::of(&self.kernel.vault, self.id, path, 0);
        let state = self.run.steps.get(path);
        match state.map(|state| &state.status) {
            None if self.closing => self.cancelled_effect(path),
            None => {
                if let Err(failure) = self.propose(deed, key, path, scope) {
                    self.fail_at(path, 1, failure, None);
                }
                Walked::Busy
            }
            Some(Status::Finished { result, .. }) => Walked::Done(result.clone()),
            Some(Status::Failed { failure, retry: None }) => {
                Walked::Failed(Stuck { step: path.to_owned(), failure: failure.clone() })
            }
            Some(Status::Failed { .. }) if self.closing => self.cancelled_effect(path),
            Some(Status::Failed { retry: Some(at), .. }) if *at > now => {
                self.due.push(*at);
                Walked::Busy
            }
            Some(Status::Failed { .. }) => {
                let attempts = state.map_or(0, |state| state.attempts);
                let proposed = self.kernel.tables.effect(&key).and_then(|effect| effect.proposed.as_ref());
                match proposed {
                    Some(proposed) => {
                        let input = proposed.content.digest(&key);
                        self.start(path, attempts + 1, input);
                    }
                    // It failed before it came to a proposal.
                    None => {
                        if let Err(failure) = self.propose(deed, key, path, scope) {
                            self.fail_at(path, attempts + 1, failure, None);
                        }
                    }
                }
                Walked::Busy
            }
            Some(Status::Started | Status::Fired { .. }) => {
                let found = self.kernel.tables.effect(&key);
                match found.and_then(|effect| Some((effect, effect.proposed.as_ref()?))) {
                    Some((effect, proposed)) => self.stand(step, key, path, effect, proposed),
                    None => {
                        if let Err(failure) = self.propose(deed, key, path, scope) {
                            self.give_up(path, failure);
                        }
                        Walked::Busy
                    }
                }
            }
        }
    }

    fn cancelled_effect(&self, path: &str) -> Walked {
        let note = self.task.cancelled.clone().unwrap_or_default();
        Walked::Failed(Stuck { step: path.to_owned(), failure: Failure::new(Class::Denied, note) })
    }

    fn start(&mut self, path: &str, attempt: u32, input: aios_core::id::ContentHash) {
        self.events.push(WorkEvent::StepStarted {
            task: self.id.to_owned(),
            run: self.run_id.to_owned(),
            step: path.to_owned(),
            attempt,
            input,
            items: None,
            until: None,
        });
    }

    fn propose(&mut self, deed: &Deed, key: EffectKey, path: &str, scope: &Value) -> Result<(), Failure> {
        let amount = match &deed.amount {
            Some(amount) => {
                let value = amount.fill(scope)?;
                Some(Money::of(&value).map_err(|error| Failure::new(Class::Permanent, error.to_string()))?)
            }
            None => None,
        };
        let content = Content {
            capability: deed.capability.clone(),
            target: deed.target.fill_text(scope)?,
            args: deed.args.fill(scope)?,
            amount,
            agent: deed.agent.clone(),
            tags: deed.tags.clone(),
        };
        let attempts = self.run.steps.get(path).map_or(0, |state| state.attempts);
        let started = self.run.steps.get(path).is_some_and(|state| state.status == Status::Started);
        if !started {
            self.start(path, attempts + 1, content.digest(&key));
        }
        if self.kernel.tables.effect(&key).is_none_or(|effect| effect.proposed.is_none()) {
            self.events.push(WorkEvent::EffectProposed {
                key,
                task: self.id.to_owned(),
                run: self.run_id.to_owned(),
                step: path.to_owned(),
                generation: 0,
                content,
            });
        }
        Ok(())
    }

    /// Does what is next where the effect stands.
    fn stand(
        &mut self,
        step: &Step,
        key: EffectKey,
        path: &str,
        effect: &Effect,
        proposed: &Proposed,
    ) -> Walked {
        let state = self.run.steps.get(path);
        let attempts = state.map_or(1, |state| state.attempts.max(1));
        match effect.stand() {
            Stand::Proposed | Stand::Waiting | Stand::Allowed if self.closing => {
                let note = self.task.cancelled.clone().unwrap_or_default();
                self.events.push(WorkEvent::EffectWithdrawn { key, note });
                return Walked::Busy;
            }
            Stand::Proposed => self.decide(key, &proposed.content),
            Stand::Waiting => self.ask(step, key, path, effect, proposed),
            Stand::Allowed => match effect.settled {
                // The log lost the attempt of which the operator says that it did not happen.
                Some((lost, _)) if lost >= attempts => {
                    self.start(path, lost + 1, proposed.content.digest(&key));
                }
                _ => self.intend(key, attempts, &proposed.content),
            },
            Stand::Denied(_) if self.closing => return self.cancelled_effect(path),
            Stand::Denied(note) => self.give_up(path, Failure::new(Class::Denied, note)),
            Stand::Performing(intent) if intent.device == self.kernel.device => {
                self.perform(key, intent.attempt, path, &proposed.content);
            }
            Stand::Performing(_) => {}
            Stand::Done(result) => self.finish(path, result, None),
            // The operator says that nothing happened: it is done after all, under the same key.
            Stand::Undone if self.closing => return self.cancelled_effect(path),
            Stand::Undone => match effect.intent.is_none_or(|intent| intent.attempt < attempts) {
                true => self.intend(key, attempts, &proposed.content),
                false => self.start(path, attempts + 1, proposed.content.digest(&key)),
            },
            Stand::Failed(failure) => {
                let last = effect.intent.map_or(0, |intent| intent.attempt);
                match last < attempts && !self.closing {
                    true => self.intend(key, attempts, &proposed.content),
                    false if self.closing => return self.cancelled_effect(path),
                    false => self.fail(step, path, failure),
                }
            }
            Stand::Unknown(attempt) => self.unknown(key, attempt, path, &proposed.content),
        }
        Walked::Busy
    }

    fn decide(&mut self, key: EffectKey, content: &Content) {
        let proposal = Proposal {
            capability: content.capability.clone(),
            target: content.target.clone(),
            amount: content.amount,
            agent: content.agent.clone(),
            tags: content.tags.clone(),
        };
        let usage = |rule: &str, since: Since| self.usage(rule, since);
        let decision = self.kernel.setting.policies.decide(&proposal, self.kernel.now, &usage);
        let (verdict, rule, why) = (decision.verdict, decision.rule, decision.why);
        self.events.push(WorkEvent::EffectDecided { key, verdict, rule, why });
    }

    /// What a rule allowed so far, with what is on its way to the log.
    fn usage(&self, rule: &str, since: Since) -> Usage {
        let tables = &self.kernel.tables;
        let within = |effect: &Effect, at: crate::span::Millis| match since {
            Since::SameRun => effect.proposed.as_ref().is_some_and(|it| it.run == self.run_id),
            Since::At(start) => at >= start,
        };
        let mut usage = Usage::default();
        let mut charge = |effect: &Effect| {
            let amount = effect.proposed.as_ref().and_then(|it| it.content.amount).unwrap_or_default();
            usage.count += 1;
            usage.money = usage.money.plus(amount);
        };
        for (_, effect) in tables.effects() {
            if let Some(decided) = effect.charged()
                && decided.rule.as_deref() == Some(rule)
                && within(effect, decided.at)
            {
                charge(effect);
            }
        }
        let pending = self.kernel.pending.iter().flat_map(|(_, events)| events).chain(&self.events);
        for event in pending {
            if let WorkEvent::EffectDecided { key, verdict: Verdict::Allow, rule: Some(by), .. } = event
                && by == rule
                && let Some(effect) = tables.effect(key).filter(|effect| effect.decided.is_none())
                && within(effect, self.kernel.now)
            {
                charge(effect);
            }
        }
        usage
    }

    fn ask(&mut self, step: &Step, key: EffectKey, path: &str, effect: &Effect, proposed: &Proposed) {
        let now = self.kernel.now;
        let began = self.run.steps.get(path).map_or(now, |state| state.started.time());
        if let Some(timeout) = step.timeout {
            let at = began.saturating_add(timeout);
            if at <= now {
                let note = format!("nobody consented within {}", span::show(timeout));
                self.events.push(WorkEvent::EffectWithdrawn { key, note });
                return;
            }
            self.due.push(at);
        }
        self.needs.push(Need::Approval {
            key,
            device: self.kernel.device,
            digest: proposed.content.digest(&key),
            task: self.id.to_owned(),
            step: path.to_owned(),
            content: proposed.content.clone(),
            why: effect.decided.as_ref().map(|decided| decided.why.clone()).unwrap_or_default(),
        });
    }

    fn intend(&mut self, key: EffectKey, attempt: u32, content: &Content) {
        if self.waits() {
            return;
        }
        let connector = self.kernel.setting.connectors.get(&content.capability);
        let what = match connector.map(|connector| connector.home) {
            Some(home) if home.is_none_or(|home| home == self.kernel.device) => {
                self.events.push(WorkEvent::EffectIntended { key, attempt });
                return;
            }
            Some(_) => format!("`{}` happens on another device", content.capability),
            None => format!("no connector can `{}`", content.capability),
        };
        self.needs.push(Need::Missing { task: self.id.to_owned(), what });
    }

    /// Whether nothing may happen because this device has done what its log does not know (I10).
    fn waits(&mut self) -> bool {
        if self.kernel.lost.is_empty() {
            return false;
        }
        self.held_up = true;
        let what = "the log to catch up with what this device has done".to_owned();
        self.needs.push(Need::Missing { task: self.id.to_owned(), what });
        true
    }

    /// Performs what this process had recorded; what an earlier one had is done again only if the other side knows keys.
    fn perform(&mut self, key: EffectKey, attempt: u32, path: &str, content: &Content) {
        let flight = Flight::Effect(key, attempt);
        if self.kernel.flying.contains(&flight) || self.waits() {
            return;
        }
        let connector = self.kernel.setting.connectors.get(&content.capability);
        let again = connector.is_some_and(|connector| connector.knows_keys);
        if again || self.kernel.fresh.contains(&flight) {
            self.begun.push(flight);
            self.acts.push(Action::Perform { key, attempt, content: content.clone() });
        } else {
            self.events.push(WorkEvent::EffectEnded { key, attempt, came: Came::Unknown });
            self.unknown(key, attempt, path, content);
        }
    }

    fn unknown(&mut self, key: EffectKey, attempt: u32, path: &str, content: &Content) {
        let connector = self.kernel.setting.connectors.get(&content.capability);
        self.needs.push(Need::Unknown {
            key,
            attempt,
            device: self.kernel.device,
            check: connector.map(|connector| connector.check.clone()).unwrap_or_default(),
            task: self.id.to_owned(),
            step: path.to_owned(),
            content: content.clone(),
        });
    }
}
