//! Writing a trained autoregressive model as one file, with what it does on its validation part: compared with the
//! engine that will read it, and judged by that engine.

use super::{About, Draft, PARITY, agreed, finished, larger, unrounded};
use crate::fit::FitError;
use crate::fit::pixel_cnn::{Setup, Trainer};
use crate::models::pixel_cnn::log_pixels;
use candle_core::Device;
use galgen_core::models::Family;
use galgen_infer::{DrawError, Model, Pixels, Session};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Validation images on which the engine is compared with the training.
const CHECKED: usize = 8;
/// Largest difference of an image's ln p that is accepted, relative to the sum of the absolute terms of its pixels:
/// f32 sums of up to 4,096 terms in another order differ by a few 1e-6; tens of layers follow each other.
const TOLERANCE: f64 = 1e-4;
/// Validation images whose ln p is averaged.
const JUDGED: usize = 1000;
/// Images on each side of the sheet.
const SHOWN: usize = 48;
/// Seed of what is drawn.
const SEED: u64 = 1;

/// Writes the finished model of `trainer` to `path`, its weights as f32, and `samples.png` (images of the data
/// beside drawn ones of the same classes) to the directory of the training.
pub fn export(trainer: &Trainer, provenance: Value, path: &Path) -> Result<Arc<Model>, FitError> {
    let Trainer { setup, training } = trainer;
    let about = About {
        name: &setup.recipe.name,
        description: &setup.recipe.description,
        psf: "none",
        geometry: &setup.samples.geometry,
        conditions: &setup.samples.conditions,
        model: Family::PixelCnn(setup.model.clone()),
        training: provenance,
    };
    let mut draft = Draft::new(about, unrounded(finished(training)?)?);
    let model = draft.model()?;
    let difference = parity(trainer, &model)?;
    agreed(&[("ln p", difference)], TOLERANCE)?;
    draft.card.evaluation = evaluate(setup, &model).map_err(refused)?;
    draft.card.evaluation[PARITY] = json!({ "images": CHECKED.min(setup.samples.validation.len()), "log_likelihood": difference });
    sheet(setup, &model, &training.directory.join("samples.png"))?;
    draft.write(path)
}

fn refused(e: DrawError) -> FitError {
    FitError::File(format!("the engine refuses a validation image: {e}"))
}

/// Largest difference of an image's ln p between training and engine.
fn parity(trainer: &Trainer, model: &Arc<Model>) -> Result<f64, FitError> {
    let Trainer { setup, training } = trainer;
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let mut map = vec![0.0; model.stamp_len()];
    let mut worst: f64 = 0.0;
    for chosen in samples.fixed(&samples.validation).into_iter().take(CHECKED) {
        let batch = samples.batch(&[chosen], &training.device)?;
        let terms = log_pixels(&setup.model, &training.state.best, &batch)?;
        let terms: Vec<f32> = terms.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        let values = samples.conditions_of(chosen.position);
        session
            .pixel_log_likelihoods(&samples.shown(chosen), values, &mut map)
            .map_err(refused)?;
        let difference: f64 = terms.iter().zip(&map).map(|(&a, b)| f64::from(a) - b).sum();
        let size: f64 = map.iter().map(|term| term.abs()).sum();
        worst = larger(worst, difference.abs() / size.max(1.0));
    }
    Ok(worst)
}

/// Figures for the card, over the validation part.
fn evaluate(setup: &Setup, model: &Arc<Model>) -> Result<Value, DrawError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let some: Vec<_> = samples
        .fixed(&samples.validation)
        .into_iter()
        .take(JUDGED)
        .collect();
    let (mut sum, mut squares) = (0.0, 0.0);
    for &chosen in &some {
        let image = samples.shown(chosen);
        let values = samples.conditions_of(chosen.position);
        let log_p = session.log_likelihood(&image, values, None, 1, 0, 0)?;
        sum += log_p;
        squares += log_p * log_p;
    }
    let n = some.len() as f64;
    let mean = sum / n;
    let deviation = (squares / n - mean * mean).max(0.0).sqrt();
    let pixels = model.stamp_len() as f64;
    Ok(json!({
        "images": some.len(),
        "log_likelihood_nats": mean,
        "standard_error": deviation / n.sqrt(),
        "bits_per_dimension": -mean / pixels / std::f64::consts::LN_2,
    }))
}

/// Images of the data beside drawn ones of the same classes.
fn sheet(setup: &Setup, model: &Arc<Model>, path: &Path) -> Result<(), FitError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let chosen = samples.for_sheet(SHOWN);
    let mut drawn = Vec::new();
    for &position in &chosen {
        let mut image = vec![0.0; model.stamp_len()];
        let (id, values) = (samples.ids[position], samples.conditions_of(position));
        session
            .sample_image(SEED, id, values, Pixels::Drawn, &mut image)
            .map_err(refused)?;
        drawn.push(image);
    }
    let fixed = samples.fixed(&chosen).into_iter();
    let real: Vec<Vec<f32>> = fixed.map(|c| samples.shown(c)).collect();
    super::sheet(samples, &chosen, [&real, &drawn], path)
}
