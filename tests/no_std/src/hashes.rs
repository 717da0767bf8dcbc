//! The table of hashes (`tests/hashes`) on a machine without an operating system, but for its large models.
#![no_std]
#![no_main]

mod board;

use board::{Console, HEAP, stack_peak};
use core::fmt::Write;
use galgen_hashes::{cases, write_case};
use galgen_infer::Simd;

fn main() {
    let simd = Simd::detect();
    let mut most = 0;
    for case in cases().iter().filter(|case| !case.large) {
        HEAP.forget_peak();
        write_case(&mut Console, case, simd).expect("a console takes all lines");
        most = most.max(HEAP.usage().1);
    }
    let stack = stack_peak();
    let name = simd.name();
    writeln!(Console, "# {name}, heap {most}, stack {stack} bytes").expect("a console");
}
