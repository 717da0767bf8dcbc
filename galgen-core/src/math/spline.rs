//! Monotone rational-quadratic splines (Durkan et al. 2019, "Neural spline flows", equations 4-8),
//! evaluated in f64: in f32 the inverse is ill-conditioned where a bin is saturated.

use crate::math::elementary::{exp, ln, softplus};
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

/// Splines of N elements side by side: their knots and slopes, element by element within a knot.
#[derive(Clone, Debug)]
pub struct Splines<const N: usize> {
    bins: usize,
    bound: f64,
    x: [[f64; N]; MAX_BINS + 1],
    y: [[f64; N]; MAX_BINS + 1],
    slope: [[f64; N]; MAX_BINS + 1],
}

/// The value of a map and the logarithm of its derivative there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapped {
    /// The image of the point.
    pub value: f64,
    /// ln |derivative| of the map at the point.
    pub log_det: f64,
}

/// The bin of each element: its corners and the slopes there.
struct Bins<const N: usize> {
    x: [[f64; N]; 2],
    y: [[f64; N]; 2],
    slope: [[f64; N]; 2],
}

impl<const N: usize> Splines<N> {
    /// The splines of raw parameters `raw(p, element)`, by the rule of their [`Knots`]; slope 1 at both ends so that the
    /// tails join smoothly.
    #[inline(always)]
    pub fn new(spec: &SplineSpec, raw: impl Fn(usize, usize) -> f32) -> Self {
        let k = spec.bins;
        let mut splines = Splines {
            bins: k,
            bound: spec.bound,
            x: [[0.0; N]; MAX_BINS + 1],
            y: [[0.0; N]; MAX_BINS + 1],
            slope: [[1.0; N]; MAX_BINS + 1],
        };
        knots(&raw, 0, spec, &mut splines.x[..=k]);
        knots(&raw, k, spec, &mut splines.y[..=k]);
        let offset = SplineSpec::derivative_offset();
        for (p, slopes) in (2 * k..).zip(&mut splines.slope[1..k]) {
            for (i, slope) in slopes.iter_mut().enumerate() {
                *slope = f64::from(raw(p, i));
            }
            match spec.knots {
                Knots::Floored => {
                    for slope in slopes {
                        *slope = MIN_DERIVATIVE + softplus(*slope + offset);
                    }
                }
                Knots::SoftClipped => {
                    for slope in slopes {
                        *slope = exp(soft_clip(*slope, SOFT_CLIP));
                    }
                }
            }
        }
        splines
    }

    /// Maps `x` forward.
    #[inline(always)]
    pub fn forward(&self, x: [f64; N]) -> [Mapped; N] {
        let bins = self.find(&self.x, &x);
        let mut t = [0.0; N];
        for i in 0..N {
            let width = bins.x[1][i] - bins.x[0][i];
            t[i] = ((x[i] - bins.x[0][i]) / width).clamp(0.0, 1.0);
        }
        let (value, log_det) = bins.at(&t);
        self.inside(x, value, log_det)
    }

    /// Maps `y` backward; `log_det` are those of the inverse map.
    #[inline(always)]
    pub fn inverse(&self, y: [f64; N]) -> [Mapped; N] {
        let bins = self.find(&self.y, &y);
        // a t^2 + b t + c = 0; loops apart, because one with a call in it does not become vectors.
        let (mut b, mut c, mut root) = ([0.0; N], [0.0; N], [0.0; N]);
        for i in 0..N {
            let width = bins.x[1][i] - bins.x[0][i];
            let height = bins.y[1][i] - bins.y[0][i];
            let (s, d0, d1) = (height / width, bins.slope[0][i], bins.slope[1][i]);
            let dy = y[i] - bins.y[0][i];
            let a = height * (s - d0) + dy * (d0 + d1 - 2.0 * s);
            b[i] = height * d0 - dy * (d0 + d1 - 2.0 * s);
            c[i] = -s * dy;
            let square = b[i] * b[i] - 4.0 * a * c[i];
            root[i] = if square < 0.0 { 0.0 } else { square };
        }
        for root in &mut root {
            *root = libm::sqrt(*root);
        }
        let (mut t, mut value) = ([0.0; N], [0.0; N]);
        for i in 0..N {
            let width = bins.x[1][i] - bins.x[0][i];
            // This form of the root does not cancel when a is near 0; b > 0 up to rounding.
            t[i] = (2.0 * c[i] / (-b[i] - root[i])).clamp(0.0, 1.0);
            value[i] = bins.x[0][i] + t[i] * width;
        }
        let (_, mut log_det) = bins.at(&t);
        for log_det in &mut log_det {
            *log_det = -*log_det;
        }
        self.inside(y, value, log_det)
    }

    /// What is mapped inside of the bound; the identity outside.
    #[inline(always)]
    fn inside(&self, v: [f64; N], value: [f64; N], log_det: [f64; N]) -> [Mapped; N] {
        let identity = Mapped {
            value: 0.0,
            log_det: 0.0,
        };
        let mut mapped = [identity; N];
        for i in 0..N {
            let inside = v[i] > -self.bound && v[i] < self.bound;
            mapped[i].value = if inside { value[i] } else { v[i] };
            mapped[i].log_det = if inside { log_det[i] } else { 0.0 };
        }
        mapped
    }

    /// The bins between whose `knots` the values lie: the last that begins at or below each, else the first.
    #[inline(always)]
    fn find(&self, knots: &[[f64; N]; MAX_BINS + 1], v: &[f64; N]) -> Bins<N> {
        let both = |of: &[[f64; N]; MAX_BINS + 1]| [of[0], of[1]];
        let mut bins = Bins {
            x: both(&self.x),
            y: both(&self.y),
            slope: both(&self.slope),
        };
        for bin in 1..self.bins {
            for (of, found) in [
                (&self.x, &mut bins.x),
                (&self.y, &mut bins.y),
                (&self.slope, &mut bins.slope),
            ] {
                for (end, found) in found.iter_mut().enumerate() {
                    for i in 0..N {
                        let above = v[i] >= knots[bin][i];
                        found[i] = if above { of[bin + end][i] } else { found[i] };
                    }
                }
            }
        }
        bins
    }
}

impl<const N: usize> Bins<N> {
    /// Values and ln of the derivatives at the fractions `t` of the bins.
    #[inline(always)]
    fn at(&self, t: &[f64; N]) -> ([f64; N], [f64; N]) {
        let (mut value, mut log_det) = ([0.0; N], [0.0; N]);
        for i in 0..N {
            let width = self.x[1][i] - self.x[0][i];
            let height = self.y[1][i] - self.y[0][i];
            let (s, d0, d1) = (height / width, self.slope[0][i], self.slope[1][i]);
            let t = t[i];
            let r = t * (1.0 - t);
            let denominator = s + (d0 + d1 - 2.0 * s) * r;
            value[i] = self.y[0][i] + height * (s * t * t + d0 * r) / denominator;
            let numerator = s * s * (d1 * t * t + 2.0 * s * r + d0 * (1.0 - t) * (1.0 - t));
            log_det[i] = ln(numerator) - 2.0 * ln(denominator);
        }
        (value, log_det)
    }
}

/// Knots on [-bound, bound] from raw bin sizes, parameters from `first` on: softmax, lower bound, cumulative sum; both
/// ends exact.
#[inline(always)]
fn knots<const N: usize>(
    raw: &impl Fn(usize, usize) -> f32,
    first: usize,
    spec: &SplineSpec,
    out: &mut [[f64; N]],
) {
    let (k, bound) = (spec.bins, spec.bound);
    let mut largest = [f64::NEG_INFINITY; N];
    // Sizes stand where the knots at their right ends will.
    for (p, sizes) in (first..).zip(&mut out[1..]) {
        for (i, size) in sizes.iter_mut().enumerate() {
            *size = f64::from(raw(p, i));
        }
        if spec.knots == Knots::SoftClipped {
            for size in &mut *sizes {
                *size = soft_clip(*size, 0.5 * SOFT_CLIP);
            }
        }
        for i in 0..N {
            largest[i] = if sizes[i] > largest[i] {
                sizes[i]
            } else {
                largest[i]
            };
        }
    }
    let mut total = [0.0; N];
    for sizes in &mut out[1..] {
        for i in 0..N {
            sizes[i] = exp(sizes[i] - largest[i]);
            total[i] += sizes[i];
        }
    }
    let least = match spec.knots {
        Knots::Floored => MIN_BIN,
        Knots::SoftClipped => 0.0,
    };
    let mut sum = [0.0; N];
    out[0] = [-bound; N];
    for sizes in &mut out[1..] {
        for i in 0..N {
            sum[i] += least + (1.0 - least * k as f64) * (sizes[i] / total[i]);
            sizes[i] = bound * (2.0 * sum[i] - 1.0);
        }
    }
    out[k] = [bound; N];
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

    /// One spline.
    struct Spline(Splines<1>);

    impl Spline {
        fn new(spec: &SplineSpec, raw: &[f32]) -> Self {
            Spline(Splines::new(spec, |p, _| raw[p]))
        }

        fn forward(&self, x: f64) -> Mapped {
            self.0.forward([x])[0]
        }

        fn inverse(&self, y: f64) -> Mapped {
            self.0.inverse([y])[0]
        }
    }

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
