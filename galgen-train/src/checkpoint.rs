//! The state of an unfinished training on disk: continuing from it gives the same weights as never
//! having stopped.

use crate::optim::Adam;
use crate::params::Parameters;
use crate::tensors;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const METADATA_KEY: &str = "galgen_checkpoint";

/// Which part of the model is learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Encoder and decoder.
    Vae,
    /// The latent flow, on the finished encoder.
    Flow,
    /// The decoder, against a critic.
    Adversarial,
    /// The latent flow again, under the conditions of what the sharpened decoder makes.
    Refit,
    /// The strength of the texture, on the finished encoder and decoder.
    Texture,
    /// An autoregressive model.
    Pixels,
    /// Nothing more to do.
    Done,
}

/// One line of the training's history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Phase of the step.
    pub phase: Phase,
    /// Steps made in that phase.
    pub step: u64,
    /// Mean training loss since the record before, in nats a stamp.
    pub training: f64,
    /// Validation loss with the averaged weights: -ELBO or -ln p(z), in nats a stamp.
    pub validation: f64,
    /// KL part of the validation loss (VAE only).
    pub divergence: f64,
}

/// Everything that changes while training.
pub struct State {
    /// Phase of the next step.
    pub phase: Phase,
    /// Steps made in this phase.
    pub step: u64,
    /// Trained weights.
    pub parameters: Parameters,
    /// Moving average of the weights.
    pub average: Parameters,
    /// The averaged weights of the best validation of the flow.
    pub best: Parameters,
    /// Validation loss of `best`.
    pub best_loss: f64,
    /// Optimiser of the phase.
    pub adam: Adam,
    /// Validations so far.
    pub history: Vec<Record>,
    /// The critic of an adversarial phase.
    pub critic: Option<Rival>,
    /// The conditions as they were last measured on the model's own galaxies.
    pub labels: Option<Labels>,
}

/// Conditions that were measured on the model's own galaxies.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Step of the measurement.
    pub step: u64,
    /// `[n, k]`
    pub values: Vec<f32>,
    /// Mean and deviation by which the networks see each condition, `[k]`.
    pub scale: Vec<[f64; 2]>,
}

/// A network that learns against the model and is not part of it.
pub struct Rival {
    /// Its weights.
    pub parameters: Parameters,
    /// Its optimiser.
    pub adam: Adam,
}

#[derive(Serialize, Deserialize)]
struct Header {
    owner: String,
    phase: Phase,
    step: u64,
    adam_step: u64,
    best_loss: Option<f64>,
    history: Vec<Record>,
    #[serde(default)]
    critic_step: Option<u64>,
    #[serde(default)]
    labelled_at: Option<u64>,
}

/// What a checkpoint belongs to: a recipe, the data that it is trained on, of which `data` is a digest, and the model that
/// it starts from, with the digest `start`.
pub fn identity(recipe: &impl Serialize, data: u64, start: Option<u64>) -> Result<String, String> {
    let mut text = toml::to_string(recipe).map_err(|e| e.to_string())?;
    text += &format!("# data {data:016x}\n");
    if let Some(start) = start {
        text += &format!("# start {start:016x}\n");
    }
    Ok(text)
}

/// Writes `state` to `path` in place of what was there, never a part of it. `owner` is the
/// [`identity`] that the state belongs to.
pub fn save(path: &Path, owner: &str, state: &State) -> Result<(), String> {
    let (adam_step, moments) = state.adam.state();
    let mut all = BTreeMap::new();
    for (prefix, parameters) in [
        ("parameters", &state.parameters),
        ("average", &state.average),
        ("best", &state.best),
    ] {
        for (name, var) in parameters.iter(&[""]) {
            all.insert(format!("{prefix}/{name}"), var.as_tensor().clone());
        }
    }
    all.extend(
        moments
            .into_iter()
            .map(|(name, tensor)| (format!("adam/{name}"), tensor)),
    );
    if let Some(rival) = &state.critic {
        let weights = rival.parameters.iter(&[""]);
        all.extend(weights.map(|(name, var)| (format!("critic/{name}"), var.as_tensor().clone())));
        let moments = rival.adam.state().1;
        all.extend(
            moments
                .into_iter()
                .map(|(name, t)| (format!("critic-adam/{name}"), t)),
        );
    }
    if let Some(labels) = &state.labels {
        let values = Tensor::new(labels.values.as_slice(), &Device::Cpu);
        let scale = Tensor::new(labels.scale.as_flattened(), &Device::Cpu);
        for (name, tensor) in [("labels/values", values), ("labels/scale", scale)] {
            all.insert(name.into(), tensor.map_err(|e| e.to_string())?);
        }
    }
    let header = Header {
        critic_step: state.critic.as_ref().map(|rival| rival.adam.state().0),
        labelled_at: state.labels.as_ref().map(|labels| labels.step),
        owner: owner.to_string(),
        phase: state.phase,
        step: state.step,
        adam_step,
        best_loss: state.best_loss.is_finite().then_some(state.best_loss),
        history: state.history.clone(),
    };
    let header = serde_json::to_string(&header).map_err(|e| e.to_string())?;
    let metadata = HashMap::from([(METADATA_KEY.to_string(), header)]);
    let bytes = tensors::to_bytes(&all, metadata).map_err(|e| e.to_string())?;
    galgen_io::atomic::write_atomic(path, &bytes).map_err(|e| e.to_string())
}

/// Reads the state that belongs to `owner`, an [`identity`].
pub fn load(path: &Path, owner: &str, device: &Device) -> Result<State, String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("checkpoint {name}: {e}"))?;
    let broken = |e: &dyn std::fmt::Display| format!("checkpoint {name} cannot be used: {e}");
    let (all, metadata) = tensors::from_bytes(&bytes).map_err(|e| broken(&e))?;
    let header = metadata
        .get(METADATA_KEY)
        .ok_or_else(|| broken(&"it is another kind of file"))?;
    let header: Header = serde_json::from_str(header).map_err(|e| broken(&e))?;
    if header.owner != owner {
        return Err(format!(
            "checkpoint {name} belongs to another recipe, other data or another --start: choose another --out, or restore them"
        ));
    }
    let part = |prefix: &str| -> candle_core::Result<Vec<(String, Tensor)>> {
        let inside = all.iter().filter_map(|(key, tensor)| {
            Some((
                key.strip_prefix(prefix)?.strip_prefix('/')?.to_string(),
                tensor,
            ))
        });
        inside
            .map(|(key, tensor)| Ok((key, tensor.to_device(device)?)))
            .collect()
    };
    let restore = || -> candle_core::Result<State> {
        Ok(State {
            phase: header.phase,
            step: header.step,
            parameters: Parameters::from_tensors(part("parameters")?)?,
            average: Parameters::from_tensors(part("average")?)?,
            best: Parameters::from_tensors(part("best")?)?,
            best_loss: header.best_loss.unwrap_or(f64::INFINITY),
            adam: Adam::from_state(header.adam_step, part("adam")?)?,
            history: header.history.clone(),
            critic: match header.critic_step {
                None => None,
                Some(step) => Some(Rival {
                    parameters: Parameters::from_tensors(part("critic")?)?,
                    adam: Adam::from_state(step, part("critic-adam")?)?,
                }),
            },
            labels: match (
                header.labelled_at,
                all.get("labels/values"),
                all.get("labels/scale"),
            ) {
                (Some(step), Some(values), Some(scale)) => Some(Labels {
                    step,
                    values: values.to_vec1()?,
                    scale: scale.to_vec1()?.as_chunks().0.to_vec(),
                }),
                _ => None,
            },
        })
    };
    restore().map_err(|e| broken(&e))
}
