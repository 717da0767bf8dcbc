//! Layers with weights, as kernels: products, convolutions, and the fold of an upsampling.

use super::frame::NO_FRAME;
use super::{Lowering, Op, Place, Value};
use crate::error::LoadError;
use crate::kernels::conv::{Conv, Tap};
use crate::kernels::depthwise::Depthwise;
use crate::kernels::elementary::Pointwise;
use crate::kernels::planes::{self, PlaneConv};
use crate::kernels::view::View;
use crate::kernels::winograd::{Scheme, Winograd};
use crate::weights::Rows;
use alloc::boxed::Box;
use alloc::format;
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
    ) -> Result<Value, LoadError> {
        let inputs = value.shape.features();
        let bias = self.tensor(path, "bias")?;
        let shape = map.unwrap_or(Shape::Vector(outputs));
        let (c, h, w) = View::extents(shape);
        // Position (pixel, channel) holds row (channel, pixel).
        let permuted = (0..outputs).map(|at| bias[at % c * (h * w) + at / c]);
        let permuted: Vec<f32> = permuted.collect();
        let to = self.allocate(shape, NO_FRAME);
        let vector = Place {
            view: View::pixels(outputs, 1, 1),
            ..to.place
        };
        let tap = Tap { y: 0, x: 0 };
        let input = value.view();
        let mut conv = Conv::new(self.simd, input, 1, &[tap], &permuted, functions, 1);
        let all: Vec<usize> = (0..inputs).collect();
        self.rows(path, inputs, &mut |mut rows| {
            if let Some(degrees) = degrees {
                rows.each(|row, weights| degrees.mask(row, weights));
            }
            let at = (rows.first..).map(|row| row % (h * w) * c + row / (h * w));
            conv.packed.set(at, rows.values, inputs, &all);
        })?;
        self.push_conv(conv, value.place, vector);
        Ok(to)
    }

    /// Calls `visit` with all rows, of so many numbers, of the weights of a layer, some at a time.
    pub(super) fn rows(
        &self,
        path: &str,
        len: usize,
        visit: &mut dyn FnMut(Rows),
    ) -> Result<(), LoadError> {
        let name = format!("{}.{path}.weight", self.prefix);
        self.weights.rows(&name, len, visit)
    }

    pub(super) fn push_conv(&mut self, conv: Conv, input: Place, to: Place) {
        let pixels = to.view.height * to.view.width;
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
    ) -> Result<Value, LoadError> {
        let value = self.with_frame(value, spec.padding);
        let taps = spec.taps();
        let bias = self.tensor(path, "bias")?;
        let to = self.allocate(shape, frame);
        let input = padded(value.place, spec.padding);
        let pixels = to.view().height * to.view().width;
        let (simd, stride) = (self.simd, spec.stride);
        let mut conv = Conv::new(simd, input.view, stride, &taps, &bias, functions, pixels);
        let columns = spec.columns(&taps, value.shape.features());
        let len = spec.row_len(value.shape.features());
        self.rows(path, len, &mut |rows| {
            conv.packed.set(rows.first.., rows.values, len, &columns);
        })?;
        self.push_conv(conv, input, to.place);
        Ok(to)
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
    ) -> Result<Value, LoadError> {
        let (c, h, w) = View::extents(value.shape);
        let p = spec.padding;
        let outer = View::planes(c, h + p.top + p.bottom, w + p.left + p.right);
        let input = self.framed(outer, outer.len() + planes::SLACK, h, w, p);
        self.push(Op::Copy, value.place, value.place, input);
        let taps = spec.taps();
        let columns = spec.columns(&taps, c);
        let mut weights = Vec::with_capacity(shape.features() * columns.len());
        self.rows(path, spec.row_len(c), &mut |mut rows| {
            rows.each(|_, row| weights.extend(columns.iter().map(|&c| row[c])));
        })?;
        let input = padded(input, p);
        let bias = self.tensor(path, "bias")?;
        let conv = PlaneConv::new(self.simd, input.view, w, &taps, &weights, &bias, functions);
        let to = self.allocate(shape, frame);
        self.flops += 2 * conv.multiply_adds(to.view().height * to.view().width) as u64;
        self.push(Op::PlaneConv(Box::new(conv)), input, input, to.place);
        Ok(to)
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
    ) -> Result<Value, LoadError> {
        let padding = Padding::all(1);
        let value = self.with_frame(value, padding);
        let to = self.allocate(shape, frame);
        let cells = to.view().height * to.view().width / 4;
        let bias = self.tensor(path, "bias")?;
        let inputs = value.shape.features();
        let mut conv = Winograd::new(self.simd, scheme, inputs, &bias, functions, cells);
        self.rows(path, 9 * inputs, &mut |rows| {
            conv.set(rows.first, rows.values)
        })?;
        self.push_winograd(conv, padded(value.place, padding), to.place);
        Ok(to)
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

impl ConvSpec<'_> {
    /// The taps that the mask keeps.
    pub fn taps(&self) -> Vec<Tap> {
        let [height, width] = self.kernel;
        let all = (0..height).flat_map(|y| (0..width).map(move |x| Tap { y, x }));
        let kept = |tap: &Tap| {
            let keeps = |m: &CausalMask| m.keeps(self.kernel, tap.y, tap.x);
            self.mask.as_ref().is_none_or(keeps)
        };
        all.filter(kept).collect()
    }

    /// Numbers of an output in the tensor.
    pub fn row_len(&self, inputs: usize) -> usize {
        inputs * self.kernel[0] * self.kernel[1]
    }

    /// Where among them those of the taps stand, in the order of accumulation.
    pub fn columns(&self, taps: &[Tap], inputs: usize) -> Vec<usize> {
        let [height, width] = self.kernel;
        let column = |&Tap { y, x }| (0..inputs).map(move |i| (i * height + y) * width + x);
        taps.iter().flat_map(column).collect()
    }
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
