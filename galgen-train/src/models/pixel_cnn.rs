//! ln p of images under an autoregressive model, differentiable. The configuration is
//! [`galgen_core::models::PixelCnn`], the exact heads are in [`galgen_core::models::Head`].

use super::vae::Batch;
use crate::lower::forward;
use crate::ops;
use crate::params::Parameters;
use candle_core::{DType, Result, Tensor};
use galgen_core::models::{Head, MIN_DEVIATION, MIN_LOG_SCALE, PixelCnn};
use galgen_core::spec::{Layer, Net};

/// ln(2 pi)
const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// ln p(pixel | pixels before it) of every pixel of a batch, `[b, 1, n, n]`. Discrete heads take the images' pixels as
/// levels without looking whether they are.
pub fn log_pixels(model: &PixelCnn, parameters: &Parameters, batch: &Batch) -> Result<Tensor> {
    let context = batch.context.as_ref();
    let p = forward(&model.net, "net", parameters, &batch.images, context)?;
    log_prob(model.head, &p, &batch.images)
}

/// Mean over the batch of -ln p of the images, in nats.
pub fn loss(model: &PixelCnn, parameters: &Parameters, batch: &Batch) -> Result<Tensor> {
    let log_p = log_pixels(model, parameters, batch)?;
    log_p.flatten_from(1)?.sum(1)?.mean_all()?.neg()
}

/// ln p of pixels `x` `[b, 1, n, n]` under parameters `p` `[b, parameters, n, n]`.
pub fn log_prob(head: Head, p: &Tensor, x: &Tensor) -> Result<Tensor> {
    match head {
        Head::Bernoulli => (x * p)? - softplus(p)?,
        Head::Categorical { levels } => {
            let level = (x * (levels - 1) as f64)?.round()?.to_dtype(DType::U32)?;
            let chosen = p.contiguous()?.gather(&level.contiguous()?, 1)?;
            chosen - log_sum_exp(p)?
        }
        Head::DiscretisedLogistic { components, levels } => {
            let [logits, means, log_scales] = thirds(p, components)?;
            let bins = log_bin(&means, &log_scales, x, levels)?;
            log_sum_exp(&(&logits + bins)?)? - log_sum_exp(&logits)?
        }
        Head::Gaussian => log_normal(&p.narrow(1, 0, 1)?, &p.narrow(1, 1, 1)?, x),
        Head::GaussianMixture { components } => {
            let [logits, means, raw] = thirds(p, components)?;
            let terms = log_normal(&means, &raw, x)?;
            log_sum_exp(&(&logits + terms)?)? - log_sum_exp(&logits)?
        }
    }
}

fn thirds(p: &Tensor, components: usize) -> Result<[Tensor; 3]> {
    let part = |i: usize| p.narrow(1, i * components, components)?.contiguous();
    Ok([part(0)?, part(1)?, part(2)?])
}

fn softplus(x: &Tensor) -> Result<Tensor> {
    ops::activate(&x.contiguous()?, ops::Activation::Softplus)
}

/// Over the features, which stay as one.
fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    x.log_sum_exp(1)?.unsqueeze(1)
}

/// ln of the density of a Gaussian of standard deviation softplus(raw) + [`MIN_DEVIATION`].
fn log_normal(mean: &Tensor, raw: &Tensor, x: &Tensor) -> Result<Tensor> {
    let deviation = (softplus(raw)? + MIN_DEVIATION)?;
    let z = x.broadcast_sub(mean)?.div(&deviation)?;
    ((z.sqr()? + LN_2PI)? * -0.5)? - deviation.log()?
}

/// ln of the probability of the bins around `x`, which are 0 to 1, of logistics `[b, k, n, n]`. Every branch is finite
/// where it is not taken, so that no gradient meets an infinity.
fn log_bin(mean: &Tensor, log_scale: &Tensor, x: &Tensor, levels: usize) -> Result<Tensor> {
    let last = (levels - 1) as f64;
    let log_scale = log_scale.maximum(MIN_LOG_SCALE)?;
    let inverse = log_scale.neg()?.exp()?;
    let centred = ((x * 2.0)? - 1.0)?.broadcast_sub(mean)?;
    let upper = ((&centred + 1.0 / last)? * &inverse)?;
    let lower = ((&centred - 1.0 / last)? * &inverse)?;
    let below = softplus(&upper.neg()?)?.neg()?;
    let above = softplus(&lower)?.neg()?;
    // ln(1 - e^-d) for the width d of a bin: by its series up to d = 1, where the next term is 1e-7.
    let width = (&inverse * (2.0 / last))?;
    let small = width.minimum(1.0)?;
    let square = small.sqr()?;
    let tail = ((square.affine(1.0 / 181_440.0, -1.0 / 2880.0)? * &square)? + 1.0 / 24.0)?;
    let series = ((&square * tail)? - (&small * 0.5)?)?;
    let series = (series - (&log_scale - (2.0 / last).ln())?)?;
    let large = width.maximum(1.0)?.neg()?.exp()?.affine(-1.0, 1.0)?.log()?;
    let inside = width.lt(1.0)?.where_cond(&series, &large)?;
    let middle = ((&below + &above)? + inside)?;
    let half = 0.5 / last;
    let first = x.lt(half)?.broadcast_as(middle.shape())?;
    let final_one = x.gt(1.0 - half)?.broadcast_as(middle.shape())?;
    final_one.where_cond(&above, &first.where_cond(&below, &middle)?)
}

/// Makes residual branches and the parameters of the pixels start small.
pub fn adjust_initial_values(net: &Net, parameters: &Parameters) -> Result<()> {
    let mut small = Vec::new();
    residual_ends(&net.layers, "net.", &mut small);
    small.extend(last_convolution(&net.layers, "net."));
    for path in small {
        parameters.scale(&format!("{path}.weight"), 0.1)?;
    }
    Ok(())
}

/// The last convolutions of branches that are added to a value as it is.
fn residual_ends(layers: &[Layer], prefix: &str, found: &mut Vec<String>) {
    for (i, layer) in layers.iter().enumerate() {
        let path = |b: usize| format!("{prefix}{i}.{b}.");
        match layer {
            Layer::Sum(branches) => {
                let moves = |layers: &[Layer]| {
                    let slice = |l: &Layer| matches!(l, Layer::Slice { .. });
                    layers.iter().all(slice)
                };
                let identity = branches.iter().any(|b| moves(b));
                for (b, layers) in branches.iter().enumerate() {
                    if identity {
                        found.extend(last_convolution(layers, &path(b)));
                    }
                    residual_ends(layers, &path(b), found);
                }
            }
            Layer::Concat(branches) => {
                for (b, layers) in branches.iter().enumerate() {
                    residual_ends(layers, &path(b), found);
                }
            }
            Layer::Linear { .. }
            | Layer::Conv2d { .. }
            | Layer::ConvTranspose2d { .. }
            | Layer::DepthwiseConv2d { .. }
            | Layer::UpsampleNearest { .. }
            | Layer::Activation(_)
            | Layer::Scale(_)
            | Layer::GroupNorm { .. }
            | Layer::LayerNorm { .. }
            | Layer::Gate
            | Layer::ConcatElu
            | Layer::BipolarElu
            | Layer::Reshape(_)
            | Layer::AppendContext
            | Layer::AppendOnes
            | Layer::Shift { .. }
            | Layer::Slice { .. } => {}
        }
    }
}

fn last_convolution(layers: &[Layer], prefix: &str) -> Option<String> {
    layers.iter().enumerate().rev().find_map(|(i, layer)| {
        let path = format!("{prefix}{i}");
        match layer {
            Layer::Conv2d { .. } => Some(path),
            Layer::Sum(branches) => last_convolution(&branches[0], &format!("{path}.0.")),
            _ => None,
        }
    })
}
