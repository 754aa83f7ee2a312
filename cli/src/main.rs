//! aios
fn main() {}
