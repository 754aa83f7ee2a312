//! A device and a world to try the kernel on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aios_core::clock::Hlc;
use aios_core::key::SecretKey;
use serde_json::json;

use crate::event::Outcome;
use crate::failure::Class;
use crate::kernel::*;
use crate::policy::Policy;
use crate::workflow::Known;

pub const LAPTOP: DeviceId = DeviceId([1; 32]);
pub const PHONE: DeviceId = DeviceId([2; 32]);
pub const VAULT: VaultId = VaultId([7; 32]);
pub const START: Millis = 1_790_000_000_000;

pub fn operator() -> SecretKey {
    SecretKey::from_bytes(&[5; 32])
}

/// The far side: what it was told, and what it did.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub knows_keys: bool,
    /// What it did: key, target and arguments.
    pub done: Vec<(EffectKey, String)>,
    /// How often a target refuses before it does as it is told.
    pub refusals: BTreeMap<String, u32>,
    /// Targets that refuse for good.
    pub never: BTreeSet<String>,
    pub agent_failures: u32,
    /// What can be found.
    pub files: Vec<crate::query::Looked>,
}

impl World {
    pub fn perform(&mut self, key: EffectKey, content: &Content) -> Came {
        let act = format!("{} {}", content.target, content.args);
        if self.never.contains(&content.target) {
            return Came::Failed { failure: Failure::new(Class::Permanent, "no such address") };
        }
        if let Some(left) = self.refusals.get_mut(&content.target).filter(|left| **left > 0) {
            *left -= 1;
            return Came::Failed { failure: Failure::new(Class::Transient, "busy") };
        }
        if !self.knows_keys || self.done.iter().all(|(other, _)| *other != key) {
            self.done.push((key, act));
        }
        Came::Done { result: json!("ok") }
    }
}

/// One device, driven by hand: its log lasts, the rest goes with a crash.
pub struct Sim {
    pub setting: Setting,
    pub log: Vec<(Stamp, Vec<Event>)>,
    pub kernel: Kernel,
    pub queue: VecDeque<Action>,
    pub now: Millis,
    pub wake: Option<Millis>,
    pub world: World,
    /// Crash after so many acts.
    pub crash_in: Option<usize>,
    pub acts: usize,
    pub shown: Vec<Need>,
    /// What the operator does about effects that ask.
    pub consent: bool,
}

pub fn setting(world: &World, files: &[(&str, &str)], policies: &[&str]) -> Setting {
    let mut setting = Setting::default();
    for (name, text) in files {
        let version = ContentHash::of(text.as_bytes());
        let workflow =
            Workflow::read(text, &Known::default()).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
        setting.versions.insert(version, workflow);
        setting.current.insert((*name).to_owned(), version);
    }
    let read = |(n, text): (usize, &&str)| (format!("{n}"), Policy::read("p", text, jiff::tz::db()));
    setting.policies = Policies::of(policies.iter().enumerate().map(read).collect());
    let connector = Connector { knows_keys: world.knows_keys, ..Connector::default() };
    setting.operators = [operator().public()].into();
    setting.connectors = ["mail.send", "file.write"].map(|name| (name.to_owned(), connector.clone())).into();
    setting
}

impl Sim {
    pub fn new(world: World, files: &[(&str, &str)], policies: &[&str]) -> Sim {
        let setting = setting(&world, files, policies);
        let mut kernel = Kernel::new(VAULT, LAPTOP, setting.clone(), 1);
        kernel.keep_whole(0);
        kernel.handle(Input::Tick { now: START });
        Sim {
            kernel,
            setting,
            log: Vec::new(),
            queue: VecDeque::new(),
            now: START,
            wake: None,
            world,
            crash_in: None,
            acts: 0,
            shown: Vec::new(),
            consent: true,
        }
    }

    pub fn give(&mut self, input: Input) {
        let actions = self.kernel.handle(input);
        self.queue.extend(actions);
    }

    pub fn create(&mut self, workflow: &str, input: Value) {
        let created = self.kernel.create("t", workflow, input, None).unwrap();
        self.queue.push_back(Action::Append(vec![created]));
    }

    /// Whether it crashes now; then all that is not in the log is gone, and a new process begins.
    pub fn crashes(&mut self) -> bool {
        self.acts += 1;
        match &mut self.crash_in {
            Some(0) => {
                self.crash_in = None;
                self.restart();
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    pub fn restart(&mut self) {
        self.queue.clear();
        self.wake = None;
        self.kernel = Kernel::new(VAULT, LAPTOP, self.setting.clone(), 2);
        self.kernel.keep_whole(0);
        for (stamp, events) in &self.log {
            self.kernel.load(*stamp, events);
        }
        self.give(Input::Tick { now: self.now });
    }

    pub fn record(&mut self, device: DeviceId, events: Vec<Event>) -> Input {
        self.now += 1;
        let stamp = Stamp::new(Hlc(self.now, 0), device, self.log.len() as u64 + 1);
        self.log.push((stamp, events.clone()));
        Input::Recorded { stamp, events }
    }

    pub fn says(&mut self, event: &WorkEvent) {
        let input = self.record(PHONE, vec![Event::try_from(event).unwrap()]);
        self.give(input);
    }

    /// Goes on until it asks for consent: to which effect, and the digest of that.
    pub fn until_asked(&mut self) -> (EffectKey, ContentHash) {
        while self.kernel.inbox().is_empty() {
            let action = self.queue.pop_front().expect("it asks");
            self.act(action);
        }
        match self.kernel.inbox()[0] {
            Need::Approval { key, digest, .. } => (*key, *digest),
            other => panic!("{other:#?}"),
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Append(events) => {
                if self.crashes() {
                    return;
                }
                let events = events.iter().map(|event| Event::try_from(event).unwrap()).collect();
                let input = self.record(LAPTOP, events);
                if !self.crashes() {
                    self.give(input);
                }
            }
            Action::Start { work, agent, input, .. } => {
                if self.crashes() {
                    return;
                }
                assert_eq!(agent, "writer");
                let came = match self.world.agent_failures {
                    0 => Ok(json!({"words": 4, "text": format!("dear {}", input["n"])})),
                    _ => {
                        self.world.agent_failures -= 1;
                        Err(Failure::new(Class::InvalidOutput, "no words"))
                    }
                };
                if !self.crashes() {
                    self.give(Input::Worked { work, came });
                }
            }
            Action::Perform { key, attempt, content } => {
                if self.crashes() {
                    return;
                }
                let came = self.world.perform(key, &content);
                if !self.crashes() {
                    self.give(Input::Performed { key, attempt, came });
                }
            }
            Action::Find { work, query } => {
                if self.crashes() {
                    return;
                }
                let came = query.among(&self.world.files);
                if !self.crashes() {
                    self.give(Input::Worked { work, came });
                }
            }
            Action::Stop(_) | Action::Withdraw(_) => {}
            Action::Wake(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
            Action::Show(need) => self.shown.push(need),
        }
    }

    /// The operator looks at the inbox and does the first thing there that can be done.
    pub fn operator(&mut self) -> bool {
        let needs: Vec<Need> = self.kernel.inbox().into_iter().cloned().collect();
        for need in needs {
            let event = match need {
                Need::Approval { key, digest, .. } if self.consent => {
                    WorkEvent::approve(key, digest, &VAULT, &operator())
                }
                Need::Approval { key, .. } => WorkEvent::ApprovalDenied { key, note: "not now".into() },
                Need::Question { task, step, attempt, .. } => {
                    WorkEvent::QuestionAnswered { task, step, answer: "send".into(), attempt }
                }
                Need::Unknown { key, attempt, .. } => {
                    let happened = self.world.done.iter().any(|(other, _)| *other == key);
                    WorkEvent::settle(key, attempt, happened, &VAULT, &operator())
                }
                Need::Lost { .. }
                | Need::Refused { .. }
                | Need::Dead { .. }
                | Need::Worse { .. }
                | Need::Unfit { .. }
                | Need::Elsewhere { .. }
                | Need::Later { .. }
                | Need::Missing { .. } => continue,
            };
            self.says(&event);
            return true;
        }
        false
    }

    /// Goes on until nothing is left to do but what only the operator could.
    pub fn run(&mut self) {
        for _ in 0..20_000 {
            if let Some(action) = self.queue.pop_front() {
                self.act(action);
            } else if self.kernel.tables().task("t").is_some_and(|task| task.ended.is_some()) {
                return;
            } else if self.operator() {
            } else if let Some(at) = self.wake.take() {
                self.now = self.now.max(at) + 1;
                self.give(Input::Tick { now: self.now });
            } else {
                return;
            }
        }
        panic!("it does not end: {:#?}", self.kernel.inbox());
    }

    pub fn ended(&self) -> Option<(Outcome, Value)> {
        let task = self.kernel.tables().task("t")?;
        task.ended.as_ref().map(|(_, outcome, result)| (*outcome, result.clone()))
    }

    pub fn names(&self) -> Vec<String> {
        self.log.iter().flat_map(|(_, events)| events).map(Event::name).collect()
    }

    pub fn done(&self) -> Vec<String> {
        let mut out: Vec<String> = self.world.done.iter().map(|(_, act)| act.clone()).collect();
        out.sort();
        out
    }
}
