//! The maps of single elements, in f64.

use galgen_core::math::act::softplus;
use galgen_core::math::spline::{Mapped, Spline, soft_clip};
use galgen_core::spec::{Direction, ElementMap, MIXTURE_LOG_SCALE, Scale};

/// Halvings of the bracket of a mixture's inverse at most: more than an f64 has bits.
const HALVINGS: usize = 100;

/// One element with its raw parameters.
pub(super) fn element(direction: Direction, map: &ElementMap, x: f64, raw: &[f32]) -> Mapped {
    match map {
        ElementMap::Affine { bound } => {
            let log_scale = bound * libm::tanh(f64::from(raw[1]) / bound);
            affine(direction, x, f64::from(raw[0]), log_scale)
        }
        ElementMap::Additive => affine(direction, x, f64::from(raw[0]), 0.0),
        ElementMap::ScaleShift(scale) => {
            // z = a x + shift is the inverse of the form below.
            let log = scale.log(f64::from(raw[1]));
            affine(direction.reversed(), x, f64::from(raw[0]), log)
        }
        ElementMap::ShiftScale(scale) => {
            shift_scale(direction, x, f64::from(raw[0]), scale, raw[1])
        }
        ElementMap::Spline(spec) => {
            let spline = Spline::new(spec, raw);
            match direction {
                Direction::Normalise => spline.forward(x),
                Direction::Generate => spline.inverse(x),
            }
        }
        ElementMap::LogisticMixture { components } => {
            let mixture = Mixture {
                raw,
                components: *components,
            };
            match direction {
                Direction::Normalise => mixture.forward(x),
                Direction::Generate => mixture.inverse(x),
            }
        }
    }
}

/// z = (x - shift) exp(-log_scale) or its inverse.
pub(super) fn affine(direction: Direction, x: f64, shift: f64, log_scale: f64) -> Mapped {
    match direction {
        Direction::Normalise => Mapped {
            value: (x - shift) * libm::exp(-log_scale),
            log_det: -log_scale,
        },
        Direction::Generate => Mapped {
            value: x * libm::exp(log_scale) + shift,
            log_det: log_scale,
        },
    }
}

/// z = a (x + shift) or its inverse.
fn shift_scale(direction: Direction, x: f64, shift: f64, scale: &Scale, raw: f32) -> Mapped {
    affine(direction, x, -shift, -scale.log(f64::from(raw)))
}

/// A mixture of logistics, by its raw parameters.
struct Mixture<'a> {
    raw: &'a [f32],
    components: usize,
}

impl Mixture<'_> {
    /// (logit of the weight, mean, ln scale) of each component.
    fn each(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let (logits, rest) = self.raw.split_at(self.components);
        let (means, scales) = rest.split_at(self.components);
        let all = logits.iter().zip(means).zip(scales);
        all.map(|((&l, &m), &s)| {
            let log_scale = soft_clip(f64::from(s), MIXTURE_LOG_SCALE);
            (f64::from(l), f64::from(m), log_scale)
        })
    }

    /// logit F(x): ln F and ln (1 - F) are sums of positive terms, exact in both tails.
    fn forward(&self, x: f64) -> Mapped {
        let terms = |which: fn(f64) -> f64| {
            self.log_sum(|logit, mean, log_scale| logit + which((x - mean) * libm::exp(-log_scale)))
        };
        let log_weights = self.log_sum(|logit, _, _| logit);
        let below = terms(|t| -softplus(-t)) - log_weights;
        let above = terms(|t| -softplus(t)) - log_weights;
        let density = self.log_sum(|logit, mean, log_scale| {
            let t = (x - mean) * libm::exp(-log_scale);
            logit - log_scale - softplus(t) - softplus(-t)
        }) - log_weights;
        Mapped {
            value: below - above,
            log_det: density - below - above,
        }
    }

    /// ln of the sum of exp(term) over the components.
    fn log_sum(&self, term: impl Fn(f64, f64, f64) -> f64) -> f64 {
        let terms = || self.each().map(|(l, m, s)| term(l, m, s));
        let largest = terms().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return largest;
        }
        largest + libm::log(terms().map(|t| libm::exp(t - largest)).sum())
    }

    /// The x with logit F(x) = z, between the components' own: Newton's steps where they stay inside the bracket,
    /// halvings where not.
    fn inverse(&self, z: f64) -> Mapped {
        let own = || {
            self.each()
                .map(|(_, mean, log_scale)| mean + z * libm::exp(log_scale))
        };
        let mut low = own().fold(f64::INFINITY, f64::min);
        let mut high = own().fold(f64::NEG_INFINITY, f64::max);
        let mut x = 0.5 * (low + high);
        for _ in 0..HALVINGS {
            let at = self.forward(x);
            if at.value < z {
                low = x;
            } else {
                high = x;
            }
            let step = (at.value - z) * libm::exp(-at.log_det);
            let newton = x - step;
            let next = if newton > low && newton < high {
                newton
            } else {
                0.5 * (low + high)
            };
            if next == x || low >= high {
                break;
            }
            x = next;
        }
        Mapped {
            value: x,
            log_det: -self.forward(x).log_det,
        }
    }
}
