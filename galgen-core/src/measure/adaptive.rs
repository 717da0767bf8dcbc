//! Adaptive moments: size and ellipticity under a Gaussian weight matched to the light.

use super::moments::Sums;
use super::{Ellipse, Quadratic, check, sq};
use core::f64::consts::PI;

/// Most rounds of [`adaptive_moments`].
const ROUNDS: usize = 300;
/// It has converged when a round changes the covariance by less than this share of its trace and the centre
/// by less than this many standard deviations.
const CONVERGED: f64 = 1e-7;

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
/// Unlike [`moments`](super::moments()) the weight's size follows the light as well: right for shear and size of
/// faint galaxies; but bulges count more than disks. Begins as a circle of `sigma` pixels about the stamp's centre. `None` if the weight
/// does not converge to a positive covariance that lies within the image (no or too faint light).
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
        let sums = Sums::of(image, side, (x, y), &form);
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
