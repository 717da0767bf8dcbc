//! Writing a trained autoencoder as one file, with what it does on its validation part: compared with the engine
//! that will read it, and judged by that engine.

use super::{About, Draft, PARITY, agreed, finished, larger, relative, unrounded};
use crate::data::images::STATIC_SEED;
use crate::fit::FitError;
use crate::fit::vae::{Setup, Trainer};
use candle_core::{DType, Device, Tensor};
use galgen_core::models::{Family, Posterior};
use galgen_core::object::Object;
use galgen_infer::{Model, Pixels, Session};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Validation images on which the engine is compared with the training.
const CHECKED: usize = 32;
/// Largest difference that is accepted: relative to the largest value. f32 sums of up to 4,096 terms in another
/// order differ by a few 1e-6; ten layers follow each other.
const TOLERANCE: f64 = 1e-4;
/// Validation images whose reconstruction, and whose bound, is averaged.
const RECONSTRUCTED: usize = 2000;
const BOUND_IMAGES: usize = 200;
/// Posterior draws of the importance-weighted bound.
const SAMPLES: u32 = 50;
/// Images on each side of the sheet.
const SHOWN: usize = 80;
/// Seed of what is drawn.
const SEED: u64 = 1;

/// Writes the finished model of `trainer` to `path`, its weights as f32, and `samples.png` (images of the data
/// beside drawn ones of the same classes) to the directory of the training.
pub fn export(trainer: &Trainer, provenance: Value, path: &Path) -> Result<Arc<Model>, FitError> {
    let Trainer { setup, training } = trainer;
    let about = About {
        name: &setup.recipe.name,
        description: &setup.recipe.description,
        psf: &setup.recipe.psf,
        geometry: &setup.samples.geometry,
        conditions: &setup.samples.conditions,
        model: Family::Vae(setup.model.clone()),
        training: provenance,
    };
    let mut draft = Draft::new(about, unrounded(finished(training)?)?);
    let model = draft.model()?;
    let [encoder, decoder] = parity(trainer, &model)?;
    agreed(&[("encoder", encoder), ("decoder", decoder)], TOLERANCE)?;
    draft.card.evaluation = evaluate(setup, &model).map_err(refused)?;
    draft.card.evaluation[PARITY] = json!({ "images": CHECKED.min(setup.samples.validation.len()), "encoder": encoder, "decoder": decoder });
    sheet(setup, &model, &training.directory.join("samples.png"))?;
    draft.write(path)
}

fn refused(e: galgen_infer::DrawError) -> FitError {
    FitError::File(format!("the engine refuses a validation image: {e}"))
}

/// Largest relative difference of encoder and decoder between training and engine.
fn parity(trainer: &Trainer, model: &Arc<Model>) -> Result<[f64; 2], FitError> {
    let Trainer { setup, training } = trainer;
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let learner = setup.learner(&training.state.best, &training.device)?;
    let flat = |t: &Tensor| -> candle_core::Result<Vec<f32>> {
        t.to_device(&Device::Cpu)?
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1()
    };
    let mut worst = [0.0; 2];
    for chosen in samples.fixed(&samples.validation).into_iter().take(CHECKED) {
        let batch = samples.batch(&[chosen], &training.device)?;
        let values = samples.conditions_of(chosen.position);
        let (mean, log_variance) = learner.encode(&batch)?;
        let expected = flat(&learner.decode(&mean, batch.context.as_ref())?)?;
        let mean = flat(&mean)?;
        let (mut m, mut v) = (vec![0.0; model.latent()], vec![0.0; model.latent()]);
        session
            .encode(&samples.shown(chosen), values, &mut m, &mut v)
            .map_err(refused)?;
        let mut image = vec![0.0; model.stamp_len()];
        session.decode(&mean, values, &mut image).map_err(refused)?;
        worst[0] = larger(worst[0], relative(&m, &mean));
        if let Some(log_variance) = log_variance {
            worst[0] = larger(worst[0], relative(&v, &flat(&log_variance)?));
        }
        worst[1] = larger(worst[1], relative(&image, &expected));
    }
    Ok(worst)
}

/// Figures for the card, over the validation part: mean squared error of a pixel's reconstruction, and the bounds or
/// the density of the codes.
fn evaluate(setup: &Setup, model: &Arc<Model>) -> Result<Value, galgen_infer::DrawError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let all = samples.fixed(&samples.validation);
    let mut out = vec![0.0; model.stamp_len()];
    let mut squares = 0.0;
    let mut count = 0.0;
    for &chosen in all.iter().take(RECONSTRUCTED) {
        let image = samples.shown(chosen);
        session.reconstruct(&image, samples.conditions_of(chosen.position), &mut out)?;
        let pairs = image.iter().zip(&out);
        squares += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        count += image.len() as f64;
    }
    let mut figures = json!({
        "images": all.len().min(RECONSTRUCTED),
        "mean_squared_error": squares / count,
    });
    let some: Vec<_> = all.into_iter().take(BOUND_IMAGES).collect();
    let n = some.len() as f64;
    match setup.model.posterior {
        Posterior::Gaussian => {
            let mut mean = |draws: u32| -> Result<f64, galgen_infer::DrawError> {
                let mut sum = 0.0;
                for &chosen in &some {
                    let image = samples.shown(chosen);
                    let values = samples.conditions_of(chosen.position);
                    let id = samples.ids[chosen.position];
                    sum += session.log_likelihood(&image, values, None, draws, SEED, id)?;
                }
                Ok(sum / n)
            };
            let (elbo, bound) = (mean(1)?, mean(SAMPLES)?);
            figures["bounds"] = json!({
                "images": some.len(),
                "binarised_with_seed": STATIC_SEED,
                "elbo_nats": elbo,
                "importance_weighted_nats": bound,
                "draws": SAMPLES,
            });
        }
        Posterior::Point => {
            let (mut mean, mut spread) = (vec![0.0; model.latent()], vec![0.0; model.latent()]);
            let mut sum = 0.0;
            for &chosen in &some {
                let values = samples.conditions_of(chosen.position);
                session.encode(&samples.shown(chosen), values, &mut mean, &mut spread)?;
                let z: Vec<f64> = mean.iter().map(|&z| f64::from(z)).collect();
                sum += session.log_prob_latent(&z, values)?;
            }
            figures["log_prob_latent_nats"] = json!(sum / n);
        }
    }
    Ok(figures)
}

/// Images of the data beside drawn ones, in the order of their classes.
fn sheet(setup: &Setup, model: &Arc<Model>, path: &Path) -> Result<(), FitError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let chosen = samples.for_sheet(SHOWN);
    let mut drawn = Vec::new();
    for &position in &chosen {
        let (id, values) = (samples.ids[position], samples.conditions_of(position));
        let mut stamp = vec![0.0; model.stamp_len()];
        if samples.geometry.half_light_radius.is_some() {
            let object = Object::new(id, values);
            session
                .sample_galaxy_frame(SEED, &object, &mut stamp)
                .map_err(refused)?;
        } else {
            session
                .sample_image(SEED, id, values, Pixels::Mean, &mut stamp)
                .map_err(refused)?;
        }
        drawn.push(stamp);
    }
    let real: Vec<Vec<f32>> = chosen.iter().map(|&p| samples.image(p).to_vec()).collect();
    super::sheet(samples, &chosen, [&real, &drawn], path)
}
