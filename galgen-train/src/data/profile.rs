//! Mean light of a galaxy on concentric ellipses, continued outwards as an exponential.

use super::plane::median;
use galgen_core::measure::Ellipse;

/// Width of an annulus in source pixels.
const STEP: f64 = 1.0;
/// Fewest pixels from which an annulus takes its own median.
const FEWEST: usize = 6;

/// Surface brightness against elliptical (semi-major) radius.
pub struct Profile {
    /// Median per annulus, index = radius / STEP.
    rings: Vec<f64>,
    /// Radius from which the exponential continues, its value there and scale length.
    outer: (f64, f64, f64),
}

/// Elliptical radius of every pixel of a `side * side` picture.
pub fn radii(ellipse: &Ellipse, side: usize) -> Vec<f64> {
    let (sin, cos) = ellipse.position_angle.to_radians().sin_cos();
    let mut out = Vec::with_capacity(side * side);
    for row in 0..side {
        let dy = row as f64 - ellipse.y;
        for column in 0..side {
            let dx = column as f64 - ellipse.x;
            let (u, v) = (
                dx * cos + dy * sin,
                (dy * cos - dx * sin) / ellipse.axis_ratio,
            );
            out.push((u * u + v * v).sqrt());
        }
    }
    out
}

/// Elliptical radius of a point.
pub fn radius(ellipse: &Ellipse, x: f64, y: f64) -> f64 {
    let (sin, cos) = ellipse.position_angle.to_radians().sin_cos();
    let (dx, dy) = (x - ellipse.x, y - ellipse.y);
    (dx * cos + dy * sin).hypot((dy * cos - dx * sin) / ellipse.axis_ratio)
}

impl Profile {
    /// Profile of the pixels that `usable` admits, trusted out to the last annulus that the image holds at
    /// least a third of; beyond it an exponential through the outer half of the trusted part.
    ///
    /// `radii` holds every pixel's elliptical radius, `axis_ratio` that of the ellipses and `half_light` the
    /// galaxy's half-light radius, the longest scale length that is believed.
    pub fn of(
        image: &[f32],
        radii: &[f64],
        usable: &[bool],
        axis_ratio: f64,
        half_light: f64,
    ) -> Option<Self> {
        let mut annuli: Vec<Vec<f32>> = Vec::new();
        for (k, &value) in image.iter().enumerate().filter(|(k, _)| usable[*k]) {
            let ring = (radii[k] / STEP) as usize;
            if annuli.len() <= ring {
                annuli.resize(ring + 1, Vec::new());
            }
            annuli[ring].push(value);
        }
        let full =
            |ring: usize| std::f64::consts::TAU * (ring as f64 + 0.5) * STEP * STEP * axis_ratio;
        let mut rings: Vec<f64> = Vec::new();
        let mut trusted = 0;
        for (ring, values) in annuli.iter_mut().enumerate() {
            if values.len() as f64 >= 0.33 * full(ring) && (values.len() >= FEWEST || ring < 4) {
                trusted = ring + 1;
            }
            let here = median(values).filter(|_| values.len() >= FEWEST || ring < 4);
            rings.push(here.or(rings.last().copied()).unwrap_or(0.0));
        }
        if trusted < 4 {
            return None;
        }
        rings.truncate(trusted);
        // Straight line through log light over the outer half, each ring weighted by its light.
        let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (ring, &value) in rings
            .iter()
            .enumerate()
            .skip(trusted / 2)
            .filter(|(_, v)| **v > 0.0)
        {
            let (x, y, w) = ((ring as f64 + 0.5) * STEP, value.ln(), value);
            n += w;
            sx += w * x;
            sy += w * y;
            sxx += w * x * x;
            sxy += w * x * y;
        }
        let end = trusted as f64 * STEP;
        let spread = n * sxx - sx * sx;
        let slope = if spread > 0.0 {
            (n * sxy - sx * sy) / spread
        } else {
            0.0
        };
        // A sky error or a halo cannot make it flatter than the galaxy is large.
        let length = if slope < 0.0 {
            (-1.0 / slope).clamp(0.1 * half_light, half_light)
        } else {
            half_light
        };
        let edge = &rings[trusted.saturating_sub(3)..];
        let value = (edge.iter().sum::<f64>() / edge.len() as f64).max(0.0);
        Some(Self {
            rings,
            outer: (end - 1.5 * STEP, value, length),
        })
    }

    /// Light at an elliptical radius.
    pub fn at(&self, r: f64) -> f64 {
        let (start, value, length) = self.outer;
        if r >= start {
            return value * (-(r - start) / length).exp();
        }
        let t = (r / STEP - 0.5).max(0.0);
        let (i, f) = (t as usize, t.fract());
        let here = self.rings[i.min(self.rings.len() - 1)];
        let next = self.rings[(i + 1).min(self.rings.len() - 1)];
        here + f * (next - here)
    }
}
