//! Which tasks wrote which files: what came from outside into a task is in what it wrote.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Tables;
use crate::connector::is_of_files;
use crate::event::{Came, EffectKey, WorkEvent};

/// The tasks that wrote files, or were to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Writers {
    of_effect: BTreeMap<EffectKey, BTreeSet<String>>,
    at_path: BTreeMap<String, BTreeSet<String>>,
    /// The effects that wrote a document, wherever it lies by now.
    in_doc: BTreeMap<String, BTreeSet<EffectKey>>,
}

impl Writers {
    /// Takes in an event of an effect. A proposal counts already: its file may come before what is said of it.
    pub fn insert(&mut self, key: EffectKey, event: &WorkEvent) {
        match event {
            WorkEvent::EffectProposed { task, content, .. } if is_of_files(&content.capability) => {
                self.of_effect.entry(key).or_default().insert(task.clone());
                self.at_path.entry(content.target.clone()).or_default().insert(task.clone());
            }
            WorkEvent::EffectEnded { came: Came::Done { result }, .. } => {
                if let Some(doc) = result.get("doc").and_then(serde_json::Value::as_str) {
                    self.in_doc.entry(doc.to_owned()).or_default().insert(key);
                }
            }
            _ => {}
        }
    }
}

impl Tables {
    /// The tasks that wrote a document, or the file at a path.
    pub fn writers(&self, path: &str, doc: &str) -> impl Iterator<Item = &str> {
        let by_doc = self.writers.in_doc.get(doc).into_iter().flatten();
        let by_doc = by_doc.filter_map(|key| self.writers.of_effect.get(key)).flatten();
        self.writers.at_path.get(path).into_iter().flatten().chain(by_doc).map(String::as_str)
    }
}
