//! A network on one vector in f64, with the derivatives of its outputs along several directions at once (forward-mode
//! differentiation): every value is followed by its derivatives.

use crate::error::LoadError;
use crate::weights::Weights;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use galgen_core::math::act::{Act, sigmoid};
use galgen_core::spec::{Layer, Net, Shape, SpecError};

/// A net whose values are held `lanes` wide: 1 for themselves, the rest for derivatives.
#[derive(Clone, Debug)]
pub(super) struct DualNet {
    lanes: usize,
    input: usize,
    steps: Vec<Step>,
    /// Where the outputs stand.
    output: Place,
    scratch: usize,
    parameters: usize,
}

/// Features that stand one after the other, each `lanes` wide.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    len: usize,
}

#[derive(Clone, Debug)]
struct Step {
    kind: Kind,
    from: Place,
    to: Place,
}

#[derive(Clone, Debug)]
enum Kind {
    Linear { weight: Vec<f64>, bias: Vec<f64> },
    Act(Act),
    Scale(f64),
    Gate,
    Context,
    Copy,
    Add,
}

impl DualNet {
    /// The net whose tensors are under `prefix`, with derivatives along so many directions.
    pub fn new(
        net: &Net,
        directions: usize,
        prefix: &str,
        weights: &Weights,
    ) -> Result<Self, LoadError> {
        let lanes = 1 + directions;
        let input = Place {
            start: 0,
            len: net.input.len(),
        };
        let mut build = Build {
            weights,
            prefix,
            context: net.context,
            steps: Vec::new(),
            features: input.len,
            parameters: 0,
        };
        let output = build.sequence(&net.layers, input, "")?;
        Ok(DualNet {
            lanes,
            input: input.len,
            output,
            scratch: build.features * lanes,
            parameters: build.parameters,
            steps: build.steps,
        })
    }

    /// f64 numbers of scratch.
    pub fn scratch_len(&self) -> usize {
        self.scratch
    }

    /// Operations of a run, about.
    pub fn work(&self) -> u64 {
        (2 * self.parameters as u64 + self.scratch as u64).saturating_mul(self.lanes as u64)
    }

    /// The part of the scratch that takes the inputs: each value followed by its derivatives.
    pub fn inputs<'a>(&self, scratch: &'a mut [f64]) -> &'a mut [f64] {
        &mut scratch[..self.input * self.lanes]
    }

    /// Runs the net on the inputs in `scratch`; returns the outputs, each followed by its derivatives. The context
    /// has no derivatives.
    pub fn run<'a>(&self, context: &[f64], scratch: &'a mut [f64]) -> &'a [f64] {
        let lanes = self.lanes;
        for step in &self.steps {
            // Every step writes behind what it reads, except those that add to what is there.
            let (before, after) = scratch.split_at_mut(step.to.start * lanes);
            let to = &mut after[..step.to.len * lanes];
            let from = &before[step.from.start * lanes..(step.from.start + step.from.len) * lanes];
            step.kind.run(from, context, to, lanes);
        }
        let out = self.output;
        &scratch[out.start * lanes..(out.start + out.len) * lanes]
    }
}

impl Kind {
    fn run(&self, from: &[f64], context: &[f64], to: &mut [f64], lanes: usize) {
        let pairs = to.chunks_exact_mut(lanes).zip(from.chunks_exact(lanes));
        match self {
            Kind::Linear { weight, bias } => {
                let inputs = from.len() / lanes;
                let rows = weight.chunks_exact(inputs).zip(bias);
                for (to, (row, &bias)) in to.chunks_exact_mut(lanes).zip(rows) {
                    to.fill(0.0);
                    to[0] = bias;
                    for (w, from) in row.iter().zip(from.chunks_exact(lanes)) {
                        for (to, v) in to.iter_mut().zip(from) {
                            *to += w * v;
                        }
                    }
                }
            }
            Kind::Act(act) => {
                for (to, from) in pairs {
                    let slope = act.derivative(from[0]);
                    to[0] = act.eval(from[0]);
                    for (to, v) in to[1..].iter_mut().zip(&from[1..]) {
                        *to = slope * v;
                    }
                }
            }
            Kind::Scale(factor) => {
                for (to, v) in to.iter_mut().zip(from) {
                    *to = factor * v;
                }
            }
            Kind::Gate => {
                let (a, b) = from.split_at(from.len() / 2);
                let halves = a.chunks_exact(lanes).zip(b.chunks_exact(lanes));
                for (to, (a, b)) in to.chunks_exact_mut(lanes).zip(halves) {
                    let (s, slope) = (sigmoid(b[0]), Act::Sigmoid.derivative(b[0]));
                    to[0] = a[0] * s;
                    for (to, (da, db)) in to[1..].iter_mut().zip(a[1..].iter().zip(&b[1..])) {
                        *to = da * s + a[0] * slope * db;
                    }
                }
            }
            Kind::Context => {
                to.fill(0.0);
                for (to, &c) in to.chunks_exact_mut(lanes).zip(context) {
                    to[0] = c;
                }
            }
            Kind::Copy => to.copy_from_slice(from),
            Kind::Add => {
                for (to, v) in to.iter_mut().zip(from) {
                    *to += v;
                }
            }
        }
    }
}

struct Build<'a> {
    weights: &'a Weights<'a>,
    prefix: &'a str,
    context: usize,
    steps: Vec<Step>,
    /// Features that have a place.
    features: usize,
    parameters: usize,
}

impl Build<'_> {
    fn place(&mut self, len: usize) -> Place {
        let start = self.features;
        self.features += len;
        Place { start, len }
    }

    fn push(&mut self, kind: Kind, from: Place, to: Place) -> Place {
        self.steps.push(Step { kind, from, to });
        to
    }

    fn sequence(&mut self, layers: &[Layer], start: Place, stem: &str) -> Result<Place, LoadError> {
        let mut value = start;
        for (i, layer) in layers.iter().enumerate() {
            value = self.layer(layer, value, &format!("{stem}{i}"))?;
        }
        Ok(value)
    }

    fn layer(&mut self, layer: &Layer, value: Place, path: &str) -> Result<Place, LoadError> {
        let same = |kind: Kind, build: &mut Self| {
            let to = build.place(value.len);
            Ok(build.push(kind, value, to))
        };
        match layer {
            Layer::Linear { outputs, degrees } => {
                let n = value.len;
                let tensor = |name: &str| format!("{}.{path}.{name}", self.prefix);
                let mut weight = Vec::with_capacity(n * outputs);
                self.weights.rows(&tensor("weight"), n, &mut |mut rows| {
                    if let Some(degrees) = degrees {
                        rows.each(|output, row| degrees.mask(output, row));
                    }
                    weight.extend(rows.values.iter().map(|&w| f64::from(w)));
                })?;
                let bias = self.weights.get(&tensor("bias"))?;
                let bias = bias.iter().map(|&b| f64::from(b)).collect();
                self.parameters += weight.len();
                let to = self.place(*outputs);
                Ok(self.push(Kind::Linear { weight, bias }, value, to))
            }
            Layer::Activation(act) => same(Kind::Act(*act), self),
            Layer::Scale(factor) => same(Kind::Scale(f64::from(*factor)), self),
            Layer::Gate => {
                let to = self.place(value.len / 2);
                Ok(self.push(Kind::Gate, value, to))
            }
            Layer::AppendContext => {
                let whole = self.place(value.len + self.context);
                let (own, rest) = (
                    Place {
                        len: value.len,
                        ..whole
                    },
                    Place {
                        start: whole.start + value.len,
                        len: self.context,
                    },
                );
                self.push(Kind::Copy, value, own);
                self.push(Kind::Context, Place { len: 0, ..value }, rest);
                Ok(whole)
            }
            Layer::Slice { start, len } => Ok(Place {
                start: value.start + start,
                len: *len,
            }),
            Layer::Reshape(Shape::Vector(_)) => Ok(value),
            Layer::Sum(branches) => {
                let mut ends = Vec::new();
                for (b, branch) in branches.iter().enumerate() {
                    ends.push(self.sequence(branch, value, &format!("{path}.{b}."))?);
                }
                let total = self.place(ends[0].len);
                for (b, &end) in ends.iter().enumerate() {
                    let kind = if b == 0 { Kind::Copy } else { Kind::Add };
                    self.push(kind, end, total);
                }
                Ok(total)
            }
            Layer::Concat(branches) => {
                let mut ends = Vec::new();
                for (b, branch) in branches.iter().enumerate() {
                    ends.push(self.sequence(branch, value, &format!("{path}.{b}."))?);
                }
                let whole = self.place(ends.iter().map(|e| e.len).sum());
                let mut start = whole.start;
                for end in ends {
                    self.push(
                        Kind::Copy,
                        end,
                        Place {
                            start,
                            len: end.len,
                        },
                    );
                    start += end.len;
                }
                Ok(whole)
            }
            Layer::GroupNorm { .. }
            | Layer::LayerNorm { .. }
            | Layer::BipolarElu
            | Layer::ConvTranspose2d { .. }
            | Layer::DepthwiseConv2d { .. }
            | Layer::ConcatElu
            | Layer::AppendOnes
            | Layer::Shift { .. }
            | Layer::Conv2d { .. }
            | Layer::UpsampleNearest { .. }
            | Layer::Reshape(Shape::Map { .. }) => {
                let path: String = format!("{}.{path}", self.prefix);
                let problem = "not a layer of a velocity field: expected linear layers, activations, gates, sums and \
                               concatenations of vectors";
                Err(SpecError::new(&path, problem).into())
            }
        }
    }
}
