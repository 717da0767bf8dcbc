//! What the tests of the engine share: random weights, and a net evaluated by plain loops in f64.
#![allow(dead_code)]

use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{Layer, Net, Role, Shape, TensorSpec};
use galgen_infer::kernels::Simd;
use galgen_infer::lower::Plan;
use galgen_infer::weights::Weights;

/// A seeded generator.
pub fn rng(seed: u64) -> Philox {
    Philox::new(seed, 0, Stream::Training)
}

/// Standard normal numbers.
pub fn normals(rng: &mut Philox, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// Random weights; with `size` 1 they keep activations of order one.
pub fn random_weights(tensors: &[TensorSpec], rng: &mut Philox, size: f32) -> Weights<'static> {
    Weights::from_values(tensors.iter().map(|t| {
        let (mean, sigma) = match t.role {
            Role::Weight { fan_in } => (0.0, 1.0 / (fan_in as f64).sqrt()),
            Role::Bias => (0.0, 0.3),
            Role::Gain => (1.0, 0.3),
        };
        let n = t.shape.iter().product();
        let values = (0..n)
            .map(|_| (mean + f64::from(size) * sigma * rng.normal()) as f32)
            .collect();
        (t.name.clone(), t.shape.clone(), values)
    }))
}

/// One run of a net, all memory allocated for it and filled with NaN.
pub fn run(net: &Net, weights: &Weights, simd: Simd, input: &[f32], context: &[f32]) -> Vec<f32> {
    let plan = Plan::new(net, "net", weights, simd).expect("a valid net");
    let mut output = vec![f32::NAN; plan.output().len()];
    let mut scratch = vec![f32::NAN; plan.scratch_len()];
    plan.run(input, context, &mut output, &mut scratch);
    output
}

/// A value in row-major order, planes for maps.
#[derive(Clone)]
pub struct Value {
    pub shape: Shape,
    pub data: Vec<f64>,
}

fn extents(shape: Shape) -> (usize, usize, usize) {
    match shape {
        Shape::Vector(n) => (n, 1, 1),
        Shape::Map {
            channels,
            height,
            width,
        } => (channels, height, width),
    }
}

/// `net` on one item, layer by layer, each by its definition.
pub fn reference(net: &Net, weights: &Weights, input: &[f32], context: &[f32]) -> Vec<f64> {
    let data = input.iter().map(|&v| f64::from(v)).collect();
    sequence(
        &net.layers,
        "net.",
        Value {
            shape: net.input,
            data,
        },
        context,
        weights,
    )
    .data
}

fn sequence(layers: &[Layer], prefix: &str, value: Value, context: &[f32], w: &Weights) -> Value {
    let step = |v, (i, l): (usize, &Layer)| layer(l, &format!("{prefix}{i}"), v, context, w);
    layers.iter().enumerate().fold(value, step)
}

fn layer(layer: &Layer, path: &str, x: Value, context: &[f32], weights: &Weights) -> Value {
    let shape = layer
        .output(x.shape, context.len(), path)
        .expect("a valid layer");
    let tensor = |name: &str| -> Vec<f64> {
        let values = weights.get(&format!("{path}.{name}"));
        let values = values.expect("a tensor of the net");
        values.iter().map(|&v| f64::from(v)).collect()
    };
    let (c, h, w) = extents(x.shape);
    let (co, ho, wo) = extents(shape);
    let plane = h * w;
    let data = match layer {
        Layer::Linear { outputs, degrees } => {
            let (weight, bias) = (tensor("weight"), tensor("bias"));
            (0..*outputs)
                .map(|o| {
                    let mut sum = bias[o];
                    for i in 0..c {
                        if degrees.as_ref().is_none_or(|d| d.input[i] <= d.output[o]) {
                            sum += weight[o * c + i] * x.data[i];
                        }
                    }
                    sum
                })
                .collect()
        }
        Layer::Conv2d {
            kernel: [kh, kw],
            stride,
            padding,
            mask,
            ..
        } => {
            let (weight, bias) = (tensor("weight"), tensor("bias"));
            let mut out = Vec::new();
            for o in 0..co {
                for y in 0..ho {
                    for xx in 0..wo {
                        let mut sum = bias[o];
                        for i in 0..c {
                            for ky in 0..*kh {
                                for kx in 0..*kw {
                                    if mask.is_some_and(|m| !m.keeps([*kh, *kw], ky, kx)) {
                                        continue;
                                    }
                                    let sy = (y * stride + ky) as isize - padding.top as isize;
                                    let sx = (xx * stride + kx) as isize - padding.left as isize;
                                    if (0..h as isize).contains(&sy)
                                        && (0..w as isize).contains(&sx)
                                    {
                                        let at = i * plane + sy as usize * w + sx as usize;
                                        sum +=
                                            weight[((o * c + i) * kh + ky) * kw + kx] * x.data[at];
                                    }
                                }
                            }
                        }
                        out.push(sum);
                    }
                }
            }
            out
        }
        Layer::DepthwiseConv2d {
            kernel: [kh, kw],
            stride,
            padding,
        } => {
            let (weight, bias) = (tensor("weight"), tensor("bias"));
            let term = |ch: usize, y: usize, xx: usize, tap: usize| {
                let sy = (y * stride + tap / kw).checked_sub(padding.top);
                let sx = (xx * stride + tap % kw).checked_sub(padding.left);
                match (sy, sx) {
                    (Some(sy), Some(sx)) if sy < h && sx < w => {
                        weight[ch * kh * kw + tap] * x.data[ch * plane + sy * w + sx]
                    }
                    _ => 0.0,
                }
            };
            (0..shape.len())
                .map(|at| {
                    let (ch, y, xx) = (at / (ho * wo), at / wo % ho, at % wo);
                    bias[ch] + (0..kh * kw).map(|t| term(ch, y, xx, t)).sum::<f64>()
                })
                .collect()
        }
        Layer::ConvTranspose2d {
            kernel: [kh, kw],
            stride,
            padding,
            ..
        } => {
            // Which input pixels an output sees, where the referee of the other tests scatters.
            let (weight, bias) = (tensor("weight"), tensor("bias"));
            let source = |out: usize, cut: usize, tap: usize, side: usize| {
                let at = (out + cut).checked_sub(tap)?;
                (at % stride == 0 && at / stride < side).then_some(at / stride)
            };
            (0..shape.len())
                .map(|at| {
                    let (o, y, xx) = (at / (ho * wo), at / wo % ho, at % wo);
                    let mut sum = bias[o];
                    for tap in 0..kh * kw {
                        let sy = source(y, padding.top, tap / kw, h);
                        let sx = source(xx, padding.left, tap % kw, w);
                        if let (Some(sy), Some(sx)) = (sy, sx) {
                            for i in 0..c {
                                let factor = weight[(i * co + o) * kh * kw + tap];
                                sum += factor * x.data[i * plane + sy * w + sx];
                            }
                        }
                    }
                    sum
                })
                .collect()
        }
        Layer::UpsampleNearest { factor } => (0..shape.len())
            .map(|at| {
                let (ch, y, xx) = (at / (ho * wo), at / wo % ho, at % wo);
                x.data[ch * plane + y / factor * w + xx / factor]
            })
            .collect(),
        Layer::Activation(act) => x.data.iter().map(|&v| act.eval(v)).collect(),
        Layer::Scale(s) => x.data.iter().map(|&v| v * f64::from(*s)).collect(),
        Layer::GroupNorm { groups, epsilon } => {
            let (weight, bias) = (tensor("weight"), tensor("bias"));
            let size = c / groups * plane;
            let mut out = Vec::new();
            for (g, group) in x.data.chunks(size).enumerate() {
                let mean = group.iter().sum::<f64>() / size as f64;
                let variance = group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / size as f64;
                for (i, v) in group.iter().enumerate() {
                    let ch = g * (c / groups) + i / plane;
                    out.push(
                        (v - mean) / (variance + f64::from(*epsilon)).sqrt() * weight[ch]
                            + bias[ch],
                    );
                }
            }
            out
        }
        Layer::LayerNorm { epsilon } => {
            let (weight, bias) = (tensor("weight"), tensor("bias"));
            let mut out = x.data.clone();
            for pixel in 0..plane {
                let at = |ch: usize| ch * plane + pixel;
                let mean = (0..c).map(|ch| x.data[at(ch)]).sum::<f64>() / c as f64;
                let square = |ch: usize| (x.data[at(ch)] - mean).powi(2);
                let variance = (0..c).map(square).sum::<f64>() / c as f64;
                for ch in 0..c {
                    let normal = (x.data[at(ch)] - mean) / (variance + f64::from(*epsilon)).sqrt();
                    out[at(ch)] = normal * weight[ch] + bias[ch];
                }
            }
            out
        }
        Layer::Gate => {
            let (a, b) = x.data.split_at(x.data.len() / 2);
            a.iter()
                .zip(b)
                .map(|(a, b)| a / (1.0 + (-b).exp()))
                .collect()
        }
        Layer::Reshape(_) => x.data,
        Layer::AppendContext => {
            let planes = context
                .iter()
                .flat_map(|&v| std::iter::repeat_n(f64::from(v), plane));
            x.data.iter().copied().chain(planes).collect()
        }
        Layer::ConcatElu => {
            let both = x.data.iter().copied().chain(x.data.iter().map(|v| -v));
            both.map(|v| galgen_core::math::act::Act::Elu.eval(v))
                .collect()
        }
        Layer::BipolarElu => {
            let sign = |at: usize| {
                if (at / plane).is_multiple_of(2) {
                    1.0
                } else {
                    -1.0
                }
            };
            let elu = |v: f64| galgen_core::math::act::Act::Elu.eval(v);
            let bipolar = x.data.iter().enumerate();
            bipolar
                .map(|(at, v)| sign(at) * elu(sign(at) * v))
                .collect()
        }
        Layer::AppendOnes => [x.data, vec![1.0; plane]].concat(),
        Layer::Shift { down, right } => (0..shape.len())
            .map(|at| {
                let (y, xx) = (at / wo % ho, at % wo);
                let inside = y >= *down && xx >= *right;
                if inside {
                    x.data[at - down * wo - right]
                } else {
                    0.0
                }
            })
            .collect(),
        Layer::Slice { start, len } => x.data[start * plane..(start + len) * plane].to_vec(),
        Layer::Sum(branches) => {
            let mut total = vec![0.0; shape.len()];
            for (b, layers) in branches.iter().enumerate() {
                let term = sequence(layers, &format!("{path}.{b}."), x.clone(), context, weights);
                total.iter_mut().zip(term.data).for_each(|(t, v)| *t += v);
            }
            total
        }
        Layer::Concat(branches) => branches
            .iter()
            .enumerate()
            .flat_map(|(b, l)| {
                sequence(l, &format!("{path}.{b}."), x.clone(), context, weights).data
            })
            .collect(),
    };
    Value { shape, data }
}

/// Largest difference from the f64 reference, relative to the largest output: f32 rounding of a sum
/// of up to a few thousand terms of order one through a few layers.
pub const TOLERANCE: f64 = 3e-6;

/// Checks one net with random weights and input on every level.
pub fn check(net: &Net, seed: u64) {
    let mut rng = rng(seed);
    let weights = random_weights(&net.tensors("net").expect("valid"), &mut rng, 1.0);
    let input = normals(&mut rng, net.input.len());
    let context = normals(&mut rng, net.context);
    let want = reference(net, &weights, &input, &context);
    let scalar = run(net, &weights, Simd::Scalar, &input, &context);
    let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (got, want)) in scalar.iter().zip(&want).enumerate() {
        let error = (f64::from(*got) - want).abs() / scale;
        assert!(
            error <= TOLERANCE,
            "element {i}: {got}, expected {want}\n{net:?}"
        );
    }
    for simd in Simd::available() {
        let other = run(net, &weights, simd, &input, &context);
        let same = scalar
            .iter()
            .zip(&other)
            .all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{} differs from scalar\n{net:?}", simd.name());
    }
}

pub fn net(input: Shape, context: usize, layers: Vec<Layer>) -> Net {
    Net {
        input,
        context,
        layers,
    }
}

pub fn pick(rng: &mut Philox, from: &[usize]) -> usize {
    from[rng.below(from.len() as u32) as usize]
}

pub fn map(rng: &mut Philox) -> Shape {
    let channels = pick(rng, &[1, 2, 3, 5, 8, 17, 34]);
    let side = |rng: &mut Philox| 1 + rng.below(13) as usize;
    Shape::Map {
        channels,
        height: side(rng),
        width: side(rng),
    }
}
