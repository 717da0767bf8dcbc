//! Convolution of each stamp with its own point-spread function: see `filter.cu`.

use super::{Kernel, Module, by_type, device_of, module, pointwise, storage, uninitialised, view};
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, PushKernelArg};
use candle_core::{CudaStorage, Layout, Result};

const MODULE: Module = module!("filter");

/// Stamps `x` `[b, c, n, n]` with `kernels` `[b, p, p]`; `adjoint`: correlation.
pub fn convolve_each(
    x: &CudaStorage,
    l: &Layout,
    kernels: &[f32],
    p: usize,
    adjoint: bool,
) -> Result<CudaStorage> {
    let device = device_of(x);
    let kernels = device.clone_htod(kernels)?;
    by_type!(x, "convolution with point-spread functions", T => {
        let (c, side) = (l.dims()[1] as i32, l.dims()[3] as i32);
        let (p, adjoint) = (p as i32, i32::from(adjoint));
        let x = view::<T>(x, l)?;
        let n = x.len();
        let mut y: CudaSlice<T> = uninitialised(device, n)?;
        let kernel = Kernel::of::<T>(device, MODULE, "convolve_each")?;
        let mut call = kernel.arguments();
        call.arg(&x).arg(&kernels).arg(&mut y);
        call.arg(&c).arg(&side).arg(&p).arg(&adjoint).arg(&n);
        // SAFETY: x and y have n values, kernels p p for each stamp (the caller checks the batch).
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(storage(device, y))
    })
}
