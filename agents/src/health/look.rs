//! Where silent failures are looked for.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::DeviceId;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Finding, GRACE, IDLE, Kind, LATE, MANY, PATIENCE, Place, SILENCE};
use crate::event::{Fired, Outcome};
use crate::kernel::Setting;
use crate::model::batch::LONGEST;
use crate::span::{self, Millis};
use crate::table::{Matter, Passage, Stand, Status, StepState, Tables, Task};
use crate::workflow::{Act, Workflow};

/// One look at all work.
pub(super) struct Look<'l> {
    pub tables: &'l Tables,
    pub setting: &'l Setting,
    pub place: &'l Place,
    pub out: Vec<Finding>,
}

/// How people read a length of time: no finer than a second.
fn show(span: Millis) -> String {
    span::show(span / 1000 * 1000)
}

fn moment(at: Millis) -> Timestamp {
    i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or(Timestamp::MAX)
}

/// Whether nothing is in what a step gave. That a wait is over, and where a choice led, is no output.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(map) => map.iter().all(|(name, it)| name == "late" || name == "go" || is_empty(it)),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl<'l> Look<'l> {
    fn ago(&self, at: Millis) -> Millis {
        self.place.now.saturating_sub(at)
    }

    fn is_past(&self, at: Millis, by: Millis) -> bool {
        at.saturating_add(by) < self.place.now
    }

    fn is_recent(&self, at: Millis) -> bool {
        at >= self.place.since
    }

    fn name(&self, device: DeviceId) -> String {
        let found = self.place.members.iter().find(|member| member.device == device);
        found.map_or_else(|| device.short(8), |member| member.name.clone())
    }

    fn workflow(&self, task: &Task) -> Option<&'l Workflow> {
        self.setting.versions.get(&task.version?)
    }

    /// What goes on by itself where the program runs: how to have it go on.
    fn go_on(&self, device: Option<DeviceId>) -> Vec<String> {
        match device == Some(self.place.here) {
            true => vec!["aios run".into(), "aios up".into()],
            // The device itself has to run; this one can find out whether it did.
            false => vec!["aios sync".into(), "aios devices".into()],
        }
    }

    /// Schedules that were due while nobody was there.
    pub fn schedules(&mut self) {
        for schedule in &self.setting.schedules {
            let name = &schedule.workflow;
            let Some(version) = self.setting.current.get(name) else { continue };
            let Some(workflow) = self.setting.versions.get(version) else { continue };
            let after = self.tables.fired(name).map_or(schedule.since, |at| at.max(schedule.since));
            let until = self.place.now.saturating_sub(GRACE);
            let due = (after < until)
                .then(|| schedule.cron.last(moment(after), moment(until), &schedule.zone))
                .flatten();
            let Some(at) = due.and_then(|at| u64::try_from(at.timestamp().as_millisecond()).ok()) else {
                continue;
            };
            let device = self.setting.place(workflow);
            let who = match device {
                Some(device) => format!("{} has not started it", self.name(device)),
                None => "no device has the role `coordinate`".to_owned(),
            };
            let what = format!("workflow {name} was due {} ago, and {who}", show(self.ago(at)));
            let workflow = Some(name.clone());
            let mut next = self.go_on(device);
            if device.is_none() {
                next = vec!["aios devices".into()];
            }
            self.out.push(Finding { workflow, device, next, ..Finding::new(Kind::Missed, at, what) });
        }
    }

    /// New versions of agents that did worse, as long as the operator has not said what works.
    pub fn canaries(&mut self) {
        for (agent, said) in self.tables.released() {
            let Some(stopped) = said.stopped() else { continue };
            let what = format!("the new version of agent {agent} has no more tasks: {}", stopped.why);
            let next = vec![format!("aios agents show {agent}"), format!("aios agents rollback {agent}")];
            self.out.push(Finding { next, ..Finding::new(Kind::Worse, stopped.at, what) });
        }
    }

    /// The tasks that ended lately, and of the others those that are late in some way.
    pub fn tasks(&mut self) {
        let (now, since) = (self.place.now, self.place.since);
        let mut ids: BTreeSet<String> =
            self.tables.overdue(now).chain(self.tables.made_late(since)).collect();
        for (version, workflow) in &self.setting.versions {
            let Some(by) = workflow.expected.by else { continue };
            let Some(since) = now.checked_sub(by) else { continue };
            ids.extend(self.tables.awaited(*version, since));
        }
        ids.extend(self.tables.over(since, Millis::MAX).filter_map(|matter| match matter {
            Matter::Task(id) => Some(id),
            Matter::Effect(_) => None,
        }));
        for id in ids {
            let Some(task) = self.tables.seen_task(&id) else { continue };
            self.task(&id, &task);
        }
    }

    /// One task.
    fn task(&mut self, id: &str, task: &Task) {
        let Some(name) = task.workflow.clone() else { return };
        let about = |kind, at, what: String| Finding {
            task: Some(id.to_owned()),
            workflow: Some(name.clone()),
            device: task.device,
            ..Finding::new(kind, at, what)
        };
        let again = || vec![format!("aios replay {id}"), "aios tasks".to_owned()];
        if let Some(Fired::Cron { at, late }) = &task.trigger
            && *late >= LATE
            && self.is_recent(task.made)
        {
            let what = format!("workflow {name} was due, and started {} later", show(*late));
            self.out.push(Finding { next: again(), ..about(Kind::Late, *at, what) });
        }
        // From when on it is waited for.
        let began = task.awaited();
        let by = self.workflow(task).and_then(|workflow| workflow.expected.by);
        let deadline = by.map(|by| began.saturating_add(by).saturating_add(self.tables.stood(id, began)));
        let Some((run, outcome, result)) = &task.ended else {
            // What stands still does so because the operator said so.
            if task.cancelled.is_some() || self.tables.is_paused(id) {
                return;
            }
            if let (Some(at), Some(by)) = (deadline.filter(|at| self.is_past(*at, 0)), by) {
                let what = format!("workflow {name} is expected to be over within {}, and is not", show(by));
                let next = vec!["aios inbox".into(), format!("aios task cancel {id}")];
                self.out.push(Finding { next, ..about(Kind::Unmet, at, what) });
            }
            return self.open(id, task, &about);
        };
        let at = task.runs.get(run).map_or(task.made, |run| run.halted);
        if !self.is_recent(at) {
            return;
        }
        match outcome {
            Outcome::Cancelled => {}
            Outcome::Failed => {
                let why = result.get("what").and_then(Value::as_str).unwrap_or_default();
                let what = format!("workflow {name} failed: {why}");
                self.out.push(Finding { next: again(), ..about(Kind::Failed, at, what) });
            }
            Outcome::Done => {
                if let Some(over) = deadline.filter(|deadline| at > *deadline) {
                    let what = format!("workflow {name} was over {} later than expected", show(at - over));
                    self.out.push(Finding { next: again(), ..about(Kind::Late, over, what) });
                }
                if let Some((kind, what)) = self.outcome(id, task, run, result) {
                    let what = format!("workflow {name} {what}");
                    self.out.push(Finding { next: again(), ..about(kind, at, what) });
                }
            }
        }
    }

    /// What is wrong with the outcome of a task that is done.
    fn outcome(&self, id: &str, task: &Task, run: &str, result: &Value) -> Option<(Kind, String)> {
        // Each is read from where it is remembered: only where it matters.
        let tables = self.tables;
        let done = || {
            let effects = tables.proposals(id).filter_map(move |key| tables.seen(&key));
            effects.filter(|effect| matches!(effect.stand(), Stand::Done(_)))
        };
        let expected = self.workflow(task).and_then(|workflow| workflow.expected.that.as_ref());
        let Some(that) = expected else {
            let given = |state: &StepState| match &state.status {
                Status::Finished { result, .. } => !is_empty(result),
                _ => false,
            };
            let output =
                !is_empty(result) || task.runs.get(run).is_some_and(|run| run.steps.values().any(given));
            let what = "ended without any output or effect".to_owned();
            return (!output && done().next().is_none()).then_some((Kind::Fruitless, what));
        };
        let trigger = serde_json::to_value(&task.trigger).unwrap_or_default();
        let scope = json!({"input": task.input, "result": result, "effects": done().count(), "trigger": trigger, "task": id});
        match that.holds(&scope) {
            Ok(true) => None,
            Ok(false) => Some((Kind::Unmet, format!("ended, and `{}` does not hold", that.source()))),
            Err(error) => Some((Kind::Unmet, format!("ended, and what is expected has no value: {error}"))),
        }
    }

    /// One that is not over.
    fn open(&mut self, id: &str, task: &Task, about: &dyn Fn(Kind, Millis, String) -> Finding) {
        let Some(run) = task.its_run() else {
            if self.is_past(task.made, GRACE) {
                let name = task.device.map(|device| self.name(device)).unwrap_or_default();
                let what = format!("{name} has not begun it since {}", show(self.ago(task.made)));
                let next = self.go_on(task.device);
                self.out.push(Finding { next, ..about(Kind::Overdue, task.made, what) });
            }
            return;
        };
        if let Some(stuck) = &run.stuck {
            let what = format!("step {} failed for good: {}", stuck.step, stuck.failure);
            let next = vec![format!("aios task retry {id}"), format!("aios task cancel {id}")];
            let step = Some(stuck.step.clone());
            return self.out.push(Finding { step, next, ..about(Kind::Stuck, run.halted, what) });
        }
        let workflow = self.workflow(task);
        for (path, state) in &run.steps {
            let step = workflow.and_then(|workflow| workflow.steps.at(path));
            let timeout = step.filter(|step| matches!(step.act, Act::Agent { .. } | Act::Ask { .. }));
            let timeout = timeout.and_then(|step| step.timeout);
            if let Some((at, what)) = self.stands_still(id, state, timeout) {
                let next = self.go_on(Some(run.device));
                let step = Some(path.clone());
                let what = format!("step {path} {what} {} ago", show(self.ago(at)));
                self.out.push(Finding { step, next, ..about(Kind::Overdue, at, what) });
            } else if let Some(Act::Ask { .. }) = step.map(|step| &step.act)
                && state.status == Status::Started
                && self.is_past(state.started.time(), PATIENCE)
            {
                let at = state.started.time();
                let what = format!("step {path} has asked you since {}", show(self.ago(at)));
                let (step, next) = (Some(path.clone()), vec![format!("aios answer {id} ANSWER")]);
                self.out.push(Finding { step, next, ..about(Kind::Asked, at, what) });
            }
        }
    }

    /// When a step should have gone on, where it should.
    fn stands_still(
        &self,
        id: &str,
        state: &StepState,
        timeout: Option<Millis>,
    ) -> Option<(Millis, &'static str)> {
        let found = match &state.status {
            // A batch has a time of its own.
            Status::Started if let Some(batched) = state.batched() => {
                (batched.since.saturating_add(LONGEST), "was to be answered by batch")
            }
            Status::Started => match (state.until, timeout) {
                (Some(at), _) => (at, "was to go on"),
                (None, Some(timeout)) => (state.started.time().saturating_add(timeout), "was to be over"),
                (None, None) => return None,
            },
            Status::Failed { retry: Some(at), .. } => ((*at).max(state.began), "was to be tried again"),
            _ => return None,
        };
        let (at, what) = found;
        let at = at.saturating_add(self.tables.stood(id, state.started.time()));
        self.is_past(at, GRACE).then_some((at, what))
    }

    /// Effects of which nobody knows what came, and those that wait for consent.
    pub fn effects(&mut self) {
        for (key, effect) in self.tables.unsettled() {
            let Some(proposed) = &effect.proposed else { continue };
            let task = self.tables.task(&proposed.task);
            let id = key.0.short(12);
            let deed = format!("{} to {}", proposed.content.capability, proposed.content.target);
            let about = |kind, at, what: String, device| Finding {
                task: Some(proposed.task.clone()),
                workflow: task.and_then(|task| task.workflow.clone()),
                step: Some(proposed.step.clone()),
                device,
                ..Finding::new(kind, at, what)
            };
            let device = effect.intent.map(|intent| intent.device);
            let at = effect.intent.map_or(0, |intent| intent.at);
            match effect.stand() {
                Stand::Unknown(_) => {
                    let what = format!("{deed} may have happened, or not");
                    let next =
                        vec![format!("aios settle {id} --done"), format!("aios settle {id} --not-done")];
                    self.out.push(Finding { next, ..about(Kind::Unknown, at, what, device) });
                }
                // It stands still, and is looked at when it goes on.
                Stand::Performing(_) | Stand::Waiting if self.tables.is_paused(&proposed.task) => {}
                Stand::Performing(_) if self.is_past(at, GRACE) => {
                    let what = format!(
                        "{deed} was begun {} ago, and what came of it is not known",
                        show(self.ago(at))
                    );
                    let next = self.go_on(device);
                    self.out.push(Finding { next, ..about(Kind::Unknown, at, what, device) });
                }
                Stand::Waiting if task.is_some_and(|it| it.ended.is_none() && it.cancelled.is_none()) => {
                    let Some(at) = effect.decided().map(|it| it.at).filter(|at| self.is_past(*at, PATIENCE))
                    else {
                        continue;
                    };
                    let what = format!("{deed} has waited for your consent since {}", show(self.ago(at)));
                    let next = vec![format!("aios approve {id}"), format!("aios deny {id} --note WHY")];
                    self.out.push(Finding { next, ..about(Kind::Asked, at, what, None) });
                }
                _ => {}
            }
        }
    }

    /// Effects that were refused when they had begun, until the operator takes note of that.
    pub fn refusals(&mut self) {
        for (key, effect) in self.tables.refused_late() {
            let (Some(refusal), Some(proposed), Some(begun)) =
                (effect.too_late(), &effect.proposed, effect.intent)
            else {
                continue;
            };
            let done = matches!(effect.stand(), Stand::Done(_));
            let deed = format!("{} to {}", proposed.content.capability, proposed.content.target);
            let (ago, said) = (show(self.ago(begun.at)), show(self.ago(refusal.at)));
            let went = if done { "had gone out" } else { "had begun" };
            let word = if refusal.changed { "changed" } else { "denied" };
            let what = format!("{deed} was {word} {said} ago, and {went} {ago} ago");
            let task = self.tables.task(&proposed.task);
            let mut next = vec![format!("aios undo --run {}", proposed.task)];
            match done {
                true => next.push(format!("aios settle {} --done", key.0.short(12))),
                false => next.insert(0, "aios sync".into()),
            }
            self.out.push(Finding {
                task: Some(proposed.task.clone()),
                workflow: task.and_then(|task| task.workflow.clone()),
                step: Some(proposed.step.clone()),
                device: Some(begun.device),
                next,
                ..Finding::new(Kind::Refused, refusal.at, what)
            });
        }
    }

    /// Connectors whose effects wait.
    pub fn breakers(&mut self) {
        for capability in self.setting.connectors.keys() {
            let breaker = self.tables.breaker(capability);
            let passage = breaker.passage(self.place.now);
            let Some((at, failure)) = &breaker.last else { continue };
            let then = match passage {
                Passage::Closed => continue,
                Passage::Open => {
                    let left = breaker.until().unwrap_or(0).saturating_sub(self.place.now);
                    format!("one is tried in {}", show(left.max(1000)))
                }
                Passage::HalfOpen => "the next is tried".to_owned(),
            };
            let times = breaker.failures;
            let what =
                format!("{capability} failed {times} times in a row, and waits; {then}; the last: {failure}");
            let device = self.tables.homes().now(capability);
            let next = self.go_on(device.or(Some(self.place.here)));
            self.out.push(Finding { device, next, ..Finding::new(Kind::Open, *at, what) });
        }
    }

    /// What comes from outside and is not looked for.
    pub fn sources(&mut self) {
        for source in &self.place.sources {
            let (name, device) = (&source.name, Some(source.device));
            let here = device == Some(self.place.here);
            // Another device may be shut for a night.
            let patience = if here { IDLE } else { PATIENCE };
            let what = match source.at {
                None => format!("nobody listens for {name}: what comes is lost, or waits"),
                Some(at) if !self.is_past(at, patience) => continue,
                Some(at) if here => format!("nobody has looked for {name} for {}", show(self.ago(at))),
                Some(at) => {
                    let (who, ago) = (self.name(source.device), show(self.ago(at)));
                    format!("{name} comes to {who}, of which nothing was heard for {ago}")
                }
            };
            let at = source.at.unwrap_or(self.place.now);
            let next = if here { vec!["aios up".into(), "aios run".into()] } else { self.go_on(device) };
            self.out.push(Finding { device, next, ..Finding::new(Kind::Unpolled, at, what) });
        }
    }

    /// Steps that fail more often than they did before.
    pub fn retries(&mut self) {
        let length = self.place.now.saturating_sub(self.place.since);
        let mut counts: BTreeMap<(String, String), (usize, usize, Millis, String)> = BTreeMap::new();
        for id in self.tables.failing(self.place.since.saturating_sub(length)) {
            let Some(task) = self.tables.seen_task(&id) else { continue };
            let Some(name) = &task.workflow else { continue };
            for run in task.runs.values() {
                for (path, state) in &run.steps {
                    // Items and visits are one step.
                    let step: Vec<&str> =
                        path.split('/').filter_map(|it| it.split(['#', '[']).next()).collect();
                    for attempt in &state.failed {
                        let entry = counts.entry((name.clone(), step.join("/"))).or_default();
                        if self.is_recent(attempt.at) {
                            entry.0 += 1;
                            if attempt.at >= entry.2 {
                                (entry.2, entry.3) = (attempt.at, attempt.failure.to_string());
                            }
                        } else if attempt.at.saturating_add(length) >= self.place.since {
                            entry.1 += 1;
                        }
                    }
                }
            }
        }
        for ((name, step), (now, before, at, last)) in counts {
            if now < MANY || now < before * 2 {
                continue;
            }
            let what = format!(
                "step {step} of workflow {name} failed {now} times, {before} before; the last: {last}"
            );
            let next = vec!["aios tasks".into(), "aios inbox".into()];
            let (workflow, step) = (Some(name), Some(step));
            self.out.push(Finding { workflow, step, next, ..Finding::new(Kind::Retries, at, what) });
        }
    }

    /// Members that were not heard of for long.
    pub fn members(&mut self) {
        for member in &self.place.members {
            let Some(at) = member.at.filter(|at| self.is_past(*at, SILENCE)) else { continue };
            if member.device == self.place.here {
                continue;
            }
            let what = format!("{} was last heard of {} ago", member.name, show(self.ago(at)));
            let next = vec![
                format!("aios sync --peer {}", member.name),
                format!("aios devices revoke {}", member.name),
            ];
            let device = Some(member.device);
            self.out.push(Finding { device, next, ..Finding::new(Kind::Silent, at, what) });
        }
    }
}
