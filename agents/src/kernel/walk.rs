//! Carrying on a run: its workflow is walked along its journal up to where it stands.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::home::Keeper;
use super::placement::Misplaced;
use super::replay::Comparison;
use super::{Action, Flight, Kernel, Need, Work, run_id};
use crate::event::{Fired, Outcome, WorkEvent};
use crate::failure::{Class, Failure, Retry};
use crate::span::Millis;
use crate::table::{Order, Run, Status, Stuck, Task};
use crate::workflow::{Act, Deed, Step, Steps, Target, Workflow};

/// How often a run may come to one step.
const MAX_VISITS: u32 = 1000;

/// What came of walking steps.
pub(super) enum Walked {
    /// All done; what the last one gave.
    Done(Value),
    /// Something is under way, or waited for.
    Busy,
    /// A step failed for good.
    Failed(Stuck),
}

/// An effect that happened and can be taken back.
pub(super) struct Undo<'k> {
    order: Order,
    pub path: String,
    step: &'k Step,
    pub deed: Cow<'k, Deed>,
    pub scope: Map<String, Value>,
}

/// One walk along one run.
pub(super) struct Walker<'k> {
    pub kernel: &'k Kernel,
    pub id: &'k str,
    pub task: &'k Task,
    pub run_id: &'k str,
    pub run: &'k Run,
    /// Nothing new is begun: the task was cancelled.
    pub closing: bool,
    /// Nothing is done at all: steps that are over are looked at once more.
    pub reading: bool,
    pub chance: u64,
    pub events: Vec<WorkEvent>,
    pub acts: Vec<Action>,
    pub begun: Vec<Flight>,
    pub stopped: Vec<Flight>,
    pub due: Vec<Millis>,
    pub listens: Vec<String>,
    pub needs: Vec<Need>,
    /// What compares it with the journal, where it is replayed.
    pub comparison: Option<Comparison<'k>>,
    pub undo: Vec<Undo<'k>>,
}

/// What a look at a task left to do.
#[derive(Default)]
pub(super) struct Left {
    chance: u64,
    pub events: Vec<WorkEvent>,
    pub acts: Vec<Action>,
    begun: Vec<Flight>,
    pub stopped: Vec<Flight>,
    due: Vec<Millis>,
    listens: Vec<String>,
    pub needs: Vec<Need>,
    /// An effect waits until the log knows all that this device has done.
    held_up: bool,
    /// The capabilities of which effects wait because others failed.
    braked: BTreeSet<String>,
}

impl Kernel {
    /// Looks at a task, and says what its run and its effects are to do next.
    pub(super) fn carry_on(&mut self, id: &str, out: &mut Vec<Action>) {
        let run_id = self.run_id(id);
        let Some(task) = self.tables.task(id) else { return };
        let found = task.runs.get(&run_id);
        let over = found.is_some_and(|run| run.ended.is_some()) || (found.is_none() && task.ended.is_some());
        // What stands still begins nothing; what is under way ends, and that is recorded.
        let paused = self.tables.is_paused(id);
        let mine = task.device == Some(self.device) && !over && !paused;
        // What was called off ends wherever it is.
        if mine
            && found.is_none()
            && task.cancelled.is_none()
            && let Err(misplaced) = self.elsewhere_better(id, task)
        {
            let mut left = self.nothing_left();
            match *misplaced {
                Misplaced::Moves(event) => left.events.push(event),
                Misplaced::Waits(need) => left.needs.push(need),
            }
            return self.leave(id, left, out);
        }
        if mine && found.is_none() {
            let made = Some(task.made);
            let started = WorkEvent::RunStarted { task: id.to_owned(), run: run_id, made };
            self.append(id, vec![started], out);
            return;
        }
        let mut left = self.nothing_left();
        if let Some(run) = found.filter(|_| mine) {
            let back = task.rewinds.get(&(run_id.clone(), run.turn));
            let over = task.migrations.get(&(run_id.clone(), run.moves));
            left = match (over, back) {
                (Some(to), _) => self.move_over(id, task, &run_id, run, to),
                (None, Some(asked)) => self.go_back(id, task, &run_id, run, asked),
                (None, None) => self.walk(id, task, &run_id, run),
            };
        }
        left.events.extend(self.settles(id, task));
        let keeper = Keeper::keep(self, id, task);
        left.needs.extend(keeper.needs);
        left.held_up = keeper.held_up;
        left.braked = keeper.braked;
        left.due.extend(keeper.due);
        // What the step says of its effect is recorded first.
        if left.events.is_empty() {
            left.events = keeper.events;
            left.acts.extend(keeper.acts);
            left.begun.extend(keeper.begun);
        }
        self.leave(id, left, out);
    }

    pub(super) fn nothing_left(&self) -> Left {
        Left { chance: self.chance, ..Left::default() }
    }

    /// Walks along a run, of this device or another, up to where it stands.
    pub(super) fn walk(&self, id: &str, task: &Task, run_id: &str, run: &Run) -> Left {
        let definition = task.version.and_then(|version| self.setting.versions.get(&version));
        let mut walker = Walker::new(self, id, task, run_id, run);
        match definition {
            Some(definition) => walker.run_along(definition),
            None => {
                let what = format!(
                    "the version of workflow `{}` that it began with is not here",
                    task.workflow.clone().unwrap_or_default()
                );
                walker.needs.push(Need::Missing { task: id.to_owned(), what });
            }
        }
        let Walker { chance, events, acts, begun, stopped, due, listens, needs, .. } = walker;
        Left { chance, events, acts, begun, stopped, due, listens, needs, ..Left::default() }
    }

    /// Does what a look at a task left to do.
    fn leave(&mut self, id: &str, left: Left, out: &mut Vec<Action>) {
        let Left { chance, events, acts, begun, stopped, due, listens, needs, held_up, braked } = left;
        self.chance = chance;
        if held_up {
            self.held_up.insert(id.to_owned());
        }
        for capability in braked {
            self.braked.entry(capability).or_default().insert(id.to_owned());
        }
        for flight in begun {
            self.fresh.remove(&flight);
            if let Flight::Step(work) = &flight {
                self.awaited.remove(work);
            }
            self.flying.insert(flight);
        }
        stopped.iter().for_each(|flight| {
            self.flying.remove(flight);
            if let Flight::Step(work) = flight {
                self.awaited.remove(work);
            }
        });
        self.due.extend(due.into_iter().map(|at| (at, id.to_owned())));
        for name in listens {
            self.listening.entry(name).or_default().insert(id.to_owned());
        }
        let before = match needs.is_empty() {
            true => self.needs.remove(id),
            false => self.needs.insert(id.to_owned(), needs.clone()),
        };
        let before = before.unwrap_or_default();
        out.extend(acts);
        out.extend(needs.into_iter().filter(|need| !before.contains(need)).map(Action::Show));
        if !events.is_empty() {
            self.append(id, events, out);
        }
    }

    /// The id of this device's run of a task.
    fn run_id(&self, task: &str) -> String {
        run_id(&self.vault, task, &self.device)
    }

    /// The event of a failed attempt, with when it is tried again.
    pub(super) fn failed(&mut self, work: &Work, failure: Failure) -> WorkEvent {
        let chance = Kernel::random(&mut self.chance);
        let step = self.step_of(work);
        let state =
            self.tables.task(&work.task).and_then(|task| task.runs.get(&work.run)?.steps.get(&work.step));
        let goes_on = step.zip(state).filter(|_| !self.ends_rehearsal(&work.task, &failure));
        let retry = goes_on.and_then(|(step, state)| {
            let attempt = work.attempt.saturating_sub(state.forgiven);
            let stood = self.tables.stood(&work.task, state.began);
            let began = state.began.saturating_add(state.waited).saturating_add(stood);
            self.retry_of(step, &work.task).next(&failure, attempt, began, self.now, chance)
        });
        WorkEvent::StepFailed {
            task: work.task.clone(),
            run: work.run.clone(),
            step: work.step.clone(),
            attempt: work.attempt,
            failure,
            retry,
        }
    }

    /// How often a step is tried: as it says, else as its agent's file does.
    fn retry_of(&self, step: &Step, task: &str) -> Retry {
        let terms = match &step.act {
            Act::Agent { agent, .. } => self.terms(agent, task),
            _ => None,
        };
        let said = step.retry.as_ref().or_else(|| terms?.retry.as_ref());
        said.cloned().unwrap_or_default()
    }

    /// Whether an agent is to work at a step; what the agent wants done to the world is no work of its own.
    pub(super) fn is_work(&self, work: &Work) -> bool {
        let is_agent = |step: &Step| matches!(step.act, Act::Agent { .. });
        !work.step.contains('~') && self.step_of(work).is_none_or(is_agent)
    }

    /// The step of the workflow that a path in a journal is about.
    fn step_of(&self, work: &Work) -> Option<&Step> {
        let version = self.tables.task(&work.task)?.version?;
        self.setting.versions.get(&version)?.steps.at(&work.step)
    }
}

/// A moment as expressions have it: RFC 3339, in UTC.
fn time(at: Millis) -> Value {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or(Value::Null, |at| at.to_string().into())
}

/// What steps know of what started their task.
fn trigger(fired: Option<&Fired>) -> Value {
    match fired {
        None => Value::Null,
        Some(Fired::Cron { at, late }) => json!({"by": "cron", "at": time(*at), "late": late}),
        Some(Fired::Entity { path, made, .. }) => json!({"by": "entity", "path": path, "made": made}),
        Some(Fired::Event { name, id, data, .. }) => {
            json!({"by": "event", "event": name, "id": id, "data": data})
        }
    }
}

impl<'k> Walker<'k> {
    /// At the start of a run.
    pub fn new(kernel: &'k Kernel, id: &'k str, task: &'k Task, run_id: &'k str, run: &'k Run) -> Walker<'k> {
        Walker {
            kernel,
            id,
            task,
            run_id,
            run,
            closing: task.cancelled.is_some(),
            reading: false,
            chance: kernel.chance,
            events: Vec::new(),
            acts: Vec::new(),
            begun: Vec::new(),
            stopped: Vec::new(),
            due: Vec::new(),
            listens: Vec::new(),
            needs: Vec::new(),
            comparison: None,
            undo: Vec::new(),
        }
    }

    fn run_along(&mut self, workflow: &'k Workflow) {
        // What started it by itself gave what there was.
        if let Some(misfit) = workflow.input.misfits("input", &self.task.input).first() {
            let stuck =
                Stuck { step: "input".into(), failure: Failure::new(Class::Permanent, misfit.to_string()) };
            return if self.closing { self.take_back(&stuck) } else { self.stuck(stuck) };
        }
        match self.steps(&workflow.steps, "", &self.scope()) {
            Walked::Busy => {}
            Walked::Done(result) => self.end(Outcome::Done, result),
            Walked::Failed(stuck) => {
                self.owe(workflow);
                // A rehearsal that fails is over, and waits for nobody.
                match self.undo.is_empty() && !self.closing && self.task.rehearsal.is_none() {
                    true => self.stuck(stuck),
                    false => self.take_back(&stuck),
                }
            }
        }
    }

    /// What happened before the run went back, and was not come to again, is taken back, too.
    fn owe(&mut self, workflow: &'k Workflow) {
        for (path, owed) in &self.run.owed {
            let Some(step) = workflow.steps.at(path) else { continue };
            if self.undo.iter().all(|undo| undo.path != *path) {
                let (order, deed) = (owed.order, Cow::Owned(Deed::fixed(&owed.content)));
                self.undo.push(Undo { order, path: path.clone(), step, deed, scope: Map::new() });
            }
        }
    }

    /// Walks along what is recorded; what comes out in the end, where it comes there.
    pub fn replay_along(&mut self, workflow: &'k Workflow) -> Option<Value> {
        match self.steps(&workflow.steps, "", &self.scope()) {
            Walked::Done(result) => Some(result),
            Walked::Busy | Walked::Failed(_) => None,
        }
    }

    /// What the first step knows.
    fn scope(&self) -> Map<String, Value> {
        let mut scope = Map::new();
        scope.insert("input".into(), self.task.input.clone());
        scope.insert("task".into(), self.id.into());
        scope.insert("began".into(), time(self.run.made.unwrap_or(self.task.made)));
        scope.insert("steps".into(), json!({}));
        scope.insert("error".into(), Value::Null);
        scope.insert("trigger".into(), trigger(self.task.trigger.as_ref()));
        scope
    }

    fn end(&mut self, outcome: Outcome, result: Value) {
        let (task, run) = (self.id.to_owned(), self.run_id.to_owned());
        self.events.push(WorkEvent::RunEnded { task, run, outcome, result });
    }

    /// A failure that only the operator can do something about.
    fn stuck(&mut self, stuck: Stuck) {
        if self.run.stuck.as_ref() == Some(&stuck) {
            let need = self.kernel.dead(self.id, self.task, self.run_id, self.run, &stuck);
            self.needs.push(need);
            return;
        }
        self.events.push(WorkEvent::RunStuck {
            task: self.id.to_owned(),
            run: self.run_id.to_owned(),
            step: stuck.step,
            failure: stuck.failure,
        });
    }

    /// Takes back what was done, the last first; then the run is over.
    fn take_back(&mut self, stuck: &Stuck) {
        let mut undo = std::mem::take(&mut self.undo);
        undo.sort_by_key(|undo| std::cmp::Reverse(undo.order));
        let outcome = if self.closing { Outcome::Cancelled } else { Outcome::Failed };
        // What takes back is itself not cut short.
        self.closing = false;
        for Undo { path, step, deed, scope, .. } in undo {
            let path = format!("{path}!undo");
            match self.effect(step, &deed, &path, &Value::Object(scope)) {
                Walked::Busy => return,
                Walked::Failed(stuck) => return self.stuck(stuck),
                Walked::Done(_) => {}
            }
        }
        let failure = &stuck.failure;
        self.end(outcome, json!({"step": stuck.step, "class": failure.class, "what": failure.what}));
    }

    /// Walks steps that follow each other; their paths begin with `prefix`.
    fn steps(&mut self, steps: &'k Steps, prefix: &str, scope: &Map<String, Value>) -> Walked {
        let mut scope = scope.clone();
        let mut visits: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
        let mut last = Value::Null;
        let mut here = steps.0.first();
        while let Some(step) = here {
            let visit = visits.entry(&step.name).or_default();
            *visit += 1;
            let path = match *visit {
                1 => format!("{prefix}{}", step.name),
                visit => format!("{prefix}{}#{visit}", step.name),
            };
            if *visit > MAX_VISITS {
                let what = format!("it came here more than {MAX_VISITS} times");
                return Walked::Failed(Stuck { step: path, failure: Failure::new(Class::Permanent, what) });
            }
            let target = match self.step(step, &path, &scope) {
                Walked::Busy => return Walked::Busy,
                Walked::Done(result) => {
                    if let Some(Value::Object(results)) = scope.get_mut("steps") {
                        results.insert(step.name.clone(), result.clone());
                    }
                    last = result;
                    self.way(step, &path)
                }
                Walked::Failed(stuck) => match step.on_error.as_ref().filter(|_| !self.closing) {
                    None => return Walked::Failed(stuck),
                    Some(target) => {
                        let Stuck { step, failure } = stuck;
                        let error = json!({"step": step, "class": failure.class, "what": failure.what});
                        scope.insert("error".into(), error);
                        target.clone()
                    }
                },
            };
            here = match target {
                Target::End => None,
                Target::Step(name) => steps.get(&name),
            };
        }
        Walked::Done(last)
    }

    /// Where a finished step leads.
    fn way(&self, step: &Step, path: &str) -> Target {
        match self.run.state(path).map(|state| &state.status) {
            Some(Status::Finished { go: Some(name), .. }) if name.is_empty() => Target::End,
            Some(Status::Finished { go: Some(name), .. }) => Target::Step(name.clone()),
            _ => step.next.clone(),
        }
    }

    fn step(&mut self, step: &'k Step, path: &str, scope: &Map<String, Value>) -> Walked {
        if let Some(comparison) = &mut self.comparison {
            let keys = self.kernel.keys(self.id, path);
            comparison.step(&keys, self.kernel, self.run.state(path), step, path, scope);
        }
        let status = self.run.state(path).map(|state| &state.status);
        let over = matches!(status, Some(Status::Finished { .. } | Status::Failed { retry: None, .. }));
        let inner = match (&step.act, status) {
            (Act::Each { .. } | Act::Parallel(_), Some(_)) => {
                let was = self.reading;
                self.reading |= over;
                let inner = self.inside(step, path, scope);
                self.reading = was;
                Some(inner)
            }
            _ => None,
        };
        match (status, inner) {
            (Some(Status::Finished { result, order, .. }), _) => {
                if let Act::Effect { compensate: Some(deed), .. } = &step.act {
                    let mut scope = scope.clone();
                    if let Some(Value::Object(results)) = scope.get_mut("steps") {
                        results.insert(step.name.clone(), result.clone());
                    }
                    let (order, path, deed) = (*order, path.to_owned(), Cow::Borrowed(&**deed));
                    self.undo.push(Undo { order, path, step, deed, scope });
                }
                Walked::Done(result.clone())
            }
            // Whoever reads of it wants the step that failed, not the one around it.
            (Some(Status::Failed { retry: None, .. }), Some(Walked::Failed(stuck))) => Walked::Failed(stuck),
            (Some(Status::Failed { failure, retry: None }), _) => {
                Walked::Failed(Stuck { step: path.to_owned(), failure: failure.clone() })
            }
            _ if self.reading => Walked::Busy,
            (_, Some(Walked::Done(result))) => {
                self.finish(path, result, None);
                Walked::Busy
            }
            (_, Some(Walked::Failed(stuck))) if !self.closing => {
                let Stuck { step: inner, failure } = stuck;
                let failure = Failure { what: format!("{inner}: {}", failure.what), ..failure };
                self.give_up(path, failure);
                Walked::Busy
            }
            (_, Some(walked)) => walked,
            (_, None) => self.leaf(step, path, &Value::Object(scope.clone())),
        }
    }

    /// Walks the steps within an `each` or a `parallel` that has started.
    fn inside(&mut self, step: &'k Step, path: &str, scope: &Map<String, Value>) -> Walked {
        let mut results = Vec::new();
        let mut failed = None;
        let mut busy = 0;
        match &step.act {
            Act::Each { variable, at_once, steps, .. } => {
                let items = self.run.state(path).and_then(|state| state.items.as_deref()).unwrap_or_default();
                for (place, item) in items.iter().enumerate() {
                    let prefix = format!("{path}[{place}]/");
                    // After a failure, what has begun comes to its end, and nothing new begins.
                    let begun = steps
                        .0
                        .first()
                        .is_some_and(|first| self.run.state(&format!("{prefix}{}", first.name)).is_some());
                    if !begun && (busy >= *at_once || failed.is_some()) {
                        // Behind one that the run went back over others may have begun.
                        match self.run.turn {
                            0 => break,
                            _ => continue,
                        }
                    }
                    let mut scope = scope.clone();
                    scope.insert(variable.clone(), item.clone());
                    scope.insert("place".into(), place.into());
                    match self.steps(steps, &prefix, &scope) {
                        Walked::Done(result) => results.push(result),
                        Walked::Busy => busy += 1,
                        Walked::Failed(stuck) => failed = failed.or(Some(stuck)),
                    }
                }
                match (failed, busy) {
                    (_, 1..) => Walked::Busy,
                    (Some(stuck), 0) => Walked::Failed(stuck),
                    (None, 0) => Walked::Done(Value::Array(results)),
                }
            }
            Act::Parallel(branches) => {
                let mut results = Map::new();
                for (name, steps) in branches {
                    match self.steps(steps, &format!("{path}/{name}/"), scope) {
                        Walked::Done(result) => {
                            results.insert(name.clone(), result);
                        }
                        Walked::Busy => busy += 1,
                        Walked::Failed(stuck) => failed = failed.or(Some(stuck)),
                    }
                }
                match (failed, busy) {
                    (_, 1..) => Walked::Busy,
                    (Some(stuck), 0) => Walked::Failed(stuck),
                    (None, 0) => Walked::Done(Value::Object(results)),
                }
            }
            _ => Walked::Busy,
        }
    }

    /// A moment that was set at another: as much later as the task has stood still since.
    pub fn later(&self, at: Millis, set: Millis) -> Millis {
        at.saturating_add(self.kernel.tables.stood(self.id, set))
    }

    /// Has the result of a step recorded.
    pub fn finish(&mut self, path: &str, result: Value, go: Option<String>) {
        let (task, run) = (self.id.to_owned(), self.run_id.to_owned());
        self.events.push(WorkEvent::StepFinished { task, run, step: path.to_owned(), result, go });
    }

    /// Has it recorded that a step failed for good.
    pub fn give_up(&mut self, path: &str, failure: Failure) {
        let attempt = self.run.state(path).map_or(1, |state| state.attempts.max(1));
        self.fail_at(path, attempt, failure, None);
    }

    /// Has it recorded that an attempt failed.
    pub fn fail_at(&mut self, path: &str, attempt: u32, failure: Failure, retry: Option<Millis>) {
        let (task, run) = (self.id.to_owned(), self.run_id.to_owned());
        self.events.push(WorkEvent::StepFailed { task, run, step: path.to_owned(), attempt, failure, retry });
    }

    /// A failed attempt, tried again if the step's rule for that says so.
    pub fn fail(&mut self, step: &Step, path: &str, failure: Failure) {
        let chance = Kernel::random(&mut self.chance);
        let now = self.kernel.now;
        let Some(state) = self.run.state(path) else { return self.give_up(path, failure) };
        let attempt = state.attempts.saturating_sub(state.forgiven);
        let began = self.later(state.began, state.began).saturating_add(state.waited);
        let retry = self.kernel.retry_of(step, self.id).next(&failure, attempt, began, now, chance);
        self.fail_at(path, state.attempts.max(1), failure, retry);
    }
}
