//! The C ABI of galgen. `include/galgen.h` is generated from these sources, and is the reference
//! for callers: owner, NULL rule, thread rule, units and state of outputs on failure stand there.
//!
//! This crate translates and does not think: every function checks its pointers, calls the safe
//! engine and maps the result. All functions that can fail run inside [`status::guard`], which
//! catches panics.
#![allow(non_camel_case_types)]
// The text of a function is that of galgen.h, and says there what a caller must keep to.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]
#![deny(clippy::undocumented_unsafe_blocks)]

#[cfg(all(panic = "abort", not(test)))]
compile_error!(
    "galgen-ffi catches panics, so that a defect never ends the caller's program: build it with panic = \"unwind\""
);

mod abi;
mod image;
mod layout;
mod model;
mod object;
mod pixels;
mod pointer;
mod scene;
mod score;
mod session;
mod simd;
mod status;

pub use abi::*;
pub use image::*;
pub use model::*;
pub use object::*;
pub use pixels::*;
pub use scene::*;
pub use score::*;
pub use session::*;
pub use status::{galgen_error, galgen_error_default, galgen_status, galgen_status_text};
