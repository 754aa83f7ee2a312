//! The work of a company: tasks, runs, effects and approvals, as events in the log.
//!
//! This crate is the vocabulary that the kernel and the agents will speak; an event is an item of a record, so it is
//! signed, ordered and replicated like everything else.

pub mod event;
