//! Point-spread functions: of a source picture, and in the galaxy frame.

use super::resample::{Light, affine};
use galgen_core::measure::{Ellipse, half_light_radius, moments, total};

/// Exponent of the Moffat profile that [`Psf::moffat`] is usually drawn with: the wings of seeing
/// (Moffat 1969, A&A 3, 455; Trujillo et al. 2001, MNRAS 328, 977, who prefer 2.5 to 4.8).
pub const SEEING_BETA: f64 = 3.0;
/// Analytic profiles are drawn out to this many full widths at half maximum.
const REACH: f64 = 6.0;

/// The effective point-spread function of a picture: what a star is in it, detector pixel included.
#[derive(Clone, Debug)]
pub struct Psf {
    side: usize,
    /// `side * side` values of sum 1, in source pixels.
    light: Vec<f32>,
    centre: (f64, f64),
    fwhm: f64,
}

impl Psf {
    /// No blurring that is known: a star is one pixel.
    pub fn point() -> Self {
        Self {
            side: 1,
            light: vec![1.0],
            centre: (0.0, 0.0),
            fwhm: 0.0,
        }
    }

    /// A round Gaussian of that full width at half maximum in source pixels; [`Psf::point`] for 0.
    pub fn gaussian(fwhm: f64) -> Self {
        Self::radial(fwhm, |r| (-4.0 * 2f64.ln() * (r / fwhm).powi(2)).exp())
    }

    /// A round Moffat profile (1 + (r / a)^2)^-beta of that full width at half maximum; [`Psf::point`] for 0.
    pub fn moffat(fwhm: f64, beta: f64) -> Self {
        let a = 0.5 * fwhm / (2f64.powf(1.0 / beta) - 1.0).sqrt();
        Self::radial(fwhm, |r| (1.0 + (r / a).powi(2)).powf(-beta))
    }

    fn radial(fwhm: f64, profile: impl Fn(f64) -> f64) -> Self {
        if fwhm <= 0.0 {
            return Self::point();
        }
        let reach = (REACH * fwhm).ceil();
        let side = 2 * reach as usize + 1;
        let values = (0..side * side)
            .map(|k| profile(((k % side) as f64 - reach).hypot((k / side) as f64 - reach)));
        let mut light: Vec<f32> = values.map(|v| v as f32).collect();
        normalise(&mut light);
        Self {
            side,
            light,
            centre: (reach, reach),
            fwhm,
        }
    }

    /// The PSF that an image of `width * height` pixels shows, centred on its own light.
    ///
    /// The error says what is wrong: a size below 3, pixels that are not finite, no light.
    pub fn image(width: usize, height: usize, pixels: &[f32]) -> Result<Self, String> {
        let side = width.max(height);
        if width.min(height) < 3 || pixels.len() != width * height {
            return Err(format!(
                "a PSF of {width} x {height} pixels, expected at least 3 a side"
            ));
        }
        if let Some(k) = pixels.iter().position(|v| !v.is_finite()) {
            return Err(format!(
                "PSF pixel ({}, {}) is {}, expected a finite number",
                k % width,
                k / width,
                pixels[k]
            ));
        }
        let mut light = vec![0.0; side * side];
        for (k, value) in pixels.iter().enumerate() {
            light[k / width * side + k % width] = *value;
        }
        let sum = total(&light);
        if sum <= 0.0 {
            return Err(format!("a PSF of sum {sum}, expected a positive one"));
        }
        normalise(&mut light);
        let peak = (0..light.len())
            .max_by(|a, b| light[*a].total_cmp(&light[*b]))
            .unwrap_or(0);
        let start = Ellipse {
            x: (peak % side) as f64,
            y: (peak / side) as f64,
            axis_ratio: 1.0,
            position_angle: 0.0,
        };
        let fwhm = full_width(&light, side, (start.x, start.y));
        let found = moments(&light, side, &start, (0.6 * fwhm).max(1.0), true);
        let ellipse = found.map_or(start, |m| m.ellipse);
        Ok(Self {
            side,
            light,
            centre: (ellipse.x, ellipse.y),
            fwhm,
        })
    }

    /// Full width at half maximum in source pixels; 0 for [`Psf::point`].
    pub fn fwhm(&self) -> f64 {
        self.fwhm
    }

    /// The PSF in the galaxy frame: a star of this picture under the map that brings a galaxy's light there,
    /// `angle` degrees the position angle that comes to lie along x, `scale` source pixels to a stamp pixel.
    ///
    /// It goes through the very kernel that galaxies go through, so it holds the kernel too. `side * side`
    /// values (`side` odd) of sum 1, centre at `((side - 1) / 2, (side - 1) / 2)`.
    pub fn stamp(&self, angle: f64, scale: f64, side: usize) -> Vec<f32> {
        let source = Light {
            side: self.side,
            values: &self.light,
        };
        let mut stamp = affine(source, self.centre, angle, scale, side);
        normalise(&mut stamp);
        stamp
    }
}

fn normalise(light: &mut [f32]) {
    let sum = total(light);
    light
        .iter_mut()
        .for_each(|v| *v = (f64::from(*v) / sum) as f32);
}

/// Half-light radius that a PSF in stamp pixels adds in quadrature to a galaxy's, the pixel over which both are
/// measured taken off.
pub fn added_radius(psf: &[f32], side: usize) -> f64 {
    let pixel = 0.5 / std::f64::consts::PI;
    half_light_radius(psf, side, 1.0).map_or(0.0, |r| (r * r - pixel).max(0.0).sqrt())
}

/// Full width at half maximum of an image around a point: twice the mean distance, over 32 directions, at
/// which the light falls below half of that at the point, pixels interpolated linearly.
pub fn full_width(light: &[f32], side: usize, (x, y): (f64, f64)) -> f64 {
    const DIRECTIONS: u32 = 32;
    let pixel = |i: f64, j: f64| {
        let inside = i >= 0.0 && j >= 0.0 && i < side as f64 && j < side as f64;
        if inside {
            f64::from(light[j as usize * side + i as usize])
        } else {
            0.0
        }
    };
    let at = |x: f64, y: f64| {
        let (i, j) = (x.floor(), y.floor());
        let (a, b) = (x - i, y - j);
        let row = |j: f64| (1.0 - a) * pixel(i, j) + a * pixel(i + 1.0, j);
        (1.0 - b) * row(j) + b * row(j + 1.0)
    };
    let half = 0.5 * at(x, y);
    let step = 0.05;
    let mut sum = 0.0;
    for direction in 0..DIRECTIONS {
        let (sin, cos) =
            (std::f64::consts::TAU * f64::from(direction) / f64::from(DIRECTIONS)).sin_cos();
        let mut r = 0.0;
        let mut before = 2.0 * half;
        while r < side as f64 {
            let here = at(x + (r + step) * cos, y + (r + step) * sin);
            if here < half {
                r += step * (before - half) / (before - here);
                break;
            }
            r += step;
            before = here;
        }
        sum += r;
    }
    2.0 * sum / f64::from(DIRECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_come_back_and_scale() {
        for psf in [Psf::gaussian(6.0), Psf::moffat(6.0, SEEING_BETA)] {
            let measured = full_width(&psf.light, psf.side, psf.centre);
            assert!((measured / 6.0 - 1.0).abs() < 0.02, "{measured}");
            for scale in [0.7, 1.3] {
                let stamp = psf.stamp(25.0, scale, 33);
                assert!((total(&stamp) - 1.0).abs() < 1e-5);
                // The kernel of a stamp pixel broadens a little when shrinking.
                let width = full_width(&stamp, 33, (16.0, 16.0)) * scale / 6.0;
                assert!((0.99..1.06).contains(&width), "{width}");
            }
        }
    }

    #[test]
    fn an_image_is_centred_on_its_light_and_faults_are_named() {
        let n = 21;
        let star: Vec<f32> = (0..n * n)
            .map(|k| {
                let (x, y) = ((k % n) as f64 - 10.4, (k / n) as f64 - 9.7);
                (-0.5 * (x * x + y * y) / 4.0).exp() as f32
            })
            .collect();
        let psf = Psf::image(n, n, &star).expect("a star");
        assert!((psf.centre.0 - 10.4).abs() < 1e-3 && (psf.centre.1 - 9.7).abs() < 1e-3);
        let fault = |pixels: &[f32]| Psf::image(n, n, pixels).expect_err("a fault");
        assert!(fault(&vec![f32::NAN; n * n]).contains("finite"));
        assert!(fault(&vec![0.0; n * n]).contains("sum 0"));
        assert!(fault(&[1.0]).contains("21 x 21"));
    }

    #[test]
    fn no_psf_is_one_pixel_and_adds_nothing() {
        let stamp = Psf::point().stamp(30.0, 2.0, 33);
        assert!((stamp[16 * 33 + 16] - 1.0).abs() < 0.05);
        assert!(added_radius(&stamp, 33) < 0.5);
    }
}
