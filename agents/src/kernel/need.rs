//! What the operator has to do.

use aios_core::id::{ContentHash, DeviceId};
use serde::Serialize;

use super::Cost;
use crate::event::{Content, EffectKey};
use crate::failure::Failure;
use crate::span::Millis;
use crate::table::Attempt;

/// One thing that needs the operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "need", rename_all = "lowercase")]
pub enum Need {
    /// This device has begun an effect that the log does not know: the vault was restored from an older copy.
    Lost {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        attempt: u32,
        /// When.
        at: Millis,
        /// What it is.
        what: String,
    },
    /// Whether an effect happened is not known: look, and say.
    Unknown {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        attempt: u32,
        /// The device that was at it.
        device: DeviceId,
        /// Where to look there.
        check: String,
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// What it would have done.
        content: Content,
    },
    /// A dead letter: what failed for good.
    Dead {
        /// The task.
        task: String,
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// What was wanted.
        wanted: String,
        /// How it failed.
        failure: Failure,
        /// How often it was tried.
        attempts: u32,
        /// The attempts that failed.
        failed: Vec<Attempt>,
        /// What the task cost so far.
        cost: Cost,
        /// Commands that go on from here.
        next: Vec<String>,
    },
    /// An effect asks for consent.
    Approval {
        /// The effect.
        key: EffectKey,
        /// The device that does it.
        device: DeviceId,
        /// What consent is bound to.
        digest: ContentHash,
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// What it will do.
        content: Content,
        /// Why it asks.
        why: String,
    },
    /// A workflow asks.
    Question {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// Which attempt at the step asks.
        attempt: u32,
        /// The question.
        question: String,
        /// The answers there are; none: any text.
        choices: Vec<String>,
    },
    /// A step waits for an effect that happens on another device.
    Elsewhere {
        /// The task.
        task: String,
        /// The step.
        step: String,
        /// The capability.
        capability: String,
        /// The device.
        device: DeviceId,
        /// Whether that device is a member no more: then it waits for the operator.
        gone: bool,
    },
    /// A workflow cannot start by itself.
    Unfit {
        /// The workflow.
        workflow: String,
        /// Why.
        what: String,
    },
    /// Work waits for something that this device does not have.
    Missing {
        /// The task.
        task: String,
        /// What it is.
        what: String,
    },
}

impl Need {
    /// How urgent it is; less is more.
    pub fn rank(&self) -> u8 {
        match self {
            Need::Lost { .. } | Need::Unknown { .. } => 0,
            Need::Dead { .. } => 1,
            Need::Approval { .. } => 2,
            Need::Question { .. } => 3,
            Need::Unfit { .. } | Need::Missing { .. } | Need::Elsewhere { .. } => 4,
        }
    }
}
