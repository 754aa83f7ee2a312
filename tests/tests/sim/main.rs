//! The simulator: devices with real vaults and the real exchange, under a clock, a network, disks and users that one seed makes.
//!
//! `AIOS_SEEDS` says how many seeds, `AIOS_SEED` where they start. A run that fails prints its seed and all that happened.

mod chance;
mod editor;
mod ledger;
mod network;
mod peace;
mod step;
mod weather;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use world::World;

/// Steps of a run.
const STEPS: usize = 220;
/// How long seeds are tried that nobody asked for.
const TIME: Duration = Duration::from_secs(60);

/// After so many that fail no more are tried.
const MOST: u64 = 30;

/// Runs one seed; what happened, and what was wrong.
fn run(seed: u64) -> (Vec<String>, Option<String>) {
    let mut trace = Vec::new();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step();
            }
            world.peace();
        }));
        trace = std::mem::take(&mut world.trace);
        failed.err().map(said)
    }));
    (trace, failed.unwrap_or_else(|panic| Some(said(panic))))
}

fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_schedule_loses_an_edit() {
    let (first, count) = (number("AIOS_SEED").unwrap_or(1), number("AIOS_SEEDS"));
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = match count {
                        Some(count) => seed >= first + count,
                        None => began.elapsed() > TIME,
                    };
                    if over {
                        return;
                    }
                    let (trace, wrong) = run(seed);
                    if let Some(wrong) = wrong {
                        println!("seed {seed}\n{}\nseed {seed}: {wrong}\n", trace.join("\n"));
                        if failed.fetch_add(1, Ordering::Relaxed) >= MOST {
                            return;
                        }
                    }
                }
            });
        }
    });
    println!("{} seeds in {:?}", next.load(Ordering::Relaxed) - first, began.elapsed());
    assert!(failed.load(Ordering::Relaxed) == 0, "a seed failed: AIOS_SEED=N AIOS_SEEDS=1 makes it again");
}

#[test]
fn a_seed_replays() {
    for seed in 1..4 {
        let ((one, _), (other, _)) = (run(seed), run(seed));
        for (a, b) in one.iter().zip(&other) {
            assert_eq!(a, b, "seed {seed}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
