//! All of a galaxy's morphology at once.

use super::growth::radii_reaching;
use super::{Ellipse, Noise, Pixels, adaptive_moments, flux_within};

/// Radius of the aperture in Petrosian radii (Conselice 2003).
const APERTURE: f64 = 1.5;
/// Where the adaptive moments begin, in sides of the stamp.
const FIRST_SIGMA: f64 = 0.1;

/// What [`morphology`] measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Morphology {
    /// Column of the centre of least asymmetry, about which radii are measured.
    pub x: f64,
    /// Row of that centre.
    pub y: f64,
    /// Radius in pixels of the circle that holds half of the light within 1.5 Petrosian radii.
    pub half_light_radius: f64,
    /// Size of the adaptive Gaussian weight in pixels (GalSim's `moments_sigma`).
    pub sigma: f64,
    /// |g| = (1 - q) / (1 + q) of that weight, 0 to 1.
    pub ellipticity: f64,
    /// Axis ratio q of that weight, (0, 1].
    pub axis_ratio: f64,
    /// Angle of its major axis in degrees from +x towards +y, (-90, 90].
    pub position_angle: f64,
    /// Circular Petrosian radius in pixels ([`Pixels::petrosian_radius`]).
    pub petrosian_radius: f64,
    /// C = 5 log10(r80 / r20), circles that hold these percentages of the light within 1.5 Petrosian radii
    /// (Conselice 2003). 2.7 for an exponential disk, about 4.3 for de Vaucouleurs' law.
    pub concentration: f64,
    /// A ([`Pixels::asymmetry`]) within 1.5 Petrosian radii.
    pub asymmetry: f64,
    /// S ([`Pixels::smoothness`]); 0 if the smoothing box is less than two pixels wide (Petrosian
    /// radius below 8 pixels).
    pub smoothness: f64,
    /// Gini coefficient, 0 to 1 ([`Pixels::gini`]).
    pub gini: f64,
    /// M20, below 0 ([`Pixels::m20`]).
    pub m20: f64,
}

/// Measures a galaxy in the middle of a stamp, its sky subtracted: adaptive moments, Petrosian radius and
/// the statistics C, A, S (Conselice 2003), Gini and M20 (Lotz, Primack & Madau 2004), with the conventions of
/// Rodriguez-Gomez et al. (2019, statmorph 0.7).
///
/// Pixels where `observed` is 0 are left out. The sky is taken as 0 with that `noise`, instead of
/// measured in a corner, of which a stamp has too little. Elliptical quantities take their shape from adaptive moments instead of unweighted ones, which noise and the stamp's edge dominate.
/// How far the numbers are from those of GalSim and statmorph is in `tests/tests/morphology.rs`.
///
/// `None` where a part cannot be measured: no light, too faint, or not falling off within the stamp. Never panics on
/// finite values.
///
/// # Panics
/// If `image` or `observed` is not `side * side` long or the noise's autocorrelation not a square of odd side.
pub fn morphology(
    image: &[f32],
    side: usize,
    observed: Option<&[u8]>,
    noise: &Noise,
) -> Option<Morphology> {
    let pixels = Pixels::new(image, side, observed);
    let moments = adaptive_moments(&pixels.light, side, FIRST_SIGMA * side as f64)?;
    let round = |x: f64, y: f64| Ellipse {
        x,
        y,
        axis_ratio: 1.0,
        position_angle: 0.0,
    };
    let Ellipse { x, y, .. } = moments.ellipse;
    let first = pixels.petrosian_radius(&round(x, y))?;
    let asymmetry = pixels.asymmetry(x, y, APERTURE * first, noise)?;
    let circles = round(asymmetry.x, asymmetry.y);
    let petrosian = pixels.petrosian_radius(&circles)?;
    let flux = flux_within(&pixels.light, side, &circles, APERTURE * petrosian);
    if !(flux > 0.0 && flux.is_finite()) {
        return None;
    }
    let targets = [0.2, 0.5, 0.8].map(|f| f * flux);
    let [r20, r50, r80] = radii_reaching(&pixels.light, side, &circles, targets);
    let smoothness = pixels.smoothness(circles.x, circles.y, petrosian, noise);
    let ellipse = Ellipse {
        x: circles.x,
        y: circles.y,
        ..moments.ellipse
    };
    let segment = pixels.segment(&ellipse, pixels.petrosian_radius(&ellipse)?)?;
    (r20 > 0.0).then_some(())?;
    Some(Morphology {
        x: circles.x,
        y: circles.y,
        half_light_radius: r50,
        sigma: moments.sigma,
        ellipticity: moments.ellipticity(),
        axis_ratio: moments.ellipse.axis_ratio,
        position_angle: moments.ellipse.position_angle,
        petrosian_radius: petrosian,
        concentration: 5.0 * libm::log10(r80 / r20),
        asymmetry: asymmetry.value,
        smoothness: smoothness?,
        gini: pixels.gini(&segment)?,
        m20: pixels.m20(&segment)?,
    })
}
