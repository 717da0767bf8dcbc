//! Adaptive moments: size and ellipticity under a Gaussian weight matched to the light.

use super::moments::Sums;
use super::{Ellipse, Quadratic, check, sq};
use core::f64::consts::PI;

/// Most rounds of [`adaptive_moments`].
const ROUNDS: usize = 300;
/// It has converged when a round changes the covariance by less than this share of its trace and the centre
/// by less than this many standard deviations.
const CONVERGED: f64 = 1e-7;
/// The sums stop at this many standard deviations of the weight, 4e-6 of its peak.
const REACH: f64 = 5.0;

/// What [`adaptive_moments`] measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveMoments {
    /// Centre, axis ratio and position angle (in (-90, 90]) of the weight.
    pub ellipse: Ellipse,
    /// Size of the weight in pixels: the fourth root of the determinant of its covariance (GalSim's
    /// `moments_sigma`).
    pub sigma: f64,
}

impl AdaptiveMoments {
    /// |g| = (1 - q) / (1 + q), q the axis ratio (GalSim's `observed_shape.g`).
    pub fn ellipticity(&self) -> f64 {
        (1.0 - self.ellipse.axis_ratio) / (1.0 + self.ellipse.axis_ratio)
    }
}

/// The elliptical Gaussian that fits the light best: as a weight on the light it has the light's
/// weighted centroid and twice the weighted covariance (Bernstein & Jarvis 2002, section 3; Hirata & Seljak
/// 2003, as GalSim's `FindAdaptiveMom`).
///
/// Unlike in [`moments`](super::moments()) the weight's size follows the light as well: the least noisy size
/// and ellipticity of faint galaxies, to which bulges count more than disks. Begins as a circle of
/// `sigma` pixels about the stamp's centre. On 18 drawn galaxies sigma and |g| are within 7e-6 of GalSim's
/// (`tests/tests/morphology.rs`).
///
/// `None` if the weight does not converge to a positive covariance within the image (no or too faint
/// light).
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn adaptive_moments(image: &[f32], side: usize, sigma: f64) -> Option<AdaptiveMoments> {
    check(image, side);
    let (limit, largest) = (side as f64 - 1.0, sq(side as f64));
    let Ellipse { mut x, mut y, .. } = Ellipse::centred(side, 1.0);
    let mut weight = Covariance {
        xx: sq(sigma),
        xy: 0.0,
        yy: sq(sigma),
    };
    for _ in 0..ROUNDS {
        let form = weight.inverse()?;
        let sums = Sums::of(image, side, (x, y), &form, REACH);
        if sums.flux.is_nan() || sums.flux <= 0.0 {
            return None;
        }
        let (mx, my) = (sums.x / sums.flux, sums.y / sums.flux);
        let seen = Covariance {
            xx: sums.xx / sums.flux - mx * mx,
            xy: sums.xy / sums.flux - mx * my,
            yy: sums.yy / sums.flux - my * my,
        };
        let next = seen.without(&form)?;
        let change = libm::fabs(next.xx - weight.xx)
            + libm::fabs(next.xy - weight.xy)
            + libm::fabs(next.yy - weight.yy);
        // Under a weight like itself a Gaussian's centroid is seen half as far away.
        (x, y) = (x + 2.0 * mx, y + 2.0 * my);
        let trace = next.xx + next.yy;
        let inside = (0.0..=limit).contains(&x) && (0.0..=limit).contains(&y);
        if !(inside && trace < largest) {
            return None;
        }
        weight = next;
        if change < CONVERGED * trace && sq(mx) + sq(my) < sq(CONVERGED) * trace {
            return Some(weight.shape(x, y));
        }
    }
    None
}

/// Covariance of light or weight.
struct Covariance {
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Covariance {
    fn determinant(&self) -> f64 {
        self.xx * self.yy - sq(self.xy)
    }

    /// The quadratic form of the Gaussian with this covariance; `None` if it is not positive.
    fn inverse(&self) -> Option<Quadratic> {
        let determinant = self.determinant();
        let positive = determinant > 0.0 && self.xx > 0.0 && determinant.is_finite();
        positive.then(|| Quadratic {
            xx: self.yy / determinant,
            xy: -self.xy / determinant,
            yy: self.xx / determinant,
            determinant: 1.0 / determinant,
        })
    }

    /// The light's own covariance, from what is seen under a weight, as if the light were Gaussian; if
    /// none is left over, twice what is seen. Either is the weight's when the weight fits.
    fn without(&self, weight: &Quadratic) -> Option<Self> {
        let seen = self.inverse()?;
        let (xx, xy, yy) = (
            seen.xx - weight.xx,
            seen.xy - weight.xy,
            seen.yy - weight.yy,
        );
        let determinant = xx * yy - xy * xy;
        // Less than a quarter left along some axis: the step would be wild.
        let safe = determinant > seen.determinant / 16.0 && xx > 0.0;
        Some(if safe {
            Self {
                xx: yy / determinant,
                xy: -xy / determinant,
                yy: xx / determinant,
            }
        } else {
            Self {
                xx: 2.0 * self.xx,
                xy: 2.0 * self.xy,
                yy: 2.0 * self.yy,
            }
        })
    }

    fn shape(&self, x: f64, y: f64) -> AdaptiveMoments {
        let mean = 0.5 * (self.xx + self.yy);
        let spread = libm::hypot(0.5 * (self.xx - self.yy), self.xy);
        let angle = libm::atan2(2.0 * self.xy, self.xx - self.yy) * 90.0 / PI;
        let determinant = self.determinant();
        // Small over large eigenvalue, without the cancellation of mean - spread.
        let axis_ratio = libm::sqrt(determinant) / (mean + spread);
        AdaptiveMoments {
            ellipse: Ellipse {
                x,
                y,
                axis_ratio: axis_ratio.min(1.0),
                position_angle: angle,
            },
            sigma: libm::sqrt(libm::sqrt(determinant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, gaussian};
    use super::*;
    use alloc::vec;

    /// A Gaussian fits itself; pixels add 1/12 (6 points a side: less a 36th) to the variance. A pixel is no
    /// Gaussian: its fourth cumulant of -1/120 moves the narrowest, of variance 3.3, by some 1e-4.
    #[test]
    fn a_gaussian_has_its_own_covariance() {
        let side = 80;
        for (angle, q) in [(-60.0, 0.3), (0.0, 0.7), (25.0, 0.95), (90.0, 0.5)] {
            let truth = Ellipse {
                x: 37.3,
                y: 41.8,
                axis_ratio: q,
                position_angle: angle,
            };
            let image = draw(side, &truth, gaussian(6.0));
            let found = adaptive_moments(&image, side, 8.0).expect("light");
            let pixel = (1.0 - 1.0 / 36.0) / 12.0;
            let (major, minor) = (36.0 + pixel, 36.0 * q * q + pixel);
            let ratio = libm::sqrt(minor / major);
            let close = |a: f64, b: f64, tolerance: f64| {
                assert!((a - b).abs() < tolerance, "{a} {b} {truth:?}");
            };
            close(found.sigma, libm::pow(major * minor, 0.25), 2e-4);
            close(found.ellipse.axis_ratio, ratio, 1e-4);
            close(found.ellipticity(), (1.0 - ratio) / (1.0 + ratio), 1e-4);
            close(found.ellipse.x, truth.x, 1e-5);
            close(found.ellipse.y, truth.y, 1e-5);
            let turn = libm::sin((found.ellipse.position_angle - angle) * PI / 180.0);
            close(turn * (1.0 - q), 0.0, 1e-5);
        }
    }

    #[test]
    fn light_without_a_size_has_no_moments() {
        let mut image = vec![0.0; 1024];
        assert_eq!(adaptive_moments(&image, 32, 4.0), None);
        // A single pixel's covariance is 0.
        image[32 * 16 + 16] = 1.0;
        assert_eq!(adaptive_moments(&image, 32, 4.0), None);
        assert_eq!(adaptive_moments(&[f32::NAN; 1024], 32, 4.0), None);
    }
}
