//! The radial profile.

use super::{Ellipse, Pixels, flux_within};
use alloc::vec::Vec;

impl Pixels {
    /// Mean surface brightness (flux a pixel) between each two neighbours of `edges`, semi-major axes
    /// in pixels of ellipses like `ellipse`: one number less than there are edges.
    ///
    /// Pixels on an edge are shared as in [`flux_within`]; those not observed are left out. An annulus
    /// without observed pixels is NaN, so that it takes no part in a mean over galaxies. In units of the
    /// half-light radius R and of the mean brightness within it, flux / (2 pi q R^2), profiles of galaxies
    /// of any size and flux compare.
    ///
    /// # Panics
    /// If the edges do not increase or the first is negative.
    pub fn radial_profile(&self, ellipse: &Ellipse, edges: &[f64]) -> Vec<f64> {
        let increase = edges.windows(2).all(|w| w[0] < w[1]) && edges.first() >= Some(&0.0);
        assert!(increase, "edges {edges:?} do not increase from 0 on");
        let inside = |plane: &[f32], &r: &f64| {
            let flux = |r| flux_within(plane, self.side, ellipse, r);
            if r > 0.0 { flux(r) } else { 0.0 }
        };
        let rings = |plane: &[f32]| -> Vec<f64> {
            let within: Vec<f64> = edges.iter().map(|r| inside(plane, r)).collect();
            within.windows(2).map(|w| w[1] - w[0]).collect()
        };
        let areas = rings(&self.seen);
        let mean = |(flux, area): (f64, f64)| if area > 1e-6 { flux / area } else { f64::NAN };
        rings(&self.light)
            .into_iter()
            .zip(areas)
            .map(mean)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, exponential};
    use super::*;
    use alloc::vec;

    /// Between a and b an exponential of scale 1 has 2 pi ((1 + a) e^-a - (1 + b) e^-b) of flux.
    #[test]
    fn the_profile_of_an_exponential_and_of_holes() {
        let (side, scale) = (96, 6.0);
        let ellipse = Ellipse {
            position_angle: -40.0,
            ..Ellipse::centred(side, 0.7)
        };
        let mut image = draw(side, &ellipse, exponential(scale));
        let edges = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0].map(|e| e * scale);
        let mut observed = vec![1u8; side * side];
        let all = Pixels::new(&image, side, None).radial_profile(&ellipse, &edges);
        for (found, w) in all.iter().zip(edges.windows(2)) {
            let within = |r: f64| 1.0 - (1.0 + r / scale) * libm::exp(-r / scale);
            let expected =
                2.0 * (within(w[1]) - within(w[0])) * scale * scale / (w[1] * w[1] - w[0] * w[0]);
            // Pixels widen the light: a variance of 1/12 against 36 q^2 at the scale radius, more at the cusp.
            let tolerance = if w[0] == 0.0 { 0.03 } else { 0.006 };
            assert!(
                (found / expected - 1.0).abs() < tolerance,
                "{found} {expected}"
            );
        }
        // Holes leave a mean over the rest: a half image has the profile of the whole.
        for (k, seen) in observed.iter_mut().enumerate() {
            if k % side < side / 2 {
                (*seen, image[k]) = (0, f32::MAX);
            }
        }
        let half = Pixels::new(&image, side, Some(&observed)).radial_profile(&ellipse, &edges);
        for (h, a) in half.iter().zip(&all) {
            assert!((h / a - 1.0).abs() < 1e-5, "{h} {a}");
        }
        observed.fill(0);
        let none = Pixels::new(&image, side, Some(&observed)).radial_profile(&ellipse, &edges);
        assert!(none.iter().all(|v| v.is_nan()) && none.len() == 5);
    }
}
