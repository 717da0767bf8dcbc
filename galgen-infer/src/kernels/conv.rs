//! Direct convolution of channels-last maps, and the matrix-vector product as its case of one pixel.
//!
//! A tile of P pixels by V vectors of output channels stays in registers while the taps and input
//! channels run:
//!
//! ```text
//! for each band of rows                                what it reads of the map stays in cache for all blocks
//!     for each block of V N output channels            its weights stay in cache for all pixels of the band
//!         for each P output pixels
//!             acc[p][v] = bias
//!             for each run of taps that are contiguous in memory, for each k of the run
//!                 acc[p][v] += input[pixel p][k] * weight[k][v]
//!             output[p][v] = functions(acc[p][v])
//! ```
//!
//! So each output is bias + products in the order (kernel row, kernel column, input channel), fused,
//! whatever P, V and N are.

use super::Simd;
use super::aligned::Aligned;
use super::elementary::Pointwise;
use super::lanes::{Kernel, Lanes, load_part, store_part};
use super::pack::{Column, scatter};
use super::view::View;
use alloc::vec::Vec;
use core::ops::Range;
use galgen_core::math::act::Act;

/// One tap: the displacement of its input pixel in the zero-padded map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub y: usize,
    pub x: usize,
}

/// Weights of blocks of outputs.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// Numbers that an output sees.
    pub(super) depth: usize,
    /// Output channels of a tile.
    pub(super) width: usize,
    /// `[blocks][depth][width]`, zeros beyond the last output.
    weights: Aligned,
}

impl Packed {
    /// Zeros for so many outputs.
    pub(super) fn new(outputs: usize, depth: usize, width: usize) -> Self {
        Packed {
            depth,
            width,
            weights: Aligned::zeros(outputs.div_ceil(width) * depth * width),
        }
    }

    /// The weights of some `outputs`: `sources` are the numbers of each one's row, of `len`, in the order of accumulation.
    pub fn set(
        &mut self,
        outputs: impl Iterator<Item = usize>,
        rows: &[f32],
        len: usize,
        sources: &[usize],
    ) {
        let (depth, step) = (self.depth, self.width);
        let columns = outputs.map(|output| Column {
            first: output / step * (depth * step) + output % step,
            step,
        });
        scatter(&mut self.weights, columns, rows, len, sources);
    }

    /// The weights of all outputs for number `k` of the order of accumulation.
    pub fn set_input(&mut self, k: usize, mut weights: impl Iterator<Item = f32>) {
        for block in self.weights.chunks_exact_mut(self.depth * self.width) {
            let row = &mut block[k * self.width..][..self.width];
            for (to, weight) in row.iter_mut().zip(&mut weights) {
                *to = weight;
            }
        }
    }

    /// The weights of the outputs of a block.
    pub(super) fn block(&self, index: usize) -> &[f32] {
        let len = self.depth * self.width;
        &self.weights[index * len..][..len]
    }
}

/// Biases of whole blocks of outputs, zeros beyond the last.
pub(super) fn padded(bias: &[f32], block: usize) -> Vec<f32> {
    let mut padded = bias.to_vec();
    padded.resize(bias.len().next_multiple_of(block), 0.0);
    padded
}

/// Inputs that are contiguous in memory for one output pixel.
#[derive(Clone, Copy, Debug)]
struct Run {
    offset: usize,
    len: usize,
}

/// (P, V): pixels and vectors of a tile.
pub(super) type Tile = (usize, usize);

/// A convolution with packed weights, for inputs of certain strides.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    outputs: usize,
    stride: usize,
    /// Strides of the input for which the runs hold.
    row: usize,
    pixel: usize,
    runs: Vec<Run>,
    /// One past the furthest input element of an output pixel.
    reach: usize,
    tile: Tile,
    /// As deep as the runs are long together.
    pub packed: Packed,
    /// `[blocks][block]`
    bias: Vec<f32>,
    functions: Vec<Pointwise>,
}

impl Conv {
    /// A convolution of `taps` (in the order of accumulation) for `simd`, whose weights are zeros until they are set in
    /// `packed`. `input` is the zero-padded map, `pixels` the number of output pixels.
    pub fn new(
        simd: Simd,
        input: View,
        stride: usize,
        taps: &[Tap],
        bias: &[f32],
        functions: Vec<Pointwise>,
        pixels: usize,
    ) -> Conv {
        assert!(input.channel == 1);
        let (outputs, inputs) = (bias.len(), input.channels);
        let tile = tile(simd.lanes(), outputs, pixels);
        let block = tile.1 * simd.lanes();
        let runs = runs(taps, input);
        let reach = runs.iter().map(|r| r.offset + r.len).max().unwrap_or(0);
        let packed = Packed::new(outputs, taps.len() * inputs, block);
        let (row, pixel) = (input.row, input.pixel);
        Conv {
            outputs,
            // A longer one leaves the same single pixel; a file may have any.
            stride: stride.min(input.height.max(input.width)),
            row,
            pixel,
            runs,
            reach,
            tile,
            packed,
            bias: padded(bias, block),
            functions,
        }
    }

    /// Multiply-adds for `pixels` output pixels.
    pub fn multiply_adds(&self, pixels: usize) -> usize {
        self.packed.depth * self.outputs * pixels
    }
}

/// Merges taps that follow each other in memory.
fn runs(taps: &[Tap], input: View) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for tap in taps {
        let offset = tap.y * input.row + tap.x * input.pixel;
        match runs.last_mut() {
            Some(last) if last.offset + last.len == offset => last.len += input.channels,
            _ => runs.push(Run {
                offset,
                len: input.channels,
            }),
        }
    }
    runs
}

/// Tiles, each with its time for a multiply-add against the best tile's, in percent: few sums side by side do
/// not hide the latency of the multiply-add, and a narrow tile loads more than it computes. With 16 registers 6 x 2
/// leaves room for two weights and an input; three vectors of weights would spill.
const TILES_8: [(Tile, usize); 4] = [((6, 2), 100), ((4, 2), 120), ((8, 1), 125), ((4, 1), 200)];
/// With 32 registers.
const TILES_16: [(Tile, usize); 4] = [((8, 2), 100), ((8, 1), 105), ((4, 2), 110), ((4, 1), 130)];
/// Portable code has one shape, so that there is little of it: without multiply-adds of the hardware it is slow in any.
const TILES_4: [(Tile, usize); 1] = [((4, 1), 100)];
/// One pixel needs several vectors.
const TILES_ONE_PIXEL: [(Tile, usize); 4] =
    [((1, 8), 100), ((1, 4), 100), ((1, 2), 100), ((1, 1), 100)];

/// The tile with the least time, padded work included; the first of those that are equal.
pub(super) fn tile(lanes: usize, outputs: usize, pixels: usize) -> Tile {
    let tiles: &[(Tile, usize)] = match (pixels, lanes) {
        (1, 4) => &[((1, 1), 100)],
        (_, 4) => &TILES_4,
        (1, _) => &TILES_ONE_PIXEL,
        (_, 16) => &TILES_16,
        _ => &TILES_8,
    };
    let time = |&&((p, v), percent): &&(Tile, usize)| {
        pixels.next_multiple_of(p) * outputs.next_multiple_of(v * lanes) * percent
    };
    tiles
        .iter()
        .min_by_key(time)
        .map_or((1, 1), |(tile, _)| *tile)
}

/// output = functions(bias + convolution of `input`) + `added` where there is one, where `input` is the zero-padded map and
/// does not overlap the output. `added` is the output itself or does not overlap it.
pub(crate) fn conv(
    simd: Simd,
    arena: &mut [f32],
    input: View,
    conv: &Conv,
    added: Option<View>,
    output: View,
) {
    assert!(output.channel == 1 && output.channels == conv.outputs);
    let fits = |v: View| v.same_extents(&output) && v.channel == 1 && v.end() <= arena.len();
    assert!(added.is_none_or(fits));
    assert!((input.row, input.pixel) == (conv.row, conv.pixel));
    assert!(conv.packed.width == conv.tile.1 * simd.lanes());
    let (last_y, last_x) = (output.height - 1, output.width - 1);
    let last_pixel = input.offset + conv.stride * (last_y * input.row + last_x * input.pixel);
    assert!(last_pixel + conv.reach <= arena.len() && output.end() <= arena.len());
    let job = Job {
        arena,
        input,
        conv,
        added,
        output,
    };
    simd.dispatch(job);
}

/// A convolution whose inputs and outputs lie within the arena.
struct Job<'a> {
    arena: &'a mut [f32],
    input: View,
    conv: &'a Conv,
    added: Option<View>,
    output: View,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        // The tiles of other vectors than these are left out of the program.
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
            input,
            conv,
            added,
            output,
        } = self;
        let base = arena.as_mut_ptr();
        let block = conv.packed.width;
        let band = conv.band(input, output);
        for top in (0..output.height).step_by(band) {
            let bottom = (top + band).min(output.height);
            for (index, first) in (0..conv.outputs).step_by(block).enumerate() {
                let weights = conv.packed.block(index);
                let bias = &conv.bias[index * block..][..block];
                let columns = block.min(conv.outputs - first);
                let mut walk = Walk::new(conv.stride, input, output, added, top..bottom);
                let mut left = (bottom - top) * output.width;
                while left > 0 {
                    let (mut from, mut to, mut more) = ([0; P], [0; P], [0; P]);
                    walk.next(&mut from, &mut to, &mut more);
                    // SAFETY: all pixels are pixels of `output`, for which `conv` has checked that the inputs, outputs and
                    // what is added lie within the arena; weights and bias have the lengths sliced.
                    unsafe {
                        let starts =
                            |run: &Run| (from.map(|at| base.add(at + run.offset)), run.len);
                        let runs = conv.runs.iter().map(starts);
                        let acc = tile_sum::<L, P, V>(l, runs, weights.as_ptr(), bias);
                        let pixels = left.min(P);
                        let end = End {
                            functions: &conv.functions,
                            base: base.add(first),
                            to: &to[..pixels],
                            added: added.is_some().then_some(&more[..pixels]),
                            columns,
                        };
                        tile_end::<L, P, V>(l, acc, end);
                    }
                    left = left.saturating_sub(P);
                }
            }
        }
    }
}

/// Goes over the pixels of some rows.
struct Walk {
    x: usize,
    rows: Range<usize>,
    width: usize,
    /// Of the input, the output and what is added: the pixel, the start of its row, from pixel to pixel, from row to row.
    at: [usize; 3],
    start: [usize; 3],
    pixel: [usize; 3],
    row: [usize; 3],
}

impl Walk {
    fn new(
        stride: usize,
        input: View,
        output: View,
        added: Option<View>,
        rows: Range<usize>,
    ) -> Self {
        let views = [input, output, added.unwrap_or(output)];
        let strides = [stride, 1, 1];
        let mut walk = Walk {
            x: 0,
            width: output.width,
            at: [0; 3],
            start: [0; 3],
            pixel: [0; 3],
            row: [0; 3],
            rows,
        };
        for (k, (view, stride)) in views.iter().zip(strides).enumerate() {
            walk.pixel[k] = stride * view.pixel;
            walk.row[k] = stride * view.row;
            walk.start[k] = view.offset + walk.rows.start * walk.row[k];
        }
        walk.at = walk.start;
        walk
    }

    /// The places of the next pixels; beyond the last row its last pixel is repeated. There once, not in each shape of a tile.
    #[inline(never)]
    fn next(&mut self, from: &mut [usize], to: &mut [usize], added: &mut [usize]) {
        for ((from, to), added) in from.iter_mut().zip(to).zip(added) {
            [*from, *to, *added] = self.at;
            if self.x + 1 < self.width {
                self.x += 1;
                for k in 0..3 {
                    self.at[k] += self.pixel[k];
                }
            } else if self.rows.len() > 1 {
                self.rows.start += 1;
                self.x = 0;
                for k in 0..3 {
                    self.start[k] += self.row[k];
                }
                self.at = self.start;
            }
        }
    }
}

/// Numbers of the input that a band of rows reads: 128 KB, a part of a second-level cache.
const BAND_NUMBERS: usize = 1 << 15;

impl Conv {
    /// Rows of the output for which all blocks of outputs run before the next ones: a map that is larger than a cache is
    /// read once, and the weights once for each band, unless that is more.
    fn band(&self, input: View, output: View) -> usize {
        let row = self.stride * input.width * input.channels;
        let rows = (BAND_NUMBERS / row).clamp(1, output.height);
        let map = row * output.height;
        let blocks = self.outputs.div_ceil(self.packed.width);
        let weights = blocks * self.packed.depth * self.packed.width;
        let bands = output.height.div_ceil(rows);
        match map * (blocks - 1) > weights * (bands - 1) {
            true => rows,
            false => output.height,
        }
    }
}

/// # Safety
/// From the starts of each run as many numbers as it is long can be read; `weights` has V N numbers for each of
/// them, `bias` has V N.
#[inline(always)]
pub(super) unsafe fn tile_sum<L: Lanes, const P: usize, const V: usize>(
    l: L,
    runs: impl Iterator<Item = ([*mut f32; P], usize)>,
    mut weights: *const f32,
    bias: &[f32],
) -> [[L::V; V]; P] {
    let mut acc = [[l.splat(0.0); V]; P];
    for v in 0..V {
        // SAFETY: bias has V N numbers.
        let b = unsafe { l.load(bias.as_ptr().add(v * L::N)) };
        for row in &mut acc {
            row[v] = b;
        }
    }
    for (inputs, len) in runs {
        for k in 0..len {
            let mut w = [l.splat(0.0); V];
            for (v, w) in w.iter_mut().enumerate() {
                // SAFETY: the weights of this element.
                *w = unsafe { l.load(weights.add(v * L::N)) };
            }
            for p in 0..P {
                // SAFETY: element k of the run.
                let x = l.splat(unsafe { *inputs[p].add(k) });
                for v in 0..V {
                    acc[p][v] = l.fma(x, w[v], acc[p][v]);
                }
            }
            // SAFETY: at most one past the end.
            weights = unsafe { weights.add(V * L::N) };
        }
    }
    acc
}

/// What becomes of the sums of a tile.
pub(super) struct End<'a> {
    pub functions: &'a [Pointwise],
    /// What the places are counted from.
    pub base: *mut f32,
    /// Where the outputs of each pixel go, as many as there are of the tile.
    pub to: &'a [usize],
    /// Where what is added to them stands.
    pub added: Option<&'a [usize]>,
    /// Outputs of a pixel.
    pub columns: usize,
}

/// # Safety
/// `columns` numbers, at most V N, can be written at each `base + to[p]` and read at each `base + added[p]`.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(super) unsafe fn tile_end<L: Lanes, const P: usize, const V: usize>(
    l: L,
    acc: [[L::V; V]; P],
    end: End,
) {
    let relu = end.functions == [Pointwise::Act(Act::Relu)];
    let whole = end.to.len() == P && end.columns == V * L::N;
    let simple = end.added.is_none() && (relu || end.functions.is_empty());
    // Portable code is kept short.
    if L::N > 4 && whole && simple {
        for p in 0..P {
            for v in 0..V {
                let value = match relu {
                    true => l.max(l.splat(0.0), acc[p][v]),
                    false => acc[p][v],
                };
                // SAFETY: V N numbers of a pixel.
                unsafe { l.store(end.base.add(end.to[p] + v * L::N), value) };
            }
        }
        return;
    }
    let sums = acc;
    l.apart(Ending {
        sums: sums.as_ptr().cast(),
        width: V * L::N,
        end,
    });
}

/// The end of any tile: there once for each level of instructions.
struct Ending<'a> {
    /// `[pixels][width]`
    sums: *const f32,
    width: usize,
    end: End<'a>,
}

impl Kernel for Ending<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let End {
            functions,
            base,
            to,
            added,
            columns,
        } = self.end;
        for (p, to) in to.iter().enumerate() {
            for c in (0..columns).step_by(L::N) {
                let count = columns - c;
                // SAFETY: the tile's sums are whole vectors; numbers c .. c + N of a pixel, or as many as are left.
                unsafe {
                    let mut value = l.load(self.sums.add(p * self.width + c));
                    // A loop, not a fold: a closure is compiled without the instructions of `l`.
                    for f in functions {
                        value = f.apply(l, value);
                    }
                    if let Some(added) = added {
                        value = l.add(value, load_part(l, base.add(added[p] + c), count));
                    }
                    store_part(l, base.add(to + c), value, count);
                }
            }
        }
    }
}
