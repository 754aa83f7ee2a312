//! The disk of aios: log files, the database that projects them, working files, and git.

pub mod absorb;
pub mod accept;
pub mod admit;
pub mod apart;
pub mod audit;
pub mod author;
pub mod chance;
pub mod conflict;
pub mod create;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod export;
pub mod fetched;
pub mod gather;
pub mod git;
pub mod incarnation;
pub mod integrate;
pub mod judge;
pub mod keys;
pub mod layout;
pub mod log;
pub mod nested;
pub mod peer;
pub mod published;
pub mod pushed;
pub mod rebuild;
pub mod resolve;
pub mod round;
pub mod seal;
pub mod status;
pub mod survey;
pub mod undo;
pub mod vault;
pub mod verify;
pub mod watch;

mod db;
mod file;
mod foreign;
mod index;
mod mirror;
mod open;
mod project;
mod publish;
mod recall;
mod recent;
pub mod settle;
pub mod share;
mod show;
mod tape;
mod text;
#[cfg(test)]
mod world;

pub use error::Error;
pub use vault::Vault;
