//! Gaussian noise with a given autocorrelation.

use galgen_core::rng::Philox;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

/// Unit-variance Gaussian noise on a square of `side` pixels, with the autocorrelation `acf` (odd side, 1 in the
/// middle, point-symmetric, zero beyond; `[1]` for white noise). // (side, side)
///
/// On a torus so large that the autocorrelation does not meet itself, every Fourier mode is an
/// independent number with the power spectrum P as its variance: the noise is the real part of
/// sum_k sqrt(P_k) (a_k + i b_k) exp(ikx) / m. Negative powers, which a measured autocorrelation may have, count as
/// 0, and the variance is brought back to 1.
pub fn correlated(side: usize, acf: &[f32], rng: &mut Philox) -> Vec<f64> {
    if acf.iter().filter(|v| **v != 0.0).count() <= 1 {
        return (0..side * side).map(|_| rng.normal()).collect();
    }
    let q = acf.len().isqrt();
    let m = side + q - 1;
    let fft = FftPlanner::new().plan_fft_forward(m);
    let mut power = vec![Complex::default(); m * m];
    for (k, &value) in acf.iter().enumerate() {
        let wrapped = |i: usize| (i + m - q / 2) % m;
        power[wrapped(k / q) * m + wrapped(k % q)].re = f64::from(value);
    }
    transform(&mut power, m, &*fft);
    let total: f64 = power.iter().map(|p| p.re.max(0.0)).sum();
    let mode = |p: Complex<f64>| {
        let size = (p.re.max(0.0) / total).sqrt();
        Complex::new(size * rng.normal(), size * rng.normal())
    };
    let mut modes: Vec<Complex<f64>> = power.into_iter().map(mode).collect();
    transform(&mut modes, m, &*fft);
    let pixels = (0..side * side).map(|k| modes[k / side * m + k % side].re);
    pixels.collect()
}

/// The two-dimensional Fourier transform in place; rows and columns change places.
fn transform(values: &mut Vec<Complex<f64>>, side: usize, fft: &dyn Fft<f64>) {
    fft.process(values);
    *values = (0..side * side)
        .map(|k| values[k % side * side + k / side])
        .collect();
    fft.process(values);
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::Stream;

    /// Autocorrelation of white noise smoothed by a Gaussian that is longer along one diagonal.
    fn acf() -> Vec<f32> {
        let value =
            |dx: f64, dy: f64| (-(dx + 0.5 * dy).powi(2) / 8.0 - (dx - dy).powi(2) / 3.0).exp();
        (0..81)
            .map(|k| value((k % 9) as f64 - 4.0, (k / 9) as f64 - 4.0) as f32)
            .collect()
    }

    #[test]
    fn noise_has_the_autocorrelation_asked_for() {
        let (side, acf) = (24, acf());
        let mut found = [0.0; 81];
        const REPEATS: u64 = 60;
        for id in 0..REPEATS {
            let mut rng = Philox::new(1, id, Stream::Noise);
            let noise = correlated(side, &acf, &mut rng);
            for (k, sum) in found.iter_mut().enumerate() {
                let (dx, dy) = (k % 9, k / 9);
                let pairs = (0..16).flat_map(|y| (0..16).map(move |x| (x, y)));
                let products = pairs
                    .map(|(x, y)| noise[(y + dy) * side + x + dx] * noise[(y + 4) * side + x + 4]);
                *sum += products.sum::<f64>() / 256.0 / REPEATS as f64;
            }
        }
        // 15,360 products, correlated over some ten pixels: an error of about 0.03.
        for (found, expected) in found.iter().zip(&acf) {
            let error = found - f64::from(*expected);
            assert!(error.abs() < 0.09, "{found} {expected}");
        }
    }

    #[test]
    fn without_correlation_the_noise_is_white() {
        let rng = || Philox::new(1, 2, Stream::Noise);
        let white = correlated(64, &[1.0], &mut rng());
        let mut delta = vec![0.0; 25];
        delta[12] = 1.0;
        assert_eq!(white, correlated(64, &delta, &mut rng()));
        let variance = white.iter().map(|v| v * v).sum::<f64>() / 4096.0;
        let neighbours = white.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / 4095.0;
        assert!((variance - 1.0).abs() < 0.07 && neighbours.abs() < 0.05);
    }
}
