//! A run that goes back to a step, and does that and what follows anew.
//!
//! What was recorded stays: attempts go on being counted, what happened has happened (I10). The steps alone are as if the run had not
//! come to them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Order, Run, Status, StepState};
use crate::event::{Content, EffectKey};

/// What a run was asked to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewind {
    /// The step.
    pub step: String,
    /// Effects that happened and are to happen once more.
    pub again: Vec<EffectKey>,
}

/// What takes back an effect that happened in a step which the run has gone back over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Where in the order the step was done: what was done last is taken back first.
    pub order: Order,
    /// What takes it back.
    pub content: Content,
}

/// The sequence that a step is part of, as the start of its path: up to the step or the branch around it.
fn sequence(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

/// Whether a step lies within another.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['[', '/']))
}

impl Run {
    /// Where a step stands that the run has come to, and not gone back over.
    pub fn state(&self, path: &str) -> Option<&StepState> {
        self.steps.get(path).filter(|state| state.status != Status::Rewound)
    }

    /// How often a step was begun.
    pub fn attempts(&self, path: &str) -> u32 {
        self.steps.get(path).map_or(0, |state| state.attempts)
    }

    /// Whether it has begun to take back what it did: from there is no way back.
    pub fn takes_back(&self) -> bool {
        self.steps.keys().any(|path| path.contains('!'))
    }

    /// The steps that are done anew when it goes back to one: that, those within it, and those that came after it or after what it lies
    /// within. Other items and branches stay.
    pub fn from(&self, step: &str) -> BTreeSet<String> {
        // What follows each other never overlaps, so of one sequence the later begun come after.
        let levels = self.steps.iter().filter(|(path, _)| *path == step || is_within(step, path));
        let levels: Vec<(&str, &str, Order)> =
            levels.map(|(path, state)| (path.as_str(), sequence(path), state.started)).collect();
        let mut out = BTreeSet::new();
        for path in self.steps.keys() {
            let comes = levels.iter().any(|(level, sequence, began)| {
                let Some(rest) = path.strip_prefix(sequence) else { return false };
                let name = rest.split(['[', '/']).next().unwrap_or_default();
                let sibling = &path[..sequence.len() + name.len()];
                let after = self.state(sibling).is_some_and(|it| it.started > *began);
                *level == step && sibling == step || after && sibling != *level
            });
            if comes && self.state(path).is_some() {
                out.insert(path.clone());
            }
        }
        out
    }

    /// Goes back to a step; `undo` is what takes back what happened since.
    pub(super) fn go_back(&mut self, to: &str, undo: &BTreeMap<String, Content>, order: &Order) {
        if self.state(to).is_none() || self.takes_back() {
            return;
        }
        self.stuck = None;
        let anew = self.from(to);
        for (path, state) in &mut self.steps {
            if anew.contains(path) {
                if let (Status::Finished { order, .. }, Some(content)) = (&state.status, undo.get(path)) {
                    self.owed.insert(path.clone(), Owed { order: *order, content: content.clone() });
                }
                state.status = Status::Rewound;
                state.turns.clear();
                state.forgiven = state.attempts;
                state.over = Some((*order, state.attempts));
            } else if is_within(to, path) {
                // The steps around it go on.
                state.status = Status::Started;
            }
        }
    }
}

impl StepState {
    /// The run comes to it, perhaps again.
    pub(super) fn come(&mut self, order: &Order) {
        if self.status == Status::Rewound {
            self.began = order.time();
            self.started = *order;
            (self.waited, self.waits) = (0, None);
        }
    }

    /// Whether an answer is one to what it asks now, and not to what it asked before the run went back over it.
    pub fn takes(&self, answer: &Answer) -> bool {
        self.over.is_none_or(|(order, attempts)| match answer.attempt {
            0 => answer.order > order,
            attempt => attempt > attempts,
        })
    }
}
