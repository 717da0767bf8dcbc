//! Convolution as matrix products: see `conv.cu`.

use super::{
    Factor, Kernel, Module, Scalar, by_type, device_of, matmul, module, pointwise, storage,
    uninitialised, view,
};
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, PushKernelArg};
use candle_core::cuda::{CudaDevice, WrapErr};
use candle_core::{CudaStorage, Layout, Result};

const MODULE: Module = module!("conv");

/// Shapes of one convolution `[b, c, h, w] * [o, c, kh, kw] -> [b, o, oh, ow]`, as `conv.cu` reads them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Geometry {
    pub(crate) c: i32,
    pub(crate) o: i32,
    pub(crate) kh: i32,
    pub(crate) kw: i32,
    pub(crate) h: i32,
    pub(crate) w: i32,
    pub(crate) oh: i32,
    pub(crate) ow: i32,
    pub(crate) stride: i32,
    pub(crate) top: i32,
    pub(crate) left: i32,
}

// SAFETY: eleven integers in the order and layout of the struct of conv.cu.
unsafe impl DeviceRepr for Geometry {}

impl Geometry {
    /// Values of a column.
    fn taps(&self) -> usize {
        (self.c * self.kh * self.kw) as usize
    }

    /// Pixels of an output map.
    fn pixels(&self) -> usize {
        (self.oh * self.ow) as usize
    }

    fn map(&self) -> usize {
        (self.c * self.h * self.w) as usize
    }

    /// Whether the columns are the maps themselves.
    fn is_pointwise(&self) -> bool {
        self.kh * self.kw * self.stride == 1
            && (self.top, self.left) == (0, 0)
            && (self.oh, self.ow) == (self.h, self.w)
    }

    /// Images of a batch whose maps hold `len` values.
    fn batch(&self, len: usize) -> usize {
        len / self.map()
    }
}

/// Calls `use_columns` with the columns `[b, taps, pixels]` of maps `x`.
fn with_columns<T: Scalar, R>(
    device: &CudaDevice,
    x: &CudaView<T>,
    g: Geometry,
    use_columns: impl FnOnce(&CudaView<T>) -> Result<R>,
) -> Result<R> {
    if g.is_pointwise() {
        return use_columns(x);
    }
    let n = g.batch(x.len()) * g.taps() * g.pixels();
    let mut columns: CudaSlice<T> = uninitialised(device, n)?;
    let kernel = Kernel::of::<T>(device, MODULE, "to_columns")?;
    let mut call = kernel.arguments();
    call.arg(x).arg(&mut columns).arg(&g).arg(&n);
    // SAFETY: the kernel writes the n columns and reads x inside its b c h w values.
    unsafe { call.launch(pointwise(n)) }.w()?;
    use_columns(&columns.as_view())
}

/// `conv2d`: maps `[b, c, h, w]` and weights to `[b, o, oh, ow]`.
pub fn convolve(
    x: &CudaStorage,
    lx: &Layout,
    w: &CudaStorage,
    lw: &Layout,
    g: Geometry,
) -> Result<CudaStorage> {
    let device = device_of(x);
    by_type!(x, "conv2d", T => {
        let (x, w) = (view::<T>(x, lx)?, view::<T>(w, lw)?);
        let shape = (g.o as usize, g.pixels(), g.taps());
        let y = with_columns(device, &x, g, |columns| {
            let weights = Factor { values: &w, stride: 0, transposed: false };
            let columns = Factor { values: columns, stride: shape.1 * shape.2, transposed: false };
            matmul(device, g.batch(x.len()), shape, weights, columns)
        })?;
        Ok(storage(device, y))
    })
}

/// The transpose of [`convolve`] in its maps: `[b, o, oh, ow]` to `[b, c, h, w]`.
pub fn transpose(
    y: &CudaStorage,
    ly: &Layout,
    w: &CudaStorage,
    lw: &Layout,
    g: Geometry,
) -> Result<CudaStorage> {
    let device = device_of(y);
    by_type!(y, "conv_transpose2d", T => {
        let (y, w) = (view::<T>(y, ly)?, view::<T>(w, lw)?);
        let (taps, pixels, o) = (g.taps(), g.pixels(), g.o as usize);
        let batch = y.len() / (o * pixels);
        let weights = Factor { values: &w, stride: 0, transposed: true };
        let maps = Factor { values: &y, stride: o * pixels, transposed: false };
        let columns = matmul(device, batch, (taps, pixels, o), weights, maps)?;
        if g.is_pointwise() {
            return Ok(storage(device, columns));
        }
        let n = batch * g.map();
        let mut x: CudaSlice<T> = uninitialised(device, n)?;
        let kernel = Kernel::of::<T>(device, MODULE, "from_columns")?;
        let mut call = kernel.arguments();
        call.arg(&columns).arg(&mut x).arg(&g).arg(&n);
        // SAFETY: the kernel writes the n pixels and reads columns of the batch's b taps pixels.
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(storage(device, x))
    })
}

/// The transpose of [`convolve`] in its weights: maps `x` and `y` to `[o, c, kh, kw]`.
pub fn weight_gradient(
    x: &CudaStorage,
    lx: &Layout,
    y: &CudaStorage,
    ly: &Layout,
    g: Geometry,
) -> Result<CudaStorage> {
    let device = device_of(x);
    by_type!(x, "conv2d_weight_grad", T => {
        let (x, y) = (view::<T>(x, lx)?, view::<T>(y, ly)?);
        let (taps, pixels, o) = (g.taps(), g.pixels(), g.o as usize);
        let batch = g.batch(x.len());
        // One product for each image, then their sum: a fixed order, and work for the whole device.
        let parts = with_columns(device, &x, g, |columns| {
            let maps = Factor { values: &y, stride: o * pixels, transposed: false };
            let columns = Factor { values: columns, stride: taps * pixels, transposed: true };
            matmul(device, batch, (o, taps, pixels), maps, columns)
        })?;
        let n = o * taps;
        let mut sum: CudaSlice<T> = uninitialised(device, n)?;
        let kernel = Kernel::of::<T>(device, MODULE, "sum_parts")?;
        let count = batch as i32;
        let mut call = kernel.arguments();
        call.arg(&parts).arg(&mut sum).arg(&count).arg(&n);
        // SAFETY: the kernel writes n values and reads the batch's parts of n each.
        unsafe { call.launch(pointwise(n)) }.w()?;
        Ok(storage(device, sum))
    })
}
