//! Point-spread functions, and their discrete kernels.

use super::error::{RenderError, positive, within};
use super::renderer::MAX_GRID_SIDE;
use super::resample::{PixelMap, Resampler, Target};
use alloc::vec;
use alloc::vec::Vec;
use core::f64::consts::{LN_2, PI};

/// Pixels of the fine grid per FWHM that a kernel is sampled with at least, where
/// [`MAX_OVERSAMPLING`] allows it. At 4 the sum of a Gaussian's samples is 1 to 1e-24, and a Moffat
/// with beta = 2.5 keeps 2e-4 of its transform beyond the fine grid's Nyquist frequency.
const SAMPLES_PER_FWHM: f64 = 4.0;
/// Fine pixels per pixel of the grid at most, along one axis.
const MAX_OVERSAMPLING: usize = 9;
/// FWHM in fine pixels below which a profile is a point.
const POINT: f64 = 1e-3;
/// Fine pixels from the centre within which a narrow profile varies inside a pixel.
const CORE: f64 = 8.0;
/// Light of a Gaussian outside the kernel.
const GAUSSIAN_TAIL: f64 = 1e-8;
/// Light of a Moffat outside the kernel: its wings fall as a power and are cut somewhere.
const MOFFAT_TAIL: f64 = 5e-4;

/// Point-spread function of unit flux.
///
/// Light that it scatters off the grid, or farther than its kernel reaches, is lost from the image and
/// appears in [`Rendered::fraction_inside`](super::Rendered::fraction_inside). The kernel holds all of
/// a Gaussian but 1e-8, all of a Moffat but 5e-4, and all of an image, unless the grid is smaller.
#[derive(Clone, Debug)]
pub struct Psf(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Gaussian { fwhm: f64 },
    Moffat { fwhm: f64, beta: f64 },
    Image(Image),
}

#[derive(Clone, Debug)]
struct Image {
    /// Unit sum. // (height, width)
    values: Vec<f32>,
    width: usize,
    height: usize,
    pixel_scale: f64,
    /// Point that stays in place, in pixels from the geometric centre.
    centre: [f64; 2],
}

/// Which point of a PSF image a point source is seen at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PsfCentre {
    /// The middle of the image, `((width - 1) / 2, (height - 1) / 2)`.
    #[default]
    Geometric,
    /// The centroid of its light.
    Centroid,
}

/// Samples of a PSF on a fine grid, `(2 radius + 1)^2`, centred. // (y, x)
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) radius: usize,
    pub(super) values: Vec<f64>,
}

impl Psf {
    /// Circular Gaussian; `fwhm` in arcsec.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] unless `fwhm` is finite and above 0.
    pub fn gaussian(fwhm: f64) -> Result<Self, RenderError> {
        positive("PSF FWHM in arcsec", fwhm)?;
        Ok(Self(Shape::Gaussian { fwhm }))
    }

    /// Circular profile `(1 + (r / alpha)^2)^-beta` (Moffat 1969) with
    /// `fwhm = 2 alpha sqrt(2^(1 / beta) - 1)` in arcsec.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] unless `fwhm` is finite and above 0 and `1 < beta <= 100`.
    pub fn moffat(fwhm: f64, beta: f64) -> Result<Self, RenderError> {
        positive("PSF FWHM in arcsec", fwhm)?;
        within(
            "Moffat beta",
            beta,
            beta > 1.0 && beta <= 100.0,
            "a number in (1, 100]",
        )?;
        Ok(Self(Shape::Moffat { fwhm, beta }))
    }

    /// Row-major image of a point source, any size, `pixel_scale` in arcsec; normalised to unit sum.
    /// Its pixels are read as fluxes within pixels: the PSF itself is narrower by `pixel_scale^2 / 12`
    /// of variance, and that is what is convolved with. An image whose FWHM is below 4 of its own pixels does not hold
    /// its PSF: what is convolved with has 0.5 % more variance than the PSF at 3 pixels, 5 % at 2, 12 % at 1.5 (of a
    /// Gaussian). Give such a PSF on finer pixels.
    ///
    /// # Errors
    /// [`RenderError::Length`] if `data` does not hold `width * height` values; `OutOfRange` if a side
    /// is not within 1 to [`MAX_GRID_SIDE`] or the scale not above 0; [`RenderError::PsfPixel`] for a
    /// negative or non-finite pixel; [`RenderError::EmptyPsf`] if all are 0.
    pub fn image(
        data: &[f32],
        width: usize,
        height: usize,
        pixel_scale: f64,
        centre: PsfCentre,
    ) -> Result<Self, RenderError> {
        for (what, side) in [("PSF image width", width), ("PSF image height", height)] {
            let holds = (1..=MAX_GRID_SIDE).contains(&side);
            within(what, side as f64, holds, "1 to 4096 pixels")?;
        }
        positive("PSF image pixel scale in arcsec", pixel_scale)?;
        if data.len() != width * height {
            let expected = width * height;
            return Err(RenderError::Length {
                what: "PSF image",
                found: data.len(),
                expected,
            });
        }
        if let Some(i) = data.iter().position(|v| !v.is_finite() || *v < 0.0) {
            return Err(RenderError::PsfPixel {
                x: i % width,
                y: i / width,
                found: data[i],
            });
        }
        let sum: f64 = data.iter().map(|&v| f64::from(v)).sum();
        if sum == 0.0 {
            return Err(RenderError::EmptyPsf);
        }
        let values: Vec<f32> = data.iter().map(|&v| (f64::from(v) / sum) as f32).collect();
        let centre = match centre {
            PsfCentre::Geometric => [0.0, 0.0],
            PsfCentre::Centroid => centroid(data, width, height),
        };
        Ok(Self(Shape::Image(Image {
            values,
            width,
            height,
            pixel_scale,
            centre,
        })))
    }

    /// FWHM in arcsec; for an image that of the Gaussian with the same noise-equivalent area,
    /// `(sum v)^2 / sum v^2 = 4 pi sigma^2` pixels.
    pub fn fwhm(&self) -> f64 {
        match &self.0 {
            Shape::Gaussian { fwhm } | Shape::Moffat { fwhm, .. } => *fwhm,
            Shape::Image(image) => {
                let squares: f64 = image
                    .values
                    .iter()
                    .map(|&v| f64::from(v) * f64::from(v))
                    .sum();
                image.pixel_scale * libm::sqrt(8.0 * LN_2 / (4.0 * PI * squares))
            }
        }
    }

    /// Odd number of fine pixels per grid pixel of `pixel_scale` arcsec, 1 to 9.
    pub(super) fn oversampling(&self, pixel_scale: f64) -> usize {
        let wanted = SAMPLES_PER_FWHM * pixel_scale / self.fwhm();
        (1..=MAX_OVERSAMPLING)
            .step_by(2)
            .find(|&k| k as f64 >= wanted)
            .unwrap_or(MAX_OVERSAMPLING)
    }

    /// Whether the function is as wide on a grid of `step` arcsec as kernels of points need it.
    pub(super) fn smooths(&self, step: f64) -> bool {
        self.fwhm() / step >= SAMPLES_PER_FWHM * (1.0 - 1e-9)
    }

    /// Radius of the kernel in fine pixels of `step` arcsec, at most `limit`.
    pub(super) fn radius(&self, step: f64, limit: usize) -> usize {
        let arcsec = match &self.0 {
            Shape::Gaussian { fwhm } => {
                gaussian_sigma(*fwhm) * libm::sqrt(-2.0 * libm::log(GAUSSIAN_TAIL))
            }
            Shape::Moffat { fwhm, beta } => {
                let squared = libm::pow(MOFFAT_TAIL, 1.0 / (1.0 - beta)) - 1.0;
                moffat_alpha(*fwhm, *beta) * libm::sqrt(squared)
            }
            Shape::Image(image) => {
                let reach = |side: usize, c: f64| 0.5 * side as f64 + libm::fabs(c);
                let x = reach(image.width, image.centre[0]);
                image.pixel_scale * x.max(reach(image.height, image.centre[1]))
            }
        };
        // Casts saturate, so an enormous radius ends at the limit.
        (libm::ceil(arcsec / step) as usize).clamp(1, limit)
    }

    /// The kernel on a fine grid of `step` arcsec.
    pub(super) fn kernel(&self, step: f64, limit: usize) -> Kernel {
        let radius = self.radius(step, limit);
        let values = match &self.0 {
            Shape::Gaussian { fwhm } => {
                let fwhm = (fwhm / step).max(POINT);
                let sigma = gaussian_sigma(fwhm);
                let inside = |r2: f64| 1.0 - libm::exp(-0.5 * r2 / (sigma * sigma));
                let profile =
                    |r2: f64| libm::exp(-0.5 * r2 / (sigma * sigma)) / (2.0 * PI * sigma * sigma);
                sampled(radius, fwhm, profile, inside)
            }
            Shape::Moffat { fwhm, beta } => {
                let fwhm = (fwhm / step).max(POINT);
                let alpha = moffat_alpha(fwhm, *beta);
                let inside = |r2: f64| 1.0 - libm::pow(1.0 + r2 / (alpha * alpha), 1.0 - beta);
                let peak = (beta - 1.0) / (PI * alpha * alpha);
                let profile = |r2: f64| peak * libm::pow(1.0 + r2 / (alpha * alpha), -beta);
                sampled(radius, fwhm, profile, inside)
            }
            Shape::Image(image) => image.resampled(radius, step),
        };
        Kernel { radius, values }
    }
}

impl Image {
    fn resampled(&self, radius: usize, step: f64) -> Vec<f64> {
        let side = 2 * radius + 1;
        let mut values = vec![0.0; side * side];
        let scale = self.pixel_scale / step;
        let middle = 0.5 * side as f64;
        let centre = self.centre.map(|c| middle - scale * c);
        let map = PixelMap {
            matrix: [scale, 0.0, 0.0, scale],
            centre,
        };
        let mut target = Target {
            values: &mut values,
            width: side,
            height: side,
        };
        Resampler::new(self.width, self.height).deposit(&self.values, &map, false, &mut target);
        values.iter_mut().for_each(|v| *v = v.max(0.0));
        sharpen(&mut values, side, 1);
        sharpen(&mut values, side, side);
        values
    }
}

/// Takes back, along x (`stride` 1) or y (`stride` `side`), the blur of having averaged over fine pixels,
/// which the image it will be convolved with already carries: subtracts 1/24 of the second difference,
/// hence 1/12 pixel^2 of variance. Written as fluxes between neighbours, each at most half of the fainter
/// one's, so that the sum stays and nothing becomes negative.
fn sharpen(values: &mut [f64], side: usize, stride: usize) {
    let across = if stride == 1 { side } else { 1 };
    for line in 0..side {
        let at = |i: usize| line * across + i * stride;
        let mut incoming = 0.0;
        for i in 0..side {
            let here = values[at(i)];
            let outgoing = match i + 1 < side {
                true => {
                    let next = values[at(i + 1)];
                    ((next - here) / 24.0).clamp(-0.5 * next, 0.5 * here)
                }
                false => 0.0,
            };
            values[at(i)] = here + incoming - outgoing;
            incoming = outgoing;
        }
    }
}

fn gaussian_sigma(fwhm: f64) -> f64 {
    fwhm / libm::sqrt(8.0 * LN_2)
}

fn moffat_alpha(fwhm: f64, beta: f64) -> f64 {
    0.5 * fwhm / libm::sqrt(libm::pow(2.0, 1.0 / beta) - 1.0)
}

/// Offset of the centroid from the geometric centre, in pixels.
fn centroid(data: &[f32], width: usize, height: usize) -> [f64; 2] {
    let (mx, my) = (0.5 * (width as f64 - 1.0), 0.5 * (height as f64 - 1.0));
    let mut sums = [0.0; 3];
    for (i, &v) in data.iter().enumerate() {
        let v = f64::from(v);
        sums[0] += v;
        sums[1] += v * ((i % width) as f64 - mx);
        sums[2] += v * ((i / width) as f64 - my);
    }
    [sums[1] / sums[0], sums[2] / sums[0]]
}

/// Samples a circular profile, given as density and encircled flux by squared radius in fine pixels.
///
/// A profile wider than [`SAMPLES_PER_FWHM`] is sampled at pixel centres. The image is already averaged
/// over fine pixels, so averaging the profile too would blur twice. A narrower one, which only the limit
/// of [`MAX_OVERSAMPLING`] leaves, is averaged over `q x q` points of each pixel of its core so as not to
/// be missed, at the price of 1/12 fine pixel^2 of variance, and scaled to the flux that its kernel holds.
fn sampled(
    radius: usize,
    fwhm: f64,
    profile: impl Fn(f64) -> f64,
    inside: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let side = 2 * radius + 1;
    let coarse = fwhm < SAMPLES_PER_FWHM * (1.0 - 1e-9);
    let points = (libm::ceil(2.0 * SAMPLES_PER_FWHM / fwhm) as usize).min(16) * 2 + 1;
    let mut values = vec![0.0; side * side];
    for (i, value) in values.iter_mut().enumerate() {
        let x = (i % side) as f64 - radius as f64;
        let y = (i / side) as f64 - radius as f64;
        let core = libm::fabs(x).max(libm::fabs(y)) <= CORE;
        *value = mean(x, y, if coarse && core { points } else { 1 }, &profile);
    }
    if coarse {
        let held = inside((radius as f64 + 0.5) * (radius as f64 + 0.5));
        let scale = held / values.iter().sum::<f64>();
        values.iter_mut().for_each(|v| *v *= scale);
    }
    values
}

/// Mean of a circular profile over `q x q` points of the pixel at `(x, y)`.
fn mean(x: f64, y: f64, q: usize, profile: impl Fn(f64) -> f64) -> f64 {
    let place = |sample: usize| (sample as f64 + 0.5) / q as f64 - 0.5;
    let mut sum = 0.0;
    for j in 0..q {
        let y = y + place(j);
        for k in 0..q {
            let x = x + place(k);
            sum += profile(x * x + y * y);
        }
    }
    sum / (q * q) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_psfs_name_what_is_wrong() {
        assert!(Psf::gaussian(0.0).is_err());
        assert!(Psf::moffat(0.7, 1.0).is_err());
        assert!(Psf::moffat(f64::NAN, 2.5).is_err());
        let image =
            |data: &[f32], w, h| Psf::image(data, w, h, 0.2, PsfCentre::Geometric).unwrap_err();
        assert_eq!(
            image(&[1.0; 5], 2, 3),
            RenderError::Length {
                what: "PSF image",
                found: 5,
                expected: 6
            }
        );
        assert_eq!(
            image(&[0.0, 1.0, -1.0, 0.0], 2, 2),
            RenderError::PsfPixel {
                x: 0,
                y: 1,
                found: -1.0
            }
        );
        assert!(matches!(
            image(&[f32::NAN], 1, 1),
            RenderError::PsfPixel { .. }
        ));
        assert_eq!(image(&[0.0; 4], 2, 2), RenderError::EmptyPsf);
        assert!(matches!(image(&[], 0, 1), RenderError::OutOfRange { .. }));
        let wide = usize::MAX;
        assert!(matches!(
            image(&[1.0], wide, wide),
            RenderError::OutOfRange { .. }
        ));
    }

    #[test]
    fn kernels_hold_the_light_they_promise() {
        for (psf, tail) in [
            (Psf::gaussian(0.9).unwrap(), GAUSSIAN_TAIL),
            (Psf::moffat(0.9, 2.5).unwrap(), MOFFAT_TAIL),
            (Psf::moffat(0.9, 4.765).unwrap(), MOFFAT_TAIL),
            // Far below a pixel: all of it in the middle.
            (Psf::gaussian(1e-4).unwrap(), GAUSSIAN_TAIL),
            (Psf::gaussian(1e-310).unwrap(), GAUSSIAN_TAIL),
            (Psf::moffat(1e-310, 2.5).unwrap(), MOFFAT_TAIL),
        ] {
            let sum: f64 = psf.kernel(0.2, 4000).values.iter().sum();
            assert!(sum <= 1.0 + 1e-9 && sum >= 1.0 - tail - 1e-9, "sum {sum}");
        }
    }

    #[test]
    fn moffat_kernel_has_its_fwhm_and_encircled_energy() {
        let (fwhm, beta, step) = (0.8, 3.0, 0.1);
        let kernel = Psf::moffat(fwhm, beta).unwrap().kernel(step, 400);
        let side = 2 * kernel.radius + 1;
        let row = &kernel.values[kernel.radius * side..][..side];
        // The FWHM is 8 pixels of the kernel, so the value 4 pixels from the peak is half of it.
        assert!(libm::fabs(row[kernel.radius + 4] / row[kernel.radius] - 0.5) < 1e-12);
        let alpha = moffat_alpha(fwhm, beta) / step;
        let limit = 20.0;
        let encircled: f64 = (0..side * side)
            .filter(|i| {
                let (x, y) = (
                    (i % side) as f64 - kernel.radius as f64,
                    (i / side) as f64 - kernel.radius as f64,
                );
                libm::hypot(x, y) <= limit
            })
            .map(|i| kernel.values[i])
            .sum();
        let expected = 1.0 - libm::pow(1.0 + libm::pow(limit / alpha, 2.0), 1.0 - beta);
        // The circle's border runs through pixels: 1 % of the light of one ring.
        assert!(
            libm::fabs(encircled - expected) < 5e-4,
            "{encircled} for {expected}"
        );
    }

    /// A Gaussian of `fwhm` pixels as an image of fluxes within them: variance of the kernel over the true one.
    fn widening(fwhm: f64) -> f64 {
        let sigma = gaussian_sigma(fwhm);
        let side = 31;
        let edge = |i: usize| libm::erf((i as f64 - 15.5) / (sigma * core::f64::consts::SQRT_2));
        let within: Vec<f64> = (0..side).map(|i| edge(i + 1) - edge(i)).collect();
        let pixel = |i: usize| (within[i % side] * within[i / side]) as f32;
        let data: Vec<f32> = (0..side * side).map(pixel).collect();
        let psf = Psf::image(&data, side, side, 1.0, PsfCentre::Geometric).unwrap();
        let step = 1.0 / psf.oversampling(1.0) as f64;
        let kernel = psf.kernel(step, 400);
        let width = 2 * kernel.radius + 1;
        let (mut sum, mut second) = (0.0, 0.0);
        for (i, v) in kernel.values.iter().enumerate() {
            let x = ((i % width) as f64 - kernel.radius as f64) * step;
            sum += v;
            second += v * x * x;
        }
        second / sum / (sigma * sigma)
    }

    #[test]
    fn an_image_widens_as_documented() {
        for (fwhm, documented) in [(1.5, 0.12), (2.0, 0.05), (3.0, 0.005), (4.0, 1e-6)] {
            let excess = widening(fwhm) - 1.0;
            let holds = excess > 0.8 * documented - 1e-6 && excess < documented;
            assert!(holds, "{excess} at a FWHM of {fwhm} pixels");
        }
    }
}
