//! The set of vector instructions that kernels are generic over.

/// Instructions on vectors of `N` f32 numbers. A value of an implementing type is the permission to
/// use them: it exists only where the CPU has them. Every operation rounds as IEEE 754 says, lane by
/// lane, so all implementations give the same bits.
pub(crate) trait Lanes: Copy {
    /// A vector.
    type V: Copy;
    /// Numbers in a vector.
    const N: usize;

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

/// Bits of the f32 nearest to sqrt(1/2), where [`Lanes::split`] changes the exponent.
pub(crate) const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// An algorithm that can be compiled for any [`Lanes`]. Implementations of `run` are
/// `#[inline(always)]`, so that they end up inside the function that enables the instructions.
pub(crate) trait Kernel {
    /// Does the work.
    fn run<L: Lanes>(self, lanes: L);
}
