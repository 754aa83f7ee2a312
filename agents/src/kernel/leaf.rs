//! Steps that have no steps within them, and the start of those that have.

use serde_json::{Value, json};

use super::share::Purse;
use super::walk::{Walked, Walker};
use super::{Action, Flight, Need, Work};
use crate::agent::{Turn, prompt};
use crate::event::{Content, WorkEvent, digest};
use crate::expression::{ExpressionError, Template};
use crate::failure::{Class, Failure};
use crate::query::Query;
use crate::span::{self, Millis};
use crate::table::{Status, StepState, Stuck};
use crate::workflow::{Act, Deed, Step, Target, Wait};

/// How deep workflows may start each other.
const MAX_NESTING: usize = 16;
/// How many events may lead to each other.
pub(super) const MAX_HOPS: u32 = 16;
/// When it is looked again whether there is money, in ms.
const ASK_AGAIN: Millis = 600_000;
/// The most items of an `each`.
const MAX_ITEMS: usize = 10_000;

impl From<ExpressionError> for Failure {
    fn from(error: ExpressionError) -> Failure {
        Failure::new(Class::Permanent, error.to_string())
    }
}

impl Walker<'_> {
    /// Carries on a step that is not over.
    pub fn leaf(&mut self, step: &Step, path: &str, scope: &Value) -> Walked {
        if let Act::Effect { deed, .. } = &step.act {
            return self.effect(step, deed, path, scope);
        }
        let now = self.kernel.now;
        let Some(state) = self.run.state(path) else {
            return match self.closing {
                true => self.cancelled(path),
                false => self.begin(step, path, scope, self.run.attempts(path) + 1),
            };
        };
        if self.closing {
            if matches!(state.status, Status::Started)
                && self.task.rehearsal.is_none()
                && let Some((_, content)) = state.wants()
                && matches!(self.wanted(step, content, path), Walked::Busy)
            {
                return Walked::Busy;
            }
            self.stop(state, path);
            if state.batched().is_some() {
                self.stopped.push(Flight::Step(self.work(path, state.attempts)));
                self.acts.extend(self.kernel.gives_up(state, |_, _| false));
            }
            return self.cancelled(path);
        }
        match &state.status {
            Status::Failed { retry, .. } => {
                let failed = state.failed.last().map_or(state.began, |attempt| attempt.at);
                match retry.map(|at| self.later(at, failed)) {
                    Some(at) if at <= now => return self.begin(step, path, scope, state.attempts + 1),
                    at => self.due.extend(at),
                }
                Walked::Busy
            }
            Status::Fired { late } => {
                self.finish(path, json!({"late": late}), None);
                Walked::Busy
            }
            Status::Started | Status::Finished { .. } | Status::Rewound => {
                self.go_on(step, path, scope, state)
            }
        }
    }

    fn cancelled(&self, path: &str) -> Walked {
        let note = self.task.cancelled.clone().unwrap_or_default();
        Walked::Failed(Stuck { step: path.to_owned(), failure: Failure::new(Class::Denied, note) })
    }

    fn work(&self, path: &str, attempt: u32) -> Work {
        let (task, run) = (self.id.to_owned(), self.run_id.to_owned());
        Work { task, run, step: path.to_owned(), attempt }
    }

    fn stop(&mut self, state: &StepState, path: &str) {
        let work = self.work(path, state.attempts);
        let flight = Flight::Step(work.clone());
        if self.kernel.flying.contains(&flight) {
            self.stopped.push(flight);
            self.acts.push(Action::Stop(work));
        }
    }

    /// Starts an attempt: what goes in is recorded first.
    fn begin(&mut self, step: &Step, path: &str, scope: &Value, attempt: u32) -> Walked {
        if let Err(failure) = self.try_begin(step, path, scope, attempt) {
            self.fail_at(path, attempt, failure, None);
        }
        Walked::Busy
    }

    fn try_begin(&mut self, step: &Step, path: &str, scope: &Value, attempt: u32) -> Result<(), Failure> {
        let now = self.kernel.now;
        let mut items = None;
        let mut until = None;
        let input = goes_in(step, scope)?;
        match &step.act {
            Act::Wait(Wait::For(span)) => until = Some(now.saturating_add(read_span(span, scope)?)),
            Act::Wait(Wait::Until(moment)) => until = Some(read_moment(moment, scope)?),
            Act::Wait(Wait::Event { deadline, .. }) => {
                until = deadline.map(|deadline| now.saturating_add(deadline));
            }
            Act::Choose { .. } => {
                let go = chosen(step, scope)?;
                self.finish(path, json!({"go": go}), Some(go));
                return Ok(());
            }
            Act::Each { .. } => items = input.as_array().cloned(),
            _ => {}
        }
        if let Act::Emit { .. } = &step.act
            && self.kernel.tables.hops(self.id) > MAX_HOPS
        {
            let what = format!("more than {MAX_HOPS} events led to each other");
            return Err(Failure::new(Class::Permanent, what));
        }
        if let Act::Agent { agent, .. } = &step.act {
            match self.kernel.set_aside(agent, &self.work(path, attempt), &self.events)? {
                Purse::Has(events) => self.events.extend(events),
                Purse::Lacks(need, events) => {
                    self.needs.push(*need);
                    self.events.extend(events);
                    // A new day or month brings new money. However often it is looked at, it is at the same moments.
                    self.due.push((now / ASK_AGAIN + 1).saturating_mul(ASK_AGAIN));
                    return Ok(());
                }
            }
        }
        self.events.push(WorkEvent::StepStarted {
            task: self.id.to_owned(),
            run: self.run_id.to_owned(),
            step: path.to_owned(),
            attempt,
            input: digest(&input),
            items,
            until,
            agent: match &step.act {
                Act::Agent { agent, .. } => {
                    self.kernel.version_for(agent, self.id, self.task, Some(self.run))?
                }
                _ => None,
            },
        });
        if let Act::Emit { name, .. } = &step.act {
            self.emit(name, path, input);
        }
        Ok(())
    }

    /// Has it recorded that something happened. However often a step comes here, it happened once.
    fn emit(&mut self, name: &str, path: &str, data: Value) {
        let id = format!("{}/{path}", self.id);
        self.events.push(WorkEvent::EventEmitted {
            name: name.to_owned(),
            id: id.clone(),
            data,
            untrusted: self.kernel.is_untrusted(self.id),
            from: Some((self.id.to_owned(), path.to_owned())),
            hops: self.kernel.tables.hops(self.id),
        });
        self.finish(path, json!({"event": name, "id": id}), None);
    }

    /// Carries on a step that has started.
    fn go_on(&mut self, step: &Step, path: &str, scope: &Value, state: &StepState) -> Walked {
        let now = self.kernel.now;
        let began = state.started.time().saturating_add(state.waited);
        let deadline = step.timeout.map(|timeout| self.later(began.saturating_add(timeout), began));
        if let Some(at) = deadline.filter(|at| *at > now) {
            self.due.push(at);
        }
        // Waiting for a batch takes no time.
        let batched = state.batched().is_some();
        let late = deadline.is_some_and(|at| at <= now) && !batched;
        let over = format!("it took longer than {}", span::show(step.timeout.unwrap_or(0)));
        match &step.act {
            Act::Agent { .. } if state.wants().is_some() => self.waits_for(step, path, state),
            Act::Agent { agent, .. } if state.asks().is_some() => self.waits_for_answer(agent, path, state),
            Act::Agent { agent, input } => {
                let work = self.work(path, state.attempts);
                let flight = Flight::Step(work.clone());
                if self.kernel.flying.contains(&flight) {
                    if late {
                        self.stop(state, path);
                        self.fail(step, path, Failure::new(Class::Transient, over));
                    }
                } else if let Some(at) = self.kernel.looks_again(&work, state) {
                    self.due.push(at);
                } else if batched || self.kernel.fresh.contains(&flight) {
                    match input.fill(scope) {
                        Ok(input) if Some(digest(&input)) == state.input => {
                            self.begun.push(flight);
                            let since = state.began.saturating_add(state.waited);
                            let turns = state.turns.clone();
                            let outside =
                                self.kernel.is_untrusted(self.id) || self.kernel.rehearses_outside(self.task);
                            let agent = agent.clone();
                            let version = state.agent;
                            self.acts.push(Action::Start {
                                work,
                                agent,
                                version,
                                input,
                                outside,
                                since,
                                turns,
                            });
                        }
                        Ok(_) | Err(_) => {
                            let what = "what goes in is not what was recorded";
                            self.give_up(path, Failure::new(Class::LostContext, what));
                        }
                    }
                } else {
                    let what = "it was begun, and nothing more is known of it";
                    self.fail(step, path, Failure::new(Class::Crashed, what));
                }
            }
            // A look changes nothing: who was killed over one looks again.
            Act::Find { .. } => {
                let work = self.work(path, state.attempts);
                let flight = Flight::Step(work.clone());
                if self.kernel.flying.contains(&flight) {
                    return Walked::Busy;
                }
                match goes_in(step, scope) {
                    Ok(input) if Some(digest(&input)) == state.input => match Query::of(&input) {
                        Ok(query) => {
                            self.begun.push(flight);
                            self.acts.push(Action::Find { work, query });
                        }
                        Err(failure) => self.give_up(path, failure),
                    },
                    Ok(_) | Err(_) => {
                        let what = "what goes in is not what was recorded";
                        self.give_up(path, Failure::new(Class::LostContext, what));
                    }
                }
            }
            Act::Ask { question, choices } => {
                let answers = self.task.answers.get(path).map(Vec::as_slice).unwrap_or_default();
                let mut texts =
                    answers.iter().filter(|answer| state.takes(answer)).map(|answer| &answer.text);
                let sound = |answer: &&String| choices.is_empty() || choices.contains(answer);
                match (texts.find(sound), question.fill_text(scope)) {
                    (Some(answer), _) => self.finish(path, json!({"answer": answer}), None),
                    (None, _) if late => {
                        self.give_up(path, Failure::new(Class::Permanent, "nobody answered in time"));
                    }
                    (None, Ok(question)) => self.needs.push(Need::Question {
                        task: self.id.to_owned(),
                        step: path.to_owned(),
                        attempt: state.attempts,
                        question,
                        choices: choices.clone(),
                    }),
                    (None, Err(error)) => self.give_up(path, error.into()),
                }
            }
            Act::Wait(wait) => self.wait(wait, path, scope, state),
            Act::Workflow { workflow, input } => {
                let child = self.kernel.child_of(self.id, path);
                match self.kernel.tables.task(&child).filter(|child| child.workflow.is_some()) {
                    None => match self.start_child(workflow, &child, path, input, scope) {
                        Ok(created) => self.events.push(created),
                        Err(failure) => self.give_up(path, failure),
                    },
                    Some(child) => match &child.ended {
                        Some((_, crate::event::Outcome::Done, result)) => {
                            self.finish(path, result.clone(), None);
                        }
                        Some((_, _, result)) => {
                            let what = format!("workflow `{workflow}` did not come to its end: {result}");
                            self.give_up(path, Failure::new(Class::Permanent, what));
                        }
                        None => {}
                    },
                }
            }
            Act::Choose { .. }
            | Act::Emit { .. }
            | Act::Each { .. }
            | Act::Parallel(_)
            | Act::Effect { .. } => {}
        }
        Walked::Busy
    }

    /// Carries on what an agent wants to change in the world.
    fn wanted(&mut self, step: &Step, content: &Content, path: &str) -> Walked {
        self.effect(step, &Deed::fixed(content), &Turn::place(path, content), &Value::Null)
    }

    /// Has it recorded what came of what an agent wants, once that is known: its work goes on then. Nobody is hurried over consent.
    fn waits_for(&mut self, step: &Step, path: &str, state: &StepState) {
        let Some((call, content)) = state.wants() else { return };
        let took = if self.task.rehearsal.is_some() {
            self.kernel.told_in_rehearsal(self.id, &state.turns, call)
        } else {
            let text = match self.wanted(step, content, path) {
                Walked::Busy => return,
                Walked::Done(result) => format!("done: {result}"),
                Walked::Failed(stuck) => format!("not done: {}", stuck.failure),
            };
            Turn::Came { call: call.to_owned(), text, untrusted: false }
        };
        self.came(path, state, took);
    }

    /// Has it recorded what the operator answers to an agent, once he does. In a rehearsal nobody is asked but whether a dear call is made.
    fn waits_for_answer(&mut self, agent: &str, path: &str, state: &StepState) {
        let Some((call, question, choices)) = state.asks() else { return };
        if self.task.rehearsal.is_some() && !call.is_empty() {
            let took = self.kernel.told_in_rehearsal(self.id, &state.turns, call);
            return self.came(path, state, took);
        }
        // Of several questions of one step each has its own place.
        let place = format!("{path}?{}", state.turns.len());
        let answers = self.task.answers.get(&place).map(Vec::as_slice).unwrap_or_default();
        let sound = |text: &&String| choices.is_empty() || choices.contains(text);
        let mut texts = answers.iter().filter(|it| state.takes(it)).map(|it| &it.text).filter(sound);
        match texts.next() {
            Some(answer) => {
                let text = match call {
                    "" => answer.clone(),
                    _ => prompt::quote("operator", false, answer),
                };
                let took = Turn::Came { call: call.to_owned(), text, untrusted: false };
                self.came(path, state, took);
            }
            None => self.needs.push(Need::Question {
                task: self.id.to_owned(),
                step: place,
                attempt: state.attempts,
                question: format!("{agent} asks: {question}"),
                choices: choices.to_vec(),
            }),
        }
    }

    /// Has it recorded what came of what was waited for.
    fn came(&mut self, path: &str, state: &StepState, took: Turn) {
        let took = Box::new(state.turns.last().map_or(took.clone(), |last| last.around(took)));
        let Work { task, run, step, attempt } = self.work(path, state.attempts);
        self.events.push(WorkEvent::TurnTaken { task, run, step, attempt, took });
    }

    fn wait(&mut self, wait: &Wait, path: &str, scope: &Value, state: &StepState) {
        let now = self.kernel.now;
        let until = match wait {
            // A moment comes when it comes.
            Wait::Until(_) => state.until,
            Wait::For(_) | Wait::Event { .. } => state.until.map(|at| self.later(at, state.started.time())),
        };
        if let Wait::Event { name, filter, .. } = wait {
            self.listens.push(name.clone());
            for event in self.kernel.tables.outside_after(name, &state.started) {
                let mut scope = scope.clone();
                scope["event"] = event.data.clone();
                // An event for which the filter makes no sense is another's.
                if filter.as_ref().is_none_or(|filter| filter.holds(&scope).unwrap_or(false)) {
                    let mut result = json!({"event": event.data, "late": false});
                    if event.untrusted {
                        result["untrusted"] = true.into();
                    }
                    return self.finish(path, result, None);
                }
            }
            match until {
                Some(at) if at <= now => self.finish(path, json!({"event": null, "late": true}), None),
                at => self.due.extend(at),
            }
            return;
        }
        match until {
            Some(at) if at <= now => {
                let (task, run, step) = (self.id.to_owned(), self.run_id.to_owned(), path.to_owned());
                self.events.push(WorkEvent::TimerFired { task, run, step, at, late: now - at });
            }
            at => self.due.extend(at),
        }
    }

    fn start_child(
        &self,
        workflow: &str,
        child: &str,
        path: &str,
        input: &Template,
        scope: &Value,
    ) -> Result<WorkEvent, Failure> {
        let mut depth = 0;
        let mut above = self.task.parent.as_ref();
        while let Some((parent, _)) = above.filter(|_| depth <= MAX_NESTING) {
            depth += 1;
            above = self.kernel.tables.task(parent).and_then(|task| task.parent.as_ref());
        }
        if depth > MAX_NESTING {
            let what = format!("workflows start each other more than {MAX_NESTING} deep");
            return Err(Failure::new(Class::Permanent, what));
        }
        let setting = &self.kernel.setting;
        let version = setting.current.get(workflow);
        let found = version.and_then(|version| Some((version, setting.versions.get(version)?)));
        let Some((version, definition)) = found else {
            return Err(Failure::new(Class::LostContext, format!("no workflow `{workflow}` is in force")));
        };
        let input = definition.input.complete(input.fill(scope)?);
        if let Some(misfit) = definition.input.misfits("input", &input).first() {
            return Err(Failure::new(Class::Permanent, misfit.to_string()));
        }
        Ok(WorkEvent::TaskCreated {
            task: child.to_owned(),
            workflow: workflow.to_owned(),
            version: *version,
            input,
            parent: Some((self.id.to_owned(), path.to_owned())),
            on: None,
            trigger: None,
        })
    }
}

/// What goes into a step, of which the digest is recorded.
pub(super) fn goes_in(step: &Step, scope: &Value) -> Result<Value, Failure> {
    match &step.act {
        Act::Agent { input, .. } | Act::Workflow { input, .. } => Ok(input.fill(scope)?),
        Act::Find { files, fields } => {
            Ok(json!({"files": files.fill_text(scope)?, "match": fields.fill(scope)?}))
        }
        Act::Ask { question, .. } => Ok(question.fill_text(scope)?.into()),
        Act::Emit { data, .. } => Ok(data.fill(scope)?),
        Act::Each { items: list, .. } => {
            let Value::Array(found) = list.value(scope)? else {
                return Err(Failure::new(Class::Permanent, format!("`{}` is no list", list.source())));
            };
            if found.len() > MAX_ITEMS {
                let what = format!("`{}` has more than {MAX_ITEMS} items", list.source());
                return Err(Failure::new(Class::Permanent, what));
            }
            Ok(Value::Array(found))
        }
        Act::Wait(_) | Act::Choose { .. } | Act::Parallel(_) | Act::Effect { .. } => Ok(Value::Null),
    }
}

/// Where a choice leads; empty for the end.
pub(super) fn chosen(step: &Step, scope: &Value) -> Result<String, Failure> {
    let Act::Choose { cases, otherwise } = &step.act else { return Ok(String::new()) };
    let mut way = otherwise;
    for (when, target) in cases {
        if when.holds(scope)? {
            way = target;
            break;
        }
    }
    Ok(match way {
        Target::Step(name) => name.clone(),
        Target::End => String::new(),
    })
}

fn read_span(template: &Template, scope: &Value) -> Result<Millis, Failure> {
    let text = template.fill_text(scope)?;
    span::parse(&text).map_err(|error| Failure::new(Class::Permanent, error.to_string()))
}

fn read_moment(template: &Template, scope: &Value) -> Result<Millis, Failure> {
    let text = template.fill_text(scope)?;
    let at = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at.ok_or_else(|| Failure::new(Class::Permanent, format!("`{text}` is no moment")))
}
