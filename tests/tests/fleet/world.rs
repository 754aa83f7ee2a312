//! Time, the network, and what happens to the devices.

use std::collections::{BTreeMap, BTreeSet};

use aios_agents::event::{EffectKey, WorkEvent};
use aios_agents::kernel::Round;
use aios_agents::money::Money;
use aios_agents::needs::Offer;
use aios_core::event::Event;
use aios_tests::chance::Chance;
use serde_json::json;

use crate::company::{self, CAPABILITIES, Company, START};
use crate::device::{Device, Record};
use crate::far::Far;

const MINUTE: u64 = 60_000;
const HOUR: i64 = 3_600_000;

/// How much was done.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub records: u64,
    pub acts: u64,
    pub allowed: u64,
    pub approved: u64,
    pub crashes: u64,
    pub entities: u64,
    pub twins: u64,
    pub settled: u64,
    pub undone: u64,
    pub denied: u64,
    pub dead: u64,
    pub moved: u64,
    pub rewound: u64,
    pub again: u64,
    pub told_twice: u64,
    pub changed: u64,
    pub sent_changed: u64,
    pub delegated: u64,
    pub louder: u64,
    pub pages: u64,
    pub claims_lost: u64,
    pub looks: u64,
    pub programs: u64,
    pub programs_failed: u64,
    pub placed: u64,
    pub migrated: u64,
    pub notes: u64,
    /// How often a note said something twice, and was mended: too rare for a few hundred seeds.
    pub tidied: u64,
    pub cancelled: u64,
    pub jumps: u64,
    pub wages_asked: u64,
    /// Calls of models.
    pub calls: u64,
    /// How often a device was given of a budget.
    pub shared: u64,
    /// How often it had to ask for more, and how often money was refused that it did not have.
    pub short: u64,
    /// How often a device began with what it remembered.
    pub remembered: u64,
    /// How often the operator was told that a denial came too late.
    pub too_late: u64,
}

impl Tally {
    fn numbers(&mut self) -> [&mut u64; 35] {
        [
            &mut self.records,
            &mut self.acts,
            &mut self.allowed,
            &mut self.approved,
            &mut self.crashes,
            &mut self.entities,
            &mut self.twins,
            &mut self.settled,
            &mut self.undone,
            &mut self.denied,
            &mut self.dead,
            &mut self.moved,
            &mut self.rewound,
            &mut self.again,
            &mut self.told_twice,
            &mut self.changed,
            &mut self.sent_changed,
            &mut self.delegated,
            &mut self.louder,
            &mut self.pages,
            &mut self.claims_lost,
            &mut self.looks,
            &mut self.programs,
            &mut self.programs_failed,
            &mut self.placed,
            &mut self.migrated,
            &mut self.notes,
            &mut self.cancelled,
            &mut self.jumps,
            &mut self.wages_asked,
            &mut self.calls,
            &mut self.shared,
            &mut self.short,
            &mut self.remembered,
            &mut self.too_late,
        ]
    }

    pub fn add(&mut self, other: &Tally) {
        for (sum, more) in self.numbers().into_iter().zip(other.clone().numbers()) {
            *sum += *more;
        }
    }

    pub fn is_full(&self) -> bool {
        self.clone().numbers().iter().all(|number| **number > 0)
    }
}

#[derive(Debug)]
pub struct World {
    pub chance: Chance,
    pub now: u64,
    pub devices: Vec<Device>,
    pub records: Vec<Record>,
    pub company: Company,
    pub far: Far,
    pub trace: Vec<String>,
    pub tally: Tally,
    /// Nothing breaks any more.
    pub calm: bool,
    /// Which devices hear each other: those with the same number.
    islands: Vec<usize>,
    /// The clients who have invoices.
    pub clients: Vec<String>,
    /// What the operator said, to say it again.
    pub said: Vec<WorkEvent>,
    /// The payments that somebody was told of.
    pub paid: Vec<WorkEvent>,
    /// The effects that the operator has happen once more, by name.
    pub again: BTreeSet<EffectKey>,
    /// What models truly cost, by budget.
    pub models: BTreeMap<String, Money>,
    tasks: usize,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let count = 2 + chance.below(3);
        let offer = |chance: &mut Chance| Offer {
            heavy: chance.one_in(2),
            whole: chance.one_in(2),
            ..Offer::default()
        };
        let mut devices: Vec<Device> = (0..count).map(|_| Device::new(count)).collect();
        devices.iter_mut().for_each(|device| device.offer = offer(&mut chance));
        let knows_keys: Vec<&str> = CAPABILITIES.into_iter().filter(|_| chance.one_in(3)).collect();
        let calls_models = chance.one_in(2);
        World {
            now: START,
            devices,
            records: Vec::new(),
            company: Company::new(&knows_keys, calls_models),
            far: Far { knows_keys, ..Far::default() },
            trace: Vec::new(),
            tally: Tally::default(),
            calm: false,
            islands: vec![0; count],
            clients: Vec::new(),
            said: Vec::new(),
            paid: Vec::new(),
            again: BTreeSet::new(),
            models: BTreeMap::new(),
            tasks: 0,
            chance,
        }
    }

    pub fn say(&mut self, n: usize, what: String) {
        self.trace.push(format!("{:>9} {n} {what}", self.now - START));
    }

    /// One thing happens.
    pub fn step(&mut self) {
        let n = self.chance.below(self.devices.len());
        // One that is shut does nothing.
        if self.devices[n].asleep && !self.chance.one_in(60) {
            self.now += self.chance.next() % MINUTE;
            return;
        }
        self.devices[n].asleep = false;
        match self.chance.weighed(&[30, 30, 14, 14, 20, 3, 2, 2, 4, 10, 2, 3, 26, 2, 4, 3]) {
            0 => self.carry_on(n),
            1 => {
                for _ in 0..=self.chance.below(8) {
                    self.act(n);
                }
            }
            2 => self.work(n),
            3 => {
                let span = if self.chance.one_in(12) { 600 } else { 20 };
                self.now += self.chance.next() % (span * MINUTE);
            }
            4 => {
                let other = self.chance.below(self.devices.len());
                if self.islands[n] == self.islands[other] {
                    self.send(n, other, false);
                }
            }
            5 => {
                let count = self.devices.len();
                self.islands = (0..count).map(|_| self.chance.below(3)).collect();
                if self.chance.one_in(3) {
                    self.islands = vec![0; count];
                }
            }
            6 => self.crash(n, "from outside"),
            7 => {
                let jumps = self.chance.one_in(5);
                self.tally.jumps += u64::from(jumps);
                let most = if jumps { 20 * HOUR } else { 3 * HOUR };
                self.devices[n].skew = (self.chance.next() % (2 * most as u64)) as i64 - most;
                self.say(n, format!("has a clock that is {} min off", self.devices[n].skew / 60_000));
            }
            8 => self.rule(n),
            9 => self.start(n),
            10 => {
                let client = format!("client {}", self.clients.len());
                self.clients.push(client.clone());
                self.outside(n, json!({"type": "sim.invoice", "client": client}));
            }
            11 => {
                let Some(client) = self.chance.pick(&self.clients).cloned() else { return };
                self.pays(n, &client);
            }
            12 => self.operator(n),
            13 => self.budget(n),
            14 => self.turns(n),
            _ => self.keep_journal(n),
        }
    }

    /// A device is shut, or fit for other work than before, or the operator writes of a client.
    fn turns(&mut self, n: usize) {
        match self.chance.below(4) {
            0 => {
                self.devices[n].asleep = true;
                self.say(n, "is shut".into());
            }
            1 => {
                let active = self.chance.below(5);
                let fields = json!({"type": "client", "name": format!("name {active}"), "state": "active"});
                self.make_file(n, &format!("clients/{active}.md"), fields);
            }
            _ => {
                let (heavy, whole) = (self.chance.one_in(2), self.chance.one_in(2));
                self.devices[n].offer = Offer { heavy, whole, ..Offer::default() };
            }
        }
    }

    /// Something is recorded that is no event of work.
    pub fn outside(&mut self, n: usize, event: serde_json::Value) {
        let serde_json::Value::Object(map) = event else { return };
        if self.devices[n].round.is_over() {
            let events = vec![Event::Other(map)];
            let stamp = self.author(n, events.clone());
            if let Some(kernel) = &mut self.devices[n].kernel {
                kernel.load(stamp, &events);
            }
        }
    }

    /// Somebody is told that a client paid; now and then once more, elsewhere.
    fn pays(&mut self, n: usize, client: &str) {
        if !self.devices[n].round.is_over() {
            return;
        }
        let again = self.chance.pick(&self.paid).filter(|_| self.now.is_multiple_of(3)).cloned();
        self.tally.told_twice += u64::from(again.is_some());
        let event = again.unwrap_or_else(|| WorkEvent::EventEmitted {
            name: "bank.paid".into(),
            id: format!("payment {}", self.paid.len()),
            data: json!({"client": client}),
            untrusted: self.now.is_multiple_of(5),
            from: None,
            hops: 0,
        });
        self.paid.push(event.clone());
        self.command(n, &event);
    }

    /// The role of the coordinator or the home of a connector goes to another device.
    fn rule(&mut self, n: usize) {
        let to = self.chance.below(self.devices.len());
        match self.chance.below(5) {
            0 => {
                let next = self.chance.one_in(2);
                self.outside(n, json!({"type": "sim.rule", "next_offer": next}));
            }
            1 | 2 => self.outside(n, json!({"type": "sim.rule", "device": to})),
            _ => {
                let name = CAPABILITIES[self.chance.below(CAPABILITIES.len())];
                let to = (!self.chance.one_in(4)).then_some(to);
                self.outside(n, json!({"type": "sim.rule", "home": name, "device": to}));
            }
        }
    }

    /// The operator starts a task, on this device or for another; now and then the same one in two places.
    fn start(&mut self, n: usize) {
        if !self.devices[n].round.is_over() || !self.devices[n].working.is_empty() {
            return;
        }
        self.carry_on(n);
        self.devices[n].round = Round::default();
        let twin = self.chance.one_in(4) && self.tasks > 0;
        self.tasks += usize::from(!twin);
        let task = format!("task {}", self.tasks);
        let names: Vec<String> = (0..1 + self.tasks % 3).map(|n| format!("c{n}")).collect();
        let (workflow, input) = match self.tasks % 7 {
            0 => ("report", json!({})),
            1 => ("book", json!({})),
            2 => ("wages", json!({"to": names})),
            3 => ("bill", json!({"day": format!("day {}", self.tasks % 3)})),
            _ => ("offer", json!({"clients": names})),
        };
        let on = self.chance.one_in(3).then(|| company::device(self.chance.below(self.devices.len())));
        let Some(kernel) = &mut self.devices[n].kernel else { return };
        let created = kernel.create(&task, workflow, input, on);
        kernel.forget();
        if let Ok(created) = created {
            self.tally.twins += u64::from(twin);
            self.command(n, &created);
        }
    }

    fn budget(&mut self, n: usize) {
        if !self.devices[n].round.is_over() {
            return;
        }
        let (budget, id) = ("models".to_owned(), self.chance.below(20).to_string());
        let amount = Money(self.chance.next() % 40);
        let event = match self.chance.below(4) {
            0 => WorkEvent::BudgetSet { budget, limit: Money(100) },
            1 => WorkEvent::BudgetSettled { budget, id, amount: Money(0) },
            _ => WorkEvent::BudgetReserved { budget, id, amount },
        };
        self.command(n, &event);
    }

    /// Brings another device records that it lacks, in an order that keeps causes before what follows; not always all.
    pub fn send(&mut self, from: usize, to: usize, all: bool) {
        if from == to || !self.devices[to].round.is_over() {
            return;
        }
        if self.devices[to].has.iter().zip(&self.devices[from].has).all(|(has, other)| has >= other) {
            return;
        }
        let lacks: Vec<usize> = (0..self.records.len())
            .filter(|record| {
                let Record { author, stamp, .. } = &self.records[*record];
                let (has, lacks) = (self.devices[from].has[*author], self.devices[to].has[*author]);
                (stamp.3 as usize) <= has && stamp.3 as usize > lacks
            })
            .collect();
        let most = if all { lacks.len() } else { 1 + self.chance.below(lacks.len() + 4) };
        // Records stand in the order in which they were written, so causes come first.
        let sent = lacks.into_iter().take(most).collect::<Vec<_>>();
        if !sent.is_empty() {
            self.say(to, format!("has {} records from {from}", sent.len()));
        }
        sent.into_iter().for_each(|record| self.take_in(to, record));
    }
}
