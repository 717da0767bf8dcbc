//! Lowering of a specification to candle, with gradients.
//!
//! Tensors are batch first: `[b, n]` for vectors, `[b, channels, height, width]` for maps.

mod continuous;
mod element;
mod flow;

pub use flow::{Follow, Followed, Regularisers, follow, initialise, log_prob, normalise};

use crate::ops;
use crate::params::Parameters;
use candle_core::{Result, Tensor};
use galgen_core::math::act::Act;
use galgen_core::spec::{CausalMask, Degrees, Layer, Net, Padding, Shape};

/// Output of `net`, whose tensors are named under `prefix`, on a batch `x` with its `context` `[b, k]`
/// (absent for a net without context).
pub fn forward(
    net: &Net,
    prefix: &str,
    parameters: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
) -> Result<Tensor> {
    sequence(&net.layers, &format!("{prefix}."), parameters, x, context)
}

fn sequence(
    layers: &[Layer],
    prefix: &str,
    p: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
) -> Result<Tensor> {
    let mut x = x.clone();
    let mut rest = layers.iter().enumerate().peekable();
    while let Some((i, step)) = rest.next() {
        let mut map = match step {
            Layer::UpsampleNearest { factor: 2 } if matches!(rest.peek(), Some((_, conv)) if is_same_conv3x3(conv)) =>
            {
                // One pass over the small map instead of two over the large one.
                rest.next();
                let weight = p.get(&format!("{prefix}{}.weight", i + 1))?;
                (i + 1, ops::upsample2x_conv3x3(&x, weight)?)
            }
            Layer::Conv2d {
                outputs: _,
                kernel,
                stride,
                padding,
                mask,
            } => {
                let mut weight = p.get(&format!("{prefix}{i}.weight"))?.clone();
                if let Some(mask) = mask {
                    let path = format!("{prefix}{i}");
                    let mask = p.constant(&path, || causal_mask(*mask, *kernel, &weight))?;
                    weight = weight.broadcast_mul(&mask)?;
                }
                (i, ops::conv2d(&x, &weight, *stride, *padding)?)
            }
            other => {
                x = layer(other, &format!("{prefix}{i}"), p, &x, context)?;
                continue;
            }
        };
        // Bias and activation in one pass.
        let act = match rest.peek() {
            Some((_, Layer::Activation(act))) => fused(*act),
            _ => None,
        };
        if act.is_some() {
            rest.next();
        }
        let bias = p.get(&format!("{prefix}{}.bias", map.0))?;
        map.1 = ops::bias_activate(&map.1, bias, act.unwrap_or(ops::Activation::Identity))?;
        x = map.1;
    }
    Ok(x)
}

fn is_same_conv3x3(layer: &Layer) -> bool {
    match layer {
        Layer::Conv2d {
            outputs: _,
            kernel,
            stride,
            padding,
            mask,
        } => *kernel == [3, 3] && *stride == 1 && *padding == Padding::all(1) && mask.is_none(),
        _ => false,
    }
}

/// The fast operation for an activation, if there is one.
fn fused(act: Act) -> Option<ops::Activation> {
    match act {
        Act::Relu => Some(ops::Activation::LeakyRelu(0.0)),
        Act::LeakyRelu { slope } => Some(ops::Activation::LeakyRelu(f64::from(slope))),
        Act::Elu => Some(ops::Activation::Elu),
        Act::Silu => Some(ops::Activation::Silu),
        Act::Tanh => Some(ops::Activation::Tanh),
        Act::Sigmoid => Some(ops::Activation::Sigmoid),
        Act::Softplus => Some(ops::Activation::Softplus),
        Act::Asinh => None,
    }
}

fn layer(
    layer: &Layer,
    path: &str,
    p: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
) -> Result<Tensor> {
    let tensor = |name: &str| p.get(&format!("{path}.{name}"));
    let branch = |(i, layers): (usize, &Vec<Layer>)| {
        sequence(layers, &format!("{path}.{i}."), p, x, context)
    };
    match layer {
        Layer::Linear {
            outputs: _,
            degrees,
        } => {
            let mut weight = tensor("weight")?.clone();
            if let Some(degrees) = degrees {
                let mask = p.constant(path, || degree_mask(degrees, &weight))?;
                weight = (&weight * mask)?;
            }
            x.matmul(&weight.t()?)?.broadcast_add(tensor("bias")?)
        }
        Layer::Conv2d { .. } => unreachable!("convolutions are lowered with their neighbours"),
        Layer::ConvTranspose2d {
            outputs: _,
            kernel: _,
            stride,
            padding,
        } => {
            let bias = tensor("bias")?;
            ops::conv_transpose2d(x, tensor("weight")?, *stride, *padding)?
                .broadcast_add(&bias.reshape((1, (), 1, 1))?)
        }
        Layer::DepthwiseConv2d {
            kernel: _,
            stride,
            padding,
        } => {
            let bias = tensor("bias")?;
            ops::depthwise_conv2d(x, tensor("weight")?, *stride, *padding)?
                .broadcast_add(&bias.reshape((1, (), 1, 1))?)
        }
        Layer::UpsampleNearest { factor } => {
            // candle's own upsampling has a wrong gradient where its input is used twice.
            let (b, c, h, w) = x.dims4()?;
            let f = *factor;
            let spread = x
                .reshape(&[b, c, h, 1, w, 1])?
                .broadcast_as(&[b, c, h, f, w, f])?;
            spread.contiguous()?.reshape((b, c, h * f, w * f))
        }
        Layer::Activation(act) => activation(*act, x),
        Layer::Scale(factor) => x * f64::from(*factor),
        Layer::GroupNorm { groups, epsilon } => {
            let (weight, bias) = (tensor("weight")?, tensor("bias")?);
            // A vector is a map of one pixel.
            let shape = x.shape().clone();
            let map = x.reshape((x.dim(0)?, x.dim(1)?, (), 1))?;
            ops::group_norm(&map, *groups, weight, bias, f64::from(*epsilon))?.reshape(shape)
        }
        Layer::LayerNorm { epsilon } => {
            let mean = x.mean_keepdim(1)?;
            let deviation = x.broadcast_sub(&mean)?;
            let variance = deviation.sqr()?.mean_keepdim(1)?;
            let normal = deviation.broadcast_div(&(variance + f64::from(*epsilon))?.sqrt()?)?;
            let mut per_feature = vec![1; x.rank()];
            per_feature[1] = x.dim(1)?;
            normal
                .broadcast_mul(&tensor("weight")?.reshape(per_feature.as_slice())?)?
                .broadcast_add(&tensor("bias")?.reshape(per_feature.as_slice())?)
        }
        Layer::Gate => {
            let half = x.dim(1)? / 2;
            x.narrow(1, 0, half)? * activation(Act::Sigmoid, &x.narrow(1, half, half)?)?
        }
        Layer::Reshape(shape) => {
            let b = x.dim(0)?;
            match *shape {
                Shape::Vector(n) => x.reshape((b, n)),
                Shape::Map {
                    channels,
                    height,
                    width,
                } => x.reshape((b, channels, height, width)),
            }
        }
        Layer::AppendContext => {
            let Some(context) = context else {
                candle_core::bail!("{path}: the net has no context");
            };
            if x.rank() == 2 {
                return Tensor::cat(&[x, context], 1);
            }
            let (b, _, h, w) = x.dims4()?;
            let k = context.dim(1)?;
            let planes = context.reshape((b, k, 1, 1))?.broadcast_as((b, k, h, w))?;
            Tensor::cat(&[x, &planes.contiguous()?], 1)
        }
        Layer::ConcatElu => {
            let both = Tensor::cat(&[x, &x.neg()?], 1)?;
            ops::activate(&both, ops::Activation::Elu)
        }
        Layer::BipolarElu => {
            let features = x.dim(1)?;
            let signs: Vec<f32> = (0..features)
                .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
                .collect();
            let mut per_feature = vec![1; x.rank()];
            per_feature[1] = features;
            let signs = p.constant(path, || {
                Tensor::from_vec(signs, per_feature, x.device())?.to_dtype(x.dtype())
            })?;
            let elu = ops::activate(&x.broadcast_mul(&signs)?, ops::Activation::Elu)?;
            elu.broadcast_mul(&signs)
        }
        Layer::AppendOnes => {
            let mut dims = x.dims().to_vec();
            dims[1] = 1;
            Tensor::cat(&[x, &Tensor::ones(dims, x.dtype(), x.device())?], 1)
        }
        Layer::Shift { down, right } => {
            let (_, _, height, width) = x.dims4()?;
            let kept = x.narrow(2, 0, height - down)?.narrow(3, 0, width - right)?;
            kept.pad_with_zeros(2, *down, 0)?
                .pad_with_zeros(3, *right, 0)?
                .contiguous()
        }
        Layer::Slice { start, len } => x.narrow(1, *start, *len)?.contiguous(),
        Layer::Sum(branches) => {
            let mut terms = branches.iter().enumerate().map(branch);
            let first = terms.next().expect("a checked spec has a branch")?;
            terms.try_fold(first, |sum, term| sum + term?)
        }
        Layer::Concat(branches) => {
            let parts = branches
                .iter()
                .enumerate()
                .map(branch)
                .collect::<Result<Vec<_>>>()?;
            Tensor::cat(&parts, 1)
        }
    }
}

fn activation(act: Act, x: &Tensor) -> Result<Tensor> {
    if let Some(fast) = fused(act) {
        return ops::activate(x, fast);
    }
    match act {
        Act::Asinh => {
            // |x| = sign x with the sign a constant, so that the gradient at 0 is 1.
            let sign = (x.ge(0.0)?.to_dtype(x.dtype())? * 2.0)?.affine(1.0, -1.0)?;
            let size = (x * &sign)?;
            let root = (x.sqr()? + 1.0)?.sqrt()?;
            sign * (size + root)?.log()?
        }
        Act::Relu
        | Act::LeakyRelu { .. }
        | Act::Elu
        | Act::Silu
        | Act::Tanh
        | Act::Sigmoid
        | Act::Softplus => {
            unreachable!("has a fast operation")
        }
    }
}

fn degree_mask(degrees: &Degrees, like: &Tensor) -> Result<Tensor> {
    let sees = |(o, i): (&u32, &u32)| if i <= o { 1f32 } else { 0.0 };
    let mask: Vec<f32> = degrees
        .output
        .iter()
        .flat_map(|o| degrees.input.iter().map(move |i| sees((o, i))))
        .collect();
    Tensor::from_vec(mask, like.shape(), like.device())?.to_dtype(like.dtype())
}

fn causal_mask(mask: CausalMask, kernel: [usize; 2], like: &Tensor) -> Result<Tensor> {
    let keep: Vec<f32> = (0..kernel[0] * kernel[1])
        .map(|i| {
            if mask.keeps(kernel, i / kernel[1], i % kernel[1]) {
                1.0
            } else {
                0.0
            }
        })
        .collect();
    Tensor::from_vec(keep, (1, 1, kernel[0], kernel[1]), like.device())?.to_dtype(like.dtype())
}
