//! Smoothness S (clumpiness).

use super::pixels::autocorrelation;
use super::{Ellipse, Noise, Pixels, flux_within};
use alloc::vec;
use alloc::vec::Vec;
use core::f64::consts::PI;

/// Inner edge of the annulus and width of the smoothing box, in Petrosian radii.
const INNER: f64 = 0.25;
/// Outer edge in Petrosian radii.
const OUTER: f64 = 1.5;

impl Pixels {
    /// Smoothness S = (sum of I - I_box where positive - sky) / sum of I, in the annulus of 0.25 to 1.5
    /// circular Petrosian radii about `(x, y)`; I_box is the image averaged over a square box of
    /// floor(0.25 Petrosian radii) pixels. 0 for smooth light; higher the more of it is in clumps.
    ///
    /// As Lotz et al. (2004, equation 11) and statmorph, without the factor 10 of Conselice (2003). The
    /// box is centred: with an even number of pixels its ends lie half in pixels. There statmorph's is
    /// shifted by half a pixel, and its S is that of the light's slope (0.04 to 0.08 for smooth disks and
    /// bulges with a box of 2 pixels, here 0.000 to 0.02); with an odd number the two agree within 1e-4.
    /// What the noise adds is not measured on blank sky: it is sigma_d / sqrt(2 pi) a pixel with sigma_d
    /// that of I - I_box, from the noise's autocorrelation. Like theirs this takes off too much where the
    /// light itself is clumpy.
    ///
    /// `None` without positive light in the annulus, or if the box is a single pixel.
    pub fn smoothness(&self, x: f64, y: f64, petrosian: f64, noise: &Noise) -> Option<f64> {
        let width = (INNER * petrosian) as usize;
        if width < 2 || width > self.side {
            return None;
        }
        let kernel = boxcar(width);
        let smooth = average(&self.light, self.side, &kernel);
        // Light lost in holes is made up for; beyond the image the edge's is continued.
        let share = average(&self.seen, self.side, &kernel);
        let seen = self.light.iter().zip(&self.seen);
        let excess: Vec<f32> = seen
            .zip(smooth.iter().zip(&share))
            .map(|((&v, &s), (&m, &a))| {
                if s > 0.0 {
                    (f64::from(v) - m / a).max(0.0) as f32
                } else {
                    0.0
                }
            })
            .collect();
        let circles = Ellipse {
            x,
            y,
            axis_ratio: 1.0,
            position_angle: 0.0,
        };
        let ring = |plane: &[f32]| {
            flux_within(plane, self.side, &circles, OUTER * petrosian)
                - flux_within(plane, self.side, &circles, INNER * petrosian)
        };
        let light = ring(&self.light);
        let sky = ring(&self.seen) * noise.sigma * residual(&kernel, noise) / libm::sqrt(2.0 * PI);
        (light > 0.0 && light.is_finite()).then(|| (ring(&excess) - sky) / light)
    }
}

/// Weights of a box `width` pixels wide about the middle of a pixel.
fn boxcar(width: usize) -> Vec<f64> {
    let mut weights = vec![1.0 / width as f64; width | 1];
    if width.is_multiple_of(2) {
        weights[0] *= 0.5;
        weights[width] *= 0.5;
    }
    weights
}

/// Standard deviation of noise less its average over the box, in units of a pixel's.
fn residual(kernel: &[f64], noise: &Noise) -> f64 {
    let own = autocorrelation(kernel);
    let average = noise.variance_of(&own, &own);
    // Covariance of the average with its middle pixel: the weights themselves as lags.
    let from_middle = &kernel[kernel.len() / 2..];
    let shared = noise.variance_of(from_middle, from_middle);
    libm::sqrt((1.0 + average - 2.0 * shared).max(0.0))
}

/// Separable average; pixels beyond the edge are the edge's mirror image.
fn average(image: &[f32], side: usize, kernel: &[f64]) -> Vec<f64> {
    let half = (kernel.len() / 2) as i64;
    let n = side as i64;
    let mirrored = |k: i64| {
        let k = if k < 0 { -1 - k } else { k };
        (if k >= n { 2 * n - 1 - k } else { k }) as usize
    };
    let mut plane: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
    let mut line = vec![0.0; side];
    for (stride, next) in [(1, side), (side, 1)] {
        for start in (0..side).map(|k| k * next) {
            for (k, value) in line.iter_mut().enumerate() {
                *value = plane[start + k * stride];
            }
            for k in 0..n {
                let taps = kernel.iter().zip(k - half..);
                let sum = taps.map(|(w, j)| w * line[mirrored(j)]).sum();
                plane[start + k as usize * stride] = sum;
            }
        }
    }
    plane
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, gaussian};
    use super::*;
    use crate::rng::{Philox, Stream};

    const SIDE: usize = 64;

    #[test]
    fn boxes_are_centred_and_of_their_width() {
        assert_eq!(boxcar(3), [1.0 / 3.0; 3]);
        assert_eq!(boxcar(4), [0.125, 0.25, 0.25, 0.25, 0.125]);
        // A constant image is its own average, to the edge.
        let flat = average(&[2.0; SIDE * SIDE], SIDE, &boxcar(4));
        assert!(flat.iter().all(|v| (v - 2.0).abs() < 1e-12));
    }

    /// A clump of one pixel of flux f stands out of its box by f (1 - 1 / w^2).
    #[test]
    fn a_clump_counts_what_its_box_does_not_take() {
        let circles = Ellipse::centred(SIDE, 1.0);
        let mut image = draw(SIDE, &circles, gaussian(9.0));
        let none = Noise::white(0.0);
        let (radius, width) = (20.0, 5.0);
        let measure = |image: &[f32]| {
            let pixels = Pixels::new(image, SIDE, None);
            pixels.smoothness(circles.x, circles.y, radius, &none)
        };
        let smooth = measure(&image).expect("light");
        assert!((0.0..0.01).contains(&smooth), "{smooth}");
        let ring = |r: f64| flux_within(&image, SIDE, &circles, r);
        let (light, clump) = (ring(30.0) - ring(5.0), 20.0);
        image[32 * SIDE + 44] += clump as f32;
        let clumpy = measure(&image).expect("light");
        let expected = (smooth * light + clump * (1.0 - 1.0 / (width * width))) / (light + clump);
        // The clump lifts the boxes of its 24 neighbours, some of which stood out before.
        assert!((clumpy - expected).abs() < smooth, "{clumpy} {expected}");
    }

    /// White noise and noise smoothed by a 3 x 3 box, on a flat image: nothing is left of them.
    #[test]
    fn the_sky_term_removes_noise_of_known_correlation() {
        let mut rng = Philox::new(9, 1, Stream::Noise);
        let white: Vec<f32> = (0..SIDE * SIDE).map(|_| rng.normal() as f32).collect();
        let sums = average(&white, SIDE, &boxcar(3));
        let smooth: Vec<f32> = sums.iter().map(|&v| 3.0 * v as f32).collect();
        // 1 - |lag| / 3 along each axis.
        let tent = |k: usize| 1.0 - (k as f32 - 2.0).abs() / 3.0;
        let acf: Vec<f32> = (0..25).map(|k| tent(k % 5) * tent(k / 5)).collect();
        let correlated = Noise {
            sigma: 1.0,
            acf: &acf,
        };
        for (noise, known) in [(white, Noise::white(1.0)), (smooth, correlated)] {
            let image: Vec<f32> = noise.iter().map(|v| 10.0 + v).collect();
            let pixels = Pixels::new(&image, SIDE, None);
            let without = pixels.smoothness(31.5, 31.5, 20.0, &Noise::white(0.0));
            let with = pixels.smoothness(31.5, 31.5, 20.0, &known).expect("light");
            let raw = without.expect("light");
            // 2749 pixels of half-normal values, 1.46 of their mean each; correlation leaves some 300 of them.
            assert!(
                with.abs() < 3.0 * 1.46 / libm::sqrt(300.0) * raw,
                "{with} of {raw}"
            );
            assert!(raw > 0.01);
        }
    }
}
