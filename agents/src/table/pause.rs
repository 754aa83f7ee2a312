//! Work that stands still: a task, and all that its steps started.

use super::{Tables, Task};
use crate::span::Millis;

/// How many tasks above each other are looked at: more than may start each other.
const DEEPEST: usize = 32;

impl Tables {
    /// A task and those it is part of.
    pub(super) fn line(&self, id: &str) -> impl Iterator<Item = &Task> {
        let above = |task: &&Task| self.task(&task.parent.as_ref()?.0);
        std::iter::successors(self.task(id), above).take(DEEPEST)
    }

    /// Whether a task stands still: it, or one that it is part of.
    pub fn is_paused(&self, id: &str) -> bool {
        self.line(id).any(Task::is_paused)
    }

    /// How long a task has stood still since a moment, and does no more. What waits for time to pass waits so much longer.
    pub fn stood(&self, id: &str, since: Millis) -> Millis {
        let over = |(from, until): &(Millis, Option<Millis>)| Some(((*from).max(since), (*until)?));
        let mut pauses: Vec<(Millis, Millis)> =
            self.line(id).flat_map(|task| task.pauses.iter().filter_map(over)).collect();
        pauses.sort_unstable();
        // A task and the one that it is part of may have stood still at once.
        let (mut sum, mut counted) = (0, since);
        for (from, until) in pauses {
            let from = from.max(counted);
            if until > from {
                sum += until - from;
                counted = until;
            }
        }
        sum
    }
}
