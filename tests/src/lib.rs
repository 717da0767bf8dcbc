//! The independent judges of the two lowerings of a spec, and the cases that they judge by.
//!
//! The [`referee`] interprets a spec in f64 with plain loops, written from the documented
//! mathematics alone. The goldens (`goldens/*.safetensors`) were made by PyTorch and nflows with the
//! scripts beside them. Neither shares a formula with galgen-core, with the engine or with training,
//! so that a mistake has to be made twice, in the same way, to pass.
#![forbid(unsafe_code)]

pub mod cases;
pub mod compare;
pub mod goldens;
pub mod parity;
pub mod referee;
pub mod scalar;
pub mod tensors;

pub use galgen_specimens::model;

/// The Rust program of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
