//! Convolution of a model and its derivatives with a PSF.

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// Convolves planes of a stamp with a margin as wide as the PSF's half: exact on the stamp.
pub struct Blur {
    side: usize,
    margin: usize,
    /// Side of the transform, no less than the planes'.
    length: usize,
    forward: Arc<dyn Fft<f64>>,
    inverse: Arc<dyn Fft<f64>>,
    /// Spectrum of the PSF over the transform's size, columns first; empty for no PSF.
    spectrum: Vec<Complex<f64>>,
    plane: Vec<Complex<f64>>,
    turned: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
}

impl Blur {
    /// `psf` is `[p, p]`, p odd, or empty for none.
    pub fn new(side: usize, psf: &[f32]) -> Result<Self, String> {
        let p = psf.len().isqrt();
        if p * p != psf.len() || (p.is_multiple_of(2) && p > 0) {
            return Err(format!(
                "a PSF of {} values is not a square of odd side: give [p, p] with its peak in the middle",
                psf.len()
            ));
        }
        let margin = p / 2;
        let smooth = |n: &usize| {
            let rest = [2, 3, 5].iter().fold(*n, |mut n, d| {
                while n.is_multiple_of(*d) {
                    n /= d;
                }
                n
            });
            rest == 1
        };
        let length = (side + 2 * margin..).find(smooth).unwrap_or(side);
        let mut planner = FftPlanner::new();
        let (forward, inverse) = (
            planner.plan_fft_forward(length),
            planner.plan_fft_inverse(length),
        );
        let scratch = forward
            .get_inplace_scratch_len()
            .max(inverse.get_inplace_scratch_len());
        let zeros = |n: usize| vec![Complex::new(0.0, 0.0); n];
        let mut blur = Self {
            side,
            margin,
            length,
            forward,
            inverse,
            spectrum: Vec::new(),
            plane: zeros(length * length),
            turned: zeros(length * length),
            scratch: zeros(scratch),
        };
        if !psf.is_empty() {
            for (k, &value) in psf.iter().enumerate() {
                let wrapped = |c: usize| (c + length - margin) % length;
                let place = wrapped(k / p) * length + wrapped(k % p);
                blur.plane[place].re = f64::from(value) / (length * length) as f64;
            }
            blur.forwards();
            blur.spectrum = blur.turned.clone();
        }
        Ok(blur)
    }

    pub fn margin(&self) -> usize {
        self.margin
    }

    /// Convolves two planes of side + 2 margin at once; `out` takes both on the stamp.
    pub fn convolve(&mut self, first: &[f64], second: &[f64], out: &mut [Vec<f64>]) {
        let width = self.side + 2 * self.margin;
        if self.spectrum.is_empty() {
            out[0].copy_from_slice(first);
            if let Some(out) = out.get_mut(1) {
                out.copy_from_slice(second);
            }
            return;
        }
        self.plane.fill(Complex::new(0.0, 0.0));
        let rows = first.chunks_exact(width).zip(second.chunks_exact(width));
        for (line, (a, b)) in self.plane.chunks_exact_mut(self.length).zip(rows) {
            for (value, (&re, &im)) in line.iter_mut().zip(a.iter().zip(b)) {
                *value = Complex::new(re, im);
            }
        }
        self.forwards();
        // The PSF is real, so the two stay apart as real and imaginary part.
        for (value, factor) in self.turned.iter_mut().zip(&self.spectrum) {
            *value *= factor;
        }
        self.inverse
            .process_with_scratch(&mut self.turned, &mut self.scratch);
        transpose(&self.turned, &mut self.plane, self.length);
        self.inverse
            .process_with_scratch(&mut self.plane, &mut self.scratch);
        for y in 0..self.side {
            let start = (y + self.margin) * self.length + self.margin;
            let line = &self.plane[start..start + self.side];
            let place = y * self.side..(y + 1) * self.side;
            for (out, &value) in out[0][place.clone()].iter_mut().zip(line) {
                *out = value.re;
            }
            if let Some(out) = out.get_mut(1) {
                for (out, &value) in out[place].iter_mut().zip(line) {
                    *out = value.im;
                }
            }
        }
    }

    /// The spectrum of `plane`, columns first, into `turned`.
    fn forwards(&mut self) {
        self.forward
            .process_with_scratch(&mut self.plane, &mut self.scratch);
        transpose(&self.plane, &mut self.turned, self.length);
        self.forward
            .process_with_scratch(&mut self.turned, &mut self.scratch);
    }
}

/// In blocks, each of which fits into the cache.
fn transpose(from: &[Complex<f64>], to: &mut [Complex<f64>], side: usize) {
    const BLOCK: usize = 8;
    for y0 in (0..side).step_by(BLOCK) {
        for x0 in (0..side).step_by(BLOCK) {
            for y in y0..(y0 + BLOCK).min(side) {
                for x in x0..(x0 + BLOCK).min(side) {
                    to[x * side + y] = from[y * side + x];
                }
            }
        }
    }
}
