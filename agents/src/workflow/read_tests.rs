use std::collections::BTreeSet;

use super::super::{Act, Checked, Known, Target, Trigger, Workflow};

const REMINDER: &str = "---
type: workflow
title: Invoice reminder
on:
  - manual
  - cron: \"0 9 * * mon-fri\"
    zone: Europe/Amsterdam
  - entity: changed
    type: invoice
    where: entity.status == 'sent'
  - event: mail.received
    where: event.from == 'bank@example.org'
  - webhook: /stripe
input:
  type: object
  required: [client]
  properties:
    client: {type: string}
    items: {type: array, default: []}
steps:
  draft:
    agent: writer
    input: {client: '{{ input.client }}'}
    retry: {attempts: 5, first: 10s, most: 5m, within: 1d}
    timeout: 2m
    on_error: tell
  pick:
    choose:
      - when: steps.draft.urgent
        go: send
      - else: rest
  rest:
    wait: 14d
    next: draft
  send:
    effect: mail.send
    target: '{{ input.client }}'
    args: {text: '{{ steps.draft.text }}'}
    amount: 0.10
    tags: [reminder]
    compensate: {effect: mail.send, target: '{{ input.client }}', args: {text: Sorry}}
  all:
    each: input.items
    as: invoice
    at_once: 3
    steps:
      one: {agent: writer, input: '{{ invoice }}'}
  both:
    parallel:
      a: {x: {wait: {event: mail.received, where: event.from == input.client, deadline: 3d}}}
      b: {y: {workflow: other, input: {n: 1}}}
    next: end
  tell:
    ask: 'It failed: {{ error.what }}'
    choices: [again, stop]
---
Prose.
";

fn known() -> Known {
    let set = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
    Known {
        agents: set(&["writer"]),
        workflows: set(&["other"]),
        capabilities: set(&["mail.send"]),
        zones: Some(jiff::tz::db().clone()),
    }
}

fn mistakes(text: &str) -> Vec<String> {
    let Checked { mistakes, .. } = Workflow::check(text, &known());
    mistakes.into_iter().map(|it| format!("{} {}", it.at, it.what)).collect()
}

/// The reminder with one text replaced by another.
fn with(old: &str, new: &str) -> Vec<String> {
    assert_eq!(REMINDER.matches(old).count(), 1, "{old:?} must stand once");
    mistakes(&REMINDER.replace(old, new))
}

#[test]
fn a_workflow_is_read() {
    let known = Known { zones: None, ..known() };
    let workflow = Workflow::read(REMINDER, &known).unwrap();
    assert_eq!(workflow.triggers.len(), 5);
    assert!(matches!(&workflow.triggers[1], Trigger::Cron { zone, .. } if zone == "Europe/Amsterdam"));
    let steps = &workflow.steps;
    assert_eq!(steps.get("draft").unwrap().retry.as_ref().unwrap().attempts, 5);
    assert_eq!(steps.get("draft").unwrap().next, Target::Step("pick".into()));
    assert_eq!(steps.get("both").unwrap().next, Target::End);
    assert!(matches!(&steps.get("all").unwrap().act, Act::Each { at_once: 3, .. }));
    assert_eq!(workflow.prose, "Prose.\n");
    assert_eq!(workflow.calls().len(), 1);
}

#[test]
fn every_mistake_has_its_place() {
    let cases: [(&str, &str, &[&str]); 24] = [
        ("type: workflow", "type: workflows", &["2:7 this is no workflow: `type` must be `workflow`"]),
        ("title:", "titel:", &["3:1 a workflow has no key `titel`"]),
        ("- manual", "- manuel", &["5:5 nothing is started by `manuel`"]),
        (
            "0 9 * * mon-fri",
            "0 25 * * *",
            &["6:11 `25` is no hour: from 0 to 23, such as `*`, `0`, `0-23`, `*/2`"],
        ),
        ("0 9 * * mon-fri", "0 9 30 2 *", &["6:11 it never comes: no year has such a date"]),
        ("entity: changed", "entity: eaten", &["8:13 that does not happen to entities"]),
        ("entity.status", "entry.status", &["10:12 there is no `entry` here"]),
        (
            "webhook: /stripe",
            "webhook: stripe",
            &["13:14 a webhook's path begins with `/` and has letters, digits, `-`, `_`, `.`, `/`"],
        ),
        (
            "required: [client]",
            "required: [klient]",
            &["16:14 `klient` is required and is none of the properties"],
        ),
        ("agent: writer\n    input: {", "agent: riter\n    input: {", &["22:12 there is no agent `riter`"]),
        ("{client: '{{ input.client", "{client: '{{ input.klient", &["23:21 the input has no `klient`"]),
        ("attempts: 5", "attempts: 0", &["24:23 `attempts` must be a whole number from 1 to 100"]),
        (
            "timeout: 2m",
            "timeout: soon",
            &["25:14 `soon` is no length of time: write 90s, 15m, 2h, 14d, 1w or 1h30m"],
        ),
        ("timeout: 2m", "timeuot: 2m", &["25:5 a step that is `agent` has no key `timeuot`"]),
        ("on_error: tell", "on_error: tel", &["21:3 `draft` leads to `tel`, and there is no such step"]),
        (
            "when: steps.draft.urgent",
            "when: steps.drafd.urgent",
            &["29:15 `steps.drafd` names no step that is known here"],
        ),
        ("      - else: rest\n", "", &["29:7 a choice needs `else`"]),
        (
            "  rest:\n    wait: 14d",
            "  rest:\n    agent: writer",
            &["21:3 `draft` comes back to itself without a rest"],
        ),
        ("- else: rest", "- else: send", &["32:3 nothing leads to `rest`"]),
        ("effect: mail.send\n", "efect: mail.send\n", &["35:3 `send` does nothing"]),
        ("amount: 0.10", "amount: ten", &["39:13 `ten` is no amount of money: write 12, 12.5 or 12.50"]),
        ("each: input.items", "each: '{{ input.items }}'", &["43:11"]),
        ("workflow: other", "workflow: another", &["51:25 there is no workflow `another`"]),
        ("  tell:\n", "  Tell:\n", &["53:3 `Tell` cannot be the name of a step"]),
    ];
    for (old, new, expected) in cases {
        let found = with(old, new);
        let fits = expected.iter().all(|it| found.iter().any(|found| found.starts_with(it)));
        assert!(fits, "{new:?}: expected {expected:#?}, found {found:#?}");
    }
}

#[test]
fn one_mistake_does_not_hide_another() {
    let text =
        "---\ntype: workflow\nsteps:\n  a: {agent: nobody, retry: many}\n  b: {wait: never}\n  c: {}\n---\n";
    assert_eq!(
        mistakes(text),
        [
            "4:14 there is no agent `nobody`",
            "4:29 `retry` must be a map, and is text",
            "5:13 `never` is no length of time: write 90s, 15m, 2h, 14d, 1w or 1h30m",
            "6:3 `c` does nothing",
        ]
    );
}

#[test]
fn a_zone_must_be_there() {
    if jiff::tz::db().get("Europe/Amsterdam").is_err() {
        println!("skipped: the system has no time zones");
        return;
    }
    assert_eq!(
        with("Europe/Amsterdam", "Europe/Amstelveen"),
        ["7:11 there is no time zone `Europe/Amstelveen`"]
    );
}

#[test]
fn it_is_drawn() {
    let text = "---\ntype: workflow\nsteps:\n  ask: {ask: 'Say \"go\"?'}\n  pick: {choose: [{when: steps.ask.answer == 'go', go: each}, {else: end}]}\n  each: {each: input.items, steps: {one: {effect: mail.send, target: x}}}\n---\n";
    let workflow = Workflow::read(text, &known()).unwrap();
    assert_eq!(
        workflow.draw(),
        "flowchart TD
  start_((start))
  end_((end))
  start_ --> ask
  ask{{\"ask: ask\"}}
  ask --> pick
  pick{\"pick\"}
  pick -->|\"steps.ask.answer == 'go'\"| each
  pick -->|\"else\"| end_
  subgraph each[\"each: each item, 1 at once\"]
    each__start_((start))
    each__end_((end))
    each__start_ --> each__one
    each__one[/\"one: mail.send\"/]
    each__one --> each__end_
  end
  each --> end_
"
    );
}

#[test]
fn workflows_that_start_each_other_are_found() {
    let calls = |to: &str| vec![(to.to_owned(), crate::mistake::At { line: 4, column: 3 })];
    let map = [("a", "b"), ("b", "c"), ("c", "b")].map(|(from, to)| (from.to_owned(), calls(to))).into();
    let found = super::super::check_calls(&map);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn events_have_names() {
    let text = "---\ntype: workflow\non: {event: Bank paid}\nsteps:\n  a: {emit: 'bank..paid'}\n  b: {wait: {event: /pay}}\n  c: {wait: {event: //..}}\n  d: {emit: bank.paid, data: {n: 1}}\n---\n";
    let found: Vec<String> = Workflow::check(text, &Known::default())
        .mistakes
        .iter()
        .map(|it| format!("{} {}", it.at, it.what))
        .collect();
    assert_eq!(
        found,
        [
            "3:13 `Bank paid` cannot name an event",
            "5:13 `bank..paid` cannot name an event",
            "7:21 `//..` cannot name an event",
        ]
    );
}
