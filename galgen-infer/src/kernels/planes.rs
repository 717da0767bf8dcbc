//! Direct convolution with few outputs, of maps in planes and with stride 1: vectorised along the
//! rows, because vectors of output channels would be mostly empty.

use super::Simd;
use super::conv::{Tap, padded};
use super::elementary::{Pointwise, apply_all};
use super::lanes::{Kernel, Lanes};
use super::view::View;
use alloc::vec;
use alloc::vec::Vec;

/// (O, V): outputs and vectors of a row that are summed side by side.
type Tile = (usize, usize);

/// Most vectors of a tile's row.
const MOST_VECTORS: usize = 8;
/// Numbers beyond the last row of the input that may be read (and are not used).
pub(crate) const SLACK: usize = 16 * MOST_VECTORS;

/// Eight sums hide the latency of the multiply-add and leave registers for what they read, also where there are 16.
fn tile(outputs: usize, vectors: usize) -> Tile {
    match (outputs, vectors) {
        (1, 1 | 2) => (1, 2),
        (1, _) => (1, MOST_VECTORS),
        (2, _) => (2, 4),
        _ => (4, 2),
    }
}

/// A convolution for zero-padded inputs of certain strides.
#[derive(Clone, Debug)]
pub(crate) struct PlaneConv {
    channel: usize,
    row: usize,
    outputs: usize,
    tile: Tile,
    /// Offset of each input of an output pixel, in the order of accumulation.
    offsets: Vec<usize>,
    /// `[blocks][offsets][block]` where a block is the outputs of a tile, zeros beyond the last output.
    weights: Vec<f32>,
    /// `[blocks][block]`
    bias: Vec<f32>,
    functions: Vec<Pointwise>,
}

impl PlaneConv {
    /// `weights` are in the order of accumulation, output by output; `input` is the zero-padded map in planes, `width` that of
    /// the output.
    pub fn new(
        simd: Simd,
        input: View,
        width: usize,
        taps: &[Tap],
        weights: &[f32],
        bias: &[f32],
        functions: Vec<Pointwise>,
    ) -> Self {
        assert!(input.pixel == 1);
        let mut offsets = Vec::new();
        for tap in taps {
            let offset = |i| i * input.channel + tap.y * input.row + tap.x;
            offsets.extend((0..input.channels).map(offset));
        }
        let tile = tile(bias.len(), width.div_ceil(simd.lanes()));
        let (outputs, block, depth) = (bias.len(), tile.0, offsets.len());
        let bias = padded(bias, block);
        let mut packed = vec![0.0; bias.len() * depth];
        // A mask may leave nothing.
        for (output, row) in weights.chunks_exact(depth.max(1)).enumerate() {
            let first = output / block * (depth * block) + output % block;
            for (to, &weight) in packed[first..].iter_mut().step_by(block).zip(row) {
                *to = weight;
            }
        }
        PlaneConv {
            channel: input.channel,
            row: input.row,
            outputs,
            tile,
            offsets,
            weights: packed,
            bias,
            functions,
        }
    }

    /// Multiply-adds for `pixels` output pixels.
    pub fn multiply_adds(&self, pixels: usize) -> usize {
        self.outputs * self.offsets.len() * pixels
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
    assert!(output.channels == conv.outputs && output.end() <= arena.len());
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
        // The tile does not touch the order of any sum.
        match self.conv.tile {
            (1, 2) => self.rows::<L, 1, 2>(l),
            (1, MOST_VECTORS) => self.rows::<L, 1, MOST_VECTORS>(l),
            (2, 4) => self.rows::<L, 2, 4>(l),
            (4, 2) => self.rows::<L, 4, 2>(l),
            other => unreachable!("no kernel for tile {other:?}"),
        }
    }
}

impl Job<'_> {
    #[inline(always)]
    fn rows<L: Lanes, const O: usize, const V: usize>(self, l: L) {
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
                for (block, bias) in conv.bias.chunks_exact(O).enumerate() {
                    let weights = &conv.weights[block * depth * O..][..depth * O];
                    let start = input.offset + y * input.row + x;
                    // SAFETY: x starts within the row, so a vector ends within width + V N of it, which `plane_conv` has
                    // checked, V N being at most SLACK.
                    let mut sums = unsafe {
                        let from = base.add(start);
                        tile_sum::<L, O, V>(l, from, &conv.offsets, weights, bias)
                    };
                    apply_all(l, &conv.functions, sums.as_flattened_mut());
                    let count = (V * L::N).min(output.width - x);
                    let outputs = block * O..conv.outputs.min((block + 1) * O);
                    for (o, sums) in outputs.zip(sums) {
                        let mut row = [0.0f32; SLACK];
                        for (v, &sum) in sums.iter().enumerate() {
                            // SAFETY: V N numbers fit in SLACK.
                            unsafe { l.store(row.as_mut_ptr().add(v * L::N), sum) };
                        }
                        let to =
                            output.offset + o * output.channel + y * output.row + x * output.pixel;
                        for (i, &value) in row[..count].iter().enumerate() {
                            // SAFETY: pixel x + i of the row of `output`.
                            unsafe { *base.add(to + i * output.pixel) = value };
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// V N numbers can be read at each of `offsets` from `from`.
#[inline(always)]
unsafe fn tile_sum<L: Lanes, const O: usize, const V: usize>(
    l: L,
    from: *const f32,
    offsets: &[usize],
    weights: &[f32],
    bias: &[f32],
) -> [[L::V; V]; O] {
    let mut acc = [[l.splat(0.0); V]; O];
    for (acc, &bias) in acc.iter_mut().zip(bias) {
        *acc = [l.splat(bias); V];
    }
    for (&offset, weights) in offsets.iter().zip(weights.chunks_exact(O)) {
        let mut x = [l.splat(0.0); V];
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: by the caller.
            *x = unsafe { l.load(from.add(offset + v * L::N)) };
        }
        for o in 0..O {
            let w = l.splat(weights[o]);
            for v in 0..V {
                acc[o][v] = l.fma(x[v], w, acc[o][v]);
            }
        }
    }
    acc
}
