//! A [`Flow`] ready to run: the maps of elements in f64, the nets of the couplings in f32.

mod autoregressive;
mod conditional;
mod continuous;
mod dual;
mod element;
mod layers;
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
pub(crate) use autoregressive::Masked;
use galgen_core::rng::Philox;
use galgen_core::spec::{Base, Direction, Flow, TraceNoise};
use step::Step;

/// A flow with its weights packed. Immutable; any number of threads may run it, each with its own
/// scratch.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    dim: usize,
    base: Base,
    context: usize,
    steps: Vec<Step>,
    /// f64 numbers of a [`FlowScratch`].
    values: usize,
}

/// The memory that running a flow needs.
#[derive(Clone, Debug, Default)]
pub struct FlowScratch {
    /// Of the nets.
    nets: Vec<f32>,
    /// A copy of the state, and the work of a solver.
    values: Vec<f64>,
    /// Most items at a time.
    items: usize,
}

/// Lengths of a [`FlowScratch`].
#[derive(Default)]
pub(crate) struct FlowSizes {
    nets: usize,
    values: usize,
    items: usize,
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
            items: sizes.items,
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
            weights.check_shape(&tensor.name, &tensor.shape)?;
        }
        let mut plan = FlowPlan {
            dim: flow.dim(),
            base: flow.base,
            context: flow.context,
            steps: Vec::new(),
            values: 0,
        };
        let mut cost = Cost::default();
        for (i, (transform, &shape)) in flow.transforms.iter().zip(&shapes).enumerate() {
            let step = Step::new(transform, i, shape, &format!("{prefix}.{i}"), weights, simd)?;
            plan.values = plan.values.max(step.values_len());
            cost = cost.then(step.cost());
            plan.steps.push(step);
        }
        cost.check(prefix)?;
        Ok(plan)
    }

    /// Whether several items take less time together: their nets are then of linear layers.
    pub fn shares_weights(&self) -> bool {
        self.steps.iter().any(Step::shares_weights)
    }

    /// The memory that both directions need for one item at a time. One per thread.
    pub fn scratch(&self) -> FlowScratch {
        self.scratch_of(1)
    }

    /// The memory that both directions need for so many items at a time.
    pub fn scratch_of(&self, items: usize) -> FlowScratch {
        FlowScratch::new(&self.sizes(items))
    }

    /// Lengths of that memory.
    pub(crate) fn sizes(&self, items: usize) -> FlowSizes {
        let nets = self.steps.iter().map(|step| step.nets_len(items));
        FlowSizes {
            nets: nets.max().unwrap_or(0),
            values: self.values,
            items,
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
    /// where the networks overflow. Only a continuous flow can fail; one whose trace is estimated takes the default
    /// [`TraceNoise`].
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

    /// Noise to data, in place; returns ln |det dx/dz|. Only a continuous flow can fail; see
    /// [`normalise`](Self::normalise).
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
    /// networks overflow. Of a continuous flow whose trace is estimated: the estimate with `noise`.
    ///
    /// # Panics
    /// As [`normalise`](Self::normalise).
    pub fn log_prob(
        &self,
        x: &mut [f64],
        context: &[f32],
        noise: TraceNoise,
        scratch: &mut FlowScratch,
    ) -> Result<f64, Unsolved> {
        let mut outcome = [Ok(0.0)];
        self.log_prob_batch(x, context, &|_| noise, &mut outcome, scratch);
        let [outcome] = outcome;
        outcome
    }

    /// [`log_prob`](Self::log_prob) of several items, one after the other in `x` and `contexts`; `out` has as many.
    ///
    /// # Panics
    /// As [`run_batch`](Self::run_batch).
    pub fn log_prob_batch(
        &self,
        x: &mut [f64],
        contexts: &[f32],
        noise: Noises<'_>,
        out: &mut [Result<f64, Unsolved>],
        scratch: &mut FlowScratch,
    ) {
        self.run_batch(Direction::Normalise, x, contexts, noise, out, scratch);
        for (z, out) in x.chunks_exact(self.dim).zip(out) {
            if let Ok(log_det) = out {
                let log_prob = self.log_base(z) + *log_det;
                *log_det = match log_prob.is_nan() {
                    true => f64::NEG_INFINITY,
                    false => log_prob,
                };
            }
        }
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
        let mut outcome = [Ok(0.0)];
        self.run_batch(
            direction,
            values,
            context,
            &default_noise,
            &mut outcome,
            scratch,
        );
        let [outcome] = outcome;
        outcome
    }

    /// Takes several items in place, one after the other in `values` and `contexts`, in a direction; `outcomes`, one
    /// for each, become ln |det| of each. The bits of an item are those that it has alone. `noise` gives that
    /// of each where a trace is estimated.
    ///
    /// # Panics
    /// If a slice has not the length for as many items as there are outcomes, or `scratch` is for fewer or another
    /// flow's.
    pub fn run_batch(
        &self,
        direction: Direction,
        values: &mut [f64],
        contexts: &[f32],
        noise: Noises<'_>,
        outcomes: &mut [Result<f64, Unsolved>],
        scratch: &mut FlowScratch,
    ) {
        let items = outcomes.len();
        assert_eq!(values.len(), items * self.dim, "number of dimensions");
        assert_eq!(
            contexts.len(),
            items * self.context,
            "length of the context"
        );
        assert!(items <= scratch.items, "scratch for fewer items");
        let sizes = self.sizes(items);
        let fits = scratch.nets.len() >= sizes.nets && scratch.values.len() >= sizes.values;
        assert!(fits, "scratch of another flow");
        outcomes.fill(Ok(0.0));
        let mut states = States {
            values,
            dim: self.dim,
            active: self.dim,
            contexts,
            context: self.context,
            noise,
            outcomes,
        };
        for i in 0..self.steps.len() {
            let step = match direction {
                Direction::Normalise => &self.steps[i],
                Direction::Generate => &self.steps[self.steps.len() - 1 - i],
            };
            step.apply(direction, &mut states, scratch);
        }
    }
}

/// The noise of the trace of each item.
pub type Noises<'a> = &'a dyn Fn(usize) -> TraceNoise;

/// The noise of the trace where nobody asks for a density.
pub fn default_noise(_item: usize) -> TraceNoise {
    TraceNoise::default()
}

/// Several items on their way through a flow.
struct States<'a> {
    /// Item after item.
    values: &'a mut [f64],
    dim: usize,
    /// Elements of an item that a step sees, from the first on.
    active: usize,
    contexts: &'a [f32],
    /// Numbers of context of an item.
    context: usize,
    noise: Noises<'a>,
    /// ln |det| so far.
    outcomes: &'a mut [Result<f64, Unsolved>],
}

impl States<'_> {
    /// Number of items.
    fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// The same, of which a step sees so many elements.
    fn active(&mut self, active: usize) -> States<'_> {
        States {
            values: self.values,
            active,
            outcomes: self.outcomes,
            ..*self
        }
    }

    /// The active part and the context of an item.
    fn item(&mut self, item: usize) -> (&mut [f64], &[f32]) {
        let values = &mut self.values[item * self.dim..][..self.active];
        (
            values,
            &self.contexts[item * self.context..][..self.context],
        )
    }

    /// Adds to ln |det| of an item.
    fn add(&mut self, item: usize, log_det: f64) {
        if let Ok(sum) = &mut self.outcomes[item] {
            *sum += log_det;
        }
    }
}
