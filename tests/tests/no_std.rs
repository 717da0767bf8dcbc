//! The engine needs no standard library: a C program with a static library of `#![no_std]` Rust draws
//! what the engine with `std` draws.

mod programs;

use galgen_core::object::Object;
use galgen_infer::{Model, Session};
use programs::{compiler, folder, random_model, root, succeed, target};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn a_c_program_draws_without_std() {
    let Some(cc) = compiler("CC", "cc") else {
        return;
    };
    let package = root().join("tests/no_std");
    let built = target().join("no_std");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--manifest-path"])
        .arg(package.join("Cargo.toml"));
    succeed(cargo.env("CARGO_TARGET_DIR", &built));

    let folder = folder("no-std");
    let program = folder.join("main");
    let mut link = Command::new(cc);
    link.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    link.arg(package.join("main.c"))
        .arg(built.join("debug/libgalgen_no_std.a"));
    succeed(link.arg("-o").arg(&program));

    asks_for_memory_functions_only(&program);

    let bytes = random_model(16, 5);
    let path = folder.join("model.safetensors");
    fs::write(&path, &bytes).unwrap();
    let output = Command::new(program).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found: Vec<f32> = output
        .stdout
        .chunks_exact(4)
        .map(|v| f32::from_ne_bytes(v.try_into().unwrap()))
        .collect();
    let mut expected = vec![0.0; 256];
    Session::new(Model::from_bytes(&bytes).unwrap())
        .sample_native(7, &Object::new(42, &[0.5, 3.0]), &mut expected)
        .unwrap();
    assert_eq!(found, expected);
}

/// What the program asks of the C library: what `main.c` reads and writes with, and for the library of this test
/// functions that copy, fill and compare memory, and the end. No allocator, no thread, no file, no clock.
fn asks_for_memory_functions_only(program: &Path) {
    let Ok(output) = Command::new("nm").arg("-u").arg(program).output() else {
        eprintln!("SKIPPED: no `nm`");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let known = [
        "fopen", "fread", "fclose", "fwrite", "fprintf", "abort", "memcpy", "memmove", "memset",
        "memcmp", "bcmp", "strlen",
    ];
    // What begins with an underscore is of compiler and linker.
    let names = text
        .split_whitespace()
        .filter(|word| word.len() > 1 && !word.starts_with('_'));
    let names: Vec<_> = names.filter_map(|name| name.split('@').next()).collect();
    assert!(names.contains(&"fread"), "{text}");
    let others: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
    assert!(others.is_empty(), "the program also needs {others:?}");
}
