//! Losses of autoencoders: the evidence lower bound, the importance-weighted bound, the reconstruction. The
//! configuration is [`galgen_core::models::Vae`].

use super::flow_vae::posterior_sample;
use crate::lower::forward;
use crate::params::Parameters;
use candle_core::{D, DType, Device, Result, Tensor};
use galgen_core::models::{LOG_VARIANCE, Likelihood, Posterior, Vae};
use galgen_core::stamp::{Geometry, window};

/// ln(2 pi)
const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// A batch of images, all tensors on one device and of one type.
pub struct Batch {
    /// `[b, bands, n, n]`: pixels as they are; galaxies of unit sum.
    pub images: Tensor,
    /// `[b, 1, n, n]`: 1 where a pixel was observed; `None` where all were.
    pub observed: Option<Tensor>,
    /// `[b, k]`, or `None` for an unconditional model.
    pub context: Option<Tensor>,
}

/// An autoencoder in training.
pub struct Learner<'a> {
    model: &'a Vae,
    parameters: &'a Parameters,
    intensity: f64,
    /// `[1, 1, n, n]`, for galaxies.
    window: Option<Tensor>,
    /// `[1, 1, n, n]`: 1 where the likelihood is defined, for galaxies.
    inside: Option<Tensor>,
}

/// Mean over the batch of the parts of the negative bound, in nats.
pub struct Bound {
    /// -E_q ln p(x | z), one draw (or the code itself).
    pub reconstruction: Tensor,
    /// KL(q(z | x) || N(0, 1)); 0 without a posterior.
    pub divergence: Tensor,
}

impl<'a> Learner<'a> {
    /// A learner of `model` with `parameters`.
    pub fn new(
        model: &'a Vae,
        geometry: &Geometry,
        parameters: &'a Parameters,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let n = geometry.side;
        let plane =
            |values: Vec<f32>| Tensor::from_vec(values, (1, 1, n, n), device)?.to_dtype(dtype);
        let (window, inside) = match geometry.half_light_radius {
            None => (None, None),
            Some(_) => {
                let values = window(n);
                let inside = values.iter().map(|&w| f32::from(w > 0.0)).collect();
                (Some(plane(values)?), Some(plane(inside)?))
            }
        };
        Ok(Learner {
            model,
            parameters,
            intensity: geometry.intensity(),
            window,
            inside,
        })
    }

    /// Mean (or code) `[b, latent]` and, with a Gaussian posterior, ln variance of z.
    pub fn encode(&self, batch: &Batch) -> Result<(Tensor, Option<Tensor>)> {
        let x = (&batch.images * self.intensity)?;
        let (net, context) = (&self.model.encoder, batch.context.as_ref());
        let code = forward(net, "encoder", self.parameters, &x, context)?;
        let latent = self.model.latent;
        match self.model.posterior {
            Posterior::Point => Ok((code, None)),
            Posterior::Gaussian => {
                let mean = code.narrow(1, 0, latent)?.contiguous()?;
                let log_variance = code.narrow(1, latent, latent)?.contiguous()?;
                let clamped = log_variance.clamp(LOG_VARIANCE[0], LOG_VARIANCE[1])?;
                Ok((mean, Some(clamped)))
            }
        }
    }

    /// Parameters of the pixels `[b, bands, n, n]`: logits, or means (of unit sum for galaxies).
    fn decode_parameters(&self, z: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let out = forward(&self.model.decoder, "decoder", self.parameters, z, context)?;
        let Some(window) = &self.window else {
            return Ok(out);
        };
        let light = out.broadcast_mul(window)?;
        let sum = light.flatten_from(1)?.sum_keepdim(1)?;
        light.broadcast_div(&sum.reshape((light.dim(0)?, 1, 1, 1))?)
    }

    /// Mean images `[b, bands, n, n]` of latents `[b, latent]`.
    pub fn decode(&self, z: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let parameters = self.decode_parameters(z, context)?;
        match self.model.likelihood {
            Likelihood::Bernoulli => candle_nn::ops::sigmoid(&parameters),
            Likelihood::Gaussian { .. } => Ok(parameters),
        }
    }

    /// ln p(x | z) of each image `[b]`, from the parameters of its pixels.
    fn log_pixels(&self, batch: &Batch, parameters: &Tensor) -> Result<Tensor> {
        let terms = match self.model.likelihood {
            Likelihood::Bernoulli => {
                // x l - softplus(l), softplus without overflow.
                let tail = (parameters.abs()?.neg()?.exp()? + 1.0)?.log()?;
                let softplus = (parameters.relu()? + tail)?;
                ((&batch.images * parameters)? - softplus)?
            }
            Likelihood::Gaussian { deviation } => {
                let residual = ((&batch.images - parameters)? * (self.intensity / deviation))?;
                let constant = 2.0 * deviation.ln() + LN_2PI;
                ((residual.sqr()? + constant)? * -0.5)?
            }
        };
        let masks = [&self.inside, &batch.observed];
        let counted = masks
            .into_iter()
            .flatten()
            .try_fold(terms, |terms, mask| terms.broadcast_mul(mask))?;
        counted.flatten_from(1)?.sum(1)
    }

    /// The evidence lower bound with the given standard normal draws `[b, latent]`; without a
    /// posterior the reconstruction from the code.
    pub fn bound(&self, batch: &Batch, normals: &Tensor) -> Result<Bound> {
        let (mean, log_variance) = self.encode(batch)?;
        let (z, divergence) = match &log_variance {
            None => (
                mean.clone(),
                Tensor::zeros((), mean.dtype(), mean.device())?,
            ),
            Some(v) => {
                let terms = ((mean.sqr()? + v.exp()?)? - (v + 1.0)?)?;
                let divergence = (terms.sum(1)?.mean_all()? * 0.5)?;
                (posterior_sample(&mean, v, normals)?, divergence)
            }
        };
        let parameters = self.decode_parameters(&z, batch.context.as_ref())?;
        Ok(Bound {
            reconstruction: self.log_pixels(batch, &parameters)?.mean_all()?.neg()?,
            divergence,
        })
    }

    /// Mean over the batch of the negative importance-weighted bound with the draws `[s, b, latent]`.
    ///
    /// # Errors
    /// Of a model without a posterior.
    pub fn importance_weighted(&self, batch: &Batch, normals: &Tensor) -> Result<Tensor> {
        let (mean, Some(log_variance)) = self.encode(batch)? else {
            candle_core::bail!("an autoencoder has no importance weights");
        };
        let samples = normals.dim(0)?;
        let mut log_weights = Vec::with_capacity(samples);
        for s in 0..samples {
            let normals = normals.get(s)?;
            let z = posterior_sample(&mean, &log_variance, &normals)?;
            let parameters = self.decode_parameters(&z, batch.context.as_ref())?;
            // The constants of both normal densities cancel.
            let log_prior = (z.sqr()?.sum(1)? * -0.5)?;
            let log_posterior = ((normals.sqr()? + &log_variance)?.sum(1)? * -0.5)?;
            let log_pixels = self.log_pixels(batch, &parameters)?;
            log_weights.push(((log_pixels + log_prior)? - log_posterior)?);
        }
        let all = Tensor::stack(&log_weights, 1)?;
        let bound = (all.log_sum_exp(D::Minus1)? - (samples as f64).ln())?;
        bound.mean_all()?.neg()
    }
}

/// Makes the posterior start near the prior.
pub fn adjust_initial_values(model: &Vae, parameters: &Parameters) -> Result<()> {
    match model.posterior {
        Posterior::Point => Ok(()),
        Posterior::Gaussian => {
            let last = model.encoder.layers.len() - 1;
            parameters.scale(&format!("encoder.{last}.weight"), 0.1)
        }
    }
}
