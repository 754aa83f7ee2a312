//! Who has authority, decided from the same records in any order (I1, I7).

mod again;
mod random;
mod revocation;
mod root;
mod rotation;
mod town;
