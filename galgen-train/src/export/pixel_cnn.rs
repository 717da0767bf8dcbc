//! Writing a trained autoregressive model as one file, with what it does on its validation part: compared with the
//! engine that will read it, and judged by that engine.

use crate::checkpoint::Phase;
use crate::fit::FitError;
use crate::fit::pixel_cnn::{Setup, Trainer};
use crate::models::pixel_cnn::log_pixels;
use crate::tensors;
use candle_core::{Device, Tensor};
use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::models::Family;
use galgen_infer::{DrawError, Model, Pixels, Session};
use galgen_io::sheet::{SheetOptions, Tile, side_by_side};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
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
    if training.state.phase != Phase::Done {
        let problem = "the training is not finished: continue it with `galgen-train fit --resume`";
        return Err(FitError::File(problem.into()));
    }
    let stored: BTreeMap<String, Tensor> = training
        .state
        .best
        .iter(&[""])
        .map(|(name, var)| Ok((name.to_string(), var.as_tensor().to_device(&Device::Cpu)?)))
        .collect::<candle_core::Result<_>>()?;
    let mut card = Card {
        format_version: FORMAT_VERSION,
        name: setup.recipe.name.clone(),
        description: setup.recipe.description.clone(),
        fingerprint: String::new(),
        geometry: setup.samples.geometry.clone(),
        psf: "none".into(),
        conditions: setup.samples.conditions.clone(),
        model: Family::PixelCnn(setup.model.clone()),
        training: provenance,
        evaluation: Value::Null,
    };
    card.fingerprint = card.compute_fingerprint();
    let load = |card: &Card| -> Result<(Vec<u8>, Arc<Model>), FitError> {
        let metadata = HashMap::from([(METADATA_KEY.to_string(), card.to_json())]);
        let bytes = tensors::to_bytes(&stored, metadata)?;
        let model = Model::from_bytes(&bytes)
            .map_err(|e| FitError::File(format!("the engine refuses the exported model: {e}")))?;
        Ok((bytes, model))
    };
    let (_, model) = load(&card)?;
    let difference = parity(trainer, &model)?;
    if difference.is_nan() || difference > TOLERANCE {
        return Err(FitError::File(format!(
            "engine and training disagree: ln p by {difference:.1e}, expected at most {TOLERANCE:.0e}. Nothing was \
             written; please report this recipe"
        )));
    }
    card.evaluation = evaluate(setup, &model).map_err(refused)?;
    card.evaluation["parity"] = json!({ "images": CHECKED, "log_likelihood": difference });
    sheet(setup, &model, &training.directory.join("samples.png"))?;
    let (bytes, model) = load(&card)?;
    galgen_io::atomic::write_atomic(path, &bytes).map_err(|e| FitError::File(e.to_string()))?;
    Ok(model)
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
        worst = super::larger(worst, difference.abs() / size.max(1.0));
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
    let mut chosen = samples.fixed(&samples.validation);
    chosen.truncate(SHOWN);
    // Of every class some, in their order.
    chosen.sort_by(|a, b| {
        let of = |c: &crate::data::images::Chosen| samples.conditions_of(c.position).to_vec();
        of(a)
            .partial_cmp(&of(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut drawn = Vec::new();
    for c in &chosen {
        let mut image = vec![0.0; model.stamp_len()];
        let (id, values) = (samples.ids[c.position], samples.conditions_of(c.position));
        session
            .sample_image(SEED, id, values, Pixels::Drawn, &mut image)
            .map_err(refused)?;
        drawn.push(image);
    }
    let real: Vec<Vec<f32>> = chosen.iter().map(|&c| samples.shown(c)).collect();
    let side = samples.geometry.side;
    fn tiles(images: &[Vec<f32>], side: usize) -> Vec<Tile<'_>> {
        let tile = |pixels| Tile {
            pixels,
            width: side,
            height: side,
            caption: String::new(),
        };
        images.iter().map(|image| tile(&image[..])).collect()
    }
    let options = SheetOptions {
        columns: 8,
        y_down: true,
        ..SheetOptions::default()
    };
    let panels = [
        ("held out", &tiles(&real, side)[..]),
        ("drawn", &tiles(&drawn, side)[..]),
    ];
    side_by_side(&panels, &options)
        .save(path)
        .map_err(|e| FitError::File(e.to_string()))
}
