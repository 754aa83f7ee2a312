//! What happens in an agent's work with a model, one thing after the other: each is recorded before the next begins.

use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};

use super::Batched;
use super::summary::Cut;
use crate::event::Content;
use crate::model::price::Fine;
use crate::model::{Answer, Usage};

/// Who answers in place of a model that is not set up, where an agent's file has a template for that.
pub const TEMPLATE: &str = "template";

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
        /// Whether nobody was asked: it is what was answered to the same once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        kept: bool,
    },
    /// A model is asked by batch: how far that is.
    Batched(Batched),
    /// It had become too long for its model: what happened first was summed up, and is told so from here on.
    Summarised {
        /// What of it.
        #[serde(flatten)]
        cut: Cut,
        /// Who summed up: provider and name there.
        model: String,
        /// Digest of what it was asked.
        asked: ContentHash,
        /// What it said.
        answer: Answer,
        /// How much that counts for.
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
    /// It asks the operator: that is waited for.
    Asks {
        /// The call; empty: whether a model is to be asked that may cost much.
        call: String,
        /// What.
        question: String,
        /// What may be answered; none: any text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        choices: Vec<String>,
    },
    /// Something happened in the work of another agent, which a call asks.
    Within {
        /// The call.
        call: String,
        /// What happened.
        took: Box<Turn>,
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
    /// What happened, in whoever's work.
    pub fn innermost(&self) -> &Turn {
        match self {
            Turn::Within { took, .. } => took.innermost(),
            turn => turn,
        }
    }

    /// What was paid, where a model answered: which, how much that counts for, and what it cost. Components and templates are paid nothing, and
    /// what they answer counts all the same.
    pub fn paid(&self) -> Option<(&str, &Usage, Fine)> {
        match self.innermost() {
            Turn::Answered { model, counted, cost, .. } | Turn::Summarised { model, counted, cost, .. } => {
                Some((model, counted, *cost))
            }
            _ => None,
        }
    }

    /// The same place as this, of something else that happened there.
    pub fn around(&self, took: Turn) -> Turn {
        match self {
            Turn::Within { call, took: inner } => {
                Turn::Within { call: call.clone(), took: Box::new(inner.around(took)) }
            }
            _ => took,
        }
    }

    /// Where the effect that it wants is proposed, below the path of its step. It follows from what is wanted: the same, wanted twice in one step,
    /// happens once (I10).
    pub fn place(step: &str, content: &Content) -> String {
        let value = serde_json::json!(content);
        format!("{step}~{}", crate::event::digest(&value).short(12))
    }
}
