//! Builds the library and the C and C++ programs of `tests/c` and `tests/cpp`, and writes models for
//! them. What every test of the C interface needs.
#![allow(dead_code)] // Each test program uses a part.

use galgen_core::card::METADATA_KEY;
use galgen_tests::model;
pub use galgen_tests::model::random_model;
use galgen_tests::tensors::{random_weights, write_safetensors};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A fresh folder for one test; the operating system clears it in its own time.
pub fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("galgen-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("temporary folder");
    folder
}

/// The folder that cargo builds into, as target/debug.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("path of this program");
    test.ancestors().nth(2).expect("target/debug/deps").into()
}

/// The compiler for C or C++, or `None`, with a message, where there is none.
pub fn compiler(variable: &str, default: &str) -> Option<String> {
    let name = std::env::var(variable).unwrap_or_else(|_| default.into());
    if Command::new(&name).arg("--version").output().is_ok() {
        return Some(name);
    }
    eprintln!("SKIPPED: no compiler `{name}`: install one or set {variable}");
    None
}

/// Folder of libgalgen, built as this test was.
pub fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| cargo_build(&["-p", "galgen-ffi", "--lib"]))
}

/// Builds with cargo into the folder and profile of this test, which it returns.
pub fn cargo_build(arguments: &[&str]) -> PathBuf {
    let target = target();
    let profile = match target.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev",
        Some(name) => name,
        None => unreachable!("cargo names the folder after the profile"),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").args(arguments);
    cargo.args(["--profile", profile]).current_dir(root());
    cargo.env("CARGO_TARGET_DIR", target.parent().expect("target"));
    succeed(&mut cargo);
    target
}

/// Runs a program that must succeed; its standard output.
pub fn succeed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    let (stdout, stderr) = [stdout, stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .into();
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout
}

/// How a program is linked with the library.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    Shared,
    Static,
}

/// Compiles `source` (below tests/), warnings being errors.
pub fn compile(compiler: &str, standard: &str, source: &str, link: Link, folder: &Path) -> PathBuf {
    let library = library();
    let name = source.replace(['/', '.'], "_");
    let program = folder.join(format!("{name}_{link:?}"));
    let mut command = Command::new(compiler);
    // POSIX threads beside the C standard; no fused multiply-add in the numbers of scene.h.
    command.args([
        standard,
        "-D_POSIX_C_SOURCE=200809L",
        "-ffp-contract=off",
        "-g",
    ]);
    command.args(["-Wall", "-Wextra", "-Werror", "-pedantic"]);
    command.arg("-I").arg(root().join("include"));
    command
        .arg(root().join("tests").join(source))
        .arg("-o")
        .arg(&program);
    match link {
        Link::Shared => {
            // The SONAME is what the program asks for at run time.
            let shared = library.join(format!("{DLL_PREFIX}galgen{DLL_SUFFIX}"));
            let versioned = folder.join(format!("{DLL_PREFIX}galgen{DLL_SUFFIX}.1"));
            fs::copy(&shared, &versioned).expect("shared library");
            let path = format!("-Wl,-rpath,{}", folder.display());
            command.arg(&shared).arg(path);
        }
        Link::Static => {
            command.arg(library.join("libgalgen.a"));
        }
    }
    succeed(command.args(["-lpthread", "-ldl", "-lm"]));
    program
}

/// Model files to test with, in `folder`.
pub struct Models {
    /// Small, random weights.
    pub small: PathBuf,
    /// All models that should work: small, full size, and the default model where it has been made.
    pub good: Vec<PathBuf>,
    /// Has a card of the next format version.
    pub newer: PathBuf,
    /// Its decoder draws no light.
    pub dark: PathBuf,
}

impl Models {
    pub fn write(folder: &Path) -> Models {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).expect("model file");
            path
        };
        let small = write("small.safetensors", &random_model(16, 5));
        let mut good = vec![
            small.clone(),
            write("full.safetensors", &random_model(64, 6)),
        ];
        let default = root().join("models/default.safetensors");
        if default.exists() {
            good.push(default);
        }
        Models {
            small,
            good,
            newer: write("newer.safetensors", &newer()),
            dark: write("dark.safetensors", &dark()),
        }
    }
}

fn newer() -> Vec<u8> {
    let mut card = model::card(16);
    card.format_version += 1;
    let specs = card.check().expect("a good card");
    write_safetensors(
        &random_weights(&specs, 1),
        &[(METADATA_KEY, &card.to_json())],
    )
}

/// Softplus of a very negative bias is 0.
fn dark() -> Vec<u8> {
    let card = model::card(16);
    let specs = card.check().expect("a good card");
    let mut tensors = random_weights(&specs, 1);
    let last = specs
        .iter()
        .rfind(|spec| spec.name.starts_with("decoder.") && spec.name.ends_with("bias"))
        .expect("the decoder's last bias");
    let (_, values) = tensors.get_mut(&last.name).expect("made for the spec");
    values.fill(-1e6);
    write_safetensors(&tensors, &[(METADATA_KEY, &card.to_json())])
}
