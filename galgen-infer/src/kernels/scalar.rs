//! Portable lanes: the oracle of every other level, and what runs where there is no other.

use super::lanes::{Kernel, Lanes, SQRT_HALF_BITS};
use core::array::from_fn;

/// Permission to use portable code, which needs none.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

const N: usize = 4;

/// a b + c with one rounding.
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(all(feature = "std", any(target_arch = "aarch64", target_feature = "fma")))]
    return a.mul_add(b, c);
    #[cfg(not(all(feature = "std", any(target_arch = "aarch64", target_feature = "fma"))))]
    fused_in_f64(a, b, c)
}

/// a b + c of all lanes. What takes many instructions is there once.
#[cfg_attr(
    not(all(feature = "std", any(target_arch = "aarch64", target_feature = "fma"))),
    inline(never)
)]
fn fused_lanes(a: &[f32; N], b: &[f32; N], c: &[f32; N]) -> [f32; N] {
    from_fn(|i| fused(a[i], b[i], c[i]))
}

/// a b + c with one rounding, without hardware support. The product is exact in f64. The rounded sum
/// misleads the rounding to f32 only where it stands half-way between two f32 numbers, or where the
/// result is subnormal; there the sum is rounded to odd (Boldo and Melquiond 2008, "Emulation of FMA
/// and correctly rounded sums"), so that the rounding to f32 is the only one that shows.
#[cfg_attr(
    all(feature = "std", any(target_arch = "aarch64", target_feature = "fma")),
    allow(dead_code)
)]
#[inline(always)]
fn fused_in_f64(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let s = p + c;
    let bits = s.to_bits();
    // The 29 bits that an f32 does not have.
    let half_way = bits & 0x1fff_ffff == 0x1000_0000;
    if !half_way && s.abs() >= f64::from(f32::MIN_POSITIVE) {
        return s as f32;
    }
    // The rounding error of the sum (Knuth's two-sum); NaN if anything is not finite.
    let t = s - p;
    let error = (p - (s - t)) + (c - t);
    let rounded_up = (error < 0.0) == (s > 0.0);
    let odd = if error != 0.0 && !error.is_nan() && bits & 1 == 0 {
        if rounded_up { bits - 1 } else { bits + 1 }
    } else {
        bits
    };
    f64::from_bits(odd) as f32
}

impl Lanes for Scalar {
    type V = [f32; N];
    const N: usize = N;

    #[inline(never)]
    fn apart<K: Kernel>(self, kernel: K) {
        kernel.run(self);
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller promises N readable numbers.
        unsafe { from.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller promises N writable numbers.
        unsafe { to.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        fused_lanes(&a, &b, &c)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(libm::sqrtf)
    }
    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i].copysign(b[i]))
    }
    #[inline(always)]
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: Self::V) -> Self::V {
        a.map(|v| f32::from_bits(v.to_bits() << 23))
    }
    #[inline(always)]
    fn split(self, w: Self::V) -> (Self::V, Self::V) {
        let k = w.map(|v| (v.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS) >> 23);
        let m =
            from_fn(|i| f32::from_bits((w[i].to_bits() as i32).wrapping_sub(k[i] << 23) as u32));
        (k.map(|k| k as f32), m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    /// Against a sum in integers: with all exponents near 0 the exact value of a b + c fits in i128.
    fn exact(a: f32, b: f32, c: f32, unit: i32) -> f32 {
        // Each factor is an integer times 2^unit; c an integer times 2^(2 unit).
        let scale = libm::ldexp(1.0, -unit);
        let (ia, ib) = (
            (f64::from(a) * scale) as i128,
            (f64::from(b) * scale) as i128,
        );
        let ic = (f64::from(c) * scale * scale) as i128;
        let sum = ia * ib + ic;
        // Round the integer to 24 bits, ties to even, by hand.
        let (sign, mut m) = (sum < 0, sum.unsigned_abs());
        let bits = 128 - m.leading_zeros() as i32;
        let drop = (bits - 24).max(0);
        if drop > 0 {
            let half = 1u128 << (drop - 1);
            let rest = m & ((1u128 << drop) - 1);
            m >>= drop;
            if rest > half || rest == half && m & 1 == 1 {
                m += 1;
            }
        }
        let value = libm::ldexp(m as f64, drop + 2 * unit) as f32;
        if sign { -value } else { value }
    }

    #[test]
    fn fused_multiply_add_rounds_once() {
        let mut rng = Philox::new(7, 0, Stream::Training);
        for i in 0..200_000 {
            let bits = |rng: &mut Philox, n| (rng.next_u32() >> (32 - n)) as f32;
            let unit = -24;
            let (a, b) = (
                bits(&mut rng, 24) * 2f32.powi(unit),
                bits(&mut rng, 1 + i % 24) * 2f32.powi(unit),
            );
            let mut c = bits(&mut rng, 24) * 2f32.powi(2 * unit + i % 25);
            if i % 2 == 0 {
                c = -c;
            }
            let want = exact(a, b, c, unit);
            assert_eq!(
                fused_in_f64(a, b, c).to_bits(),
                (want + 0.0).to_bits(),
                "{a} {b} {c}"
            );
        }
    }

    /// A subnormal sum a little below half-way, which the rounding to f64 makes exactly half-way.
    #[test]
    fn fused_multiply_add_does_not_round_twice_when_subnormal() {
        // a b = 2^-150 (1 - 2^-46), where the unit of c is 2^-149.
        let a = 2f32.powi(-75) * (1.0 + 2f32.powi(-23));
        let b = 2f32.powi(-75) * (1.0 - 2f32.powi(-23));
        let c = f32::from_bits(0x007f_fffd);
        let twice = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        assert_ne!(twice.to_bits(), c.to_bits());
        assert_eq!(fused_in_f64(a, b, c).to_bits(), c.to_bits());
        assert_eq!(fused_in_f64(-a, b, -c).to_bits(), (-c).to_bits());
    }

    #[test]
    fn fused_multiply_add_of_special_values() {
        assert!(fused_in_f64(f32::NAN, 1.0, 1.0).is_nan());
        assert!(fused_in_f64(f32::INFINITY, 0.0, 1.0).is_nan());
        assert_eq!(fused_in_f64(f32::INFINITY, 2.0, 1.0), f32::INFINITY);
        assert_eq!(fused_in_f64(f32::MAX, 2.0, 0.0), f32::INFINITY);
        assert_eq!(fused_in_f64(1.0, 1.0, -1.0), 0.0);
    }
}
