//! What a wide point-spread function hides: drawn galaxies as the sharpest telescopes of the set see them.
//!
//! Under the conditions of a badly resolved galaxy a model may draw holes and blocks that no comparison through that
//! galaxy's own point-spread function can show. So every drawn galaxy is also observed like one of the best resolved
//! held-out galaxies, and counted as an outlier where it is rougher than all but a few of those, or cannot be measured.

use super::held_out::{HeldOut, NoiseOf};
use galgen_core::measure::{self, Noise};
use galgen_io::samples::{binomial_tail, quantile};
use rayon::prelude::*;
use serde_json::{Value, json};

/// The part of the held-out galaxies that lends its telescopes, and their least number.
const SHARPEST: (usize, usize) = (4, 8);
/// Quantile of the real galaxies above which a galaxy is an outlier.
const TAIL: f64 = 0.99;
/// Probability below which more outliers than the real galaxies have are not taken for chance.
pub const CHANCE: f64 = 0.01;

/// Outliers in one statistic.
#[derive(Clone, Debug)]
pub struct Outliers {
    /// Name in the JSON and in the report.
    pub name: &'static str,
    /// What a galaxy has to exceed.
    pub limit: f64,
    /// Outliers among the sharpest held-out galaxies, and how many these are.
    pub held_out: [usize; 2],
    /// The same of the drawn ones.
    pub drawn: [usize; 2],
}

impl Outliers {
    /// Share of the drawn galaxies.
    pub fn share(&self) -> f64 {
        self.drawn[0] as f64 / self.drawn[1] as f64
    }

    /// Probability of as many outliers or more among the drawn ones if both samples were of one population; the limit is
    /// itself a draw, so that the outliers of both are judged together.
    pub fn p(&self) -> f64 {
        let odds = self.drawn[1] as f64 / (self.drawn[1] + self.held_out[1]) as f64;
        binomial_tail(self.drawn[0], self.drawn[0] + self.held_out[0], odds)
    }

    /// Whether there are no more than chance allows; not if hardly anything could be measured.
    pub fn met(&self) -> bool {
        self.limit.is_finite() && self.p() >= CHANCE
    }

    /// In figures.
    pub fn json(&self) -> Value {
        json!({
            "limit": self.limit,
            "held_out": { "outliers": self.held_out[0], "of": self.held_out[1] },
            "drawn": { "outliers": self.drawn[0], "of": self.drawn[1] },
            "drawn_share": self.share(),
            "p": self.p(),
            "met": self.met(),
        })
    }
}

/// Rough galaxies among the drawn ones, whose `light` is in the order of the held-out ones, whose point-spread functions are
/// `fwhm` pixels wide. Unless it is `intrinsic`, the light has passed one already. `each` is called after each galaxy.
pub fn outliers(
    held_out: &[HeldOut],
    fwhm: &[f32],
    intrinsic: bool,
    light: &[Vec<f32>],
    seed: u64,
    each: impl Fn() + Sync,
) -> [Outliers; 2] {
    let mut sharpest: Vec<usize> = (0..held_out.len()).collect();
    sharpest.sort_by(|&a, &b| fwhm[a].total_cmp(&fwhm[b]).then(a.cmp(&b)));
    sharpest.truncate((held_out.len() / SHARPEST.0).max(SHARPEST.1));
    let real: Vec<[f64; 2]> = sharpest
        .par_iter()
        .map(|&i| rough(&held_out[i].as_measured(), &held_out[i]))
        .collect();
    let drawn: Vec<[f64; 2]> = light
        .par_iter()
        .enumerate()
        .map(|(i, light)| {
            let telescope = HeldOut {
                id: held_out[i].id,
                ..held_out[sharpest[i % sharpest.len()]]
            };
            let seen = match intrinsic {
                true => telescope.blurred(light),
                false => light.clone(),
            };
            let seen = telescope.observed(seen, seed, NoiseOf::Drawn);
            each();
            rough(&seen, &telescope)
        })
        .collect();
    let of = |name, i: usize| {
        let finite = real.iter().map(|row| row[i]).filter(|v| v.is_finite());
        let limit = quantile(&finite.collect::<Vec<_>>(), TAIL);
        // What cannot even be measured is no galaxy.
        let rough = |row: &&[f64; 2]| !row[i].is_finite() || row[i] > limit;
        let count = |rows: &[[f64; 2]]| [rows.iter().filter(rough).count(), rows.len()];
        Outliers {
            name,
            limit,
            held_out: count(&real),
            drawn: count(&drawn),
        }
    };
    [of("asymmetry", 0), of("smoothness", 1)]
}

/// Asymmetry and smoothness of a stamp that was observed as `galaxy` was.
fn rough(stamp: &[f32], galaxy: &HeldOut) -> [f64; 2] {
    let noise = Noise {
        sigma: galaxy.sky,
        acf: galaxy.noise_acf,
    };
    match measure::morphology(stamp, galaxy.side(), None, &noise) {
        Some(m) => [m.asymmetry, m.smoothness],
        None => [f64::NAN; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    const SIDE: usize = 32;

    #[test]
    fn a_sample_that_cannot_be_measured_meets_nothing() {
        let nothing = Outliers {
            name: "smoothness",
            limit: f64::NAN,
            held_out: [8, 8],
            drawn: [24, 24],
        };
        assert!(nothing.p() > CHANCE && !nothing.met());
    }

    /// An exponential disk of unit light; `broken`: with holes in a chequered pattern of 4 x 4 pixels.
    fn galaxy(id: u64, broken: bool) -> Vec<f32> {
        let mut rng = Philox::new(31, id, Stream::Training);
        let (q, scale) = (0.6 + 0.4 * rng.uniform(), 2.5 + rng.uniform());
        let mut light: Vec<f32> = (0..SIDE * SIDE)
            .map(|k| {
                let (x, y) = ((k % SIDE) as f64 - 15.5, (k / SIDE) as f64 - 15.5);
                let dark =
                    broken && (k % SIDE / 4 + k / SIDE / 4).is_multiple_of(2) && x.hypot(y) > 3.0;
                let light = (-x.hypot(y / q) / scale).exp();
                (if dark { 0.2 * light } else { light }) as f32
            })
            .collect();
        let sum: f32 = light.iter().sum();
        light.iter_mut().for_each(|v| *v /= sum);
        light
    }

    /// A point-spread function of 25 x 25 pixels.
    fn gaussian(fwhm: f64) -> Vec<f32> {
        let squared =
            |k: usize| (k as f64 % 25.0 - 12.0).powi(2) + ((k / 25) as f64 - 12.0).powi(2);
        let value = |k| (-4.0 * 2f64.ln() * squared(k) / (fwhm * fwhm)).exp();
        let sum: f64 = (0..625).map(value).sum();
        (0..625).map(|k| (value(k) / sum) as f32).collect()
    }

    #[test]
    fn what_the_seeing_hides_is_found() {
        let kernels = [1.5, 9.0].map(gaussian);
        let n = 320;
        let fwhm: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { 1.5 } else { 9.0 }).collect();
        let blank = HeldOut {
            id: 0,
            stamp: &[0.0; SIDE * SIDE],
            observed: &[1; SIDE * SIDE],
            sky: 1e-5,
            psf: &[1.0],
            noise_acf: &[1.0],
            variance: None,
            conditions: &[],
        };
        let telescope = |i: usize| HeldOut {
            id: i as u64,
            psf: &kernels[i % 2],
            ..blank
        };
        let stamps: Vec<Vec<f32>> = (0..n)
            .map(|i| {
                let telescope = telescope(i);
                let light = telescope.blurred(&galaxy(i as u64, false));
                telescope.observed(light, 7, NoiseOf::Drawn)
            })
            .collect();
        let held_out: Vec<HeldOut> = (0..n)
            .map(|i| HeldOut {
                stamp: &stamps[i],
                ..telescope(i)
            })
            .collect();
        let draws = |broken: &dyn Fn(usize) -> bool| -> Vec<Vec<f32>> {
            let draw = |i: usize| galaxy(1000 + i as u64, broken(i));
            (0..n).map(draw).collect()
        };
        let found = |light: &[Vec<f32>]| outliers(&held_out, &fwhm, true, light, 1, || ());
        for whole in found(&draws(&|_| false)) {
            assert!(whole.met(), "{whole:?}");
        }
        // Half of those with the wide point-spread function.
        let broken = found(&draws(&|i| i % 4 == 1));
        assert!(!broken[1].met(), "{broken:?}");
        assert!((0.2..=0.3).contains(&broken[1].share()), "{broken:?}");
        // No light at all: nothing to measure.
        let mut dark = draws(&|_| false);
        dark.iter_mut()
            .step_by(10)
            .for_each(|stamp| stamp.fill(0.0));
        for dark in found(&dark) {
            assert!(!dark.met() && dark.drawn[0] >= n / 10, "{dark:?}");
        }
    }
}
