//! The two floating-point types of training and their vectors.
//!
//! `pulp` finds the widest vector unit when the program starts; everything here stays safe code.

use std::cell::RefCell;

use candle_core::{CpuStorage, Layout, Result, bail};
use pulp::{Arch, Simd, WithSimd};

/// A scalar that the kernels of this module can be compiled for: `f32` (training) and `f64` (gradient checks).
pub trait Real: Copy + Default + Send + Sync + PartialOrd + std::ops::AddAssign + 'static {
    /// Vector of `Self` on the instruction set `S`.
    type V<S: Simd>: Copy;
    /// Lanes of [`Self::V`].
    fn lanes<S: Simd>() -> usize;
    /// Vector that holds the first [`Self::lanes`] elements of `x`.
    fn load<S: Simd>(s: S, x: &[Self]) -> Self::V<S>;
    /// Writes `v` to the first elements of `x`.
    fn store<S: Simd>(s: S, x: &mut [Self], v: Self::V<S>);
    /// `x` in every lane.
    fn splat<S: Simd>(s: S, x: Self) -> Self::V<S>;
    /// `a * b + c`, rounded once.
    fn fma<S: Simd>(s: S, a: Self::V<S>, b: Self::V<S>, c: Self::V<S>) -> Self::V<S>;
    /// Sum of the lanes, in a fixed order.
    fn add_lanes<S: Simd>(s: S, v: Self::V<S>) -> Self;
    /// The elements of a contiguous CPU tensor.
    fn slice<'a>(s: &'a CpuStorage, l: &Layout) -> Result<&'a [Self]>;
    /// The elements of a contiguous CPU tensor, to be changed.
    fn slice_mut<'a>(s: &'a mut CpuStorage, l: &Layout) -> Result<&'a mut [Self]>;
    /// A CPU storage that owns `v`.
    fn storage(v: Vec<Self>) -> CpuStorage;
    /// Lends this thread's scratch buffers, which keep their memory between calls.
    fn with_scratch<R>(f: impl FnOnce(&mut [Vec<Self>; 2]) -> R) -> R;
    /// Rounds an `f64`.
    fn of(x: f64) -> Self;
    /// Widens to `f64`.
    fn f64(self) -> f64;
}

macro_rules! real {
    ($t:ident, $v:ident, $lanes:ident, $variant:ident, $as:ident, $as_mut:ident, $splat:ident, $fma:ident, $sum:ident) => {
        impl Real for $t {
            type V<S: Simd> = S::$v;
            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn load<S: Simd>(_: S, x: &[Self]) -> S::$v {
                S::$as(x).0[0]
            }
            #[inline(always)]
            fn store<S: Simd>(_: S, x: &mut [Self], v: S::$v) {
                S::$as_mut(x).0[0] = v;
            }
            #[inline(always)]
            fn splat<S: Simd>(s: S, x: Self) -> S::$v {
                s.$splat(x)
            }
            #[inline(always)]
            fn fma<S: Simd>(s: S, a: S::$v, b: S::$v, c: S::$v) -> S::$v {
                s.$fma(a, b, c)
            }
            #[inline(always)]
            fn add_lanes<S: Simd>(s: S, v: S::$v) -> Self {
                s.$sum(v)
            }
            fn slice<'a>(s: &'a CpuStorage, l: &Layout) -> Result<&'a [Self]> {
                let Some((a, b)) = l.contiguous_offsets() else {
                    bail!("training op: the argument must be contiguous, found strides {:?}", l.stride())
                };
                match s {
                    CpuStorage::$variant(v) => Ok(&v[a..b]),
                    _ => bail!("training op: arguments of different types, expected {}", stringify!($t)),
                }
            }
            fn slice_mut<'a>(s: &'a mut CpuStorage, l: &Layout) -> Result<&'a mut [Self]> {
                match (s, l.contiguous_offsets()) {
                    (CpuStorage::$variant(v), Some((a, b))) => Ok(&mut v[a..b]),
                    _ => bail!("training op in place: a contiguous tensor of {} expected", stringify!($t)),
                }
            }
            fn storage(v: Vec<Self>) -> CpuStorage {
                CpuStorage::$variant(v)
            }
            fn with_scratch<R>(f: impl FnOnce(&mut [Vec<Self>; 2]) -> R) -> R {
                thread_local!(static SCRATCH: RefCell<[Vec<$t>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) });
                let mut bufs = SCRATCH.with(|s| std::mem::take(&mut *s.borrow_mut()));
                let r = f(&mut bufs);
                SCRATCH.with(|s| *s.borrow_mut() = bufs);
                r
            }
            fn of(x: f64) -> Self {
                x as $t
            }
            fn f64(self) -> f64 {
                f64::from(self)
            }
        }
    };
}
real!(
    f32,
    f32s,
    F32_LANES,
    F32,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_f32s,
    reduce_sum_f32s
);
real!(
    f64,
    f64s,
    F64_LANES,
    F64,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_f64s,
    reduce_sum_f64s
);

/// Runs `f` with the widest instruction set of this machine; plain loops inside `f` are compiled for it too.
pub fn dispatch<W: WithSimd>(f: W) -> W::Output {
    Arch::new().dispatch(f)
}

/// Vector lanes and registers of this machine for `T`.
pub fn machine<T: Real>() -> (usize, usize) {
    struct Ask<T>(std::marker::PhantomData<T>);
    impl<T: Real> WithSimd for Ask<T> {
        type Output = (usize, usize);
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
            (T::lanes::<S>(), S::REGISTER_COUNT)
        }
    }
    dispatch(Ask::<T>(std::marker::PhantomData))
}

/// Runs the kernel for the type of a CPU storage.
macro_rules! by_type {
    ($storage:expr, $name:expr, $t:ident => $body:expr) => {
        match $storage {
            candle_core::CpuStorage::F32(_) => {
                type $t = f32;
                $body
            }
            candle_core::CpuStorage::F64(_) => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!(
                "{}: f32 or f64 expected, found {:?}",
                $name,
                candle_core::backend::BackendStorage::dtype(other)
            ),
        }
    };
}
pub(super) use by_type;
