//! Continuous flows: velocity fields and the solver that follows them.

use super::transform::check_net;
use super::{Net, Shape, SpecError};
use alloc::format;
use serde::{Deserialize, Serialize};

/// Most dimensions of a continuous flow: its log-determinant takes as many directional derivatives at every step.
pub const MAX_DIMENSIONS: usize = 64;
/// Most neurons of a [`Velocity::Planar`].
const MAX_WIDTH: usize = 4096;
/// Most frequencies of the time.
const MAX_FREQUENCIES: usize = 64;

/// A flow in continuous time: dx/dt = velocity(x, t), from data at t = 0 to noise at t = 1. Its log-determinant is the
/// integral of the trace of the Jacobian, which is computed exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continuous {
    /// The field.
    pub velocity: Velocity,
    /// 0: networks see t itself; k: they see cos(pi t) ... cos(k pi t), sin(pi t) ... sin(k pi t).
    #[serde(default)]
    pub frequencies: usize,
    /// Accuracy.
    #[serde(default)]
    pub solver: Solver,
}

/// A velocity field on n dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Velocity {
    /// FFJORD (Grathwohl et al. 2019): any net from \[n\] to \[n\], whose context is \[the time, the flow's context\].
    Net(Net),
    /// Planar CNF (Chen et al. 2018): the mean over k of u_k tanh(w_k.x + b_k), where a net gives \[w, u, b\], of shapes
    /// \[width, n\], \[width, n\], \[width\], from the time and the flow's context.
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
        if n > MAX_DIMENSIONS {
            return fail(format!(
                "{n} dimensions, expected at most {MAX_DIMENSIONS} of a continuous flow"
            ));
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
