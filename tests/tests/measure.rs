//! galgen's measurements against photutils, GalSim and statmorph on galaxies drawn by GalSim
//! (`goldens/measure.py`).

use galgen_core::measure::{self, Ellipse};
use galgen_tests::tensors::{Tensors, read_safetensors};

const SIDE: usize = 48;
const GALAXIES: [&str; 5] = ["gaussian", "disk", "bulge", "edge", "knots"];

/// Semi-minor axes of photutils, whose overlap of ellipse and pixel is exact, in pixels. galgen gives every
/// pixel a linear ramp of the overlap's mean and width; on a galaxy centred on a pixel's corner eight
/// pixels at a time have the same radius, and the same error.
const RADIUS: f64 = 0.026;
/// GalSim's `calculateHLR` counts whole pixels: what a ring of half-counted pixels holds.
const WHOLE_PIXELS: f64 = 0.15;
/// Axis ratio and angle (degrees) of HSM, whose weight has the size of the light instead of 1.5
/// half-light radii. For a Gaussian any weight gives the same; otherwise the pixel's own roundness
/// counts a little more or less.
const HSM: [(&str, f64, f64); 3] = [
    ("gaussian", 4e-6, 5e-5),
    ("disk", 2e-3, 5e-3),
    ("edge", 5e-3, 1e-6),
];
/// statmorph too turns about the best point with linear interpolation. Its aperture's edge counts exact
/// overlaps, galgen's a ramp: the ring of edge pixels holds 1e-3 of the light, and the shares
/// differ by a few percent. The search ends at 1/1024 pixel.
const ASYMMETRY: f64 = 1e-4;

struct Galaxy {
    name: &'static str,
    image: Vec<f32>,
    tensors: Tensors,
}

impl Galaxy {
    fn values(&self, what: &str) -> &[f64] {
        &self.tensors[&format!("{}.{what}", self.name)].1
    }

    fn ellipse(&self) -> Ellipse {
        Ellipse {
            position_angle: self.values("truth")[1],
            ..Ellipse::centred(SIDE, self.values("truth")[0])
        }
    }
}

fn galaxies() -> Vec<Galaxy> {
    let (tensors, _) = read_safetensors(include_bytes!("../goldens/measure.safetensors"));
    GALAXIES
        .map(|name| Galaxy {
            name,
            image: tensors[&format!("{name}.image")]
                .1
                .iter()
                .map(|&v| v as f32)
                .collect(),
            tensors: tensors.clone(),
        })
        .into()
}

/// Fails if `found` is farther than `tolerance` from `expected`; returns the distance over the tolerance.
fn close(what: &str, found: f64, expected: f64, tolerance: f64) -> f64 {
    let error = (found - expected).abs();
    assert!(error <= tolerance, "{what}: {found}, expected {expected}");
    error / tolerance
}

/// A tolerance that nothing comes near is too loose.
fn tight(what: &str, used: impl IntoIterator<Item = f64>) {
    let most = used.into_iter().fold(0.0, f64::max);
    assert!(most > 0.2, "{what}: only {most} of the tolerance is used");
}

#[test]
fn radii_and_concentration_are_those_of_photutils() {
    let mut used = Vec::new();
    for galaxy in galaxies() {
        let ellipse = galaxy.ellipse();
        let expected = galaxy.values("radii");
        let tolerance = RADIUS / ellipse.axis_ratio;
        let found = measure::radii_holding(&galaxy.image, SIDE, &ellipse, [0.2, 0.5, 0.8]);
        for (found, &expected) in found.expect("light").into_iter().zip(expected) {
            used.push(close(galaxy.name, found, expected, tolerance));
        }
        // Both radii in error.
        let c = measure::concentration_in(&galaxy.image, SIDE, &ellipse).expect("light");
        let tolerance =
            5.0 / std::f64::consts::LN_10 * tolerance * (1.0 / expected[0] + 1.0 / expected[2]);
        close(
            galaxy.name,
            c,
            5.0 * (expected[2] / expected[0]).log10(),
            tolerance,
        );
    }
    tight("radii", used);
}

#[test]
fn the_circular_half_light_radius_is_that_of_photutils_and_galsim() {
    let mut used = Vec::new();
    for galaxy in galaxies() {
        let [exact, whole] = galaxy.values("circular") else {
            panic!("two radii")
        };
        let found = measure::half_light_radius(&galaxy.image, SIDE, 1.0).expect("light");
        close(galaxy.name, found, *exact, RADIUS);
        used.push(close(galaxy.name, found, *whole, WHOLE_PIXELS));
    }
    tight("calculateHLR", used);
}

#[test]
fn axis_ratio_and_angle_are_those_of_adaptive_moments() {
    for galaxy in galaxies() {
        let Some((_, ratio, angle)) = HSM.iter().find(|h| h.0 == galaxy.name) else {
            continue;
        };
        let found = measure::shape(&galaxy.image, SIDE).expect("light").ellipse;
        let expected = galaxy.values("moments");
        let used = close(galaxy.name, found.axis_ratio, expected[0], *ratio);
        tight(galaxy.name, [used]);
        close(galaxy.name, found.position_angle, expected[1], *angle);
    }
}

#[test]
fn asymmetry_is_that_of_statmorph() {
    let mut used = Vec::new();
    for galaxy in galaxies() {
        let [expected, x, y, radius] = galaxy.values("asymmetry") else {
            panic!("four numbers")
        };
        let found = measure::asymmetry(&galaxy.image, SIDE, *x, *y, *radius, 0.0);
        used.push(close(
            galaxy.name,
            found.expect("light"),
            *expected,
            ASYMMETRY,
        ));
    }
    tight("asymmetry", used);
}
