//! Domain events of work. Each folds into one aggregate, named by its id, in the total order of records.

use aios_core::event::Event;
use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};

/// The key under which an effect happens at most once: BLAKE3 of vault, task, step path and generation (I10).
///
/// It follows from the work and never from the attempt, so every device that comes to the same step has the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectKey(pub ContentHash);

impl EffectKey {
    /// The key of the effect at `step` (a path with loop items, such as `remind[3]/send`) of `task`.
    pub fn of(vault: &aios_core::id::VaultId, task: &str, step: &str, generation: u32) -> Self {
        EffectKey(ContentHash::of(
            format!("aios-effect-v1\n{vault}\n{task}\n{step}\n{generation}").as_bytes(),
        ))
    }
}

/// What happened to a piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum WorkEvent {
    /// There is something to do.
    #[serde(rename = "task.created")]
    TaskCreated {
        /// The task's id; of triggered work, a hash of workflow, trigger and instant or event.
        task: String,
        /// The workflow or agent that does it.
        workflow: String,
        /// Its inputs.
        input: serde_json::Value,
    },
    /// A device began to do it.
    #[serde(rename = "run.started")]
    RunStarted {
        /// The task.
        task: String,
        /// The run.
        run: String,
    },
    /// A step of a run has its result; recorded before the next begins.
    #[serde(rename = "step.finished")]
    StepFinished {
        /// The run.
        run: String,
        /// Path of the step, with loop items.
        step: String,
        /// Digest of what went in.
        input: ContentHash,
        /// What came out.
        result: serde_json::Value,
    },
    /// A run ended.
    #[serde(rename = "run.ended")]
    RunEnded {
        /// The run.
        run: String,
        /// `done`, `failed` or `cancelled`.
        outcome: String,
    },
    /// An effect is about to happen; durable before the act (I10).
    #[serde(rename = "effect.intended")]
    EffectIntended {
        /// Its key.
        key: EffectKey,
        /// The task.
        task: String,
        /// Such as `mail.send`.
        capability: String,
        /// Digest of exactly what will be sent.
        digest: ContentHash,
    },
    /// What came of an effect.
    #[serde(rename = "effect.ended")]
    EffectEnded {
        /// Its key.
        key: EffectKey,
        /// `done`, `failed`, `unknown` or `compensated`.
        outcome: String,
    },
    /// The operator consents to exactly this (I11).
    #[serde(rename = "approval.granted")]
    ApprovalGranted {
        /// The effect's key.
        key: EffectKey,
        /// Digest of what is consented to.
        digest: ContentHash,
    },
    /// The operator refuses.
    #[serde(rename = "approval.denied")]
    ApprovalDenied {
        /// The effect's key.
        key: EffectKey,
        /// Why.
        note: String,
    },
}

/// An event that is not one of work, or not as this program knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event is not one of work: {0}")]
pub struct NotWork(String);

impl TryFrom<&WorkEvent> for Event {
    type Error = NotWork;

    fn try_from(event: &WorkEvent) -> Result<Event, NotWork> {
        match serde_json::to_value(event) {
            Ok(serde_json::Value::Object(map)) => Ok(Event::Other(map)),
            Ok(_) => Err(NotWork("it is no object".into())),
            Err(e) => Err(NotWork(e.to_string())),
        }
    }
}

impl TryFrom<&Event> for WorkEvent {
    type Error = NotWork;

    fn try_from(event: &Event) -> Result<WorkEvent, NotWork> {
        match event {
            Event::Other(map) => serde_json::from_value(serde_json::Value::Object(map.clone()))
                .map_err(|e| NotWork(e.to_string())),
            other => Err(NotWork(other.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_core::id::VaultId;
    use aios_core::item::Item;

    #[test]
    fn work_events_are_items_of_records() {
        let event = WorkEvent::RunEnded { run: "r1".into(), outcome: "done".into() };
        let item = Item::Event(Event::try_from(&event).unwrap());
        let text = serde_json::to_string(&item).unwrap();
        let Item::Event(back) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(WorkEvent::try_from(&back).unwrap(), event);
        assert!(WorkEvent::try_from(&Event::ConflictSettled { id: "x".into() }).is_err());
    }

    #[test]
    fn a_key_follows_from_the_work() {
        let vault = VaultId([1; 32]);
        assert_eq!(EffectKey::of(&vault, "t", "a/b", 0), EffectKey::of(&vault, "t", "a/b", 0));
        assert_ne!(EffectKey::of(&vault, "t", "a/b", 0), EffectKey::of(&vault, "t", "a/b", 1));
    }
}
