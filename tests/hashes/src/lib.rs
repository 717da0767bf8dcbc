//! The same bits everywhere: hashes of everything that small models of every family draw and score.
//!
//! The table beside this crate (`table.txt`) holds one line for each model and output, and holds on every level of
//! instructions, in any batch, order and thread, with and without an operating system. Who changes the pixels
//! of a seed on purpose writes it anew (`cargo run -p galgen-hashes > tests/hashes/table.txt`) and says so in
//! CHANGELOG.md.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod cases;
mod outputs;

pub use cases::{Case, cases};
pub use outputs::{Outputs, outputs};

use alloc::vec::Vec;
use core::fmt;
use galgen_core::object::Object;
use galgen_infer::{Model, Session, Simd};

/// The committed table.
pub const TABLE: &str = include_str!("../table.txt");

/// Objects of a line.
pub const OBJECTS: u32 = 3;

/// FNV-1a of bytes (Fowler, Noll and Vo), 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(pub u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Writes the lines `case output hash` of one model, from the outputs of all its objects in the order of their
/// numbers, whatever order they were made in.
pub fn write_lines(
    out: &mut dyn fmt::Write,
    case: &Case,
    objects: &[Outputs],
) -> Result<(), fmt::Error> {
    for (k, &(what, _)) in objects.first().into_iter().flatten().enumerate() {
        let mut all = Fnv::default();
        for object in objects {
            all.add(&object[k].1.0.to_le_bytes());
        }
        writeln!(out, "{} {what} {:016x}", case.name, all.0)?;
    }
    Ok(())
}

/// Writes the lines of one model, computed by one session on `simd`.
///
/// # Panics
/// If the model cannot be loaded or an object cannot be drawn or scored.
pub fn write_case(out: &mut dyn fmt::Write, case: &Case, simd: Simd) -> Result<(), fmt::Error> {
    let model = Model::from_bytes_on(&case.bytes(), simd);
    let model = model.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let mut session = Session::new(model);
    let objects: Vec<Outputs> = (0..OBJECTS).map(|i| outputs(&mut session, i)).collect();
    write_lines(out, case, &objects)
}

/// The hash of a native stamp of a galaxy with axis ratio 0.5 and concentration 3, as any program would draw it.
pub fn native_stamp(session: &mut Session) -> Fnv {
    let mut stamp = alloc::vec![0.0; session.model().stamp_len()];
    let drawn = session.sample_native(7, &Object::new(42, &[0.5, 3.0]), &mut stamp);
    drawn.expect("a galaxy");
    let mut hash = Fnv::default();
    stamp.iter().for_each(|v| hash.add(&v.to_le_bytes()));
    hash
}
