//! From a [`Net`] to a [`Plan`]: static shapes, packed weights, fused steps, one arena.
//!
//! What lowering does beyond choosing a kernel for each layer:
//! - activations and scales run in the store of the convolution, product or normalisation before them;
//! - 3 x 3 convolutions of large maps run with 2.25 times fewer multiplications, those after an
//!   `UpsampleNearest(2)`, which is not carried out, with 4 times fewer (`kernels::winograd`);
//! - functions and 1 x 1 convolutions after an upsampling run before it;
//! - transposed convolutions are one convolution for each phase of the output (`transposed`);
//! - masks and degrees are folded into the weights; masked taps are not computed at all;
//! - a `Reshape` to a map after a `Linear` permutes the rows of the weights;
//! - sums run in the store of the convolution before them, and the parts of a concatenation are computed in their places (`fuse`);
//! - a value that a convolution reads next is written inside a frame of zeros, so no kernel tests for
//!   borders; slices are views;
//! - buffers whose lifetimes do not overlap share memory.

mod arena;
mod composite;
mod convolution;
mod frame;
mod fuse;
mod limits;
mod transposed;

use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::aligned::LINE;
use crate::kernels::conv::Conv;
use crate::kernels::depthwise::Depthwise;
use crate::kernels::elementary::Pointwise;
use crate::kernels::norm::{Norm, Over};
use crate::kernels::planes::PlaneConv;
use crate::kernels::view::View;
use crate::kernels::winograd::{Scheme, Winograd};
use crate::weights::Weights;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
pub(crate) use convolution::ConvSpec;
use convolution::{folds, pointwise_conv, runs_in_cells, runs_in_planes};
pub(crate) use frame::functions;
use frame::{NO_FRAME, covers, frame_wanted, of_any_feature};
use galgen_core::math::act::Act;
use galgen_core::spec::{Layer, Net, Padding, Shape};
pub(crate) use limits::Cost;
use transposed::Transposed;

/// A net ready to run. Immutable; any number of threads may run it, each with its own scratch.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) simd: Simd,
    pub(crate) input: usize,
    pub(crate) context: usize,
    pub(crate) steps: Vec<Step>,
    output: Shape,
    scratch: usize,
    flops: u64,
    cost: Cost,
}

/// One kernel call: `to` from `a` (and `b`).
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub op: Op,
    pub a: Place,
    pub b: Place,
    /// Added to what a convolution writes.
    pub added: Option<Place>,
    pub to: Place,
}

impl Step {
    /// Everything that it touches.
    fn places(&self) -> impl Iterator<Item = Place> {
        [self.a, self.b, self.to].into_iter().chain(self.added)
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let places = [&mut self.a, &mut self.b, &mut self.to];
        places.into_iter().chain(&mut self.added)
    }
}

/// A view of one of the buffers; once the plan is laid out, of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    buffer: usize,
    pub view: View,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// The caller's input, in planes, to `to`.
    Load,
    /// `a` to the caller's output, in planes.
    Store,
    /// The caller's context to all pixels of `to`.
    Context,
    /// 1 to all of `to`.
    Ones,
    Copy,
    /// Zeros between `a` and `to`.
    ClearFrame,
    Map(Vec<Pointwise>),
    Add,
    Gate,
    Upsample(usize),
    Norm(Box<Norm>),
    Conv(Box<Conv>),
    Depthwise(Box<Depthwise>),
    PlaneConv(Box<PlaneConv>),
    /// `b` is scratch.
    Winograd(Box<Winograd>),
}

impl Plan {
    /// Lowers `net`, whose tensors are those of `weights` under `prefix`. A net that takes far more
    /// memory or time than its parameters explain is refused.
    pub fn new(net: &Net, prefix: &str, weights: &Weights, simd: Simd) -> Result<Plan, LoadError> {
        Self::lowered(net, prefix, weights, simd, true)
    }

    /// The same without convolutions in cells, whose sums differ by rounding: those that
    /// [`CausalPlan`](crate::causal::CausalPlan) makes pixel by pixel.
    pub(crate) fn direct(
        net: &Net,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Plan, LoadError> {
        Self::lowered(net, prefix, weights, simd, false)
    }

    fn lowered(
        net: &Net,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
        cells: bool,
    ) -> Result<Plan, LoadError> {
        let output = net.output()?;
        let tensors = net.tensors(prefix)?;
        for tensor in &tensors {
            weights.check_shape(&tensor.name, &tensor.shape)?;
        }
        let mut lowering = Lowering {
            weights,
            prefix,
            simd,
            context: net.context,
            cells,
            steps: Vec::new(),
            buffers: Vec::new(),
            flops: 0,
        };
        let input = lowering.allocate(net.input, frame_wanted(&net.layers, net.input, NO_FRAME));
        lowering.push(Op::Load, input.place, input.place, input.place);
        let last = lowering.sequence(&net.layers, input, "", NO_FRAME)?;
        lowering.push(Op::Store, last.place, last.place, last.place);
        let Lowering {
            mut steps,
            buffers,
            flops,
            ..
        } = lowering;
        fuse::fuse(&mut steps, buffers.len());
        let scratch = arena::lay_out(&mut steps, &buffers);
        let cost = Cost::of(&tensors, &steps, flops, scratch);
        cost.check(prefix)?;
        Ok(Plan {
            simd,
            input: net.input.len(),
            context: net.context,
            steps,
            output,
            scratch,
            flops,
            cost,
        })
    }

    /// f32 numbers of scratch that [`run`](Self::run) needs.
    pub fn scratch_len(&self) -> usize {
        // The arena starts at a cache line within.
        self.scratch + LINE - 1
    }

    /// Numbers of input.
    pub fn input_len(&self) -> usize {
        self.input
    }

    /// Numbers of context.
    pub fn context_len(&self) -> usize {
        self.context
    }

    /// Shape of the output.
    pub fn output(&self) -> Shape {
        self.output
    }

    /// Floating-point operations of the convolutions and products of one run, as executed (after
    /// upsampling has been folded): two for each multiply-add.
    pub fn flops(&self) -> u64 {
        self.flops
    }

    /// What the plan costs.
    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }

    /// The level that the plan was packed for.
    pub fn simd(&self) -> Simd {
        self.simd
    }
}

/// The functions of both halves of a concat-ELU.
pub(crate) fn concat_elu() -> [Vec<Pointwise>; 2] {
    let elu = Pointwise::Act(Act::Elu);
    [alloc::vec![elu], alloc::vec![Pointwise::Scale(-1.0), elu]]
}

/// Shape of the output of a layer of a checked net.
fn layer_output(layer: &Layer, input: Shape) -> Shape {
    layer
        .output(input, 0, "")
        .expect("a layer of a checked net")
}

/// A value between layers.
#[derive(Clone, Copy)]
struct Value {
    shape: Shape,
    place: Place,
    /// Zeros around it.
    frame: Padding,
    /// Whether nothing else reads it later, so that it may be overwritten.
    owned: bool,
}

impl Value {
    fn view(&self) -> View {
        self.place.view
    }
}

struct Lowering<'a> {
    weights: &'a Weights<'a>,
    prefix: &'a str,
    simd: Simd,
    context: usize,
    /// Whether convolutions may run in cells.
    cells: bool,
    steps: Vec<Step>,
    /// Length of each buffer.
    buffers: Vec<usize>,
    flops: u64,
}

impl Lowering<'_> {
    fn push(&mut self, op: Op, a: Place, b: Place, to: Place) {
        self.steps.push(Step {
            op,
            a,
            b,
            added: None,
            to,
        });
    }

    fn tensor(&self, path: &str, name: &str) -> Result<Vec<f32>, LoadError> {
        self.weights.get(&format!("{}.{path}.{name}", self.prefix))
    }

    fn buffer(&mut self, len: usize) -> usize {
        self.buffers.push(len);
        self.buffers.len() - 1
    }

    /// A new value, its frame cleared.
    fn allocate(&mut self, shape: Shape, frame: Padding) -> Value {
        let (c, h, w) = View::extents(shape);
        let outer = View::pixels(
            c,
            h + frame.top + frame.bottom,
            w + frame.left + frame.right,
        );
        let place = self.framed(outer, outer.len(), h, w, frame);
        Value {
            shape,
            place,
            frame,
            owned: true,
        }
    }

    /// The part of a new buffer of `outer` that its frame leaves.
    fn framed(
        &mut self,
        outer: View,
        len: usize,
        height: usize,
        width: usize,
        frame: Padding,
    ) -> Place {
        let buffer = self.buffer(len);
        let offset = frame.top * outer.row + frame.left * outer.pixel;
        let place = Place {
            buffer,
            view: View {
                offset,
                height,
                width,
                ..outer
            },
        };
        if frame != NO_FRAME {
            self.push(
                Op::ClearFrame,
                place,
                place,
                Place {
                    buffer,
                    view: outer,
                },
            );
        }
        place
    }

    /// The value inside at least this frame.
    fn with_frame(&mut self, value: Value, frame: Padding) -> Value {
        if covers(value.frame, frame) {
            return value;
        }
        let framed = self.allocate(value.shape, frame);
        self.push(Op::Copy, value.place, value.place, framed.place);
        framed
    }

    /// `layers` on `value`; the result preferably has the frame `wanted`.
    fn sequence(
        &mut self,
        layers: &[Layer],
        mut value: Value,
        prefix: &str,
        wanted: Padding,
    ) -> Result<Value, LoadError> {
        let mut i = 0;
        while i < layers.len() {
            let path = format!("{prefix}{i}");
            let rest = &layers[i + 1..];
            // Functions after a layer that can be computed in its store.
            let functions = functions(rest);
            let after = &rest[functions.len()..];
            let mut next = i + 1;
            value = match &layers[i] {
                Layer::Linear { outputs, degrees } => {
                    next += functions.len();
                    let map = match after.first() {
                        // What depends on the feature counts them as the vector does.
                        Some(Layer::Reshape(map @ Shape::Map { .. }))
                            if !functions.contains(&Pointwise::BipolarElu) =>
                        {
                            next += 1;
                            Some(*map)
                        }
                        _ => None,
                    };
                    self.linear(&path, value, *outputs, degrees, functions, map)?
                }
                Layer::Conv2d {
                    kernel,
                    stride,
                    padding,
                    mask,
                    ..
                } => {
                    next += functions.len();
                    let spec = ConvSpec {
                        kernel: *kernel,
                        stride: *stride,
                        padding: *padding,
                        mask,
                    };
                    let shape = layer_output(&layers[i], value.shape);
                    let frame = frame_wanted(after, shape, wanted);
                    if runs_in_planes(&layers[i], value.shape) {
                        let whole = functions.len();
                        let functions = of_any_feature(functions);
                        next -= whole - functions.len();
                        self.plane_conv(&path, value, shape, spec, functions, frame)?
                    } else if self.cells && runs_in_cells(&layers[i], value.shape) {
                        self.cell_conv(Scheme::Plain, &path, value, shape, functions, frame)?
                    } else {
                        self.conv(&path, value, shape, spec, functions, frame)?
                    }
                }
                Layer::DepthwiseConv2d {
                    kernel,
                    stride,
                    padding,
                } => {
                    next += functions.len();
                    let shape = layer_output(&layers[i], value.shape);
                    let frame = frame_wanted(after, shape, wanted);
                    let (weights, bias) =
                        (self.tensor(&path, "weight")?, self.tensor(&path, "bias")?);
                    let conv = Depthwise::new(*kernel, *stride, &weights, &bias, functions);
                    self.depthwise(conv, value, *padding, shape, frame)
                }
                Layer::ConvTranspose2d {
                    kernel,
                    stride,
                    padding,
                    ..
                } => {
                    next += functions.len();
                    let shape = layer_output(&layers[i], value.shape);
                    let frame = frame_wanted(after, shape, wanted);
                    let window = Transposed {
                        kernel: *kernel,
                        stride: *stride,
                        padding: *padding,
                    };
                    self.conv_transpose(&path, value, window, shape, functions, frame)?
                }
                Layer::UpsampleNearest { factor } => {
                    // Elementwise functions commute with the repetition: before it they cost less.
                    next += functions.len();
                    value = self.map(
                        value,
                        functions,
                        frame_wanted(&layers[i..], value.shape, wanted),
                    );
                    let enlarged = |value: Value| {
                        let (c, h, w) = View::extents(value.shape);
                        Shape::Map {
                            channels: c,
                            height: h * factor,
                            width: w * factor,
                        }
                    };
                    let shape = enlarged(value);
                    match after.first() {
                        Some(layer) if folds(*factor, layer) => {
                            let path = format!("{prefix}{next}");
                            let functions = frame::functions(&after[1..]);
                            next += 1 + functions.len();
                            let shape = match layer {
                                Layer::Conv2d { outputs, .. } => shape.with_features(*outputs),
                                _ => shape,
                            };
                            let frame = frame_wanted(&layers[next..], shape, wanted);
                            self.cell_conv(
                                Scheme::Upsampled,
                                &path,
                                value,
                                shape,
                                functions,
                                frame,
                            )?
                        }
                        Some(layer) => {
                            if let Some(spec) = pointwise_conv(layer) {
                                // So does a convolution of single pixels.
                                let path = format!("{prefix}{next}");
                                let functions = frame::functions(&after[1..]);
                                next += 1 + functions.len();
                                let small = layer_output(layer, value.shape);
                                value =
                                    self.conv(&path, value, small, spec, functions, NO_FRAME)?;
                            }
                            let shape = enlarged(value);
                            let frame = frame_wanted(&layers[next..], shape, wanted);
                            self.upsample(value, *factor, shape, frame)
                        }
                        None => self.upsample(value, *factor, shape, wanted),
                    }
                }
                Layer::Activation(_) | Layer::Scale(_) | Layer::BipolarElu => {
                    let functions = frame::functions(&layers[i..]);
                    next = i + functions.len();
                    let frame = frame_wanted(&layers[next..], value.shape, wanted);
                    self.map(value, functions, frame)
                }
                Layer::GroupNorm { groups, epsilon } => {
                    let functions = of_any_feature(functions);
                    next += functions.len();
                    let over = Over::Groups(*groups);
                    let frame = frame_wanted(after, value.shape, wanted);
                    self.norm(&path, value, over, *epsilon, functions, frame)?
                }
                Layer::LayerNorm { epsilon } => {
                    next += functions.len();
                    let frame = frame_wanted(after, value.shape, wanted);
                    self.norm(&path, value, Over::Features, *epsilon, functions, frame)?
                }
                Layer::Gate => {
                    let shape = value.shape.with_features(value.shape.features() / 2);
                    let to = self.allocate(shape, frame_wanted(rest, shape, wanted));
                    self.push(Op::Gate, value.place, value.place, to.place);
                    to
                }
                Layer::Reshape(shape) => {
                    self.reshape(value, *shape, frame_wanted(rest, *shape, wanted))
                }
                Layer::AppendContext => {
                    let c = value.shape.features();
                    let shape = value.shape.with_features(c + self.context);
                    let to = self.allocate(shape, frame_wanted(rest, shape, wanted));
                    let part = |r| Place {
                        view: to.view().slice(r),
                        ..to.place
                    };
                    self.push(Op::Copy, value.place, value.place, part(0..c));
                    let context = part(c..c + self.context);
                    self.push(Op::Context, context, context, context);
                    to
                }
                Layer::AppendOnes => {
                    let c = value.shape.features();
                    let shape = value.shape.with_features(c + 1);
                    let to = self.allocate(shape, frame_wanted(rest, shape, wanted));
                    let part = |r| Place {
                        view: to.view().slice(r),
                        ..to.place
                    };
                    self.push(Op::Copy, value.place, value.place, part(0..c));
                    self.push(Op::Ones, part(c..c + 1), part(c..c + 1), part(c..c + 1));
                    to
                }
                Layer::ConcatElu => {
                    let c = value.shape.features();
                    let shape = value.shape.with_features(2 * c);
                    let to = self.allocate(shape, frame_wanted(rest, shape, wanted));
                    for (half, functions) in concat_elu().into_iter().enumerate() {
                        let part = Place {
                            view: to.view().slice(half * c..(half + 1) * c),
                            ..to.place
                        };
                        self.push(Op::Map(functions), value.place, value.place, part);
                    }
                    to
                }
                Layer::Shift { down, right } => self.shift(
                    value,
                    *down,
                    *right,
                    frame_wanted(rest, value.shape, wanted),
                ),
                Layer::Slice { start, len } => {
                    let view = value.view().slice(*start..start + len);
                    Value {
                        shape: value.shape.with_features(*len),
                        place: Place {
                            view,
                            ..value.place
                        },
                        ..value
                    }
                }
                Layer::Sum(branches) => self.sum(branches, value, &path, |shape| {
                    frame_wanted(rest, shape, wanted)
                })?,
                Layer::Concat(branches) => self.concat(branches, value, &path, |shape| {
                    frame_wanted(rest, shape, wanted)
                })?,
            };
            i = next;
        }
        Ok(value)
    }

    /// Where an elementwise step on `value` writes: in place if it may.
    fn overwritten(&mut self, value: Value, frame: Padding) -> Value {
        if value.owned {
            value
        } else {
            self.allocate(value.shape, frame)
        }
    }

    fn upsample(&mut self, value: Value, factor: usize, shape: Shape, frame: Padding) -> Value {
        let to = self.allocate(shape, frame);
        self.push(Op::Upsample(factor), value.place, value.place, to.place);
        to
    }

    fn norm(
        &mut self,
        path: &str,
        value: Value,
        over: Over,
        epsilon: f32,
        functions: Vec<Pointwise>,
        frame: Padding,
    ) -> Result<Value, LoadError> {
        let norm = Norm {
            over,
            epsilon,
            weight: self.tensor(path, "weight")?,
            bias: self.tensor(path, "bias")?,
            functions,
        };
        let to = self.overwritten(value, frame);
        self.push(Op::Norm(Box::new(norm)), value.place, value.place, to.place);
        Ok(to)
    }

    fn map(&mut self, value: Value, functions: Vec<Pointwise>, frame: Padding) -> Value {
        if functions.is_empty() {
            return value;
        }
        let to = self.overwritten(value, frame);
        self.push(Op::Map(functions), value.place, value.place, to.place);
        to
    }
}
