//! Agents: files that say who works, on what, and within which bounds.

pub mod batch;
mod call;
mod edition;
mod import;
pub mod prompt;
mod read;
mod registry;
pub mod retrieval;
pub mod summary;
pub mod talk;
mod turn;

use std::fmt;

use serde_json::{Value, json};

use crate::address::{Address, Reach};
use crate::component::Component;
use crate::failure::{Class, Failure, Retry};
use crate::mistake::{Mistake, Mistakes};
use crate::money::Money;
use crate::node::Front;
use crate::policy;
use crate::program::Program;
use crate::sandbox::Sandbox;
use crate::schema::Schema;
use crate::span::Millis;

pub use batch::Batched;
pub use edition::Edition;
pub use import::{ImportError, Imported, import};
pub use registry::{Entry, File, Registry};
pub use turn::{TEMPLATE, Turn};

/// An agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// What it is for, in a line.
    pub description: Option<String>,
    /// What does its work.
    pub runtime: Runtime,
    /// The program, where one does it.
    pub program: Option<Program>,
    /// The component, where one does it.
    pub component: Option<Component>,
    /// Which model, where it is one.
    pub model: Choice,
    /// What goes in and what comes out.
    pub inputs: Shape,
    /// What it gives.
    pub outputs: Shape,
    /// Paths that it may look at, in which `*` stands for any text; none: it reads nothing.
    pub reads: Vec<String>,
    /// Paths that it may propose to write.
    pub writes: Vec<String>,
    /// Addresses that it may look at.
    pub fetches: Vec<Reach>,
    /// Other agents that it may ask.
    pub agents: Vec<String>,
    /// What it may use.
    pub tools: Vec<Tool>,
    /// The capabilities of effects that are its work; nothing: those of the steps that name it.
    pub effects: Option<Vec<String>>,
    /// Whether doing it twice is as doing it once.
    pub idempotent: bool,
    /// Whether its model is not asked what this device asked it before, to the letter.
    pub cache: bool,
    /// Whether its work may wait for a day where that costs less.
    pub patient: bool,
    /// Whether each of its effects asks, whatever policies allow.
    pub always_asks: bool,
    /// What one piece of its work may take.
    pub budget: Budget,
    /// How long one piece of its work may take.
    pub timeout: Option<Millis>,
    /// How often a failed attempt is made again, where the step does not say.
    pub retry: Option<Retry>,
    /// The devices that may do it, by name; none: any.
    pub placement: Vec<String>,
    /// The only fields of frontmatter that it is shown; none: all.
    pub expose_fields: Vec<String>,
    /// What it is given and gives, to try it with.
    pub examples: Vec<Example>,
    /// So many tokens of the files it may look at are shown to it from the beginning; nothing: none.
    pub retrieval: Option<u64>,
    /// Files of `agents` that belong to its instructions.
    pub context: Vec<String>,
    /// Instructions that it may ask for.
    pub skills: Vec<String>,
    /// What it gives where its runtime is a model and none is set up.
    pub template: Option<String>,
    /// Its template or its instructions.
    pub body: String,
}

/// What does the work of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Its text, filled in.
    Template,
    /// A model.
    Model,
    /// A program.
    Command,
    /// A component.
    Wasm,
    /// The notes of days.
    Journal,
}

/// Which model works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The first of a tier that answers.
    Tier(String),
    /// This one: the provider, and its name there.
    One(String, String),
}

/// What an agent may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Reads a file.
    Read,
    /// Looks for files.
    Search,
    /// Proposes a new file.
    Write,
    /// Proposes to change fields of a file, or to add to it.
    Set,
    /// Reads what lies at an address.
    Fetch,
    /// Asks the operator.
    Ask,
}

/// What one piece of work may take, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Money.
    pub money: Option<Money>,
    /// Tokens, in and out.
    pub tokens: u64,
    /// Answers of the model.
    pub turns: u32,
}

/// What a value is to be.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Shape {
    /// Anything; of what comes out: a text.
    #[default]
    Any,
    /// What the schema says.
    Schema(Box<Schema>, Value),
    /// A map whose `type` is this.
    Entity(String),
}

/// Something to try an agent with.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What it is given.
    pub input: Value,
    /// What it gives, where that is fixed.
    pub output: Option<Value>,
}

impl Budget {
    /// No more of anything than another has.
    fn within(&self, other: &Budget) -> Budget {
        let money = match (self.money, other.money) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        Budget { money, tokens: self.tokens.min(other.tokens), turns: self.turns.min(other.turns) }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(money) = self.money {
            write!(f, "{money}, ")?;
        }
        write!(f, "{} tokens, {} answers", self.tokens, self.turns)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget { money: None, tokens: 200_000, turns: 12 }
    }
}

impl Runtime {
    const NAMES: [(&str, Runtime); 5] = [
        ("template", Runtime::Template),
        ("model", Runtime::Model),
        ("command", Runtime::Command),
        ("wasm", Runtime::Wasm),
        ("journal", Runtime::Journal),
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        Runtime::NAMES.iter().find(|(_, it)| *it == self).map_or("", |(name, _)| name)
    }
}

impl Tool {
    /// All of them by name.
    pub const NAMES: [(&str, Tool); 6] = [
        ("read", Tool::Read),
        ("search", Tool::Search),
        ("write", Tool::Write),
        ("set", Tool::Set),
        ("fetch", Tool::Fetch),
        ("ask", Tool::Ask),
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        Tool::NAMES.iter().find(|(_, it)| *it == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Tier(tier) => f.write_str(tier),
            Choice::One(provider, model) => write!(f, "{provider}/{model}"),
        }
    }
}

impl Shape {
    /// The first thing that is wrong with a value; `path` is its name.
    pub fn misfit(&self, path: &str, value: &Value) -> Option<String> {
        match self {
            Shape::Any => None,
            Shape::Schema(schema, _) => schema.misfits(path, value).first().map(ToString::to_string),
            Shape::Entity(name) => (value.get("type").and_then(Value::as_str) != Some(name))
                .then(|| format!("{path}: must be a map whose `type` is `{name}`")),
        }
    }

    /// As JSON Schema, for whoever is to keep to it; nothing for anything.
    pub fn schema(&self) -> Option<Value> {
        match self {
            Shape::Any => None,
            Shape::Schema(_, written) => Some(written.clone()),
            Shape::Entity(name) => Some(json!({
                "type": "object", "required": ["type"], "properties": {"type": {"const": name}},
            })),
        }
    }
}

impl Agent {
    /// Reads an agent's file; `name` is that of the file.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn read(name: &str, text: &str) -> Result<Agent, Vec<Mistake>> {
        let front = Front::read(text).map_err(|mistake| vec![mistake])?;
        let mut out = Mistakes::default();
        let agent = read::agent(name, text, front, &mut out);
        match (agent, out.count()) {
            (Some(agent), 0) => Ok(agent),
            _ => Err(out.into_vec()),
        }
    }

    /// Holds what goes in to the contract, with the defaults of what it lacks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&self, input: &Value) -> Result<Value, Failure> {
        let input = match &self.inputs {
            Shape::Schema(schema, _) => schema.complete(input.clone()),
            _ => input.clone(),
        };
        match self.inputs.misfit("input", &input) {
            Some(what) => Err(Failure::new(Class::Permanent, what)),
            None => Ok(input),
        }
    }

    /// What a text that it gave comes to: the text, or where it says what it gives, that, read as JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn give(&self, text: &str) -> Result<Value, Failure> {
        let invalid = |what: String| Failure::new(Class::InvalidOutput, what);
        if self.outputs == Shape::Any {
            return Ok(json!({"text": text}));
        }
        let value: Value = serde_json::from_str(unfenced(text))
            .map_err(|e| invalid(format!("what it gives is no JSON: {e}")))?;
        match self.outputs.misfit("output", &value) {
            Some(what) => Err(invalid(what)),
            None => Ok(value),
        }
    }

    /// As long as it is not in force, it reaches and takes no more than the version that is (I11): what it is then, and what it goes without.
    pub fn within(mut self, accepted: Option<&Agent>) -> (Agent, Vec<String>) {
        let mut without = Vec::new();
        let reads = accepted.map_or(&[][..], |it| &it.reads);
        let (known, new) = self.reads.into_iter().partition(|glob| reads.contains(glob));
        self.reads = known;
        without.extend(Vec::into_iter(new).map(|glob: String| format!("reads: {glob}")));
        let fetches = accepted.map_or(&[][..], |it| &it.fetches);
        let (known, new) = self.fetches.into_iter().partition(|reach| fetches.contains(reach));
        self.fetches = known;
        without.extend(Vec::into_iter(new).map(|reach: Reach| format!("fetches: {reach}")));
        let agents = accepted.map_or(&[][..], |it| &it.agents);
        let (known, new) = self.agents.into_iter().partition(|name| agents.contains(name));
        self.agents = known;
        without.extend(Vec::into_iter(new).map(|name: String| format!("agents: {name}")));
        // No fields at all would be all of them.
        let fields = accepted.map_or(&[][..], |it| &it.expose_fields);
        if !fields.is_empty() {
            let known = |field: &String| fields.contains(field);
            if self.expose_fields.is_empty() || !self.expose_fields.iter().all(known) {
                without.push("expose_fields".to_owned());
                self.expose_fields = fields.to_vec();
            }
        }
        if let Some(accepted) = accepted {
            let most = self.budget.within(&accepted.budget);
            if most != self.budget {
                without.push(format!("budget: more than {most}"));
                self.budget = most;
            }
        }
        if let Some(program) = &mut self.program {
            // What was opened was opened to that program and no other.
            let known = accepted.and_then(|it| it.program.as_ref()).is_some_and(|it| it == program);
            if !known && program.sandbox != Sandbox::default() {
                without.push(format!("sandbox: {}", program.sandbox));
                program.sandbox = Sandbox::default();
            }
        }
        if let Some(component) = &mut self.component {
            let known = accepted.and_then(|it| it.component.as_ref()).map(|it| it.limits);
            let most = component.limits.within(&known.unwrap_or_default());
            if most != component.limits {
                without.push(format!("limits: more than {most}"));
                component.limits = most;
            }
        }
        (self, without)
    }

    /// Whether an effect of this capability may be its work.
    pub fn may(&self, capability: &str) -> bool {
        self.effects.as_ref().is_none_or(|effects| effects.iter().any(|it| it == capability))
    }

    /// Whether it may look at a path.
    pub fn may_read(&self, path: &str) -> bool {
        is_plain(path) && self.reads.iter().any(|glob| policy::like(glob, path))
    }

    /// Whether it may look at an address.
    pub fn may_fetch(&self, address: &Address) -> bool {
        self.fetches.iter().any(|reach| reach.has(address))
    }

    /// Whether it may propose to write to a path.
    pub fn may_write(&self, path: &str) -> bool {
        is_plain(path) && self.writes.iter().any(|glob| policy::like(glob, path))
    }
}

/// Whether a path is one below the vault and nothing clever.
fn is_plain(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(plain) && !path.contains('\\') && !path.chars().any(char::is_control)
}

/// What stands in a fence of Markdown, where all of the text does: models put JSON there.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inside.and_then(|inside| inside.split_once('\n')).map_or(text, |(_, body)| body.trim())
}

#[cfg(test)]
mod tests;
