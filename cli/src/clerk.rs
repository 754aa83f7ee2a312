//! Who works at the desk in a daemon: comes by whenever something may be to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aios_sync::work::{Carried, Work};
use aios_vault::chance::now_ms;
use aios_vault::{Error, Vault};
use tokio::sync::Notify;

use crate::desk::{Desk, LOOK};
use crate::memory;

/// Memory is given back at most so often: it takes longer than most of what is done in between.
const GIVE_BACK: Duration = Duration::from_secs(10);

/// Who works at the desk in a daemon. Between two pieces of work the desk stands where it was.
pub struct Clerk {
    desk: Option<Desk>,
    /// Rings when a model has answered.
    bell: Arc<Notify>,
    /// When memory was given back last.
    gave_back: Option<Instant>,
}

impl Clerk {
    /// One who is called by this when a model has answered.
    pub fn new(bell: Arc<Notify>) -> Clerk {
        Clerk { desk: None, bell, gave_back: None }
    }
}

impl Work for Clerk {
    fn carry_on(&mut self, vault: &mut Vault) -> Result<Carried, Error> {
        // One that was left in the middle of something does not know where it stands, and is not used again.
        let mut desk = match self.desk.take() {
            Some(desk) => desk,
            None => Desk::set_up_to_come_by(vault, self.bell.clone())?,
        };
        desk.carry_on(vault)?;
        // Nobody says when a mail comes.
        let mails = desk.receives().then(|| now_ms() + LOOK);
        let carried = Carried {
            view: vault.view().clone(),
            wake: desk.wake(),
            look: mails.into_iter().chain(desk.look_again()).min(),
            at_work: desk.look_again().is_some(),
            warnings: desk.warnings(),
        };
        self.desk = Some(desk);
        // The daemon comes by here after all that it did, and when nothing happens.
        if self.gave_back.is_none_or(|at| at.elapsed() >= GIVE_BACK) {
            memory::give_back();
            self.gave_back = Some(Instant::now());
        }
        Ok(carried)
    }
}
