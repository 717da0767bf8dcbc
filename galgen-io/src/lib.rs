//! Files of the galgen programs: catalogues in, stamps and pictures out.
//!
//! Every reader compares declared sizes with the file before it allocates, every writer goes through
//! [`atomic`], so that a failure never leaves half a file in place of a good one.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod catalog;
pub mod fits;
pub mod table;
