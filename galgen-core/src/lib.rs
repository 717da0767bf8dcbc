//! What a galgen model is.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod measure;
pub mod stamp;
