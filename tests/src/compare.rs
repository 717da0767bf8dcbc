//! Comparison of values and of traces.

/// Value after each layer: (path, elements), nested layers before the composite that holds them.
pub type Trace = Vec<(String, Vec<f64>)>;

/// Largest |a - b| as a fraction of the largest |b|; infinite for unequal lengths or a value that is
/// not finite.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    relative_error_above(f64::MIN_POSITIVE, found, expected)
}

/// As [`relative_error`], but as a fraction of `floor` where all of `expected` is smaller: for values
/// that may cancel by chance.
pub fn relative_error_above(floor: f64, found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() || found.iter().chain(expected).any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let scale = expected.iter().fold(floor, |m, v| m.max(v.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max) / scale
}

/// Names the first layer at which `found` differs from `expected` by more than `tolerance`
/// ([`relative_error`]), and how; `None` if they agree. Both must list the same layers.
pub fn first_difference(
    found: &[(String, Vec<f64>)],
    expected: &[(String, Vec<f64>)],
    tolerance: f64,
) -> Option<String> {
    for (i, (path, b)) in expected.iter().enumerate() {
        let Some((other, a)) = found.get(i) else {
            return Some(format!("layer {path} is missing"));
        };
        if other != path {
            return Some(format!("layer {other} where {path} was expected"));
        }
        if a.len() != b.len() {
            return Some(format!(
                "layer {path}: {} elements, expected {}",
                a.len(),
                b.len()
            ));
        }
        let error = relative_error(a, b);
        if error > tolerance {
            let worst = (0..a.len())
                .max_by(|&i, &j| (a[i] - b[i]).abs().total_cmp(&(a[j] - b[j]).abs()))
                .unwrap_or(0);
            return Some(format!(
                "layer {path}: relative error {error:.2e} > {tolerance:.0e}, element {worst} is {} \
                 and should be {}",
                a[worst], b[worst]
            ));
        }
    }
    found
        .get(expected.len())
        .map(|(path, _)| format!("layer {path} was not expected"))
}
