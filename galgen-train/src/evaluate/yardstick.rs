//! How far apart two samples are, and what that number would be for two samples of one population.

use super::joint::sliced_wasserstein;
use galgen_core::rng::{Philox, Stream};
use galgen_io::samples::{deviation, mean, quantile, wasserstein};

/// Random halves for the floor.
pub const HALVES: usize = 200;
/// Resamplings for the error bars.
pub const RESAMPLINGS: usize = 200;

/// One galaxy's values that enter a distance.
pub type Row = Vec<f64>;

/// How rows are compared.
#[derive(Clone, Debug)]
pub enum Metric {
    /// Mean over the columns of the Wasserstein distance of each.
    Columns,
    /// Mean Wasserstein distance of the projections on these unit vectors.
    Sliced(Vec<Vec<f64>>),
}

impl Metric {
    /// Distance between two samples.
    pub fn distance(&self, a: &[Row], b: &[Row]) -> f64 {
        match self {
            Metric::Sliced(directions) => sliced_wasserstein(a, b, directions),
            Metric::Columns => {
                let column = |rows: &[Row], j: usize| rows.iter().map(|r| r[j]).collect::<Vec<_>>();
                let width = a.first().map_or(0, Vec::len);
                let of = |j| wasserstein(&column(a, j), &column(b, j));
                mean(&(0..width).map(of).collect::<Vec<_>>())
            }
        }
    }

    /// Standard deviation of the distance when both samples are drawn anew from themselves, with
    /// replacement (bootstrap, Efron 1979).
    pub fn error(&self, a: &[Row], b: &[Row], seed: u64) -> f64 {
        let resampled = |rows: &[Row], id: usize| -> Vec<Row> {
            let mut rng = Philox::new(seed ^ BOOTSTRAP_KEY, id as u64, Stream::Training);
            let pick = |_| rows[rng.below(rows.len() as u32) as usize].clone();
            (0..rows.len()).map(pick).collect()
        };
        if a.is_empty() || b.is_empty() {
            return f64::NAN;
        }
        let repeat = |i| self.distance(&resampled(a, 2 * i), &resampled(b, 2 * i + 1));
        deviation(&(0..RESAMPLINGS).map(repeat).collect::<Vec<_>>())
    }

    /// The distance that chance leaves between galaxies and others like each of them: that of `a` and `b` after the members
    /// of every pair were swapped with odds of one half, on the average (a permutation test of pairs, Good 2005). What is alike
    /// in both of a pair is alike in both samples, so it is smaller than [`Metric::floor`].
    pub fn swapped(&self, a: &[Row], b: &[Row], seed: u64) -> f64 {
        if a.is_empty() {
            return f64::NAN;
        }
        let repeat = |i| {
            let mut rng = Philox::new(seed ^ SWAPS_KEY, i as u64, Stream::Training);
            let swap = |(a, b): (&Row, &Row)| match rng.below(2) {
                0 => (a.clone(), b.clone()),
                _ => (b.clone(), a.clone()),
            };
            let (a, b): (Vec<Row>, Vec<Row>) = a.iter().zip(b).map(swap).unzip();
            self.distance(&a, &b)
        };
        mean(&(0..HALVES).map(repeat).collect::<Vec<_>>())
    }

    /// The distance that two samples of sizes `sizes` from the population of `rows` have by chance.
    ///
    /// Two halves of n rows, split at random without replacement, are independent samples of n/2 each. A
    /// Wasserstein distance in one dimension (and so its mean over columns or projections) that is due to
    /// chance falls as sqrt(1/n1 + 1/n2), so the distance of the halves times
    /// sqrt((1/n1 + 1/n2) / (4/n)) is that of the sizes asked for.
    pub fn floor(&self, rows: &[Row], sizes: [usize; 2], seed: u64) -> Floor {
        let n = rows.len();
        if n < 4 || sizes.contains(&0) {
            let nan = f64::NAN;
            return Floor {
                mean: nan,
                range: [nan; 2],
            };
        }
        let scale = ((1.0 / sizes[0] as f64 + 1.0 / sizes[1] as f64) * n as f64 / 4.0).sqrt();
        let repeat = |i| {
            let [a, b] = halves(n, seed, i)
                .map(|half| half.iter().map(|&p| rows[p].clone()).collect::<Vec<Row>>());
            scale * self.distance(&a, &b)
        };
        let distances: Vec<f64> = (0..HALVES).map(repeat).collect();
        Floor {
            mean: mean(&distances),
            range: [quantile(&distances, 0.16), quantile(&distances, 0.84)],
        }
    }
}

/// Distance by chance.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Mean over the random halves.
    pub mean: f64,
    /// Its 16 and 84 % quantiles.
    pub range: [f64; 2],
}

/// Positions 0..n split at random into two halves of n / 2 (rounded down); split number `repeat`.
pub fn halves(n: usize, seed: u64, repeat: usize) -> [Vec<usize>; 2] {
    let mut rng = Philox::new(seed ^ HALVES_KEY, repeat as u64, Stream::Training);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.below(i as u32 + 1) as usize);
    }
    let half = n / 2;
    [order[..half].to_vec(), order[half..2 * half].to_vec()]
}

/// Keys that keep the random numbers of different uses apart.
const BOOTSTRAP_KEY: u64 = 0x626f_6f74_0000_0000;
const HALVES_KEY: u64 = 0x6861_6c66_0000_0000;
const SWAPS_KEY: u64 = 0x7377_6170_0000_0000;

#[cfg(test)]
mod tests {
    use super::super::joint::directions;
    use super::*;

    fn sample(n: usize, width: usize, id: u64) -> Vec<Row> {
        let mut rng = Philox::new(17, id, Stream::Training);
        let mut row = || (0..width).map(|_| rng.normal()).collect();
        (0..n).map(|_| row()).collect()
    }

    /// Pairs that share a part: the distance of swapped ones is that of both samples, and below the floor the more they share.
    #[test]
    fn swapped_pairs_are_as_far_apart_as_pairs() {
        const REPEATS: u64 = 25;
        for shared in [0.0, 1.0, 3.0] {
            let ratio = |i: u64| {
                let [common, a, b] = [0, 1, 2].map(|k| sample(160, 1, 3 * i + k));
                let with = |own: &[Row]| -> Vec<Row> {
                    let both = common.iter().zip(own);
                    both.map(|(c, o)| vec![shared * c[0] + o[0]]).collect()
                };
                let (a, b) = (with(&a), with(&b));
                let swapped = Metric::Columns.swapped(&a, &b, i);
                let floor = Metric::Columns.floor(&a, [160, 160], i).mean;
                (Metric::Columns.distance(&a, &b) / swapped, swapped / floor)
            };
            let ratios: Vec<_> = (0..REPEATS).map(ratio).collect();
            let found = mean(&ratios.iter().map(|r| r.0).collect::<Vec<_>>());
            assert!((found - 1.0).abs() < 0.24, "{shared}: {found}");
            let below = mean(&ratios.iter().map(|r| r.1).collect::<Vec<_>>());
            // Of pairs of normal numbers with this correlation, acos(rho) / pi lie on both sides of the median, against 1/2
            // of independent ones.
            let rho = shared * shared / (1.0 + shared * shared);
            let expected = (2.0 * rho.acos() / std::f64::consts::PI).sqrt();
            assert!((below - expected).abs() < 0.15, "{shared}: {below}");
        }
    }

    /// Two samples of one population, of equal or of other sizes than the halves: their distance is the
    /// floor's on the average.
    #[test]
    fn the_floor_is_calibrated() {
        let metrics = [
            (1, Metric::Columns, [160, 160]),
            (5, Metric::Columns, [160, 60]),
            (4, Metric::Sliced(directions(4, 16, 1)), [160, 160]),
        ];
        const REPEATS: u64 = 25;
        for (width, metric, [n, m]) in metrics {
            let ratio = |i: u64| {
                let (a, b) = (sample(n, width, 2 * i), sample(m, width, 2 * i + 1));
                metric.distance(&a, &b) / metric.floor(&a, [n, m], i).mean
            };
            let ratios: Vec<f64> = (0..REPEATS).map(ratio).collect();
            // The mean of 25 ratios, each uncertain by up to 40 %, within three of its errors.
            let found = mean(&ratios);
            assert!((found - 1.0).abs() < 0.24, "{width} columns: {found}");
        }
    }

    #[test]
    fn the_error_bar_is_the_scatter_of_repeated_samples() {
        let metric = Metric::Columns;
        // Far apart, so that the distance is the difference of the means, with error sqrt(2 / n).
        let shifted = |id| -> Vec<Row> {
            sample(200, 1, id)
                .iter()
                .map(|r| vec![r[0] + 5.0])
                .collect()
        };
        let error = metric.error(&sample(200, 1, 1), &shifted(2), 9);
        assert!((error - 0.1).abs() < 0.015, "{error}");
    }

    #[test]
    fn halves_are_disjoint_and_use_every_row() {
        let [a, b] = halves(11, 1, 0);
        assert_eq!((a.len(), b.len()), (5, 5));
        let mut all = [a, b].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
        assert_ne!(halves(11, 1, 0), halves(11, 1, 1));
    }
}
