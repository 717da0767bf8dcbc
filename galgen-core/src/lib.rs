//! What a galgen model *is*: its specification, configuration, file card, stamp geometry,
//! conditions and random numbers. Training and inference both read it and neither repeats it.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod card;
pub mod condition;
pub mod math;
pub mod measure;
pub mod models;
pub mod object;
pub mod rng;
pub mod spec;
pub mod stamp;
