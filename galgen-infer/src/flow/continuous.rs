//! Continuous flows: the trace of the velocity's Jacobian by forward-mode derivatives, exact or estimated, and steps of adaptive length (Dormand and Prince 1980,
//! "A family of embedded Runge-Kutta formulae"), for each object on its own. Time and state are f64.

use super::Unsolved;
use super::dual::DualNet;
use crate::error::LoadError;
use crate::lower::Cost;
use crate::weights::Weights;
use alloc::format;
use galgen_core::spec::{Continuous, Direction, Trace, TraceNoise, Velocity};

const STAGES: usize = 7;
const NODES: [f64; STAGES] = [0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0];
/// Row i: how much of the slopes before enters the state of stage i + 1; the last row is the solution of order 5.
const STEPS: [[f64; 6]; 6] = [
    [0.2, 0.0, 0.0, 0.0, 0.0, 0.0],
    [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0, 0.0],
    [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0, 0.0],
    [
        19372.0 / 6561.0,
        -25360.0 / 2187.0,
        64448.0 / 6561.0,
        -212.0 / 729.0,
        0.0,
        0.0,
    ],
    [
        9017.0 / 3168.0,
        -355.0 / 33.0,
        46732.0 / 5247.0,
        49.0 / 176.0,
        -5103.0 / 18656.0,
        0.0,
    ],
    [
        35.0 / 384.0,
        0.0,
        500.0 / 1113.0,
        125.0 / 192.0,
        -2187.0 / 6784.0,
        11.0 / 84.0,
    ],
];
/// Order 5 less order 4.
const ERRORS: [f64; STAGES] = [
    71.0 / 57600.0,
    0.0,
    -71.0 / 16695.0,
    71.0 / 1920.0,
    -17253.0 / 339200.0,
    22.0 / 525.0,
    -1.0 / 40.0,
];
/// First step, as a share of the whole time; wrong by any factor it is corrected at once.
const FIRST: f64 = 0.05;
/// The next step is this share of the one that would just do, and at most and at least so much of the last.
const SAFETY: f64 = 0.9;
const GROWTH: [f64; 2] = [0.2, 5.0];

/// A velocity field with its weights.
#[derive(Clone, Debug)]
pub(super) struct Field {
    spec: Continuous,
    net: DualNet,
    /// Its number in the flow.
    index: usize,
    dim: usize,
    /// What the net sees beside its input: the time (where it is no input), the flow's context.
    context: usize,
}

impl Field {
    /// The field of transform number `index`, on `dim` numbers, whose tensors are under `path`.
    pub fn new(
        spec: &Continuous,
        index: usize,
        dim: usize,
        path: &str,
        weights: &Weights,
    ) -> Result<Self, LoadError> {
        let prefix = format!("{path}.net");
        let net = spec.velocity.net();
        let directions = match (&spec.velocity, spec.trace) {
            (Velocity::Net(_), Trace::Exact) => dim,
            (Velocity::Net(_), Trace::Hutchinson) => 1,
            // Its trace has a formula.
            (Velocity::Planar { .. }, _) => 0,
        };
        Ok(Field {
            spec: spec.clone(),
            index,
            net: DualNet::new(net, directions, &prefix, weights)?,
            dim,
            context: net.context,
        })
    }

    /// f64 numbers of scratch: net, context, signs, slopes, state, trial.
    pub fn scratch_len(&self) -> usize {
        self.net.scratch_len() + self.context + self.signs() + (STAGES + 2) * (self.dim + 1)
    }

    /// How many signs estimate its trace.
    fn signs(&self) -> usize {
        match self.spec.trace {
            Trace::Exact => 0,
            Trace::Hutchinson => self.dim,
        }
    }

    /// What a solution of a few steps costs.
    pub fn cost(&self) -> Cost {
        let tensors = self.spec.velocity.net().tensors("net").unwrap_or_default();
        let count = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        Cost {
            scratch: 2 * self.scratch_len() as u64,
            work: self.net.work().saturating_mul(STAGES as u64),
            parameters: tensors.iter().map(|t| count(&t.shape)).sum(),
        }
    }

    /// Follows the field from data to noise or back; returns ln |det| of the direction taken, estimated with `noise` if
    /// it is not exact.
    pub fn apply(
        &self,
        direction: Direction,
        x: &mut [f64],
        context: &[f32],
        noise: TraceNoise,
        scratch: &mut [f64],
    ) -> Result<f64, Unsolved> {
        let n = self.dim + 1;
        let (net, rest) = scratch.split_at_mut(self.net.scratch_len());
        let (seen, rest) = rest.split_at_mut(self.context);
        let (signs, rest) = rest.split_at_mut(self.signs());
        noise.fill(self.index, signs);
        let (slopes, rest) = rest.split_at_mut(STAGES * n);
        let (state, rest) = rest.split_at_mut(n);
        let trial = &mut rest[..n];
        let first = self.context - context.len();
        for (to, &c) in seen[first..].iter_mut().zip(context) {
            *to = f64::from(c);
        }
        state[..self.dim].copy_from_slice(x);
        state[self.dim] = 0.0;
        let (start, sign) = match direction {
            Direction::Normalise => (0.0, 1.0),
            Direction::Generate => (1.0, -1.0),
        };
        let mut slope = |passed: f64, state: &[f64], out: &mut [f64]| {
            self.slope(start + sign * passed, state, signs, seen, net, out);
            out.iter_mut().for_each(|v| *v *= sign);
        };
        let solver = &self.spec.solver;
        let (mut passed, mut step, mut steps) = (0.0, FIRST, 0);
        slope(0.0, state, &mut slopes[..n]);
        while passed < 1.0 {
            if steps == solver.max_steps {
                return Err(Unsolved {
                    steps,
                    allowed: solver.max_steps,
                });
            }
            steps += 1;
            let h = f64::min(step, 1.0 - passed);
            for (stage, row) in STEPS.iter().enumerate() {
                let (known, next) = slopes.split_at_mut((stage + 1) * n);
                for (i, (trial, &y)) in trial.iter_mut().zip(&*state).enumerate() {
                    let sum: f64 = row[..=stage]
                        .iter()
                        .enumerate()
                        .map(|(s, a)| a * known[s * n + i])
                        .sum();
                    *trial = y + h * sum;
                }
                slope(passed + NODES[stage + 1] * h, trial, &mut next[..n]);
            }
            // The largest error of any number, in units of its tolerance.
            let mut worst = 0.0f64;
            for i in 0..n {
                let error: f64 = ERRORS
                    .iter()
                    .enumerate()
                    .map(|(s, e)| e * slopes[s * n + i])
                    .sum();
                let size = state[i].abs().max(trial[i].abs());
                let ratio = h * error.abs() / (solver.absolute + solver.relative * size);
                worst = if ratio.is_nan() {
                    f64::INFINITY
                } else {
                    worst.max(ratio)
                };
            }
            if worst <= 1.0 {
                passed = if h < step { 1.0 } else { passed + h };
                state.copy_from_slice(trial);
                slopes.copy_within((STAGES - 1) * n.., 0);
            }
            let factor = SAFETY * libm::pow(worst.max(1e-10), -0.2);
            step = h * factor.clamp(GROWTH[0], if worst <= 1.0 { GROWTH[1] } else { 1.0 });
        }
        x.copy_from_slice(&state[..self.dim]);
        Ok(state[self.dim])
    }

    /// Velocity and trace of its Jacobian at `state`.
    fn slope(
        &self,
        t: f64,
        state: &[f64],
        signs: &[f64],
        seen: &mut [f64],
        net: &mut [f64],
        out: &mut [f64],
    ) {
        let n = self.dim;
        match &self.spec.velocity {
            Velocity::Net(_) if self.spec.trace == Trace::Hutchinson => {
                self.spec.time(t, &mut seen[..self.spec.time_len()]);
                let inputs = self.net.inputs(net).chunks_exact_mut(2);
                for (input, (&x, &sign)) in inputs.zip(state.iter().zip(signs)) {
                    input.copy_from_slice(&[x, sign]);
                }
                out[n] = 0.0;
                let values = self.net.run(seen, net).chunks_exact(2);
                for (i, (value, sign)) in values.zip(signs).enumerate() {
                    out[i] = value[0];
                    out[n] += sign * value[1];
                }
            }
            Velocity::Net(_) => {
                self.spec.time(t, &mut seen[..self.spec.time_len()]);
                let lanes = n + 1;
                let inputs = self.net.inputs(net);
                inputs.fill(0.0);
                for (i, (input, &x)) in inputs.chunks_exact_mut(lanes).zip(state).enumerate() {
                    input[0] = x;
                    input[1 + i] = 1.0;
                }
                out[n] = 0.0;
                let values = self.net.run(seen, net).chunks_exact(lanes);
                for (i, value) in values.enumerate() {
                    out[i] = value[0];
                    out[n] += value[1 + i];
                }
            }
            Velocity::Planar { width, .. } => {
                self.spec.time(t, self.net.inputs(net));
                let raw = self.net.run(seen, net);
                let (w, rest) = raw.split_at(width * n);
                let (u, b) = rest.split_at(width * n);
                out.fill(0.0);
                for ((w, u), b) in w.chunks_exact(n).zip(u.chunks_exact(n)).zip(b) {
                    let dot =
                        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                    let h = libm::tanh(dot(w, &state[..n]) + b);
                    for (out, u) in out.iter_mut().zip(u) {
                        *out += u * h / *width as f64;
                    }
                    out[n] += dot(w, u) * (1.0 - h * h) / *width as f64;
                }
            }
        }
    }
}
