//! Losses of the flow-VAE: the evidence lower bound for encoder and decoder, and the likelihood of
//! posterior samples for the flow. The configuration is [`galgen_core::models::FlowVae`].

use crate::lower::{forward, normalise};
use crate::ops::Filter;
use crate::params::Parameters;
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::models::{FlowVae, Forward, LOG_VARIANCE, MAX_STRENGTH};
use galgen_core::spec::Layer;
use galgen_core::stamp::{Geometry, window};
use serde::{Deserialize, Serialize};

/// A batch of stamps, all tensors on one device and of one type.
pub struct Batch {
    /// `[b, bands, n, n]`, each of unit sum.
    pub stamps: Tensor,
    /// `[b, 1, n, n]`: 1 where a pixel was observed, 0 where it was filled in.
    pub observed: Tensor,
    /// `[b, 1, 1, 1]` sky noise of a pixel, or `[b, 1, n, n]` where it differs, in units of the stamp's sum.
    pub sky: Tensor,
    /// What blurred the stamps; not used by a model with [`Forward::Direct`].
    pub psf: Option<Blur>,
    /// Power spectra of the sky noise ([`Filter::noise_power`]): the likelihood is then that of correlated
    /// noise. `None`: pixels are independent.
    pub noise: Option<Filter>,
    /// `[b, k]` standardised conditions, or `None` for an unconditional model.
    pub context: Option<Tensor>,
}

/// The point-spread functions of a batch.
pub struct Blur {
    /// Convolution with them.
    pub filter: Filter,
    /// `[b, 1, n, n]`: what the encoder sees of them, see [`galgen_core::models::place_psf`].
    pub plane: Tensor,
}

/// The mean over the batch of the two parts of the negative evidence lower bound, in nats.
pub struct Elbo {
    /// -E_q ln p(x | z), one draw.
    pub reconstruction: Tensor,
    /// KL(q(z | x) || p(z)): exact for [`Prior::Normal`], of the draw for [`Prior::Flow`].
    pub divergence: Tensor,
}

/// Density of the latent in the evidence lower bound that encoder and decoder learn from. Drawn and scored is always with
/// the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// A standard normal one.
    #[default]
    Normal,
    /// The flow, which learns along (Chen et al. 2017, arXiv:1611.02731): what the flow can say of a galaxy costs nothing, so
    /// that more detail is worth its price, and posteriors gather where the flow finds them.
    Flow,
}

/// A flow-VAE in training.
pub struct Learner<'a> {
    model: &'a FlowVae,
    parameters: &'a Parameters,
    /// `[1, 1, n, n]`.
    window: Tensor,
    /// `[1, 1, n, n]`: 1 inside the stamp's circle, where the likelihood is defined.
    inside: Tensor,
}

impl<'a> Learner<'a> {
    /// A learner of `model` with `parameters`, which may hold other families' tensors too.
    pub fn new(
        model: &'a FlowVae,
        geometry: &Geometry,
        parameters: &'a Parameters,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let n = geometry.side;
        let plane =
            |values: Vec<f32>| Tensor::from_vec(values, (1, 1, n, n), device)?.to_dtype(dtype);
        let window = window(n);
        let inside = window
            .iter()
            .map(|&w| if w > 0.0 { 1.0 } else { 0.0 })
            .collect();
        Ok(Learner {
            model,
            parameters,
            window: plane(window)?,
            inside: plane(inside)?,
        })
    }

    /// Mean and ln variance `[b, latent]` of the posterior of z.
    pub fn encode(&self, batch: &Batch) -> Result<(Tensor, Tensor)> {
        let x = match (self.model.forward, &batch.psf) {
            (Forward::Direct, _) => batch.stamps.clone(),
            (Forward::Psf, Some(psf)) => Tensor::cat(&[&batch.stamps, &psf.plane], 1)?,
            (Forward::Psf, None) => candle_core::bail!("the model needs point-spread functions"),
        };
        let x = (x * self.model.intensity)?;
        let code = forward(
            &self.model.encoder,
            "encoder",
            self.parameters,
            &x,
            batch.context.as_ref(),
        )?;
        let latent = self.model.latent;
        let mean = code.narrow(1, 0, latent)?.contiguous()?;
        let log_variance = code.narrow(1, latent, latent)?.contiguous()?;
        Ok((mean, log_variance.clamp(LOG_VARIANCE[0], LOG_VARIANCE[1])?))
    }

    /// Stamps of unit sum `[b, bands, n, n]` from latents `[b, latent]`.
    pub fn decode(&self, z: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let light = forward(&self.model.decoder, "decoder", self.parameters, z, context)?;
        let light = light.broadcast_mul(&self.window)?;
        let sum = light
            .flatten_from(1)?
            .sum_keepdim(1)?
            .reshape((light.dim(0)?, 1, 1, 1))?;
        light.broadcast_div(&sum)
    }

    /// `stamps` under the border window, as observed stamps are.
    pub fn windowed(&self, stamps: &Tensor) -> Result<Tensor> {
        stamps.broadcast_mul(&self.window)
    }

    /// `stamps` without what has left the circle.
    pub fn inside(&self, stamps: &Tensor) -> Result<Tensor> {
        stamps.broadcast_mul(&self.inside)
    }

    /// What would be observed of `decoded` without noise, `[b, bands, n, n]`.
    pub fn observe(&self, batch: &Batch, decoded: &Tensor) -> Result<Tensor> {
        match (self.model.forward, &batch.psf) {
            (Forward::Direct, _) => Ok(decoded.clone()),
            (Forward::Psf, Some(psf)) => psf.filter.apply(decoded),
            (Forward::Psf, None) => candle_core::bail!("the model needs point-spread functions"),
        }
    }

    /// ln p(x | z) of each stamp `[b]`, in intensity units, over observed pixels inside the circle.
    ///
    /// Without correlation a Gaussian for every pixel with the variance of
    /// [`PixelNoise`](galgen_core::models::PixelNoise). With `batch.noise` the covariance is D C D, where
    /// D holds the same deviations and C is the periodic correlation whose power spectrum is the
    /// mean of the sky's and of white noise, weighted by their shares of the variance: only the sky is
    /// correlated. For a white sky C = 1 and both agree, masks included. For any other sky it is a
    /// density for whole stamps, and an approximation where pixels are masked: the hidden ones count as
    /// pixels without residual, and ln det C in proportion to the observed ones.
    ///
    /// With the `strength` of a texture, `[b, 1, n, n]`, its variance stands in place of the relative noise.
    pub fn log_likelihood(
        &self,
        batch: &Batch,
        decoded: &Tensor,
        strength: Option<&Tensor>,
    ) -> Result<Tensor> {
        let noise = &self.model.noise;
        let intensity = self.model.intensity;
        let expected = self.observe(batch, decoded)?;
        let residual = ((&batch.stamps - &expected)? * intensity)?;
        let sky = (&batch.sky * intensity)?.sqr()?;
        let scatter = match strength {
            None => (expected * (noise.relative * intensity))?.sqr()?,
            Some(strength) => self.texture_variance(batch, decoded, strength)?,
        };
        let variance = scatter.broadcast_add(&(&sky + noise.floor * noise.floor)?)?;
        let counted = batch.observed.broadcast_mul(&self.inside)?;
        let constants = (variance.log()? + (2.0 * std::f64::consts::PI).ln())?;
        let constants = constants.broadcast_mul(&counted)?;
        let Some(power) = &batch.noise else {
            let squares = (residual.sqr()? / &variance)?.broadcast_mul(&counted)?;
            return (squares + constants)?.flatten_from(1)?.sum(1)? * -0.5;
        };
        let items = |t: Tensor| {
            t.flatten_from(1)?
                .sum(1)?
                .to_dtype(DType::F64)?
                .to_vec1::<f64>()
        };
        let correlated = variance.recip()?.detach().broadcast_mul(&sky)?;
        let correlated = items(correlated.broadcast_mul(&counted)?)?;
        let pixels = items(counted.broadcast_as(residual.shape())?.contiguous()?)?;
        let share: Vec<f64> = correlated
            .iter()
            .zip(&pixels)
            .map(|(c, n)| c / n.max(1.0))
            .collect();
        let mixed = power.map(|p, i| share[i] * p + 1.0 - share[i]);
        let (b, bands, n, _) = residual.dims4()?;
        let log_power: Vec<f64> = mixed
            .sum(f64::ln)
            .iter()
            .zip(&pixels)
            .map(|(sum, pixels)| sum * pixels / (n * n) as f64)
            .collect();
        let log_power =
            Tensor::from_vec(log_power, b, residual.device())?.to_dtype(residual.dtype())?;
        let standard = (residual / variance.sqrt()?)?.broadcast_mul(&counted)?;
        let white = mixed.map(|p, _| p.sqrt().recip()).apply(&standard)?;
        debug_assert_eq!(bands, 1, "one spectrum serves one band");
        ((white.sqr()? + constants)?.flatten_from(1)?.sum(1)? + log_power)? * -0.5
    }

    /// Strength of the texture of latents `[b, latent]`, `[b, 1, n, n]`; `None` for a model without one.
    pub fn strength(&self, z: &Tensor, context: Option<&Tensor>) -> Result<Option<Tensor>> {
        let Some(texture) = &self.model.texture else {
            return Ok(None);
        };
        let strength = forward(&texture.strength, "texture", self.parameters, z, context)?;
        strength.clamp(0.0, f64::from(MAX_STRENGTH)).map(Some)
    }

    /// Variance of each pixel by texture, in intensity units.
    fn texture_variance(
        &self,
        batch: &Batch,
        decoded: &Tensor,
        strength: &Tensor,
    ) -> Result<Tensor> {
        let Some(texture) = &self.model.texture else {
            candle_core::bail!("the model has no texture");
        };
        let light = self.observe(batch, &decoded.broadcast_mul(strength)?)?;
        let variance = (light * self.model.intensity)?.sqr()?;
        let (Forward::Psf, Some(psf)) = (self.model.forward, &batch.psf) else {
            return Ok(variance);
        };
        let side = psf.plane.dim(2)?;
        let planes: Vec<f32> = psf.plane.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let share = planes.chunks_exact(side * side);
        let share: Vec<f64> = share.map(|psf| texture.share(psf, side)).collect();
        let share = Tensor::from_vec(share, (batch.stamps.dim(0)?, 1, 1, 1), &Device::Cpu)?;
        let share = share
            .to_dtype(variance.dtype())?
            .to_device(variance.device())?;
        variance.broadcast_mul(&share)
    }

    /// Mean over the batch of -ln p(x | z) with texture, in nats, for posterior draws by the given normals `[b, latent]`. Only
    /// the texture has a gradient.
    pub fn texture_loss(&self, batch: &Batch, normals: &Tensor) -> Result<Tensor> {
        let context = batch.context.as_ref();
        let (mean, log_variance) = self.encode(batch)?;
        let z = posterior_sample(&mean, &log_variance, normals)?.detach();
        let decoded = self.decode(&z, context)?.detach();
        let strength = self.strength(&z, context)?;
        self.log_likelihood(batch, &decoded, strength.as_ref())?
            .mean_all()?
            .neg()
    }

    /// The evidence lower bound with the given standard normal draws `[b, latent]`.
    pub fn elbo(&self, batch: &Batch, normals: &Tensor, prior: Prior) -> Result<Elbo> {
        let (mean, log_variance) = self.encode(batch)?;
        let context = batch.context.as_ref();
        let z = posterior_sample(&mean, &log_variance, normals)?;
        let decoded = self.decode(&z, context)?;
        let reconstruction = self
            .log_likelihood(batch, &decoded, None)?
            .mean_all()?
            .neg()?;
        // Twice the posterior's entropy, less ln 2 pi for each dimension.
        let entropy = (&log_variance + 1.0)?.sum(1)?.mean_all()?;
        let divergence = match prior {
            Prior::Normal => {
                let spread = (mean.sqr()? + log_variance.exp()?)?.sum(1)?.mean_all()?;
                ((spread - entropy)? * 0.5)?
            }
            Prior::Flow => {
                let constant = 0.5 * self.model.latent as f64 * (2.0 * std::f64::consts::PI).ln();
                ((self.flow_loss(&z, context)? - (entropy * 0.5)?)? - constant)?
            }
        };
        Ok(Elbo {
            reconstruction,
            divergence,
        })
    }

    /// Mean over the batch of -ln p(z | context), in nats.
    pub fn flow_loss(&self, z: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let (u, log_det) = normalise(&self.model.flow, "flow", self.parameters, z, context)?;
        let constant = 0.5 * self.model.latent as f64 * (2.0 * std::f64::consts::PI).ln();
        let log_base = ((u.sqr()?.sum(1)? * -0.5)? - constant)?;
        (log_base + log_det)?.mean_all()?.neg()
    }
}

/// mean + exp(ln variance / 2) * normals.
pub fn posterior_sample(mean: &Tensor, log_variance: &Tensor, normals: &Tensor) -> Result<Tensor> {
    mean + ((log_variance * 0.5)?.exp()? * normals)?
}

/// Strength of a texture before it has learned.
const FIRST_STRENGTH: f64 = 0.1;

/// Makes the posterior start near the prior, the flow's couplings as the identity, and the texture nearly even.
pub fn adjust_initial_values(model: &FlowVae, parameters: &Parameters) -> Result<()> {
    for weight in last_weights(&model.encoder.layers, "encoder") {
        parameters.scale(&weight, 0.1)?;
    }
    if let Some(texture) = &model.texture {
        for weight in last_weights(&texture.strength.layers, "texture") {
            parameters.scale(&weight, 0.1)?;
            let bias = weight.replace(".weight", ".bias");
            let old = parameters.get(&bias)?;
            // Through the softplus at the end.
            let start = (old.zeros_like()? + FIRST_STRENGTH.exp_m1().ln())?;
            parameters.set(&bias, &start)?;
        }
    }
    super::flow::adjust_initial_values(&model.flow, "flow", parameters)
}

/// The weights that the outputs come from, of every branch.
fn last_weights(layers: &[Layer], path: &str) -> Vec<String> {
    let numbered = layers.iter().enumerate().rev();
    let found = numbered.map(|(i, layer)| match layer {
        Layer::Linear { .. } | Layer::Conv2d { .. } => vec![format!("{path}.{i}.weight")],
        Layer::Sum(branches) | Layer::Concat(branches) => {
            let branch = |(b, layers): (usize, &Vec<Layer>)| {
                last_weights(layers, &format!("{path}.{i}.{b}"))
            };
            branches.iter().enumerate().flat_map(branch).collect()
        }
        _ => Vec::new(),
    });
    found
        .into_iter()
        .find(|names| !names.is_empty())
        .unwrap_or_default()
}

/// Sets the flow's leading diagonal transform, if it has one, to the mean and deviation of posterior draws: those of the
/// posteriors' means plus their own variance, both `[n, latent]`. (A dimension that says nothing has the prior as its
/// posterior and a mean that hardly moves.)
pub fn standardise_flow(
    model: &FlowVae,
    parameters: &Parameters,
    means: &Tensor,
    log_variances: &Tensor,
) -> Result<()> {
    use galgen_core::spec::Transform;
    if !matches!(model.flow.transforms.first(), Some(Transform::Diagonal)) {
        return Ok(());
    }
    let mean = means.mean_keepdim(0)?;
    let between = means.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    let variance = (between + log_variances.exp()?.mean(0)?)?;
    parameters.set("flow.0.shift", &mean.squeeze(0)?)?;
    parameters.set("flow.0.log_scale", &(variance.log()? * 0.5)?)
}
