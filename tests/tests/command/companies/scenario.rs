//! What happens to each company, what its operator answers, and what must come of it.

use std::collections::BTreeMap;

/// Something that happens.
#[derive(Debug)]
pub enum Act {
    /// A mail comes: from whom, about what, saying what.
    Mail(&'static str, &'static str, &'static str),
    /// Something is told: its name and id, and what it says.
    Emit(&'static str, &'static str, &'static [&'static str]),
    /// The operator starts work under a name.
    Run(&'static str, &'static str, &'static [&'static str]),
    /// The operator writes a file.
    Write(&'static str, &'static str),
    /// The operator changes a text in a file.
    Change(&'static str, &'static str, &'static str),
}

/// One after the other: what happens, and what must be so before the next: a file has a line.
pub type Step = (Act, (&'static str, &'static str));

/// What happens to a company.
#[derive(Debug)]
pub struct Scenario {
    /// The template.
    pub template: &'static str,
    /// What happens.
    pub steps: &'static [Step],
    /// What the operator answers to a question with these words.
    pub answers: &'static [(&'static str, &'static str)],
    /// To whom mails go, and about what: each once.
    mails: &'static [(&'static str, &'static str)],
}

impl Scenario {
    /// A company to which nothing happens by itself.
    pub const fn of(template: &'static str, answers: &'static [(&'static str, &'static str)]) -> Scenario {
        Scenario { template, steps: &[], answers, mails: &[] }
    }

    /// The mails that go out.
    pub fn sends(&self) -> BTreeMap<(String, String), usize> {
        self.mails.iter().map(|(to, subject)| (((*to).to_owned(), (*subject).to_owned()), 1)).collect()
    }
}

use Act::{Change, Emit, Mail, Run, Write};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        template: "consultant",
        steps: &[
            (
                Mail("ann@quay.example", "Heat map", "Could you draw our berths?"),
                ("clients/ann-quay-example.md", "status: proposal"),
            ),
            (
                Mail("ann@quay.example", "Re: Proposal", "Agreed."),
                ("clients/ann-quay-example.md", "status: active"),
            ),
            (
                Run("billing", "first", &["month=2026-11"]),
                ("invoices/2026-11-ann-quay-example.md", "status: sent"),
            ),
            (
                Run("billing", "again", &["month=2026-11"]),
                ("invoices/2026-11-ann-quay-example.md", "status: sent"),
            ),
            (
                Emit(
                    "bank.paid",
                    "b1",
                    &["reference=2026-11-ann-quay-example", "amount:=4400", "date=2026-11-30"],
                ),
                ("invoices/2026-11-ann-quay-example.md", "paid: 2026-11-30"),
            ),
        ],
        answers: &[("how many days", "5")],
        mails: &[
            ("ann@quay.example", "Proposal: Heat map"),
            ("ann@quay.example", "Invoice 2026-11-ann-quay-example"),
        ],
    },
    Scenario {
        template: "creator",
        steps: &[
            (
                Mail("fan@post.example", "Idea: Lamp", "A lamp of paper."),
                ("ideas/lamp.md", "A lamp of paper."),
            ),
            (
                Emit(
                    "stats.received",
                    "s1",
                    &["title=Kite", "channel=blog", "audience=makers", "reach:=3100"],
                ),
                ("performance/kite-blog.md", "reach: 3100"),
            ),
            (
                Emit(
                    "stats.received",
                    "s1",
                    &["title=Kite", "channel=blog", "audience=makers", "reach:=3100"],
                ),
                ("performance/kite-blog.md", "reach: 3100"),
            ),
            (
                Write(
                    "briefs/lamp.md",
                    "---\ntype: brief\ntitle: Lamp\naudience: makers\nmessage: Light from paper.\nchannels: [blog, video]\nlist: readers@list.example\nstatus: ready\n---\n",
                ),
                ("briefs/lamp.md", "status: launched"),
            ),
        ],
        answers: &[("Publish?", "publish")],
        mails: &[("readers@list.example", "Lamp")],
    },
    Scenario {
        template: "freelancer",
        steps: &[
            (
                Run("quote", "site", &["client=harbour", "title=Site", "hours=10"]),
                ("proposals/harbour-site.md", "status: sent"),
            ),
            (
                Run("quote", "site-again", &["client=harbour", "title=Site", "hours=10"]),
                ("proposals/harbour-site.md", "status: sent"),
            ),
            (
                Change("projects/harbour-catalogue.md", "hours: 12", "hours: 41"),
                ("projects/harbour-catalogue.md", "status: over budget"),
            ),
            (
                Change("projects/harbour-catalogue.md", "status: over budget", "status: delivered"),
                ("invoices/harbour-catalogue.md", "status: sent"),
            ),
            (
                Emit("bank.paid", "p1", &["reference=harbour-catalogue", "amount:=2800", "date=2026-11-30"]),
                ("invoices/harbour-catalogue.md", "paid: 2026-11-30"),
            ),
        ],
        answers: &[("What now?", "tell the client")],
        mails: &[
            ("mia@harbour.example", "Proposal: Site"),
            ("mia@harbour.example", "Catalogue: hours"),
            ("mia@harbour.example", "Invoice harbour-catalogue"),
        ],
    },
    Scenario {
        template: "product",
        steps: &[
            (Mail("eve@user.example", "Login fails", "It says no."), ("issues/login-fails.md", "kind: bug")),
            (
                Mail("bob@user.example", "Login fails", "Me too."),
                ("issues/login-fails.md", "bob@user.example has it"),
            ),
            (
                Write(
                    "releases/1-4.md",
                    "---\ntype: release\nversion: '1.4'\nlist: users@list.example\nstatus: ready\n---\n",
                ),
                ("deploys/1-4.md", "state: go"),
            ),
            (
                Emit("deploy.done", "d1", &["version=1.4", "healthy:=true"]),
                ("releases/1-4.md", "status: shipped"),
            ),
        ],
        answers: &[("What is it?", "bug")],
        mails: &[("users@list.example", "Version 1.4")],
    },
    Scenario {
        template: "project-manager",
        steps: &[
            (
                Run("update", "w47", &["week=2026-w47"]),
                ("updates/2026-w47-booking-app.md", "Design agreed: open"),
            ),
            (
                Run("update", "w47b", &["week=2026-w47"]),
                ("updates/2026-w47-booking-app.md", "Design agreed: open"),
            ),
            (
                Change("milestones/lido-design.md", "status: open", "status: done"),
                ("milestones/lido-design.md", "status: invoiced"),
            ),
            (Mail("ines@lido.example", "Colours", "Which blue?"), ("questions/", "status: answered")),
        ],
        answers: &[("What is the answer?", "The dark one.")],
        mails: &[
            ("ines@lido.example", "Booking app: where it stands"),
            ("ines@lido.example", "Invoice lido-app-design-agreed"),
            ("ines@lido.example", "Re: Colours"),
        ],
    },
    Scenario {
        template: "micro-saas",
        steps: &[
            (
                Emit("error.reported", "e1", &["service=api", "message=Timeout", "day=2026-11-20"]),
                ("actions/2026-11-20-api-timeout.md", "do: restart"),
            ),
            (
                Emit("error.reported", "e2", &["service=api", "message=Timeout", "day=2026-11-20"]),
                ("incidents/2026-11-20-api-timeout.md", "again"),
            ),
            (
                Emit("service.well", "w1", &["service=api"]),
                ("incidents/2026-11-20-api-timeout.md", "status: resolved"),
            ),
            (Run("followup", "w47", &["week=2026-w47"]), ("reports/2026-w47.md", "resolved: 1")),
        ],
        answers: &[("Do it?", "yes")],
        mails: &[("status@users.example", "api: Timeout")],
    },
];
