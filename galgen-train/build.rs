//! Compiles the CUDA kernels of `src/cuda` to PTX, under the feature `cuda` only.

use std::path::Path;
use std::process::Command;

const KERNELS: [&str; 6] = ["act", "adam", "conv", "filter", "norm", "random"];

fn main() {
    println!("cargo::rerun-if-changed=src/cuda");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    // PTX of one generation runs on all later ones.
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let compiler = std::env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    for name in KERNELS {
        let status = Command::new(&compiler)
            .arg("-ptx")
            .arg("-O3")
            .arg(format!("-arch=compute_{capability}"))
            .arg("-o")
            .arg(Path::new(&out).join(format!("{name}.ptx")))
            .arg(format!("src/cuda/{name}.cu"))
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("{compiler} on src/cuda/{name}.cu: {status}"),
            Err(e) => panic!("{compiler}: {e}; tools/cuda/README.md says how to get it"),
        }
    }
}
