//! Direct convolution with few outputs, of maps in planes and with stride 1: vectorised along the
//! rows, because vectors of output channels would be mostly empty.

use super::Simd;
use super::conv::Tap;
use super::elementary::{Pointwise, apply_all};
use super::lanes::{Kernel, Lanes};
use super::view::View;
use alloc::vec::Vec;

/// Most vectors of a row that are summed side by side.
const MOST_VECTORS: usize = 8;
/// Numbers beyond the last row of the input that may be read (and are not used).
pub(crate) const SLACK: usize = 16 * MOST_VECTORS;

/// A convolution for zero-padded inputs of certain strides.
#[derive(Clone, Debug)]
pub(crate) struct PlaneConv {
    channel: usize,
    row: usize,
    /// Offset of each input of an output pixel, in the order of accumulation.
    offsets: Vec<usize>,
    /// `[outputs][offsets]`
    weights: Vec<f32>,
    bias: Vec<f32>,
    functions: Vec<Pointwise>,
}

impl PlaneConv {
    /// `weights` are in the order of accumulation, output by output; `input` is the zero-padded map in planes.
    pub fn new(
        input: View,
        taps: &[Tap],
        weights: Vec<f32>,
        bias: Vec<f32>,
        functions: Vec<Pointwise>,
    ) -> Self {
        assert!(input.pixel == 1);
        let mut offsets = Vec::new();
        for tap in taps {
            let offset = |i| i * input.channel + tap.y * input.row + tap.x;
            offsets.extend((0..input.channels).map(offset));
        }
        let (channel, row) = (input.channel, input.row);
        PlaneConv {
            channel,
            row,
            offsets,
            weights,
            bias,
            functions,
        }
    }

    /// Multiply-adds for `pixels` output pixels.
    pub fn multiply_adds(&self, pixels: usize) -> usize {
        self.weights.len() * pixels
    }
}

/// output = functions(bias + convolution of `input`), where `input` is the zero-padded map in planes,
/// with [`SLACK`] after its end; the two do not overlap.
pub(crate) fn plane_conv(
    simd: Simd,
    arena: &mut [f32],
    input: View,
    conv: &PlaneConv,
    output: View,
) {
    assert!((input.channel, input.row, input.pixel) == (conv.channel, conv.row, 1));
    assert!(output.channels == conv.bias.len() && output.end() <= arena.len());
    assert!(conv.weights.len() == conv.bias.len() * conv.offsets.len());
    let furthest = conv.offsets.iter().max().copied().unwrap_or(0);
    let last_row = input.offset + (output.height - 1) * input.row + furthest;
    assert!(last_row + output.width + SLACK <= arena.len());
    simd.dispatch(Job {
        arena,
        input,
        conv,
        output,
    });
}

/// A convolution whose inputs (and [`SLACK`]) and outputs lie within the arena.
struct Job<'a> {
    arena: &'a mut [f32],
    input: View,
    conv: &'a PlaneConv,
    output: View,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        // The number of vectors does not touch the order of any sum.
        match self.output.width.div_ceil(L::N) {
            1 => self.rows::<L, 1>(l),
            2 => self.rows::<L, 2>(l),
            3 | 4 => self.rows::<L, 4>(l),
            _ => self.rows::<L, MOST_VECTORS>(l),
        }
    }
}

impl Job<'_> {
    #[inline(always)]
    fn rows<L: Lanes, const V: usize>(self, l: L) {
        let Job {
            arena,
            input,
            conv,
            output,
        } = self;
        let base = arena.as_mut_ptr();
        let depth = conv.offsets.len();
        for y in 0..output.height {
            for x in (0..output.width).step_by(V * L::N) {
                for (o, &bias) in conv.bias.iter().enumerate() {
                    let weights = &conv.weights[o * depth..][..depth];
                    let mut acc = [l.splat(bias); V];
                    let start = input.offset + y * input.row + x;
                    for (&offset, &w) in conv.offsets.iter().zip(weights) {
                        let w = l.splat(w);
                        for (v, acc) in acc.iter_mut().enumerate() {
                            // SAFETY: x starts within the row, so this ends within width + V N of it,
                            // which `plane_conv` has checked, V N being at most SLACK.
                            let i = unsafe { l.load(base.add(start + offset + v * L::N)) };
                            *acc = l.fma(i, w, *acc);
                        }
                    }
                    apply_all(l, &conv.functions, &mut acc);
                    let mut row = [0.0f32; SLACK];
                    for (v, acc) in acc.iter().enumerate() {
                        // SAFETY: V N numbers fit in SLACK.
                        unsafe { l.store(row.as_mut_ptr().add(v * L::N), *acc) };
                    }
                    let to = output.offset + o * output.channel + y * output.row + x * output.pixel;
                    let count = (V * L::N).min(output.width - x);
                    for (i, &value) in row[..count].iter().enumerate() {
                        // SAFETY: pixel x + i of the row of `output`.
                        unsafe { *base.add(to + i * output.pixel) = value };
                    }
                }
            }
        }
    }
}
