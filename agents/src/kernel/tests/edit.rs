use super::*;

const MAIL: &str = "---
type: workflow
steps:
  send: {effect: mail.send, target: ann, args: {text: hello}, agent: writer, tags: [offer], retry: {attempts: 3, first: 1s}}
---
";

fn asked() -> (Sim, EffectKey, Content) {
    let mut sim = Sim::new(World::default(), &[("mail", MAIL)], &[]);
    sim.create("mail", json!({}));
    let (key, _) = sim.until_asked();
    let proposed = sim.kernel.tables().effect(&key).unwrap().proposed.clone().unwrap();
    (sim, key, proposed.content)
}

fn edited(content: Content) -> WorkEvent {
    WorkEvent::edit("t", "send", 0, content, &VAULT, &operator())
}

fn replays(sim: &Sim) {
    let replay = sim.kernel.replay("t", &mut |_| None).unwrap();
    assert_eq!(replay.difference, None);
}

#[test]
fn what_the_operator_changed_is_sent_and_what_was_proposed_is_not() {
    let (mut sim, key, content) = asked();
    sim.says(&edited(Content { args: json!({"text": "good day"}), ..content }));
    sim.run();
    let asks = |need: &&Need| matches!(need, Need::Approval { key: asking, .. } if *asking != key);
    assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done));
    assert_eq!(sim.done(), ["ann {\"text\":\"good day\"}"]);
    assert_eq!(sim.shown.iter().find(asks), None, "it is not asked again");
    assert!(matches!(sim.kernel.tables().effect(&key).unwrap().stand(), Stand::Denied(_)));
    replays(&sim);
}

#[test]
fn consent_to_what_was_proposed_is_void_after_a_change() {
    let (mut sim, key, content) = asked();
    let digest = content.digest(&key);
    // Both are said before the device that does it hears of either.
    let change = edited(Content { target: "bob".into(), ..content });
    let events = [WorkEvent::approve(key, digest, &VAULT, &operator()), change];
    let events = events.iter().map(|event| Event::try_from(event).unwrap()).collect();
    let input = sim.record(PHONE, events);
    sim.give(input);
    sim.run();
    assert_eq!(sim.done(), ["bob {\"text\":\"hello\"}"]);
}

#[test]
fn a_denial_that_crossed_with_a_change_beats_it_in_either_order() {
    for denied_first in [true, false] {
        let (mut sim, key, content) = asked();
        let denied = WorkEvent::ApprovalDenied { key, note: "no".into() };
        let change = edited(Content { target: "bob".into(), ..content });
        let mut words = [change, denied];
        if denied_first {
            words.reverse();
        }
        let events = words.iter().map(|event| Event::try_from(event).unwrap()).collect();
        let input = sim.record(PHONE, events);
        sim.give(input);
        sim.run();
        assert_eq!(sim.done(), Vec::<String>::new(), "{denied_first}");
        assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { .. }]), "{:#?}", sim.kernel.inbox());
    }
}

/// The denial comes when what was changed is proposed already, and has not happened.
#[test]
fn a_denial_that_comes_late_is_one_of_the_change_too() {
    let (mut sim, key, content) = asked();
    let denied = Event::try_from(&WorkEvent::ApprovalDenied { key, note: "no".into() }).unwrap();
    sim.now += 1;
    let late = Stamp::new(Hlc(sim.now, 0), PHONE, 1);
    sim.says(&edited(Content { target: "bob".into(), ..content }));
    while !sim.names().iter().filter(|it| *it == "effect.proposed").count().eq(&2) {
        let action = sim.queue.pop_front().expect("it is proposed");
        sim.act(action);
    }
    sim.log.push((late, vec![denied.clone()]));
    sim.give(Input::Recorded { stamp: late, events: vec![denied] });
    sim.run();
    assert_eq!(sim.done(), Vec::<String>::new());
}

#[test]
fn nobody_else_changes_what_is_sent() {
    let (mut sim, _, content) = asked();
    let other = Content { target: "eve".into(), ..content.clone() };
    let thief = SecretKey::from_bytes(&[6; 32]);
    sim.says(&WorkEvent::edit("t", "send", 0, other.clone(), &VAULT, &thief));
    // What was signed for one text says nothing of another.
    let WorkEvent::ApprovalEdited { key, of, task, step, generation, by, sig, .. } = edited(content.clone())
    else {
        panic!("an edit")
    };
    let content = other;
    sim.says(&WorkEvent::ApprovalEdited { key, of, task, step, generation, content, by, sig });
    sim.consent = false;
    sim.run();
    assert_eq!(sim.done(), Vec::<String>::new());
}

#[test]
fn a_change_keeps_what_policies_know_it_by_and_is_tried_again() {
    let policy = "---
type: policy
rules: [{name: never, verdict: deny, target: 'eve*'}, {name: free, verdict: allow, tags: [free]}]
---
";
    let world = World { refusals: [("bob".to_owned(), 2)].into(), ..World::default() };
    let mut sim = Sim::new(world, &[("mail", MAIL)], &[policy]);
    sim.create("mail", json!({}));
    let (key, _) = sim.until_asked();
    let content = sim.kernel.tables().effect(&key).unwrap().proposed.clone().unwrap().content;
    sim.says(&edited(Content { target: "bob".into(), tags: vec!["free".into()], agent: None, ..content }));
    sim.run();
    assert_eq!(sim.done(), ["bob {\"text\":\"hello\"}"]);
    let effects: Vec<_> = sim.kernel.tables().effects().map(|(_, effect)| effect).collect();
    let sent = effects.iter().find(|effect| matches!(effect.stand(), Stand::Done(_))).unwrap();
    let content = &sent.proposed.as_ref().unwrap().content;
    assert_eq!((&content.agent, &content.tags), (&Some("writer".into()), &vec!["offer".into()]));
    assert_eq!(sent.decided().unwrap().verdict, Verdict::Ask, "tags are not the operator's to add");
    replays(&sim);
}

#[test]
fn a_crash_at_any_point_of_a_change_sends_once() {
    let whole = {
        let (mut sim, _, content) = asked();
        sim.says(&edited(Content { target: "bob".into(), ..content }));
        sim.run();
        sim.acts
    };
    for crash in 0..whole {
        let (mut sim, _, content) = asked();
        sim.says(&edited(Content { target: "bob".into(), ..content }));
        sim.crash_in = Some(crash);
        sim.run();
        assert_eq!(sim.done(), ["bob {\"text\":\"hello\"}"], "crash {crash}");
    }
}

/// What was consented to as it was, and changed on another device when the first attempt had failed, or was under way and fails: the old text
/// is not tried again.
#[test]
fn what_failed_is_tried_again_as_it_was_changed() {
    for begun in ["step.failed", "effect.intended"] {
        let world = World { refusals: [("ann".to_owned(), 1)].into(), ..World::default() };
        let mut sim = Sim::new(world, &[("mail", MAIL)], &[]);
        sim.create("mail", json!({}));
        let (key, digest) = sim.until_asked();
        let content = sim.kernel.tables().effect(&key).unwrap().proposed.clone().unwrap().content;
        sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator()));
        while !sim.names().iter().any(|it| it == begun) {
            let action = sim.queue.pop_front().expect("it is tried");
            sim.act(action);
        }
        sim.says(&edited(Content { target: "bob".into(), ..content }));
        sim.run();
        assert_eq!(sim.done(), ["bob {\"text\":\"hello\"}"], "{begun}");
        assert_eq!(sim.ended().map(|(outcome, _)| outcome), Some(Outcome::Done));
        assert_eq!(sim.kernel.refused().count(), 0);
        replays(&sim);
    }
}

#[test]
fn what_is_changed_when_it_has_gone_out_is_told_and_not_sent_again() {
    let (mut sim, key, content) = asked();
    sim.says(&WorkEvent::approve(key, content.digest(&key), &VAULT, &operator()));
    sim.run();
    assert_eq!(sim.done(), ["ann {\"text\":\"hello\"}"]);
    sim.says(&edited(Content { target: "bob".into(), ..content }));
    sim.run();
    assert_eq!(sim.done(), ["ann {\"text\":\"hello\"}"]);
    let told: Vec<_> = sim.kernel.refused().collect();
    let [Need::Refused { changed: true, done: true, .. }] = told[..] else { panic!("{told:?}") };
    sim.says(&WorkEvent::settle(key, 1, true, &VAULT, &operator()));
    assert_eq!(sim.kernel.refused().count(), 0);
}
