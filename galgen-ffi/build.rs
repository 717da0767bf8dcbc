//! Gives the shared library its SONAME, which changes with the ABI version only.

// One number, for the library, the header and the SONAME.
include!("src/abi_version.rs");

fn main() {
    println!("cargo:rerun-if-changed=src/abi_version.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let argument = match system.as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" => {
            format!("-Wl,-soname,libgalgen.so.{GALGEN_ABI_VERSION}")
        }
        "macos" => format!("-Wl,-install_name,@rpath/libgalgen.{GALGEN_ABI_VERSION}.dylib"),
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg={argument}");
}
