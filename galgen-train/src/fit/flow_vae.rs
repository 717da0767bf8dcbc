//! Training of a flow-VAE from a recipe: first encoder and decoder on the evidence lower bound, then
//! the latent flow on posterior samples of the finished encoder.

use super::{FitError, Objective, Setting, Training, Validation, pictures};
use crate::checkpoint::{self, Phase};
use crate::models::flow_vae::{Learner, adjust_initial_values, posterior_sample, standardise_flow};
use crate::params::Parameters;
use crate::recipe::Recipe;
use crate::samples::{FLIPS, Samples};
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::models::FlowVae;
use galgen_core::stamp::Geometry;
use std::path::Path;

const VAE: [&str; 2] = ["encoder.", "decoder."];
const FLOW: [&str; 1] = ["flow."];
/// Stamps in a validation batch.
const VALIDATION_BATCH: usize = 128;

const VAE_KEY: u64 = 0x7661_6500_0000_0000;
const FLOW_KEY: u64 = 0x666c_6f77_0000_0000;
const VALIDATION_KEY: u64 = 0x7661_6c69_6400_0000;

/// What is trained, on what.
pub struct Setup<'a> {
    /// The networks.
    pub model: FlowVae,
    /// The stamps' grid.
    pub geometry: Geometry,
    /// Stages and weights of the losses.
    pub recipe: &'a Recipe,
    /// The stamps.
    pub samples: &'a Samples,
}

/// A training of a flow-VAE in progress.
pub struct Trainer<'a> {
    /// What is trained, on what.
    pub setup: Setup<'a>,
    /// Weights, optimiser, files.
    pub training: Training,
}

impl<'a> Trainer<'a> {
    /// Prepares a training of `recipe` on `samples` with output in `directory`. A checkpoint there
    /// is continued if `resume`, and refused otherwise.
    pub fn new(
        recipe: &'a Recipe,
        samples: &'a Samples,
        directory: &Path,
        device: &Device,
        resume: bool,
        quiet: bool,
    ) -> std::result::Result<Self, FitError> {
        let geometry = Geometry {
            side: samples.side,
            bands: vec![samples.band.clone()],
            half_light_radius: samples.half_light_radius,
        };
        let mut model = recipe.model.build(&geometry, samples.conditions.len())?;
        model.noise.typical_sky = samples.typical_sky() * model.intensity;
        let specs = model.tensors(&geometry, &samples.conditions)?;
        let setting = Setting {
            name: &recipe.name,
            seed: recipe.seed,
            identity: &checkpoint::identity(recipe, samples.digest()).map_err(FitError::File)?,
            directory,
            device,
            resume,
            quiet,
        };
        let training = Training::open(&setting, Phase::Vae, || {
            let parameters = Parameters::initialise(&specs, recipe.seed, DType::F32, device)?;
            adjust_initial_values(&model, &parameters)?;
            Ok(parameters)
        })?;
        let setup = Setup {
            model,
            geometry,
            recipe,
            samples,
        };
        Ok(Trainer { setup, training })
    }

    /// Trains to the end, or until `limit` more steps are made; `true` when there is nothing more to do.
    pub fn run(&mut self, limit: Option<u64>) -> std::result::Result<bool, FitError> {
        let mut left = limit.unwrap_or(u64::MAX);
        let Trainer { setup, training } = self;
        if training.state.phase == Phase::Vae
            && training.run_phase(&setup.recipe.vae, &VaePhase(setup), &mut left)?
        {
            start_flow(setup, training)?;
        }
        if training.state.phase == Phase::Flow && left > 0 {
            let phase = FlowPhase::new(setup, training)?;
            if training.run_phase(&setup.recipe.flow, &phase, &mut left)? {
                training.state.phase = Phase::Done;
            }
        }
        training.save()?;
        Ok(training.state.phase == Phase::Done)
    }
}

impl Setup<'_> {
    /// The model with `parameters`.
    pub fn learner<'b>(
        &'b self,
        parameters: &'b Parameters,
        device: &Device,
    ) -> Result<Learner<'b>> {
        Learner::new(&self.model, &self.geometry, parameters, DType::F32, device)
    }

    fn ids(&self, chosen: &[(usize, u8)]) -> Vec<u64> {
        let id = |&(position, _): &(usize, u8)| self.samples.ids[position];
        chosen.iter().map(id).collect()
    }

    /// The validation part, not flipped, in batches.
    fn validation(&self) -> impl Iterator<Item = Vec<(usize, u8)>> {
        let batches = self.samples.validation.chunks(VALIDATION_BATCH);
        batches.map(|chunk| chunk.iter().map(|&position| (position, 0)).collect())
    }
}

/// Encoder and decoder, on the evidence lower bound.
struct VaePhase<'s>(&'s Setup<'s>);

impl VaePhase<'_> {
    fn kl_weight(&self, step: u64) -> f64 {
        let recipe = self.0.recipe;
        let warm_up = recipe.kl_warm_up * recipe.vae.steps as f64;
        recipe.kl_weight * ((step as f64 + 1.0) / warm_up.max(1.0)).min(1.0)
    }
}

impl Objective for VaePhase<'_> {
    fn title(&self) -> &'static str {
        "vae"
    }

    fn prefixes(&self) -> &[&'static str] {
        &VAE
    }

    fn keeps_best(&self) -> bool {
        false
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        let Setup {
            samples, recipe, ..
        } = self.0;
        let chosen = samples.choose(recipe.seed, step, recipe.vae.batch);
        let batch = samples.batch(&chosen, &training.device)?;
        let key = recipe.seed ^ VAE_KEY;
        let normals = training.normals(key, step, chosen.len(), self.0.model.latent)?;
        let learner = self
            .0
            .learner(&training.state.parameters, &training.device)?;
        let elbo = learner.elbo(&batch, &normals)?;
        let loss = (&elbo.reconstruction + (&elbo.divergence * self.kl_weight(step))?)?;
        Ok((loss, self.0.ids(&chosen)))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        let samples = self.0.samples;
        let learner = self.0.learner(&training.state.average, &training.device)?;
        let (mut reconstruction, mut divergence) = (0.0, 0.0);
        for (i, chosen) in self.0.validation().enumerate() {
            let batch = samples.batch(&chosen, &training.device)?;
            let latent = self.0.model.latent;
            let normals = training.normals(VALIDATION_KEY, i as u64, chosen.len(), latent)?;
            let elbo = learner.elbo(&batch, &normals)?;
            let weight = chosen.len() as f64 / samples.validation.len() as f64;
            reconstruction += weight * f64::from(elbo.reconstruction.to_scalar::<f32>()?);
            divergence += weight * f64::from(elbo.divergence.to_scalar::<f32>()?);
        }
        Ok(Validation {
            loss: reconstruction + divergence,
            divergence,
        })
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        let label = "negative evidence lower bound, nats a stamp";
        pictures::curves(training, "loss-vae.png", label)?;
        reconstructions(self.0, training)
    }
}

/// Held-out galaxies beside their reconstructions.
fn reconstructions(setup: &Setup, training: &Training) -> std::result::Result<(), String> {
    let samples = setup.samples;
    let chosen: Vec<(usize, u8)> = pictures::spread(&samples.validation)
        .into_iter()
        .map(|position| (position, 0))
        .collect();
    let decode = || -> Result<Vec<f32>> {
        let learner = setup.learner(&training.state.average, &training.device)?;
        let batch = samples.batch(&chosen, &training.device)?;
        let (mean, _) = learner.encode(&batch)?;
        learner
            .decode(&mean, batch.context.as_ref())?
            .flatten_all()?
            .to_vec1()
    };
    let decoded = decode().map_err(|e| e.to_string())?;
    let real: Vec<&[f32]> = chosen.iter().map(|&(p, _)| samples.stamp(p)).collect();
    pictures::reconstructions(training, samples.side, &real, &decoded)
}

/// From the finished VAE to the flow, which learns on the averaged encoder: that one is exported.
fn start_flow(setup: &Setup, training: &mut Training) -> Result<()> {
    for (name, var) in training.state.average.iter(&VAE) {
        training.state.parameters.set(name, var.as_tensor())?;
    }
    training.enter(Phase::Flow);
    let latents = Latents::new(setup, training)?;
    let latent = setup.model.latent;
    let rows = latents.mean.len() / latent;
    let all = Tensor::from_slice(&latents.mean, (rows, latent), &training.device)?;
    for parameters in [&training.state.parameters, &training.state.average] {
        standardise_flow(&setup.model, parameters, &all)?;
    }
    Ok(())
}

/// The latent flow, on posterior draws.
struct FlowPhase<'s> {
    setup: &'s Setup<'s>,
    latents: Latents,
    /// One posterior draw of every validation stamp, with its context.
    validation: (Tensor, Option<Tensor>),
}

impl<'s> FlowPhase<'s> {
    fn new(setup: &'s Setup, training: &Training) -> Result<Self> {
        let learner = setup.learner(&training.state.average, &training.device)?;
        let mut parts = Vec::new();
        for (i, chosen) in setup.validation().enumerate() {
            let (mean, log_variance) =
                learner.encode(&setup.samples.batch(&chosen, &training.device)?)?;
            let latent = setup.model.latent;
            let normals = training.normals(VALIDATION_KEY, i as u64, chosen.len(), latent)?;
            parts.push(posterior_sample(&mean, &log_variance, &normals)?.detach());
        }
        let all: Vec<_> = setup.validation().flatten().collect();
        let context = setup.samples.context(&all, &training.device)?;
        Ok(FlowPhase {
            setup,
            latents: Latents::new(setup, training)?,
            validation: (Tensor::cat(&parts, 0)?, context),
        })
    }
}

impl Objective for FlowPhase<'_> {
    fn title(&self) -> &'static str {
        "flow"
    }

    fn prefixes(&self) -> &[&'static str] {
        &FLOW
    }

    fn keeps_best(&self) -> bool {
        true
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        let setup = self.setup;
        let key = setup.recipe.seed ^ FLOW_KEY;
        let chosen = setup.samples.choose(key, step, setup.recipe.flow.batch);
        let normals = training.normals(key, step, chosen.len(), setup.model.latent)?;
        let (mean, log_variance) = self.latents.batch(&chosen, &training.device)?;
        let z = posterior_sample(&mean, &log_variance, &normals)?;
        let context = setup.samples.context(&chosen, &training.device)?;
        let learner = setup.learner(&training.state.parameters, &training.device)?;
        Ok((learner.flow_loss(&z, context.as_ref())?, setup.ids(&chosen)))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        let (z, context) = &self.validation;
        let learner = self
            .setup
            .learner(&training.state.average, &training.device)?;
        let loss = learner.flow_loss(z, context.as_ref())?.to_scalar::<f32>()?;
        Ok(Validation {
            loss: f64::from(loss),
            divergence: 0.0,
        })
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        let label = "-ln p(z | conditions), nats a stamp";
        pictures::curves(training, "loss-flow.png", label)
    }
}

/// Posterior mean and ln variance of every training stamp under every flip, by the averaged encoder.
struct Latents {
    latent: usize,
    /// Row of each position of the training part; `[rows * FLIPS, latent]` follow.
    row: std::collections::HashMap<usize, usize>,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
}

impl Latents {
    fn new(setup: &Setup, training: &Training) -> Result<Self> {
        let learner = setup.learner(&training.state.average, &training.device)?;
        let samples = setup.samples;
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

    fn batch(&self, chosen: &[(usize, u8)], device: &Device) -> Result<(Tensor, Tensor)> {
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
