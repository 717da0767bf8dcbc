//! The azimuthally averaged power spectrum of a stamp.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Power |F(k)|^2 / n^2, averaged over rings of wave number, of a `[side, side]` image: ring j holds the
/// waves of j - 1/2 to j + 1/2 periods a stamp, for j from 0 to side / 2 (Nyquist).
///
/// White noise of standard deviation sigma a pixel has sigma^2 in every ring on average, and the sum over
/// all waves is the sum of squares of the image (Parseval). Ring 0 is (sum of the image)^2 / n^2 alone.
/// The stamp is taken as periodic; one that a window brings to 0 at its border has no jumps there.
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn power_spectrum(image: &[f32], side: usize) -> Vec<f64> {
    assert_eq!(
        image.len(),
        side * side,
        "image of {} pixels is not {side} x {side}",
        image.len()
    );
    let rings = side / 2 + 1;
    let mut power = vec![(0.0, 0usize); rings];
    for (k, value) in transform(image, side).into_iter().enumerate() {
        let wave = |c: usize| c.min(side - c) as f64;
        // Spectra are transposed, which rings do not see.
        let ring = wave(k % side).hypot(wave(k / side)).round() as usize;
        if let Some((sum, count)) = power.get_mut(ring) {
            *sum += value.norm_sqr();
            *count += 1;
        }
    }
    let pixels = (side * side) as f64;
    let mean = |(sum, count): (f64, usize)| sum / (pixels * count as f64);
    power.into_iter().map(mean).collect()
}

/// The two-dimensional Fourier transform, columns first.
fn transform(image: &[f32], side: usize) -> Vec<Complex<f64>> {
    let fft = FftPlanner::new().plan_fft_forward(side);
    let mut lines: Vec<_> = image.iter().map(|&v| Complex::from(f64::from(v))).collect();
    fft.process(&mut lines);
    let mut columns: Vec<_> = (0..side * side)
        .map(|k| lines[(k % side) * side + k / side])
        .collect();
    fft.process(&mut columns);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    #[test]
    fn white_noise_is_flat_and_parseval_holds() {
        let (side, sigma) = (48, 0.7);
        let mut rng = Philox::new(5, 1, Stream::Noise);
        let image: Vec<f32> = (0..side * side)
            .map(|_| (sigma * rng.normal()) as f32)
            .collect();
        for (j, power) in power_spectrum(&image, side).into_iter().enumerate() {
            // A ring of m waves, of which half are mirror images, scatters by sqrt(2 / m) of its mean.
            let waves = (2.0 * std::f64::consts::PI * j as f64).max(1.0);
            let error = power / (sigma * sigma) - 1.0;
            assert!(error.abs() < 4.0 * (2.0 / waves).sqrt(), "{j}: {error}");
        }
        let squares: f64 = image.iter().map(|&v| f64::from(v).powi(2)).sum();
        let waves: f64 = transform(&image, side).iter().map(|v| v.norm_sqr()).sum();
        assert!((waves / (side * side) as f64 / squares - 1.0).abs() < 1e-12);
    }

    /// A cosine of m periods and amplitude a has its power, a^2 n^2 / 4 at two waves, in ring m.
    #[test]
    fn a_wave_is_in_its_ring() {
        let (side, m) = (64, 9);
        let turn = std::f64::consts::TAU * m as f64 / side as f64;
        let image: Vec<f32> = (0..side * side)
            .map(|k| (1.5 * (turn * (k % side) as f64).cos()) as f32)
            .collect();
        let power = power_spectrum(&image, side);
        let rest: f64 = power.iter().sum::<f64>() - power[m];
        assert!(power[m] > 1e10 * rest, "{power:?}");
    }

    /// Of a Gaussian of standard deviation s: (2 pi s^2)^2 exp(-(2 pi s k / n)^2) / n^2.
    #[test]
    fn the_spectrum_of_a_gaussian_is_a_gaussian() {
        let (side, s) = (64usize, 3.0);
        let image: Vec<f32> = (0..side * side)
            .map(|k| {
                let (dx, dy) = ((k % side) as f64 - 31.5, (k / side) as f64 - 31.5);
                (-0.5 * (dx * dx + dy * dy) / (s * s)).exp() as f32
            })
            .collect();
        let power = power_spectrum(&image, side);
        let n = side as f64;
        let total = std::f64::consts::TAU * s * s;
        assert!((power[0] / (total * total / (n * n)) - 1.0).abs() < 1e-6);
        for (j, &power) in power.iter().enumerate().take(7).skip(1) {
            let at =
                |k: f64| (total / n).powi(2) * (-(std::f64::consts::TAU * s * k / n).powi(2)).exp();
            assert!(power < at(j as f64 - 0.5) && power > at(j as f64 + 0.5));
        }
    }
}
