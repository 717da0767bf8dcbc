//! Recipes of exact densities: flows and masked networks.

use super::{Family, ImageData, RecipeError, Stage, check_stage, read};
use crate::models::density::Density;
use galgen_core::models::{FlowNetwork, FlowPreset, MadePreset};
use galgen_core::spec::SpecError;
use galgen_core::stamp::Geometry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest weight of a regulariser.
const MAX_WEIGHT: f64 = 1000.0;

/// A training of one density of images or columns, whose sizes are a `P`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DensityRecipe<P> {
    /// That of `P`.
    pub family: Family,
    /// Name of the model, written into its card.
    pub name: String,
    /// What it describes.
    pub description: String,
    /// Seed of every random number.
    pub seed: u64,
    /// Images, or columns of a table, and their classes.
    pub data: ImageData,
    /// Sizes of the networks.
    pub model: P,
    /// Steps.
    pub train: Stage,
    /// What is added to -ln p of a continuous flow; without it nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regularisation: Option<Regularisation>,
}

/// Makes the paths through a continuous flow straight and its solver's steps long (Finlay et al. 2020): the mean over the
/// objects of these integrals over the time is added to that of -ln p in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Regularisation {
    /// Weight of the squared length of the velocity, 0 to 1000; 0: none.
    pub kinetic_energy: f64,
    /// Weight of the squared Frobenius norm of its Jacobian, 0 to 1000; 0: none. Where the trace is estimated, so is the
    /// norm, with the same signs.
    pub jacobian: f64,
}

impl Regularisation {
    /// None.
    pub const OFF: Self = Regularisation {
        kinetic_energy: 0.0,
        jacobian: 0.0,
    };
}

impl Default for Regularisation {
    fn default() -> Self {
        Regularisation {
            kinetic_energy: 0.01,
            jacobian: 0.01,
        }
    }
}

/// Sizes from which a density is built.
pub trait DensityPreset: Serialize + DeserializeOwned {
    /// What a recipe says.
    const FAMILY: Family;

    /// Whether its elements are 0 or 1.
    const BINARY: bool;

    /// Whether it follows a velocity field.
    fn is_continuous(&self) -> bool;

    /// The density of these sizes.
    fn density(&self, geometry: &Geometry, context: usize) -> Result<Density, SpecError>;
}

impl DensityPreset for FlowPreset {
    const FAMILY: Family = Family::Flow;
    const BINARY: bool = false;

    fn density(&self, geometry: &Geometry, context: usize) -> Result<Density, SpecError> {
        self.build(geometry, context).map(Density::Flow)
    }

    fn is_continuous(&self) -> bool {
        matches!(
            self.network,
            FlowNetwork::Continuous { .. } | FlowNetwork::ContinuousPlanar { .. }
        )
    }
}

impl DensityPreset for MadePreset {
    const FAMILY: Family = Family::Made;
    const BINARY: bool = true;

    fn density(&self, geometry: &Geometry, context: usize) -> Result<Density, SpecError> {
        Ok(Density::Made(self.build(geometry, context)))
    }

    fn is_continuous(&self) -> bool {
        false
    }
}

impl<P: DensityPreset> DensityRecipe<P> {
    /// Reads and checks a recipe.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let recipe: Self = read(path)?;
        recipe.check(path)?;
        Ok(recipe)
    }

    fn check(&self, path: &Path) -> Result<(), RecipeError> {
        let fail = |key, found: String, expected| {
            Err(RecipeError::OutOfRange {
                path: path.into(),
                key,
                found,
                expected,
            })
        };
        if self.family != P::FAMILY {
            return fail("family", format!("{:?}", self.family), "that of the model");
        }
        if !(0.0..=0.5).contains(&self.data.validation) {
            let found = self.data.validation.to_string();
            return fail("data.validation", found, "a fraction from 0 to 0.5");
        }
        if self.data.binarise.is_some() && !P::BINARY {
            let expected = "none for a flow, whose density is of real numbers";
            return fail("data.binarise", "given".into(), expected);
        }
        if let Some(weights) = &self.regularisation {
            if !self.model.is_continuous() {
                let expected = "none but for a continuous flow: continuous or continuous_planar";
                return fail("regularisation", "given".into(), expected);
            }
            let weights = [
                ("regularisation.kinetic_energy", weights.kinetic_energy),
                ("regularisation.jacobian", weights.jacobian),
            ];
            for (key, weight) in weights {
                if !(0.0..=MAX_WEIGHT).contains(&weight) {
                    return fail(key, weight.to_string(), "a weight from 0 to 1000");
                }
            }
        }
        let keys = [
            "train.steps",
            "train.batch",
            "train.validate_every",
            "train.learning_rate",
            "train.weight_decay",
        ];
        check_stage(path, &self.train, keys)
    }
}
