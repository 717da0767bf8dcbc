//! Prints the table of hashes: `galgen-hashes [LEVEL]`, LEVEL being scalar, avx2+fma, avx512 or neon (default: the
//! widest of this CPU). `galgen-hashes levels` lists those of this CPU, `galgen-hashes model CASE FILE` writes a model,
//! and `galgen-hashes stamp CASE` prints the hash of the one stamp that a firmware (tests/no_std) draws from it.
#![forbid(unsafe_code)]

use galgen_hashes::{cases, native_stamp, write_case};
use galgen_infer::{Model, Session, Simd};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("galgen-hashes: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    match *words {
        [] => table(Simd::detect()),
        ["levels"] => Simd::available().for_each(|simd| println!("{}", simd.name())),
        ["model", name, path] => {
            std::fs::write(path, bytes(name)?).map_err(|cause| format!("{path}: {cause}"))?;
        }
        ["stamp", name] => {
            let model = Model::from_bytes(&bytes(name)?).map_err(|e| format!("{name}: {e}"))?;
            println!("native {:016x}", native_stamp(&mut Session::new(model)).0);
        }
        [name] => {
            let level = Simd::available().find(|simd| simd.name() == name);
            table(level.ok_or(format!(
                "this CPU has no {name}, see `galgen-hashes levels`"
            ))?);
        }
        _ => {
            return Err(
                "usage: galgen-hashes [LEVEL | levels | model CASE FILE | stamp CASE]".into(),
            );
        }
    }
    Ok(())
}

/// The file of a model.
fn bytes(name: &str) -> Result<Vec<u8>, String> {
    let case = cases().into_iter().find(|case| case.name == name);
    Ok(case.ok_or(format!("no model is called {name}"))?.bytes())
}

fn table(simd: Simd) {
    for case in cases() {
        let mut lines = String::new();
        write_case(&mut lines, &case, simd).expect("a string takes all lines");
        print!("{lines}");
    }
}
