//! The set of vector instructions that kernels are generic over.

/// Instructions on vectors of `N` f32 numbers. A value of an implementing type is the permission to
/// use them: it exists only where the CPU has them. Every operation rounds as IEEE 754 says, lane by
/// lane, so all implementations give the same bits.
pub(crate) trait Lanes: Copy {
    /// A vector.
    type V: Copy;
    /// Numbers in a vector.
    const N: usize;

    /// Runs a kernel as a function of its own, one for all callers.
    fn apart<K: Kernel>(self, kernel: K);
    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `N` numbers can be read at `from`.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `N` numbers can be written at `to`.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c, rounded once
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a if a > b, else b: a NaN in `b` passes.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// a if a < b, else b: a NaN in `b` passes.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// |a|
    fn abs(self, a: Self::V) -> Self::V;
    /// |a| with the sign of b
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// x where a > b, else y (also where either is NaN)
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// The bits of `a` shifted left by 23: makes an exponent of a small integer.
    fn shift_to_exponent(self, a: Self::V) -> Self::V;
    /// (k, m) with w = 2^k m and m in \[sqrt(1/2), sqrt(2)), for normal w > 0; k as a number.
    fn split(self, w: Self::V) -> (Self::V, Self::V);
}

/// Numbers in the widest vector of any implementation, a multiple of those in all others.
pub(crate) const MOST_LANES: usize = 16;

/// Bits of the f32 nearest to sqrt(1/2), where [`Lanes::split`] changes the exponent.
pub(crate) const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// An algorithm that can be compiled for any [`Lanes`]. Implementations of `run` are
/// `#[inline(always)]`, so that they end up inside the function that enables the instructions.
pub(crate) trait Kernel {
    /// Does the work.
    fn run<L: Lanes>(self, lanes: L);
}

/// `count` numbers, at most N, and zeros beyond.
///
/// # Safety
/// `count` numbers can be read at `from`.
#[inline(always)]
pub(crate) unsafe fn load_part<L: Lanes>(l: L, from: *const f32, count: usize) -> L::V {
    if count >= L::N {
        // SAFETY: N numbers.
        return unsafe { l.load(from) };
    }
    let mut part = [0.0f32; MOST_LANES];
    // SAFETY: `count` numbers; the temporary holds N.
    unsafe {
        core::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), count);
        l.load(part.as_ptr())
    }
}

/// Writes the first `count` numbers, at most N.
///
/// # Safety
/// `count` numbers can be written at `to`.
#[inline(always)]
pub(crate) unsafe fn store_part<L: Lanes>(l: L, to: *mut f32, value: L::V, count: usize) {
    if count >= L::N {
        // SAFETY: N numbers.
        return unsafe { l.store(to, value) };
    }
    let mut part = [0.0f32; MOST_LANES];
    // SAFETY: the temporary holds N; `count` numbers.
    unsafe {
        l.store(part.as_mut_ptr(), value);
        core::ptr::copy_nonoverlapping(part.as_ptr(), to, count);
    }
}
