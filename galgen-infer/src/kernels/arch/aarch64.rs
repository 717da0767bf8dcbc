//! aarch64: NEON (Advanced SIMD). A vector is a pair of registers, so that the 32 of them hold the same tiles as the
//! 16 of AVX2.

// Of a target that has NEON anyway the instructions are safe functions, of others they are not.
#![allow(unused_unsafe)]

use crate::kernels::lanes::{Kernel, Lanes, SQRT_HALF_BITS};
use core::arch::aarch64::*;
use core::array::from_fn;

/// Proof that this CPU has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The proof, if it can be given.
    pub fn new() -> Option<Self> {
        #[cfg(feature = "std")]
        let has = std::arch::is_aarch64_feature_detected!("neon");
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = "neon");
        has.then_some(Neon(()))
    }

    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "neon")]
        fn with_features<K: Kernel>(token: Neon, kernel: K) {
            kernel.run(token);
        }
        // SAFETY: a value of this type exists only where `new` found the feature.
        unsafe { with_features(self, kernel) }
    }
}

/// Registers of a vector, and numbers of a register.
const PAIR: usize = 2;
const QUAD: usize = 4;

/// Applies `f` to each register.
#[inline(always)]
fn each(f: impl Fn(usize) -> float32x4_t) -> [float32x4_t; PAIR] {
    from_fn(f)
}

// SAFETY of the blocks below: they need NEON, which `self` proves; loads and stores also need N valid
// numbers, which their callers promise.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Neon {
    type V = [float32x4_t; PAIR];
    const N: usize = PAIR * QUAD;

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "neon")]
        fn with_features<K: Kernel>(token: Neon, kernel: K) {
            kernel.run(token);
        }
        unsafe { with_features(self, kernel) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { [vdupq_n_f32(x); PAIR] }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        each(|i| unsafe { vld1q_f32(from.add(i * QUAD)) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        for (i, v) in v.into_iter().enumerate() {
            unsafe { vst1q_f32(to.add(i * QUAD), v) }
        }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| unsafe { vsubq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| unsafe { vdivq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    // Not fmax and fmin, which make a number of two where one is not a number.
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        self.select_gt(a, b, a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        self.select_gt(b, a, a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        each(|i| unsafe { vsqrtq_f32(a[i]) })
    }
    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        each(|i| unsafe { vabsq_f32(a[i]) })
    }
    #[inline(always)]
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| unsafe { vbslq_f32(vdupq_n_u32(1 << 31), b[i], a[i]) })
    }
    #[inline(always)]
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        each(|i| unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), x[i], y[i]) })
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: Self::V) -> Self::V {
        each(|i| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a[i]))) })
    }
    #[inline(always)]
    fn split(self, w: Self::V) -> (Self::V, Self::V) {
        let exponent = |i: usize| unsafe {
            let bits = vreinterpretq_s32_f32(w[i]);
            vshrq_n_s32::<23>(vsubq_s32(bits, vdupq_n_s32(SQRT_HALF_BITS)))
        };
        let k = each(|i| unsafe { vcvtq_f32_s32(exponent(i)) });
        let m = each(|i| unsafe {
            let bits = vreinterpretq_s32_f32(w[i]);
            vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32::<23>(exponent(i))))
        });
        (k, m)
    }
}
