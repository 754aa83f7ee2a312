//! Several devices, each with its own kernel: a log that comes late and in parts, processes that are killed at any action, clocks that
//! are wrong and jump, two that take themselves for the coordinator, an operator who says things twice and too late. One seed makes it all.
//!
//! `AIOS_SEEDS` says how many seeds, a hundred and twenty without it, `AIOS_SEED` where they start. A run that fails prints its seed and
//! all that happened; with `AIOS_EVENTS` the trace has all events, too.

mod child;
mod company;
mod device;
mod far;
mod files;
mod flows;
mod memory;
mod note;
mod operator;
mod peace;
mod world;

use std::sync::Mutex;

use aios_tests::seeds::{self, Seeded};

use world::{Tally, World};

/// Seeds when nobody says how many.
const SEEDS: u64 = 120;
/// After so many that fail no more are tried.
const MOST: usize = 5;

impl Seeded for World {
    const STEPS: usize = 600;

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
fn no_schedule_does_anything_twice() {
    let tally = Mutex::new(Tally::default());
    let add = |world: &World| tally.lock().expect("a lock").add(&world.tally);
    let count = seeds::no_seed_fails(SEEDS, MOST, &add);
    let tally = tally.into_inner().expect("a lock");
    println!("{tally:?}");
    // What never happens proves nothing.
    if count >= SEEDS {
        assert!(tally.is_full(), "something never happened: {tally:?}");
    }
}

#[test]
fn a_seed_replays_to_the_same_event() {
    seeds::seeds_replay::<World>();
}
