//! Which device works on a task, and what becomes of one whose device is silent.

use aios_core::clock::Hlc;

use super::sim::{START, setting};
use super::*;
use crate::needs::Offer;

const HEAVY: &str = "---
type: workflow
needs: {heavy: true, lease: 10m}
steps:
  send: {effect: mail.send, target: ann, args: {text: x}}
---
";
const ALLOW: &str = "---
type: policy
rules: [{name: all, verdict: allow, capability: mail.send}]
---
";
const WORKER: DeviceId = DeviceId([3; 32]);
const MINUTE: Millis = 60_000;

/// Several kernels with one log; who is away hears nothing and says nothing to the others.
struct Town {
    kernels: Vec<(DeviceId, Kernel, usize)>,
    log: Vec<(Stamp, Vec<Event>)>,
    now: Millis,
    away: Vec<DeviceId>,
    unsent: Vec<(Stamp, Vec<Event>)>,
    sent: usize,
}

impl Town {
    fn new(heavy: &[DeviceId]) -> Town {
        let kernel = |device: DeviceId| {
            let offer = Offer { heavy: heavy.contains(&device), whole: true, ..Offer::default() };
            let mut setting = setting(&World::default(), &[("heavy", HEAVY)], &[ALLOW]);
            setting.offer = Some(offer);
            (setting.coordinator, setting.maker) = (Some(LAPTOP), Some(LAPTOP));
            (device, Kernel::new(VAULT, device, setting, 1), 0)
        };
        let kernels = [LAPTOP, PHONE, WORKER].map(kernel).into();
        Town { kernels, log: Vec::new(), now: START, away: Vec::new(), unsent: Vec::new(), sent: 0 }
    }

    fn kernel(&mut self, device: DeviceId) -> &mut Kernel {
        &mut self.kernels.iter_mut().find(|(it, ..)| *it == device).unwrap().1
    }

    fn record(&mut self, by: DeviceId, events: &[WorkEvent]) -> Input {
        self.now += 1;
        let events: Vec<Event> = events.iter().map(|it| Event::try_from(it).unwrap()).collect();
        let seq = (self.log.len() + self.unsent.len()) as u64;
        let stamp = Stamp::new(Hlc(self.now, 0), by, seq);
        match self.away.contains(&by) {
            true => self.unsent.push((stamp, events.clone())),
            false => self.log.push((stamp, events.clone())),
        }
        Input::Recorded { stamp, events }
    }

    fn back(&mut self, device: DeviceId) {
        self.away.retain(|it| *it != device);
        self.log.append(&mut self.unsent);
    }

    /// Everybody does what there is to do, at this time.
    fn rest(&mut self) {
        for _ in 0..20 {
            for place in 0..self.kernels.len() {
                let device = self.kernels[place].0;
                let mut inputs = vec![Input::Tick { now: self.now }];
                if !self.away.contains(&device) {
                    let from = self.kernels[place].2;
                    self.kernels[place].2 = self.log.len();
                    let others = self.log[from..].iter().filter(|(stamp, _)| stamp.2 != device);
                    inputs.extend(others.cloned().map(|(stamp, events)| Input::Recorded { stamp, events }));
                }
                while let Some(input) = inputs.pop() {
                    for action in self.kernels[place].1.handle(input) {
                        match action {
                            Action::Append(events) => inputs.push(self.record(device, &events)),
                            Action::Perform { key, attempt, .. } => {
                                self.sent += 1;
                                let came = Came::Done { result: json!("ok") };
                                inputs.push(Input::Performed { key, attempt, came });
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
    }

    fn create(&mut self, on: Option<DeviceId>) {
        let now = self.now;
        self.kernel(PHONE).handle(Input::Tick { now });
        let made = self.kernel(PHONE).create("t", "heavy", json!({}), on).unwrap();
        let input = self.record(PHONE, &[made]);
        // It says what it hands on at once.
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.kernel(PHONE).handle(input) {
                if let Action::Append(events) = action {
                    inputs.push(self.record(PHONE, &events));
                }
            }
        }
    }

    fn stands(&mut self, on: DeviceId) -> (Option<DeviceId>, bool, Option<String>) {
        let kernel = self.kernel(on);
        let task = kernel.tables().task("t").unwrap();
        (task.device, task.ended.is_some(), kernel.why_there("t").map(str::to_owned))
    }
}

#[test]
fn a_task_goes_where_its_needs_are_met() {
    let mut town = Town::new(&[WORKER]);
    town.rest();
    town.create(None);
    town.rest();
    let why = Some("a device for heavy work".to_owned());
    for device in [LAPTOP, PHONE, WORKER] {
        assert_eq!(town.stands(device), (Some(WORKER), true, why.clone()));
    }
    assert_eq!(town.sent, 1);
    // Said by name it stays, whatever it needs.
    let mut town = Town::new(&[WORKER]);
    town.rest();
    town.create(Some(PHONE));
    town.rest();
    assert_eq!(town.stands(LAPTOP), (Some(PHONE), true, None));
}

#[test]
fn where_nobody_fits_it_waits_and_says_for_what() {
    let mut town = Town::new(&[]);
    town.rest();
    town.create(None);
    town.rest();
    assert_eq!(town.stands(LAPTOP), (Some(PHONE), false, None));
    let told = town.kernel(PHONE).inbox().into_iter().cloned().collect::<Vec<_>>();
    assert!(
        matches!(&told[..], [Need::Missing { what, .. }] if what == "a device for heavy work"),
        "{told:?}"
    );
    let offer = Offer { heavy: true, whole: true, ..Offer::default() };
    town.record(WORKER, &[WorkEvent::DeviceOffers { offer }]);
    town.kernels[2].1.setting.offer.as_mut().unwrap().heavy = true;
    town.kernels[2].2 = 0;
    town.rest();
    assert_eq!(town.stands(LAPTOP).0, Some(WORKER));
    assert_eq!((town.stands(PHONE).1, town.sent), (true, 1));
}

/// The device that has it dies before it begins, or after it proposed; another does it, and when the first comes back nothing is done twice.
#[test]
fn a_silent_device_loses_its_task_and_no_effect_is_doubled() {
    for begun in [false, true] {
        let mut town = Town::new(&[WORKER, LAPTOP]);
        town.rest();
        // By the fixed rule the coordinator has it; so have the operator say otherwise, without pinning it.
        town.away.push(WORKER);
        town.create(None);
        let to_worker =
            WorkEvent::TaskMoved { task: "t".into(), to: WORKER, turn: 1, why: "x".into(), pinned: false };
        let input = town.record(PHONE, &[to_worker]);
        town.kernel(PHONE).handle(input);
        if begun {
            // It hears of the task, works on it, and nobody hears of that.
            town.kernels[2].2 = town.log.len();
            let heard: Vec<Input> =
                (town.log.iter().cloned()).map(|(stamp, events)| Input::Recorded { stamp, events }).collect();
            let mut inputs: Vec<Input> = heard.into_iter().rev().collect();
            while let Some(input) = inputs.pop() {
                for action in town.kernel(WORKER).handle(input) {
                    if let Action::Append(events) = action {
                        let input = town.record(WORKER, &events);
                        inputs.push(input);
                    }
                }
            }
            assert!(!town.unsent.is_empty());
        }
        town.rest();
        assert_eq!(town.stands(LAPTOP).0, Some(WORKER));
        town.now += 9 * MINUTE;
        town.rest();
        assert_eq!(town.stands(LAPTOP).0, Some(WORKER), "its lease is not over");
        town.now += 2 * MINUTE;
        town.rest();
        let (device, ended, why) = town.stands(LAPTOP);
        assert_eq!((device, ended, town.sent), (Some(LAPTOP), true, 1), "{why:?}");
        assert!(why.is_some_and(|why| why.contains("nothing was heard")));
        town.back(WORKER);
        town.rest();
        assert_eq!(town.sent, 1);
        let laptop = town.kernel(LAPTOP).tables().clone();
        assert_eq!(town.kernel(WORKER).tables(), &laptop);
        assert_eq!(town.kernel(PHONE).tables(), &laptop);
    }
}

/// Who works keeps the lease by saying that it is there, and only then.
#[test]
fn a_device_at_work_keeps_its_lease() {
    let mut town = Town::new(&[WORKER]);
    town.rest();
    let offers = |town: &Town| {
        let of = |events: &Vec<Event>| events.iter().filter(|it| it.name() == "device.offers").count();
        town.log.iter().map(|(_, events)| of(events)).sum::<usize>()
    };
    let before = offers(&town);
    town.now += 60 * MINUTE;
    town.rest();
    assert_eq!(offers(&town), before, "without work nothing is said again");
    // Its effect asks, so it goes on.
    for (_, kernel, _) in &mut town.kernels {
        kernel.setting.policies = Policies::default();
    }
    town.create(None);
    town.rest();
    for _ in 0..20 {
        town.now += 2 * MINUTE;
        town.rest();
    }
    assert_eq!(town.stands(LAPTOP), (Some(WORKER), false, Some("a device for heavy work".into())));
    let said = offers(&town) - before;
    assert!((8..=16).contains(&said), "{said}");
}

/// A clock that is set back while work is done does not have the device say over and over that it is there.
#[test]
fn a_clock_set_back_does_not_renew_without_end() {
    let slow = "---\ntype: workflow\nneeds: {heavy: true, lease: 10m}\nsteps: {rest: {wait: 3h}}\n---\n";
    let mut setting = setting(&World::default(), &[("slow", slow)], &[]);
    setting.offer = Some(Offer { heavy: true, ..Offer::default() });
    (setting.coordinator, setting.maker) = (Some(LAPTOP), Some(LAPTOP));
    let mut kernel = Kernel::new(VAULT, LAPTOP, setting, 1);
    let mut queue = kernel.handle(Input::Tick { now: START + 60 * MINUTE });
    queue.push(Action::Append(vec![kernel.create("t", "slow", json!({}), None).unwrap()]));
    let mut records = 0;
    while let Some(action) = queue.pop() {
        let Action::Append(events) = action else { continue };
        let events: Vec<Event> = events.iter().map(|it| Event::try_from(it).unwrap()).collect();
        records += 1;
        assert!(records < 20, "it goes on without end: {events:?}");
        let stamp = Stamp::new(Hlc(START + records, 0), LAPTOP, records);
        queue.extend(kernel.handle(Input::Recorded { stamp, events }));
    }
}

#[test]
fn what_is_called_off_ends_though_no_device_fits() {
    let mut town = Town::new(&[]);
    town.rest();
    town.create(None);
    town.rest();
    assert_eq!(town.kernel(PHONE).missing("t"), Some("a device for heavy work"));
    let enough = WorkEvent::TaskCancelled { task: "t".into(), note: "enough".into() };
    let input = town.record(LAPTOP, &[enough]);
    town.kernel(LAPTOP).handle(input);
    town.rest();
    for device in [LAPTOP, PHONE, WORKER] {
        let ended = town.kernel(device).tables().task("t").unwrap().ended.clone();
        assert_eq!(ended.map(|(_, outcome, _)| outcome), Some(Outcome::Cancelled), "{device}");
    }
    assert_eq!(town.kernel(PHONE).missing("t"), None);
    assert_eq!(town.sent, 0);
}
