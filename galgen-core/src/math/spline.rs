//! Monotone rational-quadratic splines (Durkan et al. 2019, "Neural spline flows", equations 4-8),
//! evaluated in f64: in f32 the inverse is ill-conditioned where a bin is saturated.

use crate::math::elementary::{exp, softplus};
use serde::{Deserialize, Serialize};

/// Largest number of bins; the knots of a spline then fit on the stack.
pub const MAX_BINS: usize = 32;

/// Shape of a family of splines; the knots of each come from a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplineSpec {
    /// Number of bins K, 2 to [`MAX_BINS`].
    pub bins: usize,
    /// The spline acts on [-bound, bound]; outside it is the identity.
    pub bound: f64,
    /// How raw parameters become bins and slopes.
    #[serde(default, skip_serializing_if = "Knots::is_default")]
    pub knots: Knots,
}

/// How raw parameters become bins and slopes. With all of them 0 the spline is the identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knots {
    /// Bins: softmax, at least [`MIN_BIN`] each; slopes: softplus, at least [`MIN_DERIVATIVE`] (nflows).
    #[default]
    Floored,
    /// Bins: softmax of values soft-clipped to half of [`SOFT_CLIP`]; slopes: exp of values soft-clipped to
    /// [`SOFT_CLIP`] (zuko).
    SoftClipped,
}

impl Knots {
    fn is_default(&self) -> bool {
        *self == Knots::default()
    }
}

/// Largest |ln slope| of [`Knots::SoftClipped`]: -ln 1e-3.
pub const SOFT_CLIP: f64 = 6.907_755_278_982_137;

/// x / (1 + |x| / bound), within (-bound, bound).
#[inline(always)]
pub fn soft_clip(x: f64, bound: f64) -> f64 {
    x / (1.0 + x.abs() / bound)
}

/// Smallest bin width and height, as a fraction of the interval.
pub const MIN_BIN: f64 = 1e-3;
/// Smallest derivative at an inner knot.
pub const MIN_DERIVATIVE: f64 = 1e-3;

impl SplineSpec {
    /// A spline with [`Knots::Floored`].
    pub fn new(bins: usize, bound: f64) -> Self {
        let knots = Knots::Floored;
        SplineSpec { bins, bound, knots }
    }

    /// Raw parameters of one spline: K widths, K heights, K - 1 inner derivatives, in that order.
    pub fn parameters(&self) -> usize {
        self.bins.saturating_mul(3).saturating_sub(1)
    }

    /// Added to a raw derivative before the softplus, so that raw 0 is a slope of 1: with all raw
    /// parameters 0 the spline is the identity.
    pub fn derivative_offset() -> f64 {
        libm::log(libm::expm1(1.0 - MIN_DERIVATIVE))
    }
}

/// One spline: its knots and their slopes.
#[derive(Clone, Debug)]
pub struct Spline {
    bins: usize,
    bound: f64,
    x: [f64; MAX_BINS + 1],
    y: [f64; MAX_BINS + 1],
    slope: [f64; MAX_BINS + 1],
}

/// The value of a map and the logarithm of its derivative there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapped {
    /// The image of the point.
    pub value: f64,
    /// ln |derivative| of the map at the point.
    pub log_det: f64,
}

impl Spline {
    /// The spline of `raw` (length [`SplineSpec::parameters`]), by the rule of its [`Knots`]; slope 1 at both ends
    /// so that the tails join smoothly.
    #[inline(always)]
    pub fn new(spec: &SplineSpec, raw: &[f32]) -> Self {
        let k = spec.bins;
        let mut spline = Spline {
            bins: k,
            bound: spec.bound,
            x: [0.0; MAX_BINS + 1],
            y: [0.0; MAX_BINS + 1],
            slope: [1.0; MAX_BINS + 1],
        };
        knots(&raw[..k], spec, &mut spline.x[..=k]);
        knots(&raw[k..2 * k], spec, &mut spline.y[..=k]);
        let offset = SplineSpec::derivative_offset();
        let mut slopes = padded(&raw[2 * k..3 * k - 1]);
        match spec.knots {
            Knots::Floored => each(&mut slopes, k, |r| MIN_DERIVATIVE + softplus(r + offset)),
            Knots::SoftClipped => each(&mut slopes, k, |r| exp(soft_clip(r, SOFT_CLIP))),
        }
        spline.slope[1..k].copy_from_slice(&slopes[..k - 1]);
        spline
    }

    /// Maps `x` forward.
    #[inline(always)]
    pub fn forward(&self, x: f64) -> Mapped {
        if !(x > -self.bound && x < self.bound) {
            return Mapped {
                value: x,
                log_det: 0.0,
            };
        }
        let bin = self.bin(&self.x, x);
        let width = self.x[bin + 1] - self.x[bin];
        let t = ((x - self.x[bin]) / width).clamp(0.0, 1.0);
        self.at(bin, t)
    }

    /// Maps `y` backward; `log_det` is that of the inverse map.
    #[inline(always)]
    pub fn inverse(&self, y: f64) -> Mapped {
        if !(y > -self.bound && y < self.bound) {
            return Mapped {
                value: y,
                log_det: 0.0,
            };
        }
        let bin = self.bin(&self.y, y);
        let width = self.x[bin + 1] - self.x[bin];
        let height = self.y[bin + 1] - self.y[bin];
        let (s, d0, d1) = (height / width, self.slope[bin], self.slope[bin + 1]);
        let dy = y - self.y[bin];
        let a = height * (s - d0) + dy * (d0 + d1 - 2.0 * s);
        let b = height * d0 - dy * (d0 + d1 - 2.0 * s);
        let c = -s * dy;
        let discriminant = (b * b - 4.0 * a * c).max(0.0);
        // This form of the root does not cancel when a is near 0; b > 0 up to rounding.
        let t = (2.0 * c / (-b - libm::sqrt(discriminant))).clamp(0.0, 1.0);
        Mapped {
            value: self.x[bin] + t * width,
            log_det: -self.at(bin, t).log_det,
        }
    }

    #[inline(always)]
    fn bin(&self, knots: &[f64; MAX_BINS + 1], v: f64) -> usize {
        let inner = &knots[1..self.bins];
        // They increase.
        inner.iter().filter(|&&knot| v >= knot).count()
    }

    #[inline(always)]
    fn at(&self, bin: usize, t: f64) -> Mapped {
        let width = self.x[bin + 1] - self.x[bin];
        let height = self.y[bin + 1] - self.y[bin];
        let (s, d0, d1) = (height / width, self.slope[bin], self.slope[bin + 1]);
        let r = t * (1.0 - t);
        let denominator = s + (d0 + d1 - 2.0 * s) * r;
        let value = self.y[bin] + height * (s * t * t + d0 * r) / denominator;
        let numerator = s * s * (d1 * t * t + 2.0 * s * r + d0 * (1.0 - t) * (1.0 - t));
        Mapped {
            value,
            log_det: libm::log(numerator) - 2.0 * libm::log(denominator),
        }
    }
}

/// Raw parameters in f64, zeros beyond.
#[inline(always)]
fn padded(raw: &[f32]) -> [f64; MAX_BINS] {
    let mut values = [0.0; MAX_BINS];
    for (value, &r) in values.iter_mut().zip(raw) {
        *value = f64::from(r);
    }
    values
}

/// Applies `f` to the first `count` values, by eights: a number of which every compiler makes vectors.
#[inline(always)]
fn each(values: &mut [f64; MAX_BINS], count: usize, f: impl Fn(f64) -> f64) {
    let (eights, _) = values.as_chunks_mut::<8>();
    for eight in &mut eights[..count.div_ceil(8)] {
        for value in eight {
            *value = f(*value);
        }
    }
}

/// Knots on [-bound, bound] from raw bin sizes: softmax, lower bound, cumulative sum; both ends exact.
#[inline(always)]
fn knots(raw: &[f32], spec: &SplineSpec, out: &mut [f64]) {
    let (k, bound) = (raw.len(), spec.bound);
    let mut sizes = padded(raw);
    let least = match spec.knots {
        Knots::Floored => MIN_BIN,
        Knots::SoftClipped => {
            each(&mut sizes, k, |r| soft_clip(r, 0.5 * SOFT_CLIP));
            0.0
        }
    };
    let largest = sizes[..k].iter().fold(f64::NEG_INFINITY, |m, &s| m.max(s));
    each(&mut sizes, k, |s| exp(s - largest));
    let total: f64 = sizes[..k].iter().sum();
    let mut sum = 0.0;
    out[0] = -bound;
    for (knot, &size) in out[1..].iter_mut().zip(&sizes[..k]) {
        sum += least + (1.0 - least * k as f64) * (size / total);
        *knot = bound * (2.0 * sum - 1.0);
    }
    out[k] = bound;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Stream};

    const SPEC: SplineSpec = SplineSpec {
        bins: 8,
        bound: 5.0,
        knots: Knots::Floored,
    };

    fn random(seed: u64, scale: f64) -> Spline {
        let mut rng = Philox::new(seed, 0, Stream::Training);
        let raw: alloc::vec::Vec<f32> = (0..SPEC.parameters())
            .map(|_| (scale * rng.normal()) as f32)
            .collect();
        Spline::new(&SPEC, &raw)
    }

    #[test]
    fn zero_parameters_are_the_identity() {
        for knots in [Knots::Floored, Knots::SoftClipped] {
            zero_is_the_identity(&SplineSpec { knots, ..SPEC });
        }
    }

    fn zero_is_the_identity(spec: &SplineSpec) {
        let spline = Spline::new(spec, &[0.0; 23]);
        for x in [-7.0, -4.9, -0.3, 0.0, 2.2, 5.0, 11.0] {
            let m = spline.forward(x);
            assert!((m.value - x).abs() < 1e-14 && m.log_det.abs() < 1e-14);
        }
    }

    /// The inverse is limited by conditioning only: y carries a rounding error of about 1e-15, which
    /// the inverse divides by the slope (down to 2e-8 inside a saturated bin).
    #[test]
    fn the_inverse_undoes_even_for_saturated_parameters() {
        for (seed, scale) in [(1, 0.5), (2, 2.0), (3, 10.0), (4, 50.0)] {
            let spline = random(seed, scale);
            for i in 0..=1000 {
                let x = -5.5 + 11.0 * f64::from(i) / 1000.0;
                let y = spline.forward(x);
                assert!(y.value.is_finite() && y.log_det.is_finite());
                let back = spline.inverse(y.value);
                let error = (back.value - x).abs();
                assert!(
                    error < 1e-9 || error * libm::exp(y.log_det) < 2e-14,
                    "{x}: {error}"
                );
                let again = spline.forward(back.value);
                assert!((again.value - y.value).abs() < 1e-12);
                assert!((again.log_det + back.log_det).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn log_det_is_the_numeric_derivative_and_the_map_increases() {
        let spline = random(5, 1.5);
        let h = 1e-6;
        let mut last = f64::NEG_INFINITY;
        for i in 0..2000 {
            let x = -4.9 + 9.8 * f64::from(i) / 2000.0 + 1.234e-5;
            let numeric = (spline.forward(x + h).value - spline.forward(x - h).value) / (2.0 * h);
            let m = spline.forward(x);
            assert!((libm::log(numeric) - m.log_det).abs() < 1e-4);
            assert!(m.value > last);
            last = m.value;
        }
    }

    #[test]
    fn not_a_number_passes_through() {
        assert!(random(6, 1.0).forward(f64::NAN).value.is_nan());
    }
}
