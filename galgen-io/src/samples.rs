//! Distances and tests between two samples of one number.

/// Sorted copy.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// Value below which the share `q` of `values` lies: the nearest order statistic, NaN without values.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let sorted = sorted(values);
    let at = (sorted.len().max(1) - 1) as f64 * q;
    sorted.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}

/// Lower quartile, median and upper quartile.
pub fn quartiles(values: &[f64]) -> [f64; 3] {
    [0.25, 0.5, 0.75].map(|q| quantile(values, q))
}

/// Mean; NaN without values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation with n in the denominator; NaN without values.
pub fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    mean(
        &values
            .iter()
            .map(|v| (v - middle).powi(2))
            .collect::<Vec<_>>(),
    )
    .sqrt()
}

/// Every distinct value of both samples, rising, with the share of each sample at or below it.
fn steps(a: &[f64], b: &[f64]) -> Vec<(f64, f64, f64)> {
    let (a, b) = (sorted(a), sorted(b));
    let (mut i, mut j) = (0, 0);
    let mut steps = Vec::with_capacity(a.len() + b.len());
    while i < a.len() || j < b.len() {
        let next = |s: &[f64], k: usize| s.get(k).copied().unwrap_or(f64::INFINITY);
        let value = next(&a, i).min(next(&b, j));
        while next(&a, i) <= value && i < a.len() {
            i += 1;
        }
        while next(&b, j) <= value && j < b.len() {
            j += 1;
        }
        let share = |k: usize, n: usize| k as f64 / n as f64;
        steps.push((value, share(i, a.len()), share(j, b.len())));
    }
    steps
}

/// Wasserstein distance of order 1: the area between the two cumulative distributions, in the unit of
/// the values. NaN if a sample is empty.
pub fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::NAN;
    }
    steps(a, b)
        .windows(2)
        .map(|w| (w[0].1 - w[0].2).abs() * (w[1].0 - w[0].0))
        .sum()
}

/// Largest difference of the two cumulative distributions, and the probability of one as large or larger
/// if both samples come from one continuous distribution: exact, by counting the orders of the joint
/// sample (Hodges 1958). NaN if a sample is empty.
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> (f64, f64) {
    if a.is_empty() || b.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let distance = steps(a, b)
        .iter()
        .map(|s| (s.1 - s.2).abs())
        .fold(0.0, f64::max);
    (distance, exact_tail(distance, a.len(), b.len()))
}

/// Probability that a random path from (0, 0) to (n, m) leaves the band |i / n - j / m| < d.
///
/// touched(i, j), the probability to have left it on the way to (i, j), is the mean of its values at the
/// two points before, with the weights i and j: of all paths to (i, j), the share i / (i + j) comes from
/// (i - 1, j). All terms are positive, so that small probabilities keep their digits.
fn exact_tail(distance: f64, n: usize, m: usize) -> f64 {
    // Differences of cumulative distributions are multiples of 1 / (n m).
    let threshold = distance - 0.25 / (n as f64 * m as f64);
    let outside =
        |i: usize, j: usize| (i as f64 / n as f64 - j as f64 / m as f64).abs() >= threshold;
    let mut touched = vec![0.0; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            touched[j] = if outside(i, j) {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                let before = if j > 0 { touched[j - 1] } else { 0.0 };
                (i as f64 * touched[j] + j as f64 * before) / (i + j) as f64
            };
        }
    }
    touched[m]
}

/// One-sided rank test (Mann & Whitney 1947): probability of ranks as low as those of `a` or lower if `a` and
/// `b` come from one distribution; small when `a` tends to be smaller. Normal approximation with corrections for
/// ties and continuity. NaN if a sample is empty.
pub fn rank_test(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    if a.is_empty() || b.is_empty() {
        return f64::NAN;
    }
    // Pairs in which a value of `a` is above one of `b`; ties count half.
    let (mut above, mut ties) = (0.0, 0.0);
    let (mut seen_a, mut seen_b) = (0.0, 0.0);
    for (_, share_a, share_b) in steps(a, b) {
        let (new_a, new_b) = (share_a * n - seen_a, share_b * m - seen_b);
        above += new_a * (seen_b + 0.5 * new_b);
        let tied: f64 = (new_a + new_b).round();
        ties += tied.powi(3) - tied;
        (seen_a, seen_b) = (seen_a + new_a, seen_b + new_b);
    }
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    normal_tail((n * m / 2.0 - above - 0.5) / variance.sqrt())
}

/// Probability that a value of `a` is above one of `b`, ties counting half: the area under the receiver operating
/// characteristic. NaN if a sample is empty.
pub fn area_under_curve(a: &[f64], b: &[f64]) -> f64 {
    let (mut area, mut below) = (0.0, [0.0; 2]);
    for (_, share_a, share_b) in steps(a, b) {
        area += (share_a - below[0]) * 0.5 * (share_b + below[1]);
        below = [share_a, share_b];
    }
    if a.is_empty() || b.is_empty() {
        f64::NAN
    } else {
        area
    }
}

/// Spearman's correlation of the ranks of pairs, ties with their mean rank; pairs with a value that is not finite are
/// left out. NaN for fewer than three pairs or a constant.
pub fn rank_correlation(x: &[f64], y: &[f64]) -> f64 {
    let pairs = x
        .iter()
        .zip(y)
        .filter(|(x, y)| x.is_finite() && y.is_finite());
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.map(|(x, y)| (*x, *y)).unzip();
    if x.len() < 3 {
        return f64::NAN;
    }
    let (x, y) = (ranks(&x), ranks(&y));
    let middle = mean(&x);
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    product(&x, &y) / (product(&x, &x) * product(&y, &y)).sqrt()
}

/// Rank of each value, from 1; ties have their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + 0.5 * (tie.len() + 1) as f64;
        tie.iter().for_each(|&i| ranks[i] = rank);
        first += tie.len();
    }
    ranks
}

/// Probability of a standard normal number above `z`.
fn normal_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

/// Probability of `hits` or more in `trials` of probability `p` each.
pub fn binomial_tail(hits: usize, trials: usize, p: f64) -> f64 {
    let n = trials as f64;
    let log_term = |k: f64| {
        libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
            + k * p.ln()
            + (n - k) * (1.0 - p).ln()
    };
    let tail: f64 = (hits..=trials).map(|k| log_term(k as f64).exp()).sum();
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    fn uniform(n: usize, id: u64) -> Vec<f64> {
        let mut rng = Philox::new(3, id, Stream::Training);
        (0..n).map(|_| rng.uniform()).collect()
    }

    #[test]
    fn the_area_counts_pairs_and_ties() {
        // Of six pairs three are above and one ties.
        let (a, b) = ([1.0, 3.0], [0.0, 1.0, 5.0]);
        assert!((area_under_curve(&a, &b) - 3.5 / 6.0).abs() < 1e-15);
        assert!((area_under_curve(&b, &a) - 2.5 / 6.0).abs() < 1e-15);
        assert!(area_under_curve(&a, &[]).is_nan());
    }

    #[test]
    fn ranks_correlate_as_by_hand() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        let monotone = x.map(|v: f64| v.powi(5));
        assert!((rank_correlation(&x, &monotone) - 1.0).abs() < 1e-15);
        // Without ties 1 - 6 sum d^2 / (n (n^2 - 1)), d = (0, 1, -1, 1, -1).
        let y = [1.0, 3.0, 2.0, 5.0, 4.0];
        assert!((rank_correlation(&x, &y) - 0.8).abs() < 1e-15);
        assert_eq!(ranks(&[2.0, 1.0, 2.0]), [2.5, 1.0, 2.5]);
        assert!(
            (rank_correlation(&[1.0, f64::NAN, 2.0, 3.0], &[3.0, 9.0, 2.0, 1.0]) + 1.0).abs()
                < 1e-15
        );
        assert!(rank_correlation(&x, &[1.0; 5]).is_nan());
    }

    #[test]
    fn wasserstein_of_a_shift_is_the_shift() {
        let a = uniform(300, 1);
        for shift in [0.0, 0.25, -3.0] {
            let b: Vec<f64> = a.iter().map(|v| v + shift).collect();
            assert!((wasserstein(&a, &b) - shift.abs()).abs() < 1e-12);
        }
        // A copy of every value changes nothing, and units go through.
        let twice = [a.clone(), a.clone()].concat();
        assert!(wasserstein(&a, &twice) < 1e-12);
        let (b, scale) = (uniform(200, 2), 7.0);
        let scaled = |v: &[f64]| v.iter().map(|v| v * scale).collect::<Vec<_>>();
        let ratio = wasserstein(&scaled(&a), &scaled(&b)) / wasserstein(&a, &b);
        assert!((ratio - scale).abs() < 1e-10);
        assert!(wasserstein(&a, &[]).is_nan());
    }

    #[test]
    fn wasserstein_is_a_distance() {
        let [a, b, c] = [1, 2, 3].map(|id| uniform(50 + 10 * id as usize, id));
        assert_eq!(wasserstein(&a, &b), wasserstein(&b, &a));
        assert!(wasserstein(&a, &c) <= wasserstein(&a, &b) + wasserstein(&b, &c) + 1e-15);
    }

    /// Under the hypothesis p-values are uniform: a p-value below 0.1 comes one time in ten.
    #[test]
    fn p_values_are_calibrated() {
        let (mut ks, mut ranks) = (0, 0);
        const REPEATS: u64 = 400;
        for repeat in 0..REPEATS {
            let (a, b) = (uniform(60, 2 * repeat), uniform(45, 2 * repeat + 1));
            ks += usize::from(kolmogorov_smirnov(&a, &b).1 <= 0.1);
            ranks += usize::from(rank_test(&a, &b) <= 0.1);
        }
        // 40 expected with a standard deviation of 6; the exact test is conservative where it is coarse.
        assert!(
            (20..=58).contains(&ks) && (22..=58).contains(&ranks),
            "{ks} {ranks}"
        );
    }

    #[test]
    fn tails_are_right_where_they_are_known() {
        // Two disjoint samples of 3: two of the 20 orders are as extreme.
        let (d, p) = kolmogorov_smirnov(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]);
        assert!(d == 1.0 && (p - 0.1).abs() < 1e-15);
        assert!((kolmogorov_smirnov(&[1.0, 2.0], &[1.0, 2.0]).1 - 1.0).abs() < 1e-15);
        assert!((binomial_tail(2, 3, 0.5) - 0.5).abs() < 1e-12);
        assert!((binomial_tail(0, 9, 0.2) - 1.0).abs() < 1e-12);
        // All of one sample below all of the other.
        let low = uniform(40, 5);
        let high: Vec<f64> = low.iter().map(|v| v + 2.0).collect();
        assert!(rank_test(&low, &high) < 1e-10 && rank_test(&high, &low) > 1.0 - 1e-10);
    }
}
