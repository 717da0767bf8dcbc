//! Activations, scales and norms: see `act.cu` and `norm.cu`.

use super::{
    Kernel, Module, by_type, device_of, module, pointwise, storage, sums, uninitialised, view,
};
use crate::ops::Activation;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, PushKernelArg};
use candle_core::{CudaStorage, Layout, Result};

const ACT: Module = module!("act");
const NORM: Module = module!("norm");

/// Number and slope of an activation for `act.cu`.
fn numbered(act: Activation) -> (i32, f64) {
    match act {
        Activation::Identity => (0, 0.0),
        Activation::Silu => (1, 0.0),
        Activation::Softplus => (2, 0.0),
        Activation::Sigmoid => (3, 0.0),
        Activation::Tanh => (4, 0.0),
        Activation::LeakyRelu(slope) => (5, slope),
        Activation::Elu => (6, 0.0),
    }
}

/// Channels and pixels of maps `[b, c, h, w]`.
fn channels(l: &Layout) -> (i32, usize) {
    let dims = l.dims();
    (dims[1] as i32, dims[2] * dims[3])
}

/// `f(x + bias)`, or `g f(x + bias)` with `g`, where f is the `order`-th derivative of `act`, 0 to 2.
pub fn bias_act(
    g: Option<(&CudaStorage, &Layout)>,
    x: (&CudaStorage, &Layout),
    bias: (&CudaStorage, &Layout),
    act: Activation,
    order: u8,
) -> Result<CudaStorage> {
    let device = device_of(x.0);
    by_type!(x.0, "bias and activation", T => {
        let (channels, pixels) = channels(x.1);
        let (x, bias) = (view::<T>(x.0, x.1)?, view::<T>(bias.0, bias.1)?);
        let n = x.len();
        let (number, slope) = numbered(act);
        let order = i32::from(order);
        let mut y: CudaSlice<T> = uninitialised(device, n)?;
        let g: Option<CudaView<T>> = g.map(|(s, l)| view::<T>(s, l)).transpose()?;
        let name = if g.is_some() { "bias_act_grad" } else { "bias_act" };
        let kernel = Kernel::of::<T>(device, ACT, name)?;
        let mut call = kernel.arguments();
        if let Some(g) = &g {
            call.arg(g);
        }
        call.arg(&x).arg(&bias).arg(&mut y);
        call.arg(&number).arg(&slope).arg(&order).arg(&channels).arg(&pixels).arg(&n);
        // SAFETY: x, y and g have n values and the bias one for each channel (the caller checks the shapes).
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(storage(device, y))
    })
}

/// `[b, c, h, w]` to `[c]`.
pub fn channel_sum(x: &CudaStorage, l: &Layout) -> Result<CudaStorage> {
    let device = device_of(x);
    by_type!(x, "channel sum", T => {
        let (channels, pixels) = channels(l);
        let batch = l.dims()[0] as i32;
        let x = view::<T>(x, l)?;
        let mut sum: CudaSlice<T> = uninitialised(device, channels as usize)?;
        let kernel = Kernel::of::<T>(device, ACT, "channel_sum")?;
        let mut call = kernel.arguments();
        call.arg(&x).arg(&mut sum).arg(&batch).arg(&channels).arg(&pixels);
        // SAFETY: one block for each of the channels, which reads the batch's pixels of its own.
        unsafe { call.launch(sums(channels as usize)) }.w()?;
        Ok(storage(device, sum))
    })
}

/// `x[b,c,h,w] w[c]`.
pub fn channel_scale(
    x: &CudaStorage,
    l: &Layout,
    w: &CudaStorage,
    lw: &Layout,
) -> Result<CudaStorage> {
    let device = device_of(x);
    by_type!(x, "channel scale", T => {
        let (channels, pixels) = channels(l);
        let (x, w) = (view::<T>(x, l)?, view::<T>(w, lw)?);
        let n = x.len();
        let mut y: CudaSlice<T> = uninitialised(device, n)?;
        let kernel = Kernel::of::<T>(device, ACT, "channel_scale")?;
        let mut call = kernel.arguments();
        call.arg(&x).arg(&w).arg(&mut y).arg(&channels).arg(&pixels).arg(&n);
        // SAFETY: x and y have n values, w one for each channel.
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(storage(device, y))
    })
}

/// Rows of `len` values to mean 0 and variance 1.
pub fn whiten(x: &CudaStorage, l: &Layout, len: usize, eps: f64) -> Result<CudaStorage> {
    let device = device_of(x);
    by_type!(x, "group normalisation", T => {
        let x = view::<T>(x, l)?;
        let mut y: CudaSlice<T> = uninitialised(device, x.len())?;
        let kernel = Kernel::of::<T>(device, NORM, "whiten")?;
        let mut call = kernel.arguments();
        call.arg(&x).arg(&mut y).arg(&eps).arg(&len);
        // SAFETY: one block for each row of len values of x and y.
        unsafe { call.launch(sums(x.len() / len)) }.w()?;
        Ok(storage(device, y))
    })
}

/// Gradient of [`whiten`] at `x`, from the gradient `g` of its result.
pub fn whiten_grad(
    x: &CudaStorage,
    l: &Layout,
    g: &CudaStorage,
    lg: &Layout,
    len: usize,
    eps: f64,
) -> Result<CudaStorage> {
    let device = device_of(x);
    by_type!(x, "gradient of group normalisation", T => {
        let (x, g) = (view::<T>(x, l)?, view::<T>(g, lg)?);
        let mut y: CudaSlice<T> = uninitialised(device, x.len())?;
        let kernel = Kernel::of::<T>(device, NORM, "whiten_grad")?;
        let mut call = kernel.arguments();
        call.arg(&x).arg(&g).arg(&mut y).arg(&eps).arg(&len);
        // SAFETY: one block for each row of len values of x, g and y.
        unsafe { call.launch(sums(x.len() / len)) }.w()?;
        Ok(storage(device, y))
    })
}
