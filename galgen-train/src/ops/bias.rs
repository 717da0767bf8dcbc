//! Sums of maps over batch and pixels: the gradient of a bias.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::math::Math;
use super::real::{Real, by_type, dispatch};

/// `[b, c, h, w]` to `[c]`: the sum over batch, rows and columns, in f64 steps that do not drift. Differentiable.
pub fn channel_sum(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(ChannelSum)
}

struct ChannelSum;

impl CustomOp1 for ChannelSum {
    fn name(&self) -> &'static str {
        "channel sum"
    }
    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (c, map) = (l.dims()[1], l.dims()[2] * l.dims()[3]);
        by_type!(x, self.name(), T => {
            let mut sum = vec![0.0f64; c];
            for (i, map) in T::slice(x, l)?.chunks_exact(map.max(1)).enumerate() {
                sum[i % c] += total(map);
            }
            Ok((T::storage(sum.into_iter().map(T::of).collect()), c.into()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        l: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Ok((crate::cuda::channel_sum(x, l)?, l.dims()[1].into()))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.reshape((1, (), 1, 1))?.broadcast_as(x.shape())?;
        Ok(Some(g.contiguous()?))
    }
}

/// Sum of a slice: 32 partial sums, so that it vectorises, of 4096 values each pass, so that rounding does not add up.
pub fn total<T: Math>(x: &[T]) -> f64 {
    dispatch(
        #[inline(always)]
        || {
            let mut sum = 0.0;
            for block in x.chunks(4096) {
                let mut part = [T::default(); 32];
                let chunks = block.chunks_exact(32);
                sum += chunks.remainder().iter().map(|&v| v.f64()).sum::<f64>();
                for chunk in chunks {
                    for (p, &v) in part.iter_mut().zip(chunk) {
                        *p += v;
                    }
                }
                sum += part.iter().map(|&v| v.f64()).sum::<f64>();
            }
            sum
        },
    )
}
