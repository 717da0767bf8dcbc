//! Layers with weights, as kernels: products, convolutions, and the fold of an upsampling.

use super::frame::NO_FRAME;
use super::{Lowering, Op, Place, Value};
use crate::kernels::conv::{Conv, Tap};
use crate::kernels::depthwise::Depthwise;
use crate::kernels::elementary::Pointwise;
use crate::kernels::planes::{self, PlaneConv};
use crate::kernels::view::View;
use crate::kernels::winograd::{Scheme, Winograd};
use alloc::boxed::Box;
use alloc::vec::Vec;
use galgen_core::spec::{CausalMask, Degrees, Layer, Padding, Shape};

/// Most output channels for which a convolution runs along rows of planes.
const PLANE_OUTPUTS: usize = 4;
/// Least width for that.
const PLANE_WIDTH: usize = 8;

/// Least input and output channels, and output pixels, of a convolution in cells.
const CELL_CHANNELS: usize = 8;
const CELL_PIXELS: usize = 256;

/// A convolution layer, less its outputs.
pub(crate) struct ConvSpec<'a> {
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: Padding,
    pub mask: &'a Option<CausalMask>,
}

impl Lowering<'_> {
    /// A matrix-vector product; with `map`, its rows are permuted so that the result is that map.
    pub(super) fn linear(
        &mut self,
        path: &str,
        value: Value,
        outputs: usize,
        degrees: &Option<Degrees>,
        functions: Vec<Pointwise>,
        map: Option<Shape>,
    ) -> Value {
        let inputs = value.shape.features();
        let (weights, bias) = (self.tensor(path, "weight"), self.tensor(path, "bias"));
        let mut rows = Vec::with_capacity(weights.len());
        let mut permuted_bias = Vec::with_capacity(outputs);
        let shape = map.unwrap_or(Shape::Vector(outputs));
        let (c, h, w) = View::extents(shape);
        for at in 0..outputs {
            // Position (pixel, channel) holds row (channel, pixel).
            let row = at % c * (h * w) + at / c;
            permuted_bias.push(bias[row]);
            for input in 0..inputs {
                let keep = degrees
                    .as_ref()
                    .is_none_or(|d| d.input[input] <= d.output[row]);
                rows.push(if keep {
                    weights[row * inputs + input]
                } else {
                    0.0
                });
            }
        }
        let to = self.allocate(shape, NO_FRAME);
        let tap = Tap {
            y: 0,
            x: 0,
            weights: rows,
        };
        let vector = Place {
            view: View::pixels(outputs, 1, 1),
            ..to.place
        };
        self.push_conv(value.place, 1, &[tap], &permuted_bias, functions, vector);
        to
    }

    pub(super) fn push_conv(
        &mut self,
        input: Place,
        stride: usize,
        taps: &[Tap],
        bias: &[f32],
        functions: Vec<Pointwise>,
        to: Place,
    ) {
        let pixels = to.view.height * to.view.width;
        let conv = Conv::new(self.simd, input.view, stride, taps, bias, functions, pixels);
        self.flops += 2 * conv.multiply_adds(pixels) as u64;
        self.push(Op::Conv(Box::new(conv)), input, input, to);
    }

    pub(super) fn conv(
        &mut self,
        path: &str,
        value: Value,
        shape: Shape,
        spec: ConvSpec,
        functions: Vec<Pointwise>,
        frame: Padding,
    ) -> Value {
        let value = self.with_frame(value, spec.padding);
        let weights = self.tensor(path, "weight");
        let taps = taps(weights, shape.features(), value.shape.features(), &spec);
        let bias = self.tensor(path, "bias").to_vec();
        let to = self.allocate(shape, frame);
        let input = padded(value.place, spec.padding);
        self.push_conv(input, spec.stride, &taps, &bias, functions, to.place);
        to
    }

    pub(super) fn depthwise(
        &mut self,
        conv: Depthwise,
        value: Value,
        padding: Padding,
        shape: Shape,
        frame: Padding,
    ) -> Value {
        let value = self.with_frame(value, padding);
        let to = self.allocate(shape, frame);
        self.flops += 2 * conv.multiply_adds(to.view().height * to.view().width) as u64;
        let input = padded(value.place, padding);
        self.push(Op::Depthwise(Box::new(conv)), input, input, to.place);
        to
    }

    pub(super) fn plane_conv(
        &mut self,
        path: &str,
        value: Value,
        shape: Shape,
        spec: ConvSpec,
        functions: Vec<Pointwise>,
        frame: Padding,
    ) -> Value {
        let (c, h, w) = View::extents(value.shape);
        let p = spec.padding;
        let outer = View::planes(c, h + p.top + p.bottom, w + p.left + p.right);
        let input = self.framed(outer, outer.len() + planes::SLACK, h, w, p);
        self.push(Op::Copy, value.place, value.place, input);
        let taps = taps(self.tensor(path, "weight"), shape.features(), c, &spec);
        let input = padded(input, p);
        let conv = PlaneConv::new(input.view, &taps, self.tensor(path, "bias"), functions);
        let to = self.allocate(shape, frame);
        self.flops += 2 * conv.multiply_adds(to.view().height * to.view().width) as u64;
        self.push(Op::PlaneConv(Box::new(conv)), input, input, to.place);
        to
    }

    /// A 3 x 3 convolution with one zero around, of the map or of the map upsampled.
    pub(super) fn cell_conv(
        &mut self,
        scheme: Scheme,
        path: &str,
        value: Value,
        shape: Shape,
        functions: Vec<Pointwise>,
        frame: Padding,
    ) -> Value {
        let padding = Padding::all(1);
        let value = self.with_frame(value, padding);
        let to = self.allocate(shape, frame);
        let cells = to.view().height * to.view().width / 4;
        let (weights, bias) = (self.tensor(path, "weight"), self.tensor(path, "bias"));
        let conv = Winograd::new(self.simd, scheme, weights, bias, functions, cells);
        self.push_winograd(conv, padded(value.place, padding), to.place);
        to
    }

    pub(super) fn push_winograd(&mut self, conv: Winograd, input: Place, to: Place) {
        let cells = to.view.height * to.view.width / 4;
        self.flops += 2 * conv.multiply_adds(cells) as u64;
        let scratch = Place {
            buffer: self.buffer(conv.scratch()),
            view: View::pixels(conv.scratch(), 1, 1),
        };
        self.push(Op::Winograd(Box::new(conv)), input, scratch, to);
    }
}

/// The taps that the mask keeps.
pub(crate) fn taps(weights: &[f32], outputs: usize, inputs: usize, spec: &ConvSpec) -> Vec<Tap> {
    let [height, width] = spec.kernel;
    let mut taps = Vec::new();
    for y in 0..height {
        for x in 0..width {
            if spec
                .mask
                .as_ref()
                .is_none_or(|m| m.keeps(spec.kernel, y, x))
            {
                let at = |oi| weights[(oi * height + y) * width + x];
                taps.push(Tap {
                    y,
                    x,
                    weights: (0..outputs * inputs).map(at).collect(),
                });
            }
        }
    }
    taps
}

/// Whether an upsampling by `factor` is folded into the `layer` after it.
pub(super) fn folds(factor: usize, layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Conv2d { kernel: [3, 3], stride: 1, padding, mask: None, .. }
            if factor == 2 && *padding == Padding::all(1)
    )
}

/// A convolution that looks at single pixels.
pub(super) fn pointwise_conv(layer: &Layer) -> Option<ConvSpec<'_>> {
    match layer {
        Layer::Conv2d {
            kernel: kernel @ [1, 1],
            stride: 1,
            padding,
            mask,
            ..
        } => Some(ConvSpec {
            kernel: *kernel,
            stride: 1,
            padding: *padding,
            mask,
        }),
        _ => None,
    }
}

/// Whether a convolution runs in cells of 2 x 2 pixels. A small map is bound by reading the weights, of which cells
/// need more. Depends on shapes only, never on the level.
pub(super) fn runs_in_cells(layer: &Layer, input: Shape) -> bool {
    let (channels, height, width) = View::extents(input);
    let plain = matches!(
        layer,
        Layer::Conv2d { outputs, kernel: [3, 3], stride: 1, padding, mask: None }
            if *padding == Padding::all(1) && channels.min(*outputs) >= CELL_CHANNELS
    );
    plain && cells_pay(height, width)
}

/// Whether a map of this size is cut into cells.
pub(super) fn cells_pay(height: usize, width: usize) -> bool {
    height.is_multiple_of(2) && width.is_multiple_of(2) && height * width >= CELL_PIXELS
}

/// Whether a convolution runs along the rows of planes. Depends on shapes only, never on the level.
pub(super) fn runs_in_planes(layer: &Layer, input: Shape) -> bool {
    let (_, _, width) = View::extents(input);
    matches!(layer, Layer::Conv2d { outputs, stride: 1, .. } if *outputs <= PLANE_OUTPUTS)
        && width >= PLANE_WIDTH
}

/// The map with `padding` zeros of its frame.
pub(super) fn padded(place: Place, padding: Padding) -> Place {
    let v = place.view;
    let view = View {
        offset: v.offset - padding.top * v.row - padding.left * v.pixel,
        height: v.height + padding.top + padding.bottom,
        width: v.width + padding.left + padding.right,
        ..v
    };
    Place { view, ..place }
}
