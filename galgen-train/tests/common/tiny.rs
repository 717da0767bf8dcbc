//! Trainings of a tiny model, whole and in pieces, and every bit that they end with.

use super::{Folder, tiny_set};
use galgen_train::checkpoint::{Phase, State};
use galgen_train::data::set::{COLUMNS, TrainingSet};
use galgen_train::fit::flow_vae::Trainer;
use galgen_train::fit::{FitError, Run};
use galgen_train::params::Parameters;
use galgen_train::recipe::Recipe;
use galgen_train::samples::Samples;
use std::collections::BTreeMap;
use std::path::Path;

pub const RECIPE: &str = r#"
name = "tiny"
description = "galaxies drawn by a test"
seed = 5
psf = "intrinsic"

[data]
sets = ["tiny.safetensors"]
conditions = ["axis_ratio", "concentration"]
validation = 0.2

[model]
latent = 4
channels = [8, 6, 4]
flow_blocks = 2
flow_hidden = 8
flow_bins = 4

[vae]
steps = 24
batch = 8
learning_rate = 3e-3
validate_every = 6

[flow]
steps = 14
batch = 8
learning_rate = 3e-3
weight_decay = 0.01
validate_every = 7
"#;
pub const VAE_STEPS: u64 = 24;

pub fn recipe(text: &str) -> Recipe {
    let folder = Folder::new(&format!("recipe-{:?}", std::thread::current().id()));
    std::fs::write(folder.join("recipe.toml"), text).expect("a file");
    Recipe::load(&folder.join("recipe.toml")).expect("a good recipe")
}

pub fn samples(set: &TrainingSet, recipe: &Recipe) -> Samples {
    let set = std::slice::from_ref(set);
    Samples::new(set, &recipe.data.conditions, recipe.data.validation).expect("good samples")
}

pub fn trainer<'a>(
    recipe: &'a Recipe,
    samples: &'a Samples,
    directory: &Path,
    resume: bool,
) -> Result<Trainer<'a>, FitError> {
    let run = Run {
        resume,
        ..Run::new(directory)
    };
    Trainer::new(recipe, samples, &run)
}

/// Trains in pieces of so many steps, each by a new trainer that resumes, and then to the end.
pub fn train(recipe: &Recipe, samples: &Samples, directory: &Path, stops: &[u64]) -> State {
    for (i, &steps) in stops.iter().enumerate() {
        let mut piece = trainer(recipe, samples, directory, i > 0).expect("a trainer");
        assert!(!piece.run(Some(steps)).expect("a piece of training"));
    }
    let mut last = trainer(recipe, samples, directory, !stops.is_empty()).expect("a trainer");
    assert!(last.run(None).expect("a training"));
    assert_eq!(last.training.state.phase, Phase::Done);
    last.training.state
}

/// Trains in pieces, as [`train`], in a folder of `folder`: they end with the bits of the training in one, `straight`.
pub fn resumed(
    recipe: &Recipe,
    samples: &Samples,
    folder: &Folder,
    stops: &[u64],
    straight: &State,
) -> State {
    let pieces = folder.join(&format!("pieces-{stops:?}"));
    let state = train(recipe, samples, &pieces, stops);
    assert!(
        all_bits(&state) == all_bits(straight),
        "stops after {stops:?} change the weights"
    );
    state
}

/// Every bit of a set of parameters.
pub fn bits(parameters: &Parameters) -> BTreeMap<String, Vec<u32>> {
    let values = |(name, var): (&str, &candle_core::Var)| {
        let flat = var
            .flatten_all()
            .and_then(|t| t.to_vec1::<f32>())
            .expect("f32 weights");
        (name.to_string(), flat.iter().map(|v| v.to_bits()).collect())
    };
    parameters.iter(&[""]).map(values).collect()
}

/// Every bit that a training ends with, the optimiser's included.
pub fn all_bits(state: &State) -> Vec<BTreeMap<String, Vec<u32>>> {
    let (steps, moments) = state.adam.state();
    let moments = Parameters::from_tensors(moments).expect("tensors");
    let steps = BTreeMap::from([("step".to_string(), vec![steps as u32])]);
    let mut all: Vec<_> = [&state.parameters, &state.average, &state.best, &moments]
        .map(bits)
        .into();
    all.push(steps);
    all
}

pub const TEXTURE: &str = r#"
[model.texture]
channels = [6, 4]
neighbour = 0.2

[texture]
steps = 12
batch = 8
learning_rate = 1e-2
validate_every = 4
"#;

/// Point-spread function in the model, correlated noise and a critic.
pub fn adversarial_recipe() -> String {
    let with_psf = RECIPE.replace("[model]\n", "[model]\nforward = \"psf\"\n");
    let with_psf = with_psf.replace("seed = 5", "seed = 5\nflow_max_psf_fwhm = 2.0");
    let fourier = "validation = 0.2\nlikelihood = \"fourier\"";
    with_psf.replace("validation = 0.2", fourier)
        + r#"
[adversarial]
likelihood = 1e-2
penalty = 1.0
critic_channels = [4, 6]
critic_learning_rate = 1e-3

[adversarial.stage]
steps = 9
batch = 8
learning_rate = 1e-3
validate_every = 5
"#
}

/// Blurred galaxies, a third of them too much for the flow.
pub fn blurred_set() -> TrainingSet {
    let mut set = tiny_set(96, 1);
    // A small cross, brighter to the right: a blur without symmetry.
    set.psf_side = 3;
    set.psf = [0.0, 0.1, 0.0, 0.1, 0.4, 0.3, 0.0, 0.1, 0.0].repeat(96);
    let width = COLUMNS
        .iter()
        .position(|c| *c == "psf_fwhm_px")
        .expect("a column");
    for (i, fwhm) in set.columns[width].iter_mut().enumerate() {
        *fwhm = if i % 3 == 0 { 3.0 } else { 1.5 };
    }
    set
}
