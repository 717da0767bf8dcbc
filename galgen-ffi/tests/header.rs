//! include/galgen.h is what the sources say. `GALGEN_UPDATE_HEADER=1` writes it.

use std::fs;
use std::path::Path;

/// In the order of the header.
const SOURCES: [&str; 10] = [
    "abi_version",
    "abi",
    "status",
    "model",
    "object",
    "scene",
    "session",
    "score",
    "image",
    "pixels",
];

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    // The release is written down once, in Cargo.toml.
    config.after_includes = Some(format!(
        "\n/** Version of this header; galgen_version() is that of the library. */\n\
         #define GALGEN_VERSION \"{}\"\n\
         #define GALGEN_VERSION_MAJOR {}\n\
         #define GALGEN_VERSION_MINOR {}\n\
         #define GALGEN_VERSION_PATCH {}\n\
         \n/** Whether this header and the library that the program runs with belong together. */\n\
         #define GALGEN_CHECK_ABI(error) \\\n    \
         galgen_abi_check(GALGEN_ABI_VERSION, GALGEN_ABI_REVISION, (error))",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root.join(format!("src/{name}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().expect("sources").write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_committed_header_is_that_of_the_sources() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/galgen.h");
    let expected = generated();
    if std::env::var_os("GALGEN_UPDATE_HEADER").is_some() {
        fs::write(&path, &expected).expect("include/galgen.h");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let difference = found
        .lines()
        .zip(expected.lines())
        .position(|(a, b)| a != b);
    assert!(
        found == expected,
        "include/galgen.h differs from the sources at line {}: run \
         `GALGEN_UPDATE_HEADER=1 cargo test -p galgen-ffi --test header` and commit it",
        difference.map_or(found.lines().count().min(expected.lines().count()), |i| i) + 1
    );
}
