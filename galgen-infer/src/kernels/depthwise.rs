//! Convolution of each channel by itself, channels-last: vectorised over the channels.

use super::Simd;
use super::aligned::Aligned;
use super::elementary::{Pointwise, apply_all};
use super::lanes::{Kernel, Lanes, MOST_LANES, load_part, store_part};
use super::view::View;
use alloc::vec::Vec;

/// Output pixels of a row that share a load of the weights.
const PIXELS: usize = 4;

/// A depthwise convolution with packed weights. Each output is bias + products in the order (kernel row, kernel
/// column), fused.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    kernel: [usize; 2],
    stride: usize,
    channels: usize,
    /// `[taps][channels, padded]`
    weights: Aligned,
    bias: Vec<f32>,
    functions: Vec<Pointwise>,
}

impl Depthwise {
    /// Packs `weights` `[channels][kernel height][kernel width]`.
    pub fn new(
        kernel: [usize; 2],
        stride: usize,
        weights: &[f32],
        bias: &[f32],
        functions: Vec<Pointwise>,
    ) -> Self {
        let (channels, taps) = (bias.len(), kernel[0] * kernel[1]);
        let padded = channels.next_multiple_of(MOST_LANES);
        let mut packed = Aligned::zeros(taps * padded);
        for c in 0..channels {
            for t in 0..taps {
                packed[t * padded + c] = weights[c * taps + t];
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Depthwise {
            kernel,
            stride,
            channels,
            weights: packed,
            bias,
            functions,
        }
    }

    /// Multiply-adds for `pixels` output pixels.
    pub fn multiply_adds(&self, pixels: usize) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels * pixels
    }
}

/// output = functions(bias + convolution of `input`), where `input` is the zero-padded map; the two do
/// not overlap.
pub(crate) fn depthwise(
    simd: Simd,
    arena: &mut [f32],
    input: View,
    conv: &Depthwise,
    output: View,
) {
    let furthest = |outputs: usize, kernel: usize| (outputs - 1) * conv.stride + kernel;
    assert!(input.channel == 1 && input.channels == conv.channels);
    assert!(output.channel == 1 && output.channels == conv.channels);
    assert!(input.end() <= arena.len() && output.end() <= arena.len());
    assert!(furthest(output.height, conv.kernel[0]) <= input.height);
    assert!(furthest(output.width, conv.kernel[1]) <= input.width);
    simd.dispatch(Job {
        arena,
        input,
        conv,
        output,
    });
}

/// A convolution whose inputs and outputs lie within the arena.
struct Job<'a> {
    arena: &'a mut [f32],
    input: View,
    conv: &'a Depthwise,
    output: View,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        for y in 0..self.output.height {
            for x in (0..self.output.width).step_by(PIXELS) {
                let mut c = 0;
                while c < self.conv.channels {
                    self.pixels(l, y, x, c);
                    c += L::N;
                }
            }
        }
    }
}

impl Job<'_> {
    /// Channels from `first` of the pixels of row `y` from `x`.
    #[inline(always)]
    fn pixels<L: Lanes>(&mut self, l: L, y: usize, x: usize, first: usize) {
        let Job {
            arena,
            input,
            conv,
            output,
        } = self;
        let base = arena.as_mut_ptr();
        let count = (conv.channels - first).min(L::N);
        let mut from = [0; PIXELS];
        let mut to = [0; PIXELS];
        for p in 0..PIXELS {
            // Beyond the end of the row the last pixel is repeated.
            let x = (x + p).min(output.width - 1);
            from[p] = input.offset + conv.stride * (y * input.row + x * input.pixel) + first;
            to[p] = output.offset + y * output.row + x * output.pixel + first;
        }
        // SAFETY: channels `first` .. of pixels of both views, for which `depthwise` has checked that they lie within the
        // arena.
        unsafe {
            let inputs = from.map(|at| base.add(at).cast_const());
            // A count that the compiler knows needs no test at each load.
            let mut sums = match count == L::N {
                true => conv.sums(l, inputs, [input.row, input.pixel], first, L::N),
                false => conv.sums(l, inputs, [input.row, input.pixel], first, count),
            };
            apply_all(l, &conv.functions, &mut sums);
            for (sum, to) in sums.iter().zip(to) {
                store_part(l, base.add(to), *sum, count);
            }
        }
    }
}

impl Depthwise {
    /// bias + products of `count` channels from `first` of some pixels, whose inputs begin at `from`.
    ///
    /// # Safety
    /// There are so many channels, and inputs of all taps, whose rows and pixels are so far apart.
    #[inline(always)]
    unsafe fn sums<L: Lanes>(
        &self,
        l: L,
        from: [*const f32; PIXELS],
        [row, pixel]: [usize; 2],
        first: usize,
        count: usize,
    ) -> [L::V; PIXELS] {
        let padded = self.bias.len();
        // SAFETY: by the caller; the vectors of weights and biases are padded.
        unsafe {
            let mut acc = [l.load(self.bias.as_ptr().add(first)); PIXELS];
            for y in 0..self.kernel[0] {
                for x in 0..self.kernel[1] {
                    let tap = y * self.kernel[1] + x;
                    let weight = l.load(self.weights.as_ptr().add(tap * padded + first));
                    for p in 0..PIXELS {
                        let value = load_part(l, from[p].add(y * row + x * pixel), count);
                        acc[p] = l.fma(value, weight, acc[p]);
                    }
                }
            }
            acc
        }
    }
}
