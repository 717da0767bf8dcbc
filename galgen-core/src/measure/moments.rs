//! Axis ratio and position angle from weighted second moments.

use super::{Ellipse, Quadratic, check, half_light_radius, sq};
use core::f64::consts::PI;

/// What [`moments`] measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Centre, axis ratio and position angle (in (-90, 90]) of the light.
    pub ellipse: Ellipse,
    /// Standard deviation along the major axis in pixels, the weight's effect removed.
    pub sigma: f64,
}

/// Most rounds of [`moments`].
const ROUNDS: usize = 40;
/// [`moments`] stops after the round that moves the centre (pixels) and changes the shape
/// ([`Elongation`]) by less than this together, with that round's change made.
const CONVERGED: f64 = 1e-4;
/// Weight of [`shape`] in half-light radii: far enough out that a disk, not its bar or bulge, decides.
const SHAPE_WEIGHT: f64 = 1.5;
/// Narrowest weight that is tried, as an axis ratio.
const THINNEST: f64 = 0.05;
/// The sums stop at this many standard deviations of the weight, 0.03 % of its peak.
const REACH: f64 = 4.0;

/// Flux-weighted second moments under an elliptical Gaussian weight that takes on the light's shape.
///
/// The weight's standard deviation along its major axis stays `weight` pixels; its centre (if
/// `recentre`), axis ratio and position angle are those of the light, found by iteration (in the way
/// of Bernstein & Jarvis 2002, with the size held). For light on similar concentric ellipses of any
/// profile the answer is their axis ratio and angle, whatever the weight, because the weighted light
/// then has that shape too; a bounded weight keeps noise and the stamp's corners from deciding. Each
/// round removes the weight from the measured covariance as if the light were Gaussian; what is left
/// of the change is removed by Broyden's method (1965). Both set the speed of convergence but not its
/// end: the axis ratio and, in radians times 1 - axis ratio, the angle are within 2e-5 of the limit.
///
/// `start` says where to begin. `None` if the moments are not positive (an empty or noisy image, a
/// centre that walks out of the image).
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn moments(
    image: &[f32],
    side: usize,
    start: &Ellipse,
    weight: f64,
    recentre: bool,
) -> Option<Moments> {
    check(image, side);
    let (mut x, mut y) = (start.x, start.y);
    let mut shape = Elongation::of(start.axis_ratio, start.position_angle);
    let mut solver = Broyden::default();
    let limit = side as f64 - 1.0;
    let mut sigma = 0.0;
    for _ in 0..ROUNDS {
        let found = Light::under(image, side, (x, y), shape, weight, recentre)?;
        sigma = found.sigma;
        let mut moved = 0.0;
        if recentre {
            let (dx, dy) = found.offset;
            (x, y) = (x + dx, y + dy);
            moved = libm::fabs(dx) + libm::fabs(dy);
            if !((0.0..=limit).contains(&x) && (0.0..=limit).contains(&y)) {
                return None;
            }
        }
        let change = [found.shape.0[0] - shape.0[0], found.shape.0[1] - shape.0[1]];
        let step = solver.step(change);
        shape = Elongation([shape.0[0] + step[0], shape.0[1] + step[1]]).limited();
        if moved + libm::hypot(change[0], change[1]) < CONVERGED {
            break;
        }
    }
    let (axis_ratio, position_angle) = shape.axes();
    Some(Moments {
        ellipse: Ellipse {
            x,
            y,
            axis_ratio,
            position_angle,
        },
        sigma,
    })
}

/// Axis ratio and position angle of a stamp's light about the stamp's centre: [`moments`] with a
/// weight of 1.5 circular half-light radii, centre held.
///
/// `None` as for [`moments`] and [`half_light_radius`].
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn shape(image: &[f32], side: usize) -> Option<Moments> {
    shape_of_radius(image, side, half_light_radius(image, side, 1.0)?)
}

/// [`shape`] of a stamp whose circular half-light radius is known.
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn shape_of_radius(image: &[f32], side: usize, radius: f64) -> Option<Moments> {
    let circles = Ellipse::centred(side, 1.0);
    moments(image, side, &circles, SHAPE_WEIGHT * radius, false)
}

/// -ln(axis ratio) (cos 2 angle, sin 2 angle): a shape as a point of the plane, the circle at 0, with
/// no jump where the angle starts again.
#[derive(Clone, Copy, Debug)]
struct Elongation([f64; 2]);

impl Elongation {
    fn of(axis_ratio: f64, position_angle: f64) -> Self {
        let length = -libm::log(axis_ratio.clamp(THINNEST, 1.0));
        let (sin, cos) = libm::sincos(position_angle * PI / 90.0);
        Self([length * cos, length * sin])
    }

    /// No thinner than [`THINNEST`].
    fn limited(self) -> Self {
        let length = libm::hypot(self.0[0], self.0[1]);
        let most = -libm::log(THINNEST);
        if length <= most {
            return self;
        }
        Self(self.0.map(|v| v * (most / length)))
    }

    /// Axis ratio, and position angle in degrees.
    fn axes(self) -> (f64, f64) {
        let [a, b] = self.0;
        // The length is limited up to rounding.
        let axis_ratio = libm::exp(-libm::hypot(a, b)).clamp(THINNEST, 1.0);
        (axis_ratio, 0.5 * libm::atan2(b, a) * 180.0 / PI)
    }
}

/// Solves change(shape) = 0 for a change that is nearly linear in the shape.
struct Broyden {
    /// Inverse of the change's Jacobian.
    inverse: [[f64; 2]; 2],
    /// The last change and the step that was taken for it.
    last: Option<([f64; 2], [f64; 2])>,
}

impl Default for Broyden {
    /// Begins with the plain iteration, whose step is the change.
    fn default() -> Self {
        Self {
            inverse: [[-1.0, 0.0], [0.0, -1.0]],
            last: None,
        }
    }
}

impl Broyden {
    fn step(&mut self, change: [f64; 2]) -> [f64; 2] {
        let size = |v: [f64; 2]| v[0] * v[0] + v[1] * v[1];
        if let Some((before, step)) = self.last {
            if size(change) < size(before) {
                self.learn(step, [change[0] - before[0], change[1] - before[1]]);
            } else {
                // Noise or a limit: nothing to learn.
                *self = Self::default();
            }
        }
        let step = times(self.inverse, change).map(|v| -v);
        self.last = Some((change, step));
        step
    }

    /// Changes the inverse as little as possible so that it maps `difference` to `step`.
    fn learn(&mut self, step: [f64; 2], difference: [f64; 2]) {
        let h = self.inverse;
        let image = times(h, difference);
        let row = [
            step[0] * h[0][0] + step[1] * h[1][0],
            step[0] * h[0][1] + step[1] * h[1][1],
        ];
        let scale = step[0] * image[0] + step[1] * image[1];
        if scale <= 0.0 {
            return;
        }
        for (i, line) in self.inverse.iter_mut().enumerate() {
            for (value, r) in line.iter_mut().zip(row) {
                *value += (step[i] - image[i]) * r / scale;
            }
        }
    }
}

fn times(m: [[f64; 2]; 2], v: [f64; 2]) -> [f64; 2] {
    [
        m[0][0] * v[0] + m[0][1] * v[1],
        m[1][0] * v[0] + m[1][1] * v[1],
    ]
}

/// The light as seen under one weight, the weight's effect removed as if the light were Gaussian.
struct Light {
    /// Centroid from the weight's centre.
    offset: (f64, f64),
    shape: Elongation,
    /// Standard deviation along the major axis.
    sigma: f64,
}

impl Light {
    fn under(
        image: &[f32],
        side: usize,
        centre: (f64, f64),
        shape: Elongation,
        weight: f64,
        recentre: bool,
    ) -> Option<Self> {
        let (axis_ratio, position_angle) = shape.axes();
        let (sin, cos) = libm::sincos(position_angle * PI / 180.0);
        let (major, minor) = (1.0 / sq(weight), 1.0 / sq(weight * axis_ratio));
        let form = Quadratic::turned(major, minor, sin, cos);
        let sums = Sums::of(image, side, centre, &form, REACH);
        if sums.flux.is_nan() || sums.flux <= 0.0 {
            return None;
        }
        let (mx, my) = (sums.x / sums.flux, sums.y / sums.flux);
        let mut xx = sums.xx / sums.flux;
        let mut xy = sums.xy / sums.flux;
        let mut yy = sums.yy / sums.flux;
        if recentre {
            xx -= mx * mx;
            xy -= mx * my;
            yy -= my * my;
        }
        let determinant = xx * yy - xy * xy;
        if !(determinant > 0.0 && xx > 0.0) {
            return None;
        }
        // Inverse covariance of the weighted light less that of the weight.
        let ixx = yy / determinant - form.xx;
        let iyy = xx / determinant - form.yy;
        let ixy = -xy / determinant - form.xy;
        let mean = 0.5 * (ixx + iyy);
        let spread = libm::hypot(0.5 * (ixx - iyy), ixy);
        // Light flatter than the weight leaves less than nothing of the weight's inverse: hold it wide.
        let small = libm::fmax(mean - spread, 1e-3 * major);
        let large = libm::fmax(mean + spread, small);
        // The major axis has the smaller inverse variance.
        let angle = libm::atan2(-2.0 * ixy, iyy - ixx) * 90.0 / PI;
        Some(Self {
            offset: (mx, my),
            shape: Elongation::of(libm::sqrt(small / large), angle),
            sigma: 1.0 / libm::sqrt(small),
        })
    }
}

/// Weighted sums of the light about a centre.
#[derive(Default)]
pub(super) struct Sums {
    pub flux: f64,
    pub x: f64,
    pub y: f64,
    pub xx: f64,
    pub xy: f64,
    pub yy: f64,
}

impl Sums {
    /// Sums under the weight exp(-form / 2), out to `reach` standard deviations.
    pub fn of(
        image: &[f32],
        side: usize,
        centre: (f64, f64),
        form: &Quadratic,
        reach: f64,
    ) -> Self {
        let ratio = libm::exp(-form.xx);
        let mut sums = Self::default();
        for (row, line) in image.chunks_exact(side).enumerate() {
            let dy = row as f64 - centre.1;
            let columns = form.columns(reach * reach, dy, centre.0, side);
            if columns.is_empty() {
                continue;
            }
            let dx = columns.start as f64 - centre.0;
            let [s, sx, sxx] = along_row(&line[columns], form, ratio, dx, dy);
            sums.flux += s;
            sums.x += sx;
            sums.y += s * dy;
            sums.xx += sxx;
            sums.xy += sx * dy;
            sums.yy += s * dy * dy;
        }
        sums
    }
}

/// Sums of light w, light w dx and light w dx^2 over pixels of one row, the first at (`dx`, `dy`).
///
/// The weight w = exp(-form / 2) goes from pixel to pixel by a factor that itself goes by the constant
/// factor `ratio` = exp(-form.xx); four interleaved sequences hide the multiplications' latency. Over
/// a row of n pixels rounding grows to about n^2 / 4 units in the last place, 1e-12 for 128.
fn along_row(pixels: &[f32], form: &Quadratic, ratio: f64, dx: f64, dy: f64) -> [f64; 3] {
    let ratio2 = ratio * ratio;
    let ratio4 = ratio2 * ratio2;
    let ratio16 = (ratio4 * ratio4) * (ratio4 * ratio4);
    let w0 = libm::exp(-0.5 * form.at(dx, dy));
    let f0 = libm::exp(-form.xx * (dx + 0.5) - form.xy * dy);
    let f = [f0, f0 * ratio, f0 * ratio2, f0 * (ratio2 * ratio)];
    let mut w = [w0, w0 * f[0], w0 * (f[0] * f[1]), w0 * (f[0] * f[1] * f[2])];
    let four = (f[0] * f[1]) * (f[2] * f[3]);
    let mut factor = [
        four,
        four * ratio4,
        four * (ratio4 * ratio4),
        four * (ratio4 * ratio4 * ratio4),
    ];
    let mut x = [dx, dx + 1.0, dx + 2.0, dx + 3.0];
    let mut sums = [[0.0; 4]; 3];
    let mut quads = pixels.chunks_exact(4);
    for quad in &mut quads {
        for j in 0..4 {
            let light = f64::from(quad[j]) * w[j];
            let first = light * x[j];
            sums[0][j] += light;
            sums[1][j] += first;
            sums[2][j] += first * x[j];
            w[j] *= factor[j];
            factor[j] *= ratio16;
            x[j] += 4.0;
        }
    }
    for (j, &value) in quads.remainder().iter().enumerate() {
        let light = f64::from(value) * w[j];
        sums[0][j] += light;
        sums[1][j] += light * x[j];
        sums[2][j] += light * x[j] * x[j];
    }
    sums.map(|s| (s[0] + s[1]) + (s[2] + s[3]))
}

#[cfg(test)]
mod tests {
    use super::super::draw::{draw, exponential, gaussian};
    use super::*;
    use alloc::vec::Vec;

    /// Difference of two shapes in axis ratio, and in angle times 1 - axis ratio.
    fn apart(a: &Ellipse, b: &Ellipse) -> (f64, f64) {
        let turn = libm::sin((a.position_angle - b.position_angle) * PI / 180.0);
        (
            libm::fabs(a.axis_ratio - b.axis_ratio),
            libm::fabs(turn) * (1.0 - b.axis_ratio),
        )
    }

    /// A lopsided image: three exponentials of different centres and shapes.
    fn lopsided(side: usize) -> Vec<f32> {
        let parts = [
            (31.5, 31.5, 0.5, 20.0, 5.0),
            (27.0, 35.0, 0.9, 0.0, 2.0),
            (40.0, 30.0, 0.3, 80.0, 3.0),
        ];
        let images = parts.map(|(x, y, axis_ratio, position_angle, scale)| {
            draw(
                side,
                &Ellipse {
                    x,
                    y,
                    axis_ratio,
                    position_angle,
                },
                exponential(scale),
            )
        });
        (0..side * side)
            .map(|k| images[0][k] + 0.5 * images[1][k] + 0.3 * images[2][k])
            .collect()
    }

    /// The definition, by plain loops: the light under the weight, the weight's inverse covariance taken
    /// off, has the weight's shape.
    #[test]
    fn the_answer_is_its_own_weight() {
        let side = 64;
        let image = lopsided(side);
        for recentre in [false, true] {
            let start = Ellipse::centred(side, 1.0);
            let found = moments(&image, side, &start, 9.0, recentre)
                .expect("light")
                .ellipse;
            let (sin, cos) = libm::sincos(found.position_angle * PI / 180.0);
            let (mut m, mut c) = ([0.0; 3], [0.0; 3]); // flux, x, y; xx, xy, yy
            for (k, value) in image.iter().enumerate() {
                let (dx, dy) = ((k % side) as f64 - found.x, (k / side) as f64 - found.y);
                let (u, v) = (
                    dx * cos + dy * sin,
                    (dy * cos - dx * sin) / found.axis_ratio,
                );
                let r = libm::hypot(u, v) / 9.0;
                if r <= REACH {
                    let light = f64::from(*value) * libm::exp(-0.5 * r * r);
                    for (sum, term) in m.iter_mut().zip([1.0, dx, dy]) {
                        *sum += light * term;
                    }
                    for (sum, term) in c.iter_mut().zip([dx * dx, dx * dy, dy * dy]) {
                        *sum += light * term;
                    }
                }
            }
            if recentre {
                assert!(libm::hypot(m[1], m[2]) / m[0] < CONVERGED, "{m:?}");
            }
            let [xx, xy, yy] = c.map(|v| v / m[0]);
            let determinant = xx * yy - xy * xy;
            let (major, minor) = (1.0 / 81.0, 1.0 / (81.0 * sq(found.axis_ratio)));
            // In the frame of the answer the rest is diagonal and has its axis ratio.
            let (ixx, iyy, ixy) = (yy / determinant, xx / determinant, -xy / determinant);
            let along = ixx * cos * cos + 2.0 * ixy * sin * cos + iyy * sin * sin - major;
            let across = ixx * sin * sin - 2.0 * ixy * sin * cos + iyy * cos * cos - minor;
            let mixed = (iyy - ixx) * sin * cos + ixy * (cos * cos - sin * sin);
            let ratio = libm::sqrt(along / across);
            assert!(
                (ratio - found.axis_ratio).abs() < 1e-5,
                "{found:?}, {ratio}"
            );
            assert!(
                (mixed / (across - along)).abs() < 1e-5,
                "{found:?}, {mixed}"
            );
        }
    }

    /// Averaging over a pixel adds its variance, 1/12 (6 points a side: less a 36th), along both axes, which
    /// makes light rounder.
    #[test]
    fn moments_of_gaussians_lose_the_weight_and_hold_the_pixel() {
        let side = 96;
        for angle in [-80.0, -33.0, 0.0, 20.0, 71.0, 90.0] {
            for q in [0.2, 0.5, 0.9] {
                let truth = Ellipse {
                    x: 46.2,
                    y: 49.1,
                    axis_ratio: q,
                    position_angle: angle,
                };
                let image = draw(side, &truth, gaussian(7.0));
                let start = Ellipse::centred(side, 1.0);
                let found = moments(&image, side, &start, 10.0, true).expect("light");
                let pixel = (1.0 - 1.0 / 36.0) / 12.0;
                let (major, minor) = (49.0 + pixel, 49.0 * q * q + pixel);
                let expected = Ellipse {
                    axis_ratio: libm::sqrt(minor / major),
                    ..truth
                };
                let (reshaped, turned) = apart(&found.ellipse, &expected);
                let moved = libm::hypot(found.ellipse.x - truth.x, found.ellipse.y - truth.y);
                assert!(
                    reshaped < GAUSSIAN && turned < GAUSSIAN,
                    "{found:?}, {expected:?}"
                );
                assert!(moved < CONVERGED, "{found:?}");
                assert!(
                    (found.sigma / libm::sqrt(major) - 1.0).abs() < GAUSSIAN,
                    "{found:?}"
                );
            }
        }
    }

    /// What the iteration leaves ([`CONVERGED`] and the sums' end at [`REACH`]).
    const GAUSSIAN: f64 = 5e-5;

    /// Whatever the profile and the weight: what is left is the pixel's variance against that of the
    /// narrowest light that decides, one scale length squared.
    #[test]
    fn moments_follow_the_galaxy_whatever_its_profile_and_weight() {
        let side = 96;
        for weight in [8.0, 15.0] {
            for angle in [-33.0, 0.0, 71.0] {
                for q in [0.2, 0.5, 0.9] {
                    let truth = Ellipse {
                        x: 46.2,
                        y: 49.1,
                        axis_ratio: q,
                        position_angle: angle,
                    };
                    let image = draw(side, &truth, exponential(6.0));
                    let start = Ellipse::centred(side, 1.0);
                    let found = moments(&image, side, &start, weight, true)
                        .expect("light")
                        .ellipse;
                    let pixel = (1.0 - q * q) / (24.0 * q * 36.0);
                    let (_, turned) = apart(&found, &truth);
                    assert!(
                        found.axis_ratio > q - 1e-4 && found.axis_ratio < q + pixel,
                        "q {q}: {found:?}"
                    );
                    assert!(turned < 3e-5, "angle {angle}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn shape_turns_and_mirrors_with_the_image_and_ignores_its_flux() {
        let side = 64;
        let image = lopsided(side);
        let found = shape(&image, side).expect("light").ellipse;
        let reordered = |index: &dyn Fn(usize, usize) -> usize, flux: f32| -> Ellipse {
            let pixel = |k: usize| flux * image[index(k % side, k / side)];
            let image: Vec<f32> = (0..side * side).map(pixel).collect();
            shape(&image, side).expect("light").ellipse
        };
        let n = side - 1;
        let angle = found.position_angle;
        for (other, expected) in [
            (reordered(&|x, y| y * side + x, 1024.0), angle),
            (reordered(&|x, y| (n - y) * side + (n - x), 1.0), angle),
            (reordered(&|x, y| y * side + (n - x), 1.0), -angle),
            (reordered(&|x, y| x * side + y, 1.0), 90.0 - angle),
        ] {
            let expected = Ellipse {
                position_angle: expected,
                ..found
            };
            let (reshaped, turned) = apart(&other, &expected);
            // Only the order of sums differs.
            assert!(reshaped < 1e-9 && turned < 1e-9, "{other:?}, {expected:?}");
        }
    }

    #[test]
    fn the_row_recurrence_is_the_exponential() {
        let form = Quadratic::turned(1.0 / 144.0, 1.0 / 9.0, 0.6, 0.8);
        let pixels: Vec<f32> = (0..127).map(|k| 1.0 + (k % 7) as f32).collect();
        let (start, dy) = (-33.3, 4.7);
        let found = along_row(&pixels, &form, libm::exp(-form.xx), start, dy);
        let mut expected = [0.0; 3];
        for (k, &pixel) in pixels.iter().enumerate() {
            let dx = start + k as f64;
            let light = f64::from(pixel) * libm::exp(-0.5 * form.at(dx, dy));
            for (sum, term) in expected.iter_mut().zip([1.0, dx, dx * dx]) {
                *sum += light * term;
            }
        }
        for (f, e) in found.into_iter().zip(expected) {
            assert!((f / e - 1.0).abs() < 1e-12, "{found:?}, {expected:?}");
        }
    }
}
