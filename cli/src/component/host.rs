//! What a component finds around it: the tools that its agent's file grants, and bounds.

use std::collections::BTreeSet;

use aios_agents::component::{Ended, Limits, told};
use aios_agents::model::Call;
use serde_json::{Map, Value, json};
use wasmtime::component::Linker;
use wasmtime::{ResourceLimiter, Result, StoreContextMut};

use super::Worker;
use super::wasi::Surroundings;

/// The interface of the tools, in `docs/sample/component/wit/agent.wit`.
const TOOLS: &str = "aios:agent/tools@0.1.0";
/// The most elements of all tables of a component.
const MOST_ELEMENTS: usize = 100_000;
/// The most instances, memories and tables that a component may be made of.
const MOST_PARTS: usize = 100;

/// One piece of work of a component.
pub struct Host {
    /// The calls that it made before, each with what came of it.
    made: Vec<(Call, String)>,
    /// The next of them.
    next: usize,
    ended: Option<Ended>,
    /// Bytes of memory that it has, and may have.
    memory: (usize, usize),
    elements: usize,
    grown: bool,
    /// What it sees of a system.
    pub around: Surroundings,
}

impl Host {
    /// Nothing happened yet.
    pub fn new(worker: &Worker, limits: &Limits) -> Host {
        Host {
            made: worker.made.clone(),
            next: 0,
            ended: None,
            memory: (0, usize::try_from(limits.memory).unwrap_or(usize::MAX)),
            elements: 0,
            grown: false,
            around: Surroundings::new(worker.code.version),
        }
    }

    /// Says why it is ended from this side.
    pub fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
    }

    /// Why it was ended, where that was from this side.
    pub fn ended(&mut self) -> Option<Ended> {
        self.ended.take().or(self.grown.then_some(Ended::Grown))
    }

    /// What came of a call; where it was not made yet, the work ends here, and begins anew when that is known.
    fn call(&mut self, name: &str, arguments: Value) -> Result<(Outcome,)> {
        let arguments = arguments.to_string();
        match self.made.get(self.next) {
            Some((call, came)) if call.name == name && call.arguments == arguments => {
                self.next += 1;
                Ok((told(came),))
            }
            Some((call, _)) => {
                let what = format!("it calls `{name}` where it called `{}`", call.name);
                self.end(Ended::Strayed(what));
                Err(wasmtime::Error::msg("it strayed"))
            }
            None => {
                let id = format!("c{}", self.next + 1);
                self.end(Ended::Calls(Call { id, name: name.to_owned(), arguments }));
                Err(wasmtime::Error::msg("it waits"))
            }
        }
    }
}

/// What a component is told of what came of a call.
type Outcome = std::result::Result<String, String>;

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let used = self.memory.0.saturating_add(desired.saturating_sub(current));
        self.grown |= used > self.memory.1;
        if used <= self.memory.1 {
            self.memory.0 = used;
        }
        Ok(used <= self.memory.1)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let used = self.elements.saturating_add(desired.saturating_sub(current));
        self.grown |= used > MOST_ELEMENTS;
        if used <= MOST_ELEMENTS {
            self.elements = used;
        }
        Ok(used <= MOST_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MOST_PARTS
    }

    fn tables(&self) -> usize {
        MOST_PARTS
    }

    fn memories(&self) -> usize {
        MOST_PARTS
    }
}

/// Whether an interface is that of the tools.
pub fn is_of(name: &str) -> bool {
    name == TOOLS
}

/// Puts the tools that are granted where a component looks for them.
///
/// # Errors
/// What the engine answers.
pub fn link(linker: &mut Linker<Host>, granted: &BTreeSet<String>) -> Result<()> {
    type Cx<'a> = StoreContextMut<'a, Host>;
    let mut tools = linker.instance(TOOLS)?;
    for tool in granted {
        match tool.as_str() {
            "read" => tools.func_wrap("read", |mut cx: Cx<'_>, (path, line): (String, u32)| {
                cx.data_mut().call("read", json!({"path": path, "from": line.max(1)}))
            })?,
            "search" => tools.func_wrap("search", |mut cx: Cx<'_>, (files, text): (String, String)| {
                cx.data_mut().call("search", json!({"files": files, "text": text}))
            })?,
            "write" => tools.func_wrap(
                "write",
                |mut cx: Cx<'_>, (path, fields, body): (String, String, String)| {
                    let fields = map(&fields);
                    cx.data_mut().call("write", json!({"path": path, "fields": fields, "body": body}))
                },
            )?,
            "set" => {
                tools.func_wrap("set", |mut cx: Cx<'_>, (path, set, append): (String, String, String)| {
                    let set = map(&set);
                    cx.data_mut().call("set", json!({"path": path, "set": set, "append": append}))
                })?
            }
            "fetch" => tools.func_wrap("fetch", |mut cx: Cx<'_>, (address,): (String,)| {
                cx.data_mut().call("fetch", json!({"address": address}))
            })?,
            "ask" => {
                tools.func_wrap("ask", |mut cx: Cx<'_>, (question, choices): (String, Vec<String>)| {
                    let choices = (!choices.is_empty()).then_some(choices);
                    cx.data_mut().call("ask", json!({"question": question, "choices": choices}))
                })?
            }
            "propose" => tools.func_wrap(
                "propose",
                |mut cx: Cx<'_>, (capability, target, args, amount): (String, String, String, String)| {
                    let amount = (!amount.is_empty()).then_some(amount);
                    let arguments = json!({"capability": capability, "target": target, "args": map(&args), "amount": amount});
                    cx.data_mut().call("propose", arguments)
                },
            )?,
            "agent" => tools.func_wrap("agent", |mut cx: Cx<'_>, (name, input): (String, String)| {
                cx.data_mut().call("agent", json!({"name": name, "input": map(&input)}))
            })?,
            _ => {}
        }
    }
    Ok(())
}

/// A map that a component wrote as JSON; empty for no text at all. What is none stays a text, which the contract refuses.
fn map(text: &str) -> Value {
    match text.trim().is_empty() {
        true => Map::new().into(),
        false => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}
