//! Work that waits for the answer of a batch: it is looked for now and then, by whichever process there is.

use super::{Action, Flight, Kernel, Work};
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

    /// What has a batch given up that a step waited for, where no other work of this device waits for it: `over` says of which it is known that it
    /// does not any more, by task and step.
    pub(super) fn gives_up(&self, state: &StepState, over: impl Fn(&str, &str) -> bool) -> Option<Action> {
        let batched = state.batched()?;
        let Stage::Sent { batch } = &batched.stage else { return None };
        let waits = |(id, task): (&str, &Task)| {
            let runs = task.runs.values().filter(|run| run.device == self.device && run.ended.is_none());
            runs.flat_map(|run| &run.steps).any(|(path, state)| {
                let sent = state.batched().map(|it| &it.stage);
                matches!(sent, Some(Stage::Sent { batch: of }) if of == batch) && !over(id, path)
            })
        };
        let waited_for = self.tables.open().filter(|(_, task)| task.cancelled.is_none()).any(waits);
        (!waited_for).then(|| Action::Withdraw(batched.clone()))
    }
}
