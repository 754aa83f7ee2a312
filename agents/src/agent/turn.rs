//! What happens in an agent's work with a model, one thing after the other: each is recorded before the next begins.

use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};

use crate::event::Content;
use crate::model::price::Fine;
use crate::model::{Answer, Usage};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "turn", rename_all = "lowercase")]
pub enum Turn {
    /// A model answered.
    Answered {
        /// Which: provider and name there.
        model: String,
        /// Digest of what it was asked.
        asked: ContentHash,
        /// Whether what it was given in the beginning came from outside.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        outside: bool,
        /// What it said.
        answer: Answer,
        /// How much that counts for: what the provider said, else the most that it can have been.
        counted: Usage,
        /// What it cost.
        cost: Fine,
    },
    /// It wants to change the world: that is proposed, and waited for.
    Wants {
        /// The call.
        call: String,
        /// What.
        content: Box<Content>,
    },
    /// Something came of a call.
    Came {
        /// The call.
        call: String,
        /// What came, for the model.
        text: String,
        /// Whether that came from outside.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untrusted: bool,
    },
}

impl Turn {
    /// Where the effect that it wants is proposed, below the path of its step. It follows from what is wanted: the same, wanted twice in one step,
    /// happens once (I10).
    pub fn place(step: &str, content: &Content) -> String {
        let value = serde_json::json!(content);
        format!("{step}~{}", crate::event::digest(&value).short(12))
    }
}
