//! Which tasks wrote which files: what came from outside into a task is in what it wrote.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Tables;
use super::image::NoImage;
use super::map::Map;
use super::run::{Runs, Writer};
use crate::connector::is_of_files;
use crate::event::{Came, EffectKey, WorkEvent};

/// The tasks that wrote files, or were to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Writers {
    of_effect: Map<6, EffectKey, BTreeSet<String>>,
    at_path: Map<7, String, BTreeSet<String>>,
    /// The effects that wrote a document, wherever it lies by now.
    in_doc: Map<8, String, BTreeSet<EffectKey>>,
}

impl Writers {
    pub fn on(runs: &Arc<Runs>) -> Writers {
        Writers { of_effect: Map::on(runs), at_path: Map::on(runs), in_doc: Map::on(runs) }
    }

    pub fn save(&self, out: &mut Writer, newest: usize, all: bool) -> Result<(), NoImage> {
        self.of_effect.save(out, newest, all)?;
        self.at_path.save(out, newest, all)?;
        self.in_doc.save(out, newest, all)
    }

    /// Takes in an event of an effect. A proposal counts already: its file may come before what is said of it.
    pub fn insert(&mut self, key: EffectKey, event: &WorkEvent) {
        match event {
            WorkEvent::EffectProposed { task, content, .. } if is_of_files(&content.capability) => {
                self.of_effect.change(key, |tasks| _ = tasks.insert(task.clone()));
                self.at_path.change(content.target.clone(), |tasks| _ = tasks.insert(task.clone()));
            }
            WorkEvent::EffectEnded { came: Came::Done { result }, .. } => {
                if let Some(doc) = result.get("doc").and_then(serde_json::Value::as_str) {
                    self.in_doc.change(doc.to_owned(), |effects| _ = effects.insert(key));
                }
            }
            _ => {}
        }
    }
}

impl Tables {
    /// The tasks that wrote a document, or the file at a path.
    pub fn writers(&self, path: &str, doc: &str) -> impl Iterator<Item = String> {
        let by_doc = self.writers.in_doc.get(&doc.to_owned()).into_iter().flatten();
        let by_doc = by_doc.filter_map(|key| self.writers.of_effect.get(&key)).flatten();
        self.writers.at_path.get(&path.to_owned()).into_iter().flatten().chain(by_doc)
    }
}
