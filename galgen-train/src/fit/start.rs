//! A finished model whose weights a training starts from, in place of random ones.

use crate::params::Parameters;
use candle_core::{Device, Tensor};
use galgen_infer::Model;
use galgen_infer::weights::Weights;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Weights of a finished model, and where they come from.
pub struct Start {
    path: PathBuf,
    weights: Weights<'static>,
    /// 64-bit FNV-1a of the file.
    digest: u64,
    provenance: Value,
}

impl Start {
    /// Reads a model file.
    ///
    /// # Errors
    /// If the engine does not accept it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("--start {}: {e}", path.display());
        let bytes = std::fs::read(path).map_err(|e| failed(&e))?;
        let model = Model::from_bytes(&bytes).map_err(|e| failed(&e))?;
        let card = model.card();
        let mut training = card.training.clone();
        if let Some(object) = training.as_object_mut() {
            object.remove("history");
        }
        let digest = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h: u64, &b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let weights = Weights::parse(bytes).map_err(|e| failed(&e))?;
        Ok(Start {
            path: path.into(),
            weights,
            digest,
            provenance: json!({
                "name": card.name,
                "fingerprint": card.fingerprint,
                "training": training,
            }),
        })
    }

    /// A number that differs for other files.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What the card of the trained model says of it: its name and fingerprint, and how it was trained itself.
    pub fn provenance(&self) -> &Value {
        &self.provenance
    }

    /// Overwrites all of `parameters`.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape, or there is one too many.
    pub(super) fn copy_to(&self, parameters: &Parameters) -> Result<(), String> {
        let other = |problem: &dyn std::fmt::Display| {
            let path = self.path.display();
            format!(
                "--start {path}: {problem}: expected a model of the recipe's sizes and conditions"
            )
        };
        let mut count = 0;
        for (name, var) in parameters.iter(&[""]) {
            let values = self.weights.of_shape(name, var.dims());
            let values = values.map_err(|e| other(&e))?;
            let copied = Tensor::from_vec(values, var.shape(), &Device::Cpu)
                .and_then(|t| t.to_dtype(var.dtype())?.to_device(var.device()))
                .and_then(|t| parameters.set(name, &t));
            copied.map_err(|e| other(&e))?;
            count += 1;
        }
        match self.weights.names().count() {
            found if found > count => {
                Err(other(&format!("{found} tensors, {count} in the recipe")))
            }
            _ => Ok(()),
        }
    }
}
