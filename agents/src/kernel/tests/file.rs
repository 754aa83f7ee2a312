//! Work that looks for files and writes some: looks are journaled, and what came from outside marks what rests on it.

use serde_json::json;

use super::event::{emitted, says};
use super::sim::{LAPTOP, PHONE, START, Sim, VAULT, World};
use crate::event::Fired;
use crate::kernel::*;
use crate::query::Looked;

const BILL: &str = "---
type: workflow
input: {type: object, required: [client], properties: {client: {type: string}}}
steps:
  client: {find: 'clients/{{ input.client | slug }}*.md', match: {state: [open, late]}}
  known: {choose: [{when: steps.client.count > 0, go: make}, {else: end}]}
  make: {effect: file.create, target: 'invoices/{{ began[:7] }}.md', args: {fields: {to: '{{ steps.client.first.fields.mail }}'}}}
---
";
const LEAD: &str = "---
type: workflow
on: {event: mail.received}
input: {type: object, properties: {from: {type: string}}}
steps:
  make: {effect: file.create, target: clients/new.md, args: {fields: {type: client, mail: '{{ input.from }}'}}}
---
";
const GREET: &str = "---
type: workflow
on: {entity: created, type: client}
input: {type: object, properties: {mail: {type: string}}}
steps: {send: {effect: mail.send, target: '{{ input.mail }}', args: {}}}
---
";
const ALLOW: &str = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";

fn client(path: &str, state: &str) -> Looked {
    let text = format!("---\nmail: ann@example.org\nstate: {state}\n---\n");
    Looked { path: path.into(), text, untrusted: false }
}

/// A look that a crash cut off is begun anew; what it found stands from then on.
#[test]
fn what_was_found_is_the_same_whatever_crashes() {
    let files = vec![client("clients/ann-maas.md", "late"), client("clients/ann-zoe.md", "gone")];
    for crash in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7), Some(8)] {
        let world = World { knows_keys: true, files: files.clone(), ..World::default() };
        let mut sim = Sim::new(world, &[("bill", BILL)], &[ALLOW]);
        sim.setting.connectors.insert(
            "file.create".into(),
            Connector { knows_keys: true, inward: true, ..Connector::default() },
        );
        sim.restart();
        sim.crash_in = crash;
        sim.create("bill", json!({"client": "Ann"}));
        sim.run();
        if sim.log.is_empty() {
            sim.create("bill", json!({"client": "Ann"}));
            sim.run();
        }
        assert_eq!(
            sim.done(),
            ["invoices/2026-09.md {\"fields\":{\"to\":\"ann@example.org\"}}"],
            "{crash:?}"
        );
    }
}

/// A file that work made of a mail is written without a word; what that file starts asks before anything goes out.
#[test]
fn what_came_from_outside_stays_so_in_a_file() {
    let mut sim = Sim::new(World::default(), &[("lead", LEAD), ("greet", GREET)], &[ALLOW]);
    sim.setting.connectors.insert("file.create".into(), Connector { inward: true, ..Connector::default() });
    sim.setting.coordinator = Some(LAPTOP);
    sim.restart();
    let from = json!({"from": "ann@example.org"});
    for (id, untrusted) in [("1", true), ("2", false)] {
        let mut event = emitted("mail.received", id, from.clone());
        if let WorkEvent::EventEmitted { untrusted: mark, .. } = &mut event {
            *mark = untrusted;
        }
        says(&mut sim, &event);
    }
    assert_eq!(sim.done().len(), 2, "{:?}", sim.done());
    let fields = json!({"type": "client", "mail": "ann@example.org"});
    for (path, marked) in [("clients/new.md", true), ("clients/mine.md", false)] {
        let saw = Saw {
            doc: path.into(),
            record: "r".into(),
            at: START + 5,
            path: path.into(),
            made: true,
            fields: fields.clone(),
            run: None,
        };
        let created = sim.kernel.saw(&saw);
        let [WorkEvent::TaskCreated { trigger: Some(Fired::Entity { untrusted, .. }), .. }] = &created[..]
        else {
            panic!("{created:?}")
        };
        assert_eq!(*untrusted, marked, "{path}");
        says(&mut sim, &created[0]);
    }
    assert_eq!(sim.done().len(), 3, "{:?}", sim.done());
    assert!(matches!(sim.kernel.inbox()[..], [Need::Approval { .. }]), "{:?}", sim.kernel.inbox());
}

/// Files that start tasks which write files come to an end.
#[test]
fn a_circle_of_files_comes_to_an_end() {
    let turn = "---
type: workflow
on: {entity: changed, type: note}
steps: {again: {effect: file.set, target: notes/a.md, args: {set: {n: '{{ task }}'}}}}
---
";
    let mut sim = Sim::new(World::default(), &[("turn", turn)], &[ALLOW]);
    sim.setting.connectors.insert("file.set".into(), Connector { inward: true, ..Connector::default() });
    sim.setting.coordinator = Some(LAPTOP);
    sim.restart();
    let mut run = None;
    let mut turns = 0;
    while turns < 100 {
        let saw = Saw {
            doc: "a".into(),
            record: format!("r{turns}"),
            at: START + 5,
            path: "notes/a.md".into(),
            made: false,
            fields: json!({"type": "note"}),
            run: run.take(),
        };
        let created = sim.kernel.saw(&saw);
        let WorkEvent::TaskCreated { task, .. } = &created[0] else { panic!("{created:?}") };
        let done = sim.done().len();
        says(&mut sim, &created[0]);
        if sim.done().len() == done {
            break;
        }
        run = sim.kernel.tables().task(task).and_then(|task| task.runs.keys().next().cloned());
        turns += 1;
    }
    assert!((10..20).contains(&turns), "{turns}");
    assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { .. }]), "{:?}", sim.kernel.inbox());
}

/// What a run asks can be answered at any device.
#[test]
fn a_question_is_shown_on_every_device() {
    let ask = "---
type: workflow
steps:
  what: {ask: 'What is {{ task }}?', choices: [bug, idea]}
---
";
    let mut sim = Sim::new(World::default(), &[("ask", ask)], &[ALLOW]);
    sim.create("ask", json!({}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    let mut phone = Kernel::new(VAULT, PHONE, sim.setting.clone(), 3);
    for (stamp, events) in &sim.log {
        phone.load(*stamp, events);
    }
    phone.handle(Input::Tick { now: sim.now });
    let here: Vec<Need> = sim.kernel.inbox().into_iter().cloned().collect();
    assert!(matches!(&here[..], [Need::Question { question, .. }] if question == "What is t?"), "{here:?}");
    assert_eq!(phone.needed_elsewhere(), here);
}
