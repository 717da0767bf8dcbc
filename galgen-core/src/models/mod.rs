//! The model families, one file each: configuration, presets, and the tensors that they need.

mod check;
mod flow;
mod flow_vae;
mod made;
mod pixel_cnn;
mod texture;
mod vae;

pub use flow::{FlowModel, FlowNetwork, FlowPreset, Mix};
use flow_vae::mixing_order;
pub use flow_vae::{
    FlowVae, FlowVaePreset, Forward, LOG_VARIANCE, PixelNoise, SpatialLatent, place_psf,
};
pub use made::{MadeModel, MadePreset};
pub use pixel_cnn::{Body, Head, MIN_DEVIATION, MIN_LOG_SCALE, PixelCnn, PixelCnnPreset};
pub use texture::{MAX_STRENGTH, Texture, TexturePreset};
pub use vae::{Likelihood, Network, Posterior, Vae, VaePreset};

use crate::condition::Conditions;
use crate::spec::{SpecError, TensorSpec};
use crate::stamp::Geometry;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The family of a model, with all that defines it besides its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Family {
    /// Conditional variational autoencoder with a conditional flow on its latent space.
    FlowVae(FlowVae),
    /// Autoencoder, variational or plain, of images or galaxies.
    Vae(Vae),
    /// Density of images, or of columns of numbers, by a normalising flow.
    Flow(FlowModel),
    /// Density of binary images, or columns, by a masked network.
    Made(MadeModel),
    /// Autoregressive model of images.
    PixelCnn(PixelCnn),
}

impl Family {
    /// Name of the family, as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Family::FlowVae(_) => "flow_vae",
            Family::Vae(_) => "vae",
            Family::Flow(_) => "flow",
            Family::Made(_) => "made",
            Family::PixelCnn(_) => "pixel_cnn",
        }
    }

    /// Checks the family against the stamp and the conditions, and lists every tensor of its file.
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        match self {
            Family::FlowVae(model) => model.tensors(geometry, conditions),
            Family::Vae(model) => model.tensors(geometry, conditions),
            Family::Flow(model) => model.tensors(geometry, conditions),
            Family::Made(model) => model.tensors(geometry, conditions),
            Family::PixelCnn(model) => model.tensors(geometry, conditions),
        }
    }
}
