//! Correlation of the sky noise: in a source picture, and in the galaxy frame.

use super::plane::{Plane, median};
use super::resample::kernel_correlation;

/// Lags in source pixels up to which the correlation of a picture's noise is measured.
pub const REACH: usize = 10;
/// Blank pixels further than this many standard deviations from the sky are objects below the detection limit.
const CLIP: f64 = 4.0;
/// Fewest pairs of pixels from which one picture's correlation at a lag is believed.
const FEWEST: u32 = 400;
/// Grid on which a power spectrum is looked at, in multiples of the side of the autocorrelation.
const SPECTRUM: usize = 4;

/// Autocorrelation of the noise of a picture, in source pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct SkyNoise {
    reach: usize,
    /// `[2 reach + 1, 2 reach + 1]`, 1 at the centre, point-symmetric.
    correlation: Vec<f64>,
}

impl SkyNoise {
    /// Independent pixels.
    pub fn white() -> Self {
        Self {
            reach: 0,
            correlation: vec![1.0],
        }
    }

    /// The correlation that an image of odd `side` shows, lag 0 at its centre, made 1 there and point-symmetric.
    ///
    /// The error says what is wrong: an even side, pixels that are not finite, a centre that is not the largest.
    pub fn image(side: usize, pixels: &[f32]) -> Result<Self, String> {
        if side.is_multiple_of(2) || pixels.len() != side * side {
            return Err(format!(
                "a noise correlation of {} pixels, expected a square of odd side",
                pixels.len()
            ));
        }
        let centre = f64::from(pixels[pixels.len() / 2]);
        let largest = |v: &f32| v.is_finite() && f64::from(v.abs()) <= centre;
        if centre <= 0.0 || !pixels.iter().all(largest) {
            return Err(
                "a noise correlation whose central value is not its positive largest".into(),
            );
        }
        let last = pixels.len() - 1;
        let mean = |k: usize| 0.5 * (f64::from(pixels[k]) + f64::from(pixels[last - k])) / centre;
        Ok(Self::about_level(side / 2, (0..=last).map(mean).collect()))
    }

    /// The correlation less its mean at the largest lags: noise that far apart varies together as an error of the
    /// sky's level, which is subtracted from every picture.
    fn about_level(reach: usize, mut correlation: Vec<f64>) -> Self {
        let side = 2 * reach + 1;
        let outer = |k: &usize| {
            [k % side, k / side]
                .iter()
                .any(|i| *i == 0 || *i == side - 1)
        };
        let edge: Vec<f64> = (0..side * side)
            .filter(outer)
            .map(|k| correlation[k])
            .collect();
        if reach > 0 {
            let level = edge.iter().sum::<f64>() / edge.len() as f64;
            correlation
                .iter_mut()
                .for_each(|c| *c = (*c - level) / (1.0 - level));
        }
        Self { reach, correlation }
    }

    /// Correlation at a lag of whole source pixels; 0 beyond what was measured.
    pub fn at(&self, dx: isize, dy: isize) -> f64 {
        let r = self.reach as isize;
        if dx.abs() > r || dy.abs() > r {
            return 0.0;
        }
        self.correlation[((dy + r) * (2 * r + 1) + dx + r) as usize]
    }

    /// The noise in the galaxy frame, through the map that brings the light there (see
    /// [`Psf::stamp`](super::psf::Psf::stamp)): its autocorrelation, `side * side` values (`side` odd) with 1 at
    /// the centre, and its standard deviation as a multiple of that of a source pixel.
    ///
    /// Averaged over where stamp pixels fall between source pixels, the covariance at a lag is the source's
    /// convolved with the kernel's own correlation. Cut off at the edge its power spectrum could turn negative;
    /// as much white noise as that takes is added.
    pub fn stamp(&self, angle: f64, scale: f64, side: usize) -> (Vec<f32>, f64) {
        let (sin, cos) = angle.to_radians().sin_cos();
        let half = (side / 2) as f64;
        let r = self.reach as isize;
        let stretch = scale.max(1.0);
        let along = |lag: f64, d: isize| kernel_correlation((lag - d as f64) / stretch) / stretch;
        let (mut wx, mut wy) = (Vec::new(), Vec::new());
        let mut covariance = Vec::with_capacity(side * side);
        for k in 0..side * side {
            let (u, v) = (
                ((k % side) as f64 - half) * scale,
                ((k / side) as f64 - half) * scale,
            );
            let (x, y) = (u * cos - v * sin, u * sin + v * cos);
            wx.clear();
            wy.clear();
            wx.extend((-r..=r).map(|d| along(x, d)));
            wy.extend((-r..=r).map(|d| along(y, d)));
            let rows = self.correlation.chunks_exact(2 * self.reach + 1).zip(&wy);
            let sum: f64 = rows
                .filter(|(_, b)| **b != 0.0)
                .map(|(row, b)| b * row.iter().zip(&wx).map(|(c, a)| c * a).sum::<f64>())
                .sum();
            covariance.push(sum);
        }
        let variance = covariance[covariance.len() / 2];
        let mut correlation: Vec<f64> = covariance.iter().map(|c| c / variance).collect();
        let white = -lowest_power(&correlation, side).min(0.0);
        let centre = correlation.len() / 2;
        for value in &mut correlation {
            *value /= 1.0 + white;
        }
        correlation[centre] = 1.0;
        (
            correlation.iter().map(|v| *v as f32).collect(),
            variance.sqrt(),
        )
    }
}

/// Smallest value of the power spectrum of an autocorrelation of odd `side`, lag 0 at the centre; the mean of
/// the spectrum is the central value.
pub fn lowest_power(correlation: &[f64], side: usize) -> f64 {
    let n = SPECTRUM * side;
    let half = (side / 2) as isize;
    let wave: Vec<(f64, f64)> = (0..n)
        .map(|k| {
            let (sin, cos) = (std::f64::consts::TAU * k as f64 / n as f64).sin_cos();
            (cos, sin)
        })
        .collect();
    let phase = |f: usize, lag: usize| {
        wave[(f as isize * (lag as isize - half)).rem_euclid(n as isize) as usize]
    };
    let mut lowest = f64::INFINITY;
    // A point-symmetric array has a real spectrum: half of the plane says it all.
    for fx in 0..=n / 2 {
        let columns: Vec<(f64, f64)> = correlation
            .chunks_exact(side)
            .map(|row| {
                row.iter().enumerate().fold((0.0, 0.0), |(a, b), (i, v)| {
                    let (cos, sin) = phase(fx, i);
                    (a + v * cos, b + v * sin)
                })
            })
            .collect();
        for fy in 0..n {
            let power = columns.iter().enumerate().map(|(j, (a, b))| {
                let (cos, sin) = phase(fy, j);
                a * cos - b * sin
            });
            lowest = lowest.min(power.sum());
        }
    }
    lowest
}

/// Sums over blank sky from which [`SkyNoise`] follows; each picture counts by its number of blank pixels,
/// in units of its own variance.
pub struct Measured {
    sums: Vec<f64>,
    weights: Vec<f64>,
    pictures: usize,
}

impl Default for Measured {
    fn default() -> Self {
        let lags = 2 * REACH + 1;
        Self {
            sums: vec![0.0; lags * lags],
            weights: vec![0.0; lags * lags],
            pictures: 0,
        }
    }
}

impl Measured {
    /// Adds the sky of a picture where `blank`; nothing if there is too little of it.
    pub fn add(&mut self, plane: &Plane, blank: &[bool]) {
        let (w, h) = (plane.width, plane.height);
        let mut values: Vec<f32> = (0..w * h)
            .filter(|k| blank[*k])
            .map(|k| plane.pixels[k])
            .collect();
        let Some(level) = median(&mut values) else {
            return;
        };
        values
            .iter_mut()
            .for_each(|v| *v = (f64::from(*v) - level).abs() as f32);
        let limit = CLIP * 1.4826 * median(&mut values).unwrap_or(0.0);
        // 0 where not usable, so that pairs with it add nothing.
        let mut usable = Vec::with_capacity(w * h);
        let mut deviation = Vec::with_capacity(w * h);
        for (k, value) in plane.pixels.iter().enumerate() {
            let d = f64::from(*value) - level;
            let good = blank[k] && d.abs() <= limit && limit > 0.0;
            usable.push(good);
            deviation.push(if good { d as f32 } else { 0.0 });
        }
        let n = usable.iter().filter(|u| **u).count();
        let mean = galgen_core::measure::total(&deviation) / n.max(1) as f64;
        for (d, good) in deviation.iter_mut().zip(&usable) {
            *d -= if *good { mean as f32 } else { 0.0 };
        }
        let variance =
            deviation.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>() / n.max(1) as f64;
        if n < FEWEST as usize || variance <= 0.0 {
            return;
        }
        self.pictures += 1;
        let reach = REACH as isize;
        let lags = 2 * REACH + 1;
        for dy in 0..=reach {
            for dx in -reach..=reach {
                if dy == 0 && dx < 0 {
                    continue;
                }
                let (x0, x1) = (
                    (-dx).max(0) as usize,
                    (w as isize - dx.max(0)).max(0) as usize,
                );
                let (mut sum, mut pairs) = (0.0, 0u32);
                for y in 0..h.saturating_sub(dy as usize) {
                    let other = ((y as isize + dy) * w as isize + dx) as usize;
                    for x in x0..x1.max(x0) {
                        let (i, j) = (y * w + x, other.wrapping_add(x));
                        sum += f64::from(deviation[i] * deviation[j]);
                        pairs += u32::from(usable[i] && usable[j]);
                    }
                }
                if pairs >= FEWEST {
                    for (dx, dy) in [(dx, dy), (-dx, -dy)] {
                        let k = (dy + reach) as usize * lags + (dx + reach) as usize;
                        self.sums[k] += sum / variance * (n as f64 / f64::from(pairs));
                        self.weights[k] += n as f64;
                    }
                }
            }
        }
    }

    /// Pictures that were used.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// Their mean autocorrelation; `None` if no picture had enough blank sky.
    pub fn noise(&self) -> Option<SkyNoise> {
        let centre = self.sums.len() / 2;
        let zero = self.sums[centre] / self.weights[centre];
        let correlation = self
            .sums
            .iter()
            .zip(&self.weights)
            .map(|(s, w)| if *w > 0.0 { s / w / zero } else { 0.0 });
        (self.pictures > 0).then(|| SkyNoise::about_level(REACH, correlation.collect()))
    }
}
