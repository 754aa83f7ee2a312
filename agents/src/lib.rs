//! The work of a company: workflows, policies, and the kernel that runs them.
//!
//! No I/O: files come in as text, events as values with their place in the total order; actions go out.

pub mod address;
pub mod agent;
pub mod alike;
pub mod component;
pub mod connector;
pub mod cron;
pub mod draft;
pub mod event;
pub mod expression;
pub mod failure;
pub mod health;
pub mod journal;
pub mod kernel;
pub mod letter;
pub mod mistake;
pub mod model;
pub mod money;
pub mod needs;
pub mod node;
pub mod page;
pub mod policy;
pub mod program;
pub mod query;
pub mod runtime;
pub mod sandbox;
pub mod schema;
pub mod span;
pub mod table;
pub mod trial;
pub mod workflow;
