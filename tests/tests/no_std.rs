//! The engine needs no standard library: a C program with a static library of `#![no_std]` Rust draws
//! what the engine with `std` draws.

mod programs;

use galgen_core::object::Object;
use galgen_infer::{Model, Session};
use programs::{compiler, folder, random_model, root, succeed, target};
use std::collections::BTreeSet;
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

    needs_nothing_but_memory_functions(&built.join("debug/libgalgen_no_std.a"));

    let folder = folder("no-std");
    let program = folder.join("main");
    let mut link = Command::new(cc);
    link.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    link.arg(package.join("main.c"))
        .arg(built.join("debug/libgalgen_no_std.a"));
    succeed(link.arg("-o").arg(&program));

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

/// What the library asks of its surroundings: functions that copy, fill and compare memory, and the end. No
/// allocator, no thread, no file, no clock.
fn needs_nothing_but_memory_functions(library: &Path) {
    let Ok(output) = Command::new("nm").arg(library).output() else {
        eprintln!("SKIPPED: no `nm`");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut defined = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    for line in text.lines() {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["U", name] => wanted.insert(name),
            [_, kind, name] if kind != "U" && kind != "w" => defined.insert(name),
            _ => false,
        };
    }
    assert!(defined.contains("galgen_no_std_draw"), "{text}");
    let known = [
        "abort",
        "memcpy",
        "memmove",
        "memset",
        "memcmp",
        "bcmp",
        "_GLOBAL_OFFSET_TABLE_",
        // Of the compiled core library, which could unwind; nothing does.
        "_Unwind_Resume",
    ];
    let others: Vec<_> = wanted
        .difference(&defined)
        .filter(|name| !known.contains(name))
        .collect();
    assert!(others.is_empty(), "the library also needs {others:?}");
}
