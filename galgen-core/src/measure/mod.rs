//! Shape measurements on a square image: radii holding a fraction of the flux and concentration
//! ([`radius_holding`]), second moments ([`moments()`]), rotational asymmetry ([`asymmetry()`]), the radial
//! profile ([`Pixels::radial_profile`]) and, at once, the statistics of galaxy morphology ([`morphology()`]).
//!
//! Training, the engine and the tests of the generated galaxies all measure with these functions, so
//! that "half-light radius", "axis ratio" and "concentration" mean one thing. An image is row-major
//! `[side, side]` `f32`, pixel centres at integer coordinates; sums run in `f64` in a fixed order, and
//! only `+ - * /` and pure-Rust `libm` functions are used, so results have the same bits on
//! every platform. Radii and moments allocate nothing, [`Pixels`] a few copies of the image. Light is taken
//! as uniform within a pixel.

mod adaptive;
mod asymmetry;
mod growth;
mod moments;
mod morphology;
mod petrosian;
mod pixels;
mod profile;
mod segment;
mod smoothness;

pub use adaptive::{AdaptiveMoments, adaptive_moments};
pub use asymmetry::{Asymmetry, asymmetry};
pub use growth::{
    concentration, concentration_in, flux_within, half_light_radius, radii_holding, radius_holding,
};
pub use moments::{Moments, moments, shape, shape_of_radius};
pub use morphology::{Morphology, morphology};
pub use petrosian::PETROSIAN_RATIO;
pub use pixels::{Noise, Pixels};

use core::f64::consts::PI;

/// A family of concentric ellipses: where they are centred and how they are shaped and turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ellipse {
    /// Column of the centre in pixels (0 is the centre of the first pixel).
    pub x: f64,
    /// Row of the centre in pixels.
    pub y: f64,
    /// Minor over major axis, in (0, 1].
    pub axis_ratio: f64,
    /// Angle of the major axis in degrees, from +x towards +y.
    pub position_angle: f64,
}

impl Ellipse {
    /// Ellipses about the geometric centre of a `side x side` stamp, major axis along x.
    pub fn centred(side: usize, axis_ratio: f64) -> Self {
        let centre = crate::stamp::centre(side);
        Self {
            x: centre,
            y: centre,
            axis_ratio,
            position_angle: 0.0,
        }
    }

    /// The square of the elliptical (semi-major) radius of a point, as a quadratic form of its offset.
    fn quadratic(&self) -> Quadratic {
        let (sin, cos) = libm::sincos(self.position_angle * PI / 180.0);
        Quadratic::turned(1.0, 1.0 / sq(self.axis_ratio), sin, cos)
    }
}

/// xx dx^2 + 2 xy dx dy + yy dy^2, positive definite.
#[derive(Clone, Copy)]
struct Quadratic {
    xx: f64,
    xy: f64,
    yy: f64,
    /// xx yy - xy^2
    determinant: f64,
}

impl Quadratic {
    /// The form with these coefficients along the major and the minor axis, the major axis turned to
    /// the angle given.
    fn turned(major: f64, minor: f64, sin: f64, cos: f64) -> Self {
        Self {
            xx: major * cos * cos + minor * sin * sin,
            xy: (major - minor) * sin * cos,
            yy: major * sin * sin + minor * cos * cos,
            determinant: major * minor,
        }
    }

    fn at(&self, dx: f64, dy: f64) -> f64 {
        (self.xx * dx + 2.0 * self.xy * dy) * dx + self.yy * dy * dy
    }

    /// The columns `first..end`, of 0 to `side`, at which the form is at most `limit` in the row at
    /// `dy` from the centre; `x` is the centre's column.
    fn columns(&self, limit: f64, dy: f64, x: f64, side: usize) -> core::ops::Range<usize> {
        let rest = limit - self.determinant / self.xx * dy * dy;
        if rest.is_nan() || rest < 0.0 {
            return 0..0;
        }
        let (middle, half) = (x - self.xy * dy / self.xx, libm::sqrt(rest / self.xx));
        // A negative number or one beyond the row ends at the row's end; `as` saturates.
        let first = libm::ceil(middle - half).max(0.0) as usize;
        let end = (libm::floor(middle + half) + 1.0).max(0.0) as usize;
        first.min(side)..end.clamp(first.min(side), side)
    }
}

/// Sum of the image in `f64`: four interleaved sums, added at the end.
pub fn total(image: &[f32]) -> f64 {
    sum(image)
}

fn sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0; 4];
    let mut quads = values.chunks_exact(4);
    for quad in &mut quads {
        for (lane, &value) in lanes.iter_mut().zip(quad) {
            *lane += f64::from(value);
        }
    }
    let rest: f64 = quads.remainder().iter().map(|&v| f64::from(v)).sum();
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + rest
}

fn sq(v: f64) -> f64 {
    v * v
}

fn check(image: &[f32], side: usize) {
    assert_eq!(
        image.len(),
        side * side,
        "image of {} pixels is not {side} x {side}",
        image.len()
    );
}

/// Images for the tests of this module.
#[cfg(test)]
mod draw {
    use super::{Ellipse, PI, sq};
    use alloc::vec;
    use alloc::vec::Vec;

    /// Pixel means of `profile(elliptical radius)`, by 6 x 6 points a pixel.
    pub fn draw(side: usize, ellipse: &Ellipse, profile: impl Fn(f64) -> f64) -> Vec<f32> {
        let (sin, cos) = libm::sincos(ellipse.position_angle * PI / 180.0);
        let mut image = vec![0.0; side * side];
        for (k, pixel) in image.iter_mut().enumerate() {
            let mut sum = 0.0;
            for part in 0..36 {
                let dx = (k % side) as f64 + ((part % 6) as f64 - 2.5) / 6.0 - ellipse.x;
                let dy = (k / side) as f64 + ((part / 6) as f64 - 2.5) / 6.0 - ellipse.y;
                let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
                sum += profile(libm::hypot(u, v / ellipse.axis_ratio));
            }
            *pixel = (sum / 36.0) as f32;
        }
        image
    }

    pub fn gaussian(sigma: f64) -> impl Fn(f64) -> f64 {
        move |r| libm::exp(-0.5 * sq(r / sigma))
    }

    pub fn exponential(scale: f64) -> impl Fn(f64) -> f64 {
        move |r| libm::exp(-r / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::draw::{draw, exponential};
    use super::*;
    use alloc::vec;

    #[test]
    fn what_cannot_be_measured_is_none() {
        let empty = vec![0.0; 16 * 16];
        assert_eq!(half_light_radius(&empty, 16, 1.0), None);
        assert_eq!(shape(&empty, 16), None);
        let light = vec![1.0; 16 * 16];
        for q in [0.0, -1.0, 1.1, f64::NAN] {
            assert_eq!(half_light_radius(&light, 16, q), None);
        }
        let circles = Ellipse::centred(16, 1.0);
        for fraction in [0.0, 1.0, f64::NAN] {
            assert_eq!(radius_holding(&light, 16, &circles, fraction), None);
        }
        let unknown = vec![f32::NAN; 256];
        assert_eq!(half_light_radius(&unknown, 16, 1.0), None);
        assert_eq!(moments(&unknown, 16, &circles, 4.0, true), None);
    }

    #[test]
    #[should_panic(expected = "image of 255 pixels is not 16 x 16")]
    fn a_wrong_length_is_named() {
        flux_within(&[0.0; 255], 16, &Ellipse::centred(16, 1.0), 3.0);
    }

    /// The same numbers on every platform: these came from x86-64.
    #[test]
    fn results_have_the_same_bits_everywhere() {
        let truth = Ellipse {
            position_angle: 25.0,
            ..Ellipse::centred(64, 0.4)
        };
        let image = draw(64, &truth, exponential(4.0));
        let found = shape(&image, 64).expect("light");
        let bits = [
            total(&image),
            found.ellipse.axis_ratio,
            found.ellipse.position_angle,
            found.sigma,
            half_light_radius(&image, 64, 1.0).expect("light"),
            concentration(&image, 64, 0.4).expect("light"),
        ]
        .map(f64::to_bits);
        assert_eq!(bits, BITS, "{bits:#018x?}");
    }

    const BITS: [u64; 6] = [
        0x4044_18e9_6f72_5793,
        0x3fd9_d7c1_6b32_1a5d,
        0x4039_0060_2f6b_f054,
        0x4015_4277_3193_81fc,
        0x4012_b8e6_f5c9_68d7,
        0x4007_fadc_22c5_074f,
    ];

    #[test]
    fn a_columns_range_holds_the_points_of_the_ellipse() {
        let form = Ellipse {
            position_angle: 35.0,
            ..Ellipse::centred(40, 0.3)
        }
        .quadratic();
        for row in 0..40 {
            let dy = f64::from(row) - 17.4;
            let columns = form.columns(90.0, dy, 20.7, 40);
            for column in 0..40 {
                let inside = form.at(column as f64 - 20.7, dy) <= 90.0;
                assert_eq!(columns.contains(&column), inside, "{row} {column}");
            }
        }
    }
}
