//! The latents that a flow-VAE's flow learns from.

use super::Training;
use super::flow_vae::{Setup, VALIDATION_BATCH};
use crate::models::flow_vae::posterior_sample;
use crate::samples::{FLIPS, Samples};
use candle_core::{Device, Result, Tensor};
use galgen_core::measure;
use galgen_core::models::LOG_VARIANCE;
use galgen_core::stamp::centre;
use std::collections::HashMap;

const PLAUSIBLE_KEY: u64 = 0x706c_6175_7300_0000;
/// Posterior draws of a blurred stamp of which one must be plausible.
const TRIES: u64 = 4;
/// Resolved stamps, those of the most similar conditions, that a blurred one is compared with.
const NEIGHBOURS: usize = 100;

/// Posterior mean and ln variance of every training stamp under every flip, by the averaged encoder.
pub struct Latents {
    latent: usize,
    /// Row of each position of the training part; `[rows * FLIPS, latent]` follow.
    row: HashMap<usize, usize>,
    pub mean: Vec<f32>,
    pub log_variance: Vec<f32>,
}

impl Latents {
    pub fn new(setup: &Setup, training: &Training) -> Result<Self> {
        let learner = setup.learner(&training.state.average, &training.device)?;
        let samples = &setup.samples;
        let all: Vec<(usize, u8)> = samples
            .training
            .iter()
            .flat_map(|&p| (0..FLIPS).map(move |flip| (p, flip)))
            .collect();
        let (mut mean, mut log_variance) = (Vec::new(), Vec::new());
        for chunk in all.chunks(VALIDATION_BATCH) {
            let (m, v) = learner.encode(&samples.batch(chunk, &training.device)?)?;
            mean.extend(m.flatten_all()?.to_vec1::<f32>()?);
            log_variance.extend(v.flatten_all()?.to_vec1::<f32>()?);
        }
        let row = samples
            .training
            .iter()
            .enumerate()
            .map(|(row, &p)| (p, row))
            .collect();
        Ok(Latents {
            latent: setup.model.latent,
            row,
            mean,
            log_variance,
        })
    }

    /// Adds the stamps of `blurred`, each under every flip with a posterior draw that is no more asymmetric than the `quantile` of
    /// draws of the resolved stamps, which are here already, of similar conditions; a stamp without one is left out. What a
    /// point-spread function hides the encoder fills in by its own prior, one dimension independent of another, and many a
    /// draw of that is torn.
    ///
    /// Returns the positions that were added.
    pub fn add_plausible(
        &mut self,
        setup: &Setup,
        training: &Training,
        blurred: &[usize],
        quantile: f64,
    ) -> Result<Vec<usize>> {
        let samples = &setup.samples;
        let limits = {
            let mut resolved: Vec<(usize, u8)> = self.row.keys().map(|&p| (p, 0)).collect();
            resolved.sort_unstable();
            let (_, found) = draws(setup, training, &resolved, 0)?;
            let known: Vec<(usize, f64)> = resolved
                .iter()
                .zip(found)
                .filter_map(|(&(position, _), a)| Some((position, a?)))
                .collect();
            limits(samples, &known, blurred, quantile)
        };
        let mut waiting: Vec<(usize, u8)> = blurred
            .iter()
            .flat_map(|&p| (0..FLIPS).map(move |flip| (p, flip)))
            .collect();
        let mut accepted: HashMap<(usize, u8), Vec<f32>> = HashMap::new();
        for attempt in 1..=TRIES {
            let (latents, found) = draws(setup, training, &waiting, attempt)?;
            let rows = latents.chunks_exact(self.latent);
            for ((chosen, latent), asymmetry) in waiting.iter().zip(rows).zip(found) {
                if asymmetry.is_some_and(|a| a <= limits[&chosen.0]) {
                    accepted.insert(*chosen, latent.to_vec());
                }
            }
            waiting.retain(|chosen| !accepted.contains_key(chosen));
        }
        let mut added = Vec::new();
        for &position in blurred {
            let flips: Option<Vec<_>> = (0..FLIPS)
                .map(|flip| accepted.get(&(position, flip)))
                .collect();
            let Some(flips) = flips else { continue };
            self.row
                .insert(position, self.mean.len() / self.latent / FLIPS as usize);
            for latent in flips {
                self.mean.extend_from_slice(latent);
                let kept = self.log_variance.len() + self.latent;
                self.log_variance.resize(kept, LOG_VARIANCE[0]);
            }
            added.push(position);
        }
        Ok(added)
    }

    pub fn batch(&self, chosen: &[(usize, u8)], device: &Device) -> Result<(Tensor, Tensor)> {
        let gather = |from: &[f32]| {
            let mut values = Vec::with_capacity(chosen.len() * self.latent);
            for &(position, flip) in chosen {
                let row = self.row[&position] * FLIPS as usize + flip as usize;
                values.extend_from_slice(&from[row * self.latent..(row + 1) * self.latent]);
            }
            Tensor::from_vec(values, (chosen.len(), self.latent), device)
        };
        Ok((gather(&self.mean)?, gather(&self.log_variance)?))
    }
}

/// A posterior draw of each of the stamps at `chosen`, and the asymmetry of what the decoder makes of it.
fn draws(
    setup: &Setup,
    training: &Training,
    chosen: &[(usize, u8)],
    attempt: u64,
) -> Result<(Vec<f32>, Vec<Option<f64>>)> {
    let learner = setup.learner(&training.state.average, &training.device)?;
    let side = setup.samples.side;
    let (mut latents, mut found) = (Vec::new(), Vec::new());
    for (i, part) in chosen.chunks(VALIDATION_BATCH).enumerate() {
        let batch = setup.samples.batch(part, &training.device)?;
        let (mean, log_variance) = learner.encode(&batch)?;
        let key = setup.recipe.seed ^ PLAUSIBLE_KEY;
        let step = attempt << 32 | i as u64;
        let normals = training.normals(key, step, part.len(), setup.model.latent)?;
        let z = posterior_sample(&mean, &log_variance, &normals)?.detach();
        let decoded = learner.decode(&z, batch.context.as_ref())?;
        let decoded: Vec<f32> = decoded.flatten_all()?.to_vec1()?;
        latents.extend(z.flatten_all()?.to_vec1::<f32>()?);
        let stamps = decoded.chunks_exact(side * side);
        found.extend(stamps.map(|stamp| asymmetry(stamp, side)));
    }
    Ok((latents, found))
}

/// Asymmetry within two half-light radii, or what the stamp has of them.
fn asymmetry(stamp: &[f32], side: usize) -> Option<f64> {
    let axis_ratio = measure::shape(stamp, side)?.ellipse.axis_ratio;
    let radius = 2.0 * measure::half_light_radius(stamp, side, axis_ratio)?;
    let c = centre(side);
    measure::asymmetry(stamp, side, c, c, radius.min(c - 1.0), 0.0)
}

/// For each of `blurred` the `quantile` of what is `known` of the stamps whose conditions are most like its own.
fn limits(
    samples: &Samples,
    known: &[(usize, f64)],
    blurred: &[usize],
    quantile: f64,
) -> HashMap<usize, f64> {
    let scale = samples.scale();
    let distance = |a: usize, b: usize| -> f64 {
        let pairs = samples
            .conditions_of(a)
            .iter()
            .zip(samples.conditions_of(b));
        let squares = pairs.zip(&scale);
        let square = |((x, y), [_, deviation]): ((&f32, &f32), &[f64; 2])| {
            (f64::from(x - y) / deviation).powi(2)
        };
        squares.map(square).sum()
    };
    let limit = |&position: &usize| {
        let mut near: Vec<(f64, f64)> = known
            .iter()
            .map(|&(other, value)| (distance(position, other), value))
            .collect();
        if near.len() > NEIGHBOURS {
            let order =
                |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
            near.select_nth_unstable_by(NEIGHBOURS - 1, order);
            near.truncate(NEIGHBOURS);
        }
        near.sort_by(|a, b| a.1.total_cmp(&b.1));
        let at = (quantile * near.len() as f64) as usize;
        let value = near.get(at.min(near.len().saturating_sub(1)));
        // Without anything to compare with nothing is plausible.
        (position, value.map_or(f64::NEG_INFINITY, |v| v.1))
    };
    blurred.iter().map(limit).collect()
}
