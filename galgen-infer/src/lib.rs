//! The galgen engine: loads a model file, draws galaxies and evaluates their likelihood.
//!
//! `no_std` + `alloc`. The `std` feature adds CPU detection at run time and opening files by path.
#![no_std]
#![deny(unsafe_code)]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod error;
pub mod flow;
pub mod kernels;
pub mod lower;
pub mod render;
pub mod run;
pub mod weights;
