//! The arithmetic of the engine, in three layers: safe functions on views of an arena; algorithms
//! generic over a set of vector instructions (`lanes`); the instructions of each architecture
//! ([`arch`]), beside the portable ones (`scalar`) that are their oracle.
//!
//! **Same bits everywhere.** Each output is accumulated in one order that does not depend on the width
//! of a vector (kernels are vectorised over outputs, never along a sum), with fused multiply-add,
//! and elementary functions are polynomials of this crate. NaN stays NaN; its payload is not defined.
#![allow(unsafe_code)]

pub(crate) mod aligned;
pub mod arch;
pub(crate) mod conv;
pub(crate) mod dense;
pub(crate) mod depthwise;
pub mod elementary;
pub(crate) mod gather;
pub(crate) mod lanes;
pub(crate) mod norm;
pub(crate) mod pack;
pub(crate) mod planes;
pub(crate) mod pointwise;
pub mod probe;
pub(crate) mod scalar;
pub(crate) mod view;
pub(crate) mod winograd;

use lanes::{Kernel, Lanes};

/// Which instructions the kernels use. The variants beside `Scalar` hold a token that can only be
/// made on a CPU that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// Portable code. Without a hardware fused multiply-add in the compilation target this is slow
    /// (it computes the same rounding in f64).
    Scalar,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2Fma(arch::x86_64::Avx2Fma),
    /// x86-64 with AVX-512 F, beside AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx512(arch::x86_64::Avx512),
    /// aarch64 with NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(arch::aarch64::Neon),
}

impl Simd {
    /// The widest level of this CPU: asked at run time with the `std` feature, without it what the
    /// compilation target promises.
    pub fn detect() -> Simd {
        Self::available().last().unwrap_or(Simd::Scalar)
    }

    /// All levels of this CPU, narrowest first.
    pub fn available() -> impl Iterator<Item = Simd> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            arch::x86_64::Avx2Fma::new().map(Simd::Avx2Fma),
            arch::x86_64::Avx512::new().map(Simd::Avx512),
        ];
        #[cfg(target_arch = "aarch64")]
        let wide = [arch::aarch64::Neon::new().map(Simd::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let wide = [None::<Simd>; 0];
        core::iter::once(Simd::Scalar).chain(wide.into_iter().flatten())
    }

    /// Short name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Simd::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2Fma(_) => "avx2+fma",
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Simd::Neon(_) => "neon",
        }
    }

    /// f32 numbers in one vector.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Simd::Scalar => scalar::Scalar::N,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2Fma(_) => arch::x86_64::Avx2Fma::N,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512(_) => arch::x86_64::Avx512::N,
            #[cfg(target_arch = "aarch64")]
            Simd::Neon(_) => arch::aarch64::Neon::N,
        }
    }

    /// Runs a kernel compiled for this level.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) {
        match self {
            Simd::Scalar => kernel.run(scalar::Scalar),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2Fma(token) => token.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512(token) => token.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Simd::Neon(token) => token.run(kernel),
        }
    }
}
