//! Training of galgen models: from pictures of galaxies ([`prepare`]) through a [`recipe`] to a model
//! file ([`fit`], [`export`]) that the engine `galgen-infer` reads.
#![cfg_attr(not(feature = "cuda"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod checkpoint;
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
pub mod cuda;
pub mod data;
mod digest;
pub mod evaluate;
pub mod evaluate_command;
pub mod export;
pub mod fit;
pub mod fit_command;
pub mod lower;
pub mod models;
pub mod ops;
pub mod optim;
pub mod params;
pub mod prepare;
pub mod recipe;
pub mod samples;
pub mod sersic_command;
pub mod tensors;
