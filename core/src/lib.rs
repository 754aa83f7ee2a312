//! The pure part of aios: records, clocks, membership, documents, the Markdown codec, edits at a base
//! and the git projection, without any I/O.

pub mod align;
mod alike;
pub mod authority;
pub mod clock;
pub mod commit;
pub mod delta;
pub mod document;
pub mod ends;
pub mod epoch;
pub mod event;
pub mod fold;
pub mod frontier;
pub mod gone;
pub mod history;
pub mod id;
pub mod item;
pub mod key;
pub mod ledger;
pub mod markdown;
pub mod member;
pub mod moves;
pub mod namespace;
pub mod patch;
pub mod path;
pub mod phrase;
pub mod planted;
pub mod record;
mod ring;
pub mod stale;
pub mod state;
mod verdict;
mod word;
