//! Elementary functions in f64 without branches, tables or calls: a loop over them becomes vector instructions where the
//! caller has them. Products and sums are rounded one by one, so the bits are the same on every machine.
//!
//! Accuracy, against the exact value: at most [`MAX_ULP`] units in the last place. NaN gives NaN.

use core::f64::consts::LOG2_E;

/// Largest error in units in the last place.
pub const MAX_ULP: f64 = 4.0;

/// ln 2 in two parts; the first has 32 significant bits, so that n times it is exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Adding it rounds to an integer, which then stands in the lowest bits.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;
/// e^x overflows above.
const HIGHEST: f64 = 709.782_712_893_384;
/// e^x is taken as 0 below.
const LOWEST: f64 = -707.0;

/// (r, 2^(n - 1)) with x = n ln 2 + r, |r| <= ln 2 / 2, for x in \[`LOWEST`, `HIGHEST`\].
#[inline(always)]
fn reduce(x: f64) -> (f64, f64) {
    let t = x * LOG2_E + TO_INTEGER;
    let n = t - TO_INTEGER;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // The lowest bits of t are n, in two's complement.
    let exponent = t.to_bits().wrapping_add(1022);
    (r, f64::from_bits(exponent << 52))
}

/// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2: Taylor series, the next term is 1e-18 of e^r - 1.
#[inline(always)]
fn exp_tail(r: f64) -> f64 {
    let r2 = r * r;
    let r4 = r2 * r2;
    let a = (0.5 + r * (1.0 / 6.0)) + r2 * (1.0 / 24.0 + r * (1.0 / 120.0));
    let b = (1.0 / 720.0 + r * (1.0 / 5040.0)) + r2 * (1.0 / 40320.0 + r * (1.0 / 362_880.0));
    let c = (1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0))
        + r2 * (1.0 / 479_001_600.0 + r * (1.0 / 6_227_020_800.0));
    a + r4 * (b + r4 * c)
}

/// e^x; 0 below -707, where the exact value is less than 1e-307.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let bounded = if x > HIGHEST { HIGHEST } else { x };
    let bounded = if bounded < LOWEST { LOWEST } else { bounded };
    let (r, power) = reduce(bounded);
    let result = (1.0 + (r + r * r * exp_tail(r))) * power * 2.0;
    let result = if x > HIGHEST { f64::INFINITY } else { result };
    if x < LOWEST { 0.0 } else { result }
}

/// tanh(x) = (e^2|x| - 1) / (e^2|x| + 1) with the sign of x.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let a = x.abs();
    let a = if a > 20.0 { 20.0 } else { a };
    let (r, power) = reduce(a + a);
    let power = 2.0 * power;
    // e^2a - 1 without cancellation.
    let e = (r + r * r * exp_tail(r)) * power + (power - 1.0);
    (e / (e + 2.0)).copysign(x)
}

/// ln(1 + u) for u in \[0, 1\]: 2 atanh(s), s = u / (2 + u) <= 1/3, by its series; the next term is 1e-18 of the sum.
#[inline(always)]
fn log1p(u: f64) -> f64 {
    let s = u / (2.0 + u);
    let q = s * s;
    let (q2, q4) = (q * q, (q * q) * (q * q));
    let q8 = q4 * q4;
    let a = (1.0 / 3.0 + q * (1.0 / 5.0)) + q2 * (1.0 / 7.0 + q * (1.0 / 9.0));
    let b = (1.0 / 11.0 + q * (1.0 / 13.0)) + q2 * (1.0 / 15.0 + q * (1.0 / 17.0));
    let c = (1.0 / 19.0 + q * (1.0 / 21.0)) + q2 * (1.0 / 23.0 + q * (1.0 / 25.0));
    let d = (1.0 / 27.0 + q * (1.0 / 29.0)) + q2 * (1.0 / 31.0 + q * (1.0 / 33.0));
    let tail = (a + q4 * b) + q8 * (c + q4 * d);
    2.0 * (s + s * (q * tail))
}

/// Bits of the f64 nearest to sqrt(1/2).
const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;

/// ln(x), for x = 2^k m, m in \[sqrt(1/2), sqrt(2)): k ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), by its series; the next
/// term is 1e-18 of the sum. Of subnormal x it is that of the least normal number.
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    let normal = if x < f64::MIN_POSITIVE {
        f64::MIN_POSITIVE
    } else {
        x
    };
    let bits = normal.to_bits();
    let k = (bits.wrapping_sub(SQRT_HALF_BITS) as i64) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((k as u64) << 52));
    let k = f64::from_bits(TO_INTEGER.to_bits().wrapping_add(k as u64)) - TO_INTEGER;
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let q = s * s;
    let (q2, q4) = (q * q, (q * q) * (q * q));
    let a = (1.0 / 3.0 + q * (1.0 / 5.0)) + q2 * (1.0 / 7.0 + q * (1.0 / 9.0));
    let b = (1.0 / 11.0 + q * (1.0 / 13.0)) + q2 * (1.0 / 15.0 + q * (1.0 / 17.0));
    let c = 1.0 / 19.0 + q * (1.0 / 21.0);
    let tail = (a + q4 * b) + q4 * q4 * c;
    let log = k * LN_2_HIGH + (k * LN_2_LOW + 2.0 * (s + s * (q * tail)));
    let log = if x < f64::INFINITY { log } else { x };
    let log = if x == 0.0 { f64::NEG_INFINITY } else { log };
    if x < 0.0 { f64::NAN } else { log }
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|); 0 below -707.
#[inline(always)]
pub fn softplus(x: f64) -> f64 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + log1p(exp(-x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error of `ours` against `theirs`, which is right to 1 ulp, in units in the last place.
    fn worst(ours: fn(f64) -> f64, theirs: fn(f64) -> f64, range: f64) -> f64 {
        let steps = 200_000;
        let mut worst = 0.0f64;
        for i in 0..=steps {
            let t = f64::from(i) / f64::from(steps) * 2.0 - 1.0;
            // Dense at 0 as well as far out.
            for x in [range * t, range * t * t * t, 1e-3 * t, 1e-9 * t] {
                let exact = theirs(x);
                let unit = f64::from_bits(exact.abs().to_bits() + 1) - exact.abs();
                worst = worst.max((ours(x) - exact).abs() / unit);
            }
        }
        worst
    }

    #[test]
    fn errors_are_below_the_bound() {
        let softplus_exactly = |x: f64| x.max(0.0) + libm::log1p(libm::exp(-x.abs()));
        for (name, found) in [
            ("exp", worst(exp, libm::exp, 700.0)),
            ("tanh", worst(tanh, libm::tanh, 25.0)),
            ("softplus", worst(softplus, softplus_exactly, 700.0)),
            (
                "ln",
                worst(|x| ln(libm::exp(x)), |x| libm::log(libm::exp(x)), 700.0),
            ),
        ] {
            // One more for the judge's own error.
            assert!(found <= MAX_ULP + 1.0, "{name}: {found} ulp");
            assert!(found > 0.3, "{name} is better than its bound says: {found}");
        }
    }

    #[test]
    fn limits() {
        let infinity = f64::INFINITY;
        assert_eq!(
            [exp(infinity), exp(-infinity), exp(0.0)],
            [infinity, 0.0, 1.0]
        );
        assert_eq!([exp(709.8), exp(-708.0)], [infinity, 0.0]);
        assert!(exp(709.7).is_finite());
        assert_eq!([tanh(infinity), tanh(-infinity)], [1.0, -1.0]);
        assert!(tanh(0.0) == 0.0 && tanh(-0.0).is_sign_negative());
        assert_eq!([softplus(infinity), softplus(-infinity)], [infinity, 0.0]);
        assert_eq!([ln(infinity), ln(0.0), ln(1.0)], [infinity, -infinity, 0.0]);
        assert!(ln(-1.0).is_nan());
        for f in [exp, tanh, softplus, ln] {
            assert!(f(f64::NAN).is_nan());
        }
    }
}
