//! Training of a flow-VAE from a recipe: first encoder and decoder on the evidence lower bound, then
//! the latent flow on posterior samples of the finished encoder, then, if the recipe says so, the decoder
//! against a critic, and the flow again under the conditions of the galaxies that it makes then.
//!
//! With the point-spread function in the model, conditions must describe the galaxy in front of the telescope,
//! which nobody measured: they are measured several times on the way on the model's own reconstructions.

use super::adversarial::AdversarialPhase;
use super::latents::Latents;
use super::{FitError, Objective, Run, Subject, Training, Validation, pictures};
use crate::checkpoint::{Labels, Phase};
use crate::models::critic::Critic;
use crate::models::flow_vae::{
    Learner, Prior, adjust_initial_values, posterior_sample, standardise_flow,
};
use crate::params::Parameters;
use crate::recipe::{Adversarial, Recipe};
use crate::samples::Samples;
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::measure;
use galgen_core::models::{FlowVae, Forward};
use galgen_core::stamp::{Geometry, centre};
use std::collections::HashSet;

const VAE: [&str; 2] = ["encoder.", "decoder."];
const WHOLE: [&str; 3] = ["encoder.", "decoder.", "flow."];
const FLOW: [&str; 1] = ["flow."];
const TEXTURE: [&str; 1] = ["texture."];
/// Stamps in a validation batch.
pub(super) const VALIDATION_BATCH: usize = 128;

const VAE_KEY: u64 = 0x7661_6500_0000_0000;
const FLOW_KEY: u64 = 0x666c_6f77_0000_0000;
const TEXTURE_KEY: u64 = 0x7465_7874_0000_0000;
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
    pub samples: Samples,
}

/// A training of a flow-VAE in progress.
pub struct Trainer<'a> {
    /// What is trained, on what.
    pub setup: Setup<'a>,
    /// Weights, optimiser, files.
    pub training: Training,
}

impl<'a> Trainer<'a> {
    /// Prepares a training of `recipe` on `samples` as `run` says. A checkpoint in its
    /// directory is continued if it resumes, and refused otherwise.
    pub fn new(
        recipe: &'a Recipe,
        samples: &'a Samples,
        run: &Run,
    ) -> std::result::Result<Self, FitError> {
        let geometry = Geometry {
            side: samples.side,
            bands: vec![samples.band.clone()],
            half_light_radius: Some(samples.half_light_radius),
        };
        if recipe.vae.steps == 0 && run.start.is_none() {
            let problem =
                "vae.steps is 0: say --start MODEL, whose encoder and decoder stay, or make steps";
            return Err(FitError::File(problem.into()));
        }
        let mut model = recipe.model.build(&geometry, samples.conditions.len())?;
        model.noise.typical_sky = samples.typical_sky() * model.intensity;
        let specs = model.tensors(&geometry, &samples.conditions)?;
        // What later phases need is missed before the first one.
        if let Some(limit) = recipe.flow_max_psf_fwhm {
            samples.resolved(limit).map_err(FitError::File)?;
        }
        if let Some(Adversarial {
            critic_channels: channels,
            ..
        }) = &recipe.adversarial
        {
            let critic = Critic::new(
                channels,
                &geometry,
                model.intensity,
                samples.conditions.len(),
            );
            critic.map_err(|e| {
                let (count, side) = (channels.len(), geometry.side);
                let problem = format!(
                    "adversarial.critic_channels are {count}, each halves {side} pixels: {e}"
                );
                FitError::File(problem)
            })?;
        }
        let device = run.device;
        let subject = Subject {
            recipe,
            name: &recipe.name,
            seed: recipe.seed,
            data: samples.digest(),
            geometry: &geometry,
            conditions: &samples.conditions,
        };
        let training = Training::open(run, &subject, Phase::Vae, || {
            let parameters = Parameters::initialise(&specs, recipe.seed, DType::F32, device)?;
            adjust_initial_values(&model, &parameters)?;
            Ok(parameters)
        })?;
        let relabelled = |values: &[f32], scale: &[[f64; 2]]| {
            let samples = samples.relabelled(values.to_vec(), Some(scale));
            samples.map_err(FitError::File)
        };
        let samples = match (&training.state.labels, run.start) {
            (Some(labels), _) => relabelled(&labels.values, &labels.scale)?,
            (None, Some(start)) => relabelled(&samples.values, &start.scale())?,
            (None, None) => samples.clone(),
        };
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
        let recipe = setup.recipe;
        if training.state.phase == Phase::Vae {
            let mut finished = true;
            for end in label_steps(recipe.vae.steps) {
                finished = training.run_phase(&recipe.vae, end, &VaePhase(setup), &mut left)?;
                if !finished {
                    break;
                }
                if training.state.step == end && setup.model.forward == Forward::Psf {
                    relabel(setup, training, end)?;
                }
            }
            if finished {
                start_flow(&setup.of_flow()?, training, Phase::Flow)?;
            }
        }
        if training.state.phase == Phase::Flow && learn_flow(setup, training, &mut left)? {
            match &recipe.adversarial {
                None => start_texture(recipe, training)?,
                Some(_) => start_adversarial(training)?,
            }
        }
        if let (Phase::Adversarial, Some(stage)) = (training.state.phase, &recipe.adversarial)
            && left > 0
        {
            let model = crate::export::flow_vae::engine(setup, &training.state.best)?;
            let resolved = setup.of_flow()?;
            let phase = AdversarialPhase::new(&resolved, setup, stage, model, training)?;
            let finished =
                training.run_phase(&stage.stage, stage.stage.steps, &phase, &mut left)?;
            drop(phase);
            if finished {
                training.state.critic = None;
                if setup.model.forward == Forward::Psf {
                    relabel(setup, training, recipe.vae.steps + stage.stage.steps)?;
                }
                start_flow(&setup.of_flow()?, training, Phase::Refit)?;
                training.state.best = training.state.average.copy()?;
            }
        }
        if training.state.phase == Phase::Refit && learn_flow(setup, training, &mut left)? {
            start_texture(recipe, training)?;
        }
        if let (Phase::Texture, Some(stage)) = (training.state.phase, &recipe.texture)
            && left > 0
        {
            let mut resolved = setup.of_flow()?;
            resolved.samples = resolved.samples.of_single_pixels();
            let phase = TexturePhase(&resolved);
            if training.run_phase(stage, stage.steps, &phase, &mut left)? {
                training.state.phase = Phase::Done;
            }
        }
        training.save()?;
        Ok(training.state.phase == Phase::Done)
    }
}

/// Steps of the VAE after which the conditions are measured anew: early, when reconstructions are first
/// good, and at the end, for the flow.
fn label_steps(steps: u64) -> [u64; 3] {
    [steps * 2 / 5, steps * 7 / 10, steps]
}

/// Makes the steps of the flow that are left; `true` at the end.
fn learn_flow(
    setup: &Setup,
    training: &mut Training,
    left: &mut u64,
) -> std::result::Result<bool, FitError> {
    if *left == 0 {
        return Ok(false);
    }
    let (mut resolved, stage) = (setup.of_flow()?, &setup.recipe.flow);
    let phase = FlowPhase::new(setup, &mut resolved, training)?;
    training.run_phase(stage, stage.steps, &phase, left)
}

/// Measures the conditions of every stamp on its reconstruction without point-spread function and noise, unless that
/// was done after `step`, counted over the phases that change what a latent looks like. What cannot be measured keeps its
/// value.
fn relabel(
    setup: &mut Setup,
    training: &mut Training,
    step: u64,
) -> std::result::Result<(), FitError> {
    let labels = training.state.labels.as_ref();
    if labels.is_some_and(|labels| labels.step == step) {
        return Ok(());
    }
    let samples = &setup.samples;
    let (side, k) = (samples.side, samples.conditions.len());
    let mut values = samples.values.clone();
    let learner = setup.learner(&training.state.average, &training.device)?;
    let all: Vec<(usize, u8)> = (0..samples.ids.len())
        .map(|position| (position, 0))
        .collect();
    for chosen in all.chunks(VALIDATION_BATCH) {
        let batch = samples.batch(chosen, &training.device)?;
        let (mean, _) = learner.encode(&batch)?;
        let decoded = learner.decode(&mean, batch.context.as_ref())?;
        let decoded: Vec<f32> = decoded.flatten_all()?.to_vec1()?;
        for (stamp, &(position, _)) in decoded.chunks_exact(side * side).zip(chosen) {
            for (j, condition) in samples.conditions.list.iter().enumerate() {
                if let Some(found) = measured(&condition.name, stamp, side) {
                    values[position * k + j] = found as f32;
                }
            }
        }
    }
    // The encoder has learned, and keeps to, the scale of before.
    let kept = (step >= setup.recipe.vae.steps).then(|| samples.scale());
    let relabelled = samples.relabelled(values.clone(), kept.as_deref());
    setup.samples = relabelled.map_err(FitError::File)?;
    training.state.labels = Some(Labels {
        step,
        values,
        scale: setup.samples.scale(),
    });
    training.save()
}

/// The condition called `name` of a noise-free stamp in the galaxy frame.
pub(crate) fn measured(name: &str, stamp: &[f32], side: usize) -> Option<f64> {
    let axis_ratio = measure::shape(stamp, side)?.ellipse.axis_ratio;
    match name {
        "axis_ratio" => Some(axis_ratio),
        "concentration" => measure::concentration(stamp, side, axis_ratio),
        // As `prepare` does.
        "asymmetry" => {
            let (c, radius) = (
                centre(side),
                measure::half_light_radius(stamp, side, axis_ratio)?,
            );
            measure::asymmetry(stamp, side, c, c, 2.0 * radius, 0.0)
        }
        _ => None,
    }
}

/// From the best flow to the adversarial phase.
fn start_adversarial(training: &mut Training) -> Result<()> {
    training.enter(Phase::Adversarial);
    training.state.parameters = training.state.best.copy()?;
    training.state.average = training.state.best.copy()?;
    Ok(())
}

/// From the best flow to the texture, or to the end.
fn start_texture(recipe: &Recipe, training: &mut Training) -> Result<()> {
    if recipe.texture.is_none() {
        training.state.phase = Phase::Done;
        return Ok(());
    }
    training.enter(Phase::Texture);
    training.state.parameters = training.state.best.copy()?;
    training.state.average = training.state.best.copy()?;
    Ok(())
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

    /// The same with only the stamps that teach the flow.
    fn of_flow(&self) -> std::result::Result<Self, FitError> {
        let samples = match self.recipe.flow_max_psf_fwhm {
            Some(limit) => self.samples.resolved(limit).map_err(FitError::File)?,
            None => self.samples.clone(),
        };
        Ok(Setup {
            model: self.model.clone(),
            geometry: self.geometry.clone(),
            recipe: self.recipe,
            samples,
        })
    }

    /// Ids of the objects at `chosen`.
    pub(super) fn ids(&self, chosen: &[(usize, u8)]) -> Vec<u64> {
        let id = |&(position, _): &(usize, u8)| self.samples.ids[position];
        chosen.iter().map(id).collect()
    }

    /// The validation part, not flipped, in batches.
    fn validation(&self) -> impl Iterator<Item = Vec<(usize, u8)>> {
        let batches = self.samples.validation.chunks(VALIDATION_BATCH);
        batches.map(|chunk| chunk.iter().map(|&position| (position, 0)).collect())
    }

    /// Negative evidence lower bound of the held-out part under the averaged weights.
    pub(super) fn bound(&self, training: &Training) -> Result<Validation> {
        let samples = &self.samples;
        let learner = self.learner(&training.state.average, &training.device)?;
        let (mut reconstruction, mut divergence) = (0.0, 0.0);
        for (i, chosen) in self.validation().enumerate() {
            let batch = samples.batch(&chosen, &training.device)?;
            let latent = self.model.latent;
            let normals = training.normals(VALIDATION_KEY, i as u64, chosen.len(), latent)?;
            let elbo = learner.elbo(&batch, &normals, self.recipe.prior)?;
            let weight = chosen.len() as f64 / samples.validation.len() as f64;
            reconstruction += weight * f64::from(elbo.reconstruction.to_scalar::<f32>()?);
            divergence += weight * f64::from(elbo.divergence.to_scalar::<f32>()?);
        }
        Ok(Validation {
            loss: reconstruction + divergence,
            divergence,
        })
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
        match self.0.recipe.prior {
            Prior::Normal => &VAE,
            Prior::Flow => &WHOLE,
        }
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
        let elbo = learner.elbo(&batch, &normals, recipe.prior)?;
        let loss = (&elbo.reconstruction + (&elbo.divergence * self.kl_weight(step))?)?;
        Ok((loss, self.0.ids(&chosen)))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        self.0.bound(training)
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        let label = "negative evidence lower bound, nats a stamp";
        pictures::curves(training, "loss-vae.png", label)?;
        reconstructions(self.0, training)
    }
}

/// Held-out galaxies beside their reconstructions.
fn reconstructions(setup: &Setup, training: &Training) -> std::result::Result<(), String> {
    let samples = &setup.samples;
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
    pictures::pairs(
        training,
        "reconstructions.png",
        &setup.geometry,
        ("held-out galaxies", &real),
        (
            "their reconstructions, without point-spread function and noise",
            &decoded,
        ),
    )
}

/// To a phase of the flow, which learns on the averaged encoder: that one is exported.
fn start_flow(setup: &Setup, training: &mut Training, phase: Phase) -> Result<()> {
    let learned_along = setup.recipe.prior == Prior::Flow;
    let kept = if learned_along { &WHOLE[..] } else { &VAE };
    for (name, var) in training.state.average.iter(kept) {
        training.state.parameters.set(name, var.as_tensor())?;
    }
    training.enter(phase);
    // One that has learned knows these latents.
    if phase == Phase::Refit || training.start.is_some() || learned_along {
        return Ok(());
    }
    let latents = Latents::new(setup, training)?;
    let latent = setup.model.latent;
    let rows = latents.mean.len() / latent;
    let all = |values: &[f32]| Tensor::from_slice(values, (rows, latent), &training.device);
    let (mean, log_variance) = (all(&latents.mean)?, all(&latents.log_variance)?);
    for parameters in [&training.state.parameters, &training.state.average] {
        standardise_flow(&setup.model, parameters, &mean, &log_variance)?;
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
    /// Of the stamps of `setup`, those that teach the flow; of `all`, those whose draws are plausible are added to them.
    fn new(all: &Setup, setup: &'s mut Setup, training: &Training) -> Result<Self> {
        let mut latents = Latents::new(setup, training)?;
        if let Some(quantile) = setup.recipe.flow_blurred_quantile {
            let resolved: HashSet<usize> = setup.samples.training.iter().copied().collect();
            let others = all.samples.training.iter().copied();
            let blurred: Vec<usize> = others.filter(|p| !resolved.contains(p)).collect();
            let added = latents.add_plausible(setup, training, &blurred, quantile)?;
            if !training.quiet {
                let (resolved, count) = (setup.samples.training.len(), added.len());
                eprintln!(
                    "The flow learns from {resolved} resolved stamps and from {count} of {} others",
                    blurred.len()
                );
            }
            setup.samples.training.extend(added);
        }
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
            latents,
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
        let name = match training.state.phase {
            Phase::Refit => "loss-refit.png",
            _ => "loss-flow.png",
        };
        pictures::curves(training, name, label)
    }
}

/// The strength of the texture, on the detail that encoder and decoder leave unexplained.
struct TexturePhase<'s>(&'s Setup<'s>);

impl Objective for TexturePhase<'_> {
    fn title(&self) -> &'static str {
        "texture"
    }

    fn prefixes(&self) -> &[&'static str] {
        &TEXTURE
    }

    fn keeps_best(&self) -> bool {
        true
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        let Setup {
            samples, recipe, ..
        } = self.0;
        let key = recipe.seed ^ TEXTURE_KEY;
        let stage = recipe.texture.as_ref().expect("a phase of the recipe");
        let chosen = samples.choose(key, step, stage.batch);
        let batch = samples.batch(&chosen, &training.device)?;
        let learner = self
            .0
            .learner(&training.state.parameters, &training.device)?;
        Ok((learner.texture_loss(&batch)?, self.0.ids(&chosen)))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        let samples = &self.0.samples;
        let learner = self.0.learner(&training.state.average, &training.device)?;
        let mut loss = 0.0;
        for chosen in self.0.validation() {
            let batch = samples.batch(&chosen, &training.device)?;
            let weight = chosen.len() as f64 / samples.validation.len() as f64;
            loss += weight * f64::from(learner.texture_loss(&batch)?.to_scalar::<f32>()?);
        }
        Ok(Validation {
            loss,
            divergence: 0.0,
        })
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        let label = "-ln p(detail of the size of a pixel | z), nats a stamp";
        pictures::curves(training, "loss-texture.png", label)
    }
}
