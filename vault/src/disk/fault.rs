//! Failpoints: named places where a test makes the disk fail or the process die.
//!
//! Every call of this layer that changes the disk passes [`point`] first. Off, that is one relaxed load.
//! It is armed for the process by the environment variable `AIOS_FAULT`, read at the first point, or for one
//! thread by [`arm`]. A plan is a list separated by `;`:
//!
//! | rule | effect |
//! |---|---|
//! | `NAME=crash@N` | abort the process at the Nth hit of NAME (the first without `@N`) |
//! | `NAME=torn@N` | the same; under `AIOS_FAULT_JOURNAL` half of each unsynced tail survives |
//! | `NAME=enospc@N` | the Nth hit fails with that error (every hit without `@N`); also `eio`, `eacces` |
//! | `trace` | one line per hit on stderr: `fault: TOTAL NAME COUNT` |
//!
//! A crash of a thread's own plan unwinds with [`Crash`] in place of the abort, and until the plan is taken away every
//! further point fails: what dropped values still try does not reach the disk.
//!
//! NAME may end in `*`, which matches any ending: `*=crash@17` dies at the 17th point of whatever name, so a
//! test traces a command once and then kills it at each point in turn. With `AIOS_FAULT_JOURNAL=FILE` a crash
//! first drops what was written and not synced, as a power cut does, and lists in FILE what it dropped.
//!
//! The points of this layer: `disk.create`, `disk.write`, `disk.mode`, `disk.symlink`, `disk.make_folder`,
//! `disk.rename`, `disk.rename_new`, `disk.exchange`, `disk.exchange_held`, `disk.remove`, `disk.remove_folder`,
//! `disk.sync_file`, `disk.sync_dir`, `disk.sync_filesystem`, and, to fail only, `disk.list` and `disk.read`.
//! Of what lies in `.git`: `git.create`, `git.make_folder`, `git.write`, `git.append`, `git.mode`, `git.link`, `git.rename`,
//! `git.remove`, `git.sync`, `git.sync_folder`. Of the database: `database.begin`, `database.commit`. Of the keys:
//! `keys.make_folder`, `keys.create`; what is written to them passes those of this layer. Of the outbox: `post.delivered`, once a mail
//! is in a maildir and nobody knows that yet. Of files that work writes: `page.written`, once the record is durable. Of the inbox:
//! `inbox.told`, once a mail is an event and lies where new ones lie still.

use super::journal;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

const UNREAD: usize = usize::MAX;
/// How many plans are armed, or `UNREAD` until the environment has been looked at.
static ARMED: AtomicUsize = AtomicUsize::new(UNREAD);
static PROCESS: OnceLock<Option<Mutex<Plan>>> = OnceLock::new();

thread_local! {
    static LOCAL: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// A plan that is not understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "AIOS_FAULT: `{rule}` is not understood: write NAME=crash@N, torn@N, enospc, eio or eacces, or `trace`"
)]
pub struct FaultError {
    /// The part that is not understood.
    pub rule: String,
}

#[derive(Clone, Copy)]
enum Action {
    Crash,
    Torn,
    Fail(rustix::io::Errno),
}

struct Rule {
    name: String,
    action: Action,
    at: Option<u64>,
    hits: u64,
}

/// What is to go wrong, and where.
#[derive(Default)]
pub struct Plan {
    rules: Vec<Rule>,
    trace: bool,
    total: u64,
    counts: HashMap<&'static str, u64>,
    /// Set when the plan could not be read: then every point fails, so that a misspelt test cannot pass.
    broken: Option<String>,
    /// What somebody else does just before a hit, counted over all names.
    meanwhile: Option<(u64, Box<dyn FnOnce() + Send>)>,
    /// How many hits have failed.
    failed: u64,
    /// Set by a crash that unwinds.
    over: bool,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("total", &self.total)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What a crash of a thread's own plan unwinds with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash;

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// [`FaultError`] if it is not understood.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let mut plan = Self::default();
        for rule in text.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
            if rule == "trace" {
                plan.trace = true;
                continue;
            }
            let bad = || FaultError { rule: rule.to_owned() };
            let (name, what) = rule.split_once('=').ok_or_else(bad)?;
            let (what, at) = match what.split_once('@') {
                Some((what, at)) => (what, Some(at.parse().map_err(|_| bad())?)),
                None => (what, None),
            };
            let action = match what {
                "crash" => Action::Crash,
                "torn" => Action::Torn,
                "enospc" => Action::Fail(rustix::io::Errno::NOSPC),
                "eio" => Action::Fail(rustix::io::Errno::IO),
                "eacces" => Action::Fail(rustix::io::Errno::ACCESS),
                _ => return Err(bad()),
            };
            plan.rules.push(Rule { name: name.trim().to_owned(), action, at, hits: 0 });
        }
        Ok(plan)
    }

    /// Has somebody else act just before the hit after `hits` more, of whatever name.
    pub fn meanwhile(&mut self, hits: u64, act: impl FnOnce() + Send + 'static) {
        self.meanwhile = Some((self.total + hits + 1, Box::new(act)));
    }

    /// How many hits have failed so far.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// How many hits there were so far, of whatever name.
    pub fn hits(&self) -> u64 {
        self.total
    }

    /// What somebody else does now.
    fn due(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        self.meanwhile.take_if(|(at, _)| *at <= self.total + 1).map(|(_, act)| act)
    }

    fn hit(&mut self, name: &'static str) -> Option<Action> {
        self.total += 1;
        let count = self.counts.entry(name).or_default();
        *count += 1;
        if self.trace {
            eprintln!("fault: {} {name} {count}", self.total);
        }
        let mut verdict = None;
        for rule in &mut self.rules {
            let matches = match rule.name.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => rule.name == name,
            };
            if matches {
                rule.hits += 1;
                if rule.at.is_none_or(|at| at == rule.hits) {
                    verdict = verdict.or(Some(rule.action));
                }
            }
        }
        verdict
    }

    /// As [`Plan::hit`] for a thread's own plan; `Err(None)` for a crash.
    fn pass(&mut self, name: &'static str) -> Result<(), Option<rustix::io::Errno>> {
        if self.over {
            return Err(Some(rustix::io::Errno::IO));
        }
        match self.hit(name) {
            None => Ok(()),
            Some(Action::Fail(errno)) => {
                self.failed += 1;
                Err(Some(errno))
            }
            Some(Action::Crash | Action::Torn) => {
                self.over = true;
                Err(None)
            }
        }
    }
}

/// Whether the calling thread has crashed by its own plan: then drops leave behind what a kill would.
pub(crate) fn crashed() -> bool {
    ARMED.load(Ordering::Relaxed) != 0
        && LOCAL.with_borrow(|plan| plan.as_ref().is_some_and(|plan| plan.over))
}

/// Passes the failpoint `name`, a dotted constant such as `disk.exchange`, just before the act it names.
///
/// # Errors
/// The error an armed plan asks for. An armed crash does not return.
#[inline]
pub fn point(name: &'static str) -> io::Result<()> {
    if ARMED.load(Ordering::Relaxed) == 0 { Ok(()) } else { reached(name) }
}

#[cold]
fn reached(name: &'static str) -> io::Result<()> {
    let process = process();
    if let Some(act) = LOCAL.with_borrow_mut(|plan| plan.as_mut().and_then(Plan::due)) {
        act();
    }
    let local = LOCAL.with_borrow_mut(|plan| plan.as_mut().map(|plan| plan.pass(name)));
    let verdict = match (local, process) {
        (Some(passed), _) => match passed {
            Ok(()) => None,
            Err(Some(errno)) => Some(Action::Fail(errno)),
            Err(None) => std::panic::resume_unwind(Box::new(Crash)),
        },
        (None, Some(plan)) => {
            let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(broken) = &plan.broken {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, broken.clone()));
            }
            plan.hit(name)
        }
        (None, None) => None,
    };
    match verdict {
        None => Ok(()),
        Some(Action::Fail(errno)) => Err(errno.into()),
        Some(action) => {
            journal::drop_unsynced(matches!(action, Action::Torn));
            std::process::abort()
        }
    }
}

fn process() -> Option<&'static Mutex<Plan>> {
    PROCESS
        .get_or_init(|| {
            let text = std::env::var("AIOS_FAULT").ok().filter(|text| !text.is_empty());
            let plan = text.map(|text| {
                Plan::parse(&text).unwrap_or_else(|e| Plan { broken: Some(e.to_string()), ..Plan::default() })
            });
            ARMED.store(usize::from(plan.is_some()), Ordering::Relaxed);
            plan.map(Mutex::new)
        })
        .as_ref()
}

/// Arms `plan` for the calling thread, in place of the process's own, until the guard is dropped.
///
/// # Errors
/// [`FaultError`] if the plan is not understood.
pub fn arm(plan: &str) -> Result<Armed, FaultError> {
    Plan::parse(plan).map(arm_with)
}

/// As [`arm`], with a plan that was read before or has gone on.
pub fn arm_with(plan: Plan) -> Armed {
    process();
    ARMED.fetch_add(1, Ordering::Relaxed);
    let before = LOCAL.replace(Some(plan));
    Armed { before, _thread: PhantomData }
}

/// A thread's armed plan; dropping it disarms.
pub struct Armed {
    before: Option<Plan>,
    /// Not `Send`: it must be dropped on the thread it armed.
    _thread: PhantomData<*const ()>,
}

impl Armed {
    /// Disarms, and gives the plan as far as it has gone.
    pub fn disarm(self) -> Plan {
        LOCAL.take().unwrap_or_default()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        LOCAL.set(self.before.take());
        ARMED.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fails_the_hit_it_names_and_nothing_else() {
        let armed = arm("a.write=enospc@2; b.*=eio").unwrap();
        assert!(point("a.write").is_ok());
        assert_eq!(point("a.write").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(point("a.write").is_ok());
        assert!(point("b.sync").is_err());
        assert!(point("c").is_ok());
        drop(armed);
        assert!(point("b.sync").is_ok());
    }

    #[test]
    fn a_crash_unwinds_and_nothing_works_after_it() {
        let seen = std::sync::Arc::new(AtomicUsize::new(0));
        let told = seen.clone();
        let mut plan = Plan::parse("*=crash@3").unwrap();
        plan.meanwhile(1, move || _ = told.fetch_add(1, Ordering::Relaxed));
        let armed = arm_with(plan);
        assert!(point("a.write").is_ok());
        assert_eq!(seen.load(Ordering::Relaxed), 0);
        assert!(point("a.write").is_ok());
        assert_eq!(seen.load(Ordering::Relaxed), 1);
        let crash = std::panic::catch_unwind(|| point("a.sync")).unwrap_err();
        assert!(crash.is::<Crash>() && crashed());
        assert!(point("a.sync").is_err());
        assert_eq!(armed.disarm().total, 3);
        assert!(point("a.sync").is_ok() && !crashed());
    }

    #[test]
    fn a_misspelt_plan_is_refused() {
        for text in ["a", "a=b", "a=crash@x", "a=eio@"] {
            assert!(arm(text).is_err(), "{text}");
        }
    }
}
