//! Transposed convolutions: one convolution of the small map for each phase of the output pixels. Nothing is scattered,
//! nothing is multiplied with zeros.

use super::convolution::{cells_pay, padded};
use super::{Lowering, Place, Value};
use crate::kernels::conv::Tap;
use crate::kernels::elementary::Pointwise;
use crate::kernels::view::View;
use crate::kernels::winograd::{Scheme, Winograd};
use alloc::vec::Vec;
use galgen_core::spec::{Padding, Shape};

/// A transposed convolution, less its channels.
#[derive(Clone, Copy)]
pub(super) struct Transposed {
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: Padding,
}

/// One axis of a transposed convolution.
#[derive(Clone, Copy)]
struct Axis {
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    /// Outputs cut off before the first.
    cut: usize,
}

impl Axis {
    /// Number of output pixels `first`, `first` + stride, ...
    fn count(self, first: usize) -> usize {
        (self.outputs - first).div_ceil(self.stride)
    }

    /// The taps of the output pixels `first`, `first` + stride, ...: (kernel index, displacement of the input
    /// pixel), by rising displacement. Output pixel `first` + stride j sees input pixels j + displacement. Taps that see
    /// nothing of the input are left out: the maps of one pixel that decoders begin with leave a quarter.
    fn taps(self, first: usize) -> impl Iterator<Item = (usize, isize)> {
        let (rest, shift) = (
            (first + self.cut) % self.stride,
            (first + self.cut) / self.stride,
        );
        let count = self.kernel.saturating_sub(rest).div_ceil(self.stride);
        (0..count)
            .rev()
            .map(move |t| (rest + self.stride * t, shift as isize - t as isize))
            .filter(move |&(_, displacement)| {
                displacement < self.inputs as isize && self.count(first) as isize + displacement > 0
            })
    }

    /// Zeros before and after the input pixels that the output pixels see.
    fn frame(self) -> [usize; 2] {
        let (mut before, mut after) = (0, 0);
        for first in 0..self.stride.min(self.outputs) {
            let last = self.count(first) as isize - 1;
            for (_, displacement) in self.taps(first) {
                before = before.max(-displacement);
                after = after.max(last + displacement - (self.inputs as isize - 1));
            }
        }
        [before as usize, after as usize]
    }
}

impl Transposed {
    /// Rows and columns, for a map of `shape` that this layer takes.
    fn axes(self, shape: Shape) -> [Axis; 2] {
        let (_, height, width) = View::extents(shape);
        let axis = |inputs: usize, kernel: usize, cut: usize, cut_after: usize| Axis {
            inputs,
            // At least one: a look ahead may be at a layer that another layer will make fit.
            outputs: ((inputs - 1) * self.stride + kernel)
                .saturating_sub(cut + cut_after)
                .max(1),
            kernel,
            stride: self.stride,
            cut,
        };
        let p = self.padding;
        [
            axis(height, self.kernel[0], p.top, p.bottom),
            axis(width, self.kernel[1], p.left, p.right),
        ]
    }

    /// The zeros that it wants around a map of `shape`.
    pub(super) fn frame(self, shape: Shape) -> Padding {
        let [rows, columns] = self.axes(shape);
        let ([top, bottom], [left, right]) = (rows.frame(), columns.frame());
        Padding {
            top,
            bottom,
            left,
            right,
        }
    }
}

/// Whether the taps are those of a 2 x 2 kernel.
fn pairs(taps: &[Tap]) -> bool {
    taps.len() == 4 && taps[3].y == taps[0].y + 1 && taps[3].x == taps[0].x + 1
}

/// The part of the map that starts at a tap of the first output pixel.
fn from_tap(input: Place, tap: &Tap) -> Place {
    let v = input.view;
    let view = View {
        offset: v.offset + tap.y * v.row + tap.x * v.pixel,
        height: v.height - tap.y,
        width: v.width - tap.x,
        ..v
    };
    Place { view, ..input }
}

impl Lowering<'_> {
    pub(super) fn conv_transpose(
        &mut self,
        path: &str,
        value: Value,
        window: Transposed,
        shape: Shape,
        functions: Vec<Pointwise>,
        frame: Padding,
    ) -> Value {
        let Transposed { kernel, stride, .. } = window;
        let [rows, columns] = window.axes(value.shape);
        let around = window.frame(value.shape);
        let value = self.with_frame(value, around);
        let weights = self.tensor(path, "weight").to_vec();
        let bias = self.tensor(path, "bias").to_vec();
        let (inputs, outputs) = (value.shape.features(), shape.features());
        let to = self.allocate(shape, frame);
        let input = padded(value.place, around);
        for y in 0..stride.min(rows.outputs) {
            for x in 0..stride.min(columns.outputs) {
                let mut taps = Vec::new();
                for (ky, dy) in rows.taps(y) {
                    for (kx, dx) in columns.taps(x) {
                        let weight = |at: usize| {
                            let (o, i) = (at / inputs, at % inputs);
                            weights[((i * outputs + o) * kernel[0] + ky) * kernel[1] + kx]
                        };
                        taps.push(Tap {
                            y: (dy + around.top as isize) as usize,
                            x: (dx + around.left as isize) as usize,
                            weights: (0..outputs * inputs).map(weight).collect(),
                        });
                    }
                }
                let phase = Place {
                    view: to.view().phase(stride, y, x),
                    ..to.place
                };
                if pairs(&taps) && cells_pay(phase.view.height, phase.view.width) {
                    let mut weights = Vec::with_capacity(4 * outputs * inputs);
                    for at in 0..outputs * inputs {
                        weights.extend(taps.iter().map(|tap| tap.weights[at]));
                    }
                    let cells = phase.view.height * phase.view.width / 4;
                    let functions = functions.clone();
                    let conv =
                        Winograd::new(self.simd, Scheme::Pair, &weights, &bias, functions, cells);
                    self.push_winograd(conv, from_tap(input, &taps[0]), phase);
                    continue;
                }
                self.push_conv(input, 1, &taps, &bias, functions.clone(), phase);
            }
        }
        to
    }
}
