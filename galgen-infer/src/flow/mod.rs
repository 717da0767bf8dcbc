//! A [`Flow`] ready to run: the maps of elements in f64, the nets of the couplings in f32.

mod autoregressive;
mod conditional;
mod continuous;
mod dual;
mod element;
mod matrix;
mod planar;
mod step;

use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::Cost;
use crate::weights::Weights;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
pub(crate) use autoregressive::Incremental;
use galgen_core::rng::Philox;
use galgen_core::spec::{Base, Direction, Flow};
use step::Step;

/// A flow with its weights packed. Immutable; any number of threads may run it, each with its own
/// scratch.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    dim: usize,
    base: Base,
    context: usize,
    steps: Vec<Step>,
    /// Numbers of a [`FlowScratch`].
    nets: usize,
    values: usize,
}

/// The memory that running a flow needs.
#[derive(Clone, Debug, Default)]
pub struct FlowScratch {
    /// Of the nets.
    nets: Vec<f32>,
    /// A copy of the state, and the work of a solver.
    values: Vec<f64>,
}

/// Lengths of a [`FlowScratch`].
#[derive(Default)]
pub(crate) struct FlowSizes {
    nets: usize,
    values: usize,
}

impl FlowSizes {
    /// Bytes that [`FlowScratch::new`] allocates.
    pub fn bytes(&self) -> usize {
        4 * self.nets + 8 * self.values
    }
}

impl FlowScratch {
    pub(crate) fn new(sizes: &FlowSizes) -> Self {
        FlowScratch {
            nets: vec![0.0; sizes.nets],
            values: vec![0.0; sizes.values],
        }
    }
}

/// The solver of a continuous flow gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the differential equation of a continuous flow was not solved in {steps} steps, of the {allowed} that the \
     model allows: the point is far from what the model was trained on, or its tolerance is too small"
)]
pub struct Unsolved {
    /// Steps made, refused ones included.
    pub steps: u32,
    /// Most steps of the model.
    pub allowed: u32,
}

impl FlowPlan {
    /// Lowers `flow`, whose tensors are those of `weights` under `prefix`.
    pub fn new(
        flow: &Flow,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        let shapes = flow.check()?;
        for tensor in flow.tensors(prefix)? {
            weights.of_shape(&tensor.name, &tensor.shape)?;
        }
        let mut plan = FlowPlan {
            dim: flow.dim(),
            base: flow.base,
            context: flow.context,
            steps: Vec::new(),
            nets: 0,
            values: 0,
        };
        let mut cost = Cost::default();
        for (i, (transform, &shape)) in flow.transforms.iter().zip(&shapes).enumerate() {
            let step = Step::new(transform, shape, &format!("{prefix}.{i}"), weights, simd)?;
            plan.nets = plan.nets.max(step.nets_len());
            plan.values = plan.values.max(step.values_len());
            cost = cost.then(step.cost());
            plan.steps.push(step);
        }
        cost.check(prefix)?;
        Ok(plan)
    }

    /// The memory that both directions need. One per thread.
    pub fn scratch(&self) -> FlowScratch {
        FlowScratch::new(&self.sizes())
    }

    /// Lengths of that memory.
    pub(crate) fn sizes(&self) -> FlowSizes {
        FlowSizes {
            nets: self.nets,
            values: self.values,
        }
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Numbers of context.
    pub fn context_len(&self) -> usize {
        self.context
    }

    /// Data to noise, in place; returns ln |det dz/dx|. The density of the data is that of the
    /// base at z times this determinant. Minus infinity where the data lie outside of the flow's domain; not a number
    /// where the networks overflow. Only a continuous flow can fail.
    ///
    /// # Panics
    /// If `x` or `context` do not have the lengths of the flow, or `scratch` is not this flow's.
    pub fn normalise(
        &self,
        x: &mut [f64],
        context: &[f32],
        scratch: &mut FlowScratch,
    ) -> Result<f64, Unsolved> {
        self.run(Direction::Normalise, x, context, scratch)
    }

    /// Noise to data, in place; returns ln |det dx/dz|. Only a continuous flow can fail.
    ///
    /// # Panics
    /// As [`normalise`](Self::normalise).
    pub fn generate(
        &self,
        z: &mut [f64],
        context: &[f32],
        scratch: &mut FlowScratch,
    ) -> Result<f64, Unsolved> {
        self.run(Direction::Generate, z, context, scratch)
    }

    /// ln of the density at the data `x`, which become noise in place; minus infinity where it vanishes or the
    /// networks overflow.
    ///
    /// # Panics
    /// As [`normalise`](Self::normalise).
    pub fn log_prob(
        &self,
        x: &mut [f64],
        context: &[f32],
        scratch: &mut FlowScratch,
    ) -> Result<f64, Unsolved> {
        let log_det = self.normalise(x, context, scratch)?;
        let log_prob = self.log_base(x) + log_det;
        Ok(if log_prob.is_nan() {
            f64::NEG_INFINITY
        } else {
            log_prob
        })
    }

    /// ln of the base density at `z`.
    pub fn log_base(&self, z: &[f64]) -> f64 {
        z.iter().map(|&z| self.base.log_density(z)).sum()
    }

    /// Fills `z` with noise.
    pub fn draw_base(&self, rng: &mut Philox, z: &mut [f64]) {
        z.fill_with(|| self.base.draw(rng));
    }

    fn run(
        &self,
        direction: Direction,
        values: &mut [f64],
        context: &[f32],
        scratch: &mut FlowScratch,
    ) -> Result<f64, Unsolved> {
        assert_eq!(values.len(), self.dim, "number of dimensions");
        assert_eq!(context.len(), self.context, "length of the context");
        let fits = scratch.nets.len() >= self.nets && scratch.values.len() >= self.values;
        assert!(fits, "scratch of another flow");
        let mut log_det = 0.0;
        for i in 0..self.steps.len() {
            let step = match direction {
                Direction::Normalise => &self.steps[i],
                Direction::Generate => &self.steps[self.steps.len() - 1 - i],
            };
            log_det += step.apply(direction, values, context, scratch)?;
        }
        Ok(log_det)
    }
}
