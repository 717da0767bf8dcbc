//! A finished model whose weights a training starts from, in place of random ones.

use crate::data::conditions;
use crate::digest;
use crate::params::Parameters;
use candle_core::{Device, Tensor};
use galgen_core::condition::Conditions;
use galgen_core::stamp::Geometry;
use galgen_infer::Model;
use galgen_infer::weights::Weights;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Beginning of the names of a texture's tensors.
const TEXTURE: &str = "texture.";

/// Weights of a finished model, and where they come from.
pub struct Start {
    path: PathBuf,
    geometry: Geometry,
    conditions: Conditions,
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
        // Refuses what is no model before all of it is in memory.
        let model = Model::open(path).map_err(|e| failed(&e))?;
        let card = model.card();
        let mut training = card.training.clone();
        if let Some(object) = training.as_object_mut() {
            object.remove("history");
        }
        let bytes = std::fs::read(path).map_err(|e| failed(&e))?;
        let digest = digest::of_bytes(&bytes);
        let weights = Weights::parse(bytes).map_err(|e| failed(&e))?;
        Ok(Start {
            path: path.into(),
            geometry: card.geometry.clone(),
            conditions: card.conditions.clone(),
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

    /// Mean and deviation by which its networks see each condition.
    pub fn scale(&self) -> Vec<[f64; 2]> {
        conditions::scale(&self.conditions)
    }

    /// Overwrites all of `parameters`, those of networks for stamps of `geometry` under `conditions`. The ranges of these may
    /// differ: they are the data's. A texture may be new, or stay behind.
    ///
    /// # Errors
    /// If galaxies have another size on the stamps, a condition or its classes are others, a tensor is missing or of another
    /// shape, or there is one too many.
    pub(super) fn copy_to(
        &self,
        parameters: &Parameters,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<(), String> {
        let other = |problem: &dyn std::fmt::Display| {
            let path = self.path.display();
            format!(
                "--start {path}: {problem}: expected a model of the recipe's sizes and conditions"
            )
        };
        let [found, expected] = [&self.geometry, geometry].map(|g| g.half_light_radius);
        if found != expected {
            let text = |radius: Option<f64>| match radius {
                Some(radius) => format!("galaxies of half-light radius {radius} pixels"),
                None => "plain images".into(),
            };
            let (found, expected) = (text(found), text(expected));
            return Err(other(&format!("it makes {found}, the data has {expected}")));
        }
        let names = |conditions: &Conditions| -> Vec<(String, Vec<String>)> {
            let all = conditions.list.iter();
            all.map(|c| (c.name.clone(), c.classes.clone())).collect()
        };
        let [found, expected] = [&self.conditions, conditions].map(names);
        if found != expected {
            let list = |names: &[(String, Vec<String>)]| match names.is_empty() {
                true => "none".to_string(),
                false => {
                    let each = names.iter().map(|(name, classes)| match &classes[..] {
                        [] => name.clone(),
                        classes => format!("{name} ({})", classes.join(", ")),
                    });
                    each.collect::<Vec<_>>().join(", ")
                }
            };
            let (found, expected) = (list(&found), list(&expected));
            return Err(other(&format!(
                "its conditions are {found}, those of the recipe {expected}"
            )));
        }
        let mut count = 0;
        let textured = self.weights.names().any(|name| name.starts_with(TEXTURE));
        for (name, var) in parameters.iter(&[""]) {
            if name.starts_with(TEXTURE) && !textured {
                continue;
            }
            let values = self.weights.of_shape(name, var.dims());
            let values = values.map_err(|e| other(&e))?;
            let copied = Tensor::from_vec(values, var.shape(), &Device::Cpu)
                .and_then(|t| t.to_dtype(var.dtype())?.to_device(var.device()))
                .and_then(|t| parameters.set(name, &t));
            copied.map_err(|e| other(&e))?;
            count += 1;
        }
        let wanted = parameters.iter(&[TEXTURE]).next().is_some();
        let taken = |name: &&str| wanted || !name.starts_with(TEXTURE);
        match self.weights.names().filter(taken).count() {
            found if found > count => {
                Err(other(&format!("{found} tensors, {count} in the recipe")))
            }
            _ => Ok(()),
        }
    }
}
