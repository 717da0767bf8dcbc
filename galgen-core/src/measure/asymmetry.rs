//! Rotational asymmetry.

use super::pixels::autocorrelation;
use super::{Noise, Pixels, check, sq};
use core::f64::consts::PI;

/// First and last step of the search for the centre of rotation, in pixels.
const STEPS: (f64, f64) = (0.5, 1.0 / 1024.0);
/// The centre is searched for within this share of the aperture: statmorph's 0.25 of 1.5 Petrosian radii.
const DRIFT: f64 = 1.0 / 6.0;

/// What [`Pixels::asymmetry`] measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asymmetry {
    /// A, 0 for a symmetric image, at most 2 without noise.
    pub value: f64,
    /// Column of the centre of rotation.
    pub x: f64,
    /// Row of the centre of rotation.
    pub y: f64,
}

/// [`Pixels::asymmetry`] of an unmasked image with white noise: `None` also if the circle leaves the image.
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn asymmetry(
    image: &[f32],
    side: usize,
    x: f64,
    y: f64,
    radius: f64,
    sky_sigma: f64,
) -> Option<f64> {
    check(image, side);
    let last = side as f64 - 1.0;
    let inside = |c: f64| c - radius >= 0.0 && c + radius <= last;
    if !(inside(x) && inside(y)) {
        return None;
    }
    let pixels = Pixels::new(image, side, None);
    let found = pixels.asymmetry(x, y, radius, &Noise::white(sky_sigma))?;
    Some(found.value)
}

impl Pixels {
    /// Rotational asymmetry A = (sum |I - I180| - sky) / sum |I| of the light within `radius` pixels of the
    /// centre about which the image is turned by 180 degrees, least over centres around `(x, y)`.
    ///
    /// Normalised as by Conselice, Bershady & Jangren (2000), Lotz, Primack & Madau (2004, equation 10) and
    /// statmorph: no factor 1/2, so that 2 is the most (some authors divide by 2 sum |I|). Like
    /// theirs the turned image is interpolated linearly between pixels. It differs from theirs in that
    /// * `sky` is not measured on blank sky but is what Gaussian noise alone adds, sqrt(2 / pi) times the
    ///   standard deviation of I - I180. That depends on the centre, because interpolation smooths noise:
    ///   about a quarter of a pixel it is a fifth less than about a pixel's centre or corner. statmorph's
    ///   does not, so that its centre goes to such places and its A is lower by up to a fifth of its sky.
    ///   Like theirs it takes too much off where the light itself differs by more than the noise, so A may
    ///   come out below 0.
    /// * pairs of which a pixel is not observed or beyond the image are left out.
    /// * the centre is searched for by steps along the axes and diagonals down to 1/1024 pixel, within a
    ///   sixth of the radius.
    ///
    /// Smooth ellipticals have A below 0.1, spirals 0.1 to 0.4, mergers more. `None` if the circle
    /// holds no light.
    pub fn asymmetry(&self, x: f64, y: f64, radius: f64, noise: &Noise) -> Option<Asymmetry> {
        let at = |x: f64, y: f64| self.asymmetry_about(x, y, radius, noise);
        let mut best = at(x, y)?;
        let mut step = STEPS.0;
        while step >= STEPS.1 {
            let around = [-1.0, 0.0, 1.0].map(|dy| [-1.0, 0.0, 1.0].map(|dx| (dx, dy)));
            let tried = around.into_iter().flatten().filter_map(|(dx, dy)| {
                let (nx, ny) = (best.x + dx * step, best.y + dy * step);
                let near = sq(nx - x) + sq(ny - y) <= sq(DRIFT * radius);
                let moved = (dx, dy) != (0.0, 0.0);
                (near && moved).then(|| at(nx, ny)).flatten()
            });
            let lowest = tried.fold(best, |a, b| if b.value < a.value { b } else { a });
            if lowest == best {
                step *= 0.5;
            }
            best = lowest;
        }
        Some(best)
    }

    /// [`Pixels::asymmetry`] about a given centre.
    pub fn asymmetry_about(&self, x: f64, y: f64, radius: f64, noise: &Noise) -> Option<Asymmetry> {
        let turn = Turn::about(x, y);
        let masked = self.seen.contains(&0.0);
        let (mut difference, mut light, mut area) = (0.0, 0.0, 0.0);
        let n = self.side as i64;
        let range = |c: f64, twice: i64| {
            // The turned pixel and its neighbour lie in the image too.
            let first = (libm::ceil(c - radius - 0.5) as i64)
                .max(0)
                .max(twice + 2 - n);
            let last = (libm::floor(c + radius + 0.5) as i64).min(n - 1).min(twice);
            first..=last
        };
        for row in range(y, turn.y.0) {
            for column in range(x, turn.x.0) {
                let distance = libm::hypot(column as f64 - x, row as f64 - y);
                let mut weight = (radius + 0.5 - distance).clamp(0.0, 1.0);
                let here = (row * n + column) as usize;
                if masked && (self.seen[here] == 0.0 || turn.at(&self.seen, n, column, row) < 1.0) {
                    weight = 0.0;
                }
                if weight > 0.0 {
                    let value = f64::from(self.light[here]);
                    difference += weight * libm::fabs(value - turn.at(&self.light, n, column, row));
                    light += weight * libm::fabs(value);
                    area += weight;
                }
            }
        }
        let sky = area * noise.sigma * libm::sqrt(2.0 / PI * (1.0 + turn.variance(noise)));
        let value = (difference - sky) / light;
        (light > 0.0 && value.is_finite()).then_some(Asymmetry { value, x, y })
    }
}

/// A turn by 180 degrees: where a pixel comes from along each axis, as the first of two pixels (less
/// the pixel's own coordinate) and the weight of the second.
struct Turn {
    x: (i64, f64),
    y: (i64, f64),
}

impl Turn {
    fn about(x: f64, y: f64) -> Self {
        let split = |c: f64| {
            let whole = libm::floor(2.0 * c);
            // No second pixel is needed, and none may be there, for a whole number: it is taken as the end
            // of the pair before.
            let whole = if whole == 2.0 * c { whole - 1.0 } else { whole };
            (whole as i64, 2.0 * c - whole)
        };
        Self {
            x: split(x),
            y: split(y),
        }
    }

    /// The turned image at a pixel, interpolated linearly.
    fn at(&self, image: &[f32], side: i64, column: i64, row: i64) -> f64 {
        let start = ((self.y.0 - row) * side + self.x.0 - column) as usize;
        let value = |k: usize| f64::from(image[k]);
        let side = side as usize;
        let (fx, fy) = (self.x.1, self.y.1);
        let line = |k: usize| value(k) + fx * (value(k + 1) - value(k));
        let (low, high) = (line(start), line(start + side));
        low + fy * (high - low)
    }

    /// Variance of interpolated noise in units of a pixel's.
    fn variance(&self, noise: &Noise) -> f64 {
        let [x, y] = [self.x.1, self.y.1].map(|f| autocorrelation(&[1.0 - f, f]));
        noise.variance_of(&x, &y)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, gaussian};
    use super::super::{Ellipse, total};
    use super::*;
    use crate::rng::{Philox, Stream};
    use alloc::vec;

    #[test]
    fn asymmetry_is_zero_for_symmetry_and_counts_a_blob() {
        let side = 65;
        let ellipse = Ellipse {
            position_angle: 40.0,
            ..Ellipse::centred(side, 0.5)
        };
        let mut image = draw(side, &ellipse, gaussian(5.0));
        let even = asymmetry(&image, side, 32.0, 32.0, 20.0, 0.0).expect("light");
        // Turned pixels differ by their rounding to f32 only.
        assert!(even.abs() < 2e-7, "{even}");
        let light = total(&image);
        // A blob of a tenth of the light differs from its empty counterpart twice.
        image[32 * side + 50] += (0.1 * light) as f32;
        let odd = asymmetry(&image, side, 32.0, 32.0, 20.0, 0.0).expect("light");
        // The circle of 4 sigma misses exp(-8) of the Gaussian's light.
        assert!((odd - 0.2 / 1.1).abs() < 1e-3, "{odd}");
        assert_eq!(asymmetry(&image, side, 32.0, 32.0, 40.0, 0.0), None);
    }

    #[test]
    fn the_centre_is_found_from_some_pixels_away() {
        let side = 65;
        let ellipse = Ellipse {
            x: 30.5,
            y: 33.0,
            ..Ellipse::centred(side, 0.5)
        };
        let image = draw(side, &ellipse, gaussian(5.0));
        let found = asymmetry(&image, side, 33.0, 31.0, 20.0, 0.0).expect("light");
        assert!(found.abs() < 2e-7, "{found}");
    }

    /// On blank sky the sums are of noise alone: nothing is left but the chance of the minimum over a
    /// few centres, and the pixels that meet themselves.
    #[test]
    fn the_sky_term_removes_noise() {
        let (side, sigma) = (65, 0.3);
        let mut rng = Philox::new(3, 1, Stream::Noise);
        let mut image = vec![0.0f32; side * side];
        for pixel in &mut image {
            *pixel = (sigma * rng.normal()) as f32;
        }
        let raw = asymmetry(&image, side, 32.0, 32.0, 25.0, 0.0).expect("light");
        let left = asymmetry(&image, side, 32.0, 32.0, 25.0, sigma).expect("light");
        // |I - I180| of noise is sqrt(2) |I| without interpolation and sqrt(5/4) where that smooths most, to
        // which the search goes without a term; each of 980 pairs scatters by 0.76 of its mean.
        let pixels = Pixels::new(&image, side, None);
        let fixed = |x: f64| pixels.asymmetry_about(x, x, 25.0, &Noise::white(0.0));
        let lattice = fixed(32.0).expect("light").value;
        assert!(
            (lattice - core::f64::consts::SQRT_2).abs() < 0.1,
            "{lattice}"
        );
        assert!((raw - libm::sqrt(1.25)).abs() < 0.1, "{raw}");
        for x in [32.0, 32.25, 31.9] {
            let noise = Noise::white(sigma);
            let left = pixels.asymmetry_about(x, x, 25.0, &noise).expect("light");
            assert!(left.value.abs() < 0.1, "{left:?}");
        }
        assert!(left.abs() < 0.1, "{left}");
    }
}
