//! Shape measurements on a square image: radii holding a fraction of the flux, concentration,
//! second moments and rotational asymmetry.
//!
//! Training, the engine and the tests of the generated galaxies all measure with these functions, so
//! that "half-light radius", "axis ratio" and "concentration" mean one thing. An image is row-major
//! `[side, side]` `f32`, pixel centres at integer coordinates; sums run in `f64` in row order, and
//! only `+ - * /`, `sqrt` and pure-Rust `libm` functions are used, so results have the same bits on
//! every platform. Nothing allocates. Light is taken as uniform within a pixel.

use core::f64::consts::PI;

/// A family of concentric ellipses: where they are centred and how they are shaped and turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ellipse {
    /// Column of the centre in pixels (0 is the centre of the first pixel).
    pub x: f64,
    /// Row of the centre in pixels.
    pub y: f64,
    /// Minor over major axis, in (0, 1].
    pub axis_ratio: f64,
    /// Angle of the major axis in degrees, from +x towards +y.
    pub position_angle: f64,
}

impl Ellipse {
    /// Ellipses about the geometric centre of a `side x side` stamp, major axis along x.
    pub fn centred(side: usize, axis_ratio: f64) -> Self {
        let centre = crate::stamp::centre(side);
        Self {
            x: centre,
            y: centre,
            axis_ratio,
            position_angle: 0.0,
        }
    }

    fn frame(&self) -> Frame {
        let (sin, cos) = libm::sincos(self.position_angle * PI / 180.0);
        Frame {
            x: self.x,
            y: self.y,
            inv_q: 1.0 / self.axis_ratio,
            sin,
            cos,
        }
    }
}

/// An [`Ellipse`] with its trigonometry done.
struct Frame {
    x: f64,
    y: f64,
    inv_q: f64,
    sin: f64,
    cos: f64,
}

impl Frame {
    /// The square of the elliptical (semi-major) radius of a point.
    fn squared(&self, px: f64, py: f64) -> f64 {
        let (dx, dy) = (px - self.x, py - self.y);
        let u = dx * self.cos + dy * self.sin;
        let v = (dy * self.cos - dx * self.sin) * self.inv_q;
        u * u + v * v
    }

    /// The elliptical (semi-major) radius of a point and the length of that radius' gradient there.
    fn radius(&self, px: f64, py: f64) -> (f64, f64) {
        let (dx, dy) = (px - self.x, py - self.y);
        let u = dx * self.cos + dy * self.sin;
        let v = (dy * self.cos - dx * self.sin) * self.inv_q;
        let r = libm::sqrt(u * u + v * v);
        let w = v * self.inv_q;
        let gradient = if r > 0.0 {
            libm::sqrt(u * u + w * w) / r
        } else {
            self.inv_q
        };
        (r, gradient)
    }
}

/// Pixels nearer to the centre than this, along both axes, are cut into [`SPLIT`]² parts.
const SPLIT_WITHIN: f64 = 3.0;
/// Parts per axis of a pixel near the centre, where an ellipse crosses it as a curve, not a line.
const SPLIT: usize = 4;
/// Steps of the growth curve; a second pass divides one of them into as many again.
const STEPS: usize = 256;

/// How far beyond its centre's elliptical radius a pixel, its parts and their ramps can reach, in units
/// of 1 / axis ratio: half a diagonal and half a ramp, rounded up.
const MARGIN: f64 = 1.3;

/// Calls `each(radius, half_width, flux)` for every pixel, or part of a pixel near the centre, that
/// the radii `inner..outer` may cross; returns the flux of the pixels wholly inside `inner`.
///
/// An ellipse crosses a small square almost as a straight line. The covered area then grows with the
/// line's distance with the variance of a unit square, 1/12 along any direction, like a linear ramp
/// one pixel wide; `half_width` is half of that ramp in units of the elliptical radius.
#[inline]
fn for_each_sample(
    image: &[f32],
    side: usize,
    frame: &Frame,
    (inner, outer): (f64, f64),
    mut each: impl FnMut(f64, f64, f64),
) -> f64 {
    let margin = MARGIN * frame.inv_q;
    let (inside, outside) = (sq(libm::fmax(inner - margin, 0.0)), sq(outer + margin));
    let mut sum = 0.0;
    for (row, line) in image.chunks_exact(side).enumerate() {
        let py = row as f64;
        let near_row = libm::fabs(py - frame.y) < SPLIT_WITHIN;
        for (column, &value) in line.iter().enumerate() {
            let px = column as f64;
            let flux = f64::from(value);
            let squared = frame.squared(px, py);
            if squared < inside {
                sum += flux;
            } else if squared > outside {
                continue;
            } else if near_row && libm::fabs(px - frame.x) < SPLIT_WITHIN {
                let part = 1.0 / SPLIT as f64;
                for sy in 0..SPLIT {
                    for sx in 0..SPLIT {
                        let ox = (sx as f64 + 0.5) * part - 0.5;
                        let oy = (sy as f64 + 0.5) * part - 0.5;
                        let (r, gradient) = frame.radius(px + ox, py + oy);
                        each(r, 0.5 * part * gradient, flux * part * part);
                    }
                }
            } else {
                let (r, gradient) = frame.radius(px, py);
                each(r, 0.5 * gradient, flux);
            }
        }
    }
    sum
}

/// Flux inside the ellipse of semi-major axis `radius` pixels, pixels on its edge counted in part.
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn flux_within(image: &[f32], side: usize, ellipse: &Ellipse, radius: f64) -> f64 {
    check(image, side);
    let mut crossed = 0.0;
    let frame = ellipse.frame();
    let inside = for_each_sample(image, side, &frame, (radius, radius), |r, half, flux| {
        crossed += flux * ((radius - r + half) / (2.0 * half)).clamp(0.0, 1.0);
    });
    inside + crossed
}

/// Sum of the image in `f64`.
pub fn total(image: &[f32]) -> f64 {
    image.iter().map(|&v| f64::from(v)).sum()
}

/// Semi-major axis in pixels of the ellipse that holds `fraction` of the image's whole flux.
///
/// The first crossing is returned, so the result is defined for images with some negative pixels; for
/// a non-negative image it never decreases with `fraction`. Circles within a uniform disc come out
/// within 0.02 pixel from radius 2 on. `None` if the total flux is not positive and finite, the axis
/// ratio not in (0, 1] or `fraction` not in (0, 1).
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn radius_holding(image: &[f32], side: usize, ellipse: &Ellipse, fraction: f64) -> Option<f64> {
    let [radius] = radii_holding(image, side, ellipse, [fraction])?;
    Some(radius)
}

/// [`radius_holding`] for several fractions, sharing the first pass over the image.
pub fn radii_holding<const N: usize>(
    image: &[f32],
    side: usize,
    ellipse: &Ellipse,
    fractions: [f64; N],
) -> Option<[f64; N]> {
    check(image, side);
    let flux = total(image);
    let valid = flux > 0.0
        && flux.is_finite()
        && ellipse.axis_ratio > 0.0
        && ellipse.axis_ratio <= 1.0
        && fractions.iter().all(|f| *f > 0.0 && *f < 1.0);
    if !valid {
        return None;
    }
    let frame = ellipse.frame();
    // Every pixel's ramp ends inside this circle, stretched along the minor axis.
    let far = |c: f64| libm::fmax(libm::fabs(c), libm::fabs(side as f64 - 1.0 - c)) + 1.0;
    let reach =
        libm::sqrt(far(ellipse.x) * far(ellipse.x) + far(ellipse.y) * far(ellipse.y)) * frame.inv_q;
    let coarse = coarse_growth(image, side, &frame, reach);
    let step = reach / STEPS as f64;
    let margin = MARGIN * frame.inv_q;
    let mut radii = [0.0; N];
    for (radius, fraction) in radii.iter_mut().zip(fractions) {
        let target = fraction * flux;
        let at = coarse
            .iter()
            .position(|f| *f >= target)
            .unwrap_or(STEPS - 1);
        let start = libm::fmax(at as f64 * step - margin, 0.0);
        let end = (at + 1) as f64 * step + margin;
        let mut fine = Growth::over(image, side, &frame, start, end);
        if start > 0.0 && fine.flux[0] >= target || fine.flux[STEPS] < target {
            // Negative pixels can put the exact crossing elsewhere than the coarse one.
            let (a, b) = Growth::over(image, side, &frame, 0.0, reach).bracket(target);
            fine = Growth::over(image, side, &frame, a.0, b.0);
        }
        let (a, b) = fine.bracket(target);
        let share = if b.1 > a.1 {
            ((target - a.1) / (b.1 - a.1)).clamp(0.0, 1.0)
        } else {
            0.5
        };
        *radius = a.0 + share * (b.0 - a.0);
    }
    Some(radii)
}

/// Flux of the pixels whose centres lie within each of `STEPS` equal steps of radius, summed outwards.
fn coarse_growth(image: &[f32], side: usize, frame: &Frame, reach: f64) -> [f64; STEPS] {
    let mut flux = [0.0; STEPS];
    let inverse = STEPS as f64 / reach;
    for (row, line) in image.chunks_exact(side).enumerate() {
        for (column, &value) in line.iter().enumerate() {
            let r = libm::sqrt(frame.squared(column as f64, row as f64));
            flux[((r * inverse) as usize).min(STEPS - 1)] += f64::from(value);
        }
    }
    let mut sum = 0.0;
    flux.map(|f| {
        sum += f;
        sum
    })
}

/// The growth curve, flux inside radius r, exact at `STEPS + 1` equally spaced radii.
struct Growth {
    start: f64,
    step: f64,
    flux: [f64; STEPS + 1],
}

impl Growth {
    /// A sample's flux rises linearly between two radii: slope `s` begins at `lo` and ends at `hi`.
    /// The curve is the running sum of the slopes begun times r, less that of the slopes' offsets.
    fn over(image: &[f32], side: usize, frame: &Frame, start: f64, end: f64) -> Self {
        let step = (end - start) / STEPS as f64;
        let mut slopes = [0.0; STEPS + 1];
        let mut flux = [0.0; STEPS + 1];
        let inverse = 1.0 / step;
        // Index of the first step at or beyond a radius.
        let index = |r: f64| ((r - start) * inverse).max(0.0) as usize + usize::from(r > start);
        let inside = for_each_sample(image, side, frame, (start, end), |r, half, value| {
            let (lo, hi) = (r - half, r + half);
            let slope = value / (2.0 * half);
            let (first, last) = (index(lo), index(hi));
            if first <= STEPS {
                slopes[first] += slope;
                flux[first] -= slope * (lo - start);
            }
            if last <= STEPS {
                slopes[last] -= slope;
                flux[last] += slope * (hi - start);
            }
        });
        let (mut slope, mut offset) = (0.0, 0.0);
        for k in 0..=STEPS {
            slope += slopes[k];
            offset += flux[k];
            flux[k] = inside + slope * (k as f64 * step) + offset;
        }
        Self { start, step, flux }
    }

    /// The two neighbouring points `(radius, flux)` between which the curve first reaches `target`.
    fn bracket(&self, target: f64) -> ((f64, f64), (f64, f64)) {
        let point = |k: usize| (self.start + k as f64 * self.step, self.flux[k]);
        let end = (1..STEPS)
            .find(|&k| self.flux[k] >= target)
            .unwrap_or(STEPS);
        (point(end - 1), point(end))
    }
}

/// Half-light radius in pixels about the centre of a stamp, of the stamp's own total flux.
///
/// With `axis_ratio` 1 the radius of the circle that holds half (SExtractor's FLUX_RADIUS, GalSim's
/// `calculateHLR`); below 1 the semi-major axis of the half-light ellipse with its major axis along x.
/// `None` as for [`radius_holding`].
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn half_light_radius(image: &[f32], side: usize, axis_ratio: f64) -> Option<f64> {
    radius_holding(image, side, &Ellipse::centred(side, axis_ratio), 0.5)
}

/// Concentration C = 5 log10(r80 / r20) (Bershady, Jangren & Conselice 2000) about the centre of a
/// stamp, in ellipses of that `axis_ratio` along x, radii holding 80 and 20 % of the stamp's flux.
///
/// 2.1 for a Gaussian, 2.7 for an exponential disk, 5.2 for de Vaucouleurs' law when all light is in
/// the stamp. `None` as for [`radius_holding`].
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn concentration(image: &[f32], side: usize, axis_ratio: f64) -> Option<f64> {
    concentration_in(image, side, &Ellipse::centred(side, axis_ratio))
}

/// [`concentration`] in any family of ellipses.
pub fn concentration_in(image: &[f32], side: usize, ellipse: &Ellipse) -> Option<f64> {
    let [r20, r80] = radii_holding(image, side, ellipse, [0.2, 0.8])?;
    (r20 > 0.0).then(|| 5.0 * libm::log10(r80 / r20))
}

/// What [`moments`] measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Centre, axis ratio and position angle (in (-90, 90]) of the light.
    pub ellipse: Ellipse,
    /// Standard deviation along the major axis in pixels, the weight's effect removed.
    pub sigma: f64,
}

/// Most rounds of [`moments`]; it stops when the shape changes by less than [`CONVERGED`].
const ROUNDS: usize = 40;
const CONVERGED: f64 = 1e-5;
/// Weight of [`shape`] in half-light radii: far enough out that a disk, not its bar or bulge, decides.
const SHAPE_WEIGHT: f64 = 1.5;
/// Narrowest weight that is tried, as an axis ratio.
const THINNEST: f64 = 0.05;

/// Flux-weighted second moments under an elliptical Gaussian weight that takes on the light's shape.
///
/// The weight's standard deviation along its major axis stays `weight` pixels; its centre (if
/// `recentre`), axis ratio and position angle are those of the light, found by iteration (in the way
/// of Bernstein & Jarvis 2002, with the size held). For light on similar concentric ellipses of any
/// profile the answer is their axis ratio and angle, whatever the weight, because the weighted light
/// then has that shape too; a bounded weight keeps noise and the stamp's corners from deciding. Each
/// round removes the weight from the measured covariance as if the light were Gaussian, which
/// sets the speed of convergence but not its end.
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
    let mut ellipse = *start;
    ellipse.axis_ratio = ellipse.axis_ratio.clamp(THINNEST, 1.0);
    let mut sigma = 0.0;
    for _ in 0..ROUNDS {
        let sums = Sums::of(image, side, &ellipse, weight);
        if sums.flux.is_nan() || sums.flux <= 0.0 {
            return None;
        }
        let (mx, my) = (sums.x / sums.flux, sums.y / sums.flux);
        let (mut xx, mut xy, mut yy) = (
            sums.xx / sums.flux,
            sums.xy / sums.flux,
            sums.yy / sums.flux,
        );
        if recentre {
            xx -= mx * mx;
            xy -= mx * my;
            yy -= my * my;
        }
        let determinant = xx * yy - xy * xy;
        if !(determinant > 0.0 && xx > 0.0) {
            return None;
        }
        // Inverse covariance of weighted light less that of the weight.
        let (sin, cos) = libm::sincos(ellipse.position_angle * PI / 180.0);
        let (major, minor) = (
            1.0 / (weight * weight),
            1.0 / sq(weight * ellipse.axis_ratio),
        );
        let ixx = yy / determinant - (major * cos * cos + minor * sin * sin);
        let iyy = xx / determinant - (major * sin * sin + minor * cos * cos);
        let ixy = -xy / determinant - (major - minor) * sin * cos;
        let mean = 0.5 * (ixx + iyy);
        let spread = libm::sqrt(sq(0.5 * (ixx - iyy)) + ixy * ixy);
        // Light flatter than the weight leaves less than nothing of the weight's inverse: hold it wide.
        let small = libm::fmax(mean - spread, 1e-3 * major);
        let large = libm::fmax(mean + spread, small);
        let next = Ellipse {
            x: if recentre { ellipse.x + mx } else { ellipse.x },
            y: if recentre { ellipse.y + my } else { ellipse.y },
            axis_ratio: libm::sqrt(small / large).clamp(THINNEST, 1.0),
            // The major axis has the smaller inverse variance.
            position_angle: 0.5 * libm::atan2(-2.0 * ixy, iyy - ixx) * 180.0 / PI,
        };
        let limit = side as f64 - 1.0;
        if !((0.0..=limit).contains(&next.x) && (0.0..=limit).contains(&next.y)) {
            return None;
        }
        let moved = libm::fabs(next.x - ellipse.x) + libm::fabs(next.y - ellipse.y);
        let turned = libm::fabs(libm::sin(
            (next.position_angle - ellipse.position_angle) * PI / 180.0,
        ));
        let reshaped =
            libm::fabs(next.axis_ratio - ellipse.axis_ratio) + turned * (1.0 - next.axis_ratio);
        ellipse = next;
        sigma = 1.0 / libm::sqrt(small);
        if moved + reshaped < CONVERGED {
            break;
        }
    }
    Some(Moments { ellipse, sigma })
}

/// Axis ratio and position angle of a stamp's light about the stamp's centre: [`moments`] with a
/// weight of 1.5 circular half-light radii, centre held.
///
/// `None` as for [`moments`] and [`half_light_radius`].
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn shape(image: &[f32], side: usize) -> Option<Moments> {
    let radius = half_light_radius(image, side, 1.0)?;
    moments(
        image,
        side,
        &Ellipse::centred(side, 1.0),
        SHAPE_WEIGHT * radius,
        false,
    )
}

/// Weighted sums of the light about a centre.
#[derive(Default)]
struct Sums {
    flux: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    /// The sum stops at 4 standard deviations of the weight, 0.03 % of its peak.
    fn of(image: &[f32], side: usize, ellipse: &Ellipse, weight: f64) -> Self {
        let frame = ellipse.frame();
        let reach = 4.0 * weight;
        let last = side as f64 - 1.0;
        let range = |c: f64| {
            let lo = libm::ceil(c - reach).clamp(0.0, last) as usize;
            lo..=libm::floor(c + reach).clamp(0.0, last) as usize
        };
        let scale = -0.5 / (weight * weight);
        let mut sums = Self::default();
        for row in range(ellipse.y) {
            for column in range(ellipse.x) {
                let value = f64::from(image[row * side + column]);
                let (dx, dy) = (column as f64 - ellipse.x, row as f64 - ellipse.y);
                let (r, _) = frame.radius(column as f64, row as f64);
                if value == 0.0 || r > reach {
                    continue;
                }
                let light = value * libm::exp(scale * r * r);
                sums.flux += light;
                sums.x += light * dx;
                sums.y += light * dy;
                sums.xx += light * dx * dx;
                sums.xy += light * dx * dy;
                sums.yy += light * dy * dy;
            }
        }
        sums
    }
}

/// Rotational asymmetry A = (sum |I - I180| - sky) / sum |I| (Conselice, Bershady & Jangren 2000), of the
/// light within `radius` pixels of `(x, y)`, against the image turned by 180 degrees.
///
/// The centre of rotation is moved in half pixels, for which the turned image needs no
/// interpolation, to the nearest minimum of the sum. The sky term is what Gaussian
/// noise of standard deviation `sky_sigma` per pixel adds on average, 2 sigma / sqrt(pi) a pixel;
/// noise-free images take 0. Smooth ellipticals have A below 0.1, spirals 0.1 to 0.4, mergers more. `None`
/// if the circle leaves the image or holds no light.
///
/// # Panics
/// If `image` is not `side * side` long.
pub fn asymmetry(
    image: &[f32],
    side: usize,
    x: f64,
    y: f64,
    radius: f64,
    sky_sigma: f64,
) -> Option<f64> {
    check(image, side);
    // Twice the centre, an integer.
    let mut centre = (libm::round(2.0 * x) as i64, libm::round(2.0 * y) as i64);
    let mut best = rotated_difference(image, side, centre, radius)?;
    for _ in 0..2 * side {
        let around = [(1, 0), (-1, 0), (0, 1), (0, -1)];
        let steps = around.map(|(dx, dy)| (centre.0 + dx, centre.1 + dy));
        let tried = steps.map(|c| rotated_difference(image, side, c, radius).map(|d| (c, d)));
        let lowest = tried
            .into_iter()
            .flatten()
            .fold((centre, best), |a, b| if b.1.0 < a.1.0 { b } else { a });
        if lowest.0 == centre {
            break;
        }
        (centre, best) = lowest;
    }
    let (difference, light, pixels) = best;
    let sky = pixels * 2.0 * sky_sigma / libm::sqrt(PI);
    (light > 0.0).then(|| (difference - sky) / light)
}

/// Sum of |I - I180| and of |I| and the count of pixels within `radius` of half the given coordinates.
fn rotated_difference(
    image: &[f32],
    side: usize,
    twice: (i64, i64),
    radius: f64,
) -> Option<(f64, f64, f64)> {
    let n = side as i64;
    let (mut difference, mut light, mut pixels) = (0.0, 0.0, 0.0);
    let reach = |c: i64| {
        let c = c as f64 / 2.0;
        (
            libm::ceil(c - radius) as i64,
            libm::floor(c + radius) as i64,
        )
    };
    let ((x0, x1), (y0, y1)) = (reach(twice.0), reach(twice.1));
    if x0 < 0 || y0 < 0 || x1 >= n || y1 >= n {
        return None;
    }
    let limit = 4.0 * radius * radius;
    for y in y0..=y1 {
        for x in x0..=x1 {
            let (dx, dy) = ((2 * x - twice.0) as f64, (2 * y - twice.1) as f64);
            if dx * dx + dy * dy > limit {
                continue;
            }
            let here = f64::from(image[(y * n + x) as usize]);
            let there = f64::from(image[((twice.1 - y) * n + twice.0 - x) as usize]);
            difference += libm::fabs(here - there);
            light += libm::fabs(here);
            pixels += 1.0;
        }
    }
    Some((difference, light, pixels))
}

fn sq(v: f64) -> f64 {
    v * v
}

fn check(image: &[f32], side: usize) {
    assert_eq!(
        image.len(),
        side * side,
        "image of {} pixels is not {side} x {side}",
        image.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Pixel means of `profile(elliptical radius)`, by 6 x 6 points a pixel.
    fn draw(side: usize, ellipse: &Ellipse, profile: impl Fn(f64) -> f64) -> Vec<f32> {
        let (sin, cos) = libm::sincos(ellipse.position_angle * PI / 180.0);
        let mut image = vec![0.0; side * side];
        for (k, pixel) in image.iter_mut().enumerate() {
            let mut sum = 0.0;
            for part in 0..36 {
                let dx = (k % side) as f64 + ((part % 6) as f64 - 2.5) / 6.0 - ellipse.x;
                let dy = (k / side) as f64 + ((part / 6) as f64 - 2.5) / 6.0 - ellipse.y;
                let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
                sum += profile(libm::hypot(u, v / ellipse.axis_ratio));
            }
            *pixel = (sum / 36.0) as f32;
        }
        image
    }

    fn gaussian(sigma: f64) -> impl Fn(f64) -> f64 {
        move |r| libm::exp(-0.5 * sq(r / sigma))
    }

    #[test]
    fn half_light_radii_of_known_profiles() {
        let side = 161;
        for q in [1.0, 0.6, 0.25] {
            let ellipse = Ellipse::centred(side, q);
            // Pixel means, taken as uniform pixels, add a sixth of a square pixel to the variance of each axis;
            // no light gets nearer to the centre by that.
            let widest = |sigma: f64| 1.0 + (1.0 + 1.0 / (q * q)) / (24.0 * sigma * sigma);
            let check = |radius: f64, truth: f64, sigma: f64| {
                let ratio = radius / truth;
                assert!(
                    ratio > 0.9995 && ratio < widest(sigma) + 0.001 && ratio < 1.03,
                    "q {q}: {radius}, {truth}"
                );
            };
            // A Gaussian's half-light radius is sqrt(2 ln 2) sigma, an exponential's 1.678347 scale lengths.
            let image = draw(side, &ellipse, gaussian(6.0));
            check(
                half_light_radius(&image, side, q).expect("light"),
                6.0 * 1.177_410,
                6.0,
            );
            let image = draw(side, &ellipse, |r| libm::exp(-r / 5.0));
            check(
                half_light_radius(&image, side, q).expect("light"),
                5.0 * 1.678_347,
                5.0,
            );
        }
    }

    #[test]
    fn concentrations_of_known_profiles() {
        let side = 201;
        let ellipse = Ellipse::centred(side, 0.7);
        let c = |image: &[f32]| concentration(image, side, 0.7).expect("light");
        // Gaussian: r_f = sigma sqrt(-2 ln(1 - f)), so C = 2.5 log10(ln 0.2 / ln 0.8).
        let gaussian = c(&draw(side, &ellipse, gaussian(8.0)));
        assert!(
            (gaussian - 2.5 * libm::log10(libm::log(0.2) / libm::log(0.8))).abs() < 5e-3,
            "{gaussian}"
        );
        // Exponential: 1 - (1 + x) e^-x = 0.2 and 0.8 at x = 0.824388 and 2.994308.
        let exponential = c(&draw(side, &ellipse, |r| libm::exp(-r / 7.0)));
        assert!(
            (exponential - 5.0 * libm::log10(2.994_308 / 0.824_388)).abs() < 8e-3,
            "{exponential}"
        );
        // De Vaucouleurs' law cut off by the frame is still far more concentrated.
        let vaucouleurs = c(&draw(side, &ellipse, |r| {
            libm::exp(-7.669 * libm::pow(r / 8.0, 0.25))
        }));
        assert!((3.6..5.3).contains(&vaucouleurs), "{vaucouleurs}");
    }

    #[test]
    fn radii_grow_with_the_fraction_and_invert_the_flux() {
        let side = 48;
        let ellipse = Ellipse {
            x: 21.3,
            y: 25.8,
            axis_ratio: 0.45,
            position_angle: 63.0,
        };
        let image = draw(side, &ellipse, |r| libm::exp(-r / 3.0));
        let flux = total(&image);
        let mut last = 0.0;
        for step in 1..40 {
            let fraction = f64::from(step) / 40.0;
            let radius = radius_holding(&image, side, &ellipse, fraction).expect("light");
            assert!(radius > last);
            last = radius;
            let inside = flux_within(&image, side, &ellipse, radius) / flux;
            assert!((inside - fraction).abs() < 5e-5, "{fraction}: {inside}");
        }
    }

    #[test]
    fn a_uniform_disc_is_measured_by_its_area() {
        let side = 64;
        let image = vec![1.0; side * side];
        for radius in [2.0, 5.5, 12.25, 30.0] {
            let area = flux_within(&image, side, &Ellipse::centred(side, 1.0), radius);
            let measured = libm::sqrt(area / PI);
            assert!((measured - radius).abs() < 0.02, "{radius}: {measured}");
        }
    }

    #[test]
    fn radii_scale_with_the_galaxy() {
        let side = 128;
        let ellipse = Ellipse::centred(side, 0.5);
        let small = draw(side, &ellipse, gaussian(5.0));
        let large = draw(side, &ellipse, gaussian(10.0));
        let ratio = half_light_radius(&large, side, 0.5).expect("light")
            / half_light_radius(&small, side, 0.5).expect("light");
        // The small one is widened more by its pixels.
        assert!((ratio - 2.0).abs() < 0.012, "{ratio}");
    }

    #[test]
    fn moments_follow_the_galaxy_whatever_its_profile_and_angle() {
        let side = 96;
        for angle in [-80.0, -33.0, 0.0, 20.0, 71.0] {
            for q in [0.2, 0.5, 0.9] {
                let truth = Ellipse {
                    x: 46.2,
                    y: 49.1,
                    axis_ratio: q,
                    position_angle: angle,
                };
                let start = Ellipse::centred(side, 1.0);
                let image = draw(side, &truth, |r| libm::exp(-r / 6.0));
                let found = moments(&image, side, &start, 15.0, true)
                    .expect("light")
                    .ellipse;
                assert!(
                    (found.x - truth.x).abs() < 0.02 && (found.y - truth.y).abs() < 0.02,
                    "{found:?}"
                );
                assert!((found.axis_ratio - q).abs() < 0.01, "q {q}: {found:?}");
                let turned = libm::sin((found.position_angle - angle) * PI / 180.0);
                assert!(libm::fabs(turned) < 0.003, "angle {angle}: {found:?}");
            }
        }
    }

    #[test]
    fn moments_of_a_gaussian_lose_the_weight() {
        let side = 96;
        let ellipse = Ellipse {
            position_angle: 30.0,
            ..Ellipse::centred(side, 0.6)
        };
        let image = draw(side, &ellipse, gaussian(7.0));
        let found =
            moments(&image, side, &Ellipse::centred(side, 1.0), 10.0, false).expect("light");
        // Averaging over a pixel adds its variance, 1/12.
        assert!(
            (found.sigma - libm::sqrt(49.0 + 1.0 / 12.0)).abs() < 0.01,
            "{found:?}"
        );
    }

    #[test]
    fn asymmetry_is_zero_for_symmetry_and_counts_a_blob() {
        let side = 65;
        let ellipse = Ellipse {
            position_angle: 40.0,
            ..Ellipse::centred(side, 0.5)
        };
        let mut image = draw(side, &ellipse, gaussian(5.0));
        let even = asymmetry(&image, side, 32.0, 32.0, 20.0, 0.0).expect("light");
        assert!(even.abs() < 1e-5, "{even}");
        let light = total(&image);
        // A blob of a tenth of the light differs from its empty counterpart twice.
        image[32 * side + 50] += (0.1 * light) as f32;
        let odd = asymmetry(&image, side, 32.0, 32.0, 20.0, 0.0).expect("light");
        assert!((odd - 0.2 / 1.1).abs() < 0.01, "{odd}");
        assert_eq!(asymmetry(&image, side, 32.0, 32.0, 40.0, 0.0), None);
    }

    #[test]
    fn what_cannot_be_measured_is_none() {
        let empty = vec![0.0; 16 * 16];
        assert_eq!(half_light_radius(&empty, 16, 1.0), None);
        assert_eq!(shape(&empty, 16), None);
        let light = vec![1.0; 16 * 16];
        for q in [0.0, -1.0, 1.1, f64::NAN] {
            assert_eq!(half_light_radius(&light, 16, q), None);
        }
        assert_eq!(
            radius_holding(&light, 16, &Ellipse::centred(16, 1.0), 1.0),
            None
        );
        assert_eq!(half_light_radius(&vec![f32::NAN; 256], 16, 1.0), None);
    }
}
