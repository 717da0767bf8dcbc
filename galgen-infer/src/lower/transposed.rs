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

/// Along one axis, the taps of the output pixels `first`, `first` + stride, ...: (kernel index, displacement of the input
/// pixel), by rising displacement. Output pixel `first` + stride j sees input pixels j + displacement.
fn phase_taps(
    first: usize,
    kernel: usize,
    stride: usize,
    cut: usize,
) -> impl Iterator<Item = (usize, isize)> {
    let (rest, shift) = ((first + cut) % stride, (first + cut) / stride);
    let count = kernel.saturating_sub(rest).div_ceil(stride);
    (0..count)
        .rev()
        .map(move |t| (rest + stride * t, shift as isize - t as isize))
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

/// Zeros before and after the `inputs` pixels of an axis that its `outputs` pixels see.
fn frame(inputs: usize, outputs: usize, kernel: usize, stride: usize, cut: usize) -> [usize; 2] {
    let (mut before, mut after) = (0, 0);
    for first in 0..stride.min(outputs) {
        let last = (outputs - first).div_ceil(stride) as isize - 1;
        for (_, displacement) in phase_taps(first, kernel, stride, cut) {
            before = before.max(-displacement);
            after = after.max(last + displacement - (inputs as isize - 1));
        }
    }
    [before as usize, after as usize]
}

/// The zeros that a transposed convolution of a map of `shape` wants around it.
pub(super) fn transposed_frame(
    kernel: [usize; 2],
    stride: usize,
    padding: Padding,
    shape: Shape,
) -> Padding {
    let (_, height, width) = View::extents(shape);
    let outputs = |inputs: usize, kernel: usize, cut: usize| {
        ((inputs - 1) * stride + kernel).saturating_sub(cut).max(1)
    };
    let (p, [kh, kw]) = (padding, kernel);
    let rows = outputs(height, kh, p.top + p.bottom);
    let columns = outputs(width, kw, p.left + p.right);
    let [top, bottom] = frame(height, rows, kh, stride, p.top);
    let [left, right] = frame(width, columns, kw, stride, p.left);
    Padding {
        top,
        bottom,
        left,
        right,
    }
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
        let Transposed {
            kernel,
            stride,
            padding,
        } = window;
        let around = transposed_frame(kernel, stride, padding, value.shape);
        let value = self.with_frame(value, around);
        let weights = self.tensor(path, "weight").to_vec();
        let bias = self.tensor(path, "bias").to_vec();
        let (inputs, outputs) = (value.shape.features(), shape.features());
        let to = self.allocate(shape, frame);
        let input = padded(value.place, around);
        let (rows, columns) = (to.view().height, to.view().width);
        for y in 0..stride.min(rows) {
            for x in 0..stride.min(columns) {
                let mut taps = Vec::new();
                for (ky, dy) in phase_taps(y, kernel[0], stride, padding.top) {
                    for (kx, dx) in phase_taps(x, kernel[1], stride, padding.left) {
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
