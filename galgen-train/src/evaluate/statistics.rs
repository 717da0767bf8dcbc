//! The numbers that are measured on every galaxy, real, drawn or Sersic.

use super::held_out::HeldOut;
use super::sersic::{Fitter, Sersic};
use super::spectrum::power_spectrum;
use super::yardstick::Row;
use galgen_core::measure::{self, Ellipse, Noise, Pixels};
use std::f64::consts::TAU;

/// Edges of the rings of the radial profile, in half-light radii.
pub const RINGS: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0];

/// One number of a galaxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name in the JSON.
    pub key: &'static str,
    /// Name and unit in the report.
    pub label: &'static str,
    /// The group of [`GROUPS`] of which this is a part.
    pub group: Option<&'static str>,
}

/// What consists of several numbers: name in the JSON and in the report.
pub const GROUPS: [(&str, &str); 2] = [
    ("radial_profile", "radial profile"),
    ("power_spectrum", "power spectrum"),
];

const fn single(key: &'static str, label: &'static str) -> Column {
    Column {
        key,
        label,
        group: None,
    }
}

const fn ring(key: &'static str, label: &'static str) -> Column {
    Column {
        key,
        label,
        group: Some(GROUPS[0].0),
    }
}

const fn power(key: &'static str, label: &'static str) -> Column {
    Column {
        key,
        label,
        group: Some(GROUPS[1].0),
    }
}

/// Every number, in the order of a row.
pub const COLUMNS: [Column; 25] = [
    single("half_light_radius", "half-light radius, pixels"),
    single("sigma", "adaptive-moment size, pixels"),
    single("ellipticity", "adaptive-moment ellipticity"),
    single("concentration", "concentration"),
    single("asymmetry", "asymmetry"),
    single("smoothness", "smoothness"),
    single("gini", "Gini"),
    single("m20", "M20"),
    single("sersic_index", "Sersic index n of the best fit"),
    ring("profile_0", "profile, 0 to 0.25 half-light radii"),
    ring("profile_1", "profile, 0.25 to 0.5"),
    ring("profile_2", "profile, 0.5 to 0.75"),
    ring("profile_3", "profile, 0.75 to 1"),
    ring("profile_4", "profile, 1 to 1.5"),
    ring("profile_5", "profile, 1.5 to 2"),
    ring("profile_6", "profile, 2 to 2.5"),
    ring("profile_7", "profile, 2.5 to 3"),
    power("power_0", "log10 power, largest scales"),
    power("power_1", "log10 power"),
    power("power_2", "log10 power"),
    power("power_3", "log10 power"),
    power("power_4", "log10 power"),
    power("power_5", "log10 power"),
    power("power_6", "log10 power"),
    power("power_7", "log10 power, smallest scales"),
];

/// Place of a column.
pub fn column(key: &str) -> Option<usize> {
    COLUMNS.iter().position(|c| c.key == key)
}

/// Places of the columns of a group.
pub fn group(name: &str) -> Vec<usize> {
    let of = |i: &usize| COLUMNS[*i].group == Some(name);
    (0..COLUMNS.len()).filter(of).collect()
}

/// A row in which nothing can be measured.
pub fn unmeasured() -> Row {
    vec![f64::NAN; COLUMNS.len()]
}

/// Measures a stamp that was observed as `galaxy` was: every number of [`COLUMNS`], NaN where it cannot be
/// measured, and the best-fit Sersic galaxy. Rings are in units of `half_light_radius` pixels.
pub fn row(
    stamp: &[f32],
    galaxy: &HeldOut,
    half_light_radius: f64,
    fitter: &mut Fitter,
) -> (Row, Option<Sersic>) {
    let side = galaxy.side();
    let noise = Noise {
        sigma: galaxy.sky,
        acf: galaxy.noise_acf,
    };
    let mut row = unmeasured();
    let mut put = |key: &str, value: f64| row[column(key).expect("a column")] = value;
    let flux = measure::total(stamp);
    if let Some(m) = measure::morphology(stamp, side, None, &noise) {
        put("half_light_radius", m.half_light_radius);
        put("sigma", m.sigma);
        put("ellipticity", m.ellipticity);
        put("concentration", m.concentration);
        put("asymmetry", m.asymmetry);
        put("smoothness", m.smoothness);
        put("gini", m.gini);
        put("m20", m.m20);
        let ellipse = Ellipse {
            x: m.x,
            y: m.y,
            axis_ratio: m.axis_ratio,
            position_angle: m.position_angle,
        };
        let edges = RINGS.map(|r| r * half_light_radius);
        let mean_brightness = flux / (TAU * m.axis_ratio * half_light_radius.powi(2));
        let profile = Pixels::new(stamp, side, None).radial_profile(&ellipse, &edges);
        for (i, brightness) in group("radial_profile").into_iter().zip(profile) {
            row[i] = brightness / mean_brightness;
        }
    }
    let power = binned_power(&power_spectrum(stamp, side));
    for (i, power) in group("power_spectrum").into_iter().zip(power) {
        row[i] = (power * (side * side) as f64 / (flux * flux)).log10();
    }
    let fit = fitter.fit(stamp, &galaxy.weights()).map(|f| f.galaxy);
    if let Some(fit) = fit {
        row[column("sersic_index").expect("a column")] = fit.index;
    }
    (row, fit)
}

/// Parts of a power spectrum.
const PARTS: usize = 8;

/// First rings of the parts of a spectrum of `rings` rings, and its end: equal ratios from ring 1 on, each part at
/// least one ring wide. Ring 0 holds the flux alone.
fn part_edges(rings: usize) -> [usize; PARTS + 1] {
    let mut edges = [1; PARTS + 1];
    for i in 1..=PARTS {
        let ideal = (rings as f64).powf(i as f64 / PARTS as f64).round() as usize;
        edges[i] = ideal.max(edges[i - 1] + 1);
    }
    edges
}

/// Mean power of the waves in each part, NaN where a small stamp has none; a ring has waves in proportion to its number.
fn binned_power(rings: &[f64]) -> [f64; PARTS] {
    let edges = part_edges(rings.len());
    std::array::from_fn(|i| {
        let part = || (edges[i]..edges[i + 1]).filter(|&j| j < rings.len());
        let waves: f64 = part().map(|j| j as f64).sum();
        part().map(|j| j as f64 * rings[j]).sum::<f64>() / waves
    })
}

/// Wavenumber in the middle of each part of the power spectrum of a stamp, in cycles a pixel.
pub fn wavenumbers(side: usize) -> [f64; PARTS] {
    let edges = part_edges(side / 2 + 1);
    let middle = |i: usize| 0.5 * (edges[i] + edges[i + 1] - 1) as f64;
    std::array::from_fn(|i| middle(i) / side as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_names_of_their_own_and_groups_all_parts() {
        for (i, c) in COLUMNS.iter().enumerate() {
            assert_eq!(column(c.key), Some(i));
        }
        assert_eq!(group("radial_profile").len(), RINGS.len() - 1);
        assert_eq!(group("power_spectrum").len(), PARTS);
    }

    #[test]
    fn parts_of_the_spectrum_cover_every_wave_once() {
        assert_eq!(part_edges(33), [1, 2, 3, 4, 6, 9, 14, 21, 33]);
        assert_eq!(part_edges(9), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(part_edges(65)[PARTS], 65);
        // Flat power is flat, and a small stamp has no more parts than rings.
        assert!(
            binned_power(&[2.0; 33])
                .iter()
                .all(|p| (p - 2.0).abs() < 1e-12)
        );
        assert_eq!(
            binned_power(&[2.0; 5])
                .iter()
                .filter(|p| p.is_finite())
                .count(),
            4
        );
        assert!(wavenumbers(64).windows(2).all(|w| w[0] < w[1]) && wavenumbers(64)[7] < 0.5);
    }
}
