//! Whether drawn galaxies are copies of training galaxies.
//!
//! For each drawn galaxy the distance to the nearest training galaxy, and the same for each held-out galaxy: a model
//! that has learned the population is as far from its training galaxies as new galaxies of that population are, one
//! that copies is nearer. All stamps are as observed, so both samples have the same noise.

use galgen_io::samples::{binomial_tail, quantile, quartiles, rank_test};
use rayon::prelude::*;
use serde_json::{Value, json};

/// Stamps are binned by this before distances are taken, so that noise does not decide.
const BINNING: usize = 4;
/// Quantile of the held-out distances below which a drawn galaxy counts as close.
const CLOSE: f64 = 0.01;
/// Probability below which a difference is not taken for chance.
pub const CHANCE: f64 = 0.01;

/// The nearest training galaxy of one stamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Place in the list of training stamps.
    pub training: usize,
    /// Mirror image of it that is nearest: bit 0 flips x, bit 1 flips y.
    pub flip: usize,
    /// Euclidean distance of the square roots of the binned light.
    pub distance: f64,
}

/// Nearest training galaxies of the held-out and of the drawn galaxies, and what follows.
pub struct Memorisation {
    /// In the order of the held-out stamps.
    pub held_out: Vec<Nearest>,
    /// In the order of the drawn stamps.
    pub drawn: Vec<Nearest>,
}

impl Memorisation {
    /// Compares stamps of `side x side` pixels; no list may be empty. `each` is called after each stamp.
    pub fn of<S: AsRef<[f32]> + Sync>(
        training: &[S],
        held_out: &[S],
        drawn: &[S],
        side: usize,
        each: impl Fn() + Sync,
    ) -> Self {
        let bins = side / BINNING;
        let training: Vec<Vec<f32>> = training.iter().map(|s| binned(s.as_ref(), side)).collect();
        let nearest = |stamp: &S| {
            let stamp = binned(stamp.as_ref(), side);
            let mut best = (f32::INFINITY, 0, 0);
            for flip in 0..4 {
                // Mirroring the one is as good as mirroring all the others.
                let mirrored = mirrored(&stamp, bins, flip);
                for (i, other) in training.iter().enumerate() {
                    let d = squared(&mirrored, other);
                    if d < best.0 {
                        best = (d, i, flip);
                    }
                }
            }
            each();
            Nearest {
                training: best.1,
                flip: best.2,
                distance: f64::from(best.0).sqrt(),
            }
        };
        Self {
            held_out: held_out.par_iter().map(nearest).collect(),
            drawn: drawn.par_iter().map(nearest).collect(),
        }
    }

    fn distances(list: &[Nearest]) -> Vec<f64> {
        list.iter().map(|n| n.distance).collect()
    }

    /// One-sided rank test: small if the drawn galaxies as a whole are nearer to the training galaxies.
    pub fn rank_p(&self) -> f64 {
        rank_test(
            &Self::distances(&self.drawn),
            &Self::distances(&self.held_out),
        )
    }

    /// Share of the drawn galaxies closer than the closest 1 % of the held-out ones, and the probability
    /// of as many or more by chance. The threshold is itself uncertain: it is the `c`-th smallest of n
    /// held-out distances. `d` drawn ones are below it if so many are among the first `d + c - 1` of both samples, which
    /// are judged as independent draws.
    pub fn close(&self) -> (f64, f64) {
        let held_out = Self::distances(&self.held_out);
        let threshold = quantile(&held_out, CLOSE);
        let count = |list: &[Nearest]| list.iter().filter(|n| n.distance <= threshold).count();
        let (real, drawn) = (count(&self.held_out), count(&self.drawn));
        let odds = self.drawn.len() as f64 / (self.drawn.len() + self.held_out.len()) as f64;
        (
            drawn as f64 / self.drawn.len() as f64,
            binomial_tail(drawn, (real + drawn).saturating_sub(1), odds),
        )
    }

    /// Both tests, in figures.
    pub fn json(&self) -> Value {
        let (close, close_p) = self.close();
        json!({
            "about": "distance to the nearest training galaxy (square roots of the light in 4 x 4 pixels, best of four mirror images; everything as observed): quartiles; rank test that drawn galaxies are nearer; share of the drawn nearer than the nearest 1 % of the held-out, with its probability by chance",
            "held_out": quartiles(&Self::distances(&self.held_out)),
            "drawn": quartiles(&Self::distances(&self.drawn)),
            "rank_p": self.rank_p(),
            "close_share": close,
            "close_p": close_p,
            "met": self.met(),
        })
    }

    /// Whether neither test finds the drawn galaxies nearer than chance allows.
    pub fn met(&self) -> bool {
        self.rank_p() >= CHANCE && self.close().1 >= CHANCE
    }

    /// Places of the `count` nearest in one of the lists, nearest first.
    pub fn closest(list: &[Nearest], count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by(|a, b| list[*a].distance.total_cmp(&list[*b].distance));
        order.truncate(count);
        order
    }
}

/// Square roots of the light in square bins, which give faint and bright parts similar noise.
fn binned(stamp: &[f32], side: usize) -> Vec<f32> {
    let bins = side / BINNING;
    let mut sums = vec![0f32; bins * bins];
    for y in 0..bins * BINNING {
        for x in 0..bins * BINNING {
            sums[(y / BINNING) * bins + x / BINNING] += stamp[y * side + x];
        }
    }
    sums.iter().map(|s| s.max(0.0).sqrt()).collect()
}

/// The image with bit 0 of `flip` mirroring x and bit 1 mirroring y.
pub fn mirrored(image: &[f32], side: usize, flip: usize) -> Vec<f32> {
    let at = |i: usize, mirror: bool| if mirror { side - 1 - i } else { i };
    let pixel = |i: usize| image[at(i / side, flip & 2 != 0) * side + at(i % side, flip & 1 != 0)];
    (0..side * side).map(pixel).collect()
}

/// Squared distance, in eight sums that the compiler can keep in one register.
fn squared(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f32 = rest.map(|(x, y)| (x - y) * (x - y)).sum();
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
        }
    }
    rest + sums.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    const SIDE: usize = 16;

    /// Smooth light with a little noise: four blobs at random places.
    fn galaxies(count: u64, id: u64, noise: f64) -> Vec<Vec<f32>> {
        let one = |i: u64| {
            let mut rng = Philox::new(23, id + i, Stream::Training);
            let blobs: Vec<[f64; 2]> = (0..4)
                .map(|_| [0, 1].map(|_| 3.0 + 9.0 * rng.uniform()))
                .collect();
            let mut noisy = Philox::new(24, id + i, Stream::Noise);
            (0..SIDE * SIDE)
                .map(|k| {
                    let (x, y) = ((k % SIDE) as f64, (k / SIDE) as f64);
                    let light =
                        |b: &[f64; 2]| (-0.1 * ((x - b[0]).powi(2) + (y - b[1]).powi(2))).exp();
                    let sum: f64 = blobs.iter().map(light).sum();
                    (sum + noise * noisy.normal()) as f32
                })
                .collect()
        };
        (0..count).map(one).collect()
    }

    /// Seven drawn galaxies are nearer than the nearest of as many held-out ones: so are the first seven of both with a
    /// probability of 2^-7.
    #[test]
    fn the_odds_of_close_galaxies_are_exact() {
        let at = |distance| Nearest {
            training: 0,
            flip: 0,
            distance,
        };
        let found = Memorisation {
            held_out: (0..50).map(|i| at(1.0 + f64::from(i))).collect(),
            drawn: (0..50)
                .map(|i| at(if i < 7 { 0.5 } else { 100.0 }))
                .collect(),
        };
        let (share, p) = found.close();
        assert!(
            (share - 0.14).abs() < 1e-12 && (p - 1.0 / 128.0).abs() < 1e-12,
            "{share} {p}"
        );
    }

    #[test]
    fn new_galaxies_pass_and_copies_are_found() {
        let training = galaxies(60, 0, 0.02);
        let (held_out, new) = (galaxies(60, 1000, 0.02), galaxies(60, 2000, 0.02));
        let honest = Memorisation::of(&training, &held_out, &new, SIDE, || ());
        assert!(honest.met(), "{}", honest.json());
        // Mirrored copies with noise of their own, among new ones.
        let mut copies = new.clone();
        for (i, copy) in copies.iter_mut().take(12).enumerate() {
            let mut rng = Philox::new(25, i as u64, Stream::Noise);
            *copy = mirrored(&training[i], SIDE, i % 4);
            copy.iter_mut()
                .for_each(|v| *v += 0.02 * rng.normal() as f32);
        }
        let some = Memorisation::of(&training, &held_out, &copies, SIDE, || ());
        assert!(!some.met() && some.close().1 < CHANCE, "{}", some.json());
        let mut closest = Memorisation::closest(&some.drawn, 12);
        closest.sort_unstable();
        assert_eq!(closest, (0..12).collect::<Vec<_>>());
        for i in closest {
            let nearest = some.drawn[i];
            assert_eq!((nearest.training, nearest.flip), (i, i % 4));
        }
    }

    #[test]
    fn the_distance_is_that_of_every_element() {
        let a: Vec<f32> = (0..21).map(|i| i as f32).collect();
        let b: Vec<f32> = a.iter().map(|v| v + 2.0).collect();
        assert_eq!(squared(&a, &b), 84.0);
    }
}
