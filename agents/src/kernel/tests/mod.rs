mod batch;
mod breaker;
mod canary;
mod chronicle;
mod delegation;
mod edit;
mod event;
mod file;
mod fire;
mod habit;
mod health;
mod image;
mod migrate;
mod owner;
mod packet;
mod pause;
mod placement;
mod refusal;
mod rehearsal;
mod replay;
mod rewind;
mod round;
mod share;
mod sim;
mod spend;
mod time;
mod trail;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

use aios_core::clock::Hlc;
use aios_core::key::SecretKey;
use serde_json::json;

use self::sim::{LAPTOP, PHONE, START, Sim, VAULT, World, operator};
use super::*;
use crate::event::{Content, Outcome};
use crate::failure::Class;
use crate::policy::Verdict;
use crate::table::{Effect, Order, Stand};

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

fn invoices(world: World) -> Sim {
    let mut sim = Sim::new(world, &[("invoices", INVOICES), ("note", NOTE)], &[ALLOW_FILES]);
    sim.create("invoices", json!({"clients": ["ann", "bob", "cem"]}));
    sim
}

/// Runs invoices that crash after so many acts.
fn crash_at(sim: &mut Sim, crash: usize) {
    sim.crash_in = Some(crash);
    sim.run();
    if sim.log.is_empty() {
        // Nothing was acknowledged yet: the operator starts it again.
        sim.create("invoices", json!({"clients": ["ann", "bob", "cem"]}));
        sim.run();
    }
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
            crash_at(&mut sim, crash);
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
    let (key, digest) = sim.until_asked();
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
fn nobody_decides_in_the_name_of_another_device() {
    let new = || {
        let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
        sim.create("plain", json!({}));
        sim
    };
    let mut sim = new();
    let (key, _) = sim.until_asked();
    let (rule, why) = (None, String::new());
    let proposed = sim.kernel.tables().effect(&key).and_then(|effect| effect.proposed.clone()).unwrap();
    let digest = proposed.content.digest(&key);
    let capability = proposed.content.capability.clone();
    let allow = WorkEvent::EffectDecided { key, digest, capability, verdict: Verdict::Allow, rule, why };
    let other = Content { target: "eve".into(), ..proposed.content };
    let propose = |run: &str| WorkEvent::EffectProposed {
        key,
        task: "t".into(),
        run: run.into(),
        step: proposed.step.clone(),
        generation: 0,
        content: other.clone(),
    };
    for early in [true, false] {
        let mut sim = new();
        if !early {
            sim.until_asked();
        }
        for event in [propose(&proposed.run), propose(&run_id(&VAULT, "t", &PHONE)), allow.clone()] {
            sim.says(&event);
        }
        if early {
            sim.until_asked();
        }
        while let Some(action) = sim.queue.pop_front() {
            sim.act(action);
        }
        assert!(matches!(sim.kernel.inbox()[..], [Need::Approval { .. }]), "{early}");
        assert_eq!(sim.done(), Vec::<String>::new());
        sim.run();
        assert_eq!(sim.done(), ["ann {}"]);
    }
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

/// The same when what was done is taken back, killed after every act.
#[test]
fn a_crash_while_taking_back_takes_back_once() {
    let world = || World { never: ["cem".to_owned()].into(), ..World::default() };
    let mut whole = invoices(world());
    whole.run();
    for crash in 0..whole.acts {
        let mut sim = invoices(world());
        crash_at(&mut sim, crash);
        assert_eq!(sim.ended(), whole.ended(), "crash {crash}: {:#?}", sim.kernel.inbox());
        assert_eq!(sim.done(), whole.done(), "crash {crash}");
    }
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

/// What this device's ledger knows and its log does not was done before the log was cut short.
fn begun(key: EffectKey) -> Begun {
    Begun { key, attempt: 1, at: START, what: "mail.send to ann".into() }
}

#[test]
fn nothing_happens_while_the_log_is_behind_the_ledger() {
    let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    // Something else that this device did, by a task the log has lost.
    let key = EffectKey::of(&VAULT, "u", "send", 0);
    sim.kernel.remember([begun(key)]);
    sim.run();
    assert_eq!((sim.done(), sim.kernel.is_behind()), (vec![], true));
    assert!(matches!(sim.kernel.inbox()[0], Need::Lost { attempt: 1, .. }), "{:#?}", sim.kernel.inbox());
    // Another device brings what was lost.
    let content = Content {
        capability: "mail.send".into(),
        target: "bob".into(),
        args: json!({}),
        amount: None,
        agent: None,
        tags: vec![],
    };
    let run = run_id(&VAULT, "u", &PHONE);
    let version = ContentHash::of(PLAIN.as_bytes());
    let digest = content.digest(&key);
    for event in [
        WorkEvent::TaskCreated {
            task: "u".into(),
            workflow: "plain".into(),
            version,
            input: json!({}),
            parent: None,
            on: None,
            trigger: None,
        },
        WorkEvent::EffectProposed { key, task: "u".into(), run, step: "send".into(), generation: 0, content },
        WorkEvent::EffectIntended { key, attempt: 1, digest, capability: "mail.send".into() },
    ] {
        assert_eq!(sim.done(), Vec::<String>::new());
        sim.says(&event);
    }
    sim.run();
    assert!(!sim.kernel.is_behind());
    assert_eq!(sim.done(), ["ann {}"]);
}

#[test]
fn of_what_the_log_lost_the_operator_says_what_came_of_it() {
    for happened in [true, false] {
        let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
        sim.create("plain", json!({}));
        let (key, _) = sim.until_asked();
        sim.kernel.remember([begun(key)]);
        sim.run();
        assert_eq!(sim.done(), Vec::<String>::new());
        sim.says(&WorkEvent::settle(key, 1, happened, &VAULT, &operator()));
        sim.run();
        let done = if happened { vec![] } else { vec!["ann {}"] };
        assert_eq!(
            (sim.done(), sim.ended().map(|(outcome, _)| outcome)),
            (done.iter().map(|it| (*it).to_owned()).collect(), Some(Outcome::Done))
        );
    }
}

/// Of the attempt that is made after that, nothing is said yet.
#[test]
fn what_is_settled_is_settled_of_one_attempt() {
    let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    let (key, _) = sim.until_asked();
    sim.kernel.remember([begun(key)]);
    sim.says(&WorkEvent::settle(key, 1, false, &VAULT, &operator()));
    while !matches!(sim.queue.front(), Some(Action::Perform { .. })) {
        match sim.queue.pop_front() {
            Some(action) => sim.act(action),
            None => assert!(sim.operator(), "{:#?}", sim.kernel.inbox()),
        }
    }
    sim.restart();
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert!(
        matches!(sim.kernel.inbox()[..], [Need::Unknown { attempt: 2, .. }]),
        "{:#?}",
        sim.kernel.inbox()
    );
    assert_eq!(sim.done(), Vec::<String>::new());
}

#[test]
fn only_the_operator_says_what_came_of_an_effect() {
    let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    let (key, _) = sim.until_asked();
    while !matches!(sim.queue.front(), Some(Action::Perform { .. })) {
        match sim.queue.pop_front() {
            Some(action) => sim.act(action),
            None => assert!(sim.operator()),
        }
    }
    let Some(Action::Perform { content, .. }) = sim.queue.front().cloned() else { panic!() };
    sim.world.perform(key, &content);
    sim.restart();
    let stranger = SecretKey::from_bytes(&[6; 32]);
    let mut forged = WorkEvent::settle(key, 1, true, &VAULT, &operator());
    if let WorkEvent::EffectSettled { happened, .. } = &mut forged {
        *happened = false;
    }
    sim.says(&forged);
    sim.says(&WorkEvent::settle(key, 1, false, &VAULT, &stranger));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert!(
        matches!(sim.kernel.inbox()[..], [Need::Unknown { attempt: 1, .. }]),
        "{:#?}",
        sim.kernel.inbox()
    );
    sim.run();
    assert_eq!(
        (sim.ended().map(|(outcome, _)| outcome), sim.done()),
        (Some(Outcome::Done), vec!["ann {}".into()])
    );
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
    let other = sim.kernel.create("u", "many", json!({"to": ["e", "f"]}), None).unwrap();
    sim.queue.push_back(Action::Append(vec![other]));
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
    let event = Event::try_from(&event::emitted("mail.received", "1", json!({}))).unwrap();
    sim.give(Input::Recorded { stamp, events: vec![event] });
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
        sim.says(&event::emitted("bank.paid", &n.to_string(), json!({"n": n})));
        while let Some(action) = sim.queue.pop_front() {
            sim.act(action);
        }
    }
    let (_, result) = sim.ended().unwrap();
    assert_eq!((&result["event"]["n"], &result["late"]), (&json!(5), &json!(false)));
}

#[test]
fn what_is_given_must_fit() {
    let sim = Sim::new(World::default(), &[("note", NOTE)], &[]);
    let wrong = sim.kernel.create("t", "note", json!({"text": 1}), None).unwrap_err();
    assert_eq!(wrong.to_string(), "input.text: must be of type string, and is 1");
    assert!(matches!(sim.kernel.create("t", "nothing", json!({}), None), Err(CreateError::NoWorkflow(_))));
}

/// Tried again, what was denied asks anew, and the consent of then is for that alone.
#[test]
fn what_was_denied_can_be_asked_again() {
    let mut sim = Sim::new(World::default(), &[("plain", PLAIN)], &[]);
    sim.create("plain", json!({}));
    sim.consent = false;
    sim.run();
    let [Need::Dead { task, run, step, failure, .. }] = sim.kernel.inbox()[..] else {
        panic!("{:#?}", sim.kernel.inbox())
    };
    assert_eq!(failure.class, Class::Denied);
    let retried = WorkEvent::TaskRetried { task: task.clone(), run: run.clone(), step: step.clone() };
    let first = EffectKey::of(&VAULT, task, step, 0);
    sim.consent = true;
    sim.says(&retried);
    sim.run();
    assert_eq!(sim.done(), ["ann {}"]);
    assert!(sim.world.done.iter().all(|(key, _)| *key != first), "under another key");
    assert!(matches!(sim.kernel.tables().effect(&first).map(Effect::stand), Some(Stand::Denied(_))));
}

/// A home is handed on by who has it, and taken only by the operator's word for that turn.
#[test]
fn a_home_has_one_device_at_a_time() {
    let mut tables = Tables::new(Some(LAPTOP));
    let at = |time: u64, device: DeviceId| Order(Stamp::new(Hlc(START + time, 0), device, time), 0);
    let moved = |to| WorkEvent::HomeMoved { capability: "mail.send".into(), to };
    let home = |tables: &Tables| tables.homes().now("mail.send").unwrap();
    tables.insert(at(5, PHONE), moved(PHONE));
    assert_eq!(home(&tables), LAPTOP, "nobody gives away what is not his");
    tables.insert(at(6, LAPTOP), moved(PHONE));
    assert_eq!((home(&tables), tables.homes().turn("mail.send")), (PHONE, 1));
    assert_eq!(tables.homes().now("bank.pay"), Some(LAPTOP));
    let take = |turn| WorkEvent::take("mail.send", LAPTOP, turn, &VAULT, &operator());
    tables.insert(at(7, LAPTOP), take(0));
    assert_eq!(home(&tables), PHONE, "that was said of another turn");
    tables.insert(at(8, LAPTOP), take(1));
    assert_eq!(home(&tables), LAPTOP);
    tables.insert(at(9, PHONE), moved(PHONE));
    tables.insert(at(10, PHONE), take(1));
    assert_eq!(home(&tables), LAPTOP, "said again later it is nothing");
    // Under new keys it is the same device.
    tables.rotate(at(11, LAPTOP), DeviceId([9; 32]));
    assert_eq!(home(&tables), DeviceId([9; 32]));
    assert!(take(3).signer(&VAULT).is_some());
}
