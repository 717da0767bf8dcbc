//! Nearest-neighbour upsampling by two, alone and followed by a 3 x 3 convolution.

use candle_core::{Result, Tensor};

use super::Padding;
use super::conv::conv_transpose2d;

/// Every pixel becomes a 2 x 2 block: `[b, c, h, w]` to `[b, c, 2 h, 2 w]`.
///
/// Built of a broadcast, so the gradient is the sum over each block (candle's `upsample_nearest2d` loses gradients
/// of maps that have other uses).
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    x.contiguous()?
        .reshape((b * c, h, 1, w, 1))?
        .broadcast_as((b * c, h, 2, w, 2))?
        .contiguous()?
        .reshape((b, c, 2 * h, 2 * w))
}

/// `conv2d(upsample_nearest2x(x), w, 1, Padding::all(1))` for `w` `[o, c, 3, 3]`, in 4/9 of the multiplications.
///
/// On the fine grid a 3 x 3 kernel sees only 2 x 2 different pixels. The four sums of weights make a 4 x 4 kernel of a
/// transposed convolution with stride 2; the sums are a fixed linear map of `w`, so gradients of every order follow.
pub fn upsample2x_conv3x3(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    conv_transpose2d(x, &transposed_kernel(w)?, 2, Padding::all(1))
}

/// The `[c, o, 4, 4]` kernel of a transposed convolution that upsamples by two and convolves with `w` `[o, c, 3, 3]`.
pub(super) fn transposed_kernel(w: &Tensor) -> Result<Tensor> {
    let (o, c, kh, kw) = w.dims4()?;
    if (kh, kw) != (3, 3) {
        candle_core::bail!(
            "upsample2x_conv3x3: weights [o, c, 3, 3] expected, found {:?}",
            w.shape()
        );
    }
    // Row k: the rows of the 4 x 4 kernel that weight k of the 3 x 3 kernel adds to.
    const ADDS: [[f64; 4]; 3] = [[0., 0., 1., 1.], [0., 1., 1., 0.], [1., 1., 0., 0.]];
    let map: Vec<f64> = (0..9 * 16)
        .map(|i| (i / 16, i % 16))
        .map(|(k, t)| ADDS[k / 3][t / 4] * ADDS[k % 3][t % 4])
        .collect();
    let map = Tensor::from_vec(map, (9, 16), w.device())?.to_dtype(w.dtype())?;
    w.transpose(0, 1)?
        .contiguous()?
        .reshape((c * o, 9))?
        .matmul(&map)?
        .reshape((c, o, 4, 4))
}
