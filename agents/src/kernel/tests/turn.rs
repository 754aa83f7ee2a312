//! An agent's work with a model in the kernel: each thing that happens is recorded before the next, and wants consent where it changes the world.

use super::*;
use crate::agent::Turn;
use crate::model::price::Fine;
use crate::model::{Answer, Call, Stop, Usage};

const FLOW: &str = "---
type: workflow
steps:
  draft: {agent: writer, retry: {attempts: 90, first: 1ms}}
  send: {effect: file.write, target: out, args: {text: '{{ steps.draft.text }}'}}
---
";

/// A model that proposes a mail and is done once it knows what came of that.
fn answer(turns: &[Turn], asked: &mut usize) -> Result<Turn, Value> {
    let call = |n: usize| Turn::Answered {
        model: "test/one".into(),
        asked: ContentHash([0; 32]),
        outside: false,
        answer: Answer {
            text: String::new(),
            calls: vec![Call { id: format!("c{n}"), name: "propose".into(), arguments: String::new() }],
            usage: None,
            stop: Stop::Tools,
        },
        counted: Usage { input: 3, output: 2, cached: 0 },
        cost: Fine(5),
        kept: false,
    };
    match turns.last() {
        None => {
            *asked += 1;
            Ok(call(0))
        }
        Some(Turn::Answered { answer, .. }) => {
            let content = Content {
                capability: "mail.send".into(),
                target: "ann".into(),
                args: json!({"n": 1}),
                amount: None,
                agent: Some("writer".into()),
                tags: vec![],
            };
            Ok(Turn::Wants { call: answer.calls[0].id.clone(), content: Box::new(content) })
        }
        Some(Turn::Came { text, .. }) if turns.len() < 6 => {
            assert!(text.starts_with("done") || text.starts_with("not done"), "{text}");
            *asked += 1;
            Ok(call(turns.len()))
        }
        Some(Turn::Came { text, .. }) => Err(json!({"text": text})),
        Some(
            Turn::Wants { .. }
            | Turn::Asks { .. }
            | Turn::Within { .. }
            | Turn::Summarised { .. }
            | Turn::Batched(_),
        ) => {
            panic!("it waits for what comes of it")
        }
    }
}

/// Runs it; how often the model was asked.
fn run(sim: &mut Sim) -> usize {
    let mut asked = 0;
    for _ in 0..20_000 {
        match sim.queue.pop_front() {
            Some(Action::Start { work, turns, .. }) => {
                if sim.crashes() {
                    continue;
                }
                let input = match answer(&turns, &mut asked) {
                    Ok(turn) => Input::Took { work, turns: vec![turn] },
                    Err(result) => Input::Worked { work, came: Ok(result) },
                };
                if !sim.crashes() {
                    sim.give(input);
                }
            }
            Some(action) => sim.act(action),
            None if sim.kernel.tables().task("t").is_some_and(|task| task.ended.is_some()) => return asked,
            None if sim.operator() => {}
            None => match sim.wake.take() {
                Some(at) => {
                    sim.now = sim.now.max(at) + 1;
                    sim.give(Input::Tick { now: sim.now });
                }
                None => return asked,
            },
        }
    }
    panic!("it does not end: {:#?}", sim.kernel.inbox());
}

fn sim(policies: &[&str]) -> Sim {
    let mut sim = Sim::new(World::default(), &[("flow", FLOW)], policies);
    sim.create("flow", json!({}));
    sim
}

#[test]
fn the_same_wanted_twice_happens_once() {
    let mut sim = sim(&[]);
    assert_eq!(run(&mut sim), 2);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done), "{:#?}", sim.kernel.inbox());
    assert_eq!(sim.done().iter().filter(|act| act.starts_with("ann")).count(), 1);
    let asked = sim.shown.iter().filter(|need| matches!(need, Need::Approval { .. })).count();
    assert_eq!(asked, 2, "the mail and the file");
    let spent = sim.kernel.spent_on_models(0);
    assert_eq!((spent["test/one"].answers, spent["test/one"].cost), (2, Fine(10)));
}

/// Killed after every act: no answer that was recorded is asked for again, and nothing happens twice (I9, I10).
#[test]
fn a_crash_at_any_point_asks_for_no_answer_again() {
    let mut crashes = 0;
    for crash in 0.. {
        let mut sim = sim(&[]);
        sim.crash_in = Some(crash);
        let mut asked = run(&mut sim);
        if sim.log.is_empty() {
            sim.create("flow", json!({}));
            asked += run(&mut sim);
        }
        let crashed = sim.crash_in.is_none();
        assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done), "crash {crash}");
        let mails = sim.done().iter().filter(|act| act.starts_with("ann")).count();
        assert!(mails == 1, "crash {crash}: {mails} mails");
        let recorded = sim.names().iter().filter(|name| *name == "turn.taken").count();
        assert_eq!(recorded, 6, "crash {crash}");
        // Only an answer that was on its way when it was killed is lost.
        assert!(asked <= 3, "crash {crash}: asked {asked} times");
        crashes += usize::from(crashed);
        if !crashed {
            break;
        }
    }
    assert!(crashes > 20, "only {crashes} crashes");
}

#[test]
fn what_is_denied_is_told_to_the_model_and_what_it_may_not_propose_is_not_asked() {
    let mut sim = sim(&[]);
    sim.consent = false;
    run(&mut sim);
    assert_eq!(sim.done(), Vec::<String>::new());
    let mut sim = self::sim(&[]);
    let terms = Terms {
        version: ContentHash([3; 32]),
        effects: Some(vec![]),
        always_asks: false,
        retry: None,
        calls_models: false,
        money: None,
    };
    sim.setting.agents = [("writer".to_owned(), terms)].into();
    sim.restart();
    sim.create("flow", json!({}));
    run(&mut sim);
    assert!(!sim.done().iter().any(|act| act.starts_with("ann")));
    let version = sim.kernel.service("writer").into_keys().next().flatten();
    assert_eq!(version, Some(ContentHash([3; 32])), "a run names the version of its agent");
}

#[test]
fn what_always_asks_asks_whatever_is_allowed() {
    const ALLOW: &str = "---\ntype: policy\nrules:\n  - {name: all, verdict: allow, capability: '*'}\n---\n";
    for always_asks in [false, true] {
        let mut sim = sim(&[ALLOW]);
        let terms = Terms {
            version: ContentHash([3; 32]),
            effects: None,
            always_asks,
            retry: None,
            calls_models: false,
            money: None,
        };
        sim.setting.agents = [("writer".to_owned(), terms)].into();
        sim.restart();
        sim.create("flow", json!({}));
        run(&mut sim);
        let asked = sim.shown.iter().filter(|need| matches!(need, Need::Approval { .. })).count();
        assert_eq!(asked, usize::from(always_asks));
    }
}

/// A model that asks the operator, once before it is asked itself and once in another's work, is told what he answers.
#[test]
fn a_question_waits_for_its_answer() {
    let asks = |call: &str, choices: &[&str]| Turn::Asks {
        call: call.into(),
        question: "Which rate?".into(),
        choices: choices.iter().map(|it| (*it).to_owned()).collect(),
    };
    let within = |took: Turn| Turn::Within { call: "c0".into(), took: Box::new(took) };
    for (took, answers, came) in [
        (asks("c1", &[]), vec!["90"], "90"),
        (asks("", &["yes", "no"]), vec!["maybe", "no"], "no"),
        (within(asks("c1", &["a", "b"])), vec!["b"], "b"),
    ] {
        let mut sim = sim(&[]);
        let mut ended = None;
        for _ in 0..200 {
            match sim.queue.pop_front() {
                Some(Action::Start { work, turns, .. }) => match turns.as_slice() {
                    [] => sim.give(Input::Took { work, turns: vec![took.clone()] }),
                    [asked, answered] => {
                        assert_eq!(*asked, took);
                        let Turn::Came { call, text, untrusted: false } = answered.innermost() else {
                            panic!("{answered:?}")
                        };
                        assert!(
                            text.contains(came) && took.around(answered.innermost().clone()) == *answered
                        );
                        assert_eq!(text == came, call.is_empty(), "what a model is told is quoted");
                        ended = Some(text.clone());
                        break;
                    }
                    more => panic!("{more:?}"),
                },
                Some(action) => sim.act(action),
                None => {
                    let inbox = sim.kernel.inbox();
                    let Some(Need::Question { step, attempt, question, .. }) = inbox.first() else { break };
                    assert_eq!(question, "writer asks: Which rate?");
                    let (step, attempt) = (step.clone(), *attempt);
                    for answer in &answers {
                        let (task, step, answer) = ("t".to_owned(), step.clone(), (*answer).to_owned());
                        sim.says(&WorkEvent::QuestionAnswered { task, step, answer, attempt });
                    }
                }
            }
        }
        assert!(ended.is_some(), "{took:?}: {:?}", sim.kernel.inbox());
    }
}

/// Who answers after two days has the work go on as if he had answered at once: neither the step's time nor the agent's is over.
#[test]
fn waiting_for_a_person_takes_none_of_its_time() {
    const DAYS: u64 = 2 * 24 * 3_600_000;
    let flow = FLOW.replace("agent: writer,", "agent: writer, timeout: 1h,");
    let mut sim = Sim::new(World::default(), &[("flow", &flow)], &[]);
    sim.create("flow", json!({}));
    let asks = Turn::Asks { call: "c1".into(), question: "Which rate?".into(), choices: vec![] };
    let mut begun = None;
    for _ in 0..200 {
        match (sim.queue.pop_front(), sim.kernel.inbox().first()) {
            (Some(Action::Start { work, turns, .. }), _) if turns.is_empty() => {
                sim.give(Input::Took { work, turns: vec![asks.clone()] });
            }
            (Some(Action::Start { work, since, .. }), _) => begun = Some((work, since)),
            (Some(action), _) => sim.act(action),
            (None, Some(Need::Question { step, attempt, .. })) => {
                let (step, attempt) = (step.clone(), *attempt);
                sim.now += DAYS;
                sim.give(Input::Tick { now: sim.now });
                let (task, answer) = ("t".to_owned(), "90".to_owned());
                sim.says(&WorkEvent::QuestionAnswered { task, step, answer, attempt });
            }
            (None, _) => break,
        }
    }
    let (work, since) = begun.expect("it goes on");
    assert!(since + 60_000 > sim.now, "of its time {} ms are over", sim.now - since);
    // It works for a while, and that counts.
    sim.now += 1_800_000;
    sim.give(Input::Tick { now: sim.now });
    assert!(!sim.queue.contains(&Action::Stop(work.clone())), "{:?}", sim.queue);
    sim.now += 1_800_001;
    sim.give(Input::Tick { now: sim.now });
    assert!(sim.queue.contains(&Action::Stop(work)), "{:?}", sim.queue);
}
