//! The importance-weighted bound (Burda et al. 2016, "Importance weighted autoencoders").

use super::Scratch;
use galgen_core::models::LOG_VARIANCE;
use galgen_core::rng::Philox;

/// ln(2 pi)
pub(super) const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// ln of the standard normal density.
pub(super) fn log_normal(x: f64) -> f64 {
    -0.5 * (x * x + LN_2PI)
}

/// Keeps the ln variances of an encoder's output within [`LOG_VARIANCE`].
pub(super) fn clamp_log_variance(log_variance: &mut [f32]) {
    for v in log_variance {
        *v = v.clamp(LOG_VARIANCE[0], LOG_VARIANCE[1]);
    }
}

/// ln of the mean over `samples` draws of p(x, z) / q(z | x), where `scratch.code` holds the mean and ln
/// variance of q. `log_joint` gives ln p(x, z) of the draw in `scratch.z32`, which also stands in `scratch.u`.
pub(super) fn importance_weighted(
    samples: u32,
    rng: &mut Philox,
    scratch: &mut Scratch,
    mut log_joint: impl FnMut(&mut Scratch) -> f64,
) -> f64 {
    let latent = scratch.z32.len();
    scratch.log_weights = LogSumExp::default();
    for _ in 0..samples {
        let mut log_posterior = 0.0;
        for i in 0..latent {
            let log_variance = f64::from(scratch.code[latent + i]);
            let normal = rng.normal();
            let deviation = libm::exp(0.5 * log_variance);
            let z = f64::from(scratch.code[i]) + deviation * normal;
            // The decoder sees f32; the prior is evaluated where the decoder is.
            scratch.z32[i] = z as f32;
            scratch.u[i] = f64::from(scratch.z32[i]);
            log_posterior += log_normal(normal) - 0.5 * log_variance;
        }
        let log_weight = log_joint(scratch) - log_posterior;
        scratch.log_weights.add(log_weight);
    }
    scratch.log_weights.value() - libm::log(f64::from(samples))
}

/// Running ln(sum exp(x)) that does not overflow.
#[derive(Clone, Copy)]
pub(super) struct LogSumExp {
    largest: f64,
    /// Sum of exp(x - largest).
    sum: f64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        LogSumExp {
            largest: f64::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl LogSumExp {
    /// Adds a term; one that is minus infinity, or not a number, adds nothing.
    pub fn add(&mut self, x: f64) {
        if x.is_nan() || x == f64::NEG_INFINITY {
            return;
        }
        if x <= self.largest {
            self.sum += libm::exp(x - self.largest);
        } else {
            self.sum = self.sum * libm::exp(self.largest - x) + 1.0;
            self.largest = x;
        }
    }

    /// ln of the sum so far.
    pub fn value(&self) -> f64 {
        self.largest + libm::log(self.sum)
    }
}
