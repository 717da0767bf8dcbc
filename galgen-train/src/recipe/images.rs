//! Recipes of autoencoders, variational and plain.

use super::{Family, RecipeError, Stage, check_stage, read};
use galgen_core::models::{Posterior, VaePreset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A training of one autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecipe {
    /// [`Family::Vae`] or [`Family::Autoencoder`].
    pub family: Family,
    /// Name of the model, written into its card.
    pub name: String,
    /// What it draws and for whom.
    pub description: String,
    /// Seed of every random number.
    pub seed: u64,
    /// What the light of galaxies has been through: `intrinsic`, or a name for what is still in it.
    #[serde(default = "none")]
    pub psf: String,
    /// Images and their classes.
    pub data: ImageData,
    /// Sizes of the networks.
    pub model: VaePreset,
    /// Steps.
    pub train: Stage,
    /// What is minimised.
    #[serde(default)]
    pub objective: Objective,
}

fn none() -> String {
    "none".into()
}

/// What a variational autoencoder maximises; a plain one has its reconstruction alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// Posterior draws of the importance-weighted bound; 1 is the evidence lower bound with its KL term in
    /// closed form.
    pub samples: usize,
    /// The weight of the KL term grows from 0 to 1 over this fraction of the steps; 0 with several draws.
    pub kl_warm_up: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Objective {
            samples: 1,
            kl_warm_up: 0.0,
        }
    }
}

/// Images and their classes. Paths are relative to the directory given to `fit --data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageData {
    /// IDX (plain or .gz; bytes become 0 to 1), `.npy`, a FITS cube, or a training set of galaxies (`.safetensors`).
    pub images: PathBuf,
    /// The file is a table (CSV, FITS), or an `.npy` array of shape `[N, columns]`, and these columns are what is
    /// described, in place of pixels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Whom to credit.
    pub credit: String,
    /// Classes that become a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Numbers that become conditions, after the classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<Number>,
    /// Fraction kept for validation, by image; 0: all train and validate.
    pub validation: f64,
    /// Pixels become 0 or 1 with their value as the probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binarise: Option<Binarise>,
}

/// When images are binarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binarise {
    /// Once and for all.
    Static,
    /// Whenever one is shown; those for validation once and for all.
    Dynamic,
}

/// Classes of the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// IDX with one byte for each image, or a table (CSV, FITS) with a row for each: `id`, or `name` of the
    /// picture, and the column `column`.
    pub file: PathBuf,
    /// Name of the condition.
    pub condition: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Column of the table.
    #[serde(default = "label")]
    pub column: String,
    /// Values from the first to the second, both included, make the class of that name. Without it every
    /// value is a class of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, [f64; 2]>,
}

/// A number of each image, such as a magnitude.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// Name of the condition.
    pub condition: String,
    /// Unit, empty for a pure number.
    #[serde(default)]
    pub unit: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Table (CSV, FITS) with a row for each image, as [`Labels::file`]. Without it the number is a column of
    /// [`ImageData::images`]: of a training set of galaxies, or of a table whose other columns are described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Column, if its name is not that of the condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl Number {
    /// Name of the column.
    pub fn column(&self) -> &str {
        self.column.as_ref().unwrap_or(&self.condition)
    }
}

fn label() -> String {
    "label".into()
}

impl ImageRecipe {
    /// Reads and checks a recipe.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let recipe: ImageRecipe = read(path)?;
        recipe.check(path)?;
        Ok(recipe)
    }

    /// What the encoder says of z.
    pub fn posterior(&self) -> Posterior {
        match self.family {
            Family::Vae | Family::FlowVae | Family::Flow | Family::Made | Family::PixelCnn => {
                Posterior::Gaussian
            }
            Family::Autoencoder => Posterior::Point,
        }
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
        if !matches!(self.family, Family::Vae | Family::Autoencoder) {
            let found = format!("{:?}", self.family);
            return fail("family", found, "vae or autoencoder");
        }
        if !(0.0..=0.5).contains(&self.data.validation) {
            let found = self.data.validation.to_string();
            return fail("data.validation", found, "a fraction from 0 to 0.5");
        }
        if !(1..=1000).contains(&self.objective.samples) {
            let found = self.objective.samples.to_string();
            return fail("objective.samples", found, "1 to 1000");
        }
        let warm_up = self.objective.kl_warm_up;
        if !(0.0..=1.0).contains(&warm_up) || self.objective.samples > 1 && warm_up > 0.0 {
            let expected = "a fraction from 0 to 1, and 0 with several samples";
            return fail("objective.kl_warm_up", warm_up.to_string(), expected);
        }
        if self.family == Family::Autoencoder && self.objective != Objective::default() {
            return fail("objective", "given".into(), "none for an autoencoder");
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
