//! A galaxy's surroundings on a square canvas, and the canvas turned and scaled into a stamp.

use super::plane::Plane;
use galgen_core::measure::Ellipse;
use std::sync::OnceLock;

/// Sky-subtracted light around a galaxy, continued where nothing was observed.
pub struct Canvas {
    /// Side in source pixels.
    pub side: usize,
    /// `side * side` values.
    pub light: Vec<f32>,
    /// Where the light was really observed.
    pub observed: Vec<bool>,
    /// Picture coordinates of the canvas's first pixel.
    pub origin: (f64, f64),
    /// The galaxy's ellipse in canvas coordinates.
    pub ellipse: Ellipse,
}

/// A stamp before windowing and normalisation.
pub struct Resampled {
    /// `side * side` values, surface brightness of the source.
    pub light: Vec<f32>,
    /// Whether the nearest source pixel was observed.
    pub observed: Vec<bool>,
}

/// Keys' cubic convolution kernel (1981, IEEE Trans. ASSP 29, 1153), a = -1/2: interpolates, third order,
/// overshoot below 7 % of a step.
fn cubic(t: f64) -> f64 {
    let t = t.abs();
    if t < 1.0 {
        (1.5 * t - 2.5) * t * t + 1.0
    } else if t < 2.0 {
        ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    } else {
        0.0
    }
}

/// Weights of the source pixels around coordinate `c` along one axis, for output pixels `scale` wide, with
/// the index of the first. When shrinking the kernel is stretched to the output pixel, which keeps
/// frequencies that the stamp cannot hold out of it.
fn taps(c: f64, scale: f64, weights: &mut Vec<f64>) -> isize {
    let stretch = scale.max(1.0);
    let first = (c - 2.0 * stretch).ceil() as isize;
    let last = (c + 2.0 * stretch).floor() as isize;
    weights.clear();
    weights.extend((first..=last).map(|i| cubic((i as f64 - c) / stretch)));
    first
}

/// Weighted mean of `source(x, y)` around a point; `None` where the source has nothing.
fn sample(
    source: impl Fn(isize, isize) -> Option<f32>,
    (x, y): (f64, f64),
    scale: f64,
    scratch: &mut [Vec<f64>; 2],
) -> Option<f64> {
    let [wx, wy] = scratch;
    let (x0, y0) = (taps(x, scale, wx), taps(y, scale, wy));
    let (mut sum, mut weight) = (0.0, 0.0);
    for (j, b) in wy.iter().enumerate() {
        for (i, a) in wx.iter().enumerate() {
            sum += a * b * f64::from(source(x0 + i as isize, y0 + j as isize)?);
            weight += a * b;
        }
    }
    Some(sum / weight)
}

/// The canvas seen in the galaxy frame: major axis along x, `scale` source pixels to a stamp pixel.
///
/// `turn` degrees are added to the ellipse's position angle. Beyond the canvas there is no light.
pub fn stamp(canvas: &Canvas, turn: f64, scale: f64, side: usize) -> Resampled {
    let light = Light {
        side: canvas.side,
        values: &canvas.light,
    };
    let centre = (canvas.ellipse.x, canvas.ellipse.y);
    let angle = canvas.ellipse.position_angle + turn;
    let nearest = |(x, y): (f64, f64)| {
        light
            .index(x.round() as isize, y.round() as isize)
            .is_some_and(|k| canvas.observed[k])
    };
    Resampled {
        light: affine(light, centre, angle, scale, side),
        observed: positions(centre, angle, scale, side).map(nearest).collect(),
    }
}

/// A square image with nothing around it.
#[derive(Clone, Copy)]
pub struct Light<'a> {
    /// Side in pixels.
    pub side: usize,
    /// `side * side` values.
    pub values: &'a [f32],
}

impl Light<'_> {
    fn index(&self, x: isize, y: isize) -> Option<usize> {
        let n = self.side as isize;
        (x >= 0 && y >= 0 && x < n && y < n).then_some((y * n + x) as usize)
    }
}

/// Where the pixels of a stamp lie in the source: `angle` degrees is the source's direction of the stamp's x axis,
/// `scale` the source pixels to a stamp pixel, `centre` the source's point at the stamp's centre.
fn positions(
    (x, y): (f64, f64),
    angle: f64,
    scale: f64,
    side: usize,
) -> impl Iterator<Item = (f64, f64)> {
    let (sin, cos) = angle.to_radians().sin_cos();
    let centre = galgen_core::stamp::centre(side);
    (0..side * side).map(move |k| {
        let u = ((k % side) as f64 - centre) * scale;
        let v = ((k / side) as f64 - centre) * scale;
        (x + u * cos - v * sin, y + u * sin + v * cos)
    })
}

/// An image turned and scaled into a stamp (see `positions`): surface brightness of the source.
pub fn affine(
    source: Light<'_>,
    centre: (f64, f64),
    angle: f64,
    scale: f64,
    side: usize,
) -> Vec<f32> {
    let mut scratch = [Vec::new(), Vec::new()];
    let value = |x, y| Some(source.index(x, y).map_or(0.0, |k| source.values[k]));
    positions(centre, angle, scale, side)
        .map(|at| sample(value, at, scale, &mut scratch).unwrap_or(0.0) as f32)
        .collect()
}

/// Correlation of the kernel with itself, the integral of k(t) k(t + lag) over t, in kernel widths.
///
/// Exact at multiples of 1/128, linear between them (within 1e-4).
pub fn kernel_correlation(lag: f64) -> f64 {
    const STEPS: f64 = 128.0;
    static TABLE: OnceLock<Vec<f64>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        (0..=4 * STEPS as usize + 1)
            .map(|i| correlation(i as f64 / STEPS))
            .collect()
    });
    let at = lag.abs() * STEPS;
    if at >= 4.0 * STEPS {
        return 0.0;
    }
    let (i, f) = (at as usize, at.fract());
    table[i] + f * (table[i + 1] - table[i])
}

/// The integral, piece by piece between the joints of both kernels, by Gauss's rule of four points, which is
/// exact for polynomials up to degree 7; the product has 6.
fn correlation(lag: f64) -> f64 {
    const NODES: [(f64, f64); 2] = [
        (0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
        (0.861_136_311_594_052_6, 0.347_854_845_137_453_9),
    ];
    let mut joints: Vec<f64> = (-2..=2)
        .flat_map(|i| [f64::from(i), f64::from(i) - lag])
        .collect();
    joints.sort_by(f64::total_cmp);
    let piece = |ends: &[f64]| {
        let (middle, half) = (0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0]));
        let product = |t: f64| cubic(t) * cubic(t + lag);
        let node =
            |(x, w): (f64, f64)| w * (product(middle - half * x) + product(middle + half * x));
        half * NODES.into_iter().map(node).sum::<f64>()
    };
    joints.windows(2).map(piece).sum()
}

/// Standard deviation that blank sky gets from the resampling, as measured on the picture itself.
///
/// The kernel of [`stamp`] is applied at points on a grid turned by 30 degrees wherever all its weight falls on
/// blank pixels, so the noise's correlation between pixels (an enlarged picture, JPEG) counts as it is.
/// `None` with fewer than 24 such points.
pub fn sky_noise(plane: &Plane, blank: &[bool], scale: f64) -> Option<f64> {
    let (w, h) = (plane.width as isize, plane.height as isize);
    let blank_value = |x: isize, y: isize| {
        let inside = x >= 0 && y >= 0 && x < w && y < h;
        inside
            .then(|| (y * w + x) as usize)
            .filter(|&k| blank[k])
            .map(|k| plane.pixels[k])
    };
    let reach = w.max(h) as f64;
    let step = (reach / 40.0).max(1.0);
    let (sin, cos) = 30f64.to_radians().sin_cos();
    let mut scratch = [Vec::new(), Vec::new()];
    let mut values = Vec::new();
    for j in -30..30 {
        for i in -30..30 {
            let (u, v) = (f64::from(i) * step, f64::from(j) * step);
            let at = (
                0.5 * w as f64 + u * cos - v * sin,
                0.5 * h as f64 + u * sin + v * cos,
            );
            if at.0 > 0.0 && at.1 > 0.0 && at.0 < w as f64 && at.1 < h as f64 {
                values.extend(sample(blank_value, at, scale, &mut scratch).map(|v| v as f32));
            }
        }
    }
    if values.len() < 24 {
        return None;
    }
    let level = super::plane::median(&mut values)?;
    let mut deviations: Vec<f32> = values
        .iter()
        .map(|v| (f64::from(*v) - level).abs() as f32)
        .collect();
    Some(1.4826 * super::plane::median(&mut deviations)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(side: usize, light: impl Fn(f64, f64) -> f64) -> Canvas {
        let c = (side as f64 - 1.0) / 2.0;
        let light = (0..side * side)
            .map(|k| light((k % side) as f64 - c, (k / side) as f64 - c) as f32)
            .collect();
        let ellipse = Ellipse {
            x: c,
            y: c,
            axis_ratio: 0.5,
            position_angle: 35.0,
        };
        Canvas {
            side,
            light,
            observed: vec![true; side * side],
            origin: (0.0, 0.0),
            ellipse,
        }
    }

    #[test]
    fn a_constant_stays_and_flux_is_conserved() {
        for scale in [0.8, 1.0, 1.7, 3.1] {
            let flat = stamp(&canvas(301, |_, _| 2.0), 0.0, scale, 64);
            assert!(flat.light.iter().all(|v| (v - 2.0).abs() < 1e-5));
            let source = canvas(301, |x, y| (-(x * x + y * y) / 72.0).exp());
            let out = stamp(&source, 0.0, scale, 64);
            let sum: f64 = out.light.iter().map(|v| f64::from(*v)).sum::<f64>() * scale * scale;
            assert!(
                (sum / (72.0 * std::f64::consts::PI) - 1.0).abs() < 1e-3,
                "{scale} {sum}"
            );
        }
    }

    #[test]
    fn the_major_axis_comes_to_lie_along_x() {
        let (sin, cos) = 35f64.to_radians().sin_cos();
        let source = canvas(201, |x, y| {
            let (u, v) = (x * cos + y * sin, y * cos - x * sin);
            (-(u * u + 4.0 * v * v) / 400.0).exp()
        });
        let out = stamp(&source, 0.0, 1.3, 64);
        let shape = galgen_core::measure::shape(&out.light, 64).expect("light");
        assert!(
            shape.ellipse.position_angle.abs() < 0.1
                && (shape.ellipse.axis_ratio - 0.5).abs() < 2e-3
        );
    }

    #[test]
    fn the_correlation_of_the_kernel() {
        // By the midpoint rule on a fine grid.
        for lag in [0.0, 0.3, 1.0, 1.7, 2.9, 3.999] {
            let n = 40_000;
            let t = |i: usize| (i as f64 + 0.5) / f64::from(n) * 12.0 - 6.0;
            let sum: f64 = (0..n as usize)
                .map(|i| cubic(t(i)) * cubic(t(i) + lag))
                .sum();
            let expected = sum * 12.0 / f64::from(n);
            assert!((kernel_correlation(lag) - expected).abs() < 1e-4, "{lag}");
            assert_eq!(kernel_correlation(lag), kernel_correlation(-lag));
        }
    }
}
