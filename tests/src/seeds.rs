//! Runs of a simulated world, each from one seed: many at once on all processors, those that fail with all that happened
//! in them.
//!
//! `AIOS_SEED` says where the seeds start, 1 without it, `AIOS_SEEDS` how many there are, `AIOS_REPLAYS` how many are run twice.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A world in which everything follows from a seed.
pub trait Seeded {
    /// Steps before peace.
    const STEPS: usize;

    /// The world as it begins.
    fn new(seed: u64) -> Self;

    /// Does one step.
    fn step(&mut self);

    /// Lets all come to rest. Panics where something does not hold then.
    fn peace(&mut self);

    /// Takes out what happened, line by line.
    fn take_trace(&mut self) -> Vec<String>;
}

/// How much longer some steps of a slow run take: more than the grain by which a disk dates files.
const LONGER: Duration = Duration::from_millis(30);

/// A run that is over.
#[derive(Debug)]
pub struct Run {
    /// What it was made from.
    pub seed: u64,
    /// What happened.
    pub trace: Vec<String>,
    /// What did not hold, if anything.
    pub wrong: Option<String>,
}

/// Runs one seed, and shows `see` the world as it was left, whether or not it failed. A slow run takes longer over its steps,
/// as on a machine with more to do, and nothing else is to be different.
pub fn run<W: Seeded>(seed: u64, slow: bool, see: &dyn Fn(&W)) -> Run {
    let mut trace = Vec::new();
    // Two, so that there is a trace of a run that fails, and a world that does not begin or end is a failed run, too.
    let wrong = catch_unwind(AssertUnwindSafe(|| {
        let mut world = W::new(seed);
        let wrong = catch_unwind(AssertUnwindSafe(|| {
            for step in 0..W::STEPS {
                if slow && step.is_multiple_of(3) {
                    std::thread::sleep(LONGER);
                }
                world.step();
            }
            world.peace();
        }));
        trace = world.take_trace();
        see(&world);
        wrong.err()
    }));
    Run { seed, trace, wrong: wrong.unwrap_or_else(Some).map(said) }
}

fn said(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// The number in a variable of the environment, if it holds one.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `count` seeds, or until `most` have failed, on all processors; how many ran, and the failed ones by seed. Every
/// thread does `prepare` before its first run.
///
/// # Panics
/// When `prepare` does.
pub fn try_seeds<W: Seeded>(
    first: u64,
    count: u64,
    most: usize,
    prepare: &(dyn Fn() + Sync),
    see: &(dyn Fn(&W) + Sync),
) -> (u64, Vec<Run>) {
    let (next, end) = (AtomicU64::new(first), first + count);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                prepare();
                while failed.lock().expect("a lock").len() < most {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let run = run(seed, false, see);
                    if let Some(wrong) = &run.wrong {
                        println!("seed {seed}: {wrong}");
                        failed.lock().expect("a lock").push(run);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("a lock");
    failed.sort_by_key(|run: &Run| run.seed);
    (next.into_inner().min(end) - first, failed)
}

/// Runs as many seeds as `AIOS_SEEDS` says, or the usual number, and gives that number; stops when `most` have failed.
///
/// # Panics
/// When a seed fails. What happened in it is printed.
pub fn no_seed_fails<W: Seeded>(usual: u64, most: usize, see: &(dyn Fn(&W) + Sync)) -> u64 {
    let (first, count) = (number("AIOS_SEED").unwrap_or(1), number("AIOS_SEEDS").unwrap_or(usual));
    let began = Instant::now();
    let (ran, failed) = try_seeds(first, count, most, &|| {}, see);
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
    count
}

/// Runs some seeds twice, once slowly, and compares what happened.
///
/// # Panics
/// When a seed gives two traces.
pub fn seeds_replay<W: Seeded>() {
    let first = number("AIOS_SEED").unwrap_or(1);
    for seed in first..first + number("AIOS_REPLAYS").unwrap_or(3) {
        let [one, other] = [false, true].map(|slow| run::<W>(seed, slow, &|_| {}).trace);
        // The first line that differs says more than two whole traces.
        for (a, b) in one.iter().zip(&other) {
            assert_eq!(a, b, "seed {seed}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
