//! How questions become a batch, and how those are found that may have become one already.

use std::collections::BTreeMap;

use aios_core::id::ContentHash;
use serde_json::{Value, json};

use super::super::{Api, Request, refusal};
use super::{Exchange, JSON, Next, Refused, Reply, id};
use crate::failure::{Class, Failure};
use crate::span::Millis;

/// What of a batch's metadata names its questions, before a number.
const METADATA: &str = "aios";
/// How many names of questions fit into one value of that: 512 characters.
const NAMES: usize = 20;
/// How many pages of batches are looked through, of a hundred each.
const MOST_PAGES: usize = 20;
/// How much later than ours a provider's clock may say that a batch was made.
const SKEW: Millis = 10 * 60_000;

/// A question of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is called.
    pub key: String,
    /// What is asked.
    pub request: Request,
    /// Since when it may have been sent; nothing: it was not.
    pub maybe_sent: Option<Millis>,
}

/// The sending of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Sending {
    api: Api,
    items: Vec<Item>,
    /// Those that were in batches, with what these are called.
    found: BTreeMap<String, String>,
    step: Step,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Batches are looked through, after this one.
    Finding { page: usize, after: Option<String> },
    /// The questions are sent.
    Uploading,
    /// A batch is made of them.
    Making { file: String },
}

/// By question, the batch that it is in.
type Sent = BTreeMap<String, String>;

impl Sending {
    /// The sending of these.
    pub fn new(api: Api, items: Vec<Item>) -> Sending {
        // Of Anthropic's batches nobody can tell what they ask before they are over.
        let finds = api.is_openai() && items.iter().any(|it| it.maybe_sent.is_some());
        let step = if finds { Step::Finding { page: 0, after: None } } else { Step::Uploading };
        Sending { api, items, found: BTreeMap::new(), step }
    }

    /// What is said now.
    pub fn say(&self) -> Exchange {
        let batches = self.api.batches();
        match &self.step {
            Step::Finding { after, .. } => {
                let after = after.as_ref().map(|it| format!("&after={it}")).unwrap_or_default();
                Exchange { path: format!("{batches}?limit=100{after}"), body: None }
            }
            Step::Uploading if self.api.is_openai() => {
                Exchange { path: "/files".into(), body: Some(self.file()) }
            }
            Step::Uploading => {
                let item =
                    |it: &Item| json!({"custom_id": it.key, "params": self.api.body_whole(&it.request)});
                let requests: Vec<Value> = self.items.iter().map(item).collect();
                let body = json!({"requests": requests}).to_string().into_bytes();
                Exchange { path: batches.into(), body: Some((JSON.into(), body)) }
            }
            Step::Making { file } => {
                let keys: Vec<&str> = self.items.iter().map(|it| it.key.as_str()).collect();
                let names = keys.chunks(NAMES).enumerate();
                let metadata: BTreeMap<String, String> =
                    names.map(|(n, keys)| (format!("{METADATA}-{n}"), keys.join(" "))).collect();
                let body = json!({
                    "input_file_id": file, "endpoint": self.endpoint(), "completion_window": "24h",
                    "metadata": metadata,
                });
                Exchange { path: batches.into(), body: Some((JSON.into(), body.to_string().into_bytes())) }
            }
        }
    }

    /// What follows from what was answered.
    ///
    /// # Errors
    /// Why it did not become a batch.
    pub fn heard(mut self, reply: &Reply) -> Result<Next<Sending, Sent>, Refused> {
        let value = match read(reply) {
            Ok(value) => value,
            // Who lists no batches may make some.
            Err(_) if matches!(self.step, Step::Finding { .. }) && has_none(reply.status) => {
                self.step = Step::Uploading;
                return Ok(Next::Say(self));
            }
            // Whether it was sent is not known then, and another time it may be.
            Err(failure) if matches!(self.step, Step::Finding { .. }) => {
                return Err(Refused::Failed(Failure { class: Class::Transient, ..failure }));
            }
            Err(_) if has_none(reply.status) => return Err(Refused::Unknown),
            Err(failure) => return Err(Refused::Failed(failure)),
        };
        let name = || id(&value, "id").ok_or_else(|| Refused::Failed(malformed("it has no `id`")));
        match &self.step {
            Step::Finding { page, .. } => {
                let page = page + 1;
                let after = self.find(&value).filter(|_| page < MOST_PAGES);
                self.items.retain(|it| !self.found.contains_key(&it.key));
                let more = self.items.iter().any(|it| it.maybe_sent.is_some());
                self.step = match after.filter(|_| more) {
                    Some(after) => Step::Finding { page, after: Some(after) },
                    None if self.items.is_empty() => return Ok(Next::Over(self.found)),
                    None => Step::Uploading,
                };
                Ok(Next::Say(self))
            }
            Step::Uploading if self.api.is_openai() => {
                self.step = Step::Making { file: name()? };
                Ok(Next::Say(self))
            }
            Step::Uploading | Step::Making { .. } => {
                let batch = name()?;
                self.found.extend(self.items.into_iter().map(|it| (it.key, batch.clone())));
                Ok(Next::Over(self.found))
            }
        }
    }

    /// Finds questions in a page of batches; the batch after which the next page begins, where that may have more.
    fn find(&mut self, page: &Value) -> Option<String> {
        let batches = page.get("data").and_then(Value::as_array)?;
        let mut oldest = Millis::MAX;
        for batch in batches {
            let made = batch.get("created_at").and_then(Value::as_u64).unwrap_or(u64::MAX / 1000);
            oldest = oldest.min(made.saturating_mul(1000));
            let Some(name) = id(batch, "id") else { continue };
            let metadata = batch.get("metadata").and_then(Value::as_object).into_iter().flatten();
            let ours = metadata.filter(|(key, _)| key.starts_with(METADATA));
            let keys: Vec<&str> =
                ours.filter_map(|(_, names)| names.as_str()).flat_map(|names| names.split(' ')).collect();
            for item in self.items.iter().filter(|it| it.maybe_sent.is_some()) {
                if keys.contains(&item.key.as_str()) {
                    self.found.entry(item.key.clone()).or_insert_with(|| name.clone());
                }
            }
        }
        let since = self.items.iter().filter_map(|it| it.maybe_sent).min()?;
        let more = page.get("has_more").and_then(Value::as_bool) == Some(true);
        let last = batches.last().and_then(|batch| id(batch, "id"));
        last.filter(|_| more && oldest.saturating_add(SKEW) >= since)
    }

    fn endpoint(&self) -> String {
        format!("/v1{}", self.api.path())
    }

    /// A file with a question in each line, as a form.
    fn file(&self) -> (String, Vec<u8>) {
        let mut lines = String::new();
        for Item { key, request, .. } in &self.items {
            let body = self.api.body_whole(request);
            let line = json!({"custom_id": key, "method": "POST", "url": self.endpoint(), "body": body});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        // No text holds its own digest.
        let mark = format!("aios-{}", ContentHash::of(lines.as_bytes()).short(32));
        let part = |head: &str, body: &str| {
            format!("--{mark}\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
        };
        let mut form = part("name=\"purpose\"", "batch");
        let file = "name=\"file\"; filename=\"batch.jsonl\"\r\nContent-Type: application/jsonl";
        form.push_str(&part(file, &lines));
        form.push_str(&format!("--{mark}--\r\n"));
        (format!("multipart/form-data; boundary={mark}"), form.into_bytes())
    }
}

/// Whether a status says that there is no such thing.
fn has_none(status: u16) -> bool {
    matches!(status, 404 | 405 | 501)
}

/// What a provider says that did what it was told.
pub(super) fn read(reply: &Reply) -> Result<Value, Failure> {
    if !(200..300).contains(&reply.status) {
        let said = String::from_utf8_lossy(&reply.body);
        return Err(refusal(reply.status, reply.after.as_deref(), &said, reply.at));
    }
    serde_json::from_slice(&reply.body).map_err(|_| malformed("it is no JSON"))
}

/// What cannot be read may be read another time: of a batch nothing is lost by that.
fn malformed(what: &str) -> Failure {
    Failure::new(Class::Transient, format!("what it says of a batch cannot be read: {what}"))
}
