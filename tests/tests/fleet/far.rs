//! The other side: it counts every business act, whatever keys it is told.

use std::collections::{BTreeMap, BTreeSet};

use aios_agents::event::{Came, Content, EffectKey};
use aios_agents::failure::{Class, Failure};
use serde_json::json;

/// Something that was done to the world.
#[derive(Debug, Clone)]
pub struct Act {
    pub key: EffectKey,
    pub device: usize,
    pub content: Content,
}

#[derive(Debug, Default)]
pub struct Far {
    pub knows_keys: Vec<&'static str>,
    pub acts: Vec<Act>,
    /// The effects that wrote a file, or found it there.
    pub files: BTreeSet<EffectKey>,
    /// How often a business act refuses yet.
    pub refusals: BTreeMap<String, u32>,
}

/// The mark of what the operator changed.
pub const CHANGED: &str = "changed";

/// What is the same to the one who gets it, in whichever words.
pub fn business(content: &Content) -> String {
    let mut args = content.args.clone();
    args.as_object_mut().map(|args| args.remove(CHANGED));
    format!("{} to {}: {args}", content.capability, content.target)
}

impl Far {
    /// Does it, or says that it did not; `chance` is a random number for the first time that it is asked.
    pub fn perform(&mut self, device: usize, key: EffectKey, content: &Content, chance: u64) -> Came {
        let act = business(content);
        let left = self.refusals.entry(act).or_insert(if chance.is_multiple_of(5) {
            (chance / 5 % 4) as u32
        } else {
            0
        });
        if *left > 0 {
            *left -= 1;
            return Came::Failed { failure: Failure::new(Class::Transient, "busy") };
        }
        let knows = self.knows_keys.contains(&content.capability.as_str());
        if !knows || !self.has(&key) {
            self.acts.push(Act { key, device, content: content.clone() });
        }
        // A connector may have done it and not be sure of it.
        match chance % 23 == 1 && !knows {
            true => Came::Unknown,
            false => Came::Done { result: json!("ok") },
        }
    }

    pub fn has(&self, key: &EffectKey) -> bool {
        self.files.contains(key) || self.acts.iter().any(|act| act.key == *key)
    }

    /// Keys that were used more than once, and business acts that were done more than once; `again` are the effects of which the operator
    /// said by name that they happen once more.
    pub fn doubled(&self, again: &BTreeSet<EffectKey>) -> Vec<String> {
        let mut counts: BTreeMap<String, Vec<&Act>> = BTreeMap::new();
        self.acts.iter().for_each(|act| counts.entry(business(&act.content)).or_default().push(act));
        let may = |acts: &[&Act]| 1 + acts.iter().filter(|act| again.contains(&act.key)).count();
        let keys = |acts: &[&Act]| acts.iter().map(|act| act.key).collect::<BTreeSet<_>>().len();
        let twice = counts.into_iter().filter(|(_, acts)| acts.len() > may(acts) || keys(acts) < acts.len());
        let by = |acts: Vec<&Act>| acts.iter().map(|act| act.device).collect::<Vec<_>>();
        twice.map(|(act, acts)| format!("{act} by devices {:?}", by(acts))).collect()
    }
}
