//! Linear filters of stamps in Fourier space, with gradients: convolution with each stamp's own
//! point-spread function, colouring and whitening of correlated noise.
//!
//! A [`Filter`] holds for every stamp of a batch a transfer function T on a periodic grid of `side x side`;
//! [`Filter::apply`] computes F^-1 T F of the zero-padded stamp and keeps the stamp's part. Its gradient is
//! the same with the complex conjugate of T. Transforms by `realfft`; on other devices, products with the
//! matrices of cosines and sines.

use super::threads::for_chunks;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, FftNum, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};
use std::sync::{Arc, OnceLock};

/// Transfer functions of a batch. Cheap to clone.
#[derive(Clone)]
pub struct Filter {
    /// Side of the periodic grid.
    side: usize,
    /// Stamps.
    batch: usize,
    /// Half spectra, `[batch, side / 2 + 1 (columns), side (rows)]`; the other half is the conjugate. Those of `kernels` are
    /// made when they are first used.
    transfer: Arc<OnceLock<Vec<Complex<f64>>>>,
    /// What the filter convolves with, if that is how it was made: `[batch, p, p]` and p.
    kernels: Option<(Arc<Vec<f32>>, usize)>,
    /// Whether T is replaced by its conjugate.
    adjoint: bool,
}

impl Filter {
    /// Convolution of stamps of side `n` with `kernels`, `[batch, p, p]` with p odd, centred on
    /// ((p - 1) / 2, (p - 1) / 2); light does not wrap around.
    pub fn convolution(kernels: &[f32], p: usize, n: usize) -> Result<Self> {
        let side = (n + p - 1).next_multiple_of(32);
        check(kernels.len(), p, side)?;
        Ok(Filter {
            transfer: Arc::default(),
            batch: kernels.len() / (p * p),
            kernels: Some((Arc::new(kernels.to_vec()), p)),
            side,
            adjoint: false,
        })
    }

    /// Power spectra of periodic noise of side `n` whose autocorrelation is `acf`, `[batch, q, q]` with q
    /// odd and 1 at the centre; their mean over all frequencies is 1. Rounding, and functions cut off at
    /// their edge, give negative or vanishing powers: those become `floor`.
    pub fn noise_power(acf: &[f32], q: usize, n: usize, floor: f64) -> Result<Self> {
        check(acf.len(), q, n)?;
        let mut power = spectra(acf, q, n);
        let columns = n / 2 + 1;
        for one in power.chunks_exact_mut(columns * n) {
            let mut sum = 0.0;
            for (k, value) in one.iter_mut().enumerate() {
                *value = Complex::new(value.re.max(floor), 0.0);
                sum += weight(k / n, n) * value.re;
            }
            let mean = sum / (n * n) as f64;
            one.iter_mut().for_each(|value| *value /= mean);
        }
        Ok(Filter {
            batch: acf.len() / (q * q),
            side: n,
            transfer: known(power),
            kernels: None,
            adjoint: false,
        })
    }

    /// The filter whose transfer function is `f` of this one's real part and the number of the stamp.
    pub fn map(&self, f: impl Fn(f64, usize) -> f64) -> Self {
        let each = (self.side / 2 + 1) * self.side;
        let mapped = self.transfer().iter().enumerate();
        let mapped = mapped.map(|(i, v)| Complex::new(f(v.re, i / each), 0.0));
        Filter {
            transfer: known(mapped.collect()),
            kernels: None,
            ..self.clone()
        }
    }

    /// For each stamp the sum of `f` of the real part of the transfer function over all frequencies.
    pub fn sum(&self, f: impl Fn(f64) -> f64) -> Vec<f64> {
        let n = self.side;
        let one = |spectrum: &[Complex<f64>]| {
            let terms = spectrum.iter().enumerate();
            terms.map(|(k, v)| weight(k / n, n) * f(v.re)).sum()
        };
        self.transfer()
            .chunks_exact((n / 2 + 1) * n)
            .map(one)
            .collect()
    }

    fn transfer(&self) -> &[Complex<f64>] {
        self.transfer.get_or_init(|| match &self.kernels {
            Some((kernels, p)) => spectra(kernels, *p, self.side),
            None => unreachable!("only convolutions are made without spectra"),
        })
    }

    /// The filtered stamps: `[batch, c, n, n]` with n at most the grid's side, the same for each channel.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (b, _, h, w) = x.dims4()?;
        if b != self.batch || h != w || h > self.side {
            bail!(
                "filter of {} stamps on a grid of side {}: found stamps {:?}",
                self.batch,
                self.side,
                x.shape()
            );
        }
        if x.device().is_cpu() || self.kernels.is_some() {
            return x.contiguous()?.apply_op1(self.clone());
        }
        self.by_matrices(x)
    }

    /// The same of candle's operations.
    pub(super) fn by_matrices(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, n, _) = x.dims4()?;
        let m = self.side;
        let columns = m / 2 + 1;
        let angle = |k: usize, j: usize| std::f64::consts::TAU * ((k * j) % m) as f64 / m as f64;
        let matrix = |f: fn(f64) -> f64| {
            let values: Vec<f64> = (0..m * n).map(|i| f(angle(i / n, i % n))).collect();
            Tensor::from_vec(values, (m, n), x.device())?.to_dtype(x.dtype())
        };
        let (cos, sin) = (matrix(f64::cos)?, matrix(f64::sin)?);
        let full = |part: fn(&Complex<f64>) -> f64, odd: f64| {
            let mut values = Vec::with_capacity(b * m * m);
            for one in self.transfer().chunks_exact(columns * m) {
                for i in 0..m * m {
                    let (y, x) = (i / m, i % m);
                    values.push(if x < columns {
                        part(&one[x * m + y])
                    } else {
                        odd * part(&one[(m - x) * m + (m - y) % m])
                    });
                }
            }
            Tensor::from_vec(values, (b, 1, m, m), x.device())?.to_dtype(x.dtype())
        };
        let sign = if self.adjoint { -1.0 } else { 1.0 };
        let (re, im) = (full(|v| v.re, 1.0)?, (full(|v| v.im, -1.0)? * sign)?);
        // [b c, m, m] = left [m, n] x [b c, n, n] right [n, m]
        let both = |left: &Tensor, x: &Tensor, right: &Tensor| {
            let left = left.broadcast_left(x.dim(0)?)?.contiguous()?;
            let right = right.broadcast_left(x.dim(0)?)?.contiguous()?;
            left.matmul(x)?.matmul(&right)
        };
        let (cos_t, sin_t) = (cos.t()?.contiguous()?, sin.t()?.contiguous()?);
        let flat = x.contiguous()?.reshape((b * c, n, n))?;
        let a = (both(&cos, &flat, &cos_t)? - both(&sin, &flat, &sin_t)?)?;
        let d = (both(&sin, &flat, &cos_t)? + both(&cos, &flat, &sin_t)?)?.neg()?;
        let (a, d) = (a.reshape((b, c, m, m))?, d.reshape((b, c, m, m))?);
        let p = (a.broadcast_mul(&re)? - d.broadcast_mul(&im)?)?.reshape((b * c, m, m))?;
        let q = (a.broadcast_mul(&im)? + d.broadcast_mul(&re)?)?.reshape((b * c, m, m))?;
        // The real part of the inverse transform.
        let even = (both(&cos_t, &p, &cos)? - both(&sin_t, &p, &sin)?)?;
        let odd = (both(&sin_t, &q, &cos)? + both(&cos_t, &q, &sin)?)?;
        ((even - odd)? * (1.0 / (m * m) as f64))?.reshape((b, c, n, n))
    }

    fn run<T: FftNum>(&self, x: &[T], shape: &Shape) -> Result<Vec<T>> {
        let (_, c, n, _) = shape.dims4()?;
        let m = self.side;
        let columns = m / 2 + 1;
        let plans = Plans::<T>::new(m);
        let scale = T::from_f64(1.0 / (m * m) as f64).expect("a finite number");
        let sign = if self.adjoint { -1.0 } else { 1.0 };
        let transfer = self.transfer();
        let mut out = x.to_vec();
        for_chunks(&mut out, c * n * n, |i, planes| {
            let transfer = &transfer[i * columns * m..(i + 1) * columns * m];
            let mut spectrum = vec![Complex::new(T::zero(), T::zero()); columns * m];
            for plane in planes.chunks_exact_mut(n * n) {
                plans.forward(plane, n, &mut spectrum);
                for (value, t) in spectrum.iter_mut().zip(transfer) {
                    let re = T::from_f64(t.re).expect("a finite number");
                    let im = T::from_f64(sign * t.im).expect("a finite number");
                    *value = *value * Complex::new(re, im);
                }
                plans.inverse(&mut spectrum, plane, n, scale);
            }
        });
        Ok(out)
    }
}

/// Noise of deviation 1 `[batch, 1, n, n]` made of standard normals of that shape: periodic, with the autocorrelation `acf`,
/// `[batch, q, q]`, whose powers are at least `floor` (see [`Filter::noise_power`]). Without gradients.
pub fn coloured(acf: &[f32], q: usize, floor: f64, white: &Tensor) -> Result<Tensor> {
    let n = white.dim(3)?;
    if white.device().is_cpu() {
        let power = Filter::noise_power(acf, q, n, floor)?;
        return power.map(|p, _| p.sqrt()).apply(white);
    }
    coloured_by_matrices(acf, q, floor, white)
}

/// The same of candle's operations, on any device.
fn coloured_by_matrices(acf: &[f32], q: usize, floor: f64, white: &Tensor) -> Result<Tensor> {
    let (b, one, n, _) = white.dims4()?;
    check(acf.len(), q, n)?;
    if one != 1 || acf.len() != b * q * q {
        bail!(
            "noise like {:?}: {} autocorrelations of side {q}",
            white.shape(),
            acf.len() / (q * q)
        );
    }
    let device = white.device();
    // [n, k]: angles of n frequencies at k places, the first of which is at -offset.
    let table = |k: usize, offset: usize| {
        let angle = |i: usize| {
            std::f64::consts::TAU * ((i / k * (i % k + n - offset)) % n) as f64 / n as f64
        };
        let part = |f: fn(f64) -> f64| {
            Tensor::from_vec((0..n * k).map(|i| f(angle(i))).collect(), (n, k), device)
        };
        Ok::<[Tensor; 2], candle_core::Error>([part(f64::cos)?, part(f64::sin)?])
    };
    // left [n, k] x [b, k, l] right [l, m]
    let both = |left: &Tensor, x: &Tensor, right: &Tensor| -> Result<Tensor> {
        let left = left.broadcast_left(b)?.contiguous()?;
        let right = right.broadcast_left(b)?.contiguous()?;
        left.matmul(x)?.matmul(&right)
    };
    let turned = |[cos, sin]: &[Tensor; 2]| -> Result<[Tensor; 2]> {
        Ok([cos.t()?.contiguous()?, sin.t()?.contiguous()?])
    };
    let tables = table(q, (q - 1) / 2)?;
    let ([cos, sin], [cos_t, sin_t]) = (&tables, &turned(&tables)?);
    let acf = Tensor::from_slice(acf, (b, q, q), device)?.to_dtype(DType::F64)?;
    let power = (both(cos, &acf, cos_t)? - both(sin, &acf, sin_t)?)?.maximum(floor)?;
    let root = power.broadcast_div(&power.mean_keepdim((1, 2))?)?.sqrt()?;
    let tables = table(n, 0)?;
    let ([cos, sin], [cos_t, sin_t]) = (&tables, &turned(&tables)?);
    let x = white.squeeze(1)?.to_dtype(DType::F64)?.contiguous()?;
    let re = ((both(cos, &x, cos_t)? - both(sin, &x, sin_t)?)? * &root)?;
    let im = ((both(sin, &x, cos_t)? + both(cos, &x, sin_t)?)? * &root)?.neg()?;
    let even = (both(cos_t, &re, cos)? - both(sin_t, &re, sin)?)?;
    let odd = (both(sin_t, &im, cos)? + both(cos_t, &im, sin)?)?;
    ((even - odd)? * (1.0 / (n * n) as f64))?
        .unsqueeze(1)?
        .to_dtype(white.dtype())
}

/// How often a column of a half spectrum stands in the whole one.
fn weight(column: usize, side: usize) -> f64 {
    if column == 0 || 2 * column == side {
        1.0
    } else {
        2.0
    }
}

fn known(spectra: Vec<Complex<f64>>) -> Arc<OnceLock<Vec<Complex<f64>>>> {
    Arc::new(OnceLock::from(spectra))
}

/// An error unless `values` are kernels of odd side `p` that fit on a grid of side `m`.
fn check(values: usize, p: usize, m: usize) -> Result<()> {
    if p.is_multiple_of(2) || p > m || !values.is_multiple_of(p * p) {
        bail!("kernels of side {p} on a grid of side {m}: expected an odd side that fits");
    }
    Ok(())
}

/// Half spectra on a grid of side `m` of centred kernels `[batch, p, p]`, which fit.
fn spectra(kernels: &[f32], p: usize, m: usize) -> Vec<Complex<f64>> {
    let plans = Plans::<f64>::new(m);
    let half = (p - 1) / 2;
    let columns = m / 2 + 1;
    let batch = kernels.len() / (p * p);
    let mut all = vec![Complex::new(0.0, 0.0); batch * columns * m];
    for_chunks(&mut all, columns * m, |i, spectrum| {
        let mut wrapped = vec![0.0; m * m];
        for (k, &value) in kernels[i * p * p..(i + 1) * p * p].iter().enumerate() {
            let (y, x) = ((k / p + m - half) % m, (k % p + m - half) % m);
            wrapped[y * m + x] = f64::from(value);
        }
        plans.forward(&wrapped, m, spectrum);
    });
    all
}

/// Transforms of one side.
struct Plans<T: FftNum> {
    m: usize,
    rows_forward: Arc<dyn RealToComplex<T>>,
    rows_inverse: Arc<dyn ComplexToReal<T>>,
    columns_forward: Arc<dyn Fft<T>>,
    columns_inverse: Arc<dyn Fft<T>>,
}

impl<T: FftNum> Plans<T> {
    fn new(m: usize) -> Self {
        let mut real = RealFftPlanner::new();
        let mut complex = FftPlanner::new();
        Plans {
            m,
            rows_forward: real.plan_fft_forward(m),
            rows_inverse: real.plan_fft_inverse(m),
            columns_forward: complex.plan_fft_forward(m),
            columns_inverse: complex.plan_fft_inverse(m),
        }
    }

    /// Transform of an image of side `n`, zero beyond; `spectrum` is `[m / 2 + 1, m]`.
    fn forward(&self, image: &[T], n: usize, spectrum: &mut [Complex<T>]) {
        let m = self.m;
        let zero = Complex::new(T::zero(), T::zero());
        let mut row = vec![T::zero(); m];
        let mut line = vec![zero; m / 2 + 1];
        let mut scratch = self.rows_forward.make_scratch_vec();
        spectrum.fill(zero);
        for (y, pixels) in image.chunks_exact(n).enumerate() {
            row.fill(T::zero());
            row[..n].copy_from_slice(pixels);
            self.rows_forward
                .process_with_scratch(&mut row, &mut line, &mut scratch)
                .expect("fitting lengths");
            for (k, value) in line.iter().enumerate() {
                spectrum[k * m + y] = *value;
            }
        }
        self.columns_forward.process(spectrum);
    }

    /// The real part of the inverse, times `scale`, in the first `n` rows and columns.
    fn inverse(&self, spectrum: &mut [Complex<T>], image: &mut [T], n: usize, scale: T) {
        let m = self.m;
        self.columns_inverse.process(spectrum);
        let mut row = vec![T::zero(); m];
        let mut line = vec![Complex::new(T::zero(), T::zero()); m / 2 + 1];
        let mut scratch = self.rows_inverse.make_scratch_vec();
        for (y, pixels) in image.chunks_exact_mut(n).enumerate() {
            for (k, value) in line.iter_mut().enumerate() {
                *value = spectrum[k * m + y];
            }
            // Zero up to rounding, and asked to be exactly zero.
            line[0].im = T::zero();
            if m.is_multiple_of(2) {
                line[m / 2].im = T::zero();
            }
            self.rows_inverse
                .process_with_scratch(&mut line, &mut row, &mut scratch)
                .expect("fitting lengths");
            for (pixel, value) in pixels.iter_mut().zip(&row) {
                *pixel = *value * scale;
            }
        }
    }
}

impl CustomOp1 for Filter {
    fn name(&self) -> &'static str {
        "spectral-filter"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("spectral-filter: a contiguous argument is expected")
        };
        let shape = layout.shape();
        let out = match storage {
            CpuStorage::F32(x) => CpuStorage::F32(self.run(&x[start..end], shape)?),
            CpuStorage::F64(x) => CpuStorage::F64(self.run(&x[start..end], shape)?),
            _ => bail!("spectral-filter: f32 or f64 expected"),
        };
        Ok((out, shape.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        l: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let Some((kernels, p)) = &self.kernels else {
            bail!("spectral-filter: on CUDA by matrices")
        };
        let y = crate::cuda::convolve_each(x, l, kernels, *p, self.adjoint)?;
        Ok((y, l.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let adjoint = Filter {
            adjoint: !self.adjoint,
            ..self.clone()
        };
        adjoint.apply(gradient).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{close, numbers, var};
    use candle_core::Device;

    fn kernels(batch: usize, p: usize) -> Vec<f32> {
        numbers(batch * p * p, 3)
            .iter()
            .map(|&v| v as f32)
            .collect()
    }

    #[test]
    fn a_convolution_is_the_defining_sum() {
        let (b, c, n, p) = (2, 2, 8, 5);
        let kernels = kernels(b, p);
        let x = var(&[b, c, n, n], 1);
        let found = Filter::convolution(&kernels, p, n)
            .unwrap()
            .apply(&x)
            .unwrap();
        let values: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        let mut expected = vec![0.0; values.len()];
        for (i, e) in expected.iter_mut().enumerate() {
            let (item, y, x) = (i / (c * n * n), i / n % n, i % n);
            for k in 0..p * p {
                let (sy, sx) = (y + p / 2, x + p / 2);
                if (k / p..n + k / p).contains(&sy) && (k % p..n + k % p).contains(&sx) {
                    let from = i / (n * n) * n * n + (sy - k / p) * n + sx - k % p;
                    *e += values[from] * f64::from(kernels[item * p * p + k]);
                }
            }
        }
        let expected = Tensor::from_vec(expected, found.shape(), &Device::Cpu).unwrap();
        close(&found, &expected, 1e-12, "convolution");
    }

    #[test]
    fn the_gradient_is_the_adjoint_and_matrices_agree() {
        let (b, n, p) = (3, 8, 7);
        let filter = Filter::convolution(&kernels(b, p), p, n).unwrap();
        let (x, r) = (var(&[b, 1, n, n], 1), var(&[b, 1, n, n], 2));
        let dot = |a: &Tensor, b: &Tensor| {
            (a * b)
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap()
        };
        let y = filter.apply(&x).unwrap();
        let loss = (&y * r.as_tensor()).unwrap().sum_all().unwrap();
        let gradient = loss.backward().unwrap().get(&x).cloned().unwrap();
        // <T x, r> = <x, T* r>: the value is linear, so the gradient with x gives it back.
        assert!((dot(&gradient, &x) - dot(&y, &r)).abs() < 1e-10);
        let by_matrices = filter.by_matrices(&x).unwrap();
        close(&by_matrices, &y, 1e-12, "matrices");
        let loss = (&by_matrices * r.as_tensor()).unwrap().sum_all().unwrap();
        let by_matrices = loss.backward().unwrap().get(&x).cloned().unwrap();
        close(&by_matrices, &gradient, 1e-12, "gradient by matrices");
    }

    #[test]
    fn noise_coloured_by_the_root_of_its_power_is_whitened_by_the_inverse() {
        let n = 16;
        // A Gaussian: positive at every frequency.
        let gaussian = |k: i32| (-f64::from(k * k) / 4.0).exp();
        let acf: Vec<f32> = (0..81)
            .map(|i| (gaussian(i / 9 - 4) * gaussian(i % 9 - 4)) as f32)
            .collect();
        let power = Filter::noise_power(&acf, 9, n, 1e-6).unwrap();
        assert!((power.sum(|p| p)[0] - (n * n) as f64).abs() < 1e-9);
        let x = var(&[1, 1, n, n], 4);
        let coloured = power.map(|p, _| p.sqrt()).apply(&x).unwrap();
        let white = power.map(|p, _| p.sqrt().recip()).apply(&coloured).unwrap();
        close(&white, x.as_tensor(), 1e-10, "whitened");
        let by_matrices = coloured_by_matrices(&acf, 9, 1e-6, &x).unwrap();
        close(&by_matrices, &coloured, 1e-12, "coloured by matrices");
        let delta = Filter::noise_power(&[1.0], 1, n, 1e-6).unwrap();
        assert!(delta.sum(f64::ln)[0].abs() < 1e-12);
    }
}
