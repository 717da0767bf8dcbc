//! A flow-VAE: weights of encoder and decoder as f16, the rest as f32; its evaluation is [`crate::evaluate`]'s.

use super::{About, Draft, PARITY, agreed, finished, larger, relative};
use crate::evaluate::{self, evaluate};
use crate::evaluate_command::SEED;
use crate::fit::FitError;
use crate::fit::flow_vae::{Setup, Trainer};
use crate::models::flow_vae::{Batch, Learner};
use crate::params::Parameters;
use crate::samples::Samples;
use candle_core::{DType, Device, Tensor};
use galgen_core::models::Family;
use galgen_infer::{Model, Session};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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
pub fn export(trainer: &Trainer, provenance: Value, path: &Path) -> Result<Arc<Model>, FitError> {
    let Trainer { setup, training } = trainer;
    let mut draft = draft(setup, finished(training)?, provenance)?;
    let model = draft.model()?;
    let [encoder, decoder, flow, texture] = parity(setup, &draft.stored, &model)?;
    let differences = [
        ("encoder", encoder),
        ("decoder", decoder),
        ("flow (nats)", flow),
        ("texture", texture),
    ];
    agreed(&differences, TOLERANCE)?;
    let options = evaluate::Options {
        seed: SEED,
        command: format!("galgen-train fit, recipe {}", setup.recipe.name),
        reconstructions: false,
        quiet: training.quiet,
    };
    let evaluation = evaluate(&model, &setup.samples, &options).map_err(FitError::File)?;
    evaluation
        .write(&training.directory)
        .map_err(FitError::File)?;
    draft.card.evaluation = evaluation.summary();
    draft.card.evaluation[PARITY] = json!({
        "stamps": CHECKED.min(setup.samples.validation.len()),
        "encoder": encoder,
        "decoder": decoder,
        "flow_nats": flow,
        "texture": texture,
    });
    draft.write(path)
}

/// The engine on `parameters` as they would be exported, without provenance and evaluation.
pub(crate) fn engine(setup: &Setup, parameters: &Parameters) -> Result<Arc<Model>, FitError> {
    draft(setup, parameters, Value::Null)?.model()
}

fn draft(setup: &Setup, parameters: &Parameters, training: Value) -> Result<Draft, FitError> {
    let about = About {
        name: &setup.recipe.name,
        description: &setup.recipe.description,
        psf: &setup.recipe.psf,
        geometry: &setup.geometry,
        conditions: &setup.samples.conditions,
        model: Family::FlowVae(setup.model.clone()),
        training,
    };
    Ok(Draft::new(about, stored_tensors(parameters)?))
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

/// Largest differences between training and engine: encoder, decoder, flow, texture (0 without one).
fn parity(
    setup: &Setup,
    stored: &BTreeMap<String, Tensor>,
    model: &Arc<Model>,
) -> Result<[f64; 4], FitError> {
    let samples: &Samples = &setup.samples;
    let cpu = Device::Cpu;
    let widened = stored
        .iter()
        .map(|(name, t)| Ok((name.clone(), t.to_dtype(DType::F32)?)));
    let widened = widened.collect::<candle_core::Result<Vec<_>>>()?;
    let parameters = Parameters::from_tensors(widened)?;
    let learner = Learner::new(&setup.model, &setup.geometry, &parameters, DType::F32, &cpu)?;
    let mut session = Session::new(model.clone());
    let latent = model.latent();
    let k = samples.conditions.len();
    let mut worst = [0.0; 4];
    for &position in samples.validation.iter().take(CHECKED) {
        let batch: Batch = samples.batch(&[(position, 0)], &cpu)?;
        let values = &samples.values[position * k..(position + 1) * k];
        let (mean, log_variance) = learner.encode(&batch)?;
        let expected_stamp: Vec<f32> = learner
            .decode(&mean, batch.context.as_ref())?
            .flatten_all()?
            .to_vec1()?;
        let strength = learner.strength(&mean, batch.context.as_ref())?;
        let expected_strength: Option<Vec<f32>> =
            strength.map(|s| s.flatten_all()?.to_vec1()).transpose()?;
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

        let texture = match &expected_strength {
            None => 0.0,
            Some(expected) => {
                let mut found = vec![0.0; expected.len()];
                session
                    .texture_strength(&mean, values, &mut found)
                    .map_err(refused)?;
                relative(&found, expected)
            }
        };
        let encoder = larger(relative(&m, &mean), relative(&v, &log_variance));
        let found = [
            encoder,
            relative(&stamp, &expected_stamp),
            (flow - expected_flow).abs(),
            texture,
        ];
        worst = std::array::from_fn(|i| larger(worst[i], found[i]));
    }
    Ok(worst)
}
