//! Work that a daemon carries on beside its own: it says when, and whoever knows the work does it on the open vault.

use std::sync::{Arc, Mutex, PoisonError};

use aios_core::frontier::View;
use aios_vault::{Error, Vault};
use tokio::sync::Notify;

/// What carries on work.
pub trait Work: Send {
    /// Carries on all work as far as it goes now. Nobody else works on the vault meanwhile, so nobody else performs what this does.
    ///
    /// # Errors
    /// What the vault answers.
    fn carry_on(&mut self, vault: &mut Vault) -> Result<Carried, Error>;
}

/// Where work stands after it was carried on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried {
    /// All integrated records.
    pub view: View,
    /// When it goes on by itself, ms since the Unix epoch.
    pub wake: Option<u64>,
    /// When it is to be looked whether something has come or ended of which nobody says so, ms since the Unix epoch.
    pub look: Option<u64>,
    /// Whether somebody is at work beside it.
    pub at_work: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// The one who carries on work in this process. Clones share it.
#[derive(Clone)]
pub struct Worker {
    work: Arc<Mutex<dyn Work>>,
    /// Rings when something that was waited for is there.
    bell: Arc<Notify>,
}

impl Worker {
    /// Shares who does the work; `bell` is rung when there is some of which nobody else says so.
    pub fn new(work: impl Work + 'static, bell: Arc<Notify>) -> Worker {
        Worker { work: Arc::new(Mutex::new(work)), bell }
    }

    /// What is rung when there is work.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    /// As [`Work::carry_on`].
    ///
    /// # Errors
    /// What the vault answers.
    pub fn carry_on(&self, vault: &mut Vault) -> Result<Carried, Error> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).carry_on(vault)
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}
