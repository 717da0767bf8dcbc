//! Group normalisation (Wu & He 2018) as one operation forward and one backward.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::bias::channel_sum;
use super::math::Math;
use super::real::{Real, by_type, dispatch};
use super::threads::for_chunks;
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;

/// `weight[c] (x - mean) / sqrt(var + eps) + bias[c]` with mean and (biased) variance over `(c / groups, h, w)`.
///
/// `x` is `[b, c, h, w]`; `weight` and `bias` are `[c]`. Differentiable once.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if groups == 0 || c % groups != 0 || weight.dims() != [c] || bias.dims() != [c] {
        bail!(
            "group_norm: {groups} groups must divide {c} channels, weight and bias must have {c} values; found {:?}, {:?}",
            weight.shape(),
            bias.shape()
        );
    }
    let len = c / groups * h * w;
    let z = x
        .contiguous()?
        .reshape((b * groups, len))?
        .apply_op1(Whiten { len, eps })?
        .reshape((b, c, h, w))?;
    super::bias_add(&z.apply_op2(&weight.contiguous()?, ChannelScale)?, bias)
}

/// Rows of `len` values to mean 0 and variance 1.
#[derive(Clone, Copy)]
struct Whiten {
    len: usize,
    eps: f64,
}

/// Gradient of [`Whiten`]: arguments are the row and the gradient of its whitened values.
struct WhitenGrad(Whiten);

/// Mean and inverse deviation of a row.
fn moments<T: Math>(x: &[T], eps: f64) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = super::bias::total(x) / n;
    let m = T::of(mean);
    let var = sum_of(
        x,
        x,
        #[inline(always)]
        move |a, _| (a - m) * (a - m),
    ) / n;
    (mean, 1.0 / (var + eps).sqrt())
}

/// Sum of `f(a, b)` over two slices, in 32 partial sums.
#[inline(always)]
fn sum_of<T: Math>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    dispatch(
        #[inline(always)]
        || {
            let mut part = [T::default(); 32];
            let (ca, cb) = (a.chunks_exact(32), b.chunks_exact(32));
            let rest: f64 = ca
                .remainder()
                .iter()
                .zip(cb.remainder())
                .map(|(&a, &b)| f(a, b).f64())
                .sum();
            for (a, b) in ca.zip(cb) {
                for i in 0..32 {
                    part[i] += f(a[i], b[i]);
                }
            }
            part.iter().map(|&v| v.f64()).sum::<f64>() + rest
        },
    )
}

impl CustomOp1 for Whiten {
    fn name(&self) -> &'static str {
        "group normalisation"
    }
    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_type!(x, self.name(), T => {
            let x = T::slice(x, l)?;
            let mut y = vec![T::default(); x.len()];
            for_chunks(&mut y, self.len, |i, y| {
                let x = &x[i * self.len..][..y.len()];
                let (mean, scale) = moments(x, self.eps);
                let (mean, scale) = (T::of(mean), T::of(scale));
                dispatch(#[inline(always)] || y.iter_mut().zip(x).for_each(#[inline(always)] |(y, &x)| *y = (x - mean) * scale));
            });
            Ok((T::storage(y), l.shape().clone()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::whiten(x, l, self.len, self.eps)?, l.shape().clone()))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2(&g.contiguous()?, WhitenGrad(*self)).map(Some)
    }
}

impl CustomOp2 for WhitenGrad {
    fn name(&self) -> &'static str {
        "gradient of group normalisation"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        l: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Whiten { len, eps } = self.0;
        by_type!(x, self.name(), T => {
            let (x, g) = (T::slice(x, l)?, T::slice(g, lg)?);
            let mut d = vec![T::default(); x.len()];
            for_chunks(&mut d, len, |i, d| {
                let (x, g) = (&x[i * len..][..d.len()], &g[i * len..][..d.len()]);
                let (mean, scale) = moments(x, eps);
                let (m, s) = (T::of(mean), T::of(scale));
                // dx = scale (g - mean(g) - z mean(g z)) with z = (x - mean) scale
                let mg = T::of(super::bias::total(g) / len as f64);
                let mgz = T::of(sum_of(x, g, #[inline(always)] move |x, g| (x - m) * s * g) / len as f64);
                dispatch(#[inline(always)] || for ((d, &x), &g) in d.iter_mut().zip(x).zip(g) {
                    *d = s * (g - mg - (x - m) * s * mgz);
                });
            });
            Ok((T::storage(d), l.shape().clone()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        l: &Layout,
        g: &CudaStorage,
        lg: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let Whiten { len, eps } = self.0;
        Ok((cuda::whiten_grad(x, l, g, lg, len, eps)?, l.shape().clone()))
    }
}

/// `x[b,c,h,w] * w[c]`.
struct ChannelScale;

impl CustomOp2 for ChannelScale {
    fn name(&self) -> &'static str {
        "channel scale"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        l: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (c, map) = (l.dims()[1], l.dims()[2] * l.dims()[3]);
        by_type!(x, self.name(), T => {
            let (x, w) = (T::slice(x, l)?, T::slice(w, lw)?);
            let mut y = vec![T::default(); x.len()];
            for_chunks(&mut y, c * map, |i, y| {
                for (j, (y, x)) in y.chunks_mut(map).zip(x[i * c * map..].chunks(map)).enumerate() {
                    let w = w[j];
                    dispatch(#[inline(always)] || y.iter_mut().zip(x).for_each(#[inline(always)] |(y, &x)| *y = x * w));
                }
            });
            Ok((T::storage(y), l.shape().clone()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        l: &Layout,
        w: &CudaStorage,
        lw: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::channel_scale(x, l, w, lw)?, l.shape().clone()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gx = g.contiguous()?.apply_op2(w, ChannelScale)?;
        Ok((Some(gx), Some(channel_sum(&g.mul(x)?)?)))
    }
}
