//! The matrix of a linear transform: itself, its inverse and its determinant, computed once in f64.

use crate::error::LoadError;
use crate::lower::Cost;
use crate::weights::Weights;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::spec::{Direction, Factors};

#[derive(Clone, Debug)]
pub(super) struct Matrix {
    n: usize,
    /// W, row-major.
    forward: Vec<f64>,
    inverse: Vec<f64>,
    /// ln |det W|
    log_det: f64,
}

impl Matrix {
    /// The matrix of side `n` whose tensors are under `path`.
    pub fn new(
        factors: &Factors,
        n: usize,
        path: &str,
        weights: &Weights,
    ) -> Result<Self, LoadError> {
        let values = |name: &str, shape: &[usize]| -> Result<Vec<f64>, LoadError> {
            let values = weights.of_shape(&format!("{path}.{name}"), shape)?;
            Ok(values.iter().map(|&v| f64::from(v)).collect())
        };
        let (forward, name) = match factors {
            Factors::Dense => (values("weight", &[n, n])?, "weight"),
            Factors::Lu { order } => {
                let (lower, upper) = (values("lower", &[n, n])?, values("upper", &[n, n])?);
                let diagonal = values("log_diagonal", &[n])?;
                (product(&lower, &upper, &diagonal, order), "log_diagonal")
            }
        };
        let refuse = || LoadError::Tensor {
            tensor: format!("{path}.{name}"),
            problem: "the matrix of the linear transform has no inverse in f64".into(),
        };
        let (inverse, log_det) = invert(&forward, n).ok_or_else(refuse)?;
        Ok(Matrix {
            n,
            forward,
            inverse,
            log_det,
        })
    }

    /// What it costs on a map of `plane` pixels.
    pub fn cost(&self, plane: usize) -> Cost {
        Cost {
            scratch: 0,
            work: (2 * self.forward.len() as u64).saturating_mul(plane as u64),
            parameters: self.forward.len() as u64,
        }
    }

    /// Applies the matrix, or its inverse, to the features of every pixel of `x`, planes of `plane` numbers; returns
    /// ln |det|. `copy` is as long as `x`.
    pub fn apply(
        &self,
        direction: Direction,
        x: &mut [f64],
        plane: usize,
        copy: &mut [f64],
    ) -> f64 {
        let (matrix, sign) = match direction {
            Direction::Normalise => (&self.forward, 1.0),
            Direction::Generate => (&self.inverse, -1.0),
        };
        copy.copy_from_slice(x);
        for (row, out) in matrix.chunks_exact(self.n).zip(x.chunks_exact_mut(plane)) {
            out.fill(0.0);
            for (w, from) in row.iter().zip(copy.chunks_exact(plane)) {
                for (out, v) in out.iter_mut().zip(from) {
                    *out += w * v;
                }
            }
        }
        sign * plane as f64 * self.log_det
    }
}

/// P L (U + diag(exp(d))), see [`Factors::Lu`].
fn product(lower: &[f64], upper: &[f64], log_diagonal: &[f64], order: &[u32]) -> Vec<f64> {
    let n = log_diagonal.len();
    let u = |i: usize, j: usize| match i.cmp(&j) {
        core::cmp::Ordering::Less => upper[i * n + j],
        core::cmp::Ordering::Equal => libm::exp(log_diagonal[i]),
        core::cmp::Ordering::Greater => 0.0,
    };
    let mut out = vec![0.0; n * n];
    for (row, &from) in out.chunks_exact_mut(n).zip(order) {
        let i = from as usize;
        for (j, out) in row.iter_mut().enumerate() {
            let last = i.min(j);
            let below: f64 = (0..last.min(i)).map(|k| lower[i * n + k] * u(k, j)).sum();
            // The diagonal of L is 1.
            let own = if i <= j {
                u(i, j)
            } else {
                lower[i * n + j] * u(j, j)
            };
            *out = below + own;
        }
    }
    out
}

/// The inverse and ln |det| by Gauss-Jordan elimination with partial pivoting; `None` if it is not finite.
fn invert(matrix: &[f64], n: usize) -> Option<(Vec<f64>, f64)> {
    let mut a = matrix.to_vec();
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        inverse[i * n + i] = 1.0;
    }
    let mut log_det = 0.0;
    for c in 0..n {
        let size = |r: &usize| a[r * n + c].abs();
        let pivot = (c..n).max_by(|r, s| size(r).total_cmp(&size(s)))?;
        for j in 0..n {
            a.swap(c * n + j, pivot * n + j);
            inverse.swap(c * n + j, pivot * n + j);
        }
        let diagonal = a[c * n + c];
        log_det += libm::log(diagonal.abs());
        for j in 0..n {
            a[c * n + j] /= diagonal;
            inverse[c * n + j] /= diagonal;
        }
        for r in (0..n).filter(|&r| r != c) {
            let factor = a[r * n + c];
            if factor == 0.0 {
                continue;
            }
            for j in 0..n {
                a[r * n + j] -= factor * a[c * n + j];
                inverse[r * n + j] -= factor * inverse[c * n + j];
            }
        }
    }
    let finite = log_det.is_finite() && inverse.iter().all(|v| v.is_finite());
    finite.then_some((inverse, log_det))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_make_the_matrix_that_they_say() {
        let lower = [9.0, 9.0, 9.0, 0.5, 9.0, 9.0, -1.0, 2.0, 9.0];
        let upper = [9.0, 3.0, 1.0, 9.0, 9.0, -2.0, 9.0, 9.0, 9.0];
        let d = [0.0, 1.0, -0.5];
        let e = d.map(libm::exp);
        // L U by hand.
        let lu = [
            [e[0], 3.0, 1.0],
            [0.5 * e[0], 1.5 + e[1], 0.5 - 2.0],
            [-e[0], -3.0 + 2.0 * e[1], -1.0 - 4.0 + e[2]],
        ];
        let w = product(&lower, &upper, &d, &[2, 0, 1]);
        for (row, &from) in w.chunks(3).zip(&[2, 0, 1]) {
            for (a, b) in row.iter().zip(lu[from]) {
                assert!((a - b).abs() < 1e-14);
            }
        }
        let (inverse, log_det) = invert(&w, 3).unwrap();
        assert!((log_det - 0.5).abs() < 1e-14);
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = (0..3).map(|k| w[3 * i + k] * inverse[3 * k + j]).sum();
                assert!((sum - f64::from(u8::from(i == j))).abs() < 1e-13);
            }
        }
        assert!(invert(&[1.0, 2.0, 2.0, 4.0], 2).is_none());
    }
}
