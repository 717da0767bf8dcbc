//! Comparison of two samples of points in many dimensions.

use galgen_core::rng::{Philox, Stream};
use galgen_io::samples::wasserstein;

/// Mean Wasserstein distance of the projections of `a` and `b` on random directions (Rabin et al. 2011), in
/// the unit of the points. With the same `directions` it is a distance. NaN if a sample is empty.
pub fn sliced_wasserstein(a: &[Vec<f64>], b: &[Vec<f64>], directions: &[Vec<f64>]) -> f64 {
    let project = |points: &[Vec<f64>], direction: &[f64]| -> Vec<f64> {
        let dot = |p: &Vec<f64>| p.iter().zip(direction).map(|(x, d)| x * d).sum();
        points.iter().map(dot).collect()
    };
    let sum: f64 = directions
        .iter()
        .map(|d| wasserstein(&project(a, d), &project(b, d)))
        .sum();
    sum / directions.len() as f64
}

/// `count` unit vectors, uniform on the sphere of `dimension` dimensions.
pub fn directions(dimension: usize, count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut rng = Philox::new(seed, dimension as u64, Stream::Training);
    (0..count)
        .map(|_| {
            let v: Vec<f64> = (0..dimension).map(|_| rng.normal()).collect();
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter().map(|x| x / length).collect()
        })
        .collect()
}

/// How two samples overlap, judged by balls around each point that reach to its k-th nearest neighbour of
/// the same sample (boundary excluded).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// Share of generated points inside a ball of a real one (Kynkaanniemi et al. 2019).
    pub precision: f64,
    /// Share of real points inside a ball of a generated one (Kynkaanniemi et al. 2019).
    pub recall: f64,
    /// Mean number of real balls that a generated point is in, over k; 1 expected for equal
    /// distributions (Naeem et al. 2020).
    pub density: f64,
    /// Share of real points with a generated one in their ball; 1 - 2^-k expected for equal distributions
    /// and sizes (Naeem et al. 2020).
    pub coverage: f64,
}

/// Overlap of `drawn` with `real`; `None` unless both have more than `k` points.
pub fn overlap(real: &[Vec<f64>], drawn: &[Vec<f64>], k: usize) -> Option<Overlap> {
    if real.len() <= k || drawn.len() <= k || k == 0 {
        return None;
    }
    let (real_radii, drawn_radii) = (radii(real, k), radii(drawn, k));
    let mut inside = vec![0usize; drawn.len()];
    let (mut recalled, mut covered) = (0, 0);
    for (point, radius) in real.iter().zip(&real_radii) {
        let (mut in_drawn, mut near) = (false, false);
        for ((other, other_radius), count) in drawn.iter().zip(&drawn_radii).zip(&mut inside) {
            let d = squared(point, other);
            *count += usize::from(d < *radius);
            near |= d < *radius;
            in_drawn |= d < *other_radius;
        }
        recalled += usize::from(in_drawn);
        covered += usize::from(near);
    }
    let share = |count: usize, of: usize| count as f64 / of as f64;
    Some(Overlap {
        precision: share(inside.iter().filter(|c| **c > 0).count(), drawn.len()),
        recall: share(recalled, real.len()),
        density: share(inside.iter().sum(), drawn.len() * k),
        coverage: share(covered, real.len()),
    })
}

/// Squared distance of every point to its k-th nearest neighbour.
fn radii(points: &[Vec<f64>], k: usize) -> Vec<f64> {
    points
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let others = points.iter().enumerate().filter(|(j, _)| *j != i);
            let mut distances: Vec<f64> = others.map(|(_, q)| squared(p, q)).collect();
            *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
        })
        .collect()
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(n: usize, dimension: usize, id: u64) -> Vec<Vec<f64>> {
        let mut rng = Philox::new(11, id, Stream::Training);
        let mut point = || (0..dimension).map(|_| rng.normal()).collect();
        (0..n).map(|_| point()).collect()
    }

    #[test]
    fn a_shift_is_seen_by_its_projections() {
        let a = cloud(100, 3, 1);
        let b: Vec<Vec<f64>> = a.iter().map(|p| vec![p[0] + 2.0, p[1], p[2]]).collect();
        let directions = directions(3, 64, 5);
        let expected = directions.iter().map(|d| 2.0 * d[0].abs()).sum::<f64>() / 64.0;
        assert!((sliced_wasserstein(&a, &b, &directions) - expected).abs() < 1e-12);
        // The mean of |cos| over the sphere is 1/2 in three dimensions.
        assert!((expected - 1.0).abs() < 0.15, "{expected}");
    }

    /// On a line, k = 1. Radii of the real points 0, 1, 4, 5.5: 1, 1, 1.5, 1.5; of the drawn 0.5, 1.5,
    /// 20: 1, 1, 18.5. Drawn 0.5 is in the balls of 0 and 1, 1.5 in that of 1, 20 in none. Real 0, 1, 4, 5.5
    /// are in the balls of 0.5; 0.5 and 1.5; 20; 20. The balls of 0 and 1 hold a drawn point.
    #[test]
    fn a_small_case_by_hand() {
        let line = |v: &[f64]| v.iter().map(|&x| vec![x]).collect::<Vec<_>>();
        let found = overlap(&line(&[0.0, 1.0, 4.0, 5.5]), &line(&[0.5, 1.5, 20.0]), 1).unwrap();
        let expected = Overlap {
            precision: 2.0 / 3.0,
            recall: 1.0,
            density: 1.0,
            coverage: 0.5,
        };
        assert_eq!(found, expected);
        assert_eq!(
            overlap(&line(&[0.0, 1.0]), &line(&[0.5, 1.5, 20.0]), 2),
            None
        );
    }

    #[test]
    fn equal_distributions_have_the_overlap_that_theory_expects() {
        let found = overlap(&cloud(600, 6, 1), &cloud(600, 6, 2), 5).unwrap();
        assert!((found.density - 1.0).abs() < 0.1, "{found:?}");
        assert!(
            (found.coverage - (1.0 - 0.5f64.powi(5))).abs() < 0.03,
            "{found:?}"
        );
        // Collapse to one place: precise, but nothing is recalled.
        let collapsed: Vec<Vec<f64>> = cloud(600, 6, 3)
            .iter()
            .map(|p| p.iter().map(|x| 0.05 * x).collect())
            .collect();
        let found = overlap(&cloud(600, 6, 1), &collapsed, 5).unwrap();
        assert!(
            found.precision > 0.9 && found.recall < 0.05 && found.coverage < 0.2,
            "{found:?}"
        );
    }
}
