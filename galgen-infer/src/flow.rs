//! A [`Flow`] ready to run: the maps of elements in f64, the nets of the couplings in f32.

use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::{Cost, Plan};
use crate::weights::Weights;
use alloc::format;
use alloc::vec::Vec;
use galgen_core::math::spline::{Mapped, Spline};
use galgen_core::spec::{Direction, ElementMap, Flow, Transform};

/// A flow with its weights packed. Immutable; any number of threads may run it, each with its own
/// scratch.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    dim: usize,
    context: usize,
    steps: Vec<Step>,
    scratch: usize,
}

#[derive(Clone, Debug)]
enum Step {
    /// z = (x - shift) exp(-log_scale)
    Diagonal {
        shift: Vec<f64>,
        log_scale: Vec<f64>,
    },
    /// Swaps that, one after another, are the permutation; backwards they are its inverse.
    Permutation(Vec<(usize, usize)>),
    /// Elements from `keep` on are mapped with parameters from the elements before.
    Coupling {
        keep: usize,
        map: ElementMap,
        plan: Plan,
        parameters: usize,
    },
}

impl FlowPlan {
    /// Lowers `flow`, whose tensors are those of `weights` under `prefix`.
    pub fn new(
        flow: &Flow,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        flow.check()?;
        let mut steps = Vec::new();
        let mut scratch = 0;
        let mut cost = Cost::default();
        for (i, transform) in flow.transforms.iter().enumerate() {
            let path = format!("{prefix}.{i}");
            steps.push(match transform {
                Transform::Diagonal => {
                    let values = |name: &str| -> Result<Vec<f64>, LoadError> {
                        let values = weights.of_shape(&format!("{path}.{name}"), &[flow.dim])?;
                        Ok(values.iter().map(|&v| f64::from(v)).collect())
                    };
                    Step::Diagonal {
                        shift: values("shift")?,
                        log_scale: values("log_scale")?,
                    }
                }
                Transform::Permutation(order) => Step::Permutation(swaps(order)),
                Transform::Coupling { keep, net, map } => {
                    let plan = Plan::new(net, &format!("{path}.net"), weights, simd)?;
                    let parameters = plan.output().len();
                    cost = cost.then(plan.cost());
                    scratch = scratch.max(keep + parameters + plan.scratch_len());
                    Step::Coupling {
                        keep: *keep,
                        map: *map,
                        plan,
                        parameters,
                    }
                }
            });
        }
        cost.check(prefix)?;
        Ok(FlowPlan {
            dim: flow.dim,
            context: flow.context,
            steps,
            scratch,
        })
    }

    /// f32 numbers of scratch that both directions need.
    pub fn scratch_len(&self) -> usize {
        self.scratch
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
    /// standard normal at z times this determinant.
    ///
    /// # Panics
    /// If `x` or `context` do not have the lengths of the flow, or `scratch` is too short.
    pub fn normalise(&self, x: &mut [f64], context: &[f32], scratch: &mut [f32]) -> f64 {
        self.check(x, context, scratch);
        let forward = self.steps.iter();
        forward
            .map(|s| s.apply(Direction::Normalise, x, context, scratch))
            .sum()
    }

    /// Noise to data, in place; returns ln |det dx/dz|.
    ///
    /// # Panics
    /// As [`normalise`](Self::normalise).
    pub fn generate(&self, z: &mut [f64], context: &[f32], scratch: &mut [f32]) -> f64 {
        self.check(z, context, scratch);
        let backward = self.steps.iter().rev();
        backward
            .map(|s| s.apply(Direction::Generate, z, context, scratch))
            .sum()
    }

    fn check(&self, x: &[f64], context: &[f32], scratch: &[f32]) {
        assert_eq!(x.len(), self.dim, "number of dimensions");
        assert_eq!(context.len(), self.context, "length of the context");
        assert!(scratch.len() >= self.scratch, "scratch is too short");
    }
}

impl Step {
    /// Applies the step to `x`; returns ln |det| of the direction taken.
    fn apply(
        &self,
        direction: Direction,
        x: &mut [f64],
        context: &[f32],
        scratch: &mut [f32],
    ) -> f64 {
        match self {
            Step::Diagonal { shift, log_scale } => {
                let pairs = shift.iter().zip(log_scale);
                x.iter_mut()
                    .zip(pairs)
                    .map(|(x, (&m, &s))| set(x, affine(direction, *x, m, s)))
                    .sum()
            }
            Step::Permutation(swaps) => {
                match direction {
                    Direction::Normalise => swaps.iter().for_each(|&(a, b)| x.swap(a, b)),
                    Direction::Generate => swaps.iter().rev().for_each(|&(a, b)| x.swap(a, b)),
                }
                0.0
            }
            Step::Coupling {
                keep,
                map,
                plan,
                parameters,
            } => {
                let (kept, mapped) = x.split_at_mut(*keep);
                let (input, rest) = scratch.split_at_mut(*keep);
                let (raw, rest) = rest.split_at_mut(*parameters);
                for (input, &x) in input.iter_mut().zip(&*kept) {
                    *input = x as f32;
                }
                plan.run(input, context, raw, rest);
                let raw = raw.chunks_exact(map.parameters());
                mapped
                    .iter_mut()
                    .zip(raw)
                    .map(|(x, raw)| set(x, element(direction, map, *x, raw)))
                    .sum()
            }
        }
    }
}

/// Stores the value and returns the log-determinant.
fn set(x: &mut f64, mapped: Mapped) -> f64 {
    *x = mapped.value;
    mapped.log_det
}

/// One element with its raw parameters.
fn element(direction: Direction, map: &ElementMap, x: f64, raw: &[f32]) -> Mapped {
    match map {
        ElementMap::Affine { bound } => {
            let log_scale = bound * libm::tanh(f64::from(raw[1]) / bound);
            affine(direction, x, f64::from(raw[0]), log_scale)
        }
        ElementMap::Spline(spec) => {
            let spline = Spline::new(spec, raw);
            match direction {
                Direction::Normalise => spline.forward(x),
                Direction::Generate => spline.inverse(x),
            }
        }
    }
}

/// z = (x - shift) exp(-log_scale) or its inverse.
fn affine(direction: Direction, x: f64, shift: f64, log_scale: f64) -> Mapped {
    match direction {
        Direction::Normalise => Mapped {
            value: (x - shift) * libm::exp(-log_scale),
            log_det: -log_scale,
        },
        Direction::Generate => Mapped {
            value: x * libm::exp(log_scale) + shift,
            log_det: log_scale,
        },
    }
}

/// Swaps whose sequence turns x into z with z\[i\] = x\[order\[i\]\].
fn swaps(order: &[u32]) -> Vec<(usize, usize)> {
    // where_is[k]: the place that the original element k has been moved to; holds is its inverse.
    let mut where_is: Vec<usize> = (0..order.len()).collect();
    let mut holds = where_is.clone();
    let mut swaps = Vec::new();
    for (i, &wanted) in order.iter().enumerate() {
        let from = where_is[wanted as usize];
        if from != i {
            swaps.push((i, from));
            holds.swap(i, from);
            where_is[holds[i]] = i;
            where_is[holds[from]] = from;
        }
    }
    swaps
}
