//! Writing a trained model as one file, and checking it with the engine that will read it.

pub mod density;
pub mod pixel_cnn;
pub mod vae;

use crate::checkpoint::Phase;
use crate::evaluate::{self, evaluate};
use crate::evaluate_command::SEED;
use crate::fit::FitError;
use crate::fit::flow_vae::{Setup, Trainer};
use crate::models::flow_vae::{Batch, Learner};
use crate::params::Parameters;
use crate::samples::Samples;
use crate::tensors;
use candle_core::{DType, Device, Tensor};
use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::models::Family;
use galgen_infer::{Model, Session};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Key of the card's evaluation that holds the differences between engine and training.
pub const PARITY: &str = "parity";
/// Held-out stamps on which the engine is compared with the training.
const CHECKED: usize = 32;
/// Largest difference that is accepted between training and engine on the same weights: relative to
/// the largest value for encoder and decoder, in nats for the flow. f32 sums of up to 4,096 terms
/// in another order differ by a few 1e-6; twenty layers follow each other.
const TOLERANCE: f64 = 1e-4;

/// Writes the finished model of `trainer` to `path` and returns it as the engine reads it.
///
/// Weights of encoder and decoder are stored as f16, everything else as f32. What that rounding costs
/// in likelihood is not measured.
pub fn export(
    trainer: &Trainer,
    provenance: serde_json::Value,
    path: &Path,
) -> Result<Arc<Model>, FitError> {
    if trainer.training.state.phase != Phase::Done {
        let problem = "the training is not finished: continue it with `galgen-train fit --resume`";
        return Err(FitError::File(problem.into()));
    }
    let samples = &trainer.setup.samples;
    let stored = stored_tensors(&trainer.training.state.best)?;
    let mut card = card(&trainer.setup, provenance);
    let (_, model) = load(&stored, &card)?;
    let parity = compare(trainer, samples, &stored, &model)?;
    if parity.worst().is_nan() || parity.worst() > TOLERANCE {
        return Err(FitError::File(format!(
            "engine and training disagree: encoder {:.1e}, decoder {:.1e}, flow {:.1e} nats; expected at most {TOLERANCE:.0e}. \
             Nothing was written; please report this recipe",
            parity.encoder, parity.decoder, parity.flow
        )));
    }
    let options = evaluate::Options {
        seed: SEED,
        command: format!("galgen-train fit, recipe {}", card.name),
        quiet: trainer.training.quiet,
    };
    let evaluation = evaluate(&model, samples, &options).map_err(FitError::File)?;
    evaluation
        .write(&trainer.training.directory)
        .map_err(FitError::File)?;
    card.evaluation = evaluation.summary();
    card.evaluation[PARITY] = json!({
        "stamps": CHECKED,
        "encoder": parity.encoder,
        "decoder": parity.decoder,
        "flow_nats": parity.flow,
    });
    let (bytes, model) = load(&stored, &card)?;
    galgen_io::atomic::write_atomic(path, &bytes).map_err(|e| FitError::File(e.to_string()))?;
    Ok(model)
}

/// The engine on `parameters` as they would be exported, without provenance and evaluation.
pub(crate) fn engine(setup: &Setup, parameters: &Parameters) -> Result<Arc<Model>, FitError> {
    let card = card(setup, serde_json::Value::Null);
    Ok(load(&stored_tensors(parameters)?, &card)?.1)
}

/// The card but for the evaluation.
fn card(setup: &Setup, training: serde_json::Value) -> Card {
    let mut card = Card {
        format_version: FORMAT_VERSION,
        name: setup.recipe.name.clone(),
        description: setup.recipe.description.clone(),
        fingerprint: String::new(),
        geometry: setup.geometry.clone(),
        psf: setup.recipe.psf.clone(),
        conditions: setup.samples.conditions.clone(),
        model: Family::FlowVae(setup.model.clone()),
        training,
        evaluation: serde_json::Value::Null,
    };
    card.fingerprint = card.compute_fingerprint();
    card
}

/// Bytes of a model file, and how the engine reads them.
fn load(stored: &BTreeMap<String, Tensor>, card: &Card) -> Result<(Vec<u8>, Arc<Model>), FitError> {
    let metadata = HashMap::from([(METADATA_KEY.to_string(), card.to_json())]);
    let bytes = tensors::to_bytes(stored, metadata)?;
    let model = Model::from_bytes(&bytes)
        .map_err(|e| FitError::File(format!("the engine refuses the exported model: {e}")))?;
    Ok((bytes, model))
}

/// Tensors as they are stored: weights of the convolutional networks rounded to f16.
fn stored_tensors(parameters: &Parameters) -> candle_core::Result<BTreeMap<String, Tensor>> {
    parameters
        .iter(&[""])
        .map(|(name, var)| {
            let half = name.ends_with(".weight") && !name.starts_with("flow.");
            let dtype = if half { DType::F16 } else { DType::F32 };
            let tensor = var.as_tensor().to_device(&Device::Cpu)?.to_dtype(dtype)?;
            Ok((name.to_string(), tensor))
        })
        .collect()
}

/// Largest differences between training and engine.
struct Parity {
    encoder: f64,
    decoder: f64,
    flow: f64,
}

impl Parity {
    fn worst(&self) -> f64 {
        larger(larger(self.encoder, self.decoder), self.flow)
    }
}

fn compare(
    trainer: &Trainer,
    samples: &Samples,
    stored: &BTreeMap<String, Tensor>,
    model: &Arc<Model>,
) -> Result<Parity, FitError> {
    let cpu = Device::Cpu;
    let widened = stored
        .iter()
        .map(|(name, t)| Ok((name.clone(), t.to_dtype(DType::F32)?)));
    let widened = widened.collect::<candle_core::Result<Vec<_>>>()?;
    let parameters = Parameters::from_tensors(widened)?;
    let learner = Learner::new(
        &trainer.setup.model,
        &trainer.setup.geometry,
        &parameters,
        DType::F32,
        &cpu,
    )?;
    let mut session = Session::new(model.clone());
    let latent = model.latent();
    let k = samples.conditions.len();
    let mut parity = Parity {
        encoder: 0.0,
        decoder: 0.0,
        flow: 0.0,
    };
    for &position in samples.validation.iter().take(CHECKED) {
        let batch: Batch = samples.batch(&[(position, 0)], &cpu)?;
        let values = &samples.values[position * k..(position + 1) * k];
        let (mean, log_variance) = learner.encode(&batch)?;
        let expected_stamp: Vec<f32> = learner
            .decode(&mean, batch.context.as_ref())?
            .flatten_all()?
            .to_vec1()?;
        let expected_flow = -f64::from(
            learner
                .flow_loss(&mean, batch.context.as_ref())?
                .to_scalar::<f32>()?,
        );
        let mean: Vec<f32> = mean.flatten_all()?.to_vec1()?;
        let log_variance: Vec<f32> = log_variance.flatten_all()?.to_vec1()?;

        let refused = |e: galgen_infer::DrawError| {
            FitError::File(format!("object {}: {e}", samples.ids[position]))
        };
        if model.takes_psf() {
            let psf = samples.psf(position);
            session.set_psf(psf, samples.psf_side()).map_err(refused)?;
        }
        let (mut m, mut v) = (vec![0.0; latent], vec![0.0; latent]);
        session
            .encode(samples.stamp(position), values, &mut m, &mut v)
            .map_err(refused)?;
        let mut stamp = vec![0.0; model.stamp_len()];
        session.decode(&mean, values, &mut stamp).map_err(refused)?;
        let z: Vec<f64> = mean.iter().map(|&z| f64::from(z)).collect();
        let flow = session.log_prob_latent(&z, values).map_err(refused)?;

        let encoder = larger(relative(&m, &mean), relative(&v, &log_variance));
        parity.encoder = larger(parity.encoder, encoder);
        parity.decoder = larger(parity.decoder, relative(&stamp, &expected_stamp));
        parity.flow = larger(parity.flow, (flow - expected_flow).abs());
    }
    Ok(parity)
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
