//! What spans the parts of aios: scenarios with real processes, and the rules the source tree keeps.

pub mod batches;
pub mod binary;
pub mod chance;
pub mod component;
pub mod console;
pub mod device;
pub mod merge;
pub mod office;
pub mod page;
pub mod parse;
pub mod provider;
pub mod reader;
pub mod seeds;
