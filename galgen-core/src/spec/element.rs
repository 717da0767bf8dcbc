//! Maps of one number with parameters from a network: what couplings and autoregressive transforms do to each
//! element.

use super::{MAX_BOUND, SpecError};
use crate::math::elementary::{exp, softplus, tanh};
use crate::math::spline::{MAX_BINS, SplineSpec, soft_clip};
use alloc::format;
use serde::{Deserialize, Serialize};

/// Most components of a [`ElementMap::LogisticMixture`].
pub const MAX_COMPONENTS: usize = 32;
/// Most parameters of an element's map; they then fit on the stack.
pub const MAX_PARAMETERS: usize = 3 * MAX_COMPONENTS;
/// Added to the raw value of [`Scale::Sigmoid`], so that raw 0 is a scale of 0.88 (Kingma and Dhariwal 2018).
pub const SIGMOID_OFFSET: f64 = 2.0;
/// Largest |ln scale| of a component of [`ElementMap::LogisticMixture`], by soft clipping.
pub const MIXTURE_LOG_SCALE: f64 = 7.0;

/// A positive factor from a raw parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scale {
    /// exp(bound tanh(raw / bound)): RealNVP.
    Tanh {
        /// Largest |ln scale|.
        bound: f64,
    },
    /// exp(raw / (1 + |raw| / bound)): zuko, whose bound is -ln 1e-3.
    SoftClip {
        /// Limit of |ln scale|.
        bound: f64,
    },
    /// sigmoid(raw + 2) + floor: Glow with floor 0, couplings of nflows with floor 1e-3.
    Sigmoid {
        /// Added to the sigmoid.
        #[serde(default)]
        floor: f64,
    },
    /// softplus(raw) + floor: autoregressive transforms of nflows, with floor 1e-3.
    Softplus {
        /// Added to the softplus.
        #[serde(default)]
        floor: f64,
    },
}

impl Scale {
    /// ln of the factor.
    pub fn log(&self, raw: f64) -> f64 {
        let mut value = [raw];
        self.logs(&mut value);
        value[0]
    }

    /// ln of the factors of several raw parameters, in place.
    #[inline(always)]
    pub fn logs(&self, values: &mut [f64]) {
        match *self {
            Scale::Tanh { bound } => {
                for v in values {
                    *v = bound * tanh(*v / bound);
                }
            }
            Scale::SoftClip { bound } => {
                for v in values {
                    *v = soft_clip(*v, bound);
                }
            }
            Scale::Sigmoid { floor } => {
                for v in &mut *values {
                    *v = -softplus(-(*v + SIGMOID_OFFSET));
                }
                if floor != 0.0 {
                    for v in values {
                        *v = libm::log(exp(*v) + floor);
                    }
                }
            }
            Scale::Softplus { floor } => {
                for v in values {
                    // e^-40 is below the rounding of 1, and softplus there is e^raw.
                    if floor != 0.0 || *v >= -40.0 || v.is_nan() {
                        *v = libm::log(softplus(*v) + floor);
                    }
                }
            }
        }
    }

    fn is_valid(&self) -> bool {
        match *self {
            Scale::Tanh { bound } | Scale::SoftClip { bound } => bound > 0.0 && bound <= MAX_BOUND,
            Scale::Sigmoid { floor } | Scale::Softplus { floor } => (0.0..=1.0).contains(&floor),
        }
    }
}

/// The map z(x) that is applied to an element, with raw parameters from a net, from data to noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ElementMap {
    /// z = (x - shift) exp(-s), s = bound tanh(raw / bound): RealNVP (Dinh et al. 2017), and with a large bound MAF
    /// (Papamakarios et al. 2017). Two parameters an element: shift, raw.
    Affine {
        /// Largest |s|.
        bound: f64,
    },
    /// z = x - shift: NICE (Dinh et al. 2015). One parameter.
    Additive,
    /// z = a x + shift. Parameters: shift, raw of the scale a.
    ScaleShift(Scale),
    /// z = a (x + shift): Glow (Kingma and Dhariwal 2018). Parameters: shift, raw of the scale a.
    ShiftScale(Scale),
    /// z = spline(x), see [`crate::math::spline`].
    Spline(SplineSpec),
    /// z = logit F(x), where F is the cumulative distribution of a mixture of logistics (Ho et al. 2019, Flow++):
    /// with a logistic base the density of x is that mixture. Raw parameters, so many of each: logits of the
    /// weights, means, ln scales (soft-clipped to [`MIXTURE_LOG_SCALE`]).
    LogisticMixture {
        /// Number of components, 1 to [`MAX_COMPONENTS`].
        components: usize,
    },
}

impl ElementMap {
    /// Parameters for each element.
    pub fn parameters(&self) -> usize {
        match self {
            ElementMap::Additive => 1,
            ElementMap::Affine { .. } | ElementMap::ScaleShift(_) | ElementMap::ShiftScale(_) => 2,
            ElementMap::Spline(spec) => spec.parameters(),
            ElementMap::LogisticMixture { components } => components.saturating_mul(3),
        }
    }

    /// Checks the numbers; an error is at `path`.
    pub(super) fn check(&self, path: &str) -> Result<(), SpecError> {
        let positive = |bound: f64| bound > 0.0 && bound <= MAX_BOUND;
        let valid = match self {
            ElementMap::Affine { bound } => positive(*bound),
            ElementMap::Additive => true,
            ElementMap::ScaleShift(scale) | ElementMap::ShiftScale(scale) => scale.is_valid(),
            ElementMap::Spline(s) => (2..=MAX_BINS).contains(&s.bins) && positive(s.bound),
            ElementMap::LogisticMixture { components } => (1..=MAX_COMPONENTS).contains(components),
        };
        if valid {
            return Ok(());
        }
        let problem = format!(
            "{self:?}: bound must be positive and at most {MAX_BOUND}, a floor 0 to 1, bins 2 to {MAX_BINS}, \
             components 1 to {MAX_COMPONENTS}"
        );
        Err(SpecError::new(path, problem))
    }
}
