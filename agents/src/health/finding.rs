//! One thing that failed silently.

use aios_core::id::DeviceId;
use serde::Serialize;

use crate::span::Millis;

/// What kind of failure it is, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nobody knows whether an effect happened.
    Unknown,
    /// An effect was refused, and had begun.
    Refused,
    /// A run cannot go on by itself: a dead letter.
    Stuck,
    /// Effects of a connector failed one after the other, and wait.
    Open,
    /// A task failed.
    Failed,
    /// A schedule was due, and nothing started.
    Missed,
    /// What comes from outside is not looked for.
    Unpolled,
    /// A new version of an agent did worse than the old one, and has no more tasks.
    Worse,
    /// What a workflow expects did not happen.
    Unmet,
    /// A run ended without any output or effect.
    Fruitless,
    /// Work should have gone on by now.
    Overdue,
    /// The operator was asked long ago.
    Asked,
    /// It happened, and later than it should.
    Late,
    /// A step fails more often than before.
    Retries,
    /// A member was not heard of for long.
    Silent,
}

/// One thing that failed silently, with what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind it is.
    #[serde(rename = "finding")]
    pub kind: Kind,
    /// When it happened, or should have.
    pub at: Millis,
    /// The workflow, where it is about one.
    pub workflow: Option<String>,
    /// The task, where it is about one.
    pub task: Option<String>,
    /// The step, where it is about one.
    pub step: Option<String>,
    /// The device, where it is about one.
    pub device: Option<DeviceId>,
    /// What happened, in one line.
    pub what: String,
    /// Commands that go on from here.
    pub next: Vec<String>,
}

impl Finding {
    /// A finding about nothing in particular yet.
    pub fn new(kind: Kind, at: Millis, what: impl Into<String>) -> Finding {
        Finding {
            kind,
            at,
            workflow: None,
            task: None,
            step: None,
            device: None,
            what: what.into(),
            next: Vec::new(),
        }
    }
}
