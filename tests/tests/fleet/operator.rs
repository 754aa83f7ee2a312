//! The operator: looks at any device, at what it shows, and says something; now and then once more, elsewhere, or something that is void.

use aios_agents::event::{Content, EffectKey, Terms, WorkEvent};
use aios_agents::kernel::{Need, RewindError};
use aios_core::id::ContentHash;
use aios_core::key::SecretKey;

use crate::company::{self, VAULT, operator};
use crate::far::CHANGED;
use crate::world::World;

impl World {
    /// What a device shows.
    pub fn shown(&self, n: usize) -> Vec<Need> {
        let Some(kernel) = &self.devices[n].kernel else { return Vec::new() };
        let mut out: Vec<Need> = kernel.inbox().into_iter().cloned().collect();
        out.extend(kernel.needed_elsewhere());
        out
    }

    /// The operator says something on a device.
    pub fn operator(&mut self, n: usize) {
        if !self.devices[n].round.is_over() {
            return;
        }
        if self.chance.one_in(6)
            && let Some(again) = self.chance.pick(&self.said).cloned()
        {
            // Now and then they have thought better of it.
            return match again {
                WorkEvent::ApprovalGranted { key, .. } if self.now.is_multiple_of(2) => {
                    self.tally.denied += 1;
                    self.command(n, &WorkEvent::ApprovalDenied { key, note: "after all not".into() })
                }
                again => self.command(n, &again),
            };
        }
        if self.chance.one_in(12) {
            return self.stops(n);
        }
        if self.chance.one_in(6) {
            return self.goes_back(n);
        }
        if self.chance.one_in(6) {
            return self.migrates(n);
        }
        if self.chance.one_in(10) {
            return self.delegates(n);
        }
        let needs = self.shown(n);
        let Some(need) = self.chance.pick(&needs).cloned() else { return };
        if let Some(event) = self.decide(&need) {
            self.say(n, format!("operator: {event:?}").chars().take(160).collect());
            self.said.push(event.clone());
            self.command(n, &event);
        }
    }

    /// The operator lets an agent send offers without asking, or takes that back; now and then somebody else would.
    fn delegates(&mut self, n: usize) {
        let Some(kernel) = &self.devices[n].kernel else { return };
        let known: Vec<String> = kernel.tables().delegations().map(|(id, _)| id.to_owned()).collect();
        let event = match self.chance.pick(&known).filter(|_| self.now.is_multiple_of(2)) {
            Some(id) => WorkEvent::undelegate(id, &VAULT, &operator()),
            None => {
                let terms = Terms {
                    capability: "mail.send".into(),
                    target: "*".into(),
                    agent: company::SALES.into(),
                    count: 1 + self.chance.next() % 3,
                    money: None,
                    until: self.now + self.chance.scale(4 * 86_400_000),
                };
                let by = if self.chance.one_in(5) { SecretKey::from_bytes(&[6; 32]) } else { operator() };
                WorkEvent::delegate(terms, self.now.to_string(), &VAULT, &by)
            }
        };
        self.say(n, format!("operator: {event:?}").chars().take(160).collect());
        self.said.push(event.clone());
        self.command(n, &event);
    }

    /// The operator has a task stand still, or go on.
    fn stops(&mut self, n: usize) {
        let Some(kernel) = &self.devices[n].kernel else { return };
        let open = kernel.tables().tasks().filter(|(_, task)| task.ended.is_none());
        let open: Vec<(String, bool)> = open.map(|(id, task)| (id.to_owned(), task.is_paused())).collect();
        let Some((task, paused)) = self.chance.pick(&open).cloned() else { return };
        let cancels = self.chance.one_in(4);
        self.tally.cancelled += u64::from(cancels);
        let event = if cancels {
            WorkEvent::TaskCancelled { task, note: "not any more".into() }
        } else if paused {
            WorkEvent::TaskResumed { task }
        } else {
            WorkEvent::TaskPaused { task }
        };
        self.say(n, format!("operator: {event:?}"));
        self.said.push(event.clone());
        self.command(n, &event);
    }

    /// The operator has a task go on with the version of its workflow that is in force.
    fn migrates(&mut self, n: usize) {
        let Some(kernel) = &self.devices[n].kernel else { return };
        let open = kernel.tables().open().filter(|(_, task)| task.workflow.as_deref() == Some("offer"));
        let may: Vec<WorkEvent> = open.filter_map(|(id, task)| kernel.migrate(id, task).ok()).collect();
        let Some(event) = self.chance.pick(&may).cloned() else { return };
        self.say(n, format!("operator: {event:?}"));
        self.said.push(event.clone());
        self.command(n, &event);
    }

    /// The operator has a task go back to a step, now and then with what happened to happen once more.
    fn goes_back(&mut self, n: usize) {
        let Some(kernel) = &self.devices[n].kernel else { return };
        let mut steps: Vec<(String, String)> = Vec::new();
        for (id, task) in kernel.tables().tasks() {
            let paths = task.runs.values().flat_map(|run| run.steps.keys());
            steps.extend(paths.map(|step| (id.to_owned(), step.clone())));
        }
        let Some((task, step)) = self.chance.pick(&steps).cloned() else { return };
        let mut again = Vec::new();
        if self.chance.one_in(2)
            && let Err(RewindError::NotDone { done, .. }) = kernel.rewind(&task, &step, &["nothing".into()])
        {
            again.extend(self.chance.pick(&done).cloned());
        }
        let Ok(event) = kernel.rewind(&task, &step, &again) else { return };
        if let WorkEvent::TaskRewound { again, .. } = &event {
            self.again.extend(again);
        }
        self.tally.rewound += 1;
        self.tally.again += u64::from(!again.is_empty());
        self.say(n, format!("operator: {event:?}"));
        self.said.push(event.clone());
        self.command(n, &event);
    }

    /// Nothing stands still any more.
    pub fn resume_all(&mut self) {
        let Some(kernel) = &self.devices[0].kernel else { return };
        let paused = kernel.tables().tasks().filter(|(_, task)| task.is_paused());
        let paused: Vec<String> = paused.map(|(id, _)| id.to_owned()).collect();
        for task in paused {
            self.command(0, &WorkEvent::TaskResumed { task });
        }
    }

    /// The operator has something else sent than was proposed; now and then under another's name.
    fn changes(&mut self, key: &EffectKey, task: &str, step: &str, content: &Content) -> WorkEvent {
        let mut content = content.clone();
        content.args[CHANGED] = self.chance.below(3).into();
        let of = |generation| EffectKey::of(&VAULT, task, step, generation) == *key;
        let generation = (0..100).find(|generation| of(*generation)).expect("the key of a generation");
        let by = if self.chance.one_in(8) { SecretKey::from_bytes(&[6; 32]) } else { operator() };
        self.tally.changed += 1;
        WorkEvent::edit(task, step, generation, content, &VAULT, &by)
    }

    /// What the operator says to it.
    pub fn decide(&mut self, need: &Need) -> Option<WorkEvent> {
        let cancel = |task: &str| WorkEvent::TaskCancelled { task: task.to_owned(), note: "enough".into() };
        Some(match need {
            Need::Approval { key, digest, task, step, content, .. } => {
                match self.chance.below(if self.calm { 8 } else { 14 }) {
                    0 => {
                        self.tally.denied += 1;
                        WorkEvent::ApprovalDenied { key: *key, note: "no".into() }
                    }
                    // What is void: for something else, or by somebody else.
                    10 => WorkEvent::approve(*key, ContentHash::of(b"other"), &VAULT, &operator()),
                    11 => WorkEvent::approve(*key, *digest, &VAULT, &SecretKey::from_bytes(&[6; 32])),
                    9 => cancel(task),
                    12 | 13 => self.changes(key, task, step, content),
                    _ => WorkEvent::approve(*key, *digest, &VAULT, &operator()),
                }
            }
            Need::Unknown { key, attempt, .. } | Need::Lost { key, attempt, .. } => {
                let happened = self.far.has(key);
                self.tally.settled += 1;
                self.tally.undone += u64::from(!happened);
                WorkEvent::settle(*key, *attempt, happened, &VAULT, &operator())
            }
            // Nothing takes it back but the end of its task.
            Need::Refused { key, done, .. } => {
                if !done {
                    return None;
                }
                assert!(self.far.has(key), "nobody did what is said to have gone out: {need:?}");
                self.tally.too_late += 1;
                let effect = self
                    .devices
                    .iter()
                    .find_map(|it| it.kernel.as_ref()?.tables().effect(key))
                    .expect("an effect");
                let attempt = effect.intent.expect("it had begun").attempt;
                WorkEvent::settle(*key, attempt, true, &VAULT, &operator())
            }
            Need::Dead { task, run, step, .. } => {
                self.tally.dead += 1;
                match self.chance.one_in(2) {
                    true => cancel(task),
                    false => {
                        WorkEvent::TaskRetried { task: task.clone(), run: run.clone(), step: step.clone() }
                    }
                }
            }
            Need::Question { task, step, attempt, .. } => {
                let answer = if self.chance.one_in(5) { "stop" } else { "send" };
                let (task, step, answer) = (task.clone(), step.clone(), answer.to_owned());
                WorkEvent::QuestionAnswered { task, step, answer, attempt: *attempt }
            }
            Need::Missing { task, .. } if self.calm => cancel(task),
            Need::Missing { .. }
            | Need::Worse { .. }
            | Need::Unfit { .. }
            | Need::Elsewhere { .. }
            | Need::Later { .. } => {
                return None;
            }
        })
    }
}
