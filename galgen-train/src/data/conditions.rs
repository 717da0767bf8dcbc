//! Conditions of a training: their means and ranges, and numbers from a table.

use super::labels;
use crate::recipe::Number;
use galgen_core::condition::{Condition, Conditions};
use std::path::Path;

/// Conditions outside these quantiles of the training part are flagged at generation.
const RANGE_QUANTILES: [f64; 2] = [0.005, 0.995];
/// Quantile of the training part's Mahalanobis distances beyond which a combination is flagged.
const DISTANCE_QUANTILE: f64 = 0.999;

/// A number whose mean and range [`describe`] finds.
pub fn number(name: &str, unit: &str, description: &str) -> Condition {
    Condition {
        name: name.into(),
        unit: unit.into(),
        description: description.into(),
        mean: 0.0,
        deviation: 1.0,
        range: [0.0; 2],
        classes: Vec::new(),
    }
}

/// `list` with the mean, deviation and range of its numbers over the `training` part of `values` `[n, list]`, and their
/// correlation. Classes stay as they are.
///
/// # Errors
/// If a number is the same for all, or numbers are linearly dependent.
pub fn describe(
    mut list: Vec<Condition>,
    values: &[f32],
    training: &[usize],
    scale: Option<&[[f64; 2]]>,
) -> Result<Conditions, String> {
    let width = list.len();
    let n = training.len() as f64;
    let at = |i: usize, j: usize| f64::from(values[i * width + j]);
    let numbers: Vec<usize> = (0..width).filter(|&j| list[j].classes.is_empty()).collect();
    for &j in &numbers {
        let column = || training.iter().map(|&i| at(i, j));
        let condition = &mut list[j];
        let mean = column().sum::<f64>() / n;
        let variance = column().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let mut sorted: Vec<f64> = column().collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.first() == sorted.last() {
            return Err(format!(
                "condition `{}` is {mean} for every training stamp: remove it",
                condition.name
            ));
        }
        [condition.mean, condition.deviation] = match scale {
            Some(scale) => scale[j],
            None => [mean, variance.sqrt()],
        };
        condition.range = RANGE_QUANTILES.map(|q| sorted[((n - 1.0) * q).round() as usize]);
    }
    let k = numbers.len();
    let standard = |i: usize, a: usize| {
        let j = numbers[a];
        (at(i, j) - list[j].mean) / list[j].deviation
    };
    let mut correlation = vec![0.0; k * k];
    for &i in training {
        for a in 0..k {
            for b in 0..k {
                correlation[a * k + b] += standard(i, a) * standard(i, b) / n;
            }
        }
    }
    let precision = inverse(correlation, k).ok_or_else(|| {
        let names: Vec<&str> = numbers.iter().map(|&j| list[j].name.as_str()).collect();
        format!(
            "the conditions {} are linearly dependent: remove one of them",
            names.join(", ")
        )
    })?;
    let distance = |&i: &usize| -> f64 {
        let terms = (0..k * k).map(|ab| standard(i, ab / k) * precision[ab] * standard(i, ab % k));
        terms.sum()
    };
    let mut distances: Vec<f64> = training.iter().map(distance).collect();
    distances.sort_by(f64::total_cmp);
    let distance_limit = match k {
        0 => 0.0,
        _ => distances[((n - 1.0) * DISTANCE_QUANTILE).round() as usize],
    };
    let conditions = Conditions {
        list,
        precision,
        distance_limit,
    };
    conditions.check()?;
    Ok(conditions)
}

/// Mean and deviation of each condition, by which networks see it.
pub fn scale(conditions: &Conditions) -> Vec<[f64; 2]> {
    let list = conditions.list.iter();
    list.map(|c| [c.mean, c.deviation]).collect()
}

/// The condition, and the number of each of `ids` in the table of `number`: `None` where there is no finite one.
pub fn from_table(
    number: &Number,
    file: &Path,
    directory: &Path,
    ids: &[u64],
) -> Result<Vec<Option<f32>>, String> {
    let path = directory.join(file);
    let values = labels::table(&path, number.column(), ids)?;
    let finite = |v: f64| Some(v as f32).filter(|v| v.is_finite());
    let numbers: Vec<Option<f32>> = values
        .iter()
        .map(|v| v.as_ref().and_then(|v| v.f64()).and_then(finite))
        .collect();
    if numbers.iter().all(Option::is_none) {
        return Err(format!(
            "{}: column `{}` has no finite number for any image",
            path.display(),
            number.column()
        ));
    }
    Ok(numbers)
}

/// Unit and one sentence for the conditions that `prepare` measures.
pub fn meaning(name: &str) -> (&'static str, &'static str) {
    match name {
        "axis_ratio" => (
            "",
            "minor over major axis of the light, from adaptive moments",
        ),
        "concentration" => (
            "",
            "5 log10(r80 / r20), radii holding 80 and 20 % of the stamp's light",
        ),
        "asymmetry" => (
            "",
            "rotational asymmetry under 180 degrees (Conselice 2000)",
        ),
        _ => ("", ""),
    }
}

/// Inverse of a small symmetric positive definite matrix by Gauss-Jordan elimination, `None` if singular.
fn inverse(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    let mut b: Vec<f64> = (0..n * n)
        .map(|i| if i / n == i % n { 1.0 } else { 0.0 })
        .collect();
    for i in 0..n {
        let pivot = a[i * n + i];
        if pivot.abs() < 1e-9 {
            return None;
        }
        for j in 0..n {
            a[i * n + j] /= pivot;
            b[i * n + j] /= pivot;
        }
        for row in (0..n).filter(|&row| row != i) {
            let factor = a[row * n + i];
            for j in 0..n {
                a[row * n + j] -= factor * a[i * n + j];
                b[row * n + j] -= factor * b[i * n + j];
            }
        }
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six objects, of which five train: the mean, the deviation and the correlation of two numbers by hand; the
    /// class between them is left alone.
    #[test]
    fn numbers_are_described_beside_classes() {
        let kind = Condition::of_classes("kind", "", vec!["a".into(), "b".into()]);
        let list = vec![number("x", "mag", ""), kind.clone(), number("y", "", "")];
        let rows: [[f32; 3]; 6] = [
            [1.0, 0.0, 10.0],
            [2.0, 1.0, 30.0],
            [3.0, 0.0, 20.0],
            [4.0, 1.0, 50.0],
            [5.0, 0.0, 40.0],
            [900.0, 1.0, -900.0],
        ];
        let found =
            describe(list.clone(), &rows.concat(), &[0, 1, 2, 3, 4], None).expect("numbers");
        assert_eq!((found.list[0].mean, found.list[2].mean), (3.0, 30.0));
        assert!((found.list[0].deviation - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!((found.list[0].range, &found.list[1]), ([1.0, 5.0], &kind));
        // Correlation 0.8, its inverse 1 / 0.36 times [1, -0.8].
        let expected = [1.0, -0.8, -0.8, 1.0].map(|v| v / 0.36);
        for (a, b) in found.precision.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{:?}", found.precision);
        }
        let same = describe(list, &rows.concat(), &[1], None).unwrap_err();
        assert!(same.contains("`x` is 2 for every"), "{same}");
        let twice = vec![number("x", "", ""), number("y", "", "")];
        let dependent = [1.0, 2.0, 2.0, 4.0, 3.0, 6.0];
        let problem = describe(twice, &dependent, &[0, 1, 2], None).unwrap_err();
        assert!(problem.contains("x, y are linearly dependent"), "{problem}");
    }

    #[test]
    fn inverse_undoes() {
        let a = vec![2.0, 0.5, 0.1, 0.5, 1.0, 0.2, 0.1, 0.2, 3.0];
        let b = inverse(a.clone(), 3).unwrap();
        for i in 0..3 {
            for j in 0..3 {
                let product: f64 = (0..3).map(|k| a[i * 3 + k] * b[k * 3 + j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        assert_eq!(inverse(vec![1.0, 1.0, 1.0, 1.0], 2), None);
    }
}
