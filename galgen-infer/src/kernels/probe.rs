//! The most multiply-adds that this CPU can do: what speeds of kernels are compared with.

use super::Simd;
use super::lanes::{Kernel, Lanes};

/// Independent sums, enough to hide the latency of the instruction.
const CHAINS: usize = 12;

/// Runs `rounds` rounds of independent multiply-adds that touch no memory, and returns how many there
/// were. The caller takes the time.
pub fn multiply_adds(simd: Simd, rounds: usize) -> u64 {
    let mut result = 0.0;
    simd.dispatch(Probe {
        rounds,
        result: &mut result,
    });
    core::hint::black_box(result);
    (rounds * CHAINS * simd.lanes()) as u64
}

struct Probe<'a> {
    rounds: usize,
    result: &'a mut f32,
}

impl Kernel for Probe<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (x, w) = (
            l.splat(core::hint::black_box(0.5)),
            l.splat(core::hint::black_box(0.25)),
        );
        let mut acc = [l.splat(1.0); CHAINS];
        for _ in 0..self.rounds {
            for a in &mut acc {
                *a = l.fma(*a, x, w);
            }
        }
        let total = acc.into_iter().fold(w, |sum, a| l.add(sum, a));
        let mut out = [0.0f32; 16];
        // SAFETY: no implementation has more than 16 lanes.
        unsafe { l.store(out.as_mut_ptr(), total) };
        *self.result = out[0];
    }
}
