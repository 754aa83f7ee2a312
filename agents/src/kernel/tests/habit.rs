use super::*;

const MAILS: &str = "---
type: workflow
input: {type: object, properties: {clients: {type: array}}}
steps:
  all:
    each: input.clients
    as: client
    steps:
      send: {effect: mail.send, target: '{{ client }}', args: {}}
---
";

/// What the operator does in place of consenting.
type Odd<'o> = &'o dyn Fn(EffectKey, Content, &mut Sim);

/// The operator consents to all but the last, which waits; `odd` is done to the one in the middle.
fn sim(clients: &[&str], policy: &[&str], odd: Option<Odd<'_>>) -> Sim {
    let mut sim = Sim::new(World::default(), &[("mails", MAILS)], policy);
    sim.create("mails", json!({"clients": clients}));
    for n in 0..clients.len() {
        while sim.kernel.inbox().is_empty()
            && let Some(action) = sim.queue.pop_front()
        {
            sim.act(action);
        }
        let Some(Need::Approval { key, digest, content, .. }) = sim.kernel.inbox().first().copied() else {
            break;
        };
        let (key, digest, content) = (*key, *digest, content.clone());
        match odd {
            Some(odd) if n == clients.len() / 2 => odd(key, content, &mut sim),
            _ if n + 1 == clients.len() => break,
            _ => sim.says(&WorkEvent::approve(key, digest, &VAULT, &operator())),
        }
    }
    sim
}

#[test]
fn after_five_that_were_alike_the_rule_is_suggested_that_allows_the_next() {
    let clients = ["a@x.org", "b@x.org", "c@x.org", "d@x.org", "e@x.org", "f@x.org"];
    assert_eq!(sim(&clients[1..], &[], None).kernel.habits(), [], "four are not enough");
    let found = sim(&clients, &[], None).kernel.habits();
    let [habit] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((habit.times, habit.target.as_str(), habit.step.as_str()), (5, "*@x.org", "all/send"));
    // It is a rule, and with it the next one goes by itself, and what is elsewhere does not.
    let policy = format!("---\ntype: policy\nrules:\n  {}\n---\n", habit.rule);
    let mut sim = Sim::new(World::default(), &[("mails", MAILS)], &[&policy]);
    sim.create("mails", json!({"clients": ["g@x.org", "h@y.org"]}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    assert_eq!(sim.done(), ["g@x.org {}"]);
    assert_eq!(sim.kernel.inbox().len(), 1);
}

#[test]
fn what_was_changed_or_refused_begins_anew() {
    let clients = ["a"; 8];
    assert_eq!(sim(&clients, &[], None).kernel.habits()[0].target, "a");
    let changed = |_, content: Content, sim: &mut Sim| {
        let content = Content { args: json!({"text": "other"}), ..content };
        sim.says(&WorkEvent::edit("t", "all[4]/send", 0, content, &VAULT, &operator()));
    };
    assert_eq!(sim(&clients, &[], Some(&changed)).kernel.habits(), []);
}

#[test]
fn nothing_is_suggested_that_would_allow_anything() {
    assert_eq!(
        sim(&["a@x.org", "b@y.org", "c@x.org", "d@x.org", "e@x.org", "f@x.org"], &[], None).kernel.habits(),
        []
    );
    assert_eq!(sim(&["a", "b", "c", "d", "e", "f"], &[], None).kernel.habits(), []);
    assert_eq!(sim(&["a*"; 7], &[], None).kernel.habits(), []);
}
