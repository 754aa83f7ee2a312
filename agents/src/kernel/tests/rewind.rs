//! Going back to a step: what follows is done anew, what happened stays, and nothing that was asked before counts.

use serde_json::json;

use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World, operator};
use super::*;
use crate::table::{Stand, Status};

const OFFER: &str = "---
type: workflow
input: {type: object, properties: {clients: {type: array}}}
steps:
  draft: {agent: writer, input: {n: 1}}
  sure: {ask: 'Send it?'}
  all:
    each: input.clients
    as: client
    at_once: 2
    steps:
      send: {effect: mail.send, target: '{{ client }}', args: {text: '{{ steps.sure.answer }}'}}
  file: {effect: file.write, target: done.txt, args: {}}
---
";
const BACK: &str = "---
type: workflow
steps:
  send: {effect: mail.send, target: ann, args: {}, compensate: {effect: mail.send, target: ann, args: {sorry: 1}}}
  which: {ask: 'Which way?', choices: [one, two]}
  way:
    choose:
      - when: steps.which.answer == 'one'
        go: pay
      - else: end
  pay: {effect: file.write, target: paid, args: {}}
---
";

fn drain(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

fn offer(clients: &[&str], policies: &[&str]) -> Sim {
    let mut sim = Sim::new(World::default(), &[("offer", OFFER)], policies);
    sim.create("offer", json!({"clients": clients}));
    drain(&mut sim);
    sim
}

fn answer(sim: &mut Sim, text: &str, attempt: u32) {
    let step = if sim.kernel.tables().task("t").unwrap().workflow.as_deref() == Some("back") {
        "which"
    } else {
        "sure"
    };
    let (task, step, answer) = ("t".to_owned(), step.to_owned(), text.to_owned());
    sim.says(&WorkEvent::QuestionAnswered { task, step, answer, attempt });
    drain(sim);
}

fn back(sim: &mut Sim, step: &str, again: &[&str]) {
    let again: Vec<String> = again.iter().map(ToString::to_string).collect();
    let event = sim.kernel.rewind("t", step, &again).unwrap_or_else(|e| panic!("{e}"));
    sim.says(&event);
    drain(sim);
}

fn run(sim: &Sim) -> &crate::table::Run {
    sim.kernel.tables().task("t").unwrap().runs.values().next().unwrap()
}

fn asks(sim: &Sim) -> Vec<(EffectKey, ContentHash)> {
    let asked = sim.kernel.inbox().into_iter().filter_map(|need| match need {
        Need::Approval { key, digest, .. } => Some((*key, *digest)),
        _ => None,
    });
    asked.collect()
}

fn approve(sim: &mut Sim, (key, digest): (EffectKey, ContentHash)) {
    sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
    drain(sim);
}

#[test]
fn what_waits_asks_anew_and_what_was_answered_is_forgotten() {
    let mut sim = offer(&["ann"], &[]);
    answer(&mut sim, "yes", 1);
    let before = asks(&sim)[0];
    back(&mut sim, "draft", &[]);
    assert!(
        matches!(sim.kernel.inbox()[..], [Need::Question { attempt: 2, .. }]),
        "{:?}",
        sim.kernel.inbox()
    );
    assert_eq!(run(&sim).steps["draft"].attempts, 2, "attempts go on being counted");
    // Consent to what is wanted no more, and an answer to what was asked before, come too late.
    approve(&mut sim, before);
    answer(&mut sim, "yes", 1);
    assert!(sim.world.done.is_empty());
    assert!(matches!(sim.kernel.inbox()[..], [Need::Question { .. }]));
    answer(&mut sim, "no", 2);
    let now = asks(&sim)[0];
    assert_ne!(now.0, before.0, "another generation has another key");
    approve(&mut sim, now);
    sim.run();
    assert_eq!(sim.done(), ["ann {\"text\":\"no\"}", "done.txt {}"]);
    let mut again = |_: &Past<'_>| Some(Ok(json!({"words": 4, "text": "dear 1"})));
    let replay = sim.kernel.replay("t", &mut again).unwrap();
    assert_eq!(replay.difference, None);
}

#[test]
fn what_happened_is_not_done_again_unless_named() {
    let allow = "---\ntype: policy\nrules: [{name: mails, verdict: allow, capability: mail.send}]\n---\n";
    for again in [false, true] {
        let mut sim = offer(&["ann", "bob"], &[allow]);
        answer(&mut sim, "yes", 1);
        assert_eq!(sim.done().len(), 2, "the file asks");
        let named: &[&str] = if again { &["all[1]/send"] } else { &[] };
        back(&mut sim, "all[1]/send", named);
        // A new process knows it, too.
        sim.restart();
        sim.run();
        let mails = sim.done().iter().filter(|it| it.starts_with("bob")).count();
        assert_eq!(mails, if again { 2 } else { 1 });
        assert_eq!(sim.done().iter().filter(|it| it.starts_with("ann")).count(), 1, "other items stay");
        let step = &run(&sim).steps["all[1]/send"];
        assert_eq!(step.attempts, 2);
        assert!(matches!(step.status, Status::Finished { .. }));
        assert_eq!(sim.ended().unwrap().0, Outcome::Done);
    }
}

#[test]
fn a_dead_letter_goes_back_to_where_it_went_wrong() {
    let allow = "---\ntype: policy\nrules: [{name: mails, verdict: allow, capability: mail.send}]\n---\n";
    let world = World { never: ["ann".to_owned()].into(), ..World::default() };
    let mut sim = Sim::new(world, &[("offer", OFFER)], &[allow]);
    sim.create("offer", json!({"clients": ["ann"]}));
    drain(&mut sim);
    answer(&mut sim, "yes", 1);
    let dead = sim.kernel.inbox().into_iter().any(|need| matches!(need, Need::Dead { .. }));
    assert!(dead, "{:?}", sim.kernel.inbox());
    sim.world.never.clear();
    back(&mut sim, "sure", &[]);
    answer(&mut sim, "better", 2);
    sim.run();
    // What failed is sent as it is now, and not as it was.
    assert_eq!(sim.done(), ["ann {\"text\":\"better\"}", "done.txt {}"]);
}

#[test]
fn what_happened_before_is_taken_back_though_the_run_came_another_way() {
    let allow = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";
    let mut sim = Sim::new(World::default(), &[("back", BACK)], &[allow]);
    sim.create("back", json!({}));
    drain(&mut sim);
    back(&mut sim, "send", &[]);
    // It stands still before it comes to the mail again.
    sim.says(&WorkEvent::TaskCancelled { task: "t".into(), note: "enough".into() });
    drain(&mut sim);
    assert_eq!(sim.done(), ["ann {\"sorry\":1}", "ann {}"]);
    assert_eq!(sim.ended().unwrap().0, Outcome::Cancelled);
}

#[test]
fn there_is_no_way_back_from_where_there_is_none() {
    let allow = "---\ntype: policy\nrules: [{name: mails, verdict: allow, capability: mail.send, target: ann}]\n---\n";
    let mut sim = Sim::new(World::default(), &[("back", BACK)], &[allow]);
    sim.create("back", json!({}));
    drain(&mut sim);
    let wrong = |sim: &Sim, step: &str, again: &[String]| sim.kernel.rewind("t", step, again).unwrap_err();
    assert!(matches!(wrong(&sim, "pay", &[]), RewindError::NotThere { .. }));
    assert!(matches!(wrong(&sim, "which", &["send".into()]), RewindError::NotDone { .. }));
    assert!(matches!(sim.kernel.rewind("u", "send", &[]), Err(RewindError::NoTask(_))));
    answer(&mut sim, "one", 1);
    let (key, _) = asks(&sim)[0];
    let before = sim.kernel.rewind("t", "which", &[]).unwrap();
    // The mail that says sorry waits for nothing, but for the far side.
    sim.world.never.insert("ann".into());
    sim.says(&WorkEvent::ApprovalDenied { key, note: "no".into() });
    drain(&mut sim);
    assert!(matches!(wrong(&sim, "which", &[]), RewindError::TakesBack(_)));
    // Said before, and heard after: it changes nothing.
    let steps = run(&sim).steps.clone();
    sim.says(&before);
    drain(&mut sim);
    assert_eq!(run(&sim).steps, steps);
    assert_eq!(run(&sim).turn, 1);
}

/// The word that counts is the run's own: what others claim of it, or say twice, is nothing (I1).
#[test]
fn said_twice_it_goes_back_once() {
    let mut sim = offer(&["ann"], &[]);
    let event = sim.kernel.rewind("t", "draft", &[]).unwrap();
    sim.says(&event);
    drain(&mut sim);
    sim.says(&event);
    drain(&mut sim);
    assert_eq!(run(&sim).steps["draft"].attempts, 2);
    let run_id = sim.kernel.tables().task("t").unwrap().runs.keys().next().unwrap().clone();
    let claim = WorkEvent::RunRewound {
        task: "t".into(),
        run: run_id,
        turn: 1,
        to: Some("draft".into()),
        again: vec![],
        undo: BTreeMap::new(),
    };
    let input = sim.record(PHONE, vec![Event::try_from(&claim).unwrap()]);
    sim.give(input);
    drain(&mut sim);
    assert_eq!(run(&sim).turn, 1);
    // Whatever the order in which the records come.
    let mut anew = Kernel::new(VAULT, LAPTOP, sim.setting.clone(), 3);
    sim.log.iter().rev().for_each(|(stamp, events)| anew.load(*stamp, events));
    assert!(anew.tables() == sim.kernel.tables());
}

/// Killed after every act while it goes back: the same happens, and nothing twice (I9, I10).
#[test]
fn a_crash_while_it_goes_back_changes_nothing() {
    for crash in 0..40 {
        let mut sim = offer(&["ann", "bob"], &[]);
        answer(&mut sim, "yes", 1);
        let first = asks(&sim)[0];
        approve(&mut sim, first);
        let event = sim.kernel.rewind("t", "draft", &[]).unwrap();
        sim.crash_in = Some(crash);
        sim.says(&event);
        sim.run();
        assert_eq!(sim.ended().unwrap().0, Outcome::Done, "crash {crash}: {:#?}", sim.kernel.inbox());
        let done = ["ann {\"text\":\"yes\"}", "bob {\"text\":\"send\"}", "done.txt {}"];
        assert_eq!(sim.done(), done, "crash {crash}");
        let withdrawn =
            sim.kernel.tables().effects().filter(|(_, it)| matches!(it.stand(), Stand::Denied(_)));
        assert_eq!(withdrawn.count(), 1, "crash {crash}");
    }
}

/// What the run did under the next generation stands in its journal, also where the task turns out to be another device's.
#[test]
fn what_happened_once_more_replays_whoever_turns_out_to_have_the_task() {
    let mut sim = Sim::new(World::default(), &[("back", BACK)], &[]);
    sim.create("back", json!({}));
    drain(&mut sim);
    let first = asks(&sim)[0];
    approve(&mut sim, first);
    back(&mut sim, "send", &["send"]);
    let second = asks(&sim)[0];
    approve(&mut sim, second);
    answer(&mut sim, "two", 2);
    assert!(sim.ended().is_some(), "{:#?}", sim.kernel.inbox());
    let created = WorkEvent::TaskCreated {
        task: "t".into(),
        workflow: "back".into(),
        version: sim.setting.current["back"],
        input: json!({}),
        parent: None,
        on: Some(PHONE),
        trigger: None,
    };
    sim.kernel.load(Stamp::new(Hlc(START - 1, 0), PHONE, 1), &[Event::try_from(&created).unwrap()]);
    let replay = sim.kernel.replay("t", &mut |_| None).unwrap();
    assert_eq!(replay.difference, None);
}

/// Of three items one failed for good, one is tried again later, and the run goes back over the one between them.
#[test]
fn what_has_begun_behind_an_item_that_it_went_back_over_comes_to_its_end() {
    let text = "---
type: workflow
steps:
  all:
    each: '[\"ann\", \"bob\", \"cid\"]'
    as: client
    at_once: 3
    steps: {send: {effect: mail.send, target: '{{ client }}', args: {}, retry: {attempts: 3, first: 1h, most: 1h}}}
---
";
    let allow = "---\ntype: policy\nrules: [{name: mails, verdict: allow, capability: mail.send}]\n---\n";
    let world = World {
        never: ["ann".to_owned()].into(),
        refusals: [("cid".to_owned(), 1)].into(),
        ..World::default()
    };
    let mut sim = Sim::new(world, &[("three", text)], &[allow]);
    sim.create("three", json!({}));
    drain(&mut sim);
    back(&mut sim, "all[1]/send", &[]);
    let failed = |sim: &Sim| matches!(run(sim).steps["all"].status, Status::Failed { .. });
    assert!(!failed(&sim), "the third is tried again");
    let mut again = |_: &Past<'_>| None;
    assert_eq!(sim.kernel.replay("t", &mut again).unwrap().difference, None);
    sim.now += 7_200_000;
    let now = sim.now;
    sim.give(Input::Tick { now });
    drain(&mut sim);
    assert_eq!(sim.done().iter().filter(|it| it.starts_with("cid")).count(), 1);
    assert!(failed(&sim), "{:?}", sim.kernel.inbox());
    assert_eq!(sim.kernel.replay("t", &mut again).unwrap().difference, None);
}
