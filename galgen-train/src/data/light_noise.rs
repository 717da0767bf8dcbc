//! Noise that grows with the light: photons, and in pictures for display the steps of their levels and their compression.

use super::galaxy::Picture;
use super::plane::{Plane, median};

/// Variance of a pixel of light I beyond that of the sky: `linear` I + `square` I^2, none for I < 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LightNoise {
    /// Per unit of light: photons; under a display's power law also its levels.
    pub linear: f64,
    /// Per squared unit: a display's levels and their compression.
    pub square: f64,
}

impl LightNoise {
    /// Of photons, of which `gain` make a unit of light.
    pub fn photons(gain: f64) -> Self {
        Self {
            linear: 1.0 / gain,
            square: 0.0,
        }
    }

    /// Variance beyond the sky's at `light`.
    pub fn variance(&self, light: f64) -> f64 {
        let light = light.max(0.0);
        (self.linear + self.square * light) * light
    }

    /// The growth that comes closest to `(light, variance beyond the sky's, weight)` by least squares, neither
    /// part negative; `None` if neither is positive.
    pub fn fitted(points: impl Iterator<Item = (f64, f64, f64)>) -> Option<Self> {
        let (mut a, mut b) = ([0.0; 3], [0.0; 2]);
        for (light, variance, weight) in points {
            let light = light.max(0.0);
            let basis = [light, light * light];
            a[0] += weight * basis[0] * basis[0];
            a[1] += weight * basis[0] * basis[1];
            a[2] += weight * basis[1] * basis[1];
            b[0] += weight * basis[0] * variance;
            b[1] += weight * basis[1] * variance;
        }
        let ratio = |x: f64, y: f64| if y > 0.0 { (x / y).max(0.0) } else { 0.0 };
        let determinant = a[0] * a[2] - a[1] * a[1];
        let mut growth = Self {
            linear: ratio(b[0] * a[2] - b[1] * a[1], determinant),
            square: ratio(b[1] * a[0] - b[0] * a[1], determinant),
        };
        // On the border of the allowed quarter one part alone is best.
        if growth.linear == 0.0 {
            growth.square = ratio(b[1], a[2]);
        } else if growth.square == 0.0 {
            growth.linear = ratio(b[0], a[0]);
        }
        let sum = growth.linear + growth.square;
        (sum > 0.0 && sum.is_finite()).then_some(growth)
    }
}

/// What makes the part of the noise that grows as the light; the part that grows as its square is a display's, white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linear {
    /// Photons: its spectrum is the sky's, which passed the same resampling.
    Photons,
    /// Levels and compression of a display: white.
    Display,
}

/// Bins of light, each 1.5 times the one before, the first from one standard deviation of the sky.
const BINS: usize = 20;
const BIN_STEP: f64 = 1.5;
/// Fewest pixels of a bin, and most that one picture adds to it, so that no galaxy speaks for all.
const FEWEST: usize = 1000;
const MOST_OF_ONE: usize = 500;
/// Fourth difference.
const DIFFERENCE: [f64; 5] = [1.0, -4.0, 6.0, -4.0, 1.0];
/// From a median absolute deviation to a standard deviation.
const ROBUST: f64 = 1.4826;

/// Fine structure of many pictures, sorted by the light that it lies on.
///
/// What the optics cannot pass is noise. The picture's fourth differences in both directions, over steps of
/// [`Measured::step`] pixels, are blind to polynomials of third order in x or y, and to a galaxy that a
/// point-spread function of that width has smoothed. Their scatter, robust against the few knots that are left, is
/// fitted by a constant (the sky), a part that grows as the light and one that grows as its square. What a scatter in
/// that band means for a pixel depends on the rest of the spectrum, see [`Linear`].
#[derive(Clone, Debug)]
pub struct Measured {
    step: usize,
    blank: Vec<f32>,
    bins: Vec<Vec<f32>>,
    /// Mean variance of the sky of the pictures, and their number.
    sky: (f64, usize),
    /// Standard deviation of the sky of the first picture, from which the bins start.
    unit: f64,
}

impl Measured {
    /// For pictures whose point-spread function has a full width at half maximum of `fwhm` pixels.
    pub fn new(fwhm: f64) -> Self {
        Self {
            step: ((fwhm / 3.0) as usize).max(1),
            blank: Vec::new(),
            bins: vec![Vec::new(); BINS],
            sky: (0.0, 0),
            unit: 0.0,
        }
    }

    /// Pixels between the points of the differences.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Adds a picture: its light above the sky, the noise of that sky, and where there is sky alone.
    pub fn add(&mut self, picture: &Picture, light: &Plane, sigma: f64, blank: &[bool]) {
        let (w, h, d) = (light.width, light.height, self.step);
        if self.sky.1 == 0 {
            self.unit = sigma;
        }
        self.sky = (self.sky.0 + sigma * sigma, self.sky.1 + 1);
        let smooth = light.blurred(1.5 * d as f64);
        let good = |k: usize| picture.observed[k] && !picture.saturated[k];
        let mut added = [0; BINS];
        for (x, y) in light.positions() {
            let inside = x >= 2 * d && y >= 2 * d && x + 2 * d < w && y + 2 * d < h;
            if !inside {
                continue;
            }
            let (mut sum, mut usable, mut empty) = (0.0, true, true);
            for (j, b) in DIFFERENCE.iter().enumerate() {
                for (i, a) in DIFFERENCE.iter().enumerate() {
                    let k = (y + j * d - 2 * d) * w + x + i * d - 2 * d;
                    usable &= good(k);
                    empty &= blank[k];
                    sum += a * b * f64::from(light.pixels[k]);
                }
            }
            if !usable {
                continue;
            }
            let level = f64::from(smooth.pixels[y * w + x]);
            if empty {
                self.blank.push(sum.abs() as f32);
            } else if let Some(bin) = self.bin(level)
                && added[bin] < MOST_OF_ONE
            {
                added[bin] += 1;
                self.bins[bin].push(sum.abs() as f32);
            }
        }
    }

    fn bin(&self, light: f64) -> Option<usize> {
        let at = (light / self.unit).ln() / BIN_STEP.ln();
        (at >= 0.0 && at < BINS as f64).then_some(at as usize)
    }

    /// The growth that the pictures show; `None` if they show none, or too little blank sky.
    pub fn growth(mut self, linear: Linear) -> Option<LightNoise> {
        let scatter = |values: &mut Vec<f32>| {
            let enough = values.len() >= FEWEST;
            enough.then(|| median(values).map(|m| (ROBUST * m).powi(2)))?
        };
        let floor = scatter(&mut self.blank).filter(|v| *v > 0.0)?;
        let sky = self.sky.0 / self.sky.1 as f64;
        let unit = self.unit;
        let points = self
            .bins
            .iter_mut()
            .enumerate()
            .filter_map(|(bin, values)| {
                let light = unit * BIN_STEP.powf(bin as f64 + 0.5);
                let seen = scatter(values)?;
                // Each bin says the scatter to the same fraction of itself.
                Some((light, seen - floor, seen.powi(-2)))
            });
        let seen = LightNoise::fitted(points)?;
        let white = DIFFERENCE.iter().map(|d| d * d).sum::<f64>().powi(2);
        let unit = match linear {
            Linear::Photons => floor / sky,
            Linear::Display => white,
        };
        Some(LightNoise {
            linear: seen.linear / unit,
            square: seen.square / white,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    #[test]
    fn a_fit_finds_what_was_put_in_and_nothing_negative() {
        let truth = LightNoise {
            linear: 0.3,
            square: 0.02,
        };
        let points = |growth: LightNoise, offset: f64| {
            (1..20).map(move |i| {
                let light = f64::from(i);
                (light, growth.variance(light) + offset * light * light, 1.0)
            })
        };
        let found = LightNoise::fitted(points(truth, 0.0)).unwrap();
        assert!((found.linear - 0.3).abs() < 1e-9 && (found.square - 0.02).abs() < 1e-9);
        // Less than linear: the square part would be negative.
        let bent = LightNoise::fitted(points(truth, -0.025)).unwrap();
        assert!(bent.square == 0.0 && bent.linear > 0.0);
        assert_eq!(LightNoise::fitted(points(truth, -1.0)), None);
    }

    /// Smooth galaxies with photon noise and a part proportional to the light, on a sky of its own noise.
    #[test]
    fn noise_on_galaxies_is_found_again() {
        const SIDE: usize = 160;
        let truth = LightNoise {
            linear: 0.02,
            square: 4e-4,
        };
        let mut measured = Measured::new(3.0);
        assert_eq!(measured.step(), 1);
        for id in 0..6 {
            let mut rng = Philox::new(5, id, Stream::Noise);
            let centre = galgen_core::stamp::centre(SIDE);
            let clean = |k: usize| {
                let (dx, dy) = ((k % SIDE) as f64 - centre, (k / SIDE) as f64 - centre);
                60.0 * (-0.5 * (dx * dx + 2.0 * dy * dy) / 400.0).exp()
            };
            let noisy = |k: usize| {
                let variance = 0.25 + truth.variance(clean(k));
                (clean(k) + variance.sqrt() * rng.normal()) as f32
            };
            let light = Plane {
                width: SIDE,
                height: SIDE,
                pixels: (0..SIDE * SIDE).map(noisy).collect(),
            };
            let blank: Vec<bool> = (0..SIDE * SIDE).map(|k| clean(k) < 0.02).collect();
            let picture = Picture {
                plane: light.clone(),
                observed: vec![true; SIDE * SIDE],
                saturated: vec![false; SIDE * SIDE],
            };
            measured.add(&picture, &light, 0.5, &blank);
        }
        // Sky and light have one spectrum here, the white one: both readings are right.
        for linear in [Linear::Photons, Linear::Display] {
            let found = measured.clone().growth(linear).unwrap();
            // Of a bin of 3,000 correlated differences the scatter is known to 5 %.
            for light in [2.0, 10.0, 50.0] {
                let ratio = found.variance(light) / truth.variance(light);
                assert!((ratio - 1.0).abs() < 0.15, "{light}: {ratio} {found:?}");
            }
        }
    }
}
