//! A device: its process, which may be killed at any action, and what lasts.

use std::collections::{BTreeMap, BTreeSet};

use aios_agents::agent::Turn;
use aios_agents::connector::is_of_files;
use aios_agents::event::{EffectKey, WorkEvent};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{Action, Begun, Input, Kernel, Next, Round, Saw, Work};
use aios_agents::model::{Answer, Stop, Usage};
use aios_agents::money::Money;
use aios_agents::needs::Offer;
use aios_agents::policy::Verdict;
use aios_core::clock::{Hlc, Stamp};
use aios_core::event::Event;
use aios_core::id::ContentHash;
use serde_json::{Value, json};

use crate::child::{CRUNCHER, Child};
use crate::company::{self, COSTS, MODEL_CAP, VAULT, WRITER};
use crate::memory::Memory;
use crate::world::World;

/// A record of the log.
#[derive(Debug, Clone)]
pub struct Record {
    pub stamp: Stamp,
    pub author: usize,
    pub events: Vec<Event>,
}

#[derive(Debug)]
pub struct Device {
    /// Its process, where one runs.
    pub kernel: Option<Kernel>,
    /// What that is to record and to do.
    pub round: Round,
    /// What agents are at in it.
    pub working: Vec<(Work, Value)>,
    /// The calls of models under way, and what they cost.
    pub calls: Vec<(Work, Money)>,
    /// The programs that run for it.
    pub children: Vec<Child>,
    /// What it is fit for.
    pub offer: Offer,
    /// It is shut, and does nothing until it is opened.
    pub asleep: bool,
    /// What its clock said when it last went on.
    ticked: u64,
    /// How many records of each device it has.
    pub has: Vec<usize>,
    /// Its records in the order in which they came.
    pub arrived: Vec<usize>,
    pub clock: Hlc,
    /// How wrong its clock is, in ms.
    pub skew: i64,
    /// What it has begun: outside the vault, and it lasts.
    pub ledger: Vec<Begun>,
    /// Up to where it looked at entities.
    pub looked: usize,
    /// What the operator consented to, as far as it knows.
    granted: BTreeSet<(EffectKey, ContentHash)>,
    /// What the operator refused, as far as it knows.
    denied: BTreeSet<EffectKey>,
    /// The records with rules that it has, in the total order.
    pub rules: BTreeMap<Stamp, usize>,
    /// The records that write files, in the total order.
    pub writes: BTreeMap<Stamp, usize>,
    /// What it remembered of work, and the records that this holds.
    pub image: Option<(Memory, Vec<usize>)>,
    /// The rules that its process was set up with, and what it was fit for.
    pub set_up_with: (BTreeMap<Stamp, usize>, Offer),
}

impl Device {
    pub fn new(devices: usize) -> Device {
        Device {
            kernel: None,
            round: Round::default(),
            working: Vec::new(),
            calls: Vec::new(),
            children: Vec::new(),
            offer: Offer::default(),
            asleep: false,
            ticked: 0,
            has: vec![0; devices],
            arrived: Vec::new(),
            clock: Hlc::default(),
            skew: 0,
            ledger: Vec::new(),
            looked: 0,
            granted: BTreeSet::new(),
            denied: BTreeSet::new(),
            rules: BTreeMap::new(),
            writes: BTreeMap::new(),
            image: None,
            set_up_with: (BTreeMap::new(), Offer::default()),
        }
    }

    fn arrive(&mut self, stamp: Stamp, record: usize, events: &[Event]) {
        self.arrived.push(record);
        for event in events {
            match event.name().as_str() {
                "sim.rule" => _ = self.rules.insert(stamp, record),
                "sim.file" | "sim.note" => _ = self.writes.insert(stamp, record),
                "approval.denied" => {
                    let Ok(WorkEvent::ApprovalDenied { key, .. }) = WorkEvent::try_from(event) else {
                        continue;
                    };
                    self.denied.insert(key);
                }
                "approval.granted" | "approval.edited" => {
                    let Ok(granted) = WorkEvent::try_from(event) else { continue };
                    if granted.signer(&VAULT) != Some(&company::operator().public()) {
                        continue;
                    }
                    match granted {
                        WorkEvent::ApprovalGranted { key, digest, .. } => {
                            self.granted.insert((key, digest));
                        }
                        WorkEvent::ApprovalEdited { key, content, .. } => {
                            self.granted.insert((key, content.digest(&key)));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

/// What a model answered.
fn answered(cost: Money) -> Turn {
    Turn::Answered {
        model: "sim/one".into(),
        asked: ContentHash([0; 32]),
        outside: false,
        answer: Answer { text: String::new(), calls: Vec::new(), usage: None, stop: Stop::End },
        counted: Usage::default(),
        cost: cost.into(),
        kept: false,
    }
}

/// What starts work by an invoice that somebody wrote.
fn saw_invoice(record: &Record, event: &Event) -> Option<Saw> {
    let Event::Other(map) = event else { return None };
    if event.name() != "sim.invoice" {
        return None;
    }
    Some(Saw {
        doc: map["client"].to_string(),
        record: format!("{:?}", record.stamp),
        at: record.stamp.clock().0,
        path: "invoices/x.md".into(),
        made: true,
        fields: json!({"type": "invoice", "client": map["client"]}),
        run: None,
    })
}

impl World {
    pub fn wall(&self, n: usize) -> u64 {
        self.now.saturating_add_signed(self.devices[n].skew)
    }

    /// Writes a record; from here on it lasts.
    pub fn author(&mut self, n: usize, events: Vec<Event>) -> Stamp {
        assert!(!self.devices[n].round.is_open(), "another record is begun");
        let clock = self.next_stamp(n).clock();
        self.author_at(n, clock, events)
    }

    /// The place in the total order that the next record of a device has.
    fn next_stamp(&self, n: usize) -> Stamp {
        let device = &self.devices[n];
        Stamp::new(device.clock.next(self.wall(n)), company::device(n), device.has[n] as u64 + 1)
    }

    fn author_at(&mut self, n: usize, clock: Hlc, events: Vec<Event>) -> Stamp {
        let device = &mut self.devices[n];
        device.clock = clock;
        device.has[n] += 1;
        let stamp = Stamp::new(device.clock, company::device(n), device.has[n] as u64);
        device.arrive(stamp, self.records.len(), &events);
        let names: Vec<String> = events.iter().map(Event::name).collect();
        self.tally.placed += names.iter().filter(|name| *name == "task.moved").count() as u64;
        self.tally.migrated += names.iter().filter(|name| *name == "run.migrated").count() as u64;
        self.tally.moved += names.iter().filter(|name| *name == "home.moved").count() as u64;
        self.say(n, format!("records {}", names.join(", ")));
        if std::env::var_os("AIOS_EVENTS").is_some() {
            self.say(n, format!("    {events:?}"));
        }
        self.records.push(Record { stamp, author: n, events });
        stamp
    }

    /// A command records something, and the process hears of it as of what another process wrote.
    pub fn command(&mut self, n: usize, event: &WorkEvent) {
        let events = vec![Event::try_from(event).expect("an event")];
        let stamp = self.author(n, events.clone());
        if let Some(kernel) = &mut self.devices[n].kernel {
            kernel.load(stamp, &events);
        }
    }

    /// Takes in a record of another device.
    pub fn take_in(&mut self, n: usize, record: usize) {
        let Record { stamp, author, events, .. } = self.records[record].clone();
        let device = &mut self.devices[n];
        device.has[author] += 1;
        device.arrive(stamp, record, &events);
        device.clock = device.clock.max(stamp.clock());
        if let Some(kernel) = &mut device.kernel {
            kernel.load(stamp, &events);
        }
    }

    /// Kills the process: what was not recorded is gone.
    pub fn crash(&mut self, n: usize, why: &str) {
        self.tally.crashes += 1;
        self.say(n, format!("is killed {why}"));
        let forgets = self.chance.one_in(4);
        let device = &mut self.devices[n];
        device.kernel = None;
        device.round = Round::default();
        device.working.clear();
        device.calls.clear();
        device.children.clear();
        // The database may be made anew.
        device.looked = if forgets { 0 } else { device.looked };
    }

    fn set_up(&mut self, n: usize) {
        let mut setting = self.company.setting(&self.rules(n));
        setting.offer = Some(self.devices[n].offer.clone());
        let chance = self.chance.next();
        let mut kernel = Kernel::new(VAULT, company::device(n), setting.clone(), chance);
        // What is over is small on some devices and whole on others, and that is all the same.
        kernel.keep_whole(n % 2 * 3);
        let mut order = self.devices[n].arrived.clone();
        if self.chance.one_in(2) {
            order.sort_by_key(|record| self.records[*record].stamp);
        }
        for record in &order {
            let record = &self.records[*record];
            kernel.load(record.stamp, &record.events);
        }
        if let Some((image, known)) = self.devices[n].image.clone().filter(|_| self.chance.one_in(2)) {
            let image = image.read();
            let mut again = Kernel::from_image(VAULT, company::device(n), setting, chance, image);
            again.keep_whole(n % 2 * 3);
            for record in order.iter().filter(|it| !known.contains(it)).map(|it| &self.records[*it]) {
                again.load(record.stamp, &record.events);
            }
            assert!(*again.tables() == *kernel.tables(), "{n} remembers otherwise");
            self.tally.remembered += 1;
            kernel = again;
        }
        let device = &mut self.devices[n];
        kernel.remember(device.ledger.iter().cloned());
        // Another one than before may have looked, and not been the one to start them.
        if device.rules != device.set_up_with.0 {
            device.looked = 0;
        }
        // Who is at work goes on.
        let working = device.working.iter().map(|(work, _)| work);
        working
            .chain(device.children.iter().map(|child| &child.work))
            .for_each(|it| kernel.goes_on(it.clone()));
        device.set_up_with = (device.rules.clone(), device.offer.clone());
        device.kernel = Some(kernel);
        device.round = Round::default();
        self.say(n, "sets up".into());
    }

    /// The process carries on, as a desk does when something happened.
    pub fn carry_on(&mut self, n: usize) {
        if !self.devices[n].round.is_over() {
            return;
        }
        if self.chance.one_in(12) && self.devices[n].kernel.is_some() {
            let kept = self.devices[n].image.as_ref().map(|(kept, _)| kept.clone());
            let mut kept = kept.unwrap_or_default();
            let device = &mut self.devices[n];
            let records = device.arrived.len();
            let (whole, goes_by_it) = (records.is_multiple_of(4), records.is_multiple_of(2));
            if let Some(kernel) = &device.kernel {
                kept.write(kernel, whole);
            }
            if let Some(kernel) = device.kernel.as_mut().filter(|_| goes_by_it) {
                kernel.go_by(kept.read());
            }
            device.image = Some((kept, device.arrived.clone()));
        }
        let Device { kernel, rules, offer, set_up_with, .. } = &self.devices[n];
        if kernel.is_none() || (rules, offer) != (&set_up_with.0, &set_up_with.1) {
            self.set_up(n);
        }
        self.look_at_entities(n);
        let now = self.wall(n);
        self.devices[n].ticked = now;
        self.give(n, Input::Tick { now });
    }

    fn look_at_entities(&mut self, n: usize) {
        while let Some(&record) = self.devices[n].arrived.get(self.devices[n].looked) {
            let record = self.records[record].clone();
            for event in &record.events {
                let invoice = saw_invoice(&record, event);
                let Some(saw) = invoice.or_else(|| self.saw_file(n, &record, event)) else { continue };
                let kernel = self.devices[n].kernel.as_ref().expect("a process");
                for created in kernel.saw(&saw) {
                    self.command(n, &created);
                    self.tally.entities += 1;
                }
            }
            if self.chance.one_in(60) && !self.calm {
                return;
            }
            self.devices[n].looked += 1;
        }
    }

    pub fn give(&mut self, n: usize, input: Input) {
        let Some(kernel) = &mut self.devices[n].kernel else { return };
        let actions = kernel.handle(input);
        self.devices[n].round.add(actions);
    }

    /// Whether the process is killed here.
    pub fn dies(&mut self, n: usize, odds: usize, why: &str) -> bool {
        let dies = !self.calm && self.chance.one_in(odds);
        if dies {
            self.crash(n, why);
        }
        dies
    }

    /// Does what comes next.
    pub fn act(&mut self, n: usize) {
        if self.devices[n].round.is_over() || self.dies(n, 150, "between two actions") {
            return;
        }
        let Device { kernel: Some(kernel), round, .. } = &mut self.devices[n] else { return };
        match round.next(kernel).expect("events") {
            Some(Next::Reserve) => {
                let stamp = self.next_stamp(n);
                self.devices[n].round.begin(stamp);
            }
            Some(Next::Write(entry)) => {
                self.is_delegated_still(n, &entry.work);
                self.is_not_denied(n, &entry.work);
                if !self.dies(n, 40, "before a record") {
                    // A record stands where the kernel was told that it would.
                    let stamp = self.author_at(n, entry.stamp.clock(), entry.events);
                    assert_eq!(stamp, entry.stamp);
                    self.dies(n, 40, "after a record");
                }
            }
            Some(Next::Do(action)) => self.take_on(n, action),
            None => {}
        }
    }

    fn take_on(&mut self, n: usize, action: Action) {
        match action {
            Action::Start { work, agent, .. } if agent == CRUNCHER => self.begin(n, work),
            Action::Start { work, agent, input, turns, .. } => {
                if agent == WRITER && turns.is_empty() && self.company.calls_models {
                    self.call(n, &work);
                }
                self.devices[n].working.push((work, input));
            }
            Action::Find { work, query } => self.look(n, work, &query),
            Action::Stop(work) => {
                self.devices[n].working.retain(|(other, _)| *other != work);
                self.devices[n].children.retain(|child| child.work != work);
            }
            Action::Perform { key, attempt, content } => {
                self.has_consent(n, &key, &content);
                let what = format!("{} to {}", content.capability, content.target);
                let at = self.wall(n);
                let device = &mut self.devices[n];
                let before = device.ledger.iter().any(|it| it.key == key);
                if !device.ledger.iter().any(|it| it.key == key && it.attempt == attempt) {
                    device.ledger.push(Begun { key, attempt, at, what: what.clone() });
                }
                if self.dies(n, 25, "before the act") {
                    return;
                }
                let chance = self.chance.next();
                let came = match is_of_files(&content.capability) {
                    true => self.write(n, key, &content, before),
                    false => Some(self.far.perform(n, key, &content, chance)),
                };
                let Some(came) = came else { return };
                self.tally.acts += 1;
                self.say(n, format!("does {what}, attempt {attempt}: {came:?}"));
                if !self.dies(n, 25, "after the act") {
                    self.give(n, Input::Performed { key, attempt, came });
                }
            }
            Action::Append(_) | Action::Wake(_) | Action::Show(_) | Action::Withdraw(_) => {}
        }
    }

    /// A model is called, for money that was set aside before (I11): it is spent, whoever hears of it.
    fn call(&mut self, n: usize, work: &Work) {
        let cost = Money(1 + self.chance.next() % COSTS);
        let Work { task, run, step, attempt } = work;
        let id = format!("{task}\n{run}\n{step}\n{attempt}");
        let tables = self.devices[n].kernel.as_ref().expect("a process").tables();
        let (budget, _, put) = tables.reserved(&id).next().unwrap_or_else(|| panic!("no money for {work:?}"));
        assert!(put.device == company::device(n) && put.amount >= cost, "{put:?} of {n} for {cost}");
        let spent = self.models.entry(budget.to_owned()).or_default();
        *spent = spent.plus(cost);
        assert!(*spent <= Money(MODEL_CAP), "models cost {spent} of {budget}");
        self.tally.calls += 1;
        self.devices[n].calls.push((work.clone(), cost));
    }

    /// An agent comes to its end.
    pub fn work(&mut self, n: usize) {
        let Some((work, input)) = self.devices[n].working.pop() else { return self.program_ends(n) };
        let calls = &mut self.devices[n].calls;
        if let Some(place) = calls.iter().position(|(other, _)| *other == work) {
            let (_, cost) = calls.remove(place);
            return self.give(n, Input::Took { work, turns: vec![answered(cost)] });
        }
        let came = match self.chance.one_in(6) && !self.calm {
            true => Err(Failure::new(Class::Transient, "the agent stumbled")),
            false => Ok(json!({"text": input.to_string()})),
        };
        self.give(n, Input::Worked { work, came });
    }

    /// What is asked about is never done without the operator's word for exactly that, nor what is denied (I11).
    fn has_consent(&mut self, n: usize, key: &EffectKey, content: &aios_agents::event::Content) {
        match company::verdict(content) {
            Verdict::Deny => panic!("device {n} does what is denied: {content:?}"),
            Verdict::Allow => {
                self.tally.allowed += 1;
                if !content.tags.iter().any(|tag| tag == "news" || tag == "wage") {
                    return;
                }
            }
            Verdict::Ask => {}
        }
        let decided = self.devices[n]
            .kernel
            .as_ref()
            .and_then(|kernel| kernel.tables().effect(key)?.decided().cloned())
            .unwrap_or_else(|| panic!("device {n} does what nobody decided: {content:?}"));
        if decided.verdict == Verdict::Allow && company::verdict(content) == Verdict::Allow {
            return;
        }
        let by = decided.rule.as_deref().and_then(|rule| rule.strip_prefix("delegation "));
        if let Some(id) = by.filter(|_| decided.verdict == Verdict::Allow) {
            let tables = self.devices[n].kernel.as_ref().expect("a process").tables();
            let grant =
                tables.delegation(id).and_then(|it| it.grant.clone()).expect("what the operator signed");
            assert_eq!(
                content.agent.as_ref(),
                Some(&grant.agent),
                "device {n} does {content:?} by {grant:?}"
            );
            self.tally.delegated += 1;
            return;
        }
        self.tally.approved += 1;
        let granted = self.devices[n].granted.contains(&(*key, content.digest(key)));
        assert!(granted, "device {n} does {content:?} without consent");
    }

    /// No attempt is begun at what this device knows to be denied (I11).
    fn is_not_denied(&self, n: usize, work: &[WorkEvent]) {
        for event in work {
            let WorkEvent::EffectIntended { key, .. } = event else { continue };
            assert!(!self.devices[n].denied.contains(key), "device {n} begins what was denied: {event:?}");
        }
    }

    /// What a delegation allowed is begun only while that holds (I11).
    fn is_delegated_still(&self, n: usize, work: &[WorkEvent]) {
        let Some(kernel) = &self.devices[n].kernel else { return };
        for event in work {
            let WorkEvent::EffectIntended { key, .. } = event else { continue };
            let decided = kernel.tables().effect(key).and_then(|effect| effect.decided());
            let rule = decided.filter(|it| it.verdict == Verdict::Allow).and_then(|it| it.rule.as_deref());
            let Some(id) = rule.and_then(|rule| rule.strip_prefix("delegation ")) else { continue };
            let delegation = kernel.tables().delegation(id).expect("what the operator signed");
            let ticked = self.devices[n].ticked;
            assert!(
                delegation.valid(ticked).is_some(),
                "at {ticked} device {n} begins {event:?} by {delegation:?}"
            );
        }
    }

    /// What rules a device knows of.
    fn rules(&self, n: usize) -> company::Rules {
        let mut rules = company::Rules::default();
        for record in self.devices[n].rules.values() {
            for event in &self.records[*record].events {
                let Event::Other(map) = event else { continue };
                if let Some(next) = map.get("next_offer").and_then(Value::as_bool) {
                    rules.next_offer = next;
                    continue;
                }
                let device = map.get("device").and_then(Value::as_u64).map(|it| it as usize);
                match map.get("home").and_then(Value::as_str) {
                    Some(name) => _ = rules.homes.insert(name.to_owned(), device),
                    None => rules.coordinator = device.unwrap_or(0),
                }
            }
        }
        rules
    }
}
