//! The galaxy at a picture's centre, and what else is in the picture.

use super::plane::{Plane, Sky, grown, label, neighbours};
use super::profile::{Profile, radii};
use super::reason::Reason;
use galgen_core::measure::{self, Ellipse};

/// Detection threshold in standard deviations of the blurred sky.
const DETECT: f64 = 2.0;
/// What never rises above this many is taken for sky when its noise is measured: without its highest peaks noise
/// would look smaller and less correlated than it is.
const SOURCE: f64 = 4.5;
/// A neighbour on the galaxy is this many times brighter than the galaxy's median at that radius ...
const SEED_FACTOR: f64 = 2.0;
/// ... by this many standard deviations, and exceeds its 180-degree counterpart by this factor.
const SEED_SIGMA: f64 = 5.0;
const SEED_ASYMMETRY: f64 = 1.8;
/// The neighbour reaches as far as it stays brighter than this, with counterpart factor below.
const REACH_FACTOR: f64 = 1.2;
const REACH_SIGMA: f64 = 1.5;
const REACH_ASYMMETRY: f64 = 1.2;
/// Inside this many half-light radii structure is the galaxy's own.
const OWN: f64 = 0.5;
/// Height of a second peak against the first, and of the light between against the second, for a double.
const SECOND_PEAK: f64 = 0.5;
const GAP: f64 = 0.75;
/// Weight of the moments in half-light radii.
const WEIGHT: f64 = 1.5;
/// Neighbours count as overlapping within this many half-light radii.
const OVERLAP: f64 = 2.0;
const ROUNDS: usize = 3;

/// The central galaxy with its neighbours taken off.
pub struct Isolated {
    /// Centre, axis ratio and position angle in the picture.
    pub ellipse: Ellipse,
    /// Semi-major half-light radius of the light above the detection isophote, in source pixels.
    pub half_light: f64,
    /// Pixels covered by neighbours.
    pub masked: Vec<bool>,
    /// Sky-subtracted light, neighbours replaced.
    pub filled: Vec<f32>,
    /// Pixels with neither the galaxy nor anything else detected.
    pub blank: Vec<bool>,
    /// Median light on ellipses.
    pub profile: Profile,
    /// Light of neighbours within two half-light radii, as a fraction of the galaxy's.
    pub neighbour_light: f64,
    /// Whether the light has two comparable peaks with a gap between them.
    pub two_peaks: bool,
}

/// Finds the galaxy nearest to the centre of a square sky-subtracted picture and masks all else.
///
/// Objects apart from the galaxy's isophote are masked whole. On the galaxy a neighbour is what is
/// much brighter than the galaxy's median at that radius and than the point opposite the centre: a spiral arm or a
/// bar has its like there, a star or a companion has not.
pub fn isolate(light: &Plane, observed: &[bool], sky: &Sky, blur: f64) -> Result<Isolated, Reason> {
    let n = light.width;
    let smooth = light.blurred(blur);
    let sigma = super::plane::sky(&smooth).map_or(sky.sigma, |s| s.sigma);
    let on: Vec<bool> = smooth
        .pixels
        .iter()
        .map(|v| f64::from(*v) > DETECT * sigma)
        .collect();
    let (labels, count) = label(&on, n, n);
    let start = brightest_near_centre(&smooth, &on).ok_or(Reason::TooFaint)?;
    let main = labels[start];
    let own: Vec<bool> = labels.iter().map(|l| *l == main).collect();
    let area = own.iter().filter(|o| **o).count() as f64;
    if area < 12.0 {
        return Err(Reason::TooFaint);
    }
    let others: Vec<bool> = labels.iter().map(|l| *l != 0 && *l != main).collect();
    let apart = without(&grown(&others, n, n, 2.0), &own);
    let mut masked = apart.clone();
    let mut ellipse = Ellipse {
        x: (start % n) as f64,
        y: (start / n) as f64,
        axis_ratio: 1.0,
        position_angle: 0.0,
    };
    let mut half_light = 0.5 * (area / std::f64::consts::PI).sqrt();
    let mut filled = fill(light, observed, &masked, &ellipse, None);
    let mut profile = None;
    let mut distance = Vec::new();
    for _ in 0..ROUNDS {
        let isophote: Vec<f32> = filled
            .iter()
            .zip(&own)
            .map(|(v, o)| if *o { *v } else { 0.0 })
            .collect();
        let moments = measure::moments(&isophote, n, &ellipse, WEIGHT * half_light, true);
        ellipse = moments.ok_or(Reason::NotMeasurable)?.ellipse;
        half_light =
            measure::radius_holding(&isophote, n, &ellipse, 0.5).ok_or(Reason::NotMeasurable)?;
        distance = radii(&ellipse, n);
        let median_light = |image: &Plane, masked: &[bool]| {
            let usable = without(observed, masked);
            Profile::of(
                &image.pixels,
                &distance,
                &usable,
                ellipse.axis_ratio,
                half_light,
            )
            .ok_or(Reason::NotMeasurable)
        };
        let on_galaxy = intruders(
            &smooth,
            &median_light(&smooth, &masked)?,
            &ellipse,
            &distance,
            half_light,
            sigma,
        );
        masked = apart
            .iter()
            .zip(&on_galaxy)
            .map(|(a, b)| *a || *b)
            .collect();
        let own_profile = median_light(light, &masked)?;
        filled = fill(
            light,
            observed,
            &masked,
            &ellipse,
            Some((&own_profile, &distance[..])),
        );
        profile = Some(own_profile);
    }
    let (mut galaxy, mut taken) = (0.0, 0.0);
    for k in (0..n * n).filter(|&k| distance[k] < OVERLAP * half_light) {
        galaxy += f64::from(filled[k]);
        taken += if masked[k] {
            f64::from((light.pixels[k] - filled[k]).max(0.0))
        } else {
            0.0
        };
    }
    let two_peaks = has_two_peaks(&smooth, &masked, &distance, half_light, sigma);
    let sources = brighter(&smooth, &labels, count, SOURCE * sigma);
    let blank = without(observed, &grown(&sources, n, n, 3.0));
    Ok(Isolated {
        ellipse,
        half_light,
        masked,
        filled,
        blank,
        profile: profile.ok_or(Reason::NotMeasurable)?,
        two_peaks,
        neighbour_light: if galaxy > 0.0 {
            taken / galaxy
        } else {
            f64::INFINITY
        },
    })
}

/// Pixels of the groups that somewhere exceed `limit`.
fn brighter(smooth: &Plane, labels: &[u32], count: u32, limit: f64) -> Vec<bool> {
    let mut bright = vec![false; count as usize + 1];
    for (value, label) in smooth.pixels.iter().zip(labels) {
        bright[*label as usize] |= *label != 0 && f64::from(*value) > limit;
    }
    labels.iter().map(|l| bright[*l as usize]).collect()
}

/// The brightest detected pixel within a twelfth of the side from the centre.
fn brightest_near_centre(smooth: &Plane, on: &[bool]) -> Option<usize> {
    let c = (smooth.width as f64 - 1.0) / 2.0;
    let reach = (smooth.width as f64 / 12.0).max(3.0);
    let near = smooth
        .positions()
        .enumerate()
        .filter(|(k, (x, y))| on[*k] && (*x as f64 - c).hypot(*y as f64 - c) <= reach);
    near.map(|(k, _)| k)
        .max_by(|a, b| smooth.pixels[*a].total_cmp(&smooth.pixels[*b]))
}

/// Pixels of stars and companions on the galaxy (see [`isolate`]).
fn intruders(
    smooth: &Plane,
    profile: &Profile,
    ellipse: &Ellipse,
    distance: &[f64],
    half_light: f64,
    sigma: f64,
) -> Vec<bool> {
    let n = smooth.width;
    let test = |k: usize, factor: f64, sigmas: f64, asymmetry: f64| {
        let r = distance[k];
        let value = f64::from(smooth.pixels[k]);
        let opposite =
            counterpart(n, ellipse, k).map_or(profile.at(r), |o| f64::from(smooth.pixels[o]));
        r > OWN * half_light
            && value > factor * profile.at(r).max(0.0) + sigmas * sigma
            && value > asymmetry * opposite.max(0.0)
    };
    let reach: Vec<bool> = (0..n * n)
        .map(|k| test(k, REACH_FACTOR, REACH_SIGMA, REACH_ASYMMETRY))
        .collect();
    let mut mask = vec![false; n * n];
    let mut stack: Vec<usize> = (0..n * n)
        .filter(|&k| test(k, SEED_FACTOR, SEED_SIGMA, SEED_ASYMMETRY))
        .collect();
    while let Some(k) = stack.pop() {
        if !mask[k] {
            mask[k] = true;
            stack.extend(neighbours(k, n, n).filter(|&j| reach[j] && !mask[j]));
        }
    }
    let mut mask = grown(&mask, n, n, 1.5);
    for (k, masked) in mask.iter_mut().enumerate() {
        *masked &= distance[k] > OWN * half_light;
    }
    mask
}

/// Whether a second peak within two half-light radii has at least half the height of the highest, and the
/// light between them falls below this fraction of it by more than noise.
///
/// Two galaxies of like brightness are symmetric about the point between them, so that neither is an
/// intruder; arms and bars do not rise to half of a nucleus across a gap.
fn has_two_peaks(
    smooth: &Plane,
    masked: &[bool],
    distance: &[f64],
    half_light: f64,
    sigma: f64,
) -> bool {
    let n = smooth.width;
    let value = |k: usize| f64::from(smooth.pixels[k]);
    // A star on the outer galaxy is masked and does no harm; one within the half-light ellipse does.
    let inside = |k: &usize| {
        distance[*k]
            < if masked[*k] {
                half_light
            } else {
                OVERLAP * half_light
            }
    };
    let Some(first) = (0..n * n)
        .filter(inside)
        .max_by(|a, b| value(*a).total_cmp(&value(*b)))
    else {
        return false;
    };
    let peaks = (0..n * n).filter(inside).filter(|&k| {
        k != first
            && value(k) > SECOND_PEAK * value(first)
            && neighbours(k, n, n).all(|j| value(j) <= value(k))
    });
    peaks.into_iter().any(|second| {
        let (x0, y0, x1, y1) = (first % n, first / n, second % n, second / n);
        let lowest = (1..64).map(|step| {
            let t = f64::from(step) / 64.0;
            let along =
                |a: usize, b: usize| (a as f64 + t * (b as f64 - a as f64)).round() as usize;
            value(along(y0, y1) * n + along(x0, x1))
        });
        let gap = lowest.fold(f64::INFINITY, f64::min);
        gap < GAP * value(second) && value(second) - gap > SEED_SIGMA * sigma
    })
}

/// Index of the pixel opposite the centre, if it is in the picture.
pub fn counterpart(n: usize, ellipse: &Ellipse, k: usize) -> Option<usize> {
    let x = (2.0 * ellipse.x - (k % n) as f64).round();
    let y = (2.0 * ellipse.y - (k / n) as f64).round();
    let inside = (0.0..n as f64).contains(&x) && (0.0..n as f64).contains(&y);
    inside.then(|| y as usize * n + x as usize)
}

/// The light with masked pixels taken from the opposite side if that is clean, else from the profile.
fn fill(
    light: &Plane,
    observed: &[bool],
    masked: &[bool],
    ellipse: &Ellipse,
    profile: Option<(&Profile, &[f64])>,
) -> Vec<f32> {
    let n = light.width;
    let clean = |k: usize| observed[k] && !masked[k];
    let value = |k: usize| {
        if clean(k) {
            return light.pixels[k];
        }
        if let Some(o) = counterpart(n, ellipse, k).filter(|&o| clean(o)) {
            return light.pixels[o];
        }
        profile.map_or(0.0, |(p, distance)| p.at(distance[k]) as f32)
    };
    (0..n * n).map(value).collect()
}

fn without(a: &[bool], b: &[bool]) -> Vec<bool> {
    a.iter().zip(b).map(|(a, b)| *a && !*b).collect()
}
