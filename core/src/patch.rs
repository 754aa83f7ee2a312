//! Byte patches.
use serde::{Deserialize, Serialize};
/// One hunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunk(pub usize, pub usize, pub String);
/// A patch.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patch(pub Vec<Hunk>);
