use candle_core::{Result, Tensor, bail};

use super::Padding;

/// A convolution of each channel by itself: `y[b,c,i,j] = sum_{u,v} w[c,0,u,v] x[b,c, s i + u - top, s j + v - left]`.
///
/// `x` is `[b, c, h, w]`, `w` is `[c, 1, kh, kw]`. Made of candle's operations, one product of maps for each tap, on any
/// device; differentiable to any order.
pub fn depthwise_conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: Padding) -> Result<Tensor> {
    let ((_, c, _, _), (wc, one, kh, kw)) = (x.dims4()?, w.dims4()?);
    let padded = x
        .pad_with_zeros(2, padding.top, padding.bottom)?
        .pad_with_zeros(3, padding.left, padding.right)?;
    let (_, _, h, wd) = padded.dims4()?;
    if (c, 1) != (wc, one) || kh > h || kw > wd || stride == 0 || kh * kw == 0 {
        bail!(
            "depthwise_conv2d: maps {:?} (padded to {h} x {wd}) do not fit weights {:?} with stride {stride}; \
             expected [b, c, h, w] and [c, 1, kh <= h, kw <= w]",
            x.shape(),
            w.shape()
        );
    }
    // At every place first: candle has no strided view with a gradient.
    let mut sum: Option<Tensor> = None;
    for u in 0..kh {
        for v in 0..kw {
            let seen = padded.narrow(2, u, h - kh + 1)?.narrow(3, v, wd - kw + 1)?;
            let weight = w.narrow(2, u, 1)?.narrow(3, v, 1)?.reshape((1, c, 1, 1))?;
            let term = seen.broadcast_mul(&weight)?;
            sum = Some(match sum {
                None => term,
                Some(sum) => (sum + term)?,
            });
        }
    }
    let mut y = sum.expect("a kernel has taps");
    if stride > 1 {
        for (dimension, size) in [(2, h - kh + 1), (3, wd - kw + 1)] {
            let kept: Vec<u32> = (0..size as u32).step_by(stride).collect();
            let kept = Tensor::new(kept, x.device())?;
            y = y.index_select(&kept, dimension)?;
        }
    }
    y.contiguous()
}
