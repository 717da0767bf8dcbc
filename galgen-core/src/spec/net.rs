//! A network: its input, its layers, and what follows from them (shapes, tensors, checks).

use super::window::{spread, window};
use super::{Layer, Shape};
use crate::math::act::Act;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most elements that one activation of a net may have: 2^23, e.g. 128 channels of 256 x 256.
pub(super) const MAX_ELEMENTS: usize = 1 << 23;
/// Most layers and branches of a net, all depths together; a PixelCNN++ has about 1,500.
pub(super) const MAX_LAYERS: usize = 4096;
/// Most parameters of a net: 2^28, 1 GB of f32.
pub(super) const MAX_PARAMETERS: usize = 1 << 28;
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
        SpecError {
            layer: layer.to_string(),
            problem: problem.into(),
        }
    }
}

impl Net {
    /// Shape of the output; checks every layer.
    pub fn output(&self) -> Result<Shape, SpecError> {
        if self.input.is_empty() {
            return Err(SpecError::new("input", "has no elements"));
        }
        if self.input.len() > MAX_ELEMENTS {
            let found = self.input.len();
            let problem = format!("{found} elements, expected at most {MAX_ELEMENTS}");
            return Err(SpecError::new("input", problem));
        }
        let count = self.count();
        if count > MAX_LAYERS {
            let problem = format!("{count} layers and branches, expected at most {MAX_LAYERS}");
            return Err(SpecError::new("layers", problem));
        }
        sequence(
            &self.layers,
            self.input,
            self.context,
            "",
            &mut |_, _, _| (),
        )
    }

    /// Number of layers and branches, all depths together.
    pub(super) fn count(&self) -> usize {
        fn count(layers: &[Layer]) -> usize {
            let inner = |layer: &Layer| match layer {
                Layer::Sum(branches) | Layer::Concat(branches) => {
                    branches.iter().map(|b| 1 + count(b)).sum()
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
                | Layer::Slice { .. } => 0,
            };
            layers.len() + layers.iter().map(inner).sum::<usize>()
        }
        count(&self.layers)
    }

    /// The tensors of the net under `prefix`, in the order of the layers; at most 2^28 parameters.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<TensorSpec>, SpecError> {
        let mut tensors = Vec::new();
        sequence(
            &self.layers,
            self.input,
            self.context,
            "",
            &mut |path, layer, input| {
                layer_tensors(&format!("{prefix}.{path}"), layer, input, &mut tensors);
            },
        )?;
        // Before anyone allocates them.
        let count = |t: &TensorSpec| t.shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d));
        let parameters = tensors.iter().map(count).fold(0, usize::saturating_add);
        if parameters > MAX_PARAMETERS {
            let problem = format!("{parameters} parameters, expected at most {MAX_PARAMETERS}");
            return Err(SpecError::new(prefix, problem));
        }
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
                return Err(SpecError::new(
                    path,
                    format!("nested deeper than {MAX_DEPTH}"),
                ));
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
            Layer::Conv2d {
                outputs,
                kernel,
                stride,
                padding,
                mask: _,
            } => match window(input, *kernel, *stride, *padding) {
                Ok([height, width]) => Shape::Map {
                    channels: *outputs,
                    height,
                    width,
                },
                Err(problem) => return fail(problem),
            },
            Layer::DepthwiseConv2d {
                kernel,
                stride,
                padding,
            } => match window(input, *kernel, *stride, *padding) {
                Ok([height, width]) => Shape::Map {
                    channels: input.features(),
                    height,
                    width,
                },
                Err(problem) => return fail(problem),
            },
            Layer::ConvTranspose2d {
                outputs,
                kernel,
                stride,
                padding,
            } => match spread(input, *kernel, *stride, *padding) {
                Ok([height, width]) => Shape::Map {
                    channels: *outputs,
                    height,
                    width,
                },
                Err(problem) => return fail(problem),
            },
            Layer::UpsampleNearest { factor } => {
                let Shape::Map {
                    channels,
                    height,
                    width,
                } = input
                else {
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
            Layer::Activation(act) => {
                if let Act::LeakyRelu { slope } = act
                    && !slope.is_finite()
                {
                    return fail(format!("slope {slope} is not finite"));
                }
                input
            }
            Layer::Scale(factor) => {
                if !factor.is_finite() {
                    return fail(format!("scale {factor} is not finite"));
                }
                input
            }
            Layer::GroupNorm { groups, epsilon } => {
                let c = input.features();
                if *groups == 0 || !c.is_multiple_of(*groups) {
                    return fail(format!("{groups} groups do not divide {c} channels"));
                }
                if !(epsilon.is_finite() && *epsilon > 0.0) {
                    return fail(format!("epsilon {epsilon}, expected a positive number"));
                }
                input
            }
            Layer::LayerNorm { epsilon } => {
                if !(epsilon.is_finite() && *epsilon > 0.0) {
                    return fail(format!("epsilon {epsilon}, expected a positive number"));
                }
                input
            }
            Layer::Gate => {
                let c = input.features();
                if !c.is_multiple_of(2) {
                    return fail(format!("Gate needs an even number of features, found {c}"));
                }
                input.with_features(c / 2)
            }
            Layer::BipolarElu => {
                let c = input.features();
                if !c.is_multiple_of(2) {
                    return fail(format!(
                        "BipolarElu needs an even number of features, found {c}"
                    ));
                }
                input
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
            Layer::ConcatElu => input.with_features(input.features().saturating_mul(2)),
            Layer::AppendOnes => input.with_features(input.features().saturating_add(1)),
            Layer::Shift { down, right } => {
                let Shape::Map { height, width, .. } = input else {
                    return fail(format!("Shift needs a map, found {input:?}"));
                };
                if *down >= height || *right >= width {
                    return fail(format!(
                        "shift by {down} rows and {right} columns, expected fewer than {height} and {width}"
                    ));
                }
                input
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
        out.push(TensorSpec {
            name: format!("{path}.{name}"),
            shape,
            role,
        });
    };
    let c = input.features();
    match layer {
        Layer::Linear {
            outputs,
            degrees: _,
        } => {
            push(
                "weight",
                alloc::vec![*outputs, c],
                Role::Weight { fan_in: c },
            );
            push("bias", alloc::vec![*outputs], Role::Bias);
        }
        Layer::Conv2d {
            outputs, kernel, ..
        } => {
            let fan_in = c.saturating_mul(kernel[0]).saturating_mul(kernel[1]);
            push(
                "weight",
                alloc::vec![*outputs, c, kernel[0], kernel[1]],
                Role::Weight { fan_in },
            );
            push("bias", alloc::vec![*outputs], Role::Bias);
        }
        Layer::ConvTranspose2d {
            outputs,
            kernel,
            stride,
            ..
        } => {
            // Of the taps of a kernel, an output sees one in stride^2.
            let taps = kernel.map(|side| side.div_ceil(*stride));
            let fan_in = c.saturating_mul(taps[0]).saturating_mul(taps[1]);
            push(
                "weight",
                alloc::vec![c, *outputs, kernel[0], kernel[1]],
                Role::Weight { fan_in },
            );
            push("bias", alloc::vec![*outputs], Role::Bias);
        }
        Layer::DepthwiseConv2d { kernel, .. } => {
            let fan_in = kernel[0] * kernel[1];
            push(
                "weight",
                alloc::vec![c, 1, kernel[0], kernel[1]],
                Role::Weight { fan_in },
            );
            push("bias", alloc::vec![c], Role::Bias);
        }
        Layer::GroupNorm { .. } | Layer::LayerNorm { .. } => {
            push("weight", alloc::vec![c], Role::Gain);
            push("bias", alloc::vec![c], Role::Bias);
        }
        Layer::UpsampleNearest { .. }
        | Layer::Activation(_)
        | Layer::Scale(_)
        | Layer::Gate
        | Layer::ConcatElu
        | Layer::BipolarElu
        | Layer::Reshape(_)
        | Layer::AppendContext
        | Layer::AppendOnes
        | Layer::Shift { .. }
        | Layer::Slice { .. }
        | Layer::Sum(_)
        | Layer::Concat(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Degrees, Padding};
    use super::*;
    use alloc::vec;

    const VECTOR: Shape = Shape::Vector(6);
    const MAP: Shape = Shape::Map {
        channels: 4,
        height: 5,
        width: 7,
    };
    const HUGE: usize = usize::MAX;

    fn net(input: Shape, context: usize, layers: Vec<Layer>) -> Net {
        Net {
            input,
            context,
            layers,
        }
    }

    fn conv(kernel: [usize; 2], stride: usize, padding: usize, outputs: usize) -> Layer {
        let padding = Padding::all(padding);
        Layer::Conv2d {
            outputs,
            kernel,
            stride,
            padding,
            mask: None,
        }
    }

    #[test]
    fn shapes_follow_from_the_layers() {
        let map = |channels, height, width| Shape::Map {
            channels,
            height,
            width,
        };
        let relu = || vec![Layer::Activation(Act::Relu)];
        let cases = [
            (VECTOR, Layer::linear(3), Shape::Vector(3)),
            (MAP, Layer::conv(8, 3, 1), map(8, 5, 7)),
            (MAP, Layer::conv(8, 3, 2), map(8, 3, 4)),
            (MAP, conv([5, 7], 1, 0, 1), map(1, 1, 1)),
            (MAP, Layer::UpsampleNearest { factor: 3 }, map(4, 15, 21)),
            (VECTOR, Layer::Gate, Shape::Vector(3)),
            (MAP, Layer::Gate, map(2, 5, 7)),
            (MAP, Layer::Reshape(Shape::Vector(140)), Shape::Vector(140)),
            (MAP, Layer::AppendContext, map(6, 5, 7)),
            (VECTOR, Layer::Slice { start: 2, len: 4 }, Shape::Vector(4)),
            (
                MAP,
                Layer::GroupNorm {
                    groups: 2,
                    epsilon: 1e-5,
                },
                MAP,
            ),
            (MAP, Layer::Scale(-2.0), MAP),
            (MAP, Layer::residual(relu()), MAP),
            (
                MAP,
                Layer::Concat(vec![vec![], relu(), vec![Layer::Gate]]),
                map(10, 5, 7),
            ),
        ];
        for (input, layer, expected) in cases {
            let found = net(input, 2, vec![layer.clone()]).output();
            assert_eq!(found, Ok(expected), "{layer:?}");
        }
    }

    #[test]
    fn every_contradiction_is_named() {
        let degrees = Degrees {
            input: vec![1; 6],
            output: vec![1; 2],
        };
        let norm = |groups, epsilon| Layer::GroupNorm { groups, epsilon };
        let slice = |start, len| Layer::Slice { start, len };
        let cases = [
            (MAP, Layer::linear(3), "needs a vector"),
            (
                VECTOR,
                Layer::Linear {
                    outputs: 3,
                    degrees: Some(degrees),
                },
                "degrees for 6 inputs and 2",
            ),
            (VECTOR, Layer::linear(0), "0 elements"),
            (VECTOR, Layer::linear(HUGE), "elements"),
            (VECTOR, Layer::conv(1, 3, 1), "needs a map"),
            (MAP, conv([0, 3], 1, 0, 1), "must be 1 or more"),
            (MAP, conv([3, 3], 0, 0, 1), "must be 1 or more"),
            (MAP, conv([3, 3], 1, 3, 1), "smaller than the kernel"),
            (MAP, conv([HUGE, 3], 1, HUGE - 1, 1), "sides of at most 64"),
            (MAP, conv([6, 3], 1, 0, 1), "larger than the padded map"),
            (VECTOR, Layer::UpsampleNearest { factor: 2 }, "needs a map"),
            (
                MAP,
                Layer::UpsampleNearest { factor: 1 },
                "expected 2 or more",
            ),
            (MAP, Layer::UpsampleNearest { factor: HUGE }, "elements"),
            (MAP, Layer::Scale(f32::NAN), "not finite"),
            (MAP, norm(0, 1e-5), "do not divide"),
            (MAP, norm(3, 1e-5), "do not divide"),
            (MAP, norm(2, 0.0), "expected a positive number"),
            (Shape::Vector(5), Layer::Gate, "even number"),
            (MAP, Layer::Reshape(Shape::Vector(139)), "cannot reshape"),
            (VECTOR, Layer::AppendContext, "without context"),
            (VECTOR, slice(0, 0), "slice of 0"),
            (VECTOR, slice(3, 4), "slice of 4 from 3"),
            (VECTOR, slice(HUGE, 2), "slice of 2"),
            (VECTOR, Layer::Sum(vec![]), "has no branches"),
            (
                VECTOR,
                Layer::residual(vec![Layer::linear(5)]),
                "cannot add",
            ),
            (
                MAP,
                Layer::Concat(vec![vec![], vec![Layer::conv(4, 3, 2)]]),
                "cannot concatenate",
            ),
        ];
        for (input, layer, problem) in cases {
            let error = net(input, 0, vec![Layer::Scale(1.0), layer.clone()])
                .output()
                .unwrap_err();
            assert_eq!(error.layer, "1", "{layer:?}: {error}");
            assert!(error.problem.contains(problem), "{layer:?}: {error}");
        }
        let empty = net(Shape::Vector(0), 0, vec![]).output().unwrap_err();
        assert_eq!(
            (empty.layer.as_str(), empty.problem.as_str()),
            ("input", "has no elements")
        );
        let inner = vec![Layer::Sum(vec![
            vec![],
            vec![Layer::Scale(1.0), Layer::Gate],
        ])];
        assert_eq!(
            net(Shape::Vector(5), 0, inner).output().unwrap_err().layer,
            "0.1.1"
        );
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth| {
            let wrap = |layers, _| vec![Layer::Sum(vec![layers])];
            net(VECTOR, 0, (0..depth).fold(vec![Layer::Scale(1.0)], wrap)).output()
        };
        assert_eq!(nested(MAX_DEPTH), Ok(VECTOR));
        assert!(
            nested(MAX_DEPTH + 1)
                .unwrap_err()
                .problem
                .contains("nested deeper than 16")
        );
    }

    #[test]
    fn layers_and_branches_are_limited() {
        let found = |layers| net(VECTOR, 0, layers).output();
        let many = |n| vec![Layer::Scale(1.0); n];
        assert_eq!(found(many(MAX_LAYERS)), Ok(VECTOR));
        for layers in [
            many(MAX_LAYERS + 1),
            vec![Layer::Sum(vec![vec![]; MAX_LAYERS])],
            vec![Layer::residual(many(MAX_LAYERS))],
        ] {
            let error = found(layers).unwrap_err();
            assert!(error.problem.contains("expected at most 4096"), "{error}");
        }
    }

    #[test]
    fn parameters_are_limited() {
        let wide = |n| net(VECTOR, 0, vec![Layer::linear(n), Layer::linear(n)]);
        let tensors = wide(64).tensors("net").unwrap();
        let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(
            names,
            ["net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias"]
        );
        assert_eq!(tensors[2].shape, [64, 64]);
        let error = wide(1 << 20).tensors("net").unwrap_err();
        assert!(
            error.problem.contains("expected at most 268435456"),
            "{error}"
        );
    }
}
