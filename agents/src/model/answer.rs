//! An answer as it comes in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::frame::Framing;
use super::{Answer, Api, Call, Event, Stop, Usage, anthropic, chat, ollama, responses};
use crate::failure::{Class, Failure};

/// The most bytes of text and arguments in an answer: it stands in the journal.
const MOST: usize = 512 * 1024;
/// The most bytes of the stream that brings it.
const MOST_STREAM: usize = 8 << 20;
/// The most calls in an answer.
const MOST_CALLS: usize = 32;

/// What is wrong with what a provider sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is longer than it may be.
    #[error("the answer is longer than {} KiB", MOST / 1024)]
    Long,
    /// It is no text.
    #[error("the answer is not UTF-8")]
    NotText,
    /// It is not what the provider's documents say.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// It ended before it was over.
    #[error("the answer broke off")]
    BrokenOff,
    /// The provider says that it failed.
    #[error("{0}")]
    Failed(Failure),
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Failure {
        let class = match &error {
            WireError::Failed(failure) => return failure.clone(),
            WireError::BrokenOff => Class::Transient,
            WireError::Long | WireError::NotText | WireError::Malformed(_) => Class::InvalidOutput,
        };
        Failure::new(class, error.to_string())
    }
}

/// Reads an answer from the bytes of a stream.
#[derive(Debug)]
pub struct Reader {
    api: Api,
    framing: Framing,
    bytes: usize,
    text: String,
    calls: BTreeMap<u64, Call>,
    size: usize,
    usage: Option<Usage>,
    stop: Option<Stop>,
    ended: bool,
}

impl Reader {
    /// One for what a provider of that kind sends.
    pub fn new(api: Api) -> Reader {
        let framing = if api == Api::Ollama { Framing::lines() } else { Framing::events() };
        Reader {
            api,
            framing,
            bytes: 0,
            text: String::new(),
            calls: BTreeMap::new(),
            size: 0,
            usage: None,
            stop: None,
            ended: false,
        }
    }

    /// Takes more bytes; what they said.
    ///
    /// # Errors
    /// What is wrong with them; then nothing more is to be read.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, WireError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > MOST_STREAM {
            return Err(WireError::Long);
        }
        let messages = self.framing.feed(bytes)?;
        self.read(messages)
    }

    /// Whether the answer is whole.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// The answer, when there are no more bytes.
    ///
    /// # Errors
    /// That it is not whole.
    pub fn end(mut self) -> Result<Answer, WireError> {
        let messages = self.framing.end()?;
        self.read(messages)?;
        // Some servers leave out the last mark, and none leaves out why the model stopped.
        let Some(stop) = self.stop.filter(|_| self.ended || self.api == Api::Chat) else {
            return Err(WireError::BrokenOff);
        };
        let mut calls: Vec<Call> = self.calls.into_values().collect();
        for (place, call) in calls.iter_mut().enumerate() {
            if call.id.is_empty() {
                call.id = format!("call-{place}");
            }
        }
        let stop = match (stop, calls.is_empty()) {
            (Stop::End, false) => Stop::Tools,
            (stop, _) => stop,
        };
        Ok(Answer { text: self.text, calls, usage: self.usage, stop })
    }

    /// An answer that came whole, though a stream was asked for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn whole(api: Api, bytes: &[u8]) -> Result<Answer, WireError> {
        if bytes.len() > MOST_STREAM {
            return Err(WireError::Long);
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|e| WireError::Malformed(e.to_string()))?;
        let mut reader = Reader::new(api);
        let events = match api {
            Api::Chat => chat::whole(&value),
            Api::Responses => responses::whole(&value),
            Api::Anthropic => anthropic::whole(&value),
            Api::Ollama => ollama::read(&value, 0),
        }?;
        events.iter().try_for_each(|event| reader.take(event))?;
        reader.end()
    }

    fn read(&mut self, messages: Vec<String>) -> Result<Vec<Event>, WireError> {
        let mut out = Vec::new();
        for message in messages {
            if self.ended {
                break;
            }
            if self.api == Api::Chat && message.trim() == "[DONE]" {
                self.ended = true;
                out.push(Event::End);
                break;
            }
            let value: Value =
                serde_json::from_str(&message).map_err(|e| WireError::Malformed(e.to_string()))?;
            let events = match self.api {
                Api::Chat => chat::read(&value),
                Api::Responses => responses::read(&value),
                Api::Anthropic => anthropic::read(&value),
                Api::Ollama => ollama::read(&value, self.calls.len() as u64),
            }?;
            for event in events {
                self.take(&event)?;
                out.push(event);
            }
        }
        Ok(out)
    }

    fn take(&mut self, event: &Event) -> Result<(), WireError> {
        match event {
            Event::Text(text) => {
                self.size += text.len();
                self.text.push_str(text);
            }
            Event::Call { index, id, name, arguments } => {
                self.size += id.len() + name.len() + arguments.len();
                if !self.calls.contains_key(index) && self.calls.len() >= MOST_CALLS {
                    return Err(WireError::Malformed(format!("it has more than {MOST_CALLS} calls")));
                }
                let new = || Call { id: String::new(), name: String::new(), arguments: String::new() };
                let call = self.calls.entry(*index).or_insert_with(new);
                if call.id.is_empty() {
                    call.id.clone_from(id);
                }
                if call.name.is_empty() {
                    call.name.clone_from(name);
                }
                call.arguments.push_str(arguments);
            }
            Event::Usage(usage) => {
                let sum = self.usage.get_or_insert_default();
                // What is said later is the whole so far.
                sum.input = sum.input.max(usage.input);
                sum.output = sum.output.max(usage.output);
                sum.cached = sum.cached.max(usage.cached);
            }
            Event::Stop(stop) => self.stop = Some(*stop),
            Event::End => self.ended = true,
        }
        if self.size > MOST { Err(WireError::Long) } else { Ok(()) }
    }
}

/// A whole number in a value.
pub(super) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A text in a value.
pub(super) fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a provider says in the stream of why it failed.
pub(super) fn failed(error: &Value) -> WireError {
    WireError::Failed(super::refusal::told(error))
}
