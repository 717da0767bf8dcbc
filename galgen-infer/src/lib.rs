//! The galgen engine: loads a model file, draws galaxies and evaluates their likelihood.
//!
//! `no_std` + `alloc`. The `std` feature adds CPU detection at run time and opening files by path.
#![no_std]
#![deny(unsafe_code)]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod causal;
pub mod error;
pub mod flow;
pub mod kernels;
pub mod lower;
mod model;
mod models;
pub mod render;
pub mod run;
mod session;
pub mod weights;

pub use error::LoadError;
pub use kernels::Simd;
pub use model::{DrawError, Model};
pub use session::{Drawn, Pixels, Scoring, Session};
