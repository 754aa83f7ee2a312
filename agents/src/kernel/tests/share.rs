//! What models may cost: nothing begins without a share of it, and nothing is lost of what was set aside.

use super::*;
use crate::agent::Turn;
use crate::kernel::Terms;
use crate::model::{Answer, Stop, Usage};
use crate::money::Money;
use crate::table::{Budget, MODELS};

const FLOW: &str = "---
type: workflow
steps:
  draft: {agent: writer, retry: {attempts: 1}}
---
";
const CAP: &str = "---
type: policy
rules:
  - {name: models, verdict: allow, capability: model.call, zone: UTC, caps: [{money: 1.00, per: day}]}
---
";

fn terms(money: Option<Money>) -> Terms {
    Terms {
        version: ContentHash([3; 32]),
        effects: None,
        always_asks: false,
        retry: None,
        calls_models: true,
        money,
    }
}

/// A task that calls models, in a vault that `maker` made.
fn sim(maker: DeviceId, money: Option<Money>) -> Sim {
    let mut sim = Sim::new(World::default(), &[("flow", FLOW)], &[CAP]);
    sim.setting.maker = Some(maker);
    sim.setting.coordinator = Some(maker);
    sim.setting.agents.insert("writer".into(), terms(money));
    sim.restart();
    sim.create("flow", json!({}));
    sim
}

/// Goes on until something is to be done that is no record.
fn until_work(sim: &mut Sim) -> Option<Work> {
    for _ in 0..200 {
        match sim.queue.pop_front()? {
            Action::Start { work, turns, .. } if turns.is_empty() => return Some(work),
            Action::Start { work, .. } => sim.give(Input::Worked { work, came: Ok(json!({"text": "x"})) }),
            action => sim.act(action),
        }
    }
    panic!("it does not rest")
}

fn answered(cents: u64) -> Turn {
    Turn::Answered {
        model: "test/one".into(),
        asked: ContentHash([0; 32]),
        outside: false,
        answer: Answer { text: "x".into(), calls: Vec::new(), usage: None, stop: Stop::End },
        counted: Usage::default(),
        cost: Money(cents).into(),
        kept: false,
    }
}

fn budget(sim: &Sim) -> &Budget {
    sim.kernel.tables().budgets().next().expect("a budget").1
}

#[test]
fn money_is_set_aside_with_the_step_and_settled_by_what_it_cost() {
    let mut sim = sim(LAPTOP, Some(Money(40)));
    let work = until_work(&mut sim).expect("it begins");
    let with_step = sim.log.iter().find(|(_, events)| events.iter().any(|it| it.name() == "step.started"));
    let names: Vec<String> = with_step.expect("a step").1.iter().map(Event::name).collect();
    assert_eq!(names, ["budget.reserved", "step.started"], "in one record");
    assert_eq!((budget(&sim).free(&LAPTOP), budget(&sim).reserved.len()), (Money(60), 1));
    sim.give(Input::Took { work, turns: vec![answered(7)] });
    assert_eq!(until_work(&mut sim), None);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done));
    assert_eq!((budget(&sim).free(&LAPTOP), budget(&sim).reserved.len()), (Money(93), 0));
    let caps = sim.kernel.caps(sim.now);
    assert_eq!((caps[0].used.count, caps[0].used.money, caps[0].money), (1, Money(7), Some(Money(100))));
}

/// The laptop cannot reach the phone, which has all: it asks, and does nothing until it is given something.
#[test]
fn no_share_means_ask() {
    let mut sim = sim(PHONE, Some(Money(40)));
    assert_eq!(until_work(&mut sim), None);
    let asks: Vec<&Need> = sim.kernel.inbox();
    assert!(
        matches!(&asks[..], [Need::Missing { what, .. }] if what.contains("no share is left")),
        "{asks:?}"
    );
    let name = sim.kernel.tables().budgets().next().expect("it asked").0.to_owned();
    assert_eq!(budget(&sim).asks(&LAPTOP).map(|(_, amount)| amount), Some(Money(40)));
    sim.says(&WorkEvent::BudgetSet { budget: name.clone(), limit: Money(100) });
    assert_eq!(until_work(&mut sim), None);
    // Less than it takes is nothing yet: it asks for the rest.
    sim.says(&WorkEvent::BudgetGranted { budget: name.clone(), to: LAPTOP, amount: Money(30) });
    assert_eq!(until_work(&mut sim), None);
    assert_eq!(budget(&sim).asks(&LAPTOP).map(|(_, amount)| amount), Some(Money(10)));
    sim.says(&WorkEvent::BudgetGranted { budget: name, to: LAPTOP, amount: Money(15) });
    assert!(until_work(&mut sim).is_some());
    assert_eq!(budget(&sim).free(&LAPTOP), Money(5));
    assert!(sim.kernel.inbox().is_empty());
}

/// What the phone asks for the laptop gives, as the home of what is not shared out; a part at least, and never what it set aside itself.
#[test]
fn the_home_gives_to_those_who_ask() {
    let mut sim = sim(LAPTOP, Some(Money(40)));
    until_work(&mut sim).expect("it begins");
    let name = sim.kernel.tables().budgets().next().expect("a budget").0.to_owned();
    let ask = |amount| WorkEvent::BudgetAsked { budget: name.clone(), amount: Money(amount) };
    sim.says(&ask(5));
    until_work(&mut sim);
    assert_eq!((budget(&sim).free(&PHONE), budget(&sim).free(&LAPTOP)), (Money(12), Money(48)));
    sim.says(&ask(60));
    until_work(&mut sim);
    assert_eq!((budget(&sim).free(&PHONE), budget(&sim).free(&LAPTOP)), (Money(12), Money(48)));
}

/// What the laptop does not need it gives back to the home when somebody asks there.
#[test]
fn what_is_not_needed_is_given_back_when_others_ask() {
    let mut sim = sim(PHONE, Some(Money(10)));
    assert_eq!(until_work(&mut sim), None);
    let name = sim.kernel.tables().budgets().next().expect("it asked").0.to_owned();
    sim.says(&WorkEvent::BudgetSet { budget: name.clone(), limit: Money(100) });
    sim.says(&WorkEvent::BudgetGranted { budget: name.clone(), to: LAPTOP, amount: Money(50) });
    until_work(&mut sim).expect("it begins");
    assert_eq!((budget(&sim).free(&PHONE), budget(&sim).free(&LAPTOP)), (Money(50), Money(40)));
    sim.says(&WorkEvent::BudgetAsked { budget: name, amount: Money(70) });
    until_work(&mut sim);
    assert_eq!((budget(&sim).free(&PHONE), budget(&sim).free(&LAPTOP)), (Money(90), Money(0)));
}

/// Whoever coordinates has what is not shared out: the maker hands it over.
#[test]
fn the_device_that_coordinates_shares_out() {
    let mut sim = sim(LAPTOP, Some(Money(40)));
    sim.setting.coordinator = Some(PHONE);
    sim.restart();
    sim.create("flow", json!({}));
    until_work(&mut sim);
    assert_eq!(sim.kernel.tables().homes().now(MODELS), Some(PHONE));
    assert!(sim.log.iter().all(|(_, events)| events.iter().all(|it| it.name() != "step.started")));
}

/// Killed while a model is called: what that cost nobody knows, so the most counts.
#[test]
fn of_a_call_that_nobody_heard_the_end_of_the_most_counts() {
    let mut sim = sim(LAPTOP, Some(Money(40)));
    until_work(&mut sim).expect("it begins");
    sim.restart();
    assert_eq!(until_work(&mut sim), None);
    assert_eq!((budget(&sim).used(), budget(&sim).reserved.len()), (Money(40), 0));
    assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { .. }]));
    // What the next attempt costs comes on top.
    let run = sim.kernel.tables().task("t").unwrap().runs.keys().next().unwrap().clone();
    sim.says(&WorkEvent::TaskRetried { task: "t".into(), run, step: "draft".into() });
    let work = until_work(&mut sim).expect("it begins again");
    sim.give(Input::Took { work, turns: vec![answered(7)] });
    assert_eq!(until_work(&mut sim), None);
    assert_eq!((budget(&sim).used(), budget(&sim).reserved.len()), (Money(47), 0));
}

/// Another device has the task before the next call of a model begins here: what was set aside is free again.
#[test]
fn what_does_not_go_on_here_is_settled() {
    let mut sim = sim(LAPTOP, Some(Money(40)));
    let work = until_work(&mut sim).expect("it begins");
    sim.give(Input::Took { work, turns: vec![answered(7)] });
    let why = "it was made there before".to_owned();
    sim.says(&WorkEvent::TaskMoved { task: "t".into(), to: PHONE, turn: 0, why, pinned: true });
    assert_eq!(until_work(&mut sim), None);
    assert_eq!((budget(&sim).used(), budget(&sim).reserved.len()), (Money(40), 0));
}

#[test]
fn an_agent_that_says_no_most_is_a_dead_letter_where_there_is_a_cap() {
    let mut sim = sim(LAPTOP, None);
    assert_eq!(until_work(&mut sim), None);
    let inbox = sim.kernel.inbox();
    let [Need::Dead { failure, .. }] = &inbox[..] else { panic!("{inbox:?}") };
    assert!(failure.to_string().contains("budget: {money"), "{failure}");
    // Without a cap nothing is set aside.
    let mut free = Sim::new(World::default(), &[("flow", FLOW)], &[]);
    free.setting.agents.insert("writer".into(), terms(None));
    free.restart();
    free.create("flow", json!({}));
    assert!(until_work(&mut free).is_some());
    assert_eq!(free.kernel.tables().budgets().count(), 0);
}

const EACH: &str = "---
type: workflow
steps:
  all:
    each: 'range(1, 5) | list'
    as: n
    at_once: AT_ONCE
    steps:
      draft: {agent: writer, retry: {attempts: 1}}
---
";
const PER_RUN: &str = "---
type: policy
rules:
  - {name: models, verdict: allow, capability: model.call, caps: [{money: 1.00, per: run}]}
---
";

/// Four pieces of work in a run that may cost 1.00, each at most 0.40.
fn in_a_run(at_once: &str, money: Option<Money>) -> Sim {
    let text = EACH.replace("AT_ONCE", at_once);
    let mut sim = Sim::new(World::default(), &[("each", &text)], &[PER_RUN]);
    sim.setting.agents.insert("writer".into(), terms(money));
    sim.restart();
    sim.create("each", json!({}));
    sim
}

fn refused(sim: &Sim) -> Option<String> {
    sim.kernel.inbox().into_iter().find_map(|need| match need {
        Need::Dead { failure, .. } if failure.class == Class::Budget => Some(failure.what.clone()),
        _ => None,
    })
}

#[test]
fn what_models_cost_in_a_run_stays_below_its_cap() {
    // One after the other: what each truly cost counts, and the next has what is left.
    let mut sim = in_a_run("1", Some(Money(40)));
    for cents in [40, 15, 5] {
        let work = until_work(&mut sim).expect("it begins");
        sim.give(Input::Took { work, turns: vec![answered(cents)] });
    }
    assert!(until_work(&mut sim).is_some(), "60 are spent and 40 are left");
    // Another that may cost a cent more would not begin.
    let mut sim = in_a_run("1", Some(Money(40)));
    let work = until_work(&mut sim).expect("it begins");
    sim.give(Input::Took { work, turns: vec![answered(61)] });
    assert_eq!(until_work(&mut sim), None);
    assert!(refused(&sim).is_some_and(|what| what.contains("0.61 are spent")), "{:?}", sim.kernel.inbox());
}

#[test]
fn what_begins_at_once_in_a_run_is_within_its_cap_together() {
    let mut sim = in_a_run("4", Some(Money(40)));
    let mut begun = 0;
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Start { .. } => begun += 1,
            action => sim.act(action),
        }
    }
    assert_eq!(begun, 2, "two times 0.40");
    // Who is killed knows no less: what nobody heard the end of counts as the most.
    sim.restart();
    let mut again = 0;
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Start { .. } => again += 1,
            action => sim.act(action),
        }
    }
    assert_eq!(again, 0);
    // An agent's file that does not say what its work may cost begins nothing.
    let mut sim = in_a_run("1", None);
    assert_eq!(until_work(&mut sim), None);
    assert!(refused(&sim).is_some_and(|what| what.contains("budget: {money")), "{:?}", sim.kernel.inbox());
}
