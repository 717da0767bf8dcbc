//! The stamps of a training in memory: training and validation part, batches, augmentation.

use crate::data::conditions::{self, meaning};
use crate::data::set::{COLUMNS, TrainingSet};
use crate::digest::fnv1a;
use crate::models::flow_vae::{Batch, Blur};
use crate::ops::{Filter, coloured};
use candle_core::{Device, Result, Tensor};
use galgen_core::condition::Conditions;
use galgen_core::models::place_psf;
use galgen_core::rng::{Philox, Stream};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Width of the stripes of right ascension that are kept together, in degrees.
const STRIPE: f64 = 1.0;

/// Mirror images of a galaxy at position angle 0: bit 0 flips x, bit 1 flips y.
pub const FLIPS: u8 = 4;

/// In the likelihood, powers of noise below this fraction of the mean are raised to it: resampled noise has
/// none at the highest frequencies, and no model is right to such accuracy there.
const POWER_FLOOR: f64 = 0.05;
/// The same where noise is drawn.
const DRAWN_POWER_FLOOR: f64 = 1e-6;

/// How the noise of pixels enters the likelihood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Likelihood {
    /// Pixels are independent.
    #[default]
    Pixel,
    /// Pixels are independent, their noise that of each stamp times the root of the number of its pixels that vary together (the
    /// sum of its autocorrelation): right for what is larger than a grain of the noise, which is then not taken for
    /// light, and too cautious for what is smaller.
    Effective,
    /// Noise is correlated as its power spectrum says.
    Fourier,
}

/// Stamps with their conditions, split by object. Pixels are shared between clones.
#[derive(Clone)]
pub struct Samples {
    /// Side of a stamp in pixels.
    pub side: usize,
    /// Semi-major half-light radius of every stamp in pixels.
    pub half_light_radius: f64,
    /// Band of the light.
    pub band: String,
    /// Object ids.
    pub ids: Vec<u64>,
    /// Physical values of the conditions, `[n, k]`.
    pub values: Vec<f32>,
    /// Names, means, ranges of the conditions over the training part.
    pub conditions: Conditions,
    /// Positions of the training part.
    pub training: Vec<usize>,
    /// Positions of the validation part.
    pub validation: Vec<usize>,
    pixels: Arc<Pixels>,
    standardised: Vec<f32>,
    noise_correlation: f32,
    likelihood: Likelihood,
}

/// What was observed.
struct Pixels {
    /// `[n, side, side]`
    stamps: Vec<f32>,
    /// `[n, side, side]`
    observed: Vec<u8>,
    /// `[n]`
    sky: Vec<f32>,
    /// Full width at half maximum of the point-spread function in pixels, `[n]`
    psf_fwhm: Vec<f32>,
    /// `[n, psf_side, psf_side]`
    psf: Vec<f32>,
    psf_side: usize,
    /// `[n, acf_side, acf_side]`
    acf: Vec<f32>,
    acf_side: usize,
    /// `[n, side, side]` in units of the sky's, or empty: 1 everywhere.
    variance: Vec<f32>,
}

/// Whether an object is of the part, about `fraction` of all, that is held out: with all others of its stripe of right
/// ascension (in degrees) if that is known, so that no galaxy is in both parts under two ids.
pub fn is_held_out(id: u64, ra: Option<f32>, fraction: f64) -> bool {
    let place = match ra.map(f64::from).filter(|ra| ra.is_finite()) {
        Some(ra) => (ra / STRIPE).floor() as u64,
        None => id,
    };
    Philox::new(0, place, Stream::Training).uniform() < fraction
}

impl Samples {
    /// Merges `sets`, takes the columns `names` as conditions and keeps about `fraction` for validation.
    pub fn new(
        sets: &[TrainingSet],
        names: &[String],
        fraction: f64,
    ) -> std::result::Result<Self, String> {
        let side = sets.first().ok_or("no training set")?.description.side;
        let mut samples = Samples {
            side,
            half_light_radius: sets[0].description.hlr_px,
            band: sets[0].description.band.clone(),
            ids: Vec::new(),
            values: Vec::new(),
            conditions: Conditions::default(),
            training: Vec::new(),
            validation: Vec::new(),
            pixels: Arc::new(Pixels::gather(sets)),
            standardised: Vec::new(),
            noise_correlation: 1.0,
            likelihood: Likelihood::Pixel,
        };
        let mut seen = HashSet::new();
        for set in sets {
            let found = (
                set.description.side,
                set.description.hlr_px,
                &set.description.band,
            );
            let expected = (side, samples.half_light_radius, &samples.band);
            if found != expected {
                let text = |(side, radius, band)| {
                    format!("side {side}, half-light radius {radius}, band `{band}`")
                };
                return Err(format!(
                    "training sets of ({}) and ({}) cannot be mixed: prepare them alike",
                    text(expected),
                    text(found)
                ));
            }
            let columns = names
                .iter()
                .map(|name| {
                    set.column(name).ok_or_else(|| {
                        format!(
                            "no column `{name}` in the training set; it has {}",
                            COLUMNS.join(", ")
                        )
                    })
                })
                .collect::<std::result::Result<Vec<_>, _>>()?;
            let ra = set.column("ra_deg");
            for i in 0..set.len() {
                let position = samples.ids.len();
                if !seen.insert(set.id[i]) {
                    return Err(format!(
                        "object {} of `{}` is in the training sets twice: remove one of them",
                        set.id[i], set.description.source
                    ));
                }
                if let Some(j) = columns.iter().position(|column| !column[i].is_finite()) {
                    return Err(format!(
                        "condition `{}` of object {} in `{}` is {}, expected a finite number",
                        names[j], set.id[i], set.description.source, columns[j][i]
                    ));
                }
                let ra = ra.map(|ra| ra[i]);
                match is_held_out(set.id[i] as u64, ra, fraction) {
                    false => samples.training.push(position),
                    true => samples.validation.push(position),
                }
                samples.ids.push(set.id[i] as u64);
                samples
                    .values
                    .extend(columns.iter().map(|column| column[i]));
            }
        }
        if samples.training.is_empty() || samples.validation.is_empty() {
            return Err(format!(
                "{} training and {} validation stamps: both parts need some",
                samples.training.len(),
                samples.validation.len()
            ));
        }
        samples.conditions = samples.describe(names, None)?;
        samples.standardise();
        Ok(samples)
    }

    /// The likelihood takes pixels as independent; where their noise is correlated (by JPEG compression, by
    /// resampling) it is told `factor` times the noise of a pixel, the root of the number of pixels that
    /// vary together.
    #[must_use]
    pub fn with_noise_correlation(mut self, factor: f64) -> Self {
        self.noise_correlation = factor as f32;
        self
    }

    /// The same with the noise of single pixels in the likelihood, whatever their correlation.
    pub fn of_single_pixels(&self) -> Self {
        Samples {
            noise_correlation: 1.0,
            likelihood: Likelihood::Pixel,
            ..self.clone()
        }
    }

    /// What the likelihood takes the sky noise of the stamp at `position` times, 1 or more.
    pub fn noise_correlation(&self, position: usize) -> f32 {
        let own = match self.likelihood {
            Likelihood::Pixel | Likelihood::Fourier => 1.0,
            Likelihood::Effective => {
                let together: f64 = self
                    .noise_acf(position)
                    .iter()
                    .copied()
                    .map(f64::from)
                    .sum();
                together.max(1.0).sqrt() as f32
            }
        };
        own * self.noise_correlation
    }

    /// Chooses the likelihood's noise.
    #[must_use]
    pub fn with_likelihood(mut self, likelihood: Likelihood) -> Self {
        self.likelihood = likelihood;
        self
    }

    /// The same stamps under other values of the conditions, `[n, k]`; ranges follow, and means and deviations if no `scale` is
    /// given: networks that no longer learn must see a value as they have learned it.
    pub fn relabelled(
        &self,
        values: Vec<f32>,
        scale: Option<&[[f64; 2]]>,
    ) -> std::result::Result<Self, String> {
        assert_eq!(values.len(), self.values.len(), "values of all conditions");
        let names: Vec<String> = self
            .conditions
            .list
            .iter()
            .map(|c| c.name.clone())
            .collect();
        let mut samples = Samples {
            values,
            ..self.clone()
        };
        samples.conditions = samples.describe(&names, scale)?;
        samples.standardise();
        Ok(samples)
    }

    /// The same, but only stamps whose point-spread function is at most `fwhm` pixels wide are left in both parts.
    /// Means and ranges of the conditions stay those of all.
    pub fn resolved(&self, fwhm: f64) -> std::result::Result<Self, String> {
        let keep = |part: &[usize]| -> Vec<usize> {
            let narrow = |&&p: &&usize| f64::from(self.psf_fwhm(p)) <= fwhm;
            part.iter().filter(narrow).copied().collect()
        };
        let (training, validation) = (keep(&self.training), keep(&self.validation));
        if training.is_empty() || validation.is_empty() {
            return Err(format!(
                "{} training and {} validation stamps have a point-spread function of at most {fwhm} pixels (flow_max_psf_fwhm): both parts need some",
                training.len(),
                validation.len()
            ));
        }
        Ok(Samples {
            training,
            validation,
            ..self.clone()
        })
    }

    /// Full width at half maximum of the point-spread function of the stamp at `position`, in its pixels.
    pub fn psf_fwhm(&self, position: usize) -> f32 {
        self.pixels.psf_fwhm[position]
    }

    /// Physical values of the conditions of the stamp at `position`.
    pub fn conditions_of(&self, position: usize) -> &[f32] {
        let k = self.conditions.len();
        &self.values[position * k..(position + 1) * k]
    }

    /// Sky noise of the middle training stamp as the likelihood sees it, in units of a stamp's sum.
    pub fn typical_sky(&self) -> f64 {
        let mut sky: Vec<f32> = self.training.iter().map(|&p| self.deviation(p)).collect();
        sky.sort_by(f32::total_cmp);
        f64::from(sky[sky.len() / 2])
    }

    /// Sky noise of the stamp at `position` as the likelihood sees it.
    fn deviation(&self, position: usize) -> f32 {
        self.noise_correlation(position) * self.pixels.sky[position]
    }

    /// Mean and deviation of each condition, by which networks see it.
    pub fn scale(&self) -> Vec<[f64; 2]> {
        conditions::scale(&self.conditions)
    }

    /// Mean, deviation and range of each condition over the training part, and their correlation.
    fn describe(
        &self,
        names: &[String],
        scale: Option<&[[f64; 2]]>,
    ) -> std::result::Result<Conditions, String> {
        let number = |name: &String| {
            let (unit, description) = meaning(name);
            conditions::number(name, unit, description)
        };
        let list = names.iter().map(number).collect();
        conditions::describe(list, &self.values, &self.training, scale)
    }

    fn standardise(&mut self) {
        let k = self.conditions.len();
        self.standardised = vec![0.0; self.values.len()];
        if k == 0 {
            return;
        }
        for (value, context) in self.values.chunks(k).zip(self.standardised.chunks_mut(k)) {
            let known = self.conditions.standardise(value, context);
            known.expect("numbers, not classes");
        }
    }

    /// The stamp at `position`, row-major.
    pub fn stamp(&self, position: usize) -> &[f32] {
        square(&self.pixels.stamps, self.side, position)
    }

    /// 1 where the stamp at `position` was observed, 0 where it was filled in.
    pub fn observed(&self, position: usize) -> &[u8] {
        square(&self.pixels.observed, self.side, position)
    }

    /// Point-spread function of the stamp at `position` in its pixels, of odd side [`Samples::psf_side`].
    pub fn psf(&self, position: usize) -> &[f32] {
        square(&self.pixels.psf, self.pixels.psf_side, position)
    }

    /// Side of the point-spread functions.
    pub fn psf_side(&self) -> usize {
        self.pixels.psf_side
    }

    /// Autocorrelation of the noise of the stamp at `position`, of odd side [`Samples::acf_side`].
    pub fn noise_acf(&self, position: usize) -> &[f32] {
        square(&self.pixels.acf, self.pixels.acf_side, position)
    }

    /// Side of the autocorrelations.
    pub fn acf_side(&self) -> usize {
        self.pixels.acf_side
    }

    /// Variance of each pixel in units of the sky's; `None`: 1 everywhere.
    pub fn variance(&self, position: usize) -> Option<&[f32]> {
        let all = &self.pixels.variance;
        (!all.is_empty()).then(|| square(all, self.side, position))
    }

    /// Sky noise of a pixel of the stamp at `position`, in units of the stamp's sum.
    pub fn sky(&self, position: usize) -> f64 {
        f64::from(self.pixels.sky[position])
    }

    /// A number that differs for other data: 64-bit FNV-1a of ids, conditions and noise.
    pub fn digest(&self) -> u64 {
        let ids = self.ids.iter().copied();
        let numbers = self
            .values
            .iter()
            .chain(&self.pixels.sky)
            .chain(&self.pixels.psf)
            .map(|v| u64::from(v.to_bits()));
        fnv1a(ids.chain(numbers))
    }

    /// A batch of the stamps at `chosen` (position, flip).
    pub fn batch(&self, chosen: &[(usize, u8)], device: &Device) -> Result<Batch> {
        let n = self.side;
        let b = chosen.len();
        let pixels = &self.pixels;
        let stamps = flipped(&pixels.stamps, n, chosen, |v| v);
        let observed = flipped(&pixels.observed, n, chosen, f32::from);
        let sky = if pixels.variance.is_empty() {
            let sky = chosen
                .iter()
                .map(|&(position, _)| self.deviation(position))
                .collect();
            Tensor::from_vec(sky, (b, 1, 1, 1), device)?
        } else {
            let mut sky = flipped(&pixels.variance, n, chosen, f32::sqrt);
            for (plane, &(position, _)) in sky.chunks_exact_mut(n * n).zip(chosen) {
                let sigma = self.deviation(position);
                plane.iter_mut().for_each(|v| *v *= sigma);
            }
            Tensor::from_vec(sky, (b, 1, n, n), device)?
        };
        Ok(Batch {
            stamps: Tensor::from_vec(stamps, (b, 1, n, n), device)?,
            observed: Tensor::from_vec(observed, (b, 1, n, n), device)?,
            sky,
            psf: Some(self.blur(chosen, device)?),
            noise: match self.likelihood {
                Likelihood::Pixel | Likelihood::Effective => None,
                Likelihood::Fourier => Some(self.noise(chosen, POWER_FLOOR)?),
            },
            context: self.context(chosen, device)?,
        })
    }

    fn blur(&self, chosen: &[(usize, u8)], device: &Device) -> Result<Blur> {
        let (n, p) = (self.side, self.pixels.psf_side);
        let psf = flipped(&self.pixels.psf, p, chosen, |v| v);
        let mut planes = vec![0.0; chosen.len() * n * n];
        for (psf, plane) in psf.chunks_exact(p * p).zip(planes.chunks_exact_mut(n * n)) {
            place_psf(psf, p, plane, n);
        }
        Ok(Blur {
            filter: Filter::convolution(&psf, p, n)?,
            plane: Tensor::from_vec(planes, (chosen.len(), 1, n, n), device)?,
        })
    }

    /// Power spectra of the sky noise of the stamps at `chosen`, of mean 1 and at least about `floor`.
    fn noise(&self, chosen: &[(usize, u8)], floor: f64) -> Result<Filter> {
        let q = self.pixels.acf_side;
        let acf = flipped(&self.pixels.acf, q, chosen, |v| v);
        Filter::noise_power(&acf, q, self.side, floor)
    }

    /// Sky noise `[b, 1, n, n]` of the stamps at `chosen`, in units of their sums, from standard normals of as many
    /// elements: its deviation and correlation are those measured.
    pub fn sky_noise(&self, chosen: &[(usize, u8)], normals: &Tensor) -> Result<Tensor> {
        let n = self.side;
        let q = self.pixels.acf_side;
        let acf = flipped(&self.pixels.acf, q, chosen, |v| v);
        let mut sigma = Vec::with_capacity(chosen.len() * n * n);
        for &(position, flip) in chosen {
            let sky = self.pixels.sky[position];
            if self.pixels.variance.is_empty() {
                sigma.resize(sigma.len() + n * n, sky);
            } else {
                let map = flipped(&self.pixels.variance, n, &[(position, flip)], f32::sqrt);
                sigma.extend(map.iter().map(|v| v * sky));
            }
        }
        let shape = (chosen.len(), 1, n, n);
        let sigma = Tensor::from_vec(sigma, shape, normals.device())?;
        coloured(&acf, q, DRAWN_POWER_FLOOR, &normals.reshape(shape)?)? * sigma
    }

    /// Standardised conditions `[b, k]` of the stamps at `chosen`, `None` without conditions.
    pub fn context(&self, chosen: &[(usize, u8)], device: &Device) -> Result<Option<Tensor>> {
        let k = self.conditions.len();
        if k == 0 {
            return Ok(None);
        }
        let rows = chosen
            .iter()
            .flat_map(|&(p, _)| &self.standardised[p * k..(p + 1) * k]);
        Tensor::from_vec(rows.copied().collect(), (chosen.len(), k), device).map(Some)
    }

    /// The training stamps of `step`: every epoch is a new order of the whole training part, and
    /// each stamp a random flip. Depends on seed and step only.
    pub fn choose(&self, seed: u64, step: u64, batch: usize) -> Vec<(usize, u8)> {
        let n = self.training.len() as u64;
        let first = step * batch as u64;
        let mut order = (u64::MAX, Vec::new());
        (first..first + batch as u64)
            .map(|draw| {
                let epoch = draw / n;
                if order.0 != epoch {
                    order = (epoch, self.epoch_order(seed, epoch));
                }
                let flip =
                    Philox::new(seed ^ FLIP_KEY, draw, Stream::Training).below(u32::from(FLIPS));
                (order.1[(draw % n) as usize], flip as u8)
            })
            .collect()
    }

    fn epoch_order(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let mut rng = Philox::new(seed ^ ORDER_KEY, epoch, Stream::Training);
        let mut order = self.training.clone();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u32 + 1) as usize);
        }
        order
    }
}

/// Keys that keep the random numbers of different uses apart.
const ORDER_KEY: u64 = 0x6f72_6465_7200_0000;
const FLIP_KEY: u64 = 0x666c_6970_0000_0000;

impl Pixels {
    fn gather(sets: &[TrainingSet]) -> Self {
        let sides = |side: fn(&TrainingSet) -> usize| sets.iter().map(side).max().unwrap_or(1);
        let (psf_side, acf_side) = (sides(|s| s.psf_side), sides(|s| s.acf_side));
        let mut all = Pixels {
            stamps: Vec::new(),
            observed: Vec::new(),
            sky: Vec::new(),
            psf_fwhm: Vec::new(),
            psf: Vec::new(),
            psf_side,
            acf: Vec::new(),
            acf_side,
            variance: Vec::new(),
        };
        let maps = sets.iter().any(|set| set.variance.is_some());
        for set in sets {
            let sky = set.column("sky_sigma");
            let fwhm = set.column("psf_fwhm_px");
            all.psf_fwhm
                .extend_from_slice(fwhm.expect("a checked set has every column"));
            all.stamps.extend_from_slice(&set.stamps);
            all.observed.extend_from_slice(&set.observed);
            all.sky
                .extend_from_slice(sky.expect("a checked set has every column"));
            all.psf.extend(widened(&set.psf, set.psf_side, psf_side));
            all.acf
                .extend(widened(&set.noise_acf, set.acf_side, acf_side));
            match &set.variance {
                Some(map) => all.variance.extend_from_slice(map),
                None if maps => all.variance.resize(all.stamps.len(), 1.0),
                None => {}
            }
        }
        all
    }
}

/// Centred squares of odd side `from`, each with zeros around it up to odd side `to`.
fn widened(squares: &[f32], from: usize, to: usize) -> Vec<f32> {
    let border = (to - from) / 2;
    let mut wide = vec![0.0; squares.len() / (from * from) * to * to];
    for (square, wide) in squares
        .chunks_exact(from * from)
        .zip(wide.chunks_exact_mut(to * to))
    {
        for (row, to_row) in square
            .chunks_exact(from)
            .zip(wide.chunks_exact_mut(to).skip(border))
        {
            to_row[border..border + from].copy_from_slice(row);
        }
    }
    wide
}

fn square<T>(all: &[T], side: usize, position: usize) -> &[T] {
    &all[position * side * side..(position + 1) * side * side]
}

/// The squares at `chosen`, mirrored as asked.
fn flipped<T: Copy>(
    all: &[T],
    side: usize,
    chosen: &[(usize, u8)],
    f: impl Fn(T) -> f32,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(chosen.len() * side * side);
    for &(position, flip) in chosen {
        let one = square(all, side, position);
        let mirrored = |i: usize, bit: u8| if flip & bit == 0 { i } else { side - 1 - i };
        for y in 0..side {
            let row = &one[mirrored(y, 2) * side..][..side];
            out.extend((0..side).map(|x| f(row[mirrored(x, 1)])));
        }
    }
    out
}
