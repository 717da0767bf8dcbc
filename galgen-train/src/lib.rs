//! Training of galgen models.

pub mod data;
pub mod ops;
