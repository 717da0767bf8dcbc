//! 3 x 3 and 2 x 2 convolutions with fewer multiplications (Winograd 1980; Lavin and Gray 2016, arXiv:1509.09308).
//!
//! The output is cut into cells of 2 x 2 pixels. Along one axis, two neighbouring outputs are sums of M
//! products of differences of M inputs with sums of the weights w:
//!
//! ```text
//! plain, M = 4:        inputs x0 .. x3     products p0 = (x0 - x2) w0
//!                                                   p1 = (x1 + x2) (w0 + w1 + w2) / 2
//!                                                   p2 = (x2 - x1) (w0 - w1 + w2) / 2
//!                                                   p3 = (x1 - x3) w2
//!                      outputs  (p0 + p1) + p2  and  (p1 - p2) - p3
//! upsampled, M = 3:    inputs x0 .. x2     products p0 = (x0 - x1) w0
//!                      each repeated                p1 = x1 (w0 + w1 + w2)
//!                      once                         p2 = (x2 - x1) w2
//!                      outputs  p0 + p1  and  p1 + p2
//! pair, M = 3:         two weights instead of three, the same but for p1 = x1 (w0 + w1) and p2 = (x2 - x1) w1
//! ```
//!
//! Nested over both axes: 16 products instead of 36 for a cell of a plain convolution, 9 instead of 36
//! for one whose input is upsampled by nearest neighbours (the outputs of a cell then see the same three
//! inputs), 9 instead of 16 for a pair (the phases of a transposed convolution of 4 x 4). Each of the M^2 products is a sum over the input channels, computed for a strip of cells as a
//! matrix product in the tiles of [`super::conv`].
//!
//! So each output is a fixed sequence of additions of M^2 sums in the order of the input channels, fused,
//! whatever the tiles and the width of a vector are.

use super::Simd;
use super::aligned::Aligned;
use super::conv::{Tile, padded, tile, tile_sum};
use super::elementary::{Pointwise, apply_all};
use super::lanes::{Kernel, Lanes, load_part, store_part};
use super::pack::SIDE;
use super::view::View;
use alloc::vec::Vec;

/// What is convolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// The map itself.
    Plain,
    /// The map with every pixel repeated twice in both directions.
    Upsampled,
    /// The map itself, under a kernel of 2 x 2.
    Pair,
}

impl Scheme {
    /// Inputs of a cell, and products, along an axis.
    #[inline(always)]
    fn width(self) -> usize {
        match self {
            Scheme::Plain => <Plain as Axis<4>>::WIDTH,
            Scheme::Upsampled | Scheme::Pair => <Three as Axis<3>>::WIDTH,
        }
    }

    /// Inputs from one cell to the next.
    fn step(self) -> usize {
        match self {
            Scheme::Plain | Scheme::Pair => 2,
            Scheme::Upsampled => 1,
        }
    }

    /// Side of the kernel.
    #[inline(always)]
    fn kernel(self) -> usize {
        match self {
            Scheme::Plain | Scheme::Upsampled => 3,
            Scheme::Pair => 2,
        }
    }

    /// The factors of the products along one axis, as many as the width, from as many weights as the kernel has.
    #[inline(always)]
    fn factors(self, w: [f64; 3]) -> [f64; 4] {
        let sum = w[0] + w[1] + w[2];
        match self {
            Scheme::Plain => [w[0], 0.5 * sum, 0.5 * (w[0] - w[1] + w[2]), w[2]],
            Scheme::Upsampled => [w[0], sum, w[2], 0.0],
            Scheme::Pair => [w[0], w[0] + w[1], w[1], 0.0],
        }
    }
}

/// A convolution with transformed, packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Winograd {
    scheme: Scheme,
    inputs: usize,
    outputs: usize,
    /// Cells whose inputs are transformed at a time.
    strip: usize,
    tile: Tile,
    /// Output channels of a tile.
    block: usize,
    /// `[blocks][products][inputs][block]`, zeros beyond the last output.
    weights: Aligned,
    /// `[blocks][block]`
    bias: Vec<f32>,
    functions: Vec<Pointwise>,
}

/// Numbers that the transformed inputs of a strip may take: 64 KB, a part of a second-level cache.
const STRIP_NUMBERS: usize = 1 << 14;
/// Cells of a strip: a multiple of the pixels of most tiles.
const STRIP_UNIT: usize = 24;

impl Winograd {
    /// A convolution of so many `inputs` for `simd`, whose weights are zeros until they are set. `cells` is the number of
    /// cells of an output map.
    pub fn new(
        simd: Simd,
        scheme: Scheme,
        inputs: usize,
        bias: &[f32],
        functions: Vec<Pointwise>,
        cells: usize,
    ) -> Self {
        let outputs = bias.len();
        let products = scheme.width() * scheme.width();
        let fitting = STRIP_NUMBERS / (products * inputs) / STRIP_UNIT * STRIP_UNIT;
        let strip = fitting.max(STRIP_UNIT).min(cells);
        // Tiles of one pixel have no kernel here.
        let tile = tile(simd.lanes(), outputs, cells.max(2));
        let block = tile.1 * simd.lanes();
        let blocks = outputs.div_ceil(block);
        Winograd {
            scheme,
            inputs,
            outputs,
            strip,
            tile,
            block,
            weights: Aligned::zeros(blocks * products * inputs * block),
            bias: padded(bias, block),
            functions,
        }
    }

    /// The weights `[outputs][inputs][kernel][kernel]` of outputs from `first` on: transformed in f64, rounded once.
    pub fn set(&mut self, first: usize, weights: &[f32]) {
        // Each with a scheme that the compiler knows.
        match self.scheme {
            Scheme::Plain => self.fill(first, weights, Scheme::Plain),
            Scheme::Upsampled => self.fill(first, weights, Scheme::Upsampled),
            Scheme::Pair => self.fill(first, weights, Scheme::Pair),
        }
    }

    /// The weights `[kernel][kernel]` of an output for one input.
    pub fn set_input(&mut self, output: usize, input: usize, kernel: &[f32]) {
        let at = self.place(output) + input * self.block;
        self.put(at, kernel, self.scheme);
    }

    /// Input by input, so that what neighbouring outputs have on a line of the cache is written together.
    #[inline(always)]
    fn fill(&mut self, first: usize, weights: &[f32], scheme: Scheme) {
        let area = scheme.kernel() * scheme.kernel();
        let len = self.inputs * area;
        for (part, rows) in weights.chunks(SIDE * len).enumerate() {
            let places: [usize; SIDE] =
                core::array::from_fn(|k| self.place(first + part * SIDE + k));
            for i in 0..self.inputs {
                for (row, place) in rows.chunks_exact(len).zip(places) {
                    let kernel = &row[i * area..][..area];
                    self.put(place + i * self.block, kernel, scheme);
                }
            }
        }
    }

    /// Where the first weight of an output stands.
    fn place(&self, output: usize) -> usize {
        let (block, column) = (output / self.block, output % self.block);
        block * self.products() * self.inputs * self.block + column
    }

    /// Writes the factors of a kernel, the first to `at`.
    #[inline(always)]
    fn put(&mut self, at: usize, kernel: &[f32], scheme: Scheme) {
        let (width, stride) = (scheme.width(), self.inputs * self.block);
        let factors = transformed(scheme, kernel);
        let places = &mut self.weights[at..];
        for (y, row) in factors[..width].iter().enumerate() {
            for (x, &factor) in row[..width].iter().enumerate() {
                places[(y * width + x) * stride] = factor as f32;
            }
        }
    }

    fn products(&self) -> usize {
        self.scheme.width() * self.scheme.width()
    }

    /// Multiply-adds of the products of `cells` cells.
    pub fn multiply_adds(&self, cells: usize) -> usize {
        self.products() * self.inputs * self.outputs * cells
    }

    /// Numbers of scratch: the transformed inputs of a strip, and the products of a block of its outputs.
    pub fn scratch(&self) -> usize {
        self.products() * self.strip * (self.inputs + self.block)
    }
}

/// The factors of the products of one kernel, row by row.
#[inline(always)]
fn transformed(scheme: Scheme, kernel: &[f32]) -> [[f64; 4]; 4] {
    let mut rows = [[0.0; 4]; 3];
    for (row, weights) in rows.iter_mut().zip(kernel.chunks_exact(scheme.kernel())) {
        let mut along = [0.0; 3];
        for (along, &weight) in along.iter_mut().zip(weights) {
            *along = f64::from(weight);
        }
        *row = scheme.factors(along);
    }
    let mut factors = [[0.0; 4]; 4];
    for x in 0..4 {
        let column = scheme.factors([rows[0][x], rows[1][x], rows[2][x]]);
        for (row, factor) in factors.iter_mut().zip(column) {
            row[x] = factor;
        }
    }
    factors
}

/// output = functions(bias + convolution of `input`) + `added` where there is one, where `input` is the map with the zeros
/// that the kernel sees and `scratch` the start of [`Winograd::scratch`] numbers; the three do not overlap. `added` is the
/// output itself or does not overlap it.
pub(crate) fn winograd(
    simd: Simd,
    arena: &mut [f32],
    input: View,
    conv: &Winograd,
    scratch: usize,
    added: Option<View>,
    output: View,
) {
    let (height, width) = (output.height / 2, output.width / 2);
    let furthest = |cells: usize| (cells - 1) * conv.scheme.step() + conv.scheme.width();
    assert!(input.channel == 1 && input.channels == conv.inputs && input.end() <= arena.len());
    assert!(output.channel == 1 && output.channels == conv.outputs && output.end() <= arena.len());
    assert!((output.height, output.width) == (2 * height, 2 * width));
    let fits = |v: View| v.same_extents(&output) && v.channel == 1 && v.end() <= arena.len();
    assert!(added.is_none_or(fits));
    assert!(furthest(height) <= input.height && furthest(width) <= input.width);
    assert!(conv.block == conv.tile.1 * simd.lanes());
    assert!(scratch + conv.scratch() <= arena.len());
    let products = scratch + conv.products() * conv.strip * conv.inputs;
    simd.dispatch(Job {
        arena,
        input,
        conv,
        transformed: scratch,
        products,
        added,
        output,
    });
}

/// A convolution whose inputs, outputs and scratch lie within the arena.
struct Job<'a> {
    arena: &'a mut [f32],
    input: View,
    conv: &'a Winograd,
    /// `[products][strip][inputs]`
    transformed: usize,
    /// `[products][strip][block]`
    products: usize,
    added: Option<View>,
    output: View,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let cells = self.output.height * self.output.width / 4;
        for start in (0..cells).step_by(self.conv.strip) {
            let end = (start + self.conv.strip).min(cells);
            // SAFETY: cells of the output, for which `winograd` has checked that they lie within the arena.
            unsafe {
                match self.conv.scheme {
                    Scheme::Plain => self.transform::<L, Plain, 4>(l, start, end),
                    Scheme::Upsampled | Scheme::Pair => {
                        self.transform::<L, Three, 3>(l, start, end)
                    }
                }
                for (block, first) in (0..self.conv.outputs).step_by(self.conv.block).enumerate() {
                    match self.conv.tile {
                        (6, 2) if L::N == 8 => self.tiles::<L, 6, 2>(l, start, end, block),
                        (4, 2) if L::N > 4 => self.tiles::<L, 4, 2>(l, start, end, block),
                        (8, 2) if L::N == 16 => self.tiles::<L, 8, 2>(l, start, end, block),
                        (8, 1) if L::N > 4 => self.tiles::<L, 8, 1>(l, start, end, block),
                        (4, 1) => self.tiles::<L, 4, 1>(l, start, end, block),
                        other => unreachable!("no kernel for tile {other:?}"),
                    }
                    for cell in start..end {
                        match self.conv.scheme {
                            Scheme::Plain => {
                                self.results::<L, Plain, 4>(l, cell, cell - start, block, first)
                            }
                            Scheme::Upsampled | Scheme::Pair => {
                                self.results::<L, Three, 3>(l, cell, cell - start, block, first)
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Job<'_> {
    /// Row and column of a cell.
    fn cell(&self, index: usize) -> (usize, usize) {
        let width = self.output.width / 2;
        (index / width, index % width)
    }

    /// The transformed inputs of cells `start .. end`.
    ///
    /// # Safety
    /// The cells are cells of the output.
    #[inline(always)]
    unsafe fn transform<L: Lanes, A: Axis<M>, const M: usize>(
        &mut self,
        l: L,
        start: usize,
        end: usize,
    ) {
        let (inputs, strip, step) = (self.conv.inputs, self.conv.strip, self.conv.scheme.step());
        let base = self.arena.as_mut_ptr();
        for index in start..end {
            let (y, x) = self.cell(index);
            let corner = self.input.offset + step * (y * self.input.row + x * self.input.pixel);
            let to = self.transformed + (index - start) * inputs;
            let mut i = 0;
            while i < inputs {
                let count = (inputs - i).min(L::N);
                let mut d = [[l.splat(0.0); M]; M];
                for (r, row) in d.iter_mut().enumerate() {
                    for (s, value) in row.iter_mut().enumerate() {
                        let at = corner + r * self.input.row + s * self.input.pixel + i;
                        // SAFETY: channels i .. i + count of an input of the cell.
                        *value = unsafe { load_part(l, base.add(at), count) };
                    }
                    *row = A::data(l, *row);
                }
                for s in 0..M {
                    let mut column = [l.splat(0.0); M];
                    for (value, row) in column.iter_mut().zip(&d) {
                        *value = row[s];
                    }
                    for (r, &value) in A::data(l, column).iter().enumerate() {
                        let at = to + (r * M + s) * strip * inputs + i;
                        // SAFETY: the cell's channels of product (r, s), within the scratch.
                        unsafe { store_part(l, base.add(at), value, count) };
                    }
                }
                i += L::N;
            }
        }
    }

    /// The products of cells `start .. end`, whose inputs have been transformed, for a block of outputs.
    ///
    /// # Safety
    /// The cells are cells of the output, and there is such a block.
    #[inline(always)]
    unsafe fn tiles<L: Lanes, const P: usize, const V: usize>(
        &mut self,
        l: L,
        start: usize,
        end: usize,
        block: usize,
    ) {
        let conv = self.conv;
        let products = conv.products();
        let base = self.arena.as_mut_ptr();
        let zeros = [0.0; 64];
        let depth = conv.inputs * conv.block;
        let weights = &conv.weights[block * products * depth..][..products * depth];
        // Product by product, so that its weights stay in the first-level cache.
        for product in 0..products {
            let inputs = self.transformed + product * conv.strip * conv.inputs;
            let sums = self.products + product * conv.strip * conv.block;
            for tile in (0..end - start).step_by(P) {
                // Beyond the last cell the tile repeats it.
                let mut from = [base; P];
                for (p, from) in from.iter_mut().enumerate() {
                    let cell = (tile + p).min(end - start - 1);
                    // SAFETY: the transformed inputs of a cell of this strip.
                    *from = unsafe { base.add(inputs + cell * conv.inputs) };
                }
                // SAFETY: as many weights as inputs; V N <= 64.
                let acc = unsafe {
                    let run = core::iter::once((from, conv.inputs));
                    let weights = weights.as_ptr().add(product * depth);
                    tile_sum::<L, P, V>(l, run, weights, &zeros[..V * L::N])
                };
                for (p, row) in acc.iter().enumerate().take(end - start - tile) {
                    for (v, &sum) in row.iter().enumerate() {
                        let at = sums + (tile + p) * conv.block + v * L::N;
                        // SAFETY: within the products of a strip.
                        unsafe { l.store(base.add(at), sum) };
                    }
                }
            }
        }
    }

    /// The four outputs of `cell`, cell `p` of the strip.
    ///
    /// # Safety
    /// The products of the strip have been written, `cell` is a cell of the output.
    #[inline(always)]
    unsafe fn results<L: Lanes, A: Axis<M>, const M: usize>(
        &mut self,
        l: L,
        cell: usize,
        p: usize,
        block: usize,
        first: usize,
    ) {
        let conv = self.conv;
        let base = self.arena.as_mut_ptr();
        let (y, x) = self.cell(cell);
        let columns = conv.block.min(conv.outputs - first);
        for c in (0..columns).step_by(L::N) {
            let count = (columns - c).min(L::N);
            let from = self.products + p * conv.block + c;
            let stride = conv.strip * conv.block;
            let mut rows = [[l.splat(0.0); 2]; M];
            for (r, row) in rows.iter_mut().enumerate() {
                let mut products = [l.splat(0.0); M];
                for (s, product) in products.iter_mut().enumerate() {
                    // SAFETY: product (r, s) of the cell.
                    *product = unsafe { l.load(base.add(from + (r * M + s) * stride)) };
                }
                *row = A::results(l, products);
            }
            // SAFETY: the block has this many biases.
            let bias = unsafe { l.load(conv.bias.as_ptr().add(block * conv.block + c)) };
            let mut results = [[bias; 2]; 2];
            for s in 0..2 {
                let mut column = [l.splat(0.0); M];
                for (r, value) in column.iter_mut().enumerate() {
                    *value = rows[r][s];
                }
                for (r, &sum) in A::results(l, column).iter().enumerate() {
                    results[r][s] = l.add(sum, bias);
                }
            }
            apply_all(l, &conv.functions, results.as_flattened_mut());
            for (r, row) in results.iter().enumerate() {
                for (s, &value) in row.iter().enumerate() {
                    let place = |v: View| {
                        let (y, x) = (2 * y + r, 2 * x + s);
                        v.offset + y * v.row + x * v.pixel + first + c
                    };
                    // SAFETY: channels of an output pixel of the cell, and of what is added to it.
                    unsafe {
                        let sum = match self.added {
                            Some(v) => l.add(value, load_part(l, base.add(place(v)), count)),
                            None => value,
                        };
                        store_part(l, base.add(place(self.output)), sum, count);
                    }
                }
            }
        }
    }
}

/// One axis of a transform with M inputs and M products.
trait Axis<const M: usize> {
    const WIDTH: usize = M;
    /// Differences of the inputs.
    fn data<L: Lanes>(l: L, x: [L::V; M]) -> [L::V; M];
    /// Both outputs from the products.
    fn results<L: Lanes>(l: L, p: [L::V; M]) -> [L::V; 2];
}

struct Plain;

impl Axis<4> for Plain {
    #[inline(always)]
    fn data<L: Lanes>(l: L, [a, b, c, d]: [L::V; 4]) -> [L::V; 4] {
        [l.sub(a, c), l.add(b, c), l.sub(c, b), l.sub(b, d)]
    }

    #[inline(always)]
    fn results<L: Lanes>(l: L, [a, b, c, d]: [L::V; 4]) -> [L::V; 2] {
        [l.add(l.add(a, b), c), l.sub(l.sub(b, c), d)]
    }
}

/// Of an upsampled map, and of a pair.
struct Three;

impl Axis<3> for Three {
    #[inline(always)]
    fn data<L: Lanes>(l: L, [a, b, c]: [L::V; 3]) -> [L::V; 3] {
        [l.sub(a, b), b, l.sub(c, b)]
    }

    #[inline(always)]
    fn results<L: Lanes>(l: L, [a, b, c]: [L::V; 3]) -> [L::V; 2] {
        [l.add(a, b), l.add(b, c)]
    }
}
