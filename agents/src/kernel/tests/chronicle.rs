use jiff::tz::TimeZone;

use super::*;
use crate::kernel::Page;

const MAILS: &str = "---
type: workflow
input: {type: object, properties: {clients: {type: array}}}
steps:
  all:
    each: input.clients
    as: client
    at_once: 9
    steps:
      send: {effect: mail.send, target: '{{ client }}', amount: 2.50, args: {}, agent: news, on_error: end}
---
";
const ALLOW: &str = "---
type: policy
rules: [{name: own, verdict: allow, target: own}]
---
";
const DAY: Millis = 86_400_000;

fn zone() -> TimeZone {
    jiff::tz::db().get("Europe/Amsterdam").unwrap()
}

fn pages(sim: &Sim) -> Vec<Page> {
    sim.kernel.pages(&zone(), START, START + DAY)
}

/// It coordinates, and has mails to somebody whom a policy allows, to one that is approved, to one that is changed, and one that is refused.
fn sim() -> Sim {
    let mut sim = Sim::new(World::default(), &[("mails", MAILS)], &[ALLOW]);
    sim.setting.coordinator = Some(LAPTOP);
    sim.restart();
    sim.create("mails", json!({"clients": ["own", "ann", "bob", "ev`e\n"]}));
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
    for need in sim.kernel.inbox().into_iter().cloned().collect::<Vec<_>>() {
        let Need::Approval { key, digest, step, content, .. } = need else { panic!("{need:?}") };
        sim.says(&match content.target.as_str() {
            "ann" => WorkEvent::approve(key, digest, &VAULT, &operator()),
            "bob" => {
                let content = Content { target: "robert".into(), ..content };
                WorkEvent::edit("t", &step, 0, content, &VAULT, &operator())
            }
            _ => WorkEvent::ApprovalDenied { key, note: "no".into() },
        });
    }
    sim.run();
    sim
}

#[test]
fn the_lines_of_a_day_say_what_was_done_by_whom_and_who_decided() {
    let sim = sim();
    let [page] = &pages(&sim)[..] else { panic!("one day") };
    assert_eq!(page.day, "2026-09-21");
    let lines: Vec<&str> = page.missing.iter().map(|entry| entry.line.as_str()).collect();
    let has = |part: &str| lines.iter().any(|line| line.contains(part));
    let task = "for [mails](../workflows/mails.md) `t`";
    assert!(
        has(&format!("16:13 `mail.send` to `own`, 2.50 by `news` {task}: allowed by [own](../p) (`")),
        "{lines:#?}"
    );
    assert!(has(&format!("`mail.send` to `ann`, 2.50 by `news` {task}: you approved it (`")), "{lines:#?}");
    assert!(has(&format!("to `robert`, 2.50 by `news` {task}: you approved it, changed (`")), "{lines:#?}");
    assert!(has(&format!("to `ev'e `, 2.50 by `news` {task}: you refused it: `no` (`")), "{lines:#?}");
    assert!(has("[mails](../workflows/mails.md) `t`: done"), "{lines:#?}");
    assert_eq!(lines.len(), 5);
    let note = page.write(None).unwrap();
    assert!(note.starts_with("---\ntype: journal\ndate: 2026-09-21\n---\n"), "{note}");
}

#[test]
fn a_line_is_written_once_also_where_it_is_taken_out() {
    let mut sim = sim();
    let page = pages(&sim).remove(0);
    sim.says(&page.written);
    assert_eq!(pages(&sim), []);
    sim.restart();
    assert_eq!(pages(&sim), []);
}

#[test]
fn the_day_that_is_not_over_and_days_before_have_no_note_and_others_write_none() {
    let mut sim = sim();
    assert_eq!(sim.kernel.pages(&zone(), START, START + 3_600_000), []);
    assert_eq!(sim.kernel.pages(&zone(), START + DAY, START + 3 * DAY), []);
    sim.setting.coordinator = Some(PHONE);
    sim.restart();
    assert_eq!(pages(&sim), []);
}

/// Two that took themselves for the coordinator wrote the same; whoever hears of both looks once more.
#[test]
fn what_two_wrote_is_tidied_once() {
    let mut sim = sim();
    let page = pages(&sim).remove(0);
    let once = page.write(None).unwrap();
    let event = Event::try_from(&page.written).unwrap();
    sim.says(&page.written);
    let input = sim.record(LAPTOP, vec![event]);
    sim.give(input);
    let [again] = &pages(&sim)[..] else { panic!("lines may stand twice") };
    assert_eq!(again.missing, []);
    let line = &again.all[0].line;
    let doubled = format!("{once}{line}\n");
    assert_eq!(again.write(Some(&doubled)), Some(once.clone()));
    assert_eq!(again.write(Some(&once)), None);
    let event = Event::try_from(&again.written).unwrap();
    let input = sim.record(LAPTOP, vec![event]);
    sim.give(input);
    assert_eq!(pages(&sim), []);
}
