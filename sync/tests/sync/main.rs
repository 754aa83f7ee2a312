//! The protocols over replicas in memory: with a seeded scheduler, with peers that lie, and over iroh.

mod exchange;
mod lying;
mod memory;
mod network;
mod pairing;
mod schedule;
