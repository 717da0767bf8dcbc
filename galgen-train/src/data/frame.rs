//! Images of the sky with many objects: finding galaxies, and the point-spread function of the stars.
//!
//! Made for calibrated, sky-subtracted frames such as SDSS's, but any linear image with a dozen stars will do.

use super::plane::{Plane, Sky, clipped, label};
use super::psf::Psf;
use super::resample::{Light, affine};
use galgen_core::measure::{Ellipse, moments, total};
use galgen_io::fits::{FitsFile, HduSelect};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Objects are connected pixels above this many standard deviations of the image blurred by [`BLUR`] pixels.
const DETECT: f64 = 4.0;
const BLUR: f64 = 1.5;
/// Fewest such pixels of an object.
const FEWEST: usize = 12;
/// One pixel in this many is looked at for the sky.
const SKY_STEP: usize = 11;
/// Pixels on each side of a star in which it is measured, and kept for the point-spread function.
const STAR_REACH: usize = 20;
/// Nothing else may be detected within this many pixels of a star; what is further out the median takes off.
const STAR_ALONE: usize = 10;
/// Weight (standard deviation in pixels) under which objects are compared with stars.
const STAR_WEIGHT: f64 = 2.5;
/// A star rises this many standard deviations of the sky above it, and no higher than this fraction of the image's
/// maximum, where the detector may saturate.
const STAR_PEAK: f64 = 40.0;
const UNSATURATED: f64 = 0.5;
/// Widths of stars agree within this fraction and their axis ratios by this much: bad seeing may be elongated,
/// but it is so for all of them.
const STAR_WIDTH: f64 = 0.06;
const STAR_AXIS_RATIO: f64 = 0.1;
/// Fewest stars from which a point-spread function is made.
const FEWEST_STARS: usize = 5;
/// An object this much wider than the stars may be a galaxy.
const EXTENDED: f64 = 1.1;
/// Fewest pixels of what may be a galaxy: below, its shape is not measurable.
const FEWEST_OF_GALAXY: usize = 30;
/// A cut reaches this many times as far as the object does, within these bounds in pixels.
const CUT: f64 = 3.0;
const CUT_REACH: std::ops::RangeInclusive<usize> = 32..=400;

/// Galaxies as (column, row, pixels on each side).
pub type Cuts = Vec<(usize, usize, usize)>;

/// What an image of the sky holds.
pub struct Found {
    /// What may be a galaxy.
    pub cuts: Cuts,
    /// Point-spread function and the number of stars it was made from, or why there is none.
    pub psf: Result<(Psf, usize), String>,
}

/// The FITS files of a folder, `.bz2` among them, sorted by name.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let at = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder).map_err(at)? {
        let path = item.map_err(at)?.path();
        let name = path.to_string_lossy().to_ascii_lowercase();
        if name.ends_with(".fits") || name.ends_with(".fits.bz2") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "{}: no .fits or .fits.bz2 file in this folder",
            folder.display()
        ));
    }
    Ok(files)
}

/// The first image of a FITS file, which may be packed with bzip2. The error does not name the file.
pub fn read(path: &Path) -> Result<Plane, String> {
    if path.extension().is_none_or(|e| e != "bz2") {
        return first_image(path);
    }
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    bzip2::read::MultiBzDecoder::new(file)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be unpacked with bzip2: {e}"))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let unpacked = std::env::temp_dir().join(format!("galgen-{}-{name}", std::process::id()));
    let plane = std::fs::write(&unpacked, bytes)
        .map_err(|e| format!("cannot be unpacked to {}: {e}", unpacked.display()))
        .and_then(|()| first_image(&unpacked));
    // A file left over in the temporary folder is no reason to stop.
    let _ = std::fs::remove_file(&unpacked);
    plane
}

fn first_image(path: &Path) -> Result<Plane, String> {
    let mut file = FitsFile::open(path).map_err(|e| e.to_string())?;
    let image = file
        .read_image(HduSelect::FirstImage)
        .map_err(|e| e.to_string())?;
    if image.planes != 1 {
        return Err(format!(
            "a cube of {} planes, expected one image of the sky",
            image.planes
        ));
    }
    Ok(Plane {
        width: image.width,
        height: image.height,
        pixels: image.data,
    })
}

/// A detected object.
struct Object {
    label: u32,
    pixels: usize,
    /// Centroid of its light.
    x: f64,
    y: f64,
    peak: f64,
    /// Half of its longer side.
    reach: f64,
    /// Under the weight of a star; `None` near the border or without a shape.
    shape: Option<Shape>,
}

/// Standard deviation (geometric mean of both axes) and axis ratio.
#[derive(Clone, Copy)]
struct Shape {
    width: f64,
    axis_ratio: f64,
}

impl Shape {
    fn is_like(self, star: Shape) -> bool {
        (self.width / star.width - 1.0).abs() < STAR_WIDTH
            && (self.axis_ratio - star.axis_ratio).abs() < STAR_AXIS_RATIO
    }
}

/// Finds the objects of an image, tells stars from galaxies and stacks the stars.
pub fn search(plane: &Plane) -> Found {
    let sky = sample_sky(plane);
    let Some(sky) = sky else {
        return Found {
            cuts: Vec::new(),
            psf: Err("no sky with noise found, expected an image of the sky".into()),
        };
    };
    let pixels = plane.pixels.iter();
    let light = Plane {
        pixels: pixels
            .map(|v| {
                if v.is_finite() {
                    v - sky.level as f32
                } else {
                    0.0
                }
            })
            .collect(),
        ..*plane
    };
    let (objects, labels) = objects(&light);
    let brightest = light.pixels.iter().fold(0f32, |a, v| a.max(*v));
    let limits = (STAR_PEAK * sky.sigma, UNSATURATED * f64::from(brightest));
    let candidates: Vec<(&Object, Shape)> = objects
        .iter()
        .filter(|o| o.peak > limits.0 && o.peak < limits.1 && alone(o, &labels, plane.width))
        .filter_map(|o| Some((o, o.shape?)))
        .collect();
    let star = locus(candidates.iter().map(|c| c.1).collect());
    let psf = match star {
        Some(star) => {
            let like = candidates.iter().filter(|c| c.1.is_like(star));
            stack(&light, &like.map(|c| c.0).collect::<Vec<_>>())
        }
        None => Err(too_few(candidates.len())),
    };
    let extended = |o: &&Object| match (o.shape, star) {
        (Some(shape), Some(star)) => {
            shape.width > EXTENDED * star.width
                || shape.axis_ratio < star.axis_ratio - STAR_AXIS_RATIO
        }
        _ => true,
    };
    let cut = |o: &Object| {
        let half = (CUT * o.reach).ceil() as usize;
        let half = half.clamp(*CUT_REACH.start(), *CUT_REACH.end());
        (o.x.round() as usize, o.y.round() as usize, half)
    };
    Found {
        cuts: objects
            .iter()
            .filter(|o| o.pixels >= FEWEST_OF_GALAXY)
            .filter(extended)
            .map(cut)
            .collect(),
        psf,
    }
}

fn too_few(stars: usize) -> String {
    format!(
        "{stars} stars found, expected at least {FEWEST_STARS}: give the point-spread function with --psf-fwhm or --psf-file"
    )
}

/// Level and noise of some of the pixels, sigma-clipped.
fn sample_sky(plane: &Plane) -> Option<Sky> {
    let some = plane.pixels.iter().step_by(SKY_STEP);
    clipped(some.copied().filter(|v| v.is_finite()).collect()).filter(|s| s.sigma > 0.0)
}

fn objects(light: &Plane) -> (Vec<Object>, Vec<u32>) {
    let (w, h) = (light.width, light.height);
    let smooth = light.blurred(BLUR);
    let limit = sample_sky(&smooth).map_or(f64::INFINITY, |s| s.level + DETECT * s.sigma);
    let on: Vec<bool> = smooth
        .pixels
        .iter()
        .map(|v| f64::from(*v) > limit)
        .collect();
    let (labels, count) = label(&on, w, h);
    // Sums of light, of light times x and y, peak, pixels, and the corners of each object.
    let mut sums = vec![([0.0; 3], 0.0f64, 0usize, [usize::MAX, 0, usize::MAX, 0]); count as usize];
    for (k, label) in labels.iter().enumerate().filter(|(_, l)| **l != 0) {
        let (x, y, v) = (k % w, k / w, f64::from(smooth.pixels[k]));
        let (light_sums, peak, pixels, corners) = &mut sums[*label as usize - 1];
        for (sum, weight) in light_sums.iter_mut().zip([1.0, x as f64, y as f64]) {
            *sum += v * weight;
        }
        *peak = peak.max(f64::from(light.pixels[k]));
        *pixels += 1;
        let [x0, x1, y0, y1] = *corners;
        *corners = [x0.min(x), x1.max(x), y0.min(y), y1.max(y)];
    }
    let object =
        |(i, (s, peak, pixels, [x0, x1, y0, y1])): (usize, ([f64; 3], f64, usize, [usize; 4]))| {
            let (x, y) = (s[1] / s[0], s[2] / s[0]);
            Object {
                label: i as u32 + 1,
                pixels,
                x,
                y,
                peak,
                reach: 0.5 * (x1 - x0).max(y1 - y0) as f64,
                shape: None,
            }
        };
    let mut objects: Vec<Object> = sums.into_iter().enumerate().map(object).collect();
    objects.retain(|o| o.pixels >= FEWEST);
    for object in &mut objects {
        object.shape = around(light, object).and_then(|crop| {
            let side = 2 * STAR_REACH + 1;
            let found = moments(&crop, side, &Ellipse::centred(side, 1.0), STAR_WEIGHT, true)?;
            (object.x, object.y) = (
                object.x.round() + found.ellipse.x - STAR_REACH as f64,
                object.y.round() + found.ellipse.y - STAR_REACH as f64,
            );
            let axis_ratio = found.ellipse.axis_ratio;
            let width = found.sigma * axis_ratio.sqrt();
            Some(Shape { width, axis_ratio })
        });
    }
    let inside = |o: &Object| (0.0..w as f64).contains(&o.x) && (0.0..h as f64).contains(&o.y);
    objects.retain(inside);
    (objects, labels)
}

/// The square of [`STAR_REACH`] around an object; `None` if it is not all within the image.
fn around(light: &Plane, object: &Object) -> Option<Vec<f32>> {
    let (x, y) = (object.x.round() as usize, object.y.round() as usize);
    let (x0, y0) = (x.checked_sub(STAR_REACH)?, y.checked_sub(STAR_REACH)?);
    let (x1, y1) = (x + STAR_REACH, y + STAR_REACH);
    (x1 < light.width && y1 < light.height).then(|| {
        (y0..=y1)
            .flat_map(|j| light.pixels[j * light.width..][x0..=x1].iter().copied())
            .collect()
    })
}

/// Whether nothing else was detected close to an object.
fn alone(object: &Object, labels: &[u32], width: usize) -> bool {
    let (x, y) = (object.x.round() as usize, object.y.round() as usize);
    let r = STAR_ALONE;
    x >= r
        && y >= r
        && x + r < width
        && (y + r) * width < labels.len()
        && (y - r..=y + r).all(|j| {
            labels[j * width + x - r..=j * width + x + r]
                .iter()
                .all(|l| *l == 0 || *l == object.label)
        })
}

/// The width at which most objects agree, the middle of the densest quarter, and the median axis ratio there:
/// bright objects are mostly stars, and stars are all alike.
fn locus(mut shapes: Vec<Shape>) -> Option<Shape> {
    shapes.sort_by(|a, b| a.width.total_cmp(&b.width));
    let k = (shapes.len() / 4).max(FEWEST_STARS);
    let spread = |s: &[Shape]| s[k - 1].width - s[0].width;
    let densest = shapes
        .windows(k)
        .min_by(|a, b| spread(a).total_cmp(&spread(b)))?;
    let mut ratios: Vec<f32> = densest.iter().map(|s| s.axis_ratio as f32).collect();
    Some(Shape {
        width: densest[k / 2].width,
        axis_ratio: super::plane::median(&mut ratios)?,
    })
}

/// Median of the stars, each of sum 1 and centred on the middle pixel, less what the edge still shows.
fn stack(light: &Plane, stars: &[&Object]) -> Result<(Psf, usize), String> {
    let side = 2 * STAR_REACH + 1;
    let mut images = Vec::new();
    for star in stars {
        let Some(crop) = around(light, star) else {
            continue;
        };
        let middle = STAR_REACH as f64;
        let centre = (
            middle + star.x - star.x.round(),
            middle + star.y - star.y.round(),
        );
        let source = Light {
            side,
            values: &crop,
        };
        let image = affine(source, centre, 0.0, 1.0, side);
        let sum = total(&image);
        images.push(
            image
                .into_iter()
                .map(move |v| (f64::from(v) / sum) as f32)
                .collect::<Vec<_>>(),
        );
    }
    if images.len() < FEWEST_STARS {
        return Err(too_few(images.len()));
    }
    let mut middle: Vec<f32> = (0..side * side)
        .map(|k| {
            let mut values: Vec<f32> = images.iter().map(|i| i[k]).collect();
            super::plane::median(&mut values).unwrap_or(0.0) as f32
        })
        .collect();
    let distance = |k: usize| {
        ((k % side) as f64 - STAR_REACH as f64).hypot((k / side) as f64 - STAR_REACH as f64)
    };
    let rim = |k: &usize| (distance(*k) - STAR_REACH as f64).abs() < 1.0;
    let mut edge: Vec<f32> = (0..side * side).filter(rim).map(|k| middle[k]).collect();
    let level = super::plane::median(&mut edge).unwrap_or(0.0) as f32;
    for (k, value) in middle.iter_mut().enumerate() {
        *value = if distance(k) < STAR_REACH as f64 {
            *value - level
        } else {
            0.0
        };
    }
    Ok((Psf::image(side, side, &middle)?, images.len()))
}
