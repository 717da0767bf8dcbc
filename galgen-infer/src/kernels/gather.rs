//! Convolution of one row, or one pixel, whose inputs lie in several rows and maps: what a sampler that goes
//! pixel by pixel needs.
//!
//! The loops and the order of accumulation are those of [`super::conv`], so both give the same bits.

use super::Simd;
use super::conv::{End, Packed, Tile, padded, tile, tile_end, tile_sum};
use super::elementary::Pointwise;
use super::lanes::{Kernel, Lanes};
use alloc::vec::Vec;

/// Inputs that are contiguous in memory for one output pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Of the first output pixel.
    pub offset: usize,
    /// From one output pixel to the next.
    pub pixel: usize,
    pub len: usize,
}

/// A convolution with packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    outputs: usize,
    tile: Tile,
    pub packed: Packed,
    /// `[blocks][block]`
    bias: Vec<f32>,
    functions: Vec<Pointwise>,
}

impl Gather {
    /// A convolution of `depth` numbers for calls of `pixels` pixels, whose weights are zeros until they are set in
    /// `packed`.
    pub fn new(
        simd: Simd,
        depth: usize,
        bias: &[f32],
        functions: Vec<Pointwise>,
        pixels: usize,
    ) -> Self {
        let outputs = bias.len();
        let tile = tile(simd.lanes(), outputs, pixels);
        let block = tile.1 * simd.lanes();
        Gather {
            outputs,
            tile,
            packed: Packed::new(outputs, depth, block),
            bias: padded(bias, block),
            functions,
        }
    }

    /// Multiply-adds of one pixel.
    pub fn multiply_adds(&self) -> usize {
        self.packed.depth * self.outputs
    }
}

/// Writes functions(bias + convolution) of `pixels` pixels from `to` on, `to_pixel` apart; `runs` are the inputs in
/// the order of accumulation, and do not overlap what is written.
pub(crate) fn gather(
    simd: Simd,
    arena: &mut [f32],
    runs: &[Run],
    conv: &Gather,
    to: usize,
    to_pixel: usize,
    pixels: usize,
) {
    assert!(conv.packed.width == conv.tile.1 * simd.lanes() && pixels > 0);
    let depth: usize = runs.iter().map(|run| run.len).sum();
    assert!(depth == conv.packed.depth);
    for run in runs {
        assert!(run.offset + (pixels - 1) * run.pixel + run.len <= arena.len());
    }
    assert!(to + (pixels - 1) * to_pixel + conv.outputs <= arena.len());
    simd.dispatch(Job {
        arena,
        runs,
        conv,
        to,
        to_pixel,
        pixels,
    });
}

/// A convolution whose inputs and outputs lie within the arena.
struct Job<'a> {
    arena: &'a mut [f32],
    runs: &'a [Run],
    conv: &'a Gather,
    to: usize,
    to_pixel: usize,
    pixels: usize,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match self.conv.tile {
            (6, 2) if L::N == 8 => self.tiles::<L, 6, 2>(l),
            (4, 2) if L::N > 4 => self.tiles::<L, 4, 2>(l),
            (8, 2) if L::N == 16 => self.tiles::<L, 8, 2>(l),
            (8, 1) if L::N > 4 => self.tiles::<L, 8, 1>(l),
            (4, 1) => self.tiles::<L, 4, 1>(l),
            (1, 8) if L::N > 4 => self.tiles::<L, 1, 8>(l),
            (1, 4) if L::N > 4 => self.tiles::<L, 1, 4>(l),
            (1, 2) if L::N > 4 => self.tiles::<L, 1, 2>(l),
            (1, 1) => self.tiles::<L, 1, 1>(l),
            other => unreachable!("no kernel for tile {other:?}"),
        }
    }
}

impl Job<'_> {
    #[inline(always)]
    fn tiles<L: Lanes, const P: usize, const V: usize>(self, l: L) {
        let Job {
            arena,
            runs,
            conv,
            to,
            to_pixel,
            pixels,
        } = self;
        let base = arena.as_mut_ptr();
        let block = conv.packed.width;
        for (index, first) in (0..conv.outputs).step_by(block).enumerate() {
            let weights = conv.packed.block(index);
            let bias = &conv.bias[index * block..][..block];
            let columns = block.min(conv.outputs - first);
            for start in (0..pixels).step_by(P) {
                // Beyond the last pixel the tile repeats it.
                let pixel: [usize; P] = core::array::from_fn(|p| (start + p).min(pixels - 1));
                let targets = pixel.map(|p| to + p * to_pixel);
                // SAFETY: pixels of this call, for which `gather` has checked that inputs and outputs lie
                // within the arena; weights and bias have the lengths sliced.
                unsafe {
                    let starts =
                        |run: &Run| (pixel.map(|p| base.add(run.offset + p * run.pixel)), run.len);
                    let acc =
                        tile_sum::<L, P, V>(l, runs.iter().map(starts), weights.as_ptr(), bias);
                    let end = End {
                        functions: &conv.functions,
                        base: base.add(first),
                        to: &targets[..P.min(pixels - start)],
                        added: None,
                        columns,
                    };
                    tile_end::<L, P, V>(l, acc, end);
                }
            }
        }
    }
}
