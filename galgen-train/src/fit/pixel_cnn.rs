//! Training of an autoregressive model of images from a recipe.

use super::{FitError, Objective, Run, Subject, Training, Validation, pictures};
use crate::checkpoint::Phase;
use crate::data::images::ImageSamples;
use crate::models::pixel_cnn::{adjust_initial_values, loss};
use crate::params::Parameters;
use crate::recipe::PixelCnnRecipe;
use candle_core::{DType, Result, Tensor};
use galgen_core::models::PixelCnn;

/// Images in a validation batch.
const VALIDATION_BATCH: usize = 64;

/// What is trained, on what.
pub struct Setup<'a> {
    /// Net and head.
    pub model: PixelCnn,
    /// Steps.
    pub recipe: &'a PixelCnnRecipe,
    /// The images.
    pub samples: &'a ImageSamples,
}

/// A training in progress.
pub struct Trainer<'a> {
    /// What is trained, on what.
    pub setup: Setup<'a>,
    /// Weights, optimiser, files.
    pub training: Training,
}

impl<'a> Trainer<'a> {
    /// Prepares a training of `recipe` on `samples`, whose pixels are levels if the head is discrete (see
    /// [`ImageSamples::round_to`]), as `run` says. A checkpoint in its directory is continued if it resumes, and
    /// refused otherwise.
    pub fn new(
        recipe: &'a PixelCnnRecipe,
        samples: &'a ImageSamples,
        run: &Run,
    ) -> std::result::Result<Self, FitError> {
        let (geometry, conditions) = (&samples.geometry, &samples.conditions);
        let model = recipe.model.build(geometry, conditions.width())?;
        let specs = model.tensors(geometry, conditions)?;
        let device = run.device;
        let subject = Subject {
            recipe,
            name: &recipe.name,
            seed: recipe.seed,
            data: samples.digest(),
            geometry: &samples.geometry,
            conditions: &samples.conditions,
        };
        let training = Training::open(run, &subject, Phase::Pixels, || {
            let parameters = Parameters::initialise(&specs, recipe.seed, DType::F32, device)?;
            adjust_initial_values(&model.net, &parameters)?;
            Ok(parameters)
        })?;
        let setup = Setup {
            model,
            recipe,
            samples,
        };
        Ok(Trainer { setup, training })
    }

    /// Trains to the end, or until `limit` more steps are made; `true` when there is nothing more to do.
    pub fn run(&mut self, limit: Option<u64>) -> std::result::Result<bool, FitError> {
        let mut left = limit.unwrap_or(u64::MAX);
        let Trainer { setup, training } = self;
        let stage = &setup.recipe.train;
        if training.state.phase == Phase::Pixels
            && training.run_phase(stage, stage.steps, setup, &mut left)?
        {
            training.state.phase = Phase::Done;
        }
        training.save()?;
        Ok(training.state.phase == Phase::Done)
    }
}

impl Objective for Setup<'_> {
    fn title(&self) -> &'static str {
        "pixels"
    }

    fn prefixes(&self) -> &[&'static str] {
        &["net."]
    }

    fn keeps_best(&self) -> bool {
        true
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        let (samples, recipe) = (self.samples, self.recipe);
        let chosen = samples.choose(recipe.seed, step, recipe.train.batch);
        let batch = samples.batch(&chosen, &training.device)?;
        let ids = chosen.iter().map(|c| samples.ids[c.position]).collect();
        let loss = loss(&self.model, &training.state.parameters, &batch)?;
        Ok((loss, ids))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        let samples = self.samples;
        let mut total = 0.0;
        for positions in samples.validation.chunks(VALIDATION_BATCH) {
            let batch = samples.batch(&samples.fixed(positions), &training.device)?;
            let mean = loss(&self.model, &training.state.average, &batch)?;
            total += positions.len() as f64 * f64::from(mean.to_scalar::<f32>()?);
        }
        Ok(Validation {
            loss: total / samples.validation.len() as f64,
            divergence: 0.0,
        })
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        pictures::curves(training, "loss-pixels.png", "-ln p(image), nats an image")
    }
}
