//! A galaxy's surroundings on a square canvas, and the canvas turned and scaled into a stamp.

use super::plane::Plane;
use galgen_core::measure::Ellipse;

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
    let (sin, cos) = (canvas.ellipse.position_angle + turn)
        .to_radians()
        .sin_cos();
    let centre = galgen_core::stamp::centre(side);
    let mut scratch = [Vec::new(), Vec::new()];
    let n = canvas.side as isize;
    let index =
        |x: isize, y: isize| (x >= 0 && y >= 0 && x < n && y < n).then_some((y * n + x) as usize);
    let mut out = Resampled {
        light: Vec::with_capacity(side * side),
        observed: Vec::with_capacity(side * side),
    };
    for row in 0..side {
        for column in 0..side {
            let (u, v) = (
                (column as f64 - centre) * scale,
                (row as f64 - centre) * scale,
            );
            let at = (
                canvas.ellipse.x + u * cos - v * sin,
                canvas.ellipse.y + u * sin + v * cos,
            );
            let light = sample(
                |x, y| Some(index(x, y).map_or(0.0, |k| canvas.light[k])),
                at,
                scale,
                &mut scratch,
            );
            out.light.push(light.unwrap_or(0.0) as f32);
            let nearest = index(at.0.round() as isize, at.1.round() as isize);
            out.observed
                .push(nearest.is_some_and(|k| canvas.observed[k]));
        }
    }
    out
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
}
