//! Workflows: files that say what is done in which order.

pub mod alone;
mod draw;
mod graph;
mod read;
pub mod rehearsal;
mod trigger;

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Content;
use crate::expression::{Expression, Template};
use crate::failure::Retry;
use crate::mistake::{At, Mistake, Mistakes};
use crate::needs::Needs;
use crate::node::Front;
use crate::schema::Schema;
use crate::span::Millis;

pub use graph::check_calls;
pub use read::is_capability;
pub use trigger::{Change, Trigger, is_hook_path};

/// A workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    /// Its title, for people.
    pub title: Option<String>,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// What it is given.
    pub input: Schema,
    /// What it needs of the device that works on it.
    pub needs: Needs,
    /// What it does.
    pub steps: Steps,
    /// What is expected of it.
    pub expected: Expected,
    /// The prose that explains it.
    pub prose: String,
}

/// What is expected of a workflow. That it did not happen is a finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// So long after it was made, or was due, a task is over.
    pub by: Option<Millis>,
    /// What holds when a task is done.
    pub that: Option<Expression>,
}

/// Steps that follow each other, in the order of the file; the first is the start. Never empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Steps(pub Vec<Step>);

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name, unique among its siblings.
    pub name: String,
    /// Where it stands.
    pub at: At,
    /// What it does.
    pub act: Act,
    /// How often it is tried, where that is said.
    pub retry: Option<Retry>,
    /// How long it may take.
    pub timeout: Option<Millis>,
    /// Where to go when it has failed for good.
    pub on_error: Option<Target>,
    /// Where to go when it is done.
    pub next: Target,
}

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a sibling.
    Step(String),
    /// To the end of these steps.
    End,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// An agent works.
    Agent {
        /// The agent.
        agent: String,
        /// What it is given.
        input: Template,
    },
    /// Files of the vault are looked for.
    Find {
        /// Which: a path, in which `*` stands for any text.
        files: Template,
        /// What their frontmatter says.
        fields: Template,
    },
    /// The world is changed.
    Effect {
        /// What is done.
        deed: Box<Deed>,
        /// What takes it back.
        compensate: Option<Box<Deed>>,
    },
    /// The operator is asked.
    Ask {
        /// The question.
        question: Template,
        /// The answers there are; none: any text.
        choices: Vec<String>,
    },
    /// Something happened that others may start with or wait for.
    Emit {
        /// Its name.
        name: String,
        /// What it says.
        data: Template,
    },
    /// Time passes, or something happens.
    Wait(Wait),
    /// One of several ways is taken.
    Choose {
        /// The ways, in the order they are looked at.
        cases: Vec<(Expression, Target)>,
        /// The way if none of them holds.
        otherwise: Target,
    },
    /// The same for each item of a list.
    Each {
        /// The list.
        items: Expression,
        /// The name of the item in the steps.
        variable: String,
        /// How many at once.
        at_once: usize,
        /// What is done with each.
        steps: Steps,
    },
    /// Several things at once.
    Parallel(Vec<(String, Steps)>),
    /// Another workflow.
    Workflow {
        /// Its name.
        workflow: String,
        /// What it is given.
        input: Template,
    },
}

/// Something done to the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// What is needed for it, such as `mail.send`.
    pub capability: String,
    /// To whom or what.
    pub target: Template,
    /// All else that is sent.
    pub args: Template,
    /// The money it moves or costs.
    pub amount: Option<Template>,
    /// What policies may know it by.
    pub tags: Vec<String>,
    /// The agent whose work it is, where it is one's.
    pub agent: Option<String>,
}

impl Deed {
    /// One in which nothing is left to fill in.
    pub fn fixed(content: &Content) -> Deed {
        let Content { capability, target, args, amount, agent, tags } = content.clone();
        Deed {
            capability,
            target: Template::Fixed(target.into()),
            args: Template::Fixed(args),
            amount: amount.map(|amount| Template::Fixed(amount.to_string().into())),
            tags,
            agent,
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// Some time; a text is read as one when it is filled in.
    For(Template),
    /// A moment in RFC 3339.
    Until(Template),
    /// An event from outside.
    Event {
        /// Its type.
        name: String,
        /// Which of them.
        filter: Option<Expression>,
        /// How long; then the wait is over without one.
        deadline: Option<Millis>,
    },
}

/// What is there for workflows to use. What is not known is not checked.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The agents.
    pub agents: Option<BTreeSet<String>>,
    /// The workflows.
    pub workflows: Option<BTreeSet<String>>,
    /// The capabilities of connectors.
    pub capabilities: Option<BTreeSet<String>>,
    /// The time zones of the system.
    pub zones: Option<jiff::tz::TimeZoneDatabase>,
}

/// A workflow file after a look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What it says, as far as it could be read.
    pub workflow: Option<Workflow>,
    /// What is wrong with it.
    pub mistakes: Vec<Mistake>,
}

impl Workflow {
    /// Reads a workflow file; a workflow comes back only when nothing is wrong with it.
    pub fn read(text: &str, known: &Known) -> Result<Workflow, Vec<Mistake>> {
        let Checked { workflow, mistakes } = Workflow::check(text, known);
        match (workflow, mistakes.is_empty()) {
            (Some(workflow), true) => Ok(workflow),
            _ => Err(mistakes),
        }
    }

    /// Reads a workflow file and says all that is wrong with it.
    pub fn check(text: &str, known: &Known) -> Checked {
        let mut out = Mistakes::default();
        let workflow = match Front::read(text) {
            Ok(front) => read::workflow(front, known, &mut out),
            Err(mistake) => return Checked { workflow: None, mistakes: vec![mistake] },
        };
        if let Some(workflow) = &workflow {
            graph::check(&workflow.steps, &mut out);
        }
        Checked { workflow, mistakes: out.into_vec() }
    }

    /// The machine as a Mermaid flowchart.
    pub fn draw(&self) -> String {
        draw::flowchart(&self.steps)
    }

    /// The workflows that its steps start, and where.
    pub fn calls(&self) -> Vec<(String, At)> {
        let mut out = Vec::new();
        self.steps.each_step(&mut |step| {
            if let Act::Workflow { workflow, .. } = &step.act {
                out.push((workflow.clone(), step.at));
            }
        });
        out
    }
}

impl Steps {
    /// The step of that name.
    pub fn get(&self, name: &str) -> Option<&Step> {
        self.0.iter().find(|step| step.name == name)
    }

    /// The step that a path in a journal is about.
    pub fn at(&self, path: &str) -> Option<&Step> {
        let mut steps = self;
        let mut parts = path.split('/');
        let mut part = parts.next()?;
        loop {
            let name = part.split(['#', '[', '!', '~']).next()?;
            let step = steps.get(name)?;
            steps = match (&step.act, parts.next()) {
                (_, None) => return Some(step),
                (Act::Each { steps, .. }, Some(next)) => {
                    part = next;
                    steps
                }
                (Act::Parallel(branches), Some(branch)) => {
                    part = parts.next()?;
                    &branches.iter().find(|(name, _)| name == branch)?.1
                }
                (_, Some(_)) => return None,
            };
        }
    }

    /// Every step, those within steps too.
    pub fn each_step<'s>(&'s self, visit: &mut impl FnMut(&'s Step)) {
        // Depth is bounded by the reader's limit on nesting.
        let mut open: Vec<&Steps> = vec![self];
        while let Some(steps) = open.pop() {
            for step in &steps.0 {
                visit(step);
                open.extend(step.inner());
            }
        }
    }
}

impl Step {
    /// The steps within it.
    pub fn inner(&self) -> Vec<&Steps> {
        match &self.act {
            Act::Each { steps, .. } => vec![steps],
            Act::Parallel(branches) => branches.iter().map(|(_, steps)| steps).collect(),
            _ => Vec::new(),
        }
    }

    /// Where it can lead.
    pub fn targets(&self) -> Vec<&Target> {
        let mut out: Vec<&Target> = match &self.act {
            Act::Choose { cases, otherwise } => {
                cases.iter().map(|(_, target)| target).chain([otherwise]).collect()
            }
            _ => vec![&self.next],
        };
        out.extend(&self.on_error);
        out
    }

    /// Whether the run stands still here until time passes, something happens or the operator answers.
    pub fn rests(&self) -> bool {
        matches!(self.act, Act::Wait(_) | Act::Ask { .. })
    }
}

/// Workflows by name, each at the version in force.
pub type Library = BTreeMap<String, Workflow>;
