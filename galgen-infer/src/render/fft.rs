//! Fast Fourier transform of real images, for convolution with a fixed kernel.
//!
//! Stockham's self-sorting algorithm with radices 2, 3, 4 and 5 (Van Loan 1992, *Computational
//! Frameworks for the FFT*, section 1.7), in f64. Two real rows share one complex transform.

use alloc::vec;
use alloc::vec::Vec;
use core::f64::consts::PI;

/// A complex number as `[re, im]`.
pub(crate) type Complex = [f64; 2];

const ZERO: Complex = [0.0, 0.0];

fn add(a: Complex, b: Complex) -> Complex {
    [a[0] + b[0], a[1] + b[1]]
}

fn sub(a: Complex, b: Complex) -> Complex {
    [a[0] - b[0], a[1] - b[1]]
}

fn mul(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// Real multiple.
fn times(a: Complex, s: f64) -> Complex {
    [a[0] * s, a[1] * s]
}

/// Product with -i.
fn turned(a: Complex) -> Complex {
    [a[1], -a[0]]
}

/// Smallest length of at least `least` whose only prime factors are 2, 3 and 5.
pub(crate) fn good_length(least: usize) -> usize {
    let smooth = |mut n: usize| {
        for p in [2, 3, 5] {
            while n.is_multiple_of(p) {
                n /= p;
            }
        }
        n == 1
    };
    (least.max(1)..).find(|&n| smooth(n)).unwrap_or(least)
}

/// Transform of one length.
#[derive(Clone, Debug)]
struct Fft {
    radices: Vec<usize>,
    /// `exp(-2 pi i k / n)`.
    roots: Vec<Complex>,
}

impl Fft {
    /// `n` is a product of 2, 3 and 5.
    fn new(n: usize) -> Self {
        let mut radices = Vec::with_capacity(Self::passes(n).count());
        radices.extend(Self::passes(n));
        debug_assert_eq!(radices.iter().product::<usize>(), n);
        let root = |k: usize| {
            let angle = -2.0 * PI * k as f64 / n as f64;
            [libm::cos(angle), libm::sin(angle)]
        };
        Self {
            radices,
            roots: (0..n).map(root).collect(),
        }
    }

    /// The radices of the passes of a transform of `n`.
    fn passes(n: usize) -> impl Iterator<Item = usize> {
        let mut rest = n;
        core::iter::from_fn(move || {
            let divides = |&p: &usize| rest > 1 && rest.is_multiple_of(p);
            let radix = [4, 2, 3, 5].into_iter().find(divides)?;
            rest /= radix;
            Some(radix)
        })
    }

    /// Bytes that `new` allocates.
    fn bytes(n: usize) -> usize {
        size_of::<Complex>() * n + size_of::<usize>() * Self::passes(n).count()
    }

    /// Replaces `data` by its transform; `spare` has the same length.
    fn forward(&self, data: &mut [Complex], spare: &mut [Complex]) {
        let mut stride = 1;
        let mut swapped = false;
        for &radix in &self.radices {
            let (from, to) = if swapped {
                (&*spare, &mut *data)
            } else {
                (&*data, &mut *spare)
            };
            match radix {
                4 => self.pass(from, to, stride, butterfly4),
                2 => self.pass(from, to, stride, butterfly2),
                3 => self.pass(from, to, stride, butterfly3),
                _ => self.pass(from, to, stride, butterfly5),
            }
            stride *= radix;
            swapped = !swapped;
        }
        if swapped {
            data.copy_from_slice(spare);
        }
    }

    /// One pass: `m` groups of `stride` butterflies of radix `R`.
    fn pass<const R: usize>(
        &self,
        from: &[Complex],
        to: &mut [Complex],
        stride: usize,
        butterfly: impl Fn([Complex; R]) -> [Complex; R],
    ) {
        let n = self.roots.len();
        let m = n / (R * stride);
        let sources: [&[Complex]; R] =
            core::array::from_fn(|u| &from[stride * m * u..stride * m * (u + 1)]);
        for (p, group) in to.chunks_exact_mut(R * stride).enumerate() {
            let twiddle: [Complex; R] = core::array::from_fn(|t| self.roots[p * t * stride]);
            for q in 0..stride {
                let out = butterfly(core::array::from_fn(|u| sources[u][p * stride + q]));
                group[q] = out[0];
                for t in 1..R {
                    group[t * stride + q] = mul(out[t], twiddle[t]);
                }
            }
        }
    }
}

fn butterfly2([a, b]: [Complex; 2]) -> [Complex; 2] {
    [add(a, b), sub(a, b)]
}

fn butterfly3([a, b, c]: [Complex; 3]) -> [Complex; 3] {
    const SIN: f64 = 0.866_025_403_784_438_6;
    let (sum, turn) = (add(b, c), times(turned(sub(b, c)), SIN));
    let middle = sub(a, times(sum, 0.5));
    [add(a, sum), add(middle, turn), sub(middle, turn)]
}

fn butterfly4([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (even, odd) = (add(a, c), add(b, d));
    let (cross, turn) = (sub(a, c), turned(sub(b, d)));
    [
        add(even, odd),
        add(cross, turn),
        sub(even, odd),
        sub(cross, turn),
    ]
}

fn butterfly5([a, b, c, d, e]: [Complex; 5]) -> [Complex; 5] {
    // Cosine and sine of 72 and 144 degrees.
    const C1: f64 = 0.309_016_994_374_947_45;
    const C2: f64 = -0.809_016_994_374_947_5;
    const S1: f64 = 0.951_056_516_295_153_5;
    const S2: f64 = 0.587_785_252_292_473_1;
    let (near, far) = (add(b, e), add(c, d));
    let (near_odd, far_odd) = (turned(sub(b, e)), turned(sub(c, d)));
    let even1 = add(a, add(times(near, C1), times(far, C2)));
    let even2 = add(a, add(times(near, C2), times(far, C1)));
    let odd1 = add(times(near_odd, S1), times(far_odd, S2));
    let odd2 = sub(times(near_odd, S2), times(far_odd, S1));
    [
        add(a, add(near, far)),
        add(even1, odd1),
        add(even2, odd2),
        sub(even2, odd2),
        sub(even1, odd1),
    ]
}

/// Circular convolution of real images with one kernel; all scratch is allocated once.
#[derive(Clone, Debug)]
pub(crate) struct Convolver {
    width: usize,
    height: usize,
    along_x: Fft,
    along_y: Fft,
    /// Transform of the kernel over `width * height`. // (width / 2 + 1, height): columns are contiguous
    kernel: Vec<Complex>,
    spectrum: Vec<Complex>,
    line: Vec<Complex>,
    spare: Vec<Complex>,
}

impl Convolver {
    /// Images of `width x height`, both products of 2, 3 and 5, `height` even; `kernel` of the same size
    /// with its centre at index 0.
    pub(crate) fn new(width: usize, height: usize, kernel: &[f64]) -> Self {
        let longest = width.max(height);
        let mut convolver = Self {
            width,
            height,
            along_x: Fft::new(width),
            along_y: Fft::new(height),
            kernel: vec![ZERO; Self::columns(width) * height],
            spectrum: vec![ZERO; Self::columns(width) * height],
            line: vec![ZERO; longest],
            spare: vec![ZERO; longest],
        };
        convolver.set_kernel(kernel);
        convolver
    }

    /// Takes another kernel, of the size given to `new`. Does not allocate.
    pub(crate) fn set_kernel(&mut self, kernel: &[f64]) {
        let (width, height) = (self.width, self.height);
        self.rows_forward(kernel, width, height);
        let scale = 1.0 / (width as f64 * height as f64);
        for column in self.spectrum.chunks_exact_mut(height) {
            self.along_y.forward(column, &mut self.spare[..height]);
        }
        for (to, &from) in self.kernel.iter_mut().zip(&self.spectrum) {
            *to = times(from, scale);
        }
    }

    /// Bytes that `new` allocates.
    pub(crate) fn bytes(width: usize, height: usize) -> usize {
        let planes = 2 * Self::columns(width) * height + 2 * width.max(height);
        size_of::<Complex>() * planes + Fft::bytes(width) + Fft::bytes(height)
    }

    fn columns(width: usize) -> usize {
        width / 2 + 1
    }

    /// Convolves `image` (`rows` rows of `columns` values, the rest of the circle is empty) in place.
    pub(crate) fn convolve(&mut self, image: &mut [f64], columns: usize, rows: usize) {
        self.rows_forward(image, columns, rows);
        let h = self.height;
        for (column, kernel) in self
            .spectrum
            .chunks_exact_mut(h)
            .zip(self.kernel.chunks_exact(h))
        {
            self.along_y.forward(column, &mut self.spare[..h]);
            // The inverse transform is the forward one between exchanges of re and im.
            for (value, &factor) in column.iter_mut().zip(kernel) {
                let [re, im] = mul(*value, factor);
                *value = [im, re];
            }
            self.along_y.forward(column, &mut self.spare[..h]);
        }
        self.rows_inverse(image, columns, rows);
    }

    /// Transforms rows in pairs into the columns of the spectrum; rows from `rows` on are zero.
    fn rows_forward(&mut self, image: &[f64], columns: usize, rows: usize) {
        let (w, h) = (self.width, self.height);
        for y in (0..h).step_by(2) {
            let row = |y: usize| {
                if y < rows {
                    &image[y * columns..(y + 1) * columns]
                } else {
                    &[][..]
                }
            };
            let (first, second) = (row(y), row(y + 1));
            if first.iter().chain(second).all(|&v| v == 0.0) {
                for k in 0..Self::columns(w) {
                    self.spectrum[k * h + y..k * h + y + 2].fill(ZERO);
                }
                continue;
            }
            let line = &mut self.line[..w];
            line.fill(ZERO);
            for (value, &re) in line.iter_mut().zip(first) {
                value[0] = re;
            }
            for (value, &im) in line.iter_mut().zip(second) {
                value[1] = im;
            }
            self.along_x.forward(line, &mut self.spare[..w]);
            for k in 0..Self::columns(w) {
                let (a, b) = (line[k], line[(w - k) % w]);
                let conjugate = [b[0], -b[1]];
                self.spectrum[k * h + y] = times(add(a, conjugate), 0.5);
                self.spectrum[k * h + y + 1] = times(turned(sub(a, conjugate)), 0.5);
            }
        }
    }

    /// The way back, from columns whose re and im are exchanged.
    fn rows_inverse(&mut self, image: &mut [f64], columns: usize, rows: usize) {
        let (w, h) = (self.width, self.height);
        for (y, pair) in (0..rows).step_by(2).zip(image.chunks_mut(2 * columns)) {
            let line = &mut self.line[..w];
            for k in 0..Self::columns(w) {
                let [a_im, a_re] = self.spectrum[k * h + y];
                let [b_im, b_re] = self.spectrum[k * h + y + 1];
                // The line is a + i b; a and b are transforms of real rows. Stored with re and im exchanged.
                line[k] = [a_im + b_re, a_re - b_im];
                line[(w - k) % w] = [b_re - a_im, a_re + b_im];
            }
            self.along_x.forward(line, &mut self.spare[..w]);
            let (first, second) = pair.split_at_mut(columns);
            for (value, &[_, re]) in first.iter_mut().zip(line.iter()) {
                *value = re;
            }
            for (value, &[im, _]) in second.iter_mut().zip(line.iter()) {
                *value = im;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_is_the_defining_sum_for_every_radix() {
        for n in [1, 2, 3, 4, 5, 6, 8, 12, 15, 20, 30, 60, 75, 128] {
            let fft = Fft::new(n);
            let input: Vec<Complex> = (0..n)
                .map(|i| [libm::sin(1.3 * i as f64), libm::cos(0.7 * (i * i) as f64)])
                .collect();
            let mut data = input.clone();
            fft.forward(&mut data, &mut vec![ZERO; n]);
            for (k, value) in data.iter().enumerate() {
                let sum = input.iter().enumerate().fold(ZERO, |sum, (i, &v)| {
                    let angle = -2.0 * PI * (i * k) as f64 / n as f64;
                    add(sum, mul(v, [libm::cos(angle), libm::sin(angle)]))
                });
                for i in 0..2 {
                    assert!(libm::fabs(value[i] - sum[i]) < 1e-11, "n = {n}, k = {k}");
                }
            }
        }
    }

    #[test]
    fn convolution_is_the_defining_sum() {
        let (w, h) = (15, 12);
        let value = |i: usize| libm::sin(2.1 * i as f64 + 0.3);
        let kernel: Vec<f64> = (0..w * h).map(|i| value(7 * i)).collect();
        // An image smaller than the circle, with an odd number of rows.
        let (columns, rows) = (11, 9);
        let image: Vec<f64> = (0..columns * rows).map(value).collect();
        let mut result = image.clone();
        Convolver::new(w, h, &kernel).convolve(&mut result, columns, rows);
        for y in 0..rows {
            for x in 0..columns {
                let mut sum = 0.0;
                for v in 0..rows {
                    for u in 0..columns {
                        sum +=
                            image[v * columns + u] * kernel[(h + y - v) % h * w + (w + x - u) % w];
                    }
                }
                assert!(libm::fabs(result[y * columns + x] - sum) < 1e-12);
            }
        }
    }

    #[test]
    fn good_lengths() {
        for (least, n) in [(0, 1), (7, 8), (11, 12), (121, 125), (193, 200)] {
            assert_eq!(good_length(least), n);
        }
    }
}
