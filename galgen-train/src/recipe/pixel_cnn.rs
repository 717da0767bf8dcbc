//! Recipes of autoregressive models of images.

use super::{Family, ImageData, RecipeError, Stage, check_stage, read};
use galgen_core::models::{Head, PixelCnnPreset};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A training of one autoregressive model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelCnnRecipe {
    /// Always [`Family::PixelCnn`].
    pub family: Family,
    /// Name of the model, written into its card.
    pub name: String,
    /// What it draws and for whom.
    pub description: String,
    /// Seed of every random number.
    pub seed: u64,
    /// Images and their classes. Pixels of a discrete head are rounded to its levels.
    pub data: ImageData,
    /// Sizes of the net.
    pub model: PixelCnnPreset,
    /// Steps.
    pub train: Stage,
}

impl PixelCnnRecipe {
    /// Reads and checks a recipe.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let recipe: PixelCnnRecipe = read(path)?;
        let fail = |key, found: String, expected| {
            Err(RecipeError::OutOfRange {
                path: path.into(),
                key,
                found,
                expected,
            })
        };
        if !(0.0..=0.5).contains(&recipe.data.validation) {
            let found = recipe.data.validation.to_string();
            return fail("data.validation", found, "a fraction from 0 to 0.5");
        }
        if recipe.data.binarise.is_some() && recipe.model.head != Head::Bernoulli {
            let expected = "no key binarise, or the head bernoulli";
            return fail("model.head", format!("{:?}", recipe.model.head), expected);
        }
        let keys = [
            "train.steps",
            "train.batch",
            "train.validate_every",
            "train.learning_rate",
            "train.weight_decay",
        ];
        check_stage(path, &recipe.train, keys)?;
        Ok(recipe)
    }
}
