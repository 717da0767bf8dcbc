//! Training of an autoencoder, variational or plain, from a recipe. A plain one ends with the Gaussian of its
//! training codes as its prior.

use super::{FitError, Objective, Run, Subject, Training, Validation, pictures};
use crate::checkpoint::Phase;
use crate::data::images::ImageSamples;
use crate::models::vae::{Learner, adjust_initial_values};
use crate::params::Parameters;
use crate::recipe::ImageRecipe;
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::models::{Posterior, Vae};

/// Images in a validation batch.
const VALIDATION_BATCH: usize = 256;
/// Smallest standard deviation of a code's direction in the fitted prior, relative to the largest: a collapsed
/// direction must not make the covariance singular.
const LEAST_DEVIATION: f64 = 1e-4;

const NORMALS_KEY: u64 = 0x7661_6500_0000_0000;
const VALIDATION_KEY: u64 = 0x7661_6c69_6400_0000;

/// What is trained, on what.
pub struct Setup<'a> {
    /// The networks.
    pub model: Vae,
    /// Steps and objective.
    pub recipe: &'a ImageRecipe,
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
    /// Prepares a training of `recipe` on `samples` as `run` says. A checkpoint in its
    /// directory is continued if it resumes, and refused otherwise.
    pub fn new(
        recipe: &'a ImageRecipe,
        samples: &'a ImageSamples,
        run: &Run,
    ) -> std::result::Result<Self, FitError> {
        let (geometry, conditions) = (&samples.geometry, &samples.conditions);
        let model = recipe
            .model
            .build(geometry, recipe.posterior(), conditions.width())?;
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
        let training = Training::open(run, &subject, Phase::Vae, || {
            let parameters = Parameters::initialise(&specs, recipe.seed, DType::F32, device)?;
            adjust_initial_values(&model, &parameters)?;
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
        if training.state.phase == Phase::Vae
            && training.run_phase(
                &setup.recipe.train,
                setup.recipe.train.steps,
                setup,
                &mut left,
            )?
        {
            if setup.model.posterior == Posterior::Point {
                setup.fit_prior(training)?;
            }
            training.state.phase = Phase::Done;
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
        let geometry = &self.samples.geometry;
        Learner::new(&self.model, geometry, parameters, DType::F32, device)
    }

    /// Sets the best weights' prior to the mean and covariance of the codes of the training part.
    fn fit_prior(&self, training: &Training) -> Result<()> {
        let n = self.model.latent;
        let learner = self.learner(&training.state.best, &training.device)?;
        let mut codes: Vec<f32> = Vec::new();
        for positions in self.samples.training.chunks(VALIDATION_BATCH) {
            let chosen = self.samples.fixed(positions);
            let (code, _) = learner.encode(&self.samples.batch(&chosen, &training.device)?)?;
            codes.extend(code.flatten_all()?.to_vec1::<f32>()?);
        }
        let (mean, factor) = gaussian_of(&codes, n);
        let device = &training.device;
        let f32s = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<_>>();
        let mean = Tensor::from_vec(f32s(mean), n, device)?;
        let factor = Tensor::from_vec(f32s(factor), (n, n), device)?;
        training.state.best.set("prior.mean", &mean)?;
        training.state.best.set("prior.cholesky", &factor)
    }

    fn kl_weight(&self, step: u64) -> f64 {
        let warm_up = self.recipe.objective.kl_warm_up * self.recipe.train.steps as f64;
        ((step as f64 + 1.0) / warm_up.max(1.0)).min(1.0)
    }
}

impl Objective for Setup<'_> {
    fn title(&self) -> &'static str {
        match self.model.posterior {
            Posterior::Gaussian => "vae",
            Posterior::Point => "ae",
        }
    }

    fn prefixes(&self) -> &[&'static str] {
        &["encoder.", "decoder."]
    }

    fn keeps_best(&self) -> bool {
        true
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        let (samples, recipe) = (self.samples, self.recipe);
        let chosen = samples.choose(recipe.seed, step, recipe.train.batch);
        let batch = samples.batch(&chosen, &training.device)?;
        let (b, latent) = (chosen.len(), self.model.latent);
        let draws = recipe.objective.samples;
        let normals = training.normals(recipe.seed ^ NORMALS_KEY, step, draws * b, latent)?;
        let learner = self.learner(&training.state.parameters, &training.device)?;
        let loss = if draws > 1 {
            learner.importance_weighted(&batch, &normals.reshape((draws, b, latent))?)?
        } else {
            let bound = learner.bound(&batch, &normals)?;
            (bound.reconstruction + (bound.divergence * self.kl_weight(step))?)?
        };
        let ids = chosen.iter().map(|c| samples.ids[c.position]).collect();
        Ok((loss, ids))
    }

    fn validate(&self, training: &Training) -> Result<Validation> {
        let samples = self.samples;
        let learner = self.learner(&training.state.average, &training.device)?;
        let (mut loss, mut divergence) = (0.0, 0.0);
        let draws = self.recipe.objective.samples;
        let chunks = samples.validation.chunks((VALIDATION_BATCH / draws).max(1));
        for (i, positions) in chunks.enumerate() {
            let batch = samples.batch(&samples.fixed(positions), &training.device)?;
            let (b, latent) = (positions.len(), self.model.latent);
            let normals = training.normals(VALIDATION_KEY, i as u64, draws * b, latent)?;
            let bound = learner.bound(&batch, &normals.narrow(0, 0, b)?)?;
            // What is learned.
            let own = match draws {
                1 => (&bound.reconstruction + &bound.divergence)?,
                _ => learner.importance_weighted(&batch, &normals.reshape((draws, b, latent))?)?,
            };
            let weight = b as f64 / samples.validation.len() as f64;
            loss += weight * f64::from(own.to_scalar::<f32>()?);
            divergence += weight * f64::from(bound.divergence.to_scalar::<f32>()?);
        }
        Ok(Validation { loss, divergence })
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        let label = match self.model.posterior {
            Posterior::Gaussian => "negative evidence lower bound, nats an image",
            Posterior::Point => "-ln p(image | its code), nats an image",
        };
        pictures::curves(training, "loss-vae.png", label)?;
        let samples = self.samples;
        let chosen = samples.fixed(&pictures::spread(&samples.validation));
        let decode = || -> Result<Vec<f32>> {
            let learner = self.learner(&training.state.average, &training.device)?;
            let batch = samples.batch(&chosen, &training.device)?;
            let (mean, _) = learner.encode(&batch)?;
            let decoded = learner.decode(&mean, batch.context.as_ref())?;
            decoded.flatten_all()?.to_vec1()
        };
        let decoded = decode().map_err(|e| e.to_string())?;
        let real: Vec<Vec<f32>> = chosen.iter().map(|&c| samples.shown(c)).collect();
        let real: Vec<&[f32]> = real.iter().map(Vec::as_slice).collect();
        pictures::pairs(
            training,
            "reconstructions.png",
            &samples.geometry,
            ("held-out images", &real),
            ("their reconstructions", &decoded),
        )
    }
}

/// Mean and lower Cholesky factor of the covariance of the rows of `n` numbers.
fn gaussian_of(rows: &[f32], n: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (rows.len() / n) as f64;
    let mut mean = vec![0.0; n];
    for row in rows.chunks_exact(n) {
        for (m, &v) in mean.iter_mut().zip(row) {
            *m += f64::from(v) / count;
        }
    }
    let mut covariance = vec![0.0; n * n];
    for row in rows.chunks_exact(n) {
        for i in 0..n {
            let a = f64::from(row[i]) - mean[i];
            for j in 0..=i {
                covariance[i * n + j] += a * (f64::from(row[j]) - mean[j]) / count;
            }
        }
    }
    let largest = (0..n).map(|i| covariance[i * n + i]).fold(0.0, f64::max);
    let floor = (LEAST_DEVIATION * LEAST_DEVIATION * largest).max(f64::MIN_POSITIVE);
    let mut factor = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| factor[i * n + k] * factor[j * n + k]).sum();
            let left = covariance[i * n + j] - known;
            factor[i * n + j] = if i == j {
                left.max(floor).sqrt()
            } else {
                left / factor[j * n + j]
            };
        }
    }
    (mean, factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four points with mean (1, 2, 3) and a covariance that is written down by hand; the third direction has
    /// no spread and gets the least.
    #[test]
    fn the_factor_gives_the_covariance_back() {
        let rows = [
            [3.0f32, 3.0, 3.0],
            [-1.0, 1.0, 3.0],
            [1.0, 5.0, 3.0],
            [1.0, -1.0, 3.0],
        ]
        .concat();
        let (mean, l) = gaussian_of(&rows, 3);
        assert_eq!(mean, [1.0, 2.0, 3.0]);
        let product = |i: usize, j: usize| (0..3).map(|k| l[3 * i + k] * l[3 * j + k]).sum::<f64>();
        for (i, j, expected) in [(0, 0, 2.0), (0, 1, 1.0), (1, 1, 5.0), (2, 0, 0.0)] {
            assert!((product(i, j) - expected).abs() < 1e-12, "{i} {j}");
        }
        assert!(l[8] > 0.0 && l[8] < 1e-3);
        assert_eq!([l[1], l[2], l[5]], [0.0; 3]);
    }
}
