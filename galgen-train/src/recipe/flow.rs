//! Recipes of densities by flows.

use super::{Family, ImageData, RecipeError, Stage, check_stage, read};
use galgen_core::models::FlowPreset;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A training of one flow on images or columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRecipe {
    /// Always [`Family::Flow`].
    pub family: Family,
    /// Name of the model, written into its card.
    pub name: String,
    /// What it describes.
    pub description: String,
    /// Seed of every random number.
    pub seed: u64,
    /// Images, or columns of a table, and their classes.
    pub data: ImageData,
    /// Sizes of the flow.
    pub model: FlowPreset,
    /// Steps.
    pub train: Stage,
}

impl FlowRecipe {
    /// Reads and checks a recipe.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let recipe: FlowRecipe = read(path)?;
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
        if self.family != Family::Flow {
            return fail("family", format!("{:?}", self.family), "flow");
        }
        if !(0.0..=0.5).contains(&self.data.validation) {
            let found = self.data.validation.to_string();
            return fail("data.validation", found, "a fraction from 0 to 0.5");
        }
        if self.data.binarise.is_some() {
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
