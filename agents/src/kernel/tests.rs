use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aios_core::clock::Hlc;
use aios_core::key::SecretKey;
use serde_json::json;

use super::*;
use crate::event::Outcome;
use crate::failure::Class;
use crate::policy::Policy;
use crate::workflow::Known;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);
const VAULT: VaultId = VaultId([7; 32]);
const START: Millis = 1_790_000_000_000;

fn operator() -> SecretKey {
    SecretKey::from_bytes(&[5; 32])
}

const INVOICES: &str = "---
type: workflow
input:
  type: object
  properties:
    clients: {type: array}
steps:
  draft: {agent: writer, input: {n: '{{ input.clients | length }}'}, retry: {attempts: 3, first: 1s}}
  pick:
    choose:
      - when: steps.draft.words > 3
        go: sure
      - else: end
  sure: {ask: 'Send {{ steps.draft.words }} words?', choices: [send, stop]}
  all:
    each: input.clients
    as: client
    at_once: 2
    steps:
      send:
        effect: mail.send
        target: '{{ client }}'
        args: {text: '{{ steps.draft.text }}', n: '{{ place }}'}
        retry: {attempts: 4, first: 1s}
        compensate: {effect: mail.send, target: '{{ client }}', args: {text: Sorry}}
      rest: {wait: 1h}
  both:
    parallel:
      paid: {wait: {wait: {event: bank.paid, where: 'event.who == input.clients[0]', deadline: 3d}}}
      note: {sub: {workflow: note, input: {text: hello}}}
  file: {effect: file.write, target: done.txt, args: {late: '{{ steps.both.paid.late }}'}}
---
";
const NOTE: &str = "---
type: workflow
input: {type: object, required: [text], properties: {text: {type: string}}}
steps:
  write: {effect: file.write, target: note.txt, args: '{{ input.text }}'}
---
";
const ALLOW_FILES: &str = "---
type: policy
rules:
  - {name: files, verdict: allow, capability: file.write}
---
";

/// The far side: what it was told, and what it did.
#[derive(Debug, Clone, Default)]
struct World {
    knows_keys: bool,
    /// What it did: key, target and arguments.
    done: Vec<(EffectKey, String)>,
    /// How often a target refuses before it does as it is told.
    refusals: BTreeMap<String, u32>,
    /// Targets that refuse for good.
    never: BTreeSet<String>,
    agent_failures: u32,
}

impl World {
    fn perform(&mut self, key: EffectKey, content: &Content) -> Came {
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
struct Sim {
    setting: Setting,
    log: Vec<(Stamp, Vec<Event>)>,
    kernel: Kernel,
    queue: VecDeque<Action>,
    now: Millis,
    wake: Option<Millis>,
    world: World,
    /// Crash after so many acts.
    crash_in: Option<usize>,
    acts: usize,
    shown: Vec<Need>,
    /// What the operator does about effects that ask.
    consent: bool,
}

fn setting(world: &World, files: &[(&str, &str)], policies: &[&str]) -> Setting {
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
    let connector = Connector { knows_keys: world.knows_keys };
    setting.operators = [operator().public()].into();
    setting.connectors = ["mail.send", "file.write"].map(|name| (name.to_owned(), connector)).into();
    setting
}

impl Sim {
    fn new(world: World, files: &[(&str, &str)], policies: &[&str]) -> Sim {
        let setting = setting(&world, files, policies);
        let mut kernel = Kernel::new(VAULT, LAPTOP, setting.clone(), 1);
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

    fn give(&mut self, input: Input) {
        let actions = self.kernel.handle(input);
        self.queue.extend(actions);
    }

    fn create(&mut self, workflow: &str, input: Value) {
        let actions = self.kernel.create("t", workflow, input).unwrap();
        self.queue.extend(actions);
    }

    /// Whether it crashes now; then all that is not in the log is gone, and a new process begins.
    fn crashes(&mut self) -> bool {
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

    fn restart(&mut self) {
        self.queue.clear();
        self.wake = None;
        self.kernel = Kernel::new(VAULT, LAPTOP, self.setting.clone(), 2);
        for (stamp, events) in &self.log {
            self.kernel.load(*stamp, events);
        }
        self.give(Input::Tick { now: self.now });
    }

    fn record(&mut self, device: DeviceId, events: Vec<Event>) -> Input {
        self.now += 1;
        let stamp = Stamp::new(Hlc(self.now, 0), device, self.log.len() as u64 + 1);
        self.log.push((stamp, events.clone()));
        Input::Recorded { stamp, events }
    }

    fn says(&mut self, event: &WorkEvent) {
        let input = self.record(PHONE, vec![Event::try_from(event).unwrap()]);
        self.give(input);
    }

    fn act(&mut self, action: Action) {
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
            Action::Start { work, agent, input } => {
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
            Action::Stop(_) => {}
            Action::Wake(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
            Action::Show(need) => self.shown.push(need),
        }
    }

    /// The operator looks at the inbox and does the first thing there that can be done.
    fn operator(&mut self) -> bool {
        let needs: Vec<Need> = self.kernel.inbox().into_iter().cloned().collect();
        for need in needs {
            let event = match need {
                Need::Approval { key, digest, .. } if self.consent => {
                    WorkEvent::approve(key, digest, &VAULT, &operator())
                }
                Need::Approval { key, .. } => WorkEvent::ApprovalDenied { key, note: "not now".into() },
                Need::Question { task, step, .. } => {
                    WorkEvent::QuestionAnswered { task, step, answer: "send".into() }
                }
                Need::Unknown { key, .. } => {
                    let happened = self.world.done.iter().any(|(other, _)| *other == key);
                    WorkEvent::EffectSettled { key, happened }
                }
                Need::Dead { .. } | Need::Missing { .. } => continue,
            };
            self.says(&event);
            return true;
        }
        false
    }

    /// Goes on until nothing is left to do but what only the operator could.
    fn run(&mut self) {
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

    fn ended(&self) -> Option<(Outcome, Value)> {
        let task = self.kernel.tables().task("t")?;
        task.ended.as_ref().map(|(_, outcome, result)| (*outcome, result.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.log.iter().flat_map(|(_, events)| events).map(Event::name).collect()
    }

    fn done(&self) -> Vec<String> {
        let mut out: Vec<String> = self.world.done.iter().map(|(_, act)| act.clone()).collect();
        out.sort();
        out
    }
}

fn invoices(world: World) -> Sim {
    let mut sim = Sim::new(world, &[("invoices", INVOICES), ("note", NOTE)], &[ALLOW_FILES]);
    sim.create("invoices", json!({"clients": ["ann", "bob", "cem"]}));
    sim
}

const SENT: [&str; 5] = [
    "ann {\"n\":0,\"text\":\"dear 3\"}",
    "bob {\"n\":1,\"text\":\"dear 3\"}",
    "cem {\"n\":2,\"text\":\"dear 3\"}",
    "done.txt {\"late\":true}",
    "note.txt \"hello\"",
];

#[test]
fn a_run_does_all_of_its_steps_once() {
    let world = World { refusals: [("bob".to_owned(), 2)].into(), agent_failures: 1, ..World::default() };
    let mut sim = invoices(world);
    sim.run();
    assert_eq!(sim.ended(), Some((Outcome::Done, json!("ok"))), "{:#?}", sim.kernel.inbox());
    assert_eq!(sim.done(), SENT);
    let approvals = sim.shown.iter().filter(|need| matches!(need, Need::Approval { .. })).count();
    assert_eq!(approvals, 3, "each mail asks once, files are allowed");
    let names = sim.names();
    let place = |name: &str| names.iter().position(|it| it == name).unwrap();
    assert!(place("step.started") < place("step.failed"));
    assert!(place("approval.granted") < place("effect.intended"));
    assert!(place("effect.intended") < place("effect.ended"));
    assert_eq!(names.iter().filter(|name| *name == "timer.fired").count(), 3);
}

/// Killed after every act, before and after what it does to the world: the outcome is the same and nothing happens twice (I9, I10).
#[test]
fn a_crash_at_any_point_changes_nothing() {
    for knows_keys in [false, true] {
        let world = || World {
            knows_keys,
            refusals: [("bob".to_owned(), 1)].into(),
            agent_failures: 1,
            ..World::default()
        };
        let mut whole = invoices(world());
        whole.run();
        for crash in 0..whole.acts {
            let mut sim = invoices(world());
            sim.crash_in = Some(crash);
            sim.run();
            if sim.log.is_empty() {
                // Nothing was acknowledged yet: the operator starts it again.
                sim.create("invoices", json!({"clients": ["ann", "bob", "cem"]}));
                sim.run();
            }
            let (outcome, result) =
                sim.ended().unwrap_or_else(|| panic!("{crash}: {:#?}", sim.kernel.inbox()));
            // The operator knows that the last effect happened, not what the far side answered.
            let answered = result == json!("ok") || sim.names().contains(&"effect.settled".to_owned());
            assert!(outcome == Outcome::Done && answered, "crash {crash}: {result}");
            assert_eq!(sim.done(), SENT, "crash {crash}");
            let keys: BTreeSet<_> = sim.world.done.iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), sim.world.done.len(), "crash {crash}: a key was used twice");
        }
    }
}

/// The events of a run cut anywhere, even within a record, lead to the same end, where the world is as it was then.
#[test]
fn any_prefix_of_the_events_goes_on() {
    let mut whole = invoices(World::default());
    whole.run();
    let events: Vec<(Stamp, Event)> = whole
        .log
        .iter()
        .flat_map(|(stamp, events)| events.iter().map(|event| (*stamp, event.clone())))
        .collect();
    for cut in 1..=events.len() {
        let mut sim = Sim::new(World::default(), &[("invoices", INVOICES), ("note", NOTE)], &[ALLOW_FILES]);
        let mut records: BTreeMap<Stamp, Vec<Event>> = BTreeMap::new();
        for (stamp, event) in &events[..cut] {
            records.entry(*stamp).or_default().push(event.clone());
            // What is known to have happened has.
            if let Ok(WorkEvent::EffectEnded { key, .. }) = WorkEvent::try_from(event) {
                let act = whole.world.done.iter().find(|(other, _)| *other == key).unwrap();
                sim.world.done.push(act.clone());
            }
        }
        sim.now = events[cut - 1].0.clock().0;
        sim.log = records.into_iter().collect();
        sim.restart();
        sim.run();
        assert_eq!(sim.ended(), whole.ended(), "cut {cut}: {:#?}", sim.kernel.inbox());
        assert_eq!(sim.done(), SENT, "cut {cut}");
    }
}

#[test]
fn nothing_that_asks_happens_without_consent() {
    let mut sim = invoices(World::default());
    sim.consent = false;
    sim.run();
    assert_eq!(sim.done(), Vec::<String>::new());
    let dead = sim.kernel.inbox();
    assert!(
        matches!(dead[..], [Need::Dead { failure: Failure { class: Class::Denied, .. }, .. }]),
        "{dead:#?}"
    );
}

#[test]
fn consent_that_is_not_the_operators_is_none() {
    let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    while sim.kernel.inbox().is_empty() {
        let action = sim.queue.pop_front().expect("it asks");
        sim.act(action);
    }
    let Some(Need::Approval { key, digest, .. }) = sim.kernel.inbox().first().cloned().cloned() else {
        panic!("{:#?}", sim.kernel.inbox());
    };
    let stranger = SecretKey::from_bytes(&[6; 32]);
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &stranger));
    sim.says(&WorkEvent::approve(key, digest, &VaultId([8; 32]), &operator()));
    sim.says(&WorkEvent::approve(key, ContentHash([0; 32]), &VAULT, &operator()));
    let WorkEvent::ApprovalGranted { sig, .. } = WorkEvent::approve(key, digest, &VAULT, &stranger) else {
        panic!("consent")
    };
    sim.says(&WorkEvent::ApprovalGranted { key, digest, by: operator().public(), sig });
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert!(matches!(sim.kernel.inbox()[..], [Need::Approval { .. }]));
    assert_eq!(sim.done(), Vec::<String>::new());
    sim.run();
    assert_eq!(sim.done(), ["ann {}"]);
}

#[test]
fn what_was_done_is_taken_back_last_first() {
    let world = World { never: ["cem".to_owned()].into(), ..World::default() };
    let mut sim = invoices(world);
    sim.run();
    let (outcome, result) = sim.ended().unwrap();
    assert_eq!((outcome, &result["step"]), (Outcome::Failed, &json!("all[2]/send")));
    let done: Vec<&str> = sim.world.done.iter().map(|(_, act)| act.as_str()).collect();
    assert_eq!(
        done,
        [SENT[0], SENT[1], "bob {\"text\":\"Sorry\"}", "ann {\"text\":\"Sorry\"}"],
        "in the order they happened"
    );
}

const PLAIN: &str = "---
type: workflow
steps:
  send: {effect: mail.send, target: ann, retry: 1}
---
";

#[test]
fn a_dead_letter_is_tried_again_when_the_operator_says_so() {
    let world = World { refusals: [("ann".to_owned(), 1)].into(), ..World::default() };
    let mut sim = Sim::new(world, &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    sim.run();
    let Some(Need::Dead { run, step, failure, attempts, next, .. }) =
        sim.kernel.inbox().first().cloned().cloned()
    else {
        panic!("{:#?}", sim.kernel.inbox());
    };
    assert_eq!((failure.class, attempts, next.len()), (Class::Transient, 1, 2));
    sim.says(&WorkEvent::TaskRetried { task: "t".into(), run, step });
    sim.run();
    assert_eq!(sim.ended(), Some((Outcome::Done, json!("ok"))));
    assert_eq!(sim.done(), ["ann {}"]);
}

#[test]
fn a_cancelled_task_ends_and_does_nothing_more() {
    let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    while sim.kernel.inbox().is_empty() {
        let action = sim.queue.pop_front().expect("it asks");
        sim.act(action);
    }
    sim.says(&WorkEvent::TaskCancelled { task: "t".into(), note: "no longer".into() });
    sim.run();
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Cancelled));
    assert_eq!(sim.done(), Vec::<String>::new());
}

#[test]
fn a_cap_holds_for_runs_at_once() {
    let allow = "---\ntype: policy\nrules:\n  - {name: two, verdict: allow, capability: mail.send, zone: UTC, caps: {count: 2, per: day}}\n---\n";
    let many = "---\ntype: workflow\nsteps:\n  all: {each: input.to, at_once: 9, steps: {send: {effect: mail.send, target: '{{ item }}'}}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("many", many)], &[allow]);
    sim.consent = false;
    sim.create("many", json!({"to": ["a", "b", "c", "d"]}));
    let other = sim.kernel.create("u", "many", json!({"to": ["e", "f"]})).unwrap();
    sim.queue.extend(other);
    sim.run();
    assert_eq!(sim.world.done.len(), 2, "{:?}", sim.done());
}

#[test]
fn a_timer_that_slept_fires_once_and_says_so() {
    let text = "---\ntype: workflow\nsteps: {rest: {wait: 1h}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("rest", text)], &[]);
    sim.create("rest", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    sim.now += 10 * 3_600_000;
    sim.restart();
    sim.give(Input::Tick { now: 5 });
    sim.run();
    let (_, result) = sim.ended().unwrap();
    assert!(result["late"].as_u64().unwrap() >= 9 * 3_600_000 - 10, "{result}");
    assert_eq!(sim.names().iter().filter(|name| *name == "timer.fired").count(), 1);
}

/// Another device's clock may be a day ahead: what it says is not the time here.
#[test]
fn a_clock_that_is_ahead_elsewhere_fires_no_timer() {
    let text = "---\ntype: workflow\nsteps: {rest: {wait: 1h}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("rest", text)], &[]);
    sim.create("rest", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    let stamp = Stamp::new(Hlc(START + 80_000_000, 0), PHONE, 99);
    let Value::Object(map) = json!({"type": "mail.received"}) else { panic!() };
    sim.give(Input::Recorded { stamp, events: vec![Event::Other(map)] });
    let now = sim.now;
    sim.give(Input::Tick { now });
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert_eq!(sim.ended(), None);
}

#[test]
fn an_agent_that_takes_too_long_is_stopped() {
    let text = "---\ntype: workflow\nsteps: {a: {agent: writer, timeout: 1m, retry: 1, on_error: b, next: end}, b: {wait: 1s}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("slow", text)], &[]);
    sim.create("slow", json!({}));
    let mut stopped = false;
    for _ in 0..50 {
        match sim.queue.pop_front() {
            Some(Action::Start { .. }) => {}
            Some(action) => {
                stopped |= matches!(action, Action::Stop(_));
                sim.act(action);
            }
            None => match sim.wake.take() {
                Some(at) => {
                    sim.now = sim.now.max(at) + 1;
                    sim.give(Input::Tick { now: sim.now });
                }
                None => break,
            },
        }
    }
    assert!(stopped);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done));
}

#[test]
fn an_event_from_outside_ends_a_wait() {
    let text = "---\ntype: workflow\nsteps: {w: {wait: {event: bank.paid, where: event.n > 3, deadline: 1d}}}\n---\n";
    let mut sim = Sim::new(World::default(), &[("pay", text)], &[]);
    sim.create("pay", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    for n in [1, 5] {
        assert_eq!(sim.ended(), None);
        let Value::Object(map) = json!({"type": "bank.paid", "n": n}) else { panic!() };
        let input = sim.record(PHONE, vec![Event::Other(map)]);
        sim.give(input);
        while let Some(action) = sim.queue.pop_front() {
            sim.act(action);
        }
    }
    let (_, result) = sim.ended().unwrap();
    assert_eq!((&result["event"]["n"], &result["late"]), (&json!(5), &json!(false)));
}

#[test]
fn what_is_given_must_fit() {
    let mut sim = Sim::new(World::default(), &[("note", NOTE)], &[]);
    let wrong = sim.kernel.create("t", "note", json!({"text": 1})).unwrap_err();
    assert_eq!(wrong.to_string(), "input.text: must be of type string, and is 1");
    assert!(matches!(sim.kernel.create("t", "nothing", json!({})), Err(CreateError::NoWorkflow(_))));
}
