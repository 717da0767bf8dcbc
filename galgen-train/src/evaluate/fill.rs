//! Light for pixels that were not observed, by one rule for real, drawn and Sersic galaxies.

use galgen_core::measure;
use galgen_core::stamp::{centre, window};

/// Rings need this many observed pixels.
const RING_PIXELS: usize = 4;
/// Where the window has fallen below this, pixels say nothing of the profile.
const WINDOW_LEAST: f32 = 0.3;
/// The outer profile is continued with the scale length of its outermost pixels.
const OUTER_RINGS: usize = 6;

/// The stamp with each pixel that was not observed replaced: by the one opposite the centre if that was
/// observed, else by the mean of the observed pixels at its elliptical radius, beyond the last such
/// ring by an exponential that continues the profile.
pub fn fill(stamp: &[f32], observed: &[u8], side: usize) -> Vec<f32> {
    if observed.iter().all(|o| *o != 0) {
        return stamp.to_vec();
    }
    let window = window(side);
    let axis_ratio = measure::shape(stamp, side).map_or(1.0, |m| m.ellipse.axis_ratio);
    let middle = centre(side);
    let radius = |k: usize| {
        let (dx, dy) = ((k % side) as f64 - middle, (k / side) as f64 - middle);
        dx.hypot(dy / axis_ratio)
    };
    let profile = Profile::of(stamp, observed, &window, radius);
    let value = |k: usize| {
        let opposite = stamp.len() - 1 - k;
        if observed[k] != 0 {
            stamp[k]
        } else if observed[opposite] != 0 {
            stamp[opposite]
        } else {
            (profile.at(radius(k)) * f64::from(window[k])) as f32
        }
    };
    (0..stamp.len()).map(value).collect()
}

/// Mean light before the window in rings one pixel wide.
struct Profile {
    rings: Vec<f64>,
    /// Scale length beyond the last ring.
    scale: f64,
}

impl Profile {
    fn of(stamp: &[f32], observed: &[u8], window: &[f32], radius: impl Fn(usize) -> f64) -> Self {
        let mut sums: Vec<(f64, usize)> = Vec::new();
        for k in (0..stamp.len()).filter(|&k| observed[k] != 0 && window[k] > WINDOW_LEAST) {
            let ring = radius(k).round() as usize;
            if sums.len() <= ring {
                sums.resize(ring + 1, (0.0, 0));
            }
            sums[ring].0 += f64::from(stamp[k] / window[k]);
            sums[ring].1 += 1;
        }
        // The rings as far as they are all well measured; the innermost may hold no pixel centre at all.
        let empty = sums.iter().take_while(|(_, count)| *count == 0).count();
        let measured = sums[empty..]
            .iter()
            .take_while(|(_, count)| *count >= RING_PIXELS)
            .map(|(sum, count)| sum / *count as f64);
        let mut rings: Vec<f64> = measured.collect();
        if let Some(&first) = rings.first() {
            rings.splice(0..0, vec![first; empty]);
        }
        let outer = &rings[rings.len().saturating_sub(OUTER_RINGS)..];
        let fall = match outer {
            [first, .., last] if *first > *last && *last > 0.0 => (first / last).ln(),
            _ => 0.0,
        };
        let scale = (outer.len().max(2) - 1) as f64 / fall;
        Self { rings, scale }
    }

    fn at(&self, radius: f64) -> f64 {
        let Some(&last) = self.rings.last() else {
            return 0.0;
        };
        let end = (self.rings.len() - 1) as f64;
        if radius >= end {
            // A profile that does not fall has no scale length, and no light is made up beyond it.
            return if self.scale.is_finite() {
                last * ((end - radius) / self.scale).exp()
            } else {
                0.0
            };
        }
        let (ring, share) = (radius.floor() as usize, radius.fract());
        (1.0 - share) * self.rings[ring] + share * self.rings[ring + 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 48;

    /// An exponential of axis ratio 0.6, under the window.
    fn disk() -> Vec<f32> {
        let (c, window) = (centre(SIDE), window(SIDE));
        (0..SIDE * SIDE)
            .map(|k| {
                let (dx, dy) = ((k % SIDE) as f64 - c, (k / SIDE) as f64 - c);
                (-dx.hypot(dy / 0.6) / 5.0).exp() as f32 * window[k]
            })
            .collect()
    }

    #[test]
    fn observed_pixels_stay_and_masked_ones_return() {
        let disk = disk();
        let mut observed = vec![1u8; SIDE * SIDE];
        // A star on one side, a companion on both, and the frame's edge.
        for (k, seen) in observed.iter_mut().enumerate() {
            let (x, y) = (k % SIDE, k / SIDE);
            let star = (14..18).contains(&x) && (26..30).contains(&y);
            let both = (30..33).contains(&x) && (23..25).contains(&y)
                || (15..18).contains(&x) && (23..25).contains(&y);
            *seen = u8::from(!(star || both || !(6..=41).contains(&x)));
        }
        let mut spoilt = disk.clone();
        let masked = |(pixel, seen): (&mut f32, &u8)| {
            if *seen == 0 {
                *pixel = 0.0
            }
        };
        spoilt.iter_mut().zip(&observed).for_each(masked);
        let filled = fill(&spoilt, &observed, SIDE);
        for k in 0..SIDE * SIDE {
            let error = (filled[k] - disk[k]).abs();
            // Masking changes the measured axis ratio, and rings are a pixel wide.
            let bound = if observed[k] != 0 {
                0.0
            } else {
                0.02 + 0.1 * disk[k]
            };
            assert!(
                error <= bound,
                "{} {}: {} {}",
                k % SIDE,
                k / SIDE,
                filled[k],
                disk[k]
            );
        }
        assert_eq!(fill(&disk, &vec![1; SIDE * SIDE], SIDE), disk);
    }
}
