//! Adversarial sharpening of a decoder (Goodfellow et al. 2014): a critic compares observed stamps with
//! drawn ones that went through the same point-spread function, noise, window and mask, so the decoder
//! learns the detail that real galaxies have in front of the telescope (AmbientGAN, Bora et al. 2018).
//!
//! The loss is the relativistic pairing of Jolicoeur-Martineau (2019): softplus(D(fake) - D(real)) for the
//! critic, the reverse for the decoder; both stamps of a pair have the same conditions, point-spread function
//! and mask. The critic's slope is held by a finite difference in place of the gradient penalty R1 + R2
//! (Huang et al. 2024): mean (D(x + s e) - D(x))^2 / s^2 with e ~ N(0, 1) estimates |grad D|^2 with first-order
//! gradients only.

use crate::lower::forward;
use crate::models::flow_vae::Batch;
use crate::ops;
use crate::params::Parameters;
use candle_core::{Result, Tensor};
use galgen_core::math::act::Act;
use galgen_core::spec::{Layer, Net, Padding, Shape, SpecError, TensorSpec};
use galgen_core::stamp::Geometry;

/// Prefix of the critic's tensors; they are not exported.
pub const PREFIX: &str = "critic";
/// Deviation s of the penalty's steps, in units of the compressed stamps (order 1).
const STEP: f64 = 0.05;
/// What the stamps in intensity units are multiplied by before asinh: the encoder's compression.
const GAIN: f32 = 4.0;

/// The critic's network: stamps, point-spread function and mask to one number.
pub struct Critic {
    net: Net,
    intensity: f64,
}

impl Critic {
    /// `channels` from the first halving on; the stamp's side is halved once for each.
    pub fn new(
        channels: &[usize],
        geometry: &Geometry,
        intensity: f64,
        context: usize,
    ) -> std::result::Result<Self, SpecError> {
        let mut layers = vec![Layer::Scale(GAIN), Layer::Activation(Act::Asinh)];
        for (i, &outputs) in channels.iter().enumerate() {
            // 5 x 5 at first: the finest detail is judged where nothing is lost yet.
            let k = if i == 0 { 5 } else { 3 };
            layers.push(Layer::Conv2d {
                outputs,
                kernel: [k, k],
                stride: 2,
                padding: Padding::all(k / 2),
                mask: None,
            });
            layers.push(Layer::Activation(Act::LeakyRelu { slope: 0.2 }));
        }
        let side = geometry.side >> channels.len();
        layers.push(Layer::Reshape(Shape::Vector(
            channels.last().copied().unwrap_or(0) * side * side,
        )));
        if context > 0 {
            layers.push(Layer::AppendContext);
        }
        layers.extend([
            Layer::linear(128),
            Layer::Activation(Act::LeakyRelu { slope: 0.2 }),
            Layer::linear(1),
        ]);
        let planes = geometry.bands.len() + 2;
        let net = Net {
            input: Shape::square(planes, geometry.side),
            context,
            layers,
        };
        net.output()?;
        Ok(Critic { net, intensity })
    }

    /// Names and shapes of the critic's tensors.
    pub fn tensors(&self) -> std::result::Result<Vec<TensorSpec>, SpecError> {
        self.net.tensors(PREFIX)
    }

    /// Opinion `[b, 1]` of `stamps`, `[b, bands, n, n]` of unit light, observed as the real ones of `batch`, all moved by
    /// `shift`.
    fn judge(
        &self,
        parameters: &Parameters,
        batch: &Batch,
        stamps: &Tensor,
        shift: [isize; 2],
    ) -> Result<Tensor> {
        let seen = stamps.broadcast_mul(&batch.observed)?;
        let psf = match &batch.psf {
            Some(psf) => psf.plane.clone(),
            None => batch.observed.zeros_like()?,
        };
        let light = (Tensor::cat(&[&seen, &psf], 1)? * self.intensity)?;
        let x = moved(&Tensor::cat(&[&light, &batch.observed], 1)?, shift)?;
        forward(&self.net, PREFIX, parameters, &x, batch.context.as_ref())
    }

    /// Loss of the critic on the real stamps of `batch` and `drawn` ones, moved by `shift`; with `slope`, a weight and standard
    /// normals like the stamps for each of both, the weight times half of |grad D|^2 at both is added.
    pub fn critic_loss(
        &self,
        parameters: &Parameters,
        batch: &Batch,
        drawn: &Tensor,
        shift: [isize; 2],
        slope: Option<(f64, [&Tensor; 2])>,
    ) -> Result<Tensor> {
        let real = self.judge(parameters, batch, &batch.stamps, shift)?;
        let fake = self.judge(parameters, batch, drawn, shift)?;
        let mut loss = softplus(&(&fake - &real)?)?.mean_all()?;
        if let Some((weight, normals)) = slope {
            let stamps = [(&batch.stamps, &real), (drawn, &fake)];
            for ((x, opinion), e) in stamps.into_iter().zip(normals) {
                let near = self.judge(parameters, batch, &self.perturbed(x, e)?, shift)?;
                let square = (near - opinion)?.sqr()?.mean_all()?;
                loss = (loss + (square * (0.5 * weight / (STEP * STEP)))?)?;
            }
        }
        Ok(loss)
    }

    /// `x` moved so that its compressed version asinh(gain x) moves by `STEP` times `e`, to first order.
    fn perturbed(&self, x: &Tensor, e: &Tensor) -> Result<Tensor> {
        let gain = f64::from(GAIN) * self.intensity;
        let slope = ((x * gain)?.sqr()? + 1.0)?.sqrt()?;
        x + ((slope * e)? * (STEP / gain))?
    }

    /// Loss of the decoder on stamps moved by `shift`.
    pub fn decoder_loss(
        &self,
        parameters: &Parameters,
        batch: &Batch,
        drawn: &Tensor,
        shift: [isize; 2],
    ) -> Result<Tensor> {
        let parameters = &parameters.frozen();
        let real = self.judge(parameters, batch, &batch.stamps, shift)?;
        let fake = self.judge(parameters, batch, drawn, shift)?;
        softplus(&(real - fake)?)?.mean_all()
    }
}

/// Maps moved down and right, zeros where nothing comes from.
fn moved(x: &Tensor, [down, right]: [isize; 2]) -> Result<Tensor> {
    let mut x = x.clone();
    for (axis, by) in [(2, down), (3, right)] {
        let (n, size) = (x.dim(axis)?, by.unsigned_abs());
        let (start, before, after) = match by >= 0 {
            true => (0, size, 0),
            false => (size, 0, size),
        };
        if size > 0 {
            let kept = x.narrow(axis, start, n - size)?;
            x = kept.pad_with_zeros(axis, before, after)?;
        }
    }
    x.contiguous()
}

fn softplus(x: &Tensor) -> Result<Tensor> {
    ops::activate(x, ops::Activation::Softplus)
}
