//! The distributions of a pixel: they add up to 1, and draws and means follow them.

use super::HEADS;
use galgen_core::models::Head;
use galgen_core::rng::{Philox, Stream};

/// Parameters of order one; some seeds have extreme ones.
fn parameters(head: Head, seed: u64) -> Vec<f64> {
    let mut rng = Philox::new(seed, 3, Stream::Training);
    let scale = if seed.is_multiple_of(3) { 8.0 } else { 1.0 };
    (0..head.parameters())
        .map(|_| scale * rng.normal())
        .collect()
}

fn probability(head: Head, p: &[f64], k: usize) -> f64 {
    head.log_prob(p, f64::from(head.pixel(k))).exp()
}

/// A compensated sum (Neumaier 1974): adding hundreds of equal numbers to 0.5 rounds hundreds of times to the same side.
fn total(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0);
    for v in values {
        let next = sum + v;
        lost += if sum.abs() >= v.abs() {
            (sum - next) + v
        } else {
            (v - next) + sum
        };
        sum = next;
    }
    sum + lost
}

/// Each ln p carries a few roundings of numbers of order ten.
#[test]
fn levels_sum_to_one() {
    let logistic = |components, levels| Head::DiscretisedLogistic { components, levels };
    let discrete = HEADS.iter().copied().filter(|h| h.levels().is_some());
    for head in discrete.chain([logistic(1, 256), logistic(10, 256), logistic(1, 2)]) {
        let levels = head.levels().unwrap();
        for seed in 0..60 {
            let p = parameters(head, seed);
            let sum = total((0..levels).map(|k| probability(head, &p, k)));
            assert!(
                (sum - 1.0).abs() < 3e-15,
                "{head:?}, seed {seed}: {:e}",
                sum - 1.0
            );
        }
    }
}

/// One logistic of 256 levels, over scales from far below a bin to far above the range.
#[test]
fn bins_of_a_logistic_sum_to_one() {
    let head = Head::DiscretisedLogistic {
        components: 1,
        levels: 256,
    };
    for log_scale in [-7.0, -6.0, -4.0, -2.0, 0.0, 3.0, 8.0] {
        for mean in [-3.0, -1.0, -0.3, 0.0, 0.501, 0.9999, 2.0] {
            let p = [0.3, mean, log_scale];
            let sum = total((0..256).map(|k| probability(head, &p, k)));
            assert!(
                (sum - 1.0).abs() < 3e-15,
                "{log_scale} {mean}: {:e}",
                sum - 1.0
            );
        }
    }
    // Far from the mean: the ratio of neighbours is exp(-2 h / s), where a difference of sigmoids has nothing left.
    let p = [0.0, -1.0, -5.0];
    let log = |k| head.log_prob(&p, f64::from(head.pixel(k)));
    let ratio = log(200) - log(201);
    let expected = 2.0 / 255.0 / (-5f64).exp();
    assert!((ratio - expected).abs() < 1e-10, "{ratio} {expected}");
}

/// Midpoint rule with steps far below the narrowest component.
#[test]
fn densities_integrate_to_one() {
    for head in [Head::Gaussian, Head::GaussianMixture { components: 3 }] {
        for seed in [1, 2, 4, 5, 7] {
            let p = parameters(head, seed);
            let (low, high, n) = (-40.0, 40.0, 400_000);
            let step = (high - low) / n as f64;
            let at = |i: usize| low + (i as f64 + 0.5) * step;
            let sum: f64 = (0..n).map(|i| head.log_prob(&p, at(i)).exp()).sum();
            assert!(
                (sum * step - 1.0).abs() < 1e-9,
                "{head:?} {seed}: {}",
                sum * step
            );
        }
    }
}

/// Chi-square of drawn levels, Kolmogorov-Smirnov of drawn values, and the means of both.
#[test]
fn draws_and_means_follow_the_distribution() {
    const DRAWS: usize = 20_000;
    for head in HEADS {
        let p = parameters(head, 4);
        let mut rng = Philox::new(5, 0, Stream::Pixel);
        let mut drawn: Vec<f64> = (0..DRAWS)
            .map(|i| {
                rng.skip_to(2 * i as u32);
                f64::from(head.draw(&p, &mut rng))
            })
            .collect();
        let n = DRAWS as f64;
        let mean = drawn.iter().sum::<f64>() / n;
        let variance = drawn.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let error = (variance / n).sqrt();
        assert!(
            (mean - head.mean(&p)).abs() < 5.0 * error,
            "{head:?}: {mean} {}",
            head.mean(&p)
        );
        if let Some(levels) = head.levels() {
            let exact: f64 = (0..levels)
                .map(|k| f64::from(head.pixel(k)) * probability(head, &p, k))
                .sum();
            assert!((head.mean(&p) - exact).abs() < 1e-7, "{head:?}");
            let mut chi2 = 0.0;
            for k in 0..levels {
                let expected = n * probability(head, &p, k);
                let found = drawn.iter().filter(|&&v| head.level(v) == Some(k)).count() as f64;
                chi2 += (found - expected).powi(2) / expected.max(1e-9);
            }
            // Mean levels - 1, five standard deviations above it.
            let freedom = (levels - 1) as f64;
            assert!(
                chi2 < freedom + 5.0 * (2.0 * freedom).sqrt(),
                "{head:?}: {chi2}"
            );
            continue;
        }
        drawn.sort_by(f64::total_cmp);
        let (low, steps) = (drawn[0] - 2.0, 200_000);
        let step = (drawn[DRAWS - 1] + 2.0 - low) / steps as f64;
        let (mut cdf, mut next, mut distance) = (0.0, 0, 0.0f64);
        for i in 0..steps {
            let x = low + (i as f64 + 0.5) * step;
            cdf += head.log_prob(&p, x).exp() * step;
            while next < DRAWS && drawn[next] <= x + 0.5 * step {
                next += 1;
            }
            distance = distance.max((cdf - next as f64 / n).abs());
        }
        // A right sampler exceeds it once in a thousand seeds.
        assert!(distance < 1.95 / n.sqrt(), "{head:?}: {distance}");
    }
}

#[test]
fn natural_parameters_are_those_of_the_distribution() {
    let logistic = Head::DiscretisedLogistic {
        components: 2,
        levels: 256,
    };
    let mut p = [0.0, 3f64.ln(), -1.0, 0.5, -9.0, 0.0];
    logistic.natural(&mut p);
    let expected = [0.25, 0.75, 0.0, 0.75, 0.5 * (-7f64).exp(), 0.5];
    assert!(
        p.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15),
        "{p:?}"
    );
    let mut p = [0.2, 0.0];
    Head::Gaussian.natural(&mut p);
    assert!((p[1] - (2f64.ln() + 1e-4)).abs() < 1e-15 && p[0] == 0.2);
    let mut p = [3f64.ln()];
    Head::Bernoulli.natural(&mut p);
    assert!((p[0] - 0.75).abs() < 1e-15);
}

/// Neither parameters without meaning nor pixels that are no level make a number of nothing.
#[test]
fn what_has_no_probability_has_minus_infinity() {
    for head in HEADS {
        let p = parameters(head, 1);
        let mut bad = p.clone();
        bad[0] = f64::NAN;
        assert_eq!(head.log_prob(&bad, 1.0), f64::NEG_INFINITY);
        assert_eq!(head.log_prob(&p, f64::NAN), f64::NEG_INFINITY);
        if head.levels().is_some() {
            assert_eq!(head.log_prob(&p, 0.03), f64::NEG_INFINITY);
            assert_eq!(head.log_prob(&p, 1.5), f64::NEG_INFINITY);
        }
    }
}
