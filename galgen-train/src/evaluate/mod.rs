//! How good a model is: its galaxies against held-out real ones.

pub mod sersic;
pub mod spectrum;
