//! The maps of single elements, in f64.

use crate::kernels::Simd;
use crate::kernels::lanes::{Kernel, Lanes};
use crate::kernels::scalar::Scalar;
use galgen_core::math::act::softplus;
use galgen_core::math::elementary::exp;
use galgen_core::math::spline::{Mapped, SplineSpec, Splines, soft_clip};
use galgen_core::spec::{Direction, ElementMap, MAX_PARAMETERS, MIXTURE_LOG_SCALE, Scale};

/// Halvings of the bracket of a mixture's inverse at most: more than an f64 has bits.
const HALVINGS: usize = 100;
/// Most elements that are mapped side by side.
pub(super) const SIDE: usize = 16;

/// Maps up to [`SIDE`] elements in place, where parameter p of element i is `raw[at(i) + p step]`; `log_dets` become ln
/// |derivative| of each. All levels give the same bits, alone or side by side.
pub(super) fn elements(
    simd: Simd,
    direction: Direction,
    map: &ElementMap,
    x: &mut [f64],
    (raw, at, step): (&[f32], impl Fn(usize) -> usize, usize),
) -> [f64; SIDE] {
    let mut log_dets = [0.0; SIDE];
    let mut places = [0; SIDE];
    for (i, place) in places[..x.len()].iter_mut().enumerate() {
        *place = at(i);
    }
    let alone = x.len() == 1;
    let job = Elements {
        direction,
        map,
        x,
        raw,
        places,
        step,
        log_dets: &mut log_dets,
    };
    match alone {
        true => job.one_by_one(),
        false => simd.dispatch(job),
    }
    log_dets
}

/// All elements of `x`, SIDE at a time; returns the sum of ln |derivative|.
pub(super) fn all_elements(
    simd: Simd,
    direction: Direction,
    map: &ElementMap,
    x: &mut [f64],
    (raw, at, step): (&[f32], impl Fn(usize) -> usize, usize),
) -> f64 {
    let mut log_det = 0.0;
    for (start, x) in (0..).step_by(SIDE).zip(x.chunks_mut(SIDE)) {
        let parameters = (raw, |i| at(start + i), step);
        let log_dets = elements(simd, direction, map, x, parameters);
        for own in &log_dets[..x.len()] {
            log_det += own;
        }
    }
    log_det
}

/// Elements with a map of one kind. Compiled for each level: loops over [`SIDE`] elements become vectors.
struct Elements<'a> {
    direction: Direction,
    map: &'a ElementMap,
    x: &'a mut [f64],
    raw: &'a [f32],
    places: [usize; SIDE],
    step: usize,
    log_dets: &'a mut [f64],
}

impl Kernel for Elements<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        // Portable code has no vectors to win.
        match L::N > Scalar::N {
            true => self.maps::<SIDE>(),
            false => self.one_by_one(),
        }
    }
}

impl Elements<'_> {
    /// Element by element, for which no level has anything better.
    #[inline(never)]
    fn one_by_one(self) {
        for (i, x) in self.x.chunks_mut(1).enumerate() {
            let one = Elements {
                x,
                places: [self.places[i]; SIDE],
                log_dets: &mut self.log_dets[i..=i],
                ..self
            };
            one.maps::<1>();
        }
    }

    /// At most N elements.
    #[inline(always)]
    fn maps<const N: usize>(self) {
        let direction = self.direction;
        let (direction, scale, negative) = match self.map {
            // z = (x - shift) exp(-log)
            ElementMap::Affine { bound } => (direction, Some(Scale::Tanh { bound: *bound }), false),
            ElementMap::Additive => (direction, None, false),
            // z = a x + shift is the inverse of that form.
            ElementMap::ScaleShift(scale) => (direction.reversed(), Some(*scale), false),
            // z = a (x + shift) is that form with other signs.
            ElementMap::ShiftScale(scale) => (direction, Some(*scale), true),
            ElementMap::Spline(spec) => return self.splines::<N>(spec),
            ElementMap::LogisticMixture { components } => return self.mixtures(*components),
        };
        self.side_by_side::<N>(direction, scale, negative);
    }

    /// Maps of their shift and the raw parameter of a scale, if they have one; `negative`: with the negatives of shift
    /// and ln of the scale.
    #[inline(always)]
    fn side_by_side<const N: usize>(
        self,
        direction: Direction,
        scale: Option<Scale>,
        negative: bool,
    ) {
        let sign = if negative { -1.0 } else { 1.0 };
        let (mut shift, mut log, mut value) = ([0.0; N], [0.0; N], [0.0; N]);
        for ((i, &x), &place) in self.x.iter().enumerate().zip(&self.places) {
            value[i] = x;
            shift[i] = sign * f64::from(self.raw[place]);
            if scale.is_some() {
                log[i] = f64::from(self.raw[place + self.step]);
            }
        }
        if let Some(scale) = &scale {
            scale.logs(&mut log);
        }
        for log in &mut log {
            *log *= sign;
        }
        match direction {
            Direction::Normalise => {
                for i in 0..N {
                    value[i] = (value[i] - shift[i]) * exp(-log[i]);
                    log[i] = -log[i];
                }
            }
            Direction::Generate => {
                for i in 0..N {
                    value[i] = value[i] * exp(log[i]) + shift[i];
                }
            }
        }
        self.x.copy_from_slice(&value[..self.x.len()]);
        self.log_dets[..N].copy_from_slice(&log);
    }

    /// Splines of N elements side by side.
    #[inline(always)]
    fn splines<const N: usize>(self, spec: &SplineSpec) {
        let (raw, step) = (self.raw, self.step);
        let places = self.places.chunks(N).zip(self.log_dets.chunks_mut(N));
        for (x, (places, log_dets)) in self.x.chunks_mut(N).zip(places) {
            // Beyond the last element: the first one again.
            let (mut at, mut v) = ([places[0]; N], [x[0]; N]);
            at[..x.len()].copy_from_slice(&places[..x.len()]);
            v[..x.len()].copy_from_slice(x);
            let splines = Splines::<N>::new(spec, |p, i| raw[at[i] + p * step]);
            let mapped = match self.direction {
                Direction::Normalise => splines.forward(v),
                Direction::Generate => splines.inverse(v),
            };
            for ((x, log_det), mapped) in x.iter_mut().zip(log_dets).zip(mapped) {
                (*x, *log_det) = (mapped.value, mapped.log_det);
            }
        }
    }

    /// Mixtures of so many components, one after the other: no level has anything better.
    #[inline(never)]
    fn mixtures(self, components: usize) {
        let count = self.map.parameters();
        let mut gathered = [0.0; MAX_PARAMETERS];
        let places = self.places.iter().zip(self.log_dets);
        for (x, (&place, log_det)) in self.x.iter_mut().zip(places) {
            let raw = if self.step == 1 {
                &self.raw[place..place + count]
            } else {
                for (p, value) in gathered[..count].iter_mut().enumerate() {
                    *value = self.raw[place + p * self.step];
                }
                &gathered[..count]
            };
            let mixture = Mixture { raw, components };
            let mapped = match self.direction {
                Direction::Normalise => mixture.forward(*x),
                Direction::Generate => mixture.inverse(*x),
            };
            *x = mapped.value;
            *log_det = mapped.log_det;
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
