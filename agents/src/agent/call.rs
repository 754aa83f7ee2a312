//! What a model's call of a tool comes to, held to its agent's file.

use serde_json::{Map, Value, json};

use super::talk::{Look, Next, Talk, shown};
use super::{Agent, Entry, Runtime, Tool, Turn, prompt};
use crate::address::{Address, Reach};
use crate::connector::{CREATE, SET, is_of_files};
use crate::event::Content;
use crate::failure::Failure;
use crate::model::Call;
use crate::money::Money;
use crate::runtime::Template;

/// The longest question to the operator, in bytes.
const MOST_QUESTION: usize = 2_000;

impl Talk<'_> {
    /// What a call comes to. What the contract does not allow is told to the model, and nothing is done.
    pub(super) fn call(&self, call: &Call, within: &[Turn]) -> Next {
        match self.allowed(call, within) {
            Ok(next) => next,
            Err(what) => Next::Took(Turn::Came {
                call: call.id.clone(),
                text: format!("refused: {what}"),
                untrusted: false,
            }),
        }
    }

    fn allowed(&self, call: &Call, within: &[Turn]) -> Result<Next, String> {
        let agent = &self.entry.agent;
        let specs = prompt::tools(self.entry);
        if !specs.iter().any(|spec| spec.name == call.name) {
            let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(format!("there is no tool `{}`; there are: {}", shown(&call.name), names.join(", ")));
        }
        let source = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let value: Value =
            serde_json::from_str(source).map_err(|e| format!("the arguments are no JSON: {e}"))?;
        let Value::Object(arguments) = value else { return Err("the arguments are no map".into()) };
        let text = |name: &str| match arguments.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{name}` must be text")),
        };
        let need = |name: &str| text(name)?.ok_or_else(|| format!("`{name}` is missing"));
        let map = |name: &str| match arguments.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(format!("`{name}` must be a map")),
        };
        let known = |names: &[&str]| match arguments.keys().find(|key| !names.contains(&key.as_str())) {
            Some(key) => Err(format!("there is no argument `{}`", shown(key))),
            None => Ok(()),
        };
        let wants =
            |content: Content| Next::Took(Turn::Wants { call: call.id.clone(), content: Box::new(content) });
        let content = |capability: &str, target: String, args: Value, amount: Option<Money>| Content {
            capability: capability.to_owned(),
            target,
            args,
            amount,
            agent: Some(self.name.to_owned()),
            tags: Vec::new(),
        };
        let look = |look: Look| Next::Look { call: call.id.clone(), look };
        Ok(match call.name.as_str() {
            "read" => {
                known(&["path", "from"])?;
                let path = need("path")?;
                if !agent.may_read(&path) {
                    return Err(format!("you may not read {}", shown(&path)));
                }
                let from = arguments.get("from").and_then(Value::as_u64).unwrap_or(1).max(1);
                look(Look::File { path, from: usize::try_from(from).unwrap_or(usize::MAX) })
            }
            "search" => {
                known(&["files", "text"])?;
                let (glob, text) = (need("files")?, text("text")?.unwrap_or_default());
                look(Look::Files { glob, text })
            }
            "write" | "set" => {
                let write = call.name == Tool::Write.name();
                known(if write { &["path", "fields", "body"] } else { &["path", "set", "append"] })?;
                let path = need("path")?;
                let capability = if write { CREATE } else { SET };
                if !self.may(|it| it.effects.iter().flatten().any(|it| it == capability)) {
                    return Err(format!("who asked you may not propose `{capability}`"));
                }
                if !self.may(|it| it.may_write(&path)) {
                    return Err(format!("you may not write to {}", shown(&path)));
                }
                match write {
                    true => {
                        let args = json!({"fields": map("fields")?, "body": need("body")?});
                        wants(content(CREATE, path, args, None))
                    }
                    false => {
                        let args = json!({"set": map("set")?, "append": text("append")?.unwrap_or_default()});
                        wants(content(SET, path, args, None))
                    }
                }
            }
            "propose" => {
                known(&["capability", "target", "args", "amount"])?;
                let capability = need("capability")?;
                let listed = |it: &Agent| it.effects.iter().flatten().any(|it| *it == capability);
                if !self.may(listed) || is_of_files(&capability) {
                    return Err(format!("you may not propose `{}`", shown(&capability)));
                }
                let amount = match arguments.get("amount") {
                    None | Some(Value::Null) => None,
                    Some(value) => Some(Money::of(value).map_err(|e| e.to_string())?),
                };
                wants(content(&capability, need("target")?, map("args")?.into(), amount))
            }
            "fetch" => {
                known(&["address"])?;
                let text = need("address")?;
                let address = Address::read(&text).map_err(|what| format!("{}: {what}", shown(&text)))?;
                let mut reaches = agent.fetches.iter().filter(|reach| reach.has(&address)).peekable();
                if reaches.peek().is_none() {
                    return Err(format!("you may not look at {}", shown(&text)));
                }
                // Whoever chooses an address says something by it.
                if self.heard() && !reaches.any(Reach::is_whole) {
                    return Err(format!(
                        "this work has seen what came from outside: of addresses, only those that are named without * are read, and {} is none",
                        shown(&text)
                    ));
                }
                look(Look::Address(address))
            }
            "ask" => {
                known(&["question", "choices"])?;
                let question = need("question")?;
                if question.trim().is_empty() || question.len() > MOST_QUESTION {
                    return Err(format!("a question has some text, and at most {MOST_QUESTION} bytes"));
                }
                let choices: Vec<String> = match arguments.get("choices") {
                    None | Some(Value::Null) => Vec::new(),
                    Some(list) => serde_json::from_value(list.clone())
                        .map_err(|_| "`choices` must be a list of texts")?,
                };
                Next::Took(Turn::Asks { call: call.id.clone(), question, choices })
            }
            "agent" => {
                known(&["name", "input"])?;
                let name = need("name")?;
                let other = self.entry.crew.get(&name).filter(|_| agent.agents.contains(&name));
                let other = other.ok_or_else(|| format!("you may not ask `{}`", shown(&name)))?;
                self.other(call, &name, other, &Value::Object(map("input")?), within)?
            }
            "skill" => {
                known(&["name"])?;
                let name = need("name")?;
                let found = self.entry.skills.iter().find(|(other, ..)| *other == name);
                let (_, _, text) = found.ok_or_else(|| format!("there is no skill `{}`", shown(&name)))?;
                Next::Took(Turn::Came { call: call.id.clone(), text: text.clone(), untrusted: false })
            }
            other => return Err(format!("there is no tool `{}`", shown(other))),
        })
    }

    /// Carries on the work of an agent that a call asks: by its own file, and with what its asker has left.
    fn other(
        &self,
        call: &Call,
        name: &str,
        entry: &Entry,
        input: &Value,
        within: &[Turn],
    ) -> Result<Next, String> {
        let input = entry.agent.take(input).map_err(|failure| failure.what)?;
        let talk =
            Talk { name, entry, input: &input, outside: self.heard(), turns: within, asker: Some(self) };
        let untrusted = talk.heard();
        let came = |text: String| Next::Took(Turn::Came { call: call.id.clone(), text, untrusted });
        let gave = |value: Value| {
            let text = match value
                .get("text")
                .and_then(Value::as_str)
                .filter(|_| value.as_object().is_some_and(|it| it.len() == 1))
            {
                Some(text) => text.to_owned(),
                None => serde_json::to_string_pretty(&value).unwrap_or_default(),
            };
            came(prompt::quote(name, untrusted, &text))
        };
        let failed = |failure: Failure| came(format!("not done: {failure}"));
        if entry.agent.runtime == Runtime::Template {
            let filled = Template(entry.agent.body.clone()).fill(&input);
            return Ok(filled.and_then(|text| entry.agent.give(&text)).map_or_else(failed, gave));
        }
        Ok(match talk.next() {
            Next::Done(value) => gave(value),
            Next::Failed(failure) => failed(failure),
            Next::Took(took) => Next::Took(Turn::Within { call: call.id.clone(), took: Box::new(took) }),
            next @ (Next::Ask(_) | Next::Look { .. } | Next::Within { .. }) => Next::Within {
                call: call.id.clone(),
                agent: name.to_owned(),
                outside: talk.outside,
                next: Box::new(next),
            },
        })
    }

    /// Whether an agent, and each that it works for, may do something: to ask another is no way to more.
    fn may(&self, allows: impl Fn(&Agent) -> bool + Copy) -> bool {
        allows(&self.entry.agent) && self.asker.is_none_or(|asker| asker.may(allows))
    }
}
