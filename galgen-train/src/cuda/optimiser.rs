//! The optimiser's passes over one parameter, in place: see `adam.cu`.

use super::{Kernel, Module, by_type, device_of, module, pointwise, sums, uninitialised, view};
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaViewMut, PushKernelArg};
use candle_core::cuda::{CudaDType, WrapErr};
use candle_core::{CudaStorage, Layout, Result, Storage, Tensor, bail};

const MODULE: Module = module!("adam");

fn view_mut<'a, T: CudaDType>(s: &'a mut CudaStorage, l: &Layout) -> Result<CudaViewMut<'a, T>> {
    let Some((start, end)) = l.contiguous_offsets() else {
        bail!(
            "CUDA op in place: a contiguous tensor is expected, found strides {:?}",
            l.stride()
        )
    };
    Ok(T::as_cuda_slice_mut(s)?.slice_mut(start..end))
}

/// `m = beta m + (1 - beta) scale g`, or with the square of `scale g`.
pub fn add_moment(
    m: (&mut CudaStorage, &Layout),
    g: (&CudaStorage, &Layout),
    beta: f64,
    scale: f64,
    square: bool,
) -> Result<()> {
    let device = device_of(g.0).clone();
    by_type!(g.0, "Adam moment", T => {
        let (g, mut m) = (view::<T>(g.0, g.1)?, view_mut::<T>(m.0, m.1)?);
        let (n, square) = (g.len(), i32::from(square));
        let kernel = Kernel::of::<T>(&device, MODULE, "moment")?;
        let mut call = kernel.arguments();
        call.arg(&mut m).arg(&g).arg(&beta).arg(&scale).arg(&square).arg(&n);
        // SAFETY: m and g have n values (the caller checks the shapes).
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(())
    })
}

/// `p = keep p - rate m / (sqrt(v / c2) + eps)`.
pub fn move_parameter(
    p: (&mut CudaStorage, &Layout),
    m: (&CudaStorage, &Layout),
    v: (&CudaStorage, &Layout),
    [keep, rate, c2, eps]: [f64; 4],
) -> Result<()> {
    let device = device_of(m.0).clone();
    by_type!(m.0, "Adam step", T => {
        let (m, v, mut p) = (view::<T>(m.0, m.1)?, view::<T>(v.0, v.1)?, view_mut::<T>(p.0, p.1)?);
        let n = m.len();
        let kernel = Kernel::of::<T>(&device, MODULE, "move")?;
        let mut call = kernel.arguments();
        call.arg(&mut p).arg(&m).arg(&v).arg(&keep).arg(&rate).arg(&c2).arg(&eps).arg(&n);
        // SAFETY: p, m and v have n values (the caller checks the shapes).
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(())
    })
}

/// The sum of squares of all elements of `tensors`, which are on one device; the host waits for it once.
pub fn squares(tensors: &[&Tensor]) -> Result<f64> {
    let Some(first) = tensors.first() else {
        return Ok(0.0);
    };
    let device = first.device().as_cuda_device()?;
    let mut sums_of: CudaSlice<f64> = uninitialised(device, tensors.len())?;
    for (i, tensor) in tensors.iter().enumerate() {
        let tensor = tensor.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            bail!("sum of squares: tensors of one CUDA device expected")
        };
        by_type!(storage, "sum of squares", T => {
            let x = view::<T>(storage, layout)?;
            let n = x.len();
            let mut out = sums_of.slice_mut(i..i + 1);
            let kernel = Kernel::of::<T>(device, MODULE, "squares")?;
            let mut call = kernel.arguments();
            call.arg(&x).arg(&mut out).arg(&n);
            // SAFETY: one block reads the n values of x and writes the one of out.
            unsafe { call.launch(sums(1)) }.w()?;
        });
    }
    Ok(device.clone_dtoh(&sums_of)?.iter().sum())
}
