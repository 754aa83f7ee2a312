//! A rehearsal: what a model is told there, and that nothing is proposed.

use super::*;
use crate::agent::{Edition, Turn};
use crate::model::price::Fine;
use crate::model::{Answer, Call, Stop, Usage};

const FLOW: &str = "---
type: workflow
steps:
  draft: {agent: writer}
---
";
const NEW: ContentHash = ContentHash([2; 32]);

fn call(id: &str, name: &str, arguments: &str) -> Call {
    Call { id: id.into(), name: name.into(), arguments: arguments.into() }
}

fn answered(calls: Vec<Call>) -> Turn {
    let answer = Answer { text: String::new(), calls, usage: None, stop: Stop::Tools };
    let counted = Usage { input: 1, output: 1, cached: 0 };
    let (model, asked) = ("test/one".to_owned(), ContentHash([0; 32]));
    Turn::Answered { model, asked, outside: false, answer, counted, cost: Fine(1), kept: false }
}

fn came(id: &str, text: &str) -> Turn {
    Turn::Came { call: id.into(), text: text.into(), untrusted: text == "from outside" }
}

/// A kernel with one task that was done, by a provider that numbers the calls of each answer anew.
fn sim() -> Sim {
    let mut sim = Sim::new(World::default(), &[("flow", FLOW)], &[]);
    let terms = Terms {
        version: NEW,
        effects: None,
        always_asks: false,
        retry: None,
        calls_models: false,
        money: None,
    };
    sim.setting.rehearsed = [(("writer".to_owned(), NEW), terms)].into();
    sim.restart();
    sim.create("flow", json!({}));
    let mut turns = vec![
        answered(vec![
            call("call-0", "read", "{\"path\": \"a\"}"),
            call("call-1", "read", "{\"path\":\"b\"}"),
        ]),
        came("call-0", "this is a"),
        came("call-1", "from outside"),
        answered(vec![call("call-0", "read", "{\"path\":\"c\"}")]),
        came("call-0", "this is c"),
    ];
    turns.reverse();
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Start { work, .. } => match turns.pop() {
                Some(turn) => sim.give(Input::Took { work, turns: vec![turn] }),
                None => sim.give(Input::Worked { work, came: Ok(json!({"text": "dear"})) }),
            },
            action => sim.act(action),
        }
    }
    sim
}

fn rehearse(sim: &mut Sim, by: &SecretKey, past: Option<(String, String)>) {
    let edition = Edition { version: NEW, files: [("agents/writer.md".to_owned(), NEW)].into() };
    let event = WorkEvent::rehearse("r", "writer", edition, json!({"n": 1}), past, &VAULT, by);
    let input = sim.record(LAPTOP, vec![Event::try_from(&event).unwrap()]);
    sim.give(input);
}

#[test]
fn what_is_asked_for_again_is_answered_as_it_was() {
    let mut sim = sim();
    let episode = sim.kernel.episodes("writer", None, 9);
    assert_eq!((episode.len(), &episode[0].result), (1, &json!({"text": "dear"})));
    rehearse(&mut sim, &operator(), Some(("t".into(), "draft".into())));
    let told = |id: &str, name: &str, arguments: &str| sim.kernel.recalled("r", &call(id, name, arguments));
    assert_eq!(told("x", "read", "{\"path\":\"a\"}"), Some(came("x", "this is a")));
    assert_eq!(told("x", "read", "{ \"path\": \"b\" }"), Some(came("x", "from outside")));
    assert_eq!(told("call-0", "read", "{\"path\":\"c\"}"), Some(came("call-0", "this is c")));
    for (name, arguments) in
        [("search", "{\"path\":\"a\"}"), ("read", "{\"path\":\"d\"}"), ("read", "no JSON")]
    {
        assert_eq!(told("x", name, arguments), None);
    }
}

#[test]
fn a_rehearsal_is_the_operators_word_and_nothing_comes_of_it() {
    let mut sim = sim();
    rehearse(&mut sim, &SecretKey::from_bytes(&[6; 32]), None);
    assert!(sim.kernel.tables().task("r").is_none());
    rehearse(&mut sim, &operator(), None);
    let content = Content {
        capability: "mail.send".into(),
        target: "ann".into(),
        args: json!({}),
        amount: None,
        agent: Some("writer".into()),
        tags: vec![],
    };
    let mut wants = vec![
        Turn::Wants { call: "c".into(), content: Box::new(content) },
        answered(vec![call("c", "propose", "{}")]),
    ];
    let mut told = None;
    while let Some(action) = sim.queue.pop_front() {
        match action {
            Action::Start { work, version, input, turns, .. } => {
                assert_eq!((version, input), (Some(NEW), json!({"n": 1})));
                match wants.pop() {
                    Some(turn) => sim.give(Input::Took { work, turns: vec![turn] }),
                    None => {
                        told = turns.last().cloned();
                        // It gives what does not fit, and is not asked again.
                        let failure = Failure::new(Class::InvalidOutput, "no words");
                        sim.give(Input::Worked { work, came: Err(failure) });
                    }
                }
            }
            action => sim.act(action),
        }
    }
    let Some(Turn::Came { text, .. }) = told else { panic!("{told:?}") };
    assert!(text.contains("this is a rehearsal"), "{text}");
    assert_eq!(sim.kernel.tables().effects().count(), 0);
    assert!(sim.kernel.inbox().is_empty());
    let task = sim.kernel.tables().task("r").unwrap();
    assert_eq!(task.ended.as_ref().map(|(_, outcome, _)| *outcome), Some(Outcome::Failed));
    assert_eq!(sim.kernel.service("writer").values().map(|it| it.done + it.failed).sum::<usize>(), 1);
    assert_eq!(sim.kernel.spent_on_models(0)["test/one"].answers, 3, "it counts what it took");
}
