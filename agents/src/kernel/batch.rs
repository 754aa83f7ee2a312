//! Work that waits for the answer of a batch: it is looked for now and then, by whichever process there is.

use super::{Flight, Kernel, Work};
use crate::agent::batch::Stage;
use crate::span::Millis;
use crate::table::{StepState, Task};

impl Kernel {
    /// There is no answer yet: what is waited for is looked for again then.
    pub(super) fn waits(&mut self, work: Work, until: Millis) {
        if self.flying.remove(&Flight::Step(work.clone())) {
            self.dirty.insert(work.task.clone());
            self.awaited.insert(work, until);
        }
    }

    /// When this process looks again for what work waits for; nothing where it looks now, or waits for nothing.
    pub(super) fn looks_again(&self, work: &Work, state: &StepState) -> Option<Millis> {
        let at = self.awaited.get(work).copied()?;
        (state.batched().is_some() && at > self.now).then_some(at)
    }

    /// Whether any work of this device but a step of a task waits for a batch.
    pub(super) fn waits_in(&self, batch: &str, but: (&str, &str)) -> bool {
        let waits = |(id, task): (&str, &Task)| {
            let runs = task.runs.values().filter(|run| run.device == self.device && run.ended.is_none());
            runs.flat_map(|run| &run.steps).any(|(path, state)| {
                let sent = state.batched().map(|it| &it.stage);
                (id, path.as_str()) != but && matches!(sent, Some(Stage::Sent { batch: of }) if of == batch)
            })
        };
        self.tables.open().filter(|(_, task)| task.cancelled.is_none()).any(waits)
    }
}
