//! Poisson deviates.

use galgen_core::rng::Philox;

/// Mean from which the transformed rejection method is valid and faster.
const INVERSION_BELOW: f64 = 10.0;
/// Mean beyond which the distribution is a Gaussian to 3e-6 (its skewness is `mean^-1/2`), and
/// `k ln(mean) - mean - ln k!` would lose the digits that decide.
const NORMAL_ABOVE: f64 = 1e11;

/// Draws from the Poisson distribution of the given mean, which is finite; a mean that is not above 0
/// gives 0.
///
/// By inversion below 10, transformed rejection (PTRS, Hormann 1993, Insurance: Mathematics and
/// Economics 12, 39) to 1e11, and a rounded normal deviate beyond. Takes a varying number of random
/// numbers from `rng`.
pub fn poisson(mean: f64, rng: &mut Philox) -> f64 {
    if mean > NORMAL_ABOVE {
        libm::round(mean + libm::sqrt(mean) * rng.normal()).max(0.0)
    } else if mean >= INVERSION_BELOW {
        transformed_rejection(mean, rng)
    } else if mean > 0.0 {
        inversion(mean, rng)
    } else {
        0.0
    }
}

/// Walks up the distribution until it passes a uniform number.
fn inversion(mean: f64, rng: &mut Philox) -> f64 {
    let mut rest = rng.uniform();
    let (mut k, mut probability) = (0.0, libm::exp(-mean));
    while rest > probability {
        rest -= probability;
        k += 1.0;
        probability *= mean / k;
        if probability == 0.0 {
            break;
        }
    }
    k
}

/// Ratio of uniforms under a transformed, table-mountain hat.
fn transformed_rejection(mean: f64, rng: &mut Philox) -> f64 {
    let b = 0.931 + 2.53 * libm::sqrt(mean);
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    let log_mean = libm::log(mean);
    loop {
        let u = rng.uniform() - 0.5;
        let v = rng.uniform();
        let us = 0.5 - libm::fabs(u);
        let k = libm::floor((2.0 * a / us + b) * u + mean + 0.43);
        if us >= 0.07 && v <= squeeze {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let hat = libm::log(v * inverse_alpha / (a / (us * us) + b));
        if hat <= k * log_mean - mean - libm::lgamma(k + 1.0) {
            return k;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use galgen_core::rng::Stream;

    #[test]
    fn draws_follow_the_distribution_function() {
        const DRAWS: usize = 40_000;
        for (id, mean) in [0.05, 0.7, 3.0, 9.99, 10.0, 17.3, 80.0, 1234.5]
            .into_iter()
            .enumerate()
        {
            let mut rng = Philox::new(5, id as u64, Stream::Noise);
            let most = (mean + 12.0 * libm::sqrt(mean) + 12.0) as usize;
            let mut counts = vec![0usize; most];
            for _ in 0..DRAWS {
                counts[poisson(mean, &mut rng) as usize] += 1;
            }
            let (mut cdf, mut drawn, mut farthest) = (0.0, 0, 0.0f64);
            for (k, &count) in counts.iter().enumerate() {
                let k = k as f64;
                cdf += libm::exp(k * libm::log(mean) - mean - libm::lgamma(k + 1.0));
                drawn += count;
                farthest = farthest.max(libm::fabs(cdf - drawn as f64 / DRAWS as f64));
            }
            // Kolmogorov-Smirnov, exceeded by a right sampler with probability 1e-3 at most.
            assert!(
                farthest < 1.95 / libm::sqrt(DRAWS as f64),
                "mean {mean}: distance {farthest}"
            );
        }
    }

    #[test]
    fn moments_are_those_of_the_mean_at_every_scale() {
        const DRAWS: usize = 20_000;
        for (id, mean) in [1e-3, 9.0, 1e3, 1e6, 1e9, 9e10, 2e11, 1e15]
            .into_iter()
            .enumerate()
        {
            let mut rng = Philox::new(6, id as u64, Stream::Noise);
            let (mut first, mut second) = (0.0, 0.0);
            for _ in 0..DRAWS {
                let deviation = poisson(mean, &mut rng) - mean;
                first += deviation;
                second += deviation * deviation;
            }
            let n = DRAWS as f64;
            let variance = second / n;
            // Standard errors of the mean and of the variance of n draws; 4 of them.
            assert!(
                libm::fabs(first / n) < 4.0 * libm::sqrt(mean / n),
                "mean {mean}"
            );
            let error = mean * libm::sqrt((2.0 + 1.0 / mean) / n);
            assert!(
                libm::fabs(variance - mean) < 4.0 * error,
                "mean {mean}: variance {variance}"
            );
        }
    }

    #[test]
    fn no_light_gives_no_photons() {
        let mut rng = Philox::new(0, 0, Stream::Noise);
        assert_eq!(poisson(0.0, &mut rng), 0.0);
        assert_eq!(poisson(-1.0, &mut rng), 0.0);
    }
}
