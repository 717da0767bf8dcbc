//! One band of a source picture, its sky and its objects.

/// A rectangular image, row-major `[height, width]`.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values.
    pub pixels: Vec<f32>,
}

impl Plane {
    /// Columns and rows of every pixel, in storage order.
    pub fn positions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (width, height) = (self.width, self.height);
        (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
    }

    /// The image convolved with a Gaussian of `sigma` pixels, edges repeated.
    pub fn blurred(&self, sigma: f64) -> Self {
        let reach = (3.0 * sigma).ceil() as isize;
        let mut kernel: Vec<f64> = (-reach..=reach)
            .map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp())
            .collect();
        let sum: f64 = kernel.iter().sum();
        kernel.iter_mut().for_each(|k| *k /= sum);
        let along = |src: &[f32], step: usize, n: usize, base: usize, i: usize| -> f32 {
            let mut value = 0.0;
            for (k, weight) in kernel.iter().enumerate() {
                let j = (i as isize + k as isize - reach).clamp(0, n as isize - 1) as usize;
                value += weight * f64::from(src[base + j * step]);
            }
            value as f32
        };
        let rows: Vec<f32> = self
            .positions()
            .map(|(x, y)| along(&self.pixels, 1, self.width, y * self.width, x))
            .collect();
        let pixels = self
            .positions()
            .map(|(x, y)| along(&rows, self.width, self.height, x, y))
            .collect();
        Self { pixels, ..*self }
    }
}

/// Level and noise of an image's background.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sky {
    /// Background level.
    pub level: f64,
    /// Standard deviation of one pixel.
    pub sigma: f64,
}

/// Sky level and noise from the image's border.
///
/// The border, an eighth of the shorter side wide, is cut into the four corners and the four edges, each
/// sigma-clipped at 3 sigma about its median. If the levels agree within the noise their median is the
/// sky; if not, light of a galaxy or a star reaches some of them, and the mean of the three lowest is.
/// `None` for images below 16 pixels or with a constant border.
pub fn sky(plane: &Plane) -> Option<Sky> {
    let (w, h) = (plane.width, plane.height);
    let border = w.min(h) / 8;
    if border < 2 {
        return None;
    }
    let spans = |n: usize| [(0, border), (border, n - border), (n - border, n)];
    let mut blocks = Vec::new();
    for (j, (y0, y1)) in spans(h).into_iter().enumerate() {
        for (i, (x0, x1)) in spans(w).into_iter().enumerate() {
            if (i, j) != (1, 1) {
                let values = (y0..y1).flat_map(|y| (x0..x1).map(move |x| (x, y)));
                let values = values
                    .map(|(x, y)| plane.pixels[y * w + x])
                    .filter(|v| v.is_finite())
                    .collect();
                blocks.extend(clipped(values));
            }
        }
    }
    if blocks.len() < 3 {
        return None;
    }
    blocks.sort_by(|a, b| a.level.total_cmp(&b.level));
    let lowest = &blocks[..3];
    let mut sigmas = [lowest[0].sigma, lowest[1].sigma, lowest[2].sigma];
    sigmas.sort_by(f64::total_cmp);
    let sigma = sigmas[1];
    let agree = blocks[blocks.len() - 2].level - blocks[1].level < 0.5 * sigma;
    let level = if agree {
        blocks[blocks.len() / 2].level
    } else {
        lowest.iter().map(|b| b.level).sum::<f64>() / 3.0
    };
    (sigma > 0.0).then_some(Sky { level, sigma })
}

/// Median and robust standard deviation after clipping at 3 sigma.
pub fn clipped(mut values: Vec<f32>) -> Option<Sky> {
    for _ in 0..6 {
        let level = median(&mut values)?;
        let mut deviations: Vec<f32> = values
            .iter()
            .map(|v| (f64::from(*v) - level).abs() as f32)
            .collect();
        // 1.4826 turns the median absolute deviation of a Gaussian into its standard deviation. Where more than half of the
        // pixels have one value (a display that cuts the sky off) that is 0, and the mean deviation has to do.
        let sigma = 1.4826 * median(&mut deviations)?;
        if sigma == 0.0 {
            let sum: f64 = deviations.iter().map(|d| f64::from(*d)).sum();
            let sigma = 1.2533 * sum / deviations.len() as f64;
            return Some(Sky { level, sigma });
        }
        let before = values.len();
        values.retain(|v| (f64::from(*v) - level).abs() <= 3.0 * sigma);
        if values.len() == before || values.len() < 8 {
            return Some(Sky { level, sigma });
        }
    }
    let level = median(&mut values)?;
    let variance = values
        .iter()
        .map(|v| (f64::from(*v) - level).powi(2))
        .sum::<f64>()
        / values.len() as f64;
    Some(Sky {
        level,
        sigma: variance.sqrt(),
    })
}

/// Median of the values (their order changes); the mean of the middle two for an even count.
pub fn median(values: &mut [f32]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, middle, _) = values.select_nth_unstable_by(n / 2, f32::total_cmp);
    let middle = f64::from(*middle);
    if n % 2 == 1 {
        return Some(middle);
    }
    let lower = below
        .iter()
        .copied()
        .max_by(f32::total_cmp)
        .map_or(middle, f64::from);
    Some(0.5 * (lower + middle))
}

/// Connected groups (8 neighbours) of the pixels where `on`: a label per pixel, 0 for none, and the
/// number of groups.
pub fn label(on: &[bool], width: usize, height: usize) -> (Vec<u32>, u32) {
    let mut labels = vec![0; on.len()];
    let mut count = 0;
    let mut stack = Vec::new();
    for seed in 0..on.len() {
        if !on[seed] || labels[seed] != 0 {
            continue;
        }
        count += 1;
        labels[seed] = count;
        stack.push(seed);
        while let Some(at) = stack.pop() {
            for next in neighbours(at, width, height) {
                if on[next] && labels[next] == 0 {
                    labels[next] = count;
                    stack.push(next);
                }
            }
        }
    }
    (labels, count)
}

/// Indices of the up to 8 pixels around one.
pub fn neighbours(at: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (at % width, at / width);
    let rows = y.saturating_sub(1)..=(y + 1).min(height - 1);
    let columns = x.saturating_sub(1)..=(x + 1).min(width - 1);
    rows.flat_map(move |j| columns.clone().map(move |i| j * width + i))
        .filter(move |&k| k != at)
}

/// The mask grown by every pixel within `radius` of it.
pub fn grown(mask: &[bool], width: usize, height: usize, radius: f64) -> Vec<bool> {
    let mut out = mask.to_vec();
    let reach = radius.floor() as isize;
    for (at, _) in mask.iter().enumerate().filter(|(_, on)| **on) {
        let (x, y) = ((at % width) as isize, (at / width) as isize);
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let (i, j) = (x + dx, y + dy);
                let inside = i >= 0 && j >= 0 && i < width as isize && j < height as isize;
                if inside && ((dx * dx + dy * dy) as f64) <= radius * radius {
                    out[j as usize * width + i as usize] = true;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sky_ignores_an_object_and_a_star_on_the_border() {
        let n = 80;
        let mut state = 1u32;
        let mut plane = Plane {
            width: n,
            height: n,
            pixels: vec![0.0; n * n],
        };
        for (k, (x, y)) in plane
            .positions()
            .collect::<Vec<_>>()
            .into_iter()
            .enumerate()
        {
            let mut noise = -6.0;
            for _ in 0..12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise += f64::from(state) / f64::from(u32::MAX);
            }
            let object = 500.0
                * (-0.25 * ((x as f64 - 40.0).powi(2) + (y as f64 - 40.0).powi(2)).sqrt()).exp();
            let star =
                900.0 * (-0.1 * ((x as f64 - 3.0).powi(2) + (y as f64 - 40.0).powi(2))).exp();
            plane.pixels[k] = (10.0 + 2.0 * noise + object + star) as f32;
        }
        let sky = sky(&plane).expect("a noisy border");
        assert!(
            (sky.level - 10.0).abs() < 0.6 && (sky.sigma - 2.0).abs() < 0.25,
            "{sky:?}"
        );
    }

    #[test]
    fn a_sky_of_mostly_one_value_has_noise_and_a_constant_none() {
        let mut values = vec![0.0; 900];
        values.extend([1.0; 300]);
        let sky = clipped(values).expect("values");
        assert!(
            sky.level == 0.0 && (0.2..0.5).contains(&sky.sigma),
            "{sky:?}"
        );
        assert_eq!(clipped(vec![2.0; 99]).expect("values").sigma, 0.0);
    }

    #[test]
    fn labels_join_diagonals_and_part_the_rest() {
        let on = [
            true, false, false, true, false, true, false, false, false, false, false, true,
        ];
        let (labels, count) = label(&on, 4, 3);
        assert_eq!(count, 3);
        assert_eq!((labels[0], labels[1]), (labels[5], 0));
    }
}
