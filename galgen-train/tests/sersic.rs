//! Best-fit Sersic galaxies against what GalSim drew and against statmorph's fits
//! (`tests/goldens/morphology.py`).

use galgen_tests::tensors::{Tensors, read_safetensors};
use galgen_train::evaluate::sersic::{Fitted, Fitter};

const SIDE: usize = 60;

fn golden() -> Tensors {
    read_safetensors(include_bytes!("../../tests/goldens/morphology.safetensors")).0
}

fn floats(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// The fit to a golden galaxy through the golden PSF; weights for its noise, or equal ones.
fn fit(golden: &Tensors, name: &str) -> Fitted {
    let psf = if name == "sharp" {
        Vec::new()
    } else {
        floats(&golden["psf"].1)
    };
    let sigma = golden[&format!("{name}.sigma")].1[0];
    let weight = if sigma > 0.0 {
        1.0 / (sigma * sigma)
    } else {
        1.0
    };
    let image = floats(&golden[&format!("{name}.image")].1);
    let mut fitter = Fitter::new(SIDE, &psf).expect("square");
    fitter
        .fit(&image, &[weight as f32; SIDE * SIDE])
        .expect("light")
}

/// Index, and share by which index, radius and flux may be off. Stored pixels are rounded to 5e-4. Through
/// a PSF that is known at the pixels only, light finer than two pixels aliases: GalSim's own pixels
/// without PSF, convolved with the golden PSF, are off by 0.0001 (index 1), 0.004 (2) and 0.016 (4) of
/// themselves in the middle. The index follows the middle against the rest with a factor of two to four.
const ALIASED: [(f64, f64); 5] = [
    (0.5, 2e-3),
    (1.0, 2e-3),
    (2.0, 0.02),
    (4.0, 0.07),
    (5.0, 0.10),
];
/// Without a PSF nothing aliases.
const SHARP: f64 = 1e-3;

#[test]
fn what_galsim_drew_is_found() {
    let golden = golden();
    for name in ["half", "disk", "edge", "middle", "bulge", "cusp", "sharp"] {
        let [flux, index, radius, axis_ratio, angle] = golden[&format!("{name}.truth")].1[..]
        else {
            panic!("five numbers")
        };
        let Fitted {
            galaxy, converged, ..
        } = fit(&golden, name);
        let aliased = ALIASED
            .iter()
            .find(|a| a.0 == index)
            .expect("a tolerance")
            .1;
        let tolerance = if name == "sharp" { SHARP } else { aliased };
        for (found, truth) in [
            (galaxy.index, index),
            (galaxy.half_light_radius, radius),
            (galaxy.flux, flux),
            (galaxy.axis_ratio, axis_ratio),
        ] {
            assert!(
                (found / truth - 1.0).abs() < tolerance,
                "{name}: {galaxy:?}"
            );
        }
        let turn = (galaxy.position_angle - angle).to_radians().sin();
        assert!(
            (turn * (1.0 - axis_ratio)).abs() < tolerance,
            "{name}: {galaxy:?}"
        );
        // GalSim's centre is the stamp's.
        assert!(
            (galaxy.x - 29.5).hypot(galaxy.y - 29.5) < 1e-3,
            "{name}: {galaxy:?}"
        );
        assert!(converged);
    }
}

/// Shares of statmorph's index and radius, and its axis ratio: it takes the light at the middle of a pixel
/// for the pixel's mean, which for an exponential of scale h = R / 1.68 is too little by 1 / (24 q^2 h^2)
/// and more near the cusp, and a thin galaxy as thin as its pixels' light, of which the variance has 1/12
/// more. Less than 2 % for disks; bulges, whose cusp fits in a pixel, are not compared.
const POINTS: (f64, f64, f64) = (0.02, 0.01, 0.006);

#[test]
fn disks_are_those_of_statmorph() {
    let golden = golden();
    for name in [
        "half",
        "disk",
        "edge",
        "sharp",
        "knots",
        "knotty",
        "lopsided",
        "off_centre",
        "disk_noisy",
        "knotty_noisy",
        "lopsided_noisy",
    ] {
        let [index, radius, axis_ratio] = golden[&format!("{name}.sersic")].1[..] else {
            panic!("three numbers")
        };
        let Fitted { galaxy, .. } = fit(&golden, name);
        let close = galaxy.index / index - 1.0;
        assert!(close.abs() < POINTS.0, "{name}: {galaxy:?}, {index}");
        let close = galaxy.half_light_radius / radius - 1.0;
        assert!(close.abs() < POINTS.1, "{name}: {galaxy:?}, {radius}");
        let close = galaxy.axis_ratio - axis_ratio;
        assert!(close.abs() < POINTS.2, "{name}: {galaxy:?}, {axis_ratio}");
    }
}
