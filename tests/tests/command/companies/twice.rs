//! A file that is saved again while it says the same starts its work again, and the business act happens once all the same: whoever saves
//! twice does not want two invoices.

use std::collections::BTreeMap;

use super::company::{Company, Faults};
use super::scenario::Act::{Change, Emit, Write};
use super::scenario::{Act, Scenario};

/// What is saved, again before anything is done about it, and once more when the operator is asked; then what happens outside.
struct Saves {
    first: Act,
    again: [Act; 2],
    then: Option<Act>,
    scenario: Scenario,
    /// The workflow that saves start.
    workflow: &'static str,
    /// To whom mails go, and about what.
    mails: &'static [(&'static str, &'static str)],
}

fn once(saves: &'static Saves, faults: Faults) {
    let company = Company::new(&saves.scenario, faults);
    company.happens(0, &saves.first);
    company.happens(1, &saves.again[0]);
    company.works();
    company.happens(2, &saves.again[1]);
    company.operate();
    if let Some(then) = &saves.then {
        company.happens(3, then);
        company.operate();
    }
    let wanted: BTreeMap<(String, String), usize> =
        saves.mails.iter().map(|(to, about)| (((*to).to_owned(), (*about).to_owned()), 1)).collect();
    let outcome = company.outcome();
    assert_eq!(outcome.mails, wanted, "{}: {:?}", saves.scenario.template, outcome.tasks);
    // Each save that counts has its own task, and each of these came to an end.
    let started = outcome.tasks.iter().filter(|(workflow, _)| workflow == saves.workflow);
    let states: Vec<&str> = started.map(|(_, state)| state.as_str()).collect();
    assert!(states.len() > 1 && states.iter().all(|it| *it == "done"), "{:?}", outcome.tasks);
    company.is_sound();
}

/// Undisturbed, and with each command killed and given again.
fn holds(saves: &'static Saves) {
    for faults in [Faults::Trace, Faults::Named("page.written"), Faults::Named("post.delivered")] {
        once(saves, faults);
    }
}

#[test]
fn a_brief_saved_twice_is_told_once() {
    const BRIEF: &str = "---\ntype: brief\ntitle: Lamp\naudience: makers\nmessage: Light from paper.\nchannels: [blog]\nlist: readers@list.example\nstatus: ready\n---\n";
    static SAVES: Saves = Saves {
        first: Write("briefs/lamp.md", BRIEF),
        again: [
            Change("briefs/lamp.md", "Light from paper.", "Light from thin paper."),
            Change("briefs/lamp.md", "thin paper.", "paper."),
        ],
        then: None,
        scenario: Scenario::of("creator", &[("Publish?", "publish")]),
        workflow: "launch",
        mails: &[("readers@list.example", "Lamp")],
    };
    holds(&SAVES);
}

#[test]
fn a_project_delivered_twice_has_one_invoice() {
    static SAVES: Saves = Saves {
        first: Change("projects/harbour-catalogue.md", "status: active", "status: delivered"),
        again: [
            Change("projects/harbour-catalogue.md", "hours: 12", "hours: 13"),
            Change("projects/harbour-catalogue.md", "hours: 13", "hours: 14"),
        ],
        then: Some(Emit(
            "bank.paid",
            "p1",
            &["reference=harbour-catalogue", "amount:=2800", "date=2026-11-30"],
        )),
        scenario: Scenario::of("freelancer", &[]),
        workflow: "deliver",
        mails: &[("mia@harbour.example", "Invoice harbour-catalogue")],
    };
    holds(&SAVES);
}

#[test]
fn a_milestone_done_twice_has_one_invoice() {
    static SAVES: Saves = Saves {
        first: Change("milestones/lido-design.md", "status: open", "status: done"),
        again: [
            Change("milestones/lido-design.md", "type: milestone\n", "type: milestone\nnote: a\n"),
            Change("milestones/lido-design.md", "note: a", "note: b"),
        ],
        then: None,
        scenario: Scenario::of("project-manager", &[]),
        workflow: "milestone",
        mails: &[("ines@lido.example", "Invoice lido-app-design-agreed")],
    };
    holds(&SAVES);
}
