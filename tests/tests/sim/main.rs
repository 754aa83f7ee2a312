//! The simulator: devices with real vaults, the real exchange and the real decisions of a daemon, under a clock, a network,
//! disks and users that one seed makes.
//!
//! `AIOS_SEEDS` says how many seeds, a hundred without it, `AIOS_SEED` where they start. A run that fails
//! prints its seed and all that happened.

mod daemon;
mod editor;
mod ledger;
mod network;
mod oblivion;
mod peace;
mod room;
mod step;
mod weather;
mod world;

use aios_tests::seeds::{self, Seeded};

use world::World;

/// Seeds when nobody says how many.
const SEEDS: u64 = 100;
/// After so many that fail no more are tried.
const MOST: usize = 30;

impl Seeded for World {
    const STEPS: usize = 220;

    fn new(seed: u64) -> World {
        World::new(seed)
    }

    fn step(&mut self) {
        World::step(self);
    }

    fn peace(&mut self) {
        World::peace(self);
    }

    fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }
}

#[test]
fn no_schedule_loses_an_edit() {
    seeds::no_seed_fails::<World>(SEEDS, MOST, &|_| {});
}

#[test]
fn a_seed_replays_to_the_same_event() {
    seeds::seeds_replay::<World>();
}

/// Which bug is named by `AIOS_BUG`, or all.
#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_is_found() {
    use std::time::Instant;

    use aios_core::planted::{Bug, plant};
    use seeds::{Run, number};

    let (first, count) = (number("AIOS_SEED").unwrap_or(1), number("AIOS_SEEDS").unwrap_or(1000));
    let only = std::env::var("AIOS_BUG").ok();
    let mut missed = Vec::new();
    for bug in Bug::ALL.into_iter().filter(|bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}")))
    {
        let began = Instant::now();
        let (ran, failed) = seeds::try_seeds::<World>(first, count, 1, &|| plant(Some(bug)), &|_| {});
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
