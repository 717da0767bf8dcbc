//! A network: its input, its layers, and what follows from them (shapes, tensors, checks).

use super::{Layer, Shape};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most elements that one activation of a net may have: 2^26, 256 MB of f32.
const MAX_ELEMENTS: usize = 1 << 26;
/// Deepest nesting of composite layers.
const MAX_DEPTH: usize = 16;

/// A network on one item: `input` and a context vector to the shape after the last layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Shape of the input.
    pub input: Shape,
    /// Length of the context vector, 0 for none.
    pub context: usize,
    /// Applied in order.
    pub layers: Vec<Layer>,
}

/// What a tensor is for, from which training takes its initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weights with this many inputs per output.
    Weight {
        /// Inputs per output.
        fan_in: usize,
    },
    /// An additive term, initially 0.
    Bias,
    /// A multiplicative term, initially 1.
    Gain,
}

/// Name and shape of a tensor that a spec needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Prefix and path: layer index, and for composites branch index and so on, e.g. `decoder.3.1.0.weight`.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// A spec that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer {layer}: {problem}")]
pub struct SpecError {
    /// Path of the layer, as in the tensor names.
    pub layer: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl SpecError {
    /// An error at `layer`.
    pub fn new(layer: &str, problem: impl Into<String>) -> Self {
        SpecError { layer: layer.to_string(), problem: problem.into() }
    }
}

impl Net {
    /// Shape of the output; checks every layer.
    pub fn output(&self) -> Result<Shape, SpecError> {
        if self.input.is_empty() {
            return Err(SpecError::new("input", "has no elements"));
        }
        sequence(&self.layers, self.input, self.context, "", &mut |_, _, _| ())
    }

    /// The tensors of the net under `prefix`, in the order of the layers.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<TensorSpec>, SpecError> {
        let mut tensors = Vec::new();
        sequence(&self.layers, self.input, self.context, "", &mut |path, layer, input| {
            layer_tensors(&format!("{prefix}.{path}"), layer, input, &mut tensors);
        })?;
        Ok(tensors)
    }
}

impl Layer {
    /// Shape of the output on `input`, with `context` values of context; `path` names the layer in
    /// errors.
    pub fn output(&self, input: Shape, context: usize, path: &str) -> Result<Shape, SpecError> {
        self.walk(input, context, path, &mut |_, _, _| ())
    }

    /// Checks the layer and its branches, calling `visit` with (path, layer, input shape) for each.
    fn walk(
        &self,
        input: Shape,
        context: usize,
        path: &str,
        visit: &mut dyn FnMut(&str, &Layer, Shape),
    ) -> Result<Shape, SpecError> {
        visit(path, self, input);
        let fail = |problem: String| Err(SpecError::new(path, problem));
        let branches = |branches: &[Vec<Layer>],
                        visit: &mut dyn FnMut(&str, &Layer, Shape)|
         -> Result<Vec<Shape>, SpecError> {
            if path.matches('.').count() / 2 >= MAX_DEPTH {
                return Err(SpecError::new(path, format!("nested deeper than {MAX_DEPTH}")));
            }
            if branches.is_empty() {
                return Err(SpecError::new(path, "has no branches"));
            }
            let run = |(i, b): (usize, &Vec<Layer>)| {
                sequence(b, input, context, &format!("{path}.{i}."), visit)
            };
            branches.iter().enumerate().map(run).collect()
        };
        let output = match self {
            Layer::Linear { outputs, degrees } => {
                let Shape::Vector(n) = input else {
                    return fail(format!("Linear needs a vector, found {input:?}"));
                };
                if let Some(d) = degrees
                    && (d.input.len(), d.output.len()) != (n, *outputs)
                {
                    return fail(format!(
                        "degrees for {} inputs and {} outputs, expected {n} and {outputs}",
                        d.input.len(),
                        d.output.len()
                    ));
                }
                Shape::Vector(*outputs)
            }
            Layer::Conv2d { outputs, kernel, stride, padding, mask: _ } => {
                let Shape::Map { height, width, .. } = input else {
                    return fail(format!("Conv2d needs a map, found {input:?}"));
                };
                if *stride == 0 || kernel.contains(&0) {
                    return fail(format!("kernel {kernel:?} and stride {stride} must be 1 or more"));
                }
                let p = padding;
                if [p.top, p.bottom].iter().any(|&p| p >= kernel[0])
                    || [p.left, p.right].iter().any(|&p| p >= kernel[1])
                {
                    return fail(format!("padding {p:?} must be smaller than the kernel {kernel:?}"));
                }
                let (h, w) = (height + p.top + p.bottom, width + p.left + p.right);
                if h < kernel[0] || w < kernel[1] {
                    return fail(format!("kernel {kernel:?} is larger than the padded map {h} x {w}"));
                }
                Shape::Map {
                    channels: *outputs,
                    height: (h - kernel[0]) / stride + 1,
                    width: (w - kernel[1]) / stride + 1,
                }
            }
            Layer::UpsampleNearest { factor } => {
                let Shape::Map { channels, height, width } = input else {
                    return fail(format!("UpsampleNearest needs a map, found {input:?}"));
                };
                if *factor < 2 {
                    return fail(format!("factor {factor}, expected 2 or more"));
                }
                Shape::Map {
                    channels,
                    height: height.saturating_mul(*factor),
                    width: width.saturating_mul(*factor),
                }
            }
            Layer::Activation(_) => input,
            Layer::Scale(factor) => {
                if !factor.is_finite() {
                    return fail(format!("scale {factor} is not finite"));
                }
                input
            }
            Layer::GroupNorm { groups, epsilon } => {
                let c = input.features();
                if *groups == 0 || c % groups != 0 {
                    return fail(format!("{groups} groups do not divide {c} channels"));
                }
                if !(epsilon.is_finite() && *epsilon > 0.0) {
                    return fail(format!("epsilon {epsilon}, expected a positive number"));
                }
                input
            }
            Layer::Gate => {
                let c = input.features();
                if c % 2 != 0 {
                    return fail(format!("Gate needs an even number of features, found {c}"));
                }
                input.with_features(c / 2)
            }
            Layer::Reshape(shape) => {
                if shape.len() != input.len() {
                    return fail(format!("cannot reshape {input:?} to {shape:?}"));
                }
                *shape
            }
            Layer::AppendContext => {
                if context == 0 {
                    return fail("AppendContext in a net without context".into());
                }
                input.with_features(input.features().saturating_add(context))
            }
            Layer::Slice { start, len } => {
                let c = input.features();
                if *len == 0 || start.checked_add(*len).is_none_or(|end| end > c) {
                    return fail(format!("slice of {len} from {start}, found {c} features"));
                }
                input.with_features(*len)
            }
            Layer::Sum(b) => {
                let shapes = branches(b, visit)?;
                if let Some(other) = shapes.iter().find(|&&s| s != shapes[0]) {
                    return fail(format!("cannot add {other:?} to {:?}", shapes[0]));
                }
                shapes[0]
            }
            Layer::Concat(b) => {
                let shapes = branches(b, visit)?;
                let mut features = 0usize;
                for &s in &shapes {
                    if s.with_features(0) != shapes[0].with_features(0) {
                        return fail(format!("cannot concatenate {s:?} to {:?}", shapes[0]));
                    }
                    features = features.saturating_add(s.features());
                }
                shapes[0].with_features(features)
            }
        };
        if output.is_empty() || output.len() > MAX_ELEMENTS {
            return fail(format!(
                "output {output:?} has {} elements, expected 1 to {MAX_ELEMENTS}",
                output.len()
            ));
        }
        Ok(output)
    }
}

fn sequence(
    layers: &[Layer],
    input: Shape,
    context: usize,
    prefix: &str,
    visit: &mut dyn FnMut(&str, &Layer, Shape),
) -> Result<Shape, SpecError> {
    let mut shape = input;
    for (i, layer) in layers.iter().enumerate() {
        shape = layer.walk(shape, context, &format!("{prefix}{i}"), visit)?;
    }
    Ok(shape)
}

fn layer_tensors(path: &str, layer: &Layer, input: Shape, out: &mut Vec<TensorSpec>) {
    let mut push = |name: &str, shape: Vec<usize>, role| {
        out.push(TensorSpec { name: format!("{path}.{name}"), shape, role });
    };
    let c = input.features();
    match layer {
        Layer::Linear { outputs, degrees: _ } => {
            push("weight", alloc::vec![*outputs, c], Role::Weight { fan_in: c });
            push("bias", alloc::vec![*outputs], Role::Bias);
        }
        Layer::Conv2d { outputs, kernel, .. } => {
            let fan_in = c.saturating_mul(kernel[0]).saturating_mul(kernel[1]);
            push("weight", alloc::vec![*outputs, c, kernel[0], kernel[1]], Role::Weight { fan_in });
            push("bias", alloc::vec![*outputs], Role::Bias);
        }
        Layer::GroupNorm { .. } => {
            push("weight", alloc::vec![c], Role::Gain);
            push("bias", alloc::vec![c], Role::Bias);
        }
        Layer::UpsampleNearest { .. }
        | Layer::Activation(_)
        | Layer::Scale(_)
        | Layer::Gate
        | Layer::Reshape(_)
        | Layer::AppendContext
        | Layer::Slice { .. }
        | Layer::Sum(_)
        | Layer::Concat(_) => {}
    }
}
