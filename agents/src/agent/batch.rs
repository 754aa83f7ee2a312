//! How far a question is that is asked by batch: each stage is recorded before the next begins.

use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Turn;
use crate::event::digest;
use crate::kernel::Work;
use crate::span::Millis;

/// A question that is asked by batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batched {
    /// Who is asked: provider and name there.
    pub model: String,
    /// Digest of the question.
    pub asked: ContentHash,
    /// What it is called in its batch.
    pub key: String,
    /// When it came to this.
    pub since: Millis,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
}

/// How far a question is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "lowercase")]
pub enum Stage {
    /// It is to be sent.
    Queued,
    /// It is in a batch, and waited for.
    Sent {
        /// What the provider calls that.
        batch: String,
    },
    /// Nothing comes of it by batch: it is asked directly.
    Left {
        /// Why.
        why: String,
    },
}

impl Batched {
    /// The next stage.
    #[must_use]
    pub fn then(&self, since: Millis, stage: Stage) -> Batched {
        Batched { since, stage, ..self.clone() }
    }

    /// Whether an answer may come by batch.
    pub fn waits(&self) -> bool {
        !matches!(self.stage, Stage::Left { .. })
    }

    /// The provider, and the model's name there.
    pub fn line(&self) -> Option<(String, String)> {
        self.model.split_once('/').map(|(provider, model)| (provider.to_owned(), model.to_owned()))
    }
}

/// What a question is called in a batch: who was killed finds it by that. So many turns were taken before it.
pub fn key(work: &Work, turns: usize, asked: &ContentHash) -> String {
    digest(&json!(["batch", work.task, work.run, work.step, work.attempt, turns, asked])).short(24)
}

/// How far the question is that is next, where it is asked by batch.
pub(super) fn stand(turns: &[Turn]) -> Option<&Batched> {
    let mut before = turns.iter().rev();
    // Whether a dear call is made is asked in between.
    let dear = |turn: &&Turn| match turn {
        Turn::Asks { call, .. } | Turn::Came { call, .. } => call.is_empty(),
        _ => false,
    };
    match before.find(|turn| !dear(turn)) {
        Some(Turn::Batched(batched)) => Some(batched),
        _ => None,
    }
}
