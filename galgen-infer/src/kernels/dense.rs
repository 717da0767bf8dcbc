//! Products of a matrix with the vectors of several items, added to what is there.
//!
//! A tile of P items by V vectors of outputs stays in registers while inputs run:
//!
//! ```text
//! for each V vectors of outputs
//!     for each run of inputs whose weights fit the first cache
//!         for each P items
//!             acc[p][v] = sums[item p][v]
//!             for each input k of the run
//!                 acc[p][v] += input[item p][k] * weight[k][v]
//!             sums[item p][v] = acc[p][v]
//! ```
//!
//! So each sum is what was there + products in the order of the inputs, fused, whatever P, V and N are: an item has the
//! same bits alone and in a batch, and those of a 1 x 1 convolution by [`super::conv`] whose sums start at the bias.

use super::Simd;
use super::aligned::Aligned;
use super::lanes::{Kernel, Lanes};
use super::pack::{Column, scatter};
use alloc::vec::Vec;
use core::ops::Range;

/// Outputs of a block: eight of the widest vectors, which hide the latency of the multiply-add of one item.
const BLOCK: usize = 128;
/// Outputs of a panel, whose weights lie together: the widest vector, and two of 8 numbers. Sums of an item are padded to a
/// whole number of panels.
const PANEL: usize = 16;
/// Weights of a tile that stay in the first cache, for all items: half of 32 KB.
const RUN_NUMBERS: usize = 1 << 12;

/// A matrix with packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    outputs: usize,
    inputs: usize,
    /// `[panels][inputs + 1][PANEL]`, zeros beyond the last output. One more input, so that panels that are read side by side
    /// do not compete for the same places of a cache.
    weights: Aligned,
    bias: Vec<f32>,
    /// Of each block, the inputs that have weights other than 0.
    seen: Vec<Range<usize>>,
    /// Of each input, the first output that has a weight other than 0; the number of outputs if none has.
    first: Vec<usize>,
}

/// A matrix while its weights are set.
pub(crate) struct Filling {
    inputs: usize,
    weights: Aligned,
}

impl Filling {
    /// The weights of some `outputs`: `sources` says for each input where it stands in the row, as long, of an output.
    pub fn set(&mut self, outputs: impl Iterator<Item = usize>, rows: &[f32], sources: &[usize]) {
        let stride = stride(self.inputs);
        let columns = outputs.map(|output| Column {
            first: output / PANEL * stride + output % PANEL,
            step: PANEL,
        });
        scatter(&mut self.weights, columns, rows, self.inputs, sources);
    }
}

/// Numbers from one panel to the next.
fn stride(inputs: usize) -> usize {
    (inputs + 1) * PANEL
}

impl Dense {
    /// The matrix whose weights `fill` sets, output by output: zeros before.
    pub fn new<E>(
        bias: Vec<f32>,
        inputs: usize,
        fill: impl FnOnce(&mut Filling) -> Result<(), E>,
    ) -> Result<Self, E> {
        let outputs = bias.len();
        let mut filling = Filling {
            inputs,
            weights: Aligned::zeros(outputs.div_ceil(PANEL) * stride(inputs)),
        };
        fill(&mut filling)?;
        let weights = filling.weights;
        let mut seen = alloc::vec![inputs..0; outputs.div_ceil(BLOCK)];
        let mut first = alloc::vec![outputs; inputs];
        for (panel, weights) in weights.chunks_exact(stride(inputs)).enumerate() {
            let seen: &mut Range<usize> = &mut seen[panel * PANEL / BLOCK];
            for (i, (row, first)) in weights.chunks_exact(PANEL).zip(&mut first).enumerate() {
                // Vectors can do this before the search: nearly always it is the first.
                if row.iter().fold(0, |any, w| any | w.to_bits() << 1) != 0 {
                    *seen = seen.start.min(i)..seen.end.max(i + 1);
                    let nonzero = row.iter().position(|&w| w != 0.0).unwrap_or(0);
                    *first = (*first).min(panel * PANEL + nonzero);
                }
            }
        }
        Ok(Dense {
            outputs,
            inputs,
            weights,
            bias,
            seen,
            first,
        })
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers from the sums of one item to those of the next, at least.
    pub fn width(&self) -> usize {
        self.outputs.next_multiple_of(PANEL)
    }

    /// Multiply-adds of one item, as if all weights were there.
    pub fn multiply_adds(&self) -> usize {
        self.inputs * self.outputs
    }

    /// Writes the bias to the sums of so many items, which are `stride` apart.
    pub fn start(&self, sums: &mut [f32], stride: usize, items: usize) {
        for sums in sums.chunks_mut(stride).take(items) {
            sums[..self.outputs].copy_from_slice(&self.bias);
        }
    }
}

/// Adds the products of some `inputs` to the sums of every item. Input i of an item is `values[item value_stride + i]`,
/// sum o is `sums[item sum_stride + o]`; what lies between an item's outputs and its [`Dense::width`] is
/// overwritten.
pub(crate) fn accumulate(
    simd: Simd,
    dense: &Dense,
    inputs: Range<usize>,
    (values, value_stride): (&[f32], usize),
    (sums, sum_stride): (&mut [f32], usize),
    items: usize,
) {
    if inputs.is_empty() || items == 0 {
        return;
    }
    assert!(inputs.end <= dense.inputs && sum_stride >= dense.width());
    assert!(values.len() >= (items - 1) * value_stride + inputs.end);
    assert!(sums.len() >= (items - 1) * sum_stride + dense.width());
    simd.dispatch(Job {
        dense,
        inputs,
        values,
        value_stride,
        sums,
        sum_stride,
        items,
    });
}

/// A product whose inputs and sums lie within their slices.
struct Job<'a> {
    dense: &'a Dense,
    inputs: Range<usize>,
    values: &'a [f32],
    value_stride: usize,
    sums: &'a mut [f32],
    sum_stride: usize,
    items: usize,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let Range { start, end } = self.inputs;
        // Outputs before it see none of the inputs.
        let first = self.dense.first[start..end].iter().min().copied();
        let first = first.unwrap_or(0);
        for block in first / BLOCK..self.dense.seen.len() {
            let base = block * BLOCK;
            // In whole panels, so that every level adds the same zeros.
            let from = first.saturating_sub(base) / PANEL * (PANEL / L::N);
            let to = (self.dense.width() - base).min(BLOCK) / L::N;
            let seen = self.dense.seen[block].clone();
            let (mut k, end) = (start.max(seen.start), end.min(seen.end));
            // 16 registers of 8 lanes hold 6 x 2 sums, 32 registers 6 x 4.
            let vectors = if L::N == 8 { 2 } else { 4 };
            while k < end {
                let run = k..end.min(k + RUN_NUMBERS / (vectors * L::N));
                k = run.end;
                self.block(l, base / L::N + from..base / L::N + to, run);
            }
        }
    }
}

impl Job<'_> {
    /// These vectors of outputs, whole panels, for all items.
    #[inline(always)]
    fn block<L: Lanes>(&mut self, l: L, vectors: Range<usize>, inputs: Range<usize>) {
        let wide = L::N == 16;
        let together = self.items / 6 * 6;
        let mut v = vectors.start;
        // Panel by panel, so that its weights stay in the first cache for all items.
        while v < vectors.end && together > 0 {
            let mut width = 0;
            for item in (0..together).step_by(6) {
                let at = (item, v, inputs.clone());
                // SAFETY: items and vectors that there are.
                width = unsafe {
                    match vectors.end - v {
                        4.. if L::N != 8 => self.tile::<L, 6, 4>(l, at),
                        1 if wide => self.tile::<L, 6, 1>(l, at),
                        _ => self.tile::<L, 6, 2>(l, at),
                    }
                };
            }
            v += width;
        }
        let mut item = together;
        while item < self.items {
            let left = self.items - item;
            let mut v = vectors.start;
            while v < vectors.end {
                let at = (item, v, inputs.clone());
                // SAFETY: items and vectors that there are.
                unsafe {
                    // One item needs several vectors to hide the latency of the multiply-add.
                    v += match (left, vectors.end - v) {
                        (2.., 4..) => self.tile::<L, 2, 4>(l, at),
                        (2.., 1) if wide => self.tile::<L, 2, 1>(l, at),
                        (2.., _) => self.tile::<L, 2, 2>(l, at),
                        (_, 8..) => self.tile::<L, 1, 8>(l, at),
                        (_, 4..) => self.tile::<L, 1, 4>(l, at),
                        (_, 1) if wide => self.tile::<L, 1, 1>(l, at),
                        (_, _) => self.tile::<L, 1, 2>(l, at),
                    };
                }
            }
            item += left.min(2);
        }
    }

    /// P items from `item` on by V vectors, whole panels, from `vector` on; returns V.
    ///
    /// # Safety
    /// There are so many items, and vectors within the width of the sums.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    unsafe fn tile<L: Lanes, const P: usize, const V: usize>(
        &mut self,
        l: L,
        (item, vector, inputs): (usize, usize, Range<usize>),
    ) -> usize {
        let column = vector * L::N;
        // SAFETY: rows of panels, of which there are so many; inputs and sums of these items are within their slices, as
        // `accumulate` has checked; the width is a whole number of panels.
        unsafe {
            let stride = stride(self.dense.inputs);
            let first = column / PANEL * stride + inputs.start * PANEL;
            let weights = self.dense.weights.as_ptr().add(first);
            // Loops, because closures in here are not always inlined.
            let mut values = [self.values.as_ptr(); P];
            let mut sums = [self.sums.as_mut_ptr(); P];
            let mut panels = [weights; V];
            let mut acc = [[l.splat(0.0); V]; P];
            for v in 0..V {
                panels[v] = weights.add(v * L::N / PANEL * stride + v * L::N % PANEL);
            }
            for p in 0..P {
                values[p] = values[p].add((item + p) * self.value_stride + inputs.start);
                sums[p] = sums[p].add((item + p) * self.sum_stride + column);
                for v in 0..V {
                    acc[p][v] = l.load(sums[p].add(v * L::N));
                }
            }
            for k in 0..inputs.len() {
                let mut w = [l.splat(0.0); V];
                for v in 0..V {
                    w[v] = l.load(panels[v].add(k * PANEL));
                }
                for p in 0..P {
                    let x = l.splat(*values[p].add(k));
                    for v in 0..V {
                        acc[p][v] = l.fma(x, w[v], acc[p][v]);
                    }
                }
            }
            for p in 0..P {
                for v in 0..V {
                    l.store(sums[p].add(v * L::N), acc[p][v]);
                }
            }
        }
        V
    }
}
