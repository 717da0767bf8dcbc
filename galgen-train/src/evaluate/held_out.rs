//! A held-out galaxy, and making any intrinsic image look as if it had been observed like it.

use super::fill::fill;
use super::noise::correlated;
use crate::data::galaxy::SMOOTHING;
use crate::data::light_noise::LightNoise;
use crate::data::plane::Plane;
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::window;

/// What one held-out galaxy was observed with, and its stamp.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut<'a> {
    /// Stable identity.
    pub id: u64,
    /// Observed light, windowed, sum 1. // (side, side)
    pub stamp: &'a [f32],
    /// 1 where the light was observed. // (side, side)
    pub observed: &'a [u8],
    /// Standard deviation of the sky in a pixel, in units of the stamp's sum.
    pub sky: f64,
    /// What lies between the intrinsic light and the pixels, centre in the middle, odd side; `[1]` for nothing. // (p, p)
    pub psf: &'a [f32],
    /// Autocorrelation of the sky noise, 1 in the middle, odd side; `[1]` for white noise. // (q, q)
    pub noise_acf: &'a [f32],
    /// Variance of each pixel in units of the sky's; `None` for the sky's alone. // (side, side)
    pub variance: Option<&'a [f32]>,
    /// Physical conditions.
    pub conditions: &'a [f32],
}

/// Where the random numbers of the noise come from: drawn galaxies and Sersic galaxies have noise of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseOf {
    /// Drawn by the model.
    Drawn,
    /// Best-fit Sersic galaxies.
    Sersic,
}

impl HeldOut<'_> {
    /// Side of the stamp in pixels.
    pub fn side(&self) -> usize {
        self.stamp.len().isqrt()
    }

    /// The real stamp as it is measured: masked pixels filled by [`fill`].
    pub fn as_measured(&self) -> Vec<f32> {
        fill(self.stamp, self.observed, self.side())
    }

    /// Inverse variance of each pixel, 0 where it was not observed or the window falls.
    pub fn weights(&self) -> Vec<f32> {
        let window = window(self.side());
        let weight = |k: usize| {
            let relative = self.variance.map_or(1.0, |v| f64::from(v[k]));
            let used = self.observed[k] != 0 && window[k] == 1.0;
            if used {
                (1.0 / (self.sky.powi(2) * relative)) as f32
            } else {
                0.0
            }
        };
        (0..self.stamp.len()).map(weight).collect()
    }

    /// Windowed intrinsic light through this galaxy's PSF; what leaves the stamp's circle is cut off.
    pub fn blurred(&self, intrinsic: &[f32]) -> Vec<f32> {
        let side = self.side();
        let mut image = convolved(intrinsic, side, self.psf);
        for (pixel, window) in image.iter_mut().zip(window(side)) {
            *pixel = if window > 0.0 { *pixel } else { 0.0 };
        }
        image
    }

    /// Light that has passed the PSF and the window, with this galaxy's noise under the window, its masked
    /// pixels filled by [`fill`].
    ///
    /// Noise of the light grows with the image's own light, as `variance` grows with the real stamp's.
    pub fn observed(&self, mut light: Vec<f32>, seed: u64, noise_of: NoiseOf) -> Vec<f32> {
        let side = self.side();
        let key = match noise_of {
            NoiseOf::Drawn => 0,
            NoiseOf::Sersic => SERSIC_KEY,
        };
        let mut rng = Philox::new(seed ^ key, self.id, Stream::Noise);
        let noise = correlated(side, self.noise_acf, &mut rng);
        let growth = self.light_noise();
        for ((pixel, window), noise) in light.iter_mut().zip(window(side)).zip(noise) {
            let variance = 1.0 + growth.variance(f64::from(*pixel));
            *pixel += (f64::from(window) * self.sky * variance.sqrt() * noise) as f32;
        }
        fill(&light, self.observed, side)
    }

    /// How `variance` grows with the light of the stamp, in units of the sky's variance.
    fn light_noise(&self) -> LightNoise {
        let Some(variance) = self.variance else {
            return LightNoise::default();
        };
        let side = self.side();
        let light = Plane {
            width: side,
            height: side,
            pixels: self.stamp.to_vec(),
        };
        let smooth = light.blurred(SMOOTHING).pixels;
        let points = (0..smooth.len())
            .filter(|k| self.observed[*k] != 0)
            .map(|k| (f64::from(smooth[k]), f64::from(variance[k]) - 1.0, 1.0));
        LightNoise::fitted(points).unwrap_or_default()
    }
}

/// Keeps the noise of Sersic galaxies apart from that of the drawn ones.
const SERSIC_KEY: u64 = 0x7365_7273_6963_0000;

/// Convolution of an image with a kernel of odd side, zero beyond the image's border; same size.
pub fn convolved(image: &[f32], side: usize, kernel: &[f32]) -> Vec<f32> {
    let width = kernel.len().isqrt();
    let reach = width / 2;
    let mut out = vec![0.0; image.len()];
    for (k, &weight) in kernel.iter().enumerate().filter(|(_, w)| **w != 0.0) {
        // Light at (x, y) goes to (x + dx - reach, y + dy - reach).
        let (dx, dy) = (k % width, k / width);
        let first = reach.saturating_sub(dx);
        let end = (side + reach - dx).min(side);
        for y in reach.saturating_sub(dy)..(side + reach - dy).min(side) {
            let to = (y + dy - reach) * side;
            let target = &mut out[to + first + dx - reach..to + end + dx - reach];
            for (t, v) in target
                .iter_mut()
                .zip(&image[y * side + first..y * side + end])
            {
                *t += weight * v;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolution_moves_light_by_the_kernel() {
        let side = 9;
        let mut image = vec![0.0; side * side];
        image[4 * side + 4] = 2.0;
        image[0] = 1.0;
        let mut kernel = vec![0.0; 25];
        kernel[2 * 5 + 2] = 0.75;
        kernel[3 * 5 + 4] = 0.25; // one up, two right
        let found = convolved(&image, side, &kernel);
        let mut expected = vec![0.0; side * side];
        expected[4 * side + 4] = 1.5;
        expected[5 * side + 6] = 0.5;
        expected[0] = 0.75;
        expected[side + 2] = 0.25;
        assert_eq!(found, expected);
        // Light beyond the border is lost, nothing wraps around.
        image[4 * side + 8] = 1.0;
        let sum: f32 = convolved(&image, side, &kernel).iter().sum();
        assert!((sum - 3.75).abs() < 1e-6);
    }

    #[test]
    fn noise_has_the_variance_asked_for() {
        let side = 64;
        let galaxy = |variance| HeldOut {
            id: 4,
            stamp: &[1.0 / 4096.0; 4096],
            observed: &[1; 4096],
            sky: 1e-3,
            psf: &[1.0],
            noise_acf: &[1.0],
            variance,
            conditions: &[],
        };
        let rms = |image: &[f32]| {
            // The flat part of the window.
            let inner: Vec<f64> = (20..44)
                .flat_map(|y| (20..44).map(move |x| y * side + x))
                .map(|k| f64::from(image[k]) - 1.0 / 4096.0)
                .collect();
            (inner.iter().map(|v| v * v).sum::<f64>() / inner.len() as f64).sqrt()
        };
        let light = vec![1.0 / 4096.0; 4096];
        // 576 pixels: the rms is known to 3 %.
        let seen = |variance, noise_of| galaxy(variance).observed(light.clone(), 1, noise_of);
        let sky = rms(&seen(None, NoiseOf::Drawn)) / 1e-3;
        let photons = rms(&seen(Some(&[4.0; 4096]), NoiseOf::Drawn)) / 1e-3;
        assert!(
            (sky - 1.0).abs() < 0.09 && (photons - 2.0).abs() < 0.18,
            "{sky} {photons}"
        );
        assert_eq!(seen(None, NoiseOf::Drawn), seen(None, NoiseOf::Drawn));
        assert_ne!(seen(None, NoiseOf::Drawn), seen(None, NoiseOf::Sersic));
        // Whitened, as a fit does: the window's flat part only.
        let weights = galaxy(Some(&[4.0; 4096])).weights();
        assert!(weights[32 * 64 + 32] == 2.5e5 && weights[32 * 64 + 62] == 0.0);
    }
}
