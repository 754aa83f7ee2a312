//! Models: what they are asked, what they answer, and how that looks on the wire of each kind of provider. Bytes in, events out; no I/O.

mod answer;
mod anthropic;
pub mod batch;
mod chat;
mod frame;
mod ollama;
pub mod price;
mod refusal;
mod responses;
pub mod settings;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use answer::{Reader, WireError};
pub use refusal::{is_too_long, refusal};

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions, which many servers have.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama's chat.
    Ollama,
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// The model's name at its provider.
    pub model: String,
    /// The instructions.
    pub system: String,
    /// What was said so far.
    pub messages: Vec<Message>,
    /// What it may use.
    pub tools: Vec<Spec>,
    /// What it is to give, as JSON Schema.
    pub schema: Option<Value>,
    /// The most tokens of its answer.
    pub most: u32,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// To the model.
    User(String),
    /// By the model.
    Model {
        /// What it said.
        text: String,
        /// What it wants to use.
        calls: Vec<Call>,
    },
    /// What came of a call.
    Came {
        /// The call.
        id: String,
        /// The tool.
        name: String,
        /// What came.
        text: String,
    },
}

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Its arguments, as JSON Schema.
    pub schema: Value,
}

/// A tool that a model wants to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// What tells it from others.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as the model wrote them.
    pub arguments: String,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What it wants to use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// How much it took, where the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why it stopped.
    pub stop: Stop,
}

/// Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Read, with those that came from a cache.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Of those read, the ones that came from a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// It was done.
    End,
    /// It waits for what comes of its calls.
    Tools,
    /// Its answer became too long.
    Length,
    /// It does not want to.
    Refused,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// More text.
    Text(String),
    /// More of a call: what is empty was said before, or comes later.
    Call {
        /// Which call of the answer it is.
        index: u64,
        /// What tells it from others.
        id: String,
        /// The tool.
        name: String,
        /// More of the arguments.
        arguments: String,
    },
    /// How much it took so far.
    Usage(Usage),
    /// Why it stopped.
    Stop(Stop),
    /// Nothing follows.
    End,
}

impl Api {
    /// All of them by name.
    pub const NAMES: [(&str, Api); 4] = [
        ("chat", Api::Chat),
        ("responses", Api::Responses),
        ("anthropic", Api::Anthropic),
        ("ollama", Api::Ollama),
    ];

    /// What comes after the address of a provider.
    pub fn path(self) -> &'static str {
        match self {
            Api::Chat => "/chat/completions",
            Api::Responses => "/responses",
            Api::Anthropic => "/v1/messages",
            Api::Ollama => "/api/chat",
        }
    }

    /// What is sent.
    pub fn body(self, request: &Request) -> Value {
        match self {
            Api::Chat => chat::body(request),
            Api::Responses => responses::body(request),
            Api::Anthropic => anthropic::body(request),
            Api::Ollama => ollama::body(request),
        }
    }

    /// The headers that go with it; with the key, where there is one.
    pub fn headers(self, key: Option<&str>) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        match (self, key) {
            (Api::Anthropic, key) => {
                out.push(("anthropic-version", "2023-06-01".to_owned()));
                out.extend(key.map(|key| ("x-api-key", key.to_owned())));
            }
            (_, Some(key)) => out.push(("authorization", format!("Bearer {key}"))),
            (_, None) => {}
        }
        out
    }
}

/// The arguments of a call as a value; a text where they are none.
fn arguments(call: &Call) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::from(call.arguments.as_str()))
}

#[cfg(test)]
mod tests;
