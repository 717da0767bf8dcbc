//! One requested galaxy: what a catalogue fixes about it.

use crate::condition::MAX_CONDITIONS;

/// Fluxes, lensed, that stamps of f32 hold to 1e-6 of their sum: pixels below would vanish or lose
/// digits, pixels above overflow.
pub const FLUX_RANGE: core::ops::RangeInclusive<f64> = 1e-33..=1e37;

/// What "half-light radius" means in a request. The engine measures the drawn stamp by the same
/// definition and sets the pixel scale so that the request is met exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeDefinition {
    /// Radius of the circle around the centre that holds half of the stamp's flux, as SExtractor's
    /// FLUX_RADIUS at 0.5 or GalSim's `calculateHLR`.
    #[default]
    Circular,
    /// Semi-major axis of the ellipse, with the requested axis ratio, that holds half of the flux, as in Sersic fits.
    SemiMajor,
}

/// One galaxy to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Identifies the galaxy: with the seed it fixes every random number.
    pub id: u64,
    /// Half-light radius in arcsec before lensing, positive.
    pub half_light_radius: f64,
    /// Which radius that is.
    pub size_definition: SizeDefinition,
    /// Total flux before lensing, in any linear unit; may be 0 but not negative. Times `magnification`
    /// it is 0 or within [`FLUX_RANGE`].
    pub flux: f64,
    /// Position angle of the major axis before lensing, degrees counter-clockwise from +x.
    pub position_angle: f64,
    /// Reduced shear g1, g2; |g| < 1.
    pub shear: [f64; 2],
    /// Magnification, positive: solid angle and flux grow by it.
    pub magnification: f64,
    /// Physical conditions in the order of the model's card; the rest is ignored.
    pub conditions: [f32; MAX_CONDITIONS],
}

impl Object {
    /// An object of unit flux and 1 arcsec (circular) half-light radius, along x, not lensed, with `conditions`
    /// (at most [`MAX_CONDITIONS`]).
    pub fn new(id: u64, conditions: &[f32]) -> Self {
        let mut all = [0.0; MAX_CONDITIONS];
        all[..conditions.len()].copy_from_slice(conditions);
        Object {
            id,
            half_light_radius: 1.0,
            size_definition: SizeDefinition::Circular,
            flux: 1.0,
            position_angle: 0.0,
            shear: [0.0, 0.0],
            magnification: 1.0,
            conditions: all,
        }
    }

    /// Checks every number; `conditions` is how many the model has.
    pub fn check(&self, conditions: usize) -> Result<(), ObjectError> {
        let fail = |field, found, expected| {
            Err(ObjectError {
                field,
                found,
                expected,
            })
        };
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !positive(self.half_light_radius) {
            return fail(
                "half_light_radius",
                self.half_light_radius,
                "a positive number of arcsec",
            );
        }
        if !(self.flux.is_finite() && self.flux >= 0.0) {
            return fail("flux", self.flux, "a finite number, 0 or more");
        }
        if !self.position_angle.is_finite() {
            return fail(
                "position_angle",
                self.position_angle,
                "a finite number of degrees",
            );
        }
        let g = libm::hypot(self.shear[0], self.shear[1]);
        if g.is_nan() || g >= 1.0 {
            return fail("shear", g, "|g| below 1");
        }
        if !positive(self.magnification) {
            return fail("magnification", self.magnification, "a positive number");
        }
        let lensed = self.flux * self.magnification;
        if self.flux > 0.0 && !FLUX_RANGE.contains(&lensed) {
            return fail(
                "flux",
                lensed,
                "0 or, lensed, 1e-33 to 1e37: choose another unit",
            );
        }
        match self.conditions[..conditions]
            .iter()
            .position(|c| !c.is_finite())
        {
            Some(i) => fail(
                CONDITION_FIELDS[i],
                f64::from(self.conditions[i]),
                "a finite number",
            ),
            None => Ok(()),
        }
    }
}

/// Names of the conditions in errors.
const CONDITION_FIELDS: [&str; MAX_CONDITIONS] = [
    "conditions[0]",
    "conditions[1]",
    "conditions[2]",
    "conditions[3]",
    "conditions[4]",
    "conditions[5]",
    "conditions[6]",
    "conditions[7]",
    "conditions[8]",
    "conditions[9]",
    "conditions[10]",
    "conditions[11]",
    "conditions[12]",
    "conditions[13]",
    "conditions[14]",
    "conditions[15]",
];

/// A request that cannot be drawn.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct ObjectError {
    /// Name of the field.
    pub field: &'static str,
    /// Its value.
    pub found: f64,
    /// What would have been right.
    pub expected: &'static str,
}

/// AB magnitude to flux: 10^(-0.4 (magnitude - zero_point)); the zero point is the magnitude of unit flux.
pub fn flux_from_magnitude(magnitude: f64, zero_point: f64) -> f64 {
    libm::pow(10.0, -0.4 * (magnitude - zero_point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named() {
        let good = Object::new(1, &[0.5, 3.0]);
        assert_eq!(good.check(2), Ok(()));
        type Breaks = fn(&mut Object);
        let broken: [(&str, Breaks); 12] = [
            ("flux", |o| o.flux = 1e38),
            ("flux", |o| o.flux = 1e-320),
            ("flux", |o| o.magnification = 1e200),
            ("half_light_radius", |o| o.half_light_radius = -1.0),
            ("half_light_radius", |o| o.half_light_radius = f64::NAN),
            ("flux", |o| o.flux = -1e-9),
            ("flux", |o| o.flux = f64::INFINITY),
            ("position_angle", |o| o.position_angle = f64::NAN),
            ("shear", |o| o.shear = [0.8, 0.7]),
            ("shear", |o| o.shear[0] = f64::NAN),
            ("magnification", |o| o.magnification = 0.0),
            ("conditions[1]", |o| o.conditions[1] = f32::NAN),
        ];
        for (field, breaks) in broken {
            let mut object = good;
            breaks(&mut object);
            assert_eq!(object.check(2).unwrap_err().field, field);
        }
    }

    #[test]
    fn magnitudes() {
        assert!((flux_from_magnitude(25.94, 25.94) - 1.0).abs() < 1e-15);
        assert!((flux_from_magnitude(20.0, 22.5) - 10.0).abs() < 1e-13);
    }
}
