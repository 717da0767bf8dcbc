//! Sampling, encoding and likelihood of autoencoders; the mathematics is in
//! [`galgen_core::models::Vae`].

use super::bound::{LN_2PI, clamp_log_variance, importance_weighted, log_normal};
use super::light::Light;
use super::{Failed, Observed, Scratch, Sizes, rounded};
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::Plan;
use crate::model::DrawError;
use crate::weights::Weights;
use alloc::format;
use alloc::vec::Vec;
use galgen_core::math::act::{sigmoid, softplus};
use galgen_core::models::{Likelihood, Posterior, Vae};
use galgen_core::rng::Philox;
use galgen_core::stamp::Geometry;

/// An autoencoder with packed weights.
pub(crate) struct Engine {
    config: Vae,
    encoder: Plan,
    decoder: Plan,
    /// For galaxies.
    light: Option<Light>,
    intensity: f64,
    /// `None` is N(0, 1).
    prior: Option<Gaussian>,
    pixels: usize,
}

impl Engine {
    pub fn new(
        config: &Vae,
        geometry: &Geometry,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        Ok(Engine {
            config: config.clone(),
            encoder: Plan::new(&config.encoder, "encoder", weights, simd)?,
            decoder: Plan::new(&config.decoder, "decoder", weights, simd)?,
            light: geometry
                .half_light_radius
                .map(|_| Light::new(geometry.side)),
            intensity: geometry.intensity(),
            prior: match config.posterior {
                Posterior::Gaussian => None,
                Posterior::Point => Some(Gaussian::new(weights, config.latent)?),
            },
            pixels: geometry.pixels(),
        })
    }

    /// The parameters of the pixels: logits, or means (of unit sum for galaxies).
    fn decode_parameters(
        &self,
        z: &[f32],
        context: &[f32],
        plans: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.decoder.run(z, context, out, plans);
        match &self.light {
            Some(light) => light.normalise(out),
            None if out.iter().all(|v| v.is_finite()) => Ok(()),
            None => {
                out.fill(0.0);
                Err(Failed::NoLight)
            }
        }
    }

    fn decode_mean(
        &self,
        z: &[f32],
        context: &[f32],
        plans: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.decode_parameters(z, context, plans, out)?;
        if self.config.likelihood == Likelihood::Bernoulli {
            for pixel in out {
                *pixel = sigmoid(f64::from(*pixel)) as f32;
            }
        }
        Ok(())
    }

    fn encode_into(&self, stamp: &[f32], context: &[f32], scratch: &mut Scratch) {
        let intensity = self.intensity as f32;
        for (x, &pixel) in scratch.seen.iter_mut().zip(stamp) {
            *x = pixel * intensity;
        }
        let Scratch {
            seen, code, plans, ..
        } = scratch;
        self.encoder.run(seen, context, code, plans);
        clamp_log_variance(&mut code[self.config.latent..]);
    }

    /// ln p of the latent in `scratch.u`, which is overwritten.
    fn log_prob_u(&self, scratch: &mut Scratch) -> f64 {
        let log_det = match &self.prior {
            None => 0.0,
            Some(prior) => prior.normalise(&mut scratch.u),
        };
        log_det + scratch.u.iter().map(|&u| log_normal(u)).sum::<f64>()
    }

    /// ln p(stamp | z), where `decoded` are the parameters of the pixels.
    fn log_pixels(&self, observed: &Observed, decoded: &[f32]) -> f64 {
        let pairs = observed.stamp.iter().zip(decoded);
        match self.config.likelihood {
            Likelihood::Bernoulli => {
                let towards = |x: f32, logit: f32| if x > 0.5 { -logit } else { logit };
                let terms = pairs.map(|(&x, &logit)| -softplus(f64::from(towards(x, logit))));
                terms.sum()
            }
            Likelihood::Gaussian { deviation } => {
                let variance = deviation * deviation;
                let constant = libm::log(variance) + LN_2PI;
                let counted = |i| self.light.as_ref().is_none_or(|light| light.inside(i));
                let mut sum = 0.0;
                for (_, (&x, &m)) in pairs.enumerate().filter(|(i, _)| counted(*i)) {
                    let residual = (f64::from(x) - f64::from(m)) * self.intensity;
                    sum += residual * residual / variance + constant;
                }
                -0.5 * sum
            }
        }
    }

    /// Whether the likelihood can judge these pixels.
    fn check_observed(&self, observed: &Observed) -> Result<(), DrawError> {
        if self.config.posterior == Posterior::Point {
            return Err(DrawError::NoLikelihood);
        }
        match self.config.likelihood {
            Likelihood::Bernoulli => super::binary(observed.stamp),
            Likelihood::Gaussian { .. } => Ok(()),
        }
    }
}

impl super::Engine for Engine {
    fn latent(&self) -> usize {
        self.config.latent
    }

    fn sizes(&self, _items: usize) -> Sizes {
        Sizes {
            plans: self.encoder.scratch_len().max(self.decoder.scratch_len()),
            seen: self.pixels,
            stamp: self.pixels,
            code: self.config.code(),
            latent: self.config.latent,
            ..Sizes::default()
        }
    }

    fn draw_latent(
        &self,
        rng: &mut Philox,
        _context: &[f32],
        scratch: &mut Scratch,
        z: &mut [f32],
    ) -> Result<(), Failed> {
        scratch.z.fill_with(|| rng.normal());
        if let Some(prior) = &self.prior {
            prior.generate(&mut scratch.z);
        }
        rounded(&scratch.z, z)
    }

    fn scatter(&self, rng: &mut Philox, out: &mut [f32]) {
        for pixel in out {
            let mean = f64::from(*pixel);
            *pixel = match self.config.likelihood {
                Likelihood::Bernoulli => f32::from(rng.uniform() < mean),
                Likelihood::Gaussian { deviation } => (mean + deviation * rng.normal()) as f32,
            };
        }
    }

    fn decode(
        &self,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.decode_mean(z, context, &mut scratch.plans, out)
    }

    fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), DrawError> {
        let latent = self.config.latent;
        self.encode_into(stamp, context, scratch);
        mean.copy_from_slice(&scratch.code[..latent]);
        match self.config.posterior {
            Posterior::Gaussian => log_variance.copy_from_slice(&scratch.code[latent..]),
            Posterior::Point => log_variance.fill(f32::NEG_INFINITY),
        }
        Ok(())
    }

    fn log_prob_latent(&self, z: &[f64], _context: &[f32], scratch: &mut Scratch) -> f64 {
        scratch.u.copy_from_slice(z);
        self.log_prob_u(scratch)
    }

    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        samples: u32,
        rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError> {
        self.check_observed(observed)?;
        self.encode_into(observed.stamp, context, scratch);
        Ok(importance_weighted(samples, rng, scratch, |scratch| {
            let log_prior = self.log_prob_u(scratch);
            let Scratch {
                plans, stamp, z32, ..
            } = scratch;
            let log_pixels = match self.decode_parameters(z32, context, plans, stamp) {
                Ok(()) => self.log_pixels(observed, stamp),
                Err(_) => f64::NEG_INFINITY,
            };
            log_pixels + log_prior
        }))
    }
}

/// A Gaussian with mean m and covariance L L^T.
struct Gaussian {
    mean: Vec<f64>,
    /// Lower triangle of L, row after row: 1, 2, ... numbers.
    factor: Vec<f64>,
}

impl Gaussian {
    fn new(weights: &Weights, n: usize) -> Result<Self, LoadError> {
        let mean = weights.of_shape("prior.mean", &[n])?;
        let square = weights.of_shape("prior.cholesky", &[n, n])?;
        let mut factor = Vec::with_capacity(n * (n + 1) / 2);
        for (i, row) in square.chunks_exact(n).enumerate() {
            if row[i] <= 0.0 || row[i + 1..].iter().any(|&v| v != 0.0) {
                return Err(LoadError::Tensor {
                    tensor: "prior.cholesky".into(),
                    problem: format!(
                        "row {i} is not that of a lower triangle with a positive diagonal"
                    ),
                });
            }
            factor.extend(row[..=i].iter().map(|&v| f64::from(v)));
        }
        Ok(Gaussian {
            mean: mean.iter().map(|&v| f64::from(v)).collect(),
            factor,
        })
    }

    fn row(&self, i: usize) -> (&[f64], f64) {
        let start = i * (i + 1) / 2;
        (&self.factor[start..start + i], self.factor[start + i])
    }

    /// z = m + L u, in place.
    fn generate(&self, u: &mut [f64]) {
        for i in (0..u.len()).rev() {
            let (row, diagonal) = self.row(i);
            let below: f64 = row.iter().zip(&u[..i]).map(|(l, u)| l * u).sum();
            u[i] = self.mean[i] + below + diagonal * u[i];
        }
    }

    /// u = L^-1 (z - m), in place; returns ln |det du/dz|.
    fn normalise(&self, z: &mut [f64]) -> f64 {
        let mut log_det = 0.0;
        for i in 0..z.len() {
            let (row, diagonal) = self.row(i);
            let below: f64 = row.iter().zip(&z[..i]).map(|(l, u)| l * u).sum();
            z[i] = (z[i] - self.mean[i] - below) / diagonal;
            log_det -= libm::log(diagonal);
        }
        log_det
    }
}
