//! After all that, peace: everybody hears everything, nothing breaks, the operator does what he is asked. Then all must be as it should.

use std::collections::{BTreeMap, BTreeSet};

use aios_agents::event::{EffectKey, Fired, WorkEvent, entity_task, event_task};
use aios_agents::kernel::{Kernel, Need, Past};
use aios_agents::money::Money;
use aios_agents::needs::Offer;
use aios_agents::policy::Verdict;
use aios_agents::table::{Stand, Status, Tables, Task};
use aios_core::event::Event;
use serde_json::{Value, json};

use crate::child::CRUNCHER;
use crate::company::{self, MODEL_CAP, NEWSLETTERS, VAULT};
use crate::device::Device;
use crate::far::{Act, CHANGED, business};
use crate::world::World;

const DAY: u64 = 24 * 3_600_000;
/// Days until all work of before must have come to an end.
const ROUNDS: usize = 10;

impl World {
    pub fn peace(&mut self) {
        self.calm = true;
        self.trace.push("peace".into());
        for device in &mut self.devices {
            (device.skew, device.asleep) = (0, false);
        }
        self.devices[0].offer = Offer { heavy: true, whole: true, ..Offer::default() };
        for _ in 0..3 {
            self.settle_down();
        }
        self.resume_all();
        self.settle_down();
        self.everything_waits_for_something();
        for round in 0.. {
            let open: Vec<String> = self.open_tasks();
            let young = |task: &String| self.began(task) + 8 * DAY > self.now;
            if open.iter().all(young) && round >= ROUNDS {
                break;
            }
            assert!(round < 2 * ROUNDS, "these never end: {open:?}: {:#?}", self.all_needs());
            // What has a rate of its own goes on from hour to hour.
            for _ in 0..3 {
                self.settle_down();
                self.now += DAY / 23;
            }
            self.settle_down();
            for n in 0..self.devices.len() {
                for need in self.shown(n) {
                    if let Some(event) = self.decide(&need) {
                        self.say(n, format!("operator: {event:?}").chars().take(160).collect());
                        self.command(n, &event);
                    }
                }
            }
            // At another hour each time: some things happen at some hours only.
            self.now += DAY + DAY * 5 / 24;
        }
        // What was written late on a day belongs to it.
        self.now += 2 * DAY;
        for _ in 0..3 {
            self.settle_down();
            (0..self.devices.len()).for_each(|n| self.keep_journal(n));
        }
        self.settle_down();
        self.check();
    }

    /// All hear all and do what there is to do now.
    fn settle_down(&mut self) {
        for _ in 0..60 {
            let before = self.records.len();
            for n in 0..self.devices.len() {
                (0..self.devices.len()).for_each(|from| self.send(from, n, true));
                self.carry_on(n);
                let mut left = 2000;
                let busy = |device: &Device| {
                    !(device.round.is_over() && device.working.is_empty() && device.children.is_empty())
                };
                while busy(&self.devices[n]) {
                    self.act(n);
                    if self.devices[n].round.is_over() {
                        self.work(n);
                    }
                    left -= 1;
                    assert!(left > 0, "device {n} never rests");
                }
            }
            let settled = self.devices.iter().all(|device| device.arrived.len() == self.records.len());
            if self.records.len() == before && settled {
                return;
            }
        }
        panic!("the devices never rest");
    }

    fn kernel(&self, n: usize) -> &Kernel {
        self.devices[n].kernel.as_ref().expect("a process")
    }

    fn tables(&self) -> &Tables {
        self.kernel(0).tables()
    }

    fn open_tasks(&self) -> Vec<String> {
        let open = |task: &Task| task.ended.is_none();
        self.tables().tasks().filter(|(_, task)| open(task)).map(|(id, _)| id.to_owned()).collect()
    }

    fn began(&self, task: &str) -> u64 {
        let runs = self.tables().task(task).into_iter().flat_map(|task| task.runs.values());
        runs.flat_map(|run| run.steps.values().map(|step| step.started.time())).min().unwrap_or(self.now)
    }

    fn all_needs(&self) -> Vec<Need> {
        (0..self.devices.len()).flat_map(|n| self.shown(n)).collect()
    }

    /// What is not over waits for a time, for an event from outside, for a workflow that it started, or for something that is shown.
    fn everything_waits_for_something(&self) {
        let mut shown = BTreeSet::new();
        for need in self.all_needs() {
            match need {
                Need::Unknown { task, .. }
                | Need::Dead { task, .. }
                | Need::Approval { task, .. }
                | Need::Question { task, .. }
                | Need::Missing { task, .. } => _ = shown.insert(task),
                Need::Lost { .. }
                | Need::Refused { .. }
                | Need::Worse { .. }
                | Need::Unfit { .. }
                | Need::Elsewhere { .. }
                | Need::Later { .. } => {}
            }
        }
        let open = self.open_tasks();
        let tables = self.tables();
        for id in &open {
            let task = tables.task(id).expect("a task");
            let child = |other: &&String| {
                tables
                    .task(other)
                    .is_some_and(|it| it.parent.as_ref().is_some_and(|(parent, _)| parent == id))
            };
            let waits = task.runs.values().filter(|run| Some(run.device) == task.device).any(|run| {
                run.steps.values().any(|step| match &step.status {
                    Status::Started => step.until.is_some(),
                    Status::Failed { retry, .. } => retry.is_some(),
                    _ => false,
                })
            });
            // What its connector does not do now is tried again by and by.
            let braked = tables
                .proposals(id)
                .filter_map(|key| tables.effect(&key)?.proposed.as_ref())
                .any(|it| tables.breaker(&it.content.capability).until().is_some());
            let later = (0..self.devices.len()).any(|n| self.kernel(n).later(id).is_some());
            let visible =
                shown.contains(id) || waits || braked || later || open.iter().any(|other| child(&other));
            let effects: Vec<_> = tables.proposals(id).filter_map(|key| tables.effect(&key)).collect();
            assert!(visible, "task {id} waits for nothing that anybody sees: {task:#?} with {effects:#?}");
        }
    }

    fn check(&mut self) {
        self.tally.records += self.records.len() as u64;
        let one = self.tables();
        for n in 1..self.devices.len() {
            let other = self.kernel(n).tables();
            assert!(one == other, "device {n} has other tables: {}", difference(one, other));
        }
        let mut anew = Kernel::new(VAULT, company::device(0), self.company.setting(&Default::default()), 1);
        self.records.iter().rev().for_each(|record| anew.load(record.stamp, &record.events));
        assert!(one == anew.tables(), "made anew it is another table: {}", difference(one, anew.tables()));

        let performing = one.effects().filter(|(_, it)| matches!(it.stand(), Stand::Performing(_)));
        assert!(
            performing.map(|(key, _)| key).eq(one.under_way().map(|(key, _)| *key)),
            "another is under way"
        );

        let is_changed = |act: &&Act| act.content.args.get(CHANGED).is_some();
        let changed = self.far.acts.iter().filter(is_changed).count() as u64;
        let doubled = self.far.doubled(&self.again);
        assert!(doubled.is_empty(), "done twice: {doubled:#?}");
        let stand = |key: &EffectKey| one.effect(key).map(|effect| effect.stand());
        let asked: BTreeSet<EffectKey> = (self.all_needs().into_iter())
            .filter_map(|need| if let Need::Unknown { key, .. } = need { Some(key) } else { None })
            .collect();
        for act in &self.far.acts {
            let stand = stand(&act.key);
            let known = match stand {
                Some(Stand::Done(_)) => true,
                Some(Stand::Unknown(_)) => asked.contains(&act.key),
                _ => false,
            };
            assert!(known, "{} by {} stands as {stand:?}", business(&act.content), act.device);
        }
        self.check_denials();
        let mut by_day: BTreeMap<u64, usize> = BTreeMap::new();
        let mut wages: BTreeMap<u64, Money> = BTreeMap::new();
        for (key, effect) in one.effects() {
            if matches!(effect.stand(), Stand::Done(_)) {
                assert!(self.far.has(&key), "nobody did it: {effect:#?}");
            }
            // What did not happen and never will is free for another.
            let happens = !matches!(effect.stand(), Stand::Failed(_) | Stand::Undone);
            let Some(decided) = effect.charged().filter(|_| happens) else { continue };
            assert_eq!(decided.verdict, Verdict::Allow);
            match decided.rule.as_deref() {
                Some("p#news") => *by_day.entry(decided.at / DAY).or_default() += 1,
                Some("p#wages") => {
                    let sum = wages.entry(decided.at / DAY).or_default();
                    *sum = sum.plus(effect.charged_money().unwrap_or_default());
                }
                _ => {}
            }
        }
        assert!(wages.values().all(|sum| *sum <= Money(company::WAGE_CAP)), "the cap is passed: {wages:?}");
        let asked = one.effects().filter(|(_, it)| {
            let of = it.proposed.as_ref().is_some_and(|it| it.content.tags.iter().any(|tag| tag == "wage"));
            of && it.decided().is_some_and(|it| it.verdict == Verdict::Ask)
        });
        let wages_asked = asked.count() as u64;
        self.check_files();
        self.check_notes();
        assert!(by_day.values().all(|count| *count <= NEWSLETTERS), "the cap is passed: {by_day:?}");
        for (id, _) in one.tasks().filter(|(_, task)| task.ended.is_some()) {
            let mut again = |past: &Past<'_>| {
                (past.agent != CRUNCHER).then(|| Ok(json!({"text": past.input.to_string()})))
            };
            let replay = self.kernel(0).replay(&id, &mut again).unwrap_or_else(|e| panic!("{e}"));
            assert!(replay.difference.is_none(), "{id} is another on replay: {replay:#?}");
        }
        for client in &self.clients {
            let said = Value::from(client.as_str()).to_string();
            let recorded = self
                .records
                .iter()
                .flat_map(|record| &record.events)
                .any(|event| event.name() == "sim.invoice" && format!("{event:?}").contains(&said));
            let task = entity_task(&VAULT, "chase", &said, None);
            assert!(!recorded || one.task(&task).is_some(), "{client} has no task");
        }
        for paid in &self.paid {
            let WorkEvent::EventEmitted { name, id, data, .. } = paid else { continue };
            let wanted = data["client"] != "client 1";
            let task = event_task(&VAULT, "receipt", name, id);
            assert_eq!(one.task(&task).is_some(), wanted, "{id} of {data}");
        }
        for effect in one.effects().map(|(_, effect)| effect) {
            let Some((task, decided)) = effect.proposed.as_ref().map(|it| &it.task).zip(effect.decided())
            else {
                continue;
            };
            let trigger = one.task(task).and_then(|task| task.trigger.as_ref());
            if let Some(Fired::Event { untrusted: true, .. }) = trigger {
                assert_ne!(decided.verdict, Verdict::Allow, "what came from outside is allowed: {effect:#?}");
            }
        }
        for (id, it) in one.delegations() {
            let Some(grant) = &it.grant else { continue };
            let rule = format!("delegation {id}");
            // What did not happen and never will is free for another.
            let by = one
                .effects()
                .filter(|(_, it)| it.charged().is_some_and(|it| it.rule.as_ref() == Some(&rule)))
                .filter(|(_, it)| !matches!(it.stand(), Stand::Failed(_) | Stand::Undone));
            let used: Vec<_> = by.map(|(key, _)| key).collect();
            assert!(used.len() as u64 <= grant.count, "{used:?} by {grant:?}");
        }
        let louder = one.effects().map(|(_, effect)| effect.escalated().len() as u64).sum::<u64>();
        if let Some(budget) = one.budget("models") {
            assert!(budget.used() <= Money(100), "a budget is passed: {budget:?}");
        }
        for (name, cost) in &self.models {
            let budget = one.budget(name).expect("a budget");
            assert!(budget.used() <= Money(MODEL_CAP), "a budget is passed: {budget:?}");
            assert!(budget.reserved.is_empty(), "it is over, and not settled: {budget:?}");
            assert!(*cost <= budget.used(), "models cost {cost}: {budget:?}");
            assert!(budget.refused.is_empty(), "somebody spent what was not there: {budget:?}");
        }
        for event in self.records.iter().flat_map(|record| &record.events) {
            self.tally.shared += u64::from(event.name() == "budget.granted");
            self.tally.short += u64::from(event.name() == "budget.asked");
        }
        self.tally.sent_changed += changed;
        self.tally.louder += louder;
        self.tally.wages_asked += wages_asked;
    }

    /// What was denied never happened, or every device tells that it came too late, until the operator has taken note.
    fn check_denials(&self) {
        let mut settled = BTreeSet::new();
        let mut denied = BTreeSet::new();
        for event in self.records.iter().flat_map(|record| &record.events) {
            match WorkEvent::try_from(event) {
                Ok(WorkEvent::ApprovalDenied { key, .. }) => _ = denied.insert(key),
                Ok(WorkEvent::EffectSettled { key, happened: true, .. }) => _ = settled.insert(key),
                _ => {}
            }
        }
        for n in 0..self.devices.len() {
            let (kernel, shown) = (self.kernel(n), self.shown(n));
            let tables = kernel.tables();
            let told: BTreeSet<EffectKey> = shown
                .iter()
                .filter_map(|need| if let Need::Refused { key, .. } = need { Some(*key) } else { None })
                .collect();
            assert!(told.is_subset(&denied), "device {n} tells of what nobody denied: {told:?}");
            for key in &denied {
                let Some(effect) = tables.effect(key) else { continue };
                let went = self.far.has(key);
                match effect.stand() {
                    Stand::Denied(_) | Stand::Proposed => {
                        assert!(!went, "it was denied, and went: {effect:#?}")
                    }
                    Stand::Done(_) => {
                        let by = effect.proposed.as_ref().map(|it| tables.is_taken_back(&it.task, &it.step));
                        let known = told.contains(key) || settled.contains(key) || by == Some(true);
                        assert!(known, "device {n} does not tell that it went: {effect:#?}");
                    }
                    // That is asked about, and then it is known.
                    Stand::Unknown(_) => {}
                    stand => panic!("it was denied and stands as {stand:?}: {effect:#?}"),
                }
            }
        }
    }

    /// No effect wrote twice, and no two made one file.
    fn check_files(&self) {
        let mut keys = BTreeSet::new();
        for event in self.records.iter().flat_map(|record| &record.events) {
            let Event::Other(map) = event else { continue };
            if event.name() != "sim.file" {
                continue;
            }
            if let Some(key) = map.get("key").and_then(Value::as_str) {
                assert!(keys.insert(key), "written twice: {map:?}");
            }
        }
        let files = self.files(0);
        for (path, file) in &files {
            assert!(file.makers.len() <= 1, "made twice: {path} {file:?}");
        }
        for n in 1..self.devices.len() {
            assert_eq!(format!("{files:?}"), format!("{:?}", self.files(n)), "device {n} has other files");
        }
    }
}

fn difference(one: &Tables, other: &Tables) -> String {
    for (id, task) in one.tasks() {
        if other.task(&id) != Some(&*task) {
            return format!("task {id}: {task:#?} and {:#?}", other.task(&id));
        }
    }
    for (key, effect) in one.effects() {
        if other.effect(&key) != Some(&*effect) {
            return format!("effect {key:?}: {effect:#?} and {:#?}", other.effect(&key));
        }
    }
    "something else".into()
}
