//! Stamp geometry: the pixel grid that a model draws on, and its border window.
//!
//! A stamp is either a galaxy in its own frame (major axis along x, unit sum, known half-light
//! radius, border window) or a plain image, whose pixels are as in the data. A row of named columns of numbers is an
//! image of one pixel, whose bands are the columns.
//!
//! A stamp is a row-major `[bands, n, n]` array of `f32`; pixel centres have integer coordinates and
//! the centre of the stamp is `((n - 1) / 2, (n - 1) / 2)`, which for even `n` is a pixel corner.

use crate::rng::{Philox, Stream};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Smallest and largest side of a stamp, in pixels, that a model file may declare.
///
/// The upper bound keeps a small lying file from asking for a large allocation.
pub const SIDE_RANGE: core::ops::RangeInclusive<usize> = 8..=512;

/// Most columns of a row of numbers.
pub const MAX_COLUMNS: usize = 4096;
/// Most bands of a stamp.
const MAX_BANDS: usize = 16;

/// Fraction of the stamp's inner radius `n / 2` at which the border window starts to fall.
const WINDOW_FLAT: f64 = 0.8;

/// The pixel grid and units of a model's stamps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Side of the square stamp in pixels, within [`SIDE_RANGE`]; 1 for columns of numbers.
    pub side: usize,
    /// Name of each band, in the order of the stamp's planes.
    pub bands: Vec<alloc::string::String>,
    /// Semi-major half-light radius of every training galaxy, in pixels of the stamp; `None` for plain images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_light_radius: Option<f64>,
}

impl Geometry {
    /// The geometry of rows of numbers.
    pub fn columns(names: Vec<alloc::string::String>) -> Self {
        Geometry {
            side: 1,
            bands: names,
            half_light_radius: None,
        }
    }

    /// Whether stamps are rows of numbers, and the bands their columns.
    pub fn is_columns(&self) -> bool {
        self.side == 1
    }

    /// Most bands, or columns.
    pub fn max_bands(&self) -> usize {
        if self.is_columns() {
            MAX_COLUMNS
        } else {
            MAX_BANDS
        }
    }

    /// Number of pixels of one stamp, all bands.
    pub fn pixels(&self) -> usize {
        self.bands.len() * self.side * self.side
    }

    /// What pixels are multiplied by before a network sees them: 2 pi r^2 for galaxies of half-light radius r,
    /// so that a round one has a mean of 1 inside it; 1 for plain images.
    pub fn intensity(&self) -> f64 {
        let area = |r| 2.0 * core::f64::consts::PI * r * r;
        self.half_light_radius.map_or(1.0, area)
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

/// Makes every pixel 1 with the probability that is its value, else 0: binarised images (Salakhutdinov and Murray
/// 2008) whose bits depend on (`seed`, `id`) only.
pub fn binarise(image: &mut [f32], seed: u64, id: u64) {
    let mut rng = Philox::new(seed, id, Stream::Binarise);
    for pixel in image {
        *pixel = f32::from(rng.uniform() < f64::from(*pixel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binarised_pixels_have_their_mean_and_their_own_bits() {
        let image = [0.0f32, 0.25, 1.0];
        let draw = |seed, id| {
            let mut bits = image;
            binarise(&mut bits, seed, id);
            bits
        };
        let ones = (0..4000).filter(|&id| draw(1, id)[1] == 1.0).count();
        // Five standard deviations of a binomial.
        assert!((ones as f64 - 1000.0).abs() < 5.0 * 27.4, "{ones}");
        assert_eq!((draw(1, 5)[0], draw(1, 5)[2]), (0.0, 1.0));
        assert_eq!(draw(1, 5), draw(1, 5));
        assert!((0..50).any(|id| draw(1, id) != draw(2, id)));
    }

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
