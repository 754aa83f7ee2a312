//! The effects of steps: proposed, and waited for. What happens to them in between happens at their [home](super::home).

use aios_core::id::ContentHash;
use serde_json::Value;

use super::leaf::MAX_HOPS;
use super::walk::{Walked, Walker};
use super::{Kernel, Need};
use crate::connector::is_of_files;
use crate::event::{Content, EffectKey, WorkEvent};
use crate::failure::{Class, Failure};
use crate::money::Money;
use crate::span;
use crate::table::{Effect, Proposed, Stand, Status, Stuck};
use crate::workflow::{Deed, Step};

/// Why what was proposed is wanted no more when its run goes back.
pub(super) const GONE_BACK: &str = "the run went back over its step";

impl Walker<'_> {
    /// Carries on the effect of a step.
    pub fn effect(&mut self, step: &Step, deed: &Deed, path: &str, scope: &Value) -> Walked {
        let now = self.kernel.now;
        let (key, generation) = self.kernel.latest(self.id, path);
        let state = self.run.state(path);
        match state.map(|state| &state.status) {
            None if self.closing => self.cancelled_effect(path),
            None | Some(Status::Rewound) => {
                if let Err(failure) = self.come(deed, path, scope) {
                    self.fail_at(path, self.run.attempts(path) + 1, failure, None);
                }
                Walked::Busy
            }
            Some(Status::Finished { result, .. }) => Walked::Done(result.clone()),
            Some(Status::Failed { failure, retry: None }) => {
                Walked::Failed(Stuck { step: path.to_owned(), failure: failure.clone() })
            }
            Some(Status::Failed { .. }) if self.closing => self.cancelled_effect(path),
            Some(Status::Failed { retry: Some(at), .. }) if self.again(*at, path) > now => {
                self.due.push(self.again(*at, path));
                Walked::Busy
            }
            Some(Status::Failed { failure, .. }) => {
                let attempts = state.map_or(0, |state| state.attempts);
                let effect = self.kernel.tables.effect(&key);
                let denied = effect.is_some_and(|effect| matches!(effect.stand(), Stand::Denied(_)));
                let refused =
                    failure.class != Class::Denied && effect.is_some_and(|it| it.refusal().is_some());
                let proposed = match effect.and_then(|effect| effect.proposed.as_ref()) {
                    // It failed, and was refused then: that ends the step, and nothing goes out.
                    Some(proposed) if denied && refused => {
                        self.start(path, attempts + 1, goes_in(deed, scope, &key, proposed));
                        Ok(())
                    }
                    // The operator has it tried again that was denied: that is asked anew, under another key.
                    Some(_) if denied => self.propose(deed, generation + 1, path, scope),
                    Some(proposed) if effect.is_some_and(|it| self.is_left_behind(it, proposed)) => {
                        self.adopt(deed, &key, proposed, path, scope)
                    }
                    // Its workflow is another by now: what it did not do it does not do any more.
                    Some(proposed) if self.is_another(deed, scope, &key, proposed) => {
                        self.withdraw(key);
                        return Walked::Busy;
                    }
                    Some(proposed) => {
                        self.start(path, attempts + 1, goes_in(deed, scope, &key, proposed));
                        Ok(())
                    }
                    // It failed before it came to a proposal.
                    None => self.propose(deed, 0, path, scope),
                };
                if let Err(failure) = proposed {
                    self.fail_at(path, attempts + 1, failure, None);
                }
                Walked::Busy
            }
            Some(Status::Started | Status::Fired { .. }) => {
                let found = self.kernel.tables.effect(&key);
                match found.and_then(|effect| Some((effect, effect.proposed.as_ref()?))) {
                    Some((effect, proposed)) if self.is_left_behind(effect, proposed) => {
                        if let Err(failure) = self.adopt(deed, &key, proposed, path, scope) {
                            self.give_up(path, failure);
                        }
                        Walked::Busy
                    }
                    Some((effect, proposed)) => {
                        let input = goes_in(deed, scope, &key, proposed);
                        self.stand(step, key, path, effect, proposed, input)
                    }
                    None => {
                        if let Err(failure) = self.propose(deed, 0, path, scope) {
                            self.give_up(path, failure);
                        }
                        Walked::Busy
                    }
                }
            }
        }
    }

    /// Begins with the effect of a step, or again after the run has gone back over it: what happened has happened, and what did not is
    /// asked anew where it is another than it was (I10, I11).
    fn come(&mut self, deed: &Deed, path: &str, scope: &Value) -> Result<(), Failure> {
        let (key, generation) = self.kernel.latest(self.id, path);
        let attempts = self.run.attempts(path);
        let found = self.kernel.tables.effect(&key).filter(|_| attempts > 0);
        let Some((effect, proposed)) = found.and_then(|effect| Some((effect, effect.proposed.as_ref()?)))
        else {
            return self.propose(deed, generation, path, scope);
        };
        match effect.stand() {
            Stand::Denied(_) if effect.is_closed() => return self.propose(deed, generation + 1, path, scope),
            Stand::Done(_) if self.run.again.contains(&key) => {
                return self.propose(deed, generation + 1, path, scope);
            }
            stand => {
                let digest = content(deed, scope)?.digest(&key);
                match stand {
                    Stand::Done(_) => self.start(path, attempts + 1, digest),
                    Stand::Undone | Stand::Failed(_) if digest == proposed.digest => {
                        self.start(path, attempts + 1, digest);
                    }
                    // What is under way ends, and what will not happen is said to by its home.
                    Stand::Performing(_) | Stand::Unknown(_) | Stand::Denied(_) => {
                        self.elsewhere(path, proposed);
                    }
                    Stand::Proposed | Stand::Waiting | Stand::Allowed | Stand::Undone | Stand::Failed(_) => {
                        self.withdraw(key);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether another device began it that seemed to have the task, and it has not happened: whoever has the task goes on with it.
    fn is_left_behind(&self, effect: &Effect, proposed: &Proposed) -> bool {
        proposed.device != self.kernel.device && matches!(effect.stand(), Stand::Failed(_) | Stand::Undone)
    }

    /// Proposes under its key what another device began that seemed to have the task.
    fn adopt(
        &mut self,
        deed: &Deed,
        key: &EffectKey,
        proposed: &Proposed,
        path: &str,
        scope: &Value,
    ) -> Result<(), Failure> {
        // What the operator changed stays so.
        let content = match self.is_changed(proposed) {
            true => proposed.content.clone(),
            false => content(deed, scope)?,
        };
        self.events.push(WorkEvent::EffectProposed {
            key: *key,
            task: self.id.to_owned(),
            run: self.run_id.to_owned(),
            step: path.to_owned(),
            generation: proposed.generation,
            content,
        });
        Ok(())
    }

    /// Whether it is what the operator put in the place of what a step did.
    fn is_changed(&self, proposed: &Proposed) -> bool {
        let before = proposed.generation.checked_sub(1);
        let before = before.map(|it| EffectKey::of(&self.kernel.vault, self.id, &proposed.step, it));
        let before = before.and_then(|key| self.kernel.tables.effect(&key));
        before.is_some_and(|effect| effect.edited.as_ref() == Some(&proposed.content))
    }

    /// Whether a step would do something else than was proposed, which the operator did not change.
    fn is_another(&self, deed: &Deed, scope: &Value, key: &EffectKey, proposed: &Proposed) -> bool {
        !self.is_changed(proposed) && goes_in(deed, scope, key, proposed) != proposed.digest
    }

    fn withdraw(&mut self, key: EffectKey) {
        self.events.push(WorkEvent::EffectWithdrawn { key, note: GONE_BACK.to_owned() });
    }

    /// When a failed step is tried again that was to be at a moment.
    fn again(&self, at: crate::span::Millis, path: &str) -> crate::span::Millis {
        let failed = self.run.state(path).and_then(|state| state.failed.last());
        failed.map_or(at, |attempt| self.later(at, attempt.at))
    }

    fn cancelled_effect(&self, path: &str) -> Walked {
        let note = self.task.cancelled.clone().unwrap_or_default();
        Walked::Failed(Stuck { step: path.to_owned(), failure: Failure::new(Class::Denied, note) })
    }

    fn start(&mut self, path: &str, attempt: u32, input: ContentHash) {
        self.events.push(WorkEvent::StepStarted {
            task: self.id.to_owned(),
            run: self.run_id.to_owned(),
            step: path.to_owned(),
            attempt,
            input,
            items: None,
            until: None,
            agent: None,
        });
    }

    fn propose(&mut self, deed: &Deed, generation: u32, path: &str, scope: &Value) -> Result<(), Failure> {
        let key = EffectKey::of(&self.kernel.vault, self.id, path, generation);
        let content = content(deed, scope)?;
        if is_of_files(&content.capability) && self.kernel.tables.hops(self.id) > MAX_HOPS {
            let what = format!("more than {MAX_HOPS} tasks led to each other by the files they wrote");
            return Err(Failure::new(Class::Permanent, what));
        }
        self.kernel.holds(self.id, &content)?;
        let attempts = self.run.attempts(path);
        let started = self.run.state(path).is_some_and(|state| state.status == Status::Started);
        if !started {
            self.start(path, attempts + 1, content.digest(&key));
        }
        // What stands there may be what another device began that seemed to have the task.
        let is_mine =
            |effect: &Effect| effect.proposed.as_ref().is_some_and(|it| it.device == self.kernel.device);
        if !self.kernel.tables.effect(&key).is_some_and(is_mine) {
            self.events.push(WorkEvent::EffectProposed {
                key,
                task: self.id.to_owned(),
                run: self.run_id.to_owned(),
                step: path.to_owned(),
                generation,
                content,
            });
        }
        Ok(())
    }

    /// Proposes what the operator consented to in place of what the step did: of the step it is the same attempt.
    fn replace(&mut self, content: Content, proposed: &Proposed, path: &str) {
        let generation = proposed.generation + 1;
        self.events.push(WorkEvent::EffectProposed {
            key: EffectKey::of(&self.kernel.vault, self.id, path, generation),
            task: self.id.to_owned(),
            run: self.run_id.to_owned(),
            step: path.to_owned(),
            generation,
            content,
        });
    }

    /// Does what is next for the step where the effect stands.
    fn stand(
        &mut self,
        step: &Step,
        key: EffectKey,
        path: &str,
        effect: &Effect,
        proposed: &Proposed,
        input: ContentHash,
    ) -> Walked {
        let state = self.run.state(path);
        let attempts = state.map_or(1, |state| state.attempts.max(1));
        let last = effect.intent.map_or(0, |intent| intent.attempt);
        match effect.stand() {
            Stand::Proposed | Stand::Waiting | Stand::Allowed if self.closing => {
                let note = self.task.cancelled.clone().unwrap_or_default();
                self.events.push(WorkEvent::EffectWithdrawn { key, note });
            }
            Stand::Waiting if self.is_over(step, path) => {
                let note = format!("nobody consented within {}", span::show(step.timeout.unwrap_or(0)));
                self.events.push(WorkEvent::EffectWithdrawn { key, note });
            }
            // The log lost the attempt of which the operator says that it did not happen.
            Stand::Allowed if effect.settled.is_some_and(|(lost, _)| lost >= attempts) => {
                let lost = effect.settled.map_or(0, |(lost, _)| lost);
                self.start(path, lost + 1, input);
            }
            // It may be happening while this is said, and then it has happened.
            Stand::Denied(_) if !effect.is_closed() => self.elsewhere(path, proposed),
            Stand::Denied(_) if self.closing => return self.cancelled_effect(path),
            Stand::Denied(note) => match effect.replacement() {
                Some(content) => self.replace(content.clone(), proposed, path),
                None => self.give_up(path, Failure::new(Class::Denied, note)),
            },
            Stand::Done(result) => self.finish(path, result, None),
            // The operator says that nothing happened: it is done after all, under the same key.
            Stand::Undone | Stand::Failed(_) if self.closing => return self.cancelled_effect(path),
            Stand::Undone if last >= attempts => self.start(path, attempts + 1, input),
            Stand::Failed(failure) if last >= attempts => self.fail(step, path, failure),
            Stand::Unknown(_) => {}
            _ => self.elsewhere(path, proposed),
        }
        Walked::Busy
    }

    /// Whether nobody consented in the time that the step has; else it is looked at then.
    fn is_over(&mut self, step: &Step, path: &str) -> bool {
        let now = self.kernel.now;
        let Some(timeout) = step.timeout else { return false };
        let began = self.run.state(path).map_or(now, |state| state.started.time());
        let at = self.later(began.saturating_add(timeout), began);
        if at > now {
            self.due.push(at);
        }
        at <= now
    }

    fn elsewhere(&mut self, path: &str, proposed: &Proposed) {
        let device = self.kernel.home(proposed);
        if device == self.kernel.device {
            return;
        }
        let capability = proposed.content.capability.clone();
        let gone = !self.kernel.setting.members.is_empty() && !self.kernel.setting.members.contains(&device);
        let (task, step) = (self.id.to_owned(), path.to_owned());
        self.needs.push(Need::Elsewhere { task, step, capability, device, gone });
    }
}

impl Kernel {
    /// Whether what is proposed as an agent's work may be that.
    fn holds(&self, task: &str, content: &Content) -> Result<(), Failure> {
        let agent = content.agent.as_deref();
        let terms = agent.and_then(|agent| self.terms(agent, task));
        let effects = terms.and_then(|terms| terms.effects.as_ref());
        match effects.is_none_or(|effects| effects.contains(&content.capability)) {
            true => Ok(()),
            false => {
                let what = format!(
                    "`{}` is none of the effects that agent `{}` may propose",
                    content.capability,
                    agent.unwrap_or_default()
                );
                Err(Failure::new(Class::Denied, what))
            }
        }
    }
}

/// The digest of what goes into a step whose effect was proposed: of what the step would do, also where the operator changed that.
fn goes_in(deed: &Deed, scope: &Value, key: &EffectKey, proposed: &Proposed) -> ContentHash {
    content(deed, scope).map_or(proposed.digest, |content| content.digest(key))
}

/// What a deed does, filled in.
pub(super) fn content(deed: &Deed, scope: &Value) -> Result<Content, Failure> {
    let amount = match &deed.amount {
        Some(amount) => {
            let value = amount.fill(scope)?;
            Some(Money::of(&value).map_err(|error| Failure::new(Class::Permanent, error.to_string()))?)
        }
        None => None,
    };
    Ok(Content {
        capability: deed.capability.clone(),
        target: deed.target.fill_text(scope)?,
        args: deed.args.fill(scope)?,
        amount,
        agent: deed.agent.clone(),
        tags: deed.tags.clone(),
    })
}
