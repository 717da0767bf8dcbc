//! Model files with random weights, for tests: they need no trained model, no file and no standard library.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod model;
pub mod tensors;
