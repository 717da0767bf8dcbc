//! The law of a training stamp: intrinsic light in the galaxy frame, convolved with `psf`, is the stamp; and the
//! sky's noise has the correlation and the deviation that the set says.

use super::sky::write_fits;
use super::{column, prepare};
use crate::common::Folder;
use galgen_core::rng::{Philox, Stream};
use galgen_train::data::set::TrainingSet;

const SIDE: usize = 64;
const PICTURE: usize = 241;

/// An elliptical Gaussian: standard deviations along its axes, angle in degrees.
#[derive(Clone, Copy, Debug)]
struct Gaussian {
    major: f64,
    minor: f64,
    angle: f64,
}

impl Gaussian {
    /// Covariance (xx, xy, yy).
    fn covariance(self) -> [f64; 3] {
        let (sin, cos) = self.angle.to_radians().sin_cos();
        let (a, b) = (self.major.powi(2), self.minor.powi(2));
        [
            a * cos * cos + b * sin * sin,
            (a - b) * sin * cos,
            a * sin * sin + b * cos * cos,
        ]
    }
}

/// Density of a Gaussian of that covariance.
fn density([xx, xy, yy]: [f64; 3], x: f64, y: f64) -> f64 {
    let det = xx * yy - xy * xy;
    let form = (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det;
    (-0.5 * form).exp() / (std::f64::consts::TAU * det.sqrt())
}

/// What the stamp must be: the intrinsic Gaussian turned and scaled by the set's own numbers, times the pixel's
/// area, summed against the set's PSF.
fn expected(set: &TrainingSet, row: usize, intrinsic: Gaussian) -> Vec<f64> {
    let scale = column(set, "source_scale")[row];
    let frame = Gaussian {
        major: intrinsic.major / scale,
        minor: intrinsic.minor / scale,
        angle: intrinsic.angle - column(set, "source_position_angle_deg")[row],
    };
    let covariance = frame.covariance();
    let (p, psf) = (set.psf_side, set.psf(row));
    let (centre, half) = ((SIDE as f64 - 1.0) / 2.0, (p / 2) as f64);
    let light = |k: usize| {
        let (x, y) = ((k % SIDE) as f64 - centre, (k / SIDE) as f64 - centre);
        let parts = psf.iter().enumerate().map(|(j, value)| {
            let (dx, dy) = ((j % p) as f64 - half, (j / p) as f64 - half);
            f64::from(*value) * density(covariance, x - dx, y - dy)
        });
        parts.sum()
    };
    (0..SIDE * SIDE).map(light).collect()
}

/// Gaussian with Gaussian is Gaussian: the picture is exact, whatever the PSF. Scales from enlarging to shrinking.
#[test]
fn intrinsic_light_convolved_with_the_psf_is_the_stamp() {
    const FWHM: f64 = 5.0;
    let sigma = FWHM / (8.0 * 2f64.ln()).sqrt();
    let table = [
        (4.5, 2.4, 20.0),
        (5.0, 4.0, -65.0),
        (7.0, 3.0, 90.0),
        (14.0, 8.0, 135.0),
        (20.0, 14.0, -10.0),
    ];
    let galaxies = table.map(|(major, minor, angle)| Gaussian {
        major,
        minor,
        angle,
    });
    let mut pixels = Vec::new();
    for (i, galaxy) in galaxies.into_iter().enumerate() {
        let mut rng = Philox::new(11, i as u64, Stream::Noise);
        let [xx, xy, yy] = galaxy.covariance();
        let seen = [xx + sigma * sigma, xy, yy + sigma * sigma];
        let centre = (PICTURE as f64 - 1.0) / 2.0;
        // Off the pixel's middle, on a sky of 1e-5 of the peak.
        let (cx, cy) = (centre + 0.3 * i as f64, centre - 0.2);
        let peak = density(seen, 0.0, 0.0);
        pixels.extend((0..PICTURE * PICTURE).map(|k| {
            let (x, y) = ((k % PICTURE) as f64 - cx, (k / PICTURE) as f64 - cy);
            (1e3 * (density(seen, x, y) / peak + 1e-5 * rng.normal())) as f32
        }));
    }
    let folder = Folder::new("prepare-forward");
    let cube = folder.join("cube.fits");
    write_fits(&cube, &[PICTURE, PICTURE, galaxies.len()], &pixels);
    let options = [
        "--psf-fwhm",
        "5",
        "--psf-profile",
        "gaussian",
        "--min-hlr",
        "4",
    ];
    let set = prepare(&cube, &folder, &options).expect("a set");
    assert_eq!(set.len(), galaxies.len(), "{:?}", set.description.rejected);
    let window = galgen_core::stamp::window(SIDE);
    for (row, galaxy) in galaxies.into_iter().enumerate() {
        let model = expected(&set, row, galaxy);
        let windowed = |(v, w): (&f64, &f32)| v * f64::from(*w);
        let flux: f64 = model.iter().zip(&window).map(windowed).sum();
        let peak = model.iter().fold(0.0, |a: f64, b| a.max(*b)) / flux;
        let worst = set
            .stamp(row)
            .iter()
            .zip(model.iter().zip(&window))
            .map(|(found, pair)| (f64::from(*found) - windowed(pair) / flux).abs() / peak)
            .fold(0.0, f64::max);
        assert!(worst < TOLERANCE, "{galaxy:?}: {worst}");
        // The half-light radius of a Gaussian along its major axis is sqrt(2 ln 2) sigma.
        let radius = column(&set, "source_half_light_radius_px")[row];
        let ratio = radius / (galaxy.major * (2.0 * 2f64.ln()).sqrt());
        assert!((ratio - 1.0).abs() < 0.03, "{galaxy:?}: radius {ratio}");
    }
}

/// Largest error of a pixel in units of the peak: Keys's kernel interpolates to third order, so light that
/// varies within a few pixels comes out this wrong at most, differently at every phase.
const TOLERANCE: f64 = 6e-3;

/// White noise with a faint galaxy, prepared; the stamps' own corners show correlation and deviation.
#[test]
fn noise_has_the_correlation_and_deviation_that_the_set_says() {
    const STAMPS: usize = 24;
    let galaxy = Gaussian {
        major: 5.0,
        minor: 4.0,
        angle: 30.0,
    };
    let covariance = galaxy.covariance();
    let centre = (PICTURE as f64 - 1.0) / 2.0;
    let mut clean = Vec::new();
    let mut noisy = Vec::new();
    for i in 0..STAMPS {
        let mut rng = Philox::new(12, i as u64, Stream::Noise);
        let peak = density(covariance, 0.0, 0.0);
        for k in 0..PICTURE * PICTURE {
            let (x, y) = ((k % PICTURE) as f64 - centre, (k / PICTURE) as f64 - centre);
            let light = 100.0 * density(covariance, x, y) / peak;
            clean.push(light as f32);
            noisy.push((light + rng.normal()) as f32);
        }
    }
    let folder = Folder::new("prepare-noise");
    let cube = folder.join("cube.fits");
    write_fits(&cube, &[PICTURE, PICTURE, STAMPS], &noisy);
    let set = prepare(&cube, &folder, &["--min-hlr", "4"]).expect("a set");
    assert!(set.len() == STAMPS && set.description.noise.contains("24 pictures"));
    // Galaxy and sky are known: what is left beyond three half-light radii, where the window is 1, is noise.
    let ring = |k: usize| {
        let c = (SIDE as f64 - 1.0) / 2.0;
        let (x, y) = ((k % SIDE) as f64 - c, (k / SIDE) as f64 - c);
        x.hypot(y) < 25.0
    };
    let (mut sums, mut pairs, mut sigma) = ([0.0; 4], [0.0; 4], 0.0);
    for row in 0..STAMPS {
        let model = expected(&set, row, galaxy);
        let scale = column(&set, "source_scale")[row];
        let (stamp, flux) = (set.stamp(row), column(&set, "source_flux")[row]);
        let light = 100.0 / density(covariance, 0.0, 0.0);
        let residual: Vec<f64> = (0..SIDE * SIDE)
            .map(|k| f64::from(stamp[k]) * flux - model[k] * light)
            .collect();
        sigma += column(&set, "sky_sigma")[row] * flux / (scale * scale * STAMPS as f64);
        for k in (0..SIDE * SIDE).filter(|k| ring(*k)) {
            for (lag, step) in [0, 1, SIDE, 2].into_iter().enumerate() {
                if k + step < SIDE * SIDE && ring(k + step) {
                    sums[lag] += residual[k] * residual[k + step] / (scale * scale).powi(2);
                    pairs[lag] += 1.0;
                }
            }
        }
    }
    let measured: Vec<f64> = sums.iter().zip(pairs).map(|(s, n)| s / n).collect();
    let ratio = sigma / measured[0].sqrt();
    assert!((ratio - 1.0).abs() < 0.05, "deviation {ratio}");
    let side = set.acf_side;
    let centre = side * (side / 2) + side / 2;
    for (lag, step) in [0, 1, side, 2].into_iter().enumerate() {
        let (found, said) = (
            measured[lag] / measured[0],
            f64::from(set.noise_acf(0)[centre + step]),
        );
        assert!((found - said).abs() < 0.03, "lag {lag}: {found} {said}");
    }
}
