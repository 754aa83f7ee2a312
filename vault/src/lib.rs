//! The disk of aios: log files, the database that projects them, working files, and git.

pub mod absorb;
pub mod accept;
pub mod author;
pub mod conflict;
pub mod create;
pub mod disk;
pub mod error;
pub mod git;
pub mod integrate;
pub mod keys;
pub mod layout;
pub mod log;
pub mod round;
pub mod survey;
pub mod vault;

mod db;
mod file;
mod foreign;
mod index;
mod members;
mod project;
mod publish;
mod recent;
pub mod settle;
pub mod share;
mod show;
mod text;
#[cfg(test)]
mod world;

pub use error::Error;
pub use vault::Vault;
