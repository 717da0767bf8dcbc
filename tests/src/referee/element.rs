//! The referee's maps of single elements, and the solvers of its inverses.

use crate::scalar::{self, Spline};
use galgen_core::spec::{Direction, ElementMap, Scale};

/// Maps `v` with raw parameters; returns ln of the derivative of the direction taken.
pub(super) fn element(map: &ElementMap, raw: &[f64], direction: Direction, v: &mut f64) -> f64 {
    match map {
        ElementMap::Affine { bound } => {
            affine(v, raw[0], bound * (raw[1] / bound).tanh(), direction)
        }
        ElementMap::Additive => affine(v, raw[0], 0.0, direction),
        ElementMap::ScaleShift(scale) => {
            let log = log_scale(scale, raw[1]);
            // z = a x + shift = (x + shift / a) / (1 / a)
            affine(v, -raw[0] / log.exp(), -log, direction)
        }
        ElementMap::ShiftScale(scale) => affine(v, -raw[0], -log_scale(scale, raw[1]), direction),
        ElementMap::Spline(spec) => {
            let spline = Spline::new(spec, raw);
            let (value, log_det) = match direction {
                Direction::Normalise => spline.forward(*v),
                Direction::Generate => spline.inverse(*v),
            };
            *v = value;
            log_det
        }
        ElementMap::LogisticMixture { components } => {
            let mixture = |x: f64| scalar::logistic_mixture(raw, *components, x);
            match direction {
                Direction::Normalise => {
                    let (value, log_det) = mixture(*v);
                    *v = value;
                    log_det
                }
                Direction::Generate => {
                    let z = *v;
                    *v = bisect(-1e4, 1e4, |x| mixture(x).0 - z);
                    -mixture(*v).1
                }
            }
        }
    }
}

fn log_scale(scale: &Scale, raw: f64) -> f64 {
    match scale {
        Scale::Tanh { bound } => bound * (raw / bound).tanh(),
        Scale::SoftClip { bound } => raw / (1.0 + raw.abs() / bound),
        Scale::Sigmoid { floor } => (scalar::logistic(raw + 2.0) + floor).ln(),
        Scale::Softplus { floor } => (scalar::softplus(raw) + floor).ln(),
    }
}

/// z = (x - shift) e^-s and its inverse x = z e^s + shift.
pub(super) fn affine(v: &mut f64, shift: f64, s: f64, direction: Direction) -> f64 {
    match direction {
        Direction::Normalise => {
            *v = (*v - shift) / s.exp();
            -s
        }
        Direction::Generate => {
            *v = *v * s.exp() + shift;
            s
        }
    }
}

/// Where a growing function passes 0.
pub(super) fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if f(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The solution of W v = x and ln |det W|, by elimination with pivoting.
pub(super) fn solve(w: &[f64], x: &[f64]) -> (Vec<f64>, f64) {
    let n = x.len();
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| [&w[i * n..(i + 1) * n], &x[i..=i]].concat())
        .collect();
    let mut log_det = 0.0;
    for c in 0..n {
        let largest = (c..n).max_by(|&a, &b| rows[a][c].abs().total_cmp(&rows[b][c].abs()));
        rows.swap(c, largest.expect("a row"));
        let pivot = rows[c].clone();
        log_det += pivot[c].abs().ln();
        for row in &mut rows[c + 1..] {
            let factor = row[c] / pivot[c];
            row.iter_mut()
                .zip(&pivot)
                .for_each(|(v, p)| *v -= factor * p);
        }
    }
    let mut v = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| rows[i][j] * v[j]).sum();
        v[i] = (rows[i][n] - known) / rows[i][i];
    }
    (v, log_det)
}
