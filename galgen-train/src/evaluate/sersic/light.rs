//! Sersic light on pixels, with its derivatives.

use super::{INDEX_RANGE, Sersic};
use std::f64::consts::{LN_2, PI};

/// Free numbers besides the flux: x, y, ln R, ln n, e1, e2. R is the geometric mean of the half-light
/// ellipse's axes and (e1, e2) = -ln q (cos 2 angle, sin 2 angle): derivatives are then smooth at the circle.
pub const SHAPE: usize = 6;
/// Largest -ln q.
const LONGEST: f64 = 3.0;
/// Distance (along the minor axis, in pixels) from which one point stands for a pixel.
const FAR: f64 = 10.0;
/// A square is divided in four if the centre is nearer than this many of its sides.
const NEAR: f64 = 2.5;
/// Most divisions of a pixel.
const DIVISIONS: usize = 6;
/// Offset of the two points of Gauss and Legendre from the middle of a side of length 1.
const GAUSS: f64 = 0.288_675_134_594_812_9;
/// Step of numerical derivatives of what depends on few numbers only.
const STEP: f64 = 1e-4;

/// A galaxy as its free numbers.
#[derive(Clone, Copy, Debug)]
pub struct Light {
    pub flux: f64,
    pub shape: [f64; SHAPE],
}

impl Light {
    pub fn of(galaxy: &Sersic) -> Self {
        let stretch = -galaxy.axis_ratio.ln();
        let (sin, cos) = (2.0 * galaxy.position_angle.to_radians()).sin_cos();
        let radius = galaxy.half_light_radius * galaxy.axis_ratio.sqrt();
        let (e1, e2) = (stretch * cos, stretch * sin);
        Self {
            flux: galaxy.flux,
            shape: [galaxy.x, galaxy.y, radius.ln(), galaxy.index.ln(), e1, e2],
        }
    }

    pub fn galaxy(&self) -> Sersic {
        let [x, y, radius, index, e1, e2] = self.shape;
        let stretch = e1.hypot(e2);
        Sersic {
            flux: self.flux,
            x,
            y,
            half_light_radius: (radius + 0.5 * stretch).exp(),
            index: index.exp(),
            axis_ratio: (-stretch).exp(),
            position_angle: 0.5 * e2.atan2(e1).to_degrees(),
        }
    }

    /// Least and most of each free number for a galaxy in a stamp; the ellipticity's length is limited too.
    pub fn limits(side: usize) -> [(f64, f64); SHAPE] {
        let place = (-0.5, side as f64 - 0.5);
        let radius = (0.2f64.ln(), (2.0 * side as f64).ln());
        let index = (INDEX_RANGE.0.ln(), INDEX_RANGE.1.ln());
        let stretch = (-LONGEST, LONGEST);
        [place, place, radius, index, stretch, stretch]
    }

    /// No longer than the limit, the angle kept.
    pub fn shorten(&mut self) {
        let stretch = self.shape[4].hypot(self.shape[5]);
        if stretch > LONGEST {
            self.shape[4] *= LONGEST / stretch;
            self.shape[5] *= LONGEST / stretch;
        }
    }
}

/// xx dx^2 + 2 xy dx dy + yy dy^2 of unit determinant: the squared geometric mean radius.
fn form(e1: f64, e2: f64) -> [f64; 3] {
    let stretch = e1.hypot(e2);
    let sinh = if stretch < 1e-4 {
        1.0
    } else {
        stretch.sinh() / stretch
    };
    let cosh = stretch.cosh();
    [cosh - sinh * e1, -sinh * e2, cosh + sinh * e1]
}

/// b with half of the light within R_e: P(2n, b) = 1/2, by Newton's method on the series of P.
fn half_light_constant(n: f64) -> f64 {
    let a = 2.0 * n;
    // Ciotti & Bertin (1999), near enough to begin with down to n = 0.3.
    let mut b = (a - 1.0 / 3.0 + 0.009876 / n).max(0.05);
    for _ in 0..20 {
        let density = (a * b.ln() - b - libm::lgamma(a)).exp();
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        let mut k = a;
        while term > 1e-17 * sum {
            k += 1.0;
            term *= b / k;
            sum += term;
        }
        let step = (density * sum - 0.5) * b / density;
        b -= step.clamp(-0.5 * b, 0.5 * b);
        if step.abs() < 1e-14 * b {
            break;
        }
    }
    b
}

/// ln of 2 pi R^2 I(0) / flux, and b.
fn constants(n: f64) -> (f64, f64) {
    let b = half_light_constant(n);
    (2.0 * n * b.ln() - n.ln() - libm::lgamma(2.0 * n), b)
}

/// What does not change from point to point.
struct Profile {
    x: f64,
    y: f64,
    form: [f64; 3],
    /// Derivatives of the form by e1 and e2.
    bends: [[f64; 3]; 2],
    /// Square root of the axis ratio.
    root_q: f64,
    /// 1 / R^2.
    inverse: f64,
    /// ln I at the centre for unit flux.
    ln_peak: f64,
    b: f64,
    n: f64,
    /// n d/dn of ln I at the centre, and of b.
    slopes: (f64, f64),
}

impl Profile {
    fn of(shape: &[f64; SHAPE]) -> Self {
        let [x, y, ln_radius, ln_n, e1, e2] = *shape;
        let n = ln_n.exp();
        let (peak, b) = constants(n);
        let (above, below) = (
            constants((ln_n + STEP).exp()),
            constants((ln_n - STEP).exp()),
        );
        let by = |f: &dyn Fn(f64) -> [f64; 3]| {
            let (after, before) = (f(STEP), f(-STEP));
            [0, 1, 2].map(|k| (after[k] - before[k]) / (2.0 * STEP))
        };
        Self {
            x,
            y,
            form: form(e1, e2),
            bends: [by(&|h| form(e1 + h, e2)), by(&|h| form(e1, e2 + h))],
            root_q: (-0.5 * e1.hypot(e2)).exp(),
            inverse: (-2.0 * ln_radius).exp(),
            ln_peak: peak - LN_2 - PI.ln() - 2.0 * ln_radius,
            b,
            n,
            slopes: (
                (above.0 - below.0) / (2.0 * STEP),
                (above.1 - below.1) / (2.0 * STEP),
            ),
        }
    }

    /// Adds the light of a square of side `size` about an offset from the centre, and its derivatives.
    fn square(&self, dx: f64, dy: f64, size: f64, divisions: usize, sums: &mut [f64; 1 + SHAPE]) {
        let [xx, xy, yy] = self.form;
        let s = xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy;
        let distance = s.sqrt() * self.root_q;
        if distance > FAR {
            return self.point(dx, dy, size * size, sums);
        }
        let halves = |c: f64, offset: f64| [c - offset * size, c + offset * size];
        if distance < NEAR * size && divisions > 0 {
            for y in halves(dy, 0.25) {
                for x in halves(dx, 0.25) {
                    self.square(x, y, 0.5 * size, divisions - 1, sums);
                }
            }
            return;
        }
        for y in halves(dy, GAUSS) {
            for x in halves(dx, GAUSS) {
                self.point(x, y, 0.25 * size * size, sums);
            }
        }
    }

    /// Light at a point for unit flux, and its derivatives by the free numbers, times `area`.
    #[inline]
    fn point(&self, dx: f64, dy: f64, area: f64, sums: &mut [f64; 1 + SHAPE]) {
        let [xx, xy, yy] = self.form;
        let (gx, gy) = (xx * dx + xy * dy, xy * dx + yy * dy);
        // A point at the very centre has no derivative; a millionth of a pixel away it has.
        let s = (gx * dx + gy * dy).max(1e-12);
        let ln_r = 0.5 * (s * self.inverse).ln();
        let power = (ln_r / self.n).exp();
        let t = self.b * power;
        let value = area * (self.ln_peak - t).exp();
        // d ln I / d s
        let slope = -t / (2.0 * self.n * s);
        let bend = |d: &[f64; 3]| slope * (d[0] * dx * dx + 2.0 * d[1] * dx * dy + d[2] * dy * dy);
        sums[0] += value;
        sums[1] -= value * slope * 2.0 * gx;
        sums[2] -= value * slope * 2.0 * gy;
        sums[3] += value * (t / self.n - 2.0);
        sums[4] += value * (self.slopes.0 - self.slopes.1 * power + t * ln_r / self.n);
        sums[5] += value * bend(&self.bends[0]);
        sums[6] += value * bend(&self.bends[1]);
    }
}

/// Pixels of a stamp and `margin` more on each side: the light, and its derivatives by flux and shape.
pub struct Plane {
    side: usize,
    margin: usize,
    /// `[1 + SHAPE, width, width]`, width = side + 2 margin.
    values: Vec<f64>,
}

impl Plane {
    pub fn new(side: usize, margin: usize) -> Self {
        let width = side + 2 * margin;
        Self {
            side,
            margin,
            values: vec![0.0; (1 + SHAPE) * width * width],
        }
    }

    pub fn width(&self) -> usize {
        self.side + 2 * self.margin
    }

    pub fn fill(&mut self, light: &Light) {
        let profile = Profile::of(&light.shape);
        let (width, margin) = (self.width(), self.margin as f64);
        let pixels = width * width;
        for k in 0..pixels {
            let dx = (k % width) as f64 - margin - profile.x;
            let dy = (k / width) as f64 - margin - profile.y;
            let mut sums = [0.0; 1 + SHAPE];
            profile.square(dx, dy, 1.0, DIVISIONS, &mut sums);
            for (j, sum) in sums.into_iter().enumerate() {
                self.values[j * pixels + k] = light.flux * sum;
            }
        }
    }

    /// The light, `[width, width]`.
    pub fn value(&self) -> &[f64] {
        self.layer(0)
    }

    /// The light (0) or its derivative by a free number (from 1 on).
    pub fn layer(&self, j: usize) -> &[f64] {
        let pixels = self.width() * self.width();
        &self.values[j * pixels..(j + 1) * pixels]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_light_constants_are_those_of_the_literature() {
        // n = 1: the root of (1 + b) e^-b = 1/2; n = 1/2: ln 2; n = 4: 7.669 (Graham & Driver 2005).
        for (n, b, tolerance) in [
            (0.5, LN_2, 1e-12),
            (1.0, 1.678_346_990_016_661, 1e-12),
            (4.0, 7.669_249_442_500_804, 1e-9),
        ] {
            let found = half_light_constant(n);
            assert!((found - b).abs() < tolerance, "{n}: {found}");
        }
        assert!(half_light_constant(0.3) > 0.2 && half_light_constant(6.0) < 12.0);
    }

    #[test]
    fn derivatives_are_those_of_differences() {
        for (e1, e2) in [(0.3, -0.5), (0.0, 0.0)] {
            let light = Light {
                flux: 3.0,
                shape: [9.7, 10.4, 1.3, 0.4, e1, e2],
            };
            let (mut plane, mut after, mut before) =
                (Plane::new(20, 0), Plane::new(20, 0), Plane::new(20, 0));
            plane.fill(&light);
            for j in 0..SHAPE {
                let h = 1e-5;
                let moved = |h: f64| {
                    let mut other = light;
                    other.shape[j] += h;
                    other
                };
                after.fill(&moved(h));
                before.fill(&moved(-h));
                // Away from the centre, where the division into squares jumps with the galaxy.
                for k in (0..400).filter(|k| !(6..15).contains(&(k % 20))) {
                    let expected = (after.value()[k] - before.value()[k]) / (2.0 * h);
                    let found = plane.layer(1 + j)[k];
                    let scale = plane.value()[k];
                    assert!(
                        (found - expected).abs() < 1e-5 * scale,
                        "{j} {k} {found} {expected}"
                    );
                }
            }
        }
    }
}
