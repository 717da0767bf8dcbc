//! The operations of [`crate::ops`] on CUDA: kernels of the project's own (`*.cu` beside this file, compiled to PTX by
//! `build.rs`) and matrix products by cuBLAS. Values and gradients are those of the CPU kernels up to rounding, which
//! `tests/cuda.rs` checks on a device.
//!
//! All work goes to the stream of candle's device, in order, from one thread.

mod conv;
mod filter;
mod optimiser;
mod pointwise;
mod random;

pub use conv::{Geometry, convolve, transpose, weight_gradient};
pub use filter::convolve_each;
pub use optimiser::{add_moment, move_parameter, squares};
pub use pointwise::{bias_act, channel_scale, channel_sum, whiten, whiten_grad};
pub use random::normals;

use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::cublas::{Gemm, GemmConfig, StridedBatchedConfig, sys};
use candle_core::cuda::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, CudaView, DeviceRepr, LaunchArgs, LaunchConfig,
    ValidAsZeroBits,
};
use candle_core::cuda::{CudaDType, CudaDevice, WrapErr};
use candle_core::{CudaStorage, Device, Layout, Result, bail};
use std::sync::Arc;

/// Threads of a block of pointwise kernels, and of one that sums.
const THREADS: u32 = 256;
const SUM_THREADS: u32 = 1024;

/// The first CUDA device, set up to keep its memory between steps.
pub fn device() -> Result<Device> {
    let device = Device::new_cuda(0)?;
    keep_memory(&device)?;
    Ok(device)
}

/// Freed memory stays with the process: by default the driver takes it back whenever the host waits for the device, which
/// training does in every step.
fn keep_memory(device: &Device) -> Result<()> {
    use candle_core::cuda::cudarc::driver::sys::{self, CUmemPool_attribute};
    let stream = device.as_cuda_device()?.cuda_stream();
    let mut pool = std::ptr::null_mut();
    let mut most = u64::MAX;
    // SAFETY: the context of `stream` is alive, `pool` and `most` are valid for the calls, and the attribute's value is
    // a 64-bit integer.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, stream.context().cu_device())
            .result()
            .w()?;
        sys::cuMemPoolSetAttribute(
            pool,
            CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut most).cast(),
        )
        .result()
        .w()
    }
}

/// A type that the kernels exist for.
pub trait Scalar: CudaDType + DeviceRepr + ValidAsZeroBits + Copy + From<f32> + 'static {
    /// What the kernels' names end on.
    const NAME: &'static str;

    /// Row-major C = A B for each of a batch.
    fn product(
        device: &CudaDevice,
        config: StridedBatchedConfig<Self>,
        a: &CudaView<Self>,
        b: &CudaView<Self>,
        c: &mut CudaSlice<Self>,
    ) -> Result<()>;
}

macro_rules! scalar {
    ($t:ty, $name:literal) => {
        impl Scalar for $t {
            const NAME: &'static str = $name;
            fn product(
                device: &CudaDevice,
                config: StridedBatchedConfig<Self>,
                a: &CudaView<Self>,
                b: &CudaView<Self>,
                c: &mut CudaSlice<Self>,
            ) -> Result<()> {
                // SAFETY: `matmul`, the only caller, checks the lengths against the configuration.
                unsafe { device.cublas_handle().gemm_strided_batched(config, b, a, c) }.w()
            }
        }
    };
}
scalar!(f32, "f32");
scalar!(f64, "f64");

/// Runs `$body` with `$T` as the type of the storage.
macro_rules! by_type {
    ($storage:expr, $name:expr, $T:ident => $body:expr) => {{
        use candle_core::backend::BackendStorage as _;
        match $storage.dtype() {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("{}: f32 or f64 expected, found {other:?}", $name),
        }
    }};
}
use by_type;

/// The elements of a contiguous tensor.
fn view<'a, T: CudaDType>(s: &'a CudaStorage, l: &Layout) -> Result<CudaView<'a, T>> {
    let Some((start, end)) = l.contiguous_offsets() else {
        bail!(
            "CUDA op: a contiguous argument is expected, found strides {:?}",
            l.stride()
        )
    };
    Ok(T::as_cuda_slice(s)?.slice(start..end))
}

/// Memory for `n` values that the next kernel writes, all of them.
fn uninitialised<T: DeviceRepr>(device: &CudaDevice, n: usize) -> Result<CudaSlice<T>> {
    // SAFETY: every caller hands the slice to a kernel that writes each element before anything reads it.
    unsafe { device.alloc::<T>(n) }
}

/// A kernel with the stream it runs on.
struct Kernel {
    function: CudaFunction,
    stream: Arc<CudaStream>,
}

impl Kernel {
    /// `name` for the type T of the module made of `file`.cu.
    fn of<T: Scalar>(device: &CudaDevice, module: Module, name: &str) -> Result<Self> {
        Self::named(device, module, &format!("{name}_{}", T::NAME))
    }

    fn named(device: &CudaDevice, (file, ptx): Module, name: &str) -> Result<Self> {
        let function = device.get_or_load_custom_func(name, file, ptx)?;
        Ok(Kernel {
            function: function.into_cuda_function(),
            stream: device.cuda_stream(),
        })
    }

    fn arguments(&self) -> LaunchArgs<'_> {
        self.stream.launch_builder(&self.function)
    }
}

/// A file of kernels and its PTX.
type Module = (&'static str, &'static str);

macro_rules! module {
    ($name:literal) => {
        (
            concat!("galgen-", $name),
            include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")),
        )
    };
}
use module;

/// A grid for `n` elements, which the kernels walk with a stride.
fn pointwise(n: usize) -> LaunchConfig {
    let blocks = n.div_ceil(THREADS as usize).clamp(1, 65_536) as u32;
    LaunchConfig {
        grid_dim: (blocks, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// A block for each of `rows` sums.
fn sums(rows: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (rows as u32, 1, 1),
        block_dim: (SUM_THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// One factor of [`matmul`]: a row-major matrix for each of the batch, `stride` apart (0: the same for all).
struct Factor<'a, T> {
    values: &'a CudaView<'a, T>,
    stride: usize,
    transposed: bool,
}

/// Row-major `C [batch, m, n] = A [m, k] B [k, n]`; a transposed factor is stored the other way round.
fn matmul<T: Scalar>(
    device: &CudaDevice,
    batch: usize,
    (m, n, k): (usize, usize, usize),
    a: Factor<T>,
    b: Factor<T>,
) -> Result<CudaSlice<T>> {
    let fits = |f: &Factor<T>, one: usize| f.values.len() >= (batch.max(1) - 1) * f.stride + one;
    if !fits(&a, m * k) || !fits(&b, k * n) || [m, n, k, batch].contains(&0) {
        bail!("CUDA product: factors do not fit {batch} x ({m}, {n}, {k})");
    }
    let operation = |transposed| match transposed {
        false => sys::cublasOperation_t::CUBLAS_OP_N,
        true => sys::cublasOperation_t::CUBLAS_OP_T,
    };
    let mut c = uninitialised(device, batch * m * n)?;
    // cuBLAS takes columns first: it sees every matrix transposed and computes C^T = B^T A^T.
    let config = StridedBatchedConfig {
        gemm: GemmConfig {
            transa: operation(b.transposed),
            transb: operation(a.transposed),
            m: n as i32,
            n: m as i32,
            k: k as i32,
            alpha: T::from(1.0),
            lda: if b.transposed { k } else { n } as i32,
            ldb: if a.transposed { m } else { k } as i32,
            beta: T::from(0.0),
            ldc: n as i32,
        },
        batch_size: batch as i32,
        stride_a: b.stride as i64,
        stride_b: a.stride as i64,
        stride_c: (m * n) as i64,
    };
    T::product(device, config, a.values, b.values, &mut c)?;
    Ok(c)
}

/// The device that a storage lies on.
fn device_of(s: &CudaStorage) -> &CudaDevice {
    s.device()
}

/// A storage that owns `values`.
fn storage<T: CudaDType>(device: &CudaDevice, values: CudaSlice<T>) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(values, device.clone())
}
