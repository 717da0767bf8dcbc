//! Standard normals: see `random.cu`.

use super::{Kernel, Module, module, pointwise, storage, uninitialised};
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, PushKernelArg};
use candle_core::op::BackpropOp;
use candle_core::{Device, Result, Shape, Storage, Tensor};

const MODULE: Module = module!("random");

/// The first normals of the sequence of (`seed`, `id`, `stream`) as f32.
pub fn normals(seed: u64, id: u64, stream: u32, shape: Shape, device: &Device) -> Result<Tensor> {
    let cuda = device.as_cuda_device()?;
    let n = shape.elem_count();
    let mut out: CudaSlice<f32> = uninitialised(cuda, n)?;
    let kernel = Kernel::named(cuda, MODULE, "normals")?;
    let mut call = kernel.arguments();
    call.arg(&mut out).arg(&seed).arg(&id).arg(&stream).arg(&n);
    // SAFETY: the kernel writes the n values of out.
    unsafe { call.launch(pointwise(n.div_ceil(2))) }.w()?;
    let storage = Storage::Cuda(storage(cuda, out));
    Ok(Tensor::from_storage(
        storage,
        shape,
        BackpropOp::none(),
        false,
    ))
}
