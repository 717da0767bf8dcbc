//! The Petrosian radius.

use super::growth::{curve, flux_within};
use super::{Ellipse, Pixels};

/// Ratio of the surface brightness at the Petrosian radius to the mean within it (Petrosian 1976;
/// the value of SDSS, Conselice 2003 and Lotz et al. 2004).
pub const PETROSIAN_RATIO: f64 = 0.2;
/// Half the width of the annulus in which the surface brightness is taken, in pixels.
const HALF_WIDTH: f64 = 0.5;
/// Spacing of the radii between which the ratio is taken as linear, in pixels. It divides `HALF_WIDTH`.
const STEP: f64 = 0.25;

impl Pixels {
    /// Petrosian radius: the semi-major axis in pixels of the ellipse on which the mean surface
    /// brightness (in an annulus one pixel wide) has first fallen to 0.2 of the mean inside.
    ///
    /// Means are over observed pixels within the image. `None` if that does not happen from one pixel
    /// on within the image, or if there is no light. Linear interpolation over a quarter of a pixel
    /// leaves 0.002 pixel; edges of annuli share pixels as in [`flux_within`].
    pub fn petrosian_radius(&self, ellipse: &Ellipse) -> Option<f64> {
        let image = |plane| curve(plane, self.side, ellipse, STEP);
        let (flux, area) = (image(&self.light), image(&self.seen));
        let edge = (HALF_WIDTH / STEP) as usize;
        let first = (1.0 / STEP) as usize;
        let mut before: Option<f64> = None;
        for k in first..flux.len().saturating_sub(edge) {
            let ring = area[k + edge] - area[k - edge];
            let mean = flux[k] / area[k];
            // Beyond the image, in a hole or without light.
            if !(ring > 1e-9 && mean > 0.0) {
                return None;
            }
            let ratio = (flux[k + edge] - flux[k - edge]) / ring / mean;
            if ratio <= PETROSIAN_RATIO {
                let last = before?;
                let share = (last - PETROSIAN_RATIO) / (last - ratio);
                return Some((k as f64 - 1.0 + share) * STEP);
            }
            before = Some(ratio);
        }
        None
    }

    /// Mean surface brightness of `plane` in the annulus of which the surface brightness decides
    /// the Petrosian radius.
    pub(super) fn brightness_at(
        &self,
        plane: &[f32],
        ellipse: &Ellipse,
        radius: f64,
    ) -> Option<f64> {
        let ring = |image: &[f32]| {
            flux_within(image, self.side, ellipse, radius + HALF_WIDTH)
                - flux_within(image, self.side, ellipse, radius - HALF_WIDTH)
        };
        let area = ring(&self.seen);
        (area > 1e-9).then(|| ring(plane) / area)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, exponential, gaussian};
    use super::*;

    /// Solutions of I(R) = 0.2 mean(R): for the exponential x^2 e^-x = 0.4 (1 - (1 + x) e^-x), for the Gaussian
    /// with u = x^2 / 2, u e^-u = 0.2 (1 - e^-u).
    #[test]
    fn petrosian_radii_of_known_profiles() {
        let side = 129;
        let solve = |f: &dyn Fn(f64) -> f64| {
            let (mut a, mut b) = (1.0, 10.0);
            for _ in 0..60 {
                let c = 0.5 * (a + b);
                *(if f(c) > 0.0 { &mut a } else { &mut b }) = c;
            }
            a
        };
        let exp = libm::exp;
        let disk = solve(&|x| x * x * exp(-x) - 0.4 * (1.0 - (1.0 + x) * exp(-x)));
        let ball = solve(&|x| x * x / 2.0 * exp(-x * x / 2.0) - 0.2 * (1.0 - exp(-x * x / 2.0)));
        for q in [1.0, 0.6, 0.3] {
            let ellipse = Ellipse {
                position_angle: 28.0,
                ..Ellipse::centred(side, q)
            };
            let check = |image: &[f32], expected: f64| {
                let found = Pixels::new(image, side, None).petrosian_radius(&ellipse);
                // The pixel and the annulus widen: their variances of 1/12 against the scales' 36 and more.
                let error = found.expect("light") / expected - 1.0;
                assert!(error.abs() < 0.004 / (q * q), "{q}: {error}");
            };
            check(&draw(side, &ellipse, exponential(6.0)), 6.0 * disk);
            check(&draw(side, &ellipse, gaussian(12.0)), 12.0 * ball);
        }
    }

    #[test]
    fn light_without_an_edge_has_none() {
        let pixels = Pixels::new(&[1.0; 1024], 32, None);
        assert_eq!(pixels.petrosian_radius(&Ellipse::centred(32, 1.0)), None);
        let pixels = Pixels::new(&[-1.0; 1024], 32, None);
        assert_eq!(pixels.petrosian_radius(&Ellipse::centred(32, 1.0)), None);
    }
}
