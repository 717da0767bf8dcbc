//! Recipes: one TOML file says everything about a training, so that it can be repeated.

mod density;
mod images;
mod pixel_cnn;

pub use density::{DensityPreset, DensityRecipe, Regularisation};
pub use images::{Binarise, ImageData, ImageRecipe, Labels, Number, Objective};
pub use pixel_cnn::PixelCnnRecipe;

use crate::models::flow_vae::Prior;
use crate::samples::Likelihood;
use galgen_core::models::FlowVaePreset;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A training of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Always [`Family::FlowVae`].
    #[serde(default)]
    pub family: Family,
    /// Name of the model, written into its card.
    pub name: String,
    /// What it draws and for whom.
    pub description: String,
    /// Seed of every random number in training.
    pub seed: u64,
    /// What the stamps' light has been through: `intrinsic`, or a name for what is still in it.
    pub psf: String,
    /// Training sets and how they are used.
    pub data: Data,
    /// Sizes of the networks.
    pub model: FlowVaePreset,
    /// Training of encoder and decoder; 0 steps keep those of `fit --start`.
    pub vae: Stage,
    /// Density of the latent that encoder and decoder learn with: `normal`, or `flow`, which learns along.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prior: Prior,
    /// Weight of the KL term grows from 0 to its full value over this fraction of the VAE's steps.
    #[serde(default = "default_warm_up")]
    pub kl_warm_up: f64,
    /// Final weight of the KL term; 1 is the evidence lower bound.
    #[serde(default = "one")]
    pub kl_weight: f64,
    /// Training of the latent flow, after the VAE.
    pub flow: Stage,
    /// Only stamps whose point-spread function is at most this wide (full width at half maximum in stamp
    /// pixels) teach the flow and are judged by the critic: what a wider one hides, the autoencoder only guesses and a critic
    /// does not see, and the model would draw that. `None`: all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_max_psf_fwhm: Option<f64>,
    /// The other stamps of the training part teach the flow, too: each with a draw of its posterior that is no more asymmetric than
    /// this quantile of draws of the resolved stamps of similar conditions, if it has one. `None`: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_blurred_quantile: Option<f64>,
    /// Training of the decoder against a critic, after the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<Adversarial>,
    /// Training of the texture's strength, at the end; for a model that has one. On the stamps that teach the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texture: Option<Stage>,
}

/// Sharpening of the decoder, see [`crate::models::critic`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    /// Weight of -ln p(stamp | z) in nats beside the adversarial loss, which is of order 1.
    pub likelihood: f64,
    /// Weight of the critic's squared slope.
    pub penalty: f64,
    /// Channels of the critic; each halves the side of the map.
    pub critic_channels: Vec<usize>,
    /// Peak learning rate of the critic.
    pub critic_learning_rate: f64,
    /// Steps of the decoder.
    pub stage: Stage,
}

/// What a recipe trains, its key `family`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A [`Recipe`].
    #[default]
    FlowVae,
    /// An [`ImageRecipe`] with a Gaussian posterior.
    Vae,
    /// An [`ImageRecipe`] without.
    Autoencoder,
    /// A [`DensityRecipe`] of a flow.
    Flow,
    /// A [`PixelCnnRecipe`].
    #[serde(rename = "pixel-cnn")]
    PixelCnn,
    /// A [`DensityRecipe`] of a masked network of binary data.
    Made,
}

impl Family {
    /// The family of the recipe in a file.
    pub fn of(path: &Path) -> Result<Self, RecipeError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            family: Family,
        }
        read::<Head>(path).map(|head| head.family)
    }
}

/// Reads a TOML file.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, RecipeError> {
    let text = std::fs::read_to_string(path).map_err(|cause| RecipeError::Unreadable {
        path: path.into(),
        cause,
    })?;
    toml::from_str(&text).map_err(|cause| RecipeError::Invalid {
        path: path.into(),
        cause: Box::new(cause),
    })
}

fn default_warm_up() -> f64 {
    0.2
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> f64 {
    1.0
}

/// Training sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Files made by `galgen-train prepare`, relative to the directory given to `fit --data`.
    pub sets: Vec<PathBuf>,
    /// Columns of the sets that become conditions.
    pub conditions: Vec<String>,
    /// Fraction kept for validation: whole stripes of right ascension where positions are known,
    /// else by object id.
    pub validation: f64,
    /// Factor on the sky noise in the likelihood, for noise that is correlated between pixels: the
    /// root of the number of pixels that vary together. Leave it at 1 with another likelihood than `pixel`, which know that.
    #[serde(default = "one")]
    pub noise_correlation: f64,
    /// `pixel`: independent pixels; `effective`: the same, with the noise of each stamp raised by its own correlation;
    /// `fourier`: noise correlated as the sets say.
    #[serde(default)]
    pub likelihood: Likelihood,
}

/// Steps of one optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Number of steps.
    pub steps: u64,
    /// Stamps in a batch.
    pub batch: usize,
    /// Peak learning rate of Adam; linear warm-up over the first 2 %, then a cosine to 1 %.
    pub learning_rate: f64,
    /// Decoupled weight decay per step and unit of learning rate, on weights (not biases).
    #[serde(default)]
    pub weight_decay: f64,
    /// Steps between validations.
    pub validate_every: u64,
}

impl Stage {
    /// Whether the model is validated after `done` steps.
    pub fn validates(&self, done: u64) -> bool {
        done.is_multiple_of(self.validate_every) || done == self.steps
    }

    /// Learning rate of `step` (0-based).
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let warm_up = (self.steps as f64 * 0.02).max(1.0);
        let step = step as f64;
        if step < warm_up {
            return self.learning_rate * (step + 1.0) / warm_up;
        }
        let t = (step - warm_up) / (self.steps as f64 - warm_up).max(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * t.min(1.0)).cos());
        self.learning_rate * (0.01 + 0.99 * cosine)
    }
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("recipe {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Not TOML, or a key is missing, unknown or of the wrong type.
    #[error("recipe {path}: {cause}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: Box<toml::de::Error>,
    },
    /// A value out of range.
    #[error("recipe {path}: `{key}` is {found}, expected {expected}")]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Recipe {
    /// Reads and checks a recipe.
    pub fn load(path: &Path) -> Result<Recipe, RecipeError> {
        let recipe: Recipe = read(path)?;
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
        if self.data.sets.is_empty() {
            return fail("data.sets", "empty".into(), "at least one training set");
        }
        if !(0.01..=0.5).contains(&self.data.validation) {
            return fail(
                "data.validation",
                self.data.validation.to_string(),
                "a fraction from 0.01 to 0.5",
            );
        }
        if !(1.0..=100.0).contains(&self.data.noise_correlation) {
            let found = self.data.noise_correlation.to_string();
            return fail("data.noise_correlation", found, "a factor from 1 to 100");
        }
        if !(0.0..=1.0).contains(&self.kl_warm_up) {
            return fail(
                "kl_warm_up",
                self.kl_warm_up.to_string(),
                "a fraction from 0 to 1",
            );
        }
        if !(self.kl_weight.is_finite() && self.kl_weight >= 0.0) {
            return fail("kl_weight", self.kl_weight.to_string(), "0 or more");
        }
        if let Some(name) = repeated(&self.data.sets) {
            return fail("data.sets", format!("{name:?} twice"), "each set once");
        }
        if let Some(name) = repeated(&self.data.conditions) {
            return fail(
                "data.conditions",
                format!("{name:?} twice"),
                "each condition once",
            );
        }
        if let Some(limit) = self
            .flow_max_psf_fwhm
            .filter(|l| !(l.is_finite() && *l > 0.0))
        {
            return fail(
                "flow_max_psf_fwhm",
                limit.to_string(),
                "a positive number of pixels",
            );
        }
        if let Some(quantile) = self.flow_blurred_quantile {
            let key = "flow_blurred_quantile";
            if !(0.0..=1.0).contains(&quantile) {
                return fail(key, quantile.to_string(), "a fraction from 0 to 1");
            }
            if self.flow_max_psf_fwhm.is_none() {
                let expected = "used with flow_max_psf_fwhm, which says what is resolved";
                return fail(key, quantile.to_string(), expected);
            }
        }
        if let Some(adversarial) = &self.adversarial {
            let numbers = [
                ("adversarial.likelihood", adversarial.likelihood, true),
                ("adversarial.penalty", adversarial.penalty, true),
                (
                    "adversarial.critic_learning_rate",
                    adversarial.critic_learning_rate,
                    false,
                ),
            ];
            for (key, found, may_be_0) in numbers {
                if !(found.is_finite() && (found > 0.0 || may_be_0 && found == 0.0)) {
                    let expected = if may_be_0 {
                        "0 or more"
                    } else {
                        "a positive number"
                    };
                    return fail(key, found.to_string(), expected);
                }
            }
            if adversarial.critic_channels.is_empty() || adversarial.critic_channels.contains(&0) {
                let found = format!("{:?}", adversarial.critic_channels);
                return fail("adversarial.critic_channels", found, "numbers of 1 or more");
            }
        }
        let adversarial = self.adversarial.as_ref().map(|a| {
            (
                &a.stage,
                [
                    "adversarial.stage.steps",
                    "adversarial.stage.batch",
                    "adversarial.stage.validate_every",
                    "adversarial.stage.learning_rate",
                    "adversarial.stage.weight_decay",
                ],
            )
        });
        let vae = Stage {
            steps: self.vae.steps.max(1),
            ..self.vae.clone()
        };
        let stages = [
            (
                &vae,
                [
                    "vae.steps",
                    "vae.batch",
                    "vae.validate_every",
                    "vae.learning_rate",
                    "vae.weight_decay",
                ],
            ),
            (
                &self.flow,
                [
                    "flow.steps",
                    "flow.batch",
                    "flow.validate_every",
                    "flow.learning_rate",
                    "flow.weight_decay",
                ],
            ),
        ];
        let texture = self.texture.as_ref().map(|stage| {
            (
                stage,
                [
                    "texture.steps",
                    "texture.batch",
                    "texture.validate_every",
                    "texture.learning_rate",
                    "texture.weight_decay",
                ],
            )
        });
        match (&self.model.texture, &self.texture) {
            (Some(_), None) => {
                let expected = "the steps in which model.texture learns";
                return fail("texture", "missing".into(), expected);
            }
            (None, Some(_)) => {
                let expected = "the channels and neighbours of what [texture] trains";
                return fail("model.texture", "missing".into(), expected);
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        for (stage, keys) in stages.into_iter().chain(adversarial).chain(texture) {
            check_stage(path, stage, keys)?;
        }
        if self.family != Family::FlowVae {
            return fail("family", format!("{:?}", self.family), "flow-vae");
        }
        Ok(())
    }
}

/// Checks a stage, whose `keys` are those of steps, batch, validate_every, learning_rate and weight_decay.
fn check_stage(path: &Path, stage: &Stage, keys: [&'static str; 5]) -> Result<(), RecipeError> {
    let [steps, batch, validate_every, learning_rate, weight_decay] = keys;
    let fail = |key, found: String, expected| {
        Err(RecipeError::OutOfRange {
            path: path.into(),
            key,
            found,
            expected,
        })
    };
    let counts = [
        (steps, stage.steps),
        (batch, stage.batch as u64),
        (validate_every, stage.validate_every),
    ];
    if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
        return fail(key, "0".into(), "1 or more");
    }
    let (rate, decay) = (stage.learning_rate, stage.weight_decay);
    if !(rate.is_finite() && rate > 0.0) {
        return fail(learning_rate, rate.to_string(), "a positive number");
    }
    if !(decay.is_finite() && decay >= 0.0) {
        return fail(weight_decay, decay.to_string(), "0 or more");
    }
    Ok(())
}

/// The first element that stands in `list` before.
fn repeated<T: PartialEq>(list: &[T]) -> Option<&T> {
    list.iter()
        .enumerate()
        .find(|(i, value)| list[..*i].contains(value))
        .map(|(_, value)| value)
}
