//! The galaxy frame: the scale and turn that give a stamp the size and angle asked for.

use super::galaxy::{Limits, Picture};
use super::neighbours::Isolated;
use super::plane::Plane;
use super::profile::radius;
use super::psf::{Psf, added_radius};
use super::reason::Reason;
use super::resample::{Canvas, stamp};
use galgen_core::measure;
use galgen_core::stamp::window;

/// Relative error of the half-light radius and degrees of position angle at which the frame is accepted.
const SIZE_TOLERANCE: f64 = 1e-3;
const ANGLE_TOLERANCE: f64 = 0.1;
/// Above this axis ratio noise decides the position angle, and it need not come to rest.
const ROUND: f64 = 0.95;
const FRAME_ROUNDS: usize = 16;
/// The intrinsic half-light radius is at least this fraction of the observed one: below it the galaxy is hardly
/// resolved and the difference of squares is mostly error.
const LEAST_INTRINSIC: f64 = 0.5;

/// A stamp whose half-light radius and position angle are as asked.
pub struct Framed {
    /// `side * side` values of sum 1, windowed.
    pub stamp: Vec<f32>,
    /// 1 where the light was observed.
    pub observed: Vec<u8>,
    /// Point-spread function in stamp pixels.
    pub psf: Vec<f32>,
    /// Axis ratio in the stamp.
    pub axis_ratio: f64,
    /// Semi-major half-light radius of the stamp, in its pixels.
    pub stamp_hlr: f64,
    /// The same before the PSF.
    pub intrinsic_hlr: f64,
    /// Source pixels to a stamp pixel.
    pub scale: f64,
    /// Position angle in the source, in degrees.
    pub position_angle: f64,
    /// Sum of the stamp before it was normalised.
    pub flux: f64,
    /// Fraction of the light that comes from beyond the picture.
    pub missing_light: f64,
    /// Fraction of the stamp's circle that lies beyond the picture.
    pub missing_area: f64,
}

/// Finds the scale and turn for which the stamp, as measured in itself and the PSF's radius taken off in
/// quadrature, has the half-light radius asked for and its major axis along x: measure, correct, draw again.
pub fn frame(
    light: &Plane,
    picture: &Picture,
    found: &Isolated,
    psf: &Psf,
    limits: &Limits,
) -> Result<Framed, Reason> {
    let side = limits.side;
    let window = window(side);
    let mut scale = found.half_light / limits.hlr_px;
    let mut turn = 0.0;
    let mut canvas = canvas(light, picture, found, reach(scale, side));
    for _ in 0..FRAME_ROUNDS {
        if 2.0 * reach(scale, side) > canvas.side as f64 {
            if scale > 3.0 * found.half_light / limits.hlr_px {
                return Err(Reason::NotMeasurable);
            }
            canvas = self::canvas(light, picture, found, 1.3 * reach(scale, side));
        }
        let mut drawn = stamp(&canvas, turn, scale, side);
        drawn
            .light
            .iter_mut()
            .zip(&window)
            .for_each(|(v, w)| *v *= w);
        let flux = measure::total(&drawn.light);
        let shape = measure::shape(&drawn.light, side)
            .ok_or(Reason::NotMeasurable)?
            .ellipse;
        let stamp_hlr = measure::half_light_radius(&drawn.light, side, shape.axis_ratio)
            .ok_or(Reason::NotMeasurable)?;
        let psf = psf.stamp(found.ellipse.position_angle + turn, scale, limits.psf_side);
        let hlr = intrinsic(stamp_hlr, added_radius(&psf, limits.psf_side));
        let aligned = shape.position_angle.abs() < ANGLE_TOLERANCE || shape.axis_ratio > ROUND;
        if (hlr / limits.hlr_px - 1.0).abs() < SIZE_TOLERANCE && aligned {
            let (missing_light, missing_area) =
                missing(&canvas, picture, &drawn.light, turn, scale, side);
            return Ok(Framed {
                stamp: drawn
                    .light
                    .iter()
                    .map(|v| (f64::from(*v) / flux) as f32)
                    .collect(),
                observed: drawn.observed.iter().map(|o| u8::from(*o)).collect(),
                psf,
                axis_ratio: shape.axis_ratio,
                stamp_hlr,
                intrinsic_hlr: hlr,
                scale,
                position_angle: found.ellipse.position_angle + turn,
                flux,
                missing_light,
                missing_area,
            });
        }
        scale *= hlr / limits.hlr_px;
        turn += if aligned { 0.0 } else { shape.position_angle };
    }
    Err(Reason::NotMeasurable)
}

/// Half-light radius before a PSF that adds its own in quadrature.
pub fn intrinsic(observed: f64, added: f64) -> f64 {
    (observed.powi(2) - added.powi(2))
        .max((LEAST_INTRINSIC * observed).powi(2))
        .sqrt()
}

/// Source pixels from the centre that a stamp of this scale needs, its kernel included.
fn reach(scale: f64, side: usize) -> f64 {
    let corner = side as f64 / std::f64::consts::SQRT_2;
    corner * scale + 2.0 * scale.max(1.0) + 1.0
}

/// Largest canvas, in source pixels from the centre.
const LARGEST_REACH: f64 = 2000.0;

/// The galaxy's light on a canvas about its centre: as observed, filled under neighbours, and from the
/// profile beyond the picture.
fn canvas(light: &Plane, picture: &Picture, found: &Isolated, reach: f64) -> Canvas {
    let n = light.width as isize;
    let half = reach.min(LARGEST_REACH).ceil() as isize;
    let side = (2 * half + 1) as usize;
    let (x0, y0) = (
        found.ellipse.x.round() as isize - half,
        found.ellipse.y.round() as isize - half,
    );
    let mut out = Canvas {
        side,
        light: Vec::with_capacity(side * side),
        observed: Vec::with_capacity(side * side),
        origin: (x0 as f64, y0 as f64),
        ellipse: measure::Ellipse {
            x: found.ellipse.x - x0 as f64,
            y: found.ellipse.y - y0 as f64,
            ..found.ellipse
        },
    };
    for y in y0..y0 + side as isize {
        for x in x0..x0 + side as isize {
            let inside = x >= 0 && y >= 0 && x < n && y < n;
            let k = if inside { (y * n + x) as usize } else { 0 };
            if inside && picture.observed[k] {
                out.light.push(found.filled[k]);
                out.observed.push(!found.masked[k]);
            } else {
                out.light
                    .push(found.profile.at(radius(&found.ellipse, x as f64, y as f64)) as f32);
                out.observed.push(false);
            }
        }
    }
    out
}

/// Fractions of a stamp's light and of its circle's area that come from beyond the picture, or from where it has no pixels.
fn missing(
    canvas: &Canvas,
    picture: &Picture,
    drawn: &[f32],
    turn: f64,
    scale: f64,
    side: usize,
) -> (f64, f64) {
    let (sin, cos) = (canvas.ellipse.position_angle + turn)
        .to_radians()
        .sin_cos();
    let centre = galgen_core::stamp::centre(side);
    let n = picture.plane.width;
    let observed = |x: f64, y: f64| {
        let last = n as f64 - 1.0;
        let inside = (0.0..=last).contains(&x) && (0.0..=last).contains(&y);
        inside && picture.observed[y.round() as usize * n + x.round() as usize]
    };
    let (mut light, mut beyond_light, mut area, mut beyond_area) = (0.0, 0.0, 0.0, 0.0);
    for (k, &value) in drawn.iter().enumerate() {
        let (dx, dy) = ((k % side) as f64 - centre, (k / side) as f64 - centre);
        if dx.hypot(dy) > side as f64 / 2.0 {
            continue;
        }
        let x = canvas.origin.0 + canvas.ellipse.x + scale * (dx * cos - dy * sin);
        let y = canvas.origin.1 + canvas.ellipse.y + scale * (dx * sin + dy * cos);
        light += f64::from(value);
        area += 1.0;
        if !observed(x, y) {
            beyond_light += f64::from(value);
            beyond_area += 1.0;
        }
    }
    (beyond_light / light, beyond_area / area)
}
