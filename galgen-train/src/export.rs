//! Writing a trained model as one file, and checking it with the engine that will read it: a `Draft` is the file in the
//! making, and the module of a family says what is compared and what is judged.

pub mod density;
pub mod flow_vae;
pub mod pixel_cnn;
pub mod vae;

use crate::checkpoint::Phase;
use crate::data::images::ImageSamples;
use crate::fit::{FitError, Training};
use crate::params::Parameters;
use crate::tensors;
use candle_core::{Device, Tensor};
use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::condition::Conditions;
use galgen_core::models::Family;
use galgen_core::stamp::Geometry;
use galgen_infer::Model;
use galgen_io::sheet::{SheetOptions, Tile, side_by_side};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Key of the card's evaluation that holds the differences between engine and training.
pub const PARITY: &str = "parity";

/// A model file in the making: the tensors as they are stored, and the card.
struct Draft {
    stored: BTreeMap<String, Tensor>,
    card: Card,
}

/// What a card says but for the evaluation.
struct About<'a> {
    name: &'a str,
    description: &'a str,
    psf: &'a str,
    geometry: &'a Geometry,
    conditions: &'a Conditions,
    model: Family,
    training: Value,
}

impl Draft {
    fn new(about: About, stored: BTreeMap<String, Tensor>) -> Self {
        let mut card = Card {
            format_version: FORMAT_VERSION,
            name: about.name.into(),
            description: about.description.into(),
            fingerprint: String::new(),
            geometry: about.geometry.clone(),
            psf: about.psf.into(),
            conditions: about.conditions.clone(),
            model: about.model,
            training: about.training,
            evaluation: Value::Null,
        };
        card.fingerprint = card.compute_fingerprint();
        Draft { stored, card }
    }

    /// Bytes of the file, and how the engine reads them.
    fn load(&self) -> Result<(Vec<u8>, Arc<Model>), FitError> {
        let metadata = HashMap::from([(METADATA_KEY.to_string(), self.card.to_json())]);
        let bytes = tensors::to_bytes(&self.stored, metadata)?;
        let model = Model::from_bytes(&bytes)
            .map_err(|e| FitError::File(format!("the engine refuses the exported model: {e}")))?;
        Ok((bytes, model))
    }

    fn model(&self) -> Result<Arc<Model>, FitError> {
        Ok(self.load()?.1)
    }

    /// Writes the file to `path`, and gives it as the engine reads it.
    fn write(&self, path: &Path) -> Result<Arc<Model>, FitError> {
        let (bytes, model) = self.load()?;
        galgen_io::atomic::write_atomic(path, &bytes).map_err(|e| FitError::File(e.to_string()))?;
        Ok(model)
    }
}

/// The weights that a finished training ends with.
fn finished(training: &Training) -> Result<&Parameters, FitError> {
    if training.state.phase != Phase::Done {
        let problem = "the training is not finished: continue it with `galgen-train fit --resume`";
        return Err(FitError::File(problem.into()));
    }
    Ok(&training.state.best)
}

/// Tensors on the processor, as they are.
fn unrounded(parameters: &Parameters) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let all = parameters.iter(&[""]);
    all.map(|(name, var)| Ok((name.to_string(), var.as_tensor().to_device(&Device::Cpu)?)))
        .collect()
}

/// An error unless the named differences between engine and training are at most `tolerance`.
fn agreed(differences: &[(&str, f64)], tolerance: f64) -> Result<(), FitError> {
    let worst = differences
        .iter()
        .fold(0.0, |worst, (_, d)| larger(worst, *d));
    if worst <= tolerance {
        return Ok(());
    }
    let found: Vec<String> = differences
        .iter()
        .map(|(name, difference)| format!("{name} {difference:.1e}"))
        .collect();
    Err(FitError::File(format!(
        "engine and training disagree: {}; expected at most {tolerance:.0e}. Nothing was written; please report this recipe",
        found.join(", ")
    )))
}

/// Saves `chosen` images of the data, whose pixels are `real`, beside the `drawn` ones of the same conditions.
fn sheet(
    samples: &ImageSamples,
    chosen: &[usize],
    [real, drawn]: [&[Vec<f32>]; 2],
    path: &Path,
) -> Result<(), FitError> {
    let side = samples.geometry.side;
    let tiles = [real, drawn].map(|images| {
        let tile = |(pixels, &position)| Tile {
            pixels: Vec::as_slice(pixels),
            width: side,
            height: side,
            caption: samples.caption(position),
        };
        images.iter().zip(chosen).map(tile).collect::<Vec<_>>()
    });
    let options = SheetOptions {
        columns: 8,
        y_down: samples.geometry.half_light_radius.is_none(),
        ..SheetOptions::default()
    };
    side_by_side(&[("held out", &tiles[0]), ("drawn", &tiles[1])], &options)
        .save(path)
        .map_err(|e| FitError::File(e.to_string()))
}

/// Largest difference over the largest expected value. NaN if anything is.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let differences = found.iter().zip(expected);
    differences
        .map(|(a, b)| f64::from((a - b).abs() / largest))
        .fold(0.0, larger)
}

/// The larger of two numbers, NaN if one is.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
