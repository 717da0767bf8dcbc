//! Losses of the flow-VAE: the evidence lower bound for encoder and decoder, and the likelihood of
//! posterior samples for the flow. The configuration is [`galgen_core::models::FlowVae`].

use crate::lower::{forward, normalise};
use crate::ops::{Filter, conv2d};
use crate::params::Parameters;
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::models::{FlowVae, Forward, LOG_VARIANCE, MAX_STRENGTH};
use galgen_core::spec::{Layer, Padding};
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
    pub fn log_likelihood(&self, batch: &Batch, decoded: &Tensor) -> Result<Tensor> {
        let noise = &self.model.noise;
        let intensity = self.model.intensity;
        let expected = self.observe(batch, decoded)?;
        let residual = ((&batch.stamps - &expected)? * intensity)?;
        let sky = (&batch.sky * intensity)?.sqr()?;
        let scatter = (expected * (noise.relative * intensity))?.sqr()?;
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

    /// Mean over the batch of -ln p of the stamps' sharpest detail, in nats; only the texture has a gradient.
    ///
    /// What a stamp has and its reconstruction (of the posterior's mean) has not is filtered: each pixel less the mean of
    /// its four neighbours, where all five were observed. So the strength is that of detail of the size of a pixel, and what a
    /// reconstruction misses on larger scales does not count. Filtered pixels are taken as independent, with the filtered
    /// variances of texture, sky and half of the noise floor; the sky's as if it were white, which is too much where
    /// it is correlated, and makes the texture weaker there.
    pub fn texture_loss(&self, batch: &Batch) -> Result<Tensor> {
        let intensity = self.model.intensity;
        let context = batch.context.as_ref();
        let z = self.encode(batch)?.0.detach();
        let decoded = self.decode(&z, context)?.detach();
        let Some(strength) = self.strength(&z, context)? else {
            candle_core::bail!("the model has no texture");
        };
        let seen = batch.observed.broadcast_mul(&self.inside)?;
        let counted = filtered(&seen, [1.0, 1.0])?
            .gt(4.5)?
            .to_dtype(seen.dtype())?;
        let residual = ((&batch.stamps - self.observe(batch, &decoded)?)? * intensity)?;
        let detail = filtered(&residual, DETAIL)?;
        let rough = self.observe(batch, &decoded.broadcast_mul(&strength)?)?;
        let rough = (rough * intensity)?.sqr()?;
        let texture = rough.broadcast_mul(&self.detail_share(batch)?)?;
        let floor = DETAIL_FLOOR * self.model.noise.floor;
        let even = ((&batch.sky * intensity)?.sqr()? + floor * floor)?;
        let kept = DETAIL[0] * DETAIL[0] + 4.0 * DETAIL[1] * DETAIL[1];
        let variance = texture.broadcast_add(&(even * kept)?)?;
        let constants = (variance.log()? + (2.0 * std::f64::consts::PI).ln())?;
        let each = ((detail.sqr()? / &variance)? + constants)?;
        let total = each.broadcast_mul(&counted)?.flatten_from(1)?.sum(1)?;
        total.mean_all()? * 0.5
    }

    /// Part of a texture's variance that is left of its detail in each stamp, `[b, 1, 1, 1]`.
    fn detail_share(&self, batch: &Batch) -> Result<Tensor> {
        let Some(texture) = &self.model.texture else {
            candle_core::bail!("the model has no texture");
        };
        let (b, device) = (batch.stamps.dim(0)?, batch.stamps.device());
        let point = Tensor::ones((b, 1, 1, 1), DType::F64, &Device::Cpu)?;
        let psf = match (self.model.forward, &batch.psf) {
            (Forward::Psf, Some(psf)) => psf.plane.to_device(&Device::Cpu)?.to_dtype(DType::F64)?,
            _ => point,
        };
        let n = psf.dim(2)? + 2;
        let wide = psf.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let detail = filtered(&wide, DETAIL)?.to_dtype(DType::F32)?;
        let detail: Vec<f32> = detail.flatten_all()?.to_vec1()?;
        let each = detail.chunks_exact(n * n);
        let share: Vec<f64> = each.map(|psf| texture.share(psf, n)).collect();
        Tensor::from_vec(share, (b, 1, 1, 1), device)?.to_dtype(batch.stamps.dtype())
    }

    /// The evidence lower bound with the given standard normal draws `[b, latent]`.
    pub fn elbo(&self, batch: &Batch, normals: &Tensor, prior: Prior) -> Result<Elbo> {
        let (mean, log_variance) = self.encode(batch)?;
        let context = batch.context.as_ref();
        let z = posterior_sample(&mean, &log_variance, normals)?;
        let decoded = self.decode(&z, context)?;
        let reconstruction = self.log_likelihood(batch, &decoded)?.mean_all()?.neg()?;
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

/// Weights of a pixel and of each of its four neighbours that leave its detail.
const DETAIL: [f64; 2] = [1.0, -0.25];

/// Part of the noise floor that counts beside a texture. Nothing of it is drawn, so that it makes textures weaker than what was
/// seen; but without it what the sky's noise is underestimated by would be drawn in faint halos.
const DETAIL_FLOOR: f64 = 0.5;

/// Each pixel of maps `[b, bands, n, n]` by the first weight, plus its four neighbours by the second; 0 beyond the border.
fn filtered(maps: &Tensor, [own, near]: [f64; 2]) -> Result<Tensor> {
    let (b, bands, h, w) = maps.dims4()?;
    let weights = vec![0.0, near, 0.0, near, own, near, 0.0, near, 0.0];
    let weights = Tensor::from_vec(weights, (1, 1, 3, 3), &Device::Cpu)?;
    let weights = weights.to_dtype(maps.dtype())?.to_device(maps.device())?;
    let planes = maps.reshape((b * bands, 1, h, w))?;
    conv2d(&planes, &weights, 1, Padding::all(1))?.reshape((b, bands, h, w))
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
