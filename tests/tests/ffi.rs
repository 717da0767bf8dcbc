//! The C interface, as C and C++ programs see it: they are compiled from `tests/c` and `tests/cpp`,
//! linked with the shared and with the static library, and run; under valgrind too where it is installed.

mod programs;

use programs::{Link, Models, compile, compiler, folder, succeed};
use std::fs;
use std::path::Path;
use std::process::Command;

const C: &str = "-std=c99";
const CPP: &str = "-std=c++17";

/// The lines that name bits, without the comments.
fn hashes(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

/// Leaks and invalid accesses end a program under valgrind with 99. It does not know AVX-512.
fn valgrind(program: &Path, arguments: &[&Path]) -> Option<String> {
    Command::new("valgrind").arg("--version").output().ok()?;
    let mut command = Command::new("valgrind");
    command.args(["-q", "--leak-check=full", "--error-exitcode=99"]);
    Some(succeed(
        command
            .arg(program)
            .args(arguments)
            .env("GALGEN_SIMD", "avx2"),
    ))
}

#[test]
fn the_header_compiles_as_c99_and_cpp11() {
    let folder = folder("header");
    let source = folder.join("header.c");
    let text = "#include <galgen.h>\nint main(void) { return GALGEN_CHECK_ABI(NULL); }\n";
    fs::write(&source, text).unwrap();
    for (variable, default, options) in [
        ("CC", "cc", ["-xc", "-std=c99"]),
        ("CXX", "c++", ["-xc++", "-std=c++11"]),
    ] {
        let Some(compiler) = compiler(variable, default) else {
            return;
        };
        let mut command = Command::new(compiler);
        command
            .args(options)
            .args(["-Wall", "-Wextra", "-Werror", "-pedantic"]);
        command.arg("-I").arg(programs::root().join("include"));
        succeed(command.arg("-fsyntax-only").arg(&source));
    }
}

#[test]
fn c_and_cpp_draw_the_same_bits_from_one_thread_and_four() {
    let (Some(cc), Some(cxx)) = (compiler("CC", "cc"), compiler("CXX", "c++")) else {
        return;
    };
    let folder = folder("draw");
    let models = Models::write(&folder);
    let c = compile(&cc, C, "c/draw.c", Link::Static, &folder);
    let shared = compile(&cc, C, "c/draw.c", Link::Shared, &folder);
    let cpp = compile(&cxx, CPP, "cpp/draw.cpp", Link::Shared, &folder);
    let picture = folder.join("stamp.pgm");
    for model in &models.good {
        let expected = succeed(Command::new(&c).arg(model).arg(&picture));
        assert_eq!(hashes(&expected).len(), 7 * 10, "{expected}");
        for program in [&shared, &cpp] {
            let found = succeed(Command::new(program).arg(model));
            assert_eq!(hashes(&found), hashes(&expected));
        }
        // What valgrind runs is another level of instructions.
        if model == &models.small {
            for program in [&c, &cpp] {
                match valgrind(program, &[model]) {
                    Some(found) => assert_eq!(hashes(&found), hashes(&expected)),
                    None => eprintln!("SKIPPED: valgrind is not installed"),
                }
            }
        }
    }
    let picture = fs::read(picture).unwrap();
    assert!(picture.starts_with(b"P5\n") && picture.contains(&255));
}

#[test]
fn every_error_is_reported_and_nothing_leaks() {
    let Some(cc) = compiler("CC", "cc") else {
        return;
    };
    let folder = folder("errors");
    let models = Models::write(&folder);
    let arguments = [&*models.small, &*models.newer, &*models.dark];
    for link in [Link::Shared, Link::Static] {
        let program = compile(&cc, C, "c/errors.c", link, &folder);
        succeed(Command::new(&program).args(arguments));
        valgrind(&program, &arguments);
    }
}

#[test]
fn the_environment_forces_a_level_or_the_model_is_refused() {
    let Some(cc) = compiler("CC", "cc") else {
        return;
    };
    let folder = folder("simd");
    let models = Models::write(&folder);
    let program = compile(&cc, C, "c/draw.c", Link::Static, &folder);
    let run = |level: &str| {
        let mut command = Command::new(&program);
        command
            .arg(&models.small)
            .env("GALGEN_SIMD", level)
            .output()
            .unwrap()
    };
    let scalar = run("scalar");
    assert!(String::from_utf8_lossy(&scalar.stdout).contains(", scalar\n"));
    let unknown = run("mmx");
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("GALGEN_SIMD is `mmx`"));
}
