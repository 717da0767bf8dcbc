//! The operations of [`crate::ops`] made of candle's own: the oracle of their kernels.
//!
//! Three habits of candle 0.11 decide the formulas: its strided convolution has no gradient for rows that the kernel never
//! reaches, its ReLU has slope 1 at zero, and a gradient through an infinity is NaN although the product would be zero.

use candle_core::{Result, Tensor, Var};

use crate::ops::{Activation, Adam, Padding};

/// See [`crate::ops::conv2d`]; the shapes fit. Maps and weights may have any strides.
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: Padding) -> Result<Tensor> {
    let (_, _, kh, kw) = w.dims4()?;
    read_part(x, (kh, kw), stride, padding)?.conv2d(w, 0, stride, 1, 1)
}

/// See [`crate::ops::conv_transpose2d`]; `x` is `[b, o, oh, ow]`, the shapes fit.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, stride: usize, padding: Padding) -> Result<Tensor> {
    let full = x.contiguous()?.conv_transpose2d(w, 0, 0, stride, 1)?;
    let (_, _, h, wd) = full.dims4()?;
    full.narrow(2, padding.top, h - padding.top - padding.bottom)?
        .narrow(3, padding.left, wd - padding.left - padding.right)?
        .contiguous()
}

/// See [`crate::ops::conv2d_weight_grad`]: a convolution whose batch is the channels, whose channels are the batch and
/// whose kernel is the gradient `y`, dilated by the stride.
pub fn conv2d_weight_grad(
    x: &Tensor,
    y: &Tensor,
    kernel: (usize, usize),
    stride: usize,
    padding: Padding,
) -> Result<Tensor> {
    read_part(x, kernel, stride, padding)?
        .transpose(0, 1)?
        .contiguous()?
        .conv2d(&y.transpose(0, 1)?.contiguous()?, 0, 1, stride, 1)?
        .transpose(0, 1)?
        .contiguous()
}

/// `x` with its zeros, without the last rows and columns if no step of the kernel reaches them.
fn read_part(
    x: &Tensor,
    (kh, kw): (usize, usize),
    stride: usize,
    padding: Padding,
) -> Result<Tensor> {
    let padded = x
        .pad_with_zeros(2, padding.top, padding.bottom)?
        .pad_with_zeros(3, padding.left, padding.right)?;
    let (_, _, h, w) = padded.dims4()?;
    let read = |n: usize, k: usize| (n - k) / stride * stride + k;
    padded
        .narrow(2, 0, read(h, kh))?
        .narrow(3, 0, read(w, kw))?
        .contiguous()
}

/// See [`crate::ops::bias_activate`]; `bias` is `[c]`.
pub fn bias_activate(x: &Tensor, bias: &Tensor, act: Activation) -> Result<Tensor> {
    activate(&x.broadcast_add(&bias.reshape((1, (), 1, 1))?)?, act)
}

fn activate(x: &Tensor, act: Activation) -> Result<Tensor> {
    match act {
        Activation::Identity => Ok(x.clone()),
        Activation::Silu => x * candle_nn::ops::sigmoid(x)?,
        Activation::Softplus => x.relu()? + log1p(&x.abs()?.neg()?.exp()?)?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::LeakyRelu(slope) => x.gt(0.0)?.where_cond(x, &(x * slope)?),
        Activation::Elu => x.elu(1.0),
    }
}

/// ln(1 + u) for `u` in [0, 1], accurate for small `u` too; Goldberg 1991, theorem 4.
///
/// The rounding error of `1 + u` is divided out by a factor that is 1 to the last bits, and a constant for gradients.
fn log1p(u: &Tensor) -> Result<Tensor> {
    let sum = (u + 1.0)?;
    let lost = sum.eq(1.0)?;
    let gained = lost.where_cond(&sum.ones_like()?, &(&sum - 1.0)?)?;
    let factor = (u / gained)?.detach();
    lost.where_cond(u, &(sum.log()? * factor)?)
}

/// See [`crate::ops::channel_sum`].
pub fn channel_sum(x: &Tensor) -> Result<Tensor> {
    x.sum((0, 2, 3))
}

/// See [`crate::ops::group_norm`]; the shapes fit.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let rows = x.reshape((x.dim(0)? * groups, ()))?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(1)? + eps)?.sqrt()?;
    centred
        .broadcast_div(&deviation)?
        .reshape(x.shape())?
        .broadcast_mul(&weight.reshape((1, (), 1, 1))?)?
        .broadcast_add(&bias.reshape((1, (), 1, 1))?)
}

/// See [`crate::ops::adam_step`]; the shapes agree and `step` is at least 1.
pub fn adam_step(
    param: &Var,
    grad: &Tensor,
    first: &Var,
    second: &Var,
    step: u64,
    adam: &Adam,
) -> Result<()> {
    let (c1, c2) = adam.unbias(step);
    let grad = &(grad * adam.scale)?;
    let m = ((first.as_detached_tensor() * adam.beta1)? + (grad * (1.0 - adam.beta1))?)?;
    let v = ((second.as_detached_tensor() * adam.beta2)? + (grad.sqr()? * (1.0 - adam.beta2))?)?;
    let update = ((&m * (adam.lr / c1))? / ((&v * (1.0 / c2))?.sqrt()? + adam.eps)?)?;
    let keep = 1.0 - adam.lr * adam.weight_decay;
    param.set(&((param.as_detached_tensor() * keep)? - update)?)?;
    first.set(&m)?;
    second.set(&v)
}
