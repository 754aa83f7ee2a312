//! The simulator: devices with real vaults, the real exchange and the real decisions of a daemon, under a clock, a network,
//! disks and users that one seed makes.
//!
//! `AIOS_SEEDS` says how many seeds, a hundred without it, `AIOS_SEED` where they start. A run that fails
//! prints its seed and all that happened.

mod chance;
mod daemon;
mod editor;
mod ledger;
mod network;
mod peace;
mod step;
mod weather;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use aios_core::planted::Bug;

use world::World;

/// Steps of a run.
const STEPS: usize = 220;
/// Seeds when nobody says how many.
const SEEDS: u64 = 100;
/// After so many that fail no more are tried.
const MOST: usize = 30;

/// What happened in a run, and what was wrong.
struct Run {
    seed: u64,
    trace: Vec<String>,
    wrong: Option<String>,
}

/// Runs one seed.
fn run(seed: u64) -> Run {
    let mut trace = Vec::new();
    let wrong = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        let wrong = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step();
            }
            world.peace();
        }));
        trace = std::mem::take(&mut world.trace);
        wrong.err().map(said)
    }));
    Run { seed, trace, wrong: wrong.unwrap_or_else(|panic| Some(said(panic))) }
}

fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Gives the calling thread a bug, where bugs can be planted.
fn plant(bug: Option<Bug>) {
    #[cfg(feature = "planted")]
    aios_core::planted::plant(bug);
    assert!(cfg!(feature = "planted") || bug.is_none());
}

/// Runs `count` seeds, or until `most` have failed, on all processors; how many ran, and the failed ones by seed.
fn try_seeds(bug: Option<Bug>, first: u64, count: u64, most: usize) -> (u64, Vec<Run>) {
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                plant(bug);
                loop {
                    if next.load(Ordering::Relaxed) >= first + count
                        || failed.lock().expect("a lock").len() >= most
                    {
                        return;
                    }
                    let run = run(next.fetch_add(1, Ordering::Relaxed));
                    if run.wrong.is_some() {
                        failed.lock().expect("a lock").push(run);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("a lock");
    failed.sort_by_key(|run| run.seed);
    (next.into_inner() - first, failed)
}

#[test]
fn no_schedule_loses_an_edit() {
    let (first, count) = (number("AIOS_SEED").unwrap_or(1), number("AIOS_SEEDS").unwrap_or(SEEDS));
    let began = Instant::now();
    let (ran, failed) = try_seeds(None, first, count, MOST);
    println!("{ran} seeds in {:?}", began.elapsed());
    for Run { seed, trace, wrong } in &failed {
        println!(
            "seed {seed}\n{}\nseed {seed}: {}\n",
            trace.join("\n"),
            wrong.as_deref().unwrap_or_default()
        );
    }
    let seeds: Vec<u64> = failed.iter().map(|run| run.seed).collect();
    assert!(seeds.is_empty(), "seeds {seeds:?} failed: AIOS_SEED=N AIOS_SEEDS=1 makes one again");
}

#[test]
fn a_seed_replays_to_the_same_event() {
    for seed in 1..4 {
        let (one, other) = (run(seed), run(seed));
        for (a, b) in one.trace.iter().zip(&other.trace) {
            assert_eq!(a, b, "seed {seed}");
        }
        assert_eq!(one.trace.len(), other.trace.len(), "seed {seed}");
    }
}

/// Which bug is named by `AIOS_BUG`, or all.
#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_is_found() {
    let (first, only) = (number("AIOS_SEED").unwrap_or(1), std::env::var("AIOS_BUG").ok());
    let mut missed = Vec::new();
    for bug in Bug::ALL.into_iter().filter(|bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}")))
    {
        let began = Instant::now();
        let (ran, failed) = try_seeds(Some(bug), first, number("AIOS_SEEDS").unwrap_or(1000), 1);
        match failed.first() {
            Some(Run { seed, wrong, .. }) => {
                let wrong: String = wrong.as_deref().unwrap_or_default().chars().take(160).collect();
                println!("{bug:?}: seed {seed} of {ran} in {:?}: {wrong}", began.elapsed());
            }
            None => {
                println!("{bug:?}: not found in {ran} seeds, {:?}", began.elapsed());
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
