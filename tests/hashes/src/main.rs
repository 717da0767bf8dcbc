//! Prints the table of hashes: `galgen-hashes [LEVEL]`, LEVEL being scalar, avx2+fma, avx512 or neon (default: the
//! widest of this CPU); `galgen-hashes levels` lists those of this CPU.
#![forbid(unsafe_code)]

use galgen_hashes::{cases, write_case};
use galgen_infer::Simd;
use std::process::ExitCode;

fn main() -> ExitCode {
    let simd = match std::env::args().nth(1) {
        None => Simd::detect(),
        Some(word) if word == "levels" => {
            Simd::available().for_each(|simd| println!("{}", simd.name()));
            return ExitCode::SUCCESS;
        }
        Some(name) => match Simd::available().find(|simd| simd.name() == name) {
            Some(simd) => simd,
            None => {
                eprintln!("galgen-hashes: this CPU has no {name}");
                return ExitCode::FAILURE;
            }
        },
    };
    for case in cases() {
        let mut lines = String::new();
        write_case(&mut lines, &case, simd).expect("a string takes all lines");
        print!("{lines}");
    }
    ExitCode::SUCCESS
}
