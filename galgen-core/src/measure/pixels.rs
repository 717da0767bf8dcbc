//! The light of a stamp with what was not observed taken out, and the noise on it.

use super::check;
use alloc::vec;
use alloc::vec::Vec;

/// Noise of the sky: standard deviation of a pixel and correlation between pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise<'a> {
    /// Standard deviation of one pixel in the image's unit, 0 for an image without noise.
    pub sigma: f64,
    /// Autocorrelation `[q, q]`, q odd, 1 at the centre, symmetric about it; empty for white noise.
    pub acf: &'a [f32],
}

impl Noise<'_> {
    /// Noise independent from pixel to pixel.
    pub fn white(sigma: f64) -> Self {
        Self { sigma, acf: &[] }
    }

    /// Variance of the sum of pixels with weights a (x) a' along x and y, in units of a pixel's variance.
    /// `x` and `y` hold the autocorrelations of those weights, sum over i of a_i a_(i+k), for k from 0.
    pub(super) fn variance_of(&self, x: &[f64], y: &[f64]) -> f64 {
        if self.acf.is_empty() {
            return x[0] * y[0];
        }
        let q = odd_side(self.acf);
        let mut sum = 0.0;
        for (k, &rho) in self.acf.iter().enumerate() {
            let (dx, dy) = ((k % q).abs_diff(q / 2), (k / q).abs_diff(q / 2));
            if let (Some(a), Some(b)) = (x.get(dx), y.get(dy)) {
                sum += f64::from(rho) * a * b;
            }
        }
        sum.max(0.0)
    }
}

/// # Panics
/// If the autocorrelation is not a square of odd side.
fn odd_side(acf: &[f32]) -> usize {
    let q = libm::sqrt(acf.len() as f64) as usize;
    assert!(
        q * q == acf.len() && q % 2 == 1,
        "noise autocorrelation of {} values is not a square of odd side",
        acf.len()
    );
    q
}

/// The autocorrelation of weights along one axis.
pub(super) fn autocorrelation(weights: &[f64]) -> Vec<f64> {
    let lag = |k: usize| weights.iter().zip(&weights[k..]).map(|(a, b)| a * b).sum();
    (0..weights.len()).map(lag).collect()
}

/// An image with a mask, to be measured: the statistics of galaxy morphology are its methods.
#[derive(Clone, Debug)]
pub struct Pixels {
    pub(super) side: usize,
    /// `[side, side]`, 0 where not observed.
    pub(super) light: Vec<f32>,
    /// `[side, side]`, 1 where observed, else 0.
    pub(super) seen: Vec<f32>,
}

impl Pixels {
    /// `observed` is 0 where a pixel is not to be used; without it all are.
    ///
    /// # Panics
    /// If `image` or `observed` is not `side * side` long.
    pub fn new(image: &[f32], side: usize, observed: Option<&[u8]>) -> Self {
        check(image, side);
        let Some(observed) = observed else {
            let seen = vec![1.0; image.len()];
            let light = image.to_vec();
            return Self { side, light, seen };
        };
        assert_eq!(
            observed.len(),
            image.len(),
            "mask of {} pixels for an image of {}",
            observed.len(),
            image.len()
        );
        let seen: Vec<f32> = observed.iter().map(|&o| f32::from(o != 0)).collect();
        // Not a product: what was not observed may be NaN.
        let light = image.iter().zip(observed);
        let light = light.map(|(&v, &o)| if o == 0 { 0.0 } else { v }).collect();
        Self { side, light, seen }
    }

    /// Pixels a side.
    pub fn side(&self) -> usize {
        self.side
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: sum of w_i w_j rho(i - j) over all pairs.
    #[test]
    fn the_variance_of_a_weighted_sum_is_that_of_all_pairs() {
        let acf: Vec<f32> = [0.1, 0.3, 0.0, 0.5, 1.0, 0.5, 0.0, 0.3, 0.1].into();
        let noise = Noise {
            sigma: 1.0,
            acf: &acf,
        };
        let (a, b) = ([0.2, 0.5, 0.3], [0.7, 0.3]);
        let mut expected = 0.0;
        for (i, j) in (0..6).flat_map(|i| (0..6).map(move |j| (i, j))) {
            let (dx, dy) = (
                (i % 3) as i64 - (j % 3) as i64,
                (i / 3) as i64 - (j / 3) as i64,
            );
            if dx.abs() <= 1 && dy.abs() <= 1 {
                let rho = f64::from(acf[((dy + 1) * 3 + dx + 1) as usize]);
                expected += a[i % 3] * b[i / 3] * a[j % 3] * b[j / 3] * rho;
            }
        }
        let found = noise.variance_of(&autocorrelation(&a), &autocorrelation(&b));
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        let white =
            Noise::white(1.0).variance_of(&autocorrelation(&[0.5; 2]), &autocorrelation(&[0.5; 2]));
        assert_eq!(white, 0.25);
    }

    #[test]
    fn what_is_not_observed_is_dark_even_if_it_is_nan() {
        let pixels = Pixels::new(&[f32::NAN, 2.0, 3.0, 4.0], 2, Some(&[0, 1, 1, 255]));
        assert_eq!(pixels.light, [0.0, 2.0, 3.0, 4.0]);
        assert_eq!(pixels.seen, [0.0, 1.0, 1.0, 1.0]);
    }
}
