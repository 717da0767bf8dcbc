//! Linear maps from the pixels of a galaxy's stamp to the sky.

use super::error::{RenderError, positive, within};
use core::f64::consts::PI;

/// Invertible 2 x 2 matrix, row-major, that maps an offset from the stamp's centre in pixels of the
/// galaxy frame to an offset on the sky in arcsec.
///
/// `then` composes; a galaxy of the catalogue is
/// `Affine::scale(s)?.then(&Affine::rotation(pa)?).then(&lens.affine())`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine([f64; 4]);

impl Affine {
    /// The map that leaves everything where it is (1 arcsec per pixel).
    pub const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0]);

    /// Matrix `[[m[0], m[1]], [m[2], m[3]]]`.
    ///
    /// # Errors
    /// [`RenderError::SingularMap`] if an entry, the determinant or an entry of the inverse is not
    /// finite, or the determinant is 0.
    pub fn new(m: [f64; 4]) -> Result<Self, RenderError> {
        let determinant = m[0] * m[3] - m[1] * m[2];
        let usable = |v: &f64| v.is_finite() && (v / determinant).is_finite();
        if determinant.is_finite() && m.iter().all(usable) {
            Ok(Self(m))
        } else {
            Err(RenderError::SingularMap {
                found: m,
                determinant,
            })
        }
    }

    /// Pixel scale in arcsec per pixel.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] unless the scale is finite and above 0.
    pub fn scale(arcsec: f64) -> Result<Self, RenderError> {
        let s = positive("pixel scale in arcsec", arcsec)?;
        Self::new([s, 0.0, 0.0, s])
    }

    /// Rotation by `degrees`, counter-clockwise from +x towards +y; multiples of 90 degrees are exact.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] unless the angle is finite.
    pub fn rotation(degrees: f64) -> Result<Self, RenderError> {
        let angle = within(
            "position angle in degrees",
            degrees,
            true,
            "a finite number",
        )?;
        let (sin, cos) = sin_cos_degrees(angle);
        Ok(Self([cos, -sin, sin, cos]))
    }

    /// First this map, then `next`.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let (a, b) = (&next.0, &self.0);
        Self([
            a[0] * b[0] + a[1] * b[2],
            a[0] * b[1] + a[1] * b[3],
            a[2] * b[0] + a[3] * b[2],
            a[2] * b[1] + a[3] * b[3],
        ])
    }

    /// The map that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let (m, d) = (&self.0, self.determinant());
        Self([m[3] / d, -m[1] / d, -m[2] / d, m[0] / d])
    }

    /// Image of one offset.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let m = &self.0;
        [m[0] * x + m[1] * y, m[2] * x + m[3] * y]
    }

    /// Entries, row-major.
    pub fn matrix(&self) -> [f64; 4] {
        self.0
    }

    /// Signed area, in arcsec^2, of the image of one pixel; negative for a mirror image.
    pub fn determinant(&self) -> f64 {
        let m = &self.0;
        m[0] * m[3] - m[1] * m[2]
    }

    /// Largest and smallest stretch, `[major, minor]`: semi-axes of the image of the unit circle.
    pub fn singular_values(&self) -> [f64; 2] {
        let m = &self.0;
        let same = libm::hypot(m[0] + m[3], m[2] - m[1]);
        let mirrored = libm::hypot(m[0] - m[3], m[2] + m[1]);
        [0.5 * (same + mirrored), 0.5 * libm::fabs(same - mirrored)]
    }
}

/// Sine and cosine of an angle in degrees, exact at multiples of 90.
fn sin_cos_degrees(degrees: f64) -> (f64, f64) {
    let turn = libm::fmod(degrees, 360.0);
    let quarter = libm::round(turn / 90.0);
    let rest = (turn - 90.0 * quarter) * (PI / 180.0);
    let (sin, cos) = (libm::sin(rest), libm::cos(rest));
    match (quarter as i32).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Weak lensing of one galaxy, in GalSim's convention (`GSObject.lens`).
///
/// The image is sheared by `S = [[1 + g1, g2], [g2, 1 - g1]] / sqrt(1 - |g|^2)`, which conserves area,
/// and enlarged by `sqrt(mu)`. Surface brightness is conserved, so **the lensed flux is `flux * mu`**;
/// whoever renders multiplies the flux by [`mu`](Self::mu).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    g1: f64,
    g2: f64,
    mu: f64,
}

impl Lens {
    /// No lensing.
    pub const NONE: Self = Self {
        g1: 0.0,
        g2: 0.0,
        mu: 1.0,
    };

    /// Reduced shear `g1`, `g2` and magnification `mu`.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] unless `|g| < 1` and `mu > 0`, all finite.
    pub fn new(g1: f64, g2: f64, mu: f64) -> Result<Self, RenderError> {
        let g = libm::hypot(g1, g2);
        within("reduced shear |g|", g, g < 1.0, "a number in [0, 1)")?;
        positive("magnification mu", mu)?;
        Ok(Self { g1, g2, mu })
    }

    /// Magnification: the factor by which flux and area grow.
    pub fn mu(&self) -> f64 {
        self.mu
    }

    /// The map of the sky, `sqrt(mu) S`.
    pub fn affine(&self) -> Affine {
        let factor = libm::sqrt(self.mu / (1.0 - self.g1 * self.g1 - self.g2 * self.g2));
        let off = factor * self.g2;
        Affine([factor * (1.0 + self.g1), off, off, factor * (1.0 - self.g1)])
    }

    /// Largest stretch, `sqrt(mu) (1 + |g|) / sqrt(1 - |g|^2)`.
    pub fn stretch(&self) -> f64 {
        let g = libm::hypot(self.g1, self.g2);
        libm::sqrt(self.mu) * ((1.0 + g) / libm::sqrt(1.0 - self.g1 * self.g1 - self.g2 * self.g2))
    }
}

/// Where a galaxy goes on the sky, and the pixel scale of the stamp that holds all of it.
///
/// This is the *native* output: as many pixels as the model draws, one pixel scale per object.
/// Render it with `Grid { width: n, height: n, pixel_scale }`; the stamp's light lies within its
/// inscribed circle, whose image is an ellipse of semi-major axis `n / 2` pixels of the new scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeFrame {
    /// Pixels of the galaxy frame to arcsec: `lens * rotation(pa) * scale`.
    pub affine: Affine,
    /// Pixel scale of the native output in arcsec: `scale * sqrt(mu) (1 + |g|) / sqrt(1 - |g|^2)`.
    pub pixel_scale: f64,
}

impl NativeFrame {
    /// `scale` is the pixel scale before lensing in arcsec (half-light radius in arcsec over
    /// half-light radius in pixels), `position_angle` that of the major axis in degrees.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] if `scale` is not above 0 or the angle is not finite;
    /// [`RenderError::SingularMap`] if the product leaves the range of `f64`.
    pub fn new(scale: f64, position_angle: f64, lens: Lens) -> Result<Self, RenderError> {
        let affine = Affine::scale(scale)?
            .then(&Affine::rotation(position_angle)?)
            .then(&lens.affine());
        Ok(Self {
            affine: Affine::new(affine.0)?,
            pixel_scale: scale * lens.stretch(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        libm::fabs(a - b) <= 1e-14 * (1.0 + libm::fabs(b))
    }

    #[test]
    fn inverse_undoes_and_composition_is_application_in_order() {
        let first = Affine::new([0.3, -0.2, 0.7, 1.1]).unwrap();
        let second = Affine::rotation(33.0).unwrap();
        let p = [0.4, -2.5];
        let composed = first.then(&second).apply(p);
        let stepwise = second.apply(first.apply(p));
        let back = first.inverse().apply(first.apply(p));
        for i in 0..2 {
            assert!(near(composed[i], stepwise[i]));
            assert!(near(back[i], p[i]));
        }
    }

    #[test]
    fn rotations_turn_x_towards_y_and_quarter_turns_are_exact() {
        for (degrees, expected) in [
            (0.0, [1.0, 0.0]),
            (90.0, [0.0, 1.0]),
            (180.0, [-1.0, 0.0]),
            (-90.0, [0.0, -1.0]),
            (450.0, [0.0, 1.0]),
        ] {
            assert_eq!(
                Affine::rotation(degrees).unwrap().apply([1.0, 0.0]),
                expected
            );
        }
        let p = Affine::rotation(30.0).unwrap().apply([1.0, 0.0]);
        assert!(near(p[0], libm::sqrt(3.0) / 2.0) && near(p[1], 0.5));
    }

    #[test]
    fn lensing_has_area_mu_and_axes_in_the_ratio_of_the_shear() {
        let lens = Lens::new(0.3, -0.2, 1.7).unwrap();
        let g = libm::hypot(0.3, 0.2);
        let [major, minor] = lens.affine().singular_values();
        assert!(near(lens.affine().determinant(), 1.7));
        assert!(near(minor / major, (1.0 - g) / (1.0 + g)));
        assert!(near(major, lens.stretch()));
        assert_eq!(Lens::NONE.affine(), Affine::IDENTITY);
    }

    #[test]
    fn impossible_maps_name_what_was_found() {
        assert!(Affine::new([1.0, 2.0, 2.0, 4.0]).is_err());
        assert!(Affine::new([1.0, f64::NAN, 0.0, 1.0]).is_err());
        assert!(Affine::scale(0.0).is_err());
        assert!(Affine::rotation(f64::INFINITY).is_err());
        assert!(Lens::new(0.8, 0.6, 1.0).is_err());
        assert!(Lens::new(f64::NAN, 0.0, 1.0).is_err());
        let error = Lens::new(0.0, 0.0, -1.0).unwrap_err();
        assert_eq!(
            alloc::format!("{error}"),
            "magnification mu: found -1, expected a finite number above 0"
        );
    }
}
