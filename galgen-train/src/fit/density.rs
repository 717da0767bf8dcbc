//! Training of an exact density, a flow or a masked network, from a recipe: maximum likelihood. Diagonals of flows start
//! at the mean and deviation of what reaches them, and grey levels get new noise whenever they are shown.

use super::{FitError, Objective, Run, Subject, Training, Validation, pictures};
use crate::checkpoint::Phase;
use crate::data::images::{Chosen, ImageSamples};
use crate::lower::Follow;
use crate::models::density::Density;
use crate::params::Parameters;
use crate::recipe::{DensityPreset, DensityRecipe, Regularisation};
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::TraceNoise;

/// Items in a validation batch.
const VALIDATION_BATCH: usize = 256;
/// Items at most from which diagonals start.
const INITIAL: usize = 1024;

const NOISE_KEY: u64 = 0x666c_6f77_0000_0000;
const VALIDATION_KEY: u64 = 0x6465_7175_616e_7400;

/// What is trained, on what.
pub struct Setup<'a, P> {
    /// The density.
    pub model: Density,
    /// Steps.
    pub recipe: &'a DensityRecipe<P>,
    /// The images or rows.
    pub samples: &'a ImageSamples,
}

/// A training in progress.
pub struct Trainer<'a, P> {
    /// What is trained, on what.
    pub setup: Setup<'a, P>,
    /// Weights, optimiser, files.
    pub training: Training,
}

impl<'a, P: DensityPreset> Trainer<'a, P> {
    /// Prepares a training of `recipe` on `samples` as `run` says. A checkpoint in its
    /// directory is continued if it resumes, and refused otherwise.
    pub fn new(
        recipe: &'a DensityRecipe<P>,
        samples: &'a ImageSamples,
        run: &Run,
    ) -> std::result::Result<Self, FitError> {
        let (geometry, conditions) = (&samples.geometry, &samples.conditions);
        let model = recipe.model.density(geometry, conditions.width())?;
        let specs = model.tensors(geometry, conditions)?;
        let all = [&samples.training[..], &samples.validation].concat();
        for chosen in samples.fixed(&all) {
            if let Some(found) = samples.shown(chosen).iter().find(|&&x| !model.knows(x)) {
                let expected = match (P::BINARY, model.levels()) {
                    (true, _) => "0 or 1: give data.binarise".into(),
                    (false, Some(levels)) => format!("one of the {levels} grey levels from 0 to 1"),
                    (false, None) => "a finite number".into(),
                };
                let id = samples.ids[chosen.position];
                return Err(FitError::File(format!(
                    "object {id}: {found}, expected {expected}"
                )));
            }
        }
        let device = run.device;
        let subject = Subject {
            recipe,
            name: &recipe.name,
            seed: recipe.seed,
            data: samples.digest(),
            geometry: &samples.geometry,
            conditions: &samples.conditions,
        };
        let setup = Setup {
            model,
            recipe,
            samples,
        };
        let training = Training::open(run, &subject, Phase::Flow, || {
            let parameters = Parameters::initialise(&specs, recipe.seed, DType::F32, device)?;
            let chosen = samples.choose(recipe.seed, 0, samples.training.len().min(INITIAL));
            let (x, context) = setup.batch(&chosen, NOISE_KEY, device)?;
            setup.model.prepare(&parameters, &x, context.as_ref())?;
            Ok(parameters)
        })?;
        Ok(Trainer { setup, training })
    }

    /// Trains to the end, or until `limit` more steps are made; `true` when there is nothing more to do.
    pub fn run(&mut self, limit: Option<u64>) -> std::result::Result<bool, FitError> {
        let mut left = limit.unwrap_or(u64::MAX);
        let Trainer { setup, training } = self;
        let stage = &setup.recipe.train;
        if training.state.phase == Phase::Flow
            && training.run_phase(stage, stage.steps, setup, &mut left)?
        {
            training.state.phase = Phase::Done;
        }
        training.save()?;
        Ok(training.state.phase == Phase::Done)
    }
}

impl<P: DensityPreset> Setup<'_, P> {
    /// The points `[b, dim]` for `chosen`, grey levels with noise that belongs to (`key`, object), and
    /// the context.
    pub fn batch(
        &self,
        chosen: &[Chosen],
        key: u64,
        device: &Device,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let samples = self.samples;
        let dim = samples.geometry.pixels();
        let mut points = Vec::with_capacity(chosen.len() * dim);
        for &c in chosen {
            let mut rng = Philox::new(key, samples.ids[c.position], Stream::Training);
            let pixels = samples.shown(c);
            points.extend(pixels.iter().map(|&x| self.model.point(x, &mut rng)));
        }
        let x = Tensor::from_vec(points, (chosen.len(), dim), device)?;
        Ok((x, samples.context(chosen, device)?))
    }

    /// Of the traces of `chosen`, where they are estimated.
    pub fn noise(&self, chosen: &[Chosen], seed: u64) -> Vec<TraceNoise> {
        let id = |c: &Chosen| self.samples.ids[c.position];
        chosen
            .iter()
            .map(|c| TraceNoise { seed, id: id(c) })
            .collect()
    }
}

impl<P: DensityPreset> Objective for Setup<'_, P> {
    fn title(&self) -> &'static str {
        "fit"
    }

    fn prefixes(&self) -> &[&'static str] {
        self.model.prefixes()
    }

    fn keeps_best(&self) -> bool {
        true
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        let recipe = self.recipe;
        let chosen = self.samples.choose(recipe.seed, step, recipe.train.batch);
        let key = (recipe.seed ^ NOISE_KEY).wrapping_add(step + 1);
        let (x, context) = self.batch(&chosen, key, &training.device)?;
        let weights = recipe.regularisation.unwrap_or(Regularisation::OFF);
        let asked = Follow {
            noise: &self.noise(&chosen, key),
            regularise: weights != Regularisation::OFF,
        };
        let parameters = &training.state.parameters;
        let (log_prob, regularisers) =
            self.model
                .log_prob(parameters, &x, context.as_ref(), asked)?;
        let mut loss = log_prob.mean_all()?.neg()?;
        if let Some(found) = regularisers {
            let energy = (found.kinetic_energy.mean_all()? * weights.kinetic_energy)?;
            loss = ((loss + energy)? + (found.jacobian.mean_all()? * weights.jacobian)?)?;
        }
        let ids = chosen
            .iter()
            .map(|c| self.samples.ids[c.position])
            .collect();
        Ok((loss, ids))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        let held_out = &self.samples.validation;
        let mut sum = 0.0;
        for positions in held_out.chunks(VALIDATION_BATCH) {
            let chosen = self.samples.fixed(positions);
            let (x, context) = self.batch(&chosen, VALIDATION_KEY, &training.device)?;
            let asked = Follow {
                noise: &self.noise(&chosen, VALIDATION_KEY),
                regularise: false,
            };
            let parameters = &training.state.average;
            let (found, _) = self
                .model
                .log_prob(parameters, &x, context.as_ref(), asked)?;
            let found: Vec<f32> = found.to_vec1()?;
            sum += found.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        Ok(Validation {
            loss: -sum / held_out.len() as f64,
            divergence: 0.0,
        })
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        pictures::curves(training, "loss.png", "-ln p(x), nats an object")
    }
}
