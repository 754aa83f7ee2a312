//! How a batch stands, and what was answered.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::refusal::told;
use super::super::{Answer, Api, Reader, is_too_long, refusal};
use super::sending::read;
use super::{Exchange, Next, Reply, id};
use crate::failure::{Class, Failure};
use crate::span::Millis;

/// A look at a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Looking {
    api: Api,
    batch: String,
    step: Step,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// How does it stand?
    Standing,
    /// What was answered? It lies in these.
    Reading { paths: Vec<String>, came: BTreeMap<String, Came>, rest: String },
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// The answer.
    Answered(Answer),
    /// Nothing, and asked directly it may be answered: why.
    Left(String),
    /// It fails however it is asked.
    Failed(Failure),
}

/// How a batch stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// It is not over.
    Works,
    /// It is over.
    Over {
        /// What came of its questions.
        came: BTreeMap<String, Came>,
        /// What is said of those of which nothing came.
        rest: String,
    },
}

impl Looking {
    /// A look at a batch of a provider.
    pub fn new(api: Api, batch: &str) -> Looking {
        Looking { api, batch: batch.to_owned(), step: Step::Standing }
    }

    /// What is said now.
    pub fn say(&self) -> Exchange {
        let path = match &self.step {
            Step::Standing => format!("{}/{}", self.api.batches(), self.batch),
            Step::Reading { paths, .. } => paths.first().cloned().unwrap_or_default(),
        };
        Exchange { path, body: None }
    }

    /// What follows from what was answered.
    ///
    /// # Errors
    /// Why it cannot be seen now.
    pub fn heard(self, reply: &Reply) -> Result<Next<Looking, Seen>, Failure> {
        match self.step {
            Step::Standing if reply.status == 404 => {
                let rest = "the provider has no such batch".to_owned();
                Ok(Next::Over(Seen::Over { came: BTreeMap::new(), rest }))
            }
            Step::Standing => {
                let value = read(reply)?;
                let stands =
                    if self.api.is_openai() { openai(&value) } else { anthropic(&value, &self.batch) };
                let Some((paths, rest)) = stands else { return Ok(Next::Over(Seen::Works)) };
                Ok(Looking { step: Step::Standing, ..self }.read_on(paths, BTreeMap::new(), rest))
            }
            Step::Reading { ref paths, ref came, ref rest } => {
                if !(200..300).contains(&reply.status) {
                    read(reply)?;
                }
                let (mut came, rest) = (came.clone(), rest.clone());
                for line in reply.body.split(|byte| *byte == b'\n') {
                    let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
                    let key = line.get("custom_id").and_then(Value::as_str);
                    if let Some(key) = key.filter(|key| !came.contains_key(*key)) {
                        let key = key.to_owned();
                        came.insert(key, self.answer(&line, &rest, reply.at));
                    }
                }
                let paths = paths[1..].to_vec();
                Ok(self.read_on(paths, came, rest))
            }
        }
    }

    fn read_on(self, paths: Vec<String>, came: BTreeMap<String, Came>, rest: String) -> Next<Looking, Seen> {
        match paths.is_empty() {
            true => Next::Over(Seen::Over { came, rest }),
            false => Next::Say(Looking { step: Step::Reading { paths, came, rest }, ..self }),
        }
    }

    /// What a line says that came of a question.
    fn answer(&self, line: &Value, rest: &str, now: Millis) -> Came {
        let whole = |value: &Value| match Reader::whole(self.api, value.to_string().as_bytes()) {
            Ok(answer) => Came::Answered(answer),
            Err(error) => failed(error.into()),
        };
        let null = Value::Null;
        if self.api.is_openai() {
            let response = line.get("response").filter(|it| !it.is_null());
            let Some(response) = response else {
                let said = line.get("error").and_then(|it| it.get("message")).and_then(Value::as_str);
                return Came::Left(said.map_or_else(|| rest.to_owned(), words));
            };
            let status = response.get("status_code").and_then(Value::as_u64).unwrap_or(0);
            let body = response.get("body").unwrap_or(&null);
            return match status {
                200..=299 => whole(body),
                _ => failed(refusal(u16::try_from(status).unwrap_or(500), None, &body.to_string(), now)),
            };
        }
        let result = line.get("result").unwrap_or(&null);
        match result.get("type").and_then(Value::as_str) {
            Some("succeeded") => whole(result.get("message").unwrap_or(&null)),
            Some("errored") => {
                let error = result.get("error").unwrap_or(&null);
                failed(told(error.get("error").unwrap_or(error)))
            }
            Some("expired") => Came::Left("the batch expired".into()),
            Some("canceled") => Came::Left("the batch was cancelled".into()),
            _ => Came::Left(rest.to_owned()),
        }
    }
}

/// What passes by itself, or is mended by asking otherwise, is asked directly.
fn failed(failure: Failure) -> Came {
    match failure.class {
        Class::Transient | Class::RateLimited => Came::Left(failure.to_string()),
        _ if is_too_long(&failure) => Came::Left(failure.to_string()),
        _ => Came::Failed(failure),
    }
}

fn words(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Where the answers of a batch of OpenAI's shape lie, and what is said of the rest; nothing while it goes on.
fn openai(value: &Value) -> Option<(Vec<String>, String)> {
    let rest = match value.get("status").and_then(Value::as_str) {
        Some("completed") => "the batch has no answer to it".to_owned(),
        Some("expired") => "the batch expired".to_owned(),
        Some("cancelled") => "the batch was cancelled".to_owned(),
        Some("failed") => {
            let first = value.get("errors").and_then(|it| it.get("data")).and_then(|it| it.get(0));
            let said = first.and_then(|it| it.get("message")).and_then(Value::as_str).unwrap_or_default();
            format!("the batch failed: {}", words(said)).trim_end_matches(": ").to_owned()
        }
        _ => return None,
    };
    let files = ["output_file_id", "error_file_id"].into_iter().filter_map(|name| id(value, name));
    Some((files.map(|file| format!("/files/{file}/content")).collect(), rest))
}

/// As [`openai`], of Anthropic's. The address of the answers is ours: a key goes where it was given for.
fn anthropic(value: &Value, batch: &str) -> Option<(Vec<String>, String)> {
    let over = value.get("processing_status").and_then(Value::as_str) == Some("ended");
    let path = format!("{}/{batch}/results", Api::Anthropic.batches());
    over.then(|| (vec![path], "the batch has no answer to it".to_owned()))
}
