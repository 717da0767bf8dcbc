//! The scalar formulas of the referee: activations and the rational-quadratic spline, in f64 with
//! the standard library's elementary functions. Written from the papers and the documentation of
//! galgen-core, not from its code.

use galgen_core::math::act::Act;
use galgen_core::math::spline::{Knots, SplineSpec};

/// An activation by its formula.
pub fn activation(act: Act, x: f64) -> f64 {
    match act {
        Act::Relu => {
            if x > 0.0 {
                x
            } else {
                0.0
            }
        }
        Act::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Act::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp_m1()
            }
        }
        Act::Silu => x * logistic(x),
        Act::Tanh => x.tanh(),
        Act::Sigmoid => logistic(x),
        Act::Softplus => softplus(x),
        Act::Asinh => x.asinh(),
    }
}

/// 1 / (1 + e^-x); e^-x may overflow to infinity, whose reciprocal is the right 0.
pub fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + e^x); beyond 36 the 1 is below the rounding of e^x.
pub fn softplus(x: f64) -> f64 {
    if x > 36.0 { x } else { x.exp().ln_1p() }
}

/// A monotone rational-quadratic spline (Durkan et al. 2019, section 3.1) on [-bound, bound], the
/// identity outside. Bins at least 1e-3 of the interval, slopes at least 1e-3, slope 1 at both ends,
/// and raw parameters of 0 give the identity.
pub struct Spline {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Spline {
    /// From raw parameters: K widths, K heights, K - 1 inner derivatives.
    pub fn new(spec: &SplineSpec, raw: &[f64]) -> Self {
        let SplineSpec {
            bins,
            bound,
            knots: rule,
        } = *spec;
        assert_eq!(
            raw.len(),
            3 * bins - 1,
            "raw parameters of a spline of {bins} bins"
        );
        // softplus(offset) = 1 - 1e-3, so that a raw derivative of 0 is a slope of 1.
        let offset = ((1.0f64 - 1e-3).exp() - 1.0).ln();
        let clip = (1e3f64).ln();
        let inner = raw[2 * bins..].iter().map(|&r| match rule {
            Knots::Floored => 1e-3 + softplus(r + offset),
            Knots::SoftClipped => (r / (1.0 + r.abs() / clip)).exp(),
        });
        let slope = std::iter::once(1.0)
            .chain(inner)
            .chain(std::iter::once(1.0))
            .collect();
        Spline {
            x: knots(&raw[..bins], bound, rule),
            y: knots(&raw[bins..2 * bins], bound, rule),
            slope,
        }
    }

    /// (value, ln of the derivative) at `x`.
    pub fn forward(&self, x: f64) -> (f64, f64) {
        match bin(&self.x, x) {
            None => (x, 0.0),
            Some(k) => self.at(k, (x - self.x[k]) / (self.x[k + 1] - self.x[k])),
        }
    }

    /// (value, ln of the derivative) of the inverse at `y`, by bisection of the forward map: no
    /// quadratic formula, so nothing in common with an analytic inverse.
    pub fn inverse(&self, y: f64) -> (f64, f64) {
        let Some(k) = bin(&self.y, y) else {
            return (y, 0.0);
        };
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.at(k, middle).0 < y {
                low = middle;
            } else {
                high = middle;
            }
        }
        let t = 0.5 * (low + high);
        (
            self.x[k] + t * (self.x[k + 1] - self.x[k]),
            -self.at(k, t).1,
        )
    }

    /// Equations 4 and 5 of the paper at the fraction `t` of bin `k`.
    fn at(&self, k: usize, t: f64) -> (f64, f64) {
        let height = self.y[k + 1] - self.y[k];
        let s = height / (self.x[k + 1] - self.x[k]);
        let (d0, d1) = (self.slope[k], self.slope[k + 1]);
        let cross = t * (1.0 - t);
        let beta = s + (d1 + d0 - 2.0 * s) * cross;
        let value = self.y[k] + height * (s * t.powi(2) + d0 * cross) / beta;
        let top = d1 * t.powi(2) + 2.0 * s * cross + d0 * (1.0 - t).powi(2);
        (value, (s.powi(2) * top / beta.powi(2)).ln())
    }
}

/// The bin of `knots` that holds `v`, none outside the open interval.
fn bin(knots: &[f64], v: f64) -> Option<usize> {
    if v <= knots[0] || v >= knots[knots.len() - 1] {
        return None;
    }
    (0..knots.len() - 1).find(|&k| v < knots[k + 1])
}

fn knots(raw: &[f64], bound: f64, rule: Knots) -> Vec<f64> {
    let (least, raw): (f64, Vec<f64>) = match rule {
        Knots::Floored => (1e-3, raw.to_vec()),
        Knots::SoftClipped => {
            let clip = |r: &f64| r / (1.0 + (2.0 * r / (1e3f64).ln()).abs());
            (0.0, raw.iter().map(clip).collect())
        }
    };
    let largest = raw.iter().copied().fold(f64::MIN, f64::max);
    let e: Vec<f64> = raw.iter().map(|r| (r - largest).exp()).collect();
    let total: f64 = e.iter().sum();
    let share = 1.0 - least * raw.len() as f64;
    let mut knots = vec![-bound];
    for e in e {
        let width = 2.0 * bound * (least + share * e / total);
        knots.push(knots[knots.len() - 1] + width);
    }
    knots[raw.len()] = bound;
    knots
}

/// logit F(x) and ln of its derivative for a mixture of logistics with the distribution F: K logits, K means, K ln
/// scales soft-clipped to 7. By the sums of F and 1 - F themselves.
pub fn logistic_mixture(raw: &[f64], components: usize, x: f64) -> (f64, f64) {
    let (logits, rest) = raw.split_at(components);
    let (means, scales) = rest.split_at(components);
    let weights: Vec<f64> = logits.iter().map(|l| l.exp()).collect();
    let total: f64 = weights.iter().sum();
    let (mut below, mut above, mut density) = (0.0, 0.0, 0.0);
    for k in 0..components {
        let scale = (scales[k] / (1.0 + scales[k].abs() / 7.0)).exp();
        let (t, w) = ((x - means[k]) / scale, weights[k] / total);
        below += w * logistic(t);
        above += w * logistic(-t);
        density += w * logistic(t) * logistic(-t) / scale;
    }
    ((below / above).ln(), (density / below / above).ln())
}
