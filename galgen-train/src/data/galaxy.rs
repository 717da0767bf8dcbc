//! One picture measured and brought to the galaxy frame, or rejected with a reason.

use super::framing::{Framed, frame};
use super::light_noise::{LightNoise, Linear};
use super::neighbours::isolate;
use super::noise::SkyNoise;
use super::plane::{Plane, Sky, sky};
use super::profile::radius;
use super::psf::{Psf, full_width};
use super::reason::Reason;
use super::resample::sky_noise;
use galgen_core::measure;
use std::sync::Arc;

/// One band of a picture, display stretch undone, in a square frame.
pub struct Picture {
    /// Square; NaN outside the original picture.
    pub plane: Plane,
    /// Inside the original picture, and finite.
    pub observed: Vec<bool>,
    /// At the display's full scale.
    pub saturated: Vec<bool>,
}

/// What lies between the light of a galaxy and its picture.
#[derive(Clone, Debug)]
pub struct Optics {
    /// Effective point-spread function, in source pixels.
    pub psf: Arc<Psf>,
    /// Correlation of the sky noise, in source pixels.
    pub noise: Arc<SkyNoise>,
    /// Standard deviation of the sky in a source pixel; `None` to measure it in each picture.
    pub sigma: Option<f64>,
    /// Noise of the light itself, in units of the picture; `None` if not known or small.
    pub light_noise: Option<(LightNoise, Linear)>,
}

/// What a training stamp must be like.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Side of the stamp in pixels.
    pub side: usize,
    /// Side of the point-spread function in stamp pixels, odd.
    pub psf_side: usize,
    /// Semi-major half-light radius in the stamp before the point-spread function, in pixels.
    pub hlr_px: f64,
    /// Smallest half-light radius in source pixels, as observed.
    pub min_hlr: f64,
    /// Lowest signal to noise in the half-light ellipse.
    pub min_snr: f64,
    /// Most light of the stamp that may come from beyond the picture.
    pub max_missing_light: f64,
    /// Most pixels of the stamp's circle that may lie beyond the picture.
    pub max_missing_area: f64,
    /// Most light of neighbours within two half-light radii, as a fraction of the galaxy's.
    pub max_neighbours: f64,
    /// Most saturated pixels as a fraction of the half-light ellipse.
    pub max_saturated: f64,
}

/// A measured training stamp.
#[derive(Clone, Debug)]
pub struct Galaxy {
    /// `side * side` values of sum 1, windowed.
    pub stamp: Vec<f32>,
    /// 1 where the light was observed, 0 where it was filled in.
    pub observed: Vec<u8>,
    /// Point-spread function in stamp pixels, [`Limits::psf_side`] a side, sum 1.
    pub psf: Vec<f32>,
    /// Autocorrelation of the sky noise in stamp pixels, [`correlation_side`] a side, 1 at the centre.
    pub noise_acf: Vec<f32>,
    /// Variance of each pixel over that of the sky, if the gain is known.
    pub variance: Option<Vec<f32>>,
    /// Standard deviation of the sky in one stamp pixel where the window is 1.
    pub sky_sigma: f32,
    /// Axis ratio in the stamp.
    pub axis_ratio: f32,
    /// Concentration in the stamp.
    pub concentration: f32,
    /// Rotational asymmetry within two half-light radii of the stamp.
    pub asymmetry: f32,
    /// Semi-major half-light radius in the stamp, in pixels, as observed.
    pub half_light_radius_px: f32,
    /// Full width at half maximum of the point-spread function in the stamp, in pixels.
    pub psf_fwhm_px: f32,
    /// Semi-major half-light radius before the point-spread function, in source pixels.
    pub source_half_light_radius_px: f32,
    /// Source pixels to a stamp pixel.
    pub source_scale: f32,
    /// Picture coordinates of the stamp's centre.
    pub source_centre: (f32, f32),
    /// Position angle that the galaxy had in the source, in degrees.
    pub source_position_angle_deg: f32,
    /// Sum of the stamp before it was normalised, in units of the source.
    pub source_flux: f32,
    /// Half the flux over the noise in the half-light ellipse, stamp pixels taken as independent.
    pub signal_to_noise: f32,
    /// Fraction of the stamp's light that comes from beyond the picture.
    pub missing_light: f32,
}

/// Side of the point-spread function that usually goes with a stamp: odd, half of the stamp's.
pub fn psf_side(side: usize) -> usize {
    side / 4 * 2 + 1
}

/// Side of the noise's autocorrelation: odd, a quarter of the stamp's.
pub fn correlation_side(side: usize) -> usize {
    side / 8 * 2 + 1
}

/// A point source is rounder than this and smaller than this many PSF half-light radii.
const STAR_AXIS_RATIO: f64 = 0.8;
const STAR_SIZE: f64 = 1.25;
/// Half-light radius of a PSF over its full width at half maximum, between a Gaussian's and one with wings.
const PSF_HALF_LIGHT: f64 = 0.55;

/// Measures the galaxy at the centre of a picture and draws its stamp.
pub fn prepare(picture: &Picture, optics: &Optics, limits: &Limits) -> Result<Galaxy, Reason> {
    let (light, background) = above_sky(picture)?;
    let found = isolate(&light, &picture.observed, &background, blur(&optics.psf))?;
    let frame = frame(&light, picture, &found, &optics.psf, limits)?;
    let observed_hlr = frame.stamp_hlr * frame.scale;
    let psf = PSF_HALF_LIGHT * optics.psf.fwhm();
    if observed_hlr < STAR_SIZE * psf && frame.axis_ratio > STAR_AXIS_RATIO {
        return Err(Reason::Star);
    }
    if observed_hlr < limits.min_hlr {
        return Err(Reason::TooSmall);
    }
    if found.two_peaks || found.neighbour_light > limits.max_neighbours {
        return Err(Reason::Double);
    }
    let n = light.width;
    let flat = (0..n * n).filter(|&k| {
        picture.saturated[k]
            && !found.masked[k]
            && radius(&found.ellipse, (k % n) as f64, (k / n) as f64) < observed_hlr
    });
    let half_area = std::f64::consts::PI * observed_hlr.powi(2) * frame.axis_ratio;
    if flat.count() as f64 > (limits.max_saturated * half_area).max(3.0) {
        return Err(Reason::Saturated);
    }
    if frame.missing_light > limits.max_missing_light
        || frame.missing_area > limits.max_missing_area
    {
        return Err(Reason::Truncated);
    }
    let (noise_acf, gain) = optics.noise.stamp(
        frame.position_angle,
        frame.scale,
        correlation_side(limits.side),
    );
    let sigma = optics
        .sigma
        .map(|s| s * gain)
        .or_else(|| sky_noise(&light, &found.blank, frame.scale))
        .unwrap_or(background.sigma * gain)
        / frame.flux;
    let half_pixels = std::f64::consts::PI * frame.stamp_hlr.powi(2) * frame.axis_ratio;
    let snr = 0.5 / (sigma * half_pixels.sqrt());
    if !snr.is_finite() {
        // No noise at all: a drawing, or a display stretch that cut the sky off.
        return Err(Reason::NotMeasurable);
    }
    if snr < limits.min_snr {
        return Err(Reason::TooFaint);
    }
    let side = limits.side;
    let centre = galgen_core::stamp::centre(side);
    let concentration = measure::concentration(&frame.stamp, side, frame.axis_ratio)
        .ok_or(Reason::NotMeasurable)?;
    let asymmetry = measure::asymmetry(
        &frame.stamp,
        side,
        centre,
        centre,
        2.0 * frame.stamp_hlr,
        sigma,
    );
    Ok(Galaxy {
        sky_sigma: sigma as f32,
        axis_ratio: frame.axis_ratio as f32,
        concentration: concentration as f32,
        asymmetry: asymmetry.ok_or(Reason::NotMeasurable)? as f32,
        half_light_radius_px: frame.stamp_hlr as f32,
        psf_fwhm_px: psf_fwhm(&frame.psf, limits.psf_side) as f32,
        source_half_light_radius_px: (frame.intrinsic_hlr * frame.scale) as f32,
        source_scale: frame.scale as f32,
        source_centre: (found.ellipse.x as f32, found.ellipse.y as f32),
        source_position_angle_deg: frame.position_angle as f32,
        source_flux: (frame.flux * frame.scale.powi(2)) as f32,
        signal_to_noise: snr as f32,
        missing_light: frame.missing_light as f32,
        variance: optics.light_noise.map(|(noise, linear)| {
            // What the map leaves of white noise, where the sky is divided by what it leaves of its own.
            let left = SkyNoise::white()
                .stamp(frame.position_angle, frame.scale, 1)
                .1;
            let white = (left / gain).powi(2);
            let noise = LightNoise {
                linear: match linear {
                    Linear::Photons => noise.linear,
                    Linear::Display => noise.linear * white,
                },
                square: noise.square * white,
            };
            let sky = optics.sigma.unwrap_or(background.sigma);
            variance(&frame, side, noise, sky)
        }),
        stamp: frame.stamp,
        observed: frame.observed,
        psf: frame.psf,
        noise_acf,
    })
}

/// Standard deviation in stamp pixels of the Gaussian over which light is averaged before its noise is taken from it,
/// so that the noise does not count as light.
pub const SMOOTHING: f64 = 1.0;

/// Variance of each pixel over the sky's, whose standard deviation is `sky` in the picture's unit.
fn variance(frame: &Framed, side: usize, noise: LightNoise, sky: f64) -> Vec<f32> {
    let light = Plane {
        width: side,
        height: side,
        pixels: frame.stamp.clone(),
    };
    let of = |v: &f32| 1.0 + noise.variance(f64::from(*v) * frame.flux) / (sky * sky);
    let smooth = light.blurred(SMOOTHING);
    smooth.pixels.iter().map(|v| of(v) as f32).collect()
}

/// Light of a picture above its sky, and the noise of that sky; its level is now 0.
fn above_sky(picture: &Picture) -> Result<(Plane, Sky), Reason> {
    let background = sky(&picture.plane).ok_or(Reason::NotMeasurable)?;
    let pixels = picture.plane.pixels.iter();
    let light = Plane {
        pixels: pixels.map(|v| subtracted(*v, background.level)).collect(),
        ..picture.plane
    };
    let level = 0.0;
    Ok((
        light,
        Sky {
            level,
            ..background
        },
    ))
}

/// Standard deviation in pixels of the Gaussian under which objects are detected.
fn blur(psf: &Psf) -> f64 {
    (0.4 * psf.fwhm()).max(1.0)
}

/// The light of a picture above its sky, the noise of that sky, and where there is sky alone.
pub fn blank_sky(picture: &Picture, psf: &Psf) -> Result<(Plane, f64, Vec<bool>), Reason> {
    let (light, background) = above_sky(picture)?;
    let found = isolate(&light, &picture.observed, &background, blur(psf))?;
    Ok((light, background.sigma, found.blank))
}

/// Full width at half maximum of a PSF of `side` about its middle.
fn psf_fwhm(psf: &[f32], side: usize) -> f64 {
    let centre = galgen_core::stamp::centre(side);
    full_width(psf, side, (centre, centre))
}

/// Light above the sky, none where nothing was observed.
fn subtracted(value: f32, sky: f64) -> f32 {
    if value.is_finite() {
        (f64::from(value) - sky) as f32
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::framing::intrinsic;
    use super::super::psf::added_radius;
    use super::*;
    use galgen_core::measure::Ellipse;

    const SIDE: usize = 160;
    const SKY: f64 = 3.0;

    fn limits() -> Limits {
        Limits {
            side: 64,
            psf_side: 33,
            hlr_px: 8.0,
            min_hlr: 5.0,
            min_snr: 15.0,
            max_missing_light: 0.1,
            max_missing_area: 0.78,
            max_neighbours: 0.25,
            max_saturated: 0.04,
        }
    }

    fn optics() -> Optics {
        Optics {
            psf: Psf::gaussian(4.0).into(),
            noise: SkyNoise::white().into(),
            sigma: None,
            light_noise: None,
        }
    }

    /// Exponential disks `(ellipse, scale length, peak)` on a noisy sky of standard deviation 0.1.
    fn picture(disks: &[(Ellipse, f64, f64)]) -> Picture {
        let mut state = 7u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX)
        };
        let mut pixels = Vec::new();
        for k in 0..SIDE * SIDE {
            let noise = 0.1 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0);
            let light = disks.iter().map(|(ellipse, length, peak)| {
                peak * (-radius(ellipse, (k % SIDE) as f64, (k / SIDE) as f64) / length).exp()
            });
            pixels.push((SKY + noise + light.sum::<f64>()) as f32);
        }
        Picture {
            plane: Plane {
                width: SIDE,
                height: SIDE,
                pixels,
            },
            observed: vec![true; SIDE * SIDE],
            saturated: vec![false; SIDE * SIDE],
        }
    }

    fn disk(dx: f64, dy: f64, axis_ratio: f64, position_angle: f64) -> Ellipse {
        let centre = galgen_core::stamp::centre(SIDE);
        Ellipse {
            x: centre + dx,
            y: centre + dy,
            axis_ratio,
            position_angle,
        }
    }

    #[test]
    fn the_frame_has_the_size_and_angle_asked_for_whatever_the_picture_has() {
        for (q, angle, length) in [(0.4, 50.0, 7.0), (0.7, -75.0, 5.0), (0.55, 10.0, 9.0)] {
            let galaxy = prepare(
                &picture(&[(disk(1.3, -0.6, q, angle), length, 50.0)]),
                &Optics {
                    psf: Psf::point().into(),
                    ..optics()
                },
                &limits(),
            )
            .expect("good");
            let shape = measure::shape(&galaxy.stamp, 64).expect("light").ellipse;
            assert!(
                shape.position_angle.abs() < 0.15 && (shape.axis_ratio - q).abs() < 0.02,
                "{shape:?}"
            );
            let hlr = measure::half_light_radius(&galaxy.stamp, 64, f64::from(galaxy.axis_ratio))
                .expect("light");
            let before = intrinsic(hlr, added_radius(&galaxy.psf, 33));
            assert!((before - 8.0).abs() < 0.02, "{hlr} {before}");
            assert!((measure::total(&galaxy.stamp) - 1.0).abs() < 1e-5);
            // The stamp ends at four half-light radii, where an exponential still lacks two percent of its light.
            let source = f64::from(galaxy.source_half_light_radius_px) / (1.678 * length);
            assert!((0.94..1.02).contains(&source), "{source}");
            let turned = (f64::from(galaxy.source_position_angle_deg) - angle)
                .to_radians()
                .sin();
            assert!(turned.abs() < 0.02, "{turned}");
            assert!(
                (2.4..2.8).contains(&galaxy.concentration) && galaxy.asymmetry < 0.1,
                "{}",
                galaxy.concentration
            );
        }
    }

    #[test]
    fn a_star_beside_the_galaxy_leaves_its_measures_alone() {
        let galaxy = (disk(0.0, 0.0, 0.6, 30.0), 7.0, 50.0);
        let alone = prepare(&picture(&[galaxy]), &optics(), &limits()).expect("good");
        let star = (disk(25.0, -18.0, 1.0, 0.0), 1.2, 60.0);
        let beside = prepare(&picture(&[galaxy, star]), &optics(), &limits()).expect("good");
        let close = |a: f32, b: f32, tolerance: f32| assert!((a - b).abs() < tolerance, "{a} {b}");
        close(alone.axis_ratio, beside.axis_ratio, 0.02);
        close(alone.concentration, beside.concentration, 0.05);
        close(
            alone.source_half_light_radius_px / beside.source_half_light_radius_px,
            1.0,
            0.03,
        );
        assert!(beside.observed.contains(&0));
    }

    #[test]
    fn what_is_no_good_is_rejected_for_its_reason() {
        let reason = |picture: &Picture| {
            prepare(picture, &optics(), &limits())
                .map(|g| g.axis_ratio)
                .expect_err("to be rejected")
        };
        assert_eq!(reason(&picture(&[])), Reason::TooFaint);
        assert_eq!(
            reason(&picture(&[(disk(0.0, 0.0, 1.0, 0.0), 1.2, 60.0)])),
            Reason::Star
        );
        assert_eq!(
            reason(&picture(&[(disk(0.0, 0.0, 0.5, 0.0), 2.2, 60.0)])),
            Reason::TooSmall
        );
        let pair = [
            (disk(0.0, 0.0, 0.8, 0.0), 6.0, 50.0),
            (disk(16.0, 4.0, 0.8, 0.0), 4.0, 60.0),
        ];
        assert_eq!(reason(&picture(&pair)), Reason::Double);
        assert_eq!(
            reason(&picture(&[(disk(0.0, 0.0, 0.3, 0.0), 45.0, 60.0)])),
            Reason::Truncated
        );
        let mut flat = picture(&[(disk(0.0, 0.0, 0.8, 0.0), 6.0, 50.0)]);
        for (value, saturated) in flat.plane.pixels.iter_mut().zip(&mut flat.saturated) {
            *saturated = f64::from(*value) > SKY + 25.0;
            *value = value.min((SKY + 25.0) as f32);
        }
        assert_eq!(reason(&flat), Reason::Saturated);
        let constant = Picture {
            plane: Plane {
                width: 64,
                height: 64,
                pixels: vec![1.0; 64 * 64],
            },
            observed: vec![true; 64 * 64],
            saturated: vec![false; 64 * 64],
        };
        assert_eq!(reason(&constant), Reason::NotMeasurable);
    }
}
