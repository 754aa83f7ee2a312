//! The network part of aios: pairing, the exchange of records and of what travels apart, over iroh.
//!
//! [`exchange::Exchange`], [`pairing::Joiner`] and [`pairing::Inviter`] are state machines without I/O: bytes and
//! answers in, bytes and jobs out. [`drive`] runs one over any pair of byte streams, with the jobs on threads where
//! they may block; [`node::Node`] does so over iroh. The vault side is the trait [`replica::Replica`].
//! What goes over the wire is specified in `docs/formats.md`, Sync wire.

mod chain;
pub mod control;
pub mod daemon;
pub mod drive;
pub mod error;
pub mod exchange;
pub mod frame;
pub mod join;
pub mod keeper;
pub mod live;
pub mod machine;
pub mod net;
pub mod node;
pub mod offer;
pub mod outcome;
pub mod pairing;
mod pending;
pub mod profile;
pub mod reach;
pub mod recover;
pub mod relay;
pub mod remote;
pub mod replica;
pub mod session;
pub mod site;
mod tend;
pub mod ticket;
pub mod upkeep;
pub mod vault;
pub mod work;
