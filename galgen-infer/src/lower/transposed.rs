//! Transposed convolutions: one convolution of the small map for each phase of the output pixels. Nothing is scattered,
//! nothing is multiplied with zeros.

use super::convolution::{cells_pay, padded};
use super::{Lowering, Place, Value};
use crate::error::LoadError;
use crate::kernels::conv::{Conv, Tap};
use crate::kernels::elementary::Pointwise;
use crate::kernels::view::View;
use crate::kernels::winograd::{Scheme, Winograd};
use alloc::format;
use alloc::vec::Vec;
use galgen_core::spec::{Padding, Shape, SpecError};

/// Most phases of a layer, and for each weight of a kernel: a phase takes memory, also one without taps.
const MOST_PHASES: usize = 8;

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
fn from_tap(input: Place, tap: Tap) -> Place {
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
    ) -> Result<Value, LoadError> {
        let Transposed { kernel, stride, .. } = window;
        let [rows, columns] = window.axes(value.shape);
        let around = window.frame(value.shape);
        let value = self.with_frame(value, around);
        let bias = self.tensor(path, "bias")?;
        let (inputs, outputs) = (value.shape.features(), shape.features());
        let to = self.allocate(shape, frame);
        let input = padded(value.place, around);
        let count = stride.min(rows.outputs) * stride.min(columns.outputs);
        let most = MOST_PHASES * (1 + kernel[0] * kernel[1]);
        if count > most {
            let [height, width] = kernel;
            let problem = format!(
                "stride {stride} makes {count} phases, expected at most {most} for a kernel of {height} x {width}"
            );
            return Err(SpecError::new(&format!("{}.{path}", self.prefix), problem).into());
        }
        let mut phases = Vec::new();
        for y in 0..stride.min(rows.outputs) {
            for x in 0..stride.min(columns.outputs) {
                let (mut taps, mut places) = (Vec::new(), Vec::new());
                for (ky, dy) in rows.taps(y) {
                    for (kx, dx) in columns.taps(x) {
                        taps.push(Tap {
                            y: (dy + around.top as isize) as usize,
                            x: (dx + around.left as isize) as usize,
                        });
                        places.push(ky * kernel[1] + kx);
                    }
                }
                let view = to.view().phase(stride, y, x);
                let functions = functions.clone();
                let conv = if pairs(&taps) && cells_pay(view.height, view.width) {
                    let cells = view.height * view.width / 4;
                    let (simd, scheme) = (self.simd, Scheme::Pair);
                    let conv = Winograd::new(simd, scheme, inputs, &bias, functions, cells);
                    PhaseConv::Cells(conv, from_tap(input, taps[0]))
                } else {
                    let (simd, pixels) = (self.simd, view.height * view.width);
                    let conv = Conv::new(simd, input.view, 1, &taps, &bias, functions, pixels);
                    PhaseConv::Direct(conv)
                };
                phases.push((Place { view, ..to.place }, conv, places));
            }
        }
        // Of each input, `[outputs][kernel height][kernel width]`.
        let window = kernel[0] * kernel[1];
        self.rows(path, outputs * window, &mut |mut rows| {
            rows.each(|i, row| {
                for (_, conv, places) in &mut phases {
                    conv.set_input(i, inputs, row, window, places);
                }
            });
        })?;
        for (phase, conv, _) in phases {
            match conv {
                PhaseConv::Cells(conv, input) => self.push_winograd(conv, input, phase),
                PhaseConv::Direct(conv) => self.push_conv(conv, input, phase),
            }
        }
        Ok(to)
    }
}

/// How the pixels of a phase are computed.
enum PhaseConv {
    Direct(Conv),
    /// In cells, from this part of the map.
    Cells(Winograd, Place),
}

impl PhaseConv {
    /// The weights for input `i` of so many: `places` are those of the taps among the `window` weights that `row` has for each
    /// output.
    fn set_input(&mut self, i: usize, inputs: usize, row: &[f32], window: usize, places: &[usize]) {
        match self {
            PhaseConv::Cells(conv, _) => {
                for (o, own) in row.chunks_exact(window).enumerate() {
                    let kernel = [0, 1, 2, 3].map(|t| own[places[t]]);
                    conv.set_input(o, i, &kernel);
                }
            }
            PhaseConv::Direct(conv) => {
                for (t, &place) in places.iter().enumerate() {
                    let weights = row[place..].iter().step_by(window);
                    conv.packed.set_input(t * inputs + i, weights.copied());
                }
            }
        }
    }
}
