//! Exponentials that vectorise: polynomials in f32 (relative error below 3e-7), libm in f64.

use std::ops::{Add, Div, Mul, Sub};

use super::real::Real;

/// [`Real`] with arithmetic and the functions that activations need.
pub trait Math:
    Real + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// `e^x`.
    fn exp_(self) -> Self;
    /// `e^x - 1`, exact near zero.
    fn expm1_(self) -> Self;
    /// `ln(1 + x)` for `x` in `[0, 1]`.
    fn ln_1p_unit(self) -> Self;
    /// Square root, rounded correctly.
    fn root(self) -> Self;
    /// Lesser of two.
    #[inline(always)]
    fn min_(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::of(1.0) / (Self::of(1.0) + (Self::default() - self).exp_())
    }
    /// `ln(1 + e^x)`.
    #[inline(always)]
    fn softplus(self) -> Self {
        let zero = Self::default();
        let (above, below) = if self > zero {
            (self, zero - self)
        } else {
            (zero, self)
        };
        above + below.exp_().ln_1p_unit()
    }
    /// `tanh(x)`.
    #[inline(always)]
    fn tanh_(self) -> Self {
        let zero = Self::default();
        let below = if self > zero { zero - self } else { self };
        let e = (below + below).expm1_();
        let t = e / (e + Self::of(2.0));
        if self > zero { zero - t } else { t }
    }
}

/// `x = n ln 2 + r`: returns `2^n` and `e^r - 1`, for `x` clamped to the range of normal numbers.
#[inline(always)]
fn reduce(x: f32) -> (f32, f32) {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // The upper part of ln 2 has 12 bits, so that its product with n is exact.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // A plain comparison also lets NaN through.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let t = x * std::f32::consts::LOG2_E + ROUND;
    let n = t - ROUND;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    // Minimax coefficients of (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2 (Moshier, Cephes).
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let scale = f32::from_bits((t.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    (scale, r * r * p + r)
}

impl Math for f32 {
    #[inline(always)]
    fn root(self) -> f32 {
        self.sqrt()
    }
    #[inline(always)]
    fn exp_(self) -> f32 {
        let (scale, e) = reduce(self);
        scale * e + scale
    }
    #[inline(always)]
    fn expm1_(self) -> f32 {
        let (scale, e) = reduce(self);
        scale * e + (scale - 1.0)
    }
    #[inline(always)]
    fn ln_1p_unit(self) -> f32 {
        // ln(1 + x) = 2 atanh(s), s = x / (2 + x) <= 1/3.
        let s = self / (2.0 + self);
        let q = s * s;
        let p = 1.0 / 15.0;
        let p = p * q + 1.0 / 13.0;
        let p = p * q + 1.0 / 11.0;
        let p = p * q + 1.0 / 9.0;
        let p = p * q + 1.0 / 7.0;
        let p = p * q + 1.0 / 5.0;
        let p = p * q + 1.0 / 3.0;
        2.0 * s + 2.0 * s * q * p
    }
}

impl Math for f64 {
    #[inline(always)]
    fn root(self) -> f64 {
        self.sqrt()
    }
    fn exp_(self) -> f64 {
        self.exp()
    }
    fn expm1_(self) -> f64 {
        self.exp_m1()
    }
    fn ln_1p_unit(self) -> f64 {
        self.ln_1p()
    }
}
