//! Stamp geometry: the pixel grid that a model draws on, and its border window.
//!
//! A stamp is a row-major `[bands, n, n]` array of `f32`; pixel centres have integer coordinates and
//! the centre of the stamp is `((n - 1) / 2, (n - 1) / 2)`, which for even `n` is a pixel corner.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Smallest and largest side of a stamp, in pixels, that a model file may declare.
///
/// The upper bound keeps a small lying file from asking for a large allocation.
pub const SIDE_RANGE: core::ops::RangeInclusive<usize> = 8..=512;

/// Fraction of the stamp's inner radius `n / 2` at which the border window starts to fall.
const WINDOW_FLAT: f64 = 0.8;

/// The pixel grid and units of a model's stamps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Side of the square stamp in pixels, within [`SIDE_RANGE`].
    pub side: usize,
    /// Name of each band, in the order of the stamp's planes.
    pub bands: Vec<alloc::string::String>,
    /// Semi-major half-light radius of every training galaxy, in pixels of the stamp.
    pub half_light_radius: f64,
}

impl Geometry {
    /// Number of pixels of one stamp, all bands.
    pub fn pixels(&self) -> usize {
        self.bands.len() * self.side * self.side
    }

    /// Coordinate of the stamp's centre along either axis, in pixels.
    pub fn centre(&self) -> f64 {
        centre(self.side)
    }
}

/// Coordinate of the geometric centre of a row of `side` pixels whose centres are `0, 1, ... side - 1`.
pub fn centre(side: usize) -> f64 {
    (side as f64 - 1.0) / 2.0
}

/// Border window of a `side x side` stamp, row-major: 1 inside `0.8 side / 2`, a raised cosine from
/// there to exactly 0 at radius `side / 2` and beyond.
///
/// Every stamp, real or generated, is multiplied by it, so light goes smoothly to zero inside the
/// inscribed circle and a stamp can be rotated about its centre without loss.
pub fn window(side: usize) -> Vec<f32> {
    let centre = centre(side);
    let outer = side as f64 / 2.0;
    let inner = WINDOW_FLAT * outer;
    let mut values = Vec::with_capacity(side * side);
    for y in 0..side {
        for x in 0..side {
            let (dx, dy) = (x as f64 - centre, y as f64 - centre);
            let t = (libm::sqrt(dx * dx + dy * dy) - inner) / (outer - inner);
            let cosine = libm::cos(core::f64::consts::PI * t.clamp(0.0, 1.0));
            values.push((0.5 * (1.0 + cosine)) as f32);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_one_inside_zero_outside_and_symmetric() {
        let n = 64;
        let w = window(n);
        assert_eq!(w[31 * n + 31], 1.0);
        assert_eq!(w[0], 0.0);
        for y in 0..n {
            for x in 0..n {
                let v = w[y * n + x];
                assert!((0.0..=1.0).contains(&v));
                assert_eq!(v, w[x * n + y]);
                assert_eq!(v, w[(n - 1 - y) * n + x]);
                let c = centre(n);
                if libm::hypot(x as f64 - c, y as f64 - c) >= n as f64 / 2.0 {
                    assert_eq!(v, 0.0);
                }
            }
        }
    }
}
