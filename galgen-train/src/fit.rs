//! Training of a flow-VAE from a recipe: first encoder and decoder on the evidence lower bound, then
//! the latent flow on posterior samples of the finished encoder.
//!
//! Every random number depends on (seed, step) only and the state is saved whole, so a training that
//! was stopped and continued ends with the same weights as one that was not.

mod pictures;

use crate::checkpoint::{self, Phase, Record, State};
use crate::models::flow_vae::{Learner, adjust_initial_values, posterior_sample, standardise_flow};
use crate::optim::{Adam, average_decay, update_average};
use crate::params::Parameters;
use crate::recipe::{Recipe, Stage};
use crate::samples::{FLIPS, Samples};
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::models::FlowVae;
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::Geometry;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

const VAE: [&str; 2] = ["encoder.", "decoder."];
const FLOW: [&str; 1] = ["flow."];
/// Stamps in a validation batch.
const VALIDATION_BATCH: usize = 128;

/// A training in progress.
pub struct Trainer<'a> {
    /// What is trained.
    pub model: FlowVae,
    /// The stamps' grid.
    pub geometry: Geometry,
    /// Weights, averages, optimiser, history.
    pub state: State,
    recipe: &'a Recipe,
    /// What a checkpoint belongs to: the recipe and the data.
    identity: String,
    samples: &'a Samples,
    pub(crate) directory: PathBuf,
    device: Device,
    quiet: bool,
}

/// Why a training stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Configuration and networks do not fit.
    #[error("the model of the recipe is inconsistent: {0}")]
    Model(#[from] galgen_core::spec::SpecError),
    /// An operation failed.
    #[error("training: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The loss is not a number.
    #[error(
        "the loss is {loss} at {phase:?} step {step}, on the batch of objects {ids:?}: lower the learning \
         rate, or look at those stamps; the last checkpoint is from before"
    )]
    NotFinite {
        /// The loss.
        loss: f32,
        /// Phase of the step.
        phase: Phase,
        /// Number of the step.
        step: u64,
        /// Objects of the batch.
        ids: Vec<u64>,
    },
    /// A checkpoint, picture or model cannot be written or read.
    #[error("{0}")]
    File(String),
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
        let identity = checkpoint::identity(recipe, samples).map_err(FitError::File)?;
        std::fs::create_dir_all(directory)
            .map_err(|e| FitError::File(format!("{}: {e}", directory.display())))?;
        let path = directory.join(CHECKPOINT);
        let state = match (path.exists(), resume) {
            (true, true) => checkpoint::load(&path, &identity, device).map_err(FitError::File)?,
            (true, false) => {
                let problem = format!(
                    "{} exists: continue it with --resume, or choose another --out",
                    path.display()
                );
                return Err(FitError::File(problem));
            }
            (false, true) => {
                let problem = format!("{} does not exist: nothing to resume", path.display());
                return Err(FitError::File(problem));
            }
            (false, false) => {
                let fresh = || Parameters::initialise(&specs, recipe.seed, DType::F32, device);
                let parameters = fresh()?;
                adjust_initial_values(&model, &parameters)?;
                let copy = || {
                    let all = parameters
                        .iter(&[""])
                        .map(|(name, v)| (name.to_string(), v.as_tensor().clone()));
                    Parameters::from_tensors(all.map(|(name, t)| (name, t.copy().expect("a copy"))))
                };
                State {
                    phase: Phase::Vae,
                    step: 0,
                    average: copy()?,
                    best: copy()?,
                    best_loss: f64::INFINITY,
                    parameters,
                    adam: Adam::default(),
                    history: Vec::new(),
                }
            }
        };
        Ok(Trainer {
            model,
            geometry,
            state,
            recipe,
            identity,
            samples,
            directory: directory.into(),
            device: device.clone(),
            quiet,
        })
    }

    /// Whether the training computes on the processor.
    pub fn on_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        self.recipe
    }

    /// Trains to the end, or until `limit` more steps are made; `true` when there is nothing more to do.
    pub fn run(&mut self, limit: Option<u64>) -> std::result::Result<bool, FitError> {
        let mut left = limit.unwrap_or(u64::MAX);
        if self.state.phase == Phase::Vae {
            self.run_vae(&mut left)?;
        }
        if self.state.phase == Phase::Flow && left > 0 {
            self.run_flow(&mut left)?;
        }
        checkpoint::save(
            &self.directory.join(CHECKPOINT),
            &self.identity,
            &self.state,
        )
        .map_err(FitError::File)?;
        Ok(self.state.phase == Phase::Done)
    }

    fn run_vae(&mut self, left: &mut u64) -> std::result::Result<(), FitError> {
        let stage = &self.recipe.vae;
        let bar = self.bar("vae ", stage.steps);
        let mut sum = Mean::default();
        while self.state.step < stage.steps && *left > 0 {
            let step = self.state.step;
            let chosen = self.samples.choose(self.recipe.seed, step, stage.batch);
            let batch = self.samples.batch(&chosen, &self.device)?;
            let normals = self.normals(self.recipe.seed ^ VAE_KEY, step, chosen.len())?;
            let learner = self.learner(&self.state.parameters)?;
            let elbo = learner.elbo(&batch, &normals)?;
            let weight = self.kl_weight(step);
            let loss = (&elbo.reconstruction + (&elbo.divergence * weight)?)?;
            let value = loss.to_scalar::<f32>()?;
            self.check_finite(value, &chosen)?;
            let gradients = loss.backward()?;
            self.advance(stage, &VAE, &gradients)?;
            sum.add(f64::from(value));
            bar.set_position(self.state.step);
            bar.set_message(format!("loss {:.1}", sum.value()));
            *left -= 1;
            if stage.validates(self.state.step) {
                let (reconstruction, divergence) = self.validate_vae()?;
                // A step may have ruined the weights; the checkpoint must stay from before.
                self.check_finite((reconstruction + divergence) as f32, &chosen)?;
                self.record(
                    Record {
                        phase: Phase::Vae,
                        step: self.state.step,
                        training: sum.take(),
                        validation: reconstruction + divergence,
                        divergence,
                    },
                    &bar,
                )?;
            }
        }
        bar.finish();
        if self.state.step == stage.steps {
            // The flow learns on the averaged encoder, which is the one that is exported.
            for (name, var) in self.state.average.iter(&VAE) {
                self.state.parameters.set(name, var.as_tensor())?;
            }
            self.state.phase = Phase::Flow;
            self.state.step = 0;
            self.state.adam = Adam::default();
            self.state.best_loss = f64::INFINITY;
            let latents = Latents::new(self)?;
            let all = Tensor::from_slice(
                &latents.mean,
                (latents.mean.len() / self.model.latent, self.model.latent),
                &self.device,
            )?;
            for parameters in [&self.state.parameters, &self.state.average] {
                standardise_flow(&self.model, parameters, &all)?;
            }
        }
        Ok(())
    }

    fn run_flow(&mut self, left: &mut u64) -> std::result::Result<(), FitError> {
        let stage = &self.recipe.flow;
        let latents = Latents::new(self)?;
        let validation = self.validation_latents()?;
        let bar = self.bar("flow", stage.steps);
        let mut sum = Mean::default();
        while self.state.step < stage.steps && *left > 0 {
            let step = self.state.step;
            let chosen = self
                .samples
                .choose(self.recipe.seed ^ FLOW_KEY, step, stage.batch);
            let normals = self.normals(self.recipe.seed ^ FLOW_KEY, step, chosen.len())?;
            let (mean, log_variance) = latents.batch(&chosen, &self.device)?;
            let z = posterior_sample(&mean, &log_variance, &normals)?;
            let context = self.samples.context(&chosen, &self.device)?;
            let loss = self
                .learner(&self.state.parameters)?
                .flow_loss(&z, context.as_ref())?;
            let value = loss.to_scalar::<f32>()?;
            self.check_finite(value, &chosen)?;
            let gradients = loss.backward()?;
            self.advance(stage, &FLOW, &gradients)?;
            sum.add(f64::from(value));
            bar.set_position(self.state.step);
            bar.set_message(format!("loss {:.2}", sum.value()));
            *left -= 1;
            if stage.validates(self.state.step) {
                let (z, context) = &validation;
                let loss = self
                    .learner(&self.state.average)?
                    .flow_loss(z, context.as_ref())?;
                let loss = f64::from(loss.to_scalar::<f32>()?);
                self.check_finite(loss as f32, &chosen)?;
                if loss < self.state.best_loss {
                    self.state.best_loss = loss;
                    for (name, var) in self.state.average.iter(&[""]) {
                        self.state.best.set(name, &var.as_tensor().copy()?)?;
                    }
                }
                self.record(
                    Record {
                        phase: Phase::Flow,
                        step: self.state.step,
                        training: sum.take(),
                        validation: loss,
                        divergence: 0.0,
                    },
                    &bar,
                )?;
            }
        }
        bar.finish();
        if self.state.step == stage.steps {
            self.state.phase = Phase::Done;
        }
        Ok(())
    }

    /// Optimiser step and moving average.
    fn advance(
        &mut self,
        stage: &Stage,
        prefixes: &[&str],
        gradients: &candle_core::backprop::GradStore,
    ) -> Result<()> {
        let state = &mut self.state;
        let rate = stage.learning_rate_at(state.step);
        state.adam.step(
            &state.parameters,
            prefixes,
            gradients,
            rate,
            stage.weight_decay,
        )?;
        let decay = average_decay(state.step);
        update_average(&state.average, &state.parameters, prefixes, decay)?;
        state.step += 1;
        Ok(())
    }

    fn learner<'b>(&'b self, parameters: &'b Parameters) -> Result<Learner<'b>> {
        Learner::new(
            &self.model,
            &self.geometry,
            parameters,
            DType::F32,
            &self.device,
        )
    }

    fn kl_weight(&self, step: u64) -> f64 {
        let warm_up = self.recipe.kl_warm_up * self.recipe.vae.steps as f64;
        self.recipe.kl_weight * ((step as f64 + 1.0) / warm_up.max(1.0)).min(1.0)
    }

    /// Standard normals `[count, latent]` of a step.
    fn normals(&self, seed: u64, step: u64, count: usize) -> Result<Tensor> {
        let mut rng = Philox::new(seed, step, Stream::Training);
        let values: Vec<f32> = (0..count * self.model.latent)
            .map(|_| rng.normal() as f32)
            .collect();
        Tensor::from_vec(values, (count, self.model.latent), &self.device)
    }

    fn check_finite(&self, loss: f32, chosen: &[(usize, u8)]) -> std::result::Result<(), FitError> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(FitError::NotFinite {
            loss,
            phase: self.state.phase,
            step: self.state.step,
            ids: chosen
                .iter()
                .map(|&(position, _)| self.samples.ids[position])
                .collect(),
        })
    }

    /// Mean reconstruction and divergence of the validation part under the averaged weights.
    fn validate_vae(&self) -> Result<(f64, f64)> {
        let learner = self.learner(&self.state.average)?;
        let (mut reconstruction, mut divergence) = (0.0, 0.0);
        for (i, chunk) in self.samples.validation.chunks(VALIDATION_BATCH).enumerate() {
            let chosen: Vec<_> = chunk.iter().map(|&position| (position, 0)).collect();
            let batch = self.samples.batch(&chosen, &self.device)?;
            let elbo = learner.elbo(
                &batch,
                &self.normals(VALIDATION_KEY, i as u64, chunk.len())?,
            )?;
            let weight = chunk.len() as f64 / self.samples.validation.len() as f64;
            reconstruction += weight * f64::from(elbo.reconstruction.to_scalar::<f32>()?);
            divergence += weight * f64::from(elbo.divergence.to_scalar::<f32>()?);
        }
        Ok((reconstruction, divergence))
    }

    /// One posterior draw of every validation stamp.
    fn validation_latents(&self) -> Result<(Tensor, Option<Tensor>)> {
        let learner = self.learner(&self.state.average)?;
        let mut parts = Vec::new();
        for (i, chunk) in self.samples.validation.chunks(VALIDATION_BATCH).enumerate() {
            let chosen: Vec<_> = chunk.iter().map(|&position| (position, 0)).collect();
            let (mean, log_variance) =
                learner.encode(&self.samples.batch(&chosen, &self.device)?)?;
            let normals = self.normals(VALIDATION_KEY, i as u64, chunk.len())?;
            parts.push(posterior_sample(&mean, &log_variance, &normals)?.detach());
        }
        let all: Vec<_> = self
            .samples
            .validation
            .iter()
            .map(|&position| (position, 0))
            .collect();
        Ok((
            Tensor::cat(&parts, 0)?,
            self.samples.context(&all, &self.device)?,
        ))
    }

    /// Appends to the history, saves a checkpoint and the pictures.
    fn record(&mut self, record: Record, bar: &ProgressBar) -> std::result::Result<(), FitError> {
        self.state.history.push(record);
        if !self.quiet {
            bar.suspend(|| {
                eprintln!(
                    "{:?} step {}: training {:.2}, validation {:.2} (KL {:.2}) nats a stamp",
                    record.phase,
                    record.step,
                    record.training,
                    record.validation,
                    record.divergence
                );
            });
        }
        checkpoint::save(
            &self.directory.join(CHECKPOINT),
            &self.identity,
            &self.state,
        )
        .map_err(FitError::File)?;
        pictures::draw(self).map_err(FitError::File)
    }

    fn bar(&self, name: &'static str, steps: u64) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:40}] {pos}/{len} steps  {msg}  {per_sec}  {eta} left",
        );
        let bar = ProgressBar::new(steps)
            .with_prefix(name)
            .with_position(self.state.step);
        bar.reset_eta();
        bar.with_style(style.expect("a valid template"))
    }
}

/// Name of the checkpoint in the output directory.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

const VAE_KEY: u64 = 0x7661_6500_0000_0000;
const FLOW_KEY: u64 = 0x666c_6f77_0000_0000;
const VALIDATION_KEY: u64 = 0x7661_6c69_6400_0000;

#[derive(Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1.0;
    }

    fn value(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    fn take(&mut self) -> f64 {
        let value = self.value();
        *self = Mean::default();
        value
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
    fn new(trainer: &Trainer) -> Result<Self> {
        let learner = trainer.learner(&trainer.state.average)?;
        let samples = trainer.samples;
        let all: Vec<(usize, u8)> = samples
            .training
            .iter()
            .flat_map(|&p| (0..FLIPS).map(move |flip| (p, flip)))
            .collect();
        let (mut mean, mut log_variance) = (Vec::new(), Vec::new());
        for chunk in all.chunks(VALIDATION_BATCH) {
            let (m, v) = learner.encode(&samples.batch(chunk, &trainer.device)?)?;
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
            latent: trainer.model.latent,
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
