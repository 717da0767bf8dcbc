//! Normalisation: of groups of channels over all pixels, or of the features of each pixel.
//!
//! Statistics are f64 sums, the mean first, then the squared deviations from it; they fix a scale and a
//! shift for each feature, in f32. Sums run side by side in [`WIDTH`] fixed lanes,
//! whatever the vectors of a level are, so the bits are the same for every level.

use super::Simd;
use super::elementary::{Pointwise, apply_run};
use super::lanes::{Kernel, Lanes, load_part, store_part};
use super::view::View;
use alloc::vec::Vec;

/// Numbers summed side by side.
const WIDTH: usize = 16;

/// What is normalised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The channels of each of so many groups, over all pixels (Wu and He 2018).
    Groups(usize),
    /// The features of each pixel (Ba et al. 2016).
    Features,
}

/// functions(weight (x - mean) / sqrt(variance + epsilon) + bias), with the biased variance.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub over: Over,
    pub epsilon: f32,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub functions: Vec<Pointwise>,
}

/// to = norm(from), channels-last; `to` may be `from`.
pub(crate) fn norm(simd: Simd, arena: &mut [f32], from: View, norm: &Norm, to: View) {
    assert!(from.same_extents(&to) && from.channel == 1 && to.channel == 1);
    assert!(from.end() <= arena.len() && to.end() <= arena.len());
    assert!(norm.weight.len() == from.channels && norm.bias.len() == from.channels);
    simd.dispatch(Job {
        arena,
        from,
        norm,
        to,
    });
}

struct Job<'a> {
    arena: &'a mut [f32],
    from: View,
    norm: &'a Norm,
    to: View,
}

impl Kernel for Job<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        match self.norm.over {
            Over::Groups(groups) => {
                let size = self.from.channels / groups;
                // As many whole groups as fit side by side, or one that does not.
                let chunk = (WIDTH / size).max(1) * size;
                for start in (0..self.from.channels).step_by(chunk) {
                    let end = (start + chunk).min(self.from.channels);
                    self.groups(l, start, end, size);
                }
            }
            Over::Features => self.features(l),
        }
    }
}

/// One number for each of up to WIDTH channels.
type Channels<T> = [T; WIDTH];

impl Job<'_> {
    /// Channels `start .. end`: whole groups of `size`.
    #[inline(always)]
    fn groups<L: Lanes>(&mut self, l: L, start: usize, end: usize, size: usize) {
        let count = (size * self.from.height * self.from.width) as f64;
        let (mut means, mut precisions) = ([0.0; WIDTH], [0.0; WIDTH]);
        if size > WIDTH {
            // One group in several blocks.
            let mut sum = 0.0;
            for s in (start..end).step_by(WIDTH) {
                let sums = self.channel_sums(s, (end - s).min(WIDTH), None);
                sum += total(sums);
            }
            means = [sum / count; WIDTH];
            let mut squares = 0.0;
            for s in (start..end).step_by(WIDTH) {
                let sums = self.channel_sums(s, (end - s).min(WIDTH), Some(&means));
                squares += total(sums);
            }
            precisions = [self.precision(squares / count); WIDTH];
        } else {
            // Several groups in one block.
            let group = |sums: &Channels<f64>, c: usize| -> f64 {
                sums[c / size * size..][..size].iter().sum()
            };
            let sums = self.channel_sums(start, end - start, None);
            for (c, mean) in means.iter_mut().enumerate().take(end - start) {
                *mean = group(&sums, c) / count;
            }
            let squares = self.channel_sums(start, end - start, Some(&means));
            for (c, precision) in precisions.iter_mut().enumerate().take(end - start) {
                *precision = self.precision(group(&squares, c) / count);
            }
        }
        for s in (start..end).step_by(WIDTH) {
            self.apply_to_channels(l, s, (end - s).min(WIDTH), &means, &precisions);
        }
    }

    fn precision(&self, variance: f64) -> f64 {
        1.0 / libm::sqrt(variance + f64::from(self.norm.epsilon))
    }

    /// Sums over all pixels of `len` channels from `start`, or of their squared deviations from `means`; 0 beyond.
    #[inline(always)]
    fn channel_sums(
        &self,
        start: usize,
        len: usize,
        means: Option<&Channels<f64>>,
    ) -> Channels<f64> {
        let view = self.from;
        let mut sums = [0.0; WIDTH];
        for y in 0..view.height {
            for x in 0..view.width {
                let at = view.offset + y * view.row + x * view.pixel + start;
                add_terms(&mut sums, &self.arena[at..at + len], means);
            }
        }
        sums
    }

    /// Normalises `len` channels from `start`.
    #[inline(always)]
    fn apply_to_channels<L: Lanes>(
        &mut self,
        l: L,
        start: usize,
        len: usize,
        means: &Channels<f64>,
        precisions: &Channels<f64>,
    ) {
        let (mut scale, mut shift) = ([0.0; WIDTH], [0.0; WIDTH]);
        for c in 0..len {
            let factor = f64::from(self.norm.weight[start + c]) * precisions[c];
            scale[c] = factor as f32;
            shift[c] = (f64::from(self.norm.bias[start + c]) - means[c] * factor) as f32;
        }
        let (from, to) = (self.from, self.to);
        let base = self.arena.as_mut_ptr();
        for y in 0..from.height {
            for x in 0..from.width {
                let source = from.offset + y * from.row + x * from.pixel + start;
                let target = to.offset + y * to.row + x * to.pixel + start;
                let mut c = 0;
                while c < len {
                    let count = (len - c).min(L::N);
                    // SAFETY: channels of a pixel of each view, which lie within the arena; scale and
                    // shift have WIDTH numbers, a multiple of N.
                    unsafe {
                        let value = load_part(l, base.add(source + c), count);
                        let factor = l.load(scale.as_ptr().add(c));
                        let value = l.fma(value, factor, l.load(shift.as_ptr().add(c)));
                        store_part(l, base.add(target + c), value, count);
                    }
                    c += L::N;
                }
                let to = base.wrapping_add(target);
                // SAFETY: the same channels.
                unsafe { apply_run(l, &self.norm.functions, to, to, len) };
            }
        }
    }

    /// Every pixel by itself.
    #[inline(always)]
    fn features<L: Lanes>(&mut self, l: L) {
        let (from, to) = (self.from, self.to);
        let (len, count) = (from.channels, from.channels as f64);
        for y in 0..from.height {
            for x in 0..from.width {
                let source = from.offset + y * from.row + x * from.pixel;
                let target = to.offset + y * to.row + x * to.pixel;
                let mean = self.feature_sum(source, len, None) / count;
                let squares = self.feature_sum(source, len, Some(&[mean; WIDTH]));
                // In f32, of which processors know the root: f64 would cost more than all else here.
                let variance = (squares / count + f64::from(self.norm.epsilon)) as f32;
                let scale = l.div(l.splat(1.0), l.sqrt(l.splat(variance)));
                let shift = l.mul(l.splat(-mean as f32), scale);
                let base = self.arena.as_mut_ptr();
                let mut c = 0;
                while c < len {
                    let count = (len - c).min(L::N);
                    // SAFETY: features of a pixel of each view, which lie within the arena; there are as
                    // many weights and biases.
                    unsafe {
                        let value = load_part(l, base.add(source + c), count);
                        let normal = l.fma(value, scale, shift);
                        let weight = load_part(l, self.norm.weight.as_ptr().add(c), count);
                        let bias = load_part(l, self.norm.bias.as_ptr().add(c), count);
                        store_part(l, base.add(target + c), l.fma(normal, weight, bias), count);
                    }
                    c += L::N;
                }
                let to = base.wrapping_add(target);
                // SAFETY: the same features.
                unsafe { apply_run(l, &self.norm.functions, to, to, len) };
            }
        }
    }

    /// Sum of `len` features from `at`, or of their squared deviations from `means`.
    #[inline(always)]
    fn feature_sum(&self, at: usize, len: usize, means: Option<&Channels<f64>>) -> f64 {
        let mut sums = [0.0; WIDTH];
        for part in self.arena[at..at + len].chunks(WIDTH) {
            add_terms(&mut sums, part, means);
        }
        total(sums)
    }
}

/// The sum of the lanes, halves added to halves: a chain of additions would take longer than all else of a pixel.
#[inline(always)]
fn total(mut sums: Channels<f64>) -> f64 {
    let mut half = WIDTH / 2;
    while half > 0 {
        for c in 0..half {
            sums[c] += sums[c + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Adds each of `values`, at most WIDTH, or its squared deviation from its mean, to its sum.
#[inline(always)]
fn add_terms(sums: &mut Channels<f64>, values: &[f32], means: Option<&Channels<f64>>) {
    // Whole blocks have a constant length, which the compiler makes vectors of.
    if let Ok(values) = <&Channels<f32>>::try_from(values) {
        match means {
            None => {
                for c in 0..WIDTH {
                    sums[c] += f64::from(values[c]);
                }
            }
            Some(means) => {
                for c in 0..WIDTH {
                    let deviation = f64::from(values[c]) - means[c];
                    sums[c] += deviation * deviation;
                }
            }
        }
        return;
    }
    for (c, &value) in values.iter().enumerate() {
        let value = f64::from(value);
        sums[c] += match means {
            None => value,
            Some(means) => (value - means[c]) * (value - means[c]),
        };
    }
}
