//! What one core could do at best, and fastest calls that are taken in turn with it.

use galgen_infer::Simd;
use galgen_infer::kernels::probe;
use std::hint::black_box;
use std::time::Instant;

/// Rounds of the multiply-add probe in one call: some 40 microseconds.
const PROBE_ROUNDS: usize = 20_000;
/// In each turn of a stage.
const TIMED_CALLS: usize = 3;

/// One thing to be timed.
pub struct Stage<'a> {
    /// What it is.
    pub name: &'static str,
    /// Floating-point operations of a call, where they are known.
    pub flops: u64,
    call: Box<dyn FnMut() + 'a>,
    /// Of the fastest call.
    pub seconds: f64,
}

impl<'a> Stage<'a> {
    /// A stage that has not run.
    pub fn new(name: &'static str, flops: u64, call: impl FnMut() + 'a) -> Self {
        Stage {
            name,
            flops,
            call: Box::new(call),
            seconds: f64::INFINITY,
        }
    }

    /// Independent multiply-adds that touch no memory: the arithmetic peak.
    pub fn peak(simd: Simd) -> Self {
        let flops = 2 * probe::multiply_adds(simd, PROBE_ROUNDS);
        Stage::new("multiply-adds", flops, move || {
            probe::multiply_adds(simd, PROBE_ROUNDS);
        })
    }

    /// Reads `bytes` of memory in order, as weights are read that no inner cache holds.
    pub fn reading(bytes: usize) -> Self {
        let words: Vec<u64> = (0..bytes as u64 / 8).collect();
        Stage::new("reading", 0, move || {
            let mut sums = [0u64; 16];
            for chunk in black_box(&words).chunks_exact(16) {
                for (sum, word) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*word);
                }
            }
            black_box(sums);
        })
    }

    /// Operations per second of the fastest call.
    pub fn rate(&self) -> f64 {
        self.flops as f64 / self.seconds
    }
}

/// Lets the stages take turns for `seconds`, and keeps the fastest call of each. In turn, so that a
/// change of the clock or another program meets all of them; the fastest, because both only ever slow a
/// call down. The first call of a turn is not timed: it finds the caches full of the others' data.
pub fn run(stages: &mut [Stage], seconds: f64) {
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds {
        for stage in stages.iter_mut() {
            (stage.call)();
            for _ in 0..TIMED_CALLS {
                let start = Instant::now();
                (stage.call)();
                stage.seconds = stage.seconds.min(start.elapsed().as_secs_f64());
            }
        }
    }
}
