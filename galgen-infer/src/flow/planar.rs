//! The planar transform (Rezende and Mohamed 2015).

use crate::error::LoadError;
use crate::weights::Weights;
use alloc::format;
use alloc::vec::Vec;
use galgen_core::math::act::softplus;
use galgen_core::spec::Direction;

/// Steps of the inverse at most: more than an f64 has bits.
const STEPS: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct Planar {
    weight: Vec<f64>,
    /// The direction in which points move, with w.u > -1.
    u: Vec<f64>,
    bias: f64,
    /// 1 + w.u, positive.
    growth: f64,
}

impl Planar {
    /// From the tensors under `path`.
    pub fn new(n: usize, path: &str, weights: &Weights) -> Result<Self, LoadError> {
        let values = |name: &str, n: usize| -> Result<Vec<f64>, LoadError> {
            let values = weights.of_shape(&format!("{path}.{name}"), &[n])?;
            Ok(values.iter().map(|&v| f64::from(v)).collect())
        };
        let (weight, scale, bias) = (
            values("weight", n)?,
            values("scale", n)?,
            values("bias", 1)?[0],
        );
        let along = dot(&weight, &scale);
        let norm = dot(&weight, &weight);
        let growth = if norm > 0.0 { softplus(along) } else { 1.0 };
        let added = if norm > 0.0 {
            (growth - 1.0 - along) / norm
        } else {
            0.0
        };
        let u = scale
            .iter()
            .zip(&weight)
            .map(|(u, w)| u + added * w)
            .collect();
        Ok(Planar {
            weight,
            u,
            bias,
            growth,
        })
    }

    /// Applies the transform; returns ln |det| of the direction taken.
    pub fn apply(&self, direction: Direction, x: &mut [f64]) -> f64 {
        let along = dot(&self.weight, x) + self.bias;
        let (argument, sign) = match direction {
            Direction::Normalise => (along, 1.0),
            Direction::Generate => (self.solve(along), -1.0),
        };
        let h = libm::tanh(argument);
        for (x, u) in x.iter_mut().zip(&self.u) {
            *x += sign * h * u;
        }
        // 1 + (1 - h^2) w.u, without cancellation.
        let slope = h * h + (1.0 - h * h) * self.growth;
        sign * libm::log(slope)
    }

    /// The a with a + w.u tanh(a) = `c`, which grows with a: Newton's steps inside a bracket.
    fn solve(&self, c: f64) -> f64 {
        let wu = self.growth - 1.0;
        let (mut low, mut high) = (c - wu.abs(), c + wu.abs());
        let mut a = c;
        for _ in 0..STEPS {
            let h = libm::tanh(a);
            let excess = a + wu * h - c;
            if excess > 0.0 {
                high = a;
            } else {
                low = a;
            }
            let newton = a - excess / (h * h + (1.0 - h * h) * self.growth);
            let inside = newton >= low && newton <= high;
            let next = if inside { newton } else { 0.5 * (low + high) };
            if next == a || excess == 0.0 {
                break;
            }
            a = next;
        }
        a
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
