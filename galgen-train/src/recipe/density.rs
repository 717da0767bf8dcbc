//! Recipes of exact densities: flows and masked networks.

use super::{Family, ImageData, RecipeError, Stage, check_stage, read};
use crate::models::density::Density;
use galgen_core::models::{FlowPreset, MadePreset};
use galgen_core::spec::SpecError;
use galgen_core::stamp::Geometry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

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
}

/// Sizes from which a density is built.
pub trait DensityPreset: Serialize + DeserializeOwned {
    /// What a recipe says.
    const FAMILY: Family;

    /// Whether its elements are 0 or 1.
    const BINARY: bool;

    /// The density of these sizes.
    fn density(&self, geometry: &Geometry, context: usize) -> Result<Density, SpecError>;
}

impl DensityPreset for FlowPreset {
    const FAMILY: Family = Family::Flow;
    const BINARY: bool = false;

    fn density(&self, geometry: &Geometry, context: usize) -> Result<Density, SpecError> {
        self.build(geometry, context).map(Density::Flow)
    }
}

impl DensityPreset for MadePreset {
    const FAMILY: Family = Family::Made;
    const BINARY: bool = true;

    fn density(&self, geometry: &Geometry, context: usize) -> Result<Density, SpecError> {
        Ok(Density::Made(self.build(geometry, context)))
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
