//! What started a task without the operator, and the id that the task has then: one, on whichever devices it is started (I10).

use aios_core::id::{ContentHash, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::span::Millis;

/// What started a task without the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Fired {
    /// A schedule.
    Cron {
        /// The instant.
        at: Millis,
        /// How much later it was noticed.
        late: Millis,
    },
    /// An entity that was made or changed.
    Entity {
        /// Where it lay.
        path: String,
        /// Whether it was made then.
        made: bool,
        /// Whether what is in it came from outside.
        #[serde(default, skip_serializing_if = "super::is_false")]
        untrusted: bool,
        /// How many tasks led to it, each by what the one before wrote.
        #[serde(default, skip_serializing_if = "super::is_zero")]
        hops: u32,
    },
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// Its id: of one delivered twice there is one task.
        id: String,
        /// What it says.
        data: Value,
        /// Whether that came from outside.
        #[serde(default, skip_serializing_if = "super::is_false")]
        untrusted: bool,
        /// How many events led to it, one after the other.
        #[serde(default, skip_serializing_if = "super::is_zero")]
        hops: u32,
    },
}

/// The id of the task that a schedule starts at an instant: one, whichever device fires it, and whatever version of the workflow it knows.
pub fn cron_task(vault: &VaultId, workflow: &str, at: Millis) -> String {
    ContentHash::of(format!("aios-cron-v1\n{vault}\n{workflow}\n{at}").as_bytes()).short(32)
}

/// The id of the task that an entity starts: one when it is made, on however many devices at once, and one for each `record` that
/// changes it.
pub fn entity_task(vault: &VaultId, workflow: &str, doc: &str, record: Option<&str>) -> String {
    let change = record.unwrap_or("made");
    ContentHash::of(format!("aios-entity-v1\n{vault}\n{workflow}\n{doc}\n{change}").as_bytes()).short(32)
}

/// The id of the task that an event starts: one, however often it is delivered, and on however many devices (I10).
pub fn event_task(vault: &VaultId, workflow: &str, name: &str, id: &str) -> String {
    // As JSON neither can be read as a part of the other.
    let (name, id) = (Value::from(name), Value::from(id));
    ContentHash::of(format!("aios-event-v1\n{vault}\n{workflow}\n{name}\n{id}").as_bytes()).short(32)
}

/// Whether a text can name an event: words with points between them.
pub fn is_event_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let word = |part: &str| !part.is_empty() && part.bytes().all(inside);
    text.len() <= 80 && text.split('.').all(word)
}
