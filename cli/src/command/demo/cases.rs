//! What the three devices do to the sample company while apart, and what must come of it.

/// One device of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Where the vault was made.
    Laptop,
    /// Paired as a phone.
    Phone,
    /// Paired as a worker.
    Worker,
}

/// What a person or a script does to a file.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Replaces the only place where a text stands.
    Replace(&'static str, &'static str, &'static str),
    /// Renames a file or folder.
    Rename(&'static str, &'static str),
    /// Removes a file.
    Remove(&'static str),
    /// Writes a new file.
    Write(&'static str, &'static str),
}

/// What must hold of the merged file beyond its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nothing else.
    Any,
    /// Every line ends with CR LF.
    Crlf,
    /// The last line has no end.
    NoFinalNewline,
}

/// Edits that meet.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What meets what.
    pub title: &'static str,
    /// Who does what.
    pub acts: &'static [(On, Act)],
    /// Where to look afterwards.
    pub path: &'static str,
    /// Parts of the lines that must be there, once each.
    pub lines: &'static [&'static str],
    /// What else must hold.
    pub form: Form,
    /// A file that must be gone.
    pub gone: Option<&'static str>,
}

use Act::{Remove, Rename, Replace, Write};
use On::{Laptop, Phone, Worker};

/// All of them. The devices commit in the order laptop, phone, worker: of two values for one key the worker's is later.
pub const CASES: &[Case] = &[
    Case {
        title: "two lines of one file",
        acts: &[
            (Laptop, Replace("inbox.md", "Ring Bram about", "Ring Bram's office about")),
            (
                Phone,
                Replace(
                    "inbox.md",
                    "names of the ward managers for the 22nd",
                    "ward managers, all five names by the 22nd",
                ),
            ),
        ],
        path: "inbox.md",
        lines: &["Ring Bram's office about", "all five names by the 22nd"],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "two words of one line",
        acts: &[
            (Laptop, Replace("projects/noordkaai-berth-dashboard.md", "page on A3", "page on A4")),
            (Phone, Replace("projects/noordkaai-berth-dashboard.md", "printed at 06:15", "printed at 06:00")),
        ],
        path: "projects/noordkaai-berth-dashboard.md",
        lines: &["- A morning page on A4, in grey, printed at 06:00."],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "two keys next to each other",
        acts: &[
            (Laptop, Replace("invoices/2026-036.md", "due: 2026-11-15", "due: 2026-11-30")),
            (Phone, Replace("invoices/2026-036.md", "status: sent", "status: reminded")),
        ],
        path: "invoices/2026-036.md",
        lines: &["due: 2026-11-30", "status: reminded"],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "two values for one key: the later stands, the other is kept",
        acts: &[
            (Laptop, Replace("clients/noordkaai-terminals.md", "rate: 880 ", "rate: 900 ")),
            (Worker, Replace("clients/noordkaai-terminals.md", "rate: 880 ", "rate: 920 ")),
        ],
        path: "clients/noordkaai-terminals.md",
        lines: &["rate: 920 "],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "an item added to a list, another removed",
        acts: &[
            (
                Laptop,
                Replace(
                    "content/heat-in-the-city.md",
                    "tags: [maps, climate, colour]",
                    "tags: [maps, climate, colour, night]",
                ),
            ),
            (
                Phone,
                Replace(
                    "content/heat-in-the-city.md",
                    "tags: [maps, climate, colour]",
                    "tags: [climate, colour]",
                ),
            ),
        ],
        path: "content/heat-in-the-city.md",
        lines: &["tags: [climate, colour, night]"],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "a file renamed, and edited",
        acts: &[
            (Laptop, Rename("people/tomas-reyes.md", "people/tomás-reyes.md")),
            (Worker, Replace("people/tomas-reyes.md", "day_rate: 480", "day_rate: 500")),
        ],
        path: "people/tomás-reyes.md",
        lines: &["day_rate: 500"],
        form: Form::Any,
        gone: Some("people/tomas-reyes.md"),
    },
    Case {
        title: "a file deleted, and edited: the edit is kept, the delete is shown",
        acts: &[
            (Phone, Remove("projects/mossel-menu-insights.md")),
            (Laptop, Replace("projects/mossel-menu-insights.md", "status: on-hold", "status: active")),
        ],
        path: "projects/mossel-menu-insights.md",
        lines: &["status: active"],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "a folder renamed, and a new file in it",
        acts: &[
            (Laptop, Rename("journal", "diary")),
            (
                Phone,
                Write(
                    "journal/2026-10-21.md",
                    "---\ndate: 2026-10-21\nmood: hopeful\n---\n\n# Wednesday 21 October\n\nProposal sent.\n",
                ),
            ),
        ],
        path: "diary/2026-10-21.md",
        lines: &["mood: hopeful", "Proposal sent."],
        form: Form::Any,
        gone: Some("journal"),
    },
    Case {
        title: "the same folder, and a file in it edited",
        acts: &[(Worker, Replace("journal/2026-10-20.md", "mood: good", "mood: good, tired"))],
        path: "diary/2026-10-20.md",
        lines: &["mood: good, tired"],
        form: Form::Any,
        gone: None,
    },
    Case {
        title: "a file with CR LF: it stays so",
        acts: &[
            (Laptop, Replace("clients/lindenmeer.md", "payment_days: 45", "payment_days: 30")),
            (Phone, Replace("clients/lindenmeer.md", "Budget is about 12000", "Budget is at most 12500")),
        ],
        path: "clients/lindenmeer.md",
        lines: &["payment_days: 30", "- Budget is at most 12500"],
        form: Form::Crlf,
        gone: None,
    },
    Case {
        title: "a file without a final newline: it stays so",
        acts: &[
            (Phone, Replace("content/newsletter-2026-11.md", "audience: 438", "audience: 441")),
            (Worker, Replace("content/newsletter-2026-11.md", "Until December,", "Until the shortest day,")),
        ],
        path: "content/newsletter-2026-11.md",
        lines: &["audience: 441", "Until the shortest day,"],
        form: Form::NoFinalNewline,
        gone: None,
    },
    Case {
        title: "one new file, made twice: both are in it",
        acts: &[
            (
                Laptop,
                Write(
                    "invoices/2026-039.md",
                    "---\ntype: invoice\nnumber: 2026-039\n---\n\n# Invoice 2026-039\n\nHavdal, workshop.\n",
                ),
            ),
            (
                Worker,
                Write(
                    "invoices/2026-039.md",
                    "---\ntype: invoice\nnumber: 2026-039\n---\n\n# Invoice 2026-039\n\nKeerlijn, second draft.\n",
                ),
            ),
        ],
        path: "invoices/2026-039.md",
        lines: &["# Invoice 2026-039", "Havdal, workshop.", "Keerlijn, second draft."],
        form: Form::Any,
        gone: None,
    },
];
