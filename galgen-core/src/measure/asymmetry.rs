//! Rotational asymmetry.

use super::check;
use core::f64::consts::PI;

/// Rotational asymmetry A = (sum |I - I180| - sky) / sum |I|, of the light within `radius` pixels of
/// `(x, y)`, against the image turned by 180 degrees.
///
/// Normalised as by Conselice, Bershady & Jangren (2000), Lotz, Primack & Madau (2004, equation 10) and
/// statmorph: no factor 1/2, so that 2 is the most (some authors divide by 2 sum |I|). It differs from
/// theirs in that
/// * the aperture is the caller's; theirs has 1.5 Petrosian radii. Pixels count whole, by their centres.
/// * the centre of rotation is moved in half pixels, for which the turned image needs no
///   interpolation, to the nearest minimum of the sum.
/// * `sky` is not measured on blank sky but is what Gaussian noise of standard deviation `sky_sigma`
///   per pixel, independent from pixel to opposite pixel, adds where there is no light, 2 sigma / sqrt(pi) a
///   pixel; noise-free images take 0. Like theirs it takes too much off where the light itself differs
///   by more than the noise, so A may come out below 0.
///
/// Smooth ellipticals have A below 0.1, spirals 0.1 to 0.4, mergers more. `None` if the circle leaves
/// the image or holds no light.
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
    // Twice the centre, an integer.
    let mut centre = (libm::round(2.0 * x) as i64, libm::round(2.0 * y) as i64);
    let mut best = rotated_difference(image, side, centre, radius)?;
    for _ in 0..2 * side {
        let around = [(1, 0), (-1, 0), (0, 1), (0, -1)];
        let steps = around.map(|(dx, dy)| (centre.0 + dx, centre.1 + dy));
        let tried = steps.map(|c| rotated_difference(image, side, c, radius).map(|d| (c, d)));
        let lowest = tried
            .into_iter()
            .flatten()
            .fold((centre, best), |a, b| if b.1.0 < a.1.0 { b } else { a });
        if lowest.0 == centre {
            break;
        }
        (centre, best) = lowest;
    }
    let (difference, light, pixels) = best;
    let sky = pixels * 2.0 * sky_sigma / libm::sqrt(PI);
    (light > 0.0).then(|| (difference - sky) / light)
}

/// Sum of |I - I180| and of |I| and the count of pixels within `radius` of half the given coordinates.
fn rotated_difference(
    image: &[f32],
    side: usize,
    twice: (i64, i64),
    radius: f64,
) -> Option<(f64, f64, f64)> {
    let n = side as i64;
    let (mut difference, mut light, mut pixels) = (0.0, 0.0, 0.0);
    let reach = |c: i64| {
        let c = c as f64 / 2.0;
        (
            libm::ceil(c - radius) as i64,
            libm::floor(c + radius) as i64,
        )
    };
    let ((x0, x1), (y0, y1)) = (reach(twice.0), reach(twice.1));
    if x0 < 0 || y0 < 0 || x1 >= n || y1 >= n {
        return None;
    }
    let limit = 4.0 * radius * radius;
    for y in y0..=y1 {
        for x in x0..=x1 {
            let (dx, dy) = ((2 * x - twice.0) as f64, (2 * y - twice.1) as f64);
            if dx * dx + dy * dy > limit {
                continue;
            }
            let here = f64::from(image[(y * n + x) as usize]);
            let there = f64::from(image[((twice.1 - y) * n + twice.0 - x) as usize]);
            difference += libm::fabs(here - there);
            light += libm::fabs(here);
            pixels += 1.0;
        }
    }
    Some((difference, light, pixels))
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
        // |I - I180| of noise is sqrt(2) |I|; each of 980 pairs scatters by 0.76 of its mean.
        assert!((raw - core::f64::consts::SQRT_2).abs() < 0.1, "{raw}");
        assert!(left.abs() < 0.1, "{left}");
    }
}
