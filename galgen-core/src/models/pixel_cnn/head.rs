//! What the numbers of a PixelCNN's last layer say of a pixel: its probability, mean and draws, in f64.
//!
//! Discrete heads know pixels k / (levels - 1), k = 0 .. levels - 1, and give ln of a probability; Gaussian
//! ones give ln of a density per unit of the pixel.

use crate::math::act::{sigmoid, softplus};
use crate::rng::Philox;
use crate::spec::SpecError;
use alloc::format;
use core::f64::consts::{LN_2, PI};
use serde::{Deserialize, Serialize};

/// Least ln of the scale of a logistic, on pixels from -1 to 1 (Salimans et al. 2017).
pub const MIN_LOG_SCALE: f64 = -7.0;
/// Added to the softplus that makes the standard deviation of a Gaussian (Zanisi et al. 2021).
pub const MIN_DEVIATION: f64 = 1e-4;
/// Most components of a mixture and most levels.
const MOST: usize = 1024;
/// How far a pixel may be from a level, in levels, and still be it.
const LEVEL_TOLERANCE: f64 = 1e-3;

/// The distribution of one pixel given those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// Pixels are 0 or 1. Parameter: the logit of 1.
    Bernoulli,
    /// Parameters: a logit for each level.
    Categorical {
        /// Number of levels, 2 or more.
        levels: usize,
    },
    /// A mixture of logistic distributions on x = 2 pixel - 1, integrated over the bin of half-width
    /// 1 / (levels - 1) around each level; the first and last bin are open (Salimans et al. 2017).
    /// Parameters: `components` logits, then as many means, then as many ln scales, which are at least
    /// [`MIN_LOG_SCALE`].
    DiscretisedLogistic {
        /// Number of components.
        components: usize,
        /// Number of levels, 2 or more: 256 for images of 8 bits.
        levels: usize,
    },
    /// Parameters: mean, and s with standard deviation softplus(s) + [`MIN_DEVIATION`] (Zanisi et al. 2021).
    Gaussian,
    /// Parameters: `components` logits, then as many means, then as many s.
    GaussianMixture {
        /// Number of components.
        components: usize,
    },
}

/// One component of a mixture.
struct Component {
    mean: f64,
    scale: f64,
}

impl Head {
    /// Parameters of a pixel: the features of the net's output.
    pub fn parameters(self) -> usize {
        match self {
            Head::Bernoulli => 1,
            Head::Categorical { levels } => levels,
            Head::DiscretisedLogistic { components, .. } => components.saturating_mul(3),
            Head::Gaussian => 2,
            Head::GaussianMixture { components } => components.saturating_mul(3),
        }
    }

    /// Number of values that a pixel can have; `None` if it is continuous.
    pub fn levels(self) -> Option<usize> {
        match self {
            Head::Bernoulli => Some(2),
            Head::Categorical { levels } | Head::DiscretisedLogistic { levels, .. } => Some(levels),
            Head::Gaussian | Head::GaussianMixture { .. } => None,
        }
    }

    /// Checks the numbers of the head.
    pub fn check(self) -> Result<(), SpecError> {
        let refuse = |what: &str, found: usize, least: usize| {
            let problem = format!("{found} {what}, expected {least} to {MOST}");
            Err(SpecError::new("head", problem))
        };
        if let Some(levels) = self.levels().filter(|l| !(2..=MOST).contains(l)) {
            return refuse("levels", levels, 2);
        }
        match self {
            Head::DiscretisedLogistic { components, .. } | Head::GaussianMixture { components }
                if !(1..=MOST).contains(&components) =>
            {
                refuse("components", components, 1)
            }
            Head::Bernoulli
            | Head::Categorical { .. }
            | Head::DiscretisedLogistic { .. }
            | Head::Gaussian
            | Head::GaussianMixture { .. } => Ok(()),
        }
    }

    /// The level of a pixel; `None` if it is none of them. The head must be discrete.
    pub fn level(self, pixel: f64) -> Option<usize> {
        let last = self.levels()? - 1;
        let scaled = pixel * last as f64;
        let nearest = libm::round(scaled);
        let known = (nearest - scaled).abs() <= LEVEL_TOLERANCE;
        (known && nearest >= 0.0 && nearest <= last as f64).then_some(nearest as usize)
    }

    /// The pixel of level `k`.
    pub fn pixel(self, k: usize) -> f32 {
        let last = self.levels().map_or(1, |levels| levels - 1);
        (k as f64 / last as f64) as f32
    }

    /// Whether the head can judge a pixel: finite, and a level if it is discrete.
    pub fn knows(self, pixel: f64) -> bool {
        match self.levels() {
            Some(_) => self.level(pixel).is_some(),
            None => pixel.is_finite(),
        }
    }

    /// Component `k` of the mixtures; a Gaussian has one.
    fn component(self, p: &[f64], k: usize) -> Component {
        match self {
            Head::DiscretisedLogistic { components, .. } => Component {
                mean: p[components + k],
                scale: libm::exp(p[2 * components + k].max(MIN_LOG_SCALE)),
            },
            Head::GaussianMixture { components } => Component {
                mean: p[components + k],
                scale: softplus(p[2 * components + k]) + MIN_DEVIATION,
            },
            Head::Gaussian => Component {
                mean: p[0],
                scale: softplus(p[1]) + MIN_DEVIATION,
            },
            Head::Bernoulli | Head::Categorical { .. } => unreachable!("not a mixture"),
        }
    }

    /// Logits that choose a level or a component; one element where there is no choice.
    fn logits(self, p: &[f64]) -> &[f64] {
        match self {
            Head::Bernoulli | Head::Categorical { .. } => p,
            Head::DiscretisedLogistic { components, .. } | Head::GaussianMixture { components } => {
                &p[..components]
            }
            Head::Gaussian => &p[..1],
        }
    }

    /// ln p(pixel) under parameters `p`, in nats: of the probability of a level, or of the density. A pixel that
    /// the head does not [know](Self::knows) has minus infinity, and so has anything under parameters
    /// that are not finite.
    ///
    /// # Panics
    /// If `p` is not [`parameters`](Self::parameters) long; so for all functions here.
    pub fn log_prob(self, p: &[f64], pixel: f64) -> f64 {
        assert_eq!(p.len(), self.parameters(), "parameters of a pixel");
        if !self.knows(pixel) || p.iter().any(|v| !v.is_finite()) {
            return f64::NEG_INFINITY;
        }
        let mixture = |log_density: &dyn Fn(Component) -> f64| {
            let logits = self.logits(p);
            let total = log_sum_exp(logits.iter().copied());
            let term =
                |(k, logit): (usize, &f64)| logit - total + log_density(self.component(p, k));
            log_sum_exp(logits.iter().enumerate().map(term))
        };
        match self {
            Head::Bernoulli => {
                let towards = if pixel > 0.5 { -p[0] } else { p[0] };
                -softplus(towards)
            }
            Head::Categorical { .. } => {
                let level = self.level(pixel).unwrap_or(0);
                p[level] - log_sum_exp(p.iter().copied())
            }
            Head::DiscretisedLogistic { levels, .. } => {
                let level = self.level(pixel).unwrap_or(0);
                mixture(&|c| log_bin(&c, level, levels))
            }
            Head::Gaussian => log_normal(&self.component(p, 0), pixel),
            Head::GaussianMixture { .. } => mixture(&|c| log_normal(&c, pixel)),
        }
    }

    /// The mean of the pixel, of the levels with their exact probabilities where it is discrete.
    pub fn mean(self, p: &[f64]) -> f64 {
        let logits = self.logits(p);
        match self {
            Head::Bernoulli => sigmoid(p[0]),
            Head::Categorical { levels } => {
                let value = |k: usize| k as f64 / (levels - 1) as f64;
                weighted(logits, value)
            }
            Head::DiscretisedLogistic { levels, .. } => {
                // A level k >= 1 is the number of upper edges of bins that lie below it.
                let last = (levels - 1) as f64;
                let above = |c: &Component, k: usize| {
                    let edge = (2 * k + 1) as f64 / last - 1.0;
                    sigmoid((c.mean - edge) / c.scale)
                };
                let mean = |c: Component| (0..levels - 1).map(|k| above(&c, k)).sum::<f64>() / last;
                weighted(logits, |k| mean(self.component(p, k)))
            }
            Head::Gaussian => p[0],
            Head::GaussianMixture { .. } => weighted(logits, |k| self.component(p, k).mean),
        }
    }

    /// A draw of the pixel with the random numbers of `rng`, as an image holds it; at most four 64-bit
    /// numbers are used.
    pub fn draw(self, p: &[f64], rng: &mut Philox) -> f32 {
        let chosen = choose(self.logits(p), rng.uniform());
        match self {
            Head::Bernoulli => f32::from(rng.uniform() < sigmoid(p[0])),
            Head::Categorical { .. } => self.pixel(chosen),
            Head::DiscretisedLogistic { levels, .. } => {
                let c = self.component(p, chosen);
                let u = rng.uniform();
                let x = c.mean + c.scale * (libm::log(u) - libm::log1p(-u));
                let last = (levels - 1) as f64;
                let level = libm::round((x.clamp(-1.0, 1.0) + 1.0) / 2.0 * last);
                self.pixel(level as usize)
            }
            Head::Gaussian | Head::GaussianMixture { .. } => {
                let c = self.component(p, chosen);
                (c.mean + c.scale * rng.normal()) as f32
            }
        }
    }

    /// Parameters `p` as the distribution's own, in place: probability of 1; probabilities of the levels;
    /// weights, means and scales of the components (of a discretised logistic in units of the pixel, 0 to 1);
    /// mean and standard deviation.
    pub fn natural(self, p: &mut [f64]) {
        match self {
            Head::Bernoulli => p[0] = sigmoid(p[0]),
            Head::Categorical { .. } => softmax(p),
            Head::Gaussian => p[1] = self.component(p, 0).scale,
            Head::DiscretisedLogistic { components, .. } | Head::GaussianMixture { components } => {
                for k in 0..components {
                    let c = self.component(p, k);
                    let (mean, scale) = match self {
                        Head::DiscretisedLogistic { .. } => ((c.mean + 1.0) / 2.0, c.scale / 2.0),
                        _ => (c.mean, c.scale),
                    };
                    p[components + k] = mean;
                    p[2 * components + k] = scale;
                }
                softmax(&mut p[..components]);
            }
        }
    }
}

/// ln of the probability of bin `k`, exact: no difference of nearly equal numbers is taken.
fn log_bin(c: &Component, k: usize, levels: usize) -> f64 {
    let last = (levels - 1) as f64;
    // Of whole numbers, so that neighbouring bins have the same edge to the last bit.
    let edge = |k: usize| (2.0 * k as f64 - 1.0 - last) / last;
    let upper = (edge(k + 1) - c.mean) / c.scale;
    let lower = (edge(k) - c.mean) / c.scale;
    if k == 0 {
        return -softplus(-upper);
    }
    if k == levels - 1 {
        return -softplus(lower);
    }
    // sigmoid(upper) - sigmoid(lower) = sigmoid(upper) sigmoid(-lower) (1 - e^-d), d = upper - lower
    -softplus(-upper) - softplus(lower) + log_one_less_exp(2.0 / (last * c.scale))
}

/// ln(1 - e^-d) for d > 0
fn log_one_less_exp(d: f64) -> f64 {
    if d < LN_2 {
        libm::log(-libm::expm1(-d))
    } else {
        libm::log1p(-libm::exp(-d))
    }
}

fn log_normal(c: &Component, pixel: f64) -> f64 {
    let z = (pixel - c.mean) / c.scale;
    -0.5 * (z * z + libm::log(2.0 * PI)) - libm::log(c.scale)
}

/// ln of the sum of e^x, in the order given.
fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let sum: f64 = terms.map(|x| libm::exp(x - largest)).sum();
    largest + libm::log(sum)
}

fn softmax(logits: &mut [f64]) {
    let total = log_sum_exp(logits.iter().copied());
    for l in logits {
        *l = libm::exp(*l - total);
    }
}

/// Mean of `value` over the choices of `logits`.
fn weighted(logits: &[f64], value: impl Fn(usize) -> f64) -> f64 {
    let total = log_sum_exp(logits.iter().copied());
    let terms = logits
        .iter()
        .enumerate()
        .map(|(k, l)| libm::exp(l - total) * value(k));
    terms.sum()
}

/// The choice of uniform `u`: the first whose cumulative probability exceeds it.
fn choose(logits: &[f64], u: f64) -> usize {
    if logits.len() == 1 {
        return 0;
    }
    let total = log_sum_exp(logits.iter().copied());
    let mut sum = 0.0;
    for (k, l) in logits.iter().enumerate() {
        sum += libm::exp(l - total);
        if u < sum {
            return k;
        }
    }
    logits.len() - 1
}
