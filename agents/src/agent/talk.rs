//! An agent's work with a model: what is next follows from what it was given and what happened so far, and from nothing else. So whoever was
//! killed goes on from the journal without asking again, and a replay needs no network.

use aios_core::id::ContentHash;
use serde_json::{Map, Value, json};

use super::{Entry, Tool, Turn, prompt};
use crate::connector::{CREATE, SET, is_of_files};
use crate::event::{Content, digest};
use crate::failure::{Class, Failure};
use crate::model::price::{Fine, Price};
use crate::model::{Answer, Call, Message, Request, Stop, Usage};
use crate::money::Money;

/// The most tokens of one answer.
const MOST_ANSWER: u64 = 8_192;
/// How often a model is told that what it gave does not fit.
const REPAIRS: usize = 2;

/// What is next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A model is asked; which is for the caller to say.
    Ask(Box<Request>),
    /// Something is looked up.
    Look {
        /// The call.
        call: String,
        /// What.
        look: Look,
    },
    /// This happened.
    Took(Turn),
    /// It is done.
    Done(Value),
    /// It failed.
    Failed(Failure),
}

/// What a model may look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A file, from a line on.
    File {
        /// Its path.
        path: String,
        /// The line, from 1.
        from: usize,
    },
    /// Files.
    Files {
        /// Their path, in which `*` stands for any text.
        glob: String,
        /// A text that stands in them.
        text: String,
    },
}

/// One piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Talk<'t> {
    /// The agent's name.
    pub name: &'t str,
    /// The agent.
    pub entry: &'t Entry,
    /// What it was given.
    pub input: &'t Value,
    /// Whether that came from outside.
    pub outside: bool,
    /// What happened so far.
    pub turns: &'t [Turn],
}

/// What was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Answers.
    pub answers: u32,
    /// Tokens, in and out.
    pub tokens: u64,
    /// Money.
    pub money: Fine,
}

impl Spent {
    /// What turns took.
    pub fn of(turns: &[Turn]) -> Spent {
        let mut spent = Spent::default();
        for turn in turns {
            if let Turn::Answered { counted, cost, .. } = turn {
                spent.answers += 1;
                spent.tokens = spent.tokens.saturating_add(counted.input).saturating_add(counted.output);
                spent.money = spent.money.plus(*cost);
            }
        }
        spent
    }
}

/// Digest of what a model is asked, whichever it is.
pub fn asked(request: &Request) -> ContentHash {
    digest(&json!({
        "system": request.system, "messages": request.messages, "tools": request.tools, "schema": request.schema,
    }))
}

/// The most tokens that a call can take: no token is less than a byte.
pub fn most(request: &Request) -> Usage {
    let input = json!(request).to_string().len() as u64;
    Usage { input, output: u64::from(request.most), cached: 0 }
}

/// How much an answer counts for: what the provider said, else the most that it can have been.
pub fn counted(request: &Request, answer: &Answer) -> Usage {
    // Nothing is asked with no token: who says so has not counted.
    answer.usage.filter(|usage| usage.input > 0 || usage.output > 0 || usage.cached > 0).unwrap_or_else(
        || Usage {
            output: (answer.text.len() + answer.calls.iter().map(|it| it.arguments.len()).sum::<usize>())
                as u64,
            ..most(request)
        },
    )
}

impl Talk<'_> {
    /// What is next.
    pub fn next(&self) -> Next {
        let mut messages = vec![Message::User(self.given())];
        let mut repairs = 0;
        let mut turns = self.turns.iter().peekable();
        while let Some(turn) = turns.next() {
            let Turn::Answered { answer, .. } = turn else {
                return self.lost("a call came before any answer");
            };
            let (text, calls) = (answer.text.clone(), answer.calls.clone());
            messages.push(Message::Model { text, calls });
            for call in &answer.calls {
                match turns.next() {
                    Some(Turn::Came { call: of, text, .. }) if *of == call.id => {
                        messages.push(came(call, text));
                    }
                    Some(Turn::Wants { call: of, content }) if *of == call.id => match turns.next() {
                        Some(Turn::Came { call: of, text, .. }) if *of == call.id => {
                            messages.push(came(call, text));
                        }
                        Some(_) => return self.lost("what came of a call is of another"),
                        None => {
                            return Next::Took(Turn::Wants { call: of.clone(), content: content.clone() });
                        }
                    },
                    Some(_) => return self.lost("what came of a call is of another"),
                    None => return self.call(call),
                }
            }
            if answer.calls.is_empty() {
                match self.ends(answer) {
                    Ok(value) => return Next::Done(value),
                    Err(failure) if failure.class != Class::InvalidOutput || repairs >= REPAIRS => {
                        return Next::Failed(failure);
                    }
                    Err(failure) => {
                        repairs += 1;
                        messages.push(Message::User(format!(
                            "That does not fit: {}. Give the whole answer again, as it was asked for.",
                            failure.what
                        )));
                    }
                }
            }
        }
        self.ask(messages)
    }

    /// What goes in, quoted.
    fn given(&self) -> String {
        let outside = match self.turns.first() {
            Some(Turn::Answered { outside, .. }) => *outside,
            _ => self.outside,
        };
        let text = serde_json::to_string_pretty(self.input).unwrap_or_default();
        prompt::quote("input", outside, &text)
    }

    fn ask(&self, messages: Vec<Message>) -> Next {
        let budget = &self.entry.agent.budget;
        let spent = Spent::of(self.turns);
        let over = |what: String| Next::Failed(Failure::new(Class::Budget, what));
        if spent.answers >= budget.turns {
            return over(format!("it was not done after {} answers", spent.answers));
        }
        let left = budget.tokens.saturating_sub(spent.tokens);
        let mut request = Request {
            model: String::new(),
            system: prompt::system(self.entry),
            messages,
            tools: prompt::tools(self.entry),
            schema: self.entry.agent.outputs.schema(),
            most: 0,
        };
        request.most = u32::try_from(left.min(MOST_ANSWER)).unwrap_or(u32::MAX);
        if left == 0 {
            return over(format!("it took {} tokens, and has {}", spent.tokens, budget.tokens));
        }
        Next::Ask(Box::new(request))
    }

    /// Whether there is money left for what is asked next, at the most that it can cost.
    ///
    /// # Errors
    /// That there is not.
    pub fn affords(&self, request: &Request, price: &Price) -> Result<(), Failure> {
        let Some(money) = self.entry.agent.budget.money else { return Ok(()) };
        let (spent, next) = (Spent::of(self.turns).money, price.of(&most(request)));
        if spent.plus(next) > Fine::from(money) {
            let what = format!("its budget is {money}: {spent} is spent, and the next call may cost {next}");
            return Err(Failure::new(Class::Budget, what));
        }
        Ok(())
    }

    /// What an answer comes to that wants nothing more.
    fn ends(&self, answer: &Answer) -> Result<Value, Failure> {
        match answer.stop {
            Stop::Refused => Err(Failure::new(Class::Denied, "the model refuses to do it")),
            Stop::Length => Err(Failure::new(Class::InvalidOutput, "the answer was cut off for its length")),
            Stop::End | Stop::Tools if answer.text.trim().is_empty() => {
                Err(Failure::new(Class::InvalidOutput, "the answer is empty"))
            }
            Stop::End | Stop::Tools => self.entry.agent.give(&answer.text),
        }
    }

    /// What a call comes to. What the contract does not allow is told to the model, and nothing is done.
    fn call(&self, call: &Call) -> Next {
        match self.allowed(call) {
            Ok(next) => next,
            Err(what) => Next::Took(Turn::Came {
                call: call.id.clone(),
                text: format!("refused: {what}"),
                untrusted: false,
            }),
        }
    }

    fn allowed(&self, call: &Call) -> Result<Next, String> {
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
                if !agent.may_write(&path) {
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
                let listed = agent.effects.iter().flatten().any(|it| *it == capability);
                if !listed || is_of_files(&capability) {
                    return Err(format!("you may not propose `{}`", shown(&capability)));
                }
                let amount = match arguments.get("amount") {
                    None | Some(Value::Null) => None,
                    Some(value) => Some(Money::of(value).map_err(|e| e.to_string())?),
                };
                wants(content(&capability, need("target")?, map("args")?.into(), amount))
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

    fn lost(&self, what: &str) -> Next {
        Next::Failed(Failure::new(Class::LostContext, format!("its journal makes no sense: {what}")))
    }

    /// Works it out once more from what is recorded, without asking anybody.
    ///
    /// # Errors
    /// How it failed, or where it would go otherwise now.
    pub fn replay(&self) -> Result<Value, Failure> {
        let lost = |what: String| Failure::new(Class::LostContext, what);
        let mut answers = 0;
        for (place, turn) in self.turns.iter().enumerate() {
            let before = Talk { turns: &self.turns[..place], ..*self };
            let next = match (place, turn) {
                // Of the first prompt the answer to it says whether what went in came from outside.
                (0, Turn::Answered { outside, .. }) => Talk { outside: *outside, ..before }.next(),
                _ => before.next(),
            };
            match (next, turn) {
                (Next::Ask(request), Turn::Answered { asked: recorded, .. }) => {
                    answers += 1;
                    if asked(&request) != *recorded {
                        return Err(lost(format!(
                            "what the model is asked is not what was recorded before answer {answers}"
                        )));
                    }
                }
                (Next::Look { call, .. }, Turn::Came { call: of, .. }) if call == *of => {}
                (Next::Took(Turn::Wants { call, .. }), Turn::Came { call: of, .. })
                    if call == *of && matches!(before.turns.last(), Some(Turn::Wants { .. })) => {}
                (Next::Took(now), recorded) if now == *recorded => {}
                _ => {
                    return Err(lost(format!(
                        "after answer {answers} it goes on otherwise than was recorded"
                    )));
                }
            }
        }
        match self.next() {
            Next::Done(value) => Ok(value),
            Next::Failed(failure) => Err(failure),
            _ => Err(lost("its journal ends before it was done".into())),
        }
    }
}

fn came(call: &Call, text: &str) -> Message {
    Message::Came { id: call.id.clone(), name: call.name.clone(), text: text.to_owned() }
}

/// A word of a model, short enough to be repeated.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
