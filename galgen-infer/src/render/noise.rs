//! Photon and read-out noise of a rendered image.

use super::error::{RenderError, within};
use super::poisson::poisson;
use galgen_core::rng::{Philox, Stream};

/// Counting noise of the galaxy's light and the sky's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhotonNoise {
    /// Electrons per unit of flux, above 0.
    pub gain: f64,
    /// Sky in units of flux per pixel, at least 0.
    pub sky_level: f64,
}

/// What is added to an image: photon noise, then Gaussian noise of read-out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    gaussian_sigma: f64,
    photons: Option<PhotonNoise>,
}

/// Largest noise or sky level of a pixel; a noisy pixel then stays within f32.
const MAX_LEVEL: f64 = 1e30;

impl Noise {
    /// `gaussian_sigma` in units of flux per pixel; 0 and `None` add nothing.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] unless `gaussian_sigma` and `sky_level` are from 0 to 1e30,
    /// and `gain` is above 0 and at most that.
    pub fn new(gaussian_sigma: f64, photons: Option<PhotonNoise>) -> Result<Self, RenderError> {
        let least = "a number from 0 to 1e30";
        let usable = |v: f64| (0.0..=MAX_LEVEL).contains(&v);
        within(
            "noise sigma per pixel",
            gaussian_sigma,
            usable(gaussian_sigma),
            least,
        )?;
        if let Some(PhotonNoise { gain, sky_level }) = photons {
            let name = "gain in electrons per unit of flux";
            within(
                name,
                gain,
                gain > 0.0 && usable(gain),
                "a number above 0, to 1e30",
            )?;
            within("sky level per pixel", sky_level, usable(sky_level), least)?;
        }
        Ok(Self {
            gaussian_sigma,
            photons,
        })
    }

    /// Adds noise to an image in place, with random numbers of (`seed`, `id`) only, in pixel order.
    ///
    /// With photon noise a pixel `v` becomes `Poisson(gain (v + sky)) / gain - sky`: the sky's mean is
    /// subtracted, its noise stays. Then a Gaussian deviate is added. Pixels may become negative.
    pub fn add(&self, image: &mut [f32], seed: u64, id: u64) {
        let mut rng = Philox::new(seed, id, Stream::Noise);
        for pixel in image {
            let mut value = f64::from(*pixel);
            if let Some(PhotonNoise { gain, sky_level }) = self.photons {
                value = poisson(gain * (value + sky_level), &mut rng) / gain - sky_level;
            }
            if self.gaussian_sigma > 0.0 {
                value += self.gaussian_sigma * rng.normal();
            }
            *pixel = value as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn variance_is_that_of_photons_and_read_out_and_the_mean_stays() {
        let (flux, gain, sky, sigma) = (12.0f32, 2.5, 30.0, 1.5);
        let photons = Some(PhotonNoise {
            gain,
            sky_level: sky,
        });
        let mut image = vec![flux; 40_000];
        Noise::new(sigma, photons).unwrap().add(&mut image, 3, 9);
        let n = image.len() as f64;
        let mean = image.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = image
            .iter()
            .map(|&v| libm::pow(f64::from(v) - mean, 2.0))
            .sum::<f64>()
            / n;
        let expected = (f64::from(flux) + sky) / gain + sigma * sigma;
        assert!(libm::fabs(mean - f64::from(flux)) < 4.0 * libm::sqrt(expected / n));
        assert!(libm::fabs(variance / expected - 1.0) < 4.0 * libm::sqrt(2.0 / n));
    }

    #[test]
    fn noise_depends_on_seed_and_id_only() {
        let noise = Noise::new(1.0, None).unwrap();
        let draw = |seed, id| {
            let mut image = vec![0.0f32; 16];
            noise.add(&mut image, seed, id);
            image
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
        let mut image = [1.0f32, 2.0];
        Noise::new(0.0, None).unwrap().add(&mut image, 1, 1);
        assert_eq!(image, [1.0, 2.0]);
    }

    #[test]
    fn impossible_noise_is_refused() {
        assert!(Noise::new(-1.0, None).is_err());
        assert!(Noise::new(f64::NAN, None).is_err());
        for (gain, sky_level) in [(0.0, 1.0), (1.0, -1.0), (f64::INFINITY, 0.0)] {
            assert!(Noise::new(0.0, Some(PhotonNoise { gain, sky_level })).is_err());
        }
    }
}
