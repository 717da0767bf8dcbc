//! What a plan may cost: a small file must make neither a large allocation nor an endless run.
//!
//! An honest net spends memory and time on its parameters: each is used at most once a pixel. So the
//! bounds grow with their number, that is with the length of the file. They are generous: a
//! convolution from 128 to 128 channels of 256 x 256 pixels needs a quarter of either.

use super::{Op, Step};
use crate::error::LoadError;
use alloc::format;
use galgen_core::spec::{SpecError, TensorSpec};

/// Numbers of scratch, 48 MB, that a net without parameters may take: three of the largest stamps.
const SCRATCH: u64 = 3 << 22;
/// Numbers of scratch for each parameter.
const SCRATCH_PER_PARAMETER: u64 = 256;
/// Numbers of scratch at most, 512 MB.
const MOST_SCRATCH: u64 = 1 << 27;
/// Operations, a second or so, that a net without parameters may take.
const WORK: u64 = 1 << 30;
/// Operations for each parameter: a multiply-add on every pixel of 512 x 512.
const WORK_PER_PARAMETER: u64 = 1 << 19;

/// What a plan costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// f32 numbers of scratch.
    pub scratch: u64,
    /// Floating-point operations, and elements that are written.
    pub work: u64,
    /// Numbers in the tensors.
    pub parameters: u64,
}

impl Cost {
    /// Of a plan with `tensors`.
    pub fn of(tensors: &[TensorSpec], steps: &[Step], flops: u64, scratch: usize) -> Cost {
        let count = |t: &TensorSpec| t.shape.iter().product::<usize>() as u64;
        let written = |step: &Step| match step.op {
            // A view: what lies between is not written.
            Op::ClearFrame => (step.to.view.len() - step.a.view.len()) as u64,
            Op::Map(ref functions) => (step.to.view.len() * functions.len()) as u64,
            _ => step.to.view.len() as u64,
        };
        Cost {
            scratch: scratch as u64,
            work: flops + steps.iter().map(written).sum::<u64>(),
            parameters: tensors.iter().map(count).sum(),
        }
    }

    /// Of two plans that run one after the other.
    pub fn then(self, next: Cost) -> Cost {
        Cost {
            scratch: self.scratch.max(next.scratch),
            work: self.work.saturating_add(next.work),
            parameters: self.parameters + next.parameters,
        }
    }

    /// Of a plan that runs several times.
    pub fn repeated(self, times: u64) -> Cost {
        Cost {
            work: self.work.saturating_mul(times),
            ..self
        }
    }

    /// Refuses a plan that costs more than its parameters explain; `part` names it.
    pub fn check(self, part: &str) -> Result<(), LoadError> {
        let limit =
            |base: u64, each: u64| base.saturating_add(each.saturating_mul(self.parameters));
        let scratch = limit(SCRATCH, SCRATCH_PER_PARAMETER).min(MOST_SCRATCH);
        let work = limit(WORK, WORK_PER_PARAMETER);
        for (what, found, expected) in [
            ("numbers of scratch memory", self.scratch, scratch),
            ("operations", self.work, work),
        ] {
            if found > expected {
                let p = self.parameters;
                let problem =
                    format!("needs {found} {what}, expected at most {expected} for {p} parameters");
                return Err(SpecError::new(part, problem).into());
            }
        }
        Ok(())
    }
}
