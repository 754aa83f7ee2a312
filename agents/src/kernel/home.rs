//! Where effects happen: decided, consented to, intended, performed, once for each key (I10, I11), whichever device works on the task.

use std::collections::BTreeSet;

use super::need::place;
use super::{Action, DeviceId, Flight, Kernel, Need};
use crate::event::{Came, EffectKey, WorkEvent};
use crate::policy::{Louder, Proposal, Since, Usage, Verdict};
use crate::span::Millis;
use crate::table::{Effect, Passage, Proposed, Stand, Status, Task};

/// What is done on this device about the effects of one task.
pub(super) struct Keeper<'k> {
    kernel: &'k Kernel,
    id: &'k str,
    pub events: Vec<WorkEvent>,
    pub acts: Vec<Action>,
    pub begun: Vec<Flight>,
    pub needs: Vec<Need>,
    /// An effect waits until the log knows all that this device has done.
    pub held_up: bool,
    /// The capabilities of which effects wait because others failed.
    pub braked: BTreeSet<String>,
    pub due: Vec<Millis>,
}

impl Kernel {
    /// The key of the effect that a step of a task is at, and its generation: after a denial that the operator takes back there is one more.
    pub(super) fn latest(&self, task: &str, step: &str) -> (EffectKey, u32) {
        let key = |generation| EffectKey::of(&self.vault, task, step, generation);
        let proposed =
            |key: &EffectKey| self.tables.effect(key).is_some_and(|effect| effect.proposed.is_some());
        let after = (1..).take_while(|generation| proposed(&key(*generation))).last();
        (key(after.unwrap_or(0)), after.unwrap_or(0))
    }

    /// The keys of all that was proposed for a step of a task by whichever device, the last first.
    pub(super) fn keys(&self, task: &str, step: &str) -> Vec<EffectKey> {
        let (_, last) = self.latest(task, step);
        let key = |generation| EffectKey::of(&self.vault, task, step, generation);
        // What was proposed by a device that turns out not to have the task happened all the same.
        let known = (last + 1..).map(key).take_while(|key| self.tables.effect(key).is_some());
        let mut keys: Vec<EffectKey> = (0..=last).map(key).chain(known).collect();
        keys.reverse();
        keys
    }

    /// Whether the operator refused what they changed to this: the two words crossed, and a denial beats consent (I11).
    fn is_refused(&self, proposed: &Proposed) -> Option<String> {
        let before = proposed.generation.checked_sub(1)?;
        let before = EffectKey::of(&self.vault, &proposed.task, &proposed.step, before);
        let before = self.tables.effect(&before)?;
        before.denied.clone().filter(|_| before.edited.as_ref() == Some(&proposed.content))
    }

    /// Whether what was proposed may be done: it is the first for its step, or the one before it will never happen, or it happened and the
    /// operator has it happen once more.
    fn follows(&self, proposed: &Proposed, task: &Task) -> bool {
        let Some(before) = proposed.generation.checked_sub(1) else { return true };
        let before = EffectKey::of(&self.vault, &proposed.task, &proposed.step, before);
        let again = task.runs.get(&proposed.run).is_some_and(|run| run.again.contains(&before));
        self.tables.effect(&before).is_some_and(|effect| match effect.stand() {
            Stand::Denied(_) => effect.is_closed(),
            Stand::Done(_) => again,
            _ => false,
        })
    }

    /// The device where what was proposed happens.
    pub(super) fn home(&self, proposed: &Proposed) -> DeviceId {
        self.tables.homes().now(&proposed.content.capability).unwrap_or(proposed.device)
    }

    /// Hands over what is to happen on another device from now on. What began here ends here.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Action>) {
        // Whoever takes it over goes by the log: it has to know all that was done.
        if !self.lost.is_empty() {
            return;
        }
        let homes = self.tables.homes();
        let moves = self.setting.connectors.iter().filter_map(|(capability, connector)| {
            let to = connector.home.filter(|home| *home != self.device)?;
            // What the operator said last counts.
            let newest = homes.taken(capability).is_none_or(|taken| taken < connector.since);
            (homes.now(capability) == Some(self.device) && newest).then(|| (capability.clone(), to))
        });
        for (capability, to) in moves.collect::<Vec<_>>() {
            let about = format!("home of {capability}");
            if !self.pending.iter().any(|(other, _)| *other == about) {
                self.append(&about, vec![WorkEvent::HomeMoved { capability, to }], out);
            }
        }
    }
}

impl<'k> Keeper<'k> {
    /// Looks at the effects of a task.
    pub fn keep(kernel: &'k Kernel, id: &'k str, task: &Task) -> Keeper<'k> {
        let mut keeper = Keeper {
            kernel,
            id,
            events: Vec::new(),
            acts: Vec::new(),
            begun: Vec::new(),
            needs: Vec::new(),
            held_up: false,
            braked: BTreeSet::new(),
            due: Vec::new(),
        };
        for key in kernel.tables.proposals(id) {
            let found = kernel.tables.effect(&key);
            if let Some((effect, proposed)) =
                found.and_then(|effect| Some((effect, effect.proposed.as_ref()?)))
                && proposed.task == id
            {
                keeper.stand(key, effect, proposed, task);
            }
        }
        keeper
    }

    /// Does what is next where the effect stands.
    fn stand(&mut self, key: EffectKey, effect: &Effect, proposed: &Proposed, task: &Task) {
        let here = self.kernel.device;
        match effect.stand() {
            // Who began it knows whether it is under way, wherever such things happen meanwhile.
            Stand::Performing(intent) if intent.device == here && !self.kernel.tables.is_paused(self.id) => {
                self.perform(key, intent.attempt, effect, proposed);
            }
            Stand::Unknown(attempt) if effect.intent.is_some_and(|intent| intent.device == here) => {
                self.unknown(key, attempt, proposed);
            }
            _ if self.kernel.home(proposed) != here || self.kernel.tables.is_paused(self.id) => {}
            // Said here, it cannot cross with the act.
            Stand::Denied(note) if !effect.is_closed() => {
                self.events.push(WorkEvent::EffectWithdrawn { key, note });
            }
            stand => {
                // Only what a step waits for is done.
                let run = task.runs.get(&proposed.run).filter(|run| run.ended.is_none());
                let Some(state) = run.and_then(|run| run.state(&proposed.step)) else { return };
                if !matches!(state.status, Status::Started | Status::Fired { .. }) {
                    return;
                }
                let last = effect.intent.map_or(0, |intent| intent.attempt);
                let lost = effect.settled.map_or(0, |(lost, _)| lost);
                let refused = self.kernel.is_refused(proposed);
                match stand {
                    Stand::Proposed | Stand::Waiting | Stand::Allowed if refused.is_some() => {
                        let note = refused.unwrap_or_default();
                        self.events.push(WorkEvent::EffectWithdrawn { key, note });
                    }
                    Stand::Proposed if self.kernel.follows(proposed, task) => self.decide(key, proposed),
                    Stand::Waiting => self.ask(key, effect, proposed),
                    Stand::Allowed if lost < state.attempts => {
                        self.intend(key, state.attempts, effect, proposed);
                    }
                    Stand::Undone | Stand::Failed(_) if last < state.attempts => {
                        self.intend(key, state.attempts, effect, proposed);
                    }
                    _ => {}
                }
            }
        }
    }

    fn decide(&mut self, key: EffectKey, proposed: &Proposed) {
        let content = &proposed.content;
        let proposal = Proposal {
            capability: content.capability.clone(),
            target: content.target.clone(),
            amount: content.amount,
            agent: content.agent.clone(),
            tags: content.tags.clone(),
            workflow: self
                .kernel
                .tables
                .task(self.id)
                .and_then(|task| task.workflow.clone())
                .unwrap_or_default(),
            step: place(&proposed.step),
        };
        let usage = |rule: &str, since: Since| self.usage(rule, since, &proposed.run);
        let decision = self.kernel.setting.policies.decide(&proposal, self.kernel.wall, &usage);
        if let Some(until) = decision.until {
            let (task, step) = (self.id.to_owned(), proposed.step.clone());
            self.needs.push(Need::Later { task, step, until, why: decision.why });
            // A clock that went back does not have it looked at over and over.
            return self.due.push(until.max(self.kernel.now.saturating_add(1000)));
        }
        let (mut verdict, mut rule, mut why) = (decision.verdict, decision.rule, decision.why);
        // Nobody knows what a file denies that cannot be read, and what is delegated is no way around that.
        if verdict == Verdict::Ask && self.kernel.setting.policies.broken().is_empty() {
            let used = |rule: &str| self.usage(rule, Since::At(0), &proposed.run);
            if let Some((by, reason)) = self.kernel.delegated(content, self.kernel.wall, &used) {
                (verdict, rule, why) = (Verdict::Allow, Some(by), reason);
            }
        }
        // Who writes from outside must not decide what goes out.
        let inward = self.kernel.setting.connectors.get(&content.capability).is_some_and(|it| it.inward);
        if verdict == Verdict::Allow && !inward && self.kernel.is_untrusted(self.id) {
            verdict = Verdict::Ask;
            why = "the task works with what came from outside, so nothing is allowed by itself".to_owned();
        }
        let terms = content.agent.as_ref().and_then(|agent| self.kernel.terms(agent, self.id));
        if verdict == Verdict::Allow && terms.is_some_and(|terms| terms.always_asks) {
            verdict = Verdict::Ask;
            why = "the agent's file says `approval: always`".to_owned();
        }
        let (digest, capability) = (proposed.digest, content.capability.clone());
        self.events.push(WorkEvent::EffectDecided { key, digest, capability, verdict, rule, why });
    }

    /// What a rule allowed so far, with what is on its way to the log.
    fn usage(&self, rule: &str, since: Since, run: &str) -> Usage {
        let tables = &self.kernel.tables;
        let within = |effect: &Effect, at: Millis| match since {
            Since::SameRun => effect.proposed.as_ref().is_some_and(|it| it.run == run),
            Since::At(start) => at >= start,
        };
        let mut usage = match since {
            Since::SameRun => self.kernel.allowed_to(rule, self.id, run),
            Since::At(from) => self.kernel.allowed_since(rule, from),
        };
        let pending = self.kernel.pending.iter().flat_map(|(_, events)| events).chain(&self.events);
        for event in pending {
            if let WorkEvent::EffectDecided { key, verdict: Verdict::Allow, rule: Some(by), .. } = event
                && by == rule
                && let Some(effect) = tables.effect(key).filter(|effect| effect.decided().is_none())
                && within(effect, self.kernel.wall)
            {
                let amount = effect.proposed.as_ref().and_then(|it| it.content.amount);
                usage.add(amount, self.kernel.wall);
            }
        }
        usage
    }

    /// Asks the operator, louder by and by.
    fn ask(&mut self, key: EffectKey, effect: &Effect, proposed: &Proposed) {
        self.needs.push(Need::approval(key, self.kernel.device, effect, proposed));
        let Some(decided) = effect.decided() else { return };
        let stages = decided.rule.as_deref().map(|rule| self.kernel.setting.policies.escalation(rule));
        let stages = stages.unwrap_or_default().iter().enumerate().skip(effect.escalated().len());
        for (number, stage) in stages {
            // What stands still asks nobody.
            let stood = self.kernel.tables.stood(self.id, decided.at);
            let at = decided.at.saturating_add(stage.after).saturating_add(stood);
            if at > self.kernel.now {
                return self.due.push(at);
            }
            let (digest, capability) = (proposed.digest, proposed.content.capability.clone());
            match &stage.louder {
                Louder::Ask(ask) => self.events.push(WorkEvent::EffectEscalated {
                    key,
                    digest,
                    capability,
                    stage: u32::try_from(number).unwrap_or(u32::MAX),
                    at,
                    ask: ask.clone(),
                }),
                Louder::Deny(note) => {
                    return self.events.push(WorkEvent::EffectWithdrawn { key, note: note.clone() });
                }
            }
        }
    }

    fn intend(&mut self, key: EffectKey, attempt: u32, effect: &Effect, proposed: &Proposed) {
        if self.waits() {
            return;
        }
        let rule = effect.decided().and_then(|decided| decided.rule.as_deref());
        if self.kernel.is_void(rule, self.kernel.wall) {
            let note = "the delegation that allowed it holds no more".to_owned();
            return self.events.push(WorkEvent::EffectWithdrawn { key, note });
        }
        let (digest, capability) = (proposed.digest, proposed.content.capability.clone());
        if self.kernel.setting.connectors.contains_key(&capability) {
            if self.is_braked(&capability) {
                self.braked.insert(capability);
                return;
            }
            return self.events.push(WorkEvent::EffectIntended { key, attempt, digest, capability });
        }
        let what = format!("no connector can `{capability}`");
        self.needs.push(Need::Missing { task: self.id.to_owned(), what });
    }

    /// Whether it has to wait because others like it failed: until time has passed, and then until the one that is tried has ended.
    fn is_braked(&mut self, capability: &str) -> bool {
        let breaker = self.kernel.tables.breaker(capability);
        match breaker.passage(self.kernel.now) {
            Passage::Closed => false,
            Passage::Open => {
                self.due.extend(breaker.until());
                true
            }
            Passage::HalfOpen => {
                let intends = |event: &WorkEvent| matches!(event, WorkEvent::EffectIntended { capability: it, .. } if it == capability);
                let pending = self.kernel.pending.iter().flat_map(|(_, events)| events).chain(&self.events);
                let is_its = |effect: &Effect| {
                    effect.proposed.as_ref().is_some_and(|it| it.content.capability == capability)
                };
                pending.into_iter().any(intends)
                    || self.kernel.tables.under_way().any(|(_, effect)| is_its(effect))
            }
        }
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
    fn perform(&mut self, key: EffectKey, attempt: u32, effect: &Effect, proposed: &Proposed) {
        let flight = Flight::Effect(key, attempt);
        if self.kernel.flying.contains(&flight) || self.waits() {
            return;
        }
        let content = &proposed.content;
        let connector = self.kernel.setting.connectors.get(&content.capability);
        let again = connector.is_some_and(|connector| connector.knows_keys);
        // What stands proposed may be another device's word by now, to which nobody consented.
        let same = effect.intent.is_some_and(|intent| intent.digest == proposed.digest);
        // Nor is what the operator refused meanwhile done once more.
        let again = again && effect.too_late().is_none();
        if same && effect.is_allowed() && (again || self.kernel.fresh.contains(&flight)) {
            self.begun.push(flight);
            self.acts.push(Action::Perform { key, attempt, content: content.clone() });
        } else {
            self.events.push(WorkEvent::EffectEnded { key, attempt, came: Came::Unknown });
            self.unknown(key, attempt, proposed);
        }
    }

    fn unknown(&mut self, key: EffectKey, attempt: u32, proposed: &Proposed) {
        let connector = self.kernel.setting.connectors.get(&proposed.content.capability);
        self.needs.push(Need::Unknown {
            key,
            attempt,
            device: self.kernel.device,
            check: connector.map(|connector| connector.check.clone()).unwrap_or_default(),
            task: self.id.to_owned(),
            step: proposed.step.clone(),
            content: proposed.content.clone(),
        });
    }
}
