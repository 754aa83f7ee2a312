//! One vault, many users in one process: a thread that opens it when there is work and lets go of it soon after.
//!
//! An open vault holds a lock that keeps other processes out, so it is never held while nothing is done, nor while the
//! network is waited for: a one-shot command works while the daemon runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use aios_vault::{Error, Vault};

/// How long the vault stays open for the next piece of work.
const IDLE: Duration = Duration::from_millis(25);
/// After this long it is let go of even if there is more work.
const SLICE: Duration = Duration::from_millis(500);
/// For so long then: other processes look for the lock every 10 ms.
const PAUSE: Duration = Duration::from_millis(20);

type Job = Box<dyn FnOnce(Result<&mut Vault, Error>) + Send>;

/// Runs work on a vault, one piece after the other. Clones share one open vault.
#[derive(Clone)]
pub struct Keeper {
    root: PathBuf,
    jobs: Sender<Job>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Keeper {
    /// For the vault at `root`, which is opened when there is work.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(root: &Path) -> Result<Keeper, Error> {
        let (jobs, inbox) = channel();
        let path = root.to_owned();
        let thread = std::thread::Builder::new().name("vault".into());
        thread.spawn(move || keep(&path, &inbox)).map_err(|e| Error::io("start a thread for", root, e))?;
        Ok(Keeper { root: root.to_owned(), jobs })
    }

    /// The vault's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Does `work` on the open vault and waits for it: from a thread that may block.
    ///
    /// # Errors
    /// What opening the vault or the work answers.
    pub fn work<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Vault) -> Result<T, Error> + Send + 'static,
    {
        let (tell, told) = sync_channel(1);
        let job: Job = Box::new(move |vault| {
            // Nobody waits for the answer only if the asking thread is gone.
            let _ = tell.send(vault.and_then(work));
        });
        let lost =
            || Error::io("work on", &self.root, std::io::Error::other("the work on the vault was cut short"));
        self.jobs.send(job).map_err(|_| lost())?;
        told.recv().map_err(|_| lost())?
    }
}

fn keep(root: &Path, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut vault = match Vault::open(root) {
            Ok(vault) => vault,
            Err(e) => {
                first(Err(e));
                continue;
            }
        };
        let since = Instant::now();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            // A vault that work left by a panic is not used again; the next piece of work opens it anew.
            if catch_unwind(AssertUnwindSafe(|| job(Ok(&mut vault)))).is_err() || since.elapsed() > SLICE {
                break;
            }
            next = jobs.recv_timeout(IDLE).ok();
        }
        drop(vault);
        if since.elapsed() > SLICE {
            std::thread::sleep(PAUSE);
        }
    }
}
