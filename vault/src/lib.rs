//! aios
