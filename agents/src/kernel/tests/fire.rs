//! Work that starts by itself, on one device and on two that do not hear of each other.

use aios_core::clock::Hlc;
use jiff::tz::TimeZone;
use serde_json::json;

use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World, operator, setting};
use crate::cron::Cron;
use crate::event::{Fired, Outcome};
use crate::kernel::*;

const HOUR: Millis = 3_600_000;
const HOURLY: &str = "---
type: workflow
on: {cron: '0 * * * *', zone: UTC}
steps: {send: {effect: mail.send, target: ann, args: '{{ trigger.at }}'}}
---
";
const CHASE: &str = "---
type: workflow
on:
  - {entity: created, type: invoice, where: entity.amount > 10}
  - {entity: changed, type: invoice, where: entity.state == 'late'}
input: {type: object, required: [client], properties: {client: {type: string}, amount: {type: number}}}
steps: {send: {effect: mail.send, target: '{{ input.client }}', args: '{{ input.amount }}'}}
---
";

fn scheduled(coordinator: DeviceId) -> Setting {
    let mut setting = setting(&World::default(), &[("hourly", HOURLY)], &[]);
    let cron = Cron::parse("0 * * * *").unwrap();
    let zone = TimeZone::UTC;
    setting.schedules = vec![Schedule { workflow: "hourly".into(), cron, zone, since: START }];
    setting.coordinator = Some(coordinator);
    setting
}

/// A device that was started when the schedule came in force.
fn hourly() -> Sim {
    let mut sim = Sim::new(World::default(), &[], &[]);
    sim.setting = scheduled(LAPTOP);
    sim.restart();
    drain(&mut sim);
    sim
}

fn drain(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

/// The tasks there are, with how late they began.
fn fired(sim: &Sim) -> Vec<(Millis, Millis)> {
    let fired = sim.kernel.tables().tasks().filter_map(|(_, task)| match task.trigger {
        Some(Fired::Cron { at, late }) => Some((at, late)),
        _ => None,
    });
    let mut out: Vec<_> = fired.collect();
    out.sort_unstable();
    out
}

#[test]
fn an_instant_starts_one_task() {
    let mut sim = hourly();
    let first = START.next_multiple_of(HOUR);
    assert_eq!((fired(&sim), sim.wake), (vec![], Some(first)));
    sim.now = first;
    sim.give(Input::Tick { now: first });
    drain(&mut sim);
    assert_eq!(fired(&sim), [(first, 0)]);
    // The next process does not fire it again, nor does this one.
    let now = first + HOUR / 2;
    sim.give(Input::Tick { now });
    drain(&mut sim);
    sim.now = now;
    sim.restart();
    drain(&mut sim);
    assert_eq!(fired(&sim), [(first, 0)]);
    assert!(matches!(sim.kernel.inbox()[..], [Need::Approval { .. }]));
}

/// A record that is earlier than its instant is nothing: then the instant is still to come.
#[test]
fn a_clock_that_goes_back_before_it_is_recorded_puts_it_off() {
    let mut sim = hourly();
    let first = START.next_multiple_of(HOUR);
    sim.give(Input::Tick { now: first });
    drain(&mut sim);
    assert_eq!(fired(&sim), []);
    sim.now = first;
    sim.give(Input::Tick { now: first });
    drain(&mut sim);
    assert_eq!(fired(&sim), [(first, 0)]);
}

#[test]
fn what_was_slept_through_is_made_up_for_once() {
    let mut sim = hourly();
    let first = START.next_multiple_of(HOUR);
    sim.now = first + 5 * HOUR + 1000;
    sim.restart();
    drain(&mut sim);
    assert_eq!(fired(&sim), [(first + 5 * HOUR, 1000)], "the last of them, and it says how late");
}

#[test]
fn only_the_device_whose_task_it_is_starts_it() {
    let mut sim = Sim::new(World::default(), &[], &[]);
    sim.setting = scheduled(PHONE);
    sim.now = START + 5 * HOUR;
    sim.restart();
    assert!(sim.queue.iter().all(|action| !matches!(action, Action::Append(_))));
    // The home of what it does goes before the coordinator.
    for connector in sim.setting.connectors.values_mut() {
        connector.home = Some(LAPTOP);
    }
    sim.restart();
    assert!(sim.queue.iter().any(|action| matches!(action, Action::Append(_))));
}

/// One device with its log, that hears of another only when it is told.
struct Side {
    device: DeviceId,
    kernel: Kernel,
    log: Vec<(Stamp, Vec<Event>)>,
}

impl Side {
    fn new(device: DeviceId) -> Side {
        Side { device, kernel: Kernel::new(VAULT, device, scheduled(device), 1), log: Vec::new() }
    }

    fn go(&mut self, input: Input, now: Millis, world: &mut World) {
        let mut queue = std::collections::VecDeque::from(self.kernel.handle(input));
        while let Some(action) = queue.pop_front() {
            let input = match action {
                Action::Append(events) => {
                    let events: Vec<Event> = events.iter().map(|it| Event::try_from(it).unwrap()).collect();
                    let n = self.log.len() as u64 + 1;
                    let stamp = Stamp::new(Hlc(now, n as u32), self.device, n);
                    self.log.push((stamp, events.clone()));
                    Input::Recorded { stamp, events }
                }
                Action::Perform { key, attempt, content } => {
                    let came = world.perform(key, &content);
                    Input::Performed { key, attempt, came }
                }
                _ => continue,
            };
            queue.extend(self.kernel.handle(input));
        }
    }
}

/// Each takes itself for the coordinator, as when one has not heard that the other became it.
#[test]
fn two_devices_that_both_fire_make_one_task_that_one_performs() {
    for phone_first in [true, false] {
        let mut world = World::default();
        let (mut laptop, mut phone) = (Side::new(LAPTOP), Side::new(PHONE));
        let at = START.next_multiple_of(HOUR);
        let (early, late) = if phone_first { (&mut phone, &mut laptop) } else { (&mut laptop, &mut phone) };
        early.go(Input::Tick { now: at + 1 }, at + 1, &mut world);
        late.go(Input::Tick { now: at + 2 }, at + 2, &mut world);
        let performer = early.device;
        // They meet.
        let (from_early, from_late) = (early.log.clone(), late.log.clone());
        for (stamp, events) in from_late {
            early.go(Input::Recorded { stamp, events }, at + 10, &mut world);
        }
        for (stamp, events) in from_early {
            late.go(Input::Recorded { stamp, events }, at + 10, &mut world);
        }
        let tasks: Vec<_> =
            laptop.kernel.tables().tasks().map(|(id, it)| (id.to_owned(), it.device)).collect();
        assert_eq!(tasks, [(crate::event::cron_task(&VAULT, "hourly", at), Some(performer))]);
        let asks = |side: &Side| side.kernel.inbox().len();
        assert_eq!((asks(&laptop), asks(&phone)), if phone_first { (0, 1) } else { (1, 0) });
        // The operator consents, and both hear of it.
        let asking = if phone_first { &phone } else { &laptop };
        let Need::Approval { key, digest, .. } = asking.kernel.inbox()[0].clone() else { panic!() };
        let granted = WorkEvent::approve(key, digest, &VAULT, &operator());
        let events = vec![Event::try_from(&granted).unwrap()];
        let stamp = Stamp::new(Hlc(at + 20, 0), DeviceId([9; 32]), 1);
        for side in [&mut laptop, &mut phone] {
            side.go(Input::Recorded { stamp, events: events.clone() }, at + 21, &mut world);
        }
        assert_eq!(world.done.len(), 1, "phone first: {phone_first}");
        // Each hears the rest: the tables are the same (I1).
        for _ in 0..2 {
            let logs = [laptop.log.clone(), phone.log.clone()].concat();
            for side in [&mut laptop, &mut phone] {
                for (stamp, events) in &logs {
                    side.go(Input::Recorded { stamp: *stamp, events: events.clone() }, at + 30, &mut world);
                }
            }
        }
        assert_eq!(laptop.kernel.tables(), phone.kernel.tables());
        assert_eq!(world.done.len(), 1);
    }
}

/// Who claims that a schedule fired in the future would have it silent until then.
#[test]
fn a_schedule_is_not_silenced_from_elsewhere() {
    let mut sim = Sim::new(World::default(), &[], &[]);
    sim.setting = scheduled(LAPTOP);
    sim.restart();
    let far = START + 1000 * HOUR;
    for (task, at) in [(crate::event::cron_task(&VAULT, "hourly", far), far), ("x".into(), START)] {
        sim.says(&WorkEvent::TaskCreated {
            task,
            workflow: "hourly".into(),
            version: sim.setting.current["hourly"],
            input: json!({}),
            parent: None,
            on: Some(PHONE),
            trigger: Some(Fired::Cron { at, late: 0 }),
        });
    }
    assert_eq!(fired(&sim), []);
    sim.now = START + 2 * HOUR;
    let now = sim.now;
    sim.give(Input::Tick { now });
    drain(&mut sim);
    assert_eq!(fired(&sim).len(), 1);
}

#[test]
fn entities_start_what_their_filter_says_once() {
    let mut sim = Sim::new(World::default(), &[("chase", CHASE)], &[]);
    sim.setting.coordinator = Some(LAPTOP);
    sim.setting.since = [("chase".to_owned(), START)].into();
    sim.restart();
    let saw = |record: &str, made: bool, fields: Value| Saw {
        doc: "d".into(),
        record: record.into(),
        at: START + 5,
        path: "invoices/1.md".into(),
        made,
        fields,
        run: None,
    };
    let invoice = |amount: u32, state: &str| json!({"type": "invoice", "client": "ann", "amount": amount, "state": state});
    let made = |sim: &Sim, saw: &Saw| sim.kernel.saw(saw).len();
    assert_eq!(made(&sim, &saw("r1", true, invoice(5, "open"))), 0, "the filter");
    assert_eq!(made(&sim, &saw("r1", true, json!({"type": "note", "amount": 20}))), 0, "the type");
    assert_eq!(made(&sim, &saw("r1", false, invoice(20, "open"))), 0, "not that change");
    assert_eq!(
        made(&sim, &Saw { at: START, ..saw("r1", true, invoice(20, "open")) }),
        0,
        "older than the workflow"
    );
    for (record, new, state) in [("r1", true, "open"), ("r2", false, "late"), ("r3", false, "late")] {
        let saw = saw(record, new, invoice(20, state));
        let created = sim.kernel.saw(&saw);
        assert_eq!(created.len(), 1, "{record}");
        let input = sim.record(LAPTOP, created.iter().map(|it| Event::try_from(it).unwrap()).collect());
        sim.give(input);
        assert_eq!(made(&sim, &saw), 0, "once");
    }
    // Made on two devices at once it is one document.
    assert_eq!(made(&sim, &saw("r9", true, invoice(20, "open"))), 0);
    sim.run();
    let mut done = sim.done();
    done.dedup();
    assert_eq!(done, ["ann 20"]);
    let ended = sim.kernel.tables().tasks().filter(|(_, it)| matches!(it.ended, Some((_, Outcome::Done, _))));
    assert_eq!(ended.count(), 3);
}

#[test]
fn a_schedule_that_gives_too_little_is_shown_once() {
    let mut sim = Sim::new(World::default(), &[("chase", CHASE)], &[]);
    let (cron, zone) = (Cron::parse("0 * * * *").unwrap(), TimeZone::UTC);
    sim.setting.schedules = vec![Schedule { workflow: "chase".into(), cron, zone, since: START }];
    sim.setting.coordinator = Some(LAPTOP);
    sim.restart();
    for n in 1..4 {
        sim.now = START + n * HOUR;
        let now = sim.now;
        sim.give(Input::Tick { now });
        drain(&mut sim);
    }
    assert_eq!(fired(&sim), []);
    assert!(matches!(sim.kernel.inbox()[..], [Need::Unfit { .. }]), "{:#?}", sim.kernel.inbox());
    assert_eq!(sim.shown.len(), 1);
}

#[test]
fn what_does_not_fit_is_a_dead_letter() {
    let mut sim = Sim::new(World::default(), &[("chase", CHASE)], &[]);
    sim.setting.coordinator = Some(LAPTOP);
    sim.restart();
    let fields = json!({"type": "invoice", "amount": 20});
    let (doc, record, path) = ("d".into(), "r".into(), "i.md".into());
    let saw = Saw { doc, record, at: 1, path, made: true, fields, run: None };
    let created = sim.kernel.saw(&saw);
    let input = sim.record(LAPTOP, created.iter().map(|it| Event::try_from(it).unwrap()).collect());
    sim.give(input);
    sim.run();
    assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { .. }]), "{:#?}", sim.kernel.inbox());
    assert!(sim.done().is_empty());
}
