//! Continuous flows: velocity fields, the traces of their Jacobians and the solver that follows them.

use super::transform::check_net;
use super::{Net, Shape, SpecError};
use crate::rng::{Philox, Stream};
use alloc::format;
use serde::{Deserialize, Serialize};

/// Most dimensions of a [`Velocity::Net`] with the exact trace, which takes as many directional derivatives at every step.
pub const MAX_EXACT: usize = 64;
/// Most neurons of a [`Velocity::Planar`].
const MAX_WIDTH: usize = 4096;
/// Most frequencies of the time.
const MAX_FREQUENCIES: usize = 64;

/// A flow in continuous time: dx/dt = velocity(x, t), from data at t = 0 to noise at t = 1. Its log-determinant is the
/// integral of the trace of the velocity's Jacobian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continuous {
    /// The field.
    pub velocity: Velocity,
    /// 0: networks see t itself; k: they see cos(pi t) ... cos(k pi t), sin(pi t) ... sin(k pi t).
    #[serde(default)]
    pub frequencies: usize,
    /// The trace of a [`Velocity::Net`].
    #[serde(default, skip_serializing_if = "Trace::is_default")]
    pub trace: Trace,
    /// Accuracy.
    #[serde(default)]
    pub solver: Solver,
}

/// How the trace of the Jacobian J of a velocity is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// The sum of all diagonal elements: for a [`Velocity::Net`] one directional derivative for each dimension, of which
    /// there may be 64; for a [`Velocity::Planar`] a formula.
    #[default]
    Exact,
    /// e.(J e) with a vector e of independent signs, the same for the whole solution (Hutchinson 1990; Grathwohl et al.
    /// 2019): one directional derivative whatever the dimension. Its mean over e is the trace, its variance twice the sum
    /// of the squares of the off-diagonal elements of (J + J^T) / 2. So ln p is an estimate, the same for the same
    /// [`TraceNoise`]; for trained flows it deviates by about 0.65, 1.3 and 3.6 nats at 2, 8 and 64 dimensions.
    Hutchinson,
}

impl Trace {
    /// The exact one up to 64 dimensions, which is as many as may be.
    pub fn of_dimensions(n: usize) -> Self {
        match n <= MAX_EXACT {
            true => Trace::Exact,
            false => Trace::Hutchinson,
        }
    }

    fn is_default(&self) -> bool {
        *self == Trace::default()
    }
}

/// Whose noise estimates a [`Trace::Hutchinson`]. Where nobody asks for a density, as in drawing and coding, it is that of
/// seed 0 and id 0, which then matters to the solver's steps alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceNoise {
    /// Seed.
    pub seed: u64,
    /// The object's id.
    pub id: u64,
}

/// ln2 of the blocks of the random sequence that a transform has: 128 signs each.
const LOG_BLOCKS: u32 = 16;

impl TraceNoise {
    /// The signs, -1 or 1, for the transform of that number in its flow: element i is bit i % 32 (1: positive) of number
    /// i / 32 of the sequence of [`Stream::Trace`] from block 65536 * `transform` on.
    pub fn fill(self, transform: usize, signs: &mut [f64]) {
        let mut rng = Philox::new(self.seed, self.id, Stream::Trace);
        rng.skip_to((transform as u32) << LOG_BLOCKS);
        for signs in signs.chunks_mut(32) {
            let bits = rng.next_u32();
            for (i, sign) in signs.iter_mut().enumerate() {
                *sign = if bits >> i & 1 == 1 { 1.0 } else { -1.0 };
            }
        }
    }
}

/// A velocity field on n dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Velocity {
    /// FFJORD (Grathwohl et al. 2019): any net from \[n\] to \[n\], whose context is \[the time, the flow's context\].
    Net(Net),
    /// Planar CNF (Chen et al. 2018): the mean over k of u_k tanh(w_k.x + b_k), where a net gives \[w, u, b\], of shapes
    /// \[width, n\], \[width, n\], \[width\], from the time, which is its input, and the flow's context, which is its own.
    Planar {
        /// Number of neurons.
        width: usize,
        /// The time (and context) to \[width * (2 n + 1)\].
        net: Net,
    },
}

impl Velocity {
    /// Its net.
    pub fn net(&self) -> &Net {
        match self {
            Velocity::Net(net) | Velocity::Planar { net, .. } => net,
        }
    }
}

/// Adaptive Runge-Kutta steps of order 5 with an estimate of order 4 (Dormand and Prince 1980). The error of every
/// number, the log-determinant included, is kept below absolute + relative |number| at each step, for each
/// object on its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Solver {
    /// Tolerance relative to each number.
    pub relative: f64,
    /// Absolute tolerance.
    pub absolute: f64,
    /// Steps, refused ones included, after which a solution is given up: its density is not a number, and says so.
    pub max_steps: u32,
}

impl Default for Solver {
    fn default() -> Self {
        Solver {
            relative: 1e-6,
            absolute: 1e-6,
            max_steps: 1000,
        }
    }
}

impl Continuous {
    /// Numbers that networks see of the time.
    pub fn time_len(&self) -> usize {
        self.frequencies.saturating_mul(2).max(1)
    }

    /// Writes what networks see of the time `t` into `out`.
    ///
    /// # Panics
    /// If `out` is not [`time_len`](Self::time_len) long.
    pub fn time(&self, t: f64, out: &mut [f64]) {
        assert_eq!(out.len(), self.time_len(), "numbers of the time");
        if self.frequencies == 0 {
            out[0] = t;
            return;
        }
        let (cosines, sines) = out.split_at_mut(self.frequencies);
        for (k, (c, s)) in cosines.iter_mut().zip(sines).enumerate() {
            (*s, *c) = libm::sincos((k + 1) as f64 * core::f64::consts::PI * t);
        }
    }

    pub(super) fn check(&self, n: usize, context: usize, path: &str) -> Result<(), SpecError> {
        let fail = |problem| Err(SpecError::new(path, problem));
        match (&self.velocity, self.trace) {
            (Velocity::Net(_), Trace::Exact) if n > MAX_EXACT => {
                return fail(format!(
                    "the exact trace of a field on {n} dimensions, expected at most {MAX_EXACT}: take trace = \
                     \"hutchinson\", an estimate"
                ));
            }
            (Velocity::Planar { .. }, Trace::Hutchinson) => {
                let problem = "an estimated trace of a planar field, expected the exact one, which has a formula";
                return fail(problem.into());
            }
            (Velocity::Net(_) | Velocity::Planar { .. }, Trace::Exact)
            | (Velocity::Net(_), Trace::Hutchinson) => {}
        }
        if self.frequencies > MAX_FREQUENCIES {
            let found = self.frequencies;
            return fail(format!(
                "{found} frequencies, expected at most {MAX_FREQUENCIES}"
            ));
        }
        let s = &self.solver;
        let tolerance = |t: f64| (1e-14..=1.0).contains(&t);
        if !(tolerance(s.relative) && tolerance(s.absolute) && (1..=100_000).contains(&s.max_steps))
        {
            return fail(format!(
                "{s:?}: expected tolerances of 1e-14 to 1 and 1 to 100000 steps"
            ));
        }
        match &self.velocity {
            Velocity::Net(net) => {
                let context = context.saturating_add(self.time_len());
                check_net(net, [Shape::Vector(n); 2], context, path)
            }
            Velocity::Planar { width, net } => {
                if !(1..=MAX_WIDTH).contains(width) {
                    return fail(format!("width {width}, expected 1 to {MAX_WIDTH}"));
                }
                let ends = [self.time_len(), width * (2 * n + 1)];
                check_net(net, ends.map(Shape::Vector), context, path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Layer;
    use alloc::vec;

    fn field(n: usize, trace: Trace) -> Continuous {
        let layers = vec![Layer::AppendContext, Layer::linear(n)];
        Continuous {
            velocity: Velocity::Net(Net {
                input: Shape::Vector(n),
                context: 1,
                layers,
            }),
            frequencies: 0,
            trace,
            solver: Solver::default(),
        }
    }

    /// Files from before there was a choice say nothing of the trace, and so keep their fingerprint.
    #[test]
    fn the_exact_trace_is_not_written() {
        let json = serde_json::to_string(&field(3, Trace::Exact)).unwrap();
        assert!(!json.contains("trace"), "{json}");
        let back: Continuous = serde_json::from_str(&json).unwrap();
        assert_eq!(back, field(3, Trace::Exact));
        let json = serde_json::to_string(&field(3, Trace::Hutchinson)).unwrap();
        assert!(json.contains(r#""trace":"hutchinson""#), "{json}");
        let back: Continuous = serde_json::from_str(&json).unwrap();
        assert_eq!(back, field(3, Trace::Hutchinson));
    }

    #[test]
    fn only_an_estimate_has_more_than_64_dimensions() {
        assert_eq!(Trace::of_dimensions(64), Trace::Exact);
        assert_eq!(Trace::of_dimensions(65), Trace::Hutchinson);
        let check = |n, trace| field(n, trace).check(n, 0, "0");
        assert!(check(64, Trace::Exact).is_ok());
        assert!(check(65, Trace::Hutchinson).is_ok());
        let error = check(65, Trace::Exact).unwrap_err();
        assert!(
            error.problem.contains("65 dimensions, expected at most 64"),
            "{error}"
        );
        let planar = |trace| Continuous {
            velocity: Velocity::Planar {
                width: 2,
                net: Net {
                    input: Shape::Vector(1),
                    context: 0,
                    layers: vec![Layer::linear(2 * 141)],
                },
            },
            ..field(1, trace)
        };
        assert!(planar(Trace::Exact).check(70, 0, "0").is_ok());
        let error = planar(Trace::Hutchinson).check(70, 0, "0").unwrap_err();
        assert!(error.problem.contains("planar"), "{error}");
    }

    /// Signs are fair, those of neighbours and of other transforms independent, and a shorter vector is the beginning of
    /// a longer one. 5 deviations of so many fair signs.
    #[test]
    fn signs_are_fair_and_belong_to_their_object() {
        const N: usize = 40_000;
        let signs = |seed, id, transform| {
            let mut signs = vec![0.0; N];
            TraceNoise { seed, id }.fill(transform, &mut signs);
            signs
        };
        let bound = 5.0 * libm::sqrt(N as f64);
        let first = signs(1, 2, 0);
        assert!(first.iter().all(|s| s.abs() == 1.0));
        assert!(first.iter().sum::<f64>().abs() < bound);
        let neighbours: f64 = first.windows(2).map(|p| p[0] * p[1]).sum();
        assert!(neighbours.abs() < bound, "{neighbours}");
        for other in [signs(2, 2, 0), signs(1, 3, 0), signs(1, 2, 1)] {
            let product: f64 = first.iter().zip(&other).map(|(a, b)| a * b).sum();
            assert!(product.abs() < bound, "{product}");
        }
        let mut short = [0.0; 37];
        TraceNoise { seed: 1, id: 2 }.fill(0, &mut short);
        assert_eq!(short, first[..37]);
    }
}
