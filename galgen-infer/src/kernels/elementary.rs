//! Elementary functions in f32, written once over vectors of any width: series whose truncation error is below a
//! tenth of the rounding error, so no tables and no fitted constants.
//!
//! Accuracy, against the f64 formulas of [`Act`]: at most [`MAX_ULP`] units in the last place where
//! the result is at least [`SMALL`] in size, and an absolute error below [`SMALL`] elsewhere
//! (where results pass into zero). Infinities give the limits, NaN gives NaN.

use super::Simd;
use super::lanes::{Kernel, Lanes, MOST_LANES, load_part, store_part};
use galgen_core::math::act::Act;

/// Largest error of any activation in units in the last place of an f32, where the result is at
/// least [`SMALL`].
pub const MAX_ULP: f64 = 3.0;
/// Results below this may be off by as much as this.
pub const SMALL: f64 = 1.2e-36;

/// A function of every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pointwise {
    /// An activation.
    Act(Act),
    /// Multiplication by a constant.
    Scale(f32),
    /// [`Layer::BipolarElu`](galgen_core::spec::Layer::BipolarElu), of vectors that start at an even feature.
    BipolarElu,
}

impl Pointwise {
    #[inline(always)]
    pub(crate) fn apply<L: Lanes>(self, l: L, x: L::V) -> L::V {
        match self {
            Pointwise::Scale(factor) => l.mul(x, l.splat(factor)),
            Pointwise::BipolarElu => {
                // SAFETY: as many numbers as in the widest vector.
                let signs = unsafe { l.load(ALTERNATING.as_ptr()) };
                l.mul(signs, elu(l, l.mul(signs, x)))
            }
            Pointwise::Act(act) => match act {
                Act::Relu => l.max(l.splat(0.0), x),
                Act::LeakyRelu { slope } => {
                    l.select_gt(x, l.splat(0.0), x, l.mul(x, l.splat(slope)))
                }
                Act::Elu => elu(l, x),
                Act::Silu => silu(l, x),
                Act::Tanh => tanh(l, x),
                Act::Sigmoid => sigmoid(l, x),
                Act::Softplus => softplus(l, x),
                Act::Asinh => asinh(l, x),
            },
        }
    }
}

/// The signs of even and odd features.
const ALTERNATING: [f32; MOST_LANES] = {
    let mut signs = [1.0; MOST_LANES];
    let mut i = 1;
    while i < MOST_LANES {
        signs[i] = -1.0;
        i += 2;
    }
    signs
};

#[inline(always)]
fn elu<L: Lanes>(l: L, x: L::V) -> L::V {
    l.select_gt(x, l.splat(0.0), x, expm1(l, l.min(l.splat(0.0), x)))
}

/// Applies `functions`, in order, to vectors. The code of all activations is long: it is there once for each level of
/// instructions, not once in each place of each shape of a tile.
#[inline(always)]
pub(crate) fn apply_all<L: Lanes>(l: L, functions: &[Pointwise], vectors: &mut [L::V]) {
    // The one that is shorter than the call.
    if functions == [Pointwise::Act(Act::Relu)] {
        for vector in vectors {
            *vector = l.max(l.splat(0.0), *vector);
        }
        return;
    }
    let numbers = vectors.as_mut_ptr().cast::<f32>();
    // SAFETY: a vector is N numbers of f32, and these are borrowed.
    unsafe { apply_run(l, functions, numbers, numbers, vectors.len() * L::N) }
}

/// Turns every g of `field` into exp(s g - s^2 / 2), of mean 1 where g is a standard normal number, with its s of
/// `strength`. s g is at most 88.
pub(crate) fn log_normal(simd: Simd, strength: &[f32], field: &mut [f32]) {
    simd.dispatch(LogNormal { strength, field });
}

struct LogNormal<'a> {
    strength: &'a [f32],
    field: &'a mut [f32],
}

impl Kernel for LogNormal<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let len = self.field.len().min(self.strength.len());
        for i in (0..len).step_by(L::N) {
            // SAFETY: numbers i .. i + N of both, or as many as are left.
            unsafe {
                let g = load_part(l, self.field.as_ptr().add(i), len - i);
                let s = load_part(l, self.strength.as_ptr().add(i), len - i);
                // s (g - s / 2)
                let x = l.mul(s, l.fma(s, l.splat(-0.5), g));
                let factor = l.add(expm1(l, x), l.splat(1.0));
                store_part(l, self.field.as_mut_ptr().add(i), factor, len - i);
            }
        }
    }
}

/// The same for `len` numbers, read at `from` and written at `to`.
///
/// # Safety
/// They can be read and written; the two are the same or do not overlap.
#[inline(always)]
pub(crate) unsafe fn apply_run<L: Lanes>(
    l: L,
    functions: &[Pointwise],
    from: *const f32,
    to: *mut f32,
    len: usize,
) {
    if !functions.is_empty() || from != to {
        l.apart(Run {
            functions,
            from,
            to,
            len,
        });
    }
}

/// Functions of a run of numbers, as [`apply_run`] takes them.
struct Run<'a> {
    functions: &'a [Pointwise],
    from: *const f32,
    to: *mut f32,
    len: usize,
}

impl Kernel for Run<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for i in (0..self.len).step_by(L::N) {
            let count = self.len - i;
            // SAFETY: numbers i .. i + N of the run, or as many as are left.
            unsafe {
                let mut value = load_part(l, self.from.add(i), count);
                // A loop, not a fold: a closure is compiled without the instructions of `l`.
                for f in self.functions {
                    value = f.apply(l, value);
                }
                store_part(l, self.to.add(i), value, count);
            }
        }
    }
}

/// Below this e^x is not a normal f32.
const EXP_LOW: f32 = -87.336_54;
const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has 9 significant bits, so that n times it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding it rounds to an integer, which then stands, plus 127, in the lowest bits.
const TO_EXPONENT: f32 = 12_582_912.0 + 127.0;

/// (r, 2^n) with x = n ln 2 + r, |r| <= ln 2 / 2, for x in \[`EXP_LOW`, 88\].
#[inline(always)]
fn reduce<L: Lanes>(l: L, x: L::V) -> (L::V, L::V) {
    let t = l.fma(x, l.splat(LOG2_E), l.splat(TO_EXPONENT));
    let n = l.sub(t, l.splat(TO_EXPONENT));
    let r = l.fma(n, l.splat(-LN_2_HIGH), x);
    let r = l.fma(n, l.splat(-LN_2_LOW), r);
    (r, l.shift_to_exponent(t))
}

/// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2: Taylor series, the next term is 5e-9 of e^r - 1.
#[inline(always)]
fn exp_tail<L: Lanes>(l: L, r: L::V) -> L::V {
    let mut p = l.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        p = l.fma(p, r, l.splat(c));
    }
    p
}

/// e^x for x <= 0; below [`EXP_LOW`] it is 0.
#[inline(always)]
fn exp<L: Lanes>(l: L, x: L::V) -> L::V {
    let (r, power) = reduce(l, l.max(l.splat(EXP_LOW), x));
    let r2 = l.mul(r, r);
    let p = l.add(l.fma(exp_tail(l, r), r2, r), l.splat(1.0));
    l.select_gt(l.splat(EXP_LOW), x, l.splat(0.0), l.mul(p, power))
}

/// e^x - 1 for x <= 88.
#[inline(always)]
fn expm1<L: Lanes>(l: L, x: L::V) -> L::V {
    let (r, power) = reduce(l, l.max(l.splat(-30.0), x));
    let p = l.fma(exp_tail(l, r), l.mul(r, r), r);
    let result = l.fma(p, power, l.sub(power, l.splat(1.0)));
    // Keeps subnormals and the sign of zero.
    l.select_gt(l.splat(1e-20), l.abs(x), x, result)
}

/// ln(1 + u) for u >= 0.
#[inline(always)]
fn log1p<L: Lanes>(l: L, u: L::V) -> L::V {
    let (one, zero) = (l.splat(1.0), l.splat(0.0));
    let (k, m) = l.split(l.add(one, u));
    // With k = 0, u itself is more exact than the rounded 1 + u, less 1.
    let f = l.select_gt(k, zero, l.sub(m, one), u);
    // ln(1 + f) = 2 atanh(s), s = f / (2 + f), |s| <= 0.172: the next term is 2e-9 of the sum.
    let s = l.div(f, l.add(l.splat(2.0), f));
    let s2 = l.mul(s, s);
    let mut p = l.splat(2.0 / 9.0);
    for c in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
        p = l.fma(p, s2, l.splat(c));
    }
    let log_m = l.fma(l.mul(p, s2), s, l.add(s, s));
    let log = l.fma(k, l.splat(LN_2_HIGH), l.fma(k, l.splat(LN_2_LOW), log_m));
    l.select_gt(l.splat(f32::INFINITY), u, log, u)
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(l: L, x: L::V) -> L::V {
    let e = exp(l, l.sub(l.splat(0.0), l.abs(x)));
    let numerator = l.select_gt(l.splat(0.0), x, e, l.splat(1.0));
    l.div(numerator, l.add(l.splat(1.0), e))
}

/// x / (1 + e^-x); minus infinity gives 0.
#[inline(always)]
fn silu<L: Lanes>(l: L, x: L::V) -> L::V {
    // e^x is 0 below -88 already; the bound keeps 0 times infinity out.
    l.mul(l.max(l.splat(-1e4), x), sigmoid(l, x))
}

/// tanh(x) = (e^2|x| - 1) / (e^2|x| + 1) with the sign of x
#[inline(always)]
fn tanh<L: Lanes>(l: L, x: L::V) -> L::V {
    let a = l.min(l.splat(10.0), l.abs(x));
    let e = expm1(l, l.add(a, a));
    l.copysign(l.div(e, l.add(e, l.splat(2.0))), x)
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)
#[inline(always)]
fn softplus<L: Lanes>(l: L, x: L::V) -> L::V {
    let e = exp(l, l.sub(l.splat(0.0), l.abs(x)));
    l.add(l.max(l.splat(0.0), x), log1p(l, e))
}

/// asinh(x) = ln(1 + u) with u = |x| + x^2 / (1 + sqrt(1 + x^2)) and the sign of x; from 1e8 on
/// ln 2 + ln |x|, before the square overflows
#[inline(always)]
fn asinh<L: Lanes>(l: L, x: L::V) -> L::V {
    let (a, one, large) = (l.abs(x), l.splat(1.0), l.splat(1e8));
    let square = l.mul(a, a);
    let u = l.add(a, l.div(square, l.add(one, l.sqrt(l.add(one, square)))));
    let log = log1p(l, l.select_gt(a, large, a, u));
    let log = l.add(
        log,
        l.select_gt(a, large, l.splat(core::f32::consts::LN_2), l.splat(0.0)),
    );
    l.copysign(log, x)
}
