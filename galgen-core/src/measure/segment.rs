//! Gini coefficient and M20 of the pixels of a galaxy, and which pixels those are (Lotz, Primack & Madau 2004).

use super::{Ellipse, Pixels, sq};
use alloc::vec;
use alloc::vec::Vec;

/// Standard deviation of the Gaussian with which the image is smoothed before the galaxy's pixels
/// are chosen, in Petrosian radii (Lotz et al. 2004).
const SMOOTHING: f64 = 0.2;
/// Where that Gaussian ends, in standard deviations.
const REACH: f64 = 4.0;

impl Pixels {
    /// The pixels of the galaxy, row-major: where the image smoothed by a Gaussian of 0.2 Petrosian
    /// radii is at least as bright as its mean at the Petrosian radius `petrosian` (semi-major, of
    /// ellipses like `ellipse`), connected (corners count) to the brightest smoothed pixel.
    ///
    /// As Lotz et al. (2004) and Rodriguez-Gomez et al. (2019, statmorph). Beyond the image the light
    /// is 0; pixels not observed take the smoothed light around them and are left out at the end.
    /// `None` if no pixel is that bright or the whole image is.
    pub fn segment(&self, ellipse: &Ellipse, petrosian: f64) -> Option<Vec<bool>> {
        let smooth = self.smoothed(SMOOTHING * petrosian);
        let threshold = self.brightness_at(&smooth, ellipse, petrosian)? as f32;
        let brightest = (0..smooth.len()).reduce(|a, b| if smooth[b] > smooth[a] { b } else { a });
        let mut segment = connected(self.side, brightest?, |k| smooth[k] >= threshold);
        if segment.iter().all(|&s| s) {
            return None;
        }
        for (inside, &seen) in segment.iter_mut().zip(&self.seen) {
            *inside &= seen > 0.0;
        }
        segment.contains(&true).then_some(segment)
    }

    /// The image convolved with a Gaussian of that standard deviation in pixels, over observed pixels.
    fn smoothed(&self, sigma: f64) -> Vec<f32> {
        let reach = libm::floor(REACH * sigma + 0.5) as usize;
        let mut kernel: Vec<f64> = (0..=reach)
            .map(|k| libm::exp(-0.5 * sq(k as f64 / sigma)))
            .collect();
        let norm = 2.0 * kernel.iter().sum::<f64>() - kernel[0];
        for weight in &mut kernel {
            *weight /= norm;
        }
        let light = convolve(&self.light, self.side, &kernel);
        if !self.seen.contains(&0.0) {
            return light.into_iter().map(|v| v as f32).collect();
        }
        // Light lost in holes, but not beyond the edges, is made up for.
        let holes: Vec<f32> = self.seen.iter().map(|s| 1.0 - s).collect();
        let lost = convolve(&holes, self.side, &kernel);
        let filled = light.iter().zip(lost);
        filled
            .map(|(v, l)| if l < 0.999 { v / (1.0 - l) } else { 0.0 } as f32)
            .collect()
    }

    /// Gini coefficient of the absolute values of the pixels of a segment (Lotz et al. 2004, equation 6):
    /// 0 if all are equal, 1 if one has all the light. `None` for fewer than two pixels or no light.
    ///
    /// # Panics
    /// If `segment` has not the image's size.
    pub fn gini(&self, segment: &[bool]) -> Option<f64> {
        let mut values = self.of(segment);
        for value in &mut values {
            *value = libm::fabs(*value);
        }
        values.sort_unstable_by(f64::total_cmp);
        let (n, total) = (values.len() as f64, values.iter().sum::<f64>());
        if values.len() < 2 || !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let ranked = values.iter().enumerate();
        let sum: f64 = ranked.map(|(i, v)| (2.0 * i as f64 + 1.0 - n) * v).sum();
        Some(sum / ((n - 1.0) * total))
    }

    /// M20 = log10(M of the brightest pixels with 20 % of the segment's light / M of all), M = sum of
    /// light times squared distance from the segment's centroid, which minimises M (Lotz et al. 2004,
    /// equations 7 and 8). The pixel that crosses 20 % counts, and all that are as bright.
    ///
    /// `None` if the light or a moment is not positive.
    ///
    /// # Panics
    /// If `segment` has not the image's size.
    pub fn m20(&self, segment: &[bool]) -> Option<f64> {
        let mut values = self.of(segment);
        let total: f64 = values.iter().sum();
        if !(total > 0.0 && total.is_finite()) {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let mut below = 0.0;
        let threshold = values.iter().find(|&&v| {
            below += v;
            below >= 0.8 * total
        });
        let threshold = *threshold?;
        let sum = |weight: &dyn Fn(f64, f64) -> f64, least: f64| -> f64 {
            let pixels = (0..self.light.len()).filter(|&k| segment[k]);
            pixels
                .map(|k| (k, f64::from(self.light[k])))
                .filter(|(_, v)| *v >= least)
                .map(|(k, v)| v * weight((k % self.side) as f64, (k / self.side) as f64))
                .sum()
        };
        let all = f64::NEG_INFINITY;
        let (x, y) = (sum(&|x, _| x, all) / total, sum(&|_, y| y, all) / total);
        let moment = |least: f64| sum(&|px, py| sq(px - x) + sq(py - y), least);
        let (brightest, whole) = (moment(threshold), moment(all));
        (brightest > 0.0 && whole > 0.0).then(|| libm::log10(brightest / whole))
    }

    fn of(&self, segment: &[bool]) -> Vec<f64> {
        assert_eq!(
            segment.len(),
            self.light.len(),
            "segment of {} pixels for an image of {}",
            segment.len(),
            self.light.len()
        );
        let pixels = self
            .light
            .iter()
            .zip(segment)
            .filter(|(_, inside)| **inside);
        pixels.map(|(&v, _)| f64::from(v)).collect()
    }
}

/// Separable convolution with a symmetric kernel given from its centre on; zero beyond the image.
fn convolve(image: &[f32], side: usize, kernel: &[f64]) -> Vec<f64> {
    let mut plane: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
    let mut line = vec![0.0; side];
    for (stride, next) in [(1, side), (side, 1)] {
        for start in (0..side).map(|k| k * next) {
            for (k, value) in line.iter_mut().enumerate() {
                *value = plane[start + k * stride];
            }
            for k in 0..side {
                let mut sum = kernel[0] * line[k];
                for (d, &weight) in kernel.iter().enumerate().skip(1) {
                    let before = if d <= k { line[k - d] } else { 0.0 };
                    let after = if k + d < side { line[k + d] } else { 0.0 };
                    sum += weight * (before + after);
                }
                plane[start + k * stride] = sum;
            }
        }
    }
    plane
}

/// Pixels for which `inside` holds and that touch, through such pixels and by sides or corners, `from`.
fn connected(side: usize, from: usize, inside: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut found = vec![false; side * side];
    let mut open = Vec::new();
    let mut visit = |k: usize, open: &mut Vec<usize>| {
        if !found[k] && inside(k) {
            found[k] = true;
            open.push(k);
        }
    };
    visit(from, &mut open);
    while let Some(k) = open.pop() {
        let (x, y) = (k % side, k / side);
        for ny in y.saturating_sub(1)..=(y + 1).min(side - 1) {
            for nx in x.saturating_sub(1)..=(x + 1).min(side - 1) {
                visit(ny * side + nx, &mut open);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, exponential};
    use super::*;

    const SIDE: usize = 16;

    fn gini(values: &[f32]) -> Option<f64> {
        Pixels::new(values, SIDE, None).gini(&[true; SIDE * SIDE])
    }

    #[test]
    fn gini_goes_from_equality_to_one_bright_pixel() {
        let mut values = [1.0; SIDE * SIDE];
        assert!(gini(&values).expect("light").abs() < 1e-12);
        values.fill(0.0);
        assert_eq!(gini(&values), None);
        values[77] = 3.0;
        assert_eq!(gini(&values), Some(1.0));
        // Half of the pixels share all light equally: G = n / (2 (n - 1)).
        values.fill(0.0);
        values[..128].fill(2.0);
        let found = gini(&values).expect("light");
        assert!((found - 128.0 / 255.0).abs() < 1e-12, "{found}");
        // |f| counts.
        values[..128].fill(-2.0);
        assert_eq!(gini(&values), Some(found));
    }

    /// A uniform square of side n has M = F (n^2 - 1) / 6 about its centre; in its middle a brighter
    /// square of side m that holds 20 % and more of the light.
    #[test]
    fn m20_of_a_bright_square_in_a_square() {
        let (n, m) = (14usize, 4usize);
        let mut values = [0.0f32; SIDE * SIDE];
        let mut put = |width: usize, value: f32| {
            let first = (SIDE - width) / 2;
            for (y, x) in (0..width).flat_map(|y| (0..width).map(move |x| (y, x))) {
                values[(y + first) * SIDE + x + first] += value;
            }
        };
        put(n, 1.0);
        put(m, 9.0);
        let moment = |width: usize, value: f64| {
            let side = width as f64;
            value * side * side * (side * side - 1.0) / 6.0
        };
        let segment: Vec<bool> = values.iter().map(|&v| v > 0.0).collect();
        let found = Pixels::new(&values, SIDE, None).m20(&segment);
        let expected = libm::log10(moment(m, 10.0) / (moment(n, 1.0) + moment(m, 9.0)));
        let found = found.expect("light");
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn a_segment_is_the_connected_bright_part() {
        let side = 64;
        let ellipse = Ellipse {
            position_angle: 30.0,
            ..Ellipse::centred(side, 0.6)
        };
        let mut image = draw(side, &ellipse, exponential(4.0));
        // A companion apart from the galaxy, fainter at its peak.
        image[4 * side + 58] = 3.0;
        let pixels = Pixels::new(&image, side, None);
        let radius = pixels.petrosian_radius(&ellipse).expect("light");
        let segment = pixels.segment(&ellipse, radius).expect("light");
        assert!(!segment[4 * side + 58]);
        let area = segment.iter().filter(|s| **s).count() as f64;
        // The isophote of the smoothed image through the ellipse at the Petrosian radius is rounder
        // than it, and of about its area.
        let expected = core::f64::consts::PI * sq(radius) * 0.6;
        assert!((area / expected - 1.0).abs() < 0.05, "{area} {expected}");
        // Unobserved pixels are left out, and light in them does not matter.
        let hole = 32 * side + 40;
        let mut observed = vec![1u8; side * side];
        observed[hole] = 0;
        image[hole] = 1e9;
        let masked = Pixels::new(&image, side, Some(&observed));
        let found = masked.segment(&ellipse, radius).expect("light");
        let differ = (0..side * side).filter(|&k| found[k] != segment[k]);
        assert!(differ.count() < 5 && !found[hole]);
    }

    #[test]
    fn no_segment_without_an_outside() {
        let pixels = Pixels::new(&[1.0; SIDE * SIDE], SIDE, None);
        // Smoothed against the dark beyond the image the corners are faint: a segment there is.
        let circles = Ellipse::centred(SIDE, 1.0);
        assert!(pixels.segment(&circles, 4.0).is_some());
        let dark = Pixels::new(&[0.0; SIDE * SIDE], SIDE, None);
        assert_eq!(dark.segment(&circles, 4.0), None);
    }
}
