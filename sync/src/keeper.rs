//! One vault, many users in one process: a thread that opens it when there is work and lets go of it soon after.
//!
//! An open vault holds a lock that keeps other processes out, so it is never held while nothing is done, nor while the
//! network is waited for: a one-shot command works while the daemon runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aios_vault::vault::Resting;
use aios_vault::{Error, Vault};

/// How long the lock is kept for the next piece of work.
const IDLE: Duration = Duration::from_millis(25);
/// After this long it is let go of even if there is more work.
const SLICE: Duration = Duration::from_millis(500);
/// For so long then: other processes look for the lock every 10 ms.
const PAUSE: Duration = Duration::from_millis(20);
/// How long what was read is kept without the lock.
const REST: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(Result<&mut Vault, Error>) + Send>;

/// Runs work on a vault, one piece after the other. Clones share one open vault, which is closed when the last is dropped.
#[derive(Clone)]
pub struct Keeper {
    root: PathBuf,
    worker: Worker,
}

/// Where the work is done.
#[derive(Clone)]
enum Worker {
    /// On a thread of its own.
    Thread(Arc<Thread>),
    /// On the thread that asks, for a simulator: all that happens is in one order.
    #[cfg(feature = "simulated")]
    Here,
}

/// The thread that works, and how it is told.
struct Thread {
    jobs: Mutex<Option<Sender<Job>>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A database that is not closed leaves its journal behind. The last clone may be dropped by work itself.
        if let Some(handle) = handle.filter(|handle| handle.thread().id() != std::thread::current().id()) {
            let _ = handle.join();
        }
    }
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
        let handle = thread
            .spawn(move || keep(&path, &inbox))
            .map_err(|e| Error::io("start a thread for", root, e))?;
        let thread = Thread { jobs: Mutex::new(Some(jobs)), handle: Mutex::new(Some(handle)) };
        Ok(Keeper { root: root.to_owned(), worker: Worker::Thread(Arc::new(thread)) })
    }

    /// As [`Keeper::new`], working on whatever thread asks. Between two pieces of work the vault rests.
    #[cfg(feature = "simulated")]
    pub fn here(root: &Path) -> Keeper {
        Keeper { root: root.to_owned(), worker: Worker::Here }
    }

    /// Closes the vault that rests on this thread, as a process does that ends.
    #[cfg(feature = "simulated")]
    pub fn end(&self) {
        here::RESTING.with_borrow_mut(|resting| resting.remove(&self.root));
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
        let thread = match &self.worker {
            Worker::Thread(thread) => thread,
            #[cfg(feature = "simulated")]
            Worker::Here => return here::work(&self.root, work),
        };
        let (tell, told) = sync_channel(1);
        let job: Job = Box::new(move |vault| {
            // Nobody waits for the answer only if the asking thread is gone.
            let _ = tell.send(vault.and_then(work));
        });
        let lost =
            || Error::io("work on", &self.root, std::io::Error::other("the work on the vault was cut short"));
        let jobs = thread.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        jobs.and_then(|jobs| jobs.send(job).ok()).ok_or_else(lost)?;
        told.recv().map_err(|_| lost())?
    }
}

#[cfg(feature = "simulated")]
mod here {
    use super::{Error, Path, PathBuf, Resting, Vault};
    use std::cell::RefCell;
    use std::collections::HashMap;

    thread_local! {
        pub(super) static RESTING: RefCell<HashMap<PathBuf, Resting>> = RefCell::new(HashMap::new());
    }

    pub(super) fn work<T>(
        root: &Path,
        work: impl FnOnce(&mut Vault) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let resting = RESTING.with_borrow_mut(|resting| resting.remove(root));
        let mut vault = match resting {
            Some(resting) => resting.wake()?,
            None => Vault::open(root)?,
        };
        let done = work(&mut vault);
        if let Some(rests) = vault.rest() {
            RESTING.with_borrow_mut(|resting| resting.insert(root.to_owned(), rests));
        }
        done
    }
}

fn keep(root: &Path, jobs: &Receiver<Job>) {
    let mut resting: Option<Resting> = None;
    loop {
        let first = match &resting {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => jobs.recv_timeout(REST),
        };
        let first = match first {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                resting = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let opened = match resting.take() {
            Some(resting) => resting.wake(),
            None => Vault::open(root),
        };
        let mut vault = match opened {
            Ok(vault) => vault,
            Err(e) => {
                first(Err(e));
                continue;
            }
        };
        let since = Instant::now();
        let (mut next, mut whole) = (Some(first), true);
        while let Some(job) = next.take() {
            whole = catch_unwind(AssertUnwindSafe(|| job(Ok(&mut vault)))).is_ok();
            if !whole || since.elapsed() > SLICE {
                break;
            }
            next = jobs.recv_timeout(IDLE).ok();
        }
        // A vault that work left by a panic is not used again; the next piece of work opens it anew.
        resting = if whole { vault.rest() } else { None };
        if since.elapsed() > SLICE {
            std::thread::sleep(PAUSE);
        }
    }
}
