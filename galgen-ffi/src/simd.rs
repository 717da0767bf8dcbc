//! The instructions that the kernels use: the widest of the CPU, or what GALGEN_SIMD asks for.

use crate::status::Failure;
use galgen_infer::Simd;

/// Environment variable, read when a model is loaded: `scalar`, `avx2` or `avx512`. The results are the
/// same; it is for tests, and for tools (valgrind) that do not know all instructions.
const VARIABLE: &str = "GALGEN_SIMD";

/// The level to load a model for.
pub(crate) fn choose() -> Result<Simd, Failure> {
    match std::env::var_os(VARIABLE) {
        None => Ok(Simd::detect()),
        Some(value) => named(&value.to_string_lossy()),
    }
}

fn named(value: &str) -> Result<Simd, Failure> {
    // `avx2` stands for `avx2+fma`.
    let short = |simd: &Simd| simd.name().split('+').next() == Some(value);
    Simd::available().find(short).ok_or_else(|| {
        let names: Vec<_> = Simd::available().map(Simd::name).collect();
        Failure::argument(format!(
            "environment variable {VARIABLE} is `{value}`, this CPU has {}: unset it or choose one of these",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_others_are_refused() {
        assert_eq!(named("scalar").unwrap(), Simd::Scalar);
        for simd in Simd::available() {
            let short = simd.name().split('+').next().unwrap();
            assert_eq!(named(short).unwrap(), simd);
        }
        assert!(named("sse9").unwrap_err().message.contains("scalar"));
    }
}
