//! Batches: many questions that a provider answers within a day, for less. OpenAI's are files of lines (`/files`, `/batches`), Anthropic's one
//! request (`/v1/messages/batches`). What is sent and what came are the exchanges of two state machines, [`Sending`] and [`Looking`]; no I/O.

mod looking;
mod sending;
mod tray;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::{Api, Request};
use crate::failure::Failure;
use crate::span::Millis;

pub use looking::{Came, Looking, Seen};
pub use sending::{Item, Sending};
pub use tray::Tray;

/// How long questions are gathered that go into one batch.
pub const GATHERING: Millis = 1_000;
/// The most questions of a batch: OpenAI's metadata has room for what so many are called.
pub const MOST: usize = 256;
/// The most bytes of the questions of a batch.
pub const MOST_BYTES: usize = 32 << 20;
/// How long is waited for a batch: providers give themselves a day, and some time to say so.
pub const LONGEST: Millis = 25 * 3_600_000;
/// The longest from one look at a batch to the next.
const RAREST: Millis = 600_000;

/// What is said to a provider: `POST` with a body, else `GET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What comes after its address.
    pub path: String,
    /// What kind the body is, and the body.
    pub body: Option<(String, Vec<u8>)>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it came.
    pub at: Millis,
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Next<S, E> {
    /// This is said next.
    Say(S),
    /// It is over.
    Over(E),
}

/// Why a batch came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The provider has no batches.
    #[error("it has no batches")]
    Unknown,
    /// It failed.
    #[error("{0}")]
    Failed(Failure),
}

impl Api {
    /// Whether providers of this kind may have batches.
    pub fn may_batch(self) -> bool {
        !matches!(self, Api::Ollama)
    }

    fn is_openai(self) -> bool {
        matches!(self, Api::Chat | Api::Responses)
    }

    fn batches(self) -> &'static str {
        if self.is_openai() { "/batches" } else { "/v1/messages/batches" }
    }

    /// What is asked, without that it is to come in parts.
    fn body_whole(self, request: &Request) -> Value {
        let mut body = self.body(request);
        if let Some(map) = body.as_object_mut() {
            map.remove("stream");
            map.remove("stream_options");
        }
        body
    }

    /// What has a provider give up a batch.
    pub fn withdrawal(self, batch: &str) -> Option<Exchange> {
        let path = format!("{}/{batch}/cancel", self.batches());
        is_id(batch).then(|| Exchange { path, body: Some((JSON.into(), Vec::new())) })
    }
}

const JSON: &str = "application/json";

/// When a batch is looked at again that was sent at `since` and looked at then; `first`: how long it is to the first look. Nothing: it is not
/// waited for any longer.
pub fn look_again(since: Millis, looked: Millis, first: Millis) -> Option<Millis> {
    let last = since.saturating_add(LONGEST);
    let pause = (looked.saturating_sub(since) / 4).min(RAREST.max(first)).max(first);
    (looked < last).then(|| looked.saturating_add(pause).min(last))
}

/// Whether a text may be a part of an address, as a provider's names of files and batches are.
fn is_id(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(inside)
}

/// The name of something in an answer.
fn id(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|text| is_id(text)).map(str::to_owned)
}
