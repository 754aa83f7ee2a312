//! An agent's work with a model: what is next follows from what it was given and what happened so far, and from nothing else. So whoever was
//! killed goes on from the journal without asking again, and a replay needs no network.

use aios_core::id::ContentHash;
use serde_json::{Value, json};

use super::summary::{self, Exchange};
use super::{Batched, Entry, Runtime, Turn, batch, prompt, retrieval};
use crate::address::Address;
use crate::event::digest;
use crate::failure::{Class, Failure};
use crate::model::price::{Fine, Price};
use crate::model::{Answer, Call, Message, Request, Stop, Usage};

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
    /// Another agent goes on, whom it asks: of that, this is next.
    Within {
        /// The call.
        call: String,
        /// The other.
        agent: String,
        /// Whether what that was given came from outside.
        outside: bool,
        /// A question to a model, or something that is looked up.
        next: Box<Next>,
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
    /// What lies at an address.
    Address(Address),
    /// What of all files that it may look at fits what it is given.
    Sources {
        /// The words by which they are chosen.
        words: Vec<String>,
        /// So many bytes of them, at most.
        most: usize,
    },
}

/// Whose work something is: from the agent that a step names to the one that is asked in the end, each by the call that asks it and its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct By(Vec<(String, String)>);

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
    /// Whom it works for, where that is another agent.
    pub asker: Option<&'t Talk<'t>>,
}

/// What the operator answers who has a dear call made.
pub const YES: &str = "yes";

impl By {
    /// What is next, and of whose work; whether what that was given came from outside, where it is another's.
    pub fn of(mut next: Next) -> (By, Option<bool>, Next) {
        let (mut by, mut given) = (Vec::new(), None);
        while let Next::Within { call, agent, outside, next: inner } = next {
            by.push((call, agent));
            given = Some(outside);
            next = *inner;
        }
        (By(by), given, next)
    }

    /// Whether it is that of the agent that a step names.
    pub fn is_own(&self) -> bool {
        self.0.is_empty()
    }

    /// The agent.
    pub fn entry<'e>(&self, entry: &'e Entry) -> Option<&'e Entry> {
        self.0.iter().try_fold(entry, |entry, (_, name)| entry.crew.get(name))
    }

    /// Something that happened in its work.
    pub fn took(&self, turn: Turn) -> Turn {
        self.0
            .iter()
            .rev()
            .fold(turn, |took, (call, _)| Turn::Within { call: call.clone(), took: Box::new(took) })
    }
}

/// What happened last in the work that a call asks for.
fn within(turns: &[Turn], call: &str) -> Vec<Turn> {
    let inner = |turn: &Turn| match turn {
        Turn::Within { call: of, took } if of == call => Some((**took).clone()),
        _ => None,
    };
    let mut found: Vec<Turn> = turns.iter().rev().map_while(inner).collect();
    found.reverse();
    found
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
            if let Some((_, counted, cost)) = turn.paid() {
                // A summary is no answer that brings the work on.
                spent.answers += u32::from(matches!(turn.innermost(), Turn::Answered { .. }));
                spent.tokens = spent.tokens.saturating_add(counted.input).saturating_add(counted.output);
                spent.money = spent.money.plus(cost);
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
        let mut given = self.given();
        let mut repairs = 0;
        let mut turns = self.turns.iter().peekable();
        if let Some(tokens) = self.entry.agent.retrieval {
            match turns.next() {
                Some(Turn::Came { call, text, .. }) if call == retrieval::CALL => {
                    given.push_str("\n\n");
                    given.push_str(text);
                }
                Some(_) => return self.lost("it was not shown any files before it was asked"),
                None => {
                    let look =
                        Look::Sources { words: retrieval::words(self.input), most: retrieval::bytes(tokens) };
                    return Next::Look { call: retrieval::CALL.to_owned(), look };
                }
            }
        }
        let mut messages = vec![Message::User(given.clone())];
        let (mut whole, mut summed): (Vec<Exchange>, Vec<Exchange>) = (Vec::new(), Vec::new());
        while let Some(turn) = turns.next() {
            let place = self.turns.len() - turns.len();
            let answer = match turn {
                Turn::Answered { answer, .. } => answer,
                Turn::Summarised { cut, answer, .. } => {
                    if cut.exchanges == 0 || cut.exchanges > whole.len() {
                        return self.lost("what was summed up is not there");
                    }
                    summed.extend(whole.drain(..cut.exchanges));
                    let end = whole.first().map_or(messages.len(), |it| it.from);
                    messages.drain(1..end);
                    whole.iter_mut().for_each(|it| it.from -= end - 1);
                    let outside = self.given_outside() || self.turns[..place].iter().any(is_untrusted);
                    messages[0] =
                        Message::User(format!("{given}{}", summary::told(&answer.text, &summed, outside)));
                    continue;
                }
                // How it is asked changes nothing of what is asked.
                Turn::Batched(_) => continue,
                // A dear call is made once the operator wants it.
                Turn::Asks { call, .. } if call.is_empty() => match turns.next() {
                    Some(Turn::Came { call, text, .. }) if call.is_empty() && text == YES => continue,
                    Some(Turn::Came { call, .. }) if call.is_empty() => {
                        let what = "the operator does not want to pay for it";
                        return Next::Failed(Failure::new(Class::Denied, what));
                    }
                    Some(_) => return self.lost("what came of a question is of another"),
                    None => return Next::Took(turn.clone()),
                },
                _ => return self.lost("a call came before any answer"),
            };
            let (text, calls) = (answer.text.clone(), answer.calls.clone());
            whole.push(Exchange { from: messages.len(), turns: (place, place), calls: calls.clone() });
            messages.push(Message::Model { text, calls });
            for call in &answer.calls {
                let mut within = Vec::new();
                while let Some(Turn::Within { call: of, took }) = turns.peek()
                    && *of == call.id
                {
                    within.push((**took).clone());
                    turns.next();
                }
                match turns.next() {
                    Some(Turn::Came { call: of, text, .. }) if *of == call.id => {
                        messages.push(came(call, text));
                    }
                    Some(waits @ (Turn::Wants { call: of, .. } | Turn::Asks { call: of, .. }))
                        if *of == call.id =>
                    {
                        match turns.next() {
                            Some(Turn::Came { call: of, text, .. }) if *of == call.id => {
                                messages.push(came(call, text));
                            }
                            Some(_) => return self.lost("what came of a call is of another"),
                            None => return Next::Took(waits.clone()),
                        }
                    }
                    Some(_) => return self.lost("what came of a call is of another"),
                    None => return self.call(call, &within),
                }
            }
            if let Some(exchange) = whole.last_mut() {
                exchange.turns.1 = self.turns.len() - turns.len();
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
        let outside = self.given_outside();
        let text = serde_json::to_string_pretty(self.input).unwrap_or_default();
        prompt::quote("input", outside, &text)
    }

    /// Whether what it was given came from outside: as it was when it was first told, whatever came since.
    fn given_outside(&self) -> bool {
        let first = self.turns.iter().find_map(|turn| match turn {
            Turn::Answered { outside, .. } => Some(*outside),
            _ => None,
        });
        first.unwrap_or(self.outside)
    }

    /// Whether it has seen what came from outside.
    pub(super) fn heard(&self) -> bool {
        self.given_outside() || self.turns.iter().any(is_untrusted)
    }

    /// Whether the operator wants the next call made, whatever it costs.
    pub fn is_granted(&self) -> bool {
        // What it costs by batch was asked for that alone.
        let waits = |turn: &&Turn| matches!(turn, Turn::Batched(it) if it.waits());
        let last = self.turns.iter().rev().find(|turn| !waits(turn)).map(Turn::innermost);
        matches!(last, Some(Turn::Came { call, text, .. }) if call.is_empty() && text == YES)
    }

    /// How far the next question is, where it is asked by batch.
    pub fn batched(&self) -> Option<&Batched> {
        batch::stand(self.turns)
    }

    /// Whether the next question is the first.
    pub fn is_first(&self) -> bool {
        self.turns.iter().all(|turn| turn.paid().is_none())
    }

    /// Answers and tokens that it has left, of its own and of whom it works for. A component's answers are the calls that it makes.
    pub fn left(&self) -> (u32, u64) {
        let (budget, spent) = (&self.entry.agent.budget, Spent::of(self.turns));
        let own = (budget.turns.saturating_sub(spent.answers), budget.tokens.saturating_sub(spent.tokens));
        match self.asker.map(Talk::left) {
            Some((answers, tokens)) => (own.0.min(answers), own.1.min(tokens)),
            None => own,
        }
    }

    fn ask(&self, messages: Vec<Message>) -> Next {
        let budget = &self.entry.agent.budget;
        let spent = Spent::of(self.turns);
        let over = |what: String| Next::Failed(Failure::new(Class::Budget, what));
        let (answers, left) = self.left();
        // A component that made its last call is told what came of it.
        if answers == 0 && self.entry.agent.runtime != Runtime::Wasm {
            return over(format!("it was not done after {} answers", spent.answers));
        }
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

    /// Whether there is money left for what is asked next by somebody, at the most that it can cost: of each that he works for, too.
    ///
    /// # Errors
    /// That there is not.
    pub fn affords(&self, by: &By, request: &Request, price: &Price) -> Result<(), Failure> {
        let (mut entry, mut turns) = (self.entry, self.turns.to_vec());
        let next = price.of(&most(request));
        let mut levels = by.0.iter();
        loop {
            let spent = Spent::of(&turns).money;
            if let Some(money) = entry.agent.budget.money
                && spent.plus(next) > Fine::from(money)
            {
                let what =
                    format!("its budget is {money}: {spent} is spent, and the next call may cost {next}");
                return Err(Failure::new(Class::Budget, what));
            }
            let Some((call, name)) = levels.next() else { return Ok(()) };
            let Some(other) = entry.crew.get(name) else { return Ok(()) };
            (entry, turns) = (other, within(&turns, call));
        }
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

    fn lost(&self, what: &str) -> Next {
        Next::Failed(Failure::new(Class::LostContext, format!("its journal makes no sense: {what}")))
    }

    /// What a model was asked before each of its answers, made again from what is recorded: nothing where it is another than what was recorded.
    pub fn prompts(&self) -> Vec<(ContentHash, Option<Request>)> {
        let whole = Talk { outside: self.given_outside(), ..*self };
        let made = |(place, turn): (usize, &Turn)| {
            let (recorded, cut) = match turn.innermost() {
                Turn::Answered { asked, .. } => (*asked, None),
                Turn::Summarised { asked, cut, .. } => (*asked, Some(cut)),
                _ => return None,
            };
            let before = Talk { turns: &self.turns[..place], ..whole };
            let request = match By::of(before.next()) {
                (_, _, Next::Ask(request)) => {
                    Some(cut.map_or(*request.clone(), |it| summary::request(&request, it)))
                }
                _ => None,
            };
            Some((recorded, request.filter(|it| asked(it) == recorded)))
        };
        self.turns.iter().enumerate().filter_map(made).collect()
    }

    /// Works it out once more from what is recorded, without asking anybody.
    ///
    /// # Errors
    /// How it failed, or where it would go otherwise now.
    pub fn replay(&self) -> Result<Value, Failure> {
        let lost = |what: String| Failure::new(Class::LostContext, what);
        let mut answers = 0;
        let whole = Talk { outside: self.given_outside(), ..*self };
        for (place, turn) in self.turns.iter().enumerate() {
            let before = Talk { turns: &self.turns[..place], ..whole };
            let (by, _, next) = By::of(before.next());
            let same = |now: Turn| by.took(now) == *turn;
            let last = before.turns.last();
            let goes = match (next, turn.innermost()) {
                (Next::Ask(request), Turn::Answered { asked: recorded, .. }) => {
                    answers += 1;
                    if asked(&request) != *recorded {
                        return Err(lost(format!(
                            "what the model is asked is not what was recorded before answer {answers}"
                        )));
                    }
                    same(turn.innermost().clone())
                }
                // Whether it was too long follows from what its model saw at once then.
                (Next::Ask(request), Turn::Summarised { asked: recorded, cut, .. }) => {
                    if asked(&summary::request(&request, cut)) != *recorded {
                        return Err(lost(format!(
                            "what was summed up after answer {answers} is not what was recorded"
                        )));
                    }
                    same(turn.innermost().clone())
                }
                // Whether it was dear follows from what it cost then.
                (Next::Ask(_), Turn::Asks { call, .. }) if call.is_empty() => same(turn.innermost().clone()),
                // Whether it was asked by batch, and what became of that, follows from what there was then.
                (Next::Ask(request), Turn::Batched(it)) => it.asked == asked(&request),
                (Next::Look { call, .. }, Turn::Came { call: of, .. }) if call == *of => {
                    same(turn.innermost().clone())
                }
                (Next::Took(waits), came @ Turn::Came { .. })
                    if last == Some(&waits)
                        && matches!(waits.innermost(), Turn::Wants { .. } | Turn::Asks { .. }) =>
                {
                    waits.around(came.clone()) == *turn
                }
                (Next::Took(now), _) => now == *turn,
                _ => false,
            };
            if !goes {
                return Err(lost(format!("after answer {answers} it goes on otherwise than was recorded")));
            }
        }
        match whole.next() {
            Next::Done(value) => Ok(value),
            Next::Failed(failure) => Err(failure),
            _ => Err(lost("its journal ends before it was done".into())),
        }
    }
}

/// Whether something that happened is that words from outside came in.
fn is_untrusted(turn: &Turn) -> bool {
    matches!(turn.innermost(), Turn::Came { untrusted: true, .. })
}

fn came(call: &Call, text: &str) -> Message {
    Message::Came { id: call.id.clone(), name: call.name.clone(), text: text.to_owned() }
}

/// A word of a model, short enough to be repeated.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
